//! Arithmetic on constants: element by element with broadcasting, and reductions.
//!
//! Integers stay integers (shapes are computed with them) and must not overflow; truth values are 0 and 1.

use super::attributes::View;
use super::tensor::{Constant, Data};
use crate::error::NnError;
use crate::shape::MAX_RANK;

/// Most elements of a constant that is computed from smaller ones.
const MAX_GROWN: usize = 1 << 22;

/// Elements of a shape of constants (which may be empty), if not many more than the `given` ones it is computed from.
pub(super) fn elements(view: &View<'_>, shape: &[usize], given: usize) -> Result<usize, NnError> {
    let cap = given.max(MAX_GROWN);
    shape
        .iter()
        .try_fold(1usize, |product, &side| product.checked_mul(side))
        .filter(|&n| n <= cap && shape.len() <= MAX_RANK)
        .ok_or_else(|| NnError::TooLarge {
            what: format!("the constant of shape {shape:?} that node {} computes", view.name),
            size: shape.iter().fold(1u64, |product, &side| product.saturating_mul(side as u64)),
            cap: cap as u64,
        })
}

/// The shape that broadcasting gives.
pub(super) fn broadcast_shape(
    view: &View<'_>,
    shapes: &[&[usize]],
    given: usize,
) -> Result<Vec<usize>, NnError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        let first = rank - shape.len();
        for (axis, &side) in shape.iter().enumerate() {
            let slot = &mut out[first + axis];
            match (*slot, side) {
                (1, side) => *slot = side,
                (own, side) if side == 1 || own == side => {}
                _ => return Err(view.shape(format!("constants of shapes {shapes:?} do not broadcast"))),
            }
        }
    }
    elements(view, &out, given)?;
    Ok(out)
}

/// A constant repeated to `shape`, which must be what broadcasting gives.
pub(super) fn broadcast(constant: &Constant, shape: &[usize]) -> Data {
    let first = shape.len().saturating_sub(constant.shape.len());
    let mut positions = vec![0usize];
    for (axis, &side) in shape.iter().enumerate() {
        let own = if axis < first { 1 } else { constant.shape[axis - first] };
        positions = positions
            .iter()
            .flat_map(|&p| (0..side).map(move |i| if own == 1 { p } else { p * own + i }))
            .collect();
    }
    gather(&constant.data, positions.into_iter())
}

/// The elements at some positions.
pub(super) fn gather(data: &Data, positions: impl Iterator<Item = usize>) -> Data {
    match data {
        Data::Float(v) => Data::Float(positions.map(|i| v[i]).collect()),
        Data::Int(v) => Data::Int(positions.map(|i| v[i]).collect()),
    }
}

/// Operators of two constants.
pub(super) fn binary(view: &View<'_>, a: &Constant, b: &Constant) -> Result<Constant, NnError> {
    let shape = broadcast_shape(view, &[&a.shape, &b.shape], a.len().max(b.len()))?;
    let (left, right) = (broadcast(a, &shape), broadcast(b, &shape));
    let truth = |t: bool| i64::from(t);
    let data = match (&left, &right) {
        (Data::Int(x), Data::Int(y)) => {
            let result: Option<Vec<i64>> = x
                .iter()
                .zip(y)
                .map(|(&x, &y)| match view.operator {
                    "Add" => x.checked_add(y),
                    "Sub" => x.checked_sub(y),
                    "Mul" => x.checked_mul(y),
                    "Div" => x.checked_div(y),
                    "Mod" => x.checked_rem_euclid(y),
                    "Pow" => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
                    "Min" => Some(x.min(y)),
                    "Max" => Some(x.max(y)),
                    "Equal" => Some(truth(x == y)),
                    "Greater" => Some(truth(x > y)),
                    "Less" => Some(truth(x < y)),
                    "And" => Some(truth(x != 0 && y != 0)),
                    _ => Some(truth(x != 0 || y != 0)),
                })
                .collect();
            Data::Int(result.ok_or_else(|| view.unsupported("integer overflow or division by zero"))?)
        }
        _ => {
            let of = |data: Data| Constant { shape: Vec::new(), data }.to_f64();
            let (x, y) = (of(left), of(right));
            let pairs = || x.iter().zip(&y).map(|(&x, &y)| (x, y));
            match view.operator {
                "Equal" => Data::Int(pairs().map(|(x, y)| truth(x == y)).collect()),
                "Greater" => Data::Int(pairs().map(|(x, y)| truth(x > y)).collect()),
                "Less" => Data::Int(pairs().map(|(x, y)| truth(x < y)).collect()),
                operator => Data::Float(
                    pairs()
                        .map(|(x, y)| match operator {
                            "Add" => x + y,
                            "Sub" => x - y,
                            "Mul" => x * y,
                            "Div" => x / y,
                            "Mod" => x % y,
                            "Pow" => x.powf(y),
                            "Min" => x.min(y),
                            "Max" => x.max(y),
                            _ => f64::NAN,
                        })
                        .collect(),
                ),
            }
        }
    };
    usable(view, Constant { shape, data })
}

