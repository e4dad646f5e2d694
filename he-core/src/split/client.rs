//! The client's side: secret, public key, input masks, opening of replies.
//!
//! Cost in transforms of length N: two per secret and key (s; the key's error), one per mask, two per opened reply.

use rand_core::CryptoRng;

use super::reply::Reply;
use crate::error::HeError;
use crate::params::Params;
use crate::poly::{Coeff, Ntt, Poly};
use crate::wire;

/// A ternary secret s for one layer of one group of images in a bundle, as values; wiped on drop. Neither `Clone` nor
/// `Copy`.
///
/// One secret per layer, because later layers' messages depend on earlier secrets through the noise; and per group and
/// bundle, because a pair (a, s) masks one tensor once.
#[derive(Debug)]
pub struct ClientSecret(Poly<Ntt>);

impl ClientSecret {
    /// A fresh secret.
    ///
    /// # Panics
    /// Never for a valid `params`.
    pub fn generate<R: CryptoRng + ?Sized>(params: &Params, rng: &mut R) -> Self {
        Self(Poly::ternary(params.table(), rng).into_ntt(params.table()))
    }

    /// The public key -pk_a * s + e with a fresh error. One key per secret is enough; several are harmless.
    ///
    /// # Panics
    /// When `pk_a` is of another ring.
    pub fn public_key<R: CryptoRng + ?Sized>(
        &self,
        params: &Params,
        pk_a: &Poly<Ntt>,
        rng: &mut R,
    ) -> PublicKey {
        let mut key = Poly::error(params.table(), rng).into_ntt(params.table());
        key -= &pk_a.mul(params.table(), &self.0);
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
    pub fn mask<R: CryptoRng + ?Sized>(&self, params: &Params, a: &Poly<Ntt>, rng: &mut R) -> Poly<Coeff> {
        let mut mask = a.mul(params.table(), &self.0).into_coeff(params.table());
        mask += &Poly::error(params.table(), rng);
        mask
    }

    /// The client's additive share c = lift(a') * s of the layer's output, as coefficients modulo q.
    ///
    /// # Panics
    /// When the reply is of another ring.
    #[must_use]
    pub fn open(&self, params: &Params, reply: &Reply) -> Poly<Coeff> {
        reply.lift(params).into_ntt(params.table()).mul(params.table(), &self.0).into_coeff(params.table())
    }

    #[cfg(test)]
    pub(super) fn values(&self) -> &Poly<Ntt> {
        &self.0
    }
}

/// The b-half of a client's public key for one layer, as values. Public.
///
/// Wire form: N values in the order of [`crate::ntt`], each in as many bits as q has, packed by [`crate::wire`].
#[derive(Debug)]
pub struct PublicKey(Poly<Ntt>);

impl PublicKey {
    /// Bytes of the wire form: ceil(N * bits(q) / 8).
    #[must_use]
    pub fn wire_len(params: &Params) -> usize {
        (params.n() * params.modulus().bits() as usize).div_ceil(8)
    }

    /// The wire form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::pack(self.0.words(), self.0.modulus().bits())
    }

    /// Reads the wire form of a peer.
    ///
    /// # Errors
    /// [`HeError::Length`] or [`HeError::Padding`] unless the message is exact, [`HeError::OutOfRange`] unless every
    /// value is below q, [`HeError::DegenerateKey`] when all are zero (such a key would leave M without a mask).
    pub fn from_bytes(params: &Params, bytes: &[u8]) -> Result<Self, HeError> {
        let values = wire::unpack(bytes, params.n(), params.modulus().bits())?;
        if values.iter().all(|&value| value == 0) {
            return Err(HeError::DegenerateKey);
        }
        Poly::from_values(params.table(), values).map(Self)
    }

    pub(super) fn values(&self) -> &Poly<Ntt> {
        &self.0
    }
}
