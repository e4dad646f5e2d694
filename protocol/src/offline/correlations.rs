//! Preprocessing of the activations: from shares and transfers to prepared gates.
//!
//! The client knows its share of *every* layer before any input exists: behind a linear layer it is what it opened
//! from the replies, behind a maximum it is a fresh random value that it chooses here, behind a ReLU it is the
//! mask of the next linear layer. So all operands of all its gates are fixed now ([`client_operands`]), and the
//! gates of all layers are prepared in one go.

use rand_core::CryptoRng;
use ss_core::gate::{ClientGate, ClientInputs, ServerGate, choices};
use ss_core::maximum::Tournament;
use ss_core::ot::{ExtensionReceiver, ExtensionSender, RotReceiver};
use ss_core::ring::Z2k;
use ss_core::share::Share;

use crate::error::{PeerResult, ProtocolError};
use crate::plan::{GateStep, OutputMode, Plan};

/// The client's operands of one gate, all shares.
pub struct Operands {
    /// Share of the compared value.
    pub compare: Share,
    /// Per lane the share of the gated value.
    pub lanes: Vec<Share>,
    /// Per lane the constant κ.
    pub constants: Vec<Share>,
    /// Per lane the client's share of the gate's result (what κ stands for), kept for the oracle and the next level.
    pub results: Vec<Share>,
}

/// The client's operands of every gate in the plan's order, and its share of the output.
///
/// `shares` and `input_masks` are per linear layer, images × elements.
pub fn client_operands(
    plan: &Plan,
    shares: &[Share],
    input_masks: &[Share],
    rng: &mut impl CryptoRng,
) -> Result<(Vec<Operands>, Share), ProtocolError> {
    let mut all = Vec::with_capacity(plan.gates().len());
    for (layer, share) in plan.layers().iter().zip(shares) {
        if !layer.relu {
            continue;
        }
        let ring = ring(layer.ring_bits)?;
        let mut values = vec![share.values().to_vec()];
        if let Some(pool) = &layer.pool {
            play(pool, &[ring], &mut values, rng, &mut all);
        }
        let next = &plan.layers()[layer.index + 1];
        let masks = input_masks[layer.index + 1].values();
        let value = values.swap_remove(0);
        all.push(Operands {
            compare: Share::new(value.clone()),
            lanes: vec![Share::new(value)],
            constants: vec![Share::new(negate(self::ring(next.masked_bits)?, masks))],
            results: vec![Share::new(masks.to_vec())],
        });
    }
    let last = shares.last().map_or(&[][..], Share::values);
    let output = match (plan.mode(), plan.arg_max(), plan.layers().last()) {
        (OutputMode::Label, Some(arg_max), Some(layer)) => {
            let rings = [ring(layer.ring_bits)?, ring(arg_max.index_bits)?];
            // The indices are public at the start: the server's share is the index, the client's is zero.
            let mut values = vec![last.to_vec(), vec![0; last.len()]];
            play(&arg_max.tournament, &rings, &mut values, rng, &mut all);
            values.swap_remove(1)
        }
        _ => last.to_vec(),
    };
    Ok((all, Share::new(output)))
}

/// Plays a tournament with the client's shares: every winner gets a fresh random share.
fn play(
    tournament: &Tournament,
    rings: &[Z2k],
    values: &mut [Vec<u64>],
    rng: &mut impl CryptoRng,
    all: &mut Vec<Operands>,
) {
    for level in tournament.levels() {
        let mut operands =
            Operands { compare: Share::new(Vec::new()), lanes: vec![], constants: vec![], results: vec![] };
        for (lane, (values, ring)) in values.iter_mut().zip(rings).enumerate() {
            let (first, second) = (level.first(values), level.second(values));
            let difference: Vec<u64> = first.iter().zip(&second).map(|(&a, &b)| ring.sub(a, b)).collect();
            let fresh = Share::random(ring.bits(), difference.len(), rng);
            let constant = second.iter().zip(fresh.values()).map(|(&b, &new)| ring.sub(b, new)).collect();
            *values = level.advance(values, fresh.values());
            if lane == 0 {
                operands.compare = Share::new(difference.clone());
            }
            operands.lanes.push(Share::new(difference));
            operands.constants.push(Share::new(constant));
            operands.results.push(fresh);
        }
        all.push(operands);
    }
    values.iter_mut().for_each(|values| *values = tournament.winners(values));
}

fn ring(bits: u32) -> Result<Z2k, ProtocolError> {
    Z2k::new(bits).or_malformed("manifest")
}

fn negate(ring: Z2k, values: &[u64]) -> Vec<u64> {
    values.iter().map(|&value| ring.sub(0, value)).collect()
}

/// Client: one gate from its operands and the server's extension message. Gives its own extension message, its
/// corrections, and the prepared gate.
///
/// # Errors
/// [`ProtocolError::Peer`] for a message that does not fit.
pub fn client_gate(
    step: &GateStep,
    operands: &Operands,
    sender: &mut ExtensionSender,
    receiver: &mut ExtensionReceiver,
    extension: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(Vec<u8>, Vec<u8>, ClientGate), ProtocolError> {
    let sent = sender
        .extend_random(step.elements * step.spec.server_transfers(), extension)
        .or_malformed("transfer extension")?;
    let choices = choices(&step.spec, operands.compare.values(), rng);
    let (message, received) = receiver.extend(&choices).or_malformed("transfer extension")?;
    let lanes: Vec<&[u64]> = operands.lanes.iter().map(Share::values).collect();
    let constants: Vec<&[u64]> = operands.constants.iter().map(Share::values).collect();
    let inputs = ClientInputs { compare: operands.compare.values(), lanes: &lanes, constants: &constants };
    let (corrections, gate) =
        ClientGate::prepare(&step.spec, &inputs, sent, received, rng).or_malformed("transfer extension")?;
    Ok((message, corrections, gate))
}

/// Server: the transfers of one gate in which it chooses, at random.
///
/// # Errors
/// [`ProtocolError::Caller`] for a batch beyond the extension's limit.
pub fn server_extension(
    step: &GateStep,
    receiver: &mut ExtensionReceiver,
) -> Result<(Vec<u8>, RotReceiver), ProtocolError> {
    receiver
        .extend_random(step.elements * step.spec.server_transfers())
        .map_err(|error| ProtocolError::Caller(error.to_string()))
}

/// Server: one prepared gate from the client's two messages.
///
/// # Errors
/// [`ProtocolError::Peer`] for messages that do not fit.
pub fn server_gate(
    step: &GateStep,
    received: RotReceiver,
    sender: &mut ExtensionSender,
    extension: &[u8],
    corrections: &[u8],
) -> Result<ServerGate, ProtocolError> {
    let sent =
        sender.extend(step.elements * step.spec.client_transfers(), extension).or_malformed("transfer extension")?;
    ServerGate::prepare(&step.spec, step.elements, received, sent, corrections).or_malformed("gate corrections")
}
