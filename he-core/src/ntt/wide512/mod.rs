//! The transform in eight lanes of 64-bit words (AVX-512F, DQ, IFMA), 2^12 < q < 2^61, N >= 32.
//!
//! The arithmetic of a butterfly, and why its ranges hold, is in `lanes`; sums of products are in `sums`, multiples by one
//! factor in `multiples`. Here is the
//! walk over memory, of the same transform and tables as `portable`:
//!
//! | pass | levels (half the length of a block) | where |
//! |---|---|---|
//! | radix 4 | h and h/2, h >= 16 | `quarters` |
//! | last (first, of the inverse) | 8, 4, 2, 1, or 4, 2, 1 | `last` |
//!
//! Blocks of more than [`NEAR`] words are quartered over all of memory; from there on one block is finished before the
//! next is begun, so that it stays in the nearest cache.
//!
//! The functions here are safe to call only because [`super::Twiddles::Wide512`] is built after asking the CPU.
#![expect(unsafe_code, reason = "vector loads and stores, and calls of target_feature functions")]

mod lanes;
mod last;
mod multiples;
mod quarters;
mod sums;

use lanes::Q;
pub(crate) use multiples::Multiples;
pub(crate) use sums::{MOST_TERMS, accumulate};

use super::Roots;

/// Words (32 KiB) that a block may have to be finished by itself.
const NEAR: usize = 4096;

/// Loose inverses let words reach 32q.
const LOOSE_INVERSE: u64 = u64::MAX / 32;

/// Whether the forward transform may let words grow by 4q in each of log2 N levels: (4 log2 N + 1) q < 2^64.
fn loose_forward(n: usize, q: u64) -> bool {
    q <= u64::MAX / (4 * u64::from(n.trailing_zeros()) + 1)
}

/// In place; [0, q) natural order to [0, q) bit-reversed order.
pub(crate) fn forward(words: &mut [u64], roots: &Roots<u64>, q: u64) {
    assert!(words.len() >= 32 && roots.forward.len() == words.len());
    // SAFETY: a table with these roots exists only if the CPU has AVX-512F, DQ and IFMA (`Kernel::serves`).
    unsafe {
        if loose_forward(words.len(), q) {
            forward_all::<true>(words, roots, q);
        } else {
            forward_all::<false>(words, roots, q);
        }
    }
}

/// In place; [0, q) bit-reversed order to [0, q) natural order, divided by N.
pub(crate) fn inverse(words: &mut [u64], roots: &Roots<u64>, q: u64) {
    assert!(words.len() >= 32 && roots.inverse.len() == words.len());
    // SAFETY: as in `forward`.
    unsafe {
        if q <= LOOSE_INVERSE {
            inverse_all::<true>(words, roots, q);
        } else {
            inverse_all::<false>(words, roots, q);
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn forward_all<const LOOSE: bool>(words: &mut [u64], roots: &Roots<u64>, modulus: u64) {
    let q = Q::new(modulus);
    let (n, near) = (words.len(), near(words.len()));
    let mut length = n;
    while length > near {
        quarters::forward::<LOOSE>(words, length, n / length, roots, q);
        length /= 4;
    }
    for (part, block) in words.chunks_exact_mut(near).zip(n / near..) {
        let mut length = near;
        while length > 16 {
            quarters::forward::<LOOSE>(part, length, block * near / length, roots, q);
            length /= 4;
        }
        if length == 16 {
            last::forward::<LOOSE, true>(part, block * near / 16, roots, q);
        } else {
            last::forward::<LOOSE, false>(part, block * near / 16, roots, q);
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn inverse_all<const LOOSE: bool>(words: &mut [u64], roots: &Roots<u64>, modulus: u64) {
    let q = Q::new(modulus);
    let (n, near) = (words.len(), near(words.len()));
    for (part, block) in words.chunks_exact_mut(near).zip(n / near..) {
        let mut length = last_length(near);
        if length == 16 {
            last::inverse::<LOOSE, true>(part, block * near / 16, roots, q);
        } else {
            last::inverse::<LOOSE, false>(part, block * near / 16, roots, q);
        }
        while length < near {
            length *= 4;
            quarters::inverse::<LOOSE>(part, length, block * near / length, roots, q);
        }
    }
    let mut length = near;
    while length < n {
        length *= 4;
        quarters::inverse::<LOOSE>(words, length, n / length, roots, q);
    }
}

/// The length of the blocks that are finished one by one: N quartered until it is at most [`NEAR`].
fn near(mut length: usize) -> usize {
    while length > NEAR {
        length /= 4;
    }
    length
}

/// The length of the blocks that radix-4 passes leave to the last pass: 16 or 8.
fn last_length(mut length: usize) -> usize {
    while length > 16 {
        length /= 4;
    }
    length
}

#[cfg(test)]
mod tests;
