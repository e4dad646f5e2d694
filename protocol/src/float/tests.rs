//! Floating-point shares against plain evaluation, whole sessions, refusals.

use std::time::Instant;

use conv_fast::ConvShape;
use he_core::Seed;
use nn_merge::Model;
use nn_merge::graph::{Function, Op};

use super::*;
use crate::encrypted::chain::Accepted;
use crate::encrypted::{Mode, Network};
use crate::fixtures::{RELUS, SQUARES, Trained, images, linear, model, network, seed, trained, worst};
use crate::testing::in_process;
use crate::{Client, Policy, ProtocolError, Server};

mod activations;
mod distinguisher;
mod hostile;
mod relay;

fn policy() -> Policy {
    Policy { arithmetic: Arithmetic::Float, ..Policy::default() }
}

fn server(model: Model, policy: Policy) -> Server {
    Server::new(model, policy, seed(2)).unwrap()
}

/// A random network of squares as a model.
fn squares(salt: u8) -> (Model, Vec<Vec<f64>>) {
    let mut rng = Seed::from_bytes([salt; 32]).stream();
    let graph = network(&mut rng);
    let model = model(&graph, &mut rng);
    let images = images(&mut rng, 5, graph.input_len());
    // Calibration has seen other images: what lies beyond the accepted range is brought back.
    let limit = model.manifest.input.limit;
    let images = images.iter().map(|image| image.iter().map(|x| x.clamp(-limit, limit)).collect());
    let images = images.collect();
    (model, images)
}

/// Logits of these images in bundles of these sizes.
fn logits(server: &Server, bits: u32, images: &[Vec<f64>], sizes: &[usize]) -> Vec<Vec<f64>> {
    let run = |client: Client<_>| {
        let mut session = client.float(bits)?;
        let (mut all, mut rest) = (Vec::new(), images);
        for &size in sizes {
            let mut steps = 0;
            let bundle = session.prepare(size, &mut |done, of| {
                steps += 1;
                assert_eq!((steps, of), (done, 10));
            })?;
            assert_eq!((bundle.images(), steps), (size, 10));
            let (now, later) = rest.split_at(size);
            rest = later;
            let answers = session.infer(bundle, now)?;
            for (row, &label) in answers.logits.iter().zip(&answers.labels) {
                assert!(row.iter().all(|&logit| logit <= row[label]));
            }
            all.extend(answers.logits);
        }
        let report = session.finish()?;
        // The request's answer, a message per square, the output.
        let online = report.total(crate::report::Stage::Online);
        assert_eq!(online.rounds, 4 * sizes.len() as u64);
        Ok(all)
    };
    let (result, served) = in_process(server, seed(3), seed(4), run);
    assert_eq!(served.unwrap().images, sizes.iter().sum::<usize>());
    result.unwrap()
}

#[test]
fn logits_are_those_of_the_network() {
    for round in 0..3 {
        let (model, images) = squares(40 + round);
        let network = Network::new(&model).unwrap();
        let server = server(model, policy());
        for (bits, most) in [(4, -12_f64), (10, -12.0), (16, -9.0)] {
            let found = logits(&server, bits, &images, &[1, 2, 2]);
            let errors = images.iter().zip(&found).map(|(x, found)| worst(&network.evaluate(x), found));
            let error = errors.fold(0.0, f64::max) / network.logit_unit();
            println!("round {round}, {bits} mask bits: worst error 2^{:.1} of the range", error.log2());
            assert!(error < most.exp2(), "round {round}, {bits} bits: {error:e}");
        }
        // Masks and encryption errors are fresh: one image twice gives two sets of numbers.
        let twice = [images[0].clone(), images[0].clone()];
        let found = logits(&server, 16, &twice, &[1, 1]);
        assert_ne!(found[0], found[1]);
    }
}

