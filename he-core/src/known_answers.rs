//! Keys, key switching and products of both schemes against answers computed by an independent program from the
//! definitions, with integers of any size: `tests/vectors/schemes.py`.

use sha3::{Digest, Sha3_256};

use crate::bfv;
use crate::rlwe::{Ciphertext, GaloisKeys, PublicKey, RelinKey, RlweLiteral, RlweParams, SecretKey};
use crate::rns::RnsPoly;
use crate::rns::drop::ModDown;
use crate::schemes as known;
use crate::seed::Seed;

fn ring() -> RlweParams {
    let literal = RlweLiteral {
        degree: known::N,
        ciphertext_primes: known::Q.to_vec(),
        special_primes: known::P.to_vec(),
    };
    RlweParams::insecure_for_tests(&literal).unwrap()
}

fn seed(i: u8) -> Seed {
    Seed::from_bytes([i; 32])
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha3_256::digest(bytes).into()
}

#[test]
fn keys() {
    let params = ring();
    let secret = SecretKey::generate(&params, seed(1));
    assert_eq!(digest(&secret.to_bytes()), known::SECRET_KEY);
    assert_eq!(digest(&secret.encrypt_zero(2, seed(2)).to_bytes(&params)), known::SEEDED_ZERO);
    assert_eq!(digest(&RelinKey::new(&secret, seed(3)).to_bytes(&params)), known::RELIN_KEY);
    let turns = GaloisKeys::new(&secret, &[2 * known::N - 1, 5], seed(4));
    assert_eq!(digest(&turns.to_bytes(&params)), known::GALOIS_KEYS);
}

#[test]
fn key_switching_at_each_form_of_the_last_digit() {
    let params = ring();
    let secret = SecretKey::generate(&params, seed(1));
    let turns = GaloisKeys::new(&secret, &[5], seed(4));
    for (limbs, expected) in [(2, known::IMAGE_AT_2), (3, known::IMAGE_AT_3)] {
        let zero = secret.encrypt_zero(limbs, seed(5)).expand(&params);
        let image = turns.apply(&params, &zero, 5).unwrap();
        assert_eq!(digest(&image.to_bytes(&params)), expected, "{limbs} limbs");
    }
}

fn bfv_ciphertexts(params: &bfv::Params, secret: &SecretKey) -> [bfv::Ciphertext; 2] {
    let public = PublicKey::new(secret, seed(6));
    let n = known::N as u64;
    let first: Vec<u64> = (0..n).map(|i| (i * i + 3) % known::T).collect();
    let second: Vec<u64> = (0..n).map(|i| (7 * i + 250) % known::T).collect();
    let mut next = 6;
    [first, second].map(|message| {
        next += 1;
        let plaintext = bfv::Plaintext::from_coefficients(params, &message).unwrap();
        params.encrypt_public(&public, &plaintext, seed(next))
    })
}

#[test]
fn a_bfv_product() {
    let params = bfv::Params::new(&ring(), known::T).unwrap();
    let secret = SecretKey::generate(params.rlwe(), seed(1));
    let [x, y] = bfv_ciphertexts(&params, &secret);
    assert_eq!(digest(&x.as_rlwe().to_bytes(params.rlwe())), known::BFV_FIRST);
    let relin = RelinKey::new(&secret, seed(3));
    let product = params.relinearise(params.multiply(&x, &y).unwrap(), &relin);
    assert_eq!(digest(&product.as_rlwe().to_bytes(params.rlwe())), known::BFV_PRODUCT);
}

#[test]
fn a_product_that_is_rescaled() {
    let params = bfv::Params::new(&ring(), known::T).unwrap();
    let ring = params.rlwe();
    let secret = SecretKey::generate(ring, seed(1));
    let [x, y] = bfv_ciphertexts(&params, &secret).map(|ciphertext| ciphertext.into_rlwe().into_parts());
    let tables = ring.ciphertext_tables(3);
    let tensor = vec![
        x[0].mul(tables, &y[0]),
        RnsPoly::dot(tables, &[(&x[0], &y[1]), (&x[1], &y[0])]),
        x[1].mul(tables, &y[1]),
    ];
    let relin = RelinKey::new(&secret, seed(3));
    let product = relin.relinearise(ring, Ciphertext::from_parts(tensor).unwrap());
    let moduli = ring.moduli(3);
    let down = ModDown::new(&moduli[2..], &moduli[..2]);
    let parts = product.into_parts().into_iter().map(|part| down.drop_last_ntt(part, tables)).collect();
    let rescaled = Ciphertext::from_parts(parts).unwrap();
    assert_eq!(digest(&rescaled.to_bytes(ring)), known::RESCALED);
}
