//! A peer that deviates: every recorded frame of an honest session, in both directions, is dropped, repeated, moved,
//! cut, stretched, flipped, relabelled or exchanged, and the real party on the other side must end with a typed error
//! that blames the peer (or with wrong numbers where the payload is opaque: the protocol is semi-honest). Never
//! a panic, never a hang. (Memory has a file of its own, `manifests.rs`: it is measured per process.)

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;
#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "common/script.rs"]
mod script;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use common::{fresh_seed, inputs, model};
use he_core::{Profile, Seed};
use nn_merge::model::Manifest;
use proptest::prelude::*;
use protocol::channel::{Channel, Kind, pair};
use protocol::handshake::{PROTOCOL_VERSION, Request};
use protocol::{OutputMode, PeerFault, Plan, Policy, ProtocolError, RefusalCode, RoundChoice, Server};
use rand_core::Rng;
use script::{End, HEADER, IMAGES, PATIENCE, Recording, Script, TERMS, connect, frame, welcome};

fn server(seed: &Seed) -> Server {
    let policy = Policy { idle: Duration::from_millis(300), ..Policy::default() };
    Server::new(model(Profile::Tiny, seed), policy, seed.fork("server", &[])).unwrap()
}

/// A server, a recorded session with it, and a second one to take foreign frames from.
fn recorded() -> (Server, Recording, Recording) {
    let seed = Seed::from_bytes(fresh_seed("model"));
    let server = server(&seed);
    let inputs = inputs(server.model(), IMAGES, &seed);
    let recording = Recording::new(&server, fresh_seed("session"), &inputs);
    let other = Recording::new(&server, fresh_seed("other session"), &inputs);
    (server, recording, other)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Deviation {
    Drop,
    Repeat,
    SwapWithNext,
    Truncate { fix_length: bool },
    Extend { fix_length: bool },
    FlipHeader,
    FlipPayload,
    WrongKind,
    WrongLayer,
    WrongNumber,
    Bomb,
    Refusal,
    Foreign,
}

const DEVIATIONS: [Deviation; 15] = [
    Deviation::Drop,
    Deviation::Repeat,
    Deviation::SwapWithNext,
    Deviation::Truncate { fix_length: true },
    Deviation::Truncate { fix_length: false },
    Deviation::Extend { fix_length: true },
    Deviation::Extend { fix_length: false },
    Deviation::FlipHeader,
    Deviation::FlipPayload,
    Deviation::WrongKind,
    Deviation::WrongLayer,
    Deviation::WrongNumber,
    Deviation::Bomb,
    Deviation::Refusal,
    Deviation::Foreign,
];

/// The bytes of one direction with one deviation at frame `at`; `None` where it changes nothing.
fn deviate(
    deviation: Deviation,
    at: usize,
    frames: &[Vec<u8>],
    other: &[Vec<u8>],
    rng: &mut impl Rng,
) -> Option<Vec<u8>> {
    let mut frames = frames.to_vec();
    let length = frames[at].len();
    let flip = |frame: &mut [u8], rng: &mut dyn Rng| {
        let byte = rng.next_u32() as usize % frame.len();
        frame[byte] ^= 1 << (rng.next_u32() % 8);
    };
    match deviation {
        Deviation::Truncate { .. } | Deviation::FlipPayload if length == HEADER => return None,
        Deviation::SwapWithNext if at + 1 == frames.len() => return None,
        Deviation::FlipHeader => flip(&mut frames[at][..HEADER], rng),
        Deviation::FlipPayload => flip(&mut frames[at][HEADER..], rng),
        Deviation::Drop => drop(frames.remove(at)),
        Deviation::Repeat => frames.insert(at, frames[at].clone()),
        Deviation::SwapWithNext => frames.swap(at, at + 1),
        Deviation::Truncate { fix_length } => {
            let keep = HEADER + rng.next_u32() as usize % (length - HEADER);
            frames[at].truncate(keep);
            if fix_length {
                frames[at][8..HEADER].copy_from_slice(&((keep - HEADER) as u32).to_le_bytes());
            }
        }
        Deviation::Extend { fix_length } => {
            let more = 1 + rng.next_u32() as usize % 20;
            let mut extra = vec![0; more];
            rng.fill_bytes(&mut extra);
            frames[at].extend(extra);
            if fix_length {
                frames[at][8..HEADER].copy_from_slice(&((length - HEADER + more) as u32).to_le_bytes());
            }
        }
        // Any kind but the right one and a refusal, which has a case of its own.
        Deviation::WrongKind => {
            let right = u32::from(frames[at][0]);
            frames[at][0] = ((right + rng.next_u32() % 11) % 12 + 1) as u8;
        }
        Deviation::WrongLayer => frames[at][2] ^= 1 + (rng.next_u32() % 255) as u8,
        Deviation::WrongNumber => {
            frames[at][4 + rng.next_u32() as usize % 4] ^= 1 + (rng.next_u32() % 255) as u8
        }
        Deviation::Bomb => frames[at][8..HEADER].copy_from_slice(&u32::MAX.to_le_bytes()),
        Deviation::Refusal => {
            let refusal = protocol::Refusal { code: RefusalCode::Busy, reason: "go away".into() };
            frames[at] = frame(Kind::Refusal as u8, at as u32, &postcard::to_stdvec(&refusal).unwrap());
        }
        Deviation::Foreign => frames[at] = other.get(at)?.clone(),
    }
    Some(frames.concat())
}

/// What may come of a deviation; `last`: nothing is read after this frame, `request`: it is one of the client's requests,
/// of which some are a single byte.
fn acceptable<T>(deviation: Deviation, last: bool, request: bool, result: &Result<T, ProtocolError>) -> bool {
    use ProtocolError::{HungUp, Incompatible, Peer, Refused, TimedOut};
    match deviation {
        Deviation::Refusal => matches!(result, Err(Refused(refusal)) if refusal.reason == "go away"),
        // Opaque bytes: wrong numbers, a finding, or a request for something that is not given.
        Deviation::FlipPayload | Deviation::Foreign => {
            matches!(result, Ok(_) | Err(Peer(_) | HungUp { .. } | Refused(_) | Incompatible(_)))
        }
        Deviation::Drop if last => matches!(result, Err(TimedOut { .. })),
        Deviation::Repeat | Deviation::Extend { fix_length: false } if last => result.is_ok(),
        // The stream is out of step from here on, so that the next header is made of payload; a control frame may have
        // lost its tail to the next one (a request may so become a goodbye), a flipped length may swallow what follows, a flipped kind may be a refusal's.
        Deviation::Truncate { fix_length: false }
        | Deviation::Extend { fix_length: false }
        | Deviation::FlipHeader => match result {
            Ok(_) => request,
            Err(error) => matches!(error, Peer(_) | HungUp { .. } | Refused(_) | Incompatible(_)),
        },
        _ => matches!(result, Err(Peer(_))),
    }
}

/// Plays every deviation at every frame of `frames` to `party`; gives how often the party finished all the same.
fn play_all<T: std::fmt::Debug>(
    frames: &[Vec<u8>],
    other: &[Vec<u8>],
    party: impl Fn(Script, Duration) -> Result<T, ProtocolError>,
) -> usize {
    let mut rng = Seed::from_bytes(fresh_seed("deviations")).stream();
    let mut finished = 0;
    for at in 0..frames.len() {
        for deviation in DEVIATIONS {
            let Some(bytes) = deviate(deviation, at, frames, other, &mut rng) else { continue };
            let script = match deviation {
                Deviation::Drop => Script::new(bytes, End::Silence),
                _ => Script::new(bytes, End::HangUp),
            };
            let patience = if deviation == Deviation::Drop { Duration::from_millis(300) } else { PATIENCE };
            let start = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| party(script, patience)));
            let result = result.unwrap_or_else(|_| panic!("{deviation:?} at frame {at}: a panic"));
            assert!(
                acceptable(deviation, at + 1 == frames.len(), frames[at][0] == Kind::Request as u8, &result),
                "{deviation:?} at frame {at} of {}, kind {}: {result:?}",
                frames.len(),
                frames[at][0]
            );
            assert!(start.elapsed() < Duration::from_secs(20), "{deviation:?} at frame {at}: a hang");
            finished += usize::from(result.is_ok());
        }
    }
    finished
}

