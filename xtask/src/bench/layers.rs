//! One private layer at a time: its outputs are what the client gets, so there is no activation in it.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;
use conv_fast::{ConvGeometry, ConvShape, direct_f64};
use he_core::{Profile, Seed};
use nn_merge::model::{InputSpec, Manifest, Model, NodeSpec, NodeWeights, OpSpec, OutputSpec, limits};
use rand_core::Rng;

use super::party::{Setting, measure};
use super::timing::median;
use super::{Options, Row, SessionFigures};

/// (name, input channels, side, output channels, kernel, stride)
const LAYERS: &[(&str, usize, usize, usize, usize, usize)] = &[
    ("conv 5×5 1→16 28×28", 1, 28, 16, 5, 1),
    ("conv 5×5 16→16 12×12", 16, 12, 16, 5, 1),
    ("conv 3×3 16→16 32×32", 16, 32, 16, 3, 1),
    ("conv 3×3 16→32 32×32 /2", 16, 32, 32, 3, 2),
    ("conv 3×3 64→64 8×8", 64, 8, 64, 3, 1),
    ("conv 1×1 256→256 14×14", 256, 14, 256, 1, 1),
    ("conv 1×1 64→256 56×56", 64, 56, 256, 1, 1),
    ("conv 3×3 64→64 56×56", 64, 56, 64, 3, 1),
    ("conv 7×7 3→64 224×224 /2", 3, 224, 64, 7, 2),
    ("fully connected 256→100", 256, 1, 100, 1, 1),
    ("fully connected 1024→10", 1024, 1, 10, 1, 1),
];

/// All layers.
pub(super) fn run(options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &(name, channels, side, outputs, kernel, stride) in
        LAYERS.iter().filter(|layer| options.wants(layer.0))
    {
        let pad = if kernel == 5 { 0 } else { kernel / 2 };
        let geometry = ConvGeometry::new(ConvShape {
            stride: [stride; 2],
            padding: [pad; 4],
            ..ConvShape::same([channels, outputs], [side, side], kernel)
        })?;
        let model = model(name, &geometry)?;
        let plain = plain_seconds(&geometry, options.smoke());
        for bundle in if options.smoke() { vec![1] } else { vec![1, 8] } {
            let bundles = if options.smoke() { 1 } else { 9 };
            let setting = Setting { bundle, bundles, logits: true, ..Setting::DEFAULT };
            let measured = measure(&model, setting)?;
            let session = SessionFigures::new(measured, bundle, "direct f64", plain);
            rows.push(Row {
                name: name.into(),
                profile: "wide".into(),
                session: Some(session),
                ..Row::default()
            });
        }
    }
    Ok(rows)
}

fn plain_seconds(geometry: &ConvGeometry, smoke: bool) -> f64 {
    let weights: Vec<f64> = (0..geometry.weights_len()).map(|i| (i as f64).sin()).collect();
    let input: Vec<f64> = (0..geometry.input_len()).map(|i| (i as f64).cos()).collect();
    let budget = Duration::from_millis(if smoke { 1 } else { 200 });
    median(budget, || drop(black_box(direct_f64(geometry, &weights, &input))))
}

/// A model of this one layer, with random weights of the profile's width.
fn model(name: &str, geometry: &ConvGeometry) -> Result<Model> {
    let profile = Profile::Wide;
    let numbers = limits(profile);
    let mut rng = Seed::from_os()?.stream();
    let largest = 1i32 << (numbers.weight_bits - 1);
    let weights = (0..geometry.weights_len()).map(|_| rng.next_u32() as i32 % largest).collect();
    let layer = NodeWeights { weights, bias: vec![0; geometry.shape().out_channels] };
    let nodes = vec![NodeWeights::default(), layer];
    let shape = geometry.shape();
    let salt = [0; 32];
    let width = numbers.max_width;
    let node = |name: &str, op, inputs| NodeSpec { name: name.into(), op, inputs };
    let manifest = Manifest {
        name: name.into(),
        profile,
        input: InputSpec {
            channels: shape.in_channels,
            height: shape.in_height,
            width: shape.in_width,
            channels_last: false,
            scale: 1.0 / 255.0,
            mean: vec![0.0; shape.in_channels],
            std: vec![1.0; shape.in_channels],
            units: f64::from(width - numbers.weight_bits).exp2() / geometry.terms() as f64,
            limit: 1.0,
        },
        nodes: vec![
            node("input", OpSpec::Input { width }, vec![]),
            node(
                name,
                OpSpec::Linear { geometry: geometry.clone(), reply_bits: numbers.ring_bits + 6 },
                vec![0],
            ),
        ],
        output: OutputSpec { node: 1, ring_bits: numbers.ring_bits, scale: 1.0 },
        weights_commitment: Model::commitment(&salt, &nodes),
    };
    let model = Model { manifest, nodes, salt };
    model.validate()?;
    Ok(model)
}
