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

/// What [`measure`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The largest |output| of every node asked for, over all images but the wild ones.
    pub largest: Vec<f64>,
    /// Indices of the images that were left out.
    pub wild: Vec<usize>,
}

/// Beyond this many times what nine of ten images reach at some node, an image is wild.
const WILD: f32 = 64.0;

/// The largest |output| of the given nodes over the images.
///
/// With `tame`, images that drive some node far beyond (64 times) what nine of ten images reach are left out: a network that
/// explodes on them, as deep polynomial ones can, has no use there, and a scale that made room for them would leave
/// nothing of the others. They will overflow.
///
/// # Errors
/// [`NnError::Input`] for an image of the wrong length; [`NnError::NotFinite`] if an image that counts drives a node out of
/// range.
pub fn measure(
    graph: &Graph,
    nodes: &[NodeId],
    images: &[Vec<f32>],
    tame: bool,
) -> Result<Measured, NnError> {
    let evaluator = Evaluator::<f32>::new(graph)?;
    let slots = slots(nodes);
    let each: Vec<Vec<f32>> = images
        .par_iter()
        .map(|image| {
            let mut own = vec![0f32; nodes.len()];
            evaluator.run_observed(image, |id, values| {
                if let Some(own_slots) = slots.get(&id) {
                    // `max` would drop a NaN.
                    let peak = values.iter().fold(0.0f32, |m, v| {
                        if v.is_nan() || m.is_nan() { f32::NAN } else { m.max(v.abs()) }
                    });
                    own_slots.iter().for_each(|&slot| own[slot] = peak);
                }
            })?;
            Ok(own)
        })
        .collect::<Result<_, NnError>>()?;
    let ordinary: Vec<f32> = (0..nodes.len())
        .map(|slot| {
            let mut peaks: Vec<f32> = each.iter().map(|own| own[slot]).collect();
            // NaNs last.
            peaks.sort_by(f32::total_cmp);
            peaks.get((peaks.len() * 9 / 10).min(peaks.len().saturating_sub(1))).copied().unwrap_or(0.0)
        })
        .collect();
    let is_wild = |own: &[f32]| {
        let far = |(&v, &usual): (&f32, &f32)| usual.is_finite() && (v.is_nan() || v > WILD * usual);
        tame && own.iter().zip(&ordinary).any(far)
    };
    let wild: Vec<usize> = (0..each.len()).filter(|&index| is_wild(&each[index])).collect();
    let mut largest = vec![0f64; nodes.len()];
    for (_, own) in each.iter().enumerate().filter(|(index, _)| !wild.contains(index)) {
        for ((slot, &v), node) in largest.iter_mut().zip(own).zip(nodes) {
            if !v.is_finite() {
                return Err(NnError::NotFinite { tensor: graph.node(*node).name.clone() });
            }
            *slot = slot.max(f64::from(v));
        }
    }
    Ok(Measured { largest, wild })
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
        let measured = measure(&graph, &[id, 0], &images, true).unwrap();
        assert_eq!(measured, Measured { largest: vec![3.0, 3.0], wild: vec![] });
        assert!(measure(&graph, &[id], &[vec![0.0, f32::NAN, 1.0, 2.0]], true).is_err());
        assert!(measure(&graph, &[id], &[vec![f32::INFINITY; 4]], true).is_err());
    }

    #[test]
    fn wild_images_are_left_out_only_if_asked() {
        let graph = Graph::new("input", &[1, 2]).unwrap();
        let mut images: Vec<Vec<f32>> = (0..40).map(|i| vec![1.0 + i as f32 / 16.0, 0.0]).collect();
        images[3] = vec![0.0, -1000.0];
        images[7] = vec![f32::NAN, 0.0];
        let measured = measure(&graph, &[0], &images, true).unwrap();
        assert_eq!((measured.wild, measured.largest), (vec![3, 7], vec![1.0 + 39.0 / 16.0]));
        assert!(measure(&graph, &[0], &images, false).is_err());
        images.remove(7);
        assert_eq!(measure(&graph, &[0], &images, false).unwrap().largest, [1000.0]);
        // Half of the images are no exception.
        let halves: Vec<Vec<f32>> = (0..20).map(|i| vec![if i % 2 == 0 { 1.0 } else { 1e6 }, 0.0]).collect();
        assert_eq!(measure(&graph, &[0], &halves, true).unwrap().largest, [1e6]);
    }
}
