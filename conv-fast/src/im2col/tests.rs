//! Every geometry, both rings, any number of threads, against the direct convolution.

use super::*;
use crate::testing::{Random, random_geometry};
use crate::{ConvShape, direct};
use he_core::Modulus;

fn rings() -> Vec<Ring> {
    let primes =
        [97, 67_104_769, 4_294_955_009, 281_474_976_710_597, 1_125_899_906_826_241, 4_503_599_627_370_449];
    let powers = [1, 8, 26, 32, 50, 64].map(|bits| Ring::power_of_two(bits).unwrap());
    primes.map(|q| Ring::Prime(Modulus::new(q).unwrap())).into_iter().chain(powers).collect()
}

fn values(random: &mut Random, ring: &Ring, count: usize) -> Vec<u64> {
    (0..count)
        .map(|_| match random.below(8) {
            0 => [0, 1, ring.greatest() / 2, ring.greatest()][random.between(0, 3)].min(ring.greatest()),
            _ => random.below(u64::MAX) % ring.greatest().max(1),
        })
        .collect()
}

/// Into memory that was something else before.
fn run(layer: &Im2col, geometry: &ConvGeometry, input: &[u64], batch: usize) -> Vec<u64> {
    let mut output = vec![u64::MAX; batch * geometry.output_len()];
    layer.run_into(input, batch, &mut output);
    output
}

fn check(
    random: &mut Random,
    geometry: &ConvGeometry,
    ring: &Ring,
    bound: i32,
    batch: usize,
    threads: usize,
) {
    let weights = random.weights(geometry.weights_len(), bound);
    let input = values(random, ring, batch * geometry.input_len());
    let wide: Vec<i64> = weights.iter().map(|&weight| i64::from(weight)).collect();
    let expected = direct(geometry, *ring, &wide, &input);
    for kernel in Kernel::available() {
        let layer = Im2col::new(geometry, *ring, &weights, kernel).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let output = pool.install(|| run(&layer, geometry, &input, batch));
        let shape = geometry.shape();
        assert!(
            output == expected,
            "{kernel:?} {ring} {shape:?} bound {bound} batch {batch} threads {threads}"
        );
    }
}

#[test]
fn any_geometry_in_any_ring() {
    let mut random = Random::new("im2col rings");
    for round in 0..240 {
        let geometry = random_geometry(&mut random);
        let ring = rings()[round % rings().len()];
        let bound = [1, 127, 2047, 8192, 40_000, 1 << 20, i32::MAX - 1][random.between(0, 6)];
        let batch = random.between(1, 4);
        check(&mut random, &geometry, &ring, bound, batch, 1 + round % 3);
    }
}

/// Channels on both sides of all paddings, kernels of every form.
#[test]
fn many_channels() {
    let mut random = Random::new("im2col channels");
    for round in 0..60 {
        let groups = [1, 1, 2][random.between(0, 2)];
        let shape = ConvShape {
            in_channels: groups * random.between(1, 80),
            in_height: random.between(1, 9),
            in_width: random.between(1, 20),
            out_channels: groups * random.between(1, 70),
            kernel: [random.between(1, 3), random.between(1, 3)],
            stride: [random.between(1, 3), random.between(1, 3)],
            padding: std::array::from_fn(|_| random.between(0, 2)),
            dilation: [random.between(1, 2), random.between(1, 2)],
            groups,
        };
        let Ok(geometry) = ConvGeometry::new(shape) else { continue };
        let ring = rings()[round % rings().len()];
        let batch = random.between(1, 3);
        check(&mut random, &geometry, &ring, 2047, batch, 1 + round % 4);
    }
}

