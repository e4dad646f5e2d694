//! Every operation is the one on slots, and its error is within the prediction, which is not absurdly loose.

use super::*;
use crate::error::HeError;

/// All operations on one pair of messages, with predictions.
fn operations(party: &mut Party, from_public: bool) {
    let (x, y) = (party.slots(), party.slots());
    let params = party.params.clone();
    let (mut a, mut b) = (party.encrypt(&x), party.encrypt(&y));
    let mut fresh = party.fresh();
    if from_public {
        let public = party.public();
        let mut encrypt = |values: &[Complex]| {
            let seed = party.seed();
            params.encrypt_public(&public, &params.encode(values).unwrap(), seed)
        };
        (a, b) = (encrypt(&x), encrypt(&y));
        fresh = NoiseEstimate::public_key(&params, 1.0, params.limbs(), params.scale());
    }
    let report = party.check("fresh", &a, &x, &fresh);
    // The deviation is a prediction, not only a bound.
    let ratio = report.mean_square_error / fresh.deviation();
    // Few slots leave much to chance, and at wide scales the worst case of doubles is far above their mean.
    let range = match params.n() {
        _ if params.scale().log2() > 50.0 => 0.05..1.25,
        256.. => 0.8..1.25,
        _ => 0.3..2.0,
    };
    assert!(range.contains(&ratio), "fresh: measured {ratio} of the prediction");

    let mut c = a.duplicate();
    c.add(&b).unwrap();
    assert_eq!(a.plus(&b).unwrap().to_bytes(&params), c.to_bytes(&params));
    let mut d = a.duplicate();
    d.sub(&b).unwrap();
    assert_eq!(a.minus(&b).unwrap().to_bytes(&params), d.to_bytes(&params));
    party.check("sum", &c, &zip(&x, &y, |x, y| x + y), &fresh.sum_independent(&fresh));
    c.sub(&b).unwrap();
    c.sub(&b).unwrap();
    party.check("difference", &c, &zip(&x, &y, |x, y| x - y), &fresh.sum(&fresh).sum(&fresh));
    c.negate();
    party.check("negative", &c, &zip(&x, &y, |x, y| y - x), &fresh.sum(&fresh).sum(&fresh));

    let plain = params.encode(&y).unwrap();
    let encoded = NoiseEstimate::plaintext(&params, 1.0, params.limbs(), params.scale());
    let mut c = a.duplicate();
    c.add_plain(&plain).unwrap();
    party.check("plain sum", &c, &zip(&x, &y, |x, y| x + y), &fresh.sum(&encoded));
    c.sub_plain(&plain).unwrap();
    c.sub_plain(&plain).unwrap();
    party.check("plain difference", &c, &zip(&x, &y, |x, y| x - y), &fresh.sum(&encoded).sum(&encoded));

    let mut c = a.duplicate();
    c.multiply_plain(&params, &plain).unwrap();
    let noise = fresh.product(&encoded);
    party.check("plain product", &c, &zip(&x, &y, |x, y| x * y), &noise);
    let rescaled = params.rescaled(&c).unwrap();
    params.rescale(&mut c).unwrap();
    assert_eq!((rescaled.to_bytes(&params), rescaled.limbs()), (c.to_bytes(&params), c.limbs()));
    party.check("rescaled plain product", &c, &zip(&x, &y, |x, y| x * y), &noise.rescaled());

    let constant = Complex::new(-3.25, 0.6);
    let mut c = a.duplicate();
    c.add_constant(&params, constant).unwrap();
    party.check("constant sum", &c, &zip(&x, &x, |x, _| x + constant), &fresh.sum(&encoded));
    let mut c = a.duplicate();
    c.multiply_integer(-7);
    party.check("integer product", &c, &zip(&x, &x, |x, _| x.scale(-7.0)), &fresh.times(7.0));
    c.multiply_by_i(&params);
    party.check("times i", &c, &zip(&x, &x, |x, _| (x * Complex::I).scale(-7.0)), &fresh.times(7.0));
    let mut c = a.duplicate();
    let factor_scale = params.last_prime(c.limbs());
    c.multiply_constant(&params, 0.7253, factor_scale).unwrap();
    params.rescale(&mut c).unwrap();
    let factor = NoiseEstimate::plaintext(&params, 1.0, params.limbs(), factor_scale);
    let noise = fresh.product(&factor).rescaled();
    party.check("constant product", &c, &zip(&x, &x, |x, _| x.scale(0.7253)), &noise);
    let mut c = a.duplicate();
    c.divide(&params, 4.0).unwrap();
    let quarter = PrecisionReport::new(&zip(&x, &x, |x, _| x.scale(0.25)), &party.open(&c)).unwrap();
    assert!(quarter.worst_error <= fresh.error_bound() / 4.0);

    // Products of ciphertexts: degree 2, then relinearised, then rescaled.
    let expected = zip(&x, &y, |x, y| x * y);
    let product = params.multiply(&a, &b).unwrap();
    assert_eq!(product.degree(), 2);
    let noise = fresh.product(&fresh);
    party.check("product", &product, &expected, &noise);
    let mut product = params.relinearise(product, &party.relin);
    assert_eq!(product.degree(), 1);
    party.check("relinearised", &product, &expected, &noise.key_switched());
    params.rescale(&mut product).unwrap();
    let noise = noise.key_switched().rescaled();
    let report = party.check("rescaled", &product, &expected, &noise);
    let tightness = report.mean_square_error / noise.deviation();
    assert!(tightness > 0.1, "the prediction is {} times the error", 1.0 / tightness);
    let at_once = params.multiply_rescale(&a, &b, &party.relin).unwrap();
    assert_eq!(party.open(&at_once), party.open(&product));

    // Squares are products, and degree 2 adds to either degree.
    let (square, by_product) = (params.square(&a).unwrap(), params.multiply(&a, &a).unwrap());
    for (s, p) in square.as_rlwe().parts().iter().zip(by_product.as_rlwe().parts()) {
        for (s, p) in s.limbs().iter().zip(p.limbs()) {
            assert_eq!(s.values(), p.values());
        }
    }
    party.check("square", &square, &zip(&x, &x, |x, _| x * x), &fresh.product(&fresh));
    let mut both = params.relinearise(square, &party.relin);
    both.add(&params.multiply(&a, &b).unwrap()).unwrap();
    let expected = zip(&x, &y, |x, y| x * x + x * y);
    let noise = fresh.product(&fresh);
    party.check("x^2 + x y", &both, &expected, &noise.key_switched().sum(&noise));
    // x (x + y) = x^2 + x y through the other side.
    let mut sum = a.duplicate();
    sum.add(&b).unwrap();
    let noise = fresh.product(&fresh.sum(&fresh));
    party.check("x (x + y)", &params.multiply(&a, &sum).unwrap(), &expected, &noise);
}

