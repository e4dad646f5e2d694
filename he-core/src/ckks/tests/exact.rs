//! The polynomials underneath, against exact integers; and the same bytes for any number of threads.

use super::*;
use crate::ntt::reference::negacyclic_product;
use crate::poly::{Coeff, Ntt};
use crate::rns::RnsPoly;

fn coefficients(params: &Params, poly: &RnsPoly<Ntt>) -> RnsPoly<Coeff> {
    poly.duplicate().into_coeff(params.tables(poly.limb_count()))
}

/// The centred integers of a polynomial of one to three limbs with Q below 2^127, by the Chinese remainder theorem in
/// i128.
fn integers(poly: &RnsPoly<Coeff>) -> Vec<i128> {
    let mut values = vec![0_i128; poly.n()];
    let mut product = 1_i128;
    for limb in poly.limbs() {
        let q = limb.modulus();
        let inverse = q.inv(q.from_i128(product));
        for (value, &word) in values.iter_mut().zip(limb.coefficients()) {
            let digit = q.mul(q.sub(word, q.from_i128(*value)), inverse);
            *value += product * i128::from(digit);
        }
        product *= i128::from(q.value());
    }
    values.into_iter().map(|x| if x > product / 2 { x - product } else { x }).collect()
}

/// The negacyclic product of small integers, schoolbook.
fn schoolbook(a: &[i128], b: &[i128]) -> Vec<i128> {
    let n = a.len();
    let mut sum = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            let (place, sign) = if i + j < n { (i + j, 1) } else { (i + j - n, -1) };
            sum[place] += sign * x * y;
        }
    }
    sum
}

#[test]
fn products_are_exact_products_of_phases() {
    let literal = crate::rlwe::RlweLiteral::from_bits(64, &[45, 40, 40], &[46]).unwrap();
    let params = Params::new(RlweParams::insecure_for_tests(&literal).unwrap(), 2.0_f64.powi(40)).unwrap();
    let mut party = Party::new(params.clone(), 70);
    let (x, y) = (party.slots(), party.slots());
    let (a, b) = (party.encrypt(&x), party.encrypt(&y));
    let phase =
        |c: &Ciphertext| integers(&coefficients(&params, party.params.decrypt(&party.secret, c).poly()));
    // Phases are below 2^41, products of 64 terms below 2^88, and the modulus is 2^125: integers, not residues.
    let product = params.multiply(&a, &b).unwrap();
    assert_eq!(phase(&product), schoolbook(&phase(&a), &phase(&b)));
    let mut sum = a.duplicate();
    sum.add(&b).unwrap();
    let added: Vec<i128> = phase(&a).iter().zip(phase(&b)).map(|(a, b)| a + b).collect();
    assert_eq!(phase(&sum), added);
    let plain = params.encode(&y).unwrap();
    let mut times_plain = a.duplicate();
    times_plain.multiply_plain(&params, &plain).unwrap();
    let message = integers(&coefficients(&params, plain.poly()));
    assert_eq!(phase(&times_plain), schoolbook(&phase(&a), &message));
    // Each limb against the quadratic product modulo its prime.
    let (p, m) = (
        coefficients(&params, party.params.decrypt(&party.secret, &a).poly()),
        coefficients(&params, plain.poly()),
    );
    let t = coefficients(&params, party.params.decrypt(&party.secret, &times_plain).poly());
    for ((p, m), t) in p.limbs().iter().zip(m.limbs()).zip(t.limbs()) {
        assert_eq!(negacyclic_product(p.modulus(), p.coefficients(), m.coefficients()), t.coefficients());
    }
}

#[test]
fn rescaling_is_exact_rounding_of_every_part() {
    for bits in [[45, 40, 40], [40, 45, 36], [30, 41, 55]] {
        let literal = crate::rlwe::RlweLiteral::from_bits(64, &bits, &[60]).unwrap();
        let params =
            Params::new(RlweParams::insecure_for_tests(&literal).unwrap(), 2.0_f64.powi(30)).unwrap();
        let mut party = Party::new(params.clone(), 71);
        for from in [3, 2] {
            // Uniform parts: residues of every size.
            let tables = params.tables(from);
            let mut stream = party.seed().stream();
            let parts: Vec<_> = (0..2).map(|_| RnsPoly::<Ntt>::uniform(tables, &mut stream)).collect();
            let inner = crate::rlwe::Ciphertext::from_parts(parts).unwrap();
            let mut c = Ciphertext::from_rlwe(&params, inner, 1e9).unwrap();
            let before: Vec<_> =
                c.as_rlwe().parts().iter().map(|part| integers(&coefficients(&params, part))).collect();
            params.rescale(&mut c).unwrap();
            let q = i128::from(tables[from - 1].modulus().value());
            assert_eq!(c.scale(), 1e9 / q as f64);
            for (before, after) in before.iter().zip(c.as_rlwe().parts()) {
                let after = coefficients(&params, after);
                for (i, &x) in before.iter().enumerate() {
                    // An odd prime has no ties; the quotient may be one more than the centred range holds.
                    let rounded = (x + q / 2).div_euclid(q);
                    for limb in after.limbs() {
                        assert_eq!(limb.coefficients()[i], limb.modulus().from_i128(rounded), "{x} / {q}");
                    }
                }
            }
        }
    }
}

/// Everything at once, as words.
fn all_operations() -> Vec<u64> {
    let mut party = Party::new(small(1024, 4, 2), 72);
    let params = party.params.clone();
    let seed = party.seed();
    let keys = params.galois_keys(&party.secret, &[1, 2, 3, 4, 8, -5], true, seed);
    let (x, y) = (party.slots(), party.slots());
    let (a, b) = (party.encrypt(&x), party.encrypt(&y));
    let public = party.public();
    let seed = party.seed();
    let mut answers = vec![params.encrypt_public(&public, &params.encode(&y).unwrap(), seed)];
    answers.push(params.multiply_rescale(&a, &b, &party.relin).unwrap());
    answers.extend(params.rotate_many(&a, &[1, 2, -5], &keys).unwrap());
    answers.push(params.conjugate(&b, &keys).unwrap());
    let diagonals = (0..12).map(|k| (k, party.slots())).collect::<Vec<_>>();
    let matrix = Diagonals::new(params.slots(), diagonals).unwrap();
    let prepared = params.linear_transform_at(&matrix, 5, params.last_prime(5), 4).unwrap();
    answers.push(params.transform(&a, &prepared, &keys).unwrap());
    let sine = Polynomial::interpolate(f64::sin, 7, -1.0, 1.0).unwrap();
    answers.push(params.evaluate_polynomial(&a, &PolynomialPlan::new(sine), &party.relin).unwrap());
    let words = answers.iter().flat_map(|c| c.as_rlwe().parts().iter().flat_map(|part| part.limbs()));
    let mut words: Vec<u64> = words.flat_map(|limb| limb.values().to_vec()).collect();
    words.extend(answers.iter().map(|c| c.scale().to_bits()));
    words.extend(answers.iter().flat_map(|c| party.open(c)).flat_map(|z| [z.re.to_bits(), z.im.to_bits()]));
    words
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    let with = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all_operations)
    };
    let one = with(1);
    assert!(one == with(2) && one == with(5));
}
