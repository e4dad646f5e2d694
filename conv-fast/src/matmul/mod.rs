//! Exact products of small signed weights and residues: the multiply-add kernel behind every fast algorithm here.
//!
//! # Digits
//!
//! No instruction multiplies a 12-bit weight by a 50-bit residue and sums exactly. So a residue is centred to
//! (−q/2, q/2] and written in D = ⌈log₂(q)/13⌉ signed digits of 13 bits,
//!
//! ```text
//! x = Σ_d x_d · 2^(13 d),    |x_d| ≤ 2^12 + 1
//! ```
//!
//! and weights and digits meet in the one instruction that all machines are good at: 16 × 16 → 32 bits, two neighbouring
//! products summed (`vpdpwssd`, `vpmaddwd`). Two consecutive terms of a sum form a *pair*, one 32-bit word. Weights beyond
//! ±2^13 are split into 2 or 3 signed digits of 11 bits (the top one takes the rest), which become rows of their own.
//!
//! | quantity | bound |
//! |---|---|
//! | sum of a block of terms, per digit | < 2^31: the block length follows from the greatest weight digit |
//! | low (digits 0, 1) and high (digits 2, 3) totals, i64 | < 2^45 per block, hence 2^18 blocks |
//! | result before the one reduction, i128 | < 2^117 |
//!
//! # Layout
//!
//! The product is C = A·B with A of signed weights, packed by `Rows` in tiles of `TILE_ROWS` rows, and B of pairs of
//! digits. B is never gathered: the kernel reads, for pair k and digit d, the `LANES` words from
//! `start + offsets[k] + d·digit_stride` on. A plain matrix and the shifted images of a convolution are both of this form.
//!
//! One kernel is chosen at run time ([`crate::Kernel::best`]); [`crate::Kernel::Portable`] is the twin the others are tested against.
//! Run time depends on shapes and on the greatest weight only.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
mod product;

pub use product::{SmallMatrix, multiply_slow};

use crate::{ConvError, Kernel};
use he_core::Modulus;

/// Columns that one kernel call computes.
pub(crate) const LANES: usize = 16;
/// Rows that one kernel call computes.
pub(crate) const TILE_ROWS: usize = 4;
const DIGIT_BITS: u32 = 13;
const WEIGHT_DIGIT_BITS: u32 = 11;
/// Greatest modulus: four digits.
const MAX_BITS: u32 = 52;

/// Low and high totals of one tile: `[row][low or high][lane]`.
pub(crate) type Totals = [[[i64; LANES]; 2]; TILE_ROWS];

/// Residues as digits: how many, and the way there and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digits {
    modulus: Modulus,
    pub(crate) count: usize,
    /// A multiple of q above every |sum|, so that sums become non-negative without a branch.
    offset: u128,
}

impl Digits {
    pub(crate) fn new(modulus: Modulus) -> Result<Self, ConvError> {
        if modulus.bits() > MAX_BITS {
            return Err(ConvError::Modulus { modulus: modulus.value(), wanted: "below 2^52" });
        }
        let count = modulus.bits().div_ceil(DIGIT_BITS) as usize;
        let offset = u128::from(modulus.value()) << (120 - modulus.bits());
        Ok(Self { modulus, count, offset })
    }

    /// Writes the digits of `value` < q into half `half` (0 or 1) of the words at `at`, `at + stride`, ….
    #[inline(always)]
    pub(crate) fn write(&self, value: u64, words: &mut [i32], at: usize, stride: usize, half: usize) {
        self.write_signed(self.modulus.center(value), words, at, stride, half);
    }

    /// As [`Digits::write`] for a value in (−q/2, q/2].
    #[inline(always)]
    pub(crate) fn write_signed(&self, value: i64, words: &mut [i32], at: usize, stride: usize, half: usize) {
        let mut rest = value;
        for d in 0..self.count {
            let digit = if d + 1 == self.count { rest } else { low_digit(rest, DIGIT_BITS) };
            rest = (rest - digit) >> DIGIT_BITS;
            words[at + d * stride] |= ((digit as i32) & 0xffff) << (16 * half);
        }
    }

    /// The residue of one column of a tile: weight digits `rows` (low first), lane `lane`.
    #[inline(always)]
    pub(crate) fn reduce(&self, rows: &[[[i64; LANES]; 2]], lane: usize) -> u64 {
        let mut sum = 0i128;
        for (e, [low, high]) in rows.iter().enumerate() {
            let value = i128::from(low[lane]) + (i128::from(high[lane]) << (2 * DIGIT_BITS));
            sum += value << (e as u32 * WEIGHT_DIGIT_BITS);
        }
        self.modulus.reduce_u128(self.offset.wrapping_add(sum as u128))
    }
}

/// The packed left factor: weight digits in tiles of rows.
///
/// Output row r has `parts` rows, its weight digits, low first; a group of [`Rows::outputs_per_group`] output rows fills
/// whole tiles. Within a tile: for each pair of terms, [`TILE_ROWS`] words.
#[derive(Clone)]
pub(crate) struct Rows {
    words: Vec<i32>,
    pub(crate) parts: usize,
    pub(crate) pairs: usize,
    block: usize,
    pub(crate) outputs: usize,
}

