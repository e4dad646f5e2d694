//! The three constructions of the linear layers' preprocessing, behind one interface.
//!
//! What all of them make is the same: before any input exists, the client knows masks r of a layer's slots and a share c of
//! W·r, and the server the other share m; online the server adds W·X, with X = x − r, and nothing more is said. So the online
//! stage, the activations and the bundles on disk are one and the same for all three.
//!
//! | construction | a layer's message from C | the server's work | result | hides W by |
//! |---|---|---|---|---|
//! | [`split`] | key polynomials, deltas | a few products with precomputed hints | noise of some 2^8 units | RLWE samples |
//! | [`bfv`] | encryptions of r | all products, coefficient encoding | within one unit | a uniform mask modulo the ciphertext modulus, re-randomisation |
//! | [`bfv`] packed | the same, keys once | the same, key switches | the same | the same |
//! | [`ckks`] | encryptions of ρ in slots | all products and rotations | within 2^-5 of a unit of Z_2^k | a mask that drowns the message |
//!
//! One unit is one of Z_q, as everywhere, where no other ring is named. Who adds what afterwards is common: bias and dither go
//! onto the server's share ([`server_reply`]). Bounds on the noise that the network was made for are those of `split`; what
//! [`ckks`] adds to them is below 4 % of the dither.
//!
//! A construction is a module of plain functions; the enums here dispatch to them:
//!
//! | thing | who has it | made | one of [`Preprocessing`]'s |
//! |---|---|---|---|
//! | [`Scheme`] | both, in the plan | from the manifest | rings and sizes |
//! | [`ClientKeys`], [`ServerKeys`] | each its own | once per session, one message from C | keys |
//! | [`Material`] | server | once per model and layout | prepared weights |
//! | [`ClientLayer`] | client | per layer and bundle | what it keeps until the reply |
//!
//! Both parties must name the same construction ([`crate::handshake::Terms`]): sizes of messages follow from it, and it is
//! hashed into the session's name. Mixing them within a program is a mistake in it and gives [`ProtocolError::Caller`].

pub mod bfv;
pub mod ckks;
pub mod masks;
pub mod operations;
pub mod split;

use std::fmt;
use std::iter::zip;
use std::str::FromStr;
use std::sync::Arc;

use conv_fast::{ConvGeometry, PackingCost, PreparedConv};
use he_core::seed::Seed;
use he_core::split::Epoch;
use he_core::{Modulus, Params};
use nn_merge::fixed_point::dither_log2_sigma;
use nn_merge::model::Manifest;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::rho::Rho;
use crate::error::{ProtocolError, caller, check_length};
use crate::plan::{LinearPlan, Plan};
use crate::raw::Raw;

pub use masks::SlotMasks;
pub use operations::Operations;

/// Outputs that one stream of dither serves.
const CHUNK: usize = 1 << 13;

/// A construction of the preprocessing of linear layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preprocessing {
    /// Hints ahead of clients, one RLWE sample per reply: the fewest bytes and the least work per bundle.
    #[default]
    Split,
    /// Encrypted masks in coefficient encoding, products with weights, uniform masks (as Delphi and Cheetah do).
    Bfv,
    /// Encrypted masks in slots, matrix–vector products by rotations (as the paper does).
    Ckks,
    /// As `Bfv`, sparse replies joined into fewer ciphertexts by key switching (as Rhombus does).
    #[serde(rename = "bfv-packed")]
    BfvPacked,
}

impl Preprocessing {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Split, Self::Bfv, Self::Ckks, Self::BfvPacked];

    /// Its word on command lines and in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Bfv => "bfv",
            Self::Ckks => "ckks",
            Self::BfvPacked => "bfv-packed",
        }
    }

    /// A byte for records.
    pub(crate) fn byte(self) -> u8 {
        self as u8
    }

    /// From [`Self::byte`].
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|construction| construction.byte() == byte)
    }
}

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Preprocessing {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|construction| construction.name() == name)
            .ok_or_else(|| format!("`{name}` is no preprocessing: it can be split, bfv, ckks or bfv-packed"))
    }
}

/// Figures of the ring of a construction's ciphertexts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RingFacts {
    /// N.
    pub degree: usize,
    /// log2 of the ciphertext modulus, that of keys included.
    pub log2_ciphertext: f64,
    /// log2 of what replies are sent modulo.
    pub log2_reply: f64,
    /// A floor of the cost of the best known classical attack, as a power of two ([`he_core::security::floor`]).
    pub security_bits: f64,
    /// log2 of a bound on the probability that shares of some coefficient of a polynomial are further off than stated.
    pub log2_failure: f64,
}

