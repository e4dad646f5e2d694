//! The exact modular matrix product as an operation of its own.

use super::Panels;
use crate::im2col::{View, convolve, pack};
use crate::{ConvError, Kernel, Ring};
use he_core::Modulus;
use std::fmt;

/// A prepared matrix of signed 32-bit weights, rows × terms, that multiplies matrices of residues: a 1×1 convolution of
/// `terms` to `rows` channels, with the columns as pixels.
pub struct SmallMatrix {
    panels: Panels,
    rows: usize,
    terms: usize,
}

impl fmt::Debug for SmallMatrix {
    /// Prints the shape only: weights are the server's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmallMatrix({}×{}, {:?})", self.rows, self.terms, self.panels.kernel())
    }
}

impl SmallMatrix {
    /// Prepares `weights`, row-major, with the machine's best kernel. The ring is Z_q with q < 2^52 or any Z_2^k.
    ///
    /// # Errors
    /// [`ConvError::Zero`], [`ConvError::Length`] unless there are rows·terms weights, [`ConvError::Modulus`], and
    /// [`ConvError::TooLarge`] if the weights of a row sum to more than 2^45.
    pub fn new(rows: usize, terms: usize, weights: &[i32], ring: impl Into<Ring>) -> Result<Self, ConvError> {
        Self::with_kernel(rows, terms, weights, ring, Kernel::best())
    }

    /// As [`SmallMatrix::new`] with a kernel out of [`Kernel::available`] (products with another one panic).
    ///
    /// # Errors
    /// As [`SmallMatrix::new`].
    pub fn with_kernel(
        rows: usize,
        terms: usize,
        weights: &[i32],
        ring: impl Into<Ring>,
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        if rows == 0 || terms == 0 {
            return Err(ConvError::Zero { what: "rows and terms of a matrix" });
        }
        let expected = rows.saturating_mul(terms);
        if weights.len() != expected {
            return Err(ConvError::Length { what: "weight matrix", expected, got: weights.len() });
        }
        let weight = |index: usize| i64::from(weights[index]);
        let panels = pack(&View::matrix([rows, terms], 1), &ring.into(), terms, &weight, kernel)?;
        Ok(Self { panels, rows, terms })
    }

    /// The product with `values`, terms × columns row-major, elements of the ring: rows × columns elements, row-major.
    ///
    /// # Panics
    /// If `values` does not hold terms·columns elements.
    pub fn multiply(&self, values: &[u64], columns: usize) -> Vec<u64> {
        assert_eq!(Some(values.len()), self.terms.checked_mul(columns), "number of values");
        let view = View::matrix([self.rows, self.terms], columns.max(1)).spaced(self.panels.cut.digits);
        let mut output = vec![0; self.rows * columns];
        convolve(&view, &self.panels, values, usize::from(columns > 0), &mut output);
        output
    }
}

/// The slow twin of [`SmallMatrix::multiply`]: three loops, one reduction per product.
pub fn multiply_slow(
    rows: usize,
    terms: usize,
    weights: &[i32],
    modulus: &Modulus,
    values: &[u64],
) -> Vec<u64> {
    let columns = values.len() / terms.max(1);
    let mut output = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            output.push((0..terms).fold(0, |sum, term| {
                let weight = modulus.from_i64(i64::from(weights[row * terms + term]));
                modulus.add(sum, modulus.mul(weight, values[term * columns + column]))
            }));
        }
    }
    output
}
