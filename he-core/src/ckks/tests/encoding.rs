//! Encoding against the definition, its error, and what it refuses.

use super::*;
use crate::ckks::embedding::evaluate_naively;
use crate::error::HeError;

/// The centred coefficients of a plaintext of at most two limbs.
fn coefficients(params: &Params, plaintext: &Plaintext) -> Vec<i128> {
    let poly = plaintext.poly().duplicate().into_coeff(params.tables(plaintext.limbs()));
    let limbs = poly.limbs();
    (0..params.n())
        .map(|i| match limbs {
            [a] => i128::from(a.modulus().center(a.coefficients()[i])),
            [a, b] => {
                let (qa, qb) = (a.modulus(), b.modulus());
                let inverse = qb.inv(qb.reduce(qa.value()));
                let (x, y) = (qb.reduce(a.coefficients()[i]), b.coefficients()[i]);
                let high = qb.center(qb.mul(qb.sub(y, x), inverse));
                let (value, q) = (i128::from(a.coefficients()[i]), i128::from(qa.value()));
                let value = value + q * i128::from(high);
                let whole = q * i128::from(qb.value());
                if value > whole / 2 { value - whole } else { value }
            }
            _ => panic!("more than two limbs"),
        })
        .collect()
}

#[test]
fn coefficients_are_those_of_the_definition_rounded() {
    for n in [8, 16, 64, 512] {
        let mut party = Party::new(small(n, 1, 1), n as u64);
        let (values, params) = (party.slots(), party.params.clone());
        for (limbs, scale) in [(1, 2.0_f64.powi(20)), (2, 2.0_f64.powi(40)), (2, 3.0e20)] {
            let plaintext = params.encode_at(&values, limbs, scale).unwrap();
            let integers: Vec<f64> = coefficients(&params, &plaintext).iter().map(|&c| c as f64).collect();
            // Slots of the rounded polynomial, straight from the definition: the rounding moves each by at most n / 2.
            let slots = evaluate_naively(&integers);
            let slack = 1e-13 * scale * n as f64;
            let bound = 0.5 * n as f64 + slack;
            // The exact coefficient is the mean of value * conjugate root; half a unit is all that rounding may add.
            for (z, slot) in values.iter().zip(&slots) {
                assert!((z.scale(scale) - *slot).abs() <= bound, "n {n} scale {scale:e}");
            }
            // Transposed definition, c_i = (2/n) Re sum z_j conj(root_j^i), through unit polynomials.
            for i in [0, 1, n / 2, n - 1] {
                let mut unit = vec![0.0; n];
                unit[i] = 1.0;
                let roots = evaluate_naively(&unit);
                let sum: f64 = values.iter().zip(&roots).map(|(z, root)| (*z * root.conj()).re).sum();
                let exact = 2.0 / n as f64 * sum * scale;
                let error = (integers[i] - exact).abs();
                let eps = params.embedding().relative_error() + f64::EPSILON;
                assert!(error <= 0.5 + (eps + 1e-14) * scale, "coefficient {i} of {n}: off by {error}");
            }
        }
    }
}

#[test]
fn values_come_back_at_every_scale_and_level() {
    for n in [8, 128, 4096] {
        let mut party = Party::new(small(n, 3, 1), 50 + n as u64);
        let (values, params) = (party.slots(), party.params.clone());
        for limbs in 1..=params.limbs() {
            for log2 in [20, 33, 40, 62, 80, 100, 120] {
                let scale = 1.37 * 2.0_f64.powi(log2);
                if scale.log2() > params.rlwe().log2_q(limbs) - 2.0 {
                    let refused = params.encode_at(&values, limbs, scale);
                    assert!(matches!(refused, Err(HeError::ScaleRange { .. })));
                    continue;
                }
                let plaintext = params.encode_at(&values, limbs, scale).unwrap();
                assert_eq!((plaintext.limbs(), plaintext.scale()), (limbs, scale));
                let report = PrecisionReport::new(&values, &params.decode(&plaintext)).unwrap();
                let rounding = NoiseEstimate::plaintext(&params, 1.0, limbs, scale).error_bound();
                let doubles = 4.0 * params.embedding().relative_error() * (n as f64).sqrt();
                assert!(report.worst_error <= rounding + doubles, "n {n} 2^{log2}: {:e}", report.worst_error);
            }
        }
    }
}

