//! Every form on every kernel against the definition, in 128-bit arithmetic.

use super::*;
use crate::testing::Random;
use he_core::Modulus;

/// The definition: one element.
fn slow(ring: &Ring, weights: &[i128], x: &[u64], scale: u64) -> u64 {
    let sum = weights.iter().zip(x).fold(0, |sum, (&weight, &word)| {
        let word = match ring {
            Ring::Prime(modulus) => word % modulus.value(),
            Ring::PowerOfTwo(_) => word & ring.greatest(),
        };
        ring.add(sum, ring.mul(ring.from_i128(weight), word))
    });
    ring.mul(sum, scale)
}

fn rings() -> Vec<Ring> {
    let primes = [
        3,
        97,
        12_289,
        67_104_769,
        4_294_828_033,
        281_474_976_546_817,
        1_125_899_906_826_241,
        // The greatest primes below 2^51 and 2^52.
        2_251_799_813_685_119,
        4_503_599_627_370_449,
    ];
    let mut rings: Vec<Ring> = primes.iter().map(|&q| Modulus::new(q).unwrap().into()).collect();
    rings.extend([1, 13, 32, 50, 63, 64].map(|bits| Ring::power_of_two(bits).unwrap()));
    rings
}

/// Weights in −bound..=bound, uniform or at the ends.
fn weights(random: &mut Random, count: usize, bound: i128) -> Vec<i128> {
    let kind = random.below(4);
    (0..count)
        .map(|_| match kind {
            0 => -bound,
            1 => bound,
            _ => {
                let wide = (i128::from(random.below(u64::MAX)) << 62) + i128::from(random.below(1 << 62));
                wide % (2 * bound + 1) - bound
            }
        })
        .collect()
}

#[test]
fn matrices_of_any_size() {
    let mut random = Random::new("wide");
    let rings = rings();
    for round in 0..400 {
        let ring = rings[round % rings.len()];
        let bound = 1i128 << random.between(0, 75);
        let outputs = random.between(1, 60);
        let terms = random.between(1, if round % 9 == 0 { 3000 } else { 70 });
        let columns = random.between(0, if round % 7 == 0 { 210 } else { 20 });
        let scale = if random.below(2) == 0 { 1 } else { random.below(ring.greatest()) + 1 };
        let weights = weights(&mut random, outputs * terms, bound);
        let weight = |output: usize, term: usize| weights[output * terms + term];
        // A few outputs and columns of large problems are enough.
        let extreme = random.below(2) == 0;
        for kernel in Kernel::available() {
            let matrix = WideMatrix::new(&ring, kernel, outputs, terms, &weight, scale).unwrap();
            assert!(matrix.input_bits() >= ring.bits() && matrix.input_bits() <= 64);
            let greatest = u64::MAX >> (64 - matrix.input_bits());
            let stride = matrix.stride();
            let x: Vec<u64> = if extreme {
                vec![greatest; columns * stride]
            } else {
                random.words(columns * stride, greatest)
            };
            let mut out = vec![u64::MAX; matrix.blocks() * columns * LANES];
            matrix.multiply(&x, columns, &mut out);
            for _ in 0..60.min(outputs * columns) {
                let (output, column) = (random.between(0, outputs - 1), random.between(0, columns - 1));
                let got = out[((output / LANES) * columns + column) * LANES + output % LANES];
                let expected =
                    slow(&ring, &weights[output * terms..][..terms], &x[column * stride..][..terms], scale);
                assert_eq!(
                    got, expected,
                    "{ring} {kernel:?} {:?} {outputs}×{terms}×{columns} bound {bound}",
                    matrix.form
                );
            }
            assert!(out.iter().all(|&word| word <= ring.greatest()));
        }
    }
}

/// Sums that have to be folded on the way, every word and weight at its end.
#[test]
fn long_sums_at_the_ends_of_all_ranges() {
    for ring in rings() {
        for bits in [1, 11, 16, 19, 20, 26, 30, 31, 49, 60] {
            for sign in [-1, 1] {
                let terms = 5000;
                let weight = sign * ((1i128 << bits) - 1);
                for kernel in Kernel::available() {
                    let matrix = WideMatrix::new(&ring, kernel, 9, terms, &|_, _| weight, 1).unwrap();
                    let word = u64::MAX >> (64 - matrix.input_bits());
                    let mut out = vec![0; 16];
                    matrix.multiply(&vec![word; terms], 1, &mut out);
                    let expected = slow(&ring, &vec![weight; terms], &vec![word; terms], 1);
                    assert_eq!(out[..9], [expected; 9], "{ring} {kernel:?} {:?} {weight}", matrix.form);
                }
            }
        }
    }
}

#[test]
fn refusals() {
    let ring = Ring::from(Modulus::new((1 << 60) - 93).unwrap());
    let new = |ring: &Ring, outputs, terms, scale| {
        WideMatrix::new(ring, Kernel::Portable, outputs, terms, &|_, _| 1, scale).map(|_| ()).unwrap_err()
    };
    assert!(matches!(new(&ring, 1, 1, 1), ConvError::Modulus { .. }));
    let ring = Ring::from(Modulus::new(97).unwrap());
    assert!(matches!(new(&ring, 0, 1, 1), ConvError::Zero { .. }));
    assert!(matches!(new(&ring, 1, 0, 1), ConvError::Zero { .. }));
    assert!(matches!(new(&ring, 1, 1, 97), ConvError::Modulus { .. }));
    assert!(matches!(new(&ring, 1 << 20, 1 << 20, 1), ConvError::TooLarge { .. }));
}
