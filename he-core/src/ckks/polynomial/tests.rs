//! Plans against Horner and Clenshaw in the clear; encrypted evaluations against both; depths and counts.

use super::*;
use crate::ckks::tests::{Party, small};
use crate::ckks::{Complex, PrecisionReport};

fn random(party: &mut Party, degree: usize) -> Vec<f64> {
    (0..=degree).map(|_| party.number()).collect()
}

#[test]
fn plans_have_the_value_and_the_depth_of_their_polynomial() {
    let mut party = Party::new(small(8, 1, 1), 90);
    for degree in (0..=70).chain([100, 127, 128, 255]) {
        for sparse in [false, true] {
            let mut coefficients = random(&mut party, degree);
            if sparse {
                // Odd coefficients only, but for the last.
                coefficients[..degree].iter_mut().step_by(2).for_each(|c| *c = 0.0);
            }
            for polynomial in [
                Polynomial::monomial(coefficients.clone()).unwrap(),
                Polynomial::chebyshev(coefficients, -3.0, 5.0).unwrap(),
            ] {
                let plan = PolynomialPlan::new(polynomial.clone());
                let bits = ceil_log2(degree + 1);
                let wide = usize::from(polynomial.basis() != Basis::Monomial);
                assert_eq!(polynomial.depth(), bits + wide);
                assert!(plan.products() <= degree, "degree {degree}: {} products", plan.products());
                if degree >= 16 && !sparse {
                    // Paterson and Stockmeyer: about sqrt(2 d) + log2 d.
                    let known = (2.0 * degree as f64).sqrt() * 1.2 + bits as f64 + 1.0;
                    assert!((plan.products() as f64) < known, "degree {degree}: {}", plan.products());
                }
                for _ in 0..5 {
                    let x = match polynomial.basis() {
                        Basis::Monomial => party.number(),
                        Basis::Chebyshev { .. } => 1.0 + 4.0 * party.number(),
                    };
                    let error = (plan.value(x) - polynomial.value(x)).abs();
                    assert!(error < 1e-10, "degree {degree} at {x}: {error:e}");
                }
            }
        }
    }
}

#[test]
fn interpolation_meets_its_function_at_the_nodes_and_near_it_between() {
    let polynomial = Polynomial::interpolate(f64::exp, 20, -1.0, 2.0).unwrap();
    for i in 0..=100 {
        let x = -1.0 + 3.0 * f64::from(i) / 100.0;
        assert!((polynomial.value(x) - x.exp()).abs() < 1e-12);
    }
    // A polynomial comes back as itself.
    let cubic = |x: f64| 4.0 * x * x * x - 3.0 * x + 0.5;
    let polynomial = Polynomial::interpolate(cubic, 3, -1.0, 1.0).unwrap();
    for (found, expected) in polynomial.coefficients().iter().zip([0.5, 0.0, 0.0, 1.0]) {
        assert!((found - expected).abs() < 1e-14);
    }
    assert!(matches!(Polynomial::interpolate(f64::exp, 3, 1.0, 1.0), Err(HeError::Interval { .. })));
    assert!(matches!(Polynomial::interpolate(f64::ln, 3, -1.0, 1.0), Err(HeError::NotFinite { .. })));
    assert!(matches!(Polynomial::monomial(vec![]), Err(HeError::Count { .. })));
    assert!(matches!(Polynomial::monomial(vec![1.0, f64::NAN]), Err(HeError::NotFinite { index: 1, .. })));
}

#[test]
fn encrypted_values_are_those_in_the_clear() {
    let mut party = Party::new(small(64, 7, 2), 91);
    let params = party.params.clone();
    for degree in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 63] {
        for interval in [None, Some((-1.0, 1.0)), Some((0.0, 2.0)), Some((-4.0, 3.0))] {
            let mut coefficients = random(&mut party, degree);
            let polynomial = match interval {
                None => Polynomial::monomial(coefficients).unwrap(),
                Some((low, high)) => {
                    coefficients.iter_mut().for_each(|c| *c /= 4.0);
                    Polynomial::chebyshev(coefficients, low, high).unwrap()
                }
            };
            let (low, high) = interval.unwrap_or((-1.0, 1.0));
            let number = |t: f64| (low + high) / 2.0 + (high - low) / 2.0 * t;
            let x: Vec<f64> = (0..params.slots()).map(|_| number(party.number())).collect();
            let values: Vec<Complex> = x.iter().map(|&x| Complex::from(x)).collect();
            let plan = PolynomialPlan::new(polynomial.clone());
            let ciphertext = party.encrypt(&values);
            let answer = params.evaluate_polynomial(&ciphertext, &plan, &party.relin).unwrap();
            assert_eq!(answer.limbs(), params.limbs() - polynomial.depth(), "degree {degree}");
            assert!((answer.scale() / ciphertext.scale() - 1.0).abs() < 1e-9, "degree {degree}");
            let expected: Vec<Complex> = x.iter().map(|&x| Complex::from(polynomial.value(x))).collect();
            let error = PrecisionReport::new(&expected, &party.open(&answer)).unwrap().worst_error;
            // Errors of powers grow with the degree, and coefficients are right to 2^-40.
            let bound = (degree + 1) as f64 * 3e-9;
            assert!(error < bound, "degree {degree} on {interval:?}: {error:e}");
            // One prime fewer is one too few.
            let mut low = ciphertext.duplicate();
            params.drop_to(&mut low, polynomial.depth().max(1)).unwrap();
            if polynomial.depth() > 0 {
                assert_eq!(
                    params.evaluate_polynomial(&low, &plan, &party.relin).unwrap_err(),
                    HeError::Limbs { needed: polynomial.depth() + 1, found: polynomial.depth() }
                );
            }
        }
    }
}

#[test]
fn a_sigmoid_to_twenty_bits() {
    let mut party = Party::new(small(256, 7, 2), 92);
    let params = party.params.clone();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let polynomial = Polynomial::interpolate(sigmoid, 60, -8.0, 8.0).unwrap();
    let x: Vec<f64> = (0..params.slots()).map(|_| 8.0 * party.number()).collect();
    let values: Vec<Complex> = x.iter().map(|&x| Complex::from(x)).collect();
    let ciphertext = party.encrypt(&values);
    let plan = PolynomialPlan::new(polynomial);
    let answer = params.evaluate_polynomial(&ciphertext, &plan, &party.relin).unwrap();
    let expected: Vec<Complex> = x.iter().map(|&x| Complex::from(sigmoid(x))).collect();
    let report = PrecisionReport::new(&expected, &party.open(&answer)).unwrap();
    assert!(report.re.min > 20.0, "{report}");
}
