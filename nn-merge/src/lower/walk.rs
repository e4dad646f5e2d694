//! The walk over the graph that builds the program.
//!
//! Every graph node gets a program node in its *natural* kind; where a reader wants the other kind, [`Walk::raw`] and
//! [`Walk::masked`] make it, once. Masked to raw is free (a sum of one operand) if all elements have the same units, and a
//! local map commutes with it, so a join of tensors with different units becomes a join of their sums. Raw to masked is a
//! lift, one cheap round.

use std::collections::HashMap;

use conv_fast::{ConvGeometry, ConvShape};

use super::activation::{identity, normal_form, shortest};
use super::local::{joining, maps};
use super::{LowerOptions, Program, ProgramNode, ProgramOp, RealActivation, RealFunction, canonical};
use crate::error::NnError;
use crate::graph::{Diagonal, Function, Graph, Linear, Node, NodeId, Op, Part};
use crate::model::{LocalOp, PoolGeometry, Shape};
use crate::quantize::uniform_channels;

/// Lowering under way.
pub(super) struct Walk<'g> {
    graph: &'g Graph,
    options: LowerOptions,
    consumers: Vec<Vec<NodeId>>,
    out: Vec<ProgramNode>,
    /// Per graph node its program node; none where it was folded into a reader.
    natural: Vec<Option<usize>>,
    /// Raw forms of masked program nodes, and masked forms of raw ones.
    raw: HashMap<usize, usize>,
    masked: HashMap<usize, usize>,
    /// Program nodes with the two results of a PReLU, and its slopes.
    pairs: HashMap<usize, Vec<f64>>,
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

    fn average(&mut self, id: NodeId, window: &PoolGeometry, count_padding: bool) -> Result<usize, NnError> {
        let node = self.graph.node(id);
        let s = window.shape();
        let (rows, columns) = window.spans();
        let full = s.kernel[0] * s.kernel[1];
        let mut counts = rows.iter().flat_map(|r| columns.iter().map(|c| r.len() * c.len()));
        let first = counts.next().unwrap_or(full);
        let uneven = !count_padding && counts.any(|count| count != first);
        let cells = if count_padding { full } else { first } as f64;
        let mut source = self.natural(node.inputs[0])?;
        if self.pairs.contains_key(&source) {
            source = self.combined(source)?;
        }
        if uneven {
            return self.uneven_average(id, window, source);
        }
        let sums = self.local(id, LocalOp::SumPool(window.clone()), &[source])?;
        if self.out[sums].masked {
            return Ok(self.scaled(id, sums, vec![1.0 / cells]));
        }
        self.out[sums].gain *= cells;
        Ok(sums)
    }

    /// An average whose windows count fewer cells at the border: each region of windows of one size is a summand of its own,
    /// with zeros elsewhere and a factor of its own.
    fn uneven_average(&mut self, id: NodeId, window: &PoolGeometry, source: usize) -> Result<usize, NnError> {
        let source = if self.out[source].masked && self.uniform(source) {
            source
        } else {
            let raw = self.raw(source)?;
            self.masked(raw)?
        };
        let sums = self.local(id, LocalOp::SumPool(window.clone()), &[source])?;
        let shape = self.out[sums].shape;
        let (rows, columns) = window.spans();
        let mut operands = Vec::new();
        for (top, height, tall) in runs(&rows) {
            for (left, width, wide) in runs(&columns) {
                let size = [shape[0], height, width];
                let slice = LocalOp::Slice { start: [0, top, left], step: [1; 3], size };
                let region = self.local(id, slice, &[sums])?;
                let region = self.scaled(id, region, vec![1.0 / (tall * wide) as f64]);
                let after = [0, shape[1] - top - height, shape[2] - left - width];
                let pad = LocalOp::Pad { before: [0, top, left], after };
                operands.push(self.local(id, pad, &[region])?);
            }
        }
        Ok(self.push(id, "", ProgramOp::Sum, operands, shape, false, 1.0))
    }

    /// A scale and shift that no pass could fold.
    fn scale(&mut self, id: NodeId, diagonal: &Diagonal) -> Result<usize, NnError> {
        let node = self.graph.node(id);
        let mut source = self.natural(node.inputs[0])?;
        if self.pairs.contains_key(&source) {
            source = self.combined(source)?;
        }
        let Diagonal { scale, shift } = diagonal;
        let scale = shortest(scale.clone());
        let still = shift.iter().all(|&t| t == 0.0);
        if self.out[source].masked && still && !scale.contains(&0.0) {
            return Ok(self.scaled(id, source, scale));
        }
        let before = &self.graph.node(node.inputs[0]).op;
        let alone = matches!(before, Op::Activation(_) | Op::Mixed(_) | Op::MaxPool(_))
            && self.graph.sole_consumer(node.inputs[0], &self.consumers) == Some(id);
        let channels = canonical(&node.shape)[0];
        if let ProgramOp::Activation(activation) = &mut self.out[source].op
            && alone
            && !diagonal.scale.contains(&0.0)
        {
            let at = |values: &[f64], i: usize| if values.len() == 1 { values[0] } else { values[i] };
            let (factors, shifts) = (activation.factor.clone(), activation.shift.clone());
            let each = |f: &dyn Fn(usize) -> f64| shortest((0..channels).map(f).collect());
            activation.factor = each(&|i| at(&factors, i) * at(&diagonal.scale, i));
            activation.shift = each(&|i| at(&shifts, i) * at(&diagonal.scale, i) + at(shift, i));
            self.out[source].value = id;
            return Ok(source);
        }
        let [channels, height, width] = self.out[source].shape;
        let spread = |v: &[f64]| if v.len() == 1 { vec![v[0]; channels] } else { v.to_vec() };
        let source = self.masked(source)?;
        let map = Linear::per_channel(&node.name, [height, width], spread(&diagonal.scale), spread(shift))?;
        Ok(self.push(id, "", ProgramOp::Linear(map), vec![source], [channels, height, width], false, 1.0))
    }

    fn sum(&mut self, id: NodeId) -> Result<usize, NnError> {
        let mut operands = Vec::new();
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            // Back to front, so that operands come out in the order of the file.
            for &source in self.graph.node(next).inputs.iter().rev() {
                match self.natural[source] {
                    None => open.push(source),
                    Some(program) => operands.push(program),
                }
            }
        }
        operands.reverse();
        for operand in &mut operands {
            if self.out[*operand].masked && !self.uniform(*operand) {
                *operand = self.raw(*operand)?;
            }
        }
        let gains: Vec<f64> =
            operands.iter().filter(|&&p| !self.out[p].masked).map(|&p| self.out[p].gain).collect();
        let gain = gains.first().copied().filter(|first| gains.iter().all(|g| g == first)).unwrap_or(1.0);
        for operand in &mut operands {
            if !self.out[*operand].masked && self.out[*operand].gain != gain {
                *operand = self.masked(*operand)?;
            }
        }
        let shape = self.out[operands[0]].shape;
        for operand in &mut operands {
            if self.out[*operand].shape != shape {
                *operand = self.local(id, LocalOp::Reshape(shape), &[*operand])?;
            }
        }
        Ok(self.push(id, "", ProgramOp::Sum, operands, shape, false, gain))
    }

    fn concat(&mut self, id: NodeId, axis: usize) -> Result<usize, NnError> {
        let node = self.graph.node(id);
        let mut sources = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            let source = self.natural(input)?;
            sources.push(if self.pairs.contains_key(&source) { self.combined(source)? } else { source });
        }
        let masked = sources.iter().all(|&p| self.out[p].masked) || self.feeds_linear(id);
        for source in &mut sources {
            *source = if masked { self.masked(*source)? } else { self.raw(*source)? };
        }
        let mixed = sources.iter().any(|&p| self.out[p].gain != self.out[sources[0]].gain);
        if mixed {
            for source in &mut sources {
                if self.out[*source].gain != 1.0 {
                    let lifted = self.masked(*source)?;
                    *source = self.sum_of(lifted);
                }
            }
        }
        let mut back = Vec::new();
        for (source, &input) in sources.iter_mut().zip(&node.inputs) {
            let (before, behind) = joining(axis, &self.graph.node(input).shape, &node.shape);
            for map in before {
                *source = self.local(id, map, &[*source])?;
            }
            back = behind;
        }
        let mut made = self.local(id, LocalOp::Concat, &sources)?;
        for map in back {
            made = self.local(id, map, &[made])?;
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
    fn feeds_linear(&self, id: NodeId) -> bool {
        self.consumers[id].iter().any(|&reader| match &self.graph.node(reader).op {
            Op::Linear(_) => true,
            Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Upsample(_)
            | Op::Concat { .. }
            | Op::AveragePool { .. }
            | Op::Identity
            | Op::Dropout => self.feeds_linear(reader),
            _ => false,
        })
    }

    fn natural(&self, id: NodeId) -> Result<usize, NnError> {
        let missing = || NnError::private(&self.graph.node(id).name, "it is read where it was folded away");
        self.natural[id].ok_or_else(missing)
    }

    /// Whether all elements of a masked tensor have the same units (never wrongly true).
    fn uniform(&self, at: usize) -> bool {
        let node = &self.out[at];
        match &node.op {
            ProgramOp::Input => true,
            ProgramOp::Activation(a) => {
                a.parts.len() == 1 && a.factor.len() == 1 && a.parts[0].function != RealFunction::Pair
            }
            ProgramOp::Scale(factors) => factors.len() == 1 && self.uniform(node.inputs[0]),
            ProgramOp::Local(_) => node.inputs.len() == 1 && self.uniform(node.inputs[0]),
            ProgramOp::Linear(_) | ProgramOp::Sum => false,
        }
    }

    /// The raw form of a program node.
    fn raw(&mut self, at: usize) -> Result<usize, NnError> {
        if !self.out[at].masked {
            return Ok(at);
        }
        if let Some(&made) = self.raw.get(&at) {
            return Ok(made);
        }
        let made = if self.pairs.contains_key(&at) {
            self.combined(at)?
        } else if self.uniform(at) {
            self.sum_of(at)
        } else {
            match self.out[at].op.clone() {
                // The divisor of a sum over windows is in the units behind it.
                ProgramOp::Local(op) if !matches!(op, LocalOp::SumPool(_)) => {
                    let sources = self.out[at].inputs.clone();
                    let sources =
                        sources.into_iter().map(|p| self.raw(p)).collect::<Result<Vec<usize>, NnError>>()?;
                    self.local(self.out[at].value, op, &sources)?
                }
                _ => self.per_channel(at)?,
            }
        };
        self.raw.insert(at, made);
        Ok(made)
    }

    /// The masked form of a program node, each element once.
    fn masked(&mut self, at: usize) -> Result<usize, NnError> {
        if self.pairs.contains_key(&at) {
            let raw = self.raw(at)?;
            return self.masked(raw);
        }
        if self.out[at].masked {
            return Ok(at);
        }
        if let Some(&made) = self.masked.get(&at) {
            return Ok(made);
        }
        let ProgramNode { shape, value, .. } = self.out[at];
        let op = ProgramOp::Activation(identity(shape[0]));
        let made = self.push(value, " (lift)", op, vec![at], shape, true, 1.0);
        self.masked.insert(at, made);
        if self.out[at].gain == 1.0 {
            self.raw.insert(made, at);
        }
        Ok(made)
    }

    /// The sum of one masked operand.
    fn sum_of(&mut self, at: usize) -> usize {
        let ProgramNode { shape, value, .. } = self.out[at];
        self.push(value, " (sum)", ProgramOp::Sum, vec![at], shape, false, 1.0)
    }

    /// A convolution that does nothing but bring all channels of a masked tensor to the same units.
    fn per_channel(&mut self, at: usize) -> Result<usize, NnError> {
        let ProgramNode { shape: [channels, height, width], value, .. } = self.out[at];
        let name = &self.graph.node(value).name;
        let map = Linear::per_channel(name, [height, width], vec![1.0; channels], vec![0.0; channels])?;
        let op = ProgramOp::Linear(map);
        Ok(self.push(value, " (units)", op, vec![at], [channels, height, width], false, 1.0))
    }

    /// The one result of a PReLU: a·y + (1 − a)·ReLU(y) by a convolution of two channels each.
    fn combined(&mut self, at: usize) -> Result<usize, NnError> {
        if let Some(&made) = self.raw.get(&at) {
            return Ok(made);
        }
        let slopes = self.pairs[&at].clone();
        let ProgramNode { shape: [doubled, height, width], value, .. } = self.out[at];
        let channels = doubled / 2;
        let mut source = at;
        for map in [
            LocalOp::Reshape([2, channels, height * width]),
            LocalOp::Permute([1, 0, 2]),
            LocalOp::Reshape([doubled, height, width]),
        ] {
            source = self.local(value, map, &[source])?;
        }
        let name = &self.graph.node(value).name;
        let geometry = ConvGeometry::new(ConvShape {
            in_channels: doubled,
            in_height: height,
            in_width: width,
            out_channels: channels,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0; 4],
            dilation: [1, 1],
            groups: channels,
        })
        .map_err(|e| NnError::shape(name, e.to_string()))?;
        let slope = |c: usize| if slopes.len() == 1 { slopes[0] } else { slopes[c] };
        let weights = (0..channels).flat_map(|c| [1.0 - slope(c), slope(c)]).collect();
        let map = Linear::new(name, geometry, weights, vec![0.0; channels])?;
        let op = ProgramOp::Linear(map);
        let made = self.push(value, " (slopes)", op, vec![source], [channels, height, width], false, 1.0);
        self.raw.insert(at, made);
        Ok(made)
    }

    fn scaled(&mut self, id: NodeId, at: usize, factors: Vec<f64>) -> usize {
        let shape = self.out[at].shape;
        self.push(id, "", ProgramOp::Scale(factors), vec![at], shape, true, 1.0)
    }

    /// A local map; none where it would change nothing.
    fn local(&mut self, id: NodeId, op: LocalOp, sources: &[usize]) -> Result<usize, NnError> {
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

    fn push(
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

/// Neighbouring spans of one length: where they begin, how many, and the length.
fn runs(spans: &[std::ops::Range<usize>]) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for (at, span) in spans.iter().enumerate() {
        match runs.last_mut() {
            Some((_, count, length)) if *length == span.len() => *count += 1,
            _ => runs.push((at, 1, span.len())),
        }
    }
    runs
}

/// W·(a·y + (1 − a)·ReLU(y)) as one map of ReLU(y) and y side by side.
fn paired(linear: &Linear, slopes: &[f64]) -> Result<Linear, String> {
    let s = linear.geometry.shape();
    let taps = s.kernel[0] * s.kernel[1];
    let geometry =
        ConvGeometry::new(ConvShape { in_channels: 2 * s.in_channels, ..*s }).map_err(|e| e.to_string())?;
    // A flattened plane spreads each slope over a run of inputs.
    let slope = |c: usize| slopes[c * slopes.len() / s.in_channels];
    let row = |row: &[f64]| {
        let part = |factor: &dyn Fn(f64) -> f64| -> Vec<f64> {
            row.chunks(taps)
                .enumerate()
                .flat_map(|(c, cell)| cell.iter().map(move |w| w * factor(slope(c))))
                .collect()
        };
        [part(&|a| 1.0 - a), part(&|a| a)].concat()
    };
    let weights: Vec<f64> = linear.weights.chunks(taps * s.in_channels).flat_map(row).collect();
    Ok(Linear { geometry, weights: weights.into(), bias: linear.bias.clone() })
}

/// Nodes that the output does not need are dropped, all but the input.
fn pruned(nodes: Vec<ProgramNode>, output: usize) -> Program {
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
