//! Bytes of a peer that follows no rules: an error that blames it, and never a panic.

use he_core::split::Epoch;

use super::*;
use crate::channel::{Channel, Kind, pair};
use crate::error::PeerFault;
use crate::fixtures::{Frame, PATIENCE, against, is_blamed, small_model};
use crate::float::client::ClientKeys;
use crate::float::server::ServerKeys;
use crate::float::serving::{Peer, prepare, receive_keys, run};
use crate::handshake::{Request, next_request, welcome};
use crate::report::Report;

const BITS: u32 = 10;

/// What is wrong in every way with a message of these bytes.
fn spoilt(right: &[u8]) -> Vec<Vec<u8>> {
    let mut flipped = right.to_vec();
    flipped[3] ^= 0x55;
    vec![vec![], right[..right.len() - 1].to_vec(), [right, &[0]].concat(), vec![0xff; right.len()], flipped]
}

struct Prepared {
    ready: Ready,
    plan: Plan,
    client: ClientKeys,
    peer: Peer,
}

fn prepared() -> Prepared {
    let ready = Ready::new(&small_model()).unwrap();
    let plan = ready.plan(BITS).unwrap();
    let client = ClientKeys::new(plan.layouts(), seed(1));
    let [public, galois] = client.public(plan.layouts());
    let keys = ServerKeys::read(plan.layouts(), &public, &galois).unwrap();
    Prepared { ready, plan, client, peer: Peer { keys, transfers: None } }
}

#[test]
fn keys_that_are_none() {
    let Prepared { ready, plan, client, .. } = prepared();
    let right = client.public(plan.layouts());
    let frames = |keys: &[Vec<u8>]| -> Vec<Frame> {
        keys.iter().enumerate().map(|(at, key)| (Kind::Keys, at, key.clone())).collect()
    };
    assert!(against(&frames(&right), |channel| receive_keys(channel, &ready)).is_ok());
    // As many keys for other rotations.
    let params = plan.params();
    let secret = he_core::rlwe::SecretKey::generate(params.rlwe(), seed(2));
    let steps: Vec<i64> = plan.layouts().rotations().iter().map(|step| step + 1).collect();
    let other = params.galois_keys(&secret, &steps, false, seed(3)).to_bytes(params.rlwe());
    for at in 0..2 {
        let mut wrong = spoilt(&right[at]);
        wrong.extend((at == 1).then(|| other.clone()));
        for (case, wrong) in wrong.into_iter().enumerate() {
            let mut keys = right.to_vec();
            keys[at] = wrong;
            let result = against(&frames(&keys), |channel| receive_keys(channel, &ready));
            assert!(is_blamed(&result), "key {at}, case {case}: {:?}", result.err());
        }
    }
}

#[test]
fn encryptions_that_were_not_agreed() {
    let Prepared { ready, plan, client, mut peer } = prepared();
    let masks: Vec<Vec<u8>> =
        (0..2).map(|at| client.masks(&plan, at, 1, &seed(4 + at as u8)).unwrap().1).collect();
    let factors = client.factors(&plan, &mut vec![0.25; 8].into(), &seed(6)).unwrap();
    let right: Vec<Frame> = vec![
        (Kind::Keys, 0, masks[0].clone()),
        (Kind::Keys, 1, masks[1].clone()),
        (Kind::Corrections, 0, factors),
    ];
    let mut serve = |frames: &[Frame]| {
        against(frames, |channel| {
            prepare(channel, &ready, &plan, &mut peer, 1, &seed(7), &mut Report::default())
        })
    };
    assert!(serve(&right).is_ok());
    for at in 0..3 {
        for (case, wrong) in spoilt(&right[at].2).into_iter().enumerate() {
            let mut frames = right.clone();
            frames[at].2 = wrong;
            let result = serve(&frames);
            assert!(is_blamed(&result), "message {at}, case {case}: {:?}", result.err());
        }
        let mut frames = right.clone();
        frames[at].1 += 1;
        assert!(is_blamed(&serve(&frames)));
    }
}

