//! The construction `bfv`: encrypted masks in coefficient encoding, products with weight polynomials, uniform masks.
//!
//! In the manner of Delphi (P. Mishra et al., USENIX Security 2020) with the encoding of Cheetah (Z. Huang et al., USENIX
//! Security 2022); the algebra, the bounds and what each side sees are in [`he_core::bfv::share`].
//!
//! | message | from | content |
//! |---|---|---|
//! | session | C | a public key per linear layer |
//! | layer | C | per group and input polynomial that is read: a seeded encryption of the masks r of its slots, 0 elsewhere |
//! | reply | S | per group and output polynomial: c1 modulo Q'; then c0 + R of every used output, images × elements |
//!
//! Masks are free here: r is the lift of ρ ([`super::masks`]), so X is the lift of Z, there are no deltas, and borders and free
//! space are encryptions of 0 that cost nothing. Plaintexts live modulo the profile's q itself, both primes at once in
//! `exact`: shares add up to W·r within one unit of Z_q.
//!
//! **Room.** The ring is chosen from the manifest alone: products of one output polynomial hold each weight of a layer once at
//! most, and a weight is at most [`MOST_WEIGHT`], so the absolute values add up to at most weights · 2^20. A model with larger
//! weights is not offered by this construction. Nothing about the private norms is told.
//!
//! **Why a layer has a secret of its own, and why it may serve all bundles of a session.** Every encryption is fresh, and r does
//! not depend on any secret. But results are right to one unit only, and that unit depends on the layer's secret; the next
//! layer's Z has it in, masked by a ρ that is encrypted. Under one secret for all layers that would be a message that
//! depends on its key; with a secret for each, layers are replaced one by one from the last to the first, all bundles
//! together, as in `docs/security.md`.

mod client;
mod server;

use conv_fast::PackingCost;
use he_core::Params;
use he_core::bfv::ShareRing;
use he_core::rlwe::{PublicKey, SecretKey, SeededCiphertext};
use he_core::sample::ERROR_ETA;
use he_core::seed::Seed;
use nn_merge::model::{Manifest, NodeSpec, OpSpec};
use rayon::prelude::*;

use super::RingFacts;
use crate::error::{PeerResult, ProtocolError};
use crate::plan::{LinearPlan, Plan};

pub use client::{client_keys, client_open};
pub use server::{Weights, server_reply};

/// The largest absolute value of a weight.
pub const MOST_WEIGHT: i32 = 1 << 20;

/// The ring of a network.
#[derive(Debug)]
pub struct Scheme {
    ring: ShareRing,
    /// The nodes of the linear layers, ascending.
    layers: Vec<usize>,
}

impl Scheme {
    /// The smallest ring with room for every layer of a network.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for layers that are too large.
    pub fn new(params: &Params, manifest: &Manifest) -> Result<Self, ProtocolError> {
        let linear = |(at, node): (usize, &NodeSpec)| match &node.op {
            OpSpec::Linear { geometry, .. } => Some((at, geometry.weights_len())),
            _ => None,
        };
        let (layers, weights): (Vec<usize>, Vec<usize>) =
            manifest.nodes.iter().enumerate().filter_map(linear).unzip();
        let most = weights.into_iter().max().unwrap_or(1).max(1);
        let log2_norm = (most as f64 * f64::from(MOST_WEIGHT)).log2();
        let ring = ShareRing::new(params.moduli(), log2_norm).map_err(|error| {
            ProtocolError::Caller(format!(
                "the network's layers are too large for the preprocessing `bfv`: {error}"
            ))
        })?;
        Ok(Self { ring, layers })
    }

    /// The ring.
    #[must_use]
    pub fn ring(&self) -> &ShareRing {
        &self.ring
    }

    /// Its figures.
    #[must_use]
    pub fn facts(&self) -> RingFacts {
        let rlwe = self.ring.rlwe();
        let log2_ciphertext = rlwe.log2_q(rlwe.limbs());
        let sigma = (f64::from(ERROR_ETA) / 2.0).sqrt();
        RingFacts {
            degree: rlwe.n(),
            log2_ciphertext,
            log2_reply: rlwe.log2_q(self.ring.reply_moduli().len()),
            security_bits: he_core::security::floor(rlwe.n(), log2_ciphertext, sigma),
            log2_failure: self.ring.log2_failure(),
        }
    }

