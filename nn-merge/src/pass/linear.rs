//! Linear merging: two linear maps with no activation between become one where that is cheaper.
//!
//! Kept apart they cost two sets of replies and products and a lift between (a round, and bytes for every element);
//! merged, the replies and products of the larger map. Composing two 3×3 convolutions usually costs more, a 1×1 or a
//! depthwise convolution in front of a narrow layer less. See [`compose`](super::compose) for the forms and when each is
//! exact, [`cost`](super::cost) for the model. Reshapes between do not matter where one of the two is flat (elements
//! stay in order).

use super::compose::{compose, plan};
use super::cost::{lift_ns, linear_ns};
use super::edit::{Edit, natural_shape};
use crate::error::NnError;
use crate::graph::{Graph, Op};

/// Merges the first pair for which it pays.
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
        let Some(plan) = plan(first, second) else { continue };
        let apart =
            linear_ns(&first.geometry) + linear_ns(&second.geometry) + lift_ns(second.geometry.input_len());
        if plan.ns() >= apart {
            continue;
        }
        let name = format!("{} + {}", graph.node(source).name, node.name);
        let merged = compose(&name, first, second, plan)?;
        let natural = natural_shape(&merged);
        let mut edit = Edit::new(graph);
        let merged = edit.add(name, Op::Linear(merged), &graph.node(source).inputs)?;
        let result = if natural == node.shape { merged } else { edit.reshaped(merged, &node.shape)? };
        edit.redirect(id, result, &[]);
        return edit.finish().map(Some);
    }
    Ok(None)
}
