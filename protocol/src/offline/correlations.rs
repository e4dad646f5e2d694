//! The client's numbers for every step of a bundle.
//!
//! The client knows its share of *every* tensor before any input exists: of a linear layer it is what it opened from the
//! replies, of sums and maps what these make of its shares, behind a maximum a fresh random value that it chooses
//! here, behind an activation its masks ρ. So all operands of all its steps are fixed now, and the steps of all activations
//! are prepared in one go ([`crate::steps::prepare`]).

use rand_core::CryptoRng;
use ss_core::activation::Operands;
use ss_core::maximum::Tournament;
use ss_core::ring::Z2k;
use ss_core::share::Share;
use zeroize::Zeroizing;

use super::rho::Rho;
use crate::error::{PeerResult, ProtocolError};
use crate::plan::{ActivationLayer, NodePlan, Plan};
use crate::raw::Raw;
use crate::walk::{mapped, sum};

/// All that the client fixes ahead for the activations of a bundle.
#[derive(Debug)]
pub struct ClientOperands {
    /// Of every step in the plan's order.
    pub steps: Vec<Operands>,
    /// Its share of the output.
    pub output: Share,
}

/// Told of every tournament's level: place of the step in the plan, and per lane the client's fresh shares of the winners.
pub type Levels<'a> = &'a mut dyn FnMut(usize, &[Share]);

/// The client's operands from its shares c of the linear layers (images × elements, in the plan's order) and its masks.
pub fn client_operands(
    plan: &Plan,
    shares: Vec<Raw>,
    rho: &Rho,
    rng: &mut impl CryptoRng,
    levels: Levels<'_>,
) -> Result<ClientOperands, ProtocolError> {
    let mut steps: Vec<Operands> = Vec::with_capacity(plan.gates().len());
    let mut shares: Vec<Option<Raw>> = shares.into_iter().map(Some).collect();
    let mut raw: Vec<Option<Raw>> = plan.nodes().iter().map(|_| None).collect();
    for (index, node) in plan.nodes().iter().enumerate() {
        match node {
            NodePlan::Input => {}
            NodePlan::Linear(layer) => raw[index] = shares.get_mut(*layer).and_then(Option::take),
            NodePlan::Sum(operands) => {
                raw[index] = Some(sum(plan, index, operands, &raw, |node, width| {
                    rho.of_node(plan, node, width).ok_or_else(|| missing("masks"))
                })?);
            }
            NodePlan::Local(inputs, map) => {
                // Masked maps are views of the arena, not computed.
                if plan.places(index).is_none() {
                    raw[index] = Some(mapped(plan, map, inputs, &raw)?);
                }
            }
            NodePlan::Activation(activation) => {
                let layer = &plan.activations()[*activation];
                let input = raw[layer.input].as_ref().ok_or_else(|| missing("share"))?;
                activate(
                    plan,
                    layer,
                    input.down(plan.params(), layer.ring.bits()),
                    rho,
                    rng,
                    &mut steps,
                    levels,
                )?;
            }
        }
        plan.done_after(index).iter().for_each(|&done| raw[done] = None);
    }
    let (node, bits) = plan.output();
    let last = raw[node].as_ref().ok_or_else(|| missing("output"))?.down(plan.params(), bits);
    let output = match plan.arg_max() {
        Some(arg_max) => {
            let rings = [ring(bits)?, ring(arg_max.index_bits)?];
            // The indices are public at the start: the server's share is the index, the client's is zero.
            let indices = Zeroizing::new(vec![0; last.len()]);
            let mut values = vec![last, indices];
            play(&arg_max.tournament, &rings, &mut values, rng, &mut steps, levels);
            values.swap_remove(1)
        }
        None => last,
    };
    Ok(ClientOperands { steps, output: share(output) })
}

fn activate(
    plan: &Plan,
    layer: &ActivationLayer,
    value: Zeroizing<Vec<u64>>,
    rho: &Rho,
    rng: &mut impl CryptoRng,
    steps: &mut Vec<Operands>,
    levels: Levels<'_>,
) -> Result<(), ProtocolError> {
    let mut values = vec![value];
    if let Some(pool) = &layer.pool {
        play(pool, &[layer.ring], &mut values, rng, steps, levels);
    }
    let (images, masks) = (plan.images(), rho.of_producer(&layer.producer));
    for part in &layer.parts {
        let shares = part.gather(&values[0], [layer.length, 0], images);
        let masks: Vec<Zeroizing<Vec<u64>>> = (0..layer.outputs)
            .map(|output| part.gather(&masks, [layer.output_len(), output * layer.length], images))
            .collect();
        let masks: Vec<&[u64]> = masks.iter().map(|masks| masks.as_slice()).collect();
        steps.extend(part.plan.client(&shares, &masks, rng).or_malformed("manifest")?);
    }
    Ok(())
}

/// Plays a tournament with the client's shares: every winner gets a fresh random share.
pub(crate) fn play(
    tournament: &Tournament,
    rings: &[Z2k],
    values: &mut [Zeroizing<Vec<u64>>],
    rng: &mut impl CryptoRng,
    steps: &mut Vec<Operands>,
    levels: Levels<'_>,
) {
    for level in tournament.levels() {
        let mut operands = Operands { compare: vec![], lanes: vec![], constants: vec![] };
        let mut results = Vec::with_capacity(rings.len());
        for (lane, (values, ring)) in values.iter_mut().zip(rings).enumerate() {
            let (first, second) = (Share::new(level.first(values)), Share::new(level.second(values)));
            let difference = subtract(*ring, &first, &second);
            let fresh = Share::random(ring.bits(), difference.len(), rng);
            operands.constants.push(subtract(*ring, &second, &fresh));
            *values = level.advance_in(*ring, values, fresh.values()).into();
            if lane == 0 {
                operands.compare = difference.clone();
            }
            operands.lanes.push(difference);
            results.push(fresh);
        }
        levels(steps.len(), &results);
        steps.push(operands);
    }
    values.iter_mut().for_each(|values| *values = tournament.winners(values).into());
}

fn share(mut values: Zeroizing<Vec<u64>>) -> Share {
    Share::new(std::mem::take(&mut *values))
}

fn ring(bits: u32) -> Result<Z2k, ProtocolError> {
    Z2k::new(bits).or_malformed("manifest")
}

fn subtract(ring: Z2k, a: &Share, b: &Share) -> Vec<u64> {
    a.values().iter().zip(b.values()).map(|(&a, &b)| ring.sub(a, b)).collect()
}

fn missing(what: &str) -> ProtocolError {
    ProtocolError::Caller(format!("the walk has lost a {what} that it still needs"))
}
