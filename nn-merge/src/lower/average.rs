//! Average pools: sums over windows, free for both parties, with the divisor in the units behind.
//!
//! A sum of a masked tensor is divided by its units alone. One of a raw tensor stays undivided there ([`ProgramNode::gain`]), and
//! needs room for that. Where windows at the border count fewer cells than others, each region of windows of one size is a
//! summand of its own.

use super::walk::Walk;
use super::{ProgramNode, ProgramOp};
use crate::error::NnError;
use crate::graph::NodeId;
use crate::model::{LocalOp, PoolGeometry};

/// Cells of a window whose sum a raw tensor may hold beside values that activations read: the sums' room is not theirs, and
/// costs them the logarithm of that in bits. Above it the values are lifted first.
const FREE_CELLS: f64 = 8.0;

impl Walk<'_> {
    pub(super) fn average(
        &mut self,
        id: NodeId,
        window: &PoolGeometry,
        count_padding: bool,
    ) -> Result<usize, NnError> {
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
        if !self.out[source].masked && cells > FREE_CELLS && self.is_read_elsewhere(source) {
            source = self.masked(source)?;
        }
        let sums = self.local(id, LocalOp::SumPool(window.clone()), &[source])?;
        if self.out[sums].masked {
            return Ok(self.scaled(id, sums, vec![1.0 / cells]));
        }
        self.out[sums].gain *= cells;
        Ok(sums)
    }

    /// Whether activations read, or may come to read, a raw tensor that shares its scale with this one, besides what is
    /// being made of it now.
    fn is_read_elsewhere(&self, at: usize) -> bool {
        let mut open = vec![at];
        while let Some(next) = open.pop() {
            let node = &self.out[next];
            let mut readers = self.consumers[node.value].clone();
            readers.dedup();
            let is_read =
                |other: &ProgramNode| matches!(other.op, ProgramOp::Activation(_)) && other.inputs[0] == next;
            if readers.len() > 1 || self.out.iter().any(is_read) {
                return true;
            }
            open.extend(node.inputs.iter().filter(|&&input| !self.out[input].masked));
        }
        false
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
