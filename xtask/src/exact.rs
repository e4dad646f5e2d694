//! `cargo xtask exact`: every activation against its plaintext oracle, on many inputs.
//!
//! Both parties run in this process over memory, with randomness from the system, batch after batch: random inputs over
//! the whole promised range, many at its ends, at the corners of the function, and where the sign test is blind; shares
//! at the ends of their ring. Every result is compared bit for bit with what the rule of the protocol gives for the
//! shares, and what the rule gives with the real function. One deviation fails the run.
//!
//! `--plant` proves that a deviation would be seen: one bit of one message of the client, its last answer in one chunk of
//! each activation, is flipped on its way. The run must then find exactly such batches; it succeeds if all were found.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use he_core::Seed;
use protocol::channel::{Channel, ReadHalf, Stream, WriteHalf, pair};
use protocol::steps::CHUNK_ELEMENTS;
use serde::Serialize;

use crate::bench::activation::oracle::{Outcome, judge};
use crate::bench::activation::session::{Extension, Party};
use crate::bench::activation::workload::{Batch, NAMES, Workload, chosen, subtract};

/// What to check.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Inputs per activation and ring
    #[arg(long, default_value_t = 10_000_000)]
    count: usize,
    /// Rings, in bits
    #[arg(long, value_delimiter = ',', default_values_t = [16, 20, 24, 32])]
    bits: Vec<u32>,
    /// Only this activation, or those whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Extensions that make the transfers
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Extension::Softspoken4])]
    transfers: Vec<Extension>,
    /// One-round constructions as well
    #[arg(long)]
    one_round: bool,
    /// Flip one bit of one message per activation: that has to be found
    #[arg(long)]
    plant: bool,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
}

/// How one activation came out.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    ring_bits: u32,
    construction: &'static str,
    transfers: &'static str,
    elements: usize,
    results: u64,
    wrong: u64,
    beyond: u64,
    /// In units of y (of y², y³ and y·clip(y) for products; real for smooth functions), like the bound.
    largest_error: f64,
    bound: f64,
    seconds: f64,
    #[serde(skip)]
    outcome: Outcome,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    planted: bool,
    rows: Vec<Row>,
}

/// Elements that go through at a time.
const BATCH: usize = 1 << 16;
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs the checks; true if all came out as they must.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let rows = check(args)?;
    if rows.is_empty() {
        bail!("no activation is called that");
    }
    let good = rows.iter().all(|row| verdict(&row.outcome, args.plant));
    if args.json {
        let document = Document { schema: "hushnet-exact/1", planted: args.plant, rows };
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print(&rows, args.plant);
    }
    Ok(good)
}

/// Whether an outcome is what it must be: no deviation, or with a planted fault one.
fn verdict(outcome: &Outcome, planted: bool) -> bool {
    if planted { outcome.wrong > 0 && outcome.beyond == 0 } else { outcome.is_good() }
}

fn check(args: &Args) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for name in NAMES.into_iter().filter(|name| chosen(args.only.as_deref(), name)) {
        for &bits in &args.bits {
            for one_round in [false, true].into_iter().take(1 + usize::from(args.one_round)) {
                let workload =
                    Workload::new(name, bits, one_round).with_context(|| format!("{name} in {bits} bits"))?;
                if one_round && !workload.is_gated() {
                    continue;
                }
                for &extension in &args.transfers {
                    let row = activation(&workload, one_round, extension, args)
                        .with_context(|| format!("{name} in {bits} bits"))?;
                    eprintln!(
                        "{name} in {bits} bits: {} of {} wrong, {:.1} s",
                        row.wrong, row.results, row.seconds
                    );
                    rows.push(row);
                }
            }
        }
    }
    Ok(rows)
}

