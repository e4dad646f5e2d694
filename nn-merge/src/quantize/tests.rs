//! Tests of quantisation: whole builds of small networks against their float results.

use he_core::Profile;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::evaluate::Evaluator;
use crate::fixed_point::{evaluate_exact, quantize_image};
use crate::graph::{Diagonal, Function, Graph, Op, Part};
use crate::model::SmoothName;
use crate::zoo;
use crate::{BuildOptions, Model, NnError, build};

/// A seed from the clock, or that of `HUSHNET_SEED`.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("HUSHNET_SEED").ok().and_then(|text| text.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    given.unwrap_or_else(|| now.map_or(0, |d| d.as_nanos() as u64))
}

/// Inputs in [-1, 1).
fn images(graph: &Graph, count: usize, rng: &mut impl Rng) -> Vec<Vec<f32>> {
    let value = |rng: &mut dyn FnMut() -> u32| (f64::from(rng()) / 2f64.powi(31) - 1.0) as f32;
    (0..count).map(|_| (0..graph.input_len()).map(|_| value(&mut || rng.next_u32())).collect()).collect()
}

/// Largest distance of the model's logits from the graph's, and the largest logit.
fn distance(graph: &Graph, model: &Model, images: &[Vec<f32>]) -> Result<(f64, f64), NnError> {
    let logits = crate::pass::without_softmax(graph)?;
    let float = Evaluator::<f32>::new(&logits)?;
    let (mut worst, mut largest) = (0f64, 0f64);
    for image in images {
        let wanted = float.run(image)?;
        let got = evaluate_exact(model, &quantize_image(&model.manifest, image)?, None)?;
        // The bounds of the narrow profiles are those of the worst noise.
        if !got.in_range && matches!(model.manifest.profile, Profile::Wide | Profile::Exact) {
            return Err(NnError::private(&got.overflow.unwrap_or_default(), "its values leave their range"));
        }
        for (a, b) in wanted.iter().zip(&got.logits) {
            worst = worst.max((f64::from(*a) - b).abs());
            largest = largest.max(f64::from(a.abs()));
        }
    }
    Ok((worst, largest))
}

#[test]
fn random_graphs_are_close_to_float_in_every_profile() {
    let seed = seed();
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut refused = 0;
    let mut errors: Vec<Vec<f64>> = vec![Vec::new(); Profile::ALL.len()];
    for trial in 0..60 {
        let graph = zoo::random(&mut rng).expect("made to fit");
        let images = images(&graph, 6, &mut rng);
        for (slot, profile) in Profile::ALL.into_iter().enumerate() {
            let mut options = BuildOptions::new(profile, "random");
            options.margin = Some(1.25);
            let (model, report) = match build(&graph, &images, &options, &mut rng) {
                Ok(built) => built,
                Err(error) => {
                    println!("trial {trial} {profile}: {error}");
                    refused += 1;
                    continue;
                }
            };
            let (worst, largest) = match distance(&graph, &model, &images) {
                Ok(pair) => pair,
                Err(error) => {
                    println!("trial {trial} {profile}: {error}\n{report}");
                    continue;
                }
            };
            let relative = worst / largest.max(1e-9);
            if relative > 0.05 && slot >= 2 {
                println!("trial {trial} {profile}: {relative}\n{graph:?}\n{report}");
            }
            errors[slot].push(relative);
        }
    }
    assert!(refused < 24, "{refused} of 240 builds were refused");
    for (profile, errors) in Profile::ALL.iter().zip(&mut errors) {
        errors.sort_by(f64::total_cmp);
        let at = |part: usize| errors[(errors.len() * part / 100).min(errors.len() - 1)];
        println!("{profile}: median {:.5}, 90 % {:.5}, worst {:.5}", at(50), at(90), at(100));
        let (median, most) = if *profile == Profile::Tiny { (0.03, 0.2) } else { (0.003, 0.03) };
        assert!(at(50) < median && at(90) < most, "{profile}");
    }
}

/// Squares are in units a ring's size finer than ReLUs, and meet them in the weights of one layer.
#[test]
fn channels_of_different_functions_keep_their_bits() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut b = zoo::Builder::new(&[1, 3, 8, 8], &mut rng).expect("small");
    let square = Function::Polynomial { coefficients: vec![vec![0.0, 0.5, 0.25]] };
    let parts = vec![
        Part { channels: vec![0, 2, 5], function: Function::Relu },
        Part { channels: vec![1, 3, 4], function: square },
    ];
    let made = b.conv(6, 3, 1, 1, 1).and_then(|b| b.op(Op::Mixed(parts))).and_then(|b| b.dense(8));
    made.expect("fits");
    let graph = b.finish();
    let images = images(&graph, 8, &mut rng);
    for (profile, most) in Profile::ALL.into_iter().zip([0.05, 0.01, 0.002, 0.01]) {
        let options = BuildOptions::new(profile, "mixed");
        let (model, _) = build(&graph, &images, &options, &mut rng).expect("builds");
        let (worst, largest) = distance(&graph, &model, &images).expect("in range");
        println!("{profile}: {worst:.5} of {largest:.3}");
        assert!(worst < most * largest, "{profile}: {worst} of {largest}");
    }
}

