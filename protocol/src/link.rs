//! What the link to the other side is like, as the client measures it.
//!
//! The client decides how activations trade round trips for bytes ([`crate::rounds`]), and for that it has to know the link.
//! It asks the server for *probes*: filler of a stated size in either direction, on the session's own connection.
//!
//! | probe | times | gives |
//! |---|---|---|
//! | nothing | [`EMPTY_PROBES`] | the least is the round trip |
//! | [`MAX_PROBE`] bytes down | 1, or 2 if latency ruled the first | least time beyond the round trip: rate down |
//! | as many up | likewise | rate up |
//!
//! A near link (less than 2 ms) is sent no large probe; its rate is taken to be 1 Gbit/s. Else
//! the estimate is the round trip and the *slower* of the two rates: what runs over the link goes both ways. A link whose
//! latency is large against the probe (slow start, mostly) is measured twice, since the second probe finds it awake. The
//! estimate is a guess that decides about speed and nothing else: no secret is near, and a server that
//! answers late can make its client choose the slower construction, no more.
//!
//! *Units*: microseconds and kilobits per second, integers, so that both parties compute with the same numbers.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::channel::{Channel, Kind, Link};
use crate::error::{ProtocolError, Refusal, RefusalCode};
use crate::handshake::{Request, ask};

/// Most bytes of a probe in one direction.
pub const MAX_PROBE: usize = 64 << 10;
/// Most probes that a server answers in one session: a few measurements.
pub const MAX_PROBES: usize = 32;
/// Empty probes of one measurement.
pub const EMPTY_PROBES: usize = 3;
/// A large probe that takes less than so many round trips was ruled by latency.
const LATENCY_RULES: u32 = 8;
/// A transfer that takes less than this part of its probe can't be told from jitter: the rate is taken to be no higher.
const FAINT: u32 = 16;
/// Below this round trip the rate is not measured but taken to be [`NEAR_RATE`]: what a round trip less is worth there pays
/// for the bytes of a few elements only, and a probe would cost more than it could save.
const NEAR: Duration = Duration::from_millis(2);
/// Bits per second of a near link.
const NEAR_RATE: f64 = 1e9;
/// Longest round trip of an estimate, µs.
const MAX_MICROS: u32 = 60_000_000;

/// A measured link: a round trip of up to a minute, and 1 kbit/s to 4 Tbit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkEstimate {
    round_trip_micros: u32,
    kilobits_per_second: u32,
}

impl LinkEstimate {
    /// An estimate from what was measured, clipped to the ranges above.
    pub fn new(round_trip: Duration, bits_per_second: f64) -> Self {
        Self {
            round_trip_micros: u32::try_from(round_trip.as_micros()).unwrap_or(MAX_MICROS).min(MAX_MICROS),
            // Casts from floating point clip, and take NaN to zero.
            kilobits_per_second: ((bits_per_second / 1e3) as u32).max(1),
        }
    }

    /// The time of an empty message there and back.
    pub fn round_trip(&self) -> Duration {
        Duration::from_micros(self.round_trip_micros.into())
    }

    /// The same in seconds.
    pub fn round_trip_seconds(&self) -> f64 {
        f64::from(self.round_trip_micros) * 1e-6
    }

    /// The rate of the slower direction.
    pub fn bits_per_second(&self) -> f64 {
        f64::from(self.kilobits_per_second) * 1e3
    }

    /// Whether the rate was not measured but taken for granted, as on every link with a round trip below 2 ms.
    pub fn rate_is_assumed(&self) -> bool {
        self.round_trip() < NEAR && self.bits_per_second() == NEAR_RATE
    }

    /// Whether [`Self::new`] could have made it: what comes from a peer is asked this before it is used.
    pub fn is_plausible(&self) -> bool {
        self.round_trip_micros <= MAX_MICROS && self.kilobits_per_second >= 1
    }

    /// For hashes and records.
    pub(crate) fn bytes(&self) -> [u8; 8] {
        let both = u64::from(self.round_trip_micros) << 32 | u64::from(self.kilobits_per_second);
        both.to_le_bytes()
    }

