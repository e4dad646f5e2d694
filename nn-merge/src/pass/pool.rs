//! Maximum pooling before ReLU instead of after it.
//!
//! max and ReLU are both monotone, so they commute; pooling first leaves as many ReLUs as there are windows
//! (a 2×2 pooling leaves a quarter). Padding never wins in either order.

use crate::error::NnError;
use crate::graph::{Graph, Op};

/// Exchanges every ReLU with the max-pool that alone reads it.
pub(super) fn max_pool_before_relu(graph: &Graph) -> Result<Option<Graph>, NnError> {
    let consumers = graph.consumers();
    let mut out = graph.clone();
    let mut changed = false;
    for id in 1..graph.nodes().len() {
        let (Op::MaxPool(_), Some(&input)) = (&out.node(id).op, out.node(id).inputs.first()) else {
            continue;
        };
        if matches!(out.node(input).op, Op::Relu) && graph.sole_consumer(input, &consumers) == Some(id) {
            out.swap_ops(input, id);
            changed = true;
        }
    }
    changed.then(|| out.rebuild()).transpose()
}
