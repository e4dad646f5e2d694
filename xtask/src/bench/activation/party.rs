//! The two processes of a measured activation: this program started twice with a hidden command, so that each party's
//! peak memory and processor time are its own.
//!
//! Both know the inputs, drawn from a public number; what they do with them is the protocol. When all is measured the
//! server looks at its last results: figures of wrong results are not reported.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use he_core::Seed;
use protocol::channel::{Link, TcpOptions, accept, connect};
use protocol::report::peak_memory_bytes;
use serde::{Deserialize, Serialize};

use super::oracle;
use super::session::{Extension, Party, StageCost};
use super::workload::{Batch, Workload, subtract};

/// One party of a measurement.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// The server's address, for the client
    #[arg(long)]
    connect: Option<String>,
    #[command(flatten)]
    setting: Setting,
}

/// What is measured, the same for both parties.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    #[arg(long)]
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) elements: usize,
    #[arg(long)]
    pub(crate) ring_bits: u32,
    /// `loopback`, or a link to model
    #[arg(long)]
    pub(crate) link: String,
    #[arg(long, value_enum)]
    pub(crate) extension: Extension,
    #[arg(long)]
    pub(crate) one_round: bool,
    #[arg(long)]
    pub(crate) threads: usize,
    /// Measured repetitions, after one that is not
    #[arg(long)]
    pub(crate) repetitions: usize,
    /// From which the inputs are drawn
    #[arg(long)]
    pub(crate) inputs: u64,
}

/// What a party found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) elements: usize,
    pub(crate) setup: StageCost,
    /// One per repetition, the one that warms up first.
    pub(crate) preprocessing: Vec<StageCost>,
    pub(crate) online: Vec<StageCost>,
    /// Processor seconds, likewise, where the system tells.
    pub(crate) preprocessing_cpu: Vec<f64>,
    pub(crate) online_cpu: Vec<f64>,
    /// Server: the cost of every step, likewise.
    pub(crate) steps: Vec<Vec<StageCost>>,
    pub(crate) peak_bytes: u64,
}

/// Runs one party in this process and prints what it found.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Setting { threads, link, .. } = &args.setting;
    rayon::ThreadPoolBuilder::new().num_threads(*threads).build_global()?;
    let link = match link.as_str() {
        "loopback" => None,
        other => Some(other.parse::<Link>()?),
    };
    let options = TcpOptions { link, ..TcpOptions::default() };
    let found = match &args.connect {
        Some(address) => {
            client(&args.setting, Party::set_up(connect(address, options)?, args.setting.extension, true)?)?
        }
        None => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            println!("listening on {}", listener.local_addr()?);
            std::io::stdout().flush()?;
            let (stream, _) = listener.accept()?;
            server(&args.setting, Party::set_up(accept(stream, options)?, args.setting.extension, false)?)?
        }
    };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

/// Measures a setting with both parties on this machine: what the client found, and the server.
pub(crate) fn measure(setting: &Setting) -> Result<[Found; 2]> {
    let start = |connect: Option<&str>| -> Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "activation-party"]).args(setting.arguments());
        if let Some(address) = connect {
            command.args(["--connect", address]);
        }
        Ok(Process(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?))
    };
    let mut server = start(None)?;
    let mut lines = BufReader::new(server.0.stdout.take().context("the server has an output")?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let address = line.trim().strip_prefix("listening on ").context("the server did not start")?.to_owned();
    let mut client = start(Some(&address))?;
    let (mut client_text, mut server_text) = (String::new(), String::new());
    client.0.stdout.take().context("the client has an output")?.read_to_string(&mut client_text)?;
    let client_ended = client.0.wait()?;
    lines.read_to_string(&mut server_text)?;
    if !server.0.wait()?.success() || !client_ended.success() {
        bail!("a party failed at {}", setting.arguments().join(" "));
    }
    Ok([serde_json::from_str(&client_text)?, serde_json::from_str(&server_text)?])
}

