//! Our side: layers prepared as a server prepares them, and the direct convolution that they replace.
//!
//! Residues are uniform modulo q, as masked tensors are. Weights are normal, as those of trained
//! layers nearly are, clipped at four deviations, which is 2^b, b the greatest number of bits that the profile's quantisation
//! gives a layer ([`nn_merge::model::limits`]); one weight has that value. No layer of a model has larger ones. Profiles with
//! several primes compute once for each; their time is the sum.
//!
//! Words in and out are as short as the primes allow: `u32` below 2^32 (`tiny`, `narrow`), `u64` else. Outputs are written into
//! memory that is there, as the rival's are.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use conv_fast::plan::Candidate;
use conv_fast::{Algorithm, ConvGeometry, ConvShape, Planner, PreparedConv, direct};
use he_core::{Modulus, Params, Profile, Seed, sample};
use nn_merge::model::limits;
use rand_core::Rng;

use super::contest::{Rules, turn};

/// Candidates that the planner's model believes to be slower than its choice by more than this are not measured.
const WORTH_TRYING: f64 = 6.0;
const TWO_32: f64 = 4_294_967_296.0;
/// Multiplications of the part of a layer that the direct convolution runs.
const DIRECT_PART: u64 = 4_000_000;

/// A profile's arithmetic.
#[derive(Debug)]
pub(super) struct Arithmetic {
    pub(super) profile: Profile,
    pub(super) moduli: Vec<Modulus>,
    /// Greatest absolute value of a weight.
    largest: i32,
}

/// Elements in the shortest words that hold them.
pub(super) enum Elements {
    Short(Vec<u32>),
    Long(Vec<u64>),
}

/// A layer ready to run: one convolution per prime.
pub(super) struct Prepared {
    convolutions: Vec<PreparedConv>,
    pub(super) algorithm: Algorithm,
    /// What preparing took, all primes.
    pub(super) seconds: f64,
}

impl Arithmetic {
    pub(super) fn new(profile: Profile) -> Self {
        let moduli = Params::new(profile).moduli().to_vec();
        Self { profile, moduli, largest: 1 << limits(profile).weight_bits }
    }

    /// Bits of each prime.
    pub(super) fn bits(&self) -> Vec<u32> {
        self.moduli.iter().map(Modulus::bits).collect()
    }

    /// For weights of this size and a batch.
    fn planner(&self, batch: usize) -> Planner {
        Planner::default().weight_bits(self.largest.ilog2() + 1).batch(batch)
    }

    /// Random weights of a layer, the greatest among them.
    pub(super) fn weights(&self, geometry: &ConvGeometry, rng: &mut impl Rng) -> Vec<i32> {
        // The sum of twelve uniform numbers is nearly normal, of deviation one.
        let spread = f64::from(self.largest) / 4.0;
        let draw = |_| {
            let normal: f64 = (0..12).map(|_| f64::from(rng.next_u32()) / TWO_32 - 0.5).sum();
            (normal * spread).round().clamp(-4.0 * spread, 4.0 * spread) as i32
        };
        let mut weights: Vec<i32> = (0..geometry.weights_len()).map(draw).collect();
        if let Some(first) = weights.first_mut() {
            *first = self.largest;
        }
        weights
    }

    /// Bits of the words that elements come in, the longest of all primes'.
    pub(super) fn word_bits(&self) -> u32 {
        if self.bits().iter().all(|&bits| bits <= u32::BITS) { u32::BITS } else { u64::BITS }
    }

    /// Uniform residues, one list per prime.
    fn residues(&self, length: usize, seed: &Seed) -> Vec<Vec<u64>> {
        let mut rng = seed.fork("inputs", &[length as u64]).stream();
        let fill = |modulus: &Modulus| {
            let mut values = vec![0; length];
            sample::uniform(&mut rng, modulus, &mut values);
            values
        };
        self.moduli.iter().map(fill).collect()
    }

    /// Uniform residues, one list per prime, in words of [`Arithmetic::word_bits`].
    pub(super) fn inputs(&self, length: usize, seed: &Seed) -> Vec<Elements> {
        let residues = self.residues(length, seed).into_iter();
        if self.word_bits() == u64::BITS {
            return residues.map(Elements::Long).collect();
        }
        let short = |values: Vec<u64>| values.into_iter().map(|value| value as u32).collect();
        residues.map(short).map(Elements::Short).collect()
    }

    /// Room for `length` elements, one list per prime.
    pub(super) fn outputs(&self, length: usize) -> Vec<Elements> {
        let room = |_| match self.word_bits() {
            u32::BITS => Elements::Short(vec![0; length]),
            _ => Elements::Long(vec![0; length]),
        };
        self.moduli.iter().map(room).collect()
    }

    /// Prepares a layer for one algorithm.
    pub(super) fn prepare(
        &self,
        geometry: &ConvGeometry,
        weights: &[i32],
        algorithm: Algorithm,
    ) -> Result<Prepared> {
        let start = Instant::now();
        let prepare = |modulus: &Modulus| PreparedConv::new(geometry.clone(), *modulus, weights, algorithm);
        let convolutions = self.moduli.iter().map(prepare).collect::<Result<_, _>>()?;
        Ok(Prepared { convolutions, algorithm, seconds: start.elapsed().as_secs_f64() })
    }

    /// Prepares a layer as the planner chooses.
    pub(super) fn prepare_chosen(
        &self,
        geometry: &ConvGeometry,
        weights: &[i32],
        batch: usize,
    ) -> Result<Prepared> {
        self.prepare(geometry, weights, self.planner(batch).choose(geometry, self.moduli[0]))
    }

