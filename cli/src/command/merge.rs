//! `hushnet merge`: an ONNX network becomes a model file.
//!
//! Import, passes, calibration and quantisation are `nn_merge`'s; here are the files around them and the report that a
//! person reads. The report and the model file belong to the server's side: bounds and weights are in them.

mod check;
mod files;
mod text;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use nn_merge::build::input_spec;
use nn_merge::model::InputSpec;
use nn_merge::{BuildOptions, MergeReport, build};
use protocol::Profile;
use serde::Serialize;

use check::{Check, check};
use text::report_text;

use crate::args::{Merge, ProfileName};
use crate::error::Failure;
use crate::images::{Image, read};
use crate::output::{Console, counted, hex, print, print_json};
use crate::progress::Progress;
use crate::session::{fresh_seed, network_input, wanted};
use crate::terminal::{bytes, seconds};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    file: String,
    bytes: usize,
    digest: String,
    seconds: f64,
    #[serde(flatten)]
    report: &'a MergeReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Check>,
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
    let graph = files::import(&arguments.network, arguments.tensors.as_deref())?;
    progress.at(1);
    progress.doing("calibrating");
    let name = arguments.name.clone().unwrap_or_else(|| stem(&arguments.network));
    let mut options = BuildOptions::new(profile(arguments.profile), &name);
    options.scale = arguments.scale.0;
    options.margin = arguments.margin;
    options.ignored_bits = arguments.stochastic;
    options.ring_bits = arguments.ring_bits;
    options.weight_bits = arguments.weight_bits;
    options.strict = arguments.strict;
    if let Some(path) = &arguments.replace {
        options.replace = files::replacements(path)?;
    }
    let seed = fresh_seed()?;
    let sketch = input_spec(&graph, &options).map_err(broken)?;
    options.mean = spread("--mean", &arguments.mean, 0.0, sketch.channels)?;
    options.std = spread("--std", &arguments.std, 1.0, sketch.channels)?;
    let samples = |path: &Path, count| -> Result<Vec<Vec<f32>>, Failure> {
        let images = sample_images(path, &sketch, count)?;
        Ok(inputs(&sketch, &options, &images))
    };
    let calibration = match &arguments.calibrate {
        Some(path) => samples(path, arguments.calibrate_count)?,
        None => Vec::new(),
    };
    let checked = match &arguments.check {
        Some(path) => Some(samples(path, arguments.check_count)?),
        None => None,
    };
    progress.at(2);
    progress.doing("merging");
    let (model, report) =
        build(&graph, &calibration, &options, &mut seed.fork("model", &[]).stream()).map_err(broken)?;
    progress.at(3);
    let encoded = model.to_bytes().map_err(broken)?;
    write_privately(&arguments.output, &encoded)?;
    progress.at(4);
    drop(progress);
    let check = checked.map(|inputs| check(&arguments.network, &graph, &model, &inputs)).transpose()?;
    if arguments.json {
        return print_json(&Document {
            schema: "hushnet-merge/2",
            file: arguments.output.display().to_string(),
            bytes: encoded.len(),
            digest: hex(&model.manifest.digest().map_err(broken)?),
            seconds: start.elapsed().as_secs_f64(),
            report: &report,
            check,
        });
    }
    let mut text = report_text(&report, console);
    if let Some(ignored) = arguments.stochastic {
        text.push_str(&format!(
            "Stochastic activations, as asked for: sign tests ignore {ignored} bits. A value 0 <= y < 2^{ignored} becomes\n\
             zero with probability 1 - (y+1)/2^{ignored}, so the share of positive values that do is at most that in the\n\
             column \"to zero\".\n"
        ));
    }
    if let Some(check) = check {
        text.push('\n');
        text.push_str(&check.text());
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
        ProfileName::Exact => Profile::Exact,
    }
}

/// The network's inputs for sample images, scaled as `options` say.
fn inputs(sketch: &InputSpec, options: &BuildOptions, images: &[Image]) -> Vec<Vec<f32>> {
    let mut input = sketch.clone();
    input.scale = options.scale;
    input.mean.clone_from(&options.mean);
    input.std.clone_from(&options.std);
    input.limit = f64::INFINITY;
    images.iter().map(|image| network_input(&input, image)).collect()
}

/// The first `count` sample images, or all if there are fewer.
fn sample_images(path: &Path, input: &InputSpec, count: usize) -> Result<Vec<Image>, Failure> {
    use crate::images::ImageError;

    match read(path, wanted(input), 0, Some(count)) {
        Err(ImageError::TooFew { available, .. }) if available > 0 => {
            Ok(read(path, wanted(input), 0, Some(available))?)
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
