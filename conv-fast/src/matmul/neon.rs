//! The multiply-add kernel on 128-bit NEON vectors with `smlal`: eight outputs at a time, all sums in registers.
//!
//! Half a vector of weights is sixteen numbers of 16 bits, the two terms of each of eight outputs. `ld2` sets the terms
//! apart on the way in, and each of them meets the digits of a column, which are lanes of a register and never
//! broadcast:
//!
//! ```text
//! weights   [term][output 0..8]                              2 registers
//! digits    [digit][term] of one column                      2 registers, two digits in each
//! sums      [column][digit][outputs 0..4, outputs 4..8]      2·P·D ≤ 24 registers
//! ```
//!
//! A pair of terms of a column, times one digit, is four instructions of four products each: `smlal` and `smlal2` by
//! element (Arm Architecture Reference Manual for A-profile, DDI 0487, part C7). They add one term after the other; the
//! bounds of [`super::cut`] are on sums of absolute values and hold in between as they do after the pair. What is spilled
//! goes to memory.

#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::buffer::Vector;
use super::decode::WIDTH;
use super::panels::{MAX_SUMS, Sums, Tile};
use std::arch::aarch64::*;

/// Outputs of one step, half a vector.
const HALF: usize = WIDTH / 2;

/// The sums of eight outputs: the first four and the last four.
type Sum = [int32x4_t; 2];

/// The sums of `width` vectors of weights with the columns of the tile: 1, 2, 3, 4, 6, 8 or 12 of them, 12/D at most.
#[inline(always)]
pub(super) fn run<const D: usize>(tile: &Tile<'_>, width: usize, sums: &mut Sums) {
    macro_rules! columns {
        ($($count:literal)*) => {
            match tile.starts.len() {
                // SAFETY: NEON belongs to every 64-bit ARM; a `Tile` has weights and words for all loads.
                $($count => unsafe { accumulate::<$count, D>(tile, width, 0, sums) },)*
                // Two calls, because compilers keep the sums of twelve columns in memory.
                // SAFETY: as above.
                12 if D == 1 => unsafe {
                    accumulate::<6, D>(tile, width, 0, sums);
                    accumulate::<6, D>(tile, width, 6, sums);
                },
                count => unreachable!("{count} columns"),
            }
        };
    }
    match D {
        1 => columns!(1 2 3 4 6 8),
        2 => columns!(1 2 3 4 6),
        3 => columns!(1 2 3 4),
        _ => columns!(1 2 3),
    }
}

