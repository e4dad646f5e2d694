//! The two forms against one another, on random graphs and tapes that a dealer makes up: masks and shares are uniform, and
//! there is no noise but the roundings.

use conv_fast::{ConvGeometry, ConvShape, direct, direct_wrapping};
use he_core::{Params, Profile};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use ss_core::maximum::Tournament;

use super::networks::{Conv, Sketch, functions, random};
use super::tournament::bundle_pool;
use super::*;
use crate::model::{Kind, LocalOp, Model, limits};

fn seeded(what: &str) -> ChaCha20Rng {
    let mut seed = [0; 32];
    // Fresh in every run, and printed.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    seed[..16].copy_from_slice(&(now.as_nanos() ^ u128::from(std::process::id()) << 64).to_le_bytes());
    println!("{what} seed {seed:?}");
    ChaCha20Rng::from_seed(seed)
}

fn uniform(rng: &mut ChaCha20Rng, count: usize, below: u64) -> Vec<u64> {
    (0..count).map(|_| rng.next_u64() % below).collect()
}

/// A layer as the dealer cuts it: as it is, or with its border as slots of known zeros.
fn slots(geometry: &ConvGeometry, explicit: bool) -> (ConvGeometry, Vec<Option<u32>>) {
    let s = *geometry.shape();
    if !explicit {
        return (geometry.clone(), (0..geometry.input_len() as u32).map(Some).collect());
    }
    let [top, left, bottom, right] = s.padding;
    let pad = LocalOp::Pad { before: [0, top, left], after: [0, bottom, right] };
    let map = pad.index_map(&[[s.in_channels, s.in_height, s.in_width]]);
    let tile = ConvGeometry::new(ConvShape {
        in_height: s.in_height + top + bottom,
        in_width: s.in_width + left + right,
        padding: [0; 4],
        ..s
    });
    (
        tile.expect("no larger than the padded plane"),
        (0..map.len()).map(|i| map.sources(i).first().copied()).collect(),
    )
}

/// A tape for any inputs: all masks uniform, server_mask = W·r + bias − c.
fn deal(model: &Model, images: usize, labels: usize, output_bits: u32, rng: &mut ChaCha20Rng) -> Tape {
    let manifest = &model.manifest;
    let (tensors, params) = (manifest.tensors().expect("valid"), Params::new(manifest.profile));
    let p = limits(manifest.profile).masked_bits;
    let mut tape = Tape { labels, ..Tape::default() };
    for ((node, own), tensor) in manifest.nodes.iter().zip(&model.nodes).zip(&tensors) {
        let mut entry = NodeTape::default();
        if let Kind::Masked { width } = tensor.kind
            && !matches!(node.op, OpSpec::Local(_))
        {
            entry.mask = uniform(rng, images * tensor.elements(), 1 << width);
        }
        if let OpSpec::Activation(spec) = &node.op
            && let Some(pool) = &spec.pool
        {
            let levels = bundle_pool(pool, images).expect("valid");
            entry.pool_shares = levels
                .levels()
                .iter()
                .map(|level| uniform(rng, level.gates(), 1 << spec.ring_bits))
                .collect();
        }
        if let OpSpec::Linear { geometry, .. } = &node.op {
            let explicit = rng.next_u32().is_multiple_of(2);
            let (tile, slots) = slots(geometry, explicit);
            let weights: Vec<i64> = own.weights.iter().map(|&w| i64::from(w)).collect();
            let count = images * slots.len();
            let common = uniform(rng, count, 1 << p.unwrap_or(1));
            let (mut slot_masks, mut server_mask, mut client_share) = (vec![], vec![], vec![]);
            for (limb, q) in params.moduli().iter().enumerate() {
                let masks = if p.is_some() { common.clone() } else { uniform(rng, count, q.value()) };
                let lifted = p.map_or(masks.clone(), |p| params.up(&masks, p).swap_remove(0));
                let product: Vec<u64> = lifted
                    .chunks(tile.input_len())
                    .flat_map(|tile_input| direct(&tile, q, &weights, tile_input))
                    .collect();
                let share = uniform(rng, product.len(), q.value());
                let each = geometry.output_len() / own.bias.len();
                let added = product.iter().zip(&share).enumerate().map(|(i, (&wr, &c))| {
                    let bias = params.torus(own.bias[i % geometry.output_len() / each])[limb];
                    q.sub(q.add(wr, bias), c)
                });
                server_mask.push(added.collect());
                client_share.push(share);
                slot_masks.push(masks);
            }
            let outputs = (0..geometry.output_len() as u32).collect();
            entry.linear = Some(LinearTape { tile, slots, outputs, slot_masks, server_mask, client_share });
        }
        tape.nodes.push(entry);
    }
    if labels > 0 {
        let classes = tensors[manifest.output.node as usize].elements();
        let windows: Vec<Vec<u32>> =
            (0..images).map(|b| (0..classes).map(|i| (b * classes + i) as u32).collect()).collect();
        let tournament = Tournament::top(images * classes, &windows, labels).expect("valid");
        tape.arg_max_shares =
            tournament.levels().iter().map(|level| uniform(rng, level.gates(), 1 << output_bits)).collect();
    }
    tape
}

