//! Steps over a channel: chunked, pipelined, both parties busy at once.
//!
//! A step of n elements is cut into chunks of [`CHUNK_ELEMENTS`]. Every chunk is a step of its own for the
//! cryptography; their messages follow each other on the wire:
//!
//! | stage | | a party works on chunk i + 1 while |
//! |---|---|---|
//! | [`prepare`] | S extends and sends, C answers chunk by chunk, S completes | the other works on chunk i |
//! | [`run`] | S sends message 1 of all chunks, C answers each as it comes, … | the other works on chunk i, and the wire carries both directions |
//!
//! So a step takes as many round trips as its construction has, whatever its size. What a party works on is a few chunks; at
//! rest lies only the compressed material. In preprocessing the server is at most 64 chunks ahead. Online, what is in flight
//! is bounded by the step, not by the chunk: the server sends message 1 of all chunks before it reads, and where the link is slower than the parties the rest of a step's messages waits
//! in the sender's queue (see [`Channel::duplex`](crate::channel::Channel::duplex)). A step of one chunk takes the plain
//! path without a second thread.
//! With more than one thread, as many chunks as there are threads go through the arithmetic side by side.

pub mod prepare;
pub mod run;

use std::ops::Range;

use ss_core::SsError;
use ss_core::step::{ClientStep, ServerStep, StepSpec};
use zeroize::Zeroizing;

/// Elements of a chunk: its material stays in the cache. A multiple of eight, so that packed messages join without padding.
pub const CHUNK_ELEMENTS: usize = 2048;

/// Chunks that the server's preprocessing may be ahead of the client's; the client works on no more at once.
const IN_FLIGHT: usize = 64;

/// The chunks of a step of `elements`.
pub(crate) fn chunks(elements: usize) -> impl ExactSizeIterator<Item = Range<usize>> + Clone {
    let count = elements.div_ceil(CHUNK_ELEMENTS);
    (0..count).map(move |at| at * CHUNK_ELEMENTS..((at + 1) * CHUNK_ELEMENTS).min(elements))
}

/// The client's unused half of a step, chunk by chunk.
pub struct ClientSteps {
    spec: StepSpec,
    elements: usize,
    chunks: Vec<ClientStep>,
}

/// The server's unused half of a step, chunk by chunk.
pub struct ServerSteps {
    spec: StepSpec,
    elements: usize,
    chunks: Vec<ServerStep>,
}

impl ClientSteps {
    /// What it computes.
    pub fn spec(&self) -> &StepSpec {
        &self.spec
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Bytes of a stored half of `elements`.
    pub fn stored_len(spec: &StepSpec, elements: usize) -> usize {
        chunks(elements).map(|chunk| ClientStep::stored_len(spec, chunk.len())).sum()
    }

    /// The half as bytes, as secret as itself; it is consumed. Appends to `bytes`, which has room.
    pub fn store(self, bytes: &mut Zeroizing<Vec<u8>>) {
        self.chunks.into_iter().for_each(|chunk| bytes.extend_from_slice(&chunk.into_bytes()));
    }

    /// A stored half of `elements`.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless the record has exactly the right size.
    pub fn restore(spec: &StepSpec, elements: usize, mut bytes: &[u8]) -> Result<Self, SsError> {
        let expected = Self::stored_len(spec, elements);
        if bytes.len() != expected {
            return Err(SsError::WrongLength { what: "stored step (bytes)", expected, got: bytes.len() });
        }
        let mut restored = Vec::with_capacity(chunks(elements).len());
        for chunk in chunks(elements) {
            let (own, rest) = bytes.split_at(ClientStep::stored_len(spec, chunk.len()));
            restored.push(ClientStep::from_bytes(spec, chunk.len(), own)?);
            bytes = rest;
        }
        Ok(Self { spec: spec.clone(), elements, chunks: restored })
    }
}

impl ServerSteps {
    /// What it computes.
    pub fn spec(&self) -> &StepSpec {
        &self.spec
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.elements
    }
}

impl std::fmt::Debug for ClientSteps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientSteps({} elements, redacted)", self.elements)
    }
}

impl std::fmt::Debug for ServerSteps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerSteps({} elements, redacted)", self.elements)
    }
}

/// Chunks that go through the arithmetic side by side.
fn side_by_side() -> usize {
    rayon::current_num_threads().clamp(1, IN_FLIGHT)
}
