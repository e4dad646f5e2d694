//! Interval arithmetic over a graph: what no accepted input can exceed.
//!
//! A tensor has one interval per run of equal length of its elements: per channel where there are channels. Linear maps give
//! each output channel the exact hull over independent inputs; functions the hull of their values over an interval, a little
//! wider where that is easier to say. Rounding of the interval ends themselves is not looked after.

use crate::error::NnError;
use crate::graph::{Function, Graph, Linear, Node, Op};
use crate::model::{PoolGeometry, SmoothName};
use crate::shape::{ZERO, index_map};

/// An interval of real values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Least value.
    pub low: f64,
    /// Greatest value.
    pub high: f64,
}

impl Interval {
    /// The largest magnitude in it.
    pub fn magnitude(&self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    fn hull(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    fn with_zero(self) -> Self {
        self.hull(Self { low: 0.0, high: 0.0 })
    }

    fn scaled(self, factor: f64, shift: f64) -> Self {
        let (a, b) = (self.low * factor + shift, self.high * factor + shift);
        Self { low: a.min(b), high: a.max(b) }
    }

    /// The hull of a function's values at both ends and at `between`, if they lie inside.
    fn through(self, f: impl Fn(f64) -> f64, between: &[f64]) -> Self {
        let inside = between.iter().copied().filter(|x| (self.low..=self.high).contains(x));
        let values = inside.chain([self.low, self.high]).map(f);
        values.fold(Self { low: f64::INFINITY, high: f64::NEG_INFINITY }, |hull, v| Self {
            low: hull.low.min(v),
            high: hull.high.max(v),
        })
    }
}

/// The intervals of every node, for inputs in the given ones (one per run of equal length of the input).
///
/// # Errors
/// [`NnError::Shape`] if a node does not fit its inputs (impossible for graphs built by [`Graph::push`]).
pub fn intervals(graph: &Graph, input: &[Interval]) -> Result<Vec<Vec<Interval>>, NnError> {
    let mut out: Vec<Vec<Interval>> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let made = match node.inputs.first() {
            None => input.to_vec(),
            Some(&source) => through_node(graph, node, &out, &out[source])?,
        };
        out.push(made);
    }
    Ok(out)
}

fn through_node(
    graph: &Graph,
    node: &Node,
    before: &[Vec<Interval>],
    source: &[Interval],
) -> Result<Vec<Interval>, NnError> {
    let channels = match node.shape[..] {
        [1, channels, ..] => channels,
        _ => 1,
    };
    let spread = |values: &[f64], c: usize| values[if values.len() == 1 { 0 } else { c }];
    Ok(match &node.op {
        Op::Linear(l) => linear(l, source),
        Op::BatchNorm(norm) => {
            let d = norm.diagonal();
            let x = resampled(source, channels, node.elements());
            (0..channels).map(|c| x[c].scaled(spread(&d.scale, c), spread(&d.shift, c))).collect()
        }
        Op::Scale(d) => {
            let x = resampled(source, channels, node.elements());
            (0..channels).map(|c| x[c].scaled(spread(&d.scale, c), spread(&d.shift, c))).collect()
        }
        Op::Activation(function) if function.rows() == 1 => {
            source.iter().map(|&x| apply(function, 0, x)).collect()
        }
        Op::Activation(function) => {
            let x = resampled(source, channels, node.elements());
            (0..channels).map(|c| apply(function, c, x[c])).collect()
        }
        Op::Mixed(parts) => {
            let mut x = resampled(source, channels, node.elements());
            for part in parts {
                for (row, &channel) in part.channels.iter().enumerate() {
                    x[channel] = apply(&part.function, row, x[channel]);
                }
            }
            x
        }
        Op::MaxPool(_) => resampled(source, channels, graph.node(node.inputs[0]).elements()),
        Op::AveragePool { window, count_padding } => {
            let x = resampled(source, channels, graph.node(node.inputs[0]).elements());
            let padded = *count_padding && sees_padding(window);
            x.into_iter().map(|x| if padded { x.with_zero() } else { x }).collect()
        }
        Op::Add => {
            let other = &before[node.inputs[1]];
            let runs = source.len().max(other.len());
            let (a, b) = (resampled(source, runs, node.elements()), resampled(other, runs, node.elements()));
            a.iter().zip(&b).map(|(a, b)| Interval { low: a.low + b.low, high: a.high + b.high }).collect()
        }
        Op::Softmax => vec![Interval { low: 0.0, high: 1.0 }],
        Op::LogSoftmax => vec![Interval { low: f64::NEG_INFINITY, high: 0.0 }],
        Op::Input | Op::Identity | Op::Dropout | Op::Reshape(_) => source.to_vec(),
        moved => {
            let shapes: Vec<&[usize]> = node.inputs.iter().map(|&i| graph.node(i).shape.as_slice()).collect();
            let map = index_map(moved, &shapes).map_err(|what| NnError::shape(&node.name, what))?;
            let map = map.ok_or_else(|| NnError::shape(&node.name, "it has no interval"))?;
            // Elements are counted through all inputs one after the other.
            let mut runs = Vec::new();
            let mut first = 0;
            for &input in &node.inputs {
                let length = graph.node(input).elements();
                runs.push((first, length, before[input].as_slice()));
                first += length;
            }
            let of = |element: u32| {
                let element = element as usize;
                let at = runs.partition_point(|&(first, _, _)| first <= element) - 1;
                let (first, length, x) = runs[at];
                x[(element - first) * x.len() / length]
            };
            let hull = |run: &[u32]| {
                run.iter()
                    .map(|&e| if e == ZERO { Interval { low: 0.0, high: 0.0 } } else { of(e) })
                    .reduce(Interval::hull)
            };
            map.chunks(node.elements() / channels).filter_map(hull).collect()
        }
    })
}

/// The same tensor's intervals on `runs` runs of its elements.
fn resampled(source: &[Interval], runs: usize, elements: usize) -> Vec<Interval> {
    if source.len() == runs {
        return source.to_vec();
    }
    let all = source.iter().copied().reduce(Interval::hull).unwrap_or(Interval { low: 0.0, high: 0.0 });
    if runs.is_multiple_of(source.len()) {
        return (0..runs).map(|run| source[run * source.len() / runs]).collect();
    }
    if source.len().is_multiple_of(runs) && elements.is_multiple_of(source.len()) {
        let each = source.len() / runs;
        return source
            .chunks(each)
            .map(|x| x.iter().copied().reduce(Interval::hull).unwrap_or(all))
            .collect();
    }
    vec![all; runs]
}

fn sees_padding(window: &PoolGeometry) -> bool {
    window.shape().padding != [0; 4]
}

/// Output intervals per output channel of a linear map.
fn linear(linear: &Linear, intervals: &[Interval]) -> Vec<Interval> {
    let geometry = &linear.geometry;
    let s = geometry.shape();
    let padded = s.padding != [0; 4];
    let taps = s.kernel[0] * s.kernel[1];
    let (group_in, group_out) = (geometry.group_inputs(), geometry.group_outputs());
    let inputs = resampled(intervals, s.in_channels, geometry.input_len());
    let rows = linear.weights.chunks(geometry.terms()).zip(&linear.bias).enumerate();
    rows.map(|(o, (row, &bias))| {
        let mut out = Interval { low: bias, high: bias };
        for (i, cell) in row.chunks(taps).enumerate() {
            let mut x = inputs[o / group_out * group_in + i];
            if padded {
                x = x.with_zero();
            }
            for &w in cell.iter().filter(|&&w| w != 0.0) {
                let (a, b) = (w * x.low, w * x.high);
                out.low += a.min(b);
                out.high += a.max(b);
            }
        }
        out
    })
    .collect()
}

/// The values of a function over an interval.
fn apply(function: &Function, row: usize, x: Interval) -> Interval {
    let leaky = |slope: f64| x.through(|v| if v < 0.0 { slope * v } else { v }, &[0.0]);
    match function {
        Function::Identity => x,
        Function::Relu => x.through(|v| v.max(0.0), &[]),
        &Function::Clip { low, high } => x.through(|v| v.max(low).min(high), &[]),
        &Function::Leaky { slope } => leaky(slope),
        Function::PRelu { slopes } => leaky(slopes[if slopes.len() == 1 { 0 } else { row }]),
        &Function::HardSigmoid { alpha, beta } => x.through(|v| (alpha * v + beta).clamp(0.0, 1.0), &[]),
        Function::HardSwish => x.through(
            |v| if v == f64::NEG_INFINITY { 0.0 } else { v * (v + 3.0).clamp(0.0, 6.0) / 6.0 },
            &[-1.5, -3.0],
        ),
        &Function::Smooth(name) => smooth(name, x),
        Function::Polynomial { coefficients } => {
            let row = &coefficients[if coefficients.len() == 1 { 0 } else { row }];
            let mut out = Interval { low: 0.0, high: 0.0 };
            for (e, &c) in row.iter().enumerate().filter(|(_, c)| **c != 0.0) {
                let even: &[f64] = if e % 2 == 0 { &[0.0] } else { &[] };
                let power = x.through(|v| v.powi(e as i32), even).scaled(c, 0.0);
                out = Interval { low: out.low + power.low, high: out.high + power.high };
            }
            out
        }
    }
}

fn smooth(name: SmoothName, x: Interval) -> Interval {
    let function = name.function();
    let ends = x.through(|v| function.value(v.clamp(-700.0, 700.0)), &[0.0]);
    match name {
        // Below zero both dip once, to −0.17 and −0.28, on their way back to zero.
        SmoothName::Gelu | SmoothName::GeluTanh | SmoothName::Silu if x.low < 0.0 => {
            let dip = if name == SmoothName::Silu { -0.2785 } else { -0.1701 };
            ends.hull(Interval { low: dip, high: 0.0 })
        }
        SmoothName::Exp => Interval { low: x.low.exp(), high: x.high.exp() },
        // Of 700 and more they are the identity.
        _ => Interval {
            low: ends.low,
            high: if x.high > 700.0 && ends.high > 1.0 { x.high } else { ends.high },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Evaluator;
    use crate::graph::Part;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    #[test]
    fn no_image_leaves_its_intervals_and_a_single_layer_reaches_them() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let graph = crate::zoo::lenet(&mut rng).expect("fixed shapes");
        let bounds = intervals(&graph, &[Interval { low: -1.0, high: 1.0 }]).expect("fits");
        let evaluator = Evaluator::<f64>::new(&graph).expect("fits");
        for _ in 0..20 {
            let image: Vec<f64> = (0..784).map(|_| f64::from(rng.next_u32() % 2) * 2.0 - 1.0).collect();
            evaluator
                .run_observed(&image, |id, values| {
                    let x = &bounds[id];
                    for (e, v) in values.iter().enumerate() {
                        let own = x[e * x.len() / values.len()];
                        assert!(own.low - 1e-9 <= *v && *v <= own.high + 1e-9, "node {id}: {v} {own:?}");
                    }
                })
                .expect("fits");
        }
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        let graph = crate::zoo::mlp(&[6, 1], &mut rng).expect("small");
        let bound = intervals(&graph, &[Interval { low: -1.0, high: 1.0 }]).expect("fits");
        let Some(Op::Linear(linear)) =
            graph.nodes().iter().map(|n| n.op.clone()).find(|op| matches!(op, Op::Linear(_)))
        else {
            panic!("no linear map")
        };
        let signs: Vec<f64> = linear.weights.iter().map(|w| w.signum()).collect();
        let worst = Evaluator::<f64>::new(&graph).and_then(|e| e.run(&signs)).expect("fits")[0];
        assert!((worst - bound[graph.output()][0].high).abs() < 1e-9);
    }

    #[test]
    fn functions_stay_in_their_intervals() {
        let functions = [
            Function::Relu,
            Function::Clip { low: -0.5, high: 2.0 },
            Function::Leaky { slope: -0.5 },
            Function::HardSigmoid { alpha: -0.2, beta: 0.5 },
            Function::HardSwish,
            Function::Smooth(SmoothName::Sigmoid),
            Function::Smooth(SmoothName::Tanh),
            Function::Smooth(SmoothName::Gelu),
            Function::Smooth(SmoothName::GeluTanh),
            Function::Smooth(SmoothName::Silu),
            Function::Smooth(SmoothName::Softplus),
            Function::Smooth(SmoothName::Elu),
            Function::Smooth(SmoothName::Exp),
            Function::Polynomial { coefficients: vec![vec![0.5, -1.0, 2.0, 0.25]] },
        ];
        for function in functions {
            let mut graph = Graph::new("input", &[1, 1]).unwrap();
            graph.push("f", Op::Activation(function.clone()), &[0]).unwrap();
            let evaluator = Evaluator::<f64>::new(&graph).unwrap();
            for (low, high) in [(-4.0, 4.0), (-1.0, 5.0), (-6.0, -2.0), (0.5, 1.0)] {
                let own = apply(&function, 0, Interval { low, high });
                for i in 0..=500 {
                    let x = low + (high - low) * f64::from(i) / 500.0;
                    let y = evaluator.run(&[x]).unwrap()[0];
                    assert!(own.low - 1e-4 <= y && y <= own.high + 1e-4, "{function:?} {x} {y} {own:?}");
                }
            }
        }
    }

    #[test]
    fn joins_slices_and_mixtures_keep_channels_apart() {
        let mut graph = Graph::new("input", &[1, 2, 2, 2]).unwrap();
        let relu = vec![
            Part { channels: vec![0], function: Function::Relu },
            Part { channels: vec![1], function: Function::Identity },
        ];
        let mixed = graph.push("mixed", Op::Mixed(relu), &[0]).unwrap();
        let joined = graph.push("joined", Op::Concat { axis: 1 }, &[mixed, 0]).unwrap();
        let slice = Op::Slice { start: vec![0, 1, 0, 0], step: vec![1; 4], size: vec![1, 2, 2, 1] };
        let slice = graph.push("slice", slice, &[joined]).unwrap();
        let pad = Op::Pad { before: vec![0, 0, 1, 0], after: vec![0; 4] };
        graph.push("pad", pad, &[slice]).unwrap();
        let input = [Interval { low: -1.0, high: 2.0 }, Interval { low: 3.0, high: 4.0 }];
        let all = intervals(&graph, &input).unwrap();
        assert_eq!(all[mixed], [Interval { low: 0.0, high: 2.0 }, input[1]]);
        assert_eq!(all[slice], [input[1], input[0]]);
        assert_eq!(all[slice + 1], [Interval { low: 0.0, high: 4.0 }, input[0]]);
    }
}
