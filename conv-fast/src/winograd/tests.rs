//! Against the direct convolution: random shapes, tiles, rings and kernels; extreme values; refusals.

use super::*;
use crate::testing::Random;
use crate::{ConvShape, direct};
use he_core::Modulus;

/// The primes of the profiles, one of 48 bits and one of 52.
const MODULI: [u64; 5] =
    [67_104_769, 4_294_828_033, 1_125_899_906_826_241, 281_474_976_710_597, 4_503_599_627_370_449];

fn geometry(
    channels: [usize; 2],
    image: [usize; 2],
    kernel: [usize; 2],
    padding: [usize; 4],
) -> ConvGeometry {
    grouped(channels, image, kernel, padding, 1).unwrap()
}

fn grouped(
    [inputs, outputs]: [usize; 2],
    [in_height, in_width]: [usize; 2],
    kernel: [usize; 2],
    padding: [usize; 4],
    groups: usize,
) -> Result<ConvGeometry, ConvError> {
    ConvGeometry::new(ConvShape {
        in_channels: groups * inputs,
        in_height,
        in_width,
        out_channels: groups * outputs,
        kernel,
        stride: [1; 2],
        padding,
        dilation: [1; 2],
        groups,
    })
}

fn prime(q: u64) -> Ring {
    Ring::Prime(Modulus::new(q).unwrap())
}

/// Into memory that was something else before.
fn run(layer: &Winograd, input: &[u64], batch: usize) -> Vec<u64> {
    let mut output = vec![u64::MAX; batch * layer.geometry.output_len()];
    layer.run_into(input, batch, &mut output);
    output
}

/// Whether it was not refused.
fn check(geometry: &ConvGeometry, ring: Ring, tile: [usize; 2], weights: &[i32], input: &[u64]) -> bool {
    let batch = input.len() / geometry.input_len();
    let wide: Vec<i64> = weights.iter().map(|&w| i64::from(w)).collect();
    let expected = direct(geometry, ring, &wide, input);
    let mut done = false;
    for products in [Products::Words, Products::Digits] {
        for kernel in Kernel::available() {
            match Winograd::new(geometry, ring, weights, tile, products, kernel) {
                Ok(layer) => {
                    let output = run(&layer, input, batch);
                    let shape = geometry.shape();
                    assert!(output == expected, "{ring} {kernel:?} {products:?} {tile:?} {shape:?} {batch}");
                    done = true;
                }
                Err(ConvError::Unsupported { .. }) => {}
                // Weights that are too long for digits.
                Err(ConvError::TooLarge { .. }) if products == Products::Digits => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    done
}

#[test]
fn random_shapes_tiles_and_rings() {
    let mut random = Random::new("winograd");
    let mut done = 0;
    for round in 0..200 {
        let kernel = [random.between(1, 7), random.between(1, 7)];
        let square = random.below(2) == 0;
        let kernel = if square { [kernel[0]; 2] } else { kernel };
        let tile = [random.between(1, 8), random.between(1, 8)];
        let tile = if square { [tile[0]; 2] } else { tile };
        let channels = [random.between(1, 20), random.between(1, 20)];
        let image = [random.between(1, 20), random.between(1, 20)];
        let padding = std::array::from_fn(|_| random.between(0, 4));
        let Ok(geometry) = grouped(channels, image, kernel, padding, random.between(1, 2)) else { continue };
        let ring = match round % 7 {
            at @ 0..5 => prime(MODULI[at]),
            5 => Ring::PowerOfTwo(64),
            _ => Ring::PowerOfTwo(random.between(1, 64) as u32),
        };
        let bound = [2047, 1 << 15, 127][random.between(0, 2)];
        let weights = random.weights(geometry.weights_len(), bound);
        let batch = random.between(1, 3);
        let input = random.words(batch * geometry.input_len(), ring.greatest());
        done += usize::from(check(&geometry, ring, tile, &weights, &input));
    }
    assert!(done >= 60, "{done}");
}

/// All tiles for the sizes that networks have, several boxes of tiles.
#[test]
fn square_tiles_for_three_taps() {
    let mut random = Random::new("winograd tiles");
    for (size, channels, batch) in [(31, [70, 9], 1), (9, [24, 40], 9), (4, [130, 17], 5)] {
        let geometry = geometry(channels, [size; 2], [3; 2], [1; 4]);
        let weights = random.weights(geometry.weights_len(), 2048);
        for q in MODULI {
            let input = random.words(batch * geometry.input_len(), q);
            let m = random.between(2, 8);
            assert!(
                check(&geometry, prime(q), [m; 2], &weights, &input) || m >= 7 && q >> 51 == 1,
                "{m} {q}"
            );
        }
    }
}

#[test]
fn extreme_values() {
    for q in MODULI {
        for m in 2..=8 {
            let geometry = geometry([130, 3], [m + 1, m + 2], [3; 2], [1; 4]);
            for weight in [-2048, 2047, -(1 << 15), i32::MIN, i32::MAX] {
                for value in [q / 2, q - 1] {
                    let weights = vec![weight; geometry.weights_len()];
                    let input = vec![value; geometry.input_len()];
                    assert!(check(&geometry, prime(q), [m; 2], &weights, &input) || m >= 7 && q >> 51 == 1);
                }
            }
        }
    }
}

/// Inputs that drive a transformed value to its bounds: q − 1 where a row of Bᵀ is positive, 0 elsewhere.
#[test]
fn extreme_signs() {
    let q = MODULI[2];
    for (m, r) in [(4, 3), (6, 3), (8, 3), (4, 5), (4, 7)] {
        let line = Line::new(m, r);
        let geometry = geometry([9, 8], [line.n; 2], [r; 2], [0; 4]);
        let weights: Vec<i32> =
            (0..geometry.weights_len()).map(|at| if at % 3 == 0 { 2047 } else { -2048 }).collect();
        for i in 0..line.n {
            for j in 0..line.n {
                let input: Vec<u64> = (0..geometry.input_len())
                    .map(|at| {
                        let (row, column) = (at / line.n % line.n, at % line.n);
                        let sign = line.input[i * line.n + row] * line.input[j * line.n + column];
                        if sign > 0 { q - 1 } else { 0 }
                    })
                    .collect();
                assert!(check(&geometry, prime(q), [m; 2], &weights, &input));
            }
        }
    }
}

#[test]
fn threads_do_not_matter() {
    let mut random = Random::new("winograd threads");
    // Many boxes, and a single one that is shared by phases.
    for (size, channels) in [(40, [40, 40]), (7, [200, 220])] {
        let geometry = geometry(channels, [size; 2], [3; 2], [1; 4]);
        let weights = random.weights(geometry.weights_len(), 2047);
        let input = random.words(geometry.input_len(), MODULI[2]);
        let layer =
            Winograd::new(&geometry, prime(MODULI[2]), &weights, [4; 2], Products::Words, Kernel::best())
                .unwrap();
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&layer, &input, 1))
        };
        let one = with(1);
        assert!(with(2) == one && with(5) == one);
    }
}

