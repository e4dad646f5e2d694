//! The preprocessing stage as the two parties speak it: three one-way messages, see [`super`].

use std::sync::Arc;

use he_core::seed::Seed;
use he_core::split::Epoch;

use super::correlations::{ClientOperands, client_operands};
use super::linear::{LayerHints, client_keys, client_open, keys_bytes, replies_bytes, server_reply};
use super::{BundleId, ClientBundle, ServerBundle};
use crate::channel::{Channel, Kind};
use crate::error::ProtocolError;
use crate::online::Progress;
use crate::plan::Plan;
use crate::report::{Report, Stage, Start};
use crate::steps::prepare;
use crate::transfers::Transfers;

/// Client: prepares one bundle.
///
/// # Errors
/// What the channel or the peer did.
pub fn client(
    channel: &mut Channel,
    transfers: &mut Transfers,
    plan: &Arc<Plan>,
    epoch: &Epoch,
    id: BundleId,
    seed: &Seed,
    report: &mut Report,
    progress: Progress<'_>,
) -> Result<ClientBundle, ProtocolError> {
    let steps = 2 * plan.layers().len() + plan.gates().len();
    let mut done = 0;
    let mut tick = move || {
        done += 1;
        progress(done, steps);
    };
    let mut waiting = Vec::with_capacity(plan.layers().len());
    for layer in plan.layers() {
        let start = Start::now(channel);
        let (message, own) = client_keys(plan, layer, epoch, &seed.fork("layer", &[layer.index as u64]));
        channel.send(Kind::Keys, layer.index, &message)?;
        waiting.push(own);
        report.add(Stage::Preprocessing, &layer.name, "linear", &start, channel);
        tick();
    }
    let (mut masks, mut shares) = (Vec::new(), Vec::new());
    for (layer, own) in plan.layers().iter().zip(waiting) {
        let start = Start::now(channel);
        let replies = channel.receive(Kind::Replies, layer.index, replies_bytes(plan, layer))?;
        let (mask, share) = client_open(plan, layer, own, &replies)?;
        masks.push(mask);
        shares.push(share);
        report.add(Stage::Preprocessing, &layer.name, "linear", &start, channel);
        tick();
    }

    let operands = client_operands(plan, &shares, &masks, &mut seed.fork("activations", &[]).stream())?;
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
    let input_mask = masks.swap_remove(0);
    Ok(ClientBundle { id, plan: plan.clone(), input_mask, gates, output: operands.output })
}

/// Server: prepares its half. `hints` and `biases` are per layer.
///
/// # Errors
/// What the channel or the peer did.
pub fn server(
    channel: &mut Channel,
    transfers: &mut Transfers,
    plan: &Arc<Plan>,
    hints: &[Arc<LayerHints>],
    biases: &[Vec<u64>],
    seed: &Seed,
    report: &mut Report,
) -> Result<ServerBundle, ProtocolError> {
    let mut keys = Vec::with_capacity(plan.layers().len());
    for layer in plan.layers() {
        let start = Start::now(channel);
        keys.push(channel.receive(Kind::Keys, layer.index, keys_bytes(plan, layer))?);
        report.add(Stage::Preprocessing, &layer.name, "linear", &start, channel);
    }
    let mut masks = Vec::with_capacity(plan.layers().len());
    for (((layer, keys), hints), bias) in plan.layers().iter().zip(&keys).zip(hints).zip(biases) {
        let start = Start::now(channel);
        let seed = seed.fork("layer", &[layer.index as u64]);
        let (replies, mask) = server_reply(plan, layer, hints, bias, keys, &seed)?;
        channel.send(Kind::Replies, layer.index, &replies)?;
        masks.push(mask);
        report.add(Stage::Preprocessing, &layer.name, "linear", &start, channel);
    }
    let gates = prepare::server(channel, transfers, &plan.step_sizes(), &mut |at, seconds, traffic| {
        let step = &plan.gates()[at];
        report.add_figures(Stage::Preprocessing, plan.layer_name(step), step.part, seconds, traffic);
    })?;
    Ok(ServerBundle { plan: plan.clone(), masks, gates })
}

/// Replays what the client's operands were, for the oracle of tests that recorded the seed.
pub(crate) fn replay_operands(
    plan: &Plan,
    shares: &[ss_core::share::Share],
    masks: &[ss_core::share::Share],
    seed: &Seed,
) -> Result<ClientOperands, ProtocolError> {
    client_operands(plan, shares, masks, &mut seed.fork("activations", &[]).stream())
}
