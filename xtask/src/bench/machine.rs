//! The facts about this machine that a figure is worth nothing without.

use std::fmt;
use std::process::Command;

use he_core::Kernel;
use serde::Serialize;

/// What the figures were measured on.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    processor: String,
    cores: usize,
    memory_bytes: u64,
    kernels: Vec<String>,
    compiler: String,
    system: &'static str,
}

impl Machine {
    /// Reads what the system tells; unknown things are said to be unknown.
    pub(super) fn read() -> Self {
        let field = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kib: u64 = memory.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let processor = field("/proc/cpuinfo", "model name");
        Self {
            processor: if processor.is_empty() { "unknown".into() } else { processor },
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib * 1024,
            kernels: Kernel::available().iter().map(|kernel| format!("{kernel:?}")).collect(),
            compiler: output("rustc", &["--version"]),
            system: std::env::consts::OS,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.memory_bytes as f64 / 1_073_741_824.0;
        write!(
            f,
            "{}, {} cores, {gib:.0} GiB, kernels {}",
            self.processor,
            self.cores,
            self.kernels.join(", ")
        )
    }
}

/// The commit that is checked out, `-dirty` if files differ from it.
pub(super) fn commit() -> String {
    output("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=12"])
}

fn output(program: &str, arguments: &[&str]) -> String {
    let found = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    found.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
