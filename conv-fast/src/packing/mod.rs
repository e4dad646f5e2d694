//! Tensors as polynomial coefficients: a convolution as products in Z_q\[X\]/(X^N + 1).
//!
//! Source: coefficient encoding as in Cheetah (Huang, Lu, Hong, Ding, USENIX Security 2022, section 3), generalised to
//! several images, several outputs, groups, shared borders and strides; `docs/` tells how the protocol uses it.
//!
//! # Layout
//!
//! A [`Layout`] says how many images (G), channels (C) and outputs (M) one polynomial holds. With P the length of one
//! channel's plane (see `plane`), all in coefficients,
//!
//! ```text
//! input      pixel of (image g, channel slot c)      g·C·P + c·P + pixel
//! weights    tap of (output slot m, channel slot c)  m·D + (C−1−c)·P + (reference − tap)
//! output     (output slot m, image g, y, x)          m·D + g·C·P + (C−1)·P + (pixel under the reference tap)
//! ```
//!
//! where the distance D of output slots is N/2^⌈log₂ M⌉ if that is at least G·C·P, or else G·C·P, and M·D ≤ N. The
//! product of a weight and an input polynomial then holds, at an output's coefficient, the sum over the C channels of that
//! input polynomial; the sum over all input polynomials that meet ([`Packing::pairs`]) is the convolution. Output channels run through the slots of the output polynomials in order, whatever their group; input
//! channels fill polynomials group by group. Weight positions may reach beyond N (a kernel larger than its image); they
//! come back with the opposite sign, as X^N = −1.
//!
//! # Interleaved
//!
//! Where replies are joined ([`PackingCost::joining`]), all coefficients that are read should be congruent modulo a large power
//! of two. So there, with S the largest power of two up to N/P, a layout with M·G·C ≤ S and more than one pixel to
//! an output is *interleaved*: what was plane after
//! plane is now pixel after pixel, coefficient p of plane b at p·S + b,
//!
//! ```text
//! input      pixel·S + g·C + c
//! weights    (reference − tap)·S + m·D + (C−1−c)
//! output     (pixel under the reference tap)·S + m·D + g·C + (C−1),   D = max(G·C, S/2^⌈log₂ M⌉)
//! ```
//!
//! and all outputs are congruent modulo the power of two in S, in D if M > 1 and in C if G > 1 ([`Packing::gap`]). Sums of
//! products are the same: two plane numbers of a polynomial and its weights that add up to that of an output modulo S do
//! so exactly, since all differences are below M·D ≤ S, and pixels have the room of a plane, N/S ≥ P, as before. Coefficients
//! without a pixel must be zero; lists of known zeros are not offered.
//!
//! # Known zeros
//!
//! An output also reads coefficients that hold no pixel: borders, and, if M > 1, the free space behind the input (the
//! weights of the other output slots reach there; with D dividing N they reach the same places from both sides, half as
//! many). In the protocol every coefficient is masked, so that a known zero is an unknown mask to the server unless the
//! client tells. [`Packing::zero_reads`] lists exactly these coefficients: all
//! coefficients without a pixel that some output reads through the support of the weights (taps, whatever their
//! value). All others may hold anything.
//!
//! [`ZeroCorrection`] computes what they contribute.
//!
//! Not offered: planes larger than N ([`ConvError::PlaneTooLarge`]); [`crate::tiling`] cuts these. Stride phases
//! are limited to 2^20 slots (input channels × stride phases) per layer; see [`choose()`] for what bounds the work.

mod axis;
mod bits;
mod choose;
mod correction;
mod density;
mod plane;
mod zeros;

pub use choose::{Joining, PackingCost, choose};
pub(crate) use choose::{Search, plane_len};
pub use correction::ZeroCorrection;
pub use density::Density;

use crate::{ConvError, ConvGeometry};
use plane::Plane;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;
use zeros::Work;
pub(crate) use zeros::gcd;

