//! Networks on ciphertexts alone against float evaluation, in both modes, whole sessions, and planted faults.

use std::time::Instant;

use conv_fast::{ConvGeometry, ConvShape};
use he_core::Seed;
use nn_merge::Model;
use nn_merge::evaluate::run_f64;
use nn_merge::graph::{Function, Op};

use super::network::bounded;
use super::session::Ready;
use super::*;
use crate::fixtures::{SQUARES, Trained, images, linear, model, network, seed, trained, worst};
use crate::testing::in_process;
use crate::{Policy, ProtocolError, RefusalCode, Server};

mod hostile;

#[test]
fn the_network_is_the_one_that_was_merged() {
    for round in 0..6 {
        let mut rng = Seed::from_bytes([100 + round; 32]).stream();
        let graph = network(&mut rng);
        let model = model(&graph, &mut rng);
        let network = Network::new(&model).unwrap();
        for image in images(&mut rng, 4, graph.input_len()) {
            let expected = run_f64(&graph, &image).unwrap();
            let error = worst(&network.evaluate(&image), &expected);
            // Weights of 12 bits, and quadratics rounded to their ring.
            assert!(error < 0.01 * network.logit_unit(), "round {round}: {error}");
        }
        // Hidden values are in the range that they are said to have: without their squares the next map sees nothing.
        assert_eq!(network.shapes().squares(), 2);
    }
}

/// Logits of an evaluation without messages and hiding.
fn bare(model: &Model, mode: Mode, images: &[Vec<f64>]) -> (Vec<Vec<f64>>, f64) {
    let network = Network::new(model).unwrap();
    let plan = Plan::new(network.shapes(), mode).unwrap();
    let mut keys = ClientKeys::new(&plan, seed(1));
    let own = keys.evaluation_keys(&plan);
    let answers = match mode {
        Mode::Single => {
            let evaluator = single::Evaluator::new(&network, &plan).unwrap();
            let input = keys.encrypt(&plan, images, plan.params().scale()).unwrap();
            let input = input.into_iter().map(|x| x.expand(plan.params())).collect();
            evaluator.evaluate(input, &own.relin, &own.galois, &mut |_, _| ()).unwrap()
        }
        Mode::Batch => {
            let evaluator = batch::Evaluator::new(&network, &plan).unwrap();
            let input = keys.encrypt(&plan, images, batch::input_scale(evaluator.exponent())).unwrap();
            let mut input: Vec<_> = input.into_iter().map(|x| Some(x.expand(plan.params()))).collect();
            let mut take = |at: usize| Ok(input[at].take().unwrap());
            evaluator.evaluate(&mut take, &own.relin, &mut |_, _| ()).unwrap()
        }
    };
    let logits = keys.decrypt(&plan, &answers, images.len(), network.logit_unit()).unwrap().logits;
    (logits, network.logit_unit())
}

#[test]
fn one_image_under_encryption() {
    let mut rng = Seed::from_bytes([110; 32]).stream();
    let graph = network(&mut rng);
    let model = model(&graph, &mut rng);
    let image = images(&mut rng, 1, graph.input_len());
    let expected = Network::new(&model).unwrap().evaluate(&image[0]);
    let (logits, unit) = bare(&model, Mode::Single, &image);
    let error = worst(&logits[0], &expected) / unit;
    println!("single mode: worst error 2^{:.1} of the range", error.log2());
    assert!(error < (-16_f64).exp2(), "{error:e}");

    // A wrong weight is noticed: the last layer's first one, changed by a tenth of the range.
    let mut wrong = model;
    let last = wrong.nodes.iter().rposition(|node| !node.weights.is_empty()).unwrap();
    let largest = wrong.nodes[last].weights.iter().map(|w| w.abs()).max().unwrap();
    wrong.nodes[last].weights.iter_mut().take(80).for_each(|w| *w += largest / 4);
    let (logits, _) = bare(&wrong, Mode::Single, &image);
    let error = worst(&logits[0], &expected) / unit;
    assert!(error > (-14_f64).exp2(), "{error:e}");
}