/// What a construction computes in, for one network: from the public manifest alone, the same for all its bundles.
#[derive(Debug)]
pub enum Scheme {
    /// The profile's ring is all there is.
    Split,
    /// A ring for BFV, packed or not.
    Bfv(Box<bfv::Scheme>),
    /// A ring for CKKS.
    Ckks(ckks::Scheme),
}

impl Scheme {
    pub(crate) fn new(
        which: Preprocessing,
        params: &Params,
        manifest: &Manifest,
    ) -> Result<Self, ProtocolError> {
        Ok(match which {
            Preprocessing::Split => Self::Split,
            Preprocessing::Bfv => Self::Bfv(Box::new(bfv::Scheme::new(params, manifest)?)),
            Preprocessing::Ckks => Self::Ckks(ckks::Scheme::new(params, manifest)?),
            Preprocessing::BfvPacked => Self::Bfv(Box::new(bfv::Scheme::packed(params, manifest)?)),
        })
    }

    /// The construction.
    #[must_use]
    pub fn preprocessing(&self) -> Preprocessing {
        match self {
            Self::Split => Preprocessing::Split,
            Self::Bfv(scheme) => scheme.preprocessing(),
            Self::Ckks(_) => Preprocessing::Ckks,
        }
    }

    /// Whether the client's masks are bound to the slots' and told by deltas.
    pub(crate) fn has_deltas(&self) -> bool {
        matches!(self, Self::Split)
    }

    /// The ring degree and the costs by which the layer at this node is cut and packed, of which the plan knows p (none in
    /// `exact`) and the bits of a reply in `split`.
    pub(crate) fn packing(
        &self,
        params: &Params,
        node: usize,
        masked_bits: Option<u32>,
        reply_bits: u32,
    ) -> (usize, PackingCost) {
        match self {
            Self::Split => split::packing(params, masked_bits, reply_bits),
            Self::Bfv(scheme) => scheme.packing(node),
            Self::Ckks(scheme) => scheme.packing(),
        }
    }

    /// Bytes of the client's message per session, 0 for none.
    #[must_use]
    pub fn setup_bytes(&self) -> usize {
        match self {
            Self::Split => 0,
            Self::Bfv(scheme) => scheme.setup_bytes(),
            Self::Ckks(scheme) => scheme.setup_bytes(),
        }
    }

    /// At least the bytes of [`ServerKeys`]: the message has one half of each key in primes of 32 bits and more, memory has both
    /// in words of 64.
    #[must_use]
    pub fn server_key_bytes(&self) -> usize {
        4 * self.setup_bytes()
    }
}

/// The client's keys of a session.
#[derive(Debug)]
pub enum ClientKeys {
    /// None: every layer has its own.
    Split,
    /// BFV secrets.
    Bfv(bfv::ClientKeys),
    /// A CKKS secret.
    Ckks(ckks::ClientKeys),
}

/// What the server holds of the client's keys.
#[derive(Debug)]
pub enum ServerKeys {
    /// None.
    Split,
    /// BFV public keys.
    Bfv(bfv::ServerKeys),
    /// CKKS public and Galois keys.
    Ckks(ckks::ServerKeys),
}

/// The server's weights of one layer in one layout; serves all clients.
pub enum Material {
    /// Hints.
    Split(Box<split::LayerHints>),
    /// Weight polynomials.
    Bfv(bfv::Weights),
    /// Diagonals of the layer's matrix.
    Ckks(ckks::Matrix),
}

/// The client between its message for a layer and the reply.
pub enum ClientLayer {
    /// Secrets of the layer's groups.
    Split(split::ClientLayer),
    /// Nothing: the layer's secret of the session opens the reply.
    Bfv,
    /// As its module says.
    Ckks(ckks::ClientLayer),
}

/// The server's half of a linear layer.
#[derive(Debug)]
pub struct ServerLayer {
    /// Its share of W·r (with what known zeros contribute), bias and dither on the used outputs: images × elements in Z_q.
    pub mask: Raw,
    /// What makes slots of masked elements, where a slot's mask is not the lift of the element's.
    pub deltas: Option<split::Deltas>,
}

/// Client: its keys of a session and the message with their public part, empty where there is none.
///
/// # Errors
/// [`ProtocolError::Caller`] where the keys can't be made.
pub fn client_setup(plan: &Plan, seed: &Seed) -> Result<(Vec<u8>, ClientKeys), ProtocolError> {
    let (message, keys) = match plan.scheme() {
        Scheme::Split => (Vec::new(), ClientKeys::Split),
        Scheme::Bfv(scheme) => {
            let (message, keys) = bfv::client_setup(scheme, seed);
            (message, ClientKeys::Bfv(keys))
        }
        Scheme::Ckks(scheme) => {
            let (message, keys) = ckks::client_setup(scheme, seed);
            (message, ClientKeys::Ckks(keys))
        }
    };
    debug_assert_eq!(message.len(), plan.scheme().setup_bytes());
    Ok((message, keys))
}

