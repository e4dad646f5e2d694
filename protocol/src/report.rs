//! What a session cost: seconds, bytes and rounds, by stage, layer and part.

use std::time::Instant;

use serde::Serialize;

use crate::channel::{Channel, Traffic};

/// The stage of the protocol a cost belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Handshake and base transfers, once per connection.
    Setup,
    /// Everything ahead of the input.
    Preprocessing,
    /// With the input.
    Online,
}

/// One row: a part of a layer in a stage, summed over all bundles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Stage.
    pub stage: Stage,
    /// The layer's name, or what else it was.
    pub layer: String,
    /// "linear", "max-pool", "ReLU", …
    pub part: &'static str,
    /// Wall time of this party, waiting for the other included.
    pub seconds: f64,
    /// Bytes this party sent.
    pub bytes_sent: u64,
    /// Bytes this party received.
    pub bytes_received: u64,
    /// Changes from sending to receiving.
    pub rounds: u64,
}

/// All rows of a session.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// The rows in the order in which they first occurred.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The sum over a stage.
    pub fn total(&self, stage: Stage) -> Row {
        let empty = Row {
            stage,
            layer: String::new(),
            part: "total",
            seconds: 0.0,
            bytes_sent: 0,
            bytes_received: 0,
            rounds: 0,
        };
        self.rows.iter().filter(|row| row.stage == stage).fold(empty, |sum, row| Row {
            seconds: sum.seconds + row.seconds,
            bytes_sent: sum.bytes_sent + row.bytes_sent,
            bytes_received: sum.bytes_received + row.bytes_received,
            rounds: sum.rounds + row.rounds,
            ..sum
        })
    }

    /// Adds what happened on `channel` since `start`.
    pub(crate) fn add(
        &mut self,
        stage: Stage,
        layer: &str,
        part: &'static str,
        start: &Start,
        channel: &Channel,
    ) {
        self.add_figures(
            stage,
            layer,
            part,
            start.time.elapsed().as_secs_f64(),
            channel.traffic() - start.traffic,
        );
    }

    /// Adds what was measured elsewhere.
    pub(crate) fn add_figures(
        &mut self,
        stage: Stage,
        layer: &str,
        part: &'static str,
        seconds: f64,
        traffic: Traffic,
    ) {
        let known =
            self.rows.iter_mut().find(|row| row.stage == stage && row.layer == layer && row.part == part);
        let row = match known {
            Some(row) => row,
            None => {
                self.rows.push(Row { layer: layer.to_owned(), part, ..Self::default().total(stage) });
                self.rows.last_mut().expect("pushed just now")
            }
        };
        row.seconds += seconds;
        row.bytes_sent += traffic.sent;
        row.bytes_received += traffic.received;
        row.rounds += traffic.rounds;
    }
}

/// A moment on a channel.
pub(crate) struct Start {
    time: Instant,
    traffic: Traffic,
}

impl Start {
    pub(crate) fn now(channel: &Channel) -> Self {
        Self { time: Instant::now(), traffic: channel.traffic() }
    }
}

/// Peak resident memory of this process in bytes, where the system tells (Linux).
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Kind, pair};
    use std::time::Duration;

    #[test]
    fn rows_add_up_by_stage_layer_and_part() {
        let (left, _right) = pair();
        let mut channel = Channel::new(left, Duration::from_secs(1));
        let mut report = Report::default();
        for payload in [&b"abc"[..], b"de"] {
            let start = Start::now(&channel);
            channel.send(Kind::Gate, 1, payload).unwrap();
            report.add(Stage::Online, "conv1", "ReLU", &start, &channel);
        }
        let start = Start::now(&channel);
        channel.send(Kind::Gate, 1, b"").unwrap();
        report.add(Stage::Online, "conv2", "ReLU", &start, &channel);
        assert_eq!(report.rows().len(), 2);
        assert_eq!(report.rows()[0].bytes_sent, 12 + 3 + 12 + 2);
        assert_eq!(report.total(Stage::Online).bytes_sent, 29 + 12);
        assert_eq!(report.total(Stage::Preprocessing).bytes_sent, 0);
    }

    #[test]
    fn linux_tells_its_peak() {
        if cfg!(target_os = "linux") {
            assert!(peak_memory_bytes().unwrap() > 1 << 20);
        }
    }
}
