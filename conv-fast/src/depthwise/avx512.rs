//! Eight lanes as one 512-bit vector.

#![expect(unsafe_code, reason = "SIMD instructions; loads and stores")]

use super::plane::Arithmetic;
use crate::lanes::{LANES, Words};
use std::arch::x86_64::{
    __m512i, __mmask8, _mm512_add_epi64, _mm512_and_si512, _mm512_cmpgt_epu64_mask, _mm512_cvtepi64_pd,
    _mm512_cvtpd_epi64, _mm512_loadu_si512, _mm512_mask_storeu_epi64, _mm512_mask_sub_epi64,
    _mm512_maskz_loadu_epi64, _mm512_min_epu64, _mm512_mul_pd, _mm512_mullo_epi64, _mm512_permutex2var_epi64,
    _mm512_set1_epi64, _mm512_set1_pd, _mm512_setr_epi64, _mm512_sllv_epi64, _mm512_storeu_si512,
    _mm512_sub_epi64,
};

/// Z_q. Quotients are rounded to the nearest integer: for |x| < 2^50·q the estimate in double precision is off by less
/// than 0.4 before that, so that the remainder lies in (−q, q).
#[derive(Clone, Copy)]
pub(super) struct Prime {
    q: u64,
    inverse: f64,
}

impl Prime {
    pub(super) fn new(q: u64) -> Self {
        Self { q, inverse: 1.0 / q as f64 }
    }

    /// x mod q in (−q, q).
    #[inline(always)]
    fn remainder(self, x: __m512i) -> __m512i {
        // SAFETY: only run under `Kernel::Avx512`.
        unsafe {
            let quotient =
                _mm512_cvtpd_epi64(_mm512_mul_pd(_mm512_cvtepi64_pd(x), _mm512_set1_pd(self.inverse)));
            _mm512_sub_epi64(x, _mm512_mullo_epi64(quotient, _mm512_set1_epi64(self.q as i64)))
        }
    }
}

/// Z_2^k.
#[derive(Clone, Copy)]
pub(super) struct Power {
    mask: u64,
}

impl Power {
    pub(super) fn new(bits: u32) -> Self {
        Self { mask: u64::MAX >> (64 - bits) }
    }
}

macro_rules! common {
    () => {
        type Vector = __m512i;

        #[inline(always)]
        fn splat(self, word: i64) -> __m512i {
            // SAFETY: only run under `Kernel::Avx512`.
            unsafe { _mm512_set1_epi64(word) }
        }

        #[inline(always)]
        unsafe fn load(self, words: *const i64) -> __m512i {
            // SAFETY: as above; readable by the caller's promise.
            unsafe { _mm512_loadu_si512(words.cast()) }
        }

        #[inline(always)]
        fn multiply_add(self, sum: __m512i, words: __m512i, weight: __m512i) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_add_epi64(sum, _mm512_mullo_epi64(words, weight)) }
        }
    };
}

impl Arithmetic for Prime {
    common!();

    #[inline(always)]
    fn fold(self, sum: __m512i, shift: u32) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_sllv_epi64(self.remainder(sum), _mm512_set1_epi64(i64::from(shift))) }
    }

    #[inline(always)]
    unsafe fn finish(self, sum: __m512i, to: *mut u64) {
        let rest = self.remainder(sum);
        // SAFETY: as above; writable by the caller's promise. Of the two words a negative one is huge, unsigned, and not
        // the lesser.
        unsafe {
            let raised = _mm512_add_epi64(rest, _mm512_set1_epi64(self.q as i64));
            _mm512_storeu_si512(to.cast(), _mm512_min_epu64(rest, raised));
        }
    }

    #[inline(always)]
    fn center<const STRIDE: usize>(self, words: &[u64], stride: usize, to: &mut [i64]) {
        copy::<STRIDE>(words, stride, to, |words| {
            // SAFETY: as above.
            unsafe {
                let high = _mm512_cmpgt_epu64_mask(words, _mm512_set1_epi64((self.q / 2) as i64));
                _mm512_mask_sub_epi64(words, high, words, _mm512_set1_epi64(self.q as i64))
            }
        });
    }
}

impl Arithmetic for Power {
    common!();

    #[inline(always)]
    fn fold(self, sum: __m512i, shift: u32) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_sllv_epi64(sum, _mm512_set1_epi64(i64::from(shift))) }
    }

    #[inline(always)]
    unsafe fn finish(self, sum: __m512i, to: *mut u64) {
        // SAFETY: as above; writable by the caller's promise.
        unsafe { _mm512_storeu_si512(to.cast(), _mm512_and_si512(sum, _mm512_set1_epi64(self.mask as i64))) };
    }

    #[inline(always)]
    fn center<const STRIDE: usize>(self, words: &[u64], stride: usize, to: &mut [i64]) {
        copy::<STRIDE>(words, stride, to, |words| words);
    }
}

/// The first `count` of eight lanes.
#[inline(always)]
fn mask(count: usize) -> __mmask8 {
    if count < LANES { (1 << count) - 1 } else { __mmask8::MAX }
}

/// Every `stride`-th word through `change` until `to` is full; `STRIDE` is the stride if it is one or two.
#[inline(always)]
fn copy<const STRIDE: usize>(
    words: &[u64],
    stride: usize,
    to: &mut [i64],
    change: impl Fn(__m512i) -> __m512i,
) {
    let (whole, rest) = (to.len() / LANES, to.len() % LANES);
    assert!(to.is_empty() || words.len() > (to.len() - 1) * stride, "words to copy");
    for v in 0..whole {
        // SAFETY: vector v takes words up to (8v + 7)·stride.
        unsafe {
            let from = words.as_ptr().add(v * LANES * stride).cast::<i64>();
            let vector = match STRIDE {
                1 => _mm512_loadu_si512(from.cast()),
                2 => even(_mm512_loadu_si512(from.cast()), _mm512_loadu_si512(from.add(LANES - 1).cast())),
                _ => gather(words, v * LANES, stride),
            };
            _mm512_storeu_si512(to.as_mut_ptr().add(v * LANES).cast(), change(vector));
        }
    }
    if rest > 0 {
        // SAFETY: masked to words up to (8·whole + rest − 1)·stride, and to the end of `to`.
        unsafe {
            let from = words.as_ptr().add(whole * LANES * stride).cast::<i64>();
            let vector = match STRIDE {
                1 => _mm512_maskz_loadu_epi64(mask(rest), from),
                2 => even(
                    _mm512_maskz_loadu_epi64(mask(2 * rest - 1), from),
                    _mm512_maskz_loadu_epi64(
                        mask((2 * rest).saturating_sub(LANES)),
                        from.wrapping_add(LANES - 1),
                    ),
                ),
                _ => gather(words, whole * LANES, stride),
            };
            _mm512_mask_storeu_epi64(to.as_mut_ptr().add(whole * LANES), mask(rest), change(vector));
        }
    }
}

/// Words 0, 2, …, 14 of words 0 to 7 and 7 to 14.
#[inline(always)]
fn even(low: __m512i, high: __m512i) -> __m512i {
    // SAFETY: as above.
    unsafe { _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 2, 4, 6, 9, 11, 13, 15), high) }
}

/// Words from number `first` on, `stride` apart; zeros beyond the last.
#[inline(always)]
fn gather(words: &[u64], first: usize, stride: usize) -> __m512i {
    let picked: Words = std::array::from_fn(|lane| words.get((first + lane) * stride).copied().unwrap_or(0));
    // SAFETY: as above; eight words.
    unsafe { _mm512_loadu_si512(picked.as_ptr().cast()) }
}
