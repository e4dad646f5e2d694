//! Sixteen matrix products: eight outputs of some vectors of tiles at a time.
//!
//! ```text
//! weights[position][pair][output]      two 16-bit weights a word, as the digits of two channels are
//! sums[position][output][vector]       a line of sixteen 32-bit sums: [tile][digit]
//! ```

use super::input::tiles_len;
use super::{OUTPUTS, POSITIONS, VECTORS, WIDTH};
use crate::ConvGeometry;
use crate::matmul::multiply_add;
use std::arch::x86_64::*;
use std::ops::Range;

/// Words of the sums of eight outputs of [`VECTORS`] vectors.
pub(super) fn sums_len() -> usize {
    POSITIONS * SUMS_STEP
}

/// Words from position to position: an odd number of lines, so that those of one output meet in no set of a cache.
pub(super) const SUMS_STEP: usize = (OUTPUTS * VECTORS + 1) * WIDTH;

/// Transformed weights, `[outputs / 8][position][pair][output]`; `None` if one exceeds 16 bits.
pub(super) fn transform(geometry: &ConvGeometry, weights: &[i32]) -> Option<Vec<i32>> {
    let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
    let pairs = inputs.div_ceil(2);
    let mut out = vec![0; super::Pixels::words(geometry)];
    for output in 0..outputs {
        for input in 0..inputs {
            let kernel = weights[(output * inputs + input) * 9..].first_chunk()?;
            for (position, weight) in kernel_at(kernel).into_iter().enumerate() {
                let weight = i32::from(i16::try_from(weight).ok()?);
                let at = ((output / OUTPUTS * POSITIONS + position) * pairs + input / 2) * OUTPUTS
                    + output % OUTPUTS;
                out[at] |= (weight & 0xffff) << (16 * (input % 2));
            }
        }
    }
    Some(out)
}

/// G of three weights: the rows (1, 0, 0), (1, 1, 1), (1, −1, 1), (0, 0, 1).
pub(super) fn line([a, b, c]: [i64; 3]) -> [i64; 4] {
    [a, a + b + c, a - b + c, c]
}

/// G w Gᵀ.
fn kernel_at(kernel: &[i32; 9]) -> [i64; POSITIONS] {
    let rows = [0, 1, 2].map(|row| line([0, 1, 2].map(|column| i64::from(kernel[3 * row + column]))));
    let columns = [0, 1, 2, 3].map(|column| line(rows.map(|row| row[column])));
    std::array::from_fn(|position| columns[position % 4][position / 4])
}

/// Multiplies a block of pairs for eight outputs, C vectors, all positions.
///
/// # Panics
/// If a buffer is shorter than it has to be.
///
/// # Safety
/// The machine has AVX-512 F and VNNI.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn multiply<const C: usize>(
    tiles: &[i32],
    weights: &[i32],
    pairs: usize,
    block: Range<usize>,
    sums: &mut [i32],
) {
    assert!(tiles.len() >= tiles_len(pairs) && block.end <= pairs, "words of tiles");
    assert!(weights.len() >= POSITIONS * pairs * OUTPUTS, "weights");
    assert!(sums.len() >= POSITIONS * SUMS_STEP, "sums");
    for position in 0..POSITIONS {
        let mut x = tiles.as_ptr().wrapping_add((block.start * POSITIONS + position) * C * WIDTH);
        let mut weight = weights.as_ptr().wrapping_add((position * pairs + block.start) * OUTPUTS);
        let mut acc = [[_mm512_setzero_si512(); C]; OUTPUTS];
        for _ in block.clone() {
            // SAFETY: of the position's `pairs` pairs, by the assertions.
            unsafe {
                let mut now = [_mm512_setzero_si512(); C];
                for (c, now) in now.iter_mut().enumerate() {
                    *now = _mm512_load_si512(x.add(c * WIDTH).cast());
                }
                for (o, acc) in acc.iter_mut().enumerate() {
                    let w = _mm512_set1_epi32(*weight.add(o));
                    for (acc, &x) in acc.iter_mut().zip(&now) {
                        *acc = multiply_add(*acc, x, w);
                    }
                }
            }
            x = x.wrapping_add(POSITIONS * C * WIDTH);
            weight = weight.wrapping_add(OUTPUTS);
        }
        for (number, &acc) in acc.as_flattened().iter().enumerate() {
            // SAFETY: within the sums, by the assertion.
            unsafe {
                _mm512_store_si512(sums.as_mut_ptr().add(position * SUMS_STEP + number * WIDTH).cast(), acc);
            }
        }
    }
}
