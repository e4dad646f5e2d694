//! Activations: simpler forms, two in a row, equal ones joined, and away from maps that move elements.
//!
//! - *Simplify*: a function is written in its simplest form (a clip from 0 to ∞ is a ReLU), channels with equal functions
//!   share a part; an identity goes; f₂ after f₁ becomes one function where there is one (ReLU of ReLU, clip of clip,
//!   ReLU of whatever is never negative).
//! - *Move*: an activation goes before a reshape, a transpose, an enlargement (fewer values) and padding (if f(0) = 0), and
//!   behind a slice (fewer values), if nobody else reads what is between.
//! - *Join*: the concatenation of equal activations is the activation of the concatenation: as many values, fewer rounds.

use super::edit::{Edit, channels};
use super::function::{combined, functions, keeps_zero, regroup, simplest};
use crate::error::NnError;
use crate::graph::{Function, Graph, NodeId, Op};

/// Simplifies the first activation that allows it.
pub(super) fn simplify(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let consumers = graph.consumers();
    for (id, node) in graph.nodes().iter().enumerate() {
        let Some(count) = channels(&node.shape) else { continue };
        let Some(list) = functions(&node.op, count) else { continue };
        let input = node.inputs[0];
        let mut edit = Edit::new(graph);
        let list: Vec<Function> = list.iter().map(simplest).collect();
        if list.iter().all(|function| *function == Function::Identity) {
            edit.redirect(id, input, &[]);
            return edit.finish().map(Some);
        }
        let simple = regroup(&list);
        if simple != node.op {
            edit.set(id, simple, &[input]);
            return edit.finish().map(Some);
        }
        let Some(first) = functions(&graph.node(input).op, count) else { continue };
        let length = list.len().max(first.len());
        let (first, second) = (spread(first, length), spread(list, length));
        let both: Option<Vec<Function>> = first.iter().zip(&second).map(|(a, b)| combined(a, b)).collect();
        let Some(both) = both else { continue };
        if both == first {
            edit.redirect(id, input, &[]);
        } else if graph.sole_consumer(input, &consumers) == Some(id) {
            edit.set(id, regroup(&both), &graph.node(input).inputs);
        } else {
            continue;
        }
        return edit.finish().map(Some);
    }
    Ok(None)
}

/// One function for each of `length` channels.
pub(super) fn spread(list: Vec<Function>, length: usize) -> Vec<Function> {
    match &list[..] {
        [one] => vec![one.clone(); length],
        _ => list,
    }
}

/// Moves the first activation that can be moved.
pub(super) fn through_maps(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let consumers = graph.consumers();
    for (id, node) in graph.nodes().iter().enumerate() {
        let Some(&input) = node.inputs.first() else { continue };
        if graph.sole_consumer(input, &consumers) != Some(id) {
            continue;
        }
        let source = graph.node(input);
        let Some(&behind) = source.inputs.first() else { continue };
        let before = &graph.node(behind).shape;
        let moved = match (&source.op, &node.op) {
            (map, op @ (Op::Activation(_) | Op::Mixed(_))) => {
                channels(&node.shape).and_then(|count| upstream(map, before, functions(op, count)?))
            }
            (op @ (Op::Activation(_) | Op::Mixed(_)), Op::Slice { start, step, size }) => {
                channels(&source.shape).and_then(|count| {
                    let list = functions(op, count)?;
                    let chosen = |i: usize| list.get(start[1] + i * step[1]).cloned();
                    match list.len() {
                        1 => Some(list),
                        _ => (0..size[1]).map(chosen).collect(),
                    }
                })
            }
            _ => None,
        };
        if let Some(list) = moved {
            return exchange(graph, input, id, regroup(&list)).map(Some);
        }
    }
    Ok(None)
}

/// The functions that do before `map` what `list` does behind it, if that is no more work; `shape` is before it.
fn upstream(map: &Op, shape: &[usize], list: Vec<Function>) -> Option<Vec<Function>> {
    let count = channels(shape)?;
    let uniform = list.len() == 1;
    match map {
        Op::Reshape(target) => (uniform || target.get(1) == Some(&count)).then_some(list),
        Op::Transpose(perm) => (uniform || perm.get(1) == Some(&1)).then_some(list),
        Op::Upsample(_) => Some(list),
        Op::Pad { before, .. } if list.iter().all(keeps_zero) => match uniform {
            true => Some(list),
            false => list.get(before[1]..before[1] + count).map(<[Function]>::to_vec),
        },
        _ => None,
    }
}

/// Exchanges node `first` with its only reader `second`, whichever of the two is the activation, which becomes `op`.
fn exchange(graph: &Graph, first: NodeId, second: NodeId, op: Op) -> Result<Graph, NnError> {
    let mut out = graph.clone();
    out.swap_ops(first, second);
    let activation = [first, second]
        .into_iter()
        .find(|&id| matches!(out.node(id).op, Op::Activation(_) | Op::Mixed(_)))
        .unwrap_or(first);
    out.node_mut(activation).op = op;
    out.rebuild()
}

/// Joins the first concatenation of equal activations.
pub(super) fn join(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let consumers = graph.consumers();
    for (id, node) in graph.nodes().iter().enumerate() {
        let Op::Concat { axis } = node.op else { continue };
        if !node.inputs.iter().all(|&input| graph.sole_consumer(input, &consumers) == Some(id)) {
            continue;
        }
        let Some(op) = joined(graph, &node.inputs, axis) else { continue };
        let mut edit = Edit::new(graph);
        let sources: Vec<NodeId> = node.inputs.iter().map(|&input| graph.node(input).inputs[0]).collect();
        let concat = edit.add(&node.name, node.op.clone(), &sources)?;
        let names: Vec<&str> = node.inputs.iter().map(|&input| graph.node(input).name.as_str()).collect();
        let activation = edit.add(names.join(" + "), op, &[concat])?;
        edit.redirect(id, activation, &[]);
        return edit.finish().map(Some);
    }
    Ok(None)
}

/// The one function that acts on all of several tensors joined along `axis`.
fn joined(graph: &Graph, inputs: &[NodeId], axis: usize) -> Option<Op> {
    let mut all: Vec<Function> = Vec::new();
    for &input in inputs {
        let node = graph.node(input);
        let count = channels(&node.shape)?;
        let list = spread(functions(&node.op, count)?, count);
        match axis {
            1 => all.extend(list),
            _ if all.is_empty() || all == list => all = list,
            _ => return None,
        }
    }
    let op = regroup(&all);
    (axis != 1 || matches!(op, Op::Activation(_))).then_some(op)
}
