//! `cargo xtask accuracy`: labels under the protocol beside the labels of float arithmetic.
//!
//! Each network is built from its file with training images alone, and run on test images by a server and a client that
//! talk through memory, in bundles. What the client gets is compared with the classes that ONNX Runtime gave in
//! single precision (kept beside the networks; for networks of this repository what its own evaluation gives in f32) and with
//! what the images show.
//!
//! | network | images by default |
//! |---|---|
//! | MNIST, Fashion-MNIST | 5,000 |
//! | CIFAR-10, CIFAR-100 | 1,000 |
//! | digits | 500 |
//! | photographs (SqueezeNet) | five |
//!
//! Exit code 1 if a network agrees with float on fewer than `--least` percent of its images, or if none could be run.

mod judge;

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use comfy_table::{CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use he_core::{Profile, Seed};
use nn_merge::build;
use nn_merge::evaluate::Evaluator;
use nn_merge::fixed_point::first_largest;
use nn_merge::model::{InputSpec, Model};
use protocol::channel::{Channel, pair};
use protocol::{Client, ClientOptions, Output, Policy, Server};
use serde::Serialize;

use crate::networks::images::{self, Labelled, Set};
use crate::networks::{self, Loaded, Network};
use judge::{Verdict, judge};

/// How long a party waits for the other: bundles of large networks take their time.
const PATIENCE: Duration = Duration::from_secs(600);
/// Networks that are judged unless others are named.
const USUAL: [&str; 4] = ["mnist-8", "falcon_minionn_mnist", "resnet20_cifar10", "squeezenet1_0_imagenet"];

/// How a network is run on its test images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    /// Images; all there are if none is given.
    pub(crate) images: Option<usize>,
    /// Images per bundle; the set's own number if none is given.
    pub(crate) bundle: Option<usize>,
    /// What is asked of the server.
    pub(crate) options: ClientOptions,
}

/// Test images, and what float arithmetic says of them.
pub(crate) struct Examples {
    set: Set,
    test: Labelled,
    expected: Vec<usize>,
}

/// What to judge.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Networks of the shared data, or `all`; four of them if none is named
    names: Vec<String>,
    /// Images per network
    #[arg(long)]
    images: Option<usize>,
    /// Images per bundle (default: 32, 16 of CIFAR, one photograph)
    #[arg(long)]
    bundle: Option<usize>,
    /// Profile: tiny, narrow, wide or exact
    #[arg(long, default_value_t = Profile::Wide)]
    profile: Profile,
    /// Least agreement with float, in percent
    #[arg(long, default_value_t = 99.5)]
    least: f64,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
}

/// One network's outcome.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: &'static str,
    profile: String,
    bundle: usize,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    /// Seconds of all bundles.
    preprocessing_seconds: f64,
    online_seconds: f64,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    least_percent: f64,
    rows: Vec<Row>,
}

/// Runs and judges; true if all networks agree with float often enough.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let networks: Vec<&Network> = match args.names.as_slice() {
        [] => networks::named(&USUAL.map(str::to_owned))?,
        [all] if all == "all" => networks::ALL.iter().collect(),
        names => networks::named(names)?,
    };
    let mut rows = Vec::new();
    for network in networks {
        let loaded = network.load()?;
        let examples = loaded.as_ref().map(|loaded| Examples::load(network, loaded, args.images));
        let (Some(loaded), Some(examples)) = (loaded, examples.transpose()?.flatten()) else {
            eprintln!("{}: SKIPPED (no labelled images: are the shared data there?)", network.name);
            continue;
        };
        let options = network.options(args.profile);
        let mut rng = Seed::from_os()?.stream();
        let (model, _) = build(&loaded.graph, &loaded.calibration, &options, &mut rng)?;
        let trial = Trial { images: None, bundle: args.bundle, options: ClientOptions::new() };
        rows.push(attempt(network, model, &examples, &trial)?);
    }
    let good = rows.iter().all(|row| row.verdict.percent() >= args.least) && !rows.is_empty();
    if args.json {
        let document = Document { schema: "hushnet-accuracy/1", least_percent: args.least, rows };
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print(&rows, args.least);
    }
    Ok(good)
}

impl Examples {
    /// So many test images of a network, the set's own number if none is given; `None` where the data for it are not there.
    pub(crate) fn load(network: &Network, loaded: &Loaded, images: Option<usize>) -> Result<Option<Self>> {
        let (Some(set), Some(_)) = (network.set(), networks::shared_data()) else { return Ok(None) };
        let usual = match set {
            Set::Photographs => usize::MAX,
            Set::Cifar10 | Set::Cifar100 => 1000,
            _ => 5000,
        };
        let test = images::test(set, images.unwrap_or(usual))?;
        let expected = match network.expected_file() {
            Some(file) => {
                let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                judge::expected(&text, &test)?
            }
            None if loaded.calibration.is_empty() => return Ok(None),
            None => float_labels(network, loaded, set, &test)?,
        };
        Ok(Some(Self { set, test, expected }))
    }
}

