//! The way of one inference through a prepared layer: boxes of tiles, each gathered, multiplied and spread.
//!
//! A [`TileBox`] is a box of tiles: some images × some rows of tiles × some of their columns, as many as keep the
//! transformed inputs `x[position][tile][channel]` and the products `y[position][output block][tile][8]` near
//! [`BOX_BYTES`]. Both are written and read once, in order, so they may exceed the second-level cache (measured: boxes
//! of 0.4 to 0.6 MiB are 5 to 15 % slower), while fewer boxes means that the weights pass less often. Positions are a
//! cache line more than their length apart: powers of two would crowd all positions of a tile into a few cache sets.
//!
//! Boxes run in parallel. Where they are few (small planes, many channels), they run one after the other and their phases
//! in parallel instead: input blocks, positions, output blocks. Results do not depend on either. Layers too small to
//! share run on the calling thread.

use super::Winograd;
use super::input::{Channels, Columns, Gather, Rows, Sink, Span};
use super::output::{self, Finish, Products, Scatter};
use super::points::{Line, MAX_PAIRS};
use super::vector::{self, Close};
use crate::Word;
use crate::kernel::Kernel;
use crate::lanes::LANES;
use crate::layout::Planes;
use crate::scratch::with_words;
use crate::tasks::{ALONE, in_parallel};
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of transformed inputs and products that a box may take.
pub(super) const BOX_BYTES: usize = 2 << 20;
/// Fewest tiles of a box, so that the weights that pass are used often enough.
const BOX_TILES: usize = 12;
/// Tiles of a row that the output transform takes at a time.
const OUTPUT_TILES: usize = 4;
/// Products below which a layer is not worth a second thread.
const PARALLEL_PRODUCTS: usize = 1 << 19;

/// Some images × rows of tiles × columns of tiles.
#[derive(Clone, Debug)]
struct TileBox {
    images: Range<usize>,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl TileBox {
    fn tiles(&self) -> usize {
        self.images.len() * self.rows.len() * self.columns.len()
    }
}

/// One run of one layer.
pub(super) struct Flow<'a, T> {
    pub(super) layer: &'a Winograd,
    pub(super) close: Close,
    pub(super) finish: Finish,
    pub(super) input: &'a [T],
    pub(super) batch: usize,
}

/// Calls `$run!(N)` for the N that equals `$n`.
macro_rules! with_points {
    ($n:expr, $run:ident) => {
        match $n {
            1 => $run!(1),
            2 => $run!(2),
            3 => $run!(3),
            4 => $run!(4),
            5 => $run!(5),
            6 => $run!(6),
            7 => $run!(7),
            8 => $run!(8),
            9 => $run!(9),
            10 => $run!(10),
            11 => $run!(11),
            12 => $run!(12),
            13 => $run!(13),
            14 => $run!(14),
            n => unreachable!("a line of {n} points was refused"),
        }
    };
}