/// How many things one polynomial holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct Layout {
    /// Images G whose values lie in one polynomial.
    pub images: usize,
    /// Channel slots C of one input polynomial (a slot is a channel, or one stride phase of a channel).
    pub channels: usize,
    /// Output slots M of one output polynomial.
    pub outputs: usize,
    /// Whether strides are split into phases.
    pub split_stride: bool,
}

/// A checked layout of one geometry for one ring degree, with all index maps.
#[derive(Clone, Debug)]
pub struct Packing {
    geometry: ConvGeometry,
    degree: usize,
    layout: Layout,
    plane: Arc<Plane>,
    polys_per_group: usize,
    /// Coefficients D from one output slot to the next.
    block: usize,
    /// Coefficients from one pixel of a plane to the next: S where it is interleaved.
    pixel_step: usize,
    /// Coefficients from one plane to the next.
    plane_step: usize,
}

impl Packing {
    /// A layout without stride phases; see [`Packing::with_layout`].
    ///
    /// # Errors
    /// As [`Packing::with_layout`].
    pub fn new(
        geometry: &ConvGeometry,
        degree: usize,
        images: usize,
        channels: usize,
        outputs: usize,
    ) -> Result<Self, ConvError> {
        Self::with_layout(geometry, degree, Layout { images, channels, outputs, split_stride: false })
    }

    /// Checks that a layout fits into ring degree `degree` (a power of two) and prepares its index maps.
    ///
    /// # Errors
    /// [`ConvError::Degree`], [`ConvError::Zero`], [`ConvError::PlaneTooLarge`], [`ConvError::LayoutTooLarge`], or
    /// [`ConvError::TooLarge`] for more than 2^20 slots with a split stride.
    pub fn with_layout(geometry: &ConvGeometry, degree: usize, layout: Layout) -> Result<Self, ConvError> {
        check_degree(degree)?;
        let plane = Arc::new(Plane::new(geometry, degree, layout.split_stride)?);
        Self::from_plane(geometry, degree, layout, plane, false)
    }

    fn from_plane(
        geometry: &ConvGeometry,
        degree: usize,
        layout: Layout,
        plane: Arc<Plane>,
        interleave: bool,
    ) -> Result<Self, ConvError> {
        for (what, value) in [
            ("images per polynomial", layout.images),
            ("channels per polynomial", layout.channels),
            ("outputs per polynomial", layout.outputs),
        ] {
            if value == 0 {
                return Err(ConvError::Zero { what });
            }
        }
        let coefficients = [layout.images, layout.channels, layout.outputs]
            .iter()
            .fold(plane.length as u64, |product, &factor| product.saturating_mul(factor as u64));
        if coefficients > degree as u64 {
            return Err(ConvError::LayoutTooLarge { coefficients, degree });
        }
        let slots = geometry.group_inputs() * plane.phases;
        let polys_per_group = slots.div_ceil(layout.channels);
        // Only where it pays: with one pixel, outputs have the widest gaps as they are.
        let (planes, pixels) =
            (layout.images * layout.channels, geometry.out_height() * geometry.out_width());
        let between = interleaving(degree, plane.length);
        let interleaved = interleave && pixels > 1 && between > 1 && layout.outputs * planes <= between;
        let (pixel_step, plane_step, room) =
            if interleaved { (between, 1, between) } else { (1, plane.length, degree) };
        let block = (planes * plane_step).max(room / layout.outputs.next_power_of_two());
        // A distance of G·C planes fits by the checks above, a larger one since it divides the room at least M times.
        let geometry = geometry.clone();
        Ok(Self { geometry, degree, layout, plane, polys_per_group, block, pixel_step, plane_step })
    }

    /// The geometry that is packed.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Ring degree N.
    pub fn degree(&self) -> usize {
        self.degree
    }

