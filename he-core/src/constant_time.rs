//! Secrets steer no branch and no address: a check by a tool, on the machine code.
//!
//! Under valgrind's memcheck a program can declare memory undefined; from then on every jump and every address that
//! depends on it is counted as an error (A. Langley's use of it for secrets, *ctgrind*, 2010). The tests of this module
//! declare secrets undefined, run what handles them, and compare memcheck's count before and after. A planted branch and
//! a planted table look-up show that the count moves when it should.
//!
//! `cargo xtask deep constant-time` runs them under valgrind; plain `cargo test` leaves them out. What is seen is what
//! valgrind executes: the portable and the AVX2 kernels, not those for AVX-512. Division instructions are not seen either.
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "client requests to valgrind"))]

use core::hint::black_box;

use crate::bfv;
use crate::ckks;
use crate::modulus::Modulus;
use crate::ntt::{Kernel, NttTable};
use crate::poly::{Coeff, Form, Poly};
use crate::rlwe::{Ciphertext, GaloisKeys, PublicKey, RelinKey, RlweLiteral, RlweParams, SecretKey};
use crate::rns::RnsPoly;
use crate::sample;
use crate::seed::Seed;

const RUNNING: u64 = 0x1001;
const COUNT_ERRORS: u64 = 0x1201;
const MAKE_UNDEFINED: u64 = 0x4d43_0001;
const MAKE_DEFINED: u64 = 0x4d43_0002;

/// A client request: what valgrind answers, or 0 without it.
#[cfg(target_arch = "x86_64")]
fn request(code: u64, first: u64, second: u64) -> u64 {
    let arguments = [code, first, second, 0, 0, 0];
    let mut answer = 0_u64;
    // SAFETY: the rotations add up to a whole turn and the exchange is of a register with itself: nothing changes but
    // what valgrind, if it is there, writes to rdx. It reads the arguments.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") arguments.as_ptr(), inout("rdx") answer,
        );
    }
    answer
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_: u64, _: u64, _: u64) -> u64 {
    0
}

/// Declares memory a secret.
fn hide<T>(memory: &[T]) {
    request(MAKE_UNDEFINED, memory.as_ptr() as u64, size_of_val(memory) as u64);
}

/// Declares memory public again.
fn show<T>(memory: &[T]) {
    request(MAKE_DEFINED, memory.as_ptr() as u64, size_of_val(memory) as u64);
}

fn hide_poly<F: Form>(poly: &RnsPoly<F>) {
    poly.limbs().iter().for_each(|limb| hide(limb.words()));
}

/// The errors that `act` adds to memcheck's count.
fn errors<T>(act: impl FnOnce() -> T) -> u64 {
    assert!(request(RUNNING, 0, 0) > 0, "run by `cargo xtask deep constant-time`, under valgrind");
    let before = request(COUNT_ERRORS, 0, 0);
    black_box(act());
    request(COUNT_ERRORS, 0, 0) - before
}

fn fresh() -> Seed {
    Seed::from_os().unwrap()
}

fn ring() -> RlweParams {
    RlweParams::insecure_for_tests(&RlweLiteral::from_bits(256, &[45, 40, 40], &[46]).unwrap()).unwrap()
}

fn hidden_secret(params: &RlweParams) -> SecretKey {
    let secret = SecretKey::generate(params, fresh());
    hide_poly(secret.values());
    secret
}

/// A stream of secret bytes.
struct Hidden(crate::seed::Stream);

