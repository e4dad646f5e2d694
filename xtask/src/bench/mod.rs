//! `cargo xtask bench`: what things cost, each beside a plain baseline measured in the same run.
//!
//! | bench | rows | baseline |
//! |---|---|---|
//! | `kernels` | transforms, samplers, transfers, matrix products | the portable kernel, or the slow twin |
//! | `he` | transforms and both schemes of he-core | tfhe-ntt and fhe.rs; figures of SEAL with HEXL from another day |
//! | `he-mode` | networks on ciphertexts alone, one image and batches | the labels and logits of the same network in double precision |
//! | `layers` | one private layer, two processes over loopback | the same layer in plain f64, direct |
//! | `network` | whole networks, two processes, over loopback or modelled links | the same network in plain f32, this crate's evaluation |
//! | `conv` | every linear layer of six networks, in this process | the same layer in f32 under ONNX Runtime and tract; direct |
//! | `paper` | the scheme's claims: networks under many constructions, two processes | one another |
//! | `activation` | one activation each, two processes, also over modelled links | the same function in plain f32 |
//!
//! Machines and moments differ: quote ratios. Times are medians. `--json` prints one document with the machine and the
//! commit; without it a table.

pub(crate) mod activation;
mod conv;
mod he;
mod he_mode;
mod kernels;
mod layers;
mod machine;
mod network;
mod paper;
mod party;
mod timing;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use serde::Serialize;

/// Arguments of `bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Transforms, samplers, oblivious transfers, matrix products
    Kernels(Options),
    /// Transforms and both lattice schemes beside other libraries
    He(Options),
    /// Networks on ciphertexts alone: labels, errors, time, bytes
    HeMode(he_mode::Args),
    /// One private layer at a time, two processes over loopback
    Layers(Options),
    /// Whole networks, two processes, over loopback or modelled links
    Network(network::Args),
    /// Linear layers of whole networks, beside float engines, in this process
    Conv(conv::Args),
    /// The scheme's claims and rivals' constructions, two processes; writes the report of docs/results
    Paper(paper::Args),
    /// Activations one at a time, two processes, over loopback and modelled links
    Activation(activation::Args),
    /// One party of an activation: started by that bench itself
    #[command(hide = true)]
    ActivationParty(activation::party::Args),
    /// One party of a measurement: started by the benches themselves
    #[command(hide = true)]
    Party(party::Args),
}

/// What to measure and how to print it.
#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// Only rows whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
    /// How long to measure: `full`, or `smoke` to see that everything runs
    #[arg(long, value_enum, default_value_t = Effort::Full)]
    effort: Effort,
}

/// How long to measure.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Effort {
    /// Medians that can be quoted
    Full,
    /// Once each, to see that it runs
    Smoke,
}

/// One measured thing. Fields that have no meaning for a bench are left out of its document.
#[derive(Clone, Debug, Default, Serialize)]
struct Row {
    name: String,
    profile: String,
    #[serde(flatten)]
    kernel: Option<KernelFigures>,
    #[serde(flatten)]
    session: Option<SessionFigures>,
    #[serde(flatten)]
    activation: Option<activation::Figures>,
}

/// Figures of a kernel.
#[derive(Clone, Debug, Serialize)]
struct KernelFigures {
    /// Nanoseconds per unit.
    nanoseconds: f64,
    /// What a unit is.
    unit: &'static str,
    /// What it is compared with.
    baseline: &'static str,
    baseline_nanoseconds: f64,
    /// nanoseconds / baseline_nanoseconds.
    ratio: f64,
}

/// Figures of a session, per inference unless said otherwise.
#[derive(Clone, Debug, Serialize)]
struct SessionFigures {
    /// Images per bundle.
    bundle: usize,
    /// Once per connection.
    setup_seconds: f64,
    setup_bytes: u64,
    preprocessing_seconds: f64,
    online_seconds: f64,
    /// Both directions.
    preprocessing_bytes: u64,
    online_bytes: u64,
    /// Of the bundle: preprocessing and online together, as the client counts.
    rounds: u64,
    client_peak_bytes: u64,
    server_peak_bytes: u64,
    baseline: &'static str,
    baseline_seconds: f64,
    /// online_seconds / baseline_seconds.
    ratio: f64,
    layers: Vec<party::LayerCost>,
}

/// What `--json` prints of a bench whose rows are `R`.
#[derive(Serialize)]
struct Document<R> {
    schema: &'static str,
    machine: machine::Machine,
    commit: String,
    rows: Vec<R>,
}

impl<R: Serialize> Document<R> {
    fn print(schema: &'static str, rows: Vec<R>) -> Result<()> {
        let document = Self { schema, machine: machine::Machine::read(), commit: machine::commit(), rows };
        println!("{}", serde_json::to_string_pretty(&document)?);
        Ok(())
    }
}

