//! The online stage: the input is there; both parties walk the plan with prepared material.
//!
//! | | from | content |
//! |---|---|---|
//! | first | S | agreed: the bundle was there, and now it is gone |
//! | then | C | Z = D − ρ mod 2^w of every input element |
//! | per step | S, C, … | the step's messages, see [`crate::steps::run`] |
//! | last | S | its share of the label's index, or of the rounded logits |
//!
//! Only activations speak: linear layers (`linear`), sums and maps are local. A tensor is dropped when nobody reads it any
//! more.
//!
//! Bundles are taken by value: whatever happens here, they are gone. The client waits for the server's word before it
//! sends anything masked: a bundle that the server has claimed before (a restored file, say) must not mask a second
//! input, not even in a message that will be refused.

mod linear;
mod numbers;

use std::sync::Arc;

use conv_fast::PreparedConv;
use ss_core::bits::{bytes_for_bits, pack, unpack};
use ss_core::maximum::{Level, Tournament};
use ss_core::ring::Z2k;
use zeroize::Zeroizing;

use crate::channel::{Channel, Kind};
use crate::error::{PeerResult, ProtocolError};
use crate::offline::construction::ServerLayer;
use crate::offline::{ClientBundle, ServerBundle};
use crate::plan::{ActivationLayer, GateStep, NodePlan, OutputMode, Plan};
use crate::raw::Raw;
use crate::report::{Report, Stage, Start};
use crate::steps::{ServerSteps, run};
use crate::walk::{mapped, sum};

pub use numbers::NodeNumbers;

/// What an inference gives the client.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// One index per image.
    Labels(Vec<usize>),
    /// Per image the indices of the largest logits, largest first.
    Top(Vec<Vec<usize>>),
    /// Per image the logits as elements of the signed `bits`-bit ring.
    Logits(Vec<Vec<i64>>),
}

/// Called with (done, of) as the walk goes on.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// Client: runs a bundle on quantised inputs (one integer D per element, image after image).
///
/// # Errors
/// [`ProtocolError::Caller`] for inputs of the wrong size, else what the channel or the peer did.
pub fn client(
    channel: &mut Channel,
    bundle: ClientBundle,
    inputs: &[i64],
    report: &mut Report,
    progress: Progress<'_>,
) -> Result<Output, ProtocolError> {
    let ClientBundle { plan, input_mask, gates, output, .. } = bundle;
    let (steps, bits) = (plan.gates().len() + 2, plan.input_bits());
    if inputs.len() != input_mask.len() {
        return Err(ProtocolError::Caller(format!(
            "{} input values, {} expected",
            inputs.len(),
            input_mask.len()
        )));
    }
    let start = Start::now(channel);
    channel.receive(Kind::Agreed, 0, 0)?;
    let ring = Z2k::new(bits).or_malformed("manifest")?;
    let masked: Vec<u64> =
        inputs.iter().zip(input_mask.iter()).map(|(&d, &rho)| ring.sub(ring.from_signed(d), rho)).collect();
    channel.send(Kind::Input, 0, &pack(&masked, bits))?;
    channel.flush()?;
    report.add(Stage::Online, plan.name(0), "input", &start, channel);

    for (at, (step, gate)) in plan.gates().iter().zip(gates).enumerate() {
        progress(at + 1, steps);
        let start = Start::now(channel);
        run::client(channel, at, gate)?;
        report.add(Stage::Online, plan.layer_name(step), step.part, &start, channel);
    }

    let start = Start::now(channel);
    let (bits, count) = output_shape(&plan);
    let message = channel.receive(Kind::Output, 0, bytes_for_bits(count * bits as usize))?;
    let shares = unpack(&message, count, bits).or_malformed("output share")?;
    report.add(Stage::Online, "output", "output", &start, channel);
    progress(steps, steps);
    let ring = Z2k::new(bits).or_malformed("manifest")?;
    let values: Vec<u64> = shares.iter().zip(output.values()).map(|(&s, &c)| ring.add(s, c)).collect();
    match plan.mode() {
        OutputMode::Label | OutputMode::Top { .. } => {
            let labels: Vec<usize> = values.iter().map(|&v| v as usize).collect();
            if let Some(bad) = labels.iter().find(|&&label| label >= plan.classes()) {
                let reason = format!("label {bad} of {} classes", plan.classes());
                return Err(crate::PeerFault::Malformed { what: "output share", reason }.into());
            }
            Ok(match plan.mode() {
                OutputMode::Top { .. } => {
                    Output::Top(labels.chunks(plan.outputs()).map(<[usize]>::to_vec).collect())
                }
                _ => Output::Labels(labels),
            })
        }
        OutputMode::Logits { .. } => Ok(Output::Logits(
            values
                .chunks(plan.classes())
                .map(|image| image.iter().map(|&v| ring.signed(v)).collect())
                .collect(),
        )),
    }
}

