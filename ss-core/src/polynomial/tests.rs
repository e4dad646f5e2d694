//! Polynomial steps against integer arithmetic, exhaustively for small rings.

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use zeroize::ZeroizeOnDrop;

use super::*;
use crate::gate::ClientInputs;
use crate::product::tests::{deal, fresh_rng, random_bits};

/// Shares of y and, for a product, of u.
struct Shares {
    server: Vec<u64>,
    client: Vec<u64>,
    lane: Option<(Vec<u64>, Vec<u64>)>,
}

/// Runs one step through all messages, `pass` may change each; gives z·2^shift with κ taken off.
fn run(
    rng: &mut ChaCha20Rng,
    spec: &PolynomialSpec,
    shares: &Shares,
    mut pass: impl FnMut(usize, &mut Vec<u8>),
) -> Result<Vec<u64>, SsError> {
    let n = shares.client.len();
    let output = spec.output();
    let constants: Vec<u64> = (0..n).map(|_| rng.next_u64() & output.mask()).collect();
    let own = choices(spec, &shares.client, rng);
    let (server_sends, client_receives) = deal(rng, own.to_vec());
    let random = random_bits(rng, n * spec.server_transfers());
    let (client_sends, server_receives) = deal(rng, random);
    let sizes = spec.message_bytes(n);
    let mut pass = |step: usize, mut message: Vec<u8>| {
        assert_eq!(message.len(), sizes[step], "message {step}");
        pass(step, &mut message);
        message
    };
    let lanes: Vec<&[u64]> = shares.lane.iter().map(|lane| &lane.1[..]).collect();
    let inputs = ClientInputs { compare: &shares.client, lanes: &lanes, constants: &[&constants] };
    let (message, client) = PolynomialClient::prepare(spec, &inputs, client_sends, client_receives, rng)?;
    let bytes = client.into_bytes();
    assert_eq!(bytes.len(), PolynomialClient::stored_len(spec, n));
    let client = PolynomialClient::from_bytes(spec, n, &bytes)?;
    let server = PolynomialServer::receive(spec, n, server_receives)?;
    let server = server.complete(server_sends, &pass(0, message))?;
    assert_eq!((server.len(), client.len()), (n, n));
    let lanes = shares.lane.iter().map(|lane| lane.0.clone()).collect();
    let (message, server) = server.begin(shares.server.clone(), lanes)?;
    let message = client.answer(&pass(1, message))?;
    let results = server.finish(&pass(2, message))?;
    Ok(results[0].iter().zip(&constants).map(|(&z, &k)| output.sub(z, k)).collect())
}

/// All pairs of shares of a k-bit ring.
fn all_shares(k: u32) -> Shares {
    let size = 1u64 << k;
    let pairs = (0..size * size).map(|i| (i / size, i % size));
    let (server, client) = pairs.unzip();
    Shares { server, client, lane: None }
}

/// coef(y)·2^shift in wide integers.
fn evaluate(coefficients: &[i64], y: i64) -> i128 {
    coefficients
        .iter()
        .rev()
        .fold(0i128, |sum, &c| sum.wrapping_mul(i128::from(y)).wrapping_add(i128::from(c)))
}

