//! Choice of a layout by the bytes it costs per image.
//!
//! A layout costs, for each set of G images, one reply of N coefficients of t bits per output polynomial, p bits per known
//! zero that has to be told, and the fixed cost of a key:
//!
//! ```text
//! bits per image = ⌈B/G⌉/B · (output polynomials · N · t + zeros · p + key)
//! ```
//!
//! for a bundle of B images. More outputs per polynomial (M) save replies and cost zeros; more images (G) share both.
//! All sensible (G, C, M) are tried, with and without stride phases; the reply alone is a lower bound that prunes most of
//! them before their zeros are counted. Ties go to the layout with fewer polynomial products. The choice depends on public
//! numbers only and is deterministic, so that both parties arrive at the same layout.

use super::{Layout, Packing, check_degree, plane::Plane};
use crate::{ConvError, ConvGeometry};
use std::sync::Arc;

/// What the parts of a layout cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackingCost {
    /// Bits t per coefficient of a reply.
    pub reply_bits: u32,
    /// Bits p per known zero.
    pub zero_bits: u32,
    /// Bits of the key for each set of images that share polynomials.
    pub key_bits: u64,
}

impl PackingCost {
    /// Bits for one set of G images in this packing.
    pub fn bits(&self, packing: &Packing) -> u64 {
        self.reply(packing.output_polys(), packing.degree())
            + packing.zero_reads_total() as u64 * u64::from(self.zero_bits)
    }

    fn reply(&self, output_polys: usize, degree: usize) -> u64 {
        (output_polys * degree) as u64 * u64::from(self.reply_bits) + self.key_bits
    }

    /// Replies, and the zeros that the other output slots certainly read: each pixel that is read at all is read M − 1
    /// more times through them, each time at another free coefficient.
    fn lower_bound(&self, geometry: &ConvGeometry, degree: usize, layout: Layout, plane: &Plane) -> u64 {
        let outputs = geometry.shape().out_channels;
        let reply = self.reply(outputs.div_ceil(layout.outputs), degree);
        if geometry.shape().groups > 1 {
            return reply;
        }
        let pixels: usize = plane.phases.iter().map(|phase| phase.pixels_read).sum();
        let free = (layout.outputs.min(outputs) - 1) * layout.images * geometry.group_inputs() * pixels;
        reply + free as u64 * u64::from(self.zero_bits)
    }
}

/// The layout with the fewest bytes per image for bundles of `images_in_bundle` images, ring degree `degree`.
///
/// # Errors
/// [`ConvError::Degree`], [`ConvError::Zero`] for an empty bundle, [`ConvError::PlaneTooLarge`] if not even one plane fits.
pub fn choose(
    geometry: &ConvGeometry,
    degree: usize,
    images_in_bundle: usize,
    cost: &PackingCost,
) -> Result<Packing, ConvError> {
    check_degree(degree)?;
    if images_in_bundle == 0 {
        return Err(ConvError::Zero { what: "images in a bundle" });
    }
    let plain = Plane::new(geometry, degree, false);
    let mut planes = Vec::new();
    if geometry.shape().stride != [1, 1]
        && let Ok(split) = Plane::new(geometry, degree, true)
    {
        planes.push((true, Arc::new(split)));
    }
    let refusal = match plain {
        Ok(plain) => {
            planes.push((false, Arc::new(plain)));
            None
        }
        Err(error) => Some(error),
    };
    let mut candidates = Vec::new();
    for (split_stride, plane) in &planes {
        let capacity = degree / plane.length;
        // Slots without taps cost nothing wherever they lie, so that only the others decide.
        let slots = geometry.group_inputs() * plane.used_phases;
        let mut images = 1;
        while images <= images_in_bundle.min(capacity) {
            let sets = images_in_bundle.div_ceil(images) as u64;
            for channels in 1..=slots.min(capacity / images) {
                for outputs in output_counts(geometry, capacity / images / channels) {
                    let layout = Layout { images, channels, outputs, split_stride: *split_stride };
                    let bound = cost.lower_bound(geometry, degree, layout, plane);
                    candidates.push((sets * bound, sets, layout, plane));
                }
            }
            images *= 2;
        }
    }
    candidates.sort_by_key(|&(lower_bound, ..)| lower_bound);
    let mut best: Option<((u64, u64), Packing)> = None;
    for (lower_bound, sets, layout, plane) in candidates {
        if best.as_ref().is_some_and(|&((bits, _), _)| lower_bound > bits) {
            break;
        }
        let packing = Packing::from_plane(geometry, degree, layout, Arc::clone(plane))?;
        let bits = sets * cost.bits(&packing);
        if best.as_ref().is_some_and(|&((least, _), _)| bits > least) {
            continue;
        }
        let products: u64 = (0..packing.output_polys()).map(|o| packing.pairs(o).len() as u64).sum();
        let rank = (bits, sets * products);
        if best.as_ref().is_none_or(|&(least, _)| rank < least) {
            best = Some((rank, packing));
        }
    }
    match (best, refusal) {
        (Some((_, packing)), _) => Ok(packing),
        (None, Some(error)) => Err(error),
        (None, None) => Err(ConvError::Degree { degree }),
    }
}

/// The output counts up to `limit` that matter: for each number of polynomials the least count that attains it, and those
/// that keep groups together.
fn output_counts(geometry: &ConvGeometry, limit: usize) -> Vec<usize> {
    let (total, group) = (geometry.shape().out_channels, geometry.group_outputs());
    let limit = limit.min(total);
    let mut counts: Vec<usize> = Vec::new();
    let mut count = limit;
    while count > 0 {
        let polys = total.div_ceil(count);
        let least = total.div_ceil(polys);
        counts.push(least);
        if group < total && count > group {
            counts.push(count / group * group);
        }
        count = least - 1;
    }
    counts.sort_unstable();
    counts.dedup();
    counts
}