#[test]
fn a_client_survives_every_deviation_of_its_server() {
    let (_, recording, other) = recorded();
    let honest =
        recording.client_meets(Script::new(recording.server.concat(), End::HangUp), PATIENCE).unwrap();
    assert_eq!(honest, recording.result, "the twin: an honest script gives the recorded result");
    let finished = play_all(&recording.server, &other.server, |script, patience| {
        recording.client_meets(script, patience)
    });
    println!("{} frames, {finished} sessions finished with what they were given", recording.server.len());
}

#[test]
fn a_server_survives_every_deviation_of_its_client() {
    let (server, recording, other) = recorded();
    let play =
        |script, patience| recording.server_meets(&server, script, patience).map(|served| served.images);
    assert_eq!(
        play(Script::new(recording.client.concat(), End::HangUp), PATIENCE).unwrap(),
        IMAGES,
        "the twin"
    );
    let finished = play_all(&recording.client, &other.client, play);
    println!("{} frames, {finished} sessions finished with what they were given", recording.client.len());
    // After all of that it still serves.
    let next = Recording::new(
        &server,
        fresh_seed("next session"),
        &inputs(server.model(), IMAGES, &Seed::from_bytes([1; 32])),
    );
    assert!(matches!(next.result.1, protocol::Output::Labels(labels) if labels.len() == IMAGES));
}

