//! The construction `split`: the a-halves of the ciphertexts are public randomness, so all products with weights are done
//! before any client exists.
//!
//! | room | what |
//! |---|---|
//! | `client` | keys, known zeros, deltas; opening of replies |
//! | `server` | hints, replies, the server's mask |
//!
//! See `docs/protocol.md` for the construction, [`he_core::split`] for its algebra.

mod client;
mod server;

use conv_fast::PackingCost;
use he_core::Params;

use super::Operations;
use crate::plan::LinearPlan;

pub use client::{ClientLayer, client_keys, client_open, keys_bytes, replies_bytes};
pub use server::{Deltas, LayerHints, ZeroProducts, server_reply};

/// The ring degree and what the parts of a layout cost.
pub(super) fn packing(params: &Params, masked_bits: Option<u32>, reply_bits: u32) -> (usize, PackingCost) {
    let key_bits: u32 = params.moduli().iter().map(he_core::Modulus::bits).sum();
    let cost = PackingCost {
        reply_bits,
        zero_bits: masked_bits.unwrap_or(key_bits),
        key_bits: params.n() as u64 * u64::from(key_bits),
        input_bits: 0,
        joining: None,
    };
    (params.n(), cost)
}

/// The server's operations for one layer of one bundle: per reply the client's key pair times a fresh polynomial, and the
/// hint.
pub(super) fn operations(layer: &LinearPlan) -> Operations {
    let replies = layer.packing().output_polys();
    Operations { products: replies, additions: replies, sent: replies, received: 1, ..Operations::default() }
        .times(layer.groups)
}
