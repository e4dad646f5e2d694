//! Predicted precision: a bound on the error of slots that needs neither keys nor values, only the circuit.
//!
//! A [`NoiseEstimate`] follows one ciphertext through a circuit: how large its slots can be, the standard deviation of
//! the error of a slot (a complex number, in units of the message), and a bound on that error. Coefficients with
//! independent errors of variance V give every slot an error of variance N V / scale^2 (A. Costache, B. R. Curtis,
//! E. Hales, S. Murphy, T. Ogilvie, R. Player, *On the precision loss in approximate homomorphic encryption*, SAC 2023,
//! section 3).
//!
//! | step | variance V per coefficient, or what happens to slots | tail |
//! |---|---|---|
//! | encode | 1/12 | normal |
//! | encode in integers | 1/12 | normal; [`Params::wide_encoding_error`] for certain |
//! | encrypt, secret key | eta/2 | normal |
//! | encrypt, public key | eta/2 (1 + 4N/3) | product |
//! | rescale | (1 + 2N/3)/12 | product |
//! | key switching | [`Decomposed::noise_variance`] | product |
//! | sum | deviations and bounds add (errors may be dependent) | |
//! | product | deviation \|z1\| d2 + \|z2\| d1 + 2 d1 d2, bound \|z1\| b2 + \|z2\| b1 + b1 b2 | |
//!
//! **Tails.** A slot is a value at a root of unity: a sum over N coefficients, nearly a complex normal number x, which
//! exceeds r deviations with probability exp(-r^2). But an error polynomial times the secret, or a digit times the error
//! of a key, has in every slot the *product* x y of two such numbers, and that exceeds r deviations with probability
//!
//! integral over t > 0 of exp(-t - r^2/t) dt = 2 r K_1(2 r), about sqrt(pi r) exp(-2 r)
//!
//! with t = |x|^2 and K_1 the modified Bessel function (DLMF 10.32.10, 10.40.2): 33 deviations where a normal error
//! needs 8. Each source of errors gets the radius of its tail at probability 2^-80 over all slots, so that 2^16 sources
//! together fail with 2^-64. Bounds are then carried on by the triangle inequality, whatever errors have in common.
//! Bounds a and b of independent errors give hypot(a, b): their tails are exp(-L (e/a)^k), k = 2 for normal errors and
//! less for products, and (x/a)^k + (y/b)^k >= 1 for x + y >= hypot(a, b) when k <= 2, by Cauchy's inequality; likewise
//! for errors x y and x' y with one secret y in common, as of several rescalings.
//!
//! Sums hold for dependent errors too, as in x + x or x * x, and are loose by up to sqrt(k) for k independent summands;
//! [`NoiseEstimate::sum_independent`] is for those. Errors of different steps are taken as independent of each other, but
//! for a common secret. [`NoiseEstimate::error_bound`] holds for all slots but with probability 2^-64 under this model.
//! It is a model, not a proof: sums over N coefficients are taken as normal. The deviation of products is meant for
//! errors that are small against messages; the bound does not rest on it. Doubles are accounted for where a message is
//! encoded, by their relative error in the mean over all slots. Wide encoding has a bound that holds for every slot and every
//! message; such a bound is carried on beside the others by the triangle inequality alone, and added at the end.

use super::Params;
use crate::rlwe::Decomposed;
use crate::sample::ERROR_ETA;

/// -ln of the probability with which the bound of one source of errors may fail.
const LN_INVERSE_FAILURE: f64 = 80.0 * core::f64::consts::LN_2;
/// Variance of the rounding of one coefficient.
const ROUNDING: f64 = 1.0 / 12.0;

/// What is known of the slots of a ciphertext without looking at it.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseEstimate {
    params: Params,
    /// The largest |z| of a slot without error.
    size: f64,
    /// The standard deviation of the error of a slot, as far as it comes of chance.
    deviation: f64,
    /// What no error of a slot exceeds that comes of chance.
    bound: f64,
    /// What the rest of the error cannot exceed.
    certain: f64,
    scale: f64,
    limbs: usize,
}

