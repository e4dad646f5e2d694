//! Linear maps, pooling, movement, folding and side files on import, against values computed here.

mod common;

use common::writer::{Onnx, float, int, ints, ramp, text};
use nn_merge::evaluate::run_f64;
use nn_merge::graph::{Function, Graph, Op, Part};
use nn_merge::onnx::{SafeTensors, import_with};
use rten_onnx::onnx::{AttributeProto, DataLocation, DataType, StringStringEntryProto, TensorProto};

fn w(i: usize) -> f32 {
    (i * 5 % 13) as f32 - 6.0
}

#[test]
fn convolutions_over_one_axis_and_in_groups() {
    // 4 channels in 2 groups, 9 columns, kernel 3, stride 2, dilation 2, padding 1 and 3.
    let model = Onnx::new(&[1, 4, 9]).weight("w", &[6, 2, 3], w).weight("b", &[6], |i| i as f32).node(
        "Conv",
        &["_", "w", "b"],
        vec![int("group", 2), ints("strides", &[2]), ints("dilations", &[2]), ints("pads", &[1, 3])],
    );
    let input = ramp(36);
    let mut expected = Vec::new();
    for o in 0..6 {
        for x in 0..5 {
            let mut sum = o as f64;
            for (c, k) in (0..2).flat_map(|c| (0..3).map(move |k| (c, k))) {
                let column = x * 2 + k * 2;
                if (1..10).contains(&column) {
                    sum += f64::from(w((o * 2 + c) * 3 + k)) * input[(o / 3 * 2 + c) * 9 + column - 1];
                }
            }
            expected.push(sum);
        }
    }
    assert_eq!(model.graph().nodes().last().map(|n| n.shape.clone()), Some(vec![1, 6, 5]));
    let model = Onnx::new(&[1, 4, 9]).weight("w", &[6, 2, 3], w).weight("b", &[6], |i| i as f32).node(
        "Conv",
        &["_", "w", "b"],
        vec![int("group", 2), ints("strides", &[2]), ints("dilations", &[2]), ints("pads", &[1, 3])],
    );
    assert_eq!(model.run(&input), expected);
    let cube = Onnx::new(&[1, 1, 3, 3, 3]).weight("w", &[1, 1, 1, 1, 1], w).node("Conv", &["_", "w"], vec![]);
    assert!(cube.error().contains("1xCxHxW"));
}

#[test]
fn products_of_many_rows() {
    let input = ramp(15);
    let right: Vec<f64> = (0..5)
        .flat_map(|t| (0..4).map(move |o| (t, o)))
        .map(|(t, o)| (0..3).map(|i| input[t * 3 + i] * f64::from(w(i * 4 + o))).sum())
        .collect();
    let matmul = || Onnx::new(&[1, 5, 3]).weight("w", &[3, 4], w).node("MatMul", &["_", "w"], vec![]);
    assert_eq!(matmul().run(&input), right);
    // A bias behind it goes in front of the transpose that puts the rows back.
    let biased = matmul().weight("b", &[4], |i| i as f32).node("Add", &["_", "b"], vec![]);
    let graph = biased.graph();
    let scale = graph.nodes().iter().find(|n| matches!(n.op, Op::Scale(_))).expect("a bias");
    assert_eq!(scale.shape[..2], [1, 4]);
    let with_bias: Vec<f64> = right.iter().enumerate().map(|(i, v)| v + (i % 4) as f64).collect();
    assert_eq!(run_f64(&graph, &input).expect("fits"), with_bias);
    let left: Vec<f64> = (0..4)
        .flat_map(|o| (0..3).map(move |t| (o, t)))
        .map(|(o, t)| (0..5).map(|i| f64::from(w(o * 5 + i)) * input[i * 3 + t]).sum())
        .collect();
    let model = Onnx::new(&[1, 5, 3]).weight("w", &[4, 5], w).node("MatMul", &["w", "_"], vec![]);
    assert_eq!(model.run(&input), left);
    let two = Onnx::new(&[1, 4]).node("Relu", &["_"], vec![]).node("MatMul", &["x", "_"], vec![]).error();
    assert!(two.contains("attention"), "{two}");
}

