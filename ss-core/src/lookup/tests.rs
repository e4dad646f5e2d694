//! Look-ups against the oracle bit for bit, and the oracle against the function.

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use zeroize::ZeroizeOnDrop;

use super::*;
use crate::error::SsError;
use crate::gate::ClientInputs;
use crate::ot::RotReceiver;
use crate::product::tests::{deal, fresh_rng, random_bits};
use crate::spline::Smooth;

/// Input of `bits` bits over ±`range`.
fn input(bits: u32, range: f64) -> Input {
    Input { bits, step: range / (1u64 << (bits - 1)) as f64 }
}

/// A 46-bit ring whose full turn is 2·`range`.
fn output(range: f64) -> Output {
    Output { bits: 46, scale: (1u64 << 45) as f64 / range }
}

/// Runs one look-up through all messages, `pass` may change each; gives the value with κ taken off.
fn run(
    rng: &mut ChaCha20Rng,
    spec: &LookupSpec,
    server: &[u64],
    client: &[u64],
    mut pass: impl FnMut(usize, &mut Vec<u8>),
) -> Result<Vec<u64>, SsError> {
    let n = client.len();
    let ring = spec.output();
    let constants: Vec<u64> = (0..n).map(|_| rng.next_u64() & ring.mask()).collect();
    assert!(choices(spec, client, rng).is_empty());
    let (server_sends, client_receives) = deal(rng, Vec::new());
    let random = random_bits(rng, n * spec.server_transfers());
    let (client_sends, server_receives) = deal(rng, random);
    let sizes = spec.message_bytes(n);
    let mut pass = |step: usize, mut message: Vec<u8>| {
        assert_eq!(message.len(), sizes[step], "message {step}");
        pass(step, &mut message);
        message
    };
    let inputs = ClientInputs { compare: client, lanes: &[], constants: &[&constants] };
    let (message, own) = LookupClient::prepare(spec, &inputs, client_sends, client_receives, rng)?;
    let bytes = own.into_bytes();
    assert_eq!(bytes.len(), LookupClient::stored_len(spec, n));
    assert!(LookupClient::from_bytes(spec, n + 1, &bytes).is_err());
    let own = LookupClient::from_bytes(spec, n, &bytes)?;
    let state = LookupServer::receive(spec, n, server_receives)?;
    let state = state.complete(server_sends, &pass(0, message))?;
    assert_eq!((own.len(), state.len()), (n, n));
    let (message, state) = state.begin(server.to_vec(), Vec::new())?;
    let message = own.answer(&pass(1, message))?;
    let results = state.finish(&pass(2, message))?;
    Ok(results[0].iter().zip(&constants).map(|(&z, &k)| ring.sub(z, k)).collect())
}

fn random_shares(rng: &mut ChaCha20Rng, bits: u32, n: usize) -> (Vec<u64>, Vec<u64>) {
    let mask = (1u64 << bits) - 1;
    // A quarter of the shares at the edges of the ring.
    let mut word = |i: usize| {
        let word = rng.next_u64();
        if i.is_multiple_of(4) { (word % 5).wrapping_sub(2) & mask } else { word & mask }
    };
    (0..n).map(|i| (word(i), word(i / 4))).unzip()
}

#[test]
fn every_pair_of_shares_of_a_small_ring() {
    let mut rng = fresh_rng();
    for (function, g, degree) in [(Smooth::Tanh, 3, 2), (Smooth::Silu, 4, 1), (Smooth::Softplus, 2, 2)] {
        let spec = LookupSpec::new(function, input(8, 4.0), output(8.0), g, degree).unwrap();
        let (server, client): (Vec<u64>, Vec<u64>) = (0..1u64 << 16).map(|i| (i >> 8, i & 255)).unzip();
        let out = run(&mut rng, &spec, &server, &client, |_, _| {}).unwrap();
        for ((&m, &c), &z) in server.iter().zip(&client).zip(&out) {
            assert_eq!(z, spec.value(m, c), "{spec:?} m={m} c={c}");
        }
    }
}

