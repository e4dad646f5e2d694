//! `cargo xtask bench activation`: what an activation costs, both parties on this machine.
//!
//! Two processes, one thread each by default, talk over loopback TCP, or over a link modelled on top of it. A row is a
//! batch of `elements` inputs (whole windows for maxima) through base transfers, once, and then several times through
//! preprocessing and the online stage. Seconds are medians of wall time: of the slower party for preprocessing, of the
//! server, which ends last, for the online stage. The first repetition warms up and is not among them. A silent
//! extension works in supplies that last for more or less than a batch: there preprocessing is the mean of all
//! repetitions, the first one with its larger supply included. Bytes and rounds are means of all repetitions.
//!
//! Without choices a grid is measured that fits in a few minutes: every activation at 2^16 elements and k = 18; ReLU and
//! max-pooling at k = 16, 20, 24 and 32; ReLU with every extension, at 2^20 elements, and over a local and a wide-area
//! link by either construction. With a choice the product of all choices is measured.

pub(crate) mod oracle;
pub(crate) mod party;
mod plain;
pub(crate) mod session;
mod table;
pub(crate) mod workload;

use anyhow::Result;
use he_core::Seed;
use rand_core::Rng;

use super::timing::middle;
use super::{Options, Row};
use party::{Found, Setting, measure};
use session::{Extension, StageCost};
use table::{ActivationFigures, Peer};
use workload::{NAMES, chosen};

pub(super) use table::{ActivationFigures as Figures, print};

/// What to measure.
#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) options: Options,
    /// Numbers of elements
    #[arg(long, value_delimiter = ',')]
    elements: Vec<usize>,
    /// Rings, in bits (14 to 32)
    #[arg(long, value_delimiter = ',')]
    bits: Vec<u32>,
    /// Links: loopback, lan, wan, or like 100mbit/40ms
    #[arg(long, value_delimiter = ',')]
    link: Vec<String>,
    /// Extensions that make the transfers
    #[arg(long, value_enum, value_delimiter = ',')]
    transfers: Vec<Extension>,
    /// Round trips of a gate: three or one
    #[arg(long, value_enum, value_delimiter = ',')]
    rounds: Vec<Rounds>,
    /// Threads of each party
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Measured repetitions (default: five, three for large batches)
    #[arg(long)]
    repetitions: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Rounds {
    /// Three round trips, fewer bytes
    Three,
    /// One round trip, by garbled circuits
    One,
}

const USUAL: (usize, u32, &str, Extension, Rounds) =
    (1 << 16, 18, "loopback", Extension::Softspoken8, Rounds::Three);
const WIDTHS: [u32; 4] = [16, 20, 24, 32];
const EXTENSIONS: [Extension; 4] =
    [Extension::Softspoken2, Extension::Softspoken4, Extension::Softspoken8, Extension::Silent];

/// All rows of the chosen grid.
pub(super) fn run(args: &Args) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for setting in settings(args)? {
        eprintln!(
            "{} of {}, {} bits, {}, {}{}",
            setting.elements,
            setting.name,
            setting.ring_bits,
            setting.link,
            setting.extension.name(),
            if setting.one_round { ", one round" } else { "" }
        );
        let [client, server] = measure(&setting)?;
        let figures = figures(&setting, &client, &server)?;
        rows.push(Row {
            profile: if setting.name == "relu-narrow" { "narrow" } else { "wide" }.into(),
            name: setting.name,
            activation: Some(figures),
            ..Row::default()
        });
    }
    Ok(rows)
}

