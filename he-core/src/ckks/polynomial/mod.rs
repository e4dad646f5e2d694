//! Polynomials of an encrypted number, slot by slot, at the least depth.
//!
//! | room | what |
//! |---|---|
//! | [`Polynomial`] | coefficients in either basis; its value in the clear; interpolation of a function |
//! | [`PolynomialPlan`] | how to evaluate it: which powers, which products |
//! | [`Params::evaluate_polynomial`](super::Params::evaluate_polynomial) | the same on a ciphertext |
//!
//! A polynomial of degree d takes ceil(log2(d + 1)) primes, one more when a Chebyshev interval is not two wide. The
//! Chebyshev basis keeps coefficients and powers near one in size and is the one to use above degree 5 or so: monomial
//! coefficients of a good approximation grow exponentially and cancel.

mod evaluate;
mod plan;

pub use plan::PolynomialPlan;

use crate::error::HeError;

/// What the coefficients belong to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Basis {
    /// c_i x^i.
    Monomial,
    /// c_i T_i(y), y = (2 x - low - high) / (high - low): x in low..high makes y in -1..1.
    Chebyshev {
        /// The lower end of the interval.
        low: f64,
        /// The upper end.
        high: f64,
    },
}

/// A real polynomial in one variable.
#[derive(Debug, Clone, PartialEq)]
pub struct Polynomial {
    basis: Basis,
    coefficients: Vec<f64>,
}

impl Polynomial {
    /// sum of c_i x^i.
    ///
    /// # Errors
    /// [`HeError::Count`] unless there are 1 to 2^16 coefficients, [`HeError::NotFinite`].
    pub fn monomial(coefficients: Vec<f64>) -> Result<Self, HeError> {
        Self::checked(Basis::Monomial, coefficients)
    }

    /// sum of c_i T_i(y) for x in low..high.
    ///
    /// # Errors
    /// As [`Polynomial::monomial`], and [`HeError::Interval`] unless low < high and both are finite.
    pub fn chebyshev(coefficients: Vec<f64>, low: f64, high: f64) -> Result<Self, HeError> {
        if !(low < high && (high - low).is_finite()) {
            return Err(HeError::Interval { low, high });
        }
        Self::checked(Basis::Chebyshev { low, high }, coefficients)
    }

    /// The polynomial of this degree that equals f at the d + 1 Chebyshev nodes of the interval: close to the best
    /// one (L. N. Trefethen, *Approximation theory and approximation practice*, theorem 16.1, within a factor 2 +
    /// (2/pi) ln(d + 1)).
    ///
    /// # Errors
    /// As [`Polynomial::chebyshev`], among others when f is not finite at a node.
    pub fn interpolate(f: impl Fn(f64) -> f64, degree: usize, low: f64, high: f64) -> Result<Self, HeError> {
        let count = degree + 1;
        // cos(pi k / 2 count) for all k that occur: angles are reduced before the cosine is taken.
        let cosine = |k: usize| (core::f64::consts::PI * (k % (4 * count)) as f64 / (2 * count) as f64).cos();
        let middle = (low + high) / 2.0;
        let values: Vec<f64> =
            (0..count).map(|k| f(middle + (high - low) / 2.0 * cosine(2 * k + 1))).collect();
        let coefficient = |j: usize| {
            let sum: f64 = values.iter().enumerate().map(|(k, value)| value * cosine(j * (2 * k + 1))).sum();
            sum * if j == 0 { 1.0 } else { 2.0 } / count as f64
        };
        Self::chebyshev((0..count).map(coefficient).collect(), low, high)
    }

    fn checked(basis: Basis, coefficients: Vec<f64>) -> Result<Self, HeError> {
        if !(1..=1 << 16).contains(&coefficients.len()) {
            let (found, most) = (coefficients.len(), 1 << 16);
            return Err(HeError::Count { what: "coefficients of a polynomial", found, least: 1, most });
        }
        if let Some(index) = coefficients.iter().position(|c| !c.is_finite()) {
            return Err(HeError::NotFinite { what: "a coefficient of a polynomial", index });
        }
        Ok(Self { basis, coefficients })
    }

    /// The basis.
    #[must_use]
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// The coefficients, constant first.
    #[must_use]
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// The place of the last coefficient that is not zero; 0 for the zero polynomial.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.coefficients.iter().rposition(|&c| c != 0.0).unwrap_or(0)
    }

    /// The primes that evaluation takes: ceil(log2(degree + 1)), and one for an interval that is not two wide.
    #[must_use]
    pub fn depth(&self) -> usize {
        ceil_log2(self.degree() + 1) + usize::from(self.width() != 2.0)
    }

    /// high - low, 2 in the monomial basis.
    fn width(&self) -> f64 {
        match self.basis {
            Basis::Monomial => 2.0,
            Basis::Chebyshev { low, high } => high - low,
        }
    }

    /// What the powers are powers of: x itself, or y for an x of the interval.
    fn variable(&self, x: f64) -> f64 {
        match self.basis {
            Basis::Monomial => x,
            Basis::Chebyshev { low, high } => (2.0 * x - low - high) / (high - low),
        }
    }

    /// The value in the clear, by the rules of Horner and Clenshaw.
    #[must_use]
    pub fn value(&self, x: f64) -> f64 {
        let y = self.variable(x);
        match self.basis {
            Basis::Monomial => self.coefficients.iter().rev().fold(0.0, |sum, c| sum * y + c),
            Basis::Chebyshev { .. } => {
                let (mut b1, mut b2) = (0.0, 0.0);
                for c in self.coefficients[1..].iter().rev() {
                    (b1, b2) = (c + 2.0 * y * b1 - b2, b1);
                }
                self.coefficients[0] + y * b1 - b2
            }
        }
    }
}

/// ceil(log2 x) for x >= 1.
fn ceil_log2(x: usize) -> usize {
    x.next_power_of_two().trailing_zeros() as usize
}

#[cfg(test)]
mod tests;