#[test]
fn every_pair_of_shares_of_small_rings() {
    let mut rng = fresh_rng();
    for (k, coefficients, bits, shift) in [
        (3, vec![0, 1], 9, 2),
        (5, vec![0, 1], 5, 0),
        (6, vec![-7, 12], 20, 0),
        (6, vec![3, -1], 7, 1),
        (5, vec![0, 0, 1], 12, 0),
        (6, vec![9, -4, 6], 17, 3),
        (5, vec![1, 2, 3, 4], 30, 0),
        (4, vec![0, 0, 0, 1], 6, 0),
        (4, vec![5, 0, -3, 0, 7], 25, 1),
        (4, vec![1, -1, 1, -1, 1, -1], 33, 0),
        (4, vec![0, 0, 0, 0, 0, 0, -8], 40, 0),
        (5, vec![3, 1, 4, 1, 5, 9, 2, 6], 60, 0),
    ] {
        let spec = PolynomialSpec::polynomial(k, &coefficients, bits, shift).unwrap();
        let shares = all_shares(k);
        let out = run(&mut rng, &spec, &shares, |_, _| {}).unwrap();
        let (small, output) = (Z2k::new(k).unwrap(), spec.output());
        let mut inside = 0;
        for ((&m, &c), &z) in shares.server.iter().zip(&shares.client).zip(&out) {
            assert_eq!(z, spec.value(m, c, None), "{coefficients:?} k={k} m={m} c={c}");
            let y = small.signed(small.add(m, c));
            if (-(1 << (k - 2))..1 << (k - 2)).contains(&y) {
                let expected = (evaluate(&coefficients, y) << shift) as u64 & output.mask();
                assert_eq!(z, expected, "{coefficients:?} k={k} y={y}");
                inside += 1;
            }
        }
        assert_eq!(inside, 1 << (2 * k - 1), "half of all pairs are inside");
    }
}

#[test]
fn beyond_the_guard_bit_it_is_the_next_turn() {
    let spec = PolynomialSpec::lift(8, 20, 0).unwrap();
    let output = spec.output();
    let (mut right, mut turned) = (0, 0);
    for c in 0..256u64 {
        let z = output.signed(spec.value(100u64.wrapping_sub(c), c, None));
        assert!(z == 100 || z == 100 - 256, "{z}");
        if z == 100 { right += 1 } else { turned += 1 }
    }
    assert!(right > 0 && turned > 0, "the guard bit is needed: {right} {turned}");
}

/// Values that matter: around zero, the range's ends, and random ones; client shares at the edges too.
fn real_shares(rng: &mut ChaCha20Rng, k: u32, n: usize) -> (Shares, Vec<i64>) {
    let ring = Z2k::new(k).unwrap();
    let edge = 1i64 << (k - 2);
    let y: Vec<i64> = (0..n as i64)
        .map(|i| match i % 4 {
            0 => i / 4 % 9 - 4,
            1 => edge - 1 - i / 4 % 5,
            2 => -edge + i / 4 % 5,
            _ => (rng.next_u64() % (2 * edge as u64)) as i64 - edge,
        })
        .collect();
    let client: Vec<u64> = (0..n)
        .map(|i| match i % 3 {
            0 => (rng.next_u64() % 5).wrapping_sub(2),
            1 => ((rng.next_u64() % 4) << (k - 2)).wrapping_sub(rng.next_u64() & 1),
            _ => rng.next_u64(),
        } & ring.mask())
        .collect();
    let server = y.iter().zip(&client).map(|(&y, &c)| ring.sub(ring.from_signed(y), c)).collect();
    (Shares { server, client, lane: None }, y)
}

#[test]
fn real_rings_are_exact() {
    let mut rng = fresh_rng();
    for (k, coefficients, bits, shift) in [
        (18, vec![0, 1], 46, 0),
        (18, vec![0, 1], 32, 14),
        (32, vec![0, 1], 60, 0),
        (18, vec![0, 0, 1], 36, 0),
        (18, vec![0, 0, 1], 46, 3),
        (20, vec![0, 0, 1], 46, 0),
        (24, vec![-5, 1 << 12, 3], 60, 0),
        (32, vec![0, 0, 1], 60, 0),
        (16, vec![7, -3, 0, 5], 46, 0),
        (18, vec![1, 2, 3, 4], 60, 0),
        (8, vec![9, 8, -7, 6, -5, 4, 3, -2], 60, 0),
        (18, vec![i64::MIN, i64::MAX, 12345], 60, 0),
    ] {
        let spec = PolynomialSpec::polynomial(k, &coefficients, bits, shift).unwrap();
        let (shares, y) = real_shares(&mut rng, k, 3000);
        let out = run(&mut rng, &spec, &shares, |_, _| {}).unwrap();
        for (&y, &z) in y.iter().zip(&out) {
            let expected = (evaluate(&coefficients, y) << shift) as u64 & spec.output().mask();
            assert_eq!(z, expected, "{coefficients:?} k={k} y={y}");
        }
    }
}

