//! Small random networks in which any operation can follow any other, for tests of whatever rewrites or runs graphs.

use conv_fast::{ConvGeometry, ConvShape};
use rand_core::Rng;

use super::Builder;
use crate::error::NnError;
use crate::graph::{Diagonal, Function, Graph, NodeId, Op, Part};
use crate::model::SmoothName;

/// Most elements of a tensor of a random network.
const MAX_ELEMENTS: usize = 4096;

/// A random network with few thousand values and a fully connected end: convolutions (strides, odd and asymmetric
/// padding, groups, dilation), batch normalisation and scales, all activations and mixtures of them, pools, residual
/// connections (plain and projected), joins, splits, slices, padding, enlargement, transposes, reshapes.
///
/// # Errors
/// None in practice: steps that do not fit are left out.
pub fn random(rng: &mut impl Rng) -> Result<Graph, NnError> {
    let sides = [1, 1 + below(rng, 3), 3 + below(rng, 6), 3 + below(rng, 6)];
    let steps = 3 + below(rng, 10);
    let outputs = 2 + below(rng, 4);
    let mut b = Builder::new(&sides, rng)?;
    for _ in 0..steps {
        attempt(&mut b, |b| step(b, 0));
    }
    b.dense(outputs)?;
    if b.below(4) == 0 {
        let end = if b.below(2) == 0 { Op::Softmax } else { Op::LogSoftmax };
        b.op(end)?;
    }
    Ok(b.finish())
}

fn below(rng: &mut impl Rng, n: usize) -> usize {
    (rng.next_u64() >> 11) as usize % n
}

impl<R: Rng> Builder<'_, R> {
    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.uniform().abs() * n as f64) as usize % n
    }

    fn shape(&self) -> Vec<usize> {
        self.graph().node(self.last()).shape.clone()
    }
}

/// Takes `step`, or leaves the graph as it was if it does not fit or grows too large.
fn attempt<R: Rng>(b: &mut Builder<'_, R>, step: impl FnOnce(&mut Builder<'_, R>) -> Result<(), NnError>) {
    let saved = b.graph().clone();
    let fits = step(b).is_ok() && b.shape().iter().product::<usize>() <= MAX_ELEMENTS;
    if !fits {
        b.replace(saved);
    }
}

