//! What a layer's preprocessing costs the server, in operations on ciphertexts, for one bundle.
//!
//! Counts follow from shapes and layouts, as all work does: weights that happen to be zero are not told apart. A
//! ciphertext is a pair of polynomials modulo all primes of its ring, a plaintext one polynomial; rings differ between the
//! constructions ([`super::RingFacts`]), so counts tell what is done and times how long it takes.
//!
//! | | products | additions | rotations | levels |
//! |---|---|---|---|---|
//! | `split` | client's key pair times a fresh ternary polynomial, one per reply | the precomputed hint, one per reply | 0 | 0 |
//! | `bfv` | weight polynomials that an output polynomial has | sums of those; mask; fresh zero | 0 | primes switched away |
//! | `bfv-packed` | the same; a power of X for every one that is joined | the same; three for each that is joined | one for each that is joined | the same |
//! | `ckks` | diagonals | sums of those, through all rotations; mask; fresh zero | baby and giant steps | primes rescaled away |
//!
//! In `split` the products with weights are made once per model, ahead of every client, and not counted; nor is, in any of
//! them, what a session's keys cost, or arithmetic in the clear.

use std::iter::Sum;

use serde::Serialize;

use super::{Scheme, bfv, ckks, split};
use crate::error::ProtocolError;
use crate::plan::{LinearPlan, Plan};

/// Operations of the server on ciphertexts, of one bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Operations {
    /// Products of a ciphertext with a plaintext.
    pub products: usize,
    /// Sums of two ciphertexts.
    pub additions: usize,
    /// Rotations, key switchings all of them.
    pub rotations: usize,
    /// Ciphertexts from the client; in `split` its public keys.
    pub received: usize,
    /// Ciphertexts to the client.
    pub sent: usize,
    /// Primes of the modulus that are used up; of several layers the most.
    pub levels: usize,
}

impl Operations {
    /// Those of one layer.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a layer of another network.
    pub fn of_layer(plan: &Plan, layer: &LinearPlan) -> Result<Self, ProtocolError> {
        match plan.scheme() {
            Scheme::Split => Ok(split::operations(layer)),
            Scheme::Bfv(scheme) => Ok(bfv::operations(scheme, layer)),
            Scheme::Ckks(scheme) => ckks::operations(plan, scheme, layer),
        }
    }

    /// Those of all linear layers.
    ///
    /// # Errors
    /// As [`Operations::of_layer`].
    pub fn of_bundle(plan: &Plan) -> Result<Self, ProtocolError> {
        plan.layers().iter().map(|layer| Self::of_layer(plan, layer)).sum()
    }

    /// So many times the same.
    pub(super) fn times(self, count: usize) -> Self {
        Self {
            products: count * self.products,
            additions: count * self.additions,
            rotations: count * self.rotations,
            received: count * self.received,
            sent: count * self.sent,
            levels: self.levels,
        }
    }

    /// One ciphertext of a result: a sum of so many products, a mask and a fresh encryption of zero.
    pub(super) fn masked_sum(products: usize) -> Self {
        Self { products, additions: products.saturating_sub(1) + 2, sent: 1, ..Self::default() }
    }
}

impl Sum for Operations {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            products: a.products + b.products,
            additions: a.additions + b.additions,
            rotations: a.rotations + b.rotations,
            received: a.received + b.received,
            sent: a.sent + b.sent,
            levels: a.levels.max(b.levels),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use he_core::Profile;
    use he_core::rlwe::SeededCiphertext;
    use he_core::seed::Seed;
    use he_core::split::Epoch;
    use nn_merge::fixed_point::networks::{Conv, Sketch};
    use nn_merge::model::{Model, limits};

    use super::super::{Material, Preprocessing, keys_bytes, prepared};
    use super::*;
    use crate::plan::OutputMode;
    use crate::rounds::RoundChoice;

    /// A padded and a strided layer, one in groups, one that is fully connected; no weight is zero. Where replies can be joined,
    /// of as many channels as make it worth while.
    fn model(construction: Preprocessing, seed: &Seed) -> Model {
        let profile = Profile::Tiny;
        let channels = if construction == Preprocessing::BfvPacked { 32 } else { 4 };
        let mut rng = seed.fork("model", &[]).stream();
        let mut net =
            Sketch::new(profile, [channels, 9, 8], limits(profile).max_width.min(24), 60.0, &mut rng);
        let same = net.conv(0, Conv::same(48, 3)).unwrap();
        let relu = net.relu(same).unwrap();
        let strided = net.conv(relu, Conv { stride: [2, 2], groups: 2, ..Conv::plain(6, [3, 2]) }).unwrap();
        let relu = net.relu(strided).unwrap();
        let last = net.dense(relu, 5).unwrap();
        let mut model = net.finish(last).unwrap();
        let most = 1 << limits(profile).weight_bits;
        model.nodes.iter_mut().flat_map(|node| &mut node.weights).for_each(|w| {
            *w = if *w == 0 { 1 } else { (*w).clamp(-most, most) };
        });
        model
    }

