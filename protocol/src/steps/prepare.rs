//! The preprocessing stage of steps.
//!
//! | | from | content |
//! |---|---|---|
//! | supply | both | silent transfers only: what the demand takes |
//! | extensions | S | per chunk of every step: the server receives, choosing at random |
//! | answers | C | per chunk: the client receives, with its choices, and the chunk's corrections |
//! | checks | both | SoftSpoken only: that the extensions were consistent |
//!
//! *The corrections leave before the check.* A correction is always masked by the pad that its receiver did not choose, so
//! a server whose extension mixes its choices would have to know the client's Δ (all 128 bits of it, or half of them by
//! brute force) before corrections tell it anything; they are no oracle for a guess at a few bits. What could be one is
//! answered online, after the check, and a client whose check fails throws away the bundle, the transfers and the session.
//!
//! *Memory.* The server is at most `IN_FLIGHT` (64) chunks ahead of the client's answers, and the client takes no more than that
//! at once, so that neither waits for the other and both queues stay short, however large the steps are: some
//! megabytes, more than what any link holds.

use std::collections::VecDeque;
use std::time::Instant;

use he_core::Seed;
use rayon::prelude::*;
use ss_core::SsError;
use ss_core::activation::Operands;
use ss_core::gate::ClientInputs;
use ss_core::step::{ClientStep, ServerStep, ServerWaiting, StepSpec};

use super::{ClientSteps, IN_FLIGHT, ServerSteps, chunks, side_by_side};
use crate::channel::{Channel, Duplex, Kind, Traffic};
use crate::error::{PeerResult, ProtocolError, caller};
use crate::transfers::{Demand, Transfers};

/// Called when a step's material is ready, or a part of it: place, seconds and traffic that it took.
pub type Done<'a> = &'a mut dyn FnMut(usize, f64, Traffic);

/// Client: the halves of all steps. For every step come `operands` with their number of elements.
///
/// # Errors
/// What the channel or the peer did.
pub fn client(
    channel: &mut Channel,
    transfers: &mut Transfers,
    steps: &[(StepSpec, usize)],
    operands: &[Operands],
    seed: &Seed,
    done: Done<'_>,
) -> Result<Vec<ClientSteps>, ProtocolError> {
    let mut clock = Clock::start(channel.traffic());
    transfers.supply(channel, demand(steps), true)?;
    let mut all = Vec::with_capacity(steps.len());
    channel.duplex(true, 0, |link| {
        for (at, ((spec, elements), operands)) in steps.iter().zip(operands).enumerate() {
            let seed = seed.fork("step", &[at as u64]);
            let ranges: Vec<_> = chunks(*elements).collect();
            let mut halves = Vec::with_capacity(ranges.len());
            for (group, ranges) in ranges.chunks(side_by_side()).enumerate() {
                let mut material = Vec::with_capacity(ranges.len());
                for (number, range) in ranges.iter().enumerate() {
                    let seed = seed.fork("chunk", &[(group * side_by_side() + number) as u64]);
                    let count = range.len() * spec.server_transfers();
                    let message =
                        link.receive(Kind::Extension, at, transfers.random_len(count).map_err(caller)?)?;
                    let sent = transfers.send_random(count, &message).or_malformed("transfer extension")?;
                    let terms = range.start * spec.terms()..range.end * spec.terms();
                    let compare = &operands.compare[terms];
                    let choices = spec.choices(compare, &mut seed.fork("choices", &[]).stream());
                    let (message, received) = transfers.receive_chosen(&choices).map_err(caller)?;
                    material.push((seed, range, sent, received, message));
                }
                let prepared: Vec<_> = material
                    .into_par_iter()
                    .map(|(seed, range, sent, received, message)| {
                        let terms = range.start * spec.terms()..range.end * spec.terms();
                        let lanes: Vec<&[u64]> =
                            operands.lanes.iter().map(|lane| &lane[terms.clone()]).collect();
                        let constants: Vec<&[u64]> =
                            operands.constants.iter().map(|constants| &constants[range.clone()]).collect();
                        let inputs = ClientInputs {
                            compare: &operands.compare[terms],
                            lanes: &lanes,
                            constants: &constants,
                        };
                        let mut rng = seed.fork("tables", &[]).stream();
                        let (corrections, half) =
                            ClientStep::prepare(spec, &inputs, sent, received, &mut rng)?;
                        Ok((message, corrections, half))
                    })
                    .collect::<Result<_, SsError>>()
                    .map_err(caller)?;
                for (message, corrections, half) in prepared {
                    link.send(Kind::Extension, at, message)?;
                    link.send(Kind::Corrections, at, corrections)?;
                    halves.push(half);
                }
                link.flush()?;
            }
            all.push(ClientSteps { spec: spec.clone(), elements: *elements, chunks: halves });
            if at + 1 < steps.len() {
                clock.lap(link.traffic(), |seconds, traffic| done(at, seconds, traffic));
            }
        }
        Ok(())
    })?;
    transfers.check(channel, true)?;
    if let Some(last) = steps.len().checked_sub(1) {
        clock.lap(channel.traffic(), |seconds, traffic| done(last, seconds, traffic));
    }
    Ok(all)
}

