//! The invariants of a manifest, checked once, on building, on loading and on receipt from a peer.
//!
//! Everything later (planning, allocation, indexing) relies on them, so a manifest that passes
//! [`Manifest::validate`] can be used without further checks. With `b` = bits of the profile's modulus:
//!
//! | quantity | range | why |
//! |---|---|---|
//! | p | 8 ..= b−1 | activations must fit below q |
//! | k | 6 ..= 24 | activation protocols are built for rings of at most 24 bits |
//! | t | k+6 ..= b−1 | the switch error stays near one unit of Z_2^k |
//! | h | k−17 ..= k−6, from 0 | the sign test compares 5 to 16 bits below the sign |
//! | j | k + j ≤ p of the next layer | `relu(y) << j` stays positive in Z_2^p |
//! | units · limit | < 2^(p−1) | an accepted input cannot wrap |

use he_core::Profile;
use ss_core::compare::Comparison;

use super::{ActivationSpec, InputSpec, LayerSpec, LayerWeights, Manifest, Model};
use crate::error::NnError;

/// Most layers of a model.
const MAX_LAYERS: usize = 1024;
/// Longest name, in bytes.
const MAX_NAME: usize = 512;
/// Most outputs of the last layer.
const MAX_CLASSES: usize = 1 << 20;
/// Most weights of the whole model.
pub(super) const MAX_WEIGHTS: u64 = 1 << 28;
/// Bound on a weight's absolute value.
pub(crate) const WEIGHT_BOUND: i32 = 1 << 20;
/// Bound on a bias: half the torus in units of 2^-62.
pub(crate) const BIAS_BOUND: i64 = 1 << 61;

/// The numbers that a profile fixes for quantisation, with the defaults used when nothing else is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileLimits {
    /// Bits of the modulus q (q < 2^modulus_bits).
    pub modulus_bits: u32,
    /// p, default width of masked activations.
    pub masked_bits: u32,
    /// k, default width of hidden layers' outputs.
    pub ring_bits: u32,
    /// k of the last layer.
    pub last_ring_bits: u32,
    /// h, default number of bits ignored by the sign test.
    pub ignored_bits: u32,
    /// Wanted bits of the largest weight: max |w| lies in (2^(b−1), 2^b].
    pub weight_bits: u32,
}

/// The limits and defaults of a profile.
pub fn limits(profile: Profile) -> ProfileLimits {
    match profile {
        Profile::Tiny => ProfileLimits {
            modulus_bits: 26,
            masked_bits: 22,
            ring_bits: 14,
            last_ring_bits: 14,
            ignored_bits: 3,
            weight_bits: 8,
        },
        Profile::Narrow => ProfileLimits {
            modulus_bits: 32,
            masked_bits: 28,
            ring_bits: 16,
            last_ring_bits: 16,
            ignored_bits: 4,
            weight_bits: 12,
        },
        Profile::Wide => ProfileLimits {
            modulus_bits: 50,
            masked_bits: 46,
            ring_bits: 18,
            last_ring_bits: 18,
            ignored_bits: 6,
            weight_bits: 12,
        },
    }
}

impl Manifest {
    /// Checks every invariant of the table above and that the layers' shapes chain.
    ///
    /// # Errors
    /// [`NnError::Manifest`] naming the first invariant that is broken.
    pub fn validate(&self) -> Result<(), NnError> {
        let limits = limits(self.profile);
        if self.name.len() > MAX_NAME {
            return Err(NnError::manifest(format!(
                "its name has {} bytes, more than {MAX_NAME}",
                self.name.len()
            )));
        }
        if self.layers.is_empty() || self.layers.len() > MAX_LAYERS {
            return Err(NnError::manifest(format!("{} layers, wanted 1 to {MAX_LAYERS}", self.layers.len())));
        }
        let mut weights = 0u64;
        for (index, layer) in self.layers.iter().enumerate() {
            weights = weights.saturating_add(layer.geometry.weights_len() as u64);
            check_layer(index, layer, self.layers.get(index + 1), &limits)?;
        }
        if weights > MAX_WEIGHTS {
            return Err(NnError::manifest(format!("{weights} weights, more than {MAX_WEIGHTS}")));
        }
        let (first, last) = (&self.layers[0], &self.layers[self.layers.len() - 1]);
        check_input(&self.input, first)?;
        if self.classes == 0 || self.classes > MAX_CLASSES || self.classes != last.geometry.output_len() {
            return Err(NnError::manifest(format!(
                "{} classes, but the last layer has {} outputs",
                self.classes,
                last.geometry.output_len()
            )));
        }
        if !(self.logit_scale.is_finite() && self.logit_scale > 0.0) {
            return Err(NnError::manifest("the logit scale is not a positive number"));
        }
        Ok(())
    }
}

impl Model {
    /// Checks the manifest, the lengths and ranges of all weights, and the commitment.
    ///
    /// # Errors
    /// [`NnError::Manifest`] or [`NnError::File`] naming what does not fit.
    pub fn validate(&self) -> Result<(), NnError> {
        self.manifest.validate()?;
        if self.layers.len() != self.manifest.layers.len() {
            return Err(NnError::file(format!(
                "weights of {} layers, the manifest has {}",
                self.layers.len(),
                self.manifest.layers.len()
            )));
        }
        for (spec, weights) in self.manifest.layers.iter().zip(&self.layers) {
            check_weights(spec, weights)?;
        }
        if Self::commitment(&self.salt, &self.layers) != self.manifest.weights_commitment {
            return Err(NnError::file("the weights are not those that the manifest commits to"));
        }
        Ok(())
    }
}

