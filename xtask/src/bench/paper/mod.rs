//! `cargo xtask bench paper`: each claim of the scheme that this project implements, tested, and what rivals' constructions
//! cost when they are built of the same parts.
//!
//! The scheme: Chen, Yang, Zhang, Ma, *Efficient privacy-preserving scheme for secure neural network inference*, FITEE
//! 26(9):1609–1623, 2025. Its claims, on MNIST and Fashion-MNIST, are in [`claims`].
//!
//! | part | what is varied | measured by |
//! |---|---|---|
//! | merging | the network as written, merged | counts of the graph, and whole sessions |
//! | convolution ([`linear`]) | direct, im2col, Winograd, NTT, the planner's choice | the online products of all layers, in this process |
//! | configurations ([`configuration`]) | merging, construction of the preprocessing, activations, what is prepared | whole sessions, two processes |
//! | ciphertexts alone | one image, a batch in the manner of CryptoNets | whole sessions in this process |
//! | arithmetic ([`mod@float`]) | shares in a ring, floating-point shares (insecure) | sessions in this process |
//! | accuracy | configurations | labelled test images under the protocol, in this process |
//!
//! Rivals are configurations of our own parts "in the manner of" the published systems: the same lattice library,
//! transfers and convolutions, so that ratios compare constructions and not programs. `--report` writes
//! `docs/results/paper.md` with tables and pictures.

mod claims;
mod configuration;
mod figures;
mod float;
mod linear;
mod report;
mod svg;
mod table;

use anyhow::Result;
use he_core::{Profile, Seed};
use nn_merge::build;
use nn_merge::model::Model;
use nn_merge::pass::Cost;
use protocol::offline::construction::Operations;
use protocol::{ClientOptions, OutputMode, Plan, ProtocolError, RoundChoice};

use super::party::{Setting, measure};
use super::{Effort, he_mode, machine};
use crate::accuracy::{Examples, Trial, attempt};
use crate::networks::{self, Loaded, Network};
use configuration::Configuration;
use figures::{Accuracy, Document, NetworkFigures, Session};

/// The paper's data sets, with squares and with ReLU.
const NETWORKS: [&str; 4] = ["mnist_poly", "mnist_cnn", "fashion_poly", "fashion_cnn_bn"];

/// Images on ciphertexts alone, one by one; the batch is a full one.
const ENCRYPTED: usize = 16;

/// Single images in either arithmetic.
const ARITHMETICS: usize = 30;
/// Most test images whose labels are counted there.
const ARITHMETIC_IMAGES: usize = 300;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Networks by name; the four of MNIST and Fashion-MNIST with squares and ReLU if none is named
    names: Vec<String>,
    /// Only configurations whose name contains this; `float` for the arithmetics side by side
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Profile: tiny, narrow, wide or exact
    #[arg(long, default_value_t = Profile::Wide)]
    profile: Profile,
    /// Images per bundle
    #[arg(long, default_value_t = 1)]
    images: usize,
    /// Measured bundles per configuration
    #[arg(long, default_value_t = 5)]
    bundles: usize,
    /// Test images, as far as there are any; all of them for the default configuration, fewer for some of the others. 0
    /// measures no accuracy
    #[arg(long, default_value_t = 5000)]
    test_images: usize,
    /// The link: loopback, lan, wan, or like 100mbit/40ms
    #[arg(long, default_value = "loopback")]
    link: String,
    /// Write docs/results/paper.md with its pictures
    #[arg(long)]
    report: bool,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// How long to measure: `full`, or `smoke` to see that everything runs
    #[arg(long, value_enum, default_value_t = Effort::Full)]
    effort: Effort,
}

/// Measures, prints, and writes the report if asked to; false if there was nothing to measure.
pub(super) fn run(args: &Args) -> Result<bool> {
    let names = match (args.names.is_empty(), args.effort) {
        (false, _) => args.names.clone(),
        (true, Effort::Full) => NETWORKS.map(str::to_owned).to_vec(),
        (true, Effort::Smoke) => vec!["mnist_poly".to_owned()],
    };
    let mut document = Document {
        schema: "hushnet-bench-paper/1",
        machine: machine::Machine::read(),
        commit: machine::commit(),
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        profile: args.profile.to_string(),
        images: args.images,
        link: args.link.clone(),
        networks: Vec::new(),
    };
    for network in networks::named(&names)? {
        if let Some(loaded) = network.load()? {
            document.networks.push(one(network, &loaded, args)?);
        }
    }
    if args.report {
        report::write(&document, &crate::root().join("docs/results"))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        table::print(&document);
    }
    let is_measured =
        |network: &NetworkFigures| !(network.sessions.is_empty() && network.arithmetics.is_empty());
    Ok(document.networks.iter().any(is_measured))
}

