//! The leak, shown: who sees X_1 tells an image of zeros from one of largest values. The same eyes on the ring's Z see
//! nothing.
//!
//! The distinguisher looks at one message of one image. A value below B − M can't be that of an image of largest values B,
//! one from M on not that of an image of zeros; failing both, it goes by the mean. At g mask bits and n elements it is sure
//! with probability 1 − (1 − B/2M)^n, which is what the two laws are apart, and which the stated distance bounds.
//!
//! Randomness is fresh in every run, and the seed is printed.

use std::sync::Arc;

use nn_merge::Graph;
use nn_merge::fixed_point::quantize_image;
use rand_core::Rng;

use super::*;
use crate::OutputMode;
use crate::fixtures::{fresh_seed, quadratic};
use crate::float::client::{Bundle, ClientKeys};
use crate::offline::construction::{client_keys, client_setup};
use crate::offline::rho::Rho;

/// Deviations beyond which chance is not believed.
const LIMIT: f64 = 4.9;

/// Whether a message is said to be of an image of largest values `most`, under masks in ±`mask`.
fn is_bright(values: &[f64], most: f64, mask: f64) -> bool {
    if values.iter().any(|&value| value < most - mask) {
        return false;
    }
    if values.iter().any(|&value| value >= mask) {
        return true;
    }
    values.iter().sum::<f64>() / values.len() as f64 > most / 2.0
}

/// Share of `trials` in which the guess is right: `view` gives a message for an image of zeros or of largest values.
fn won(trials: usize, coins: &mut impl Rng, mut view: impl FnMut(usize, bool) -> bool) -> f64 {
    let right = (0..trials).filter(|&trial| {
        let bright = coins.next_u64() & 1 == 1;
        view(trial, bright) == bright
    });
    right.count() as f64 / trials as f64
}

fn float_wins(ready: &Ready, bits: u32, trials: usize, seed: &Seed) -> f64 {
    let plan = ready.plan(bits).unwrap();
    let keys = ClientKeys::new(plan.layouts(), seed.fork("keys", &[]));
    let mask = f64::from(plan.magnitudes(0).input_mask).exp2();
    let length = plan.geometry(0).input_len();
    won(trials, &mut seed.fork("coins", &[]).stream(), |trial, bright| {
        let seed = seed.fork("trial", &[trial as u64]);
        let masks = vec![keys.masks(&plan, 0, 1, &seed).unwrap().0];
        let bundle = Bundle {
            number: 0,
            images: 1,
            masks,
            shares: Vec::new(),
            products: Vec::new(),
            steps: Vec::new(),
        };
        let image = vec![if bright { plan.limit() } else { 0.0 }; length];
        is_bright(&bundle.masked(&plan, &[image]).unwrap(), plan.limit(), mask)
    })
}

/// Linear maps and a square on 28 x 28 inputs.
fn large_model() -> Model {
    let mut rng = Seed::from_bytes([71; 32]).stream();
    let mut graph = Graph::new("image", &[1, 1, 28, 28]).unwrap();
    let stride = ConvShape { stride: [4; 2], ..ConvShape::same([1, 2], [28, 28], 3) };
    let first = graph.push("conv", linear(&mut rng, stride), &[0]).unwrap();
    let square = graph.push("square", quadratic(&mut rng, 1), &[first]).unwrap();
    let flat = graph.push("flat", Op::Reshape(vec![1, 98]), &[square]).unwrap();
    let dense = ConvShape { padding: [0; 4], ..ConvShape::same([98, 3], [1, 1], 1) };
    graph.push("dense", linear(&mut rng, dense), &[flat]).unwrap();
    model(&graph, &mut rng)
}

#[test]
fn floating_point_shares_tell_images_apart() {
    let seed = fresh_seed();
    let ready = Ready::new(&large_model()).unwrap();
    // How often the distinguisher is sure, and the stated distance.
    let sure = |bits: u32| {
        let plan = ready.plan(bits).unwrap();
        let apart = plan.limit() / (2.0 * f64::from(plan.magnitudes(0).input_mask).exp2());
        (1.0 - (1.0 - apart).powi(784), plan.distance().images)
    };
    let trials = 1000;
    let (expected, stated) = sure(4);
    assert!(expected > 0.999 && stated == 1.0, "{expected}, {stated}");
    let found = float_wins(&ready, 4, trials, &seed.fork("4", &[]));
    println!("4 mask bits: right in {:.2} % of {trials} trials", 100.0 * found);
    assert!(found > 0.99, "{found}");
    for bits in [8, 10, 12, 16] {
        let (expected, stated) = sure(bits);
        assert!(expected <= stated, "{bits} bits: {expected} {stated}");
        let advantage = 2.0 * float_wins(&ready, bits, trials, &seed.fork("more", &[u64::from(bits)])) - 1.0;
        let slack = LIMIT / (trials as f64).sqrt();
        println!("{bits} mask bits: advantage {advantage:.3}, sure {expected:.3}, stated {stated:.3}");
        assert!(advantage <= stated + slack, "{bits} bits: {advantage} above {stated}");
        assert!(advantage >= expected - slack, "{bits} bits: {advantage} below {expected}");
    }
}

/// The ring's masks are uniform on all of Z_2^w (`tests/uniformity.rs` looks at their law), so nothing is to be won
/// there, whatever the rule.
#[test]
fn shares_in_a_ring_do_not() {
    let seed = fresh_seed();
    let model = large_model();
    let manifest = &model.manifest;
    let plan = Arc::new(crate::Plan::new(manifest, 1, OutputMode::Label).unwrap());
    let (_, keys) = client_setup(&plan, &seed.fork("setup", &[])).unwrap();
    let epoch = he_core::split::Epoch::new([7; 32]);
    let (bits, layer, input) = (plan.input_bits(), &plan.layers()[0], &plan.producers()[0]);
    let [dark, bright] = [0.0, manifest.input.limit].map(|value| {
        let image = vec![(value as f32).min((manifest.input.limit as f32).next_down()); manifest.input_len()];
        quantize_image(manifest, &image).unwrap()
    });
    let half = 1_i64 << (bits - 1);
    let (trials, most, mut said) = (1000, bright[0] as f64, 0);
    let found = won(trials, &mut seed.fork("coins", &[]).stream(), |trial, is_lit| {
        let seed = seed.fork("trial", &[trial as u64]);
        let mut rho = Rho::new(&plan, &seed.fork("masks", &[]));
        client_keys(&plan, layer, &keys, &epoch, &seed.fork("layer", &[]), &mut rho).unwrap();
        let image = if is_lit { &bright } else { &dark };
        let masks = rho.of_producer(input);
        // What `online::client` sends, as numbers of either sign.
        let masked = image
            .iter()
            .zip(masks.iter())
            .map(|(&d, &r)| ((d - r as i64 + half).rem_euclid(2 * half) - half) as f64);
        let guess = is_bright(&masked.collect::<Vec<_>>(), most, half as f64);
        said += usize::from(guess);
        guess
    });
    println!("ring: right in {:.2} % of {trials} trials, {said} times called bright", 100.0 * found);
    assert!((found - 0.5).abs() < LIMIT * 0.5 / (trials as f64).sqrt(), "{found}");
    // No constant guess.
    assert!((300..700).contains(&said), "{said}");
}
