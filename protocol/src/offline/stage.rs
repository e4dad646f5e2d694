//! The preprocessing stage as the two parties speak it: three one-way messages, see [`super`].
//!
//! The linear layers are one full-duplex stage: the client sends layer after layer while the server answers the ones
//! before. Neither waits for the other's reading, and the client opens replies as soon as so many bytes of them are
//! underway that the server's queue would become large (`AHEAD`); so memory is bounded and no round trip is spent per
//! layer.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use he_core::seed::Seed;
use he_core::split::Epoch;

use super::construction::{
    ClientKeys, ClientLayer, Material, ServerKeys, client_keys, client_open, client_setup, keys_bytes,
    replies_bytes, server_reply, server_setup,
};
use super::correlations::client_operands;
use super::rho::Rho;
use super::{BundleId, ClientBundle, ServerBundle};
use crate::channel::{Channel, Duplex, Kind, Traffic};
use crate::error::ProtocolError;
use crate::online::Progress;
use crate::plan::{LinearPlan, Plan};
use crate::report::{Report, Stage};
use crate::steps::prepare;
use crate::transfers::Transfers;

/// The row of reports for the keys of a session.
const KEYS: &str = "keys of the session";
/// Bytes of replies that may be underway before the client takes the first of them.
const AHEAD: usize = 32 << 20;

/// What a client has for all bundles of a session.
pub struct Session<'a> {
    /// The server's public label.
    pub epoch: &'a Epoch,
    /// Of the preprocessing: none before the first bundle.
    pub keys: &'a mut Option<ClientKeys>,
    /// Where the keys come from.
    pub seed: &'a Seed,
}

/// Client: prepares one bundle from a seed of its own.
///
/// # Errors
/// What the channel or the peer did.
pub fn client(
    channel: &mut Channel,
    transfers: &mut Transfers,
    plan: &Arc<Plan>,
    session: Session<'_>,
    id: BundleId,
    seed: &Seed,
    report: &mut Report,
    progress: Progress<'_>,
) -> Result<ClientBundle, ProtocolError> {
    let steps = 2 * plan.layers().len() + plan.gates().len();
    let (done, progress) = (Cell::new(0), RefCell::new(progress));
    let tick = || {
        done.set(done.get() + 1);
        (progress.borrow_mut())(done.get(), steps);
    };
    let mut rho = Rho::new(plan, &masks_seed(seed));
    let mut shares = Vec::with_capacity(plan.layers().len());
    channel.duplex(true, rounds(plan), |link| {
        let mut clock = Clock::start(link, report);
        let Session { epoch, keys, seed: root } = session;
        let keys = match keys {
            Some(keys) => &*keys,
            None => {
                let (message, own) = client_setup(plan, &setup_seed(root))?;
                if !message.is_empty() {
                    link.send(Kind::Setup, 0, &message)?;
                    clock.lap(link, KEYS);
                }
                &*keys.insert(own)
            }
        };
        let mut waiting: VecDeque<(&LinearPlan, ClientLayer)> = VecDeque::new();
        let mut underway = 0;
        let mut open = |link: &mut Duplex<'_>,
                        clock: &mut Clock<'_>,
                        underway: &mut usize,
                        (layer, own): (&LinearPlan, ClientLayer)| {
            let length = replies_bytes(plan, layer);
            let replies = link.receive(Kind::Replies, layer.node, length)?;
            *underway -= length;
            shares.push(client_open(plan, layer, keys, own, &replies)?);
            clock.lap(link, &layer.name);
            tick();
            Ok::<_, ProtocolError>(())
        };
        for layer in plan.layers() {
            let seed = layer_seed(seed, layer);
            let (message, own, _) = client_keys(plan, layer, keys, epoch, &seed, &mut rho)?;
            link.send(Kind::Keys, layer.node, &message)?;
            link.flush()?;
            underway += replies_bytes(plan, layer);
            waiting.push_back((layer, own));
            clock.lap(link, &layer.name);
            tick();
            while underway > AHEAD && waiting.len() > 1 {
                let Some(next) = waiting.pop_front() else { break };
                open(link, &mut clock, &mut underway, next)?;
            }
        }
        waiting.into_iter().try_for_each(|next| open(link, &mut clock, &mut underway, next))
    })?;
    report_rounds(plan, report);

    let input_mask = rho.of_producer(&plan.producers()[0]);
    let mut rng = operands_seed(seed).stream();
    let operands = client_operands(plan, shares, &rho, &mut rng, &mut |_, _| {})?;
    drop(rho);
    let gates = prepare::client(
        channel,
        transfers,
        &plan.step_sizes(),
        &operands.steps,
        seed,
        &mut |at, seconds, traffic| {
            let step = &plan.gates()[at];
            report.add_figures(Stage::Preprocessing, plan.layer_name(step), step.part, seconds, traffic);
            tick();
        },
    )?;
    Ok(ClientBundle { id, plan: plan.clone(), input_mask, gates, output: operands.output })
}

