//! Many images, one element of all of them in a ciphertext: sums with small whole weights.
//!
//! | step of a layer | scale of channel o | primes |
//! |---|---|---|
//! | input, squares | a_c | l |
//! | sums over c, i, j of V x, \|V\| < 2^[`WEIGHT_BITS`] ([`he_core::rlwe::RlweParams::combine`]) | A_o, V = round(A_o W / a_c) | l |
//! | bias | A_o | l |
//! | square, relinearised, rescaled (not after the last map) | A_o^2 / q | l - 1 |
//!
//! **Weights** are scalars here, so a rounding of them is no polynomial's, and 12 bits do: each output channel has the
//! scale A_o at which its largest weight has them all, and those that read it take that in. The last map has one scale for
//! all outputs.
//!
//! **Scale of the input.** All scales follow from the input's, a = 2^(e/8): those of layer l grow with its 2^l-th power.
//! It is taken as large as the answer's one prime of 50 bits allows ([`Evaluator::exponent`]); the client is told.
//! It and the answer's scale show how large the largest weights are, some bits in all.
//!
//! **Relinearisation** comes before rescaling: the other way round, what rescaling rounds off the third part would be
//! multiplied with the square of the secret, whose slots are some 2^13.
//!
//! **Memory.** Rows of a tensor are made when the next layer's rows need them and dropped when none does any more, so two
//! or three rows of tensors are held where a layer is a convolution; a fully connected one needs all of its input.
//!
//! **Precision.** Rescaling adds an error of deviation sqrt(N (1 + 2N/3)/12), 2^12 at N = 16384, to slots that are some
//! 2^24 in typical squares, and weights are right to 2^-13 of the largest of their channel. Tests and benchmarks measure
//! what comes of it.

use std::collections::BTreeMap;

use conv_fast::ConvGeometry;
use he_core::ckks::complex::Complex;
use he_core::ckks::{Ciphertext, Params};
use he_core::rlwe::RelinKey;
use nn_merge::model::Shape;
use rayon::prelude::*;

use super::Plan;
use super::network::{BOUND, Layer, Network};
use super::plan::Mode;
use crate::error::{ProtocolError, caller};

/// Bits of a weight, sign not counted.
pub const WEIGHT_BITS: u32 = 12;
/// Share of the answer's prime that its scale may take: the wire form wants it to be a quarter at most.
const ANSWER_SHARE: f64 = 0.24;
/// The input's scale is 2^(e/8).
const EXPONENT_STEPS: f64 = 8.0;
/// Largest e that either party takes: a scale of 2^40.
pub const MOST_EXPONENT: u32 = 320;

/// A network made ready. It holds weights: no `Debug`.
pub struct Evaluator {
    params: Params,
    input: Shape,
    stages: Vec<Stage>,
    exponent: u32,
}

struct Stage {
    geometry: ConvGeometry,
    /// V, in the layer's own order.
    weights: Vec<i32>,
    /// One per output element, real.
    bias: Vec<f64>,
    /// A_o, one per output channel.
    scales: Vec<f64>,
    last: bool,
}

/// The input's scale for an exponent.
#[must_use]
pub fn input_scale(exponent: u32) -> f64 {
    (f64::from(exponent) / EXPONENT_STEPS).exp2()
}

