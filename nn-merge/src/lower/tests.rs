//! Tests of lowering: programs evaluated over the reals, node by node, against the graphs they stem from.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::evaluate::{Evaluator, run_f64};
use crate::graph::{Diagonal, Function, Op, Part};
use crate::model::{PoolShape, SmoothName};
use crate::zoo::{self, Builder};

type Draw<'r> = Builder<'r, ChaCha8Rng>;

/// What every node of a program holds for an input: a raw one gain times its value.
fn run(program: &Program, input: &[f64]) -> Vec<Vec<f64>> {
    let mut values: Vec<Vec<f64>> = Vec::new();
    for node in &program.nodes {
        let source = |index: usize| values[node.inputs[index]].as_slice();
        let plane = node.shape[1] * node.shape[2];
        let made = match &node.op {
            ProgramOp::Input => input.to_vec(),
            ProgramOp::Linear(linear) => {
                assert!(program.nodes[node.inputs[0]].masked, "{} reads a raw tensor", node.name);
                let s = linear.geometry.shape();
                let shape = [1, s.in_channels, s.in_height, s.in_width];
                let mut graph = Graph::new("input", &shape).expect("small");
                graph.push("linear", Op::Linear(linear.clone()), &[0]).expect("fits");
                run_f64(&graph, source(0)).expect("fits")
            }
            ProgramOp::Sum => {
                let mut sum = vec![0.0; node.shape.iter().product()];
                for &input in &node.inputs {
                    let other = &program.nodes[input];
                    let factor = if other.masked { node.gain } else { 1.0 };
                    assert!(other.masked || other.gain == node.gain, "{} adds different gains", node.name);
                    sum.iter_mut().zip(&values[input]).for_each(|(s, v)| *s += factor * v);
                }
                sum
            }
            ProgramOp::Shift(shift) => {
                let shifted = |(e, v): (usize, &f64)| v + node.gain * shift[e / plane];
                source(0).iter().enumerate().map(shifted).collect()
            }
            ProgramOp::Activation(activation) => {
                let before = &program.nodes[node.inputs[0]];
                assert!(!before.masked, "{} reads a masked tensor", node.name);
                let argument: Vec<f64> = source(0).iter().map(|v| v / before.gain).collect();
                let argument = match &activation.pool {
                    Some(pool) => pool
                        .windows()
                        .map(|w| w.iter().map(|&i| argument[i]).fold(f64::NEG_INFINITY, f64::max))
                        .collect(),
                    None => argument,
                };
                apply(activation, &argument, plane)
            }
            ProgramOp::Scale(factors) => source(0)
                .iter()
                .enumerate()
                .map(|(e, v)| v * factors[if factors.len() == 1 { 0 } else { e / plane }])
                .collect(),
            ProgramOp::Local(op) => {
                let shapes: Vec<Shape> = node.inputs.iter().map(|&i| program.nodes[i].shape).collect();
                let all: Vec<f64> = node.inputs.iter().flat_map(|&i| values[i].iter().copied()).collect();
                op.index_map(&shapes).apply(&all, 0.0, |a, b| a + b)
            }
        };
        assert_eq!(made.len(), node.shape.iter().product::<usize>(), "{}", node.name);
        values.push(made);
    }
    values
}

fn apply(activation: &RealActivation, argument: &[f64], plane: usize) -> Vec<f64> {
    let mut out = argument.to_vec();
    let mut second = Vec::new();
    for part in &activation.parts {
        for &(first, count) in &part.channels {
            for e in first as usize * plane..(first + count) as usize * plane {
                let x = argument[e];
                out[e] = match &part.function {
                    RealFunction::Identity => x,
                    RealFunction::Relu => x.max(0.0),
                    RealFunction::Pair => {
                        second.push(x);
                        x.max(0.0)
                    }
                    RealFunction::Clip { low, high } => x.max(*low).min(*high),
                    RealFunction::Leaky { slope } => {
                        if x < 0.0 {
                            slope * x
                        } else {
                            x
                        }
                    }
                    RealFunction::Monic(rest) => rest.iter().rev().fold(1.0, |sum, c| sum * x + c),
                    RealFunction::HardSwish => x * (x + 3.0).clamp(0.0, 6.0),
                    RealFunction::Smooth(name) => name.function().value(x),
                };
                let pick = |values: &[f64]| values[if values.len() == 1 { 0 } else { e / plane }];
                out[e] = pick(&activation.factor) * out[e] + pick(&activation.shift);
            }
        }
    }
    out.extend(second);
    out
}