/// Server: prepares its half. `materials` and `biases` are per layer; `keys` are the client's of this session, none before
/// its first bundle.
///
/// # Errors
/// What the channel or the peer did.
pub fn server(
    channel: &mut Channel,
    transfers: &mut Transfers,
    plan: &Arc<Plan>,
    materials: &[Arc<Material>],
    keys: &mut Option<ServerKeys>,
    biases: &[&[Vec<u64>]],
    seed: &Seed,
    report: &mut Report,
) -> Result<ServerBundle, ProtocolError> {
    let mut layers = Vec::with_capacity(plan.layers().len());
    channel.duplex(true, rounds(plan), |link| {
        let mut clock = Clock::start(link, report);
        let keys = match keys {
            Some(keys) => &*keys,
            None => {
                let length = plan.scheme().setup_bytes();
                let message = if length > 0 { link.receive(Kind::Setup, 0, length)? } else { Vec::new() };
                let own = server_setup(plan, &message)?;
                if length > 0 {
                    clock.lap(link, KEYS);
                }
                &*keys.insert(own)
            }
        };
        for ((layer, material), bias) in plan.layers().iter().zip(materials).zip(biases) {
            let message = link.receive(Kind::Keys, layer.node, keys_bytes(plan, layer))?;
            let seed = layer_seed(seed, layer);
            let (replies, half) = server_reply(plan, layer, material, keys, bias, &message, &seed)?;
            link.send(Kind::Replies, layer.node, &replies)?;
            link.flush()?;
            layers.push(half);
            clock.lap(link, &layer.name);
        }
        Ok(())
    })?;
    report_rounds(plan, report);
    let gates = prepare::server(channel, transfers, &plan.step_sizes(), &mut |at, seconds, traffic| {
        let step = &plan.gates()[at];
        report.add_figures(Stage::Preprocessing, plan.layer_name(step), step.part, seconds, traffic);
    })?;
    Ok(ServerBundle { plan: plan.clone(), layers, gates })
}

/// What all linear layers count for in turns: keys one way, replies the other.
fn rounds(plan: &Plan) -> u64 {
    u64::from(!plan.layers().is_empty())
}

/// A stage's rounds come at its end, in nobody's lap: they are the first layer's.
fn report_rounds(plan: &Plan, report: &mut Report) {
    if let Some(first) = plan.layers().first() {
        let traffic = Traffic { rounds: rounds(plan), ..Traffic::default() };
        report.add_figures(Stage::Preprocessing, &first.name, "linear", 0.0, traffic);
    }
}

/// Of the client's seed of a session: its keys.
pub(crate) fn setup_seed(seed: &Seed) -> Seed {
    seed.fork("preprocessing keys", &[])
}

/// Of a bundle's seed: either party's for one layer.
pub(crate) fn layer_seed(seed: &Seed, layer: &LinearPlan) -> Seed {
    seed.fork("layer", &[layer.node as u64])
}

/// Of the client's seed: its masks ρ.
pub(crate) fn masks_seed(seed: &Seed) -> Seed {
    seed.fork("masked tensors", &[])
}

/// Of the client's seed: its operands.
pub(crate) fn operands_seed(seed: &Seed) -> Seed {
    seed.fork("activations", &[])
}

/// Time and traffic layer by layer.
struct Clock<'a> {
    time: Instant,
    traffic: Traffic,
    report: &'a mut Report,
}

impl<'a> Clock<'a> {
    fn start(link: &Duplex<'_>, report: &'a mut Report) -> Self {
        Self { time: Instant::now(), traffic: link.traffic(), report }
    }

    fn lap(&mut self, link: &Duplex<'_>, name: &str) {
        let (time, traffic) = (Instant::now(), link.traffic());
        let seconds = (time - self.time).as_secs_f64();
        self.report.add_figures(Stage::Preprocessing, name, "linear", seconds, traffic - self.traffic);
        (self.time, self.traffic) = (time, traffic);
    }
}
