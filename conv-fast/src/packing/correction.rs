//! What known zeros contribute to the outputs, as ordinary convolutions.
//!
//! The product of a weight and an input polynomial holds, at the coefficient of an output in slot m, besides the output the
//! products of each weight slot m' of its polynomial with what lies (m − m')·D coefficients away from that slot's own
//! pixels: known zeros, every one of them masked. So with the *shifted images*
//!
//! ```text
//! I_δ[channel, padded pixel] = Z[its coefficient + δ·D]        (Z: the masks of the known zeros, nothing elsewhere)
//! correction of output o  =  Σ_{o' in the same polynomial}  conv_{o'}(I_{m(o) − m(o')})
//! ```
//!
//! where conv is the layer with its border made explicit, computed for all outputs on each shifted image at once by
//! [`PreparedConv`]. I_0 holds the border alone. Where D divides N, I_{δ + N/D} = −I_δ, so that there are at most
//! min(2M − 1, N/D) images; their products replace one transform and product per pair of polynomials, for which weights
//! would have to be kept transformed, N words for each pair. Results are the same residues.

use super::Packing;
use crate::{ConvGeometry, ConvShape, PreparedConv};
use he_core::Modulus;

/// The convolutions that give the contribution of a packing's known zeros.
#[derive(Clone, Debug)]
pub struct ZeroCorrection {
    packing: Packing,
    geometry: ConvGeometry,
    /// The shifts δ that have an image of their own, ascending.
    shifts: Vec<isize>,
    /// N/D if that is whole.
    period: Option<isize>,
}

impl ZeroCorrection {
    /// The correction for sets of images in this packing; `None` if its outputs read no known zero.
    ///
    /// # Panics
    /// For an interleaved packing.
    pub fn new(packing: &Packing) -> Option<Self> {
        packing.assert_planes();
        let s = packing.geometry.shape();
        let [top, left, bottom, right] = s.padding;
        let geometry = ConvGeometry::new(ConvShape {
            in_height: s.in_height + top + bottom,
            in_width: s.in_width + left + right,
            padding: [0; 4],
            ..*s
        })
        .ok()?;
        let outputs = packing.layout.outputs.min(s.out_channels) as isize;
        let period =
            packing.degree.is_multiple_of(packing.block).then(|| (packing.degree / packing.block) as isize);
        let shifts: Vec<isize> = match period {
            Some(period) if period < 2 * outputs - 1 => (0..period).collect(),
            _ => (1 - outputs..outputs).collect(),
        };
        // Without padding every read at shift 0 is a pixel.
        let bordered = s.padding != [0; 4];
        let shifts: Vec<isize> = shifts.into_iter().filter(|&shift| shift != 0 || bordered).collect();
        (!shifts.is_empty()).then(|| Self { packing: packing.clone(), geometry, shifts, period })
    }

    /// The layer with its border as part of the input; the packed geometry itself where that has no padding.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Images that [`ZeroCorrection::run`] convolves for each image of a set.
    pub fn shifted_images(&self) -> usize {
        self.shifts.len()
    }

    /// The contribution of known zeros to the outputs of the first `images` images of a set, images × output elements in the
    /// order of the output tensor, as residues.
    ///
    /// `zeros` holds, for each input polynomial of the set, its N coefficients below q: masks at [`Packing::zero_reads`], zero
    /// elsewhere. `conv` are the layer's weights prepared for [`ZeroCorrection::geometry`] and `modulus`.
    ///
    /// # Panics
    /// If `conv` has another geometry, or `zeros` another number of polynomials or of coefficients.
    pub fn run<P: AsRef<[u64]>>(
        &self,
        conv: &PreparedConv,
        modulus: &Modulus,
        zeros: &[P],
        images: usize,
    ) -> Vec<u64> {
        let packing = &self.packing;
        assert_eq!(conv.geometry(), &self.geometry, "weights for another geometry");
        assert_eq!(zeros.len(), packing.input_polys(), "number of input polynomials");
        assert!(zeros.iter().all(|poly| poly.as_ref().len() == packing.degree), "degree of the polynomials");
        let count = self.shifts.len();
        let mut shifted = vec![0u64; images * count * self.geometry.input_len()];
        let mut values = shifted.chunks_exact_mut(self.geometry.input_len());
        for image in 0..images {
            for (&shift, values) in self.shifts.iter().zip(&mut values) {
                self.gather(modulus, zeros, image, shift, values);
            }
        }
        let parts = conv.run(&shifted, images * count);
        self.combine(modulus, &parts, images)
    }

    /// Writes I_δ of one image; `values` is zero on entry.
    fn gather<P: AsRef<[u64]>>(
        &self,
        modulus: &Modulus,
        zeros: &[P],
        image: usize,
        shift: isize,
        values: &mut [u64],
    ) {
        let packing = &self.packing;
        let s = self.geometry.shape();
        let (inputs, degree) = (self.geometry.group_inputs(), packing.degree as isize);
        let places: Vec<(usize, isize)> = (0..s.in_height)
            .flat_map(|row| (0..s.in_width).map(move |column| packing.plane.padded(row, column)))
            .collect();
        for (channel, values) in values.chunks_exact_mut(places.len()).enumerate() {
            let (group, channel) = (channel / inputs, channel % inputs);
            for (value, &(phase, position)) in values.iter_mut().zip(&places) {
                // Nothing reads phases without taps.
                if phase >= packing.plane.used_phases {
                    continue;
                }
                let slot = phase * inputs + channel;
                let poly = zeros[group * packing.polys_per_group + slot / packing.layout.channels].as_ref();
                let base = packing.input_base(image, slot % packing.layout.channels) as isize;
                let at = base + position + shift * packing.block as isize;
                let read = poly[at.rem_euclid(degree) as usize];
                *value = if at.div_euclid(degree) % 2 == 0 { read } else { modulus.neg(read) };
            }
        }
    }

    /// Sums what each output's fellows in its polynomial read.
    fn combine(&self, modulus: &Modulus, parts: &[u64], images: usize) -> Vec<u64> {
        let g = &self.geometry;
        let (pixels, length, count) = (g.out_height() * g.out_width(), g.output_len(), self.shifts.len());
        let mut output = vec![0u64; images * length];
        for (image, output) in output.chunks_exact_mut(length).enumerate() {
            let parts = &parts[image * count * length..][..count * length];
            for poly in 0..self.packing.output_polys() {
                let members = self.packing.outputs_of(poly);
                for own in members.clone() {
                    let sums = &mut output[own * pixels..][..pixels];
                    for other in members.clone() {
                        let Some((index, negative)) = self.image(own as isize - other as isize) else {
                            continue;
                        };
                        let part = &parts[index * length + other * pixels..][..pixels];
                        for (sum, &value) in sums.iter_mut().zip(part) {
                            *sum = if negative { modulus.sub(*sum, value) } else { modulus.add(*sum, value) };
                        }
                    }
                }
            }
        }
        output
    }

    /// Which shifted image holds I_δ, and whether as its negative.
    fn image(&self, shift: isize) -> Option<(usize, bool)> {
        if let Ok(index) = self.shifts.binary_search(&shift) {
            return Some((index, false));
        }
        let period = self.period?;
        self.shifts.binary_search(&shift.rem_euclid(period)).ok().map(|index| (index, shift < 0))
    }
}
