//! Whole activations, both parties' steps and numbers, over all shares of a small ring.

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::*;
use crate::gate::ClientInputs;
use crate::lookup::{Input, Output};
use crate::product::tests::{deal, fresh_rng, random_bits};
use crate::spline::Smooth;
use crate::step::{ClientStep, ServerStep, ServerTurn};

/// All steps of a plan through all messages and through storage; per output z·2^j with the masks taken off.
fn run(rng: &mut ChaCha20Rng, plan: &ActivationPlan, m: &[u64], c: &[u64]) -> Vec<Vec<u64>> {
    let (n, output) = (c.len(), plan.output());
    let masks: Vec<Vec<u64>> =
        (0..plan.outputs()).map(|_| (0..n).map(|_| rng.next_u64() & output.mask()).collect()).collect();
    let borrowed: Vec<&[u64]> = masks.iter().map(Vec::as_slice).collect();
    let operands = plan.client(c, &borrowed, rng).unwrap();
    assert_eq!(operands.len(), plan.steps().len());
    let mut results = Vec::new();
    for (at, (spec, operands)) in plan.steps().iter().zip(&operands).enumerate() {
        let chosen = spec.choices(&operands.compare, rng).to_vec();
        let (server_sends, client_receives) = deal(rng, chosen);
        let random = random_bits(rng, n * spec.server_transfers());
        let (client_sends, server_receives) = deal(rng, random);
        let lanes: Vec<&[u64]> = operands.lanes.iter().map(Vec::as_slice).collect();
        let constants: Vec<&[u64]> = operands.constants.iter().map(Vec::as_slice).collect();
        let inputs = ClientInputs { compare: &operands.compare, lanes: &lanes, constants: &constants };
        let (corrections, client) =
            ClientStep::prepare(spec, &inputs, client_sends, client_receives, rng).unwrap();
        let client = ClientStep::from_bytes(spec, n, &client.into_bytes()).unwrap();
        let server = ServerStep::receive(spec, n, server_receives).unwrap();
        let server = server.complete(server_sends, &corrections).unwrap();
        let (compare, lanes) = plan.server_operands(at, m, &results);
        let (mut message, mut running) = server.begin(compare, lanes).unwrap();
        let mut client = client.start();
        results.push(loop {
            let (answer, next) = client.answer(&message).unwrap();
            match running.next(&answer).unwrap() {
                ServerTurn::Done(lanes) => {
                    assert!(next.is_none());
                    break lanes;
                }
                ServerTurn::Send(more, run) => (message, running, client) = (more, *run, next.unwrap()),
            }
        });
    }
    let outputs = plan.server_outputs(results);
    assert_eq!(outputs.len(), masks.len());
    let open = |(x, r): (&Vec<u64>, &Vec<u64>)| x.iter().zip(r).map(|(&x, &r)| output.add(x, r)).collect();
    outputs.iter().zip(&masks).map(open).collect()
}

/// Every y of `range` under every share of the client, against the function and against the oracle.
fn check(activation: &Activation, widths: Widths, range: std::ops::Range<i64>) {
    let mut rng = fresh_rng();
    let ring = Z2k::new(widths.ring_bits).unwrap();
    let pairs = range.flat_map(|y| (0..=ring.mask()).map(move |c| (y, c)));
    let (values, c): (Vec<i64>, Vec<u64>) = pairs.unzip();
    let m: Vec<u64> = values.iter().zip(&c).map(|(&y, &c)| ring.sub(ring.from_signed(y), c)).collect();
    for one_round in [false, true] {
        let plan = ActivationPlan::new(activation, widths, one_round).unwrap();
        let outputs = run(&mut rng, &plan, &m, &c);
        for (i, &y) in values.iter().enumerate() {
            let own: Vec<u64> = outputs.iter().map(|output| output[i]).collect();
            assert_eq!(own, plan.oracle(m[i], c[i]), "{activation:?} {one_round} y = {y}, c = {}", c[i]);
            for (&z, (ideal, error)) in own.iter().zip(plan.ideal(y)) {
                let distance = (plan.output().signed(z) as f64 - ideal).abs();
                assert!(distance <= error, "{activation:?} y = {y}, c = {}: {distance} > {error}", c[i]);
            }
        }
    }
}

