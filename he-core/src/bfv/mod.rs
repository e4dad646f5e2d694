//! BFV: exact arithmetic modulo t on encrypted polynomials or vectors of N slots.
//!
//! Scale-invariant homomorphic encryption (Z. Brakerski, *Fully homomorphic encryption without modulus switching from
//! classical GapSVP*, CRYPTO 2012; J. Fan, F. Vercauteren, *Somewhat practical fully homomorphic encryption*, ePrint
//! 2012/144), in residues throughout (S. Halevi, Y. Polyakov, V. Shoup, *An improved RNS variant of the BFV homomorphic
//! encryption scheme*, CT-RSA 2019), over the ciphertexts, keys and key switching of [`crate::rlwe`].
//!
//! | room | what |
//! |---|---|
//! | [`params`], [`modulus`] | a ring and a plaintext modulus t (prime, power of two, composite; to 2^60); presets |
//! | [`plaintext`], [`encode`] | polynomials modulo t; N slots modulo a batching prime |
//! | [`encrypt`] | under the secret key (half of the bytes) and the public key; decryption; re-randomisation |
//! | [`cipher`] | sums, plaintext sums and products; wire forms |
//! | [`multiply`] | products of ciphertexts |
//! | [`evaluate`] | relinearisation, rotations, many at once, modulus switching |
//! | [`lwe`], [`pack`] | single coefficients as LWE ciphertexts, and many of those in one ciphertext again |
//! | [`share`] | linear combinations of ciphertexts as additive shares of two parties |
//! | [`noise`], [`budget`] | bounds without keys; what is left, measured with the secret key |
//!
//! ```
//! use he_core::bfv::{BatchEncoder, Params};
//! use he_core::rlwe::{RelinKey, SecretKey};
//! use he_core::Seed;
//!
//! let params = Params::preset(4096)?;
//! let encoder = BatchEncoder::new(&params)?;
//! let secret = SecretKey::generate(params.rlwe(), Seed::from_os()?);
//! let relin = RelinKey::new(&secret, Seed::from_os()?);
//!
//! let x = params.encrypt(&secret, &encoder.encode_signed(&[1, -2, 3])?, Seed::from_os()?).expand(&params);
//! let y = params.encrypt(&secret, &encoder.encode_signed(&[10, 20, 30])?, Seed::from_os()?).expand(&params);
//! let product = params.relinearise(params.multiply(&x, &y)?, &relin);
//! let slots = encoder.decode_signed(&params.decrypt(&secret, &product));
//! assert_eq!(slots[..4], [10, -40, 90, 0]);
//! # Ok::<(), he_core::HeError>(())
//! ```
//!
//! **What is not promised.** Security is against chosen plaintexts: nobody may learn how a chosen ciphertext decrypts, or
//! whether it does. A result does not hide the computation unless it is re-randomised with enough noise
//! ([`Params::rerandomise`]). Which operations were done, on which levels, is public.

pub mod budget;
pub mod cipher;
pub mod encode;
pub mod encrypt;
pub mod evaluate;
mod lift;
pub mod lwe;
pub mod modulus;
pub mod multiply;
pub mod noise;
pub mod pack;
pub mod params;
pub mod plaintext;
pub mod share;
mod wire;

pub use cipher::{Ciphertext, SeededCiphertext, dot_plain};
pub use encode::BatchEncoder;
pub use evaluate::Turn;
pub use lwe::LweCiphertext;
pub use modulus::PlainModulus;
pub use noise::NoiseBound;
pub use params::Params;
pub use plaintext::{Plaintext, PreparedPlaintext, ScaledPlaintext};
pub use share::ShareRing;

#[cfg(test)]
mod tests;

/// The results of independent pieces of work, on several threads where there are some; the same for any number.
fn each<T: Send, I: Sync>(items: &[I], work: impl Fn(&I) -> T + Sync + Send) -> Vec<T> {
    use rayon::prelude::*;
    if items.len() > 1 && rayon::current_num_threads() > 1 {
        return items.par_iter().map(work).collect();
    }
    items.iter().map(work).collect()
}