#[test]
fn every_shape_is_the_oracle_bit_for_bit() {
    let mut rng = fresh_rng();
    let narrow = Output { bits: 28, scale: (1u64 << 24) as f64 };
    for (i, function) in Smooth::ALL.into_iter().enumerate() {
        for (k, g, degree, ring) in [
            (16, 4, 2, output(16.0)),
            (18, 5, 2, narrow),
            (20, 6, 1, output(100.0)),
            (32, 4, 2, output(16.0)),
            (12, 8, 1, Output { bits: 40, scale: 1e9 }),
        ] {
            let range = if function == Smooth::Exp { 1.5 } else { 6.0 + i as f64 / 10.0 };
            let spec = LookupSpec::new(function, input(k, range), ring, g, degree).unwrap();
            for n in [1, 150] {
                let (server, client) = random_shares(&mut rng, k, n);
                let out = run(&mut rng, &spec, &server, &client, |_, _| {}).unwrap();
                for ((&m, &c), &z) in server.iter().zip(&client).zip(&out) {
                    assert_eq!(z, spec.value(m, c), "{spec:?} m={m} c={c}");
                }
            }
        }
    }
}

/// Largest distance of the oracle from the function over random points and the ends of the range, real.
fn largest_error(rng: &mut ChaCha20Rng, spec: &LookupSpec, points: usize) -> f64 {
    let k = spec.input().bits;
    let (limit, ring) = (spec.limit(), spec.output());
    let mut worst = 0f64;
    for i in 0..points as i64 {
        let y = match i % 8 {
            0 => limit - 1 - i / 8 % 50,
            1 => 1 - limit + i / 8 % 50,
            2 => i / 8 % 101 - 50,
            _ => (rng.next_u64() % (2 * limit as u64 - 1)) as i64 + 1 - limit,
        };
        let client = rng.next_u64() & ((1 << k) - 1);
        let server = (y as u64).wrapping_sub(client) & ((1 << k) - 1);
        let value = ring.signed(spec.value(server, client)) as f64 / spec.output_scale().scale;
        worst = worst.max((value - spec.function().value(y as f64 * spec.input().step)).abs());
    }
    worst
}

#[test]
fn a_million_points_keep_within_the_bound() {
    let mut rng = fresh_rng();
    for function in Smooth::ALL {
        let range = if function == Smooth::Exp { 2.0 } else { 8.0 };
        for (k, g, degree, points) in [(16, 4, 2, 1_000_000), (20, 5, 2, 100_000), (18, 6, 1, 100_000)] {
            let spec = LookupSpec::new(function, input(k, range), output(16.0), g, degree).unwrap();
            let worst = largest_error(&mut rng, &spec, points);
            assert!(worst <= spec.error_bound(), "{spec:?}: {worst} > {}", spec.error_bound());
            assert!(
                worst > spec.error_bound() / 12.0,
                "{spec:?}: {worst} is far below {}",
                spec.error_bound()
            );
        }
    }
}

/// Beyond the limit an entry across the wrap is met, and the result is that of another turn: the limit is needed.
#[test]
fn the_wrap_is_outside_the_limit() {
    let spec = LookupSpec::new(Smooth::Sigmoid, input(16, 8.0), output(2.0), 4, 2).unwrap();
    let ring = spec.output();
    let bad = (0..4096u64).filter(|client| {
        let server = (1u64 << 15).wrapping_sub(*client) & 0xffff;
        ring.signed(spec.value(server, *client)) as f64 / spec.output_scale().scale > 0.5
    });
    assert!(bad.count() > 0, "sigmoid(-8) is 0");
}

/// A function that comes as close to the end of the ring as its error bound would wrap to the other end: refused, and
/// with room for the error right. Without the check the worst of these results would be off by 2.
#[test]
fn results_that_could_wrap_are_refused() {
    let mut rng = fresh_rng();
    for (function, range) in [(Smooth::Sigmoid, 18.0), (Smooth::Tanh, 8.0), (Smooth::Tanh, 18.0)] {
        for (g, degree) in [(7, 2), (8, 1)] {
            let wide = LookupSpec::new(function, input(12, range), output(2.0), g, degree).unwrap();
            let worst = largest_error(&mut rng, &wide, 20_000);
            assert!(worst <= wide.error_bound());
            // Results beyond 1 do occur.
            let unit = wide.output_scale().scale;
            let above = (0..4096u64)
                .filter(|server| wide.output().signed(wide.value(*server, 0)) as f64 / unit >= 1.0)
                .count();
            assert!(above > 0, "{function:?} {g} {degree}");
            assert!(LookupSpec::new(function, input(12, range), output(1.0), g, degree).is_err());
            let room = 1.0 + 1.1 * wide.error_bound();
            assert!(LookupSpec::new(function, input(12, range), output(room), g, degree).is_ok());
        }
    }
}

