//! Convolutions whose groups have few input channels: depthwise ones above all.
//!
//! There is no matrix product in them (at most [`MOST_INPUTS`] input channels per output), so lanes are pixels, straight
//! on the planes `[channel][row][column]`: eight neighbouring outputs of one row are one vector, and every tap
//! multiplies a vector of inputs by one weight. Two ways:
//!
//! - [`stream`]: 3×3 windows of stride one or two over one input channel, which is what networks have, read from the image
//!   row by row without a copy, over doubles where those hold the sums, else over 64-bit integers;
//! - [`buffered`]: every other layer, and the outputs whose weights are too long for the first, over 64-bit integers and a
//!   padded copy of the image.
//!
//! Elements are words of 32 bits, where the ring fits them, or of 64.

use crate::kernel::Kernel;
use crate::lanes::{LANES, PrimeLanes};
use crate::{ConvError, ConvGeometry, Ring, Word};
use buffered::Buffered;
use rayon::prelude::*;
use stream::Stream;

/// Greatest number of input channels per group.
const MOST_INPUTS: usize = 4;
/// Picoseconds of one vector's tap, and of its way in and out, roughly.
const STREAM: (usize, usize) = (150, 1200);
const BUFFERED: (usize, usize) = (700, 4000);
/// Nanoseconds below which a task is not worth it.
const SERIAL: usize = 50_000;

/// One layer's weights and addresses. It has no `Debug`: weights are the server's secret.
pub(crate) struct Depthwise {
    geometry: ConvGeometry,
    ring: Ring,
    kernel: Kernel,
    stream: Option<Stream>,
    /// What the other one leaves.
    buffered: Option<Buffered>,
}

/// A run of groups, numbered over all images from `first` on.
struct Share<'a, W> {
    geometry: &'a ConvGeometry,
    first: usize,
    input: &'a [W],
    output: &'a mut [W],
}

impl Depthwise {
    /// Whether groups are small enough.
    pub(crate) fn supports(geometry: &ConvGeometry) -> bool {
        geometry.group_inputs() <= MOST_INPUTS
    }

    /// Whether there is the fast way for this window, whatever the ring.
    pub(crate) fn streams(geometry: &ConvGeometry) -> bool {
        Stream::has_window(geometry)
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
        let stream = Stream::new(geometry, &ring, weights, kernel);
        let left = match &stream {
            Some(stream) => stream.serves.iter().map(|serves| !serves).collect(),
            None => vec![true; geometry.shape().out_channels],
        };
        let buffered = left.contains(&true).then(|| Buffered::new(geometry, &ring, weights, left));
        Ok(Self { geometry: geometry.clone(), ring, kernel, stream, buffered })
    }

    /// Bytes of prepared weights and addresses.
    pub(crate) fn bytes(&self) -> usize {
        self.stream.as_ref().map_or(0, Stream::bytes) + self.buffered.as_ref().map_or(0, Buffered::bytes)
    }

    /// Convolves `batch` images back to back, `batch·input_len` elements, into `batch·output_len` elements, all of which are
    /// written.
    ///
    /// # Panics
    /// If `input` or `output` has another length, or the ring's elements do not fit `W`.
    pub(crate) fn run_into<W: Word>(&self, input: &[W], batch: usize, output: &mut [W]) {
        let geometry = &self.geometry;
        assert!(self.ring.bits() <= W::BITS, "elements of {} bits", self.ring.bits());
        assert_eq!(Some(input.len()), batch.checked_mul(geometry.input_len()), "number of input values");
        assert_eq!(output.len(), batch * geometry.output_len(), "number of output values");
        // The inputs and outputs of one group of one image lie together in both tensors.
        let s = geometry.shape();
        let group_input = geometry.group_inputs() * s.in_height * s.in_width;
        let group_output = geometry.group_outputs() * geometry.out_height() * geometry.out_width();
        let (tap, finish) = if self.stream.is_some() { STREAM } else { BUFFERED };
        let group_time = group_output.div_ceil(LANES) * (geometry.terms() * tap + finish) / 1000;
        let groups = batch * s.groups;
        let time = groups * group_time;
        if time < SERIAL {
            self.groups(Share { geometry, first: 0, input, output });
        } else {
            // A few tasks per thread, none of them short.
            let tasks = (time / (SERIAL / 2)).min(4 * rayon::current_num_threads());
            let share = groups.div_ceil(tasks);
            let inputs = input.par_chunks(share * group_input);
            inputs.zip(output.par_chunks_mut(share * group_output)).enumerate().for_each(
                |(task, (input, output))| {
                    self.groups(Share { geometry, first: task * share, input, output });
                },
            );
        }
    }

    /// A run of groups.
    fn groups<W: Word>(&self, share: Share<'_, W>) {
        let Share { geometry, first, input, output } = share;
        if let Some(stream) = &self.stream {
            stream.run(&self.ring, self.kernel, Share { geometry, first, input, output: &mut *output });
        }
        if let Some(buffered) = &self.buffered {
            buffered.run(&self.ring, self.kernel, Share { geometry, first, input, output });
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512;
mod buffered;
mod lanes;
mod plain;
mod plane;
mod schedule;
mod stream;
#[cfg(test)]
mod tests;
