//! The float oracle: what the network computes in the clear.
//!
//! [`Evaluator`] is prepared once per graph (weights converted, liveness worked out) and then run on any number
//! of inputs, in parallel over inputs. It works in `f32`, which is what the networks' authors ran, or in `f64`,
//! which the tests of the merging passes use to see differences far below `f32`'s rounding.
//!
//! Convolutions go through im2col and a row-by-row multiply-add over the output plane; fully connected layers
//! are dot products with eight partial sums. The tests hold both to the slow obvious loops.
//!
//! | input | output |
//! |---|---|
//! | C·H·W values of one image, already scaled, row-major | the result node's elements, row-major |
//!
//! Not promised: equality in the last bit with any other framework (the order of summation differs).

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use rayon::prelude::*;

use crate::error::NnError;
use crate::graph::{Function, Graph, Linear, NodeId, Op};
use crate::model::PoolGeometry;
use crate::shape::{ZERO, index_map};

/// A floating-point type the evaluator can work in: `f32` or `f64`.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + Sum
    + 'static
{
    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The same value as `f64`.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// Runs one image through the network in `f32`.
///
/// # Errors
/// [`NnError::Input`] when `input` has the wrong length.
pub fn run(graph: &Graph, input: &[f32]) -> Result<Vec<f32>, NnError> {
    Evaluator::<f32>::new(graph)?.run(input)
}

/// Runs one image through the network in `f64`.
///
/// # Errors
/// [`NnError::Input`] when `input` has the wrong length.
pub fn run_f64(graph: &Graph, input: &[f64]) -> Result<Vec<f64>, NnError> {
    Evaluator::<f64>::new(graph)?.run(input)
}

/// A graph prepared for evaluation in `T`.
pub struct Evaluator<'g, T: Real> {
    graph: &'g Graph,
    steps: Vec<Step<T>>,
    /// For every node, how many others (and the result) read it.
    readers: Vec<usize>,
}

/// A node's numbers in the working type.
enum Step<T> {
    Linear { weights: Vec<T>, bias: Vec<T> },
    Diagonal { scale: Vec<T>, shift: Vec<T> },
    IndexMap(Vec<u32>),
    Plain,
}

impl<'g, T: Real> Evaluator<'g, T> {
    /// Prepares `graph`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if an index map does not fit its input (impossible for graphs built by [`Graph::push`]).
    pub fn new(graph: &'g Graph) -> Result<Self, NnError> {
        let convert = |values: &[f64]| values.iter().map(|&v| T::from_f64(v)).collect::<Vec<T>>();
        let diagonal = |d: &crate::graph::Diagonal| Step::Diagonal {
            scale: convert(&d.scale),
            shift: convert(&d.shift),
        };
        let mut steps = Vec::with_capacity(graph.nodes().len());
        let mut readers = vec![0; graph.nodes().len()];
        readers[graph.output()] += 1;
        for node in graph.nodes() {
            node.inputs.iter().for_each(|&input| readers[input] += 1);
            let shapes: Vec<&[usize]> = node.inputs.iter().map(|&i| graph.node(i).shape.as_slice()).collect();
            steps.push(match &node.op {
                Op::Linear(l) => Step::Linear { weights: convert(&l.weights), bias: convert(&l.bias) },
                Op::BatchNorm(norm) => diagonal(&norm.diagonal()),
                Op::Scale(d) => diagonal(d),
                Op::Transpose(_) | Op::Slice { .. } | Op::Pad { .. } | Op::Upsample(_) => {
                    let map =
                        index_map(&node.op, &shapes).map_err(|what| NnError::shape(&node.name, what))?;
                    map.map_or(Step::Plain, Step::IndexMap)
                }
                _ => Step::Plain,
            });
        }
        Ok(Self { graph, steps, readers })
    }

    /// Runs one image.
    ///
    /// # Errors
    /// [`NnError::Input`] when `input` has the wrong length.
    pub fn run(&self, input: &[T]) -> Result<Vec<T>, NnError> {
        self.run_observed(input, |_, _| ())
    }

