//! `hushnet infer --mode he`: ciphertexts go in, ciphertexts come out.
//!
//! One image at a time, or with `--batch` as many together as a ciphertext has slots. Keys are made and sent once per
//! session.

use nn_merge::model::Manifest;
use protocol::ProtocolError;
use protocol::encrypted::{Encrypted, Mode, Timings};
use protocol::report::peak_memory_bytes;
use serde::Serialize;

use super::{Examples, first_given, link};
use crate::args::Infer;
use crate::error::Failure;
use crate::images::Image;
use crate::output::{Console, counted, hex, print, print_json};
use crate::progress::Progress;
use crate::session::{Answers, dial, network_input, quantised};
use crate::terminal::{bytes, seconds, table};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    model: &'a str,
    digest: String,
    mode: &'static str,
    degree: usize,
    primes: usize,
    images: usize,
    labels: &'a [usize],
    logits: &'a [Vec<f64>],
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a [usize]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    keys: Timings,
    online: Timings,
    peak_memory_bytes: Option<u64>,
}

/// Classifies the images.
///
/// # Errors
/// Files that can't be used, or what ended the session.
pub(super) fn run(arguments: &Infer, console: &Console) -> Result<(), Failure> {
    if let Some(flag) = out_of_place(arguments) {
        return Err(Failure::Usage(format!(
            "{flag} has no meaning with --mode he: there is nothing to prepare, and logits always come"
        )));
    }
    let mode = if arguments.batch { Mode::Batch } else { Mode::Single };
    let failed = |source: ProtocolError| Failure::session(&arguments.connect, source);
    let progress = Progress::new(console, arguments.json, 1000);
    let client = dial(&arguments.connect, &arguments.methods)?;
    let examples = Examples::read(arguments, client.manifest())?;
    let images = &examples.images;
    let inputs = inputs(client.manifest(), images)?;
    progress.doing("making keys");
    let mut session = client.encrypted(mode).map_err(failed)?;
    progress.doing("inferring");
    let (answers, online) = classify(&mut session, &inputs, &progress).map_err(failed)?;
    drop(progress);
    let (manifest, digest, setup) = (session.manifest().clone(), *session.digest(), session.setup);
    let (degree, primes) = (session.plan().params().n(), session.plan().params().limbs());
    session.finish().map_err(failed)?;
    let results = examples.results(&answers);
    if arguments.json {
        return print_json(&Document {
            schema: "hushnet-infer-he/1",
            model: &manifest.name,
            digest: hex(&digest),
            mode: mode.word(),
            degree,
            primes,
            images: images.len(),
            labels: &answers.labels,
            logits: answers.logits.as_deref().unwrap_or_default(),
            expected: results.expected,
            accuracy: results.accuracy(),
            keys: setup,
            online,
            peak_memory_bytes: peak_memory_bytes(),
        });
    }
    let mut text = results.text(examples.want.height, examples.want.width, console);
    if !console.quiet {
        text.push_str(&format!("\n{}\n", costs(&setup, &online, images.len())));
        text.push_str(&link(arguments));
    }
    print(&text)
}

/// The first flag that belongs to the other mode.
fn out_of_place(arguments: &Infer) -> Option<&'static str> {
    let given = [
        (arguments.pool.is_some(), "--pool"),
        (arguments.bundle.is_some(), "--bundle"),
        (arguments.output.logits, "--logits"),
        (arguments.output.top.is_some(), "--top"),
    ];
    first_given(arguments, &given)
}

/// Network inputs, checked as those of the other mode are.
///
/// # Errors
/// [`Failure::Value`] for an image with values that the model does not take.
pub(super) fn inputs(manifest: &Manifest, images: &[Image]) -> Result<Vec<Vec<f64>>, Failure> {
    quantised(manifest, images)?;
    let wide = |image: &Image| network_input(&manifest.input, image).into_iter().map(f64::from).collect();
    Ok(images.iter().map(wide).collect())
}

fn classify(
    session: &mut Encrypted,
    inputs: &[Vec<f64>],
    progress: &Progress,
) -> Result<(Answers, Timings), ProtocolError> {
    let (mut answers, mut total) = (Answers::default(), Timings::default());
    let most = session.plan().most_images();
    let parts = inputs.len().div_ceil(most).max(1);
    for (part, images) in inputs.chunks(most).enumerate() {
        let mut step = |done: usize, of: usize| progress.at((1000 * part + 1000 * done / of.max(1)) / parts);
        let (found, timings) = session.classify(images, &mut step)?;
        answers.labels.extend(found.labels);
        answers.logits.get_or_insert_default().extend(found.logits);
        answers.bundles.push(images.len());
        total.encrypting += timings.encrypting;
        total.waiting += timings.waiting;
        total.decrypting += timings.decrypting;
        total.sent += timings.sent;
        total.received += timings.received;
    }
    Ok((answers, total))
}

fn costs(setup: &Timings, online: &Timings, images: usize) -> String {
    let row = |name: &str, own: &str, t: &Timings| {
        vec![
            name.to_owned(),
            own.to_owned(),
            seconds(t.encrypting + t.decrypting),
            seconds(t.waiting),
            bytes(t.sent),
            bytes(t.received),
        ]
    };
    let rows = [row("keys", "once", setup), row("online", &counted(images, "image"), online)];
    let mut text = table(&["", "for", "client computes", "waits", "sent", "received"], &rows);
    if images > 1 {
        let each = (online.encrypting + online.waiting + online.decrypting) / images as f64;
        text.push_str(&format!(
            "\n{} and {} an image",
            seconds(each),
            bytes((online.sent + online.received) / images as u64)
        ));
    }
    text
}
