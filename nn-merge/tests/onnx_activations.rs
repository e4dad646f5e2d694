//! Activations on import: as one operator, and spelled out as several.

mod common;

use common::writer::{Onnx, float, text};
use nn_merge::evaluate::run_f64;
use nn_merge::graph::{Function, Op};
use nn_merge::model::SmoothName;
use proptest::prelude::*;

/// Points on both sides of every kink.
fn points() -> Vec<f64> {
    (0..24).map(|i| f64::from(i) * 0.53 - 6.1).collect()
}

fn model() -> Onnx {
    Onnx::new(&[1, 4, 3, 2]).opset(20)
}

/// The error function by Simpson's rule.
fn erf(x: f64) -> f64 {
    let steps = 4000;
    let h = x / f64::from(steps);
    let f = |i: i32| (-(f64::from(i) * h).powi(2)).exp();
    let inner: f64 = (1..steps).map(|i| f64::from(2 + 2 * (i % 2)) * f(i)).sum();
    (f(0) + inner + f(steps)) * h / 3.0 * 2.0 / std::f64::consts::PI.sqrt()
}

fn gelu(x: f64) -> f64 {
    x * 0.5 * (1.0 + erf(x / 2f64.sqrt()))
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn agrees(model: Onnx, wanted: impl Fn(f64) -> f64, what: &str) {
    let input = points();
    let ours = model.run(&input);
    for (x, y) in input.iter().zip(&ours) {
        // Attributes and constants are single precision.
        assert!((y - wanted(*x)).abs() < 2e-6 * (1.0 + wanted(*x).abs()), "{what}({x}) = {y}");
    }
}

#[test]
fn one_operator_each() {
    let one = |operator: &str, attributes| model().node(operator, &["_"], attributes);
    let elu = |a: f64, x: f64| if x < 0.0 { a * (x.exp() - 1.0) } else { x };
    agrees(one("Relu", vec![]), |x| x.max(0.0), "relu");
    agrees(one("LeakyRelu", vec![]), |x| if x < 0.0 { 0.01 * x } else { x }, "leaky");
    agrees(one("LeakyRelu", vec![float("alpha", 0.25)]), |x| if x < 0.0 { 0.25 * x } else { x }, "leaky");
    agrees(one("HardSigmoid", vec![]), |x| (0.2 * x + 0.5).clamp(0.0, 1.0), "hard sigmoid");
    agrees(one("HardSwish", vec![]), |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0, "hard swish");
    agrees(one("Sigmoid", vec![]), sigmoid, "sigmoid");
    agrees(one("Tanh", vec![]), f64::tanh, "tanh");
    agrees(one("Softplus", vec![]), |x| (1.0 + x.exp()).ln(), "softplus");
    agrees(one("Exp", vec![]), f64::exp, "exp");
    agrees(one("Gelu", vec![]), gelu, "gelu");
    agrees(one("Gelu", vec![text("approximate", "tanh")]), gelu_tanh, "gelu-tanh");
    agrees(one("Elu", vec![]), |x| elu(1.0, x), "elu");
    agrees(one("Elu", vec![float("alpha", 0.5)]), |x| elu(0.5, x), "elu");
    agrees(
        one("Celu", vec![float("alpha", 2.0)]),
        |x| elu(2.0, x / 2.0 * if x < 0.0 { 1.0 } else { 2.0 }),
        "celu",
    );
    agrees(one("Selu", vec![]), |x| 1.050_700_98 * elu(1.673_263_2, x), "selu");
    agrees(one("Neg", vec![]), |x| -x, "neg");
    agrees(model().scalar("e", 3.0).node("Pow", &["_", "e"], vec![]), |x| x.powi(3), "pow");
}

#[test]
fn clips_in_all_forms() {
    let clip = |x: f64| x.clamp(0.0, 6.0);
    let inputs = model().scalar("low", 0.0).scalar("high", 6.0);
    agrees(inputs.node("Clip", &["_", "low", "high"], vec![]), clip, "clip");
    let attributes = vec![float("min", 0.0), float("max", 6.0)];
    agrees(model().opset(10).node("Clip", &["_"], attributes), clip, "clip");
    let pair = model().scalar("low", 0.0).scalar("high", 6.0);
    agrees(pair.node("Max", &["low", "_"], vec![]).node("Min", &["_", "high"], vec![]), clip, "max, min");
    let above = model().scalar("high", 1.0).node("Clip", &["_", "", "high"], vec![]);
    agrees(above, |x| x.min(1.0), "one-sided");
    // An open upper end makes a ReLU, however it is written.
    for high in [f32::MAX, f32::INFINITY] {
        let open =
            model().scalar("low", 0.0).scalar("high", high).node("Clip", &["_", "low", "high"], vec![]);
        assert!(matches!(open.graph().node(1).op, Op::Activation(Function::Relu)));
    }
    let crossed = model().scalar("low", 1.0).scalar("high", 0.0).node("Clip", &["_", "low", "high"], vec![]);
    assert!(crossed.error().contains("clip to [1, 0]"));
    let nan = model().scalar("low", f32::NAN).node("Clip", &["_", "low"], vec![]);
    assert!(nan.error().contains("NaN"));
}

#[test]
fn slopes_per_channel_and_per_element() {
    let slope = |i: usize| i as f32 * 0.25;
    let input = points();
    let wanted = |by: fn(usize) -> usize| -> Vec<f64> {
        let leaky = |(i, &x): (usize, &f64)| if x < 0.0 { x * f64::from(slope(by(i))) } else { x };
        input.iter().enumerate().map(leaky).collect()
    };
    let channel = model().weight("s", &[4, 1, 1], slope).node("PRelu", &["_", "s"], vec![]);
    assert_eq!(channel.run(&input), wanted(|i| i / 6));
    let element = model().weight("s", &[4, 3, 2], slope).node("PRelu", &["_", "s"], vec![]);
    assert_eq!(element.run(&input), wanted(|i| i));
}

/// The functions of an imported graph, and its number of nodes.
fn functions(model: Onnx) -> (Vec<Function>, usize) {
    let graph = model.graph();
    let of = |op: &Op| match op {
        Op::Activation(function) => Some(function.clone()),
        _ => None,
    };
    (graph.nodes().iter().filter_map(|node| of(&node.op)).collect(), graph.nodes().len())
}

#[test]
fn gelu_spelled_out_is_one_activation() {
    let constants = || {
        model()
            .scalar("root", 2f32.sqrt())
            .scalar("1/root", 0.5f32.sqrt())
            .scalar("1", 1.0)
            .scalar("1/2", 0.5)
    };
    let erf_of = |m: Onnx| m.node("Div", &["x", "root"], vec![]).node("Erf", &["_"], vec![]);
    let forms: [fn(Onnx) -> Onnx; 3] = [
        |m| {
            m.node("Add", &["_", "1"], vec![]).node("Mul", &["x", "_"], vec![]).node(
                "Mul",
                &["_", "1/2"],
                vec![],
            )
        },
        |m| {
            m.node("Mul", &["1/2", "_"], vec![]).node("Add", &["1/2", "_"], vec![]).node(
                "Mul",
                &["_", "x"],
                vec![],
            )
        },
        |m| {
            m.node("Mul", &["_", "x"], vec![]).node("Add", &["x", "_"], vec![]).node(
                "Mul",
                &["_", "1/2"],
                vec![],
            )
        },
    ];
    for form in forms {
        agrees(form(erf_of(constants())), gelu, "gelu");
        assert_eq!(functions(form(erf_of(constants()))), (vec![Function::Smooth(SmoothName::Gelu)], 2));
    }
    let tanh_form = || {
        model()
            .scalar("k", 0.044715)
            .scalar("c", (2.0 / std::f32::consts::PI).sqrt())
            .scalar("1", 1.0)
            .scalar("1/2", 0.5)
            .scalar("3", 3.0)
            .node("Pow", &["x", "3"], vec![])
            .node("Mul", &["_", "k"], vec![])
            .node("Add", &["x", "_"], vec![])
            .node("Mul", &["c", "_"], vec![])
            .node("Tanh", &["_"], vec![])
            .node("Add", &["_", "1"], vec![])
            .node("Mul", &["x", "1/2"], vec![])
            .node("Mul", &["_", "t5"], vec![])
    };
    agrees(tanh_form(), gelu_tanh, "gelu-tanh");
    assert_eq!(functions(tanh_form()), (vec![Function::Smooth(SmoothName::GeluTanh)], 2));
    // The error function by itself, and a product that is no activation of the list, are refused by name.
    let bare = erf_of(constants()).error();
    assert!(bare.contains("Erf") && bare.contains("node t1") && bare.contains("GELU"), "{bare}");
    let odd = erf_of(constants()).node("Mul", &["_", "x"], vec![]).error();
    assert!(odd.contains("Mul") && odd.contains("node t2"), "{odd}");
    let unused = erf_of(constants()).node("Relu", &["x"], vec![]);
    assert_eq!(functions(unused), (vec![Function::Relu], 2), "what the output does not need may be anything");
}

#[test]
fn gated_forms_are_one_activation() {
    let silu = || model().node("Sigmoid", &["_"], vec![]).node("Mul", &["x", "_"], vec![]);
    agrees(silu(), |x| x * sigmoid(x), "silu");
    assert_eq!(functions(silu()), (vec![Function::Smooth(SmoothName::Silu)], 2));
    let quick = model().scalar("c", 1.702).node("Mul", &["_", "c"], vec![]).node("Sigmoid", &["_"], vec![]);
    agrees(quick.node("Mul", &["_", "x"], vec![]), |x| x * sigmoid(1.702 * x), "quick gelu");
    let hard = |x: f64| x * (x + 3.0).clamp(0.0, 6.0) / 6.0;
    let by_sigmoid = || {
        let attributes = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
        model().node("HardSigmoid", &["_"], attributes).node("Mul", &["x", "_"], vec![])
    };
    agrees(by_sigmoid(), hard, "hard swish");
    assert_eq!(functions(by_sigmoid()), (vec![Function::HardSwish], 2));
    let by_clip = || {
        model()
            .scalar("0", 0.0)
            .scalar("3", 3.0)
            .scalar("6", 6.0)
            .node("Add", &["x", "3"], vec![])
            .node("Clip", &["_", "0", "6"], vec![])
            .node("Mul", &["x", "_"], vec![])
            .node("Div", &["_", "6"], vec![])
    };
    agrees(by_clip(), hard, "hard swish");
    assert_eq!(functions(by_clip()).0, [Function::HardSwish]);
    // A gate computed from something else is not an activation.
    let foreign =
        model().node("Relu", &["_"], vec![]).node("Sigmoid", &["_"], vec![]).node("Mul", &["x", "_"], vec![]);
    let foreign = foreign.error();
    assert!(foreign.contains("squeeze-and-excitation"), "{foreign}");
}

#[test]
fn a_residual_sum_stays_a_sum() {
    let residual = model().node("Sigmoid", &["_"], vec![]).node("Add", &["x", "_"], vec![]);
    let graph = residual.graph();
    assert!(matches!(graph.node(graph.output()).op, Op::Add));
}

/// An expression of x, built in step with its ONNX nodes.
#[derive(Clone, Debug)]
enum Step {
    Constant(&'static str, f32),
    PerChannel([f32; 4]),
    Combine(&'static str, usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = (-16..16i32).prop_map(|v| v as f32 / 8.0);
    let constant = (prop::sample::select(vec!["Add", "Sub", "Mul"]), number.clone())
        .prop_map(|(op, c)| Step::Constant(op, c));
    let channel = prop::array::uniform4(number).prop_map(Step::PerChannel);
    let combine = (prop::sample::select(vec!["Add", "Sub", "Mul"]), 0..9usize, 0..9usize)
        .prop_map(|(op, a, b)| Step::Combine(op, a, b));
    prop::collection::vec(prop_oneof![constant, channel, combine], 1..7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn polynomials_in_any_order(steps in steps()) {
        let input: Vec<f64> = (0..24).map(|i| f64::from(i % 7) * 0.5 - 1.5).collect();
        let mut model = model();
        let mut values = vec![input.clone()];
        let mut degrees = vec![1];
        let name = |i: usize| if i == 0 { "x".to_string() } else { format!("t{}", i - 1) };
        for (index, step) in steps.iter().enumerate() {
            let weight = format!("w{index}");
            let last = values.len() - 1;
            match step {
                Step::Constant(op, c) => {
                    model = model.scalar(&weight, *c).node(op, &[&name(last), &weight], vec![]);
                    let c = f64::from(*c);
                    let apply = |v: &f64| match *op { "Add" => v + c, "Sub" => v - c, _ => v * c };
                    values.push(values[last].iter().map(apply).collect());
                    degrees.push(degrees[last]);
                }
                Step::PerChannel(c) => {
                    model = model.weight(&weight, &[4, 1, 1], |i| c[i]).node("Mul", &[&weight, &name(last)], vec![]);
                    values.push(values[last].iter().enumerate().map(|(i, v)| v * f64::from(c[i / 6])).collect());
                    degrees.push(degrees[last]);
                }
                Step::Combine(op, a, b) => {
                    let (a, b) = (a % values.len(), b % values.len());
                    model = model.node(op, &[&name(a), &name(b)], vec![]);
                    let pairs = values[a].iter().zip(&values[b]);
                    values.push(pairs.map(|(x, y)| match *op { "Add" => x + y, "Sub" => x - y, _ => x * y }).collect());
                    degrees.push(if *op == "Mul" { degrees[a] + degrees[b] } else { degrees[a].max(degrees[b]) });
                }
            }
        }
        prop_assume!(*degrees.iter().max().expect("not empty") <= 8);
        let expected = values.last().expect("not empty");
        let graph = nn_merge::onnx::import(&model.bytes()).unwrap_or_else(|e| panic!("{e}"));
        let ours = run_f64(&graph, &input).expect("right length");
        let size = expected.iter().fold(1.0f64, |top, v| top.max(v.abs()));
        prop_assert!(common::distance(&ours, expected) < 1e-9 * size, "{graph:?}");
    }
}
