//! The network between the ONNX file and the chain of private layers: a small graph in normal form.
//!
//! A node has one output tensor; edges are node indices, and the list is in topological order (every node's
//! inputs stand before it), so that a pass walks it once and nothing can be cyclic. Shapes carry the leading
//! batch axis, which is always 1; elements are in row-major order. Weights are `f64`, so that folding and
//! merging lose nothing that matters.
//!
//! Convolutions, fully connected layers and matrix products are all [`Op::Linear`]; what a tensor's *channel*
//! axis is follows ONNX: axis 1.
//!
//! | op | input | output |
//! |---|---|---|
//! | `Linear` on a plane | 1×C×H×W | 1×O×OH×OW |
//! | `Linear` on a 1×1 plane | any shape with C elements | 1×O |
//! | `BatchNorm`, `Scale` | 1×C×… | the same |
//! | `MaxPool`, `AveragePool` | 1×C×H×W | 1×C×OH×OW |
//! | `Reshape`, `Transpose`, `Slice`, `Pad`, `Upsample` | any | an index map of it |
//! | `Activation`, `Mixed` | any (channels on axis 1) | the same |
//! | `Concat` | shapes equal but for one axis | them joined |
//! | `Add` | two equal shapes | the same |

use std::sync::Arc;

use conv_fast::{ConvGeometry, ConvShape};

use crate::error::NnError;
use crate::model::{PoolGeometry, SmoothName};
use crate::shape;

/// Index of a node in its graph.
pub type NodeId = usize;

/// Most nodes of a graph.
pub const MAX_NODES: usize = 1 << 14;

/// A linear map with a bias per output channel.
#[derive(Clone, PartialEq)]
pub struct Linear {
    /// Shape of the convolution.
    pub geometry: ConvGeometry,
    /// O × C/groups × kh × kw, row-major.
    pub weights: Arc<Vec<f64>>,
    /// One per output channel.
    pub bias: Vec<f64>,
}

/// Inference-time batch normalisation, per channel: γ·(x − μ)/√(σ² + ε) + β.
#[derive(Clone, PartialEq)]
pub struct BatchNorm {
    /// γ
    pub gamma: Vec<f64>,
    /// β
    pub beta: Vec<f64>,
    /// μ
    pub mean: Vec<f64>,
    /// σ²
    pub variance: Vec<f64>,
    /// ε
    pub epsilon: f64,
}

/// A per-channel affine map: scale·x + shift.
#[derive(Clone, PartialEq)]
pub struct Diagonal {
    /// Factor per channel.
    pub scale: Vec<f64>,
    /// Addend per channel.
    pub shift: Vec<f64>,
}

/// A scalar function, applied element by element.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Function {
    /// x
    Identity,
    /// max(0, x)
    Relu,
    /// min(max(x, low), high); either end may be infinite.
    Clip {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// slope·x below zero, x above.
    Leaky {
        /// Slope below zero.
        slope: f64,
    },
    /// The same with a trained slope per channel (or one for all).
    PRelu {
        /// Slopes below zero.
        slopes: Vec<f64>,
    },
    /// min(max(alpha·x + beta, 0), 1)
    HardSigmoid {
        /// Factor.
        alpha: f64,
        /// Addend.
        beta: f64,
    },
    /// x·min(max(x + 3, 0), 6)/6
    HardSwish,
    /// A smooth function.
    Smooth(SmoothName),
    /// Σ c\[e\]·x^e; one row of coefficients, from the constant up, or one per channel.
    Polynomial {
        /// Rows.
        coefficients: Vec<Vec<f64>>,
    },
}

impl Function {
    /// Rows of per-channel numbers: 1 where one set of numbers serves all channels.
    pub fn rows(&self) -> usize {
        match self {
            Self::PRelu { slopes } => slopes.len(),
            Self::Polynomial { coefficients } => coefficients.len(),
            _ => 1,
        }
    }

    /// The name used in messages and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "ReLU",
            Self::Clip { .. } => "clip",
            Self::Leaky { .. } => "leaky ReLU",
            Self::PRelu { .. } => "PReLU",
            Self::HardSigmoid { .. } => "hard sigmoid",
            Self::HardSwish => "hard swish",
            Self::Smooth(name) => name.function().name(),
            Self::Polynomial { .. } => "polynomial",
        }
    }
}

