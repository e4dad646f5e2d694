//! Arithmetic modulo one prime word.
//!
//! A [`Modulus`] is a prime q with 2 < q < 2^61 together with the constants of Barrett's reduction
//! (P. Barrett, *Implementing the Rivest Shamir and Adleman public key encryption algorithm*, CRYPTO '86, with the
//! quotient estimate floor(2^128 / q)) and of Shoup's multiplication by a constant (as used by D. Harvey, *Faster
//! arithmetic for number-theoretic transforms*, J. Symb. Comput. 60, 2014, section 3).
//!
//! | name | meaning | range |
//! |---|---|---|
//! | residue | a number modulo q in canonical form | [0, q) |
//! | centred | a number modulo q with sign, as i64 | (-q/2, q/2] |
//! | Shoup quotient of w | floor(w * 2^64 / q) | u64 |
//!
//! Everything that takes residues runs in a time that does not depend on their values: no branch, no table look-up,
//! no division instruction. Three functions are named as exceptions in their own documentation because they only
//! ever see public numbers: [`Modulus::new`], [`Modulus::shoup`], and the *exponent* of [`Modulus::pow`].
//! What is not promised: inputs outside their stated range give a wrong residue, not an error (debug builds assert).

use crate::error::HeError;
use crate::prime::is_prime;

/// A prime modulus q, 2 < q < 2^61, with its precomputed constants. `Copy`; two are equal when q is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Modulus {
    q: u64,
    /// floor(2^64 / q).
    ratio_64: u64,
    /// floor(2^128 / q), low and high word.
    ratio_128: (u64, u64),
}

impl core::fmt::Debug for Modulus {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Modulus({})", self.q)
    }
}

/// Subtracts q once if x >= q. Needs x < 2q and q < 2^63; no branch.
#[inline(always)]
pub(crate) fn reduce_once(x: u64, q: u64) -> u64 {
    let difference = x.wrapping_sub(q);
    let borrowed = ((difference as i64) >> 63) as u64;
    difference.wrapping_add(q & borrowed)
}

impl Modulus {
    /// A checked modulus.
    ///
    /// # Errors
    /// [`HeError::ModulusRange`] unless 2 < q < 2^61, [`HeError::NotPrime`] unless q is prime.
    pub fn new(q: u64) -> Result<Self, HeError> {
        if q <= 2 || q >= 1 << 61 {
            return Err(HeError::ModulusRange { q });
        }
        if !is_prime(q) {
            return Err(HeError::NotPrime { q });
        }
        Ok(Self::with_constants(q))
    }

    /// The arithmetic modulo any number from 2 to 2^60, prime or not, without inverses.
    pub(crate) fn of_any(q: u64) -> Self {
        debug_assert!((2..=1 << 60).contains(&q), "{q} is no modulus");
        Self::with_constants(q)
    }

    /// The constants are floor((2^k - 1) / q), which is floor(2^k / q) unless q is a power of two. Then they are one too
    /// small, and x/q - x floor((2^k - 1) / q) / 2^k <= x/2^k < 1 still holds, which is all that the estimates need.
    fn with_constants(q: u64) -> Self {
        let wide = u128::MAX / u128::from(q);
        Self { q, ratio_64: u64::MAX / q, ratio_128: (wide as u64, (wide >> 64) as u64) }
    }

