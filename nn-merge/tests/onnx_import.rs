//! ONNX import, operator by operator, on models written here; and hostile bytes.

mod common;

use common::writer::{Onnx, int, ints, ramp, text};
use nn_merge::evaluate::run_f64;
use nn_merge::onnx::import;
use proptest::prelude::*;
use rten_onnx::onnx::AttributeProto;

#[test]
fn automatic_padding_equals_its_explicit_form() {
    for (side, stride, kernel) in [(5, 2, 3), (6, 2, 3), (6, 1, 4), (7, 3, 2)] {
        let model = |attributes: Vec<AttributeProto>| {
            Onnx::new(&[1, 2, side, side])
                .weight("w", &[3, 2, kernel, kernel], |i| (i % 5) as f32 - 2.0)
                .node("Conv", &["_", "w"], [vec![ints("strides", &[stride, stride])], attributes].concat())
        };
        let input = ramp((2 * side * side) as usize);
        let outputs = (side + stride - 1) / stride;
        let total = ((outputs - 1) * stride + kernel - side).max(0);
        let (small, large) = (total / 2, total - total / 2);
        let upper = model(vec![text("auto_pad", "SAME_UPPER")]).run(&input);
        assert_eq!(upper.len() as i64, 3 * outputs * outputs);
        assert_eq!(upper, model(vec![ints("pads", &[small, small, large, large])]).run(&input));
        let lower = model(vec![text("auto_pad", "SAME_LOWER")]).run(&input);
        assert_eq!(lower, model(vec![ints("pads", &[large, large, small, small])]).run(&input));
        assert_eq!(model(vec![text("auto_pad", "VALID")]).run(&input), model(Vec::new()).run(&input));
    }
}

#[test]
fn matrix_products_agree_however_they_are_written() {
    let w = |i: usize| (i % 7) as f32 - 3.0;
    let input = ramp(4);
    let expected: Vec<f64> =
        (0..3).map(|o| (0..4).map(|i| input[i] * f64::from(w(i * 3 + o))).sum()).collect();
    let matmul = Onnx::new(&[0, 4]).weight("w", &[4, 3], w).node("MatMul", &["_", "w"], vec![]);
    assert_eq!(matmul.run(&input), expected);
    let gemm = Onnx::new(&[1, 4]).weight("w", &[4, 3], w).node("Gemm", &["_", "w"], vec![]);
    assert_eq!(gemm.run(&input), expected);
    let transposed = Onnx::new(&[1, 4]).weight("w", &[4, 3], w).node("Transpose", &["w"], vec![]).node(
        "Gemm",
        &["x", "_"],
        vec![int("transB", 1)],
    );
    assert_eq!(transposed.run(&input), expected);
    let left = Onnx::new(&[1, 4, 1])
        .weight("w", &[4, 3], w)
        .node("Transpose", &["w"], vec![ints("perm", &[1, 0])])
        .node("MatMul", &["_", "x"], vec![]);
    assert_eq!(left.run(&input), expected);
    let reshaped = Onnx::new(&[1, 1, 2, 2])
        .weight("w", &[12], w)
        .integers("shape", &[4, -1])
        .integers("flat", &[1, 4])
        .node("Reshape", &["w", "shape"], vec![])
        .node("Reshape", &["x", "flat"], vec![])
        .node("MatMul", &["_", "t0"], vec![]);
    assert_eq!(reshaped.run(&input), expected);
}

#[test]
fn constants_broadcast_per_channel_and_per_element() {
    let input = ramp(8);
    let channel = |i: usize| (i / 4 + 1) as f64;
    let add =
        Onnx::new(&[1, 2, 2, 2]).weight("c", &[2, 1, 1], |i| i as f32 + 1.0).node("Add", &["c", "_"], vec![]);
    assert_eq!(add.run(&input), input.iter().enumerate().map(|(i, v)| v + channel(i)).collect::<Vec<_>>());
    let reversed = Onnx::new(&[1, 2, 2, 2]).weight("c", &[1], |_| 10.0).node("Sub", &["c", "_"], vec![]);
    assert_eq!(reversed.run(&input), input.iter().map(|v| 10.0 - v).collect::<Vec<_>>());
    let element =
        Onnx::new(&[1, 2, 2, 2]).weight("c", &[2], |i| i as f32 + 1.0).node("Mul", &["_", "c"], vec![]);
    assert_eq!(
        element.run(&input),
        input.iter().enumerate().map(|(i, v)| v * (i % 2 + 1) as f64).collect::<Vec<_>>()
    );
    let divided = Onnx::new(&[1, 2, 2, 2]).weight("c", &[1, 2, 2, 2], |i| i as f32 + 1.0).node(
        "Div",
        &["_", "c"],
        vec![],
    );
    assert_eq!(
        divided.run(&input),
        input.iter().enumerate().map(|(i, v)| v * (1.0 / (i + 1) as f64)).collect::<Vec<_>>()
    );
    let zero = Onnx::new(&[1, 2]).weight("c", &[2], |i| i as f32).node("Div", &["_", "c"], vec![]);
    assert!(zero.error().contains("zero"));
    let unfit = Onnx::new(&[1, 2, 2, 2]).weight("c", &[3, 1, 1], |_| 1.0).node("Add", &["_", "c"], vec![]);
    assert!(unfit.error().contains("shape"));
}

