//! Chapter 2: which algorithm for which layer.
//!
//! All algorithms give the same values, so the choice is a matter of time alone. It depends on the shape: products of
//! polynomials and Winograd's filtering save multiplications and pay for it with transforms, which need many channels to
//! be worth it; matrix products take everything. A small cost model estimates each candidate; `plan::explain` prints its
//! reckoning, `plan::choose` takes the first line of it.
//!
//! ```text
//! cargo run --release -p conv-fast --example 2_which_algorithm
//! ```

use conv_fast::{Algorithm, ConvGeometry, ConvShape, PreparedConv, plan};
use he_core::Modulus;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let modulus = Modulus::new(1_125_899_906_826_241)?;
    // Name; input channels, rows and columns, output channels, kernel, stride, groups.
    for (name, [inputs, size, outputs, kernel, stride, groups]) in [
        ("a first layer: few channels, many pixels", [3, 32, 16, 3, 1, 1]),
        ("the middle of a network: many channels, where transforms pay", [64, 16, 64, 3, 1, 1]),
        ("a stride: only every second window is wanted", [32, 16, 64, 3, 2, 1]),
        ("pointwise: already a matrix product", [64, 8, 128, 1, 1, 1]),
        ("depthwise: each channel on its own", [64, 16, 64, 3, 1, 64]),
        ("fully connected: a matrix times a vector", [256, 1, 100, 1, 1, 1]),
    ] {
        let geometry = ConvGeometry::new(ConvShape {
            stride: [stride; 2],
            groups,
            ..ConvShape::same([inputs, outputs], [size, size], kernel)
        })?;
        println!(
            "{name}\n  {inputs}×{size}×{size} → {outputs}, kernel {kernel}, stride {stride}, groups {groups}"
        );
        for line in plan::explain(&geometry, modulus).lines() {
            println!("    {line}");
        }

        // Whatever is chosen, the values are those of any other algorithm.
        let weights: Vec<i32> =
            (0..geometry.weights_len()).map(|i| (i as i32 * 7919) % 4095 - 2047).collect();
        let input: Vec<u64> = (1..=geometry.input_len() as u64)
            .map(|i| modulus.reduce(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        let run = |algorithm| -> Result<_, conv_fast::ConvError> {
            Ok(PreparedConv::new(geometry.clone(), modulus, &weights, algorithm)?.run(&input, 1))
        };
        assert_eq!(run(plan::choose(&geometry, modulus))?, run(Algorithm::Direct)?);
    }
    Ok(())
}
