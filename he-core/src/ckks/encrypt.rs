//! Encryption and decryption: a plaintext is added to an encryption of zero, and comes back with the noise.
//!
//! | operation | ciphertext | noise variance per coefficient, in units of 1/scale |
//! |---|---|---|
//! | [`Params::encrypt`] | seeded, half the bytes | eta/2 |
//! | [`Params::encrypt_public`] | two parts | eta/2 (1 + 4N/3) |
//! | [`Params::decrypt`] | | none of its own |
//!
//! eta/2 = 10.5 ([`crate::sample::ERROR_ETA`]); encoding has added 1/12 before. [`super::NoiseEstimate`] turns these
//! into errors of slots.

use super::Params;
use super::cipher::{Ciphertext, Plaintext, SeededCiphertext};
use crate::rlwe::{PublicKey, SecretKey};
use crate::seed::Seed;

impl Params {
    /// Encrypts with the secret key; the seed must be fresh and is used up.
    ///
    /// # Panics
    /// When the key or the plaintext is of other parameters.
    #[must_use]
    pub fn encrypt(&self, secret: &SecretKey, plaintext: &Plaintext, seed: Seed) -> SeededCiphertext {
        self.assert_same(secret.params());
        let mut inner = secret.encrypt_zero(plaintext.limbs(), seed);
        *inner.part_mut() += &plaintext.poly;
        SeededCiphertext { inner, scale: plaintext.scale }
    }

    /// Encrypts with the public key; the seed must be fresh and is used up.
    ///
    /// # Panics
    /// When the key or the plaintext is of other parameters.
    #[must_use]
    pub fn encrypt_public(&self, public: &PublicKey, plaintext: &Plaintext, seed: Seed) -> Ciphertext {
        self.assert_same(public.params());
        let mut inner = public.encrypt_zero(plaintext.limbs(), seed);
        inner.parts_mut()[0] += &plaintext.poly;
        Ciphertext { inner, scale: plaintext.scale }
    }

    /// Message plus noise. **Not for publication**, neither as it is nor decoded by [`Params::decode`]: see
    /// [`super::encode`] and, for what may be published, [`Params::decode_safe`].
    ///
    /// # Panics
    /// When the key or the ciphertext is of other parameters.
    #[must_use]
    pub fn decrypt(&self, secret: &SecretKey, ciphertext: &Ciphertext) -> Plaintext {
        self.assert_same(secret.params());
        Plaintext { poly: secret.phase(&ciphertext.inner), scale: ciphertext.scale }
    }

    fn assert_same(&self, other: &crate::rlwe::RlweParams) {
        assert!(self.rlwe() == other, "a key of other parameters");
    }
}