/// Runs a network's model on test images.
pub(crate) fn attempt(network: &Network, model: Model, examples: &Examples, trial: &Trial) -> Result<Row> {
    let count = trial.images.unwrap_or(usize::MAX).min(examples.test.pixels.len());
    let (pixels, expected) = (&examples.test.pixels[..count], &examples.expected[..count]);
    let truth = &examples.test.labels[..count.min(examples.test.labels.len())];
    let usual = match examples.set {
        Set::Photographs => 1,
        Set::Cifar10 | Set::Cifar100 => 16,
        _ => 32,
    };
    let bundle = trial.bundle.unwrap_or(usual).clamp(1, count.max(1));
    let profile = model.manifest.profile.to_string();

    let mut policy = Policy::default();
    policy.offer.max_images = policy.offer.max_images.max(bundle);
    let server = Server::new(model, policy, Seed::from_os()?)?;
    let (near, far) = pair();
    let (labels, seconds) = std::thread::scope(|scope| {
        let serving = scope.spawn(|| -> Result<()> {
            server.serve(&mut Channel::new(far, PATIENCE), "here", PATIENCE, Seed::from_os()?)?;
            Ok(())
        });
        let asked = ask(Channel::new(near, PATIENCE), trial.options, network.name, pixels, expected, bundle);
        let served = serving.join().map_err(|_| anyhow!("the server's thread panicked"))?;
        // The client's error says more where both failed; a failed server takes the client with it.
        let asked = asked?;
        served.map(|()| asked)
    })?;
    Ok(Row {
        name: network.name,
        profile,
        bundle,
        verdict: judge(&labels, expected, truth),
        preprocessing_seconds: seconds[0],
        online_seconds: seconds[1],
    })
}

/// The labels that the network as imported gives in single precision.
fn float_labels(network: &Network, loaded: &Loaded, set: Set, test: &Labelled) -> Result<Vec<usize>> {
    let evaluator = Evaluator::<f32>::new(&loaded.graph)?;
    let label = |pixels: &Vec<u8>| Ok(first_largest(&evaluator.run(&network.normalised(set, pixels))?));
    test.pixels.iter().map(label).collect()
}

/// The client: labels of all images, and seconds of both stages.
fn ask(
    channel: Channel,
    options: ClientOptions,
    name: &str,
    pixels: &[Vec<u8>],
    expected: &[usize],
    bundle: usize,
) -> Result<(Vec<usize>, [f64; 2])> {
    let mut client = Client::connect(channel, Seed::from_os()?)?.agree_on(options)?;
    let input = client.manifest().input.clone();
    let (mut labels, mut seconds) = (Vec::new(), [0.0; 2]);
    for images in pixels.chunks(bundle) {
        // The last bundle is filled up with its first image: a bundle of another size is another layout.
        let filled = images.iter().chain(std::iter::repeat(&images[0])).take(bundle);
        let inputs: Vec<i64> = filled.flat_map(|pixels| quantised(&input, pixels)).collect();
        let start = std::time::Instant::now();
        let prepared = client.prepare(bundle, &mut |_, _| {})?;
        seconds[0] += start.elapsed().as_secs_f64();
        let start = std::time::Instant::now();
        let output = client.infer(prepared, &inputs, &mut |_, _| {})?;
        seconds[1] += start.elapsed().as_secs_f64();
        let Output::Labels(found) = output else { return Err(anyhow!("the server gave no labels")) };
        labels.extend(found.into_iter().take(images.len()));
        let agree = labels.iter().zip(expected).filter(|(label, expected)| label == expected).count();
        eprintln!("{name}: {agree} of {} agree ({} in all)", labels.len(), pixels.len());
    }
    client.finish()?;
    Ok((labels, seconds))
}

/// An image as the first layer's integers.
fn quantised(input: &InputSpec, pixels: &[u8]) -> Vec<i64> {
    let plane = (input.height * input.width).max(1);
    let value = |(at, &pixel): (usize, &u8)| {
        let value = input.normalize(f64::from(pixel), at / plane % input.channels.max(1));
        input.quantize(value.clamp(-input.limit, input.limit))
    };
    pixels.iter().enumerate().map(value).collect()
}

fn print(rows: &[Row], least: f64) {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header([
        "network",
        "profile",
        "images",
        "agree with float",
        "private accuracy",
        "float accuracy",
        "pre s/image",
        "online s/image",
        "",
    ]);
    for row in rows {
        let images = row.verdict.images.max(1) as f64;
        let percent =
            |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{:.2} %", 100.0 * share));
        table.add_row([
            row.name.to_owned(),
            row.profile.clone(),
            row.verdict.images.to_string(),
            format!("{:.2} % ({})", row.verdict.percent(), row.verdict.agree),
            percent(row.verdict.accuracy),
            percent(row.verdict.float_accuracy),
            format!("{:.4}", row.preprocessing_seconds / images),
            format!("{:.4}", row.online_seconds / images),
            if row.verdict.percent() >= least { "good" } else { "BELOW" }.to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    for row in rows.iter().filter(|row| !row.verdict.others.is_empty()) {
        let others: Vec<String> = row
            .verdict
            .others
            .iter()
            .take(20)
            .map(|other| format!("{}: {} for {}", other.image, other.got, other.expected))
            .collect();
        println!("{}, labels that differ (image: private for float): {}", row.name, others.join(", "));
    }
}
