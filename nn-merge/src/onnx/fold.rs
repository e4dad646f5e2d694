//! Constant folding during import: nodes whose inputs are all constants are computed here.
//!
//! That covers weights that exporters reshape, transpose or cast on the way to their layer, and the shape
//! arithmetic (Shape, Gather, Concat, ...) that feeds a Reshape.

use super::attributes::View;
use super::tensor::{self, Constant, Data};
use super::{Importer, Value};
use crate::error::{NnError, shown};
use crate::shape::transpose_map;

/// Longest vector that joining makes (it holds shapes).
const MAX_JOINED: usize = 4096;

impl Importer {
    /// The node's value if it is constant; `None` if it belongs into the graph.
    pub(super) fn fold(&self, view: &View<'_>) -> Result<Option<Constant>, NnError> {
        if view.operator == "Constant" {
            return constant_node(view).map(Some);
        }
        if view.operator == "Shape" {
            let sides = match self.required(view, 0)? {
                Value::Node(id) => self.graph.node(id).shape.clone(),
                Value::Constant(c) => c.shape.clone(),
            };
            return Ok(Some(Constant::ints(sides.into_iter().map(|s| s as i64).collect())));
        }
        let mut inputs = Vec::with_capacity(view.proto.input.len().min(64));
        for index in 0..view.proto.input.len() {
            match self.input(view, index)? {
                Some(Value::Constant(c)) => inputs.push(c),
                None => {}
                Some(Value::Node(_)) => return Ok(None),
            }
        }
        let Some(first) = inputs.first() else { return Ok(None) };
        Ok(Some(match view.operator {
            "Identity" | "Dropout" => (**first).clone(),
            "Cast" => cast(view, first)?,
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
                let shape = self.target_shape(view, &first.shape)?;
                if shape.iter().product::<usize>() != first.len() {
                    return Err(view.shape(format!("{:?} cannot become {shape:?}", first.shape)));
                }
                Constant { shape, data: first.data.clone() }
            }
            "Transpose" => {
                let perm = self.permutation(view, first.shape.len())?;
                let map = transpose_map(&first.shape, &perm).map_err(|what| view.shape(what))?;
                let shape = perm.iter().map(|&a| first.shape[a]).collect();
                Constant { shape, data: gather(&first.data, map.into_iter()) }
            }
            "Add" | "Sub" | "Mul" | "Div" => {
                let second = inputs.get(1).ok_or_else(|| view.shape("input 1 is missing"))?;
                arithmetic(view, first, second)?
            }
            "Concat" => concat(view, &inputs)?,
            "Gather" => {
                let indices = inputs.get(1).ok_or_else(|| view.shape("input 1 is missing"))?;
                gather_node(view, first, indices)?
            }
            other => {
                return Err(NnError::UnsupportedOperator {
                    operator: shown(other),
                    node: view.name.clone(),
                    hint: "it computes with constants only; let the exporter fold constants (or run a simplifier)".into(),
                });
            }
        }))
    }
}

fn constant_node(view: &View<'_>) -> Result<Constant, NnError> {
    let finite = |values: Vec<f64>| match values.iter().all(|v| v.is_finite()) {
        true => Ok(Data::Float(values)),
        false => Err(NnError::NotFinite { tensor: view.name.clone() }),
    };
    if let Some(proto) = view.tensor("value") {
        return tensor::from_proto(proto, &view.name);
    }
    if view.has("value_float") {
        return Ok(Constant { shape: Vec::new(), data: finite(vec![view.float("value_float", 0.0)?])? });
    }
    if view.has("value_int") {
        return Ok(Constant { shape: Vec::new(), data: Data::Int(vec![view.int("value_int", 0)]) });
    }
    if let Some(values) = view.floats("value_floats") {
        return Ok(Constant { shape: vec![values.len()], data: finite(values)? });
    }
    if let Some(values) = view.ints("value_ints") {
        return Ok(Constant::ints(values.to_vec()));
    }
    Err(view.unsupported("a constant of this kind is not supported"))
}

