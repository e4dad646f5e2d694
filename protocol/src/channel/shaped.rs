//! A modelled link: what is written leaves at a rate and arrives half a round trip later.
//!
//! For measurements on machines whose kernel shapes no traffic. [`shaped`] wraps one end of a connection and models the
//! direction in which this end writes; wrapping both ends models the link.
//!
//! *Model.* Writes are cut into pieces of at most 64 KiB. A piece starts to leave when it is written, or when the piece before it
//! has left; it has left after bytes · 8 / rate; it arrives half a round trip after that. No loss, no slow start, no jitter; only the
//! channel's own bytes count, not the headers of the layers below. A thread per wrapped end holds the pieces until they
//! are due and then writes them to the stream below. Times are absolute, so the sleeps' inaccuracy does not add up;
//! before the last piece of a message the thread waits actively for a moment, because sleeping is too coarse for the half
//! millisecond of a local network.
//!
//! *Back-pressure.* At most [`MOST_HELD`] bytes, or twice what fits on the link if that is more, are held: like a socket's
//! buffer. A write beyond that waits, until its deadline.
//!
//! *Closing.* Dropping the end delivers what is held, on time, then closes the stream below; the drop waits for
//! that. A stream below that takes nothing for [`LINGER`] after that is given up.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::frame::{SLICE, write_in_slices};
use super::{ReadHalf, Stream, WriteHalf};
use crate::error::ProtocolError;

/// Bytes held before writes wait.
pub const MOST_HELD: usize = 4 << 20;
/// How long a closed end tries to deliver what is overdue.
pub const LINGER: Duration = Duration::from_secs(2);
/// Most bytes that leave as one.
const PIECE: usize = 1 << 16;
/// Sleeping overshoots by about this much.
const COARSE: Duration = Duration::from_micros(80);

/// A link between two parties, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Rate of each direction.
    pub bits_per_second: u64,
    /// There and back for an empty message.
    pub round_trip: Duration,
}

impl Link {
    /// A local network: 1 Gbit/s, 0.5 ms.
    pub const LAN: Self = Self { bits_per_second: 1_000_000_000, round_trip: Duration::from_micros(500) };
    /// Two sites on the internet: 100 Mbit/s, 40 ms.
    pub const WAN: Self = Self { bits_per_second: 100_000_000, round_trip: Duration::from_millis(40) };

    /// Time in which `bytes` leave.
    fn leaving(&self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 8_000_000_000 / u128::from(self.bits_per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Bytes that may wait: [`MOST_HELD`], or twice what is on the way at once.
    fn most_held(&self) -> usize {
        let on_the_way = u128::from(self.bits_per_second) * self.round_trip.as_nanos() / 8_000_000_000;
        usize::try_from(2 * on_the_way).unwrap_or(usize::MAX).max(MOST_HELD)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, unit) = match self.bits_per_second {
            rate if rate >= 1_000_000_000 => (rate as f64 / 1e9, "gbit"),
            rate if rate >= 1_000_000 => (rate as f64 / 1e6, "mbit"),
            rate => (rate as f64 / 1e3, "kbit"),
        };
        write!(f, "{rate}{unit}/{}ms", self.round_trip.as_secs_f64() * 1e3)
    }
}

impl FromStr for Link {
    type Err = ProtocolError;

    /// "lan", "wan", or rate and round trip: "100mbit/40ms" (kbit, mbit, gbit; us, ms, s; decimals allowed).
    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let lower = text.trim().to_ascii_lowercase();
        match lower.as_str() {
            "lan" => return Ok(Self::LAN),
            "wan" => return Ok(Self::WAN),
            _ => {}
        }
        let rates = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];
        // "s" last: the others end in it too.
        let times = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
        let parsed = lower.split_once('/').and_then(|(rate, time)| {
            let (rate, time) = (with_unit(rate, &rates)?, with_unit(time, &times)?);
            ((1e3..=1e12).contains(&rate) && (0.0..=10.0).contains(&time)).then(|| Self {
                bits_per_second: rate.round() as u64,
                round_trip: Duration::from_nanos((time * 1e9).round() as u64),
            })
        });
        parsed.ok_or_else(|| {
            ProtocolError::Caller(format!(
                "`{text}` is no link: say `lan`, `wan`, or rate and round trip as in `100mbit/40ms` \
                 (1kbit to 1000gbit, up to 10s)"
            ))
        })
    }
}

fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    Some(number.trim().parse::<f64>().ok()? * unit)
}

