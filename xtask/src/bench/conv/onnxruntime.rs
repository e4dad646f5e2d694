//! ONNX Runtime in f32, in a Python process that lives as long as the bench and answers line by line.
//!
//! What it does for a fair race stands in `xtask/scripts/onnxruntime_layers.py`, which is part of this program's file. The
//! interpreter is `HUSHNET_PYTHON`, else `python3`; it needs the packages `onnxruntime`, `onnx` and `numpy`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use conv_fast::ConvShape;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::catalogue::Node;
use super::contest::{Rules, Timing};

const SCRIPT: &str = include_str!("../../../scripts/onnxruntime_layers.py");
/// Threads of a finished run still spin for a while; the next contestant waits for them.
const SPIN: Duration = Duration::from_millis(25);

/// The process.
pub(super) struct OnnxRuntime {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Its version.
    pub(super) version: String,
}

/// A prepared layer or network.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(super) struct Ticket {
    id: usize,
}

/// One turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Turn {
    #[serde(flatten)]
    pub(super) timing: Timing,
    /// `blocked` or `planes`: the layout that was faster.
    pub(super) form: String,
    /// Of an empty call; subtracted already.
    pub(super) call: f64,
}

#[derive(Deserialize)]
struct Hello {
    onnxruntime: String,
}

#[derive(Deserialize)]
struct Profile {
    /// Seconds by kind of node.
    kinds: BTreeMap<String, f64>,
}

impl OnnxRuntime {
    /// Starts the interpreter; the error says what to install.
    pub(super) fn start() -> Result<Self> {
        let python = std::env::var_os("HUSHNET_PYTHON").unwrap_or_else(|| "python3".into());
        let shown = python.to_string_lossy().into_owned();
        let mut child = Command::new(&python)
            .args(["-B", "-u", "-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {shown} (HUSHNET_PYTHON names another)"))?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("the interpreter has no output")?);
        let mut runtime = Self { child, requests, answers, version: String::new() };
        let hello: Hello = runtime.read().with_context(|| format!("{shown} does not serve"))?;
        runtime.version = hello.onnxruntime;
        Ok(runtime)
    }

    /// Prepares a lone layer.
    pub(super) fn layer(&mut self, shape: &ConvShape, batch: usize, threads: usize) -> Result<Ticket> {
        self.ask(&json!({"do": "layer", "shape": shape, "batch": batch, "threads": threads}))
    }

    /// Prepares a whole network.
    pub(super) fn network(&mut self, nodes: &[Node], batch: usize, threads: usize) -> Result<Ticket> {
        self.ask(&json!({"do": "network", "nodes": nodes, "batch": batch, "threads": threads}))
    }

    /// One turn of a prepared thing.
    pub(super) fn time(&mut self, ticket: Ticket, rules: &Rules, threads: usize) -> Result<Turn> {
        let seconds = rules.turn.as_secs_f64();
        let turn =
            self.ask(&json!({"do": "time", "id": ticket.id, "seconds": seconds, "runs": rules.least_runs}));
        if threads > 1 {
            std::thread::sleep(SPIN);
        }
        turn
    }

    /// The share of a network's time that its convolutions and fully connected layers take.
    pub(super) fn linear_share(&mut self, ticket: Ticket, runs: usize) -> Result<f64> {
        let profile: Profile = self.ask(&json!({"do": "profile", "id": ticket.id, "runs": runs}))?;
        linear_share(&profile.kinds)
    }

    /// Forgets a prepared thing.
    pub(super) fn forget(&mut self, ticket: Ticket) -> Result<()> {
        self.ask::<Ticket>(&json!({"do": "drop", "id": ticket.id})).map(drop)
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Value) -> Result<T> {
        let requests = self.requests.as_mut().context("ONNX Runtime's process is closed")?;
        writeln!(requests, "{request}").and_then(|()| requests.flush()).context("ONNX Runtime is gone")?;
        self.read()
    }

    fn read<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("cannot read from ONNX Runtime's process")?;
        parse(&line)
    }
}

impl Drop for OnnxRuntime {
    fn drop(&mut self) {
        // The script ends with its input; there is nobody to tell about an error here.
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}

fn parse<T: DeserializeOwned>(line: &str) -> Result<T> {
    if line.trim().is_empty() {
        bail!("the process ended without an answer");
    }
    let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {}", line.trim()))?;
    match value.get("error") {
        Some(error) => Err(anyhow!("{}", error.as_str().unwrap_or("an error without a text"))),
        None => serde_json::from_value(value).with_context(|| format!("not understood: {}", line.trim())),
    }
}

/// Convolutions and matrix products, also fused with what follows them, as a part of everything.
fn linear_share(kinds: &BTreeMap<String, f64>) -> Result<f64> {
    let all: f64 = kinds.values().sum();
    let linear: f64 = kinds
        .iter()
        .filter(|(kind, _)| ["Conv", "Gemm", "MatMul"].iter().any(|end| kind.ends_with(end)))
        .map(|(_, seconds)| seconds)
        .sum();
    if all > 0.0 { Ok(linear / all) } else { bail!("the profile is empty") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let turn: Turn =
            parse(r#"{"least": 1e-5, "median": 2e-5, "runs": 7, "form": "planes", "call": 2e-6}"#).unwrap();
        let timing = Timing { least: 1e-5, median: 2e-5, runs: 7 };
        assert_eq!(turn, Turn { timing, form: "planes".to_owned(), call: 2e-6 });
        assert_eq!(parse::<Ticket>("{\"id\": 3}\n").unwrap(), Ticket { id: 3 });
        assert_eq!(parse::<Hello>(r#"{"onnxruntime": "1.31.1"}"#).unwrap().onnxruntime, "1.31.1");
    }

    #[test]
    fn errors_of_the_script_arrive() {
        let missing = "No module named 'onnx': pip install onnxruntime onnx numpy";
        let error = parse::<Hello>(&json!({ "error": missing }).to_string()).err().unwrap();
        assert_eq!(error.to_string(), missing);
        for line in ["", "\n", "Traceback", "{}", "[]", r#"{"id": "three"}"#, r#"{"error": 5}"#] {
            assert!(parse::<Ticket>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn fused_convolutions_are_linear_and_pools_are_not() {
        let kinds = |list: &[(&str, f64)]| list.iter().map(|&(kind, t)| (kind.to_owned(), t)).collect();
        let share = linear_share(&kinds(&[("Conv", 3.0), ("FusedGemm", 1.0), ("MaxPool", 4.0)])).unwrap();
        assert_eq!(share, 0.5);
        assert_eq!(linear_share(&kinds(&[("FusedConv", 2.0)])).unwrap(), 1.0);
        assert!(linear_share(&kinds(&[])).is_err());
    }

    #[test]
    fn requests_name_shapes_as_the_script_reads_them() {
        let shape = conv_fast::ConvGeometry::pointwise([4, 8], [5, 6], 1).map(|g| *g.shape()).unwrap();
        let value = serde_json::to_value(shape).unwrap();
        for key in ["in_channels", "in_height", "in_width", "out_channels", "kernel", "stride", "padding"] {
            assert!(value.get(key).is_some() && SCRIPT.contains(&format!("\"{key}\"")), "{key}");
        }
        assert!(SCRIPT.contains("\"dilation\"") && SCRIPT.contains("\"groups\""));
    }
}
