//! Every function against its definition in schoolbook integers of 256 bits.

use proptest::prelude::*;
use rand_core::Rng;

use super::*;
use crate::params::Profile;
use crate::seed::Seed;

/// A number of 256 bits, one bit per entry, least first: slow and obvious.
#[derive(Clone, PartialEq, Debug)]
struct Big([bool; 256]);

impl Big {
    fn new(x: u128) -> Self {
        Self(core::array::from_fn(|i| i < 128 && x >> i & 1 == 1))
    }

    fn small(&self) -> u128 {
        assert!(self.0[128..].iter().all(|bit| !bit), "does not fit 128 bits");
        (0..128).fold(0, |x, i| x | u128::from(self.0[i]) << i)
    }

    fn shl(&self, by: usize) -> Self {
        assert!(self.0[256 - by..].iter().all(|bit| !bit), "does not fit 256 bits");
        Self(core::array::from_fn(|i| i >= by && self.0[i - by]))
    }

    fn shr(&self, by: usize) -> Self {
        Self(core::array::from_fn(|i| i + by < 256 && self.0[i + by]))
    }

    fn add(&self, other: &Self) -> Self {
        let mut carry = false;
        let sum = Self(core::array::from_fn(|i| {
            let ones = u8::from(self.0[i]) + u8::from(other.0[i]) + u8::from(carry);
            carry = ones > 1;
            ones % 2 == 1
        }));
        assert!(!carry, "does not fit 256 bits");
        sum
    }

    /// self - other if that is not negative.
    fn sub(&self, other: &Self) -> Option<Self> {
        let mut borrow = false;
        let difference = Self(core::array::from_fn(|i| {
            let ones = i8::from(self.0[i]) - i8::from(other.0[i]) - i8::from(borrow);
            borrow = ones < 0;
            ones.rem_euclid(2) == 1
        }));
        (!borrow).then_some(difference)
    }

    fn mul(&self, other: u128) -> Self {
        (0..128).filter(|i| other >> i & 1 == 1).fold(Self::new(0), |sum, i| sum.add(&self.shl(i)))
    }

    /// (floor(self / q), self mod q), bit by bit; q below 2^127.
    fn div(&self, q: u128) -> (Self, u128) {
        let (mut quotient, mut rest) = (Self::new(0), 0_u128);
        for i in (0..256).rev() {
            rest = rest << 1 | u128::from(self.0[i]);
            quotient.0[i] = rest >= q;
            rest -= q & u128::from(quotient.0[i]).wrapping_neg();
        }
        (quotient, rest)
    }
}

fn parameters() -> Vec<Params> {
    Profile::ALL.into_iter().map(Params::new).collect()
}

/// x modulo each prime, by division.
fn slow_residues(params: &Params, x: u128) -> Vec<u64> {
    params.moduli().iter().map(|q| (x % u128::from(q.value())) as u64).collect()
}

/// round(x * 2^k / q) mod 2^k.
fn slow_down(q: u128, x: u128, k: u32) -> u64 {
    let doubled = Big::new(x).shl(k as usize + 1).add(&Big::new(q));
    (doubled.div(2 * q).0.small() % (1 << k)) as u64
}

/// round(v * q / 2^w) mod q, ties up.
fn slow_up(q: u128, v: u64, w: u32) -> u128 {
    let doubled = Big::new(q).mul(2 * u128::from(v)).add(&Big::new(1 << w));
    doubled.shr(w as usize + 1).small() % q
}

fn down_one(params: &Params, residues: &[u64], k: u32) -> u64 {
    let slices: Vec<_> = residues.iter().map(core::slice::from_ref).collect();
    params.down(&slices, k)[0]
}

fn up_one(params: &Params, v: u64, w: u32) -> Vec<u64> {
    params.up(&[v], w).into_iter().flatten().collect()
}

#[test]
fn the_slow_numbers_are_numbers() {
    let mut rng = Seed::from_bytes([1; 32]).stream();
    for _ in 0..200 {
        let (x, y) = (u128::from(rng.next_u64()), u128::from(rng.next_u64() | 1));
        assert_eq!(Big::new(x).mul(y).small(), x * y);
        assert_eq!(Big::new(x).shl(37).small(), x << 37);
        assert_eq!(Big::new(x).shl(137).shr(137).small(), x);
        let (quotient, rest) = Big::new(x * y / 3).div(y >> 7 | 1);
        assert_eq!((quotient.small(), rest), (x * y / 3 / (y >> 7 | 1), x * y / 3 % (y >> 7 | 1)));
        assert_eq!(Big::new(x).add(&Big::new(y)).sub(&Big::new(y)), Some(Big::new(x)));
        assert_eq!(Big::new(x).sub(&Big::new(x + y)), None);
    }
}

