//! The client's numbers for every step of a bundle.
//!
//! The client knows its share of *every* layer before any input exists: behind a linear layer it is what it opened
//! from the replies, behind a maximum it is a fresh random value that it chooses here, behind a ReLU it is the
//! mask of the next linear layer. So all operands of all its steps are fixed now, and the steps of all layers are
//! prepared in one go ([`crate::steps::prepare`]).

use rand_core::CryptoRng;
use ss_core::activation::Operands;
use ss_core::maximum::Tournament;
use ss_core::ring::Z2k;
use ss_core::share::Share;

use crate::error::{PeerResult, ProtocolError};
use crate::plan::Plan;

/// All that the client fixes ahead for the activations of a bundle.
#[derive(Debug)]
pub struct ClientOperands {
    /// Of every step in the plan's order.
    pub steps: Vec<Operands>,
    /// Per step and lane the client's share of the result (what κ stands for): the next level's operand, and the oracle's.
    pub results: Vec<Vec<Share>>,
    /// Its share of the output.
    pub output: Share,
}

/// The client's operands from its shares and masks per linear layer, images × elements.
pub fn client_operands(
    plan: &Plan,
    shares: &[Share],
    input_masks: &[Share],
    rng: &mut impl CryptoRng,
) -> Result<ClientOperands, ProtocolError> {
    let mut all = ClientOperands { steps: vec![], results: vec![], output: Share::new(vec![]) };
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
        all.steps.push(Operands {
            compare: value.values().to_vec(),
            lanes: Vec::new(),
            constants: vec![negate(self::ring(next.masked_bits)?, masks)],
        });
        all.results.push(vec![Share::new(masks.to_vec())]);
    }
    let last = shares.last().map_or(&[][..], Share::values);
    all.output = match (plan.arg_max(), plan.layers().last()) {
        (Some(arg_max), Some(layer)) => {
            let rings = [ring(layer.ring_bits)?, ring(arg_max.index_bits)?];
            // The indices are public at the start: the server's share is the index, the client's is zero.
            let mut values = vec![Share::new(last.to_vec()), Share::new(vec![0; last.len()])];
            play(&arg_max.tournament, &rings, &mut values, rng, &mut all);
            values.swap_remove(1)
        }
        _ => Share::new(last.to_vec()),
    };
    Ok(all)
}

/// Plays a tournament with the client's shares: every winner gets a fresh random share.
fn play(
    tournament: &Tournament,
    rings: &[Z2k],
    values: &mut [Share],
    rng: &mut impl CryptoRng,
    all: &mut ClientOperands,
) {
    for level in tournament.levels() {
        let mut operands = Operands { compare: vec![], lanes: vec![], constants: vec![] };
        let mut results = Vec::with_capacity(rings.len());
        for (lane, (values, ring)) in values.iter_mut().zip(rings).enumerate() {
            let (first, second) =
                (Share::new(level.first(values.values())), Share::new(level.second(values.values())));
            let difference = subtract(*ring, &first, &second);
            let fresh = Share::random(ring.bits(), difference.len(), rng);
            operands.constants.push(subtract(*ring, &second, &fresh));
            *values = Share::new(level.advance_in(*ring, values.values(), fresh.values()));
            if lane == 0 {
                operands.compare = difference.clone();
            }
            operands.lanes.push(difference);
            results.push(fresh);
        }
        all.steps.push(operands);
        all.results.push(results);
    }
    values.iter_mut().for_each(|values| *values = Share::new(tournament.winners(values.values())));
}

fn ring(bits: u32) -> Result<Z2k, ProtocolError> {
    Z2k::new(bits).or_malformed("manifest")
}

fn subtract(ring: Z2k, a: &Share, b: &Share) -> Vec<u64> {
    a.values().iter().zip(b.values()).map(|(&a, &b)| ring.sub(a, b)).collect()
}

fn negate(ring: Z2k, values: &[u64]) -> Vec<u64> {
    values.iter().map(|&value| ring.sub(0, value)).collect()
}
