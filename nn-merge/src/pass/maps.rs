//! Slices, padding, joins and enlargements among themselves.
//!
//! They cost nothing under the protocol, but each hides what lies behind it from the other passes.
//!
//! | situation | becomes |
//! |---|---|
//! | slice of a slice, padding of padding, enlargement of an enlargement | one |
//! | slice of a concatenation, within one operand | slice of that operand |
//! | slice of padding that takes no padding | slice of the tensor itself |
//! | concatenation of a concatenation along the same axis | one |
//! | concatenation of neighbouring slices of one tensor | one slice (the whole tensor: nothing) |
//! | equal slices, joins or reshapes of one tensor | one |

use super::edit::Edit;
use crate::error::NnError;
use crate::graph::{Graph, NodeId, Op};

/// Most operands of a concatenation made of several.
const MAX_OPERANDS: usize = 1024;

/// Applies the first rewriting of the table that fits.
pub(super) fn maps(graph: &Graph) -> Result<Option<Graph>, NnError> {
    for id in 1..graph.nodes().len() {
        if let Some((op, inputs)) = simpler(graph, id) {
            let mut edit = Edit::new(graph);
            edit.set(id, op, &inputs);
            return edit.finish().map(Some);
        }
        if let Some(twin) = twin(graph, id) {
            let mut edit = Edit::new(graph);
            edit.redirect(id, twin, &[]);
            return edit.finish().map(Some);
        }
    }
    Ok(None)
}

/// An earlier node that moves the same elements in the same way.
fn twin(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id);
    let moves = matches!(
        node.op,
        Op::Slice { .. }
            | Op::Concat { .. }
            | Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Pad { .. }
            | Op::Upsample(_)
    );
    let same = |&other: &NodeId| graph.node(other).inputs == node.inputs && graph.node(other).op == node.op;
    if moves { (1..id).find(same) } else { None }
}

fn simpler(graph: &Graph, id: NodeId) -> Option<(Op, Vec<NodeId>)> {
    let node = graph.node(id);
    let source = graph.node(*node.inputs.first()?);
    match (&node.op, &source.op) {
        (Op::Slice { start, step, size }, Op::Slice { start: from, step: by, .. }) => {
            let start = (0..start.len()).map(|a| from[a] + start[a] * by[a]).collect();
            let step = step.iter().zip(by).map(|(a, b)| a * b).collect();
            Some((Op::Slice { start, step, size: size.clone() }, source.inputs.clone()))
        }
        (Op::Pad { before, after }, Op::Pad { before: b, after: a }) => {
            let sum = |x: &[usize], y: &[usize]| x.iter().zip(y).map(|(p, q)| p + q).collect();
            Some((Op::Pad { before: sum(before, b), after: sum(after, a) }, source.inputs.clone()))
        }
        (Op::Upsample(second), Op::Upsample(first)) => {
            Some((Op::Upsample([first[0] * second[0], first[1] * second[1]]), source.inputs.clone()))
        }
        (Op::Slice { start, step, size }, Op::Concat { axis }) => {
            let last = start[*axis] + (size[*axis] - 1) * step[*axis];
            let mut first = 0;
            for &input in &source.inputs {
                let end = first + graph.node(input).shape[*axis];
                if start[*axis] >= first && last < end {
                    let mut start = start.clone();
                    start[*axis] -= first;
                    return Some((Op::Slice { start, step: step.clone(), size: size.clone() }, vec![input]));
                }
                first = end;
            }
            None
        }
        (Op::Slice { start, step, size }, Op::Pad { before, .. }) => {
            let inner = &graph.node(source.inputs[0]).shape;
            let inside = (0..start.len())
                .all(|a| start[a] >= before[a] && start[a] + (size[a] - 1) * step[a] < before[a] + inner[a]);
            let start = start.iter().zip(before).map(|(s, b)| s.wrapping_sub(*b)).collect();
            inside
                .then(|| (Op::Slice { start, step: step.clone(), size: size.clone() }, source.inputs.clone()))
        }
        (Op::Concat { axis }, _) => joined(graph, &node.inputs, *axis),
        _ => None,
    }
}

/// A shorter list of operands of a concatenation.
fn joined(graph: &Graph, inputs: &[NodeId], axis: usize) -> Option<(Op, Vec<NodeId>)> {
    let nested = |&id: &NodeId| matches!(&graph.node(id).op, Op::Concat { axis: other } if *other == axis);
    let operands = |id: &NodeId| if nested(id) { graph.node(*id).inputs.len() } else { 1 };
    if inputs.iter().any(nested) && inputs.iter().map(operands).sum::<usize>() <= MAX_OPERANDS {
        let flat = inputs.iter().flat_map(|id| match nested(id) {
            true => graph.node(*id).inputs.clone(),
            false => vec![*id],
        });
        return Some((Op::Concat { axis }, flat.collect()));
    }
    shrink(graph, inputs, axis)
}

/// A concatenation whose operands are all slices of one tensor, each behind the one before it: one slice.
fn shrink(graph: &Graph, inputs: &[NodeId], axis: usize) -> Option<(Op, Vec<NodeId>)> {
    if inputs.len() < 2 {
        return None;
    }
    let mut whole = graph.node(*inputs.first()?).clone();
    for &input in inputs.get(1..)? {
        whole.op = adjacent(&whole, graph.node(input), axis)?;
    }
    Some((whole.op, whole.inputs))
}

/// The slice that two neighbouring slices of one tensor make, joined along `axis`.
fn adjacent(first: &crate::graph::Node, second: &crate::graph::Node, axis: usize) -> Option<Op> {
    let (Op::Slice { start, step, size }, Op::Slice { start: from, step: by, size: count }) =
        (&first.op, &second.op)
    else {
        return None;
    };
    let others = (0..start.len()).all(|a| a == axis || (start[a] == from[a] && size[a] == count[a]));
    let follows = step == by && from[axis] == start[axis] + size[axis] * step[axis];
    if first.inputs != second.inputs || !others || !follows {
        return None;
    }
    let mut size = size.clone();
    size[axis] += count[axis];
    Some(Op::Slice { start: start.clone(), step: step.clone(), size })
}
