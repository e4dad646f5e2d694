//! Encryption, decryption, and re-randomisation.
//!
//! | operation | phase afterwards | randomness |
//! |---|---|---|
//! | [`Params::encrypt`] | round(Q m/t) + e | a seed; its public part stands for half of the ciphertext |
//! | [`Params::encrypt_public`] | round(Q m/t) + e_pk u + e0 + e1 s | a seed |
//! | [`Params::rerandomise`] | as before + e_pk u + e0 + e1 s + flood | a seed |
//!
//! Seeds are taken by value: an encryption uses its seed up. The same seed gives the same bytes on every machine and for
//! any number of threads.
//!
//! **Decryption** is round(t phase/Q) modulo t ([`crate::rns::scale::PlainRound`]), at any level, for two parts or three. It
//! is free of branches on secrets and cannot fail: a ciphertext with too much noise gives a wrong plaintext, which
//! nobody who made the ciphertext may see.
//!
//! **Re-randomisation** makes the two parts of a ciphertext as random as a fresh encryption's; one of three parts is
//! refused, for a fresh encryption has no third part to hide the other with. The noise still tells how the
//! ciphertext came about; flooding adds noise of a stated width, a sum of four uniforms of standard deviation 2^bits
//! ([`crate::sample::dither_limbs`]), in which differences of noise by d are seen with an advantage of the order of
//! d sqrt(N)/2^bits per ciphertext (twice differentiable density, Fisher information of the order of 1/sigma^2; see
//! [`crate::sample`]).

use crate::error::HeError;
use crate::poly::Poly;
use crate::rlwe::{PublicKey, SecretKey};
use crate::rns::RnsPoly;
use crate::sample;
use crate::seed::Seed;

use super::cipher::{Ciphertext, SeededCiphertext};
use super::params::Params;
use super::plaintext::Plaintext;

impl Params {
    /// A fresh encryption of all limbs under the secret key; the seed is used up.
    ///
    /// # Panics
    /// When the key or the plaintext is of another ring.
    #[must_use]
    pub fn encrypt(&self, secret: &SecretKey, plaintext: &Plaintext, seed: Seed) -> SeededCiphertext {
        self.assert_ring(secret.params());
        SeededCiphertext::wrap(secret.encrypt_coefficients(plaintext.scaled(self, self.limbs()), seed))
    }

    /// A fresh encryption of all limbs under the public key; the seed is used up.
    ///
    /// # Panics
    /// When the key or the plaintext is of another ring.
    #[must_use]
    pub fn encrypt_public(&self, public: &PublicKey, plaintext: &Plaintext, seed: Seed) -> Ciphertext {
        self.assert_ring(public.params());
        Ciphertext::wrap(public.encrypt_coefficients(plaintext.scaled(self, self.limbs()), seed))
    }

    /// The plaintext of a ciphertext at any level, of two parts or three; a wrong one when there is too much noise.
    ///
    /// # Panics
    /// When the key or the ciphertext is of another ring.
    #[must_use]
    pub fn decrypt(&self, secret: &SecretKey, ciphertext: &Ciphertext) -> Plaintext {
        self.assert_ring(secret.params());
        let limbs = ciphertext.limbs();
        let phase = secret.phase(ciphertext.as_rlwe()).into_coeff(self.rlwe().ciphertext_tables(limbs));
        Plaintext::from_residues(*self.modulus(), self.decrypting(limbs).round(&phase))
    }

    /// Adds a fresh encryption of zero and, for `flood = Some(bits)`, noise of standard deviation 2^bits. The seed is used
    /// up. What is left of the noise budget afterwards is said by [`super::NoiseBound::rerandomise`].
    ///
    /// # Errors
    /// [`HeError::Length`] for a ciphertext of three parts, whose third part would stay as it is: relinearise it first.
    /// [`HeError::Dither`] unless the flooding is finite, at most 126 bits and narrower than the modulus. The ciphertext is
    /// as it was then.
    ///
    /// # Panics
    /// When the key or the ciphertext is of another ring.
    pub fn rerandomise(
        &self,
        ciphertext: &mut Ciphertext,
        public: &PublicKey,
        flood: Option<f64>,
        seed: Seed,
    ) -> Result<(), HeError> {
        self.assert_ring(public.params());
        let found = ciphertext.degree() + 1;
        if found != 2 {
            return Err(HeError::Length {
                what: "the parts of a ciphertext to re-randomise",
                expected: 2,
                found,
            });
        }
        let limbs = ciphertext.limbs();
        let noise = flood.map(|bits| self.flood(limbs, bits, &seed)).transpose()?;
        let zero = public.encrypt_zero(limbs, seed.fork("bfv: fresh zero", &[]));
        *ciphertext.inner_mut() += &zero;
        if let Some(noise) = noise {
            ciphertext.inner_mut().parts_mut()[0] += &noise;
        }
        Ok(())
    }

    /// Noise of standard deviation 2^bits in every coefficient, the same integer in every limb.
    fn flood(&self, limbs: usize, bits: f64, seed: &Seed) -> Result<RnsPoly<crate::Ntt>, HeError> {
        let moduli = self.rlwe().moduli(limbs);
        // A product that needs more than 128 bits has room for any width.
        let product = moduli.iter().try_fold(1_u128, |q, p| q.checked_mul(u128::from(p.value())));
        let width = sample::width_below(product.unwrap_or(u128::MAX), bits)?;
        let tables = self.rlwe().ciphertext_tables(limbs);
        let mut noise = RnsPoly::from_limbs(tables.iter().map(Poly::<crate::Coeff>::zero).collect());
        let mut words = zeroize::Zeroizing::new(vec![vec![0; self.n()]; limbs]);
        let mut rng = seed.fork("bfv: flood", &[]).stream();
        sample::dither_limbs(&mut rng, moduli, width, &mut words);
        for (limb, words) in noise.limbs_mut().iter_mut().zip(words.iter()) {
            limb.words_mut().copy_from_slice(words);
        }
        Ok(noise.into_ntt(tables))
    }

    pub(super) fn assert_ring(&self, other: &crate::rlwe::RlweParams) {
        assert!(other == self.rlwe(), "a key of another ring: {other:?} met {:?}", self.rlwe());
    }
}
