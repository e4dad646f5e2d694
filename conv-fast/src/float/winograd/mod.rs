//! Winograd's minimal filtering over floats: fewer products, larger rounding errors.
//!
//! Tiles of m₀×m₁ outputs of a filter of r₀×r₁ taps take n₀·n₁ products, n = m + r − 1, instead of m₀·m₁·r₀·r₁, with
//! the forms of [`form`] in both directions. Per position of the n₀·n₁ it is a matrix product over the channels, on the
//! register tiles that im2col uses.
//!
//! ```text
//! input planes ── gather ──> [row][column][lane] ── Bᵀ, down then across ──> X [position][tile][channel]
//! X · weights ──> Y [position][tile][output channel] ── Aᵀ, across then down ──> rows ── scatter ──> output planes
//! ```
//!
//! A task takes a run of tiles through all of it, as many as keep X and Y in the second cache. Vertical transforms run over
//! whole stretches of a row of tiles, so that columns which neighbours share are transformed once.
//!
//! # Errors
//!
//! With ε the spacing of the numbers (2^-23 of f32, 2^-52 of f64), an output differs from the exact one by at most
//! c₀·c₁·ε·S, S the greatest Σ|w·x| among the outputs, c of the form of each direction. Measured over random layers; the
//! tests hold every pair of forms to it, on all kernels, and find about a quarter of it:
//!
//! | form | F(2,3) | F(4,3) | F(6,3) | F(2,5) | F(4,5) | F(6,5) |
//! |---|---|---|---|---|---|---|
//! | c | 2 | 5 | 10 | 4 | 10 | 20 |
//!
//! So the usual F(4×4, 3×3) over f32 is right to 25·2^-23·S = 3·10^-6·S. Im2col, by comparison, stays below 4·ε·S there.
//! Weights are transformed in f64 and rounded once. A NaN or an infinity in the input spreads to all outputs of the tiles
//! that read it, as NaN mostly, where the definition spreads it to the windows that hold it.
//!
//! Memory: weights grow by n₀·n₁/(r₀·r₁); per task X and Y, about half a megabyte.

#![expect(unsafe_code, reason = "register tiles, vector arithmetic, disjoint writes")]

mod form;
mod transform;

use super::lanes::{Job, Lanes, Numbers, Operands, dispatch, tile_pixels};
use super::memory::{Buffer, Target, filled, gather, scatter, spreads};
use super::panels::{Panel, Panels};
use crate::tasks::{ALONE, in_parallel, part_of};
use crate::{ConvError, ConvGeometry, Kernel};
use std::ops::Range;

/// Bytes of X and Y of one task.
const NEAR: usize = 400 << 10;

/// Prepared weights.
pub(super) struct Winograd<T> {
    geometry: ConvGeometry,
    kernel: Kernel,
    tile: [usize; 2],
    /// Matrix position·groups + group.
    panels: Panels<T>,
    /// 0, 1, 2, ...: channels of X.
    offsets: Vec<usize>,
    /// Tiles of a task.
    chunk: usize,
}

/// Working memory of a task.
struct Scratch<T> {
    /// `[row][column][lane]` of a stretch, and the same transformed.
    rows: Buffer<T>,
    lines: Buffer<T>,
    inputs: Buffer<T>,
    sums: Buffer<T>,
}

