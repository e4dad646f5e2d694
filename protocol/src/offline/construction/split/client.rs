//! Client: what it sends for a linear layer, and what it makes of the reply.
//!
//! Per group of virtual images a fresh ternary secret s, its key polynomial, and masks r_j = a_j·s + e_j of the group's
//! input polynomials. Of a mask only its value in Z_2^p survives, r·2^p/q rounded at random (in `exact` the residues
//! themselves); the server will hold X = x − r of every slot. The message:
//!
//! | part | per | content |
//! |---|---|---|
//! | key polynomial, known zeros | group | pk; −r of the packing's own zeros that used outputs read |
//! | deltas of bound slots | bundle | 2^(p−w)·Σρ − r, p − w bits each, image after image |
//! | deltas of other read slots | bundle | likewise with p bits; −r for zero slots; in `exact` limb after limb |
//!
//! **Why deltas are safe.** Let x = 2^(p−w)·z be what a slot sums. From Z and the slot's delta the server computes X = x −
//! r, and back: of the slot that ρ was bound to, X gives Z (its high bits) and delta (its low ones); of every other slot X
//! and Z give delta. So all that the server sees of an element is {x − r_i}, one for every slot i that reads it, and nothing
//! else. Every r_i is a coefficient of an RLWE mask of its own: a pair (a, s) masks one vector, once, within it every
//! slot has its own coefficient, and every layer and group has its own s. Hence the {r_i} are together pseudorandom
//! and so is what the server sees, whatever layers, tiles and halos read the element. Elements that nobody reads in a slot are
//! masked by a ρ that is drawn, not bound. The masks of known zeros are RLWE samples in the open, which tell nothing
//! of the others.
//!
//! In Z_2^p this needs r to be uniform there exactly, not about: it is rounded at random. In `exact` nothing is bound: ρ is
//! drawn, and delta = up(Σρ) − r is hidden by r.

use std::iter::zip;

use he_core::seed::Seed;
use he_core::split::{ClientSecret, Epoch, PublicKey, Reply};
use he_core::{Coeff, Ntt, RnsPoly};
use rand_core::Rng;
use rayon::prelude::*;
use ss_core::bits::pack;
use zeroize::Zeroizing;

use super::super::masks::{SlotMasks, sums};
use crate::error::{PeerResult, ProtocolError};
use crate::offline::rho::Rho;
use crate::plan::{FREE, LinearPlan, Plan, UNREAD};
use crate::raw::Raw;

/// The client between its keys and the server's replies: a secret per group.
pub struct ClientLayer(Vec<ClientSecret>);

/// Bytes of the keys message of a layer.
pub fn keys_bytes(plan: &Plan, layer: &LinearPlan) -> usize {
    let params = plan.params();
    let (narrow, wide) = layer.delta_bytes(params, plan.images());
    layer.groups * (PublicKey::wire_len(params) + layer.zero_bytes(params))
        + narrow
        + wide.iter().sum::<usize>()
}

/// Bytes of the replies message of a layer.
pub fn replies_bytes(plan: &Plan, layer: &LinearPlan) -> usize {
    layer.groups * layer.packing().output_polys() * Reply::wire_len(plan.params(), layer.reply_bits)
}