#[test]
fn a_batch_under_encryption() {
    for round in 0..2 {
        let mut rng = Seed::from_bytes([120 + round; 32]).stream();
        let graph = network(&mut rng);
        let model = model(&graph, &mut rng);
        let images = images(&mut rng, 7, graph.input_len());
        let network = Network::new(&model).unwrap();
        let (logits, unit) = bare(&model, Mode::Batch, &images);
        assert_eq!(logits.len(), 7);
        let errors =
            images.iter().zip(&logits).map(|(image, found)| worst(found, &network.evaluate(image)) / unit);
        let error = errors.fold(0.0, f64::max);
        println!("batch mode: worst error 2^{:.1} of the range", error.log2());
        assert!(error < (-13_f64).exp2(), "round {round}: {error:e}");
    }
}

fn allowed() -> Policy {
    Policy { encrypted: true, ..Policy::default() }
}

fn server(model: Model, policy: Policy) -> Server {
    Server::new(model, policy, seed(2)).unwrap()
}

#[test]
fn whole_sessions_in_both_modes() {
    let mut rng = Seed::from_bytes([130; 32]).stream();
    let graph = network(&mut rng);
    let model = model(&graph, &mut rng);
    let network = Network::new(&model).unwrap();
    let server = server(model, allowed());
    for (mode, count, tolerance) in [(Mode::Single, 1, -9_f64), (Mode::Batch, 3, -9_f64)] {
        let images = images(&mut rng, count, graph.input_len());
        let run = |client: crate::Client<_>| {
            let mut session = client.encrypted(mode)?;
            let mut steps = 0;
            let first = session.classify(&images, &mut |_, _| steps += 1)?;
            assert_eq!(steps, session.plan().inputs() + session.plan().outputs());
            let second = session.classify(&images[..1], &mut |_, _| ())?;
            session.finish()?;
            Ok((first, second))
        };
        let (result, served) = in_process(&server, seed(3), seed(4), run);
        let ((first, timings), (second, _)) = result.unwrap();
        assert_eq!(served.unwrap().images, count + 1);
        assert!(timings.sent > timings.received && timings.received > 0, "{timings:?}");
        assert_eq!((first.labels.len(), second.labels.len()), (count, 1));
        let worst = |answers: &Decrypted| {
            let errors = images.iter().zip(&answers.logits);
            let errors = errors.map(|(image, found)| crate::fixtures::worst(found, &network.evaluate(image)));
            errors.fold(0.0, f64::max) / network.logit_unit()
        };
        for answers in [&first, &second] {
            let error = worst(answers);
            assert!(error < tolerance.exp2(), "{mode:?}: {error:e}");
            for (row, &label) in answers.logits.iter().zip(&answers.labels) {
                assert!(row.iter().all(|&logit| logit <= row[label]));
            }
        }
        // Flooding and errors are fresh: one image twice gives two sets of numbers.
        assert_ne!(first.logits[0], second.logits[0]);
    }
}

#[test]
fn networks_and_policies_that_are_refused() {
    let mut rng = Seed::from_bytes([140; 32]).stream();
    let mut graph = network(&mut rng);
    let last = graph.push("act", Op::Activation(Function::Relu), &[graph.output()]).unwrap();
    let dense = ConvShape { padding: [0; 4], ..ConvShape::same([5, 5], [1, 1], 1) };
    graph.push("more", linear(&mut rng, dense), &[last]).unwrap();
    let relu = model(&graph, &mut rng);
    let sentence = Network::new(&relu).err().unwrap().to_string();
    assert!(sentence.contains("layer `act` is a ReLU"), "{sentence}");

    let polynomial = {
        let graph = network(&mut rng);
        model(&graph, &mut rng)
    };
    let image = vec![vec![0.5; 144]];
    for (model, policy, reason) in [
        (relu, allowed(), "layer `act` is a ReLU"),
        (polynomial.clone(), Policy::default(), "ciphertexts alone"),
    ] {
        let server = server(model, policy);
        let (result, served) =
            in_process(&server, seed(5), seed(6), |client| client.encrypted(Mode::Single).map(drop));
        let Err(ProtocolError::Refused(refusal)) = result else { panic!("{:?}", result.err()) };
        assert!(refusal.reason.contains(reason), "{}", refusal.reason);
        assert!(matches!(served, Err(ProtocolError::Incompatible(_))));
    }
    // A quota, memory, wrong numbers of images.
    let policy = Policy { quota: 1, ..allowed() };
    let server = server(polynomial.clone(), policy);
    let (result, _) = in_process(&server, seed(5), seed(6), |client| {
        let mut session = client.encrypted(Mode::Single)?;
        assert!(matches!(session.plan().most_images(), 1));
        session.classify(&image, &mut |_, _| ())?;
        session.classify(&image, &mut |_, _| ()).map(drop)
    });
    assert!(
        matches!(result, Err(ProtocolError::Refused(refusal)) if refusal.reason.contains("at most 1 images"))
    );
    // A batch counts as what it has room for.
    for (quota, served) in [(8191, false), (8192, true)] {
        let server = self::server(polynomial.clone(), Policy { quota, ..allowed() });
        let (result, _) = in_process(&server, seed(5), seed(6), |client| {
            let mut session = client.encrypted(Mode::Batch)?;
            assert_eq!(session.plan().most_images(), 8192);
            session.classify(&image, &mut |_, _| ()).map(drop)
        });
        assert_eq!(result.is_ok(), served, "{quota}: {:?}", result.err());
    }
    let poor = self::server(polynomial, Policy { memory: 1 << 20, ..allowed() });
    let (result, _) = in_process(&poor, seed(5), seed(6), |client| client.encrypted(Mode::Batch).map(drop));
    assert!(matches!(result, Err(ProtocolError::Refused(refusal)) if refusal.reason.contains("MB")));
}

