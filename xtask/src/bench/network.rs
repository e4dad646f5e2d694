//! Whole networks: the one in the repository, and those of the shared data that the importer covers.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use he_core::{Profile, Seed};
use nn_merge::evaluate::Evaluator;
use nn_merge::{BuildOptions, build, onnx};

use super::party::measure;
use super::timing::median;
use super::{Options, Row, SessionFigures};

/// Networks below the shared data's folder.
const SHARED: &[&str] = &[
    "digits/models/digits_mlp.onnx",
    "mnist/models/falcon_minionn_mnist.onnx",
    "mnist/models/mnist-8.onnx",
    "mnist/models/falcon_secureml_mnist.onnx",
    "mnist/models/burn_cnn_bn_mnist.onnx",
    "fashion-mnist/models/fashion_cnn_bn.onnx",
];

/// All networks.
pub(super) fn run(options: &Options) -> Result<Vec<Row>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace's root")?;
    let mut files = vec![root.join("cli/assets/mnist_cnn.onnx")];
    let shared = std::env::var_os("HUSHNET_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    if options.smoke() {
        // One network shows that the bench runs.
    } else if shared.is_dir() {
        files.extend(SHARED.iter().map(|file| shared.join(file)));
    } else {
        eprintln!("no shared data at {} (set HUSHNET_DATA): its networks are SKIPPED", shared.display());
    }
    let mut rows = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if options.wants(&name) {
            measure_network(&file, &name, options, &mut rows)?;
        }
    }
    Ok(rows)
}

fn measure_network(file: &Path, name: &str, options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let graph = onnx::import(&bytes)?;
    let plain = plain_seconds(&graph, options.smoke())?;
    let profiles = if options.smoke() { vec![Profile::Wide] } else { vec![Profile::Wide, Profile::Narrow] };
    for profile in profiles {
        let (model, _) =
            build(&graph, &[], &BuildOptions::new(profile, name), &mut Seed::from_os()?.stream())?;
        for bundle in if options.smoke() { vec![1] } else { vec![1, 16] } {
            let bundles = if options.smoke() { 1 } else { 32usize.div_ceil(bundle).max(5) };
            let measured = measure(&model, bundle, bundles, false)?;
            let session = SessionFigures::new(measured, bundle, "plain f32, this crate", plain);
            rows.push(Row {
                name: name.into(),
                profile: profile.to_string(),
                session: Some(session),
                ..Row::default()
            });
        }
    }
    Ok(())
}

fn plain_seconds(graph: &nn_merge::Graph, smoke: bool) -> Result<f64> {
    let evaluator = Evaluator::<f32>::new(graph)?;
    let length = graph.node(0).shape.iter().product();
    let input: Vec<f32> = (0..length).map(|i: usize| (i % 7) as f32 / 7.0).collect();
    evaluator.run(&input)?;
    let budget = Duration::from_millis(if smoke { 1 } else { 200 });
    Ok(median(budget, || drop(black_box(evaluator.run(&input)))))
}