    /// Runs one image and shows every node's output to `observe` as it appears.
    ///
    /// # Errors
    /// [`NnError::Input`] when `input` has the wrong length.
    pub fn run_observed(
        &self,
        input: &[T],
        mut observe: impl FnMut(NodeId, &[T]),
    ) -> Result<Vec<T>, NnError> {
        if input.len() != self.graph.input_len() {
            return Err(NnError::Input { expected: self.graph.input_len(), got: input.len() });
        }
        let mut waiting = self.readers.clone();
        let mut values: Vec<Vec<T>> = vec![Vec::new(); self.steps.len()];
        for (id, node) in self.graph.nodes().iter().enumerate() {
            if waiting[id] == 0 && id != 0 {
                continue;
            }
            let sources: Vec<&[T]> = node.inputs.iter().map(|&source| values[source].as_slice()).collect();
            let value = match node.inputs.is_empty() {
                true => input.to_vec(),
                false => self.compute(id, &sources),
            };
            observe(id, &value);
            values[id] = value;
            for &source in &node.inputs {
                waiting[source] -= 1;
                if waiting[source] == 0 {
                    values[source] = Vec::new();
                }
            }
        }
        Ok(std::mem::take(&mut values[self.graph.output()]))
    }

    /// Runs many images in parallel.
    ///
    /// # Errors
    /// [`NnError::Input`] when some input has the wrong length.
    pub fn run_all<I: AsRef<[T]> + Sync>(&self, inputs: &[I]) -> Result<Vec<Vec<T>>, NnError> {
        inputs.par_iter().map(|input| self.run(input.as_ref())).collect()
    }

    fn compute(&self, id: NodeId, sources: &[&[T]]) -> Vec<T> {
        let node = self.graph.node(id);
        let input = sources[0];
        match (&node.op, &self.steps[id]) {
            (Op::Linear(l), Step::Linear { weights, bias }) => linear(l, weights, bias, input),
            (_, Step::Diagonal { scale, shift }) => {
                let plane = input.len() / scale.len();
                input
                    .chunks(plane)
                    .zip(scale.iter().zip(shift))
                    .flat_map(|(chunk, (&s, &t))| chunk.iter().map(move |&v| v * s + t))
                    .collect()
            }
            (_, Step::IndexMap(map)) => {
                let at = |&index: &u32| if index == ZERO { T::default() } else { input[index as usize] };
                map.iter().map(at).collect()
            }
            (Op::Activation(function), _) => {
                let rows = function.rows();
                let plane = (input.len() / rows).max(1);
                let mut out = input.to_vec();
                out.chunks_mut(plane).enumerate().for_each(|(row, values)| apply(function, row, values));
                out
            }
            (Op::Mixed(parts), _) => {
                let plane = input.len() / node.shape[1];
                let mut out = input.to_vec();
                for part in parts {
                    for (row, &channel) in part.channels.iter().enumerate() {
                        apply(&part.function, row, &mut out[channel * plane..(channel + 1) * plane]);
                    }
                }
                out
            }
            (Op::Concat { axis }, _) => {
                let outer: usize = node.shape[..*axis].iter().product();
                let mut out = Vec::with_capacity(node.elements());
                for block in 0..outer {
                    for source in sources {
                        let run = source.len() / outer;
                        out.extend_from_slice(&source[block * run..(block + 1) * run]);
                    }
                }
                out
            }
            (Op::MaxPool(window), _) => pool(window, input, |cells, _| {
                cells.iter().copied().reduce(|a, b| if b > a { b } else { a }).unwrap_or_default()
            }),
            (Op::AveragePool { window, count_padding }, _) => {
                let full = window.shape().kernel[0] * window.shape().kernel[1];
                pool(window, input, |cells, inside| {
                    let divisor = if *count_padding { full } else { inside };
                    cells.iter().copied().sum::<T>() / T::from_f64(divisor as f64)
                })
            }
            (Op::Softmax, _) => softmax(input, node.shape[node.shape.len() - 1], false),
            (Op::LogSoftmax, _) => softmax(input, node.shape[node.shape.len() - 1], true),
            (Op::Add, _) => input.iter().zip(sources[1]).map(|(&a, &b)| a + b).collect(),
            _ => input.to_vec(),
        }
    }
}

