//! Times every algorithm on a few layers, next to what the cost model says.
//!
//! ```text
//! cargo run --release -p conv-fast --example algorithms
//! ```

use conv_fast::{Algorithm, ConvGeometry, ConvShape, PackingCost, PreparedConv, packing, plan};
use he_core::Modulus;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let modulus = Modulus::new(1_125_899_906_826_241)?;
    // Input channels, size, output channels, kernel, stride.
    for [inputs, size, outputs, kernel, stride] in [
        [1, 28, 16, 5, 1],
        [16, 14, 16, 5, 1],
        [16, 32, 16, 3, 1],
        [64, 8, 64, 3, 1],
        [64, 32, 64, 3, 1],
        [32, 16, 64, 3, 2],
        [256, 1, 100, 1, 1],
    ] {
        let geometry = ConvGeometry::new(ConvShape {
            in_channels: inputs,
            in_height: size,
            in_width: size,
            out_channels: outputs,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [kernel / 2; 4],
            dilation: [1; 2],
            groups: 1,
        })?;
        println!(
            "{inputs}×{size}×{size} → {outputs}, kernel {kernel}, stride {stride}, {} macs",
            geometry.macs()
        );
        let weights: Vec<i32> =
            (0..geometry.weights_len()).map(|i| (i as i32 * 7919) % 4095 - 2047).collect();
        let input: Vec<u64> = (0..geometry.input_len() as u64)
            .map(|i| modulus.reduce(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        let mut algorithms = vec![Algorithm::Im2col, Algorithm::Ntt];
        algorithms.extend((2..=6).map(|tile| Algorithm::Winograd { tile }));
        for algorithm in algorithms {
            let Ok(layer) = PreparedConv::new(geometry.clone(), modulus, &weights, algorithm) else {
                continue;
            };
            let mut best = f64::INFINITY;
            for _ in 0..10 {
                let start = Instant::now();
                std::hint::black_box(layer.run(&input, 1));
                best = best.min(start.elapsed().as_secs_f64());
            }
            println!("  {algorithm}: {:.1} µs", best * 1e6);
        }
        print!(
            "  model:\n{}",
            plan::explain(&geometry, &modulus)
                .lines()
                .map(|line| format!("    {line}\n"))
                .collect::<String>()
        );
        let cost = PackingCost { reply_bits: 24, zero_bits: 46, key_bits: 2048 * 50 };
        for bundle in [1, 16] {
            let start = Instant::now();
            match packing::choose(&geometry, 2048, bundle, &cost) {
                Ok(packing) => {
                    let time = start.elapsed().as_secs_f64() * 1e3;
                    let start = Instant::now();
                    let zeros = packing.zero_reads(0).len();
                    let one = start.elapsed().as_secs_f64() * 1e6;
                    println!(
                        "  bundle {bundle}: {:?}, {} + {} polynomials, density {:.2}, {} zeros, {:.1} KB an image, chosen in {time:.1} ms, zeros of the first polynomial ({zeros}) in {one:.0} µs",
                        packing.layout(),
                        packing.input_polys(),
                        packing.output_polys(),
                        packing.density(),
                        packing.zero_reads_total(),
                        cost.bits(&packing) as f64 / 8192.0 / packing.images() as f64,
                    );
                }
                Err(error) => println!("  bundle {bundle}: {error}"),
            }
        }
    }
    Ok(())
}