impl<T: Numbers> Winograd<T> {
    /// Why a geometry cannot be computed with these tiles.
    pub(super) fn refusal(geometry: &ConvGeometry, tile: [usize; 2]) -> Option<&'static str> {
        let s = geometry.shape();
        if s.stride != [1, 1] || s.dilation != [1, 1] {
            Some("stride and dilation one")
        } else if s.kernel.iter().any(|r| ![3, 5].contains(r)) {
            Some("kernels of 3 or 5 taps in both directions")
        } else if tile.iter().any(|m| ![2, 4, 6].contains(m)) {
            Some("tiles of 2, 4 or 6 outputs in both directions")
        } else {
            None
        }
    }

    pub(super) fn new(
        geometry: &ConvGeometry,
        weights: &[T],
        tile: [usize; 2],
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        if let Some(condition) = Self::refusal(geometry, tile) {
            return Err(ConvError::Unsupported { algorithm: "Winograd", condition });
        }
        let s = geometry.shape();
        let [r0, r1] = s.kernel;
        let [n0, n1] = sizes(geometry, tile);
        let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
        let forms = [form::matrices(r0, n0), form::matrices(r1, n1)];
        let mut panels = Panels::new(kernel, n0 * n1 * s.groups, outputs, inputs);
        for (index, taps) in weights.chunks_exact(r0 * r1).enumerate() {
            let (output, input) = (index / inputs, index % inputs);
            for a in 0..n0 {
                for b in 0..n1 {
                    let mut sum = 0.0;
                    for (tap, weight) in taps.iter().enumerate() {
                        let factor = forms[0].weight(a, tap / r1) * forms[1].weight(b, tap % r1);
                        sum += factor * weight.to_f64();
                    }
                    let matrix = (a * n1 + b) * s.groups + output / outputs;
                    panels.set(matrix, output % outputs, input, T::from_f64(sum));
                }
            }
        }
        let width = panels.panels()[0].blocks * T::BLOCK;
        let bytes = n0 * n1 * (inputs.next_multiple_of(T::BLOCK) + width) * size_of::<T>();
        let chunk = (NEAR / bytes / 24 * 24).max(NEAR / bytes / 6 * 6).clamp(6, 96);
        Ok(Self { geometry: geometry.clone(), kernel, tile, panels, offsets: (0..inputs).collect(), chunk })
    }

    pub(super) fn bytes(&self) -> usize {
        self.panels.bytes()
    }

    pub(super) fn run(&self, input: &[T], batch: usize) -> Vec<T> {
        let s = self.geometry.shape();
        let spread = spreads(self.geometry.macs() * batch as u64);
        let [rows, columns] = self.grid();
        let tiles = batch * rows * columns;
        // As even as possible, in whole register tiles of six.
        let chunks = tiles.div_ceil(self.chunk);
        let size = tiles.div_ceil(chunks).next_multiple_of(6).min(self.chunk);
        let chunks = tiles.div_ceil(size);
        let panels = self.panels.panels().len();
        // Few tiles: the panels are tasks of their own, each transforming the input anew.
        let parts = if spread && s.groups * chunks < 2 * rayon::current_num_threads() {
            panels.min(rayon::current_num_threads())
        } else {
            1
        };
        let fill = |output: &Target<'_, T>| {
            let task = |index: usize| {
                let (rest, part) = (index / parts, index % parts);
                let (group, chunk) = (rest / chunks, rest % chunks);
                let range = part_of(panels, part, parts);
                let job = Chunk {
                    conv: self,
                    input,
                    output,
                    group,
                    panels: &self.panels.panels()[range],
                    tiles: chunk * size..((chunk + 1) * size).min(tiles),
                };
                dispatch(self.kernel, job);
            };
            let tasks = s.groups * chunks * parts;
            in_parallel(tasks, if spread { 1 } else { ALONE }, task);
        };
        // SAFETY: tasks cover all groups, tiles and panels, hence every output.
        unsafe { filled(batch * self.geometry.output_len(), fill) }
    }

    /// Rows and columns of tiles of an image.
    #[inline(always)]
    fn grid(&self) -> [usize; 2] {
        [self.geometry.out_height().div_ceil(self.tile[0]), self.geometry.out_width().div_ceil(self.tile[1])]
    }
}

/// c₀·c₁ of the table above.
pub(super) fn error_factor(kernel: [usize; 2], tile: [usize; 2]) -> f64 {
    let one = |axis: usize| match (tile[axis], kernel[axis]) {
        (2, 3) => 2.0,
        (2, 5) => 4.0,
        (4, 3) => 5.0,
        (6, 5) => 20.0,
        _ => 10.0,
    };
    one(0) * one(1)
}

/// n₀ and n₁.
#[inline(always)]
fn sizes(geometry: &ConvGeometry, tile: [usize; 2]) -> [usize; 2] {
    let kernel = geometry.shape().kernel;
    [tile[0] + kernel[0] - 1, tile[1] + kernel[1] - 1]
}

/// One task: some panels of one group at some tiles.
struct Chunk<'a, T> {
    conv: &'a Winograd<T>,
    input: &'a [T],
    output: &'a Target<'a, T>,
    group: usize,
    panels: &'a [Panel],
    tiles: Range<usize>,
}

/// Neighbouring tiles of one row of tiles.
#[derive(Clone, Copy)]
struct Stretch {
    /// The first one's number in the task.
    first: usize,
    tiles: usize,
    image: usize,
    row: usize,
    column: usize,
}

