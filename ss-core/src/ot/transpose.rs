//! Transposition of bit matrices, 128 × 128 at a time.
//!
//! The extension computes 128 long rows, one per bit of the sender's secret; a transfer is a *column*. The
//! matrix is cut into four 64 × 64 squares, which are transposed side by side by the recursive method: swap
//! the off-diagonal quarters, then within each quarter, and so on down to single bits (Warren, *Hacker's
//! Delight*, section 7-3): six levels of masked swaps. The four squares are the lanes of one vector, so that
//! compilers turn each line into vector instructions; `simd` compiles them for AVX2, and has a shorter way for
//! machines with the Galois-field instructions.
//!
//! | | index | bit |
//! |---|---|---|
//! | in | row r, block b: 16 bytes | column c: byte c / 8, bit c mod 8 |
//! | out | column c: `u128` | row r |

#[cfg(target_arch = "x86_64")]
mod simd;

use super::vole::{ROWS, Row};

/// Transposes block `block` of the 128 rows into 128 columns.
///
/// # Panics
/// Unless there are 128 rows.
#[inline]
pub(super) fn transpose_128(rows: &[Row], block: usize, columns: &mut [u128; ROWS]) {
    let rows: &[Row; ROWS] = rows.try_into().expect("a matrix has 128 rows");
    #[cfg(target_arch = "x86_64")]
    return simd::transpose_128(rows, block, columns);
    #[cfg(not(target_arch = "x86_64"))]
    swap_squares(rows, block, columns);
}

/// The recursive method on any machine.
#[inline(always)]
fn swap_squares(rows: &[Row; ROWS], block: usize, columns: &mut [u128; ROWS]) {
    let mut squares = [[0u64; 4]; 64];
    for (r, lanes) in squares.iter_mut().enumerate() {
        let [upper, lower] = [rows[r].0[block], rows[r + 64].0[block]].map(u128::from_le_bytes);
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

    pub(super) type Transpose = fn(&[Row; ROWS], usize, &mut [u128; ROWS]);

    #[test]
    fn every_bit_moves_to_its_mirror_place() {
        #[allow(unused_mut)]
        let mut ways: Vec<(&str, Transpose)> = vec![
            ("portable", |rows, block, columns| swap_squares(rows, block, columns)),
            ("chosen", |rows, block, columns| transpose_128(rows, block, columns)),
        ];
        #[cfg(target_arch = "x86_64")]
        ways.extend(simd::available());
        println!("ways here: {:?}", ways.iter().map(|way| way.0).collect::<Vec<_>>());
        for (name, transpose) in ways {
            for seed in 0..20 {
                let mut rows = [Row::ZERO; ROWS];
                let mut prg = Prg::new(seed);
                for row in &mut rows {
                    prg.fill(row.bytes_mut(64));
                }
                let block = 3 * seed as usize;
                let mut columns = [0u128; ROWS];
                transpose(&rows, block, &mut columns);
                for (r, row) in rows.iter().enumerate() {
                    for (c, column) in columns.iter().enumerate() {
                        let bit = u128::from(row.0[block][c / 8] >> (c % 8) & 1);
                        assert_eq!(bit, column >> r & 1, "{name}: row {r}, column {c}");
                    }
                }
            }
        }
    }
}
