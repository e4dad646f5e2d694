//! A decoding that may be published.
//!
//! What a CKKS decryption shows beyond the message is its noise, and noise known exactly gives the key away (B. Li,
//! D. Micciancio, EUROCRYPT 2021). [`Params::decode_safe`] hides it: to every coefficient of the decrypted polynomial
//! it adds a discrete Gaussian of width
//!
//! sigma >= sqrt(24 tau) 2^(s/2) B, B = bound on the Euclidean norm of the noise's coefficients,
//!
//! for s bits of statistical security over tau decryptions (B. Li, D. Micciancio, M. Schultz, J. Sorrell, *Securing
//! approximate homomorphic encryption using differential privacy*, CRYPTO 2022; the same width, with B = sqrt(N)
//! times a bound on coefficients, is what OpenFHE uses). Slots are then rounded to multiples of 2^-bits.
//!
//! **What is promised.** Take two polynomials whose coefficients differ by at most B in the Euclidean norm: a
//! message, and the same with its noise. The distributions of what this function makes of them have Kullback–Leibler
//! divergence at most B^2 / 2 sigma^2 <= 2^-s / (48 tau), because a discrete Gaussian hides a shift as a continuous
//! one does (C. Canonne, G. Kamath, T. Steinke, NeurIPS 2020, proposition 5) and all that follows, decoding and
//! rounding, looks at nothing else. Over tau decryptions under one key that is at most 2^-s / 48: a view of all of
//! them is that near to a view of exact results, which tell nothing of the key. So with an IND-CPA secure scheme the
//! decryptions are IND-CPA-D secure with s bits of statistical security in the sense of the paper.
//!
//! **On what conditions.** B bounds the noise of *every* input that an adversary may cause to be decrypted: it comes
//! from a [`NoiseEstimate`] of the circuit that was really evaluated, with sizes that inputs really keep to.
//! Estimates from typical inputs, or measured, are not enough (Q. Guo, D. Nabokov, E. Suvanto, T. Johansson, *Key
//! recovery attacks on approximate homomorphic encryption with non-worst-case noise flooding countermeasures*, USENIX
//! Security 2024). The bound of an estimate holds in its model, but with probability 2^-64. Ciphertexts that do not
//! come from the stated circuit are not covered: a decryption oracle for arbitrary ciphertexts breaks the scheme,
//! flooding or not. tau counts all decryptions under one key.
//!
//! **What it costs.** Beside the bits that the bound of the estimate leaves by itself
//! ([`NoiseEstimate::precision`]), a published value loses
//!
//! s/2 + log2(24 tau)/2 + log2(N)/2 + log2(r) + 1 to 2 bits, r = sqrt(ln(2^80 N/2)), log2(r) about 3:
//!
//! the width; the sqrt(N) by which a slot, a sum over N coefficients, has more flooding than a coefficient, while the
//! bound on their norm is that of one slot; the tail of the flooding over all slots; half a step of rounding, and the
//! width rounded up to a power of two. At s = 40, tau = 1 and N = 8192 these are 20 + 2.3 + 6.5 + 3 + 1 to 2: about 33
//! bits. The bound, too, is above a typical error, by 3 bits for a fresh ciphertext and by 5 after a rescaling or key
//! switching. So a scale of 2^40 leaves nothing; a larger scale in the last multiplication, opened before it is
//! rescaled, leaves more. Bits that cannot be had are refused.

use super::cipher::{Plaintext, equal_scales};
use super::complex::Complex;
use super::estimate::{NoiseEstimate, normal_radius};
use super::{Params, gauss};
use crate::error::HeError;
use crate::poly::Poly;
use crate::scratch::Wiped;
use crate::seed::Seed;

/// How much is promised about published decodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flooding {
    /// s: bits of statistical security.
    pub statistical_bits: u32,
    /// tau: how many decryptions under one key will ever be published.
    pub decryptions: u64,
}

