//! Frames as they leave and as they come: the two directions of a channel, each with its own count.
//!
//! | bytes | content |
//! |---|---|
//! | 0 | kind ([`Kind`]) |
//! | 1 | zero |
//! | 2–3 | layer, little-endian (0 outside layers) |
//! | 4–7 | running number of the frame in its direction |
//! | 8–11 | payload length |
//!
//! [`Outgoing`] only collects bytes; who writes them is the caller's business. [`Incoming`] reads one frame that it is
//! told to expect: kind, layer, running number and exact length come from the plan, so a wrong frame is refused before
//! a byte of its payload is read or allocated.

use std::io::{self, BufReader, Read};
use std::time::{Duration, Instant};

use super::{ReadHalf, WriteHalf};
use crate::error::{PeerFault, ProtocolError, Refusal};

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 12;
/// Queued bytes beyond which a send flushes by itself; also the read buffer.
pub(super) const BUFFER: usize = 1 << 16;
/// Memory given to a payload before its first byte is here.
const FIRST_ALLOCATION: usize = 1 << 20;
/// A refusal is a sentence.
const REFUSAL_CAP: usize = 4096;

/// How long a thread that writes for others waits for its stream before it looks around.
pub(super) const SLICE: Duration = Duration::from_millis(50);

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
    /// What a layer's preprocessing needs of the client: key polynomials and deltas, or encryptions.
    Keys = 6,
    /// Masked replies of a layer.
    Replies = 7,
    /// Oblivious-transfer extension.
    Extension = 8,
    /// Offline corrections of a gate.
    Corrections = 9,
    /// The masked input of the network.
    Input = 10,
    /// A gate's online message.
    Gate = 11,
    /// The server's share of the result.
    Output = 12,
    /// Filler, to measure the link.
    Probe = 13,
    /// A supply of silent transfers: its request and its answer.
    Supply = 14,
    /// A refusal, in any place.
    Refusal = 15,
    /// The check of a preprocessing's transfers.
    Check = 16,
    /// The public part of the client's keys of a session.
    Setup = 17,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
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
            Self::Probe => "link probe",
            Self::Supply => "transfer supply",
            Self::Refusal => "refusal",
            Self::Check => "transfer check",
            Self::Setup => "preprocessing keys",
        }
    }
}

/// One direction: frames get their header and number here, and wait in `buffer` to be written.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Whole frames, not yet given to whoever writes.
    pub(super) buffer: Vec<u8>,
    /// Bytes of all frames so far, headers included.
    pub(super) bytes: u64,
    frames: u32,
}

impl Outgoing {
    /// Appends one frame; true when the buffer is worth writing.
    pub(super) fn push(&mut self, kind: Kind, layer: usize, payload: &[u8]) -> Result<bool, ProtocolError> {
        let length = u32::try_from(payload.len()).map_err(|_| {
            ProtocolError::Caller(format!("a message of {} bytes exceeds the frame limit", payload.len()))
        })?;
        let mut header = [0; HEADER];
        header[0] = kind as u8;
        header[2..4].copy_from_slice(&(layer as u16).to_le_bytes());
        header[4..8].copy_from_slice(&self.frames.to_le_bytes());
        header[8..].copy_from_slice(&length.to_le_bytes());
        self.buffer.reserve(HEADER + payload.len());
        self.buffer.extend_from_slice(&header);
        self.buffer.extend_from_slice(payload);
        self.frames = self.frames.wrapping_add(1);
        self.bytes += (HEADER + payload.len()) as u64;
        Ok(self.buffer.len() >= BUFFER)
    }

    /// Writes what waits, within `patience` from now.
    pub(super) fn write(
        &mut self,
        writer: &mut dyn WriteHalf,
        patience: Duration,
    ) -> Result<(), ProtocolError> {
        writer.set_deadline(Instant::now().checked_add(patience));
        let result = writer.write_all(&self.buffer).and_then(|()| writer.flush());
        self.buffer.clear();
        // A big message must not leave its size behind.
        self.buffer.shrink_to(BUFFER);
        result.map_err(|error| failed(error, patience, "sending".into()))
    }
}

/// The other direction: reads what may come now and nothing else.
pub(super) struct Incoming {
    stream: BufReader<Box<dyn ReadHalf>>,
    /// Bytes of all frames so far, headers included.
    pub(super) bytes: u64,
    frames: u32,
}

impl Incoming {
    pub(super) fn new(stream: Box<dyn ReadHalf>) -> Self {
        Self { stream: BufReader::with_capacity(BUFFER, stream), bytes: 0, frames: 0 }
    }

