//! The exact modular matrix product as an operation of its own.

use super::{Columns, Digits, LANES, Rows, TILE_ROWS, Totals};
use crate::Kernel;
use crate::ConvError;
use he_core::Modulus;
use rayon::prelude::*;
use std::fmt;

/// A prepared matrix of signed 32-bit weights, rows × terms, that multiplies matrices of residues.
#[derive(Clone)]
pub struct SmallMatrix {
    packed: Rows,
    terms: usize,
    digits: Digits,
    kernel: Kernel,
}

impl fmt::Debug for SmallMatrix {
    /// Prints the shape only: weights are the server's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmallMatrix({}×{}, {:?})", self.packed.outputs, self.terms, self.kernel)
    }
}

impl SmallMatrix {
    /// Prepares `weights`, row-major, for products modulo q < 2^52 with the machine's best kernel.
    ///
    /// # Errors
    /// [`ConvError::Zero`], [`ConvError::Length`] unless there are rows·terms weights, [`ConvError::Modulus`].
    pub fn new(rows: usize, terms: usize, weights: &[i32], modulus: Modulus) -> Result<Self, ConvError> {
        Self::with_kernel(rows, terms, weights, modulus, Kernel::best())
    }

    /// As [`SmallMatrix::new`] with a kernel out of [`Kernel::available`] (products with another one panic).
    ///
    /// # Errors
    /// As [`SmallMatrix::new`].
    pub fn with_kernel(
        rows: usize,
        terms: usize,
        weights: &[i32],
        modulus: Modulus,
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        if rows == 0 || terms == 0 {
            return Err(ConvError::Zero { what: "rows and terms of a matrix" });
        }
        let expected = rows.saturating_mul(terms);
        if weights.len() != expected {
            return Err(ConvError::Length { what: "weight matrix", expected, got: weights.len() });
        }
        let weight = |row: usize, term: usize| {
            if term < terms { i64::from(weights[row * terms + term]) } else { 0 }
        };
        let packed = Rows::new(rows, terms.div_ceil(2), weight)?;
        Ok(Self { packed, terms, digits: Digits::new(modulus)?, kernel })
    }

    /// The product with `values`, terms × columns row-major, each below q: rows × columns residues, row-major.
    ///
    /// # Panics
    /// If `values` does not hold terms·columns elements.
    pub fn multiply(&self, values: &[u64], columns: usize) -> Vec<u64> {
        assert_eq!(values.len(), self.terms * columns, "number of values");
        if columns == 0 {
            return Vec::new();
        }
        let stride = columns.next_multiple_of(LANES);
        let size = self.digits.count * stride;
        let mut words = vec![0; self.packed.pairs * size];
        words.par_chunks_mut(size).zip(values.par_chunks(2 * columns)).for_each(|(words, pair)| {
            for (half, row) in pair.chunks(columns).enumerate() {
                for (column, &value) in row.iter().enumerate() {
                    self.digits.write(value, words, column, stride, half);
                }
            }
        });
        let offsets: Vec<usize> = (0..self.packed.pairs).map(|pair| pair * size).collect();
        let right = Columns::new(&words, &offsets, stride, self.digits.count);
        let parts = self.packed.parts;
        let mut output = vec![0; self.packed.outputs * columns];
        output.par_chunks_mut(self.packed.outputs_per_group() * columns).enumerate().for_each(
            |(group, output)| {
                let mut totals: Vec<Totals> =
                    vec![[[[0; LANES]; 2]; TILE_ROWS]; self.packed.tiles_per_group()];
                for start in (0..columns).step_by(LANES) {
                    self.packed.panel(self.kernel, group, &right, start, &mut totals);
                    let rows = totals.as_flattened();
                    for (row, output) in output.chunks_exact_mut(columns).enumerate() {
                        for (lane, value) in output[start..].iter_mut().take(LANES).enumerate() {
                            *value = self.digits.reduce(&rows[row * parts..][..parts], lane);
                        }
                    }
                }
            },
        );
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
