//! The split construction: preprocessing of a linear layer whose heavy half depends on nobody's input.
//!
//! An RLWE ciphertext of a masked input is a pair (a, b). The a-half is public randomness, so the server applies its
//! weights to it once per model; the b-half *is* the masked value that the online stage sends anyway. The project's
//! protocol document, section 3, has the argument; this module has the arithmetic, all in R = Z_q\[X\]/(X^N + 1), limb
//! by limb where q has two primes (an [`crate::RnsPoly`]), with the same small s, u and errors in every limb:
//!
//! | who | when | computes | type |
//! |---|---|---|---|
//! | both | – | a_j and pk_a from a public label | [`Epoch`] to `RnsPoly<Ntt>` |
//! | server | once per model | H = sum_j w_j a_j | [`Hint`] |
//! | client | per bundle, layer and group | s ternary; pk_b = -pk_a s + e | [`ClientSecret`], [`PublicKey`] |
//! | client | per input polynomial | r_j = a_j s + e_j, the input's mask | `RnsPoly<Coeff>` |
//! | server | per output polynomial | u ternary; a' = H + pk_a u + e, its top t bits; M = pk_b u + e' | [`Reply`], [`ServerMask`] |
//! | client | per reply | c = lift(a') s | `RnsPoly<Coeff>` |
//! | server | online, X = x - r received | m = sum_j w_j X_j + M | with `conv-fast` |
//!
//! Then m + c = sum_j w_j x_j - sum_j w_j e_j + e s + rho s + e_pk u + e' modulo q, rho the rounding of the reply: the
//! linear layer plus the small noise that [`crate::noise`] predicts and bounds.
//!
//! **What must hold** for the server to see RLWE samples only, and for the client to see one fresh RLWE sample per
//! reply: a secret serves one layer of one group of images in a bundle and meets each a at most once
//! ([`ClientSecret::mask`]); every seed of [`masked_reply`] is used once, which its type enforces:
//!
//! ```
//! # use he_core::{params::{Params, Profile}, seed::Seed, split::*};
//! # let params = Params::new(Profile::Tiny);
//! # let epoch = Epoch::new([1; 32]);
//! # let mut rng = Seed::from_bytes([2; 32]).stream();
//! # let secret = ClientSecret::generate(&params, &mut rng);
//! # let pk_a = epoch.public_key_a(&params, 0);
//! # let key = secret.public_key(&params, &pk_a, &mut rng);
//! # let hint = Hint::new(&params, &[]);
//! let root = Seed::from_os()?;
//! let first = masked_reply(&params, &hint, &pk_a, &key, 20, root.fork("reply", &[0]))?;
//! let second = masked_reply(&params, &hint, &pk_a, &key, 20, root.fork("reply", &[1]))?;
//! # Ok::<(), he_core::HeError>(())
//! ```
//!
//! ```compile_fail,E0382
//! # use he_core::{params::{Params, Profile}, seed::Seed, split::*};
//! # let params = Params::new(Profile::Tiny);
//! # let epoch = Epoch::new([1; 32]);
//! # let mut rng = Seed::from_bytes([2; 32]).stream();
//! # let secret = ClientSecret::generate(&params, &mut rng);
//! # let pk_a = epoch.public_key_a(&params, 0);
//! # let key = secret.public_key(&params, &pk_a, &mut rng);
//! # let hint = Hint::new(&params, &[]);
//! let seed = Seed::from_os()?.fork("reply", &[0]);
//! let first = masked_reply(&params, &hint, &pk_a, &key, 20, seed)?;
//! let second = masked_reply(&params, &hint, &pk_a, &key, 20, seed)?; // use of moved value: `seed`
//! # Ok::<(), he_core::HeError>(())
//! ```
//!
//! Not promised: anything against parties that deviate (a client that chooses a key of its own liking, a server that
//! sends other replies), and hiding of what the client's own errors e_j do to outputs it sees: that takes a dither of
//! the server's on every output that is used, which whoever builds on this adds to M. [`crate::sample::dither`] draws
//! it, for the used outputs alone as a session does, or through [`ServerMask::add_dither`] for all coefficients at
//! once.

mod client;
mod epoch;
mod hint;
mod reply;
mod server;

pub use client::{ClientSecret, PublicKey};
pub use epoch::Epoch;
pub use hint::Hint;
pub use reply::Reply;
pub use server::{ServerMask, masked_reply};

#[cfg(test)]
mod tests;
