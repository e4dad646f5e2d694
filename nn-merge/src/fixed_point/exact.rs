//! The noise-free form, and how far the protocol can be from it.
//!
//! Tensors are integers: masked ones in their own units, raw ones in units of 2^-62 of the torus (they wrap after four
//! turns, so that partial sums may leave the torus). Beside each value goes a bound on the protocol's distance from it.
//! Linear maps run on [`conv_fast`]'s convolution modulo a prime just below 2^50, wide enough for every sum that a
//! valid network makes (below 2^46) and for three bits of overflow, which [`Exact::in_range`] reports.

use conv_fast::{Algorithm, ConvGeometry, PreparedConv};
use he_core::{Modulus, Params, Profile};
use rayon::prelude::*;

use super::function::{Bounded, Scalar};
use super::{last_reads, linear_noise, reply_bits, result_bits};
use crate::NnError;
use crate::model::{ActivationSpec, Kind, Model, NodeWeights, OpSpec, PoolGeometry, Tensor};

/// What comes out for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Exact {
    /// Real logits.
    pub logits: Vec<f64>,
    /// Per logit the largest distance of the protocol's logit, but with probability about 2^-50 per inference; it holds
    /// where `in_range` does.
    pub bounds: Vec<f64>,
    /// Index of the largest, the first among equals.
    pub label: usize,
    /// Whether every value stays, with its bound, in the range in which activations and output are right. Where this is
    /// false, the protocol may wrap and give anything.
    pub in_range: bool,
    /// Name of the first node whose values leave their range.
    pub overflow: Option<String>,
}

/// The noise-free form for one image's quantised inputs, with bounds for logits in the ring of `logit_bits` (of the
/// manifest, if none).
///
/// # Errors
/// [`NnError::Input`] for a wrong number of inputs, [`NnError::Manifest`] or [`NnError::File`] for an invalid model.
pub fn evaluate_exact(model: &Model, inputs: &[i64], logit_bits: Option<u32>) -> Result<Exact, NnError> {
    let mut walk = Walk::new(model, 1, logit_bits, true)?;
    let result = walk.run(inputs)?;
    let unit = model.manifest.output.scale / TURN;
    let logits: Vec<f64> = result.values.iter().map(|&v| v as f64 * unit).collect();
    // Both parties' last rounding to the logits' ring; their sum is off by one unit at most.
    let k = logit_bits.unwrap_or(model.manifest.output.ring_bits);
    let bound = |&e: &u64| {
        (e as f64 * unit).abs() * (1.0 + f64::EPSILON) + model.manifest.output.scale * (-f64::from(k)).exp2()
    };
    Ok(Exact {
        label: first_largest(&logits),
        bounds: result.errors.iter().map(bound).collect(),
        logits,
        in_range: walk.overflow.is_none(),
        overflow: walk.overflow,
    })
}

/// The noise-free logits of `images` images, image after image, without bounds: several times as fast.
///
/// # Errors
/// As [`evaluate_exact`].
pub fn evaluate_integers(model: &Model, images: usize, inputs: &[i64]) -> Result<Vec<Vec<f64>>, NnError> {
    let result = Walk::new(model, images, None, false)?.run(inputs)?;
    let unit = model.manifest.output.scale / TURN;
    let classes = result.values.len() / images.max(1);
    Ok(result
        .values
        .chunks(classes.max(1))
        .map(|image| image.iter().map(|&v| v as f64 * unit).collect())
        .collect())
}

/// One turn of the torus in units of raw values.
const TURN: f64 = (1u64 << 62) as f64;

/// A tensor of all images; no errors where they are not tracked.
#[derive(Clone, Default)]
struct Values {
    values: Vec<i64>,
    errors: Vec<u64>,
}

struct Walk<'a> {
    model: &'a Model,
    images: usize,
    params: Params,
    tensors: Vec<Tensor>,
    /// k of raw results, and bits of replies.
    bits: Vec<u32>,
    replies: Vec<u32>,
    /// What the fast convolution computes in.
    modulus: Modulus,
    track: bool,
    overflow: Option<String>,
}

