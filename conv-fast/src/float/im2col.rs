//! The convolution as a product of weights with the matrix of shifted images, which is never stored.
//!
//! Output pixels (of all images of a batch, in one row) are the columns, weights of a group's output channels the rows. A
//! register tile takes some pixels and up to four blocks of output channels: weights are vectors, inputs are broadcast
//! from where they lie in the (padded) planes, so that strides, dilations and the ends of rows only change addresses: one
//! per pixel, and one offset per term of the sum, made once per layer.
//!
//! Blocking: tasks take up to a few hundred pixels and go through the terms in stretches whose weights stay in the first
//! cache while all tiles of the task use them; sums wait in a buffer meanwhile.
//!
//! Sums run over channel, row and column of the kernel in this order whatever the blocking. Padding multiplies weights by
//! zero where the definition leaves terms out: no difference for finite weights (others are refused).
//!
//! Memory: the weights, filled up to whole blocks; per run a padded copy of the input (none without padding) and per
//! task about 100 KB.

#![expect(unsafe_code, reason = "register tiles, disjoint writes")]

use super::lanes::{Job, Lanes, Numbers, Operands, dispatch, tile_pixels};
use super::memory::{Buffer, Target, filled, padded, scatter, spreads};
use super::panels::{Panel, Panels};
use crate::tasks::{ALONE, in_parallel, part_of};
use crate::{ConvGeometry, Kernel};
use std::ops::Range;

/// Terms whose weights stay in the first cache.
const STRETCH: usize = 96;
/// Pixels of a task: a multiple of every register tile, and many if weights come from far away.
const PIXELS: usize = 48;
const MOST_PIXELS: usize = 5 * PIXELS;
/// Weights of a group that stay in the second cache.
const NEAR: usize = 256 << 10;

/// Prepared weights.
pub(super) struct Im2col<T> {
    geometry: ConvGeometry,
    kernel: Kernel,
    panels: Panels<T>,
    /// Elements from a pixel's first term to every other.
    offsets: Vec<usize>,
    chunk: usize,
}

impl<T: Numbers> Im2col<T> {
    pub(super) fn new(geometry: &ConvGeometry, weights: &[T], kernel: Kernel) -> Self {
        let s = geometry.shape();
        let (outputs, terms) = (geometry.group_outputs(), geometry.terms());
        let mut panels = Panels::new(kernel, s.groups, outputs, terms);
        for (output, row) in weights.chunks_exact(terms).enumerate() {
            for (term, &weight) in row.iter().enumerate() {
                panels.set(output / outputs, output % outputs, term, weight);
            }
        }
        let [height, width] = plane(geometry);
        let mut offsets = Vec::with_capacity(terms);
        for channel in 0..geometry.group_inputs() {
            for i in 0..s.kernel[0] {
                for j in 0..s.kernel[1] {
                    offsets.push((channel * height + i * s.dilation[0]) * width + j * s.dilation[1]);
                }
            }
        }
        let far = panels.bytes() / s.groups > NEAR;
        let chunk = if far { MOST_PIXELS } else { PIXELS };
        Self { geometry: geometry.clone(), kernel, panels, offsets, chunk }
    }

    pub(super) fn bytes(&self) -> usize {
        self.panels.bytes()
    }

    pub(super) fn run(&self, input: &[T], batch: usize) -> Vec<T> {
        let s = self.geometry.shape();
        let spread = spreads(self.geometry.macs() * batch as u64);
        let copy;
        let input = if s.padding == [0; 4] {
            input
        } else {
            copy = padded(input, [s.in_height, s.in_width], s.padding, spread);
            copy.numbers()
        };
        let pixels = batch * self.geometry.out_height() * self.geometry.out_width();
        let chunks = pixels.div_ceil(self.chunk);
        let panels = self.panels.panels().len();
        // Few pixels: the panels are tasks of their own.
        let parts = if spread && s.groups * chunks < 4 * rayon::current_num_threads() { panels } else { 1 };
        let fill = |output: &Target<'_, T>| {
            let task = |index: usize| {
                let (rest, part) = (index / parts, index % parts);
                let (group, chunk) = (rest / chunks, rest % chunks);
                let range = part_of(panels, part, parts);
                let first = chunk * self.chunk;
                let job = Chunk {
                    conv: self,
                    input,
                    output,
                    group,
                    panels: &self.panels.panels()[range],
                    pixels: first..(first + self.chunk).min(pixels),
                };
                dispatch(self.kernel, job);
            };
            let tasks = s.groups * chunks * parts;
            in_parallel(tasks, if spread { 1 } else { ALONE }, task);
        };
        // SAFETY: tasks cover all groups, pixels and panels, hence every output.
        unsafe { filled(batch * self.geometry.output_len(), fill) }
    }
}