#[test]
fn other_weights_are_other_logits() {
    let (mut model, images) = squares(50);
    let before = logits(&server(model.clone(), policy()), 8, &images[..2], &[2]);
    let last = model.nodes.iter().rposition(|node| !node.weights.is_empty()).unwrap();
    let largest = model.nodes[last].weights.iter().map(|w| w.abs()).max().unwrap();
    model.nodes[last].weights.iter_mut().take(80).for_each(|w| *w += largest / 4);
    let unit = model.manifest.output.scale;
    model.manifest.weights_commitment = Model::commitment(&model.salt, &model.nodes);
    let after = logits(&server(model, policy()), 8, &images[..2], &[2]);
    assert!(worst(&before[0], &after[0]) > (-9_f64).exp2() * unit);
}

/// What a client hears that asks in this way.
fn refusal(
    server: &Server,
    ask: impl FnOnce(Client<crate::session::Greeted>) -> Result<(), ProtocolError> + Send,
) -> String {
    let (result, served) = in_process(server, seed(5), seed(6), ask);
    let Err(ProtocolError::Refused(refusal)) = result else { panic!("{:?}", result.err()) };
    assert!(matches!(served, Err(ProtocolError::Incompatible(_))));
    refusal.reason
}

#[test]
fn both_parties_must_ask_for_it() {
    let (model, images) = squares(60);
    let ring = Server::new(model.clone(), Policy { encrypted: true, ..Policy::default() }, seed(2)).unwrap();
    let heard = refusal(&ring, |client| client.float(16).map(drop));
    assert!(heard.contains("insecure") && heard.contains("both parties"), "{heard}");
    assert!(ring.float().is_none());

    let float = server(model.clone(), Policy { encrypted: true, ..policy() });
    let heard = refusal(&float, |client| client.agree(false).map(drop));
    assert!(heard.contains("--arithmetic float"), "{heard}");
    let heard = refusal(&float, |client| client.encrypted(Mode::Single).map(drop));
    assert!(heard.contains("insecure"), "{heard}");

    // Mask bits that do not exist, or that doubles have no room for.
    for bits in [0, 3, 25, u32::MAX] {
        let heard = refusal(&float, |client| client.float(bits).map(drop));
        assert!(heard.contains("4 to 24"), "{heard}");
    }
    let heard = refusal(&float, |client| client.float(24).map(drop));
    assert!(heard.contains("fewer mask bits"), "{heard}");

    // Sizes, quotas, memory.
    for images in [0, 65] {
        let heard = refusal(&float, |client| client.float(8)?.prepare(images, &mut |_, _| ()).map(drop));
        assert!(heard.contains("1 to 64"), "{heard}");
    }
    let few = server(model.clone(), Policy { quota: 1, ..policy() });
    let heard = refusal(&few, |client| {
        let mut session = client.float(8)?;
        let bundle = session.prepare(1, &mut |_, _| ())?;
        session.infer(bundle, &images[..1])?;
        session.prepare(1, &mut |_, _| ()).map(drop)
    });
    assert!(heard.contains("at most 1 images"), "{heard}");
    let poor = server(model, Policy { memory: 1 << 20, ..policy() });
    let heard = refusal(&poor, |client| client.float(8)?.prepare(1, &mut |_, _| ()).map(drop));
    assert!(heard.contains("MB"), "{heard}");
}

#[test]
fn bundles_are_used_once() {
    let (model, images) = squares(61);
    let float = server(model, policy());
    // The second bundle replaces the first one.
    let heard = refusal(&float, |client| {
        let mut session = client.float(8)?;
        let first = session.prepare(1, &mut |_, _| ())?;
        let _second = session.prepare(1, &mut |_, _| ())?;
        session.infer(first, &images[..1]).map(drop)
    });
    assert!(heard.contains("used already"), "{heard}");
    // Images that the bundle was not made for, or beyond the limit: told before anything leaves.
    for wrong in [&images[..2], &[vec![0.0; 3]][..], &[vec![f64::NAN; 144]][..], &[vec![1e3; 144]][..]] {
        let (result, served) = in_process(&float, seed(5), seed(6), |client| {
            let mut session = client.float(8)?;
            let bundle = session.prepare(1, &mut |_, _| ())?;
            session.infer(bundle, wrong).map(drop)
        });
        assert!(matches!(result, Err(ProtocolError::Caller(_))), "{:?}", result.err());
        assert!(matches!(served, Err(ProtocolError::HungUp { .. })), "{served:?}");
    }
}

