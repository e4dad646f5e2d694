//! Convolutions whose groups have few input channels: depthwise ones above all.
//!
//! There is no matrix product in them (at most [`MOST_INPUTS`] input channels per output), so lanes are pixels, straight
//! on the planes `[channel][row][column]`: eight neighbouring outputs of one row are one vector, and every tap
//! multiplies a vector of inputs by one weight in 64-bit lanes (`vpmullq`, two per cycle).
//!
//! Each input channel is first copied, centred (|x| ≤ q/2), into a buffer with its padding. Strides split it into s₀·s₁
//! phase planes: padded row r and column p go to phase (r mod s₀, p mod s₁) at (⌊r/s₀⌋, ⌊p/s₁⌋). Then a tap is one offset
//! into the buffer, the same for every output, and its eight inputs are neighbours. Rows of a phase are `pitch` words
//! apart, and the zeros behind one row are those before the next. The buffer, 8·s₀·s₁·rows·pitch bytes per input channel,
//! is filled with zeros once per task; the copies leave the padding alone.
//!
//! Exactness: with half = q/2, a sum of 64-bit products is at most Σ|w|·half in size, which is kept below L =
//! min(2^63, 2^50·q). If the layer's greatest Σ|w| allows (wide profile, q < 2^50: Σ|w| < 2^14), a sum is reduced once, at
//! its end. Otherwise it is reduced to (−2q, 2q) after so many taps that the greatest |w| allows, and weights too long even
//! for that (|w|·half ≥ L/2) are cut into balanced digits, whose sums follow each other by Horner's rule. Over Z_2^k
//! everything wraps.

#![expect(unsafe_code, reason = "an output of known length, written whole")]

use crate::kernel::Kernel;
use crate::lanes::{LANES, PowerLanes, PrimeLanes};
use crate::{ConvError, ConvGeometry, Ring};
use plane::{Convolve, Plain};
use rayon::prelude::*;
use schedule::{Schedule, Segment, balanced_digit};
use std::mem::MaybeUninit;

/// Greatest number of input channels per group.
const MOST_INPUTS: usize = 4;
/// Output rows that may be summed together, and share the inputs of their taps.
const ROWS: [usize; 3] = [7, 4, 1];
/// Nanoseconds of one vector's tap, and of its way in and out, roughly; below `SERIAL` of them a task is not worth it.
const TAP: usize = 1;
const OUTPUT: usize = 5;
const SERIAL: usize = 50_000;

/// The loops over taps.
#[derive(Clone, Copy)]
enum Core {
    /// 3×3 of one input channel, undilated rows, stride 1 or 2 over rows, one segment.
    Three,
    ThreeByTwo,
    Any,
}

/// One layer's weights and addresses. It has no `Debug`: weights are the server's secret.
pub(crate) struct Depthwise {
    geometry: ConvGeometry,
    ring: Ring,
    kernel: Kernel,
    layout: Layout,
    segments: Vec<Segment>,
    /// Offset of each tap's input, in the order of the segments.
    offsets: Vec<usize>,
    /// `[output channel][tap]`, in the same order.
    weights: Vec<i64>,
    core: Core,
    /// Output rows that are summed together.
    rows: usize,
    /// Where blocks of one vector in `rows` rows start: in the buffer, and in the output plane.
    starts: Vec<(usize, usize)>,
    /// Words of the buffer that starts and offsets reach.
    reach: usize,
}

/// Where an input channel lies in the buffer.
struct Layout {
    /// Words from row to row of a phase.
    pitch: usize,
    /// Words of a phase, and of all phases of a channel.
    phase: usize,
    channel: usize,
    /// Columns of the image that some output sees.
    columns: usize,
    /// Where the first columns of each row that some output sees go, one for every phase.
    places: Vec<usize>,
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
        let read = (outputs[0] - 1) * pitch
            + (outputs[1] - 1).max(LANES - 1)
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

impl Depthwise {
    /// Whether groups are small enough.
    pub(crate) fn supports(geometry: &ConvGeometry) -> bool {
        geometry.group_inputs() <= MOST_INPUTS
    }

