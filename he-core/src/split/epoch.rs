//! Public randomness from a public label.
//!
//! All a-halves are derived by hashing: no party can choose one freely, which is what makes them uniform for the
//! other. They are sampled directly as values (the transform is a bijection, so uniform stays uniform), which saves
//! a transform each. The derivation binds the ring: the same label gives unrelated polynomials for another N or q, all
//! primes of q included. With several limbs one stream gives them one after the other.

use core::fmt;

use crate::params::Params;
use crate::poly::Ntt;
use crate::rns::RnsPoly;
use crate::seed::Seed;

/// A public 256-bit label, drawn afresh by every server process; hints belong to one epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; 32]);

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Epoch(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl Epoch {
    /// The epoch with this label. The label is public and should be fresh randomness.
    #[must_use]
    pub fn new(label: [u8; 32]) -> Self {
        Self(label)
    }

    /// The label.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// a_j of input polynomial `poly` of a layer. Every group of images and every bundle uses the same one, each with a
    /// secret of its own.
    #[must_use]
    pub fn public_a(&self, params: &Params, layer: u32, poly: u32) -> RnsPoly<Ntt> {
        self.derive(params, "split: a of an input polynomial", &[u64::from(layer), u64::from(poly)])
    }

    /// pk_a of a layer: the a-half of the client's public key for that layer.
    #[must_use]
    pub fn public_key_a(&self, params: &Params, layer: u32) -> RnsPoly<Ntt> {
        self.derive(params, "split: a of a public key", &[u64::from(layer)])
    }

    fn derive(&self, params: &Params, label: &'static str, place: &[u64]) -> RnsPoly<Ntt> {
        let primes = params.moduli().iter().map(|q| q.value());
        let ring: Vec<u64> = core::iter::once(params.n() as u64).chain(primes).collect();
        let ring = Seed::from_bytes(self.0).fork("epoch", &ring);
        RnsPoly::uniform(params, &mut ring.fork(label, place).stream())
    }
}