impl<'a> Walk<'a> {
    fn new(model: &'a Model, images: usize, logit_bits: Option<u32>, track: bool) -> Result<Self, NnError> {
        let (manifest, tensors) = (&model.manifest, model.manifest.tensors()?);
        if model.nodes.len() != manifest.nodes.len() {
            return Err(NnError::File {
                what: "weights of another number of nodes than the manifest has".into(),
            });
        }
        let params = Params::new(manifest.profile);
        Ok(Self {
            model,
            images,
            bits: result_bits(manifest, logit_bits),
            replies: reply_bits(manifest, &params, logit_bits),
            params,
            tensors,
            modulus: *Params::new(Profile::Wide).modulus(),
            track,
            overflow: None,
        })
    }

    fn run(&mut self, inputs: &[i64]) -> Result<Values, NnError> {
        let manifest = &self.model.manifest;
        let expected = self.images * manifest.input_len();
        if inputs.len() != expected || expected == 0 {
            return Err(NnError::Input { expected, got: inputs.len() });
        }
        let last = last_reads(manifest);
        let mut done: Vec<Values> = Vec::with_capacity(manifest.nodes.len());
        for (index, node) in manifest.nodes.iter().enumerate() {
            let sources: Vec<&Values> = node.inputs.iter().map(|&s| &done[s as usize]).collect();
            let result = match &node.op {
                OpSpec::Input { .. } => Values { values: inputs.to_vec(), errors: self.zeros(inputs.len()) },
                OpSpec::Linear { geometry, .. } => self.linear(index, geometry, sources[0])?,
                OpSpec::Sum { factors } => self.sum(index, factors, &sources),
                OpSpec::Activation(spec) => self.activation(index, spec, sources[0])?,
                OpSpec::Local(op) => {
                    let shapes: Vec<_> =
                        node.inputs.iter().map(|&s| self.tensors[s as usize].shape).collect();
                    let map = op.index_map(&shapes);
                    let lengths: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
                    let mut result = Values::default();
                    for b in 0..self.images {
                        let joined =
                            |part: fn(&Values) -> usize| sources.iter().all(|source| part(source) > 0);
                        if joined(|v| v.values.len()) {
                            let all: Vec<i64> = sources
                                .iter()
                                .zip(&lengths)
                                .flat_map(|(v, &n)| v.values[b * n..(b + 1) * n].iter().copied())
                                .collect();
                            result.values.extend(map.apply(&all, 0, i64::wrapping_add));
                        }
                        if joined(|v| v.errors.len()) {
                            let all: Vec<u64> = sources
                                .iter()
                                .zip(&lengths)
                                .flat_map(|(v, &n)| v.errors[b * n..(b + 1) * n].iter().copied())
                                .collect();
                            result.errors.extend(map.apply(&all, 0, u64::saturating_add));
                        }
                    }
                    result
                }
            };
            done.push(result);
            for &source in &node.inputs {
                if last[source as usize] == index {
                    done[source as usize] = Values::default();
                }
            }
        }
        let output = std::mem::take(&mut done[manifest.output.node as usize]);
        let half = 1u64 << 61;
        let inside = |(i, v): (usize, &i64)| {
            v.unsigned_abs().saturating_add(output.errors.get(i).copied().unwrap_or(0)) < half
        };
        if !output.values.iter().enumerate().all(inside) {
            self.leaves(manifest.output.node as usize);
        }
        Ok(output)
    }

    fn zeros(&self, length: usize) -> Vec<u64> {
        if self.track { vec![0; length] } else { Vec::new() }
    }

    fn leaves(&mut self, node: usize) {
        let name = &self.model.manifest.nodes[node].name;
        self.overflow.get_or_insert_with(|| name.clone());
    }

    /// The width of a masked node's tensor.
    fn width(&self, node: u32) -> Option<u32> {
        match self.tensors[node as usize].kind {
            Kind::Masked { width } => Some(width),
            Kind::Raw => None,
        }
    }

