//! Every arithmetic and every cut against the direct convolution.

use super::*;
use crate::testing::{Random, random_geometry};
use crate::{ConvShape, direct};

/// The primes of the profiles, a small one, and one that is too long for the vector forms.
const MODULI: [u64; 5] =
    [67_104_769, 4_294_828_033, 1_125_899_906_826_241, 12_289, 1_152_921_504_606_830_593];

/// Into memory that was something else before.
fn run(layer: &NttConv, geometry: &ConvGeometry, input: &[u64]) -> Vec<u64> {
    let batch = input.len() / geometry.input_len();
    let mut output = vec![u64::MAX; batch * geometry.output_len()];
    layer.run_into(input, batch, &mut output);
    output
}

fn check(random: &mut Random, geometry: &ConvGeometry, q: u64, bound: i32, batch: usize) {
    let modulus = Modulus::new(q).unwrap();
    let weights = random.weights(geometry.weights_len(), bound);
    let input = random.words(batch * geometry.input_len(), q);
    let wide: Vec<i64> = weights.iter().map(|&w| i64::from(w)).collect();
    let expected = direct(geometry, modulus, &wide, &input);
    for kernel in Kernel::available() {
        let layer = NttConv::for_batch(geometry, modulus, &weights, kernel, random.between(1, 4)).unwrap();
        assert_eq!(layer.bytes() % 64, 0);
        let output = run(&layer, geometry, &input);
        assert!(output == expected, "{kernel:?} q {q} bound {bound} batch {batch} {geometry:?}");
    }
}

#[test]
fn any_geometry() {
    let mut random = Random::new("ntt");
    for round in 0..300 {
        let geometry = random_geometry(&mut random);
        let bound = [1, 127, 2047, i32::MAX - 1][random.between(0, 3)];
        let batch = random.between(1, 9);
        check(&mut random, &geometry, MODULI[round % 5], bound, batch);
    }
}

#[test]
fn many_tiles_and_large_kernels() {
    let mut random = Random::new("ntt tiles");
    let mut done = 0;
    while done < 40 {
        let groups = [1, 1, 2, 9][random.between(0, 3)];
        let shape = ConvShape {
            in_channels: groups * random.between(1, 3),
            in_height: random.between(1, 60),
            in_width: random.between(1, 60),
            out_channels: groups * random.between(1, 3),
            kernel: [random.between(1, 11), random.between(1, 11)],
            stride: [[1; 2], [1; 2], [2; 2], [3, 2]][random.between(0, 3)],
            padding: std::array::from_fn(|_| random.between(0, 6)),
            dilation: [random.between(1, 2), random.between(1, 2)],
            groups,
        };
        let Ok(geometry) = ConvGeometry::new(shape) else { continue };
        check(&mut random, &geometry, MODULI[done % 3], 2047, 1 + done % 3);
        done += 1;
    }
}

#[test]
fn channels_beyond_one_sum() {
    // Values and weights at the ends of their ranges; more channels than a sum of low halves holds.
    let geometry = ConvGeometry::pointwise([4500, 9], [3, 2], 1).unwrap();
    for q in MODULI {
        let modulus = Modulus::new(q).unwrap();
        for weight in [-2048, i32::MAX] {
            let input = vec![q - 1; geometry.input_len()];
            let expected =
                direct(&geometry, modulus, &vec![i64::from(weight); geometry.weights_len()], &input);
            for kernel in Kernel::available() {
                let layer =
                    NttConv::new(&geometry, modulus, &vec![weight; geometry.weights_len()], kernel).unwrap();
                assert!(run(&layer, &geometry, &input) == expected, "{kernel:?} {q} {weight}");
            }
        }
    }
}

#[test]
fn any_number_of_threads() {
    let mut random = Random::new("ntt threads");
    let geometry = ConvGeometry::new(ConvShape {
        in_channels: 17,
        in_height: 40,
        in_width: 43,
        out_channels: 30,
        kernel: [5, 3],
        stride: [1; 2],
        padding: [2, 1, 2, 1],
        dilation: [1; 2],
        groups: 1,
    })
    .unwrap();
    for q in MODULI {
        let modulus = Modulus::new(q).unwrap();
        let weights = random.weights(geometry.weights_len(), 2047);
        let input = random.words(5 * geometry.input_len(), q);
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let layer = NttConv::new(&geometry, modulus, &weights, Kernel::best()).unwrap();
                run(&layer, &geometry, &input)
            })
        };
        let one = with(1);
        assert!(with(2) == one && with(5) == one, "{q}");
    }
}

#[test]
fn refusals() {
    let geometry = ConvGeometry::fully_connected(4, 3).unwrap();
    let new = |ring: Ring, count: usize| {
        NttConv::new(&geometry, ring, &vec![1; count], Kernel::Portable).err().unwrap()
    };
    let modulus = |q: u64| Ring::from(Modulus::new(q).unwrap());
    assert!(matches!(new(modulus(12_289), 11), ConvError::Length { expected: 12, .. }));
    assert!(matches!(new(modulus(1_000_003), 12), ConvError::Modulus { modulus: 1_000_003, .. }));
    assert!(matches!(new(Ring::PowerOfTwo(32), 12), ConvError::Unsupported { .. }));
    let large = ConvGeometry::fully_connected(1 << 14, 1 << 12).unwrap();
    let error = NttConv::cost(&large, modulus(12_289), 1).unwrap_err();
    assert!(matches!(error, ConvError::TooLarge { value, .. } if value == 1 << 34), "{error}");
}
