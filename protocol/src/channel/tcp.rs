//! TCP: connect and accept with deadlines that hold for whole messages, not for single reads.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::{Channel, Link, ReadHalf, Stream, WriteHalf, shaped};
use crate::error::ProtocolError;

/// Deadlines of a TCP channel, and the link it is to behave like.
#[derive(Clone, Copy, Debug)]
pub struct TcpOptions {
    /// How long to try to connect.
    pub connect: Duration,
    /// How long one message may take from its first wait to its last byte.
    pub message: Duration,
    /// For measurements: what this end sends goes as over such a link. Both ends must say so to model both directions.
    pub link: Option<Link>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), message: Duration::from_secs(60), link: None }
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
    let failed = |source| ProtocolError::Connection { during: "opening the channel".into(), source };
    // Small messages must not wait for each other.
    stream.set_nodelay(true).map_err(failed)?;
    let writer = stream.try_clone().map_err(failed)?;
    let stream =
        Tcp { reader: Timed { stream, deadline: None }, writer: Timed { stream: writer, deadline: None } };
    Ok(match options.link {
        None => Channel::new(stream, options.message),
        Some(link) => Channel::new(shaped(stream, link).map_err(failed)?, options.message),
    })
}

/// Two handles of one socket. Read and write timeouts are separate options of it, so the halves do not disturb each other.
struct Tcp {
    reader: Timed,
    writer: Timed,
}

impl Stream for Tcp {
    fn split(self) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        (Box::new(self.reader), Box::new(self.writer))
    }
}

/// A socket whose every read or write gets what is left of the message's time.
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

impl ReadHalf for Timed {
    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }
}

impl WriteHalf for Timed {
    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }
}
