//! From an imported graph to a model: passes, lowering, calibration, quantisation, manifest, and the report of it all.

mod inputs;
mod options;
mod replace;
mod signs;

use he_core::Profile;
use rand_core::Rng;
use rayon::prelude::*;

use crate::calibrate::{self, Interval};
use crate::error::NnError;
use crate::evaluate::Evaluator;
use crate::fixed_point::{evaluate_exact, first_largest, quantize_image};
use crate::graph::Graph;
use crate::lower::{LowerOptions, Program, ProgramOp, RealFunction, lower};
use crate::model::{Manifest, Model, OutputSpec};
use crate::pass::{self, Cost, PassRow};
use crate::quantize::{Quantized, quantize, read_raw};
use crate::report::{MergeReport, NodeReport};

pub use inputs::input_spec;
pub use options::{BuildOptions, DEFAULT_MARGIN, SYNTHETIC_MARGIN};
pub use replace::{ChannelRange, Replacement, ReplacementFunction, replace};

/// Most images made up when none are given, and on which networks are compared for the report.
const MOST_IMAGES: [u64; 2] = [32, 64];
/// Products that calibration without images, and each comparison, may take.
const PRODUCTS: u64 = 1 << 34;

/// Merges, calibrates and quantises a network.
///
/// `calibration` holds network inputs (C×H×W, already scaled and normalised). If it is empty, random inputs from the
/// accepted range are used with a larger margin, and the report says so. `rng` gives the commitment's salt and those
/// inputs; use a cryptographic one.
///
/// # Errors
/// Everything that [`NnError`] names: nodes that no protocol computes, too little precision, options out of range,
/// wrong image sizes.
pub fn build(
    graph: &Graph,
    calibration: &[Vec<f32>],
    options: &BuildOptions,
    rng: &mut impl Rng,
) -> Result<(Model, MergeReport), NnError> {
    let synthetic = calibration.is_empty();
    let settings = options.settings(synthetic)?;
    let (graph, replaced) = replace::replace(graph, &options.replace)?;
    let mut input = inputs::input_spec(&graph, options)?;
    let ranges = inputs::input_ranges(&input, calibration);
    // A client may normalise in single precision; the slack covers its rounding.
    input.limit = ranges.iter().map(Interval::magnitude).fold(f64::MIN_POSITIVE, f64::max) * (1.0 + 1e-6);

    let (merged, passes) =
        if options.merging { merge(&graph, &ranges)? } else { pass::run_necessary(&graph)? };
    let shape = [input.channels, input.height, input.width];
    let lowering = LowerOptions {
        leaky_as_pair: options.profile != Profile::Wide,
        split_joins: options.profile == Profile::Wide,
        input: Some(shape),
    };
    let program = lower(&merged, lowering)?;
    settings.check_names(&program)?;

    let cost = Cost::of(&merged);
    let affordable = |most: u64| (PRODUCTS / cost.products.max(1)).clamp(4.min(most), most) as usize;
    let [made_up, compared] = MOST_IMAGES.map(affordable);
    let made_up =
        if synthetic { inputs::synthetic_images(&input, &ranges, made_up, rng) } else { Vec::new() };
    let images = if synthetic { made_up.as_slice() } else { calibration };
    let figures = Figures::new(&program, &merged, images, &ranges, !options.strict)?;
    let quantized = quantize(&program, &figures.measured, &figures.fixed, input.limit, &settings)?;
    input.units = quantized.units;

    let zeroed = zeroed(&program, &merged, &quantized, images)?;
    let nodes = (0..program.nodes.len())
        .filter_map(|at| {
            NodeReport::new(&program, at, &quantized, &figures.measured, &figures.fixed, zeroed[at])
        })
        .collect();
    let mut salt = [0; 32];
    rng.fill_bytes(&mut salt);
    let manifest = Manifest {
        name: options.name.clone(),
        profile: options.profile,
        input,
        nodes: quantized.nodes,
        output: OutputSpec {
            node: quantized.index[program.output],
            ring_bits: settings.last_ring,
            scale: quantized.logit_scale,
        },
        weights_commitment: Model::commitment(&salt, &quantized.weights),
    };
    let model = Model { manifest, nodes: quantized.weights, salt };
    model.validate()?;
    let compared: Vec<&[f32]> = images
        .iter()
        .enumerate()
        .filter(|(index, _)| !figures.wild.contains(index))
        .map(|(_, image)| image.as_slice())
        .take(compared)
        .collect();
    let comparison = Comparison::new(&graph, &merged, &model, &compared)?;
    let report = MergeReport {
        name: options.name.clone(),
        profile: options.profile,
        before: Cost::of(&graph),
        after: cost,
        passes,
        replaced,
        nodes,
        calibration_images: images.len(),
        wild_images: figures.wild.len(),
        calibration_is_synthetic: synthetic,
        margin: settings.margin,
        output_measured: figures.measured[program.output],
        output_static: figures.fixed[program.output],
        output_bound: quantized.bounds.output_base,
        compared_images: compared.len(),
        merging_error: comparison.merging_error,
        same_labels: comparison.merged_labels,
        fixed_point_error: comparison.fixed_point_error,
        largest_logit: comparison.largest_logit,
        fixed_point_labels: comparison.fixed_point_labels,
        in_range: comparison.in_range,
    };
    Ok((model, report))
}