    /// From [`Self::bytes`].
    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        let both = u64::from_le_bytes(bytes);
        Self { round_trip_micros: (both >> 32) as u32, kilobits_per_second: both as u32 }
    }
}

impl From<Link> for LinkEstimate {
    fn from(link: Link) -> Self {
        Self::new(link.round_trip, link.bits_per_second as f64)
    }
}

impl std::fmt::Display for LinkEstimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ms, {:.1} Mbit/s", self.round_trip_seconds() * 1e3, self.bits_per_second() / 1e6)
    }
}

/// What the client wants of round trips; a [`crate::rounds::RoundChoice`] is what it then says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounds {
    /// Measure the link before the first bundle (unless it is known), then step by step what is faster.
    #[default]
    Auto,
    /// One round trip per step, more bytes.
    One,
    /// Three round trips per step, fewest bytes.
    Three,
}

/// Client: measures.
pub(crate) fn measure(channel: &mut Channel) -> Result<LinkEstimate, ProtocolError> {
    let mut round_trip = Duration::MAX;
    for _ in 0..EMPTY_PROBES {
        round_trip = round_trip.min(probe(channel, 0, 0)?);
    }
    if round_trip < NEAR {
        return Ok(LinkEstimate::new(round_trip, NEAR_RATE));
    }
    let mut slower = Duration::ZERO;
    for [up, down] in [[0, MAX_PROBE], [MAX_PROBE, 0]] {
        let mut took = probe(channel, up, down)?;
        if took < round_trip.saturating_mul(LATENCY_RULES) {
            took = took.min(probe(channel, up, down)?);
        }
        // Should the empty ones have been held up, a large one knows better.
        round_trip = round_trip.min(took);
        slower = slower.max(took);
    }
    let transfer = (slower - round_trip).max(slower / FAINT).max(Duration::from_nanos(1));
    Ok(LinkEstimate::new(round_trip, MAX_PROBE as f64 * 8.0 / transfer.as_secs_f64()))
}

/// Client: one probe; how long until the whole answer was there.
fn probe(channel: &mut Channel, up: usize, down: usize) -> Result<Duration, ProtocolError> {
    let filler = filler(up);
    let start = Instant::now();
    ask(channel, &Request::Probe { up, down })?;
    channel.send(Kind::Probe, 0, &filler)?;
    channel.receive(Kind::Probe, 0, down)?;
    Ok(start.elapsed())
}

/// Server: answers the `number`th probe of the session, counted from one.
pub(crate) fn answer(
    channel: &mut Channel,
    number: usize,
    up: usize,
    down: usize,
) -> Result<(), ProtocolError> {
    if number > MAX_PROBES || up.max(down) > MAX_PROBE {
        let reason = format!(
            "a probe of {up} bytes up and {down} down was asked for, number {number}: this server answers \
             {MAX_PROBES} of at most {MAX_PROBE} bytes per session"
        );
        return Err(channel.refuse(Refusal { code: RefusalCode::Limit, reason }));
    }
    channel.receive(Kind::Probe, 0, up)?;
    channel.send(Kind::Probe, 0, &filler(down))?;
    channel.flush()
}

