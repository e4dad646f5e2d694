//! Batch normalisation and per-channel scales: folded into a neighbouring linear map, or moved towards one.
//!
//! With D(x) = s·x + t per channel, and a linear map L with weights w and bias b, exact rewritings are:
//!
//! | situation | becomes | condition |
//! |---|---|---|
//! | D after L | w[o] ← s[o]·w[o], b[o] ← s[o]·b[o] + t[o] | L is read by D only |
//! | D after D' | one D | D' is read by D only |
//! | D before L | w[·,c] ← s[c]·w[·,c], b ← b + Σ w·t | D is read by L only; t = 0 or L has no padding (a padded border is 0 for L, but would have been t) |
//! | D after max-pool | D before it | s > 0 |
//! | D after ReLU | D before it | s > 0, t = 0 (positive homogeneity) |
//!
//! What remains when nothing applies becomes a 1×1 convolution per channel (`lone scales`).

use std::sync::Arc;

use crate::error::NnError;
use crate::graph::{Diagonal, Graph, Linear, NodeId, Op};

/// Folds or moves batch normalisations.
pub(super) fn batch_norm(graph: &Graph) -> Result<Option<Graph>, NnError> {
    sweep(graph, |op| match op {
        Op::BatchNorm(norm) => Some(norm.diagonal()),
        _ => None,
    })
}

/// Folds or moves scales and shifts.
pub(super) fn scale(graph: &Graph) -> Result<Option<Graph>, NnError> {
    sweep(graph, |op| match op {
        Op::Scale(diagonal) => Some(diagonal.clone()),
        _ => None,
    })
}

/// Makes the first remaining normalisation or scale a linear map of its own.
pub(super) fn lone_scales(graph: &Graph) -> Result<Option<Graph>, NnError> {
    for (id, node) in graph.nodes().iter().enumerate() {
        let diagonal = match &node.op {
            Op::BatchNorm(norm) => norm.diagonal(),
            Op::Scale(diagonal) => diagonal.clone(),
            _ => continue,
        };
        let channels = diagonal.scale.len();
        // Whatever lies behind the channel axis is a plane to a per-channel map.
        let plane = node.elements() / channels;
        let sides = match node.shape[..] {
            [1, _, h, w] => [h, w],
            [1, _] => [1, 1],
            _ => continue,
        };
        let linear = Linear::per_channel(&node.name, sides, diagonal.scale, diagonal.shift)?;
        let mut out = graph.clone();
        out.node_mut(id).op = Op::Linear(linear);
        if plane == 1 && node.shape.len() == 4 {
            out.insert_after(id, format!("{} (plane)", node.name), Op::Reshape(node.shape.clone()));
        }
        return out.rebuild().map(Some);
    }
    Ok(None)
}

fn sweep(graph: &Graph, pick: impl Fn(&Op) -> Option<Diagonal>) -> Result<Option<Graph>, NnError> {
    let mut out = graph.clone();
    let mut changed = false;
    for id in 1..graph.nodes().len() {
        if let Some(diagonal) = pick(&out.node(id).op) {
            changed |= absorb(&mut out, id, &diagonal);
        }
    }
    changed.then(|| out.rebuild()).transpose()
}

/// Tries the rewritings of the table on the diagonal node `id`.
fn absorb(graph: &mut Graph, id: NodeId, diagonal: &Diagonal) -> bool {
    let is_identity = diagonal.scale.iter().all(|&s| s == 1.0) && diagonal.shift.iter().all(|&t| t == 0.0);
    if is_identity {
        graph.bypass(id);
        return true;
    }
    let consumers = graph.consumers();
    let input = graph.node(id).inputs[0];
    let own_input = graph.sole_consumer(input, &consumers) == Some(id);
    // A flat layer's output in another shape is still its output, channel by channel, if the counts agree.
    let mut source = input;
    let mut owned = own_input;
    while let Op::Reshape(_) = graph.node(source).op {
        let before = graph.node(source).inputs[0];
        owned &= graph.sole_consumer(before, &consumers) == Some(source);
        source = before;
    }
    if owned
        && let Op::Linear(linear) = &graph.node(source).op
        && linear.geometry.shape().out_channels == diagonal.scale.len()
        && (source == input || linear.is_flat())
    {
        let folded = after(linear, diagonal);
        graph.node_mut(source).op = Op::Linear(folded);
        graph.bypass(id);
        return true;
    }
    if own_input {
        let first = match &graph.node(input).op {
            Op::BatchNorm(norm) => Some(norm.diagonal()),
            Op::Scale(diagonal) => Some(diagonal.clone()),
            _ => None,
        };
        if let Some(first) = first {
            graph.node_mut(input).op = Op::Scale(chained(&first, diagonal));
            graph.bypass(id);
            return true;
        }
    }
    if let Some(next) = graph.sole_consumer(id, &consumers)
        && let Op::Linear(linear) = &graph.node(next).op
        && let Some(folded) = before(linear, diagonal, graph.node(id).elements())
    {
        graph.node_mut(next).op = Op::Linear(folded);
        graph.bypass(id);
        return true;
    }
    let positive = diagonal.scale.iter().all(|&s| s > 0.0);
    let commutes = match graph.node(input).op {
        Op::MaxPool(_) => positive,
        Op::Relu => positive && diagonal.shift.iter().all(|&t| t == 0.0),
        _ => false,
    };
    if own_input && commutes {
        graph.swap_ops(input, id);
    }
    own_input && commutes
}

/// D ∘ L
fn after(linear: &Linear, diagonal: &Diagonal) -> Linear {
    let terms = linear.geometry.terms();
    let mut weights = linear.weights.as_ref().clone();
    for (row, s) in weights.chunks_mut(terms).zip(&diagonal.scale) {
        row.iter_mut().for_each(|w| *w *= s);
    }
    let bias = linear
        .bias
        .iter()
        .zip(diagonal.scale.iter().zip(&diagonal.shift))
        .map(|(b, (s, t))| b * s + t)
        .collect();
    Linear { geometry: linear.geometry.clone(), weights: Arc::new(weights), bias }
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
