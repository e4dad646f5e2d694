//! The tails that bounds stand on, and errors whose tails are heavier than normal.

use super::*;
use crate::ckks::tests::{Party, small};
use crate::ckks::{Complex, Flooding};
use crate::error::HeError;
use crate::rlwe::{PublicKey, SecretKey};

/// The probability that a product of two complex normal numbers of variance one exceeds r, by the midpoint rule in ln t.
fn product_tail(r: f64) -> f64 {
    let step = 1e-3;
    let term = |i: i32| {
        let t = (f64::from(i) * step).exp();
        (-t - r * r / t).exp() * t * step
    };
    (-15_000..8_000).map(term).sum()
}

#[test]
fn radii_are_those_of_the_tails() {
    for l in [2.0, 5.0, 10.0, 44.0, 60.0, 80.0] {
        let tail = product_tail(product_tail_at(l)) * f64::exp(l);
        assert!((0.9..=1.0 + 1e-9).contains(&tail), "exp(-{l}) comes out {tail} times as likely");
    }
    for count in [4, 512, 1 << 14] {
        let failure = count as f64 * product_tail(product_radius(count)) * 2.0_f64.powi(80);
        assert!((0.99..=1.0 + 1e-9).contains(&failure), "{count}: {failure}");
        let failure = count as f64 * (-normal_radius(count).powi(2)).exp() * 2.0_f64.powi(80);
        assert!((failure - 1.0).abs() < 1e-9, "{count}: {failure}");
    }
}

#[test]
fn errors_times_secrets_have_the_tail_of_products() {
    let params = small(1024, 2, 1);
    let zero = vec![Complex::ZERO; params.slots()];
    let mut party = Party::new(params.clone(), 90);
    let (mut rescaled, mut public) = (vec![], vec![]);
    for _ in 0..60 {
        let seed = party.seed();
        let secret = SecretKey::generate(params.rlwe(), seed);
        let open = |c: &_| params.decode(&params.decrypt(&secret, c));
        let (wide, narrow) = (2.0_f64.powi(80), 2.0_f64.powi(40));
        let message = params.encode_at(&zero, 3, wide).unwrap();
        let mut c = params.encrypt(&secret, &message, party.seed()).expand(&params);
        params.rescale(&mut c).unwrap();
        let noise = NoiseEstimate::secret_key(&params, 0.0, 3, wide).rescaled();
        rescaled
            .extend(open(&c).iter().map(|z| (z.abs() / noise.deviation(), z.abs() / noise.error_bound())));
        let key = PublicKey::new(&secret, party.seed());
        let message = params.encode_at(&zero, 3, narrow).unwrap();
        let c = params.encrypt_public(&key, &message, party.seed());
        let noise = NoiseEstimate::public_key(&params, 0.0, 3, narrow);
        public.extend(open(&c).iter().map(|z| (z.abs() / noise.deviation(), z.abs() / noise.error_bound())));
    }
    let count = rescaled.len() as f64;
    for (what, errors) in [("rescaled", &rescaled), ("public", &public)] {
        let beyond = |r: f64| errors.iter().filter(|(deviations, _)| *deviations > r).count() as f64;
        let square = errors.iter().map(|(deviations, _)| deviations * deviations).sum::<f64>() / count;
        assert!((0.8..1.25).contains(&square), "{what}: {square} of the variance");
        assert!(errors.iter().all(|(_, ratio)| *ratio <= 1.0), "{what}: an error above its bound");
        // Normal errors would be beyond 4 deviations once in nine million slots.
        assert!(beyond(4.0) > 3.0 && count * (-16.0_f64).exp() < 0.01, "{what}: {} of {count}", beyond(4.0));
        assert!(beyond(4.0) < 3.0 * count * product_tail(4.0) + 10.0, "{what}: {} of {count}", beyond(4.0));
    }
    // Slots of one key have its secret in common, so the fractions are rough; one error times one secret has this tail.
    let beyond = rescaled.iter().filter(|(deviations, _)| *deviations > 2.5).count() as f64;
    let ratio = beyond / (count * product_tail(2.5));
    assert!((0.6..1.6).contains(&ratio), "{ratio} of the errors foretold beyond 2.5 deviations");
}

#[test]
fn powers_of_errors_stay_below_their_bound() {
    let mut party = Party::new(small(2048, 9, 1), 91);
    let params = party.params.clone();
    let scale = 2.0_f64.powi(8);
    let zero = vec![Complex::ZERO; params.slots()];
    let message = params.encode_at(&zero, params.limbs(), scale).unwrap();
    let seed = party.seed();
    let mut c = params.encrypt(&party.secret, &message, seed).expand(&params);
    let mut noise = NoiseEstimate::secret_key(&params, 0.0, params.limbs(), scale);
    for squarings in 0..=3 {
        party.check("powers of an error", &c, &zero, &noise);
        let worst = party.open(&c).iter().map(|z| z.abs()).fold(0.0, f64::max);
        // What deviations alone, at the radius of normal errors, would have promised.
        let normal = noise.deviation() * normal_radius(params.slots());
        assert!(squarings < 3 || worst > normal, "{squarings} squarings: {worst:e}, {normal:e}");
        c = params.relinearise(params.square(&c).unwrap(), &party.relin);
        noise = noise.product(&noise).key_switched();
    }
}

#[test]
fn estimates_of_nothing_possible_are_refused() {
    let params = small(64, 2, 1);
    let refused = |f: &dyn Fn() -> NoiseEstimate| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        assert!(caught.is_err(), "{caught:?}");
    };
    let scale = params.scale();
    for make in [NoiseEstimate::secret_key, NoiseEstimate::public_key, NoiseEstimate::plaintext] {
        for size in [f64::NAN, -f64::NAN, -1.0, -f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY] {
            refused(&|| make(&params, size, 3, scale));
        }
        for scale in [f64::NAN, 0.0, -scale, f64::INFINITY, f64::NEG_INFINITY] {
            refused(&|| make(&params, 1.0, 3, scale));
        }
        refused(&|| make(&params, 1.0, 0, scale));
        refused(&|| make(&params, 1.0, 4, scale));
        assert!(make(&params, 0.0, 3, scale).error_bound() > 0.0);
    }
    let good = NoiseEstimate::secret_key(&params, 1.0, 3, scale);
    for factor in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refused(&|| good.times(factor));
    }
    refused(&|| good.dropped_to(0));
    // Whatever finite steps make infinite gives no width of flooding.
    let flooding = Flooding { statistical_bits: 0, decryptions: 1 };
    let huge = good.times(1e300).times(1e300);
    let squares = good.times(1e200).product(&good.times(1e200));
    let zero_of_infinite = good.times(1e300).times(1e300).times(0.0);
    for noise in [huge, squares, zero_of_infinite] {
        assert!(!noise.error_bound().is_finite() && !noise.fits());
        assert!(matches!(flooding.log2_sigma(&noise, 64), Err(HeError::Bits { .. })));
        assert!(matches!(flooding.possible_bits(&params, &noise), Err(HeError::Bits { .. })));
    }
}