/// The stretches of a run of tiles.
#[inline(always)]
fn stretches([rows, columns]: [usize; 2], tiles: Range<usize>) -> impl Iterator<Item = Stretch> {
    let mut at = tiles.start;
    std::iter::from_fn(move || {
        (at < tiles.end).then(|| {
            let column = at % columns;
            let some = (columns - column).min(tiles.end - at);
            let stretch = Stretch {
                first: at - tiles.start,
                tiles: some,
                image: at / columns / rows,
                row: at / columns % rows,
                column,
            };
            at += some;
            stretch
        })
    })
}

impl<T: Numbers> Job<T> for Chunk<'_, T> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let Self { conv, input, output, group, panels, tiles } = self;
        let [n0, n1] = sizes(&conv.geometry, conv.tile);
        let count = tiles.len();
        let channels = conv.geometry.group_inputs().next_multiple_of(T::BLOCK);
        // An odd number of cache lines from one position to the next, so that they do not evict each other.
        let step = (count + 16) * channels + T::BLOCK * (1 + (count * channels / T::BLOCK) % 2);
        let columns = count * conv.tile[1] + n1 + L::LEN;
        let widest = panels.iter().map(|panel| panel.blocks).max().unwrap_or(0) * T::BLOCK;
        let mut scratch = Scratch {
            rows: Buffer::new(n0 * columns * L::LEN),
            lines: Buffer::new(n0 * columns * L::LEN),
            inputs: Buffer::new(n0 * n1 * step),
            sums: Buffer::new(n0 * n1 * ((count + 16) * widest + T::BLOCK)),
        };
        let grid = conv.grid();
        for stretch in stretches(grid, tiles.clone()) {
            // SAFETY: the machine has the set of L.
            unsafe { inputs::<T, L>(conv, input, &mut scratch, group, stretch, [channels, step]) };
        }
        for panel in panels {
            let width = panel.blocks * T::BLOCK;
            let sums_step = (count + 16) * width + T::BLOCK;
            let sums = scratch.sums.numbers_mut();
            for position in 0..n0 * n1 {
                let weights = conv.panels.panel(position * conv.geometry.shape().groups + group, panel);
                let inputs = &scratch.inputs.numbers()[position * step..][..step];
                let sums = &mut sums[position * sums_step..][..sums_step];
                let mut at = 0;
                while at < count {
                    let tile = tile_pixels::<L>(panel.blocks, count - at);
                    let mut pixels = [inputs.as_ptr(); 16];
                    for (p, pixel) in pixels.iter_mut().enumerate() {
                        *pixel = inputs[(at + p).min(count - 1) * channels..].as_ptr();
                    }
                    let operands = Operands {
                        weights: weights.as_ptr(),
                        offsets: &conv.offsets,
                        pixels: &pixels[..tile],
                        sums: sums[at * width..(at + tile) * width].as_mut_ptr(),
                        fresh: true,
                    };
                    // SAFETY: weights of all channels; each tile has `channels` numbers; sums as sliced.
                    unsafe { L::tile(panel.blocks, operands) };
                    at += tile;
                }
            }
            for stretch in stretches(grid, tiles.clone()) {
                // SAFETY: the machine has the set of L; the panel's outputs at these tiles are this task's alone.
                unsafe { outputs::<T, L>(conv, output, &mut scratch, group, stretch, panel, sums_step) };
            }
        }
    }
}

