//! The manifest's nodes and the server's integers.

use super::bounds::Bounds;
use super::classes::Layout;
use super::widths::Plan;
use super::{Quantized, Settings};
use crate::error::NnError;
use crate::graph::Linear;
use crate::lower::{Program, ProgramNode, ProgramOp, RealActivation};
use crate::model::{ActivationSpec, BIAS_BOUND, NodeSpec, NodeWeights, OpSpec, PartSpec, WEIGHT_BOUND};

/// Bias in units of the torus: 2^62 is one turn.
const TURN: f64 = (1u64 << 62) as f64;

pub(super) fn emit(
    program: &Program,
    bounds: Bounds,
    layouts: &[Option<Layout>],
    plan: Plan,
    settings: &Settings,
) -> Result<Quantized, NnError> {
    let reach = reach(program, &plan, settings.last_ring);
    let mut nodes: Vec<NodeSpec> = Vec::new();
    let mut weights: Vec<NodeWeights> = Vec::new();
    let mut index: Vec<u32> = Vec::with_capacity(program.nodes.len());
    let mut weight_bits = vec![None; program.nodes.len()];
    for (at, node) in program.nodes.iter().enumerate() {
        let (op, own) = match &node.op {
            ProgramOp::Scale(_) => {
                index.push(index[node.inputs[0]]);
                continue;
            }
            ProgramOp::Input => (OpSpec::Input { width: plan.producer(at).width }, NodeWeights::default()),
            ProgramOp::Local(op) => (OpSpec::Local(op.clone()), NodeWeights::default()),
            ProgramOp::Linear(linear) => {
                let reply_bits = (reach[at] + 6).clamp(12, (settings.limits.modulus_bits - 1).min(62));
                let op = OpSpec::Linear { geometry: linear.geometry.clone(), reply_bits };
                let (own, bits) = round_linear(program, at, linear, &bounds, layouts, &plan)?;
                weight_bits[at] = Some(bits);
                (op, own)
            }
            ProgramOp::Sum => {
                let factors = node.inputs.iter().map(|&input| match &layouts[input] {
                    None => Ok(1),
                    Some(layout) => factor(program, at, layout, &bounds, &plan),
                });
                (OpSpec::Sum { factors: factors.collect::<Result<_, _>>()? }, NodeWeights::default())
            }
            ProgramOp::Shift(shift) => {
                let turn = bounds.turn(program, at);
                let wrong = || NnError::quantize(&node.name, "a shift is not finite");
                let bias = shift.iter().map(|t| turns(t / turn).ok_or_else(wrong));
                let bias = bias.collect::<Result<_, _>>()?;
                (OpSpec::Sum { factors: vec![1] }, NodeWeights { weights: vec![], bias })
            }
            ProgramOp::Activation(activation) => {
                let producer = plan.producer(at);
                let parts = activation.parts.iter().zip(&producer.parts);
                let spec = ActivationSpec {
                    ring_bits: producer.ring,
                    ignored_bits: producer.ignored,
                    width: producer.width,
                    pool: activation.pool.clone(),
                    parts: parts
                        .map(|(part, made)| PartSpec {
                            channels: part.channels.clone(),
                            function: made.spec.clone(),
                        })
                        .collect(),
                };
                (
                    OpSpec::Activation(spec),
                    NodeWeights { weights: vec![], bias: offsets(node, activation, at, &plan)? },
                )
            }
        };
        index.push(nodes.len() as u32);
        let inputs = node.inputs.iter().map(|&input| index[input]).collect();
        nodes.push(NodeSpec { name: node.name.clone(), op, inputs });
        weights.push(own);
    }
    let units = 1.0 / plan.producer(0).parts[0].worth;
    let logit_scale = bounds.turn(program, program.output);
    Ok(Quantized { nodes, weights, index, bounds, plan, units, weight_bits, logit_scale })
}

/// For every raw node the greatest k in which somebody reads it.
fn reach(program: &Program, plan: &Plan, last_ring: u32) -> Vec<u32> {
    let mut reach = vec![0; program.nodes.len()];
    reach[program.output] = last_ring;
    for (at, node) in program.nodes.iter().enumerate().rev() {
        let own = match &plan.producers[at] {
            Some(producer) => producer.ring,
            None => reach[at],
        };
        for &input in &node.inputs {
            reach[input] = reach[input].max(own);
        }
    }
    reach
}

