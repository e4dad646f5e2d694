//! The network between the ONNX file and the program of private nodes: a small graph in normal form.
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

mod op;

use crate::error::NnError;
use crate::shape;

pub use op::{BatchNorm, Diagonal, Function, Linear, Op, Part};

/// Index of a node in its graph.
pub type NodeId = usize;

/// Most nodes of a graph.
pub const MAX_NODES: usize = 1 << 14;

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
