//! The multiply-add kernel on 512-bit vectors with `vpdpwssd`: sixteen lanes, four rows, all digits in registers.
#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::{DIGIT_BITS, Panel, TILE_ROWS, Totals};
use std::arch::x86_64::*;

/// Safe entrance; see the AVX2 twin.
pub(super) fn run<const D: usize>(panel: &Panel<'_>, block: usize, totals: &mut Totals) {
    assert!(
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni"),
        "AVX-512 VNNI is missing"
    );
    // SAFETY: the features are there; a `Panel` has words for all loads of at most its D digits.
    unsafe { accumulate::<D>(panel, block, totals) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn accumulate<const D: usize>(panel: &Panel<'_>, block: usize, totals: &mut Totals) {
    let &Panel { weights, words, offsets, digit_stride } = panel;
    for (weights, offsets) in weights.chunks(block * TILE_ROWS).zip(offsets.chunks(block)) {
        let mut sums = [[_mm512_setzero_si512(); D]; TILE_ROWS];
        for (k, &offset) in offsets.iter().enumerate() {
            // SAFETY: offset + (D−1)·stride + 16 ≤ words.len() and (k+1)·TILE_ROWS ≤ weights.len(), by `Panel`.
            unsafe {
                let column = words.as_ptr().add(offset);
                let values: [__m512i; D] =
                    std::array::from_fn(|d| _mm512_loadu_si512(column.add(d * digit_stride).cast()));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let weight = _mm512_set1_epi32(*weights.get_unchecked(k * TILE_ROWS + r));
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = _mm512_dpwssd_epi32(*sum, weight, value);
                    }
                }
            }
        }
        for (totals, sums) in totals.iter_mut().zip(&sums) {
            for (d, &sum) in sums.iter().enumerate() {
                let shift = _mm_cvtsi32_si128((d as u32 % 2 * DIGIT_BITS) as i32);
                let halves = [_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)];
                for (half, part) in halves.into_iter().enumerate() {
                    let wide = _mm512_sll_epi64(_mm512_cvtepi32_epi64(part), shift);
                    let total = totals[d / 2][8 * half..][..8].as_mut_ptr();
                    // SAFETY: the slice above has eight elements.
                    unsafe {
                        let old = _mm512_loadu_si512(total.cast());
                        _mm512_storeu_si512(total.cast(), _mm512_add_epi64(old, wide));
                    }
                }
            }
        }
    }
}
