//! The security parameters in force for a model, in figures.
//!
//! Per linear layer, in units of Z_q. Outputs that share a polynomial share its errors, so ‖w‖ is the Euclidean norm of
//! the weights of as many outputs as share one, the largest of the layer:
//!
//! | figure | formula |
//! |---|---|
//! | what the client knows of the noise, standard deviation | ‖w‖·sqrt(η/2 + ((q/2^p)² + 1)/12): its own errors through the weights, and what it rounds off |
//! | the server's dither, standard deviation | a quarter unit of Z_2^k, from [`dither_log2_sigma`] |
//! | ratio | dither / known |
//! | queries | ratio²: how many answers average the dither away |
//!
//! Source: `docs/security.md`, section on what the noise gives away. The number of queries is a stated figure for the
//! known regression attack, not a proof.

use nn_merge::fixed_point::dither_log2_sigma;
use nn_merge::model::{LayerSpec, LayerWeights, Manifest, Model};
use protocol::offline::linear::{keys_bytes, replies_bytes};
use protocol::plan::LayerPlan;
use protocol::{OutputMode, Params, Plan, RoundChoice};
use serde::Serialize;

use crate::error::Failure;

/// Variance of one error coefficient, centred binomial with η = 21.
const ERROR_VARIANCE: f64 = 21.0 / 2.0;

/// Below this the dither hides too little for outputs that an attacker can choose freely.
pub(super) const SMALL_RATIO: f64 = 256.0;

/// Lattice parameters of a model.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Lattice {
    /// The profile.
    pub(super) profile: String,
    /// N.
    pub(super) ring_degree: usize,
    /// q.
    pub(super) modulus: u64,
    /// log2 q.
    pub(super) log2_q: f64,
    /// log2 of the cost of the best known attack on the lattice problem.
    pub(super) security_bits: f64,
}

/// The noise of one layer's outputs, in units of Z_q.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Noise {
    /// k of the result.
    pub(super) result_bits: u32,
    /// Standard deviation of what the client knows.
    pub(super) known: f64,
    /// Standard deviation of the server's dither.
    pub(super) dither: f64,
    /// dither / known.
    pub(super) ratio: f64,
    /// log2 of ratio².
    pub(super) log2_queries: f64,
}

/// Bytes of one layer's preprocessing messages.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Messages {
    /// Keys and masks of known zeros, client to server.
    pub(super) key_bytes: usize,
    /// Masked replies, server to client.
    pub(super) reply_bytes: usize,
}

/// The parameters that a manifest's profile fixes.
pub(super) fn lattice(manifest: &Manifest) -> Lattice {
    let params = Params::new(manifest.profile);
    let modulus = params.modulus().value();
    Lattice {
        profile: manifest.profile.to_string(),
        ring_degree: params.n(),
        modulus,
        log2_q: (modulus as f64).log2(),
        security_bits: params.security_bits(),
    }
}

/// The noise of every layer, with the last layer's result in `last_bits` bits (`None`: as in label mode).
pub(super) fn noise(model: &Model, plan: &Plan, last_bits: Option<u32>) -> Vec<Noise> {
    let modulus = plan.params().modulus().value();
    let layer = |((spec, own), planned): ((&LayerSpec, &LayerWeights), &LayerPlan)| {
        let bits = match spec.activation {
            None => last_bits.unwrap_or(spec.ring_bits),
            Some(_) => spec.ring_bits,
        };
        let known = known_deviation(
            largest_norm(spec, own, planned.packing.layout().outputs),
            modulus,
            spec.masked_bits,
        );
        let dither = dither_log2_sigma(modulus, bits).exp2();
        // A layer without weights leaks nothing; it must not divide by zero.
        let ratio = dither / known.max(f64::MIN_POSITIVE);
        Noise { result_bits: bits, known, dither, ratio, log2_queries: 2.0 * ratio.log2() }
    };
    model.manifest.layers.iter().zip(&model.layers).zip(plan.layers()).map(layer).collect()
}

/// The least ratio of all layers.
pub(super) fn least_ratio(noise: &[Noise]) -> f64 {
    noise.iter().map(|layer| layer.ratio).fold(f64::INFINITY, f64::min)
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
) -> Result<Plan, Failure> {
    let mode = if labels > 1 { OutputMode::Top { labels } } else { OutputMode::Label };
    Plan::with_rounds(manifest, images, mode, rounds).map_err(Failure::Unservable)
}

/// Messages of every layer of a plan.
pub(super) fn messages(plan: &Plan) -> Vec<Messages> {
    plan.layers()
        .iter()
        .map(|layer| Messages { key_bytes: keys_bytes(plan, layer), reply_bytes: replies_bytes(plan, layer) })
        .collect()
}

fn known_deviation(norm: f64, modulus: u64, masked_bits: u32) -> f64 {
    let step = modulus as f64 / f64::from(masked_bits).exp2();
    norm * (ERROR_VARIANCE + (step * step + 1.0) / 12.0).sqrt()
}

/// Largest Euclidean norm of the weights of `sharing` outputs together.
fn largest_norm(spec: &LayerSpec, own: &LayerWeights, sharing: usize) -> f64 {
    let row = (spec.geometry.weights_len() / spec.geometry.shape().out_channels.max(1)).max(1);
    let square = |weights: &[i32]| weights.iter().map(|&w| f64::from(w) * f64::from(w)).sum::<f64>();
    let mut squares: Vec<f64> = own.weights.chunks(row).map(square).collect();
    squares.sort_by(|a, b| b.total_cmp(a));
    squares.iter().take(sharing.max(1)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_wide_layer() {
        // q just under 2^50, p = 46: a step of 16 units; 400 weights of 12 bits.
        let modulus = 1_125_899_906_826_241;
        let known = known_deviation(20.0 * 2048.0, modulus, 46);
        assert!((known / (20.0 * 2048.0) - (10.5f64 + 257.0 / 12.0).sqrt()).abs() < 1e-3);
        let dither = dither_log2_sigma(modulus, 18).exp2();
        assert!((dither.log2() - 30.0).abs() < 1e-6);
        // The protocol document: some 2^14 times, hence 2^28 queries.
        let ratio = (dither / known).log2();
        assert!((11.0..16.0).contains(&ratio), "{ratio}");
    }
}
