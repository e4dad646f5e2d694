//! Reshapes, axis permutations and slices: sides, axes and indices as ONNX spells them (0, −1, attribute or input).

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
            Some(_) => Err(view.unsupported("its axes depend on the network's input")),
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

/// One axis of a Slice as the file spells it.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) axis: usize,
    start: i64,
    end: i64,
    /// Not zero.
    pub(super) step: i64,
}

impl Cut {
    /// The first index and how many there are, on an axis of `side` elements.
    pub(super) fn apply(self, side: usize) -> (usize, usize) {
        let side = side as i64;
        let counted = |index: i64| if index < 0 { index.saturating_add(side) } else { index };
        let (start, end) = match self.step > 0 {
            true => (counted(self.start).clamp(0, side), counted(self.end).clamp(0, side)),
            false => (counted(self.start).clamp(-1, side - 1), counted(self.end).clamp(-1, side - 1)),
        };
        let room = if self.step > 0 { end - start } else { start - end };
        let count = if room <= 0 { 0 } else { (room as u64).div_ceil(self.step.unsigned_abs()) };
        (start.max(0) as usize, count as usize)
    }
}

impl Importer {
    /// What a Slice cuts: from attributes in older operator sets, from inputs in newer ones.
    pub(super) fn cuts(&self, view: &View<'_>, rank: usize) -> Result<Vec<Cut>, NnError> {
        let missing = || view.shape("it has no starts or no ends");
        let starts = self.list(view, "starts", 1)?.ok_or_else(missing)?;
        let ends = self.list(view, "ends", 2)?.ok_or_else(missing)?;
        let axes = match self.list(view, "axes", 3)? {
            Some(axes) => axes,
            None => (0..starts.len() as i64).collect(),
        };
        let steps = self.list(view, "steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
            return Err(view.shape("its starts, ends, axes and steps do not belong together"));
        }
        (0..starts.len())
            .map(|i| {
                let axis = axis(view, axes[i], rank)?;
                Ok(Cut { axis, start: starts[i], end: ends[i], step: steps[i] })
            })
            .collect()
    }
}

/// An axis counted from the front, given one that may count from the back.
pub(super) fn axis(view: &View<'_>, given: i64, rank: usize) -> Result<usize, NnError> {
    let counted = if given < 0 { given.checked_add(rank as i64) } else { Some(given) };
    counted
        .and_then(|a| usize::try_from(a).ok())
        .filter(|&a| a < rank)
        .ok_or_else(|| view.shape(format!("axis or index {given} of {rank}")))
}
