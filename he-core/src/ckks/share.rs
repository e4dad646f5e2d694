//! A ciphertext as additive shares of two parties: neither learns the message, together they have it.
//!
//! Party S has a ciphertext under the key of party C; its slots hold y. S subtracts a polynomial R of random integers and
//! sends what is left; C decrypts. Each rounds the slots of its own polynomial to multiples of a *step*:
//!
//! | party | polynomial | share |
//! |---|---|---|
//! | S | R, coefficients uniform in \[-2^(k-1), 2^(k-1)) | s = round(slot of R / 2^step) |
//! | C | phase - R = scale y + noise - R | c = round(slot of phase - R / 2^step) |
//!
//! This is the decrypt-and-round of hybrid protocols on approximate schemes; masking over the integers with a statistical
//! margin is that of I. Damgård, R. Thorbek, *Efficient conversion of secret-shared values between different fields* (2008),
//! taken to polynomials.
//!
//! **They add up.** c + s = (scale y + noise) / 2^step, but for two roundings of at most 1/2 each and the errors of wide
//! decoding, as long as nothing wraps modulo Q: [`Masking::error`] bounds the difference in units of the shares. Both are
//! rounded alone: that is why the sum may be off by one where a single rounding would not be. Nothing wraps, since |phase| +
//! 2^(k-1) < Q/2 is checked.
//!
//! **They hide.** Let B bound the slots of the phase, message and noise. Its coefficients m have Euclidean norm at most B (the
//! mean square of the slots), so |m|_1 <= sqrt(N) B. R + m, for m that R does not depend on, is at a statistical distance of
//! at most sum |m_i| / 2^k <= sqrt(N) B / 2^k from R, coefficient by coefficient. With
//!
//! k = ceil(log2(tau sqrt(N) B)) + s
//!
//! tau such ciphertexts together are within 2^-s of ones that do not depend on any message, nor on the noise, in which S's
//! weights show ([`Masking::log2_distance`]). The second part is re-randomised: an encryption of zero under C's public key is
//! added, whose second part a u + e1 looks uniform to C too, since u is S's. Its own noise is within B and hidden by R.
//! What C sees is then the decryption of a random polynomial. C's input is hidden from S by the scheme; S's share is R's.
//!
//! **On what conditions.** B comes from a [`NoiseEstimate`] of what was computed, and holds for inputs of the size that it was
//! told. Who sends larger ones can see through the mask: parties are semi-honest.

use super::Params;
use super::cipher::{Ciphertext, equal_scales};
use super::estimate::NoiseEstimate;
use super::wide::WideSlots;
use super::wide::integer::Wide;
use crate::error::HeError;
use crate::poly::{Coeff, Poly};
use crate::rlwe::{PublicKey, SecretKey};
use crate::rns::RnsPoly;
use crate::scratch::Wiped;
use crate::seed::Seed;

/// Bits of a mask's coefficients at most.
const MOST_BITS: u32 = 190;

/// How well masks hide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masking {
    /// s: bits of statistical security, over all ciphertexts together.
    pub statistical_bits: u32,
    /// tau: how many ciphertexts that is.
    pub ciphertexts: u64,
}

impl Masking {
    /// k: the bits of a mask's coefficients for ciphertexts of this estimate, which is that of what was computed, before it
    /// is shared.
    ///
    /// # Errors
    /// [`HeError::Bits`] when it is above 190, also for an estimate whose bound is no finite number; [`HeError::Overflow`]
    /// when phase and mask together may wrap modulo the primes that the estimate has left.
    pub fn bits(&self, noise: &NoiseEstimate) -> Result<u32, HeError> {
        let (params, bound) = (noise.params(), phase_bound(noise));
        let count = self.ciphertexts.max(1) as f64;
        let log2 =
            (count * (params.n() as f64).sqrt() * bound).log2().ceil() + f64::from(self.statistical_bits);
        // A NaN must not end up as the narrowest.
        let holds = log2 >= 1.0 && log2 <= f64::from(MOST_BITS);
        if !holds {
            let bits = if log2 < 1.0 { 0 } else { log2.min(f64::from(u32::MAX)) as u32 };
            return Err(HeError::Bits { what: "a mask", bits, least: 1, most: MOST_BITS });
        }
        let log2_most = params.rlwe().log2_q(noise.limbs()) - 1.0;
        // A little below, because logarithms are rounded.
        let fits = (bound + (log2 - 1.0).exp2()).log2() < log2_most - 1e-6;
        if fits { Ok(log2 as u32) } else { Err(HeError::Overflow { log2_most }) }
    }