fn round_linear(
    program: &Program,
    at: usize,
    linear: &Linear,
    bounds: &Bounds,
    layouts: &[Option<Layout>],
    plan: &Plan,
) -> Result<(NodeWeights, u32), NnError> {
    let node = &program.nodes[at];
    let wrong = |what: &str| NnError::quantize(&node.name, what);
    let layout = layouts[node.inputs[0]].as_ref().ok_or_else(|| wrong("it reads a raw tensor"))?;
    let s = linear.geometry.shape();
    let classes = layout
        .channels(s.in_channels, s.in_height * s.in_width)
        .map_err(|what| NnError::private(&node.name, what))?;
    let turn = bounds.turn(program, at);
    let width = plan.producer(layout.classes[0].producer).width;
    let scales: Vec<f64> =
        layout.classes.iter().map(|class| plan.worth(class) * 2f64.powi(width as i32) / turn).collect();
    let taps = s.kernel[0] * s.kernel[1];
    let (group_in, group_out) = (linear.geometry.group_inputs(), linear.geometry.group_outputs());
    let mut weights = Vec::with_capacity(linear.weights.len());
    let mut top = 0f64;
    for (o, row) in linear.weights.chunks(linear.geometry.terms()).enumerate() {
        for (i, cell) in row.chunks(taps).enumerate() {
            let scale = scales[classes[o / group_out * group_in + i] as usize];
            for w in cell {
                let value = (w * scale).round();
                // `max` would drop a NaN.
                top = if value.is_nan() { value } else { top.max(value.abs()) };
                weights.push(value as i32);
            }
        }
    }
    if top.is_nan() || top >= f64::from(WEIGHT_BOUND) {
        return Err(wrong("its largest weight would need more than 20 bits; use fewer ring bits before it"));
    }
    let zero = linear.weights.iter().all(|&w| w == 0.0);
    if top < 2.0 && !zero {
        return Err(wrong(
            "its weights would have less than two bits; use a wider profile or a smaller margin",
        ));
    }
    let bias = linear
        .bias
        .iter()
        .map(|b| turns(b / turn).ok_or_else(|| wrong("a bias is not finite")))
        .collect::<Result<Vec<i64>, NnError>>()?;
    Ok((NodeWeights { weights, bias }, top.max(1.0).log2().ceil() as u32))
}

/// A bias of so many turns, the whole ones left out; none if it is not finite.
fn turns(turns: f64) -> Option<i64> {
    let part = ((turns - turns.round()) * TURN).round() as i64;
    turns.is_finite().then(|| part.clamp(-BIAS_BOUND, BIAS_BOUND))
}

/// The factor of a masked operand.
fn factor(
    program: &Program,
    at: usize,
    layout: &Layout,
    bounds: &Bounds,
    plan: &Plan,
) -> Result<i64, NnError> {
    let class = layout.classes[0];
    let scale = 2f64.powi(plan.producer(class.producer).width as i32) / bounds.turn(program, at);
    let value = (plan.worth(&class) * scale).round();
    if !(2.0..2f64.powi(31)).contains(&value.abs()) {
        return Err(NnError::quantize(
            &program.nodes[at].name,
            format!("a summand would count with a factor of {value}, wanted 2 to 2^31; use a wider profile"),
        ));
    }
    Ok(value as i64)
}

/// The private offsets of an activation's results; none where all are zero.
fn offsets(
    node: &ProgramNode,
    activation: &RealActivation,
    at: usize,
    plan: &Plan,
) -> Result<Vec<i64>, NnError> {
    if activation.shift.iter().all(|&shift| shift == 0.0) {
        return Ok(Vec::new());
    }
    let producer = plan.producer(at);
    let mut out = vec![0; node.shape[0]];
    let pick = |values: &[f64], c: usize| values[if values.len() == 1 { 0 } else { c }];
    for (part, made) in activation.parts.iter().zip(&producer.parts) {
        for &(first, count) in &part.channels {
            for (channel, slot) in out.iter_mut().enumerate().skip(first as usize).take(count as usize) {
                let shift = pick(&activation.shift, channel);
                let value = (shift / (made.worth * pick(&activation.factor, channel))).round();
                if shift != 0.0 && (value.is_nan() || value.abs() > BIAS_BOUND as f64) {
                    let what = format!(
                        "the constant term of channel {channel} does not fit beside its other numbers"
                    );
                    return Err(NnError::quantize(&node.name, what));
                }
                *slot = if shift == 0.0 { 0 } else { value as i64 };
            }
        }
    }
    Ok(out)
}