fn doubles(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Numbers that are beyond any plan's bounds, and messages of another length.
fn impossible(count: usize) -> Vec<Vec<u8>> {
    let with = |value: f64| {
        let mut values = vec![0.5; count];
        values[count / 2] = value;
        doubles(&values)
    };
    let mut all: Vec<Vec<u8>> =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -1e30].map(with).into_iter().collect();
    let right = vec![0.5; count];
    all.push(doubles(&right[1..]));
    all.push(doubles(&right)[1..].to_vec());
    all.push([&doubles(&right)[..], &[0; 8]].concat());
    all.push(Vec::new());
    all
}

#[test]
fn numbers_that_a_server_does_not_take() {
    let Prepared { ready, plan, client, peer: Peer { keys: server, .. } } = prepared();
    let bundle = || {
        let mut bundle = crate::float::server::ServerBundle {
            images: 1,
            shares: Vec::new(),
            factors: Vec::new(),
            steps: Vec::new(),
        };
        for at in 0..2 {
            let (_, message) = client.masks(&plan, at, 1, &seed(4)).unwrap();
            bundle.shares.push(ready.shares(&plan, at, 1, &server, &message, &seed(5)).unwrap().1);
        }
        let factors = client.factors(&plan, &mut vec![0.25; 8].into(), &seed(6)).unwrap();
        bundle.factors.push(ready.products(&plan, 0, 1, &server, &factors, &seed(7)).unwrap().1);
        bundle
    };
    let serve = |input: &[u8], back: &[u8]| {
        let frames = vec![(Kind::Input, 0, input.to_vec()), (Kind::Gate, 0, back.to_vec())];
        against(&frames, |channel| run(channel, &ready, &plan, bundle(), &mut Report::default()))
    };
    let (input, back) = (doubles(&[0.5; 4]), doubles(&[0.5; 8]));
    assert!(serve(&input, &back).is_ok());
    for (case, wrong) in impossible(4).iter().enumerate() {
        let result = serve(wrong, &back);
        assert!(is_blamed(&result), "input, case {case}: {:?}", result.err());
    }
    for (case, wrong) in impossible(8).iter().enumerate() {
        let result = serve(&input, wrong);
        assert!(is_blamed(&result), "back, case {case}: {:?}", result.err());
    }
}