    /// Prepares `weights`, flat as in [`ConvGeometry`].
    ///
    /// # Errors
    /// [`ConvError::Unsupported`] for larger groups, [`ConvError::Modulus`] for primes of more than 52 bits,
    /// [`ConvError::Length`].
    pub(crate) fn new(
        geometry: &ConvGeometry,
        ring: Ring,
        weights: &[i32],
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        if !Self::supports(geometry) {
            return Err(ConvError::Unsupported {
                algorithm: "depthwise",
                condition: "groups of at most four input channels",
            });
        }
        if let Ring::Prime(modulus) = ring
            && !PrimeLanes::serves(modulus.value())
        {
            return Err(ConvError::Modulus { modulus: modulus.value(), wanted: "at most 52 bits" });
        }
        let expected = geometry.weights_len();
        if weights.len() != expected {
            return Err(ConvError::Length { what: "the weight tensor", expected, got: weights.len() });
        }
        let s = geometry.shape();
        let layout = Layout::new(geometry);
        let taps: Vec<usize> = (0..geometry.terms())
            .map(|tap| {
                let (channel, tap) = (tap / (s.kernel[0] * s.kernel[1]), tap % (s.kernel[0] * s.kernel[1]));
                let (row, column) = (tap / s.kernel[1] * s.dilation[0], tap % s.kernel[1] * s.dilation[1]);
                channel * layout.channel + layout.place(s.stride, row, column)
            })
            .collect();
        let Schedule { segments, digit_bits, digits } = Schedule::new(&ring, weights, taps.len());
        let offsets = taps.repeat(digits);
        let weights = weights
            .chunks(taps.len())
            .flat_map(|weights| {
                (0..digits).rev().flat_map(move |digit| weights.iter().map(move |&w| (w, digit)))
            })
            .map(|(weight, digit)| balanced_digit(weight, digit, digits, digit_bits))
            .collect();
        let (height, width) = (geometry.out_height(), geometry.out_width());
        // Blocks of rows overlap at the lower end, vectors at the right one, if the plane is large enough.
        let rows = ROWS
            .into_iter()
            .filter(|&rows| rows <= height)
            .min_by_key(|&rows| height.div_ceil(rows) * (2 * rows + 1))
            .unwrap_or(1);
        let starts: Vec<(usize, usize)> = (0..height.div_ceil(rows))
            .map(|block| (block * rows).min(height - rows))
            .flat_map(|row| {
                let columns =
                    (0..width.div_ceil(LANES)).map(move |v| (v * LANES).min(width.saturating_sub(LANES)));
                let pitch = layout.pitch;
                columns.map(move |column| (row * pitch + column, row * width + column))
            })
            .collect();
        let core = match (geometry.group_inputs(), s.kernel, s.dilation[0], segments.len(), s.stride[0]) {
            (1, [3, 3], 1, 1, 1) => Core::Three,
            (1, [3, 3], 1, 1, 2) => Core::ThreeByTwo,
            _ => Core::Any,
        };
        let last = |places: &mut dyn Iterator<Item = usize>| places.max().unwrap_or(0);
        let reach = last(&mut offsets.iter().copied())
            + last(&mut starts.iter().map(|&(at, _)| at))
            + (rows - 1) * layout.pitch
            + LANES;
        let geometry = geometry.clone();
        Ok(Self { geometry, ring, kernel, layout, segments, offsets, weights, core, rows, starts, reach })
    }

    /// Bytes of prepared weights and addresses.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
            + size_of_val(self.offsets.as_slice())
            + size_of_val(self.starts.as_slice())
    }

    /// Convolves `batch` images back to back, `batch·input_len` elements, into `batch·output_len` elements.
    ///
    /// # Panics
    /// If `input` does not hold `batch·input_len` words.
    pub(crate) fn run(&self, input: &[u64], batch: usize) -> Vec<u64> {
        let geometry = &self.geometry;
        assert_eq!(Some(input.len()), batch.checked_mul(geometry.input_len()), "number of input values");
        let len = batch * geometry.output_len();
        let mut output: Vec<u64> = Vec::with_capacity(len);
        let outputs = &mut output.spare_capacity_mut()[..len];
        // The inputs and outputs of one group of one image lie together in both tensors.
        let s = geometry.shape();
        let group_input = geometry.group_inputs() * s.in_height * s.in_width;
        let group_output = geometry.group_outputs() * geometry.out_height() * geometry.out_width();
        let group_time =
            self.starts.len() * self.rows * geometry.group_outputs() * (self.offsets.len() * TAP + OUTPUT);
        let groups = batch * s.groups;
        let time = groups * group_time;
        if time < SERIAL {
            self.groups(0, input, outputs);
        } else {
            // A few tasks per thread, none of them short.
            let tasks = (time / (SERIAL / 2)).min(4 * rayon::current_num_threads());
            let share = groups.div_ceil(tasks);
            let inputs = input.par_chunks(share * group_input);
            inputs
                .zip(outputs.par_chunks_mut(share * group_output))
                .enumerate()
                .for_each(|(task, (input, output))| self.groups(task * share, input, output));
        }
        // SAFETY: every word was written: the chunks cover the output, and `Convolve` writes all of a chunk.
        unsafe { output.set_len(len) };
        output
    }

    /// Words of an output plane that vectors may write.
    fn output_reach(&self) -> usize {
        let last = self.starts.iter().map(|&(_, at)| at).max().unwrap_or(0);
        last + (self.rows - 1) * self.geometry.out_width() + LANES
    }

    /// A run of groups, numbered over all images.
    fn groups(&self, first: usize, input: &[u64], output: &mut [MaybeUninit<u64>]) {
        let kernel = self.kernel;
        match &self.ring {
            #[cfg(target_arch = "x86_64")]
            Ring::Prime(modulus) if kernel == Kernel::Avx512 => {
                let arithmetic = avx512::Prime::new(modulus.value());
                kernel.run(Convolve { layer: self, arithmetic, first, input, output });
            }
            #[cfg(target_arch = "x86_64")]
            &Ring::PowerOfTwo(bits) if kernel == Kernel::Avx512 => {
                let arithmetic = avx512::Power::new(bits);
                kernel.run(Convolve { layer: self, arithmetic, first, input, output });
            }
            Ring::Prime(modulus) => {
                let q = modulus.value();
                let arithmetic = Plain { lanes: PrimeLanes::new(q), q };
                kernel.run(Convolve { layer: self, arithmetic, first, input, output });
            }
            &Ring::PowerOfTwo(bits) => {
                let arithmetic = Plain { lanes: PowerLanes::new(bits), q: 0 };
                kernel.run(Convolve { layer: self, arithmetic, first, input, output });
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512;
mod plane;
mod schedule;
#[cfg(test)]
mod tests;
