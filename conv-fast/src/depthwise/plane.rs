//! The loops over groups, planes and taps, for any [`Arithmetic`] of eight lanes.

#![expect(unsafe_code, reason = "SIMD loads at offsets that were checked once")]

use super::{Core, Depthwise};
use crate::kernel::Task;
use crate::lanes::{LANES, LaneRing, Signed, Words};
use std::mem::MaybeUninit;

/// Eight 64-bit lanes over a ring. All methods inline, into a [`Task`] for the instruction set that they are written for.
pub(super) trait Arithmetic: Copy + Send {
    /// Eight signed words.
    type Vector: Copy;
    fn splat(self, word: i64) -> Self::Vector;
    /// # Safety
    /// Eight words can be read from there.
    unsafe fn load(self, words: *const i64) -> Self::Vector;
    /// sum + words·weight, wrapping.
    fn multiply_add(self, sum: Self::Vector, words: Self::Vector, weight: Self::Vector) -> Self::Vector;
    /// A representative in (−2q, 2q), shifted to the left.
    fn fold(self, sum: Self::Vector, shift: u32) -> Self::Vector;
    /// Stores elements.
    ///
    /// # Safety
    /// Eight words can be written there.
    unsafe fn finish(self, sum: Self::Vector, to: *mut u64);
    /// Every `stride`-th word, centred, until `to` is full; `STRIDE` is the stride if it is one or two, else zero.
    ///
    /// # Panics
    /// If there are fewer words than that.
    fn center<const STRIDE: usize>(self, words: &[u64], stride: usize, to: &mut [i64]);
}

/// Plain Rust; q is zero over Z_2^k.
#[derive(Clone, Copy)]
pub(super) struct Plain<R> {
    pub(super) lanes: R,
    pub(super) q: u64,
}

impl<R: LaneRing> Arithmetic for Plain<R> {
    type Vector = Signed;

    #[inline(always)]
    fn splat(self, word: i64) -> Signed {
        [word; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, words: *const i64) -> Signed {
        // SAFETY: by the caller's promise.
        unsafe { words.cast::<Signed>().read() }
    }

    #[inline(always)]
    fn multiply_add(self, mut sum: Signed, words: Signed, weight: Signed) -> Signed {
        for lane in 0..LANES {
            sum[lane] = sum[lane].wrapping_add(words[lane].wrapping_mul(weight[lane]));
        }
        sum
    }

    #[inline(always)]
    fn fold(self, sum: Signed, shift: u32) -> Signed {
        self.lanes.lazy(sum).map(|word| word << shift)
    }

    #[inline(always)]
    unsafe fn finish(self, sum: Signed, to: *mut u64) {
        // SAFETY: by the caller's promise.
        unsafe { to.cast::<Words>().write(self.lanes.reduce(sum)) };
    }

    #[inline(always)]
    fn center<const STRIDE: usize>(self, words: &[u64], stride: usize, to: &mut [i64]) {
        let Self { q, .. } = self;
        let half = if q == 0 { u64::MAX } else { q / 2 };
        let centred = |word: u64| (if word > half { word.wrapping_sub(q) } else { word }) as i64;
        if STRIDE == 1 {
            for (to, &word) in to.iter_mut().zip(words) {
                *to = centred(word);
            }
        } else if STRIDE == 2 {
            // Pairs, since strided loads would become slow gathers.
            let last = to.len().saturating_sub(1);
            for (to, pair) in to[..last].iter_mut().zip(words.as_chunks::<2>().0) {
                *to = centred(pair[0]);
            }
            if let Some(to) = to.last_mut() {
                *to = centred(words[2 * last]);
            }
        } else {
            for (to, &word) in to.iter_mut().zip(words.iter().step_by(stride)) {
                *to = centred(word);
            }
        }
    }
}

/// A run of groups, image by image.
pub(super) struct Convolve<'a, A> {
    pub(super) layer: &'a Depthwise,
    pub(super) arithmetic: A,
    /// Number of the first group, over all images.
    pub(super) first: usize,
    pub(super) input: &'a [u64],
    pub(super) output: &'a mut [MaybeUninit<u64>],
}

