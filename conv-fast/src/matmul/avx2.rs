//! The multiply-add kernel on 256-bit vectors: eight lanes, two rows at a time, all digits in registers.
#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::{DIGIT_BITS, LANES, Panel, TILE_ROWS, Totals};
use std::arch::x86_64::*;

const ROWS: usize = 2;
const WIDTH: usize = 8;

/// Safe entrance. Lengths are checked by the [`Panel`]; only [`super::Kernel::available`] offers this
/// kernel; the feature is asserted again since the enum's variants can be named by anyone.
pub(super) fn run<const D: usize>(panel: &Panel<'_>, block: usize, totals: &mut Totals) {
    assert!(is_x86_feature_detected!("avx2"), "AVX2 is missing");
    // SAFETY: the feature is there; a `Panel` has words for all loads of at most its D digits.
    unsafe { accumulate::<D>(panel, block, totals) }
}

#[target_feature(enable = "avx2")]
unsafe fn accumulate<const D: usize>(panel: &Panel<'_>, block: usize, totals: &mut Totals) {
    let &Panel { weights, words, offsets, digit_stride } = panel;
    for (weights, offsets) in weights.chunks(block * TILE_ROWS).zip(offsets.chunks(block)) {
        for lane in (0..LANES).step_by(WIDTH) {
            for row in (0..TILE_ROWS).step_by(ROWS) {
                let mut sums = [[_mm256_setzero_si256(); D]; ROWS];
                for (k, &offset) in offsets.iter().enumerate() {
                    // SAFETY: offset + (D−1)·stride + LANES ≤ words.len() and (k+1)·TILE_ROWS ≤ weights.len(), by `Panel`.
                    unsafe {
                        let column = words.as_ptr().add(offset + lane);
                        let values: [__m256i; D] =
                            std::array::from_fn(|d| _mm256_loadu_si256(column.add(d * digit_stride).cast()));
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let weight = _mm256_set1_epi32(*weights.get_unchecked(k * TILE_ROWS + row + r));
                            for (sum, value) in sums.iter_mut().zip(values) {
                                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weight, value));
                            }
                        }
                    }
                }
                for (r, sums) in sums.iter().enumerate() {
                    for (d, &sum) in sums.iter().enumerate() {
                        let shift = _mm_cvtsi32_si128((d as u32 % 2 * DIGIT_BITS) as i32);
                        let halves = [_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum)];
                        for (half, part) in halves.into_iter().enumerate() {
                            let wide = _mm256_sll_epi64(_mm256_cvtepi32_epi64(part), shift);
                            let total = totals[row + r][d / 2][lane + 4 * half..][..4].as_mut_ptr();
                            // SAFETY: the slice above has four elements.
                            unsafe {
                                let old = _mm256_loadu_si256(total.cast());
                                _mm256_storeu_si256(total.cast(), _mm256_add_epi64(old, wide));
                            }
                        }
                    }
                }
            }
        }
    }
}
