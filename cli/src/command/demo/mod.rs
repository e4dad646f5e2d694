//! `hushnet demo`: both parties on this machine, each a process of its own, over loopback TCP.
//!
//! | step | who | what |
//! |---|---|---|
//! | merging | this process, as the network's owner | ONNX → passes, calibration on the shifted drawings → model file |
//! | serving | a second process | this program's `serve` on a free port |
//! | labels | this process, as client | preprocessing and online stage with the label as the only output |
//! | logits | this process, as client | a second session with logits, only to compare them |
//! | plaintext | this process | the network in single precision, and the fixed-point network without noise |
//!
//! Checked, with exit code 8 if not so: every private label equals the plaintext one; every private logit lies within
//! its bound of the fixed-point network's, and within 2 % of the largest logit of the float network's.

mod samples;
mod server;
mod text;

use std::time::Instant;

use nn_merge::evaluate::Evaluator;
use nn_merge::fixed_point::{evaluate_exact, first_largest};
use nn_merge::model::{Manifest, Model};
use nn_merge::noise::least_ratio;
use nn_merge::{BuildOptions, Graph, MergeReport, NnError, build, onnx};
use protocol::report::peak_memory_bytes;
use protocol::{OutputMode, Preprocessing, Profile, RoundChoice};
use serde::Serialize;

use super::merge::write_privately;
use super::security::{Lattice, lattice, noise, plan};
use crate::args::{Demo, OutputFlags};
use crate::error::Failure;
use crate::images::{Image, Wanted};
use crate::output::{Console, StageCost, Stages, hex, print, print_json};
use crate::progress::Progress;
use crate::session::{Answers, Session, bundles, fresh_seed, network_input, quantised, wanted};
use crate::terms::Agreed;

use samples::{NAME, NETWORK};
use server::ServerProcess;

/// Side of the network's images.
const SIDE: usize = 28;

/// How far a private logit may be from the float network's, as a share of the largest logit.
const TOLERANCE: f64 = 0.02;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    model: String,
    digest: String,
    digits: Vec<Digit>,
    labels_agree: bool,
    /// Private logits against those of the network in single precision.
    largest_logit_difference: f64,
    #[serde(flatten)]
    fixed_point: FixedPoint,
    merging_error: f64,
    stages: StageDocument,
    /// Of the session for the labels.
    terms: Agreed,
    security: Security,
    peak_memory_bytes: Option<u64>,
}

/// Private logits against those of the fixed-point network without noise.
#[derive(Serialize)]
struct FixedPoint {
    /// Over all logits.
    largest_fixed_point_difference: f64,
    /// The largest of the bounds that these inputs have, one per logit.
    logit_bound: f64,
    /// Every logit is within its own.
    within_bounds: bool,
}

#[derive(Serialize)]
struct Digit {
    name: String,
    drawn: usize,
    private_label: usize,
    plaintext_label: usize,
    private_logits: Vec<f64>,
    plaintext_logits: Vec<f64>,
    #[serde(skip)]
    pixels: Vec<f32>,
}

/// Costs of the client's process: labels, and the second session for the logits.
#[derive(Serialize)]
struct StageDocument {
    merging: StageCost,
    #[serde(flatten)]
    labels: Stages,
    logits: Stages,
}

#[derive(Serialize)]
struct Security {
    #[serde(flatten)]
    lattice: Lattice,
    one_time_masks: bool,
    output: &'static str,
    compared_logit_bits: Option<u32>,
    least_ratio: f64,
    log2_queries: f64,
    server_process: u32,
    client_process: u32,
    address: String,
}

