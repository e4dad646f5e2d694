//! Gates against the arithmetic they stand for, with transfers from an ideal dealer and real randomness.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::ZeroizeOnDrop;

use super::*;
use crate::ot::{RotReceiver, RotSender};

fn fresh_rng() -> ChaCha20Rng {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    println!("seed {seed:?}");
    ChaCha20Rng::from_seed(seed)
}

fn wide(rng: &mut ChaCha20Rng) -> u128 {
    u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())
}

/// Random OTs as an extension would give them, for given choices.
fn deal(rng: &mut ChaCha20Rng, choices: Vec<u8>) -> (RotSender, RotReceiver) {
    let pairs: Vec<[u128; 2]> = choices.iter().map(|_| [wide(rng), wide(rng)]).collect();
    let pads = pairs.iter().zip(&choices).map(|(pair, &c)| pair[usize::from(c)]).collect();
    (RotSender::from_pairs(pairs), RotReceiver::from_parts(choices, pads).unwrap())
}

struct Setup<'a> {
    spec: &'a GateSpec,
    client: ClientInputs<'a>,
    compare: Vec<u64>,
    lanes: Vec<Vec<u64>>,
}

/// Runs one gate through all its messages; `tamper` may change any of them.
fn run(
    rng: &mut ChaCha20Rng,
    setup: Setup<'_>,
    mut tamper: impl FnMut(usize, &mut Vec<u8>),
) -> Result<Vec<Vec<u64>>, SsError> {
    let Setup { spec, client, compare, lanes } = setup;
    let n = compare.len();
    let own = choices(spec, client.compare, rng);
    let random = (0..n * spec.server_transfers()).map(|_| (rng.next_u32() & 1) as u8).collect();
    let (server_sends, client_receives) = deal(rng, own.to_vec());
    let (client_sends, server_receives) = deal(rng, random);
    let sizes = spec.message_bytes(n);
    let mut pass = |step: usize, mut message: Vec<u8>| {
        assert_eq!(message.len(), sizes[step], "message {step} has its stated size");
        tamper(step, &mut message);
        message
    };
    let (message, gate) = ClientGate::prepare(spec, &client, client_sends, client_receives, rng)?;
    // Every gate of these tests waits as bytes once.
    let bytes = gate.into_bytes();
    assert!(ClientGate::from_bytes(spec, n, &bytes[1..]).is_err());
    let gate = ClientGate::from_bytes(spec, n, &bytes)?;
    let server = ServerGate::prepare(spec, n, server_receives, server_sends, &pass(0, message))?;
    let (message, server) = server.begin(compare, lanes)?;
    let (message, gate) = gate.tables(&pass(1, message))?;
    let (message, server) = server.combine(&pass(2, message))?;
    let (message, gate) = gate.respond(&pass(3, message))?;
    let (message, server) = server.select(&pass(4, message))?;
    let message = gate.finish(&pass(5, message))?;
    server.finish(&pass(6, message))
}

/// Values that matter: all around zero and the edges, and random ones.
fn values(rng: &mut ChaCha20Rng, n: usize, test: Comparison) -> Vec<i64> {
    let (edge, slack) = (1i64 << (test.ring_bits() - 1), 1i64 << test.ignored_bits());
    (0..n as i64)
        .map(|i| match i % 4 {
            0 => i / 4 % (4 * slack) - 2 * slack,
            1 => edge - 1 - i / 4 % (2 * slack),
            2 => -edge + slack + i / 4 % (2 * slack),
            _ => rng.next_u64() as i64 % (edge - slack),
        })
        .collect()
}

fn relu_case(
    rng: &mut ChaCha20Rng,
    k: u32,
    h: u32,
    p: u32,
    j: u32,
    n: usize,
    fault: Option<usize>,
) -> (usize, i64) {
    let test = Comparison::new(k, h).unwrap();
    let spec = GateSpec::relu(test, p, j).unwrap();
    let (small, large) = (Z2k::new(k).unwrap(), Z2k::new(p).unwrap());
    let y = values(rng, n, test);
    let client: Vec<u64> =
        (0..n).map(|i| if i % 3 == 0 { rng.next_u64() & 3 } else { rng.next_u64() } & small.mask()).collect();
    let server: Vec<u64> = y.iter().zip(&client).map(|(&y, &c)| small.sub(small.from_signed(y), c)).collect();
    let masks: Vec<u64> = (0..n).map(|_| rng.next_u64() & large.mask()).collect();
    let constants: Vec<u64> = masks.iter().map(|&r| large.sub(0, r)).collect();
    let setup = Setup {
        spec: &spec,
        client: ClientInputs { compare: &client, lanes: &[&client], constants: &[&constants] },
        compare: server.clone(),
        lanes: vec![server],
    };
    let place = rng.next_u64() as usize;
    let out = run(rng, setup, |step, message| {
        if fault == Some(step) {
            let at = place % message.len();
            message[at] ^= 1;
        }
    })
    .unwrap();
    let (mut wrong, mut worst) = (0, 0);
    for ((&y, &x), &r) in y.iter().zip(&out[0]).zip(&masks) {
        let result = large.signed(large.add(x, r));
        let error = (y.max(0) << j) - result;
        // Either exact, or the documented miss: a small positive became zero.
        if error != 0 && !(result == 0 && (0..1 << h).contains(&y)) {
            wrong += 1;
        }
        worst = worst.max(error.abs() >> j);
    }
    (wrong, worst)
}

