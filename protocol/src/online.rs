//! The online stage: the input is there; both parties walk the plan with prepared material.
//!
//! | | from | content |
//! |---|---|---|
//! | first | S | agreed: the bundle was there, and now it is gone |
//! | then | C | X_p = D − r_p mod 2^p of every input element |
//! | per step | S, C, … | the step's messages, see [`crate::steps::run`] |
//! | last | S | its share of the label's index, or of the rounded logits |
//!
//! A linear layer sends nothing: the server lifts X_p to Z_q, convolves, adds its mask and switches down.
//! Bundles are taken by value: whatever happens here, they are gone. The client waits for the server's word before it
//! sends anything masked: a bundle that the server has claimed before (a restored file, say) must not mask a second
//! input, not even in a message that will be refused.

use conv_fast::PreparedConv;
use ss_core::bits::{bytes_for_bits, pack, unpack};
use ss_core::maximum::Tournament;
use ss_core::ring::Z2k;
use zeroize::Zeroizing;

use crate::channel::{Channel, Kind};
use crate::error::{PeerResult, ProtocolError};
use crate::offline::{ClientBundle, ServerBundle};
use crate::plan::{GateStep, OutputMode, Plan};
use crate::report::{Report, Stage, Start};
use crate::steps::{ServerSteps, run};

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
    let (steps, first) = (plan.gates().len() + 2, &plan.layers()[0]);
    if inputs.len() != input_mask.len() {
        return Err(ProtocolError::Caller(format!(
            "{} input values, {} expected",
            inputs.len(),
            input_mask.len()
        )));
    }
    let start = Start::now(channel);
    channel.receive(Kind::Agreed, 0, 0)?;
    let ring = Z2k::new(first.masked_bits).or_malformed("manifest")?;
    let masked: Vec<u64> =
        inputs.iter().zip(input_mask.values()).map(|(&d, &r)| ring.sub(ring.from_signed(d), r)).collect();
    channel.send(Kind::Input, 0, &pack(&masked, first.masked_bits))?;
    channel.flush()?;
    report.add(Stage::Online, &first.name, "input", &start, channel);

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

/// Server: runs its half of a bundle with the layers' prepared convolutions.
///
/// # Errors
/// What the channel or the peer did.
pub fn server(
    channel: &mut Channel,
    bundle: ServerBundle,
    convolutions: &[PreparedConv],
    report: &mut Report,
) -> Result<(), ProtocolError> {
    let ServerBundle { plan, masks, gates } = bundle;
    let mut gates = plan.gates().iter().zip(gates).enumerate();
    let first = &plan.layers()[0];
    let start = Start::now(channel);
    channel.send(Kind::Agreed, 0, &[])?;
    let count = plan.images() * first.geometry.input_len();
    let message = channel.receive(Kind::Input, 0, bytes_for_bits(count * first.masked_bits as usize))?;
    let mut masked = Zeroizing::new(unpack(&message, count, first.masked_bits).or_malformed("masked input")?);
    report.add(Stage::Online, &first.name, "input", &start, channel);

    let mut share = Zeroizing::new(Vec::new());
    for ((layer, mask), convolution) in plan.layers().iter().zip(&masks).zip(convolutions) {
        let start = Start::now(channel);
        let q = plan.params().modulus();
        let lifted = Zeroizing::new(layer.masked.up_all(&masked));
        let product = Zeroizing::new(convolution.run(&lifted, plan.images()));
        share = product
            .iter()
            .zip(mask.values())
            .map(|(&w, &m)| layer.ring.down(q.add(w, m)))
            .collect::<Vec<_>>()
            .into();
        report.add(Stage::Online, &layer.name, "linear", &start, channel);
        if !layer.relu {
            break;
        }
        let ring = Z2k::new(layer.ring_bits).or_malformed("manifest")?;
        if let Some(pool) = &layer.pool {
            let mut values = vec![share];
            play(channel, &plan, pool, &[ring], &mut values, &mut gates, report)?;
            share = values.swap_remove(0);
        }
        let (at, (step, gate)) = gates.next().ok_or_else(missing_gate)?;
        let start = Start::now(channel);
        masked = run::server(channel, at, gate, &share, &[])?.swap_remove(0).into();
        report.add(Stage::Online, plan.layer_name(step), step.part, &start, channel);
        share = Zeroizing::new(Vec::new());
    }

    let (bits, count) = output_shape(&plan);
    if let (Some(arg_max), Some(layer)) = (plan.arg_max(), plan.layers().last()) {
        let rings = [layer.ring_bits, arg_max.index_bits].map(Z2k::new);
        let [values, indices] = rings;
        let rings = [values.or_malformed("manifest")?, indices.or_malformed("manifest")?];
        let indices: Vec<u64> = (0..share.len()).map(|i| (i % plan.classes()) as u64).collect();
        let mut values = vec![share, indices.into()];
        play(channel, &plan, &arg_max.tournament, &rings, &mut values, &mut gates, report)?;
        share = values.swap_remove(1);
    }
    let start = Start::now(channel);
    debug_assert_eq!(share.len(), count);
    channel.send(Kind::Output, 0, &pack(&share, bits))?;
    channel.flush()?;
    report.add(Stage::Online, "output", "output", &start, channel);
    Ok(())
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
        report.add(Stage::Online, plan.layer_name(step), step.part, &start, channel);
    }
    values.iter_mut().for_each(|values| *values = tournament.winners(values).into());
    Ok(())
}

/// A bundle always has its plan's gates; should it not, nothing may go on as if a gate had run.
fn missing_gate() -> ProtocolError {
    ProtocolError::Caller("the bundle has fewer gates than its plan".into())
}

/// Bits and number of the values that the output message carries.
fn output_shape(plan: &Plan) -> (u32, usize) {
    match plan.arg_max() {
        Some(arg_max) => (arg_max.index_bits, plan.images() * plan.outputs()),
        _ => (plan.layers().last().map_or(1, |layer| layer.ring_bits), plan.images() * plan.classes()),
    }
}
