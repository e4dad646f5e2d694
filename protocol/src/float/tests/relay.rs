//! Somebody between the two parties of a session with ReLUs, who changes one frame: whoever gets it must end with an error
//! that blames the peer, or with wrong numbers where bytes are opaque. Never a panic, never a hang.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Mutex;

use he_core::Seed;
use nn_merge::graph::{Graph, Op};
use nn_merge::model::{PoolGeometry, PoolShape};

use super::*;
use crate::channel::{Channel, Kind, MemoryStream, ReadHalf, Stream, WriteHalf, pair};
use crate::fixtures::{PATIENCE, fresh_seed};

/// Bytes of a frame's header, and where its layer and its length are.
const HEADER: usize = 12;

/// One pool, one ReLU, one square: every kind of message that there is.
fn small_model(rng: &mut impl rand_core::CryptoRng) -> Model {
    let mut graph = Graph::new("image", &[1, 1, 4, 4]).unwrap();
    let conv = graph.push("conv", linear(rng, ConvShape::same([1, 2], [4, 4], 3)), &[0]).unwrap();
    let (kernel, stride, padding) = ([2; 2], [2; 2], [0; 4]);
    let pool = PoolShape { channels: 2, in_height: 4, in_width: 4, kernel, stride, padding };
    let pool = graph.push("pool", Op::MaxPool(PoolGeometry::new(pool).unwrap()), &[conv]).unwrap();
    let relu = graph.push("relu", Op::Activation(Function::Relu), &[pool]).unwrap();
    let conv = graph.push("conv2", linear(rng, ConvShape::same([2, 1], [2, 2], 1)), &[relu]).unwrap();
    let square = graph.push("square", crate::fixtures::quadratic(rng, 1), &[conv]).unwrap();
    let flat = graph.push("flat", Op::Reshape(vec![1, 4]), &[square]).unwrap();
    let dense = ConvShape { padding: [0; 4], ..ConvShape::same([4, 3], [1, 1], 1) };
    graph.push("dense", linear(rng, dense), &[flat]).unwrap();
    model(&graph, rng)
}

/// Passes frames on from one end to the other until either hangs up.
fn pass(mut from: Box<dyn ReadHalf>, mut to: Box<dyn WriteHalf>, change: impl Fn(usize, Vec<u8>) -> Vec<u8>) {
    for number in 0.. {
        let mut frame = vec![0; HEADER];
        if from.read_exact(&mut frame).is_err() {
            return;
        }
        let length = u32::from_le_bytes(frame[8..HEADER].try_into().unwrap());
        frame.resize(HEADER + length as usize, 0);
        if from.read_exact(&mut frame[HEADER..]).is_err() || to.write_all(&change(number, frame)).is_err() {
            return;
        }
    }
}

/// A session of one image through somebody who changes frames, by direction (true: to the server) and number.
fn relayed(
    server: &Server,
    seed: &Seed,
    change: impl Fn(bool, usize, Vec<u8>) -> Vec<u8> + Sync,
) -> (Result<Answers, ProtocolError>, Result<(), ProtocolError>) {
    let ends = || -> [MemoryStream; 2] { pair().into() };
    let ([client, near], [far, serving]) = (ends(), ends());
    let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
    std::thread::scope(|scope| {
        let change = &change;
        scope.spawn(move || pass(near_in, far_out, |number, frame| change(true, number, frame)));
        scope.spawn(move || pass(far_in, near_out, |number, frame| change(false, number, frame)));
        let served = scope.spawn(move || {
            let mut channel = Channel::new(serving, PATIENCE);
            server.serve(&mut channel, "relayed", PATIENCE, seed.fork("server", &[])).map(drop)
        });
        let run = || {
            let mut session =
                Client::connect(Channel::new(client, PATIENCE), seed.fork("client", &[]))?.float(10)?;
            let bundle = session.prepare(1, &mut |_, _| ())?;
            let answers = session.infer(bundle, &[vec![0.25; 16]])?;
            session.finish()?;
            Ok(answers)
        };
        (run(), served.join().expect("no panic"))
    })
}

/// Frames of one length, which the receiver knows: all but those of handshakes and requests.
fn is_agreed(kind: u8) -> bool {
    ![Kind::Hello, Kind::Welcome, Kind::Request, Kind::Agreed, Kind::Refusal]
        .map(|kind| kind as u8)
        .contains(&kind)
}

#[test]
fn frames_that_were_changed() {
    let seed = fresh_seed();
    let model = small_model(&mut seed.fork("model", &[]).stream());
    let network = Network::accepting(&model, Accepted::Activations).unwrap();
    let server = server(model, policy());
    let frames = Mutex::new(Vec::new());
    let (answers, served) = relayed(&server, &seed, |up, number, frame| {
        frames.lock().unwrap().push((up, number, frame[0]));
        frame
    });
    let error = worst(&answers.unwrap().logits[0], &network.evaluate(&[0.25; 16])) / network.logit_unit();
    assert!(served.is_ok() && error < 0.001, "{served:?}, {error}");
    let frames = frames.into_inner().unwrap();
    let seen = |kind: Kind| frames.iter().filter(|frame| frame.2 == kind as u8).count();
    assert!([Kind::BaseTransfer, Kind::Extension, Kind::Check].into_iter().all(|kind| seen(kind) > 1));
    // Two levels and a ReLU of three rounds each way, a square.
    assert_eq!(seen(Kind::Gate), 2 * (3 * 3 + 1));
    let (mut blamed, mut finished) = (0, 0);
    let mut tried = HashMap::new();
    for &(to_server, at, kind) in frames.iter().filter(|frame| is_agreed(frame.2)) {
        // The rounds of a step are alike: three frames of a kind each way will do.
        let before = tried.entry((to_server, kind)).or_insert(0);
        *before += 1;
        if *before > 3 {
            continue;
        }
        for case in 0..5 {
            let (answers, served) = relayed(&server, &seed, |up, number, mut frame| {
                if (up, number) != (to_server, at) {
                    return frame;
                }
                let length = (frame.len() - HEADER) as u32;
                match case {
                    // Shorter, longer, a bomb, another layer.
                    0 => frame[8..HEADER].copy_from_slice(&length.saturating_sub(1).to_le_bytes()),
                    1 => frame[8..HEADER].copy_from_slice(&(length + 8).to_le_bytes()),
                    2 => frame[8..HEADER].copy_from_slice(&u32::MAX.to_le_bytes()),
                    3 => frame[2] ^= 1,
                    // NaN, where it is doubles.
                    _ => frame[HEADER..].fill(0xff),
                }
                frame
            });
            let victim = if to_server { served.err() } else { answers.err() };
            match (case, victim) {
                (_, Some(ProtocolError::Peer(_))) => blamed += 1,
                // Nothing to make shorter: the frame is the right one.
                (0, None) => finished += 1,
                (4, None | Some(ProtocolError::HungUp { .. })) => finished += 1,
                (_, other) => panic!("frame {at} of kind {kind}, case {case}: {other:?}"),
            }
        }
    }
    println!("{blamed} times the peer was blamed, {finished} times bytes were opaque or right");
    assert!(blamed > 4 * finished);
}