/// A second run of base transfers out of one seed would show the choices behind them to a server that offers other points
/// in it, and so would a second extension to one that failed the check of the first.
#[test]
fn a_server_that_failed_in_preparing_is_asked_for_nothing_more() {
    let (_, recording, _) = recorded();
    let frames_of = |kind: Kind| {
        (0..recording.server.len()).filter(|&at| recording.server[at][0] == kind as u8).collect::<Vec<_>>()
    };
    let (base, check) = (frames_of(Kind::BaseTransfer), frames_of(Kind::Check));
    assert_eq!((base.len(), check.len()), (3, 1));
    for at in [base[0], check[0]] {
        let mut said = recording.server.clone();
        // No point, and no proof.
        said[at][HEADER..].fill(0xff);
        said.truncate(at + 1);
        // Then the server is good again: everything from the base transfers on, with numbers that go on.
        for frame in &recording.server[base[0]..] {
            let mut frame = frame.clone();
            frame[4..8].copy_from_slice(&(said.len() as u32).to_le_bytes());
            said.push(frame);
        }
        let result = recording.client_prepares_twice(Script::new(said.concat(), End::HangUp), PATIENCE);
        let [first, second] = result.unwrap();
        assert!(matches!(first, ProtocolError::Peer(PeerFault::Malformed { .. })), "{first}");
        assert!(matches!(second, ProtocolError::Caller(_)), "{second}");
    }
}

#[test]
fn other_versions_are_refused_both_ways() {
    let seed = Seed::from_bytes(fresh_seed("session"));
    let server = server(&seed);
    for version in [0, PROTOCOL_VERSION + 1, u32::MAX] {
        // A client from elsewhere, which may have a longer hello: the server tells it so.
        let (left, right) = pair();
        let mut client = Channel::new(left, PATIENCE);
        let hello = [b"hushnet\0".as_slice(), &version.to_le_bytes(), &[3; 50]].concat();
        client.send(Kind::Hello, 0, &hello).unwrap();
        client.flush().unwrap();
        match server.serve(&mut Channel::new(right, PATIENCE), "test", PATIENCE, seed.fork("serving", &[])) {
            Err(ProtocolError::Incompatible(refusal)) => assert_eq!(refusal.code, RefusalCode::Version),
            other => panic!("version {version}: {other:?}"),
        }
        match client.receive_up_to(Kind::Welcome, 1 << 16) {
            Err(ProtocolError::Refused(refusal)) => {
                assert_eq!(refusal.code, RefusalCode::Version);
                for own in [version, PROTOCOL_VERSION] {
                    assert!(refusal.reason.contains(&own.to_string()), "{}", refusal.reason);
                }
            }
            other => panic!("version {version}: {other:?}"),
        }
        // A server from elsewhere: whatever follows its version.
        let welcome =
            frame(Kind::Welcome as u8, 0, &[version.to_le_bytes().as_slice(), b"anything"].concat());
        match connect(Script::new(welcome, End::HangUp)) {
            Err(ProtocolError::Incompatible(refusal)) => assert_eq!(refusal.code, RefusalCode::Version),
            other => panic!("version {version}: {other:?}"),
        }
    }
}

