//! Every algorithm, on every kernel, against the direct convolution.

use super::*;
use crate::testing::{Random, random_geometry};
use crate::{ConvShape, plan};

/// The primes of the three profiles.
const MODULI: [u64; 3] = [67_104_769, 4_294_828_033, 1_125_899_906_826_241];

fn check(
    random: &mut Random,
    geometry: &ConvGeometry,
    q: u64,
    bound: i32,
    batch: usize,
    algorithm: Algorithm,
) -> bool {
    let modulus = Modulus::new(q).unwrap();
    let weights = random.weights(geometry.weights_len(), bound);
    let input = random.words(batch * geometry.input_len(), q);
    let wide: Vec<i64> = weights.iter().map(|&w| i64::from(w)).collect();
    let expected = direct(geometry, &modulus, &wide, &input);
    for kernel in Kernel::available() {
        let Ok(prepared) = PreparedConv::with_kernel(geometry.clone(), modulus, &weights, algorithm, kernel)
        else {
            return false;
        };
        let output = prepared.run(&input, batch);
        assert!(output == expected, "{prepared:?} {kernel:?} bound {bound} batch {batch}");
    }
    true
}

#[test]
fn im2col_supports_every_geometry() {
    let mut random = Random::new("im2col");
    for round in 0..300 {
        let geometry = random_geometry(&mut random);
        let bound = [2047, 8192, 1 << 20, i32::MAX - 1][random.between(0, 3)];
        let batch = random.between(1, 4);
        assert!(check(&mut random, &geometry, MODULI[round % 3], bound, batch, Algorithm::Im2col));
    }
}

#[test]
fn winograd_tiles_of_any_size() {
    let mut random = Random::new("winograd");
    let mut done = 0;
    for round in 0..120 {
        let kernel = random.between(2, 5);
        let tile = random.between(2, 9 - kernel);
        let groups = random.between(1, 2);
        let shape = ConvShape {
            in_channels: groups * random.between(1, 5),
            in_height: random.between(1, 12),
            in_width: random.between(1, 12),
            out_channels: groups * random.between(1, 20),
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: std::array::from_fn(|_| random.between(0, kernel)),
            dilation: [1; 2],
            groups,
        };
        let Ok(geometry) = ConvGeometry::new(shape) else { continue };
        let bound = [2047, 1 << 15][random.between(0, 1)];
        let batch = random.between(1, 3);
        assert!(check(&mut random, &geometry, MODULI[round % 3], bound, batch, Algorithm::Winograd { tile }));
        done += 1;
    }
    assert!(done >= 40);
}

#[test]
fn transforms_where_the_modulus_allows() {
    let mut random = Random::new("ntt");
    for round in 0..80 {
        let geometry = random_geometry(&mut random);
        assert!(check(&mut random, &geometry, MODULI[round % 3], 2047, 2, Algorithm::Ntt));
    }
}

/// Inputs and weights at the ends of their ranges, all of one sign, many channels.
#[test]
fn extreme_values_in_every_algorithm() {
    let shape = ConvShape {
        in_channels: 130,
        in_height: 5,
        in_width: 6,
        out_channels: 3,
        kernel: [3; 2],
        stride: [1; 2],
        padding: [1; 4],
        dilation: [1; 2],
        groups: 1,
    };
    let geometry = ConvGeometry::new(shape).unwrap();
    let q = MODULI[2];
    let modulus = Modulus::new(q).unwrap();
    for weight in [-2048, 8192, 1 << 20, -(1 << 20)] {
        for value in [q / 2, q / 2 + 1, q - 1] {
            let input = vec![value; geometry.input_len()];
            let expected =
                direct(&geometry, &modulus, &vec![i64::from(weight); geometry.weights_len()], &input);
            for algorithm in [
                Algorithm::Im2col,
                Algorithm::Winograd { tile: 4 },
                Algorithm::Winograd { tile: 6 },
                Algorithm::Ntt,
            ] {
                let weights = vec![weight; geometry.weights_len()];
                let prepared = PreparedConv::new(geometry.clone(), modulus, &weights, algorithm).unwrap();
                assert!(prepared.run(&input, 1) == expected, "{algorithm} {weight} {value}");
            }
        }
    }
}

#[test]
fn the_plan_can_always_be_carried_out() {
    let mut random = Random::new("plan");
    for round in 0..60 {
        let geometry = random_geometry(&mut random);
        let q = MODULI[round % 3];
        let algorithm = plan::choose(&geometry, &Modulus::new(q).unwrap());
        assert!(check(&mut random, &geometry, q, 2047, 1, algorithm), "{algorithm} {geometry:?}");
    }
    let dense = ConvGeometry::fully_connected(256, 100).unwrap();
    let modulus = Modulus::new(MODULI[2]).unwrap();
    // What is chosen depends on the machine's kernels; that the explanation agrees with it does not.
    let chosen = plan::choose(&dense, &modulus).to_string();
    let explained = plan::explain(&dense, &modulus);
    assert!(explained.starts_with(&chosen) && explained.contains("direct"), "{chosen}: {explained}");
}

#[test]
fn refusals() {
    let geometry = ConvGeometry::fully_connected(4, 3).unwrap();
    let modulus = Modulus::new(MODULI[0]).unwrap();
    let new = |count: usize, modulus, algorithm| {
        PreparedConv::new(geometry.clone(), modulus, &vec![1; count], algorithm).unwrap_err()
    };
    assert!(matches!(new(11, modulus, Algorithm::Im2col), ConvError::Length { expected: 12, .. }));
    assert!(matches!(new(12, modulus, Algorithm::Winograd { tile: 2 }), ConvError::Unsupported { .. }));
    let odd = Modulus::new(1_000_003).unwrap();
    assert!(matches!(new(12, odd, Algorithm::Ntt), ConvError::Modulus { .. }));
    let big = Modulus::new((1 << 60) - 93).unwrap();
    assert!(matches!(new(12, big, Algorithm::Im2col), ConvError::Modulus { .. }));
    let secret = PreparedConv::new(geometry.clone(), modulus, &[123_456; 12], Algorithm::Direct).unwrap();
    assert!(!format!("{secret:?}").contains("123456"));
}