/// Server: runs its half of a bundle with the layers' prepared convolutions (one per limb) and the private offsets that
/// activations add, per node and channel.
///
/// # Errors
/// What the channel or the peer did.
pub fn server(
    channel: &mut Channel,
    bundle: ServerBundle,
    convolutions: &[Arc<Vec<PreparedConv>>],
    biases: &[NodeNumbers],
    report: &mut Report,
) -> Result<(), ProtocolError> {
    let ServerBundle { plan, layers, gates } = bundle;
    let (params, images) = (plan.params(), plan.images());
    let mut gates = plan.gates().iter().zip(gates).enumerate();
    let mut layers: Vec<Option<ServerLayer>> = layers.into_iter().map(Some).collect();
    let start = Start::now(channel);
    channel.send(Kind::Agreed, 0, &[])?;
    let (count, bits) = (images * plan.input_len(), plan.input_bits());
    let message = channel.receive(Kind::Input, 0, bytes_for_bits(count * bits as usize))?;
    let mut masked: Vec<Option<Zeroizing<Vec<u64>>>> = plan.nodes().iter().map(|_| None).collect();
    masked[0] = Some(Zeroizing::new(unpack(&message, count, bits).or_malformed("masked input")?));
    report.add(Stage::Online, plan.name(0), "input", &start, channel);

    let mut raw: Vec<Option<Raw>> = plan.nodes().iter().map(|_| None).collect();
    for (index, node) in plan.nodes().iter().enumerate() {
        let start = Start::now(channel);
        match node {
            NodePlan::Input => {}
            NodePlan::Linear(at) => {
                let (layer, half) = (&plan.layers()[*at], layers[*at].take().ok_or_else(missing)?);
                let input = masked[layer.input].as_ref().ok_or_else(missing)?;
                raw[index] = Some(linear::run(&plan, layer, half, &convolutions[*at], input)?);
                report.add(Stage::Online, &layer.name, "linear", &start, channel);
            }
            NodePlan::Sum(operands) => {
                let mut sum = sum(&plan, index, operands, &raw, |node, _| {
                    masked[node].as_ref().map(|values| Zeroizing::new(values.to_vec())).ok_or_else(missing)
                })?;
                sum.add_bias(params, biases[index].residues(), plan.tensors()[index].shape);
                raw[index] = Some(sum);
                report.add(Stage::Online, plan.name(index), "sum", &start, channel);
            }
            NodePlan::Local(inputs, map) => {
                match plan.tensors()[index].kind {
                    nn_merge::model::Kind::Raw => raw[index] = Some(mapped(&plan, map, inputs, &raw)?),
                    nn_merge::model::Kind::Masked { width } => {
                        let ring = Z2k::new(width).or_malformed("manifest")?;
                        let inputs: Vec<&[u64]> = inputs
                            .iter()
                            .map(|&input| masked[input].as_ref().map(|values| values.as_slice()))
                            .collect::<Option<_>>()
                            .ok_or_else(missing)?;
                        masked[index] = Some(map.apply(&inputs, images, |a, b| ring.add(a, b)));
                    }
                }
                report.add(Stage::Online, plan.name(index), "map", &start, channel);
            }
            NodePlan::Activation(at) => {
                let layer = &plan.activations()[*at];
                let input = raw[layer.input].as_ref().ok_or_else(missing)?;
                let value = input.down(params, layer.ring.bits());
                let offsets = biases[index].offsets();
                masked[index] = Some(activate(channel, &plan, layer, value, offsets, &mut gates, report)?);
            }
        }
        for &done in plan.done_after(index) {
            (raw[done], masked[done]) = (None, None);
        }
    }

    let (node, bits) = plan.output();
    let mut share = raw[node].as_ref().ok_or_else(missing)?.down(params, bits);
    if let Some(arg_max) = plan.arg_max() {
        let [values, indices] = [bits, arg_max.index_bits].map(Z2k::new);
        let rings = [values.or_malformed("manifest")?, indices.or_malformed("manifest")?];
        let indices: Vec<u64> = (0..share.len()).map(|i| (i % plan.classes()) as u64).collect();
        let mut values = vec![share, indices.into()];
        play(channel, &plan, &arg_max.tournament, &rings, &mut values, &mut gates, report)?;
        share = values.swap_remove(1);
    }
    let start = Start::now(channel);
    let (bits, count) = output_shape(&plan);
    debug_assert_eq!(share.len(), count);
    channel.send(Kind::Output, 0, &pack(&share, bits))?;
    channel.flush()?;
    report.add(Stage::Online, "output", "output", &start, channel);
    Ok(())
}

