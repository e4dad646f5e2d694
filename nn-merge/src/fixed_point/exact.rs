//! The noise-free form, and how far the protocol can be from it.

use conv_fast::ConvGeometry;
use he_core::noise::SplitNoise;
use he_core::{Params, sample};

use super::dither_log2_sigma;
use crate::NnError;
use crate::model::{LayerSpec, LayerWeights, Model, PoolGeometry};

/// What comes out for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Exact {
    /// Real logits.
    pub logits: Vec<f64>,
    /// Per logit the largest distance of the protocol's logit, but with probability about 2^-50 per inference.
    pub bounds: Vec<f64>,
    /// Index of the largest, the first among equals.
    pub label: usize,
}

/// The noise-free form for one image's quantised inputs, with the bounds for logits in the ring of `logit_bits`.
///
/// How far a value can be off is carried beside it. Where e bounds the error before: a linear layer gives Σ|w|·e plus its
/// noise; a maximum loses up to 2^h per level, but only where another value comes that close; a ReLU passes e on
/// where y − e ≥ 2^h, gives no error where y + e < 0, and in between at most the larger of e and y.
///
/// # Errors
/// [`NnError::Input`] for a wrong number of inputs.
pub fn evaluate_exact(model: &Model, inputs: &[i64], logit_bits: Option<u32>) -> Result<Exact, NnError> {
    let params = Params::new(model.manifest.profile);
    let q = params.modulus().value() as f64;
    let mut values: Vec<i128> = inputs.iter().map(|&d| i128::from(d)).collect();
    let mut errors = vec![0i128; values.len()];
    for (spec, own) in model.manifest.layers.iter().zip(&model.layers) {
        if values.len() != spec.geometry.input_len() {
            return Err(NnError::Input { expected: spec.geometry.input_len(), got: values.len() });
        }
        let k = spec.activation.as_ref().map_or(logit_bits.unwrap_or(spec.ring_bits), |_| spec.ring_bits);
        // In units of 2^-62 of the torus: exact, since p ≤ 62.
        let unit = 62 - spec.masked_bits;
        let plane = spec.geometry.out_height() * spec.geometry.out_width();
        let sums = convolve(&spec.geometry, &own.weights, &values).into_iter().enumerate();
        let full: Vec<i128> = sums.map(|(i, sum)| (sum << unit) + i128::from(own.bias[i / plane])).collect();
        let sizes: Vec<i32> = own.weights.iter().map(|w| w.abs()).collect();
        // Both parties round once, to k bits: together one unit at most.
        let noise =
            (layer_noise(&params, spec, own, k) / q * 62f64.exp2()).ceil() as i128 + (1i128 << (62 - k));
        let spread = convolve(&spec.geometry, &sizes, &errors).into_iter().map(|sum| (sum << unit) + noise);
        let Some(activation) = &spec.activation else {
            let real = |v: i128| v as f64 / 62f64.exp2() * model.manifest.logit_scale;
            let logits: Vec<f64> = full.into_iter().map(real).collect();
            return Ok(Exact { label: first_largest(&logits), bounds: spread.map(real).collect(), logits });
        };
        let half = 1i128 << (61 - k);
        // One more unit for our own rounding and for the floor of the shift.
        let rounded: Vec<(i128, i128)> =
            full.iter().zip(spread).map(|(&v, e)| ((v + half) >> (62 - k), (e >> (62 - k)) + 2)).collect();
        let dead = 1i128 << activation.ignored_bits;
        let pooled = match &activation.pool {
            Some(pool) => pool.windows().map(|window| maximum(&rounded, &window, dead)).collect(),
            None => rounded,
        };
        (values, errors) = pooled
            .into_iter()
            .map(|(y, e)| {
                let error = if y - e >= dead {
                    e
                } else if y + e < 0 {
                    0
                } else {
                    e.max(y)
                };
                (y.max(0) << activation.shift, error << activation.shift)
            })
            .unzip();
    }
    Err(NnError::Value { what: "the model has no last layer".into() })
}

/// The largest of a window with its error: up to `dead` is lost per level if any other value comes within reach.
fn maximum(values: &[(i128, i128)], window: &[usize], dead: i128) -> (i128, i128) {
    let largest = window.iter().map(|&i| values[i].0).max().unwrap_or(0);
    let error = window.iter().map(|&i| values[i].1).max().unwrap_or(0);
    let close = window.iter().filter(|&&i| values[i].0 + 2 * error + dead >= largest).count() > 1;
    (largest, error + if close { dead * i128::from(levels(window.len())) } else { 0 })
}

