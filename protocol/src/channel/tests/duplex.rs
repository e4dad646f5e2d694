//! Full duplex: both sides talk at once, and every way to fail ends in time.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use super::super::duplex::Duplex;
use super::super::{TcpOptions, accept};
use super::*;

const BIG: usize = 1 << 20;
/// More than the buffers of two sockets hold.
const MESSAGES: usize = 64;

/// Two ends over the loopback device, where writes do block.
fn tcp(patience: Duration) -> (Channel, Channel) {
    let options = TcpOptions { message: patience, ..TcpOptions::default() };
    let (left, right) = sockets();
    (accept(left, options).unwrap(), accept(right, options).unwrap())
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let left = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (left, listener.accept().unwrap().0)
}

fn payload(number: usize) -> Vec<u8> {
    (0..BIG)
        .map(|i| (i as u32).wrapping_mul(0x9e37_79b1).wrapping_add(number as u32).to_le_bytes()[3])
        .collect()
}

/// Everything out, then everything in.
fn exchange(link: &mut Duplex<'_>) -> Result<(), ProtocolError> {
    for number in 0..MESSAGES {
        link.send(Kind::Gate, number, payload(number))?;
    }
    for number in 0..MESSAGES {
        assert_eq!(link.receive(Kind::Gate, number, BIG)?, payload(number), "message {number}");
    }
    Ok(())
}

#[test]
fn both_sides_send_everything_before_they_read() {
    for (mut left, mut right) in [tcp(Duration::from_secs(60)), {
        let (left, right) = pair();
        (Channel::new(left, Duration::from_secs(60)), Channel::new(right, Duration::from_secs(60)))
    }] {
        thread::scope(|scope| {
            scope.spawn(|| {
                left.send(Kind::Input, 0, b"before").unwrap();
                left.duplex(true, 3, exchange).unwrap();
                left.send(Kind::Output, 0, b"after").unwrap();
                left.flush().unwrap();
            });
            assert_eq!(right.receive(Kind::Input, 0, 6).unwrap(), b"before");
            right.duplex(true, 3, exchange).unwrap();
            assert_eq!(right.receive(Kind::Output, 0, 5).unwrap(), b"after");
        });
        let all = (MESSAGES * (12 + BIG)) as u64;
        assert_eq!(left.traffic(), Traffic { sent: all + 12 + 6 + 12 + 5, received: all, rounds: 3 });
        assert_eq!(right.traffic(), Traffic { sent: all, received: all + 12 + 6 + 12 + 5, rounds: 3 });
    }
}

#[test]
fn the_twin_in_turns_does_block() {
    // What duplex is for: the same exchange without the thread ends at the deadline.
    let (mut left, mut right) = tcp(Duration::from_millis(600));
    thread::scope(|scope| {
        let other = scope.spawn(move || left.duplex(false, 3, exchange));
        let results = [right.duplex(false, 3, exchange), other.join().unwrap()];
        assert!(
            results.iter().any(|result| matches!(result, Err(ProtocolError::TimedOut { .. }))),
            "{results:?}"
        );
    });
}

#[test]
fn rounds_are_those_of_turns() {
    // Two chunks through a stage of two round trips, against one chunk in turns: the client answers, the server begins.
    let counts = |chunks: usize, duplex: Option<bool>| {
        let (mut left, mut right) = super::ends();
        let server = |link: &mut Duplex<'_>| {
            (0..chunks).try_for_each(|_| link.send(Kind::Gate, 0, b"s"))?;
            (0..chunks).try_for_each(|_| {
                link.receive(Kind::Gate, 0, 1)?;
                link.send(Kind::Gate, 0, b"s")
            })?;
            (0..chunks).try_for_each(|_| link.receive(Kind::Gate, 0, 1).map(drop))
        };
        let client = |link: &mut Duplex<'_>| {
            (0..2 * chunks).try_for_each(|_| {
                link.receive(Kind::Gate, 0, 1)?;
                link.send(Kind::Gate, 0, b"c")
            })
        };
        thread::scope(|scope| {
            let serving = scope.spawn(move || {
                right.receive(Kind::Input, 0, 0).unwrap();
                for _ in 0..2 {
                    match duplex {
                        Some(threaded) => right.duplex(threaded, 2, server).unwrap(),
                        None => {
                            for _ in 0..2 {
                                right.send(Kind::Gate, 0, b"s").unwrap();
                                right.receive(Kind::Gate, 0, 1).unwrap();
                            }
                        }
                    }
                }
                right.send(Kind::Output, 0, b"").unwrap();
                right.flush().unwrap();
                right.traffic().rounds
            });
            left.send(Kind::Input, 0, b"").unwrap();
            for _ in 0..2 {
                match duplex {
                    Some(threaded) => left.duplex(threaded, 2, client).unwrap(),
                    None => {
                        for _ in 0..2 {
                            left.receive(Kind::Gate, 0, 1).unwrap();
                            left.send(Kind::Gate, 0, b"c").unwrap();
                        }
                    }
                }
            }
            left.receive(Kind::Output, 0, 0).unwrap();
            [left.traffic().rounds, serving.join().unwrap()]
        })
    };
    let turns = counts(1, None);
    assert_eq!(turns, [5, 4]);
    assert_eq!([counts(1, Some(false)), counts(2, Some(true)), counts(7, Some(true))], [turns; 3]);
}