#[test]
fn the_cheapest_shape_keeps_the_tolerance() {
    for tolerance in [1e-2, 1e-3, 1e-4] {
        let (x, y) = (input(18, 8.0), output(16.0));
        let spec = LookupSpec::within(Smooth::Gelu, x, y, tolerance).unwrap();
        assert!(spec.error_bound() <= tolerance);
        let cost = |spec: &LookupSpec| {
            spec.message_bits().iter().sum::<u32>() as usize + 24 * spec.server_transfers()
        };
        for (g, degree) in (2..=8).flat_map(|g| [(g, 1), (g, 2)]) {
            let other = LookupSpec::new(Smooth::Gelu, x, y, g, degree).unwrap();
            assert!(other.error_bound() > tolerance || cost(&other) >= cost(&spec), "{g} {degree}");
        }
    }
    assert!(LookupSpec::within(Smooth::Gelu, input(18, 8.0), output(16.0), 1e-9).is_err());
}

#[test]
fn a_flipped_bit_in_any_message_shows() {
    let mut rng = fresh_rng();
    let spec = LookupSpec::new(Smooth::Gelu, input(16, 8.0), output(16.0), 3, 2).unwrap();
    for step in 0..3 {
        let (mut shown, mut refused) = (0, 0);
        for _ in 0..200 {
            let (server, client) = random_shares(&mut rng, 16, 4);
            let place = rng.next_u64() as usize;
            let out = run(&mut rng, &spec, &server, &client, |at, message| {
                if at == step {
                    let bit = place % (message.len() * 8);
                    message[bit / 8] ^= 1 << (bit % 8);
                }
            });
            match out {
                Err(_) => refused += 1,
                Ok(out) => {
                    let right = (0..4).all(|i| out[i] == spec.value(server[i], client[i]));
                    shown += u32::from(!right);
                }
            }
        }
        // Seven of eight entries are never opened; unused bits are refused.
        assert!(shown + refused > if step == 0 { 25 } else { 199 }, "step {step}: {shown} {refused}");
        assert!(shown > 20);
    }
}

#[test]
fn messages_of_the_wrong_form_are_refused() {
    let mut rng = fresh_rng();
    let unused = |spec: &LookupSpec| spec.widths().iter().sum::<u32>() % 8 != 0;
    let shapes = (2..6).map(|g| LookupSpec::new(Smooth::Sigmoid, input(16, 8.0), output(2.0), g, 2).unwrap());
    let spec = shapes.into_iter().find(unused).expect("some entry has unused bits");
    let (server, client) = random_shares(&mut rng, 16, 9);
    for step in 0..3 {
        for longer in [false, true] {
            let out = run(&mut rng, &spec, &server, &client, |at, message| {
                if at == step {
                    if longer { message.push(0) } else { message.truncate(message.len() - 1) }
                }
            });
            assert!(matches!(out, Err(SsError::WrongLength { .. })), "step {step}: {out:?}");
        }
    }
    let out = run(&mut rng, &spec, &server, &client, |at, message| {
        if let Some(last) = message.last_mut().filter(|_| at == 0) {
            *last |= 128;
        }
    });
    assert!(matches!(out, Err(SsError::BadValue { .. })), "{out:?}");
    let out = run(&mut rng, &spec, &server[1..], &client, |_, _| {});
    assert!(matches!(out, Err(SsError::WrongLength { .. })));
    let empty = || RotReceiver::from_parts(Vec::new(), Vec::new()).unwrap();
    assert!(LookupServer::receive(&spec, 1, empty()).is_err());
    let inputs = ClientInputs { compare: &client, lanes: &[&client], constants: &[&client] };
    let (sent, _) = deal(&mut rng, vec![0; 9 * spec.server_transfers()]);
    assert!(LookupClient::prepare(&spec, &inputs, sent, empty(), &mut rng).is_err());
}

