//! A small random network, built by hand: the protocol's tests need no file.

#![allow(dead_code, reason = "every test file uses its part of this")]

use conv_fast::{ConvGeometry, ConvShape};
use he_core::{Profile, Seed};
use nn_merge::model::{
    ActivationSpec, InputSpec, LayerSpec, LayerWeights, Manifest, Model, PoolGeometry, PoolShape, limits,
};
use rand_core::Rng;

/// A seed from the system, printed so that a failure can be replayed.
pub(crate) fn fresh_seed(what: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    println!("{what} seed {bytes:?}");
    bytes
}

/// conv 3×3 (padded) → max-pool 2×2 → ReLU → strided conv → ReLU → fully connected, 5 classes, random weights.
pub(crate) fn model(profile: Profile, seed: &Seed) -> Model {
    let mut rng = seed.fork("model", &[]).stream();
    let shapes = [
        (2, 8, 8, 4, [3, 3], [1, 1], [1, 1, 1, 1]),
        (4, 4, 4, 6, [3, 2], [2, 1], [1, 0, 0, 1]),
        (48, 1, 1, 5, [1, 1], [1, 1], [0; 4]),
    ];
    let numbers = limits(profile);
    let (p, k) = (numbers.masked_bits, numbers.ring_bits);
    let geometries: Vec<ConvGeometry> = shapes
        .iter()
        .map(|&(in_channels, in_height, in_width, out_channels, kernel, stride, padding)| {
            ConvGeometry::new(ConvShape {
                in_channels,
                in_height,
                in_width,
                out_channels,
                kernel,
                stride,
                padding,
                dilation: [1, 1],
                groups: 1,
            })
            .expect("a valid shape")
        })
        .collect();
    let pool = PoolGeometry::new(PoolShape {
        channels: 4,
        in_height: 8,
        in_width: 8,
        kernel: [2, 2],
        stride: [2, 2],
        padding: [0; 4],
    })
    .expect("a valid pool");
    assert_eq!(geometries[1].output_len(), 48, "the chain fits");

    // Weights of about 6 bits; in the smallest profile of 2, since its ring is narrow.
    let spread = if profile == Profile::Tiny { 7 } else { 127 };
    let weight = |rng: &mut rand_chacha::ChaCha20Rng| (rng.next_u32() % spread) as i32 - spread as i32 / 2;
    let mut specs = Vec::new();
    let mut weights = Vec::new();
    for (l, geometry) in geometries.into_iter().enumerate() {
        let last = l == 2;
        let ring_bits = if last { numbers.last_ring_bits } else { k };
        weights.push(LayerWeights {
            weights: (0..geometry.weights_len()).map(|_| weight(&mut rng)).collect(),
            bias: (0..geometry.shape().out_channels)
                .map(|_| ((rng.next_u64() >> 6) as i64 - (1 << 57)) >> 3)
                .collect(),
        });
        // Sums of up to 48 products of 6 bits each: far from half a turn, so that nothing wraps.
        let shift = (p - k).saturating_sub(9);
        specs.push(LayerSpec {
            name: ["first", "second", "last"][l].into(),
            geometry,
            masked_bits: p,
            ring_bits,
            reply_bits: ring_bits + 6,
            activation: (!last).then(|| ActivationSpec {
                pool: (l == 0).then(|| pool.clone()),
                ignored_bits: numbers.ignored_bits,
                shift,
            }),
        });
    }
    let salt = [7; 32];
    let manifest = Manifest {
        name: "test".into(),
        profile,
        input: InputSpec {
            channels: 2,
            height: 8,
            width: 8,
            channels_last: false,
            scale: 1.0,
            mean: vec![0.0; 2],
            std: vec![1.0; 2],
            units: f64::from(p - 11).exp2(),
            limit: 1.0,
        },
        layers: specs,
        classes: 5,
        logit_scale: 16.0,
        weights_commitment: Model::commitment(&salt, &weights),
    };
    let model = Model { manifest, layers: weights, salt };
    model.validate().expect("a valid model");
    model
}

/// Random inputs in the declared range, image after image.
pub(crate) fn inputs(model: &Model, images: usize, seed: &Seed) -> Vec<i64> {
    let mut rng = seed.fork("inputs", &[]).stream();
    (0..images * model.manifest.input_len())
        .map(|_| model.manifest.input.quantize(f64::from(rng.next_u32()) / 4294967296.0 * 2.0 - 1.0))
        .collect()
}
