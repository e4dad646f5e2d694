//! Operations on ciphertexts are operations on plaintexts.

use super::*;
use crate::HeError;
use crate::rlwe::PublicKey;

const N: usize = 32;

/// Every kind of plaintext modulus, each with a chain that has room for one product at the lowest level of 3 limbs.
fn worlds() -> impl Iterator<Item = World> {
    let narrow = rlwe(N, &[40, 40, 40], &[41]);
    let wide = rlwe(N, &[60, 60, 60, 58], &[61]);
    let digits = rlwe(N, &[45, 45, 45, 45, 45], &[46, 46]);
    [
        (&narrow, 2),
        (&narrow, 3),
        (&narrow, 1 << 16),
        (&narrow, 65537),
        (&narrow, 999_999),
        (&digits, 1 << 32),
        (&digits, (1 << 40) + 9),
        (&wide, (1 << 60) - 93),
        (&wide, 1 << 60),
        (&wide, 12_289),
    ]
    .map(|(ring, t)| World::new(ring, t))
    .into_iter()
}

/// The fewest limbs at which a fresh ciphertext, or a product of two, decrypts.
fn lowest(params: &Params, product: bool) -> usize {
    let fresh = NoiseBound::public_key(params);
    let fits = |limbs: &usize| {
        let low = fresh.switch_modulus(*limbs);
        if product { low.multiply(&low).key_switch().decrypts() } else { low.decrypts() }
    };
    (1..=params.limbs()).find(fits).expect("the ring has room")
}

#[test]
fn sums_and_plain_products_at_every_level() {
    for world in worlds() {
        let params = world.params.clone();
        let t = *params.modulus();
        for limbs in lowest(&params, false)..=params.limbs() {
            let (a, b) = (world.words(), world.words());
            let lower = |world: &World, words: &[u64]| {
                let fresh = world.encrypt(words);
                params.switch_modulus(fresh, limbs)
            };
            let (x, y) = (lower(&world, &a), lower(&world, &b));
            let (plain, context) = (world.plain(&b), format!("{t:?}, {limbs} limbs"));
            assert_eq!((x.limbs(), x.degree()), (limbs, 1));
            assert_eq!(world.decrypt(&x), a, "{context}");
            let change = |f: &dyn Fn(&mut Ciphertext)| {
                let mut z = x.duplicate();
                f(&mut z);
                world.decrypt(&z)
            };
            let sum = zip(&t, &a, &b, |t, x, y| t.add(x, y));
            let difference = zip(&t, &a, &b, |t, x, y| t.sub(x, y));
            assert_eq!(change(&|z| z.add(&y)), sum, "{context}");
            assert_eq!(change(&|z| z.sub(&y)), difference, "{context}");
            assert_eq!(change(&|z| z.add_plain(&params, &plain)), sum, "{context}");
            assert_eq!(change(&|z| z.sub_plain(&params, &plain)), difference, "{context}");
            assert_eq!(change(&Ciphertext::negate), zip(&t, &a, &a, |t, x, _| t.neg(x)), "{context}");
            for k in [0, 1, -1, 2, 3] {
                let expected = zip(&t, &a, &a, |t, x, _| t.mul(x, t.from_i64(k)));
                assert_eq!(change(&|z| z.multiply_scalar(&params, k)), expected, "{context}, {k}");
            }
            // A product with a plaintext of small coefficients has room wherever a fresh one has bits to spare.
            let small: Vec<i64> = (0..N as i64).map(|i| i % 3 - 1).collect();
            let small = Plaintext::from_signed(&params, &small).unwrap();
            let noise = NoiseBound::public_key(&params).switch_modulus(limbs).multiply_plain(small.norm());
            if noise.decrypts() {
                let expected = negacyclic(&t, &a, small.coefficients());
                for prepared in [small.prepare(&params, limbs), small.prepare(&params, params.limbs())] {
                    assert_eq!(change(&|z| z.multiply_plain(&params, &prepared)), expected, "{context}");
                }
                let (one, other) = (small.prepare(&params, limbs), small.prepare(&params, params.limbs()));
                let dot = dot_plain(&params, &[(&x, &one), (&y, &other)]);
                let more = negacyclic(&t, &b, small.coefficients());
                assert_eq!(
                    world.decrypt(&dot),
                    zip(&t, &expected, &more, |t, x, y| t.add(x, y)),
                    "{context}"
                );
            }
        }
    }
}

