//! Predicted precision: a bound on the error of slots that needs neither keys nor values, only the circuit.
//!
//! A [`NoiseEstimate`] follows one ciphertext through a circuit: how large its slots can be, and the standard
//! deviation of the error of a slot (a complex number, in units of the message). Coefficients with independent errors
//! of variance V give every slot an error of variance N V / scale^2 and, by the central limit theorem, nearly normal
//! (A. Costache, B. R. Curtis, E. Hales, S. Murphy, T. Ogilvie, R. Player, *On the precision loss in approximate
//! homomorphic encryption*, SAC 2023, section 3).
//!
//! | step | variance V per coefficient, or what happens to slots |
//! |---|---|
//! | encode | 1/12 |
//! | encrypt, secret key | eta/2 |
//! | encrypt, public key | eta/2 (1 + 4N/3) |
//! | rescale | (1 + 2N/3)/12 |
//! | key switching | [`Decomposed::noise_variance`] |
//! | sum | deviations add (errors may be dependent) |
//! | product | \|z1\| e2 + \|z2\| e1 + 2 e1 e2, deviations likewise |
//!
//! Sums of deviations hold for dependent errors too, as in x + x or x * x, and are loose by up to sqrt(k) for k
//! independent summands; [`NoiseEstimate::sum_independent`] is for those. Errors of different steps are taken as
//! independent of each other. [`NoiseEstimate::error_bound`] holds for all slots but with probability 2^-64 under
//! this model. It is a model, not a proof. Doubles are accounted for where a message is encoded, by their relative
//! error in the mean over all slots.

use super::Params;
use crate::rlwe::Decomposed;
use crate::sample::ERROR_ETA;

/// -ln of the probability with which a bound may fail.
const LN_INVERSE_FAILURE: f64 = 64.0 * core::f64::consts::LN_2;
/// Variance of the rounding of one coefficient.
const ROUNDING: f64 = 1.0 / 12.0;

/// What is known of the slots of a ciphertext without looking at it.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseEstimate {
    params: Params,
    /// The largest |z| of a slot without error.
    size: f64,
    /// The standard deviation of the error of a slot.
    deviation: f64,
    scale: f64,
    limbs: usize,
}

impl NoiseEstimate {
    /// A message with slots of at most `size`, encoded at this scale and encrypted with the secret key.
    #[must_use]
    pub fn secret_key(params: &Params, size: f64, limbs: usize, scale: f64) -> Self {
        Self::fresh(params, size, limbs, scale, f64::from(ERROR_ETA) / 2.0)
    }

    /// The same, encrypted with the public key.
    #[must_use]
    pub fn public_key(params: &Params, size: f64, limbs: usize, scale: f64) -> Self {
        let parts = 1.0 + 4.0 * params.n() as f64 / 3.0;
        Self::fresh(params, size, limbs, scale, f64::from(ERROR_ETA) / 2.0 * parts)
    }

    /// The same, encoded and not encrypted.
    #[must_use]
    pub fn plaintext(params: &Params, size: f64, limbs: usize, scale: f64) -> Self {
        Self::fresh(params, size, limbs, scale, 0.0)
    }

    fn fresh(params: &Params, size: f64, limbs: usize, scale: f64, variance: f64) -> Self {
        let mut fresh = Self { params: params.clone(), size, deviation: 0.0, scale, limbs };
        fresh.disturb(variance + ROUNDING);
        // Doubles: once when encoding, once when decoding; the mean over all slots.
        fresh.deviation = fresh.deviation.hypot(2.0 * params.embedding().relative_deviation() * size);
        fresh
    }

    /// Adds an independent error of this variance per coefficient.
    fn disturb(&mut self, variance: f64) {
        let slot = (self.params.n() as f64 * variance).sqrt() / self.scale;
        self.deviation = self.deviation.hypot(slot);
    }

    /// The largest |z| of a slot without error.
    #[must_use]
    pub fn size(&self) -> f64 {
        self.size
    }

    /// The standard deviation of the error of a slot, as a complex number.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.deviation
    }

    /// The scale.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The number of limbs.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.limbs
    }

    /// A bound on |error| over all slots that fails with probability at most 2^-64 in the model.
    #[must_use]
    pub fn error_bound(&self) -> f64 {
        // A complex normal error exceeds r deviations with probability exp(-r^2).
        self.deviation * (LN_INVERSE_FAILURE + (self.params.slots() as f64).ln()).sqrt()
    }

    /// Bits after the binary point that are right in every slot: -log2 of the bound.
    #[must_use]
    pub fn precision(&self) -> f64 {
        -self.error_bound().log2()
    }

    /// Whether slots and errors fit the modulus: scale (size + bound) below Q/2 in every coefficient.
    #[must_use]
    pub fn fits(&self) -> bool {
        // A coefficient is a mean of slots, so it is at most as large as they are.
        ((self.size + self.error_bound()) * self.scale).log2() < self.params.rlwe().log2_q(self.limbs) - 1.0
    }

    /// The sum or difference, whatever the errors have in common.
    #[must_use]
    pub fn sum(&self, other: &Self) -> Self {
        let deviation = self.deviation + other.deviation;
        Self { size: self.size + other.size, deviation, limbs: self.limbs.min(other.limbs), ..self.clone() }
    }

    /// The sum or difference of two ciphertexts with independent errors.
    #[must_use]
    pub fn sum_independent(&self, other: &Self) -> Self {
        Self { deviation: self.deviation.hypot(other.deviation), ..self.sum(other) }
    }

    /// The product, whatever the errors have in common; relinearisation is a step of its own.
    #[must_use]
    pub fn product(&self, other: &Self) -> Self {
        let (a, b) = (self.deviation, other.deviation);
        Self {
            size: self.size * other.size,
            deviation: self.size * b + other.size * a + 2.0 * a * b,
            scale: self.scale * other.scale,
            limbs: self.limbs.min(other.limbs),
            ..self.clone()
        }
    }

    /// After one key switching: a relinearisation, rotation or conjugation.
    #[must_use]
    pub fn key_switched(&self) -> Self {
        let mut switched = self.clone();
        switched.disturb(Decomposed::noise_variance(self.params.rlwe(), self.limbs));
        switched
    }

    /// After rescaling.
    ///
    /// # Panics
    /// When only one limb is left.
    #[must_use]
    pub fn rescaled(&self) -> Self {
        assert!(self.limbs > 1, "the last prime cannot be divided out");
        let scale = self.scale / self.params.last_prime(self.limbs);
        let mut rescaled = Self { scale, limbs: self.limbs - 1, ..self.clone() };
        rescaled.disturb(ROUNDING * (1.0 + 2.0 * self.params.n() as f64 / 3.0));
        rescaled
    }

    /// After multiplication with a number known exactly.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        let factor = factor.abs();
        Self { size: self.size * factor, deviation: self.deviation * factor, ..self.clone() }
    }

    /// With fewer limbs.
    #[must_use]
    pub fn dropped_to(&self, limbs: usize) -> Self {
        Self { limbs: limbs.min(self.limbs), ..self.clone() }
    }
}
