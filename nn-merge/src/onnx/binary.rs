//! Add, Sub, Mul, Div with a tensor of the network: a per-channel scale and shift, or a residual sum.

use super::attributes::View;
use super::tensor::Constant;
use super::{Importer, Value};
use crate::error::NnError;
use crate::graph::{Diagonal, NodeId, Op};

impl Importer {
    /// Converts the four arithmetic operators.
    pub(super) fn binary(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        match (self.required(view, 0)?, self.required(view, 1)?) {
            (Value::Node(a), Value::Node(b)) if view.operator == "Add" => {
                self.graph.push(&view.name, Op::Add, &[a, b])
            }
            (Value::Node(_), Value::Node(_)) => Err(view.unsupported(
                "both sides depend on the network's input; only Add of two tensors is supported (products of \
                 two tensors, as in polynomial activations or attention, are not yet)",
            )),
            (Value::Node(x), Value::Constant(c)) => self.with_constant(view, x, &c, false),
            (Value::Constant(c), Value::Node(x)) => self.with_constant(view, x, &c, true),
            (Value::Constant(_), Value::Constant(_)) => Err(view.unsupported("both sides are constants")),
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
        let shape = self.graph.node(x).shape.clone();
        let (per_channel, values) = spread(view, &shape, constant)?;
        self.charge(values.len())?;
        let count = values.len();
        let (scale, shift) = match (view.operator, reversed) {
            ("Add", _) => (vec![1.0; count], values),
            ("Sub", false) => (vec![1.0; count], values.iter().map(|v| -v).collect()),
            ("Sub", true) => (vec![-1.0; count], values),
            ("Mul", _) => (values, vec![0.0; count]),
            ("Div", false) if values.iter().all(|&v| v != 0.0) => {
                (values.iter().map(|v| 1.0 / v).collect(), vec![0.0; count])
            }
            ("Div", false) => return Err(view.unsupported("division by a constant that is zero")),
            _ => return Err(view.unsupported("a constant divided by a tensor of the network is not linear")),
        };
        let op = Op::Scale(Diagonal { scale, shift });
        if per_channel {
            return self.graph.push(&view.name, op, &[x]);
        }
        // Element by element: seen as one channel per element.
        let flat =
            self.graph.push(&format!("{} (flattened)", view.name), Op::Reshape(vec![1, count]), &[x])?;
        let scaled = self.graph.push(&view.name, op, &[flat])?;
        self.graph.push(&format!("{} (restored)", view.name), Op::Reshape(shape), &[scaled])
    }
}

/// The constant's values per channel (axis 1) if it varies along that axis only, else per element.
fn spread(view: &View<'_>, shape: &[usize], constant: &Constant) -> Result<(bool, Vec<f64>), NnError> {
    let unfit =
        || view.shape(format!("a constant of shape {:?} on a tensor of shape {shape:?}", constant.shape));
    let values = constant.to_f64();
    let missing = shape.len().checked_sub(constant.shape.len()).ok_or_else(unfit)?;
    let sides: Vec<usize> = std::iter::repeat_n(1, missing).chain(constant.shape.iter().copied()).collect();
    if sides.iter().zip(shape).any(|(&c, &x)| c != 1 && c != x) || values.is_empty() {
        return Err(unfit());
    }
    let channels = shape.get(1).copied().ok_or_else(unfit)?;
    if sides.iter().enumerate().all(|(axis, &side)| axis == 1 || side == 1) {
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
