//! Constant folding during import: nodes whose inputs are all constants are computed here.
//!
//! That covers weights that exporters reshape, transpose or cast on the way to their layer, and the shape
//! arithmetic (Shape, Gather, ConstantOfShape, Concat, ...) that feeds a Reshape, a Slice or a Pad.

use std::sync::Arc;

use super::attributes::View;
use super::fold_math::{binary, broadcast, broadcast_shape, elements, gather, reduce, unary};
use super::tensor::{self, Constant, Data};
use super::{Importer, Value, layout};
use crate::error::{NnError, shown};
use crate::shape::transpose_map;

/// Longest Range.
const MAX_RANGE: usize = 1 << 20;

impl Importer {
    /// The node's values if they are constant, one per output; `None` if it belongs into the graph.
    pub(super) fn fold(&self, view: &View<'_>) -> Result<Option<Vec<Constant>>, NnError> {
        match view.operator {
            "Constant" => return constant_node(view).map(|c| Some(vec![c])),
            "Shape" | "Size" => return self.shape_of(view).map(|c| Some(vec![c])),
            _ => {}
        }
        let mut inputs = Vec::with_capacity(view.proto.input.len().min(64));
        for index in 0..view.proto.input.len() {
            match self.input(view, index)? {
                Some(Value::Constant(c)) => inputs.push(c),
                None => {}
                Some(_) => return Ok(None),
            }
        }
        let Some(first) = inputs.first() else { return Ok(None) };
        if view.operator == "Split" {
            return self.split_constant(view, first).map(Some);
        }
        self.folded(view, first, &inputs).map(|c| Some(vec![c]))
    }

