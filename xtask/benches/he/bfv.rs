//! BFV beside fhe.rs, and beside what SEAL with HEXL took on another day.
//!
//! Two settings of fhe.rs, which has no special primes: *whole*, its ciphertexts modulo as many bits as our keys have (the
//! same security from the same modulus), and *ciphertext*, modulo the primes of our ciphertexts alone (the same ciphertexts).

use std::hint::black_box;
use std::io;
use std::sync::Arc;

use fhe::bfv as theirs;
use fhe_traits::{FheDecrypter, FheEncoder, FheEncrypter};
use he_core::Seed;
use he_core::bfv::{BatchEncoder, Ciphertext, Params, Turn};
use he_core::rlwe::{PublicKey, RelinKey, RlweLiteral, RlweParams, SecretKey};
use he_core::rns::Tables;

use super::{Bench, Peer};

/// Microseconds of SEAL 4.4.3 with HEXL 1.2.6: see `bench he` in xtask.
struct Recorded {
    degree: usize,
    encrypt: f64,
    encrypt_public: f64,
    decrypt: f64,
    multiply_plain: f64,
    multiply_plain_in_place: f64,
    add: f64,
    /// Of ciphertexts in coefficient form, which need no transform for it.
    switch_modulus: Option<f64>,
    rotate: f64,
    multiply: f64,
}

const RECORDED: [Recorded; 2] = [
    Recorded {
        degree: 4096,
        encrypt: 293.0,
        encrypt_public: 343.0,
        decrypt: 70.8,
        multiply_plain: 3.3,
        multiply_plain_in_place: 2.2,
        add: 2.7,
        switch_modulus: None,
        rotate: 239.0,
        multiply: 1361.0,
    },
    Recorded {
        degree: 8192,
        encrypt: 906.0,
        encrypt_public: 823.0,
        decrypt: 229.0,
        multiply_plain: 16.6,
        multiply_plain_in_place: 8.9,
        add: 16.6,
        switch_modulus: Some(6.2),
        rotate: 1349.0,
        multiply: 6007.0,
    },
];

/// Whatever went wrong, as an error of this program.
fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

fn fresh() -> io::Result<Seed> {
    Seed::from_os().map_err(failed)
}

/// Both degrees.
pub(super) fn run(bench: &Bench) -> io::Result<()> {
    for recorded in &RECORDED {
        degree(bench, recorded)?;
    }
    Ok(())
}

/// A party of fhe.rs with all of its keys and two ciphertexts.
struct Rival {
    name: &'static str,
    params: Arc<theirs::BfvParameters>,
    secret: theirs::SecretKey,
    public: theirs::PublicKey,
    turns: theirs::EvaluationKey,
    multiplier: theirs::Multiplicator,
    plaintext: theirs::Plaintext,
    x: theirs::Ciphertext,
    y: theirs::Ciphertext,
}

impl Rival {
    fn new(name: &'static str, n: usize, t: u64, primes: &[u64], slots: &[u64]) -> io::Result<Self> {
        let mut rng = rand::rng();
        let params = theirs::BfvParametersBuilder::new()
            .set_degree(n)
            .set_plaintext_modulus(t)
            .set_moduli(primes)
            .build_arc()
            .map_err(failed)?;
        let secret = theirs::SecretKey::random(&params, &mut rng);
        let public = theirs::PublicKey::new(&secret, &mut rng);
        let relin = theirs::RelinearizationKey::new(&secret, &mut rng).map_err(failed)?;
        let turns = theirs::EvaluationKeyBuilder::new(&secret)
            .and_then(|mut builder| builder.enable_column_rotation(1).and_then(|b| b.build(&mut rng)))
            .map_err(failed)?;
        let multiplier = theirs::Multiplicator::default(&relin).map_err(failed)?;
        let plaintext =
            theirs::Plaintext::try_encode(slots, theirs::Encoding::simd(), &params).map_err(failed)?;
        let mut encrypt = || public.try_encrypt(&plaintext, &mut rng).map_err(failed);
        let (x, y) = (encrypt()?, encrypt()?);
        Ok(Self { name, params, secret, public, turns, multiplier, plaintext, x, y })
    }
}