#[test]
fn a_global_average_beside_a_table_builds_in_every_profile() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut b = zoo::Builder::new(&[1, 3, 16, 16], &mut rng).expect("small");
    b.conv(4, 3, 1, 1, 1).expect("fits");
    let raw = b.last();
    let made = b
        .activation(Function::Smooth(SmoothName::Tanh))
        .and_then(|b| b.add(raw))
        .and_then(|b| b.global_average())
        .and_then(|b| b.dense(5));
    made.expect("fits");
    let graph = b.finish();
    let images = images(&graph, 8, &mut rng);
    for (profile, most) in Profile::ALL.into_iter().zip([0.1, 0.02, 0.01, 0.01]) {
        let options = BuildOptions::new(profile, "averaged");
        let (model, _) = build(&graph, &images, &options, &mut rng).expect("builds");
        let (worst, largest) = distance(&graph, &model, &images).expect("in range");
        println!("{profile}: {worst:.5} of {largest:.3}");
        assert!(worst < most * largest, "{profile}: {worst} of {largest}");
    }
}

/// Errors of a network in all profiles, relative to its largest logit.
fn errors(graph: &Graph, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let images = images(graph, 8, rng);
    let mut error = |profile| {
        let (model, report) = build(graph, &images, &BuildOptions::new(profile, "net"), rng).expect("builds");
        let (worst, largest) = distance(graph, &model, &images).expect("in range");
        println!("{profile}: {worst:.5} of {largest:.3}\n{report}");
        worst / largest
    };
    Profile::ALL.map(&mut error).to_vec()
}

/// One width for both would leave the square's weights two or three bits beside the clip's twenty, in wide.
#[test]
fn a_join_of_a_clip_and_a_square_keeps_the_bits_of_both() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut b = zoo::Builder::new(&[1, 3, 8, 8], &mut rng).expect("small");
    b.conv(4, 3, 1, 1, 1).expect("fits");
    let raw = b.last();
    let clip = b.activation(Function::Clip { low: -0.25, high: 0.5 }).expect("fits").last();
    let square = Function::Polynomial { coefficients: vec![vec![0.0, 0.0, 1.0]] };
    let square = b.at(raw).and_then(|b| b.activation(square)).expect("fits").last();
    let made = b.push(Op::Concat { axis: 1 }, &[clip, square]).and_then(|b| b.conv(4, 3, 1, 1, 1));
    made.and_then(|b| b.relu()).and_then(|b| b.dense(5)).expect("fits");
    let graph = b.finish();
    for (error, most) in errors(&graph, &mut rng).into_iter().zip([0.1, 0.015, 0.003, 0.01]) {
        assert!(error < most, "{error}");
    }
}

#[test]
fn constant_channels_and_shifts_of_raw_tensors_keep_their_values() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut b = zoo::Builder::new(&[1, 3, 8, 8], &mut rng).expect("small");
    // Of four channels one is constant and one zero; they are read behind padding, and added.
    let rows = vec![vec![0.5], vec![0.0, 1.0, 0.5], vec![0.0], vec![-0.25, 0.5]];
    b.conv(4, 3, 1, 1, 1)
        .and_then(|b| b.activation(Function::Polynomial { coefficients: rows }))
        .expect("fits");
    let mixed = b.last();
    b.conv(4, 3, 1, 1, 1).and_then(|b| b.add(mixed)).expect("fits");
    // Two readers of the sum, so that its shift has nowhere to go.
    let sum = b.last();
    let shift = Diagonal { scale: vec![1.0; 4], shift: vec![0.5, -0.25, 0.125, 1.0] };
    let relu = b.op(Op::Scale(shift)).and_then(|b| b.relu()).expect("fits").last();
    let tanh = b.at(sum).and_then(|b| b.activation(Function::Smooth(SmoothName::Tanh))).expect("fits").last();
    b.push(Op::Concat { axis: 1 }, &[relu, tanh]).and_then(|b| b.dense(5)).expect("fits");
    let graph = b.finish();
    for (error, most) in errors(&graph, &mut rng).into_iter().zip([0.1, 0.015, 0.003, 0.01]) {
        assert!(error < most, "{error}");
    }
}
