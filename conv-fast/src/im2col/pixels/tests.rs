//! Both layouts, all numbers of digits, all ways back, both words, against the direct convolution.

use super::*;
use crate::testing::Random;
use crate::{ConvShape, direct};
use he_core::Modulus;

/// Primes for every way back: close to 2^32 (the largest, one of a profile), short ones (of 26 and 31 bits, a small one), long
/// ones (32 bits far from 2^32, of 41, 48, 50 and 52 bits), the last that is close to 2^32 and the first that is not; powers of
/// two.
fn rings() -> Vec<Ring> {
    let primes = [
        4_294_967_291,
        4_294_955_009,
        67_104_769,
        2_147_377_153,
        131_101,
        4_294_828_033,
        3_000_000_019,
        1_099_511_627_689,
        281_474_976_694_273,
        1_125_899_906_826_241,
        4_503_599_627_370_449,
        4_294_934_537,
        4_294_934_513,
    ];
    let powers = [17, 26, 32, 33, 50, 64].map(|bits| Ring::power_of_two(bits).unwrap());
    primes.map(|q| Ring::Prime(Modulus::new(q).unwrap())).into_iter().chain(powers).collect()
}

/// Elements in words of one kind, into memory that was something else before.
fn run<W: Word>(layer: &Pixels, input: &[u64], batch: usize, len: usize) -> Vec<u64> {
    let input: Vec<W> = input.iter().map(|&word| W::from_u64(word)).collect();
    let mut output = vec![W::from_u64(u64::MAX); len];
    layer.run_into(&input, batch, &mut output);
    let shares: &[usize] = if rayon::current_num_threads() > 1 { &[2, 7, 40] } else { &[] };
    for &most in shares {
        // What was gathered before must be of no use.
        rayon::broadcast(|_| WORDS.with_borrow_mut(|buffer| buffer.words(layer.words()).fill(0x2345_6789)));
        let mut shared = vec![W::from_u64(u64::MAX); len];
        layer.run_shared(&input, batch, &mut shared, most);
        assert!(shared == output, "{most} tasks");
    }
    output.into_iter().map(W::to_u64).collect()
}

/// Whether either layout took it.
fn check(geometry: &ConvGeometry, ring: &Ring, weights: &[i32], input: &[u64], threads: usize) -> bool {
    let signed: Vec<i64> = weights.iter().map(|&weight| i64::from(weight)).collect();
    let expected = direct(geometry, *ring, &signed, input);
    let batch = input.len() / geometry.input_len();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let mut done = false;
    for copies in [false, true] {
        let Some(layer) = Pixels::with_copies(geometry, ring, &|at| signed[at], copies) else { continue };
        assert!(layer.bytes() >= 2 * weights.len());
        let shape = geometry.shape();
        let output = pool.install(|| run::<u64>(&layer, input, batch, expected.len()));
        assert!(output == expected, "{ring} {shape:?} copies {copies} batch {batch} threads {threads}");
        if ring.bits() <= 32 {
            let output = pool.install(|| run::<u32>(&layer, input, batch, expected.len()));
            assert!(output == expected, "{ring} {shape:?} copies {copies} batch {batch}, short words");
        }
        done = true;
    }
    done
}

fn elements(random: &mut Random, ring: &Ring, count: usize) -> Vec<u64> {
    (0..count)
        .map(|_| match random.below(6) {
            0 => [0, 1, ring.greatest() / 2, ring.greatest()][random.between(0, 3)],
            _ => random.below(u64::MAX) % ring.greatest(),
        })
        .collect()
}

#[test]
fn any_geometry_in_any_ring() {
    let mut random = Random::new("pixels");
    let mut done = 0;
    for round in 0..300 {
        let groups = [1, 1, 1, 2, 3][random.between(0, 4)];
        let most = if random.below(2) == 0 { 40 } else { 5 };
        let mut shape = ConvShape {
            in_channels: groups * random.between(1, most),
            in_height: random.between(1, 33),
            in_width: random.between(1, 40),
            out_channels: groups * random.between(1, 30),
            kernel: [random.between(1, 4), random.between(1, 4)],
            stride: [random.between(1, 3), random.between(1, 3)],
            padding: std::array::from_fn(|_| random.between(0, 3)),
            dilation: [random.between(1, 2), random.between(1, 2)],
            groups,
        };
        match random.below(4) {
            0 => shape = ConvShape { kernel: [1; 2], stride: [1; 2], padding: [0; 4], ..shape },
            1 => shape = ConvShape { stride: [1; 2], dilation: [1; 2], ..shape },
            _ => {}
        }
        let Ok(geometry) = ConvGeometry::new(shape) else { continue };
        let ring = rings()[round % rings().len()];
        let bound = [1, 127, 2047, 8192, 32_767][random.between(0, 4)];
        let weights = random.weights(geometry.weights_len(), bound);
        let batch = random.between(1, 3);
        let input = elements(&mut random, &ring, batch * geometry.input_len());
        done += usize::from(check(&geometry, &ring, &weights, &input, 1 + round % 3));
    }
    assert!(done > 150 || !Kernel::Avx512.is_available(), "{done}");
}

