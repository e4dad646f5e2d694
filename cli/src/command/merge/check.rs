//! `hushnet merge --check`: the network as imported, merged and quantised beside ONNX Runtime on the same inputs.
//!
//! ONNX Runtime is asked through Python, where that is there with the package `onnxruntime`: the interpreter of
//! `HUSHNET_PYTHON`, else `python3`. Without it the comparison is with our own float evaluation alone, and says so.
//! Tensors travel as raw little-endian `f32` in a temporary folder that only the owner can read.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nn_merge::evaluate::Evaluator;
use nn_merge::fixed_point::{evaluate_exact, first_largest, quantize_image};
use nn_merge::model::InputSpec;
use nn_merge::{Graph, Model, NnError};
use serde::Serialize;

use crate::error::Failure;
use crate::output::counted;
use crate::terminal::table;

/// Runs every input alone, since networks are checked for one image at a time.
const SCRIPT: &str = r#"
import sys
import numpy
import onnxruntime
model, source, target = sys.argv[1:4]
count, channels, height, width, last = map(int, sys.argv[4:9])
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
initialisers = {value.name for value in session.get_overridable_initializers()}
entry = [value for value in session.get_inputs() if value.name not in initialisers][0]
shape = [side if isinstance(side, int) and side > 0 else 1 for side in entry.shape]
kinds = {"tensor(float)": numpy.float32, "tensor(double)": numpy.float64, "tensor(float16)": numpy.float16}
images = numpy.fromfile(source, dtype="<f4").reshape(count, channels, height, width)
results = []
for image in images:
    image = image.transpose(1, 2, 0) if last else image
    value = numpy.ascontiguousarray(image).reshape(shape).astype(kinds.get(entry.type, numpy.float32))
    results.append(numpy.asarray(session.run(None, {entry.name: value})[0]).astype("<f4").ravel())
numpy.stack(results).tofile(target)
print(onnxruntime.__version__)
"#;

/// How far one form of the network is from the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    /// Which form.
    pub(crate) form: &'static str,
    /// Largest difference of a result; none where the results are labels.
    pub(crate) largest_difference: Option<f64>,
    /// Inputs with the same label.
    pub(crate) same_labels: usize,
}

/// What the check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Check {
    /// The reference: ONNX Runtime and its version, or our own float evaluation.
    pub(crate) reference: String,
    /// Whether the reference is ONNX Runtime.
    pub(crate) independent: bool,
    /// Number of inputs.
    pub(crate) inputs: usize,
    /// One row per form of the network.
    pub(crate) rows: Vec<Comparison>,
}

/// Compares on `inputs` (network inputs, channels × height × width).
///
/// # Errors
/// ONNX Runtime refusing the network, inputs outside the model's range, no temporary folder.
pub(crate) fn check(
    network: &Path,
    graph: &Graph,
    model: &Model,
    inputs: &[Vec<f32>],
) -> Result<Check, Failure> {
    let broken = |source: NnError| Failure::Model { path: network.to_owned(), source };
    let float = Evaluator::<f32>::new(graph).and_then(|own| own.run_all(inputs)).map_err(broken)?;
    let fixed = inputs
        .iter()
        .map(|input| {
            let integers = quantize_image(&model.manifest, input)?;
            evaluate_exact(model, &integers, None).map(|exact| exact.logits)
        })
        .collect::<Result<Vec<Vec<f64>>, NnError>>()
        .map_err(broken)?;
    let own: Vec<Vec<f64>> = float.iter().map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect();
    let asked = runtime(network, &model.manifest.input, inputs)?;
    let independent = asked.is_some();
    let (reference, results) = match asked {
        Some((version, results)) => (format!("ONNX Runtime {version}"), results),
        None => ("this program's float evaluation".to_owned(), own.clone()),
    };
    let mut rows = Vec::new();
    if independent {
        rows.push(compare("as imported, float", &results, &own));
    }
    rows.push(compare("merged, fixed point", &results, &fixed));
    Ok(Check { reference, independent, inputs: inputs.len(), rows })
}

impl Check {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                vec![
                    row.form.to_owned(),
                    row.largest_difference.map_or_else(|| "–".to_owned(), |v| format!("{v:.2e}")),
                    format!("{} of {}", row.same_labels, self.inputs),
                ]
            })
            .collect();
        let mut text = format!(
            "Check on {} against {}\n{}\n",
            counted(self.inputs, "input"),
            self.reference,
            table(&["network", "largest difference", "same label"], &rows)
        );
        if !self.independent {
            text.push_str(
                "ONNX Runtime was not found: install Python's `onnxruntime`, or name an interpreter that has it in \
                 HUSHNET_PYTHON.\n",
            );
        }
        text
    }
}

