//! Wire forms of ciphertexts: the plaintext modulus in front of the form of [`crate::rlwe`].
//!
//! | bytes | what |
//! |---|---|
//! | 0 | version, 2; the form without a plaintext modulus, that of [`crate::rlwe`] alone, has version 1 |
//! | 1..9 | t, little-endian |
//! | 9.. | the form of [`rlwe::Ciphertext`] or [`rlwe::SeededCiphertext`], which names its version, kind and ring |
//!
//! One ring serves any t, and a ciphertext under another t is a ciphertext of another message: it is refused. Every form
//! is canonical, lengths are checked before anything is allocated, and bytes of a peer are refused, never panicked at.
//! Keys know no t: their forms are those of [`crate::rlwe`].

use super::cipher::{Ciphertext, SeededCiphertext};
use super::params::Params;
use crate::error::HeError;
use crate::rlwe;

const VERSION: u8 = 2;
const HEADER: usize = 9;

impl Ciphertext {
    /// Bytes of the wire form of a ciphertext of this degree (1 or 2) and so many limbs.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    #[must_use]
    pub fn wire_len(params: &Params, limbs: usize, degree: usize) -> usize {
        HEADER + rlwe::Ciphertext::wire_len(params.rlwe(), limbs, degree)
    }

    /// The bytes of this ciphertext, which must be of these parameters: nothing in it tells its t.
    #[must_use]
    pub fn to_bytes(&self, params: &Params) -> Vec<u8> {
        with_header(params, &self.as_rlwe().to_bytes(params.rlwe()))
    }

    /// The ciphertext of these bytes.
    ///
    /// # Errors
    /// As [`rlwe::Ciphertext::from_bytes`], and [`HeError::OtherParameters`] for another plaintext modulus.
    pub fn from_bytes(params: &Params, bytes: &[u8]) -> Result<Self, HeError> {
        let inner = rlwe::Ciphertext::from_bytes(params.rlwe(), without_header(params, bytes)?)?;
        Self::from_rlwe(params, inner)
    }
}

impl SeededCiphertext {
    /// Bytes of the wire form of a seeded ciphertext of so many limbs.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    #[must_use]
    pub fn wire_len(params: &Params, limbs: usize) -> usize {
        HEADER + rlwe::SeededCiphertext::wire_len(params.rlwe(), limbs)
    }

    /// The bytes of this ciphertext, which must be of these parameters: nothing in it tells its t.
    #[must_use]
    pub fn to_bytes(&self, params: &Params) -> Vec<u8> {
        with_header(params, &self.as_rlwe().to_bytes(params.rlwe()))
    }

    /// The ciphertext of these bytes.
    ///
    /// # Errors
    /// As [`rlwe::SeededCiphertext::from_bytes`], and [`HeError::OtherParameters`] for another plaintext modulus.
    pub fn from_bytes(params: &Params, bytes: &[u8]) -> Result<Self, HeError> {
        let inner = rlwe::SeededCiphertext::from_bytes(params.rlwe(), without_header(params, bytes)?)?;
        Self::from_rlwe(params, inner)
    }
}

fn with_header(params: &Params, inner: &[u8]) -> Vec<u8> {
    [&[VERSION][..], &params.t().to_le_bytes(), inner].concat()
}

fn without_header<'a>(params: &Params, bytes: &'a [u8]) -> Result<&'a [u8], HeError> {
    let short =
        HeError::Length { what: "the header of a BFV ciphertext", expected: HEADER, found: bytes.len() };
    let ([version, t @ ..], inner) = bytes.split_first_chunk::<HEADER>().ok_or(short)?;
    if *version != VERSION {
        return Err(HeError::WireVersion { found: *version, known: VERSION });
    }
    if u64::from_le_bytes(*t) != params.t() {
        return Err(HeError::OtherParameters { what: "a BFV ciphertext" });
    }
    Ok(inner)
}
