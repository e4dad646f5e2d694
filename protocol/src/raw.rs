//! Shares of raw tensors: residues modulo q, limb by limb, images × elements.
//!
//! Both parties apply the same local operations to their shares: sums, index maps, masked operands with public factors,
//! the switch to Z_2^k. They are local because they are linear (or, for the two roundings, because shares that are
//! rounded apart still add up within one unit of the finer ring: see [`he_core::basis`]).

use he_core::Params;
use nn_merge::model::Shape;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::plan::LocalPlan;

/// Values that one task works on.
const CHUNK: usize = 1 << 13;

/// One party's share of a raw tensor; wiped when dropped.
pub struct Raw(Zeroizing<Vec<Vec<u64>>>);

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raw({} elements, redacted)", self.len())
    }
}

impl Raw {
    /// Residues limb by limb, all of one length.
    pub(crate) fn new(limbs: Vec<Vec<u64>>) -> Self {
        debug_assert!(limbs.iter().all(|limb| limb.len() == limbs[0].len()));
        Self(limbs.into())
    }

    /// The shares of images of `length` elements, one after the other.
    pub(crate) fn joined(params: &Params, length: usize, images: Vec<Zeroizing<Vec<Vec<u64>>>>) -> Self {
        let mut raw = Self::zeros(params, images.len() * length);
        for (mut limbs, image) in raw.chunks_mut(length).into_iter().zip(&images) {
            limbs.iter_mut().zip(image.iter()).for_each(|(limb, values)| limb.copy_from_slice(values));
        }
        raw
    }

    /// Zeros.
    pub(crate) fn zeros(params: &Params, length: usize) -> Self {
        Self::new(vec![vec![0; length]; params.limbs()])
    }

    /// round(v·q/2^w) mod q of every v in Z_2^w.
    pub(crate) fn up(params: &Params, values: &[u64], width: u32) -> Self {
        let mut raw = Self::zeros(params, values.len());
        raw.chunks_mut(CHUNK).into_par_iter().zip(values.par_chunks(CHUNK)).for_each(
            |(mut limbs, values)| {
                let lifted = Zeroizing::new(params.up(values, width));
                limbs.iter_mut().zip(lifted.iter()).for_each(|(limb, lifted)| limb.copy_from_slice(lifted));
            },
        );
        raw
    }

    /// The residues, limb by limb.
    pub fn limbs(&self) -> &[Vec<u64>] {
        &self.0
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.first().map_or(0, Vec::len)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// round(v·2^k/q) mod 2^k of every value.
    pub(crate) fn down(&self, params: &Params, bits: u32) -> Zeroizing<Vec<u64>> {
        let mut out = Zeroizing::new(vec![0; self.len()]);
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(at, out)| {
            let limbs: Vec<&[u64]> = self.0.iter().map(|limb| &limb[at * CHUNK..][..out.len()]).collect();
            out.copy_from_slice(&Zeroizing::new(params.down(&limbs, bits)));
        });
        out
    }

    /// Adds another share of the same tensor's length.
    pub(crate) fn add(&mut self, params: &Params, other: &Self) {
        for ((sum, more), q) in self.0.iter_mut().zip(other.0.iter()).zip(params.moduli()) {
            sum.par_chunks_mut(CHUNK).zip(more.par_chunks(CHUNK)).for_each(|(sum, more)| {
                sum.iter_mut().zip(more).for_each(|(sum, &more)| *sum = q.add(*sum, more))
            });
        }
    }

    /// Subtracts another share of the same length.
    pub(crate) fn sub(&mut self, params: &Params, other: &Self) {
        for ((rest, less), q) in self.0.iter_mut().zip(other.0.iter()).zip(params.moduli()) {
            rest.par_chunks_mut(CHUNK).zip(less.par_chunks(CHUNK)).for_each(|(rest, less)| {
                rest.iter_mut().zip(less).for_each(|(rest, &less)| *rest = q.sub(*rest, less))
            });
        }
    }

    /// Adds a node's biases, limb by limb: one per channel of `shape`, one per element of an image, or none.
    pub(crate) fn add_bias(&mut self, params: &Params, bias: &[Vec<u64>], [channels, height, width]: Shape) {
        let per_channel = bias.iter().all(|bias| bias.len() == channels);
        self.add_repeated(params, bias, if per_channel { height * width } else { 1 });
    }

    /// Adds numbers that repeat every `numbers.len() · repeat` elements, each for `repeat` elements in a row; no numbers,
    /// no sum.
    fn add_repeated(&mut self, params: &Params, numbers: &[Vec<u64>], repeat: usize) {
        for ((sum, numbers), q) in self.0.iter_mut().zip(numbers).zip(params.moduli()) {
            if numbers.is_empty() {
                continue;
            }
            for (run, &number) in sum.chunks_mut(repeat).zip(numbers.iter().cycle()) {
                run.iter_mut().for_each(|sum| *sum = q.add(*sum, number));
            }
        }
    }