const WIDTHS: Widths = Widths { ring_bits: 6, ignored_bits: 1, output_bits: 18, shift: 3 };

#[test]
fn every_share_of_a_small_ring_to_the_ends_of_the_ranges() {
    // k = 6, h = 1: 2^(k-1) - 2^h = 30 and 2^(k-2) = 16.
    check(&Activation::Relu, WIDTHS, -30..32);
    check(&Activation::PRelu, WIDTHS, -16..16);
    for (negative, positive) in [(1, 5), (-1, 1), (0, 3), (3, 0), (-2, -7)] {
        check(&Activation::Leaky { negative, positive }, WIDTHS, -16..16);
    }
    for (low, high) in [(0, 12), (-12, 12), (-15, 15), (-31, -1), (1, 31), (30, 31)] {
        // y - high ≥ -30 and y - low < 32.
        check(&Activation::Clip { low, high }, WIDTHS, (high - 30).max(-32)..(low + 32).min(32));
    }
    for coefficients in [vec![3, -2], vec![1, 0, 5], vec![0, 4, -3, 7]] {
        check(&Activation::Polynomial { coefficients }, WIDTHS, -3..4);
    }
    // The largest corner that is allowed.
    for three in [1, 7, 14] {
        check(&Activation::HardSwish { three }, WIDTHS, -16..16);
    }
}

#[test]
fn no_activation_has_no_elements() {
    let plan = ActivationPlan::new(&Activation::HardSwish { three: 3 }, WIDTHS, true).unwrap();
    assert_eq!(run(&mut fresh_rng(), &plan, &[], &[]), [Vec::<u64>::new()]);
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let plan = |activation: Activation, widths| ActivationPlan::new(&activation, widths, false);
    let clip = |low, high| plan(Activation::Clip { low, high }, WIDTHS);
    for (low, high) in [(3, 3), (3, 2), (-32, 0), (0, 32), (-16, 15), (i64::MIN, 0), (0, i64::MAX)] {
        assert!(clip(low, high).is_err(), "{low} {high}");
    }
    assert!(clip(-15, 15).is_ok());
    for three in [0, -1, 15, 16, i64::MAX, i64::MIN] {
        assert!(plan(Activation::HardSwish { three }, WIDTHS).is_err(), "{three}");
    }
    assert!(plan(Activation::HardSwish { three: 14 }, WIDTHS).is_ok());
    // The ring has to grow by a bit at least, and to fit a word.
    for (output_bits, shift) in [(6, 0), (9, 3), (2, 3), (61, 0), (70, 0), (u32::MAX, 0), (18, u32::MAX)] {
        let widths = Widths { output_bits, shift, ..WIDTHS };
        assert!(plan(Activation::Relu, widths).is_err(), "{output_bits} {shift}");
        assert!(plan(Activation::Polynomial { coefficients: vec![0, 1] }, widths).is_err());
    }
    for (ring_bits, ignored_bits) in [(0, 0), (2, 0), (6, 5), (6, u32::MAX), (41, 30), (u32::MAX, 1)] {
        let widths = Widths { ring_bits, ignored_bits, output_bits: 60, shift: 0 };
        for activation in [Activation::Relu, Activation::Clip { low: 0, high: 1 }] {
            assert!(plan(activation, widths).is_err(), "{ring_bits} {ignored_bits}");
        }
    }
}

#[test]
fn a_table_for_other_rings_is_refused() {
    let (input, output) = (Input { bits: 12, step: 0.004 }, Output { bits: 30, scale: 1e6 });
    let table = Activation::Smooth(LookupSpec::new(Smooth::Sigmoid, input, output, 4, 2).unwrap());
    let fits = Widths { ring_bits: 12, ignored_bits: 2, output_bits: 30, shift: 0 };
    assert!(ActivationPlan::new(&table, fits, false).is_ok());
    for widths in [
        Widths { ring_bits: 11, ..fits },
        Widths { output_bits: 29, ..fits },
        Widths { output_bits: 31, ..fits },
        Widths { output_bits: 90, ..fits },
    ] {
        assert!(ActivationPlan::new(&table, widths, false).is_err(), "{widths:?}");
    }
}
