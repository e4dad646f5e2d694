//! The two processes of a measured session: this program started twice with a hidden command, so that each party's
//! peak memory is its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use he_core::Seed;
use nn_merge::model::Model;
use protocol::channel::{TcpOptions, connect};
use protocol::report::{Report, Stage, peak_memory_bytes};
use protocol::serve::{ListenOptions, Listener};
use protocol::{Client, Policy, Server};
use rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::timing::middle;

/// One party.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `server` or `client`
    side: Side,
    /// The model file, for the server; the address, for the client
    what: String,
    /// Images per bundle
    #[arg(long, default_value_t = 1)]
    bundle: usize,
    /// Measured bundles, after one that is not
    #[arg(long, default_value_t = 5)]
    bundles: usize,
    /// Ask for (or give) logits instead of labels
    #[arg(long)]
    logits: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    Server,
    Client,
}

/// What the client process found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) setup_seconds: f64,
    pub(super) setup_bytes: u64,
    /// Medians per bundle.
    pub(super) preprocessing_seconds: f64,
    pub(super) online_seconds: f64,
    /// Per bundle.
    pub(super) preprocessing_bytes: u64,
    pub(super) online_bytes: u64,
    pub(super) rounds: u64,
    pub(super) client_peak_bytes: u64,
    #[serde(default)]
    pub(super) server_peak_bytes: u64,
    pub(super) layers: Vec<LayerCost>,
}

/// One row of the per-layer table, mean per bundle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LayerCost {
    pub(super) stage: String,
    pub(super) layer: String,
    pub(super) part: String,
    pub(super) seconds: f64,
    pub(super) bytes: u64,
    pub(super) rounds: u64,
}

/// Runs one party in this process.
pub(super) fn run(args: &Args) -> Result<()> {
    match args.side {
        Side::Server => serve(args),
        Side::Client => {
            println!("{}", serde_json::to_string(&client(args)?)?);
            Ok(())
        }
    }
}

/// Measures a model with both parties on this machine, label mode unless `logits`.
pub(super) fn measure(model: &Model, bundle: usize, bundles: usize, logits: bool) -> Result<Measured> {
    let folder = Folder::new()?;
    let file = folder.0.join("model.hush");
    std::fs::write(&file, model.to_bytes()?)?;
    let common = ["--bundle".to_owned(), bundle.to_string(), "--bundles".to_owned(), bundles.to_string()];
    let start = |side: &str, what: &str| -> Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "party", side, what]).args(&common).args(logits.then_some("--logits"));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        Ok(Process(child))
    };
    let mut server = start("server", &file.to_string_lossy())?;
    let mut lines = BufReader::new(server.0.stdout.take().context("the server has an output")?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let address = line.trim().strip_prefix("listening on ").context("the server did not start")?.to_owned();

    let mut client = start("client", &address)?;
    let mut text = String::new();
    client.0.stdout.take().context("the client has an output")?.read_to_string(&mut text)?;
    if !client.0.wait()?.success() {
        bail!("the client process failed");
    }
    let mut measured: Measured = serde_json::from_str(&text)?;
    // Closing its input ends the server; it then says how much memory it took.
    drop(server.0.stdin.take());
    line.clear();
    lines.read_line(&mut line)?;
    measured.server_peak_bytes = line.trim().parse().context("the server's peak memory")?;
    server.0.wait()?;
    Ok(measured)
}

fn serve(args: &Args) -> Result<()> {
    let model = Model::from_bytes(&std::fs::read(Path::new(&args.what))?)?;
    let mut policy = Policy::default();
    policy.offer.max_images = policy.offer.max_images.max(args.bundle);
    policy.offer.logit_bits = args.logits.then_some(12);
    let server = Arc::new(Server::new(model, policy, Seed::from_os()?)?);
    let listener = Listener::bind("127.0.0.1:0", ListenOptions::default())?;
    println!("listening on {}", listener.address()?);
    std::io::stdout().flush()?;
    let stop = Arc::new(AtomicBool::new(false));
    let waiting = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        waiting.store(true, Ordering::Relaxed);
    });
    listener.run(&server, &stop, |_, _| {})?;
    println!("{}", peak_memory_bytes().unwrap_or(0));
    Ok(())
}

fn client(args: &Args) -> Result<Measured> {
    let seed = Seed::from_os()?;
    let mut rng = seed.fork("inputs", &[]).stream();
    let mut client =
        Client::connect(connect(&args.what, TcpOptions::default())?, seed)?.agree(args.logits)?;
    let input = client.manifest().input.clone();
    let elements = args.bundle * client.manifest().input_len();
    let (mut preprocessing, mut online) = (Vec::new(), Vec::new());
    let mut before = Report::default();
    for round in 0..=args.bundles {
        if round == 1 {
            // The first bundle also pays for base transfers, hints and cold caches.
            before = client.report().clone();
        }
        let inputs: Vec<i64> = (0..elements)
            .map(|at| {
                let pixel = f64::from(rng.next_u32() & 255);
                let channel = at / (input.height * input.width) % input.channels;
                input.quantize(input.normalize(pixel, channel).clamp(-input.limit, input.limit))
            })
            .collect();
        let start = Instant::now();
        let bundle = client.prepare(args.bundle, &mut |_, _| {})?;
        let prepared = start.elapsed().as_secs_f64();
        let start = Instant::now();
        client.infer(bundle, &inputs, &mut |_, _| {})?;
        if round > 0 {
            preprocessing.push(prepared);
            online.push(start.elapsed().as_secs_f64());
        }
    }
    let report = client.finish()?;
    let setup = report.total(Stage::Setup);
    let bundles = args.bundles.max(1) as u64;
    let per_bundle = |stage| {
        let (all, first) = (report.total(stage), before.total(stage));
        let bytes = all.bytes_sent + all.bytes_received - first.bytes_sent - first.bytes_received;
        (bytes / bundles, (all.rounds - first.rounds) / bundles)
    };
    let ((preprocessing_bytes, a), (online_bytes, b)) =
        (per_bundle(Stage::Preprocessing), per_bundle(Stage::Online));
    let count = bundles as f64 + 1.0;
    let layers = report
        .rows()
        .iter()
        .filter(|row| row.stage != Stage::Setup)
        .map(|row| LayerCost {
            stage: format!("{:?}", row.stage).to_lowercase(),
            layer: row.layer.clone(),
            part: row.part.to_owned(),
            seconds: row.seconds / count,
            bytes: (row.bytes_sent + row.bytes_received) / (bundles + 1),
            rounds: row.rounds / (bundles + 1),
        })
        .collect();
    Ok(Measured {
        setup_seconds: setup.seconds,
        setup_bytes: setup.bytes_sent + setup.bytes_received,
        preprocessing_seconds: middle(&mut preprocessing),
        online_seconds: middle(&mut online),
        preprocessing_bytes,
        online_bytes,
        rounds: a + b,
        client_peak_bytes: peak_memory_bytes().unwrap_or(0),
        server_peak_bytes: 0,
        layers,
    })
}

/// A child that does not outlive us.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It has usually ended by itself; then this does nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder of our own for the model file, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let mut name = [0u8; 8];
        Seed::from_os()?.stream().fill_bytes(&mut name);
        let path = std::env::temp_dir().join(format!("hushnet-bench-{:016x}", u64::from_le_bytes(name)));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
