//! `hushnet merge`: an ONNX network becomes a model file.
//!
//! Import, passes, calibration and quantisation are `nn_merge`'s; here are the files around them and the report that a
//! person reads. The report and the model file belong to the server's side: bounds and weights are in them.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use nn_merge::fixed_point::logit_bound;
use nn_merge::model::Manifest;
use nn_merge::onnx::{self, MAX_ONNX_BYTES};
use nn_merge::pass::Cost;
use nn_merge::{BuildOptions, Graph, MergeReport, NnError, build};
use protocol::{Profile, Seed};
use serde::Serialize;

use super::read_file;
use crate::args::{Merge, ProfileName};
use crate::error::Failure;
use crate::images::{Image, read};
use crate::output::{Console, counted, hex, print, print_json};
use crate::progress::Progress;
use crate::session::{fresh_seed, network_input, wanted};
use crate::terminal::{bytes, seconds, table};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    file: String,
    bytes: usize,
    digest: String,
    seconds: f64,
    logit_bound: f64,
    #[serde(flatten)]
    report: &'a MergeReport,
}

/// Reads, merges, writes, reports.
///
/// # Errors
/// A network that is broken or not supported, images that do not fit it, files that can't be read or written.
pub(super) fn run(arguments: &Merge, console: &Console) -> Result<(), Failure> {
    let start = Instant::now();
    let progress = Progress::new(console, arguments.json, 4);
    progress.doing("reading");
    let broken = |source| Failure::Model { path: arguments.network.clone(), source };
    let graph = onnx::import(&read_file(&arguments.network, MAX_ONNX_BYTES)?).map_err(broken)?;
    progress.at(1);
    progress.doing("calibrating");
    let name = arguments.name.clone().unwrap_or_else(|| stem(&arguments.network));
    let mut options = BuildOptions::new(profile(arguments.profile), &name);
    options.scale = arguments.scale.0;
    options.margin = arguments.margin;
    options.ignored_bits = arguments.stochastic;
    let mut calibration = Vec::new();
    let seed = fresh_seed()?;
    let sketch = sketch(&graph, &options, &seed.fork("sketch", &[])).map_err(broken)?;
    options.mean = spread("--mean", &arguments.mean, 0.0, sketch.input.channels)?;
    options.std = spread("--std", &arguments.std, 1.0, sketch.input.channels)?;
    if let Some(path) = &arguments.calibrate {
        let images = calibration_images(path, &sketch, arguments.calibrate_count)?;
        calibration = inputs(&sketch, &options, &images);
    }
    progress.at(2);
    progress.doing("merging");
    let (model, report) =
        build(&graph, &calibration, &options, &mut seed.fork("model", &[]).stream()).map_err(broken)?;
    progress.at(3);
    let encoded = model.to_bytes().map_err(broken)?;
    write_privately(&arguments.output, &encoded)?;
    progress.at(4);
    drop(progress);
    let bound = logit_bound(&model, None);
    if arguments.json {
        return print_json(&Document {
            schema: "hushnet-merge/1",
            file: arguments.output.display().to_string(),
            bytes: encoded.len(),
            digest: hex(&model.manifest.digest().map_err(broken)?),
            seconds: start.elapsed().as_secs_f64(),
            logit_bound: bound,
            report: &report,
        });
    }
    let mut text = report_text(&report, bound, console);
    if let Some(ignored) = arguments.stochastic {
        text.push_str(&format!(
            "Stochastic activations, as asked for: sign tests ignore {ignored} bits. A value 0 <= y < 2^{ignored} becomes\n\
             zero with probability 1 - (y+1)/2^{ignored}, so the share of positive values that do is at most that in the\n\
             column \"to zero\".\n"
        ));
    }
    text.push_str(&format!(
        "\n{} written to {} in {}\n",
        bytes(encoded.len() as u64),
        arguments.output.display(),
        seconds(start.elapsed().as_secs_f64())
    ));
    print(&text)
}

fn profile(name: ProfileName) -> Profile {
    match name {
        ProfileName::Tiny => Profile::Tiny,
        ProfileName::Narrow => Profile::Narrow,
        ProfileName::Wide => Profile::Wide,
    }
}

/// A manifest of the network as far as images are concerned: their size and order. It is made without sample images,
/// since reading those needs it.
fn sketch(graph: &Graph, options: &BuildOptions, seed: &Seed) -> Result<Manifest, NnError> {
    // The widest profile: precision is not what is asked here.
    let wide = BuildOptions { profile: Profile::Wide, margin: Some(1.0), ..options.clone() };
    build(graph, &[], &wide, &mut seed.stream()).map(|(model, _)| model.manifest)
}

/// The network's inputs for sample images, scaled as `options` say.
fn inputs(sketch: &Manifest, options: &BuildOptions, images: &[Image]) -> Vec<Vec<f32>> {
    let mut manifest = sketch.clone();
    manifest.input.scale = options.scale;
    manifest.input.mean.clone_from(&options.mean);
    manifest.input.std.clone_from(&options.std);
    manifest.input.limit = f64::INFINITY;
    images.iter().map(|image| network_input(&manifest, image)).collect()
}

