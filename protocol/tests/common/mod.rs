//! Small random networks, built by hand: the protocol's tests need no file.

#![allow(dead_code, reason = "every test file uses its part of this")]

use std::sync::Arc;

use he_core::{Profile, Seed};
use nn_merge::fixed_point::networks::{Conv, Sketch};
use nn_merge::fixed_point::{evaluate_exact, evaluate_with};
use nn_merge::model::{LocalOp, Model, limits};
use protocol::channel::Traffic;
use protocol::offline::construction::{keys_bytes, replies_bytes};
use protocol::report::{Report, Stage};
use protocol::testing::{in_process, replay};
use protocol::{ClientOptions, Output, OutputMode, Plan, Policy, Preprocessing, RoundChoice, Rounds, Server};
use rand_core::Rng;

/// A seed from the system, printed so that a failure can be replayed.
pub(crate) fn fresh_seed(what: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    println!("{what} seed {bytes:?}");
    bytes
}

/// Bits of masked tensors in the tests' networks: the profile's most, but in `wide` ten less than its slots have.
pub(crate) fn width(profile: Profile) -> u32 {
    limits(profile).max_width.min(36)
}

/// conv 3×3 (padded) → max-pool 2×2 → ReLU → strided conv, and beside it a strided 1×1 shortcut and a sum → ReLU → sum pooling
/// → fully connected, 5 classes, random weights.
pub(crate) fn model(profile: Profile, seed: &Seed) -> Model {
    let mut rng = seed.fork("model", &[]).stream();
    let limit = f64::from(width(profile) - 11).exp2();
    let mut s = Sketch::new(profile, [2, 8, 8], width(profile), limit, &mut rng);
    let first = s.conv(0, Conv::same(4, 3)).expect("it fits");
    let relu = s.pooled_relu(first, 2, 2).expect("it fits");
    let strided = Conv { stride: [2, 1], padding: [1, 0, 0, 1], ..Conv::plain(6, [3, 2]) };
    let second = s.conv(relu, strided).expect("it fits");
    let shortcut = s.conv(relu, Conv { stride: [2, 1], ..Conv::plain(6, [1, 1]) }).expect("it fits");
    let sum = s.sum(&[second, shortcut]);
    let relu = s.relu(sum).expect("it fits");
    let pool = s.pool(relu, [1, 2], [1, 2], [0; 4]).expect("it fits");
    let pooled = s.local(&[relu], LocalOp::SumPool(pool)).expect("it fits");
    let last = s.dense(pooled, 5).expect("it fits");
    s.finish(last).expect("a valid model")
}

/// The model as a construction takes it: in `ckks` with weights halved until they are as small as the profile aims at, which
/// those of merged networks are from the start.
pub(crate) fn fitting(construction: Preprocessing, mut model: Model) -> Model {
    if construction == Preprocessing::Ckks {
        let most = 1 << limits(model.manifest.profile).weight_bits;
        let weights = model.nodes.iter_mut().flat_map(|node| &mut node.weights);
        weights.for_each(|w| {
            while w.abs() > most {
                *w /= 2;
            }
        });
        model.manifest.weights_commitment = Model::commitment(&model.salt, &model.nodes);
    }
    model
}

/// Elements of the output.
pub(crate) fn classes(model: &Model) -> usize {
    model.manifest.tensors().expect("a valid model")[model.manifest.output.node as usize].elements()
}

/// Random inputs in the declared range, image after image.
pub(crate) fn inputs(model: &Model, images: usize, seed: &Seed) -> Vec<i64> {
    let mut rng = seed.fork("inputs", &[]).stream();
    (0..images * model.manifest.input_len())
        .map(|_| model.manifest.input.quantize(f64::from(rng.next_u32()) / 4294967296.0 * 2.0 - 1.0))
        .collect()
}

/// `bundles` bundles in one session; gives each one's output.
pub(crate) fn run(
    server: &Server,
    bytes: [u8; 32],
    options: ClientOptions,
    images: usize,
    inputs: &[i64],
    bundles: usize,
) -> Vec<Output> {
    let (client, serving) = (Seed::from_bytes(bytes), Seed::from_bytes(bytes).fork("serving", &[]));
    let (outputs, served) = in_process(server, serving, client, |client| {
        let mut client = client.agree_on(options)?;
        let outputs = (0..bundles)
            .map(|_| {
                let bundle = client.prepare(images, &mut |_, _| {})?;
                client.infer(bundle, inputs, &mut |_, _| {})
            })
            .collect::<Result<Vec<Output>, _>>()?;
        client.finish()?;
        Ok(outputs)
    });
    served.expect("an honest session");
    outputs.expect("an honest session")
}

/// A plan for another construction of the preprocessing.
pub(crate) fn plan_by(
    preprocessing: Preprocessing,
    model: &Model,
    images: usize,
    mode: OutputMode,
) -> Arc<Plan> {
    let plan = Plan::with_preprocessing(&model.manifest, images, mode, RoundChoice::Three, preprocessing);
    Arc::new(plan.expect("a plan"))
}