/// The trained networks on real test images, by mask bits: `cargo test --release -p protocol --lib float -- --ignored trained
/// --nocapture`, with the shared data beside the repository or at `HUSHNET_DATA`.
#[test]
#[ignore = "data that are not in the repository"]
fn trained_networks_of_squares_on_floating_point_shares() {
    tell_of(SQUARES, &[8, 12, 16, 18]);
}

/// The same of ReLUs.
#[test]
#[ignore = "data that are not in the repository"]
fn trained_networks_of_relus_on_floating_point_shares() {
    tell_of(RELUS, &[8, 12, 16, 18, 24]);
}

fn tell_of(networks: &'static [[&str; 2]], mask_bits: &[u32]) {
    for Trained { name, model, images, labels, expected } in trained(networks, 256) {
        let clock = Instant::now();
        let network = Network::accepting(&model, Accepted::Activations).unwrap();
        let own = images.iter().zip(&expected).map(|(image, row)| worst(&network.evaluate(image), row));
        println!("{name}: the model file's own worst error {:.5}", own.fold(0.0, f64::max));
        let server = server(model, policy());
        let ready = server.float().unwrap();
        println!(
            "{name}: ready in {:.2?}, {} MB, reaches {:?}, {} rotations, keys {:?}",
            clock.elapsed(),
            ready.bytes() >> 20,
            ready.reaches(),
            ready.layouts().rotations().len(),
            ready.layouts().key_bytes()
        );
        for &bits in mask_bits {
            let Ok(plan) = ready.plan(bits).inspect_err(|error| println!("{error}")) else { continue };
            let grids: Vec<i32> = (0..plan.layers()).map(|at| plan.magnitudes(at).input_grid).collect();
            let run = |client: Client<_>| {
                let mut session = client.float(bits)?;
                let mut all = Vec::new();
                for images in images.chunks(64) {
                    let bundle = session.prepare(images.len(), &mut |_, _| ())?;
                    all.push(session.infer(bundle, images)?);
                }
                Ok((all, session.finish()?))
            };
            let (all, report) = in_process(&server, seed(3), seed(4), run).0.unwrap();
            let (mut error, mut same, mut right, mut done) = (0.0_f64, 0, 0, 0);
            for (row, label) in all.iter().flat_map(|a| a.logits.iter().zip(&a.labels)) {
                error = error.max(worst(row, &expected[done]));
                same += usize::from(nn_merge::fixed_point::first_largest(&expected[done]) == *label);
                right += usize::from(usize::from(labels[done]) == *label);
                done += 1;
            }
            let [pre, online] = [crate::report::Stage::Preprocessing, crate::report::Stage::Online]
                .map(|stage| report.total(stage));
            println!(
                "  {bits} bits, grids {grids:?}, {:?}: worst error {error:.5}; {same} of {done} labels are float's, {right} \
                 right; preprocessing {:.1} ms and {:.1} KB, online {:.2} ms and {:.1} KB an image",
                plan.distance(),
                1e3 * pre.seconds / done as f64,
                (pre.bytes_sent + pre.bytes_received) as f64 / 1e3 / done as f64,
                1e3 * online.seconds / done as f64,
                (online.bytes_sent + online.bytes_received) as f64 / 1e3 / done as f64,
            );
            assert!(bits > 16 || same * 100 >= done * 99, "{same} of {done}");
        }
    }
}
