//! Preprocessing of the activations: from shares and transfers to prepared gates.
//!
//! The client knows its share of *every* layer before any input exists: behind a linear layer it is what it opened
//! from the replies, behind a maximum it is a fresh random value that it chooses here, behind a ReLU it is the
//! mask of the next linear layer. So all operands of all its gates are fixed now ([`client_operands`]), and the
//! gates of all layers are prepared in one go.

use std::ops::Range;

use he_core::Seed;
use rand_core::CryptoRng;
use ss_core::SsError;
use ss_core::gate::{ClientGate, ClientInputs, ServerGate, choices};
use ss_core::maximum::Tournament;
use ss_core::ot::{ExtensionParams, ExtensionReceiver, ExtensionSender, RotReceiver};
use ss_core::ring::Z2k;
use ss_core::share::Share;

use super::stage::Transfers;
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
        let mut values = vec![Share::new(share.values().to_vec())];
        if let Some(pool) = &layer.pool {
            play(pool, &[ring], &mut values, rng, &mut all);
        }
        let next = &plan.layers()[layer.index + 1];
        let masks = input_masks[layer.index + 1].values();
        let value = values.swap_remove(0);
        all.push(Operands {
            compare: Share::new(value.values().to_vec()),
            lanes: vec![value],
            constants: vec![Share::new(negate(self::ring(next.masked_bits)?, masks))],
            results: vec![Share::new(masks.to_vec())],
        });
    }
    let last = shares.last().map_or(&[][..], Share::values);
    let output = match (plan.mode(), plan.arg_max(), plan.layers().last()) {
        (OutputMode::Label, Some(arg_max), Some(layer)) => {
            let rings = [ring(layer.ring_bits)?, ring(arg_max.index_bits)?];
            // The indices are public at the start: the server's share is the index, the client's is zero.
            let mut values = vec![Share::new(last.to_vec()), Share::new(vec![0; last.len()])];
            play(&arg_max.tournament, &rings, &mut values, rng, &mut all);
            values.swap_remove(1)
        }
        _ => Share::new(last.to_vec()),
    };
    Ok((all, output))
}

/// Plays a tournament with the client's shares: every winner gets a fresh random share.
fn play(
    tournament: &Tournament,
    rings: &[Z2k],
    values: &mut [Share],
    rng: &mut impl CryptoRng,
    all: &mut Vec<Operands>,
) {
    for level in tournament.levels() {
        let mut operands =
            Operands { compare: Share::new(Vec::new()), lanes: vec![], constants: vec![], results: vec![] };
        for (lane, (values, ring)) in values.iter_mut().zip(rings).enumerate() {
            let (first, second) =
                (Share::new(level.first(values.values())), Share::new(level.second(values.values())));
            let difference = subtract(*ring, &first, &second);
            let fresh = Share::random(ring.bits(), difference.len(), rng);
            let constant = subtract(*ring, &second, &fresh);
            *values = Share::new(level.advance(values.values(), fresh.values()));
            if lane == 0 {
                operands.compare = Share::new(difference.values().to_vec());
            }
            operands.lanes.push(difference);
            operands.constants.push(constant);
            operands.results.push(fresh);
        }
        all.push(operands);
    }
    values.iter_mut().for_each(|values| *values = Share::new(tournament.winners(values.values())));
}

fn ring(bits: u32) -> Result<Z2k, ProtocolError> {
    Z2k::new(bits).or_malformed("manifest")
}

fn subtract(ring: Z2k, a: &Share, b: &Share) -> Share {
    Share::new(a.values().iter().zip(b.values()).map(|(&a, &b)| ring.sub(a, b)).collect())
}

fn negate(ring: Z2k, values: &[u64]) -> Vec<u64> {
    values.iter().map(|&value| ring.sub(0, value)).collect()
}

/// Elements of a gate that are prepared at a time: what is in flight stays in the cache and out of the memory bill.
/// A multiple of eight, so that the chunks' packed messages join without padding.
const CHUNK_ELEMENTS: usize = 2048;

/// The chunks of a gate of `elements`.
fn chunks(elements: usize) -> impl Iterator<Item = Range<usize>> {
    (0..elements).step_by(CHUNK_ELEMENTS).map(move |start| start..(start + CHUNK_ELEMENTS).min(elements))
}

/// Bytes of a gate's two extension messages: server choosing, client choosing.
///
/// # Errors
/// [`ProtocolError::Caller`] for a batch beyond the extension's limit.
pub fn extension_bytes(step: &GateStep, params: ExtensionParams) -> Result<[usize; 2], ProtocolError> {
    let too_large = |error: SsError| ProtocolError::Caller(error.to_string());
    chunks(step.elements).try_fold([0, 0], |[server, client], chunk| {
        let server_len =
            params.random_message_len(chunk.len() * step.spec.server_transfers()).map_err(too_large)?;
        let client_len = params.message_len(chunk.len() * step.spec.client_transfers()).map_err(too_large)?;
        Ok([server + server_len, client + client_len])
    })
}

