//! How a per-channel map D(x) = s·x + t reaches linear maps that can absorb it; see [`diagonal`](super::diagonal).
//!
//! Both directions work out a [`Plan`], a list of nodes with new operations, without touching the graph: either all of D
//! is absorbed or nothing happens. Against the flow a node is touched only if nobody else reads it, so that the nodes
//! on the way form a tree; with the flow all readers must agree, and a node that would be reached on two ways ends the
//! attempt.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::edit::channels;
use super::function::is_homogeneous;
use crate::graph::{Diagonal, Graph, Linear, NodeId, Op};
use crate::model::PoolGeometry;
use crate::shape::{ZERO, index_map};

/// New operations for some nodes, and nodes to leave out.
#[derive(Default)]
pub(super) struct Plan {
    ops: Vec<(NodeId, Op)>,
    gone: Vec<NodeId>,
}

impl Plan {
    /// Leaves a node out: its readers read its input.
    pub(super) fn bypass(&mut self, id: NodeId) {
        self.gone.push(id);
    }

    /// Whether linear maps absorb all of it.
    pub(super) fn only_linear(&self) -> bool {
        self.ops.iter().all(|(_, op)| matches!(op, Op::Linear(_)))
    }

    /// With one more new operation.
    pub(super) fn set(mut self, id: NodeId, op: Op) -> Self {
        self.ops.push((id, op));
        self
    }

    /// Both plans.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.ops.extend(other.ops);
        self.gone.extend(other.gone);
        self
    }

    /// Changes the graph; shapes stay as they are.
    pub(super) fn apply(self, graph: &mut Graph) {
        for (id, op) in self.ops {
            graph.node_mut(id).op = op;
        }
        for id in self.gone {
            graph.bypass(id);
        }
    }
}

/// Lets `id`, which only `reader` reads, and what lies before it absorb a D that follows it.
pub(super) fn raise(
    graph: &Graph,
    consumers: &[Vec<NodeId>],
    id: NodeId,
    reader: NodeId,
    diagonal: &Diagonal,
) -> Option<Plan> {
    let mut plan = Plan::default();
    let mut todo = vec![(id, reader, diagonal.clone())];
    while let Some((id, reader, diagonal)) = todo.pop() {
        if graph.sole_consumer(id, consumers) != Some(reader) {
            return None;
        }
        let node = graph.node(id);
        if channels(&node.shape)? != diagonal.scale.len() {
            return None;
        }
        let input = *node.inputs.first()?;
        match &node.op {
            Op::Linear(linear) => plan.ops.push((id, Op::Linear(after(linear, &diagonal)?))),
            Op::BatchNorm(norm) => plan.ops.push((id, Op::Scale(chained(&norm.diagonal(), &diagonal)))),
            Op::Scale(first) => plan.ops.push((id, Op::Scale(chained(first, &diagonal)))),
            Op::Add => {
                let scale =
                    Diagonal { scale: diagonal.scale.clone(), shift: vec![0.0; diagonal.shift.len()] };
                todo.push((node.inputs[1], id, scale));
                todo.push((input, id, diagonal));
            }
            Op::Concat { axis } => {
                let mut first = 0;
                for &source in &node.inputs {
                    let count = channels(&graph.node(source).shape)?;
                    let part = match axis {
                        1 => Diagonal {
                            scale: diagonal.scale.get(first..first + count)?.to_vec(),
                            shift: diagonal.shift.get(first..first + count)?.to_vec(),
                        },
                        _ => diagonal.clone(),
                    };
                    first += count;
                    todo.push((source, id, part));
                }
            }
            op => todo.push((input, id, before_node(graph, op, input, id, &diagonal)?)),
        }
    }
    Some(plan)
}

