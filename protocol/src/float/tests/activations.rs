//! Networks with ReLUs and max-pooling on floating-point shares: against plain evaluation, distances, refusals.

use nn_merge::graph::Graph;
use nn_merge::model::{PoolGeometry, PoolShape};
use rand_core::Rng;

use super::*;
use crate::encrypted::chain::{Accepted, Between};
use crate::fixtures::{fresh_seed, quadratic, shared_data};
use crate::report::Stage;

/// What stands between the maps of a random network.
#[derive(Clone, Copy)]
enum Kind {
    Square,
    Relu,
    /// Behind a max-pool of windows of this side.
    Pooled(usize),
}

/// Two convolutions on 2 x 9 x 8 images, each with one of these behind it, and a fully connected map.
fn graph(rng: &mut impl Rng, between: [Kind; 2]) -> Graph {
    let mut graph = Graph::new("image", &[1, 2, 9, 8]).unwrap();
    let (mut last, mut shape) = (0, [2, 9, 8]);
    for (at, (kind, channels)) in between.into_iter().zip([6, 4]).enumerate() {
        let [inputs, height, width] = shape;
        let conv = ConvShape { groups: at + 1, ..ConvShape::same([inputs, channels], [height, width], 3) };
        last = graph.push(&format!("conv{at}"), linear(rng, conv), &[last]).unwrap();
        shape[0] = channels;
        if let Kind::Pooled(side) = kind {
            let pool = PoolGeometry::new(PoolShape {
                channels,
                in_height: height,
                in_width: width,
                kernel: [side; 2],
                stride: [2; 2],
                padding: [0, 0, 1, 0],
            })
            .unwrap();
            shape = [channels, pool.out_height(), pool.out_width()];
            last = graph.push(&format!("pool{at}"), Op::MaxPool(pool), &[last]).unwrap();
        }
        let act = match kind {
            Kind::Square => quadratic(rng, channels),
            Kind::Relu | Kind::Pooled(_) => Op::Activation(Function::Relu),
        };
        last = graph.push(&format!("act{at}"), act, &[last]).unwrap();
    }
    let elements = shape.iter().product();
    let flat = graph.push("flat", Op::Reshape(vec![1, elements]), &[last]).unwrap();
    let dense = ConvShape { padding: [0; 4], ..ConvShape::same([elements, 5], [1, 1], 1) };
    graph.push("dense", linear(rng, dense), &[flat]).unwrap();
    graph
}

/// A random network as a model, and images within its limit.
fn random(rng: &mut impl rand_core::CryptoRng, between: [Kind; 2], count: usize) -> (Model, Vec<Vec<f64>>) {
    let graph = graph(rng, between);
    let model = model(&graph, rng);
    let limit = model.manifest.input.limit;
    let images = images(rng, count, graph.input_len());
    let clamp = |image: Vec<f64>| image.iter().map(|x| x.clamp(-limit, limit)).collect();
    (model, images.into_iter().map(clamp).collect())
}

#[test]
fn logits_with_relus_are_those_of_the_network() {
    let seed = fresh_seed();
    let cases = [
        [Kind::Relu, Kind::Relu],
        [Kind::Pooled(2), Kind::Relu],
        [Kind::Pooled(3), Kind::Pooled(2)],
        [Kind::Square, Kind::Pooled(2)],
        [Kind::Relu, Kind::Square],
    ];
    for (case, between) in cases.into_iter().enumerate() {
        let (model, images) = random(&mut seed.fork("case", &[case as u64]).stream(), between, 3);
        let network = Network::accepting(&model, Accepted::Activations).unwrap();
        let server = server(model, policy());
        for bits in [4, 10, 16] {
            let run = |client: Client<_>| {
                let mut session = client.float(bits)?;
                let mut all = Vec::new();
                for images in images.chunks(2) {
                    let (mut calls, mut last) = (0, (0, 0));
                    let bundle = session.prepare(images.len(), &mut |done, of| {
                        calls += 1;
                        last = (done, of);
                    })?;
                    assert_eq!(last, (calls, calls));
                    all.extend(session.infer(bundle, images)?.logits);
                }
                let steps = session.plan().steps(1).len() as u64;
                let squares = (0..3).filter(|&at| session.plan().is_square(at)).count() as u64;
                Ok((all, session.finish()?.total(Stage::Online).rounds, 2 * (2 + squares + 3 * steps)))
            };
            let (result, served) = in_process(&server, seed.fork("s", &[]), seed.fork("c", &[]), run);
            let (found, rounds, expected) = result.unwrap();
            assert_eq!((served.unwrap().images, rounds), (3, expected), "case {case}, {bits} bits");
            let errors = images.iter().zip(&found).map(|(x, found)| worst(&network.evaluate(x), found));
            let error = errors.fold(0.0, f64::max) / network.logit_unit();
            println!("case {case}, {bits} mask bits: worst error 2^{:.1} of the range", error.log2());
            assert!(error < 2_f64.powi(-8), "case {case}, {bits} bits: {error:e}");
        }
    }
}
