//! The multiply-add kernel on 512-bit vectors with `vpdpwssd`: all sums in registers.
#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::buffer::Vector;
use super::panels::{MAX_SUMS, Sums, Tile};
use std::arch::asm;
use std::arch::x86_64::*;

/// The sums of `width` vectors of weights with the columns of the tile: 1, 2, 3, 4, 6, 8 or 12 of them.
#[inline(always)]
pub(super) fn run<const D: usize>(tile: &Tile<'_>, width: usize, sums: &mut Sums) {
    macro_rules! columns {
        ($width:literal, $($count:literal)*) => {
            match tile.starts.len() {
                // SAFETY: only machines with the features run this kernel; a `Tile` has weights and words for all loads.
                $($count => unsafe { accumulate::<$width, $count, D>(tile, sums) },)*
                count => unreachable!("{count} columns"),
            }
        };
    }
    match (width, D) {
        (1, 1) => columns!(1, 1 2 3 4 6 8 12),
        (1, 2) => columns!(1, 1 2 3 4 6),
        (1, _) => columns!(1, 1 2 3 4),
        (2, 1) => columns!(2, 1 2 3 4 6 8 12),
        (2, 2) => columns!(2, 1 2 3 4 6),
        (2, _) => columns!(2, 1 2 3 4),
        (3, 1) => columns!(3, 1 2 3 4 6 8),
        (3, _) => columns!(3, 1 2 3 4),
        _ => unreachable!("{width} vectors"),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn accumulate<const V: usize, const P: usize, const D: usize>(tile: &Tile<'_>, out: &mut Sums) {
    if V * P * D > MAX_SUMS {
        unreachable!("more sums than registers");
    }
    let mut sums = [[[_mm512_setzero_si512(); D]; V]; P];
    let highs: *mut Vector = out.highs.as_mut_ptr();
    let mut spilled = false;
    let mut weights: *const Vector = tile.weights.as_ptr();
    for segment in tile.segments {
        // SAFETY: by `Tile`, start + offset + D·pairs ≤ words.len(), and there are V vectors for each pair.
        unsafe {
            let columns: [*const i32; P] = std::array::from_fn(|p| {
                tile.words.as_ptr().add(*tile.starts.get_unchecked(p) + segment.offset)
            });
            let mut at = 0;
            for _ in 0..segment.pairs {
                let vectors: [__m512i; V] = std::array::from_fn(|v| _mm512_load_si512(weights.add(v).cast()));
                for (sums, column) in sums.iter_mut().zip(columns) {
                    for d in 0..D {
                        let word = _mm512_set1_epi32(*column.add(at + d));
                        for (sums, &vector) in sums.iter_mut().zip(&vectors) {
                            sums[d] = _mm512_dpwssd_epi32(sums[d], vector, word);
                        }
                    }
                }
                weights = weights.add(V);
                at += D;
            }
        }
        if segment.spill {
            let low = _mm512_set1_epi32(0xffff);
            for (i, sum) in sums.as_flattened_mut().as_flattened_mut().iter_mut().enumerate() {
                let mut high = _mm512_srai_epi32::<16>(*sum);
                // SAFETY: there are MAX_SUMS vectors.
                unsafe {
                    let at = highs.add(i).cast();
                    if spilled {
                        high = _mm512_add_epi32(high, _mm512_load_si512(at));
                    }
                    _mm512_store_si512(at, high);
                }
                *sum = _mm512_and_si512(*sum, low);
            }
            spilled = true;
        }
    }
    for (vector, &sum) in out.sums.iter_mut().zip(sums.as_flattened().as_flattened()) {
        // SAFETY: one vector is one cache line.
        unsafe { _mm512_store_si512(vector.0.as_mut_ptr().cast(), sum) };
    }
}

/// `vpdpwssd`: sum + the products of the lower and of the upper halves. By its name, since the compiler takes the intrinsic
/// apart into a product and an addition, for a latency that does not matter with so many sums.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
pub(crate) fn multiply_add(mut sum: __m512i, x: __m512i, weight: __m512i) -> __m512i {
    // SAFETY: one instruction on registers.
    unsafe {
        asm!(
            "vpdpwssd {sum}, {x}, {weight}",
            sum = inout(zmm_reg) sum,
            x = in(zmm_reg) x,
            weight = in(zmm_reg) weight,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