#[test]
fn impossible_look_ups_are_refused() {
    let good = (input(16, 8.0), output(16.0));
    let new = |x: Input, y: Output, g, degree| LookupSpec::new(Smooth::Silu, x, y, g, degree);
    assert!(new(good.0, good.1, 4, 2).is_ok());
    for (x, y, g, degree) in [
        (input(5, 8.0), good.1, 3, 1),
        (input(33, 8.0), good.1, 3, 1),
        (Input { bits: 16, step: 0.0 }, good.1, 4, 2),
        (Input { bits: 16, step: f64::NAN }, good.1, 4, 2),
        (input(16, 601.0), good.1, 4, 2),
        (good.0, good.1, 1, 2),
        (good.0, good.1, 9, 2),
        (good.0, good.1, 4, 0),
        (good.0, good.1, 4, 3),
        (good.0, Output { bits: 61, scale: 1.0 }, 4, 2),
        (good.0, Output { bits: 46, scale: -1.0 }, 4, 2),
        (good.0, Output { bits: 46, scale: f64::INFINITY }, 4, 2),
        (good.0, output(7.9), 4, 2),
        (good.0, Output { bits: 12, scale: 100.0 }, 4, 2),
    ] {
        assert!(new(x, y, g, degree).is_err(), "{x:?} {y:?} {g} {degree}");
    }
}

/// The bits of S1, C1 and the table are uniform for constant shares.
#[test]
fn messages_are_uniform_for_constant_operands() {
    let mut rng = fresh_rng();
    let spec = LookupSpec::new(Smooth::Tanh, input(10, 4.0), Output { bits: 24, scale: 1e5 }, 2, 2).unwrap();
    let used = spec.entry_bytes() * 8 - spec.widths().iter().sum::<u32>() as usize;
    for share in [0, 512, 1023] {
        let runs = 600;
        let mut counts: Vec<Vec<u32>> =
            spec.message_bytes(8).iter().map(|bytes| vec![0; bytes * 8]).collect();
        for _ in 0..runs {
            run(&mut rng, &spec, &[share; 8], &[share; 8], |step, message| {
                for (bit, count) in counts[step].iter_mut().enumerate() {
                    *count += u32::from(message[bit / 8] >> (bit % 8) & 1);
                }
            })
            .unwrap();
        }
        for (step, counts) in counts.iter().enumerate() {
            let zero = counts.iter().filter(|&&count| count == 0).count();
            assert_eq!(zero, if step == 0 { used * 8 * 4 } else { 0 }, "only unused bits are constant");
            assert!(counts.iter().all(|&c| c == 0 || c.abs_diff(runs / 2) < 80), "step {step}: {counts:?}");
        }
    }
}

/// The opened coefficients are masked: for one input they differ from run to run in every bit.
#[test]
fn the_servers_entry_tells_nothing_about_the_function() {
    let mut rng = fresh_rng();
    let spec =
        LookupSpec::new(Smooth::Sigmoid, input(12, 8.0), Output { bits: 30, scale: 1e8 }, 2, 2).unwrap();
    let runs = 600u32;
    let mut counts = vec![0u32; spec.widths().iter().sum::<u32>() as usize];
    for _ in 0..runs {
        let (sent, received) = deal(&mut rng, Vec::new());
        let random = random_bits(&mut rng, spec.server_transfers());
        let (client_sends, server_receives) = deal(&mut rng, random);
        let inputs = ClientInputs { compare: &[77], lanes: &[], constants: &[&[0]] };
        let (message, own) = LookupClient::prepare(&spec, &inputs, client_sends, received, &mut rng).unwrap();
        let state =
            LookupServer::receive(&spec, 1, server_receives).unwrap().complete(sent, &message).unwrap();
        let (message, state) = state.begin(vec![1234], Vec::new()).unwrap();
        let answer = own.answer(&message).unwrap();
        let aligned = answer.last_chunk::<16>().map(|key| u128::from_le_bytes(*key)).unwrap();
        let opened = state.entries[0] ^ state.hash.hash_one(0, state.keys[0] ^ aligned);
        for (bit, count) in counts.iter_mut().enumerate() {
            *count += (opened >> bit & 1) as u32;
        }
    }
    assert!(counts.iter().all(|&c| c.abs_diff(runs / 2) < 80), "{counts:?}");
}

