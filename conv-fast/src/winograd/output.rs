//! From products back to planes: Aᵀ Y A of every tile and output channel, reduced to elements.
//!
//! For one block of eight output channels of one image and a few tiles of a row: [`Rows`] transforms over the first index
//! of the position, n₀ to m₀; [`Columns`] over the second, n₁ to m₁, reduces, and writes the part of each tile that lies
//! inside the image as `[row][column][8]`; [`Scatter`] then spreads the block over its planes.
//!
//! Products are elements in [0, q) on entry (over Z_2^k words modulo 2^64).

use super::lines::{Lines, Points};
use super::points::MAX_PAIRS;
use super::vector::{Close, Vector, Work};
use crate::Word;
use crate::kernel::{Kernel, Task};
use crate::lanes::LANES;
use crate::layout::{Planes, transpose};

/// The last step of every output.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    pub(super) close: Close,
    /// Over Z_2^k: the division by 2^shift that the divisors left to the end.
    pub(super) shift: u32,
    /// Over Z_2^k: bits of a result.
    pub(super) mask: u64,
}

/// Products of one block of output channels.
#[derive(Clone, Copy)]
pub(super) struct Products<'a> {
    /// From the first tile of the block on.
    pub(super) y: &'a [u64],
    /// Words from one position to the next.
    pub(super) pitch: usize,
}

/// The row transform of `tiles` tiles: to `[output row][tile][second index][8]`.
pub(super) struct Rows<'a, const N: usize> {
    pub(super) from: Products<'a>,
    /// Number of the first tile.
    pub(super) first: usize,
    pub(super) tiles: usize,
    /// Values of the second index, n₁.
    pub(super) width: usize,
    pub(super) to: &'a mut [u64],
    pub(super) factors: &'a [[i64; MAX_PAIRS]],
    pub(super) reduce: Option<Close>,
}

impl<const N: usize> Work for Rows<'_, N> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { from, first, tiles, width, to, factors, reduce } = self;
        for tile in 0..tiles {
            for j in 0..width {
                let mut y = [V::zero(); N];
                for (i, y) in y.iter_mut().enumerate() {
                    *y = V::load(from.y, (i * width + j) * from.pitch + (first + tile) * LANES);
                }
                let to = Middle { to: &mut *to, start: tile * width + j, step: tiles * width, reduce };
                Points::<N>::output(y, factors, to);
            }
        }
    }
}

/// One column of `[output row][tile][second index][8]`.
struct Middle<'a> {
    to: &'a mut [u64],
    start: usize,
    step: usize,
    reduce: Option<Close>,
}

impl Lines for Middle<'_> {
    #[inline(always)]
    fn put<V: Vector>(&mut self, k: usize, value: V) {
        let value = match self.reduce {
            None => value,
            Some(close) => value.close(close),
        };
        value.store(self.to, (self.start + k * self.step) * LANES);
    }
}

/// The column transform of `tiles` tiles, into a compact block.
pub(super) struct Columns<'a, const N: usize> {
    /// `[output row][tile][N][8]`.
    pub(super) from: &'a [u64],
    pub(super) tiles: usize,
    /// Output rows that lie inside the image.
    pub(super) rows: usize,
    /// `[row][column][8]` from the first row of these tiles on.
    pub(super) to: &'a mut [u64],
    /// Columns of the block.
    pub(super) columns: usize,
    /// Column of the first tile.
    pub(super) column: usize,
    pub(super) factors: &'a [[i64; MAX_PAIRS]],
    pub(super) finish: Finish,
}

impl<const N: usize> Work for Columns<'_, N> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { from, tiles, rows, to, columns, column, factors, finish } = self;
        for row in 0..rows {
            let line = &mut to[row * columns * LANES..][..columns * LANES];
            for tile in 0..tiles {
                let mut y = [V::zero(); N];
                for (j, y) in y.iter_mut().enumerate() {
                    *y = V::load(from, ((row * tiles + tile) * N + j) * LANES);
                }
                let start = column + tile * factors.len();
                let to = Inside { to: &mut line[start * LANES..], finish };
                Points::<N>::output(y, factors, to);
            }
        }
    }
}

/// The rest of a row of the block; what lies beyond it is outside the image.
struct Inside<'a> {
    to: &'a mut [u64],
    finish: Finish,
}

impl Lines for Inside<'_> {
    #[inline(always)]
    fn put<V: Vector>(&mut self, k: usize, value: V) {
        let Finish { close, shift, mask } = self.finish;
        if (k + 1) * LANES <= self.to.len() {
            value.close(close).finish(close, shift, mask).store(self.to, k * LANES);
        }
    }
}

/// Spreads `[row][column][8]` over up to eight planes.
pub(super) struct Scatter<'a, T> {
    pub(super) kernel: Kernel,
    pub(super) block: &'a [u64],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) output: &'a Planes<'a, T>,
    /// Word of the first channel's first value.
    pub(super) start: usize,
    /// Words of one channel, and of one row of it.
    pub(super) plane: usize,
    pub(super) width: usize,
    /// How many channels.
    pub(super) count: usize,
}

impl<T: Word> Task for Scatter<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // Whole rows of the planes are one run.
        let (runs, pixels) = if self.columns == self.width {
            (1, self.rows * self.columns)
        } else {
            (self.rows, self.columns)
        };
        for run in 0..runs {
            let block = &self.block[run * pixels * LANES..][..pixels * LANES];
            let start = self.start + run * self.width;
            if pixels >= LANES {
                let mut at = 0;
                loop {
                    // The last square overlaps the one before it.
                    at = at.min(pixels - LANES);
                    let square = std::array::from_fn(|i| {
                        block[(at + i) * LANES..][..LANES].try_into().expect("eight words")
                    });
                    let square = transpose(self.kernel, square);
                    for (lane, words) in square.iter().enumerate().take(self.count) {
                        self.words(start + lane * self.plane + at, words);
                    }
                    at += LANES;
                    if at >= pixels {
                        break;
                    }
                }
            } else {
                for pixel in 0..pixels {
                    for lane in 0..self.count {
                        let word = block[pixel * LANES + lane];
                        self.words(start + lane * self.plane + pixel, &[word]);
                    }
                }
            }
        }
    }
}

impl<T: Word> Scatter<'_, T> {
    #[inline(always)]
    #[expect(unsafe_code, reason = "blocks of channels write disjoint words of one output")]
    fn words(&self, at: usize, words: &[u64]) {
        // SAFETY: the words lie in the rows and columns of this box, in planes of this block of channels; no other
        // task has the same box and block, and the slice does not outlive the call.
        let to = unsafe { self.output.stretch(at, words.len()) };
        for (to, &word) in to.iter_mut().zip(words) {
            *to = T::from_u64(word);
        }
    }
}
