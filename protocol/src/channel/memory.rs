//! A pair of streams in memory: a two-party test is two closures on two threads.
//!
//! Writes never block: the pipe has no bound. Dropping an end hangs up.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use super::{ReadHalf, Stream, WriteHalf};

/// One end of an in-memory connection; dropping it hangs up.
#[derive(Debug)]
pub struct MemoryStream {
    reader: Reader,
    writer: Writer,
}

/// Two connected ends.
pub fn pair() -> (MemoryStream, MemoryStream) {
    let ((left_out, right_in), (right_out, left_in)) = (channel(), channel());
    let end = |outgoing, incoming| MemoryStream {
        reader: Reader { incoming, buffer: VecDeque::new(), deadline: None },
        writer: Writer { outgoing },
    };
    (end(left_out, left_in), end(right_out, right_in))
}

#[derive(Debug)]
struct Reader {
    incoming: Receiver<Vec<u8>>,
    buffer: VecDeque<u8>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Writer {
    outgoing: Sender<Vec<u8>>,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.buffer.is_empty() {
            let chunk = match self.deadline {
                Some(deadline) => {
                    self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now()))
                }
                None => self.incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match chunk {
                Ok(chunk) => self.buffer = chunk.into(),
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
        self.buffer.read(buffer)
    }
}

impl Write for Writer {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.outgoing.send(buffer.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for MemoryStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Write for MemoryStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ReadHalf for Reader {
    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }
}

impl WriteHalf for Writer {
    /// Writes never wait.
    fn set_deadline(&mut self, _: Option<Instant>) {}
}

impl Stream for MemoryStream {
    fn split(self) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        (Box::new(self.reader), Box::new(self.writer))
    }
}