/// A client's session with a server that serves rightly but for what `spoil` makes of its frames, by kind and layer.
fn with_server(
    spoil: impl Fn(Kind, usize, Vec<u8>) -> Vec<u8> + Send + Sync,
) -> Result<Answers, ProtocolError> {
    let model = small_model();
    let manifest = model.manifest.encode().unwrap();
    let ready = Ready::new(&model).unwrap();
    let plan = ready.plan(BITS).unwrap();
    let (left, right) = pair();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let mut channel = Channel::new(right, PATIENCE);
            let channel = &mut channel;
            welcome(channel, [1; 32], &Epoch::new([2; 32]), &manifest, Policy::default().offer)?;
            let Request::Float { mask_bits: BITS, .. } = next_request(channel)? else {
                panic!("another request")
            };
            let send = |channel: &mut Channel, kind, layer, bytes: Vec<u8>| {
                channel.send(kind, layer, &spoil(kind, layer, bytes)).and_then(|()| channel.flush())
            };
            let terms = ready.reaches().iter().map(|&reach| reach as u8).collect();
            send(channel, Kind::Agreed, 0, terms)?;
            let [public, galois] = ready.layouts().key_bytes();
            let [public, galois] =
                [channel.receive(Kind::Keys, 0, public)?, channel.receive(Kind::Keys, 1, galois)?];
            let keys = ServerKeys::read(ready.layouts(), &public, &galois)?;
            let Request::FloatPrepare { images: 1 } = next_request(channel)? else {
                panic!("another request")
            };
            channel.send(Kind::Agreed, 0, &[])?;
            let messages = [0, 1].map(|at| channel.receive(Kind::Keys, at, plan.mask_bytes(at, 1)));
            let mut shares = Vec::new();
            for (at, message) in messages.into_iter().enumerate() {
                let (answer, own) = ready.shares(&plan, at, 1, &keys, &message?, &seed(8 + at as u8))?;
                send(channel, Kind::Replies, at, answer)?;
                shares.push(own);
            }
            let message = channel.receive(Kind::Corrections, 0, plan.factor_bytes(0, 1))?;
            let (answer, factors) = ready.products(&plan, 0, 1, &keys, &message, &seed(10))?;
            send(channel, Kind::Replies, 0, answer)?;
            let Request::FloatInfer { bundle: 0 } = next_request(channel)? else { panic!("another request") };
            channel.send(Kind::Agreed, 0, &[])?;
            let input = channel.receive(Kind::Input, 0, 32)?;
            let x: Vec<f64> = input.chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect();
            let a = ready.linear(0, 1, &x, &shares[0]);
            let opened = crate::float::server::opened(&plan, 0, &a, &factors.own);
            send(channel, Kind::Gate, 0, doubles(&opened))?;
            channel.receive(Kind::Gate, 0, 64)?;
            send(channel, Kind::Output, 0, doubles(&[0.5; 3]))
        });
        let client = Client::connect(Channel::new(left, PATIENCE), seed(7)).unwrap();
        let result = client.float(BITS).and_then(|mut session| {
            let bundle = session.prepare(1, &mut |_, _| ())?;
            session.infer(bundle, &[vec![0.5; 4]])
        });
        // What the server could not send any more is not the point.
        let _ = server.join().expect("no panic");
        result
    })
}

#[test]
fn answers_that_are_none() {
    let right = |spoil: (Kind, usize), wrong: Option<Vec<u8>>| {
        with_server(move |kind, layer, bytes| match &wrong {
            Some(wrong) if (kind, layer) == spoil => wrong.clone(),
            _ => bytes,
        })
    };
    let terms = [vec![], vec![0], vec![0; 3], vec![0; 100], vec![127, 0], vec![0, 0x80]];
    for (case, wrong) in terms.into_iter().enumerate() {
        let result = right((Kind::Agreed, 0), Some(wrong));
        assert!(is_blamed(&result), "terms, case {case}: {:?}", result.err());
    }
    let Prepared { ready, plan, client, peer: Peer { keys: server, .. } } = prepared();
    let (_, message) = client.masks(&plan, 0, 1, &seed(4)).unwrap();
    let (answer, _) = ready.shares(&plan, 0, 1, &server, &message, &seed(5)).unwrap();
    // Under another key it opens to noise, beyond all bounds.
    for (case, wrong) in spoilt(&answer).into_iter().chain([answer.clone()]).enumerate() {
        let result = right((Kind::Replies, 0), Some(wrong));
        assert!(is_blamed(&result), "shares, case {case}: {:?}", result.err());
    }
    for (case, wrong) in impossible(8).into_iter().enumerate() {
        let result = right((Kind::Gate, 0), Some(wrong));
        assert!(is_blamed(&result), "opened, case {case}: {:?}", result.err());
    }
    for (case, wrong) in impossible(3).into_iter().enumerate() {
        let result = right((Kind::Output, 0), Some(wrong));
        assert!(is_blamed(&result), "output, case {case}: {:?}", result.err());
    }
    let result = right((Kind::Probe, 0), None);
    assert!(result.is_ok(), "{:?}", result.err());
    let lengths = matches!(
        right((Kind::Gate, 0), Some(vec![0; 8])),
        Err(ProtocolError::Peer(PeerFault::Length { .. }))
    );
    assert!(lengths);
}