#[test]
fn gemm_with_every_attribute() {
    let input = ramp(6);
    let model = Onnx::new(&[1, 6])
        .integers("s", &[3, 2])
        .weight("w", &[4, 3], w)
        .weight("c", &[2, 4], |i| i as f32)
        .node("Reshape", &["_", "s"], vec![])
        .node(
            "Gemm",
            &["_", "w", "c"],
            vec![int("transA", 1), int("transB", 1), float("alpha", 0.5), float("beta", 2.0)],
        );
    let expected: Vec<f64> = (0..2)
        .flat_map(|r| (0..4).map(move |o| (r, o)))
        .map(|(r, o)| {
            let product: f64 = (0..3).map(|i| input[i * 2 + r] * f64::from(w(o * 3 + i))).sum();
            0.5 * product + 2.0 * (r * 4 + o) as f64
        })
        .collect();
    assert_eq!(model.run(&input), expected);
}

#[test]
fn averages_with_declared_padding_and_ceiling() {
    // 1×1×1×5, kernel 2, stride 2, padding 1 in front: windows {p,0} {1,2} {3,4}; ceiling mode adds nothing.
    let attributes = |ceil: i64, include: i64, pads: &[i64]| {
        let window = vec![ints("kernel_shape", &[1, 2]), ints("strides", &[1, 2]), ints("pads", pads)];
        [window, vec![int("ceil_mode", ceil), int("count_include_pad", include)]].concat()
    };
    let run = |ceil, include, pads: &[i64]| {
        let model = Onnx::new(&[1, 1, 1, 5]).node("AveragePool", &["_"], attributes(ceil, include, pads));
        model.run(&[2.0, 4.0, 6.0, 8.0, 10.0])
    };
    assert_eq!(run(0, 0, &[0, 1, 0, 0]), [2.0, 5.0, 9.0]);
    assert_eq!(run(0, 1, &[0, 1, 0, 0]), [1.0, 5.0, 9.0]);
    // Without padding the last window reaches over the edge: its one cell counts alone, declared padding or not.
    assert_eq!(run(1, 0, &[0; 4]), [3.0, 7.0, 10.0]);
    assert_eq!(run(1, 1, &[0; 4]), [3.0, 7.0, 10.0]);
    assert_eq!(run(1, 1, &[0, 1, 0, 1]), [1.0, 5.0, 9.0]);
    let dilated = vec![ints("kernel_shape", &[1, 2]), ints("dilations", &[1, 2])];
    let error = Onnx::new(&[1, 1, 1, 5]).node("MaxPool", &["_"], dilated).error();
    assert!(error.contains("dilated pooling") && error.contains("MaxPool"), "{error}");
}

#[test]
fn reductions_over_any_axes() {
    let input = ramp(24);
    let at = |c: usize, y: usize, x: usize| input[(c * 3 + y) * 4 + x];
    let mean = |axes: &[i64], keep| {
        let model = Onnx::new(&[1, 2, 3, 4]).opset(13);
        model.node("ReduceMean", &["_"], vec![ints("axes", axes), int("keepdims", keep)])
    };
    let spatial: Vec<f64> =
        (0..2).map(|c| (0..12).map(|i| at(c, i / 4, i % 4)).sum::<f64>() / 12.0).collect();
    assert_eq!(mean(&[2, 3], 1).run(&input), spatial);
    assert_eq!(mean(&[-1, -2], 0).graph().nodes().last().map(|n| n.shape.clone()), Some(vec![1, 2]));
    let rows: Vec<f64> = (0..8).map(|i| (0..3).map(|y| at(i / 4, y, i % 4)).sum::<f64>()).collect();
    let sum = Onnx::new(&[1, 2, 3, 4]).integers("a", &[2]).node("ReduceSum", &["_", "a"], vec![]).run(&input);
    assert!(common::distance(&sum, &rows) < 1e-12);
    let top: Vec<f64> = (0..12).map(|i| at(0, i / 4, i % 4).max(at(1, i / 4, i % 4))).collect();
    let model = Onnx::new(&[1, 2, 3, 4]).node("ReduceMax", &["_"], vec![ints("axes", &[1])]);
    assert_eq!(model.run(&input), top);
}

