//! Windows of any shape over up to four input channels, through a padded copy of each input channel.
//!
//! Each input channel is first copied, centred (|x| ≤ q/2), into a buffer with its padding. Strides split it into s₀·s₁
//! phase planes: padded row r and column p go to phase (r mod s₀, p mod s₁) at (⌊r/s₀⌋, ⌊p/s₁⌋). Then a tap is one offset
//! into the buffer, the same for every output, and its eight inputs are neighbours. Rows of a phase are `pitch` words
//! apart, and the zeros behind one row are those before the next. The buffer, 8·s₀·s₁·rows·pitch bytes per input channel,
//! is scratch memory of the thread, filled with zeros once per task; the copies leave the padding alone.
//!
//! Exactness: with half = q/2, a sum of 64-bit products is at most Σ|w|·half in size, which is kept below L =
//! min(2^63, 2^50·q). If the layer's greatest Σ|w| allows (wide profile, q < 2^50: Σ|w| < 2^14), a sum is reduced once, at
//! its end. Otherwise it is reduced to (−2q, 2q) after so many taps that the greatest |w| allows, and weights too long even
//! for that (|w|·half ≥ L/2) are cut into balanced digits, whose sums follow each other by Horner's rule. Over Z_2^k
//! everything wraps.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::plane::Convolve;
use super::schedule::{Schedule, Segment, balanced_digit};
use super::{Share, plain};
use crate::kernel::Kernel;
use crate::lanes::LANES;
use crate::scratch::with_words;
use crate::{ConvGeometry, Ring, Word};

/// Output rows that may be summed together, and share the weights of their taps.
const ROWS: [usize; 3] = [7, 4, 1];

/// One layer's weights and addresses.
pub(super) struct Buffered {
    pub(super) layout: Layout,
    pub(super) segments: Vec<Segment>,
    /// Offset of each tap's input, in the order of the segments.
    pub(super) offsets: Vec<usize>,
    /// `[output channel][tap]`, in the same order.
    pub(super) weights: Vec<i64>,
    /// `[output channel]`: whether it is computed here.
    pub(super) serves: Vec<bool>,
    /// Output rows that are summed together.
    pub(super) rows: usize,
    /// Blocks of one vector in `rows` rows.
    pub(super) blocks: Vec<Block>,
    /// Words of the buffer that blocks and offsets reach.
    pub(super) reach: usize,
}

/// A vector's place in its first row.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// In the buffer.
    pub(super) from: usize,
    /// In the output plane, with its columns there.
    pub(super) to: usize,
    pub(super) columns: usize,
}

/// Where an input channel lies in the buffer.
pub(super) struct Layout {
    /// Words from row to row of a phase.
    pub(super) pitch: usize,
    /// Words of a phase, and of all phases of a channel.
    phase: usize,
    pub(super) channel: usize,
    /// Columns of the image that some output sees.
    pub(super) columns: usize,
    /// Where the first columns of each row that some output sees go, one for every phase.
    pub(super) places: Vec<usize>,
}

impl Layout {
    fn new(geometry: &ConvGeometry) -> Self {
        let s = geometry.shape();
        let outputs = [geometry.out_height(), geometry.out_width()];
        // Padded rows and columns that are read, and what of them is image.
        let seen =
            |axis: usize| (outputs[axis] - 1) * s.stride[axis] + (s.kernel[axis] - 1) * s.dilation[axis] + 1;
        let [top, left] = [s.padding[0], s.padding[1]];
        let rows = seen(0).saturating_sub(top).min(s.in_height);
        let columns = seen(1).saturating_sub(left).min(s.in_width);
        let right = seen(1).saturating_sub(left + columns);
        let pitch = (columns + left.max(right)).div_ceil(s.stride[1]).max(outputs[1]);
        let at = |row: usize, column: usize| row / s.stride[0] * pitch + column / s.stride[1];
        let read = (outputs[0] - 1) * pitch + (outputs[1] - 1) / LANES * LANES + LANES - 1
            + at((s.kernel[0] - 1) * s.dilation[0], (s.kernel[1] - 1) * s.dilation[1]);
        let written = at(top + rows, left + columns);
        let phase = (read.max(written) + 1).next_multiple_of(LANES);
        let channel = phase * s.stride[0] * s.stride[1];
        let mut layout = Self { pitch, phase, channel, columns, places: Vec::new() };
        layout.places = (0..rows)
            .flat_map(|row| (0..s.stride[1]).map(move |column| (top + row, left + column)))
            .map(|(row, column)| layout.place(s.stride, row, column))
            .collect();
        layout
    }

