//! What a graph costs under the protocol: counts, and an estimate of bytes that the passes weigh against products.
//!
//! The estimate follows the default profile and shapes; the plan that the parties make later counts exactly.
//!
//! | what | bytes online | bytes in preprocessing | rounds |
//! |---|---|---|---|
//! | input | 5.75 per element | 2 per element | 1 |
//! | linear map | – | 24 bits · N per output polynomial | – |
//! | second and later readers of a tensor | – | 5.75 per element that is read | – |
//! | linear map of linear results (a lift between) | 6 per element | 4 per element | 1 |
//! | ReLU, leaky ReLU, PReLU | 37 per element | 9 per element | 3 |
//! | clip, hard sigmoid | 60 | 16 | 3 |
//! | square; each further degree | 12; 6 | 90; 150 | 1; 0 |
//! | hard swish; smooth functions | 75; 25 | 160; 400 | 4; 2 |
//! | a comparison of maximum pooling | 37 | 8 | 3 per level of the tournament |
//! | sums, average pooling, slices, joins, reshapes | – | – | – |
//!
//! Time: a byte counts as 8 ns, a product as 0.02 ns, a round as 1 ms.

use std::collections::BTreeSet;

use conv_fast::ConvGeometry;
use serde::Serialize;

use super::diagonal::is_free;
use crate::graph::{Function, Graph, NodeId, Op};

/// N of the default profile.
const DEGREE: usize = 2048;
/// Bytes of a reply per output polynomial.
const REPLY_BYTES: u64 = 3 * DEGREE as u64;
/// Quarters of a byte per element of an input or of a second reading.
const MASK_QUARTERS: u64 = 23;
const NS_PER_BYTE: f64 = 8.0;
const NS_PER_PRODUCT: f64 = 0.02;
const NS_PER_ROUND: f64 = 1e6;
/// Beyond this many steps, rows that a layer reads are not counted one by one.
const MAX_STEPS: usize = 1 << 20;

/// What one image costs, counted on a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Linear nodes: convolutions, fully connected layers, normalisations, scales that are not just units.
    pub linear_levels: u64,
    /// Multiplications with weights.
    pub products: u64,
    /// Additions in linear nodes, sums and average poolings.
    pub additions: u64,
    /// Levels of interaction: one per activation node, ⌈log2 cells⌉ per maximum pooling.
    pub activation_levels: u64,
    /// Activations of single values.
    pub activations: u64,
    /// Comparisons of maximum pooling.
    pub comparisons: u64,
    /// Round trips, estimated.
    pub rounds: u64,
    /// Bytes online, estimated.
    pub online_bytes: u64,
    /// Bytes in preprocessing, estimated.
    pub preprocessing_bytes: u64,
}

impl Cost {
    /// Counts the nodes of `graph`.
    pub fn of(graph: &Graph) -> Self {
        let raw = raw_tensors(graph);
        let consumers = graph.consumers();
        let mut cost = Self::default();
        let mut lifted = BTreeSet::new();
        let mut read = BTreeSet::new();
        for (id, node) in graph.nodes().iter().enumerate() {
            let elements = node.elements() as u64;
            match &node.op {
                Op::Input => {
                    cost.online_bytes += elements * MASK_QUARTERS / 4;
                    cost.preprocessing_bytes += 2 * elements;
                    cost.rounds += 1;
                }
                Op::Linear(linear) => {
                    cost.linear_levels += 1;
                    cost.products += linear.geometry.macs();
                    cost.additions += linear.geometry.macs();
                    cost.preprocessing_bytes += reply_bytes(&linear.geometry);
                    let source = node.inputs[0];
                    if raw[source] && lifted.insert(source) {
                        cost.lift(graph.node(source).elements() as u64);
                    }
                    let roots = roots(graph, source);
                    let all: u64 = roots.iter().map(|&r| graph.node(r).elements() as u64).sum();
                    let again: u64 = roots
                        .iter()
                        .filter(|&&r| !read.insert(r))
                        .map(|&r| graph.node(r).elements() as u64)
                        .sum();
                    cost.preprocessing_bytes +=
                        elements_read(&linear.geometry) * again / all.max(1) * MASK_QUARTERS / 4;
                }
                Op::Scale(diagonal) if !raw[id] && is_free(graph, &consumers, &raw, id, diagonal) => {}
                Op::BatchNorm(_) | Op::Scale(_) => {
                    cost.linear_levels += 1;
                    cost.products += elements;
                    cost.additions += elements;
                    if raw[id] && raw[node.inputs[0]] {
                        cost.lift(elements);
                    }
                }
                Op::AveragePool { window, .. } => cost.additions += window.comparisons(),
                Op::Activation(function) => {
                    cost.activation_levels += 1;
                    cost.activations += elements;
                    cost.function(function, elements);
                }
                Op::Mixed(parts) => {
                    cost.activation_levels += 1;
                    cost.activations += elements;
                    let channels = node.shape.get(1).copied().unwrap_or(1) as u64;
                    for part in parts {
                        cost.function(&part.function, elements / channels * part.channels.len() as u64);
                    }
                }
                Op::MaxPool(window) => {
                    let kernel = window.shape().kernel;
                    let levels = u64::from((kernel[0] * kernel[1]).next_power_of_two().trailing_zeros());
                    let comparisons = window.comparisons();
                    cost.activation_levels += levels;
                    cost.comparisons += comparisons;
                    cost.rounds += 3 * levels;
                    cost.online_bytes += 37 * comparisons;
                    cost.preprocessing_bytes += 8 * comparisons;
                }
                Op::Add => cost.additions += elements,
                _ => {}
            }
        }
        cost
    }

