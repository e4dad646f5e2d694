//! Base oblivious transfers: a few transfers from public-key cryptography, on one of two assumptions.
//!
//! | kind | rests on | module | source |
//! |---|---|---|---|
//! | [`BaseKind::Ristretto`] | computational Diffie–Hellman in Ristretto255 | [`ristretto`] | Chou, Orlandi 2015 |
//! | [`BaseKind::MlKem`] | module learning with errors (ML-KEM-768) | [`mlkem`] | Masny, Rindal 2019; FIPS 203 |
//!
//! Both in the random-oracle model. With the second, nothing in a session rests on discrete logarithms: the
//! linear layers rest on ring learning with errors, all else on symmetric primitives. It costs 578 kB
//! more per set-up, both ways together, and about 130 ms of one core for both parties together (Ristretto: 10 ms).
//!
//! [`Sender`] and [`Receiver`] wrap both kinds in one shape of four steps and three messages:
//!
//! | step | who | message | bytes for n transfers: Ristretto | ML-KEM |
//! |---|---|---|---|---|
//! | [`Sender::begin`] | sender → receiver | offer | 32 | 0 |
//! | [`Receiver::begin`] | receiver → sender | reply | 32·n | 2368·n |
//! | [`Sender::finish`] | sender → receiver | answer | 0 | 2176·n |
//! | [`Receiver::finish`] | | | | |
//!
//! The sender ends with n pairs of 128-bit keys, the receiver with n choices and the chosen keys. Keys are
//! random: neither party sends messages of its own through the transfers.
//!
//! Security is semi-honest. Lengths and encodings of the other party are checked on receipt. The time taken
//! does not depend on the choices.

pub mod mlkem;
pub mod ristretto;

use crate::error::{SsError, expect_length};
use core::fmt;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The assumption that the base transfers rest on; public, and the same for both parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseKind {
    /// Diffie–Hellman over Ristretto255: small messages; falls to a quantum computer.
    #[default]
    Ristretto,
    /// ML-KEM-768: lattices, as the linear layers; for 128 transfers messages of 303 and 279 kB. A session
    /// makes a set-up in either direction and so sends 586 kB each way, with the sums of the trees.
    MlKem,
}

impl BaseKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Ristretto, Self::MlKem];

    /// Bytes of the offer, sender to receiver.
    #[must_use]
    pub const fn offer_bytes(self) -> usize {
        match self {
            Self::Ristretto => ristretto::OFFER_BYTES,
            Self::MlKem => 0,
        }
    }

    /// Bytes per transfer of the reply, receiver to sender.
    #[must_use]
    pub const fn reply_bytes(self) -> usize {
        match self {
            Self::Ristretto => ristretto::REPLY_BYTES,
            Self::MlKem => mlkem::REPLY_BYTES,
        }
    }

    /// Bytes per transfer of the answer, sender to receiver.
    #[must_use]
    pub const fn answer_bytes(self) -> usize {
        match self {
            Self::Ristretto => 0,
            Self::MlKem => mlkem::ANSWER_BYTES,
        }
    }

    /// The name of the kind in hashes, file formats and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ristretto => "ristretto",
            Self::MlKem => "ml-kem",
        }
    }
}

impl fmt::Display for BaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::str::FromStr for BaseKind {
    type Err = SsError;

    fn from_str(name: &str) -> Result<Self, SsError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or(SsError::BadValue { what: "the base transfers are `ristretto` or `ml-kem`" })
    }
}

/// The sender between its two steps.
#[derive(Debug)]
pub struct Sender(SenderState);

#[derive(Debug)]
enum SenderState {
    Ristretto(ristretto::BaseSender),
    MlKem { session: [u8; 32] },
}

impl Sender {
    /// Step 1: the offer, [`BaseKind::offer_bytes`] bytes, and the sender that waits for the reply.
    ///
    /// `session` is unique to this set of transfers and known to both parties.
    pub fn begin<R: CryptoRng + ?Sized>(kind: BaseKind, session: &[u8; 32], rng: &mut R) -> (Vec<u8>, Self) {
        match kind {
            BaseKind::Ristretto => {
                let (offer, sender) = ristretto::BaseSender::begin(session, rng);
                (offer, Self(SenderState::Ristretto(sender)))
            }
            // The keys come from the receiver here; there is nothing to offer.
            BaseKind::MlKem => (Vec::new(), Self(SenderState::MlKem { session: *session })),
        }
    }

    /// Step 3: the answer, `count`·[`BaseKind::answer_bytes`] bytes, and the key pairs of `count` transfers.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless the reply has `count`·[`BaseKind::reply_bytes`] bytes,
    /// [`SsError::BadPoint`] for an encoding that is not canonical.
    #[expect(clippy::type_complexity, reason = "a message and what is kept, as in every step")]
    pub fn finish<R: CryptoRng + ?Sized>(
        self,
        count: usize,
        reply: &[u8],
        rng: &mut R,
    ) -> Result<(Vec<u8>, Zeroizing<Vec<[u128; 2]>>), SsError> {
        match self.0 {
            SenderState::Ristretto(sender) => Ok((Vec::new(), sender.finish(count, reply)?)),
            SenderState::MlKem { session } => mlkem::send(&session, count, reply, rng),
        }
    }
}

/// The receiver between its two steps.
#[derive(Debug)]
pub struct Receiver(ReceiverState);

#[derive(Debug)]
enum ReceiverState {
    Ristretto(Keys),
    MlKem(mlkem::BaseReceiver),
}

/// Chosen keys that are already known.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Keys(Vec<u128>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(secret)")
    }
}

impl Receiver {
    /// Step 2: answers the offer with one transfer per choice: the reply,
    /// `choices.len()`·[`BaseKind::reply_bytes`] bytes.
    ///
    /// `choices` are 0 or 1 each (the lowest bit counts).
    ///
    /// # Errors
    /// [`SsError::WrongLength`] for an offer of another length than [`BaseKind::offer_bytes`],
    /// [`SsError::BadPoint`] for one that is not canonical, or neutral.
    pub fn begin<R: CryptoRng + ?Sized>(
        kind: BaseKind,
        session: &[u8; 32],
        offer: &[u8],
        choices: &[u8],
        rng: &mut R,
    ) -> Result<(Vec<u8>, Self), SsError> {
        match kind {
            BaseKind::Ristretto => {
                let (reply, mut keys) = ristretto::receive(session, offer, choices, rng)?;
                let keys = Keys(core::mem::take(&mut *keys));
                Ok((reply, Self(ReceiverState::Ristretto(keys))))
            }
            BaseKind::MlKem => {
                expect_length("the base transfer offer (bytes)", 0, offer.len())?;
                let (reply, receiver) = mlkem::BaseReceiver::begin(session, choices, rng);
                Ok((reply, Self(ReceiverState::MlKem(receiver))))
            }
        }
    }

    /// Step 4: the chosen keys, in the order of the choices.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless the answer has [`BaseKind::answer_bytes`] bytes per transfer.
    pub fn finish(self, answer: &[u8]) -> Result<Zeroizing<Vec<u128>>, SsError> {
        match self.0 {
            ReceiverState::Ristretto(mut keys) => {
                expect_length("the base transfer answer (bytes)", 0, answer.len())?;
                Ok(Zeroizing::new(core::mem::take(&mut keys.0)))
            }
            ReceiverState::MlKem(receiver) => receiver.finish(answer),
        }
    }
}

#[cfg(test)]
mod tests;
