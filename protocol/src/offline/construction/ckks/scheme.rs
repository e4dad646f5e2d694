//! Rings, scales and layouts for one network, from its manifest.
//!
//! One ring serves all layers, so that a session has one set of keys. With N = 8192 or 16384, n = N/2 slots:
//!
//! | quantity | value |
//! |---|---|
//! | layouts of a layer's input and output | those of [`crate::slots`]: positions are kept, small tensors repeat |
//! | diagonals | the distances that the layer's shape makes possible, whatever the weights |
//! | baby steps | one number for all layers, the one with the cheapest rotations and keys |
//! | u | six bits more than the finest ring in which a linear result is read, and log2 of a layer's parts |
//! | scale of the masks | above the noise of rotations through the weights, times 2^u |
//! | scale of the weights | above the rounding of encoded weights times masks, times 2^u; divided out by rescaling |
//! | encodings | in integers ([`ckks::wide`]): a sum of a thousand products of what doubles encode would not be right to 2^-u |
//! | primes that stay | scale, result, 40 bits of statistical security, sqrt(N) |
//!
//! The formulas below find scales of about the right size; what holds is then decided by [`NoiseEstimate`]s of every layer's
//! circuit and [`Masking`], for the very primes, and a ring for which they promise less is not taken. Weights are at most 2^b,
//! b the bits that the profile aims at; a result is at most d 2^b sqrt(1/2) for d diagonals, two images in the parts of a
//! complex number.
//!
//! All of it is public and deterministic: both parties come to the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use conv_fast::ConvGeometry;
use he_core::ckks::{self, Masking, NoiseEstimate};
use he_core::rlwe::{RlweLiteral, RlweParams};
use he_core::sample::ERROR_ETA;
use he_core::security::cap;
use nn_merge::fixed_point::result_bits;
use nn_merge::model::{Manifest, Model, NodeSpec, OpSpec, limits};

use crate::error::{ProtocolError, caller};
use crate::offline::construction::RingFacts;
use crate::plan::LinearPlan;
use crate::slots::{SlotLayout, products, wire};

/// How well replies are masked: each is within 2^-40 of a random polynomial.
pub const MASKING: Masking = Masking { statistical_bits: 40, ciphertexts: 1 };
/// Most bytes of encoded diagonals of a network.
pub const MOST_BYTES: u64 = 640 << 20;
/// Bits of a share beyond the finest ring in which results are read.
const EXTRA_BITS: u32 = 6;
/// A bound on the error of a slot, in steps of its share: two roundings, half a step of noise.
const MOST_ERROR: f64 = 1.5 + 1.0 / 1024.0;
/// Most products of a network, whose distances are listed one by one.
const MOST_PRODUCTS: u64 = 1 << 24;
/// Most slots of all pairs of a layer's ciphertexts: what looking for diagonals may allocate, in bytes.
const MOST_PLACES: usize = 1 << 26;
/// Bits of primes that the fastest transform serves.
const FAST_BITS: f64 = 49.0;
/// What a giant step costs in baby steps, and a key in rotations.
const GIANT_COST: usize = 2;
const KEY_COST: usize = 2;
/// Ring degrees, the cheapest first.
const DEGREES: [usize; 2] = [8192, 16384];
/// Bounds of [`NoiseEstimate`] fail with at most this probability, as a power of two, under its model.
const LOG2_FAILURE: f64 = -64.0;
/// Rings that a process keeps at hand.
const KEPT: usize = 4;

/// What both parties compute in.
#[derive(Debug)]
pub struct Scheme {
    pub(super) he: ckks::Params,
    /// Limbs of a reply.
    pub(super) last_limbs: usize,
    /// Whole numbers whose product is the scale of masks.
    pub(super) mask_scale: [u64; 2],
    /// The same of encoded weights: the primes that are divided out.
    pub(super) weight_scale: Vec<u64>,
    /// The largest weight.
    pub(super) most_weight: u32,
    pub(super) baby_steps: usize,
    /// Of all rotations, ascending.
    pub(super) exponents: Vec<usize>,
    /// By node.
    layers: BTreeMap<usize, LayerScheme>,
}

