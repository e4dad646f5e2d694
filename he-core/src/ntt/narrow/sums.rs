//! Sums of products of 32-bit residues, reduced once.
//!
//! Products of either half of the lanes have 64 bits. As many as surely fit are added as they are: 16 for
//! q < 2^30, 4 for q < 2^31, one above. A longer sum adds the low and the high words of such groups to two 64-bit sums
//! apart, which hold 2^32 groups. In the end the number is l + 2^32 m (+ 2^64 h for the longer) with words l, m, h, and
//! each is multiplied by its power of two modulo q.

use super::simd::{Entry, Simd};
use crate::ntt::lanes::Width;

/// acc = acc + sum of products, all residues modulo q; equal lengths, a multiple of the lanes; fewer than 2^31 terms.
#[inline(always)]
pub(super) fn accumulate<S: Simd, W: Width<S> + Entry>(
    s: S,
    terms: &[(&[u32], &[u32])],
    acc: &mut [u32],
    modulus: u32,
) {
    let q = W::modulus(s, modulus);
    let weight = |bits: u32| {
        let (word, second) = W::entry(((1_u128 << bits) % u128::from(modulus)) as u32, modulus);
        W::factor(s, s.splat(word), s.splat(second))
    };
    let [one, limb, two_limbs] = [weight(0), weight(32), weight(64)];
    let most = (u64::MAX / (u64::from(modulus - 1) * u64::from(modulus - 1))).clamp(1, 16) as usize;
    if terms.len() <= most {
        for (i, out) in S::chunks_mut(acc).iter_mut().enumerate() {
            let [first, second] = group(s, terms, i);
            let words = [s.merge_low(first, second), s.merge_high(first, second)];
            finish::<S, W, 2>(s, [one, limb], words, out, q);
        }
        return;
    }
    for (i, out) in S::chunks_mut(acc).iter_mut().enumerate() {
        let (mut low, mut high) = ([s.splat(0); 2], [s.splat(0); 2]);
        for terms in terms.chunks(most) {
            let sum = group(s, terms, i);
            for side in 0..2 {
                low[side] = s.add_wide(low[side], s.low(sum[side]));
                high[side] = s.add_wide(high[side], s.high(sum[side]));
            }
        }
        for side in 0..2 {
            high[side] = s.add_wide(high[side], s.high(low[side]));
        }
        let words =
            [s.merge_low(low[0], low[1]), s.merge_low(high[0], high[1]), s.merge_high(high[0], high[1])];
        finish::<S, W, 3>(s, [one, limb, two_limbs], words, out, q);
    }
}

/// The sum of the products at one register's words, by halves of the lanes; it must fit 64 bits.
#[inline(always)]
fn group<S: Simd>(s: S, terms: &[(&[u32], &[u32])], i: usize) -> [S::V; 2] {
    let (mut first, mut second) = (s.splat(0), s.splat(0));
    for (a, b) in terms {
        let (a, b) = (s.load(&S::chunks(a)[i]), s.load(&S::chunks(b)[i]));
        first = s.add_wide(first, s.mul_first(a, b));
        second = s.add_wide(second, s.mul_first(s.second(a), s.second(b)));
    }
    [first, second]
}

/// out = out + the sum of words by weights.
#[inline(always)]
fn finish<S: Simd, W: Width<S>, const K: usize>(
    s: S,
    weights: [W::Factor; K],
    words: [S::V; K],
    out: &mut S::Chunk,
    q: W::Q,
) {
    let mut total = s.load(out);
    for piece in W::mul(s, weights, words, q) {
        total = W::settle(s, W::sum(s, total, W::settle(s, piece, q), q), q);
    }
    s.store(out, total);
}
