//! Batch normalisation and per-channel scales: folded into linear maps, before them or behind them.
//!
//! With D(x) = s·x + t per channel, and a linear map L with weights w and bias b, exact rewritings are:
//!
//! | situation | becomes | condition |
//! |---|---|---|
//! | D after L | w\[o\] ← s\[o\]·w\[o\], b\[o\] ← s\[o\]·b\[o\] + t\[o\] | L is read on the way to D only |
//! | D before L | w\[·,c\] ← s\[c\]·w\[·,c\], b ← b + Σ w·t | t = 0 or L has no padding (a padded border is 0 for L, but would have been t) |
//! | D next to D' | one D | |
//!
//! Where L is not next to D, D travels ([`travel`](super::travel)): against the flow through nodes that nobody else
//! reads, or with the flow to all readers at once. In between may lie
//!
//! | node | condition |
//! |---|---|
//! | maximum pooling | s > 0 |
//! | ReLU, leaky ReLU, PReLU (positively homogeneous) | s > 0, t = 0 |
//! | average pooling | t = 0, or no padding that counts |
//! | reshape, transpose, slice, padding, enlargement | every channel on the other side gets one (s, t); t = 0 where there is padding |
//! | concatenation | – |
//! | sum (against the flow) | both summands can take s, one of them t |
//!
//! If D as a whole cannot go, its scale may go alone, and a pure shift stays; before a homogeneous activation,
//! f(s·x + t) = s·f(x + t/s). Linear maps must take such a part: two scales would pass it to and fro. A rewriting never moves a D without absorbing it, so that it cannot go on for ever.
//!
//! What remains (`lone scales`) becomes a 1×1 convolution per channel, unless it costs nothing as it is: a shift of a raw
//! tensor is a bias of a sum; a scale and shift of an activation's result are the activation's private units and
//! offset, if the scales of the channels are equal or only linear maps read it.

use crate::error::NnError;
use crate::graph::{Diagonal, Graph, Linear, NodeId, Op};

use super::cost::raw_tensors;
use super::edit::{Edit, channels};
use super::function::is_homogeneous;
use super::travel::{Plan, lower, raise};

/// Scales further apart than this are not divided by.
const MAX_RATIO: f64 = 1e3;

/// Folds batch normalisations.
pub(super) fn batch_norm(graph: &Graph) -> Result<Option<Graph>, NnError> {
    sweep(graph, |op| match op {
        Op::BatchNorm(norm) => Some(norm.diagonal()),
        _ => None,
    })
}

/// Folds scales and shifts.
pub(super) fn scale(graph: &Graph) -> Result<Option<Graph>, NnError> {
    sweep(graph, |op| match op {
        Op::Scale(diagonal) => Some(diagonal.clone()),
        _ => None,
    })
}

fn sweep(graph: &Graph, pick: impl Fn(&Op) -> Option<Diagonal>) -> Result<Option<Graph>, NnError> {
    let mut out = graph.clone();
    let mut changed = false;
    while let Some(plan) = (1..out.nodes().len()).find_map(|id| absorb(&out, id, &pick(&out.node(id).op)?)) {
        plan.apply(&mut out);
        out = out.rebuild()?;
        changed = true;
    }
    Ok(changed.then_some(out))
}

