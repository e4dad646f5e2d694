//! The field in eight lanes of 52-bit multiply-add (AVX-512 IFMA), q < 2^50.
//!
//! *Butterflies*: Shoup products with quotients ⌊w·2^52/q⌋; words stay below 4q < 2^52, all that the multiplier reads.
//!
//! *Sums*: low and high 52-bit halves of the products are summed apart, at most [`MOST_TERMS`] of them: each low half is
//! below 2^52, hence the sum below 2^64 − 2^52. Then one Montgomery step with R = 2^52 (P. Montgomery, *Modular multiplication
//! without trial division*, 1985): with m = −low/q mod 2^52, x = (low + high·2^52 + m·q)/2^52 is a whole number, high plus the
//! high half of m·q plus low/2^52 rounded up. Inputs are below 4q and weights below q, so that with T terms
//! x < T·4q²/2^52 + q + 1 ≤ (T + 1)·q + 1, for T ≤ 4000 less than 0.98·2^12·q.
//!
//! Then Barrett's step for x: with q of b bits and s = max(b − 40, 0), the quotient ⌊⌊x/2^s⌋·⌊2^(52+s)/q⌋/2^52⌋ falls short of
//! x/q by less than 1 (last floor) + x/2^(52+s) < 0.98 (reciprocal) + 2^s/q ≤ 2^-39 (shift), in all less than two: the result
//! is below 2q.
//!
//! *Small moduli*, q < 2^26: products of residues have 52 bits at most and no high half; x is below T·q²/2^52 + q + 1 < 2q
//! (for q > 2^12; below that the first term is nothing) without Barrett's step.

#![expect(unsafe_code, reason = "vector instructions")]

use super::field::{Field, Twiddle};
use crate::Kernel;
use crate::lanes::{LANES, Words};
use crate::layout::transpose;
use he_core::Modulus;
use std::arch::x86_64::*;

/// Low halves are summed in 64 bits.
const MOST_TERMS: usize = 4000;
const MASK: i64 = (1 << 52) - 1;

/// `BOTH`: products have a high half.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ifma<const BOTH: bool> {
    modulus: Modulus,
    q: i64,
    /// −1/q modulo 2^52.
    negative_inverse: i64,
    shift: i64,
    /// ⌊2^(52 + shift)/q⌋.
    reciprocal: i64,
}

impl<const BOTH: bool> Ifma<BOTH> {
    /// # Panics
    /// Unless the machine has the instructions and q < 2^50, below 2^26 if `BOTH` is false.
    pub(super) fn new(modulus: Modulus) -> Self {
        let q = modulus.value();
        assert!(Kernel::Avx512.is_available(), "this machine has no {:?}", Kernel::Avx512);
        assert!(q < 1 << if BOTH { 50 } else { 26 }, "a modulus within the multiplier's reach");
        // Newton's iteration doubles the correct low bits, three at the start.
        let mut inverse = q;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(q.wrapping_mul(inverse)));
        }
        let shift = modulus.bits().saturating_sub(40);
        Self {
            modulus,
            q: q as i64,
            negative_inverse: inverse.wrapping_neg() as i64 & MASK,
            shift: i64::from(shift),
            reciprocal: ((1_u128 << (52 + shift)) / u128::from(q)) as i64,
        }
    }
}

// All blocks below are safe because a value of this type exists only where `new` found the instructions; loads and stores are
// of one array of eight words. Everything is inlined by force into the function that is compiled for these instructions.
impl<const BOTH: bool> Ifma<BOTH> {
    /// x < 2m to x < m, for m = q·`multiple`.
    #[inline(always)]
    fn reduce_once(self, x: __m512i, multiple: i64) -> __m512i {
        // SAFETY: see above. x − m wraps to something greater if x < m.
        unsafe { _mm512_min_epu64(x, _mm512_sub_epi64(x, _mm512_set1_epi64(multiple * self.q))) }
    }

    /// x − times·q modulo 2^52.
    #[inline(always)]
    fn less(self, x: __m512i, times: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let rest = _mm512_madd52lo_epu64(x, times, _mm512_set1_epi64(-self.q));
            _mm512_and_si512(rest, _mm512_set1_epi64(MASK))
        }
    }

    /// x·w mod q in [0, 2q) for any x < 2^52.
    #[inline(always)]
    fn times(self, x: __m512i, (w, quotient): (__m512i, __m512i)) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let zero = _mm512_setzero_si512();
            let times = _mm512_madd52hi_epu64(zero, x, quotient);
            self.less(_mm512_madd52lo_epu64(zero, x, w), times)
        }
    }
}

