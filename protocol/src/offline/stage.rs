//! The preprocessing stage as the two parties speak it: three one-way messages, see [`super`].

use std::sync::Arc;

use he_core::seed::Seed;
use he_core::split::Epoch;
use ss_core::ot::{ExtensionReceiver, ExtensionSender};

use super::correlations::{
    Operands, client_gate, client_operands, extension_bytes, server_extension, server_gate,
};
use super::linear::{LayerHints, client_keys, client_open, keys_bytes, replies_bytes, server_reply};
use super::{BundleId, ClientBundle, ServerBundle};
use crate::channel::{Channel, Kind};
use crate::error::ProtocolError;
use crate::online::Progress;
use crate::plan::Plan;
use crate::report::{Report, Stage, Start};

/// The oblivious-transfer extensions of one session, both directions.
pub struct Transfers {
    /// This party sends.
    pub sender: ExtensionSender,
    /// This party receives.
    pub receiver: ExtensionReceiver,
}

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

    let (operands, output) =
        client_operands(plan, &shares, &masks, &mut seed.fork("activations", &[]).stream())?;
    // All the server's extensions first: it sends them in one stretch, and may not wait for us in between.
    let mut gates = Vec::with_capacity(plan.gates().len());
    let mut answers = Vec::with_capacity(plan.gates().len());
    for (at, (step, operands)) in plan.gates().iter().zip(&operands).enumerate() {
        let start = Start::now(channel);
        let [length, _] = extension_bytes(step, transfers.sender.params())?;
        let extension = channel.receive(Kind::Extension, at, length)?;
        let seed = seed.fork("gate", &[at as u64]);
        let (message, corrections, gate) = client_gate(step, operands, transfers, &extension, &seed)?;
        answers.push((message, corrections));
        gates.push(gate);
        report.add(Stage::Preprocessing, plan.layer_name(step), step.part, &start, channel);
        tick();
    }
    for (at, (step, (message, corrections))) in plan.gates().iter().zip(answers).enumerate() {
        let start = Start::now(channel);
        channel.send(Kind::Extension, at, &message)?;
        channel.send(Kind::Corrections, at, &corrections)?;
        report.add(Stage::Preprocessing, plan.layer_name(step), step.part, &start, channel);
    }
    channel.flush()?;
    let input_mask = masks.swap_remove(0);
    Ok(ClientBundle { id, plan: plan.clone(), input_mask, gates, output })
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
    let mut received = Vec::with_capacity(plan.gates().len());
    for (at, step) in plan.gates().iter().enumerate() {
        let start = Start::now(channel);
        let (message, transfers) = server_extension(step, &mut transfers.receiver)?;
        channel.send(Kind::Extension, at, &message)?;
        received.push(transfers);
        report.add(Stage::Preprocessing, plan.layer_name(step), step.part, &start, channel);
    }
    let mut gates = Vec::with_capacity(plan.gates().len());
    for (at, (step, received)) in plan.gates().iter().zip(received).enumerate() {
        let start = Start::now(channel);
        let [_, length] = extension_bytes(step, transfers.sender.params())?;
        let extension = channel.receive(Kind::Extension, at, length)?;
        let corrections =
            channel.receive(Kind::Corrections, at, step.spec.message_bytes(step.elements)[0])?;
        gates.push(server_gate(step, received, &mut transfers.sender, &extension, &corrections)?);
        report.add(Stage::Preprocessing, plan.layer_name(step), step.part, &start, channel);
    }
    Ok(ServerBundle { plan: plan.clone(), masks, gates })
}

/// Replays what the client's operands were, for the oracle of tests that recorded the seed.
pub(crate) fn replay_operands(
    plan: &Plan,
    shares: &[ss_core::share::Share],
    masks: &[ss_core::share::Share],
    seed: &Seed,
) -> Result<(Vec<Operands>, ss_core::share::Share), ProtocolError> {
    client_operands(plan, shares, masks, &mut seed.fork("activations", &[]).stream())
}