/// Applies a function to one channel's values in place; `row` counts its per-channel numbers.
fn apply<T: Real>(function: &Function, row: usize, values: &mut [T]) {
    let (zero, one) = (T::default(), T::from_f64(1.0));
    let real = T::from_f64;
    let clip = |v: T, low: T, high: T| {
        let v = if v < low { low } else { v };
        if v > high { high } else { v }
    };
    let leaky = |slope: f64, values: &mut [T]| {
        let slope = real(slope);
        values.iter_mut().for_each(|v| *v = if *v < zero { *v * slope } else { *v });
    };
    match function {
        Function::Identity => {}
        Function::Relu => values.iter_mut().for_each(|v| *v = if *v > zero { *v } else { zero }),
        &Function::Clip { low, high } => {
            let (low, high) = (real(low), real(high));
            values.iter_mut().for_each(|v| *v = clip(*v, low, high));
        }
        &Function::Leaky { slope } => leaky(slope, values),
        Function::PRelu { slopes } => leaky(slopes[if slopes.len() == 1 { 0 } else { row }], values),
        &Function::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (real(alpha), real(beta));
            values.iter_mut().for_each(|v| *v = clip(*v * alpha + beta, zero, one));
        }
        Function::HardSwish => {
            let (three, six) = (real(3.0), real(6.0));
            values.iter_mut().for_each(|v| *v = *v * clip(*v + three, zero, six) / six);
        }
        Function::Smooth(name) => {
            let function = name.function();
            values.iter_mut().for_each(|v| *v = real(function.value(v.to_f64())));
        }
        Function::Polynomial { coefficients } => {
            let row = &coefficients[if coefficients.len() == 1 { 0 } else { row }];
            let row: Vec<T> = row.iter().map(|&c| real(c)).collect();
            values.iter_mut().for_each(|v| *v = row.iter().rev().fold(zero, |sum, &c| sum * *v + c));
        }
    }
}

/// Applies a linear map: im2col per group, then one multiply-add sweep per output channel.
fn linear<T: Real>(linear: &Linear, weights: &[T], bias: &[T], input: &[T]) -> Vec<T> {
    if linear.is_dense() {
        let inputs = linear.geometry.shape().in_channels;
        return weights.chunks(inputs).zip(bias).map(|(row, &b)| dot(row, input) + b).collect();
    }
    let geometry = &linear.geometry;
    let s = geometry.shape();
    let plane = geometry.out_height() * geometry.out_width();
    let terms = geometry.terms();
    let (group_in, group_out) = (geometry.group_inputs(), geometry.group_outputs());
    let in_plane = s.in_height * s.in_width;
    let mut out = Vec::with_capacity(geometry.output_len());
    let mut columns = vec![T::default(); terms * plane];
    for group in 0..s.groups {
        let source = &input[group * group_in * in_plane..(group + 1) * group_in * in_plane];
        im2col(linear, source, &mut columns);
        for o in group * group_out..(group + 1) * group_out {
            let start = out.len();
            out.resize(start + plane, bias[o]);
            let target = &mut out[start..];
            let row = &weights[o * terms..(o + 1) * terms];
            // Four columns at a time: one load and store of the target serves four products.
            let mut quads = row.chunks_exact(4).zip(columns.chunks_exact(4 * plane));
            for (w, block) in &mut quads {
                let (c0, rest) = block.split_at(plane);
                let (c1, rest) = rest.split_at(plane);
                let (c2, c3) = rest.split_at(plane);
                for ((((t, &a), &b), &c), &d) in target.iter_mut().zip(c0).zip(c1).zip(c2).zip(c3) {
                    *t += w[0] * a + w[1] * b + w[2] * c + w[3] * d;
                }
            }
            let done = terms / 4 * 4;
            for (&w, column) in row[done..].iter().zip(columns[done * plane..].chunks_exact(plane)) {
                target.iter_mut().zip(column).for_each(|(t, &c)| *t += w * c);
            }
        }
    }
    out
}

