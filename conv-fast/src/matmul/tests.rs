//! All kernels against the slow twin, on random and on extreme values.

use super::*;
use crate::testing::Random;

/// The primes of the three profiles, a 52-bit one, and a small one of a single digit.
const MODULI: [u64; 5] = [67_104_769, 4_294_955_009, 1_125_899_906_826_241, 4_503_599_627_370_449, 97];

fn agree(rows: usize, terms: usize, columns: usize, weights: &[i32], values: &[u64], modulus: Modulus) {
    let expected = multiply_slow(rows, terms, weights, &modulus, values);
    for kernel in Kernel::available() {
        let matrix = SmallMatrix::with_kernel(rows, terms, weights, modulus, kernel).unwrap();
        assert!(
            matrix.multiply(values, columns) == expected,
            "{kernel:?} differs, {rows}×{terms}×{columns}, modulus {}",
            modulus.value()
        );
    }
}

#[test]
fn random_matrices() {
    let mut random = Random::new("matrices");
    for q in MODULI {
        let modulus = Modulus::new(q).unwrap();
        for bits in [1, 8, 12, 13, 16, 20, 31] {
            let (rows, terms, columns) =
                (random.between(1, 40), random.between(1, 90), random.between(1, 40));
            let weights = random.weights(rows * terms, ((1u32 << bits) - 1) as i32);
            agree(rows, terms, columns, &weights, &random.words(terms * columns, q), modulus);
        }
    }
}

/// All weights and values at the ends of their ranges, with many terms: an accumulator that is one bit short shows here.
#[test]
fn extreme_values() {
    let mut random = Random::new("extremes");
    let (rows, terms, columns) = (5, 3001, 3);
    for q in MODULI {
        let modulus = Modulus::new(q).unwrap();
        // Digits of −2^12 in all places, or 2^12 − 1 in all places, clipped to the range.
        let digits = |digit: i64| (0..4).fold(0i64, |sum, d| sum + (digit << (13 * d)));
        let ends =
            [q / 2, q / 2 + 1, q - 1, 0, modulus.from_i64(digits(-4096)), modulus.from_i64(digits(4095))];
        for weight in [1 << 13, (1 << 13) + 1, 1 << 20, (1 << 20) + 1, 2047, i32::MAX, i32::MIN] {
            for end in ends {
                let flat = vec![weight; rows * terms];
                agree(rows, terms, columns, &flat, &vec![end; terms * columns], modulus);
            }
            let signs: Vec<i32> =
                (0..rows * terms).map(|_| if random.below(2) == 0 { weight } else { !weight }).collect();
            let values: Vec<u64> = (0..terms * columns).map(|_| ends[random.between(0, 5)]).collect();
            agree(rows, terms, columns, &signs, &values, modulus);
        }
    }
}

#[test]
fn digits_recompose() {
    let mut random = Random::new("digits");
    for q in MODULI {
        let modulus = Modulus::new(q).unwrap();
        let digits = Digits::new(modulus).unwrap();
        for value in random.words(200, q).into_iter().chain([0, 1, q / 2, q / 2 + 1, q - 1]) {
            for half in 0..2 {
                let mut words = vec![0i32; digits.count];
                digits.write(value, &mut words, 0, 1, half);
                let sum = words.iter().rev().fold(0i64, |sum, &word| {
                    let digit = i64::from((word >> (16 * half)) as i16);
                    assert!(digit.abs() <= 4097);
                    (sum << 13) + digit
                });
                assert_eq!(sum, modulus.center(value));
            }
        }
    }
}

#[test]
fn refusals() {
    let modulus = Modulus::new(97).unwrap();
    assert!(matches!(SmallMatrix::new(0, 1, &[], modulus), Err(ConvError::Zero { .. })));
    assert!(matches!(SmallMatrix::new(2, 2, &[1; 3], modulus), Err(ConvError::Length { .. })));
    let big = Modulus::new((1 << 60) - 93).unwrap();
    assert!(matches!(SmallMatrix::new(1, 1, &[1], big), Err(ConvError::Modulus { .. })));
}
