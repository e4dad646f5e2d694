//! What the gate computes, exhaustively on small rings and at random on large ones, and how fast.

use std::time::Instant;

use super::*;
use crate::gate::{ClientGate, ServerGate};

fn test(k: u32, h: u32) -> Comparison {
    Comparison::new(k, h).unwrap()
}

/// Every kind of gate over a comparison, with its thresholds: lifts, terms, lanes.
pub(super) fn kinds(test: Comparison) -> Vec<(GarbleSpec, Vec<i64>)> {
    let k = test.ring_bits();
    let step = 1i64 << (k - 3);
    let gates = [
        (GateSpec::relu(test, k, 0), vec![0]),
        (GateSpec::relu(test, k + 9, 4), vec![0]),
        (GateSpec::maximum(test, None), vec![0]),
        (GateSpec::maximum(test, Some(5)), vec![0]),
        (GateSpec::clip(test, k + 12, 5), vec![-step, step]),
        (GateSpec::leaky(test, k + 6, 3, -1, 1), vec![0]),
        (GateSpec::leaky(test, k + 16, 0, 13, 128), vec![0]),
        (GateSpec::piecewise(test, k + 10, 1, -3, &[5, -4, 7]), vec![-step, 0, step / 2]),
    ];
    gates.into_iter().map(|(gate, thresholds)| (GarbleSpec::new(&gate.unwrap()), thresholds)).collect()
}

/// The same inputs through the gate of three rounds.
fn three_rounds(inputs: &Inputs, rng: &mut ChaCha20Rng) -> Vec<Vec<u64>> {
    let (gate, n) = (inputs.spec.gate(), inputs.server.len());
    let own = crate::gate::choices(gate, &inputs.client, rng);
    let (server_sends, client_receives) = deal(rng, own.to_vec());
    let random = random_bits(rng, n * gate.server_transfers());
    let (client_sends, server_receives) = deal(rng, random);
    let (message, client) = inputs
        .borrowed(|inputs| ClientGate::prepare(gate, inputs, client_sends, client_receives, rng))
        .unwrap();
    let waiting = ServerGate::receive(gate, n, server_receives).unwrap();
    let server = waiting.complete(server_sends, &message).unwrap();
    let (message, server) = server.begin(inputs.server.clone(), inputs.server_lanes.clone()).unwrap();
    let (message, client) = client.tables(&message).unwrap();
    let (message, server) = server.combine(&message).unwrap();
    let (message, client) = client.respond(&message).unwrap();
    let (message, server) = server.select(&message).unwrap();
    server.finish(&client.finish(&message).unwrap()).unwrap()
}

/// Checks the gate against the formulas and against the three-round gate.
fn check(inputs: &Inputs, rng: &mut ChaCha20Rng) {
    let out = inputs.run(rng, |_, _| {}).unwrap();
    assert!(out == inputs.oracle(), "{:?} differs from the formulas", inputs.spec);
    assert!(out == three_rounds(inputs, rng), "{:?} differs from the gate of three rounds", inputs.spec);
}

#[test]
fn every_pair_of_shares_of_a_small_ring() {
    let mut rng = fresh_rng();
    for (k, h) in [(4, 1), (5, 1), (6, 0), (7, 2), (7, 1)] {
        for (spec, thresholds) in kinds(test(k, h)) {
            let full = (1u64 << k) - 1;
            let pairs = (0..=full).flat_map(|m| (0..=full).map(move |c| (m, c)));
            let (server, client): (Vec<_>, Vec<_>) = pairs.unzip();
            let client = client
                .iter()
                .flat_map(|&c| thresholds.iter().map(move |&tau| c.wrapping_sub(tau as u64) & full))
                .collect();
            check(&Inputs::new(spec, client, server, &mut rng), &mut rng);
        }
    }
}

#[test]
fn random_and_edge_values_of_large_rings() {
    let mut rng = fresh_rng();
    for (k, h) in [(18, 6), (16, 4), (14, 3), (18, 1), (20, 6), (24, 8), (32, 15), (40, 23)] {
        for (spec, thresholds) in kinds(test(k, h)) {
            let (client, server, _) = shares(&mut rng, test(k, h), 1200, &thresholds);
            check(&Inputs::new(spec, client, server, &mut rng), &mut rng);
        }
    }
}

