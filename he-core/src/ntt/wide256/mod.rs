//! The transform in four lanes of 64-bit words (AVX2), q < 2^61, N >= 32: for primes that doubles cannot hold.
//!
//! AVX2 multiplies words of 32 bits only, so a product of 64 bits is put together from the halves x = xh * 2^32 + xl.
//! Shoup's product x*w - Q*q with v = floor(w * 2^64 / q) needs the quotient Q = floor(x*v / 2^64) up to a few units,
//! and low words of two products, of which only the low words of the middle terms count:
//!
//! | number | from | multiplications |
//! |---|---|---|
//! | Q | xh*vh + floor(xh*vl / 2^32) + floor(xl*vh / 2^32) | 3 |
//! | x*w modulo 2^64 | xl*wl + 2^32 (xh*wl + xl*wh) | 3 |
//! | Q*q modulo 2^64 | likewise | 3 |
//!
//! Four things lose less than one each in Q: the term that was dropped, two roundings, and v itself. So Q is short by 0,
//! 1, 2 or 3 and the product in [0, 4q) for *any* 64-bit x.
//!
//! | value | range |
//! |---|---|
//! | between levels, forward | [0, 8q), below 2^64 |
//! | between levels, inverse; a product | [0, 4q) |
//!
//! The walk over memory is that of `passes`, the tables are those of `portable`, sums of products are in `sums`. Measured
//! on Zen 5, N = 2048 to 16384, beside `portable`: transforms take 0.61 to 0.68 of the time, sums of 8 products 0.75; sums
//! of fewer than three are left to `portable`, which is faster there.
#![expect(unsafe_code, reason = "vector instructions, and calls of target_feature functions")]

mod sums;

use core::arch::x86_64::*;

use super::lanes::{Lanes, Width};
use super::{Kernel, Roots, passes};
use crate::modulus::Modulus;

pub(crate) use sums::{LEAST_TERMS, MOST_TERMS};

/// Proof that this CPU has AVX2: values are made by [`Wide256::detect`] alone, and every SAFETY comment below rests on
/// that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wide256(());

impl Wide256 {
    /// The proof, where the CPU has what [`Kernel::Avx2`] asks for (AVX2 among it).
    pub(crate) fn detect() -> Option<Self> {
        Kernel::Avx2.detected().then_some(Self(()))
    }

    /// In place; [0, q) natural order to [0, q) bit-reversed order.
    pub(crate) fn forward(self, words: &mut [u64], roots: &Roots<u64>, q: u64) {
        #[target_feature(enable = "avx2")]
        fn inside(s: Wide256, words: &mut [u64], roots: &Roots<u64>, q: u64) {
            passes::forward::<Wide256, Lazy>(s, words, roots, q);
        }
        assert!(words.len() >= 32 && roots.forward.len() == words.len());
        // SAFETY: see the type.
        unsafe { inside(self, words, roots, q) }
    }

    /// In place; [0, q) bit-reversed order to [0, q) natural order, divided by N.
    pub(crate) fn inverse(self, words: &mut [u64], roots: &Roots<u64>, q: u64) {
        #[target_feature(enable = "avx2")]
        fn inside(s: Wide256, words: &mut [u64], roots: &Roots<u64>, q: u64) {
            passes::inverse::<Wide256, Lazy>(s, words, roots, q);
        }
        assert!(words.len() >= 32 && roots.inverse.len() == words.len());
        // SAFETY: see the type.
        unsafe { inside(self, words, roots, q) }
    }

    /// acc = acc + sum of products, all residues; at most [`MOST_TERMS`] terms, equal lengths, a multiple of 4.
    pub(crate) fn accumulate(self, terms: &[(&[u64], &[u64])], acc: &mut [u64], modulus: &Modulus) {
        #[target_feature(enable = "avx2")]
        fn inside(s: Wide256, terms: &[(&[u64], &[u64])], acc: &mut [u64], modulus: &Modulus) {
            sums::accumulate(s, terms, acc, modulus);
        }
        assert!(terms.len() <= MOST_TERMS && acc.len().is_multiple_of(Self::LANES));
        assert!(terms.iter().all(|(a, b)| a.len() == acc.len() && b.len() == acc.len()));
        // SAFETY: see the type.
        unsafe { inside(self, terms, acc, modulus) }
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_add_epi64(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_sub_epi64(a, b) }
    }

    /// The products of the low halves of lanes; the high halves are not read.
    #[inline(always)]
    fn mul_halves(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_mul_epu32(a, b) }
    }

    /// Lanes divided by 2^32.
    #[inline(always)]
    fn high(self, x: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_srli_epi64::<32>(x) }
    }

    /// Lanes modulo 2^32.
    #[inline(always)]
    fn low(self, x: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_and_si256(x, _mm256_set1_epi64x(0xffff_ffff)) }
    }

    /// Lanes times 2^32 modulo 2^64.
    #[inline(always)]
    fn raise(self, x: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_slli_epi64::<32>(x) }
    }

    /// x < 2m to x < m, for m <= 2^63: of x - m the sign says whether it wrapped.
    #[inline(always)]
    fn reduce_once(self, x: __m256i, m: __m256i) -> __m256i {
        let less = self.sub(x, m);
        // SAFETY: see the type.
        unsafe {
            let [x, less] = [_mm256_castsi256_pd(x), _mm256_castsi256_pd(less)];
            _mm256_castpd_si256(_mm256_blendv_pd(less, x, less))
        }
    }
}

