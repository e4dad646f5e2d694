//! TCP: connect and accept with deadlines that hold for whole messages, not for single reads.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::{Channel, Stream};
use crate::error::ProtocolError;

/// Deadlines of a TCP channel.
#[derive(Clone, Copy, Debug)]
pub struct TcpOptions {
    /// How long to try to connect.
    pub connect: Duration,
    /// How long one message may take from its first wait to its last byte.
    pub message: Duration,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), message: Duration::from_secs(60) }
    }
}

/// Connects to `address` ("host:port"), trying each resolved address.
///
/// # Errors
/// [`ProtocolError::Connection`] when no address answers.
pub fn connect(address: &str, options: TcpOptions) -> Result<Channel, ProtocolError> {
    let failed = |source| ProtocolError::Connection { during: "connecting".into(), source };
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{address} names no address"));
    for resolved in address.to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&resolved, options.connect) {
            Ok(stream) => return accept(stream, options),
            Err(error) => last = io::Error::new(error.kind(), format!("{resolved}: {error}")),
        }
    }
    Err(failed(last))
}

/// Makes a channel of an accepted connection.
///
/// # Errors
/// [`ProtocolError::Connection`] when the socket is gone already.
pub fn accept(stream: TcpStream, options: TcpOptions) -> Result<Channel, ProtocolError> {
    // Small messages must not wait for each other.
    stream
        .set_nodelay(true)
        .map_err(|source| ProtocolError::Connection { during: "opening the channel".into(), source })?;
    Ok(Channel::new(Timed { stream, deadline: None }, options.message))
}

/// A socket whose every read and write gets what is left of the message's time.
struct Timed {
    stream: TcpStream,
    deadline: Option<Instant>,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Stream for Timed {
    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }
}
