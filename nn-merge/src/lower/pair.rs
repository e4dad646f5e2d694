//! PReLU: the slopes of its two results, ReLU(y) and y, in the weights of the linear map behind, or in one of their own.

use conv_fast::{ConvGeometry, ConvShape};

use super::walk::Walk;
use super::{ProgramNode, ProgramOp};
use crate::error::NnError;
use crate::graph::Linear;
use crate::model::LocalOp;

impl Walk<'_> {
    /// The one result of a PReLU: a·y + (1 − a)·ReLU(y) by a convolution of two channels each.
    pub(super) fn combined(&mut self, at: usize) -> Result<usize, NnError> {
        if let Some(&made) = self.raw.get(&at) {
            return Ok(made);
        }
        let slopes = self.pairs[&at].clone();
        let ProgramNode { shape: [doubled, height, width], value, .. } = self.out[at];
        let channels = doubled / 2;
        let mut source = at;
        for map in [
            LocalOp::Reshape([2, channels, height * width]),
            LocalOp::Permute([1, 0, 2]),
            LocalOp::Reshape([doubled, height, width]),
        ] {
            source = self.local(value, map, &[source])?;
        }
        let name = &self.graph.node(value).name;
        let geometry = ConvGeometry::pointwise([doubled, channels], [height, width], channels)
            .map_err(|e| NnError::shape(name, e.to_string()))?;
        let slope = |c: usize| if slopes.len() == 1 { slopes[0] } else { slopes[c] };
        let weights = (0..channels).flat_map(|c| [1.0 - slope(c), slope(c)]).collect();
        let map = Linear::new(name, geometry, weights, vec![0.0; channels])?;
        let op = ProgramOp::Linear(map);
        let made = self.push(value, " (slopes)", op, vec![source], [channels, height, width], false, 1.0);
        self.raw.insert(at, made);
        Ok(made)
    }
}

/// W·(a·y + (1 − a)·ReLU(y)) as one map of ReLU(y) and y side by side.
pub(super) fn paired(linear: &Linear, slopes: &[f64]) -> Result<Linear, String> {
    let s = linear.geometry.shape();
    let taps = s.kernel[0] * s.kernel[1];
    let geometry =
        ConvGeometry::new(ConvShape { in_channels: 2 * s.in_channels, ..*s }).map_err(|e| e.to_string())?;
    // A flattened plane spreads each slope over a run of inputs.
    let slope = |c: usize| slopes[c * slopes.len() / s.in_channels];
    let row = |row: &[f64]| {
        let part = |factor: &dyn Fn(f64) -> f64| -> Vec<f64> {
            row.chunks(taps)
                .enumerate()
                .flat_map(|(c, cell)| cell.iter().map(move |w| w * factor(slope(c))))
                .collect()
        };
        [part(&|a| 1.0 - a), part(&|a| a)].concat()
    };
    let weights: Vec<f64> = linear.weights.chunks(taps * s.in_channels).flat_map(row).collect();
    Ok(Linear { geometry, weights: weights.into(), bias: linear.bias.clone() })
}