fn with_lane(rng: &mut ChaCha20Rng, mut shares: Shares, bits: u32) -> (Shares, Vec<u64>) {
    let ring = Z2k::new(bits).unwrap();
    let mut word =
        |i: usize| if i.is_multiple_of(3) { (rng.next_u64() % 3).wrapping_sub(1) } else { rng.next_u64() };
    let u: Vec<u64> = (0..shares.client.len()).map(|i| word(i) & ring.mask()).collect();
    let own: Vec<u64> = (0..u.len()).map(|i| word(i) & ring.mask()).collect();
    let server = u.iter().zip(&own).map(|(&u, &c)| ring.sub(u, c)).collect();
    shares.lane = Some((server, own));
    (shares, u)
}

#[test]
fn products_of_two_shared_values() {
    let mut rng = fresh_rng();
    for (k, bits, shift) in [(5, 11, 0), (6, 6, 2), (5, 60, 0)] {
        let spec = PolynomialSpec::product(k, bits, shift).unwrap();
        let (shares, u) = with_lane(&mut rng, all_shares(k), bits);
        let out = run(&mut rng, &spec, &shares, |_, _| {}).unwrap();
        let ring = Z2k::new(k).unwrap();
        let lane = shares.lane.as_ref().unwrap();
        for (i, &z) in out.iter().enumerate() {
            let (m, c) = (shares.server[i], shares.client[i]);
            assert_eq!(z, spec.value(m, c, Some((lane.0[i], lane.1[i]))));
            let y = ring.signed(ring.add(m, c));
            if (-(1 << (k - 2))..1 << (k - 2)).contains(&y) {
                assert_eq!(z, ((y as u64).wrapping_mul(u[i]) << shift) & spec.output().mask(), "k={k} y={y}");
            }
        }
    }
    for (k, bits, shift) in [(18, 36, 0), (20, 46, 5), (32, 60, 0), (16, 28, 0)] {
        let spec = PolynomialSpec::product(k, bits, shift).unwrap();
        let (shares, y) = real_shares(&mut rng, k, 2000);
        let (shares, u) = with_lane(&mut rng, shares, bits);
        let out = run(&mut rng, &spec, &shares, |_, _| {}).unwrap();
        for ((&y, &u), &z) in y.iter().zip(&u).zip(&out) {
            assert_eq!(z, ((y as u64).wrapping_mul(u) << shift) & spec.output().mask(), "k={k} y={y} u={u}");
        }
    }
}

#[test]
fn a_flipped_bit_in_any_message_shows() {
    let mut rng = fresh_rng();
    let specs = [
        PolynomialSpec::lift(18, 46, 0).unwrap(),
        PolynomialSpec::square(18, 36, 0).unwrap(),
        PolynomialSpec::product(18, 36, 0).unwrap(),
    ];
    for spec in specs {
        for step in 0..3 {
            let mut shown = 0;
            for _ in 0..60 {
                let (mut shares, _) = real_shares(&mut rng, 18, 16);
                if spec.lanes() == 1 {
                    shares = with_lane(&mut rng, shares, 36).0;
                }
                let place = rng.next_u64() as usize;
                let out = run(&mut rng, &spec, &shares, |at, message| {
                    if at == step {
                        let bit = place % (message.len() * 8);
                        message[bit / 8] ^= 1 << (bit % 8);
                    }
                });
                let lane = |i: usize| shares.lane.as_ref().map(|lane| (lane.0[i], lane.1[i]));
                let right = (0..16).all(|i| {
                    out.as_ref()
                        .is_ok_and(|out| out[i] == spec.value(shares.server[i], shares.client[i], lane(i)))
                });
                shown += u32::from(!right);
            }
            assert!(shown > if step == 2 { 59 } else { 10 }, "step {step}: {shown}");
        }
    }
}

