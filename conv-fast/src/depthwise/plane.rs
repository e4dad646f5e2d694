//! The loops of [`super::buffered`] over groups, planes and taps.

#![expect(unsafe_code, reason = "SIMD loads at offsets that were checked once")]

use super::Share;
use super::buffered::Buffered;
use super::lanes;
use crate::kernel::Task;
use crate::lanes::{LANES, Words};
use crate::{ConvGeometry, Word};

/// A run of groups, image by image.
pub(super) struct Convolve<'a, L, W> {
    pub(super) layer: &'a Buffered,
    pub(super) lanes: L,
    pub(super) share: Share<'a, W>,
    /// Two groups' phases, to hold any content.
    pub(super) buffers: &'a mut [u64],
}

impl<W: Word, L: lanes::Buffered<W>> Task for Convolve<'_, L, W> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { layer, lanes, share, buffers } = self;
        let Share { geometry, first, input, output } = share;
        let s = geometry.shape();
        let image = s.in_height * s.in_width;
        let plane = geometry.out_height() * geometry.out_width();
        let outputs = geometry.group_outputs();
        let taps = layer.offsets.len();
        let group_input = geometry.group_inputs() * image;
        let group_buffer = geometry.group_inputs() * layer.layout.channel;
        let channels = |number: usize| (first + number) % s.groups * outputs..;
        let served = |number: &usize| layer.serves[channels(*number)][..outputs].contains(&true);
        let mut groups = (0..input.len() / group_input).filter(served);
        buffers.fill(0);
        let (mut now, mut next) = buffers.split_at_mut(group_buffer);
        let mut ready: Option<usize> = None;
        loop {
            // One ahead: loads that straddle two stores wait until those have left the store buffer.
            let coming = groups.next();
            if let Some(number) = coming {
                let planes = input[number * group_input..][..group_input].chunks_exact(image);
                for (plane, buffer) in planes.zip(next.chunks_exact_mut(layer.layout.channel)) {
                    layer.pad(lanes, geometry, plane, buffer);
                }
            }
            if let Some(number) = ready {
                let results = output[number * outputs * plane..][..outputs * plane].chunks_exact_mut(plane);
                for (channel, result) in channels(number).zip(results) {
                    if layer.serves[channel] {
                        let weights = &layer.weights[channel * taps..][..taps];
                        layer.plane(lanes, weights, now, geometry.out_width(), result);
                    }
                }
            }
            if coming.is_none() {
                break;
            }
            ready = coming;
            std::mem::swap(&mut now, &mut next);
        }
    }
}

impl Buffered {
    /// Copies the image part of one channel into its phases, centred.
    #[inline(always)]
    fn pad<W: Word, L: lanes::Buffered<W>>(
        &self,
        lanes: L,
        geometry: &ConvGeometry,
        plane: &[W],
        buffer: &mut [u64],
    ) {
        match geometry.shape().stride[1] {
            1 => self.pad_rows::<W, L, 1>(lanes, geometry, plane, buffer),
            2 => self.pad_rows::<W, L, 2>(lanes, geometry, plane, buffer),
            _ => self.pad_rows::<W, L, 0>(lanes, geometry, plane, buffer),
        }
    }

    #[inline(always)]
    fn pad_rows<W: Word, L: lanes::Buffered<W>, const STRIDE: usize>(
        &self,
        lanes: L,
        geometry: &ConvGeometry,
        plane: &[W],
        buffer: &mut [u64],
    ) {
        let s = geometry.shape();
        let columns = self.layout.columns;
        let stride = if STRIDE == 0 { s.stride[1] } else { STRIDE };
        let (each, longer) = (columns / stride, columns % stride);
        for (row, places) in self.layout.places.chunks_exact(stride).enumerate() {
            let words = &plane[row * s.in_width..][..columns];
            for phase in 0..stride.min(columns) {
                let count = each + usize::from(phase < longer);
                let to = &mut buffer[places[phase]..][..count];
                lanes.center::<STRIDE>(&words[phase..], stride, to);
            }
        }
    }

    /// One output channel.
    #[inline(always)]
    fn plane<W: Word, L: lanes::Buffered<W>>(
        &self,
        lanes: L,
        weights: &[i64],
        buffer: &[u64],
        width: usize,
        output: &mut [W],
    ) {
        assert!(buffer.len() >= self.reach, "words of the buffer");
        match self.rows {
            7 => self.blocks::<W, L, 7>(lanes, weights, buffer, width, output),
            4 => self.blocks::<W, L, 4>(lanes, weights, buffer, width, output),
            _ => self.blocks::<W, L, 1>(lanes, weights, buffer, width, output),
        }
    }

    /// All blocks of a plane.
    #[inline(always)]
    fn blocks<W: Word, L: lanes::Buffered<W>, const ROWS: usize>(
        &self,
        lanes: L,
        weights: &[i64],
        buffer: &[u64],
        width: usize,
        output: &mut [W],
    ) {
        for block in &self.blocks {
            let sums = self.sums::<W, L, ROWS>(lanes, weights, buffer, block.from);
            for (row, &sum) in sums.iter().enumerate() {
                let to = &mut output[block.to + row * width..][..block.columns];
                lanes.finish(sum, lanes.splat(0), to);
            }
        }
    }

    /// The sums of one block: eight neighbouring outputs in each of `ROWS` rows.
    #[inline(always)]
    fn sums<W: Word, L: lanes::Buffered<W>, const ROWS: usize>(
        &self,
        lanes: L,
        weights: &[i64],
        buffer: &[u64],
        start: usize,
    ) -> [L::Vector; ROWS] {
        let pitch = self.layout.pitch;
        let mut sums = [lanes.splat(0); ROWS];
        let mut from = 0;
        for (number, segment) in self.segments.iter().enumerate() {
            if number > 0 {
                for sum in &mut sums {
                    *sum = lanes.fold(*sum, segment.shift);
                }
            }
            let taps = from..from + segment.taps;
            from = taps.end;
            for (&offset, &weight) in self.offsets[taps.clone()].iter().zip(&weights[taps]) {
                let weight = lanes.splat(weight as u64);
                for (row, sum) in sums.iter_mut().enumerate() {
                    let at = start + offset + row * pitch;
                    debug_assert!(at + LANES <= buffer.len(), "eight words");
                    // SAFETY: the buffer reaches as far as every block, row and offset together.
                    let words = unsafe { &*buffer.as_ptr().add(at).cast::<Words>() };
                    *sum = lanes.times_add(lanes.load(words), weight, *sum);
                }
            }
        }
        sums
    }
}