/// One row. A reference of a single number per input beside several results is the label itself (a network that ends in
/// an arg-max); results of a softmax or its logarithm are compared by label, since
/// ours are logits.
fn compare(form: &'static str, reference: &[Vec<f64>], results: &[Vec<f64>]) -> Comparison {
    let mut largest = Some(0.0f64);
    let mut same = 0;
    for (wanted, got) in reference.iter().zip(results) {
        let label = match wanted[..] {
            [label] if got.len() > 1 => label as usize,
            _ => first_largest(wanted),
        };
        same += usize::from(label == first_largest(got));
        let probabilities = |row: &[f64]| {
            let exponentials = row.iter().map(|v| v.exp()).sum::<f64>();
            let plain =
                row.iter().all(|v| (0.0..=1.0).contains(v)) && (row.iter().sum::<f64>() - 1.0).abs() < 1e-3;
            plain || (row.iter().all(|v| *v <= 0.0) && (exponentials - 1.0).abs() < 1e-3)
        };
        if wanted.len() != got.len() || (wanted.len() > 1 && probabilities(wanted) && !probabilities(got)) {
            largest = None;
        }
        let difference = wanted.iter().zip(got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        largest = largest.map(|so_far| so_far.max(difference));
    }
    Comparison { form, largest_difference: largest, same_labels: same }
}

/// A version, and one row of results per input.
type Answer = (String, Vec<Vec<f64>>);

/// ONNX Runtime's version and results; none where Python or the package is missing.
fn runtime(network: &Path, input: &InputSpec, inputs: &[Vec<f32>]) -> Result<Option<Answer>, Failure> {
    let python = std::env::var_os("HUSHNET_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let probe = Command::new(&python)
        .args(["-c", "import numpy, onnxruntime"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let system = |doing, reason: String| Failure::System { doing, reason };
    let folder =
        tempfile::tempdir().map_err(|error| system("making a temporary folder", error.to_string()))?;
    let (source, target) = (folder.path().join("inputs"), folder.path().join("outputs"));
    let bytes: Vec<u8> = inputs.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(&source, bytes).map_err(|error| Failure::File {
        path: source.clone(),
        doing: "writing",
        source: error,
    })?;
    let numbers = [inputs.len(), input.channels, input.height, input.width, usize::from(input.channels_last)];
    let output = Command::new(&python)
        .args(["-c", SCRIPT])
        .args([network, &source, &target])
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| system("running Python", error.to_string()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.lines().last().unwrap_or("no word of why").chars().filter(|c| !c.is_control());
        return Err(system("asking ONNX Runtime", last.take(400).collect()));
    }
    let bytes = std::fs::read(&target).map_err(|error| Failure::File {
        path: target.clone(),
        doing: "reading",
        source: error,
    })?;
    let values: Vec<f64> = bytes
        .chunks_exact(4)
        .map(|word| f64::from(f32::from_le_bytes([word[0], word[1], word[2], word[3]])))
        .collect();
    if inputs.is_empty() || values.is_empty() || !values.len().is_multiple_of(inputs.len()) {
        return Err(system(
            "asking ONNX Runtime",
            format!("{} results for {} inputs", values.len(), inputs.len()),
        ));
    }
    let rows = values.chunks(values.len() / inputs.len()).map(<[f64]>::to_vec).collect();
    Ok(Some((String::from_utf8_lossy(&output.stdout).trim().to_owned(), rows)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_by_value_and_label() {
        let reference = [vec![0.0, 2.0, 1.0], vec![3.0, 0.0, 0.0]];
        let results = [vec![0.0, 2.5, 1.0], vec![0.0, 3.0, 0.0]];
        let row = compare("x", &reference, &results);
        assert_eq!((row.same_labels, row.largest_difference), (1, Some(3.0)));
        let labels = [vec![1.0], vec![1.0]];
        let row = compare("x", &labels, &results);
        assert_eq!((row.same_labels, row.largest_difference), (2, None));
        let softmax = [vec![0.1, 0.8, 0.1], vec![0.2, 0.7, 0.1]];
        assert_eq!(compare("x", &softmax, &results).largest_difference, None);
        assert_eq!(compare("x", &softmax, &softmax).largest_difference, Some(0.0));
        let logarithms: [Vec<f64>; 2] = softmax.map(|row| row.into_iter().map(f64::ln).collect());
        assert_eq!(compare("x", &logarithms, &results).largest_difference, None);
    }
}
