//! The server's side: one masked reply per output polynomial, and the mask it keeps.
//!
//! Cost: three transforms of length N (u forward; a' and M back) and two pointwise products, whatever the layer's size:
//! the hint has swallowed the weights.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Hint, PublicKey, Reply};
use crate::error::HeError;
use crate::params::Params;
use crate::poly::{Coeff, Ntt, Poly};
use crate::sample;
use crate::seed::Seed;

/// M = pk_b * u + e' for one output polynomial, as coefficients: what the server adds to its share of that output.
/// One-time material: neither `Clone` nor `Copy`, wiped on drop.
#[derive(Debug)]
pub struct ServerMask(Poly<Coeff>);

impl ServerMask {
    /// The N coefficients, residues modulo q.
    #[must_use]
    pub fn coefficients(&self) -> &[u64] {
        self.0.coefficients()
    }

    /// Adds fresh noise of the server's own to every coefficient: bounded, smooth, of standard deviation 2^log2_sigma
    /// (see [`sample::dither`]). It hides what the client knows of the noise in an output, in proportion to its size; and
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
        let mut noise = Zeroizing::new(vec![0; self.0.n()]);
        sample::dither(rng, params.modulus(), log2_sigma, &mut noise)?;
        for (word, &extra) in self.0.words_mut().iter_mut().zip(noise.iter()) {
            *word = params.modulus().add(*word, extra);
        }
        Ok(())
    }

    /// Another mask in this one's place: for tests that plant faults.
    #[cfg(test)]
    pub(super) fn overwrite(&mut self, words: &[u64]) {
        self.0.words_mut().copy_from_slice(words);
    }

    /// The mask as a polynomial, to add products to it.
    #[must_use]
    pub fn into_poly(self) -> Poly<Coeff> {
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
/// [`HeError::Bits`] unless 1 <= t <= bits(q).
///
/// # Panics
/// When the hint or a key is of another ring than `params`.
pub fn masked_reply(
    params: &Params,
    hint: &Hint,
    pk_a: &Poly<Ntt>,
    pk_b: &PublicKey,
    t: u32,
    seed: Seed,
) -> Result<(Reply, ServerMask), HeError> {
    Reply::check_bits(params, t)?;
    let table = params.table();
    let u = Poly::ternary(table, &mut seed.fork("u", &[]).stream()).into_ntt(table);

    let mut answer = pk_a.mul(table, &u);
    answer += hint.values();
    let mut answer = answer.into_coeff(table);
    answer += &Poly::error(table, &mut seed.fork("error of the reply", &[]).stream());

    let mut mask = pk_b.values().mul(table, &u).into_coeff(table);
    mask += &Poly::error(table, &mut seed.fork("error of the mask", &[]).stream());
    Ok((Reply::round(params, t, &answer), ServerMask(mask)))
}