impl<T: Word> Flow<'_, T> {
    /// The convolution; `output` receives every element.
    pub(super) fn run(&self, output: &mut [T]) {
        let output = Planes::new(output);
        let threads = rayon::current_num_threads();
        let boxes = self.boxes(threads);
        let g = &self.layer.geometry;
        let tiles: usize = boxes.iter().map(TileBox::tiles).sum();
        let products =
            tiles * self.positions() * g.weights_len() / (g.shape().kernel[0] * g.shape().kernel[1]);
        let shared = threads > 1 && products >= PARALLEL_PRODUCTS;
        for group in 0..self.layer.groups.len() {
            if shared && boxes.len() >= 2 * threads {
                boxes.par_iter().for_each(|tiles| self.tile_box(group, tiles, &output, false));
            } else {
                boxes.iter().for_each(|tiles| self.tile_box(group, tiles, &output, shared));
            }
        }
    }

    fn lines(&self) -> [&Line; 2] {
        [&self.layer.lines[0], &self.layer.lines[1]]
    }

    fn positions(&self) -> usize {
        self.layer.lines[0].n * self.layer.lines[1].n
    }

    /// Rows and columns of tiles of one image.
    fn grid(&self) -> [usize; 2] {
        let g = &self.layer.geometry;
        let [rows, columns] = self.lines();
        [g.out_height().div_ceil(rows.m), g.out_width().div_ceil(columns.m)]
    }

    fn boxes(&self, threads: usize) -> Vec<TileBox> {
        let Some(matrix) = self.layer.groups.first().and_then(|group| group.first()) else {
            return Vec::new();
        };
        let [rows, columns] = self.grid();
        let tile_bytes = self.positions() * (matrix.stride() + matrix.blocks() * LANES) * size_of::<u64>();
        // Two boxes for each thread, if they are not too small then.
        let share =
            if threads > 1 { (self.batch * rows * columns).div_ceil(2 * threads) } else { usize::MAX };
        let target = (BOX_BYTES / tile_bytes).min(share).max(BOX_TILES);
        let pieces = |count: usize, size: usize| {
            let pieces = count.div_ceil(size.clamp(1, count));
            (0..pieces).map(move |piece| count * piece / pieces..count * (piece + 1) / pieces)
        };
        let mut boxes = Vec::new();
        for images in pieces(self.batch, target / (rows * columns)) {
            for rows in pieces(rows, target / columns) {
                for columns in pieces(columns, target) {
                    boxes.push(TileBox { images: images.clone(), rows: rows.clone(), columns });
                }
            }
        }
        boxes
    }

    /// Computes the outputs of one group in one box of tiles.
    fn tile_box(&self, group: usize, tiles: &TileBox, output: &Planes<'_, T>, shared: bool) {
        let matrices = &self.layer.groups[group];
        let (stride, blocks) = (matrices[0].stride(), matrices[0].blocks());
        let positions = self.positions();
        let count = tiles.tiles();
        let least = if shared { 1 } else { ALONE };
        // A line apart, see above.
        let (x_len, y_len) = (count * stride, count * blocks * LANES);
        let (x_pitch, y_pitch) = (x_len + LANES, y_len + LANES);
        with_words(positions * (x_pitch + y_pitch), |words: &mut [u64]| {
            let (x, y) = words.split_at_mut(positions * x_pitch);
            let planes = Planes::new(x);
            in_parallel(stride / LANES, least, |block| {
                self.load(group, tiles, block, &planes, [x_pitch, stride]);
            });
            let x = &*x;
            let multiply = |position: usize, y: &mut [u64]| {
                let x = &x[position * x_pitch..][..x_len];
                matrices[position].multiply(self.layer.kernel, self.close, x, count, &mut y[..y_len]);
            };
            if shared {
                y.par_chunks_mut(y_pitch).enumerate().for_each(|(position, y)| multiply(position, y));
            } else {
                y.chunks_mut(y_pitch).enumerate().for_each(|(position, y)| multiply(position, y));
            }
            let y = &*y;
            in_parallel(blocks, least, |block| {
                let y = Products { y: &y[block * count * LANES..], pitch: y_pitch };
                self.store(group, tiles, block, y, output);
            });
        });
    }

    /// Transforms the tiles of one block of input channels.
    fn load(
        &self,
        group: usize,
        tiles: &TileBox,
        block: usize,
        x: &Planes<'_, u64>,
        [pitch, stride]: [usize; 2],
    ) {
        let g = &self.layer.geometry;
        let s = g.shape();
        let kernel = self.layer.kernel;
        let [rows, columns] = self.lines();
        let window = |tiles: &Range<usize>, line: &Line, axis: usize, size: usize| {
            let total = (tiles.len() - 1) * line.m + line.n;
            Span::new(tiles.start * line.m, total, s.padding[axis], size)
        };
        let height = window(&tiles.rows, rows, 0, s.in_height);
        let width = window(&tiles.columns, columns, 1, s.in_width);
        let channel = group * g.group_inputs() + block * LANES;
        let plane = s.in_height * s.in_width;
        let line_words = width.total * LANES;
        with_words((height.total + rows.n) * line_words, |words: &mut [u64]| {
            let (gathered, lines) = words.split_at_mut(height.total * line_words);
            let mut first = 0;
            for image in tiles.images.clone() {
                let channels = Channels {
                    input: &self.input[image * g.input_len() + channel * plane..],
                    plane,
                    width: s.in_width,
                    count: LANES.min(g.group_inputs() - block * LANES),
                };
                kernel.run(Gather { kernel, channels, rows: height, columns: width, block: gathered });
                for row in 0..tiles.rows.len() {
                    self.input_rows(kernel, &gathered[row * rows.m * line_words..], lines, width.total);
                    let (close, tight) = (self.close, self.layer.tight);
                    let sink = Sink { close, tight, x, pitch, stride, offset: block * LANES };
                    macro_rules! run {
                        ($n:literal) => {
                            vector::run(
                                kernel,
                                Columns::<$n> {
                                    from: lines,
                                    rows: rows.n,
                                    columns: width.total,
                                    step: columns.m,
                                    first,
                                    tiles: tiles.columns.len(),
                                    sink,
                                },
                            )
                        };
                    }
                    with_points!(columns.n, run);
                    first += tiles.columns.len();
                }
            }
        });
    }

    fn input_rows(&self, kernel: Kernel, from: &[u64], to: &mut [u64], columns: usize) {
        let reduce = self.layer.reduce_inputs.then_some(self.close);
        macro_rules! run {
            ($n:literal) => {
                vector::run(kernel, Rows::<$n> { from, to, columns, reduce })
            };
        }
        with_points!(self.layer.lines[0].n, run);
    }

    /// Transforms the products of one block of output channels and writes them.
    fn store(&self, group: usize, tiles: &TileBox, block: usize, y: Products<'_>, output: &Planes<'_, T>) {
        let g = &self.layer.geometry;
        let kernel = self.layer.kernel;
        let [rows, columns] = self.lines();
        let start = [tiles.rows.start * rows.m, tiles.columns.start * columns.m];
        let height = (tiles.rows.len() * rows.m).min(g.out_height() - start[0]);
        let width = (tiles.columns.len() * columns.m).min(g.out_width() - start[1]);
        let plane = g.out_height() * g.out_width();
        let channel = group * g.group_outputs() + block * LANES;
        let middle = rows.m * OUTPUT_TILES * columns.n * LANES;
        with_words(height * width * LANES + middle, |words: &mut [u64]| {
            let (gathered, middle) = words.split_at_mut(height * width * LANES);
            let mut first = 0;
            for image in tiles.images.clone() {
                for row in 0..tiles.rows.len() {
                    let inside = rows.m.min(height - row * rows.m);
                    let lines = &mut gathered[row * rows.m * width * LANES..];
                    let mut tile = 0;
                    while tile < tiles.columns.len() {
                        let count = OUTPUT_TILES.min(tiles.columns.len() - tile);
                        self.output_rows(kernel, y, [first + tile, count], middle);
                        let column = tile * columns.m;
                        macro_rules! run {
                            ($n:literal) => {
                                vector::run(
                                    kernel,
                                    output::Columns::<$n> {
                                        from: middle,
                                        tiles: count,
                                        rows: inside,
                                        to: lines,
                                        columns: width,
                                        column,
                                        factors: &self.layer.factors[1],
                                        finish: self.finish,
                                    },
                                )
                            };
                        }
                        with_points!(columns.n, run);
                        tile += count;
                    }
                    first += tiles.columns.len();
                }
                kernel.run(Scatter {
                    kernel,
                    block: gathered,
                    rows: height,
                    columns: width,
                    output,
                    start: image * g.output_len() + channel * plane + start[0] * g.out_width() + start[1],
                    plane,
                    width: g.out_width(),
                    count: LANES.min(g.group_outputs() - block * LANES),
                });
            }
        });
    }

    fn output_rows(&self, kernel: Kernel, from: Products<'_>, [first, tiles]: [usize; 2], to: &mut [u64]) {
        let reduce = self.layer.reduce_outputs.then_some(self.close);
        let factors: &[[i64; MAX_PAIRS]] = &self.layer.factors[0];
        macro_rules! run {
            ($n:literal) => {
                vector::run(
                    kernel,
                    output::Rows::<$n> {
                        from,
                        first,
                        tiles,
                        width: self.layer.lines[1].n,
                        to,
                        factors,
                        reduce,
                    },
                )
            };
        }
        with_points!(self.layer.lines[0].n, run);
    }
}
