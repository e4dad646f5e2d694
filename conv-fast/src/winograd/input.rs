//! From planes to transformed tiles: Bᵀ d B of every tile and channel, reduced.
//!
//! For one block of eight channels of one image: [`Gather`] lays the part of the planes that a box of tiles sees,
//! padding included, as `[row][column][8]`. Then, for one row of tiles after the other, [`Rows`] transforms its n₀ rows,
//! all columns at once, so that columns in which tiles overlap are transformed once; and [`Columns`] transforms n₁ columns
//! of every tile and writes the n₀·n₁ values, reduced, where the matrix products want them.
//!
//! Words are residues in [0, q) on entry. After the row transform they are signed and unreduced, or, where the second
//! transform could leave 62 bits, reduced as the results are ([`Close`]).

use super::lines::Points;
use super::vector::{Close, Vector, Work};
use crate::Word;
use crate::kernel::{Kernel, Task};
use crate::lanes::{LANES, Words};
use crate::layout::{Planes, transpose};

/// One axis of a window: zeros, then `len` values from `from` on, then zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Zeros before.
    pub(super) skip: usize,
    /// First index inside the image.
    pub(super) from: usize,
    /// Values inside the image.
    pub(super) len: usize,
    /// With all zeros.
    pub(super) total: usize,
}

impl Span {
    /// `total` places from `first` on, of an axis with `padding` zeros before its `size` values.
    pub(super) fn new(first: usize, total: usize, padding: usize, size: usize) -> Self {
        let from = first.saturating_sub(padding).min(size);
        let skip = padding.saturating_sub(first).min(total);
        Self { skip, from, len: (total - skip).min(size - from), total }
    }
}

/// Up to eight channels of one image.
#[derive(Clone, Copy)]
pub(super) struct Channels<'a, T> {
    /// From the first channel's first value on.
    pub(super) input: &'a [T],
    /// Values of one channel.
    pub(super) plane: usize,
    /// Values of one row.
    pub(super) width: usize,
    /// How many channels.
    pub(super) count: usize,
}

/// `block[row][column][8]` for the window of `rows` × `columns`; lanes beyond the channels are zero.
pub(super) struct Gather<'a, T> {
    pub(super) kernel: Kernel,
    pub(super) channels: Channels<'a, T>,
    pub(super) rows: Span,
    pub(super) columns: Span,
    pub(super) block: &'a mut [u64],
}

impl<T: Word> Task for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { kernel, channels, rows, columns, block } = self;
        let pitch = columns.total * LANES;
        block[..rows.skip * pitch].fill(0);
        block[(rows.skip + rows.len) * pitch..rows.total * pitch].fill(0);
        for row in rows.skip..rows.skip + rows.len {
            let line = &mut block[row * pitch..][..pitch];
            line[..columns.skip * LANES].fill(0);
            line[(columns.skip + columns.len) * LANES..].fill(0);
        }
        let start = rows.from * channels.width + columns.from;
        let target =
            |row: usize, column: usize| ((rows.skip + row) * columns.total + columns.skip + column) * LANES;
        if columns.len >= LANES {
            for row in 0..rows.len {
                let line = &mut block[target(row, 0)..][..columns.len * LANES];
                let mut column = 0;
                loop {
                    // The last square overlaps the one before it.
                    column = column.min(columns.len - LANES);
                    let square = channels.square(kernel, start + row * channels.width + column);
                    line[column * LANES..][..LANES * LANES].copy_from_slice(square.as_flattened());
                    column += LANES;
                    if column >= columns.len {
                        break;
                    }
                }
            }
        } else if columns.len == channels.width && rows.len * columns.len >= LANES {
            // Whole narrow rows: one run of pixels.
            let pixels = rows.len * columns.len;
            let mut first = 0;
            loop {
                first = first.min(pixels - LANES);
                let square = channels.square(kernel, start + first);
                let (mut row, mut column) = (first / columns.len, first % columns.len);
                for words in &square {
                    block[target(row, column)..][..LANES].copy_from_slice(words);
                    column += 1;
                    if column == columns.len {
                        (row, column) = (row + 1, 0);
                    }
                }
                first += LANES;
                if first >= pixels {
                    break;
                }
            }
        } else {
            for row in 0..rows.len {
                for column in 0..columns.len {
                    let words = &mut block[target(row, column)..][..LANES];
                    words.fill(0);
                    for (lane, word) in words.iter_mut().take(channels.count).enumerate() {
                        let at = lane * channels.plane + start + row * channels.width + column;
                        *word = channels.input[at].to_u64();
                    }
                }
            }
        }
    }
}

