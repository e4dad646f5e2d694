//! Wide encoding against wide decoding, which has a twin of its own, and against encoding in doubles.

use rand_core::Rng;

use super::*;
use crate::ckks::tests::small;
use crate::rlwe::{RlweLiteral, RlweParams};
use crate::rns::big::Big;
use crate::seed::{Seed, Stream};

fn chain(n: usize) -> Params {
    let literal = RlweLiteral::from_bits(n, &[49, 48, 47, 46], &[50]).unwrap();
    Params::new(RlweParams::insecure_for_tests(&literal).unwrap(), 2.0_f64.powi(40)).unwrap()
}

fn fresh() -> Stream {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    println!("seed {bytes:?}");
    Seed::from_bytes(bytes).stream()
}

/// Multiples of 2^-fraction of so many bits, all places, ends included.
fn numbers(rng: &mut Stream, slots: usize, bits: u32, fraction: u32) -> Vec<Complex> {
    let part = |rng: &mut Stream| {
        let top = 1_i64 << (bits - 1);
        let x = match rng.next_u32() % 8 {
            0 => top,
            1 => -top,
            2 => 0,
            _ => (rng.next_u64() as i64) >> (64 - bits),
        };
        x as f64 / f64::from(fraction).exp2()
    };
    (0..slots).map(|_| Complex::new(part(rng), part(rng))).collect()
}

/// The largest |slot of the plaintext - value times scale|, in units of the polynomial; values are multiples of 2^-60.
fn worst(params: &Params, plaintext: &Plaintext, values: &[Complex], factors: &[u64]) -> f64 {
    let scale = factors.iter().fold(Big::new(1), |product, &factor| product.mul(&Big::unsigned(factor)));
    let unit = Big::new(1 << 60);
    let found = params.decode_wide(plaintext, 0).unwrap();
    let mut worst = 0.0_f64;
    for ((z, &re), &im) in values.iter().zip(found.re()).zip(found.im()) {
        for (part, found) in [(z.re, re), (z.im, im)] {
            let exact = Big::new((part * 60.0_f64.exp2()) as i128).mul(&scale);
            let off = Big::new(found).mul(&unit).sub(&exact).to_f64() / unit.to_f64();
            worst = worst.max(off.abs());
        }
    }
    worst
}

#[test]
fn slots_come_back_to_the_rounding_of_coefficients() {
    let mut rng = fresh();
    for n in [8, 64, 1024] {
        let params = chain(n);
        // Whole weights at a product that no double holds, fractions at a power of two, the largest slots, the least scale.
        let prime = params.rlwe().moduli(4)[2].value();
        for (bits, fraction, factors) in [
            (13, 0, &[prime, (1 << 30) + 3][..]),
            (40, 40, &[1 << 35, 1 << 35]),
            (21, 0, &[1 << 60]),
            (2, 0, &[1]),
            (26, 26, &[1 << 50, 3]),
        ] {
            let values = numbers(&mut rng, params.slots(), bits, fraction);
            let plaintext = params.encode_wide(&values, 2, factors).unwrap();
            let scale: f64 = factors.iter().map(|&factor| factor as f64).product();
            assert_eq!((plaintext.scale(), plaintext.limbs()), (scale, 2));
            let worst = worst(&params, &plaintext, &values, factors);
            // Half a unit per coefficient, all in one direction at worst; half a unit for the decoding.
            let rest = 0.5 + params.wide_encoding_error() * scale + params.wide_error(2);
            assert!(worst <= 0.5 * n as f64 + rest, "N = {n}, {bits} bits at {factors:?}: {worst}");
            // As a rule it is far less: a sum of N roundings.
            assert!(worst <= 4.0 * (n as f64).sqrt() + rest, "N = {n}, {bits} bits at {factors:?}: {worst}");
        }
    }
}

/// The transform's own error, at a scale so large that the rounding of coefficients is nothing.
#[test]
fn the_stated_error_holds_and_is_not_idle() {
    let mut rng = fresh();
    for n in [8, 64, 1024] {
        let params = chain(n);
        let values = numbers(&mut rng, params.slots(), 41, 40);
        let factors = [1 << 52, 1 << 42];
        let plaintext = params.encode_wide(&values, 2, &factors).unwrap();
        let scale = 94.0_f64.exp2();
        let found = worst(&params, &plaintext, &values, &factors) / scale;
        let rounding = (0.5 * n as f64 + 0.5 + params.wide_error(2)) / scale;
        assert!(found <= params.wide_encoding_error() + rounding, "N = {n}: {found:e}");
        // Some part of a rounding to 2^-80, more than a hundred times what the coefficients' own adds.
        assert!(found > 83.0_f64.exp2().recip() && found > 100.0 * rounding / n as f64, "N = {n}: {found:e}");
    }
}