#[test]
fn operations_are_those_on_slots() {
    for (n, inner, special) in [(8, 2, 1), (64, 3, 2), (256, 2, 1), (1024, 4, 3), (4096, 2, 1)] {
        let mut party = Party::new(small(n, inner, special), n as u64);
        operations(&mut party, false);
        operations(&mut party, true);
    }
}

#[test]
fn any_chain_of_primes_serves() {
    // Wide primes (no doubles in the residues), narrow ones, and widths mixed.
    for (q, p, log2) in [
        (&[60, 55, 55][..], &[60][..], 55),
        (&[45, 30, 30], &[46], 30),
        (&[60, 40, 40], &[60], 40),
        (&[50, 40, 40, 45, 35], &[48, 48], 40),
    ] {
        let literal = crate::rlwe::RlweLiteral::from_bits(128, q, p).unwrap();
        let rlwe = RlweParams::insecure_for_tests(&literal).unwrap();
        let mut party = Party::new(Params::new(rlwe, 2.0_f64.powi(log2)).unwrap(), 7);
        operations(&mut party, false);
    }
}

#[test]
fn mistakes_are_named() {
    let mut party = Party::new(small(64, 2, 1), 8);
    let params = party.params.clone();
    let x = party.slots();
    let a = party.encrypt(&x);
    let mut low = a.duplicate();
    params.drop_to(&mut low, 2).unwrap();
    let mut c = a.duplicate();
    assert_eq!(c.add(&low), Err(HeError::Limbs { needed: 3, found: 2 }));
    assert_eq!(params.multiply(&a, &low).unwrap_err(), HeError::Limbs { needed: 3, found: 2 });
    let mut other = a.duplicate();
    other.divide(&params, 2.0).unwrap();
    let error = c.sub(&other).unwrap_err();
    assert_eq!((c.minus(&other).unwrap_err(), c.plus(&other).unwrap_err()), (error.clone(), error.clone()));
    assert_eq!(error, HeError::UnequalScales { left: a.scale(), right: 2.0 * a.scale() });
    assert!(
        error.to_string().contains("1.099511627776e12") && error.to_string().contains("2.199023255552e12")
    );
    // Within the tolerance scales are equal, beyond it they are not.
    other.divide(&params, 0.5 * (1.0 + 0.9 * cipher::SCALE_TOLERANCE)).unwrap();
    assert!(c.add(&other).is_ok());
    other.divide(&params, 1.0 + 0.5 * cipher::SCALE_TOLERANCE).unwrap();
    assert!(matches!(c.add(&other), Err(HeError::UnequalScales { .. })));
    // A plaintext may have more limbs, but not fewer.
    let plain = params.encode_at(&x, 2, params.scale()).unwrap();
    assert!(low.add_plain(&plain).is_ok() && low.multiply_plain(&params, &plain).is_ok());
    assert_eq!(c.add_plain(&plain), Err(HeError::Limbs { needed: 3, found: 2 }));
    assert_eq!(c.multiply_plain(&params, &plain), Err(HeError::Limbs { needed: 3, found: 2 }));
    // Degree 2 is no factor, and a scale must fit.
    let square = params.square(&a).unwrap();
    assert!(matches!(params.multiply(&square, &a), Err(HeError::Length { found: 3, .. })));
    assert!(matches!(params.multiply(&a, &square), Err(HeError::Length { found: 3, .. })));
    let mut scaled = params.relinearise(square, &party.relin);
    params.drop_to(&mut scaled, 2).unwrap();
    assert!(matches!(params.square(&scaled), Err(HeError::ScaleRange { .. })));
    assert!(matches!(c.multiply_constant(&params, 1.0, 1e60), Err(HeError::ScaleRange { .. })));
    assert!(matches!(c.multiply_constant(&params, f64::NAN, 1.0), Err(HeError::NotFinite { .. })));
    assert!(matches!(c.add_constant(&params, Complex::from(1e40)), Err(HeError::Overflow { .. })));
    // No step leaves a scale that a reader of its bytes would refuse.
    let mut divided = a.duplicate();
    for factor in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 2.0_f64.powi(89)] {
        assert!(matches!(divided.divide(&params, factor), Err(HeError::ScaleRange { .. })), "{factor}");
        assert_eq!(divided.scale(), a.scale());
    }
    divided.divide(&params, 2.0_f64.powi(60)).unwrap();
    assert!(matches!(params.drop_to(&mut divided, 2), Err(HeError::ScaleRange { .. })));
    assert_eq!(divided.limbs(), 3);
    assert!(Ciphertext::from_bytes(&params, &divided.to_bytes(&params)).is_ok());
    divided.divide(&params, 2.0_f64.powi(-1000)).unwrap();
    divided.divide(&params, 2.0_f64.powi(-160)).unwrap();
    assert!(matches!(params.rescale(&mut divided), Err(HeError::ScaleRange { .. })));
    assert!(Ciphertext::from_bytes(&params, &divided.to_bytes(&params)).is_ok());
    // Parts of other rings.
    let wrong = small(32, 2, 1);
    assert!(matches!(
        Ciphertext::from_rlwe(&wrong, a.as_rlwe().duplicate(), 1.0),
        Err(HeError::OtherParameters { .. })
    ));
    assert!(Ciphertext::from_rlwe(&params, a.as_rlwe().duplicate(), a.scale()).is_ok());
    assert!(matches!(
        Ciphertext::from_rlwe(&params, a.into_rlwe(), f64::NAN),
        Err(HeError::ScaleRange { .. })
    ));
}