#[test]
fn residues_of_numbers_and_back() {
    let mut rng = Seed::from_bytes([2; 32]).stream();
    for params in parameters() {
        let q = params.q();
        for i in 0..2000_u128 {
            let wide = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
            for x in [wide % q, i, q - 1 - i, q / 2 - i, q / 2 + i] {
                let residues = slow_residues(&params, x);
                assert_eq!(params.compose(&residues), x);
                let centred = if x > q / 2 { x as i128 - q as i128 } else { x as i128 };
                assert_eq!(params.center(&residues), centred);
                assert_eq!(params.residues(centred), residues);
            }
            let signed = wide as i128;
            let slow: Vec<_> =
                params.moduli().iter().map(|m| signed.rem_euclid(i128::from(m.value())) as u64).collect();
            assert_eq!(params.residues(signed), slow);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn down_and_up_are_exact_roundings(wide: u128, near in 0_u128..9, v: u64, k in 1_u32..=62) {
        for params in parameters() {
            let q = params.q();
            // Random, at the ends, and where the rounding changes: around the odd multiples of q / 2^(k+1).
            let odd = u128::from(v >> (64 - k)) | 1;
            let edge = Big::new(q).mul(odd).shr(k as usize + 1).small() % q;
            for x in [wide % q, near, q - 1 - near, (edge + near).saturating_sub(4) % q] {
                let residues = slow_residues(&params, x);
                prop_assert_eq!(down_one(&params, &residues, k), slow_down(q, x, k), "{} {}", x, k);
            }
            let full = (1_u64 << k) - 1;
            for v in [v & full, near as u64 & full, full - (near as u64 & full)] {
                let slow = slow_up(q, v, k);
                prop_assert_eq!(up_one(&params, v, k), slow_residues(&params, slow), "{} {}", v, k);
            }
        }
    }

    #[test]
    fn one_limb_is_the_switch_of_one_modulus(x: u64, k in 1_u32..=62) {
        for params in parameters().into_iter().filter(|params| params.limbs() == 1) {
            let (modulus, v) = (params.modulus(), x & ((1 << k) - 1));
            let residue = modulus.reduce(x);
            prop_assert_eq!(params.down(&[&[residue, 0]], k), [switch::switch_down(modulus, residue, k), 0]);
            prop_assert_eq!(params.up(&[v, 0], k), [[switch::lift(modulus, v, k), 0]]);
        }
    }

    #[test]
    fn both_shares_switched_add_up(a: u128, y in -(1_i64 << 40)..1 << 40, k in 4_u32..=40) {
        for params in parameters().into_iter().filter(|params| params.log2_q() > f64::from(k) + 2.0) {
            // Shares of y units of the k-bit ring (brought into its range), up to two roundings.
            let half = 1 << (k - 1);
            let y = (y + half).rem_euclid(2 * half) - half;
            let value = params.residues((f64::from(k).exp2().recip() * params.q() as f64 * y as f64) as i128);
            let mask = slow_residues(&params, a % params.q());
            let other: Vec<_> =
                value.iter().zip(&mask).zip(params.moduli()).map(|((&v, &m), q)| q.sub(v, m)).collect();
            let sum = down_one(&params, &mask, k).wrapping_add(down_one(&params, &other, k));
            let error = (sum.wrapping_sub(y as u64) & (2 * half as u64 - 1)) as i64;
            // 1/2 unit each, and what a product of floats of 53 bits lost of y.
            prop_assert!(error.min(2 * half - error) <= 1, "{} for {}", error, y);
        }
    }

    #[test]
    fn turns_of_the_torus(value: i64, odd in -2_i64..2) {
        for params in parameters() {
            for value in [value, value >> 20, odd, (2 * odd + 1) << 61, i64::MIN, i64::MAX] {
                // Positive and negative parts apart: floor((value q + 2^61) / 2^62) mod q, floors down for both signs.
                let magnitude = Big::new(params.q()).mul(u128::from(value.unsigned_abs()));
                let half = Big::new(1 << 61);
                let x = if value >= 0 {
                    magnitude.add(&half).shr(62).div(params.q()).1
                } else {
                    // -ceil((magnitude - 2^61) / 2^62), where that is positive.
                    let up = magnitude.add(&half).sub(&Big::new(1)).unwrap().shr(62).div(params.q()).1;
                    (params.q() - up) % params.q()
                };
                prop_assert_eq!(params.torus(value), slow_residues(&params, x), "{}", value);
            }
        }
    }
}

#[test]
fn shapes_and_empty_slices() {
    let params = Params::new(Profile::Exact);
    assert_eq!(params.down(&[&[], &[]], 20), Vec::<u64>::new());
    assert_eq!(params.up(&[], 20), [Vec::<u64>::new(), Vec::new()]);
    let up = params.up(&[1, 2, 3], 20);
    assert_eq!(up.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(params.down(&[&up[0], &up[1]], 20), [1, 2, 3]);
}

#[test]
#[should_panic(expected = "values of 1 limbs met a parameter set of 2")]
fn a_missing_limb() {
    let _ = Params::new(Profile::Exact).down(&[&[1]], 20);
}

#[test]
#[should_panic(expected = "different lengths")]
fn limbs_of_different_lengths() {
    let _ = Params::new(Profile::Exact).down(&[&[1], &[1, 2]], 20);
}

#[test]
fn a_dither_of_any_width_is_one_integer_in_every_limb() {
    let params = Params::new(Profile::Exact);
    for (label, log2_sigma) in [2.0, 29.3, 31.0, 40.0, 63.0, 70.0, 90.0, 93.0].into_iter().enumerate() {
        let mut rng = Seed::from_bytes([3; 32]).fork("dither", &[label as u64]).stream();
        // More than one block, and not a whole number of them.
        let draws = params.dither(&mut rng, log2_sigma, 20_011).unwrap();
        let support = 2 * (params.dither_width(log2_sigma).unwrap() - 1);
        let values: Vec<_> = draws[0].iter().zip(&draws[1]).map(|(&a, &b)| params.center(&[a, b])).collect();
        assert!(values.iter().all(|v| v.unsigned_abs() <= support));
        // Were the limbs of two draws, the composed values would be uniform modulo q.
        let scaled: Vec<_> = values.iter().map(|&v| v as f64 / log2_sigma.exp2()).collect();
        let moment = |power: i32| scaled.iter().map(|v| v.powi(power)).sum::<f64>() / scaled.len() as f64;
        // Five deviations of each estimate: 1, 2 and fourth moment 3 - 6/(5 * 4) = 2.7 (kurtosis of four uniforms).
        let count = (scaled.len() as f64).sqrt();
        let width = params.dither_width(log2_sigma).unwrap() as f64;
        let variance = (width * width - 1.0) / 3.0 / log2_sigma.exp2().powi(2);
        assert!(moment(1).abs() < 5.0 / count, "{log2_sigma}: mean {}", moment(1));
        assert!((moment(2) / variance - 1.0).abs() < 5.0 * 1.31 / count, "{log2_sigma}: {}", moment(2));
        assert!(
            (moment(4) / variance.powi(2) - 2.7).abs() < 5.0 * 7.0 / count,
            "{log2_sigma}: {}",
            moment(4)
        );
        assert!(values.windows(2).filter(|pair| pair[0] == pair[1]).count() < 20_011 / 8);
        // Neither limb alone shows the sign: low and high bits are spread once sigma is far above a prime.
        if log2_sigma > 60.0 {
            let high = draws[0].iter().filter(|&&word| word > params.moduli()[0].value() / 2).count();
            assert!((high as f64 / 20_011.0 - 0.5).abs() < 5.0 * 0.5 / count);
        }
    }
}

#[test]
fn dithers_that_do_not_fit() {
    let params = Params::new(Profile::Exact);
    for log2_sigma in [93.3, 94.0, 127.0, f64::INFINITY, f64::NAN] {
        assert!(matches!(params.dither_width(log2_sigma), Err(HeError::Dither { .. })), "{log2_sigma}");
        assert!(params.dither(&mut Seed::from_bytes([4; 32]).stream(), log2_sigma, 1).is_err());
    }
    assert_eq!(params.dither_width(-1000.0), Ok(2));
    let wide = Params::new(Profile::Wide);
    let mut expected = vec![0; 100];
    sample::dither(&mut Seed::from_bytes([5; 32]).stream(), wide.modulus(), 30.0, &mut expected).unwrap();
    let ours = wide.dither(&mut Seed::from_bytes([5; 32]).stream(), 30.0, 100).unwrap();
    assert_eq!(*ours, [expected]);
    assert_eq!(wide.dither_width(30.0).ok(), sample::dither_width(wide.modulus(), 30.0).ok().map(u128::from));
}