impl Rows {
    /// Packs `outputs` rows of `2·pairs` terms, `weight(row, term)` each.
    ///
    /// # Errors
    /// [`ConvError::TooLarge`] for a weight beyond 2^36.
    pub(crate) fn new(
        outputs: usize,
        pairs: usize,
        weight: impl Fn(usize, usize) -> i64,
    ) -> Result<Self, ConvError> {
        let greatest = (0..outputs)
            .flat_map(|row| (0..2 * pairs).map(move |term| (row, term)))
            .fold(0, |max, (row, term)| weight(row, term).unsigned_abs().max(max));
        let parts = match greatest {
            0..=0x2000 => 1,
            0x2001..=0x10_0000 => 2,
            _ => 3,
        };
        if greatest > 1 << 36 {
            return Err(ConvError::TooLarge {
                what: "a transformed weight",
                value: greatest,
                limit: 1 << 36,
            });
        }
        // Low digits are at most 2^10; the top one takes what is left, 2^14 + 1 at most.
        let top = (greatest >> (WEIGHT_DIGIT_BITS * (parts as u32 - 1))) + 1;
        let greatest_digit = if parts == 1 { greatest.max(1) } else { top.max(1 << (WEIGHT_DIGIT_BITS - 1)) };
        let terms = ((1u64 << 31) - 1) / (greatest_digit * ((1 << (DIGIT_BITS - 1)) + 1));
        let block = (terms / 2).max(1) as usize;
        let mut packed = Self { words: Vec::new(), parts, pairs, block, outputs };
        let tiles = outputs.div_ceil(packed.outputs_per_group()) * packed.tiles_per_group();
        packed.words = vec![0; tiles * pairs * TILE_ROWS];
        for output in 0..outputs {
            for term in 0..2 * pairs {
                let mut rest = weight(output, term);
                for part in 0..parts {
                    let digit = if part + 1 == parts { rest } else { low_digit(rest, WEIGHT_DIGIT_BITS) };
                    rest = (rest - digit) >> WEIGHT_DIGIT_BITS;
                    let row = output * parts + part;
                    let word = (row / TILE_ROWS * pairs + term / 2) * TILE_ROWS + row % TILE_ROWS;
                    packed.words[word] |= ((digit as i32) & 0xffff) << (16 * (term % 2));
                }
            }
        }
        Ok(packed)
    }

    /// Output rows that fill whole tiles together.
    pub(crate) fn outputs_per_group(&self) -> usize {
        match self.parts {
            1 => 16,
            2 => 8,
            _ => 4,
        }
    }

    pub(crate) fn tiles_per_group(&self) -> usize {
        self.outputs_per_group() * self.parts / TILE_ROWS
    }

    /// Computes the tiles of one group of output rows at one panel of columns; `totals` is overwritten.
    pub(crate) fn panel(
        &self,
        kernel: Kernel,
        group: usize,
        columns: &Columns<'_>,
        start: usize,
        totals: &mut [Totals],
    ) {
        let first = group * self.tiles_per_group();
        let size = self.pairs * TILE_ROWS;
        for (tile, totals) in totals.iter_mut().enumerate() {
            let weights = &self.words[(first + tile) * size..][..size];
            *totals = [[[0; LANES]; 2]; TILE_ROWS];
            columns.accumulate(kernel, weights, start, self.block, totals);
        }
    }
}

/// The right factor: digit pairs, and where each pair of terms starts.
pub(crate) struct Columns<'a> {
    words: &'a [i32],
    offsets: &'a [usize],
    digit_stride: usize,
    digits: usize,
    reach: usize,
}

impl<'a> Columns<'a> {
    pub(crate) fn new(words: &'a [i32], offsets: &'a [usize], digit_stride: usize, digits: usize) -> Self {
        assert!((1..=4).contains(&digits), "one to four digits");
        let reach = offsets.iter().max().map_or(0, |most| most + (digits - 1) * digit_stride + LANES);
        Self { words, offsets, digit_stride, digits, reach }
    }

    /// Adds the products of one tile of weights with the panel at `start` to the totals.
    fn accumulate(&self, kernel: Kernel, weights: &[i32], start: usize, block: usize, totals: &mut Totals) {
        match self.digits {
            1 => self.dispatch::<1>(kernel, weights, start, block, totals),
            2 => self.dispatch::<2>(kernel, weights, start, block, totals),
            3 => self.dispatch::<3>(kernel, weights, start, block, totals),
            _ => self.dispatch::<4>(kernel, weights, start, block, totals),
        }
    }

    fn dispatch<const D: usize>(
        &self,
        kernel: Kernel,
        weights: &[i32],
        start: usize,
        block: usize,
        totals: &mut Totals,
    ) {
        let panel = self.panel(weights, start);
        match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => avx2::run::<D>(&panel, block, totals),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => avx512::run::<D>(&panel, block, totals),
            _ => portable::accumulate::<D>(&panel, block, totals),
        }
    }

    fn panel<'b>(&'b self, weights: &'b [i32], start: usize) -> Panel<'b> {
        assert_eq!(weights.len(), self.offsets.len() * TILE_ROWS, "one word per row and pair");
        assert!(
            start.checked_add(self.reach).is_some_and(|end| end <= self.words.len()),
            "panel beyond the data"
        );
        Panel { weights, words: &self.words[start..], offsets: self.offsets, digit_stride: self.digit_stride }
    }
}

/// One tile of weights and one panel of columns, checked: `weights` has [`TILE_ROWS`] words for each offset, and for each
/// offset o and each digit d of the [`Columns`] it came from, o + d·digit_stride + [`LANES`] ≤ `words.len()`. Only
/// [`Columns::panel`] makes one; the kernels' unchecked loads rest on that.
struct Panel<'a> {
    weights: &'a [i32],
    words: &'a [i32],
    offsets: &'a [usize],
    digit_stride: usize,
}

/// The signed low digit of `bits` bits, in [−2^(bits−1), 2^(bits−1)).
#[inline(always)]
fn low_digit(value: i64, bits: u32) -> i64 {
    let half = 1i64 << (bits - 1);
    ((value + half) & ((1 << bits) - 1)) - half
}

#[cfg(test)]
mod tests;