#[test]
fn new_ciphertexts_are_those_of_the_verbs() {
    for world in worlds().step_by(3) {
        let params = &world.params;
        let (x, y) = (world.encrypt(&world.words()), world.encrypt(&world.words()));
        let product = params.multiply(&x, &y).unwrap();
        let prepared = world.plain(&world.words()).prepare(params, params.limbs());
        let verb = |x: &Ciphertext, f: &dyn Fn(&mut Ciphertext)| {
            let mut x = x.duplicate();
            f(&mut x);
            x.to_bytes(params)
        };
        for (a, b) in [(&x, &y), (&x, &product), (&product, &x), (&product, &product)] {
            assert_eq!(a.plus(b).to_bytes(params), verb(a, &|a| a.add(b)));
            assert_eq!(a.minus(b).to_bytes(params), verb(a, &|a| a.sub(b)));
            let expected = verb(a, &|a| a.multiply_plain(params, &prepared));
            assert_eq!(a.times_plain(params, &prepared).to_bytes(params), expected);
            for limbs in 1..=params.limbs() {
                let expected = params.switch_modulus(a.duplicate(), limbs).to_bytes(params);
                assert_eq!(params.switched(a, limbs).to_bytes(params), expected);
            }
        }
    }
}

#[test]
fn products_at_every_level() {
    for world in worlds() {
        let params = world.params.clone();
        let t = *params.modulus();
        for limbs in lowest(&params, true)..=params.limbs() {
            let (mut a, mut b) = (world.words(), world.words());
            // The largest residues, centred and not.
            (a[0], a[1], b[0], b[1]) =
                (t.value() / 2, t.value() - 1, (t.value() / 2 + 1) % t.value(), t.value() - 1);
            let (x, y) = (world.encrypt(&a), world.encrypt(&b));
            let (x, y) = (params.switch_modulus(x, limbs), params.switch_modulus(y, limbs));
            let (ab, aa) = (negacyclic(&t, &a, &b), negacyclic(&t, &a, &a));
            let product = params.multiply(&x, &y).unwrap();
            let context = format!("{t:?}, {limbs} limbs");
            assert_eq!((product.degree(), product.limbs()), (2, limbs));
            assert_eq!(world.decrypt(&product), ab, "{context}");
            let square = params.square(&x).unwrap();
            assert_eq!(world.decrypt(&square), aa, "{context}");
            // Sums of different degrees, both ways.
            let mut sum = x.duplicate();
            sum.add(&product);
            assert_eq!(world.decrypt(&sum), zip(&t, &a, &ab, |t, x, y| t.add(x, y)), "{context}");
            let mut difference = x.duplicate();
            difference.sub(&product);
            assert_eq!(world.decrypt(&difference), zip(&t, &a, &ab, |t, x, y| t.sub(x, y)), "{context}");
            let mut difference = square.duplicate();
            difference.sub(&x);
            assert_eq!(world.decrypt(&difference), zip(&t, &aa, &a, |t, x, y| t.sub(x, y)), "{context}");
            let refused = params.multiply(&product, &x);
            assert!(matches!(refused, Err(HeError::Length { expected: 2, found: 3, .. })));
            assert!(matches!(params.square(&product), Err(HeError::Length { .. })));
            let product = params.relinearise(product, &world.relin);
            assert_eq!((product.degree(), world.decrypt(&product)), (1, ab), "{context}");
            // Left alone once it has two parts.
            let again = params.relinearise(product, &world.relin);
            assert_eq!(again.degree(), 1);
        }
    }
}

#[test]
fn a_chain_of_products_down_the_levels() {
    let world = World::new(&rlwe(N, &[36; 6], &[40, 40]), 257);
    let (params, t) = (world.params.clone(), *world.params.modulus());
    let mut expected = world.words();
    let mut x = world.encrypt(&expected);
    let mut noise = NoiseBound::secret_key(&params);
    let mut depth = 0;
    loop {
        noise = noise.multiply(&noise).key_switch();
        if !noise.decrypts() {
            break;
        }
        x = params.relinearise(params.square(&x).unwrap(), &world.relin);
        expected = negacyclic(&t, &expected, &expected);
        assert_eq!(world.decrypt(&x), expected);
        // Down as long as the bound says that it costs nothing to speak of.
        while noise.limbs() > 1 && noise.switch_modulus(noise.limbs() - 1).budget() > noise.budget() - 1.0 {
            noise = noise.switch_modulus(noise.limbs() - 1);
            x = params.switch_modulus(x, noise.limbs());
            assert_eq!(world.decrypt(&x), expected);
        }
        depth += 1;
    }
    assert!(depth >= 6 && x.limbs() < 6, "depth {depth} at {} limbs", x.limbs());
}

