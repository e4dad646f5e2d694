//! Every float algorithm, type and kernel against the definition in f64.

use super::*;
use crate::testing::{Random, random_geometry};
use crate::{ConvShape, direct_f64};

/// Uniform in (−1, 1), exact in f32.
fn real<T: Float>(random: &mut Random) -> T {
    T::from_f64(f64::from(random.signed(1 << 23)) / f64::from(1 << 23))
}

fn reals<T: Float>(random: &mut Random, count: usize) -> Vec<T> {
    (0..count).map(|_| real(random)).collect()
}

/// The spacing of numbers just above one.
fn epsilon<T: Float>() -> f64 {
    if size_of::<T>() == 4 { f64::from(f32::EPSILON) } else { f64::EPSILON }
}

/// The greatest error over ε·max Σ|w·x|, after checking nothing.
fn error<T: Float>(geometry: &ConvGeometry, weights: &[T], input: &[T], output: &[T]) -> f64 {
    let wide = |values: &[T]| values.iter().map(|v| v.to_f64()).collect::<Vec<f64>>();
    let size = |values: &[T]| values.iter().map(|v| v.to_f64().abs()).collect::<Vec<f64>>();
    let expected = direct_f64(geometry, &wide(weights), &wide(input));
    let sums = direct_f64(geometry, &size(weights), &size(input));
    let scale = sums.iter().fold(f64::MIN_POSITIVE, |a, &b| a.max(b));
    assert_eq!(output.len(), expected.len());
    let worst = output.iter().zip(&expected).map(|(a, b)| (a.to_f64() - b).abs()).fold(0.0, f64::max);
    assert!(output.iter().all(|v| v.is_finite()));
    worst / (scale * epsilon::<T>())
}

/// Runs an algorithm on every kernel and returns the greatest error.
fn check<T: Float>(
    random: &mut Random,
    geometry: &ConvGeometry,
    algorithm: FloatAlgorithm,
    batch: usize,
    bound: f64,
) -> f64 {
    let weights: Vec<T> = reals(random, geometry.weights_len());
    let input: Vec<T> = reals(random, batch * geometry.input_len());
    let mut worst = 0.0;
    for kernel in Kernel::available() {
        let conv = FloatConv::with_kernel(geometry.clone(), &weights, algorithm, kernel).unwrap();
        let output = conv.run(&input, batch);
        let error = error(geometry, &weights, &input, &output);
        assert!(error <= bound, "{conv:?} {kernel:?} batch {batch}: {error:.1} ε");
        worst = f64::max(worst, error);
    }
    worst
}

/// A stride-one geometry with `kernel`, enough channels for whole vectors now and then.
fn dense(random: &mut Random, kernel: [usize; 2], most: usize) -> ConvGeometry {
    loop {
        let groups = random.between(1, 2);
        let shape = ConvShape {
            in_channels: groups * random.between(1, most),
            in_height: random.between(1, 20),
            in_width: random.between(1, 24),
            out_channels: groups * random.between(1, most),
            kernel,
            stride: [1, 1],
            padding: std::array::from_fn(|_| random.between(0, 3)),
            dilation: [1, 1],
            groups,
        };
        if let Ok(geometry) = ConvGeometry::new(shape) {
            return geometry;
        }
    }
}

#[test]
fn im2col_and_depthwise_support_every_geometry() {
    let mut random = Random::new("float geometries");
    for _ in 0..200 {
        let geometry = random_geometry(&mut random);
        let batch = random.between(1, 4);
        for algorithm in [FloatAlgorithm::Im2col, FloatAlgorithm::Depthwise, FloatAlgorithm::Direct] {
            check::<f32>(&mut random, &geometry, algorithm, batch, 4.0);
            check::<f64>(&mut random, &geometry, algorithm, batch, 4.0);
        }
    }
}

#[test]
fn larger_layers() {
    let mut random = Random::new("float layers");
    for _ in 0..12 {
        let kernel = [random.between(1, 5), random.between(1, 5)];
        let geometry = dense(&mut random, kernel, 60);
        check::<f32>(&mut random, &geometry, FloatAlgorithm::Im2col, 2, 8.0);
        check::<f64>(&mut random, &geometry, FloatAlgorithm::Im2col, 2, 8.0);
    }
    for (inputs, outputs, batch) in [(300, 100, 1), (70, 130, 7), (5, 10, 60)] {
        let geometry = ConvGeometry::fully_connected(inputs, outputs).unwrap();
        check::<f32>(&mut random, &geometry, FloatAlgorithm::Im2col, batch, 8.0);
        check::<f64>(&mut random, &geometry, FloatAlgorithm::Im2col, batch, 8.0);
    }
}

#[test]
fn winograd_within_its_stated_errors() {
    let mut random = Random::new("float winograd");
    for r0 in [3, 5] {
        for r1 in [3, 5] {
            for m0 in [2, 4, 6] {
                for m1 in [2, 4, 6] {
                    let algorithm = FloatAlgorithm::Winograd { tile: [m0, m1] };
                    let bound = winograd::error_factor([r0, r1], [m0, m1]);
                    let mut worst: f64 = 0.0;
                    for most in [4, 20, 36] {
                        let geometry = dense(&mut random, [r0, r1], most);
                        let batch = random.between(1, 2);
                        worst = worst.max(check::<f32>(&mut random, &geometry, algorithm, batch, bound));
                        worst = worst.max(check::<f64>(&mut random, &geometry, algorithm, batch, bound));
                    }
                    println!("F({m0}×{m1}, {r0}×{r1}): {worst:.2} of {bound}");
                }
            }
        }
    }
}

