//! The kernels of `portable` in registers of 64 bytes (AVX-512 F, BW, DQ, VL, VBMI, VBMI2, VPOPCNTDQ).
//!
//! | kernel | values at a time | how |
//! |---|---|---|
//! | [`below`] | 8 words | compare, compress, store eight, advance by those kept |
//! | [`keep`] | 64 bytes | the same |
//! | [`digits`] | 30, from 6 bytes | one byte per 16-bit lane, two multiplications: see `portable::digits` |
//! | [`coins`] | 8 | eight words of 6 or 8 bytes by one permutation, population count |
//! | [`spread`] | 8 | extend, add q where negative |
//!
//! What does not fill a register goes through `portable`. Permutations are fixed; compressions follow rejections, which
//! concern thrown-away values only. Safe to call only where [`crate::simd::Simd::Avx512`] was detected.
#![expect(unsafe_code, reason = "vector loads and stores, and calls of target_feature functions")]

use core::arch::x86_64::*;

use super::portable::{self, THIRDS};

/// As [`portable::below`].
pub(super) fn below<const BYTES: usize>(bytes: &[u8], mask: u64, bound: u64, out: &mut [u64]) -> usize {
    // SAFETY: this level is chosen only if the CPU has all that the module names (`Simd::best`).
    unsafe { below_avx512::<BYTES>(bytes, mask, bound, out) }
}

/// As [`portable::keep`].
pub(super) fn keep(bytes: &mut [u8]) -> usize {
    // SAFETY: as in `below`.
    unsafe { keep_avx512(bytes) }
}

/// As [`portable::digits`].
pub(super) fn digits(bytes: &[u8], out: &mut [i8]) {
    // SAFETY: as in `below`.
    unsafe { digits_avx512(bytes, out) }
}

/// As [`portable::coins`].
pub(super) fn coins<const BYTES: usize>(bytes: &[u8], eta: u32, out: &mut [i8]) {
    // SAFETY: as in `below`.
    unsafe { coins_avx512::<BYTES>(bytes, eta, out) }
}

/// As [`portable::spread`].
pub(super) fn spread(small: &[i8], q: u64, out: &mut [u64]) {
    // SAFETY: as in `below`.
    unsafe { spread_avx512(small, q, out) }
}

#[target_feature(enable = "avx512f,avx512vl,popcnt")]
fn below_avx512<const BYTES: usize>(bytes: &[u8], mask: u64, bound: u64, out: &mut [u64]) -> usize {
    assert!(BYTES == 4 || BYTES == 8);
    assert_eq!(bytes.len(), BYTES * out.len(), "one place per word");
    let (mask_all, bound_all) = (_mm512_set1_epi64(mask as i64), _mm512_set1_epi64(bound as i64));
    let mut done = 0;
    let whole = out.len() / 8 * 8;
    for at in (0..whole).step_by(8) {
        let from = bytes[BYTES * at..][..8 * BYTES].as_ptr();
        // SAFETY: `from` begins 8 * BYTES bytes, which is what is read in either case.
        let words = unsafe {
            if BYTES == 4 {
                _mm512_cvtepu32_epi64(_mm256_loadu_si256(from.cast()))
            } else {
                _mm512_loadu_si512(from.cast())
            }
        };
        let words = _mm512_and_si512(words, mask_all);
        let kept = _mm512_cmplt_epu64_mask(words, bound_all);
        let to = out[done..][..8].as_mut_ptr();
        // SAFETY: `to` begins eight words. (There are eight, because no more words are kept than were read.)
        unsafe { _mm512_storeu_si512(to.cast(), _mm512_maskz_compress_epi64(kept, words)) };
        done += kept.count_ones() as usize;
    }
    done + portable::below::<BYTES>(&bytes[BYTES * whole..], mask, bound, &mut out[done..])
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
fn keep_avx512(bytes: &mut [u8]) -> usize {
    let bound = _mm512_set1_epi8(243_u8 as i8);
    let mut kept = 0;
    let whole = bytes.len() / 64 * 64;
    for at in (0..whole).step_by(64) {
        let from = bytes[at..][..64].as_ptr();
        // SAFETY: `from` begins 64 bytes.
        let some = unsafe { _mm512_loadu_si512(from.cast()) };
        let low = _mm512_cmplt_epu8_mask(some, bound);
        let to = bytes[kept..][..64].as_mut_ptr();
        // SAFETY: `to` begins 64 bytes; they overlap only bytes that were read before, as kept <= at.
        unsafe { _mm512_storeu_si512(to.cast(), _mm512_maskz_compress_epi8(low, some)) };
        kept += low.count_ones() as usize;
    }
    // The rest, moved behind what was kept.
    for at in whole..bytes.len() {
        let byte = bytes[at];
        bytes[kept] = byte;
        kept += usize::from(byte < 243);
    }
    kept
}

/// For lane i of 16 bits: byte i / 5 (of six) in the low half; the high half is masked to zero.
static FIFTHS: [u8; 64] = {
    let mut places = [0; 64];
    let mut i = 0;
    while i < 30 {
        places[2 * i] = (i / 5) as u8;
        i += 1;
    }
    places
};

/// The factor of lane i: that of digit i mod 5.
static FACTORS: [u16; 32] = {
    let mut factors = [0; 32];
    let mut i = 0;
    while i < 32 {
        factors[i] = THIRDS[i % 5];
        i += 1;
    }
    factors
};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn digits_avx512(bytes: &[u8], out: &mut [i8]) {
    assert_eq!(5 * bytes.len(), out.len(), "five digits per byte");
    // SAFETY: both tables have 64 bytes.
    let (places, factors) =
        unsafe { (_mm512_loadu_si512(FIFTHS.as_ptr().cast()), _mm512_loadu_si512(FACTORS.as_ptr().cast())) };
    let (two, three) = (_mm512_set1_epi16(2), _mm512_set1_epi16(3));
    let mut at = 0;
    // 32 values are written, of which the last two are written again by the next round.
    while at + 8 <= bytes.len() {
        let eight = i64::from_le_bytes(*bytes[at..].first_chunk().expect("at + 8 <= len"));
        let spread = _mm512_maskz_permutexvar_epi8(0x5555_5555_5555_5555, places, _mm512_set1_epi64(eight));
        let fraction = _mm512_mullo_epi16(spread, factors);
        let digit = _mm512_mulhi_epu16(fraction, three);
        let value = _mm512_mask_sub_epi16(digit, _mm512_test_epi16_mask(digit, two), digit, three);
        let to = out[5 * at..][..32].as_mut_ptr();
        // SAFETY: `to` begins 32 bytes.
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtepi16_epi8(value)) };
        at += 6;
    }
    portable::digits(&bytes[at..], &mut out[5 * at..]);
}

