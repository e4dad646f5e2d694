//! Activations whose argument's sign the static intervals prove: they do nothing, and go.
//!
//! A ReLU of what can't be negative is the identity; so are a leaky ReLU or a PReLU there, and a clip whose ends nothing
//! reaches. Only channels all of which are proven let a whole node go; a node of which some are proven becomes a mixed one
//! where at least a quarter of its channels is (each function is a step of its own).

use crate::calibrate::{Interval, intervals};
use crate::error::NnError;
use crate::graph::{Function, Graph, Op, Part};

/// Fewest of four channels that are proven before a node is split in two.
const QUARTER: usize = 4;

/// The graph without them; none if there are none.
pub(super) fn proven_signs(graph: &Graph, input: &[Interval]) -> Result<Option<Graph>, NnError> {
    let known = intervals(graph, input)?;
    let mut out = graph.clone();
    let mut changed = false;
    for (id, node) in graph.nodes().iter().enumerate() {
        let Op::Activation(function) = &node.op else { continue };
        let source = &known[node.inputs[0]];
        let proven: Vec<bool> = source.iter().map(|x| is_identity(function, *x)).collect();
        let count = proven.iter().filter(|&&p| p).count();
        if count == proven.len() {
            out.node_mut(id).op = Op::Identity;
            changed = true;
            continue;
        }
        let channels = match node.shape[..] {
            [1, channels, ..] => channels,
            _ => 0,
        };
        if proven.len() == channels && count * QUARTER >= channels && function.rows() == 1 {
            let side = |want: bool| (0..channels).filter(|&c| proven[c] == want).collect::<Vec<usize>>();
            out.node_mut(id).op = Op::Mixed(vec![
                Part { channels: side(true), function: Function::Identity },
                Part { channels: side(false), function: function.clone() },
            ]);
            changed = true;
        }
    }
    changed.then(|| out.rebuild()).transpose()
}

fn is_identity(function: &Function, x: Interval) -> bool {
    match function {
        Function::Relu | Function::Leaky { .. } | Function::PRelu { .. } => x.low >= 0.0,
        &Function::Clip { low, high } => x.low >= low && x.high <= high,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::run_f64;
    use crate::graph::Linear;

    #[test]
    fn only_what_is_proven_goes() {
        let mut graph = Graph::new("input", &[1, 2, 1, 2]).unwrap();
        let map = Linear::per_channel("map", [1, 2], vec![1.0, -1.0], vec![1.0, 0.0]).unwrap();
        graph.push("map", Op::Linear(map), &[0]).unwrap();
        graph.push("first", Op::Activation(Function::Relu), &[1]).unwrap();
        graph.push("second", Op::Activation(Function::Relu), &[2]).unwrap();
        let input = [Interval { low: -1.0, high: 1.0 }];
        let out = proven_signs(&graph, &input).unwrap().unwrap();
        assert!(matches!(out.node(2).op, Op::Mixed(_)) && matches!(out.node(3).op, Op::Identity));
        for x in [[-1.0, 1.0, 0.5, -0.5], [0.25, -0.75, 1.0, -1.0]] {
            assert_eq!(run_f64(&graph, &x).unwrap(), run_f64(&out, &x).unwrap());
        }
        // A wider input proves nothing of the first.
        let out = proven_signs(&graph, &[Interval { low: -1.1, high: 1.0 }]).unwrap().unwrap();
        assert!(matches!(out.node(2).op, Op::Activation(_)));
        let clip = Op::Activation(Function::Clip { low: 0.0, high: 1.0 });
        let mut graph = Graph::new("input", &[1, 3]).unwrap();
        graph.push("clip", clip, &[0]).unwrap();
        assert!(proven_signs(&graph, &[Interval { low: 0.0, high: 1.0 }]).unwrap().is_some());
        assert!(proven_signs(&graph, &[Interval { low: 0.0, high: 1.1 }]).unwrap().is_none());
    }
}