/// P columns of D digits, from number `column` on.
///
/// # Safety
/// The tile has `width` vectors of weights for each pair, and words as [`Tile`] says.
#[target_feature(enable = "neon")]
unsafe fn accumulate<const P: usize, const D: usize>(
    tile: &Tile<'_>,
    width: usize,
    column: usize,
    out: &mut Sums,
) {
    let starts: [usize; P] = std::array::from_fn(|p| tile.starts[column + p]);
    assert!((column + P) * width * D <= MAX_SUMS, "more sums than there is room for");
    let (out, highs): (*mut Vector, *mut Vector) = (out.sums.as_mut_ptr(), out.highs.as_mut_ptr());
    // Where the sums of the p-th column and digit d are in either: below MAX_SUMS vectors, by the assertion, and half of one.
    let place = |half: usize, p: usize, d: usize| {
        (((column + p) * width + half / 2) * D + d) * WIDTH + half % 2 * HALF
    };
    for half in 0..2 * width {
        let mut sums = [[[vdupq_n_s32(0); 2]; D]; P];
        // Of what `highs` holds: nothing before the first spill, then everything.
        let mut kept = vdupq_n_s32(0);
        let mut weights: *const i16 = tile.weights.as_ptr().cast::<i16>().wrapping_add(half * 2 * HALF);
        for segment in tile.segments {
            // SAFETY: by `Tile`, start + offset + D·pairs ≤ words.len().
            let mut columns: [*const i32; P] =
                std::array::from_fn(|p| unsafe { tile.words.as_ptr().add(starts[p] + segment.offset) });
            for _ in 0..segment.pairs {
                // SAFETY: half of one of the vectors of this pair.
                let terms = unsafe { vld2q_s16(weights) };
                weights = weights.wrapping_add(width * 2 * WIDTH);
                for (sums, words) in sums.iter_mut().zip(&mut columns) {
                    // SAFETY: the D words of this pair.
                    let digits = unsafe { digits::<D>(*words) };
                    *words = words.wrapping_add(D);
                    for (d, sum) in sums.iter_mut().enumerate() {
                        *sum = add(*sum, terms, digits, d);
                    }
                }
            }
            if segment.spill {
                for (p, sums) in sums.iter_mut().enumerate() {
                    for (d, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: room for eight words, see `place`.
                        unsafe { spill(sum, highs.cast::<i32>().add(place(half, p, d)), kept) };
                    }
                }
                kept = vdupq_n_s32(-1);
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (d, &sum) in sums.iter().enumerate() {
                // SAFETY: room for eight words, see `place`.
                unsafe { store(out.cast::<i32>().add(place(half, p, d)), sum) };
            }
        }
    }
}

/// The digits of one pair of terms of a column: lane 2·(d mod 2) + t of register ⌊d/2⌋ is digit d of term t. Other lanes may
/// be anything.
///
/// # Safety
/// There are D words at `words`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn digits<const D: usize>(words: *const i32) -> [int16x4_t; 2] {
    // SAFETY: D words are read.
    unsafe {
        let [first, second] = match D {
            1 => [vld1_dup_s32(words); 2],
            2 => [vld1_s32(words); 2],
            3 => [vld1_s32(words), vld1_dup_s32(words.add(2))],
            _ => [vld1_s32(words), vld1_s32(words.add(2))],
        };
        [vreinterpret_s16_s32(first), vreinterpret_s16_s32(second)]
    }
}

/// Adds both terms' products with digit `d`, a constant once the loop around it is unrolled.
#[inline]
#[target_feature(enable = "neon")]
fn add(sum: Sum, terms: int16x8x2_t, digits: [int16x4_t; 2], d: usize) -> Sum {
    match d % 2 {
        0 => add_lanes::<0, 1>(sum, terms, digits[d / 2]),
        _ => add_lanes::<2, 3>(sum, terms, digits[d / 2]),
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn add_lanes<const EVEN: i32, const ODD: i32>(
    [first, last]: Sum,
    int16x8x2_t(even, odd): int16x8x2_t,
    digits: int16x4_t,
) -> Sum {
    let first = vmlal_lane_s16::<EVEN>(first, vget_low_s16(even), digits);
    let last = vmlal_high_lane_s16::<EVEN>(last, even, digits);
    [vmlal_lane_s16::<ODD>(first, vget_low_s16(odd), digits), vmlal_high_lane_s16::<ODD>(last, odd, digits)]
}

/// Moves the upper halves of the sums to `highs`, adding them to those bits that are `kept`.
///
/// # Safety
/// There are eight words at `highs`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn spill(sum: &mut Sum, highs: *mut i32, kept: int32x4_t) {
    // SAFETY: eight words.
    let [first, last] = unsafe { [vld1q_s32(highs), vld1q_s32(highs.add(4))] };
    let first = vsraq_n_s32::<16>(vandq_s32(first, kept), sum[0]);
    let last = vsraq_n_s32::<16>(vandq_s32(last, kept), sum[1]);
    // SAFETY: eight words.
    unsafe { store(highs, [first, last]) };
    let low = vdupq_n_s32(0xffff);
    *sum = sum.map(|sum| vandq_s32(sum, low));
}

/// # Safety
/// There are eight words at `words`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store(words: *mut i32, [first, last]: Sum) {
    // SAFETY: eight words.
    unsafe {
        vst1q_s32(words, first);
        vst1q_s32(words.add(4), last);
    }
}