    /// log2 of the statistical distance of all ciphertexts together from ones without a message: at most -s.
    ///
    /// # Errors
    /// As [`Masking::bits`].
    pub fn log2_distance(&self, noise: &NoiseEstimate) -> Result<f64, HeError> {
        let bits = self.bits(noise)?;
        let all = self.ciphertexts.max(1) as f64 * (noise.params().n() as f64).sqrt() * phase_bound(noise);
        Ok(all.log2() - f64::from(bits))
    }

    /// A bound on |c + s - scale y / 2^step|, that fails with the probability of the estimate only.
    #[must_use]
    pub fn error(&self, noise: &NoiseEstimate, step: u32) -> f64 {
        let sent = sent(noise);
        let wide = 2.0 * sent.params().wide_error(sent.limbs());
        1.0 + (sent.error_bound() * sent.scale() + wide) / f64::from(step).exp2()
    }
}

/// The estimate of what is decrypted, but for the mask.
fn sent(noise: &NoiseEstimate) -> NoiseEstimate {
    noise.sum_independent(&NoiseEstimate::public_key(noise.params(), 0.0, noise.limbs(), noise.scale()))
}

/// B: a bound on the slots of the phase, in its own units.
fn phase_bound(noise: &NoiseEstimate) -> f64 {
    let sent = sent(noise);
    (sent.size() + sent.error_bound()) * sent.scale()
}

impl Params {
    /// S: makes shares of a ciphertext: what is to be sent, and its own share in steps of 2^`step`. `noise` is the estimate
    /// of the ciphertext. The seed must be fresh and is used up.
    ///
    /// # Errors
    /// [`HeError::Limbs`], [`HeError::UnequalScales`] when the estimate is of another ciphertext, as [`Masking::bits`] and
    /// [`Params::decode_wide`].
    ///
    /// # Panics
    /// When operands are of other parameters.
    #[expect(clippy::needless_pass_by_value, reason = "a mask must not be used again")]
    pub fn share(
        &self,
        ciphertext: &Ciphertext,
        noise: &NoiseEstimate,
        masking: &Masking,
        public: &PublicKey,
        step: u32,
        seed: Seed,
    ) -> Result<(Ciphertext, WideSlots), HeError> {
        assert!(noise.params() == self, "an estimate for other parameters");
        assert!(self.rlwe() == public.params(), "a key of other parameters");
        let limbs = ciphertext.limbs();
        if noise.limbs() != limbs {
            return Err(HeError::Limbs { needed: limbs, found: noise.limbs() });
        }
        equal_scales(ciphertext.scale(), noise.scale())?;
        let bits = masking.bits(noise)?;
        self.check_wide(self.rlwe().log2_q(limbs), step)?;
        let mut stream = seed.fork("ckks: mask", &[]).stream();
        let mask: Vec<Wide> = (0..self.n()).map(|_| Wide::uniform(&mut stream, bits)).collect();
        let mask = Wiped::from(mask);
        let own = self.wide_slots(&mask, step);

        let tables = self.tables(limbs);
        let limb = |table| {
            let mut poly = Poly::<Coeff>::zero(table);
            let modulus = *poly.modulus();
            poly.words_mut().iter_mut().zip(mask.iter()).for_each(|(word, x)| *word = x.residue(&modulus));
            poly
        };
        let mask = RnsPoly::from_limbs(tables.iter().map(limb).collect()).into_ntt(tables);
        let mut sealed = public.encrypt_zero(limbs, seed.fork("ckks: re-randomisation", &[]));
        sealed += ciphertext.as_rlwe();
        sealed.parts_mut()[0] -= &mask;
        Ok((Ciphertext { inner: sealed, scale: ciphertext.scale() }, own))
    }

    /// C: its share of what S sent.
    ///
    /// # Errors
    /// As [`Params::decode_wide`].
    ///
    /// # Panics
    /// When the key or the ciphertext is of other parameters.
    pub fn open_share(
        &self,
        secret: &SecretKey,
        ciphertext: &Ciphertext,
        step: u32,
    ) -> Result<WideSlots, HeError> {
        self.decode_wide(&self.decrypt(secret, ciphertext), step)
    }
}

#[cfg(test)]
mod tests;
