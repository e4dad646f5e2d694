//! The construction `bfv`: encrypted masks in coefficient encoding, products with weight polynomials, uniform masks.
//!
//! In the manner of Delphi (P. Mishra et al., USENIX Security 2020) with the encoding of Cheetah (Z. Huang et al., USENIX
//! Security 2022); the algebra, the bounds and what each side sees are in [`he_core::bfv::share`].
//!
//! | message | from | content |
//! |---|---|---|
//! | session | C | a public key per linear layer; then, where replies are joined, the keys for that of all layers |
//! | layer | C | per group and input polynomial that is read: a seeded encryption of the masks r of its slots, 0 elsewhere |
//! | reply | S | per group and output polynomial (joined: per 2^k of them): c1 modulo Q'; then c0 + R of every used output, images × elements |
//!
//! Masks are free here: r is the lift of ρ ([`super::masks`]), so X is the lift of Z, there are no deltas, and borders and free
//! space are encryptions of 0 that cost nothing. Plaintexts live modulo the profile's q itself, both primes at once in
//! `exact`: shares add up to W·r within one unit of Z_q.
//!
//! **Room.** The ring is chosen from the manifest alone: products of one output polynomial hold each weight of a layer once at
//! most, and a weight is at most [`MOST_WEIGHT`], so the absolute values add up to at most weights · 2^20. A model with larger
//! weights is not offered by this construction. Nothing about the private norms is told.
//!
//! **Joined replies** (`bfv-packed`). The second part of a reply is a whole polynomial however few outputs its first part
//! holds, which are 1/C of a polynomial where C input channels share one. By choice the server joins several into one before it
//! re-randomises and masks (`he_core::bfv::share`, [`conv_fast::Joining`]); `joining` says for which layers keys are bought for that.
//! Nothing else changes: the client opens the same shares from fewer second parts.
//!
//! **Why a layer has a secret of its own, and why it may serve all bundles of a session.** Every encryption is fresh, and r does
//! not depend on any secret. But results are right to one unit only, and that unit depends on the layer's secret; the next
//! layer's Z has it in, masked by a ρ that is encrypted. Under one secret for all layers that would be a message that
//! depends on its key; with a secret for each, layers are replaced one by one from the last to the first, all bundles
//! together, as in `docs/security.md`.

mod client;
mod joining;
mod server;

use conv_fast::{ConvGeometry, PackingCost};
use he_core::Params;
use he_core::bfv::ShareRing;
use he_core::bfv::share::JoinKeys;
use he_core::rlwe::{PublicKey, SecretKey, SeededCiphertext};
use he_core::sample::ERROR_ETA;
use he_core::seed::Seed;
use nn_merge::model::{Manifest, OpSpec};
use rayon::prelude::*;

use super::{Operations, Preprocessing, RingFacts};
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
    /// log2 of the most output polynomials that a reply of each layer joins; none where there is no joining at all.
    levels: Option<Vec<u32>>,
}

impl Scheme {
    /// The smallest ring with room for every layer of a network.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for layers that are too large.
    pub fn new(params: &Params, manifest: &Manifest) -> Result<Self, ProtocolError> {
        Self::with_levels(params, manifest, 0)
    }

    /// As [`Scheme::new`], with room for joining replies where that pays, and the layers for which it does.
    ///
    /// # Errors
    /// As [`Scheme::new`].
    pub fn packed(params: &Params, manifest: &Manifest) -> Result<Self, ProtocolError> {
        let mut plain = Self::with_levels(params, manifest, 0)?;
        let (levels, bits) = joining::choose(&plain, linear(manifest));
        plain.levels = Some(levels);
        // Room for joining may take a larger ring, or there may be none.
        let Ok(mut joining) = Self::with_levels(params, manifest, joining::MOST_LEVELS) else {
            return Ok(plain);
        };
        let (levels, fewer) = joining::choose(&joining, linear(manifest));
        joining.levels = Some(levels);
        Ok(if fewer < bits { joining } else { plain })
    }