impl Evaluator {
    /// Chooses scales and rounds the weights.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a plan of another mode or network, for outputs that read nothing but padding, and for
    /// weights so uneven that no scale serves.
    pub fn new(network: &Network, plan: &Plan) -> Result<Self, ProtocolError> {
        let params = plan.params().clone();
        if plan.mode() != Mode::Batch || plan.shapes() != network.shapes() {
            return Err(ProtocolError::Caller("a plan of another network or mode".into()));
        }
        let layers = network.layers();
        let squares = layers.len() - 1;
        // Scales for a = 1, then a itself.
        let unscaled = scales(&params, layers, 1.0)?;
        let answer = unscaled.last().and_then(|scales| scales.first()).copied().unwrap_or(1.0);
        let room = (ANSWER_SHARE * params.last_prime(1) / answer).log2() / (squares as f64).exp2();
        let exponent = (EXPONENT_STEPS * room).floor();
        if !(0.0..=f64::from(MOST_EXPONENT)).contains(&exponent) {
            return Err(ProtocolError::Caller(
                "this network's weights are too uneven to be evaluated with small whole numbers".into(),
            ));
        }
        let exponent = exponent as u32;
        let all = scales(&params, layers, input_scale(exponent))?;
        let mut stages: Vec<Stage> = Vec::with_capacity(layers.len());
        let mut incoming = vec![input_scale(exponent); plan.shapes().input_len()];
        for (at, (layer, scales)) in layers.iter().zip(&all).enumerate() {
            let limbs = params.limbs() - at;
            let geometry = layer.geometry.clone();
            check_taps(&geometry)?;
            // (A u)^2 has to fit, with u at its bound.
            let largest = scales.iter().fold(0.0_f64, |m, &s| m.max(s));
            if at < squares && 2.0 * (largest * BOUND).log2() > params.rlwe().log2_q(limbs) - 2.0 {
                return Err(ProtocolError::Caller("scales that outgrow the modulus".into()));
            }
            let weights = whole(layer, &incoming, scales);
            let outputs = geometry.output_len();
            stages.push(Stage {
                weights,
                bias: layer.bias.clone(),
                scales: scales.clone(),
                last: at == squares,
                geometry,
            });
            incoming = squared(&params, limbs, scales, outputs);
        }
        Ok(Self { params, input: plan.shapes().input, stages, exponent })
    }

    /// e: the input's scale is 2^(e/8), see [`input_scale`].
    #[must_use]
    pub fn exponent(&self) -> u32 {
        self.exponent
    }

    /// Bytes of the prepared weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.stages.iter().map(|stage| 4 * stage.weights.len() + 8 * stage.bias.len()).sum()
    }

    /// The encrypted results of the last map, one ciphertext per logit. `input` gives the ciphertext of an element of the
    /// image (in row-major order), once.
    ///
    /// # Errors
    /// What `input` says; [`ProtocolError::Caller`] for ciphertexts of other limbs than fresh ones have.
    ///
    /// # Panics
    /// When ciphertexts or keys are of other parameters.
    pub fn evaluate(
        &self,
        input: &mut dyn FnMut(usize) -> Result<Ciphertext, ProtocolError>,
        relin: &RelinKey,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Ciphertext>, ProtocolError> {
        let rows = self.stages.iter().map(|stage| stage.geometry.out_height()).sum();
        let mut walk = Walk {
            evaluator: self,
            input,
            relin,
            progress,
            tensors: self.stages.iter().map(|_| BTreeMap::new()).collect(),
            made: vec![0; self.stages.len()],
            done: 0,
            rows,
        };
        let last = self.stages.len() - 1;
        let mut answers = Vec::new();
        for row in 0..self.stages[last].geometry.out_height() {
            answers.push(walk.row(last, row)?);
        }
        // Rows hold channel after channel; so do the logits.
        let width = self.stages[last].geometry.out_width();
        let channels = self.stages[last].geometry.shape().out_channels;
        let mut rows: Vec<_> = answers.into_iter().map(Vec::into_iter).collect();
        let take = |_| rows.iter_mut().flat_map(|row| row.by_ref().take(width)).collect::<Vec<_>>();
        Ok((0..channels).flat_map(take).collect())
    }
}

/// A_o of every layer for an input of scale a.
fn scales(params: &Params, layers: &[Layer], a: f64) -> Result<Vec<Vec<f64>>, ProtocolError> {
    let most = f64::from((1_i32 << WEIGHT_BITS) - 1);
    let mut incoming = vec![a; layers[0].geometry.input_len()];
    let mut all = Vec::with_capacity(layers.len());
    for (at, layer) in layers.iter().enumerate() {
        let geometry = &layer.geometry;
        let mut scales: Vec<f64> = (0..geometry.shape().out_channels)
            .map(|o| most / terms(layer, o).map(|(i, w)| w.abs() / incoming[i]).fold(0.0, f64::max))
            .collect();
        // Channels of zeros have no scale of their own.
        let finite = scales.iter().copied().filter(|scale| scale.is_finite());
        let least = finite.clone().fold(f64::INFINITY, f64::min);
        if !(least.is_finite() && least > 0.0) {
            return Err(ProtocolError::Caller("a layer of zeros".into()));
        }
        let last = at + 1 == layers.len();
        scales.iter_mut().filter(|scale| last || !scale.is_finite()).for_each(|scale| *scale = least);
        incoming = squared(params, params.limbs() - at, &scales, geometry.output_len());
        all.push(scales);
    }
    Ok(all)
}

