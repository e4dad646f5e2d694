//! The digits of eight values in one vector: the twin of the plain code beside it, with the transpose in registers.

#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::cut::MAX_DIGITS;
use super::spread::{SIGNS, Spread};
use crate::Word;
use crate::lanes::LANES;
use crate::layout::avx512::vectors;
use crate::word::avx512::{load, load_some};
use std::arch::x86_64::*;

/// A 64-bit word.
pub(super) trait Long {}
impl Long for u64 {}
impl Long for i64 {}

/// The constants of a [`Spread`], eight times each.
#[derive(Clone, Copy)]
struct Constants {
    q: __m512i,
    bottom: __m512i,
    top: __m512i,
    half: __m512i,
    masks: [__m512i; MAX_DIGITS],
    gaps: [__m128i; MAX_DIGITS],
    lift: __m512i,
    signs: __m512i,
}

impl Constants {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(spread: &Spread) -> Self {
        Self {
            q: _mm512_set1_epi64(spread.q),
            bottom: _mm512_set1_epi64(spread.bottom),
            top: _mm512_set1_epi64(spread.top),
            half: _mm512_set1_epi64(spread.half as i64),
            masks: spread.masks.map(|mask| _mm512_set1_epi64(mask as i64)),
            gaps: [0, 1, 2, 3].map(|d| _mm_cvtsi32_si128(d * spread.gap as i32)),
            lift: _mm512_set1_epi64(spread.lift as i64),
            signs: _mm512_set1_epi64(SIGNS as i64),
        }
    }

    /// Values above the greatest that stands for itself, less q.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn down(&self, x: __m512i) -> __m512i {
        _mm512_mask_sub_epi64(x, _mm512_cmpgt_epi64_mask(x, self.top), x, self.q)
    }

    /// Values below the least that stands for itself, plus q.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn up(&self, x: __m512i) -> __m512i {
        _mm512_mask_add_epi64(x, _mm512_cmplt_epi64_mask(x, self.bottom), x, self.q)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn fields<const D: usize>(&self, x: __m512i) -> __m512i {
        let x = _mm512_add_epi64(x, self.half);
        let mut fields = _mm512_and_si512(x, self.masks[0]);
        for d in 1..D {
            let moved = _mm512_sll_epi64(x, self.gaps[d]);
            // fields | moved & mask
            fields = _mm512_ternarylogic_epi64::<0b1111_1000>(fields, moved, self.masks[d]);
        }
        _mm512_xor_si512(_mm512_add_epi64(fields, self.lift), self.signs)
    }
}

/// Eight values after eight: elements of the ring, or |x| < 2q if `LAZY`.
///
/// # Safety
/// The machine has the features; `words` points to 4·D words for each eight values.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn line<const D: usize, const LAZY: bool, W: Long>(
    spread: &Spread,
    values: &[[W; LANES]],
    words: *mut i32,
) {
    let constants = Constants::new(spread);
    let roomy = spread.roomy;
    for (at, values) in values.iter().enumerate() {
        // SAFETY: eight words, and 4·D words for each of them.
        unsafe {
            let mut x = _mm512_loadu_si512(values.as_ptr().cast());
            if !LAZY {
                x = constants.down(x);
            } else if !roomy {
                x = constants.up(constants.down(x));
                x = constants.up(constants.down(x));
            }
            store::<D>(constants.fields::<D>(x), words.add(at * 4 * D));
        }
    }
}

/// The first `ahead` of the eight channels that follow are fetched into the cache meanwhile.
///
/// # Safety
/// The machine has the features; for channels 1 to 8 and columns at least 1, `values` points to (channels − 1)·distance +
/// columns words and `words` to (columns − 1)·pitch + 4·D.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn rows<const D: usize, W: Word>(
    spread: &Spread,
    (values, distance): (*const W, usize),
    [channels, columns, ahead]: [usize; 3],
    (words, pitch): (*mut i32, usize),
) {
    let constants = Constants::new(spread);
    for at in (0..columns).step_by(LANES) {
        let count = (columns - at).min(LANES);
        let mut square = [_mm512_setzero_si512(); LANES];
        // SAFETY: only words within the range are touched: masks cover the columns that there are, rows without a channel
        // are not loaded, columns that are not there are not written.
        unsafe {
            if channels == LANES && count == LANES {
                for (row, vector) in square.iter_mut().enumerate() {
                    *vector = load(values.add(row * distance + at));
                }
            } else {
                let mask = 0xff >> (LANES - count);
                for (row, vector) in square.iter_mut().enumerate() {
                    if row < channels {
                        *vector = load_some(mask, values.add(row * distance + at));
                    }
                }
            }
            for row in LANES..LANES + ahead {
                _mm_prefetch::<_MM_HINT_T0>(values.wrapping_add(row * distance + at).cast());
            }
            let square = vectors(square);
            if count == LANES {
                for (column, vector) in square.into_iter().enumerate() {
                    let fields = constants.fields::<D>(constants.down(vector));
                    store::<D>(fields, words.add((at + column) * pitch));
                }
            } else {
                for (column, vector) in square.into_iter().enumerate() {
                    if column < count {
                        let fields = constants.fields::<D>(constants.down(vector));
                        store::<D>(fields, words.add((at + column) * pitch));
                    }
                }
            }
        }
    }
}

/// # Safety
/// The machine has the features; `at` points to 4·D words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn store<const D: usize>(fields: __m512i, at: *mut i32) {
    const { assert!(D >= 1 && D <= MAX_DIGITS) }
    // SAFETY: the stores are of 4·D words.
    unsafe {
        match D {
            1 => _mm_storeu_si128(at.cast(), _mm512_cvtepi64_epi16(fields)),
            2 => {
                // Within 128 bits: values a, b, c, d with digits 0 and 1 each become a0 b0 a1 b1 c0 d0 c1 d1.
                let order = [0x0706_0302_0504_0100, 0x0f0e_0b0a_0d0c_0908];
                let order = _mm256_set_epi64x(order[1], order[0], order[1], order[0]);
                _mm256_storeu_si256(at.cast(), _mm256_shuffle_epi8(_mm512_cvtepi64_epi32(fields), order));
            }
            _ => {
                // Within 128 bits: a0 a1 a2 a3 b0 b1 b2 b3 become a0 b0 a1 b1 a2 b2 a3 b3.
                let order = [0x0b0a_0302_0908_0100, 0x0f0e_0706_0d0c_0504];
                let order = _mm512_set4_epi64(order[1], order[0], order[1], order[0]);
                let words = _mm512_shuffle_epi8(fields, order);
                if D == 4 {
                    _mm512_storeu_si512(at.cast(), words);
                } else {
                    let order = _mm512_set_epi32(15, 11, 7, 3, 14, 13, 12, 10, 9, 8, 6, 5, 4, 2, 1, 0);
                    _mm512_mask_storeu_epi32(at, 0x0fff, _mm512_permutexvar_epi32(order, words));
                }
            }
        }
    }
}
