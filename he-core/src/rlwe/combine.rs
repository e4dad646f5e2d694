//! Sums of many ciphertexts times small whole numbers: a matrix times a vector of ciphertexts, with one reduction per
//! residue of the answer.
//!
//! out_o = sum over i of w_{o,i} x_i, part by part, prime by prime, value by value.
//!
//! | quantity | range |
//! |---|---|
//! | weights w | \|w\| < 2^b, b from 1 to 20 |
//! | residues x | below q of m bits, m <= 61 |
//! | terms K of one sum | up to [`MOST_TERMS`]; more are cut into runs, reduced one by one |
//!
//! Nothing is reduced before the end of a run. The portable sums cut a residue into two halves of 31 bits or less, whose
//! products with weights have 51 bits. Where the CPU multiplies 52-bit words and m <= 50, weights are lifted to w + 2^b >=
//! 0; low and high halves of the products are summed apart, and 2^b times the plain sum of the terms, which all outputs
//! share, is taken off at the end.
//!
//! Weights may be secret: only b and the shape steer the work. Residues are read once per tile of [`TILE`] values and
//! [`GROUP`] outputs.

use rayon::prelude::*;

use crate::error::HeError;
use crate::modulus::Modulus;
use crate::ntt::NttTable;
use crate::poly::{Ntt, Poly};
use crate::rlwe::{Ciphertext, RlweParams};
use crate::rns::RnsPoly;

#[cfg(target_arch = "x86_64")]
mod ifma;

/// Values of a polynomial that are worked on together.
pub(crate) const TILE: usize = 64;
/// Outputs that share a load.
pub(crate) const GROUP: usize = 4;
/// Most terms of a sum: low halves of 52 bits fill 64.
const MOST_TERMS: usize = 4000;
/// Most bits of a weight.
const MOST_BITS: u32 = 20;

impl RlweParams {
    /// The sums of `inputs` times the rows of `weights` (outputs x inputs), one ciphertext per row. All weights must be
    /// below 2^`bits` in magnitude. The inputs have as many parts and limbs each.
    ///
    /// # Errors
    /// [`HeError::Bits`] unless 1 <= bits <= 20, [`HeError::Count`] without inputs, [`HeError::Length`] unless the weights
    /// are whole rows, or for inputs of different parts, [`HeError::Limbs`] for inputs of different limbs,
    /// [`HeError::OutOfRange`] for a weight that is too large.
    ///
    /// # Panics
    /// When an input is of other parameters.
    pub fn combine(
        &self,
        inputs: &[&Ciphertext],
        weights: &[i32],
        bits: u32,
    ) -> Result<Vec<Ciphertext>, HeError> {
        self.combine_with(inputs, weights, bits, Kernel::best())
    }

    fn combine_with(
        &self,
        inputs: &[&Ciphertext],
        weights: &[i32],
        bits: u32,
        kernel: Kernel,
    ) -> Result<Vec<Ciphertext>, HeError> {
        let Some(first) = inputs.first() else {
            return Err(HeError::Count {
                what: "ciphertexts to combine",
                found: 0,
                least: 1,
                most: usize::MAX,
            });
        };
        if !(1..=MOST_BITS).contains(&bits) {
            return Err(HeError::Bits { what: "a weight", bits, least: 1, most: MOST_BITS });
        }
        if !weights.len().is_multiple_of(inputs.len()) {
            let expected = weights.len().next_multiple_of(inputs.len());
            return Err(HeError::Length { what: "a matrix of weights", expected, found: weights.len() });
        }
        // All weights are looked at: whether one is too large is the only thing that shows.
        if weights.iter().fold(0, |all, w| all | w.unsigned_abs()) >> bits != 0 {
            return Err(HeError::OutOfRange { what: "a weight", index: 0, bound: 1 << bits });
        }
        let (parts, limbs) = (first.parts().len(), first.limbs());
        for input in inputs {
            if input.parts().len() != parts {
                let found = input.parts().len();
                return Err(HeError::Length { what: "the parts of a ciphertext", expected: parts, found });
            }
            if input.limbs() != limbs {
                return Err(HeError::Limbs { needed: limbs, found: input.limbs() });
            }
        }
        let outputs = weights.len() / inputs.len();
        let tables = self.ciphertext_tables(limbs);
        let jobs: Vec<(usize, usize)> = (0..parts).flat_map(|p| (0..limbs).map(move |l| (p, l))).collect();
        let job = |&(part, limb): &(usize, usize)| {
            let words: Vec<&[u64]> = inputs.iter().map(|x| x.parts()[part].limb(limb).values()).collect();
            rows(&tables[limb], &words, weights, bits, kernel)
        };
        let mut sums: Vec<_> = jobs.par_iter().map(job).map(Vec::into_iter).collect();
        let ciphertext = |_| {
            let mut next = sums.iter_mut().map(|sums| sums.next().expect("a sum per output"));
            let part = |_| RnsPoly::from_limbs(next.by_ref().take(limbs).collect());
            Ciphertext::from_parts((0..parts).map(part).collect())
        };
        (0..outputs).map(ciphertext).collect()
    }
}

