//! Server: its replies to a linear layer's keys.
//!
//! Per output polynomial and group a masked reply (an RLWE sample under a fresh u added to the hint) and its own mask M.
//! What the packing's known zeros contribute, W·Z, depends on nothing but the weights and what the client just sent, so it
//! is added to M here and the online convolution is the ordinary zero-padded one. Bias and dither are added here as
//! well, the dither on every used output: what leaves of a layer, through whatever sums, holds at least one layer's
//! dither, made for the finest ring in which it is read.
//!
//! Afterwards, with X the lifted slots: W·X + mask + c = W·x + bias + noise in Z_q on every used output, `noise` being
//! bounded by the network's noise budget.

use std::iter::zip;

use he_core::seed::Seed;
use he_core::split::{Epoch, Hint, PublicKey, masked_reply};
use he_core::{Coeff, Ntt, Params, RnsPoly};
use nn_merge::fixed_point::dither_log2_sigma;
use rayon::prelude::*;
use ss_core::bits::unpack;
use zeroize::Zeroizing;

use super::keys::{keys_bytes, replies_bytes, used};
use crate::error::{PeerFault, PeerResult, ProtocolError};
use crate::plan::{LinearPlan, Plan};
use crate::raw::Raw;

/// Outputs that one stream of dither serves.
const CHUNK: usize = 1 << 13;

/// The weights that meet an output polynomial: input polynomials and their factors.
type Terms = Vec<(usize, RnsPoly<Ntt>)>;

/// The server's hints of one layer in one layout; serves all clients of an epoch.
pub struct LayerHints {
    /// Per output polynomial.
    hints: Vec<Hint>,
    /// Per output polynomial its weights, if they are kept for products with known zeros.
    kept: Option<Vec<Terms>>,
    /// Public half of the clients' keys.
    public_a: RnsPoly<Ntt>,
}

impl LayerHints {
    /// Computes the hints of `layer` once per model, epoch and layout. With `keep` the weights' transforms stay.
    pub fn new(params: &Params, epoch: &Epoch, layer: &LinearPlan, weights: &[i32], keep: bool) -> Self {
        let packing = layer.packing();
        let place = layer.node as u32;
        let a: Vec<RnsPoly<Ntt>> = (0..packing.input_polys())
            .into_par_iter()
            .map(|j| epoch.public_a(params, place, j as u32))
            .collect();
        let keep = keep && layer.zeros() > 0;
        let (hints, kept): (Vec<Hint>, Vec<Option<Terms>>) = (0..packing.output_polys())
            .into_par_iter()
            .map(|o| {
                let terms = terms(params, layer, weights, o);
                let products: Vec<_> = terms.iter().map(|(j, w)| (w, &a[*j])).collect();
                let hint = Hint::new(params, &products);
                (hint, keep.then_some(terms))
            })
            .unzip();
        Self { hints, kept: kept.into_iter().collect(), public_a: epoch.public_key_a(params, place) }
    }

    /// Bytes that keeping the weights of `layer` takes; none without known zeros.
    pub fn kept_bytes(params: &Params, layer: &LinearPlan) -> usize {
        if layer.zeros() == 0 {
            return 0;
        }
        let packing = layer.packing();
        let pairs: usize = (0..packing.output_polys()).map(|o| packing.pairs(o).len()).sum();
        8 * params.limbs() * params.n() * pairs
    }
}

/// The weight polynomials of output polynomial `o`, transformed.
fn terms(params: &Params, layer: &LinearPlan, weights: &[i32], o: usize) -> Terms {
    let packing = layer.packing();
    let term = |j| {
        let weights = packing.weight_terms(o, j, weights);
        (j, RnsPoly::from_signed(params, &weights).into_ntt(params))
    };
    packing.pairs(o).into_iter().map(term).collect()
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

/// The server's half of a linear layer.
#[derive(Debug)]
pub struct ServerLayer {
    /// M + W·Z + bias + dither on the used outputs: images × elements in Z_q.
    pub mask: Raw,
    /// What makes slots of masked elements.
    pub deltas: Deltas,
}

/// A layer's private numbers.
#[derive(Clone, Copy)]
pub struct LayerNumbers<'a> {
    /// As in the model.
    pub weights: &'a [i32],
    /// In Z_q, limb by limb: per output channel or per element of the result.
    pub bias: &'a [Vec<u64>],
}

