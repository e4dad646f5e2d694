//! The way back from sums in vectors: the twin of [`Decode::eight`] with its constants in registers.

#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::decode::{Decode, MAGIC, WIDTH};
use super::panels::Sums;
use crate::lanes::LANES;
use std::arch::x86_64::*;

/// The constants of a [`Decode`], eight times each.
struct Constants {
    bits: __m128i,
    two_bits: __m128i,
    q: __m512i,
    correction: __m512i,
    mask: __m512i,
    start: __m512d,
    magic: __m512d,
    low: __m512d,
    high: __m512d,
}

/// Decodes what one kernel call left in `sums`: `columns` columns of `width` vectors each, of which `blocks` blocks of eight
/// outputs are wanted. Block b of column c goes to the eight words from `out[(b·pitch + c)·8]` on.
///
/// # Safety
/// The machine has the features; columns·width·D vectors fit [`Sums`], blocks ≤ 2·width/parts, and `out` points to all
/// words that are named above.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn tile<const D: usize, const PRIME: bool>(
    decode: &Decode,
    (sums, spills): (&Sums, bool),
    [columns, width, blocks]: [usize; 3],
    (out, pitch): (*mut u64, usize),
) {
    let c = Constants {
        bits: _mm_cvtsi32_si128(decode.cut.bits as i32),
        two_bits: _mm_cvtsi32_si128(2 * decode.cut.bits as i32),
        q: _mm512_set1_epi64(decode.q as i64),
        correction: _mm512_set1_epi64(decode.correction as i64),
        mask: _mm512_set1_epi64(decode.mask as i64),
        start: _mm512_set1_pd(decode.start),
        magic: _mm512_set1_pd(MAGIC),
        low: _mm512_set1_pd(decode.factors[0][0]),
        high: _mm512_set1_pd(decode.factors[0][1]),
    };
    let parts = decode.cut.parts;
    for column in 0..columns {
        for block in 0..blocks {
            // SAFETY: the vectors from here to parts·D further exist, and a block is eight of the sixteen words of each.
            unsafe {
                let from = (column * width * D + block / 2 * parts * D) * WIDTH + block % 2 * LANES;
                let low = sums.sums.as_ptr().cast::<i32>().add(from);
                let high = sums.highs.as_ptr().cast::<i32>().add(from);
                let words = match (parts, spills) {
                    (1, false) => one::<D, PRIME>(&c, |d| load(low, d)),
                    (1, true) => one::<D, PRIME>(&c, |d| spilled(low, high, d)),
                    (_, false) => several::<D, PRIME>(decode, &c, |d| load(low, d)),
                    (_, true) => several::<D, PRIME>(decode, &c, |d| spilled(low, high, d)),
                };
                _mm512_storeu_si512(out.add((block * pitch + column) * LANES).cast(), words);
            }
        }
    }
}

/// Words 0 to 7 of vector `at`, extended.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(low: *const i32, at: usize) -> __m512i {
    // SAFETY: the caller's vectors.
    unsafe { _mm512_cvtepi32_epi64(_mm256_loadu_si256(low.add(at * WIDTH).cast())) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn spilled(low: *const i32, high: *const i32, at: usize) -> __m512i {
    // SAFETY: the caller's vectors.
    unsafe { _mm512_add_epi64(load(low, at), _mm512_slli_epi64::<16>(load(high, at))) }
}

/// Digits d and d + 1 (if there is one) of a sum.
#[inline(always)]
unsafe fn pair<const D: usize>(c: &Constants, d: usize, total: &impl Fn(usize) -> __m512i) -> __m512i {
    // SAFETY: shifts and additions of AVX-512 F, which `tile` has.
    unsafe {
        if d + 1 < D { _mm512_add_epi64(total(d), _mm512_sll_epi64(total(d + 1), c.bits)) } else { total(d) }
    }
}

/// The element for a weight of one part.
#[inline(always)]
unsafe fn one<const D: usize, const PRIME: bool>(c: &Constants, total: impl Fn(usize) -> __m512i) -> __m512i {
    // SAFETY: arithmetic of AVX-512 F and DQ, which `tile` has.
    unsafe {
        let low = pair::<D>(c, 0, &total);
        let mut estimate = _mm512_fmadd_pd(_mm512_cvtepi64_pd(low), c.low, c.start);
        if D <= 2 {
            return finish::<PRIME>(c, low, estimate);
        }
        let high = pair::<D>(c, 2, &total);
        estimate = _mm512_fmadd_pd(_mm512_cvtepi64_pd(high), c.high, estimate);
        finish::<PRIME>(c, _mm512_add_epi64(low, _mm512_sll_epi64(high, c.two_bits)), estimate)
    }
}

/// The element for a weight of several parts.
#[inline(always)]
unsafe fn several<const D: usize, const PRIME: bool>(
    decode: &Decode,
    c: &Constants,
    total: impl Fn(usize) -> __m512i,
) -> __m512i {
    // SAFETY: arithmetic of AVX-512 F and DQ, which `tile` has.
    unsafe {
        let (mut sum, mut estimate) = (_mm512_setzero_si512(), c.start);
        for e in 0..decode.cut.parts {
            for (half, factor) in decode.factors[e].into_iter().enumerate().take(D.div_ceil(2)) {
                let value = pair::<D>(c, 2 * half, &|d| total(e * D + d));
                let shift = decode.cut.part_bits * e as u32 + 2 * half as u32 * decode.cut.bits;
                sum = _mm512_add_epi64(sum, _mm512_sll_epi64(value, _mm_cvtsi32_si128(shift as i32)));
                estimate = _mm512_fmadd_pd(_mm512_cvtepi64_pd(value), _mm512_set1_pd(factor), estimate);
            }
        }
        finish::<PRIME>(c, sum, estimate)
    }
}

/// The sum less the estimated multiple of q, and less q once more if it is not below.
#[inline(always)]
unsafe fn finish<const PRIME: bool>(c: &Constants, sum: __m512i, estimate: __m512d) -> __m512i {
    // SAFETY: arithmetic of AVX-512 F and DQ, which `tile` has.
    unsafe {
        if PRIME {
            let quotient = _mm512_castpd_si512(_mm512_add_pd(estimate, c.magic));
            let sum = _mm512_add_epi64(sum, c.correction);
            let rest = _mm512_sub_epi64(sum, _mm512_mullo_epi64(quotient, c.q));
            _mm512_min_epu64(rest, _mm512_sub_epi64(rest, c.q))
        } else {
            _mm512_and_si512(sum, c.mask)
        }
    }
}
