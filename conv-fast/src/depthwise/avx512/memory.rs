//! Words in and out of 512-bit registers.

#![expect(unsafe_code, reason = "SIMD instructions; masked loads and stores")]

use super::super::lanes::span;
use crate::Word;
use crate::lanes::LANES;
use crate::word::avx512 as word;
use std::arch::asm;
use std::arch::x86_64::{
    __m256i, __m512i, __mmask8, __mmask16, _mm256_loadu_si256, _mm512_and_si512, _mm512_loadu_si512,
    _mm512_mask_storeu_epi32, _mm512_mask_storeu_epi64, _mm512_maskz_and_epi64, _mm512_maskz_loadu_epi32,
    _mm512_maskz_loadu_epi64, _mm512_maskz_mov_epi64, _mm512_maskz_permutex2var_epi64,
    _mm512_maskz_srli_epi64, _mm512_or_si512, _mm512_permutex2var_epi64, _mm512_set1_epi64,
    _mm512_setr_epi64, _mm512_slli_epi64, _mm512_storeu_si512,
};

/// A mask of the first lanes.
#[inline(always)]
pub(super) fn first(count: usize) -> __mmask8 {
    debug_assert!(count <= LANES, "eight lanes");
    ((1u32 << count) - 1) as __mmask8
}

/// Stores as many elements as `to` has words, at most eight.
#[inline(always)]
pub(super) fn store<W: Word>(elements: __m512i, to: &mut [W]) {
    // SAFETY: only run under `Kernel::Avx512`; eight words, or masked to those there are. Masks hold later loads up.
    unsafe {
        if to.len() == LANES {
            word::store(to.as_mut_ptr(), elements);
        } else {
            word::store_some(first(to.len()), to.as_mut_ptr(), elements);
        }
    }
}

/// Stores as many 32-bit elements as `to` has words, at most sixteen, from even and odd ones in 64-bit lanes.
#[inline(always)]
pub(super) fn store_pairs<W: Word>([even, odd]: [__m512i; 2], to: &mut [W]) {
    assert!(W::BITS == 32, "32-bit words");
    // SAFETY: as above; sixteen words, or masked to those there are.
    unsafe {
        let pairs = _mm512_or_si512(even, _mm512_slli_epi64::<32>(odd));
        if to.len() == 2 * LANES {
            _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs);
        } else {
            let mask = ((1u32 << to.len().min(15)) - 1) as __mmask16;
            _mm512_mask_storeu_epi32(to.as_mut_ptr().cast(), mask, pairs);
        }
    }
}

/// As many words from number `at` on as fill a register.
#[inline(always)]
fn load<W: Word>(words: &[W], at: usize) -> __m512i {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn whole(from: *const __m512i) -> __m512i {
        // SAFETY: by the caller's promise.
        let mut vector = unsafe { _mm512_loadu_si512(from) };
        // What masks this vector later must not make it a masked load: those wait for the stores before them.
        // SAFETY: no instruction.
        unsafe { asm!("/* {0} */", inout(zmm_reg) vector, options(pure, nomem, nostack, preserves_flags)) };
        vector
    }

    let words = &words[at..at + 512 / W::BITS as usize];
    // SAFETY: as above; 64 bytes.
    unsafe { whole(words.as_ptr().cast()) }
}

/// Eight 32-bit words from numbers 0, 1 and 2 on.
#[inline(always)]
pub(super) fn neighbours<W: Word>(words: &[W]) -> [__m256i; 3] {
    assert!(W::BITS == 32, "32-bit words");
    let from = words[..span(1, 1)].as_ptr();
    // SAFETY: as above; there are ten words.
    unsafe {
        [
            _mm256_loadu_si256(from.cast()),
            _mm256_loadu_si256(from.add(1).cast()),
            _mm256_loadu_si256(from.add(2).cast()),
        ]
    }
}

