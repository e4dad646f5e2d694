//! Ciphertexts and keys of the two schemes, from any bytes: refused, or exactly what would be written.
#![no_main]

use std::sync::LazyLock;

use he_core::Seed;
use he_core::rlwe::{
    Ciphertext, GaloisKeys, PublicKey, RelinKey, RlweLiteral, RlweParams, SecretKey, SeededCiphertext,
};
use libfuzzer_sys::fuzz_target;

static PARAMS: LazyLock<RlweParams> = LazyLock::new(|| {
    let literal = RlweLiteral::from_bits(16, &[30, 29], &[31]).expect("primes exist");
    RlweParams::insecure_for_tests(&literal).expect("a valid chain")
});

/// The digest of the parameters, which no fuzzer would guess.
static DIGEST: LazyLock<Vec<u8>> =
    LazyLock::new(|| SecretKey::generate(&PARAMS, Seed::from_bytes([1; 32])).to_bytes()[4..12].to_vec());

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 12 {
        bytes[4..12].copy_from_slice(&DIGEST);
    }
    let params = &*PARAMS;
    let written = match bytes.get(1) {
        Some(1) => Ciphertext::from_bytes(params, &bytes).map(|x| x.to_bytes(params)),
        Some(2) => SeededCiphertext::from_bytes(params, &bytes).map(|x| x.to_bytes(params)),
        Some(3) => PublicKey::from_bytes(params, &bytes).map(|x| x.to_bytes()),
        Some(4) => RelinKey::from_bytes(params, &bytes).map(|x| x.to_bytes(params)),
        Some(5) => GaloisKeys::from_bytes(params, &bytes).map(|x| x.to_bytes(params)),
        _ => SecretKey::from_bytes(params, &bytes).map(|x| x.to_bytes().to_vec()),
    };
    if let Ok(written) = written {
        assert_eq!(written, bytes);
    }
});
