//! The changes of basis as polynomials have them, in either form; and shapes that are refused.

use super::*;
use crate::ntt::NttTable;
use crate::poly::Coeff;
use crate::rns::RnsPoly;

/// Transform tables of degree 32 for the largest primes of 40 and 60 bits.
fn tables(bits: u32, count: usize) -> Vec<NttTable> {
    (0..1_u64 << (bits - 6))
        .rev()
        .filter_map(|k| Modulus::new(64 * k + 1).ok())
        .map(|q| NttTable::new(32, q).unwrap())
        .take(count)
        .collect()
}

fn moduli(tables: &[NttTable]) -> Vec<Modulus> {
    tables.iter().map(|table| *table.modulus()).collect()
}

fn residues(poly: &RnsPoly<Coeff>) -> Vec<Vec<u64>> {
    poly.limbs().iter().map(|limb| limb.coefficients().to_vec()).collect()
}

#[test]
fn polynomials_in_either_form() {
    for bits in [40, 60] {
        let tables = tables(bits, 7);
        let all = moduli(&tables);
        let mut rng = Seed::from_bytes([9; 32]).stream();
        for split in [4, 6] {
            let (kept, dropped) = all.split_at(split);
            let down = ModDown::new(dropped, kept);
            let x = RnsPoly::<Coeff>::uniform(&tables, &mut rng);
            let words = residues(&x);
            let again = RnsPoly::from_residues(&tables, words.clone()).unwrap().into_ntt(&tables);
            let quotient = residues(&down.drop_last(x));
            let kept_whole = down.dropped_last_ntt(&again, &tables).into_coeff(&tables[..split]);
            assert_eq!(quotient, residues(&kept_whole));
            let by_values = down.drop_last_ntt(again, &tables).into_coeff(&tables[..split]);
            assert_eq!(quotient, residues(&by_values));
            let number = |at: usize| compose(&words.iter().map(|limb| limb[at]).collect::<Vec<_>>(), &all);
            check_rounded((0..32).map(|at| rounded(&number(at), dropped)), &quotient, &values(kept));
        }
        let (left, right) = all.split_at(3);
        let x = RnsPoly::<Coeff>::uniform(&tables[..3], &mut rng);
        let words = residues(&x);
        let converter = Converter::new(left, right);
        let converted = residues(&converter.convert_poly(&x, &tables[3..]));
        let extended = converter.extend(x, &tables[3..]);
        assert_eq!(residues(&extended), [words.clone(), converted.clone()].concat());
        for at in 0..32 {
            let column = |limbs: &[Vec<u64>]| limbs.iter().map(|limb| limb[at]).collect::<Vec<_>>();
            assert_eq!(compose(&column(&words), left), compose(&column(&converted), right));
        }
        let plain = PlainRound::new(left, 65537).round(&RnsPoly::from_residues(&tables[..3], words).unwrap());
        let numbers = || {
            (0..32).map(|at| {
                compose(
                    &extended.limbs().iter().map(|limb| limb.coefficients()[at]).collect::<Vec<_>>(),
                    &all,
                )
            })
        };
        let t = Big::new(65537);
        check_rounded(numbers().map(|x| rounded(&x.mul(&t), left)), &[plain], &[65537]);
        let quotients: Vec<_> = numbers().map(|x| rounded(&x.mul(&t), left)).collect();
        let scaled = ScaleRound::new(left, right, 65537).scale(extended);
        check_rounded(quotients.into_iter(), &residues(&scaled), &values(right));
    }
}

#[test]
#[should_panic(expected = "is twice in a basis")]
fn a_basis_holds_a_prime_once() {
    let [from, to] = bases(2, 1, &[40]);
    let _ = Converter::new(&[from[0], from[1], from[0]], &to);
}

#[test]
#[should_panic(expected = "is dropped and kept")]
fn a_prime_is_not_dropped_and_kept() {
    let [from, _] = bases(3, 1, &[40]);
    let _ = ModDown::new(&from[..2], &from[1..]);
}

#[test]
#[should_panic(expected = "different lengths")]
fn limbs_have_one_length() {
    let [from, to] = bases(2, 1, &[40]);
    Converter::new(&from, &to).convert(&[&[1, 2], &[1]], &mut [&mut [0, 0]]);
}

#[test]
#[should_panic(expected = "got 1 and 1 limbs")]
fn every_prime_has_a_limb() {
    let [from, to] = bases(2, 1, &[40]);
    Converter::new(&from, &to).convert(&[&[1, 2]], &mut [&mut [0, 0]]);
}

#[test]
#[should_panic(expected = "met a change of basis")]
fn polynomials_of_other_primes_are_refused() {
    let tables = tables(40, 3);
    let converter = Converter::new(&moduli(&tables[..2]), &moduli(&tables[2..]));
    let _ = converter.convert_poly(&RnsPoly::zero(&tables[1..]), &tables[2..]);
}
