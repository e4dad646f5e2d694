//! Chapter 1: a convolution that is exact, because its values live in a ring.
//!
//! A client's image is split into two shares, x = a + b modulo q, so that each looks uniformly random. Convolution is
//! linear: conv(a) + conv(b) = conv(x). But only exactly: a share is as large as q, and one wrong bit at the bottom of it
//! is noise all over the result. So floating point will not do, and this crate computes modulo q, as fast as it can.
//!
//! ```text
//! cargo run --release -p conv-fast --example 1_exact_convolution
//! ```

use conv_fast::{ConvGeometry, ConvShape, PreparedConv, direct, plan};
use he_core::Modulus;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The shape: 8 channels of 12×12 pixels to 4 channels, kernel 3×3, a border of zeros. A `ConvGeometry` is checked
    // once; whoever holds one needs no more checks.
    let geometry = ConvGeometry::new(ConvShape::same([8, 4], [12, 12], 3))?;
    // The ring: integers modulo a prime just below 2^50.
    let modulus = Modulus::new(1_125_899_906_826_241)?;

    // Weights are signed integers (here of 12 bits); pixels too, in the ring as their residues.
    let weights: Vec<i32> = (0..geometry.weights_len()).map(|i| (i as i32 * 7919) % 4095 - 2047).collect();
    let pixels: Vec<i64> = (0..geometry.input_len()).map(|i| (i as i64 * 131) % 511 - 255).collect();
    let x: Vec<u64> = pixels.iter().map(|&pixel| modulus.from_i64(pixel)).collect();

    // Two shares of the image. (Real masks come from a cryptographic generator; these only look the part.)
    let a: Vec<u64> =
        (1..=x.len() as u64).map(|i| modulus.reduce(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let b: Vec<u64> = x.iter().zip(&a).map(|(&x, &a)| modulus.sub(x, a)).collect();

    // Weights are prepared once per layer, with the algorithm that the cost model picks; then the layer runs as often as
    // there are inputs. Two images in one call are a batch.
    let layer = PreparedConv::new(geometry.clone(), modulus, &weights, plan::choose(&geometry, modulus))?;
    let outputs = layer.run(&[a.clone(), b].concat(), 2);
    let (from_a, from_b) = outputs.split_at(geometry.output_len());
    let sum: Vec<i64> = from_a.iter().zip(from_b).map(|(&a, &b)| modulus.center(modulus.add(a, b))).collect();

    // The same without shares and without a modulus: seven loops over integers.
    let wide: Vec<f64> = weights.iter().map(|&weight| f64::from(weight)).collect();
    let image: Vec<f64> = pixels.iter().map(|&pixel| pixel as f64).collect();
    let expected = conv_fast::direct_f64(&geometry, &wide, &image);
    assert!(sum.iter().zip(&expected).all(|(&sum, &expected)| sum as f64 == expected));

    // Every algorithm agrees, bit for bit, with the definition, on shares as on anything else.
    let signed: Vec<i64> = weights.iter().map(|&weight| i64::from(weight)).collect();
    assert_eq!(from_a, direct(&geometry, modulus, &signed, &a));

    println!("{layer:?}");
    println!("{} outputs out of two shares, each exact; the first four: {:?}", sum.len(), &sum[..4]);
    Ok(())
}
