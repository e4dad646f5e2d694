//! The rows of `bench activation`: their JSON form, and the table for people.

use comfy_table::{CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use super::party::Found;
use super::session::StageCost;
use crate::bench::Row;
use crate::bench::party::LayerCost;

/// Figures of a batch. Seconds and bytes are of the whole batch, as in `bench network` of a bundle of one.
#[derive(Clone, Debug, Serialize)]
pub(in crate::bench) struct ActivationFigures {
    pub(super) elements: usize,
    pub(super) ring_bits: u32,
    pub(super) ignored_bits: u32,
    pub(super) link: String,
    pub(super) transfers: &'static str,
    pub(super) construction: &'static str,
    /// Of each party.
    pub(super) threads: usize,
    pub(super) bundle: usize,
    /// Once per connection.
    pub(super) setup_seconds: f64,
    pub(super) setup_bytes: u64,
    /// Of the slower party.
    pub(super) preprocessing_seconds: f64,
    /// Of the server, which ends last.
    pub(super) online_seconds: f64,
    /// Both directions.
    pub(super) preprocessing_bytes: u64,
    pub(super) online_bytes: u64,
    pub(super) preprocessing_bytes_from_client: u64,
    pub(super) preprocessing_bytes_from_server: u64,
    pub(super) online_bytes_from_client: u64,
    pub(super) online_bytes_from_server: u64,
    /// Wall time.
    pub(super) preprocessing_microseconds_per_element: f64,
    pub(super) online_microseconds_per_element: f64,
    /// Processor time: preprocessing, online.
    pub(super) client_cpu_microseconds_per_element: [f64; 2],
    pub(super) server_cpu_microseconds_per_element: [f64; 2],
    /// Round trips as the client counts.
    pub(super) preprocessing_rounds: u64,
    pub(super) online_rounds: u64,
    pub(super) rounds: u64,
    pub(super) client_peak_bytes: u64,
    pub(super) server_peak_bytes: u64,
    pub(super) baseline: &'static str,
    pub(super) baseline_seconds: f64,
    /// online_seconds / baseline_seconds.
    pub(super) ratio: f64,
    /// Online, step by step, as the server sees it.
    pub(super) layers: Vec<LayerCost>,
    /// The same by another system, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<Peer>,
}

/// Figures of another system, both parties on two cores of a machine of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(in crate::bench) struct Peer {
    name: &'static str,
    elements: usize,
    /// Least and most seen. It has no preprocessing apart from the base transfers.
    microseconds_per_element: [f64; 2],
    bytes_per_element: f64,
    /// Messages of the client.
    messages: u32,
    client_peak_bytes: u64,
    server_peak_bytes: u64,
}

const MIB: u64 = 1 << 20;

/// SPU 0.9.5 (Cheetah), ring of 64 bits, 2^16 elements, loopback.
const PEERS: [(&str, Peer); 2] = [
    (
        "relu",
        Peer {
            name: "SPU 0.9.5 Cheetah",
            elements: 1 << 16,
            microseconds_per_element: [12.0, 21.0],
            bytes_per_element: 114.0,
            messages: 41,
            client_peak_bytes: 1170 * MIB,
            server_peak_bytes: 1130 * MIB,
        },
    ),
    (
        "max-pool-2x2",
        Peer {
            name: "SPU 0.9.5 Cheetah",
            elements: 1 << 16,
            microseconds_per_element: [12.0, 32.0],
            bytes_per_element: 84.0,
            messages: 81,
            client_peak_bytes: 1160 * MIB,
            server_peak_bytes: 1080 * MIB,
        },
    ),
];

impl Peer {
    /// The peer's figures for an activation.
    pub(super) fn of(name: &str) -> Option<Self> {
        PEERS.iter().find(|(known, _)| *known == name).map(|(_, peer)| *peer)
    }
}