/// The demonstration.
///
/// # Errors
/// Whatever kept it from running; [`Failure::SelfCheck`] if private and plaintext results differ.
pub(super) fn run(arguments: &Demo, console: &Console) -> Result<(), Failure> {
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::System { doing: "making a temporary folder", reason: error.to_string() })?;
    let want = Wanted { channels: 1, height: SIDE, width: SIDE, channels_last: false };
    let (images, drawn) = samples::digits(folder.path(), want)?;

    let start = Instant::now();
    let progress = Progress::new(console, arguments.json, 1);
    progress.doing("merging");
    let (graph, model, report) = merged(&images)?;
    let merging = StageCost { seconds: start.elapsed().as_secs_f64(), ..StageCost::default() };
    let path = folder.path().join("model.hush");
    write_privately(&path, &model.to_bytes().map_err(embedded)?)?;
    drop(progress);

    let server = ServerProcess::start(&path, arguments.methods.link)?;
    let (answers, labels, _, terms) = classified(&server, &images, false, arguments, console)?;
    let (fine, logits, mode, _) = classified(&server, &images, true, arguments, console)?;

    let bits = match mode {
        OutputMode::Logits { bits } => Some(bits),
        OutputMode::Label | OutputMode::Top { .. } => None,
    };
    let plain = plaintext(&graph, &model.manifest, &images)?;
    let digits = digits(&images, &drawn, &answers, &fine, plain);
    let lattice = lattice(&model.manifest);
    let plan = plan(&model.manifest, 1, 1, RoundChoice::Three, Preprocessing::Split)?;
    let ratio = least_ratio(&noise(&model, &plan, None).map_err(embedded)?);
    let document = Document {
        schema: "hushnet-demo/1",
        model: model.manifest.name.clone(),
        digest: hex(&model.manifest.digest().map_err(embedded)?),
        labels_agree: digits.iter().all(|digit| digit.private_label == digit.plaintext_label),
        largest_logit_difference: digits
            .iter()
            .map(|digit| difference(&digit.private_logits, &digit.plaintext_logits))
            .fold(0.0, f64::max),
        fixed_point: fixed_point(&model, &images, &digits, bits)?,
        merging_error: report.merging_error,
        digits,
        stages: StageDocument { merging, labels, logits },
        terms,
        security: Security {
            lattice,
            one_time_masks: true,
            output: "label",
            compared_logit_bits: bits,
            least_ratio: ratio,
            log2_queries: 2.0 * ratio.log2(),
            server_process: server.id(),
            client_process: std::process::id(),
            address: server.address().to_owned(),
        },
        peak_memory_bytes: peak_memory_bytes(),
    };
    if arguments.json {
        print_json(&document)?
    } else {
        print(&document.text(console))?
    }
    document.check()
}

/// The embedded network as a model.
fn merged(images: &[Image]) -> Result<(Graph, Model, MergeReport), Failure> {
    let graph = onnx::import(NETWORK).map_err(embedded)?;
    let options = BuildOptions::new(Profile::Wide, NAME);
    let scaled =
        |image: &Image| image.chw.iter().map(|&pixel| (f64::from(pixel) * options.scale) as f32).collect();
    let calibration: Vec<Vec<f32>> = samples::shifted(images, SIDE, SIDE).iter().map(scaled).collect();
    let (model, report) =
        build(&graph, &calibration, &options, &mut fresh_seed()?.stream()).map_err(embedded)?;
    Ok((graph, model, report))
}

/// One session: all digits in bundles.
fn classified(
    server: &ServerProcess,
    images: &[Image],
    logits: bool,
    arguments: &Demo,
    console: &Console,
) -> Result<(Answers, Stages, OutputMode, Agreed), Failure> {
    let output = OutputFlags { logits, top: None };
    let mut session = Session::open(server.address(), output, &arguments.methods)?;
    debug_assert_eq!(wanted(&session.manifest().input).values(), SIDE * SIDE);
    let inputs = quantised(session.manifest(), images)?;
    let sizes = bundles(images.len(), None, session.most_images());
    let progress = Progress::new(console, arguments.json, 100 * sizes.len());
    let answers = session.classify(&inputs, &sizes, &progress)?;
    drop(progress);
    let (mode, terms) = (session.mode(), session.agreed());
    Ok((answers, Stages::of(&session.finish()?), mode, terms))
}

/// The network in plaintext, single precision: logits of every image.
fn plaintext(graph: &Graph, manifest: &Manifest, images: &[Image]) -> Result<Vec<Vec<f64>>, Failure> {
    let evaluator = Evaluator::<f32>::new(graph).map_err(embedded)?;
    let inputs: Vec<Vec<f32>> = images.iter().map(|image| network_input(&manifest.input, image)).collect();
    let outputs = evaluator.run_all(&inputs).map_err(embedded)?;
    Ok(outputs.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect())
}

fn digits(
    images: &[Image],
    drawn: &[usize],
    labels: &Answers,
    fine: &Answers,
    plain: Vec<Vec<f64>>,
) -> Vec<Digit> {
    let private = fine.logits.iter().flatten();
    images
        .iter()
        .zip(drawn)
        .zip(labels.labels.iter().zip(private))
        .zip(plain)
        .map(|(((image, &drawn), (&private_label, private_logits)), plaintext_logits)| Digit {
            name: image.name.clone(),
            drawn,
            private_label,
            plaintext_label: first_largest(&plaintext_logits),
            private_logits: private_logits.clone(),
            plaintext_logits,
            pixels: image.chw.clone(),
        })
        .collect()
}

