//! The two processes of a measured session: this program started twice with a hidden command, so that each party's
//! peak memory is its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use he_core::Seed;
use nn_merge::model::Model;
use protocol::channel::{Link, TcpOptions, connect};
use protocol::report::{Report, Stage, peak_memory_bytes};
use protocol::serve::{ListenOptions, Listener};
use protocol::{Client, ClientOptions, OutputMode, Plan, Policy, Preprocessing, RoundChoice, Rounds, Server};
use rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::activation::session::Extension;
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
    /// The link that both ends model: loopback, lan, wan, or like 100mbit/40ms
    #[arg(long, default_value = "loopback")]
    link: String,
    /// The extension that makes the transfers; the server's default if none is given
    #[arg(long, value_enum)]
    transfers: Option<Extension>,
    /// The construction of the preprocessing
    #[arg(long, default_value_t = Preprocessing::Split)]
    preprocessing: Preprocessing,
    /// Activations in one round trip each
    #[arg(long)]
    one_round: bool,
    /// Activations in three
    #[arg(long)]
    three_rounds: bool,
}

/// How a model is to be measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    /// Images per bundle.
    pub(super) bundle: usize,
    /// Measured bundles, after one that is not.
    pub(super) bundles: usize,
    /// Logits instead of labels.
    pub(super) logits: bool,
    /// As [`Args::link`].
    pub(super) link: &'a str,
    /// As [`Args::transfers`].
    pub(super) transfers: Option<Extension>,
    /// As [`Args::preprocessing`].
    pub(super) preprocessing: Preprocessing,
    /// Round trips of activations.
    pub(super) rounds: Rounds,
}

impl Setting<'static> {
    /// Single images over loopback, everything else at its default.
    pub(super) const DEFAULT: Self = Self {
        bundle: 1,
        bundles: 1,
        logits: false,
        link: "loopback",
        transfers: None,
        preprocessing: Preprocessing::Split,
        rounds: Rounds::Auto,
    };
}

/// How long a party waits for a message: large networks, busy machines.
const PATIENCE: Duration = Duration::from_secs(600);
/// Bytes of prepared material that the server may hold.
const MEMORY: usize = 32 << 30;
/// Bits of a logit, where logits leave.
const LOGIT_BITS: u32 = 12;

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
    pub(super) preprocessing: Flow,
    pub(super) online: Flow,
    pub(super) client_peak_bytes: u64,
    #[serde(default)]
    pub(super) server: ServerFound,
    pub(super) layers: Vec<LayerCost>,
}

/// What goes to and fro in a stage of one bundle, mean over the measured ones.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Flow {
    pub(super) bytes_from_client: u64,
    pub(super) bytes_from_server: u64,
    pub(super) rounds: u64,
}

impl Flow {
    /// Both directions.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes_from_client + self.bytes_from_server
    }
}

/// What the server process found.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct ServerFound {
    /// Once per model and layout: prepared convolutions and hints.
    pub(super) model_seconds: f64,
    pub(super) peak_bytes: u64,
    /// Linear layers online, mean per bundle.
    pub(super) online_linear_seconds: f64,
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

/// Measures a model with both parties on this machine.
pub(super) fn measure(model: &Model, setting: Setting<'_>) -> Result<Measured> {
    let folder = Folder::new()?;
    let file = folder.0.join("model.hush");
    std::fs::write(&file, model.to_bytes()?)?;
    let Setting { bundle, bundles, logits, link, transfers, preprocessing, rounds } = setting;
    let common =
        [("--bundle", bundle.to_string()), ("--bundles", bundles.to_string()), ("--link", link.to_owned())];
    let start = |side: &str, what: &str| -> Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "party", side, what]).args(logits.then_some("--logits"));
        for (name, value) in &common {
            command.args([*name, value]);
        }
        if let Some(transfers) = transfers {
            command.args(["--transfers", transfers.name()]);
        }
        command.args(["--preprocessing", &preprocessing.to_string()]);
        command.args(match rounds {
            Rounds::Auto => None,
            Rounds::One => Some("--one-round"),
            Rounds::Three => Some("--three-rounds"),
        });
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
    // Closing its input ends the server; it then says what it found.
    drop(server.0.stdin.take());
    line.clear();
    lines.read_line(&mut line)?;
    measured.server = serde_json::from_str(&line).context("the server's findings")?;
    server.0.wait()?;
    Ok(measured)
}

