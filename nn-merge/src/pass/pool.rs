//! Maximum pooling: before monotone activations instead of after them, and several poolings as one.
//!
//! A function f that never falls commutes with the maximum, max(f(a), f(b)) = f(max(a, b)), so that pooling first leaves
//! as many activations as there are windows (a 2×2 pooling leaves a quarter). Padding never wins in either order. With
//! different functions per channel this holds channel by channel.
//!
//! Two poolings that follow each other are one with a larger window if the small windows inside each large one leave
//! no gap, and if the windows at the borders agree; both is checked on the windows themselves. It is done if the
//! number of comparisons does not grow (it grows where windows overlap).

use super::edit::Edit;
use super::function::is_monotone;
use crate::error::NnError;
use crate::graph::{Graph, Op};
use crate::model::{PoolGeometry, PoolShape};

/// Exchanges every monotone activation with the max-pool that alone reads it.
pub(super) fn max_pool_before_activation(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let mut out = graph.clone();
    let mut changed = false;
    loop {
        let consumers = out.consumers();
        let found = (1..out.nodes().len()).find(|&id| {
            let (Op::MaxPool(_), Some(&input)) = (&out.node(id).op, out.node(id).inputs.first()) else {
                return false;
            };
            let monotone = match &out.node(input).op {
                Op::Activation(function) => is_monotone(function),
                Op::Mixed(parts) => parts.iter().all(|part| is_monotone(&part.function)),
                _ => false,
            };
            monotone && out.sole_consumer(input, &consumers) == Some(id)
        });
        let Some(id) = found else { break };
        let input = out.node(id).inputs[0];
        out.swap_ops(input, id);
        out = out.rebuild()?;
        changed = true;
    }
    Ok(changed.then_some(out))
}

/// Makes the first pair of poolings that allows it one.
pub(super) fn merge_max_pools(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let consumers = graph.consumers();
    for (id, node) in graph.nodes().iter().enumerate() {
        let Op::MaxPool(second) = &node.op else { continue };
        let input = node.inputs[0];
        let Op::MaxPool(first) = &graph.node(input).op else { continue };
        if graph.sole_consumer(input, &consumers) != Some(id) {
            continue;
        }
        let Some(merged) = merged(first, second) else { continue };
        if merged.comparisons() > first.comparisons() + second.comparisons() {
            continue;
        }
        let mut edit = Edit::new(graph);
        edit.set(id, Op::MaxPool(merged), &graph.node(input).inputs);
        return edit.finish().map(Some);
    }
    Ok(None)
}

fn merged(first: &PoolGeometry, second: &PoolGeometry) -> Option<PoolGeometry> {
    let (a, b) = (first.shape(), second.shape());
    let sizes = [(a.in_height, second.out_height()), (a.in_width, second.out_width())];
    let mut shape = PoolShape { channels: a.channels, ..*a };
    for (axis, (size, outputs)) in sizes.into_iter().enumerate() {
        shape.kernel[axis] = (b.kernel[axis] - 1) * a.stride[axis] + a.kernel[axis];
        shape.stride[axis] = a.stride[axis] * b.stride[axis];
        let front = a.padding[axis] + a.stride[axis] * b.padding[axis];
        shape.padding[axis] = front;
        shape.padding[axis + 2] =
            ((outputs - 1) * shape.stride[axis] + shape.kernel[axis]).saturating_sub(size + front);
    }
    let merged = PoolGeometry::new(shape).ok()?;
    let (inner, outer, whole) = (first.spans(), second.spans(), merged.spans());
    for (inner, outer, whole) in [(inner.0, outer.0, whole.0), (inner.1, outer.1, whole.1)] {
        let same = outer.len() == whole.len()
            && outer.iter().zip(&whole).all(|(windows, whole)| {
                let windows = &inner[windows.clone()];
                let gapless = windows.windows(2).all(|pair| pair[1].start <= pair[0].end);
                let ends = windows.first().zip(windows.last());
                gapless
                    && ends.is_some_and(|(first, last)| first.start == whole.start && last.end == whole.end)
            });
        if !same {
            return None;
        }
    }
    Some(merged)
}
