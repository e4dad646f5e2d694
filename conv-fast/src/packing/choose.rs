//! Choice of a layout by the bytes it costs per image.
//!
//! A layout costs, for each set of G images, one reply of N coefficients of t bits per output polynomial, N coefficients of i
//! bits per input polynomial that is read, p bits per known zero that has to be told, and the fixed cost of a key:
//!
//! ```text
//! bits per image = ⌈B/G⌉/B · (output polynomials · N · t + input polynomials · N · i + zeros · p + key)
//! ```
//!
//! for a bundle of B images. Where the server may join output polynomials, up to 2^j of them count as one reply and a price for
//! each that is joined, as far as the gaps between what is read allow ([`Packing::gap`]); layouts are interleaved then where
//! that has room. More outputs per polynomial (M) save replies and cost zeros; more images (G) share both.
//! Sensible (G, C, M) are tried, with and without stride phases; a lower bound prunes most of them before their zeros
//! are counted. Ties go to the layout with fewer polynomial products. The choice depends on public
//! numbers only and is deterministic, so that both parties arrive at the same layout.
//!
//! A geometry may be the peer's word, so the work is bounded: candidates are tried in the order of their lower bounds
//! until [`work_limit`] is spent, and then the best so far is taken. The largest real layers seen need a fifth of that.

use super::plane::{Frame, Plane};
use super::zeros::{self, Work};
use super::{Layout, Packing, check_degree, interleaving};
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
    /// Bits i per coefficient of an input polynomial that some output reads; 0 where they are not sent.
    pub input_bits: u32,
    /// Whether the server may join output polynomials; only where `zero_bits` is 0.
    pub joining: Option<Joining>,
}

/// How output polynomials are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joining {
    /// log2 j of the most that one reply holds.
    pub levels: u32,
    /// Bits that each one that is joined to others counts as, for the time it takes.
    pub bits: u64,
}

impl PackingCost {
    /// Bits for one set of G images in this packing.
    pub fn bits(&self, packing: &Packing) -> u64 {
        self.sum(packing, if self.zero_bits == 0 { 0 } else { packing.zero_reads_total() }, 1)
    }

    /// log2 of the output polynomials of this packing that one reply holds.
    pub fn joined(&self, packing: &Packing) -> u32 {
        self.levels().min(packing.gap().ilog2())
    }

    fn levels(&self) -> u32 {
        self.joining.map_or(0, |joining| joining.levels)
    }

    /// Bits for `sets` sets, with `zeros` known zeros each.
    fn sum(&self, packing: &Packing, zeros: usize, sets: u64) -> u64 {
        let degree = packing.degree() as u64;
        let polys = sets * packing.output_polys() as u64;
        let replies = polys.div_ceil(1 << self.joined(packing));
        let input = self.input(packing.geometry().shape().groups * packing.used_polys(), packing.degree());
        replies * degree * u64::from(self.reply_bits)
            + (polys - replies) * self.joining.map_or(0, |joining| joining.bits)
            + sets * (self.key_bits + input + zeros as u64 * u64::from(self.zero_bits))
    }

    fn input(&self, input_polys: usize, degree: usize) -> u64 {
        (input_polys * degree) as u64 * u64::from(self.input_bits)
    }

    /// A lower bound: as if all that may be joined were, with none left over.
    fn reply(&self, output_polys: usize, degree: usize) -> u64 {
        let bits = (output_polys * degree) as u64 * u64::from(self.reply_bits);
        (bits >> self.levels()) + self.key_bits
    }

