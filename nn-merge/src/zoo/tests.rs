//! The zoo's networks have the sizes of the literature and values of a sane range.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::evaluate::Evaluator;
use crate::graph::Op;

/// Weights (biases and normalisations left out) and products.
fn size(graph: &Graph) -> (usize, u64) {
    let linear = graph.nodes().iter().filter_map(|n| if let Op::Linear(l) = &n.op { Some(l) } else { None });
    linear.fold((0, 0), |(w, p), l| (w + l.weights.len(), p + l.geometry.macs()))
}

#[test]
fn small_sides_keep_the_published_weights_and_sane_values() {
    // Weights of convolutions and fully connected layers as published (without biases and normalisations).
    let published = [
        ("resnet20", 268_336),
        ("resnet18", 11_678_912),
        ("mobilenetv2", 3_469_760),
        ("squeezenet1_0", 1_244_448),
        ("squeezenet1_1", 1_231_552),
    ];
    for (name, weights) in published {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let graph = by_name(name, Some(64), &mut rng).expect("fits");
        assert_eq!(size(&graph).0, weights, "{name}");
        let input = vec![0.5f32; graph.input_len()];
        let mut largest = 0f32;
        let evaluator = Evaluator::<f32>::new(&graph).expect("fits");
        let out = evaluator
            .run_observed(&input, |_, values| {
                largest = values.iter().fold(largest, |m, v| m.max(v.abs()));
            })
            .expect("runs");
        assert!(largest < 100.0, "{name}: {largest}");
        assert!(out.iter().any(|v| v.abs() > 1e-3), "{name}: all logits vanish");
    }
}

#[test]
fn unknown_names_and_depths_are_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    assert!(by_name("resnet19", None, &mut rng).is_err());
    assert!(resnet_cifar(21, &mut rng).is_err());
    assert!(resnet_imagenet(19, 64, &mut rng).is_err());
    for name in ["mlp", "minionn_mnist", "lenet", "minionn_cifar", "resnet56"] {
        assert!(NAMES.contains(&name) && by_name(name, None, &mut rng).is_ok(), "{name}");
    }
}

#[test]
fn random_networks_use_every_operation() {
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0..600 {
        let graph = random(&mut ChaCha8Rng::seed_from_u64(seed)).expect("steps that do not fit are left out");
        for node in graph.nodes() {
            *seen.entry(node.op.kind()).or_insert(0) += 1;
        }
    }
    println!("{seen:?}");
    for kind in [
        "Linear",
        "BatchNormalization",
        "Scale",
        "ReLU",
        "clip",
        "PReLU",
        "polynomial",
        "mixed activation",
        "hard swish",
        "Slice",
        "Pad",
        "Resize",
        "Concat",
        "MaxPool",
        "AveragePool",
        "Transpose",
        "Add",
    ] {
        assert!(seen.get(kind).is_some_and(|&n| n > 20), "{kind}: {seen:?}");
    }
}