impl<A: Arithmetic> Task for Convolve<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { layer, arithmetic, first, input, output } = self;
        let geometry = &layer.geometry;
        let s = geometry.shape();
        let image = s.in_height * s.in_width;
        let plane = geometry.out_height() * geometry.out_width();
        let outputs = geometry.group_outputs();
        let taps = layer.offsets.len();
        let group_input = geometry.group_inputs() * image;
        let group_buffer = geometry.group_inputs() * layer.layout.channel;
        let mut buffers = vec![0; 2 * group_buffer];
        let (mut now, mut next) = buffers.split_at_mut(group_buffer);
        // Rows shorter than a vector: what runs over the end of one is overwritten by the next, the last in here.
        let reach = layer.output_reach();
        let mut spill = vec![MaybeUninit::uninit(); if reach > plane { reach } else { 0 }];
        let groups = input.len() / group_input;
        for number in 0..=groups {
            // One ahead: loads that straddle two stores wait until those have left the store buffer.
            if number < groups {
                let planes = input[number * group_input..][..group_input].chunks_exact(image);
                for (plane, buffer) in planes.zip(next.chunks_exact_mut(layer.layout.channel)) {
                    layer.pad(arithmetic, plane, buffer);
                }
            }
            if number > 0 {
                let group = (first + number - 1) % s.groups;
                let weights = &layer.weights[group * outputs * taps..][..outputs * taps];
                let output = &mut output[(number - 1) * outputs * plane..][..outputs * plane];
                for (weights, output) in weights.chunks_exact(taps).zip(output.chunks_exact_mut(plane)) {
                    if spill.is_empty() {
                        layer.plane(arithmetic, weights, now, output);
                    } else {
                        layer.plane(arithmetic, weights, now, &mut spill);
                        output.copy_from_slice(&spill[..plane]);
                    }
                }
            }
            std::mem::swap(&mut now, &mut next);
        }
    }
}

impl Depthwise {
    /// Copies the image part of one channel into its phases, centred.
    #[inline(always)]
    fn pad<A: Arithmetic>(&self, arithmetic: A, plane: &[u64], buffer: &mut [i64]) {
        match self.geometry.shape().stride[1] {
            1 => self.pad_rows::<A, 1>(arithmetic, plane, buffer),
            2 => self.pad_rows::<A, 2>(arithmetic, plane, buffer),
            _ => self.pad_rows::<A, 0>(arithmetic, plane, buffer),
        }
    }

    #[inline(always)]
    fn pad_rows<A: Arithmetic, const STRIDE: usize>(&self, arithmetic: A, plane: &[u64], buffer: &mut [i64]) {
        let s = self.geometry.shape();
        let columns = self.layout.columns;
        let stride = if STRIDE == 0 { s.stride[1] } else { STRIDE };
        let (each, longer) = (columns / stride, columns % stride);
        for (row, places) in self.layout.places.chunks_exact(stride).enumerate() {
            let words = &plane[row * s.in_width..][..columns];
            for phase in 0..stride.min(columns) {
                let count = each + usize::from(phase < longer);
                let to = &mut buffer[places[phase]..][..count];
                arithmetic.center::<STRIDE>(&words[phase..], stride, to);
            }
        }
    }

    /// One output channel.
    #[inline(always)]
    fn plane<A: Arithmetic>(
        &self,
        arithmetic: A,
        weights: &[i64],
        buffer: &[i64],
        output: &mut [MaybeUninit<u64>],
    ) {
        assert!(buffer.len() >= self.reach && output.len() >= self.output_reach(), "words of the buffers");
        match (self.core, self.rows) {
            (Core::Three, 7) => {
                self.blocks(arithmetic, Three::<_, 7, 1>::new(self, arithmetic, weights, buffer), output)
            }
            (Core::Three, 4) => {
                self.blocks(arithmetic, Three::<_, 4, 1>::new(self, arithmetic, weights, buffer), output)
            }
            (Core::ThreeByTwo, 7) => {
                self.blocks(arithmetic, Three::<_, 7, 2>::new(self, arithmetic, weights, buffer), output)
            }
            (Core::ThreeByTwo, 4) => {
                self.blocks(arithmetic, Three::<_, 4, 2>::new(self, arithmetic, weights, buffer), output)
            }
            (_, 7) => self.blocks(arithmetic, Any::<7> { layer: self, weights, buffer }, output),
            (_, 4) => self.blocks(arithmetic, Any::<4> { layer: self, weights, buffer }, output),
            _ => self.blocks(arithmetic, Any::<1> { layer: self, weights, buffer }, output),
        }
    }

