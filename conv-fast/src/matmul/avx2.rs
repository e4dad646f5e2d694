//! The multiply-add kernel on 256-bit vectors with `vpmaddwd`: half a vector of outputs at a time, sums in registers.
#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::panels::{Sums, Tile};
use std::arch::x86_64::*;

/// Sums per half of a vector that fit the sixteen registers beside weights, words and products.
const SUMS: usize = 8;

/// The sums of `width` vectors of weights with the columns of the tile.
#[inline(always)]
pub(super) fn run<const D: usize>(tile: &Tile<'_>, width: usize, sums: &mut Sums) {
    let (count, mut at) = (tile.starts.len(), 0);
    while at < count {
        // SAFETY: only machines with the features run this kernel; a `Tile` has weights and words for all loads.
        unsafe {
            if SUMS >= 6 * D && count - at >= 6 {
                at += accumulate::<6, D>(tile, width, at, sums);
            } else if SUMS >= 4 * D && count - at >= 4 {
                at += accumulate::<4, D>(tile, width, at, sums);
            } else if count - at >= 2 {
                at += accumulate::<2, D>(tile, width, at, sums);
            } else {
                at += accumulate::<1, D>(tile, width, at, sums);
            }
        }
    }
}

/// P columns from number `first` on; returns P.
#[target_feature(enable = "avx2")]
unsafe fn accumulate<const P: usize, const D: usize>(
    tile: &Tile<'_>,
    width: usize,
    first: usize,
    out: &mut Sums,
) -> usize {
    let starts: [usize; P] = std::array::from_fn(|p| tile.starts[first + p]);
    for half in 0..2 * width {
        let mut sums = [[_mm256_setzero_si256(); D]; P];
        let mut highs = sums;
        // SAFETY: by `Tile`, start + offset + D·pairs ≤ words.len(), and there are `width` vectors for each pair.
        unsafe {
            let mut weights = tile.weights.as_ptr().cast::<__m256i>().add(half);
            for segment in tile.segments {
                let columns: [*const i32; P] =
                    std::array::from_fn(|p| tile.words.as_ptr().add(starts[p] + segment.offset));
                for at in (0..segment.pairs * D).step_by(D) {
                    let weight = _mm256_load_si256(weights);
                    for (sums, column) in sums.iter_mut().zip(columns) {
                        for (d, sum) in sums.iter_mut().enumerate() {
                            let word = _mm256_set1_epi32(*column.add(at + d));
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weight, word));
                        }
                    }
                    weights = weights.add(2 * width);
                }
                if segment.spill {
                    let low = _mm256_set1_epi32(0xffff);
                    for (high, sum) in highs.as_flattened_mut().iter_mut().zip(sums.as_flattened_mut()) {
                        *high = _mm256_add_epi32(*high, _mm256_srai_epi32::<16>(*sum));
                        *sum = _mm256_and_si256(*sum, low);
                    }
                }
            }
        }
        for p in 0..P {
            for d in 0..D {
                let at = ((first + p) * width + half / 2) * D + d;
                // SAFETY: eight of the sixteen words of a vector.
                unsafe {
                    let from = 8 * (half % 2);
                    _mm256_storeu_si256(out.sums[at].0[from..][..8].as_mut_ptr().cast(), sums[p][d]);
                    _mm256_storeu_si256(out.highs[at].0[from..][..8].as_mut_ptr().cast(), highs[p][d]);
                }
            }
        }
    }
    P
}
