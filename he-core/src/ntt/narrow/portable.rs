//! The transform of 32-bit words on plain 64-bit arithmetic, for q < 2^32: the twin that the SIMD kernels are read
//! against. Words are in [0, q) between all levels.

use super::Roots;

/// The table's two words for a factor w < q (public: divides): itself and floor(w * 2^32 / q).
pub(super) fn entry(w: u32, q: u32) -> (u32, u32) {
    (w, ((u64::from(w) << 32) / u64::from(q)) as u32)
}

/// In place; words in [0, q) in natural order to [0, q) in bit-reversed order.
pub(super) fn forward(words: &mut [u32], roots: &Roots<u32>, q: u32) {
    let mut blocks = 1;
    let mut half = words.len() / 2;
    while half >= 1 {
        for (i, block) in words.chunks_exact_mut(2 * half).enumerate() {
            let (w, quotient) = (roots.forward[blocks + i], roots.forward_quotient[blocks + i]);
            let (low, high) = block.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                let v = mul(*b, w, quotient, q);
                (*a, *b) = (add(*a, v, q), add(*a, q - v, q));
            }
        }
        blocks *= 2;
        half /= 2;
    }
}

/// In place; words in [0, q) in bit-reversed order to [0, q) in natural order, divided by N.
pub(super) fn inverse(words: &mut [u32], roots: &Roots<u32>, q: u32) {
    let mut blocks = words.len() / 2;
    let mut half = 1;
    while blocks >= 1 {
        for (i, block) in words.chunks_exact_mut(2 * half).enumerate() {
            let (w, quotient) = (roots.inverse[blocks + i], roots.inverse_quotient[blocks + i]);
            let (low, high) = block.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (add(*a, *b, q), mul(add(*a, q - *b, q), w, quotient, q));
                if blocks == 1 {
                    // 1/N is folded into both factors of the last level.
                    *a = mul(*a, roots.inverse[0], roots.inverse_quotient[0], q);
                }
            }
        }
        blocks /= 2;
        half *= 2;
    }
}

/// acc = acc + sum of products, all residues modulo q; fewer than 2^31 terms.
pub(super) fn accumulate(terms: &[(&[u32], &[u32])], acc: &mut [u32], modulus: &crate::Modulus) {
    for (i, out) in acc.iter_mut().enumerate() {
        let sum: u128 = terms.iter().map(|(a, b)| u128::from(u64::from(a[i]) * u64::from(b[i]))).sum();
        *out = modulus.reduce_u128(sum + u128::from(*out)) as u32;
    }
}

/// a + b in [0, q), for a + b < 2q.
#[inline(always)]
fn add(a: u32, b: u32, q: u32) -> u32 {
    reduce_once(u64::from(a) + u64::from(b), q)
}

/// x * w in [0, q) for any word x, with the quotient floor(w * 2^32 / q) of w < q.
#[inline(always)]
fn mul(x: u32, w: u32, quotient: u32, q: u32) -> u32 {
    let times = (u64::from(x) * u64::from(quotient)) >> 32;
    reduce_once((u64::from(x) * u64::from(w)).wrapping_sub(times * u64::from(q)), q)
}

/// x < 2q to x < q, without a branch.
#[inline(always)]
fn reduce_once(x: u64, q: u32) -> u32 {
    crate::modulus::reduce_once(x, u64::from(q)) as u32
}