/// Client: one gate from its operands and the server's extension message. Gives its own extension message, its
/// corrections, and the prepared gate.
///
/// # Errors
/// [`ProtocolError::Peer`] for a message that does not fit.
pub fn client_gate(
    step: &GateStep,
    operands: &Operands,
    transfers: &mut Transfers,
    extension: &[u8],
    seed: &Seed,
) -> Result<(Vec<u8>, Vec<u8>, ClientGate), ProtocolError> {
    let Transfers { sender, receiver } = transfers;
    let params = sender.params();
    let (mut messages, mut corrections) = (Vec::new(), Vec::new());
    let mut gate = ClientGate::with_capacity(&step.spec, step.elements);
    let mut rest = extension;
    for (at, chunk) in chunks(step.elements).enumerate() {
        let seed = seed.fork("chunk", &[at as u64]);
        let count = chunk.len() * step.spec.server_transfers();
        let (own, more) = rest.split_at(params.random_message_len(count).or_malformed("transfer extension")?);
        rest = more;
        let compare = &operands.compare.values()[chunk.clone()];
        let choices = choices(&step.spec, compare, &mut seed.fork("choices", &[]).stream());
        let (sent, received) = rayon::join(|| sender.extend_random(count, own), || receiver.extend(&choices));
        let (sent, (message, received)) =
            (sent.or_malformed("transfer extension")?, received.or_malformed("transfer extension")?);
        let (lanes, constants) = (part(&operands.lanes, &chunk), part(&operands.constants, &chunk));
        let inputs = ClientInputs { compare, lanes: &lanes, constants: &constants };
        let mut rng = seed.fork("tables", &[]).stream();
        let (correction, prepared) = ClientGate::prepare(&step.spec, &inputs, sent, received, &mut rng)
            .or_malformed("transfer extension")?;
        messages.extend_from_slice(&message);
        corrections.extend_from_slice(&correction);
        gate.append(prepared).or_malformed("transfer extension")?;
    }
    if gate.is_empty() {
        return Err(without_elements());
    }
    Ok((messages, corrections, gate))
}

/// Server: the transfers of one gate in which it chooses, at random; chunk by chunk.
///
/// # Errors
/// [`ProtocolError::Caller`] for a batch beyond the extension's limit.
pub fn server_extension(
    step: &GateStep,
    receiver: &mut ExtensionReceiver,
) -> Result<(Vec<u8>, Vec<RotReceiver>), ProtocolError> {
    let (mut messages, mut received) = (Vec::new(), Vec::new());
    for chunk in chunks(step.elements) {
        let (message, transfers) = receiver
            .extend_random(chunk.len() * step.spec.server_transfers())
            .map_err(|error| ProtocolError::Caller(error.to_string()))?;
        messages.extend_from_slice(&message);
        received.push(transfers);
    }
    Ok((messages, received))
}

/// Server: one prepared gate from the client's two messages.
///
/// # Errors
/// [`ProtocolError::Peer`] for messages that do not fit.
pub fn server_gate(
    step: &GateStep,
    received: Vec<RotReceiver>,
    sender: &mut ExtensionSender,
    extension: &[u8],
    corrections: &[u8],
) -> Result<ServerGate, ProtocolError> {
    let params = sender.params();
    let (mut extension, mut corrections) = (extension, corrections);
    let mut gate = ServerGate::with_capacity(&step.spec, step.elements);
    for (chunk, received) in chunks(step.elements).zip(received) {
        let count = chunk.len() * step.spec.client_transfers();
        let (own, more) = extension.split_at(params.message_len(count).or_malformed("transfer extension")?);
        let sent = sender.extend(count, own).or_malformed("transfer extension")?;
        let (correction, later) = corrections.split_at(step.spec.message_bytes(chunk.len())[0]);
        let prepared = ServerGate::prepare(&step.spec, chunk.len(), received, sent, correction)
            .or_malformed("gate corrections")?;
        (extension, corrections) = (more, later);
        gate.append(prepared).or_malformed("gate corrections")?;
    }
    if gate.is_empty() {
        return Err(without_elements());
    }
    Ok(gate)
}

/// One chunk of every share.
fn part<'a>(shares: &'a [Share], chunk: &Range<usize>) -> Vec<&'a [u64]> {
    shares.iter().map(|share| &share.values()[chunk.clone()]).collect()
}

fn without_elements() -> ProtocolError {
    ProtocolError::Caller("a gate without elements".into())
}
