//! The shared networks: import, float evaluation against the recorded outputs.

mod common;

use common::{
    NETWORKS, SQUEEZENET, argmax, data, distance, expected_logits, golden, images, network, planes_first,
};
use nn_merge::evaluate::{Evaluator, run_f64};
use nn_merge::onnx::import;

#[test]
fn golden_outputs_are_met() {
    let Some(data) = data() else { return };
    for (set, name) in NETWORKS.into_iter().chain([SQUEEZENET]) {
        let graph = import(&network(&data, set, name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        for k in 0..if (set, name) == SQUEEZENET { 2 } else { 3 } {
            let (mut input, output) = golden(&data, set, name, k);
            if graph.channels_last {
                input = planes_first(&input, 3);
            }
            let ours = run_f64(&graph, &input).expect("right length");
            let worst = distance(&ours, &output);
            println!("{name} {k}: largest difference {worst:.2e}");
            assert!(worst < 1e-3, "{name} {k}: {worst}");
        }
    }
}

#[test]
fn two_hundred_expected_logits_are_met_in_single_precision() {
    let Some(data) = data() else { return };
    for (set, name) in NETWORKS {
        let graph = import(&network(&data, set, name)).expect("imports");
        let evaluator = Evaluator::<f32>::new(&graph).expect("prepares");
        let expected = expected_logits(&data, set, name);
        let inputs: Vec<Vec<f32>> = images(&data, set, name, expected.len())
            .iter()
            .map(|image| image.iter().map(|&v| v as f32).collect())
            .collect();
        let outputs = evaluator.run_all(&inputs).expect("right length");
        assert_eq!(outputs.len(), 200);
        let worst = outputs
            .iter()
            .zip(&expected)
            .map(|(ours, theirs)| {
                // The polynomial network's logits are huge on a few images: relative there.
                let size = theirs.iter().fold(10.0f64, |top, v| top.max(v.abs()));
                distance(&ours.iter().map(|&v| f64::from(v)).collect::<Vec<_>>(), theirs) * 10.0 / size
            })
            .fold(0.0, f64::max);
        println!("{name}: largest difference over {} images {worst:.2e}", outputs.len());
        assert!(worst < 1e-3, "{name}: {worst}");
    }
}

#[test]
fn every_image_of_the_shared_half_gets_its_recorded_label() {
    let Some(data) = data() else { return };
    let (set, name) = ("mnist", "falcon_minionn_mnist");
    let graph = import(&network(&data, set, name)).expect("imports");
    let inputs: Vec<Vec<f32>> = images(&data, set, name, 5000)
        .iter()
        .map(|image| image.iter().map(|&v| v as f32).collect())
        .collect();
    let start = std::time::Instant::now();
    let outputs = Evaluator::<f32>::new(&graph).expect("prepares").run_all(&inputs).expect("right length");
    println!("{} images of {name} in {:?}", outputs.len(), start.elapsed());
    let text = common::read(data.join(set).join("expected").join(format!("{name}.csv")));
    let text = String::from_utf8(text).expect("text");
    let recorded = text
        .lines()
        .skip(1)
        .map(|l| l.split(',').nth(2).and_then(|v| v.parse::<usize>().ok()).expect("a label"));
    let labels = outputs.iter().map(|o| argmax(&o.iter().map(|&v| f64::from(v)).collect::<Vec<_>>()));
    let different = labels.zip(recorded).filter(|(ours, theirs)| ours != theirs).count();
    assert_eq!((outputs.len(), different), (5000, 0));
}
