//! The construction `ckks`: encrypted masks in slots, matrix–vector products by rotations, decrypted and rounded to shares.
//!
//! This is the preprocessing of the published scheme, on CKKS (see [`he_core::ckks`] for its sources). Per session C makes a
//! secret key and sends a public key and keys for all rotations. Per layer and pair of images:
//!
//! | step | who | what |
//! |---|---|---|
//! | 1 | C | encrypts ρ/2^w, in \[-1/2, 1/2), of every element of the layer's input; one image in the real parts, one in the imaginary |
//! | 2 | S | multiplies with the layer's matrix: diagonals, baby steps and giant steps, one rescaling |
//! | 3 | S | subtracts a random polynomial and re-randomises ([`he_core::ckks::share`]), keeps the slots of the random polynomial |
//! | 4 | C | decrypts; both round their slots to multiples of 2^-u turns and lift them to Z_q |
//!
//! The masks are free: r = up(Σρ) is the lift of what masks the tensor's elements, which [`super::masks`] explains, so no delta
//! is sent and border and free space are zeros. In turns W·r is W·ρ/2^w, and whole turns vanish in Z_q; so it is ρ/2^w that
//! is encrypted, of which only the bits count that the result is read in, and not r itself in pieces.
//!
//! **Error.** c + s differs from W·ρ/2^w by less than (3/2 + 2^-10)·2^-u turns in every output, u = k + 6 for the finest ring
//! Z_2^k in which a linear result of the network is read ([`scheme`] proves it for the very network or refuses), and by two
//! units of Z_q: below 2^-5 of a unit of that ring, where the dither spreads over more than one. Where the matrix of a layer
//! gives its outputs in parts, which lie in several slots and are added up by each party for itself, the parts are finer by
//! as many bits as there are doublings of them. The bounds of `nn_merge` on the noise of a layer do not count this error: it is
//! below 4 % of the dither that they do count. Logits that are asked for in more bits than k have so many bits less of this.
//!
//! **What it hides.** S sees encryptions. C sees, of every reply, the decryption of a polynomial that is within a statistical
//! distance of 2^-40 of a random one, whatever W, and a second part made anew (the essay of [`he_core::ckks::share`]). That
//! holds for masks below half a turn: parties are semi-honest. All layers of a session are under one secret, for which there
//! are keys of rotations. Such keys encrypt images of the secret under itself; and a layer's share is rounded with an error
//! that depends on it, in its last bits, so that what the next layer is given does too. Both are circular: security for
//! messages that depend on the key is assumed, as for all schemes with rotations.
//!
//! S's time tells which diagonals are zero throughout, which is chance for weights that are not sparse.
//!
//! **Limits.** Weights of at most the bits that the profile aims at, planes that fit a ciphertext, and diagonals of at most
//! [`scheme::MOST_BYTES`] for the whole network: this is for networks of the size of those for MNIST. Others are refused in a
//! sentence that says why.

mod operations;
pub mod scheme;

use conv_fast::PackingCost;
use he_core::ckks::{Ciphertext, Diagonals, LinearTransform, WideSlots};
use he_core::rlwe::{self, GaloisKeys, PublicKey, SecretKey};
use he_core::seed::Seed;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::{SlotMasks, masks};
use crate::error::{PeerResult, ProtocolError, caller};
use crate::offline::rho::Rho;
use crate::plan::{LinearPlan, Plan};
use crate::raw::Raw;
use crate::slots::{SlotMap, pairs, row_product, wire};

pub use operations::operations;
use scheme::LayerScheme;
pub use scheme::Scheme;

/// The client's keys of a session.
#[derive(Debug)]
pub struct ClientKeys {
    secret: SecretKey,
}

/// The server's part of them.
#[derive(Debug)]
pub struct ServerKeys {
    public: PublicKey,
    rotations: GaloisKeys,
}

/// What the client keeps until the reply: nothing, the session's key opens all.
#[derive(Debug)]
pub struct ClientLayer;

/// The prepared matrix of a layer, one for every pair of ciphertexts; none where it is zero.
pub struct Matrix(pub(super) Vec<Option<LinearTransform>>);

impl Scheme {
    /// The ring degree and costs by which a layer is laid out for the online convolution: as few tiles as can be, since
    /// nothing is sent that depends on them.
    #[must_use]
    pub fn packing(&self) -> (usize, PackingCost) {
        (1 << 20, PackingCost { reply_bits: 1, zero_bits: 0, key_bits: 0, input_bits: 0, joining: None })
    }

    /// Bytes of the client's message per session.
    #[must_use]
    pub fn setup_bytes(&self) -> usize {
        self.public_bytes() + GaloisKeys::wire_len(self.he.rlwe(), self.exponents.len())
    }

    /// A public key is written as a seeded ciphertext of all limbs.
    fn public_bytes(&self) -> usize {
        rlwe::SeededCiphertext::wire_len(self.he.rlwe(), self.he.limbs())
    }

    fn input_bytes(&self) -> usize {
        rlwe::SeededCiphertext::wire_len(self.he.rlwe(), self.he.limbs())
    }

