//! Connections that end early: at every frame of a session, in both directions, seen by either side; silent clients and
//! clients that trickle. The survivor ends with a clear error in time, the server goes on serving, and a bundle whose
//! inference was cut is gone.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;
#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "common/script.rs"]
mod script;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use common::{fresh_seed, inputs, model};
use he_core::{Profile, Seed};
use protocol::channel::{Channel, Kind, TcpOptions, connect, pair};
use protocol::handshake::Request;
use protocol::serve::{ListenOptions, Listener};
use protocol::{Client, Output, Policy, ProtocolError, RefusalCode, Server};
use script::{End, IMAGES, PATIENCE, Recording, Script, TERMS, frame};

fn server(policy: Policy) -> (Server, Vec<i64>) {
    let seed = Seed::from_bytes(fresh_seed("model"));
    let server = Server::new(model(Profile::Tiny, &seed), policy, seed.fork("server", &[])).unwrap();
    let inputs = inputs(server.model(), IMAGES, &seed);
    (server, inputs)
}

fn hung_up<T>(result: &Result<T, ProtocolError>) -> bool {
    matches!(result, Err(ProtocolError::HungUp { .. }))
}

/// A whole fresh session works.
fn still_serves(server: &Server, inputs: &[i64]) {
    let next = Recording::new(server, fresh_seed("next session"), inputs);
    assert!(matches!(next.result.1, Output::Labels(labels) if labels.len() == IMAGES));
}

#[test]
fn a_client_whose_server_leaves_is_told_at_once() {
    let (server, inputs) = server(Policy::default());
    let recording = Recording::new(&server, fresh_seed("session"), &inputs);
    let whole = recording.server.concat();
    for at in 0..recording.server.len() {
        // Cut while the client reads: between two frames, and in the middle of one.
        let before: usize = recording.server[..at].iter().map(Vec::len).sum();
        for cut in [before, before + 1, before + recording.server[at].len() - 1] {
            let start = Instant::now();
            let result = recording.client_meets(Script::new(whole[..cut].to_vec(), End::HangUp), PATIENCE);
            assert!(hung_up(&result), "byte {cut}, frame {at}: {result:?}");
            assert!(start.elapsed() < PATIENCE + Duration::from_secs(2), "byte {cut}: slow");
        }
    }
    // Cut while the client writes; its goodbye included.
    let mut heard = 0;
    for (at, frame) in recording.client.iter().enumerate() {
        let result = recording.client_meets(Script::deaf_after(whole.clone(), heard), PATIENCE);
        assert!(hung_up(&result), "after {at} frames of the client: {result:?}");
        heard += frame.len();
    }
    // The twin: a server that hears everything.
    assert_eq!(recording.client_meets(Script::deaf_after(whole, heard), PATIENCE).unwrap(), recording.result);
}

#[test]
fn a_server_whose_client_leaves_goes_on() {
    let (server, inputs) = server(Policy::default());
    let recording = Recording::new(&server, fresh_seed("session"), &inputs);
    let whole = recording.client.concat();
    for at in 0..recording.client.len() {
        let before: usize = recording.client[..at].iter().map(Vec::len).sum();
        for cut in [before, before + 1, before + recording.client[at].len() - 1] {
            let result =
                recording.server_meets(&server, Script::new(whole[..cut].to_vec(), End::HangUp), PATIENCE);
            assert!(hung_up(&result), "byte {cut}, frame {at}: {result:?}");
        }
        if at % 8 == 0 {
            still_serves(&server, &inputs);
        }
    }
    let mut heard = 0;
    for (at, frame) in recording.server.iter().enumerate() {
        let result = recording.server_meets(&server, Script::deaf_after(whole.clone(), heard), PATIENCE);
        assert!(hung_up(&result), "after {at} frames of the server: {result:?}");
        heard += frame.len();
    }
    assert_eq!(
        recording.server_meets(&server, Script::deaf_after(whole, heard), PATIENCE).unwrap().images,
        IMAGES
    );
    still_serves(&server, &inputs);
}

#[test]
fn real_ends_that_drop_are_seen_over_memory() {
    // The same over a connected pair, where a dead end shows in reads and in writes.
    let (server, inputs) = server(Policy::default());
    let recording = Recording::new(&server, fresh_seed("session"), &inputs);
    for at in (0..recording.client.len()).step_by(5) {
        let (mut left, right) = pair();
        left.write_all(&recording.client[..at].concat()).unwrap();
        drop(left);
        let mut channel = Channel::new(right, PATIENCE);
        let result = server.serve(&mut channel, "left", PATIENCE, Seed::from_bytes(fresh_seed("serving")));
        // Frames of a session with other randomness are no less welcome until the end comes.
        assert!(
            matches!(
                result,
                Err(ProtocolError::HungUp { .. } | ProtocolError::Incompatible(_) | ProtocolError::Peer(_))
            ),
            "{at}: {result:?}"
        );
    }
    still_serves(&server, &inputs);
}