/// The online stage step by step: means over the repetitions, without the one that warms up.
pub(super) fn layers(name: &str, server: &Found) -> Vec<LayerCost> {
    let measured = server.steps.get(1..).unwrap_or_default();
    let steps = measured.first().map_or(0, Vec::len);
    let costs = (0..steps).map(|at| {
        let cost = StageCost::mean(&measured.iter().map(|steps| steps[at]).collect::<Vec<_>>());
        LayerCost {
            stage: "online".to_owned(),
            layer: name.to_owned(),
            part: format!("step {}", at + 1),
            seconds: cost.seconds,
            bytes: cost.sent + cost.received,
            rounds: cost.rounds,
        }
    });
    costs.collect()
}

/// Prints the rows for people.
pub(in crate::bench) fn print(rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header([
        "activation",
        "elements",
        "k",
        "link",
        "transfers",
        "gate",
        "pre µs",
        "online µs",
        "pre B",
        "C→S",
        "S→C",
        "online B",
        "C→S",
        "S→C",
        "rounds",
        "C cpu",
        "S cpu",
        "C MB",
        "S MB",
    ]);
    let mut peers: Vec<(&str, Peer)> = Vec::new();
    for row in rows {
        let Some(figures) = &row.activation else { continue };
        let per = |bytes: u64| format!("{:.1}", bytes as f64 / figures.elements as f64);
        let cpu = |[pre, online]: [f64; 2]| format!("{pre:.2}+{online:.2}");
        table.add_row([
            row.name.clone(),
            figures.elements.to_string(),
            figures.ring_bits.to_string(),
            figures.link.clone(),
            figures.transfers.to_owned(),
            figures.construction.to_owned(),
            format!("{:.2}", figures.preprocessing_microseconds_per_element),
            format!("{:.2}", figures.online_microseconds_per_element),
            per(figures.preprocessing_bytes),
            per(figures.preprocessing_bytes_from_client),
            per(figures.preprocessing_bytes_from_server),
            per(figures.online_bytes),
            per(figures.online_bytes_from_client),
            per(figures.online_bytes_from_server),
            format!("{}+{}", figures.preprocessing_rounds, figures.online_rounds),
            cpu(figures.client_cpu_microseconds_per_element),
            cpu(figures.server_cpu_microseconds_per_element),
            format!("{:.0}", figures.client_peak_bytes as f64 / 1e6),
            format!("{:.0}", figures.server_peak_bytes as f64 / 1e6),
        ]);
        if let Some(peer) = figures.peer.filter(|_| peers.iter().all(|(name, _)| *name != row.name)) {
            peers.push((&row.name, peer));
        }
    }
    for (_, column) in table.column_iter_mut().enumerate().filter(|(at, _)| !matches!(at, 0 | 3..=5)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!(
        "per element (an input; four per window of max-pool-2x2); µs of wall time, cpu in µs of processor time, \
         preprocessing + online; rounds likewise"
    );
    for (name, peer) in peers {
        let [least, most] = peer.microseconds_per_element;
        println!(
            "for comparison, {name} by {}, {} elements: {least:.0} to {most:.0} µs, {:.0} B, {} messages of the client, \
             {} and {} MB",
            peer.name,
            peer.elements,
            peer.bytes_per_element,
            peer.messages,
            peer.client_peak_bytes / 1_000_000,
            peer.server_peak_bytes / 1_000_000
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_means_over_the_repetitions() {
        let step = |seconds| StageCost { seconds, sent: 3, received: 4, rounds: 3 };
        let server =
            Found { steps: vec![vec![step(9.0)], vec![step(1.0)], vec![step(3.0)]], ..Found::default() };
        let layers = layers("relu", &server);
        assert_eq!((layers.len(), layers[0].seconds, layers[0].bytes, layers[0].rounds), (1, 2.0, 7, 3));
    }

    #[test]
    fn peers_are_of_activations_that_exist() {
        assert!(PEERS.iter().all(|(name, _)| super::super::NAMES.contains(name)));
        assert_eq!(Peer::of("tanh"), None);
    }
}
