//! Resize and Upsample, by nearest neighbour.
//!
//! Which element every output shows follows from the operator's coordinate rule, axis by axis. Whole factors become an
//! enlargement; everything else is put together from slices. Interpolation is not supported.

use super::Importer;
use super::attributes::View;
use super::tensor::Constant;
use super::{Value, layout};
use crate::error::{NnError, shown};
use crate::graph::{NodeId, Op};

/// Longest side of a result.
const MAX_SIDE: usize = 1 << 16;

impl Importer {
    pub(super) fn resize(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        let shape = self.graph.node(x).shape.clone();
        match view.string("mode").unwrap_or("nearest") {
            "nearest" => {}
            other => {
                return Err(view.unsupported(format!(
                    "mode {}; only nearest is supported (replace it, or use a transposed grid of convolutions)",
                    shown(other)
                )));
            }
        }
        let factors = self.factors(view, &shape)?;
        let is_old = view.operator == "Upsample" || self.opset < 11;
        let mut indices = Vec::with_capacity(shape.len());
        for (&side, &(factor, length)) in shape.iter().zip(&factors) {
            if length == 0 || length > MAX_SIDE {
                return Err(view.shape(format!("a side of {side} becomes {length}")));
            }
            indices.push(sources(view, is_old, side, factor, length)?);
        }
        let plain = |axis: usize| {
            let factor = indices[axis].len() / shape[axis];
            let is_plain = factor > 0 && indices[axis].len() == factor * shape[axis];
            (is_plain && indices[axis].iter().enumerate().all(|(i, &s)| s == i / factor)).then_some(factor)
        };
        if let ([1, _, _, _], Some(1), Some(rows), Some(columns)) = (
            &shape[..],
            plain(1).filter(|_| shape.len() == 4),
            plain(shape.len().saturating_sub(2)),
            plain(shape.len() - 1),
        ) {
            let op = if rows * columns == 1 { Op::Identity } else { Op::Upsample([rows, columns]) };
            return self.push(&view.name, op, &[x]);
        }
        let mut y = x;
        for (axis, indices) in indices.iter().enumerate() {
            y = self.pick(view, y, axis, indices)?;
        }
        Ok(y)
    }

    /// Factor and resulting length per axis.
    fn factors(&self, view: &View<'_>, shape: &[usize]) -> Result<Vec<(f64, usize)>, NnError> {
        let mut out: Vec<(f64, usize)> = shape.iter().map(|&side| (1.0, side)).collect();
        let filled = |index: usize| -> Result<Option<std::sync::Arc<Constant>>, NnError> {
            match self.input(view, index)? {
                Some(Value::Constant(c)) if c.len() > 0 => Ok(Some(c)),
                Some(Value::Constant(_)) | None => Ok(None),
                Some(_) => Err(view.unsupported("sizes that depend on the network's input")),
            }
        };
        let (scales, sizes) = match (view.operator, self.opset) {
            ("Upsample", _) | ("Resize", ..11) => {
                (filled(1)?.map(|c| c.to_f64()).or_else(|| view.floats("scales")), None)
            }
            _ => (filled(2)?.map(|c| c.to_f64()), filled(3)?),
        };
        let axes = match view.ints("axes") {
            Some(axes) => {
                axes.iter().map(|&a| layout::axis(view, a, shape.len())).collect::<Result<Vec<_>, _>>()?
            }
            None => (0..shape.len()).collect(),
        };
        if view.string("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch") {
            return Err(view.unsupported("keep_aspect_ratio_policy"));
        }
        let values = match (&scales, &sizes) {
            (Some(scales), _) => scales.clone(),
            (None, Some(sizes)) => sizes.to_f64(),
            (None, None) => return Err(view.shape("it has neither scales nor sizes")),
        };
        if values.len() != axes.len() || values.iter().any(|&v| !(v > 0.0 && v <= MAX_SIDE as f64)) {
            return Err(view.shape(format!(
                "{} factors or sizes for {} axes, or one out of range",
                values.len(),
                axes.len()
            )));
        }
        for (&axis, &value) in axes.iter().zip(&values) {
            let side = shape[axis] as f64;
            out[axis] = match scales {
                Some(_) => (value, (side * value).floor() as usize),
                None => (value / side, value as usize),
            };
        }
        Ok(out)
    }
}

/// For every one of `length` outputs the input that it shows, of `side`. Before operator set 11 there was one rule only.
fn sources(
    view: &View<'_>,
    is_old: bool,
    side: usize,
    factor: f64,
    length: usize,
) -> Result<Vec<usize>, NnError> {
    if side == length && factor == 1.0 {
        return Ok((0..side).collect());
    }
    let transformation = match is_old {
        true => "asymmetric",
        false => view.string("coordinate_transformation_mode").unwrap_or("half_pixel"),
    };
    let rounding = if is_old { "floor" } else { view.string("nearest_mode").unwrap_or("round_prefer_floor") };
    // Coordinates are single precision by definition: it decides which neighbour a half-way point goes to.
    let (n, m, factor) = (side as f32, length as f32, factor as f32);
    (0..length)
        .map(|i| {
            let i = i as f32;
            let x = match transformation {
                "asymmetric" => i / factor,
                "half_pixel" => (i + 0.5) / factor - 0.5,
                "half_pixel_symmetric" => {
                    let adjustment = m / (n * factor);
                    n / 2.0 * (1.0 - adjustment) + (i + 0.5) / factor - 0.5
                }
                "pytorch_half_pixel" if length == 1 => 0.0,
                "pytorch_half_pixel" => (i + 0.5) / factor - 0.5,
                "align_corners" if length == 1 => 0.0,
                "align_corners" => i * (n - 1.0) / (m - 1.0),
                other => return Err(view.unsupported(format!("coordinate rule {}", shown(other)))),
            };
            let x = match rounding {
                "floor" => x.floor(),
                "ceil" => x.ceil(),
                "round_prefer_floor" => (x - 0.5).ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                other => return Err(view.unsupported(format!("nearest_mode {}", shown(other)))),
            };
            Ok(x.clamp(0.0, n - 1.0) as usize)
        })
        .collect()
}
