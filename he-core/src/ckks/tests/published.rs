//! Decodings for publication: right to their bits, flooded as wide as stated, refused when they cannot be.

use super::*;
use crate::error::HeError;

/// A product at a wide scale: 2^80 under a prime chain of 2^130.
fn product(party: &mut Party) -> (Vec<Complex>, Ciphertext, NoiseEstimate) {
    let params = party.params.clone();
    let (x, y) = (party.slots(), party.slots());
    let (a, b) = (party.encrypt(&x), party.encrypt(&y));
    let product = params.relinearise(params.multiply(&a, &b).unwrap(), &party.relin);
    let noise = party.fresh().product(&party.fresh()).key_switched();
    (zip(&x, &y, |x, y| x * y), product, noise)
}

#[test]
fn published_values_are_right_to_the_bits_asked_for() {
    let mut party = Party::new(small(512, 2, 1), 80);
    let params = party.params.clone();
    let (expected, product, noise) = product(&mut party);
    let decrypted = params.decrypt(&party.secret, &product);
    for (statistical_bits, decryptions) in [(20, 1), (30, 1), (20, 1000)] {
        let flooding = Flooding { statistical_bits, decryptions };
        let possible = flooding.possible_bits(&params, &noise).unwrap();
        assert!(possible > 1.0, "only {possible} bits");
        let bits = possible as u32;
        for bits in [bits, bits / 2, 0] {
            let seed = party.seed();
            let found = params.decode_safe(&decrypted, &noise, &flooding, bits, seed).unwrap();
            let step = 2.0_f64.powi(-(bits as i32));
            for (z, expected) in found.iter().zip(&expected) {
                assert_eq!((z.re / step).fract(), 0.0, "not a multiple of 2^-{bits}");
                assert!((z.re - expected.re).abs() <= step && (z.im - expected.im).abs() <= step);
            }
        }
        let seed = party.seed();
        assert_eq!(
            params.decode_safe(&decrypted, &noise, &flooding, bits + 1, seed),
            Err(HeError::Precision { bits: bits + 1, possible })
        );
    }
}

#[test]
fn the_width_is_that_of_the_theorem() {
    let party = Party::new(small(512, 2, 1), 81);
    let noise = party.fresh();
    // A bound of 2^e on the norm asks for sqrt(24 tau) 2^(s/2) 2^e, rounded up to a power of two.
    let bound = noise.error_bound() * noise.scale();
    for (statistical_bits, decryptions) in [(0, 1), (30, 1), (40, 1 << 20), (64, 5), (80, 1)] {
        let flooding = Flooding { statistical_bits, decryptions };
        let log2 = f64::from(flooding.log2_sigma(&noise, 512).unwrap());
        let needed =
            (24.0 * decryptions as f64).sqrt().log2() + f64::from(statistical_bits) / 2.0 + bound.log2();
        let slack = if log2 > 57.0 { 1.5 } else { 1.0 };
        assert!(log2 >= needed && log2 < needed + slack, "{flooding:?}: 2^{log2} for 2^{needed}");
    }
    let absurd = Flooding { statistical_bits: 220, decryptions: 1 };
    assert!(matches!(absurd.log2_sigma(&noise, 512), Err(HeError::Bits { most: 110, .. })));
    // The bound really bounds the norm of the noise: the phase of an encryption of nothing is all noise.
    let mut party = party;
    let zero = vec![Complex::ZERO; party.params.slots()];
    let zero = party.encrypt(&zero);
    let slots = party.open(&zero);
    let norm = slots.iter().map(|z| z.re * z.re + z.im * z.im).sum::<f64>() / slots.len() as f64;
    let norm = norm.sqrt() * zero.scale();
    assert!(norm <= bound && norm > bound / 16.0, "norm {norm}, bound {bound}");
}

#[test]
fn the_cost_in_bits_is_that_of_the_essay() {
    let params = Params::preset(8192).unwrap();
    let fresh = NoiseEstimate::secret_key(&params, 1.0, 3, params.scale());
    let n = params.n() as f64;
    for noise in [fresh.clone(), fresh.product(&fresh).key_switched()] {
        for (statistical_bits, decryptions) in [(20, 1), (40, 1), (40, 1 << 20)] {
            let flooding = Flooding { statistical_bits, decryptions };
            let cost = noise.precision() - flooding.possible_bits(&params, &noise).unwrap();
            let radius = (80.0 * 2.0_f64.ln() + (n / 2.0).ln()).sqrt();
            let least = f64::from(statistical_bits) / 2.0
                + (24.0 * decryptions as f64).log2() / 2.0
                + n.log2() / 2.0
                + radius.log2()
                + 1.0;
            assert!(
                cost > least - 1e-6 && cost < least + 1.01,
                "{flooding:?}: {cost} bits, {least} at least"
            );
            if (statistical_bits, decryptions) == (40, 1) {
                assert!((32.5..34.5).contains(&cost), "{cost}");
            }
        }
    }
}

