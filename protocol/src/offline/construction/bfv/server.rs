//! Server: prepared weight polynomials, sums of products, joined where the layer's replies are, replies.

use he_core::bfv::share::Residues;
use he_core::rlwe::{Ciphertext, SeededCiphertext};
use he_core::seed::Seed;
use he_core::{Coeff, Ntt, RnsPoly};
use rayon::prelude::*;

use super::{Scheme, ServerKeys, has_room_for, levels, read_polys, replies_bytes, residue, used};
use crate::error::{PeerResult, ProtocolError};
use crate::plan::{LinearPlan, Plan};
use crate::raw::Raw;

/// Most bytes of prepared weights of one layer.
const MOST_BYTES: usize = 4 << 30;

/// The weight polynomials of one layer in one layout, in the form for products.
pub struct Weights {
    /// Per output polynomial: input polynomials and what they are multiplied with.
    pub(in super::super) outputs: Vec<Vec<(usize, RnsPoly<Ntt>)>>,
}

impl Weights {
    /// Prepares a layer's weights, once per model and layout.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for weights beyond [`super::MOST_WEIGHT`], or for more polynomials than fit the memory.
    pub fn new(scheme: &Scheme, layer: &LinearPlan, weights: &[i32]) -> Result<Self, ProtocolError> {
        let refuse = |reason: String| {
            Err(ProtocolError::Caller(format!("{}: {reason}: prepare by `split`", layer.name)))
        };
        if !has_room_for(weights) {
            return refuse(format!("it has weights beyond {}, too large for `bfv`", super::MOST_WEIGHT));
        }
        let (packing, rlwe) = (layer.packing(), scheme.ring.rlwe());
        let pairs: usize = (0..packing.output_polys()).map(|o| packing.pairs(o).len()).sum();
        let bytes = pairs.saturating_mul(8 * rlwe.n() * rlwe.limbs());
        if bytes > MOST_BYTES {
            return refuse(format!(
                "its weights would take {} MB as `bfv` needs them, at most {} MB are taken",
                bytes / 1_000_000,
                MOST_BYTES / 1_000_000
            ));
        }
        let levels = levels(scheme, layer);
        let residue = residue(layer, levels);
        let polynomial = |terms: &[(usize, i64)]| match levels {
            0 => scheme.ring.weights(terms),
            levels => scheme.ring.weights_to_join(terms, levels, residue),
        };
        let prepare = |o: usize| {
            let pair = |j: usize| (j, polynomial(&packing.weight_terms(o, j, weights)));
            packing.pairs(o).into_iter().map(pair).collect()
        };
        Ok(Self { outputs: (0..packing.output_polys()).into_par_iter().map(prepare).collect() })
    }
}

/// Server: the reply, and its own share of W·r in Z_q, images × elements.
///
/// # Errors
/// [`ProtocolError::Peer`] for ciphertexts that do not decode.
pub fn server_reply(
    plan: &Plan,
    scheme: &Scheme,
    layer: &LinearPlan,
    weights: &Weights,
    keys: &ServerKeys,
    message: &[u8],
    seed: &Seed,
) -> Result<(Vec<u8>, Raw), ProtocolError> {
    let (ring, rlwe) = (&scheme.ring, scheme.ring.rlwe());
    let number = scheme.number(layer)?;
    let (public, joining, levels) = (&keys.publics[number], &keys.joining[number], levels(scheme, layer));
    let ciphertexts: Vec<Ciphertext> = message
        .par_chunks(scheme.ciphertext_bytes())
        .map(|bytes| {
            let seeded = SeededCiphertext::from_bytes(rlwe, bytes).or_malformed("layer keys")?;
            Ok(seeded.expand(rlwe))
        })
        .collect::<Result<_, ProtocolError>>()?;
    // Where an input polynomial lies among those that are read.
    let mut places = vec![0; layer.packing().input_polys()];
    let read = read_polys(layer).zip(0..).map(|(poly, place)| places[poly] = place).count();
    let polys = layer.packing().output_polys();
    let sum = |at: usize| {
        let (group, o) = (at / polys, at % polys);
        let terms: Vec<_> =
            weights.outputs[o].iter().map(|(j, w)| (w, &ciphertexts[group * read + places[*j]])).collect();
        ring.dot(&terms)
    };
    // What is added to a reply is named by the first output polynomial in it.
    let (all, joined) = (layer.groups * polys, 1 << levels);
    let reply = |first: usize| {
        let sum = match levels {
            0 => sum(first),
            levels => {
                let sums = (first..all.min(first + joined)).into_par_iter().map(sum).collect();
                ring.join(joining, levels, sums)
            }
        };
        ring.finish(sum, public, seed.fork("bfv reply", &[(first / polys) as u64, (first % polys) as u64]))
    };
    let parts: Vec<(RnsPoly<Coeff>, RnsPoly<Ntt>)> =
        (0..all).into_par_iter().step_by(joined).map(reply).collect();
    drop(ciphertexts);

    let limbs = ring.reply_moduli().len();
    let mask = |image: usize| {
        let mut values =
            used(layer, levels, image, limbs, |reply, limb| parts[reply].0.limb(limb).coefficients());
        let share = ring.mask(&mut values, &mut seed.fork("bfv mask", &[image as u64]).stream());
        (values, share)
    };
    let (values, shares): (Vec<Vec<Vec<u64>>>, Vec<Residues>) =
        (0..plan.images()).into_par_iter().map(mask).unzip();
    let mut message = Vec::with_capacity(replies_bytes(plan, scheme, layer));
    for (_, c1) in &parts {
        ring.pack((0..limbs).map(|limb| c1.limb(limb).values()), &mut message);
    }
    let values: Vec<Vec<u64>> = (0..limbs)
        .map(|limb| values.iter().flat_map(|image| image[limb].iter().copied()).collect())
        .collect();
    ring.pack(values.iter().map(Vec::as_slice), &mut message);
    Ok((message, Raw::joined(plan.params(), layer.geometry().output_len(), shares)))
}
