//! What each party sees is uniform: the messages of real sessions, for inputs as different as they can be.
//!
//! | view | messages | inputs compared |
//! |---|---|---|
//! | server | Z, the deltas, what they make together: X of bound, free and known-zero slots; known zeros of the packing | all zero, largest values of changing sign |
//! | server | two readers' X of one element; Z of two sessions | the same |
//! | client | messages 1, 3, 5 of a ReLU gate | all negative, all positive |
//! | server | messages 2, 4, 6 of a ReLU gate | all negative, all positive |
//!
//! Randomness is fresh in every run, and the seeds are printed. A test statistic is turned into a normal deviate; one
//! that is beyond [`LIMIT`] (one in a million, both tails) is a finding. Each detector is shown to fire: on masks of small
//! magnitude or with constant low bits, on masks ρ that are not fresh, on one RLWE mask for two readers, and on material that
//! is used twice. Uniform is not the same as independent of
//! what else a party knows: that is the transfers' and the lattice's part, not visible to such tests.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;
#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "common/script.rs"]
mod script;

use std::iter::zip;

use common::{fresh_seed, width};
use conv_fast::{ConvGeometry, ConvShape};
use he_core::split::PublicKey;
use he_core::{Profile, Seed};
use nn_merge::model::{
    ActivationSpec, FunctionSpec, InputSpec, Manifest, Model, NodeSpec, NodeWeights, OpSpec, OutputSpec,
    limits,
};
use protocol::channel::Kind;
use protocol::steps::CHUNK_ELEMENTS;
use protocol::{Output, OutputMode, Plan, Policy, Server};
use rand_core::Rng;
use script::{HEADER, Recording};
use ss_core::bits::{bytes_for_bits, unpack};

/// Largest normal deviate that chance is believed to give.
const LIMIT: f64 = 4.9;

/// A server of these nodes with labels as output; `width` is that of the input.
fn server(
    profile: Profile,
    input: [usize; 3],
    width: u32,
    nodes: Vec<(OpSpec, Vec<u32>)>,
    own: Vec<NodeWeights>,
) -> Server {
    let salt = [1; 32];
    let [channels, height, columns] = input;
    let named = |(op, inputs)| NodeSpec { name: "a node".into(), op, inputs };
    let nodes: Vec<NodeSpec> =
        [(OpSpec::Input { width }, vec![])].into_iter().chain(nodes).map(named).collect();
    let own: Vec<NodeWeights> = [NodeWeights::default()].into_iter().chain(own).collect();
    let manifest = Manifest {
        name: "views".into(),
        profile,
        input: InputSpec {
            channels,
            height,
            width: columns,
            channels_last: false,
            scale: 1.0,
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
            units: f64::from(width - 2).exp2(),
            limit: 1.0,
        },
        output: OutputSpec {
            node: nodes.len() as u32 - 1,
            ring_bits: limits(profile).last_ring_bits,
            scale: 1.0,
        },
        nodes,
        weights_commitment: Model::commitment(&salt, &own),
    };
    let model = Model { manifest, nodes: own, salt };
    model.validate().unwrap();
    Server::new(model, Policy::default(), Seed::from_bytes(fresh_seed("server"))).unwrap()
}

