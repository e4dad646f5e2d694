//! Where tensors meet or change units: sums, joins, and scales that no pass could fold.
//!
//! A sum takes raw and masked operands, as long as the raw ones hold the same multiple of their values and each masked one
//! has one unit. A join takes one kind: masked if a linear map is behind it, else raw. A scale becomes units, or is
//! taken in by the activation before it; only where neither can be, it is a convolution.

use super::activation::shortest;
use super::local::joining;
use super::walk::Walk;
use super::{ProgramNode, ProgramOp, canonical};
use crate::error::NnError;
use crate::graph::{Diagonal, Linear, NodeId, Op};
use crate::model::LocalOp;

impl Walk<'_> {
    pub(super) fn sum(&mut self, id: NodeId) -> Result<usize, NnError> {
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

    pub(super) fn concat(&mut self, id: NodeId, axis: usize) -> Result<usize, NnError> {
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

    /// A scale and shift that no pass could fold.
    pub(super) fn scale(&mut self, id: NodeId, diagonal: &Diagonal) -> Result<usize, NnError> {
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
        let ProgramNode { shape: [channels, height, width], masked, gain, .. } = self.out[source];
        let spread = |v: &[f64]| if v.len() == 1 { vec![v[0]; channels] } else { v.to_vec() };
        if !masked && scale == [1.0] {
            let (op, shape) = (ProgramOp::Shift(spread(shift)), self.out[source].shape);
            return Ok(self.push(id, "", op, vec![source], shape, false, gain));
        }
        let source = self.masked(source)?;
        let map = Linear::per_channel(&node.name, [height, width], spread(&diagonal.scale), spread(shift))?;
        Ok(self.push(id, "", ProgramOp::Linear(map), vec![source], [channels, height, width], false, 1.0))
    }
}
