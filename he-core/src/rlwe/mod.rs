//! What BFV and CKKS share: parameters, ciphertexts, keys, encryptions of zero, key switching.
//!
//! A ciphertext is a polynomial in the secret s with coefficients in the ring modulo Q_l: c0 + c1 s (+ c2 s^2) is the
//! *phase*, a message in the form that the scheme gives it plus a small error. Schemes add their message to an encryption
//! of zero and read it from the phase; everything between is the same for both and lives here.
//!
//! | room | what |
//! |---|---|
//! | [`params`] | degree, ciphertext primes, special primes; caps and presets |
//! | [`cipher`] | [`Ciphertext`]: two or three parts in NTT form, and its linear operations |
//! | `combine` | sums of many ciphertexts times small whole numbers: [`RlweParams::combine`] |
//! | [`secret`] | [`SecretKey`], and the phase |
//! | [`encrypt`] | zero under the secret key, half of it a seed; zero under the [`PublicKey`] |
//! | [`switch`] | hybrid key switching with several special primes, hoisting |
//! | `wire` | bytes of all of these: `to_bytes`, `from_bytes` |
//! | [`keys`] | relinearisation and Galois keys |
//!
//! Secrets are uniform ternary, errors centred binomial with variance 10.5 ([`crate::sample::ERROR_ETA`]). Semantic
//! security against chosen plaintexts is all there is: who lets others see what a chosen ciphertext decrypts to, or how a
//! decryption fails, gives the key away. A ciphertext that was computed on does not hide what was computed (no circuit
//! privacy) unless it is re-randomised with enough noise.

pub mod cipher;
mod combine;
pub mod encrypt;
pub mod keys;
pub mod params;
pub mod secret;
pub mod switch;
mod wire;

pub use cipher::Ciphertext;
pub use encrypt::{PublicKey, SeededCiphertext};
pub use keys::{GaloisKeys, RelinKey};
pub use params::{RlweLiteral, RlweParams};
pub use secret::SecretKey;
pub use switch::{Decomposed, KeySwitchKey};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire_tests;
