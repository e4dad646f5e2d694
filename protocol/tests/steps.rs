//! Steps over a channel against the plaintext oracle: every construction, several chunks, every kind of transfers.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;

use std::time::Duration;

use common::fresh_seed;
use he_core::Seed;
use protocol::channel::{Channel, pair};
use protocol::handshake::Terms;
use protocol::steps::{CHUNK_ELEMENTS, prepare, run};
use protocol::transfers::Transfers;
use protocol::{BaseKind, OutputMode, Preprocessing, ProtocolError, TransferKind};
use rand_core::Rng;
use ss_core::activation::{Activation, ActivationPlan, Widths};
use ss_core::lookup::{Input, LookupSpec, Output};
use ss_core::spline::Smooth;

const WIDTHS: Widths = Widths { ring_bits: 18, ignored_bits: 6, output_bits: 46, shift: 10 };
const PATIENCE: Duration = Duration::from_secs(120);

fn activations() -> Vec<Activation> {
    let input = Input { bits: WIDTHS.ring_bits, step: 8.0 / f64::from(1 << (WIDTHS.ring_bits - 1)) };
    let output = Output { bits: WIDTHS.output_bits, scale: f64::from(1 << 20) };
    vec![
        Activation::Relu,
        Activation::Clip { low: -700, high: 20_000 },
        Activation::Leaky { negative: 3, positive: 256 },
        Activation::PRelu,
        Activation::Polynomial { coefficients: vec![5, -3, 1] },
        Activation::HardSwish { three: 24_000 },
        Activation::Smooth(LookupSpec::new(Smooth::Gelu, input, output, 5, 2).unwrap()),
    ]
}

/// One element: the client's share, the server's, and their sum in the activation's range.
struct Shares {
    client: Vec<u64>,
    server: Vec<u64>,
}

impl Shares {
    fn random(n: usize, seed: &Seed) -> Self {
        let mut rng = seed.fork("shares", &[]).stream();
        let (quarter, mask) = (1i64 << (WIDTHS.ring_bits - 2), (1u64 << WIDTHS.ring_bits) - 1);
        let edges = [0, 1, -1, 63, 64, -64, quarter - 1, -quarter, 20_000, -700, 24_000, -24_000];
        let value = |i: usize, random: u64| match edges.get(i % (7 * edges.len())) {
            Some(&edge) => edge,
            None => (random % (2 * quarter as u64)) as i64 - quarter,
        };
        let client: Vec<u64> = (0..n).map(|_| rng.next_u64() & mask).collect();
        let server =
            (0..n).map(|i| (value(i, rng.next_u64()) as u64).wrapping_sub(client[i]) & mask).collect();
        Self { client, server }
    }
}

/// Both parties through all steps of a plan; `repeats` times on one set of base transfers. Gives X + r per output of the
/// last time, and what the client was refused with, if it was.
fn outcome(
    plan: &ActivationPlan,
    kind: TransferKind,
    shares: &Shares,
    repeats: usize,
    damage: Option<usize>,
    seed: &Seed,
) -> Result<Vec<Vec<u64>>, ProtocolError> {
    let n = shares.client.len();
    let terms = Terms {
        mode: OutputMode::Label,
        transfers: kind,
        base: BaseKind::Ristretto,
        preprocessing: Preprocessing::Split,
    };
    let session = [7; 32];
    let sizes: Vec<_> = plan.steps().iter().map(|spec| (spec.clone(), n)).collect();
    let ring = (1u64 << WIDTHS.output_bits) - 1;
    let masks: Vec<Vec<u64>> = (0..plan.outputs())
        .map(|output| {
            let mut rng = seed.fork("masks", &[output as u64]).stream();
            (0..n).map(|_| rng.next_u64() & ring).collect()
        })
        .collect();
    let (left, right) = pair();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| -> Result<_, ProtocolError> {
            let seed = seed.fork("server", &[]);
            let mut channel = Channel::new(right, PATIENCE);
            let mut transfers = Transfers::set_up(&mut channel, &session, &terms, &seed, false)?;
            let mut outputs = Vec::new();
            for _ in 0..repeats {
                let halves = prepare::server(&mut channel, &mut transfers, &sizes, &mut |_, _, _| {})?;
                let mut results = Vec::new();
                for (at, half) in halves.into_iter().enumerate() {
                    let (mut compare, lanes) = plan.server_operands(at, &shares.server, &results);
                    if let Some(at) = damage {
                        compare[at] ^= 1 << (WIDTHS.ring_bits - 1);
                    }
                    results.push(run::server(&mut channel, at, half, &compare, &lanes)?);
                }
                outputs = plan.server_outputs(results);
            }
            channel.flush()?;
            Ok(outputs)
        });
        let client = || -> Result<(), ProtocolError> {
            let seed = seed.fork("client", &[]);
            let mut channel = Channel::new(left, PATIENCE);
            let mut transfers = Transfers::set_up(&mut channel, &session, &terms, &seed, true)?;
            for repeat in 0..repeats as u64 {
                let masks: Vec<&[u64]> = masks.iter().map(Vec::as_slice).collect();
                let mut rng = seed.fork("operands", &[repeat]).stream();
                let operands = plan.client(&shares.client, &masks, &mut rng).unwrap();
                let seed = seed.fork("batch", &[repeat]);
                let halves = prepare::client(
                    &mut channel,
                    &mut transfers,
                    &sizes,
                    &operands,
                    &seed,
                    &mut |_, _, _| {},
                )?;
                for (at, half) in halves.into_iter().enumerate() {
                    run::client(&mut channel, at, half)?;
                }
                channel.flush()?;
            }
            Ok(())
        };
        client()?;
        let outputs: Vec<Vec<u64>> = serving.join().unwrap()?;
        let opened = outputs.iter().zip(&masks);
        Ok(opened.map(|(x, r)| x.iter().zip(r).map(|(x, r)| x.wrapping_add(*r) & ring).collect()).collect())
    })
}

