//! Recording an honest session and playing one side of it back, frame by frame: the tools of the hostile-peer tests.
//!
//! Sessions are deterministic in their seeds, so a real party that is given the recorded seed and the other side's
//! recorded frames walks through the very same session again, and any deviation is planted by changing those bytes.
//! A [`Script`] needs no second thread: reads come from the recorded bytes, writes are counted and swallowed.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use he_core::Seed;
use protocol::channel::{Channel, Kind, ReadHalf, Stream, WriteHalf, pair};
use protocol::handshake::{PROTOCOL_VERSION, Terms};
use protocol::offline::BundleId;
use protocol::session::Served;
use protocol::{
    BaseKind, Client, ClientOptions, Output, OutputMode, Policy, Preprocessing, ProtocolError, Rounds,
    Server, TransferKind,
};

/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 12;
/// Images of a bundle in the hostile-peer tests.
pub(crate) const IMAGES: usize = 2;
/// Deadline of a message in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Copies everything that passes: sent, received.
struct Recorder<S> {
    inner: S,
    log: Arc<Mutex<[Vec<u8>; 2]>>,
}

/// One direction of it.
struct Copying<H> {
    inner: H,
    log: Arc<Mutex<[Vec<u8>; 2]>>,
}

impl Read for Copying<Box<dyn ReadHalf>> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.log.lock().unwrap()[1].extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

impl Write for Copying<Box<dyn WriteHalf>> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.log.lock().unwrap()[0].extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl ReadHalf for Copying<Box<dyn ReadHalf>> {
    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.inner.set_deadline(deadline);
    }
}

impl WriteHalf for Copying<Box<dyn WriteHalf>> {
    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.inner.set_deadline(deadline);
    }
}

impl<S: Stream> Stream for Recorder<S> {
    fn split(self) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        let (reader, writer) = self.inner.split();
        let (reader, writer) =
            (Copying { inner: reader, log: self.log.clone() }, Copying { inner: writer, log: self.log });
        (Box::new(reader), Box::new(writer))
    }
}

/// What a script does when its bytes are used up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The connection closes.
    HangUp,
    /// Nothing comes any more.
    Silence,
}

/// A peer that says what it was told to say, whatever it hears.
pub(crate) struct Script {
    saying: Saying,
    hearing: Hearing,
}

struct Saying {
    incoming: io::Cursor<Vec<u8>>,
    end: End,
    deadline: Option<Instant>,
}

struct Hearing {
    writable: usize,
}

impl Script {
    /// Says `bytes`, then ends.
    pub(crate) fn new(bytes: Vec<u8>, end: End) -> Self {
        Self {
            saying: Saying { incoming: io::Cursor::new(bytes), end, deadline: None },
            hearing: Hearing { writable: usize::MAX },
        }
    }

    /// Says `bytes`, but is gone after it heard `writable` bytes.
    pub(crate) fn deaf_after(bytes: Vec<u8>, writable: usize) -> Self {
        Self { hearing: Hearing { writable }, ..Self::new(bytes, End::HangUp) }
    }
}

impl Read for Saying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (self.incoming.read(buffer)?, self.end) {
            (0, End::Silence) => {
                let deadline = self.deadline.expect("the channel sets a deadline before it reads");
                std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
                Err(io::ErrorKind::TimedOut.into())
            }
            (count, _) => Ok(count),
        }
    }
}

impl Write for Hearing {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.writable == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = buffer.len().min(self.writable);
        self.writable -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ReadHalf for Saying {
    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }
}

impl WriteHalf for Hearing {
    fn set_deadline(&mut self, _: Option<Instant>) {}
}

impl Stream for Script {
    fn split(self) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        (Box::new(self.saying), Box::new(self.hearing))
    }
}

/// One honest session: handshake, base transfers, a bundle that is kept and then run, goodbye.
pub(crate) struct Recording {
    seed: [u8; 32],
    inputs: Vec<i64>,
    images: usize,
    /// The client's frames, headers included.
    pub(crate) client: Vec<Vec<u8>>,
    /// The server's frames.
    pub(crate) server: Vec<Vec<u8>>,
    /// What the client got, and the bundle's name.
    pub(crate) result: (BundleId, Output),
}

