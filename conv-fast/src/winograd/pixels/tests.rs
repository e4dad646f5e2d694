//! Against the direct convolution: any plane, any channels, extreme values, several blocks, threads.

use super::*;
use crate::testing::Random;
use crate::{ConvShape, direct};
use he_core::Modulus;

/// The default profile's prime, one of 33, 48 and 51 bits, and powers of two.
fn rings() -> Vec<Ring> {
    let primes = [1_125_899_906_826_241, 8_589_934_609, 281_474_976_694_273, 2_251_799_813_685_269];
    let powers = [33, 50, 51].map(|bits| Ring::power_of_two(bits).unwrap());
    primes.map(|q| Ring::Prime(Modulus::new(q).unwrap())).into_iter().chain(powers).collect()
}

fn layer(geometry: &ConvGeometry, ring: &Ring, weights: &[i32]) -> Option<Pixels> {
    Pixels::new(geometry, ring, weights, ([2, 2], Products::Digits), Kernel::Avx512)
}

/// Into memory that was something else before.
fn run(layer: &Pixels, input: &[u64], batch: usize, threads: usize) -> Vec<u64> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let mut output = vec![u64::MAX; batch * layer.geometry.output_len()];
    pool.install(|| layer.run_into(input, batch, &mut output));
    output
}

/// The number of blocks, if there is a kernel.
fn check(
    geometry: &ConvGeometry,
    ring: &Ring,
    weights: &[i32],
    input: &[u64],
    threads: usize,
) -> Option<usize> {
    let layer = layer(geometry, ring, weights)?;
    let signed: Vec<i64> = weights.iter().map(|&weight| i64::from(weight)).collect();
    let batch = input.len() / geometry.input_len();
    let expected = direct(geometry, *ring, &signed, input);
    let output = run(&layer, input, batch, threads);
    assert!(output == expected, "{ring} {:?} batch {batch} threads {threads}", geometry.shape());
    Some(layer.blocks.len())
}

#[test]
fn any_plane_in_any_ring() {
    let mut random = Random::new("winograd pixels");
    let mut done = [0; 2];
    for round in 0..300 {
        let most = if random.below(2) == 0 { 60 } else { 6 };
        let shape = ConvShape {
            in_channels: random.between(1, most),
            in_height: random.between(1, 21),
            in_width: random.between(1, 40),
            out_channels: random.between(1, most),
            // Whole vectors of zeros, too.
            padding: std::array::from_fn(|_| random.between(0, if round % 5 == 0 { 20 } else { 3 })),
            ..ConvShape::same([1, 1], [1, 1], 3)
        };
        let Ok(geometry) = ConvGeometry::new(shape) else { continue };
        let ring = rings()[round % rings().len()];
        let bound = [1, 127, 2047, 3640][random.between(0, 3)];
        let weights = random.weights(geometry.weights_len(), bound);
        let batch = random.between(1, 3);
        let input = random.words(batch * geometry.input_len(), ring.greatest());
        if let Some(blocks) = check(&geometry, &ring, &weights, &input, 1 + round % 3) {
            done[usize::from(blocks > 1)] += 1;
        }
    }
    assert!(done.iter().all(|&done| done > 20) || !Kernel::Avx512.is_available(), "{done:?}");
}

/// All products of one sign at the ends of their ranges; digits at theirs; as many channels as a block holds, and one more.
#[test]
fn extremes() {
    let half = OFFSET_OF_DIGITS;
    for ring in rings() {
        for weight in [3640, -3640, 2047] {
            for channels in [1, 2, 3, 7, 8, 130] {
                let geometry = ConvGeometry::new(ConvShape::same([channels, 3], [5, 9], 3)).unwrap();
                let weights = vec![weight; geometry.weights_len()];
                for value in [0, ring.greatest() / 2, ring.greatest(), half, half - 1] {
                    let input = vec![value.min(ring.greatest()); geometry.input_len()];
                    check(&geometry, &ring, &weights, &input, 1);
                }
            }
        }
    }
}

/// The least value whose three lower digits are −2^12; one less, and they are 2^12 − 1.
const OFFSET_OF_DIGITS: u64 = {
    let half = 1 << (BITS - 1);
    half | half << BITS | half << (2 * BITS)
};

/// Signs that make each position's sums as large as they can be.
#[test]
fn extreme_signs() {
    let mut random = Random::new("winograd pixels signs");
    let geometry = ConvGeometry::new(ConvShape::same([13, 4], [6, 10], 3)).unwrap();
    for ring in rings() {
        for _ in 0..40 {
            let weights: Vec<i32> = (0..geometry.weights_len())
                .map(|_| if random.below(2) == 0 { 1120 } else { -1120 })
                .collect();
            let ends = [0, OFFSET_OF_DIGITS - 1, OFFSET_OF_DIGITS, ring.greatest()];
            let input: Vec<u64> =
                (0..geometry.input_len()).map(|_| ends[random.between(0, 3)].min(ring.greatest())).collect();
            assert_eq!(check(&geometry, &ring, &weights, &input, 1).unwrap_or(1), 1, "just one block");
        }
    }
}

#[test]
fn threads_do_not_matter() {
    let mut random = Random::new("winograd pixels threads");
    let ring = rings()[0];
    for (channels, size, batch) in [([16, 16], [32, 32], 1), ([64, 64], [8, 8], 2), ([40, 9], [5, 70], 3)] {
        let geometry = ConvGeometry::new(ConvShape::same(channels, size, 3)).unwrap();
        let weights = random.weights(geometry.weights_len(), 2047);
        let input = random.words(batch * geometry.input_len(), ring.greatest());
        for threads in [1, 2, 5] {
            check(&geometry, &ring, &weights, &input, threads);
        }
    }
}

/// Weights that are too large, rings of other widths and other shapes have no such layer.
#[test]
fn refusals() {
    if !Kernel::Avx512.is_available() {
        return;
    }
    let geometry = |shape| ConvGeometry::new(shape).unwrap();
    let shape = ConvShape::same([2, 1], [4, 4], 3);
    let weights = |weight| vec![weight; 18];
    let ring = rings()[0];
    assert!(layer(&geometry(shape), &ring, &weights(3640)).is_some());
    // 9·3641 has 16 bits and a sign.
    assert!(layer(&geometry(shape), &ring, &weights(3641)).is_none());
    assert!(layer(&geometry(shape), &ring, &weights(i32::MIN)).is_none());
    for bits in [32, 52] {
        assert!(layer(&geometry(shape), &Ring::power_of_two(bits).unwrap(), &weights(1)).is_none());
    }
    let others = [
        ConvShape { stride: [2, 1], ..shape },
        ConvShape { dilation: [1, 2], ..shape },
        ConvShape { kernel: [3, 2], ..shape },
    ];
    for other in others {
        let other = geometry(other);
        assert!(layer(&other, &ring, &vec![1; other.weights_len()]).is_none(), "{:?}", other.shape());
    }
    // Two channels may hold ROOM at most, in positions that 16 bits hold.
    let mut uneven = vec![0; 18];
    (uneven[0], uneven[2], uneven[6], uneven[8]) = (8191, -8191, -8191, 8191);
    assert!(layer(&geometry(shape), &ring, &uneven).is_some());
}
