//! The fixed-point oracle: what the protocol computes, in plaintext.
//!
//! Three forms, all over the graph of a [`Model`](crate::Model):
//!
//! - [`evaluate_exact`], *noise-free*: weights and activations as quantised, every rounding to the nearest, every sign
//!   test right. With each logit comes the largest distance at which the protocol's can lie, propagated value by value
//!   for this very input, and whether all values stay in the ranges in which the activations are right.
//! - [`evaluate_integers`], the same numbers without the bounds, for many images.
//! - [`evaluate_with`], *bit for bit*: given a run's [`Tape`] (the masks and shares that preprocessing fixed, and with
//!   them all noise and the place of every rounding), it gives exactly what the two parties give.
//!
//! Arithmetic, with z a masked value in Z_2^w, ρ the client's share of it, Z = z − ρ, and all else as in [`crate::model`];
//! up_w(v) = round(v·q/2^w), down_k(v) = round(v·2^k/q):
//!
//! | step | formula |
//! |---|---|
//! | slot of a linear layer, one prime | X = up_p(2^(p−w)·z − r mod 2^p), z the sum of the slot's sources, 0 for known zeros |
//! | the same, two primes | X = up_w(Z) + up_w(ρ) − r mod q |
//! | linear | server W·X + server_mask (polynomial mask, bias, known zeros, dither), client's share from the tape |
//! | masked operand of a sum, factor v | up_w(v·Z mod 2^w) at the server, up_w(v·ρ mod 2^w) at the client |
//! | switch | down_k of both shares |
//! | sign test | positive iff floor(y_S/2^h) + floor(y_C/2^h) mod 2^(k−h) is below 2^(k−h−1) |
//! | maximum | b + \[positive(a − b)\]·(a − b), re-shared under the tape's random share |
//! | activation | [`ss_core::activation::ActivationPlan::oracle`] of both shares, plus the private offset |
//!
//! The bit-for-bit form convolves by the definition and rounds by long division; the noise-free one takes the fast
//! convolution, which the tests hold to the definition.

mod exact;
mod function;
pub mod networks;
mod noise;
mod taped;
#[cfg(test)]
mod tests;
mod tournament;

pub use exact::first_largest;
pub use exact::{Exact, evaluate_exact, evaluate_integers};
pub use noise::linear_noise;
pub use taped::{LinearTape, NodeTape, Tape, evaluate_with};

use he_core::Params;

use crate::NnError;
use crate::model::{Manifest, OpSpec};

/// The server's dither has a standard deviation of one unit of the result ring divided by this.
pub const DITHER_UNITS: f64 = 4.0;

/// The integer inputs of one image: `values` as the network takes them, C×H×W.
///
/// # Errors
/// [`NnError::Input`] for a wrong length, [`NnError::Value`] for a value that is not finite or beyond the limit.
pub fn quantize_image(model: &Manifest, values: &[f32]) -> Result<Vec<i64>, NnError> {
    let input = &model.input;
    if values.len() != model.input_len() {
        return Err(NnError::Input { expected: model.input_len(), got: values.len() });
    }
    let check = |(at, &value): (usize, &f32)| {
        let value = f64::from(value);
        if !value.is_finite() || value.abs() > input.limit {
            let what = format!("value {value} at position {at} is outside ±{}", input.limit);
            return Err(NnError::Value { what });
        }
        Ok(input.quantize(value))
    };
    values.iter().enumerate().map(check).collect()
}

/// log2 of the dither's standard deviation, in units of Z_q, for results of k bits.
pub fn dither_log2_sigma(params: &Params, k: u32) -> f64 {
    params.log2_q() - f64::from(k) - DITHER_UNITS.log2()
}

/// Per node the k of its raw result: the finest ring among the activations and the output that it reaches through sums
/// and local maps; the dither is made for it. 0 for masked results and for raw ones that nothing reads. The output's ring
/// has `output_bits` bits if that is given. The manifest must be valid.
pub fn result_bits(manifest: &Manifest, output_bits: Option<u32>) -> Vec<u32> {
    let mut bits = vec![0; manifest.nodes.len()];
    if let Some(output) = bits.get_mut(manifest.output.node as usize) {
        *output = output_bits.unwrap_or(manifest.output.ring_bits);
    }
    for (index, node) in manifest.nodes.iter().enumerate().rev() {
        let wanted = match &node.op {
            OpSpec::Activation(activation) => activation.ring_bits,
            OpSpec::Sum { .. } | OpSpec::Local(_) => bits[index],
            OpSpec::Input { .. } | OpSpec::Linear { .. } => 0,
        };
        for &source in &node.inputs {
            // Masked tensors stay at 0: what makes them takes the bits of its own inputs.
            if is_raw(manifest, source as usize) {
                bits[source as usize] = bits[source as usize].max(wanted);
            }
        }
        if !is_raw(manifest, index) {
            bits[index] = 0;
        }
    }
    bits
}

/// Whether a node of a valid manifest gives a raw tensor.
fn is_raw(manifest: &Manifest, mut node: usize) -> bool {
    loop {
        match &manifest.nodes[node].op {
            OpSpec::Linear { .. } | OpSpec::Sum { .. } => return true,
            OpSpec::Input { .. } | OpSpec::Activation(_) => return false,
            // All inputs of a local map are of one kind, and before it.
            OpSpec::Local(_) => node = manifest.nodes[node].inputs[0] as usize,
        }
    }
}

/// Per linear node the bits of a reply: those of the manifest and, where the output's ring is not the manifest's, as many
/// more or less as the result has, so that the reply's rounding stays the same part of a unit. 0 for other nodes.
pub fn reply_bits(manifest: &Manifest, params: &Params, output_bits: Option<u32>) -> Vec<u32> {
    let (usual, asked) = (result_bits(manifest, None), result_bits(manifest, output_bits));
    let most = (params.log2_q().ceil() as u32 - 1).min(62);
    let of = |(index, node): (usize, &crate::model::NodeSpec)| match node.op {
        OpSpec::Linear { reply_bits, .. } => {
            (asked[index] + reply_bits).saturating_sub(usual[index]).clamp(1, most)
        }
        _ => 0,
    };
    manifest.nodes.iter().enumerate().map(of).collect()
}

/// Per node the index of the last node that reads it (its own where none does): afterwards it can be dropped. The
/// output's is the number of nodes.
pub fn last_reads(manifest: &Manifest) -> Vec<usize> {
    let mut last: Vec<usize> = (0..manifest.nodes.len()).collect();
    for (index, node) in manifest.nodes.iter().enumerate() {
        for &source in &node.inputs {
            last[source as usize] = index;
        }
    }
    if let Some(output) = last.get_mut(manifest.output.node as usize) {
        *output = manifest.nodes.len();
    }
    last
}