/// A function on some channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Channels, ascending.
    pub channels: Vec<usize>,
    /// The function; its per-channel numbers (slopes, coefficients) are counted within `channels`.
    pub function: Function,
}

/// What a node computes.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// The network's input; node 0 and only node 0.
    Input,
    /// Convolution or fully connected layer.
    Linear(Linear),
    /// Batch normalisation.
    BatchNorm(BatchNorm),
    /// Per-channel scale and shift.
    Scale(Diagonal),
    /// One function on every element.
    Activation(Function),
    /// Several functions, each on channels of its own; together they cover every channel once.
    Mixed(Vec<Part>),
    /// Maximum pooling; padding never wins.
    MaxPool(PoolGeometry),
    /// Average pooling.
    AveragePool {
        /// Windows.
        window: PoolGeometry,
        /// Padding cells count in the divisor (as zeros).
        count_padding: bool,
    },
    /// Same elements, other shape.
    Reshape(Vec<usize>),
    /// Axes permuted: output axis i is input axis `perm[i]`.
    Transpose(Vec<usize>),
    /// Every step-th element from start on, size of them, along every axis (batch included).
    Slice {
        /// First index per axis.
        start: Vec<usize>,
        /// Distance per axis, at least 1.
        step: Vec<usize>,
        /// Number of elements per axis.
        size: Vec<usize>,
    },
    /// Zeros around.
    Pad {
        /// In front, per axis.
        before: Vec<usize>,
        /// Behind, per axis.
        after: Vec<usize>,
    },
    /// Nearest-neighbour enlargement of height and width by whole factors.
    Upsample([usize; 2]),
    /// All inputs joined along an axis.
    Concat {
        /// Axis, batch included.
        axis: usize,
    },
    /// The input.
    Identity,
    /// The input (dropout does nothing at inference).
    Dropout,
    /// exp(x)/Σexp(x) over the last axis.
    Softmax,
    /// Logarithm of the same.
    LogSoftmax,
    /// Element-wise sum of two nodes (a residual connection).
    Add,
}

impl Function {
    /// Whether all its numbers are finite (the ends of a clip may be infinite).
    pub fn is_finite(&self) -> bool {
        match self {
            Self::Clip { low, high } => !low.is_nan() && !high.is_nan(),
            Self::Leaky { slope } => slope.is_finite(),
            Self::PRelu { slopes } => slopes.iter().all(|v| v.is_finite()),
            Self::HardSigmoid { alpha, beta } => alpha.is_finite() && beta.is_finite(),
            Self::Polynomial { coefficients } => coefficients.iter().flatten().all(|v| v.is_finite()),
            Self::Identity | Self::Relu | Self::HardSwish | Self::Smooth(_) => true,
        }
    }
}

impl Op {
    /// Whether all its numbers are finite.
    pub fn is_finite(&self) -> bool {
        let finite = |values: &[f64]| values.iter().all(|v| v.is_finite());
        match self {
            Self::Linear(linear) => finite(&linear.weights) && finite(&linear.bias),
            Self::BatchNorm(n) => {
                let d = n.diagonal();
                [&n.gamma, &n.beta, &n.mean, &n.variance, &d.scale, &d.shift].iter().all(|v| finite(v))
            }
            Self::Scale(d) => finite(&d.scale) && finite(&d.shift),
            Self::Activation(function) => function.is_finite(),
            Self::Mixed(parts) => parts.iter().all(|part| part.function.is_finite()),
            _ => true,
        }
    }

    /// The name used in messages and reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Input => "Input",
            Self::Linear(_) => "Linear",
            Self::BatchNorm(_) => "BatchNormalization",
            Self::Scale(_) => "Scale",
            Self::Activation(function) => function.name(),
            Self::Mixed(_) => "mixed activation",
            Self::Slice { .. } => "Slice",
            Self::Pad { .. } => "Pad",
            Self::Upsample(_) => "Resize",
            Self::Concat { .. } => "Concat",
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool { .. } => "AveragePool",
            Self::Reshape(_) => "Reshape",
            Self::Transpose(_) => "Transpose",
            Self::Identity => "Identity",
            Self::Dropout => "Dropout",
            Self::Softmax => "Softmax",
            Self::LogSoftmax => "LogSoftmax",
            Self::Add => "Add",
        }
    }
}