#[test]
fn a_peer_that_vanishes_is_seen() {
    for read in [0, 3 * BIG] {
        let (left, mut right) = sockets();
        let mut left =
            accept(left, TcpOptions { message: Duration::from_secs(20), ..TcpOptions::default() }).unwrap();
        let start = Instant::now();
        let result = thread::scope(|scope| {
            scope.spawn(move || {
                std::io::copy(&mut (&mut right).take(read as u64), &mut std::io::sink()).unwrap();
                drop(right);
            });
            left.duplex(true, 1, exchange)
        });
        assert!(matches!(result, Err(ProtocolError::HungUp { .. })), "{result:?}");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        // Not used again, and it says so.
        assert!(matches!(left.duplex(true, 1, |_| Ok(())), Err(ProtocolError::Caller(_))));
        assert!(left.send(Kind::Gate, 0, b"").and_then(|()| left.flush()).is_err());
    }
}

#[test]
fn a_peer_that_neither_reads_nor_writes_is_left_at_the_deadline() {
    let (left, right) = sockets();
    let mut left =
        accept(left, TcpOptions { message: Duration::from_millis(500), ..TcpOptions::default() }).unwrap();
    // Sending only, so that it is the writer's deadline; then sending and receiving.
    let start = Instant::now();
    let result =
        left.duplex(true, 1, |link| (0..MESSAGES).try_for_each(|at| link.send(Kind::Gate, at, payload(at))));
    assert!(matches!(result, Err(ProtocolError::TimedOut { .. })), "{result:?}");
    assert!((400..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    drop((left, right));
    let (left, _right) = sockets();
    let mut left =
        accept(left, TcpOptions { message: Duration::from_millis(500), ..TcpOptions::default() }).unwrap();
    let start = Instant::now();
    let result = left.duplex(true, 1, exchange);
    assert!(matches!(result, Err(ProtocolError::TimedOut { .. })), "{result:?}");
    assert!((400..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[test]
fn a_wrong_frame_ends_the_stage_at_once() {
    let (left, mut right) = sockets();
    let mut left =
        accept(left, TcpOptions { message: Duration::from_secs(30), ..TcpOptions::default() }).unwrap();
    let mut frame = [0; 12];
    frame[0] = Kind::Gate as u8;
    frame[2] = 1;
    right.write_all(&frame).unwrap();
    // The peer does not read: the writer is stuck with what was sent, and yet nothing waits for its deadline.
    let start = Instant::now();
    let result = left.duplex(true, 1, exchange);
    assert!(matches!(result, Err(ProtocolError::Peer(PeerFault::Unexpected { .. }))), "{result:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_length_bomb_and_a_refusal_are_taken_as_in_turns() {
    let mut bomb = [0; 12];
    bomb[0] = Kind::Gate as u8;
    bomb[8..].copy_from_slice(&u32::MAX.to_le_bytes());
    let (mut raw, right) = pair();
    raw.write_all(&bomb).unwrap();
    let mut right = Channel::new(right, Duration::from_secs(5));
    let result = right.duplex(true, 1, |link| link.receive(Kind::Gate, 0, 5));
    assert!(matches!(result, Err(ProtocolError::Peer(PeerFault::Length { .. }))), "{result:?}");

    let (mut left, mut right) = super::ends();
    let refusal = Refusal { code: crate::error::RefusalCode::Busy, reason: "no".into() };
    left.refuse(refusal.clone());
    match right.duplex(true, 1, |link| link.receive(Kind::Gate, 0, 5)) {
        Err(ProtocolError::Refused(got)) => assert_eq!(got, refusal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_in_a_stage_leaves_no_thread_behind() {
    let (left, _right) = sockets();
    let mut left =
        accept(left, TcpOptions { message: Duration::from_secs(30), ..TcpOptions::default() }).unwrap();
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            left.duplex(true, 1, |link| -> Result<(), ProtocolError> {
                (0..MESSAGES).try_for_each(|at| link.send(Kind::Gate, at, payload(at)))?;
                link.flush()?;
                panic!("planted")
            })
        }));
        done.send((result.is_err(), left.flush().is_err())).unwrap();
    });
    assert_eq!(ended.recv_timeout(Duration::from_secs(10)).unwrap(), (true, true));
}
