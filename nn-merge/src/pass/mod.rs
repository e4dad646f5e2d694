//! Merging: passes that rewrite a graph into fewer, fatter linear maps and cheaper activations.
//!
//! Each pass is a pure function from graph to graph (`None`: nothing to do) and computes the same function up to
//! rounding; its tests run random networks before and after. [`run`] repeats all of them to a fixed point and keeps
//! a [`PassRow`] for each application that changed something.
//!
//! | pass | rewrites |
//! |---|---|
//! | `cleanup` | identity, dropout, reshape, transpose, double ReLU, final softmax; dead nodes |
//! | `max-pool before relu` | max(relu(a), relu(b)) = relu(max(a, b)): the pool leaves fewer ReLUs |
//! | `batch-norm` | into the linear map before it, or the one after it |
//! | `scale and bias` | per-channel scales and shifts likewise, also through max-pool and ReLU (positive scales) |
//! | `averaging` | average pooling as a linear map |
//! | `linear merging` | two linear maps without an activation between into one convolution or one matrix |
//! | `lone scales` | what could not be folded becomes a 1×1 convolution of its own |
//!
//! The protocol needs an activation between two linear maps, so consecutive ones are merged whenever the result
//! is below [`MAX_MERGED_WEIGHTS`], and into the cheaper of the two forms (convolution or matrix); the cost before and
//! after is in the report.
//!
//! Merging stage of: Chen, Yang, Zhang, Ma, *Efficient privacy-preserving scheme for secure neural network inference*,
//! FITEE 26(9), 2025 (its text is not public; the set of passes is this project's).

mod averaging;
mod cleanup;
mod compose;
mod diagonal;
mod linear;
mod pool;

use serde::Serialize;

use crate::error::NnError;
use crate::graph::{Graph, Op};

pub use compose::MAX_MERGED_WEIGHTS;
pub(crate) use compose::merged_weights;

/// A rewriting of graphs; `None` when there is nothing to do.
pub type Pass = fn(&Graph) -> Result<Option<Graph>, NnError>;

/// All passes by name, in the order of one sweep.
pub const PASSES: [(&str, Pass); 7] = [
    ("cleanup", cleanup::cleanup),
    ("max-pool before relu", pool::max_pool_before_relu),
    ("batch-norm", diagonal::batch_norm),
    ("scale and bias", diagonal::scale),
    ("averaging", averaging::averaging),
    ("linear merging", linear::merge),
    ("lone scales", diagonal::lone_scales),
];

/// Most sweeps; each one that changes anything makes the graph smaller or moves a node towards the input.
const MAX_SWEEPS: usize = 256;

/// What one image costs, counted on a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Linear nodes: convolutions, fully connected layers, normalisations, scales, average poolings.
    pub linear_levels: u64,
    /// Multiplications with weights.
    pub products: u64,
    /// Additions in linear nodes.
    pub additions: u64,
    /// Levels of interaction: one per ReLU node, ⌈log2 cells⌉ per maximum pooling.
    pub activation_levels: u64,
    /// ReLUs of single values.
    pub activations: u64,
    /// Comparisons of maximum pooling.
    pub comparisons: u64,
}

/// One application of a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassRow {
    /// The pass.
    pub pass: &'static str,
    /// Cost before it.
    pub before: Cost,
    /// Cost after it.
    pub after: Cost,
}

/// Applies all passes to a fixed point.
///
/// # Errors
/// [`NnError`] of a pass; none is expected for imported graphs.
pub fn run(graph: &Graph) -> Result<(Graph, Vec<PassRow>), NnError> {
    let mut graph = graph.clone();
    let mut rows: Vec<PassRow> = Vec::new();
    for _ in 0..MAX_SWEEPS {
        let mut changed = false;
        for (name, pass) in PASSES {
            // A scale stands alone only if nothing else could still absorb it.
            if changed && name == "lone scales" {
                continue;
            }
            let before = Cost::of(&graph);
            if let Some(next) = pass(&graph)? {
                let after = Cost::of(&next);
                match rows.last_mut() {
                    Some(last) if last.pass == name => last.after = after,
                    _ => rows.push(PassRow { pass: name, before, after }),
                }
                graph = next;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    Ok((graph, rows))
}

/// The same network with only the final softmax (and reshape) removed: its logits.
pub(crate) fn without_softmax(graph: &Graph) -> Result<Graph, NnError> {
    let mut out = graph.clone();
    while cleanup::drop_end(&mut out) {}
    out.rebuild()
}

impl Cost {
    /// Counts the nodes of `graph`.
    pub fn of(graph: &Graph) -> Self {
        let mut cost = Self::default();
        for node in graph.nodes() {
            let elements = node.elements() as u64;
            match &node.op {
                Op::Linear(linear) => {
                    cost.linear_levels += 1;
                    cost.products += linear.geometry.macs();
                    cost.additions += linear.geometry.macs();
                }
                Op::BatchNorm(_) | Op::Scale(_) => {
                    cost.linear_levels += 1;
                    cost.products += elements;
                    cost.additions += elements;
                }
                Op::AveragePool { window, .. } => {
                    cost.linear_levels += 1;
                    cost.products += elements;
                    cost.additions += window.comparisons();
                }
                Op::Relu => {
                    cost.activation_levels += 1;
                    cost.activations += elements;
                }
                Op::MaxPool(window) => {
                    let kernel = window.shape().kernel;
                    cost.activation_levels +=
                        u64::from((kernel[0] * kernel[1]).next_power_of_two().trailing_zeros());
                    cost.comparisons += window.comparisons();
                }
                Op::Add => cost.additions += elements,
                _ => {}
            }
        }
        cost
    }
}

#[cfg(test)]
mod tests;