fn linear(profile: Profile, shape: ConvShape) -> OpSpec {
    let reply_bits = (limits(profile).ring_bits + 6).min(limits(profile).modulus_bits - 1);
    OpSpec::Linear { geometry: ConvGeometry::new(shape).unwrap(), reply_bits }
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

/// What the server holds of an input: words of some bits each.
#[derive(Default)]
struct View {
    /// Z, and its bits.
    masked: Vec<u64>,
    /// Deltas of bound slots.
    narrow: Vec<u64>,
    /// X of bound, free and known-zero slots (two primes: residues of the first).
    slots: [Vec<u64>; 3],
    /// Known zeros of the packing.
    zeros: Vec<u64>,
    /// X of the second reader of an element less that of the first.
    between: Vec<u64>,
}

impl View {
    /// Reads the messages of a session.
    fn add(&mut self, plan: &Plan, session: &Recording) {
        let (params, images, width) = (plan.params(), plan.images(), plan.input_bits());
        let count = images * plan.input_len();
        let masked = unpack(payloads(&session.client, Kind::Input, 0)[0], count, width).unwrap();
        let q = params.moduli()[0];
        let lifted = params.up(&masked, width).swap_remove(0);
        let mut first: Vec<Option<u64>> = vec![None; count];
        let mut taken = vec![false; plan.input_len()];
        for layer in plan.layers() {
            let message = payloads(&session.client, Kind::Keys, layer.node as u16)[0];
            let p = layer.masked_bits;
            let bits = p.unwrap_or(q.bits());
            let zeros: usize =
                params.moduli().iter().map(|q| bytes(layer.zeros(), p.unwrap_or(q.bits()))).sum();
            let group = PublicKey::wire_len(params) + zeros;
            let (groups, rest) = message.split_at(layer.groups * group);
            for group in groups.chunks(group) {
                let own = &group[PublicKey::wire_len(params)..];
                self.zeros.extend(unpack(&own[..bytes(layer.zeros(), bits)], layer.zeros(), bits).unwrap());
            }
            let [bound, other] = layer.deltas.map(|n| n * images);
            let drop = p.map_or(0, |p| p - width);
            let (narrow, rest) = rest.split_at(bytes(bound, drop));
            let narrow = unpack(narrow, bound, drop).unwrap();
            let wide = unpack(&rest[..bytes(other, bits)], other, bits).unwrap();
            let (mut narrow_at, mut wide_at) = (narrow.iter(), wide.iter());
            let before = taken.clone();
            for image in 0..images {
                taken.clone_from(&before);
                for (element, read) in zip(layer.tiling.slots(), layer.tiling.read()) {
                    if !read {
                        continue;
                    }
                    // Bound: nobody has read the element before, in this layer or an earlier one.
                    let bound = element.is_some_and(|e| !std::mem::replace(&mut taken[e as usize], true))
                        && p.is_some();
                    let delta = *if bound { narrow_at.next() } else { wide_at.next() }.unwrap();
                    let at = element.map(|e| image * plan.input_len() + e as usize);
                    let x = match p {
                        Some(p) => at.map_or(0, |at| masked[at] << drop).wrapping_add(delta) & ((1 << p) - 1),
                        None => q.add(at.map_or(0, |at| lifted[at]), delta),
                    };
                    self.slots[if bound { 0 } else { 2 - usize::from(element.is_some()) }].push(x);
                    if let Some(at) = at {
                        match first[at] {
                            Some(earlier) if p.is_some() => {
                                self.between.push(x.wrapping_sub(earlier) & ((1 << bits) - 1))
                            }
                            Some(earlier) => self.between.push(q.sub(x, earlier)),
                            None => first[at] = Some(x),
                        }
                    }
                }
            }
            assert!(narrow_at.next().is_none() && wide_at.next().is_none(), "every delta has a slot");
            self.narrow.extend(narrow);
        }
        self.masked.extend(masked);
    }
}

fn bytes(count: usize, bits: u32) -> usize {
    bytes_for_bits(count * bits as usize)
}

/// Two convolutions of one input: one with a border, its kernel and stride as given, whose result nobody reads, and a
/// small one whose result is the output.
fn two_readers(profile: Profile, input: [usize; 3], [kernel, stride]: [usize; 2]) -> Server {
    let shape = |kernel: usize, stride: usize, padding: usize| ConvShape {
        in_channels: input[0],
        in_height: input[1],
        in_width: input[2],
        out_channels: 1,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 4],
        dilation: [1, 1],
        groups: 1,
    };
    let shapes = [shape(kernel, stride, kernel / 2), shape(2, 8, 0)];
    let own = |s: ConvShape| NodeWeights {
        weights: (0..s.in_channels * s.kernel[0] * s.kernel[1]).map(|i| i as i32 % 7 - 3).collect(),
        bias: vec![0],
    };
    let nodes = shapes.map(|shape| (linear(profile, shape), vec![0]));
    server(profile, input, width(profile), nodes.into(), shapes.map(own).into())
}

