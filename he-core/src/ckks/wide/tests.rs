//! Wide decoding against big integers: every slot by its definition, with roots made another way.

use rand_core::Rng;

use super::*;
use crate::ckks::tests::small;
use crate::ckks::{Complex, Literal};
use crate::rlwe::{RlweLiteral, RlweParams};
use crate::rns::RnsPoly;
use crate::rns::big::{Big, compose};
use crate::seed::Seed;

/// Bits after the binary point of the twin.
const BITS: u32 = 240;

fn power(bits: u32) -> Big {
    (0..bits).fold(Big::new(1), |power, _| power.add(&power))
}

/// floor(sqrt(x)), by Newton's steps from above.
fn sqrt(x: &Big) -> Big {
    let mut root = power(BITS + 2);
    loop {
        let next = root.add(&x.div_rem(&root).0).div_rem(&Big::new(2)).0;
        if next.cmp(&root) != core::cmp::Ordering::Less {
            return root;
        }
        root = next;
    }
}

fn times([a, b]: &[Big; 2], [c, s]: &[Big; 2]) -> [Big; 2] {
    let one = power(BITS);
    [a.mul(c).sub(&b.mul(s)).round_div(&one), a.mul(s).add(&b.mul(c)).round_div(&one)]
}

/// exp(2 pi i / order), order at least 4, by halving a right angle.
fn generator(order: usize) -> [Big; 2] {
    let one = power(BITS);
    let [mut c, mut s] = [Big::new(0), one.clone()];
    for _ in 2..order.trailing_zeros() {
        // cos^2 = (1 + c) / 2 and sin = s / 2 cos, of half the angle.
        c = sqrt(&one.add(&c).mul(&one).div_rem(&Big::new(2)).0);
        s = s.mul(&one).round_div(&c.add(&c));
    }
    [c, s]
}

/// Every slot by its definition, times 2^BITS.
fn slots(coefficients: &[Big]) -> Vec<[Big; 2]> {
    let order = 2 * coefficients.len();
    let zeta = generator(order);
    let mut powers = vec![[power(BITS), Big::new(0)]];
    for k in 1..order {
        powers.push(times(&powers[k - 1], &zeta));
    }
    let mut at = 1;
    (0..coefficients.len() / 2)
        .map(|_| {
            let mut sum = [Big::new(0), Big::new(0)];
            for (i, c) in coefficients.iter().enumerate() {
                let root = &powers[i * at % order];
                sum = [sum[0].add(&c.mul(&root[0])), sum[1].add(&c.mul(&root[1]))];
            }
            at = 5 * at % order;
            sum
        })
        .collect()
}

fn wide_chain(n: usize) -> Params {
    let literal = RlweLiteral::from_bits(n, &[49, 48, 47, 46], &[50]).unwrap();
    Params::new(RlweParams::insecure_for_tests(&literal).unwrap(), 2.0_f64.powi(40)).unwrap()
}

