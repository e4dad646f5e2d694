//! Cleanup: nodes that compute nothing, index maps that a neighbour can absorb, and the final softmax.
//!
//! - identity, dropout, reshapes and transposes that move no element, ReLU of ReLU, 1×1 max-pools: removed;
//! - reshape after reshape, transpose after transpose: one of them;
//! - index maps move behind a ReLU (it works on single values), towards the layer that can absorb them;
//! - a fully connected layer reads elements in order, so a reshape before it goes, and a transpose becomes a
//!   permutation of its weight columns;
//! - softmax and log-softmax at the end: removed (they keep the order of the classes; outputs are then the logits);
//!   a reshape at the end: removed.

use std::sync::Arc;

use crate::error::NnError;
use crate::graph::{Graph, NodeId, Op};
use crate::shape::transpose_map;

/// One sweep of the rewritings above.
pub(super) fn cleanup(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let mut out = graph.clone();
    let mut changed = drop_end(&mut out);
    for id in 1..out.nodes().len() {
        changed |= simplify(&mut out, id)?;
    }
    let dead = out.nodes().len();
    let out = out.rebuild()?;
    Ok((changed || out.nodes().len() < dead).then_some(out))
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

fn simplify(graph: &mut Graph, id: NodeId) -> Result<bool, NnError> {
    let node = graph.node(id);
    let Some(&input) = node.inputs.first() else { return Ok(false) };
    let source = graph.node(input);
    let moves_nothing = match &node.op {
        Op::Identity | Op::Dropout => true,
        Op::Reshape(target) => *target == source.shape,
        Op::Transpose(perm) => perm.iter().enumerate().all(|(i, &axis)| i == axis),
        Op::Relu => matches!(source.op, Op::Relu),
        Op::MaxPool(w) => {
            w.shape().kernel == [1, 1] && w.shape().stride == [1, 1] && w.shape().padding == [0; 4]
        }
        _ => false,
    };
    if moves_nothing {
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
        (Op::Relu, Op::Reshape(_) | Op::Transpose(_), _) => {
            let consumers = graph.consumers();
            if graph.sole_consumer(input, &consumers) != Some(id) {
                return Ok(false);
            }
            graph.swap_ops(input, id);
            // The ReLU now works on the shape before the index map.
            let Some(behind) = behind else { return Ok(false) };
            graph.node_mut(input).shape = graph.node(behind).shape.clone();
            Ok(true)
        }
        (Op::Linear(linear), Op::Reshape(_), Some(behind)) if linear.is_flat() => {
            graph.node_mut(id).inputs = vec![behind];
            Ok(true)
        }
        (Op::Linear(linear), Op::Transpose(perm), Some(behind)) if linear.is_dense() => {
            let map = transpose_map(&graph.node(behind).shape, perm)
                .map_err(|what| NnError::shape(&source.name, what))?;
            let mut linear = linear.clone();
            let mut weights = vec![0.0; linear.weights.len()];
            for (row, old) in weights.chunks_mut(map.len()).zip(linear.weights.chunks(map.len())) {
                map.iter().zip(old).for_each(|(&to, &w)| row[to] = w);
            }
            linear.weights = Arc::new(weights);
            let node = graph.node_mut(id);
            node.inputs = vec![behind];
            node.op = Op::Linear(linear);
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Whether a transpose moves only axes of side 1, so that the elements stay in order.
fn keeps_order(shape: &[usize], perm: &[usize]) -> bool {
    let long: Vec<usize> = perm.iter().copied().filter(|&axis| shape[axis] > 1).collect();
    long.is_sorted()
}
