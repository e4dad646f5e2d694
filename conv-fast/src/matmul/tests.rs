//! All kernels against the slow twin, on random and on extreme values.

use super::cut::Cut;
use super::*;
use crate::kernel::{Kernel, Task};
use crate::lanes::Signed;
use crate::testing::Random;
use crate::{ConvError, Ring};
use he_core::Modulus;

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

/// The words of eight values, taken apart again, sum to the values, for every number of digits and both forms of input.
#[test]
fn digits_recompose() {
    struct Write<const D: usize>(Kernel, Spread, Signed, bool);
    impl<const D: usize> Task for Write<D> {
        type Output = Vec<i32>;
        #[inline(always)]
        fn run(self) -> Vec<i32> {
            let Self(kernel, spread, x, lazy) = self;
            let mut words = vec![0; 4 * D];
            if lazy {
                spread.lazy::<D>(kernel, &[x], &mut words);
            } else {
                spread.line::<D>(kernel, &x.map(|x| x as u64), &mut words);
            }
            words
        }
    }
    let mut random = Random::new("digits");
    let primes = MODULI.into_iter().chain([4_294_967_291, 65_537, 65_521, 3, 281_474_976_710_597]);
    let primes = primes.map(|q| Ring::Prime(Modulus::new(q).unwrap()));
    let powers = (1..=64).map(|bits| Ring::power_of_two(bits).unwrap());
    for ring in primes.chain(powers) {
        let (q, greatest) = (i128::from(ring.greatest()) + 1, ring.greatest());
        for (greatest_weight, pairs) in [(2047, 10), (8191, 100_000), (1 << 20, 3)] {
            let cut = Cut::choose(ring.bits(), greatest_weight, pairs).unwrap();
            let spread = Spread::new(&ring, &cut);
            for round in 0..40 {
                let lazy = round % 2 == 1;
                let x: Signed = std::array::from_fn(|_| {
                    let ends = [0, 1, q / 2 - 1, q / 2, q / 2 + 1, q - 1, 2 * q - 1];
                    let end = ends[random.between(0, 6)] % if lazy { 2 * q } else { q };
                    let any = (u128::from(random.below(u64::MAX)) % (q as u128)) as i128;
                    let x = if random.below(2) == 0 { any } else { end };
                    (if lazy && random.below(2) == 0 { -x } else { x }) as i64
                });
                for kernel in Kernel::available() {
                    let words = match cut.digits {
                        1 => kernel.run(Write::<1>(kernel, spread, x, lazy)),
                        2 => kernel.run(Write::<2>(kernel, spread, x, lazy)),
                        3 => kernel.run(Write::<3>(kernel, spread, x, lazy)),
                        _ => kernel.run(Write::<4>(kernel, spread, x, lazy)),
                    };
                    for (i, &x) in x.iter().enumerate() {
                        let digits = &words[i / 2 * cut.digits..][..cut.digits];
                        let sum = digits.iter().rev().fold(0i128, |sum, &word| {
                            let digit =
                                if i % 2 == 0 { i128::from(word as i16) } else { i128::from(word >> 16) };
                            assert!(digit.abs() <= 1 << (cut.bits - 1));
                            (sum << cut.bits) + digit
                        });
                        let x = i128::from(x);
                        let same = (sum - x).rem_euclid(q) == 0;
                        assert!(same, "{kernel:?} {ring} {cut:?}: {x} became {sum} ({greatest})");
                    }
                }
            }
        }
    }
}

/// Columns of random values, written lazily, times random matrices.
#[test]
fn pair_matrices() {
    struct Write<'a, const D: usize>(&'a PairMatrix, Signed, &'a mut [i32]);
    impl<const D: usize> Task for Write<'_, D> {
        type Output = ();
        #[inline(always)]
        fn run(self) {
            self.0.write::<D>(self.1, self.2);
        }
    }
    let mut random = Random::new("pair matrices");
    let primes = MODULI.map(|q| Ring::Prime(Modulus::new(q).unwrap()));
    let powers = [1, 20, 32, 48, 64].map(|bits| Ring::power_of_two(bits).unwrap());
    for ring in primes.into_iter().chain(powers) {
        for bits in [1, 8, 12, 14, 15, 20, 30, 36] {
            let (outputs, terms, columns) =
                (random.between(1, 70), random.between(1, 300), random.between(1, 60));
            let weights: Vec<i64> = (0..outputs * terms)
                .map(|_| random.below(1 << bits) as i64 * [1, -1][random.between(0, 1)])
                .collect();
            let values: Vec<i64> = (0..columns * terms)
                .map(|_| {
                    let x = random.below(ring.greatest()) as i64;
                    match ring {
                        Ring::Prime(modulus) => [x, -x, x + modulus.value() as i64][random.between(0, 2)],
                        Ring::PowerOfTwo(_) => x,
                    }
                })
                .collect();
            for kernel in Kernel::available() {
                let weight = |output: usize, term: usize| weights[output * terms + term];
                let matrix = PairMatrix::new(&ring, kernel, outputs, terms, &weight).unwrap();
                let mut words = vec![0; columns * matrix.stride()];
                for (words, values) in words.chunks_exact_mut(matrix.stride()).zip(values.chunks(terms)) {
                    for (i, at) in words.chunks_exact_mut(4 * matrix.digits()).enumerate() {
                        let eight = std::array::from_fn(|lane| *values.get(8 * i + lane).unwrap_or(&1));
                        match matrix.digits() {
                            1 => kernel.run(Write::<1>(&matrix, eight, at)),
                            2 => kernel.run(Write::<2>(&matrix, eight, at)),
                            3 => kernel.run(Write::<3>(&matrix, eight, at)),
                            _ => kernel.run(Write::<4>(&matrix, eight, at)),
                        }
                    }
                }
                let mut out = vec![7; outputs.div_ceil(8) * columns * 8];
                matrix.multiply(&words, columns, &mut out);
                for output in 0..outputs {
                    for (column, values) in values.chunks(terms).enumerate() {
                        let expected = values.iter().enumerate().fold(0, |sum, (term, &value)| {
                            let weight = ring.from_i64(weights[output * terms + term]);
                            ring.add(sum, ring.mul(ring.from_i64(value), weight))
                        });
                        let got = out[(output / 8 * columns + column) * 8 + output % 8];
                        assert_eq!(
                            got, expected,
                            "{kernel:?} {ring} {outputs}×{terms}×{columns} {bits} bits"
                        );
                    }
                }
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
