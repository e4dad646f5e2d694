//! Linear merging: two linear maps with no activation between become one.
//!
//! See [`compose`](super::compose) for the two forms and when each is exact. A reshape between the two does not
//! matter where one of them is flat (elements stay in order).

use super::compose::compose;
use crate::error::NnError;
use crate::graph::{Graph, Op};

/// Merges the first pair that can be merged.
pub(super) fn merge(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let consumers = graph.consumers();
    for (id, node) in graph.nodes().iter().enumerate() {
        let Op::Linear(second) = &node.op else { continue };
        let mut source = node.inputs[0];
        let mut owned = graph.sole_consumer(source, &consumers) == Some(id);
        while let Op::Reshape(_) = graph.node(source).op {
            let before = graph.node(source).inputs[0];
            owned &= graph.sole_consumer(before, &consumers) == Some(source);
            source = before;
        }
        let Op::Linear(first) = &graph.node(source).op else { continue };
        if !owned {
            continue;
        }
        let name = format!("{} + {}", graph.node(source).name, node.name);
        let Some(merged) = compose(&name, first, second)? else { continue };
        let g = &merged.geometry;
        let natural = match merged.is_flat() {
            true => vec![1, g.shape().out_channels],
            false => vec![1, g.shape().out_channels, g.out_height(), g.out_width()],
        };
        let mut out = graph.clone();
        let target = out.node_mut(id);
        target.op = Op::Linear(merged);
        target.name = name.clone();
        target.inputs = graph.node(source).inputs.clone();
        if natural != node.shape {
            out.insert_after(id, format!("{name} (reshaped)"), Op::Reshape(node.shape.clone()));
        }
        return out.rebuild().map(Some);
    }
    Ok(None)
}