#[test]
fn material_of_another_step_is_refused() {
    let mut rng = fresh_rng();
    let spec = PolynomialSpec::square(18, 36, 0).unwrap();
    // Choices that are not those of the shares.
    let shares = [0u64, 1 << 17];
    let mut own = choices(&spec, &shares, &mut rng).to_vec();
    assert_eq!(*own, [1, 0]);
    own[1] ^= 1;
    let (_, received) = deal(&mut rng, own);
    let random = random_bits(&mut rng, 2 * spec.server_transfers());
    let (sent, _) = deal(&mut rng, random);
    let inputs = ClientInputs { compare: &shares, lanes: &[], constants: &[&[0, 0]] };
    let refused = PolynomialClient::prepare(&spec, &inputs, sent, received, &mut rng);
    assert!(matches!(refused, Err(SsError::BadValue { .. })));
    // Messages and counts of another size.
    for step in 0..3 {
        let (shares, _) = real_shares(&mut rng, 18, 9);
        let out = run(&mut rng, &spec, &shares, |at, message| {
            if at == step {
                message.push(0);
            }
        });
        assert!(matches!(out, Err(SsError::WrongLength { .. })), "step {step}");
    }
    let (mut shares, _) = real_shares(&mut rng, 18, 9);
    shares.server.pop();
    assert!(matches!(run(&mut rng, &spec, &shares, |_, _| {}), Err(SsError::WrongLength { .. })));
    shares.lane = Some((vec![0; 9], vec![0; 9]));
    assert!(matches!(run(&mut rng, &spec, &shares, |_, _| {}), Err(SsError::WrongLength { .. })));
}

#[test]
fn impossible_steps_are_refused() {
    for (k, coefficients, bits, shift) in [
        (2, vec![0, 1], 10, 0),
        (33, vec![0, 1], 60, 0),
        (18, vec![0, 1], 17, 0),
        (18, vec![0, 1], 61, 0),
        (18, vec![0, 1], 40, 21),
        (18, vec![], 40, 0),
        (18, vec![5], 40, 0),
        (18, vec![5, 0], 40, 0),
        (18, vec![5, 1, 1 << 40], 40, 0),
        (18, vec![1; 9], 40, 0),
    ] {
        assert!(
            PolynomialSpec::polynomial(k, &coefficients, bits, shift).is_err(),
            "{k} {coefficients:?} {bits}"
        );
    }
    assert!(PolynomialSpec::product(18, 17, 0).is_err());
}

/// The table of the module.
#[test]
fn transfers_and_bits_are_as_stated() {
    let row = |spec: &PolynomialSpec| (spec.server_transfers(), spec.client_transfers(), spec.message_bits());
    assert_eq!(row(&PolynomialSpec::lift(18, 46, 0).unwrap()), (1, 0, vec![28, 1, 46]));
    assert_eq!(row(&PolynomialSpec::square(18, 36, 0).unwrap()), (18, 1, vec![477, 35, 36]));
    assert_eq!(row(&PolynomialSpec::square(20, 46, 0).unwrap()), (20, 1, vec![710, 45, 46]));
    assert_eq!(
        row(&PolynomialSpec::polynomial(16, &[1, 1, 1, 1], 46, 0).unwrap()),
        (62, 1, vec![1922, 92, 46])
    );
    assert_eq!(row(&PolynomialSpec::product(18, 36, 0).unwrap()), (72 - 18, 1, vec![1161, 72, 36]));
}

