//! One prepared layer in one arithmetic: the three steps, over stretches of a batch and over threads.

#![expect(unsafe_code, reason = "disjoint writes from parallel tasks")]

use super::cut::{Blocks, Cut};
use super::field::Field;
use super::pointwise::{Products, group_rows};
use super::tiles::Tiles;
use super::transform::{GROUP, GROUP_WORDS, Groups, Roots, Values, forward, inverse};
use super::weights::prepare;
use crate::kernel::Task;
use crate::lanes::{LANES, Words};
use crate::layout::Planes;
use crate::scratch::{Lines, with_scratch};
use crate::tasks::{ALONE, in_parallel};
use crate::{ConvError, ConvGeometry, Kernel};
use he_core::Modulus;
use rayon::prelude::*;

/// Least bytes of transformed inputs and outputs of one stretch of a batch (about a second-level cache), and most.
const STRETCH_BYTES: [usize; 2] = [1 << 20, 1 << 22];
/// Steps of eight words, products or butterflies, below which a step stays on one thread (about 20 µs).
const SERIAL: usize = 30_000;

/// A layer whose arithmetic is chosen.
pub(super) trait Run: Send + Sync {
    fn run(&self, input: &[u64], batch: usize, output: &mut [u64]);
    fn bytes(&self) -> usize;
}

pub(super) struct Layer<F> {
    field: F,
    kernel: Kernel,
    geometry: ConvGeometry,
    cut: Cut,
    blocks: Blocks,
    roots: Roots,
    /// In the order of [`Products`].
    weights: Lines,
}

impl<F: Field> Layer<F> {
    /// Transforms the weights.
    ///
    /// # Errors
    /// [`ConvError::Modulus`] if the modulus has no such transform.
    pub(super) fn new(
        field: F,
        geometry: &ConvGeometry,
        modulus: Modulus,
        weights: &[i32],
        kernel: Kernel,
        cut: Cut,
    ) -> Result<Self, ConvError> {
        let roots = Roots::new(field, &modulus, cut.degree)
            .ok_or(ConvError::Modulus { modulus: modulus.value(), wanted: "fit for this transform" })?;
        let blocks = Blocks::new(geometry);
        let weights = prepare(field, geometry, &modulus, weights, kernel, &cut, &roots);
        Ok(Self { field, kernel, geometry: geometry.clone(), cut, blocks, roots, weights })
    }

    /// Polynomials of one stretch: as many as make the weights' way from memory worth while.
    fn stretch(&self) -> usize {
        let [least, most] = STRETCH_BYTES;
        let each = (self.blocks.inputs + self.blocks.all_outputs()) * self.cut.degree * 8 * LANES;
        let share = self.bytes().clamp(least, most);
        (share / each).max(1)
    }
}

impl<F: Field> Run for Layer<F> {
    fn run(&self, input: &[u64], batch: usize, output: &mut [u64]) {
        let g = &self.geometry;
        assert_eq!(Some(input.len()), batch.checked_mul(g.input_len()), "number of input values");
        assert_eq!(output.len(), batch * g.output_len(), "number of output values");
        let planes = Planes::new(output);
        let tiles = Tiles { field: self.field, geometry: g, cut: &self.cut, batch };
        let total = self.cut.transforms(batch);
        let groups = self.cut.degree / GROUP;
        let stretches = total.div_ceil(self.stretch()).max(1);
        let most = total.div_ceil(stretches);
        let (x_rows, y_rows) =
            (group_rows(most * self.blocks.inputs), group_rows(most * self.blocks.all_outputs()));
        with_scratch(groups * x_rows, |x| {
            with_scratch(groups * y_rows, |y| {
                for first in (0..total).step_by(most.max(1)) {
                    let count = most.min(total - first);
                    let work = Stretch { layer: self, tiles, input, first, count, output: &planes };
                    work.run(x, y);
                }
            });
        });
    }

    fn bytes(&self) -> usize {
        self.weights.rows().len() * 8 * LANES
    }
}

/// Some polynomials of a batch.
struct Stretch<'a, F> {
    layer: &'a Layer<F>,
    tiles: Tiles<'a, F>,
    input: &'a [u64],
    first: usize,
    count: usize,
    output: &'a Planes<'a, u64>,
}

