//! A linear map of a join, in parts, where the join's operands are worth very different amounts.
//!
//! One unit of a square is worth the square of what one unit of a clip is worth, 2^k times less. Both have one width w in a join,
//! and a weight is its real value × worth × 2^w: where those of the clip have reached their 20 bits, those of the square
//! have few or none. But W·\[a, b\] = W_a·a + W_b·b, and a sum of raw tensors is free: each part reads a tensor of its own
//! width, and its weights have all their bits. The price is the part's replies in preprocessing (t bits per result), no round.
//!
//! | between the join and the map | |
//! |---|---|
//! | nothing, another join | split |
//! | sums over windows, units | done to each part |
//! | anything else, or a map of several groups | not split |
//!
//! Operands are told apart by the degree of what made them, the exponent of a unit's worth; what else makes units differ (bounds,
//! slopes) is within the eight bits that weights may have beyond the wanted ones.
//!
//! Only where rings are wide: in the others a square has to give up bits of k for its own sake, which brings it near the rest.

use conv_fast::{ConvGeometry, ConvShape};

use super::{Program, ProgramNode, ProgramOp, RealFunction};
use crate::error::NnError;
use crate::graph::Linear;
use crate::model::{LocalOp, PoolGeometry, PoolShape};

/// Operands of one degree: their nodes and, of each, the first channel of the join and the number of channels.
struct Part {
    degree: u32,
    operands: Vec<(usize, usize, usize)>,
}

/// The program with such maps in parts.
pub(super) fn split(program: Program) -> Result<Program, NnError> {
    let old = program.nodes;
    let mut out: Vec<ProgramNode> = Vec::with_capacity(old.len());
    let mut number = Vec::with_capacity(old.len());
    for node in &old {
        if let ProgramOp::Linear(linear) = &node.op
            && let Some((parts, chain)) = parts(&old, node.inputs[0], linear)
        {
            let mut operands = Vec::with_capacity(parts.len());
            for (index, part) in parts.iter().enumerate() {
                let source = tensor(&mut out, &old, &number, part, &chain, node)?;
                let map = columns(&node.name, linear, part, old[node.inputs[0]].shape[0], index == 0)?;
                // Options and reports know the first by the map's name.
                let word = if index == 0 { String::new() } else { format!(" (degree {})", part.degree) };
                let name = format!("{}{word}", node.name);
                operands.push(out.len());
                out.push(ProgramNode {
                    name,
                    op: ProgramOp::Linear(map),
                    inputs: vec![source],
                    ..node.clone()
                });
            }
            let name = format!("{} (sum)", node.name);
            out.push(ProgramNode { name, op: ProgramOp::Sum, inputs: operands, ..node.clone() });
        } else {
            let inputs = node.inputs.iter().map(|&input| number[input]).collect();
            out.push(ProgramNode { inputs, ..node.clone() });
        }
        number.push(out.len() - 1);
    }
    Ok(super::walk::pruned(out, number[program.output]))
}

/// The parts of a map and what is done between the join and it, or none if it is to stay whole.
fn parts(nodes: &[ProgramNode], source: usize, linear: &Linear) -> Option<(Vec<Part>, Vec<usize>)> {
    let s = linear.geometry.shape();
    let whole = nodes[source].shape == [s.in_channels, s.in_height, s.in_width];
    if s.groups != 1 || !(whole || linear.is_flat()) {
        return None;
    }
    let (mut at, mut chain) = (source, Vec::new());
    while matches!(nodes[at].op, ProgramOp::Scale(_) | ProgramOp::Local(LocalOp::SumPool(_))) {
        chain.push(at);
        at = nodes[at].inputs[0];
    }
    chain.reverse();
    let mut parts: Vec<Part> = Vec::new();
    let (mut open, mut channel) = (vec![at], 0);
    while let Some(next) = open.pop() {
        let ProgramNode { op, inputs, shape, .. } = &nodes[next];
        if matches!(op, ProgramOp::Local(LocalOp::Concat)) {
            open.extend(inputs.iter().rev());
            continue;
        }
        let (degree, operand) = (degree(nodes, next), (next, channel, shape[0]));
        match parts.iter_mut().find(|part| part.degree == degree) {
            Some(part) => part.operands.push(operand),
            None => parts.push(Part { degree, operands: vec![operand] }),
        }
        channel += shape[0];
    }
    (parts.len() > 1).then_some((parts, chain))
}

