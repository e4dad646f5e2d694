//! Every algorithm, on every kernel and in both rings, against the direct convolution.

use super::*;
use crate::ConvShape;
use crate::plan::{self, Products};
use crate::testing::{Random, random_geometry};
use he_core::Modulus;

/// The primes of the profiles, and rings of words.
fn rings() -> Vec<Ring> {
    let primes = [67_084_289, 4_294_828_033, 281_474_976_694_273, 1_125_899_906_826_241];
    let primes = primes.into_iter().map(|q| Ring::Prime(Modulus::new(q).unwrap()));
    primes.chain([1, 20, 32, 57, 64].map(|bits| Ring::power_of_two(bits).unwrap())).collect()
}

fn words(random: &mut Random, ring: &Ring, count: usize) -> Vec<u64> {
    let mut words = random.words(count, ring.greatest());
    // The ends of the range, too.
    for word in words.iter_mut().step_by(7) {
        *word = ring.greatest();
    }
    words
}

/// Whether the algorithm computes the layer; if so, what it computes was compared.
fn check(
    random: &mut Random,
    geometry: &ConvGeometry,
    ring: Ring,
    bound: i32,
    batch: usize,
    algorithm: Algorithm,
) -> bool {
    let weights = random.weights(geometry.weights_len(), bound);
    let input = words(random, &ring, batch * geometry.input_len());
    let signed: Vec<i64> = weights.iter().map(|&w| i64::from(w)).collect();
    let expected = direct(geometry, ring, &signed, &input);
    for kernel in Kernel::available() {
        let Ok(prepared) = PreparedConv::with_kernel(geometry.clone(), ring, &weights, algorithm, kernel)
        else {
            return false;
        };
        let output = prepared.run(&input, batch);
        assert!(output == expected, "{prepared:?} {kernel:?} bound {bound} batch {batch}");
        into::<u32>(&prepared, &input, batch, &expected);
        into::<u64>(&prepared, &input, batch, &expected);
    }
    true
}

/// The same elements in words of one kind, into memory that was something else before.
fn into<W: Word>(prepared: &PreparedConv, input: &[u64], batch: usize, expected: &[u64]) {
    let mut output = vec![W::from_u64(u64::MAX); expected.len()];
    let input: Vec<W> = input.iter().map(|&word| W::from_u64(word)).collect();
    match prepared.run_into(&input, batch, &mut output) {
        Ok(()) => {
            let equal = output.iter().zip(expected).all(|(&word, &element)| word.to_u64() == element);
            assert!(equal, "{prepared:?} batch {batch}, words of {} bits", W::BITS);
        }
        Err(error) => {
            let element = prepared.ring().bits();
            assert!(element > W::BITS, "{error}");
            assert_eq!(error, ConvError::Word { word: W::BITS, element });
            assert!(output.iter().all(|&word| word == W::from_u64(u64::MAX)), "nothing was written");
        }
    }
}

fn pick<T: Copy>(random: &mut Random, list: &[T]) -> T {
    list[random.between(0, list.len() - 1)]
}

#[test]
fn im2col_supports_every_geometry() {
    let mut random = Random::new("im2col");
    for _ in 0..300 {
        let geometry = random_geometry(&mut random);
        let bound = pick(&mut random, &[127, 2047, 4096, 8192, 1 << 15, 1 << 20, i32::MAX - 1]);
        let batch = random.between(1, 4);
        let ring = pick(&mut random, &rings());
        assert!(check(&mut random, &geometry, ring, bound, batch, Algorithm::Im2col), "{geometry:?} {ring}");
    }
}

#[test]
fn every_algorithm_on_every_geometry_it_takes() {
    let mut random = Random::new("algorithms");
    let mut done = [0; 4];
    for _ in 0..400 {
        let geometry = random_geometry(&mut random);
        let ring = pick(&mut random, &rings());
        let tile = [random.between(1, 6), random.between(1, 6)];
        let products = pick(&mut random, &[Products::Digits, Products::Words]);
        let algorithms = [
            Algorithm::Depthwise,
            Algorithm::Winograd { tile, products: Products::Words },
            Algorithm::Winograd { tile, products },
            Algorithm::Ntt,
        ];
        let at = random.between(0, 3);
        let bound = pick(&mut random, &[2047, 4096, 1 << 15]);
        let batch = random.between(1, 3);
        done[at] += usize::from(check(&mut random, &geometry, ring, bound, batch, algorithms[at]));
    }
    assert!(done.iter().all(|&done| done >= 8), "{done:?}");
}

