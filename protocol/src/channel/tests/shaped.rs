//! The modelled link: as fast and as slow as it says, in order, and closing like any stream.

use std::net::{TcpListener, TcpStream};
use std::thread;

use super::super::{Link, MemoryStream, TcpOptions, accept, shaped};
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// Two ends of a link over memory.
fn ends_of(link: Link) -> (Channel, Channel) {
    let (left, right) = pair();
    let end = |stream: MemoryStream| Channel::new(shaped(stream, link).unwrap(), PATIENCE);
    (end(left), end(right))
}

fn ends_over_tcp(link: Link) -> (Channel, Channel) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let left = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let options = TcpOptions { link: Some(link), ..TcpOptions::default() };
    (accept(left, options).unwrap(), accept(listener.accept().unwrap().0, options).unwrap())
}

/// The least of several empty round trips: a busy machine only adds.
fn round_trip((mut left, mut right): (Channel, Channel), times: usize) -> Duration {
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..times {
                right.receive(Kind::Gate, 0, 0).unwrap();
                right.send(Kind::Gate, 0, b"").unwrap();
                right.flush().unwrap();
            }
        });
        let once = |_| {
            let start = Instant::now();
            left.send(Kind::Gate, 0, b"").unwrap();
            left.receive(Kind::Gate, 0, 0).unwrap();
            start.elapsed()
        };
        (0..times).map(once).min().unwrap()
    })
}

/// Bits per second of `bytes` in one direction, from the first write to the last byte read, half a round trip taken off.
fn rate((mut left, mut right): (Channel, Channel), link: Link, bytes: usize) -> f64 {
    let payload: Vec<u8> =
        (0..bytes).map(|i| (i as u32).wrapping_mul(0x9e37_79b1).to_le_bytes()[3]).collect();
    let start = Instant::now();
    let read = thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let got = right.receive(Kind::Gate, 0, bytes).unwrap();
            (got, start.elapsed())
        });
        left.send(Kind::Gate, 0, &payload).unwrap();
        left.flush().unwrap();
        reading.join().unwrap()
    });
    assert!(read.0 == payload, "what came is not what went");
    bytes as f64 * 8.0 / (read.1 - link.round_trip / 2).as_secs_f64()
}

/// What waking up for either message of a round trip may take on a virtual machine.
const WAKING: f64 = 200e-6;

fn within_15_percent(measured: f64, model: f64, more: f64, what: &str) -> bool {
    println!("{what}: {measured:.6}, model {model:.6}");
    (model * 0.999..model * 1.15 + more).contains(&measured)
}

#[test]
fn round_trip_and_rate_are_the_models() {
    // A measurement on a busy machine may fail; one of five must not.
    for (link, name, bytes) in [(Link::LAN, "LAN", 8 << 20), (Link::WAN, "WAN", 2 << 20)] {
        for ends in [ends_of, ends_over_tcp] {
            let time = |_: &i32| {
                let trip = round_trip(ends(link), 12).as_secs_f64();
                within_15_percent(trip, link.round_trip.as_secs_f64(), WAKING, name)
            };
            assert!((0..5).any(|at| time(&at)), "{name}: round trip");
            let throughput = |_: &i32| {
                let seconds = 1.0 / rate(ends(link), link, bytes);
                within_15_percent(seconds, 1.0 / link.bits_per_second as f64, 0.0, name)
            };
            assert!((0..5).any(|at| throughput(&at)), "{name}: rate");
        }
    }
}

#[test]
fn both_directions_have_the_whole_rate() {
    let link = Link { bits_per_second: 200_000_000, round_trip: Duration::from_millis(10) };
    let bytes = 2 << 20;
    let both = move |link: &mut crate::channel::Duplex<'_>| {
        link.send(Kind::Gate, 0, vec![7; bytes])?;
        link.receive(Kind::Gate, 0, bytes).map(drop)
    };
    let fits = |_| {
        let (mut left, mut right) = ends_of(link);
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(move || left.duplex(true, 1, both).unwrap());
            right.duplex(true, 1, both).unwrap();
        });
        // One after the other it would be twice that.
        let (took, model) = (start.elapsed().as_secs_f64(), bytes as f64 * 8.0 / 200e6 + 0.005);
        println!("{took} s, model {model} s");
        (model * 0.99..model * 1.7).contains(&took)
    };
    assert!((0..5).any(fits));
}