impl Lanes for Wide256 {
    type Word = u64;
    type V = __m256i;
    type Chunk = [u64; 4];
    const LANES: usize = 4;
    const MANY: bool = false;

    #[inline(always)]
    fn chunks(words: &[u64]) -> &[[u64; 4]] {
        words.as_chunks().0
    }

    #[inline(always)]
    fn chunks_mut(words: &mut [u64]) -> &mut [[u64; 4]] {
        words.as_chunks_mut().0
    }

    #[inline(always)]
    fn load(self, chunk: &[u64; 4]) -> __m256i {
        // SAFETY: see the type; the reference is to four words.
        unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, chunk: &mut [u64; 4], x: __m256i) {
        // SAFETY: see the type; the reference is to four words.
        unsafe { _mm256_storeu_si256(chunk.as_mut_ptr().cast(), x) }
    }

    #[inline(always)]
    fn splat(self, x: u64) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_set1_epi64x(x as i64) }
    }

    #[inline(always)]
    fn repeat<const M: usize>(self, words: &[u64; M]) -> __m256i {
        let words = words.as_ptr();
        // SAFETY: see the type; each arm reads the M words that there are.
        unsafe {
            match M {
                1 => _mm256_set1_epi64x(words.read() as i64),
                2 => _mm256_broadcastsi128_si256(_mm_loadu_si128(words.cast())),
                4 => _mm256_loadu_si256(words.cast()),
                _ => unreachable!("factors are repeated by powers of two"),
            }
        }
    }

    #[inline(always)]
    fn interleave(self, x: __m256i, y: __m256i) -> (__m256i, __m256i) {
        // SAFETY: see the type.
        unsafe {
            // Unpacking interleaves within the halves of a register.
            let (low, high) = (_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y));
            (_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high))
        }
    }

    #[inline(always)]
    fn separate(self, x: __m256i, y: __m256i) -> (__m256i, __m256i) {
        // SAFETY: see the type.
        unsafe {
            let low = _mm256_permute2x128_si256::<0x20>(x, y);
            let high = _mm256_permute2x128_si256::<0x31>(x, y);
            (_mm256_unpacklo_epi64(low, high), _mm256_unpackhi_epi64(low, high))
        }
    }
}

/// Multiples of the modulus, in every lane, and the high half of the first.
#[derive(Clone, Copy)]
struct Q {
    one: __m256i,
    one_high: __m256i,
    two: __m256i,
    four: __m256i,
}

/// A factor w < q and its Shoup quotient, whole and divided by 2^32.
#[derive(Clone, Copy)]
struct Factor {
    w: __m256i,
    w_high: __m256i,
    v: __m256i,
    v_high: __m256i,
}

/// Products in [0, 4q), sums in [0, 8q).
#[derive(Clone, Copy)]
struct Lazy;

impl Width<Wide256> for Lazy {
    type Q = Q;
    type Factor = Factor;

    #[inline(always)]
    fn modulus(s: Wide256, q: u64) -> Q {
        Q { one: s.splat(q), one_high: s.splat(q >> 32), two: s.splat(2 * q), four: s.splat(4 * q) }
    }

    #[inline(always)]
    fn factor(s: Wide256, w: __m256i, v: __m256i) -> Factor {
        Factor { w, w_high: s.high(w), v, v_high: s.high(v) }
    }

    #[inline(always)]
    fn mul<const K: usize>(s: Wide256, w: [Factor; K], x: [__m256i; K], q: Q) -> [__m256i; K] {
        let mut product = x;
        for i in 0..K {
            let (w, x, x_high) = (w[i], x[i], s.high(x[i]));
            let carries = s.add(s.high(s.mul_halves(x_high, w.v)), s.high(s.mul_halves(x, w.v_high)));
            let times = s.add(s.mul_halves(x_high, w.v_high), carries);
            let middle = s.add(s.mul_halves(x_high, w.w), s.mul_halves(x, w.w_high));
            let other = s.add(s.mul_halves(s.high(times), q.one), s.mul_halves(times, q.one_high));
            let low = s.sub(s.mul_halves(x, w.w), s.mul_halves(times, q.one));
            product[i] = s.add(low, s.raise(s.sub(middle, other)));
        }
        product
    }

    #[inline(always)]
    fn sum(s: Wide256, a: __m256i, b: __m256i, _: Q) -> __m256i {
        s.add(a, b)
    }

    #[inline(always)]
    fn difference(s: Wide256, a: __m256i, b: __m256i, q: Q) -> __m256i {
        s.sub(s.add(a, q.four), b)
    }

    #[inline(always)]
    fn shrink(s: Wide256, x: __m256i, q: Q) -> __m256i {
        s.reduce_once(x, q.four)
    }

    #[inline(always)]
    fn settle(s: Wide256, x: __m256i, q: Q) -> __m256i {
        s.reduce_once(s.reduce_once(s.reduce_once(x, q.four), q.two), q.one)
    }
}

#[cfg(test)]
mod tests;