/// Server: pools and functions of an activation; gives its share of the result, offsets included.
fn activate<'a>(
    channel: &mut Channel,
    plan: &Plan,
    layer: &ActivationLayer,
    value: Zeroizing<Vec<u64>>,
    offsets: &[u64],
    gates: &mut impl Iterator<Item = (usize, (&'a GateStep, ServerSteps))>,
    report: &mut Report,
) -> Result<Zeroizing<Vec<u64>>, ProtocolError> {
    let (images, length) = (plan.images(), layer.length);
    let mut values = vec![value];
    if let Some(pool) = &layer.pool {
        play(channel, plan, pool, &[layer.ring], &mut values, gates, report)?;
    }
    let mut out = Zeroizing::new(vec![0; images * layer.output_len()]);
    for part in &layer.parts {
        let own = part.gather(&values[0], [length, 0], images);
        let mut results = Zeroizing::new(Vec::<Vec<Vec<u64>>>::new());
        for number in 0..part.plan.steps().len() {
            let (at, (step, gate)) = gates.next().ok_or_else(missing_gate)?;
            let start = Start::now(channel);
            let (compare, lanes) = part.plan.server_operands(number, &own, &results);
            let (compare, lanes) = (Zeroizing::new(compare), Zeroizing::new(lanes));
            results.push(run::server(channel, at, gate, &compare, &lanes)?);
            report.add(Stage::Online, plan.layer_name(step), step.part, &start, channel);
        }
        let results = Zeroizing::new(part.plan.server_outputs(std::mem::take(&mut *results)));
        for (output, result) in results.iter().enumerate() {
            part.scatter(result, &mut out, [layer.output_len(), output * length], images);
        }
    }
    if !offsets.is_empty() {
        let plane = layer.output_len() / offsets.len();
        for (run, &offset) in out.chunks_mut(plane).zip(offsets.iter().cycle()) {
            run.iter_mut().for_each(|value| *value = layer.output.add(*value, offset));
        }
    }
    Ok(out)
}

/// Server: a tournament, level by level; lane 0 is compared.
fn play<'a>(
    channel: &mut Channel,
    plan: &Plan,
    tournament: &Tournament,
    rings: &[Z2k],
    values: &mut [Zeroizing<Vec<u64>>],
    gates: &mut impl Iterator<Item = (usize, (&'a GateStep, ServerSteps))>,
    report: &mut Report,
) -> Result<(), ProtocolError> {
    for level in tournament.levels() {
        let (at, (step, gate)) = gates.next().ok_or_else(missing_gate)?;
        let start = Start::now(channel);
        play_level(channel, at, gate, level, rings, values)?;
        report.add(Stage::Online, plan.layer_name(step), step.part, &start, channel);
    }
    values.iter_mut().for_each(|values| *values = tournament.winners(values).into());
    Ok(())
}

/// Server: one level of a tournament by the step at place `at`.
///
/// # Errors
/// What the channel or the peer did.
pub(crate) fn play_level(
    channel: &mut Channel,
    at: usize,
    gate: ServerSteps,
    level: &Level,
    rings: &[Z2k],
    values: &mut [Zeroizing<Vec<u64>>],
) -> Result<(), ProtocolError> {
    let differences: Zeroizing<Vec<Vec<u64>>> = values
        .iter()
        .zip(rings)
        .map(|(values, ring)| {
            level.first(values).iter().zip(level.second(values)).map(|(&a, b)| ring.sub(a, b)).collect()
        })
        .collect::<Vec<_>>()
        .into();
    let gated = run::server(channel, at, gate, &differences[0], &differences)?;
    for ((values, gated), ring) in values.iter_mut().zip(gated).zip(rings) {
        let (gated, second) = (Zeroizing::new(gated), Zeroizing::new(level.second(values)));
        let winners = gated.iter().zip(second.iter()).map(|(&z, &b)| ring.add(z, b)).collect::<Vec<_>>();
        *values = level.advance_in(*ring, values, &Zeroizing::new(winners)).into();
    }
    Ok(())
}

/// A tensor that is still read is there; should it not be, nothing may go on.
fn missing() -> ProtocolError {
    ProtocolError::Caller("the walk has lost a tensor that it still needs".into())
}

/// A bundle always has its plan's gates; should it not, nothing may go on as if a gate had run.
pub(crate) fn missing_gate() -> ProtocolError {
    ProtocolError::Caller("the bundle has fewer gates than its plan".into())
}

/// Bits and number of the values that the output message carries.
fn output_shape(plan: &Plan) -> (u32, usize) {
    match plan.arg_max() {
        Some(arg_max) => (arg_max.index_bits, plan.images() * plan.outputs()),
        None => (plan.output().1, plan.images() * plan.classes()),
    }
}
