//! CKKS: arithmetic on encrypted vectors of complex or real numbers, to a precision.
//!
//! The scheme of J. H. Cheon, A. Kim, M. Kim, Y. Song, *Homomorphic encryption for arithmetic of approximate numbers*
//! (ASIACRYPT 2017), in residues throughout (J. H. Cheon, K. Han, A. Kim, M. Kim, Y. Song, *A full RNS variant of
//! approximate homomorphic encryption*, SAC 2018). A ciphertext holds N/2 complex numbers, its *slots*, times a
//! *scale*, plus a small noise that is part of the answer: results are right to some bits after the binary point, not
//! exactly.
//!
//! | room | what |
//! |---|---|
//! | [`params`], [`chain`] | [`Params`]: RLWE parameters, a scale, presets; [`Literal`]: chains of primes near a scale |
//! | [`encode`] | values to plaintexts and back; why raw decodings are not for publication |
//! | [`encrypt`] | encryption with either key, decryption |
//! | [`cipher`] | [`Plaintext`], [`Ciphertext`]: sums, constants, products with plaintexts; the rules of scales |
//! | [`evaluate`] | products of ciphertexts, relinearisation, rotations, conjugation |
//! | [`rescale`] | dividing by a prime; bringing ciphertexts to one scale |
//! | [`linear`] | public matrices times encrypted vectors |
//! | [`polynomial`] | polynomials of encrypted numbers, Chebyshev interpolation |
//! | [`sum`] | sums over slots, copies of slots |
//! | [`estimate`], [`precision`] | foretold and measured errors |
//! | [`safe`] | a decoding that may be published |
//! | [`wide`] | slots as integers of up to 126 bits; an encoding in integers |
//! | [`share`] | a ciphertext as additive shares of two parties |
//! | `wire` | bytes of ciphertexts: `to_bytes`, `from_bytes` |
//!
//! ```
//! use he_core::ckks::{Params, PrecisionReport, complex::Complex};
//! use he_core::{Seed, rlwe::{RelinKey, SecretKey}};
//!
//! let params = Params::preset(8192)?;
//! let secret = SecretKey::generate(params.rlwe(), Seed::from_os()?);
//! let relin = RelinKey::new(&secret, Seed::from_os()?);
//!
//! let x: Vec<f64> = (0..params.slots()).map(|i| i as f64 / 4096.0).collect();
//! let ciphertext = params.encrypt(&secret, &params.encode(&x)?, Seed::from_os()?).expand(&params);
//! let square = params.multiply_rescale(&ciphertext, &ciphertext, &relin)?;
//!
//! let answer = params.decode(&params.decrypt(&secret, &square));
//! let expected: Vec<Complex> = x.iter().map(|x| Complex::from(x * x)).collect();
//! assert!(PrecisionReport::new(&expected, &answer)?.worst_error < 1e-6);
//! # Ok::<(), he_core::HeError>(())
//! ```
//!
//! **Security.** Ciphertexts are secure against chosen plaintexts (IND-CPA) and no more. Raw decryptions are secrets:
//! see [`encode`] and [`safe`]. Bootstrapping is not here; nothing stands in its way: it is a [`linear`] transform, a
//! [`polynomial`], and another [`linear`] transform, after residues of the first prime have been extended to more.

pub mod chain;
pub mod cipher;
pub mod complex;
mod embedding;
pub mod encode;
pub mod encrypt;
pub mod estimate;
pub mod evaluate;
mod gauss;
pub mod linear;
pub mod params;
pub mod polynomial;
pub mod precision;
pub mod rescale;
mod residues;
pub mod safe;
pub mod share;
pub mod sum;
pub mod wide;
mod wire;

pub use chain::Literal;
pub use cipher::{Ciphertext, Plaintext, SeededCiphertext};
pub use complex::Complex;
pub use estimate::NoiseEstimate;
pub use linear::{Diagonals, LinearTransform};
pub use params::Params;
pub use polynomial::{Polynomial, PolynomialPlan};
pub use precision::PrecisionReport;
pub use safe::Flooding;
pub use share::Masking;
pub use wide::WideSlots;

#[cfg(test)]
mod tests;
