//! Reshapes and axis permutations: target shapes as ONNX spells them (0, −1, axes as attribute or input).

use super::attributes::View;
use super::{Importer, Value};
use crate::error::NnError;
use crate::shape::MAX_RANK;

impl Importer {
    /// The shape that a Reshape, Flatten, Squeeze or Unsqueeze gives a tensor of shape `from`.
    pub(super) fn target_shape(&self, view: &View<'_>, from: &[usize]) -> Result<Vec<usize>, NnError> {
        match view.operator {
            "Reshape" => self.reshape_target(view, from),
            "Flatten" => {
                let axis = axis(view, view.int("axis", 1), from.len() + 1)?;
                Ok(vec![from[..axis].iter().product(), from[axis..].iter().product()])
            }
            "Squeeze" => {
                let axes = match self.axes(view, from.len())? {
                    Some(axes) => axes,
                    None => (0..from.len()).filter(|&i| from[i] == 1).collect(),
                };
                if let Some(&bad) = axes.iter().find(|&&a| from[a] != 1) {
                    return Err(view.shape(format!("axis {bad} of {from:?} is not 1")));
                }
                Ok((0..from.len()).filter(|i| !axes.contains(i)).map(|i| from[i]).collect())
            }
            _ => {
                let given = self.raw_axes(view)?.ok_or_else(|| view.shape("it names no axes"))?;
                let rank = from.len() + given.len();
                if rank > MAX_RANK {
                    return Err(view.shape(format!("{rank} axes, more than {MAX_RANK}")));
                }
                let axes = given.iter().map(|&a| axis(view, a, rank)).collect::<Result<Vec<_>, _>>()?;
                let mut sides = from.iter();
                let target: Vec<usize> = (0..rank)
                    .filter_map(|i| if axes.contains(&i) { Some(1) } else { sides.next().copied() })
                    .collect();
                if target.len() != rank || sides.next().is_some() {
                    return Err(view.shape("it names an axis twice"));
                }
                Ok(target)
            }
        }
    }

    /// The permutation of a Transpose of `rank` axes (default: reversed).
    pub(super) fn permutation(&self, view: &View<'_>, rank: usize) -> Result<Vec<usize>, NnError> {
        match view.ints("perm") {
            None => Ok((0..rank).rev().collect()),
            Some(perm) => perm.iter().map(|&a| axis(view, a, rank)).collect(),
        }
    }

    /// Axes from the attribute (older operator sets) or from input 1 (newer ones), counted from the front.
    pub(super) fn axes(&self, view: &View<'_>, rank: usize) -> Result<Option<Vec<usize>>, NnError> {
        let Some(given) = self.raw_axes(view)? else { return Ok(None) };
        given.iter().map(|&a| axis(view, a, rank)).collect::<Result<Vec<_>, _>>().map(Some)
    }

    fn raw_axes(&self, view: &View<'_>) -> Result<Option<Vec<i64>>, NnError> {
        if let Some(axes) = view.ints("axes") {
            return Ok(Some(axes.to_vec()));
        }
        match self.input(view, 1)? {
            None => Ok(None),
            Some(Value::Constant(constant)) => match constant.as_ints() {
                Some(axes) if axes.len() <= MAX_RANK => Ok(Some(axes.to_vec())),
                _ => Err(view.shape("its axes are not a short list of integers")),
            },
            Some(Value::Node(_)) => Err(view.unsupported("its axes depend on the network's input")),
        }
    }

    fn reshape_target(&self, view: &View<'_>, from: &[usize]) -> Result<Vec<usize>, NnError> {
        let given = match view.ints("shape") {
            Some(shape) => shape.to_vec(),
            None => {
                let constant = self.required_constant(view, 1)?;
                constant.as_ints().ok_or_else(|| view.shape("its target shape is not integer"))?.to_vec()
            }
        };
        if given.len() > MAX_RANK {
            return Err(view.shape(format!("{} axes, more than {MAX_RANK}", given.len())));
        }
        let copy_zero = view.int("allowzero", 0) == 0;
        let mut target = Vec::with_capacity(given.len());
        let mut free = None;
        for (i, &side) in given.iter().enumerate() {
            target.push(match side {
                0 if copy_zero => {
                    *from.get(i).ok_or_else(|| view.shape(format!("axis {i} of {from:?} does not exist")))?
                }
                -1 if free.is_none() => {
                    free = Some(i);
                    1
                }
                side => usize::try_from(side)
                    .ok()
                    .filter(|&s| s > 0)
                    .ok_or_else(|| view.shape(format!("target shape {given:?}")))?,
            });
        }
        let elements: usize = from.iter().product();
        let known = target.iter().try_fold(1usize, |p, &s| p.checked_mul(s)).unwrap_or(usize::MAX);
        if let Some(i) = free {
            target[i] = elements.checked_div(known).unwrap_or(0);
        }
        if target.iter().try_fold(1usize, |p, &s| p.checked_mul(s)) != Some(elements) {
            return Err(view.shape(format!("{from:?} cannot become {given:?}")));
        }
        Ok(target)
    }
}

/// An axis counted from the front, given one that may count from the back.
pub(super) fn axis(view: &View<'_>, given: i64, rank: usize) -> Result<usize, NnError> {
    let counted = if given < 0 { given.checked_add(rank as i64) } else { Some(given) };
    counted
        .and_then(|a| usize::try_from(a).ok())
        .filter(|&a| a < rank)
        .ok_or_else(|| view.shape(format!("axis {given} of {rank}")))
}
