//! Bytes of a peer that follows no rules: an error that blames it, and never a panic.

use he_core::ckks::SeededCiphertext;
use he_core::split::Epoch;
use rand_core::Rng;

use super::*;
use crate::channel::{Channel, Kind, pair};
use crate::encrypted::session::{receive_keys, serve};
use crate::error::PeerFault;
use crate::fixtures::{Frame, PATIENCE, against, is_blamed, small_model};
use crate::handshake::{Request, next_request, welcome};
use crate::{Client, Methods};

/// As many keys as the plan has rotations, for others.
#[test]
fn keys_for_other_rotations() {
    let ready = Ready::new(&small_model(), Mode::Single).unwrap();
    let plan = ready.plan();
    let own = ClientKeys::new(plan, seed(1)).evaluation_keys(plan);
    let rlwe = plan.params().rlwe();
    let secret = he_core::rlwe::SecretKey::generate(rlwe, seed(2));
    let steps = |turn: i64| -> Vec<i64> { plan.rotations().iter().map(|step| step + turn).collect() };
    for (turn, right) in [(0, true), (1 << 9, false)] {
        let galois = plan.params().galois_keys(&secret, &steps(turn), false, seed(3));
        let keys = [own.public.to_bytes(), own.relin.to_bytes(rlwe), galois.to_bytes(rlwe)];
        let frames: Vec<Frame> =
            keys.into_iter().enumerate().map(|(at, key)| (Kind::Keys, at, key)).collect();
        let result = against(&frames, |channel| receive_keys(channel, &ready));
        assert!(if right { result.is_ok() } else { is_blamed(&result) }, "{:?}", result.err());
    }
}

#[test]
fn keys_that_are_none() {
    let ready = Ready::new(&small_model(), Mode::Batch).unwrap();
    let plan = ready.plan();
    let own = ClientKeys::new(plan, seed(1)).evaluation_keys(plan);
    let rlwe = plan.params().rlwe();
    let right = [own.public.to_bytes(), own.relin.to_bytes(rlwe), own.galois.to_bytes(rlwe)];
    let frames = |keys: &[Vec<u8>]| -> Vec<Frame> {
        keys.iter().enumerate().map(|(at, key)| (Kind::Keys, at, key.clone())).collect()
    };
    assert!(against(&frames(&right), |channel| receive_keys(channel, &ready)).is_ok());
    // Other keys than the plan's rotations.
    let single =
        plan.params().galois_keys(&he_core::rlwe::SecretKey::generate(rlwe, seed(2)), &[1], false, seed(3));
    let mut rng = Seed::from_bytes([171; 32]).stream();
    for at in 0..3 {
        let mut wrong: Vec<Vec<u8>> = vec![
            vec![],
            vec![0; 5],
            right[at][..right[at].len() - 1].to_vec(),
            [&right[at][..], &[0]].concat(),
            right[(at + 1) % 3].clone(),
            vec![0xff; right[at].len()],
            vec![0; plan.message_cap(20, 6)],
        ];
        let mut flipped = right[at].clone();
        flipped[5] ^= 1;
        wrong.push(flipped);
        wrong.push((0..right[at].len()).map(|_| rng.next_u64() as u8).collect());
        if at == 2 {
            wrong.push(single.to_bytes(rlwe));
        }
        for (case, wrong) in wrong.into_iter().enumerate() {
            let mut keys = right.clone();
            keys[at] = wrong;
            let result = against(&frames(&keys), |channel| receive_keys(channel, &ready));
            assert!(is_blamed(&result), "key {at}, case {case}: {:?}", result.err());
        }
    }
    // Another place, another kind.
    let mut keys = frames(&right);
    keys[0].1 = 7;
    assert!(is_blamed(&against(&keys, |channel| receive_keys(channel, &ready))));
    keys[0] = (Kind::Input, 0, right[0].clone());
    assert!(is_blamed(&against(&keys, |channel| receive_keys(channel, &ready))));
}