    /// Images, channels and outputs per polynomial.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Images G that share one polynomial.
    pub fn images(&self) -> usize {
        self.layout.images
    }

    /// Coefficients P of one channel's plane.
    pub fn plane_len(&self) -> usize {
        self.plane.length
    }

    /// Input polynomials per G images.
    pub fn input_polys(&self) -> usize {
        self.geometry.shape().groups * self.polys_per_group
    }

    /// Output polynomials per G images.
    pub fn output_polys(&self) -> usize {
        self.geometry.shape().out_channels.div_ceil(self.layout.outputs)
    }

    /// Polynomial and coefficient of one element of the input tensor of image `image` < G.
    ///
    /// The map is injective: no two elements share a coefficient.
    ///
    /// # Panics
    /// If `image` or `index` is out of range.
    pub fn input_index(&self, image: usize, index: usize) -> (usize, usize) {
        assert!(image < self.layout.images && index < self.geometry.input_len(), "input index out of range");
        let s = self.geometry.shape();
        let (channel, pixel) = (index / (s.in_height * s.in_width), index % (s.in_height * s.in_width));
        let (group, channel) =
            (channel / self.geometry.group_inputs(), channel % self.geometry.group_inputs());
        let (phase, position) = self.plane.pixel(pixel / s.in_width, pixel % s.in_width);
        let slot = phase * self.geometry.group_inputs() + channel;
        let poly = group * self.polys_per_group + slot / self.layout.channels;
        (poly, self.input_base(image, slot % self.layout.channels) + position * self.pixel_step)
    }

    /// Polynomial and coefficient of one element of the output tensor of image `image` < G.
    ///
    /// # Panics
    /// If `image` or `index` is out of range.
    pub fn output_index(&self, image: usize, index: usize) -> (usize, usize) {
        assert!(
            image < self.layout.images && index < self.geometry.output_len(),
            "output index out of range"
        );
        let plane = self.geometry.out_height() * self.geometry.out_width();
        let (output, pixel) = (index / plane, index % plane);
        let position =
            self.plane.output(pixel / self.geometry.out_width(), pixel % self.geometry.out_width());
        let slot = output % self.layout.outputs;
        let base = slot * self.block + self.input_base(image, self.layout.channels - 1);
        (output / self.layout.outputs, base + position * self.pixel_step)
    }

    /// [`Packing::input_index`] of all elements of the first image of a set: (polynomial, coefficient). Those of image g
    /// are the same but for g·[`Packing::image_stride`] coefficients.
    pub fn input_map(&self) -> Vec<(u32, u32)> {
        let s = self.geometry.shape();
        let inputs = self.geometry.group_inputs();
        let pixels: Vec<(usize, usize)> = (0..s.in_height)
            .flat_map(|row| (0..s.in_width).map(move |column| self.plane.pixel(row, column)))
            .collect();
        let mut map = Vec::with_capacity(self.geometry.input_len());
        for channel in 0..s.in_channels {
            let (group, channel) = (channel / inputs, channel % inputs);
            map.extend(pixels.iter().map(|&(phase, position)| {
                let slot = phase * inputs + channel;
                let poly = group * self.polys_per_group + slot / self.layout.channels;
                let base = self.input_base(0, slot % self.layout.channels);
                (poly as u32, (base + position * self.pixel_step) as u32)
            }));
        }
        map
    }

    /// [`Packing::output_index`] of all elements of the first image of a set, as [`Packing::input_map`].
    pub fn output_map(&self) -> Vec<(u32, u32)> {
        let (height, width) = (self.geometry.out_height(), self.geometry.out_width());
        let pixels: Vec<usize> =
            (0..height).flat_map(|y| (0..width).map(move |x| self.plane.output(y, x))).collect();
        let last = self.input_base(0, self.layout.channels - 1);
        let mut map = Vec::with_capacity(self.geometry.output_len());
        for output in 0..self.geometry.shape().out_channels {
            let (poly, slot) = (output / self.layout.outputs, output % self.layout.outputs);
            let base = slot * self.block + last;
            let at = |position: usize| (base + position * self.pixel_step) as u32;
            map.extend(pixels.iter().map(|&position| (poly as u32, at(position))));
        }
        map
    }

