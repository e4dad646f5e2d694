//! Against integers of any size.

use super::*;
use crate::modulus::Modulus;
use crate::poly::{Coeff, Ntt};
use crate::rlwe;
use crate::rns::RnsPoly;
use crate::rns::big::{Big, compose};

const N: usize = 16;

/// The centred coefficients of a polynomial in NTT form.
fn integers(params: &Params, poly: &RnsPoly<Ntt>) -> Vec<Big> {
    let poly = poly.duplicate().into_coeff(params.rlwe().ciphertext_tables(poly.limb_count()));
    let primes = params.rlwe().moduli(poly.limb_count());
    (0..poly.n())
        .map(|i| compose(&poly.limbs().iter().map(|limb| limb.coefficients()[i]).collect::<Vec<_>>(), primes))
        .collect()
}

fn product(a: &[Big], b: &[Big]) -> Vec<Big> {
    let n = a.len();
    let mut out = vec![Big::new(0); n];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            let (place, term) = ((i + j) % n, x.mul(y));
            out[place] = if i + j < n { out[place].add(&term) } else { out[place].sub(&term) };
        }
    }
    out
}

fn uniform(params: &Params, limbs: usize, rng: &mut Stream) -> RnsPoly<Ntt> {
    RnsPoly::uniform(params.rlwe().ciphertext_tables(limbs), rng)
}

#[test]
fn decryption_is_the_rounded_phase() {
    for (bits, t) in
        [(&[40, 38][..], 65537), (&[50, 50, 49], 1 << 32), (&[61, 59], (1 << 60) - 93), (&[30], 2)]
    {
        let world = World::new(&rlwe(N, bits, &[61]), t);
        let params = world.params.clone();
        for limbs in 1..=params.limbs() {
            let primes = params.rlwe().moduli(limbs);
            let q = Big::product(primes);
            for parts in [2, 3] {
                // Any parts will do: the rounding knows nothing of noise.
                let parts =
                    (0..parts).map(|_| uniform(&params, limbs, &mut world.rng.borrow_mut())).collect();
                let x = Ciphertext::wrap(rlwe::Ciphertext::from_parts(parts).unwrap());
                let secret = |values: &RnsPoly<Ntt>| {
                    let mut values = values.duplicate();
                    values.truncate(limbs);
                    integers(&params, &values)
                };
                let s = secret(world.secret.values());
                let square = product(&s, &s);
                let [c0, c1, rest @ ..] = x.as_rlwe().parts() else { panic!("two parts at least") };
                let mut phase = integers(&params, c0);
                let mut add = |terms: Vec<Big>| {
                    phase.iter_mut().zip(&terms).for_each(|(sum, term)| *sum = sum.add(term));
                };
                add(product(&integers(&params, c1), &s));
                rest.iter().for_each(|c2| add(product(&integers(&params, c2), &square)));
                let t_big = Big::unsigned(t);
                let expected: Vec<_> = phase.iter().map(|x| x.mul(&t_big).round_div(&q).residue(t)).collect();
                assert_eq!(world.decrypt(&x), expected, "t = {t}, {limbs} limbs");
            }
        }
    }
}