#[test]
fn inputs_that_were_not_agreed() {
    let ready = Ready::new(&small_model(), Mode::Batch).unwrap();
    let plan = ready.plan();
    let params = plan.params();
    let mut keys = ClientKeys::new(plan, seed(1));
    let own = keys.evaluation_keys(plan);
    let mut input = |scale: f64| -> Vec<Vec<u8>> {
        let images = [vec![0.25, 0.5, 0.75, 1.0]];
        keys.encrypt(plan, &images, scale).unwrap().iter().map(|x| x.to_bytes(params)).collect()
    };
    let run = |input: &[Vec<u8>]| {
        let frames: Vec<_> = input.iter().enumerate().map(|(at, x)| (Kind::Input, at, x.clone())).collect();
        against(&frames, |channel| serve(channel, &ready, &own, &seed(4)))
    };
    let scale = batch::input_scale(ready.exponent());
    let right = input(scale);
    assert!(run(&right).is_ok());
    assert!(is_blamed(&run(&input(scale * (1.0 + f64::EPSILON)))));
    assert!(is_blamed(&run(&input(scale / 2.0))));
    // Fewer primes than a fresh ciphertext has.
    let mut low = right.clone();
    let secret = he_core::rlwe::SecretKey::generate(params.rlwe(), seed(5));
    let plaintext = params.encode_at(&[0.5], params.limbs() - 1, scale).unwrap();
    low[3] = params.encrypt(&secret, &plaintext, seed(6)).to_bytes(params);
    assert!(is_blamed(&run(&low)));
    for cut in [0, 8, 19, right[1].len() - 1] {
        let mut short = right.clone();
        short[1].truncate(cut);
        assert!(is_blamed(&run(&short)), "{cut} bytes");
    }
    let mut long = right.clone();
    long[2] = vec![0; plan.message_cap(1, params.limbs()) + 1];
    let result = run(&long);
    assert!(matches!(result, Err(ProtocolError::Peer(PeerFault::Length { .. }))), "{:?}", result.err());
    // What was accepted is what was sent.
    let back = SeededCiphertext::from_bytes(params, &right[0]).unwrap();
    assert_eq!(back.to_bytes(params), right[0]);
}

/// A client's session with a server that greets rightly and then does as it is told.
fn with_server(
    act: impl FnOnce(&mut Channel) -> Result<(), ProtocolError> + Send,
) -> Result<Decrypted, ProtocolError> {
    let model = small_model();
    let manifest = model.manifest.encode().unwrap();
    let (left, right) = pair();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let mut channel = Channel::new(right, PATIENCE);
            let offer = crate::handshake::Offer { methods: Methods::default(), ..Policy::default().offer };
            welcome(&mut channel, [1; 32], &Epoch::new([2; 32]), &manifest, offer)?;
            let Request::Encrypted { .. } = next_request(&mut channel)? else { panic!("another request") };
            act(&mut channel)
        });
        let client = Client::connect(Channel::new(left, PATIENCE), seed(7)).unwrap();
        let result = client
            .encrypted(Mode::Batch)
            .and_then(|mut session| session.classify(&[vec![0.5; 4]], &mut |_, _| ()));
        // What the server could not send any more is not the point.
        let _ = server.join().expect("no panic");
        result.map(|(answers, _)| answers)
    })
}

/// Reads keys, request and input as a server does.
fn listen(channel: &mut Channel) -> Result<(), ProtocolError> {
    for at in 0..3 {
        channel.receive_up_to_at(Kind::Keys, at, 1 << 24)?;
    }
    let Request::Evaluate { images: 1 } = next_request(channel)? else { panic!("another request") };
    channel.send(Kind::Agreed, 0, &[])?;
    for at in 0..4 {
        channel.receive_up_to_at(Kind::Input, at, 1 << 24)?;
    }
    Ok(())
}

#[test]
fn answers_that_are_none() {
    let result = with_server(|channel| {
        channel.send(Kind::Agreed, 0, &(batch::MOST_EXPONENT + 1).to_le_bytes())?;
        channel.flush()
    });
    assert!(is_blamed(&result), "{:?}", result.err());
    let result = with_server(|channel| {
        channel.send(Kind::Agreed, 0, &[1; 3])?;
        channel.flush()
    });
    assert!(is_blamed(&result), "{:?}", result.err());

    let plan = Plan::new(Network::new(&small_model()).unwrap().shapes(), Mode::Batch).unwrap();
    let params = plan.params().clone();
    let secret = he_core::rlwe::SecretKey::generate(params.rlwe(), seed(8));
    let text = |limbs: usize| {
        let plaintext = params.encode_at(&[0.25], limbs, (30_f64).exp2()).unwrap();
        params.encrypt(&secret, &plaintext, seed(9)).expand(&params)
    };
    let fresh = text(1);
    let right = fresh.to_bytes(&params);
    let answers: [(Vec<u8>, bool); 7] = [
        (right.clone(), false),
        (text(2).to_bytes(&params), true),
        (params.square(&text(2)).unwrap().to_bytes(&params), true),
        (right[..right.len() - 1].to_vec(), true),
        (vec![], true),
        (vec![0xff; right.len()], true),
        ([&f64::NAN.to_le_bytes(), &right[8..]].concat(), true),
    ];
    for (case, (answer, wrong)) in answers.into_iter().enumerate() {
        let result = with_server(|channel| {
            channel.send(Kind::Agreed, 0, &160_u32.to_le_bytes())?;
            listen(channel)?;
            for at in 0..3 {
                channel.send(Kind::Output, at, &answer)?;
            }
            channel.flush()
        });
        assert_eq!(is_blamed(&result), wrong, "case {case}: {:?}", result.err());
    }
}
