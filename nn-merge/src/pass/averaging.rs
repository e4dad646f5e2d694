//! Average pooling as a linear map, so that it merges with the linear map behind (or before) it.
//!
//! Where every window divides by the same number, this is a convolution per channel with constant weights. Where
//! padding is not counted, windows at the border divide by less: that is no convolution, and becomes a matrix if it
//! is small enough ([`MAX_MERGED_WEIGHTS`]); otherwise the node stays and lowering reports it.

use conv_fast::{ConvGeometry, ConvShape};

use super::compose::MAX_MERGED_WEIGHTS;
use crate::error::NnError;
use crate::graph::{Graph, Linear, Op};
use crate::model::PoolGeometry;

/// Rewrites the average poolings of a graph.
pub(super) fn averaging(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let mut out = graph.clone();
    let mut changed = false;
    // From the back, so that inserting a node does not move those still to be seen.
    for id in (1..graph.nodes().len()).rev() {
        let node = graph.node(id);
        let Op::AveragePool { window, count_padding } = &node.op else { continue };
        let uniform = *count_padding || window.shape().padding == [0; 4];
        let linear = if uniform { convolution(&node.name, window)? } else { matrix(&node.name, window)? };
        let Some(linear) = linear else { continue };
        let reshape = linear.is_flat();
        out.node_mut(id).op = Op::Linear(linear);
        if reshape {
            out.insert_after(id, format!("{} (plane)", node.name), Op::Reshape(node.shape.clone()));
        }
        changed = true;
    }
    changed.then(|| out.rebuild()).transpose()
}

fn convolution(name: &str, window: &PoolGeometry) -> Result<Option<Linear>, NnError> {
    let s = window.shape();
    let geometry = ConvGeometry::new(ConvShape {
        in_channels: s.channels,
        in_height: s.in_height,
        in_width: s.in_width,
        out_channels: s.channels,
        kernel: s.kernel,
        stride: s.stride,
        padding: s.padding,
        dilation: [1, 1],
        groups: s.channels,
    })
    .map_err(|e| NnError::shape(name, e.to_string()))?;
    let cells = s.kernel[0] * s.kernel[1];
    let weights = vec![1.0 / cells as f64; geometry.weights_len()];
    Linear::new(name, geometry, weights, vec![0.0; s.channels]).map(Some)
}

fn matrix(name: &str, window: &PoolGeometry) -> Result<Option<Linear>, NnError> {
    let (inputs, outputs) = (window.input_len(), window.output_len());
    if inputs as u64 * outputs as u64 > MAX_MERGED_WEIGHTS {
        return Ok(None);
    }
    let geometry =
        ConvGeometry::fully_connected(inputs, outputs).map_err(|e| NnError::shape(name, e.to_string()))?;
    let mut weights = vec![0.0; inputs * outputs];
    for (row, cells) in weights.chunks_mut(inputs).zip(window.windows()) {
        cells.iter().for_each(|&cell| row[cell] = 1.0 / cells.len() as f64);
    }
    Linear::new(name, geometry, weights, vec![0.0; outputs]).map(Some)
}
