//! What vectors of 52-bit multiply-add (AVX-512F, AVX-512IFMA) share, and the small loops in them.
//!
//! [`Ifma::centred`] is the loop of [`super::centred`], [`Ifma::finish`] that of [`super::drop::ModDown::finish`], word for
//! word; [`super::tiles`] is the linear map. Quotients floor(w * 2^52 / p) come from Shoup words by a shift: floors nest.
//!
//! | loop | serves | below 2^52 |
//! |---|---|---|
//! | [`Ifma::centred`], sum in range as it is | any primes | nothing is multiplied |
//! | [`Ifma::centred`], sum reduced | q < 2^50, p < q/2 | x + d < q + p |
//! | [`Ifma::finish`] | p < 2^50 | value - correction + p < 2p, and a product's rest below 2p |
//!
//! An [`Ifma`] exists only after the CPU was asked: that makes the calls of `#[target_feature]` functions sound.
#![expect(unsafe_code, reason = "vector loads and stores, and calls of target_feature functions")]

use core::arch::x86_64::*;

use super::centred::Place;
use super::linear::NARROW;
pub(super) use crate::ntt::ifma::lanes::{load, reduce_once, splat, store};
pub(super) use crate::simd::Ifma;

pub(super) const LANES: usize = 8;
/// The bits that the multiplier reads.
pub(super) const MASK: i64 = (1 << 52) - 1;

impl Ifma {
    /// As the loop of [`super::centred::Centred::apply`]; returns how many positions it did. Both slices have one length.
    pub(super) fn centred(self, place: &Place, half: u64, from: &[u64], to: &mut [u64]) -> usize {
        // A sum that is to be reduced must fit 52 bits; then p < q, so that 2p fits them too.
        if place.one != 0 && half >= NARROW / 2 {
            return 0;
        }
        // SAFETY: `self` exists, so the CPU has both features.
        unsafe { centred(place, half, from, to) }
        from.len() - from.len() % LANES
    }

    /// values = (values - correction) * w mod p with `quotient` = floor(w * 2^64 / p); returns how many positions it
    /// did. For p < 2^50. Both slices have one length.
    pub(super) fn finish(
        self,
        p: u64,
        w: u64,
        quotient: u64,
        values: &mut [u64],
        correction: &[u64],
    ) -> usize {
        assert!(p < NARROW);
        // SAFETY: `self` exists, so the CPU has both features.
        unsafe { finish(p, w, quotient >> 12, values, correction) }
        values.len() - values.len() % LANES
    }

    /// correction = (values - correction) * w mod p, otherwise as [`Ifma::finish`].
    pub(super) fn finish_into(
        self,
        p: u64,
        w: u64,
        quotient: u64,
        values: &[u64],
        correction: &mut [u64],
    ) -> usize {
        assert!(p < NARROW);
        // SAFETY: `self` exists, so the CPU has both features.
        unsafe { finish_into(p, w, quotient >> 12, values, correction) }
        values.len() - values.len() % LANES
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn centred(place: &Place, half: u64, from: &[u64], to: &mut [u64]) {
    let (half, add, p, one) = (splat(half), splat(place.add), splat(place.p), splat(place.one >> 12));
    let minus_p = splat(place.p.wrapping_neg() & MASK as u64);
    let (from, to) = (from.as_chunks::<LANES>().0, to.as_chunks_mut::<LANES>().0);
    for (from, to) in from.iter().zip(to) {
        let x = load(from);
        let mut sum = _mm512_mask_add_epi64(x, _mm512_cmpgt_epu64_mask(x, half), x, add);
        if place.one != 0 {
            let times = _mm512_madd52hi_epu64(_mm512_setzero_si512(), sum, one);
            sum = _mm512_and_si512(_mm512_madd52lo_epu64(sum, times, minus_p), _mm512_set1_epi64(MASK));
            sum = reduce_once(sum, p);
        }
        store(to, sum);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn finish(p: u64, w: u64, quotient: u64, values: &mut [u64], correction: &[u64]) {
    let step = Step::new(p, w, quotient);
    let (values, correction) = (values.as_chunks_mut::<LANES>().0, correction.as_chunks::<LANES>().0);
    for (values, correction) in values.iter_mut().zip(correction) {
        store(values, step.finish(load(values), load(correction)));
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn finish_into(p: u64, w: u64, quotient: u64, values: &[u64], correction: &mut [u64]) {
    let step = Step::new(p, w, quotient);
    let (values, correction) = (values.as_chunks::<LANES>().0, correction.as_chunks_mut::<LANES>().0);
    for (values, correction) in values.iter().zip(correction) {
        store(correction, step.finish(load(values), load(correction)));
    }
}

/// What one position of [`Ifma::finish`] needs.
#[derive(Clone, Copy)]
struct Step {
    p: __m512i,
    minus_p: __m512i,
    w: __m512i,
    quotient: __m512i,
}

impl Step {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(p: u64, w: u64, quotient: u64) -> Self {
        let minus_p = splat(p.wrapping_neg() & MASK as u64);
        Self { p: splat(p), minus_p, w: splat(w), quotient: splat(quotient) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn finish(self, value: __m512i, correction: __m512i) -> __m512i {
        let x = _mm512_sub_epi64(_mm512_add_epi64(value, self.p), correction);
        let times = _mm512_madd52hi_epu64(_mm512_setzero_si512(), x, self.quotient);
        let product = _mm512_madd52lo_epu64(_mm512_setzero_si512(), x, self.w);
        let rest = _mm512_madd52lo_epu64(product, times, self.minus_p);
        reduce_once(_mm512_and_si512(rest, _mm512_set1_epi64(MASK)), self.p)
    }
}