/// Scales of the squares of elements of channels with these scales, rescaled at `limbs`; one prime has no rescaling.
fn squared(params: &Params, limbs: usize, scales: &[f64], elements: usize) -> Vec<f64> {
    let q = params.last_prime(limbs);
    let plane = elements / scales.len();
    (0..elements).map(|element| scales[element / plane] * scales[element / plane] / q).collect()
}

/// Weights of output channel o: the first element that each reads in its channel, and the weight.
fn terms(layer: &Layer, o: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
    let s = layer.geometry.shape();
    let (inputs, taps) = (layer.geometry.group_inputs(), s.kernel[0] * s.kernel[1]);
    let first = o / layer.geometry.group_outputs() * inputs;
    let row = &layer.weights[o * inputs * taps..(o + 1) * inputs * taps];
    let plane = s.in_height * s.in_width;
    row.iter().enumerate().map(move |(at, &w)| ((first + at / taps) * plane, w))
}

/// V of all channels.
fn whole(layer: &Layer, incoming: &[f64], scales: &[f64]) -> Vec<i32> {
    let most = (1_i32 << WEIGHT_BITS) - 1;
    let channel = |(o, &scale): (usize, &f64)| {
        let round = move |(i, w): (usize, f64)| ((w * scale / incoming[i]).round() as i32).clamp(-most, most);
        terms(layer, o).map(round).collect::<Vec<_>>()
    };
    scales.iter().enumerate().flat_map(channel).collect()
}

/// Rows or columns along one axis that output `at` reads: tap and place.
fn reads(geometry: &ConvGeometry, axis: usize, at: usize) -> impl Iterator<Item = (usize, usize)> {
    let s = *geometry.shape();
    let side = [s.in_height, s.in_width][axis];
    (0..s.kernel[axis]).filter_map(move |tap| {
        let place = (at * s.stride[axis] + tap * s.dilation[axis]).checked_sub(s.padding[axis])?;
        (place < side).then_some((tap, place))
    })
}

fn check_taps(geometry: &ConvGeometry) -> Result<(), ProtocolError> {
    for (axis, side) in [geometry.out_height(), geometry.out_width()].into_iter().enumerate() {
        if (0..side).any(|at| reads(geometry, axis, at).next().is_none()) {
            return Err(ProtocolError::Caller("a layer with outputs that read nothing but padding".into()));
        }
    }
    Ok(())
}

/// An evaluation on its way.
struct Walk<'e> {
    evaluator: &'e Evaluator,
    input: &'e mut dyn FnMut(usize) -> Result<Ciphertext, ProtocolError>,
    relin: &'e RelinKey,
    progress: &'e mut dyn FnMut(usize, usize),
    /// Rows of the tensor that each layer reads, each channel after channel.
    tensors: Vec<BTreeMap<usize, Vec<Ciphertext>>>,
    /// How many rows of each have been made: each is made once, in order.
    made: Vec<usize>,
    done: usize,
    rows: usize,
}

