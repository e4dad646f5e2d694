//! Calibration: how large a layer's outputs become.
//!
//! Two figures per layer, both for the outputs of the linear map before any pooling:
//!
//! - the *measured* one, the largest magnitude over sample images, in `f32`;
//! - the *static* one, interval arithmetic from the accepted input range through every layer, per channel: no accepted
//!   input can exceed it. It is loose by large factors on deep networks.
//!
//! Quantisation takes the smaller of (measured × margin) and the static bound, a 64th more as room for noise, and
//! twice that where differences of outputs are compared. Where the static bound fits in, no accepted input drives the
//! float network out of range, and the report says so; the errors of fixed point are not in that statement.

use rayon::prelude::*;

use crate::error::NnError;
use crate::evaluate::Evaluator;
use crate::graph::{Graph, Linear, NodeId};
use crate::lower::ChainLayer;

/// An interval of real values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Least value.
    pub low: f64,
    /// Greatest value.
    pub high: f64,
}

impl Interval {
    /// The largest magnitude in it.
    pub fn magnitude(&self) -> f64 {
        self.low.abs().max(self.high.abs())
    }
}

/// The largest |output| of the given nodes over all images.
///
/// # Errors
/// [`NnError::Input`] for an image of the wrong length; [`NnError::NotFinite`] if an image drives a node out of range.
pub fn measure(graph: &Graph, nodes: &[NodeId], images: &[Vec<f32>]) -> Result<Vec<f64>, NnError> {
    let evaluator = Evaluator::<f32>::new(graph)?;
    let largest = images
        .par_iter()
        .map(|image| {
            let mut own = vec![0f32; nodes.len()];
            evaluator.run_observed(image, |id, values| {
                if let Some(slot) = nodes.iter().position(|&node| node == id) {
                    // `max` would drop a NaN; adding keeps it.
                    own[slot] =
                        values.iter().fold(0.0, |m, v| if v.is_nan() { f32::NAN } else { m.max(v.abs()) });
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
    let counts = images
        .par_iter()
        .map(|image| {
            let mut own = vec![[0u64; 2]; nodes.len()];
            evaluator.run_observed(image, |id, values| {
                if let Some(slot) = nodes.iter().position(|&node| node == id) {
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

/// Bounds on |output| of every layer for inputs in the given intervals (one per input channel).
pub fn static_bounds(layers: &[ChainLayer], input: &[Interval]) -> Vec<f64> {
    let mut intervals = input.to_vec();
    let mut bounds = Vec::with_capacity(layers.len());
    for layer in layers {
        intervals = through(&layer.linear, &intervals);
        bounds.push(intervals.iter().map(Interval::magnitude).fold(0.0, f64::max));
        if layer.relu {
            // Pooling picks among a channel's values: the interval stays.
            for interval in &mut intervals {
                *interval = Interval { low: interval.low.max(0.0), high: interval.high.max(0.0) };
            }
        }
    }
    bounds
}

/// Output intervals per output channel of a linear map, given one interval per run of equal length of its inputs.
fn through(linear: &Linear, intervals: &[Interval]) -> Vec<Interval> {
    let geometry = &linear.geometry;
    let s = geometry.shape();
    let padded = s.padding != [0; 4];
    let taps = s.kernel[0] * s.kernel[1];
    let (group_in, group_out) = (geometry.group_inputs(), geometry.group_outputs());
    let rows = linear.weights.chunks(geometry.terms()).zip(&linear.bias).enumerate();
    rows.map(|(o, (row, &bias))| {
        let mut out = Interval { low: bias, high: bias };
        for (i, cell) in row.chunks(taps).enumerate() {
            // A flattened plane spreads each channel's interval over a run of inputs.
            let channel = (o / group_out * group_in + i) * intervals.len() / s.in_channels;
            let mut x = intervals[channel];
            if padded {
                x = Interval { low: x.low.min(0.0), high: x.high.max(0.0) };
            }
            for &w in cell {
                let (a, b) = (w * x.low, w * x.high);
                out.low += a.min(b);
                out.high += a.max(b);
            }
        }
        out
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Op;
    use crate::lower::{chain_graph, lower};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    #[test]
    fn no_image_exceeds_the_static_bound_and_a_single_layer_reaches_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let graph = crate::zoo::lenet(&mut rng).expect("fixed shapes");
        let (merged, _) = crate::pass::run(&graph).expect("runs");
        let layers = lower(&merged).expect("a chain");
        let (chain, ids) = chain_graph(&layers, &[1, 1, 28, 28]).expect("fits");
        let images: Vec<Vec<f32>> =
            (0..20).map(|_| (0..784).map(|_| (rng.next_u32() % 2) as f32 * 2.0 - 1.0).collect()).collect();
        let measured = measure(&chain, &ids, &images).expect("fits");
        let bounds = static_bounds(&layers, &[Interval { low: -1.0, high: 1.0 }]);
        println!("measured {measured:?}\nstatic {bounds:?}");
        assert!(measured.iter().zip(&bounds).all(|(m, b)| m <= b));

        let mut rng = ChaCha8Rng::seed_from_u64(12);
        let graph = crate::zoo::mlp(&[6, 1], &mut rng).expect("small");
        let layers = lower(&graph).expect("a chain");
        let (chain, ids) = chain_graph(&layers, &[1, 6]).expect("fits");
        let signs =
            |s: f64| layers[0].linear.weights.iter().map(|w| (s * w.signum()) as f32).collect::<Vec<f32>>();
        let worst = measure(&chain, &ids, &[signs(1.0), signs(-1.0)]).expect("fits")[0];
        let bound = static_bounds(&layers, &[Interval { low: -1.0, high: 1.0 }])[0];
        assert!((worst - bound).abs() < 1e-6, "{worst} {bound}");
        assert!(measure(&chain, &ids, &[vec![f32::INFINITY; 6]]).is_err());
    }

    #[test]
    fn the_share_below_a_threshold_is_counted_among_the_positive() {
        let mut graph = Graph::new("input", &[1, 4]).unwrap();
        let identity = Linear::per_channel("one", [1, 1], vec![1.0; 4], vec![0.0; 4]).unwrap();
        let id = graph.push("one", Op::Linear(identity), &[0]).unwrap();
        let images = [vec![-1.0, 0.5, 2.0, 0.0], vec![0.25, 0.75, 3.0, -0.1]];
        assert_eq!(share_below(&graph, &[id], &[1.0], &images).unwrap(), [0.6]);
        assert_eq!(share_below(&graph, &[id], &[0.0], &images).unwrap(), [0.0]);
        assert_eq!(share_below(&graph, &[id], &[1.0], &[vec![-1.0; 4]]).unwrap(), [0.0]);
    }
}
