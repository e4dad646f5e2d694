//! Operators that only move elements: Slice, Split, Gather, Concat, Pad, Tile, Expand, Resize and Upsample (nearest).
//!
//! Whatever the graph's own slices, padding and enlargement do not say directly (negative steps, reflections, odd
//! factors) is put together from slices along one axis.

use super::attributes::View;
use super::tensor::Data;
use super::{Importer, Value, layout};
use crate::error::{NnError, shown};
use crate::graph::{NodeId, Op};

/// Most slices that one operator may be put together from.
const MAX_PIECES: usize = 1024;

impl Importer {
    pub(super) fn slice(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let mut x = self.tensor(view, 0)?;
        let shape = self.graph.node(x).shape.clone();
        for cut in self.cuts(view, shape.len())? {
            let (first, count) = cut.apply(shape[cut.axis]);
            if count == 0 {
                return Err(view.shape(format!("nothing is left of axis {} of {shape:?}", cut.axis)));
            }
            if cut.step > 0 && first == 0 && count == shape[cut.axis] {
                continue;
            }
            let step = cut.step.unsigned_abs() as usize;
            if cut.step > 0 || count == 1 {
                x = self.cut(&view.name, x, cut.axis, first, step, count)?;
            } else {
                let indices: Vec<usize> = (0..count).map(|i| first - i * step).collect();
                x = self.pick(view, x, cut.axis, &indices)?;
            }
        }
        Ok(x)
    }

    /// The results of a Split, in order.
    pub(super) fn split(&mut self, view: &View<'_>) -> Result<Vec<NodeId>, NnError> {
        let x = self.tensor(view, 0)?;
        let shape = self.graph.node(x).shape.clone();
        let axis = layout::axis(view, view.int("axis", 0), shape.len())?;
        let parts = self.parts(view, shape[axis])?;
        let mut first = 0;
        let mut nodes = Vec::with_capacity(parts.len());
        for (index, &part) in parts.iter().enumerate() {
            nodes.push(self.cut(&format!("{} ({index})", view.name), x, axis, first, 1, part)?);
            first += part;
        }
        Ok(nodes)
    }

    /// The sides of the parts of a Split.
    pub(super) fn parts(&self, view: &View<'_>, side: usize) -> Result<Vec<usize>, NnError> {
        let parts: Vec<usize> = match self.list(view, "split", 1)? {
            Some(sizes) => sizes
                .iter()
                .map(|&s| usize::try_from(s).ok().filter(|&s| s > 0 && s <= side))
                .collect::<Option<_>>()
                .ok_or_else(|| view.shape(format!("parts of {sizes:?} of {side}")))?,
            None => {
                let count = match view.int("num_outputs", 0) {
                    0 => view.proto.output.len(),
                    n => usize::try_from(n).unwrap_or(0),
                };
                if count == 0 || count > side.min(MAX_PIECES) {
                    return Err(view.shape(format!("{count} parts of {side}")));
                }
                let part = side.div_ceil(count);
                (0..count).map(|i| part.min(side.saturating_sub(i * part))).collect()
            }
        };
        let sum = parts.iter().try_fold(0usize, |sum, &part| sum.checked_add(part));
        if sum != Some(side) || parts.len() > MAX_PIECES || parts.contains(&0) {
            return Err(view.shape(format!("parts of {parts:?} do not make up {side}")));
        }
        Ok(parts)
    }

    /// Gather with constant indices: a scalar drops the axis, a list keeps it.
    pub(super) fn gather(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        let shape = self.graph.node(x).shape.clone();
        let axis = layout::axis(view, view.int("axis", 0), shape.len())?;
        let indices = self.required_constant(view, 1)?;
        let wanted = match (indices.as_ints(), indices.shape.len()) {
            (Some(wanted), 0 | 1) if !wanted.is_empty() => wanted,
            _ => return Err(view.unsupported(format!("indices of shape {:?}", indices.shape))),
        };
        let picked =
            wanted.iter().map(|&i| layout::axis(view, i, shape[axis])).collect::<Result<Vec<_>, _>>()?;
        let y = self.pick(view, x, axis, &picked)?;
        if !indices.shape.is_empty() {
            return Ok(y);
        }
        let mut target = shape;
        target.remove(axis);
        self.reshape(&format!("{} (axis dropped)", view.name), y, target)
    }

