//! A linear layer online: slots from the masked input, a plaintext convolution per limb, the prepared mask.
//!
//! The server holds Z of the input tensor. A slot is X = 2^(p−w)·Z + delta in Z_2^p, lifted to Z_q (in `exact` lift(Z) +
//! delta in Z_q); a known zero has Z = 0, an unread slot is 0. The tiles of all images are convolved as a batch of images.

use std::iter::zip;

use conv_fast::PreparedConv;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::error::ProtocolError;
use crate::offline::replies::ServerLayer;
use crate::plan::{FREE, LinearPlan, Plan, UNREAD};
use crate::raw::Raw;

/// The server's share of the result, images × elements, from its share Z of the input tensor.
pub(super) fn run(
    plan: &Plan,
    layer: &LinearPlan,
    half: ServerLayer,
    convolutions: &[PreparedConv],
    input: &[u64],
) -> Result<Raw, ProtocolError> {
    let (params, images) = (plan.params(), plan.images());
    let slots = slots(plan, layer, &half, input)?;
    let mut share = half.mask;
    let batch = images * layer.tiling.tiles();
    let limbs: Vec<Zeroizing<Vec<u64>>> = zip(convolutions, slots.limbs())
        .map(|(convolution, slots)| Zeroizing::new(convolution.run(slots, batch)))
        .collect();
    drop(slots);
    let (length, all) = (layer.geometry().output_len(), layer.tiling.output_slots());
    share.chunks_mut(length).into_par_iter().enumerate().for_each(|(image, mut share)| {
        for ((share, product), q) in zip(zip(&mut share, &limbs), params.moduli()) {
            let product = &product[image * all..][..all];
            match &layer.outputs {
                None => zip(share.iter_mut(), product).for_each(|(m, &w)| *m = q.add(*m, w)),
                Some(outputs) => {
                    zip(share.iter_mut(), outputs).for_each(|(m, &at)| *m = q.add(*m, product[at as usize]));
                }
            }
        }
    });
    Ok(share)
}

/// X of every slot, images × slots.
fn slots(plan: &Plan, layer: &LinearPlan, half: &ServerLayer, input: &[u64]) -> Result<Raw, ProtocolError> {
    let params = plan.params();
    let (narrow, wide) = half.deltas.words(plan, layer)?;
    let per_image = input.len() / plan.images();
    let count = layer.slots.len();
    let mut slots = vec![Zeroizing::new(vec![0u64; plan.images() * count]); wide.len()];
    // Z at every slot, or what stands for it, with its delta: one pass per limb, the deltas in order.
    let drop = layer.narrow_bits();
    match layer.masked_bits {
        Some(bits) => {
            let ring = (1u64 << bits) - 1;
            let images = slots[0].par_chunks_mut(count).zip(input.par_chunks(per_image)).enumerate();
            images.for_each(|(image, (slots, input))| {
                let mut narrow = narrow[image * layer.deltas[0]..].iter();
                let mut wide = wide[0][image * layer.deltas[1]..].iter();
                for ((x, &slot), &bound) in zip(zip(slots, &layer.slots), &layer.bound) {
                    if slot == UNREAD {
                        continue;
                    }
                    let z = input.get(slot as usize).copied().unwrap_or(0);
                    let delta = if bound == FREE { wide.next() } else { narrow.next() };
                    *x = (z << drop).wrapping_add(delta.copied().unwrap_or(0)) & ring;
                }
            });
            Ok(Raw::up(params, &slots[0], bits))
        }
        None => {
            let values = &mut slots[0];
            values.par_chunks_mut(count).zip(input.par_chunks(per_image)).for_each(|(values, input)| {
                for (z, &slot) in zip(values, &layer.slots) {
                    *z = input.get(slot as usize).copied().unwrap_or(0);
                }
            });
            let mut lifted = Raw::up(params, values, layer.width);
            for (image, mut limbs) in lifted.chunks_mut(count).into_iter().enumerate() {
                for ((limb, wide), q) in zip(zip(&mut limbs, &wide), params.moduli()) {
                    let mut wide = wide[image * layer.deltas[1]..].iter();
                    for (x, &slot) in zip(limb.iter_mut(), &layer.slots) {
                        if slot != UNREAD {
                            *x = q.add(*x, wide.next().copied().unwrap_or(0));
                        }
                    }
                }
            }
            Ok(lifted)
        }
    }
}
