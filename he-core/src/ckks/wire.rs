//! Wire forms of ciphertexts: the scale in front of the form of [`crate::rlwe`].
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | the scale as a double, little-endian; positive, finite, at most a quarter of the modulus |
//! | 8.. | the form of [`rlwe::Ciphertext`] or [`rlwe::SeededCiphertext`], which names its version, kind and parameters |
//!
//! Every form is canonical, lengths are checked before anything is allocated, and bytes of a peer are refused, never
//! panicked at. A scale is as trustworthy as who sent it: a wrong one makes a wrong message of the same phase. Keys
//! have no scale: their forms are those of [`crate::rlwe`].

use super::Params;
use super::cipher::{Ciphertext, SeededCiphertext};
use crate::error::HeError;
use crate::rlwe;

const SCALE: usize = 8;

impl Ciphertext {
    /// The bytes of this ciphertext.
    ///
    /// # Panics
    /// When it is of other parameters.
    #[must_use]
    pub fn to_bytes(&self, params: &Params) -> Vec<u8> {
        with_scale(self.scale, &self.inner.to_bytes(params.rlwe()))
    }

    /// The ciphertext of these bytes.
    ///
    /// # Errors
    /// As [`rlwe::Ciphertext::from_bytes`], and [`HeError::ScaleRange`].
    pub fn from_bytes(params: &Params, bytes: &[u8]) -> Result<Self, HeError> {
        let (scale, bytes) = split_scale(bytes)?;
        let inner = rlwe::Ciphertext::from_bytes(params.rlwe(), bytes)?;
        let scale = params.product_scale(scale, 1.0, inner.limbs())?;
        Self::from_rlwe(params, inner, scale)
    }
}

impl SeededCiphertext {
    /// The bytes of this ciphertext.
    ///
    /// # Panics
    /// When it is of other parameters.
    #[must_use]
    pub fn to_bytes(&self, params: &Params) -> Vec<u8> {
        with_scale(self.scale, &self.inner.to_bytes(params.rlwe()))
    }

    /// The ciphertext of these bytes.
    ///
    /// # Errors
    /// As [`rlwe::SeededCiphertext::from_bytes`], and [`HeError::ScaleRange`].
    pub fn from_bytes(params: &Params, bytes: &[u8]) -> Result<Self, HeError> {
        let (scale, bytes) = split_scale(bytes)?;
        let inner = rlwe::SeededCiphertext::from_bytes(params.rlwe(), bytes)?;
        let scale = params.product_scale(scale, 1.0, inner.limbs())?;
        Self::from_rlwe(params, inner, scale)
    }
}

fn with_scale(scale: f64, inner: &[u8]) -> Vec<u8> {
    [&scale.to_le_bytes()[..], inner].concat()
}

fn split_scale(bytes: &[u8]) -> Result<(f64, &[u8]), HeError> {
    let short = HeError::Length { what: "the scale of a ciphertext", expected: SCALE, found: bytes.len() };
    let (scale, rest) = bytes.split_first_chunk::<SCALE>().ok_or(short)?;
    Ok((f64::from_le_bytes(*scale), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ckks::tests::{Party, small};

    #[test]
    fn back_as_they_were_or_refused() {
        let mut party = Party::new(small(64, 2, 1), 100);
        let params = party.params.clone();
        let values = party.slots();
        let seed = party.seed();
        let seeded = params.encrypt(&party.secret, &params.encode(&values).unwrap(), seed);
        let bytes = seeded.to_bytes(&params);
        assert_eq!(bytes.len(), 8 + rlwe::SeededCiphertext::wire_len(params.rlwe(), 3));
        let again = SeededCiphertext::from_bytes(&params, &bytes).unwrap();
        assert_eq!(again.to_bytes(&params), bytes);
        let whole = seeded.expand(&params);
        let square = params.square(&whole).unwrap();
        for ciphertext in [&whole, &square] {
            let bytes = ciphertext.to_bytes(&params);
            let again = Ciphertext::from_bytes(&params, &bytes).unwrap();
            assert_eq!((again.scale(), again.degree()), (ciphertext.scale(), ciphertext.degree()));
            assert_eq!(again.to_bytes(&params), bytes);
            assert_eq!(party.open(&again), party.open(ciphertext));
            for cut in [0, 1, 7, 8, 19, bytes.len() - 1] {
                assert!(Ciphertext::from_bytes(&params, &bytes[..cut]).is_err(), "{cut} bytes");
            }
            assert!(SeededCiphertext::from_bytes(&params, &bytes).is_err());
            for scale in [0.0, -1.0, 0.5e-300, f64::NAN, f64::INFINITY, 2.0_f64.powi(129)] {
                let mut bytes = bytes.clone();
                bytes[..8].copy_from_slice(&scale.to_le_bytes());
                let read = Ciphertext::from_bytes(&params, &bytes);
                // A small positive scale is odd but has a meaning.
                assert_eq!(read.is_err(), !(scale > 0.0 && scale < 1.0), "{scale}");
            }
        }
    }
}