    /// Coefficients from an element of one image to the same element of the next image of its set.
    pub fn image_stride(&self) -> usize {
        self.layout.channels * self.plane_step
    }

    /// The largest power of two, N at most, modulo which all coefficients that are read of output polynomials are congruent.
    ///
    /// At least that: in a packing that is not interleaved pixels count as neighbours whatever the stride.
    pub fn gap(&self) -> usize {
        let mut steps = self.degree;
        if self.geometry.out_height() * self.geometry.out_width() > 1 {
            steps |= self.pixel_step;
        }
        if self.layout.outputs > 1 {
            steps |= self.block;
        }
        if self.layout.images > 1 {
            steps |= self.image_stride();
        }
        1 << steps.trailing_zeros()
    }

    /// Whether pixels of different planes lie side by side: then coefficients without a pixel must be zero.
    pub fn is_interleaved(&self) -> bool {
        self.pixel_step > 1
    }

    /// The input polynomials with which an output polynomial has a product, ascending.
    pub fn pairs(&self, out_poly: usize) -> Vec<usize> {
        let outputs = self.outputs_of(out_poly);
        if outputs.is_empty() {
            return Vec::new();
        }
        let groups =
            outputs.start / self.geometry.group_outputs()..=(outputs.end - 1) / self.geometry.group_outputs();
        let used = self.used_polys();
        groups
            .flat_map(|group| {
                let first = group * self.polys_per_group;
                first..first + used
            })
            .collect()
    }

    /// The weight polynomial that takes input polynomial `in_poly` to output polynomial `out_poly`, as sparse
    /// coefficients: (position below N, value), ascending by position, each position once.
    ///
    /// Values are weights or, where the reduction modulo X^N + 1 asks for it, negated weights (sums of them if taps meet,
    /// so |value| ≤ kernel taps · 2^31). Empty if the two do not meet.
    ///
    /// # Panics
    /// If `weights` does not have [`ConvGeometry::weights_len`] elements.
    pub fn weight_terms(&self, out_poly: usize, in_poly: usize, weights: &[i32]) -> Vec<(usize, i64)> {
        assert_eq!(weights.len(), self.geometry.weights_len(), "number of weights");
        let s = self.geometry.shape();
        let (inputs, taps) = (self.geometry.group_inputs(), s.kernel[0] * s.kernel[1]);
        let mut terms = Vec::new();
        let Some(outputs) = self.meeting(out_poly, in_poly) else { return terms };
        let slots: Vec<_> = self.slots(in_poly).enumerate().collect();
        for output in outputs {
            let slot = output % self.layout.outputs;
            for &(c, (phase, channel)) in slots.iter().rev() {
                let base = slot * self.block + (self.layout.channels - 1 - c) * self.plane_step;
                let kernel = &weights[(output * inputs + channel) * taps..][..taps];
                for (tap, offset) in self.plane.taps(phase).rev() {
                    let position = base + (self.plane.reference - offset) * self.pixel_step;
                    let value = i64::from(kernel[tap]);
                    // A window spans less than two planes, hence a position is below 2N.
                    terms.push(if position < self.degree {
                        (position, value)
                    } else {
                        (position - self.degree, -value)
                    });
                }
            }
        }
        terms.sort_by_key(|&(position, _)| position);
        terms.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        terms
    }

    /// The coefficients of input polynomial `in_poly` that hold a known zero and that some output reads, ascending.
    ///
    /// # Panics
    /// For an interleaved packing.
    pub fn zero_reads(&self, in_poly: usize) -> Vec<u32> {
        self.assert_planes();
        zeros::zero_reads(self, in_poly)
    }