fn degree(bench: &Bench, recorded: &Recorded) -> io::Result<()> {
    let rlwe = RlweParams::new(&RlweLiteral::preset(recorded.degree).map_err(failed)?).map_err(failed)?;
    let params = Params::preset(recorded.degree).map_err(failed)?;
    let (n, t) = (params.n(), params.t());
    let primes: Vec<u64> = rlwe.tables().iter().map(|table| table.modulus().value()).collect();
    let bits = (rlwe.log2_q(rlwe.limbs()) + rlwe.log2_p()).ceil() as u32;

    let encoder = BatchEncoder::new(&params).map_err(failed)?;
    let slots: Vec<u64> = (0..n as u64).map(|i| i * i % t).collect();
    let plaintext = encoder.encode(&slots).map_err(failed)?;
    let secret = SecretKey::generate(&rlwe, fresh()?);
    let public = PublicKey::new(&secret, fresh()?);
    let relin = RelinKey::new(&secret, fresh()?);
    let turns = params.galois_keys(&secret, &[Turn::Rotate(1)], fresh()?);
    let encrypt = || -> io::Result<Ciphertext> { Ok(params.encrypt_public(&public, &plaintext, fresh()?)) };
    let (x, y) = (encrypt()?, encrypt()?);
    let prepared = plaintext.prepare(&params, x.limbs());
    let root = fresh()?;
    let mut number = 0;
    let mut next = || {
        number += 1;
        root.fork("bench", &[number])
    };

    let alone = |name: &str, recorded: Option<f64>, ours: &mut dyn FnMut()| {
        bench.row((name, n, bits), ours, None, recorded.map(|recorded| 1e3 * recorded))
    };
    let mut z = x.duplicate();
    alone("bfv multiply plain, in place", Some(recorded.multiply_plain_in_place), &mut || {
        black_box(&mut z).multiply_plain(&params, &prepared);
    })?;
    alone("bfv switch modulus", recorded.switch_modulus, &mut || {
        drop(black_box(params.switched(&x, x.limbs() - 1)));
    })?;

    let rivals = [
        Rival::new("fhe.rs, whole", n, t, &primes, &slots)?,
        Rival::new("fhe.rs, ciphertext", n, t, &primes[..rlwe.limbs()], &slots)?,
    ];
    for rival in &rivals {
        let mut rng = rand::rng();
        let row = |name: &str, recorded: f64, ours: &mut dyn FnMut(), theirs: &mut dyn FnMut()| {
            let peer = Peer { name: rival.name, work: theirs };
            bench.row((name, n, bits), ours, Some(peer), Some(1e3 * recorded))
        };
        row(
            "bfv encrypt, secret key",
            recorded.encrypt,
            &mut || drop(black_box(params.encrypt(&secret, &plaintext, next()))),
            &mut || {
                let ciphertext: Result<theirs::Ciphertext, _> =
                    rival.secret.try_encrypt(&rival.plaintext, &mut rng);
                drop(black_box(ciphertext));
            },
        )?;
        let mut rng = rand::rng();
        row(
            "bfv encrypt, public key",
            recorded.encrypt_public,
            &mut || drop(black_box(params.encrypt_public(&public, &plaintext, next()))),
            &mut || {
                let ciphertext: Result<theirs::Ciphertext, _> =
                    rival.public.try_encrypt(&rival.plaintext, &mut rng);
                drop(black_box(ciphertext));
            },
        )?;
        row(
            "bfv decrypt",
            recorded.decrypt,
            &mut || drop(black_box(params.decrypt(&secret, &x))),
            &mut || drop(black_box(rival.secret.try_decrypt(&rival.x))),
        )?;
        row(
            "bfv multiply plain",
            recorded.multiply_plain,
            &mut || drop(black_box(x.times_plain(&params, &prepared))),
            &mut || drop(black_box(&rival.x * &rival.plaintext)),
        )?;
        row("bfv add", recorded.add, &mut || drop(black_box(x.plus(&y))), &mut || {
            drop(black_box(&rival.x + &rival.y))
        })?;
        row(
            "bfv rotate",
            recorded.rotate,
            &mut || drop(black_box(params.turn(&x, Turn::Rotate(1), &turns))),
            &mut || drop(black_box(rival.turns.rotates_columns_by(&rival.x, 1))),
        )?;
        row(
            "bfv multiply, relinearise",
            recorded.multiply,
            &mut || {
                drop(black_box(params.multiply(&x, &y).map(|product| params.relinearise(product, &relin))))
            },
            &mut || drop(black_box(rival.multiplier.multiply(&rival.x, &rival.y))),
        )?;
        debug_assert_eq!(rival.params.degree(), n);
    }
    Ok(())
}
