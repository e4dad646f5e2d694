//! A step: one private operation on n shared values, whatever construction computes it.
//!
//! In a step the server S holds shares m that it learns online, the client C holds shares c that it has known since
//! preprocessing. S ends with z + κ per output lane, κ a constant that C fixed in advance; C ends with nothing new.
//! All constructions have one shape, so that a caller drives them with one loop:
//!
//! | construction | computes | rounds |
//! |---|---|---|
//! | [`Gate`](crate::gate) | comparisons and what they select: ReLU, clip, leaky ReLU, maximum | 3 |
//! | [`Garbled`](crate::garble) | the same function, by a garbled circuit | 1 |
//! | [`Polynomial`](crate::polynomial) | a polynomial, the lift to a wider ring, the product of two shared values | 1 |
//! | [`Lookup`](crate::lookup) | a smooth function, by a table of local polynomials | 1 |
//!
//! ```text
//! offline   transfers: S receives, choosing at random; C receives, choosing what `choices` says
//!           C ── corrections ──▶ S
//! online    S ── message 1 ──▶ C ── answer 1 ──▶ S  …  one answer per round
//! ```
//!
//! Halves are one-time material: moved, never copied, wiped when dropped. [`ClientStep`] and [`ServerStep`] are unused
//! halves; [`ClientRun`] and [`ServerRun`] are halves in use.

mod client;
mod server;

pub use client::{ClientRun, ClientStep};
pub use server::{ServerRun, ServerStep, ServerTurn, ServerWaiting};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::garble::{self, GarbleSpec};
use crate::gate::{self, GateSpec};
use crate::lookup::{self, LookupSpec};
use crate::polynomial::{self, PolynomialSpec};

/// What a step computes and by which construction: public, equal on both sides.
#[derive(Clone, Debug, PartialEq)]
pub enum StepSpec {
    /// The three-round gate.
    Gate(GateSpec),
    /// The same function in one round, with more bytes.
    Garbled(GarbleSpec),
    /// A polynomial of the value, or its product with another.
    Polynomial(PolynomialSpec),
    /// A smooth function.
    Lookup(LookupSpec),
}

impl StepSpec {
    /// Random transfers per element in which the server receives.
    pub fn server_transfers(&self) -> usize {
        match self {
            Self::Gate(spec) => spec.server_transfers(),
            Self::Garbled(spec) => spec.server_transfers(),
            Self::Polynomial(spec) => spec.server_transfers(),
            Self::Lookup(spec) => spec.server_transfers(),
        }
    }

    /// Transfers per element in which the client receives.
    pub fn client_transfers(&self) -> usize {
        match self {
            Self::Gate(spec) => spec.client_transfers(),
            Self::Garbled(spec) => spec.client_transfers(),
            Self::Polynomial(spec) => spec.client_transfers(),
            Self::Lookup(spec) => spec.client_transfers(),
        }
    }

    /// Bytes of each message for `n` elements: the offline corrections, then online messages and answers in turn.
    pub fn message_bytes(&self, n: usize) -> Vec<usize> {
        match self {
            Self::Gate(spec) => spec.message_bytes(n),
            Self::Garbled(spec) => spec.message_bytes(n),
            Self::Polynomial(spec) => spec.message_bytes(n),
            Self::Lookup(spec) => spec.message_bytes(n),
        }
    }

    /// Bytes that the server's unused half of `n` elements takes in memory, about: for those who have to limit it.
    pub fn server_bytes(&self, n: usize) -> usize {
        match self {
            // Indices, pads and three words per term; the corrections are merged into them.
            Self::Gate(spec) => 48 * n * spec.terms(),
            // The corrections, and about five blocks beside them.
            _ => self.message_bytes(n)[0] + 80 * n * self.terms(),
        }
    }

    /// Round trips online.
    pub fn rounds(&self) -> usize {
        self.message_bytes(0).len() / 2
    }

    /// The client's choice bits for its [`StepSpec::client_transfers`], from its shares of the first operand.
    pub fn choices(&self, compare: &[u64], rng: &mut impl CryptoRng) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Gate(spec) => gate::choices(spec, compare, rng),
            Self::Garbled(spec) => garble::choices(spec, compare, rng),
            Self::Polynomial(spec) => polynomial::choices(spec, compare, rng),
            Self::Lookup(spec) => lookup::choices(spec, compare, rng),
        }
    }

    /// Values of the client's first operand per element: one per term of a gate.
    pub fn terms(&self) -> usize {
        match self {
            Self::Gate(spec) => spec.terms(),
            Self::Garbled(spec) => spec.gate().terms(),
            _ => 1,
        }
    }
}