    /// The one frame that may come now, of exactly `length` bytes, whole within `patience` from now.
    pub(super) fn exactly(
        &mut self,
        kind: Kind,
        layer: usize,
        length: usize,
        patience: Duration,
    ) -> Result<Vec<u8>, ProtocolError> {
        let got = self.header(kind, layer, patience)?;
        if got as usize != length {
            return Err(PeerFault::Length {
                what: kind.name(),
                expected: length as u64,
                got: u64::from(got),
            }
            .into());
        }
        self.payload(length, kind, patience)
    }

    /// A frame of at most `cap` bytes, whole within `patience` from now.
    pub(super) fn up_to(
        &mut self,
        kind: Kind,
        layer: usize,
        cap: usize,
        patience: Duration,
    ) -> Result<Vec<u8>, ProtocolError> {
        let got = self.header(kind, layer, patience)? as usize;
        if got > cap {
            return Err(PeerFault::Length { what: kind.name(), expected: cap as u64, got: got as u64 }.into());
        }
        self.payload(got, kind, patience)
    }

    fn header(&mut self, kind: Kind, layer: usize, patience: Duration) -> Result<u32, ProtocolError> {
        // The clock runs from here to the payload's last byte.
        self.stream.get_mut().set_deadline(Instant::now().checked_add(patience));
        let mut header = [0; HEADER];
        self.stream
            .read_exact(&mut header)
            .map_err(|error| failed(error, patience, format!("waiting for the {}", kind.name())))?;
        self.bytes += HEADER as u64;
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (got_layer, number, length) = (u16::from_le_bytes([header[2], header[3]]), word(4), word(8));
        if header[0] == Kind::Refusal as u8 && (length as usize) <= REFUSAL_CAP {
            let payload = self.payload(length as usize, Kind::Refusal, patience)?;
            let refusal: Refusal = postcard::from_bytes(&payload).map_err(|error| {
                ProtocolError::Peer(PeerFault::Malformed { what: "refusal", reason: error.to_string() })
            })?;
            return Err(ProtocolError::Refused(refusal));
        }
        if header[0] != kind as u8
            || header[1] != 0
            || usize::from(got_layer) != layer
            || number != self.frames
        {
            let got = format!("frame {number} of kind {} for layer {got_layer}", header[0]);
            return Err(PeerFault::Unexpected { expected: kind.name(), got }.into());
        }
        self.frames = self.frames.wrapping_add(1);
        Ok(length)
    }

    fn payload(&mut self, length: usize, kind: Kind, patience: Duration) -> Result<Vec<u8>, ProtocolError> {
        // The length is the plan's, but memory follows the bytes that come, not the announcement.
        let mut payload = Vec::with_capacity(length.min(FIRST_ALLOCATION));
        let read = (&mut self.stream).take(length as u64).read_to_end(&mut payload);
        let during = || format!("waiting for the {}", kind.name());
        match read {
            Ok(read) if read == length => {}
            Ok(_) => return Err(ProtocolError::HungUp { during: during() }),
            Err(error) => return Err(failed(error, patience, during())),
        }
        self.bytes += length as u64;
        Ok(payload)
    }
}

/// The stream's error as the session's.
pub(super) fn failed(error: io::Error, patience: Duration, during: String) -> ProtocolError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted => ProtocolError::HungUp { during },
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            ProtocolError::TimedOut { during, seconds: patience.as_secs() }
        }
        _ => ProtocolError::Connection { during, source: error },
    }
}

/// Writes all of `rest` until `deadline`, in slices of time: `go_on` is asked before every try, with whether the last one
/// found no room. Without it the writing ends with [`io::ErrorKind::BrokenPipe`].
pub(super) fn write_in_slices(
    writer: &mut dyn WriteHalf,
    mut rest: &[u8],
    deadline: Option<Instant>,
    mut go_on: impl FnMut(bool) -> bool,
) -> io::Result<()> {
    let mut stuck = false;
    while !rest.is_empty() {
        if !go_on(stuck) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let now = Instant::now();
        let slice = now.checked_add(SLICE);
        writer.set_deadline(match (slice, deadline) {
            (Some(slice), Some(deadline)) => Some(slice.min(deadline)),
            (slice, deadline) => slice.or(deadline),
        });
        match writer.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => (rest, stuck) = (rest.get(count..).unwrap_or_default(), false),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
                    if deadline.is_none_or(|deadline| now < deadline) =>
                {
                    stuck = true;
                }
                _ => return Err(error),
            },
        }
    }
    writer.flush()
}