/// Compares with the fixed-point network, each logit with the bound that holds for it.
fn fixed_point(
    model: &Model,
    images: &[Image],
    digits: &[Digit],
    bits: Option<u32>,
) -> Result<FixedPoint, Failure> {
    let inputs = quantised(&model.manifest, images)?;
    let mut result =
        FixedPoint { largest_fixed_point_difference: 0.0, logit_bound: 0.0, within_bounds: true };
    for (input, digit) in inputs.iter().zip(digits) {
        let exact = evaluate_exact(model, input, bits).map_err(embedded)?;
        for ((own, private), &bound) in exact.logits.iter().zip(&digit.private_logits).zip(&exact.bounds) {
            let difference = (own - private).abs();
            result.largest_fixed_point_difference = result.largest_fixed_point_difference.max(difference);
            result.logit_bound = result.logit_bound.max(bound);
            result.within_bounds &= difference <= bound;
        }
    }
    Ok(result)
}

fn difference(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn embedded(source: NnError) -> Failure {
    Failure::Model { path: "the embedded network".into(), source }
}

impl Document {
    /// The program's own check of what it shows.
    fn check(&self) -> Result<(), Failure> {
        if let Some(digit) = self.digits.iter().find(|digit| digit.private_label != digit.plaintext_label) {
            return Err(Failure::SelfCheck(format!(
                "the private label of {} is {}, the plaintext one {}",
                digit.name, digit.private_label, digit.plaintext_label
            )));
        }
        if !self.fixed_point.within_bounds {
            return Err(Failure::SelfCheck(format!(
                "a private logit is further from the fixed-point network's than its bound (differences up to {}, \
                 bounds up to {})",
                self.fixed_point.largest_fixed_point_difference, self.fixed_point.logit_bound
            )));
        }
        if self.largest_logit_difference > TOLERANCE * self.largest_logit() {
            return Err(Failure::SelfCheck(format!(
                "a private logit is {} away from the float network's, more than {TOLERANCE} of the largest, {}",
                self.largest_logit_difference,
                self.largest_logit()
            )));
        }
        Ok(())
    }

    /// The largest magnitude of a plaintext logit.
    fn largest_logit(&self) -> f64 {
        let logits = self.digits.iter().flat_map(|digit| &digit.plaintext_logits);
        logits.fold(0.0, |largest, logit| largest.max(logit.abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document of one digit that passes the check.
    fn document() -> Document {
        let cost = StageCost::default();
        let stages = Stages { setup: cost, preprocessing: cost, online: cost };
        let lattice = Lattice {
            profile: "wide".to_owned(),
            ring_degree: 2048,
            moduli: vec![97],
            log2_q: 6.6,
            security_bits: 128.0,
        };
        Document {
            schema: "hushnet-demo/1",
            model: NAME.to_owned(),
            digest: String::new(),
            digits: vec![Digit {
                name: "digit_1_a.png".to_owned(),
                drawn: 1,
                private_label: 1,
                plaintext_label: 1,
                private_logits: vec![-3.0, 10.1],
                plaintext_logits: vec![-3.0, 10.0],
                pixels: vec![0.0; SIDE * SIDE],
            }],
            labels_agree: true,
            largest_logit_difference: 0.1,
            fixed_point: FixedPoint {
                largest_fixed_point_difference: 0.1,
                logit_bound: 1.0,
                within_bounds: true,
            },
            merging_error: 0.0,
            stages: StageDocument { merging: cost, labels: stages, logits: stages },
            terms: Agreed::default(),
            security: Security {
                lattice,
                one_time_masks: true,
                output: "label",
                compared_logit_bits: Some(12),
                least_ratio: 1024.0,
                log2_queries: 20.0,
                server_process: 1,
                client_process: 2,
                address: String::new(),
            },
            peak_memory_bytes: None,
        }
    }

    #[test]
    fn every_planted_difference_is_found() {
        document().check().unwrap();
        let plants: [fn(&mut Document); 3] = [
            |document| document.digits[0].private_label = 7,
            |document| document.fixed_point.within_bounds = false,
            |document| document.largest_logit_difference = 0.3,
        ];
        for plant in plants {
            let mut planted = document();
            plant(&mut planted);
            let failure = planted.check().unwrap_err();
            assert_eq!(failure.code(), 8, "{failure}");
        }
    }
}
