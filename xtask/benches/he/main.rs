//! he-core beside its peers, one thread, and beside itself on more: the measuring half of `cargo xtask bench he`, which starts this program.
//!
//! Ours and the peer's code run in turn, batch by batch, so that what disturbs one disturbs the other. Output is one JSON
//! object per row. Peers are development dependencies of `xtask` alone: nothing that is shipped links them.

mod bfv;
mod ckks;
mod threads;
mod timing;
mod transforms;

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

/// One operation of ours beside the same of a peer.
#[derive(Serialize)]
struct Row {
    name: String,
    /// log2 of the modulus, or of each prime.
    bits: u32,
    degree: usize,
    /// Nanoseconds per call: medians of batches taken in turn.
    nanoseconds: f64,
    /// Whose figure stands beside ours; none for operations without a peer here.
    peer: Option<&'static str>,
    peer_nanoseconds: Option<f64>,
    /// A figure of SEAL 4.4 with HEXL on another day, on a machine of the same kind (see the table's foot).
    recorded_nanoseconds: Option<f64>,
}

/// What to measure, from the command line.
struct Bench {
    only: Option<String>,
    budget: Duration,
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only))
    }

    /// Measures ours beside a peer's, if there is one, and prints the row.
    fn row(
        &self,
        (name, degree, bits): (&str, usize, u32),
        ours: &mut dyn FnMut(),
        peer: Option<Peer<'_>>,
        recorded_nanoseconds: Option<f64>,
    ) -> io::Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let (nanoseconds, peer, peer_nanoseconds) = match peer {
            Some(Peer { name, work }) => {
                let [ours, theirs] = timing::in_turn(self.budget, [ours, work]);
                (ours, Some(name), Some(theirs))
            }
            None => (timing::in_turn(self.budget, [ours])[0], None, None),
        };
        let name = name.to_owned();
        let row = Row { name, degree, bits, nanoseconds, peer, peer_nanoseconds, recorded_nanoseconds };
        writeln!(io::stdout().lock(), "{}", serde_json::to_string(&row)?)
    }
}

/// The same work by another library.
struct Peer<'a> {
    name: &'static str,
    work: &'a mut dyn FnMut(),
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut only, mut budget) = (None, Duration::from_millis(300));
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => only = arguments.next(),
            "--smoke" => budget = Duration::from_millis(1),
            // What cargo adds to every bench.
            "--bench" => {}
            other => return Err(io::Error::other(format!("unknown argument {other}"))),
        }
    }
    let bench = Bench { only, budget };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(io::Error::other)?;
    pool.install(|| {
        transforms::run(&bench)?;
        bfv::run(&bench)?;
        ckks::run(&bench)
    })?;
    threads::run(&bench, &pool)
}
