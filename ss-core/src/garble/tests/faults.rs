//! What a wrong length, a stray bit or a flipped bit does, in every part of every message and of the material.

use zeroize::ZeroizeOnDrop;

use super::*;

fn relu() -> GarbleSpec {
    GarbleSpec::new(&GateSpec::relu(Comparison::new(18, 6).unwrap(), 46, 8).unwrap())
}

/// A chunk of a ReLU on values around zero, where the verdict hangs on every bit of the shares.
fn inputs(rng: &mut ChaCha20Rng, n: usize) -> Inputs {
    let client: Vec<u64> = (0..n).map(|_| rng.next_u64() & 0x3_ffff).collect();
    let server = client.iter().map(|c| (rng.next_u64() % 256).wrapping_sub(128 + c) & 0x3_ffff).collect();
    Inputs::new(relu(), client, server, rng)
}

/// Elements whose result is not the oracle's.
fn wrong(inputs: &Inputs, out: &[Vec<u64>]) -> usize {
    out[0].iter().zip(&inputs.oracle()[0]).filter(|(got, expected)| got != expected).count()
}

/// The parts of the three messages, in bits from the start: (step, name, first bit, number of bits).
fn parts(spec: &GarbleSpec, n: usize) -> Vec<(usize, &'static str, usize, usize)> {
    let (transfers, low) = (spec.server_transfers(), spec.low_bits());
    let mut all = Vec::new();
    for (step, fields) in [
        vec![
            ("key", 128),
            ("labels", 128 * transfers * n),
            ("gates", 256 * spec.gates() * n),
            ("verdicts", n),
        ],
        vec![
            ("lowest bits", n),
            ("middle bits", (low - 1) * n),
            ("top bits", n),
            ("products", spec.lanes()[0].bits() as usize * n),
            ("lifts", 2 * spec.lift_bits() as usize * n),
        ],
        vec![("labels", 128 * low * n), ("rows", spec.opened_bits() as usize * n)],
    ]
    .into_iter()
    .enumerate()
    {
        let mut first = 0;
        for (name, bits) in fields {
            all.push((step, name, first, bits));
            first += bits;
        }
        assert_eq!(bytes_for_bits(first), spec.message_bytes(n)[step], "the parts make up message {step}");
    }
    all
}

#[test]
fn a_flipped_bit_in_any_part_of_a_message_shows() {
    let mut rng = fresh_rng();
    // One block, so that the parts lie as listed.
    let inputs = inputs(&mut rng, 64);
    for (step, name, first, bits) in parts(&inputs.spec, 64) {
        // A flip may hit a row or a label that is not opened, so try until it shows.
        let shown = (0..100).any(|_| {
            let place = first + rng.next_u64() as usize % bits;
            let out = inputs.run(&mut rng, |at, message| {
                if at == step {
                    message[place / 8] ^= 1 << (place % 8);
                }
            });
            let wrong = wrong(&inputs, &out.unwrap());
            // A key is everybody's; any other bit is one element's.
            assert!(
                name == "key" || wrong <= 1,
                "{wrong} wrong elements by one bit in {name} of message {step}"
            );
            wrong > 0
        });
        assert!(shown, "{name} of message {step}");
    }
    // The twin: nothing flipped, nothing wrong.
    assert_eq!(wrong(&inputs, &inputs.run(&mut rng, |_, _| {}).unwrap()), 0);
}

#[test]
fn a_flipped_bit_in_any_field_of_a_stored_half_shows() {
    let mut rng = fresh_rng();
    let n = 64;
    let inputs = inputs(&mut rng, n);
    let words = 8 * GarbleClient::stored_len(&inputs.spec, n) - 128 - 4 * n;
    for (name, first, bits) in [
        ("seed", 0, 128),
        ("flags", 128, 4 * n),
        ("parts", 128 + 4 * n, words / 2),
        ("pads", 128 + 4 * n + words / 2, words / 2),
    ] {
        let shown = (0..100).any(|_| {
            let (client, server) = inputs.prepare(&mut rng, &mut |_, _| {}).unwrap();
            let mut bytes = client.into_bytes();
            let place = first + rng.next_u64() as usize % bits;
            bytes[place / 8] ^= 1 << (place % 8);
            let client = GarbleClient::from_bytes(&inputs.spec, n, &bytes).unwrap();
            wrong(&inputs, &inputs.online(client, server, &mut |_, _| {}).unwrap()) > 0
        });
        assert!(shown, "{name}");
    }
}