impl<T: Word> Channels<'_, T> {
    /// Eight pixels from `at` on, transposed.
    #[inline(always)]
    fn square(&self, kernel: Kernel, at: usize) -> [Words; LANES] {
        let mut rows = [[0; LANES]; LANES];
        for (lane, row) in rows.iter_mut().enumerate().take(self.count) {
            let words = &self.input[lane * self.plane + at..][..LANES];
            for (to, word) in row.iter_mut().zip(words) {
                *to = word.to_u64();
            }
        }
        transpose(kernel, rows)
    }
}

/// The row transform of one row of tiles: N rows of `columns` pixels, to N rows of the same length.
pub(super) struct Rows<'a, const N: usize> {
    /// `[row][column][8]`, at least N rows.
    pub(super) from: &'a [u64],
    /// As many.
    pub(super) to: &'a mut [u64],
    pub(super) columns: usize,
    /// Whether the next transform needs residues.
    pub(super) reduce: Option<Close>,
}

impl<const N: usize> Work for Rows<'_, N> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { from, to, columns, reduce } = self;
        for column in 0..columns {
            let mut d = [V::zero(); N];
            for (i, d) in d.iter_mut().enumerate() {
                *d = V::load(from, (i * columns + column) * LANES);
            }
            for (i, &value) in Points::<N>::input(d).iter().enumerate() {
                let value = match reduce {
                    None => value,
                    Some(close) => value.close(close),
                };
                value.store(to, (i * columns + column) * LANES);
            }
        }
    }
}

/// `[position][tile][channel]` as residues, one block of eight channels of it.
#[derive(Clone, Copy)]
pub(super) struct Sink<'a> {
    pub(super) close: Close,
    /// Whether results have to be below q.
    pub(super) tight: bool,
    pub(super) x: &'a Planes<'a, u64>,
    /// Words from one position to the next.
    pub(super) pitch: usize,
    /// Words from one tile to the next.
    pub(super) stride: usize,
    /// Words before this block's channels.
    pub(super) offset: usize,
}

impl Sink<'_> {
    /// Eight channels of one position of one tile; |values| < 2^62.
    #[inline(always)]
    #[expect(unsafe_code, reason = "channel blocks write disjoint words of one buffer")]
    fn put<V: Vector>(self, position: usize, tile: usize, value: V) {
        let at = position * self.pitch + tile * self.stride + self.offset;
        // SAFETY: each (position, tile, channel block) is put once, by the one task that has this block, and these eight
        // words belong to it alone; the slice does not outlive the call.
        let words = unsafe { self.x.stretch(at, LANES) };
        let value = value.close(self.close);
        let value = if self.tight { value.finish(self.close, 0, u64::MAX) } else { value };
        value.store(words, 0);
    }
}

/// The column transform of one row of tiles.
pub(super) struct Columns<'a, const N: usize> {
    /// `[row][column][8]`, transformed over rows.
    pub(super) from: &'a [u64],
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Columns from one tile to the next.
    pub(super) step: usize,
    /// Tiles beside each other, of which this is the first's number.
    pub(super) first: usize,
    pub(super) tiles: usize,
    pub(super) sink: Sink<'a>,
}

impl<const N: usize> Work for Columns<'_, N> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { from, rows, columns, step, first, tiles, sink } = self;
        for row in 0..rows {
            let line = &from[row * columns * LANES..][..columns * LANES];
            for tile in 0..tiles {
                let mut d = [V::zero(); N];
                for (j, d) in d.iter_mut().enumerate() {
                    *d = V::load(line, (tile * step + j) * LANES);
                }
                for (j, &value) in Points::<N>::input(d).iter().enumerate() {
                    sink.put(row * N + j, first + tile, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        // Two zeros, five values, zeros: places 0..4, 4..8, 8..12.
        let span = |first| Span::new(first, 4, 2, 5);
        assert_eq!(span(0), Span { skip: 2, from: 0, len: 2, total: 4 });
        assert_eq!(span(4), Span { skip: 0, from: 2, len: 3, total: 4 });
        assert_eq!(span(8), Span { skip: 0, from: 5, len: 0, total: 4 });
    }
}
