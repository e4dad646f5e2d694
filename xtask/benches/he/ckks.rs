//! CKKS beside what SEAL with HEXL took on another day: the registry has no full RNS-CKKS to run beside it.
//!
//! The chains are those of the recorded figures: primes of 49 and 40 bits and one special prime of 49.

use std::hint::black_box;
use std::io;

use he_core::Seed;
use he_core::ckks::Params;
use he_core::rlwe::{PublicKey, RelinKey, RlweLiteral, RlweParams, SecretKey};

use super::Bench;

/// Microseconds of SEAL 4.4.3 with HEXL 1.2.6, operation by operation: see `bench he` in xtask.
struct Recorded {
    degree: usize,
    primes: &'static [u32],
    encode: f64,
    encrypt: f64,
    encrypt_public: f64,
    multiply_plain_rescale: f64,
    multiply: f64,
    rotate: f64,
    decrypt: f64,
    decode: f64,
}

const RECORDED: [Recorded; 2] = [
    Recorded {
        degree: 8192,
        primes: &[49, 40, 40],
        encode: 162.0,
        encrypt: 663.0,
        encrypt_public: 768.0,
        multiply_plain_rescale: 93.2,
        multiply: 992.0,
        rotate: 856.0,
        decrypt: 19.8,
        decode: 538.0,
    },
    Recorded {
        degree: 16384,
        primes: &[49, 40, 40, 40, 40, 40, 40],
        encode: 532.0,
        encrypt: 2602.0,
        encrypt_public: 2181.0,
        multiply_plain_rescale: 516.0,
        multiply: 8374.0,
        rotate: 7695.0,
        decrypt: 104.0,
        decode: 3878.0,
    },
];

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// Both degrees.
pub(super) fn run(bench: &Bench) -> io::Result<()> {
    for recorded in &RECORDED {
        degree(bench, recorded)?;
    }
    Ok(())
}

fn degree(bench: &Bench, recorded: &Recorded) -> io::Result<()> {
    let fresh = || Seed::from_os().map_err(failed);
    let literal = RlweLiteral::from_bits(recorded.degree, recorded.primes, &[49]).map_err(failed)?;
    let rlwe = RlweParams::new(&literal).map_err(failed)?;
    let bits = (rlwe.log2_q(rlwe.limbs()) + rlwe.log2_p()).ceil() as u32;
    let params = Params::new(rlwe, 40.0_f64.exp2()).map_err(failed)?;
    let secret = SecretKey::generate(params.rlwe(), fresh()?);
    let public = PublicKey::new(&secret, fresh()?);
    let relin = RelinKey::new(&secret, fresh()?);
    let turns = params.galois_keys(&secret, &[1], false, fresh()?);
    let values: Vec<f64> = (0..params.slots()).map(|i| (i as f64 * 0.37).sin()).collect();
    let plaintext = params.encode(&values).map_err(failed)?;
    let root = fresh()?;
    let mut number = 0;
    let mut next = || {
        number += 1;
        root.fork("bench", &[number])
    };
    let x = params.encrypt_public(&public, &plaintext, next());
    let y = params.encrypt_public(&public, &plaintext, next());
    let decrypted = params.decrypt(&secret, &x);

    let row = |name: &str, recorded: f64, ours: &mut dyn FnMut()| {
        bench.row((name, params.n(), bits), ours, None, Some(1e3 * recorded))
    };
    row("ckks encode", recorded.encode, &mut || drop(black_box(params.encode(black_box(&values)))))?;
    row("ckks encrypt, secret key", recorded.encrypt, &mut || {
        drop(black_box(params.encrypt(&secret, &plaintext, next())));
    })?;
    row("ckks encrypt, public key", recorded.encrypt_public, &mut || {
        drop(black_box(params.encrypt_public(&public, &plaintext, next())));
    })?;
    row("ckks multiply plain, rescale", recorded.multiply_plain_rescale, &mut || {
        drop(black_box(params.multiply_plain(&x, &plaintext).and_then(|mut product| {
            params.rescale(&mut product)?;
            Ok(product)
        })));
    })?;
    row("ckks multiply, relinearise, rescale", recorded.multiply, &mut || {
        drop(black_box(params.multiply_rescale(&x, &y, &relin)));
    })?;
    row("ckks rotate", recorded.rotate, &mut || drop(black_box(params.rotate(&x, 1, &turns))))?;
    row("ckks decrypt", recorded.decrypt, &mut || drop(black_box(params.decrypt(&secret, &x))))?;
    row("ckks decode", recorded.decode, &mut || drop(black_box(params.decode(&decrypted))))
}