/// Server: replies to a layer's keys. Gives the message and its half.
///
/// # Errors
/// [`ProtocolError::Peer`] for keys that do not decode (a zero key, a coefficient out of range, …).
pub fn server_reply(
    plan: &Plan,
    layer: &LinearPlan,
    hints: &LayerHints,
    numbers: LayerNumbers<'_>,
    keys: &[u8],
    seed: &Seed,
) -> Result<(Vec<u8>, ServerLayer), ProtocolError> {
    let params = plan.params();
    let (key_len, zero_len) = (PublicKey::wire_len(params), layer.zero_bytes(params));
    let expected = keys_bytes(plan, layer);
    if keys.len() != expected {
        return Err(PeerFault::Length {
            what: "layer keys",
            expected: expected as u64,
            got: keys.len() as u64,
        }
        .into());
    }
    let (groups, deltas) = keys.split_at(layer.groups * (key_len + zero_len));
    let deltas = Deltas::new(plan, layer, deltas)?;
    let groups: Vec<(PublicKey, Vec<RnsPoly<Ntt>>)> = groups
        .par_chunks(key_len + zero_len)
        .map(|part| {
            let key = PublicKey::from_bytes(params, &part[..key_len]).or_malformed("key polynomial")?;
            Ok((key, known_zeros(plan, layer, &part[key_len..])?))
        })
        .collect::<Result<_, ProtocolError>>()?;

    let polys = layer.packing().output_polys();
    // Output polynomial by output polynomial, so that weights that are not kept are transformed once for all groups.
    let columns = (0..polys)
        .into_par_iter()
        .map(|o| {
            let anew;
            let weights: &[_] = match &hints.kept {
                _ if layer.zeros() == 0 => &[],
                Some(kept) => &kept[o],
                None => {
                    anew = terms(params, layer, numbers.weights, o);
                    &anew
                }
            };
            groups
                .par_iter()
                .enumerate()
                .map(|(g, (key, zeros))| {
                    let fresh = seed.fork("server group", &[g as u64]).fork("reply", &[o as u64]);
                    let (reply, mask) =
                        masked_reply(params, &hints.hints[o], &hints.public_a, key, layer.reply_bits, fresh)
                            .or_malformed("layer keys")?;
                    let mut mask = mask.into_poly();
                    if !zeros.is_empty() {
                        let terms: Vec<_> = weights.iter().map(|(j, w)| (w, &zeros[*j])).collect();
                        mask += &RnsPoly::dot(params, &terms).into_coeff(params);
                    }
                    Ok((reply.to_bytes(), mask))
                })
                .collect::<Result<Vec<_>, ProtocolError>>()
        })
        .collect::<Result<Vec<_>, ProtocolError>>()?;
    let mut message = Vec::with_capacity(replies_bytes(plan, layer));
    let mut masks = Vec::with_capacity(layer.groups * polys);
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    for _ in 0..layer.groups {
        for (bytes, mask) in columns.iter_mut().filter_map(Iterator::next) {
            message.extend_from_slice(&bytes);
            masks.push(mask);
        }
    }
    let mut mask = used(plan, layer, &masks);
    drop(masks);
    let plane = layer.geometry().out_height() * layer.geometry().out_width();
    let per_channel = numbers.bias.iter().all(|bias| bias.len() == layer.geometry().shape().out_channels);
    mask.add_repeated(params, numbers.bias, if per_channel { plane } else { 1 });
    add_dither(params, &mut mask, layer.ring_bits, seed)?;
    Ok((message, ServerLayer { mask, deltas }))
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
        .map_err(|error: he_core::HeError| ProtocolError::Caller(error.to_string()))
}

/// The polynomials that hold only the lifted masks of the packing's known zeros, in NTT form; none if there are no such
/// zeros.
fn known_zeros(plan: &Plan, layer: &LinearPlan, bytes: &[u8]) -> Result<Vec<RnsPoly<Ntt>>, ProtocolError> {
    const WHAT: &str = "masks of known zeros";
    let (params, count) = (plan.params(), layer.zeros());
    if count == 0 {
        return Ok(Vec::new());
    }
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
    let starts = layer.zero_reads.iter().scan(0, |next, reads| {
        let start = *next;
        *next += reads.len();
        Some(start)
    });
    let polys: Vec<(usize, &Vec<u32>)> = zip(starts, &layer.zero_reads).collect();
    polys
        .into_par_iter()
        .map(|(start, reads)| {
            let mut residues = vec![vec![0u64; params.n()]; params.limbs()];
            for (coefficients, lifted) in zip(&mut residues, lifted.limbs()) {
                for (&at, &value) in zip(reads, &lifted[start..]) {
                    coefficients[at as usize] = value;
                }
            }
            let poly: RnsPoly<Coeff> = RnsPoly::from_residues(params, residues).or_malformed(WHAT)?;
            Ok(poly.into_ntt(params))
        })
        .collect()
}