impl<const BOTH: bool> Field for Ifma<BOTH> {
    type Lanes = __m512i;
    type Sum = (__m512i, __m512i);
    type Factor = (__m512i, __m512i);
    const MANY_REGISTERS: bool = true;

    fn twiddle(self, w: u64) -> Twiddle {
        [w, ((u128::from(w) << 52) / u128::from(self.modulus.value())) as u64]
    }

    fn weight_scale(self) -> u64 {
        self.modulus.reduce(1 << 52)
    }

    fn most_terms(self) -> usize {
        MOST_TERMS
    }

    #[inline(always)]
    fn enter(self, residues: Words) -> Words {
        residues
    }

    #[inline(always)]
    fn leave(self, mut row: Words) -> Words {
        let lanes = self.reduce_once(self.load(&row), 1);
        self.store(lanes, &mut row);
        row
    }

    #[inline(always)]
    fn transpose(self, square: [Words; LANES]) -> [Words; LANES] {
        transpose(Kernel::Avx512, square)
    }

    #[inline(always)]
    fn load(self, row: &Words) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(row.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, lanes: __m512i, row: &mut Words) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), lanes) }
    }

    #[inline(always)]
    fn splat(self, word: u64) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi64(word as i64) }
    }

    #[inline(always)]
    fn factor(self, [w, quotient]: Twiddle) -> (__m512i, __m512i) {
        (self.splat(w), self.splat(quotient))
    }

    #[inline(always)]
    fn forward_pair(self, a: __m512i, b: __m512i, w: (__m512i, __m512i)) -> (__m512i, __m512i) {
        // SAFETY: see above.
        unsafe {
            let u = self.reduce_once(a, 2);
            let v = self.times(b, w);
            (_mm512_add_epi64(u, v), _mm512_sub_epi64(_mm512_add_epi64(u, _mm512_set1_epi64(2 * self.q)), v))
        }
    }

    #[inline(always)]
    fn inverse_pair(self, a: __m512i, b: __m512i, w: (__m512i, __m512i)) -> (__m512i, __m512i) {
        // SAFETY: see above.
        unsafe {
            let sum = self.reduce_once(_mm512_add_epi64(a, b), 2);
            let above = _mm512_add_epi64(a, _mm512_set1_epi64(2 * self.q));
            (sum, self.times(_mm512_sub_epi64(above, b), w))
        }
    }

    #[inline(always)]
    fn settle(self, x: __m512i) -> __m512i {
        if BOTH { x } else { self.settle_weight(x) }
    }

    #[inline(always)]
    fn settle_weight(self, w: __m512i) -> __m512i {
        self.reduce_once(self.reduce_once(w, 2), 1)
    }

    #[inline(always)]
    fn nothing(self) -> (__m512i, __m512i) {
        (self.splat(0), self.splat(0))
    }

    #[inline(always)]
    fn add_product(self, (low, high): Self::Sum, w: __m512i, x: __m512i) -> Self::Sum {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_madd52lo_epu64(low, w, x);
            (low, if BOTH { _mm512_madd52hi_epu64(high, w, x) } else { high })
        }
    }

    #[inline(always)]
    fn tidy(self, sum: Self::Sum) -> Self::Sum {
        sum
    }

    #[inline(always)]
    fn close(self, (low, high): Self::Sum) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let zero = _mm512_setzero_si512();
            let m = _mm512_madd52lo_epu64(zero, low, _mm512_set1_epi64(self.negative_inverse));
            // Rounded up: the low halves add up to 2^52, or are both zero.
            let carry = _mm512_srli_epi64::<52>(_mm512_add_epi64(low, _mm512_set1_epi64(MASK)));
            let sum = _mm512_add_epi64(high, carry);
            let sum = _mm512_madd52hi_epu64(sum, m, _mm512_set1_epi64(self.q));
            if !BOTH {
                return sum;
            }
            let upper = _mm512_srl_epi64(sum, _mm_cvtsi64_si128(self.shift));
            let times = _mm512_madd52hi_epu64(zero, upper, _mm512_set1_epi64(self.reciprocal));
            self.less(sum, times)
        }
    }

    #[inline(always)]
    fn join(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { self.reduce_once(_mm512_add_epi64(a, b), 2) }
    }
}
