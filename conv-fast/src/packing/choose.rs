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
//! All sensible (G, C, M) are tried, with and without stride phases; a lower bound prunes most of them before their zeros
//! are counted. Ties go to the layout with fewer polynomial products. The choice depends on public
//! numbers only and is deterministic, so that both parties arrive at the same layout.
//!
//! A geometry may be the peer's word, so the work is bounded: candidates are tried in the order of their lower bounds
//! until [`work_limit`] is spent, and then the best so far is taken. The largest real layers seen need a fifth of that.

use super::zeros::{self, Work};
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
        self.sum(packing, packing.zero_reads_total())
    }

    fn sum(&self, packing: &Packing, zeros: usize) -> u64 {
        self.reply(packing.output_polys(), packing.degree()) + zeros as u64 * u64::from(self.zero_bits)
    }

    fn reply(&self, output_polys: usize, degree: usize) -> u64 {
        (output_polys * degree) as u64 * u64::from(self.reply_bits) + self.key_bits
    }

    /// Replies, and the zeros that the other output slots certainly read: each pixel that is read at all is read M − 1
    /// more times through them, each time at another free coefficient. With groups, the same holds for each group that has
    /// outputs in a full polynomial.
    fn lower_bound(&self, geometry: &ConvGeometry, degree: usize, layout: Layout, plane: &Plane) -> u64 {
        let s = geometry.shape();
        let outputs = layout.outputs.min(s.out_channels);
        let full = (s.out_channels / outputs * outputs).div_ceil(geometry.group_outputs());
        let free = (outputs - 1) * layout.images * full * geometry.group_inputs() * plane.pixels_read;
        self.reply(s.out_channels.div_ceil(outputs), degree) + free as u64 * u64::from(self.zero_bits)
    }
}

/// The layout with the fewest bytes per image for bundles of `images_in_bundle` images, ring degree `degree`.
///
/// # Errors
/// [`ConvError::Degree`], [`ConvError::Zero`] for an empty bundle, [`ConvError::PlaneTooLarge`] if not even one plane fits,
/// and [`ConvError::TooLarge`] if one fits only when split into more than 2^20 slots (input channels × stride phases), or
/// if no layout's zeros can be counted within the bounded work.
pub fn choose(
    geometry: &ConvGeometry,
    degree: usize,
    images_in_bundle: usize,
    cost: &PackingCost,
) -> Result<Packing, ConvError> {
    search(
        geometry,
        degree,
        images_in_bundle,
        cost,
        &mut Work { spent: 0, limit: work_limit(geometry, degree) },
    )
}

/// Steps (of a few nanoseconds) that a choice may take: a part that no real layer was seen to use up, and twelve per element
/// of the padded input and the output, so that the layers of a network share one bound.
fn work_limit(geometry: &ConvGeometry, degree: usize) -> u64 {
    let s = geometry.shape();
    let [top, left, bottom, right] = s.padding;
    let plane = (s.in_height + top + bottom) as u64 * (s.in_width + left + right) as u64;
    let elements = (s.in_channels as u64).saturating_mul(plane).saturating_add(geometry.output_len() as u64);
    let degree = degree as u64;
    (degree.saturating_mul(degree) / 2).max(1 << 21).saturating_add(elements.saturating_mul(12))
}