/// Bytes that do not compress, should a tunnel try; made in no time, since the clock runs.
fn filler(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = vec![0; length];
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{pair, shaped};
    use crate::handshake::next_request;
    use crate::rounds::RoundChoice;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server that answers probes until the client is gone, or too many came.
    fn answer_all(mut channel: Channel) -> Result<usize, ProtocolError> {
        let mut number = 0;
        loop {
            match next_request(&mut channel) {
                Ok(Request::Probe { up, down }) => {
                    number += 1;
                    answer(&mut channel, number, up, down)?;
                }
                _ => return Ok(number),
            }
        }
    }

    #[test]
    fn a_measured_link_is_the_modelled_one() {
        for link in
            [Link::LAN, Link::WAN, Link { bits_per_second: 20_000_000, round_trip: Duration::from_millis(5) }]
        {
            let once = || {
                let (left, right) = pair();
                let [left, right] =
                    [left, right].map(|end| Channel::new(shaped(end, link).unwrap(), PATIENCE));
                std::thread::scope(|scope| {
                    let serving = scope.spawn(move || answer_all(right));
                    let mut left = left;
                    let estimate = measure(&mut left).unwrap();
                    drop(left);
                    let probes = serving.join().unwrap().unwrap();
                    let wanted = if link.round_trip < NEAR { 3..=3 } else { 3..=7 };
                    assert!(wanted.contains(&probes), "{probes} probes");
                    estimate
                })
            };
            // A busy machine only adds time: one of five measurements must fit.
            let fits = |_| {
                let estimate = once();
                println!("{link}: {estimate}");
                let extra = estimate.round_trip_seconds() - link.round_trip.as_secs_f64();
                let rate = estimate.bits_per_second() / link.bits_per_second as f64;
                (0.0..0.15 * link.round_trip.as_secs_f64() + 150e-6).contains(&extra)
                    && (0.85..1.15).contains(&rate)
            };
            assert!((0..5).any(fits), "{link}");
        }
    }

    #[test]
    fn the_slower_direction_counts() {
        let slow = Link { bits_per_second: 10_000_000, round_trip: Duration::from_millis(10) };
        for upwards in [true, false] {
            let (left, right) = pair();
            let (left, right) = if upwards {
                (Channel::new(shaped(left, slow).unwrap(), PATIENCE), Channel::new(right, PATIENCE))
            } else {
                (Channel::new(left, PATIENCE), Channel::new(shaped(right, slow).unwrap(), PATIENCE))
            };
            let estimate = std::thread::scope(|scope| {
                scope.spawn(move || answer_all(right));
                let mut left = left;
                measure(&mut left).unwrap()
            });
            assert!((6e6..12e6).contains(&estimate.bits_per_second()), "{estimate}");
        }
    }

    #[test]
    fn probes_are_capped() {
        let ask_for = |times: usize, up: usize, down: usize| {
            let (left, right) = pair();
            let (left, right) = (Channel::new(left, PATIENCE), Channel::new(right, PATIENCE));
            std::thread::scope(|scope| {
                scope.spawn(move || answer_all(right));
                let mut left = left;
                (0..times).try_for_each(|_| probe(&mut left, up, down).map(drop))
            })
        };
        ask_for(MAX_PROBES, 1, 1).unwrap();
        ask_for(1, MAX_PROBE, MAX_PROBE).unwrap();
        for (times, up, down) in
            [(MAX_PROBES + 1, 1, 1), (1, MAX_PROBE + 1, 0), (1, 0, MAX_PROBE + 1), (1, 0, usize::MAX)]
        {
            match ask_for(times, up, down) {
                Err(ProtocolError::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::Limit),
                other => panic!("{times} {up} {down}: {other:?}"),
            }
        }
    }

    #[test]
    fn estimates_are_clipped_and_checked() {
        let extreme = [
            LinkEstimate::new(Duration::MAX, f64::INFINITY),
            LinkEstimate::new(Duration::ZERO, 0.0),
            LinkEstimate::new(Duration::from_millis(3), f64::NAN),
        ];
        assert!(extreme.iter().all(LinkEstimate::is_plausible), "{extreme:?}");
        assert_eq!(LinkEstimate::from(Link::WAN), LinkEstimate::new(Duration::from_millis(40), 1e8));
        let raw = |micros: u32, kilobits: u32| -> LinkEstimate {
            postcard::from_bytes(&postcard::to_stdvec(&(micros, kilobits)).unwrap()).unwrap()
        };
        assert!(raw(40_000, 100_000).is_plausible());
        assert!(!raw(40_000, 0).is_plausible());
        assert!(!raw(u32::MAX, 100_000).is_plausible());
        let choices = [
            RoundChoice::Three,
            RoundChoice::One,
            RoundChoice::Fastest(raw(0, 0)),
            RoundChoice::Fastest(raw(0, 1)),
            RoundChoice::Fastest(raw(1, 0)),
        ];
        let bytes: std::collections::HashSet<_> = choices.map(RoundChoice::bytes).into_iter().collect();
        assert_eq!(bytes.len(), choices.len(), "every choice has bytes of its own");
    }
}
