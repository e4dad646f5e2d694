//! Sums of products of 61-bit residues, reduced once.
//!
//! With a = ah * 2^32 + al and b = bh * 2^32 + bl the product is al*bl + 2^32 (ah*bl + al*bh) + 2^64 ah*bh. Its first two
//! terms are cut at 32 bits, and what has one weight is summed in 64 bits:
//!
//! | weight | of each term at most | with [`MOST_TERMS`], and the word that is added to |
//! |---|---|---|
//! | 1 | 2^32 | 2^61.1 |
//! | 2^32 | 2^33 | 2^38 |
//! | 2^64 | 2^58 + 2^30 | 2^63.1 |
//!
//! In the end each sum is multiplied by its weight modulo q.

use core::arch::x86_64::__m256i;

use super::{Factor, Lazy, Wide256};
use crate::modulus::Modulus;
use crate::ntt::lanes::{Lanes, Width};

/// Terms from which this is faster than 128-bit sums one by one.
pub(crate) const LEAST_TERMS: usize = 3;
/// Terms that the 64-bit sums surely hold.
pub(crate) const MOST_TERMS: usize = 32;

/// acc = acc + sum of products, all residues; at most [`MOST_TERMS`] terms, equal lengths, a multiple of 4.
#[inline(always)]
pub(super) fn accumulate(s: Wide256, terms: &[(&[u64], &[u64])], acc: &mut [u64], modulus: &Modulus) {
    let q = Lazy::modulus(s, modulus.value());
    let weights = [weight(s, 0, modulus), weight(s, 32, modulus), weight(s, 64, modulus)];
    for (i, out) in Wide256::chunks_mut(acc).iter_mut().enumerate() {
        let mut sums = [s.load(out), s.splat(0), s.splat(0)];
        for (a, b) in terms {
            add(s, &mut sums, s.load(&Wide256::chunks(a)[i]), s.load(&Wide256::chunks(b)[i]));
        }
        // Each below 4q, then below 2q: the sum is below 6q.
        let [low, middle, high] = Lazy::mul(s, weights, sums, q);
        let upper = s.add(s.reduce_once(middle, q.two), s.reduce_once(high, q.two));
        s.store(out, Lazy::settle(s, s.add(s.reduce_once(low, q.two), upper), q));
    }
}

/// 2^bits modulo q, as a factor.
#[inline(always)]
fn weight(s: Wide256, bits: u32, modulus: &Modulus) -> Factor {
    let w = modulus.reduce_u128(1 << bits);
    Lazy::factor(s, s.splat(w), s.splat(modulus.shoup(w)))
}

/// Adds a product to the three sums.
#[inline(always)]
fn add(s: Wide256, sums: &mut [__m256i; 3], a: __m256i, b: __m256i) {
    let (a_high, b_high) = (s.high(a), s.high(b));
    let low = s.mul_halves(a, b);
    let middle = s.add(s.mul_halves(a_high, b), s.mul_halves(a, b_high));
    let high = s.mul_halves(a_high, b_high);
    sums[0] = s.add(sums[0], s.low(low));
    sums[1] = s.add(sums[1], s.add(s.high(low), s.low(middle)));
    sums[2] = s.add(sums[2], s.add(s.high(middle), high));
}