    fn linear(&self, index: usize, geometry: &ConvGeometry, source: &Values) -> Result<Values, NnError> {
        let (node, own) = (&self.model.manifest.nodes[index], &self.model.nodes[index]);
        let unit = 62 - self.width(node.inputs[0]).unwrap_or(62);
        let bias = Bias::new(own, self.tensors[index]);
        let sums = self.convolve(geometry, &own.weights, &source.values)?;
        let values: Vec<i64> =
            sums.into_par_iter().enumerate().map(|(i, sum)| (sum << unit).wrapping_add(bias.at(i))).collect();
        let mut errors = self.zeros(values.len());
        if self.track {
            let noise = linear_noise(self.model.manifest.profile, own, self.replies[index], self.bits[index]);
            let noise = (noise * TURN).ceil() as u64;
            let sizes: Vec<i32> = own.weights.iter().map(|w| w.abs()).collect();
            let largest = source.errors.iter().copied().max().unwrap_or(0);
            let row = geometry.weights_len() / geometry.shape().out_channels;
            let norm =
                sizes.chunks(row).map(|row| row.iter().map(|&w| w as u64).sum::<u64>()).max().unwrap_or(0);
            let whole = u128::from(largest) * u128::from(norm);
            if largest == 0 {
                errors.fill(noise);
            } else if whole < u128::from(self.modulus.value() / 2) {
                let reach: Vec<i64> = source.errors.iter().map(|&e| e as i64).collect();
                let spread = self.convolve(geometry, &sizes, &reach)?;
                let wide = |sum: i64| u64::try_from((sum as u128) << unit).unwrap_or(u64::MAX);
                errors = spread.into_par_iter().map(|sum| wide(sum).saturating_add(noise)).collect();
            } else {
                errors.fill(u64::MAX);
            }
        }
        Ok(Values { values, errors })
    }

    /// The integer convolution of all images; right where the results are below 2^49.
    fn convolve(&self, geometry: &ConvGeometry, weights: &[i32], input: &[i64]) -> Result<Vec<i64>, NnError> {
        let q = self.modulus;
        let value = |error: conv_fast::ConvError| NnError::Value { what: error.to_string() };
        // The weights serve once: what counts is how little their preparation costs. The definition takes what the others
        // refuse.
        let cheap = if geometry.group_inputs() == 1 { Algorithm::Depthwise } else { Algorithm::Im2col };
        let prepare = |algorithm| PreparedConv::new(geometry.clone(), q, weights, algorithm);
        let prepared = prepare(cheap).or_else(|_| prepare(Algorithm::Direct)).map_err(value)?;
        let residues: Vec<u64> = input.par_iter().map(|&v| q.from_i64(v)).collect();
        Ok(prepared.run(&residues, self.images).into_par_iter().map(|v| q.center(v)).collect())
    }

    fn sum(&self, index: usize, factors: &[i64], sources: &[&Values]) -> Values {
        let (node, own) = (&self.model.manifest.nodes[index], &self.model.nodes[index]);
        let bias = Bias::new(own, self.tensors[index]);
        let length = self.images * self.tensors[index].elements();
        let mut result =
            Values { values: (0..length).map(|i| bias.at(i)).collect(), errors: self.zeros(length) };
        // One unit of Z_q: the two halves that the parties' own roundings of a masked operand are off by, or a bias's.
        let rounding = (TURN / self.params.q() as f64).ceil() as u64;
        for ((&operand, &factor), source) in node.inputs.iter().zip(factors).zip(sources) {
            let width = self.width(operand);
            let (scale, shift, own) = match width {
                Some(width) => (factor, 62 - width, rounding),
                None => (1, 0, 0),
            };
            for (sum, &v) in result.values.iter_mut().zip(&source.values) {
                *sum = sum.wrapping_add(v.wrapping_mul(scale) << shift);
            }
            for (sum, &e) in result.errors.iter_mut().zip(&source.errors) {
                let scaled = u128::from(e) * u128::from(scale.unsigned_abs());
                let fits = scaled >> (64 - shift) == 0;
                let reach = if fits { (scaled as u64) << shift } else { u64::MAX };
                *sum = sum.saturating_add(reach).saturating_add(own);
            }
        }
        if !own.bias.is_empty() {
            result.errors.iter_mut().for_each(|e| *e = e.saturating_add(rounding));
        }
        result
    }

