//! F(2×2, 3×3) with tiles as lanes, on digits: for words of 33 to 51 bits on AVX-512.
//!
//! The transforms of this tile have no coefficients but 1 and −1, and they are linear: they may as well be applied to the digits
//! of a pixel as to the pixel. Four digits of 13 bits are the four 16-bit fields of a 64-bit lane, sums of four such digits have
//! 15 bits, and so a pixel is cut once where the general flow ([`super::flow`]) cuts each of its four transformed values;
//! eight pixels a vector are transformed, whatever the ring. Nothing is transposed:
//!
//! | step | where | vector |
//! |---|---|---|
//! | pixels to digits | `input` | eight pixels of a row, four digits each |
//! | Bᵀ d B, pairs of channels | `input` | four tiles, four digits each, two channels: a line of words |
//! | products at sixteen positions | `products` | the same: weights are broadcast, sums have 32 bits |
//! | Aᵀ Y A, four digits to one element | `output` | four tiles of a position; eight neighbouring outputs |
//!
//! The factors of ½ of G's middle rows wait until the sums are there: Aᵀ Y takes (Y₁ ± Y₂)/2, an integer, by a shift. So
//! nothing is divided in the ring, which may be any. Before the shift no 32-bit sum may overflow. That of (Y₁ ± Y₂) over column
//! j of a tile is at most 2·|d|·Σ|w Gᵀ|_j with |d| ≤ 2^13 (two digits of at most 2^12), below 2^31 if Σ|w Gᵀ|_j, over
//! all inputs and rows of the kernel, is below 2^17; then the sums over rows that follow are below 2^31, too. Inputs are taken in
//! *blocks* of channels that keep to this for each output and column, and the blocks' sums are added in 64 bits.
//!
//! Per four tiles (sixteen outputs) that is 16 multiply-adds per pair of inputs and output, where im2col takes 36, and about
//! 40 and 80 instructions per input and per output. It wins with few channels, where the general flow's way in and out
//! outweighs what it saves.
//!
//! *Memory.* Prepared weights take 32 bytes per input and output, where im2col takes 18; a thread holds the transformed rows of
//! a row of tiles or two, the transformed digits of eight tiles, and their sums for eight outputs.

#![expect(unsafe_code, reason = "AVX-512 kernels and disjoint writes from parallel jobs")]

mod input;
mod output;
mod products;
#[cfg(test)]
mod tests;

use super::{MAX_BYTES, greatest_norm};
use crate::kernel::Kernel;
use crate::layout::Planes;
use crate::matmul::Buffer;
use crate::plan::Products;
use crate::tasks::{self, in_parallel, part_of};
use crate::{ConvGeometry, Ring};
use input::Rows;
use output::Finish;
use std::cell::RefCell;
use std::ops::Range;

/// Bits of a digit.
const BITS: u32 = 13;
/// Positions of a tile.
const POSITIONS: usize = 16;
/// Outputs that are computed together.
const OUTPUTS: usize = 8;
/// Vectors of four tiles that are computed together, at most.
const VECTORS: usize = 2;
/// Words of a vector.
const WIDTH: usize = 16;
/// Tiles, and pixels of a row, of a vector.
const TILES: usize = 4;
const STEP: usize = 2 * TILES;
/// Greatest Σ|w| of an output: totals of two digits are integers that doubles hold.
const MAX_NORM: u128 = (1 << 26) - 1;
/// Most words of the rows that a thread holds, and of its transformed digits.
const MOST: usize = 1 << 22;
/// Tasks per thread, so that threads finish together.
const TASKS_PER_THREAD: usize = 3;
/// Multiply-adds (sixteen lanes) that are worth a task of their own: about 10 µs with what goes with them.
const ENOUGH_WORK: usize = 30_000;

/// Steps, per thread, of which one more or less does not matter.
const MANY_STEPS: usize = 8;

thread_local! {
    static WORDS: RefCell<Buffer> = RefCell::default();
}

/// A layer prepared in this form.
pub(crate) struct Pixels {
    geometry: ConvGeometry,
    /// `[outputs / 8][position][pair of inputs][output]`, two weights a word.
    weights: Vec<i32>,
    /// Pairs of inputs whose sums fit 32 bits.
    blocks: Vec<Range<usize>>,
    /// Which pixels of a row are there.
    masks: Vec<u8>,
    finish: Finish,
}

impl Pixels {
    /// Greatest Σ|w Gᵀ| of a block and a column: 2·2^13 times that is below 2^31.
    pub(crate) const ROOM: u64 = (1 << 17) - 1;

