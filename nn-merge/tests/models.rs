//! Whole builds: real networks through every profile, against their float results; model files and manifests.

mod common;

use common::{NETWORKS, argmax, data, distance, images, network};
use he_core::Profile;
use nn_merge::evaluate::Evaluator;
use nn_merge::fixed_point::{evaluate_exact, quantize_image};
use nn_merge::onnx::import;
use nn_merge::{BuildOptions, Manifest, Model, build};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

fn options(profile: Profile, name: &str) -> BuildOptions {
    let mut options = BuildOptions::new(profile, name);
    match name {
        "burn_cnn_bn_mnist" => (options.mean, options.std) = (vec![0.1307], vec![0.3081]),
        "digits_mlp" => options.scale = 1.0 / 16.0,
        _ => {}
    }
    options
}

/// Calibration inputs from training data, as network inputs.
fn calibration(data: &std::path::Path, set: &str, options: &BuildOptions, count: usize) -> Vec<Vec<f32>> {
    let raw = match set {
        "digits" => {
            let text = std::fs::read_to_string(data.join("digits/digits.csv")).expect("text");
            let rows = text.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_digit())).take(count);
            rows.map(|l| l.split(',').take(64).map(|v| v.parse().expect("a number")).collect()).collect()
        }
        _ => common::idx_images(&data.join(set).join("train-images-idx3-ubyte.gz"), count),
    };
    let (mean, std) = (options.mean.first().unwrap_or(&0.0), options.std.first().unwrap_or(&1.0));
    raw.iter()
        .map(|i| i.iter().map(|&p| ((f64::from(p) * options.scale - mean) / std) as f32).collect())
        .collect()
}

fn sample_model(seed: u64) -> Model {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let graph = nn_merge::zoo::minionn_mnist(&mut rng).expect("fixed shapes");
    build(&graph, &[], &BuildOptions::new(Profile::Wide, "sample"), &mut rng).expect("builds").0
}

#[test]
fn real_networks_keep_their_labels_in_every_profile() {
    let Some(data) = data() else { return };
    // (profile, images, how many of them may change their label, mean logit error relative to the largest logit)
    let limits =
        [(Profile::Wide, 200, 0, 1e-3), (Profile::Narrow, 100, 1, 2e-3), (Profile::Tiny, 100, 3, 4e-2)];
    for (set, name) in NETWORKS {
        let graph = import(&network(&data, set, name)).expect("imports");
        let float = Evaluator::<f32>::new(&graph).expect("prepares");
        for (profile, count, allowed, tolerance) in limits {
            let options = options(profile, name);
            let calibration = calibration(&data, set, &options, 200);
            let mut rng = ChaCha20Rng::seed_from_u64(1);
            let (model, report) = build(&graph, &calibration, &options, &mut rng)
                .unwrap_or_else(|e| panic!("{name} {profile}: {e}"));
            if profile == Profile::Wide {
                println!("{report}");
            }
            assert!(!report.calibration_is_synthetic);
            assert_eq!(report.same_labels, report.compared_images, "{name}");
            assert!(report.merging_error < 1e-3, "{name}: {}", report.merging_error);
            let images: Vec<Vec<f32>> = images(&data, set, name, count)
                .iter()
                .map(|image| image.iter().map(|&v| v as f32).collect())
                .collect();
            let results: Vec<(bool, f64, f64)> = images
                .par_iter()
                .map(|image| {
                    let exact = evaluate_exact(
                        &model,
                        &quantize_image(&model.manifest, image).expect("in range"),
                        None,
                    )
                    .expect("fits");
                    let expected: Vec<f64> =
                        float.run(image).expect("fits").iter().map(|&v| f64::from(v)).collect();
                    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                    let worst = if name == "burn_cnn_bn_mnist" {
                        // Its file ends in log-softmax: compare differences to the largest logit.
                        let centred = |v: &[f64]| v.iter().map(|x| x - v[argmax(v)]).collect::<Vec<_>>();
                        distance(&centred(&exact.logits), &centred(&expected))
                    } else {
                        distance(&exact.logits, &expected)
                    };
                    (exact.label == argmax(&expected), worst, largest)
                })
                .collect();
            let wrong = results.iter().filter(|r| !r.0).count();
            let scale = results.iter().map(|r| r.2).fold(0.0, f64::max);
            let mean = results.iter().map(|r| r.1).sum::<f64>() / results.len() as f64;
            let worst = results.iter().map(|r| r.1).fold(0.0, f64::max);
            println!(
                "{name} {profile}: {wrong} of {count} labels differ, logit error mean {mean:.4} worst {worst:.4}, logits up to {scale:.1}"
            );
            assert!(wrong <= allowed, "{name} {profile}: {wrong} labels differ");
            assert!(mean <= tolerance * scale, "{name} {profile}: mean error {mean} on logits up to {scale}");
        }
    }
}

#[test]
fn a_build_without_images_says_so_and_is_reproducible() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let graph = nn_merge::zoo::lenet(&mut rng).expect("fixed shapes");
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
    let mut bad = options.clone();
    bad.mean = vec![0.0, 0.0];
    assert!(
        build(&graph, &[], &bad, &mut rng).is_err_and(|e| e.to_string().contains("2 values for 1 channels"))
    );
    bad = options.clone();
    bad.ring_bits = Some(30);
    assert!(build(&graph, &[], &bad, &mut rng).is_err());
    bad = options;
    bad.margin = Some(f64::NAN);
    assert!(build(&graph, &[], &bad, &mut rng).is_err());
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
    version[8] = 2;
    assert!(Model::from_bytes(&version).expect_err("version").to_string().contains("version 2"));
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
    assert!(Model::from_bytes(&bytes).expect_err("swapped").to_string().contains("commits to"));
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
    let faults: [(&str, Fault); 19] = [
        ("no layers", |m| m.layers.clear()),
        ("a layer lost", |m| drop(m.layers.remove(1))),
        ("k too large", |m| m.layers[0].ring_bits = 25),
        ("t too small", |m| m.layers[0].reply_bits = m.layers[0].ring_bits + 5),
        ("t above q", |m| m.layers[0].reply_bits = 50),
        ("p above q", |m| m.layers[0].masked_bits = 50),
        ("p tiny", |m| m.layers[1].masked_bits = 3),
        ("h too large", |m| m.layers[0].activation.as_mut().unwrap().ignored_bits = 17),
        ("j too large", |m| m.layers[0].activation.as_mut().unwrap().shift = 29),
        ("j overflows", |m| m.layers[0].activation.as_mut().unwrap().shift = u32::MAX),
        ("activation lost", |m| m.layers[0].activation = None),
        ("pool lost", |m| m.layers[0].activation.as_mut().unwrap().pool = None),
        ("last activation", |m| {
            let activation = m.layers[0].activation.clone();
            m.layers.last_mut().unwrap().activation = activation;
        }),
        ("classes", |m| m.classes = 11),
        ("input size", |m| m.input.width = 29),
        ("input overflow", |m| m.input.width = usize::MAX),
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
            let total: usize = (0..manifest.layers.len()).map(|i| manifest.activations(i)).sum();
            assert!(total < 1 << 40);
        }
    }
}
