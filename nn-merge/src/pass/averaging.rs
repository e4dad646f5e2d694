//! Average pooling: free as it is (a sum of shares, the divisor goes into the units), so it is touched only where
//! something is gained, or where its windows divide by different numbers.
//!
//! | situation | becomes | condition |
//! |---|---|---|
//! | 1×1 convolution, then pooling | pooling, then convolution | cheaper (fewer pixels); the bias passes an average unless padding counts |
//! | linear map, then pooling | one linear map of larger stride | cheaper in the model of [`cost`](super::cost) |
//! | linear map, pooling, linear map | one linear map | cheaper than two with a lift between |
//! | padding that does not count | per region of equal windows one convolution per channel, joined | at most [`MAX_REGIONS`] regions |

use std::ops::Range;

use conv_fast::{ConvGeometry, ConvShape};

use super::compose::{compose, plan};
use super::cost::{lift_ns, linear_ns};
use super::edit::{Edit, natural_shape};
use super::travel::unpadded;
use crate::error::NnError;
use crate::graph::{Graph, Linear, NodeId, Op};
use crate::model::PoolGeometry;

/// Most regions that a pooling with uncounted padding is cut into.
const MAX_REGIONS: usize = 81;

/// Rewrites the first average pooling for which it pays or is necessary.
pub(super) fn averaging(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let consumers = graph.consumers();
    for (id, node) in graph.nodes().iter().enumerate() {
        let Op::AveragePool { window, count_padding } = &node.op else { continue };
        let input = node.inputs[0];
        if let Op::Linear(first) = &graph.node(input).op
            && graph.sole_consumer(input, &consumers) == Some(id)
        {
            if let Some(out) = commuted(graph, id, first, window, *count_padding)? {
                return Ok(Some(out));
            }
            if let Some(out) = merged(graph, &consumers, id, first, window, *count_padding)? {
                return Ok(Some(out));
            }
        }
        if !unpadded(window)
            && !count_padding
            && let Some(out) = regions(graph, id, window)?
        {
            return Ok(Some(out));
        }
    }
    Ok(None)
}

/// The pooling before a pointwise convolution.
fn commuted(
    graph: &Graph,
    id: NodeId,
    linear: &Linear,
    window: &PoolGeometry,
    count_padding: bool,
) -> Result<Option<Graph>, NnError> {
    let s = *linear.geometry.shape();
    let pointwise = s.kernel == [1, 1] && s.stride == [1, 1] && s.padding == [0; 4];
    let bias_passes = !count_padding || unpadded(window) || linear.bias.iter().all(|&b| b == 0.0);
    let geometry =
        ConvGeometry::new(ConvShape { in_height: window.out_height(), in_width: window.out_width(), ..s });
    let (true, true, Ok(geometry)) = (pointwise, bias_passes, geometry) else { return Ok(None) };
    if linear_ns(&geometry) >= linear_ns(&linear.geometry) {
        return Ok(None);
    }
    let input = graph.node(id).inputs[0];
    let mut shape = window.shape().clone();
    shape.channels = s.in_channels;
    let mut edit = Edit::new(graph);
    let pool = Op::AveragePool { window: PoolGeometry::new(shape)?, count_padding };
    let pool = edit.add(&graph.node(id).name, pool, &graph.node(input).inputs)?;
    let linear = Linear { geometry, ..linear.clone() };
    let linear = edit.add(&graph.node(input).name, Op::Linear(linear), &[pool])?;
    let result = edit.reshaped(linear, &graph.node(id).shape)?;
    edit.redirect(id, result, &[]);
    edit.finish().map(Some)
}

