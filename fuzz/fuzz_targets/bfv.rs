//! BFV ciphertexts with their plaintext modulus, from any bytes: refused, or exactly what would be written.
#![no_main]

use std::sync::LazyLock;

use he_core::Seed;
use he_core::bfv::{Ciphertext, Params, SeededCiphertext};
use he_core::rlwe::{RlweLiteral, RlweParams, SecretKey};
use libfuzzer_sys::fuzz_target;

static PARAMS: LazyLock<Params> = LazyLock::new(|| {
    let literal = RlweLiteral::from_bits(16, &[40, 30], &[41]).expect("primes exist");
    let ring = RlweParams::insecure_for_tests(&literal).expect("a valid chain");
    Params::new(&ring, 257).expect("a plaintext modulus that fits")
});

/// The digest of the parameters, which no fuzzer would guess.
static DIGEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    SecretKey::generate(PARAMS.rlwe(), Seed::from_bytes([1; 32])).to_bytes()[4..12].to_vec()
});

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 21 {
        bytes[13..21].copy_from_slice(&DIGEST);
    }
    let params = &*PARAMS;
    let written = match bytes.get(10) {
        Some(2) => SeededCiphertext::from_bytes(params, &bytes).map(|x| x.to_bytes(params)),
        _ => Ciphertext::from_bytes(params, &bytes).map(|x| x.to_bytes(params)),
    };
    if let Ok(written) = written {
        assert_eq!(written, bytes);
    }
});
