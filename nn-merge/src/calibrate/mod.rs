//! Calibration: how large a network's values become.
//!
//! Two figures per node of the merged graph:
//!
//! - the *measured* one, the largest magnitude over sample images, in `f32`, image by image (memory: one image's tensors per
//!   thread);
//! - the *static* one, interval arithmetic from the accepted input range through every node, per channel: no accepted
//!   input can exceed it. It is loose by large factors on deep networks.
//!
//! Quantisation takes the smaller of (measured × margin) and the static bound where a value has to fit: at the arguments of
//! activations (before any pooling) and at the output. Where the static bound fits in, no accepted input drives the
//! float network out of range, and the report says so; the errors of fixed point are not in that statement.

mod intervals;

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::error::NnError;
use crate::evaluate::Evaluator;
use crate::graph::{Graph, NodeId};

pub use intervals::{Interval, intervals};

/// The largest |output| of the given nodes over all images.
///
/// # Errors
/// [`NnError::Input`] for an image of the wrong length; [`NnError::NotFinite`] if an image drives a node out of range.
pub fn measure(graph: &Graph, nodes: &[NodeId], images: &[Vec<f32>]) -> Result<Vec<f64>, NnError> {
    let evaluator = Evaluator::<f32>::new(graph)?;
    let slots = slots(nodes);
    let largest = images
        .par_iter()
        .map(|image| {
            let mut own = vec![0f32; nodes.len()];
            evaluator.run_observed(image, |id, values| {
                if let Some(own_slots) = slots.get(&id) {
                    // `max` would drop a NaN.
                    let peak = values.iter().fold(0.0f32, |m, v| if v.is_nan() || m.is_nan() { f32::NAN } else { m.max(v.abs()) });
                    own_slots.iter().for_each(|&slot| own[slot] = peak);
                }
            })?;
            Ok(own)
        })
        .try_reduce(
            || vec![0f32; nodes.len()],
            |a, b| Ok(a.into_iter().zip(b).map(|(x, y)| if x.is_nan() || x > y { x } else { y }).collect()),
        )?;
    match largest.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(NnError::NotFinite { tensor: graph.node(nodes[index]).name.clone() }),
        None => Ok(largest.into_iter().map(f64::from).collect()),
    }
}

/// Of the positive outputs of the given nodes over all images the share below each node's threshold: what a sign test
/// that ignores that much takes for zero. 0 where no output is positive.
///
/// # Errors
/// As [`measure`].
pub fn share_below(
    graph: &Graph,
    nodes: &[NodeId],
    thresholds: &[f64],
    images: &[Vec<f32>],
) -> Result<Vec<f64>, NnError> {
    let evaluator = Evaluator::<f32>::new(graph)?;
    let slots = slots(nodes);
    let counts = images
        .par_iter()
        .map(|image| {
            let mut own = vec![[0u64; 2]; nodes.len()];
            evaluator.run_observed(image, |id, values| {
                for &slot in slots.get(&id).into_iter().flatten() {
                    let positive = values.iter().filter(|&&v| v > 0.0);
                    let below = positive.clone().filter(|&&v| f64::from(v) < thresholds[slot]).count();
                    own[slot] = [below as u64, positive.count() as u64];
                }
            })?;
            Ok(own)
        })
        .try_reduce(
            || vec![[0; 2]; nodes.len()],
            |a, b| Ok(a.iter().zip(&b).map(|(x, y)| [x[0] + y[0], x[1] + y[1]]).collect()),
        )?;
    Ok(counts.into_iter().map(|[below, positive]| below as f64 / (positive as f64).max(1.0)).collect())
}

/// Where each node's figures go; one node may be asked for several times.
fn slots(nodes: &[NodeId]) -> BTreeMap<NodeId, Vec<usize>> {
    let mut slots: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
    for (slot, &node) in nodes.iter().enumerate() {
        slots.entry(node).or_default().push(slot);
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Linear, Op};

    #[test]
    fn the_share_below_a_threshold_is_counted_among_the_positive() {
        let mut graph = Graph::new("input", &[1, 4]).unwrap();
        let identity = Linear::per_channel("one", [1, 1], vec![1.0; 4], vec![0.0; 4]).unwrap();
        let id = graph.push("one", Op::Linear(identity), &[0]).unwrap();
        let images = [vec![-1.0, 0.5, 2.0, 0.0], vec![0.25, 0.75, 3.0, -0.1]];
        assert_eq!(share_below(&graph, &[id, id], &[1.0, 0.0], &images).unwrap(), [0.6, 0.0]);
        assert_eq!(share_below(&graph, &[id], &[1.0], &[vec![-1.0; 4]]).unwrap(), [0.0]);
        assert_eq!(measure(&graph, &[id, 0], &images).unwrap(), [3.0, 3.0]);
        assert!(measure(&graph, &[id], &[vec![0.0, f32::NAN, 1.0, 2.0]]).is_err());
        assert!(measure(&graph, &[id], &[vec![f32::INFINITY; 4]]).is_err());
    }
}