#[test]
fn relu_is_exact_but_for_the_stated_miss() {
    let mut rng = fresh_rng();
    for (k, h, p, j) in [
        (18, 6, 46, 10),
        (18, 6, 46, 28),
        (16, 4, 28, 12),
        (14, 3, 22, 0),
        (20, 3, 46, 5),
        (10, 4, 12, 1),
        (18, 2, 40, 3),
    ] {
        let (wrong, worst) = relu_case(&mut rng, k, h, p, j, 5000, None);
        assert_eq!(wrong, 0, "k={k} h={h} p={p} j={j}");
        assert!(worst < 1 << h, "k={k} h={h} p={p} j={j}: {worst}");
    }
}

#[test]
fn a_flipped_bit_in_any_message_shows() {
    let mut rng = fresh_rng();
    for step in 0..7 {
        // A flip may hit a table entry nobody opens (steps 2 and 4) or a choice that masks it out, so try until it shows.
        let shown = (0..200).any(|_| relu_case(&mut rng, 18, 6, 46, 10, 64, Some(step)).0 > 0);
        assert!(shown, "step {step}");
    }
}

#[test]
fn maximum_with_an_index_riding_along() {
    let mut rng = fresh_rng();
    let (n, test) = (4000, Comparison::new(18, 2).unwrap());
    let spec = GateSpec::maximum(test, Some(5)).unwrap();
    let (ring, index_ring) = (Z2k::new(18).unwrap(), Z2k::new(5).unwrap());
    let y = values(&mut rng, n, test);
    let mut share = |ring: Z2k, value: u64| {
        let client = rng.next_u64() & ring.mask();
        (ring.sub(value, client), client)
    };
    let (server, client): (Vec<_>, Vec<_>) = y.iter().map(|&y| share(ring, ring.from_signed(y))).unzip();
    let (server_index, client_index): (Vec<_>, Vec<_>) =
        (0..n as u64).map(|i| share(index_ring, i % 32)).unzip();
    let zeros = vec![0; n];
    let setup = Setup {
        spec: &spec,
        client: ClientInputs {
            compare: &client,
            lanes: &[&client, &client_index],
            constants: &[&zeros, &zeros],
        },
        compare: server.clone(),
        lanes: vec![server, server_index],
    };
    let out = run(&mut fresh_rng(), setup, |_, _| {}).unwrap();
    for (i, &y) in y.iter().enumerate() {
        let verdict = out[0][i] != 0 || out[1][i] != 0;
        assert!(!verdict || y >= 0, "negative {y} passed");
        assert!(verdict || y < 4 || i % 32 == 0, "{y} was dropped");
        if verdict {
            assert_eq!((ring.signed(out[0][i]), out[1][i]), (y, i as u64 % 32));
        }
    }
}

#[test]
fn messages_of_the_wrong_size_are_refused() {
    let mut rng = fresh_rng();
    for step in 0..7 {
        for longer in [false, true] {
            let test = Comparison::new(18, 6).unwrap();
            let spec = GateSpec::relu(test, 46, 8).unwrap();
            let shares = vec![5; 9];
            let setup = Setup {
                spec: &spec,
                client: ClientInputs { compare: &shares, lanes: &[&shares], constants: &[&shares] },
                compare: shares.clone(),
                lanes: vec![shares.clone()],
            };
            let result = run(&mut rng, setup, |at, message| {
                if at == step {
                    if longer { message.push(0) } else { message.truncate(message.len() - 1) }
                }
            });
            assert!(
                matches!(result, Err(SsError::WrongLength { .. })),
                "step {step} longer {longer}: {result:?}"
            );
        }
    }
}

#[test]
fn online_bytes_of_the_default_profile() {
    let spec = GateSpec::relu(Comparison::new(18, 6).unwrap(), 46, 14).unwrap();
    let bits: usize = spec.message_bytes(8)[1..].iter().sum();
    assert_eq!(
        bits,
        11 + 64 + 4 + 16 + (1 + 32 + 2 * 14) + 46,
        "bits per element: eight elements fill whole bytes"
    );
}

#[test]
fn inputs_print_their_shape_only() {
    let (shares, constants) = ([70007, 70007], [80008, 80008]);
    let inputs = ClientInputs { compare: &shares, lanes: &[&shares], constants: &[&constants] };
    for text in [format!("{inputs:?}"), format!("{inputs:#?}")] {
        assert_eq!(text, "ClientInputs(2 elements, 1 lanes, redacted)");
    }
}

