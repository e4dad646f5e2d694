//! Where the shared test data lives, and how to read it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;

/// The networks of the shared data that this crate must import: (data set, name).
pub(crate) const NETWORKS: [(&str, &str); 7] = [
    ("mnist", "mnist-8"),
    ("mnist", "burn_cnn_bn_mnist"),
    ("mnist", "falcon_minionn_mnist"),
    ("mnist", "falcon_secureml_mnist"),
    ("mnist", "vnncomp_mlp_256x2_mnist"),
    ("fashion-mnist", "fashion_cnn_bn"),
    ("digits", "digits_mlp"),
];

/// The folder of the shared data (`HUSHNET_DATA`, else `../shared/data` beside the workspace); `None`, loudly, if absent.
pub(crate) fn data() -> Option<PathBuf> {
    let path = std::env::var_os("HUSHNET_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no shared data at {} (set HUSHNET_DATA); this test checked NOTHING", path.display());
    None
}

/// The bytes of a shared file.
pub(crate) fn read(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The bytes of a network.
pub(crate) fn network(data: &std::path::Path, set: &str, name: &str) -> Vec<u8> {
    read(data.join(set).join("models").join(format!("{name}.onnx")))
}

/// Golden input and output number `k` of a network.
pub(crate) fn golden(data: &std::path::Path, set: &str, name: &str, k: usize) -> (Vec<f64>, Vec<f64>) {
    let folder = data.join(set).join("golden").join(name).join(format!("test_data_set_{k}"));
    let tensor = |file: &str| nn_merge::onnx::read_tensor(&read(folder.join(file))).expect("a tensor").1;
    (tensor("input_0.pb"), tensor("output_0.pb"))
}

/// Rows 0..200 of `expected/NAME.logits200.csv`.
pub(crate) fn expected_logits(data: &std::path::Path, set: &str, name: &str) -> Vec<Vec<f64>> {
    let text = String::from_utf8(read(data.join(set).join("expected").join(format!("{name}.logits200.csv"))));
    let text = text.expect("text");
    text.lines()
        .skip(1)
        .map(|line| line.split(',').skip(1).map(|v| v.parse().expect("a number")).collect())
        .collect()
}

/// The first `count` images of a set as network inputs (test half), scaled as the README of the data says.
pub(crate) fn images(data: &std::path::Path, set: &str, name: &str, count: usize) -> Vec<Vec<f64>> {
    if set == "digits" {
        let text = String::from_utf8(read(data.join("digits/digits.csv"))).expect("text");
        let rows = text.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_digit()));
        let rows: Vec<Vec<f64>> =
            rows.map(|l| l.split(',').map(|v| v.parse::<f64>().expect("a number")).collect()).collect();
        return rows[1297..].iter().take(count).map(|r| r[..64].iter().map(|p| p / 16.0).collect()).collect();
    }
    let raw = idx_images(&data.join(set).join("t10k-first5000-images-idx3-ubyte.gz"), count);
    let normal = name == "burn_cnn_bn_mnist";
    let scale = |p: &u8| match normal {
        true => (f64::from(*p) / 255.0 - 0.1307) / 0.3081,
        false => f64::from(*p) / 255.0,
    };
    raw.iter().map(|image| image.iter().map(scale).collect()).collect()
}

/// Raw pixels of a gzipped idx file of images.
pub(crate) fn idx_images(path: &std::path::Path, count: usize) -> Vec<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    bytes[16..].chunks(784).take(count).map(<[u8]>::to_vec).collect()
}

/// Index of the largest entry.
pub(crate) fn argmax(values: &[f64]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).expect("not empty")
}

/// Largest absolute difference of two vectors of equal length.
pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}
