//! Why a command failed: one sentence, perhaps a hint, and an exit code.
//!
//! | code | when |
//! |---|---|
//! | 0 | success |
//! | 1 | something else: a file, an image, a port in use |
//! | 2 | wrong usage (clap uses the same code) |
//! | 3 | the network or model file is broken or not supported |
//! | 4 | the other side is not reachable, hung up, or was too slow |
//! | 5 | the other side refused |
//! | 6 | the two sides do not fit: version, model, or broken protocol |
//! | 7 | no prepared bundle |
//! | 8 | a self-check failed |
//!
//! The codes are an interface, documented in `--help`; each but 8 has a test that runs the program into it.

use std::path::PathBuf;
use std::{fmt, io};

use nn_merge::NnError;
use protocol::{ProtocolError, Refusal, RefusalCode};

use crate::images::ImageError;

/// A failed command.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// Flags that make no sense together or with the model.
    Usage(String),
    /// A file or folder that could not be read or written.
    File {
        /// The file.
        path: PathBuf,
        /// "reading" or "writing".
        doing: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// A network or model file that can't be used.
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NnError,
    },
    /// A model in memory that can't be served or planned.
    Unservable(ProtocolError),
    /// Images or labels that can't be used.
    Images(ImageError),
    /// An image whose values the model does not take.
    Value {
        /// The image.
        name: String,
        /// What is wrong.
        source: NnError,
    },
    /// A port that could not be opened.
    Listening(ProtocolError),
    /// A session with a server that ended early.
    Session {
        /// The server.
        address: String,
        /// Why.
        source: ProtocolError,
    },
    /// The folder of prepared bundles can't be used.
    Pool(ProtocolError),
    /// The folder of prepared bundles has none that fits.
    NoBundle {
        /// The folder.
        pool: PathBuf,
        /// Images classified before it ran dry.
        done: usize,
        /// Images asked for.
        wanted: usize,
    },
    /// The program's own check of its results.
    SelfCheck(String),
    /// The operating system did not give something: randomness, a process, a temporary folder.
    System {
        /// What we were doing.
        doing: &'static str,
        /// Its word.
        reason: String,
    },
    /// Results could not be written to standard output.
    Output(io::Error),
}

impl Failure {
    /// What ended a session with the server at `address`: the session itself, or our folder of bundles.
    pub(crate) fn session(address: &str, source: ProtocolError) -> Self {
        match source {
            ProtocolError::Store { .. } => Self::Pool(source),
            _ => Self::Session { address: address.to_owned(), source },
        }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Model { .. } | Self::Unservable(_) => 3,
            Self::Session { source, .. } => session_code(source),
            Self::NoBundle { .. } => 7,
            Self::SelfCheck(_) => 8,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        }
    }

    /// Nothing to say: whoever read our output has seen enough.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What the person could do next.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Session { address, source: ProtocolError::Connection { .. } } => Some(format!(
                "is a server running there? `hushnet serve MODEL.hush --listen {address}` starts one"
            )),
            Self::Session {
                source: ProtocolError::Refused(Refusal { code: RefusalCode::Method, .. }), ..
            } => Some(
                "--transfers, --base and --rounds say what to ask for; without them the client takes what the \
                 server allows"
                    .to_owned(),
            ),
            Self::Session {
                source: ProtocolError::Refused(Refusal { code: RefusalCode::Output, .. }), ..
            } => Some(
                "--top and --logits say what to ask for; without them the client takes the best label, which \
                 every server gives. `hushnet serve` gives more with its own --top and --output logits"
                    .to_owned(),
            ),
            Self::NoBundle { pool, .. } => Some(format!(
                "`hushnet prepare --pool {}` makes new ones while the server runs",
                pool.display()
            )),
            Self::Model { source: NnError::File { .. }, .. } => {
                Some("`hushnet merge MODEL.onnx -o MODEL.hush` writes model files".to_owned())
            }
            _ => None,
        }
    }
}

/// Exit code of a session that ended early.
fn session_code(error: &ProtocolError) -> u8 {
    match error {
        ProtocolError::Connection { .. } | ProtocolError::TimedOut { .. } | ProtocolError::HungUp { .. } => 4,
        ProtocolError::Peer(_) => 6,
        ProtocolError::Refused(refusal) | ProtocolError::Incompatible(refusal) => refusal_code(refusal),
        _ => 1,
    }
}

fn refusal_code(refusal: &Refusal) -> u8 {
    match refusal.code {
        RefusalCode::Version | RefusalCode::Model => 6,
        RefusalCode::Bundle => 7,
        _ => 5,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(sentence) | Self::SelfCheck(sentence) => f.write_str(sentence),
            Self::File { path, doing, source } => write!(f, "{doing} {}: {source}", path.display()),
            Self::Model { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Unservable(source) | Self::Listening(source) | Self::Pool(source) => write!(f, "{source}"),
            Self::Images(source) => write!(f, "{source}"),
            Self::Value { name, source } => write!(f, "{name}: {source}"),
            Self::Session { address, source } => write!(f, "server {address}: {source}"),
            Self::NoBundle { pool, done: 0, .. } => {
                write!(f, "{} holds no prepared bundle for this server's model and output", pool.display())
            }
            Self::NoBundle { pool, done, wanted } => write!(
                f,
                "{} ran out of prepared bundles after {done} of {wanted} images; those that were used are gone",
                pool.display()
            ),
            Self::System { doing, reason } => write!(f, "{doing}: {reason}"),
            Self::Output(error) => write!(f, "writing to standard output: {error}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } | Self::Output(source) => Some(source),
            Self::Model { source, .. } | Self::Value { source, .. } => Some(source),
            Self::Unservable(source) | Self::Listening(source) | Self::Pool(source) => Some(source),
            Self::Session { source, .. } => Some(source),
            Self::Images(source) => Some(source),
            _ => None,
        }
    }
}

impl From<ImageError> for Failure {
    fn from(source: ImageError) -> Self {
        Self::Images(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_code() {
        let codes = [
            (RefusalCode::Version, 6),
            (RefusalCode::Model, 6),
            (RefusalCode::Output, 5),
            (RefusalCode::Limit, 5),
            (RefusalCode::Bundle, 7),
            (RefusalCode::Busy, 5),
            (RefusalCode::Method, 5),
        ];
        for (code, expected) in codes {
            let refusal = Refusal { code, reason: "because".to_owned() };
            for source in [ProtocolError::Refused(refusal.clone()), ProtocolError::Incompatible(refusal)] {
                let failure = Failure::Session { address: "there:1".to_owned(), source };
                assert_eq!(failure.code(), expected, "{failure}");
                assert!(failure.to_string().contains("because"), "{failure}");
            }
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = Failure::Output(io::ErrorKind::BrokenPipe.into());
        assert!(closed.is_silent() && closed.code() == 0);
        let full = Failure::Output(io::ErrorKind::StorageFull.into());
        assert!(!full.is_silent() && full.code() == 1);
    }
}