#[test]
fn a_bundle_whose_inference_was_cut_is_gone() {
    let (server, inputs) = server(Policy::default());
    let recording = Recording::new(&server, fresh_seed("session"), &inputs);
    let id = recording.result.0;
    let digest = server.model().manifest.digest().unwrap();
    let infer = postcard::to_stdvec(&Request::Infer { id }).unwrap();
    // Asks for the bundle on a connection of its own: whether the server starts, that is, whether the bundle was there.
    let ask = || {
        let agree = postcard::to_stdvec(&Request::Agree { terms: TERMS, digest }).unwrap();
        let mut bytes = recording.client[0].clone();
        bytes.extend(frame(Kind::Request as u8, 1, &agree));
        bytes.extend(frame(Kind::Request as u8, 2, &infer));
        match recording.server_meets(&server, Script::new(bytes, End::HangUp), PATIENCE) {
            Err(ProtocolError::HungUp { .. }) => true,
            Err(ProtocolError::Incompatible(refusal)) if refusal.code == RefusalCode::Bundle => false,
            other => panic!("{other:?}"),
        }
    };
    assert!(!ask(), "it was run to the end when it was recorded");
    let first = recording
        .client
        .iter()
        .position(|frame| frame[0] == Kind::Request as u8 && frame.ends_with(&infer))
        .unwrap();
    let cut = |frames: usize| {
        let script = Script::new(recording.client[..frames].concat(), End::HangUp);
        assert!(hung_up(&recording.server_meets(&server, script, PATIENCE)));
    };
    // The twin: cut right before the request, the kept bundle waits on the shelf (and asking for it uses it up).
    cut(first);
    assert!(ask(), "kept, not yet used");
    assert!(!ask(), "asked for and cut");
    for frames in first + 1..recording.client.len() {
        cut(frames);
        assert!(!ask(), "the bundle survived a cut after {frames} frames");
    }
    still_serves(&server, &inputs);
}

#[test]
fn a_silent_client_is_cut_after_the_idle_time() {
    let idle = Duration::from_millis(400);
    let (server, inputs) = server(Policy { idle, ..Policy::default() });
    let recording = Recording::new(&server, fresh_seed("session"), &inputs);
    // Silent after the agreement, and between its bundle and its inference.
    let requests = recording.client.iter().enumerate().filter(|(_, frame)| frame[0] == Kind::Request as u8);
    let places: Vec<usize> = requests.map(|(at, _)| at).skip(1).collect();
    assert_eq!(places.len(), 5, "transfers, prepare, keep, infer, finish");
    for at in places {
        let script = Script::new(recording.client[..at].concat(), End::Silence);
        let start = Instant::now();
        // Messages may take much longer than the silence between requests.
        let result = recording.server_meets(&server, script, Duration::from_secs(60));
        assert!(matches!(result, Err(ProtocolError::TimedOut { .. })), "{at}: {result:?}");
        assert!(
            start.elapsed() >= idle && start.elapsed() < Duration::from_secs(20),
            "{at}: {:?}",
            start.elapsed()
        );
    }
    still_serves(&server, &inputs);
}

/// What a peer that sends one byte each 100 ms is worth: cut at the deadline of the message, not of the byte.
const TRICKLE: TcpOptions =
    TcpOptions { connect: Duration::from_secs(5), message: Duration::from_secs(1), link: None };

/// Writes byte by byte until the other side has enough.
fn trickle(mut stream: TcpStream, bytes: &[u8]) {
    stream.set_nodelay(true).unwrap();
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn in_time(start: Instant) -> bool {
    // A trickled hello takes 5.6 s: who waits for each byte alone would wait that long.
    start.elapsed() >= TRICKLE.message && start.elapsed() < Duration::from_millis(4500)
}

#[test]
fn a_trickling_client_is_cut_at_the_deadline() {
    let (server, inputs) = server(Policy::default());
    let recording = Recording::new(&server, fresh_seed("session"), &inputs);
    let server = Arc::new(server);
    let listener =
        Listener::bind("127.0.0.1:0", ListenOptions { tcp: TRICKLE, ..ListenOptions::default() }).unwrap();
    let address = listener.address().unwrap();
    let stop = AtomicBool::new(false);
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let (listener, server, stop) = (&listener, &server, &stop);
        scope.spawn(move || listener.run(server, stop, move |_, result| drop(tell.send(result))).unwrap());
        let start = Instant::now();
        let hello = &recording.client[0];
        scope.spawn(move || trickle(TcpStream::connect(address).unwrap(), hello));
        let result = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(matches!(result, Err(ProtocolError::TimedOut { .. })), "{result:?}");
        assert!(in_time(start), "{:?}", start.elapsed());
        // The twin: the same listener serves who speaks in one breath.
        let channel = connect(&address.to_string(), TcpOptions::default()).unwrap();
        let client = Client::connect(channel, Seed::from_bytes(fresh_seed("client"))).unwrap();
        client.agree(false).unwrap().finish().unwrap();
        assert!(told.recv_timeout(Duration::from_secs(20)).unwrap().is_ok());
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_trickling_server_is_left_at_the_deadline() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let (server, inputs) = server(Policy::default());
    let recording = Recording::new(&server, fresh_seed("session"), &inputs);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = socket.accept().unwrap();
            let mut hello = vec![0; recording.client[0].len()];
            stream.read_exact(&mut hello).unwrap();
            trickle(stream, &recording.server[0]);
        });
        let start = Instant::now();
        let channel = connect(&address, TRICKLE).unwrap();
        let result = Client::connect(channel, Seed::from_bytes(fresh_seed("client"))).map(drop);
        assert!(matches!(result, Err(ProtocolError::TimedOut { .. })), "{result:?}");
        assert!(in_time(start), "{:?}", start.elapsed());
    });
}
