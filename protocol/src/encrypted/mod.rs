//! Inference on ciphertexts alone: one round trip, nothing but a homomorphic scheme (levelled CKKS).
//!
//! The client sends its images encrypted, and keys to compute with; the server evaluates the whole merged network on
//! them and sends encrypted logits back; the client decrypts and takes the label. Nothing is prepared ahead of the
//! images and nothing is said between. It needs a network of linear maps and squares
//! ([`Network`] says which part of another one is in the way).
//!
//! | | [`Mode::Single`] | [`Mode::Batch`] |
//! |---|---|---|
//! | in the manner of | A. Brutzkus, R. Gilad-Bachrach, O. Elisha, *Low latency privacy preserving inference*, ICML 2019; multiplexed packing | R. Gilad-Bachrach et al., *CryptoNets*, ICML 2016 |
//! | a ciphertext holds | the whole image, [`crate::slots`] | one pixel of up to N/2 images |
//! | linear maps | diagonals, rotations ([`he_core::ckks::linear`]) | sums of ciphertexts times whole numbers ([`he_core::rlwe`]) |
//! | keys | relinearisation and rotations, some 100 MB | relinearisation |
//! | good for | one image | thousands |
//!
//! | room | what |
//! |---|---|
//! | [`chain`] | the manifest as a chain, or the layer that is in the way |
//! | [`network`] | [`Network`]: the model as linear maps and squares over the reals; its shapes alone, for the client |
//! | [`plan`] | [`Plan`]: parameters, layouts, steps of rotations, sizes of messages; both parties make the same one |
//! | [`single`], [`batch`] | the server's evaluators |
//! | [`client`] | keys, encryption, decryption |
//! | [`hide`] | what is added to the last ciphertext before it leaves |
//! | [`session`] | the messages, and their checks |
//!
//! # What it hides
//! The server sees RLWE samples: nothing of images, logits or labels. The client gets **logits**, in the precision that
//! [`hide`] leaves, whatever the server's output policy is for the other mode: there is no label without them here. The
//! module says what they tell about the weights, which is more than nothing: the scheme is not circuit-private.
//! The architecture is public, as everywhere in this project.

pub mod batch;
pub mod chain;
pub mod client;
pub mod hide;
pub mod network;
pub mod plan;
pub mod session;
pub mod single;

pub use client::{ClientKeys, Decrypted};
pub use network::Network;
pub use plan::{Mode, Plan};
pub use session::{Encrypted, Timings};

#[cfg(test)]
mod tests;