/// Rows and columns of a padded plane.
fn plane(geometry: &ConvGeometry) -> [usize; 2] {
    let s = geometry.shape();
    [s.in_height + s.padding[0] + s.padding[2], s.in_width + s.padding[1] + s.padding[3]]
}

/// One task: some panels of one group at some pixels.
struct Chunk<'a, T> {
    conv: &'a Im2col<T>,
    input: &'a [T],
    output: &'a Target<'a, T>,
    group: usize,
    panels: &'a [Panel],
    pixels: Range<usize>,
}

impl<T: Numbers> Job<T> for Chunk<'_, T> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let Self { conv, input, output, group, panels, pixels } = self;
        let geometry = &conv.geometry;
        let s = geometry.shape();
        let (size, count) = (geometry.out_height() * geometry.out_width(), pixels.len());
        let starts = addresses(conv, input, group, pixels.clone());
        let widest = panels.iter().map(|panel| panel.blocks).max().unwrap_or(0) * T::BLOCK;
        // Room for the pixels of a last tile and for the rows of a last square.
        let mut sums = Buffer::new((count + 16) * widest);
        let sums = sums.numbers_mut();
        for panel in panels {
            let width = panel.blocks * T::BLOCK;
            let weights = conv.panels.panel(group, panel);
            let mut term = 0;
            for offsets in conv.offsets.chunks(STRETCH) {
                let mut at = 0;
                while at < count {
                    let tile = tile_pixels::<L>(panel.blocks, count - at);
                    let operands = Operands {
                        weights: weights[term * width..].as_ptr(),
                        offsets,
                        pixels: &starts[at..at + tile],
                        sums: sums[at * width..(at + tile) * width].as_mut_ptr(),
                        fresh: term == 0,
                    };
                    // SAFETY: weights of these terms of the panel; a pixel's address plus any offset is inside its image
                    // since the padded plane holds every window; sums as sliced.
                    unsafe { L::tile(panel.blocks, operands) };
                    at += tile;
                }
                term += offsets.len();
            }
            let mut at = 0;
            while at < count {
                let (image, pixel) = ((pixels.start + at) / size, (pixels.start + at) % size);
                let some = (size - pixel).min(count - at);
                let mut lane = 0;
                while lane < width {
                    let channel = panel.first * T::BLOCK + lane;
                    if channel >= geometry.group_outputs() {
                        break;
                    }
                    let channels = L::LEN.min(geometry.group_outputs() - channel);
                    let row = image * s.out_channels + group * geometry.group_outputs() + channel;
                    let to = output.at(row * size + pixel, channels, size, some);
                    // SAFETY: sums have room for a whole last square; these rows of output are this task's alone.
                    unsafe {
                        scatter::<L>(sums[at * width + lane..].as_ptr(), width, [some, channels], to, size)
                    };
                    lane += L::LEN;
                }
                at += some;
            }
        }
    }
}

/// Where the first terms of the pixels lie; the last tile may use more addresses, which are those of the first pixel.
fn addresses<T: Numbers>(
    conv: &Im2col<T>,
    input: &[T],
    group: usize,
    pixels: Range<usize>,
) -> [*const T; MOST_PIXELS + 16] {
    let geometry = &conv.geometry;
    let s = geometry.shape();
    let [height, width] = plane(geometry);
    let (out_height, out_width) = (geometry.out_height(), geometry.out_width());
    let image_len = s.in_channels * height * width;
    let first = group * geometry.group_inputs() * height * width;
    let mut addresses = [input[first..].as_ptr(); MOST_PIXELS + 16];
    let (mut x, rest) = (pixels.start % out_width, pixels.start / out_width);
    let (mut y, mut image) = (rest % out_height, rest / out_height);
    for address in &mut addresses[..pixels.len()] {
        let at = image * image_len + first + y * s.stride[0] * width + x * s.stride[1];
        *address = input[at..].as_ptr();
        x += 1;
        if x == out_width {
            (x, y) = (0, y + 1);
            if y == out_height {
                (y, image) = (0, image + 1);
            }
        }
    }
    addresses
}
