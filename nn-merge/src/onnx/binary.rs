//! Add, Sub, Mul, Div, Sum and Mean: with a constant a scale and a shift per channel, else sums and products of tensors.
//!
//! A constant that varies along the channel axis only becomes a scale per channel. Behind a transpose the axis is the one
//! that the channels went to (the scale then goes in front of the transpose). Any other constant acts element by element,
//! with every element seen as a channel.

use super::attributes::View;
use super::tensor::Constant;
use super::{Importer, Value};
use crate::error::NnError;
use crate::graph::{Diagonal, NodeId, Op};
use crate::shape::MAX_RANK;

impl Importer {
    /// Converts the four arithmetic operators.
    pub(super) fn binary(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        match (self.required(view, 0)?, self.required(view, 1)?) {
            (Value::Node(a), Value::Node(b)) => {
                let (a, b) = self.aligned(view, a, b)?;
                match view.operator {
                    "Add" => self.sum(view, a, b),
                    "Sub" => {
                        let b = self.affine(&format!("{} (negated)", view.name), b, vec![-1.0], vec![0.0])?;
                        self.sum(view, a, b)
                    }
                    "Mul" => self.multiply(view, a, b),
                    _ => Err(view.unsupported("division of one tensor of the network by another")),
                }
            }
            (Value::Node(x), Value::Constant(c)) => self.with_constant(view, x, &c, false),
            (Value::Constant(c), Value::Node(x)) => self.with_constant(view, x, &c, true),
            _ => Err(view.unsupported("one side is a label (the result of ArgMax or TopK)")),
        }
    }

    /// Sum or mean of any number of tensors.
    pub(super) fn variadic(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let count = view.proto.input.len();
        let mut total: Option<NodeId> = None;
        for index in 0..count {
            let next = self.tensor(view, index)?;
            total = Some(match total {
                None => next,
                Some(sum) => {
                    let (a, b) = self.aligned(view, sum, next)?;
                    self.sum(view, a, b)?
                }
            });
        }
        let total = total.ok_or_else(|| view.shape("it sums nothing"))?;
        match view.operator {
            "Mean" => self.affine(&view.name, total, vec![1.0 / count as f64], vec![0.0]),
            _ => Ok(total),
        }
    }

    /// `x ∘ c`, or `c ∘ x` when `reversed`.
    fn with_constant(
        &mut self,
        view: &View<'_>,
        x: NodeId,
        constant: &Constant,
        reversed: bool,
    ) -> Result<NodeId, NnError> {
        let x = self.widened(view, x, &constant.shape)?;
        let shape = self.graph.node(x).shape.clone();
        let count = constant.len();
        if count == 1 {
            let (scale, shift) = affine_of(view, constant.to_f64(), reversed)?;
            return self.affine(&view.name, x, scale, shift);
        }
        // Elementwise maps and transposes commute.
        if let Op::Transpose(perm) = &self.graph.node(x).op {
            let (perm, source) = (perm.clone(), self.graph.node(x).inputs[0]);
            let sides = sides(&shape, constant).unwrap_or_default();
            let moving: Vec<usize> = (0..sides.len()).filter(|&axis| sides[axis] != 1).collect();
            if let [axis] = moving[..]
                && perm.get(axis) == Some(&1)
                && sides[axis] == shape[axis]
                && self.graph.node(source).shape[0] == 1
            {
                self.charge(count)?;
                let (scale, shift) = affine_of(view, constant.to_f64(), reversed)?;
                let scaled = self.affine(&view.name, source, scale, shift)?;
                return self.push(&format!("{} (transposed)", view.name), Op::Transpose(perm), &[scaled]);
            }
        }
        let (per_channel, values) = spread(view, &shape, constant)?;
        self.charge(values.len())?;
        let count = values.len();
        let (scale, shift) = affine_of(view, values, reversed)?;
        if per_channel {
            return self.affine(&view.name, x, scale, shift);
        }
        let all = |v: Vec<f64>| if v.len() == 1 { vec![v[0]; count] } else { v };
        self.flattened(&view.name, Op::Scale(Diagonal { scale: all(scale), shift: all(shift) }), x)
    }