impl rand_core::TryRng for Hidden {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let word = [rand_core::Rng::next_u32(&mut self.0)];
        hide(&word);
        Ok(word[0])
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let word = [rand_core::Rng::next_u64(&mut self.0)];
        hide(&word);
        Ok(word[0])
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        rand_core::Rng::fill_bytes(&mut self.0, bytes);
        hide(bytes);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Hidden {}

#[test]
#[ignore = "needs valgrind: cargo xtask deep constant-time"]
fn planted_faults_are_counted() {
    let secret: Vec<u64> = (0..64).map(black_box).collect();
    let table: Vec<u64> = (0..64).collect();
    hide(&secret);
    assert!(errors(|| if black_box(secret[3]) > 7 { black_box(1) } else { black_box(2) }) > 0);
    assert!(errors(|| black_box(table[(secret[5] & 63) as usize])) > 0);
    assert_eq!(errors(|| black_box(secret[5] & 63)), 0);
    show(&secret);
}

#[test]
#[ignore = "needs valgrind: cargo xtask deep constant-time"]
fn arithmetic_and_transforms() {
    for q in [12289, 1_125_899_906_826_241, 1_152_921_504_606_584_833] {
        let modulus = Modulus::new(q).unwrap();
        for kernel in Kernel::available().into_iter().filter(|kernel| kernel.serves(1024, &modulus)) {
            let table = NttTable::with_kernel(1024, modulus, kernel).unwrap();
            let poly = Poly::<Coeff>::uniform(&table, &mut fresh().stream());
            let other = Poly::<Coeff>::uniform(&table, &mut fresh().stream()).into_ntt(&table);
            hide(poly.words());
            let found = errors(|| {
                let mut values = poly.into_ntt(&table).mul(&table, &other);
                values += &other;
                values -= &other;
                values.negate();
                values.scale(17);
                let poly = values.into_coeff(&table);
                poly.words().iter().map(|&word| modulus.center(word)).fold(0, i64::wrapping_add)
            });
            assert_eq!(found, 0, "{kernel:?} modulo {q}");
        }
    }
}

#[test]
#[ignore = "needs valgrind: cargo xtask deep constant-time"]
fn errors_are_sampled_and_spread() {
    let params = ring();
    let found = errors(|| RnsPoly::error(&params, &mut Hidden(fresh().stream())));
    assert_eq!(found, 0);
    let mut words = vec![0; 1024];
    let modulus = params.moduli(1)[0];
    for eta in [1, 21, 32] {
        let mut rng = Hidden(fresh().stream());
        assert_eq!(errors(|| sample::centred_binomial(&mut rng, eta, &modulus, &mut words)), 0, "eta {eta}");
    }
}

#[test]
#[ignore = "needs valgrind: cargo xtask deep constant-time"]
fn secret_keys_at_work() {
    let params = ring();
    let secret = hidden_secret(&params);
    assert_eq!(errors(|| secret.encrypt_zero(3, fresh())), 0, "encryption");
    assert_eq!(errors(|| RelinKey::new(&secret, fresh())), 0, "a relinearisation key");
    assert_eq!(errors(|| GaloisKeys::new(&secret, &[5, 511], fresh())), 0, "Galois keys");
    assert_eq!(errors(|| secret.to_bytes()), 0, "writing");
    let zero = secret.encrypt_zero(2, fresh()).expand(&params);
    assert_eq!(errors(|| secret.phase(&zero)), 0, "the phase");
    let public = PublicKey::new(&SecretKey::generate(&params, fresh()), fresh());
    let zero = public.encrypt_zero(3, fresh());
    let parts = zero.into_parts();
    parts.iter().for_each(hide_poly);
    // A ciphertext is public, but switching its key must not look at its numbers either.
    let zero = Ciphertext::from_parts(parts).unwrap();
    let keys = GaloisKeys::new(&SecretKey::generate(&params, fresh()), &[5], fresh());
    assert_eq!(errors(|| keys.apply(&params, &zero, 5).unwrap()), 0, "key switching");
}

#[test]
#[ignore = "needs valgrind: cargo xtask deep constant-time"]
fn bfv_encrypts_and_decrypts() {
    let ring = ring();
    for t in [2, 257, 7681, 1 << 32] {
        let params = bfv::Params::new(&ring, t).unwrap();
        let message: Vec<u64> = (0..256).map(|i| i * i % t).collect();
        let plaintext = bfv::Plaintext::from_coefficients(&params, &message).unwrap();
        hide(plaintext.coefficients());
        let secret = hidden_secret(&ring);
        let found = errors(|| params.encrypt(&secret, &plaintext, fresh()));
        assert_eq!(found, 0, "encryption modulo {t}");
        let public = PublicKey::new(&SecretKey::generate(&ring, fresh()), fresh());
        let found = errors(|| params.encrypt_public(&public, &plaintext, fresh()));
        assert_eq!(found, 0, "encryption with the public key modulo {t}");
        // A ciphertext that carries nothing secret, read with a hidden secret.
        let ciphertext = public.encrypt_zero(3, fresh());
        let ciphertext = bfv::Ciphertext::from_rlwe(&params, ciphertext).unwrap();
        assert_eq!(errors(|| params.decrypt(&secret, &ciphertext)), 0, "decryption modulo {t}");
    }
    let params = bfv::Params::new(&ring, 7681).unwrap();
    let encoder = bfv::BatchEncoder::new(&params).unwrap();
    let plaintext = encoder.encode(&[1, 2, 3]).unwrap();
    hide(plaintext.coefficients());
    assert_eq!(errors(|| encoder.decode(&plaintext)), 0, "slots");
}

#[test]
#[ignore = "needs valgrind: cargo xtask deep constant-time"]
fn ckks_decrypts_and_decodes() {
    let literal = RlweLiteral::from_bits(256, &[50, 40, 40], &[50]).unwrap();
    let params =
        ckks::Params::new(RlweParams::insecure_for_tests(&literal).unwrap(), 40.0_f64.exp2()).unwrap();
    let secret = hidden_secret(params.rlwe());
    let public = PublicKey::new(&SecretKey::generate(params.rlwe(), fresh()), fresh());
    let ciphertext =
        ckks::Ciphertext::from_rlwe(&params, public.encrypt_zero(3, fresh()), params.scale()).unwrap();
    assert_eq!(errors(|| params.decrypt(&secret, &ciphertext)), 0, "decryption");
    let plaintext = params.decrypt(&secret, &ciphertext);
    assert_eq!(errors(|| params.decode(&plaintext)), 0, "decoding");
    assert_eq!(errors(|| params.decode_wide(&plaintext, 60)), 0, "wide decoding");
}