    fn output_bytes(&self) -> usize {
        rlwe::Ciphertext::wire_len(self.he.rlwe(), self.last_limbs, 1)
    }
}

/// Client: its keys and the message with their public part.
pub fn client_setup(scheme: &Scheme, seed: &Seed) -> (Vec<u8>, ClientKeys) {
    let rlwe = scheme.he.rlwe();
    let secret = SecretKey::generate(rlwe, seed.fork("ckks secret", &[]));
    let public = PublicKey::new(&secret, seed.fork("ckks public key", &[]));
    let rotations = GaloisKeys::new(&secret, &scheme.exponents, seed.fork("ckks rotations", &[]));
    let mut message = public.to_bytes();
    message.append(&mut rotations.to_bytes(rlwe));
    (message, ClientKeys { secret })
}

/// Server: reads that message, of [`Scheme::setup_bytes`].
///
/// # Errors
/// [`ProtocolError::Peer`] for keys that do not decode, or for other rotations than the network's.
pub fn server_setup(scheme: &Scheme, message: &[u8]) -> Result<ServerKeys, ProtocolError> {
    let rlwe = scheme.he.rlwe();
    let (public, rotations) = message.split_at(scheme.public_bytes().min(message.len()));
    let public = PublicKey::from_bytes(rlwe, public).or_malformed("public key")?;
    let rotations = wire::rotation_keys(rlwe, rotations, &scheme.exponents)?;
    Ok(ServerKeys { public, rotations })
}

/// Bytes of the client's message for a layer.
pub fn keys_bytes(plan: &Plan, scheme: &Scheme, layer: &LinearPlan) -> usize {
    let inputs = scheme.layer(layer).map_or(0, |own| own.input.ciphertexts());
    pairs::count(plan.images()) * inputs * scheme.input_bytes()
}

/// Bytes of the reply.
pub fn replies_bytes(plan: &Plan, scheme: &Scheme, layer: &LinearPlan) -> usize {
    let outputs = scheme.layer(layer).map_or(0, |own| own.output.ciphertexts());
    pairs::count(plan.images()) * outputs * scheme.output_bytes()
}

/// Client: its message for a layer, what it keeps, the masks of the slots.
///
/// # Errors
/// [`ProtocolError::Caller`] where the layer does not fit.
pub fn client_keys(
    plan: &Plan,
    scheme: &Scheme,
    layer: &LinearPlan,
    keys: &ClientKeys,
    seed: &Seed,
    rho: &Rho,
) -> Result<(Vec<u8>, ClientLayer, SlotMasks), ProtocolError> {
    let own = scheme.layer(layer)?;
    let sums = masks::elements(plan, layer, rho);
    let (length, inputs) = (layer.geometry().input_len(), own.input.ciphertexts());
    // In [-1/2, 1/2): the sign is extended from bit w - 1.
    let unused = u64::BITS - layer.width;
    let turns = |sum: u64| ((sum << unused) as i64) as f64 / 64.0_f64.exp2();
    let ciphertext = |at: usize| {
        let (pair, input) = (at / inputs, at % inputs);
        let value = |image: usize, element: usize| turns(sums[image * length + element]);
        let slots = pairs::fill(&own.input, plan.images(), at, value);
        let plaintext =
            scheme.he.encode_wide(&slots, scheme.he.limbs(), &scheme.mask_scale).map_err(caller)?;
        let seed = seed.fork("encrypted mask", &[pair as u64, input as u64]);
        Ok(scheme.he.encrypt(&keys.secret, &plaintext, seed).as_rlwe().to_bytes(scheme.he.rlwe()))
    };
    let count = pairs::count(plan.images()) * inputs;
    let parts: Vec<Vec<u8>> =
        (0..count).into_par_iter().map(ciphertext).collect::<Result<_, ProtocolError>>()?;
    let (_, slots) = masks::lifted(plan, layer, masks::sums(plan, layer, rho));
    Ok((parts.concat(), ClientLayer, slots))
}

impl Matrix {
    /// Prepares a layer once per model and layout.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a layer beyond the limits of the construction.
    pub fn new(
        _plan: &Plan,
        scheme: &Scheme,
        layer: &LinearPlan,
        weights: &[i32],
    ) -> Result<Self, ProtocolError> {
        let own = scheme.layer(layer)?;
        if !scheme.has_room_for(weights) {
            return Err(ProtocolError::Caller(format!(
                "layer {} has weights above {}: the preprocessing ckks has no room for them",
                layer.name, scheme.most_weight
            )));
        }
        let weights: Zeroizing<Vec<f64>> = Zeroizing::new(weights.iter().map(|&w| f64::from(w)).collect());
        let map = SlotMap::new(layer.geometry(), &weights, &own.input, &own.output)?;
        let (limbs, scale) = (scheme.he.limbs(), &scheme.weight_scale);
        let encode = |diagonals: &Diagonals| {
            scheme.he.linear_transform_wide(diagonals, limbs, scale, scheme.baby_steps)
        };
        map.encoded(encode).map(Self).map_err(caller)
    }
}

