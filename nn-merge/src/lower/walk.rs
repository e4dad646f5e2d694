//! The walk over the graph that builds the program.
//!
//! Every graph node gets a program node in its *natural* kind; where a reader wants the other kind, [`Walk::raw`] and
//! [`Walk::masked`] make it, once. Masked to raw is free (a sum of one operand) if all elements have the same units, and a
//! local map commutes with it, so a join of tensors with different units becomes a join of their sums. Raw to masked is a
//! lift, one cheap round.

use std::collections::HashMap;

use super::activation::normal_form;
use super::local::maps;
use super::pair::paired;
use super::{LowerOptions, Program, ProgramNode, ProgramOp, RealActivation, canonical};
use crate::error::NnError;
use crate::graph::{Function, Graph, Linear, Node, NodeId, Op, Part};
use crate::model::{LocalOp, PoolGeometry, Shape};
use crate::quantize::uniform_channels;

/// Lowering under way.
pub(super) struct Walk<'g> {
    pub(super) graph: &'g Graph,
    options: LowerOptions,
    pub(super) consumers: Vec<Vec<NodeId>>,
    pub(super) out: Vec<ProgramNode>,
    /// Per graph node its program node; none where it was folded into a reader.
    pub(super) natural: Vec<Option<usize>>,
    /// Raw forms of masked program nodes, and masked forms of raw ones.
    pub(super) raw: HashMap<usize, usize>,
    pub(super) masked: HashMap<usize, usize>,
    /// Program nodes with the two results of a PReLU, and its slopes.
    pub(super) pairs: HashMap<usize, Vec<f64>>,
}

