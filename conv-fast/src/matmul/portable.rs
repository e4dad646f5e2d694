//! The multiply-add kernel in plain Rust; compilers turn its inner loop into the target's 16-bit multiply-adds.

use super::{DIGIT_BITS, LANES, Panel, TILE_ROWS, Totals};

pub(super) fn accumulate<const D: usize>(panel: &Panel<'_>, block: usize, totals: &mut Totals) {
    let &Panel { weights, words, offsets, digit_stride } = panel;
    for (weights, offsets) in weights.chunks(block * TILE_ROWS).zip(offsets.chunks(block)) {
        for d in 0..D {
            let mut sums = [[0i32; LANES]; TILE_ROWS];
            for (weights, offset) in weights.chunks_exact(TILE_ROWS).zip(offsets) {
                let column = &words[offset + d * digit_stride..][..LANES];
                for (sums, &weight) in sums.iter_mut().zip(weights) {
                    let (w0, w1) = (i32::from(weight as i16), weight >> 16);
                    for (sum, &word) in sums.iter_mut().zip(column) {
                        // The block length keeps this below 2^31.
                        *sum += w0 * i32::from(word as i16) + w1 * (word >> 16);
                    }
                }
            }
            for (totals, sums) in totals.iter_mut().zip(&sums) {
                for (total, &sum) in totals[d / 2].iter_mut().zip(sums) {
                    *total += i64::from(sum) << (d as u32 % 2 * DIGIT_BITS);
                }
            }
        }
    }
}