#[test]
fn what_may_wrap_around_is_not_published() {
    let params = small(512, 2, 1);
    let mut party = Party::new(params.clone(), 83);
    // Whole numbers at a scale near the modulus, 2^130: noise and flooding are small against a step.
    let flooding = Flooding { statistical_bits: 20, decryptions: 1 };
    for (size, scale, fits) in
        [(1.0, 100, true), (1.0, 124, true), (600.0, 120, false), (20.0, 124, true), (40.0, 124, false)]
    {
        let scale = 2.0_f64.powi(scale);
        let plaintext = params.encode_at(&[0.5; 256], 3, scale).unwrap();
        let noise = NoiseEstimate::secret_key(&params, size, 3, scale);
        assert_eq!(noise.fits(), fits, "{size} at {scale:e}");
        let published = params.decode_safe(&plaintext, &noise, &flooding, 1, party.seed());
        if fits {
            assert!(published.unwrap().iter().all(|z| (z.re - 0.5).abs() <= 0.5), "{size} at {scale:e}");
        } else {
            assert!(matches!(published, Err(HeError::Overflow { .. })), "{size} at {scale:e}");
        }
    }
    // One limb less than the estimate thinks.
    let plaintext = params.encode_at(&[0.5; 256], 2, 2.0_f64.powi(80)).unwrap();
    let noise = NoiseEstimate::secret_key(&params, 2000.0, 3, 2.0_f64.powi(80));
    assert!(noise.fits());
    assert!(matches!(
        params.decode_safe(&plaintext, &noise, &flooding, 1, party.seed()),
        Err(HeError::Overflow { .. })
    ));
    // Nor with an estimate that says nothing: sizes that overflowed.
    let nothing = noise.times(1e300).times(1e300);
    for nothing in [nothing.times(0.0), nothing] {
        let plaintext = params.encode_at(&[0.5; 256], 3, 2.0_f64.powi(80)).unwrap();
        let refused = params.decode_safe(&plaintext, &nothing, &flooding, 0, party.seed());
        assert!(matches!(refused, Err(HeError::Bits { .. })), "{refused:?}");
    }
}

#[test]
#[should_panic(expected = "an estimate for other parameters")]
fn estimates_for_other_rings_are_mistakes() {
    let (params, other) = (small(512, 2, 1), small(256, 2, 1));
    let plaintext = params.encode(&[0.5]).unwrap();
    let noise = NoiseEstimate::secret_key(&other, 1.0, 3, params.scale());
    let flooding = Flooding { statistical_bits: 20, decryptions: 1 };
    let _ = params.decode_safe(&plaintext, &noise, &flooding, 0, Seed::from_bytes([1; 32]));
}

#[test]
fn flooding_is_as_wide_as_stated_and_fresh() {
    let mut party = Party::new(small(1024, 2, 1), 82);
    let params = party.params.clone();
    let (expected, product, noise) = product(&mut party);
    let decrypted = params.decrypt(&party.secret, &product);
    let flooding = Flooding { statistical_bits: 30, decryptions: 1 };
    let sigma = f64::from(flooding.log2_sigma(&noise, params.n()).unwrap()).exp2();
    // A step far finer than the flooding cannot be asked for, so the sum of many decodings tells its width instead:
    // here the flooded slots themselves, before they are rounded.
    let bits = flooding.possible_bits(&params, &noise).unwrap() as u32;
    let first_seed = party.seed();
    let first = params.decode_safe(&decrypted, &noise, &flooding, bits, first_seed).unwrap();
    let second_seed = party.seed();
    let second = params.decode_safe(&decrypted, &noise, &flooding, bits, second_seed).unwrap();
    let report = PrecisionReport::new(&expected, &first).unwrap();
    let slot = sigma * (params.n() as f64).sqrt() / noise.scale();
    let step = 2.0_f64.powi(-(bits as i32));
    let foretold = (slot * slot + step * step / 6.0).sqrt();
    let ratio = report.mean_square_error / foretold;
    assert!((0.5..1.5).contains(&ratio), "{ratio}");
    assert!(first != second, "two decodings have the same flooding");
    // An estimate of another ciphertext is noticed by its scale.
    let other = noise.rescaled();
    let seed = party.seed();
    assert!(matches!(
        params.decode_safe(&decrypted, &other, &flooding, 1, seed),
        Err(HeError::UnequalScales { .. })
    ));
}