impl NoiseEstimate {
    /// A message with slots of at most `size`, encoded at this scale and encrypted with the secret key.
    ///
    /// # Panics
    /// Unless `size` is finite and not negative, `scale` finite and positive, and 1 <= limbs <= L: an estimate of
    /// anything else would promise what does not hold.
    #[must_use]
    pub fn secret_key(params: &Params, size: f64, limbs: usize, scale: f64) -> Self {
        Self::fresh(params, size, limbs, scale).disturbed(f64::from(ERROR_ETA) / 2.0, normal_radius)
    }

    /// The same, encrypted with the public key.
    ///
    /// # Panics
    /// As [`NoiseEstimate::secret_key`].
    #[must_use]
    pub fn public_key(params: &Params, size: f64, limbs: usize, scale: f64) -> Self {
        let parts = 1.0 + 4.0 * params.n() as f64 / 3.0;
        Self::fresh(params, size, limbs, scale).disturbed(f64::from(ERROR_ETA) / 2.0 * parts, product_radius)
    }

    /// The same, encoded and not encrypted.
    ///
    /// # Panics
    /// As [`NoiseEstimate::secret_key`].
    #[must_use]
    pub fn plaintext(params: &Params, size: f64, limbs: usize, scale: f64) -> Self {
        Self::fresh(params, size, limbs, scale)
    }

    /// A message encoded by [`Params::encode_wide`] and not encrypted. Decoding is not accounted for: the answer is read by
    /// [`Params::decode_wide`], or shared.
    ///
    /// # Panics
    /// As [`NoiseEstimate::secret_key`].
    #[must_use]
    pub fn plaintext_wide(params: &Params, size: f64, limbs: usize, scale: f64) -> Self {
        let certain = params.wide_encoding_error();
        Self { certain, ..Self::exact(params, size, limbs, scale) }.disturbed(ROUNDING, normal_radius)
    }

    /// The same, encrypted with the secret key.
    ///
    /// # Panics
    /// As [`NoiseEstimate::secret_key`].
    #[must_use]
    pub fn secret_key_wide(params: &Params, size: f64, limbs: usize, scale: f64) -> Self {
        Self::plaintext_wide(params, size, limbs, scale).disturbed(f64::from(ERROR_ETA) / 2.0, normal_radius)
    }

    fn exact(params: &Params, size: f64, limbs: usize, scale: f64) -> Self {
        assert!(size.is_finite() && size >= 0.0, "slots of at most {size}");
        assert!(scale.is_finite() && scale > 0.0, "a scale of {scale}");
        assert!((1..=params.limbs()).contains(&limbs), "{limbs} limbs of {}", params.limbs());
        let params = params.clone();
        Self { params, size, deviation: 0.0, bound: 0.0, certain: 0.0, scale, limbs }
    }

    fn fresh(params: &Params, size: f64, limbs: usize, scale: f64) -> Self {
        let fresh = Self::exact(params, size, limbs, scale);
        // Doubles: once when encoding, once when decoding; the mean over all slots.
        let doubles = 2.0 * params.embedding().relative_deviation() * size;
        fresh.disturbed(ROUNDING, normal_radius).with_error(doubles, normal_radius)
    }

    /// With an independent error of this variance per coefficient and this tail.
    fn disturbed(self, variance: f64, radius: fn(usize) -> f64) -> Self {
        let slot = (self.params.n() as f64 * variance).sqrt() / self.scale;
        self.with_error(slot, radius)
    }

    /// With an independent error of this deviation per slot and this tail.
    fn with_error(self, deviation: f64, radius: fn(usize) -> f64) -> Self {
        let bound = self.bound.hypot(deviation * radius(self.params.slots()));
        Self { deviation: self.deviation.hypot(deviation), bound, ..self }
    }

    /// The largest |z| of a slot without error.
    #[must_use]
    pub fn size(&self) -> f64 {
        self.size
    }

