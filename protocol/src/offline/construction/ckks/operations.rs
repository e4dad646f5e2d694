//! What a layer's preprocessing costs, in operations on ciphertexts.
//!
//! Counts follow from the layer's shape, as all work does: weights that happen to be zero are not told apart.

use super::scheme::Scheme;
use super::{PAIR, pairs};
use crate::error::ProtocolError;
use crate::plan::{LinearPlan, Plan};

/// Operations on ciphertexts for one layer of one bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Ciphertexts from the client.
    pub received: usize,
    /// Ciphertexts to the client.
    pub sent: usize,
    /// Rotations, baby steps and giant steps.
    pub rotations: usize,
    /// Products of a ciphertext with a plaintext.
    pub products: usize,
    /// Sums of two ciphertexts.
    pub additions: usize,
    /// Primes that are used up.
    pub levels: usize,
}

impl Operations {
    /// Those of one layer.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a layer of another network.
    pub fn new(plan: &Plan, scheme: &Scheme, layer: &LinearPlan) -> Result<Self, ProtocolError> {
        let own = scheme.layer(layer)?;
        let (inputs, outputs) = (own.input.ciphertexts(), own.output.ciphertexts());
        let levels = scheme.he.limbs() - scheme.last_limbs;
        let mut one = Self { received: inputs, sent: outputs, levels, ..Self::default() };
        for row in own.distances.chunks(inputs) {
            let products: usize = row.iter().map(std::collections::BTreeSet::len).sum();
            one.products += products;
            // All products of a row end in one sum; a share's mask and its encryption of zero are two more.
            one.additions += products.saturating_sub(1) + 2;
            for distances in row {
                let count = |steps: &dyn Fn(usize) -> usize| {
                    let steps = distances.iter().map(|&k| steps(k)).filter(|&k| k > 0);
                    steps.collect::<std::collections::BTreeSet<_>>().len()
                };
                one.rotations += count(&|k| k % scheme.baby_steps) + count(&|k| k - k % scheme.baby_steps);
            }
        }
        let pairs = pairs(plan);
        debug_assert!(pairs * PAIR >= plan.images());
        Ok(Self {
            received: pairs * one.received,
            sent: pairs * one.sent,
            rotations: pairs * one.rotations,
            products: pairs * one.products,
            additions: pairs * one.additions,
            levels,
        })
    }
}
