//! ChaCha20 blocks eight at a time: word w of block i in lane i of register w (AVX2).
//!
//! As `portable`, with rotations by 16 and 8 as byte shuffles and the others as two shifts. At the end the words of a
//! block are gathered: two rounds of unpacking turn four registers into quarters of blocks, one exchange of halves
//! puts two quarters side by side. Safe to call only where [`crate::simd::Simd::Avx2`] was detected.
#![expect(unsafe_code, reason = "vector stores, and calls of target_feature functions")]

use core::arch::x86_64::*;

use super::{BLOCK, CONSTANTS};

/// Blocks of a group.
pub(super) const GROUP: usize = 8;

/// Fills `out`, a whole number of groups, with the blocks `counter`, `counter + 1`, ...
pub(super) fn blocks(key: &[u32; 8], counter: u64, out: &mut [u8]) {
    // SAFETY: a stream of this level exists only if the CPU has AVX2 (`Simd::best`).
    unsafe { blocks_avx2(key, counter, out) }
}

#[target_feature(enable = "avx2")]
fn blocks_avx2(key: &[u32; 8], counter: u64, out: &mut [u8]) {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (at, group) in out.chunks_exact_mut(GROUP * BLOCK).enumerate() {
        let first = counter.wrapping_add((at * GROUP) as u64);
        let mut start = [_mm256_setzero_si256(); 16];
        for (word, &value) in start.iter_mut().zip(CONSTANTS.iter().chain(key)) {
            *word = _mm256_set1_epi32(value as i32);
        }
        start[12] = _mm256_add_epi32(_mm256_set1_epi32(first as i32), lanes);
        // Where the low word wrapped, it is below what was added to it: an unsigned comparison by flipped signs.
        let flip = _mm256_set1_epi32(i32::MIN);
        let wrapped = _mm256_cmpgt_epi32(_mm256_xor_si256(lanes, flip), _mm256_xor_si256(start[12], flip));
        start[13] = _mm256_sub_epi32(_mm256_set1_epi32((first >> 32) as i32), wrapped);
        let mut state = start;
        for _ in 0..10 {
            quarter(&mut state, 0, 4, 8, 12);
            quarter(&mut state, 1, 5, 9, 13);
            quarter(&mut state, 2, 6, 10, 14);
            quarter(&mut state, 3, 7, 11, 15);
            quarter(&mut state, 0, 5, 10, 15);
            quarter(&mut state, 1, 6, 11, 12);
            quarter(&mut state, 2, 7, 8, 13);
            quarter(&mut state, 3, 4, 9, 14);
        }
        for (word, start) in state.iter_mut().zip(&start) {
            *word = _mm256_add_epi32(*word, *start);
        }
        store(&state, group);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn quarter(x: &mut [__m256i; 16], a: usize, b: usize, c: usize, d: usize) {
    let by_16 = _mm256_set_epi64x(
        0x0d0c_0f0e_0908_0b0a,
        0x0504_0706_0100_0302,
        0x0d0c_0f0e_0908_0b0a,
        0x0504_0706_0100_0302,
    );
    let by_8 = _mm256_set_epi64x(
        0x0e0d_0c0f_0a09_080b,
        0x0605_0407_0201_0003,
        0x0e0d_0c0f_0a09_080b,
        0x0605_0407_0201_0003,
    );
    x[a] = _mm256_add_epi32(x[a], x[b]);
    x[d] = _mm256_shuffle_epi8(_mm256_xor_si256(x[d], x[a]), by_16);
    x[c] = _mm256_add_epi32(x[c], x[d]);
    x[b] = _mm256_xor_si256(x[b], x[c]);
    x[b] = _mm256_or_si256(_mm256_slli_epi32::<12>(x[b]), _mm256_srli_epi32::<20>(x[b]));
    x[a] = _mm256_add_epi32(x[a], x[b]);
    x[d] = _mm256_shuffle_epi8(_mm256_xor_si256(x[d], x[a]), by_8);
    x[c] = _mm256_add_epi32(x[c], x[d]);
    x[b] = _mm256_xor_si256(x[b], x[c]);
    x[b] = _mm256_or_si256(_mm256_slli_epi32::<7>(x[b]), _mm256_srli_epi32::<25>(x[b]));
}

/// Writes the eight blocks whose words are the registers.
#[inline]
#[target_feature(enable = "avx2")]
fn store(words: &[__m256i; 16], group: &mut [u8]) {
    // quarters[g][j]: the words 4g..4g+4 of block j in the low half, of block j + 4 in the high half.
    let mut quarters = [[_mm256_setzero_si256(); 4]; 4];
    for (quarter, rows) in quarters.iter_mut().zip(words.chunks_exact(4)) {
        let low = [_mm256_unpacklo_epi32(rows[0], rows[1]), _mm256_unpacklo_epi32(rows[2], rows[3])];
        let high = [_mm256_unpackhi_epi32(rows[0], rows[1]), _mm256_unpackhi_epi32(rows[2], rows[3])];
        *quarter = [
            _mm256_unpacklo_epi64(low[0], low[1]),
            _mm256_unpackhi_epi64(low[0], low[1]),
            _mm256_unpacklo_epi64(high[0], high[1]),
            _mm256_unpackhi_epi64(high[0], high[1]),
        ];
    }
    assert_eq!(group.len(), GROUP * BLOCK);
    let out = group.as_mut_ptr();
    for (half, pair) in quarters.as_chunks::<2>().0.iter().enumerate() {
        for (j, (&left, &right)) in pair[0].iter().zip(&pair[1]).enumerate() {
            let near = _mm256_permute2x128_si256::<0x20>(left, right);
            let far = _mm256_permute2x128_si256::<0x31>(left, right);
            // SAFETY: 32 bytes at most at 64 * 7 + 32, inside of the 512 bytes asserted above.
            unsafe {
                _mm256_storeu_si256(out.add(BLOCK * j + 32 * half).cast(), near);
                _mm256_storeu_si256(out.add(BLOCK * (j + 4) + 32 * half).cast(), far);
            }
        }
    }
}
