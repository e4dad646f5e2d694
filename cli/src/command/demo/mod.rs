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
//! the stated bound of the fixed-point network's.

mod samples;
mod server;
mod text;

use std::time::Instant;

use nn_merge::evaluate::Evaluator;
use nn_merge::fixed_point::{evaluate_exact, logit_bound};
use nn_merge::model::{Manifest, Model};
use nn_merge::{Graph, MergeReport, NnError, build, onnx};
use protocol::OutputMode;
use protocol::report::peak_memory_bytes;
use serde::Serialize;

use super::merge::{options, write_privately};
use super::security::{Lattice, lattice, least_ratio, noise};
use crate::args::{Demo, ProfileName};
use crate::error::Failure;
use crate::images::{Image, Wanted};
use crate::output::{Console, StageCost, Stages, hex, print, print_json};
use crate::progress::Progress;
use crate::session::{
    Answers, Session, bundles, first_largest, fresh_seed, network_input, quantised, wanted,
};

use samples::{NAME, NETWORK};
use server::ServerProcess;

/// Side of the network's images.
const SIDE: usize = 28;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    model: String,
    digest: String,
    digits: Vec<Digit>,
    labels_agree: bool,
    /// Private logits against those of the network in single precision.
    largest_logit_difference: f64,
    /// Private logits against those of the fixed-point network without noise, and the bound on it.
    largest_fixed_point_difference: f64,
    logit_bound: f64,
    merging_error: f64,
    stages: StageDocument,
    security: Security,
    peak_memory_bytes: Option<u64>,
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

    let server = ServerProcess::start(&path)?;
    let (answers, labels, _) = classified(&server, &images, false, arguments, console)?;
    let (fine, logits, mode) = classified(&server, &images, true, arguments, console)?;

    let bits = match mode {
        OutputMode::Logits { bits } => Some(bits),
        OutputMode::Label => None,
    };
    let plain = plaintext(&graph, &model.manifest, &images)?;
    let digits = digits(&images, &drawn, &answers, &fine, plain);
    let lattice = lattice(&model.manifest)?;
    let ratio = least_ratio(&noise(&model, lattice.modulus, None));
    let document = Document {
        schema: "hushnet-demo/1",
        model: model.manifest.name.clone(),
        digest: hex(&model.manifest.digest().map_err(embedded)?),
        labels_agree: digits.iter().all(|digit| digit.private_label == digit.plaintext_label),
        largest_logit_difference: digits
            .iter()
            .map(|digit| difference(&digit.private_logits, &digit.plaintext_logits))
            .fold(0.0, f64::max),
        largest_fixed_point_difference: fixed_point_difference(&model, &images, &digits)?,
        logit_bound: logit_bound(&model, bits),
        merging_error: report.merging_error,
        digits,
        stages: StageDocument { merging, labels, logits },
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
    let options = options(NAME, ProfileName::Wide)?;
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
) -> Result<(Answers, Stages, OutputMode), Failure> {
    let mut session = Session::open(server.address(), logits)?;
    debug_assert_eq!(wanted(session.manifest()).values(), SIDE * SIDE);
    let inputs = quantised(session.manifest(), images)?;
    let sizes = bundles(images.len(), None, session.most_images());
    let progress = Progress::new(console, arguments.json, 100 * sizes.len());
    let answers = session.classify(&inputs, &sizes, &progress)?;
    drop(progress);
    let mode = session.mode();
    Ok((answers, Stages::of(&session.finish()?), mode))
}

/// The network in plaintext, single precision: logits of every image.
fn plaintext(graph: &Graph, manifest: &Manifest, images: &[Image]) -> Result<Vec<Vec<f64>>, Failure> {
    let evaluator = Evaluator::<f32>::new(graph).map_err(embedded)?;
    let inputs: Vec<Vec<f32>> = images.iter().map(|image| network_input(manifest, image)).collect();
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

/// Largest distance of the private logits from the fixed-point network's without noise.
fn fixed_point_difference(model: &Model, images: &[Image], digits: &[Digit]) -> Result<f64, Failure> {
    let inputs = quantised(&model.manifest, images)?;
    let mut largest = 0.0f64;
    for (input, digit) in inputs.iter().zip(digits) {
        let exact = evaluate_exact(model, input).map_err(embedded)?;
        largest = largest.max(difference(&exact.logits, &digit.private_logits));
    }
    Ok(largest)
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
        if self.digits.is_empty() || self.largest_fixed_point_difference > self.logit_bound {
            return Err(Failure::SelfCheck(format!(
                "a private logit is {} away from the fixed-point network's, {} is the bound",
                self.largest_fixed_point_difference, self.logit_bound
            )));
        }
        Ok(())
    }
}