/// Byte b of lane i is byte 6 i + b of the source, for b < 6; the others do not count.
static SIXES: [u8; 64] = {
    let mut places = [0; 64];
    let mut i = 0;
    while i < 64 {
        places[i] = (6 * (i / 8) + i % 8) as u8;
        i += 1;
    }
    places
};

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vpopcntdq")]
fn coins_avx512<const BYTES: usize>(bytes: &[u8], eta: u32, out: &mut [i8]) {
    assert!(BYTES == 6 || BYTES == 8);
    assert_eq!(bytes.len(), BYTES * out.len(), "one word per value");
    let mask = _mm512_set1_epi64((u64::MAX >> (64 - 2 * eta)) as i64);
    let mean = _mm512_set1_epi64(i64::from(eta));
    // SAFETY: the table has 64 bytes.
    let places = unsafe { _mm512_loadu_si512(SIXES.as_ptr().cast()) };
    let whole = out.len() / 8 * 8;
    for at in (0..whole).step_by(8) {
        let from = bytes[BYTES * at..][..8 * BYTES].as_ptr();
        // SAFETY: `from` begins 8 * BYTES bytes, and no more than that are read: 64, or the 48 of the mask.
        let words = unsafe {
            if BYTES == 8 {
                _mm512_loadu_si512(from.cast())
            } else {
                _mm512_permutexvar_epi8(places, _mm512_maskz_loadu_epi8((1 << 48) - 1, from.cast()))
            }
        };
        let ones = _mm512_popcnt_epi64(_mm512_and_si512(words, mask));
        let values = _mm512_cvtepi64_epi8(_mm512_sub_epi64(ones, mean));
        let to = out[at..][..8].as_mut_ptr();
        // SAFETY: `to` begins eight bytes.
        unsafe { _mm_storel_epi64(to.cast(), values) };
    }
    portable::coins::<BYTES>(&bytes[BYTES * whole..], eta, &mut out[whole..]);
}

#[target_feature(enable = "avx512f,avx512dq")]
fn spread_avx512(small: &[i8], q: u64, out: &mut [u64]) {
    assert_eq!(small.len(), out.len());
    let q_all = _mm512_set1_epi64(q as i64);
    let (eights, rest) = small.as_chunks::<8>();
    let (out_eights, out_rest) = out.as_chunks_mut::<8>();
    for (eight, to) in eights.iter().zip(out_eights) {
        // SAFETY: `eight` has eight bytes, which is what is read.
        let values = _mm512_cvtepi8_epi64(unsafe { _mm_loadl_epi64(eight.as_ptr().cast()) });
        let residues = _mm512_mask_add_epi64(values, _mm512_movepi64_mask(values), values, q_all);
        // SAFETY: `to` has eight words.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), residues) };
    }
    portable::spread(rest, q, out_rest);
}