#[test]
fn slices_splits_and_picks() {
    let input: Vec<f64> = (0..12).map(f64::from).collect();
    let model = || Onnx::new(&[1, 3, 4]);
    let slice = |start: i64, end: i64, axis: i64, step: i64| {
        let m = model()
            .integers("s", &[start])
            .integers("e", &[end])
            .integers("a", &[axis])
            .integers("t", &[step]);
        m.node("Slice", &["_", "s", "e", "a", "t"], vec![]).run(&input)
    };
    assert_eq!(slice(1, i64::MAX, 2, 2), [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
    assert_eq!(slice(-1, i64::MIN, 1, -2), [8.0, 9.0, 10.0, 11.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(slice(-3, -1, -1, 1), [1.0, 2.0, 5.0, 6.0, 9.0, 10.0]);
    let old = model().opset(9).node(
        "Slice",
        &["_"],
        vec![ints("starts", &[1]), ints("ends", &[2]), ints("axes", &[1])],
    );
    assert_eq!(old.run(&input), [4.0, 5.0, 6.0, 7.0]);
    let empty =
        model().integers("s", &[2]).integers("e", &[2]).node("Slice", &["_", "s", "e"], vec![]).error();
    assert!(empty.contains("nothing is left"), "{empty}");
    let split =
        model().integers("n", &[1, 3]).node_of("Split", &["_", "n"], ("part", 2), vec![int("axis", 2)]);
    assert_eq!(
        split.node("Relu", &["part1"], vec![]).run(&input),
        [1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 9.0, 10.0, 11.0]
    );
    let even = model().node_of("Split", &["_"], ("part", 3), vec![int("axis", 1)]);
    assert_eq!(even.node("Sub", &["part2", "part0"], vec![]).run(&input), [8.0; 4]);
    let uneven =
        model().opset(18).node_of("Split", &["_"], ("part", 3), vec![int("axis", 2), int("num_outputs", 3)]);
    assert!(uneven.error().contains("parts of [2, 2, 0]"));
    let gather = model().integers("i", &[3, 0, 1]).node("Gather", &["_", "i"], vec![int("axis", 2)]);
    assert_eq!(gather.run(&input), [3.0, 0.0, 1.0, 7.0, 4.0, 5.0, 11.0, 8.0, 9.0]);
    let outside = model().integers("i", &[4]).node("Gather", &["_", "i"], vec![int("axis", 2)]);
    assert!(outside.error().contains("4 of 4"));
}

#[test]
fn padding_of_all_kinds() {
    let input = [1.0, 2.0, 3.0];
    let pad = |pads: &[i64], mode: &str| {
        let model = Onnx::new(&[1, 1, 1, 3]).opset(19).integers("p", pads);
        model.node("Pad", &["_", "p"], vec![text("mode", mode)])
    };
    assert_eq!(pad(&[0, 0, 0, 2, 0, 0, 0, 1], "constant").run(&input), [0.0, 0.0, 1.0, 2.0, 3.0, 0.0]);
    assert_eq!(pad(&[0, 0, 0, -1, 0, 0, 0, 1], "constant").run(&input), [2.0, 3.0, 0.0]);
    assert_eq!(pad(&[0, 0, 0, 2, 0, 0, 0, 1], "reflect").run(&input), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
    assert_eq!(pad(&[0, 0, 0, 2, 0, 0, 0, 1], "edge").run(&input), [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]);
    assert_eq!(pad(&[0, 0, 0, 1, 0, 0, 0, 2], "wrap").run(&input), [3.0, 1.0, 2.0, 3.0, 1.0, 2.0]);
    let both = pad(&[0, 1, 1, 0, 0, 0, 0, 0], "constant").graph();
    assert_eq!(both.nodes().len(), 2, "one node for all axes: {both:?}");
    let value = Onnx::new(&[1, 1, 1, 3]).integers("p", &[0, 0, 0, 1, 0, 0, 0, 0]).scalar("v", 7.0);
    assert_eq!(value.node("Pad", &["_", "p", "v"], vec![]).run(&input), [7.0, 1.0, 2.0, 3.0]);
    let zeros = Onnx::new(&[1, 1, 1, 3]).weight("z", &[1, 1, 1, 3], |_| 0.0);
    assert_eq!(
        zeros.node("Concat", &["z", "x"], vec![int("axis", 1)]).run(&input),
        [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]
    );
    let ones = Onnx::new(&[1, 1, 1, 3]).weight("z", &[1, 1, 1, 3], |_| 1.0);
    assert!(ones.node("Concat", &["z", "x"], vec![int("axis", 1)]).error().contains("not zero"));
}

#[test]
fn enlargement_by_nearest_neighbour() {
    let input = [1.0, 2.0];
    let resize = |factor: f32, attributes: Vec<AttributeProto>| {
        let model = Onnx::new(&[1, 1, 1, 2]).weight("f", &[4], |i| if i == 3 { factor } else { 1.0 });
        model.node("Resize", &["_", "", "f"], [vec![text("mode", "nearest")], attributes].concat())
    };
    let floor = || vec![text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor")];
    assert_eq!(resize(3.0, floor()).run(&input), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    assert!(matches!(resize(3.0, floor()).graph().node(1).op, Op::Upsample([1, 3])));
    assert_eq!(resize(2.0, vec![]).run(&input), [1.0, 1.0, 2.0, 2.0]);
    // i/2.5 rounded down: 0, 0, 0, 1, 1.
    assert_eq!(resize(2.5, floor()).run(&input), [1.0, 1.0, 1.0, 2.0, 2.0]);
    let linear = Onnx::new(&[1, 1, 1, 2]).weight("f", &[4], |_| 2.0);
    let linear = linear.node("Resize", &["_", "", "f"], vec![text("mode", "linear")]).error();
    assert!(linear.contains("linear") && linear.contains("nearest"), "{linear}");
}

#[test]
fn broadcasting_of_two_tensors() {
    let input = ramp(8);
    let model =
        Onnx::new(&[1, 2, 2, 2]).node("GlobalMaxPool", &["_"], vec![]).node("Add", &["x", "_"], vec![]);
    let top = |c: usize| input[4 * c..4 * c + 4].iter().copied().fold(f64::MIN, f64::max);
    let expected: Vec<f64> = input.iter().enumerate().map(|(i, v)| v + top(i / 4)).collect();
    assert_eq!(model.run(&input), expected);
    let sum = Onnx::new(&[1, 8]).node("Relu", &["_"], vec![]).node("Sum", &["x", "t0", "x"], vec![]);
    assert_eq!(sum.run(&input), input.iter().map(|v| v.max(0.0) + 2.0 * v).collect::<Vec<_>>());
}

#[test]
fn constants_are_folded_whatever_computes_them() {
    // [0, 2, 4, 6] as a column, plus ones, expanded to 4×2, chosen by a condition.
    let model = Onnx::new(&[1, 4])
        .integers("four", &[4])
        .integers("column", &[-1, 1])
        .integers("wide", &[4, 2])
        .integers("from", &[0])
        .integers("to", &[8])
        .integers("by", &[2])
        .scalar("limit", 3.5)
        .node("ConstantOfShape", &["four"], vec![])
        .node("Range", &["from", "to", "by"], vec![])
        .node("Cast", &["t1"], vec![int("to", 1)])
        .node("Add", &["t0", "t2"], vec![])
        .node("Reshape", &["t3", "column"], vec![])
        .node("Expand", &["t4", "wide"], vec![])
        .node("Greater", &["t5", "limit"], vec![])
        .node("Where", &["t6", "t5", "limit"], vec![])
        .node("MatMul", &["x", "t7"], vec![]);
    let row = 3.5 * 1.0 + 3.5 * 2.0 + 4.0 * 3.0 + 6.0 * 4.0;
    assert_eq!(model.run(&[1.0, 2.0, 3.0, 4.0]), [row, row]);
    let huge = Onnx::new(&[1, 4]).integers("s", &[1 << 14, 1 << 14]).node("ConstantOfShape", &["s"], vec![]);
    let error = huge.node("Relu", &["x"], vec![]).error();
    assert!(error.contains("too large") && error.contains("node t0"), "{error}");
}

#[test]
fn labels_are_left_to_the_client() {
    let model = Onnx::new(&[1, 4]).node("Relu", &["_"], vec![]).node("ArgMax", &["_"], vec![int("axis", 1)]);
    let graph = model.node("Cast", &["_"], vec![int("to", 6)]).graph();
    assert_eq!(run_f64(&graph, &[1.0, -1.0, 3.0, 0.0]).expect("fits"), [1.0, 0.0, 3.0, 0.0]);
    assert!(graph.notes.len() == 1 && graph.notes[0].contains("ArgMax"), "{:?}", graph.notes);
    let middle =
        Onnx::new(&[1, 4]).node("ArgMax", &["_"], vec![int("axis", 1)]).node("Add", &["x", "_"], vec![]);
    assert!(middle.error().contains("label"));
}

/// A tensor without its elements: they are in `file` from `offset`.
fn outside(name: &str, dims: &[i64], file: &str, offset: &str, length: Option<&str>) -> TensorProto {
    let entry = |(key, value): (&str, &str)| StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
    };
    let entries = [("location", file), ("offset", offset)].into_iter().chain(length.map(|l| ("length", l)));
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::FLOAT),
        data_location: Some(DataLocation::EXTERNAL),
        external_data: entries.map(entry).collect(),
        ..Default::default()
    }
}

#[test]
fn weights_in_other_files() {
    let bytes: Vec<u8> = (0..10).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let model = |tensor: TensorProto| {
        let mut model = Onnx::new(&[1, 2]).node("MatMul", &["_", "w"], vec![]);
        model.graph.initializer.push(tensor);
        model.bytes()
    };
    let mut asked = Vec::new();
    let mut files = |name: &str| {
        asked.push(name.to_string());
        if name == "weights/a.bin" { Ok(bytes.clone()) } else { Err("there is no such file".to_string()) }
    };
    let good = model(outside("w", &[2, 2], "weights/a.bin", "8", Some("16")));
    let graph = import_with(&good, &mut files, &[]).expect("imports");
    assert_eq!(run_f64(&graph, &[1.0, 10.0]).expect("fits"), [42.0, 53.0]);
    for (tensor, what) in [
        (outside("w", &[2, 2], "../a.bin", "0", None), "not a plain path"),
        (outside("w", &[2, 2], "/a.bin", "0", None), "not a plain path"),
        (outside("w", &[2, 2], "b.bin", "0", None), "no such file"),
        (outside("w", &[2, 2], "weights/a.bin", "32", Some("16")), "16 bytes from 32"),
        (outside("w", &[2, 2], "weights/a.bin", "18446744073709551615", Some("16")), "16 bytes from"),
        (outside("w", &[2, 2], "weights/a.bin", "-1", Some("16")), "offset is -1"),
        (outside("w", &[2, 2], "weights/a.bin", "0", Some("12")), "holds 3 elements"),
    ] {
        let error = import_with(&model(tensor), &mut files, &[]).expect_err("must be refused").to_string();
        assert!(error.contains(what), "{error}");
    }
    assert!(!asked.iter().any(|name| name.contains("..") || name.starts_with('/')), "{asked:?}");
    let alone = nn_merge::onnx::import(&good).expect_err("no other file").to_string();
    assert!(alone.contains("weights/a.bin"), "{alone}");
}

#[test]
fn side_files_replace_and_supply_weights() {
    let header = r#"{"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
    let data: Vec<u8> = [3f32, 4.0, 5.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    let side = [SafeTensors::parse(file).expect("well-formed")];
    // w has other elements in the network, b has none there.
    let model = |dims: &[i64]| {
        Onnx::new(&[1, 2]).weight("w", dims, |_| 1.0).node("Gemm", &["_", "w", "b"], vec![]).bytes()
    };
    let mut no_files = |_: &str| Err("no files".to_string());
    let graph = import_with(&model(&[2, 1]), &mut no_files, &side).expect("imports");
    assert_eq!(run_f64(&graph, &[1.0, 10.0]).expect("fits"), [48.0]);
    let error = import_with(&model(&[1, 2]), &mut no_files, &side).expect_err("other shape").to_string();
    assert!(error.contains("tensor w") && error.contains("side file"), "{error}");
    let missing = import_with(&model(&[2, 1]), &mut no_files, &[]).expect_err("nobody has b").to_string();
    assert!(missing.contains("reads b"), "{missing}");
}

#[test]
fn half_precision_weights() {
    for (data_type, raw, value) in [
        (DataType::FLOAT16, vec![0x00, 0x3e, 0x00, 0xc0], [1.5, -2.0]),
        (DataType::BFLOAT16, vec![0xc0, 0x3f, 0x00, 0xc0], [1.5, -2.0]),
    ] {
        let mut model = Onnx::new(&[1, 2]).node("Mul", &["_", "w"], vec![]);
        model.graph.initializer.push(TensorProto {
            name: Some("w".into()),
            dims: vec![2],
            data_type: Some(data_type),
            raw_data: Some(raw.into()),
            ..Default::default()
        });
        assert_eq!(model.run(&[1.0, 1.0]), value);
    }
}

#[test]
fn what_is_not_supported_is_named_with_a_way_out() {
    for (operator, advice) in [
        ("QLinearConv", "floating point"),
        ("LSTM", "recurrence"),
        ("If", "control flow"),
        ("ConvTranspose", "Resize"),
        ("LayerNormalization", "BatchNormalization"),
        ("NonZero", "selects by values"),
        ("RandomNormal", "random"),
        ("NeverHeardOf", "supported are"),
    ] {
        let error = Onnx::new(&[1, 2, 2, 2]).node(operator, &["_"], vec![]).error();
        assert!(error.contains(operator) && error.contains("node t0") && error.contains(advice), "{error}");
    }
    let ratio = Onnx::new(&[1, 2]).node("Relu", &["_"], vec![]).node("Div", &["x", "_"], vec![]).error();
    assert!(ratio.contains("division"), "{ratio}");
}

#[test]
fn functions_on_channels_of_their_own() {
    let mut graph = Graph::new("x", &[1, 3, 1, 2]).expect("a shape");
    let part = |channels: &[usize], function| Part { channels: channels.to_vec(), function };
    let slopes = vec![0.5, 0.25];
    let parts = vec![part(&[0, 2], Function::PRelu { slopes }), part(&[1], Function::Relu)];
    graph.push("mixed", Op::Mixed(parts), &[0]).expect("fits");
    let input = [-2.0, 2.0, -3.0, 3.0, -4.0, 4.0];
    assert_eq!(run_f64(&graph, &input).expect("fits"), [-1.0, 2.0, 0.0, 3.0, -1.0, 4.0]);
}