/// Lays one group's inputs out as (channel, tap) × output pixel; padding becomes zero.
fn im2col<T: Real>(linear: &Linear, source: &[T], columns: &mut [T]) {
    let geometry = &linear.geometry;
    let s = geometry.shape();
    let (out_height, out_width) = (geometry.out_height(), geometry.out_width());
    columns.fill(T::default());
    let taps = s.kernel[0] * s.kernel[1];
    for (term, column) in columns.chunks_exact_mut(out_height * out_width).enumerate() {
        let (channel, tap) = (term / taps, term % taps);
        let (ky, kx) = (tap / s.kernel[1], tap % s.kernel[1]);
        let image = &source[channel * s.in_height * s.in_width..][..s.in_height * s.in_width];
        // Output columns whose input column x·stride + kx·dilation − left lies inside the image.
        let offset = kx * s.dilation[1];
        let first = s.padding[1].saturating_sub(offset).div_ceil(s.stride[1]);
        let end = (s.in_width + s.padding[1]).saturating_sub(offset).div_ceil(s.stride[1]).min(out_width);
        for y in 0..out_height {
            let Some(row) = (y * s.stride[0] + ky * s.dilation[0]).checked_sub(s.padding[0]) else {
                continue;
            };
            if row >= s.in_height || first >= end {
                continue;
            }
            let start = first * s.stride[1] + offset - s.padding[1];
            let image_row = &image[row * s.in_width + start..(row + 1) * s.in_width];
            let target = &mut column[y * out_width + first..y * out_width + end];
            target.iter_mut().zip(image_row.iter().step_by(s.stride[1])).for_each(|(t, &v)| *t = v);
        }
    }
}

/// Dot product with eight partial sums, so that it vectorises.
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::default(); 8];
    let (chunks_a, chunks_b) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: T = chunks_a.remainder().iter().zip(chunks_b.remainder()).map(|(&x, &y)| x * y).sum();
    for (x, y) in chunks_a.zip(chunks_b) {
        lanes.iter_mut().zip(x.iter().zip(y)).for_each(|(lane, (&x, &y))| *lane += x * y);
    }
    lanes.into_iter().sum::<T>() + tail
}

/// Applies `reduce` to the cells of every window; it also gets the number of cells inside the image.
fn pool<T: Real>(window: &PoolGeometry, input: &[T], reduce: impl Fn(&[T], usize) -> T) -> Vec<T> {
    let s = window.shape();
    let (rows, columns) = window.spans();
    let mut cells = Vec::with_capacity(s.kernel[0] * s.kernel[1]);
    let mut out = Vec::with_capacity(window.output_len());
    for image in input.chunks_exact(s.in_height * s.in_width) {
        for row in &rows {
            for column in &columns {
                cells.clear();
                for y in row.clone() {
                    cells.extend_from_slice(
                        &image[y * s.in_width + column.start..y * s.in_width + column.end],
                    );
                }
                out.push(reduce(&cells, cells.len()));
            }
        }
    }
    out
}

/// Softmax over runs of `side` values, or its logarithm.
fn softmax<T: Real>(input: &[T], side: usize, logarithm: bool) -> Vec<T> {
    let mut out = Vec::with_capacity(input.len());
    for run in input.chunks(side) {
        let top = run.iter().map(|v| v.to_f64()).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = run.iter().map(|v| (v.to_f64() - top).exp()).sum();
        out.extend(run.iter().map(|v| {
            let centred = v.to_f64() - top;
            T::from_f64(if logarithm { centred - sum.ln() } else { centred.exp() / sum })
        }));
    }
    out
}
