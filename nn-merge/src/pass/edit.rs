//! A graph being rewritten: nodes may be added anywhere, and the result is put in order again.
//!
//! [`Graph`] keeps its nodes in topological order; a rewriting that makes new nodes would have to find their places.
//! Here new nodes go to the end, readers are redirected, and [`Edit::finish`] walks from the result back to the
//! input: what is not reached is dropped, everything else gets a number after its inputs, and all shapes are inferred
//! afresh. The order depends on the wiring only, so that runs are repeatable.

use crate::error::NnError;
use crate::graph::{Graph, Node, NodeId, Op};
use crate::shape;

/// Nodes without an order.
pub(super) struct Edit {
    nodes: Vec<Node>,
    output: NodeId,
    channels_last: bool,
}

impl Edit {
    /// Starts from a graph; node numbers stay valid.
    pub(super) fn new(graph: &Graph) -> Self {
        Self { nodes: graph.nodes().to_vec(), output: graph.output(), channels_last: graph.channels_last }
    }

    /// A new node that nobody reads yet.
    ///
    /// # Errors
    /// [`NnError::Shape`] when the operation does not fit its inputs.
    pub(super) fn add(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[NodeId],
    ) -> Result<NodeId, NnError> {
        let name = name.into();
        let shapes: Vec<&[usize]> = inputs.iter().map(|&i| self.nodes[i].shape.as_slice()).collect();
        let shape = shape::infer(&op, &shapes).map_err(|what| NnError::shape(&name, what))?;
        self.nodes.push(Node { name, op, inputs: inputs.to_vec(), shape });
        Ok(self.nodes.len() - 1)
    }

    /// Adds a reshape of `id`, unless it has this shape already.
    ///
    /// # Errors
    /// [`NnError::Shape`] when the numbers of elements differ.
    pub(super) fn reshaped(&mut self, id: NodeId, shape: &[usize]) -> Result<NodeId, NnError> {
        if self.nodes[id].shape == shape {
            return Ok(id);
        }
        let name = format!("{} (reshaped)", self.nodes[id].name);
        self.add(name, Op::Reshape(shape.to_vec()), &[id])
    }

    /// Adds a reshape of `id` to a vector, unless it is one.
    ///
    /// # Errors
    /// As [`Edit::add`].
    pub(super) fn flattened(&mut self, id: NodeId) -> Result<NodeId, NnError> {
        self.reshaped(id, &[1, self.nodes[id].elements()])
    }

    /// Exchanges what a node computes, and what it reads.
    pub(super) fn set(&mut self, id: NodeId, op: Op, inputs: &[NodeId]) {
        self.nodes[id].op = op;
        self.nodes[id].inputs = inputs.to_vec();
    }

    /// Lets every reader of `from` (but not the nodes in `except`) read `to`, and the result likewise.
    pub(super) fn redirect(&mut self, from: NodeId, to: NodeId, except: &[NodeId]) {
        for (id, node) in self.nodes.iter_mut().enumerate() {
            if !except.contains(&id) {
                node.inputs.iter_mut().filter(|input| **input == from).for_each(|input| *input = to);
            }
        }
        if self.output == from {
            self.output = to;
        }
    }

    /// The graph of everything that the result needs.
    ///
    /// # Errors
    /// [`NnError::Shape`] if the rewriting left nodes that do not fit, [`NnError::TooLarge`] above the cap on nodes.
    pub(super) fn finish(self) -> Result<Graph, NnError> {
        let mut graph = Graph::new(&self.nodes[0].name, &self.nodes[0].shape)?;
        graph.channels_last = self.channels_last;
        let mut number: Vec<Option<NodeId>> = vec![None; self.nodes.len()];
        number[0] = Some(0);
        // A walk with a stack of its own: a chain may be longer than the thread's.
        let mut stack = vec![self.output];
        let edges: usize = self.nodes.iter().map(|node| node.inputs.len()).sum();
        while let Some(&id) = stack.last() {
            if number[id].is_some() {
                stack.pop();
                continue;
            }
            let node = &self.nodes[id];
            let missing = node.inputs.iter().rev().filter(|&&input| number[input].is_none());
            let before = stack.len();
            stack.extend(missing);
            if stack.len() > before {
                if stack.len() > edges + 1 {
                    return Err(NnError::shape(&node.name, "a rewriting made it read its own result"));
                }
                continue;
            }
            let inputs: Vec<NodeId> = node.inputs.iter().filter_map(|&input| number[input]).collect();
            number[id] = Some(graph.push(&node.name, node.op.clone(), &inputs)?);
            stack.pop();
        }
        graph.set_output(number[self.output].unwrap_or(0))?;
        Ok(graph)
    }
}

/// The channels of a tensor 1 × C × …, if it has such an axis.
pub(super) fn channels(shape: &[usize]) -> Option<usize> {
    match *shape {
        [1, channels, ..] => Some(channels),
        _ => None,
    }
}

/// The shape 1×C×H×W of a linear map's result (1×O if it is flat).
pub(super) fn natural_shape(linear: &crate::graph::Linear) -> Vec<usize> {
    let g = &linear.geometry;
    match linear.is_flat() {
        true => vec![1, g.shape().out_channels],
        false => vec![1, g.shape().out_channels, g.out_height(), g.out_width()],
    }
}