/// A stream whose writes go as over a link, made by [`shaped`].
pub struct Shaped {
    reader: Box<dyn ReadHalf>,
    writer: Writer,
}

/// Makes what `stream` writes go as over `link`.
///
/// # Errors
/// When the system has no thread for it.
pub fn shaped(stream: impl Stream, link: Link) -> io::Result<Shaped> {
    let (reader, below) = stream.split();
    let road = Arc::new(Road { held: Mutex::default(), changed: Condvar::new() });
    let shared = road.clone();
    let thread = std::thread::Builder::new().name("link".into()).spawn(move || deliver(below, &shared))?;
    let writer = Writer { link, road, thread: Some(thread), deadline: None, free_at: Instant::now() };
    Ok(Shaped { reader, writer })
}

impl Stream for Shaped {
    fn split(self) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        (self.reader, Box::new(self.writer))
    }
}

/// What is between the writer and the thread that delivers.
struct Road {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    /// Pieces with the moments at which they arrive.
    pieces: VecDeque<(Instant, Vec<u8>)>,
    /// Bytes written and not yet delivered.
    bytes: usize,
    /// The writer is gone.
    closed: bool,
    /// The stream below is.
    failed: Option<io::ErrorKind>,
}

impl Road {
    fn lock(&self) -> MutexGuard<'_, Held> {
        // Every change under the lock is whole at once.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, held: MutexGuard<'a, Held>, longest: Duration) -> MutexGuard<'a, Held> {
        self.changed.wait_timeout(held, longest).unwrap_or_else(PoisonError::into_inner).0
    }
}

struct Writer {
    link: Link,
    road: Arc<Road>,
    thread: Option<JoinHandle<()>>,
    deadline: Option<Instant>,
    /// When the last piece has left.
    free_at: Instant,
}

impl Write for Writer {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let (count, most) = (buffer.len().min(PIECE), self.link.most_held());
        let mut held = self.road.lock();
        loop {
            if let Some(kind) = held.failed {
                return Err(kind.into());
            }
            if count == 0 {
                return Ok(0);
            }
            if held.bytes < most {
                break;
            }
            let left =
                self.deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            held = self.road.wait(held, left);
        }
        self.free_at = self.free_at.max(Instant::now()) + self.link.leaving(count);
        held.pieces.push_back((self.free_at + self.link.round_trip / 2, buffer[..count].to_vec()));
        held.bytes += count;
        drop(held);
        self.road.changed.notify_all();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WriteHalf for Writer {
    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.road.lock().closed = true;
        self.road.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has no result to lose, and a panic in it has been printed.
            let _ = thread.join();
        }
    }
}

/// The thread: pieces, each in its time, until the writer is gone or the stream below is.
fn deliver(mut below: Box<dyn WriteHalf>, road: &Road) {
    while let Some((due, tail)) = next_due(road) {
        sleep_until(due, tail);
        let mut batch = Vec::new();
        {
            let (mut held, now) = (road.lock(), Instant::now());
            while let Some((due, piece)) = held.pieces.front()
                && *due <= now
                && batch.len() < 4 * PIECE
            {
                batch.extend_from_slice(piece);
                held.pieces.pop_front();
            }
        }
        // As long as the writer is there the stream below may take its time, since the writer's own deadline counts.
        let mut give_up = None;
        let go_on = |stuck: bool| {
            let now = Instant::now();
            !(stuck && road.lock().closed && now > *give_up.get_or_insert(now + LINGER))
        };
        let result = write_in_slices(&mut *below, &batch, None, go_on);
        let mut held = road.lock();
        held.bytes -= batch.len();
        if let Err(error) = result {
            held.failed = Some(error.kind());
            held.pieces.clear();
        }
        let failed = held.failed.is_some();
        drop(held);
        road.changed.notify_all();
        if failed {
            return;
        }
    }
}

/// When the next piece arrives, and whether it is the last for now. `None`: nothing will come any more.
fn next_due(road: &Road) -> Option<(Instant, bool)> {
    let mut held = road.lock();
    loop {
        if let Some((due, _)) = held.pieces.front() {
            return Some((*due, held.pieces.len() == 1));
        }
        if held.closed {
            return None;
        }
        held = road.wait(held, Duration::from_secs(3600));
    }
}

fn sleep_until(due: Instant, exactly: bool) {
    let early = if exactly { COARSE } else { Duration::ZERO };
    let left = due.saturating_duration_since(Instant::now());
    if left > early {
        std::thread::sleep(left - early);
    }
    while Instant::now() < due {
        std::thread::yield_now();
    }
}
