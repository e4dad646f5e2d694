//! How precise an answer is: errors of slots, in bits.
//!
//! The precision of one part of one slot is -log2 |found - expected|, in bits after the binary point, cut off at
//! [`MOST_BITS`] where the two agree to the last bit. [`PrecisionReport`] has the least, the median and the most over
//! all slots, for real and imaginary parts. The report needs the expected values and the raw decoding, so it is a
//! tool of the key's owner.

use core::fmt;

use super::complex::Complex;
use crate::error::HeError;

/// Precisions are reported up to this many bits.
pub const MOST_BITS: f64 = 60.0;

/// Bits after the binary point over all slots.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bits {
    /// Of the worst slot.
    pub min: f64,
    /// Of the slot in the middle.
    pub median: f64,
    /// Of the best slot.
    pub max: f64,
}

/// The precision of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrecisionReport {
    /// Of the real parts.
    pub re: Bits,
    /// Of the imaginary parts.
    pub im: Bits,
    /// The largest |found - expected| over all slots.
    pub worst_error: f64,
    /// The square root of the mean of |found - expected|^2.
    pub mean_square_error: f64,
}

impl PrecisionReport {
    /// Compares an answer with what was expected, slot by slot.
    ///
    /// # Errors
    /// [`HeError::Length`] when the two have different lengths, [`HeError::Count`] when they are empty.
    pub fn new(expected: &[Complex], found: &[Complex]) -> Result<Self, HeError> {
        if expected.len() != found.len() {
            let (expected, found) = (expected.len(), found.len());
            return Err(HeError::Length { what: "slots to compare", expected, found });
        }
        if expected.is_empty() {
            return Err(HeError::Count { what: "slots to compare", found: 0, least: 1, most: usize::MAX });
        }
        let errors: Vec<Complex> = expected.iter().zip(found).map(|(&a, &b)| b - a).collect();
        let sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
        let mean = sizes.iter().map(|size| size * size).sum::<f64>() / sizes.len() as f64;
        Ok(Self {
            re: Bits::of(errors.iter().map(|error| error.re)),
            im: Bits::of(errors.iter().map(|error| error.im)),
            worst_error: sizes.iter().copied().fold(0.0, f64::max),
            mean_square_error: mean.sqrt(),
        })
    }
}

impl Bits {
    fn of(errors: impl Iterator<Item = f64>) -> Self {
        let mut bits: Vec<f64> = errors.map(|error| (-error.abs().log2()).min(MOST_BITS)).collect();
        bits.sort_by(f64::total_cmp);
        Self { min: bits[0], median: bits[bits.len() / 2], max: bits[bits.len() - 1] }
    }
}

impl fmt::Display for PrecisionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut part = |name: &str, bits: &Bits| {
            write!(f, "{name} {:.1} / {:.1} / {:.1} bits", bits.min, bits.median, bits.max)
        };
        part("real (least / median / most)", &self.re)?;
        part(", imaginary", &self.im)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_known_errors() {
        let expected = [Complex::ZERO, Complex::ONE, Complex::I, Complex::new(2.0, -1.0)];
        let mut found = expected;
        found[1].re += 0.125;
        found[2].re -= 0.5;
        found[3] = found[3] + Complex::new(0.03125, 4.0);
        let report = PrecisionReport::new(&expected, &found).unwrap();
        assert_eq!(report.re, Bits { min: 1.0, median: 5.0, max: MOST_BITS });
        assert_eq!(report.im, Bits { min: -2.0, median: MOST_BITS, max: MOST_BITS });
        assert_eq!(report.worst_error, 4.0_f64.hypot(0.03125));
        let mean: f64 = 0.125 * 0.125 + 0.25 + 16.0 + 0.03125 * 0.03125;
        assert_eq!(report.mean_square_error, (mean / 4.0).sqrt());
        assert_eq!(
            report.to_string(),
            "real (least / median / most) 1.0 / 5.0 / 60.0 bits, imaginary -2.0 / 60.0 / 60.0 bits"
        );
        assert!(PrecisionReport::new(&expected, &found[1..]).is_err());
        assert!(PrecisionReport::new(&[], &[]).is_err());
    }
}
