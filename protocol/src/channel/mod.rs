//! The channel: frames over any byte stream, counted.
//!
//! One frame is a 12-byte header (kind, layer, running number, length) and a payload. Everything a receiver accepts it
//! expects: kind, layer, running number and exact length come from the plan, so a wrong frame is refused before a byte
//! of its payload is read or allocated.
//!
//! | room | what |
//! |---|---|
//! | `frame` | the frame's bytes, both directions' counters |
//! | `duplex` | both directions at once: a scoped writer thread and a queue ([`Channel::duplex`]) |
//! | `tcp` | connect and accept, deadlines for whole messages |
//! | `memory` | a pair of streams in memory |
//! | [`shaped`](mod@shaped) | a modelled link: rate and latency over any stream |
//!
//! Two ways to use a channel:
//!
//! - *In turns* ([`Channel::send`], [`Channel::receive`]): writes are buffered and flushed before every read. A *round* is
//!   one change from sending to receiving as this party sees it. Two parties that both write more than the sockets'
//!   buffers hold before they read would block each other until their deadlines.
//! - *Full duplex* ([`Channel::duplex`]): sends never block, so both may stream at once; the caller says how many rounds the
//!   stage is worth.
//!
//! After an error the channel is not used again.

mod duplex;
mod frame;
mod memory;
pub mod shaped;
mod tcp;

pub use duplex::Duplex;
pub use frame::Kind;
pub use memory::{MemoryStream, pair};
pub use shaped::{Link, Shaped, shaped};
pub use tcp::{TcpOptions, accept, connect};

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::error::{ProtocolError, Refusal};
use frame::{Incoming, Outgoing};

/// Traffic since the channel was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes written, headers included.
    pub sent: u64,
    /// Bytes read, headers included.
    pub received: u64,
    /// Changes from sending to receiving; full-duplex stages count as many as they are worth in turns.
    pub rounds: u64,
}

impl std::ops::Sub for Traffic {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            received: self.received - earlier.received,
            rounds: self.rounds - earlier.rounds,
        }
    }
}

/// A byte stream whose two directions can be used from two threads at once: TCP, memory, a shaped one of either.
pub trait Stream {
    /// The two directions. The connection closes when both are dropped.
    fn split(self) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>);
}

/// The direction that reads.
pub trait ReadHalf: Read + Send {
    /// Reads after `deadline` fail with [`std::io::ErrorKind::TimedOut`].
    fn set_deadline(&mut self, deadline: Option<Instant>);
}

/// The direction that writes.
pub trait WriteHalf: Write + Send {
    /// Writes that can't be taken before `deadline` fail with [`std::io::ErrorKind::TimedOut`]; a later deadline may then
    /// be set and the write tried again.
    fn set_deadline(&mut self, deadline: Option<Instant>);
}

/// Frames over a stream, counted, with a deadline per message.
pub struct Channel {
    incoming: Incoming,
    outgoing: Outgoing,
    writer: Box<dyn WriteHalf>,
    patience: Duration,
    rounds: u64,
    /// Whether the last thing this party did was to send.
    sending: bool,
    /// Given up: a full-duplex stage ended early and nobody knows what has been written, or the caller said so.
    broken: bool,
}

impl Channel {
    /// A channel over `stream`; each message must arrive whole within `patience`.
    pub fn new(stream: impl Stream, patience: Duration) -> Self {
        let (reader, writer) = stream.split();
        Self {
            incoming: Incoming::new(reader),
            outgoing: Outgoing::default(),
            writer,
            patience,
            rounds: 0,
            sending: false,
            broken: false,
        }
    }

    /// Bytes and rounds so far.
    pub fn traffic(&self) -> Traffic {
        Traffic { sent: self.outgoing.bytes, received: self.incoming.bytes, rounds: self.rounds }
    }

    /// Changes the patience, for a server that waits for a client's next request.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Queues one frame.
    ///
    /// # Errors
    /// [`ProtocolError`] when the stream fails or the payload exceeds 4 GiB.
    pub fn send(&mut self, kind: Kind, layer: usize, payload: &[u8]) -> Result<(), ProtocolError> {
        let full = self.outgoing.push(kind, layer, payload)?;
        self.sending = true;
        if full { self.flush() } else { Ok(()) }
    }

    /// Pushes queued frames out.
    ///
    /// # Errors
    /// [`ProtocolError`] when the stream fails.
    pub fn flush(&mut self) -> Result<(), ProtocolError> {
        self.usable()?;
        if self.outgoing.buffer.is_empty() {
            return Ok(());
        }
        self.outgoing.write(&mut *self.writer, self.patience)
    }

    /// Receives the one frame that may come now, of exactly `length` bytes.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] for any other frame, [`ProtocolError::Refused`] for a refusal, else the stream's.
    pub fn receive(&mut self, kind: Kind, layer: usize, length: usize) -> Result<Vec<u8>, ProtocolError> {
        self.turn()?;
        self.incoming.exactly(kind, layer, length, self.patience)
    }

    /// Receives a frame of at most `cap` bytes: for the few control messages whose size no plan fixes.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn receive_up_to(&mut self, kind: Kind, cap: usize) -> Result<Vec<u8>, ProtocolError> {
        self.receive_up_to_at(kind, 0, cap)
    }

    /// The same in a place of its own.
    pub(crate) fn receive_up_to_at(
        &mut self,
        kind: Kind,
        layer: usize,
        cap: usize,
    ) -> Result<Vec<u8>, ProtocolError> {
        self.turn()?;
        self.incoming.up_to(kind, layer, cap, self.patience)
    }

    /// Sends a refusal and gives up; the error to return to our own caller comes back.
    pub fn refuse(&mut self, refusal: Refusal) -> ProtocolError {
        // Best effort: the peer may be gone already, and our own error says what matters.
        if let Ok(bytes) = postcard::to_stdvec(&refusal) {
            let _ = self.send(Kind::Refusal, 0, &bytes).and_then(|()| self.flush());
        }
        ProtocolError::Incompatible(refusal)
    }

    /// From here on everything but a refusal is an error: for a caller that has seen its peer fail in a way that the
    /// channel can't see.
    pub(crate) fn give_up(&mut self) {
        self.broken = true;
    }

    /// An error once the channel was given up.
    fn usable(&self) -> Result<(), ProtocolError> {
        match self.broken {
            false => Ok(()),
            true => Err(ProtocolError::Caller("this connection was given up after an error".into())),
        }
    }

    /// What waits goes out before we wait.
    fn turn(&mut self) -> Result<(), ProtocolError> {
        self.flush()?;
        self.rounds += u64::from(std::mem::take(&mut self.sending));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