fn one(network: &'static Network, loaded: &Loaded, args: &Args) -> Result<NetworkFigures> {
    let smoke = args.effort == Effort::Smoke;
    let [written, merged] = [false, true].map(|merging| model(network, loaded, args.profile, merging));
    let (written, merged) = (written?, merged?);
    let mut convolutions = linear::measure(&merged.0, true, args.images, smoke)?;
    convolutions.extend(linear::measure(&written.0, false, args.images, smoke)?);
    let examples = match args.test_images {
        0 => None,
        _ => Examples::load(network, loaded, Some(if smoke { 8 } else { args.test_images }))?,
    };
    let mut sessions = Vec::new();
    for configuration in configuration::all(smoke) {
        if args.only.as_ref().is_some_and(|only| !configuration.name.contains(only.as_str())) {
            continue;
        }
        eprintln!("{}, {}", network.name, configuration.name);
        let model = if configuration.merging { &merged.0 } else { &written.0 };
        match room(model, configuration, args.images) {
            Ok(plan) => {
                sessions.push(session(network, model, &plan, examples.as_ref(), configuration, args)?);
            }
            Err(reason) => eprintln!("{}, {}: LEFT OUT ({reason})", network.name, configuration.name),
        }
    }
    let wanted = args.only.is_none() && he_mode::NETWORKS.contains(&network.name) && !smoke;
    let encrypted = match wanted {
        true => he_mode::measure(network, ENCRYPTED, None)?,
        false => Vec::new(),
    };
    let named = args.only.as_deref().map_or(!smoke, |only| "float".contains(only));
    let arithmetics = match named && NETWORKS.contains(&network.name) {
        true if smoke => float::measure(network, 1, 8)?,
        // Every image needs encryptions of its own, some 0.1 s of them, for each number of mask bits.
        true => float::measure(network, ARITHMETICS, args.test_images.min(ARITHMETIC_IMAGES))?,
        false => Vec::new(),
    };
    Ok(NetworkFigures {
        encrypted,
        arithmetics,
        name: network.name.to_owned(),
        origin: loaded.origin.clone(),
        written: written.1,
        merged: merged.1,
        convolutions,
        sessions,
    })
}

/// The model, and what its graph costs.
fn model(network: &Network, loaded: &Loaded, profile: Profile, merging: bool) -> Result<(Model, Cost)> {
    let mut options = network.options(profile);
    options.merging = merging;
    let (model, report) =
        build(&loaded.graph, &loaded.calibration, &options, &mut Seed::from_os()?.stream())?;
    Ok((model, report.after))
}

/// The plan, if the network is one for the configuration's construction.
fn room(model: &Model, configuration: &Configuration, images: usize) -> Result<Plan, ProtocolError> {
    let (mode, rounds) = (OutputMode::Label, RoundChoice::Three);
    Plan::with_preprocessing(&model.manifest, images, mode, rounds, configuration.preprocessing)
}

fn session(
    network: &Network,
    model: &Model,
    plan: &Plan,
    examples: Option<&Examples>,
    configuration: &'static Configuration,
    args: &Args,
) -> Result<Session> {
    let smoke = args.effort == Effort::Smoke;
    let setting = Setting {
        bundle: args.images,
        bundles: if smoke { 1 } else { args.bundles.min(configuration.most_bundles) },
        link: &args.link,
        preprocessing: configuration.preprocessing,
        rounds: configuration.rounds,
        ..Setting::DEFAULT
    };
    let measured = measure(model, setting)?;
    let trial = Trial {
        images: Some(configuration.most_images),
        bundle: Some(if smoke { 8 } else { configuration.bundle }),
        options: ClientOptions::new().preprocessing(configuration.preprocessing).rounds(configuration.rounds),
    };
    let accuracy = examples.map(|examples| attempt(network, model.clone(), examples, &trial)).transpose()?;
    let accuracy = accuracy.map(Accuracy::new);
    let operations = Operations::of_bundle(plan)?;
    Ok(Session::new(configuration, args.images, measured, operations, accuracy))
}
