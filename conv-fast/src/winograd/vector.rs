//! Eight signed words as one value, for transforms that have to stay in registers.
//!
//! [`Vector`] has two implementations: an array, for every kernel but one (plain Rust, compiled once per instruction set as
//! a [`Task`]), and a 512-bit register. [`run`] picks one. Words wrap.
//!
//! *Reduction.* [`Close`] takes |x| < min(2^62, 2^31·q) to a residue in [0, q + q·2^-18], nothing over Z_2^k. The register version
//! computes ⌊x/q − 2^-20⌋ in double precision: with |x/q| < 2^31 the rounding errors, at most 3·2^-53·|x/q|, are below
//! 2^-20, so that the estimate never exceeds the true quotient, and undercuts it only where x lies less than 2^-19·q above a
//! multiple of q. The array version reduces to [0, q).

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "SIMD registers"))]

use crate::Ring;
use crate::kernel::{Kernel, Task};
use crate::lanes::{Constant, LANES, LaneRing, PrimeLanes, Signed};

/// Constants of the reduction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Close {
    /// None over Z_2^k.
    lanes: Option<PrimeLanes>,
    q: i64,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for registers of 512 bits"))]
    inverse: f64,
}

impl Close {
    pub(super) fn new(ring: &Ring) -> Self {
        match ring {
            Ring::Prime(modulus) => {
                let q = modulus.value();
                Self { lanes: Some(PrimeLanes::new(q)), q: q as i64, inverse: 1.0 / q as f64 }
            }
            Ring::PowerOfTwo(_) => Self { lanes: None, q: 0, inverse: 0.0 },
        }
    }

    /// Greatest result of [`Vector::close`].
    pub(super) fn greatest(q: u64) -> u64 {
        q + (q >> 18)
    }
}

/// A constant factor c of a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    constant: Constant,
    value: i64,
    /// c/q.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for registers of 512 bits"))]
    quotient: f64,
}

impl Scale {
    pub(super) fn new(ring: &Ring, value: u64) -> Self {
        let quotient = match ring {
            Ring::Prime(modulus) => value as f64 / modulus.value() as f64,
            Ring::PowerOfTwo(_) => 0.0,
        };
        Self { constant: Constant::new(ring, value), value: value as i64, quotient }
    }
}

/// Eight signed words.
pub(super) trait Vector: Copy {
    fn zero() -> Self;
    /// The eight words of `from` from `at` on.
    ///
    /// # Panics
    /// If there are fewer.
    fn load(from: &[u64], at: usize) -> Self;
    /// # Panics
    /// As [`Vector::load`].
    fn store(self, to: &mut [u64], at: usize);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn times(self, factor: i64) -> Self;
    /// |x| < 2^62 as a residue of at most [`Close::greatest`]; over Z_2^k the same word.
    fn close(self, close: Close) -> Self;
    /// A result of [`Vector::close`] as an element; over Z_2^k the word shifted right (with its sign) and masked.
    fn finish(self, close: Close, shift: u32, mask: u64) -> Self;
    /// x·c for an element x, as an element; over Z_2^k modulo 2^64.
    fn scale(self, scale: Scale, close: Close) -> Self;
}

/// Work over either kind of vector; to be inlined as a [`Task`] is.
pub(super) trait Work {
    fn run<V: Vector>(self);
}

/// Runs it compiled for `kernel`.
///
/// # Panics
/// If the machine lacks the kernel.
#[inline]
pub(super) fn run<W: Work>(kernel: Kernel, work: W) {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => {
            assert!(kernel.is_available(), "this machine has no {kernel:?}");
            // SAFETY: the features were found just above.
            unsafe { avx512::run(work) }
        }
        _ => kernel.run(Plain(work)),
    }
}

struct Plain<W>(W);

impl<W: Work> Task for Plain<W> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.0.run::<Signed>();
    }
}

impl Vector for Signed {
    #[inline(always)]
    fn zero() -> Self {
        [0; LANES]
    }

    #[inline(always)]
    fn load(from: &[u64], at: usize) -> Self {
        let words: &[u64; LANES] = from[at..at + LANES].try_into().expect("eight words");
        words.map(|word| word as i64)
    }