fn wrong(plan: &ActivationPlan, shares: &Shares, outputs: &[Vec<u64>]) -> usize {
    let pairs = shares.server.iter().zip(&shares.client).enumerate();
    pairs
        .filter(|&(i, (&m, &c))| {
            plan.oracle(m, c).iter().zip(outputs).any(|(expected, output)| output[i] != *expected)
        })
        .count()
}

#[test]
fn every_activation_equals_its_oracle_in_both_constructions() {
    let seed = Seed::from_bytes(fresh_seed("steps"));
    let n = 2 * CHUNK_ELEMENTS + 77;
    let shares = Shares::random(n, &seed);
    for (number, activation) in activations().iter().enumerate() {
        for one_round in [false, true] {
            let plan = ActivationPlan::new(activation, WIDTHS, one_round).unwrap();
            let kind = TransferKind::SoftSpoken { field_bits: [2, 4, 8][number % 3] };
            let outputs = outcome(&plan, kind, &shares, 1, None, &seed).unwrap();
            assert_eq!(wrong(&plan, &shares, &outputs), 0, "{activation:?}, one round: {one_round}");
        }
    }
}

#[test]
fn silent_transfers_run_from_one_supply_to_the_next() {
    let seed = Seed::from_bytes(fresh_seed("steps"));
    // 768,000 transfers of one direction, enough to go silent at once; three times need a second supply.
    let shares = Shares::random(48_000, &seed);
    let plan = ActivationPlan::new(&Activation::Relu, WIDTHS, false).unwrap();
    let outputs = outcome(&plan, TransferKind::Silent, &shares, 3, None, &seed).unwrap();
    assert_eq!(wrong(&plan, &shares, &outputs), 0);
}

#[test]
fn a_step_longer_than_what_may_be_in_flight_comes_out_whole() {
    let seed = Seed::from_bytes(fresh_seed("steps"));
    let shares = Shares::random(150 * CHUNK_ELEMENTS + 1, &seed);
    let plan = ActivationPlan::new(&Activation::Relu, WIDTHS, false).unwrap();
    let outputs =
        outcome(&plan, TransferKind::SoftSpoken { field_bits: 4 }, &shares, 1, None, &seed).unwrap();
    assert_eq!(wrong(&plan, &shares, &outputs), 0);
}

#[test]
fn a_damaged_operand_shows_where_it_is_and_nowhere_else() {
    let seed = Seed::from_bytes(fresh_seed("steps"));
    let shares = Shares::random(CHUNK_ELEMENTS + 9, &seed);
    let plan = ActivationPlan::new(&Activation::PRelu, WIDTHS, false).unwrap();
    let kind = TransferKind::SoftSpoken { field_bits: 8 };
    for at in [3, CHUNK_ELEMENTS + 5] {
        let outputs = outcome(&plan, kind, &shares, 1, Some(at), &seed).unwrap();
        assert_eq!(wrong(&plan, &shares, &outputs), 1);
        assert_ne!(outputs[1][at], plan.oracle(shares.server[at], shares.client[at])[1]);
    }
}