#[test]
fn channels_last_inputs_become_channels_first() {
    let conv =
        |model: Onnx| model.weight("w", &[2, 3, 1, 1], |i| i as f32 - 2.5).node("Conv", &["_", "w"], vec![]);
    let first = conv(Onnx::new(&[1, 3, 4, 5])).run(&ramp(60));
    let last = conv(Onnx::new(&[0, 4, 5, 3]).node("Transpose", &["_"], vec![ints("perm", &[0, 3, 1, 2])]));
    let graph = import(&last.bytes()).expect("imports");
    assert!(graph.channels_last);
    assert_eq!(run_f64(&graph, &ramp(60)).expect("fits"), first);
    let (merged, _) = nn_merge::pass::run(&graph).expect("runs");
    assert_eq!(merged.nodes().len(), 2, "both transposes cancel: {merged:?}");
}

#[test]
fn shape_arithmetic_and_axes_are_folded() {
    let by_shape = Onnx::new(&[1, 2, 3, 1])
        .integers("zero", &[0])
        .integers("rest", &[-1])
        .node("Shape", &["x"], vec![])
        .node("Gather", &["_", "zero"], vec![])
        .node("Concat", &["_", "rest"], vec![int("axis", 0)])
        .node("Reshape", &["x", "_"], vec![])
        .node("Relu", &["_"], vec![]);
    let expected: Vec<f64> = ramp(6).iter().map(|v| v.max(0.0)).collect();
    assert_eq!(by_shape.run(&ramp(6)), expected);
    let squeezed = Onnx::new(&[1, 6, 1, 1])
        .integers("axes", &[-1, 2])
        .node("Squeeze", &["_", "axes"], vec![])
        .node("Unsqueeze", &["_", "axes"], vec![])
        .node("Flatten", &["_"], vec![int("axis", -3)])
        .node("Relu", &["_"], vec![]);
    assert_eq!(squeezed.run(&ramp(6)), expected);
}

#[test]
fn ceiling_mode_adds_the_last_partial_window() {
    let pool = |ceil: i64| {
        let attributes =
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2]), int("ceil_mode", ceil)];
        Onnx::new(&[1, 1, 3, 3]).node("MaxPool", &["_"], attributes)
    };
    let input: Vec<f64> = (0..9).map(f64::from).collect();
    assert_eq!(pool(0).run(&input), [4.0]);
    assert_eq!(pool(1).run(&input), [4.0, 5.0, 7.0, 8.0]);
    let average = |ceil: i64| {
        let attributes =
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2]), int("ceil_mode", ceil)];
        Onnx::new(&[1, 1, 3, 3]).node("AveragePool", &["_"], attributes)
    };
    assert_eq!(average(1).run(&input), [2.0, 3.5, 6.5, 8.0]);
}

#[test]
fn errors_name_what_is_at_fault() {
    let unknown = Onnx::new(&[1, 4]).node("Mish", &["_"], vec![]).error();
    assert!(unknown.contains("Mish") && unknown.contains("node t0") && unknown.contains("Relu"), "{unknown}");
    let nan = Onnx::new(&[1, 2]).weight("fc.weight", &[2, 2], |i| if i == 3 { f32::NAN } else { 1.0 });
    let nan = nan.node("Gemm", &["_", "fc.weight"], vec![]).error();
    assert!(nan.contains("fc.weight") && nan.contains("NaN"), "{nan}");
    let infinite =
        Onnx::new(&[1, 2]).weight("w", &[2, 2], |_| f32::INFINITY).node("Gemm", &["_", "w"], vec![]);
    assert!(infinite.error().contains("infinite"));
    let batch = Onnx::new(&[16, 4]).node("Relu", &["_"], vec![]).error();
    assert!(batch.contains("batch"), "{batch}");
    let symbolic = Onnx::new(&[1, 3, 0, 0]).node("Relu", &["_"], vec![]).error();
    assert!(symbolic.contains("symbolic"), "{symbolic}");
    let mut old = Onnx::new(&[1, 4]).node("Relu", &["_"], vec![]);
    old.opset = 6;
    assert!(old.error().contains("operator set 6"));
    let dangling = Onnx::new(&[1, 4]).node("Relu", &["nobody"], vec![]).error();
    assert!(dangling.contains("nobody"), "{dangling}");
    let mut vendor = Onnx::new(&[1, 4]).node("FusedConv", &["_"], vec![]);
    vendor.graph.node[0].domain = Some("com.microsoft".into());
    assert!(vendor.error().contains("com.microsoft.FusedConv"));
    let wrong = Onnx::new(&[1, 4]).weight("w", &[5, 2], |_| 1.0).node("Gemm", &["_", "w"], vec![]).error();
    assert!(wrong.contains("shapes do not fit"), "{wrong}");
    assert!(import(&[]).is_err());
}

