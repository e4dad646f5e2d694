//! The online stage of one step.

use rayon::prelude::*;
use ss_core::SsError;
use ss_core::step::{ClientRun, ServerRun, ServerTurn};
use zeroize::Zeroizing;

use super::{ClientSteps, ServerSteps, chunks, side_by_side};
use crate::channel::{Channel, Kind};
use crate::error::{PeerResult, ProtocolError, caller};

/// Client: answers the server's messages. `at` is the step's place in the walk, on every frame.
///
/// # Errors
/// What the channel or the peer did.
pub fn client(channel: &mut Channel, at: usize, steps: ClientSteps) -> Result<(), ProtocolError> {
    let ClientSteps { spec, elements, chunks: halves } = steps;
    let rounds = spec.rounds();
    let sizes: Vec<Vec<usize>> = chunks(elements).map(|chunk| spec.message_bytes(chunk.len())).collect();
    let mut runs: Vec<Option<ClientRun>> = halves.into_iter().map(|half| Some(half.start())).collect();
    let several = runs.len() > 1;
    channel.duplex(several, rounds as u64, |link| {
        for round in 0..rounds {
            for (runs, sizes) in runs.chunks_mut(side_by_side()).zip(sizes.chunks(side_by_side())) {
                let messages = sizes
                    .iter()
                    .map(|sizes| link.receive(Kind::Gate, at, sizes[1 + 2 * round]))
                    .collect::<Result<Vec<_>, _>>()?;
                let answers = each(runs, &messages, |run: ClientRun, message| run.answer(message))
                    .or_malformed("gate message")?;
                for answer in answers {
                    link.send(Kind::Gate, at, answer)?;
                }
                link.flush()?;
            }
        }
        Ok(())
    })
}

/// Server: runs its half on its shares of the first operand and of each lane; gives z + κ per lane.
///
/// # Errors
/// [`ProtocolError::Caller`] for operands of the wrong size, else what the channel or the peer did.
pub fn server(
    channel: &mut Channel,
    at: usize,
    steps: ServerSteps,
    compare: &[u64],
    lanes: &[Vec<u64>],
) -> Result<Vec<Vec<u64>>, ProtocolError> {
    let ServerSteps { spec, elements, chunks: halves } = steps;
    if let Some(bad) = lanes.iter().map(Vec::len).chain([compare.len()]).find(|&len| len != elements) {
        return Err(ProtocolError::Caller(format!("{bad} operands for a step of {elements} elements")));
    }
    let rounds = spec.rounds();
    let ranges: Vec<_> = chunks(elements).collect();
    let sizes: Vec<Vec<usize>> = ranges.iter().map(|chunk| spec.message_bytes(chunk.len())).collect();
    let mut halves: Vec<Option<_>> = halves.into_iter().map(Some).collect();
    let mut runs: Vec<Option<ServerRun>> = Vec::with_capacity(ranges.len());
    // Shares: wiped when the step fails half way.
    let mut results = Zeroizing::new(Vec::<Vec<u64>>::new());
    let several = ranges.len() > 1;
    channel.duplex(several, rounds as u64, |link| {
        for (halves, ranges) in halves.chunks_mut(side_by_side()).zip(ranges.chunks(side_by_side())) {
            let begun = each(halves, ranges, |half, range| {
                let lanes = lanes.iter().map(|lane| lane[range.clone()].to_vec()).collect();
                let (message, run) = half.begin(compare[range.clone()].to_vec(), lanes)?;
                Ok(((message, run), None))
            })
            .map_err(caller)?;
            for (message, run) in begun {
                link.send(Kind::Gate, at, message)?;
                runs.push(Some(run));
            }
            link.flush()?;
        }
        for round in 0..rounds {
            for (runs, sizes) in runs.chunks_mut(side_by_side()).zip(sizes.chunks(side_by_side())) {
                let messages = sizes
                    .iter()
                    .map(|sizes| link.receive(Kind::Gate, at, sizes[2 + 2 * round]))
                    .collect::<Result<Vec<_>, _>>()?;
                let turns = each(runs, &messages, |run: ServerRun, message| {
                    Ok(match run.next(message)? {
                        ServerTurn::Send(message, next) => (Ok(message), Some(*next)),
                        ServerTurn::Done(lanes) => (Err(lanes), None),
                    })
                })
                .or_malformed("gate message")?;
                for turn in turns {
                    match turn {
                        Ok(message) => link.send(Kind::Gate, at, message)?,
                        Err(lanes) => collect(&mut results, lanes, elements),
                    }
                }
                link.flush()?;
            }
        }
        Ok(())
    })?;
    Ok(std::mem::take(&mut *results))
}

/// Puts the results of a chunk behind those of the chunks before it.
fn collect(results: &mut Vec<Vec<u64>>, lanes: Vec<Vec<u64>>, elements: usize) {
    if results.is_empty() {
        results.extend(lanes.iter().map(|_| Vec::with_capacity(elements)));
    }
    for (all, mut own) in results.iter_mut().zip(lanes) {
        all.extend_from_slice(&own);
        zeroize::Zeroize::zeroize(&mut own);
    }
}

/// Runs `act` on every slot's content and its message, side by side; what comes back replaces the content.
fn each<State: Send, Message: Sync, Out: Send>(
    slots: &mut [Option<State>],
    messages: &[Message],
    act: impl Fn(State, &Message) -> Result<(Out, Option<State>), SsError> + Sync,
) -> Result<Vec<Out>, SsError> {
    let one = |(slot, message): (&mut Option<State>, &Message)| {
        let state = slot.take().ok_or(SsError::BadValue { what: "step (it is over already)" })?;
        let (out, next) = act(state, message)?;
        *slot = next;
        Ok(out)
    };
    match (slots, messages) {
        ([slot], [message]) => one((slot, message)).map(|out| vec![out]),
        (slots, messages) => slots.par_iter_mut().zip(messages).map(one).collect(),
    }
}