/// Shapes of a few bytes that would keep their reader busy for hours.
#[test]
fn networks_of_too_many_products_are_refused() {
    let most = [(4000, 2048, 1), (30, 500, 256), (4000, 2000, 16)];
    for ((kernel, padding, outputs), fits) in
        most.map(|s| (s, false)).into_iter().chain([((30, 500, 1), true)])
    {
        let shape = ConvShape { padding: [padding; 4], ..ConvShape::same([1, outputs], [1, 1], 1) };
        let geometry = ConvGeometry::new(ConvShape { kernel: [kernel; 2], ..shape }).unwrap();
        let result = bounded(std::slice::from_ref(&geometry));
        assert_eq!(result.is_ok(), fits, "{kernel}: {result:?}");
    }
}

/// Prepared weights count once, as many bytes as they have; who comes when there is no room is told so and may come again.
#[test]
fn prepared_weights_count_against_the_memory() {
    let mut rng = Seed::from_bytes([151; 32]).stream();
    let graph = network(&mut rng);
    let model = model(&graph, &mut rng);
    for mode in [Mode::Single, Mode::Batch] {
        let plan = Plan::new(Network::new(&model).unwrap().shapes(), mode).unwrap();
        let [prepared, client] = [plan.prepared_bytes(), plan.server_bytes()];
        assert_eq!(Ready::new(&model, mode).unwrap().bytes(), prepared);
        let refused = |memory: usize| {
            let server = server(model.clone(), Policy { memory, ..allowed() });
            // Twice: a refusal leaves nothing behind.
            [1, 2].map(|_| server.encrypted(mode).err().map(|refusal| refusal.code))
        };
        assert_eq!(refused(prepared - 1), [Some(RefusalCode::Busy); 2], "{mode:?}");
        assert_eq!(refused(prepared), [None; 2]);
        for (memory, room) in [(prepared + client - 1, false), (prepared + client, true)] {
            let server = server(model.clone(), Policy { memory, ..allowed() });
            // One session after the other: weights do not count again.
            for _ in 0..2 {
                let (result, _) =
                    in_process(&server, seed(5), seed(6), |client| client.encrypted(mode)?.finish());
                assert_eq!(result.is_ok(), room, "{mode:?}: {:?}", result.err());
            }
        }
    }
}