/// The infinities and NaNs of the definition, at the same places; in Winograd no place outside their tiles.
#[test]
fn what_is_not_finite_propagates() {
    let mut random = Random::new("float infinities");
    let class = |values: &[f32]| {
        values.iter().map(|v| (v.is_nan(), v.is_infinite() as i8 * v.signum() as i8)).collect::<Vec<_>>()
    };
    for round in 0..60 {
        let winograd = round % 3 == 0;
        let geometry = if winograd { dense(&mut random, [3, 3], 20) } else { random_geometry(&mut random) };
        let weights: Vec<f32> = reals(&mut random, geometry.weights_len());
        let mut input: Vec<f32> = reals(&mut random, 2 * geometry.input_len());
        for _ in 0..random.between(1, 3) {
            let index = random.between(0, input.len() - 1);
            input[index] = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN][random.between(0, 2)];
        }
        let expected = direct_float(&geometry, &weights, &input);
        for kernel in Kernel::available() {
            let run = |algorithm| {
                FloatConv::with_kernel(geometry.clone(), &weights, algorithm, kernel).unwrap().run(&input, 2)
            };
            assert_eq!(class(&run(FloatAlgorithm::Im2col)), class(&expected), "{kernel:?} {geometry:?}");
            assert_eq!(class(&run(FloatAlgorithm::Depthwise)), class(&expected), "{kernel:?} {geometry:?}");
            if !winograd {
                continue;
            }
            let output = run(FloatAlgorithm::Winograd { tile: [4, 4] });
            let (height, width) = (geometry.out_height(), geometry.out_width());
            for (index, (value, expected)) in output.iter().zip(&expected).enumerate() {
                let (plane, y, x) = (index / (height * width), index / width % height, index % width);
                // The definition's infinities lie in every tile that reads one.
                assert!(expected.is_finite() || !value.is_finite());
                if value.is_finite() {
                    continue;
                }
                let s = geometry.shape();
                let image = plane / s.out_channels;
                let group = plane % s.out_channels / geometry.group_outputs();
                let start =
                    image * geometry.input_len() + group * geometry.group_inputs() * s.in_height * s.in_width;
                let channels = &input[start..][..geometry.group_inputs() * s.in_height * s.in_width];
                let reads = |tile: usize, at: usize, padding: usize| {
                    (tile / 4 * 4..tile / 4 * 4 + 6).contains(&(at + padding))
                };
                let bad = channels.iter().enumerate().any(|(at, v)| {
                    !v.is_finite()
                        && reads(y, at / s.in_width % s.in_height, s.padding[0])
                        && reads(x, at % s.in_width, s.padding[1])
                });
                assert!(bad, "{kernel:?} {geometry:?}: output {index}");
            }
        }
    }
}

#[test]
fn the_choice_can_always_be_carried_out() {
    let mut random = Random::new("float choice");
    for _ in 0..40 {
        let geometry = random_geometry(&mut random);
        let weights: Vec<f32> = reals(&mut random, geometry.weights_len());
        let input: Vec<f32> = reals(&mut random, geometry.input_len());
        let conv = FloatConv::best(geometry.clone(), &weights).unwrap();
        let error = error(&geometry, &weights, &input, &conv.run(&input, 1));
        assert!(error < 30.0 && conv.bytes() > 0, "{conv:?}: {error}");
        assert!(conv.run(&[], 0).is_empty());
    }
}

/// Large enough to be spread; the same bits with one thread as with three.
#[test]
fn threads_change_nothing() {
    let mut random = Random::new("float threads");
    let shape = ConvShape::same([48, 80], [20, 21], 3);
    let geometry = ConvGeometry::new(shape).unwrap();
    let weights: Vec<f32> = reals(&mut random, geometry.weights_len());
    let input: Vec<f32> = reals(&mut random, geometry.input_len());
    for algorithm in
        [FloatAlgorithm::Im2col, FloatAlgorithm::Winograd { tile: [4, 4] }, FloatAlgorithm::Depthwise]
    {
        let conv = FloatConv::new(geometry.clone(), &weights, algorithm).unwrap();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| conv.run(&input, 1))
        };
        assert!(with(1) == with(3), "{algorithm}");
    }
}

#[test]
fn refusals() {
    let geometry = ConvGeometry::fully_connected(4, 3).unwrap();
    let new = |weights: &[f64], algorithm| FloatConv::new(geometry.clone(), weights, algorithm).unwrap_err();
    assert!(matches!(new(&[1.0; 11], FloatAlgorithm::Im2col), ConvError::Length { expected: 12, .. }));
    let winograd = FloatAlgorithm::Winograd { tile: [4, 4] };
    assert!(matches!(new(&[1.0; 12], winograd), ConvError::Unsupported { .. }));
    let mut weights = [1.0; 12];
    weights[7] = f64::INFINITY;
    assert!(matches!(new(&weights, FloatAlgorithm::Depthwise), ConvError::NotFinite { index: 7 }));
}
