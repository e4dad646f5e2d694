//! Whole builds: real networks against their float results in every profile; model files and manifests.

mod common;

use common::{NETWORKS, SQUEEZENET, argmax, colour_images, data, distance, golden, images, network};
use he_core::Profile;
use nn_merge::evaluate::Evaluator;
use nn_merge::fixed_point::{evaluate_exact, evaluate_integers, quantize_image};
use nn_merge::model::OpSpec;
use nn_merge::onnx::import;
use nn_merge::{
    BuildOptions, Graph, LayerOptions, Manifest, Model, Replacement, ReplacementFunction, build, zoo,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

/// Calibration inputs from training data, as network inputs.
fn calibration(data: &std::path::Path, set: &str, name: &str, count: usize) -> Vec<Vec<f32>> {
    let scaled: Vec<Vec<f64>> = match set {
        "digits" => {
            let text = String::from_utf8(common::read(data.join("digits/digits.csv"))).expect("text");
            let rows = text.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_digit())).take(count);
            rows.map(|l| l.split(',').take(64).map(|v| v.parse::<f64>().expect("a number") / 16.0).collect())
                .collect()
        }
        // CIFAR-100 has no training images here; those of CIFAR-10 are of the same kind.
        "cifar10" | "cifar100" => {
            colour_images(&common::read(data.join("cifar10/train-1000.bin")), name, count)
        }
        _ => {
            let (mean, std) = if name == "burn_cnn_bn_mnist" { (0.1307, 0.3081) } else { (0.0, 1.0) };
            common::idx_images(&data.join(set).join("train-images-idx3-ubyte.gz"), count)
                .iter()
                .map(|image| image.iter().map(|&p| (f64::from(p) / 255.0 - mean) / std).collect())
                .collect()
        }
    };
    single(&scaled)
}

fn single(images: &[Vec<f64>]) -> Vec<Vec<f32>> {
    images.iter().map(|image| image.iter().map(|&v| v as f32).collect()).collect()
}

/// Labels that differ, mean and largest logit error, and the largest logit.
struct Agreement {
    wrong: usize,
    mean: f64,
    worst: f64,
    largest: f64,
}

fn agreement(graph: &Graph, model: &Model, images: &[Vec<f32>]) -> Agreement {
    let float = Evaluator::<f32>::new(graph).expect("prepares");
    let results: Vec<(bool, f64, f64)> = images
        .par_iter()
        .map(|image| {
            let integers = quantize_image(&model.manifest, image).expect("in range");
            let fixed = evaluate_integers(model, 1, &integers).expect("fits").concat();
            let expected: Vec<f64> = float.run(image).expect("fits").iter().map(|&v| f64::from(v)).collect();
            // A network that ends in (log-)softmax gives its logits but for a constant: compare what is left of them.
            let centred = |v: &[f64]| v.iter().map(|x| x - v[argmax(v)]).collect::<Vec<_>>();
            let same = centred(&fixed);
            let error = match expected.iter().all(|&v| v <= 0.0) {
                true => distance(&same, &centred(&expected)),
                false => distance(&fixed, &expected),
            };
            (argmax(&fixed) == argmax(&expected), error, expected.iter().fold(0.0f64, |m, v| m.max(v.abs())))
        })
        .collect();
    Agreement {
        wrong: results.iter().filter(|r| !r.0).count(),
        mean: results.iter().map(|r| r.1).sum::<f64>() / results.len() as f64,
        worst: results.iter().map(|r| r.1).fold(0.0, f64::max),
        largest: results.iter().map(|r| r.2).fold(0.0, f64::max),
    }
}

/// A network that explodes on some images.
const POLYNOMIAL: (&str, &str) = ("cifar10", "delphi_minionn_cifar10_poly");

