//! Whole inferences in one process, against the oracle: bit for bit with the run's noise, within the bound without.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;

use std::sync::Arc;

use common::{fresh_seed, inputs, model, run};
use he_core::{Profile, Seed};
use nn_merge::fixed_point::{evaluate_exact, evaluate_with, quantize_image};
use nn_merge::graph::{Linear, Op};
use nn_merge::{BuildOptions, Graph, build};
use protocol::testing::{in_process, replay};
use protocol::{
    BaseKind, ClientOptions, LinkEstimate, Output, OutputMode, Plan, Policy, ProtocolError, RefusalCode,
    RoundChoice, Rounds, Server, TransferKind,
};

fn server(profile: Profile, logit_bits: Option<u32>, seed: &Seed) -> Server {
    let mut policy = Policy::default();
    policy.offer.logit_bits = logit_bits;
    Server::new(model(profile, seed), policy, seed.fork("server", &[])).unwrap()
}

/// The ways to run one and the same inference: results must not depend on them.
fn ways() -> [ClientOptions; 4] {
    let plain = ClientOptions::new();
    let far = LinkEstimate::new(std::time::Duration::from_millis(40), 1e8);
    [
        plain.rounds(Rounds::Three),
        plain.rounds(Rounds::One).transfers(TransferKind::SoftSpoken { field_bits: 2 }),
        plain.rounds(Rounds::Three).transfers(TransferKind::Silent),
        plain.rounds(Rounds::Auto).link(far).transfers(TransferKind::Silent).base(BaseKind::MlKem),
    ]
}

#[test]
fn logits_equal_the_oracle_given_the_runs_noise() {
    for ((bits, images), way) in [(12, 1), (18, 3), (8, 5), (12, 2)].into_iter().zip(ways()) {
        let bytes = fresh_seed("session");
        let seed = Seed::from_bytes(bytes);
        let server = server(Profile::Wide, Some(bits), &seed);
        let inputs = inputs(server.model(), images, &seed);
        let outputs = run(&server, bytes, way.logits(true), images, &inputs, 2);
        let plan =
            Arc::new(Plan::new(&server.model().manifest, images, OutputMode::Logits { bits }).unwrap());
        for (bundle, output) in outputs.iter().enumerate() {
            let tape = replay(&server, &plan, &seed, &seed.fork("serving", &[]), bundle as u64).unwrap();
            let (expected, _) = evaluate_with(server.model(), images, &inputs, &tape, Some(bits)).unwrap();
            assert_eq!(output, &Output::Logits(expected.clone()), "bundle {bundle}");

            // The noise-free form, within the stated bound.
            let unit = server.model().manifest.output.scale / f64::from(bits).exp2();
            for (logits, image) in expected.iter().zip(inputs.chunks(server.model().manifest.input_len())) {
                let exact = evaluate_exact(server.model(), image, Some(bits)).unwrap();
                assert!(exact.in_range);
                for ((&logit, exact), &bound) in logits.iter().zip(&exact.logits).zip(&exact.bounds) {
                    let distance = (logit as f64 * unit - exact).abs();
                    assert!(distance <= bound, "{distance}, bound {bound}");
                }
            }
        }
    }
}

#[test]
fn a_wrong_tape_is_noticed() {
    // The twin of the test above: a single changed mask bit must not go unseen.
    let bytes = fresh_seed("session");
    let seed = Seed::from_bytes(bytes);
    let server = server(Profile::Wide, Some(18), &seed);
    let inputs = inputs(server.model(), 1, &seed);
    let output = run(&server, bytes, ClientOptions::new().logits(true), 1, &inputs, 1).swap_remove(0);
    let plan = Arc::new(Plan::new(&server.model().manifest, 1, OutputMode::Logits { bits: 18 }).unwrap());
    let mut tape = replay(&server, &plan, &seed, &seed.fork("serving", &[]), 0).unwrap();
    let last = tape.nodes.iter_mut().filter_map(|node| node.linear.as_mut()).next_back().unwrap();
    // One unit of Z_2^18 and half a unit of Z_q: the rounding can't hide it.
    let q = plan.params().modulus();
    last.client_share[0][0] = q.add(last.client_share[0][0], (q.value() >> 18) + 1);
    let (expected, _) = evaluate_with(server.model(), 1, &inputs, &tape, Some(18)).unwrap();
    assert_ne!(output, Output::Logits(expected));
}

