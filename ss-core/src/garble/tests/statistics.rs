//! What each party sees is uniform, whatever the inputs; and the same measure finds planted faults. Sizes, tweaks,
//! keys.

use super::*;

/// The strongest deviation from uniform bits among simple statistics, in standard deviations: ones, equal bytes (as
/// chi square, 255 degrees of freedom), and ones in the sum of the message with itself, moved by up to 64 bytes.
fn deviation(message: &[u8]) -> f64 {
    let ones = |bytes: &mut dyn Iterator<Item = u8>| {
        let (mut count, mut total) = (0.0, 0.0);
        for byte in bytes {
            count += f64::from(byte.count_ones());
            total += 8.0;
        }
        (2.0 * count - f64::max(total, 1.0)).abs() / f64::max(total, 1.0).sqrt()
    };
    let mut histogram = [0f64; 256];
    message.iter().for_each(|&byte| histogram[usize::from(byte)] += 1.0);
    let expected = message.len() as f64 / 256.0;
    let chi = histogram.iter().map(|count| (count - expected).powi(2) / expected).sum::<f64>();
    let moved = (1..=64).map(|by| ones(&mut message.iter().zip(&message[by..]).map(|(a, b)| a ^ b)));
    moved.fold(ones(&mut message.iter().copied()).max((chi - 255.0) / 510f64.sqrt()), f64::max)
}

/// Far beyond what 10,000 statistics of uniform bits reach; planted faults are far beyond this.
const LIMIT: f64 = 7.0;

/// Inputs that are as far from random as can be: everything one value.
fn constant(spec: &GarbleSpec, client: u64, server: u64, n: usize, rng: &mut ChaCha20Rng) -> Inputs {
    let full = (1 << spec.gate().comparison().ring_bits()) - 1;
    let mut inputs =
        Inputs::new(spec.clone(), vec![client & full; n * spec.terms()], vec![server & full; n], rng);
    inputs.client_lanes.iter_mut().for_each(|lane| lane.fill(client));
    inputs.server_lanes.iter_mut().for_each(|lane| lane.fill(server));
    inputs
}

#[test]
fn every_message_is_uniform_for_constant_inputs() {
    let mut rng = fresh_rng();
    for (spec, _) in function::kinds(Comparison::new(18, 6).unwrap()) {
        for (client, server) in [(0, 0), (u64::MAX, u64::MAX), (1 << 17, 0), (0, 1 << 16)] {
            let inputs = constant(&spec, client, server, 1024, &mut rng);
            inputs
                .run(&mut rng, |step, message| {
                    let found = deviation(message);
                    assert!(found < LIMIT, "message {step}, shares {client} and {server}: {found}");
                })
                .unwrap();
        }
    }
}

/// For fixed inputs the server's view of the verdict is a coin: the colour, δ, and its share d_S.
#[test]
fn the_server_sees_coins_in_place_of_verdicts() {
    let mut rng = fresh_rng();
    let n = 8000;
    for (spec, _) in function::kinds(Comparison::new(18, 6).unwrap()) {
        for (client, server) in [(0, 5), (3, 1 << 17), (77_777, 55_555)] {
            let inputs = constant(&spec, client, server, n, &mut rng);
            let (client, server) = inputs.prepare(&mut rng, &mut |_, _| {}).unwrap();
            let (message, mut state) =
                server.begin(inputs.server.clone(), inputs.server_lanes.clone()).unwrap();
            let before = state.server.deltas.to_vec();
            let answer = client.answer(&message).unwrap();
            let labels = &answer[..16 * n * spec.answers()];
            let (_, colours) = state.server.evaluate(labels.as_chunks().0);
            for term in 0..spec.terms() {
                for coins in [&before[..], &colours, &state.server.deltas] {
                    let ones = coins[term * n..][..n].iter().map(|&coin| f64::from(coin)).sum::<f64>();
                    let off = (2.0 * ones - n as f64).abs() / (n as f64).sqrt();
                    assert!(off < LIMIT, "{ones} of {n}");
                }
            }
        }
    }
}

