//! The invariants of a manifest, checked once, on building, on loading and on receipt from a peer.
//!
//! Everything later (planning, allocation, indexing) relies on them, so a manifest that passes
//! [`Manifest::validate`] can be used without further checks; [`Manifest::tensors`] then gives every node's shape and
//! kind. With p, b of the profile ([`limits`]):
//!
//! | quantity | range | why |
//! |---|---|---|
//! | w | 8 ..= the profile's greatest width | masked tensors must fit below q, products of them 64 bits |
//! | k | 6 ..= 24 | activation protocols are built for rings of at most 24 bits |
//! | t | 12 ..= b−1 | k + 6 at least keeps the switch error near one unit of Z_2^k |
//! | h | k−17 ..= k−3, from 0 | the sign test compares 2 to 16 bits below the sign |
//! | factor | 1 for raw, 0 < \|v\| < 2^31 for masked operands | v·z is a sum of at most 62 bits |
//! | units · limit | < 2^(w−1) | an accepted input cannot wrap |

use he_core::Profile;
use ss_core::activation::{ActivationPlan, Widths};

use super::local;
use super::node::{ActivationSpec, FunctionSpec, Kind, NodeSpec, OpSpec, Shape};
use super::{InputSpec, Manifest, Model, NodeWeights};
use crate::error::{NnError, shown};

/// Most nodes of a model.
const MAX_NODES: usize = 4096;
/// Most inputs of all nodes together.
const MAX_EDGES: usize = 1 << 14;
/// Longest name, in bytes.
const MAX_NAME: usize = 512;
/// Most parts of an activation, and (64 times that) runs of channels in all its parts.
const MAX_PARTS: usize = 64;
/// Most parts of all activations: each takes a look at its construction.
const MAX_ALL_PARTS: usize = 4096;
/// Most elements of all tensors together, for one image.
const MAX_ALL_ELEMENTS: usize = 1 << 28;
/// Most outputs.
const MAX_CLASSES: usize = 1 << 20;
/// Most weights of the whole model.
pub(super) const MAX_WEIGHTS: u64 = 1 << 28;
/// Bound on a weight's absolute value.
pub(crate) const WEIGHT_BOUND: i32 = 1 << 20;
/// Bound on a bias: half the torus in units of 2^-62.
pub(crate) const BIAS_BOUND: i64 = 1 << 61;

/// A node's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Channels, height, width.
    pub shape: Shape,
    /// How it is shared.
    pub kind: Kind,
}

impl Tensor {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The numbers that a profile fixes for quantisation, with the defaults used when nothing else is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileLimits {
    /// Bits of the modulus q (q < 2^modulus_bits).
    pub modulus_bits: u32,
    /// p: slots of linear layers live in Z_2^p. `None` in `exact`, where they live in Z_q.
    pub masked_bits: Option<u32>,
    /// Greatest width of a masked tensor.
    pub max_width: u32,
    /// k, default width of hidden layers' outputs.
    pub ring_bits: u32,
    /// k of the logits.
    pub last_ring_bits: u32,
    /// h, default number of bits ignored by the sign test.
    pub ignored_bits: u32,
    /// Wanted bits of the largest weight: max |w| lies in (2^(b−1), 2^b].
    pub weight_bits: u32,
}

/// The limits and defaults of a profile.
pub fn limits(profile: Profile) -> ProfileLimits {
    let wide = ProfileLimits {
        modulus_bits: 50,
        masked_bits: Some(46),
        max_width: 46,
        ring_bits: 18,
        last_ring_bits: 18,
        ignored_bits: 7,
        weight_bits: 12,
    };
    match profile {
        Profile::Tiny => ProfileLimits {
            modulus_bits: 26,
            masked_bits: Some(24),
            max_width: 24,
            ring_bits: 14,
            last_ring_bits: 14,
            ignored_bits: 3,
            weight_bits: 8,
        },
        Profile::Narrow => ProfileLimits {
            modulus_bits: 32,
            masked_bits: Some(30),
            max_width: 30,
            ring_bits: 16,
            last_ring_bits: 16,
            ignored_bits: 4,
            weight_bits: 12,
        },
        Profile::Wide => wide,
        // Products v·q of the switch have to fit 128 bits: 96 of q and 32.
        Profile::Exact => ProfileLimits { modulus_bits: 96, masked_bits: None, max_width: 32, ..wide },
    }
}

impl Manifest {
    /// Checks every invariant of the table above and that all shapes and kinds fit.
    ///
    /// # Errors
    /// [`NnError::Manifest`] naming the first invariant that is broken.
    pub fn validate(&self) -> Result<(), NnError> {
        self.tensors().map(drop)
    }

