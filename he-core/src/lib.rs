//! A lattice library from scratch: BFV, CKKS and the split construction, and all that they stand on.
//!
//! This crate is a root of the workspace: it knows nothing of networks, shares or sockets. From the bottom up:
//!
//! | room | what |
//! |---|---|
//! | [`modulus`], [`prime`] | one-word modular arithmetic; primes and their roots of unity |
//! | [`ntt`] | the negacyclic transform, with portable, AVX2 and AVX-512 kernels chosen at run time |
//! | [`poly`], [`rns`] | polynomials whose form (coefficients or values) is part of their type; one per prime of q |
//! | [`seed`], [`sample`] | a labelled tree of seeds; uniform, ternary, centred binomial, dither |
//! | [`security`], [`params`] | caps and estimate; parameter sets that exist only if they were checked |
//! | [`galois`], [`rlwe`] | automorphisms; ciphertexts, keys and key switching of the two schemes, and their bytes |
//! | [`bfv`] | exact arithmetic modulo t on encrypted polynomials or vectors |
//! | [`ckks`] | approximate arithmetic on encrypted complex vectors |
//! | [`switch`], [`basis`], [`wire`] | rounding between Z_q and Z_2^t, for one prime and for all of q; bit packing |
//! | [`split`], [`noise`] | preprocessing of linear layers, and the noise that it adds |
//!
//! `examples/` has numbered chapters for the two schemes, and `split_layer.rs`, one private linear layer from the first
//! label to the checked result.
//!
//! **How a computation goes.** A [`Seed`] is drawn; every object that needs randomness takes one of its children, by value
//! where it must not be used twice. Parameters ([`rlwe::RlweParams`], then [`bfv::Params`] or [`ckks::Params`]) are checked
//! once and shared; all operations are methods of them, of keys, or of ciphertexts. Ciphertexts are kept as values at roots
//! of unity, one [`Poly`] per prime, at a *level*: the number of primes that they live modulo. Products use up room for
//! noise or scale; dropping primes gives back time. Both schemes foretell what is left ([`bfv::NoiseBound`],
//! [`ckks::NoiseEstimate`]) and measure it with the secret key.
//!
//! **Threads.** Operations use the rayon pool that they are called in, limb by limb or ciphertext by ciphertext, and give
//! the same bytes for any number of threads.
//!
//! Randomness is always an argument. Secrets are wiped on drop, print nothing, and steer no branch and no index.
//! Functions panic when the program mixes rings (a mistake in the program); bytes of a peer give a [`HeError`].
//! Semi-honest parties are assumed throughout.

pub mod basis;
pub mod bfv;
pub mod ckks;
#[cfg(test)]
mod constant_time;
pub mod error;
pub mod galois;
#[cfg(test)]
mod known_answers;
pub mod modulus;
pub mod noise;
pub mod ntt;
pub mod params;
pub mod poly;
mod pool;
pub mod prime;
pub mod rlwe;
pub mod rns;
pub mod sample;
mod scratch;
pub mod security;
pub mod seed;
mod simd;
pub mod split;
pub mod switch;
pub mod wire;

pub use error::HeError;
pub use modulus::Modulus;
pub use ntt::{Kernel, NttTable};
pub use params::{Params, Profile};
pub use poly::{Coeff, Ntt, Poly};
pub use rns::RnsPoly;
pub use seed::Seed;

/// The programs of the README, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
#[path = "../tests/vectors/vectors.rs"]
mod vectors;

#[cfg(test)]
#[path = "../tests/vectors/schemes.rs"]
mod schemes;
