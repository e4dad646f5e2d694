//! Extraction of coefficients, and packing.

use super::*;
use crate::HeError;
use crate::rns::RnsPoly;

fn worlds() -> impl Iterator<Item = World> {
    let ring = rlwe(32, &[45, 45, 45], &[50]);
    let digits = rlwe(32, &[45, 45, 45, 45], &[50, 50]);
    [(&ring, 2), (&ring, 65537), (&ring, 1 << 16), (&digits, 999_999), (&digits, 1 << 32)]
        .map(|(ring, t)| World::new(ring, t))
        .into_iter()
}

#[test]
fn every_coefficient_is_extracted_at_every_level() {
    for world in worlds() {
        let params = world.params.clone();
        let (n, words) = (params.n(), world.words());
        let x = world.encrypt(&words);
        for limbs in 2..=params.limbs() {
            let x = params.switch_modulus(x.duplicate(), limbs);
            let places: Vec<_> = (0..n).collect();
            let lwe = params.extract(&x, &places).unwrap();
            for (ciphertext, &word) in lwe.iter().zip(&words) {
                assert_eq!(ciphertext.limbs(), limbs);
                assert_eq!(params.decrypt_lwe(&world.secret, ciphertext), word);
                let embedded = params.embed(ciphertext);
                assert_eq!(world.decrypt(&embedded)[0], word);
            }
        }
        // By the definition: b + <a, s> is the coefficient of the phase.
        let limb =
            |poly: RnsPoly<crate::Ntt>| poly.into_coeff(params.rlwe().ciphertext_tables(params.limbs()));
        let mut secret = world.secret.values().duplicate();
        secret.truncate(params.limbs());
        let (secret, phase) = (limb(secret), limb(world.secret.phase(x.as_rlwe())));
        for place in [0, 1, n - 1] {
            let lwe = &params.extract(&x, &[place]).unwrap()[0];
            for (i, &b) in lwe.b().iter().enumerate() {
                let q = *secret.limb(i).modulus();
                let (a, s) = (lwe.a().limb(i).coefficients(), secret.limb(i).coefficients());
                let sum = a.iter().zip(s).fold(b, |sum, (&a, &s)| q.add(sum, q.mul(a, s)));
                assert_eq!(sum, phase.limb(i).coefficients()[place]);
            }
        }
        let product = params.multiply(&x, &x).unwrap();
        assert!(matches!(params.extract(&product, &[0]), Err(HeError::Length { found: 3, .. })));
    }
}

#[test]
fn any_number_of_them_is_packed() {
    for world in worlds() {
        let params = world.params.clone();
        let (n, words) = (params.n(), world.words());
        let keys = params.packing_keys(&world.secret, world.seed());
        let x = world.encrypt(&words);
        for limbs in [params.limbs() - 1, params.limbs()] {
            let x = params.switch_modulus(x.duplicate(), limbs);
            for count in [1, 2, 3, 4, 7, 8, 17, 31, 32] {
                // From the end, so that places move.
                let places: Vec<_> = (0..count).map(|j| n - 1 - j).collect();
                let packed = params.pack(&params.extract(&x, &places).unwrap(), &keys).unwrap();
                let stride = n / count.next_power_of_two();
                let mut expected = vec![0; n];
                for (j, &place) in places.iter().enumerate() {
                    expected[j * stride] = words[place];
                }
                assert_eq!(world.decrypt(&packed), expected, "{count} of t = {}", params.t());
            }
        }
        let lwe = params.extract(&x, &[0, 1]).unwrap();
        assert!(matches!(params.pack(&[], &keys), Err(HeError::Length { found: 0, .. })));
        let few = params.galois_keys(&world.secret, &[Turn::Rotate(1)], world.seed());
        assert!(matches!(params.pack(&lwe, &few), Err(HeError::NoGaloisKey { .. })));
    }
}

#[test]
fn parts_of_elsewhere_are_checked() {
    let world = World::new(&rlwe(32, &[45, 45], &[50]), 65537);
    let params = world.params.clone();
    let words = world.words();
    let x = world.encrypt(&words);
    let lwe = &params.extract(&x, &[5]).unwrap()[0];
    let build = |a: RnsPoly<crate::Coeff>, b: &[u64]| LweCiphertext::from_parts(&params, a, b.to_vec());
    let again = build(lwe.a().duplicate(), lwe.b()).unwrap();
    assert_eq!(params.decrypt_lwe(&world.secret, &again), words[5]);
    assert!(matches!(build(lwe.a().duplicate(), &lwe.b()[..1]), Err(HeError::Length { .. })));
    let q = params.rlwe().moduli(2)[1].value();
    assert!(matches!(build(lwe.a().duplicate(), &[0, q]), Err(HeError::OutOfRange { .. })));
    let other = |n: usize, bits: &[u32]| RnsPoly::zero(rlwe(n, bits, &[]).ciphertext_tables(bits.len()));
    assert!(matches!(build(other(32, &[44, 44]), &[0, 0]), Err(HeError::PrimeChain { .. })));
    assert!(matches!(build(other(64, &[45, 45]), &[0, 0]), Err(HeError::Length { .. })));
    assert!(matches!(build(other(32, &[45, 45, 45]), &[0, 0, 0]), Err(HeError::Length { .. })));
}
