//! The fixed-point oracle: what the protocol computes, in plaintext, slow and obvious.
//!
//! Two forms:
//!
//! - [`evaluate_exact`], *noise-free*: weights and activations as quantised, every rounding to the nearest, every sign
//!   test right. With each logit comes the largest distance at which the protocol's can lie, propagated value by value
//!   for this very input; [`logit_bound`] is the (much wider) figure for the worst of all inputs.
//! - [`evaluate_with`], *bit for bit*: given a run's [`Tape`] (the masks and shares that preprocessing fixed, and with
//!   them all noise and the place of every rounding), it gives exactly what the two parties give.
//!
//! Arithmetic per layer, with D the activation in Z_2^p and all else as in [`crate::model`]:
//!
//! | step | formula |
//! |---|---|
//! | server's input | X = round((D − r mod 2^p)·q/2^p) |
//! | linear | m = W·X + server_mask mod q (server_mask holds its polynomial mask, bias, known zeros, dither) |
//! | switch | y_S = round(m·2^k/q) mod 2^k, y_C from the tape |
//! | sign test | positive iff floor(y_S/2^h) + floor(y_C/2^h) mod 2^(k−h) is below 2^(k−h−1) |
//! | maximum | b + \[positive(a − b)\]·(a − b), re-shared under the tape's random share |
//! | ReLU | \[positive\]·(A + C + 2^k·μγ)·2^j, A and C the signed shares, μ and γ their sign bits |

mod exact;
mod taped;

pub use exact::{Exact, evaluate_exact, logit_bound};
pub use taped::{LayerTape, Tape, evaluate_with};

use crate::NnError;
use crate::model::Manifest;

/// The server's dither has a standard deviation of one unit of the result ring divided by this.
pub const DITHER_UNITS: f64 = 4.0;

/// The integer inputs of one image: `pixels` raw, C×H×W.
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

/// log2 of the dither's standard deviation for results of k bits.
pub fn dither_log2_sigma(q: u64, k: u32) -> f64 {
    (q as f64).log2() - f64::from(k) - DITHER_UNITS.log2()
}