    /// All blocks of a plane.
    #[inline(always)]
    fn blocks<A: Arithmetic, const ROWS: usize>(
        &self,
        arithmetic: A,
        sums: impl Sums<A, ROWS>,
        output: &mut [MaybeUninit<u64>],
    ) {
        let width = self.geometry.out_width();
        for &(start, at) in &self.starts {
            let sums = sums.block(arithmetic, start);
            for (row, &sum) in sums.iter().enumerate() {
                // SAFETY: the output reaches as far as every start with its last row and eight words.
                unsafe { arithmetic.finish(sum, output.as_mut_ptr().add(at + row * width).cast()) };
            }
        }
    }
}

/// The sums of one block: eight neighbouring outputs in each of `ROWS` rows.
trait Sums<A: Arithmetic, const ROWS: usize> {
    fn block(&self, arithmetic: A, start: usize) -> [A::Vector; ROWS];
}

/// Any taps, one by one.
struct Any<'a, const ROWS: usize> {
    layer: &'a Depthwise,
    weights: &'a [i64],
    /// At least the layer's `reach`.
    buffer: &'a [i64],
}

impl<A: Arithmetic, const ROWS: usize> Sums<A, ROWS> for Any<'_, ROWS> {
    #[inline(always)]
    fn block(&self, arithmetic: A, start: usize) -> [A::Vector; ROWS] {
        let layer = self.layer;
        let pitch = layer.layout.pitch;
        let mut sums = [arithmetic.splat(0); ROWS];
        let mut from = 0;
        for (number, segment) in layer.segments.iter().enumerate() {
            if number > 0 {
                for sum in &mut sums {
                    *sum = arithmetic.fold(*sum, segment.shift);
                }
            }
            let taps = from..from + segment.taps;
            from = taps.end;
            for (&offset, &weight) in layer.offsets[taps.clone()].iter().zip(&self.weights[taps]) {
                let weight = arithmetic.splat(weight);
                for (row, sum) in sums.iter_mut().enumerate() {
                    let at = start + offset + row * pitch;
                    debug_assert!(at + LANES <= self.buffer.len(), "eight words");
                    // SAFETY: the buffer reaches as far as every start, row and offset together.
                    let words = unsafe { arithmetic.load(self.buffer.as_ptr().add(at)) };
                    *sum = arithmetic.multiply_add(*sum, words, weight);
                }
            }
        }
        sums
    }
}

/// 3×3 taps: every vector of inputs is loaded once for all output rows that see it.
struct Three<'a, V, const ROWS: usize, const STRIDE: usize> {
    weights: [V; 9],
    offsets: [usize; 9],
    pitch: usize,
    /// At least the layer's `reach`.
    buffer: &'a [i64],
}

impl<'a, V: Copy, const ROWS: usize, const STRIDE: usize> Three<'a, V, ROWS, STRIDE> {
    #[inline(always)]
    fn new<A: Arithmetic<Vector = V>>(
        layer: &Depthwise,
        arithmetic: A,
        weights: &[i64],
        buffer: &'a [i64],
    ) -> Self {
        let (mut nine, mut offsets) = ([arithmetic.splat(0); 9], [0; 9]);
        for (nine, &weight) in nine.iter_mut().zip(weights) {
            *nine = arithmetic.splat(weight);
        }
        offsets.copy_from_slice(&layer.offsets);
        Self { weights: nine, offsets, pitch: layer.layout.pitch, buffer }
    }
}

impl<A: Arithmetic, const ROWS: usize, const STRIDE: usize> Sums<A, ROWS>
    for Three<'_, A::Vector, ROWS, STRIDE>
{
    #[inline(always)]
    fn block(&self, arithmetic: A, start: usize) -> [A::Vector; ROWS] {
        let mut sums = [arithmetic.splat(0); ROWS];
        for column in 0..3 {
            // The loads repeat: inlined and unrolled, each input is loaded once for all rows.
            for (row, sum) in sums.iter_mut().enumerate() {
                for tap in 0..3 {
                    let at =
                        start + self.offsets[tap % STRIDE * 3 + column] + (tap / STRIDE + row) * self.pitch;
                    debug_assert!(at + LANES <= self.buffer.len(), "eight words");
                    // SAFETY: the place of row tap·dilation = tap, as in `Any`.
                    let words = unsafe { arithmetic.load(self.buffer.as_ptr().add(at)) };
                    *sum = arithmetic.multiply_add(*sum, words, self.weights[3 * tap + column]);
                }
            }
        }
        sums
    }
}