#[test]
fn masked_inputs_tell_the_server_nothing() {
    // A border inside the polynomials, and planes that are cut into tiles with their borders as slots.
    let cases = [
        (Profile::Wide, [4, 32, 32], [3, 8], 48),
        (Profile::Wide, [1, 70, 61], [5, 1], 12),
        (Profile::Narrow, [1, 70, 61], [5, 1], 12),
        (Profile::Exact, [1, 70, 61], [5, 1], 12),
    ];
    let mut seen = [0usize; 6];
    for (profile, shape, layer, images) in cases {
        let server = two_readers(profile, shape, layer);
        let length = server.model().manifest.input_len();
        let plan = Plan::new(&server.model().manifest, images, OutputMode::Label).unwrap();
        let w = plan.input_bits();
        let slot_bits = plan.layers()[0].masked_bits.unwrap_or_else(|| plan.params().moduli()[0].bits());
        let largest = (1i64 << (w - 2)) - 1;
        let extreme: Vec<i64> =
            (0..images * length).map(|i| if i % 3 == 0 { -largest } else { largest }).collect();
        let inputs = [vec![0; images * length], extreme];
        let seeds = [fresh_seed("session"), fresh_seed("session")];
        let record = |seed: [u8; 32], inputs: &[i64]| {
            let mut view = View::default();
            view.add(&plan, &Recording::new(&server, seed, inputs));
            view
        };
        let views = [record(seeds[0], &inputs[0]), record(seeds[1], &inputs[1])];
        for (what, view) in zip(["all zero", "extreme"], &views) {
            let parts = [
                ("Z", &view.masked, w),
                ("bound slots", &view.slots[0], slot_bits),
                ("free slots", &view.slots[1], slot_bits),
                ("known-zero slots", &view.slots[2], slot_bits),
                ("known zeros of the packing", &view.zeros, slot_bits),
                ("one reader less the other", &view.between, slot_bits),
            ];
            for (at, (name, words, bits)) in parts.into_iter().enumerate() {
                // Too few words for a statistic are left out, and counted below.
                if words.len() < 1300 {
                    continue;
                }
                seen[at] += 1;
                let z = worst(words, bits);
                println!("{profile}, {what}: {} words of {name}, deviate {z:.2}", words.len());
                assert!(z < LIMIT, "{name}");
            }
            let drop = slot_bits - w;
            if plan.layers()[0].masked_bits.is_some() && drop >= 8 {
                assert!(worst(&view.narrow, drop) < LIMIT, "deltas of bound slots");
            }
        }
        for (zero, extreme) in zip(&ends(&views[0].masked, w), &ends(&views[1].masked, w)) {
            let z = from_each_other(zero, extreme);
            println!("one input from the other: deviate {z:.2}");
            assert!(z.abs() < LIMIT);
        }
        let full = (1u64 << w) - 1;
        let less = |a: &[u64], b: &[u64]| -> Vec<u64> {
            zip(a, b).map(|(a, b)| a.wrapping_sub(*b) & full).collect()
        };
        assert!(worst(&less(&views[1].masked, &views[0].masked), w) < LIMIT, "two sessions go together");

        // Planted: ρ that is not fresh, as in two sessions from one seed, and one RLWE mask for two readers, whose slots
        // differ by their errors alone.
        let again = record(seeds[1], &inputs[0]);
        let z = worst(&less(&views[1].masked, &again.masked), w);
        println!("masks used twice: deviate {z:.0}");
        assert!(z > 10.0 * LIMIT, "masks used twice went unseen");
        let mut rng = Seed::from_bytes(fresh_seed("planted masks")).stream();
        let errors: Vec<u64> = views[0]
            .between
            .iter()
            .map(|_| (u64::from(rng.next_u32() % 21)).wrapping_sub(10) & ((1 << slot_bits) - 1))
            .collect();
        assert!(worst(&errors, slot_bits) > 10.0 * LIMIT, "one mask for two readers went unseen");
        // Masks of 1/64 of the range, and masks whose low four bits stand still.
        let small: Vec<u64> =
            views[0].masked.iter().map(|_| (rng.next_u64() >> (64 - w + 6)).wrapping_neg() & full).collect();
        let coarse: Vec<u64> = views[0].masked.iter().map(|x| x & !15).collect();
        for (what, planted) in [("small", small), ("coarse", coarse)] {
            let z = worst(&planted, w);
            println!("{what} masks: deviate {z:.0}");
            assert!(z > 10.0 * LIMIT, "{what} masks went unseen");
        }
    }
    println!("statistics of Z, bound, free, zero slots, packed zeros, differences: {seen:?}");
    assert!(seen.iter().all(|&count| count >= 2), "every kind of word was looked at: {seen:?}");
}

/// Bits of the input of [`relu_server`].
const PIXEL_BITS: u32 = 40;

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
    let dense = *ConvGeometry::fully_connected(1024, 2).unwrap().shape();
    let activation = ActivationSpec {
        ring_bits: numbers.ring_bits,
        ignored_bits: numbers.ignored_bits,
        // 1024 values of a quarter turn each, brought down so that their sum is a quarter turn again.
        width: numbers.ring_bits + 10,
        pool: None,
        parts: ActivationSpec::single(FunctionSpec::Relu, 4),
    };
    let nodes = vec![
        (linear(Profile::Wide, copies), vec![0]),
        (OpSpec::Activation(activation), vec![1]),
        (linear(Profile::Wide, dense), vec![2]),
    ];
    let signs = (0..2048).map(|i| if i < 1024 { -1 } else { 1 }).collect();
    let own = vec![
        NodeWeights { weights: vec![1; 4], bias: vec![0; 4] },
        NodeWeights::default(),
        NodeWeights { weights: signs, bias: vec![1 << 58, -(1 << 58)] },
    ];
    server(Profile::Wide, [1, 16, 16], PIXEL_BITS, nodes, own)
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
    let quarter = 1i64 << (PIXEL_BITS - 2);
    let run = |seed: [u8; 32], value: i64| {
        let session = Recording::new(&server, seed, &vec![value; images * pixels]);
        // The twin: the gate's inputs are what they are said to be.
        assert_eq!(session.result.1, Output::Labels(vec![usize::from(value > 0); images]));
        session
    };
    let sessions = [-quarter, quarter].map(|value| run(fresh_seed("session"), value));
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
    // (Of one sign: the last message takes one of two pads by the verdict, and would take each once.)
    let twice = [quarter / 4 * 3, quarter].map(|value| run(seed, value));
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
