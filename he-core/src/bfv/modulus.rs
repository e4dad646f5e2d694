//! Arithmetic modulo the plaintext modulus t: any number from 2 to 2^60, prime or not.
//!
//! [`crate::Modulus`] is for primes; here powers of two and composite numbers serve as well, so there are no inverses and
//! no roots. The arithmetic is the same.
//!
//! | name | range |
//! |---|---|
//! | residue | [0, t) |
//! | centred | (-t/2, t/2], so t/2 itself is positive when t is even |
//! | Shoup quotient of w | floor(w 2^64 / t) |
//!
//! Messages are secret: nothing here but the construction and [`PlainModulus::shoup`] takes a time that depends on values.

use crate::error::HeError;
use crate::modulus::Modulus;

/// The largest plaintext modulus, 2^60.
pub const MOST: u64 = 1 << 60;

/// A plaintext modulus t, 2 <= t <= 2^60. `Copy`; two are equal when t is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PlainModulus(Modulus);

impl core::fmt::Debug for PlainModulus {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PlainModulus({})", self.value())
    }
}

impl PlainModulus {
    /// A checked plaintext modulus.
    ///
    /// # Errors
    /// [`HeError::PlainModulus`] unless 2 <= t <= 2^60.
    pub fn new(t: u64) -> Result<Self, HeError> {
        if !(2..=MOST).contains(&t) {
            return Err(HeError::PlainModulus { t });
        }
        Ok(Self(Modulus::of_any(t)))
    }

    /// The number t.
    #[inline(always)]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.value()
    }

    /// a + b for residues.
    #[inline(always)]
    #[must_use]
    pub fn add(&self, a: u64, b: u64) -> u64 {
        self.0.add(a, b)
    }

    /// a - b for residues.
    #[inline(always)]
    #[must_use]
    pub fn sub(&self, a: u64, b: u64) -> u64 {
        self.0.sub(a, b)
    }

    /// -a for a residue; the negative of 0 is 0.
    #[inline(always)]
    #[must_use]
    pub fn neg(&self, a: u64) -> u64 {
        self.0.neg(a)
    }

    /// a * b for residues.
    #[inline(always)]
    #[must_use]
    pub fn mul(&self, a: u64, b: u64) -> u64 {
        self.0.mul(a, b)
    }

    /// x mod t for any double word.
    #[inline(always)]
    #[must_use]
    pub fn reduce_u128(&self, x: u128) -> u64 {
        self.0.reduce_u128(x)
    }

    /// x mod t in [0, t) for any signed word.
    #[inline(always)]
    #[must_use]
    pub fn from_i64(&self, x: i64) -> u64 {
        self.0.from_i64(x)
    }

    /// The representative of a residue in (-t/2, t/2].
    #[inline(always)]
    #[must_use]
    pub fn center(&self, a: u64) -> i64 {
        self.0.center(a)
    }

    /// The Shoup quotient floor(w 2^64 / t) of a public residue w (by a division).
    #[inline(always)]
    #[must_use]
    pub fn shoup(&self, w: u64) -> u64 {
        self.0.shoup(w)
    }

    /// a * w for any word a and a residue w with `w_shoup = shoup(w)`.
    #[inline(always)]
    #[must_use]
    pub fn mul_shoup(&self, a: u64, w: u64, w_shoup: u64) -> u64 {
        self.0.mul_shoup(a, w, w_shoup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODULI: [u64; 10] =
        [2, 3, 4, 255, 65536, 65537, 1 << 32, (1 << 59) + 12_345, (1 << 60) - 93, 1 << 60];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn every_operation_agrees_with_division(t in prop::sample::select(MODULI.to_vec()), x: u64, y: u64, wide: u128) {
            let m = PlainModulus::new(t).unwrap();
            let big = u128::from(t);
            for (x, wide) in [(x, wide), (u64::MAX, u128::MAX), (t, big << 64), (t - 1, (big << 64) - 1), (0, big)] {
                let (a, b) = (x % t, y % t);
                prop_assert_eq!(u128::from(m.add(a, b)), (u128::from(a) + u128::from(b)) % big);
                prop_assert_eq!(u128::from(m.sub(a, b)), (u128::from(a) + big - u128::from(b)) % big);
                prop_assert_eq!(m.add(a, m.neg(a)), 0);
                prop_assert_eq!(u128::from(m.mul(a, b)), u128::from(a) * u128::from(b) % big);
                prop_assert_eq!(u128::from(m.reduce_u128(wide)), wide % big);
                prop_assert_eq!(i128::from(m.from_i64(x as i64)), i128::from(x as i64).rem_euclid(i128::from(t)));
                prop_assert_eq!(u128::from(m.mul_shoup(x, b, m.shoup(b))), u128::from(x) * u128::from(b) % big);
                let centred = m.center(a);
                prop_assert_eq!(m.from_i64(centred), a);
                prop_assert!(2 * i128::from(centred) > -i128::from(t) && 2 * i128::from(centred) <= i128::from(t));
            }
        }
    }

    #[test]
    fn the_range() {
        for t in [0, 1, (1 << 60) + 1, u64::MAX] {
            assert_eq!(PlainModulus::new(t), Err(HeError::PlainModulus { t }));
        }
        assert_eq!(PlainModulus::new(6).unwrap().center(3), 3);
        assert_eq!(format!("{:?}", PlainModulus::new(6).unwrap()), "PlainModulus(6)");
    }
}