fn inputs(model: &Model, images: usize, rng: &mut ChaCha20Rng) -> Vec<i64> {
    let limit = model.manifest.input.units;
    (0..images * model.manifest.input_len())
        .map(|_| ((f64::from(rng.next_u32()) / 2147483648.0 - 1.0) * limit).round() as i64)
        .collect()
}

/// Runs both forms; gives the largest distance in units of its bound.
fn compare(model: &Model, rng: &mut ChaCha20Rng) -> f64 {
    let images = 2;
    let inputs = inputs(model, images, rng);
    let bits = model.manifest.output.ring_bits;
    let tape = deal(model, images, 0, bits, rng);
    let (taped, _) = evaluate_with(model, images, &inputs, &tape, None).expect("a tape that fits");
    let many = evaluate_integers(model, images, &inputs).expect("valid");
    let unit = model.manifest.output.scale / f64::from(bits).exp2();
    let mut worst = 0f64;
    for ((image, taped), many) in inputs.chunks(model.manifest.input_len()).zip(&taped).zip(&many) {
        let exact = evaluate_exact(model, image, None).expect("valid");
        assert_eq!(&exact.logits, many);
        assert!(exact.in_range, "{:?}: {model:?}", exact.overflow);
        for ((&taped, &logit), &bound) in taped.iter().zip(&exact.logits).zip(&exact.bounds) {
            let distance = (taped as f64 * unit - logit).abs();
            assert!(distance <= bound, "{distance} beyond {bound}: {:#?}", model.manifest.nodes);
            worst = worst.max(distance / bound);
        }
    }
    worst
}

#[test]
fn random_graphs_agree_within_their_bounds() {
    let mut rng = seeded("graphs");
    let mut seen = [0usize; 4];
    for round in 0..120 {
        let profile = Profile::ALL[round % Profile::ALL.len()];
        let model = random(profile, 12, &mut rng).expect("what does not fit is not taken");
        for node in &model.manifest.nodes {
            match node.op {
                OpSpec::Linear { .. } => seen[0] += 1,
                OpSpec::Sum { .. } => seen[1] += 1,
                OpSpec::Activation(_) => seen[2] += 1,
                OpSpec::Local(_) => seen[3] += 1,
                OpSpec::Input { .. } => {}
            }
        }
        compare(&model, &mut rng);
    }
    println!("linear, sum, activation, local nodes: {seen:?}");
    assert!(seen.iter().all(|&count| count > 60), "the graphs are of many kinds: {seen:?}");
}

#[test]
fn every_function_agrees_in_every_profile() {
    let mut rng = seeded("functions");
    for profile in Profile::ALL {
        let numbers = limits(profile);
        for (ring_bits, function) in functions(profile, numbers.max_width) {
            let mut sketch = Sketch::new(profile, [2, 4, 4], numbers.max_width, 1024.0, &mut rng);
            let first = sketch.conv(0, Conv::same(3, 3)).expect("fits");
            let middle = sketch.apply(first, ring_bits, function.clone()).expect("fits");
            let last = sketch.dense(middle, 4).expect("fits");
            let model = sketch.finish(last).unwrap_or_else(|error| panic!("{profile} {function:?}: {error}"));
            compare(&model, &mut rng);
        }
    }
}

