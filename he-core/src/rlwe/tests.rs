//! Zero decrypts to noise of the size that is foretold; keys take phases where they should.

use super::*;
use crate::galois::{Automorphism, rotation};
use crate::poly::Ntt;
use crate::rns::RnsPoly;
use crate::seed::Seed;

/// Small rings of every form of chain: widths, digits of one and of several primes, an incomplete last digit.
fn rings() -> Vec<RlweParams> {
    [
        (64, &[30, 30][..], &[31][..]),
        (256, &[45, 40, 40], &[46]),
        (128, &[36, 36, 36, 36, 36], &[40, 40]),
        (64, &[55, 50, 50], &[58]),
    ]
    .iter()
    .map(|(n, q, p)| RlweParams::insecure_for_tests(&RlweLiteral::from_bits(*n, q, p).unwrap()).unwrap())
    .collect()
}

fn fresh() -> Seed {
    Seed::from_os().unwrap()
}

/// The largest centred coefficient of a small polynomial, which every limb must agree on.
fn largest(params: &RlweParams, poly: RnsPoly<Ntt>) -> i64 {
    let tables = params.ciphertext_tables(poly.limb_count());
    let poly = poly.into_coeff(tables);
    let centred: Vec<Vec<i64>> = poly
        .limbs()
        .iter()
        .map(|limb| limb.coefficients().iter().map(|&c| limb.modulus().center(c)).collect())
        .collect();
    for limb in &centred {
        assert_eq!(limb, &centred[0], "not a small polynomial");
    }
    centred[0].iter().map(|c| c.abs()).max().unwrap()
}

#[test]
fn encryptions_of_zero_have_small_phases() {
    for params in rings() {
        let secret = SecretKey::generate(&params, fresh());
        let public = PublicKey::new(&secret, fresh());
        for limbs in 1..=params.limbs() {
            let seeded = secret.encrypt_zero(limbs, fresh());
            let zero = seeded.expand(&params);
            assert!(largest(&params, secret.phase(&zero)) <= 21);
            let zero = public.encrypt_zero(limbs, fresh());
            let bound = 21 * (2 * params.n() as i64 + 1);
            let size = largest(&params, secret.phase(&zero));
            assert!(size > 21 && size < bound / 8, "{size} of {bound}");
        }
    }
}

#[test]
fn another_secret_reads_nothing() {
    let params = &rings()[1];
    let [secret, other] = [(); 2].map(|()| SecretKey::generate(params, fresh()));
    let zero = secret.encrypt_zero(1, fresh()).expand(params);
    assert!(largest(params, other.phase(&zero)) > 1 << 40);
}

/// Multiplies a uniform polynomial with another secret, by the key and directly.
fn switching_error(params: &RlweParams, limbs: usize) -> f64 {
    let [secret, other] = [(); 2].map(|()| SecretKey::generate(params, fresh()));
    let key = KeySwitchKey::new(&secret, other.values(), fresh());
    let tables = params.ciphertext_tables(limbs);
    let c = RnsPoly::<Ntt>::uniform(tables, &mut fresh().stream());
    let [d0, d1] = key.apply(params, &params.decompose(&c));
    let mut phase = secret.phase(&Ciphertext::from_parts(vec![d0, d1]).unwrap());
    for (i, limb) in phase.limbs_mut().iter_mut().enumerate() {
        *limb -= &c.limb(i).mul(&tables[i], other.values().limb(i));
    }
    largest(params, phase) as f64
}

#[test]
fn switching_adds_the_noise_that_is_foretold() {
    for params in rings() {
        for limbs in 1..=params.limbs() {
            let deviation = Decomposed::noise_variance(&params, limbs).sqrt();
            let error = switching_error(&params, limbs);
            assert!(error < 8.0 * deviation, "{params:?} {limbs}: {error} at deviation {deviation}");
            assert!(error > deviation, "{params:?} {limbs}: {error} at deviation {deviation}");
        }
    }
}

#[test]
fn products_are_relinearised() {
    for params in rings() {
        let secret = SecretKey::generate(&params, fresh());
        let key = RelinKey::new(&secret, fresh());
        for limbs in 1..=params.limbs() {
            let tables = params.ciphertext_tables(limbs);
            let mut rng = fresh().stream();
            let parts = [(); 3].map(|()| RnsPoly::<Ntt>::uniform(tables, &mut rng));
            let ciphertext = Ciphertext::from_parts(parts.into()).unwrap();
            let mut phase = secret.phase(&ciphertext);
            let linear = key.relinearise(&params, ciphertext);
            assert_eq!(linear.degree(), 1);
            phase -= &secret.phase(&linear);
            let bound = 8.0 * Decomposed::noise_variance(&params, limbs).sqrt();
            assert!((largest(&params, phase) as f64) < bound);
        }
    }
}