#[test]
fn labels_equal_the_oracle_in_every_profile() {
    for (profile, way) in Profile::ALL.into_iter().flat_map(|profile| ways().map(|way| (profile, way))) {
        let bytes = fresh_seed("session");
        let seed = Seed::from_bytes(bytes);
        let server = server(profile, None, &seed);
        let images = 4;
        let inputs = inputs(server.model(), images, &seed);
        let outputs = run(&server, bytes, way, images, &inputs, 2);
        let plan = Arc::new(Plan::new(&server.model().manifest, images, OutputMode::Label).unwrap());
        for (bundle, output) in outputs.iter().enumerate() {
            let tape = replay(&server, &plan, &seed, &seed.fork("serving", &[]), bundle as u64).unwrap();
            let (logits, labels) = evaluate_with(server.model(), images, &inputs, &tape, None).unwrap();
            assert_eq!(output, &Output::Labels(labels.clone()), "{profile} bundle {bundle}");
            for (logits, &label) in logits.iter().zip(&labels) {
                let best = logits.iter().max().unwrap();
                // The test ignores at most 2^(k−17) units per level.
                assert!(best - logits[label] <= 3 * 8, "{profile}: {logits:?} but label {label}");
            }
        }
    }
}

#[test]
fn the_best_labels_come_in_the_order_of_their_logits() {
    for (labels, way) in [(2, 0), (3, 1), (5, 2)] {
        let bytes = fresh_seed("session");
        let seed = Seed::from_bytes(bytes);
        let mut policy = Policy::default();
        policy.offer.labels = 5;
        let server = Server::new(model(Profile::Wide, &seed), policy, seed.fork("server", &[])).unwrap();
        let (manifest, images) = (&server.model().manifest, 3);
        let inputs = inputs(server.model(), images, &seed);
        let output = run(&server, bytes, ways()[way].labels(labels), images, &inputs, 1).swap_remove(0);
        let Output::Top(found) = output else { panic!("{labels} labels were asked for: {output:?}") };

        let mode = OutputMode::Top { labels };
        let plan = Arc::new(Plan::new(manifest, images, mode).unwrap());
        let tape = replay(&server, &plan, &seed, &seed.fork("serving", &[]), 0).unwrap();
        let last = manifest.output.ring_bits;
        let (logits, _) = evaluate_with(server.model(), images, &inputs, &tape, Some(last)).unwrap();
        // Each level may take the smaller of two values that the sign test can't tell apart.
        let slack = plan.arg_max().unwrap().tournament.levels().len() as i64 * 2;
        for (logits, found) in logits.iter().zip(&found) {
            let mut sorted = logits.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            assert_eq!(found.len(), labels as usize);
            for (place, &label) in found.iter().enumerate() {
                assert!((logits[label] - sorted[place]).abs() <= slack, "{logits:?}: {found:?}");
                assert!(!found[..place].contains(&label), "{found:?}");
            }
        }
    }
}

