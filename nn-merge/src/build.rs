//! From an imported graph to a model: passes, lowering, calibration, quantisation, manifest, and the report of it all.

use he_core::Profile;
use rand_core::Rng;
use rayon::prelude::*;

use crate::calibrate::{self, Interval};
use crate::error::NnError;
use crate::evaluate::Evaluator;
use crate::graph::Graph;
use crate::lower::{ChainLayer, chain_graph, lower};
use crate::model::{ActivationSpec, InputSpec, LayerSpec, Manifest, Model, limits};
use crate::pass::{self, Cost};
use crate::quantize::{Quantized, Widths, quantize};
use crate::report::{LayerReport, MergeReport};

/// Margin on measured bounds when calibration images are given.
pub const DEFAULT_MARGIN: f64 = 2.0;
/// Margin when calibration had to make up its inputs.
pub const SYNTHETIC_MARGIN: f64 = 4.0;
/// Images made up when none are given.
const SYNTHETIC_IMAGES: usize = 32;
/// Images on which the network before and after merging is compared for the report.
const COMPARED_IMAGES: usize = 64;

/// What a build may be told. `Default`-like start: [`BuildOptions::new`].
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Ring degree and modulus.
    pub profile: Profile,
    /// Name put into the manifest.
    pub name: String,
    /// Factor on raw 0..255 pixels, default 1/255.
    pub scale: f64,
    /// Mean per channel after scaling; empty is 0, one entry holds for all channels.
    pub mean: Vec<f64>,
    /// Deviation per channel; empty is 1, one entry holds for all channels.
    pub std: Vec<f64>,
    /// Factor on measured bounds; default [`DEFAULT_MARGIN`], or [`SYNTHETIC_MARGIN`] without calibration images.
    pub margin: Option<f64>,
    /// p, default of the profile.
    pub masked_bits: Option<u32>,
    /// k, default of the profile.
    pub ring_bits: Option<u32>,
    /// k of the last layer, default of the profile.
    pub last_ring_bits: Option<u32>,
    /// h, default of the profile. A larger one makes sign tests cheaper and takes positive values below 2^h units for
    /// zero: the truncated sign test of Ghodsi, Jha, Reagen, Garg, *Circa* (NeurIPS 2021). The report says how many.
    pub ignored_bits: Option<u32>,
    /// Wanted bits of the largest weight, default of the profile.
    pub weight_bits: Option<u32>,
}

impl BuildOptions {
    /// Defaults for a profile: pixels divided by 255, no mean, the profile's widths.
    pub fn new(profile: Profile, name: &str) -> Self {
        Self {
            profile,
            name: name.chars().filter(|c| !c.is_control()).take(120).collect(),
            scale: 1.0 / 255.0,
            mean: Vec::new(),
            std: Vec::new(),
            margin: None,
            masked_bits: None,
            ring_bits: None,
            last_ring_bits: None,
            ignored_bits: None,
            weight_bits: None,
        }
    }

    fn widths(&self) -> Result<Widths, NnError> {
        let defaults = limits(self.profile);
        let ring = self.ring_bits.unwrap_or(defaults.ring_bits);
        let widths = Widths {
            masked: self.masked_bits.unwrap_or(defaults.masked_bits),
            ring,
            last_ring: self.last_ring_bits.unwrap_or(defaults.last_ring_bits),
            ignored: self.ignored_bits.unwrap_or(defaults.ignored_bits.min(ring.saturating_sub(2))),
            weight: self.weight_bits.unwrap_or(defaults.weight_bits),
        };
        widths.check(&defaults)?;
        Ok(widths)
    }
}

