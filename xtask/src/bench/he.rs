//! `cargo xtask bench he`: transforms and both schemes beside tfhe-ntt and fhe.rs, one thread; a batch on all threads.
//!
//! The peers are development dependencies, so the measuring is done by the bench target `he` of this package, which this
//! command builds and starts; it prints one JSON object per row, and here they become a table or a document. Columns
//! "recorded" are figures of SEAL 4.4.3 with HEXL 1.2.6 and GCC 12.2, the lowest medians of several runs, taken on another
//! day on a machine of the kind that the project is built on (Zen 5, one thread): an aim, not a measurement of this run.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::{Document, Options, machine};

/// One operation of ours beside the same of a peer, nanoseconds per call.
#[derive(Deserialize, Serialize)]
struct Row {
    name: String,
    degree: usize,
    bits: u32,
    nanoseconds: f64,
    peer: Option<String>,
    peer_nanoseconds: Option<f64>,
    recorded_nanoseconds: Option<f64>,
}

/// Builds and runs the bench; true unless nothing matched.
pub(super) fn run(options: &Options) -> Result<bool> {
    let rows = measure(options)?;
    let empty = rows.is_empty();
    if options.json {
        Document::print("hushnet-bench-he/1", rows)?;
    } else {
        println!("{}, one thread where a row says nothing else", machine::Machine::read());
        print_table(&rows);
    }
    if empty {
        eprintln!("nothing is called that: see the names without --only");
    }
    Ok(!empty)
}

fn measure(options: &Options) -> Result<Vec<Row>> {
    let mut command = Command::new(crate::cargo());
    command.args(["bench", "--quiet", "--locked", "--package", "xtask", "--bench", "he", "--"]);
    if let Some(only) = &options.only {
        command.args(["--only", only]);
    }
    if options.smoke() {
        command.arg("--smoke");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let progress = ProgressBar::new_spinner().with_message("building the bench with its peers");
    progress.enable_steady_tick(std::time::Duration::from_millis(200));
    let mut rows = Vec::new();
    for line in BufReader::new(output).lines() {
        let row: Row = serde_json::from_str(&line?).context("a row of the bench")?;
        progress.set_message(format!("{} N={} {} bits", row.name, row.degree, row.bits));
        rows.push(row);
    }
    progress.finish_and_clear();
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("the bench ended with {status}");
    }
    Ok(rows)
}

fn print_table(rows: &[Row]) {
    use comfy_table::{CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["operation", "N", "bits", "µs", "peer", "peer µs", "ratio", "recorded µs", "ratio"]);
    let micro = |ns: f64| format!("{:.2}", ns / 1e3);
    for row in rows {
        let mut cells =
            vec![row.name.clone(), row.degree.to_string(), row.bits.to_string(), micro(row.nanoseconds)];
        cells.push(row.peer.clone().unwrap_or_default());
        for other in [row.peer_nanoseconds, row.recorded_nanoseconds] {
            cells.push(other.map(micro).unwrap_or_default());
            cells.push(other.map(|other| format!("{:.3}", row.nanoseconds / other)).unwrap_or_default());
        }
        table.add_row(cells);
    }
    for column in [1, 2, 3, 5, 6, 7, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    println!(
        "bits: of the prime, or of the whole modulus with special primes; recorded: SEAL 4.4.3 with HEXL, another day"
    );
}