/// What multiplies.
#[derive(Clone, Copy, Debug)]
enum Kernel {
    /// The definition, in 128-bit sums: the twin. Primes without room for others come to it as well.
    #[cfg(test)]
    Slow,
    /// 64-bit products, as the compiler makes them.
    Words,
    /// 52-bit multiply-add.
    #[cfg(target_arch = "x86_64")]
    Ifma(crate::simd::Ifma),
}

impl Kernel {
    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(ifma) = crate::simd::Ifma::detect() {
            return Self::Ifma(ifma);
        }
        Self::Words
    }
}

/// One part, one prime: all outputs.
fn rows(table: &NttTable, x: &[&[u64]], weights: &[i32], bits: u32, kernel: Kernel) -> Vec<Poly<Ntt>> {
    let (n, modulus) = (table.n(), table.modulus());
    assert!(x.iter().all(|x| x.len() == n), "a ciphertext of another degree");
    let outputs = weights.len() / x.len();
    let mut out: Vec<Poly<Ntt>> = (0..outputs).map(|_| Poly::zero(table)).collect();
    for start in (0..x.len()).step_by(MOST_TERMS) {
        let end = (start + MOST_TERMS).min(x.len());
        let panels = Panels::new(weights, x.len(), start..end);
        let x = &x[start..end];
        match kernel {
            #[cfg(test)]
            Kernel::Slow => slow(modulus, x, &panels, &mut out),
            #[cfg(target_arch = "x86_64")]
            Kernel::Ifma(ifma) if modulus.bits() <= 50 && n.is_multiple_of(TILE) => {
                ifma.combine(modulus, x, &panels, bits, &mut out);
            }
            _ => words(modulus, x, &panels, &mut out),
        }
    }
    out
}

/// Weights of a run of terms in the order of use: group of outputs, term, output of the group; zeros fill the last group.
struct Panels {
    weights: Vec<[i64; GROUP]>,
    terms: usize,
}

impl Panels {
    fn new(weights: &[i32], columns: usize, terms: core::ops::Range<usize>) -> Self {
        let outputs = weights.len() / columns;
        let mut panels = Vec::with_capacity(outputs.div_ceil(GROUP) * terms.len());
        for group in (0..outputs).step_by(GROUP) {
            for term in terms.clone() {
                let weight =
                    |k: usize| weights.get((group + k) * columns + term).copied().map_or(0, i64::from);
                panels.push(core::array::from_fn(weight));
            }
        }
        Self { weights: panels, terms: terms.len() }
    }

    fn groups(&self) -> impl Iterator<Item = &[[i64; GROUP]]> {
        self.weights.chunks_exact(self.terms)
    }
}

/// out += w x, from the definition.
#[cfg(test)]
fn slow(modulus: &Modulus, x: &[&[u64]], panels: &Panels, out: &mut [Poly<Ntt>]) {
    for (group, out) in panels.groups().zip(out.chunks_mut(GROUP)) {
        for (k, out) in out.iter_mut().enumerate() {
            for (at, out) in out.words_mut().iter_mut().enumerate() {
                let product = |(w, x): (&[i64; GROUP], &&[u64])| i128::from(w[k]) * i128::from(x[at]);
                let sum: i128 = group.iter().zip(x).map(product).sum();
                *out = modulus.add(*out, modulus.from_i128(sum));
            }
        }
    }
}

/// The same in two 64-bit sums, tile by tile.
fn words(modulus: &Modulus, x: &[&[u64]], panels: &Panels, out: &mut [Poly<Ntt>]) {
    let n = x[0].len();
    let half = modulus.bits().div_ceil(2);
    let mask = (1_u64 << half) - 1;
    for start in (0..n).step_by(TILE) {
        let end = (start + TILE).min(n);
        for (group, out) in panels.groups().zip(out.chunks_mut(GROUP)) {
            for (k, out) in out.iter_mut().enumerate() {
                let (mut low, mut high) = ([0_i64; TILE], [0_i64; TILE]);
                for (weights, x) in group.iter().zip(x) {
                    for ((low, high), &x) in low.iter_mut().zip(&mut high).zip(&x[start..end]) {
                        *low += weights[k] * (x & mask).cast_signed();
                        *high += weights[k] * (x >> half).cast_signed();
                    }
                }
                for ((out, low), high) in out.words_mut()[start..end].iter_mut().zip(low).zip(high) {
                    let sum = i128::from(low) + (i128::from(high) << half);
                    *out = modulus.add(*out, modulus.from_i128(sum));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
