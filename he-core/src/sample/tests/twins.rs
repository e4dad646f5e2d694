//! Every sampler on every kernel against a twin that follows the format word by word, and against known answers.
//!
//! The twins divide, compare and count bits one at a time. After each comparison both streams must stand at the same
//! place: what is read is part of the format.

use super::*;
use crate::vectors::SMALL;
use proptest::prelude::*;
use sha3::{Digest, Sha3_256};

/// Bounds whose rejection is rare, frequent (just above a power of two) or absent, on both sides of 32 bits.
const BOUNDS: [u64; 20] = [
    2,
    3,
    4,
    5,
    255,
    257,
    65_537,
    (1 << 31) - 1,
    (1 << 31) + 1,
    (1 << 32) - 1,
    1 << 32,
    (1 << 32) + 1,
    (1 << 50) - 27,
    1 << 50,
    (1 << 50) + 1,
    (1 << 61) - 1,
    (1 << 63) - 1,
    1 << 63,
    (1 << 63) + 1,
    u64::MAX,
];

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        0_usize..40,
        prop::sample::select(vec![767_usize, 768, 769, 1023, 1024, 1025, 1535, 1536, 1537, 4095, 4096, 4097]),
        0_usize..9000,
    ]
}

fn slow_uniform(rng: &mut Stream, bound: u64, count: usize) -> Vec<u64> {
    let mut bits = 0;
    while bits < 64 && u128::from(bound) > 1 << bits {
        bits += 1;
    }
    let mut words = vec![];
    while words.len() < count {
        let word = if bits <= 32 { u64::from(rng.next_u32()) } else { rng.next_u64() };
        let low = (u128::from(word) % (1 << bits)) as u64;
        if low < bound {
            words.push(low);
        }
    }
    words
}

fn slow_ternary(rng: &mut Stream, count: usize) -> Vec<i8> {
    let mut values = vec![];
    while values.len() < count {
        let fives = (count - values.len()).div_ceil(5);
        let mut bytes = vec![0; fives + fives / 16 + 1];
        rng.fill_bytes(&mut bytes);
        for byte in bytes.into_iter().filter(|&byte| byte < 243) {
            for power in [1, 3, 9, 27, 81] {
                values.push([0, 1, -1][usize::from(byte / power % 3)]);
            }
        }
        values.truncate(count);
    }
    values
}

fn slow_binomial(rng: &mut Stream, eta: u32, count: usize) -> Vec<i8> {
    let size = if eta == 21 { 6 } else { 8 };
    let mut bytes = vec![0; size * count];
    rng.fill_bytes(&mut bytes);
    let ones = |word: &[u8]| (0..2 * eta as usize).map(|k| word[k / 8] >> (k % 8) & 1).sum::<u8>() as i8;
    bytes.chunks_exact(size).map(|word| ones(word) - eta as i8).collect()
}

fn slow_residue(value: i8, modulus: &Modulus) -> u64 {
    i64::from(value).rem_euclid(modulus.value() as i64) as u64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn uniform_words(key: [u8; 32], length in lengths(), bound in prop::sample::select(BOUNDS.to_vec())) {
        let seed = Seed::from_bytes(key);
        let mut source = seed.stream();
        let expected = slow_uniform(&mut source, bound, length);
        let after = source.next_u64();
        for simd in Simd::available() {
            let (mut source, mut words) = (seed.stream(), vec![u64::MAX; length]);
            uniform_below(simd, &mut source, bound, &mut words);
            prop_assert!(words == expected, "{:?}, bound {}", simd, bound);
            prop_assert_eq!(source.next_u64(), after, "{:?}, bound {}", simd, bound);
        }
    }

    #[test]
    fn ternary_values(key: [u8; 32], length in lengths()) {
        let (seed, modulus) = (Seed::from_bytes(key), wide());
        let mut source = seed.stream();
        let expected = slow_ternary(&mut source, length);
        let after = source.next_u64();
        for simd in Simd::available() {
            let (mut source, mut words) = (seed.stream(), vec![u64::MAX; length]);
            ternary_with(simd, &mut source, &modulus, &mut words);
            prop_assert!(words.iter().zip(&expected).all(|(&w, &x)| w == slow_residue(x, &modulus)), "{:?}", simd);
            prop_assert_eq!(source.next_u64(), after, "{:?}", simd);
        }
        let (mut source, mut small) = (seed.stream(), vec![99; length]);
        ternary_small(&mut source, &mut small);
        prop_assert!(small == expected);
        prop_assert_eq!(source.next_u64(), after);
    }

    #[test]
    fn binomial_values(key: [u8; 32], length in lengths(), eta in prop_oneof![Just(21_u32), 1_u32..=32]) {
        let (seed, modulus) = (Seed::from_bytes(key), wide());
        let mut source = seed.stream();
        let expected = slow_binomial(&mut source, eta, length);
        let after = source.next_u64();
        for simd in Simd::available() {
            let (mut source, mut words) = (seed.stream(), vec![u64::MAX; length]);
            binomial_with(simd, &mut source, eta, &modulus, &mut words);
            prop_assert!(words.iter().zip(&expected).all(|(&w, &x)| w == slow_residue(x, &modulus)), "{:?}", simd);
            prop_assert_eq!(source.next_u64(), after, "{:?}, eta {}", simd, eta);
        }
        let (mut source, mut small) = (seed.stream(), vec![99; length]);
        binomial_small(&mut source, eta, &mut small);
        prop_assert!(small == expected);
        prop_assert_eq!(source.next_u64(), after);
    }

    #[test]
    fn small_values_modulo_any_prime(
        small in prop::collection::vec(any::<i8>(), 0..100),
        q in prop::sample::select(vec![131_u64, 257, 12289, (1 << 31) - 1, (1 << 61) - 1]),
    ) {
        let modulus = Modulus::new(q).unwrap();
        let expected: Vec<_> = small.iter().map(|&x| slow_residue(x, &modulus)).collect();
        for simd in Simd::available() {
            let mut words = vec![u64::MAX; small.len()];
            spread_with(simd, &small, &modulus, &mut words);
            prop_assert_eq!(&words, &expected, "{:?}", simd);
        }
    }
}

