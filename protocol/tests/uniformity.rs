//! What each party sees is uniform: the messages of real sessions, for inputs as different as they can be.
//!
//! | view | messages | inputs compared |
//! |---|---|---|
//! | server | the masked input X_p, the masks of known zeros | all zero, largest values of changing sign |
//! | client | messages 1, 3, 5 of a ReLU gate | all negative, all positive |
//! | server | messages 2, 4, 6 of a ReLU gate | all negative, all positive |
//!
//! Randomness is fresh in every run, and the seeds are printed. A test statistic is turned into a normal deviate; one
//! that is beyond [`LIMIT`] (one in a million, both tails) is a finding. Each detector is shown to fire: on masks of small
//! magnitude or with constant low bits, and on material that is used twice. Uniform is not the same as independent of
//! what else a party knows: that is the transfers' and the lattice's part, not visible to such tests.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;
#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "common/script.rs"]
mod script;

use common::fresh_seed;
use conv_fast::{ConvGeometry, ConvShape};
use he_core::{Profile, Seed};
use nn_merge::model::{ActivationSpec, InputSpec, LayerSpec, LayerWeights, Manifest, Model, limits};
use protocol::channel::Kind;
use protocol::steps::CHUNK_ELEMENTS;
use protocol::{Output, OutputMode, Plan, Policy, Server};
use rand_core::Rng;
use script::{HEADER, Recording};

/// Largest normal deviate that chance is believed to give.
const LIMIT: f64 = 4.9;

/// A server of these layers with labels as output; weights per layer, biases in units of 2^-62 of the torus.
fn server(
    input: [usize; 3],
    layers: Vec<(ConvShape, Option<ActivationSpec>)>,
    weights: Vec<LayerWeights>,
) -> Server {
    let numbers = limits(Profile::Wide);
    let last = layers.len() - 1;
    let specs: Vec<LayerSpec> = layers
        .into_iter()
        .enumerate()
        .map(|(l, (shape, activation))| {
            let ring_bits = if l == last { numbers.last_ring_bits } else { numbers.ring_bits };
            let geometry = ConvGeometry::new(shape).unwrap();
            let (masked_bits, reply_bits) = (numbers.masked_bits, ring_bits + 6);
            LayerSpec { name: format!("layer {l}"), geometry, masked_bits, ring_bits, reply_bits, activation }
        })
        .collect();
    let salt = [1; 32];
    let [channels, height, width] = input;
    let manifest = Manifest {
        name: "views".into(),
        profile: Profile::Wide,
        input: InputSpec {
            channels,
            height,
            width,
            channels_last: false,
            scale: 1.0,
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
            units: f64::from(numbers.masked_bits - 2).exp2(),
            limit: 1.0,
        },
        classes: specs[last].geometry.output_len(),
        layers: specs,
        logit_scale: 1.0,
        weights_commitment: Model::commitment(&salt, &weights),
    };
    let model = Model { manifest, layers: weights, salt };
    model.validate().unwrap();
    Server::new(model, Policy::default(), Seed::from_bytes(fresh_seed("server"))).unwrap()
}

fn dense(inputs: usize, outputs: usize) -> ConvShape {
    *ConvGeometry::fully_connected(inputs, outputs).unwrap().shape()
}

/// The payloads of all frames of a kind and layer.
fn payloads(frames: &[Vec<u8>], kind: Kind, layer: u16) -> Vec<&[u8]> {
    let wanted = |frame: &&Vec<u8>| frame[0] == kind as u8 && frame[2..4] == layer.to_le_bytes();
    frames.iter().filter(wanted).map(|frame| &frame[HEADER..]).collect()
}