/// Runs one activation, batch after batch.
fn activation(workload: &Workload, one_round: bool, extension: Extension, args: &Args) -> Result<Row> {
    let start = Instant::now();
    let (left, right) = pair();
    let fault = Fault::default();
    let (client, server) = (
        Channel::new(Faulty { stream: left, fault: fault.clone() }, PATIENCE),
        Channel::new(right, PATIENCE),
    );
    let (mut client, mut server) = both(
        move || Party::set_up(client, extension, true),
        move || Party::set_up(server, extension, false),
    )?;
    let (mut outcome, mut elements) = (Outcome::default(), 0);
    while elements < args.count.max(1) {
        let batch = Batch::new(workload, BATCH.min(args.count - elements))?;
        let plant = (args.plant && elements == 0).then(|| last_answer(&batch));
        outcome.add(&run_batch(&batch, &mut client, &mut server, plant.map(|at| (at, &fault)))?);
        elements += batch.elements;
    }
    let Outcome { results, wrong, beyond, .. } = outcome;
    Ok(Row {
        name: workload.name,
        ring_bits: workload.ring_bits,
        construction: if one_round { "one round" } else { "three rounds" },
        transfers: extension.name(),
        elements,
        results,
        wrong,
        beyond,
        largest_error: outcome.largest_error / workload.unit,
        bound: outcome.bound / workload.unit,
        seconds: start.elapsed().as_secs_f64(),
        outcome,
    })
}

/// One batch with fresh randomness through both parties, and how it came out.
fn run_batch(
    batch: &Batch<'_>,
    client: &mut Party,
    server: &mut Party,
    plant: Option<(u64, &Fault)>,
) -> Result<Outcome> {
    let seed = Seed::from_os()?;
    let inputs = batch.inputs(&mut seed.fork("inputs", &[]).stream());
    let shares = batch.client_inputs(&mut seed.fork("shares", &[]).stream())?;
    let own = batch.client(&shares, &seed)?;
    let ring = batch.workload.ring()?;
    let values: Vec<u64> = inputs.iter().map(|&y| ring.from_signed(y)).collect();
    let masked = subtract(ring, &values, &shares);
    let (client_own, masked) = (&own, &masked);
    let ((), results) = both(
        move || {
            let (halves, _) = client.prepare_client(batch, client_own)?;
            client.meet()?;
            if let Some((offset, fault)) = plant {
                fault.arm(offset);
            }
            client.run_client(halves).map(drop)
        },
        move || {
            let (halves, _) = server.prepare_server(batch)?;
            server.meet()?;
            Ok(server.run_server(batch, halves, masked)?.0)
        },
    )?;
    judge(batch, &inputs, &shares, &own, &results)
}

/// Runs both parties at once.
fn both<A: Send, B: Send>(
    client: impl FnOnce() -> Result<A> + Send,
    server: impl FnOnce() -> Result<B> + Send,
) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let serving = scope.spawn(server);
        let client = client();
        let server = serving.join().map_err(|_| anyhow::anyhow!("the server's thread panicked"))?;
        match (client, server) {
            (Ok(client), Ok(server)) => Ok((client, server)),
            (Err(client), Err(server)) => bail!("the client: {client:#}; the server: {server:#}"),
            (Err(error), _) => Err(error.context("the client")),
            (_, Err(error)) => Err(error.context("the server")),
        }
    })
}

/// Bytes of a frame before its payload.
const HEADER: u64 = 12;

/// Where in the client's online stream the first payload byte of its last answer to the first chunk of the last step is.
fn last_answer(batch: &Batch<'_>) -> u64 {
    let mut offset = 0;
    for (number, (spec, elements)) in batch.steps.iter().enumerate() {
        let chunks = || (0..*elements).step_by(CHUNK_ELEMENTS).map(|at| (elements - at).min(CHUNK_ELEMENTS));
        let answers = spec.rounds() - usize::from(number + 1 == batch.steps.len());
        for round in 0..answers {
            offset += chunks().map(|n| HEADER + spec.message_bytes(n)[2 + 2 * round] as u64).sum::<u64>();
        }
    }
    offset + HEADER
}