/// One random step; branches inside branches end at depth 2.
fn step<R: Rng>(b: &mut Builder<'_, R>, depth: u32) -> Result<(), NnError> {
    let shape = b.shape();
    let image = shape.len() == 4;
    match b.below(if depth < 2 { 22 } else { 16 }) {
        0..=3 if image => {
            convolution(b)?;
        }
        0..=3 => {
            let outputs = 1 + b.below(6);
            b.dense(outputs)?;
        }
        4 => {
            let signs = b.below(2) == 0;
            b.batch_norm(signs)?;
        }
        5 => {
            let diagonal = scale(b, shape.get(1).copied().unwrap_or(0));
            b.op(Op::Scale(diagonal))?;
        }
        6..=8 => {
            let function = function(b, shape[1]);
            b.activation(function)?;
        }
        9 => {
            let parts = mixture(b, shape[1]);
            b.op(Op::Mixed(parts))?;
        }
        10 => {
            let (kernel, stride) = (1 + b.below(3), 1 + b.below(2));
            let padding = b.below(kernel);
            b.max_pool(kernel, stride, padding)?;
            if b.below(3) == 0 {
                b.max_pool(2, 1 + stride % 2, 0)?;
            }
        }
        11 => {
            let (kernel, stride) = (1 + b.below(3), 1 + b.below(2));
            let (padding, count) = (b.below(kernel), b.below(2) == 0);
            b.average_pool(kernel, stride, padding, count)?;
        }
        12 => {
            let op = if b.below(2) == 0 { Op::Identity } else { Op::Dropout };
            b.op(op)?;
        }
        13..=15 => index_map(b, &shape)?,
        16 | 17 => residual(b, depth)?,
        18 | 19 => {
            // Several branches joined.
            let start = b.last();
            let branches = 2 + b.below(2);
            let mut ends = Vec::with_capacity(branches);
            for _ in 0..branches {
                b.at(start)?;
                branch(b, depth);
                let end = b.last();
                let fits = ends.first().is_none_or(|&first: &NodeId| {
                    let (a, c) = (&b.graph().node(first).shape, &b.graph().node(end).shape);
                    a.len() == c.len()
                        && a.iter().zip(c).enumerate().all(|(axis, (x, y))| axis == 1 || x == y)
                });
                ends.push(if fits { end } else { start });
            }
            b.push(Op::Concat { axis: 1 }, &ends)?;
        }
        20 => split(b, &shape)?,
        _ if image => {
            // Parallel convolutions of one input whose results are added, as before a re-parametrisation.
            let start = b.last();
            let channels = shape[1];
            if b.below(2) == 0 {
                // A wide and a narrow convolution with one activation, joined.
                let outputs = 1 + b.below(3);
                let function = function(b, outputs);
                let first = b.conv(outputs, 3, 1, 1, 1)?.activation(function.clone())?.last();
                let second = b.at(start)?.conv(outputs, 1, 1, 0, 1)?.activation(function)?.last();
                b.push(Op::Concat { axis: 1 }, &[first, second])?;
                return Ok(());
            }
            let first = b.conv(channels, 3, 1, 1, 1)?.last();
            b.at(start)?.conv(channels, 1, 1, 0, 1)?.add(first)?;
            if b.below(2) == 0 {
                let sum = b.last();
                let other = b.at(start)?.batch_norm(true)?.last();
                b.at(sum)?.add(other)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Up to three steps.
fn branch<R: Rng>(b: &mut Builder<'_, R>, depth: u32) {
    for _ in 0..b.below(4) {
        attempt(b, |b| step(b, depth + 1));
    }
}

/// A branch that is added to its start, to a projection of it, or to nothing if the shapes differ.
fn residual<R: Rng>(b: &mut Builder<'_, R>, depth: u32) -> Result<(), NnError> {
    let start = b.last();
    branch(b, depth);
    let end = b.last();
    let (from, to) = (b.graph().node(start).shape.clone(), b.graph().node(end).shape.clone());
    match (&from[..], &to[..]) {
        (&[1, _, h, w], &[1, outputs, oh, ow]) if b.below(3) == 0 || from != to => {
            let stride = h.div_ceil(oh).max(w.div_ceil(ow));
            b.at(start)?;
            b.conv(outputs, 1, stride, 0, 1)?;
            if b.below(2) == 0 {
                b.batch_norm(false)?;
            }
            b.add(end)?;
        }
        _ if from == to => {
            b.at(end)?.add(start)?;
        }
        _ => {}
    }
    Ok(())
}

/// Both halves of the channels, each through steps of its own that keep the shape, joined again.
fn split<R: Rng>(b: &mut Builder<'_, R>, shape: &[usize]) -> Result<(), NnError> {
    let start = b.last();
    let middle = shape[1] / 2;
    let mut ends = Vec::new();
    for (first, count) in [(0, middle), (middle, shape[1] - middle)] {
        let (mut from, mut size) = (vec![0; shape.len()], shape.to_vec());
        (from[1], size[1]) = (first, count);
        b.at(start)?.op(Op::Slice { start: from, step: vec![1; shape.len()], size })?;
        if b.below(2) == 0 {
            let function = function(b, count);
            b.activation(function)?;
        }
        ends.push(b.last());
    }
    b.push(Op::Concat { axis: 1 }, &ends)?;
    Ok(())
}

fn convolution<R: Rng>(b: &mut Builder<'_, R>) -> Result<(), NnError> {
    let [c, h, w] = b.plane()?;
    let groups = if b.below(3) == 0 { c } else { 1 };
    let shape = ConvShape {
        in_channels: c,
        in_height: h,
        in_width: w,
        out_channels: groups * (1 + b.below(3)),
        kernel: [1 + b.below(3), 1 + b.below(3)],
        stride: [1 + b.below(2), 1 + b.below(2)],
        padding: [b.below(2), b.below(3), b.below(3), b.below(2)],
        dilation: [1 + b.below(2), 1 + b.below(2)],
        groups,
    };
    // A 1×1 plane under a 1×1 kernel would be a fully connected layer, which leaves no plane.
    let flat = [h, w] == [1, 1] && shape.kernel == [1, 1] && shape.padding == [0; 4];
    if !flat && ConvGeometry::new(shape).is_ok() {
        b.linear(shape)?;
    }
    Ok(())
}

fn scale<R: Rng>(b: &mut Builder<'_, R>, channels: usize) -> Diagonal {
    let positive = b.below(2) as f64 * 1.5;
    let shifted = b.below(2) as f64;
    let scale = (0..channels).map(|_| b.uniform() + positive).collect();
    let shift = (0..channels).map(|_| b.uniform() * shifted).collect();
    Diagonal { scale, shift }
}

/// Any function, with per-channel numbers for `channels` channels where it has them.
fn function<R: Rng>(b: &mut Builder<'_, R>, channels: usize) -> Function {
    const SMOOTH: [SmoothName; 7] = [
        SmoothName::Sigmoid,
        SmoothName::Tanh,
        SmoothName::Gelu,
        SmoothName::GeluTanh,
        SmoothName::Silu,
        SmoothName::Softplus,
        SmoothName::Elu,
    ];
    match b.below(14) {
        0..=4 => Function::Relu,
        5 => Function::Clip { low: 0.0, high: 0.5 + b.uniform().abs() },
        6 => Function::Clip { low: -1.0, high: if b.below(2) == 0 { f64::INFINITY } else { 1.0 } },
        7 => Function::Leaky { slope: b.uniform() * 0.5 },
        8 => Function::PRelu { slopes: (0..channels).map(|_| b.uniform() * 0.5).collect() },
        9 => Function::HardSigmoid { alpha: 0.2, beta: 0.5 },
        10 => Function::HardSwish,
        11 => Function::Smooth(SMOOTH[b.below(SMOOTH.len())]),
        12 => Function::Identity,
        _ => {
            let rows = if b.below(2) == 0 { 1 } else { channels };
            let degree = 2 + b.below(4) / 3;
            let row = |b: &mut Builder<'_, R>| {
                let mut row: Vec<f64> = (0..=degree).map(|_| b.uniform() * 0.5).collect();
                if b.below(4) == 0 {
                    // Some channels of a trained polynomial are straight lines.
                    row.truncate(2);
                }
                row
            };
            Function::Polynomial { coefficients: (0..rows).map(|_| row(b)).collect() }
        }
    }
}

/// Functions on alternating channels.
fn mixture<R: Rng>(b: &mut Builder<'_, R>, channels: usize) -> Vec<Part> {
    let count = 1 + b.below(2.min(channels));
    (0..count)
        .map(|first| {
            let channels: Vec<usize> = (first..channels).step_by(count).collect();
            let function = function(b, channels.len());
            Part { channels, function }
        })
        .collect()
}

fn index_map<R: Rng>(b: &mut Builder<'_, R>, shape: &[usize]) -> Result<(), NnError> {
    let rank = shape.len();
    let op = match b.below(6) {
        0 if rank == 4 => Op::Transpose([[0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2]][b.below(3)].to_vec()),
        1 if b.below(3) == 0 => Op::Reshape(vec![1, shape.iter().product()]),
        2 => {
            let axis = 1 + b.below(rank - 1);
            let (mut start, mut step, mut size) = (vec![0; rank], vec![1; rank], shape.to_vec());
            start[axis] = b.below(shape[axis]);
            step[axis] = 1 + b.below(2);
            size[axis] = 1 + b.below((shape[axis] - start[axis]).div_ceil(step[axis]));
            Op::Slice { start, step, size }
        }
        3 => {
            let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
            for axis in 1..rank {
                (before[axis], after[axis]) = (b.below(2), b.below(2));
            }
            Op::Pad { before, after }
        }
        4 if rank == 4 => Op::Upsample([1 + b.below(2), 1 + b.below(2)]),
        5 if rank == 4 => Op::Slice {
            start: vec![0; 4],
            step: vec![1, 1, 2, 2],
            size: vec![1, shape[1], shape[2].div_ceil(2), shape[3].div_ceil(2)],
        },
        _ => return Ok(()),
    };
    b.op(op)?;
    Ok(())
}