    /// The standard deviation of the error of a slot, as a complex number, that of wide encoding not counted.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.deviation
    }

    /// The parameters.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
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
        self.bound + self.certain
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
        Self {
            size: self.size + other.size,
            deviation: self.deviation + other.deviation,
            bound: self.bound + other.bound,
            certain: self.certain + other.certain,
            limbs: self.limbs.min(other.limbs),
            ..self.clone()
        }
    }

    /// The sum or difference of two ciphertexts with independent errors.
    #[must_use]
    pub fn sum_independent(&self, other: &Self) -> Self {
        let (deviation, bound) = (self.deviation.hypot(other.deviation), self.bound.hypot(other.bound));
        Self { deviation, bound, ..self.sum(other) }
    }

    /// The product, whatever the errors have in common; relinearisation is a step of its own.
    #[must_use]
    pub fn product(&self, other: &Self) -> Self {
        let (a, b) = (self.deviation, other.deviation);
        Self {
            size: self.size * other.size,
            deviation: self.size * b + other.size * a + 2.0 * a * b,
            bound: (self.size + self.certain) * other.bound
                + (other.size + other.certain) * self.bound
                + self.bound * other.bound,
            certain: self.size * other.certain + other.size * self.certain + self.certain * other.certain,
            scale: self.scale * other.scale,
            limbs: self.limbs.min(other.limbs),
            ..self.clone()
        }
    }

    /// After one key switching: a relinearisation, rotation or conjugation.
    #[must_use]
    pub fn key_switched(&self) -> Self {
        let variance = Decomposed::noise_variance(self.params.rlwe(), self.limbs);
        self.clone().disturbed(variance, product_radius)
    }

    /// After rescaling.
    ///
    /// # Panics
    /// When only one limb is left.
    #[must_use]
    pub fn rescaled(&self) -> Self {
        assert!(self.limbs > 1, "the last prime cannot be divided out");
        let scale = self.scale / self.params.last_prime(self.limbs);
        let variance = ROUNDING * (1.0 + 2.0 * self.params.n() as f64 / 3.0);
        Self { scale, limbs: self.limbs - 1, ..self.clone() }.disturbed(variance, product_radius)
    }

    /// After multiplication with a number known exactly.
    ///
    /// # Panics
    /// Unless the number is finite.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        assert!(factor.is_finite(), "slots times {factor}");
        let factor = factor.abs();
        Self {
            size: self.size * factor,
            deviation: self.deviation * factor,
            bound: self.bound * factor,
            certain: self.certain * factor,
            ..self.clone()
        }
    }

    /// With fewer limbs.
    ///
    /// # Panics
    /// For 0 limbs.
    #[must_use]
    pub fn dropped_to(&self, limbs: usize) -> Self {
        assert!(limbs > 0, "an estimate without limbs");
        Self { limbs: limbs.min(self.limbs), ..self.clone() }
    }
}

/// r with exp(-r^2) = 2^-80 / count: how many deviations none of so many complex normal numbers exceeds.
pub(super) fn normal_radius(count: usize) -> f64 {
    (LN_INVERSE_FAILURE + (count as f64).ln()).sqrt()
}

/// r with 2 r K_1(2 r) <= 2^-80 / count: the same for products of two.
fn product_radius(count: usize) -> f64 {
    product_tail_at(LN_INVERSE_FAILURE + (count as f64).ln())
}

/// r with 2 r K_1(2 r) <= exp(-l), as an equation nearly, for l >= 2: from x K_1(x) <= sqrt(pi x / 2) exp(-x) (1 + 3/8x).
fn product_tail_at(l: f64) -> f64 {
    let step = |x: f64, _| l + 0.5 * (core::f64::consts::FRAC_PI_2 * x).ln() + 3.0 / (8.0 * x);
    // A contraction by 1/2x.
    (0..40).fold(l, step) / 2.0
}

#[cfg(test)]
mod tests;