    /// The shape and kind of every node's result, all invariants checked.
    ///
    /// # Errors
    /// As [`Manifest::validate`].
    pub fn tensors(&self) -> Result<Vec<Tensor>, NnError> {
        if self.name.len() > MAX_NAME {
            return Err(NnError::manifest(format!(
                "its name has {} bytes, more than {MAX_NAME}",
                self.name.len()
            )));
        }
        if self.nodes.is_empty() || self.nodes.len() > MAX_NODES {
            return Err(NnError::manifest(format!("{} nodes, wanted 1 to {MAX_NODES}", self.nodes.len())));
        }
        if self.nodes.iter().map(|node| node.inputs.len()).sum::<usize>() > MAX_EDGES {
            return Err(NnError::manifest(format!("more than {MAX_EDGES} inputs of all nodes together")));
        }
        let limits = limits(self.profile);
        check_input(&self.input)?;
        let mut tensors: Vec<Tensor> = Vec::with_capacity(self.nodes.len());
        let (mut weights, mut parts, mut elements) = (0u64, 0, 0usize);
        for (index, node) in self.nodes.iter().enumerate() {
            match &node.op {
                OpSpec::Linear { geometry, .. } => {
                    weights = weights.saturating_add(geometry.weights_len() as u64);
                }
                OpSpec::Activation(activation) => parts += activation.parts.len(),
                _ => {}
            }
            if parts > MAX_ALL_PARTS {
                return Err(NnError::manifest(format!(
                    "more than {MAX_ALL_PARTS} functions in its activations"
                )));
            }
            let tensor = infer(&self.input, index, node, &tensors, &limits)
                .map_err(|what| NnError::manifest(format!("node {index} ({}): {what}", shown(&node.name))))?;
            elements = elements.saturating_add(tensor.elements());
            if elements > MAX_ALL_ELEMENTS {
                return Err(NnError::manifest(format!(
                    "more than {MAX_ALL_ELEMENTS} elements in its tensors"
                )));
            }
            tensors.push(tensor);
        }
        if weights > MAX_WEIGHTS {
            return Err(NnError::manifest(format!("{weights} weights, more than {MAX_WEIGHTS}")));
        }
        self.check_output(&tensors, &limits)?;
        Ok(tensors)
    }

