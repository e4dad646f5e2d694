//! `hushnet infer --arithmetic float`: **insecure**, the published scheme's shares of real numbers, to compare with.
//!
//! A warning goes to standard error whatever the flags say; the document names the arithmetic, that it is insecure, the mask
//! bits, and the statistical distances that they come to.

use protocol::ProtocolError;
use protocol::float::{DEFAULT_MASK_BITS, Distance, FloatSession, WARNING};
use protocol::report::{Row, peak_memory_bytes};
use serde::Serialize;

use super::encrypted::inputs;
use super::{Examples, costs, first_given, link};
use crate::args::{Infer, ModeName};
use crate::error::Failure;
use crate::output::{Console, StageCost, Stages, hex, layer_table, print, print_json};
use crate::progress::Progress;
use crate::session::{Answers, bundles, dial};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    model: &'a str,
    digest: String,
    arithmetic: &'static str,
    insecure: bool,
    mask_bits: u32,
    distance: Distance,
    images: usize,
    bundles: &'a [usize],
    labels: &'a [usize],
    logits: &'a [Vec<f64>],
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a [usize]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    setup: StageCost,
    preprocessing: StageCost,
    online: StageCost,
    peak_memory_bytes: Option<u64>,
    layers: &'a [Row],
}

/// Classifies the images.
///
/// # Errors
/// Files that can't be used, or what ended the session.
pub(super) fn run(arguments: &Infer, console: &Console) -> Result<(), Failure> {
    console.warning(WARNING);
    let mask_bits = arguments.mask_bits.unwrap_or(DEFAULT_MASK_BITS);
    let failed = |source: ProtocolError| Failure::session(&arguments.connect, source);
    let client = dial(&arguments.connect, &arguments.methods)?;
    let examples = Examples::read(arguments, client.manifest())?;
    let images = &examples.images;
    let inputs = inputs(client.manifest(), images)?;
    let mut session = client.float(mask_bits).map_err(failed)?;
    let sizes = bundles(images.len(), arguments.bundle, session.most_images());
    let progress = Progress::new(console, arguments.json, 100 * sizes.len());
    let answers = classify(&mut session, &inputs, &sizes, &progress).map_err(failed)?;
    drop(progress);
    let (manifest, digest) = (session.manifest().clone(), *session.digest());
    let distance = session.plan().distance();
    let report = session.finish().map_err(failed)?;
    let results = examples.results(&answers);
    if arguments.json {
        let stages = Stages::of(&report);
        return print_json(&Document {
            schema: "hushnet-infer-float/1",
            model: &manifest.name,
            digest: hex(&digest),
            arithmetic: "float",
            insecure: true,
            mask_bits,
            distance,
            images: images.len(),
            bundles: &answers.bundles,
            labels: &answers.labels,
            logits: answers.logits.as_deref().unwrap_or_default(),
            expected: results.expected,
            accuracy: results.accuracy(),
            setup: stages.setup,
            preprocessing: stages.preprocessing,
            online: stages.online,
            peak_memory_bytes: peak_memory_bytes(),
            layers: report.rows(),
        });
    }
    let mut text = results.text(examples.want.height, examples.want.width, console);
    if !console.quiet {
        text.push_str(&costs(&report, images.len()));
        text.push_str(&format!("\nINSECURE, masks of {mask_bits} bits: {distance}\n"));
        text.push_str(&link(arguments));
        if console.verbose > 0 {
            text.push_str(&format!("\n{}\n", layer_table(&report)));
        }
    }
    print(&text)
}

/// The first flag that belongs to the other arithmetic.
pub(super) fn out_of_place(arguments: &Infer) -> Option<&'static str> {
    let given = [
        (arguments.mode == ModeName::He, "--mode he"),
        (arguments.pool.is_some(), "--pool"),
        (arguments.output.logits, "--logits"),
        (arguments.output.top.is_some(), "--top"),
        (arguments.methods.preprocessing.is_some(), "--preprocessing"),
    ];
    first_given(arguments, &given)
}

fn classify(
    session: &mut FloatSession,
    inputs: &[Vec<f64>],
    sizes: &[usize],
    progress: &Progress,
) -> Result<Answers, ProtocolError> {
    let (mut answers, mut rest) = (Answers::default(), inputs);
    for (at, &size) in sizes.iter().enumerate() {
        let (now, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        progress.doing("preparing");
        let base = 100 * at;
        let bundle = session.prepare(size, &mut |done, of| progress.at(base + 90 * done / of.max(1)))?;
        progress.doing("inferring");
        let found = session.infer(bundle, now)?;
        answers.labels.extend(found.labels);
        answers.logits.get_or_insert_default().extend(found.logits);
        answers.bundles.push(size);
    }
    Ok(answers)
}
