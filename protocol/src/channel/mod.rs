//! The channel: frames over any byte stream, counted.
//!
//! One frame is a 12-byte header and a payload. Everything a receiver accepts it expects: kind, layer, running
//! number and exact length come from the plan, so a wrong frame is refused before a byte of its payload is read
//! or allocated.
//!
//! | bytes | content |
//! |---|---|
//! | 0 | kind ([`Kind`]) |
//! | 1 | zero |
//! | 2–3 | layer, little-endian (0 outside layers) |
//! | 4–7 | running number of the frame in its direction |
//! | 8–11 | payload length |
//!
//! Writes are buffered and flushed before every read. A *round* is one change from sending to receiving as this
//! party sees it. After an error the channel is not used again.

mod memory;
mod tcp;

pub use memory::{MemoryStream, pair};
pub use tcp::{TcpOptions, accept, connect};

use std::io::{self, BufReader, Read, Write};
use std::time::{Duration, Instant};

use crate::error::{PeerFault, ProtocolError, Refusal};

const HEADER: usize = 12;
/// Queued bytes beyond which a send flushes by itself; also the read buffer.
const BUFFER: usize = 1 << 16;
/// Memory given to a payload before its first byte is here.
const FIRST_ALLOCATION: usize = 1 << 20;
/// A refusal is a sentence.
const REFUSAL_CAP: usize = 4096;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// First frame of each side.
    Hello = 1,
    /// The public manifest and what the server offers.
    Welcome = 2,
    /// The client's wishes, or the next request.
    Request = 3,
    /// The server agrees.
    Agreed = 4,
    /// Base oblivious transfers.
    BaseTransfer = 5,
    /// Key polynomials and masks of known zeros of a layer.
    Keys = 6,
    /// Masked replies of a layer.
    Replies = 7,
    /// Oblivious-transfer extension.
    Extension = 8,
    /// Offline corrections of a gate.
    Corrections = 9,
    /// The masked input of the first layer.
    Input = 10,
    /// A gate's online message.
    Gate = 11,
    /// The server's share of the result.
    Output = 12,
    /// A refusal, in any place.
    Refusal = 15,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Welcome => "welcome",
            Self::Request => "request",
            Self::Agreed => "agreement",
            Self::BaseTransfer => "base transfers",
            Self::Keys => "layer keys",
            Self::Replies => "layer replies",
            Self::Extension => "transfer extension",
            Self::Corrections => "gate corrections",
            Self::Input => "masked input",
            Self::Gate => "gate message",
            Self::Output => "output share",
            Self::Refusal => "refusal",
        }
    }
}

/// Traffic since the channel was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes written, headers included.
    pub sent: u64,
    /// Bytes read, headers included.
    pub received: u64,
    /// Changes from sending to receiving.
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

/// A byte stream with deadlines: TCP, or memory in tests.
pub trait Stream: Read + Write + Send {
    /// Reads and writes after `deadline` fail with [`io::ErrorKind::TimedOut`].
    fn set_deadline(&mut self, deadline: Option<Instant>);
}

/// Frames over a stream, counted, with a deadline per message.
pub struct Channel {
    stream: BufReader<Box<dyn Stream>>,
    outgoing: Vec<u8>,
    patience: Duration,
    traffic: Traffic,
    sending: bool,
    sent_frames: u32,
    received_frames: u32,
}

impl Channel {
    /// A channel over `stream`; each message must arrive whole within `patience`.
    pub fn new(stream: impl Stream + 'static, patience: Duration) -> Self {
        Self {
            stream: BufReader::with_capacity(BUFFER, Box::new(stream)),
            outgoing: Vec::with_capacity(BUFFER),
            patience,
            traffic: Traffic::default(),
            sending: false,
            sent_frames: 0,
            received_frames: 0,
        }
    }