/// Every shared network but one in one profile, on `count` images each: how many labels of each may differ, and the mean error
/// relative to the largest logit.
///
/// What an error comes from: rounded weights, 12 bits for the largest of a layer (8 in tiny), a value's 2^(k−2) steps up to
/// its bound, and the sign tests' 2^h of them, k − h = 12 (11 in tiny). So each layer is right to some 11 bits (7 in tiny), of
/// what is largest in it; tens of layers, whose errors are independent, leave 10 (6). The limits are about twice that.
fn check(profile: Profile, count: usize, allowed: usize, tolerance: f64) {
    let Some(data) = data() else { return };
    for (set, name) in NETWORKS.into_iter().filter(|network| *network != POLYNOMIAL) {
        let graph = import(&network(&data, set, name)).expect("imports");
        let options = BuildOptions::new(profile, name);
        let calibration = calibration(&data, set, name, 32);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (model, report) = build(&graph, &calibration, &options, &mut rng)
            .unwrap_or_else(|e| panic!("{name} {profile}: {e}"));
        if std::env::var_os("HUSHNET_REPORTS").is_some() {
            println!("{report}");
        }
        assert!(!report.calibration_is_synthetic);
        let size = report.largest_logit.max(1.0);
        assert!(
            report.merging_error < 1e-4 * size,
            "{name}: merging moved logits by {}",
            report.merging_error
        );
        let got = agreement(&graph, &model, &single(&images(&data, set, name, count)));
        println!(
            "{name} {profile}: {} of {count} labels differ, logit error mean {:.4} worst {:.4}, logits up to {:.1}",
            got.wrong, got.mean, got.worst, got.largest
        );
        assert!(got.wrong <= allowed, "{name} {profile}: {} labels differ", got.wrong);
        assert!(got.mean <= tolerance * got.largest, "{name} {profile}: mean error {}", got.mean);
    }
}

#[test]
fn real_networks_keep_their_labels_in_wide() {
    check(Profile::Wide, 12, 0, 2e-3);
}

#[test]
fn real_networks_keep_their_labels_in_exact() {
    check(Profile::Exact, 8, 0, 2e-3);
}

#[test]
fn real_networks_keep_their_labels_in_narrow() {
    check(Profile::Narrow, 8, 0, 2.5e-3);
}

#[test]
fn real_networks_keep_most_labels_in_tiny() {
    check(Profile::Tiny, 12, 2, 4e-2);
}

#[test]
fn a_network_of_squares_keeps_its_labels_where_it_does_not_explode() {
    let Some(data) = data() else { return };
    let (set, name) = POLYNOMIAL;
    let graph = import(&network(&data, set, name)).expect("imports");
    let float = Evaluator::<f32>::new(&graph).expect("prepares");
    let images: Vec<Vec<f32>> = single(&images(&data, set, name, 40));
    let tame: Vec<Vec<f32>> = images
        .into_iter()
        .filter(|image| float.run(image).expect("fits").iter().all(|v| v.abs() < 60.0))
        .collect();
    assert!(tame.len() > 20, "{} images", tame.len());
    let calibration = calibration(&data, set, name, 100);
    for profile in Profile::ALL {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let options = BuildOptions::new(profile, name);
        let (model, report) = build(&graph, &calibration, &options, &mut rng)
            .unwrap_or_else(|e| panic!("{name} {profile}: {e}"));
        if profile == Profile::Wide {
            println!("{report}");
        }
        let got = agreement(&graph, &model, &tame);
        println!(
            "{profile}: {} of {} labels differ, error mean {:.3} worst {:.3}, logits up to {:.1}",
            got.wrong,
            tame.len(),
            got.mean,
            got.worst,
            got.largest
        );
        // A square's result has 2k bits: where w has no room for them and the weights, k is lowered, in all but wide; and
        // every square doubles the relative error of what it gets.
        let (allowed, tolerance) = match profile {
            Profile::Tiny => (3, 5e-2),
            Profile::Wide => (0, 1e-3),
            _ => (1, 1e-2),
        };
        assert!(got.wrong <= allowed, "{profile}: {} labels differ", got.wrong);
        assert!(got.mean <= tolerance * got.largest, "{profile}: mean error {}", got.mean);
    }
}

#[test]
fn squeezenet_meets_its_golden_outputs() {
    let Some(data) = data() else { return };
    let (set, name) = SQUEEZENET;
    let graph = import(&network(&data, set, name)).expect("imports");
    let inputs = [0, 1].map(|k| golden(&data, set, name, k).0);
    let calibration = single(&inputs);
    for profile in Profile::ALL {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (_, report) =
            build(&graph, &calibration, &BuildOptions::new(profile, name), &mut rng).expect("builds");
        if profile == Profile::Wide {
            println!("{report}");
        }
        println!("{profile}: error {:.4} of {:.2}", report.fixed_point_error, report.largest_logit);
        assert_eq!(report.fixed_point_labels, 2, "{profile}");
    }
}