/// The twin of the tests above: without the pads, each message gives itself away.
#[test]
fn missing_pads_are_found() {
    let mut rng = fresh_rng();
    let spec = GarbleSpec::new(&GateSpec::relu(Comparison::new(18, 6).unwrap(), 46, 14).unwrap());
    let n = 1024;
    let mut inputs = constant(&spec, 0, 0, n, &mut rng);
    inputs.constants[0].fill(0);
    let count = n * spec.server_transfers();
    let same = || {
        let receives = RotReceiver::from_parts(vec![0; count], vec![9; count]).unwrap();
        (RotSender::from_pairs(vec![[9, 9]; count]), receives)
    };

    // Transfers with equal pads show Δ in the corrections.
    let chosen = choices(&spec, &inputs.client, &mut rng);
    let (server_sends, client_receives) = deal(&mut rng, chosen.to_vec());
    let (message, mut client) = inputs
        .borrowed(|inputs| GarbleClient::prepare(&spec, inputs, same().0, client_receives, &mut rng))
        .unwrap();
    assert!(deviation(&message) > 2.0 * LIMIT);

    // Choices that are all zero show m.
    let waiting = GarbleServer::receive(&spec, n, same().1).unwrap();
    let server = waiting.complete(server_sends, &message).unwrap();
    let (message, _) = server.begin(inputs.server.clone(), Vec::new()).unwrap();
    assert!(deviation(&message) > 2.0 * LIMIT);

    // Rows without pads show the client's parts.
    client.pads.fill([0; 2]);
    client.parts.fill([5; 2]);
    let answer = client.answer(&message).unwrap();
    assert!(deviation(&answer[16 * n * spec.answers()..]) > 2.0 * LIMIT);
}

#[test]
fn messages_have_the_documented_sizes() {
    let test = Comparison::new(18, 6).unwrap();
    for (gate, bits, transfers) in [
        (GateSpec::relu(test, 46, 14), [4097, 72, 1500], (12, 3)),
        (GateSpec::maximum(test, None), [4097, 30, 1444], (12, 1)),
        (GateSpec::clip(test, 46, 14), [6786, 133, 1674], (13, 6)),
    ] {
        let spec = GarbleSpec::new(&gate.unwrap());
        assert_eq!(spec.message_bits(), bits);
        let longer = bits[1] + bits[2] - spec.gate().message_bits()[1..].iter().sum::<u32>();
        assert!((1300..1500).contains(&longer), "{longer} bits more than in three rounds");
        assert_eq!((spec.server_transfers(), spec.client_transfers()), transfers);
        let [corrections, first, answer] = bits.map(|bits| bits as usize);
        assert_eq!(spec.message_bytes(8), [16 + corrections, first, answer]);
    }
    // At rest: the table of the module, by the lengths of the vectors.
    let spec = GarbleSpec::new(&GateSpec::relu(test, 46, 14).unwrap());
    assert_eq!(GarbleClient::stored_len(&spec, 1000), 16 + 23_500);
    let mut rng = fresh_rng();
    let inputs = constant(&spec, 1, 2, 10, &mut rng);
    let (client, server) = inputs.prepare(&mut rng, &mut |_, _| {}).unwrap();
    assert_eq!(client.flags.len() + 16 * (client.parts.len() + client.pads.len()), 33 * 10);
    let transfers = server.choices.len() + 16 * server.labels.len();
    assert_eq!(transfers, 204 * 10);
    let own =
        server.deltas.len() + 16 * server.own.len() + 8 * (server.differences.len() + server.lifts.len());
    assert_eq!(transfers + 16 * server.gates.len() + own, 565 * 10);
}

/// Tweaks of one block: no two hashes of different gates, halves or pads share one.
#[test]
fn tweaks_never_repeat_in_a_block() {
    for (spec, _) in function::kinds(Comparison::new(18, 1).unwrap()) {
        for len in [1, 17, BLOCK] {
            let mut used = std::collections::HashSet::new();
            for gate in 0..spec.gates() {
                assert!((0..2 * len).all(|j| used.insert(gate_tweak(gate) + j as u64)));
            }
            for term in 0..spec.terms() {
                assert!((0..len).all(|j| used.insert(pad_tweak(&spec, term) + j as u64)));
            }
            assert_eq!(used.len(), len * (2 * spec.gates() + spec.terms()));
        }
    }
}

#[test]
fn keys_and_secrets_are_fresh_for_every_chunk_and_block() {
    let mut rng = fresh_rng();
    let spec = GarbleSpec::new(&GateSpec::relu(Comparison::new(18, 6).unwrap(), 46, 14).unwrap());
    let inputs = constant(&spec, 1, 2, 2 * BLOCK, &mut rng);
    let halves: Vec<_> = (0..2).map(|_| inputs.prepare(&mut rng, &mut |_, _| {}).unwrap()).collect();
    assert_ne!(halves[0].0.seed[0], halves[1].0.seed[0]);
    assert_ne!(halves[0].1.key, halves[1].1.key);
    let key = halves[0].1.key;
    let at = |start: usize| block_hash(&key, start).hash_one(1, 2);
    assert_eq!(at(0), at(1), "one block");
    assert_ne!(at(0), at(BLOCK));
    // Elements at the same place of two blocks, with equal inputs: other labels, other rows.
    let gates = &halves[0].1.gates;
    assert!(gates[..gates.len() / 2].iter().zip(&gates[gates.len() / 2..]).all(|(a, b)| a != b));
}