    /// Applies a local map to shares of its inputs.
    pub(crate) fn mapped(params: &Params, map: &LocalPlan, inputs: &[&Self], images: usize) -> Self {
        let limb = |(at, q): (usize, &he_core::Modulus)| {
            let inputs: Vec<&[u64]> = inputs.iter().map(|input| input.0[at].as_slice()).collect();
            std::mem::take(&mut *map.apply(&inputs, images, |a, b| q.add(a, b)))
        };
        Self::new(params.moduli().iter().enumerate().map(limb).collect())
    }

    /// Pieces of all limbs side by side.
    pub(crate) fn chunks_mut(&mut self, size: usize) -> Vec<Vec<&mut [u64]>> {
        let count = self.len().div_ceil(size);
        let mut pieces: Vec<Vec<&mut [u64]>> = (0..count).map(|_| Vec::with_capacity(self.0.len())).collect();
        for limb in self.0.iter_mut() {
            for (piece, part) in pieces.iter_mut().zip(limb.chunks_mut(size)) {
                piece.push(part);
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use he_core::Profile;
    use proptest::prelude::*;

    fn params(which: usize) -> Params {
        Params::new(Profile::ALL[which % Profile::ALL.len()])
    }

    fn share(params: &Params, values: &[u64]) -> Raw {
        Raw::new(params.moduli().iter().map(|q| values.iter().map(|v| v % q.value()).collect()).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Lengths beyond one chunk; every operation against the one-value functions of he-core.
        #[test]
        fn operations_are_those_of_single_values(
            which in 0usize..4,
            values in proptest::collection::vec(any::<u64>(), 1..40),
            width in 8u32..20,
            repeat in 1usize..5,
        ) {
            let params = params(which);
            let length = CHUNK + 7;
            let long: Vec<u64> = (0..length).map(|i| values[i % values.len()].rotate_left(i as u32)).collect();
            let (a, b) = (share(&params, &long), share(&params, &long[1..].iter().chain([&5]).copied().collect::<Vec<_>>()));
            let at = |raw: &Raw, i: usize| -> Vec<u64> { raw.limbs().iter().map(|limb| limb[i]).collect() };
            let (q, value) = (params.q(), |raw: &Raw, i: usize| params.compose(&at(raw, i)));
            let mut sum = share(&params, &long);
            sum.add(&params, &b);
            let mut rest = share(&params, &long);
            rest.sub(&params, &b);
            let numbers: Vec<Vec<u64>> =
                params.moduli().iter().map(|q| vec![1, q.value() - 1, 7]).collect();
            let mut repeated = share(&params, &long);
            repeated.add_repeated(&params, &numbers, repeat);
            let down = a.down(&params, width);
            let small: Vec<u64> = long.iter().map(|v| v & ((1 << width) - 1)).collect();
            let up = Raw::up(&params, &small, width);
            for i in [0, 1, CHUNK - 1, CHUNK, length - 1] {
                let (x, y) = (value(&a, i), value(&b, i));
                prop_assert_eq!(value(&sum, i), (x + y) % q);
                prop_assert_eq!(value(&rest, i), (x + q - y) % q);
                let number = [1, q - 1, 7][i / repeat % 3];
                prop_assert_eq!(value(&repeated, i), (x + number) % q);
                let limbs = at(&a, i);
                let one: Vec<&[u64]> = limbs.iter().map(std::slice::from_ref).collect();
                prop_assert_eq!(down[i], params.down(&one, width)[0]);
                prop_assert_eq!(at(&up, i), params.up(&[small[i]], width).concat());
            }
        }
    }

    #[test]
    fn maps_act_image_by_image_and_reduce() {
        use nn_merge::model::IndexMap;
        let params = params(3);
        let top = params.moduli().iter().map(|q| q.value() - 1).min().unwrap();
        let own = share(&params, &[top, 2, 3, 4, 5, 6]);
        let map = LocalPlan::Map(IndexMap::sums([vec![0, 1, 1], vec![], vec![2]].into_iter()));
        let got = Raw::mapped(&params, &map, &[&own], 2);
        for (limb, q) in got.limbs().iter().zip(params.moduli()) {
            assert_eq!(*limb, [(top + 4) % q.value(), 0, 3, 4 + 10, 0, 6]);
        }
        let joined = Raw::mapped(&params, &LocalPlan::Joined, &[&own, &got], 2);
        assert_eq!(joined.limbs()[1][6..], [4, 5, 6, 14, 0, 6]);
    }
}