    /// Replies cost c1's coefficients, and input polynomials a seeded ciphertext; known zeros cost nothing.
    pub(super) fn packing(&self) -> (usize, PackingCost) {
        let bits = |moduli: &[he_core::Modulus]| moduli.iter().map(he_core::Modulus::bits).sum();
        let rlwe = self.ring.rlwe();
        let cost = PackingCost {
            reply_bits: bits(self.ring.reply_moduli()),
            zero_bits: 0,
            key_bits: 0,
            input_bits: bits(rlwe.moduli(rlwe.limbs())),
        };
        (rlwe.n(), cost)
    }

    /// Bytes of all public keys.
    #[must_use]
    pub fn setup_bytes(&self) -> usize {
        self.layers.len() * self.ciphertext_bytes()
    }

    /// The number of a layer among the linear ones, where it has a key.
    fn number(&self, layer: &LinearPlan) -> Result<usize, ProtocolError> {
        let unknown = |_| ProtocolError::Caller(format!("{} has no key for its preprocessing", layer.name));
        self.layers.binary_search(&layer.node).map_err(unknown)
    }

    /// Bytes of a seeded ciphertext of all limbs.
    fn ciphertext_bytes(&self) -> usize {
        SeededCiphertext::wire_len(self.ring.rlwe(), self.ring.rlwe().limbs())
    }
}

/// The client's secrets of a session, one per linear layer.
#[derive(Debug)]
pub struct ClientKeys {
    secrets: Vec<SecretKey>,
}

/// The client's public keys, one per linear layer.
#[derive(Debug)]
pub struct ServerKeys {
    publics: Vec<PublicKey>,
}

/// Client: fresh secrets and the message with their public keys.
pub fn client_setup(scheme: &Scheme, seed: &Seed) -> (Vec<u8>, ClientKeys) {
    let pair = |&node: &usize| {
        let own = seed.fork("bfv layer", &[node as u64]);
        let secret = SecretKey::generate(scheme.ring.rlwe(), own.fork("secret", &[]));
        let public = PublicKey::new(&secret, own.fork("public key", &[]));
        (public.to_bytes(), secret)
    };
    let (messages, secrets): (Vec<Vec<u8>>, Vec<SecretKey>) = scheme.layers.par_iter().map(pair).unzip();
    (messages.concat(), ClientKeys { secrets })
}

/// Server: reads that message, of the length that the scheme says.
///
/// # Errors
/// [`ProtocolError::Peer`] for a key that does not decode.
pub fn server_setup(scheme: &Scheme, message: &[u8]) -> Result<ServerKeys, ProtocolError> {
    let read = |bytes| PublicKey::from_bytes(scheme.ring.rlwe(), bytes).or_malformed("preprocessing keys");
    let keys = message.par_chunks(scheme.ciphertext_bytes()).map(read);
    Ok(ServerKeys { publics: keys.collect::<Result<_, _>>()? })
}

/// Bytes of the client's message for a layer.
pub fn keys_bytes(scheme: &Scheme, layer: &LinearPlan) -> usize {
    layer.groups * read_polys(layer).count() * scheme.ciphertext_bytes()
}

/// Bytes of the reply.
pub fn replies_bytes(plan: &Plan, scheme: &Scheme, layer: &LinearPlan) -> usize {
    let ring = &scheme.ring;
    let polys = layer.groups * layer.packing().output_polys();
    polys * ring.packed_len(ring.n()) + ring.packed_len(plan.images() * layer.geometry().output_len())
}

/// Whether these weights are within the public bound.
#[must_use]
pub fn has_room_for(weights: &[i32]) -> bool {
    weights.iter().all(|weight| weight.unsigned_abs() <= MOST_WEIGHT.unsigned_abs())
}

/// The input polynomials of a group that some output reads.
fn read_polys(layer: &LinearPlan) -> impl Iterator<Item = usize> + '_ {
    (0..layer.packing().input_polys()).filter(|&poly| layer.packing().is_read(poly))
}

/// The used outputs of one image in a layer's output polynomials (group-major), limb by limb.
fn used<'a>(
    layer: &LinearPlan,
    image: usize,
    limbs: usize,
    coefficients: impl Fn(usize, usize) -> &'a [u64],
) -> Vec<Vec<u64>> {
    let (length, per_group) = (layer.geometry().output_len(), layer.packing().output_polys());
    let limb = |limb: usize| {
        let mut out = vec![0; length];
        layer.each_output(image, |element, group, poly, coefficient| {
            out[element] = coefficients(group * per_group + poly, limb)[coefficient];
        });
        out
    };
    (0..limbs).map(limb).collect()
}
