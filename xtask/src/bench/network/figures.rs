//! The rows of `bench network`: their JSON form, and the tables for people.

use comfy_table::{CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use he_core::Profile;
use serde::Serialize;

use super::peers::{self, Peer};
use crate::bench::party::{Flow, LayerCost, Measured, Setting};

/// One network at one setting; per inference unless said otherwise.
#[derive(Serialize)]
pub(super) struct Row {
    name: String,
    /// Where its weights are from.
    origin: String,
    profile: String,
    /// Images per bundle.
    images: usize,
    link: String,
    /// The extension that made the transfers, `default` for the server's own.
    transfers: &'static str,
    /// Bundles that were measured.
    bundles: usize,
    /// Once: passes, calibration, quantisation.
    pub(super) merge_seconds: f64,
    /// Once per model and layout: prepared convolutions and hints.
    model_seconds: f64,
    /// Once per connection.
    setup_seconds: f64,
    setup_bytes: u64,
    preprocessing: StageFigures,
    online: StageFigures,
    /// Both stages.
    total_seconds: f64,
    total_bytes: u64,
    client_peak_bytes: u64,
    server_peak_bytes: u64,
    /// What `baseline_seconds` are of.
    baseline: &'static str,
    pub(super) baseline_seconds: f64,
    peers: Vec<Peer>,
    layers: Vec<LayerCost>,
}

/// One stage.
#[derive(Serialize)]
struct StageFigures {
    seconds: f64,
    bytes_from_client: u64,
    bytes_from_server: u64,
    /// Of the whole bundle.
    rounds: u64,
}

impl StageFigures {
    fn new(seconds: f64, flow: Flow, images: usize) -> Self {
        Self {
            seconds: seconds / images as f64,
            bytes_from_client: flow.bytes_from_client / images as u64,
            bytes_from_server: flow.bytes_from_server / images as u64,
            rounds: flow.rounds,
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes_from_client + self.bytes_from_server
    }
}

impl Row {
    /// Per inference from per bundle; merging and baseline are left zero.
    pub(super) fn new(
        name: &str,
        origin: &str,
        profile: Profile,
        setting: Setting<'_>,
        measured: Measured,
    ) -> Self {
        let images = setting.bundle;
        let preprocessing = StageFigures::new(measured.preprocessing_seconds, measured.preprocessing, images);
        let online = StageFigures::new(measured.online_seconds, measured.online, images);
        Self {
            name: name.to_owned(),
            origin: origin.to_owned(),
            profile: profile.to_string(),
            images,
            link: setting.link.to_owned(),
            transfers: setting.transfers.map_or("default", |kind| kind.name()),
            bundles: setting.bundles,
            merge_seconds: 0.0,
            model_seconds: measured.server.model_seconds,
            setup_seconds: measured.setup_seconds,
            setup_bytes: measured.setup_bytes,
            total_seconds: preprocessing.seconds + online.seconds,
            total_bytes: preprocessing.bytes() + online.bytes(),
            preprocessing,
            online,
            client_peak_bytes: measured.client_peak_bytes,
            server_peak_bytes: measured.server.peak_bytes,
            baseline: "plain f32, this crate",
            baseline_seconds: 0.0,
            peers: peers::of(name),
            layers: measured
                .layers
                .into_iter()
                .map(|cost| LayerCost {
                    seconds: cost.seconds / images as f64,
                    bytes: cost.bytes / images as u64,
                    ..cost
                })
                .collect(),
        }
    }
}

/// The table of networks, the peers, and a table of layers for each row.
pub(super) fn print(rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header([
        "network",
        "profile",
        "images",
        "link",
        "pre s",
        "online s",
        "all s",
        "pre MB",
        "online MB",
        "all MB",
        "rounds",
        "client MiB",
        "server MiB",
        "setup s",
        "model s",
        "merge s",
        "plain s",
    ]);
    for row in rows {
        let (pre, online) = (&row.preprocessing, &row.online);
        table.add_row([
            row.name.clone(),
            row.profile.clone(),
            row.images.to_string(),
            if row.transfers == "default" {
                row.link.clone()
            } else {
                format!("{}, {}", row.link, row.transfers)
            },
            seconds(pre.seconds),
            seconds(online.seconds),
            seconds(row.total_seconds),
            traffic(pre),
            traffic(online),
            megabytes(row.total_bytes),
            format!("{}+{}", pre.rounds, online.rounds),
            mebibytes(row.client_peak_bytes),
            mebibytes(row.server_peak_bytes),
            seconds(row.setup_seconds),
            seconds(row.model_seconds),
            seconds(row.merge_seconds),
            seconds(row.baseline_seconds),
        ]);
        for peer in &row.peers {
            let [least, most] = peer.seconds;
            let all = if least == most { format!("{least}") } else { format!("{least}–{most}") };
            let mut cells = vec![String::new(); 17];
            cells[0] = format!("  {}", peer.system);
            (cells[2], cells[6], cells[9]) = ("1".into(), all, format!("{:.1}", peer.megabytes));
            cells[11] = peer.gibibytes.map_or(String::new(), |gib| format!("{:.0}", gib * 1024.0));
            table.add_row(cells);
        }
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!(
        "per inference (rounds and peaks: of the bundle; model: once per model; setup: once per connection); MB = 10^6 bytes, \
         in brackets from client and from server; peers as they state"
    );
    for row in rows.iter().filter(|row| row.layers.len() > 2) {
        println!("\n{} ({}, {}, {} at a time), per layer:", row.name, row.profile, row.link, row.images);
        super::super::print_layers(&row.layers);
    }
}

fn seconds(value: f64) -> String {
    match value {
        value if value < 0.1 => format!("{value:.4}"),
        value if value < 10.0 => format!("{value:.3}"),
        value => format!("{value:.1}"),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1e6)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1_048_576.0)
}

fn traffic(stage: &StageFigures) -> String {
    let parts = [stage.bytes(), stage.bytes_from_client, stage.bytes_from_server].map(megabytes);
    format!("{} ({}+{})", parts[0], parts[1], parts[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_inference() {
        let flow = Flow { bytes_from_client: 800, bytes_from_server: 80, rounds: 7 };
        let stage = StageFigures::new(4.0, flow, 8);
        assert_eq!((stage.seconds, stage.bytes(), stage.rounds), (0.5, 110, 7));
        let shown = [0.01234, 1.25, 123.4].map(seconds);
        assert_eq!(shown, ["0.0123", "1.250", "123.4"]);
    }
}