fn sample_model(seed: u64) -> Model {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let graph = zoo::minionn_mnist(&mut rng).expect("fixed shapes");
    build(&graph, &[], &BuildOptions::new(Profile::Wide, "sample"), &mut rng).expect("builds").0
}

#[test]
fn the_zoo_builds_in_every_profile() {
    for name in zoo::NAMES {
        // Small planes keep the test short; the shapes of the layers are the same.
        let side = if name.starts_with("squeezenet") { 64 } else { 48 };
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let graph = zoo::by_name(name, Some(side), &mut rng).expect("large enough");
        let mut pixel = || (rng.next_u32() >> 8) as f32 / (1 << 24) as f32;
        let images: Vec<Vec<f32>> =
            (0..3).map(|_| (0..graph.input_len()).map(|_| pixel()).collect()).collect();
        for profile in Profile::ALL {
            let options = BuildOptions::new(profile, name);
            let (model, report) = build(&graph, &images, &options, &mut rng)
                .unwrap_or_else(|e| panic!("{name} {profile}: {e}"));
            println!(
                "{name} {profile}: {} nodes, error {:.4} of {:.2}, {} of {} labels",
                model.manifest.nodes.len(),
                report.fixed_point_error,
                report.largest_logit,
                report.fixed_point_labels,
                report.compared_images
            );
            // Random weights: nothing holds what a rounding moves, and errors grow with the depth.
            let tolerance = if profile == Profile::Tiny { 0.1 } else { 0.01 };
            assert_eq!(report.compared_images, images.len(), "{name} {profile}");
            assert!(
                report.fixed_point_error <= tolerance * report.largest_logit,
                "{name} {profile}\n{report}"
            );
        }
    }
}

#[test]
fn a_build_without_images_says_so_and_is_reproducible() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let graph = zoo::lenet(&mut rng).expect("fixed shapes");
    let options = BuildOptions::new(Profile::Narrow, "lenet");
    let twice: Vec<_> = (0..2)
        .map(|_| build(&graph, &[], &options, &mut ChaCha20Rng::seed_from_u64(4)).expect("builds"))
        .collect();
    assert!(twice[0].1.calibration_is_synthetic && twice[0].1.to_string().contains("no calibration images"));
    assert_eq!(twice[0].0, twice[1].0);
    let other = build(&graph, &[], &options, &mut ChaCha20Rng::seed_from_u64(5)).expect("builds").0;
    assert_ne!(other.manifest.weights_commitment, twice[0].0.manifest.weights_commitment, "the salt differs");
    assert!(!format!("{:?}", twice[0].0).contains("weights: ["), "debug output is redacted");
    assert!(build(&graph, &[vec![0.0; 5]], &options, &mut rng).is_err(), "images of the wrong size");
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    type Fault = fn(&mut BuildOptions);
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let graph = zoo::lenet(&mut rng).expect("fixed shapes");
    let faults: [(&str, Fault); 9] = [
        ("2 values for 1 channels", |o| o.mean = vec![0.0, 0.0]),
        ("ring width k", |o| o.ring_bits = Some(30)),
        ("greatest masked width", |o| o.max_width = Some(31)),
        ("ignored bits", |o| o.ignored_bits = Some(16)),
        ("weight bits", |o| o.weight_bits = Some(20)),
        ("margin", |o| o.margin = Some(f64::NAN)),
        ("no node has that name", |o| {
            o.layers.insert("nowhere".into(), LayerOptions::default());
        }),
        ("weight bits of nowhere", |o| {
            o.layers
                .insert("nowhere".into(), LayerOptions { weight_bits: Some(40), ..LayerOptions::default() });
        }),
        ("no activation has that name", |o| {
            let function = ReplacementFunction::Square;
            o.replace.push(Replacement { layer: "nowhere".into(), channels: None, function });
        }),
    ];
    for (wanted, fault) in faults {
        let mut options = BuildOptions::new(Profile::Narrow, "lenet");
        fault(&mut options);
        let error = build(&graph, &[], &options, &mut rng).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

#[test]
fn strict_builds_cannot_overflow_and_say_what_could() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let graph = zoo::minionn_mnist(&mut rng).expect("fixed shapes");
    let mut options = BuildOptions::new(Profile::Wide, "strict");
    options.strict = true;
    options.margin = Some(1.0);
    let error = build(&graph, &[], &options, &mut rng).expect_err("a deep network").to_string();
    assert!(error.contains("overflow is not impossible"), "{error}");
    options.margin = Some(1e6);
    let (_, report) = build(&graph, &[], &options, &mut rng).expect("room enough");
    assert!(report.nodes.iter().all(|node| node.overflow_impossible != Some(false)), "{report}");
}

