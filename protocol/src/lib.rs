//! The session: channels, handshake, preprocessing, online inference, one-time material.
//!
//! This crate composes the layers below it into the protocol of `docs/protocol.md`; it is the only one that talks
//! to a peer or a disk.
//!
//! | room | what |
//! |---|---|
//! | [`channel`] | counted frames over TCP or memory, deadlines |
//! | [`handshake`] | version, model, output: fit or refuse |
//! | [`plan`] | one lowered walk for both parties |
//! | [`offline`] | the preprocessing stage |
//! | [`online`] | the online stage |
//! | [`session`] | client and server, states as types |
//! | [`serve`] | many clients |
//! | [`store`] | a client's prepared bundles on disk, each usable once |
//! | [`report`] | seconds, bytes, rounds, by layer |
//! | [`testing`] | in-process sessions, and the oracle's tape from recorded seeds |

#![forbid(unsafe_code)]

pub mod channel;
pub mod error;
pub mod handshake;
pub mod offline;
pub mod online;
pub mod plan;
pub mod report;
pub mod serve;
pub mod session;
pub mod store;
pub mod testing;

/// What a program on top needs of the lattice layer: parameters to show, seeds to give.
pub use he_core::{Params, Profile, Seed};

pub use error::{PeerFault, ProtocolError, Refusal, RefusalCode};
pub use online::Output;
pub use plan::{OutputMode, Plan};
pub use session::{Client, Policy, Server};
