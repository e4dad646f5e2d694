//! Every pass on random graphs: the same function before and after, and a planted wrong fold that is caught.

use conv_fast::{ConvGeometry, ConvShape};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::evaluate::run_f64;
use crate::graph::{Diagonal, Linear};
use crate::zoo::{self, Builder};

fn below(rng: &mut impl Rng, n: usize) -> usize {
    rng.next_u64() as usize % n
}

/// A random convolution on a plane; `None` if the drawn numbers do not fit.
fn random_shape(rng: &mut impl Rng, [c, h, w]: [usize; 3]) -> Option<ConvShape> {
    let groups = if below(rng, 3) == 0 { c } else { 1 };
    let shape = ConvShape {
        in_channels: c,
        in_height: h,
        in_width: w,
        out_channels: groups * (1 + below(rng, 3)),
        kernel: [1 + below(rng, 3), 1 + below(rng, 3)],
        stride: [1 + below(rng, 2), 1 + below(rng, 2)],
        padding: [below(rng, 2), below(rng, 3), below(rng, 3), below(rng, 2)],
        dilation: [1 + below(rng, 2), 1 + below(rng, 2)],
        groups,
    };
    ConvGeometry::new(shape).ok().map(|g| *g.shape())
}

/// A random network; every operation the passes know can appear anywhere.
fn random_graph(seed: u64) -> Graph {
    let mut choice = ChaCha8Rng::seed_from_u64(seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let sides = [1, 1 + below(&mut choice, 3), 3 + below(&mut choice, 6), 3 + below(&mut choice, 6)];
    let mut b = Builder::new(&sides, &mut rng).expect("small");
    for _ in 0..3 + below(&mut choice, 7) {
        let shape = b.graph().node(b.last()).shape.clone();
        let plane = if let [1, c, h, w] = shape[..] { Some([c, h, w]) } else { None };
        // A refused step leaves the graph as it was; the walk goes on.
        let _ = match (below(&mut choice, 14), plane) {
            (0..=2, Some(plane)) => match random_shape(&mut choice, plane) {
                Some(shape) if shape.kernel != [1, 1] || plane[1] * plane[2] > 1 => {
                    b.linear(shape).map(|_| ())
                }
                _ => Ok(()),
            },
            (3, _) => b.batch_norm(below(&mut choice, 2) == 0).map(|_| ()),
            (4, _) if shape.len() > 1 => {
                let count = shape[1];
                let positive = below(&mut choice, 2) as f64 * 1.5;
                let shifted = below(&mut choice, 2) as f64;
                let scale = (0..count).map(|_| b.uniform() + positive).collect();
                let shift = (0..count).map(|_| b.uniform() * shifted).collect();
                b.op(Op::Scale(Diagonal { scale, shift })).map(|_| ())
            }
            (5 | 6, _) => b.relu().map(|_| ()),
            (7, Some(_)) => b.max_pool(1 + below(&mut choice, 2), 1 + below(&mut choice, 2), 0).map(|_| ()),
            (8, Some(_)) => {
                let (kernel, padding) = (2 + below(&mut choice, 2), below(&mut choice, 2));
                b.average_pool(kernel, 1 + below(&mut choice, 2), padding, below(&mut choice, 2) == 0)
                    .map(|_| ())
            }
            (9, _) => b.op(if below(&mut choice, 2) == 0 { Op::Identity } else { Op::Dropout }).map(|_| ()),
            (10, Some(_)) => {
                let (first, second) = ([0, 2, 3, 1], [0, 3, 1, 2]);
                b.op(Op::Transpose(if below(&mut choice, 2) == 0 { first } else { second }.to_vec()))
                    .map(|_| ())
            }
            (11, _) => {
                let elements = shape.iter().product();
                b.op(Op::Reshape(vec![1, elements])).map(|_| ())
            }
            (12, None) => b.dense(1 + below(&mut choice, 6)).map(|_| ()),
            (13, _) => {
                // A residual connection around a ReLU.
                let before = b.last();
                let around = b.relu().map(|b| b.last()).expect("relu fits anywhere");
                let mut graph = b.graph().clone();
                graph.push("sum", Op::Add, &[before, around]).map(|_| b.replace(graph))
            }
            _ => Ok(()),
        };
    }
    b.dense(3).expect("small");
    b.finish()
}

fn random_input(rng: &mut impl Rng, length: usize) -> Vec<f64> {
    (0..length).map(|_| (rng.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0).collect()
}

/// The largest difference of two graphs on random inputs, relative to the largest output.
fn difference(a: &Graph, b: &Graph, seed: u64) -> f64 {
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
    for seed in 0..3000 {
        let original = random_graph(seed);
        let mut graph = original.clone();
        for _ in 0..100 {
            let mut changed = false;
            for (index, (name, pass)) in PASSES.iter().enumerate() {
                if let Some(next) =
                    pass(&graph).unwrap_or_else(|e| panic!("seed {seed}, {name}: {e}\n{graph:?}"))
                {
                    let worst = difference(&graph, &next, seed);
                    assert!(worst < 1e-9, "seed {seed}, {name}: {worst}\n{graph:?}\n{next:?}");
                    applied[index] += 1;
                    graph = next;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        let worst = difference(&original, &graph, seed);
        assert!(worst < 1e-9, "seed {seed}: {worst}");
        let (merged, _) = run(&original).expect("runs");
        assert!(difference(&original, &merged, seed) < 1e-9, "seed {seed}");
        for (name, pass) in PASSES {
            assert!(pass(&merged).expect("runs").is_none(), "seed {seed}: {name} is not at its fixed point");
        }
    }
    println!("applications per pass over 3000 networks: {applied:?}");
    assert!(applied.iter().all(|&count| count > 50), "some pass was hardly tested: {applied:?}");
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
        rows.iter().any(|r| r.pass == "max-pool before relu" && r.after.activations < r.before.activations)
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

#[test]
fn pooling_before_a_convolution_becomes_one_convolution() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut b = Builder::new(&[1, 4, 16, 16], &mut rng).expect("small");
    b.relu().expect("fits").average_pool(2, 2, 0, true).expect("fits").conv(8, 3, 1, 1, 1).expect("fits");
    let graph = b.finish();
    let (merged, _) = run(&graph).expect("runs");
    assert!(difference(&graph, &merged, 4) < 1e-9);
    let shapes: Vec<ConvShape> = merged
        .nodes()
        .iter()
        .filter_map(|n| if let Op::Linear(l) = &n.op { Some(*l.geometry.shape()) } else { None })
        .collect();
    assert_eq!(shapes.len(), 1);
    assert_eq!((shapes[0].kernel, shapes[0].stride, shapes[0].padding), ([6, 6], [2, 2], [2, 2, 2, 2]));
}