#[test]
fn a_bundle_beyond_the_servers_memory_is_refused() {
    let seed = Seed::from_bytes(fresh_seed("session"));
    let bytes = |rounds| {
        let model = model(Profile::Tiny, &seed);
        let plan = Plan::with_rounds(&model.manifest, 2, OutputMode::Label, rounds).unwrap();
        (model, plan.server_bytes())
    };
    let ((model, one), (_, three)) = (bytes(RoundChoice::One), bytes(RoundChoice::Three));
    assert!(one > 3 * three, "{one} and {three} bytes");
    let policy = Policy { memory: (one + three) / 2, ..Policy::default() };
    let server = Server::new(model, policy, seed.fork("server", &[])).unwrap();
    for (rounds, fits) in [(Rounds::Three, true), (Rounds::One, false), (Rounds::Three, true)] {
        let serving = seed.fork("serving", &[]);
        let (result, _) = in_process(&server, serving, seed.fork("client", &[]), |client| {
            let mut client = client.agree_on(ClientOptions::new().rounds(rounds))?;
            client.prepare(2, &mut |_, _| {}).map(drop)
        });
        match result {
            Ok(()) => assert!(fits),
            Err(ProtocolError::Refused(refusal)) => {
                assert!(!fits && refusal.code == RefusalCode::Busy, "{refusal:?}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// A client that runs a bundle slowly holds the server's memory as one does that prepares: own bundles and kept ones.
#[test]
fn a_bundle_that_runs_counts_as_held() {
    let seed = Seed::from_bytes(fresh_seed("session"));
    let policy = Policy { preparing: 1, ..Policy::default() };
    let server = Server::new(model(Profile::Tiny, &seed), policy, seed.fork("server", &[])).unwrap();
    // Whether another client is refused a place for a bundle now.
    let refused = |number: u64| {
        let seeds = [seed.fork("another server", &[number]), seed.fork("another client", &[number])];
        let [serving, own] = seeds;
        let (result, _) = in_process(&server, serving, own, |client| {
            client.agree(false)?.prepare(1, &mut |_, _| {}).map(drop)
        });
        match result {
            Ok(()) => false,
            Err(ProtocolError::Refused(refusal)) if refusal.code == RefusalCode::Busy => true,
            Err(other) => panic!("{other}"),
        }
    };
    let (result, served) =
        in_process(&server, seed.fork("serving", &[]), seed.fork("client", &[]), |client| {
            let mut client = client.agree(false)?;
            for keep in [false, true] {
                let bundle = client.prepare(1, &mut |_, _| {})?;
                if keep {
                    client.keep(&bundle)?;
                }
                let number = 2 * u64::from(keep);
                let mut seen = None;
                let images = inputs(server.model(), 1, &seed);
                client.infer(bundle, &images, &mut |at, _| {
                    if at == 1 {
                        seen = Some(refused(number));
                    }
                })?;
                assert_eq!(seen, Some(true), "kept: {keep}");
            }
            client.finish().map(drop)
        });
    result.unwrap();
    served.unwrap();
    assert!(!refused(1), "the place is free again");
}

#[test]
fn more_labels_than_the_server_gives_are_refused() {
    let seed = Seed::from_bytes(fresh_seed("session"));
    let server = server(Profile::Tiny, None, &seed);
    let (result, _) = in_process(&server, seed.fork("serving", &[]), seed, |client| {
        client.agree_on(ClientOptions::new().labels(2)).map(drop)
    });
    match result {
        Err(ProtocolError::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::Output),
        other => panic!("{other:?}"),
    }
    for labels in [0, 1, 17, u32::MAX] {
        assert!(Plan::new(&server.model().manifest, 1, OutputMode::Top { labels }).is_err(), "{labels}");
    }
}

#[test]
fn logits_are_refused_by_a_server_that_gives_labels() {
    let seed = Seed::from_bytes(fresh_seed("session"));
    let server = server(Profile::Wide, None, &seed);
    let (result, served) =
        in_process(&server, seed.fork("serving", &[]), seed, |client| client.agree(true).map(drop));
    match result {
        Err(ProtocolError::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::Output),
        other => panic!("{other:?}"),
    }
    assert!(matches!(served, Err(ProtocolError::Incompatible(_))));
}

#[test]
fn profiles_without_room_for_dither_never_serve_logits() {
    let seed = Seed::from_bytes(fresh_seed("session"));
    for profile in [Profile::Tiny, Profile::Narrow] {
        let mut policy = Policy::default();
        policy.offer.logit_bits = Some(12);
        assert!(Server::new(model(profile, &seed), policy, seed.fork("server", &[])).is_err(), "{profile}");
    }
}

#[test]
fn quotas_and_bundle_limits_are_refusals() {
    let seed = Seed::from_bytes(fresh_seed("session"));
    let mut policy = Policy { quota: 5, ..Policy::default() };
    policy.offer.max_images = 3;
    let server = Server::new(model(Profile::Wide, &seed), policy, seed.fork("server", &[])).unwrap();
    // Too many at once; then within the quota; then beyond it on another connection, since the client is the same.
    for (bundles, images, refused) in [(1, 4, true), (2, 2, false), (1, 2, true)] {
        let bytes = fresh_seed("client");
        let (result, _) = in_process(
            &server,
            Seed::from_bytes(bytes).fork("serving", &[]),
            Seed::from_bytes(bytes),
            |client| {
                let mut client = client.agree(false)?;
                for _ in 0..bundles {
                    client.prepare(images, &mut |_, _| {})?;
                }
                Ok(())
            },
        );
        match result {
            Err(ProtocolError::Refused(refusal)) => {
                assert_eq!((refusal.code, refused), (RefusalCode::Limit, true))
            }
            Ok(()) => assert!(!refused, "{images} images were given"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_arg_max_has_room_for_differences_of_logits() {
    // Rows w, −w and nearly nothing: at the edge of the calibrated range the first two logits are a full range apart.
    let geometry = conv_fast::ConvGeometry::fully_connected(4, 3).unwrap();
    let rows = [1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, 0.03, 0.02, 0.03, 0.02];
    let linear = Linear::new("last", geometry, rows.to_vec(), vec![0.0; 3]).unwrap();
    let mut graph = Graph::new("input", &[1, 4, 1, 1]).unwrap();
    graph.push("last", Op::Linear(linear), &[0]).unwrap();
    let calibration = vec![vec![1.0; 4], vec![0.97; 4]];
    let seed = Seed::from_bytes(fresh_seed("session"));
    for margin in [None, Some(1.0), Some(1.5)] {
        for profile in Profile::ALL {
            let options = BuildOptions { margin, ..BuildOptions::new(profile, "edge") };
            let (model, _) =
                build(&graph, &calibration, &options, &mut seed.fork("salt", &[]).stream()).unwrap();
            let inputs: Vec<i64> = calibration
                .iter()
                .flat_map(|image| quantize_image(&model.manifest, image).unwrap())
                .collect();
            let server = Server::new(model, Policy::default(), seed.fork("server", &[])).unwrap();
            let outputs = run(&server, fresh_seed("client"), ClientOptions::new(), 2, &inputs, 1);
            assert_eq!(outputs[0], Output::Labels(vec![0, 0]), "{profile}, margin {margin:?}");
        }
    }
}

#[test]
fn models_that_no_plan_can_run_are_not_built() {
    let seed = Seed::from_bytes(fresh_seed("network"));
    let graph = nn_merge::zoo::mlp(&[16, 8, 4], &mut seed.stream()).unwrap();
    let with = |change: fn(&mut BuildOptions)| {
        let mut options = BuildOptions::new(Profile::Wide, "widths");
        change(&mut options);
        build(&graph, &[], &options, &mut seed.fork("salt", &[]).stream())
    };
    assert!(with(|_| ()).is_ok(), "the twin: defaults build");
    assert!(with(|options| options.last_ring_bits = Some(5)).is_err());
    assert!(with(|options| (options.ring_bits, options.ignored_bits) = (Some(24), Some(4))).is_err());
    assert!(with(|options| (options.ring_bits, options.ignored_bits) = (Some(10), Some(8))).is_err());
}
