//! Full duplex: both parties stream at the same time, and neither waits for the other's reading.
//!
//! In turns, a party that writes more than the sockets' buffers hold blocks until the other reads; when both do that, both
//! block. Here writing is a scoped thread's work: [`Duplex::send`] only appends to a queue, so a stage can send chunk
//! after chunk while it receives the answers to earlier ones. The queue has no bound of its own (a bound would bring the
//! blocking back): it holds what the caller sent and the peer has not read. So it is the caller's stage that bounds it, by
//! what it sends before it waits, and by the sum of its messages in any case.
//!
//! *Order, counters, numbers, refusals* are the channel's own: frames get header and number when they are sent, the
//! same code reads and checks what comes.
//!
//! *Deadlines.* A message has the channel's patience from the moment at which its writing begins, a received one from the
//! moment at which it is waited for. The writer tries in slices of time so that it sees in between when the
//! stage has failed.
//!
//! *Errors.* The writer's error comes out of the next send or receive, or of the end of the stage. When the stage fails,
//! the writer stops within a slice, and the channel is of no use any more. The thread never outlives
//! [`Channel::duplex`].
//!
//! *Rounds.* A stage of many chunks changes direction often, but waits only as often as one chunk would. The caller names
//! that number; what was sent last decides, as in turns, whether the next plain receive begins a round.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::frame::{Incoming, Outgoing, failed, write_in_slices};
use super::{Channel, Kind, Traffic, WriteHalf};
use crate::error::ProtocolError;

/// A channel's full-duplex stage, see [`Channel::duplex`].
pub struct Duplex<'a> {
    incoming: &'a mut Incoming,
    outgoing: &'a mut Outgoing,
    way: Way<'a>,
    patience: Duration,
    /// The channel's, before the stage.
    rounds: u64,
    sending: bool,
}

