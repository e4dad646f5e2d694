//! Encodings and the forms of a plaintext.

use super::*;
use crate::HeError;
use crate::modulus::Modulus;
use crate::prime::root_of_unity;
use crate::rns::big::{Big, compose};

#[test]
fn slots_are_the_values_at_the_orbit_of_five() {
    for (n, bits) in [(8, 10), (64, 20), (128, 40)] {
        let t = batching(n, bits);
        let world = World::new(&rlwe(n, &[50, 50], &[50]), t);
        let encoder = BatchEncoder::new(&world.params).unwrap();
        let slots = world.words();
        let plaintext = encoder.encode(&slots).unwrap();
        let modulus = Modulus::new(t).unwrap();
        let psi = root_of_unity(&modulus, 2 * n as u64).unwrap();
        let at = |exponent: usize| {
            let x = modulus.pow(psi, exponent as u64);
            plaintext.coefficients().iter().rev().fold(0, |sum, &c| modulus.add(modulus.mul(sum, x), c))
        };
        let mut exponent = 1;
        for column in 0..n / 2 {
            assert_eq!(at(exponent), slots[column]);
            assert_eq!(at(2 * n - exponent), slots[n / 2 + column]);
            exponent = exponent * 5 % (2 * n);
        }
        assert_eq!(encoder.decode(&plaintext)[..], slots);
        assert_eq!((encoder.slots(), encoder.columns()), (n, n / 2));
        // Slots multiply and turn.
        let other = world.words();
        let product = negacyclic(
            world.params.modulus(),
            plaintext.coefficients(),
            encoder.encode(&other).unwrap().coefficients(),
        );
        let expected = zip(world.params.modulus(), &slots, &other, |t, x, y| t.mul(x, y));
        assert_eq!(encoder.decode(&world.plain(&product))[..], expected);
        for turn in [Turn::Rotate(1), Turn::Rotate(-3), Turn::SwapRows, Turn::RotateAndSwap(2)] {
            let moved = image(world.params.modulus(), plaintext.coefficients(), turn.exponent(n));
            assert_eq!(encoder.decode(&world.plain(&moved))[..], turned(&slots, turn), "{turn:?}");
        }
    }
}

/// Slots after a turn, by its definition.
pub(super) fn turned(slots: &[u64], turn: Turn) -> Vec<u64> {
    let half = slots.len() / 2;
    let (steps, swap) = match turn {
        Turn::Rotate(steps) => (steps, 0),
        Turn::SwapRows => (0, 1),
        Turn::RotateAndSwap(steps) => (steps, 1),
    };
    let from = |column: usize| (column as i64 + steps).rem_euclid(half as i64) as usize;
    (0..2).flat_map(|row| (0..half).map(move |c| slots[(row ^ swap) * half + from(c)])).collect()
}

#[test]
fn signed_short_and_refused() {
    let world = World::new(&rlwe(64, &[40, 40], &[40]), batching(64, 16));
    let (params, t) = (&world.params, world.params.t());
    let encoder = BatchEncoder::new(params).unwrap();
    let plaintext = encoder.encode_signed(&[-1, 2, i64::MIN, i64::MAX]).unwrap();
    let m = params.modulus();
    assert_eq!(encoder.decode(&plaintext)[..5], [t - 1, 2, m.from_i64(i64::MIN), m.from_i64(i64::MAX), 0]);
    assert_eq!(encoder.decode_signed(&plaintext)[..2], [-1, 2]);
    let long = vec![0; 65];
    assert!(matches!(encoder.encode(&long), Err(HeError::Length { expected: 64, found: 65, .. })));
    assert!(matches!(Plaintext::from_coefficients(params, &long), Err(HeError::Length { .. })));
    assert!(matches!(Plaintext::from_signed(params, &[0; 65]), Err(HeError::Length { .. })));
    for word in [t, u64::MAX] {
        let refused = encoder.encode(&[0, word]);
        assert!(matches!(refused, Err(HeError::OutOfRange { index: 1, bound, .. }) if bound == t));
        assert!(matches!(
            Plaintext::from_coefficients(params, &[word]),
            Err(HeError::OutOfRange { index: 0, .. })
        ));
    }
    let signed = Plaintext::from_signed(params, &[-5, 7]).unwrap();
    assert_eq!(signed.coefficients()[..3], [t - 5, 7, 0]);
    assert_eq!(signed.signed()[..3], [-5, 7, 0]);
    assert!((signed.norm() - 74.0_f64.sqrt()).abs() < 1e-9);
    assert_eq!(format!("{signed:?}"), format!("Plaintext(64 coefficients modulo {t})"));
    // No batching for a t that is not prime, or not 1 mod 2N.
    for (t, prime) in [(65536, false), (65537, true), (257, true)] {
        let params = Params::new(&rlwe(256, &[40, 40], &[40]), t).unwrap();
        match BatchEncoder::new(&params) {
            Err(HeError::NotPrime { q }) => assert!(!prime && q == t),
            Err(HeError::NoRoot { n: 256, q }) => assert!(prime && q == t && t == 257),
            Ok(_) => assert_eq!(t, 65537),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn both_forms_are_what_their_names_say() {
    for t in [2, 3, 255, 1 << 16, 65537, 1 << 32, (1 << 45) + 7, (1 << 60) - 93, 1 << 60] {
        // Primes above t, below it, and both.
        for bits in [&[50, 49, 48][..], &[30, 29, 28], &[61, 30]] {
            let ring = rlwe(32, bits, &[]);
            let Ok(params) = Params::new(&ring, t) else {
                assert!(bits.len() < 3 || t > 1 << 44, "t = {t} has room");
                continue;
            };
            let mut rng = told_seed().stream();
            let mut words: Vec<_> = (0..32).map(|_| rng.next_u64() % t).collect();
            words[..6].copy_from_slice(&[0, 1, t - 1, t / 2, (t / 2 + 1) % t, (t - 1) / 2]);
            let plaintext = Plaintext::from_coefficients(&params, &words).unwrap();
            for limbs in 1..=ring.limbs() {
                let (tables, primes) = (ring.ciphertext_tables(limbs), ring.moduli(limbs));
                let q = Big::product(primes);
                let coefficients = |poly: &crate::RnsPoly<crate::Ntt>| {
                    let poly = poly.duplicate().into_coeff(tables);
                    let at =
                        |i: usize| poly.limbs().iter().map(|limb| limb.coefficients()[i]).collect::<Vec<_>>();
                    (0..32).map(at).collect::<Vec<_>>()
                };
                let prepared = coefficients(plaintext.prepare(&params, limbs).poly());
                let scaled = coefficients(plaintext.scale(&params, limbs).poly());
                for ((&m, prepared), scaled) in words.iter().zip(prepared).zip(scaled) {
                    let centred = Big::new(params.modulus().center(m).into());
                    assert_eq!(prepared, centred.residues(primes), "t = {t}, m = {m}");
                    // Ties of an even t round down: floor((2 Q m + t - 1) / (2 t)) for integers.
                    let twice = q.mul(&Big::unsigned(2 * m)).add(&Big::unsigned(t - 1));
                    let expected = twice.div_rem(&Big::unsigned(2 * t)).0;
                    assert_eq!(scaled, expected.residues(primes), "t = {t}, m = {m}, {limbs} limbs");
                    let _ = compose(&scaled, primes);
                }
            }
        }
    }
}
