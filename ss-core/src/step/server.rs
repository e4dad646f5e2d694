//! The server's half of a step: it asks, and in the end it has the result.

use super::StepSpec;
use crate::error::SsError;
use crate::garble::{GarbleServer, GarbleServerState, GarbleServerWaiting};
use crate::gate::{self, ServerCombine, ServerFinish, ServerGate, ServerSelect};
use crate::lookup::{LookupFinish, LookupServer, LookupWaiting};
use crate::ot::{RotReceiver, RotSender};
use crate::polynomial::{PolynomialFinish, PolynomialServer, PolynomialWaiting};

/// A half whose corrections are still to come; the transfers are compressed to what the step needs of them.
pub enum ServerWaiting {
    /// See [`crate::gate`].
    Gate(gate::ServerWaiting),
    /// See [`crate::garble`].
    Garbled(GarbleServerWaiting),
    /// See [`crate::polynomial`].
    Polynomial(PolynomialWaiting),
    /// See [`crate::lookup`].
    Lookup(LookupWaiting),
}

/// An unused half.
pub enum ServerStep {
    /// See [`crate::gate`].
    Gate(ServerGate),
    /// See [`crate::garble`].
    Garbled(GarbleServer),
    /// See [`crate::polynomial`].
    Polynomial(PolynomialServer),
    /// See [`crate::lookup`].
    Lookup(LookupServer),
}

/// A half in use: it waits for an answer of the client.
pub enum ServerRun {
    /// For the first answer of a gate.
    Combine(ServerCombine),
    /// For the second.
    Select(ServerSelect),
    /// For the third.
    Gate(ServerFinish),
    /// For the only answer.
    Garbled(GarbleServerState),
    /// For the only answer.
    Polynomial(PolynomialFinish),
    /// For the only answer.
    Lookup(LookupFinish),
}

/// What an answer leads to.
pub enum ServerTurn {
    /// A message to send, and what waits for its answer.
    Send(Vec<u8>, Box<ServerRun>),
    /// Per lane z + κ per element: shares, for the caller to wipe.
    Done(Vec<Vec<u64>>),
}

impl ServerStep {
    /// Takes the transfers in which this party chose at random.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] for another number than the step takes.
    pub fn receive(spec: &StepSpec, n: usize, received: RotReceiver) -> Result<ServerWaiting, SsError> {
        Ok(match spec {
            StepSpec::Gate(spec) => ServerWaiting::Gate(ServerGate::receive(spec, n, received)?),
            StepSpec::Garbled(spec) => ServerWaiting::Garbled(GarbleServer::receive(spec, n, received)?),
            StepSpec::Polynomial(spec) => {
                ServerWaiting::Polynomial(PolynomialServer::receive(spec, n, received)?)
            }
            StepSpec::Lookup(spec) => ServerWaiting::Lookup(LookupServer::receive(spec, n, received)?),
        })
    }

    /// Starts the step on this party's shares of the first operand and, where the step has them, of the lanes. The
    /// operands are wiped when the step is over, or refused.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] when the operands do not have the step's size.
    pub fn begin(self, compare: Vec<u64>, lanes: Vec<Vec<u64>>) -> Result<(Vec<u8>, ServerRun), SsError> {
        Ok(match self {
            Self::Gate(half) => {
                let (message, next) = half.begin(compare, lanes)?;
                (message, ServerRun::Combine(next))
            }
            Self::Garbled(half) => {
                let (message, next) = half.begin(compare, lanes)?;
                (message, ServerRun::Garbled(next))
            }
            Self::Polynomial(half) => {
                let (message, next) = half.begin(compare, lanes)?;
                (message, ServerRun::Polynomial(next))
            }
            Self::Lookup(half) => {
                let (message, next) = half.begin(compare, lanes)?;
                (message, ServerRun::Lookup(next))
            }
        })
    }
}

impl ServerWaiting {
    /// Takes the transfers in which the client chose, and its corrections.
    ///
    /// # Errors
    /// [`SsError`] when a number or the message does not fit.
    pub fn complete(self, sent: RotSender, corrections: &[u8]) -> Result<ServerStep, SsError> {
        Ok(match self {
            Self::Gate(half) => ServerStep::Gate(half.complete(sent, corrections)?),
            Self::Garbled(half) => ServerStep::Garbled(half.complete(sent, corrections)?),
            Self::Polynomial(half) => ServerStep::Polynomial(half.complete(sent, corrections)?),
            Self::Lookup(half) => ServerStep::Lookup(half.complete(sent, corrections)?),
        })
    }
}

impl ServerRun {
    /// An answer of the client in; the next message, or the result, out.
    ///
    /// # Errors
    /// [`SsError`] when the answer has the wrong length or stray bits.
    pub fn next(self, answer: &[u8]) -> Result<ServerTurn, SsError> {
        Ok(match self {
            Self::Combine(half) => {
                let (message, next) = half.combine(answer)?;
                ServerTurn::Send(message, Box::new(Self::Select(next)))
            }
            Self::Select(half) => {
                let (message, next) = half.select(answer)?;
                ServerTurn::Send(message, Box::new(Self::Gate(next)))
            }
            Self::Gate(half) => ServerTurn::Done(half.finish(answer)?),
            Self::Garbled(half) => ServerTurn::Done(half.finish(answer)?),
            Self::Polynomial(half) => ServerTurn::Done(half.finish(answer)?),
            Self::Lookup(half) => ServerTurn::Done(half.finish(answer)?),
        })
    }
}
