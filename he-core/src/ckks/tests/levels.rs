//! Depth to the last level, dropping, and bringing to one scale.

use super::*;
use crate::error::HeError;

#[test]
fn a_chain_of_squares_to_the_last_level() {
    for (n, inner, special) in [(64, 6, 1), (256, 9, 2), (128, 12, 4)] {
        let mut party = Party::new(small(n, inner, special), 3);
        let params = party.params.clone();
        let mut expected = party.slots();
        let mut power = party.encrypt(&expected);
        let mut noise = party.fresh();
        for level in (0..params.depth()).rev() {
            power = params.multiply_rescale(&power, &power, &party.relin).unwrap();
            expected.iter_mut().for_each(|z| *z = *z * *z);
            noise = noise.product(&noise).key_switched().rescaled();
            let report = party.check("power", &power, &expected, &noise);
            let rounding = NoiseEstimate::plaintext(&params, 0.0, power.limbs(), power.scale());
            assert_eq!((power.depth(), power.limbs()), (level, level + 1));
            // Powers of slots below one shrink, but no error is below that of a rounding.
            assert!(report.mean_square_error > rounding.deviation(), "level {level}");
            assert!(noise.fits());
        }
        assert_eq!(params.rescale(&mut power), Err(HeError::Limbs { needed: 2, found: 1 }));
    }
}

#[test]
fn a_chain_of_products_with_fresh_factors_at_every_level() {
    let mut party = Party::new(small(512, 7, 2), 4);
    let params = party.params.clone();
    let mut expected = party.slots();
    let mut product = party.encrypt(&expected);
    let mut noise = party.fresh();
    while product.limbs() > 1 {
        let factor = party.slots();
        let mut other = party.encrypt(&factor);
        params.drop_to(&mut other, product.limbs()).unwrap();
        product = params.multiply_rescale(&product, &other, &party.relin).unwrap();
        expected = zip(&expected, &factor, |a, b| a * b);
        noise = noise.product(&party.fresh()).key_switched().rescaled();
        party.check("product", &product, &expected, &noise);
    }
}

#[test]
fn encryption_at_every_level() {
    let mut party = Party::new(small(128, 5, 1), 5);
    let params = party.params.clone();
    let (values, public) = (party.slots(), party.public());
    for limbs in 1..=params.limbs() {
        let plain = params.encode_at(&values, limbs, params.scale()).unwrap();
        let (seed, public_seed) = (party.seed(), party.seed());
        let seeded = params.encrypt(&party.secret, &plain, seed);
        assert_eq!((seeded.limbs(), seeded.scale()), (limbs, params.scale()));
        let again = SeededCiphertext::from_rlwe(
            &params,
            crate::rlwe::SeededCiphertext::from_parts(
                seeded.as_rlwe().part().duplicate(),
                *seeded.as_rlwe().seed(),
            ),
            seeded.scale(),
        );
        let noise = NoiseEstimate::secret_key(&params, 1.0, limbs, params.scale());
        party.check("seeded", &seeded.expand(&params), &values, &noise);
        party.check("seeded again", &again.unwrap().expand(&params), &values, &noise);
        let noise = NoiseEstimate::public_key(&params, 1.0, limbs, params.scale());
        party.check("public", &params.encrypt_public(&public, &plain, public_seed), &values, &noise);
    }
}

#[test]
fn scales_are_brought_together() {
    let mut party = Party::new(small(256, 5, 1), 6);
    let params = party.params.clone();
    let x = party.slots();
    let fresh = party.encrypt(&x);
    // x^4 by squares has another scale than x^2 x^2 with a detour, and other limbs than x.
    let square = params.multiply_rescale(&fresh, &fresh, &party.relin).unwrap();
    let mut fourth = params.multiply_rescale(&square, &square, &party.relin).unwrap();
    let mut detour = square.duplicate();
    detour.multiply_constant(&params, 1.0, 1.01 * params.scale()).unwrap();
    params.rescale(&mut detour).unwrap();
    assert!(matches!(detour.add(&fourth), Err(HeError::UnequalScales { .. })));
    let mut first = fresh.duplicate();
    assert!(matches!(first.add(&fourth), Err(HeError::Limbs { .. })));
    // The one with more limbs moves: nothing is lost.
    params.align(&mut first, &mut fourth).unwrap();
    assert_eq!((first.limbs(), fourth.limbs()), (params.limbs() - 2, params.limbs() - 2));
    first.add(&fourth).unwrap();
    let expected = zip(&x, &x, |x, _| x * x * x * x + x);
    let error = PrecisionReport::new(&expected, &party.open(&first)).unwrap().worst_error;
    assert!(error < 1e-7, "{error:e}");
    // The same limbs and close scales: one prime of both.
    let limbs = detour.limbs();
    params.align(&mut detour, &mut fourth).unwrap();
    assert_eq!((detour.limbs(), fourth.limbs()), (limbs - 1, limbs - 1));
    detour.sub(&fourth).unwrap();
    let expected = zip(&x, &x, |x, _| x * x - x * x * x * x);
    let error = PrecisionReport::new(&expected, &party.open(&detour)).unwrap().worst_error;
    assert!(error < 1e-7, "{error:e}");
    // The same limbs and scales far apart: a whole number does it, and no prime is lost.
    let (mut wide, mut narrow) =
        (params.relinearise(params.square(&fresh).unwrap(), &party.relin), fresh.duplicate());
    params.align(&mut narrow, &mut wide).unwrap();
    assert_eq!((wide.limbs(), narrow.limbs()), (params.limbs(), params.limbs()));
    wide.add(&narrow).unwrap();
    let expected = zip(&x, &x, |x, _| x * x + x);
    let error = PrecisionReport::new(&expected, &party.open(&wide)).unwrap().worst_error;
    assert!(error < 1e-7, "{error:e}");
    // Any target with primes to spare, within the tolerance.
    for limbs in 1..params.limbs() {
        for factor in [0.3, 0.999, 1.7, 800.0] {
            let mut brought = fresh.duplicate();
            let target = factor * params.scale();
            if target.log2() > params.log2_most_scale(limbs) {
                let refused = params.bring(&mut brought, limbs, target);
                assert!(matches!(refused, Err(HeError::ScaleRange { .. })));
                continue;
            }
            params.bring(&mut brought, limbs, target).unwrap();
            assert_eq!(brought.limbs(), limbs);
            assert!((brought.scale() / target - 1.0).abs() <= cipher::SCALE_TOLERANCE);
            let error = PrecisionReport::new(&x, &party.open(&brought)).unwrap().worst_error;
            assert!(error < 1e-7, "{limbs} limbs, factor {factor}: {error:e}");
        }
    }
    // Without a prime to spare there is no way.
    let mut stuck = fresh.duplicate();
    assert!(matches!(
        params.bring(&mut stuck, params.limbs(), 1.5 * params.scale()),
        Err(HeError::UnequalScales { .. })
    ));
    params.drop_to(&mut stuck, 1).unwrap();
    assert!(matches!(params.bring(&mut stuck, 1, 1.5 * params.scale()), Err(HeError::UnequalScales { .. })));
    assert_eq!(params.bring(&mut stuck, 2, params.scale()), Err(HeError::Limbs { needed: 2, found: 1 }));
    assert_eq!(params.drop_to(&mut stuck, 0), Err(HeError::Limbs { needed: 0, found: 1 }));
}