    /// The prime q.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.q
    }

    /// ceil(log2 q): the bits that hold any residue.
    #[inline]
    #[must_use]
    pub fn bits(&self) -> u32 {
        64 - self.q.leading_zeros()
    }

    /// a + b for residues a and b.
    #[inline(always)]
    #[must_use]
    pub fn add(&self, a: u64, b: u64) -> u64 {
        debug_assert!(a < self.q && b < self.q);
        reduce_once(a + b, self.q)
    }

    /// a - b for residues a and b.
    #[inline(always)]
    #[must_use]
    pub fn sub(&self, a: u64, b: u64) -> u64 {
        debug_assert!(a < self.q && b < self.q);
        let difference = a.wrapping_sub(b);
        let borrowed = ((difference as i64) >> 63) as u64;
        difference.wrapping_add(self.q & borrowed)
    }

    /// -a for a residue a; the negative of 0 is 0.
    #[inline(always)]
    #[must_use]
    pub fn neg(&self, a: u64) -> u64 {
        debug_assert!(a < self.q);
        reduce_once(self.q - a, self.q)
    }

    /// a * b for residues a and b.
    #[inline(always)]
    #[must_use]
    pub fn mul(&self, a: u64, b: u64) -> u64 {
        debug_assert!(a < self.q && b < self.q);
        self.reduce_u128(u128::from(a) * u128::from(b))
    }

    /// base^exponent. Constant time in the base (a residue); the exponent is public and steers the loop.
    #[must_use]
    pub fn pow(&self, base: u64, exponent: u64) -> u64 {
        let mut result = 1;
        for bit in (0..64 - exponent.leading_zeros()).rev() {
            result = self.mul(result, result);
            if exponent >> bit & 1 == 1 {
                result = self.mul(result, base);
            }
        }
        result
    }

    /// The inverse of a residue a, by Fermat's little theorem; 0 for a = 0, which has none.
    #[must_use]
    pub fn inv(&self, a: u64) -> u64 {
        self.pow(a, self.q - 2)
    }

    /// x mod q for any word.
    #[inline(always)]
    #[must_use]
    pub fn reduce(&self, x: u64) -> u64 {
        let quotient = ((u128::from(x) * u128::from(self.ratio_64)) >> 64) as u64;
        reduce_once(x.wrapping_sub(quotient.wrapping_mul(self.q)), self.q)
    }

    /// x mod q for any double word.
    #[inline(always)]
    #[must_use]
    pub fn reduce_u128(&self, x: u128) -> u64 {
        reduce_once(self.barrett(x).1, self.q)
    }

    /// floor(x / q), exact. The quotient must fit a word (x < q * 2^64).
    #[inline(always)]
    #[must_use]
    pub fn quotient_u128(&self, x: u128) -> u64 {
        let (quotient, rest) = self.barrett(x);
        // rest is in [0, 2q): one more q fits exactly when rest - q does not borrow.
        let borrowed = rest.wrapping_sub(self.q) >> 63;
        quotient.wrapping_add(1 - borrowed)
    }

    /// A signed word, reduced: x mod q in [0, q), for any i64.
    #[inline(always)]
    #[must_use]
    pub fn from_i64(&self, x: i64) -> u64 {
        let magnitude = self.reduce(x.unsigned_abs());
        let negative = (x >> 63) as u64;
        let negated = self.neg(magnitude);
        (negated & negative) | (magnitude & !negative)
    }

    /// A signed double word, reduced: x mod q in [0, q), for any i128.
    #[inline(always)]
    #[must_use]
    pub fn from_i128(&self, x: i128) -> u64 {
        let magnitude = self.reduce_u128(x.unsigned_abs());
        let negative = (x >> 127) as u64;
        let negated = self.neg(magnitude);
        (negated & negative) | (magnitude & !negative)
    }

    /// The representative of a residue in (-q/2, q/2].
    #[inline(always)]
    #[must_use]
    pub fn center(&self, a: u64) -> i64 {
        debug_assert!(a < self.q);
        let above = (((self.q / 2).wrapping_sub(a) as i64) >> 63) as u64;
        a.wrapping_sub(self.q & above) as i64
    }

    /// The Shoup quotient floor(w * 2^64 / q) of a public residue w (uses a division; not for secrets).
    #[must_use]
    pub fn shoup(&self, w: u64) -> u64 {
        debug_assert!(w < self.q);
        ((u128::from(w) << 64) / u128::from(self.q)) as u64
    }

    /// a * w for any word a and a residue w with `w_shoup = shoup(w)`.
    #[inline(always)]
    #[must_use]
    pub fn mul_shoup(&self, a: u64, w: u64, w_shoup: u64) -> u64 {
        reduce_once(self.mul_shoup_lazy(a, w, w_shoup), self.q)
    }

    /// As [`Modulus::mul_shoup`] but in [0, 2q): one conditional subtraction saved.
    #[inline(always)]
    #[must_use]
    pub fn mul_shoup_lazy(&self, a: u64, w: u64, w_shoup: u64) -> u64 {
        let quotient = ((u128::from(a) * u128::from(w_shoup)) >> 64) as u64;
        a.wrapping_mul(w).wrapping_sub(quotient.wrapping_mul(self.q))
    }

    /// Barrett's estimate for any x: (floor(x/q) or one less, modulo 2^64; the rest in [0, 2q)).
    ///
    /// With mu = floor(2^128/q), x/q - x*mu/2^128 = x/2^128 * (2^128/q - mu) < 1, so rounding down loses at most one.
    #[inline(always)]
    fn barrett(&self, x: u128) -> (u64, u64) {
        let (x_low, x_high) = (x as u64, (x >> 64) as u64);
        let (mu_low, mu_high) = self.ratio_128;
        let carry = (u128::from(x_low) * u128::from(mu_low)) >> 64;
        let middle = u128::from(x_low) * u128::from(mu_high) + carry;
        let other = u128::from(x_high) * u128::from(mu_low) + u128::from(middle as u64);
        let quotient = x_high
            .wrapping_mul(mu_high)
            .wrapping_add((middle >> 64) as u64)
            .wrapping_add((other >> 64) as u64);
        (quotient, x_low.wrapping_sub(quotient.wrapping_mul(self.q)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIMES: [u64; 8] =
        [3, 5, 12289, 67_104_769, 4_294_955_009, 1_125_899_906_826_241, (1 << 60) - 93, (1 << 61) - 1];

    fn any_modulus() -> impl Strategy<Value = Modulus> {
        prop::sample::select(PRIMES.to_vec()).prop_map(|q| Modulus::new(q).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn every_operation_agrees_with_u128_division(m in any_modulus(), x: u64, y: u64, wide: u128, s: i64) {
            let q = u128::from(m.value());
            let (a, b) = (x % m.value(), y % m.value());
            prop_assert_eq!(u128::from(m.add(a, b)), (u128::from(a) + u128::from(b)) % q);
            prop_assert_eq!(u128::from(m.sub(a, b)), (u128::from(a) + q - u128::from(b)) % q);
            prop_assert_eq!(m.add(a, m.neg(a)), 0);
            prop_assert_eq!(u128::from(m.mul(a, b)), u128::from(a) * u128::from(b) % q);
            prop_assert_eq!(m.reduce(x), x % m.value());
            prop_assert_eq!(u128::from(m.reduce_u128(wide)), wide % q);
            prop_assert_eq!(i128::from(m.from_i64(s)), i128::from(s).rem_euclid(q as i128));
            prop_assert_eq!(i128::from(m.from_i128(wide as i128)), (wide as i128).rem_euclid(q as i128));
            prop_assert_eq!(u128::from(m.mul_shoup(x, b, m.shoup(b))), u128::from(x) * u128::from(b) % q);
            prop_assert!(m.mul_shoup_lazy(x, b, m.shoup(b)) < 2 * m.value());
            let small = wide >> 64;
            prop_assert_eq!(u128::from(m.quotient_u128(small)), small / q);
            let centred = m.center(a);
            prop_assert_eq!(m.from_i64(centred), a);
            prop_assert!(2 * i128::from(centred) > -(q as i128) && 2 * i128::from(centred) <= q as i128);
            if a != 0 {
                prop_assert_eq!(m.mul(a, m.inv(a)), 1);
            }
        }
    }

    #[test]
    fn edges() {
        for q in PRIMES {
            let m = Modulus::new(q).unwrap();
            let wide = u128::from(q);
            for x in [0, 1, wide - 1, wide, wide + 1, 2 * wide - 1, wide * wide - 1, u128::MAX - 1, u128::MAX]
            {
                assert_eq!(u128::from(m.reduce_u128(x)), x % wide, "{x} mod {q}");
                if x < wide << 64 {
                    assert_eq!(u128::from(m.quotient_u128(x)), x / wide, "{x} / {q}");
                }
            }
            assert_eq!(m.center(q / 2), (q / 2) as i64);
            assert_eq!(m.center(q / 2 + 1), -((q / 2) as i64));
            assert_eq!((m.neg(0), m.inv(0), m.pow(0, 0)), (0, 0, 1));
            assert_eq!(i128::from(m.from_i128(i128::MIN)), i128::MIN.rem_euclid(i128::from(q)));
            assert_eq!(m.from_i64(i64::MIN), (i128::from(i64::MIN)).rem_euclid(i128::from(q)) as u64);
        }
    }

    #[test]
    fn only_odd_primes_in_range() {
        for q in [0, 1, 2, 1 << 61, u64::MAX, (1 << 61) + 15] {
            assert_eq!(Modulus::new(q), Err(HeError::ModulusRange { q }));
        }
        for q in [4, 9, 561, 3_215_031_751, (1 << 60) - 1] {
            assert_eq!(Modulus::new(q), Err(HeError::NotPrime { q }));
        }
    }
}
