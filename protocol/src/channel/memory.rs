//! A pair of streams in memory: a two-party test is two closures on two threads.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use super::Stream;

/// One end of an in-memory connection; dropping it hangs up.
#[derive(Debug)]
pub struct MemoryStream {
    outgoing: Sender<Vec<u8>>,
    incoming: Receiver<Vec<u8>>,
    buffer: VecDeque<u8>,
    deadline: Option<Instant>,
}

/// Two connected ends.
pub fn pair() -> (MemoryStream, MemoryStream) {
    let ((left_out, right_in), (right_out, left_in)) = (channel(), channel());
    let end =
        |outgoing, incoming| MemoryStream { outgoing, incoming, buffer: VecDeque::new(), deadline: None };
    (end(left_out, left_in), end(right_out, right_in))
}

impl Read for MemoryStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.buffer.is_empty() {
            let chunk = match self.deadline {
                Some(deadline) => {
                    self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now()))
                }
                None => self.incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match chunk {
                Ok(chunk) => self.buffer.extend(chunk),
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
        self.buffer.read(buffer)
    }
}

impl Write for MemoryStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.outgoing.send(buffer.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for MemoryStream {
    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }
}
