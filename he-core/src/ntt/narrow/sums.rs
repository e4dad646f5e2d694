//! Sums of products of 32-bit residues, reduced once.
//!
//! Products of the even and of the odd lanes have 64 bits. As many as surely fit are added as they are (16 for
//! q < 2^30, 4 for q < 2^31, one above), then their low and high words are added to two 64-bit sums apart, which hold
//! 2^32 terms. In the end the number is l + 2^32 m + 2^64 h with three words, each multiplied by its power modulo q.

use super::simd::{Q, Simd, Width};

/// acc = acc + sum of products, all residues modulo q; equal lengths, a multiple of the lanes; fewer than 2^31 terms.
#[inline(always)]
pub(super) fn accumulate<S: Simd, W: Width>(s: S, terms: &[(&[u32], &[u32])], acc: &mut [u32], modulus: u32) {
    let q = Q::new(s, modulus);
    let weight = |bits: u32| {
        let (word, second) = W::entry(((1_u128 << bits) % u128::from(modulus)) as u32, modulus);
        W::factor(s, s.splat(word), s.splat(second))
    };
    let weights = [weight(0), weight(32), weight(64)];
    let most = (u64::MAX / (u64::from(modulus - 1) * u64::from(modulus - 1))).clamp(1, 16) as usize;
    let zero = s.splat(0);
    for (i, out) in S::chunks_mut(acc).iter_mut().enumerate() {
        let (mut low, mut high) = ([zero; 2], [zero; 2]);
        for group in terms.chunks(most) {
            let mut sum = [zero; 2];
            for (a, b) in group {
                let (a, b) = (s.load(&S::chunks(a)[i]), s.load(&S::chunks(b)[i]));
                sum[0] = s.add_wide(sum[0], s.mul_even(a, b));
                sum[1] = s.add_wide(sum[1], s.mul_even(s.odd(a), s.odd(b)));
            }
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
        let mut total = s.load(out);
        for piece in W::mul(s, weights, words, q) {
            total = W::settle(s, W::sum(s, total, W::settle(s, piece, q), q), q);
        }
        s.store(out, total);
    }
}
