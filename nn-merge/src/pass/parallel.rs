//! Linear maps side by side: results added, or several maps of one tensor.
//!
//! | situation | becomes | gain, weighed against products with zeros |
//! |---|---|---|
//! | L₁(x) + L₂(x) | one map (a 1×1 kernel inside a 3×3 one; a scale per channel is a 1×1 kernel) | replies, and the second reading of x |
//! | L₁(x) + L₂(y), x and y masked | one map of x and y joined; a strided 1×1 map takes a slice | replies |
//! | L₁(x), L₂(x) with equal strides | one map with both results, and a slice for each | the second reading of x |
//!
//! Kernels are brought to one grid of taps: positions i·dilation − padding, relative to the output's first row, of both
//! maps, at the greatest distance that reaches all of them. A projected shortcut of a residual network is the second
//! case, SqueezeNet's and Inception's modules are the third. Nothing is done where the cost model of
//! [`cost`](super::cost) says that the zeros cost more.

use std::sync::Arc;

use conv_fast::{ConvGeometry, ConvShape};

use super::compose::MAX_MERGED_WEIGHTS;
use super::cost::{linear_ns, raw_tensors, second_reader_ns};
use super::edit::Edit;
use crate::error::NnError;
use crate::graph::{Graph, Linear, NodeId, Op};

/// One summand: a linear map, what it reads, and the map's shape if its input is cut down first.
struct Summand {
    linear: Linear,
    source: NodeId,
    /// Step of a slice of the source.
    cut: [usize; 2],
}

/// Makes the first sum of two linear maps one map, where that pays.
pub(super) fn sums(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let consumers = graph.consumers();
    let raw = raw_tensors(graph);
    for (id, node) in graph.nodes().iter().enumerate() {
        let (Op::Add, &[left, right]) = (&node.op, &node.inputs[..]) else { continue };
        if [left, right].iter().any(|&side| graph.sole_consumer(side, &consumers) != Some(id)) {
            continue;
        }
        if ![left, right].iter().any(|&side| matches!(graph.node(side).op, Op::Linear(_))) {
            continue;
        }
        let (Some(a), Some(b)) = (summand(graph, left), summand(graph, right)) else { continue };
        let name = format!("{} + {}", graph.node(left).name, graph.node(right).name);
        let apart = linear_ns(&a.linear.geometry) + linear_ns(&b.linear.geometry);
        let (joint, sources) = if a.source == b.source {
            let Some(shape) = shared_input(&a.linear, &b.linear) else { continue };
            let second = second_reader_ns(&a.linear.geometry).min(second_reader_ns(&b.linear.geometry));
            if linear_ns(&shape) >= apart + second {
                continue;
            }
            let mut rows = vec![0.0; shape.weights_len()];
            embed(&a.linear, &shape, 0, 0, &mut rows);
            embed(&b.linear, &shape, 0, 0, &mut rows);
            (
                Linear::new(&name, shape, rows, summed(&a.linear.bias, &b.linear.bias))?,
                vec![(a.source, [1, 1])],
            )
        } else {
            if raw[a.source] || raw[b.source] {
                continue;
            }
            let (a, b) = (cut(a), cut(b));
            let Some(shape) = joined_input(&a.linear, &b.linear) else { continue };
            if linear_ns(&shape) >= apart {
                continue;
            }
            let mut rows = vec![0.0; shape.weights_len()];
            embed(&a.linear, &shape, 0, 0, &mut rows);
            embed(&b.linear, &shape, a.linear.geometry.shape().in_channels, 0, &mut rows);
            let joint = Linear::new(&name, shape, rows, summed(&a.linear.bias, &b.linear.bias))?;
            (joint, vec![(a.source, a.cut), (b.source, b.cut)])
        };
        let mut edit = Edit::new(graph);
        let mut inputs = Vec::with_capacity(2);
        for (source, step) in sources {
            inputs.push(prepared(&mut edit, graph, source, step, joint.is_flat())?);
        }
        let input = match inputs[..] {
            [one] => one,
            _ => edit.add(format!("{name} (joined)"), Op::Concat { axis: 1 }, &inputs)?,
        };
        let joint = edit.add(name, Op::Linear(joint), &[input])?;
        let result = edit.reshaped(joint, &node.shape)?;
        edit.redirect(id, result, &[]);
        return edit.finish().map(Some);
    }
    Ok(None)
}

