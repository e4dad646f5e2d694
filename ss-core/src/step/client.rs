//! The client's half of a step: it answers.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::StepSpec;
use crate::error::SsError;
use crate::garble::GarbleClient;
use crate::gate::{ClientCombine, ClientGate, ClientInputs, ClientSelect};
use crate::lookup::LookupClient;
use crate::ot::{RotReceiver, RotSender};
use crate::polynomial::PolynomialClient;

/// An unused half.
pub enum ClientStep {
    /// See [`crate::gate`].
    Gate(ClientGate),
    /// See [`crate::garble`].
    Garbled(GarbleClient),
    /// See [`crate::polynomial`].
    Polynomial(PolynomialClient),
    /// See [`crate::lookup`].
    Lookup(LookupClient),
}

/// A half in use: it waits for a message of the server.
pub enum ClientRun {
    /// For the first message.
    First(ClientStep),
    /// For the second message of a gate.
    Combine(ClientCombine),
    /// For the third.
    Select(ClientSelect),
}

impl ClientStep {
    /// Turns transfers into a half; returns the offline corrections with it. `received` are the transfers made with
    /// [`StepSpec::choices`], `sent` those in which the server chose.
    ///
    /// # Errors
    /// [`SsError`] where something does not fit the step.
    pub fn prepare(
        spec: &StepSpec,
        inputs: &ClientInputs<'_>,
        sent: RotSender,
        received: RotReceiver,
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, Self), SsError> {
        Ok(match spec {
            StepSpec::Gate(spec) => {
                let (message, half) = ClientGate::prepare(spec, inputs, sent, received, rng)?;
                (message, Self::Gate(half))
            }
            StepSpec::Garbled(spec) => {
                let (message, half) = GarbleClient::prepare(spec, inputs, sent, received, rng)?;
                (message, Self::Garbled(half))
            }
            StepSpec::Polynomial(spec) => {
                let (message, half) = PolynomialClient::prepare(spec, inputs, sent, received, rng)?;
                (message, Self::Polynomial(half))
            }
            StepSpec::Lookup(spec) => {
                let (message, half) = LookupClient::prepare(spec, inputs, sent, received, rng)?;
                (message, Self::Lookup(half))
            }
        })
    }

    /// Bytes of a stored half of `n` elements.
    pub fn stored_len(spec: &StepSpec, n: usize) -> usize {
        match spec {
            StepSpec::Gate(spec) => ClientGate::stored_len(spec, n),
            StepSpec::Garbled(spec) => GarbleClient::stored_len(spec, n),
            StepSpec::Polynomial(spec) => PolynomialClient::stored_len(spec, n),
            StepSpec::Lookup(spec) => LookupClient::stored_len(spec, n),
        }
    }

    /// The half as bytes, as secret as itself; it is consumed. Whoever stores them sees to it that they are used once.
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Gate(half) => half.into_bytes(),
            Self::Garbled(half) => half.into_bytes(),
            Self::Polynomial(half) => half.into_bytes(),
            Self::Lookup(half) => half.into_bytes(),
        }
    }

    /// A stored half of `n` elements.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless the record has exactly the right size.
    pub fn from_bytes(spec: &StepSpec, n: usize, bytes: &[u8]) -> Result<Self, SsError> {
        Ok(match spec {
            StepSpec::Gate(spec) => Self::Gate(ClientGate::from_bytes(spec, n, bytes)?),
            StepSpec::Garbled(spec) => Self::Garbled(GarbleClient::from_bytes(spec, n, bytes)?),
            StepSpec::Polynomial(spec) => Self::Polynomial(PolynomialClient::from_bytes(spec, n, bytes)?),
            StepSpec::Lookup(spec) => Self::Lookup(LookupClient::from_bytes(spec, n, bytes)?),
        })
    }

    /// Begins to use the half.
    pub fn start(self) -> ClientRun {
        ClientRun::First(self)
    }
}

impl ClientRun {
    /// A message of the server in, the answer out, and what waits for the next message.
    ///
    /// # Errors
    /// [`SsError`] when the message has the wrong length or stray bits.
    pub fn answer(self, message: &[u8]) -> Result<(Vec<u8>, Option<Self>), SsError> {
        let over = |answer| (answer, None);
        Ok(match self {
            Self::First(ClientStep::Gate(half)) => {
                let (answer, next) = half.tables(message)?;
                (answer, Some(Self::Combine(next)))
            }
            Self::Combine(half) => {
                let (answer, next) = half.respond(message)?;
                (answer, Some(Self::Select(next)))
            }
            Self::Select(half) => over(half.finish(message)?),
            Self::First(ClientStep::Garbled(half)) => over(half.answer(message)?),
            Self::First(ClientStep::Polynomial(half)) => over(half.answer(message)?),
            Self::First(ClientStep::Lookup(half)) => over(half.answer(message)?),
        })
    }
}