#[test]
fn halves_of_different_chunks_do_not_fit() {
    let mut rng = fresh_rng();
    let inputs = inputs(&mut rng, 200);
    let (client, _) = inputs.prepare(&mut rng, &mut |_, _| {}).unwrap();
    let (_, server) = inputs.prepare(&mut rng, &mut |_, _| {}).unwrap();
    assert!(wrong(&inputs, &inputs.online(client, server, &mut |_, _| {}).unwrap()) > 190);
}

#[test]
fn messages_of_the_wrong_size_or_with_stray_bits_are_refused() {
    let mut rng = fresh_rng();
    // Nine elements: no message of a ReLU ends on a whole byte, but for one.
    let inputs = inputs(&mut rng, 9);
    for step in 0..3 {
        for change in 0..3 {
            let stray = inputs.spec.message_bits()[step] as usize * 9 % 8;
            let result = inputs.run(&mut rng, |at, message| match change {
                _ if at != step => {}
                0 => message.push(0),
                1 => message.truncate(message.len() - 1),
                _ => *message.last_mut().unwrap() |= if stray == 0 { 0 } else { 128 },
            });
            match (change, stray) {
                (2, 0) => assert!(result.is_ok(), "there is no unused bit in message {step}"),
                (2, _) => assert!(matches!(result, Err(SsError::BadValue { .. })), "{result:?}"),
                _ => assert!(matches!(result, Err(SsError::WrongLength { .. })), "{result:?}"),
            }
        }
    }
    assert!((0..3).any(|step| !(9 * inputs.spec.message_bits()[step]).is_multiple_of(8)));
}

#[test]
fn material_and_operands_of_the_wrong_size_are_refused() {
    let mut rng = fresh_rng();
    let (spec, n) = (relu(), 5);
    let (sends, receives) = (n * spec.server_transfers(), n * spec.client_transfers());
    let shares = vec![7; n];
    for (sent, received, constants, lanes, fits) in [
        (sends, receives, n, 0, true),
        (sends - 1, receives, n, 0, false),
        (sends, receives + 1, n, 0, false),
        (sends, receives, n - 1, 0, false),
        (sends, receives, n, 1, false),
    ] {
        let (constants, lane) = (vec![1; constants], &shares[..]);
        let inputs = ClientInputs { compare: &shares, lanes: &vec![lane; lanes], constants: &[&constants] };
        let (sent, received) = (deal(&mut rng, vec![0; sent]).0, deal(&mut rng, vec![0; received]).1);
        let result = GarbleClient::prepare(&spec, &inputs, sent, received, &mut rng);
        assert_eq!(result.is_ok(), fits, "{:?}", result.err());
    }
    assert!(GarbleServer::receive(&spec, n, deal(&mut rng, vec![0; sends + 1]).1).is_err());
    let full = inputs(&mut rng, n);
    for (compare, lanes) in [(n + 1, 0), (n - 1, 0), (n, 1)] {
        let (_, server) = full.prepare(&mut rng, &mut |_, _| {}).unwrap();
        assert!(server.begin(vec![0; compare], vec![vec![0; n]; lanes]).is_err());
    }
    let (client, _) = full.prepare(&mut rng, &mut |_, _| {}).unwrap();
    let bytes = client.into_bytes();
    assert_eq!(bytes.len(), GarbleClient::stored_len(&spec, n));
    for wrong in [&bytes[1..], &[&bytes[..], &[0]].concat()] {
        assert!(GarbleClient::from_bytes(&spec, n, wrong).is_err());
    }
}

/// Holds at compile time: the states hand their parts on and so have no `Drop` of their own; every field has to wipe
/// itself, or be public. A field that is added without being named here does not compile.
#[expect(dead_code, reason = "checked by compiling it")]
fn every_state_is_wiped(
    client: GarbleClient,
    server: (GarbleServerWaiting, GarbleServer, GarbleServerState),
) {
    fn wiped(_: impl ZeroizeOnDrop) {}
    let GarbleClient { spec: _, n: _, seed, flags, parts, pads } = client;
    wiped(seed);
    wiped(flags);
    wiped(parts);
    wiped(pads);
    let (GarbleServerWaiting { spec: _, n: _, choices, labels }, prepared, state) = server;
    wiped(choices);
    wiped(labels);
    let GarbleServer { spec: _, n: _, key: _, gates: _, choices, labels, deltas, own, differences, lifts } =
        prepared;
    wiped(choices);
    wiped(labels);
    wiped(deltas);
    wiped(own);
    wiped(differences);
    wiped(lifts);
    let GarbleServerState { server, values } = state;
    wiped(server);
    wiped(values);
}
