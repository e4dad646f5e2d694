//! Cleanup: nodes that compute nothing, layouts that a fully connected layer can absorb, and the final softmax.
//!
//! - identity, dropout, reshapes and transposes that move no element, slices of everything, padding by nothing, poolings
//!   of single cells, concatenations of one tensor: removed;
//! - reshape after reshape, transpose after transpose: one of them;
//! - a fully connected layer reads elements in order, so a reshape before it goes, and a transpose or enlargement becomes a
//!   change of its weight columns;
//! - zero padding of height and width becomes padding of the convolution behind it;
//! - softmax and log-softmax at the end: removed (they keep the order of the classes; outputs are then the logits);
//!   a reshape at the end: removed.
//!
//! Slices, padding and joins among themselves are in [`maps`](super::maps).

use std::sync::Arc;

use conv_fast::{ConvGeometry, ConvShape};

use crate::error::NnError;
use crate::graph::{Graph, Linear, NodeId, Op};
use crate::shape::index_map;

/// Sweeps with the rewritings above until nothing is left to do.
pub(super) fn cleanup(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let mut out = graph.clone();
    let mut changed = false;
    loop {
        let mut again = drop_end(&mut out);
        for id in 1..out.nodes().len() {
            again |= simplify(&mut out, id)?;
        }
        let dead = out.nodes().len();
        out = out.rebuild()?;
        again |= out.nodes().len() < dead;
        if !again {
            break;
        }
        changed = true;
    }
    Ok(changed.then_some(out))
}

/// Removes softmax and reshape at the very end.
pub(super) fn drop_end(graph: &mut Graph) -> bool {
    let end = graph.output();
    let removable = matches!(graph.node(end).op, Op::Softmax | Op::LogSoftmax | Op::Reshape(_));
    if removable {
        graph.bypass(end);
    }
    removable
}

/// Whether a node's result is its first input.
fn moves_nothing(op: &Op, source: &[usize], shape: &[usize]) -> bool {
    let single = |kernel: &[usize; 2], stride: &[usize; 2], padding: &[usize; 4]| {
        *kernel == [1, 1] && *stride == [1, 1] && *padding == [0; 4]
    };
    match op {
        Op::Identity | Op::Dropout => true,
        Op::Reshape(target) => target == source,
        Op::Transpose(perm) => perm.iter().enumerate().all(|(i, &axis)| i == axis),
        Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. } => source == shape,
        Op::Upsample(factors) => *factors == [1, 1],
        Op::MaxPool(window) | Op::AveragePool { window, .. } => {
            let s = window.shape();
            single(&s.kernel, &s.stride, &s.padding)
        }
        _ => false,
    }
}

fn simplify(graph: &mut Graph, id: NodeId) -> Result<bool, NnError> {
    let node = graph.node(id);
    let Some(&input) = node.inputs.first() else { return Ok(false) };
    let source = graph.node(input);
    if moves_nothing(&node.op, &source.shape, &node.shape) {
        graph.bypass(id);
        return Ok(true);
    }
    let behind = source.inputs.first().copied();
    match (&node.op, &source.op, behind) {
        (Op::Reshape(_), Op::Reshape(_), Some(behind)) => {
            graph.node_mut(id).inputs = vec![behind];
            Ok(true)
        }
        (Op::Transpose(second), Op::Transpose(first), Some(behind)) => {
            let perm = second.iter().map(|&axis| first[axis]).collect();
            let node = graph.node_mut(id);
            node.inputs = vec![behind];
            node.op = Op::Transpose(perm);
            Ok(true)
        }
        (Op::Transpose(perm), _, _) if keeps_order(&source.shape, perm) => {
            let shape = perm.iter().map(|&axis| source.shape[axis]).collect();
            graph.node_mut(id).op = Op::Reshape(shape);
            Ok(true)
        }
        (Op::Linear(linear), Op::Reshape(_), Some(behind)) if linear.is_flat() => {
            graph.node_mut(id).inputs = vec![behind];
            Ok(true)
        }
        (Op::Linear(linear), map @ (Op::Transpose(_) | Op::Upsample(_)), Some(behind))
            if linear.is_dense() =>
        {
            let shape = &graph.node(behind).shape;
            let wrong = |what: String| NnError::shape(&source.name, what);
            let Some(map) = index_map(map, &[shape]).map_err(wrong)? else { return Ok(false) };
            let linear = gathered(&node.name, linear, &map, shape.iter().product())?;
            let node = graph.node_mut(id);
            node.inputs = vec![behind];
            node.op = Op::Linear(linear);
            Ok(true)
        }
        (Op::Linear(linear), Op::Pad { before, after }, Some(behind)) => {
            let Some(linear) = padded(linear, before, after) else { return Ok(false) };
            let node = graph.node_mut(id);
            node.inputs = vec![behind];
            node.op = Op::Linear(linear);
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// A fully connected layer on the tensor before an index map.
fn gathered(name: &str, linear: &Linear, map: &[u32], inputs: usize) -> Result<Linear, NnError> {
    let outputs = linear.geometry.shape().out_channels;
    let geometry =
        ConvGeometry::fully_connected(inputs, outputs).map_err(|e| NnError::shape(name, e.to_string()))?;
    let mut weights = vec![0.0; inputs * outputs];
    for (row, old) in weights.chunks_mut(inputs).zip(linear.weights.chunks(map.len())) {
        map.iter().zip(old).for_each(|(&to, &w)| row[to as usize] += w);
    }
    Ok(Linear { geometry, weights: Arc::new(weights), bias: linear.bias.clone() })
}

/// A convolution that pads by itself, if the padding is of height and width only.
fn padded(linear: &Linear, before: &[usize], after: &[usize]) -> Option<Linear> {
    let (&[0, 0, top, left], &[0, 0, bottom, right]) = (before, after) else { return None };
    let s = *linear.geometry.shape();
    if linear.is_flat() {
        return None;
    }
    let p = s.padding;
    let geometry = ConvGeometry::new(ConvShape {
        in_height: s.in_height - top - bottom,
        in_width: s.in_width - left - right,
        padding: [p[0] + top, p[1] + left, p[2] + bottom, p[3] + right],
        ..s
    });
    let linear =
        Linear { geometry: geometry.ok()?, weights: Arc::clone(&linear.weights), bias: linear.bias.clone() };
    (!linear.is_flat()).then_some(linear)
}

/// Whether a transpose moves only axes of side 1, so that the elements stay in order.
fn keeps_order(shape: &[usize], perm: &[usize]) -> bool {
    let long: Vec<usize> = perm.iter().copied().filter(|&axis| shape[axis] > 1).collect();
    long.is_sorted()
}
