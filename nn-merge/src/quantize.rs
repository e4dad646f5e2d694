//! Quantisation: real layers and bounds into torus arithmetic.
//!
//! Per layer, with B the bound on its real outputs, p, k the widths, `units` integers per real unit of its input, and
//! Dw the weights' scale (see the table in [`model`](crate::model)):
//!
//! - everywhere `units · Dw · 2B = 2^p`, so that the integer sum Σ w·D modulo 2^p, read as a torus value, is the real
//!   output divided by 2B;
//! - the first layer's `units` are free: Dw is chosen for the wanted bits of the largest weight, `units` follow;
//! - later layers receive `relu(y) << j`: `units' = 2^(k+j)/(2B)`, hence `Dw' = 2^(p'−k−j)·B/B'`, and j is the smallest
//!   shift (0 ≤ j ≤ p' − k) that brings the largest weight to the wanted bits. If even j = 0 leaves it smaller, weights
//!   have fewer bits than wanted, which the report shows.
//!
//! A layer with max-pooling compares differences of two outputs, and so does the arg-max of a last layer with several
//! outputs; these need one bit more, so B comes doubled there.

use crate::error::NnError;
use crate::lower::ChainLayer;
use crate::model::{LayerWeights, ProfileLimits, WEIGHT_BOUND};

/// The widths that a build uses: the profile's defaults with the caller's overrides applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Widths {
    pub(crate) masked: u32,
    pub(crate) ring: u32,
    pub(crate) last_ring: u32,
    pub(crate) ignored: u32,
    pub(crate) weight: u32,
}

/// The numbers chosen for one layer.
pub(crate) struct Quantized {
    pub(crate) weights: LayerWeights,
    /// Integers per real unit of the layer's input.
    pub(crate) units: f64,
    /// j of the activation before this layer (0 for the first).
    pub(crate) shift: u32,
    /// log2 of the largest |w|, rounded up.
    pub(crate) weight_bits: u32,
}

/// Bias in units of the torus: 2^62 is one turn.
const TURN: f64 = (1u64 << 62) as f64;

/// Chooses scales and rounds every layer; `bounds` are the B, `limit` the largest |input| accepted.
pub(crate) fn quantize(
    layers: &[ChainLayer],
    bounds: &[f64],
    limit: f64,
    widths: &Widths,
) -> Result<Vec<Quantized>, NnError> {
    let p = 2f64.powi(widths.masked as i32);
    let wanted = 2f64.powi(widths.weight as i32) - 1.0;
    let mut out: Vec<Quantized> = Vec::with_capacity(layers.len());
    let mut previous: Option<f64> = None;
    for (layer, &bound) in layers.iter().zip(bounds) {
        let largest = layer.linear.weights.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        let (scale, units, shift) = match previous {
            None => {
                // Accepted inputs must fit p bits: limit · units < 2^(p−1), that is Dw > limit / B.
                let least = limit / bound * (1.0 + 1e-6) + 4.0 / p;
                let scale = if largest > 0.0 { wanted / largest } else { 1.0 }.max(least);
                (scale, p / (2.0 * bound * scale), 0)
            }
            Some(before) => {
                let room = widths.masked - widths.ring;
                let base = 2f64.powi(room as i32) * before / bound;
                let excess = if largest > 0.0 { (base * largest / wanted).log2().ceil() } else { 0.0 };
                let shift = excess.clamp(0.0, f64::from(room)) as u32;
                let units = 2f64.powi((widths.ring + shift) as i32) / (2.0 * before);
                (base / 2f64.powi(shift as i32), units, shift)
            }
        };
        let (weights, weight_bits) = round_layer(layer, scale, bound, largest)?;
        out.push(Quantized { weights, units, shift, weight_bits });
        previous = Some(bound);
    }
    Ok(out)
}

fn round_layer(
    layer: &ChainLayer,
    scale: f64,
    bound: f64,
    largest: f64,
) -> Result<(LayerWeights, u32), NnError> {
    let top = (largest * scale).round();
    if top.is_nan() || top >= f64::from(WEIGHT_BOUND) {
        return Err(NnError::quantize(
            &layer.name,
            format!(
                "its largest weight would need {:.1} bits, more than 20; narrow the masked width",
                top.log2()
            ),
        ));
    }
    if largest > 0.0 && top < 2.0 {
        return Err(NnError::quantize(
            &layer.name,
            "its weights would have less than two bits; use a wider profile or a smaller margin",
        ));
    }
    let weights = layer.linear.weights.iter().map(|w| (w * scale).round() as i32).collect();
    let bias = layer
        .linear
        .bias
        .iter()
        .map(|b| {
            let turns = b / (2.0 * bound);
            ((turns - turns.round()) * TURN).round() as i64
        })
        .collect();
    let weight_bits = (top.max(1.0)).log2().ceil() as u32;
    Ok((LayerWeights { weights, bias }, weight_bits))
}

impl Widths {
    /// Checks widths against a profile: the same ranges that a manifest is held to, reported by option.
    pub(crate) fn check(&self, limits: &ProfileLimits) -> Result<(), NnError> {
        let top = limits.modulus_bits - 1;
        let rules = [
            ("masked width p", self.masked, 8, top),
            ("ring width k", self.ring, 6, 24.min(top - 6).min(self.masked)),
            ("last ring width", self.last_ring, 6, 24.min(top - 6)),
            // The sign test compares 2 to 16 bits below the sign.
            ("ignored bits h", self.ignored, self.ring.saturating_sub(17), self.ring.saturating_sub(3)),
            ("weight bits", self.weight, 2, 19),
        ];
        match rules.iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
            None => Ok(()),
            Some((what, value, low, high)) => {
                Err(NnError::quantize(what, format!("{value} is not in {low}..={high} for this profile")))
            }
        }
    }
}