/// Layers that are cut by rows, by columns, by images, and by output channels.
#[test]
fn layers_of_many_jobs() {
    let mut random = Random::new("im2col jobs");
    let wide = Ring::Prime(Modulus::new(1_125_899_906_826_241).unwrap());
    for ([channels, outputs], [height, width], kernel, stride, batch) in [
        ([64, 5], [40, 33], 3, 1, 1),
        ([200, 9], [20, 40], 1, 1, 2),
        ([33, 6], [3, 1100], 3, 2, 1),
        ([96, 120], [4, 4], 3, 1, 9),
        ([3, 20], [70, 64], 7, 2, 2),
        ([300, 150], [1, 1], 1, 1, 30),
    ] {
        let shape = ConvShape {
            stride: [stride; 2],
            ..ConvShape::same([channels, outputs], [height, width], kernel)
        };
        let geometry = ConvGeometry::new(shape).unwrap();
        for threads in [1, 4] {
            check(&mut random, &geometry, &wide, 2047, batch, threads);
        }
    }
}

/// The jobs meet every output of every image once: what they write is all of the output.
#[test]
fn jobs_are_a_partition() {
    let mut random = Random::new("jobs");
    for round in 0..200 {
        let shape = ConvShape {
            in_channels: random.between(1, 300),
            in_height: random.between(1, 60),
            in_width: random.between(1, 60),
            out_channels: random.between(1, 200),
            kernel: [random.between(1, 3), random.between(1, 3)],
            stride: [random.between(1, 2), random.between(1, 2)],
            padding: [1; 4],
            dilation: [1; 2],
            groups: 1,
        };
        let Ok(geometry) = ConvGeometry::new(shape) else { continue };
        let view = View::new(&geometry);
        let ring = rings()[round % rings().len()];
        let panels = pack(&view, &ring, geometry.terms(), &|_| 1, Kernel::Portable).unwrap();
        let view = view.spaced(panels.cut.digits);
        let batch = random.between(1, 9);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1 + round % 6).build().unwrap();
        let (jobs, _) = pool.install(|| super::jobs(&view, &panels, batch));
        let [height, width] = view.out;
        let mut seen = vec![0u8; panels.count() * batch * height * width];
        for job in &jobs {
            for panel in job.panels.clone() {
                for image in job.images.clone() {
                    for row in job.rows.clone() {
                        for column in job.columns.clone() {
                            seen[((panel * batch + image) * height + row) * width + column] += 1;
                        }
                    }
                }
            }
        }
        assert!(seen.iter().all(|&times| times == 1), "{shape:?} batch {batch}");
    }
}

/// All terms of one sign at the ends of their ranges, so many that sums are spilled again and again.
#[test]
fn extremes() {
    for ring in rings() {
        let geometry = ConvGeometry::fully_connected(5000, 3).unwrap();
        for weight in [2047, -2048, 8192, -32_767, 40_000, i32::MAX] {
            for value in [ring.greatest() / 2, ring.greatest() / 2 + 1, ring.greatest()] {
                let value = value.min(ring.greatest());
                let input = vec![value; geometry.input_len()];
                let weights = vec![weight; geometry.weights_len()];
                let product = ring.mul(ring.from_i64(i64::from(weight)), value);
                let expected = vec![ring.mul(product, ring.from_i64(5000)); 3];
                for kernel in Kernel::available() {
                    let layer = Im2col::new(&geometry, ring, &weights, kernel).unwrap();
                    assert_eq!(
                        run(&layer, &geometry, &input, 1),
                        expected,
                        "{kernel:?} {ring} {weight} {value}"
                    );
                }
            }
        }
    }
}

#[test]
fn refusals() {
    let geometry = ConvGeometry::fully_connected(1 << 18, 1).unwrap();
    let modulus = Modulus::new(97).unwrap();
    let weights = vec![i32::MAX; 1 << 18];
    assert!(matches!(
        Im2col::new(&geometry, modulus, &weights, Kernel::Portable),
        Err(ConvError::TooLarge { .. })
    ));
    let big = Modulus::new((1 << 60) - 93).unwrap();
    assert!(matches!(
        Im2col::new(&geometry, big, &weights, Kernel::Portable),
        Err(ConvError::Modulus { .. })
    ));
    let huge = |_| 1i64 << 37;
    let small = ConvGeometry::fully_connected(2, 1).unwrap();
    assert!(matches!(
        Im2col::with_weights(&small, &modulus.into(), &huge, Kernel::Portable),
        Err(ConvError::TooLarge { .. })
    ));
}
