//! Server: its replies to a linear layer's keys.
//!
//! Per output polynomial and group a masked reply (an RLWE sample under a fresh u added to the hint) and its own mask M.
//! What the packing's known zeros contribute, W·Z, depends on nothing but the weights and what the client just sent, so it
//! is added to M here (as a few convolutions, see [`conv_fast::packing::ZeroCorrection`]) and the online convolution is the
//! ordinary zero-padded one. Bias and dither come on top ([`super::super::server_reply`]).
//!
//! Afterwards, with X the lifted slots: W·X + mask + c = W·x + bias + noise in Z_q on every used output, `noise` being
//! bounded by the network's noise budget.

use std::iter::zip;
use std::sync::Arc;

use conv_fast::packing::ZeroCorrection;
use conv_fast::{ConvGeometry, PreparedConv};
use he_core::seed::Seed;
use he_core::split::{Epoch, Hint, PublicKey, masked_reply};
use he_core::{Coeff, Ntt, Params, RnsPoly};
use rayon::prelude::*;
use ss_core::bits::unpack;
use zeroize::Zeroizing;

use super::client::{replies_bytes, used};
use crate::error::{PeerFault, PeerResult, ProtocolError};
use crate::plan::{LinearPlan, Plan};
use crate::raw::Raw;

/// What the packing's known zeros contribute: the correction and the layer's weights prepared for it, limb by limb.
pub type ZeroProducts = (ZeroCorrection, Arc<Vec<PreparedConv>>);

/// The server's hints of one layer in one layout; serves all clients of an epoch.
pub struct LayerHints {
    /// Per output polynomial.
    pub(in super::super) hints: Vec<Hint>,
    /// None where no known zero is read.
    zeros: Option<ZeroProducts>,
    /// Public half of the clients' keys.
    public_a: RnsPoly<Ntt>,
}

impl LayerHints {
    /// Computes the hints of `layer` once per model, epoch and layout; `prepare` gives its weights for a geometry.
    ///
    /// # Errors
    /// What `prepare` says.
    pub fn new(
        params: &Params,
        epoch: &Epoch,
        layer: &LinearPlan,
        weights: &[i32],
        prepare: impl FnOnce(&ConvGeometry) -> Result<Arc<Vec<PreparedConv>>, ProtocolError>,
    ) -> Result<Self, ProtocolError> {
        let packing = layer.packing();
        let place = layer.node as u32;
        let correction = (layer.zeros() > 0).then(|| ZeroCorrection::new(packing)).flatten();
        let zeros = correction
            .map(|correction| prepare(correction.geometry()).map(|prepared| (correction, prepared)))
            .transpose()?;
        let a: Vec<RnsPoly<Ntt>> = (0..packing.input_polys())
            .into_par_iter()
            .map(|j| epoch.public_a(params, place, j as u32))
            .collect();
        let hint = |o| {
            let term = |j| {
                let weights = packing.weight_terms(o, j, weights);
                (j, RnsPoly::from_signed(params, &weights).into_ntt(params))
            };
            let terms: Vec<(usize, RnsPoly<Ntt>)> = packing.pairs(o).into_iter().map(term).collect();
            let products: Vec<_> = terms.iter().map(|(j, w)| (w, &a[*j])).collect();
            Hint::new(params, &products)
        };
        let hints = (0..packing.output_polys()).into_par_iter().map(hint).collect();
        Ok(Self { hints, zeros, public_a: epoch.public_key_a(params, place) })
    }
}

/// The deltas of a layer's slots as they came: of bound ones, and limb by limb of the others.
#[derive(Debug)]
pub struct Deltas {
    narrow: Vec<u8>,
    wide: Vec<Vec<u8>>,
}

impl Deltas {
    /// Takes the last part of a keys message, of the length that the plan says.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] for words out of range.
    pub(crate) fn new(plan: &Plan, layer: &LinearPlan, bytes: &[u8]) -> Result<Self, ProtocolError> {
        let (narrow, wide) = layer.delta_bytes(plan.params(), plan.images());
        let (narrow, mut rest) = bytes.split_at(narrow);
        let mut limbs = Vec::with_capacity(wide.len());
        for length in wide {
            let (limb, more) = rest.split_at(length);
            limbs.push(limb.to_vec());
            rest = more;
        }
        let deltas = Self { narrow: narrow.to_vec(), wide: limbs };
        // Stray bits and words beyond their prime are refused now: nothing may fail when the input is there.
        deltas.words(plan, layer).map(|_| deltas)
    }

    /// Words of bound slots, and limb by limb of the others, image after image.
    pub(crate) fn words(
        &self,
        plan: &Plan,
        layer: &LinearPlan,
    ) -> Result<(Vec<u64>, Vec<Vec<u64>>), ProtocolError> {
        const WHAT: &str = "deltas";
        let [narrow, wide] = layer.deltas.map(|count| count * plan.images());
        let small = unpack(&self.narrow, narrow, layer.narrow_bits()).or_malformed(WHAT)?;
        let mut limbs = Vec::with_capacity(self.wide.len());
        for (limb, bits) in layer.wide_bits(plan.params()).into_iter().enumerate() {
            let words = unpack(&self.wide[limb], wide, bits).or_malformed(WHAT)?;
            check_range(plan, layer, limb, &words, WHAT)?;
            limbs.push(words);
        }
        Ok((small, limbs))
    }
}

/// In `exact` words are residues.
fn check_range(
    plan: &Plan,
    layer: &LinearPlan,
    limb: usize,
    words: &[u64],
    what: &'static str,
) -> Result<(), ProtocolError> {
    let q = plan.params().moduli()[limb].value();
    if layer.masked_bits.is_none() && words.iter().any(|&word| word >= q) {
        return Err(PeerFault::Malformed { what, reason: "a word is not below its modulus".into() }.into());
    }
    Ok(())
}

