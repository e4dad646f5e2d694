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

use conv_fast::{ConvGeometry, direct};
use he_core::noise::SplitNoise;
use he_core::{Params, sample};
use ss_core::maximum::Tournament;

use crate::NnError;
use crate::model::{LayerSpec, LayerWeights, Model, PoolGeometry};

/// The server's dither has a standard deviation of one unit of the result ring divided by this.
pub const DITHER_UNITS: f64 = 4.0;

/// What preprocessing fixed for one bundle: both parties' secrets, so only ever made by tests and measurements.
#[derive(Default)]
pub struct Tape {
    /// Per linear layer.
    pub layers: Vec<LayerTape>,
    /// The client's value shares after each level of the arg-max, in label mode.
    pub arg_max_shares: Vec<Vec<u64>>,
}

/// One layer's part of a [`Tape`]; all tensors image after image.
#[derive(Default)]
pub struct LayerTape {
    /// r_p of the layer's input, p bits.
    pub input_mask: Vec<u64>,
    /// What the server adds to W·X on its outputs, in Z_q.
    pub server_mask: Vec<u64>,
    /// The client's share of the result, k bits.
    pub client_share: Vec<u64>,
    /// The client's shares after each level of max-pooling, k bits.
    pub pool_shares: Vec<Vec<u64>>,
}

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

