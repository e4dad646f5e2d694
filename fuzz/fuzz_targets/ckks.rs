//! CKKS ciphertexts with their scales, from any bytes: refused, or exactly what would be written.
#![no_main]

use std::sync::LazyLock;

use he_core::Seed;
use he_core::ckks::{Ciphertext, Params, SeededCiphertext};
use he_core::rlwe::{RlweLiteral, RlweParams, SecretKey};
use libfuzzer_sys::fuzz_target;

static PARAMS: LazyLock<Params> = LazyLock::new(|| {
    let literal = RlweLiteral::from_bits(16, &[40, 30], &[41]).expect("primes exist");
    let ring = RlweParams::insecure_for_tests(&literal).expect("a valid chain");
    Params::new(ring, 30.0_f64.exp2()).expect("a scale that fits")
});

/// The digest of the parameters, which no fuzzer would guess.
static DIGEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    SecretKey::generate(PARAMS.rlwe(), Seed::from_bytes([1; 32])).to_bytes()[4..12].to_vec()
});

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 20 {
        bytes[12..20].copy_from_slice(&DIGEST);
    }
    let params = &*PARAMS;
    let written = match bytes.get(9) {
        Some(2) => SeededCiphertext::from_bytes(params, &bytes).map(|x| x.to_bytes(params)),
        _ => Ciphertext::from_bytes(params, &bytes).map(|x| x.to_bytes(params)),
    };
    if let Ok(written) = written {
        assert_eq!(written, bytes);
    }
});
