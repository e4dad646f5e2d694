//! Merging: passes that rewrite a graph into fewer, fatter linear maps and cheaper activations.
//!
//! Each pass is a pure function from graph to graph (`None`: nothing to do) and computes the same function up to
//! rounding; its tests run random networks before and after. [`run`] repeats all of them to a fixed point and keeps
//! a [`PassRow`] for each run of applications that changed something.
//!
//! | pass | rewrites |
//! |---|---|
//! | `cleanup` | identity, dropout, reshape, transpose, padding of convolutions, final softmax; dead nodes |
//! | `index maps` | slices, padding and joins among themselves |
//! | `simple activations` | simplest form, two in a row as one, identity |
//! | `activations and maps` | activations away from reshapes, transposes, slices, padding, enlargements |
//! | `max-pool before activation` | max(f(a), f(b)) = f(max(a, b)) for f that never falls: the pool leaves fewer of them |
//! | `max-pools` | two in a row as one |
//! | `polynomials` | x² with a shift before and a scale after; monic |
//! | `batch-norm` | into linear maps before or behind it, through sums, joins, pools, homogeneous activations |
//! | `scale and bias` | per-channel scales and shifts likewise |
//! | `joined activations` | the concatenation of equal activations is one activation |
//! | `averaging` | average pooling before pointwise convolutions, or merged with linear maps; uneven windows |
//! | `linear merging` | two linear maps without an activation between into one convolution or one matrix |
//! | `sums of linear maps` | L₁(x) + L₂(y) as one map |
//! | `parallel linear maps` | L₁(x) and L₂(x) as one map with both results |
//! | `lone scales` | what could not be folded and is not free becomes a 1×1 convolution of its own |
//!
//! The last five are decided by the cost model of `pass/cost.rs` or close doors to others; the last three run only when
//! nothing else has anything left to do.
//!
//! *Why it ends.* Every rewriting lowers, in this order, the number of linear maps with their scales and normalisations;
//! the values that activations work on; the activation nodes; the maps in front of activations; the other nodes; or
//! the size of what is left of a scale (from s·x + t to a shift). Two are exceptions: a normal form of a polynomial adds a
//! scale, but once; uneven windows and lone scales become linear maps and are gone. A cap on applications
//! stands behind this; the graph is correct after every one of them.
//!
//! Merging stage of: Chen, Yang, Zhang, Ma, *Efficient privacy-preserving scheme for secure neural network inference*,
//! FITEE 26(9), 2025 (its text is not public; the set of passes is this project's).

mod activation;
mod averaging;
mod cleanup;
mod compose;
mod cost;
mod diagonal;
mod edit;
mod function;
mod linear;
mod maps;
mod parallel;
mod polynomial;
mod pool;
mod travel;

use serde::Serialize;

use crate::error::NnError;
use crate::graph::Graph;

pub use compose::MAX_MERGED_WEIGHTS;
pub use cost::Cost;

/// A rewriting of graphs; `None` when there is nothing to do.
pub type Pass = fn(&Graph) -> Result<Option<Graph>, NnError>;

/// All passes by name, in the order of one sweep.
pub const PASSES: [(&str, Pass); 15] = [
    ("cleanup", cleanup::cleanup),
    ("index maps", maps::maps),
    ("simple activations", activation::simplify),
    ("activations and maps", activation::through_maps),
    ("max-pool before activation", pool::max_pool_before_activation),
    ("max-pools", pool::merge_max_pools),
    ("polynomials", polynomial::polynomials),
    ("batch-norm", diagonal::batch_norm),
    ("scale and bias", diagonal::scale),
    ("joined activations", activation::join),
    ("averaging", averaging::averaging),
    ("linear merging", linear::merge),
    ("sums of linear maps", parallel::sums),
    ("parallel linear maps", parallel::outputs),
    ("lone scales", diagonal::lone_scales),
];

/// How many passes at the end of the list run only when no other has anything to do.
const LATE: usize = 3;
/// Most applications per node of the graph, and a few more.
const MAX_APPLICATIONS: usize = 64;

/// The applications of a pass in one sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassRow {
    /// The pass.
    pub pass: &'static str,
    /// Cost before it.
    pub before: Cost,
    /// Cost after it.
    pub after: Cost,
}

/// The passes without which a graph can't be lowered, or whose work is no merging: normal forms, and a linear map for every
/// normalisation.
pub const NECESSARY: [(&str, Pass); 5] = [
    ("cleanup", cleanup::cleanup),
    ("index maps", maps::maps),
    ("simple activations", activation::simplify),
    ("monic polynomials", polynomial::monic),
    ("lone scales", diagonal::lone_scales),
];

/// Applies all passes to a fixed point.
///
/// # Errors
/// [`NnError`] of a pass; none is expected for imported graphs.
pub fn run(graph: &Graph) -> Result<(Graph, Vec<PassRow>), NnError> {
    to_fixed_point(graph, &PASSES, LATE)
}

/// Applies the [`NECESSARY`] passes only: the network as it was written, for comparison with the merged one.
///
/// # Errors
/// As [`run`].
pub fn run_necessary(graph: &Graph) -> Result<(Graph, Vec<PassRow>), NnError> {
    to_fixed_point(graph, &NECESSARY, 1)
}

/// `late` passes at the end of the list run only when no other has anything to do.
fn to_fixed_point(
    graph: &Graph,
    passes: &[(&'static str, Pass)],
    late: usize,
) -> Result<(Graph, Vec<PassRow>), NnError> {
    let mut graph = graph.clone();
    let mut rows: Vec<PassRow> = Vec::new();
    let mut left = MAX_APPLICATIONS * (graph.nodes().len() + 16);
    loop {
        let mut changed = false;
        for (index, &(name, pass)) in passes.iter().enumerate() {
            if changed && index + late >= passes.len() {
                break;
            }
            let before = graph.clone();
            let mut applied = false;
            while left > 0
                && let Some(next) = pass(&graph)?
            {
                graph = next;
                applied = true;
                left -= 1;
            }
            if applied {
                changed = true;
                let after = Cost::of(&graph);
                match rows.last_mut() {
                    Some(last) if last.pass == name => last.after = after,
                    _ => rows.push(PassRow { pass: name, before: Cost::of(&before), after }),
                }
            }
        }
        if !changed || left == 0 {
            return Ok((graph, rows));
        }
    }
}

/// The same network with only the final softmax (and reshape) removed: its logits.
pub(crate) fn without_softmax(graph: &Graph) -> Result<Graph, NnError> {
    let mut out = graph.clone();
    while cleanup::drop_end(&mut out) {}
    out.rebuild()
}

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;