    /// Whether this form has a kernel for such a layer, if only its weights are short enough.
    pub(crate) fn serves(
        geometry: &ConvGeometry,
        ring: &Ring,
        tile: [usize; 2],
        products: Products,
        kernel: Kernel,
    ) -> bool {
        let s = geometry.shape();
        kernel == Kernel::Avx512
            && (tile, products) == ([2, 2], Products::Digits)
            && (33..=51).contains(&ring.bits())
            && (s.kernel, s.stride, s.dilation, s.groups) == ([3, 3], [1, 1], [1, 1], 1)
            && 4 * Self::words(geometry) as u64 <= MAX_BYTES
            && input::rows_len(s.in_channels, Self::vectors(geometry)[1]) <= MOST
            && input::tiles_len(s.in_channels.div_ceil(2)) <= MOST
    }

    /// Whether planes fill more than half of a vector: with fewer tiles in a row the general flow is the faster one.
    pub(crate) fn pays(geometry: &ConvGeometry) -> bool {
        geometry.out_width() > TILES
    }

    /// `None` for layers that [`Pixels::serves`] does not name, and for weights that are too large.
    pub(crate) fn new(
        geometry: &ConvGeometry,
        ring: &Ring,
        weights: &[i32],
        (tile, products): ([usize; 2], Products),
        kernel: Kernel,
    ) -> Option<Self> {
        if !Self::serves(geometry, ring, tile, products, kernel) || !kernel.is_available() {
            return None;
        }
        let blocks = blocks(geometry, weights)?;
        let weights = products::transform(geometry, weights)?;
        Some(Self {
            geometry: geometry.clone(),
            weights,
            blocks,
            masks: input::masks(geometry),
            finish: Finish::new(ring),
        })
    }

    /// Bytes of the prepared weights.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
    }

    /// Words of such a layer's prepared weights.
    pub(crate) fn words(geometry: &ConvGeometry) -> usize {
        let pairs = geometry.group_inputs().div_ceil(2);
        POSITIONS * pairs * geometry.group_outputs().next_multiple_of(OUTPUTS)
    }

    /// Rows of tiles, and vectors of such a row.
    pub(crate) fn vectors(geometry: &ConvGeometry) -> [usize; 2] {
        [geometry.out_height().div_ceil(2), geometry.out_width().div_ceil(STEP)]
    }

    /// Convolves `batch` images; every word of `output` is written.
    ///
    /// # Panics
    /// Unless `input` and `output` hold `batch` images.
    pub(crate) fn run_into(&self, input: &[u64], batch: usize, output: &mut [u64]) {
        let g = &self.geometry;
        let lens = [g.input_len(), g.output_len()];
        assert_eq!([input.len(), output.len()], lens.map(|len| batch * len), "numbers of values");
        let output = Planes::new(output);
        let [height, across] = Self::vectors(g);
        let octets = g.group_outputs().div_ceil(OUTPUTS);
        let work = self.weights.len() * height * across * batch;
        let tasks = tasks::number(work / ENOUGH_WORK + 1, TASKS_PER_THREAD);
        // Rows of tiles, as many as fill the vectors that are computed together, are shared first; then outputs: where there are
        // not enough rows, or so few that one more or less would keep a thread waiting.
        let rows = VECTORS.div_ceil(across);
        let steps = height.div_ceil(rows);
        let jobs = tasks.div_ceil(batch).min(steps);
        let threads = rayon::current_num_threads().min(tasks);
        let even = |steps: usize| steps.is_multiple_of(threads) || steps >= MANY_STEPS * threads;
        let least = if !even(batch * steps) && even(octets) { threads } else { 1 };
        let parts = tasks.div_ceil(batch * jobs).max(least).min(octets);
        let task = |number: usize| {
            let (part, which) = (number / (batch * jobs), number % (batch * jobs));
            let (image, steps) = (which / jobs, part_of(steps, which % jobs, jobs));
            let job = Job {
                layer: self,
                rows: Rows::new(g, &self.masks, steps.start * rows..height.min(steps.end * rows)),
                octets: part_of(octets, part, parts),
            };
            let out = output.words(image * lens[1], lens[1]);
            // SAFETY: only machines with AVX-512 have such a layer, and tasks differ in image, rows or outputs.
            unsafe { job.run(&input[image * lens[0]..][..lens[0]], out) };
        };
        let count = batch * jobs * parts;
        in_parallel(count, (count / tasks).max(1), task);
    }
}