impl Setting {
    /// As arguments of the hidden command.
    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            ("--name", self.name.clone()),
            ("--elements", self.elements.to_string()),
            ("--ring-bits", self.ring_bits.to_string()),
            ("--link", self.link.clone()),
            ("--extension", self.extension.name().to_owned()),
            ("--threads", self.threads.to_string()),
            ("--repetitions", self.repetitions.to_string()),
            ("--inputs", self.inputs.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        if self.one_round {
            arguments.push("--one-round".to_owned());
        }
        arguments
    }

    /// The public seed of a repetition's inputs and of the client's shares.
    fn seed(&self, repetition: usize) -> Seed {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.inputs.to_le_bytes());
        Seed::from_bytes(bytes).fork("repetition", &[repetition as u64])
    }
}

fn client(setting: &Setting, mut party: Party) -> Result<Found> {
    let workload = Workload::new(&setting.name, setting.ring_bits, setting.one_round)?;
    let batch = Batch::new(&workload, setting.elements)?;
    let mut found = Found { elements: batch.elements, setup: party.setup, ..Found::default() };
    for repetition in 0..=setting.repetitions {
        let seed = setting.seed(repetition);
        let shares = batch.client_inputs(&mut seed.fork("shares", &[]).stream())?;
        let client = batch.client(&shares, &seed)?;
        drop(shares);
        party.meet()?;
        let before = cpu_seconds();
        let (halves, preprocessing) = party.prepare_client(&batch, &client)?;
        let between = cpu_seconds();
        drop(client);
        party.meet()?;
        let ready = cpu_seconds();
        let online = party.run_client(halves)?;
        found.preprocessing.push(preprocessing);
        found.online.push(online);
        found.preprocessing_cpu.push(between - before);
        found.online_cpu.push(cpu_seconds() - ready);
    }
    party.meet()?;
    found.peak_bytes = peak_memory_bytes().unwrap_or(0);
    Ok(found)
}

fn server(setting: &Setting, mut party: Party) -> Result<Found> {
    let workload = Workload::new(&setting.name, setting.ring_bits, setting.one_round)?;
    let batch = Batch::new(&workload, setting.elements)?;
    let ring = workload.ring()?;
    let mut found = Found { elements: batch.elements, setup: party.setup, ..Found::default() };
    let mut last = Vec::new();
    for repetition in 0..=setting.repetitions {
        let seed = setting.seed(repetition);
        let masked = {
            let inputs = batch.inputs(&mut seed.fork("inputs", &[]).stream());
            let values: Vec<u64> = inputs.iter().map(|&y| ring.from_signed(y)).collect();
            subtract(ring, &values, &batch.client_inputs(&mut seed.fork("shares", &[]).stream())?)
        };
        party.meet()?;
        let before = cpu_seconds();
        let (halves, preprocessing) = party.prepare_server(&batch)?;
        let between = cpu_seconds();
        party.meet()?;
        let ready = cpu_seconds();
        let (results, online, steps) = party.run_server(&batch, halves, &masked)?;
        found.preprocessing.push(preprocessing);
        found.online.push(online);
        found.steps.push(steps);
        found.preprocessing_cpu.push(between - before);
        found.online_cpu.push(cpu_seconds() - ready);
        last = results;
    }
    party.meet()?;
    // Looking at the results takes memory that the protocol does not.
    found.peak_bytes = peak_memory_bytes().unwrap_or(0);
    let seed = setting.seed(setting.repetitions);
    let inputs = batch.inputs(&mut seed.fork("inputs", &[]).stream());
    let shares = batch.client_inputs(&mut seed.fork("shares", &[]).stream())?;
    let outcome = oracle::judge(&batch, &inputs, &shares, &batch.client(&shares, &seed)?, &last)?;
    if !outcome.is_good() {
        bail!("the results of {} are wrong: {outcome:?}", setting.name);
    }
    Ok(found)
}

/// Processor time of this process's living threads; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let nanoseconds: u64 = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    nanoseconds as f64 / 1e9
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
