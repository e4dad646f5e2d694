//! Real digits under the protocol: the first thousand MNIST test images through whole networks.
//!
//! Per network, in bundles, with recorded seeds:
//!
//! - the logits of the two parties equal, bit for bit, the oracle's that is given the run's noise;
//! - they lie within the stated bound of the noise-free oracle;
//! - the labels (label mode) equal the oracle's, and those of the float network on all but a thousandth.
//!
//! Reads `HUSHNET_DATA`, else `../shared/data` beside the workspace; without it the tests say that they checked nothing.
//! `HUSHNET_IMAGES` changes the number of images.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::fresh_seed;
use he_core::{Profile, Seed};
use nn_merge::evaluate::Evaluator;
use nn_merge::fixed_point::{evaluate_exact, evaluate_with, quantize_image};
use nn_merge::{BuildOptions, Model, build, onnx};
use protocol::testing::{in_process, replay};
use protocol::{Output, OutputMode, Plan, Policy, Server};

const BUNDLE: usize = 25;
const LOGIT_BITS: u32 = 12;

fn data() -> Option<PathBuf> {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("HUSHNET_DATA").map_or_else(own, PathBuf::from);
    if path.join("mnist").is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no shared data at {} (set HUSHNET_DATA); this test checked NOTHING", path.display());
    None
}

/// The first `count` images of a gzipped idx file, as network inputs x / 255.
fn images(path: &Path, count: usize) -> Vec<Vec<f32>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).take(16 + 784 * count as u64).read_to_end(&mut bytes).unwrap();
    let images: Vec<Vec<f32>> = bytes[16..]
        .chunks_exact(784)
        .map(|image| image.iter().map(|&p| f32::from(p) / 255.0).collect())
        .collect();
    assert_eq!(images.len(), count, "{}", path.display());
    images
}

fn count() -> usize {
    std::env::var("HUSHNET_IMAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(1000)
}

struct Case {
    model: Model,
    /// Float labels of the network as imported.
    float: Vec<usize>,
    /// Quantised inputs, image after image.
    inputs: Vec<Vec<i64>>,
}

fn case(data: &Path, file: &Path) -> Case {
    let graph = onnx::import(&std::fs::read(file).unwrap()).unwrap();
    // Calibrated on training images, never on those that are tested.
    let calibration = images(&data.join("mnist/train-images-idx3-ubyte.gz"), 256);
    let test = images(&data.join("mnist/t10k-first5000-images-idx3-ubyte.gz"), count());
    let options = BuildOptions::new(Profile::Wide, "test");
    let (model, _) = build(&graph, &calibration, &options, &mut Seed::from_os().unwrap().stream()).unwrap();
    let logits = Evaluator::<f32>::new(&graph).unwrap().run_all(&test).unwrap();
    let largest = |v: &Vec<f32>| (0..v.len()).fold(0, |best, i| if v[i] > v[best] { i } else { best });
    let inputs = test.iter().map(|image| quantize_image(&model.manifest, image).unwrap()).collect();
    Case { float: logits.iter().map(largest).collect(), model, inputs }
}

/// Runs all images in one session; gives the outputs bundle by bundle.
fn run(server: &Server, bytes: [u8; 32], logits: bool, bundles: &[Vec<i64>], length: usize) -> Vec<Output> {
    let (client, serving) = (Seed::from_bytes(bytes), Seed::from_bytes(bytes).fork("serving", &[]));
    let (outputs, served) = in_process(server, serving, client, |client| {
        let mut client = client.agree(logits)?;
        let mut outputs = Vec::new();
        for inputs in bundles {
            let bundle = client.prepare(inputs.len() / length, &mut |_, _| {})?;
            outputs.push(client.infer(bundle, inputs, &mut |_, _| {})?);
        }
        client.finish()?;
        Ok(outputs)
    });
    served.unwrap();
    outputs.unwrap()
}

fn check(name: &str, file: &Path, data: &Path) {
    let Case { model, float, inputs } = case(data, file);
    let length = model.manifest.input_len();
    let bundles: Vec<Vec<i64>> = inputs.chunks(BUNDLE).map(<[_]>::concat).collect();
    let bytes = fresh_seed(name);
    let (client, serving) = (Seed::from_bytes(bytes), Seed::from_bytes(bytes).fork("serving", &[]));
    let mut policy = Policy::default();
    policy.offer.logit_bits = Some(LOGIT_BITS);
    let server = Server::new(model.clone(), policy, client.fork("server", &[])).unwrap();
    let unit = model.manifest.output.scale / f64::from(LOGIT_BITS).exp2();

    let (mut worst, mut widest, mut agree, mut logits_agree) = (0f64, 0f64, 0, 0);
    for logits in [true, false] {
        let mode = if logits { OutputMode::Logits { bits: LOGIT_BITS } } else { OutputMode::Label };
        let outputs = run(&server, bytes, logits, &bundles, length);
        for (number, (output, inputs)) in outputs.iter().zip(&bundles).enumerate() {
            let images = inputs.len() / length;
            let plan = Arc::new(Plan::new(&model.manifest, images, mode).unwrap());
            let tape = replay(&server, &plan, &client, &serving, number as u64).unwrap();
            let bits = logits.then_some(LOGIT_BITS);
            let (expected, labels) = evaluate_with(&model, images, inputs, &tape, bits).unwrap();
            let float = &float[number * BUNDLE..];
            match output {
                Output::Logits(values) => {
                    assert_eq!(values, &expected, "{name}, bundle {number}: not bit for bit");
                    for ((values, image), float) in values.iter().zip(inputs.chunks(length)).zip(float) {
                        let exact = evaluate_exact(&model, image, Some(LOGIT_BITS)).unwrap();
                        for ((&value, exact), &bound) in values.iter().zip(&exact.logits).zip(&exact.bounds) {
                            let distance = (value as f64 * unit - exact).abs();
                            assert!(distance <= bound, "{name}: {distance} beyond the stated bound {bound}");
                            (worst, widest) = (worst.max(distance), widest.max(bound));
                        }
                        let label = (0..values.len())
                            .fold(0, |best, i| if values[i] > values[best] { i } else { best });
                        logits_agree += usize::from(label == *float);
                    }
                }
                Output::Top(_) => panic!("one label per image was asked for"),
                Output::Labels(values) => {
                    assert_eq!(values, &labels, "{name}, bundle {number}: labels differ from the oracle's");
                    agree += values.iter().zip(float).filter(|(label, float)| label == float).count();
                }
            }
        }
    }
    println!(
        "{name}: {} images bit for bit; labels equal the float network's on {agree} (from logits on {logits_agree}); \
         largest distance to the noise-free oracle {worst:.4}, largest stated bound {widest:.4}",
        inputs.len()
    );
    assert!(agree * 1000 >= inputs.len() * 999, "{name}: only {agree} labels of {} agree", inputs.len());
}

#[test]
fn our_own_network() {
    if let Some(data) = data() {
        check(
            "mnist_cnn",
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/assets/mnist_cnn.onnx"),
            &data,
        );
    }
}

#[test]
fn networks_of_others() {
    if let Some(data) = data() {
        for name in ["mnist-8", "falcon_minionn_mnist"] {
            check(name, &data.join(format!("mnist/models/{name}.onnx")), &data);
        }
    }
}