    fn with_levels(params: &Params, manifest: &Manifest, levels: u32) -> Result<Self, ProtocolError> {
        let most = linear(manifest).map(|(_, geometry)| geometry.weights_len()).max().unwrap_or(1).max(1);
        let log2_norm = (most as f64 * f64::from(MOST_WEIGHT)).log2();
        let ring = match levels {
            0 => ShareRing::new(params.moduli(), log2_norm),
            levels => ShareRing::for_joining(params.moduli(), log2_norm, levels),
        };
        let ring = ring.map_err(|error| {
            ProtocolError::Caller(format!(
                "the network's layers are too large for the preprocessing `bfv`: {error}"
            ))
        })?;
        Ok(Self { ring, layers: linear(manifest).map(|(at, _)| at).collect(), levels: None })
    }

    /// The construction: joining is one of its own.
    #[must_use]
    pub fn preprocessing(&self) -> Preprocessing {
        if self.levels.is_some() { Preprocessing::BfvPacked } else { Preprocessing::Bfv }
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

    /// Replies of the layer at this node cost c1's coefficients, and input polynomials a seeded ciphertext; known zeros cost
    /// nothing.
    pub(super) fn packing(&self, node: usize) -> (usize, PackingCost) {
        let levels = self.layers.binary_search(&node).map_or(0, |number| self.levels_of(number));
        (self.ring.rlwe().n(), self.cost(levels))
    }

    /// What a layer's parts cost where a reply may join 2^`levels` polynomials.
    fn cost(&self, levels: u32) -> PackingCost {
        let bits = |moduli: &[he_core::Modulus]| moduli.iter().map(he_core::Modulus::bits).sum();
        let rlwe = self.ring.rlwe();
        PackingCost {
            reply_bits: bits(self.ring.reply_moduli()),
            zero_bits: 0,
            key_bits: 0,
            input_bits: bits(rlwe.moduli(rlwe.limbs())),
            joining: joining::at(levels),
        }
    }

    /// Bytes of all public keys, and of those for joining.
    #[must_use]
    pub fn setup_bytes(&self) -> usize {
        let joining = (0..self.layers.len()).map(|number| self.ring.join_keys_len(self.levels_of(number)));
        self.layers.len() * self.ciphertext_bytes() + joining.sum::<usize>()
    }

    /// log2 of the most polynomials that the keys of a layer join, by its number among the linear ones.
    fn levels_of(&self, number: usize) -> u32 {
        self.levels.as_ref().map_or(0, |levels| levels[number])
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

/// The client's public keys, one per linear layer, and those for joining.
#[derive(Debug)]
pub struct ServerKeys {
    publics: Vec<PublicKey>,
    joining: Vec<JoinKeys>,
}

/// Client: fresh secrets and the message with their public keys.
pub fn client_setup(scheme: &Scheme, seed: &Seed) -> (Vec<u8>, ClientKeys) {
    let keys = |(number, &node): (usize, &usize)| {
        let own = seed.fork("bfv layer", &[node as u64]);
        let secret = SecretKey::generate(scheme.ring.rlwe(), own.fork("secret", &[]));
        let public = PublicKey::new(&secret, own.fork("public key", &[]));
        let joining = scheme.ring.join_keys(&secret, scheme.levels_of(number), own.fork("joining", &[]));
        (public.to_bytes(), joining.to_bytes(), secret)
    };
    let keys: Vec<_> = scheme.layers.par_iter().enumerate().map(keys).collect();
    let mut message = Vec::with_capacity(scheme.setup_bytes());
    keys.iter().for_each(|(public, ..)| message.extend_from_slice(public));
    keys.iter().for_each(|(_, joining, _)| message.extend_from_slice(joining));
    (message, ClientKeys { secrets: keys.into_iter().map(|(.., secret)| secret).collect() })
}

/// Server: reads that message, of the length that the scheme says.
///
/// # Errors
/// [`ProtocolError::Peer`] for a key that does not decode.
pub fn server_setup(scheme: &Scheme, message: &[u8]) -> Result<ServerKeys, ProtocolError> {
    let (publics, mut rest) = message.split_at(scheme.layers.len() * scheme.ciphertext_bytes());
    let read = |bytes| PublicKey::from_bytes(scheme.ring.rlwe(), bytes).or_malformed("preprocessing keys");
    let publics = publics.par_chunks(scheme.ciphertext_bytes()).map(read);
    let publics = publics.collect::<Result<_, _>>()?;
    let mut parts = Vec::with_capacity(scheme.layers.len());
    for number in 0..scheme.layers.len() {
        let levels = scheme.levels_of(number);
        let (own, others) = rest.split_at(scheme.ring.join_keys_len(levels));
        parts.push((levels, own));
        rest = others;
    }
    let read =
        |(levels, bytes)| scheme.ring.read_join_keys(levels, bytes).or_malformed("keys for joining replies");
    let joining = parts.into_par_iter().map(read).collect::<Result<_, _>>()?;
    Ok(ServerKeys { publics, joining })
}

/// Bytes of the client's message for a layer.
pub fn keys_bytes(scheme: &Scheme, layer: &LinearPlan) -> usize {
    layer.groups * read_polys(layer).count() * scheme.ciphertext_bytes()
}

/// Bytes of the reply.
pub fn replies_bytes(plan: &Plan, scheme: &Scheme, layer: &LinearPlan) -> usize {
    let ring = &scheme.ring;
    let replies = (layer.groups * layer.packing().output_polys()).div_ceil(1 << levels(scheme, layer));
    replies * ring.packed_len(ring.n()) + ring.packed_len(plan.images() * layer.geometry().output_len())
}

/// The server's operations for one layer of one bundle.
pub(super) fn operations(scheme: &Scheme, layer: &LinearPlan) -> Operations {
    let (packing, ring, joined) = (layer.packing(), &scheme.ring, levels(scheme, layer));
    let sum = |output| {
        let products = packing.pairs(output).len();
        Operations { products, additions: products.saturating_sub(1), ..Operations::default() }
    };
    let sums: Operations = (0..packing.output_polys()).map(sum).sum();
    let sums = Operations { received: read_polys(layer).count(), ..sums }.times(layer.groups);
    let all = layer.groups * packing.output_polys();
    let reply = |first: usize| {
        let joining = joining::operations((all - first).min(1 << joined), joined);
        // A mask, and a fresh encryption of zero.
        Operations { additions: joining.additions + 2, sent: 1, ..joining }
    };
    let replies: Operations = (0..all).step_by(1 << joined).map(reply).sum();
    let levels = ring.rlwe().limbs() - ring.reply_moduli().len();
    [sums, replies, Operations { levels, ..Operations::default() }].into_iter().sum()
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

/// log2 of the output polynomials in a reply of a layer: as many as its keys join and the layout has room for.
pub(super) fn levels(scheme: &Scheme, layer: &LinearPlan) -> u32 {
    scheme.packing(layer.node).1.joined(layer.packing())
}

/// What the places of all used outputs of a layer are modulo 2^`levels`.
fn residue(layer: &LinearPlan, levels: u32) -> usize {
    layer.output_map.first().map_or(0, |&(_, coefficient)| coefficient as usize % (1 << levels))
}

/// The linear layers of a network: node and geometry.
fn linear(manifest: &Manifest) -> impl Iterator<Item = (usize, &ConvGeometry)> {
    manifest.nodes.iter().enumerate().filter_map(|(at, node)| match &node.op {
        OpSpec::Linear { geometry, .. } => Some((at, geometry)),
        _ => None,
    })
}

/// The used outputs of one image in a layer's replies (polynomials group-major, 2^`levels` to a reply), limb by limb.
fn used<'a>(
    layer: &LinearPlan,
    levels: u32,
    image: usize,
    limbs: usize,
    coefficients: impl Fn(usize, usize) -> &'a [u64],
) -> Vec<Vec<u64>> {
    let (length, per_group) = (layer.geometry().output_len(), layer.packing().output_polys());
    let (residue, joined) = (residue(layer, levels), 1 << levels);
    let limb = |limb: usize| {
        let mut out = vec![0; length];
        layer.each_output(image, |element, group, poly, coefficient| {
            let poly = group * per_group + poly;
            let at = coefficient - residue + poly % joined;
            out[element] = coefficients(poly / joined, limb)[at];
        });
        out
    };
    (0..limbs).map(limb).collect()
}