/// Merges, calibrates and quantises a network.
///
/// `calibration` holds network inputs (C×H×W, already scaled and normalised). If it is empty, random inputs from the
/// accepted range are used with a larger margin, and the report says so. `rng` gives the commitment's salt and those
/// inputs; use a cryptographic one.
///
/// # Errors
/// Everything that [`NnError`] names: not a chain, too little precision, options out of range, wrong image sizes.
pub fn build(
    graph: &Graph,
    calibration: &[Vec<f32>],
    options: &BuildOptions,
    rng: &mut impl Rng,
) -> Result<(Model, MergeReport), NnError> {
    let widths = options.widths()?;
    let (merged, passes) = pass::run(graph)?;
    let layers = lower(&merged)?;
    let (chain, ids) = chain_graph(&layers, &graph.node(0).shape)?;

    let mut input = input_spec(graph, options)?;
    let ranges = input_ranges(&input, calibration);
    // A client may normalise in single precision; the slack covers its rounding.
    input.limit = ranges.iter().map(Interval::magnitude).fold(f64::MIN_POSITIVE, f64::max) * (1.0 + 1e-6);
    let synthetic = calibration.is_empty();
    let made_up = if synthetic { synthetic_images(&input, &ranges, rng) } else { Vec::new() };
    let images = if synthetic { made_up.as_slice() } else { calibration };
    let margin = options.margin.unwrap_or(if synthetic { SYNTHETIC_MARGIN } else { DEFAULT_MARGIN });
    if !(margin.is_finite() && (1.0..=1e6).contains(&margin)) {
        return Err(NnError::quantize("margin", format!("{margin} is not in 1..=1000000")));
    }
    let measured = calibrate::measure(&chain, &ids, images)?;
    let statics = calibrate::static_bounds(&layers, &ranges);
    let bounds: Vec<f64> =
        (0..layers.len()).map(|i| bound(compares(&layers, i), measured[i] * margin, statics[i])).collect();
    let quantized = quantize(&layers, &bounds, input.limit, &widths)?;
    input.units = quantized[0].units;

    let mut salt = [0; 32];
    rng.fill_bytes(&mut salt);
    let specs = layer_specs(&layers, &quantized, &widths);
    // In real terms: a unit of a layer's result is 2B/2^k.
    let dead: Vec<f64> = specs
        .iter()
        .zip(&bounds)
        .map(|(spec, bound)| {
            let ignored = spec.activation.as_ref().map_or(0, |activation| activation.ignored_bits);
            2.0 * bound * (f64::from(ignored) - f64::from(spec.ring_bits)).exp2()
        })
        .collect();
    let zeroed = calibrate::share_below(&chain, &ids, &dead, images)?;
    let reports = (0..layers.len())
        .map(|i| {
            let room = if compares(&layers, i) { bounds[i] / 2.0 } else { bounds[i] };
            let (largest, room) = ((measured[i], statics[i]), (bounds[i], room));
            LayerReport::new(&specs[i], &layers[i], &quantized[i], largest, room, zeroed[i])
        })
        .collect();
    let weights: Vec<_> = quantized.into_iter().map(|q| q.weights).collect();
    let manifest = Manifest {
        name: options.name.clone(),
        profile: options.profile,
        input,
        classes: layers[layers.len() - 1].linear.geometry.output_len(),
        layers: specs,
        logit_scale: 2.0 * bounds[bounds.len() - 1],
        weights_commitment: Model::commitment(&salt, &weights),
    };
    let model = Model { manifest, layers: weights, salt };
    model.validate()?;
    let compared = &images[..images.len().min(COMPARED_IMAGES)];
    let (merging_error, same_labels) = compare(graph, &chain, compared)?;
    let report = MergeReport {
        name: options.name.clone(),
        profile: options.profile,
        before: Cost::of(graph),
        after: Cost::of(&chain),
        passes,
        layers: reports,
        calibration_images: images.len(),
        calibration_is_synthetic: synthetic,
        margin,
        compared_images: compared.len(),
        merging_error,
        same_labels,
    };
    Ok((model, report))
}

/// Whether differences of the layer's outputs are compared, before a maximum or by the arg-max of the logits: they need
/// one bit more than the outputs themselves.
fn compares(layers: &[ChainLayer], index: usize) -> bool {
    let layer = &layers[index];
    layer.pool.is_some() || (index + 1 == layers.len() && layer.linear.geometry.output_len() > 1)
}

/// B of a layer: the smaller of both bounds, with room for noise and the sign test's band, doubled where differences are
/// compared.
fn bound(compares: bool, wanted: f64, fixed: f64) -> f64 {
    let least = wanted.min(fixed) * (1.0 + 1.0 / 64.0);
    let bound = if least > 0.0 { least } else { 1.0 };
    if compares { 2.0 * bound } else { bound }
}

