//! The product of one matrix of signed weights with columns that its user writes: the pointwise products of transforms.

use super::panels::{Panels, Segments, Sums};
use crate::kernel::{Kernel, Task};
use crate::lanes::{LANES, Signed};
use crate::{ConvError, Ring};

/// Columns whose addresses are kept at a time.
const BATCH: usize = 48;

/// A prepared matrix, outputs × terms.
///
/// A column is [`PairMatrix::stride`] words, eight terms after eight, written by [`PairMatrix::write`] (terms that are missing
/// in the last eight may be anything: their weights are zero).
pub(crate) struct PairMatrix {
    panels: Panels,
    segments: Segments,
    outputs: usize,
    terms: usize,
}

impl PairMatrix {
    /// Prepares `weight(output, term)`.
    ///
    /// # Errors
    /// [`ConvError::TooLarge`] for weights beyond 2^36 or outputs with Σ|w| beyond 2^45; [`ConvError::Modulus`] for
    /// primes above 2^52.
    pub(crate) fn new(
        ring: &Ring,
        kernel: Kernel,
        outputs: usize,
        terms: usize,
        weight: &dyn Fn(usize, usize) -> i64,
    ) -> Result<Self, ConvError> {
        let pairs = terms.div_ceil(2);
        let weight = |_, output, term| if term < terms { weight(output, term) } else { 0 };
        let panels = Panels::new(ring, kernel, [1, outputs, pairs], &weight)?;
        let segments = panels.segments([(0, pairs)]);
        Ok(Self { panels, segments, outputs, terms })
    }

    /// Digits of a value, D.
    pub(crate) fn digits(&self) -> usize {
        self.panels.cut.digits
    }

    /// Words (i32) of one column: D for each pair of terms, terms padded to eight.
    pub(crate) fn stride(&self) -> usize {
        self.terms.div_ceil(LANES) * 4 * self.digits()
    }

    /// Bytes of the prepared weights.
    pub(crate) fn bytes(&self) -> usize {
        self.panels.bytes()
    }

    /// Writes eight terms, number 8·i to 8·i + 7 of a column, to `at`: 4·D words from word 4·D·i of the column on. Values
    /// are integers |x| < 2q (any in Z_2^k), as [`crate::lanes::LaneRing::lazy`] leaves them.
    ///
    /// To be inlined into a [`Task`] that runs on the matrix's kernel; D is [`PairMatrix::digits`].
    #[inline(always)]
    pub(crate) fn write<const D: usize>(&self, value: Signed, at: &mut [i32]) {
        self.panels.spread().lazy::<D>(self.panels.kernel(), &[value], at);
    }

    /// Multiplies `columns` columns, back to back in `words`, on this thread:
    /// `out[block of 8 outputs][column][8]`, elements of the ring (lanes beyond the last output are zero).
    ///
    /// # Panics
    /// If `words` is shorter than columns·stride or `out` than ⌈outputs/8⌉·columns·8.
    pub(crate) fn multiply(&self, words: &[i32], columns: usize, out: &mut [u64]) {
        let product = Product { matrix: self, words, columns, out };
        let kernel = self.panels.kernel();
        match (self.digits(), self.panels.is_prime()) {
            (1, true) => kernel.run(Digits::<1, true>(product)),
            (2, true) => kernel.run(Digits::<2, true>(product)),
            (3, true) => kernel.run(Digits::<3, true>(product)),
            (_, true) => kernel.run(Digits::<4, true>(product)),
            (1, false) => kernel.run(Digits::<1, false>(product)),
            (2, false) => kernel.run(Digits::<2, false>(product)),
            (3, false) => kernel.run(Digits::<3, false>(product)),
            (_, false) => kernel.run(Digits::<4, false>(product)),
        }
    }
}

struct Product<'a> {
    matrix: &'a PairMatrix,
    words: &'a [i32],
    columns: usize,
    out: &'a mut [u64],
}

struct Digits<'a, const D: usize, const PRIME: bool>(Product<'a>);

impl<const D: usize, const PRIME: bool> Task for Digits<'_, D, PRIME> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Product { matrix, words, columns, out } = self.0;
        let (panels, stride) = (&matrix.panels, matrix.stride());
        assert!(out.len() >= matrix.outputs.div_ceil(LANES) * columns * LANES, "output too short");
        let mut starts = [0; BATCH];
        let mut sums = Sums::new();
        for panel in 0..panels.count() {
            let out = &mut out[panel * panels.panel_outputs() / LANES * columns * LANES..];
            for first in (0..columns).step_by(BATCH) {
                let count = BATCH.min(columns - first);
                for (at, start) in starts.iter_mut().enumerate().take(count) {
                    *start = (first + at) * stride;
                }
                let out = (&mut out[first * LANES..], columns);
                panels.columns::<D, PRIME>(
                    [0, panel],
                    (words, &matrix.segments),
                    &starts[..count],
                    out,
                    &mut sums,
                );
            }
        }
    }
}