/// One session of a model against both oracles: bit for bit with the run's noise, within the bound without (where the
/// profile gives logits; elsewhere only the label is compared). Gives the largest distance in units of its bound.
pub(crate) fn check(model: &Model, images: usize, options: ClientOptions, what: &str) -> f64 {
    check_by(Preprocessing::Split, model, images, options, what)
}

/// As [`check`], with another construction of the preprocessing.
pub(crate) fn check_by(
    preprocessing: Preprocessing,
    model: &Model,
    images: usize,
    options: ClientOptions,
    what: &str,
) -> f64 {
    let options = options.preprocessing(preprocessing);
    let bytes = fresh_seed(what);
    let seed = Seed::from_bytes(bytes);
    let fine = matches!(model.manifest.profile, Profile::Wide | Profile::Exact);
    let bits = 16;
    let mut policy = Policy::default();
    policy.offer.logit_bits = fine.then_some(bits);
    let server = Server::new(model.clone(), policy, seed.fork("server", &[])).expect("a valid model");
    let inputs = inputs(model, images, &seed);
    let outputs = run(&server, bytes, options.logits(fine), images, &inputs, 1);
    let mode = if fine { OutputMode::Logits { bits } } else { OutputMode::Label };
    let plan = plan_by(preprocessing, model, images, mode);
    let tape = replay(&server, &plan, &seed, &seed.fork("serving", &[]), 0).expect("a replay");
    let (logits, labels) =
        evaluate_with(model, images, &inputs, &tape, fine.then_some(bits)).expect("a tape that fits");
    if !fine {
        assert_eq!(outputs[0], Output::Labels(labels), "{what}");
    } else {
        assert_eq!(outputs[0], Output::Logits(logits.clone()), "{what}");
    }
    let bits = if fine { bits } else { model.manifest.output.ring_bits };
    let unit = model.manifest.output.scale / f64::from(bits).exp2();
    let mut worst = 0f64;
    for (logits, image) in logits.iter().zip(inputs.chunks(model.manifest.input_len())) {
        let exact = evaluate_exact(model, image, Some(bits)).expect("a valid model");
        assert!(exact.in_range, "{what}: {:?}", exact.overflow);
        for ((&logit, exact), &bound) in logits.iter().zip(&exact.logits).zip(&exact.bounds) {
            let distance = (logit as f64 * unit - exact).abs();
            assert!(distance <= bound, "{what}: {distance}, bound {bound}");
            worst = worst.max(distance / bound);
        }
    }
    worst
}

/// One session of two bundles: its report, and the traffic of each online stage.
fn session(
    server: &Server,
    construction: Preprocessing,
    inputs: &[i64],
    images: usize,
) -> (Report, [Traffic; 2]) {
    let seed = Seed::from_bytes(fresh_seed("session"));
    let options = ClientOptions::new().preprocessing(construction).rounds(Rounds::Three);
    let (result, served) = in_process(server, seed.fork("serving", &[]), seed, |client| {
        let mut client = client.agree_on(options)?;
        let mut online = [Traffic::default(); 2];
        for online in &mut online {
            let bundle = client.prepare(images, &mut |_, _| {})?;
            let before = client.traffic();
            client.infer(bundle, inputs, &mut |_, _| {})?;
            *online = client.traffic() - before;
        }
        Ok((client.finish()?, online))
    });
    served.expect("an honest session");
    result.expect("an honest session")
}

/// Two bundles of two images: messages of the preprocessing have the computed sizes, keys go once, and the online stage is as
/// long as with `split`.
pub(crate) fn check_messages(construction: Preprocessing, server: &Server, seed: &Seed, what: &str) {
    const HEADER: u64 = 12;
    let images = 2;
    let inputs = inputs(server.model(), images, seed);
    let (report, online) = session(server, construction, &inputs, images);
    let plan = plan_by(construction, server.model(), images, OutputMode::Label);
    let sizes = |layer: &str| {
        let row = report
            .rows()
            .iter()
            .find(|row| row.stage == Stage::Preprocessing && row.part == "linear" && row.layer == layer);
        row.map(|row| (row.bytes_sent, row.bytes_received)).expect("a row for every layer")
    };
    for layer in plan.layers() {
        let [sent, received] =
            [keys_bytes(&plan, layer), replies_bytes(&plan, layer)].map(|bytes| 2 * (HEADER + bytes as u64));
        assert_eq!(sizes(&layer.name), (sent, received), "{what}");
        assert_eq!(layer.deltas, [0, 0], "{what}");
    }
    let setup = HEADER + plan.scheme().setup_bytes() as u64;
    assert_eq!(sizes("keys of the session"), (setup, 0), "{what}: once for two bundles");
    let (_, split) = session(server, Preprocessing::Split, &inputs, images);
    for (own, other) in online.iter().zip(&split) {
        assert_eq!(
            (own.sent, own.received, own.rounds),
            (other.sent, other.received, other.rounds),
            "{what}"
        );
    }
}
