//! Two levels in one pass over memory: four words a quarter of a block apart, three factors for the block.

use core::arch::x86_64::*;

use super::lanes::{self, Chunk, Factor, LANES, Q, below, load, reduce_once, splat, store};
use crate::ntt::Roots;

/// Two levels on each block of a part; the factor of its first block is at a place of the table.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn forward<const LOOSE: bool>(
    part: &mut [u64],
    length: usize,
    at: usize,
    roots: &Roots<u64>,
    q: Q,
) {
    if LOOSE && at == 1 {
        forward_pass::<true, true>(part, length, at, roots, q);
    } else {
        forward_pass::<LOOSE, false>(part, length, at, roots, q);
    }
}

/// Two levels on each block of a part, as [`forward`]; the very last pass (at 1) divides by N and reduces to [0, q).
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn inverse<const LOOSE: bool>(
    part: &mut [u64],
    length: usize,
    at: usize,
    roots: &Roots<u64>,
    q: Q,
) {
    if at == 1 {
        inverse_pass::<LOOSE, true>(part, length, at, roots, q);
    } else {
        inverse_pass::<LOOSE, false>(part, length, at, roots, q);
    }
}

/// RAISE is for the first pass of a loose transform, which adds 2 log2 N times q to the words that no factor
/// multiplies, so that none falls below zero later.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn forward_pass<const LOOSE: bool, const RAISE: bool>(
    part: &mut [u64],
    length: usize,
    at: usize,
    roots: &Roots<u64>,
    q: Q,
) {
    let raise = splat((2 * u64::from(length.trailing_zeros())).wrapping_mul(q.word));
    let factor = Table { w: &roots.forward, quotients: &roots.forward_quotient };
    for (k, block) in (at..).zip(part.chunks_exact_mut(length)) {
        let (w, w_low, w_high) = (factor.at(k), factor.at(2 * k), factor.at(2 * k + 1));
        let [first, second, third, fourth] = quarters(block);
        for (((c0, c1), c2), c3) in first.iter_mut().zip(second).zip(third).zip(fourth) {
            let (mut a, mut b) = ([load(c0), load(c1)], [load(c2), load(c3)]);
            if RAISE {
                a = [_mm512_add_epi64(a[0], raise), _mm512_add_epi64(a[1], raise)];
            }
            lanes::forward::<2, LOOSE>([w, w], &mut a, &mut b, q);
            let ([x0, x1], [x2, x3]) = (a, b);
            let (mut a, mut b) = ([x0, x2], [x1, x3]);
            lanes::forward::<2, LOOSE>([w_low, w_high], &mut a, &mut b, q);
            store(c0, a[0]);
            store(c1, b[0]);
            store(c2, a[1]);
            store(c3, b[1]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn inverse_pass<const LOOSE: bool, const LAST: bool>(
    part: &mut [u64],
    length: usize,
    at: usize,
    roots: &Roots<u64>,
    q: Q,
) {
    let sixteen = _mm512_add_epi64(q.eight, q.eight);
    // What words, and sums of two that are not reduced, stay below.
    let (entering, middle) = if LOOSE { (q.eight, sixteen) } else { (q.four, q.four) };
    let factor = Table { w: &roots.inverse, quotients: &roots.inverse_quotient };
    let scale = factor.at(0);
    for (k, block) in (at..).zip(part.chunks_exact_mut(length)) {
        let (w, w_low, w_high) = (factor.at(k), factor.at(2 * k), factor.at(2 * k + 1));
        let [first, second, third, fourth] = quarters(block);
        for (((c0, c1), c2), c3) in first.iter_mut().zip(second).zip(third).zip(fourth) {
            let (mut a, mut b) = ([load(c0), load(c2)], [load(c1), load(c3)]);
            lanes::inverse([w_low, w_high], &mut a, &mut b, entering, q);
            if !LOOSE {
                a = [reduce_once(a[0], q.four), reduce_once(a[1], q.four)];
            }
            // Sums of sums, below 32q (loose) or 8q, and sums of products, below 8q.
            let (mut x0, mut x1) = (_mm512_add_epi64(a[0], a[1]), _mm512_add_epi64(b[0], b[1]));
            let far = _mm512_sub_epi64(_mm512_add_epi64(a[0], middle), a[1]);
            let near = _mm512_sub_epi64(_mm512_add_epi64(b[0], q.four), b[1]);
            let (x2, x3);
            if LAST {
                // 1/N is folded into the two factors of the last level, so both of its outputs are products.
                let scaled = lanes::mul([scale, scale, w, w], [x0, x1, far, near], q);
                [x0, x1, x2, x3] =
                    [q.settle(scaled[0]), q.settle(scaled[1]), q.settle(scaled[2]), q.settle(scaled[3])];
            } else {
                [x2, x3] = lanes::mul([w, w], [far, near], q);
                if LOOSE {
                    x0 = reduce_once(reduce_once(x0, sixteen), q.eight);
                } else {
                    (x0, x1) = (reduce_once(x0, q.four), reduce_once(x1, q.four));
                }
            }
            debug_assert!(below(x0, 8, q) && below(x1, 8, q));
            store(c0, x0);
            store(c1, x1);
            store(c2, x2);
            store(c3, x3);
        }
    }
}

/// Factors and their Shoup quotients, in the order of [`Roots`].
struct Table<'a> {
    w: &'a [u64],
    quotients: &'a [u64],
}

impl Table<'_> {
    /// One factor for all lanes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn at(&self, place: usize) -> Factor {
        Factor::new(splat(self.w[place]), splat(self.quotients[place]))
    }
}

/// The words of a block, in chunks of a register, by quarters.
fn quarters(block: &mut [u64]) -> [&mut [Chunk]; 4] {
    let (chunks, _) = block.as_chunks_mut::<LANES>();
    let (low, high) = chunks.split_at_mut(chunks.len() / 2);
    let (first, second) = low.split_at_mut(low.len() / 2);
    let (third, fourth) = high.split_at_mut(high.len() / 2);
    [first, second, third, fourth]
}
