//! Rotations, many at once, and the same bytes on any number of threads.

use super::plain::turned;
use super::*;
use crate::HeError;
use crate::rlwe::PublicKey;

#[test]
fn every_rotation_of_a_small_ring() {
    for (bits, special) in [(&[45, 45, 45][..], &[46][..]), (&[40, 40, 40, 40], &[42, 42])] {
        let n = 32;
        let world = World::new(&rlwe(n, bits, special), batching(n, 16));
        let params = world.params.clone();
        let encoder = BatchEncoder::new(&params).unwrap();
        let rotations = (-(n as i64)..=n as i64).map(Turn::Rotate);
        let both = (0..n as i64 / 2).map(Turn::RotateAndSwap);
        let turns: Vec<_> = rotations.chain(both).chain([Turn::SwapRows]).collect();
        let keys = params.galois_keys(&world.secret, &turns, world.seed());
        let slots = world.words();
        let x = world.encrypt(encoder.encode(&slots).unwrap().coefficients());
        for limbs in 2..=params.limbs() {
            let x = params.switch_modulus(x.duplicate(), limbs);
            let many = params.turn_many(&x, &turns, &keys).unwrap();
            for (&turn, hoisted) in turns.iter().zip(&many) {
                let one = params.turn(&x, turn, &keys).unwrap();
                let found = encoder.decode(&params.decrypt(&world.secret, &one));
                assert_eq!(found[..], turned(&slots, turn), "{turn:?} at {limbs} limbs");
                let found = encoder.decode(&params.decrypt(&world.secret, hoisted));
                assert_eq!(found[..], turned(&slots, turn), "{turn:?} at {limbs} limbs, hoisted");
            }
        }
        let few = params.galois_keys(&world.secret, &[Turn::Rotate(1)], world.seed());
        let missing = params.turn(&x, Turn::SwapRows, &few);
        assert!(matches!(missing, Err(HeError::NoGaloisKey { exponent: 63, .. })));
        let missing = params.turn_many(&x, &[Turn::Rotate(1), Turn::Rotate(0), Turn::SwapRows], &few);
        assert_eq!(missing.unwrap_err(), HeError::NoGaloisKey { exponent: 63, n: 32 });
        assert_eq!(few.check_all(&[1, 5]), Ok(()));
        assert_eq!(few.check_all(&[5, 63, 7]), Err(HeError::NoGaloisKey { exponent: 63, n: 32 }));
        let product = params.multiply(&x, &x).unwrap();
        assert!(matches!(params.turn(&product, Turn::Rotate(1), &few), Err(HeError::Length { .. })));
        assert!(matches!(params.turn_many(&product, &[Turn::Rotate(1)], &few), Err(HeError::Length { .. })));
    }
}

#[test]
fn turns_of_rings_without_special_primes() {
    let ring = rlwe(32, &[45, 45], &[]);
    let (params, seed) = (Params::new(&ring, 257).unwrap(), told_seed());
    let secret = SecretKey::generate(&ring, seed.fork("test: secret", &[]));
    let keys = params.galois_keys(&secret, &[Turn::Rotate(0)], seed.fork("test: turns", &[]));
    let plaintext = Plaintext::from_coefficients(&params, &[1, 2, 3]).unwrap();
    let x = params.encrypt(&secret, &plaintext, seed).expand(&params);
    assert!(params.turn_many(&x, &[], &keys).unwrap().is_empty());
    // 16 columns: a whole turn is none.
    let still = params.turn_many(&x, &[Turn::Rotate(0), Turn::Rotate(16)], &keys).unwrap();
    assert_eq!(still.len(), 2);
    assert!(
        still.iter().all(|same| values(core::slice::from_ref(same)) == values(core::slice::from_ref(&x)))
    );
    assert!(matches!(params.turn(&x, Turn::Rotate(1), &keys), Err(HeError::NoGaloisKey { exponent: 5, .. })));
    for turns in [&[Turn::Rotate(1)][..], &[Turn::Rotate(0), Turn::Rotate(1)], &[Turn::SwapRows]] {
        let exponent = turns[turns.len() - 1].exponent(32);
        assert_eq!(params.turn_many(&x, turns, &keys).unwrap_err(), HeError::NoGaloisKey { exponent, n: 32 });
    }
    let product = params.multiply(&x, &x).unwrap();
    for turn in [Turn::Rotate(0), Turn::Rotate(1)] {
        assert!(matches!(params.turn(&product, turn, &keys), Err(HeError::Length { found: 3, .. })));
        assert!(matches!(params.turn_many(&product, &[turn], &keys), Err(HeError::Length { found: 3, .. })));
    }
}

/// All values of all parts.
fn values(ciphertexts: &[Ciphertext]) -> Vec<u64> {
    let parts = ciphertexts.iter().flat_map(|x| x.as_rlwe().parts());
    parts.flat_map(|part| part.limbs()).flat_map(|limb| limb.values().to_vec()).collect()
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let ring = rlwe(8192, &[43, 43, 43], &[45]);
            let params = Params::new(&ring, batching(8192, 20)).unwrap();
            let seed = |index: u64| Seed::from_bytes([3; 32]).fork("test", &[index]);
            let secret = SecretKey::generate(&ring, seed(0));
            let (relin, public) = (RelinKey::new(&secret, seed(1)), PublicKey::new(&secret, seed(2)));
            let turns = [Turn::Rotate(1), Turn::Rotate(5), Turn::SwapRows];
            let keys = params.galois_keys(&secret, &turns, seed(3));
            let packing = params.packing_keys(&secret, seed(4));
            let words: Vec<u64> = (0..8192).map(|i| i * i % params.t()).collect();
            let plaintext = Plaintext::from_coefficients(&params, &words).unwrap();
            let x = params.encrypt(&secret, &plaintext, seed(5)).expand(&params);
            let mut y = params.encrypt_public(&public, &plaintext, seed(6));
            params.rerandomise(&mut y, &public, Some(30.0), seed(7)).unwrap();
            let product = params.multiply(&x, &y).unwrap();
            let relinearised = params.relinearise(product.duplicate(), &relin);
            let mut all = params.turn_many(&relinearised, &turns, &keys).unwrap();
            let lwe = params.extract(&relinearised, &[0, 1, 8191]).unwrap();
            all.push(params.pack(&lwe, &packing).unwrap());
            all.push(params.switch_modulus(relinearised, 2));
            all.extend([x, y, product]);
            values(&all)
        })
    };
    let one = run(1);
    for threads in [2, 5] {
        assert!(run(threads) == one, "{threads} threads give other bytes");
    }
}
