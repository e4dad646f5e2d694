//! The session: channels, handshake, preprocessing, online inference, one-time material.
//!
//! This crate composes the layers below it into the protocol of `docs/protocol.md`; it is the only one that talks
//! to a peer or a disk.
//!
//! | room | what |
//! |---|---|
//! | [`channel`] | counted frames over TCP or memory, deadlines |
//! | [`handshake`] | version, model, output, methods: fit or refuse |
//! | [`link`] | what the connection is like, measured |
//! | [`plan`] | one lowered walk for both parties |
//! | [`raw`] | shares of raw tensors |
//! | [`encrypted`] | inference on ciphertexts alone |
//! | [`float`] | **insecure**: inference on floating-point shares, for comparisons |
//! | [`offline`] | the preprocessing stage |
//! | [`online`] | the online stage |
//! | [`transfers`] | a session's oblivious transfers, either kind of extension |
//! | [`steps`] | activations over a channel, in chunks |
//! | [`session`] | client and server, states as types |
//! | [`serve`] | many clients |
//! | [`slots`] | tensors and linear layers on the slots of CKKS ciphertexts |
//! | [`store`] | a client's prepared bundles on disk, each usable once |
//! | [`rounds`] | round trips or bytes, step by step |
//! | [`report`] | seconds, bytes, rounds, by layer |
//! | [`testing`] | in-process sessions, and the oracle's tape from recorded seeds |

#![forbid(unsafe_code)]

pub mod channel;
pub mod encrypted;
pub mod error;
#[cfg(test)]
mod fixtures;
pub mod float;
pub mod handshake;
pub mod link;
pub mod offline;
pub mod online;
pub mod plan;
pub mod raw;
pub mod report;
pub mod rounds;
pub mod serve;
pub mod session;
pub mod slots;
pub mod steps;
pub mod store;
pub mod testing;
pub mod transfers;
mod walk;

/// What a program on top needs of the lattice layer: parameters to show, seeds to give.
pub use he_core::{Params, Profile, Seed};

pub use error::{PeerFault, ProtocolError, Refusal, RefusalCode};
pub use float::Arithmetic;
pub use handshake::{Methods, TransferKind};
pub use link::{LinkEstimate, Rounds};
pub use offline::construction::Preprocessing;
pub use online::Output;
pub use plan::{OutputMode, Plan};
pub use rounds::RoundChoice;
pub use session::{Client, ClientOptions, Policy, Server};
/// The assumption behind the base transfers, part of a session's terms.
pub use ss_core::ot::BaseKind;

/// The programs of the README, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
