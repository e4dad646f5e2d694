//! `cargo xtask bench he-mode`: networks on ciphertexts alone, one image at a time and in batches.
//!
//! Both parties run in this process over a channel in memory; client and server share its threads. Images are the shared
//! test images; labels and logits are compared with the imported network in double precision, and with the labels that
//! belong to the images. Without shared data there is nothing to measure. A batch is full, with test images a second time
//! where they are too few: what either party does hardly depends on how many slots have an image, and batches exist to be
//! filled. Labels and errors are those of the test images, once each.
//!
//! | column | what |
//! |---|---|
//! | keys | made and sent once per session |
//! | client, server | seconds an image; server: from the request to the last byte of the answer |
//! | error | the largest distance of a logit to that of the imported network |
//! | same label | of the imported network, of how many images |
//! | peak | of this process so far: it grows from row to row, and both parties are in it |

use anyhow::{Context, Result, anyhow, ensure};
use he_core::{Profile, Seed};
use nn_merge::build;
use nn_merge::evaluate::Evaluator;
use nn_merge::fixed_point::first_largest;
use protocol::encrypted::{Decrypted, Mode, Timings};
use protocol::report::{Stage, peak_memory_bytes};
use protocol::testing::in_process;
use protocol::{Policy, Server};
use serde::Serialize;

use super::{Document, machine};
use crate::networks::{self, Network, images};

/// Arguments of `bench he-mode`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Images one at a time
    #[arg(long, value_name = "N", default_value_t = 16)]
    images: usize,
    /// Images in batches; as many as one batch has room for if nothing is said
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Only networks whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
}

/// The networks of linear maps and squares.
pub(super) const NETWORKS: [&str; 2] = ["mnist_poly", "fashion_poly"];

/// A network in one mode.
#[derive(Clone, Serialize)]
pub(super) struct Row {
    pub(super) network: &'static str,
    pub(super) mode: &'static str,
    pub(super) degree: usize,
    pub(super) primes: usize,
    pub(super) images: usize,
    /// Test images among them, which the labels are of.
    pub(super) tested: usize,
    /// Slots of a batch; 1 in single mode.
    pub(super) most_images: usize,
    pub(super) key_seconds: f64,
    pub(super) key_bytes: u64,
    pub(super) client_seconds_per_image: f64,
    pub(super) server_seconds_per_image: f64,
    /// Of all evaluations.
    pub(super) seconds: f64,
    pub(super) bytes_sent_per_image: f64,
    pub(super) bytes_received_per_image: f64,
    pub(super) worst_logit_error: f64,
    pub(super) largest_logit: f64,
    pub(super) same_label: usize,
    pub(super) right: usize,
    pub(super) prepared_bytes: usize,
    pub(super) peak_memory_bytes: Option<u64>,
}

/// Measures; true unless nothing was there to measure.
pub(super) fn run(args: &Args) -> Result<bool> {
    let wanted = |name: &&str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut rows = Vec::new();
    for name in NETWORKS.into_iter().filter(wanted) {
        let network = networks::named(&[name.to_owned()])?[0];
        rows.extend(measure(network, args.images, args.batch)?);
    }
    let empty = rows.is_empty();
    if args.json {
        Document::print("hushnet-bench-he-mode/1", rows)?;
    } else {
        println!("{}, both parties in one process", machine::Machine::read());
        print_table(&rows);
    }
    if empty {
        eprintln!("nothing was measured: no such network, or no shared data (set HUSHNET_DATA)");
    }
    Ok(!empty)
}

