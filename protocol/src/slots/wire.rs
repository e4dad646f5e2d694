//! Keys and ciphertexts of a peer that counts in slots: read, and refused unless they are what was agreed.
//!
//! `what` names the message in the error. Decoders of `he_core` refuse all but canonical forms; here it is levels, scales
//! and rotations that are checked.

use std::collections::BTreeSet;

use he_core::ckks::{Ciphertext, Params, SeededCiphertext};
use he_core::galois::rotation;
use he_core::rlwe::{self, GaloisKeys, RlweParams};
use rayon::prelude::*;

use crate::error::{PeerResult, ProtocolError, malformed};

/// The exponents of rotations by these steps in a ring of degree n, ascending: the order of their keys.
pub(crate) fn exponents(n: usize, steps: impl IntoIterator<Item = i64>) -> Vec<usize> {
    let all: BTreeSet<usize> = steps.into_iter().map(|step| rotation(n, step)).collect();
    all.into_iter().collect()
}

/// Keys for the rotations with exactly these exponents, ascending.
///
/// # Errors
/// [`ProtocolError::Peer`] for keys that do not decode, or for others.
pub(crate) fn rotation_keys(
    rlwe: &RlweParams,
    bytes: &[u8],
    exponents: &[usize],
) -> Result<GaloisKeys, ProtocolError> {
    const WHAT: &str = "rotation keys";
    let keys = GaloisKeys::from_bytes(rlwe, bytes).or_malformed(WHAT)?;
    if !keys.exponents().eq(exponents.iter().copied()) {
        return Err(malformed(WHAT, "they are for other rotations than this network's"));
    }
    Ok(keys)
}

/// A ciphertext of so many limbs and of degree one; the scale is not sent but known.
///
/// # Errors
/// [`ProtocolError::Peer`] for bytes that do not decode, or for another level or degree.
pub(crate) fn ciphertext(
    params: &Params,
    bytes: &[u8],
    limbs: usize,
    scale: f64,
    what: &'static str,
) -> Result<Ciphertext, ProtocolError> {
    let inner = rlwe::Ciphertext::from_bytes(params.rlwe(), bytes).or_malformed(what)?;
    if inner.limbs() != limbs || inner.degree() != 1 {
        let reason = format!("{} limbs of degree {}", inner.limbs(), inner.degree());
        return Err(malformed(what, reason));
    }
    Ciphertext::from_rlwe(params, inner, scale).or_malformed(what)
}

/// Seeded ciphertexts of all limbs, one after the other; the scale is not sent but known.
///
/// # Errors
/// [`ProtocolError::Peer`] for bytes that do not decode, or for another level.
pub(crate) fn seeded(
    params: &Params,
    bytes: &[u8],
    scale: f64,
    what: &'static str,
) -> Result<Vec<Ciphertext>, ProtocolError> {
    let one = |bytes: &[u8]| {
        let inner = rlwe::SeededCiphertext::from_bytes(params.rlwe(), bytes).or_malformed(what)?;
        let seeded = SeededCiphertext::from_rlwe(params, inner, scale).or_malformed(what)?;
        if seeded.limbs() != params.limbs() {
            return Err(malformed(what, format!("{} limbs", seeded.limbs())));
        }
        Ok(seeded.expand(params))
    };
    let length = rlwe::SeededCiphertext::wire_len(params.rlwe(), params.limbs());
    bytes.par_chunks(length).map(one).collect()
}
