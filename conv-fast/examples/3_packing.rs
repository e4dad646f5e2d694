//! Chapter 3: a convolution as products of polynomials.
//!
//! Homomorphic encryption multiplies polynomials modulo X^N + 1. A packing says at which coefficient each pixel lies, and
//! each weight, so that the products hold the convolution at known coefficients. Many layouts do; the best is the one
//! whose replies are shortest.
//!
//! ```text
//! cargo run --release -p conv-fast --example 3_packing
//! ```

use conv_fast::{ConvGeometry, ConvShape, Packing, PackingCost, direct, packing};
use he_core::Modulus;

/// The ring degree: 2048 in practice, less here for a short run.
const DEGREE: usize = 512;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let modulus = Modulus::new(1_125_899_906_826_241)?;
    let geometry = ConvGeometry::new(ConvShape::same([6, 5], [8, 8], 3))?;
    let weights: Vec<i32> = (0..geometry.weights_len()).map(|i| (i as i32 * 7919) % 4095 - 2047).collect();

    // What the parts of a message cost: a coefficient of a reply, a known zero, the key of a set of images.
    let cost = PackingCost {
        reply_bits: 24,
        zero_bits: 46,
        key_bits: DEGREE as u64 * 50,
        input_bits: 0,
        joining: None,
    };
    // Several images can share polynomials: the more there are, the fuller they get.
    for bundle in [1, 4] {
        let packing = packing::choose(&geometry, DEGREE, bundle, &cost)?;
        let (layout, density) = (packing.layout(), packing.density());
        println!("bundles of {bundle}:");
        println!(
            "  one polynomial holds {} images, {} channels, {} outputs",
            layout.images, layout.channels, layout.outputs
        );
        println!(
            "  {} input polynomials, {:.0} % of their coefficients are pixels; {} replies, {:.0} % are outputs",
            packing.input_polys(),
            100.0 * density.inputs,
            packing.output_polys(),
            100.0 * density.replies,
        );
        println!(
            "  {:.1} KB an image, {} known zeros told",
            cost.bits(&packing) as f64 / 8192.0 / packing.images() as f64,
            packing.zero_reads_total(),
        );

        let images: Vec<u64> = (1..=(packing.images() * geometry.input_len()) as u64)
            .map(|i| modulus.reduce(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        let signed: Vec<i64> = weights.iter().map(|&weight| i64::from(weight)).collect();
        assert_eq!(
            by_polynomials(&packing, &modulus, &weights, &images),
            direct(&geometry, modulus, &signed, &images)
        );
    }
    Ok(())
}

/// The convolution of a full set of images, by the definition of polynomial multiplication.
fn by_polynomials(packing: &Packing, modulus: &Modulus, weights: &[i32], images: &[u64]) -> Vec<u64> {
    let geometry = packing.geometry();
    // Pixels to coefficients. The map is that of the first image; the others lie some coefficients further on.
    let mut inputs = vec![vec![0; DEGREE]; packing.input_polys()];
    for (g, image) in images.chunks_exact(geometry.input_len()).enumerate() {
        for (&pixel, (poly, at)) in image.iter().zip(packing.input_map()) {
            inputs[poly as usize][at as usize + g * packing.image_stride()] = pixel;
        }
    }
    // Each output polynomial sums its products with the input polynomials that it meets.
    let mut replies = vec![vec![0; DEGREE]; packing.output_polys()];
    for (out, reply) in replies.iter_mut().enumerate() {
        for poly in packing.pairs(out) {
            for (shift, weight) in packing.weight_terms(out, poly, weights) {
                let weight = modulus.from_i64(weight);
                for (at, &value) in inputs[poly].iter().enumerate() {
                    // What leaves at the top comes back at the bottom with the other sign: X^N = −1.
                    let product = modulus.mul(weight, value);
                    let place = at + shift;
                    let (place, product) = if place < DEGREE {
                        (place, product)
                    } else {
                        (place - DEGREE, modulus.sub(0, product))
                    };
                    reply[place] = modulus.add(reply[place], product);
                }
            }
        }
    }
    // Coefficients to outputs.
    let mut outputs = Vec::with_capacity(packing.images() * geometry.output_len());
    for g in 0..packing.images() {
        for (poly, at) in packing.output_map() {
            outputs.push(replies[poly as usize][at as usize + g * packing.image_stride()]);
        }
    }
    outputs
}