impl Walk<'_> {
    /// Row `row` of the result of layer `at`.
    fn row(&mut self, at: usize, row: usize) -> Result<Vec<Ciphertext>, ProtocolError> {
        let evaluator = self.evaluator;
        let stage = &evaluator.stages[at];
        let s = *stage.geometry.shape();
        let [channels, height, width] = self.tensor(at);
        // A flat layer numbers the elements of the tensor as it was made, and reads all of them.
        let flat = [s.in_channels, s.in_height, s.in_width] != [channels, height, width];
        let end = match flat {
            true => height,
            false => reads(&stage.geometry, 0, row).last().map_or(0, |(_, y)| y + 1),
        };
        while self.made[at] < end {
            let y = self.made[at];
            let made = match at {
                0 => self.fresh(y)?,
                _ => self.row(at - 1, y)?,
            };
            self.tensors[at].insert(y, made);
            self.made[at] += 1;
        }
        let tensor = &self.tensors[at];
        let element = |channel: usize, y: usize, x: usize| match flat {
            true => {
                let (c, rest) = (channel / (height * width), channel % (height * width));
                &tensor[&(rest / width)][c * width + rest % width]
            }
            false => &tensor[&y][channel * width + x],
        };
        let mut pixels = Vec::with_capacity(stage.geometry.out_width());
        for x in 0..stage.geometry.out_width() {
            pixels.push(stage.pixel(&evaluator.params, [row, x], &element, self.relin)?);
        }
        // Pixel after pixel to channel after channel.
        let mut pixels: Vec<_> = pixels.into_iter().map(Vec::into_iter).collect();
        let out = (0..s.out_channels)
            .flat_map(|_| pixels.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>());
        let out: Vec<Ciphertext> = out.collect();
        if !flat {
            let next = (row + 1) * s.stride[0];
            self.tensors[at].retain(|&y, _| y + s.padding[0] >= next);
        }
        self.done += 1;
        (self.progress)(self.done, self.rows);
        Ok(out)
    }

    /// The shape of the tensor that layer `at` reads, as it was made.
    fn tensor(&self, at: usize) -> Shape {
        let Some(before) = at.checked_sub(1) else { return self.evaluator.input };
        let geometry = &self.evaluator.stages[before].geometry;
        [geometry.shape().out_channels, geometry.out_height(), geometry.out_width()]
    }

    /// A row of the input.
    fn fresh(&mut self, y: usize) -> Result<Vec<Ciphertext>, ProtocolError> {
        let [channels, height, width] = self.evaluator.input;
        let limbs = self.evaluator.params.limbs();
        let mut row = Vec::with_capacity(channels * width);
        for channel in 0..channels {
            for x in 0..width {
                let ciphertext = (self.input)((channel * height + y) * width + x)?;
                if ciphertext.limbs() != limbs || ciphertext.degree() != 1 {
                    return Err(ProtocolError::Caller("an input that is not a fresh ciphertext".into()));
                }
                row.push(ciphertext);
            }
        }
        Ok(row)
    }
}

impl Stage {
    /// All channels of one output pixel, finished for the next layer.
    fn pixel<'t>(
        &self,
        params: &Params,
        [row, column]: [usize; 2],
        element: &dyn Fn(usize, usize, usize) -> &'t Ciphertext,
        relin: &RelinKey,
    ) -> Result<Vec<Ciphertext>, ProtocolError> {
        let s = *self.geometry.shape();
        let (inputs, outputs) = (self.geometry.group_inputs(), self.geometry.group_outputs());
        let taps = s.kernel[0] * s.kernel[1];
        let (rows, columns): (Vec<_>, Vec<_>) =
            (reads(&self.geometry, 0, row).collect(), reads(&self.geometry, 1, column).collect());
        let mut sums = Vec::with_capacity(s.out_channels);
        for group in 0..s.groups {
            let mut places = Vec::new();
            let mut x = Vec::new();
            for c in 0..inputs {
                for &(i, y) in &rows {
                    for &(j, at) in &columns {
                        places.push(c * taps + i * s.kernel[1] + j);
                        x.push(element(group * inputs + c, y, at).as_rlwe());
                    }
                }
            }
            let own = group * outputs..(group + 1) * outputs;
            let row = |o| self.weights[o * inputs * taps..(o + 1) * inputs * taps].iter();
            let weights: Vec<i32> = match places.len() == inputs * taps {
                true => own.flat_map(row).copied().collect(),
                false => own
                    .flat_map(|o| places.iter().map(move |place| self.weights[o * inputs * taps + place]))
                    .collect(),
            };
            sums.extend(params.rlwe().combine(&x, &weights, WEIGHT_BITS).map_err(caller)?);
        }
        let plane = self.geometry.out_height() * self.geometry.out_width();
        let pixel = row * self.geometry.out_width() + column;
        let finish = |(o, sum)| {
            let mut sum = Ciphertext::from_rlwe(params, sum, self.scales[o]).map_err(caller)?;
            sum.add_constant(params, Complex::from(self.bias[o * plane + pixel])).map_err(caller)?;
            if !self.last {
                sum = params.relinearise(params.square(&sum).map_err(caller)?, relin);
                params.rescale(&mut sum).map_err(caller)?;
            }
            Ok(sum)
        };
        sums.into_par_iter().enumerate().map(finish).collect()
    }
}