#[test]
fn products_are_the_rounded_integers() {
    for (bits, t) in
        [(&[40, 38][..], 65537), (&[50, 50, 49], 1 << 32), (&[61, 59, 60], (1 << 60) - 93), (&[45], 3)]
    {
        let world = World::new(&rlwe(N, bits, &[61]), t);
        let params = world.params.clone();
        for limbs in 1..=params.limbs() {
            let primes = params.rlwe().moduli(limbs);
            let (q, t_big) = (Big::product(primes), Big::unsigned(t));
            let rounded = |x: &Big| x.mul(&t_big).round_div(&q).residues(primes);
            let check = |a: Ciphertext, b: Ciphertext| {
                let [a0, a1] = [0, 1].map(|i| integers(&params, &a.as_rlwe().parts()[i]));
                let [b0, b1] = [0, 1].map(|i| integers(&params, &b.as_rlwe().parts()[i]));
                let middle: Vec<_> =
                    product(&a0, &b1).iter().zip(product(&a1, &b0)).map(|(x, y)| x.add(&y)).collect();
                let expected = [product(&a0, &b0), middle, product(&a1, &b1)];
                let found = params.multiply(&a, &b).unwrap();
                for (found, expected) in found.as_rlwe().parts().iter().zip(expected) {
                    let found = found.duplicate().into_coeff(params.rlwe().ciphertext_tables(limbs));
                    for (i, expected) in expected.iter().enumerate() {
                        let found: Vec<_> = found.limbs().iter().map(|limb| limb.coefficients()[i]).collect();
                        assert_eq!(found, rounded(expected), "t = {t}, {limbs} limbs, X^{i}");
                    }
                }
                let square = params.square(&a).unwrap();
                let product = params.multiply(&a, &a).unwrap();
                for (x, y) in square.as_rlwe().parts().iter().zip(product.as_rlwe().parts()) {
                    assert!(x.limbs().iter().zip(y.limbs()).all(|(x, y)| x.values() == y.values()));
                }
            };
            let random = |rng: &mut Stream| {
                let parts = (0..2).map(|_| uniform(&params, limbs, rng)).collect();
                Ciphertext::wrap(rlwe::Ciphertext::from_parts(parts).unwrap())
            };
            let [a, b] = [(); 2].map(|()| random(&mut world.rng.borrow_mut()));
            check(a, b);
            // The largest coefficients that are away from ±Q/2, all of one sign: the products are the largest too.
            let largest = |sign: i128| {
                let value = q.mul(&Big::new(sign * 499)).div_rem(&Big::new(1000)).0.residues(primes);
                let residues = value.iter().map(|&word| vec![word; N]).collect();
                let tables = params.rlwe().ciphertext_tables(limbs);
                let poly = RnsPoly::<Coeff>::from_residues(tables, residues).unwrap().into_ntt(tables);
                Ciphertext::wrap(rlwe::Ciphertext::from_parts(vec![poly.duplicate(), poly]).unwrap())
            };
            check(largest(1), largest(1));
            check(largest(-1), largest(1));
        }
    }
}

#[test]
fn noise_is_measured_exactly() {
    for (bits, t) in [(&[40, 38][..], 65537), (&[50, 50, 49], 1 << 32), (&[61, 59], 255), (&[30], 2)] {
        let world = World::new(&rlwe(N, bits, &[61]), t);
        let params = world.params.clone();
        let words = world.words();
        for limbs in 1..=params.limbs() {
            let fresh = world.encrypt(&words);
            let x = params.switch_modulus(fresh, limbs);
            let parts = (0..2).map(|_| uniform(&params, limbs, &mut world.rng.borrow_mut())).collect();
            let hopeless = Ciphertext::wrap(rlwe::Ciphertext::from_parts(parts).unwrap());
            for x in [x, hopeless] {
                let q = Big::product(params.rlwe().moduli(limbs));
                let phase = integers(&params, &world.secret.phase(x.as_rlwe()));
                let size = |x: &Big| x.mul(&Big::unsigned(t)).center(&q).abs().to_f64();
                let largest = phase.iter().map(size).fold(0.0, f64::max);
                let expected = largest.log2() - (t as f64).log2();
                let found = params.noise_bits(&world.secret, &x);
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
                let room = q.to_f64().log2() - 1.0 - (t as f64).log2();
                assert!((params.noise_budget(&world.secret, &x) - (room - expected)).abs() < 1e-6);
            }
        }
        // Without noise: a trivial ciphertext of zero.
        let zero = (0..2).map(|_| RnsPoly::zero(params.rlwe().ciphertext_tables(1))).collect();
        let zero = Ciphertext::wrap(rlwe::Ciphertext::from_parts(zero).unwrap());
        assert!((params.noise_bits(&world.secret, &zero) + (t as f64).log2()).abs() < 1e-9);
    }
}

#[test]
fn auxiliary_primes_are_no_ciphertext_primes() {
    let params = Params::new(&rlwe(N, &[50, 49, 48, 47], &[50]), 1 << 20).unwrap();
    let all: Vec<Modulus> = params.product_level(4).tables.iter().map(|table| *table.modulus()).collect();
    for (i, q) in all.iter().enumerate() {
        assert!(!all[..i].contains(q), "{q:?} occurs twice");
    }
}