    fn activation(
        &mut self,
        index: usize,
        spec: &ActivationSpec,
        source: &Values,
    ) -> Result<Values, NnError> {
        let model = self.model;
        let before = self.tensors[model.manifest.nodes[index].inputs[0] as usize];
        let (k, dead) = (spec.ring_bits, 1i64 << spec.ignored_bits);
        let (half, unit) = (1i64 << (61 - k), 1u64 << (62 - k));
        let rounded: Vec<Bounded> = source
            .values
            .par_iter()
            .enumerate()
            .map(|(i, &v)| {
                let y = v.wrapping_add(half) >> (62 - k);
                // Both parties round once, together one unit at most, and we by a half: ⌊e + 3/2⌋, all being integers.
                let reach =
                    source.errors.get(i).map_or(0, |&e| e.saturating_add(unit + unit / 2) >> (62 - k));
                (y, reach)
            })
            .collect();
        let (pooled, channels) = match &spec.pool {
            Some(pool) => {
                let limit = (1i64 << (k - 1)) - dead;
                let (values, fits) = maxima(pool, &rounded, dead, limit);
                if !fits {
                    self.leaves(index);
                }
                (values, pool.channels())
            }
            None => (rounded, before.shape[0]),
        };
        let parts =
            spec.parts.iter().map(|part| Scalar::new(spec, &part.function)).collect::<Result<Vec<_>, _>>()?;
        let mut part_of = vec![0usize; channels];
        for (number, part) in spec.parts.iter().enumerate() {
            for &(first, count) in &part.channels {
                part_of[first as usize..(first + count) as usize].fill(number);
            }
        }
        let (per_image, outputs) = (pooled.len() / self.images, spec.outputs());
        let plane = per_image / channels;
        let offset = &model.nodes[index].bias;
        let inside = pooled
            .par_iter()
            .enumerate()
            .all(|(i, &value)| parts[part_of[i % per_image / plane]].in_range(value));
        let element = |i: usize| {
            let (image, rest) = (i / (outputs * per_image), i % (outputs * per_image));
            let (output, at) = (rest / per_image, rest % per_image);
            let (value, error) = parts[part_of[at / plane]].results(pooled[image * per_image + at])[output];
            (value.wrapping_add(offset.get(rest / plane).copied().unwrap_or(0)), error)
        };
        let (values, mut errors): (Vec<i64>, Vec<u64>) =
            (0..outputs * pooled.len()).into_par_iter().map(element).unzip();
        if !inside {
            self.leaves(index);
        }
        if !self.track {
            errors = Vec::new();
        }
        Ok(Values { values, errors })
    }
}

/// Every window's largest value with its bound, and whether all differences stay below `limit`. A level of the tournament
/// loses up to `dead`, but only where another value comes within reach.
fn maxima(pool: &PoolGeometry, values: &[Bounded], dead: i64, limit: i64) -> (Vec<Bounded>, bool) {
    let windows: Vec<Vec<usize>> = pool.windows().collect();
    let length = pool.input_len();
    let all: Vec<(Bounded, bool)> = (0..values.len() / length * windows.len())
        .into_par_iter()
        .map(|at| {
            let (image, window) = (&values[at / windows.len() * length..], &windows[at % windows.len()]);
            let of = |&i: &usize| image[i];
            let largest = window.iter().map(|i| of(i).0).max().unwrap_or(0);
            let least = window.iter().map(|i| of(i).0).min().unwrap_or(0);
            let error = window.iter().map(|i| of(i).1).max().unwrap_or(0);
            let reach = i64::try_from(error).unwrap_or(i64::MAX / 4).saturating_mul(2).saturating_add(dead);
            let close = window.iter().filter(|&i| of(i).0.saturating_add(reach) >= largest).count() > 1;
            let lost = if close { dead as u64 * u64::from(levels(window.len())) } else { 0 };
            let fits =
                window.len() == 1 || largest.saturating_sub(least).saturating_add(reach - dead) < limit;
            ((largest, error.saturating_add(lost)), fits)
        })
        .collect();
    let fits = all.iter().all(|&(_, fits)| fits);
    (all.into_iter().map(|(value, _)| value).collect(), fits)
}

/// Levels of a tournament of `contestants`.
fn levels(contestants: usize) -> u32 {
    usize::BITS - (contestants.max(1) - 1).leading_zeros()
}

/// A node's biases by element of the bundle.
struct Bias<'a> {
    values: &'a [i64],
    elements: usize,
    /// Elements that one bias covers.
    each: usize,
}

impl<'a> Bias<'a> {
    fn new(own: &'a NodeWeights, tensor: Tensor) -> Self {
        let elements = tensor.elements();
        Self { values: &own.bias, elements, each: elements.checked_div(own.bias.len()).unwrap_or(1).max(1) }
    }

    fn at(&self, index: usize) -> i64 {
        self.values.get(index % self.elements / self.each).copied().unwrap_or(0)
    }
}

/// Index of the largest value, the first of equals; 0 for no values.
pub fn first_largest<T: PartialOrd>(values: &[T]) -> usize {
    values.iter().enumerate().fold(0, |best, (i, v)| if *v > values[best] { i } else { best })
}