/// Inputs and weights at the ends of their ranges, all of one sign, many channels.
#[test]
fn extreme_values_in_every_algorithm() {
    let shape = ConvShape::same([130, 3], [5, 6], 3);
    let geometry = ConvGeometry::new(shape).unwrap();
    for ring in rings() {
        let top = ring.greatest();
        for weight in [-2048, 4096, 8192, 1 << 20, -(1 << 20)] {
            for value in [top / 2, top / 2 + 1, top] {
                let value = value.min(top);
                let input = vec![value; geometry.input_len()];
                let expected =
                    direct(&geometry, ring, &vec![i64::from(weight); geometry.weights_len()], &input);
                let weights = vec![weight; geometry.weights_len()];
                let mut done = 0;
                for candidate in Planner::default().weight_bits(22).candidates(&geometry, ring) {
                    let algorithm = candidate.algorithm;
                    // Some transforms have no room for such weights over Z_2^k.
                    let Ok(prepared) = PreparedConv::new(geometry.clone(), ring, &weights, algorithm) else {
                        continue;
                    };
                    assert!(prepared.run(&input, 1) == expected, "{algorithm} {ring} {weight} {value}");
                    done += 1;
                }
                assert!(done >= 2, "{ring} {weight}");
                let best = PreparedConv::best(geometry.clone(), ring, &weights, 1).unwrap();
                assert!(best.run(&input, 1) == expected, "{best:?} {weight} {value}");
            }
        }
    }
}

/// What a layer computes must not depend on how many threads compute it.
#[test]
fn threads_change_nothing() {
    let mut random = Random::new("threads");
    let geometry = ConvGeometry::new(ConvShape::same([24, 40], [30, 29], 3)).unwrap();
    let ring = rings()[3];
    let weights = random.weights(geometry.weights_len(), 2047);
    let input = words(&mut random, &ring, 2 * geometry.input_len());
    for candidate in plan::candidates(&geometry, ring) {
        let layer = PreparedConv::new(geometry.clone(), ring, &weights, candidate.algorithm).unwrap();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| layer.run(&input, 2))
        };
        assert!(with(1) == with(3), "{}", candidate.algorithm);
    }
}

#[test]
fn the_plan_can_always_be_carried_out() {
    let mut random = Random::new("plan");
    for _ in 0..60 {
        let geometry = random_geometry(&mut random);
        let ring = pick(&mut random, &rings());
        for candidate in plan::candidates(&geometry, ring) {
            let algorithm = candidate.algorithm;
            assert!(
                check(&mut random, &geometry, ring, 2047, 1, algorithm),
                "{algorithm} {ring} {geometry:?}"
            );
        }
    }
    let dense = ConvGeometry::fully_connected(256, 100).unwrap();
    let ring = rings()[3];
    // What is chosen depends on the machine's kernels; that the explanation agrees with it does not.
    let chosen = plan::choose(&dense, ring).to_string();
    let explained = plan::explain(&dense, ring);
    assert!(explained.starts_with(&chosen) && explained.contains("direct"), "{chosen}: {explained}");
    let best = PreparedConv::best(dense.clone(), ring, &vec![3; dense.weights_len()], 1).unwrap();
    assert!(best.bytes() > 0);
}

#[test]
fn refusals() {
    let geometry = ConvGeometry::fully_connected(4, 3).unwrap();
    let modulus = Modulus::new(67_084_289).unwrap();
    let new = |count: usize, ring: Ring, algorithm| {
        PreparedConv::new(geometry.clone(), ring, &vec![1; count], algorithm).unwrap_err()
    };
    let winograd = Algorithm::Winograd { tile: [2, 2], products: Products::Words };
    assert!(matches!(new(11, modulus.into(), Algorithm::Im2col), ConvError::Length { expected: 12, .. }));
    assert!(matches!(new(12, modulus.into(), winograd), ConvError::Unsupported { .. }));
    let odd = Modulus::new(1_000_003).unwrap();
    assert!(matches!(new(12, odd.into(), Algorithm::Ntt), ConvError::Modulus { .. }));
    let big = Modulus::new((1 << 60) - 93).unwrap();
    assert!(matches!(new(12, big.into(), Algorithm::Im2col), ConvError::Modulus { .. }));
    assert!(Ring::power_of_two(65).is_err() && Ring::power_of_two(0).is_err());
    let secret = PreparedConv::new(geometry.clone(), modulus, &[123_456; 12], Algorithm::Direct).unwrap();
    assert!(!format!("{secret:?}").contains("123456"));
    let foreign = Kernel::available().len() < 4;
    assert!(foreign, "no machine has both NEON and AVX");
    for kernel in [Kernel::Neon, Kernel::Avx2, Kernel::Avx512] {
        if !kernel.is_available() {
            let refused =
                PreparedConv::with_kernel(geometry.clone(), modulus, &[1; 12], Algorithm::Im2col, kernel);
            assert!(refused.unwrap_err().to_string().contains("kernel"));
        }
    }
}