/// Lowers a graph as it is, and holds what activations and the output read to the graph's values.
fn check(graph: &Graph, pair: bool, rng: &mut ChaCha8Rng) -> Result<Program, NnError> {
    let program = lower(graph, LowerOptions { leaky_as_pair: pair, split_joins: !pair, input: None })?;
    let input: Vec<f64> =
        (0..graph.input_len()).map(|_| f64::from(rng.next_u32()) / 2f64.powi(31) - 1.0).collect();
    let mut known = vec![Vec::new(); graph.nodes().len()];
    Evaluator::<f64>::new(graph)?.run_observed(&input, |id, values| known[id] = values.to_vec())?;
    let got = run(&program, &input);
    // Others may hold a value in another order, between two local maps.
    for at in crate::quantize::read_raw(&program) {
        let (node, values) = (&program.nodes[at], &got[at]);
        let wanted = &known[node.value];
        let size = wanted.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        let worst = wanted.iter().zip(values).map(|(a, b)| (a - b / node.gain).abs()).fold(0.0, f64::max);
        assert!(
            worst < 1e-4 * size,
            "{} ({:?}): off by {worst} of {size}\n{graph:?}",
            node.name,
            node.inputs
        );
    }
    let gain = program.nodes[program.output].gain;
    let output: Vec<f64> = got[program.output].iter().map(|v| v / gain).collect();
    let wanted = &known[graph.output()];
    let size = wanted.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    assert!(output.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4 * size), "{graph:?}");
    Ok(program)
}

fn built(build: impl FnOnce(&mut Draw<'_>) -> Result<(), NnError>, pair: bool) -> Program {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut b = Builder::new(&[1, 2, 6, 6], &mut rng).expect("small");
    build(&mut b).expect("fits");
    let graph = b.finish();
    check(&graph, pair, &mut rng).expect("is lowered")
}

/// The operations of a program in short.
fn words(program: &Program) -> Vec<&'static str> {
    let word = |node: &ProgramNode| match &node.op {
        ProgramOp::Input => "input",
        ProgramOp::Linear(_) => "linear",
        ProgramOp::Sum => "sum",
        ProgramOp::Shift(_) => "shift",
        ProgramOp::Activation(a) if a.pool.is_some() => "pool",
        ProgramOp::Activation(a) => a.parts[0].function.name(),
        ProgramOp::Local(LocalOp::SumPool(_)) => "windows",
        ProgramOp::Local(_) => "local",
        ProgramOp::Scale(_) => "scale",
    };
    program.nodes.iter().map(word).collect()
}

fn window(channels: usize, side: usize) -> PoolGeometry {
    let (kernel, stride) = ([2, 2], [2, 2]);
    PoolGeometry::new(PoolShape {
        channels,
        in_height: side,
        in_width: side,
        kernel,
        stride,
        padding: [0; 4],
    })
    .expect("valid")
}

