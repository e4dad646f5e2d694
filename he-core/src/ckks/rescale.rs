//! Rescaling, and bringing ciphertexts to the same limbs and scale.
//!
//! | operation | phase | scale | limbs |
//! |---|---|---|---|
//! | [`Params::rescale`], [`Params::rescaled`] | divided by the last prime q, rounded | / q | one less |
//! | [`Params::drop_to`] | stays, modulo fewer primes | stays | fewer |
//! | [`Params::bring`] | the same message at a given scale and number of limbs | as asked | as asked |
//! | [`Params::align`] | two ciphertexts that can be added | the same | the same |
//!
//! Rescaling is that of the residue form of CKKS (J. H. Cheon, K. Han, A. Kim, M. Kim, Y. Song, *A full RNS variant
//! of approximate homomorphic encryption*, SAC 2018, section 4), with the centred remainder, so that it rounds: the
//! error is (1 + |s|_1-ish)/2 per coefficient, variance (1 + 2N/3)/12.
//!
//! Two ciphertexts that took different ways have scales that differ by a few ratios of primes. [`Params::bring`]
//! corrects a scale while it drops a prime q: it multiplies with the whole number k = round(wanted q / scale) and
//! rescales (the level adjustment of A. Kim, A. Papadimitriou, Y. Polyakov, CT-RSA 2022). The scale comes out as
//! scale k / q, exactly what is stored, and is the wanted one up to 1/(2k).

use super::Params;
use super::cipher::{Ciphertext, SCALE_TOLERANCE, equal_scales};
use crate::error::HeError;
use crate::rlwe;

impl Params {
    /// Divides by the last prime with rounding: one limb less, the scale divided by the prime.
    ///
    /// # Errors
    /// [`HeError::Limbs`] when only one limb is left, [`HeError::ScaleRange`] when the scale is so small that nothing is
    /// left of it.
    ///
    /// # Panics
    /// When the ciphertext is of other parameters.
    pub fn rescale(&self, ciphertext: &mut Ciphertext) -> Result<(), HeError> {
        let limbs = ciphertext.limbs();
        let scale = self.rescaled_scale(ciphertext)?;
        let (rescaling, tables) = (self.rescaling(limbs), self.tables(limbs));
        ciphertext.inner.map_parts(|part| rescaling.drop_last_ntt(part, tables));
        ciphertext.scale = scale;
        Ok(())
    }

    /// As [`Params::rescale`], into a new ciphertext: cheaper than rescaling a copy.
    ///
    /// # Errors
    /// As [`Params::rescale`].
    ///
    /// # Panics
    /// When the ciphertext is of other parameters.
    pub fn rescaled(&self, ciphertext: &Ciphertext) -> Result<Ciphertext, HeError> {
        let limbs = ciphertext.limbs();
        let scale = self.rescaled_scale(ciphertext)?;
        let (rescaling, tables) = (self.rescaling(limbs), self.tables(limbs));
        let parts = ciphertext.inner.parts().iter();
        let parts = parts.map(|part| rescaling.dropped_last_ntt(part, tables)).collect();
        Ok(Ciphertext { inner: rlwe::Ciphertext::from_parts(parts)?, scale })
    }

    /// The scale after the last prime is gone.
    fn rescaled_scale(&self, ciphertext: &Ciphertext) -> Result<f64, HeError> {
        let limbs = ciphertext.limbs();
        if limbs < 2 {
            return Err(HeError::Limbs { needed: 2, found: limbs });
        }
        self.product_scale(ciphertext.scale / self.last_prime(limbs), 1.0, limbs - 1)
    }

    /// The same message modulo the first `limbs` primes; nothing happens if there are no more.
    ///
    /// # Errors
    /// [`HeError::Limbs`] when the ciphertext has fewer, or for 0; [`HeError::ScaleRange`] when the scale does not fit
    /// the smaller modulus. The ciphertext is then as it was.
    ///
    /// # Panics
    /// When the ciphertext has more limbs than the parameters.
    pub fn drop_to(&self, ciphertext: &mut Ciphertext, limbs: usize) -> Result<(), HeError> {
        if limbs == 0 || limbs > ciphertext.limbs() {
            return Err(HeError::Limbs { needed: limbs, found: ciphertext.limbs() });
        }
        self.product_scale(ciphertext.scale, 1.0, limbs)?;
        ciphertext.inner.truncate(limbs);
        Ok(())
    }

    /// The same message at this scale (within [`SCALE_TOLERANCE`]) and number of limbs. An equal scale costs nothing;
    /// a scale that is larger by 2^40 or more a multiplication by a whole number; any other at least one prime above
    /// `limbs`.
    ///
    /// # Errors
    /// [`HeError::Limbs`] when there are fewer limbs than asked for; [`HeError::UnequalScales`] when the scales
    /// differ and no prime is left to correct them with, or [`HeError::ScaleRange`] when the scale or the
    /// correction does not fit the modulus.
    ///
    /// # Panics
    /// When the ciphertext is of other parameters.
    pub fn bring(&self, ciphertext: &mut Ciphertext, limbs: usize, scale: f64) -> Result<(), HeError> {
        let found = ciphertext.limbs();
        if limbs == 0 || found < limbs {
            return Err(HeError::Limbs { needed: limbs, found });
        }
        if equal_scales(ciphertext.scale, scale).is_ok() {
            return self.drop_to(ciphertext, limbs);
        }
        // As few primes as make the rounding of the factor harmless.
        for spent in 0..=found - limbs {
            let primes: f64 = (limbs + 1..=limbs + spent).map(|limbs| self.last_prime(limbs)).product();
            let factor = (scale * primes / ciphertext.scale).round();
            let rounded = ciphertext.scale * factor / primes;
            if factor < 1.0 || (rounded / scale - 1.0).abs() > SCALE_TOLERANCE {
                continue;
            }
            let product = self.product_scale(ciphertext.scale, factor, limbs + spent)?;
            self.drop_to(ciphertext, limbs + spent)?;
            let residues = self.residues(factor, limbs + spent)?;
            ciphertext.inner.parts_mut().iter_mut().for_each(|part| part.scale(&residues));
            ciphertext.scale = product;
            return (0..spent).try_for_each(|_| self.rescale(ciphertext));
        }
        Err(HeError::UnequalScales { left: ciphertext.scale, right: scale })
    }

    /// Brings two ciphertexts to the same limbs and scale, at the cost of one prime of both at worst.
    ///
    /// # Errors
    /// As [`Params::bring`].
    ///
    /// # Panics
    /// When a ciphertext is of other parameters.
    pub fn align(&self, a: &mut Ciphertext, b: &mut Ciphertext) -> Result<(), HeError> {
        let limbs = a.limbs().min(b.limbs());
        // The one with more limbs moves; among equals the one with the smaller scale.
        let (fixed, moved) = if (a.limbs(), -a.scale) < (b.limbs(), -b.scale) { (a, b) } else { (b, a) };
        match self.bring(moved, limbs, fixed.scale) {
            Err(HeError::UnequalScales { .. }) if limbs > 1 => {
                self.drop_to(fixed, limbs - 1)?;
                self.bring(moved, limbs - 1, fixed.scale)
            }
            result => result,
        }
    }
}