    /// Replies, and the zeros that the other output slots certainly read: each pixel that is read at all is read M − 1
    /// more times through them, each time at another free coefficient. With groups, the same holds for each group that has
    /// outputs in a full polynomial.
    fn lower_bound(&self, geometry: &ConvGeometry, degree: usize, layout: Layout, pixels_read: usize) -> u64 {
        let s = geometry.shape();
        let outputs = layout.outputs.min(s.out_channels);
        let full = (s.out_channels / outputs * outputs).div_ceil(geometry.group_outputs());
        let free = (outputs - 1) * layout.images * full * geometry.group_inputs() * pixels_read;
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
    let mut search = Search::new(geometry, degree, cost)?;
    match search.choose(geometry, images_in_bundle, None)? {
        Some((_, packing)) => Ok(packing),
        None => Err(search.exhausted()),
    }
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

/// One layer's search, perhaps through several geometries that could stand for it, with one bound on the work.
pub(crate) struct Search {
    degree: usize,
    cost: PackingCost,
    work: Work,
}

/// Bits for the bundle, then products: what is minimised.
pub(crate) type Rank = (u64, u64);

impl Search {
    /// Work for `layer`.
    ///
    /// # Errors
    /// [`ConvError::Degree`].
    pub(crate) fn new(layer: &ConvGeometry, degree: usize, cost: &PackingCost) -> Result<Self, ConvError> {
        check_degree(degree)?;
        Ok(Self { degree, cost: *cost, work: Work { spent: 0, limit: work_limit(layer, degree) } })
    }

    /// A number of bits that no layout of `geometry` for this many images goes below, 0 < `plane` being the length of
    /// the shortest plane and `pixels_read` the pixels of a channel that some window reads.
    pub(crate) fn bound(
        &self,
        geometry: &ConvGeometry,
        images: usize,
        plane: usize,
        pixels_read: usize,
    ) -> u64 {
        let capacity = self.degree / plane;
        let mut least = u64::MAX;
        for set in image_counts(images, capacity) {
            let sets = images.div_ceil(set) as u64;
            for outputs in output_counts(geometry, capacity / set) {
                let layout = Layout { images: set, channels: 1, outputs, split_stride: false };
                let bits = self.cost.lower_bound(geometry, self.degree, layout, pixels_read);
                least = least.min(sets.saturating_mul(bits));
            }
        }
        least
    }

    /// The best layout of `geometry` with its rank; `None` if none ranks below `budget` or the work is spent.
    ///
    /// # Errors
    /// As [`choose`], but for spent work.
    pub(crate) fn choose(
        &mut self,
        geometry: &ConvGeometry,
        images_in_bundle: usize,
        budget: Option<Rank>,
    ) -> Result<Option<(Rank, Packing)>, ConvError> {
        if images_in_bundle == 0 {
            return Err(ConvError::Zero { what: "images in a bundle" });
        }
        debug_assert!(
            self.cost.joining.is_none() || self.cost.zero_bits == 0,
            "known zeros of joined replies"
        );
        let (degree, cost) = (self.degree, self.cost);
        let planes = planes(geometry, degree)?;
        let mut candidates = Vec::new();
        for (split_stride, plane) in &planes {
            let capacity = degree / plane.length;
            // Slots without taps cost nothing wherever they lie, so that only the others decide.
            let slots = geometry.group_inputs() * plane.used_phases;
            for images in image_counts(images_in_bundle, capacity) {
                let sets = images_in_bundle.div_ceil(images) as u64;
                for outputs in output_counts(geometry, capacity / images) {
                    let layout = Layout { images, channels: 1, outputs, split_stride: *split_stride };
                    let bound = sets * cost.lower_bound(geometry, degree, layout, plane.pixels_read);
                    if budget.is_some_and(|(bits, _)| bound > bits) {
                        continue;
                    }
                    let between = interleaving(degree, plane.length) / (images * outputs);
                    let joining = cost.joining.map(|joining| (joining.levels, between));
                    for channels in channel_counts(slots, degree, images * plane.length, outputs, joining) {
                        let inputs = geometry.shape().groups * slots.div_ceil(channels);
                        let bound = bound + sets * cost.input(inputs, degree);
                        candidates.push((bound, sets, Layout { channels, ..layout }, plane));
                    }
                }
            }
        }
        candidates.sort_by_key(|&(lower_bound, ..)| lower_bound);
        let mut least = budget;
        let mut best = None;
        for (lower_bound, sets, layout, plane) in candidates {
            let interleave = cost.joining.is_some();
            let packing = Packing::from_plane(geometry, degree, layout, Arc::clone(plane), interleave)?;
            let products = sets * packing.products();
            if let Some(least) = least {
                if lower_bound > least.0 {
                    break;
                }
                if (lower_bound, products) >= least {
                    continue;
                }
            }
            // Where zeros cost nothing there is no need to count them.
            let zeros = if cost.zero_bits == 0 { Some(0) } else { zeros::total(&packing, &mut self.work) };
            let Some(zeros) = zeros else { break };
            let rank = (cost.sum(&packing, zeros, sets), products);
            if least.is_none_or(|least| rank < least) {
                (least, best) = (Some(rank), Some((rank, packing)));
            }
        }
        Ok(best)
    }

    /// That the work was not enough to find any layout.
    pub(crate) fn exhausted(&self) -> ConvError {
        ConvError::TooLarge {
            what: "the number of steps to find a layout",
            value: self.work.spent,
            limit: self.work.limit,
        }
    }
}

/// The length of the shortest plane of `geometry`, split or not, in about constant time.
///
/// # Errors
/// As [`choose`] for planes that do not fit.
pub(crate) fn plane_len(geometry: &ConvGeometry, degree: usize) -> Result<usize, ConvError> {
    let split = Frame::new(geometry, degree, true);
    if geometry.shape().stride == [1, 1] {
        return split.map(|frame| frame.length);
    }
    match (split, Frame::new(geometry, degree, false)) {
        (Ok(split), Ok(whole)) => Ok(split.length.min(whole.length)),
        (Ok(frame), Err(_)) | (Err(_), Ok(frame)) => Ok(frame.length),
        (Err(error @ ConvError::TooLarge { .. }), _) | (_, Err(error)) => Err(error),
    }
}

/// The planes that fit, with whether their stride is split.
fn planes(geometry: &ConvGeometry, degree: usize) -> Result<Vec<(bool, Arc<Plane>)>, ConvError> {
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
    match (planes.is_empty(), refusal) {
        (true, Some(error)) => Err(error),
        _ => Ok(planes),
    }
}

/// The image counts up to `capacity` that are tried, ascending: powers of two, the least count for each of the least numbers
/// of sets, and those that leave a polynomial room for few outputs.
fn image_counts(images_in_bundle: usize, capacity: usize) -> Vec<usize> {
    let most = images_in_bundle.min(capacity);
    let mut counts: Vec<usize> = (0..=most.ilog2()).map(|power| 1 << power).collect();
    let sets = images_in_bundle.div_ceil(most);
    counts.extend((sets..sets + 6).map(|sets| images_in_bundle.div_ceil(sets)));
    counts.extend((1..=6).map(|outputs| (capacity / outputs).clamp(1, most)));
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// The channel counts that are tried for `outputs` output slots and `plane` coefficients per channel (all images): the most that
/// fit, the most that let output slots lie N/2^⌈log₂ M⌉ apart, the least with as few polynomials, and powers of two. Where
/// polynomials are joined, with levels and the most channels of an interleaved layout, that count as well, and multiples of powers
/// of two next to all of these: gaps come from them.
fn channel_counts(
    slots: usize,
    degree: usize,
    plane: usize,
    outputs: usize,
    joining: Option<(u32, usize)>,
) -> Vec<usize> {
    let room = degree / (plane * outputs);
    let most = slots.min(room);
    let aligned = slots.min(degree / outputs.next_power_of_two() / plane);
    let mut counts: Vec<usize> = (0..=most.ilog2()).map(|power| 1 << power).collect();
    let even = |count: usize| slots.div_ceil(slots.div_ceil(count));
    for count in [most, aligned] {
        if count > 0 {
            counts.extend([count, even(count)]);
        }
    }
    if let Some((levels, interleaved)) = joining {
        for count in [most, aligned, slots.min(interleaved)].into_iter().filter(|&count| count > 0) {
            counts.extend([count, even(count)]);
            let near = |level: u32| {
                let unit = 1_usize << level;
                [count / unit * unit, even(count).next_multiple_of(unit)]
            };
            counts.extend((1..=levels).flat_map(near));
        }
        counts.retain(|count| (1..=room).contains(count));
    }
    counts.sort_unstable();
    counts.dedup();
    counts
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

    const COST: PackingCost =
        PackingCost { reply_bits: 24, zero_bits: 46, key_bits: 2048 * 50, input_bits: 0, joining: None };

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
        let mut search = Search { degree: 2048, cost: COST, work: Work { spent: 0, limit } };
        let found = search.choose(geometry, 1, None);
        let packing = found.and_then(|found| found.map(|(_, packing)| packing).ok_or(search.exhausted()));
        (packing, search.work.spent)
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
            let bound = COST.lower_bound(&geometry, 128, layout, plane.pixels_read);
            assert!(bound <= COST.bits(&packing), "{geometry:?} {layout:?}");
            tight += usize::from(bound == COST.bits(&packing) && zeros > 0);
        }
        assert!(tight > 10, "the bound was met {tight} times");
    }
}
