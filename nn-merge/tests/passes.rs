//! The merging passes on the shared networks: the same outputs before and after, and the levels that they should leave.

mod common;

use common::{NETWORKS, SQUEEZENET, data, distance, golden, network, planes_first};
use nn_merge::evaluate::run_f64;
use nn_merge::graph::Op;
use nn_merge::onnx::import;
use nn_merge::pass::{Cost, run};

#[test]
fn shared_networks_merge_and_keep_their_outputs() {
    let Some(data) = data() else { return };
    for (set, name) in NETWORKS.into_iter().chain([SQUEEZENET]) {
        let graph = import(&network(&data, set, name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (merged, rows) = run(&graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (before, after) = (Cost::of(&graph), Cost::of(&merged));
        println!(
            "{name}: linear {} -> {}, products {} -> {}, activations {} -> {}, rounds {} -> {}, bytes {} + {} -> {} + {}",
            before.linear_levels,
            after.linear_levels,
            before.products,
            after.products,
            before.activations,
            after.activations,
            before.rounds,
            after.rounds,
            before.online_bytes,
            before.preprocessing_bytes,
            after.online_bytes,
            after.preprocessing_bytes
        );
        rows.iter().for_each(|row| println!("    {}", row.pass));
        let norms = merged.nodes().iter().filter(|n| matches!(n.op, Op::BatchNorm(_))).count();
        assert_eq!(norms, 0, "{name}: a normalisation is left");
        let (mut input, _) = golden(&data, set, name, 0);
        if graph.channels_last {
            input = planes_first(&input, 3);
        }
        // The passes drop a final softmax, so the merged network is compared with the one it came from, up to that.
        let logits = merged_reference(&graph, &input);
        let ours = run_f64(&merged, &input).expect("right length");
        let size = logits.iter().fold(1.0f64, |top, v| top.max(v.abs()));
        let worst = distance(&ours, &logits) / size;
        assert!(worst < 1e-9, "{name}: {worst}");
    }
}

/// The network's outputs in front of a final softmax.
fn merged_reference(graph: &nn_merge::Graph, input: &[f64]) -> Vec<f64> {
    let mut graph = graph.clone();
    while let Op::Softmax | Op::LogSoftmax = graph.node(graph.output()).op {
        let before = graph.node(graph.output()).inputs[0];
        graph.set_output(before).expect("it exists");
    }
    run_f64(&graph, input).expect("right length")
}

#[test]
fn residual_networks_keep_only_their_convolutions() {
    let Some(data) = data() else { return };
    let networks = [("cifar10", "resnet20_cifar10", 20), ("cifar10", "resnet56_cifar10", 56)];
    for (set, name, levels) in networks {
        let graph = import(&network(&data, set, name)).expect("imports");
        let (merged, _) = run(&graph).expect("runs");
        assert_eq!(Cost::of(&merged).linear_levels, levels, "{name}");
    }
}