/// Transforms the input of a stretch, all channels of a group, into X.
///
/// # Safety
/// The machine has the instruction set of L.
#[inline(always)]
unsafe fn inputs<T: Numbers, L: Lanes<Number = T>>(
    conv: &Winograd<T>,
    input: &[T],
    scratch: &mut Scratch<T>,
    group: usize,
    stretch: Stretch,
    [channels, step]: [usize; 2],
) {
    let s = conv.geometry.shape();
    let ([m0, m1], [n0, n1]) = (conv.tile, sizes(&conv.geometry, conv.tile));
    let size = s.in_height * s.in_width;
    let columns = stretch.tiles * m1 + n1 - m1;
    // Columns of the stretch that lie inside the image.
    let start = (stretch.column * m1) as isize - s.padding[1] as isize;
    let inside = |column: isize| (column - start).clamp(0, columns as isize) as usize;
    let (left, right) = (inside(0), inside(s.in_width as isize));
    let rows = &mut scratch.rows.numbers_mut()[..n0 * columns * L::LEN];
    let lines = &mut scratch.lines.numbers_mut()[..n0 * columns * L::LEN];
    let mut channel = 0;
    while channel < conv.geometry.group_inputs() {
        let some = L::LEN.min(conv.geometry.group_inputs() - channel);
        let first = stretch.image * s.in_channels + group * conv.geometry.group_inputs() + channel;
        for a in 0..n0 {
            let line = &mut rows[a * columns * L::LEN..][..columns * L::LEN];
            let y = (stretch.row * m0 + a).wrapping_sub(s.padding[0]);
            if y >= s.in_height || left >= right {
                line.fill(T::default());
                continue;
            }
            line[..left * L::LEN].fill(T::default());
            line[right * L::LEN..].fill(T::default());
            let at = first * size + y * s.in_width + (start + left as isize) as usize;
            let from = &input[at..at + (some - 1) * size + right - left];
            let to = &mut line[left * L::LEN..right * L::LEN];
            // SAFETY: sliced to their lengths just above.
            unsafe { gather::<L>(from.as_ptr(), size, [right - left, some], to.as_mut_ptr()) };
        }
        let x = &mut scratch.inputs.numbers_mut()[stretch.first * channels + channel..];
        // SAFETY: `rows` and `lines` are n₀ × columns vectors. X has n₀·n₁ positions `step` apart, in each the tiles of
        // the stretch, `channels` apart, with room for a vector at `channel`.
        unsafe {
            transform::down::<L>([m0, s.kernel[0]], rows.as_ptr(), lines.as_mut_ptr(), columns);
            transform::across::<L>(
                [m1, s.kernel[1]],
                lines.as_ptr(),
                [n0, stretch.tiles, columns],
                x.as_mut_ptr(),
                [step, channels],
            );
        }
        channel += L::LEN;
    }
}

/// Transforms Y of a stretch, one panel, into output pixels.
///
/// # Safety
/// The machine has the instruction set of L, and no other task writes these pixels.
#[inline(always)]
unsafe fn outputs<T: Numbers, L: Lanes<Number = T>>(
    conv: &Winograd<T>,
    output: &Target<'_, T>,
    scratch: &mut Scratch<T>,
    group: usize,
    stretch: Stretch,
    panel: &Panel,
    step: usize,
) {
    let geometry = &conv.geometry;
    let s = geometry.shape();
    let ([m0, m1], [n0, _]) = (conv.tile, sizes(geometry, conv.tile));
    let (width, columns) = (panel.blocks * T::BLOCK, stretch.tiles * m1);
    let size = geometry.out_height() * geometry.out_width();
    let (y, x) = (stretch.row * m0, stretch.column * m1);
    let count = columns.min(geometry.out_width() - x);
    let lines = &mut scratch.lines.numbers_mut()[..n0 * columns * L::LEN];
    let rows = &mut scratch.rows.numbers_mut()[..(m0 * columns + L::LEN) * L::LEN];
    let mut lane = 0;
    while lane < width && panel.first * T::BLOCK + lane < geometry.group_outputs() {
        let channel = panel.first * T::BLOCK + lane;
        let channels = L::LEN.min(geometry.group_outputs() - channel);
        let sums = &scratch.sums.numbers()[stretch.first * width + lane..];
        // SAFETY: Y has n₀·n₁ positions `step` apart, in each the tiles of the stretch, `width` apart; `lines` and `rows`
        // are n₀ and m₀ × columns vectors.
        unsafe {
            transform::across_back::<L>(
                [m1, s.kernel[1]],
                sums.as_ptr(),
                [step, width],
                [n0, stretch.tiles, columns],
                lines.as_mut_ptr(),
            );
            transform::down_back::<L>([m0, s.kernel[0]], lines.as_ptr(), rows.as_mut_ptr(), columns);
        }
        let first = stretch.image * s.out_channels + group * geometry.group_outputs() + channel;
        for a in 0..m0.min(geometry.out_height() - y) {
            let to = output.at(first * size + (y + a) * geometry.out_width() + x, channels, size, count);
            let from = rows[a * columns * L::LEN..].as_ptr();
            // SAFETY: `rows` has room for a whole last square; these pixels are this task's alone.
            unsafe { scatter::<L>(from, L::LEN, [count, channels], to, size) };
        }
        lane += L::LEN;
    }
}
