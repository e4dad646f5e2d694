//! BFV against plain arithmetic modulo t, exact integers, and its own noise bounds.
//!
//! | file | what |
//! |---|---|
//! | `plain` | encodings, scaled and prepared forms |
//! | `laws` | every operation is the operation on plaintexts, at every level, for every kind of t |
//! | `exact` | decryption, products and noise against big integers |
//! | `turns` | rotations, hoisting, determinism |
//! | `lwe` | extraction and packing |
//! | `wire` | wire forms |
//! | `bounds` | measured noise against predicted noise |
//!
//! Rings are small and without security unless noise is measured. Seeds come from the operating system and are printed
//! when a test fails.

mod bounds;
mod exact;
mod laws;
mod lwe;
mod plain;
mod turns;
mod wire;

use core::cell::RefCell;

use rand_core::Rng;

use super::*;
use crate::prime::largest_ntt_prime;
use crate::rlwe::{RelinKey, RlweLiteral, RlweParams, SecretKey};
use crate::seed::{Seed, Stream};

/// A ring without security, a secret and randomness for a test.
struct World {
    params: Params,
    secret: SecretKey,
    relin: RelinKey,
    rng: RefCell<Stream>,
}

fn rlwe(n: usize, ciphertext: &[u32], special: &[u32]) -> RlweParams {
    RlweParams::insecure_for_tests(&RlweLiteral::from_bits(n, ciphertext, special).unwrap()).unwrap()
}

/// A seed that a failing test tells.
fn told_seed() -> Seed {
    let mut bytes = [0; 32];
    Seed::from_os().unwrap().stream().fill_bytes(&mut bytes);
    println!("the seed of this run: {bytes:?}");
    Seed::from_bytes(bytes)
}

impl World {
    fn new(rlwe: &RlweParams, t: u64) -> Self {
        let params = Params::new(rlwe, t).unwrap();
        let seed = told_seed();
        let secret = SecretKey::generate(rlwe, seed.fork("test: secret", &[]));
        let relin = RelinKey::new(&secret, seed.fork("test: relinearise", &[]));
        Self { params, secret, relin, rng: RefCell::new(seed.fork("test: stream", &[]).stream()) }
    }

    fn seed(&self) -> Seed {
        let mut bytes = [0; 32];
        self.rng.borrow_mut().fill_bytes(&mut bytes);
        Seed::from_bytes(bytes)
    }

    fn words(&self) -> Vec<u64> {
        let t = self.params.t();
        (0..self.params.n()).map(|_| self.rng.borrow_mut().next_u64() % t).collect()
    }

    fn plain(&self, words: &[u64]) -> Plaintext {
        Plaintext::from_coefficients(&self.params, words).unwrap()
    }

    fn encrypt(&self, words: &[u64]) -> Ciphertext {
        let seed = self.seed();
        self.params.encrypt(&self.secret, &self.plain(words), seed).expand(&self.params)
    }

    fn decrypt(&self, ciphertext: &Ciphertext) -> Vec<u64> {
        self.params.decrypt(&self.secret, ciphertext).coefficients().to_vec()
    }
}

/// The product modulo X^N + 1 and t, term by term.
fn negacyclic(t: &PlainModulus, a: &[u64], b: &[u64]) -> Vec<u64> {
    let n = a.len();
    let mut product = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            let (place, term) = ((i + j) % n, t.mul(x, y));
            let term = if i + j < n { term } else { t.neg(term) };
            product[place] = t.add(product[place], term);
        }
    }
    product
}

fn zip(t: &PlainModulus, a: &[u64], b: &[u64], f: impl Fn(&PlainModulus, u64, u64) -> u64) -> Vec<u64> {
    a.iter().zip(b).map(|(&x, &y)| f(t, x, y)).collect()
}

/// The image of coefficients under X to X^g.
fn image(t: &PlainModulus, a: &[u64], g: usize) -> Vec<u64> {
    let n = a.len();
    let mut out = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        let place = i * g % (2 * n);
        out[place % n] = if place < n { x } else { t.neg(x) };
    }
    out
}

/// A batching prime of this many bits.
fn batching(n: usize, bits: u32) -> u64 {
    largest_ntt_prime(bits, 2 * n as u64).unwrap()
}