/// The integer inputs of one image: `pixels` raw, C×H×W.
///
/// # Errors
/// [`NnError::Input`] for a wrong length, [`NnError::Value`] for a value that is not finite or beyond the limit.
pub fn quantize_image(model: &crate::model::Manifest, values: &[f32]) -> Result<Vec<i64>, NnError> {
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

/// Bit for bit what the protocol gives for a bundle with this tape: per image the logits in the ring of `logit_bits`
/// (or of the last layer), and the label of the protocol's arg-max where the tape has one.
///
/// # Errors
/// [`NnError::Value`] when the tape or the inputs do not fit the model.
pub fn evaluate_with(
    model: &Model,
    images: usize,
    inputs: &[i64],
    tape: &Tape,
    logit_bits: Option<u32>,
) -> Result<(Vec<Vec<i64>>, Vec<usize>), NnError> {
    let params = Params::new(model.manifest.profile);
    let q = *params.modulus();
    let misfit = |what: &str| NnError::Value { what: format!("the tape's {what} does not fit the model") };
    let mut activations: Vec<u64> = inputs.iter().map(|&d| d as u64).collect();
    let mut shares = (Vec::new(), Vec::new());
    let mut last_bits = 0;
    for (l, (spec, own)) in model.manifest.layers.iter().zip(&model.layers).enumerate() {
        let layer = tape.layers.get(l).ok_or_else(|| misfit("number of layers"))?;
        let (p, last) = (spec.masked_bits, spec.activation.is_none());
        let k = if last { logit_bits.unwrap_or(spec.ring_bits) } else { spec.ring_bits };
        if layer.input_mask.len() != activations.len()
            || layer.server_mask.len() != images * spec.geometry.output_len()
        {
            return Err(misfit("layer"));
        }
        let lifted: Vec<u64> = activations
            .iter()
            .zip(&layer.input_mask)
            .map(|(&d, &r)| up(d.wrapping_sub(r) & ((1 << p) - 1), q.value(), p))
            .collect();
        let weights: Vec<i64> = own.weights.iter().map(|&w| i64::from(w)).collect();
        let product: Vec<u64> = lifted
            .chunks(spec.geometry.input_len())
            .flat_map(|image| direct(&spec.geometry, &q, &weights, image))
            .collect();
        let server: Vec<u64> =
            product.iter().zip(&layer.server_mask).map(|(&w, &m)| down(q.add(w, m), q.value(), k)).collect();
        let mut pair = (server, layer.client_share.clone());
        let Some(activation) = &spec.activation else {
            (shares, last_bits) = (pair, k);
            break;
        };
        let sign = Sign { k, h: activation.ignored_bits };
        if let Some(pool) = &activation.pool {
            let tournament = bundle_pool(pool, spec.geometry.output_len(), images)?;
            let mut values = vec![(pair.0, pair.1)];
            sign.play(&tournament, &mut values, &[k], &layer.pool_shares).ok_or_else(|| misfit("maxima"))?;
            pair = values.swap_remove(0);
        }
        activations =
            pair.0.iter().zip(&pair.1).map(|(&s, &c)| (sign.relu(s, c) << activation.shift) as u64).collect();
    }

    let (server, client) = shares;
    let ring = Sign { k: last_bits, h: 0 };
    let classes = model.manifest.classes;
    let total: Vec<i64> = server.iter().zip(&client).map(|(&s, &c)| ring.signed(s.wrapping_add(c))).collect();
    let mut labels = Vec::new();
    if !tape.arg_max_shares.is_empty() {
        let windows: Vec<Vec<u32>> =
            (0..images).map(|b| (0..classes).map(|i| (b * classes + i) as u32).collect()).collect();
        let tournament = Tournament::new(server.len(), &windows)
            .map_err(|error| NnError::Value { what: error.to_string() })?;
        let indices = ((0..server.len()).map(|i| (i % classes) as u64).collect(), vec![0; server.len()]);
        let mut values = vec![(server, client), indices];
        let sign = Sign { k: last_bits, h: last_bits.saturating_sub(17) };
        sign.play(&tournament, &mut values, &[last_bits, 32], &tape.arg_max_shares)
            .ok_or_else(|| misfit("arg-max"))?;
        labels = values[1].0.iter().map(|&i| i as usize).collect();
    }
    Ok((total.chunks(classes).map(<[i64]>::to_vec).collect(), labels))
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

/// log2 of the dither's standard deviation for results of k bits.
pub fn dither_log2_sigma(q: u64, k: u32) -> f64 {
    (q as f64).log2() - f64::from(k) - DITHER_UNITS.log2()
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

/// The pooling tournament over all images of a bundle.
fn bundle_pool(pool: &PoolGeometry, length: usize, images: usize) -> Result<Tournament, NnError> {
    let own: Vec<Vec<usize>> = pool.windows().collect();
    let all: Vec<Vec<u32>> = (0..images)
        .flat_map(|b| own.iter().map(move |w| w.iter().map(|&i| (b * length + i) as u32).collect()))
        .collect();
    Tournament::new(images * length, &all).map_err(|error| NnError::Value { what: error.to_string() })
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

/// The sign test and what hangs on it, on a server's and a client's share.
struct Sign {
    k: u32,
    h: u32,
}

impl Sign {
    fn signed(&self, value: u64) -> i64 {
        ((value << (64 - self.k)) as i64) >> (64 - self.k)
    }

    fn positive(&self, server: u64, client: u64) -> bool {
        let mask = (1u64 << self.k) - 1;
        let sum = ((server & mask) >> self.h) + ((client & mask) >> self.h);
        (sum >> (self.k - self.h - 1)) & 1 == 0
    }

    fn relu(&self, server: u64, client: u64) -> i64 {
        let (a, c) = (self.signed(server), self.signed(client));
        let both = i64::from(a < 0 && c < 0);
        if self.positive(server, client) { a + c + (both << self.k) } else { 0 }
    }

    /// Lane 0 is compared, all lanes follow; `fresh` holds the client's new shares of lane 0.
    fn play(
        &self,
        tournament: &Tournament,
        lanes: &mut [(Vec<u64>, Vec<u64>)],
        bits: &[u32],
        fresh: &[Vec<u64>],
    ) -> Option<()> {
        for (level, fresh) in tournament.levels().iter().zip(fresh) {
            if fresh.len() != level.gates() {
                return None;
            }
            let difference = |values: &[u64]| -> Vec<u64> {
                level
                    .first(values)
                    .iter()
                    .zip(level.second(values))
                    .map(|(&a, b)| a.wrapping_sub(b))
                    .collect()
            };
            let (server, client) = (difference(&lanes[0].0), difference(&lanes[0].1));
            let verdicts: Vec<bool> =
                server.iter().zip(&client).map(|(&s, &c)| self.positive(s, c)).collect();
            for (lane, ((server, client), &bits)) in lanes.iter_mut().zip(bits).enumerate() {
                let mask = (1u64 << bits) - 1;
                let total = |values: &dyn Fn(&[u64]) -> Vec<u64>| -> Vec<u64> {
                    values(server)
                        .iter()
                        .zip(values(client))
                        .map(|(&s, c)| s.wrapping_add(c) & mask)
                        .collect()
                };
                let (first, second) = (total(&|v| level.first(v)), total(&|v| level.second(v)));
                let winners = verdicts
                    .iter()
                    .zip(first.iter().zip(&second))
                    .map(|(&d, (&a, &b))| if d { a } else { b });
                // Only lane 0's sharing matters for later sign tests; the others are carried in the clear.
                let new: Vec<u64> = if lane == 0 { fresh.clone() } else { vec![0; fresh.len()] };
                let own: Vec<u64> = winners.zip(&new).map(|(w, &c)| w.wrapping_sub(c) & mask).collect();
                (*server, *client) = (level.advance(server, &own), level.advance(client, &new));
            }
        }
        for (server, client) in lanes {
            (*server, *client) = (tournament.winners(server), tournament.winners(client));
        }
        Some(())
    }
}

/// round(v·2^k/q) mod 2^k, from the definition.
fn down(v: u64, q: u64, k: u32) -> u64 {
    let doubled = (u128::from(v) << (k + 1)) + u128::from(q);
    (doubled / (2 * u128::from(q))) as u64 & ((1 << k) - 1)
}

/// round(d·q/2^p) mod q, from the definition.
fn up(d: u64, q: u64, p: u32) -> u64 {
    let doubled = u128::from(d) * 2 * u128::from(q) + (1u128 << p);
    ((doubled >> (p + 1)) % u128::from(q)) as u64
}

fn first_largest(values: &[f64]) -> usize {
    values.iter().enumerate().fold(0, |best, (i, &v)| if v > values[best] { i } else { best })
}
