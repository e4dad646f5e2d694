//! Both forms of a tensor: raw from masked, masked from raw, and all elements in one unit.

use super::activation::identity;
use super::walk::Walk;
use super::{ProgramNode, ProgramOp, RealFunction};
use crate::error::NnError;
use crate::graph::{Linear, NodeId};
use crate::model::LocalOp;

impl Walk<'_> {
    /// Whether all elements of a masked tensor have the same units (never wrongly true).
    pub(super) fn uniform(&self, at: usize) -> bool {
        let node = &self.out[at];
        match &node.op {
            ProgramOp::Input => true,
            ProgramOp::Activation(a) => {
                a.parts.len() == 1 && a.factor.len() == 1 && a.parts[0].function != RealFunction::Pair
            }
            ProgramOp::Scale(factors) => factors.len() == 1 && self.uniform(node.inputs[0]),
            ProgramOp::Local(_) => node.inputs.len() == 1 && self.uniform(node.inputs[0]),
            ProgramOp::Linear(_) | ProgramOp::Sum | ProgramOp::Shift(_) => false,
        }
    }

    /// The raw form of a program node.
    pub(super) fn raw(&mut self, at: usize) -> Result<usize, NnError> {
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
    pub(super) fn masked(&mut self, at: usize) -> Result<usize, NnError> {
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
    pub(super) fn sum_of(&mut self, at: usize) -> usize {
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

    pub(super) fn scaled(&mut self, id: NodeId, at: usize, factors: Vec<f64>) -> usize {
        let shape = self.out[at].shape;
        self.push(id, "", ProgramOp::Scale(factors), vec![at], shape, true, 1.0)
    }
}
