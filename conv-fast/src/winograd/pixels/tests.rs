//! Against the direct convolution: any plane, any channels, extreme values, several blocks, threads.

use super::*;
use crate::testing::Random;
use crate::{ConvShape, direct};
use he_core::Modulus;

/// The default profile's prime, the least and the greatest that there is a kernel for, one of 48 bits, and powers of two.
fn rings() -> Vec<Ring> {
    let primes = [1_125_899_906_826_241, 4_294_967_311, 2_251_799_813_685_119, 281_474_976_694_273];
    let powers = [33, 50, 51].map(|bits| Ring::power_of_two(bits).unwrap());
    let rings: Vec<Ring> =
        primes.map(|q| Ring::Prime(Modulus::new(q).unwrap())).into_iter().chain(powers).collect();
    assert_eq!(rings.iter().map(|ring| ring.bits()).collect::<Vec<_>>(), [50, 33, 51, 48, 33, 50, 51]);
    rings
}

/// The element whose lower digits are all −2^12, as many as are whole, and the one before, whose are 2^12 − 1.
fn ends(ring: &Ring) -> [u64; 2] {
    let low = match ring.bits() {
        ..=40 => (1 << 26) - (1 << 25) - (1 << 12),
        _ => (1 << 39) - (1 << 38) - (1 << 25) - (1 << 12),
    };
    [low, low - 1]
}

fn layer(geometry: &ConvGeometry, ring: &Ring, weights: &[i32]) -> Option<Pixels> {
    Pixels::new(geometry, ring, weights, ([2, 2], Products::Digits), Kernel::Avx512)
}

/// Into the middle of memory that was something else before.
fn run(layer: &Pixels, input: &[u64], batch: usize, threads: usize) -> Vec<u64> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let len = batch * layer.geometry.output_len();
    let mut output = vec![u64::MAX; len + 16];
    pool.install(|| layer.run_into(input, batch, &mut output[8..][..len]));
    assert!(output[..8].iter().chain(&output[8 + len..]).all(|&word| word == u64::MAX), "beyond the output");
    output[8..][..len].to_vec()
}

/// The number of blocks; 0 on machines without the kernel.
///
/// # Panics
/// If there is no such layer, too.
fn check(geometry: &ConvGeometry, ring: &Ring, weights: &[i32], input: &[u64], threads: usize) -> usize {
    let Some(layer) = layer(geometry, ring, weights) else {
        assert!(!Kernel::Avx512.is_available(), "{ring} {:?}", geometry.shape());
        return 0;
    };
    let signed: Vec<i64> = weights.iter().map(|&weight| i64::from(weight)).collect();
    let batch = input.len() / geometry.input_len();
    let expected = direct(geometry, *ring, &signed, input);
    let output = run(&layer, input, batch, threads);
    assert!(output == expected, "{ring} {:?} batch {batch} threads {threads}", geometry.shape());
    layer.blocks.len()
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
        let mut input = random.words(batch * geometry.input_len(), ring.greatest());
        input.iter_mut().step_by(7).for_each(|word| *word = ring.greatest());
        done[usize::from(check(&geometry, &ring, &weights, &input, 1 + round % 3) > 1)] += 1;
    }
    assert!(done.iter().all(|&done| done > 20) || !Kernel::Avx512.is_available(), "{done:?}");
}

/// All products of one sign at the ends of their ranges; digits at theirs; as many channels as a block holds, and one more.
#[test]
fn extremes() {
    for ring in rings() {
        for weight in [3640, -3640, 2047] {
            for channels in [1, 2, 3, 4, 5, 6, 7, 8, 130] {
                let geometry = ConvGeometry::new(ConvShape::same([channels, 3], [5, 9], 3)).unwrap();
                let weights = vec![weight; geometry.weights_len()];
                let [low, high] = ends(&ring);
                for value in [0, ring.greatest() / 2, ring.greatest(), low, high] {
                    let input = vec![value; geometry.input_len()];
                    check(&geometry, &ring, &weights, &input, 1);
                }
            }
        }
    }
}

/// Signs of weights and digits that make the sums of each position as large as they can be, in a block that is full.
#[test]
fn extreme_signs() {
    const G: [[i32; 3]; 4] = [[1, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 1]];
    const B: [[i32; 4]; 4] = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]];
    // Tiles begin at every second column, the first at that of the image: two of four fit the pattern.
    let shape = ConvShape { padding: [0; 4], ..ConvShape::same([13, 9], [4, 10], 3) };
    let geometry = ConvGeometry::new(shape).unwrap();
    for ring in rings() {
        let [low, high] = ends(&ring);
        for position in 0..POSITIONS {
            let (i, j) = (position / 4, position % 4);
            for sign in [1, -1] {
                let weights: Vec<i32> = (0..geometry.weights_len())
                    .map(|at| if sign * G[i][at / 3 % 3] * G[j][at % 3] < 0 { -1120 } else { 1120 })
                    .collect();
                let input: Vec<u64> = (0..geometry.input_len())
                    .map(|at| if B[i][at / 10 % 4] * B[j][at % 10 % 4] < 0 { low } else { high })
                    .collect();
                assert!(check(&geometry, &ring, &weights, &input, 1) <= 1, "just one block");
            }
        }
    }
}

/// The greatest Σ|w| that there is, where quotients are largest.
#[test]
fn greatest_norm_of_all() {
    let geometry = |channels| ConvGeometry::new(ConvShape::same([channels, 1], [3, 3], 3)).unwrap();
    for ring in rings() {
        let [low, high] = ends(&ring);
        for weight in [3640, -3640] {
            let weights = vec![weight; 2048 * 9];
            for value in [ring.greatest(), low, high] {
                check(&geometry(2048), &ring, &weights, &vec![value; 2048 * 9], 1);
            }
        }
        assert!(layer(&geometry(2049), &ring, &vec![3640; 2049 * 9]).is_none());
    }
}

#[test]
fn threads_do_not_matter() {
    let mut random = Random::new("winograd pixels threads");
    let ring = rings()[0];
    // Shared by rows, by outputs, and by both.
    let layers = [
        ([16, 16], [32, 32], 1),
        ([64, 64], [8, 8], 2),
        ([40, 9], [5, 70], 3),
        ([30, 96], [13, 13], 1),
        ([30, 96], [13, 7], 1),
        ([60, 96], [2, 30], 1),
    ];
    for (channels, size, batch) in layers {
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
        ConvShape { groups: 2, out_channels: 2, ..shape },
    ];
    for other in others {
        let other = geometry(other);
        assert!(layer(&other, &ring, &vec![1; other.weights_len()]).is_none(), "{:?}", other.shape());
    }
    for (tile, products, kernel) in [
        ([2, 3], Products::Digits, Kernel::Avx512),
        ([2, 2], Products::Words, Kernel::Avx512),
        ([2, 2], Products::Digits, Kernel::Avx2),
    ] {
        assert!(Pixels::new(&geometry(shape), &ring, &weights(1), (tile, products), kernel).is_none());
    }
    // A column that one channel may have, as large as 16 bits hold, and two may not.
    let column = |channels: usize| [32_767, 0, 0, 32_767, 0, 0, -32_767, 0, 0].repeat(channels);
    let single = geometry(ConvShape { in_channels: 1, ..shape });
    let [low, high] = ends(&ring);
    for value in [ring.greatest(), low, high] {
        check(&single, &ring, &column(1), &[value; 16], 1);
    }
    assert!(layer(&geometry(shape), &ring, &column(2)).is_none());
}
