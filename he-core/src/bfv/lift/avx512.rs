//! The loops of [`super`] in eight lanes of 52-bit multiply-add (AVX-512F, AVX-512IFMA), for t and q below 2^50.
//!
//! x w mod p by Shoup with words of 52 bits: with w' = floor(w 2^52/p) the estimate floor(x w'/2^52) is right or one too
//! small for every x below 2^52, so x w less the estimate times p, modulo 2^52, is in [0, 2p). The quotient of 52 bits
//! is the one of 64 bits without its last twelve.
//!
//! An [`Ifma`] exists only after the CPU was asked: that makes the calls below sound.
#![expect(unsafe_code, reason = "vector loads and stores, and calls of target_feature functions")]

use core::arch::x86_64::*;

pub(super) use crate::simd::Ifma;

const LANES: usize = 8;
const MASK: i64 = (1 << 52) - 1;

impl Ifma {
    /// out = x w mod t, for as many positions as fill registers; returns how many. Both slices have one length.
    pub(super) fn multiply(self, t: u64, w: u64, quotient: u64, words: &[u64], out: &mut [u64]) -> usize {
        // SAFETY: `self` exists, so the CPU has both features.
        unsafe { multiply(t, w, quotient >> 12, words, out) }
        words.len() - words.len() % LANES
    }

    /// out = factor * (x + (x > half) up) mod q, for as many positions as fill registers; returns how many.
    pub(super) fn centre(
        self,
        half: u64,
        up: u64,
        q: u64,
        (factor, quotient): (u64, u64),
        words: &[u64],
        out: &mut [u64],
    ) -> usize {
        // SAFETY: as in `multiply`.
        unsafe { centre(half, up, q, (factor, quotient >> 12), words, out) }
        words.len() - words.len() % LANES
    }
}

/// x w mod p of lanes x < 2^52, with w' the quotient of 52 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn shoup(x: __m512i, w: __m512i, quotient: __m512i, p: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    let estimate = _mm512_madd52hi_epu64(zero, x, quotient);
    let (product, multiple) = (_mm512_madd52lo_epu64(zero, x, w), _mm512_madd52lo_epu64(zero, estimate, p));
    let rest = _mm512_and_si512(_mm512_sub_epi64(product, multiple), _mm512_set1_epi64(MASK));
    // Below 2p: the smaller of rest and rest - p, which wraps when negative.
    _mm512_min_epu64(rest, _mm512_sub_epi64(rest, p))
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn multiply(t: u64, w: u64, quotient: u64, words: &[u64], out: &mut [u64]) {
    let [t, w, quotient] = [t, w, quotient].map(|word| _mm512_set1_epi64(word as i64));
    let (words, _) = words.as_chunks::<LANES>();
    let (out, _) = out.as_chunks_mut::<LANES>();
    for (words, out) in words.iter().zip(out) {
        // SAFETY: both are arrays of eight words.
        unsafe {
            let x = _mm512_loadu_si512(words.as_ptr().cast());
            _mm512_storeu_si512(out.as_mut_ptr().cast(), shoup(x, w, quotient, t));
        }
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn centre(half: u64, up: u64, q: u64, (factor, quotient): (u64, u64), words: &[u64], out: &mut [u64]) {
    let [half, up, q, factor, quotient] =
        [half, up, q, factor, quotient].map(|word| _mm512_set1_epi64(word as i64));
    let (words, _) = words.as_chunks::<LANES>();
    let (out, _) = out.as_chunks_mut::<LANES>();
    for (words, out) in words.iter().zip(out) {
        // SAFETY: both are arrays of eight words.
        unsafe {
            let x = _mm512_loadu_si512(words.as_ptr().cast());
            let x = _mm512_mask_add_epi64(x, _mm512_cmpgt_epu64_mask(x, half), x, up);
            _mm512_storeu_si512(out.as_mut_ptr().cast(), shoup(x, factor, quotient, q));
        }
    }
}