/// Client: keys, known zeros and deltas of one layer from a seed of its own. Binds the layer's part of `rho`: layers come
/// in the plan's order.
pub fn client_keys(
    plan: &Plan,
    layer: &LinearPlan,
    epoch: &Epoch,
    seed: &Seed,
    rho: &mut Rho,
) -> (Vec<u8>, ClientLayer, SlotMasks) {
    let params = plan.params();
    let (place, polys) = (layer.node as u32, layer.packing().input_polys());
    let public_a = epoch.public_key_a(params, place);
    let a: Vec<RnsPoly<Ntt>> =
        (0..polys).into_par_iter().map(|j| epoch.public_a(params, place, j as u32)).collect();
    let own = |g: usize| seed.fork("client group", &[g as u64]);
    let groups: Vec<(ClientSecret, Vec<u8>)> = (0..layer.groups)
        .into_par_iter()
        .map(|g| {
            let secret = ClientSecret::generate(params, &mut own(g).fork("secret", &[]).stream());
            let key = secret.public_key(params, &public_a, &mut own(g).fork("key noise", &[]).stream());
            (secret, key.to_bytes())
        })
        .collect();
    let masks: Vec<Raw> = (0..layer.groups * polys)
        .into_par_iter()
        .map(|at| {
            let (g, j) = (at / polys, at % polys);
            let mut noise = own(g).fork("mask noise", &[j as u64]).stream();
            let mask = groups[g].0.mask(params, &a[j], &mut noise);
            round_mask(layer, &mask, &own(g).fork("mask fraction", &[j as u64]))
        })
        .collect();

    let slots = slot_masks(plan, layer, &masks);
    let wide_bits = layer.wide_bits(params);
    let mut message = Vec::with_capacity(keys_bytes(plan, layer));
    for (g, (_, key)) in groups.iter().enumerate() {
        message.extend_from_slice(key);
        for (limb, &bits) in wide_bits.iter().enumerate() {
            let negate = negation(plan, layer, limb);
            // Room from the start: a vector that grows leaves copies behind that nobody wipes.
            let mut zeros = Zeroizing::new(Vec::with_capacity(layer.zeros()));
            for (reads, mask) in zip(&layer.zero_reads, &masks[g * polys..]) {
                zeros.extend(reads.iter().map(|&i| negate(mask.limbs()[limb][i as usize])));
            }
            message.extend_from_slice(&pack(&zeros, bits));
        }
    }
    drop(masks);
    rho.bind(layer, &slots.values()[0]);
    put_deltas(plan, layer, &slots, rho, &mut message);
    (message, ClientLayer(groups.into_iter().map(|(secret, _)| secret).collect()), slots)
}

/// −r in the slots' own ring: modulo 2^p, or modulo the limb's prime.
fn negation(plan: &Plan, layer: &LinearPlan, limb: usize) -> impl Fn(u64) -> u64 + Sync + use<> {
    let (q, full) = (plan.params().moduli()[limb], layer.masked_bits.map(|bits| (1u64 << bits) - 1));
    move |r| match full {
        Some(full) => r.wrapping_neg() & full,
        None => q.sub(0, r),
    }
}

/// A mask polynomial's value in the ring of the slots.
fn round_mask(layer: &LinearPlan, mask: &RnsPoly<Coeff>, fractions: &Seed) -> Raw {
    let limb = |i: usize| mask.limb(i).coefficients();
    match layer.masked {
        Some(switch) => {
            // A random fraction below the mask makes its value in Z_2^p exactly as uniform as the mask in Z_q.
            let full = layer.masked_bits.map_or(0, |bits| (1u64 << bits) - 1);
            let mut fractions = fractions.stream();
            Raw::new(vec![
                limb(0).iter().map(|&r| switch.down_mask(r, fractions.next_u64() & full)).collect(),
            ])
        }
        None => Raw::new((0..mask.limbs().len()).map(|i| limb(i).to_vec()).collect()),
    }
}

/// The masks of all slots that are read.
fn slot_masks(plan: &Plan, layer: &LinearPlan, masks: &[Raw]) -> SlotMasks {
    let (length, polys) = (layer.tiling.tile().input_len(), layer.packing().input_polys());
    let (tiles, per_group) = (layer.tiling.tiles(), layer.packing().images());
    let limbs = layer.wide_bits(plan.params()).len();
    let mut slots = Raw::new(vec![vec![0; plan.images() * layer.slots.len()]; limbs]);
    slots.chunks_mut(length).into_par_iter().enumerate().for_each(|(image, mut out)| {
        let (own, group) = (&layer.slots[image % tiles * length..][..length], image / per_group * polys);
        for (limb, out) in out.iter_mut().enumerate() {
            for (index, &slot) in own.iter().enumerate() {
                if slot != UNREAD {
                    let (poly, coefficient) = layer.input_at(image, index);
                    out[index] = masks[group + poly].limbs()[limb][coefficient];
                }
            }
        }
    });
    SlotMasks(slots)
}