#[test]
fn public_keys_and_re_randomisation() {
    for t in [2, 65537, 1 << 20] {
        let world = World::new(&rlwe(N, &[40, 40, 40], &[41]), t);
        let params = world.params.clone();
        let public = PublicKey::new(&world.secret, world.seed());
        let words = world.words();
        let mut x = params.encrypt_public(&public, &world.plain(&words), world.seed());
        assert_eq!(world.decrypt(&x), words);
        let before = x.duplicate();
        for flood in [None, Some(20.0), Some(60.0)] {
            let bits = params.noise_bits(&world.secret, &x);
            params.rerandomise(&mut x, &public, flood, world.seed()).unwrap();
            assert_eq!(world.decrypt(&x), words);
            for (new, old) in x.as_rlwe().parts().iter().zip(before.as_rlwe().parts()) {
                let same =
                    new.limb(0).values().iter().zip(old.limb(0).values()).filter(|(x, y)| x == y).count();
                assert!(same <= 2, "{same} values are the same");
            }
            let after = params.noise_bits(&world.secret, &x);
            match flood {
                None => assert!(after < bits.max(8.0) + 3.0, "{bits} {after}"),
                Some(flood) => assert!(after > flood - 0.5 && after < flood + 2.0, "{flood} {after}"),
            }
        }
        let low = params.switch_modulus(before.duplicate(), 1);
        let mut refused = low.duplicate();
        let error = params.rerandomise(&mut refused, &public, Some(60.0), world.seed()).unwrap_err();
        assert!(matches!(error, HeError::Dither { .. }));
        assert_eq!(refused.as_rlwe().parts()[0].limb(0).values(), low.as_rlwe().parts()[0].limb(0).values());
    }
}

#[test]
fn ciphertexts_of_elsewhere_are_checked() {
    let world = World::new(&rlwe(N, &[40, 40], &[41]), 65537);
    let params = world.params.clone();
    let words = world.words();
    let x = world.encrypt(&words);
    let again = Ciphertext::from_rlwe(&params, x.as_rlwe().duplicate()).unwrap();
    assert_eq!(world.decrypt(&again), words);
    let other = Params::new(&rlwe(N, &[39, 39], &[41]), 65537).unwrap();
    assert!(matches!(
        Ciphertext::from_rlwe(&other, x.as_rlwe().duplicate()),
        Err(HeError::PrimeChain { .. })
    ));
    let short = Params::new(&rlwe(N, &[40], &[41]), 17).unwrap();
    assert!(matches!(Ciphertext::from_rlwe(&short, x.as_rlwe().duplicate()), Err(HeError::Length { .. })));
    let small = Params::new(&rlwe(16, &[40, 40], &[41]), 17).unwrap();
    assert!(matches!(Ciphertext::from_rlwe(&small, x.into_rlwe()), Err(HeError::Length { .. })));
}

#[test]
#[should_panic(expected = "different limbs")]
fn levels_do_not_mix() {
    let world = World::new(&rlwe(N, &[40, 40], &[41]), 65537);
    let words = world.words();
    let (mut x, y) = (world.encrypt(&words), world.encrypt(&words));
    let y = world.params.switch_modulus(y, 1);
    x.add(&y);
}

#[test]
fn three_parts_are_not_re_randomised() {
    let world = World::new(&rlwe(N, &[40, 40, 40], &[41]), 65537);
    let params = world.params.clone();
    let public = PublicKey::new(&world.secret, world.seed());
    let words = world.words();
    let product = params.square(&world.encrypt(&words)).unwrap();
    for flood in [None, Some(20.0)] {
        let mut refused = product.duplicate();
        let error = params.rerandomise(&mut refused, &public, flood, world.seed()).unwrap_err();
        assert!(matches!(error, HeError::Length { expected: 2, found: 3, .. }));
        for (new, old) in refused.as_rlwe().parts().iter().zip(product.as_rlwe().parts()) {
            assert!((0..3).all(|i| new.limb(i).values() == old.limb(i).values()));
        }
    }
    let mut two = params.relinearise(product, &world.relin);
    params.rerandomise(&mut two, &public, Some(20.0), world.seed()).unwrap();
    assert_eq!(world.decrypt(&two), negacyclic(params.modulus(), &words, &words));
}