    fn folded(
        &self,
        view: &View<'_>,
        first: &Arc<Constant>,
        inputs: &[Arc<Constant>],
    ) -> Result<Constant, NnError> {
        let second = || inputs.get(1).ok_or_else(|| view.shape("input 1 is missing"));
        Ok(match view.operator {
            "Identity" | "Dropout" | "CastLike" => (**first).clone(),
            "Cast" => cast(view, first)?,
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
                let shape = self.target_shape(view, &first.shape)?;
                if elements(view, &shape, first.len())? != first.len() {
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
            "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Equal" | "Greater" | "Less" | "And" | "Or" => {
                binary(view, first, second()?)?
            }
            "Min" | "Max" => {
                inputs[1..].iter().try_fold((**first).clone(), |sum, next| binary(view, &sum, next))?
            }
            "Neg" | "Abs" | "Sqrt" | "Reciprocal" | "Exp" | "Log" | "Floor" | "Ceil" | "Round" | "Not" => {
                unary(view, first)?
            }
            "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceMean" => {
                let axes = self.axes(view, first.shape.len())?.unwrap_or_default();
                reduce(view, first, &axes, view.int("keepdims", 1) != 0)?
            }
            "Concat" => concat(view, inputs)?,
            "Gather" => {
                let axis = layout::axis(view, view.int("axis", 0), first.shape.len())?;
                gather_node(view, first, axis, second()?)?
            }
            "Slice" => {
                let mut out = (**first).clone();
                for cut in self.cuts(view, first.shape.len())? {
                    let (from, count) = cut.apply(out.shape[cut.axis]);
                    let place = |i: usize| (from as i64 + i as i64 * cut.step) as usize;
                    out = along(view, &out, cut.axis, (0..count).map(place).collect())?;
                }
                out
            }
            "ConstantOfShape" => {
                let value = match view.tensor("value") {
                    Some(proto) => tensor::from_proto(proto, &view.name)?,
                    None => Constant { shape: vec![1], data: Data::Float(vec![0.0]) },
                };
                let shape = sides(view, first)?;
                let count = elements(view, &shape, 0)?;
                if value.len() != 1 {
                    return Err(view.shape("a value that is not a single element"));
                }
                Constant { shape, data: gather(&value.data, std::iter::repeat_n(0, count)) }
            }
            "Range" => range(view, inputs)?,
            "Expand" => {
                let shape = broadcast_shape(view, &[&first.shape, &sides(view, second()?)?], first.len())?;
                Constant { data: broadcast(first, &shape), shape }
            }
            "Tile" => {
                let repeats = sides(view, second()?)?;
                let mut out = (**first).clone();
                for (axis, &count) in repeats.iter().enumerate().take(first.shape.len()) {
                    let side = out.shape[axis];
                    let total = elements(view, &[side, count], 0)?;
                    out = along(view, &out, axis, (0..total).map(|i| i % side).collect())?;
                }
                out
            }
            "Where" => {
                let [condition, yes, no] = inputs else {
                    return Err(view.shape("it takes three inputs"));
                };
                choose(view, condition, yes, no)?
            }
            other => {
                return Err(NnError::UnsupportedOperator {
                    operator: shown(other),
                    node: view.name.clone(),
                    hint: super::convert::hint(other)
                        .unwrap_or("it computes with constants only; let the exporter fold constants (or run a simplifier)")
                        .into(),
                });
            }
        })
    }

    fn shape_of(&self, view: &View<'_>) -> Result<Constant, NnError> {
        let sides = match self.required(view, 0)? {
            Value::Node(id) => self.graph.node(id).shape.clone(),
            Value::Constant(c) => c.shape.clone(),
            Value::Labels(_) => return Err(view.unsupported("the shape of a label")),
        };
        if view.operator == "Size" {
            let count: usize = sides.iter().product();
            return Ok(Constant { shape: Vec::new(), data: Data::Int(vec![count as i64]) });
        }
        let rank = sides.len() as i64;
        let place =
            |given: i64| if given < 0 { given.saturating_add(rank) } else { given }.clamp(0, rank) as usize;
        let (start, end) = (place(view.int("start", 0)), place(view.int("end", rank)));
        Ok(Constant::ints(sides.get(start..end).unwrap_or_default().iter().map(|&s| s as i64).collect()))
    }

    fn split_constant(&self, view: &View<'_>, first: &Constant) -> Result<Vec<Constant>, NnError> {
        let axis = layout::axis(view, view.int("axis", 0), first.shape.len())?;
        let side = first.shape[axis];
        let parts = self.parts(view, side)?;
        let mut start = 0;
        let mut out = Vec::with_capacity(parts.len());
        for part in parts {
            out.push(along(view, first, axis, (start..start + part).collect())?);
            start += part;
        }
        Ok(out)
    }
}

fn constant_node(view: &View<'_>) -> Result<Constant, NnError> {
    let constant = |shape: Vec<usize>, data: Data| {
        let constant = Constant { shape, data };
        if constant.is_usable() {
            Ok(constant)
        } else {
            Err(NnError::NotFinite { tensor: view.name.clone() })
        }
    };
    if let Some(proto) = view.tensor("value") {
        return tensor::from_proto(proto, &view.name);
    }
    if let Some(value) = view.raw_float("value_float") {
        return constant(Vec::new(), Data::Float(vec![value]));
    }
    if view.has("value_int") {
        return Ok(Constant { shape: Vec::new(), data: Data::Int(vec![view.int("value_int", 0)]) });
    }
    if let Some(values) = view.floats("value_floats") {
        return constant(vec![values.len()], Data::Float(values));
    }
    if let Some(values) = view.ints("value_ints") {
        return Ok(Constant::ints(values.to_vec()));
    }
    Err(view.unsupported("a constant of this kind is not supported"))
}

fn cast(view: &View<'_>, from: &Constant) -> Result<Constant, NnError> {
    let single = |x: f64| f64::from(x as f32);
    let data = match (view.int("to", 0), &from.data) {
        // Half precision is kept as single: nothing is lost that the file has.
        (1 | 10 | 16, _) => Data::Float(from.to_f64().into_iter().map(single).collect()),
        (11, _) => Data::Float(from.to_f64()),
        (2..=7 | 12 | 13, Data::Int(v)) => Data::Int(v.clone()),
        (2..=7 | 12 | 13, Data::Float(v)) => Data::Int(v.iter().map(|&x| x.trunc() as i64).collect()),
        (9, _) => Data::Int(from.to_f64().iter().map(|&x| i64::from(x != 0.0)).collect()),
        (to, _) => return Err(view.unsupported(format!("casting a constant to element type {to}"))),
    };
    Ok(Constant { shape: from.shape.clone(), data })
}

/// A list of sides.
fn sides(view: &View<'_>, constant: &Constant) -> Result<Vec<usize>, NnError> {
    let values = constant.as_ints().filter(|v| v.len() <= crate::shape::MAX_RANK);
    values
        .and_then(|v| v.iter().map(|&s| usize::try_from(s).ok()).collect())
        .ok_or_else(|| view.shape("its sides are not a short list of integers from 0"))
}

/// Elements `indices` along one axis.
fn along(view: &View<'_>, from: &Constant, axis: usize, indices: Vec<usize>) -> Result<Constant, NnError> {
    let mut shape = from.shape.clone();
    let side = shape[axis];
    shape[axis] = indices.len();
    elements(view, &shape, from.len())?;
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    let places = (0..outer)
        .flat_map(|o| indices.iter().flat_map(move |&i| (0..inner).map(move |n| (o * side + i) * inner + n)));
    Ok(Constant { shape, data: gather(&from.data, places) })
}

/// Joins constants along an axis.
fn concat(view: &View<'_>, inputs: &[Arc<Constant>]) -> Result<Constant, NnError> {
    // Empty vectors join nothing, whatever their type.
    let parts: Vec<&Constant> = inputs.iter().map(|c| &**c).filter(|c| c.len() > 0).collect();
    let Some(first) = parts.first() else { return Ok((*inputs[0]).clone()) };
    let axis = layout::axis(view, view.int("axis", 0), first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    for part in &parts {
        let fits = part.shape.len() == shape.len()
            && (0..shape.len()).all(|a| a == axis || part.shape[a] == shape[a])
            && matches!(
                (&part.data, &first.data),
                (Data::Int(_), Data::Int(_)) | (Data::Float(_), Data::Float(_))
            );
        if !fits {
            return Err(view.shape("constants of different shapes or types cannot be joined"));
        }
        shape[axis] += part.shape[axis];
    }
    elements(view, &shape, 4 * parts.iter().map(|part| part.len()).max().unwrap_or(0))?;
    let outer: usize = shape[..axis].iter().product();
    let mut data = gather(&first.data, std::iter::empty());
    for block in 0..outer {
        for part in &parts {
            let run = part.len() / outer;
            match (&mut data, &part.data) {
                (Data::Float(to), Data::Float(from)) => {
                    to.extend_from_slice(&from[block * run..(block + 1) * run])
                }
                (Data::Int(to), Data::Int(from)) => {
                    to.extend_from_slice(&from[block * run..(block + 1) * run])
                }
                _ => {}
            }
        }
    }
    Ok(Constant { shape, data })
}

/// Picks entries along an axis; the indices' shape takes the axis's place.
fn gather_node(
    view: &View<'_>,
    from: &Constant,
    axis: usize,
    indices: &Constant,
) -> Result<Constant, NnError> {
    let Some(wanted) = indices.as_ints() else {
        return Err(view.unsupported("indices that are not integers"));
    };
    let side = from.shape[axis];
    let picked = wanted.iter().map(|&i| layout::axis(view, i, side)).collect::<Result<Vec<usize>, _>>()?;
    let mut out = along(view, from, axis, picked)?;
    out.shape.splice(axis..=axis, indices.shape.iter().copied());
    elements(view, &out.shape, out.len())?;
    Ok(out)
}

fn range(view: &View<'_>, inputs: &[Arc<Constant>]) -> Result<Constant, NnError> {
    let [start, limit, delta] = inputs else { return Err(view.shape("it takes three inputs")) };
    let numbers = [start, limit, delta].map(|c| c.to_f64().first().copied().unwrap_or(f64::NAN));
    let [from, to, step] = numbers;
    let count = ((to - from) / step).ceil().max(0.0);
    if !count.is_finite() || step == 0.0 || count > MAX_RANGE as f64 {
        return Err(view.unsupported(format!("a range from {from} to {to} by {step}")));
    }
    let values = (0..count as usize).map(|i| from + i as f64 * step);
    let data = match start.data {
        Data::Int(_) => Data::Int(values.map(|v| v as i64).collect()),
        Data::Float(_) => Data::Float(values.collect()),
    };
    Ok(Constant { shape: vec![count as usize], data })
}

fn choose(view: &View<'_>, condition: &Constant, yes: &Constant, no: &Constant) -> Result<Constant, NnError> {
    let shape = broadcast_shape(view, &[&condition.shape, &yes.shape, &no.shape], yes.len().max(no.len()))?;
    let of = |c: &Constant| Constant { shape: Vec::new(), data: broadcast(c, &shape) };
    let (which, yes, no) = (of(condition).to_f64(), of(yes), of(no));
    let data = match (&yes.data, &no.data) {
        (Data::Int(y), Data::Int(n)) => Data::Int(
            which.iter().zip(y.iter().zip(n)).map(|(&w, (&y, &n))| if w != 0.0 { y } else { n }).collect(),
        ),
        _ => {
            let (y, n) = (yes.to_f64(), no.to_f64());
            Data::Float(
                which
                    .iter()
                    .zip(y.iter().zip(&n))
                    .map(|(&w, (&y, &n))| if w != 0.0 { y } else { n })
                    .collect(),
            )
        }
    };
    Ok(Constant { shape, data })
}