/// Appends the deltas of all read slots.
fn put_deltas(plan: &Plan, layer: &LinearPlan, slots: &SlotMasks, rho: &Rho, message: &mut Vec<u8>) {
    let params = plan.params();
    let count = layer.slots.len();
    // Σρ of every slot, then its delta in place.
    let mut sums = sums(plan, layer, rho);
    let deltas = match layer.masked_bits {
        Some(bits) => {
            let (drop, ring) = (layer.narrow_bits(), (1u64 << bits) - 1);
            sums.par_iter_mut()
                .zip(&slots.values()[0])
                .for_each(|(sum, &r)| *sum = (*sum << drop).wrapping_sub(r) & ring);
            Raw::new(vec![std::mem::take(&mut *sums)])
        }
        None => {
            let mut lifted = Raw::up(params, &sums, layer.width);
            lifted.sub(params, &slots.0);
            lifted
        }
    };
    let [narrow, wide] = layer.deltas.map(|count| count * plan.images());
    let mut split = Zeroizing::new((Vec::with_capacity(narrow), Vec::with_capacity(wide)));
    for (limb, (deltas, bits)) in zip(deltas.limbs(), layer.wide_bits(params)).enumerate() {
        let (narrow, wide) = &mut *split;
        narrow.clear();
        wide.clear();
        for deltas in deltas.chunks(count) {
            for ((&delta, &slot), &bound) in deltas.iter().zip(&layer.slots).zip(&layer.bound) {
                if bound != FREE {
                    narrow.push(delta);
                } else if slot != UNREAD {
                    wide.push(delta);
                }
            }
        }
        if limb == 0 {
            message.extend_from_slice(&pack(narrow, layer.narrow_bits()));
        }
        message.extend_from_slice(&pack(wide, bits));
    }
}

/// Client: opens the replies; its share of the layer's result in Z_q, images × elements.
///
/// # Errors
/// [`ProtocolError::Peer`] for replies that do not decode.
pub fn client_open(
    plan: &Plan,
    layer: &LinearPlan,
    own: ClientLayer,
    replies: &[u8],
) -> Result<Raw, ProtocolError> {
    let (params, polys) = (plan.params(), layer.packing().output_polys());
    let size = Reply::wire_len(params, layer.reply_bits);
    let opened: Vec<RnsPoly<Coeff>> = replies
        .par_chunks(size)
        .enumerate()
        .map(|(at, bytes)| {
            let reply = Reply::from_bytes(params, layer.reply_bits, bytes).or_malformed("reply")?;
            Ok(own.0[at / polys].open(params, &reply))
        })
        .collect::<Result<_, ProtocolError>>()?;
    Ok(used(plan, layer, &opened))
}

/// The used outputs of a layer's output polynomials, group-major.
pub(super) fn used(plan: &Plan, layer: &LinearPlan, polys: &[RnsPoly<Coeff>]) -> Raw {
    let (length, per_group) = (layer.geometry().output_len(), layer.packing().output_polys());
    let mut out = Raw::zeros(plan.params(), plan.images() * length);
    out.chunks_mut(length).into_par_iter().enumerate().for_each(|(image, mut out)| {
        for (limb, out) in out.iter_mut().enumerate() {
            layer.each_output(image, |element, group, poly, coefficient| {
                let poly = &polys[group * per_group + poly];
                out[element] = poly.limb(limb).coefficients()[coefficient];
            });
        }
    });
    out
}
