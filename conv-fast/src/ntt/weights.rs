//! Transformed weights.
//!
//! Eight output channels of one input channel are one transform. Tap (i, j) is the coefficient of X^−(i·dilation₀·pitch +
//! j·dilation₁), which is −X^(N − …): the product's coefficient at an output's own place then sums what its window holds
//! *behind* it. The factor 1/N of the inverse transform and the arithmetic's own ([`Field::weight_scale`]) are in the weights.

#![expect(unsafe_code, reason = "disjoint writes from parallel tasks")]

use super::cut::{Blocks, Cut};
use super::field::Field;
use super::layer::output_lanes;
use super::transform::{GROUP, Groups, Roots, forward};
use crate::kernel::Task;
use crate::lanes::{LANES, Words};
use crate::layout::Planes;
use crate::scratch::{Lines, with_scratch};
use crate::{ConvGeometry, Kernel};
use he_core::Modulus;
use rayon::prelude::*;

/// What all tasks share.
struct Job<'a, F> {
    field: F,
    geometry: &'a ConvGeometry,
    modulus: &'a Modulus,
    cut: &'a Cut,
    roots: &'a Roots,
    blocks: Blocks,
    weights: &'a [i32],
    scale: u64,
    target: Planes<'a, u64>,
}

/// The weights of a layer in the order of [`super::pointwise::Products`].
pub(super) fn prepare<F: Field>(
    field: F,
    geometry: &ConvGeometry,
    modulus: &Modulus,
    weights: &[i32],
    kernel: Kernel,
    cut: &Cut,
    roots: &Roots,
) -> Lines {
    let blocks = Blocks::new(geometry);
    let mut lines = Lines::zeros(blocks.weight_rows(cut.degree) as usize);
    let n_inverse = modulus.inv(modulus.reduce(cut.degree as u64));
    let scale = modulus.mul(n_inverse, field.weight_scale());
    let target = Planes::new(lines.rows_mut().as_flattened_mut());
    let job = Job { field, geometry, modulus, cut, roots, blocks, weights, scale, target };
    (0..blocks.all_outputs() * blocks.terms).into_par_iter().for_each(|column| {
        with_scratch(cut.degree, |rows| kernel.run(Column { job: &job, rows, column }));
    });
    lines
}

/// The weights of one input channel for one output block.
struct Column<'a, F> {
    job: &'a Job<'a, F>,
    rows: &'a mut [Words],
    /// Output block and input channel of its group.
    column: usize,
}

impl<F: Field> Task for Column<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Job { field, geometry, modulus, cut, roots, blocks, weights, scale, target } = self.job;
        let s = geometry.shape();
        let (terms, degree) = (blocks.terms, cut.degree);
        let (block, term) = (self.column / terms, self.column % terms);
        let (first, lanes) = output_lanes(geometry, blocks, block);
        let taps = s.kernel[0] * s.kernel[1];
        self.rows.fill(field.enter([0; LANES]));
        for tap in 0..taps {
            let (row, column) = (tap / s.kernel[1], tap % s.kernel[1]);
            let offset = row * s.dilation[0] * cut.pitch + column * s.dilation[1];
            let mut words = [0; LANES];
            for (lane, word) in words.iter_mut().enumerate().take(lanes) {
                let weight = i64::from(weights[((first + lane) * terms + term) * taps + tap]);
                let weight = if offset == 0 { weight } else { -weight };
                *word = modulus.mul(modulus.from_i64(weight), *scale);
            }
            self.rows[(degree - offset) % degree] = field.enter(words);
        }
        let stride = blocks.all_outputs() * terms * LANES;
        let mut out = Strided { field: *field, stride, at: self.column * LANES, target };
        forward(*field, self.rows, roots, &mut out);
    }
}

/// Transformed weights on their way to their values.
struct Strided<'a, F> {
    field: F,
    stride: usize,
    at: usize,
    target: &'a Planes<'a, u64>,
}

impl<F: Field> Groups<F> for Strided<'_, F> {
    #[inline(always)]
    fn put(&mut self, group: usize, values: [F::Lanes; GROUP]) {
        for (i, lanes) in values.into_iter().enumerate() {
            // SAFETY: the place of this column, which is one task's alone.
            let row = unsafe { self.target.stretch((group * GROUP + i) * self.stride + self.at, LANES) };
            if let Some(row) = row.as_mut_array() {
                self.field.store(self.field.settle_weight(lanes), row);
            }
        }
    }
}