#[test]
fn both_encodings_agree_to_what_doubles_hold() {
    let params = small(2048, 2, 1);
    let mut rng = fresh();
    let values = numbers(&mut rng, params.slots(), 50, 50);
    for limbs in 1..=3 {
        let [doubles, wide] = [
            params.encode_at(&values, limbs, 40.0_f64.exp2()).unwrap(),
            params.encode_wide(&values, limbs, &[1 << 40]).unwrap(),
        ];
        let apart = params.decode(&doubles).into_iter().zip(params.decode(&wide));
        let apart = apart.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 30.0_f64.exp2().recip(), "{apart:e}");
    }
}

#[test]
fn fewer_values_are_filled_up_with_zeros() {
    let params = chain(64);
    let few = params.encode_wide(&[Complex::ONE, Complex::I], 2, &[1 << 40]).unwrap();
    let mut all = vec![Complex::ZERO; 32];
    (all[0], all[1]) = (Complex::ONE, Complex::I);
    let filled = params.encode_wide(&all, 2, &[1 << 40]).unwrap();
    for (few, filled) in few.poly().limbs().iter().zip(filled.poly().limbs()) {
        assert_eq!(few.values(), filled.values());
    }
}

#[test]
fn parts_of_the_arithmetic_are_those_of_long_integers() {
    let mut rng = fresh();
    let power = |bits: u32| (0..bits).fold(Big::new(1), |power, _| power.add(&power));
    for round in 0..4000 {
        let wide = |rng: &mut Stream| i128::from(rng.next_u64() as i64) << 64 | i128::from(rng.next_u64());
        let x = [wide(&mut rng) >> (8 + round % 110), -1, 0, 1 << 119, -(1 << 119)][(round % 5) as usize];
        let y =
            [wide(&mut rng) >> 1, 1 << 126, -(1 << 126), 0, wide(&mut rng) >> 60][(round / 5 % 5) as usize];
        let off = Big::new(x).mul(&Big::new(y)).sub(&Big::new(times(x, y)).mul(&power(126))).to_f64();
        assert!(off.abs() <= (0.5 + 0.25_f64.powi(31)) * 126.0_f64.exp2(), "{x} times {y}");
        let value = (rng.next_u64() as i64 >> (round % 40)) as f64 / 43.0_f64.exp2();
        let found = Big::new(fixed(value)).sub(&Big::new((value * 43.0_f64.exp2()) as i128).mul(&power(37)));
        assert!(found.to_f64() == 0.0, "{value}");
    }
    for (value, expected) in [
        (20.0_f64.exp2(), 1_i128 << 100),
        (-20.0_f64.exp2(), -(1_i128 << 100)),
        (81.0_f64.exp2().recip() * 3.0, 2),
        (-0.0, 0),
        (1e-300, 0),
    ] {
        assert_eq!(fixed(value), expected, "{value}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let params = chain(64);
    let refuse =
        |values: &[Complex], limbs, factors: &[u64]| params.encode_wide(values, limbs, factors).unwrap_err();
    let z = |re: f64, im: f64| vec![Complex::new(re, im)];
    assert!(matches!(refuse(&vec![Complex::ZERO; 33], 1, &[1]), HeError::Count { found: 33, most: 32, .. }));
    for bad in [z(f64::NAN, 0.0), z(0.0, f64::INFINITY), z(f64::NEG_INFINITY, 0.0)] {
        assert!(matches!(refuse(&bad, 4, &[1 << 20]), HeError::NotFinite { index: 0, .. }));
    }
    let most = 20.0_f64.exp2();
    assert!(params.encode_wide(&z(most, -most), 4, &[1 << 40]).is_ok());
    assert!(matches!(refuse(&z(most + 1.0, 0.0), 4, &[1 << 40]), HeError::Bits { bits: 21, most: 20, .. }));
    assert!(matches!(refuse(&z(0.0, 1e300), 4, &[1]), HeError::Bits { .. }));
    assert!(matches!(refuse(&z(1.0, 0.0), 1, &[1 << 50]), HeError::ScaleRange { .. }));
    assert!(matches!(refuse(&z(1.0, 0.0), 4, &[0, 5]), HeError::ScaleRange { .. }));
    assert!(matches!(refuse(&z(8.0, 0.0), 1, &[1 << 46]), HeError::Overflow { .. }));
    // 190 bits of modulus, of which coefficients take 126.
    assert!(matches!(refuse(&z(1.0, 0.0), 4, &[1 << 63, 1 << 63]), HeError::Overflow { log2_most: 126.0 }));
    assert!(params.encode_wide(&z(1.0, 0.0), 4, &[1 << 63, 1 << 61]).is_ok());
}