#[test]
fn a_changed_tape_is_noticed_and_a_foreign_one_refused() {
    let mut rng = seeded("tape");
    let mut sketch = Sketch::new(Profile::Wide, [1, 4, 4], 40, 1024.0, &mut rng);
    let first = sketch.conv(0, Conv::same(2, 3)).expect("fits");
    let relu = sketch.pooled_relu(first, 2, 2).expect("fits");
    let second = sketch.conv(relu, Conv::same(2, 1)).expect("fits");
    let sum = sketch.sum(&[second, relu]);
    let model = sketch.finish(sum).expect("valid");
    let inputs = inputs(&model, 1, &mut rng);
    let mut tape = deal(&model, 1, 1, 18, &mut rng);
    let honest = evaluate_with(&model, 1, &inputs, &tape, None).expect("it fits");
    assert_eq!(honest.1.len(), 1);
    let linear = |tape: &mut Tape| tape.nodes[3].linear.take().expect("a linear layer");
    let mut bent = linear(&mut tape);
    bent.client_share[0][0] ^= 1 << 40;
    tape.nodes[3].linear = Some(bent);
    assert_ne!(evaluate_with(&model, 1, &inputs, &tape, None).expect("it fits").0, honest.0);
    let mut short = linear(&mut tape);
    short.slot_masks[0].pop();
    tape.nodes[3].linear = Some(short);
    assert!(matches!(evaluate_with(&model, 1, &inputs, &tape, None), Err(NnError::Value { .. })));
    tape.nodes[3].linear = None;
    assert!(matches!(evaluate_with(&model, 1, &inputs, &tape, None), Err(NnError::Value { .. })));
    tape.nodes.pop();
    assert!(evaluate_with(&model, 1, &inputs, &tape, None).is_err());
}

/// Beyond the ring the noise-free form says so, and names the node.
#[test]
fn values_that_leave_their_range_are_reported() {
    let mut rng = seeded("range");
    let mut sketch = Sketch::new(Profile::Wide, [1, 1, 4], 40, 1024.0, &mut rng);
    let first = sketch.dense(0, 3).expect("fits");
    let relu = sketch.relu(first).expect("fits");
    let last = sketch.dense(relu, 2).expect("fits");
    let mut model = sketch.finish(last).expect("valid");
    assert!(evaluate_exact(&model, &[1024; 4], None).expect("valid").in_range);
    // A bias of just under half a turn: as a torus value fine, as an activation's input not.
    model.nodes[1].bias.fill((1 << 61) - (1 << 40));
    let exact = evaluate_exact(&model, &[0; 4], None).expect("valid");
    assert_eq!((exact.in_range, exact.overflow.as_deref()), (false, Some("activation 2")));
}

/// The fast convolution of the noise-free form against the definition, at the largest numbers a model may hold.
#[test]
fn one_layer_is_its_definition() {
    let mut rng = seeded("layer");
    for _ in 0..20 {
        let mut sketch = Sketch::new(Profile::Wide, [3, 7, 6], 46, 1e12, &mut rng);
        let conv = Conv { stride: [2, 1], dilation: [1, 2], padding: [1, 0, 2, 1], ..Conv::plain(4, [3, 2]) };
        let last = sketch.conv(0, conv).expect("fits");
        let model = sketch.finish(last).expect("valid");
        let OpSpec::Linear { geometry, .. } = &model.manifest.nodes[1].op else { panic!("a linear node") };
        let inputs = inputs(&model, 1, &mut rng);
        let weights: Vec<i64> = model.nodes[1].weights.iter().map(|&w| i64::from(w)).collect();
        let residues: Vec<u64> = inputs.iter().map(|&v| v as u64).collect();
        let each = geometry.output_len() / model.nodes[1].bias.len();
        let slow: Vec<f64> = direct_wrapping(geometry, &weights, &residues)
            .iter()
            .enumerate()
            .map(|(i, &sum)| {
                ((sum as i64) << 16).wrapping_add(model.nodes[1].bias[i / each]) as f64 / 62f64.exp2() * 16.0
            })
            .collect();
        assert_eq!(evaluate_exact(&model, &inputs, None).expect("valid").logits, slow);
    }
}
