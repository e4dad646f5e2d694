//! The tiles on 512-bit vectors: up to four blocks of eight outputs with up to six columns.
//!
//! Per term a tile loads one vector of weights per block (32-bit ones extended on the way) and broadcasts one word per
//! column; all sums, at most 24 vectors, stay in registers. The multiply-adds run two per cycle, so a tile of
//! V blocks and P columns takes V·P/2 cycles per term for one sum, V·P for low and high; its V + P loads hide behind.

#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::{Form, Long, Narrow, Sums, Weights, WideMatrix, Work};
use std::arch::x86_64::{
    __m512i, _mm256_load_si256, _mm512_add_epi64, _mm512_cvtepi32_epi64, _mm512_cvtepu32_epi64,
    _mm512_load_si512, _mm512_loadu_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_mullo_epi64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_si512,
};

/// Adds the products of `work` to `sums`.
#[inline(always)]
pub(super) fn tile(matrix: &WideMatrix, work: &Work<'_>, sums: &mut Sums) {
    let &Work { from, terms, x, stride, shape: [panel, width], .. } = work;
    assert!(x.len() >= (width - 1) * stride + terms, "words of x");
    match (&matrix.weights, matrix.form) {
        (Weights::Narrow(weights), form) => {
            let weights = weights[from..from + panel * terms].as_ptr();
            // SAFETY: `WideMatrix` runs under this kernel only where the features are; the weights and words were
            // measured above.
            unsafe {
                match form {
                    Form::Low => low(weights, work, sums),
                    Form::LowHigh => low_high(weights, work, sums),
                    _ => single(weights, work, sums),
                }
            }
        }
        (Weights::Long(weights), form) => {
            let weights = weights[from..from + panel * terms].as_ptr();
            // SAFETY: as above.
            unsafe {
                match form {
                    Form::LowHigh => low_high_long(weights, work, sums),
                    _ => single_long(weights, work, sums),
                }
            }
        }
    }
}

/// One entrance per form, with the tile's shape a constant inside.
macro_rules! tiles {
    ($(#[$doc:meta])* $name:ident, $inner:ident, $weight:ty, [$($panel:literal)*]) => {
        $(#[$doc])*
        #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
        unsafe fn $name(
            weights: *const $weight,
            work: &Work<'_>,
            sums: &mut Sums,
        ) {
            // SAFETY: handed on from the caller.
            unsafe {
                match work.shape {
                    $(
                        [$panel, 1] => $inner::<$panel, 1>(weights, work, sums),
                        [$panel, 2] => $inner::<$panel, 2>(weights, work, sums),
                        [$panel, 3] => $inner::<$panel, 3>(weights, work, sums),
                        [$panel, 4] => $inner::<$panel, 4>(weights, work, sums),
                        [$panel, 5] => $inner::<$panel, 5>(weights, work, sums),
                        [$panel, 6] => $inner::<$panel, 6>(weights, work, sums),
                    )*
                    _ => unreachable!("tiles of these shapes only"),
                }
            }
        }
    };
}

/// The loop over terms: `$load` brings eight weights, `$step` adds one vector of products.
macro_rules! kernel {
    ($name:ident, $weight:ty, $sums:literal, $load:expr, $step:expr) => {
        #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
        unsafe fn $name<const V: usize, const P: usize>(
            weights: *const $weight,
            work: &Work<'_>,
            sums: &mut Sums,
        ) {
            assert!($sums * V * P <= sums.len(), "sums of a tile");
            let mut total = [[[_mm512_setzero_si512(); $sums]; P]; V];
            if !work.fresh {
                for v in 0..V {
                    for p in 0..P {
                        for j in 0..$sums {
                            let sum = sums[(j * V + v) * P + p].as_ptr();
                            // SAFETY: an array of eight words.
                            total[v][p][j] = unsafe { _mm512_loadu_si512(sum.cast()) };
                        }
                    }
                }
            }
            let x = work.x.as_ptr();
            let columns: [*const u64; P] = std::array::from_fn(|p| x.wrapping_add(p * work.stride));
            for k in 0..work.terms {
                // SAFETY: the caller has `terms` vectors of weights for each of V blocks.
                let weights: [__m512i; V] = std::array::from_fn(|v| unsafe { $load(weights.add(k * V + v)) });
                for p in 0..P {
                    // SAFETY: the caller has P columns `stride` words apart, of at least `terms` words each.
                    let word = _mm512_set1_epi64(unsafe { *columns[p].add(k) } as i64);
                    for v in 0..V {
                        $step(&mut total[v][p], weights[v], word);
                    }
                }
            }
            for v in 0..V {
                for p in 0..P {
                    for j in 0..$sums {
                        // SAFETY: an array of eight words.
                        unsafe {
                            _mm512_storeu_si512(
                                sums[(j * V + v) * P + p].as_mut_ptr().cast(),
                                total[v][p][j],
                            );
                        }
                    }
                }
            }
        }
    };
}

kernel!(
    low_tile,
    Narrow,
    1,
    |at: *const Narrow| _mm512_cvtepu32_epi64(_mm256_load_si256(at.cast())),
    |sum: &mut [__m512i; 1], w, x| sum[0] = _mm512_madd52lo_epu64(sum[0], w, x)
);
kernel!(
    single_tile,
    Narrow,
    1,
    |at: *const Narrow| _mm512_cvtepi32_epi64(_mm256_load_si256(at.cast())),
    |sum: &mut [__m512i; 1], w, x| sum[0] = _mm512_add_epi64(sum[0], _mm512_mullo_epi64(w, x))
);
kernel!(
    single_long_tile,
    Long,
    1,
    |at: *const Long| _mm512_load_si512(at.cast()),
    |sum: &mut [__m512i; 1], w, x| sum[0] = _mm512_add_epi64(sum[0], _mm512_mullo_epi64(w, x))
);
kernel!(
    low_high_tile,
    Narrow,
    2,
    |at: *const Narrow| _mm512_cvtepu32_epi64(_mm256_load_si256(at.cast())),
    |sum: &mut [__m512i; 2], w, x| {
        sum[0] = _mm512_madd52lo_epu64(sum[0], w, x);
        sum[1] = _mm512_madd52hi_epu64(sum[1], w, x);
    }
);
kernel!(
    low_high_long_tile,
    Long,
    2,
    |at: *const Long| _mm512_load_si512(at.cast()),
    |sum: &mut [__m512i; 2], w, x| {
        sum[0] = _mm512_madd52lo_epu64(sum[0], w, x);
        sum[1] = _mm512_madd52hi_epu64(sum[1], w, x);
    }
);

tiles!(
    /// Low 52 bits of products with biased weights.
    low, low_tile, Narrow, [1 2 4]
);
tiles!(
    /// Products of 64 bits, signed weights.
    single, single_tile, Narrow, [1 2 4]
);
tiles!(
    /// Products of 64 bits, 64-bit weights.
    single_long, single_long_tile, Long, [1 2 4]
);
tiles!(
    /// Low and high 52 bits of products with biased weights.
    low_high, low_high_tile, Narrow, [1 2]
);
tiles!(
    /// Low and high 52 bits of products with residues.
    low_high_long, low_high_long_tile, Long, [1 2]
);