/// A fault on a line: flips one bit of the byte that is so many bytes ahead.
#[derive(Clone, Default)]
struct Fault(Arc<AtomicU64>);

impl Fault {
    /// The fault comes `offset` bytes from now.
    fn arm(&self, offset: u64) {
        self.0.store(offset + 1, Ordering::SeqCst);
    }

    /// Whether the fault lies in the next `length` bytes, and where. Nobody else counts at the same time.
    fn within(&self, length: usize) -> Option<usize> {
        let left = self.0.load(Ordering::SeqCst);
        self.0.store(left.saturating_sub(length as u64), Ordering::SeqCst);
        (1..=length as u64).contains(&left).then(|| left as usize - 1)
    }
}

/// A stream with a fault in what this end writes.
struct Faulty<S> {
    stream: S,
    fault: Fault,
}

impl<S: Stream> Stream for Faulty<S> {
    fn split(self) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        let (reader, writer) = self.stream.split();
        (reader, Box::new(FaultyWriter { writer, fault: self.fault }))
    }
}

struct FaultyWriter {
    writer: Box<dyn WriteHalf>,
    fault: Fault,
}

impl Write for FaultyWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self.fault.within(buffer.len()) {
            None => self.writer.write_all(buffer)?,
            Some(at) => {
                let mut bytes = buffer.to_vec();
                bytes[at] ^= 1;
                self.writer.write_all(&bytes)?;
            }
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl WriteHalf for FaultyWriter {
    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.writer.set_deadline(deadline);
    }
}

/// A size with as many digits as matter.
fn digits(value: f64) -> String {
    if value < 10.0 { format!("{value:.4}") } else { format!("{value:.0}") }
}

fn print(rows: &[Row], planted: bool) {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header([
        "activation",
        "k",
        "gate",
        "transfers",
        "elements",
        "results",
        "wrong",
        "beyond",
        "largest error",
        "bound",
        "s",
        "",
    ]);
    for row in rows {
        table.add_row([
            row.name.to_owned(),
            row.ring_bits.to_string(),
            row.construction.to_owned(),
            row.transfers.to_owned(),
            row.elements.to_string(),
            row.results.to_string(),
            row.wrong.to_string(),
            row.beyond.to_string(),
            digits(row.largest_error),
            digits(row.bound),
            format!("{:.1}", row.seconds),
            (if verdict(&row.outcome, planted) { "ok" } else { "FAILED" }).to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(4).take(7) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!("errors in units of the input, of its powers for products, real for smooth functions");
    if planted {
        println!(
            "one bit of one message per row was flipped on its way: every row has to show something wrong"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(only: &str, plant: bool) -> Args {
        Args {
            count: 5000,
            bits: vec![16],
            only: Some(only.to_owned()),
            transfers: vec![Extension::Softspoken4],
            one_round: false,
            plant,
            json: false,
        }
    }

    #[test]
    fn honest_runs_have_no_deviation() {
        for name in ["relu6", "square", "max-pool"] {
            assert!(
                check(&args(name, false)).unwrap().iter().all(|row| verdict(&row.outcome, false)),
                "{name}"
            );
        }
    }

    #[test]
    fn a_planted_fault_is_found() {
        for name in ["relu", "prelu", "hard-swish", "max-pool", "arg-max-10"] {
            for row in check(&args(name, true)).unwrap() {
                assert!(verdict(&row.outcome, true), "{row:?}");
                assert!(!row.outcome.is_good(), "{row:?}");
            }
        }
    }

    #[test]
    fn faults_strike_once_and_where_they_should() {
        let fault = Fault::default();
        assert_eq!(fault.within(100), None);
        fault.arm(5);
        assert_eq!((fault.within(3), fault.within(3), fault.within(3)), (None, Some(2), None));
        fault.arm(0);
        assert_eq!((fault.within(0), fault.within(1), fault.within(1)), (None, Some(0), None));
    }
}