#[test]
fn random_graphs_keep_their_values() {
    let seed = crate::quantize::seed();
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut refused = 0;
    for trial in 0..400 {
        let graph = zoo::random(&mut rng).expect("made to fit");
        // Unmerged graphs have more forms than merged ones.
        let (merged, _) = crate::pass::run(&graph).expect("runs");
        let graph = crate::pass::without_softmax(&graph).expect("fits");
        for (graph, pair) in [(&merged, trial % 2 == 0), (&graph, trial % 2 == 1)] {
            if let Err(error) = check(graph, pair, &mut rng) {
                println!("trial {trial}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused < 80, "{refused} of 800 graphs were refused");
}

#[test]
fn a_residual_connection_is_one_sum() {
    let program = built(
        |b| {
            b.conv(2, 3, 1, 1, 1)?.relu()?;
            let short = b.last();
            b.conv(2, 3, 1, 1, 1)?;
            let long = b.last();
            let mut graph = b.graph().clone();
            let sum = graph.push("sum", Op::Add, &[long, short])?;
            graph.push("again", Op::Add, &[sum, short])?;
            b.replace(graph);
            b.relu()?.dense(3)?;
            Ok(())
        },
        false,
    );
    assert_eq!(words(&program), ["input", "linear", "ReLU", "linear", "sum", "ReLU", "linear"]);
    assert_eq!(program.nodes[4].inputs, [3, 2, 2]);
}

#[test]
fn linear_maps_in_a_row_are_lifted_and_activations_in_a_row_summed() {
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.conv(2, 3, 1, 1, 1).map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "identity", "linear"]);
    let clip = Op::Activation(Function::Clip { low: -0.5, high: 0.25 });
    let program = built(|b| b.op(clip)?.relu().map(drop), false);
    assert_eq!(words(&program), ["input", "sum", "clip", "sum", "ReLU", "sum"]);
}

#[test]
fn pools_join_their_neighbours() {
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.max_pool(2, 2, 0)?.relu()?.dense(3).map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "pool", "linear"]);
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.max_pool(2, 2, 0)?.dense(3).map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "pool", "linear"]);
    let average = |channels| Op::AveragePool { window: window(channels, 6), count_padding: false };
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.relu()?.op(average(2))?.dense(3).map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "ReLU", "windows", "scale", "linear"]);
    // Of a raw tensor the sums keep their gain.
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.op(average(2))?.relu()?.dense(3).map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "windows", "ReLU", "linear"]);
    assert_eq!(program.nodes[2].gain, 4.0);
}

#[test]
fn border_windows_of_fewer_cells_are_summands_of_their_own() {
    let padded =
        PoolShape { padding: [1; 4], kernel: [3, 3], stride: [1, 1], ..window(2, 6).shape().clone() };
    let average = || Op::AveragePool {
        window: PoolGeometry::new(padded.clone()).expect("valid"),
        count_padding: false,
    };
    let program =
        built(|b| b.conv(2, 3, 1, 1, 1)?.relu()?.op(average())?.conv(2, 3, 1, 1, 1).map(drop), false);
    let sum = program.nodes.iter().find(|node| node.op == ProgramOp::Sum).expect("a sum");
    assert_eq!(sum.inputs.len(), 9);
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.op(average())?.relu()?.dense(3).map(drop), false);
    assert_eq!(words(&program)[..3], ["input", "linear", "identity"]);
}

#[test]
fn slopes_go_into_the_weights() {
    let prelu = || Op::Activation(Function::PRelu { slopes: vec![0.25, -0.5] });
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.op(prelu())?.conv(3, 3, 1, 1, 1).map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "PReLU", "linear"]);
    assert_eq!(program.nodes[2].shape, [4, 6, 6]);
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.op(prelu())?.dense(3).map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "PReLU", "linear"]);
    // Other readers get them by a convolution of two channels each.
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.op(prelu())?.relu().map(drop), false);
    assert_eq!(words(&program)[2..], ["PReLU", "local", "local", "local", "linear", "ReLU", "sum"]);
    let leaky = || Op::Activation(Function::Leaky { slope: 0.125 });
    for (pair, word) in [(false, "leaky ReLU"), (true, "PReLU")] {
        let program = built(|b| b.conv(2, 3, 1, 1, 1)?.op(leaky())?.dense(3).map(drop), pair);
        assert_eq!(words(&program), ["input", "linear", word, "linear"]);
    }
}

