//! Networks with ReLUs and max-pooling on floating-point shares: against plain evaluation, distances, refusals.

use nn_merge::graph::{Graph, Part};
use nn_merge::model::{PoolGeometry, PoolShape};
use rand_core::Rng;

use super::*;
use crate::fixtures::{fresh_seed, quadratic, shared_data};
use crate::handshake::Methods;
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
            assert!(error < 2_f64.powi(-10), "case {case}, {bits} bits: {error:e}");
        }
    }
}

#[test]
fn layers_in_the_way_are_named() {
    let mut rng = fresh_seed().stream();
    let pool = |stride: usize| {
        let (kernel, padding) = ([2; 2], [0; 4]);
        let shape =
            PoolShape { channels: 2, in_height: 4, in_width: 4, kernel, stride: [stride; 2], padding };
        PoolGeometry::new(shape).unwrap()
    };
    let halves = || {
        let part = |channel, function| Part { channels: vec![channel], function };
        vec![part(0, Function::Relu), part(1, Function::Identity)]
    };
    let cases = [
        (vec![("act", Op::Activation(Function::Leaky { slope: 0.25 }))], "layer `act` is neither"),
        (vec![("act", Op::Activation(Function::Clip { low: 0.0, high: 0.25 }))], "layer `act` is neither"),
        (vec![("pool", Op::MaxPool(pool(2)))], "layer `pool` takes maxima without a ReLU"),
        (
            vec![("pool", Op::MaxPool(pool(2))), ("act", quadratic(&mut rng, 2))],
            "layer `act` takes maxima without a ReLU",
        ),
        (vec![("act", Op::Mixed(halves()))], "layer `act` is a ReLU on some of its channels"),
    ];
    for (layers, expected) in cases {
        let mut graph = Graph::new("image", &[1, 1, 4, 4]).unwrap();
        let conv = ConvShape::same([1, 2], [4, 4], 3);
        let mut last = graph.push("conv", linear(&mut rng, conv), &[0]).unwrap();
        for (name, op) in layers {
            last = graph.push(name, op, &[last]).unwrap();
        }
        let elements = graph.node(last).elements();
        let flat = graph.push("flat", Op::Reshape(vec![1, elements]), &[last]).unwrap();
        let dense = ConvShape { padding: [0; 4], ..ConvShape::same([elements, 3], [1, 1], 1) };
        graph.push("dense", linear(&mut rng, dense), &[flat]).unwrap();
        let error = Server::new(model(&graph, &mut rng), policy(), seed(2)).err().unwrap().to_string();
        assert!(error.contains(expected) && error.contains("floating-point shares"), "{error}");
    }
}

#[test]
fn bundles_with_steps_count_against_the_memory() {
    let (model, images) = random(&mut fresh_seed().stream(), [Kind::Pooled(2), Kind::Relu], 1);
    let plan = server(model.clone(), policy()).float().unwrap().plan(16).unwrap();
    let steps = |images| plan.steps(images).iter().map(|(spec, n)| spec.server_bytes(*n)).sum::<usize>();
    let grown = plan.server_bytes(64) - plan.server_bytes(2);
    assert!(grown > steps(64) - steps(2) && steps(64) == 64 * steps(1));
    // Room for the keys, and not for the bundle.
    let memory = plan.server_bytes(0) + plan.server_bytes(1) - 1;
    let poor = server(model.clone(), Policy { memory, ..policy() });
    let heard = refusal(&poor, |client| client.float(16)?.prepare(1, &mut |_, _| ()).map(drop));
    assert!(heard.contains("this bundle needs"), "{heard}");
    let enough = server(model, Policy { memory: memory + 1, ..policy() });
    let (result, served) = in_process(&enough, seed(5), seed(6), |client| {
        let mut session = client.float(16)?;
        let bundle = session.prepare(1, &mut |_, _| ())?;
        session.infer(bundle, &images)?;
        session.finish()
    });
    assert!(result.is_ok() && served.is_ok(), "{:?}, {:?}", result.err(), served.err());
}

/// A client plans no more than its memory holds, whatever a server's network is.
#[test]
fn a_bundle_of_too_many_images_is_refused_before_anything_is_sent() {
    let (model, _) = random(&mut fresh_seed().stream(), [Kind::Pooled(2), Kind::Relu], 1);
    let mut policy = policy();
    (policy.offer.max_images, policy.preparing) = (usize::MAX, usize::MAX);
    let server = server(model, policy);
    let plan = server.float().unwrap().plan(16).unwrap();
    let most = (1..).take_while(|bits| plan.check_images(1 << bits).is_ok()).last().unwrap();
    assert!((10..27).contains(&most), "2^{most} images");
    let (result, served) = in_process(&server, seed(5), seed(6), |client| {
        let mut session = client.float(16)?;
        let refused = session.prepare(1 << 40, &mut |_, _| ()).err().unwrap().to_string();
        assert!(refused.contains("holds at most"), "{refused}");
        Ok(())
    });
    assert!(result.is_ok() && served.is_err(), "{:?}", served.map(|_| ()));
}

#[test]
fn transfers_are_those_that_the_server_allows() {
    let (model, images) = random(&mut fresh_seed().stream(), [Kind::Relu, Kind::Pooled(2)], 1);
    let all = Methods::default();
    for methods in [
        Methods { ristretto: false, ..all },
        Methods { soft_spoken: false, ..all },
        Methods { one_round: false, ..all },
    ] {
        let mut policy = policy();
        policy.offer.methods = methods;
        let server = server(model.clone(), policy);
        let (result, served) = in_process(&server, seed(5), seed(6), |client| {
            let mut session = client.float(12)?;
            for _ in 0..2 {
                let bundle = session.prepare(1, &mut |_, _| ())?;
                session.infer(bundle, &images)?;
            }
            session.finish()
        });
        assert!(result.is_ok() && served.is_ok(), "{methods:?}: {:?}, {:?}", result.err(), served.err());
    }
}

/// The labels of the float network on images that nobody trained or calibrated on.
#[test]
fn a_trained_network_with_relus_has_the_labels_of_float() {
    let data = shared_data();
    if !data.join("mnist").is_dir() {
        let path = data.display();
        eprintln!("SKIPPED: no shared data at {path} (set HUSHNET_DATA); this test checked NOTHING");
        return;
    }
    for Trained { name, model, images, expected, .. } in trained(&RELUS[..1], 32) {
        let server = server(model, policy());
        let (result, served) = in_process(&server, seed(5), seed(6), |client| {
            let mut session = client.float(DEFAULT_MASK_BITS)?;
            let bundle = session.prepare(images.len(), &mut |_, _| ())?;
            session.infer(bundle, &images)
        });
        let found = result.unwrap();
        assert!(matches!(served, Err(ProtocolError::HungUp { .. })), "{served:?}");
        let labels: Vec<usize> =
            expected.iter().map(|row| nn_merge::fixed_point::first_largest(row)).collect();
        assert_eq!(found.labels, labels, "{name}");
    }
}
