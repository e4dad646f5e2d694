//! What can end a session, sorted by whose fault it is.
//!
//! A [`PeerFault`] never carries bytes of the peer's message or anything secret; what goes over the wire to the
//! other side is a [`Refusal`] (before any secret-dependent message) or nothing but a closed connection.

use std::{fmt, io};

/// An error of a session.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The network or the other process failed us.
    Connection {
        /// What we were doing.
        during: String,
        /// The system's word.
        source: io::Error,
    },
    /// The other side did not answer within the deadline.
    TimedOut {
        /// What we were doing.
        during: String,
        /// The deadline in seconds.
        seconds: u64,
    },
    /// The other side closed the connection before the session was over.
    HungUp {
        /// What we were doing.
        during: String,
    },
    /// The other side broke the protocol.
    Peer(PeerFault),
    /// The other side refused, with its reason.
    Refused(Refusal),
    /// We refuse: the two sides do not fit.
    Incompatible(Refusal),
    /// The caller asked for something that can't be.
    Caller(String),
    /// One-time material on disk could not be claimed or kept.
    Store {
        /// The file concerned.
        path: std::path::PathBuf,
        /// What went wrong.
        reason: String,
    },
}

/// How the other side broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerFault {
    /// A frame of another kind, place or sequence number than the plan says.
    Unexpected {
        /// What was expected.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// A frame of another length than the plan says.
    Length {
        /// The message.
        what: &'static str,
        /// Bytes agreed.
        expected: u64,
        /// Bytes announced.
        got: u64,
    },
    /// A message that can't be what it says it is.
    Malformed {
        /// The message.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why one side will not go on: sent as a frame of its own, shown to the person as it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Refusal {
    /// Which rule.
    pub code: RefusalCode,
    /// One sentence with the facts of both sides.
    pub reason: String,
}

/// The rules by which a session is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum RefusalCode {
    /// Other protocol version.
    Version,
    /// Other model or parameters than agreed.
    Model,
    /// This server does not give what was asked for (logits, say).
    Output,
    /// The bundle is too large, or too many images were asked for.
    Limit,
    /// The named prepared bundle does not exist (any more).
    Bundle,
    /// Too many connections at once.
    Busy,
    /// This server does not allow the asked-for construction, or it does not exist.
    Method,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection { during, source } => {
                write!(f, "the connection failed while we were {during}: {source}")
            }
            Self::TimedOut { during, seconds } => {
                write!(f, "the other side did not answer within {seconds} s while we were {during}")
            }
            Self::HungUp { during } => {
                write!(f, "the other side closed the connection while we were {during}")
            }
            Self::Peer(fault) => write!(f, "the other side broke the protocol: {fault}"),
            Self::Refused(refusal) => write!(f, "the other side refused: {}", refusal.reason),
            Self::Incompatible(refusal) => write!(f, "{}", refusal.reason),
            Self::Caller(reason) => write!(f, "{reason}"),
            Self::Store { path, reason } => write!(f, "prepared bundle {}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for ProtocolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connection { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { expected, got } => write!(f, "expected {expected}, got {got}"),
            Self::Length { what, expected, got } => {
                write!(f, "{what} of {got} bytes, {expected} were agreed")
            }
            Self::Malformed { what, reason } => write!(f, "malformed {what}: {reason}"),
        }
    }
}

impl From<PeerFault> for ProtocolError {
    fn from(fault: PeerFault) -> Self {
        Self::Peer(fault)
    }
}

/// The peer's fault: a message that can't be what it says it is.
pub(crate) fn malformed(what: &'static str, reason: impl fmt::Display) -> ProtocolError {
    PeerFault::Malformed { what, reason: reason.to_string() }.into()
}

/// The caller's fault, in the words of a layer below.
pub(crate) fn caller(error: impl fmt::Display) -> ProtocolError {
    ProtocolError::Caller(error.to_string())
}

/// Refuses a message of another length than was agreed.
///
/// # Errors
/// [`PeerFault::Length`].
pub(crate) fn check_length(what: &'static str, bytes: &[u8], expected: usize) -> Result<(), ProtocolError> {
    if bytes.len() == expected {
        return Ok(());
    }
    let (expected, got) = (expected as u64, bytes.len() as u64);
    Err(PeerFault::Length { what, expected, got }.into())
}

/// Shorthand for `result.map_err(…)` on what a peer's bytes decode to.
pub(crate) trait PeerResult<T> {
    /// Blames the peer for a decoding error.
    fn or_malformed(self, what: &'static str) -> Result<T, ProtocolError>;
}

impl<T, E: std::error::Error> PeerResult<T> for Result<T, E> {
    fn or_malformed(self, what: &'static str) -> Result<T, ProtocolError> {
        self.map_err(|error| malformed(what, error))
    }
}