    #[inline(always)]
    fn store(self, to: &mut [u64], at: usize) {
        to[at..at + LANES].copy_from_slice(&self.map(|word| word as u64));
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane].wrapping_add(other[lane]))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane].wrapping_sub(other[lane]))
    }

    #[inline(always)]
    fn times(self, factor: i64) -> Self {
        self.map(|word| word.wrapping_mul(factor))
    }

    #[inline(always)]
    fn close(self, close: Close) -> Self {
        match close.lanes {
            Some(lanes) => lanes.reduce(self).map(|x| x as i64),
            None => self,
        }
    }

    #[inline(always)]
    fn finish(self, close: Close, shift: u32, mask: u64) -> Self {
        let below = self.map(|x| (x as u64).min(x.wrapping_sub(close.q) as u64) as i64);
        below.map(|x| (x >> shift) & mask as i64)
    }

    #[inline(always)]
    fn scale(self, scale: Scale, close: Close) -> Self {
        match close.lanes {
            // Centred: below 2^51.
            Some(lanes) => {
                let x = self.map(|x| x - (((close.q / 2 - x) >> 63) & close.q));
                lanes.times(x, scale.constant).map(|x| x as i64)
            }
            None => self.times(scale.value),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{Close, LANES, Scale, Vector, Work};
    use std::arch::x86_64::{
        __m512i, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEG_INF, _mm_cvtsi64_si128, _mm512_add_epi64,
        _mm512_and_si512, _mm512_cvt_roundpd_epi64, _mm512_cvtepi64_pd, _mm512_fmadd_pd, _mm512_loadu_si512,
        _mm512_min_epu64, _mm512_mullo_epi64, _mm512_set1_epi64, _mm512_set1_pd, _mm512_setzero_si512,
        _mm512_sra_epi64, _mm512_storeu_si512, _mm512_sub_epi64,
    };

    /// # Safety
    /// The machine must have these features.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512ifma")]
    pub(super) unsafe fn run<W: Work>(work: W) {
        work.run::<Register>();
    }

    /// Private to this module and only ever made below `run`, so on a machine with AVX-512: the reason why every
    /// intrinsic below is safe.
    #[derive(Clone, Copy)]
    pub(super) struct Register(__m512i);

    impl Vector for Register {
        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: see `Register`.
            Self(unsafe { _mm512_setzero_si512() })
        }

        #[inline(always)]
        fn load(from: &[u64], at: usize) -> Self {
            let words = &from[at..at + LANES];
            // SAFETY: eight words; otherwise see `Register`.
            Self(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
        }

        #[inline(always)]
        fn store(self, to: &mut [u64], at: usize) {
            let words = &mut to[at..at + LANES];
            // SAFETY: eight words; otherwise see `Register`.
            unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), self.0) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: see `Register`.
            Self(unsafe { _mm512_add_epi64(self.0, other.0) })
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: see `Register`.
            Self(unsafe { _mm512_sub_epi64(self.0, other.0) })
        }

        #[inline(always)]
        fn times(self, factor: i64) -> Self {
            // SAFETY: see `Register`.
            Self(unsafe { _mm512_mullo_epi64(self.0, _mm512_set1_epi64(factor)) })
        }

        #[inline(always)]
        fn close(self, close: Close) -> Self {
            if close.lanes.is_none() {
                return self;
            }
            // SAFETY: see `Register`.
            Self(unsafe {
                let ratio = _mm512_fmadd_pd(
                    _mm512_cvtepi64_pd(self.0),
                    _mm512_set1_pd(close.inverse),
                    _mm512_set1_pd(-1.0 / (1 << 20) as f64),
                );
                let quotient =
                    _mm512_cvt_roundpd_epi64::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(ratio);
                _mm512_sub_epi64(self.0, _mm512_mullo_epi64(quotient, _mm512_set1_epi64(close.q)))
            })
        }

        #[inline(always)]
        fn finish(self, close: Close, shift: u32, mask: u64) -> Self {
            // SAFETY: see `Register`.
            Self(unsafe {
                if close.lanes.is_some() {
                    _mm512_min_epu64(self.0, _mm512_sub_epi64(self.0, _mm512_set1_epi64(close.q)))
                } else {
                    let shifted = _mm512_sra_epi64(self.0, _mm_cvtsi64_si128(i64::from(shift)));
                    _mm512_and_si512(shifted, _mm512_set1_epi64(mask as i64))
                }
            })
        }

        #[inline(always)]
        fn scale(self, scale: Scale, close: Close) -> Self {
            if close.lanes.is_none() {
                return self.times(scale.value);
            }
            // x·c/q < 2^52 is estimated within one; one less and rounded down that is the quotient or up to two less.
            // SAFETY: see `Register`.
            Self(unsafe {
                let ratio = _mm512_fmadd_pd(
                    _mm512_cvtepi64_pd(self.0),
                    _mm512_set1_pd(scale.quotient),
                    _mm512_set1_pd(-1.0),
                );
                let quotient =
                    _mm512_cvt_roundpd_epi64::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(ratio);
                let product = _mm512_mullo_epi64(self.0, _mm512_set1_epi64(scale.value));
                let rest =
                    _mm512_sub_epi64(product, _mm512_mullo_epi64(quotient, _mm512_set1_epi64(close.q)));
                let rest = _mm512_min_epu64(rest, _mm512_sub_epi64(rest, _mm512_set1_epi64(2 * close.q)));
                _mm512_min_epu64(rest, _mm512_sub_epi64(rest, _mm512_set1_epi64(close.q)))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use he_core::Modulus;

    struct CloseAll<'a>(&'a mut [u64], Close);

    impl Work for CloseAll<'_> {
        #[inline(always)]
        fn run<V: Vector>(self) {
            let Self(words, close) = self;
            for at in (0..words.len()).step_by(LANES) {
                V::load(words, at).close(close).store(words, at);
            }
        }
    }

    /// Around multiples of q, where a quotient's estimate may fall on either side, up to the stated limit.
    #[test]
    fn residues_close_to_multiples() {
        let mut random = Random::new("close");
        for q in [12_289, 67_084_289, 2_147_377_153, 4_294_828_033, 35_184_371_884_033, 1_125_899_906_826_241]
        {
            let ring = Ring::Prime(Modulus::new(q).unwrap());
            let close = Close::new(&ring);
            let most = ((1u128 << 62).min(u128::from(q) << 31) / u128::from(q)) as i64 - 1;
            let values: Vec<i64> = (0..40_000)
                .map(|i| {
                    let multiple = if i % 2 == 0 { most } else { most >> random.below(31) };
                    let multiple = (multiple - random.below(1000) as i64) * if i % 3 == 0 { -1 } else { 1 };
                    multiple.clamp(-most, most) * q as i64 + i64::from(random.signed(40))
                })
                .collect();
            for kernel in Kernel::available() {
                let mut words: Vec<u64> = values.iter().map(|&value| value as u64).collect();
                run(kernel, CloseAll(&mut words, close));
                for (&value, &word) in values.iter().zip(&words) {
                    assert!(word <= Close::greatest(q), "{kernel:?} {q}: {value} became {word}");
                    assert_eq!(word % q, ring.from_i64(value), "{kernel:?} {q}: {value}");
                }
            }
        }
    }
}