/// The way to fold the diagonal node `id`, if there is one.
fn absorb(graph: &Graph, id: NodeId, diagonal: &Diagonal) -> Option<Plan> {
    let consumers = graph.consumers();
    if consumers[id].is_empty() && id != graph.output() {
        return None;
    }
    let mut gone = Plan::default();
    gone.bypass(id);
    let is_shift = diagonal.scale.iter().all(|&s| s == 1.0);
    let is_scale = diagonal.shift.iter().all(|&t| t == 0.0);
    if is_shift && is_scale {
        return Some(gone);
    }
    let input = graph.node(id).inputs[0];
    if let Some(plan) = raise(graph, &consumers, input, id, diagonal) {
        return Some(plan.and(gone));
    }
    if let Some(plan) = lower(graph, &consumers, id, diagonal) {
        return Some(plan.and(gone));
    }
    if is_shift {
        return None;
    }
    let zeros = vec![0.0; diagonal.shift.len()];
    let ones = vec![1.0; diagonal.shift.len()];
    let scale = Diagonal { scale: diagonal.scale.clone(), shift: zeros };
    let linear = |plan: &Plan| plan.only_linear();
    if !is_scale && let Some(plan) = raise(graph, &consumers, input, id, &scale).filter(linear) {
        let rest = Diagonal { scale: ones, shift: diagonal.shift.clone() };
        return Some(plan.set(id, Op::Scale(rest)));
    }
    let sizes = || diagonal.scale.iter().map(|s| s.abs());
    let (least, most) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
    if is_scale || least * MAX_RATIO < most || least == 0.0 {
        return None;
    }
    let shift = diagonal.shift.iter().zip(&diagonal.scale).map(|(t, s)| t / s).collect();
    let rest = Op::Scale(Diagonal { scale: ones, shift });
    if let Some(plan) = lower(graph, &consumers, id, &scale).filter(linear) {
        return Some(plan.set(id, rest));
    }
    let next = graph.sole_consumer(id, &consumers)?;
    let homogeneous = match &graph.node(next).op {
        Op::Activation(function) => is_homogeneous(function),
        Op::Mixed(parts) => parts.iter().all(|part| is_homogeneous(&part.function)),
        _ => false,
    };
    if !homogeneous || scale.scale.iter().any(|&s| s <= 0.0) {
        return None;
    }
    Some(lower(graph, &consumers, next, &scale).filter(linear)?.set(id, rest))
}

/// Makes the first remaining normalisation or scale that is not free a linear map of its own.
pub(super) fn lone_scales(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let raw = raw_tensors(graph);
    let consumers = graph.consumers();
    for (id, node) in graph.nodes().iter().enumerate() {
        let (diagonal, is_norm) = match &node.op {
            Op::BatchNorm(norm) => (norm.diagonal(), true),
            Op::Scale(diagonal) => (diagonal.clone(), false),
            _ => continue,
        };
        let mut edit = Edit::new(graph);
        let input = node.inputs[0];
        if is_free(graph, &consumers, &raw, id, &diagonal) {
            if !is_norm {
                continue;
            }
            edit.set(id, Op::Scale(diagonal), &[input]);
            return edit.finish().map(Some);
        }
        let Some(channels) = channels(&node.shape) else { continue };
        let plane = node.elements() / channels;
        // Whatever lies behind the channel axis is a plane to a per-channel map.
        let sides = match node.shape[..] {
            [1, _, h, w] => [h, w],
            _ => [plane, 1],
        };
        let Ok(linear) = Linear::per_channel(&node.name, sides, diagonal.scale, diagonal.shift) else {
            continue;
        };
        let source = edit.reshaped(input, &[1, channels, sides[0], sides[1]])?;
        let linear = edit.add(&node.name, Op::Linear(linear), &[source])?;
        let result = edit.reshaped(linear, &node.shape)?;
        edit.redirect(id, result, &[]);
        return edit.finish().map(Some);
    }
    Ok(None)
}

/// Whether a scale costs nothing where it is; see the [module](self).
pub(super) fn is_free(
    graph: &Graph,
    consumers: &[Vec<NodeId>],
    raw: &[bool],
    id: NodeId,
    diagonal: &Diagonal,
) -> bool {
    let input = graph.node(id).inputs[0];
    let first = diagonal.scale.first().copied().unwrap_or(1.0);
    let uniform = diagonal.scale.iter().all(|&s| s == first) && first != 0.0;
    if raw[input] {
        return uniform && first == 1.0;
    }
    let own = matches!(graph.node(input).op, Op::Activation(_) | Op::Mixed(_))
        && graph.sole_consumer(input, consumers) == Some(id);
    own && (uniform || only_linear_readers(graph, consumers, id))
}

/// Whether only linear maps read a tensor, perhaps through maps that move elements.
fn only_linear_readers(graph: &Graph, consumers: &[Vec<NodeId>], id: NodeId) -> bool {
    let mut stack = vec![id];
    while let Some(id) = stack.pop() {
        if id == graph.output() {
            return false;
        }
        for &reader in &consumers[id] {
            match &graph.node(reader).op {
                Op::Linear(_) => {}
                Op::AveragePool { .. } => stack.push(reader),
                op if op.moves() => stack.push(reader),
                _ => return false,
            }
        }
    }
    true
}
