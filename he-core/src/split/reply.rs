//! The server's preprocessing reply: one polynomial, rounded to its top t bits per coefficient.
//!
//! Rounding takes the number in [0, q), whatever its limbs, so a reply has one word of t bits per coefficient in every
//! parameter set.

use core::fmt;

use crate::error::HeError;
use crate::params::Params;
use crate::poly::{Coeff, Poly};
use crate::rns::RnsPoly;
use crate::wire;

/// The top t bits of every coefficient of a' = H + pk_a u + e. Pseudorandom for who sees it.
///
/// Wire form: N words of t bits, packed by [`crate::wire`]: exactly t * N / 8 bytes, every bit pattern valid.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    bits: u32,
    /// N words in [0, 2^bits).
    words: Vec<u64>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} words of {} bits)", self.words.len(), self.bits)
    }
}

impl Reply {
    /// Checks the bits t of a reply: 1 <= t <= bits(q), and no more than the 62 that switching knows.
    ///
    /// # Errors
    /// [`HeError::Bits`] otherwise.
    pub fn check_bits(params: &Params, t: u32) -> Result<(), HeError> {
        let most = params.q_bits().min(62);
        if (1..=most).contains(&t) {
            Ok(())
        } else {
            Err(HeError::Bits { what: "reply coefficients", bits: t, least: 1, most })
        }
    }

    /// Bits t per coefficient.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Bytes of the wire form with t bits per coefficient: t * N / 8.
    #[must_use]
    pub fn wire_len(params: &Params, t: u32) -> usize {
        params.n() / 8 * t as usize
    }

    /// The wire form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::pack(&self.words, self.bits)
    }

    /// Reads the wire form of a peer, with the t that both parties know from the plan.
    ///
    /// # Errors
    /// [`HeError::Bits`] for a t that [`Reply::check_bits`] refuses, [`HeError::Length`] unless the length is exact.
    pub fn from_bytes(params: &Params, t: u32, bytes: &[u8]) -> Result<Self, HeError> {
        Self::check_bits(params, t)?;
        Ok(Self { bits: t, words: wire::unpack(bytes, params.n(), t)? })
    }

    /// Rounds a' to t bits; `t` has been checked.
    pub(super) fn round(params: &Params, t: u32, poly: &RnsPoly<Coeff>) -> Self {
        let residues: Vec<_> = poly.limbs().iter().map(Poly::coefficients).collect();
        Self { bits: t, words: params.down(&residues, t) }
    }

    /// Back to Z_q, each coefficient within q / 2^(t+1) + 1/2 of what was rounded.
    pub(super) fn lift(&self, params: &Params) -> RnsPoly<Coeff> {
        assert_eq!(self.words.len(), params.n(), "a reply of another ring");
        RnsPoly::from_residues(params, params.up(&self.words, self.bits)).expect("lifted words are residues")
    }
}
