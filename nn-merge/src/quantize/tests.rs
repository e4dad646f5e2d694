//! Tests of quantisation: whole builds of small networks against their float results.

use he_core::Profile;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::evaluate::Evaluator;
use crate::fixed_point::{evaluate_exact, quantize_image};
use crate::graph::Graph;
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