fn layer_specs(layers: &[ChainLayer], quantized: &[Quantized], widths: &Widths) -> Vec<LayerSpec> {
    let specs = layers.iter().enumerate().map(|(index, layer)| {
        let next = quantized.get(index + 1);
        let ring_bits = if next.is_some() { widths.ring } else { widths.last_ring };
        LayerSpec {
            name: layer.name.clone(),
            geometry: layer.linear.geometry.clone(),
            masked_bits: widths.masked,
            ring_bits,
            reply_bits: ring_bits + 6,
            activation: next.map(|next| ActivationSpec {
                pool: layer.pool.clone(),
                ignored_bits: widths.ignored,
                shift: next.shift,
            }),
        }
    });
    specs.collect()
}

/// The input part of the manifest, units and limit still open.
fn input_spec(graph: &Graph, options: &BuildOptions) -> Result<InputSpec, NnError> {
    let shape = &graph.node(0).shape;
    let (channels, height, width) = match shape[..] {
        [1, c, h, w] => (c, h, w),
        _ => image_of(graph.input_len()),
    };
    let spread = |what: &str, values: &[f64], default: f64| match values {
        [] => Ok(vec![default; channels]),
        [one] => Ok(vec![*one; channels]),
        many if many.len() == channels => Ok(many.to_vec()),
        many => Err(NnError::quantize(what, format!("{} values for {channels} channels", many.len()))),
    };
    let (mean, std) = (spread("mean", &options.mean, 0.0)?, spread("std", &options.std, 1.0)?);
    let positive = |v: f64| v.is_finite() && v > 0.0;
    if !positive(options.scale) || !std.iter().all(|&s| positive(s)) || mean.iter().any(|m| !m.is_finite()) {
        return Err(NnError::quantize(
            "input scaling",
            "scale and std must be positive and all of them finite",
        ));
    }
    Ok(InputSpec {
        channels,
        height,
        width,
        channels_last: graph.channels_last,
        scale: options.scale,
        mean,
        std,
        units: 0.0,
        limit: 0.0,
    })
}

/// A network that takes a flat vector: a square image of one channel or of three if the length allows, else one row.
fn image_of(length: usize) -> (usize, usize, usize) {
    let root = |n: usize| Some(n.isqrt()).filter(|r| r * r == n);
    match (root(length), length.is_multiple_of(3).then(|| root(length / 3)).flatten()) {
        (Some(side), _) => (1, side, side),
        (None, Some(side)) => (3, side, side),
        (None, None) => (1, 1, length),
    }
}

/// What raw pixels can become, per channel, widened to hold the calibration inputs.
fn input_ranges(input: &InputSpec, calibration: &[Vec<f32>]) -> Vec<Interval> {
    let plane = input.height * input.width;
    (0..input.channels)
        .map(|channel| {
            let (a, b) = (input.normalize(0.0, channel), input.normalize(255.0, channel));
            let seen =
                calibration.iter().filter_map(|image| image.get(channel * plane..(channel + 1) * plane));
            seen.flatten().fold(Interval { low: a.min(b), high: a.max(b) }, |range, &v| Interval {
                low: range.low.min(f64::from(v)),
                high: range.high.max(f64::from(v)),
            })
        })
        .collect()
}

fn synthetic_images(input: &InputSpec, ranges: &[Interval], rng: &mut impl Rng) -> Vec<Vec<f32>> {
    let plane = input.height * input.width;
    (0..SYNTHETIC_IMAGES)
        .map(|_| {
            ranges
                .iter()
                .flat_map(|range| std::iter::repeat_n(range, plane))
                .map(|range| {
                    let part = f64::from(rng.next_u32()) / f64::from(u32::MAX);
                    (range.low + part * (range.high - range.low)) as f32
                })
                .collect()
        })
        .collect()
}

/// Largest difference of logits and number of equal labels, before and after merging.
fn compare(graph: &Graph, chain: &Graph, images: &[Vec<f32>]) -> Result<(f64, usize), NnError> {
    let logits = pass::without_softmax(graph)?;
    let (before, after) = (Evaluator::<f32>::new(&logits)?, Evaluator::<f32>::new(chain)?);
    let pairs = images.par_iter().map(|image| {
        let (a, b) = (before.run(image)?, after.run(image)?);
        let worst = a.iter().zip(&b).map(|(x, y)| f64::from((x - y).abs())).fold(0.0, f64::max);
        Ok((worst, usize::from(label(&a) == label(&b))))
    });
    pairs.try_reduce(|| (0.0, 0), |a, b| Ok((f64::max(a.0, b.0), a.1 + b.1)))
}

/// Index of the largest value, the first of equals.
fn label(values: &[f32]) -> usize {
    (0..values.len()).rev().max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or(0)
}
