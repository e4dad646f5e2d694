//! The server's side: one masked reply per output polynomial, and the mask it keeps.
//!
//! Cost, per limb: three transforms of length N (u forward; a' and M back) and two pointwise products, whatever the
//! layer's size: the hint has swallowed the weights. u and the errors are the same small integers in every limb.

use rand_core::CryptoRng;

use super::{Hint, PublicKey, Reply};
use crate::error::HeError;
use crate::params::Params;
use crate::poly::{Coeff, Ntt};
use crate::rns::RnsPoly;
use crate::seed::Seed;

/// M = pk_b * u + e' for one output polynomial, as coefficients: what the server adds to its share of that output.
/// One-time material: neither `Clone` nor `Copy`, wiped on drop.
#[derive(Debug)]
pub struct ServerMask(RnsPoly<Coeff>);

impl ServerMask {
    /// The N coefficients, residues modulo the prime of this limb.
    ///
    /// # Panics
    /// When there is no such limb.
    #[must_use]
    pub fn residues(&self, limb: usize) -> &[u64] {
        self.0.limb(limb).coefficients()
    }

    /// Adds fresh noise of the server's own to every coefficient: bounded, smooth, of standard deviation 2^log2_sigma
    /// (see [`crate::sample::dither`]). It hides what the client knows of the noise in an output, in proportion to its size; and
    /// from 2^11 on it is the large e' that an output asks for whose server share is revealed. Where few coefficients are
    /// used, drawing a dither for these alone is cheaper and as good.
    ///
    /// # Errors
    /// [`HeError::Dither`] when it does not fit the modulus; the mask is then unchanged.
    pub fn add_dither<R: CryptoRng + ?Sized>(
        &mut self,
        params: &Params,
        log2_sigma: f64,
        rng: &mut R,
    ) -> Result<(), HeError> {
        let noise = params.dither(rng, log2_sigma, self.0.n())?;
        for ((limb, modulus), noise) in self.0.limbs_mut().iter_mut().zip(params.moduli()).zip(noise.iter()) {
            for (word, &extra) in limb.words_mut().iter_mut().zip(noise) {
                *word = modulus.add(*word, extra);
            }
        }
        Ok(())
    }

    /// A mask of the caller's making: for tests that plant faults.
    #[cfg(test)]
    pub(super) fn planted(poly: RnsPoly<Coeff>) -> Self {
        Self(poly)
    }

    /// The mask as a polynomial, to add products to it.
    #[must_use]
    pub fn into_poly(self) -> RnsPoly<Coeff> {
        self.0
    }
}

/// One output polynomial's reply a' = H + pk_a * u + e, rounded to t bits, and the mask M = pk_b * u + e'.
///
/// The seed is consumed and must be fresh for every (bundle, layer, group, output polynomial): the same u for two hints
/// gives the client their difference, hence the weights. Derive it with [`Seed::fork`] from one seed per bundle. The
/// time does not depend on the weights, zero weights included.
///
/// # Errors
/// [`HeError::Bits`] unless 1 <= t <= bits(q) and t <= 62.
///
/// # Panics
/// When the hint or a key is of another ring than `params`.
pub fn masked_reply(
    params: &Params,
    hint: &Hint,
    pk_a: &RnsPoly<Ntt>,
    pk_b: &PublicKey,
    t: u32,
    seed: Seed,
) -> Result<(Reply, ServerMask), HeError> {
    Reply::check_bits(params, t)?;
    let u = RnsPoly::ternary(params, &mut seed.fork("u", &[]).stream()).into_ntt(params);

    let mut answer = pk_a.mul(params, &u);
    answer += hint.values();
    let mut answer = answer.into_coeff(params);
    answer += &RnsPoly::error(params, &mut seed.fork("error of the reply", &[]).stream());

    let mut mask = pk_b.values().mul(params, &u).into_coeff(params);
    mask += &RnsPoly::error(params, &mut seed.fork("error of the mask", &[]).stream());
    Ok((Reply::round(params, t, &answer), ServerMask(mask)))
}