/// Lets all readers of `id` absorb a D that follows it.
pub(super) fn lower(
    graph: &Graph,
    consumers: &[Vec<NodeId>],
    id: NodeId,
    diagonal: &Diagonal,
) -> Option<Plan> {
    let mut plan = Plan::default();
    let mut seen = BTreeSet::new();
    let mut todo = vec![(id, diagonal.clone())];
    while let Some((id, diagonal)) = todo.pop() {
        if id == graph.output()
            || consumers[id].is_empty()
            || channels(&graph.node(id).shape)? != diagonal.scale.len()
        {
            return None;
        }
        let readers: BTreeSet<NodeId> = consumers[id].iter().copied().collect();
        for reader in readers {
            if !seen.insert(reader) {
                return None;
            }
            let node = graph.node(reader);
            match &node.op {
                Op::Linear(linear) => {
                    plan.ops
                        .push((reader, Op::Linear(before(linear, &diagonal, graph.node(id).elements())?)));
                }
                Op::BatchNorm(norm) => {
                    plan.ops.push((reader, Op::Scale(chained(&diagonal, &norm.diagonal()))))
                }
                Op::Scale(second) => plan.ops.push((reader, Op::Scale(chained(&diagonal, second)))),
                Op::Concat { axis: 1 } => {
                    let mut joined = Diagonal { scale: Vec::new(), shift: Vec::new() };
                    for &source in &node.inputs {
                        let count = channels(&graph.node(source).shape)?;
                        match source == id {
                            true => {
                                joined.scale.extend(&diagonal.scale);
                                joined.shift.extend(&diagonal.shift);
                            }
                            false => {
                                joined.scale.extend(std::iter::repeat_n(1.0, count));
                                joined.shift.extend(std::iter::repeat_n(0.0, count));
                            }
                        }
                    }
                    todo.push((reader, joined));
                }
                op => todo.push((reader, after_node(graph, op, id, reader, &diagonal)?)),
            }
        }
    }
    Some(plan)
}

/// D' with D ∘ node = node ∘ D', for nodes that treat channels alike or move elements.
fn before_node(graph: &Graph, op: &Op, input: NodeId, id: NodeId, diagonal: &Diagonal) -> Option<Diagonal> {
    if commutes(op, diagonal) {
        return Some(diagonal.clone());
    }
    let (from, to) = (&graph.node(input).shape, &graph.node(id).shape);
    let map = element_map(op, from)?;
    let (inner, outer) = (from.iter().product::<usize>() / channels(from)?, map.len() / channels(to)?);
    let mut found: Vec<Option<(f64, f64)>> = vec![None; channels(from)?];
    for (position, &source) in map.iter().enumerate() {
        let (s, t) = (diagonal.scale[position / outer], diagonal.shift[position / outer]);
        if source == ZERO {
            if t != 0.0 {
                return None;
            }
            continue;
        }
        agree(&mut found[source as usize / inner], (s, t))?;
    }
    Some(collected(&found))
}

/// D' with node ∘ D = D' ∘ node, for the same nodes.
fn after_node(graph: &Graph, op: &Op, input: NodeId, id: NodeId, diagonal: &Diagonal) -> Option<Diagonal> {
    if commutes(op, diagonal) {
        return Some(diagonal.clone());
    }
    let (from, to) = (&graph.node(input).shape, &graph.node(id).shape);
    let map = element_map(op, from)?;
    let (inner, outer) = (from.iter().product::<usize>() / channels(from)?, map.len() / channels(to)?);
    let mut found: Vec<Option<(f64, f64)>> = vec![None; channels(to)?];
    let mut padded = vec![false; found.len()];
    for (position, &source) in map.iter().enumerate() {
        match source {
            ZERO => padded[position / outer] = true,
            source => {
                let channel = source as usize / inner;
                agree(&mut found[position / outer], (diagonal.scale[channel], diagonal.shift[channel]))?;
            }
        }
    }
    let result = collected(&found);
    let exact = result.shift.iter().zip(&padded).all(|(&t, &padded)| !padded || t == 0.0);
    exact.then_some(result)
}