/// [`choose`] with the work counted.
fn search(
    geometry: &ConvGeometry,
    degree: usize,
    images_in_bundle: usize,
    cost: &PackingCost,
    work: &mut Work,
) -> Result<Packing, ConvError> {
    check_degree(degree)?;
    if images_in_bundle == 0 {
        return Err(ConvError::Zero { what: "images in a bundle" });
    }
    let mut planes = Vec::new();
    let mut refusal = None;
    let strides: &[bool] = if geometry.shape().stride == [1, 1] { &[false] } else { &[true, false] };
    for &split_stride in strides {
        match Plane::new(geometry, degree, split_stride) {
            Ok(plane) => planes.push((split_stride, Arc::new(plane))),
            // That the split plane has too many slots says more than that the whole plane does not fit.
            Err(_) if matches!(refusal, Some(ConvError::TooLarge { .. })) => {}
            Err(error) => refusal = Some(error),
        }
    }
    if let (true, Some(error)) = (planes.is_empty(), refusal) {
        return Err(error);
    }
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
        let packing = Packing::from_plane(geometry, degree, layout, Arc::clone(plane))?;
        let products = sets * packing.products();
        if let Some((least, _)) = best {
            if lower_bound > least.0 {
                break;
            }
            if (lower_bound, products) >= least {
                continue;
            }
        }
        let Some(zeros) = zeros::total(&packing, work) else { break };
        let rank = (sets * cost.sum(&packing, zeros), products);
        if best.as_ref().is_none_or(|&(least, _)| rank < least) {
            best = Some((rank, packing));
        }
    }
    best.map(|(_, packing)| packing).ok_or(ConvError::TooLarge {
        what: "the number of steps to find a layout",
        value: work.spent,
        limit: work.limit,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConvShape;
    use crate::testing::Random;

    const COST: PackingCost = PackingCost { reply_bits: 24, zero_bits: 46, key_bits: 2048 * 50 };

    fn layer(size: usize, channels: [usize; 2], kernel: usize, stride: usize, groups: usize) -> ConvGeometry {
        ConvGeometry::new(ConvShape {
            in_channels: channels[0],
            in_height: size,
            in_width: size,
            out_channels: channels[1],
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [0; 4],
            dilation: [1; 2],
            groups,
        })
        .unwrap()
    }

    /// The choice for one image and the steps it took.
    fn counted(geometry: &ConvGeometry, limit: u64) -> (Result<Packing, ConvError>, u64) {
        let mut work = Work { spent: 0, limit };
        (search(geometry, 2048, 1, &COST, &mut work), work.spent)
    }

    #[test]
    fn strided_layers_take_few_steps() {
        for (geometry, split) in [
            (layer(28, [256, 512], 1, 2, 1), true),
            (layer(56, [64, 128], 1, 2, 1), true),
            (layer(14, [1024, 2048], 1, 2, 1), true),
            (layer(224, [3, 768], 16, 16, 1), true),
            // Most pixels of this one are never read, and 6.5 million slots are too many.
            (layer(44, [4096, 1], 1, 40, 1), false),
        ] {
            let (packing, steps) = counted(&geometry, u64::MAX);
            let packing = packing.unwrap();
            assert_eq!(packing.layout().split_stride, split, "{geometry:?}");
            assert!(steps < 1 << 15, "{steps} steps for {geometry:?}");
            let zeros: usize = (0..packing.input_polys()).map(|poly| packing.zero_reads(poly).len()).sum();
            assert_eq!(packing.zero_reads_total(), zeros, "{geometry:?}");
        }
    }

    #[test]
    fn too_many_stride_phases_are_refused() {
        for (geometry, slots) in [
            (layer(120, [4096, 1], 1, 120, 1), 4096 * 120 * 120),
            (layer(120, [4096, 1], 1, 60, 1), 4096 * 60 * 60),
            (layer(4096, [1, 1], 1, 65535, 1), 65535 * 65535),
        ] {
            let (result, steps) = counted(&geometry, u64::MAX);
            assert!(
                matches!(result, Err(ConvError::TooLarge { value, limit: 1_048_576, .. }) if value == slots),
                "{result:?}"
            );
            assert_eq!(steps, 0);
        }
    }

    #[test]
    fn hostile_layers_stay_within_the_limit() {
        let million = 1 << 20;
        for (geometry, unbounded) in [
            (layer(1, [million, million], 1, 1, million), true),
            (layer(2, [million / 4, million / 4], 2, 1, million / 8), true),
            (layer(1, [million, 256], 1, 1, 1), true),
            // A million phases, each with its tap: every layout visits them all.
            (layer(1024, [1, 1], 1024, 1024, 1), false),
        ] {
            let limit = work_limit(&geometry, 2048);
            let (packing, steps) = counted(&geometry, limit);
            assert!(packing.is_ok(), "{packing:?}");
            // The step that passes the limit is itself at most a visit of each slot.
            assert!(steps <= limit + 4 * million as u64 + 8, "{steps} steps for {geometry:?}");
            assert!(unbounded || steps > limit, "{steps} steps do not reach {limit}");
        }
    }

    #[test]
    fn a_spent_limit_gives_the_best_so_far_or_an_error() {
        let geometry = layer(1, [300, 200], 1, 1, 1);
        let price = |packing: &Packing| COST.bits(packing);
        let (best, steps) = counted(&geometry, u64::MAX);
        let (none, _) = counted(&geometry, 100);
        assert!(matches!(none, Err(ConvError::TooLarge { limit: 100, .. })), "{none:?}");
        let (some, spent) = counted(&geometry, steps / 20);
        let (some, best) = (some.unwrap(), best.unwrap());
        assert!(spent < steps && price(&some) >= price(&best));
        assert_eq!(some.layout(), counted(&geometry, steps / 20).0.unwrap().layout());
    }

    /// Sums by pattern, period and formula against the plain enumeration, on many groups.
    #[test]
    fn counts_and_bounds_match_enumeration() {
        let mut random = Random::new("grouped counts");
        let mut tight = 0;
        for _ in 0..600 {
            let groups = random.between(1, 40);
            let channels = [groups * random.between(1, 4), groups * random.between(1, 4)];
            let kernel = random.between(1, 2);
            let geometry = layer(random.between(kernel, 5), channels, kernel, random.between(1, 4), groups);
            let split_stride = random.below(2) == 1;
            let plane = Plane::new(&geometry, 128, split_stride).unwrap();
            let capacity = 128 / plane.length;
            let outputs = random.between(1, capacity);
            let channels = random.between(1, capacity / outputs);
            let images = random.between(1, capacity / outputs / channels);
            let layout = Layout { images, channels, outputs, split_stride };
            let packing = Packing::with_layout(&geometry, 128, layout).unwrap();
            let zeros: usize = (0..packing.input_polys()).map(|poly| packing.zero_reads(poly).len()).sum();
            assert_eq!(packing.zero_reads_total(), zeros, "{geometry:?} {layout:?}");
            let products: usize = (0..packing.output_polys()).map(|poly| packing.pairs(poly).len()).sum();
            assert_eq!(packing.products(), products as u64, "{geometry:?} {layout:?}");
            let bound = COST.lower_bound(&geometry, 128, layout, &plane);
            assert!(bound <= COST.bits(&packing), "{geometry:?} {layout:?}");
            tight += usize::from(bound == COST.bits(&packing) && zeros > 0);
        }
        assert!(tight > 10, "the bound was met {tight} times");
    }
}