/// The largest distance between a protocol logit and the noise-free one, but with probability about 2^-50 per
/// inference: worst case over all inputs, from the weights' norms. `logit_bits` is the ring the logits leave in.
pub fn logit_bound(model: &Model, logit_bits: Option<u32>) -> f64 {
    let params = Params::new(model.manifest.profile);
    let q = params.modulus().value() as f64;
    // In units of D.
    let mut input_error = 0.0;
    for (spec, own) in model.manifest.layers.iter().zip(&model.layers) {
        let last = spec.activation.is_none();
        let k = if last { logit_bits.unwrap_or(spec.ring_bits) } else { spec.ring_bits };
        let norm = largest_row_norm(spec, own);
        let torus = norm * input_error / f64::from(spec.masked_bits).exp2()
            + layer_noise(&params, spec, own, k) / q
            + (-f64::from(k)).exp2();
        let Some(activation) = &spec.activation else { return torus * model.manifest.logit_scale };
        let levels = activation.pool.as_ref().map_or(0, pool_levels);
        let tests = f64::from(levels + 1) * f64::from(activation.ignored_bits).exp2();
        let units = torus * f64::from(k).exp2() + 0.5 + tests;
        input_error = units * f64::from(activation.shift).exp2();
    }
    f64::INFINITY
}

/// Hard bound on the noise of one linear output, in units of Z_q.
fn layer_noise(params: &Params, spec: &LayerSpec, own: &LayerWeights, k: u32) -> f64 {
    let q = params.modulus().value() as f64;
    let noise = SplitNoise::new(params, (k + 6).min(params.modulus().bits() - 1));
    // Outputs that share a polynomial share its noise, so all weights of the layer may count.
    let sum: f64 = own.weights.iter().map(|&w| f64::from(w.abs())).sum();
    let squares: f64 = own.weights.iter().map(|&w| f64::from(w).powi(2)).sum();
    // The mask's random rounding to p bits, and the lift's.
    let rounding = sum * (q / f64::from(spec.masked_bits + 1).exp2() + 1.0);
    let sigma = dither_log2_sigma(params.modulus().value(), k);
    let dither = sample::dither_width(params.modulus(), sigma).map_or(q, |width| 2.0 * width as f64);
    noise.small_bound() + noise.rounding_bound() + noise.input_bound(squares.sqrt()) + rounding + dither
}

fn largest_row_norm(spec: &LayerSpec, own: &LayerWeights) -> f64 {
    let row = spec.geometry.weights_len() / spec.geometry.shape().out_channels.max(1);
    own.weights.chunks(row.max(1)).map(|w| w.iter().map(|&w| f64::from(w.abs())).sum()).fold(0.0, f64::max)
}

fn pool_levels(pool: &PoolGeometry) -> u32 {
    levels(pool.windows().map(|window| window.len()).max().unwrap_or(1))
}

/// Levels of a tournament of `contestants`.
fn levels(contestants: usize) -> u32 {
    usize::BITS - (contestants.max(1) - 1).leading_zeros()
}

/// Plain integer convolution.
fn convolve(geometry: &ConvGeometry, weights: &[i32], input: &[i128]) -> Vec<i128> {
    let shape = geometry.shape();
    let (height, width) = (geometry.out_height(), geometry.out_width());
    let (group_in, group_out) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    let [kernel_h, kernel_w] = shape.kernel;
    let mut output = Vec::with_capacity(geometry.output_len());
    for o in 0..shape.out_channels {
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let mut sum = 0;
            for c in 0..group_in {
                let plane = &input[(o / group_out * group_in + c) * shape.in_height * shape.in_width..];
                for (a, b) in (0..kernel_h).flat_map(|a| (0..kernel_w).map(move |b| (a, b))) {
                    let row = (y * shape.stride[0] + a * shape.dilation[0]).wrapping_sub(shape.padding[0]);
                    let column = (x * shape.stride[1] + b * shape.dilation[1]).wrapping_sub(shape.padding[1]);
                    if row < shape.in_height && column < shape.in_width {
                        let weight = weights[((o * group_in + c) * kernel_h + a) * kernel_w + b];
                        sum += i128::from(weight) * plane[row * shape.in_width + column];
                    }
                }
            }
            output.push(sum);
        }
    }
    output
}

fn first_largest(values: &[f64]) -> usize {
    values.iter().enumerate().fold(0, |best, (i, &v)| if v > values[best] { i } else { best })
}