fn cast(view: &View<'_>, from: &Constant) -> Result<Constant, NnError> {
    let data = match (view.int("to", 0), &from.data) {
        (1, data) => Data::Float(match data {
            Data::Float(v) => v.iter().map(|&x| f64::from(x as f32)).collect(),
            Data::Int(v) => v.iter().map(|&x| f64::from(x as f32)).collect(),
        }),
        (11, _) => Data::Float(from.to_f64()),
        (6 | 7, Data::Int(v)) => Data::Int(v.clone()),
        (6 | 7, Data::Float(v)) => Data::Int(v.iter().map(|&x| x.trunc() as i64).collect()),
        (to, _) => return Err(view.unsupported(format!("casting a constant to element type {to}"))),
    };
    Ok(Constant { shape: from.shape.clone(), data })
}

fn gather(data: &Data, indices: impl Iterator<Item = usize>) -> Data {
    match data {
        Data::Float(v) => Data::Float(indices.map(|i| v[i]).collect()),
        Data::Int(v) => Data::Int(indices.map(|i| v[i]).collect()),
    }
}

/// Element-wise arithmetic of equal shapes, or with one side a single element.
fn arithmetic(view: &View<'_>, a: &Constant, b: &Constant) -> Result<Constant, NnError> {
    if a.shape != b.shape && a.len() != 1 && b.len() != 1 {
        return Err(view.unsupported(format!("constants of shapes {:?} and {:?}", a.shape, b.shape)));
    }
    let shape =
        if a.len() == 1 && b.shape.len() >= a.shape.len() { b.shape.clone() } else { a.shape.clone() };
    let length = a.len().max(b.len());
    let at = |i: usize, n: usize| if n == 1 { 0 } else { i };
    let data = match (&a.data, &b.data) {
        (Data::Int(x), Data::Int(y)) => {
            let pairs = (0..length).map(|i| (x[at(i, x.len())], y[at(i, y.len())]));
            let result: Option<Vec<i64>> = pairs
                .map(|(x, y)| match view.operator {
                    "Add" => x.checked_add(y),
                    "Sub" => x.checked_sub(y),
                    "Mul" => x.checked_mul(y),
                    _ => x.checked_div(y),
                })
                .collect();
            Data::Int(result.ok_or_else(|| view.unsupported("integer overflow or division by zero"))?)
        }
        _ => {
            let (x, y) = (a.to_f64(), b.to_f64());
            let pairs = (0..length).map(|i| (x[at(i, x.len())], y[at(i, y.len())]));
            let result: Vec<f64> = pairs
                .map(|(x, y)| match view.operator {
                    "Add" => x + y,
                    "Sub" => x - y,
                    "Mul" => x * y,
                    _ => x / y,
                })
                .collect();
            if result.iter().any(|v| !v.is_finite()) {
                return Err(NnError::NotFinite { tensor: view.name.clone() });
            }
            Data::Float(result)
        }
    };
    Ok(Constant { shape, data })
}

/// Joins integer vectors (shape arithmetic).
fn concat(view: &View<'_>, inputs: &[std::sync::Arc<Constant>]) -> Result<Constant, NnError> {
    let mut joined = Vec::new();
    for input in inputs {
        match input.as_ints() {
            Some(values) if input.shape.len() == 1 && joined.len() + values.len() <= MAX_JOINED => {
                joined.extend_from_slice(values);
            }
            _ => {
                return Err(view.unsupported("only integer vectors can be joined while constants are folded"));
            }
        }
    }
    Ok(Constant::ints(joined))
}

/// Picks entries of a vector.
fn gather_node(view: &View<'_>, from: &Constant, indices: &Constant) -> Result<Constant, NnError> {
    let (1, Some(wanted)) = (from.shape.len(), indices.as_ints()) else {
        return Err(view.unsupported("only entries of vectors can be picked while constants are folded"));
    };
    let picked = wanted
        .iter()
        .map(|&index| super::layout::axis(view, index, from.len()))
        .collect::<Result<Vec<usize>, _>>()?;
    Ok(Constant { shape: indices.shape.clone(), data: gather(&from.data, picked.into_iter()) })
}
