//! Every pass on random graphs: the same function before and after, and a planted wrong fold that is caught.

use conv_fast::ConvShape;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::evaluate::run_f64;
use crate::graph::{Linear, Op};
use crate::zoo::{self, Builder};

/// Random networks of the equivalence test.
const NETWORKS: u64 = 1500;

/// A random network without its final softmax, which the passes drop.
fn random_graph(seed: u64) -> Graph {
    let graph =
        zoo::random(&mut ChaCha8Rng::seed_from_u64(seed)).expect("steps that do not fit are left out");
    without_softmax(&graph).expect("a graph")
}

pub(super) fn random_input(rng: &mut impl Rng, length: usize) -> Vec<f64> {
    (0..length).map(|_| (rng.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0).collect()
}

/// The largest difference of two graphs on random inputs, relative to the largest output.
pub(super) fn difference(a: &Graph, b: &Graph, seed: u64) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..3)
        .map(|_| {
            let input = random_input(&mut rng, a.input_len());
            let (x, y) = (run_f64(a, &input).expect("fits"), run_f64(b, &input).expect("fits"));
            assert_eq!(x.len(), y.len());
            let size = x.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
            x.iter().zip(&y).map(|(p, q)| (p - q).abs()).fold(0.0, f64::max) / size
        })
        .fold(0.0, f64::max)
}

#[test]
fn each_pass_keeps_the_function_of_random_networks() {
    let mut applied = [0u32; PASSES.len()];
    for seed in 0..NETWORKS {
        let original = random_graph(seed);
        let mut graph = original.clone();
        let mut left = 1000;
        loop {
            let mut changed = false;
            for (index, (name, pass)) in PASSES.iter().enumerate() {
                if let Some(next) =
                    pass(&graph).unwrap_or_else(|e| panic!("seed {seed}, {name}: {e}\n{graph:?}"))
                {
                    let worst = difference(&graph, &next, seed);
                    assert!(worst < 1e-8, "seed {seed}, {name}: {worst}\n{graph:?}\n{next:?}");
                    applied[index] += 1;
                    graph = next;
                    changed = true;
                    left -= 1;
                    assert!(left > 0, "seed {seed}: no end\n{original:?}\n{graph:?}");
                }
            }
            if !changed {
                break;
            }
        }
        let worst = difference(&original, &graph, seed);
        assert!(worst < 1e-8, "seed {seed}: {worst}");
        let (merged, rows) = run(&original).expect("runs");
        assert!(difference(&original, &merged, seed) < 1e-8, "seed {seed}");
        let (again, same_rows) = run(&original).expect("runs");
        assert!(again == merged && rows == same_rows, "seed {seed}: not repeatable");
        for (name, pass) in PASSES {
            assert!(pass(&merged).expect("runs").is_none(), "seed {seed}: {name} is not at its fixed point");
        }
    }
    println!("applications per pass over {NETWORKS} networks:");
    for ((name, _), count) in PASSES.iter().zip(applied) {
        println!("  {name}: {count}");
        assert!(count > 20, "{name} was hardly tested: {count}");
    }
}

#[test]
fn a_planted_fault_in_a_fold_is_noticed() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut b = Builder::new(&[1, 2, 6, 6], &mut rng).expect("small");
    b.relu().expect("fits").batch_norm(false).expect("fits").conv(3, 3, 1, 1, 1).expect("fits");
    let graph = b.finish();
    // The border of a padded convolution forbids folding a shift into it; doing so all the same must show.
    let mut wrong = graph.clone();
    let Op::BatchNorm(norm) = &graph.node(2).op else { panic!("a batch norm") };
    let diagonal = norm.diagonal();
    let Op::Linear(linear) = &graph.node(3).op else { panic!("a convolution") };
    let mut weights = linear.weights.as_ref().clone();
    let mut bias = linear.bias.clone();
    for (o, row) in weights.chunks_mut(18).enumerate() {
        for (c, taps) in row.chunks_mut(9).enumerate() {
            bias[o] += taps.iter().sum::<f64>() * diagonal.shift[c];
            taps.iter_mut().for_each(|w| *w *= diagonal.scale[c]);
        }
    }
    let fold = Linear::new("wrong", linear.geometry.clone(), weights, bias).expect("same sizes");
    wrong.node_mut(3).op = Op::Linear(fold);
    wrong.bypass(2);
    let wrong = wrong.rebuild().expect("fits");
    assert!(difference(&graph, &wrong, 1) > 1e-3);
    let (right, _) = run(&graph).expect("runs");
    assert!(difference(&graph, &right, 1) < 1e-9);
}

