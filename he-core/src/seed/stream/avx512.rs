//! ChaCha20 blocks sixteen at a time: word w of block i in lane i of register w (AVX-512F).
//!
//! As `portable`, with a rotation in one instruction. A group is one state of sixteen registers. The four quarter rounds
//! of a round are too few to hide the latency of their twelve steps, so long runs take two groups by turns, which fills
//! the thirty-two registers; a single group remains for the end. Afterwards the words of a block are gathered: two
//! rounds of unpacking turn four registers into quarters of blocks, two rounds of shuffling quarters put four of them
//! side by side. Safe to call only where [`crate::simd::Simd::Avx512`] was detected.
#![expect(unsafe_code, reason = "vector stores, and calls of target_feature functions")]

use core::arch::x86_64::*;

use super::{BLOCK, CONSTANTS};

/// Blocks of a group.
pub(super) const GROUP: usize = 16;

/// Fills `out`, a whole number of groups, with the blocks `counter`, `counter + 1`, ...
pub(super) fn blocks(key: &[u32; 8], counter: u64, out: &mut [u8]) {
    // SAFETY: a stream of this level exists only if the CPU has AVX-512F (`Simd::best`).
    unsafe { blocks_avx512(key, counter, out) }
}

#[target_feature(enable = "avx512f")]
fn blocks_avx512(key: &[u32; 8], counter: u64, out: &mut [u8]) {
    let mut first = counter;
    let (pairs, rest) = out.as_chunks_mut::<{ 2 * GROUP * BLOCK }>();
    for pair in pairs {
        let starts = [start(key, first), start(key, first.wrapping_add(GROUP as u64))];
        let [mut left, mut right] = starts;
        for _ in 0..10 {
            columns(&mut left);
            columns(&mut right);
            diagonals(&mut left);
            diagonals(&mut right);
        }
        let (left_out, right_out) = pair.split_at_mut(GROUP * BLOCK);
        store(&left, &starts[0], left_out);
        store(&right, &starts[1], right_out);
        first = first.wrapping_add(2 * GROUP as u64);
    }
    if !rest.is_empty() {
        let start = start(key, first);
        let mut state = start;
        for _ in 0..10 {
            columns(&mut state);
            diagonals(&mut state);
        }
        store(&state, &start, rest);
    }
}

/// The state before the first round of the group whose first block is `first`.
#[inline]
#[target_feature(enable = "avx512f")]
fn start(key: &[u32; 8], first: u64) -> [__m512i; 16] {
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut start = [_mm512_setzero_si512(); 16];
    for (word, &value) in start.iter_mut().zip(CONSTANTS.iter().chain(key)) {
        *word = _mm512_set1_epi32(value as i32);
    }
    start[12] = _mm512_add_epi32(_mm512_set1_epi32(first as i32), lanes);
    // Where the low word wrapped, it is below what was added to it.
    let wrapped = _mm512_cmplt_epu32_mask(start[12], lanes);
    let high = _mm512_set1_epi32((first >> 32) as i32);
    start[13] = _mm512_mask_add_epi32(high, wrapped, high, _mm512_set1_epi32(1));
    start
}

#[inline]
#[target_feature(enable = "avx512f")]
fn columns(state: &mut [__m512i; 16]) {
    quarter(state, 0, 4, 8, 12);
    quarter(state, 1, 5, 9, 13);
    quarter(state, 2, 6, 10, 14);
    quarter(state, 3, 7, 11, 15);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn diagonals(state: &mut [__m512i; 16]) {
    quarter(state, 0, 5, 10, 15);
    quarter(state, 1, 6, 11, 12);
    quarter(state, 2, 7, 8, 13);
    quarter(state, 3, 4, 9, 14);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn quarter(x: &mut [__m512i; 16], a: usize, b: usize, c: usize, d: usize) {
    x[a] = _mm512_add_epi32(x[a], x[b]);
    x[d] = _mm512_rol_epi32::<16>(_mm512_xor_si512(x[d], x[a]));
    x[c] = _mm512_add_epi32(x[c], x[d]);
    x[b] = _mm512_rol_epi32::<12>(_mm512_xor_si512(x[b], x[c]));
    x[a] = _mm512_add_epi32(x[a], x[b]);
    x[d] = _mm512_rol_epi32::<8>(_mm512_xor_si512(x[d], x[a]));
    x[c] = _mm512_add_epi32(x[c], x[d]);
    x[b] = _mm512_rol_epi32::<7>(_mm512_xor_si512(x[b], x[c]));
}

/// Adds the start to the sixteen words of the state and writes the sixteen blocks.
#[inline]
#[target_feature(enable = "avx512f")]
fn store(state: &[__m512i; 16], start: &[__m512i; 16], group: &mut [u8]) {
    let mut words = *state;
    for (word, start) in words.iter_mut().zip(start) {
        *word = _mm512_add_epi32(*word, *start);
    }
    // quarters[j][g]: the words 4g..4g+4 of block 4L + j in lane L of 128 bits.
    let mut quarters = [[_mm512_setzero_si512(); 4]; 4];
    for (g, rows) in words.as_chunks::<4>().0.iter().enumerate() {
        let low = [_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3])];
        let high = [_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3])];
        quarters[0][g] = _mm512_unpacklo_epi64(low[0], low[1]);
        quarters[1][g] = _mm512_unpackhi_epi64(low[0], low[1]);
        quarters[2][g] = _mm512_unpacklo_epi64(high[0], high[1]);
        quarters[3][g] = _mm512_unpackhi_epi64(high[0], high[1]);
    }
    assert_eq!(group.len(), GROUP * BLOCK);
    let out = group.as_mut_ptr();
    for (j, &[a, b, c, d]) in quarters.iter().enumerate() {
        // Lanes 0 and 1, then 2 and 3, of two quarters.
        let left = [_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b)];
        let right = [_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d)];
        for pair in 0..2 {
            let even = _mm512_shuffle_i32x4::<0x88>(left[pair], right[pair]);
            let odd = _mm512_shuffle_i32x4::<0xdd>(left[pair], right[pair]);
            // SAFETY: 64 bytes at most at 64 * 15, inside of the 1024 bytes asserted above.
            unsafe {
                _mm512_storeu_si512(out.add(BLOCK * (8 * pair + j)).cast(), even);
                _mm512_storeu_si512(out.add(BLOCK * (8 * pair + 4 + j)).cast(), odd);
            }
        }
    }
}
