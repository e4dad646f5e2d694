//! Depthwise convolutions against the definition.

use super::*;
use crate::testing::{Random, random_geometry};
use crate::{ConvShape, direct, direct_wrapping};
use he_core::Modulus;

const MODULI: [u64; 6] =
    [97, 67_104_769, 4_294_828_033, 281_474_976_546_817, 1_125_899_906_826_241, 4_503_599_627_370_449];

/// Into an output of other content.
fn run<W: Word>(layer: &Depthwise, input: &[u64], batch: usize) -> Vec<u64> {
    let input: Vec<W> = input.iter().map(|&word| W::from_u64(word)).collect();
    let mut output = vec![W::from_u64(u64::MAX); batch * layer.geometry.output_len()];
    layer.run_into(&input, batch, &mut output);
    output.into_iter().map(W::to_u64).collect()
}

/// All kernels against the loops, over a prime field and over Z_2^bits.
fn check(random: &mut Random, geometry: &ConvGeometry, q: u64, bound: i32, ends: bool) {
    let batch = random.between(0, 3);
    let mut weights = random.weights(geometry.weights_len(), bound);
    let mut input = random.words(batch * geometry.input_len(), q);
    if ends {
        weights.iter_mut().for_each(|weight| *weight = if *weight < 0 { -bound } else { bound });
        input.iter_mut().for_each(|word| *word = [0, q / 2, q / 2 + 1, q - 1][*word as usize % 4]);
    }
    let long: Vec<i64> = weights.iter().map(|&weight| i64::from(weight)).collect();
    let modulus = Modulus::new(q).unwrap();
    let expected = direct(geometry, modulus, &long, &input);
    let bits = random.between(1, 64) as u32;
    let ring = Ring::power_of_two(bits).unwrap();
    let words = random.words(input.len(), ring.greatest());
    let wrapping: Vec<u64> =
        direct_wrapping(geometry, &long, &words).into_iter().map(|word| word & ring.greatest()).collect();
    for kernel in Kernel::available() {
        for (ring, input, expected) in [(modulus.into(), &input, &expected), (ring, &words, &wrapping)] {
            let layer = Depthwise::new(geometry, ring, &weights, kernel).unwrap();
            assert!(layer.bytes() > 0);
            let message = || format!("{kernel:?} {ring} bound {bound} {:?}", geometry.shape());
            assert!(run::<u64>(&layer, input, batch) == *expected, "{}", message());
            if ring.bits() <= 32 {
                assert!(run::<u32>(&layer, input, batch) == *expected, "32-bit words, {}", message());
            }
        }
    }
}

#[test]
fn geometries_of_small_groups() {
    let mut random = Random::new("depthwise");
    let mut done = 0;
    while done < 300 {
        let geometry = random_geometry(&mut random);
        if !Depthwise::supports(&geometry) {
            continue;
        }
        let bound = [2047, 8191, 1 << 20, i32::MAX - 1][random.between(0, 3)];
        let ends = random.below(3) == 0;
        check(&mut random, &geometry, MODULI[done % MODULI.len()], bound, ends);
        done += 1;
    }
}

/// Wider planes, larger kernels, all parts of padding.
#[test]
fn depthwise_planes() {
    let mut random = Random::new("depthwise planes");
    for round in 0..60 {
        let channels = random.between(1, 9);
        let shape = ConvShape {
            in_channels: channels,
            in_height: random.between(1, 30),
            in_width: random.between(1, 40),
            out_channels: channels * random.between(1, 2),
            kernel: [random.between(1, 7), random.between(1, 7)],
            stride: [random.between(1, 3), random.between(1, 3)],
            padding: std::array::from_fn(|_| random.between(0, 8)),
            dilation: [random.between(1, 2), random.between(1, 3)],
            groups: channels,
        };
        let Ok(geometry) = ConvGeometry::new(shape) else { continue };
        let bound = [2047, 1 << 12, 1 << 14, i32::MAX - 1][random.between(0, 3)];
        check(&mut random, &geometry, MODULI[round % MODULI.len()], bound, round % 3 == 0);
    }
}