/// The pooling as part of the linear map before it, and perhaps of the one behind it as well.
fn merged(
    graph: &Graph,
    consumers: &[Vec<NodeId>],
    id: NodeId,
    first: &Linear,
    window: &PoolGeometry,
    count_padding: bool,
) -> Result<Option<Graph>, NnError> {
    if !count_padding && !unpadded(window) {
        return Ok(None);
    }
    let node = graph.node(id);
    let input = node.inputs[0];
    let name = format!("{} + {}", graph.node(input).name, node.name);
    let pool = convolution(&node.name, window)?;
    let Some(pair) = plan(first, &pool) else { return Ok(None) };
    let saves = pair.ns() < linear_ns(&first.geometry);
    // The pair is built to see what all three make; a plan cannot be planned on.
    let mut end = id;
    let mut whole = None;
    if let Some(mut next) = graph.sole_consumer(id, consumers) {
        while let (Op::Reshape(_), Some(after)) = (&graph.node(next).op, graph.sole_consumer(next, consumers))
        {
            next = after;
        }
        if let Op::Linear(second) = &graph.node(next).op {
            let apart = linear_ns(&first.geometry)
                + lift_ns(second.geometry.input_len())
                + linear_ns(&second.geometry);
            let best = if saves { apart - linear_ns(&first.geometry) + pair.ns() } else { apart };
            let both = compose(&name, first, &pool, pair)?;
            if let Some(plan) = plan(&both, second).filter(|plan| plan.ns() < best) {
                let name = format!("{name} + {}", graph.node(next).name);
                end = next;
                whole = Some((compose(&name, &both, second, plan)?, name));
            } else if saves {
                whole = Some((both, name));
            }
        } else if saves {
            whole = Some((compose(&name, first, &pool, pair)?, name));
        }
    } else if saves {
        whole = Some((compose(&name, first, &pool, pair)?, name));
    }
    let Some((linear, name)) = whole else { return Ok(None) };
    let natural = natural_shape(&linear);
    let mut edit = Edit::new(graph);
    let linear = edit.add(name, Op::Linear(linear), &graph.node(input).inputs)?;
    let shape = &graph.node(end).shape;
    let result = if natural == *shape { linear } else { edit.reshaped(linear, shape)? };
    edit.redirect(end, result, &[]);
    edit.finish().map(Some)
}

/// Average pooling as a convolution per channel.
fn convolution(name: &str, window: &PoolGeometry) -> Result<Linear, NnError> {
    let s = window.shape();
    let cells = s.kernel[0] * s.kernel[1];
    per_channel_mean(name, s.channels, [s.in_height, s.in_width], s.kernel, s.stride, s.padding, cells)
}

fn per_channel_mean(
    name: &str,
    channels: usize,
    sides: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    cells: usize,
) -> Result<Linear, NnError> {
    let geometry = ConvGeometry::new(ConvShape {
        in_channels: channels,
        in_height: sides[0],
        in_width: sides[1],
        out_channels: channels,
        kernel,
        stride,
        padding,
        dilation: [1, 1],
        groups: channels,
    })
    .map_err(|e| NnError::shape(name, e.to_string()))?;
    let weights = vec![1.0 / cells as f64; geometry.weights_len()];
    Linear::new(name, geometry, weights, vec![0.0; channels])
}

/// A run of windows of one length: the input they cover, and that length.
struct Run {
    covers: Range<usize>,
    length: usize,
}

/// Windows cut into runs of equal length at distance `stride`.
fn runs(spans: &[Range<usize>], stride: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut last = 0;
    for span in spans {
        match runs.last_mut() {
            Some(run) if run.length == span.len() && span.start == last + stride => run.covers.end = span.end,
            _ => runs.push(Run { covers: span.clone(), length: span.len() }),
        }
        last = span.start;
    }
    runs
}

/// A pooling whose border windows divide by less, region by region.
fn regions(graph: &Graph, id: NodeId, window: &PoolGeometry) -> Result<Option<Graph>, NnError> {
    let node = graph.node(id);
    let s = window.shape();
    let (rows, columns) = window.spans();
    let (rows, columns) = (runs(&rows, s.stride[0]), runs(&columns, s.stride[1]));
    if rows.len() * columns.len() > MAX_REGIONS {
        return Ok(None);
    }
    let mut edit = Edit::new(graph);
    let mut bands = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut parts = Vec::with_capacity(columns.len());
        for column in &columns {
            let name = format!("{} ({}x{} cells)", node.name, row.length, column.length);
            let sides = [row.covers.len(), column.covers.len()];
            let slice = Op::Slice {
                start: vec![0, 0, row.covers.start, column.covers.start],
                step: vec![1; 4],
                size: vec![1, s.channels, sides[0], sides[1]],
            };
            let slice = edit.add(format!("{name} (cut)"), slice, &node.inputs)?;
            let kernel = [row.length, column.length];
            let mean =
                per_channel_mean(&name, s.channels, sides, kernel, s.stride, [0; 4], kernel[0] * kernel[1])?;
            let outputs = [mean.geometry.out_height(), mean.geometry.out_width()];
            let mean = edit.add(&name, Op::Linear(mean), &[slice])?;
            parts.push(edit.reshaped(mean, &[1, s.channels, outputs[0], outputs[1]])?);
        }
        bands.push(edit.add(format!("{} (row)", node.name), Op::Concat { axis: 3 }, &parts)?);
    }
    let whole = edit.add(&node.name, Op::Concat { axis: 2 }, &bands)?;
    edit.redirect(id, whole, &[]);
    edit.finish().map(Some)
}