impl Recording {
    /// Runs and records a session with `inputs`, image after image.
    pub(crate) fn new(server: &Server, seed: [u8; 32], inputs: &[i64]) -> Self {
        let (left, right) = pair();
        let images = inputs.len() / server.model().manifest.input_len();
        let log = Arc::default();
        let recorder = Recorder { inner: left, log: Arc::clone(&log) };
        let patience = Duration::from_secs(60);
        let result = std::thread::scope(|scope| {
            let seeds = Seed::from_bytes(seed);
            let serving = scope.spawn(move || {
                server.serve(&mut Channel::new(right, patience), "test", patience, seeds.fork("serving", &[]))
            });
            let result =
                whole_session(Channel::new(recorder, patience), Seed::from_bytes(seed), inputs, images);
            serving.join().unwrap().unwrap();
            result.unwrap()
        });
        let [client, server] = &*log.lock().unwrap();
        Self { seed, inputs: inputs.to_vec(), images, client: frames(client), server: frames(server), result }
    }

    /// The real client of this session against a scripted server.
    pub(crate) fn client_meets(
        &self,
        script: Script,
        patience: Duration,
    ) -> Result<(BundleId, Output), ProtocolError> {
        whole_session(Channel::new(script, patience), Seed::from_bytes(self.seed), &self.inputs, self.images)
    }

    /// The real client of this session, which does not take a failed preparation for an answer; both errors.
    pub(crate) fn client_prepares_twice(
        &self,
        script: Script,
        patience: Duration,
    ) -> Result<[ProtocolError; 2], ProtocolError> {
        let channel = Channel::new(script, patience);
        let options = ClientOptions::new().rounds(Rounds::Three);
        let mut client = Client::connect(channel, Seed::from_bytes(self.seed))?.agree_on(options)?;
        Ok([(); 2].map(|()| client.prepare(self.images, &mut |_, _| {}).expect_err("the script is bent")))
    }

    /// The real server of this session against a scripted client.
    pub(crate) fn server_meets(
        &self,
        server: &Server,
        script: Script,
        patience: Duration,
    ) -> Result<Served, ProtocolError> {
        server.serve(
            &mut Channel::new(script, patience),
            "script",
            patience,
            Seed::from_bytes(self.seed).fork("serving", &[]),
        )
    }
}

/// The client's side of a recorded session.
fn whole_session(
    channel: Channel,
    seed: Seed,
    inputs: &[i64],
    images: usize,
) -> Result<(BundleId, Output), ProtocolError> {
    // Nothing measured: a session must be the same each time.
    let options = ClientOptions::new().rounds(Rounds::Three);
    let mut client = Client::connect(channel, seed)?.agree_on(options)?;
    let bundle = client.prepare(images, &mut |_, _| {})?;
    let id = *bundle.id();
    client.keep(&bundle)?;
    let output = client.infer(bundle, inputs, &mut |_, _| {})?;
    client.finish()?;
    Ok((id, output))
}

/// Cuts a recorded direction into frames.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = HEADER + u32::from_le_bytes(bytes[8..HEADER].try_into().unwrap()) as usize;
        frames.push(bytes[..length].to_vec());
        bytes = &bytes[length..];
    }
    frames
}

/// A frame written by hand.
pub(crate) fn frame(kind: u8, number: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind, 0, 0, 0];
    frame.extend(number.to_le_bytes());
    frame.extend((payload.len() as u32).to_le_bytes());
    frame.extend(payload);
    frame
}

/// The terms of a client without wishes that is served labels.
pub(crate) const TERMS: Terms = Terms {
    mode: OutputMode::Label,
    transfers: TransferKind::SoftSpoken { field_bits: 8 },
    base: BaseKind::Ristretto,
    preprocessing: Preprocessing::Split,
};

/// A client that greets a scripted server.
pub(crate) fn connect(script: Script) -> Result<(), ProtocolError> {
    Client::connect(Channel::new(script, PATIENCE), Seed::from_bytes([5; 32])).map(drop)
}

/// The frame of a welcome around any manifest bytes.
pub(crate) fn welcome(manifest: &[u8]) -> Vec<u8> {
    let offer = Policy::default().offer;
    let rest = postcard::to_stdvec(&([1u8; 32], [2u8; 32], offer, manifest.to_vec())).unwrap();
    frame(Kind::Welcome as u8, 0, &[PROTOCOL_VERSION.to_le_bytes().as_slice(), &rest].concat())
}