/// Operators of one constant.
pub(super) fn unary(view: &View<'_>, a: &Constant) -> Result<Constant, NnError> {
    let data = match (&a.data, view.operator) {
        (Data::Int(v), "Neg") => Data::Int(v.iter().map(|x| x.wrapping_neg()).collect()),
        (Data::Int(v), "Abs") => Data::Int(v.iter().map(|x| x.wrapping_abs()).collect()),
        (Data::Int(v), "Not") => Data::Int(v.iter().map(|&x| i64::from(x == 0)).collect()),
        (Data::Int(v), "Floor" | "Ceil" | "Round") => Data::Int(v.clone()),
        (_, operator) => Data::Float(
            a.to_f64()
                .into_iter()
                .map(|x| match operator {
                    "Neg" => -x,
                    "Abs" => x.abs(),
                    "Sqrt" => x.sqrt(),
                    "Reciprocal" => 1.0 / x,
                    "Exp" => x.exp(),
                    "Log" => x.ln(),
                    "Floor" => x.floor(),
                    "Ceil" => x.ceil(),
                    "Round" => x.round_ties_even(),
                    _ => f64::NAN,
                })
                .collect(),
        ),
    };
    usable(view, Constant { shape: a.shape.clone(), data })
}

/// Reductions over `axes` (ascending; all where there are none).
pub(super) fn reduce(view: &View<'_>, a: &Constant, axes: &[usize], keep: bool) -> Result<Constant, NnError> {
    let gone = |axis: usize| axes.is_empty() || axes.contains(&axis);
    let inner: Vec<usize> =
        (0..a.shape.len()).map(|axis| if gone(axis) { 1 } else { a.shape[axis] }).collect();
    let cells: usize = inner.iter().product();
    if a.len() == 0 {
        return Err(view.shape("it reduces a constant without elements"));
    }
    // Where each element goes: a walk over all positions in which the axes that go do not count.
    let mut places = vec![0usize];
    for (axis, &side) in a.shape.iter().enumerate() {
        let own = inner[axis];
        places = places
            .iter()
            .flat_map(|&p| (0..side).map(move |i| if own == 1 { p } else { p * own + i }))
            .collect();
    }
    let mut sums: Vec<Option<f64>> = vec![None; cells];
    for (place, value) in places.into_iter().zip(a.to_f64()) {
        sums[place] = Some(match (sums[place], view.operator) {
            (None, _) => value,
            (Some(sum), "ReduceProd") => sum * value,
            (Some(sum), "ReduceMin") => sum.min(value),
            (Some(sum), "ReduceMax") => sum.max(value),
            (Some(sum), _) => sum + value,
        });
    }
    let count = (a.len() / cells) as f64;
    let divisor = if view.operator == "ReduceMean" { count } else { 1.0 };
    let values: Vec<f64> = sums.into_iter().map(|s| s.unwrap_or_default() / divisor).collect();
    let data = match a.data {
        // Integers below 2^53 are exact in f64; larger ones do not occur in shapes.
        Data::Int(_) if values.iter().all(|v| v.abs() < 9e15) => {
            Data::Int(values.iter().map(|&v| v.trunc() as i64).collect())
        }
        Data::Int(_) => return Err(view.unsupported("integer overflow")),
        Data::Float(_) => Data::Float(values),
    };
    let shape = match keep {
        true => inner,
        false => (0..a.shape.len()).filter(|&axis| !gone(axis)).map(|axis| a.shape[axis]).collect(),
    };
    usable(view, Constant { shape, data })
}

fn usable(view: &View<'_>, constant: Constant) -> Result<Constant, NnError> {
    if constant.is_usable() { Ok(constant) } else { Err(NnError::NotFinite { tensor: view.name.clone() }) }
}