/// Lengths around the blocks and the words that bits are packed in.
#[test]
fn chunks_of_every_length() {
    let mut rng = fresh_rng();
    for n in [0, 1, 2, 63, 64, 65, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 65] {
        for (spec, thresholds) in kinds(test(18, 6)) {
            let (client, server, _) = shares(&mut rng, test(18, 6), n, &thresholds);
            let inputs = Inputs::new(spec, client, server, &mut rng);
            let out = inputs.run(&mut rng, |_, _| {}).unwrap();
            assert!(out == inputs.oracle(), "{n} elements of {:?}", inputs.spec);
        }
    }
}

/// The functions themselves, in the range that each promises: exact, but for a verdict below 2^h that came out
/// negative.
#[test]
fn results_are_the_functions() {
    let mut rng = fresh_rng();
    let (test, n) = (test(18, 6), 6000);
    let limit = 1i64 << 16;
    let function = |gate: &GateSpec, thresholds: &[i64], y: i64| {
        let tau = |t: usize| thresholds[t];
        let terms = (0..gate.terms()).map(|t| gate.slopes()[t] * (y - tau(t)).max(0));
        gate.base() * (y - tau(0)) + terms.sum::<i64>()
    };
    for (spec, thresholds) in kinds(test).into_iter().filter(|(spec, _)| spec.lifted()) {
        let (client, server, values) = shares(&mut rng, test, n, &thresholds);
        let inputs = Inputs::new(spec.clone(), client, server, &mut rng);
        let out = inputs.run(&mut rng, |_, _| {}).unwrap();
        let (lane, gate) = (spec.lanes()[0], spec.gate());
        let slack: i64 = gate.slopes().iter().map(|slope| slope.abs() << test.ignored_bits()).sum();
        let (mut exact, mut checked) = (0, 0);
        for (i, &y) in values.iter().enumerate() {
            // A guard bit, and room for the thresholds: 2^15 here.
            if gate.lift() == Lift::Guarded && y.abs() >= limit - (1 << 15)
                || y.abs() > (1 << 17) - (1 << 15) - 64
            {
                continue;
            }
            let result = lane.output().signed(lane.output().sub(out[0][i], inputs.constants[0][i]));
            let error = result - (function(gate, &thresholds, y) << lane.shift());
            assert!(error.abs() < slack << lane.shift(), "{gate:?} at {y}: {result}, error {error}");
            assert!(
                error == 0 || thresholds.iter().any(|tau| (0..64).contains(&(y - tau))),
                "{gate:?} at {y}"
            );
            exact += usize::from(error == 0);
            checked += 1;
        }
        assert!(checked > n / 4 && exact > checked / 2, "{exact} of {checked} are exact");
    }
}

#[test]
#[ignore = "prints times"]
fn nanoseconds_per_element() {
    let mut rng = fresh_rng();
    let n = 4096;
    let wide = test(18, 6);
    for gate in [GateSpec::relu(wide, 46, 14), GateSpec::maximum(wide, None)] {
        let spec = GarbleSpec::new(&gate.unwrap());
        let (client, server, _) = shares(&mut rng, wide, n, &[0]);
        let inputs = Inputs::new(spec.clone(), client, server, &mut rng);
        let mut best = [f64::MAX; 6];
        for _ in 0..30 {
            let own = choices(&spec, &inputs.client, &mut rng);
            let (server_sends, client_receives) = deal(&mut rng, own.to_vec());
            let random = random_bits(&mut rng, n * spec.server_transfers());
            let (client_sends, server_receives) = deal(&mut rng, random);
            let mut times = [0.0; 6];
            let mut clock = Instant::now();
            let mut lap = |slot: usize| {
                times[slot] = clock.elapsed().as_nanos() as f64 / n as f64;
                clock = Instant::now();
            };
            let (message, client) = inputs
                .borrowed(|inputs| {
                    GarbleClient::prepare(&spec, inputs, client_sends, client_receives, &mut rng)
                })
                .unwrap();
            lap(0);
            let waiting = GarbleServer::receive(&spec, n, server_receives).unwrap();
            lap(1);
            let server = waiting.complete(server_sends, &message).unwrap();
            lap(2);
            let (message, server) = server.begin(inputs.server.clone(), inputs.server_lanes.clone()).unwrap();
            lap(3);
            let message = client.answer(&message).unwrap();
            lap(4);
            let out = server.finish(&message).unwrap();
            lap(5);
            assert!(out == inputs.oracle());
            best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
        }
        let names = ["prepare", "receive", "complete", "begin", "answer", "finish"];
        let line: Vec<String> =
            names.iter().zip(best).map(|(name, time)| format!("{name} {time:.0}")).collect();
        println!("ns per element: {}", line.join(", "));
    }
}