#[test]
fn scales_become_units_and_offsets() {
    let scale = |scale: Vec<f64>, shift: Vec<f64>| Op::Scale(Diagonal { scale, shift });
    let program = built(
        |b| b.conv(2, 3, 1, 1, 1)?.relu()?.op(scale(vec![2.0, -1.0], vec![0.5, 0.0]))?.dense(3).map(drop),
        false,
    );
    assert_eq!(words(&program), ["input", "linear", "ReLU", "linear"]);
    let ProgramOp::Activation(activation) = &program.nodes[2].op else { panic!("an activation") };
    assert_eq!((&activation.factor[..], &activation.shift[..]), (&[2.0, -1.0][..], &[0.5, 0.0][..]));
    // On the input there is no offset: a convolution.
    let program = built(|b| b.op(scale(vec![2.0, 1.0], vec![0.5, 0.0]))?.relu().map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "ReLU", "sum"]);
    let program = built(|b| b.op(scale(vec![2.0, 4.0], vec![0.0; 2]))?.dense(2).map(drop), false);
    assert_eq!(words(&program), ["input", "scale", "linear"]);
}

#[test]
fn mixed_activations_and_joins_keep_their_units_apart() {
    let mixed = Op::Mixed(vec![
        Part { channels: vec![1], function: Function::Relu },
        Part {
            channels: vec![0],
            function: Function::Polynomial { coefficients: vec![vec![0.0, 1.0, 2.0]] },
        },
    ]);
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.op(mixed.clone())?.conv(2, 1, 1, 0, 1).map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "polynomial", "linear"]);
    // A sum wants one unit.
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.op(mixed)?.relu().map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "polynomial", "linear", "ReLU", "sum"]);
    // Rows of one channel from two activations: linear maps see them after a lift.
    let program = built(
        |b| {
            b.relu()?;
            let first = b.last();
            let mut graph = b.graph().clone();
            let second = graph.push("tanh", Op::Activation(Function::Smooth(SmoothName::Tanh)), &[0])?;
            graph.push("rows", Op::Concat { axis: 2 }, &[first, second])?;
            b.replace(graph);
            b.conv(2, 3, 1, 1, 1).map(drop)
        },
        false,
    );
    assert_eq!(words(&program).iter().filter(|w| **w == "identity").count(), 1, "{:?}", words(&program));
}

/// A ReLU, a cube and another ReLU of one tensor, joined.
fn join_of_degrees(b: &mut Draw<'_>) -> Result<NodeId, NnError> {
    b.conv(2, 3, 1, 1, 1)?;
    let raw = b.last();
    let cube = Function::Polynomial { coefficients: vec![vec![0.0, 0.5, 0.0, 1.0]] };
    let mut made = Vec::new();
    for function in [Function::Relu, cube, Function::Relu] {
        b.at(raw)?.activation(function)?;
        made.push(b.last());
    }
    let inner = b.push(Op::Concat { axis: 1 }, &made[..2])?.last();
    b.push(Op::Concat { axis: 1 }, &[inner, made[2]]).map(|b| b.last())
}