/// Server: reads the message of [`client_setup`].
///
/// # Errors
/// [`ProtocolError::Peer`] for keys that do not decode.
pub fn server_setup(plan: &Plan, message: &[u8]) -> Result<ServerKeys, ProtocolError> {
    check_length("preprocessing keys", message, plan.scheme().setup_bytes())?;
    Ok(match plan.scheme() {
        Scheme::Split => ServerKeys::Split,
        Scheme::Bfv(scheme) => ServerKeys::Bfv(bfv::server_setup(scheme, message)?),
        Scheme::Ckks(scheme) => ServerKeys::Ckks(ckks::server_setup(scheme, message)?),
    })
}

/// Bytes of the client's message for a layer.
pub fn keys_bytes(plan: &Plan, layer: &LinearPlan) -> usize {
    match plan.scheme() {
        Scheme::Split => split::keys_bytes(plan, layer),
        Scheme::Bfv(scheme) => bfv::keys_bytes(scheme, layer),
        Scheme::Ckks(scheme) => ckks::keys_bytes(plan, scheme, layer),
    }
}

/// Bytes of the server's reply for a layer.
pub fn replies_bytes(plan: &Plan, layer: &LinearPlan) -> usize {
    match plan.scheme() {
        Scheme::Split => split::replies_bytes(plan, layer),
        Scheme::Bfv(scheme) => bfv::replies_bytes(plan, scheme, layer),
        Scheme::Ckks(scheme) => ckks::replies_bytes(plan, scheme, layer),
    }
}

/// Client: its message for one layer from a seed of its own, what it keeps, and the masks of the slots. `split` binds the
/// layer's part of `rho`, so layers come in the plan's order.
///
/// # Errors
/// [`ProtocolError::Caller`] for keys of another construction.
pub fn client_keys(
    plan: &Plan,
    layer: &LinearPlan,
    keys: &ClientKeys,
    epoch: &Epoch,
    seed: &Seed,
    rho: &mut Rho,
) -> Result<(Vec<u8>, ClientLayer, SlotMasks), ProtocolError> {
    Ok(match (plan.scheme(), keys) {
        (Scheme::Split, ClientKeys::Split) => {
            let (message, own, masks) = split::client_keys(plan, layer, epoch, seed, rho);
            (message, ClientLayer::Split(own), masks)
        }
        (Scheme::Bfv(scheme), ClientKeys::Bfv(keys)) => {
            let (message, masks) = bfv::client_keys(plan, scheme, layer, keys, seed, rho)?;
            (message, ClientLayer::Bfv, masks)
        }
        (Scheme::Ckks(scheme), ClientKeys::Ckks(keys)) => {
            let (message, own, masks) = ckks::client_keys(plan, scheme, layer, keys, seed, rho)?;
            (message, ClientLayer::Ckks(own), masks)
        }
        _ => return Err(mixed()),
    })
}

/// Client: opens a reply; its share of W·r in Z_q, images × elements.
///
/// # Errors
/// [`ProtocolError::Peer`] for replies that do not decode, [`ProtocolError::Caller`] for parts of different constructions.
pub fn client_open(
    plan: &Plan,
    layer: &LinearPlan,
    keys: &ClientKeys,
    own: ClientLayer,
    replies: &[u8],
) -> Result<Raw, ProtocolError> {
    check_length("layer replies", replies, replies_bytes(plan, layer))?;
    match (plan.scheme(), keys, own) {
        (Scheme::Split, ClientKeys::Split, ClientLayer::Split(own)) => {
            split::client_open(plan, layer, own, replies)
        }
        (Scheme::Bfv(scheme), ClientKeys::Bfv(keys), ClientLayer::Bfv) => {
            bfv::client_open(plan, scheme, layer, keys, replies)
        }
        (Scheme::Ckks(scheme), ClientKeys::Ckks(keys), ClientLayer::Ckks(own)) => {
            ckks::client_open(plan, scheme, layer, keys, own, replies)
        }
        _ => Err(mixed()),
    }
}