impl<'g> Walk<'g> {
    pub(super) fn new(graph: &'g Graph, options: LowerOptions) -> Self {
        Self {
            graph,
            options,
            consumers: graph.consumers(),
            out: Vec::new(),
            natural: vec![None; graph.nodes().len()],
            raw: HashMap::new(),
            masked: HashMap::new(),
            pairs: HashMap::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Program, NnError> {
        for id in 0..self.graph.nodes().len() {
            self.natural[id] = self.node(id)?;
        }
        let output = self.natural(self.graph.output())?;
        let output = self.raw(output)?;
        Ok(pruned(self.out, output))
    }

    /// The program node of a graph node; none where its reader takes it in.
    fn node(&mut self, id: NodeId) -> Result<Option<usize>, NnError> {
        let graph = self.graph;
        let node = graph.node(id);
        let made = match &node.op {
            Op::Input => {
                let shape = canonical(&node.shape);
                let made = self.options.input.unwrap_or(shape);
                let made = self.push(id, "", ProgramOp::Input, vec![], made, true, 1.0);
                self.local(id, LocalOp::Reshape(shape), &[made])?
            }
            Op::Identity | Op::Dropout => self.natural(node.inputs[0])?,
            Op::Linear(linear) => self.linear(id, linear)?,
            Op::BatchNorm(norm) => self.scale(id, &norm.diagonal())?,
            Op::Scale(diagonal) => self.scale(id, diagonal)?,
            Op::Activation(function) => {
                let channels = canonical(&node.shape)[0];
                let part = Part { channels: (0..channels).collect(), function: function.clone() };
                self.activation(id, &[part])?
            }
            Op::Mixed(parts) => self.activation(id, parts)?,
            Op::MaxPool(_) if self.folds(id) => return Ok(None),
            Op::MaxPool(_) => {
                let part = Part { channels: (0..node.shape[1]).collect(), function: Function::Identity };
                self.pooled(id, id, &[part])?
            }
            Op::AveragePool { window, count_padding } => self.average(id, window, *count_padding)?,
            Op::Add => {
                // Taken in by the addition that alone reads it.
                let reader = self.graph.sole_consumer(id, &self.consumers);
                if reader.is_some_and(|reader| matches!(graph.node(reader).op, Op::Add)) {
                    return Ok(None);
                }
                self.sum(id)?
            }
            Op::Concat { axis } => self.concat(id, *axis)?,
            Op::Reshape(_) | Op::Transpose(_) | Op::Slice { .. } | Op::Pad { .. } | Op::Upsample(_) => {
                self.moved(id)?
            }
            other => return Err(misplaced(node, other)),
        };
        Ok(Some(made))
    }

    /// Whether a max-pool is alone read by an activation.
    fn folds(&self, id: NodeId) -> bool {
        let reader = self.graph.sole_consumer(id, &self.consumers);
        reader.is_some_and(|reader| matches!(self.graph.node(reader).op, Op::Activation(_) | Op::Mixed(_)))
    }

    fn linear(&mut self, id: NodeId, linear: &Linear) -> Result<usize, NnError> {
        let mut source = self.natural(self.graph.node(id).inputs[0])?;
        if linear.is_flat() {
            // It takes any tensor with as many elements.
            while let ProgramOp::Local(LocalOp::Reshape(_)) = self.out[source].op {
                source = self.out[source].inputs[0];
            }
        }
        let s = linear.geometry.shape();
        let linear = match self.pairs.get(&source) {
            Some(slopes) if s.groups == 1 => {
                paired(linear, slopes).map_err(|what| NnError::private(&self.graph.node(id).name, what))?
            }
            _ => {
                source = self.masked(source)?;
                // A join along a plane's rows, say, may leave pixels of different units in one channel.
                if !self.uniform(source) && !uniform_channels(&self.out, source, s.in_channels) {
                    source = self.raw(source)?;
                    source = self.masked(source)?;
                }
                linear.clone()
            }
        };
        let s = linear.geometry.shape();
        let fits = self.out[source].shape == [s.in_channels, s.in_height, s.in_width];
        if !fits && !linear.is_flat() {
            source = self.local(id, LocalOp::Reshape([s.in_channels, s.in_height, s.in_width]), &[source])?;
        }
        let shape = [s.out_channels, linear.geometry.out_height(), linear.geometry.out_width()];
        Ok(self.push(id, "", ProgramOp::Linear(linear), vec![source], shape, false, 1.0))
    }

    fn activation(&mut self, id: NodeId, parts: &[Part]) -> Result<usize, NnError> {
        let mut at = self.graph.node(id).inputs[0];
        while matches!(self.graph.node(at).op, Op::Identity | Op::Dropout) {
            at = self.graph.node(at).inputs[0];
        }
        match self.natural[at] {
            None if matches!(self.graph.node(at).op, Op::MaxPool(_)) => self.pooled(id, at, parts),
            _ => self.function(id, None, at, parts),
        }
    }

    /// An activation of the max-pool `pool`, for the graph node `id`.
    fn pooled(&mut self, id: NodeId, pool: NodeId, parts: &[Part]) -> Result<usize, NnError> {
        let node = self.graph.node(pool);
        let Op::MaxPool(window) = &node.op else {
            return Err(NnError::private(&node.name, "it is not a maximum pooling"));
        };
        self.function(id, Some(window.clone()), node.inputs[0], parts)
    }

    fn function(
        &mut self,
        id: NodeId,
        pool: Option<PoolGeometry>,
        source: NodeId,
        parts: &[Part],
    ) -> Result<usize, NnError> {
        let node = self.graph.node(id);
        let source = self.natural(source)?;
        let source = self.raw(source)?;
        let channels = canonical(&node.shape)[0];
        let (activation, slopes) = normal_form(parts, channels, self.options.leaky_as_pair)
            .map_err(|what| NnError::private(&node.name, what))?;
        let [_, height, width] = canonical(&node.shape);
        let shape = [channels * if slopes.is_some() { 2 } else { 1 }, height, width];
        let op = ProgramOp::Activation(RealActivation { pool, ..activation });
        let made = self.push(id, "", op, vec![source], shape, true, 1.0);
        if let Some(slopes) = slopes {
            self.pairs.insert(made, slopes);
        }
        Ok(made)
    }

    fn moved(&mut self, id: NodeId) -> Result<usize, NnError> {
        let node = self.graph.node(id);
        let from = &self.graph.node(node.inputs[0]).shape;
        let mut at = self.natural(node.inputs[0])?;
        if self.pairs.contains_key(&at) {
            let flat =
                |&reader: &NodeId| matches!(&self.graph.node(reader).op, Op::Linear(l) if l.is_dense());
            if matches!(node.op, Op::Reshape(_)) && self.consumers[id].iter().all(flat) {
                return Ok(at);
            }
            at = self.combined(at)?;
        }
        for map in maps(&node.op, from, &node.shape).map_err(|what| NnError::private(&node.name, what))? {
            at = self.local(id, map, &[at])?;
        }
        Ok(at)
    }

    /// Whether a linear map reads the node, perhaps behind nodes that only move elements.
    pub(super) fn feeds_linear(&self, id: NodeId) -> bool {
        self.consumers[id].iter().any(|&reader| match &self.graph.node(reader).op {
            Op::Linear(_) => true,
            Op::AveragePool { .. } | Op::Identity | Op::Dropout => self.feeds_linear(reader),
            op => op.moves() && self.feeds_linear(reader),
        })
    }

    pub(super) fn natural(&self, id: NodeId) -> Result<usize, NnError> {
        let missing = || NnError::private(&self.graph.node(id).name, "it is read where it was folded away");
        self.natural[id].ok_or_else(missing)
    }

    /// A local map; none where it would change nothing.
    pub(super) fn local(&mut self, id: NodeId, op: LocalOp, sources: &[usize]) -> Result<usize, NnError> {
        let mut sources = sources.to_vec();
        if let LocalOp::Reshape(shape) = op {
            while let ProgramOp::Local(LocalOp::Reshape(_)) = self.out[sources[0]].op {
                sources = self.out[sources[0]].inputs.clone();
            }
            if self.out[sources[0]].shape == shape {
                return Ok(sources[0]);
            }
        }
        if op == LocalOp::Concat && sources.len() == 1 {
            return Ok(sources[0]);
        }
        let shapes: Vec<Shape> = sources.iter().map(|&p| self.out[p].shape).collect();
        let shape = op.shape(&shapes).map_err(|what| NnError::private(&self.graph.node(id).name, what))?;
        let ProgramNode { masked, gain, .. } = self.out[sources[0]];
        Ok(self.push(id, "", ProgramOp::Local(op), sources, shape, masked, gain))
    }

    pub(super) fn push(
        &mut self,
        id: NodeId,
        word: &str,
        op: ProgramOp,
        inputs: Vec<usize>,
        shape: Shape,
        masked: bool,
        gain: f64,
    ) -> usize {
        let name = format!("{}{word}", crate::error::shown(&self.graph.node(id).name));
        self.out.push(ProgramNode { name, op, inputs, shape, masked, gain, value: id });
        self.out.len() - 1
    }
}

/// Nodes that the output does not need are dropped, all but the input.
pub(super) fn pruned(nodes: Vec<ProgramNode>, output: usize) -> Program {
    let mut needed = vec![false; nodes.len()];
    needed[0] = true;
    needed[output] = true;
    for at in (0..nodes.len()).rev() {
        if needed[at] {
            nodes[at].inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    let mut number = vec![0; nodes.len()];
    let mut kept = Vec::new();
    for (at, mut node) in nodes.into_iter().enumerate().filter(|(at, _)| needed[*at]) {
        number[at] = kept.len();
        node.inputs.iter_mut().for_each(|input| *input = number[*input]);
        kept.push(node);
    }
    Program { nodes: kept, output: number[output] }
}

fn misplaced(node: &Node, op: &Op) -> NnError {
    let why = match op {
        Op::Softmax | Op::LogSoftmax => {
            "softmax is supported only at the very end, where it is dropped; end the network before it"
                .to_string()
        }
        other => format!("a {} is left over that nothing could absorb", other.kind()),
    };
    NnError::private(&node.name, why)
}