/// What [`stream`] computes: rows shorter and longer than vectors, paddings wider than windows, several outputs per input.
#[test]
fn windows_of_three() {
    let mut random = Random::new("windows of three");
    let mut done = 0;
    while done < 250 {
        let channels = random.between(1, 6);
        let stride = random.between(1, 2);
        let shape = ConvShape {
            in_channels: channels,
            in_height: random.between(1, 20),
            in_width: random.between(1, 70),
            out_channels: channels * random.between(1, 3),
            kernel: [3; 2],
            stride: [stride; 2],
            padding: std::array::from_fn(|_| [0, 1, 1, 1, 2, 5][random.between(0, 5)]),
            dilation: [1; 2],
            groups: channels,
        };
        let Ok(geometry) = ConvGeometry::new(shape) else { continue };
        // The longest weights that doubles, then integers take; some outputs longer than that; all of them.
        let bound = [1 << 8, 1 << 12, 1 << 14, 1 << 18, i32::MAX - 1][random.between(0, 4)];
        check(&mut random, &geometry, MODULI[done % MODULI.len()], bound, done % 4 == 0);
        done += 1;
    }
}

/// Rows so long that planes are cut into bands.
#[test]
fn bands() {
    let mut random = Random::new("bands");
    for stride in [1, 2] {
        let shape = ConvShape { stride: [stride; 2], groups: 3, ..ConvShape::same([3, 3], [37, 1030], 3) };
        let geometry = ConvGeometry::new(shape).unwrap();
        for q in [MODULI[2], MODULI[4]] {
            check(&mut random, &geometry, q, 4096, false);
        }
    }
}

/// Sums at the ends of what doubles and integers hold, on both sides of the limit.
#[test]
fn longest_sums() {
    let mut random = Random::new("longest sums");
    let geometry = ConvGeometry::new(ConvShape { groups: 2, ..ConvShape::same([2, 4], [5, 9], 3) }).unwrap();
    for q in MODULI {
        let modulus = Modulus::new(q).unwrap();
        for limit in [1u128 << 50, (u128::from(q) << 50).min(1 << 63) * 2] {
            for norm in [(limit / u128::from(q)).saturating_sub(2), limit / u128::from(q) + 9] {
                let each = i32::try_from(norm / 9).unwrap_or(i32::MAX - 1);
                for signs in [[1, 1], [-1, -1], [1, -1]] {
                    let weights: Vec<i32> = (0..geometry.weights_len())
                        .map(|at| signs[at % 2] * (each - (at % 3) as i32))
                        .collect();
                    let long: Vec<i64> = weights.iter().map(|&weight| i64::from(weight)).collect();
                    for word in [1, q - 1] {
                        let mut input = vec![word; geometry.input_len()];
                        for at in 0..9 {
                            input[at * 7] = random.below(q);
                        }
                        let expected = direct(&geometry, modulus, &long, &input);
                        for kernel in Kernel::available() {
                            let layer = Depthwise::new(&geometry, modulus.into(), &weights, kernel).unwrap();
                            assert!(
                                run::<u64>(&layer, &input, 1) == expected,
                                "{kernel:?} {q} {each} {signs:?}"
                            );
                            if q < 1 << 32 {
                                assert!(
                                    run::<u32>(&layer, &input, 1) == expected,
                                    "{kernel:?} {q} {each} {signs:?}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Large enough for several tasks, whose shares do not end with an image.
#[test]
fn tasks_share_a_batch() {
    let mut random = Random::new("depthwise tasks");
    for stride in [1, 2] {
        let shape = ConvShape { stride: [stride; 2], groups: 7, ..ConvShape::same([7, 14], [56, 56], 3) };
        let geometry = ConvGeometry::new(shape).unwrap();
        let q = MODULI[4];
        let modulus = Modulus::new(q).unwrap();
        let weights = random.weights(geometry.weights_len(), 2047);
        let long: Vec<i64> = weights.iter().map(|&weight| i64::from(weight)).collect();
        let input = random.words(5 * geometry.input_len(), q);
        let expected = direct(&geometry, modulus, &long, &input);
        let layer = Depthwise::new(&geometry, modulus.into(), &weights, Kernel::best()).unwrap();
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| run::<u64>(&layer, &input, 5)) == expected, "{threads} threads");
        }
    }
}

#[test]
fn refusals() {
    let geometry = ConvGeometry::fully_connected(5, 2).unwrap();
    let ring = Ring::from(Modulus::new(97).unwrap());
    let new = |geometry: &ConvGeometry, ring, count| {
        Depthwise::new(geometry, ring, &vec![1; count], Kernel::Portable).map(|_| ()).unwrap_err()
    };
    assert!(matches!(new(&geometry, ring, 10), ConvError::Unsupported { .. }));
    let geometry = ConvGeometry::fully_connected(3, 2).unwrap();
    assert!(matches!(new(&geometry, ring, 5), ConvError::Length { expected: 6, .. }));
    let big = Ring::from(Modulus::new((1 << 60) - 93).unwrap());
    assert!(matches!(new(&geometry, big, 6), ConvError::Modulus { .. }));
}