#[test]
fn slots_are_those_of_big_integers_to_the_stated_error() {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    println!("seed {bytes:?}");
    for n in [8, 16, 64] {
        let params = wide_chain(n);
        for (round, limbs) in (0..6).zip([1, 2, 3, 4, 4, 4]) {
            let tables = params.tables(limbs);
            let moduli = params.rlwe().moduli(limbs);
            let mut rng = Seed::from_bytes(bytes).fork("polynomial", &[n as u64, round]).stream();
            let mut residues = vec![vec![0; n]; limbs];
            for (words, q) in residues.iter_mut().zip(moduli) {
                match round {
                    // Both ends of the range in all places: (Q - 1)/2 and its negative.
                    4 => words.iter_mut().enumerate().for_each(|(i, w)| *w = q.value() / 2 + i as u64 % 2),
                    5 => words.fill(q.value() / 2),
                    _ => words.iter_mut().for_each(|w| *w = q.reduce(rng.next_u64())),
                }
            }
            let at = |i: usize| residues.iter().map(|limb| limb[i]).collect::<Vec<_>>();
            let coefficients: Vec<Big> = (0..n).map(|i| compose(&at(i), moduli)).collect();
            let expected = slots(&coefficients);
            let poly = RnsPoly::from_residues(tables, residues).unwrap().into_ntt(tables);
            let plaintext = Plaintext::from_parts(&params, poly, 1.0).unwrap();
            let least = (params.rlwe().log2_q(limbs) + (n as f64).log2() - 126.0).max(0.0).ceil() as u32;
            for step in [least, least + 1, least + 40, 200] {
                let found = params.decode_wide(&plaintext, step).unwrap();
                let unit = power(step + BITS);
                let bound = 0.5 + params.wide_error(limbs) / f64::from(step).exp2() + 1e-9;
                for (j, [re, im]) in expected.iter().enumerate() {
                    for (found, exact) in [(found.re()[j], re), (found.im()[j], im)] {
                        let off = Big::new(found).mul(&unit).sub(exact).to_f64() / unit.to_f64();
                        assert!(off.abs() <= bound, "N = {n}, {limbs} limbs, step {step}, slot {j}: {off}");
                    }
                }
            }
        }
    }
}

/// The error is near what is stated for the largest coefficients, and would be seen if roots had fewer bits.
#[test]
fn the_stated_error_is_not_idle() {
    let params = wide_chain(64);
    // 190 bits: roots of 126 bits are off by far more than the guard hides.
    let error = params.wide_error(4);
    assert!(error > 2.0_f64.powi(60) && error < 2.0_f64.powi(75), "{error:e}");
    assert!((params.wide_error(1) - 32.0 / 65536.0).abs() < 1e-9);
}

#[test]
fn encoded_integers_come_back() {
    let params = small(512, 2, 1);
    let mut rng = Seed::from_bytes([9; 32]).stream();
    let values: Vec<Complex> = (0..params.slots())
        .map(|_| [(); 2].map(|()| f64::from(rng.next_u32() as i32 >> 12)))
        .map(|[re, im]| Complex::new(re, im))
        .collect();
    let plaintext = params.encode_at(&values, 3, 40.0_f64.exp2()).unwrap();
    let found = params.decode_wide(&plaintext, 40).unwrap();
    for ((z, &re), &im) in values.iter().zip(found.re()).zip(found.im()) {
        assert_eq!((re, im), (z.re as i128, z.im as i128));
    }
    assert_eq!(format!("{found:?}"), "WideSlots(256 slots, redacted)");
    // It is the same decoding as that to doubles.
    let doubles = params.decode(&plaintext);
    let fine = params.decode_wide(&plaintext, 20).unwrap();
    for (z, &re) in doubles.iter().zip(fine.re()) {
        assert!((z.re - re as f64 / 20.0_f64.exp2()).abs() < 1e-6);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let params = wide_chain(64);
    let tables = params.tables(4);
    let zero = || Plaintext::from_parts(&params, RnsPoly::zero(tables), 1.0).unwrap();
    // 190 bits and 6 of N: from 70 on 126 are left.
    assert!(matches!(params.decode_wide(&zero(), 69), Err(HeError::Bits { most: 195, .. })));
    let found = params.decode_wide(&zero(), 70).unwrap();
    assert!(found.re().iter().chain(found.im()).all(|&x| x == 0));
    assert!(params.decode_wide(&zero(), 230).is_ok() && params.decode_wide(&zero(), 231).is_err());
    let literal =
        Literal { degree: 64, first_bits: 60, scale_bits: 59, depth: 3, special_bits: 60, special_primes: 1 };
    let rlwe = RlweParams::insecure_for_tests(&literal.chain().unwrap()).unwrap();
    let long = Params::new(rlwe, literal.scale()).unwrap();
    let zero = Plaintext::from_parts(&long, RnsPoly::zero(long.tables(4)), 1.0).unwrap();
    assert!(matches!(long.decode_wide(&zero, 200), Err(HeError::Bits { most: 237, .. })));
}