/// One layer.
#[derive(Debug)]
pub(super) struct LayerScheme {
    pub(super) input: SlotLayout,
    pub(super) output: SlotLayout,
    /// Slots whose sum is an output.
    pub(super) parts: usize,
    /// Per pair of ciphertexts (output, input) the distances of its diagonals.
    pub(super) distances: Vec<BTreeSet<usize>>,
    /// u.
    pub(super) fraction_bits: u32,
    /// log2 of a share's step, in units of the ciphertext.
    pub(super) step: u32,
    /// Of a result, before it is shared.
    pub(super) noise: NoiseEstimate,
}

/// Layouts and distances of a layer, and u.
struct Shape {
    node: usize,
    name: String,
    input: SlotLayout,
    output: SlotLayout,
    parts: usize,
    distances: Vec<BTreeSet<usize>>,
    fraction_bits: u32,
}

impl Scheme {
    /// The ring for a network.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a network beyond the limits of this construction, naming them.
    pub fn new(params: &he_core::Params, manifest: &Manifest) -> Result<Self, ProtocolError> {
        let bits = limits(manifest.profile).weight_bits;
        debug_assert_eq!(params.profile(), Some(manifest.profile));
        let mut refused = ProtocolError::Caller("a network without linear layers needs no ckks".into());
        for degree in DEGREES {
            match Self::of_degree(degree, manifest, bits) {
                Ok(scheme) => return Ok(scheme),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn of_degree(degree: usize, manifest: &Manifest, weight_bits: u32) -> Result<Self, ProtocolError> {
        let slots = degree / 2;
        let shapes = shapes(manifest, slots)?;
        let baby_steps = baby_steps(&shapes, slots);
        let sizes = Sizes::new(degree, &shapes, f64::from(weight_bits).exp2());
        let (he, dropped) = ring(degree, &sizes)?;
        let last_limbs = he.limbs() - dropped;
        let weight_scale: Vec<u64> =
            he.rlwe().moduli(he.limbs())[last_limbs..].iter().map(he_core::Modulus::value).collect();
        let scale = sizes.mask.round() as u32;
        let mask_scale = [1 << (scale / 2), 1 << scale.div_ceil(2)];
        let mut bytes = 0;
        let mut layers = BTreeMap::new();
        for shape in shapes {
            let diagonals: usize = shape.distances.iter().map(BTreeSet::len).sum();
            bytes += (diagonals * he.limbs() * degree * size_of::<u64>()) as u64;
            let noise = noise(
                &he,
                &shape,
                f64::from(weight_bits).exp2(),
                product(&weight_scale),
                last_limbs,
                baby_steps,
            );
            let step = scale.saturating_sub(shape.fraction_bits);
            let error = MASKING.error(&noise, step);
            // A NaN fails the comparison.
            let holds = error <= MOST_ERROR && scale > shape.fraction_bits;
            MASKING.bits(&noise).map_err(|error| too_much(&shape.name, &error.to_string()))?;
            if !holds {
                return Err(too_much(&shape.name, &format!("a share may be off by {error:.2} of its steps")));
            }
            let Shape { node, input, output, parts, distances, fraction_bits, .. } = shape;
            let own = LayerScheme { input, output, parts, distances, fraction_bits, step, noise };
            layers.insert(node, own);
        }
        if bytes > MOST_BYTES {
            return Err(ProtocolError::Caller(format!(
                "the preprocessing ckks would keep {} MiB of diagonals for this network, of {} MiB at most: take split or bfv",
                bytes >> 20,
                MOST_BYTES >> 20
            )));
        }
        let steps = layers.values().flat_map(|layer| &layer.distances).flatten();
        let steps: BTreeSet<usize> = steps.flat_map(|&k| [k % baby_steps, k - k % baby_steps]).collect();
        let exponents = wire::exponents(degree, steps.into_iter().filter(|&k| k > 0).map(|k| k as i64));
        let most_weight = 1 << weight_bits;
        Ok(Self { he, last_limbs, mask_scale, weight_scale, most_weight, baby_steps, exponents, layers })
    }

    /// Whether a model can be served: its network has a ring, and its weights are as small as that was made for.
    #[must_use]
    pub fn fits(params: &he_core::Params, model: &Model) -> bool {
        let roomy = |scheme: Self| model.nodes.iter().all(|node| scheme.has_room_for(&node.weights));
        Self::new(params, &model.manifest).is_ok_and(roomy)
    }

    /// Whether weights are as small as the ring was made for.
    #[must_use]
    pub fn has_room_for(&self, weights: &[i32]) -> bool {
        weights.iter().all(|w| w.unsigned_abs() <= self.most_weight)
    }

    /// The ring.
    #[must_use]
    pub fn params(&self) -> &ckks::Params {
        &self.he
    }

    /// The figures of the ring.
    #[must_use]
    pub fn facts(&self) -> RingFacts {
        let rlwe = self.he.rlwe();
        // Keys live modulo the special prime as well.
        let log2_ciphertext = rlwe.log2_q(rlwe.limbs()) + rlwe.log2_p();
        let sigma = (f64::from(ERROR_ETA) / 2.0).sqrt();
        RingFacts {
            degree: rlwe.n(),
            log2_ciphertext,
            log2_reply: rlwe.log2_q(self.last_limbs),
            security_bits: he_core::security::floor(rlwe.n(), log2_ciphertext, sigma),
            log2_failure: LOG2_FAILURE,
        }
    }

    /// log2 of the statistical distance of a layer's reply from one that does not depend on the weights.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a layer of another network.
    pub fn log2_distance(&self, layer: &LinearPlan) -> Result<f64, ProtocolError> {
        MASKING.log2_distance(&self.layer(layer)?.noise).map_err(caller)
    }

    pub(super) fn layer(&self, layer: &LinearPlan) -> Result<&LayerScheme, ProtocolError> {
        self.layers.get(&layer.node).ok_or_else(|| {
            ProtocolError::Caller(format!("layer {} is not of the network that this ring is for", layer.name))
        })
    }
}

/// The product, to a double's precision.
pub(super) fn product(factors: &[u64]) -> f64 {
    factors.iter().map(|&factor| factor as f64).product()
}

fn too_much(layer: &str, why: &str) -> ProtocolError {
    ProtocolError::Caller(format!(
        "the preprocessing ckks has no ring for layer {layer} ({why}): take split or bfv"
    ))
}

/// Layouts and distances of all linear layers.
fn shapes(manifest: &Manifest, slots: usize) -> Result<Vec<Shape>, ProtocolError> {
    let bits = result_bits(manifest, None);
    let finest = bits.iter().copied().max().unwrap_or(0) + EXTRA_BITS;
    let products = |spec: &NodeSpec| match &spec.op {
        OpSpec::Linear { geometry, .. } => geometry.macs(),
        _ => 0,
    };
    let all: u64 = manifest.nodes.iter().map(products).fold(0, u64::saturating_add);
    if all > MOST_PRODUCTS {
        return Err(ProtocolError::Caller(format!(
            "the network has {all} products, of which the preprocessing ckks takes {MOST_PRODUCTS}: take split or bfv"
        )));
    }
    let mut shapes = Vec::new();
    for (node, spec) in manifest.nodes.iter().enumerate() {
        let OpSpec::Linear { geometry, .. } = &spec.op else { continue };
        let shape = geometry.shape();
        let tensor = [shape.in_channels, shape.in_height, shape.in_width];
        let flat = shape.in_height * shape.in_width == 1;
        let input = if flat {
            SlotLayout::dense(slots, tensor, true)?
        } else {
            SlotLayout::aligned(slots, tensor, true)?
        };
        let output = input.after(geometry, true)?;
        let parts = (input.period() / output.period()).max(1);
        let places = input.ciphertexts().saturating_mul(output.ciphertexts()).saturating_mul(slots);
        if places > MOST_PLACES {
            return Err(too_much(&spec.name, "its ciphertexts meet in too many pairs"));
        }
        let distances = distances(geometry, &input, &output);
        let fraction_bits = finest + parts.trailing_zeros();
        let name = spec.name.clone();
        shapes.push(Shape { node, name, input, output, parts, distances, fraction_bits });
    }
    Ok(shapes)
}

/// The distances at which outputs read inputs, whatever the weights: those of [`crate::slots::SlotMap`].
fn distances(geometry: &ConvGeometry, input: &SlotLayout, output: &SlotLayout) -> Vec<BTreeSet<usize>> {
    let period = input.period().min(output.period());
    let inputs = input.ciphertexts();
    let mut used = vec![vec![false; period]; inputs * output.ciphertexts()];
    let ones = vec![1.0; geometry.weights_len()];
    for (o, i, _) in products(geometry, &ones) {
        let ((to, s), (from, b)) = (output.place(o), input.place(i));
        used[to * inputs + from][(b + input.slots() - s) & (period - 1)] = true;
    }
    let listed =
        |used: Vec<bool>| used.iter().enumerate().filter_map(|(k, &used)| used.then_some(k)).collect();
    used.into_iter().map(listed).collect()
}

/// The number of baby steps with the cheapest rotations and keys over all layers, a power of two.
fn baby_steps(shapes: &[Shape], slots: usize) -> usize {
    let cost = |b: usize| {
        let mut keys = BTreeSet::new();
        let mut rotations = 0;
        for distances in shapes.iter().flat_map(|shape| &shape.distances) {
            let babies: BTreeSet<_> = distances.iter().map(|k| k % b).filter(|&k| k > 0).collect();
            let giants: BTreeSet<_> = distances.iter().map(|k| k - k % b).filter(|&k| k > 0).collect();
            rotations += babies.len() + GIANT_COST * giants.len();
            keys.extend(babies);
            keys.extend(giants);
        }
        rotations + KEY_COST * keys.len()
    };
    (0..=slots.trailing_zeros()).map(|log| 1 << log).min_by_key(|&b| cost(b)).unwrap_or(1)
}

/// Diagonals that meet in one ciphertext of the result, the most of all.
fn terms(shape: &Shape) -> usize {
    let row = |row: &[BTreeSet<usize>]| row.iter().map(BTreeSet::len).sum();
    shape.distances.chunks(shape.input.ciphertexts()).map(row).max().unwrap_or(0)
}

/// Scales and what has to stay, in bits.
struct Sizes {
    mask: f64,
    weight: f64,
    last: f64,
}

impl Sizes {
    fn new(degree: usize, shapes: &[Shape], weight: f64) -> Self {
        let n = degree as f64;
        let mut sizes = Self { mask: 20.0, weight: 20.0, last: 0.0 };
        for shape in shapes {
            let (terms, u) = (terms(shape).max(1) as f64, f64::from(shape.fraction_bits));
            // A rotation's error in a slot: deviation sqrt(N V), V about (1 + 2N/3)/6 with a roomy special prime, and 34
            // deviations of a product of two normal numbers.
            let rotated = 34.0 * (n * (1.0 + 2.0 * n / 3.0) / 6.0).sqrt();
            // The public key's, likewise, with V = 10.5 (1 + 4N/3).
            let sealed = 34.0 * (n * 10.5 * (1.0 + 4.0 * n / 3.0)).sqrt();
            let mask = (weight * terms.sqrt() * rotated + sealed).log2() + u + 2.0;
            // Encoded weights are off by sqrt(N/12), 9 deviations at most, times masks below sqrt(1/2).
            let rounded = 9.0 * (n / 12.0).sqrt() * (terms / 2.0).sqrt();
            sizes.mask = sizes.mask.max(mask.ceil());
            sizes.weight = sizes.weight.max((rounded.log2() + u + 3.0).ceil());
            let result = (terms * weight).log2() - 0.5;
            sizes.last = sizes.last.max(result);
        }
        // One bit for rounding up the width of the mask, a little for primes just below powers of two.
        sizes.last += sizes.mask + f64::from(MASKING.statistical_bits) + n.log2() / 2.0 + 1.1;
        sizes
    }
}

/// The ring of these sizes, and how many of its primes are divided out.
fn ring(degree: usize, sizes: &Sizes) -> Result<(ckks::Params, usize), ProtocolError> {
    // As few primes as can be, together of the bits asked for and none more.
    let split = |bits: f64| -> Vec<u32> {
        let count = (bits / FAST_BITS).ceil().max(1.0) as u32;
        (0..count).map(|at| (bits.ceil() as u32 + at) / count).rev().collect()
    };
    let (last, dropped) = (split(sizes.last), split(sizes.weight));
    let primes = [last, dropped.clone()].concat();
    let special = primes.iter().max().map_or(0, |most| most + 3);
    let bits = primes.iter().sum::<u32>() + special;
    let most = cap(degree).unwrap_or(0);
    if bits > most {
        return Err(ProtocolError::Caller(format!(
            "the preprocessing ckks would need a modulus of {bits} bits for this network, of {most} at most: take split or bfv"
        )));
    }
    let params = kept(degree, &primes, special, sizes.mask.round() as u32)?;
    Ok((params, dropped.len()))
}

/// A ring's tables take some milliseconds; plans are made often, and mostly for the same network.
fn kept(degree: usize, primes: &[u32], special: u32, scale: u32) -> Result<ckks::Params, ProtocolError> {
    type Key = (usize, Vec<u32>, u32, u32);
    static RINGS: Mutex<Vec<(Key, ckks::Params)>> = Mutex::new(Vec::new());
    let key = (degree, primes.to_vec(), special, scale);
    let mut rings = RINGS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, ring)) = rings.iter().find(|(known, _)| *known == key) {
        return Ok(ring.clone());
    }
    let made = RlweLiteral::from_bits(degree, primes, &[special])
        .and_then(|literal| RlweParams::new(&literal))
        .and_then(|rlwe| ckks::Params::new(rlwe, f64::from(scale).exp2()))
        .map_err(caller)?;
    if rings.len() == KEPT {
        rings.remove(0);
    }
    rings.push((key, made.clone()));
    Ok(made)
}

/// The estimate of a layer's result before it is shared.
fn noise(
    he: &ckks::Params,
    shape: &Shape,
    weight: f64,
    weight_scale: f64,
    last_limbs: usize,
    baby_steps: usize,
) -> NoiseEstimate {
    let limbs = he.limbs();
    let mask = NoiseEstimate::secret_key_wide(he, 0.5_f64.sqrt(), limbs, he.scale()).key_switched();
    let term = mask.product(&NoiseEstimate::plaintext_wide(he, weight, limbs, weight_scale));
    let mut sum = (1..terms(shape)).fold(term.clone(), |sum, _| sum.sum_independent(&term));
    // One giant step for every group of diagonals of every input's ciphertext.
    let giants =
        |distances: &BTreeSet<usize>| distances.iter().map(|k| k / baby_steps).collect::<BTreeSet<_>>().len();
    let row = |row: &[BTreeSet<usize>]| row.iter().map(giants).sum();
    let giants: usize = shape.distances.chunks(shape.input.ciphertexts()).map(row).max().unwrap_or(0);
    for _ in 0..giants {
        sum = sum.key_switched();
    }
    while sum.limbs() > last_limbs {
        sum = sum.rescaled();
    }
    sum
}