/// How batches of frames get to the stream.
enum Way<'a> {
    /// At once, in turns with reading.
    Direct(&'a mut dyn WriteHalf),
    /// By the writer's thread.
    Queue(Sender<Vec<u8>>, &'a State),
}

impl Channel {
    /// Runs `act` on a link that does not count changes of direction; `rounds` is what the stage counts for in
    /// [`Traffic`]. With `threaded`, a writer thread stands beside it, so that sends never block. Without, the link works
    /// in turns like the channel itself: for stages of so few bytes that they fit into the sockets' buffers, where a
    /// thread would only cost time. Returns when everything that was sent is written.
    ///
    /// # Errors
    /// What `act` returns, or what happened to the writer. The channel can't be used after an error.
    pub fn duplex<T>(
        &mut self,
        threaded: bool,
        rounds: u64,
        act: impl FnOnce(&mut Duplex<'_>) -> Result<T, ProtocolError>,
    ) -> Result<T, ProtocolError> {
        self.usable()?;
        // Until the stage has ended well; a panic in it must leave this behind as well.
        self.broken = true;
        let (value, sending) = if threaded { self.beside_a_writer(act) } else { self.in_turns(act) }?;
        self.rounds += rounds;
        self.sending = sending;
        self.broken = false;
        Ok(value)
    }

    fn in_turns<T>(
        &mut self,
        act: impl FnOnce(&mut Duplex<'_>) -> Result<T, ProtocolError>,
    ) -> Result<(T, bool), ProtocolError> {
        let Self { incoming, outgoing, writer, patience, rounds, .. } = self;
        let way = Way::Direct(&mut **writer);
        let mut link =
            Duplex { incoming, outgoing, way, patience: *patience, rounds: *rounds, sending: false };
        let value = act(&mut link)?;
        link.flush()?;
        Ok((value, link.sending))
    }

    fn beside_a_writer<T>(
        &mut self,
        act: impl FnOnce(&mut Duplex<'_>) -> Result<T, ProtocolError>,
    ) -> Result<(T, bool), ProtocolError> {
        let Self { incoming, outgoing, writer, patience, rounds, .. } = self;
        let (patience, rounds, state) = (*patience, *rounds, State::default());
        std::thread::scope(|scope| {
            let (queue, batches) = mpsc::channel();
            let (writer, shared) = (&mut **writer, &state);
            let thread = std::thread::Builder::new()
                .name("writer".into())
                .spawn_scoped(scope, move || write_batches(writer, batches, patience, shared))
                .map_err(|source| ProtocolError::Connection { during: "starting to send".into(), source })?;
            let mut stop = StopUnlessDone { state: &state, done: false };
            let way = Way::Queue(queue, &state);
            let mut link = Duplex { incoming, outgoing, way, patience, rounds, sending: false };
            let value = act(&mut link)?;
            link.flush()?;
            let sending = link.sending;
            // The queue closes: the writer ends after its last batch.
            drop(link);
            stop.done = true;
            if thread.join().is_err() {
                return Err(ProtocolError::Caller("the writer's thread panicked".into()));
            }
            state.check().map(|()| (value, sending))
        })
    }
}

impl Duplex<'_> {
    /// Queues one frame; with a writer thread it never blocks.
    ///
    /// # Errors
    /// What happened to the writer, or a payload beyond 4 GiB.
    pub fn send(&mut self, kind: Kind, layer: usize, payload: impl AsRef<[u8]>) -> Result<(), ProtocolError> {
        self.check()?;
        self.sending = true;
        if self.outgoing.push(kind, layer, payload.as_ref())? { self.flush() } else { Ok(()) }
    }

    /// Gives what was sent to the writer; with a thread it never blocks. Receiving does this by itself.
    ///
    /// # Errors
    /// What happened to the writer.
    pub fn flush(&mut self) -> Result<(), ProtocolError> {
        if self.outgoing.buffer.is_empty() {
            return Ok(());
        }
        match &mut self.way {
            Way::Direct(writer) => self.outgoing.write(&mut **writer, self.patience),
            Way::Queue(queue, state) => {
                let batch = std::mem::take(&mut self.outgoing.buffer);
                // Without a receiver there is no writer, and its error is the one to tell.
                queue.send(batch).or_else(|_| state.check().and(Err(gone())))
            }
        }
    }

    /// Receives the one frame that may come now, of exactly `length` bytes.
    ///
    /// # Errors
    /// As [`Channel::receive`], and what happened to the writer.
    pub fn receive(&mut self, kind: Kind, layer: usize, length: usize) -> Result<Vec<u8>, ProtocolError> {
        self.flush()?;
        self.check()?;
        self.sending = false;
        self.incoming.exactly(kind, layer, length, self.patience)
    }

    /// Bytes that went through the channel so far, in this stage and before it; what is queued counts as sent. The
    /// stage's own rounds come at its end.
    pub fn traffic(&self) -> Traffic {
        Traffic { sent: self.outgoing.bytes, received: self.incoming.bytes, rounds: self.rounds }
    }

    fn check(&self) -> Result<(), ProtocolError> {
        match &self.way {
            Way::Direct(_) => Ok(()),
            Way::Queue(_, state) => state.check(),
        }
    }
}

/// What the two threads tell each other.
#[derive(Default)]
struct State {
    /// The stage is over, there is no use in writing on.
    stop: AtomicBool,
    /// The writer has failed.
    failed: AtomicBool,
    /// Why, until somebody was told.
    error: Mutex<Option<ProtocolError>>,
}

impl State {
    fn fail(&self, error: ProtocolError) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.failed.store(true, Ordering::Release);
    }

    fn check(&self) -> Result<(), ProtocolError> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(error.unwrap_or_else(gone))
    }
}

/// Stops the writer when the stage is left early, by an error or by a panic.
struct StopUnlessDone<'a> {
    state: &'a State,
    done: bool,
}

impl Drop for StopUnlessDone<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.state.stop.store(true, Ordering::Release);
        }
    }
}

fn gone() -> ProtocolError {
    ProtocolError::HungUp { during: "sending".into() }
}

/// The writer's thread: to the end of the queue, or of the stage.
fn write_batches(writer: &mut dyn WriteHalf, batches: Receiver<Vec<u8>>, patience: Duration, state: &State) {
    for batch in batches {
        // Once the stage is over, nobody asks for the error that ends this.
        let go_on = |_| !state.stop.load(Ordering::Acquire);
        let deadline = Instant::now().checked_add(patience);
        if let Err(error) = write_in_slices(writer, &batch, deadline, go_on) {
            return state.fail(failed(error, patience, "sending".into()));
        }
    }
}
