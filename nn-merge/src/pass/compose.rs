//! The composition of two linear maps, as one convolution or as one matrix, whichever costs less.
//!
//! *As a convolution.* The composition of (kernel K₁, stride s₁, dilation d₁, padding p₁) and then (K₂, s₂, d₂, p₂) has,
//! per axis, stride s₁·s₂, padding p₁ + s₁·p₂ at the front, and taps at a·d₂·s₁ + b·d₁ for a < K₂, b < K₁; that is a
//! kernel of (K₂−1)·d₂·s₁ + (K₁−1)·d₁ + 1 taps with dilation 1. It equals the two steps only if
//!
//! - what the second map reads as its zero padding is zero in the composition too: no padding there, or the first
//!   map has no bias and its windows beyond its own outputs see no pixel of the image;
//! - padding at the far end can be chosen so that the output has the same size.
//!
//! *As a matrix.* Always possible: row o of the product is row o of the second map pulled back through the first.
//!
//! Either is considered only up to [`MAX_MERGED_WEIGHTS`] weights. [`plan`] says what the cheaper one costs in the model of
//! [`cost`](super::cost), [`compose`] builds it; whether it pays is for the caller to say.

use conv_fast::{ConvGeometry, ConvShape};
use rayon::prelude::*;

use super::cost::linear_ns;
use crate::error::NnError;
use crate::graph::Linear;

/// Most weights of a merged linear map.
pub const MAX_MERGED_WEIGHTS: u64 = 1 << 25;
/// Most multiplications spent on building one merged matrix or kernel.
const MAX_WORK: u64 = 1 << 34;

/// A form of the composition.
pub(super) struct Plan {
    geometry: ConvGeometry,
    is_matrix: bool,
}

impl Plan {
    /// Time for the merged map.
    pub(super) fn ns(&self) -> f64 {
        linear_ns(&self.geometry)
    }
}