/// Each byte alone and in every place of a register.
#[test]
fn every_byte_becomes_its_digits() {
    for simd in Simd::available() {
        let bytes: Vec<u8> = (0..243).collect();
        for start in 0..8 {
            let (bytes, mut out) = (&bytes[start..], vec![99; 5 * (243 - start)]);
            match simd {
                Simd::Portable => portable::digits(bytes, &mut out),
                #[cfg(target_arch = "x86_64")]
                Simd::Avx2 => avx2::digits(bytes, &mut out),
                #[cfg(target_arch = "x86_64")]
                Simd::Avx512 => avx512::digits(bytes, &mut out),
            }
            for (byte, five) in bytes.iter().zip(out.chunks_exact(5)) {
                let value = five.iter().rev().fold(0, |sum, &x| 3 * sum + i32::from(x).rem_euclid(3));
                assert_eq!(value, i32::from(*byte), "{simd:?}");
                assert!(five.iter().all(|x| (-1..=1).contains(x)), "{simd:?}");
            }
        }
    }
}

#[test]
fn wide_dithers_are_sums_of_four_draws() {
    // Widths for draws of 4, 8, 12 and 16 bytes; one prime far above them is not there, so residues modulo two.
    let moduli = [wide(), Modulus::new((1 << 61) - 1).unwrap()];
    for (width, size) in [(1_u128 << 31, 4), ((1 << 48) + 1, 8), ((1 << 70) - 5, 12), ((1 << 100) + 1, 16)] {
        let seed = Seed::from_bytes([9; 32]);
        let bits = u128::BITS - (width - 1).leading_zeros();
        for count in [1, 255, 256, 257, 1000] {
            let (mut source, mut slow) = (seed.stream(), seed.stream());
            let mut limbs = vec![vec![u64::MAX; count]; 2];
            dither_limbs(&mut source, &moduli, width, &mut limbs);
            for at in 0..count {
                let mut sum = -2 * (width as i128 - 1);
                for _ in 0..4 {
                    sum += loop {
                        let mut bytes = [0; 16];
                        slow.fill_bytes(&mut bytes[..size]);
                        let draw = u128::from_le_bytes(bytes) % (1 << bits);
                        if draw < width {
                            break draw as i128;
                        }
                    };
                }
                for (limb, modulus) in limbs.iter().zip(&moduli) {
                    assert_eq!(i128::from(limb[at]), sum.rem_euclid(i128::from(modulus.value())));
                }
            }
            assert_eq!(source.next_u64(), slow.next_u64());
        }
    }
}

#[test]
fn a_dither_is_the_sum_of_four_draws() {
    let (modulus, seed) = (wide(), Seed::from_bytes([9; 32]));
    for (log2_sigma, count) in [(0.0, 1), (20.0, 255), (31.0, 256), (44.0, 257), (46.0, 1000)] {
        let (mut source, mut slow) = (seed.stream(), seed.stream());
        let mut words = vec![u64::MAX; count];
        dither(&mut source, &modulus, log2_sigma, &mut words).unwrap();
        let width = dither_width(&modulus, log2_sigma).unwrap();
        let draws = slow_uniform(&mut slow, width, 4 * count);
        for (word, four) in words.iter().zip(draws.chunks(4)) {
            let sum = four.iter().sum::<u64>() as i64 - 2 * (width as i64 - 1);
            assert_eq!(*word as i64, sum.rem_euclid(modulus.value() as i64));
        }
        assert_eq!(source.next_u64(), slow.next_u64());
    }
}

#[test]
fn known_answers() {
    let mut source = Seed::from_bytes([7; 32]).fork("small", &[]).stream();
    let mut values = [vec![0; 4001], vec![0; 1001], vec![0; 11]];
    ternary_small(&mut source, &mut values[0]);
    binomial_small(&mut source, 21, &mut values[1]);
    binomial_small(&mut source, 4, &mut values[2]);
    for (values, known) in values.iter().zip(SMALL.0) {
        let bytes: Vec<u8> = values.iter().map(|&x| x as u8).collect();
        assert_eq!(Sha3_256::digest(&bytes)[..], known);
    }
    assert_eq!(source.next_u64(), SMALL.1);
}

#[test]
#[should_panic(expected = "small values and residues of different counts")]
fn lengths_must_agree() {
    spread(&[0, 1], &wide(), &mut [0; 3]);
}

#[test]
#[should_panic(expected = "eta = 33 is outside 1..=32")]
fn eta_has_a_range() {
    binomial_small(&mut rng("eta"), 33, &mut [0; 3]);
}
