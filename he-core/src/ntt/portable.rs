//! The transform on plain 64-bit words, for q < 2^61; also the twin that the SIMD kernels are read against.
//!
//! | routine | between stages | multiplication |
//! |---|---|---|
//! | forward (Cooley–Tukey) | [0, 4q) | Shoup, any word in, [0, 2q) out |
//! | inverse (Gentleman–Sande) | [0, 2q) | as above |
//!
//! 4q < 2^63, so nothing overflows.

use super::Roots;
use crate::modulus::{Modulus, reduce_once};

/// In place; words in [0, q) in natural order to [0, q) in bit-reversed order.
pub(crate) fn forward(words: &mut [u64], roots: &Roots<u64>, modulus: &Modulus) {
    let q = modulus.value();
    let mut blocks = 1;
    let mut half = words.len() / 2;
    while half >= 1 {
        for (i, block) in words.chunks_exact_mut(2 * half).enumerate() {
            let (w, quotient) = (roots.forward[blocks + i], roots.forward_quotient[blocks + i]);
            let (low, high) = block.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                let u = reduce_once(*a, 2 * q);
                let v = modulus.mul_shoup_lazy(*b, w, quotient);
                *a = u + v;
                *b = u + 2 * q - v;
            }
        }
        blocks *= 2;
        half /= 2;
    }
    for word in words {
        *word = reduce_once(reduce_once(*word, 2 * q), q);
    }
}

/// In place; words in [0, q) in bit-reversed order to [0, q) in natural order, divided by N.
pub(crate) fn inverse(words: &mut [u64], roots: &Roots<u64>, modulus: &Modulus) {
    let q = modulus.value();
    let mut blocks = words.len() / 2;
    let mut half = 1;
    while blocks > 1 {
        for (i, block) in words.chunks_exact_mut(2 * half).enumerate() {
            let (w, quotient) = (roots.inverse[blocks + i], roots.inverse_quotient[blocks + i]);
            let (low, high) = block.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                let (u, v) = (*a, *b);
                *a = reduce_once(u + v, 2 * q);
                *b = modulus.mul_shoup_lazy(u + 2 * q - v, w, quotient);
            }
        }
        blocks /= 2;
        half *= 2;
    }
    // The last stage multiplies both outputs, because 1/N is folded into its two factors.
    let (low, high) = words.split_at_mut(half);
    for (a, b) in low.iter_mut().zip(high) {
        let (u, v) = (*a, *b);
        *a = modulus.mul_shoup(u + v, roots.inverse[0], roots.inverse_quotient[0]);
        *b = modulus.mul_shoup(u + 2 * q - v, roots.inverse[1], roots.inverse_quotient[1]);
    }
}