/// Server: the halves of all steps.
///
/// # Errors
/// What the channel or the peer did.
pub fn server(
    channel: &mut Channel,
    transfers: &mut Transfers,
    steps: &[(StepSpec, usize)],
    done: Done<'_>,
) -> Result<Vec<ServerSteps>, ProtocolError> {
    let mut clock = Clock::start(channel.traffic());
    transfers.supply(channel, demand(steps), false)?;
    let mut all: Vec<ServerSteps> = steps
        .iter()
        .map(|(spec, elements)| ServerSteps { spec: spec.clone(), elements: *elements, chunks: Vec::new() })
        .collect();
    channel.duplex(true, 0, |link| {
        let mut waiting = VecDeque::with_capacity(IN_FLIGHT);
        for (at, (spec, elements)) in steps.iter().enumerate() {
            for range in chunks(*elements) {
                if waiting.len() == IN_FLIGHT {
                    complete(link, transfers, &mut waiting, &mut all, &mut clock, done)?;
                }
                let count = range.len() * spec.server_transfers();
                let (message, received) = transfers.receive_random(count).map_err(caller)?;
                link.send(Kind::Extension, at, message)?;
                link.flush()?;
                let half = ServerStep::receive(spec, range.len(), received).map_err(caller)?;
                waiting.push_back((at, range.len(), half));
                clock.lap(link.traffic(), |seconds, traffic| done(at, seconds, traffic));
            }
        }
        while !waiting.is_empty() {
            complete(link, transfers, &mut waiting, &mut all, &mut clock, done)?;
        }
        Ok(())
    })?;
    transfers.check(channel, false)?;
    if let Some(last) = steps.len().checked_sub(1) {
        clock.lap(channel.traffic(), |seconds, traffic| done(last, seconds, traffic));
    }
    Ok(all)
}

/// Server: takes the client's answers to the oldest chunks that wait, as many as go side by side.
fn complete(
    link: &mut Duplex<'_>,
    transfers: &mut Transfers,
    waiting: &mut VecDeque<(usize, usize, ServerWaiting)>,
    all: &mut [ServerSteps],
    clock: &mut Clock,
    done: Done<'_>,
) -> Result<(), ProtocolError> {
    let mut material = Vec::with_capacity(side_by_side());
    for (at, elements, half) in waiting.drain(..side_by_side().min(waiting.len())) {
        let spec = &all[at].spec;
        let chosen = elements * spec.client_transfers();
        let length = transfers.chosen_len(chosen).map_err(caller)?;
        let message = link.receive(Kind::Extension, at, length)?;
        let corrections = link.receive(Kind::Corrections, at, spec.message_bytes(elements)[0])?;
        let sent = transfers.send_chosen(chosen, &message).or_malformed("transfer extension")?;
        material.push((at, half, sent, corrections));
        clock.lap(link.traffic(), |seconds, traffic| done(at, seconds, traffic));
    }
    let ready: Vec<(usize, ServerStep)> = material
        .into_par_iter()
        .map(|(at, half, sent, corrections)| Ok((at, half.complete(sent, &corrections)?)))
        .collect::<Result<_, SsError>>()
        .or_malformed("step corrections")?;
    for (at, half) in ready {
        all[at].chunks.push(half);
        clock.lap(link.traffic(), |seconds, traffic| done(at, seconds, traffic));
    }
    Ok(())
}

/// Transfers that the steps take.
fn demand(steps: &[(StepSpec, usize)]) -> Demand {
    let none = Demand { server_receives: 0, client_receives: 0 };
    steps.iter().fold(none, |sum, (spec, elements)| Demand {
        server_receives: sum.server_receives + elements * spec.server_transfers(),
        client_receives: sum.client_receives + elements * spec.client_transfers(),
    })
}

/// Time and traffic step by step; the first step's holds the supply, the last one's the check.
struct Clock {
    time: Instant,
    traffic: Traffic,
}

impl Clock {
    fn start(traffic: Traffic) -> Self {
        Self { time: Instant::now(), traffic }
    }

    fn lap(&mut self, traffic: Traffic, report: impl FnOnce(f64, Traffic)) {
        let now = Self::start(traffic);
        report((now.time - self.time).as_secs_f64(), now.traffic - self.traffic);
        *self = now;
    }
}