    fn check_output(&self, tensors: &[Tensor], limits: &ProfileLimits) -> Result<(), NnError> {
        let output = tensors.get(self.output.node as usize).filter(|tensor| tensor.kind == Kind::Raw);
        let Some(output) = output else {
            return Err(NnError::manifest("its output is not a raw tensor of its own"));
        };
        let (elements, k) = (output.elements(), self.output.ring_bits);
        if elements > MAX_CLASSES {
            return Err(NnError::manifest(format!("{elements} logits, more than {MAX_CLASSES}")));
        }
        if !(6..=24.min(limits.modulus_bits - 2)).contains(&k) {
            return Err(NnError::manifest(format!("its logits have {k} bits, wanted 6 to 24")));
        }
        if !(self.output.scale.is_finite() && self.output.scale > 0.0) {
            return Err(NnError::manifest("the scale of its logits is not a positive number"));
        }
        Ok(())
    }
}

impl Model {
    /// Checks the manifest, the lengths and ranges of all weights, and the commitment.
    ///
    /// # Errors
    /// [`NnError::Manifest`] or [`NnError::File`] naming what does not fit.
    pub fn validate(&self) -> Result<(), NnError> {
        let tensors = self.manifest.tensors()?;
        if self.nodes.len() != tensors.len() {
            return Err(NnError::file(format!(
                "weights of {} nodes, the manifest has {}",
                self.nodes.len(),
                tensors.len()
            )));
        }
        for ((spec, tensor), own) in self.manifest.nodes.iter().zip(&tensors).zip(&self.nodes) {
            check_weights(spec, tensor, own)?;
        }
        if Self::commitment(&self.salt, &self.nodes) != self.manifest.weights_commitment {
            return Err(NnError::file("the weights are not those that the manifest commits to"));
        }
        Ok(())
    }
}

fn check_weights(spec: &NodeSpec, tensor: &Tensor, own: &NodeWeights) -> Result<(), NnError> {
    let name = shown(&spec.name);
    let (channels, elements) = (tensor.shape[0], tensor.elements());
    let (weights, biases): (usize, &[usize]) = match &spec.op {
        OpSpec::Linear { geometry, .. } => (geometry.weights_len(), &[channels, elements]),
        OpSpec::Sum { .. } => (0, &[0, channels, elements]),
        OpSpec::Activation(_) => (0, &[0, channels]),
        OpSpec::Input { .. } | OpSpec::Local(_) => (0, &[0]),
    };
    if own.weights.len() != weights || !biases.contains(&own.bias.len()) {
        return Err(NnError::file(format!(
            "node {name} has {} weights and {} biases, its shape wants {weights} and one of {biases:?}",
            own.weights.len(),
            own.bias.len(),
        )));
    }
    if own.weights.iter().any(|w| w.unsigned_abs() >= WEIGHT_BOUND.unsigned_abs()) {
        return Err(NnError::file(format!("node {name} has a weight of 2^20 or more")));
    }
    if own.bias.iter().any(|b| b.unsigned_abs() > BIAS_BOUND.unsigned_abs()) {
        return Err(NnError::file(format!("node {name} has a bias beyond half the torus")));
    }
    Ok(())
}

/// The tensor that a node gives; the error is a clause without the node's name.
fn infer(
    input: &InputSpec,
    index: usize,
    node: &NodeSpec,
    before: &[Tensor],
    limits: &ProfileLimits,
) -> Result<Tensor, String> {
    if node.name.len() > MAX_NAME {
        return Err(format!("its name has more than {MAX_NAME} bytes"));
    }
    let read = |&source: &u32| {
        before
            .get(source as usize)
            .copied()
            .ok_or_else(|| format!("it reads node {source}, which is not before it"))
    };
    let sources = node.inputs.iter().map(read).collect::<Result<Vec<Tensor>, String>>()?;
    let one = || match sources[..] {
        [one] => Ok(one),
        _ => Err(format!("it takes one input, not {}", sources.len())),
    };
    let width_fits = |width: u32| match (8..=limits.max_width).contains(&width) {
        true => Ok(Kind::Masked { width }),
        false => Err(format!("width {width} is not in 8..={}", limits.max_width)),
    };
    let tensor = match &node.op {
        &OpSpec::Input { width } => {
            if index != 0 || !sources.is_empty() {
                return Err("an input that is not the first node".into());
            }
            let shape = [input.channels, input.height, input.width];
            // One unit of slack covers the rounding of value·units.
            let kind = width_fits(width)?;
            if input.units * input.limit + 1.0 >= (1u64 << (width - 1)) as f64 {
                return Err(format!(
                    "inputs up to {} times {} units do not fit {width} bits",
                    input.limit, input.units
                ));
            }
            Tensor { shape, kind }
        }
        OpSpec::Linear { geometry, reply_bits } => {
            let source = one()?;
            if source.kind == Kind::Raw {
                return Err("a linear map of a raw tensor".into());
            }
            let s = geometry.shape();
            let flat = s.in_height == 1 && s.in_width == 1;
            let fits = source.shape == [s.in_channels, s.in_height, s.in_width];
            if !(fits || flat && source.elements() == s.in_channels) {
                return Err(format!(
                    "it takes {}x{}x{}, its input is {:?}",
                    s.in_channels, s.in_height, s.in_width, source.shape
                ));
            }
            let top = limits.modulus_bits - 1;
            if !(12..=top.min(62)).contains(reply_bits) {
                return Err(format!("reply width {reply_bits} is not in 12..={}", top.min(62)));
            }
            Tensor { shape: [s.out_channels, geometry.out_height(), geometry.out_width()], kind: Kind::Raw }
        }
        OpSpec::Sum { factors } => {
            let first = *sources.first().ok_or("a sum of nothing")?;
            if factors.len() != sources.len() {
                return Err(format!("{} factors for {} inputs", factors.len(), sources.len()));
            }
            for (source, &factor) in sources.iter().zip(factors) {
                if source.shape != first.shape {
                    return Err(format!("summands of shapes {:?} and {:?}", first.shape, source.shape));
                }
                let fits = match source.kind {
                    Kind::Raw => factor == 1,
                    Kind::Masked { .. } => factor != 0 && factor.unsigned_abs() < 1 << 31,
                };
                if !fits {
                    return Err(format!("factor {factor} of a {:?} summand", source.kind));
                }
            }
            Tensor { shape: first.shape, kind: Kind::Raw }
        }
        OpSpec::Activation(activation) => {
            let source = one()?;
            if source.kind != Kind::Raw {
                return Err("an activation of a masked tensor".into());
            }
            let kind = width_fits(activation.width)?;
            Tensor { shape: check_activation(activation, source.shape)?, kind }
        }
        OpSpec::Local(op) => {
            let first = *sources.first().ok_or("it reads nothing")?;
            if sources.iter().any(|source| source.kind != first.kind) {
                return Err("it joins tensors of different kinds".into());
            }
            let shapes: Vec<Shape> = sources.iter().map(|source| source.shape).collect();
            Tensor { shape: op.shape(&shapes)?, kind: first.kind }
        }
    };
    local::elements(tensor.shape)?;
    Ok(tensor)
}

/// The shape that an activation gives.
fn check_activation(spec: &ActivationSpec, shape: Shape) -> Result<Shape, String> {
    let k = spec.ring_bits;
    if !(6..=24).contains(&k) {
        return Err(format!("ring width {k} is not in 6..=24"));
    }
    let mut out = shape;
    if let Some(pool) = &spec.pool {
        let s = pool.shape();
        if [s.channels, s.in_height, s.in_width] != shape {
            return Err(format!(
                "pooling takes {}x{}x{}, its input is {shape:?}",
                s.channels, s.in_height, s.in_width
            ));
        }
        // Its sign test is that of the ring.
        ss_core::compare::Comparison::new(k, spec.ignored_bits)
            .map_err(|error| format!("the sign test ignores {} of {k} bits: {error}", spec.ignored_bits))?;
        out = [s.channels, pool.out_height(), pool.out_width()];
    }
    let runs: usize = spec.parts.iter().map(|part| part.channels.len()).sum();
    if spec.parts.is_empty() || spec.parts.len() > MAX_PARTS || runs > MAX_PARTS * 64 {
        return Err(format!("{} functions on {runs} runs of channels", spec.parts.len()));
    }
    let mut covered = vec![false; shape[0]];
    for part in &spec.parts {
        let mut next = 0;
        for &(first, count) in &part.channels {
            let end = u64::from(first) + u64::from(count);
            if count == 0 || u64::from(first) < next || end > shape[0] as u64 {
                return Err(format!("a function on {count} channels from {first} of {}", shape[0]));
            }
            next = end;
            for channel in &mut covered[first as usize..end as usize] {
                if std::mem::replace(channel, true) {
                    return Err("two functions on one channel".into());
                }
            }
        }
        if part.function == FunctionSpec::PRelu && spec.parts.len() > 1 {
            return Err("a PReLU beside other functions".into());
        }
        plan(spec, &part.function)?;
    }
    if covered.contains(&false) {
        return Err("a channel without a function".into());
    }
    out[0] = out[0].checked_mul(spec.outputs()).ok_or("too many channels")?;
    Ok(out)
}

/// Whether the steps of a function can be built.
fn plan(spec: &ActivationSpec, function: &FunctionSpec) -> Result<(), String> {
    let activation = function.activation(spec.ring_bits, spec.width).map_err(|error| error.to_string())?;
    let widths = Widths {
        ring_bits: spec.ring_bits,
        ignored_bits: spec.ignored_bits,
        output_bits: spec.width,
        shift: 0,
    };
    ActivationPlan::new(&activation, widths, false).map(drop).map_err(|error| error.to_string())
}

fn check_input(input: &InputSpec) -> Result<(), NnError> {
    if let Err(what) = local::elements([input.channels, input.height, input.width]) {
        return Err(NnError::manifest(format!("its input: {what}")));
    }
    if input.mean.len() != input.channels || input.std.len() != input.channels {
        return Err(NnError::manifest(format!(
            "{} means and {} deviations for {} channels",
            input.mean.len(),
            input.std.len(),
            input.channels
        )));
    }
    let positive = |v: f64| v.is_finite() && v > 0.0;
    let scaling_fits = positive(input.scale)
        && input.mean.iter().all(|m| m.is_finite())
        && input.std.iter().all(|&s| positive(s))
        && positive(input.units)
        && positive(input.limit);
    if !scaling_fits {
        return Err(NnError::manifest(
            "a scale, mean, deviation, unit or limit of the input is out of range",
        ));
    }
    Ok(())
}