#[test]
fn order_is_kept_and_closing_delivers() {
    let link = Link { bits_per_second: 50_000_000, round_trip: Duration::from_millis(20) };
    let (mut left, mut right) = ends_of(link);
    let start = Instant::now();
    for number in 0..200usize {
        left.send(Kind::Gate, number, &vec![number as u8; 1 + 37 * number]).unwrap();
        left.flush().unwrap();
    }
    // What is on the way arrives after the end is gone.
    drop(left);
    for number in 0..200usize {
        assert_eq!(
            right.receive(Kind::Gate, number, 1 + 37 * number).unwrap(),
            vec![number as u8; 1 + 37 * number]
        );
    }
    assert!(start.elapsed() >= Duration::from_millis(10 + 118), "{:?}", start.elapsed());
    assert!(matches!(right.receive(Kind::Gate, 0, 0), Err(ProtocolError::HungUp { .. })));
    // And the other direction fails by itself once the thread has seen that nobody listens.
    let failed = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(10));
        right.send(Kind::Gate, 0, b"x").and_then(|()| right.flush()).is_err()
    });
    assert!(failed, "writing to nobody");
}

#[test]
fn deadlines_hold() {
    // Silence.
    let link = Link { bits_per_second: 1_000_000, round_trip: Duration::from_millis(2) };
    let (mut left, _right) = ends_of(link);
    left.set_patience(Duration::from_millis(200));
    let start = Instant::now();
    assert!(matches!(left.receive(Kind::Gate, 0, 0), Err(ProtocolError::TimedOut { .. })));
    assert!((150..3000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    // A message that takes longer than its time: 1 MB at 1 Mbit/s.
    let (mut left, mut right) = ends_of(Link { bits_per_second: 8_000_000, ..link });
    right.set_patience(Duration::from_millis(300));
    left.send(Kind::Gate, 0, &vec![1; 1 << 20]).unwrap();
    left.flush().unwrap();
    assert!(matches!(right.receive(Kind::Gate, 0, 1 << 20), Err(ProtocolError::TimedOut { .. })));
    drop(right);
    // Back-pressure: more than is held does not go in at once, in turns and full duplex.
    for threaded in [false, true] {
        let (mut left, right) = ends_of(Link { bits_per_second: 1_000_000_000_000, ..link });
        left.set_patience(Duration::from_millis(200));
        drop(right);
        thread::sleep(Duration::from_millis(20));
        let result = left.duplex(threaded, 0, |link| {
            (0..20).try_for_each(|_| {
                thread::sleep(Duration::from_millis(5));
                link.send(Kind::Gate, 0, vec![1; 1 << 20])
            })
        });
        assert!(matches!(result, Err(ProtocolError::HungUp { .. })), "{result:?}");
    }
}

#[test]
fn a_write_waits_for_the_link() {
    let link = Link { bits_per_second: 80_000_000, round_trip: Duration::ZERO };
    let (left, right) = pair();
    let mut left = Channel::new(shaped(left, link).unwrap(), Duration::from_millis(200));
    // 4 MiB are held; 10 MB/s leave; 8 MiB more do not go in within 200 ms.
    left.send(Kind::Gate, 0, &vec![1; 4 << 20]).unwrap();
    let start = Instant::now();
    let result = left.send(Kind::Gate, 1, &vec![1; 8 << 20]).and_then(|()| left.flush());
    assert!(matches!(result, Err(ProtocolError::TimedOut { .. })), "{result:?}");
    assert!((150..2000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    drop(right);
}

#[test]
fn links_are_read_from_words() {
    let read = |text: &str| text.parse::<Link>().unwrap();
    assert_eq!(read("lan"), Link::LAN);
    assert_eq!(read("WAN"), Link::WAN);
    assert_eq!(read("100mbit/40ms"), Link::WAN);
    assert_eq!(read("1gbit/0.5ms"), Link::LAN);
    assert_eq!(read("1gbit/500us"), Link::LAN);
    assert_eq!(
        read("56kbit/1.5s"),
        Link { bits_per_second: 56_000, round_trip: Duration::from_millis(1500) }
    );
    for link in [Link::LAN, Link::WAN, read("2.5mbit/7ms"), read("56kbit/1s")] {
        assert_eq!(read(&link.to_string()), link, "{link}");
    }
    let bad = [
        "",
        "dsl",
        "100mbit",
        "100/40ms",
        "mbit/40ms",
        "0mbit/1ms",
        "-1mbit/1ms",
        "nanmbit/1ms",
        "1mbit/infs",
        "1mbit/60s",
        "9999gbit/1ms",
    ];
    for bad in bad {
        let error = bad.parse::<Link>().unwrap_err().to_string();
        assert!(error.contains("100mbit/40ms"), "{error}");
    }
}
