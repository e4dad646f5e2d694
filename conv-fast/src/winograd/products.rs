//! The matrix products of the positions, over words or over digits.
//!
//! Both take `x[tile][channel]`, residues as [`super::input`] leaves them, and give `y[output block][tile][8]`, elements of the
//! ring, multiplied by the scale of the position. Over words ([`crate::wide`]) the scale is part of the product's own last
//! step. Over digits ([`crate::matmul`]) a position's columns are first written as digits, into a buffer small enough for
//! the nearest caches, and the results, still there, are scaled afterwards.
//!
//! Digits pay where transformed weights fit 16 bits: F(2×2, 3×3) with 12-bit weights, F(4×4, 3×3) and F(6×6, 3×3) with 8-bit
//! ones. They also need half the memory there. Longer weights take two parts and as many products as words do.

use super::Products;
use super::vector::{self, Close, Scale, Vector, Work};
use crate::kernel::{Kernel, Task};
use crate::lanes::{LANES, Signed};
use crate::matmul::{Buffer, PairMatrix};
use crate::wide::WideMatrix;
use crate::{ConvError, Ring};
use std::cell::Cell;

/// The product of one position.
pub(super) enum Matrix {
    Words(WideMatrix),
    Digits {
        matrix: PairMatrix,
        terms: usize,
        outputs: usize,
        /// None for the scale one.
        scale: Option<Scale>,
    },
}

thread_local! {
    /// Digits of one position's columns.
    static WORDS: Cell<Buffer> = Cell::default();
}

impl Matrix {
    /// Prepares `weight(output, term)` over `ring`.
    ///
    /// # Errors
    /// As [`WideMatrix::new`] and [`PairMatrix::new`].
    pub(super) fn new(
        ring: &Ring,
        kernel: Kernel,
        [outputs, terms]: [usize; 2],
        weight: &(dyn Fn(usize, usize) -> i64 + Sync),
        scale: u64,
        products: Products,
    ) -> Result<Self, ConvError> {
        Ok(match products {
            Products::Words => {
                let weight = |output, term| i128::from(weight(output, term));
                Self::Words(WideMatrix::new(ring, kernel, outputs, terms, &weight, scale)?)
            }
            Products::Digits => {
                let matrix =
                    PairMatrix::new(ring, kernel, outputs, terms, &|output, term| weight(output, term))?;
                Self::Digits { matrix, terms, outputs, scale: (scale != 1).then(|| Scale::new(ring, scale)) }
            }
        })
    }

    /// Words of a column of x.
    pub(super) fn stride(&self) -> usize {
        match self {
            Self::Words(matrix) => matrix.stride(),
            Self::Digits { terms, .. } => terms.next_multiple_of(LANES),
        }
    }

    /// Blocks of eight outputs.
    pub(super) fn blocks(&self) -> usize {
        match self {
            Self::Words(matrix) => matrix.blocks(),
            Self::Digits { outputs, .. } => outputs.div_ceil(LANES),
        }
    }

    /// Greatest number of bits that words of x may have.
    pub(super) fn input_bits(&self) -> u32 {
        match self {
            Self::Words(matrix) => matrix.input_bits(),
            Self::Digits { .. } => u64::BITS - 1,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Words(matrix) => matrix.bytes(),
            Self::Digits { matrix, .. } => matrix.bytes(),
        }
    }

    /// `y = scale·(W x)` for `tiles` columns.
    pub(super) fn multiply(&self, kernel: Kernel, close: Close, x: &[u64], tiles: usize, y: &mut [u64]) {
        let (matrix, scale) = match self {
            Self::Words(matrix) => return matrix.multiply(x, tiles, y),
            Self::Digits { matrix, scale, .. } => (matrix, scale),
        };
        let mut buffer = WORDS.take();
        let words = buffer.words(tiles * matrix.stride());
        match matrix.digits() {
            1 => kernel.run(Write::<1> { matrix, x, words }),
            2 => kernel.run(Write::<2> { matrix, x, words }),
            3 => kernel.run(Write::<3> { matrix, x, words }),
            _ => kernel.run(Write::<4> { matrix, x, words }),
        }
        matrix.multiply(words, tiles, y);
        WORDS.set(buffer);
        if let &Some(scale) = scale {
            vector::run(kernel, Times { y, scale, close });
        }
    }
}

/// Columns as digits; eight terms of a column follow each other in both.
struct Write<'a, const D: usize> {
    matrix: &'a PairMatrix,
    x: &'a [u64],
    words: &'a mut [i32],
}

impl<const D: usize> Task for Write<'_, D> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let values = self.x.as_chunks::<LANES>().0;
        for (values, words) in values.iter().zip(self.words.chunks_exact_mut(4 * D)) {
            let values: Signed = values.map(|value| value as i64);
            self.matrix.write::<D>(values, words);
        }
    }
}

/// Products with the scale.
struct Times<'a> {
    y: &'a mut [u64],
    scale: Scale,
    close: Close,
}

impl Work for Times<'_> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        for at in (0..self.y.len()).step_by(LANES) {
            V::load(self.y, at).scale(self.scale, self.close).store(self.y, at);
        }
    }
}