/// All products of one sign at the ends of their ranges, so many that sums are folded again and again.
#[test]
fn extremes() {
    let geometry = ConvGeometry::pointwise([2050, 3], [2, 9], 1).unwrap();
    for ring in rings() {
        for weight in [1, 2047, -4096, 32_767, -32_767] {
            for value in [0, ring.greatest() / 2, ring.greatest() / 2 + 1, ring.greatest()] {
                let weights = vec![weight; geometry.weights_len()];
                let input = vec![value; geometry.input_len()];
                check(&geometry, &ring, &weights, &input, 1);
            }
        }
    }
}

/// Planes that end with a few outputs, which are computed one, two or four at a time, or as many as are a piece of their own;
/// odd channels, panels of all sizes, sums that are folded.
#[test]
fn few_outputs() {
    let mut random = Random::new("few outputs");
    for (round, ring) in rings().into_iter().enumerate() {
        for pixels in [1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 21, 36, 49] {
            let channels = [random.between(1, 40), random.between(1, 30)];
            let geometry = ConvGeometry::pointwise(channels, [1, pixels], 1).unwrap();
            let weights = random.weights(geometry.weights_len(), [2047, 32_767][round % 2]);
            let input = elements(&mut random, &ring, 2 * geometry.input_len());
            check(&geometry, &ring, &weights, &input, 1);
        }
    }
}

/// So many terms that the sums of large panels wait in memory between stretches of them, folded there and in between; panels
/// of other sizes, pieces of a few outputs and several pieces beside them.
#[test]
fn sums_that_wait() {
    let mut random = Random::new("sums that wait");
    for (round, ring) in rings().into_iter().enumerate() {
        for (channels, size, kernel) in
            [([301, 29], [9, 11], 3), ([130, 27], [2, 33], 3), ([1030, 26], [3, 11], 1)]
        {
            let geometry = ConvGeometry::new(ConvShape::same(channels, size, kernel)).unwrap();
            let bound = [2047, 12_345][round % 2];
            let layer = Pixels::with_copies(&geometry, &ring, &|_| bound, false);
            assert!(layer.is_none_or(|layer| layer.stretches > 1), "{ring} {channels:?}");
            let weights = random.weights(geometry.weights_len(), bound as i32);
            let input = elements(&mut random, &ring, 2 * geometry.input_len());
            let done = check(&geometry, &ring, &weights, &input, 1 + round % 2);
            assert!(done || !Kernel::Avx512.is_available(), "{ring} {channels:?}");
        }
    }
}

/// Layers of several jobs, by rows, by columns of a single row, and shared by output channels.
#[test]
fn layers_of_many_jobs() {
    let mut random = Random::new("pixels jobs");
    for (number, (channels, [height, width], kernel, stride)) in [
        ([300, 20], [40, 33], 1, 1),
        ([200, 9], [20, 40], 3, 1),
        ([64, 31], [50, 37], 3, 2),
        ([3, 50], [70, 64], 7, 2),
        ([40, 140], [12, 17], 3, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let shape = ConvShape { stride: [stride; 2], ..ConvShape::same(channels, [height, width], kernel) };
        let geometry = ConvGeometry::new(shape).unwrap();
        let ring = rings()[[1, 9, 2, 8, 0][number]];
        let weights = random.weights(geometry.weights_len(), 2047);
        let input = elements(&mut random, &ring, geometry.input_len());
        for threads in [1, 4] {
            let done = check(&geometry, &ring, &weights, &input, threads);
            assert!(done || !Kernel::Avx512.is_available(), "{shape:?}");
        }
    }
}

/// Whatever form is chosen, the other one is not much faster in the model; layers of few products take this one.
#[test]
fn forms() {
    let ring = rings()[1];
    let takes = |geometry: &ConvGeometry| Pixels::new(geometry, &ring, &|_| 1, Kernel::Avx512).is_some();
    let available = Kernel::Avx512.is_available();
    assert_eq!(takes(&ConvGeometry::pointwise([16, 64], [55, 55], 1).unwrap()), available);
    assert_eq!(takes(&ConvGeometry::new(ConvShape::same([16, 16], [32, 32], 3)).unwrap()), available);
    assert!(!takes(&ConvGeometry::fully_connected(512, 1000).unwrap()));
    let other =
        |kernel| Pixels::new(&ConvGeometry::pointwise([16, 64], [55, 55], 1).unwrap(), &ring, &|_| 1, kernel);
    assert!(other(Kernel::Avx2).is_none() && other(Kernel::Portable).is_none());
}