impl<F: Field> Stretch<'_, F> {
    fn run(&self, x: &mut [Words], y: &mut [Words]) {
        let layer = self.layer;
        let (blocks, degree, kernel) = (layer.blocks, layer.cut.degree, layer.kernel);
        let outputs = blocks.all_outputs();
        let groups = degree / GROUP;
        let (x_rows, y_rows) = (group_rows(self.count * blocks.inputs), group_rows(self.count * outputs));
        let (x, y) = (&mut x[..groups * x_rows], &mut y[..groups * y_rows]);
        let steps = degree * (degree.ilog2() as usize) * 2;
        let least = |columns: usize| if columns * steps < SERIAL { ALONE } else { 1 };
        {
            let target = Planes::new(x.as_flattened_mut());
            in_parallel(self.count * blocks.inputs, least(self.count * blocks.inputs), |column| {
                with_scratch(degree, |rows| {
                    kernel.run(Inputs { stretch: self, rows, column, x_rows, target: &target });
                });
            });
        }
        let weights = layer.weights.rows();
        let per_group = GROUP * outputs * blocks.terms;
        let products = |(group, sums): (usize, &mut [Words])| {
            kernel.run(Products {
                field: layer.field,
                blocks,
                count: self.count,
                weights: &weights[group * per_group..][..per_group],
                inputs: &x[group * x_rows..][..x_rows],
                sums,
            });
        };
        if groups * per_group * self.count < SERIAL {
            y.chunks_exact_mut(y_rows).enumerate().for_each(products);
        } else {
            y.par_chunks_exact_mut(y_rows).enumerate().for_each(products);
        }
        let y: &[Words] = y;
        in_parallel(self.count * outputs, least(self.count * outputs), |column| {
            with_scratch(degree, |rows| {
                kernel.run(Outputs { stretch: self, rows, column, y_rows, values: y });
            });
        });
    }
}

/// One input block of one polynomial: gathered and transformed.
struct Inputs<'a, F> {
    stretch: &'a Stretch<'a, F>,
    rows: &'a mut [Words],
    column: usize,
    x_rows: usize,
    target: &'a Planes<'a, u64>,
}

impl<F: Field> Task for Inputs<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let layer = self.stretch.layer;
        let (poly, block) = (self.column / layer.blocks.inputs, self.column % layer.blocks.inputs);
        let (s, per_group) = (layer.geometry.shape(), layer.geometry.group_outputs());
        let first = block * LANES;
        let (channels, lanes) = if layer.blocks.lanewise {
            let channels = std::array::from_fn(|lane| (first + lane) / per_group);
            (channels, LANES.min(s.out_channels - first))
        } else {
            (std::array::from_fn(|lane| first + lane), LANES.min(s.in_channels - first))
        };
        self.stretch.tiles.gather(
            self.stretch.input,
            (channels, lanes),
            self.stretch.first + poly,
            self.rows,
        );
        let field = layer.field;
        let mut out = Scattered { field, column: self.column, x_rows: self.x_rows, target: self.target };
        forward(field, self.rows, &layer.roots, &mut out);
    }
}

/// Transformed inputs on their way to their groups.
struct Scattered<'a, F> {
    field: F,
    column: usize,
    x_rows: usize,
    target: &'a Planes<'a, u64>,
}

impl<F: Field> Groups<F> for Scattered<'_, F> {
    #[inline(always)]
    fn put(&mut self, group: usize, [a, b, c, d]: [F::Lanes; GROUP]) {
        let field = self.field;
        let at = (group * self.x_rows + self.column * GROUP) * LANES;
        // SAFETY: the place of this block of this polynomial, which is one task's alone.
        let rows = unsafe { self.target.stretch(at, GROUP_WORDS) };
        if let [to_a, to_b, to_c, to_d] = rows.as_chunks_mut().0 {
            field.store(field.settle(a), to_a);
            field.store(field.settle(b), to_b);
            field.store(field.settle(c), to_c);
            field.store(field.settle(d), to_d);
        }
    }
}

/// One output block of one polynomial: transformed back and scattered.
struct Outputs<'a, F> {
    stretch: &'a Stretch<'a, F>,
    rows: &'a mut [Words],
    column: usize,
    y_rows: usize,
    values: &'a [Words],
}

impl<F: Field> Task for Outputs<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let layer = self.stretch.layer;
        let (field, blocks) = (layer.field, layer.blocks);
        let (poly, block) = (self.column / blocks.all_outputs(), self.column % blocks.all_outputs());
        let sums = Gathered { field, column: self.column, y_rows: self.y_rows, values: self.values };
        inverse(field, self.rows, &layer.roots, &sums);
        let (channel, lanes) = output_lanes(&layer.geometry, &blocks, block);
        // SAFETY: one task for each polynomial and block of channels.
        unsafe {
            self.stretch.tiles.scatter(
                self.rows,
                channel,
                lanes,
                self.stretch.first + poly,
                self.stretch.output,
            );
        }
    }
}

/// Sums of products in their groups.
struct Gathered<'a, F> {
    field: F,
    column: usize,
    y_rows: usize,
    values: &'a [Words],
}

impl<F: Field> Values<F> for Gathered<'_, F> {
    #[inline(always)]
    fn get(&self, group: usize) -> [F::Lanes; GROUP] {
        let four = &self.values[group * self.y_rows + self.column * GROUP..][..GROUP];
        let field = self.field;
        [field.load(&four[0]), field.load(&four[1]), field.load(&four[2]), field.load(&four[3])]
    }
}

/// First output channel of a block and how many it holds.
pub(super) fn output_lanes(geometry: &ConvGeometry, blocks: &Blocks, block: usize) -> (usize, usize) {
    let all = geometry.shape().out_channels / blocks.groups;
    let (group, block) = (block / blocks.outputs, block % blocks.outputs);
    (group * all + block * LANES, LANES.min(all - block * LANES))
}