    /// Place of a padded row and column.
    fn place(&self, stride: [usize; 2], row: usize, column: usize) -> usize {
        (row % stride[0] * stride[1] + column % stride[1]) * self.phase
            + row / stride[0] * self.pitch
            + column / stride[1]
    }
}

impl Buffered {
    /// For a ring and weights that [`super::Depthwise`] has checked.
    pub(super) fn new(geometry: &ConvGeometry, ring: &Ring, weights: &[i32], serves: Vec<bool>) -> Self {
        let s = geometry.shape();
        let layout = Layout::new(geometry);
        let taps: Vec<usize> = (0..geometry.terms())
            .map(|tap| {
                let (channel, tap) = (tap / (s.kernel[0] * s.kernel[1]), tap % (s.kernel[0] * s.kernel[1]));
                let (row, column) = (tap / s.kernel[1] * s.dilation[0], tap % s.kernel[1] * s.dilation[1]);
                channel * layout.channel + layout.place(s.stride, row, column)
            })
            .collect();
        let Schedule { segments, digit_bits, digits } = Schedule::new(ring, weights, taps.len());
        let offsets = taps.repeat(digits);
        let weights = weights
            .chunks(taps.len())
            .flat_map(|weights| {
                (0..digits).rev().flat_map(move |digit| weights.iter().map(move |&w| (w, digit)))
            })
            .map(|(weight, digit)| balanced_digit(weight, digit, digits, digit_bits))
            .collect();
        let (height, width) = (geometry.out_height(), geometry.out_width());
        // Blocks of rows overlap at the lower end.
        let rows = ROWS
            .into_iter()
            .filter(|&rows| rows <= height)
            .min_by_key(|&rows| height.div_ceil(rows) * (2 * rows + 1))
            .unwrap_or(1);
        let pitch = layout.pitch;
        let blocks: Vec<Block> = (0..height.div_ceil(rows))
            .map(|block| (block * rows).min(height - rows))
            .flat_map(|row| {
                (0..width).step_by(LANES).map(move |column| Block {
                    from: row * pitch + column,
                    to: row * width + column,
                    columns: LANES.min(width - column),
                })
            })
            .collect();
        let last = |places: &mut dyn Iterator<Item = usize>| places.max().unwrap_or(0);
        let reach = last(&mut offsets.iter().copied())
            + last(&mut blocks.iter().map(|block| block.from))
            + (rows - 1) * pitch
            + LANES;
        Self { layout, segments, offsets, weights, serves, rows, blocks, reach }
    }

    /// Bytes of prepared weights and addresses.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
            + size_of_val(self.offsets.as_slice())
            + size_of_val(self.blocks.as_slice())
            + self.serves.len()
    }

    /// The outputs that it serves, of a run of groups.
    pub(super) fn run<W: Word>(&self, ring: &Ring, kernel: Kernel, share: Share<'_, W>) {
        let words = 2 * share.geometry.group_inputs() * self.layout.channel;
        with_words(words, |buffers: &mut [u64]| match ring {
            #[cfg(target_arch = "x86_64")]
            Ring::Prime(modulus) if kernel == Kernel::Avx512 => {
                let lanes = avx512::Prime::new(modulus.value());
                avx512::run(Convolve { layer: self, lanes, share, buffers });
            }
            #[cfg(target_arch = "x86_64")]
            &Ring::PowerOfTwo(bits) if kernel == Kernel::Avx512 => {
                let lanes = avx512::Power::new(bits);
                avx512::run(Convolve { layer: self, lanes, share, buffers });
            }
            Ring::Prime(modulus) => {
                let lanes = plain::Integers::prime(modulus.value());
                kernel.run(Convolve { layer: self, lanes, share, buffers });
            }
            &Ring::PowerOfTwo(bits) => {
                let lanes = plain::Integers::power(bits);
                kernel.run(Convolve { layer: self, lanes, share, buffers });
            }
        });
    }
}