#[test]
fn refusals() {
    let square = geometry([2, 2], [9, 9], [3, 3], [0; 4]);
    let ring = prime(MODULI[2]);
    assert_eq!(Winograd::refusal(&square, &ring, [4, 6], u128::MAX), None);
    let refused = |geometry: &ConvGeometry, ring: &Ring, tile: [usize; 2], what: &str| {
        let refusal = Winograd::refusal(geometry, ring, tile, 0).expect("a refusal");
        assert!(refusal.contains(what), "{refusal}");
    };
    refused(&square, &ring, [9, 2], "1 to 8");
    refused(&geometry([2, 2], [9, 9], [1, 1], [0; 4]), &ring, [2, 2], "more than one tap");
    refused(&geometry([2, 2], [9, 9], [8, 1], [0; 4]), &ring, [2, 2], "7 taps");
    refused(&square, &prime((1 << 60) - 93), [2, 2], "52 bits");
    refused(&square, &prime(5), [6, 6], "differences");
    refused(&geometry([2, 2], [20, 20], [7, 7], [0; 4]), &ring, [8, 8], "2^62");
    refused(&geometry([2048, 2048], [8, 8], [3, 3], [1; 4]), &ring, [6, 6], "2^29");
    let strided = ConvGeometry::new(ConvShape { stride: [2, 1], ..*square.shape() }).unwrap();
    refused(&strided, &ring, [2, 2], "stride");
    // F(4, 3) divides by 24: six twos in two directions, so that sums of 2^32 times the weights have 57 bits.
    let power = |bits, norm| Winograd::refusal(&square, &Ring::PowerOfTwo(bits), [4, 4], norm);
    assert_eq!([power(64, (1 << 25) - 1), power(58, u128::MAX)], [None; 2]);
    for norm in [1 << 25, 1 << 96, u128::MAX] {
        assert!(power(64, norm).is_some_and(|refusal| refusal.contains("smaller weights")));
    }
    let weights = vec![i32::MAX; square.weights_len()];
    assert!(matches!(
        Winograd::new(&square, Ring::PowerOfTwo(64), &weights, [4, 4], Products::Words, Kernel::best()),
        Err(ConvError::Unsupported { .. })
    ));
    assert!(
        Winograd::new(&square, Ring::PowerOfTwo(56), &weights, [4, 4], Products::Words, Kernel::best())
            .is_ok()
    );
}