/// Whether a node that keeps channels apart commutes with D.
fn commutes(op: &Op, diagonal: &Diagonal) -> bool {
    let positive = diagonal.scale.iter().all(|&s| s > 0.0);
    let no_shift = diagonal.shift.iter().all(|&t| t == 0.0);
    match op {
        Op::Identity | Op::Dropout => true,
        Op::MaxPool(_) => positive,
        Op::Activation(function) => positive && no_shift && is_homogeneous(function),
        Op::Mixed(parts) => positive && no_shift && parts.iter().all(|part| is_homogeneous(&part.function)),
        Op::AveragePool { window, count_padding } => no_shift || !count_padding || unpadded(window),
        _ => false,
    }
}

/// Whether no window reaches beyond the image.
pub(super) fn unpadded(window: &PoolGeometry) -> bool {
    window.shape().padding == [0; 4]
}

fn element_map(op: &Op, from: &[usize]) -> Option<Vec<u32>> {
    match op {
        Op::Reshape(_) | Op::Transpose(_) | Op::Slice { .. } | Op::Pad { .. } | Op::Upsample(_) => {
            index_map(op, &[from]).ok()?
        }
        _ => None,
    }
}

fn agree(slot: &mut Option<(f64, f64)>, value: (f64, f64)) -> Option<()> {
    (*slot.get_or_insert(value) == value).then_some(())
}

fn collected(found: &[Option<(f64, f64)>]) -> Diagonal {
    let of = |pair: &Option<(f64, f64)>| pair.unwrap_or((1.0, 0.0));
    Diagonal {
        scale: found.iter().map(|pair| of(pair).0).collect(),
        shift: found.iter().map(|pair| of(pair).1).collect(),
    }
}

/// D ∘ L
pub(super) fn after(linear: &Linear, diagonal: &Diagonal) -> Option<Linear> {
    if linear.bias.len() != diagonal.scale.len() {
        return None;
    }
    let terms = linear.geometry.terms();
    let mut weights = linear.weights.as_ref().clone();
    for (row, s) in weights.chunks_mut(terms).zip(&diagonal.scale) {
        row.iter_mut().for_each(|w| *w *= s);
    }
    let factors = diagonal.scale.iter().zip(&diagonal.shift);
    let bias = linear.bias.iter().zip(factors).map(|(b, (s, t))| b * s + t).collect();
    Some(Linear { geometry: linear.geometry.clone(), weights: Arc::new(weights), bias })
}

/// D₂ ∘ D₁
fn chained(first: &Diagonal, second: &Diagonal) -> Diagonal {
    let scale = first.scale.iter().zip(&second.scale).map(|(a, b)| a * b).collect();
    let shift =
        first.shift.iter().zip(second.scale.iter().zip(&second.shift)).map(|(t, (s, u))| t * s + u).collect();
    Diagonal { scale, shift }
}

/// L ∘ D, if it is exact; `elements` are those of the tensor between them.
fn before(linear: &Linear, diagonal: &Diagonal, elements: usize) -> Option<Linear> {
    let s = linear.geometry.shape();
    let channels = diagonal.scale.len();
    // A fully connected layer sees every channel as a run of `plane` inputs.
    let plane = if linear.is_flat() { elements / channels } else { 1 };
    if s.in_channels != channels * plane {
        return None;
    }
    if s.padding != [0; 4] && diagonal.shift.iter().any(|&t| t != 0.0) {
        return None;
    }
    let taps = s.kernel[0] * s.kernel[1];
    let (group_in, group_out) = (linear.geometry.group_inputs(), linear.geometry.group_outputs());
    let mut weights = linear.weights.as_ref().clone();
    let mut bias = linear.bias.clone();
    for (o, row) in weights.chunks_mut(linear.geometry.terms()).enumerate() {
        for (i, cell) in row.chunks_mut(taps).enumerate() {
            let channel = (o / group_out * group_in + i) / plane;
            bias[o] += cell.iter().sum::<f64>() * diagonal.shift[channel];
            cell.iter_mut().for_each(|w| *w *= diagonal.scale[channel]);
        }
    }
    Some(Linear { geometry: linear.geometry.clone(), weights: Arc::new(weights), bias })
}
