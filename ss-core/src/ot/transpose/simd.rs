//! Transposition kernels for x86-64.
//!
//! - With AVX2: the recursive method of [`transpose`](super), compiled for it.
//! - With AVX-512 VBMI and GFNI: 8 rows are gathered byte-wise into eight-by-eight bit squares, which one
//!   multiplication with the unit matrix each transposes (`vgf2p8affineqb` takes the transposed data as the
//!   matrix); sorting the bytes of 16 such groups of rows into columns is a 16 × 16 byte transposition in each
//!   128-bit lane, four levels of unpacking. About four instructions per column.
#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::{ROWS, Row, swap_squares};
use core::arch::x86_64::*;

/// Transposes by the best kernel of the machine.
#[inline]
pub(super) fn transpose_128(rows: &[Row; ROWS], block: usize, columns: &mut [u128; ROWS]) {
    if has_gfni() {
        // SAFETY: the instructions are there.
        unsafe { gfni(rows, block, columns) }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: as above.
        unsafe { avx2(rows, block, columns) }
    } else {
        swap_squares(rows, block, columns);
    }
}

#[inline]
fn has_gfni() -> bool {
    is_x86_feature_detected!("gfni")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
}

#[target_feature(enable = "avx2")]
fn avx2(rows: &[Row; ROWS], block: usize, columns: &mut [u128; ROWS]) {
    swap_squares(rows, block, columns);
}

/// Byte i of the result is byte `place(i)` of a 128-byte pair.
const fn byte_table(half: usize) -> [u8; 64] {
    // Qword q, byte i of a half: row i of the eight, byte 8·half + q of the row; inverted order of rows, since
    // the multiplication numbers the rows of a matrix from the top byte.
    let mut table = [0; 64];
    let mut at = 0;
    while at < 64 {
        let (q, i) = (at / 8, at % 8);
        table[at] = ((7 - i) * 16 + 8 * half + q) as u8;
        at += 1;
    }
    table
}

/// Lane k, byte s of a half takes column 4·s + k of it.
const fn lane_table() -> [u8; 64] {
    let mut table = [0; 64];
    let mut at = 0;
    while at < 64 {
        table[at] = (4 * (at % 16) + at / 16) as u8;
        at += 1;
    }
    table
}

static BYTES: [[u8; 64]; 2] = [byte_table(0), byte_table(1)];
static LANES: [u8; 64] = lane_table();

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn gfni(rows: &[Row; ROWS], block: usize, columns: &mut [u128; ROWS]) {
    // SAFETY: every place is a slice or array of the length that is read or written.
    unsafe {
        let load = |bytes: &[u8; 64]| _mm512_loadu_si512(bytes.as_ptr().cast());
        let (low, high, lanes) = (load(&BYTES[0]), load(&BYTES[1]), load(&LANES));
        // Column c of an 8 × 8 square as a matrix times the unit vector c.
        let units = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
        let mut halves = [[_mm512_setzero_si512(); 16]; 2];
        for j in 0..16 {
            let row = |i: usize| _mm_loadu_si128(rows[8 * j + i].0[block].as_ptr().cast());
            let mut pair = [_mm512_castsi128_si512(row(0)), _mm512_castsi128_si512(row(4))];
            for (half, first) in pair.iter_mut().zip([0, 4]) {
                *half = _mm512_inserti32x4::<1>(*half, row(first + 1));
                *half = _mm512_inserti32x4::<2>(*half, row(first + 2));
                *half = _mm512_inserti32x4::<3>(*half, row(first + 3));
            }
            for (half, table) in halves.iter_mut().zip([low, high]) {
                let squares = _mm512_permutex2var_epi8(pair[0], table, pair[1]);
                let turned = _mm512_gf2p8affine_epi64_epi8::<0>(units, squares);
                half[j] = _mm512_permutexvar_epi8(lanes, turned);
            }
        }
        for (half, columns) in halves.iter_mut().zip(columns.as_chunks_mut::<64>().0) {
            unpack_bytes(half);
            for (s, four) in half.iter().enumerate() {
                _mm512_storeu_si512(columns[4 * s..][..4].as_mut_ptr().cast(), *four);
            }
        }
    }
}

/// In every lane: vector j, byte s becomes vector s, byte j.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack_bytes(v: &mut [__m512i; 16]) {
    // One level joins vectors j and j + 8 byte by byte; four such perfect shuffles turn the whole square.
    for _ in 0..4 {
        let mut next = *v;
        for j in 0..8 {
            next[2 * j] = _mm512_unpacklo_epi8(v[j], v[j + 8]);
            next[2 * j + 1] = _mm512_unpackhi_epi8(v[j], v[j + 8]);
        }
        *v = next;
    }
}

/// The kernels that this machine has, for the tests.
#[cfg(test)]
pub(super) fn available() -> Vec<(&'static str, super::tests::Transpose)> {
    let mut ways: Vec<(&'static str, super::tests::Transpose)> = Vec::new();
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the instructions are there.
        ways.push(("avx2", |rows, block, columns| unsafe { avx2(rows, block, columns) }));
    }
    if has_gfni() {
        // SAFETY: the instructions are there.
        ways.push(("gfni", |rows, block, columns| unsafe { gfni(rows, block, columns) }));
    }
    ways
}
