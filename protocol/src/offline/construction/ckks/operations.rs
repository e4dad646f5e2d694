//! What a layer costs: ciphertexts, diagonals, baby steps and giant steps.

use std::collections::BTreeSet;

use super::scheme::Scheme;
use crate::error::ProtocolError;
use crate::offline::construction::Operations;
use crate::plan::{LinearPlan, Plan};
use crate::slots::pairs;

/// The server's operations for one layer of one bundle.
///
/// # Errors
/// [`ProtocolError::Caller`] for a layer of another network.
pub fn operations(plan: &Plan, scheme: &Scheme, layer: &LinearPlan) -> Result<Operations, ProtocolError> {
    let own = scheme.layer(layer)?;
    let inputs = own.input.ciphertexts();
    let result = |row: &[BTreeSet<usize>]| {
        let products = row.iter().map(BTreeSet::len).sum();
        let rotations = row.iter().map(|distances| rotations(distances, scheme.baby_steps)).sum();
        Operations { rotations, ..Operations::masked_sum(products) }
    };
    let results: Operations = own.distances.chunks(inputs).map(result).sum();
    let levels = scheme.he.limbs() - scheme.last_limbs;
    Ok(Operations { received: inputs, levels, ..results }.times(pairs::count(plan.images())))
}

/// Baby steps and giant steps of one matrix.
fn rotations(distances: &BTreeSet<usize>, baby_steps: usize) -> usize {
    let count = |step: &dyn Fn(usize) -> usize| {
        let steps = distances.iter().map(|&k| step(k)).filter(|&step| step > 0);
        steps.collect::<BTreeSet<_>>().len()
    };
    count(&|k| k % baby_steps) + count(&|k| k - k % baby_steps)
}
