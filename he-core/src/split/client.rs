//! The client's side: secret, public key, input masks, opening of replies.
//!
//! Cost in transforms of length N, per limb: two per secret and key (s; the key's error), one per mask, two per opened
//! reply. Secrets and errors are the same small integers in every limb.

use rand_core::CryptoRng;

use super::reply::Reply;
use crate::error::HeError;
use crate::params::Params;
use crate::poly::{Coeff, Ntt, Poly};
use crate::rns::RnsPoly;
use crate::wire;

/// A ternary secret s for one layer of one group of images in a bundle, as values; wiped on drop. Neither `Clone` nor
/// `Copy`.
///
/// One secret per layer, because later layers' messages depend on earlier secrets through the noise; and per group and
/// bundle, because a pair (a, s) masks one tensor once.
#[derive(Debug)]
pub struct ClientSecret(RnsPoly<Ntt>);

impl ClientSecret {
    /// A fresh secret.
    ///
    /// # Panics
    /// Never for a valid `params`.
    pub fn generate<R: CryptoRng + ?Sized>(params: &Params, rng: &mut R) -> Self {
        Self(RnsPoly::ternary(params, rng).into_ntt(params))
    }

    /// The public key -pk_a * s + e with a fresh error. One key per secret is enough; several are harmless.
    ///
    /// # Panics
    /// When `pk_a` is of another ring.
    pub fn public_key<R: CryptoRng + ?Sized>(
        &self,
        params: &Params,
        pk_a: &RnsPoly<Ntt>,
        rng: &mut R,
    ) -> PublicKey {
        let mut key = RnsPoly::error(params, rng).into_ntt(params);
        key -= &pk_a.mul(params, &self.0);
        PublicKey(key)
    }

    /// The mask r = a * s + e of one input polynomial, with a fresh error, as coefficients.
    ///
    /// Call this **at most once for each a**: two inputs masked with the same (a, s) give the server their difference up
    /// to two small errors. The polynomials of [`super::Epoch::public_a`] serve many groups and bundles; what makes each
    /// pair new is a secret of its own for every layer, group of images and bundle.
    ///
    /// # Panics
    /// When `a` is of another ring.
    #[must_use = "an unused mask is a wasted pair (a, s)"]
    pub fn mask<R: CryptoRng + ?Sized>(
        &self,
        params: &Params,
        a: &RnsPoly<Ntt>,
        rng: &mut R,
    ) -> RnsPoly<Coeff> {
        let mut mask = a.mul(params, &self.0).into_coeff(params);
        mask += &RnsPoly::error(params, rng);
        mask
    }

    /// The client's additive share c = lift(a') * s of the layer's output, as coefficients modulo q.
    ///
    /// # Panics
    /// When the reply is of another ring.
    #[must_use]
    pub fn open(&self, params: &Params, reply: &Reply) -> RnsPoly<Coeff> {
        reply.lift(params).into_ntt(params).mul(params, &self.0).into_coeff(params)
    }

    #[cfg(test)]
    pub(super) fn values(&self) -> &RnsPoly<Ntt> {
        &self.0
    }
}

/// The b-half of a client's public key for one layer, as values. Public.
///
/// Wire form: limb after limb, the N values in the order of [`crate::ntt`], each in as many bits as the limb's prime has,
/// packed by [`crate::wire`]. Every limb begins with a new byte.
#[derive(Debug)]
pub struct PublicKey(RnsPoly<Ntt>);

impl PublicKey {
    /// Bytes of the wire form: ceil(N * bits / 8), summed over the limbs' primes.
    #[must_use]
    pub fn wire_len(params: &Params) -> usize {
        params.moduli().iter().map(|q| (params.n() * q.bits() as usize).div_ceil(8)).sum()
    }

    /// The wire form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for limb in self.0.limbs() {
            wire::pack_into(limb.words(), limb.modulus().bits(), &mut bytes);
        }
        bytes
    }

    /// Reads the wire form of a peer.
    ///
    /// # Errors
    /// [`HeError::Length`] or [`HeError::Padding`] unless the message is exact, [`HeError::OutOfRange`] unless every
    /// value is below its prime, [`HeError::DegenerateKey`] when all of a limb are zero (such a key would leave that limb of
    /// M without a mask).
    pub fn from_bytes(params: &Params, bytes: &[u8]) -> Result<Self, HeError> {
        let expected = Self::wire_len(params);
        if bytes.len() != expected {
            return Err(HeError::Length { what: "a public key", expected, found: bytes.len() });
        }
        let mut rest = bytes;
        let mut limbs = Vec::with_capacity(params.limbs());
        for modulus in params.moduli() {
            let (own, more) = rest.split_at((params.n() * modulus.bits() as usize).div_ceil(8));
            rest = more;
            let values = wire::unpack(own, params.n(), modulus.bits())?;
            if values.iter().all(|&value| value == 0) {
                return Err(HeError::DegenerateKey);
            }
            limbs.push(values);
        }
        RnsPoly::checked(params, limbs, Poly::from_values).map(Self)
    }

    pub(super) fn values(&self) -> &RnsPoly<Ntt> {
        &self.0
    }
}