    fn lift(&mut self, elements: u64) {
        self.rounds += 1;
        self.online_bytes += 6 * elements;
        self.preprocessing_bytes += 4 * elements;
    }

    fn function(&mut self, function: &Function, elements: u64) {
        let (online, offline, rounds) = match function {
            Function::Identity => (6, 4, 1),
            Function::Relu | Function::Leaky { .. } | Function::PRelu { .. } => (37, 9, 3),
            Function::Clip { .. } | Function::HardSigmoid { .. } => (60, 16, 3),
            Function::HardSwish => (75, 160, 4),
            Function::Smooth(_) => (25, 400, 2),
            Function::Polynomial { coefficients } => {
                let degree = coefficients.iter().map(Vec::len).max().unwrap_or(0).max(3) as u64 - 1;
                (12 + 6 * (degree - 2), 90 + 150 * (degree - 2), 1)
            }
        };
        self.online_bytes += online * elements;
        self.preprocessing_bytes += offline * elements;
        self.rounds += rounds;
    }
}

/// For every node whether its tensor is raw (shared additively, the result of linear maps) rather than masked.
pub(super) fn raw_tensors(graph: &Graph) -> Vec<bool> {
    let mut raw = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let is_raw = match &node.op {
            Op::Linear(_) | Op::Add => true,
            Op::Input | Op::Activation(_) | Op::Mixed(_) | Op::MaxPool(_) => false,
            _ => node.inputs.iter().any(|&input| raw[input]),
        };
        raw.push(is_raw);
    }
    raw
}

/// The nodes whose elements `id` shows: itself, or what lies before it through maps that move elements.
fn roots(graph: &Graph, id: NodeId) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut stack = vec![id];
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = graph.node(id);
        match &node.op {
            Op::Identity | Op::Dropout | Op::Scale(_) | Op::BatchNorm(_) | Op::AveragePool { .. } => {
                stack.extend(&node.inputs);
            }
            op if op.moves() => stack.extend(&node.inputs),
            _ => {
                found.insert(id);
            }
        }
    }
    found
}

/// Bytes of the preprocessing replies of a linear map, in a plain coefficient layout: as many outputs share a polynomial as
/// leave room for their inputs; planes above N are cut.
pub(super) fn reply_bytes(geometry: &ConvGeometry) -> u64 {
    let s = geometry.shape();
    let rows = s.in_height + s.padding[0] + s.padding[2];
    let columns = s.in_width + s.padding[1] + s.padding[3];
    let (read_rows, read_columns) = match s.kernel {
        [1, 1] => (rows.div_ceil(s.stride[0]), columns.div_ceil(s.stride[1])),
        _ => (rows, columns),
    };
    let plane = read_rows * read_columns;
    let phases = match s.kernel {
        [1, 1] => 1,
        _ => s.stride[0] * s.stride[1],
    };
    let tiles = plane.div_ceil(DEGREE * phases);
    let shared = (DEGREE / (geometry.group_inputs() * plane.min(DEGREE))).max(1);
    (tiles * s.out_channels.div_ceil(shared)) as u64 * REPLY_BYTES
}

/// Time for one linear map: its replies and its products.
pub(super) fn linear_ns(geometry: &ConvGeometry) -> f64 {
    reply_bytes(geometry) as f64 * NS_PER_BYTE + geometry.macs() as f64 * NS_PER_PRODUCT
}

/// Time for a lift between two linear maps.
pub(super) fn lift_ns(elements: usize) -> f64 {
    elements as f64 * 10.0 * NS_PER_BYTE + NS_PER_ROUND
}

/// Time for what a linear map costs more if it is not the first reader of its input.
pub(super) fn second_reader_ns(geometry: &ConvGeometry) -> f64 {
    elements_read(geometry) as f64 * MASK_QUARTERS as f64 / 4.0 * NS_PER_BYTE
}

/// Elements of the input that some output reads.
fn elements_read(geometry: &ConvGeometry) -> u64 {
    let s = geometry.shape();
    let axis = |axis: usize, size: usize, outputs: usize| {
        if outputs.saturating_mul(s.kernel[axis]) > MAX_STEPS {
            return size;
        }
        let mut rows = vec![false; size];
        for start in (0..outputs).map(|o| o * s.stride[axis]) {
            for tap in 0..s.kernel[axis] {
                let row = (start + tap * s.dilation[axis]).checked_sub(s.padding[axis]);
                if let Some(mark) = row.and_then(|row| rows.get_mut(row)) {
                    *mark = true;
                }
            }
        }
        rows.into_iter().filter(|&mark| mark).count()
    };
    let rows = axis(0, s.in_height, geometry.out_height());
    let columns = axis(1, s.in_width, geometry.out_width());
    (s.in_channels * rows * columns) as u64
}
