//! Eight lanes as one 512-bit vector.

#![expect(unsafe_code, reason = "SIMD instructions; masked loads and stores")]

use super::lanes::{Buffered, Lanes, Streamed};
use crate::Word;
use crate::kernel::{Kernel, Task};
use crate::lanes::{LANES, Words};
use memory::{copy, eight, first, four, neighbours, store, store_pairs};
use std::arch::x86_64::{
    __m512d, __m512i, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEG_INF, _mm256_mask_storeu_epi32,
    _mm256_storeu_si256, _mm512_add_epi64, _mm512_add_pd, _mm512_and_si512, _mm512_cmpgt_epu64_mask,
    _mm512_cvtepi64_pd, _mm512_cvtepu64_pd, _mm512_cvtpd_epi64, _mm512_cvttpd_epu32, _mm512_cvttpd_epu64,
    _mm512_fmadd_pd, _mm512_fnmadd_pd, _mm512_loadu_si512, _mm512_mask_sub_epi64,
    _mm512_maskz_cvtepu32_epi64, _mm512_maskz_cvtepu32_pd, _mm512_min_epu64, _mm512_mul_pd,
    _mm512_mullo_epi64, _mm512_roundscale_pd, _mm512_set1_epi64, _mm512_set1_pd, _mm512_sllv_epi64,
    _mm512_sub_epi64,
};

/// Runs a task; as [`Kernel::run`], but compiled for this set alone.
///
/// # Panics
/// If the machine lacks it.
pub(super) fn run<T: Task>(task: T) -> T::Output {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512ifma")]
    fn run<T: Task>(task: T) -> T::Output {
        task.run()
    }
    assert!(Kernel::Avx512.is_available(), "this machine has no AVX-512");
    // SAFETY: the features were found just above.
    unsafe { run(task) }
}

/// Z_q in double precision, for sums below 2^50.
#[derive(Clone, Copy)]
pub(super) struct Doubles {
    q: f64,
    inverse: f64,
    /// Half of a q-th.
    half: f64,
}

impl Doubles {
    pub(super) fn new(q: u64) -> Self {
        Self { q: q as f64, inverse: 1.0 / q as f64, half: 0.5 / q as f64 }
    }

    /// x mod q in [0, q).
    #[inline(always)]
    fn element(self, x: __m512d) -> __m512d {
        const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
        // SAFETY: only run under `Kernel::Avx512`.
        unsafe {
            let quotient = _mm512_fmadd_pd(x, _mm512_set1_pd(self.inverse), _mm512_set1_pd(self.half));
            _mm512_fnmadd_pd(_mm512_roundscale_pd::<DOWN>(quotient), _mm512_set1_pd(self.q), x)
        }
    }
}

/// Z_q in integers. Quotients are rounded to the nearest integer: for |x| < 2^50·q the estimate in double precision is off by
/// less than 0.4 before that, so that the remainder lies in (−q, q).
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
            let quotient = _mm512_mul_pd(_mm512_cvtepi64_pd(x), _mm512_set1_pd(self.inverse));
            let multiple = _mm512_mullo_epi64(_mm512_cvtpd_epi64(quotient), _mm512_set1_epi64(self.q as i64));
            _mm512_sub_epi64(x, multiple)
        }
    }

    /// x mod q in [0, q).
    #[inline(always)]
    fn element(self, x: __m512i) -> __m512i {
        let rest = self.remainder(x);
        // SAFETY: as above. Of the two words a negative one is huge, unsigned, and not the lesser.
        unsafe { _mm512_min_epu64(rest, _mm512_add_epi64(rest, _mm512_set1_epi64(self.q as i64))) }
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

    /// x mod 2^k.
    #[inline(always)]
    fn element(self, x: __m512i) -> __m512i {
        // SAFETY: only run under `Kernel::Avx512`.
        unsafe { _mm512_and_si512(x, _mm512_set1_epi64(self.mask as i64)) }
    }
}

impl<W: Word> Lanes<W> for Doubles {
    type Vector = __m512d;

    #[inline(always)]
    fn splat(self, number: u64) -> __m512d {
        // SAFETY: only run under `Kernel::Avx512`.
        unsafe { _mm512_set1_pd(f64::from_bits(number)) }
    }

    #[inline(always)]
    fn times(self, words: __m512d, weight: __m512d) -> __m512d {
        // SAFETY: as above.
        unsafe { _mm512_mul_pd(words, weight) }
    }

    #[inline(always)]
    fn add(self, a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: as above.
        unsafe { _mm512_add_pd(a, b) }
    }

    #[inline(always)]
    fn times_add(self, words: __m512d, weight: __m512d, sum: __m512d) -> __m512d {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_pd(words, weight, sum) }
    }

    #[inline(always)]
    fn finish(self, sum: __m512d, _centre: __m512d, to: &mut [W]) {
        let element = self.element(sum);
        // SAFETY: as above; eight words, or masked to those there are.
        unsafe {
            if W::BITS == 64 {
                store(_mm512_cvttpd_epu64(element), to);
            } else if to.len() == LANES {
                _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvttpd_epu32(element));
            } else {
                let mask = first(to.len());
                _mm256_mask_storeu_epi32(to.as_mut_ptr().cast(), mask, _mm512_cvttpd_epu32(element));
            }
        }
    }
}

