//! The construction `ckks`: encrypted masks in slots, matrix–vector products by rotations.
//!
//! It is not built in yet: a plan for it is refused. Its types have no values, so nothing that needs one can be called.

use conv_fast::PackingCost;
use he_core::Params;
use he_core::seed::Seed;
use nn_merge::model::Manifest;

use super::{RingFacts, SlotMasks};
use crate::error::ProtocolError;
use crate::offline::rho::Rho;
use crate::plan::{LinearPlan, Plan};
use crate::raw::Raw;

/// The ring.
#[derive(Debug)]
pub enum Scheme {}
/// The client's keys of a session.
#[derive(Debug)]
pub enum ClientKeys {}
/// The server's part of them.
#[derive(Debug)]
pub enum ServerKeys {}
/// The prepared matrix of a layer.
#[derive(Debug)]
pub enum Matrix {}
/// What the client keeps until the reply.
#[derive(Debug)]
pub enum ClientLayer {}

impl Scheme {
    /// The ring for a network.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`], always.
    pub fn new(_params: &Params, _manifest: &Manifest) -> Result<Self, ProtocolError> {
        Err(ProtocolError::Caller("the preprocessing `ckks` is not built in yet: take split or bfv".into()))
    }

    /// The figures of the ring.
    #[must_use]
    pub fn facts(&self) -> RingFacts {
        match *self {}
    }

    /// The ring degree and costs by which a layer is laid out for the online convolution.
    #[must_use]
    pub fn packing(&self) -> (usize, PackingCost) {
        match *self {}
    }

    /// Bytes of the client's message per session.
    #[must_use]
    pub fn setup_bytes(&self) -> usize {
        match *self {}
    }
}

/// Client: its keys and the message with their public part.
pub fn client_setup(scheme: &Scheme, _seed: &Seed) -> (Vec<u8>, ClientKeys) {
    match *scheme {}
}

/// Server: reads that message, of [`Scheme::setup_bytes`].
///
/// # Errors
/// [`ProtocolError::Peer`] for keys that do not decode.
pub fn server_setup(scheme: &Scheme, _message: &[u8]) -> Result<ServerKeys, ProtocolError> {
    match *scheme {}
}

/// Bytes of the client's message for a layer.
pub fn keys_bytes(_plan: &Plan, scheme: &Scheme, _layer: &LinearPlan) -> usize {
    match *scheme {}
}

/// Bytes of the reply.
pub fn replies_bytes(_plan: &Plan, scheme: &Scheme, _layer: &LinearPlan) -> usize {
    match *scheme {}
}

/// Client: its message for a layer, what it keeps, the masks of the slots.
///
/// # Errors
/// [`ProtocolError::Caller`] where the layer does not fit.
pub fn client_keys(
    _plan: &Plan,
    scheme: &Scheme,
    _layer: &LinearPlan,
    _keys: &ClientKeys,
    _seed: &Seed,
    _rho: &Rho,
) -> Result<(Vec<u8>, ClientLayer, SlotMasks), ProtocolError> {
    match *scheme {}
}

/// Client: its share of W·r in Z_q, images × elements.
///
/// # Errors
/// [`ProtocolError::Peer`] for a reply that does not decode.
pub fn client_open(
    _plan: &Plan,
    scheme: &Scheme,
    _layer: &LinearPlan,
    _keys: &ClientKeys,
    _own: ClientLayer,
    _replies: &[u8],
) -> Result<Raw, ProtocolError> {
    match *scheme {}
}

impl Matrix {
    /// Prepares a layer once per model and layout.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a layer beyond the limits of the construction.
    pub fn new(
        _plan: &Plan,
        scheme: &Scheme,
        _layer: &LinearPlan,
        _weights: &[i32],
    ) -> Result<Self, ProtocolError> {
        match *scheme {}
    }
}

/// Server: the reply and its own share of W·r in Z_q, images × elements; bias and dither are added by the caller.
///
/// # Errors
/// [`ProtocolError::Peer`] for a message that does not decode.
pub fn server_reply(
    _plan: &Plan,
    scheme: &Scheme,
    _layer: &LinearPlan,
    _matrix: &Matrix,
    _keys: &ServerKeys,
    _message: &[u8],
    _seed: &Seed,
) -> Result<(Vec<u8>, Raw), ProtocolError> {
    match *scheme {}
}