/// The taps of eight outputs in 64-bit lanes, but those of [`neighbours`], as [`super::lanes::Streamed::one`] describes them.
#[inline(always)]
pub(super) fn eight<W: Word, const STRIDE: usize>(words: &[W], masks: &[u8; 3]) -> [__m512i; 3] {
    let words = &words[..span(1, STRIDE)];
    let [a, b, c] = *masks;
    // SAFETY: as above; there are 8·STRIDE + 2 words.
    unsafe {
        match (STRIDE, W::BITS) {
            (1, _) => [
                _mm512_maskz_mov_epi64(a, load(words, 0)),
                _mm512_maskz_mov_epi64(b, load(words, 1)),
                _mm512_maskz_mov_epi64(c, load(words, 2)),
            ],
            (_, 32) => {
                let (pairs, third) = (load(words, 0), load(words, 2));
                let low = _mm512_set1_epi64(0xffff_ffff);
                [
                    _mm512_maskz_and_epi64(a, pairs, low),
                    _mm512_maskz_srli_epi64::<32>(b, pairs),
                    _mm512_maskz_and_epi64(c, third, low),
                ]
            }
            _ => {
                let (low, high) = (load(words, 0), load(words, 8));
                let (next_low, next_high) = (load(words, 2), load(words, 10));
                let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
                let odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
                [
                    _mm512_maskz_permutex2var_epi64(a, low, even, high),
                    _mm512_maskz_permutex2var_epi64(b, low, odd, high),
                    _mm512_maskz_permutex2var_epi64(c, next_low, even, next_high),
                ]
            }
        }
    }
}

/// The 32-bit words 0, 1, 2, 3, each with every second one behind it, in 64-bit lanes.
#[inline(always)]
pub(super) fn four<W: Word>(words: &[W], [a, b, c, d]: [u8; 4]) -> [__m512i; 4] {
    assert!(W::BITS == 32, "32-bit words");
    let words = &words[..span(2, 1)];
    let (pairs, next) = (load(words, 0), load(words, 2));
    // SAFETY: as above.
    unsafe {
        let low = _mm512_set1_epi64(0xffff_ffff);
        [
            _mm512_maskz_and_epi64(a, pairs, low),
            _mm512_maskz_srli_epi64::<32>(b, pairs),
            _mm512_maskz_and_epi64(c, next, low),
            _mm512_maskz_srli_epi64::<32>(d, next),
        ]
    }
}

/// Every `stride`-th word through `change` until `to` is full; `STRIDE` is the stride if it is one or two.
#[inline(always)]
pub(super) fn copy<W: Word, const STRIDE: usize>(
    words: &[W],
    stride: usize,
    to: &mut [u64],
    change: impl Fn(__m512i) -> __m512i,
) {
    assert!(to.is_empty() || words.len() > (to.len() - 1) * stride, "words to copy");
    for (number, to) in to.chunks_mut(LANES).enumerate() {
        let words = &words[number * LANES * stride..];
        let count = to.len();
        let from = words.as_ptr();
        // SAFETY: as above; masked to words up to (count − 1)·stride, and to the end of `to`.
        unsafe {
            let vector = match (STRIDE, W::BITS) {
                (1, _) => word::load_some(first(count), from),
                (2, 32) => {
                    let pairs =
                        _mm512_maskz_loadu_epi32(((1u32 << (2 * count - 1)) - 1) as __mmask16, from.cast());
                    _mm512_and_si512(pairs, _mm512_set1_epi64(0xffff_ffff))
                }
                (2, _) => {
                    let low = _mm512_maskz_loadu_epi64(first((2 * count - 1).min(LANES)), from.cast());
                    let high = first((2 * count).saturating_sub(LANES));
                    let high = _mm512_maskz_loadu_epi64(high, from.wrapping_add(LANES - 1).cast());
                    let even = _mm512_setr_epi64(0, 2, 4, 6, 9, 11, 13, 15);
                    _mm512_permutex2var_epi64(low, even, high)
                }
                _ => {
                    let mut picked = [0; LANES];
                    for (picked, word) in picked.iter_mut().zip(words.iter().step_by(stride)) {
                        *picked = word.to_u64();
                    }
                    _mm512_loadu_si512(picked.as_ptr().cast())
                }
            };
            _mm512_mask_storeu_epi64(to.as_mut_ptr().cast(), first(count), change(vector));
        }
    }
}
