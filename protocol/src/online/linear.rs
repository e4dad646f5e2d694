//! A linear layer online: slots from the masked input, a plaintext convolution per limb, the prepared mask.
//!
//! The server holds Z of the input tensor. A slot is X = 2^(p−w)·Z + delta in Z_2^p, lifted to Z_q (in `exact` lift(Z) +
//! delta in Z_q); without deltas it is lift(Z). A known zero has Z = 0, an unread slot is 0. The tiles of all images are convolved as a batch of images.

use std::iter::zip;

use conv_fast::PreparedConv;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::error::ProtocolError;
use crate::offline::construction::ServerLayer;
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
    let per_image = input.len() / plan.images();
    let count = layer.slots.len();
    let mut values = Zeroizing::new(vec![0u64; plan.images() * count]);
    let gather = |values: &mut Zeroizing<Vec<u64>>| {
        values.par_chunks_mut(count).zip(input.par_chunks(per_image)).for_each(|(values, input)| {
            for (z, &slot) in zip(values, &layer.slots) {
                *z = input.get(slot as usize).copied().unwrap_or(0);
            }
        });
    };
    let Some(deltas) = &half.deltas else {
        gather(&mut values);
        return Ok(Raw::up(params, &values, layer.width));
    };
    let (narrow, wide) = deltas.words(plan, layer)?;
    // Z at every slot, or what stands for it, with its delta: one pass per limb, the deltas in order.
    let drop = layer.narrow_bits();
    match layer.masked_bits {
        Some(bits) => {
            let ring = (1u64 << bits) - 1;
            let images = values.par_chunks_mut(count).zip(input.par_chunks(per_image)).enumerate();
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
            Ok(Raw::up(params, &values, bits))
        }
        None => {
            gather(&mut values);
            let mut lifted = Raw::up(params, &values, layer.width);
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use he_core::split::Epoch;
    use he_core::{Profile, Seed};
    use nn_merge::fixed_point::networks::{Conv, Sketch};
    use nn_merge::model::{LocalOp, Model, limits};
    use rand_core::Rng;

    use super::*;
    use crate::offline::construction::SlotMasks;
    use crate::offline::construction::split::{Deltas, client_keys};
    use crate::offline::rho::Rho;
    use crate::plan::OutputMode;

    /// An input read by a padded convolution in tiles, by a strided one (whose slots are free), and, summed, joined and
    /// padded, by a third.
    fn model(profile: Profile, width: u32, seed: &Seed) -> Model {
        let mut rng = seed.fork("model", &[]).stream();
        let mut net = Sketch::new(profile, [2, 70, 35], width, 100.0, &mut rng);
        let first = net.conv(0, Conv::same(2, 3)).unwrap();
        let second = net.conv(0, Conv { stride: [2, 2], ..Conv::same(2, 3) }).unwrap();
        let pool = net.pool(0, [2, 3], [1, 2], [0; 4]).unwrap();
        let sums = net.local(&[0], LocalOp::SumPool(pool)).unwrap();
        let joined = net.local(&[sums, sums], LocalOp::Concat).unwrap();
        let padded = net.local(&[joined], LocalOp::Pad { before: [0, 1, 0], after: [0, 0, 2] }).unwrap();
        let third = net.conv(padded, Conv::plain(2, [2, 2])).unwrap();
        let sizes = [first, second, third].map(|node| net.shape(node));
        let cut = |net: &mut Sketch<'_, _>, node| {
            let size = [0, 1, 2].map(|axis| sizes.iter().map(|shape| shape[axis]).min().unwrap());
            net.local(&[node], LocalOp::Slice { start: [0; 3], step: [1; 3], size }).unwrap()
        };
        let cuts = [first, second, third].map(|node| cut(&mut net, node));
        let sum = net.sum(&cuts);
        net.finish(sum).unwrap()
    }

    /// Checks that slots are x − r, but for those of deltas in which `plant` has flipped a bit; gives how many are not.
    fn wrong_slots(profile: Profile, plant: bool) -> usize {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).unwrap();
        println!("seed {bytes:?}");
        let seed = Seed::from_bytes(bytes);
        let width = if profile == Profile::Tiny { 18 } else { 22 };
        let images = 2;
        let plan = Plan::new(&model(profile, width, &seed).manifest, images, OutputMode::Label).unwrap();
        let params = plan.params();
        let mut words = seed.fork("input", &[]).stream();
        let full = (1u64 << width) - 1;
        let z: Vec<u64> = (0..images * plan.input_len()).map(|_| words.next_u64() & full).collect();

        let mut rho = Rho::new(&plan, &seed);
        let epoch = Epoch::new([9; 32]);
        let halves: Vec<(ServerLayer, SlotMasks)> = plan
            .layers()
            .iter()
            .map(|layer| {
                let own = seed.fork("layer", &[layer.node as u64]);
                let (mut message, _, slots) = client_keys(&plan, layer, &epoch, &own, &mut rho);
                let (narrow, wide) = layer.delta_bytes(params, images);
                let start = message.len() - narrow - wide.iter().sum::<usize>();
                if plant {
                    message[start] ^= 1;
                }
                let deltas = Deltas::new(&plan, layer, &message[start..]).unwrap();
                (ServerLayer { mask: Raw::zeros(params, 0), deltas: Some(deltas) }, slots)
            })
            .collect();

        let masks = rho.of_producer(&plan.producers()[0]);
        let shares: Vec<u64> = zip(&z, masks.iter()).map(|(&z, &rho)| z.wrapping_sub(rho) & full).collect();
        let wrong = Cell::new(0);
        for (layer, (half, masks)) in zip(plan.layers(), &halves) {
            // Both views of the layer's input: the server's share and the value.
            let view = |values: &[u64]| -> Vec<u64> {
                let images = values.chunks(plan.input_len());
                images
                    .flat_map(|image| (0..layer.places.len()).map(|i| layer.places.sum(i, image) & full))
                    .collect()
            };
            let (share, value) = (view(&shares), view(&z));
            let got = slots(&plan, layer, half, &share).unwrap();
            let per_image = layer.places.len();
            for image in 0..images {
                for (at, &slot) in layer.slots.iter().enumerate() {
                    let x = value[image * per_image..][..per_image].get(slot as usize).copied().unwrap_or(0);
                    let place = image * layer.slots.len() + at;
                    let off = match layer.masked_bits {
                        Some(bits) => {
                            let r = masks.values()[0][place];
                            let x = (x << (bits - width)).wrapping_sub(r) & ((1 << bits) - 1);
                            u64::from(params.up(&[x], bits)[0][0] != got.limbs()[0][place])
                        }
                        None => {
                            // Two shares that are lifted apart are within one unit.
                            let lifted = params.compose(&params.up(&[x], width).concat());
                            let residues = |limbs: &[Vec<u64>]| -> Vec<u64> {
                                limbs.iter().map(|limb| limb[place]).collect()
                            };
                            let r = params.compose(&residues(masks.values()));
                            let got = params.compose(&residues(got.limbs()));
                            let q = params.q();
                            let off = (got + r + q - lifted) % q;
                            u64::from(off.min(q - off) > 1)
                        }
                    };
                    if slot != UNREAD {
                        wrong.set(wrong.get() + off as usize);
                    }
                }
            }
            if layer.masked_bits.is_some() {
                let (narrow, _) = half.deltas.as_ref().unwrap().words(&plan, layer).unwrap();
                assert!(narrow.iter().all(|&delta| delta >> layer.narrow_bits() == 0));
            }
        }
        let bound: usize = plan.layers().iter().map(|layer| layer.deltas[0]).sum();
        match limits(profile).masked_bits {
            Some(_) => assert!(bound > 0 && bound <= plan.input_len(), "an element is bound once"),
            None => assert_eq!(bound, 0),
        }
        wrong.get()
    }

    #[test]
    fn slots_hold_the_value_less_its_mask_in_every_profile() {
        for profile in Profile::ALL {
            assert_eq!(wrong_slots(profile, false), 0, "{profile}");
            assert_eq!(wrong_slots(profile, true), 3, "{profile}: one planted bit per layer");
        }
    }
}