    /// Bytes and rounds so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
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
        let length = u32::try_from(payload.len()).map_err(|_| {
            ProtocolError::Caller(format!("a message of {} bytes exceeds the frame limit", payload.len()))
        })?;
        let mut header = [0; HEADER];
        header[0] = kind as u8;
        header[2..4].copy_from_slice(&(layer as u16).to_le_bytes());
        header[4..8].copy_from_slice(&self.sent_frames.to_le_bytes());
        header[8..].copy_from_slice(&length.to_le_bytes());
        self.outgoing.extend_from_slice(&header);
        self.outgoing.extend_from_slice(payload);
        self.sent_frames = self.sent_frames.wrapping_add(1);
        self.traffic.sent += (HEADER + payload.len()) as u64;
        self.sending = true;
        if self.outgoing.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Pushes queued frames out.
    ///
    /// # Errors
    /// [`ProtocolError`] when the stream fails.
    pub fn flush(&mut self) -> Result<(), ProtocolError> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        self.start_clock();
        let stream = self.stream.get_mut();
        let result = stream.write_all(&self.outgoing).and_then(|()| stream.flush());
        self.outgoing.clear();
        result.map_err(|error| self.failed(error, "sending".into()))
    }

    /// Receives the one frame that may come now, of exactly `length` bytes.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] for any other frame, [`ProtocolError::Refused`] for a refusal, else the stream's.
    pub fn receive(&mut self, kind: Kind, layer: usize, length: usize) -> Result<Vec<u8>, ProtocolError> {
        let got = self.header(kind, layer)?;
        if got as usize != length {
            return Err(PeerFault::Length {
                what: kind.name(),
                expected: length as u64,
                got: u64::from(got),
            }
            .into());
        }
        self.payload(length, kind)
    }

    /// Receives a frame of at most `cap` bytes: for the few control messages whose size no plan fixes.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn receive_up_to(&mut self, kind: Kind, cap: usize) -> Result<Vec<u8>, ProtocolError> {
        let got = self.header(kind, 0)? as usize;
        if got > cap {
            return Err(PeerFault::Length { what: kind.name(), expected: cap as u64, got: got as u64 }.into());
        }
        self.payload(got, kind)
    }

    /// Sends a refusal and gives up; the error to return to our own caller comes back.
    pub fn refuse(&mut self, refusal: Refusal) -> ProtocolError {
        // Best effort: the peer may be gone already, and our own error says what matters.
        if let Ok(bytes) = postcard::to_stdvec(&refusal) {
            let _ = self.send(Kind::Refusal, 0, &bytes).and_then(|()| self.flush());
        }
        ProtocolError::Incompatible(refusal)
    }

    fn header(&mut self, kind: Kind, layer: usize) -> Result<u32, ProtocolError> {
        self.flush()?;
        if self.sending {
            self.sending = false;
            self.traffic.rounds += 1;
        }
        self.start_clock();
        let mut header = [0; HEADER];
        self.stream
            .read_exact(&mut header)
            .map_err(|error| self.failed(error, format!("waiting for the {}", kind.name())))?;
        self.traffic.received += HEADER as u64;
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (got_layer, number, length) = (u16::from_le_bytes([header[2], header[3]]), word(4), word(8));
        if header[0] == Kind::Refusal as u8 && (length as usize) <= REFUSAL_CAP {
            let payload = self.payload(length as usize, Kind::Refusal)?;
            let refusal: Refusal = postcard::from_bytes(&payload).map_err(|error| {
                ProtocolError::Peer(PeerFault::Malformed { what: "refusal", reason: error.to_string() })
            })?;
            return Err(ProtocolError::Refused(refusal));
        }
        if header[0] != kind as u8
            || header[1] != 0
            || usize::from(got_layer) != layer
            || number != self.received_frames
        {
            let got = format!("frame {number} of kind {} for layer {got_layer}", header[0]);
            return Err(PeerFault::Unexpected { expected: kind.name(), got }.into());
        }
        self.received_frames = self.received_frames.wrapping_add(1);
        Ok(length)
    }

    fn payload(&mut self, length: usize, kind: Kind) -> Result<Vec<u8>, ProtocolError> {
        // The length is the plan's, but memory follows the bytes that come, not the announcement.
        let mut payload = Vec::with_capacity(length.min(FIRST_ALLOCATION));
        let read = (&mut self.stream).take(length as u64).read_to_end(&mut payload);
        match read {
            Ok(read) if read == length => {}
            Ok(_) => {
                return Err(ProtocolError::HungUp { during: format!("waiting for the {}", kind.name()) });
            }
            Err(error) => return Err(self.failed(error, format!("waiting for the {}", kind.name()))),
        }
        self.traffic.received += length as u64;
        Ok(payload)
    }

    fn start_clock(&mut self) {
        let deadline = Instant::now().checked_add(self.patience);
        self.stream.get_mut().set_deadline(deadline);
    }

    fn failed(&self, error: io::Error, during: String) -> ProtocolError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted => ProtocolError::HungUp { during },
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                ProtocolError::TimedOut { during, seconds: self.patience.as_secs() }
            }
            _ => ProtocolError::Connection { during, source: error },
        }
    }
}

#[cfg(test)]
mod tests;