/// Server: replies to a layer's keys, a message of the length that the plan says. Gives the reply, M + W·Z on the used outputs
/// (images × elements in Z_q), and the deltas.
///
/// # Errors
/// [`ProtocolError::Peer`] for keys that do not decode (a zero key, a coefficient out of range, …).
pub fn server_reply(
    plan: &Plan,
    layer: &LinearPlan,
    hints: &LayerHints,
    keys: &[u8],
    seed: &Seed,
) -> Result<(Vec<u8>, Raw, Deltas), ProtocolError> {
    let params = plan.params();
    let (key_len, zero_len) = (PublicKey::wire_len(params), layer.zero_bytes(params));
    let (groups, deltas) = keys.split_at(layer.groups * (key_len + zero_len));
    let deltas = Deltas::new(plan, layer, deltas)?;
    let groups: Vec<(PublicKey, &[u8])> = groups
        .par_chunks(key_len + zero_len)
        .map(|part| {
            let key = PublicKey::from_bytes(params, &part[..key_len]).or_malformed("key polynomial")?;
            Ok((key, &part[key_len..]))
        })
        .collect::<Result<_, ProtocolError>>()?;

    let polys = layer.packing().output_polys();
    let (messages, masks): (Vec<Vec<u8>>, Vec<RnsPoly<Coeff>>) = (0..layer.groups * polys)
        .into_par_iter()
        .map(|at| {
            let (g, o) = (at / polys, at % polys);
            let fresh = seed.fork("server group", &[g as u64]).fork("reply", &[o as u64]);
            let (reply, mask) =
                masked_reply(params, &hints.hints[o], &hints.public_a, &groups[g].0, layer.reply_bits, fresh)
                    .or_malformed("layer keys")?;
            Ok((reply.to_bytes(), mask.into_poly()))
        })
        .collect::<Result<Vec<_>, ProtocolError>>()?
        .into_iter()
        .unzip();
    let mut message = Vec::with_capacity(replies_bytes(plan, layer));
    messages.iter().for_each(|reply| message.extend_from_slice(reply));
    let mut mask = used(plan, layer, &masks);
    drop(masks);
    if let Some(zeros) = &hints.zeros {
        add_zeros(plan, layer, zeros, &groups, &mut mask)?;
    }
    Ok((message, mask, deltas))
}

/// Adds what the packing's known zeros contribute, group by group.
fn add_zeros(
    plan: &Plan,
    layer: &LinearPlan,
    (correction, prepared): &ZeroProducts,
    groups: &[(PublicKey, &[u8])],
    mask: &mut Raw,
) -> Result<(), ProtocolError> {
    let (params, per_group) = (plan.params(), layer.packing().images());
    let all = plan.images() * layer.tiling.tiles();
    // Per group and limb the contribution to the outputs of its virtual images.
    let products: Vec<Vec<Zeroizing<Vec<u64>>>> = groups
        .iter()
        .enumerate()
        .map(|(g, (_, bytes))| {
            let images = per_group.min(all - g * per_group);
            let limbs = zip(known_zeros(plan, layer, bytes)?, zip(&**prepared, params.moduli()));
            Ok(limbs.map(|(zeros, (conv, q))| correction.run(conv, q, &zeros, images).into()).collect())
        })
        .collect::<Result<_, ProtocolError>>()?;
    let (length, whole) = (layer.tiling.tile().output_len(), layer.geometry().output_len());
    mask.chunks_mut(whole).into_par_iter().enumerate().for_each(|(image, mut limbs)| {
        for (limb, (mask, q)) in zip(&mut limbs, params.moduli()).enumerate() {
            for (element, mask) in mask.iter_mut().enumerate() {
                let place = layer.outputs.as_ref().map_or(element, |outputs| outputs[element] as usize);
                let (at, index) = (image * layer.tiling.tiles() + place / length, place % length);
                let product = products[at / per_group][limb][at % per_group * length + index];
                *mask = q.add(*mask, product);
            }
        }
    });
    Ok(())
}

/// The lifted masks of the packing's known zeros in one group: per limb and input polynomial its coefficients, zero
/// elsewhere.
fn known_zeros(
    plan: &Plan,
    layer: &LinearPlan,
    bytes: &[u8],
) -> Result<Vec<Vec<Zeroizing<Vec<u64>>>>, ProtocolError> {
    const WHAT: &str = "masks of known zeros";
    let (params, count) = (plan.params(), layer.zeros());
    let (mut rest, mut limbs) = (bytes, Vec::with_capacity(params.limbs()));
    for (limb, bits) in layer.wide_bits(params).into_iter().enumerate() {
        let (own, more) = rest.split_at((count * bits as usize).div_ceil(8));
        rest = more;
        let words = Zeroizing::new(unpack(own, count, bits).or_malformed(WHAT)?);
        check_range(plan, layer, limb, &words, WHAT)?;
        limbs.push(words);
    }
    let lifted = match layer.masked_bits {
        Some(bits) => Raw::up(params, &limbs[0], bits),
        None => Raw::new(limbs.iter_mut().map(|limb| std::mem::take(&mut **limb)).collect()),
    };
    let polys = |lifted: &Vec<u64>| {
        let mut rest = lifted.as_slice();
        let poly = |reads: &Vec<u32>| {
            let (own, more) = rest.split_at(reads.len());
            rest = more;
            let mut coefficients = Zeroizing::new(vec![0u64; params.n()]);
            zip(reads, own).for_each(|(&at, &value)| coefficients[at as usize] = value);
            coefficients
        };
        layer.zero_reads.iter().map(poly).collect()
    };
    Ok(lifted.limbs().iter().map(polys).collect())
}