/// What is to be measured, in order.
fn settings(args: &Args) -> Result<Vec<Setting>> {
    type Point = (&'static str, usize, u32, String, Extension, Rounds);
    let (elements, bits, link, extension, rounds) = USUAL;
    let elements = if args.options.smoke() { 1 << 10 } else { elements };
    let usual = |name| -> Point { (name, elements, bits, link.to_owned(), extension, rounds) };
    let or = |chosen: &[u32]| if chosen.is_empty() { vec![bits] } else { chosen.to_vec() };
    let any_choice = !(args.elements.is_empty()
        && args.bits.is_empty()
        && args.link.is_empty()
        && args.transfers.is_empty()
        && args.rounds.is_empty());
    let mut points: Vec<Point> = Vec::new();
    if any_choice {
        let sizes = if args.elements.is_empty() { vec![elements] } else { args.elements.clone() };
        let links = if args.link.is_empty() { vec![link.to_owned()] } else { args.link.clone() };
        let extensions = if args.transfers.is_empty() { vec![extension] } else { args.transfers.clone() };
        let rounds = if args.rounds.is_empty() { vec![rounds] } else { args.rounds.clone() };
        for name in NAMES {
            for &elements in &sizes {
                for bits in or(&args.bits) {
                    for link in &links {
                        for &extension in &extensions {
                            for &rounds in &rounds {
                                points.push((name, elements, bits, link.clone(), extension, rounds));
                            }
                        }
                    }
                }
            }
        }
    } else {
        points.extend(NAMES.map(usual));
        points.push(("relu-narrow", elements, 16, link.to_owned(), extension, rounds));
        points.extend(["relu", "max-pool-2x2"].into_iter().flat_map(|name| {
            WIDTHS.map(move |bits| (name, elements, bits, link.to_owned(), extension, rounds))
        }));
        let others = EXTENSIONS.into_iter().filter(|&other| other != extension);
        points.extend(others.map(|extension| ("relu", elements, bits, link.to_owned(), extension, rounds)));
        points.push(("relu", elements, bits, link.to_owned(), extension, Rounds::One));
        for link in ["lan", "wan"] {
            for rounds in [Rounds::Three, Rounds::One] {
                points.push(("relu", elements, bits, link.to_owned(), extension, rounds));
            }
        }
        if !args.options.smoke() {
            for extension in [extension, Extension::Silent] {
                points.push(("relu", 1 << 20, bits, link.to_owned(), extension, rounds));
            }
        }
    }
    points.retain(|point| chosen(args.options.only.as_deref(), point.0));
    let mut rng = Seed::from_os()?.stream();
    let setting = |(name, elements, ring_bits, link, extension, rounds): Point| Setting {
        name: name.to_owned(),
        elements,
        ring_bits,
        link,
        extension,
        one_round: rounds == Rounds::One,
        threads: args.threads,
        repetitions: args.repetitions.unwrap_or(match elements {
            _ if args.options.smoke() => 1,
            ..200_000 => 5,
            _ => 3,
        }),
        inputs: rng.next_u64(),
    };
    Ok(points.into_iter().map(setting).collect())
}

/// A row's figures from what the parties found.
fn figures(setting: &Setting, client: &Found, server: &Found) -> Result<ActivationFigures> {
    let silent = setting.extension == Extension::Silent;
    let seconds = |costs: &[StageCost]| costs.iter().map(|cost| cost.seconds).collect::<Vec<f64>>();
    let pre = |values: Vec<f64>| if silent { mean(&values) } else { median_but_first(values) };
    let preprocessing_seconds = pre(seconds(&client.preprocessing)).max(pre(seconds(&server.preprocessing)));
    let online_seconds = median_but_first(seconds(&server.online));
    let (pre_traffic, online) = (StageCost::mean(&client.preprocessing), StageCost::mean(&client.online));
    let baseline_seconds = plain::seconds(&setting.name, client.elements)?;
    let workload = workload::Workload::new(&setting.name, setting.ring_bits, setting.one_round)?;
    let per = |seconds: f64| 1e6 * seconds / client.elements as f64;
    let cpu = |found: &Found| {
        [per(pre(found.preprocessing_cpu.clone())), per(median_but_first(found.online_cpu.clone()))]
    };
    Ok(ActivationFigures {
        elements: client.elements,
        ring_bits: setting.ring_bits,
        ignored_bits: workload.ignored_bits,
        link: setting.link.clone(),
        transfers: setting.extension.name(),
        construction: if setting.one_round { "one round" } else { "three rounds" },
        threads: setting.threads,
        bundle: 1,
        setup_seconds: client.setup.seconds.max(server.setup.seconds),
        setup_bytes: client.setup.sent + client.setup.received,
        preprocessing_seconds,
        online_seconds,
        preprocessing_bytes: pre_traffic.sent + pre_traffic.received,
        online_bytes: online.sent + online.received,
        preprocessing_bytes_from_client: pre_traffic.sent,
        preprocessing_bytes_from_server: pre_traffic.received,
        online_bytes_from_client: online.sent,
        online_bytes_from_server: online.received,
        preprocessing_microseconds_per_element: per(preprocessing_seconds),
        online_microseconds_per_element: per(online_seconds),
        client_cpu_microseconds_per_element: cpu(client),
        server_cpu_microseconds_per_element: cpu(server),
        preprocessing_rounds: pre_traffic.rounds,
        online_rounds: online.rounds,
        rounds: pre_traffic.rounds + online.rounds,
        client_peak_bytes: client.peak_bytes,
        server_peak_bytes: server.peak_bytes,
        baseline: "plain f32, one thread",
        baseline_seconds,
        ratio: online_seconds / baseline_seconds,
        layers: table::layers(&setting.name, server),
        peer: Peer::of(&setting.name),
    })
}

/// The median without the repetition that warms up.
fn median_but_first(mut values: Vec<f64>) -> f64 {
    middle(values.get_mut(1..).unwrap_or_default())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn of(line: &[&str]) -> Vec<Setting> {
        settings(&Line::parse_from([&["bench"], line].concat()).args).unwrap()
    }

    #[test]
    fn the_usual_grid_has_every_activation_and_every_width() {
        let all = of(&[]);
        assert!(NAMES.iter().all(|name| all.iter().any(|s| s.name == *name && s.elements == 1 << 16)));
        for bits in WIDTHS {
            assert!(all.iter().any(|s| s.name == "max-pool-2x2" && s.ring_bits == bits));
        }
        assert!(all.iter().any(|s| s.elements == 1 << 20));
        assert!(all.iter().any(|s| s.link == "wan" && s.one_round));
        let smoke = of(&["--effort", "smoke"]);
        assert!(smoke.iter().all(|s| s.elements == 1 << 10 && s.repetitions == 1));
    }

    #[test]
    fn the_first_repetition_only_counts_in_means() {
        assert_eq!(median_but_first(vec![9.0, 1.0, 3.0, 2.0]), 2.0);
        assert_eq!(median_but_first(vec![]), 0.0);
        assert_eq!(mean(&[9.0, 1.0, 2.0]), 4.0);
    }

    #[test]
    fn choices_multiply() {
        let all = of(&["--only", "relu6", "--bits", "16,20", "--link", "lan,wan", "--rounds", "one,three"]);
        assert_eq!(all.len(), 8);
        assert!(all.iter().all(|s| s.name == "relu6" && s.elements == 1 << 16 && s.threads == 1));
        assert_eq!(all.iter().filter(|s| s.one_round && s.link == "wan" && s.ring_bits == 20).count(), 1);
        assert_eq!(of(&["--only", "no such thing"]).len(), 0);
    }
}