/// Some rows of tiles of one image, and some of its outputs.
struct Job<'a> {
    layer: &'a Pixels,
    rows: Rows<'a>,
    /// Outputs, eight at a time.
    octets: Range<usize>,
}

impl Job<'_> {
    /// # Safety
    /// The machine has the features of [`Kernel::Avx512`]; `out` points to the image's output, and nobody else writes these
    /// rows of these outputs.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx512ifma")]
    unsafe fn run(&self, input: &[u64], out: *mut u64) {
        let Self { layer, rows, .. } = self;
        let pairs = layer.geometry.group_inputs().div_ceil(2);
        WORDS.with_borrow_mut(|buffer| {
            let lens = [rows.len(), input::tiles_len(pairs), products::sums_len(), output::totals_len()];
            let (lines, rest) = buffer.words(lens.iter().sum()).split_at_mut(lens[0]);
            let (tiles, rest) = rest.split_at_mut(lens[1]);
            let (sums, totals) = rest.split_at_mut(lens[2]);
            let (all, mut cut) = (rows.vectors(), 0);
            for first in (0..all).step_by(VECTORS) {
                let end = all.min(first + VECTORS);
                let read = rows.read(end);
                // SAFETY: the features are there, by the caller's promise, and `out` is.
                unsafe {
                    rows.cut(input, cut..read, lines);
                    match end - first {
                        1 => self.chunk::<1>(first, (lines, tiles, sums, totals), out),
                        _ => self.chunk::<VECTORS>(first, (lines, tiles, sums, totals), out),
                    }
                }
                cut = read;
            }
        });
    }

    /// C vectors of tiles from `first` on.
    ///
    /// # Safety
    /// As [`Job::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx512ifma")]
    unsafe fn chunk<const C: usize>(
        &self,
        first: usize,
        (lines, tiles, sums, totals): (&[i32], &mut [i32], &mut [i32], &mut [i32]),
        out: *mut u64,
    ) {
        let Self { layer, rows, octets } = self;
        let pairs = layer.geometry.group_inputs().div_ceil(2);
        let per_octet = POSITIONS * pairs * OUTPUTS;
        // SAFETY: the features are there, buffers are as long as their modules say, and places are in the image's output.
        unsafe {
            rows.transform::<C>(first, lines, tiles);
            for octet in octets.clone() {
                let weights = &layer.weights[octet * per_octet..][..per_octet];
                let last = layer.blocks.len() - 1;
                for (number, block) in layer.blocks.iter().enumerate() {
                    products::multiply::<C>(tiles, weights, pairs, block.clone(), sums);
                    let ends = output::Ends { first: number == 0, last: number == last };
                    let outputs = octet * OUTPUTS..layer.geometry.group_outputs().min((octet + 1) * OUTPUTS);
                    layer.finish.outputs::<C>(sums, totals, ends, rows, first, outputs, out);
                }
            }
        }
    }
}

/// Inputs, in pairs, in as few blocks as keep within [`Pixels::ROOM`] for each output and column; `None` if two channels are
/// too much already.
fn blocks(geometry: &ConvGeometry, weights: &[i32]) -> Option<Vec<Range<usize>>> {
    let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
    if greatest_norm(geometry, weights) > MAX_NORM {
        return None;
    }
    // By column.
    let norms = |output: usize, pair: usize| -> [u64; 4] {
        let channels = 2 * pair..inputs.min(2 * pair + 2);
        let weights = &weights[(output * inputs + channels.start) * 9..][..channels.len() * 9];
        weights.as_chunks::<3>().0.iter().fold([0; 4], |sums, row| {
            let row = products::line(row.map(i64::from));
            std::array::from_fn(|j| sums[j] + row[j].unsigned_abs())
        })
    };
    let mut sums = vec![[0; 4]; outputs];
    let (mut blocks, mut start) = (Vec::new(), 0);
    for pair in 0..inputs.div_ceil(2) {
        let norms: Vec<[u64; 4]> = (0..outputs).map(|output| norms(output, pair)).collect();
        let mut each = sums.as_flattened().iter().zip(norms.as_flattened());
        if each.any(|(sum, norm)| sum + norm > Pixels::ROOM) {
            if norms.as_flattened().iter().any(|&norm| norm > Pixels::ROOM) {
                return None;
            }
            blocks.push(start..pair);
            (start, sums) = (pair, norms);
        } else {
            for (sum, norm) in sums.as_flattened_mut().iter_mut().zip(norms.as_flattened()) {
                *sum += norm;
            }
        }
    }
    blocks.push(start..inputs.div_ceil(2));
    Some(blocks)
}
