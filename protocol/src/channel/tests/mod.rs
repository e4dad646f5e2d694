//! Frames: counted, checked before they are read, timed.

mod duplex;
mod shaped;

use super::*;
use crate::error::PeerFault;

fn ends() -> (Channel, Channel) {
    let (left, right) = pair();
    (Channel::new(left, Duration::from_secs(5)), Channel::new(right, Duration::from_millis(300)))
}

#[test]
fn bytes_and_rounds_are_counted_on_both_sides() {
    let (mut left, mut right) = ends();
    left.send(Kind::Input, 3, b"abc").unwrap();
    left.send(Kind::Gate, 4, b"").unwrap();
    left.flush().unwrap();
    assert_eq!(right.receive(Kind::Input, 3, 3).unwrap(), b"abc");
    assert_eq!(right.receive(Kind::Gate, 4, 0).unwrap(), b"");
    right.send(Kind::Output, 0, b"xy").unwrap();
    right.flush().unwrap();
    assert_eq!(left.receive_up_to(Kind::Output, 10).unwrap(), b"xy");
    assert_eq!(left.traffic(), Traffic { sent: 27, received: 14, rounds: 1 });
    assert_eq!(right.traffic(), Traffic { sent: 14, received: 27, rounds: 0 });
}

#[test]
fn any_other_frame_is_the_peers_fault() {
    for (kind, layer, length) in
        [(Kind::Gate, 1, 3), (Kind::Input, 2, 3), (Kind::Input, 1, 4), (Kind::Input, 1, 2)]
    {
        let (mut left, mut right) = ends();
        left.send(Kind::Input, 1, b"abc").unwrap();
        left.flush().unwrap();
        assert!(
            matches!(right.receive(kind, layer, length), Err(ProtocolError::Peer(_))),
            "{kind:?} {layer} {length}"
        );
    }
}

#[test]
fn a_replayed_frame_is_refused() {
    let (mut raw, right) = pair();
    let mut right = Channel::new(right, Duration::from_secs(1));
    let frame = [Kind::Gate as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    raw.write_all(&frame).unwrap();
    raw.write_all(&frame).unwrap();
    right.receive(Kind::Gate, 0, 0).unwrap();
    assert!(matches!(
        right.receive(Kind::Gate, 0, 0),
        Err(ProtocolError::Peer(PeerFault::Unexpected { .. }))
    ));
}

#[test]
fn a_length_bomb_is_refused_before_it_is_read() {
    let (mut raw, right) = pair();
    let mut right = Channel::new(right, Duration::from_secs(1));
    let mut frame = [0; 12];
    frame[0] = Kind::Welcome as u8;
    frame[8..].copy_from_slice(&u32::MAX.to_le_bytes());
    raw.write_all(&frame).unwrap();
    assert!(matches!(
        right.receive_up_to(Kind::Welcome, 1 << 20),
        Err(ProtocolError::Peer(PeerFault::Length { .. }))
    ));
}

#[test]
fn refusals_arrive_as_sentences() {
    let (mut left, mut right) = ends();
    let refusal = Refusal { code: crate::error::RefusalCode::Output, reason: "labels only".into() };
    assert!(matches!(left.refuse(refusal.clone()), ProtocolError::Incompatible(_)));
    match right.receive(Kind::Agreed, 0, 0) {
        Err(ProtocolError::Refused(got)) => assert_eq!(got, refusal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn silence_times_out_and_hanging_up_is_seen() {
    let (left, mut right) = ends();
    assert!(matches!(right.receive(Kind::Gate, 0, 0), Err(ProtocolError::TimedOut { .. })));
    drop(left);
    assert!(matches!(right.receive(Kind::Gate, 0, 0), Err(ProtocolError::HungUp { .. })));
}