    /// [`Packing::zero_reads`] summed over all input polynomials: the masks a client has to send per G images.
    ///
    /// # Panics
    /// For an interleaved packing.
    pub fn zero_reads_total(&self) -> usize {
        self.assert_planes();
        let mut work = Work { spent: 0, limit: u64::MAX };
        zeros::total(self, &mut work).expect("no sum of steps exceeds the greatest number")
    }

    /// Whether some output polynomial has a product with input polynomial `in_poly`: phases of a stride that no tap meets may
    /// fill polynomials that nobody reads.
    pub fn is_read(&self, in_poly: usize) -> bool {
        in_poly % self.polys_per_group < self.used_polys()
    }

    /// Products of an input and an output polynomial per G images: [`Packing::pairs`] summed over all output polynomials.
    fn products(&self) -> u64 {
        let s = self.geometry.shape();
        let (size, outputs) = (self.geometry.group_outputs(), self.layout.outputs);
        // Ends of groups and of polynomials cut the outputs into pieces, each in one group and one polynomial.
        let common = size * (outputs / zeros::gcd(size, outputs));
        let pieces = self.output_polys() + s.groups - s.out_channels.div_ceil(common);
        pieces as u64 * self.used_polys() as u64
    }

    /// Input polynomials of a group, its first, that any output polynomial reads.
    fn used_polys(&self) -> usize {
        (self.geometry.group_inputs() * self.plane.used_phases).div_ceil(self.layout.channels)
    }

    fn input_base(&self, image: usize, slot: usize) -> usize {
        (image * self.layout.channels + slot) * self.plane_step
    }

    fn assert_planes(&self) {
        assert!(!self.is_interleaved(), "known zeros of an interleaved packing are not listed");
    }

    /// Output channels in an output polynomial.
    fn outputs_of(&self, out_poly: usize) -> Range<usize> {
        let start = out_poly.saturating_mul(self.layout.outputs).min(self.geometry.shape().out_channels);
        start..(start + self.layout.outputs).min(self.geometry.shape().out_channels)
    }

    /// Output channels of an output polynomial that read an input polynomial's group; `None` if there are none.
    fn meeting(&self, out_poly: usize, in_poly: usize) -> Option<Range<usize>> {
        let group = in_poly / self.polys_per_group;
        if group >= self.geometry.shape().groups {
            return None;
        }
        let outputs = self.outputs_of(out_poly);
        let size = self.geometry.group_outputs();
        let common = outputs.start.max(group * size)..outputs.end.min((group + 1) * size);
        (!common.is_empty()).then_some(common)
    }

    /// Phase and channel (within the group) of each filled slot of an input polynomial.
    fn slots(&self, in_poly: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let inputs = self.geometry.group_inputs();
        self.slot_range(in_poly % self.polys_per_group).map(move |slot| (slot / inputs, slot % inputs))
    }

    /// The filled slots, counted within the group, of a group's polynomial.
    fn slot_range(&self, poly: usize) -> Range<usize> {
        let first = poly * self.layout.channels;
        first..(first + self.layout.channels).min(self.geometry.group_inputs() * self.plane.phases)
    }

    /// The phases of those slots.
    fn phases_in(&self, poly: usize) -> Range<usize> {
        let (slots, inputs) = (self.slot_range(poly), self.geometry.group_inputs());
        slots.start / inputs..slots.end.div_ceil(inputs)
    }
}

/// S, the planes of so many coefficients that have room between two pixels: a power of two.
fn interleaving(degree: usize, plane: usize) -> usize {
    1 << (degree / plane).ilog2()
}

fn check_degree(degree: usize) -> Result<(), ConvError> {
    if degree >= 2 && degree.is_power_of_two() && degree <= 1 << 20 {
        Ok(())
    } else {
        Err(ConvError::Degree { degree })
    }
}

#[cfg(test)]
mod tests;