/// One node.
#[derive(Clone, PartialEq)]
pub struct Node {
    /// Name from the file, or made up.
    pub name: String,
    /// Operation.
    pub op: Op,
    /// Nodes whose outputs it reads.
    pub inputs: Vec<NodeId>,
    /// Output shape, batch axis included.
    pub shape: Vec<usize>,
}

impl Node {
    /// Elements of the output tensor.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A network.
#[derive(Clone, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    output: NodeId,
    /// The file's own input order is N×H×W×C. The graph's input node is C×H×W all the same.
    pub channels_last: bool,
    /// What the import has to say about parts of the file that it left out.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut list = f.debug_list();
        for (id, node) in self.nodes.iter().enumerate() {
            list.entry(&format_args!(
                "{id}: {} {:?} <- {:?} shape {:?}",
                node.op.kind(),
                node.name,
                node.inputs,
                node.shape
            ));
        }
        list.finish()
    }
}

impl Graph {
    /// A graph with an input node only. `shape` includes the batch axis.
    ///
    /// # Errors
    /// [`NnError::Shape`] for an empty or oversized shape.
    pub fn new(name: &str, shape: &[usize]) -> Result<Self, NnError> {
        shape::check(shape).map_err(|what| NnError::shape(name, what))?;
        let input = Node { name: name.into(), op: Op::Input, inputs: Vec::new(), shape: shape.to_vec() };
        Ok(Self { nodes: vec![input], output: 0, channels_last: false, notes: Vec::new() })
    }

    /// Appends a node, infers its shape, and makes it the output.
    ///
    /// # Errors
    /// [`NnError::Shape`] when the operation does not fit its inputs, [`NnError::TooLarge`] beyond [`MAX_NODES`].
    pub fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, NnError> {
        if self.nodes.len() >= MAX_NODES {
            return Err(NnError::TooLarge {
                what: "the number of nodes".into(),
                size: self.nodes.len() as u64 + 1,
                cap: MAX_NODES as u64,
            });
        }
        let mut node = Node { name: name.into(), op, inputs: inputs.to_vec(), shape: Vec::new() };
        node.shape = self.infer(&node)?;
        self.nodes.push(node);
        self.output = self.nodes.len() - 1;
        Ok(self.output)
    }

    /// All nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// The node whose tensor is the result.
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// Chooses another result.
    ///
    /// # Errors
    /// [`NnError::Shape`] if there is no such node.
    pub fn set_output(&mut self, id: NodeId) -> Result<(), NnError> {
        if id >= self.nodes.len() {
            return Err(NnError::shape("output", format!("there is no node {id}")));
        }
        self.output = id;
        Ok(())
    }

    /// Elements of the input tensor.
    pub fn input_len(&self) -> usize {
        self.nodes[0].elements()
    }