#[test]
fn known_networks_shrink_as_expected() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let graph = zoo::minionn_mnist(&mut rng).expect("fixed shapes");
    let (merged, rows) = run(&graph).expect("runs");
    let (before, after) = (Cost::of(&graph), Cost::of(&merged));
    assert_eq!(before.activations, 16 * 24 * 24 + 16 * 8 * 8 + 100);
    assert_eq!(after.activations, 16 * 12 * 12 + 16 * 4 * 4 + 100);
    assert_eq!(after.products, before.products);
    assert!(
        rows.iter()
            .any(|r| r.pass == "max-pool before activation" && r.after.activations < r.before.activations)
    );

    let graph = zoo::lenet(&mut rng).expect("fixed shapes");
    let (merged, _) = run(&graph).expect("runs");
    assert!(difference(&graph, &merged, 3) < 1e-9);
    let levels = Cost::of(&merged).linear_levels;
    assert_eq!(levels, 5, "two normalisations and two averages are merged away:\n{merged:?}");
}

#[test]
fn a_final_softmax_is_dropped_and_the_order_of_classes_stays() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for end in [Op::Softmax, Op::LogSoftmax] {
        let mut b = Builder::new(&[1, 8], &mut rng).expect("small");
        b.dense(5).expect("fits").op(end).expect("fits");
        let graph = b.finish();
        let (merged, _) = run(&graph).expect("runs");
        assert_eq!(merged.nodes().len(), 2);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let input = random_input(&mut rng, 8);
        let order = |values: Vec<f64>| {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
            order
        };
        assert_eq!(
            order(run_f64(&graph, &input).expect("fits")),
            order(run_f64(&merged, &input).expect("fits"))
        );
    }
}

pub(super) fn shapes(graph: &Graph) -> Vec<ConvShape> {
    let linear = |n: &crate::graph::Node| match &n.op {
        Op::Linear(l) => Some(*l.geometry.shape()),
        _ => None,
    };
    graph.nodes().iter().filter_map(linear).collect()
}

pub(super) fn count(graph: &Graph, what: impl Fn(&Op) -> bool) -> usize {
    graph.nodes().iter().filter(|n| what(&n.op)).count()
}

#[test]
fn an_average_pool_stays_behind_an_activation_and_merges_between_linear_maps() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut b = Builder::new(&[1, 4, 16, 16], &mut rng).expect("small");
    b.relu().expect("fits").average_pool(2, 2, 0, true).expect("fits").conv(8, 3, 1, 1, 1).expect("fits");
    let graph = b.finish();
    let (merged, rows) = run(&graph).expect("runs");
    assert!(rows.is_empty(), "{rows:?}");
    assert_eq!(count(&merged, |op| matches!(op, Op::AveragePool { .. })), 1);

    let mut b = Builder::new(&[1, 4, 16, 16], &mut rng).expect("small");
    b.conv(8, 3, 1, 1, 1).expect("fits").average_pool(2, 2, 0, true).expect("fits").relu().expect("fits");
    let graph = b.finish();
    let (merged, _) = run(&graph).expect("runs");
    assert!(difference(&graph, &merged, 4) < 1e-9);
    let shape = shapes(&merged)[0];
    assert_eq!((shape.kernel, shape.stride, shape.padding), ([4, 4], [2, 2], [1, 1, 1, 1]));
    assert_eq!(count(&merged, |op| matches!(op, Op::AveragePool { .. })), 0);
}

#[test]
fn without_merging_every_normalisation_is_a_linear_map_of_its_own() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut b = Builder::new(&[1, 2, 8, 8], &mut rng).expect("small");
    b.conv(4, 3, 1, 1, 1).expect("fits").batch_norm(false).expect("fits").relu().expect("fits");
    b.average_pool(2, 2, 0, true).expect("fits").dense(5).expect("fits").op(Op::Softmax).expect("fits");
    let graph = b.finish();
    let (merged, _) = run(&graph).expect("runs");
    let (plain, rows) = run_necessary(&graph).expect("runs");
    let linear = |graph: &Graph| count(graph, |op| matches!(op, Op::Linear(_)));
    assert_eq!((linear(&merged), linear(&plain)), (2, 3), "{rows:?}");
    assert_eq!(count(&plain, |op| matches!(op, Op::BatchNorm(_) | Op::Softmax)), 0);
    let logits = without_softmax(&graph).expect("runs");
    assert!(difference(&logits, &merged, 5) < 1e-9 && difference(&logits, &plain, 5) < 1e-9);
}