/// A chi-square statistic as a normal deviate (Wilson and Hilferty).
fn deviate(statistic: f64, freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    ((statistic / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// How far 256 counts are from equal.
fn from_uniform(counts: &[u64; 256]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / 256.0;
    assert!(expected >= 5.0, "too few values for 256 cells");
    deviate(counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum(), 255.0)
}

/// How far two sets of counts of about equal size are from one another.
fn from_each_other(a: &[u64; 256], b: &[u64; 256]) -> f64 {
    let (all_a, all_b) = (a.iter().sum::<u64>() as f64, b.iter().sum::<u64>() as f64);
    let ratio = (all_b / all_a).sqrt();
    let cell = |(&a, &b): (&u64, &u64)| (a as f64 * ratio - b as f64 / ratio).powi(2) / (a + b) as f64;
    deviate(a.iter().zip(b).map(cell).sum(), 255.0)
}

fn counts(bytes: impl Iterator<Item = u8>) -> [u64; 256] {
    let mut counts = [0; 256];
    bytes.for_each(|byte| counts[usize::from(byte)] += 1);
    counts
}

/// Counts of the lowest and of the highest eight of `bits` bits.
fn ends(values: &[u64], bits: u32) -> [[u64; 256]; 2] {
    [0, bits - 8].map(|shift| counts(values.iter().map(|&value| (value >> shift) as u8)))
}

/// The largest deviate of low bits and high bits from uniform.
fn worst(values: &[u64], bits: u32) -> f64 {
    ends(values, bits).iter().map(from_uniform).fold(0.0, |worst, z| f64::max(worst, z.abs()))
}

/// The same of a message of `elements` elements: its bytes, and each bit position within an element by itself.
fn worst_of_message(message: &[u8], elements: usize) -> f64 {
    let width = 8 * message.len() / elements;
    assert_eq!(width * elements, 8 * message.len(), "whole bytes");
    let mut ones = vec![0u64; width];
    for bit in 0..8 * message.len() {
        ones[bit % width] += u64::from(message[bit / 8] >> (bit % 8) & 1);
    }
    let half = elements as f64 / 2.0;
    let bits = ones.iter().map(|&ones| (ones as f64 - half).abs() / (half / 2.0).sqrt()).fold(0.0, f64::max);
    // The largest of some two hundred positions: brought down by what their number adds at this level.
    let bits = bits * LIMIT / 5.9;
    bits.max(from_uniform(&counts(message.iter().copied())).abs())
}

#[test]
fn masked_inputs_tell_the_server_nothing() {
    let shape = ConvShape {
        in_channels: 4,
        in_height: 32,
        in_width: 32,
        out_channels: 2,
        kernel: [3, 3],
        stride: [8, 8],
        padding: [1; 4],
        dilation: [1, 1],
        groups: 1,
    };
    let weights = LayerWeights { weights: (0..72).map(|i| i % 7 - 3).collect(), bias: vec![0; 2] };
    let server = server([4, 32, 32], vec![(shape, None)], vec![weights]);
    let p = limits(Profile::Wide).masked_bits;
    let (images, length) = (64, server.model().manifest.input_len());
    let plan = Plan::new(&server.model().manifest, images, OutputMode::Label).unwrap();
    let largest = (1i64 << (p - 1)) - 1;
    let extreme: Vec<i64> =
        (0..images * length).map(|i| if i % 3 == 0 { -largest } else { largest }).collect();

    let views = [vec![0; images * length], extreme].map(|inputs| {
        let (mut masked, mut zeros) = (Vec::new(), Vec::new());
        while masked.len() < 1_000_000 {
            let session = Recording::new(&server, fresh_seed("session"), &inputs);
            let message = payloads(&session.client, Kind::Input, 0)[0];
            masked.extend(ss_core::bits::unpack(message, inputs.len(), p).unwrap());
            let (layer, keys) = (&plan.layers()[0], payloads(&session.client, Kind::Keys, 0)[0]);
            for group in keys.chunks(keys.len() / layer.groups) {
                let own = &group[he_core::split::PublicKey::wire_len(plan.params())..];
                zeros.extend(he_core::wire::unpack(own, layer.zeros(), p).unwrap());
            }
        }
        (masked, zeros)
    });
    for (what, (masked, zeros)) in ["all zero", "extreme"].iter().zip(&views) {
        let (a, b) = (worst(masked, p), worst(zeros, p));
        println!(
            "{what}: {} masked inputs, deviate {a:.2}; {} known zeros, deviate {b:.2}",
            masked.len(),
            zeros.len()
        );
        assert!(a < LIMIT && b < LIMIT);
    }
    for (zero, extreme) in ends(&views[0].0, p).iter().zip(&ends(&views[1].0, p)) {
        let z = from_each_other(zero, extreme);
        println!("one input from the other: deviate {z:.2}");
        assert!(z.abs() < LIMIT);
    }
    // Planted: masks of 1/64 of the range, and masks whose low four bits stand still.
    let mut rng = Seed::from_bytes(fresh_seed("planted masks")).stream();
    let full = (1u64 << p) - 1;
    let small: Vec<u64> =
        views[0].0.iter().map(|_| (rng.next_u64() >> (64 - p + 6)).wrapping_neg() & full).collect();
    let coarse: Vec<u64> = views[0].0.iter().map(|x| x & !15).collect();
    for (what, planted) in [("small", small), ("coarse", coarse)] {
        let z = worst(&planted, p);
        println!("{what} masks: deviate {z:.0}");
        assert!(z > 10.0 * LIMIT, "{what} masks went unseen");
    }
}

/// 16×16 pixels → four copies of each → ReLU → two sums of opposite sign: label 1 exactly if the pixels are positive.
fn relu_server() -> Server {
    let numbers = limits(Profile::Wide);
    let copies = ConvShape {
        in_channels: 1,
        in_height: 16,
        in_width: 16,
        out_channels: 4,
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0; 4],
        dilation: [1, 1],
        groups: 1,
    };
    // 1024 values of a quarter turn each, brought down so that their sum is a quarter turn again.
    let shift = numbers.masked_bits - numbers.ring_bits - 10;
    let activation = ActivationSpec { pool: None, ignored_bits: numbers.ignored_bits, shift };
    let signs = (0..2048).map(|i| if i < 1024 { -1 } else { 1 }).collect();
    let layers = vec![(copies, Some(activation)), (dense(1024, 2), None)];
    let weights = vec![
        LayerWeights { weights: vec![1; 4], bias: vec![0; 4] },
        LayerWeights { weights: signs, bias: vec![1 << 58, -(1 << 58)] },
    ];
    server([1, 16, 16], layers, weights)
}

/// The six messages of the first gate of `elements`, in order, each joined from its chunks: full ones end on a whole byte.
fn gate(session: &Recording, elements: usize) -> Vec<Vec<u8>> {
    let (server, client) =
        (payloads(&session.server, Kind::Gate, 0), payloads(&session.client, Kind::Gate, 0));
    assert_eq!(elements % CHUNK_ELEMENTS, 0);
    let chunks = elements / CHUNK_ELEMENTS;
    assert_eq!((server.len(), client.len()), (3 * chunks, 3 * chunks));
    server
        .chunks(chunks)
        .zip(client.chunks(chunks))
        .flat_map(|(odd, even)| [odd.concat(), even.concat()])
        .collect()
}

#[test]
fn gate_messages_tell_neither_side_anything() {
    let server = relu_server();
    let (images, pixels) = (16, 256);
    let elements = images * pixels * 4;
    let quarter = 1i64 << (limits(Profile::Wide).masked_bits - 2);
    let run = |seed: [u8; 32], positive: bool| {
        let inputs = vec![if positive { quarter } else { -quarter }; images * pixels];
        let session = Recording::new(&server, seed, &inputs);
        // The twin: the gate's inputs are what they are said to be.
        assert_eq!(session.result.1, Output::Labels(vec![usize::from(positive); images]));
        session
    };
    let sessions = [false, true].map(|positive| run(fresh_seed("session"), positive));
    for (positive, session) in [false, true].iter().zip(&sessions) {
        for (at, message) in gate(session, elements).iter().enumerate() {
            let z = worst_of_message(message, elements);
            println!("message {}, all positive {positive}: {} bytes, deviate {z:.2}", at + 1, message.len());
            assert!(z < LIMIT, "message {} is not uniform", at + 1);
        }
    }
    let [negative, positive] = [0, 1].map(|at| gate(&sessions[at], elements));
    for (at, (negative, positive)) in negative.iter().zip(&positive).enumerate() {
        let z = from_each_other(&counts(negative.iter().copied()), &counts(positive.iter().copied()));
        println!("message {}, one sign from the other: deviate {z:.2}", at + 1);
        assert!(z.abs() < LIMIT);
        let both: Vec<u8> = negative.iter().zip(positive).map(|(a, b)| a ^ b).collect();
        assert!(worst_of_message(&both, elements) < LIMIT, "messages {} of two sessions go together", at + 1);
    }

    // Planted: the same material for two inputs, which one-time types and the store rule out. The sum of two messages
    // loses its pads, and what is left shows.
    let seed = fresh_seed("material used twice");
    let twice = [false, true].map(|positive| run(seed, positive));
    let [first, second] = [0, 1].map(|at| gate(&twice[at], elements));
    for (at, (first, second)) in first.iter().zip(&second).enumerate() {
        let both: Vec<u8> = first.iter().zip(second).map(|(a, b)| a ^ b).collect();
        let z = worst_of_message(&both, elements);
        println!("message {} with material used twice: deviate {z:.0}", at + 1);
        assert!(z > 10.0 * LIMIT, "message {} with pads used twice went unseen", at + 1);
    }
    // And a single bit position that is one time in eight left unmasked.
    let mut rng = Seed::from_bytes(fresh_seed("stuck bit")).stream();
    for message in gate(&sessions[1], elements) {
        let mut bent = message.clone();
        let width = 8 * message.len() / elements;
        for element in (0..elements).filter(|_| rng.next_u32().is_multiple_of(8)) {
            bent[element * width / 8] &= !(1 << (element * width % 8));
        }
        assert!(worst_of_message(&bent, elements) > LIMIT, "a stuck bit went unseen");
    }
}
