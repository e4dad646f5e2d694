//! The parameters in force for a model: the lattice, and the bytes of every linear layer's preprocessing.
//!
//! What the client knows of the noise, and the dither that hides it, is computed by [`nn_merge::noise`].

use nn_merge::model::Manifest;
use nn_merge::noise::{NodeNoise, noise_report};
use nn_merge::{Model, NnError};
use protocol::offline::construction::{RingFacts, Scheme, keys_bytes, replies_bytes};
use protocol::{OutputMode, Params, Plan, Preprocessing, RoundChoice};
use serde::Serialize;

use crate::error::Failure;

/// Below this the dither hides too little for outputs that an attacker can choose freely.
pub(super) const SMALL_RATIO: f64 = 256.0;

/// Lattice parameters of a model.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Lattice {
    /// The profile.
    pub(super) profile: String,
    /// N.
    pub(super) ring_degree: usize,
    /// The primes of q.
    pub(super) moduli: Vec<u64>,
    /// log2 q.
    pub(super) log2_q: f64,
    /// log2 of the cost of the best known attack on the lattice problem.
    pub(super) security_bits: f64,
}

/// The construction of the linear layers' preprocessing.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Construction {
    /// Its name.
    pub(super) name: Preprocessing,
    /// Bytes of the client's keys, once per session.
    pub(super) session_key_bytes: usize,
    /// The ring of its ciphertexts, where it is not the profile's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ring: Option<RingFacts>,
}

/// Bytes of one layer's preprocessing messages.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Messages {
    /// Keys, masks of known zeros and differences, or encryptions: client to server.
    pub(super) key_bytes: usize,
    /// Masked replies, server to client.
    pub(super) reply_bytes: usize,
}

/// The parameters that a manifest's profile fixes.
pub(super) fn lattice(manifest: &Manifest) -> Lattice {
    let params = Params::new(manifest.profile);
    Lattice {
        profile: manifest.profile.to_string(),
        ring_degree: params.n(),
        moduli: params.moduli().iter().map(|q| q.value()).collect(),
        log2_q: params.log2_q(),
        security_bits: params.security_bits(),
    }
}

/// The modulus by its primes.
pub(super) fn primes(moduli: &[u64]) -> String {
    moduli.iter().map(u64::to_string).collect::<Vec<_>>().join("·")
}

/// The noise of every linear layer, with the output's result in `output_bits` bits (`None`: as in label mode).
///
/// # Errors
/// [`NnError`] for a manifest that is not valid.
pub(super) fn noise(model: &Model, plan: &Plan, output_bits: Option<u32>) -> Result<Vec<NodeNoise>, NnError> {
    let sharing = |node: usize| {
        let layer = plan.layers().iter().find(|layer| layer.node == node);
        layer.map_or(1, |layer| layer.packing().layout().outputs)
    };
    noise_report(model, output_bits, sharing)
}

/// What both parties do for a bundle of `images` of which the client gets the best `labels` labels.
///
/// # Errors
/// [`Failure::Unservable`] for a manifest that can't be planned.
pub(super) fn plan(
    manifest: &Manifest,
    images: usize,
    labels: u32,
    rounds: RoundChoice,
    preprocessing: Preprocessing,
) -> Result<Plan, Failure> {
    let mode = if labels > 1 { OutputMode::Top { labels } } else { OutputMode::Label };
    Plan::with_preprocessing(manifest, images, mode, rounds, preprocessing).map_err(Failure::Unservable)
}

/// The construction of the preprocessing in force and, where it has one, its own ring.
pub(super) fn construction(plan: &Plan) -> Construction {
    let ring = match plan.scheme() {
        Scheme::Split => None,
        Scheme::Bfv(scheme) => Some(scheme.facts()),
        Scheme::Ckks(scheme) => Some(scheme.facts()),
    };
    Construction { name: plan.preprocessing(), session_key_bytes: plan.scheme().setup_bytes(), ring }
}

/// Messages of every layer of a plan.
pub(super) fn messages(plan: &Plan) -> Vec<Messages> {
    plan.layers()
        .iter()
        .map(|layer| Messages { key_bytes: keys_bytes(plan, layer), reply_bytes: replies_bytes(plan, layer) })
        .collect()
}