/// All passes, then activations with proven signs, and all passes again where some went.
fn merge(graph: &Graph, ranges: &[Interval]) -> Result<(Graph, Vec<PassRow>), NnError> {
    let (mut merged, mut rows) = pass::run(graph)?;
    while let Some(next) = signs::proven_signs(&merged, ranges)? {
        rows.push(PassRow { pass: "proven signs", before: Cost::of(&merged), after: Cost::of(&next) });
        let (again, more) = pass::run(&next)?;
        rows.extend(more);
        merged = again;
    }
    Ok((merged, rows))
}

/// Largest |value| of every program node whose value has to fit, zero elsewhere.
struct Figures {
    measured: Vec<f64>,
    fixed: Vec<f64>,
    wild: Vec<usize>,
}

impl Figures {
    fn new(
        program: &Program,
        graph: &Graph,
        images: &[Vec<f32>],
        ranges: &[Interval],
        tame: bool,
    ) -> Result<Self, NnError> {
        let read = read_raw(program);
        let ids: Vec<usize> = read.iter().map(|&at| program.nodes[at].value).collect();
        let calibrate::Measured { largest, wild } = calibrate::measure(graph, &ids, images, tame)?;
        let bounds = calibrate::intervals(graph, ranges)?;
        let zeros = vec![0.0; program.nodes.len()];
        let mut figures = Self { measured: zeros.clone(), fixed: zeros, wild };
        for ((&at, &id), &largest) in read.iter().zip(&ids).zip(&largest) {
            figures.measured[at] = largest;
            let fixed = bounds[id].iter().map(Interval::magnitude);
            // A bound that is no number bounds nothing.
            figures.fixed[at] = fixed.fold(0.0, |m, v| if v.is_nan() { f64::INFINITY } else { m.max(v) });
        }
        Ok(figures)
    }
}

/// Per program node the share of positive arguments that its sign test may take for negative ones; none without one.
fn zeroed(
    program: &Program,
    graph: &Graph,
    quantized: &Quantized,
    images: &[Vec<f32>],
) -> Result<Vec<Option<f64>>, NnError> {
    let mut out = vec![None; program.nodes.len()];
    let mut asked = Vec::new();
    for (at, node) in program.nodes.iter().enumerate() {
        let ProgramOp::Activation(activation) = &node.op else { continue };
        let tested = |f: &RealFunction| matches!(f, RealFunction::Relu | RealFunction::Pair);
        if let Some(producer) = &quantized.plan.producers[at]
            && activation.parts.iter().any(|part| tested(&part.function))
        {
            let raw = node.inputs[0];
            let unit = quantized.bounds.turn(program, raw) / f64::from(producer.ring).exp2();
            asked.push((at, program.nodes[raw].value, unit * f64::from(producer.ignored).exp2()));
        }
    }
    let ids: Vec<usize> = asked.iter().map(|a| a.1).collect();
    let thresholds: Vec<f64> = asked.iter().map(|a| a.2).collect();
    for ((at, ..), share) in asked.iter().zip(calibrate::share_below(graph, &ids, &thresholds, images)?) {
        out[*at] = Some(share);
    }
    Ok(out)
}

/// The imported network, the merged one and the fixed-point one on the same images.
struct Comparison {
    merging_error: f64,
    merged_labels: usize,
    fixed_point_error: f64,
    fixed_point_labels: usize,
    largest_logit: f64,
    in_range: usize,
}

impl Comparison {
    fn new(graph: &Graph, merged: &Graph, model: &Model, images: &[&[f32]]) -> Result<Self, NnError> {
        let logits = pass::without_softmax(graph)?;
        let (before, after) = (Evaluator::<f32>::new(&logits)?, Evaluator::<f32>::new(merged)?);
        let pairs = images
            .par_iter()
            .map(|image| Ok((before.run(image)?, after.run(image)?)))
            .collect::<Result<Vec<_>, NnError>>()?;
        let mut out = Self {
            merging_error: 0.0,
            merged_labels: 0,
            fixed_point_error: 0.0,
            fixed_point_labels: 0,
            largest_logit: 0.0,
            in_range: 0,
        };
        for (image, (before, after)) in images.iter().zip(&pairs) {
            let integers = quantize_image(&model.manifest, image)?;
            let exact = evaluate_exact(model, &integers, None)?;
            out.in_range += usize::from(exact.in_range);
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
            let (before, after) = (wide(before), wide(after));
            let label = first_largest(&before);
            out.merging_error = distance(&before, &after).max(out.merging_error);
            out.fixed_point_error = distance(&after, &exact.logits).max(out.fixed_point_error);
            out.largest_logit = before.iter().fold(out.largest_logit, |m, v| m.max(v.abs()));
            out.merged_labels += usize::from(first_largest(&after) == label);
            out.fixed_point_labels += usize::from(exact.label == label);
        }
        Ok(out)
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}
