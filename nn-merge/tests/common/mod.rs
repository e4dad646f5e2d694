//! Where the shared test data lives, and how to read it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;

pub(crate) mod writer;

/// The networks of the shared data: (data set, name). SqueezeNet has no list of logits, only golden outputs.
pub(crate) const NETWORKS: [(&str, &str); 20] = [
    ("mnist", "mnist-8"),
    ("mnist", "burn_cnn_bn_mnist"),
    ("mnist", "falcon_minionn_mnist"),
    ("mnist", "falcon_secureml_mnist"),
    ("mnist", "vnncomp_mlp_256x2_mnist"),
    ("fashion-mnist", "fashion_cnn_bn"),
    ("digits", "digits_mlp"),
    ("cifar10", "vnncomp_cifar10_small_nhwc"),
    ("cifar10", "delphi_minionn_cifar10_poly"),
    ("cifar10", "delphi_minionn_cifar10_relu"),
    ("cifar10", "delphi_minionn_cifar10_relu6"),
    ("cifar10", "fhempcnn_resnet20_cifar10"),
    ("cifar10", "resnet20_cifar10"),
    ("cifar10", "resnet20_cifar10_bnfolded"),
    ("cifar10", "resnet20_cifar10_conv1x1"),
    ("cifar10", "resnet20_cifar10_torchexport"),
    ("cifar10", "resnet32_cifar10"),
    ("cifar10", "resnet56_cifar10"),
    ("cifar100", "delphi_resnet32_cifar100"),
    ("cifar100", "fhempcnn_resnet32_cifar100"),
];

/// The large one: golden outputs of two photographs.
pub(crate) const SQUEEZENET: (&str, &str) = ("imagenet", "squeezenet1_0_imagenet");

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
    if let Some(file) = match set {
        "cifar10" => Some("test-first5000.bin"),
        "cifar100" => Some("test-a2000.bin"),
        _ => None,
    } {
        return colour_images(&read(data.join(set).join(file)), name, count);
    }
    let raw = idx_images(&data.join(set).join("t10k-first5000-images-idx3-ubyte.gz"), count);
    let normal = name == "burn_cnn_bn_mnist";
    let scale = |p: &u8| match normal {
        true => (f64::from(*p) / 255.0 - 0.1307) / 0.3081,
        false => f64::from(*p) / 255.0,
    };
    raw.iter().map(|image| image.iter().map(scale).collect()).collect()
}

/// Images of the CIFAR form (a label, then three planes), scaled as the network `name` wants them, planes first.
pub(crate) fn colour_images(bytes: &[u8], name: &str, count: usize) -> Vec<Vec<f64>> {
    let (mean, std) = match name {
        n if n.starts_with("resnet") => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        "fhempcnn_resnet20_cifar10" => ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
        "fhempcnn_resnet32_cifar100" => ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
        _ => ([0.0; 3], [1.0; 3]),
    };
    let scale = |(i, &p): (usize, &u8)| (f64::from(p) / 255.0 - mean[i / 1024]) / std[i / 1024];
    bytes
        .chunks_exact(3073)
        .take(count)
        .map(|record| record[1..].iter().enumerate().map(scale).collect())
        .collect()
}

/// An image of order H×W×C as C×H×W.
pub(crate) fn planes_first(image: &[f64], channels: usize) -> Vec<f64> {
    (0..channels).flat_map(|c| image.iter().skip(c).step_by(channels).copied()).collect()
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
