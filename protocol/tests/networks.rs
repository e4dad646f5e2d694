//! Graphs of every shape under the protocol: bit for bit what the oracle gives with the run's masks, and within the stated
//! bound of the noise-free form, which knows neither masks nor tiles.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;

use common::{check, fresh_seed, width};
use he_core::seed::Stream;
use he_core::{Profile, Seed};
use nn_merge::NnError;
use nn_merge::fixed_point::networks::{Conv, Sketch, functions, random};
use nn_merge::model::{ActivationSpec, FunctionSpec, LocalOp, Model, OpSpec, PartSpec, limits};
use protocol::{ClientOptions, Rounds};
use rand_core::Rng;

type Build = fn(&mut Sketch<'_, Stream>) -> Result<u32, NnError>;

/// The network that `build` grows behind an input of this shape.
fn grown(profile: Profile, shape: [usize; 3], build: Build) -> Model {
    let mut rng = Seed::from_bytes(fresh_seed("network")).stream();
    let w = width(profile);
    let mut sketch = Sketch::new(profile, shape, w, f64::from(w.min(20) - 8).exp2(), &mut rng);
    let last = build(&mut sketch).unwrap();
    sketch.finish(last).unwrap()
}

/// A block of two convolutions with `shortcut` beside it, its sum and a ReLU.
fn block(
    s: &mut Sketch<'_, Stream>,
    source: u32,
    channels: usize,
    stride: usize,
    shortcut: impl Fn(&mut Sketch<'_, Stream>, u32) -> Result<u32, NnError>,
) -> Result<u32, NnError> {
    let first = s.conv(source, Conv { stride: [stride; 2], ..Conv::same(channels, 3) })?;
    let relu = s.relu(first)?;
    let second = s.conv(relu, Conv::same(channels, 3))?;
    let short = shortcut(s, source)?;
    let sum = s.sum(&[second, short]);
    s.relu(sum)
}

/// Names, input shapes and networks.
fn networks() -> Vec<(&'static str, [usize; 3], Build)> {
    vec![
        ("residuals", [3, 8, 8], |s| {
            let stem = s.conv(0, Conv::same(4, 3))?;
            let stem = s.relu(stem)?;
            let identity = block(s, stem, 4, 1, |_, source| Ok(source))?;
            let projection = block(s, identity, 6, 2, |s, source| {
                s.conv(source, Conv { stride: [2; 2], ..Conv::plain(6, [1, 1]) })
            })?;
            // The parameter-free shortcut of CIFAR's residual networks: every other pixel, zero channels behind.
            let padded = block(s, projection, 8, 2, |s, source| {
                let slice = LocalOp::Slice { start: [0; 3], step: [1, 2, 2], size: [6, 2, 2] };
                let sliced = s.local(&[source], slice)?;
                s.local(&[sliced], LocalOp::Pad { before: [1, 0, 0], after: [1, 0, 0] })
            })?;
            let pool = s.pool(padded, [2, 2], [2, 2], [0; 4])?;
            let pooled = s.local(&[padded], LocalOp::SumPool(pool))?;
            s.dense(pooled, 5)
        }),
        ("fire module, overlapping maximum and sum pools", [2, 11, 9], |s| {
            let first = s.conv(0, Conv { stride: [2, 1], ..Conv::plain(6, [3, 3]) })?;
            let relu = s.pooled_relu(first, 3, 2)?;
            let squeeze = s.conv(relu, Conv::plain(3, [1, 1]))?;
            let squeeze = s.relu(squeeze)?;
            let left = s.conv(squeeze, Conv::plain(4, [1, 1]))?;
            let right = s.conv(squeeze, Conv::same(4, 3))?;
            let joined = s.local(&[left, right], LocalOp::Concat)?;
            let relu = s.relu(joined)?;
            let halves = [0, 4].map(|start| {
                let [_, height, width] = s.shape(relu);
                LocalOp::Slice { start: [start, 0, 0], step: [1; 3], size: [4, height, width] }
            });
            let first = s.local(&[relu], halves[0].clone())?;
            let second = s.local(&[relu], halves[1].clone())?;
            let swapped = s.local(&[second, first, squeeze], LocalOp::Concat)?;
            let pool = s.pool(swapped, [2, 2], [1, 1], [1, 0, 0, 1])?;
            let pooled = s.local(&[swapped], LocalOp::SumPool(pool))?;
            s.dense(pooled, 4)
        }),
        ("a lift between two linear maps, a maximum without ReLU", [2, 6, 6], |s| {
            let first = s.conv(0, Conv::same(3, 3))?;
            let lifted = s.apply(first, ring(s), FunctionSpec::Identity)?;
            let second = s.conv(lifted, Conv::same(4, 3))?;
            let pool = s.pool(second, [2, 3], [2, 2], [0, 1, 0, 0])?;
            let parts = ActivationSpec::single(FunctionSpec::Identity, 4);
            let largest = s.activation(second, Some(pool), ring(s), parts)?;
            s.dense(largest, 3)
        }),
        ("mixed functions by channel", [3, 5, 5], |s| {
            let first = s.conv(0, Conv::same(7, 3))?;
            let high = 1 << (ring(s) - 5);
            let parts = vec![
                PartSpec { channels: vec![(0, 1), (4, 2)], function: FunctionSpec::Relu },
                PartSpec { channels: vec![(1, 2)], function: FunctionSpec::Identity },
                PartSpec { channels: vec![(6, 1)], function: FunctionSpec::Clip { low: 0, high } },
                PartSpec {
                    channels: vec![(3, 1)],
                    function: FunctionSpec::Leaky { negative: 1, positive: 4 },
                },
            ];
            let mixed = s.activation(first, None, ring(s), parts)?;
            s.dense(mixed, 3)
        }),
        ("depthwise, dilated, grouped, upsampled", [4, 7, 6], |s| {
            let depthwise = s.conv(0, Conv { groups: 4, ..Conv::same(4, 3) })?;
            let relu = s.relu(depthwise)?;
            let dilated =
                s.conv(relu, Conv { dilation: [2, 2], padding: [2, 1, 2, 3], ..Conv::plain(4, [3, 3]) })?;
            let relu = s.relu(dilated)?;
            let larger = s.local(&[relu], LocalOp::Upsample([1, 2]))?;
            let grouped = s.conv(larger, Conv { groups: 2, stride: [2, 3], ..Conv::plain(6, [2, 3]) })?;
            let relu = s.relu(grouped)?;
            let turned = s.local(&[relu], LocalOp::Permute([1, 2, 0]))?;
            s.dense(turned, 3)
        }),
        ("an activation of an activation, an output behind an activation", [1, 4, 4], |s| {
            let first = s.conv(0, Conv::same(3, 3))?;
            let relu = s.relu(first)?;
            let again = s.sum(&[relu]);
            let clipped = s.apply(again, ring(s), FunctionSpec::Clip { low: 0, high: 1 << (ring(s) - 4) })?;
            let pool = s.pool(clipped, [4, 4], [1, 1], [0; 4])?;
            let pooled = s.local(&[clipped], LocalOp::SumPool(pool))?;
            Ok(s.sum(&[pooled]))
        }),
    ]
}

/// k, which needs a profile; a sketch's own.
fn ring(s: &Sketch<'_, Stream>) -> u32 {
    limits(s.profile()).ring_bits
}

#[test]
fn graphs_by_hand_in_every_profile() {
    for profile in Profile::ALL {
        for (name, shape, build) in networks() {
            let worst = check(&grown(profile, shape, build), 2, ClientOptions::new(), name);
            println!("{profile}: {name}: at most {worst:.3} of the bound");
        }
    }
}

#[test]
fn every_function_in_every_profile() {
    for profile in Profile::ALL {
        let mut rng = Seed::from_bytes(fresh_seed("functions")).stream();
        for (ring_bits, function) in functions(profile, width(profile)) {
            for rounds in [Rounds::Three, Rounds::One] {
                let mut s = Sketch::new(profile, [2, 4, 4], width(profile), 512.0, &mut rng);
                let first = s.conv(0, Conv::same(3, 3)).unwrap();
                let middle = s.apply(first, ring_bits, function.clone()).unwrap();
                let last = s.dense(middle, 3).unwrap();
                let options = ClientOptions::new().rounds(rounds);
                check(&s.finish(last).unwrap(), 1, options, &format!("{profile} {function:?} {rounds:?}"));
            }
        }
    }
}

/// Planes of more pixels than a polynomial has coefficients.
#[test]
fn large_planes_are_cut_into_tiles() {
    for profile in Profile::ALL {
        let conv: [Build; 4] = [
            |s| s.conv(0, Conv { stride: [9, 11], ..Conv::same(2, 3) }),
            |s| s.conv(0, Conv { stride: [7, 10], padding: [2, 3, 1, 0], ..Conv::plain(2, [7, 5]) }),
            |s| {
                let first = s.conv(0, Conv { stride: [4, 4], groups: 2, ..Conv::same(2, 3) })?;
                let relu = s.pooled_relu(first, 3, 3)?;
                let second = s.conv(relu, Conv::same(2, 3))?;
                let sum = s.sum(&[second, relu]);
                let relu = s.relu(sum)?;
                s.dense(relu, 3)
            },
            |s| {
                // Two readers of one large tensor, with other tiles each.
                let first = s.conv(0, Conv { stride: [9, 9], ..Conv::plain(2, [3, 3]) })?;
                let second =
                    s.conv(0, Conv { stride: [9, 9], dilation: [2, 2], ..Conv::plain(2, [2, 2]) })?;
                Ok(s.sum(&[first, second]))
            },
        ];
        for build in conv {
            check(&grown(profile, [2, 67, 71], build), 3, ClientOptions::new(), "tiles");
        }
    }
}

#[test]
fn random_graphs() {
    let bytes = fresh_seed("graphs");
    let mut rng = Seed::from_bytes(bytes).stream();
    let mut seen = [0usize; 4];
    for round in 0..24 {
        let profile = Profile::ALL[round % Profile::ALL.len()];
        let model = random(profile, 10, &mut rng).unwrap();
        for node in &model.manifest.nodes {
            match node.op {
                OpSpec::Linear { .. } => seen[0] += 1,
                OpSpec::Sum { .. } => seen[1] += 1,
                OpSpec::Activation(_) => seen[2] += 1,
                OpSpec::Local(_) => seen[3] += 1,
                OpSpec::Input { .. } => {}
            }
        }
        let images = 1 + rng.next_u32() as usize % 3;
        check(&model, images, ClientOptions::new(), &format!("graph {round}"));
    }
    println!("linear, sum, activation and local nodes: {seen:?}");
    // Sums are the rarest: about twenty, by chance now and then nine.
    assert!(seen.iter().all(|&count| count >= 3), "the graphs are of many kinds: {seen:?}");
}
