//! What goes to standard output: JSON documents, tables, and nothing else.
//!
//! Each `--json` command prints one document whose `schema` names its form; fields are added, never renamed. Times are
//! in seconds, sizes in bytes; a *round* is one change from sending to receiving as the client sees it.
//!
//! | schema | command |
//! |---|---|
//! | `hushnet-infer/1` | infer |
//! | `hushnet-infer-he/1` | infer --mode he |
//! | `hushnet-infer-float/1` | infer --arithmetic float |
//! | `hushnet-prepare/1` | prepare |
//! | `hushnet-merge/1` | merge |
//! | `hushnet-inspect/1` | inspect |
//! | `hushnet-demo/1` | demo |

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use protocol::report::{Report, Row, Stage};
use serde::Serialize;

use crate::error::Failure;
use crate::terminal::{bytes, seconds, table};

/// What one stage cost this party.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct StageCost {
    /// Wall time, waiting included.
    pub(crate) seconds: f64,
    /// Bytes that this party sent.
    pub(crate) bytes_sent: u64,
    /// Bytes that this party received.
    pub(crate) bytes_received: u64,
    /// Changes from sending to receiving.
    pub(crate) rounds: u64,
}

/// The three stages of a session.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Stages {
    /// Handshake and base transfers, once per connection.
    pub(crate) setup: StageCost,
    /// Everything ahead of the inputs.
    pub(crate) preprocessing: StageCost,
    /// With the inputs.
    pub(crate) online: StageCost,
}

impl From<Row> for StageCost {
    fn from(row: Row) -> Self {
        Self {
            seconds: row.seconds,
            bytes_sent: row.bytes_sent,
            bytes_received: row.bytes_received,
            rounds: row.rounds,
        }
    }
}

impl Stages {
    /// The sums of a session's report.
    pub(crate) fn of(report: &Report) -> Self {
        let total = |stage| report.total(stage).into();
        Self {
            setup: total(Stage::Setup),
            preprocessing: total(Stage::Preprocessing),
            online: total(Stage::Online),
        }
    }

    /// Names and costs in order.
    pub(crate) fn rows(&self) -> [(&'static str, StageCost); 3] {
        [("setup", self.setup), ("preprocessing", self.preprocessing), ("online", self.online)]
    }
}

/// Writes a text to standard output, ending in one line feed.
///
/// # Errors
/// [`Failure::Output`]: a full disk, or a reader that has gone.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") })
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

/// Writes one JSON document to standard output, indented.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json<T: Serialize>(document: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(|error| Failure::Output(error.into()))?;
    print(&text)
}

/// Stages that grow with the number of images; others are paid once.
const PER_IMAGE: [&str; 3] = ["preprocessing", "online", "all"];

/// A table of stages, one row each and their sum; per image where there is more than one.
pub(crate) fn stage_table(rows: &[(&str, StageCost)], images: usize) -> String {
    let sum = rows.iter().fold(StageCost::default(), |sum, (_, cost)| StageCost {
        seconds: sum.seconds + cost.seconds,
        bytes_sent: sum.bytes_sent + cost.bytes_sent,
        bytes_received: sum.bytes_received + cost.bytes_received,
        rounds: sum.rounds + cost.rounds,
    });
    let mut header = vec!["stage", "time", "sent", "received", "rounds"];
    if images > 1 {
        header.extend(["time/image", "bytes/image"]);
    }
    let mut all = rows.to_vec();
    all.push(("all", sum));
    let cells: Vec<Vec<String>> = all
        .iter()
        .map(|&(name, cost)| {
            let mut row = vec![
                name.to_owned(),
                seconds(cost.seconds),
                bytes(cost.bytes_sent),
                bytes(cost.bytes_received),
                cost.rounds.to_string(),
            ];
            if images > 1 && PER_IMAGE.contains(&name) {
                row.push(seconds(cost.seconds / images as f64));
                row.push(bytes((cost.bytes_sent + cost.bytes_received) / images as u64));
            }
            row
        })
        .collect();
    table(&header, &cells)
}

/// A table of every part of every layer.
pub(crate) fn layer_table(report: &Report) -> String {
    let name = |stage| match stage {
        Stage::Setup => "setup",
        Stage::Preprocessing => "preprocessing",
        Stage::Online => "online",
    };
    let rows: Vec<Vec<String>> = report
        .rows()
        .iter()
        .map(|row| {
            vec![
                name(row.stage).to_owned(),
                row.layer.clone(),
                row.part.to_owned(),
                seconds(row.seconds),
                bytes(row.bytes_sent),
                bytes(row.bytes_received),
                row.rounds.to_string(),
            ]
        })
        .collect();
    table(&["stage", "layer", "part", "time", "sent", "received", "rounds"], &rows)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// "1 image", "2 images".
pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Where text goes and what may be put around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    /// No progress, no remarks.
    pub(crate) quiet: bool,
    /// How often `-v` was given.
    pub(crate) verbose: u8,
    /// Standard output is a terminal.
    pub(crate) stdout: bool,
    /// Standard error is a terminal.
    pub(crate) stderr: bool,
    /// The environment does not forbid colours.
    pub(crate) colour: bool,
}

impl Console {
    /// By the flags and this process's environment.
    pub(crate) fn new(quiet: bool, verbose: u8) -> Self {
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        let colour = variable("NO_COLOR").is_empty() && variable("TERM") != "dumb";
        Self {
            quiet,
            verbose,
            stdout: io::stdout().is_terminal(),
            stderr: io::stderr().is_terminal(),
            colour,
        }
    }

    /// A heading on standard output.
    pub(crate) fn heading(&self, text: &str) -> String {
        if self.stdout && self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The word that begins an error on standard error.
    pub(crate) fn error_word(&self) -> &'static str {
        if self.stderr && self.colour { "\x1b[1;31merror:\x1b[0m" } else { "error:" }
    }

    /// A warning on standard error, quiet or not.
    pub(crate) fn warning(&self, text: &str) {
        let word = if self.stderr && self.colour { "\x1b[1;33mwarning:\x1b[0m" } else { "warning:" };
        // Nobody to tell: then nobody is told.
        let _ = writeln!(io::stderr(), "{word} {text}");
    }

    /// One remark on standard error, unless quiet.
    pub(crate) fn remark(&self, text: &str) {
        if !self.quiet {
            // Nobody to tell: then nobody is told.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(seconds: f64, bytes_sent: u64) -> StageCost {
        StageCost { seconds, bytes_sent, bytes_received: 2 * bytes_sent, rounds: 3 }
    }

    #[test]
    fn stages_are_summed_and_divided() {
        let rows = [("preprocessing", cost(0.5, 1000)), ("online", cost(0.25, 500))];
        let text = stage_table(&rows, 10);
        let all = text.lines().find(|line| line.trim_start().starts_with("all")).unwrap();
        for cell in ["750 ms", "1.50 KB", "3.00 KB", "6", "75.0 ms", "450 B"] {
            assert!(all.contains(cell), "{cell} in {all}");
        }
        assert!(!stage_table(&rows, 1).contains("image"));
    }

    #[test]
    fn digests_are_hexadecimal() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