/// A network with squares on its test images, first one by one, then in batches (if nothing is said, one that is full);
/// nothing without test images.
pub(super) fn measure(network: &'static Network, images: usize, batch: Option<usize>) -> Result<Vec<Row>> {
    let (Some(set), Some(_)) = (network.set(), networks::shared_data()) else { return Ok(Vec::new()) };
    let Some(loaded) = network.load()? else { return Ok(Vec::new()) };
    let options = network.options(Profile::Wide);
    let (model, _) = build(&loaded.graph, &loaded.calibration, &options, &mut Seed::from_os()?.stream())?;
    let test = images::test(set, batch.unwrap_or(usize::MAX).max(images))?;
    let inputs: Vec<Vec<f64>> = test
        .pixels
        .iter()
        .map(|pixels| network.normalised(set, pixels).into_iter().map(f64::from).collect())
        .collect();
    let expected = Evaluator::<f64>::new(&loaded.graph)?.run_all(&inputs)?;
    let server = Server::new(model, Policy { encrypted: true, ..Policy::default() }, Seed::from_os()?)
        .map_err(|error| anyhow!("{error}"))?;
    let mut rows = Vec::new();
    ensure!(!inputs.is_empty(), "{} has no test images", set.folder());
    for (mode, count) in [(Mode::Single, Some(images)), (Mode::Batch, batch)] {
        let ready = server.encrypted(mode).map_err(|refusal| anyhow!(refusal.reason))?;
        let count = count.unwrap_or_else(|| ready.plan().most_images());
        ensure!(count > 0, "no images");
        let (tested, repeated) = (count.min(inputs.len()), inputs.iter().cycle().take(count));
        let own: Vec<Vec<f64>> = repeated.cloned().collect();
        eprintln!("{} {}: {count} images", network.name, mode.word());
        let session = in_process(&server, Seed::from_os()?, Seed::from_os()?, |client| {
            let mut session = client.encrypted(mode)?;
            let (setup, most) = (session.setup, session.plan().most_images());
            let mut all = Vec::new();
            for images in own.chunks(most) {
                all.push(session.classify(images, &mut |_, _| ())?);
            }
            session.finish()?;
            Ok((setup, all))
        });
        let (setup, all) = session.0.map_err(|error| anyhow!("{error}"))?;
        let served = session.1.map_err(|error| anyhow!("{error}")).context("the server")?;
        let server_seconds = served.report.total(Stage::Online).seconds;
        let figures = Figures::new(&all, &expected[..tested], &test.labels);
        let per_image = |value: f64| value / count as f64;
        let sum = |part: fn(&Timings) -> f64| all.iter().map(|(_, timings)| part(timings)).sum::<f64>();
        rows.push(Row {
            network: network.name,
            mode: mode.word(),
            degree: ready.plan().params().n(),
            primes: ready.plan().params().limbs(),
            images: count,
            tested,
            most_images: ready.plan().most_images(),
            key_seconds: setup.encrypting + setup.waiting,
            key_bytes: setup.sent,
            client_seconds_per_image: per_image(sum(|t| t.encrypting + t.decrypting)),
            server_seconds_per_image: per_image(server_seconds),
            seconds: sum(|t| t.encrypting + t.waiting + t.decrypting),
            bytes_sent_per_image: per_image(sum(|t| t.sent as f64)),
            bytes_received_per_image: per_image(sum(|t| t.received as f64)),
            worst_logit_error: figures.error,
            largest_logit: figures.largest,
            same_label: figures.same,
            right: figures.right,
            prepared_bytes: ready.bytes(),
            peak_memory_bytes: peak_memory_bytes(),
        });
    }
    Ok(rows)
}

/// Answers beside those of the imported network and the true labels.
struct Figures {
    error: f64,
    largest: f64,
    same: usize,
    right: usize,
}

impl Figures {
    fn new(answers: &[(Decrypted, Timings)], expected: &[Vec<f64>], labels: &[usize]) -> Self {
        let mut figures = Self { error: 0.0, largest: 0.0, same: 0, right: 0 };
        let rows = answers.iter().flat_map(|(answers, _)| answers.logits.iter().zip(&answers.labels));
        for (((logits, &label), expected), &truth) in rows.zip(expected).zip(labels) {
            figures.same += usize::from(label == first_largest(expected));
            figures.right += usize::from(label == truth);
            for (found, expected) in logits.iter().zip(expected) {
                figures.error = figures.error.max((found - expected).abs());
                figures.largest = figures.largest.max(expected.abs());
            }
        }
        figures
    }
}

fn print_table(rows: &[Row]) {
    use comfy_table::{CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header([
        "network",
        "mode",
        "images",
        "of",
        "client ms",
        "server ms",
        "keys s",
        "keys MB",
        "KB up",
        "KB down",
        "error",
        "same label",
        "right",
        "peak MB",
    ]);
    let mega = |bytes: f64| format!("{:.1}", bytes / 1e6);
    let kilo = |bytes: f64| format!("{:.1}", bytes / 1e3);
    for row in rows {
        table.add_row([
            row.network.to_owned(),
            row.mode.to_owned(),
            row.images.to_string(),
            row.most_images.to_string(),
            format!("{:.3}", row.client_seconds_per_image * 1e3),
            format!("{:.3}", row.server_seconds_per_image * 1e3),
            format!("{:.2}", row.key_seconds),
            mega(row.key_bytes as f64),
            kilo(row.bytes_sent_per_image),
            kilo(row.bytes_received_per_image),
            format!("{:.4} of {:.1}", row.worst_logit_error, row.largest_logit),
            format!("{} of {}", row.same_label, row.tested),
            row.right.to_string(),
            row.peak_memory_bytes.map(|bytes| mega(bytes as f64)).unwrap_or_default(),
        ]);
    }
    for column in 2..14 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    println!("client, server, KB: an image; both parties share the threads of one process");
}
