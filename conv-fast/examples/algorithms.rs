//! Times every algorithm on a few layers, next to what the cost model says and to the same layer over f32.
//!
//! Run it with one thread, on a quiet machine, before believing a figure:
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo run --release -p conv-fast --example algorithms
//! ```

use conv_fast::{Algorithm, ConvGeometry, ConvShape, FloatConv, PreparedConv, Products, plan};
use he_core::Modulus;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Time spent on each algorithm and layer.
const BUDGET: Duration = Duration::from_millis(30);

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
        [64, 28, 128, 1, 1],
        [256, 1, 100, 1, 1],
    ] {
        let geometry = ConvGeometry::new(ConvShape {
            stride: [stride; 2],
            ..ConvShape::same([inputs, outputs], [size, size], kernel)
        })?;
        println!(
            "{inputs}×{size}×{size} → {outputs}, kernel {kernel}, stride {stride}, {} multiply-adds",
            geometry.macs()
        );
        let weights: Vec<i32> =
            (0..geometry.weights_len()).map(|i| (i as i32 * 7919) % 4095 - 2047).collect();
        let input: Vec<u64> = (0..geometry.input_len() as u64)
            .map(|i| modulus.reduce(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        let mut algorithms = vec![Algorithm::Im2col, Algorithm::Ntt];
        for products in [Products::Digits, Products::Words] {
            algorithms.extend((2..=6).map(|tile| Algorithm::Winograd { tile: [tile; 2], products }));
        }
        println!("  measured:");
        for algorithm in algorithms {
            // Not every algorithm takes every layer.
            if let Ok(layer) = PreparedConv::new(geometry.clone(), modulus, &weights, algorithm) {
                println!("    {algorithm}: {:.1} µs", shortest(|| drop(black_box(layer.run(&input, 1)))));
            }
        }
        let weights: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
        let input: Vec<f32> = (0..geometry.input_len()).map(|i| (i % 97) as f32 - 48.0).collect();
        let float = FloatConv::best(geometry.clone(), &weights)?;
        let time = shortest(|| drop(black_box(float.run(&input, 1))));
        println!("    over f32, {}: {time:.1} µs", float.algorithm());
        println!("  model:");
        for line in plan::explain(&geometry, modulus).lines() {
            println!("    {line}");
        }
    }
    Ok(())
}

/// Microseconds of the fastest run out of as many as fit the budget, at least three.
fn shortest(mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    let mut runs = 0;
    while runs < 3 || start.elapsed() < BUDGET {
        let once = Instant::now();
        run();
        best = best.min(once.elapsed().as_secs_f64() * 1e6);
        runs += 1;
    }
    best
}