macro_rules! integer_lanes {
    () => {
        type Vector = __m512i;

        #[inline(always)]
        fn splat(self, number: u64) -> __m512i {
            // SAFETY: only run under `Kernel::Avx512`.
            unsafe { _mm512_set1_epi64(number as i64) }
        }

        #[inline(always)]
        fn times(self, words: __m512i, weight: __m512i) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_mullo_epi64(words, weight) }
        }

        #[inline(always)]
        fn add(self, a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_add_epi64(a, b) }
        }

        #[inline(always)]
        fn times_add(self, words: __m512i, weight: __m512i, sum: __m512i) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_add_epi64(sum, _mm512_mullo_epi64(words, weight)) }
        }
    };
}

impl<W: Word> Lanes<W> for Prime {
    integer_lanes!();

    #[inline(always)]
    fn finish(self, sum: __m512i, centre: __m512i, to: &mut [W]) {
        // SAFETY: as above.
        store(self.element(unsafe { _mm512_add_epi64(sum, centre) }), to);
    }
}

impl<W: Word> Lanes<W> for Power {
    integer_lanes!();

    #[inline(always)]
    fn finish(self, sum: __m512i, _centre: __m512i, to: &mut [W]) {
        store(self.element(sum), to);
    }
}

/// [`Streamed`] by way of integers: `$short` makes those of 32 bits, where a mask has them, into lanes, `$from` those of 64, and
/// `$to` makes lanes into the latter.
macro_rules! streamed {
    ($lanes:ty, $vector:ty, $short:ident, $from:ident, $to:ident) => {
        impl<W: Word> Streamed<W> for $lanes {
            const TWO: bool = true;

            fn interleaved(stride: usize) -> bool {
                stride == 1 && W::BITS == 32
            }

            #[inline(always)]
            fn one<const STRIDE: usize>(self, words: &[W], masks: &[u8; 3]) -> [$vector; 3] {
                if STRIDE == 1 && W::BITS == 32 {
                    let [a, b, c] = neighbours(words);
                    // SAFETY: only run under `Kernel::Avx512`.
                    return unsafe { [$short(masks[0], a), $short(masks[1], b), $short(masks[2], c)] };
                }
                let [a, b, c] = eight::<W, STRIDE>(words, masks);
                // SAFETY: as above.
                unsafe { [$from(a), $from(b), $from(c)] }
            }

            #[inline(always)]
            fn two<const STRIDE: usize>(self, words: &[W], masks: &[[u8; 3]; 2]) -> [[$vector; 3]; 2] {
                if STRIDE == 1 && W::BITS == 32 {
                    let [a, b, c, d] = four(words, [masks[0][0], masks[0][1], masks[0][2], masks[1][2]]);
                    // SAFETY: as above.
                    let [a, b, c, d] = unsafe { [$from(a), $from(b), $from(c), $from(d)] };
                    return [[a, b, c], [b, c, d]];
                }
                let next = &words[LANES * STRIDE..];
                [self.one::<STRIDE>(words, &masks[0]), self.one::<STRIDE>(next, &masks[1])]
            }

            #[inline(always)]
            fn finish_two<const STRIDE: usize>(self, sums: [$vector; 2], centre: $vector, to: &mut [W]) {
                if STRIDE == 1 && W::BITS == 32 {
                    let even = self.element(Lanes::<W>::add(self, sums[0], centre));
                    let odd = self.element(Lanes::<W>::add(self, sums[1], centre));
                    // SAFETY: as above.
                    return store_pairs(unsafe { [$to(even), $to(odd)] }, to);
                }
                let (low, high) = to.split_at_mut(LANES.min(to.len()));
                self.finish(sums[0], centre, low);
                self.finish(sums[1], centre, high);
            }
        }
    };
}

streamed!(Doubles, __m512d, _mm512_maskz_cvtepu32_pd, _mm512_cvtepu64_pd, _mm512_cvttpd_epu64);
streamed!(Prime, __m512i, _mm512_maskz_cvtepu32_epi64, same, same);
streamed!(Power, __m512i, _mm512_maskz_cvtepu32_epi64, same, same);

#[inline(always)]
unsafe fn same(integers: __m512i) -> __m512i {
    integers
}

impl<W: Word> Buffered<W> for Prime {
    #[inline(always)]
    fn load(self, words: &Words) -> __m512i {
        // SAFETY: as above; eight words.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[inline(always)]
    fn fold(self, sum: __m512i, shift: u32) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_sllv_epi64(self.remainder(sum), _mm512_set1_epi64(i64::from(shift))) }
    }

    #[inline(always)]
    fn center<const STRIDE: usize>(self, words: &[W], stride: usize, to: &mut [u64]) {
        copy::<W, STRIDE>(
            words,
            stride,
            to,
            #[inline(always)]
            // SAFETY: as above.
            |words| unsafe {
                let high = _mm512_cmpgt_epu64_mask(words, _mm512_set1_epi64((self.q / 2) as i64));
                _mm512_mask_sub_epi64(words, high, words, _mm512_set1_epi64(self.q as i64))
            },
        );
    }
}

impl<W: Word> Buffered<W> for Power {
    #[inline(always)]
    fn load(self, words: &Words) -> __m512i {
        // SAFETY: as above; eight words.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[inline(always)]
    fn fold(self, sum: __m512i, shift: u32) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_sllv_epi64(sum, _mm512_set1_epi64(i64::from(shift))) }
    }

    #[inline(always)]
    fn center<const STRIDE: usize>(self, words: &[W], stride: usize, to: &mut [u64]) {
        copy::<W, STRIDE>(
            words,
            stride,
            to,
            #[inline(always)]
            |words| words,
        );
    }
}

mod memory;