/// Prints the table of the module and times: `cargo test -p ss-core --release -- --ignored --nocapture table_of_figures`.
#[test]
#[ignore = "a measurement"]
fn table_of_figures() {
    let mut rng = fresh_rng();
    let now = std::time::Instant::now;
    for (function, range, out) in [
        (Smooth::Sigmoid, 8.0, 2.0),
        (Smooth::Tanh, 4.0, 2.0),
        (Smooth::Gelu, 8.0, 8.0),
        (Smooth::Silu, 8.0, 8.0),
        (Smooth::Softplus, 8.0, 16.0),
        (Smooth::Elu, 8.0, 16.0),
    ] {
        for (k, g, degree) in
            [(16, 3, 2), (16, 4, 2), (16, 5, 2), (20, 4, 2), (20, 5, 2), (20, 6, 2), (16, 6, 1)]
        {
            let spec = LookupSpec::new(function, input(k, range), output(out), g, degree).unwrap();
            let worst = largest_error(&mut rng, &spec, 1_000_000);
            let n = 4096;
            let mut best = [f64::MAX; 6];
            let (server, client) = random_shares(&mut rng, k, n);
            let constants = vec![0; n];
            for _ in 0..5 {
                let (sent, received) = deal(&mut rng, Vec::new());
                let random = random_bits(&mut rng, n * spec.server_transfers());
                let (client_sends, server_receives) = deal(&mut rng, random);
                let mut step = 0;
                let mut timed = |start: std::time::Instant| {
                    best[step] = best[step].min(start.elapsed().as_nanos() as f64 / n as f64);
                    step += 1;
                };
                let inputs = ClientInputs { compare: &client, lanes: &[], constants: &[&constants] };
                let start = now();
                let (message, own) =
                    LookupClient::prepare(&spec, &inputs, client_sends, received, &mut rng).unwrap();
                timed(start);
                let start = now();
                let state = LookupServer::receive(&spec, n, server_receives).unwrap();
                timed(start);
                let start = now();
                let state = state.complete(sent, &message).unwrap();
                timed(start);
                let shares = server.clone();
                let start = now();
                let (message, state) = state.begin(shares, Vec::new()).unwrap();
                timed(start);
                let start = now();
                let message = own.answer(&message).unwrap();
                timed(start);
                let start = now();
                state.finish(&message).unwrap();
                timed(start);
            }
            let bits = spec.message_bits();
            println!(
                "//! | {} | ±{range} | {k} | {g} | {degree} | {} | {worst:.1e} | {:.1e} | {} | {} | {:.1} | {} | {:.0?}",
                function.name(),
                spec.dropped_bits(),
                spec.error_bound(),
                spec.server_transfers(),
                bits[0].div_ceil(8),
                f64::from(bits[1] + bits[2]) / 8.0,
                LookupClient::stored_len(&spec, 8) / 8,
                best
            );
        }
    }
}

/// Holds at compile time: a field that is added without being named here does not compile.
#[expect(dead_code, reason = "checked by compiling it")]
fn every_state_is_wiped(client: LookupClient, server: (LookupWaiting, LookupServer, LookupFinish)) {
    fn wiped(_: &impl ZeroizeOnDrop) {}
    let LookupClient { spec: _, products, keys } = client;
    wiped(&products);
    wiped(&keys);
    let (waiting, prepared, finish) = server;
    let LookupWaiting { spec: _, products, random, keys } = waiting;
    wiped(&products);
    wiped(&random);
    wiped(&keys);
    // The table is the client's message, and the hash has a public key.
    let LookupServer { spec: _, hash: _, products, random, keys, table: _ } = prepared;
    wiped(&products);
    wiped(&random);
    wiped(&keys);
    let LookupFinish { spec: _, hash: _, products, compare, keys, entries } = finish;
    wiped(&products);
    wiped(&compare);
    wiped(&keys);
    wiped(&entries);
}