impl Flooding {
    /// log2 of the width sigma = 2^k of the noise per coefficient that hides this ciphertext's.
    ///
    /// # Errors
    /// [`HeError::Bits`] when it is above 110, also for an estimate whose bound is no finite number.
    pub fn log2_sigma(&self, noise: &NoiseEstimate, n: usize) -> Result<u32, HeError> {
        // The mean square of the slots is the sum of squares of the coefficients.
        let bound = noise.error_bound() * noise.scale();
        let too_wide =
            |bits| HeError::Bits { what: "a flooding noise", bits, least: 0, most: gauss::MOST_LOG2 };
        // Estimates are made of finite sizes, but their products may overflow. Without a bound no width hides anything: a
        // NaN must not end up as the narrowest.
        if !(bound.is_finite() && bound >= 0.0) {
            return Err(too_wide(u32::MAX));
        }
        let factor = (24.0 * self.decryptions.max(1) as f64).sqrt();
        let width = |bound: f64| {
            let log2 = (factor * bound).log2() + f64::from(self.statistical_bits) / 2.0;
            log2.ceil().max(0.0)
        };
        let mut log2 = width(bound);
        while log2 <= f64::from(gauss::MOST_LOG2) {
            // A wide Gaussian hides one coarse unit less in every coefficient.
            let coarse = (log2 - f64::from(gauss::EXACT_LOG2)).exp2();
            let slack = if coarse > 1.0 { (n as f64).sqrt() * coarse } else { 0.0 };
            let needed = width(bound + slack);
            if needed <= log2 {
                return Ok(log2 as u32);
            }
            log2 = needed;
        }
        Err(too_wide(log2.min(f64::from(u32::MAX)) as u32))
    }

    /// The bits after the binary point that a decoding with this flooding can be rounded to: half a step covers noise
    /// and flooding in every slot, but with probability 2^-64 in the model. Negative when not even whole numbers are
    /// left.
    ///
    /// # Errors
    /// As [`Flooding::log2_sigma`].
    pub fn possible_bits(&self, params: &Params, noise: &NoiseEstimate) -> Result<f64, HeError> {
        let sigma = f64::from(self.log2_sigma(noise, params.n())?).exp2();
        let flooding = sigma * (params.n() as f64).sqrt() * normal_radius(params.slots()) / noise.scale();
        Ok(-1.0 - (noise.error_bound() + flooding).log2())
    }
}

impl Params {
    /// The values of a decrypted plaintext, flooded and rounded to multiples of 2^-bits: safe to publish on the
    /// conditions of the module essay. Real and imaginary parts are right to within 2^-bits. The seed must be fresh
    /// and is used up.
    ///
    /// # Errors
    /// [`HeError::Precision`] when noise and flooding reach half of 2^-bits, [`HeError::UnequalScales`] when the
    /// estimate is of another scale, and so of another ciphertext, [`HeError::Overflow`] when message, noise and flooding
    /// together may not fit the modulus; as [`Flooding::log2_sigma`].
    ///
    /// # Panics
    /// When the plaintext or the estimate is of other parameters.
    #[expect(clippy::needless_pass_by_value, reason = "flooding noise must not be used again")]
    pub fn decode_safe(
        &self,
        decrypted: &Plaintext,
        noise: &NoiseEstimate,
        flooding: &Flooding,
        bits: u32,
        seed: Seed,
    ) -> Result<Vec<Complex>, HeError> {
        assert!(noise.params() == self, "an estimate for other parameters");
        equal_scales(decrypted.scale, noise.scale())?;
        let possible = flooding.possible_bits(self, noise)?;
        // Comparisons stand so that a NaN fails them.
        let holds = f64::from(bits) <= possible;
        if !holds {
            return Err(HeError::Precision { bits, possible });
        }
        let log2_sigma = flooding.log2_sigma(noise, self.n())?;
        // A coefficient is a mean of slots; a real normal number exceeds sqrt(2) r deviations as a complex one does r.
        let coefficient = (noise.size() + noise.error_bound()) * noise.scale()
            + f64::from(log2_sigma).exp2() * core::f64::consts::SQRT_2 * normal_radius(self.n());
        let log2_most = self.rlwe().log2_q(decrypted.limbs()) - 1.0;
        let fits = coefficient.log2() < log2_most;
        if !fits {
            return Err(HeError::Overflow { log2_most });
        }
        let mut stream = seed.fork("ckks: flooding", &[]).stream();
        let draws: Vec<i128> = (0..self.n()).map(|_| gauss::sample(&mut stream, log2_sigma)).collect();
        let draws = Wiped::from(draws);
        let tables = self.tables(decrypted.limbs());
        let mut poly = decrypted.poly.duplicate().into_coeff(tables);
        for limb in poly.limbs_mut() {
            let modulus = *limb.modulus();
            for (word, &draw) in Poly::words_mut(limb).iter_mut().zip(draws.iter()) {
                *word = modulus.add(*word, modulus.from_i128(draw));
            }
        }
        let step = f64::from(bits).exp2();
        let round = |x: f64| (x * step).round_ties_even() / step;
        let values = self.decode_coefficients(&poly, decrypted.scale);
        Ok(values.into_iter().map(|z| Complex::new(round(z.re), round(z.im))).collect())
    }
}
