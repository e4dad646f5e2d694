//! The ring laws limb by limb, and what is refused.

use super::*;
use crate::ntt::reference::negacyclic_product;
use crate::params::Profile;
use crate::seed::Seed;

#[test]
fn the_ring_laws_limb_by_limb_against_the_slow_product() {
    let params = Params::new(Profile::Exact);
    let mut rng = Seed::from_bytes([1; 32]).stream();
    let [a, b] = [(); 2].map(|()| RnsPoly::<Coeff>::uniform(&params, &mut rng));
    let slow: Vec<_> = (0..2)
        .map(|i| {
            let (a, b) = (a.limb(i).coefficients(), b.limb(i).coefficients());
            negacyclic_product(&params.moduli()[i], a, b)
        })
        .collect();
    let (a, b) = (a.into_ntt(&params), b.into_ntt(&params));
    let mut product = a.mul(&params, &b);
    product.mul_acc(&params, &a, &b);
    product += &RnsPoly::dot(&params, &[(&a, &b), (&b, &a)]);
    product -= &RnsPoly::dot(&params, &[(&a, &b), (&a, &b), (&a, &b)]);
    product -= &RnsPoly::zero(&params);
    let product = product.into_coeff(&params);
    for (limb, slow) in product.limbs().iter().zip(&slow) {
        assert_eq!(limb.coefficients(), slow);
    }
    assert_eq!(product.n(), 4096);
    assert_eq!(product.into_limbs().len(), 2);
}

#[test]
fn small_polynomials_are_the_same_integers_in_every_limb() {
    let params = Params::new(Profile::Exact);
    let mut rng = Seed::from_bytes([2; 32]).stream();
    let ternary = RnsPoly::ternary(&params, &mut rng);
    let error = RnsPoly::error(&params, &mut rng);
    let signed = RnsPoly::from_signed(&params, &[(3, -7), (4, i64::MAX), (3, 2)]);
    for (poly, largest) in [(&ternary, 1), (&error, 21), (&signed, i128::from(i64::MAX))] {
        let values: Vec<_> = (0..params.n())
            .map(|i| params.center(&[poly.limb(0).coefficients()[i], poly.limb(1).coefficients()[i]]))
            .collect();
        assert!(values.iter().all(|v| v.abs() <= largest));
        assert!(values.iter().any(|&v| v < 0) && values.iter().any(|&v| v > 0));
    }
    // The stream is read as for one limb: the first limb is the polynomial of its own ring.
    let mut rng = Seed::from_bytes([2; 32]).stream();
    let alone = Poly::ternary(params.table(), &mut rng);
    assert_eq!(alone.coefficients(), ternary.limb(0).coefficients());
    assert_eq!(Poly::error(params.table(), &mut rng).coefficients(), error.limb(0).coefficients());
}

#[test]
fn residues_are_checked_limb_by_limb() {
    let params = Params::new(Profile::Exact);
    let tops: Vec<_> = params.moduli().iter().map(|q| vec![q.value() - 1; 4096]).collect();
    assert!(RnsPoly::from_residues(&params, tops.clone()).is_ok());
    let missing = RnsPoly::from_residues(&params, tops[..1].to_vec());
    assert!(matches!(missing, Err(HeError::Length { expected: 2, found: 1, .. })));
    // Limb 0 has the larger prime: its residues do not all fit limb 1.
    let swapped = RnsPoly::from_residues(&params, vec![tops[1].clone(), tops[0].clone()]);
    assert!(matches!(swapped, Err(HeError::OutOfRange { index: 0, .. })));
    let mut short = tops;
    short[1].pop();
    let short = RnsPoly::from_residues(&params, short);
    assert!(matches!(short, Err(HeError::Length { expected: 4096, found: 4095, .. })));
}

#[test]
#[should_panic(expected = "a polynomial of 1 limbs met 2 limbs")]
fn parameter_sets_do_not_mix() {
    let (wide, exact) = (Params::new(Profile::Wide), Params::new(Profile::Exact));
    let a = RnsPoly::<Ntt>::zero(&wide);
    let _ = a.mul(&exact, &a);
}
