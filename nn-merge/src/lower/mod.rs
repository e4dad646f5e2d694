//! Lowering: from a merged graph to the program that the protocol runs.
//!
//! A [`Program`] is the list of a manifest's nodes with real numbers in them. Every tensor is *masked* (an input or an
//! activation made it, linear maps read it) or *raw* (a linear map or a sum made it, activations and the output read it);
//! see [`model`](crate::model) for what that means. [`lower`] chooses, for every node of the graph, the form that costs least:
//!
//! | graph | program |
//! |---|---|
//! | linear map of a masked tensor | itself; of a raw one, behind a lift (an identity activation) |
//! | activation of a raw tensor | itself, with the max-pool before it; of a masked one, behind a sum of one operand |
//! | max-pool without an activation | an identity activation that pools |
//! | addition | one sum of all operands, masked and raw |
//! | average pool | sums over windows, the divisor in the units; with smaller windows at the border a sum of regions |
//! | reshape, transpose, slice, pad, concat, enlargement | local maps of three axes |
//! | scale left over | units per channel, the shift in the activation's private offset; else a 1×1 convolution |
//! | shift of a raw tensor | the bias of a sum of one operand |
//! | PReLU | two results, ReLU(y) and y; the slopes go into the weights behind |
//! | linear map of a join of squares and others | where rings are wide, a map for each kind and their sum (module `split`) |
//!
//! # Values
//! Every program node carries the float value of a graph node ([`ProgramNode::value`]), which is what calibration measures.
//! A raw tensor carries `gain` times it: sums over windows of a raw tensor are not divided. A masked tensor carries it in
//! units of its own, which quantisation keeps track of ([`ProgramOp::Scale`] changes units and nothing else).
//!
//! # Not supported
//! Softmax in the middle, permutations of more than three blocks of axes: refused by name.

mod activation;
mod average;
mod join;
mod kind;
mod local;
mod pair;
mod split;
mod walk;

#[cfg(test)]
mod tests;

use crate::error::NnError;
use crate::graph::{Graph, Linear, NodeId};
use crate::model::{LocalOp, PoolGeometry, Shape, SmoothName};

/// A network as the protocol's nodes, in topological order; node 0 is the input.
#[derive(Clone, PartialEq)]
pub struct Program {
    /// The nodes.
    pub nodes: Vec<ProgramNode>,
    /// The raw node that holds the logits.
    pub output: usize,
}

/// One node.
#[derive(Clone, PartialEq)]
pub struct ProgramNode {
    /// Name of the graph node it stems from, perhaps with a word in brackets.
    pub name: String,
    /// What it computes.
    pub op: ProgramOp,
    /// What it reads, all before it.
    pub inputs: Vec<usize>,
    /// Channels, height, width.
    pub shape: Shape,
    /// Whether the tensor is masked (else raw).
    pub masked: bool,
    /// A raw tensor holds `gain` times the graph's value.
    pub gain: f64,
    /// The graph node whose value it carries. Of a PReLU's two results that is their combination.
    pub value: NodeId,
}

/// What a node computes, over the reals.
#[derive(Clone, PartialEq)]
pub enum ProgramOp {
    /// The network's input.
    Input,
    /// A linear map, masked to raw.
    Linear(Linear),
    /// A sum of raw and masked tensors, raw.
    Sum,
    /// A shift per channel of a raw tensor, in terms of the graph's value: the bias of a sum of one operand.
    Shift(Vec<f64>),
    /// Raw to masked.
    Activation(RealActivation),
    /// A local map.
    Local(LocalOp),
    /// Factors per channel (or one) on a masked tensor; only its units change, and no node of the manifest stems from it.
    Scale(Vec<f64>),
}

/// An activation: factor·f(x) + shift, perhaps of a maximum.
#[derive(Clone, Debug, PartialEq)]
pub struct RealActivation {
    /// Maximum pooling before the functions.
    pub pool: Option<PoolGeometry>,
    /// Functions; together they cover all channels once.
    pub parts: Vec<RealPart>,
    /// One, or one per channel.
    pub factor: Vec<f64>,
    /// One, or one per channel.
    pub shift: Vec<f64>,
}

/// A function on runs of channels.
#[derive(Clone, Debug, PartialEq)]
pub struct RealPart {
    /// First channel and number of channels, ascending.
    pub channels: Vec<(u32, u32)>,
    /// The function.
    pub function: RealFunction,
}

/// A scalar function without the affine map around it.
#[derive(Clone, Debug, PartialEq)]
pub enum RealFunction {
    /// x
    Identity,
    /// max(x, 0)
    Relu,
    /// min(max(x, low), high)
    Clip {
        /// Lower end, perhaps −∞.
        low: f64,
        /// Upper end, perhaps ∞.
        high: f64,
    },
    /// slope·x below zero, x above.
    Leaky {
        /// Slope below zero.
        slope: f64,
    },
    /// Both max(x, 0) and x.
    Pair,
    /// x^d + Σ c\[e\]·x^e over 0 < e < d, d = length of c; `c[0]` is 0.
    Monic(Vec<f64>),
    /// x·min(max(x + 3, 0), 6)
    HardSwish,
    /// A smooth function.
    Smooth(SmoothName),
}

impl RealFunction {
    /// The name used in messages and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "ReLU",
            Self::Clip { .. } => "clip",
            Self::Leaky { .. } => "leaky ReLU",
            Self::Pair => "PReLU",
            Self::Monic(rest) if rest.len() == 2 && rest[1] == 0.0 => "square",
            Self::Monic(_) => "polynomial",
            Self::HardSwish => "hard swish",
            Self::Smooth(name) => name.function().name(),
        }
    }

    /// Results per value.
    pub fn outputs(&self) -> usize {
        if *self == Self::Pair { 2 } else { 1 }
    }
}

/// Choices that depend on the profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LowerOptions {
    /// Leaky ReLUs keep both ReLU(x) and x, with the slope in the next weights: for rings without room for integer slopes.
    pub leaky_as_pair: bool,
    /// Linear maps of joins of different degrees are split: for rings so wide that k is not lowered for a square anyway.
    pub split_joins: bool,
    /// Shape of the input where it is not [`canonical`] of the graph's: a vector that is taken from an image.
    pub input: Option<Shape>,
}

/// Lowers a merged graph.
///
/// # Errors
/// [`NnError::NotPrivate`] naming the node that no private protocol computes, and what to do.
pub fn lower(graph: &Graph, options: LowerOptions) -> Result<Program, NnError> {
    let program = walk::Walk::new(graph, options).run()?;
    if options.split_joins { split::split(program) } else { Ok(program) }
}

/// Three axes for a graph's shape: without the batch, channels first, missing sides 1, surplus ones joined.
pub fn canonical(shape: &[usize]) -> Shape {
    match *shape {
        [1] | [] => [1, 1, 1],
        [1, c] => [c, 1, 1],
        [1, c, l] => [c, l, 1],
        [1, c, h, w] => [c, h, w],
        [1, c, ref rest @ ..] => [c, rest.iter().product(), 1],
        _ => [shape.iter().product(), 1, 1],
    }
}