/// Server: the reply and its own share of W·r in Z_q, images × elements; bias and dither are added by the caller.
///
/// # Errors
/// [`ProtocolError::Peer`] for a message that does not decode.
pub fn server_reply(
    plan: &Plan,
    scheme: &Scheme,
    layer: &LinearPlan,
    matrix: &Matrix,
    keys: &ServerKeys,
    message: &[u8],
    seed: &Seed,
) -> Result<(Vec<u8>, Raw), ProtocolError> {
    let own = scheme.layer(layer)?;
    let he = &scheme.he;
    let masks = wire::seeded(he, message, he.scale(), "encrypted masks")?;
    let (inputs, outputs) = (own.input.ciphertexts(), own.output.ciphertexts());
    let reply = |at: usize| {
        let (pair, output) = (at / outputs, at % outputs);
        let seed = seed.fork("share", &[pair as u64, output as u64]);
        let own_masks = &masks[pair * inputs..][..inputs];
        let row = &matrix.0[output * inputs..][..inputs];
        let product = multiply(scheme, own, own_masks, row, keys, &seed)?;
        let seed = seed.fork("mask", &[]);
        let (sent, share) =
            he.share(&product, &own.noise, &scheme::MASKING, &keys.public, own.step, seed).map_err(caller)?;
        Ok((sent.as_rlwe().to_bytes(he.rlwe()), share))
    };
    let count = pairs::count(plan.images()) * outputs;
    let (replies, shares): (Vec<Vec<u8>>, Vec<WideSlots>) =
        (0..count).into_par_iter().map(reply).collect::<Result<Vec<_>, ProtocolError>>()?.into_iter().unzip();
    Ok((replies.concat(), lifted(plan, layer, own, &shares)))
}

/// One ciphertext of the layer's result, rescaled.
fn multiply(
    scheme: &Scheme,
    own: &LayerScheme,
    masks: &[Ciphertext],
    row: &[Option<LinearTransform>],
    keys: &ServerKeys,
    seed: &Seed,
) -> Result<Ciphertext, ProtocolError> {
    let he = &scheme.he;
    let sum = row_product(row, masks, |mask, matrix| he.transform(mask, matrix, &keys.rotations))?;
    let mut sum = match sum {
        Some(sum) => sum,
        // Weights that are all zero: an encryption of nothing, so that the reply tells nothing of it.
        None => {
            let zero = keys.public.encrypt_zero(he.limbs(), seed.fork("zero", &[]));
            Ciphertext::from_rlwe(he, zero, he.scale() * scheme::product(&scheme.weight_scale))
                .map_err(caller)?
        }
    };
    while sum.limbs() > own.noise.limbs() {
        he.rescale(&mut sum).map_err(caller)?;
    }
    Ok(sum)
}

/// Client: its share of W·r in Z_q, images × elements.
///
/// # Errors
/// [`ProtocolError::Peer`] for a reply that does not decode.
pub fn client_open(
    plan: &Plan,
    scheme: &Scheme,
    layer: &LinearPlan,
    keys: &ClientKeys,
    _own: ClientLayer,
    replies: &[u8],
) -> Result<Raw, ProtocolError> {
    let own = scheme.layer(layer)?;
    let open = |bytes: &[u8]| open(scheme, own, keys, bytes);
    let shares: Vec<WideSlots> =
        replies.par_chunks(scheme.output_bytes()).map(open).collect::<Result<_, ProtocolError>>()?;
    Ok(lifted(plan, layer, own, &shares))
}

fn open(
    scheme: &Scheme,
    own: &LayerScheme,
    keys: &ClientKeys,
    bytes: &[u8],
) -> Result<WideSlots, ProtocolError> {
    let (he, limbs) = (&scheme.he, scheme.last_limbs);
    let ciphertext = wire::ciphertext(he, bytes, limbs, he.scale(), "encrypted shares")?;
    he.open_share(&keys.secret, &ciphertext, own.step).map_err(caller)
}

/// A party's slots, in steps of 2^-u turns, as its share in Z_q: parts added up, whole turns dropped, lifted.
fn lifted(plan: &Plan, layer: &LinearPlan, own: &LayerScheme, slots: &[WideSlots]) -> Raw {
    let length = layer.geometry().output_len();
    let turn = (1_u128 << own.fraction_bits) - 1;
    let mut values = Zeroizing::new(vec![0; plan.images() * length]);
    values.par_chunks_mut(length.max(1)).enumerate().for_each(|(image, values)| {
        for (element, value) in values.iter_mut().enumerate() {
            let (ciphertext, first) = pairs::place(&own.output, image, element);
            let slots = &slots[ciphertext];
            let slots = if pairs::is_real(image) { slots.re() } else { slots.im() };
            let parts = slots[first..].iter().step_by(own.output.period()).take(own.parts);
            let sum = parts.fold(0_i128, |sum, part| sum.wrapping_add(*part));
            *value = (sum as u128 & turn) as u64;
        }
    });
    Raw::up(plan.params(), &values, own.fraction_bits)
}

#[cfg(test)]
mod tests;