    /// The other algorithms that could be the best, each with the model's seconds of a batch.
    pub(super) fn others(
        &self,
        geometry: &ConvGeometry,
        chosen: Algorithm,
        batch: usize,
    ) -> Vec<(Algorithm, f64)> {
        let all = self.planner(batch).candidates(geometry, self.moduli[0]);
        let bound = all.first().map_or(f64::INFINITY, |best| WORTH_TRYING * best.nanoseconds);
        let worth = |candidate: &Candidate| {
            candidate.algorithm != chosen
                && candidate.algorithm != Algorithm::Direct
                && candidate.nanoseconds <= bound
        };
        let others = all.into_iter().filter(worth);
        others.map(|candidate| (candidate.algorithm, candidate.nanoseconds * 1e-9)).collect()
    }

    /// Least seconds of one image by the direct convolution, all primes, and the share of the layer that was run for it.
    pub(super) fn direct(&self, geometry: &ConvGeometry, rules: &Rules, seed: &Seed) -> Result<(f64, f64)> {
        let part = part(geometry)?;
        let mut rng = seed.fork("direct", &[]).stream();
        let weights: Vec<i64> = self.weights(&part, &mut rng).into_iter().map(i64::from).collect();
        let inputs = self.residues(part.input_len(), seed);
        let share = part.macs() as f64 / geometry.macs() as f64;
        let mut seconds = 0.0;
        for (modulus, input) in self.moduli.iter().zip(&inputs) {
            let run = &mut || drop(black_box(direct(&part, *modulus, &weights, input)));
            seconds += turn(rules, run).least / share;
        }
        Ok((seconds, share))
    }
}

impl Prepared {
    /// One run on a batch; `inputs` as [`Arithmetic::inputs`] and `outputs` as [`Arithmetic::outputs`] give them, at least as
    /// long as the layer needs.
    pub(super) fn run(&self, inputs: &[Elements], outputs: &mut [Elements], batch: usize) {
        for ((convolution, input), output) in self.convolutions.iter().zip(inputs).zip(outputs) {
            let geometry = convolution.geometry();
            let [from, to] = [geometry.input_len(), geometry.output_len()].map(|len| batch * len);
            let done = match (black_box(input), output) {
                (Elements::Short(input), Elements::Short(output)) => {
                    convolution.run_into(&input[..from], batch, black_box(&mut output[..to]))
                }
                (Elements::Long(input), Elements::Long(output)) => {
                    convolution.run_into(&input[..from], batch, black_box(&mut output[..to]))
                }
                _ => unreachable!("inputs and outputs of one profile have words of one kind"),
            };
            done.expect("words fit the profile's primes and slices the layer");
        }
    }
}

/// A layer with fewer output channels (or groups) and about [`DIRECT_PART`] multiplications: each costs the direct
/// convolution the same.
fn part(geometry: &ConvGeometry) -> Result<ConvGeometry> {
    let s = geometry.shape();
    let pieces = if s.groups == 1 { s.out_channels } else { s.groups };
    let wanted = pieces as u64 * DIRECT_PART / geometry.macs().max(1);
    let kept = (wanted as usize).clamp(1, pieces);
    Ok(ConvGeometry::new(match s.groups {
        1 => ConvShape { out_channels: kept, ..*s },
        groups => ConvShape {
            groups: kept,
            in_channels: s.in_channels / groups * kept,
            out_channels: s.out_channels / groups * kept,
            ..*s
        },
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(in_channels: usize, out_channels: usize, groups: usize) -> ConvGeometry {
        ConvGeometry::new(ConvShape { groups, ..ConvShape::same([in_channels, out_channels], [56, 56], 3) })
            .unwrap()
    }

    #[test]
    fn a_part_is_small_and_keeps_what_an_output_costs() {
        for geometry in
            [geometry(64, 64, 1), geometry(512, 512, 1), geometry(3, 8, 1), geometry(960, 960, 960)]
        {
            let part = part(&geometry).unwrap();
            assert_eq!(part.terms(), geometry.terms());
            let one = part.macs() / part.shape().out_channels as u64;
            assert!(part.macs() <= DIRECT_PART.max(one), "{}", part.macs());
            assert!(part == geometry || 2 * (part.macs() + one) > DIRECT_PART, "{}", part.macs());
        }
    }

    #[test]
    fn weights_and_residues_reach_their_ends_and_no_further() {
        let seed = Seed::from_os().unwrap();
        for profile in Profile::ALL {
            let arithmetic = Arithmetic::new(profile);
            let largest = 1 << limits(profile).weight_bits;
            let weights = arithmetic.weights(&geometry(8, 8, 1), &mut seed.stream());
            assert_eq!(weights.iter().max(), Some(&largest));
            assert!(weights.iter().all(|weight| weight.abs() <= largest));
            let inputs = arithmetic.inputs(100, &seed);
            assert_eq!(inputs.len(), arithmetic.bits().len());
            assert_eq!(arithmetic.word_bits() == 32, matches!(profile, Profile::Tiny | Profile::Narrow));
            for ((modulus, values), room) in arithmetic.moduli.iter().zip(inputs).zip(arithmetic.outputs(7)) {
                let (values, room): (Vec<u64>, usize) = match (values, room) {
                    (Elements::Short(values), Elements::Short(room)) => {
                        (values.into_iter().map(u64::from).collect(), room.len())
                    }
                    (Elements::Long(values), Elements::Long(room)) => (values, room.len()),
                    _ => panic!("words of two kinds"),
                };
                assert!(values.len() == 100 && values.iter().all(|&value| value < modulus.value()));
                assert_eq!(room, 7);
            }
        }
    }
}