#[test]
fn another_digest_is_refused() {
    let (server, recording, _) = recorded();
    let digest = server.model().manifest.digest().unwrap();
    for (digest, fits) in [(digest, true), ([9; 32], false)] {
        let agree = postcard::to_stdvec(&Request::Agree { terms: TERMS, digest }).unwrap();
        let finish = postcard::to_stdvec(&Request::Finish).unwrap();
        let mut bytes = recording.client[0].clone();
        bytes.extend(frame(Kind::Request as u8, 1, &agree));
        bytes.extend(frame(Kind::Request as u8, 2, &finish));
        match recording.server_meets(&server, Script::new(bytes, End::HangUp), PATIENCE) {
            Ok(_) => assert!(fits),
            Err(ProtocolError::Incompatible(refusal)) => assert!(!fits && refusal.code == RefusalCode::Model),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn steps_out_of_order_are_the_peers_fault() {
    let (server, recording, _) = recorded();
    // The handshake, then a request that may not come yet.
    let [prepare, agree] = [
        Request::Prepare { images: 1, rounds: RoundChoice::Three },
        Request::Agree { terms: TERMS, digest: [0; 32] },
    ];
    for request in [prepare, agree] {
        let request = frame(Kind::Request as u8, 2, &postcard::to_stdvec(&request).unwrap());
        let script = Script::new([recording.client[..2].concat(), request].concat(), End::HangUp);
        let result = recording.server_meets(&server, script, PATIENCE);
        assert!(matches!(result, Err(ProtocolError::Peer(PeerFault::Unexpected { .. }))), "{result:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_an_error_and_no_panic(
        raw in prop::collection::vec(any::<u8>(), 0..400),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let seed = Seed::from_bytes([4; 32]);
        thread_local! {
            static SERVER: Server = server(&Seed::from_bytes([4; 32]));
        }
        SERVER.with(|server| {
            let serve = |bytes: Vec<u8>| server.serve(&mut Channel::new(Script::new(bytes, End::HangUp), PATIENCE), "test", PATIENCE, seed.fork("serving", &[]));
            let hello = [b"hushnet\0".as_slice(), &PROTOCOL_VERSION.to_le_bytes(), &[7; 32]].concat();
            // Bare, as a hello, as the rest of a hello, as a request.
            prop_assert!(serve(raw.clone()).is_err());
            prop_assert!(serve(frame(Kind::Hello as u8, 0, &raw)).is_err());
            prop_assert!(serve(frame(Kind::Hello as u8, 0, &[&hello[..12], &raw].concat())).is_err());
            let request = frame(Kind::Request as u8, 1, &raw);
            prop_assert!(serve([frame(Kind::Hello as u8, 0, &hello), request].concat()).is_err());
            // Bare, as a welcome, as the rest of a welcome, as a manifest, as a refusal.
            let client = |bytes: Vec<u8>| connect(Script::new(bytes, End::HangUp));
            prop_assert!(client(raw.clone()).is_err());
            prop_assert!(client(frame(Kind::Welcome as u8, 0, &raw)).is_err());
            let versioned = [PROTOCOL_VERSION.to_le_bytes().as_slice(), &raw].concat();
            prop_assert!(client(frame(Kind::Welcome as u8, 0, &versioned)).is_err());
            prop_assert!(client(welcome(&raw)).is_err());
            prop_assert!(client(frame(Kind::Refusal as u8, 0, &raw)).is_err());
            // A good manifest is taken; with one flipped bit it may be, but nothing panics, and plans of it neither.
            let good = server.model().manifest.encode().unwrap();
            prop_assert!(client(welcome(&good)).is_ok());
            let mut bent = good;
            let at = at.index(bent.len());
            bent[at] ^= 1 << bit;
            if let Ok(manifest) = Manifest::decode(&bent) {
                let _ = Plan::new(&manifest, 1, OutputMode::Label);
            }
            Ok(())
        })?;
    }
}
