//! Complex numbers in double precision, as far as slots need them.
//!
//! | operation | rounding |
//! |---|---|
//! | sum, difference, negative, conjugate | one per part |
//! | product | the textbook formula: two products and one sum per part, each rounded; no fused multiply-add |
//! | [`Complex::abs`] | `hypot`: no overflow in between |
//!
//! The product does without fused operations on purpose: the same inputs give the same bits on every machine. No NaN is
//! caught here; encoding refuses them.

use core::ops::{Add, Mul, Neg, Sub};

use zeroize::Zeroize;

/// A complex number: `re + im * i`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Zeroize)]
pub struct Complex {
    /// The real part.
    pub re: f64,
    /// The imaginary part.
    pub im: f64,
}

impl Complex {
    /// 0.
    pub const ZERO: Self = Self::new(0.0, 0.0);
    /// 1.
    pub const ONE: Self = Self::new(1.0, 0.0);
    /// The imaginary unit.
    pub const I: Self = Self::new(0.0, 1.0);

    /// `re + im * i`.
    #[inline]
    #[must_use]
    pub const fn new(re: f64, im: f64) -> Self {
        Self { re, im }
    }

    /// The conjugate `re - im * i`.
    #[inline]
    #[must_use]
    pub fn conj(self) -> Self {
        Self::new(self.re, -self.im)
    }

    /// The modulus.
    #[inline]
    #[must_use]
    pub fn abs(self) -> f64 {
        self.re.hypot(self.im)
    }

    /// The number times a real factor.
    #[inline]
    #[must_use]
    pub fn scale(self, factor: f64) -> Self {
        Self::new(self.re * factor, self.im * factor)
    }

    /// Whether both parts are finite.
    #[inline]
    #[must_use]
    pub fn is_finite(self) -> bool {
        self.re.is_finite() && self.im.is_finite()
    }
}

impl From<f64> for Complex {
    #[inline]
    fn from(re: f64) -> Self {
        Self::new(re, 0.0)
    }
}

impl Add for Complex {
    type Output = Self;
    #[inline]
    fn add(self, other: Self) -> Self {
        Self::new(self.re + other.re, self.im + other.im)
    }
}

impl Sub for Complex {
    type Output = Self;
    #[inline]
    fn sub(self, other: Self) -> Self {
        Self::new(self.re - other.re, self.im - other.im)
    }
}

impl Neg for Complex {
    type Output = Self;
    #[inline]
    fn neg(self) -> Self {
        Self::new(-self.re, -self.im)
    }
}

impl Mul for Complex {
    type Output = Self;
    #[inline]
    fn mul(self, other: Self) -> Self {
        Self::new(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)
    }
}

impl core::iter::Sum for Complex {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        terms.fold(Self::ZERO, |sum, term| sum + term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_laws_on_small_integers_are_exact() {
        let numbers: Vec<_> = (-3..4)
            .flat_map(|re| (-3..4).map(move |im| Complex::new(f64::from(re), f64::from(im))))
            .collect();
        for &a in &numbers {
            assert_eq!(a * Complex::ONE, a);
            assert_eq!(a + -a, Complex::ZERO);
            assert_eq!((a * a.conj()).re, a.re * a.re + a.im * a.im);
            assert_eq!(a * Complex::I, Complex::new(-a.im, a.re));
            for &b in &numbers {
                assert_eq!(a * b, b * a);
                assert_eq!(a - b, -(b - a));
                assert_eq!((a * b).conj(), a.conj() * b.conj());
                for &c in &numbers {
                    assert_eq!(a * (b + c), a * b + a * c);
                }
            }
        }
        assert_eq!(Complex::new(3.0, -4.0).abs(), 5.0);
        assert_eq!(numbers.iter().copied().sum::<Complex>(), Complex::ZERO);
        assert!(!Complex::new(0.0, f64::NAN).is_finite() && !Complex::new(f64::INFINITY, 0.0).is_finite());
    }
}