/// A model with a bit of everything, small enough to mutate thousands of times.
fn rich() -> Vec<u8> {
    Onnx::new(&[0, 1, 6, 6])
        .weight("w", &[2, 1, 3, 3], |i| i as f32 * 0.1 - 0.8)
        .weight("v", &[2], |_| 1.0)
        .weight("f", &[12], |i| i as f32)
        .integers("s", &[6, 2])
        .integers("flat", &[0, -1])
        .node(
            "Conv",
            &["_", "w"],
            vec![ints("strides", &[1, 1]), text("auto_pad", "SAME_UPPER"), int("group", 1)],
        )
        .node("BatchNormalization", &["_", "v", "v", "v", "v"], vec![])
        .node("Relu", &["_"], vec![])
        .node("MaxPool", &["_"], vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])])
        .node("AveragePool", &["_"], vec![ints("kernel_shape", &[1, 3]), ints("pads", &[0, 1, 0, 1])])
        .node("Transpose", &["_"], vec![ints("perm", &[0, 2, 3, 1])])
        .node("GlobalAveragePool", &["t3"], vec![])
        .node("Reshape", &["t5", "flat"], vec![])
        .node("Flatten", &["t6"], vec![])
        .node("Reshape", &["f", "s"], vec![])
        .node("Reshape", &["t3", "flat"], vec![])
        .node("Relu", &["_"], vec![])
        .node("Gemm", &["t8", "w2"], vec![int("transB", 0)])
        .weight("w2", &[2, 3], |i| i as f32)
        .node("Softmax", &["_"], vec![])
        .integers("one", &[1])
        .integers("two", &[2])
        .integers("pads", &[0, 0, 1, 0, 0, 0, 0, 1])
        .weight("six", &[1], |_| 6.0)
        .weight("factors", &[4], |i| if i < 2 { 1.0 } else { 2.0 })
        .node("Slice", &["t3", "one", "two", "one"], vec![])
        .node("Pad", &["_", "pads"], vec![])
        .node("Clip", &["_", "one", "six"], vec![])
        .node("Resize", &["_", "", "factors"], vec![text("mode", "nearest")])
        .node("Concat", &["_", "_"], vec![int("axis", 1)])
        .node("ReduceMean", &["_"], vec![ints("axes", &[1, 3])])
        .node("Sigmoid", &["_"], vec![])
        .node("Mul", &["_", "t19"], vec![])
        .node("Pow", &["_", "two"], vec![])
        .node("Erf", &["_"], vec![])
        .node("ConstantOfShape", &["two"], vec![])
        .node("Expand", &["_", "two"], vec![])
        .node("Softmax", &["t12"], vec![])
        .bytes()
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = rich();
    let graph = import(&bytes).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(graph.input_len(), 36);
    for length in 0..bytes.len() {
        // The operator set stands last or first; without it or the graph there is no model.
        assert!(import(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
    let Some(data) = common::data() else { return };
    let real = common::network(&data, "mnist", "mnist-8");
    for length in (0..real.len()).step_by(97) {
        assert!(import(&real[..length]).is_err(), "{length} of {} bytes", real.len());
    }
}

#[test]
fn single_byte_changes_are_refused_or_survive_everything() {
    let bytes = rich();
    let (mut imported, mut refused) = (0, 0);
    for place in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff, bytes[place].wrapping_add(1), bytes[place] ^ 0x10] {
            let mut mutated = bytes.clone();
            mutated[place] = value;
            match exercise(&mutated) {
                true => imported += 1,
                false => refused += 1,
            }
        }
    }
    println!("{imported} changed models still import, {refused} are refused");
    assert!(imported > 500 && refused > 500, "one side was hardly tested: {imported}, {refused}");
}

/// Whatever imports must also survive the passes and an evaluation. Whether it imported.
fn exercise(bytes: &[u8]) -> bool {
    let Ok(graph) = import(bytes) else { return false };
    if graph.nodes().iter().map(|n| n.elements()).sum::<usize>() > 1 << 16 {
        return true;
    }
    let Ok((merged, _)) = nn_merge::pass::run(&graph) else { return true };
    let _ = run_f64(&merged, &vec![0.5; merged.input_len()]);
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn mutated_models_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6)) {
        let mut bytes = rich();
        for (place, value, kind) in edits {
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => bytes[at] ^= 1 << (value % 8),
                2 => { bytes.remove(at); }
                _ => bytes.insert(at, value),
            }
        }
        exercise(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        exercise(&bytes);
    }
}