#[test]
fn maps_of_joins_are_split_by_degree() {
    let conv = built(|b| join_of_degrees(b).and_then(|_| b.conv(3, 3, 2, 1, 1)?.relu().map(drop)), false);
    let wanted =
        ["input", "linear", "ReLU", "polynomial", "ReLU", "local", "linear", "linear", "sum", "ReLU", "sum"];
    assert_eq!(words(&conv), wanted);
    assert_eq!(conv.nodes[5].inputs, [2, 4], "both ReLUs, and no join of all");
    // Behind sums over windows, as a flat map, and as planes laid out flat.
    let flat = built(|b| join_of_degrees(b).and_then(|_| b.global_average()?.dense(3).map(drop)), false);
    assert_eq!(words(&flat)[6..], ["windows", "scale", "linear", "windows", "scale", "linear", "sum"]);
    let planes = built(|b| join_of_degrees(b).and_then(|_| b.dense(3).map(drop)), false);
    assert_eq!(words(&planes)[5..], ["local", "linear", "linear", "sum"]);
    // One degree, or several groups: one map.
    let same = built(
        |b| {
            b.conv(2, 3, 1, 1, 1)?;
            let raw = b.last();
            let relu = b.relu()?.last();
            b.at(raw)?.activation(Function::Smooth(SmoothName::Tanh))?;
            let tanh = b.last();
            b.push(Op::Concat { axis: 1 }, &[relu, tanh])?.conv(3, 3, 1, 1, 1).map(drop)
        },
        false,
    );
    assert_eq!(words(&same)[4..], ["local", "linear"]);
    let grouped = built(|b| join_of_degrees(b).and_then(|_| b.conv(6, 3, 1, 1, 2).map(drop)), false);
    assert_eq!(words(&grouped).iter().filter(|word| **word == "linear").count(), 2, "{:?}", words(&grouped));
}

#[test]
fn a_shift_of_a_raw_tensor_is_a_bias() {
    let shift = || Op::Scale(Diagonal { scale: vec![1.0; 2], shift: vec![0.5, -2.0] });
    let program = built(|b| b.conv(2, 3, 1, 1, 1)?.op(shift())?.relu()?.dense(3).map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "shift", "ReLU", "linear"]);
    // With the gain of what it shifts.
    let program =
        built(|b| b.conv(2, 3, 1, 1, 1)?.average_pool(2, 2, 0, false)?.op(shift())?.relu().map(drop), false);
    assert_eq!(words(&program), ["input", "linear", "windows", "shift", "ReLU", "sum"]);
    assert_eq!(program.nodes[3].gain, 4.0);
}

#[test]
fn averages_beside_activations_do_not_take_their_bits() {
    let program = |read: bool, side: usize| {
        built(
            |b| {
                b.conv(2, 3, 1, 1, 1)?;
                let raw = b.last();
                b.activation(Function::Smooth(SmoothName::Tanh))?;
                let plain = b.last();
                b.at(if read { raw } else { plain })?.average_pool(side, side, 0, false)?;
                let average = b.last();
                b.at(plain)?.average_pool(side, side, 0, false)?.add(average)?.relu().map(drop)
            },
            false,
        )
    };
    let lifts = |program: &Program| words(program).iter().filter(|word| **word == "identity").count();
    // Of 36 cells, the sum would need room for 36 times what the tanh reads.
    let shared = program(true, 6);
    assert_eq!(lifts(&shared), 1, "{:?}", words(&shared));
    assert!(shared.nodes.iter().all(|node| node.gain == 1.0));
    // Two bits are not worth a round, and a masked tensor's sums cost none.
    assert!(program(true, 2).nodes.iter().any(|node| node.gain == 4.0));
    assert_eq!(lifts(&program(false, 6)), 0);
}

#[test]
fn what_has_no_private_form_is_named() {
    let refused = |build: &dyn Fn(&mut Draw<'_>) -> Result<(), NnError>| {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut b = Builder::new(&[1, 2, 6, 6], &mut rng).expect("small");
        build(&mut b).expect("fits");
        match lower(&b.finish(), LowerOptions::default()) {
            Err(error) => error.to_string(),
            Ok(program) => panic!("lowered to {:?}", words(&program)),
        }
    };
    let text = refused(&|b| b.relu()?.op(Op::Softmax)?.relu()?.dense(3).map(drop));
    assert!(text.contains("softmax"), "{text}");
    let text = refused(&|b| {
        let coefficients = vec![vec![0.0; 9].into_iter().chain([1.0]).collect()];
        b.op(Op::Activation(Function::Polynomial { coefficients }))?.dense(3).map(drop)
    });
    assert!(text.contains("degree 9"), "{text}");
}