    /// What the server's loop over the prepared weights does, term by term.
    fn counted(plan: &Plan, layer: &LinearPlan, material: &Material) -> Operations {
        let mut all = Operations::default();
        match (material, plan.scheme()) {
            (Material::Split(hints), Scheme::Split) => {
                for _ in 0..layer.groups {
                    for _ in hints.hints.iter() {
                        (all.products, all.additions, all.sent) =
                            (all.products + 1, all.additions + 1, all.sent + 1);
                    }
                    all.received += 1;
                }
            }
            (Material::Bfv(weights), Scheme::Bfv(scheme)) => {
                let mut leaves = Vec::new();
                for _ in 0..layer.groups {
                    for terms in &weights.outputs {
                        terms.iter().for_each(|_| all.products += 1);
                        terms.iter().skip(1).for_each(|_| all.additions += 1);
                        leaves.push(());
                    }
                }
                let levels = bfv::levels(scheme, layer);
                while !leaves.is_empty() {
                    let rest = leaves.split_off(leaves.len().min(1 << levels));
                    for depth in (0..levels).rev() {
                        let others = leaves.split_off(leaves.len().min(1 << depth));
                        for at in 0..leaves.len() {
                            if at < others.len() {
                                (all.products, all.rotations, all.additions) =
                                    (all.products + 1, all.rotations + 1, all.additions + 3);
                            } else {
                                all.additions += 1;
                            }
                        }
                    }
                    assert_eq!(leaves.len(), 1);
                    (all.additions, all.sent) = (all.additions + 2, all.sent + 1);
                    leaves = rest;
                }
                let rlwe = scheme.ring().rlwe();
                all.received = keys_bytes(plan, layer) / SeededCiphertext::wire_len(rlwe, rlwe.limbs());
                all.levels = rlwe.limbs() - scheme.ring().reply_moduli().len();
            }
            (Material::Ckks(matrix), Scheme::Ckks(scheme)) => {
                let rlwe = scheme.params().rlwe();
                all.received = keys_bytes(plan, layer) / SeededCiphertext::wire_len(rlwe, rlwe.limbs());
                let inputs = all.received / plan.images().div_ceil(2);
                let mut rotations = 0;
                for _ in 0..plan.images().div_ceil(2) {
                    for row in matrix.0.chunks(inputs) {
                        let maps = || row.iter().flatten();
                        let mut terms = 0;
                        maps().for_each(|map| terms += map.diagonals());
                        rotations += maps().map(|map| map.rotations().len()).sum::<usize>();
                        (0..terms).for_each(|_| all.products += 1);
                        // Within a group, of groups, of ciphertexts: all end in one sum.
                        all.additions += terms - 1 + 2;
                        all.sent += 1;
                    }
                }
                all.rotations = rotations;
                let reply = scheme.facts().log2_reply;
                all.levels = (1..=rlwe.limbs()).filter(|&limbs| rlwe.log2_q(limbs) > reply + 1.0).count();
            }
            _ => panic!("parts of different constructions"),
        }
        all
    }

    #[test]
    fn counts_are_those_of_the_loops() {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).unwrap();
        println!("seed {bytes:?}");
        let seed = Seed::from_bytes(bytes);
        for construction in Preprocessing::ALL {
            let model = model(construction, &seed);
            for images in [1, 2, 5] {
                let (mode, rounds) = (OutputMode::Label, RoundChoice::Three);
                let plan =
                    Plan::with_preprocessing(&model.manifest, images, mode, rounds, construction).unwrap();
                let mut sum = Operations::default();
                for layer in plan.layers() {
                    let weights = &model.nodes[layer.node].weights;
                    let prepare = |geometry: &_| prepared(plan.params(), geometry, weights).map(Arc::new);
                    let epoch = Epoch::new([1; 32]);
                    let material = Material::new(&plan, &epoch, layer, weights, prepare).unwrap();
                    let expected = counted(&plan, layer, &material);
                    let found = Operations::of_layer(&plan, layer).unwrap();
                    assert_eq!(found, expected, "{construction}, {images} images, {}", layer.name);
                    assert!(found.products > 0 && found.additions >= found.sent, "{found:?}");
                    assert_eq!(found.received > 0, found.sent > 0);
                    sum.rotations += found.rotations;
                    sum.products += found.products;
                    sum.levels = sum.levels.max(found.levels);
                }
                let all = Operations::of_bundle(&plan).unwrap();
                assert_eq!(
                    (all.products, all.rotations, all.levels),
                    (sum.products, sum.rotations, sum.levels)
                );
                let turns = matches!(construction, Preprocessing::BfvPacked | Preprocessing::Ckks);
                assert_eq!(all.rotations > 0, turns, "{construction}");
            }
        }
    }
}