/// Runs a bench; true unless nothing matched.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let (schema, options, rows) = match &args.what {
        What::Kernels(options) => ("hushnet-bench-kernels/1", options, kernels::run(options)?),
        What::Layers(options) => ("hushnet-bench-layers/1", options, layers::run(options)?),
        What::He(options) => return he::run(options),
        What::HeMode(args) => return he_mode::run(args),
        What::Network(args) => return network::run(args),
        What::Conv(args) => return conv::run(args),
        What::Paper(args) => return paper::run(args),
        What::Activation(args) => ("hushnet-bench-activation/1", &args.options, activation::run(args)?),
        What::ActivationParty(args) => return activation::party::run(args).map(|()| true),
        What::Party(args) => return party::run(args).map(|()| true),
    };
    let empty = rows.is_empty();
    if options.json {
        Document::print(schema, rows)?;
    } else {
        println!("{}", machine::Machine::read());
        match &args.what {
            What::Activation(_) => activation::print(&rows),
            _ => print_table(&rows),
        }
    }
    if empty {
        eprintln!("nothing is called that: see the names without --only");
    }
    Ok(!empty)
}

impl Options {
    /// Whether a row of this name is wanted.
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    fn smoke(&self) -> bool {
        self.effort == Effort::Smoke
    }
}

fn print_table(rows: &[Row]) {
    use comfy_table::{CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    let names = 2;
    for row in rows {
        let mut cells = vec![row.name.clone(), row.profile.clone()];
        if let Some(figures) = &row.kernel {
            table.set_header(["kernel", "profile", "ns", "per", "baseline ns", "baseline", "ratio"]);
            cells.extend([
                format!("{:.2}", figures.nanoseconds),
                figures.unit.to_owned(),
                format!("{:.2}", figures.baseline_nanoseconds),
                figures.baseline.to_owned(),
                format!("{:.3}", figures.ratio),
            ]);
        }
        if let Some(figures) = &row.session {
            table.set_header([
                "name",
                "profile",
                "images",
                "pre ms",
                "online ms",
                "pre KB",
                "online KB",
                "rounds",
                "client MB",
                "server MB",
                "plain ms",
                "ratio",
            ]);
            cells.extend([
                figures.bundle.to_string(),
                format!("{:.2}", 1e3 * figures.preprocessing_seconds),
                format!("{:.2}", 1e3 * figures.online_seconds),
                format!("{:.1}", figures.preprocessing_bytes as f64 / 1e3),
                format!("{:.1}", figures.online_bytes as f64 / 1e3),
                figures.rounds.to_string(),
                format!("{:.1}", figures.client_peak_bytes as f64 / 1e6),
                format!("{:.1}", figures.server_peak_bytes as f64 / 1e6),
                format!("{:.3}", 1e3 * figures.baseline_seconds),
                format!("{:.1}", figures.ratio),
            ]);
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(names) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    if let Some(figures) = rows.iter().find_map(|row| row.session.as_ref()) {
        println!(
            "per inference; once per connection {:.1} ms and {:.1} KB; KB = 1000 bytes, both directions",
            1e3 * figures.setup_seconds,
            figures.setup_bytes as f64 / 1e3
        );
        for row in
            rows.iter().filter(|row| row.session.as_ref().is_some_and(|figures| figures.layers.len() > 2))
        {
            println!("\n{} ({}), per layer:", row.name, row.profile);
            print_layers(&row.session.as_ref().map(|figures| figures.layers.clone()).unwrap_or_default());
        }
    }
}

fn print_layers(layers: &[party::LayerCost]) {
    for cost in layers {
        println!(
            "  {:<14} {:<24} {:<10} {:>9.3} ms {:>10.1} KB {:>3} rounds",
            cost.stage,
            cost.layer,
            cost.part,
            1e3 * cost.seconds,
            cost.bytes as f64 / 1e3,
            cost.rounds
        );
    }
}

impl SessionFigures {
    /// Per inference from per bundle, beside a plain baseline.
    fn new(measured: party::Measured, bundle: usize, baseline: &'static str, baseline_seconds: f64) -> Self {
        let (images, count) = (bundle as f64, bundle as u64);
        let online_seconds = measured.online_seconds / images;
        let layers = measured.layers.into_iter();
        Self {
            bundle,
            setup_seconds: measured.setup_seconds,
            setup_bytes: measured.setup_bytes,
            preprocessing_seconds: measured.preprocessing_seconds / images,
            online_seconds,
            preprocessing_bytes: measured.preprocessing.bytes() / count,
            online_bytes: measured.online.bytes() / count,
            rounds: measured.preprocessing.rounds + measured.online.rounds,
            client_peak_bytes: measured.client_peak_bytes,
            server_peak_bytes: measured.server.peak_bytes,
            baseline,
            baseline_seconds,
            ratio: online_seconds / baseline_seconds,
            layers: layers
                .map(|cost| party::LayerCost {
                    seconds: cost.seconds / images,
                    bytes: cost.bytes / count,
                    ..cost
                })
                .collect(),
        }
    }
}