#[test]
fn lengths_and_words_are_checked() {
    let geometry = ConvGeometry::fully_connected(4, 3).unwrap();
    for (bits, short) in [(32, true), (33, false), (64, false)] {
        let ring = Ring::power_of_two(bits).unwrap();
        let layer = PreparedConv::new(geometry.clone(), ring, &[1; 12], Algorithm::Im2col).unwrap();
        assert_eq!(layer.run_into(&[1u32; 8], 2, &mut [0; 6]).is_ok(), short);
        assert!(layer.run_into(&[1u64; 8], 2, &mut [0; 6]).is_ok());
        for (input, output) in [(7, 6), (9, 6), (8, 5), (8, 7), (0, 0)] {
            let error = layer.run_into(&vec![1u64; input], 2, &mut vec![0; output]).unwrap_err();
            assert!(matches!(error, ConvError::Length { .. }), "{error}");
        }
        assert!(layer.run_into::<u64>(&[], 0, &mut []).is_ok() && layer.run(&[], 0).is_empty());
    }
    // The widest prime that fits, and the first that does not.
    for (q, fits) in [(4_294_967_291, true), (4_294_967_311, false)] {
        let modulus = Modulus::new(q).unwrap();
        let layer = PreparedConv::new(geometry.clone(), modulus, &[-1; 12], Algorithm::Im2col).unwrap();
        assert_eq!(layer.run_into(&[1u32; 4], 1, &mut [0; 3]).is_ok(), fits, "{q}");
    }
}

/// Small signed inputs bring transforms close to multiples of q from both sides, where estimates of quotients are hardest.
#[test]
fn small_signed_inputs_in_every_tile() {
    let mut random = Random::new("small");
    let plain = |kernel: usize, size: usize| ConvShape::same([12, 3], [size, size], kernel);
    let primes = [67_084_289, 2_147_377_153, 4_294_828_033, 35_184_371_884_033, 1_125_899_906_826_241];
    for q in primes {
        let ring = Ring::Prime(Modulus::new(q).unwrap());
        for kernel in [3, 5, 7] {
            let geometry = ConvGeometry::new(plain(kernel, 40)).unwrap();
            let weights = random.weights(geometry.weights_len(), 2047);
            for tile in [4, 6, 7, 8] {
                for products in [Products::Words, Products::Digits] {
                    let algorithm = Algorithm::Winograd { tile: [tile; 2], products };
                    let input: Vec<u64> = (0..geometry.input_len())
                        .map(|_| ring.from_i64(i64::from(random.signed(1))))
                        .collect();
                    let twin =
                        PreparedConv::new(geometry.clone(), ring, &weights, Algorithm::Im2col).unwrap();
                    let expected = twin.run(&input, 1);
                    for instructions in Kernel::available() {
                        let made = PreparedConv::with_kernel(
                            geometry.clone(),
                            ring,
                            &weights,
                            algorithm,
                            instructions,
                        );
                        let Ok(layer) = made else { continue };
                        assert!(
                            layer.run(&input, 1) == expected,
                            "{algorithm} {ring} {kernel} {instructions:?}"
                        );
                    }
                }
            }
        }
    }
}

/// Shapes within the caps of a geometry whose padding, strides or holes no buffer should hold.
#[test]
fn extraordinary_geometries_are_left_to_the_definition() {
    let base = ConvShape::same([1, 1], [1, 1], 1);
    let shapes = [
        ConvShape { in_height: 65_535, stride: [1, 65_535], ..base },
        ConvShape { stride: [65_535; 2], ..base },
        ConvShape {
            in_channels: 1024,
            kernel: [3; 2],
            padding: [4095; 4],
            dilation: [4095; 2],
            stride: [4096; 2],
            ..base
        },
    ];
    for shape in shapes {
        let geometry = ConvGeometry::new(shape).unwrap();
        assert!(!geometry.is_ordinary());
        let ring = rings()[3];
        let weights = vec![-7; geometry.weights_len()];
        let best = PreparedConv::best(geometry.clone(), ring, &weights, 1).unwrap();
        assert_eq!(best.algorithm(), Algorithm::Direct);
        let input = vec![5; geometry.input_len()];
        let signed = vec![-7; geometry.weights_len()];
        assert!(best.run(&input, 1) == direct(&geometry, ring, &signed, &input));
        assert!(PreparedConv::new(geometry, ring, &weights, Algorithm::Im2col).is_err());
    }
}