    pub(super) fn concat(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let mut joined: Vec<NodeId> = Vec::new();
        let mut zeros = 0usize;
        let axis = |this: &Self, id: NodeId| {
            layout::axis(view, view.int("axis", 1), this.graph.node(id).shape.len())
        };
        for index in 0..view.proto.input.len() {
            match self.required(view, index)? {
                Value::Node(id) => {
                    let along = axis(self, id)?;
                    let id = self.padded(&format!("{} (zeros)", view.name), id, along, zeros as i64, 0)?;
                    zeros = 0;
                    joined.push(id);
                }
                Value::Constant(c) if c.to_f64().iter().all(|&v| v == 0.0) => {
                    // Zeros among the inputs are padding (a shortcut that adds channels).
                    let along = layout::axis(view, view.int("axis", 1), c.shape.len())?;
                    match joined.last().copied() {
                        None => zeros += c.shape[along],
                        Some(before) => {
                            let fits = self.graph.node(before).shape.iter().zip(&c.shape).enumerate();
                            if fits.clone().count() != c.shape.len()
                                || fits.clone().any(|(a, (x, y))| a != along && x != y)
                            {
                                return Err(view.shape(format!("zeros of shape {:?}", c.shape)));
                            }
                            let last = joined.len() - 1;
                            let name = format!("{} (zeros)", view.name);
                            joined[last] = self.padded(&name, before, along, 0, c.shape[along] as i64)?;
                        }
                    }
                }
                _ => return Err(view.unsupported(format!("input {index} is a constant that is not zero"))),
            }
        }
        match joined[..] {
            [] => Err(view.shape("it joins nothing")),
            [only] => Ok(only),
            [first, ..] => {
                let axis = axis(self, first)?;
                self.push(&view.name, Op::Concat { axis }, &joined)
            }
        }
    }

    pub(super) fn pad(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let mut x = self.tensor(view, 0)?;
        let rank = self.graph.node(x).shape.len();
        let pads = self.list(view, "pads", 1)?.ok_or_else(|| view.shape("it names no pads"))?;
        let axes = match self.input(view, 3)? {
            Some(_) => self.list(view, "", 3)?.unwrap_or_default(),
            None => (0..rank as i64).collect(),
        };
        if pads.len() != 2 * axes.len() || pads.iter().any(|p| p.unsigned_abs() > 1 << 24) {
            return Err(view.shape(format!("pads {pads:?} for {} axes", axes.len())));
        }
        let value = match self.constant(view, 2)? {
            Some(c) if c.len() > 0 => super::activation::scalar(view, &c)?,
            _ => view.float("value", 0.0)?,
        };
        let mode = view.string("mode").unwrap_or("constant");
        if !value.is_finite() {
            return Err(view.unsupported(format!("padding with {value}; put it into the pooling's own pads")));
        }
        let count = axes.len();
        let shifted = mode == "constant" && value != 0.0;
        if shifted {
            x = self.affine(&format!("{} (value)", view.name), x, vec![1.0], vec![-value])?;
        }
        for (i, &axis) in axes.iter().enumerate() {
            let axis = layout::axis(view, axis, rank)?;
            let (before, after) = (pads[i], pads[count + i]);
            x = match mode {
                "constant" => self.padded(&view.name, x, axis, before, after)?,
                "reflect" | "edge" | "wrap" => {
                    let side = self.graph.node(x).shape[axis] as i64;
                    let source = |i: i64| match mode {
                        "edge" => i.clamp(0, side - 1),
                        "wrap" => i.rem_euclid(side),
                        _ if side == 1 => 0,
                        _ => (side - 1) - (i.rem_euclid(2 * side - 2) - (side - 1)).abs(),
                    };
                    let total = side + before + after;
                    if !(1..=1 << 16).contains(&total) {
                        return Err(view.shape(format!("axis {axis} of {side} padded to {total}")));
                    }
                    let indices: Vec<usize> = (-before..side + after).map(|i| source(i) as usize).collect();
                    self.pick(view, x, axis, &indices)?
                }
                other => return Err(view.unsupported(format!("mode {}", shown(other)))),
            };
        }
        if shifted {
            x = self.scale(&format!("{} (value back)", view.name), x, vec![1.0], vec![value])?;
        }
        Ok(x)
    }

    /// Tile and Expand.
    pub(super) fn expand(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let mut x = self.tensor(view, 0)?;
        let given = self.list(view, "", 1)?.ok_or_else(|| view.shape("input 1 is missing"))?;
        let sides: Option<Vec<usize>> =
            given.iter().map(|&s| usize::try_from(s).ok().filter(|&s| s > 0)).collect();
        let sides = sides.ok_or_else(|| view.shape(format!("sides {given:?}")))?;
        if view.operator == "Expand" {
            return self.widened(view, x, &sides);
        }
        if sides.len() != self.graph.node(x).shape.len() {
            return Err(view.shape(format!("{} repeats of a tensor with other axes", sides.len())));
        }
        for (axis, &count) in sides.iter().enumerate() {
            x = self.repeated(view, x, axis, count)?;
        }
        Ok(x)
    }