impl Material {
    /// Prepares `layer` of `plan` once per model and layout; `prepare` gives its weights for a convolution.
    ///
    /// # Errors
    /// What `prepare` says; [`ProtocolError::Caller`] for weights that the construction has no room for.
    pub fn new(
        plan: &Plan,
        epoch: &Epoch,
        layer: &LinearPlan,
        weights: &[i32],
        prepare: impl FnOnce(&ConvGeometry) -> Result<Arc<Vec<PreparedConv>>, ProtocolError>,
    ) -> Result<Self, ProtocolError> {
        Ok(match plan.scheme() {
            Scheme::Split => {
                Self::Split(Box::new(split::LayerHints::new(plan.params(), epoch, layer, weights, prepare)?))
            }
            Scheme::Bfv(scheme) => Self::Bfv(bfv::Weights::new(scheme, layer, weights)?),
            Scheme::Ckks(scheme) => Self::Ckks(ckks::Matrix::new(plan, scheme, layer, weights)?),
        })
    }
}

/// Server: replies to a layer's message. Gives the reply and its half, bias and dither included: `bias` is in Z_q, limb by
/// limb, per output channel or per element of the result. The dither is on every used output: what leaves of a layer,
/// through whatever sums, holds at least one layer's dither, made for the finest ring in which it is read.
///
/// Afterwards, with X the slots as the server has them: W·X + mask + c = W·x + bias + noise in Z_q on every used output.
///
/// # Errors
/// [`ProtocolError::Peer`] for a message that does not decode, [`ProtocolError::Caller`] for parts of different constructions.
pub fn server_reply(
    plan: &Plan,
    layer: &LinearPlan,
    material: &Material,
    keys: &ServerKeys,
    bias: &[Vec<u64>],
    message: &[u8],
    seed: &Seed,
) -> Result<(Vec<u8>, ServerLayer), ProtocolError> {
    check_length("layer keys", message, keys_bytes(plan, layer))?;
    let (reply, mut mask, deltas) = match (plan.scheme(), material, keys) {
        (Scheme::Split, Material::Split(hints), ServerKeys::Split) => {
            let (reply, mask, deltas) = split::server_reply(plan, layer, hints, message, seed)?;
            (reply, mask, Some(deltas))
        }
        (Scheme::Bfv(scheme), Material::Bfv(weights), ServerKeys::Bfv(keys)) => {
            let (reply, mask) = bfv::server_reply(plan, scheme, layer, weights, keys, message, seed)?;
            (reply, mask, None)
        }
        (Scheme::Ckks(scheme), Material::Ckks(matrix), ServerKeys::Ckks(keys)) => {
            let (reply, mask) = ckks::server_reply(plan, scheme, layer, matrix, keys, message, seed)?;
            (reply, mask, None)
        }
        _ => return Err(mixed()),
    };
    debug_assert_eq!(reply.len(), replies_bytes(plan, layer));
    mask.add_bias(plan.params(), bias, plan.tensors()[layer.node].shape);
    add_dither(plan.params(), &mut mask, layer.ring_bits, seed)?;
    Ok((reply, ServerLayer { mask, deltas }))
}

/// A layer's weights prepared for a geometry, limb by limb.
///
/// # Errors
/// [`ProtocolError::Caller`] where the convolution has no algorithm for it.
pub fn prepared(
    params: &Params,
    geometry: &ConvGeometry,
    weights: &[i32],
) -> Result<Vec<PreparedConv>, ProtocolError> {
    let limb = |q: &Modulus| PreparedConv::best(geometry.clone(), *q, weights, 1).map_err(caller);
    params.moduli().iter().map(limb).collect()
}

fn add_dither(params: &Params, mask: &mut Raw, ring_bits: u32, seed: &Seed) -> Result<(), ProtocolError> {
    let sigma = dither_log2_sigma(params, ring_bits);
    let piece = |(at, mut limbs): (usize, Vec<&mut [u64]>)| {
        let mut rng = seed.fork("dither", &[at as u64]).stream();
        let dither = params.dither(&mut rng, sigma, limbs[0].len())?;
        for ((limb, dither), q) in zip(zip(&mut limbs, dither.iter()), params.moduli()) {
            zip(limb.iter_mut(), dither).for_each(|(mask, &dither)| *mask = q.add(*mask, dither));
        }
        Ok(())
    };
    mask.chunks_mut(CHUNK)
        .into_par_iter()
        .enumerate()
        .try_for_each(piece)
        .map_err(|error: he_core::HeError| caller(error))
}

/// Plan, keys and weights come from one session and one server; should they not, nothing may go on.
fn mixed() -> ProtocolError {
    ProtocolError::Caller("plan, keys and weights are of different preprocessing constructions".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bytes_are_unique_and_read_back() {
        for construction in Preprocessing::ALL {
            assert_eq!(construction.to_string().parse(), Ok(construction));
            assert_eq!(Preprocessing::from_byte(construction.byte()), Some(construction));
        }
        assert!("Split".parse::<Preprocessing>().is_err());
        assert_eq!(Preprocessing::from_byte(4), None);
    }
}
