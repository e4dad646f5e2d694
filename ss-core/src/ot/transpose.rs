//! Transposition of bit matrices, 128 × 128 at a time.
//!
//! The extension computes 128 long rows, one per bit of the sender's secret; a transfer is a *column*. The
//! matrix is cut into four 64 × 64 squares, which are transposed side by side by the recursive method: swap
//! the off-diagonal quarters, then within each quarter, and so on down to single bits (Warren, *Hacker's
//! Delight*, section 7-3): six levels of masked swaps. The four squares are the lanes of one vector, so that
//! compilers turn each line into vector instructions.
//!
//! | | index | bit |
//! |---|---|---|
//! | in | row r: 16 bytes | column c: byte c / 8, bit c mod 8 |
//! | out | column c: `u128` | row r |

/// Transposes the matrix whose row r is `row(r)`, 0 ≤ r < 128, into 128 columns.
#[inline]
pub(super) fn transpose_128(row: impl Fn(usize) -> [u8; 16], columns: &mut [u128; 128]) {
    let mut squares = [[0u64; 4]; 64];
    for (r, lanes) in squares.iter_mut().enumerate() {
        let [upper, lower] = [u128::from_le_bytes(row(r)), u128::from_le_bytes(row(r + 64))];
        *lanes = [upper as u64, (upper >> 64) as u64, lower as u64, (lower >> 64) as u64];
    }
    swap_level::<32>(&mut squares, 0x0000_0000_ffff_ffff);
    swap_level::<16>(&mut squares, 0x0000_ffff_0000_ffff);
    swap_level::<8>(&mut squares, 0x00ff_00ff_00ff_00ff);
    swap_level::<4>(&mut squares, 0x0f0f_0f0f_0f0f_0f0f);
    swap_level::<2>(&mut squares, 0x3333_3333_3333_3333);
    swap_level::<1>(&mut squares, 0x5555_5555_5555_5555);
    let (left, right) = columns.split_at_mut(64);
    for ((left, right), lanes) in left.iter_mut().zip(right).zip(&squares) {
        *left = u128::from(lanes[0]) | u128::from(lanes[2]) << 64;
        *right = u128::from(lanes[1]) | u128::from(lanes[3]) << 64;
    }
}

/// Swaps the upper right with the lower left `D × D` squares inside all `2D × 2D` ones; `low` marks the left
/// columns.
#[inline(always)]
fn swap_level<const D: usize>(squares: &mut [[u64; 4]; 64], low: u64) {
    for group in squares.chunks_exact_mut(2 * D) {
        let (upper, lower) = group.split_at_mut(D);
        for (upper, lower) in upper.iter_mut().zip(lower) {
            for lane in 0..4 {
                let swap = ((upper[lane] >> D) ^ lower[lane]) & low;
                lower[lane] ^= swap;
                upper[lane] ^= swap << D;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Prg;

    #[test]
    fn every_bit_moves_to_its_mirror_place() {
        for seed in 0..20 {
            let mut rows = [[0u8; 16]; 128];
            Prg::new(seed).fill(rows.as_flattened_mut());
            let mut columns = [0u128; 128];
            transpose_128(|r| rows[r], &mut columns);
            for (r, row) in rows.iter().enumerate() {
                for (c, column) in columns.iter().enumerate() {
                    assert_eq!(u128::from(row[c / 8] >> (c % 8) & 1), column >> r & 1, "row {r}, column {c}");
                }
            }
        }
    }
}