#[test]
fn activations_are_replaced_before_merging() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let graph = zoo::minionn_mnist(&mut rng).expect("fixed shapes");
    let names: Vec<String> =
        graph.nodes().iter().filter(|n| n.op.kind() == "ReLU").map(|n| n.name.clone()).collect();
    let mut options = BuildOptions::new(Profile::Wide, "replaced");
    let line = |layer: &String, function| Replacement { layer: layer.clone(), channels: None, function };
    options.replace =
        vec![line(&names[0], ReplacementFunction::Square), line(&names[1], ReplacementFunction::Identity)];
    let (model, report) = build(&graph, &[], &options, &mut rng).expect("builds");
    assert!(report.replaced > 0 && report.fixed_point_error < 0.01 * report.largest_logit, "{report}");
    let text = format!("{:?}", model.manifest.nodes);
    assert!(text.contains("Polynomial"), "{text}");
    assert!(report.nodes.iter().all(|node| !node.kind.contains("ReLU") || node.name != names[1]));
}

#[test]
fn overrides_reach_their_layers() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let graph = zoo::minionn_mnist(&mut rng).expect("fixed shapes");
    let plain = build(&graph, &[], &BuildOptions::new(Profile::Wide, "plain"), &mut rng).expect("builds").1;
    // The last one: its static bound is far off and leaves the margin in force.
    let activation = plain.nodes.iter().rfind(|n| n.ring_bits.is_some()).expect("an activation");
    let linear = plain.nodes.iter().filter(|n| n.weight_bits.is_some()).nth(1).expect("two linear maps");
    let mut options = BuildOptions::new(Profile::Wide, "own");
    options.layers.insert(
        activation.name.clone(),
        LayerOptions { ring_bits: Some(14), ignored_bits: Some(3), margin: Some(9.0), weight_bits: None },
    );
    options
        .layers
        .insert(linear.name.clone(), LayerOptions { weight_bits: Some(9), ..LayerOptions::default() });
    let own = build(&graph, &[], &options, &mut rng).expect("builds").1;
    let find = |name: &str| own.nodes.iter().find(|n| n.name == name).expect("the same names");
    let changed = find(&activation.name);
    assert_eq!((changed.ring_bits, changed.ignored_bits), (Some(14), Some(3)));
    assert!(changed.sized_for > activation.sized_for);
    assert_eq!(find(&linear.name).weight_bits, Some(9));
}

