//! Sums of 52-bit products with lifted weights, four outputs and sixteen values at a time.
//!
//! | number | range |
//! |---|---|
//! | lifted weight w + 2^b | below 2^(b+1) <= 2^21 |
//! | residue x | below 2^50 |
//! | sum of low halves | below 2^52 K <= 2^64 |
//! | sum of high halves | below 2^19 K < 2^31 |
//! | sum of x | below 2^50 K < 2^62 |
//!
//! A tile of all terms is copied together first ([`TILE`] values each), so that the loops over groups of outputs read
//! memory in order.
#![expect(unsafe_code, reason = "vector loads and stores, and calls of target_feature functions")]

use core::arch::x86_64::*;

use super::{GROUP, MOST_TERMS, Panels, TILE};
use crate::modulus::Modulus;
use crate::poly::{Ntt, Poly};
use crate::simd::Ifma;

/// Values of a step: two registers.
const STEP: usize = 16;

impl Ifma {
    /// out += w x; lengths are multiples of [`TILE`], residues have 50 bits at most.
    pub(super) fn combine(
        self,
        modulus: &Modulus,
        x: &[&[u64]],
        panels: &Panels,
        bits: u32,
        out: &mut [Poly<Ntt>],
    ) {
        assert!(modulus.bits() <= 50 && bits <= 20 && x.len() <= MOST_TERMS, "sums that fit their words");
        let n = x[0].len();
        assert!(n.is_multiple_of(TILE) && x.iter().all(|x| x.len() == n), "whole tiles");
        let lifted: Vec<Vec<[i64; GROUP]>> =
            panels.groups().map(|group| group.iter().map(|w| w.map(|w| w + (1 << bits))).collect()).collect();
        // Steps of the tile, then terms.
        let mut tile = vec![[0_u64; STEP]; TILE / STEP * x.len()];
        for start in (0..n).step_by(TILE) {
            for (i, x) in x.iter().enumerate() {
                let x: &[[u64; STEP]] = x[start..start + TILE].as_chunks().0;
                for (step, x) in x.iter().enumerate() {
                    tile[step * panels.terms + i] = *x;
                }
            }
            for (step, x) in tile.chunks_exact(panels.terms).enumerate() {
                let at = start + step * STEP;
                let mut plain = [0_u64; STEP];
                for x in x {
                    plain.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
                }
                let plain = plain.map(|plain| i128::from(plain) << bits);
                for (group, out) in lifted.iter().zip(out.chunks_mut(GROUP)) {
                    // SAFETY: `Ifma` exists only where `Ifma::detect` found AVX-512F and AVX-512IFMA.
                    let (low, high) = unsafe { products(x, group) };
                    for ((low, high), out) in low.iter().zip(&high).zip(out) {
                        let out = &mut out.words_mut()[at..at + STEP];
                        for (((out, &low), &high), plain) in out.iter_mut().zip(low).zip(high).zip(&plain) {
                            let sum = i128::from(low) + (i128::from(high) << 52) - plain;
                            *out = modulus.add(*out, modulus.from_i128(sum));
                        }
                    }
                }
            }
        }
    }
}

/// Sums of one group: outputs, values.
type Sums = [[u64; STEP]; GROUP];

/// For each output of the group the sums of the low and of the high halves of its products.
#[target_feature(enable = "avx512f,avx512ifma")]
fn products(x: &[[u64; STEP]], weights: &[[i64; GROUP]]) -> (Sums, Sums) {
    let zero = [[_mm512_setzero_si512(); 2]; GROUP];
    let (mut low, mut high) = (zero, zero);
    for (x, weights) in x.iter().zip(weights) {
        // SAFETY: the array has sixteen words.
        let x =
            unsafe { [_mm512_loadu_si512(x.as_ptr().cast()), _mm512_loadu_si512(x[8..].as_ptr().cast())] };
        for ((low, high), &w) in low.iter_mut().zip(&mut high).zip(weights) {
            let w = _mm512_set1_epi64(w);
            for ((low, high), x) in low.iter_mut().zip(high).zip(x) {
                *low = _mm512_madd52lo_epu64(*low, x, w);
                *high = _mm512_madd52hi_epu64(*high, x, w);
            }
        }
    }
    (store(&low), store(&high))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(sums: &[[__m512i; 2]; GROUP]) -> Sums {
    let mut out = [[0_u64; STEP]; GROUP];
    for (out, sums) in out.iter_mut().zip(sums) {
        // SAFETY: the array has sixteen words.
        unsafe {
            _mm512_storeu_si512(out.as_mut_ptr().cast(), sums[0]);
            _mm512_storeu_si512(out[8..].as_mut_ptr().cast(), sums[1]);
        }
    }
    out
}