    /// For every node the nodes that read it (with repetition when one reads it twice).
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| consumers[input].push(id));
        }
        consumers
    }

    /// The only reader of `id`, if it has exactly one and is not itself the result.
    pub(crate) fn sole_consumer(&self, id: NodeId, consumers: &[Vec<NodeId>]) -> Option<NodeId> {
        match consumers[id].as_slice() {
            [only] if id != self.output => Some(*only),
            _ => None,
        }
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id]
    }

    /// Exchanges what two nodes compute (and their names), leaving the wiring: used to commute neighbours.
    pub(crate) fn swap_ops(&mut self, first: NodeId, second: NodeId) {
        let (low, high) = (first.min(second), first.max(second));
        let (left, right) = self.nodes.split_at_mut(high);
        std::mem::swap(&mut left[low].op, &mut right[0].op);
        std::mem::swap(&mut left[low].name, &mut right[0].name);
    }

    /// Puts a new node behind `id`; whoever read `id` (and the result) reads the new node.
    ///
    /// Shapes are left to [`Graph::rebuild`].
    pub(crate) fn insert_after(&mut self, id: NodeId, name: String, op: Op) {
        let place = id + 1;
        for node in &mut self.nodes {
            node.inputs.iter_mut().filter(|input| **input >= id).for_each(|input| *input += 1);
        }
        if self.output >= id {
            self.output += 1;
        }
        self.nodes.insert(place, Node { name, op, inputs: vec![id], shape: Vec::new() });
    }

    /// Lets everybody who reads `id` read its first input instead; `id` is then dead.
    pub(crate) fn bypass(&mut self, id: NodeId) {
        let Some(&source) = self.nodes[id].inputs.first() else { return };
        for node in &mut self.nodes {
            node.inputs.iter_mut().filter(|input| **input == id).for_each(|input| *input = source);
        }
        if self.output == id {
            self.output = source;
        }
    }

    /// Drops nodes that the result does not need, renumbers, and infers all shapes afresh.
    ///
    /// # Errors
    /// [`NnError::Shape`] if a rewrite left nodes that do not fit (a defect of the rewrite).
    pub(crate) fn rebuild(mut self) -> Result<Self, NnError> {
        let mut needed = vec![false; self.nodes.len()];
        needed[0] = true;
        needed[self.output] = true;
        for id in (0..self.nodes.len()).rev() {
            if needed[id] {
                self.nodes[id].inputs.iter().for_each(|&input| needed[input] = true);
            }
        }
        let old = std::mem::take(&mut self.nodes);
        let mut number = vec![0; old.len()];
        for (id, mut node) in old.into_iter().enumerate().filter(|(id, _)| needed[*id]) {
            number[id] = self.nodes.len();
            node.inputs.iter_mut().for_each(|input| *input = number[*input]);
            if !matches!(node.op, Op::Input) {
                node.shape = self.infer(&node)?;
            }
            self.nodes.push(node);
        }
        self.output = number[self.output];
        Ok(self)
    }

    fn infer(&self, node: &Node) -> Result<Vec<usize>, NnError> {
        let mut shapes = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            let source = self.nodes.get(input).ok_or_else(|| {
                NnError::shape(&node.name, format!("it reads node {input}, which is not before it"))
            })?;
            shapes.push(source.shape.as_slice());
        }
        shape::infer(&node.op, &shapes).map_err(|what| NnError::shape(&node.name, what))
    }
}

impl Linear {
    /// A scale and a shift per channel of planes with these sides: a 1×1 convolution with one group per channel.
    ///
    /// # Errors
    /// [`NnError::Shape`] naming `name` for impossible sizes, or unless there are as many shifts as scales.
    pub fn per_channel(
        name: &str,
        sides: [usize; 2],
        scale: Vec<f64>,
        shift: Vec<f64>,
    ) -> Result<Self, NnError> {
        let channels = scale.len();
        let geometry = ConvGeometry::new(ConvShape {
            in_channels: channels,
            in_height: sides[0],
            in_width: sides[1],
            out_channels: channels,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0; 4],
            dilation: [1, 1],
            groups: channels,
        })
        .map_err(|e| NnError::shape(name, e.to_string()))?;
        Self::new(name, geometry, scale, shift)
    }

    /// Checks lengths.
    ///
    /// # Errors
    /// [`NnError::Shape`] naming `name` when the numbers of weights or biases do not fit the geometry.
    pub fn new(
        name: &str,
        geometry: ConvGeometry,
        weights: Vec<f64>,
        bias: Vec<f64>,
    ) -> Result<Self, NnError> {
        if weights.len() != geometry.weights_len() || bias.len() != geometry.shape().out_channels {
            return Err(NnError::shape(
                name,
                format!(
                    "{} weights and {} biases, wanted {} and {}",
                    weights.len(),
                    bias.len(),
                    geometry.weights_len(),
                    geometry.shape().out_channels
                ),
            ));
        }
        Ok(Self { geometry, weights: Arc::new(weights), bias })
    }

    /// Whether this is a 1×1 convolution on a 1×1 plane; it takes any tensor with C elements and gives 1×O.
    pub fn is_flat(&self) -> bool {
        let s = self.geometry.shape();
        s.in_height == 1 && s.in_width == 1 && s.kernel == [1, 1] && s.padding == [0; 4]
    }

    /// Whether this is a fully connected layer: flat, with one group.
    pub fn is_dense(&self) -> bool {
        self.is_flat() && self.geometry.shape().groups == 1
    }
}

impl BatchNorm {
    /// The same map as a scale and a shift.
    pub fn diagonal(&self) -> Diagonal {
        let scale: Vec<f64> =
            self.gamma.iter().zip(&self.variance).map(|(g, v)| g / (v + self.epsilon).sqrt()).collect();
        let shift =
            self.beta.iter().zip(&self.mean).zip(&scale).map(|((beta, mean), s)| beta - mean * s).collect();
        Diagonal { scale, shift }
    }
}