#[test]
fn files_round_trip_and_every_damage_is_found() {
    let model = sample_model(1);
    let bytes = model.to_bytes().expect("valid");
    assert_eq!(Model::from_bytes(&bytes).expect("round trip"), model);
    for length in [0, 4, 8, 11, 20, 23, 40, bytes.len() / 2, bytes.len() - 1] {
        let error = Model::from_bytes(&bytes[..length]).expect_err("truncated").to_string();
        assert!(error.contains("truncated"), "{length}: {error}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Model::from_bytes(&longer).expect_err("longer").to_string().contains("longer than it says"));
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        let place = rng.next_u64() as usize % bytes.len();
        damaged[place] ^= 1 << (rng.next_u32() % 8);
        assert!(Model::from_bytes(&damaged).is_err(), "bit flip at {place}");
    }
    let mut version = bytes.clone();
    version[8] = 1;
    assert!(Model::from_bytes(&version).expect_err("version").to_string().contains("version 1"));
    assert!(
        Model::from_bytes(b"\x08\x07\x12\x07pytorch").expect_err("onnx").to_string().contains("HUSHNET1")
    );
}

#[test]
fn a_forged_trailer_does_not_help_swapped_weights() {
    use sha3::{Digest, Sha3_256};
    let model = sample_model(1);
    let mut bytes = model.to_bytes().expect("valid");
    let end = bytes.len() - 32;
    bytes[end - 8] ^= 1;
    let trailer: [u8; 32] = Sha3_256::digest(&bytes[..end]).into();
    bytes[end..].copy_from_slice(&trailer);
    let error = Model::from_bytes(&bytes).expect_err("swapped").to_string();
    assert!(error.contains("commits to"), "{error}");
}

/// The first activation of a manifest.
fn activation(manifest: &mut Manifest) -> &mut nn_merge::ActivationSpec {
    let found = manifest.nodes.iter_mut().find_map(|node| match &mut node.op {
        OpSpec::Activation(spec) => Some(spec),
        _ => None,
    });
    found.expect("the sample has activations")
}

fn reply_bits(manifest: &mut Manifest) -> &mut u32 {
    let found = manifest.nodes.iter_mut().find_map(|node| match &mut node.op {
        OpSpec::Linear { reply_bits, .. } => Some(reply_bits),
        _ => None,
    });
    found.expect("the sample has linear maps")
}

#[test]
fn manifests_are_checked_on_receipt() {
    let manifest = sample_model(1).manifest;
    let bytes = manifest.encode().expect("small");
    assert_eq!(Manifest::decode(&bytes).expect("round trip"), manifest);
    assert_eq!(manifest.digest(), Manifest::decode(&bytes).expect("round trip").digest());
    assert!(Manifest::decode(&bytes[..bytes.len() - 1]).is_err());
    assert!(Manifest::decode(&[bytes.clone(), vec![0]].concat()).is_err());
    assert!(Manifest::decode(&vec![0; nn_merge::model::MAX_MANIFEST_BYTES + 1]).is_err());
    type Fault = fn(&mut Manifest);
    let faults: [(&str, Fault); 21] = [
        ("no nodes", |m| m.nodes.clear()),
        ("a node lost", |m| drop(m.nodes.remove(1))),
        ("the input lost", |m| drop(m.nodes.remove(0))),
        ("a cycle", |m| m.nodes[1].inputs[0] = 2),
        ("a self", |m| m.nodes[1].inputs[0] = 1),
        ("no such node", |m| m.nodes[1].inputs[0] = u32::MAX),
        ("k too large", |m| activation(m).ring_bits = 25),
        ("k too small", |m| activation(m).ring_bits = 5),
        ("h too large", |m| activation(m).ignored_bits = 17),
        ("w too large", |m| activation(m).width = 47),
        ("w below k", |m| activation(m).width = 12),
        ("t too small", |m| *reply_bits(m) = 11),
        ("t above q", |m| *reply_bits(m) = 50),
        ("pool lost", |m| activation(m).pool = None),
        ("no parts", |m| activation(m).parts.clear()),
        ("the output is masked", |m| m.output.node = 0),
        ("the output's ring", |m| m.output.ring_bits = 30),
        ("input size", |m| m.input.width = 29),
        ("units", |m| m.input.units = f64::NAN),
        ("limit", |m| m.input.limit *= 1e12),
        ("std", |m| m.input.std[0] = 0.0),
    ];
    for (what, fault) in faults {
        let mut wrong = manifest.clone();
        fault(&mut wrong);
        assert!(wrong.validate().is_err(), "{what}");
        let bytes = wrong.encode().expect("small");
        assert!(Manifest::decode(&bytes).is_err(), "{what}");
    }
}

#[test]
fn random_and_mutated_manifest_bytes_never_panic() {
    let bytes = sample_model(1).manifest.encode().expect("small");
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    for _ in 0..20_000 {
        let mut mutated = bytes.clone();
        for _ in 0..1 + rng.next_u32() % 4 {
            let place = rng.next_u64() as usize % mutated.len();
            mutated[place] = rng.next_u32() as u8;
        }
        if let Ok(manifest) = Manifest::decode(&mutated) {
            // What passes can be used: none of this may panic either.
            let _ = manifest.digest();
            let tensors = manifest.tensors().expect("it was checked");
            assert_eq!(tensors.len(), manifest.nodes.len());
        }
    }
}

#[test]
fn the_oracle_bounds_hold_what_they_say_on_a_sample() {
    let model = sample_model(1);
    let image = vec![0.5f32; model.manifest.input_len()];
    let integers = quantize_image(&model.manifest, &image).expect("in range");
    let exact = evaluate_exact(&model, &integers, None).expect("fits");
    let plain = evaluate_integers(&model, 1, &integers).expect("fits").concat();
    // The worst noise, counted value by value, may leave a range that no real run leaves; then a node is named.
    assert_eq!(exact.in_range, exact.overflow.is_none());
    assert!(exact.logits.iter().zip(&plain).zip(&exact.bounds).all(|((a, b), e)| (a - b).abs() <= *e));
}