/// The cheaper form of `second ∘ first`, or `None` if both are out of reach.
pub(super) fn plan(first: &Linear, second: &Linear) -> Option<Plan> {
    let kernel_work = second.geometry.weights_len() as u64 * first.geometry.terms() as u64;
    let convolution = merged_shape(first, second)
        .filter(|_| kernel_work <= MAX_WORK)
        .map(|geometry| Plan { geometry, is_matrix: false });
    let (inputs, outputs) = (first.geometry.input_len(), second.geometry.output_len());
    let matrix_work = outputs as u64 * first.geometry.macs();
    let matrix_fits = inputs as u64 * outputs as u64 <= MAX_MERGED_WEIGHTS && matrix_work <= MAX_WORK;
    let matrix = ConvGeometry::fully_connected(inputs, outputs)
        .ok()
        .filter(|_| matrix_fits)
        .map(|geometry| Plan { geometry, is_matrix: true });
    match (convolution, matrix) {
        (Some(a), Some(b)) => Some(if b.ns() <= a.ns() { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The composition `second ∘ first` in the planned form.
pub(super) fn compose(name: &str, first: &Linear, second: &Linear, plan: Plan) -> Result<Linear, NnError> {
    match plan.is_matrix {
        true => product(name, first, second),
        false => kernel(name, first, second, plan.geometry),
    }
}

/// The geometry of the composition as a convolution, where it is one.
fn merged_shape(first: &Linear, second: &Linear) -> Option<ConvGeometry> {
    let (a, b) = (first.geometry.shape(), second.geometry.shape());
    let plane = (a.out_channels, first.geometry.out_height(), first.geometry.out_width());
    // A flat map takes tensors of any shape, a convolution only images.
    if first.is_flat() && !second.is_flat() {
        return None;
    }
    if (b.in_channels, b.in_height, b.in_width) != plane {
        return None;
    }
    let no_bias = first.bias.iter().all(|&v| v == 0.0);
    let sizes = [
        (a.in_height, plane.1, second.geometry.out_height()),
        (a.in_width, plane.2, second.geometry.out_width()),
    ];
    let mut shape = ConvShape {
        out_channels: b.out_channels,
        dilation: [1, 1],
        groups: if a.groups == b.groups { a.groups } else { 1 },
        ..*a
    };
    for (axis, (size, middle, outputs)) in sizes.into_iter().enumerate() {
        let (p1, p2) = (a.padding[axis], b.padding[axis]);
        let reach = (a.kernel[axis] - 1) * a.dilation[axis];
        // The last window that the second map starts decides how far its far padding is really read.
        let last = (outputs - 1) * b.stride[axis] + (b.kernel[axis] - 1) * b.dilation[axis];
        let reads_front = p2 > 0;
        let reads_back = last >= p2 + middle;
        let front_is_zero = no_bias && reach < a.stride[axis] + p1;
        let back_is_zero = no_bias && middle * a.stride[axis] >= size + p1;
        if reads_front && !front_is_zero || reads_back && !back_is_zero {
            return None;
        }
        let kernel = (b.kernel[axis] - 1) * b.dilation[axis] * a.stride[axis] + reach + 1;
        let stride = a.stride[axis] * b.stride[axis];
        let front = p1 + a.stride[axis] * p2;
        let back = ((outputs - 1) * stride + kernel).saturating_sub(size + front);
        shape.kernel[axis] = kernel;
        shape.stride[axis] = stride;
        shape.padding[axis] = front;
        shape.padding[axis + 2] = back;
    }
    let geometry = ConvGeometry::new(shape).ok()?;
    let same_size = geometry.out_height() == second.geometry.out_height()
        && geometry.out_width() == second.geometry.out_width();
    (same_size && geometry.weights_len() as u64 <= MAX_MERGED_WEIGHTS).then_some(geometry)
}

/// The composed kernel.
fn kernel(name: &str, first: &Linear, second: &Linear, geometry: ConvGeometry) -> Result<Linear, NnError> {
    let (a, b) = (first.geometry.shape(), second.geometry.shape());
    let (taps1, taps2) = (a.kernel[0] * a.kernel[1], b.kernel[0] * b.kernel[1]);
    let (in1, out1) = (first.geometry.group_inputs(), first.geometry.group_outputs());
    let (in2, out2) = (second.geometry.group_inputs(), second.geometry.group_outputs());
    let width = geometry.shape().kernel[1];
    let taps = geometry.shape().kernel[0] * width;
    let (terms, group_in, group_out) = (geometry.terms(), geometry.group_inputs(), geometry.group_outputs());
    let mut weights = vec![0.0; geometry.weights_len()];
    let mut bias = second.bias.clone();
    weights.par_chunks_mut(terms).zip(bias.par_iter_mut()).enumerate().for_each(|(o, (row, bias))| {
        let base = o / group_out * group_in;
        for m in 0..in2 {
            let middle = o / out2 * in2 + m;
            for (t2, &w2) in second.weights[(o * in2 + m) * taps2..][..taps2].iter().enumerate() {
                *bias += w2 * first.bias[middle];
                let y2 = t2 / b.kernel[1] * b.dilation[0] * a.stride[0];
                let x2 = t2 % b.kernel[1] * b.dilation[1] * a.stride[1];
                for c in 0..in1 {
                    let channel = middle / out1 * in1 + c - base;
                    for (t1, &w1) in first.weights[(middle * in1 + c) * taps1..][..taps1].iter().enumerate() {
                        let y = y2 + t1 / a.kernel[1] * a.dilation[0];
                        let x = x2 + t1 % a.kernel[1] * a.dilation[1];
                        row[channel * taps + y * width + x] += w2 * w1;
                    }
                }
            }
        }
    });
    Linear::new(name, geometry, weights, bias)
}

/// The composed matrix.
fn product(name: &str, first: &Linear, second: &Linear) -> Result<Linear, NnError> {
    let (inputs, outputs) = (first.geometry.input_len(), second.geometry.output_len());
    let geometry =
        ConvGeometry::fully_connected(inputs, outputs).map_err(|e| NnError::shape(name, e.to_string()))?;
    let plane1 = first.geometry.out_height() * first.geometry.out_width();
    let plane2 = second.geometry.out_height() * second.geometry.out_width();
    let mut weights = vec![0.0; inputs * outputs];
    let bias = weights
        .par_chunks_mut(inputs)
        .enumerate()
        .map(|(o, row)| {
            let mut middle = vec![0.0; second.geometry.input_len()];
            pull_back(second, [(o, 1.0)].into_iter(), &mut middle);
            let constant: f64 =
                middle.iter().enumerate().map(|(i, v)| v * first.bias[i / plane1]).sum::<f64>();
            let entries = middle.iter().copied().enumerate().filter(|&(_, v)| v != 0.0);
            pull_back(first, entries, row);
            constant + second.bias[o / plane2]
        })
        .collect();
    Linear::new(name, geometry, weights, bias)
}

/// Adds to `row` (over the map's inputs) the functional that takes the given multiples of the map's outputs.
fn pull_back(linear: &Linear, entries: impl Iterator<Item = (usize, f64)>, row: &mut [f64]) {
    let geometry = &linear.geometry;
    let s = geometry.shape();
    let plane = geometry.out_height() * geometry.out_width();
    let (group_in, group_out) = (geometry.group_inputs(), geometry.group_outputs());
    let taps = s.kernel[0] * s.kernel[1];
    for (output, value) in entries {
        let (o, pixel) = (output / plane, output % plane);
        let (y, x) = (pixel / geometry.out_width(), pixel % geometry.out_width());
        let weights = &linear.weights[o * geometry.terms()..][..geometry.terms()];
        if linear.is_dense() {
            row.iter_mut().zip(weights).for_each(|(r, w)| *r += value * w);
            continue;
        }
        for (tap, (ky, kx)) in (0..taps).map(|t| (t, (t / s.kernel[1], t % s.kernel[1]))) {
            let source_y = (y * s.stride[0] + ky * s.dilation[0]).checked_sub(s.padding[0]);
            let source_x = (x * s.stride[1] + kx * s.dilation[1]).checked_sub(s.padding[1]);
            let (Some(source_y), Some(source_x)) = (source_y, source_x) else { continue };
            if source_y >= s.in_height || source_x >= s.in_width {
                continue;
            }
            for c in 0..group_in {
                let channel = o / group_out * group_in + c;
                row[(channel * s.in_height + source_y) * s.in_width + source_x] +=
                    value * weights[c * taps + tap];
            }
        }
    }
}
