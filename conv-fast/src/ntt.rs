//! Convolution through the negacyclic number-theoretic transform.
//!
//! The coefficient packing of [`crate::packing`] with one image and one output per polynomial turns the convolution into
//! sums of products modulo X^n + 1; here all unused coefficients are truly zero, so that nothing but the products remains.
//! Weights are transformed once. Per image: one forward transform per input polynomial, one inverse per output polynomial,
//! and a pointwise product for each pair that meets. It wins for large kernels and loses its memory contest everywhere:
//! n words per pair of polynomials.
//!
//! Needs q ≡ 1 (mod 2n) for an n that holds one padded channel.

use crate::{ConvError, ConvGeometry, Packing};
use he_core::{Modulus, NttTable};
use rayon::prelude::*;

/// Largest transform that is tried.
const MAX_DEGREE: usize = 1 << 14;
/// Most words of transformed weights.
const MAX_WORDS: usize = 1 << 28;

pub(crate) struct NttConv {
    packing: Packing,
    table: NttTable,
    /// For each output polynomial the input polynomials it meets, with transformed weights.
    products: Vec<Vec<(usize, Vec<u64>)>>,
}

impl NttConv {
    /// The packing with the cheapest degree that the modulus allows.
    pub(crate) fn packing(geometry: &ConvGeometry, modulus: &Modulus) -> Result<Packing, ConvError> {
        let mut refusal = ConvError::Modulus {
            modulus: modulus.value(),
            wanted: "one above a multiple of a transform's double length",
        };
        let mut best: Option<(u64, Packing)> = None;
        let mut degree = 32;
        while degree <= MAX_DEGREE && modulus.value() % (2 * degree as u64) == 1 {
            match Packing::new(geometry, degree, 1, 1, 1) {
                Ok(single) => {
                    let channels = (degree / single.plane_len()).min(geometry.group_inputs());
                    let packing = Packing::new(geometry, degree, 1, channels, 1)?;
                    let cost = Self::cost(&packing);
                    if best.as_ref().is_none_or(|&(least, _)| cost < least) {
                        best = Some((cost, packing));
                    }
                }
                Err(error) => refusal = error,
            }
            degree *= 2;
        }
        best.map(|(_, packing)| packing).ok_or(refusal)
    }

    /// Work for one image in thirds of a butterfly: a pointwise product takes about one, a butterfly three.
    pub(crate) fn cost(packing: &Packing) -> u64 {
        let n = packing.degree() as u64;
        let transforms = (packing.input_polys() + packing.output_polys()) as u64;
        3 * transforms * n / 2 * u64::from(n.ilog2()) + Self::pairs(packing) as u64 * n
    }

    fn pairs(packing: &Packing) -> usize {
        packing.output_polys() * packing.input_polys() / packing.geometry().shape().groups
    }

    pub(crate) fn new(geometry: &ConvGeometry, modulus: Modulus, weights: &[i32]) -> Result<Self, ConvError> {
        let packing = Self::packing(geometry, &modulus)?;
        let n = packing.degree();
        let words = Self::pairs(&packing).saturating_mul(n);
        if words > MAX_WORDS {
            return Err(ConvError::TooLarge {
                what: "transformed weights",
                value: words as u64,
                limit: MAX_WORDS as u64,
            });
        }
        let table = NttTable::new(n, modulus).map_err(|_| ConvError::Modulus {
            modulus: modulus.value(),
            wanted: "fit for a number-theoretic transform",
        })?;
        let products = (0..packing.output_polys())
            .into_par_iter()
            .map(|out_poly| {
                let transform = |in_poly: usize| {
                    let mut dense = vec![0; n];
                    for (position, weight) in packing.weight_terms(out_poly, in_poly, weights) {
                        dense[position] = modulus.from_i64(weight);
                    }
                    table.forward(&mut dense);
                    (in_poly, dense)
                };
                packing.pairs(out_poly).into_iter().map(transform).collect()
            })
            .collect();
        Ok(Self { packing, table, products })
    }

    pub(crate) fn run(&self, input: &[u64], batch: usize) -> Vec<u64> {
        let g = self.packing.geometry();
        let n = self.packing.degree();
        let at: Vec<(usize, usize)> =
            (0..g.input_len()).map(|index| self.packing.input_index(0, index)).collect();
        let pixels = g.out_height() * g.out_width();
        let mut output = vec![0; batch * g.output_len()];
        for (input, output) in input.chunks_exact(g.input_len()).zip(output.chunks_exact_mut(g.output_len()))
        {
            let mut polys = vec![0; self.packing.input_polys() * n];
            for (&(poly, coefficient), &value) in at.iter().zip(input) {
                polys[poly * n + coefficient] = value;
            }
            polys.par_chunks_mut(n).for_each(|poly| self.table.forward(poly));
            // One output per polynomial: the chunks of the output tensor are those of the output polynomials.
            output.par_chunks_mut(pixels).enumerate().for_each(|(out_poly, output)| {
                let terms: Vec<(&[u64], &[u64])> = self.products[out_poly]
                    .iter()
                    .map(|(in_poly, weights)| (weights.as_slice(), &polys[in_poly * n..][..n]))
                    .collect();
                let mut sum = vec![0; n];
                self.table.dot(&terms, &mut sum);
                self.table.inverse(&mut sum);
                for (pixel, value) in output.iter_mut().enumerate() {
                    *value = sum[self.packing.output_index(0, out_poly * pixels + pixel).1];
                }
            });
        }
        output
    }
}