/// Makes the first two maps of one tensor one map with both results, where that pays.
pub(super) fn outputs(graph: &Graph) -> Result<Option<Graph>, NnError> {
    for readers in graph.consumers() {
        let linear: Vec<(NodeId, &Linear)> = readers
            .iter()
            .filter_map(|&id| match &graph.node(id).op {
                Op::Linear(linear) if linear.geometry.shape().groups == 1 => Some((id, linear)),
                _ => None,
            })
            .collect();
        for (index, &(first, a)) in linear.iter().enumerate() {
            for &(second, b) in &linear[index + 1..] {
                let Some(shape) = shared_output(a, b) else { continue };
                let apart = linear_ns(&a.geometry)
                    + linear_ns(&b.geometry)
                    + second_reader_ns(&a.geometry).min(second_reader_ns(&b.geometry));
                if linear_ns(&shape) < apart {
                    return joint(graph, (first, a), (second, b), shape).map(Some);
                }
            }
        }
    }
    Ok(None)
}

fn joint(
    graph: &Graph,
    (first, a): (NodeId, &Linear),
    (second, b): (NodeId, &Linear),
    shape: ConvGeometry,
) -> Result<Graph, NnError> {
    let name = format!("{} | {}", graph.node(first).name, graph.node(second).name);
    let middle = a.bias.len();
    let mut rows = vec![0.0; shape.weights_len()];
    embed(a, &shape, 0, 0, &mut rows);
    embed(b, &shape, 0, middle, &mut rows);
    let bias = a.bias.iter().chain(&b.bias).copied().collect();
    let mut edit = Edit::new(graph);
    let linear = Linear::new(&name, shape, rows, bias)?;
    let whole = edit.add(name, Op::Linear(linear), &graph.node(first).inputs)?;
    for (id, start) in [(first, 0), (second, middle)] {
        let size = graph.node(id).shape.clone();
        let mut from = vec![0; size.len()];
        from[1] = start;
        let op = Op::Slice { start: from, step: vec![1; size.len()], size };
        let slice = edit.add(&graph.node(id).name, op, &[whole])?;
        edit.redirect(id, slice, &[]);
    }
    edit.finish()
}

/// A summand as a linear map; scales per channel count as one.
fn summand(graph: &Graph, id: NodeId) -> Option<Summand> {
    let node = graph.node(id);
    let diagonal = match &node.op {
        Op::Linear(linear) => {
            return Some(Summand { linear: linear.clone(), source: node.inputs[0], cut: [1, 1] });
        }
        Op::BatchNorm(norm) => norm.diagonal(),
        Op::Scale(diagonal) => diagonal.clone(),
        _ => return None,
    };
    let sides = match node.shape[..] {
        [1, _, h, w] => [h, w],
        [1, _] => [1, 1],
        _ => return None,
    };
    let linear = Linear::per_channel(&node.name, sides, diagonal.scale, diagonal.shift).ok()?;
    Some(Summand { linear, source: node.inputs[0], cut: [1, 1] })
}

/// A strided 1×1 map as an unstrided one of a slice.
fn cut(summand: Summand) -> Summand {
    let g = &summand.linear.geometry;
    let s = *g.shape();
    if s.kernel != [1, 1] || s.padding != [0; 4] || s.stride == [1, 1] {
        return summand;
    }
    let thinned = ConvShape { in_height: g.out_height(), in_width: g.out_width(), stride: [1, 1], ..s };
    match ConvGeometry::new(thinned) {
        Ok(geometry) => Summand {
            linear: Linear {
                geometry,
                weights: Arc::clone(&summand.linear.weights),
                bias: summand.linear.bias,
            },
            source: summand.source,
            cut: s.stride,
        },
        Err(_) => summand,
    }
}

/// A tensor as the joint map reads it: cut down, or as a plain vector.
fn prepared(
    edit: &mut Edit,
    graph: &Graph,
    source: NodeId,
    step: [usize; 2],
    flat: bool,
) -> Result<NodeId, NnError> {
    let node = graph.node(source);
    let mut input = source;
    if let (&[1, channels, h, w], true) = (&node.shape[..], step != [1, 1]) {
        let op = Op::Slice {
            start: vec![0; 4],
            step: vec![1, 1, step[0], step[1]],
            size: vec![1, channels, h.div_ceil(step[0]), w.div_ceil(step[1])],
        };
        input = edit.add(format!("{} (thinned)", node.name), op, &[source])?;
    }
    match flat {
        true => edit.flattened(input),
        false => Ok(input),
    }
}