/// The first `count` sample images, or all if there are fewer.
fn calibration_images(path: &Path, manifest: &Manifest, count: usize) -> Result<Vec<Image>, Failure> {
    use crate::images::ImageError;

    match read(path, wanted(manifest), 0, Some(count)) {
        Err(ImageError::TooFew { available, .. }) if available > 0 => {
            Ok(read(path, wanted(manifest), 0, Some(available))?)
        }
        other => Ok(other?),
    }
}

/// One value per channel from none, one or all.
fn spread(flag: &str, values: &[f64], default: f64, channels: usize) -> Result<Vec<f64>, Failure> {
    match values {
        [] => Ok(vec![default; channels]),
        [one] => Ok(vec![*one; channels]),
        many if many.len() == channels => Ok(many.to_vec()),
        many => Err(Failure::Usage(format!(
            "{flag} has {} values, the network's input has {}",
            many.len(),
            counted(channels, "channel")
        ))),
    }
}

/// Writes a file that only its owner can read: whole or not at all.
///
/// # Errors
/// [`Failure::File`].
pub(super) fn write_privately(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let failed = |source| Failure::File { path: path.to_owned(), doing: "writing", source };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(contents).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// The file's name without its extension.
fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "network".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// What merging did, in tables.
fn report_text(report: &MergeReport, bound: f64, console: &Console) -> String {
    let mut text = console.heading(&format!("{} ({} profile)", report.name, report.profile));
    text.push_str("\n\n");
    text.push_str(&pass_table(report));
    text.push_str("\n\n");
    text.push_str(&layer_table(report));
    text.push('\n');
    if report.calibration_is_synthetic {
        text.push_str(&format!(
            "\nNo calibration images were given: ranges come from {} random inputs with margin {}.\n\
             Give --calibrate IMAGES for ranges that fit what the network will see.\n",
            report.calibration_images, report.margin
        ));
    } else {
        text.push_str(&format!(
            "\nCalibrated on {} with margin {}.\n",
            counted(report.calibration_images, "image"),
            report.margin
        ));
    }
    text.push_str(&format!(
        "Merging moved logits by at most {:.1e}; {} of {} labels stayed.\n\
         Private logits lie within {bound:.3} of the fixed-point network's, in the worst case over all inputs.\n",
        report.merging_error, report.same_labels, report.compared_images
    ));
    text
}

/// The network before, after each pass, and as it will run.
fn pass_table(report: &MergeReport) -> String {
    let row = |name: &str, cost: &Cost| {
        vec![
            name.to_owned(),
            cost.linear_levels.to_string(),
            cost.products.to_string(),
            cost.additions.to_string(),
            cost.activation_levels.to_string(),
            cost.activations.to_string(),
            cost.comparisons.to_string(),
        ]
    };
    let mut rows = vec![row("as imported", &report.before)];
    rows.extend(report.passes.iter().map(|pass| row(pass.pass, &pass.after)));
    rows.push(row("as run", &report.after));
    table(
        &["after", "linear maps", "products", "additions", "interactive levels", "ReLUs", "comparisons"],
        &rows,
    )
}

/// Ranges and widths of every layer.
fn layer_table(report: &MergeReport) -> String {
    let rows: Vec<Vec<String>> = report
        .layers
        .iter()
        .map(|layer| {
            vec![
                layer.name.clone(),
                layer.shape.clone(),
                layer.weight_bits.to_string(),
                layer.masked_bits.to_string(),
                layer.ring_bits.to_string(),
                layer.reply_bits.to_string(),
                format!("{:.2}", layer.measured),
                format!("{:.2}", layer.bound),
                format!("{:.2}", layer.static_bound),
                layer.zeroed.map_or_else(|| "-".to_owned(), |share| format!("{:.2} %", 100.0 * share)),
                if layer.overflow_impossible { "impossible" } else { "beyond bound" }.to_owned(),
            ]
        })
        .collect();
    table(
        &[
            "layer",
            "shape",
            "weight bits",
            "p",
            "k",
            "t",
            "largest",
            "bound",
            "static",
            "to zero",
            "overflow",
        ],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_holds_for_all_channels() {
        assert_eq!(spread("--mean", &[], 0.5, 2).unwrap(), [0.5, 0.5]);
        assert_eq!(spread("--mean", &[2.0], 0.5, 3).unwrap(), [2.0; 3]);
        assert_eq!(spread("--mean", &[1.0, 2.0], 0.5, 2).unwrap(), [1.0, 2.0]);
        let failure = spread("--mean", &[1.0, 2.0], 0.5, 3).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.to_string().contains("2 values") && failure.to_string().contains("3 channels"));
    }

    #[test]
    fn files_are_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.hush");
        write_privately(&path, b"one").unwrap();
        write_privately(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let failure = write_privately(&folder.path().join("no/such/model.hush"), b"x").unwrap_err();
        assert!(failure.to_string().contains("no/such/model.hush"), "{failure}");
    }
}