/// Holds at compile time. The states between two messages can't have a `Drop` of their own, for they hand their parts
/// on; so every field has to wipe itself, and a field that is added without being named here does not compile.
#[expect(dead_code, reason = "checked by compiling it")]
fn every_state_is_wiped(
    client: (ClientGate, ClientCombine, ClientSelect),
    server: (ServerGate, ServerCombine, ServerSelect, ServerFinish),
) {
    fn wiped(_: impl ZeroizeOnDrop) {}
    let (prepared, ClientCombine { gate: combine }, ClientSelect { gate: select }) = client;
    wiped(prepared);
    wiped(combine);
    wiped(select);
    let (prepared, combine, select, finish) = server;
    wiped(prepared);
    let ServerCombine { gate, compare, lanes } = combine;
    wiped(gate);
    wiped(compare);
    wiped(lanes);
    let ServerSelect { gate, compare, lanes, verdicts } = select;
    wiped(gate);
    wiped(compare);
    wiped(lanes);
    wiped(verdicts);
    let ServerFinish { gate, results } = finish;
    wiped(gate);
    wiped(results);
}

#[test]
fn lane_vectors_have_room_in_every_lane() {
    let spec = GateSpec::maximum(Comparison::new(18, 2).unwrap(), Some(5)).unwrap();
    let lanes = lane_vectors(&spec, 100);
    assert_eq!(lanes.len(), 2);
    assert!(lanes.iter().all(|lane| lane.is_empty() && lane.capacity() >= 100));
}

#[test]
fn joined_vectors_move_only_without_room() {
    let (mut own, more) = (Vec::with_capacity(5), [4u64, 5]);
    own.extend([1, 2, 3]);
    let place = own.as_ptr();
    join(&mut own, &more);
    assert_eq!((own.as_slice(), own.as_ptr()), (&[1, 2, 3, 4, 5][..], place));
    own.shrink_to_fit();
    join(&mut own, &more);
    assert_eq!(own, [1, 2, 3, 4, 5, 4, 5]);
}

/// Gates of parts, joined, are the gate of the whole: with room, where nothing may move, and without.
#[test]
fn joined_gates_compute_every_part() {
    let mut rng = fresh_rng();
    let spec = GateSpec::relu(Comparison::new(18, 6).unwrap(), 46, 8).unwrap();
    let (small, large) = (Z2k::new(18).unwrap(), Z2k::new(46).unwrap());
    let parts = [16, 8, 24, 5];
    let n = parts.iter().sum();
    let y = values(&mut rng, n, spec.comparison());
    let client: Vec<u64> = (0..n).map(|_| rng.next_u64() & small.mask()).collect();
    let server: Vec<u64> = y.iter().zip(&client).map(|(&y, &c)| small.sub(small.from_signed(y), c)).collect();
    let zeros = vec![0; n];
    for room in [0, n] {
        let (mut own, mut other) =
            (ClientGate::with_capacity(&spec, room), ServerGate::with_capacity(&spec, room));
        let place = (own.tables.as_ptr(), own.flip[0].as_ptr());
        let mut at = 0;
        for part in parts {
            let range = at..at + part;
            at += part;
            let (share, constants) = (&client[range.clone()], &zeros[range]);
            let (server_sends, client_receives) = {
                let bits = choices(&spec, share, &mut rng);
                deal(&mut rng, bits.to_vec())
            };
            let random = (0..part * spec.server_transfers()).map(|_| (rng.next_u32() & 1) as u8).collect();
            let (client_sends, server_receives) = deal(&mut rng, random);
            let inputs = ClientInputs { compare: share, lanes: &[share], constants: &[constants] };
            let (message, gate) =
                ClientGate::prepare(&spec, &inputs, client_sends, client_receives, &mut rng).unwrap();
            own.append(gate).unwrap();
            other
                .append(ServerGate::prepare(&spec, part, server_receives, server_sends, &message).unwrap())
                .unwrap();
        }
        assert_eq!((own.len(), other.len()), (n, n));
        if room == n {
            assert_eq!(place, (own.tables.as_ptr(), own.flip[0].as_ptr()), "nothing moved");
        }
        let (message, other) = other.begin(server.clone(), vec![server.clone()]).unwrap();
        let (message, own) = own.tables(&message).unwrap();
        let (message, other) = other.combine(&message).unwrap();
        let (message, own) = own.respond(&message).unwrap();
        let (message, other) = other.select(&message).unwrap();
        let out = other.finish(&own.finish(&message).unwrap()).unwrap();
        for (&y, &x) in y.iter().zip(&out[0]) {
            let result = large.signed(x);
            assert!(result == y.max(0) << 8 || (result == 0 && (0..64).contains(&y)), "{y} gave {result}");
        }
    }
}

#[test]
fn gates_of_different_shapes_do_not_join() {
    let test = Comparison::new(18, 6).unwrap();
    let (relu, maximum) = (GateSpec::relu(test, 46, 8).unwrap(), GateSpec::maximum(test, None).unwrap());
    assert!(ClientGate::with_capacity(&relu, 0).append(ClientGate::with_capacity(&maximum, 0)).is_err());
    assert!(ServerGate::with_capacity(&relu, 0).append(ServerGate::with_capacity(&maximum, 0)).is_err());
}