/// The degree of what made a masked tensor; the highest where there are several.
fn degree(nodes: &[ProgramNode], at: usize) -> u32 {
    match &nodes[at].op {
        ProgramOp::Activation(activation) => {
            let of = |function: &RealFunction| match function {
                RealFunction::Monic(rest) => rest.len() as u32,
                RealFunction::HardSwish => 2,
                _ => 1,
            };
            activation.parts.iter().map(|part| of(&part.function)).fold(1, u32::max)
        }
        ProgramOp::Local(_) | ProgramOp::Scale(_) => {
            nodes[at].inputs.iter().map(|&input| degree(nodes, input)).fold(1, u32::max)
        }
        _ => 1,
    }
}

/// What a part's map reads.
fn tensor(
    out: &mut Vec<ProgramNode>,
    old: &[ProgramNode],
    number: &[usize],
    part: &Part,
    chain: &[usize],
    map: &ProgramNode,
) -> Result<usize, NnError> {
    let channels = part.operands.iter().map(|operand| operand.2).sum();
    let [_, height, width] = old[part.operands[0].0].shape;
    let mut at = number[part.operands[0].0];
    if part.operands.len() > 1 {
        out.push(ProgramNode {
            name: format!("{} (degree {})", map.name, part.degree),
            op: ProgramOp::Local(LocalOp::Concat),
            inputs: part.operands.iter().map(|operand| number[operand.0]).collect(),
            shape: [channels, height, width],
            masked: true,
            gain: 1.0,
            value: map.value,
        });
        at = out.len() - 1;
    }
    for &link in chain {
        let link = &old[link];
        let op = match &link.op {
            ProgramOp::Scale(factors) if factors.len() > 1 => {
                let own = part.operands.iter().flat_map(|&(_, first, count)| &factors[first..first + count]);
                ProgramOp::Scale(own.copied().collect())
            }
            ProgramOp::Local(LocalOp::SumPool(window)) => {
                let window = PoolGeometry::new(PoolShape { channels, ..window.shape().clone() })?;
                ProgramOp::Local(LocalOp::SumPool(window))
            }
            other => other.clone(),
        };
        let shape = [channels, link.shape[1], link.shape[2]];
        out.push(ProgramNode { op, inputs: vec![at], shape, ..link.clone() });
        at = out.len() - 1;
    }
    Ok(at)
}

/// The columns of a map that read a part of its `joined` channels; the first part has the biases.
fn columns(name: &str, linear: &Linear, part: &Part, joined: usize, first: bool) -> Result<Linear, NnError> {
    let s = linear.geometry.shape();
    let taps = s.kernel[0] * s.kernel[1];
    // A flat map's columns are the pixels of a plane, plane by plane.
    let each = s.in_channels / joined;
    let spans: Vec<std::ops::Range<usize>> = part
        .operands
        .iter()
        .map(|&(_, first, count)| first * each * taps..(first + count) * each * taps)
        .collect();
    let in_channels = part.operands.iter().map(|operand| operand.2 * each).sum();
    let geometry = ConvGeometry::new(ConvShape { in_channels, ..*s })
        .map_err(|error| NnError::shape(name, error.to_string()))?;
    let rows = linear.weights.chunks(taps * s.in_channels);
    let weights =
        rows.flat_map(|row| spans.iter().flat_map(|span| row[span.clone()].iter().copied())).collect();
    let bias = if first { linear.bias.clone() } else { vec![0.0; linear.bias.len()] };
    Linear::new(name, geometry, weights, bias)
}