fn summed(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// The shape of the sum of two maps of one input.
fn shared_input(a: &Linear, b: &Linear) -> Option<ConvGeometry> {
    let (s, t) = (a.geometry.shape(), b.geometry.shape());
    if s.in_channels != t.in_channels || s.out_channels != t.out_channels {
        return None;
    }
    let groups = if s.groups == t.groups { s.groups } else { 1 };
    frame(a, b, ConvShape { groups, ..*s })
}

/// The shape of the sum of two maps of two inputs, joined.
fn joined_input(a: &Linear, b: &Linear) -> Option<ConvGeometry> {
    let (s, t) = (a.geometry.shape(), b.geometry.shape());
    if s.out_channels != t.out_channels {
        return None;
    }
    frame(a, b, ConvShape { in_channels: s.in_channels + t.in_channels, groups: 1, ..*s })
}

/// The shape of two maps of one input with both results.
fn shared_output(a: &Linear, b: &Linear) -> Option<ConvGeometry> {
    let (s, t) = (a.geometry.shape(), b.geometry.shape());
    if s.in_channels != t.in_channels {
        return None;
    }
    frame(a, b, ConvShape { out_channels: s.out_channels + t.out_channels, groups: 1, ..*s })
}

/// `shape` with a grid of taps that has those of both maps, if their planes and strides agree.
fn frame(a: &Linear, b: &Linear, mut shape: ConvShape) -> Option<ConvGeometry> {
    let (s, t) = (a.geometry.shape(), b.geometry.shape());
    let planes = |l: &Linear| {
        let s = l.geometry.shape();
        [s.in_height, s.in_width, l.geometry.out_height(), l.geometry.out_width()]
    };
    if planes(a) != planes(b) || s.stride != t.stride || a.is_flat() != b.is_flat() {
        return None;
    }
    let [height, width, out_height, out_width] = planes(a);
    for (axis, (size, outputs)) in [(height, out_height), (width, out_width)].into_iter().enumerate() {
        let reach = |s: &ConvShape| {
            let first = -(s.padding[axis] as i64);
            (first, first + ((s.kernel[axis] - 1) * s.dilation[axis]) as i64)
        };
        let ((first_a, last_a), (first_b, last_b)) = (reach(s), reach(t));
        let steps = [
            if s.kernel[axis] > 1 { s.dilation[axis] as u64 } else { 0 },
            if t.kernel[axis] > 1 { t.dilation[axis] as u64 } else { 0 },
            first_a.abs_diff(first_b),
        ];
        let step = steps.into_iter().fold(0, gcd).max(1);
        let (first, last) = (first_a.min(first_b), last_a.max(last_b));
        shape.kernel[axis] = (last.abs_diff(first) / step) as usize + 1;
        shape.dilation[axis] = step as usize;
        shape.padding[axis] = first.unsigned_abs() as usize;
        let end = (outputs - 1) * shape.stride[axis] + last.abs_diff(first) as usize + 1;
        shape.padding[axis + 2] = end.saturating_sub(size + shape.padding[axis]);
    }
    let geometry = ConvGeometry::new(shape).ok()?;
    let same = [geometry.out_height(), geometry.out_width()] == [out_height, out_width];
    (same && geometry.weights_len() as u64 <= MAX_MERGED_WEIGHTS).then_some(geometry)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Adds a map's weights to those of a map with a larger frame, its inputs and outputs from the given channels on.
fn embed(linear: &Linear, frame: &ConvGeometry, first_input: usize, first_output: usize, rows: &mut [f64]) {
    let (s, f) = (linear.geometry.shape(), frame.shape());
    let (group_in, group_out) = (linear.geometry.group_inputs(), linear.geometry.group_outputs());
    let (taps, width) = (s.kernel[0] * s.kernel[1], f.kernel[1]);
    let frame_taps = f.kernel[0] * width;
    let place = |axis: usize, tap: usize| {
        (tap * s.dilation[axis] + f.padding[axis] - s.padding[axis]) / f.dilation[axis]
    };
    let places: Vec<usize> =
        (0..taps).map(|t| place(0, t / s.kernel[1]) * width + place(1, t % s.kernel[1])).collect();
    for (o, row) in linear.weights.chunks(linear.geometry.terms()).enumerate() {
        let target = &mut rows[(o + first_output) * frame.terms()..][..frame.terms()];
        for (c, cell) in row.chunks(taps).enumerate() {
            // With groups of its own the frame counts inputs within them.
            let channel = match f.groups {
                1 => o / group_out * group_in + c + first_input,
                _ => c,
            };
            for (&place, &w) in places.iter().zip(cell) {
                target[channel * frame_taps + place] += w;
            }
        }
    }
}