#[test]
fn what_a_client_gets_wrong_is_told() {
    let mut rng = Seed::from_bytes([150; 32]).stream();
    let graph = network(&mut rng);
    let shapes = Network::new(&model(&graph, &mut rng)).unwrap().shapes().clone();
    for mode in [Mode::Single, Mode::Batch] {
        let plan = Plan::new(&shapes, mode).unwrap();
        let mut keys = ClientKeys::new(&plan, seed(1));
        let scale = plan.params().scale();
        assert!(keys.encrypt(&plan, &[], scale).is_err());
        assert!(keys.encrypt(&plan, &[vec![0.0; 143]], scale).is_err());
        assert!(keys.encrypt(&plan, &[vec![f64::NAN; 144]], scale).is_err());
        assert!(keys.encrypt(&plan, &vec![vec![0.0; 144]; plan.most_images() + 1], scale).is_err());
        assert!(keys.decrypt(&plan, &[], 1, 1.0).is_err());
    }
    // Too deep, and not deep at all.
    let dense = ConvGeometry::fully_connected(4, 4).unwrap();
    for layers in [1, 10] {
        let shapes = network::Shapes::of_squares([4, 1, 1], vec![dense.clone(); layers]);
        assert!(Plan::new(&shapes, Mode::Batch).is_err() && Plan::new(&shapes, Mode::Single).is_err());
    }
    for layers in [2, 4, 5, 9] {
        let shapes = network::Shapes::of_squares([4, 1, 1], vec![dense.clone(); layers]);
        for mode in [Mode::Single, Mode::Batch] {
            assert!(Plan::new(&shapes, mode).is_ok(), "{layers} layers, {mode:?}");
        }
    }
}

/// The trained networks on real test images, with times: `cargo test --release -p protocol --lib -- --ignored trained
/// --nocapture`, with the shared data beside the repository or at `HUSHNET_DATA`.
#[test]
#[ignore = "a minute, gigabytes, and data that are not in the repository"]
fn trained_networks_under_encryption() {
    for Trained { name, model, images, labels, expected } in trained(SQUARES, 5000) {
        let network = Network::new(&model).unwrap();
        for (mode, count) in [(Mode::Single, 4), (Mode::Batch, images.len())] {
            let clock = Instant::now();
            let ready = Ready::new(&model, mode).unwrap();
            let plan = ready.plan();
            println!(
                "{name} {mode:?}: ready in {:.2?}, {} MB; {} rotations, {} MB for a client",
                clock.elapsed(),
                ready.bytes() >> 20,
                plan.rotations().len(),
                plan.server_bytes() >> 20
            );
            let clock = Instant::now();
            let mut keys = ClientKeys::new(plan, seed(9));
            let own = keys.evaluation_keys(plan);
            let rlwe = plan.params().rlwe();
            let sizes = [
                own.public.to_bytes().len(),
                own.relin.to_bytes(rlwe).len(),
                own.galois.to_bytes(rlwe).len(),
            ];
            println!("  keys in {:.2?}, bytes {sizes:?}", clock.elapsed());
            let scale = match mode {
                Mode::Single => plan.params().scale(),
                Mode::Batch => batch::input_scale(ready.exponent()),
            };
            let (mut error, mut same, mut right, mut done) = (0.0_f64, 0, 0, 0);
            for images in images[..count].chunks(plan.most_images()) {
                let clock = Instant::now();
                let input = keys.encrypt(plan, images, scale).unwrap();
                let sent: usize = input.iter().map(|x| x.to_bytes(plan.params()).len()).sum();
                let encrypted = clock.elapsed();
                let clock = Instant::now();
                let answers = ready.evaluate(input, &own, &seed(10), &mut |_, _| ()).unwrap();
                let evaluated = clock.elapsed();
                let received: usize = answers.iter().map(|x| x.to_bytes(plan.params()).len()).sum();
                let clock = Instant::now();
                let found = keys.decrypt(plan, &answers, images.len(), network.logit_unit()).unwrap();
                println!(
                    "  {} images: encrypted in {encrypted:.2?}, evaluated in {evaluated:.2?}, decrypted in {:.2?}, {sent} \
                     bytes there, {received} back",
                    images.len(),
                    clock.elapsed()
                );
                for (row, &label) in found.logits.iter().zip(&found.labels) {
                    error = error.max(worst(row, &expected[done]));
                    let best =
                        (0..row.len()).max_by(|&a, &b| expected[done][a].total_cmp(&expected[done][b]));
                    same += usize::from(best == Some(label));
                    right += usize::from(usize::from(labels[done]) == label);
                    done += 1;
                }
            }
            println!(
                "  worst error {error:.4}, range {:.1}; {same} of {done} labels are float's, {right} are right; peak {} MB",
                network.logit_unit(),
                crate::report::peak_memory_bytes().unwrap_or_default() >> 20
            );
            assert!(same * 1000 >= done * 998, "{same} of {done}");
        }
    }
}