fn check_weights(spec: &LayerSpec, weights: &LayerWeights) -> Result<(), NnError> {
    let name = crate::error::shown(&spec.name);
    let shape = spec.geometry.shape();
    if weights.weights.len() != spec.geometry.weights_len() || weights.bias.len() != shape.out_channels {
        return Err(NnError::file(format!(
            "layer {name} has {} weights and {} biases, its shape wants {} and {}",
            weights.weights.len(),
            weights.bias.len(),
            spec.geometry.weights_len(),
            shape.out_channels
        )));
    }
    if weights.weights.iter().any(|w| w.unsigned_abs() >= WEIGHT_BOUND.unsigned_abs()) {
        return Err(NnError::file(format!("layer {name} has a weight of 2^20 or more")));
    }
    if weights.bias.iter().any(|b| b.unsigned_abs() > BIAS_BOUND.unsigned_abs()) {
        return Err(NnError::file(format!("layer {name} has a bias beyond half the torus")));
    }
    Ok(())
}

fn check_layer(
    index: usize,
    layer: &LayerSpec,
    next: Option<&LayerSpec>,
    limits: &ProfileLimits,
) -> Result<(), NnError> {
    let wrong = |what: String| Err(NnError::manifest(format!("layer {index}: {what}")));
    if layer.name.len() > MAX_NAME {
        return wrong(format!("its name has more than {MAX_NAME} bytes"));
    }
    let (p, k, t) = (layer.masked_bits, layer.ring_bits, layer.reply_bits);
    let top = limits.modulus_bits - 1;
    if !(8..=top).contains(&p) {
        return wrong(format!("masked width {p} is not in 8..={top}"));
    }
    if !(6..=24).contains(&k) {
        return wrong(format!("ring width {k} is not in 6..=24"));
    }
    if !(k + 6..=top).contains(&t) {
        return wrong(format!("reply width {t} is not in {}..={top}", k + 6));
    }
    match (&layer.activation, next) {
        (None, None) => Ok(()),
        (Some(_), None) => wrong("the last layer has an activation".into()),
        (None, Some(_)) => wrong("no activation before the next layer".into()),
        (Some(activation), Some(next)) => match check_activation(activation, layer, next) {
            Ok(()) => Ok(()),
            Err(what) => wrong(what),
        },
    }
}

fn check_activation(activation: &ActivationSpec, layer: &LayerSpec, next: &LayerSpec) -> Result<(), String> {
    let ActivationSpec { pool, ignored_bits, shift } = activation;
    if let Err(error) = Comparison::new(layer.ring_bits, *ignored_bits) {
        return Err(format!("the sign test ignores {ignored_bits} of {} bits: {error}", layer.ring_bits));
    }
    if u64::from(layer.ring_bits) + u64::from(*shift) > u64::from(next.masked_bits) {
        return Err(format!(
            "shift {shift} moves {} bits beyond the next layer's {}",
            layer.ring_bits, next.masked_bits
        ));
    }
    let geometry = &layer.geometry;
    let mut produced = geometry.output_len();
    if let Some(pool) = pool {
        let s = pool.shape();
        let plane = (geometry.shape().out_channels, geometry.out_height(), geometry.out_width());
        if (s.channels, s.in_height, s.in_width) != plane {
            return Err(format!(
                "pooling takes {}x{}x{}, the layer gives {}x{}x{}",
                s.channels, s.in_height, s.in_width, plane.0, plane.1, plane.2
            ));
        }
        produced = pool.output_len();
    }
    if produced != next.geometry.input_len() {
        return Err(format!(
            "it gives {produced} values, the next layer takes {}",
            next.geometry.input_len()
        ));
    }
    Ok(())
}

fn check_input(input: &InputSpec, first: &LayerSpec) -> Result<(), NnError> {
    let elements = (input.channels as u64)
        .checked_mul(input.height as u64)
        .and_then(|v| v.checked_mul(input.width as u64))
        .ok_or_else(|| NnError::manifest("the input's size overflows"))?;
    if elements != first.geometry.input_len() as u64 {
        return Err(NnError::manifest(format!(
            "an input of {}x{}x{} values, the first layer takes {}",
            input.channels,
            input.height,
            input.width,
            first.geometry.input_len()
        )));
    }
    if input.mean.len() != input.channels || input.std.len() != input.channels {
        return Err(NnError::manifest(format!(
            "{} means and {} deviations for {} channels",
            input.mean.len(),
            input.std.len(),
            input.channels
        )));
    }
    let positive = |v: f64| v.is_finite() && v > 0.0;
    let scaling_fits = positive(input.scale)
        && input.mean.iter().all(|m| m.is_finite())
        && input.std.iter().all(|&s| positive(s))
        && positive(input.units)
        && positive(input.limit);
    if !scaling_fits {
        return Err(NnError::manifest(
            "a scale, mean, deviation, unit or limit of the input is out of range",
        ));
    }
    // One unit of slack covers the rounding of value·units.
    if input.units * input.limit + 1.0 >= (1u64 << (first.masked_bits - 1)) as f64 {
        return Err(NnError::manifest(format!(
            "inputs up to {} times {} units do not fit {} bits",
            input.limit, input.units, first.masked_bits
        )));
    }
    Ok(())
}