#[test]
fn images_are_those_of_the_phase_hoisted_or_not() {
    for params in rings() {
        let secret = SecretKey::generate(&params, fresh());
        let n = params.n();
        let exponents = [rotation(n, 1), rotation(n, -3), 2 * n - 1];
        let keys = GaloisKeys::new(&secret, &exponents, fresh());
        assert_eq!(keys.keys().count(), 3);
        let limbs = params.limbs();
        let tables = params.ciphertext_tables(limbs);
        let mut rng = fresh().stream();
        let parts = [(); 2].map(|()| RnsPoly::<Ntt>::uniform(tables, &mut rng));
        let ciphertext = Ciphertext::from_parts(parts.into()).unwrap();
        let decomposed = params.decompose(&ciphertext.parts()[1]);
        for g in exponents {
            let expected = Automorphism::new(n, g).values(&secret.phase(&ciphertext));
            let alone = keys.apply(&params, &ciphertext, g).unwrap();
            let hoisted = keys.apply_hoisted(&params, &ciphertext, &decomposed, g).unwrap();
            let bound = 8.0 * Decomposed::noise_variance(&params, limbs).sqrt();
            for image in [&alone, &hoisted] {
                let mut difference = secret.phase(image);
                difference -= &expected;
                assert!((largest(&params, difference) as f64) < bound, "g {g}");
            }
        }
        let missing = keys.apply(&params, &ciphertext, rotation(n, 2)).unwrap_err();
        assert_eq!(missing, crate::HeError::NoGaloisKey { exponent: rotation(n, 2), n });
    }
}

#[test]
fn sums_and_signs() {
    let params = &rings()[2];
    let secret = SecretKey::generate(params, fresh());
    let tables = params.ciphertext_tables(3);
    let mut rng = fresh().stream();
    let mut random = |parts: usize| {
        Ciphertext::from_parts((0..parts).map(|_| RnsPoly::uniform(tables, &mut rng)).collect()).unwrap()
    };
    for (left, right) in [(2, 2), (2, 3), (3, 2)] {
        let (a, b) = (random(left), random(right));
        let mut expected = secret.phase(&a);
        expected += &secret.phase(&b);
        let mut sum = a.duplicate();
        sum += &b;
        let mut back = secret.phase(&sum);
        back -= &expected;
        assert_eq!(largest(params, back), 0);
        sum -= &b;
        let mut negative = a.duplicate();
        negative.negate();
        sum += &negative;
        assert_eq!(largest(params, secret.phase(&sum)), 0);
        let mut difference = a.duplicate();
        difference -= &b;
        let mut phase = secret.phase(&difference);
        phase += &secret.phase(&b);
        phase -= &secret.phase(&a);
        assert_eq!(largest(params, phase), 0);
    }
    let mut short = random(2);
    short.truncate(2);
    assert_eq!(short.limbs(), 2);
}

#[test]
fn the_same_seeds_give_the_same_bytes_on_any_number_of_threads() {
    let params = &rings()[2];
    let root = fresh();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let secret = SecretKey::generate(params, root.fork("s", &[]));
            let keys = GaloisKeys::new(&secret, &[5], root.fork("g", &[]));
            let zero = secret.encrypt_zero(5, root.fork("z", &[])).expand(params);
            let image = keys.apply(params, &zero, 5).unwrap();
            let limbs = image.parts().iter().flat_map(RnsPoly::limbs);
            limbs.flat_map(|limb| limb.values().to_vec()).collect::<Vec<_>>()
        })
    };
    assert_eq!(run(1), run(3));
}

/// One seed for everything is a mistake, but not one that tells the secret.
#[test]
fn a_seed_that_is_used_for_several_things_gives_them_different_errors() {
    let params = &rings()[2];
    let root = fresh();
    let again = || root.fork("the same", &[]);
    let secret = SecretKey::generate(params, again());
    let public = PublicKey::new(&secret, again());
    let zero = secret.encrypt_zero(params.limbs(), again());
    let relin = RelinKey::new(&secret, again());
    let turns = GaloisKeys::new(&secret, &[5], again());
    let mut seeds = vec![*public.seeded().seed(), *zero.seed(), *relin.key().seed()];
    seeds.extend(turns.keys().map(|(_, key)| *key.seed()));
    for (i, seed) in seeds.iter().enumerate() {
        assert!(!seeds[..i].contains(seed), "{i}");
    }
    // The last limb belongs to no first digit: equal errors would cancel there.
    let mut difference = public.seeded().part().limb(4).duplicate();
    difference -= relin.key().parts()[0].limb(4);
    assert!(difference.values().iter().any(|&value| value != 0));
}

#[test]
fn secrets_print_nothing() {
    let secret = SecretKey::generate(&rings()[0], fresh());
    assert_eq!(format!("{secret:?}"), "SecretKey(..)");
}