    /// Both tensors in their common broadcast shape.
    fn aligned(&mut self, view: &View<'_>, a: NodeId, b: NodeId) -> Result<(NodeId, NodeId), NnError> {
        let shape = |id: NodeId, this: &Self| this.graph.node(id).shape.clone();
        let a = self.widened(view, a, &shape(b, self))?;
        let b = self.widened(view, b, &shape(a, self))?;
        Ok((a, b))
    }

    /// `x` repeated along axes of side 1 where `other` is longer (and with as many axes), as broadcasting does.
    pub(super) fn widened(&mut self, view: &View<'_>, x: NodeId, other: &[usize]) -> Result<NodeId, NnError> {
        let mut x = x;
        let mut shape = self.graph.node(x).shape.clone();
        if other.len() > MAX_RANK {
            return Err(view.shape(format!("{} axes, more than {MAX_RANK}", other.len())));
        }
        if shape.len() < other.len() {
            let missing = other.len() - shape.len();
            shape.splice(0..0, std::iter::repeat_n(1, missing));
            x = self.reshape(&format!("{} (axes added)", view.name), x, shape.clone())?;
        }
        let first = shape.len() - other.len();
        for (axis, &side) in other.iter().enumerate() {
            let own = shape[first + axis];
            if own == 1 && side > 1 {
                x = self.repeated(view, x, first + axis, side)?;
            } else if side != 1 && side != own {
                return Err(view.shape(format!(
                    "tensors of shapes {:?} and {other:?} do not broadcast",
                    self.graph.node(x).shape
                )));
            }
        }
        Ok(x)
    }
}

/// Scale and shift of `x ∘ values`, or of `values ∘ x`; one entry stands for all.
fn affine_of(view: &View<'_>, values: Vec<f64>, reversed: bool) -> Result<(Vec<f64>, Vec<f64>), NnError> {
    Ok(match (view.operator, reversed) {
        ("Add", _) => (vec![1.0], values),
        ("Sub", false) => (vec![1.0], values.iter().map(|v| -v).collect()),
        ("Sub", true) => (vec![-1.0], values),
        ("Mul", _) => (values, vec![0.0]),
        ("Div", false) if values.iter().all(|&v| v != 0.0) => {
            (values.iter().map(|v| 1.0 / v).collect(), vec![0.0])
        }
        ("Div", false) => return Err(view.unsupported("division by a constant that is zero")),
        _ => return Err(view.unsupported("a constant divided by a tensor of the network is not linear")),
    })
}

/// The constant's sides with ones in front, as many as the tensor has axes; `None` if it has more.
fn sides(shape: &[usize], constant: &Constant) -> Option<Vec<usize>> {
    let missing = shape.len().checked_sub(constant.shape.len())?;
    Some(std::iter::repeat_n(1, missing).chain(constant.shape.iter().copied()).collect())
}

/// The constant's values per channel (axis 1) if it varies along that axis only, else per element.
pub(super) fn spread(
    view: &View<'_>,
    shape: &[usize],
    constant: &Constant,
) -> Result<(bool, Vec<f64>), NnError> {
    let unfit =
        || view.shape(format!("a constant of shape {:?} on a tensor of shape {shape:?}", constant.shape));
    let values = constant.to_f64();
    let sides = sides(shape, constant).ok_or_else(unfit)?;
    if sides.iter().zip(shape).any(|(&c, &x)| c != 1 && c != x) || values.is_empty() {
        return Err(unfit());
    }
    if let [1, channels, ..] = *shape
        && sides.iter().enumerate().all(|(axis, &side)| axis == 1 || side == 1)
    {
        let per_channel = if values.len() == 1 { vec![values[0]; channels] } else { values };
        return Ok((true, per_channel));
    }
    // Row-major walk over the tensor; an axis on which the constant has side 1 does not move it.
    let mut positions = vec![0usize];
    for (&side, &own) in shape.iter().zip(&sides) {
        positions = positions
            .iter()
            .flat_map(|&p| (0..side).map(move |i| if own == 1 { p } else { p * own + i }))
            .collect();
    }
    Ok((false, positions.into_iter().map(|p| values[p]).collect()))
}