    /// `x`, `count` times one after the other along `axis`.
    pub(super) fn repeated(
        &mut self,
        view: &View<'_>,
        x: NodeId,
        axis: usize,
        count: usize,
    ) -> Result<NodeId, NnError> {
        let shape = &self.graph.node(x).shape;
        let name = format!("{} (repeated)", view.name);
        match shape[..] {
            _ if count == 1 => Ok(x),
            [1, _, 1, _] if axis == 2 => self.push(&name, Op::Upsample([count, 1]), &[x]),
            [1, _, _, 1] if axis == 3 => self.push(&name, Op::Upsample([1, count]), &[x]),
            _ if count <= MAX_PIECES => self.push(&name, Op::Concat { axis }, &vec![x; count]),
            _ => Err(view.unsupported(format!("{count} repeats along axis {axis}"))),
        }
    }

    /// Elements `indices` along `axis`, in that order: one slice, or several joined.
    pub(super) fn pick(
        &mut self,
        view: &View<'_>,
        x: NodeId,
        axis: usize,
        indices: &[usize],
    ) -> Result<NodeId, NnError> {
        let side = self.graph.node(x).shape[axis];
        if indices.len() == side && indices.iter().enumerate().all(|(i, &s)| i == s) {
            return Ok(x);
        }
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for &index in indices {
            match runs.last_mut() {
                Some((first, step, count)) if *count == 1 && index > *first => {
                    (*step, *count) = (index - *first, 2)
                }
                Some((first, step, count)) if *count > 1 && index == *first + *count * *step => *count += 1,
                _ => runs.push((index, 1, 1)),
            }
        }
        if runs.len() > MAX_PIECES {
            return Err(view.unsupported(format!("an order of axis {axis} in more than {MAX_PIECES} pieces")));
        }
        let mut pieces = Vec::with_capacity(runs.len());
        for (first, step, count) in runs {
            pieces.push(self.cut(&view.name, x, axis, first, step, count)?);
        }
        match pieces[..] {
            [only] => Ok(only),
            _ => self.push(&view.name, Op::Concat { axis }, &pieces),
        }
    }

    /// A slice along one axis.
    fn cut(
        &mut self,
        name: &str,
        x: NodeId,
        axis: usize,
        first: usize,
        step: usize,
        count: usize,
    ) -> Result<NodeId, NnError> {
        let mut size = self.graph.node(x).shape.clone();
        let (mut start, mut steps) = (vec![0; size.len()], vec![1; size.len()]);
        (start[axis], steps[axis], size[axis]) = (first, step, count);
        self.push(name, Op::Slice { start, step: steps, size }, &[x])
    }

    /// Zeros in front and behind along one axis; negative numbers cut off.
    fn padded(
        &mut self,
        name: &str,
        x: NodeId,
        axis: usize,
        before: i64,
        after: i64,
    ) -> Result<NodeId, NnError> {
        let mut x = x;
        if before < 0 || after < 0 {
            let side = self.graph.node(x).shape[axis];
            let (front, back) = (before.min(0).unsigned_abs() as usize, after.min(0).unsigned_abs() as usize);
            let count = side.checked_sub(front).and_then(|n| n.checked_sub(back)).unwrap_or(0);
            x = self.cut(&format!("{name} (cropped)"), x, axis, front, 1, count)?;
        }
        let (before, after) = (before.max(0) as usize, after.max(0) as usize);
        if before + after == 0 {
            return Ok(x);
        }
        let rank = self.graph.node(x).shape.len();
        let on_axis = |count: usize| (0..rank).map(|a| if a == axis { count } else { 0 }).collect::<Vec<_>>();
        // Padding that follows padding of other axes joins it.
        if let Op::Pad { before: mut front, after: mut back } = self.graph.node(x).op.clone()
            && (front[axis], back[axis]) == (0, 0)
            && self.graph.node(x).name == name
        {
            (front[axis], back[axis]) = (before, after);
            let source = self.graph.node(x).inputs[0];
            return self.push(name, Op::Pad { before: front, after: back }, &[source]);
        }
        self.push(name, Op::Pad { before: on_axis(before), after: on_axis(after) }, &[x])
    }

    /// Integers from an attribute (older operator sets) or from input `index` (newer ones).
    pub(super) fn list(
        &self,
        view: &View<'_>,
        name: &str,
        index: usize,
    ) -> Result<Option<Vec<i64>>, NnError> {
        if let Some(values) = view.ints(name) {
            return Ok(Some(values.to_vec()));
        }
        let Some(constant) = self.constant(view, index)? else { return Ok(None) };
        match &constant.data {
            Data::Int(values) if values.len() <= MAX_PIECES => Ok(Some(values.clone())),
            _ => Err(view.shape(format!("input {index} is not a short list of integers"))),
        }
    }
}
