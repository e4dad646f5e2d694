//! The preprocessing stage of steps.

use std::time::Instant;

use he_core::Seed;
use rayon::prelude::*;
use ss_core::SsError;
use ss_core::activation::Operands;
use ss_core::gate::ClientInputs;
use ss_core::step::{ClientStep, ServerStep, StepSpec};

use super::{ClientSteps, ServerSteps, caller, chunks, side_by_side};
use crate::channel::{Channel, Duplex, Kind, Traffic};
use crate::error::{PeerResult, ProtocolError};
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
    transfers.supply(channel, demand(steps), true)?;
    let mut all = Vec::with_capacity(steps.len());
    channel.duplex(true, 0, |link| {
        let mut clock = Clock::start(link);
        for (at, ((spec, elements), operands)) in steps.iter().zip(operands).enumerate() {
            let seed = seed.fork("step", &[at as u64]);
            let ranges: Vec<_> = chunks(*elements).collect();
            let mut halves = Vec::with_capacity(ranges.len());
            for (group, ranges) in ranges.chunks(side_by_side()).enumerate() {
                let mut material = Vec::with_capacity(ranges.len());
                for (number, range) in ranges.iter().enumerate() {
                    let seed = seed.fork("chunk", &[(group * side_by_side() + number) as u64]);
                    let count = range.len() * spec.server_transfers();
                    let message = link.receive(Kind::Extension, at, transfers.random_len(count).map_err(caller)?)?;
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
                        let lanes: Vec<&[u64]> = operands.lanes.iter().map(|lane| &lane[terms.clone()]).collect();
                        let constants: Vec<&[u64]> =
                            operands.constants.iter().map(|constants| &constants[range.clone()]).collect();
                        let inputs =
                            ClientInputs { compare: &operands.compare[terms], lanes: &lanes, constants: &constants };
                        let mut rng = seed.fork("tables", &[]).stream();
                        let (corrections, half) = ClientStep::prepare(spec, &inputs, sent, received, &mut rng)?;
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
            clock.lap(link, |seconds, traffic| done(at, seconds, traffic));
        }
        Ok(())
    })?;
    transfers.check(channel, true)?;
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
    transfers.supply(channel, demand(steps), false)?;
    let mut all = Vec::with_capacity(steps.len());
    channel.duplex(true, 0, |link| {
        let mut clock = Clock::start(link);
        let mut waiting = Vec::with_capacity(steps.len());
        for (at, (spec, elements)) in steps.iter().enumerate() {
            let mut halves = Vec::with_capacity(chunks(*elements).len());
            for range in chunks(*elements) {
                let count = range.len() * spec.server_transfers();
                let (message, received) = transfers.receive_random(count).map_err(caller)?;
                link.send(Kind::Extension, at, message)?;
                link.flush()?;
                halves.push(ServerStep::receive(spec, range.len(), received).map_err(caller)?);
            }
            waiting.push(halves);
            clock.lap(link, |seconds, traffic| done(at, seconds, traffic));
        }
        for (at, ((spec, elements), halves)) in steps.iter().zip(waiting).enumerate() {
            let mut material = Vec::with_capacity(halves.len());
            let mut completed = Vec::with_capacity(halves.len());
            let last = halves.len() - 1;
            for (number, (range, half)) in chunks(*elements).zip(halves).enumerate() {
                let count = range.len() * spec.client_transfers();
                let message = link.receive(Kind::Extension, at, transfers.chosen_len(count).map_err(caller)?)?;
                let corrections = link.receive(Kind::Corrections, at, spec.message_bytes(range.len())[0])?;
                let sent = transfers.send_chosen(count, &message).or_malformed("transfer extension")?;
                material.push((half, sent, corrections));
                if material.len() == side_by_side() || number == last {
                    let ready: Vec<ServerStep> = std::mem::take(&mut material)
                        .into_par_iter()
                        .map(|(half, sent, corrections)| half.complete(sent, &corrections))
                        .collect::<Result<_, SsError>>()
                        .or_malformed("step corrections")?;
                    completed.extend(ready);
                }
            }
            all.push(ServerSteps { spec: spec.clone(), elements: *elements, chunks: completed });
            clock.lap(link, |seconds, traffic| done(at, seconds, traffic));
        }
        Ok(())
    })?;
    transfers.check(channel, false)?;
    Ok(all)
}

/// Transfers that the steps take.
fn demand(steps: &[(StepSpec, usize)]) -> Demand {
    let none = Demand { server_receives: 0, client_receives: 0 };
    steps.iter().fold(none, |sum, (spec, elements)| Demand {
        server_receives: sum.server_receives + elements * spec.server_transfers(),
        client_receives: sum.client_receives + elements * spec.client_transfers(),
    })
}

/// Time and traffic step by step.
struct Clock {
    time: Instant,
    traffic: Traffic,
}

impl Clock {
    fn start(link: &Duplex<'_>) -> Self {
        Self { time: Instant::now(), traffic: link.traffic() }
    }

    fn lap(&mut self, link: &Duplex<'_>, report: impl FnOnce(f64, Traffic)) {
        let now = Self::start(link);
        report((now.time - self.time).as_secs_f64(), now.traffic - self.traffic);
        *self = now;
    }
}
