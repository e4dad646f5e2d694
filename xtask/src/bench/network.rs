//! `cargo xtask bench network`: whole networks, two processes on this machine, over loopback or a modelled link.
//!
//! Per network, profile, number of images in a bundle and link: merging (once, by the server), what the server computes once
//! per model and layout, base transfers (once per connection), and per inference preprocessing and the online stage; bytes in
//! each direction, rounds, each party's peak memory, a table of layers, a plain baseline of this crate in f32, and what other
//! systems state. The first bundle warms up and is not measured; seconds are medians, bytes and rounds means.
//!
//! Without names all but the large networks are measured. Large ones (224×224) run when named or with `--large`, two bundles
//! each. Figures of a bundle are divided by its images; rounds and peaks are not.

mod figures;
mod peers;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use he_core::{Profile, Seed};
use nn_merge::build;
use nn_merge::evaluate::Evaluator;

use super::activation::session::Extension;
use super::party::{Setting, measure};
use super::timing::median;
use super::{Document, Effort, machine};
use crate::networks::{self, Loaded, Network};
use figures::Row;

/// What to measure.
#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// Networks; all but the large ones if none is named
    names: Vec<String>,
    /// Only networks whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Images per bundle
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    images: Vec<usize>,
    /// Links: loopback, lan, wan, or like 100mbit/40ms
    #[arg(long, value_delimiter = ',', default_values_t = ["loopback".to_owned()])]
    link: Vec<String>,
    /// Profiles: tiny, narrow, wide, exact
    #[arg(long, value_delimiter = ',', default_values_t = [Profile::Wide])]
    profile: Vec<Profile>,
    /// Extensions that make the transfers; the server's default if none is named
    #[arg(long, value_enum, value_delimiter = ',')]
    transfers: Vec<Extension>,
    /// Large networks as well
    #[arg(long)]
    large: bool,
    /// Measured bundles (default: five, one of large networks and of bundles)
    #[arg(long)]
    bundles: Option<usize>,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// One small network once, to see that it runs
    #[arg(long)]
    smoke: bool,
    /// `smoke` is the same as --smoke
    #[arg(long, value_enum, default_value_t = Effort::Full)]
    effort: Effort,
}

/// Measures and prints; false if nothing is called that.
pub(super) fn run(args: &Args) -> Result<bool> {
    let smoke = args.smoke || args.effort == Effort::Smoke;
    let mut rows = Vec::new();
    for network in chosen(args, smoke)? {
        if let Some(loaded) = network.load()? {
            measure_network(network, &loaded, args, smoke, &mut rows)?;
        }
    }
    let found = !rows.is_empty();
    if args.json {
        Document::print("hushnet-bench-network/2", rows)?;
    } else {
        println!("{}", machine::Machine::read());
        figures::print(&rows);
    }
    if !found {
        eprintln!("nothing was measured");
    }
    Ok(found)
}

fn chosen(args: &Args, smoke: bool) -> Result<Vec<&'static Network>> {
    let mut chosen = match (args.names.is_empty(), smoke) {
        (false, _) => networks::named(&args.names)?,
        (true, true) => networks::named(&["mnist_cnn".to_owned()])?,
        (true, false) => networks::ALL.iter().filter(|network| args.large || !network.large).collect(),
    };
    chosen.retain(|network| args.only.as_ref().is_none_or(|only| network.name.contains(only.as_str())));
    Ok(chosen)
}

fn measure_network(
    network: &Network,
    loaded: &Loaded,
    args: &Args,
    smoke: bool,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let baseline_seconds = plain_seconds(&loaded.graph, smoke)?;
    for &profile in &args.profile {
        let start = Instant::now();
        let mut rng = Seed::from_os()?.stream();
        let (model, _) = build(&loaded.graph, &loaded.calibration, &network.options(profile), &mut rng)?;
        let merge_seconds = start.elapsed().as_secs_f64();
        for &images in &args.images {
            for (link, transfers) in pairs(&args.link, &args.transfers) {
                eprintln!("{}, {profile}, {images} at a time, {link}", network.name);
                let bundles = args.bundles.unwrap_or(match images {
                    _ if smoke || network.large => 1,
                    1 => 5,
                    _ => 2,
                });
                let setting = Setting { bundle: images, bundles, link, transfers, ..Setting::DEFAULT };
                let measured = measure(&model, setting)?;
                let mut row = Row::new(network.name, &loaded.origin, profile, setting, measured);
                row.merge_seconds = merge_seconds;
                row.baseline_seconds = baseline_seconds;
                rows.push(row);
            }
        }
    }
    Ok(())
}

/// Every link with every extension.
fn pairs<'a>(links: &'a [String], transfers: &[Extension]) -> Vec<(&'a str, Option<Extension>)> {
    let transfers =
        if transfers.is_empty() { vec![None] } else { transfers.iter().copied().map(Some).collect() };
    links.iter().flat_map(|link| transfers.iter().map(move |&kind| (link.as_str(), kind))).collect()
}

/// Seconds of one image in plain f32.
fn plain_seconds(graph: &nn_merge::Graph, smoke: bool) -> Result<f64> {
    let evaluator = Evaluator::<f32>::new(graph)?;
    let length = graph.node(0).shape.iter().product();
    let input: Vec<f32> = (0..length).map(|i: usize| (i % 7) as f32 / 7.0).collect();
    evaluator.run(&input)?;
    let budget = Duration::from_millis(if smoke { 1 } else { 200 });
    Ok(median(budget, || drop(black_box(evaluator.run(&input)))))
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

    fn names(line: &[&str]) -> Vec<&'static str> {
        let args = Line::parse_from([&["bench"], line].concat()).args;
        chosen(&args, args.smoke).unwrap().iter().map(|network| network.name).collect()
    }

    #[test]
    fn large_networks_only_when_asked_for() {
        assert!(!names(&[]).contains(&"resnet50") && names(&[]).contains(&"resnet20_cifar10"));
        assert!(names(&["--large"]).contains(&"resnet50"));
        assert_eq!(names(&["resnet50", "mnist-8"]), ["resnet50", "mnist-8"]);
        assert_eq!(names(&["--smoke"]), ["mnist_cnn"]);
        assert_eq!(names(&["--only", "vgg"]), [""; 0]);
    }

    #[test]
    fn lists_are_split() {
        let args =
            Line::parse_from(["bench", "--images", "1,32", "--link", "lan,wan", "--profile", "tiny,wide"])
                .args;
        assert_eq!(args.images, [1, 32]);
        assert_eq!(args.link, ["lan", "wan"]);
        assert_eq!(pairs(&args.link, &args.transfers), [("lan", None), ("wan", None)]);
        assert_eq!(pairs(&args.link, &[Extension::Silent, Extension::Softspoken8]).len(), 4);
        assert_eq!(args.profile, [Profile::Tiny, Profile::Wide]);
    }
}