/// The server's first message and the client's answer have uniform bits, whatever y is.
#[test]
fn messages_are_uniform_for_constant_operands() {
    let mut rng = fresh_rng();
    let spec = PolynomialSpec::square(10, 20, 0).unwrap();
    for (server, client) in [(0, 0), (512, 768), (1023, 255)] {
        let runs = 600;
        let mut counts: Vec<Vec<u32>> =
            spec.message_bytes(8).iter().map(|bytes| vec![0; bytes * 8]).collect();
        for _ in 0..runs {
            let shares = Shares { server: vec![server; 8], client: vec![client; 8], lane: None };
            run(&mut rng, &spec, &shares, |step, message| {
                for (bit, count) in counts[step].iter_mut().enumerate() {
                    *count += u32::from(message[bit / 8] >> (bit % 8) & 1);
                }
            })
            .unwrap();
        }
        for (step, counts) in counts.iter().enumerate() {
            assert!(counts.iter().all(|&c| c.abs_diff(runs / 2) < 74), "step {step}: {counts:?}");
        }
    }
}

/// Nanoseconds per element and party: `cargo test -p ss-core --release -- --ignored --nocapture polynomial_speed`.
#[test]
#[ignore = "a measurement"]
fn polynomial_speed() {
    let mut rng = fresh_rng();
    let n = 4096;
    for (name, spec) in [
        ("lift 18 to 46", PolynomialSpec::lift(18, 46, 0).unwrap()),
        ("square 18 to 36", PolynomialSpec::square(18, 36, 0).unwrap()),
        ("square 20 to 46", PolynomialSpec::square(20, 46, 0).unwrap()),
        ("cubic 16 to 46", PolynomialSpec::polynomial(16, &[1, 2, 3, 4], 46, 0).unwrap()),
        ("product 18 to 36", PolynomialSpec::product(18, 36, 0).unwrap()),
    ] {
        let (mut shares, _) = real_shares(&mut rng, spec.ring_bits(), n);
        if spec.lanes() == 1 {
            shares = with_lane(&mut rng, shares, 36).0;
        }
        let constants = vec![0; n];
        let lanes: Vec<&[u64]> = shares.lane.iter().map(|lane| &lane.1[..]).collect();
        let inputs = ClientInputs { compare: &shares.client, lanes: &lanes, constants: &[&constants] };
        let mut best = [f64::MAX; 6];
        for _ in 0..7 {
            let own = choices(&spec, &shares.client, &mut rng);
            let (server_sends, client_receives) = deal(&mut rng, own.to_vec());
            let random = random_bits(&mut rng, n * spec.server_transfers());
            let (client_sends, server_receives) = deal(&mut rng, random);
            let mut step = 0;
            let mut timed = |start: std::time::Instant| {
                best[step] = best[step].min(start.elapsed().as_nanos() as f64 / n as f64);
                step += 1;
            };
            let now = std::time::Instant::now;
            let start = now();
            let (message, client) =
                PolynomialClient::prepare(&spec, &inputs, client_sends, client_receives, &mut rng).unwrap();
            timed(start);
            let start = now();
            let server = PolynomialServer::receive(&spec, n, server_receives).unwrap();
            timed(start);
            let start = now();
            let server = server.complete(server_sends, &message).unwrap();
            timed(start);
            let lanes = shares.lane.iter().map(|lane| lane.0.clone()).collect();
            let start = now();
            let (message, server) = server.begin(shares.server.clone(), lanes).unwrap();
            timed(start);
            let start = now();
            let message = client.answer(&message).unwrap();
            timed(start);
            let start = now();
            server.finish(&message).unwrap();
            timed(start);
        }
        println!("{name}: prepare, receive, complete, begin, answer, finish ns: {best:.0?}");
    }
}

/// Holds at compile time: a field that is added without being named here does not compile.
#[expect(dead_code, reason = "checked by compiling it")]
fn every_state_is_wiped(
    client: PolynomialClient,
    server: (PolynomialWaiting, PolynomialServer, PolynomialFinish),
) {
    fn wiped(_: &impl ZeroizeOnDrop) {}
    wiped(&client);
    wiped(&server.0);
    wiped(&server.1);
    wiped(&server.2);
}