fn tcp(args: &Args) -> Result<TcpOptions> {
    let link = match args.link.as_str() {
        "loopback" => None,
        other => Some(other.parse::<Link>()?),
    };
    Ok(TcpOptions { link, message: PATIENCE, ..TcpOptions::default() })
}

fn serve(args: &Args) -> Result<()> {
    let model = Model::from_bytes(&std::fs::read(Path::new(&args.what))?)?;
    let mut policy = Policy { memory: MEMORY, idle: PATIENCE, ..Policy::default() };
    policy.offer.max_images = policy.offer.max_images.max(args.bundle);
    policy.offer.logit_bits = args.logits.then_some(LOGIT_BITS);
    let mode = if args.logits { OutputMode::Logits { bits: LOGIT_BITS } } else { OutputMode::Label };
    let rounds = RoundChoice::Three;
    let plan = Plan::with_preprocessing(&model.manifest, args.bundle, mode, rounds, args.preprocessing)?;
    let start = Instant::now();
    let server = Arc::new(Server::new(model, policy, Seed::from_os()?)?);
    // What depends on the layout is made at the first bundle otherwise; it serves all clients and is no part of theirs.
    server.materials(&plan)?;
    server.convolutions(&plan)?;
    let model_seconds = start.elapsed().as_secs_f64();
    let listener =
        Listener::bind("127.0.0.1:0", ListenOptions { tcp: tcp(args)?, ..ListenOptions::default() })?;
    println!("listening on {}", listener.address()?);
    std::io::stdout().flush()?;
    let stop = Arc::new(AtomicBool::new(false));
    let waiting = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        waiting.store(true, Ordering::Relaxed);
    });
    let (tell, told) = std::sync::mpsc::channel();
    listener.run(&server, &stop, move |_, ended| {
        let _ = tell.send(ended.map(|served| {
            let rows = served.report.rows().iter();
            let linear = rows.filter(|row| row.stage == Stage::Online && row.part == "linear");
            (linear.map(|row| row.seconds).sum::<f64>(), served.images)
        }));
    })?;
    // The client is done before the session is: giving back a gigabyte of keys and diagonals takes its time.
    let (seconds, images) = match told.recv_timeout(PATIENCE).context("the session did not end")? {
        Ok(found) => found,
        Err(error) => {
            eprintln!("the session ended with an error: {error}");
            (0.0, 0)
        }
    };
    let found = ServerFound {
        model_seconds,
        peak_bytes: peak_memory_bytes().unwrap_or(0),
        online_linear_seconds: seconds * args.bundle as f64 / images.max(1) as f64,
    };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

fn client(args: &Args) -> Result<Measured> {
    let seed = Seed::from_os()?;
    let mut rng = seed.fork("inputs", &[]).stream();
    let rounds = match (args.one_round, args.three_rounds) {
        (true, _) => Rounds::One,
        (false, true) => Rounds::Three,
        (false, false) => Rounds::Auto,
    };
    let mut options =
        ClientOptions::new().logits(args.logits).preprocessing(args.preprocessing).rounds(rounds);
    if let Some(transfers) = args.transfers {
        options = options.transfers(transfers.kind());
    }
    let mut client = Client::connect(connect(&args.what, tcp(args)?)?, seed)?.agree_on(options)?;
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
        Flow {
            bytes_from_client: (all.bytes_sent - first.bytes_sent) / bundles,
            bytes_from_server: (all.bytes_received - first.bytes_received) / bundles,
            rounds: (all.rounds - first.rounds) / bundles,
        }
    };
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
        preprocessing: per_bundle(Stage::Preprocessing),
        online: per_bundle(Stage::Online),
        client_peak_bytes: peak_memory_bytes().unwrap_or(0),
        server: ServerFound::default(),
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