#[test]
fn real_values_short_messages_and_zeros() {
    let params = small(64, 1, 1);
    let plaintext = params.encode(&[1.5, -2.25, 3.0]).unwrap();
    let values = params.decode(&plaintext);
    for (z, expected) in values.iter().zip([1.5, -2.25, 3.0].into_iter().chain([0.0; 29])) {
        assert!((*z - Complex::from(expected)).abs() < 1e-9);
    }
    assert_eq!(params.decode_real(&plaintext)[..2], [values[0].re, values[1].re]);
    let zero = params.encode::<f64>(&[]).unwrap();
    assert!(params.decode(&zero).iter().all(|z| *z == Complex::ZERO));
    assert!(zero.poly().limbs().iter().all(|limb| limb.values().iter().all(|&word| word == 0)));
}

#[test]
fn what_is_refused() {
    let params = small(64, 1, 1);
    assert!(matches!(params.encode(&[0.0; 33]), Err(HeError::Count { found: 33, most: 32, .. })));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(matches!(
            params.encode(&[Complex::ZERO, Complex::new(0.0, bad)]),
            Err(HeError::NotFinite { index: 1, .. })
        ));
    }
    // Q_1 is just below 2^50: coefficients must stay below 2^49.
    assert!(params.encode_at(&[511.0; 32], 1, 2.0_f64.powi(40)).is_ok());
    assert!(matches!(
        params.encode_at(&[513.0; 32], 1, 2.0_f64.powi(40)),
        Err(HeError::Overflow { log2_most }) if (48.9..49.0).contains(&log2_most)
    ));
    assert!(matches!(params.encode(&[f64::MAX; 32]), Err(HeError::Overflow { .. })));
    doubles_that_overflow_are_refused();
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 2.0_f64.powi(89)] {
        assert!(matches!(params.encode_at(&[1.0], 2, scale), Err(HeError::ScaleRange { .. })), "{scale}");
    }
    for scale in [0.5, f64::NAN, 2.0_f64.powi(89)] {
        assert!(matches!(Params::new(params.rlwe().clone(), scale), Err(HeError::ScaleRange { .. })));
    }
}

/// Sums of the largest doubles overflow within the embedding, to infinities and, with both signs, to NaN.
fn doubles_that_overflow_are_refused() {
    for params in [small(8, 1, 1), small(16, 1, 1), small(64, 1, 1), Params::preset(8192).unwrap()] {
        let slots = params.slots();
        for (what, sign) in [
            ("halves", &(|i| if i < slots / 2 { 1.0 } else { -1.0 }) as &dyn Fn(usize) -> f64),
            ("alternating", &|i| if i % 2 == 0 { 1.0 } else { -1.0 }),
            ("pairs", &|i| if i % 4 < 2 { 1.0 } else { -1.0 }),
            ("mixed", &|i| if i.wrapping_mul(0x9e37_79b9) >> 7 & 1 == 0 { 1.0 } else { -1.0 }),
        ] {
            for imaginary in [0.0, f64::MAX, -f64::MAX] {
                let values: Vec<_> =
                    (0..slots).map(|i| Complex::new(sign(i) * f64::MAX, sign(i / 2) * imaginary)).collect();
                for scale in [params.scale(), 1.0] {
                    let refused = params.encode_at(&values, params.limbs(), scale);
                    assert!(matches!(refused, Err(HeError::Overflow { .. })), "{what}, {slots}, {scale}");
                }
            }
        }
    }
}

#[test]
fn presets_are_checked_and_stay_near_their_scale() {
    for (degree, limbs, special) in [(8192, 3, 1), (16384, 7, 1), (32768, 18, 3)] {
        let params = Params::preset(degree).unwrap();
        assert_eq!((params.n(), params.limbs(), params.rlwe().digit_len()), (degree, limbs, special));
        assert_eq!(params.slots(), degree / 2);
        // The scale of a product tree, level by level.
        let mut scale = params.scale();
        for limbs in (2..=params.limbs()).rev() {
            let prime = params.last_prime(limbs);
            assert!((prime.log2() - 40.0).abs() < 1e-4, "{prime}");
            scale = scale * scale / prime;
        }
        assert!((scale.log2() - 40.0).abs() < 1e-4, "degree {degree}: scale 2^{}", scale.log2());
    }
    assert!(matches!(Params::preset(4096), Err(HeError::Degree { n: 4096 })));
}
