//! What tests of several kinds of sessions share: random networks and models, trained networks, peers that follow no rules.

use std::path::{Path, PathBuf};
use std::time::Duration;

use conv_fast::{ConvGeometry, ConvShape};
use he_core::{Profile, Seed};
use nn_merge::evaluate::Evaluator;
use nn_merge::graph::{Function, Linear, Op};
use nn_merge::{BuildOptions, Graph, Model, build};
use rand_core::Rng;

use crate::ProtocolError;
use crate::channel::{Channel, Kind, pair};

/// Deadline of messages in tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A frame, and what it holds.
pub(crate) type Frame = (Kind, usize, Vec<u8>);

/// Randomness of the system, printed.
pub(crate) fn fresh_seed() -> Seed {
    let mut stream = Seed::from_os().unwrap().stream();
    let mut bytes = [0; 32];
    stream.fill_bytes(&mut bytes);
    println!("seed {bytes:?}");
    Seed::from_bytes(bytes)
}

/// A number in (-1, 1).
pub(crate) fn number(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (-52_f64).exp2() - 1.0
}

/// A convolution of random weights that keep the size of values.
pub(crate) fn linear(rng: &mut impl Rng, shape: ConvShape) -> Op {
    let geometry = ConvGeometry::new(shape).unwrap();
    let size = (3.0 / geometry.terms() as f64).sqrt();
    let weights = (0..geometry.weights_len()).map(|_| size * number(rng)).collect();
    let bias = (0..shape.out_channels).map(|_| 0.3 * number(rng)).collect();
    Op::Linear(Linear::new("linear", geometry, weights, bias).unwrap())
}

/// A quadratic, one for each of `rows` channels.
pub(crate) fn quadratic(rng: &mut impl Rng, rows: usize) -> Op {
    let row = |_| vec![0.3 * number(rng), 0.5 * number(rng), 0.6 + 0.3 * number(rng)];
    Op::Activation(Function::Polynomial { coefficients: (0..rows).map(row).collect() })
}

/// Linear maps and squares on 2 x 9 x 8 images: strides, groups, padding, a pool, channels with quadratics of their own.
pub(crate) fn network(rng: &mut impl Rng) -> Graph {
    let mut graph = Graph::new("image", &[1, 2, 9, 8]).unwrap();
    let stride = ConvShape { stride: [2; 2], ..ConvShape::same([2, 6], [9, 8], 3) };
    let first = graph.push("conv1", linear(rng, stride), &[0]).unwrap();
    let square = graph.push("square1", quadratic(rng, 6), &[first]).unwrap();
    let groups = ConvShape { groups: 2, ..ConvShape::same([6, 4], [5, 4], 3) };
    let second = graph.push("conv2", linear(rng, groups), &[square]).unwrap();
    let square = graph.push("square2", quadratic(rng, 1), &[second]).unwrap();
    let flat = graph.push("flat", Op::Reshape(vec![1, 80]), &[square]).unwrap();
    let dense = ConvShape { padding: [0; 4], ..ConvShape::same([80, 5], [1, 1], 1) };
    graph.push("dense", linear(rng, dense), &[flat]).unwrap();
    graph
}

pub(crate) fn images(rng: &mut impl Rng, count: usize, elements: usize) -> Vec<Vec<f64>> {
    (0..count).map(|_| (0..elements).map(|_| 0.5 + 0.5 * number(rng)).collect()).collect()
}

pub(crate) fn model(graph: &Graph, rng: &mut impl Rng) -> Model {
    let calibration = rounded(images(rng, 32, graph.input_len()));
    build(graph, &calibration, &BuildOptions::new(Profile::Wide, "random"), rng).unwrap().0
}

pub(crate) fn seed(at: u8) -> Seed {
    Seed::from_bytes([at; 32])
}

pub(crate) fn worst(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Two linear maps on 4 values, 8 between, 3 results.
pub(crate) fn small_model() -> Model {
    let mut rng = Seed::from_bytes([170; 32]).stream();
    let mut graph = Graph::new("image", &[1, 1, 2, 2]).unwrap();
    let conv = graph.push("conv", linear(&mut rng, ConvShape::same([1, 2], [2, 2], 3)), &[0]).unwrap();
    let square = graph.push("square", quadratic(&mut rng, 1), &[conv]).unwrap();
    let flat = graph.push("flat", Op::Reshape(vec![1, 8]), &[square]).unwrap();
    let dense = ConvShape { padding: [0; 4], ..ConvShape::same([8, 3], [1, 1], 1) };
    graph.push("dense", linear(&mut rng, dense), &[flat]).unwrap();
    model(&graph, &mut rng)
}

/// Runs `own` on one end of a connection whose other end sends these frames and reads nothing.
pub(crate) fn against<T: Send>(
    frames: &[Frame],
    own: impl FnOnce(&mut Channel) -> Result<T, ProtocolError> + Send,
) -> Result<T, ProtocolError> {
    let (left, right) = pair();
    std::thread::scope(|scope| {
        let own = scope.spawn(move || own(&mut Channel::new(left, PATIENCE)));
        let mut peer = Channel::new(right, PATIENCE);
        for (kind, layer, bytes) in frames {
            // A receiver that has refused hangs up: what is left is not sent.
            if peer.send(*kind, *layer, bytes).and_then(|()| peer.flush()).is_err() {
                break;
            }
        }
        // The peer listens to the end, so that nobody fails for want of a listener.
        let result = own.join().expect("no panic");
        drop(peer);
        result
    })
}

pub(crate) fn is_blamed<T>(result: &Result<T, ProtocolError>) -> bool {
    matches!(result, Err(ProtocolError::Peer(_)))
}

/// A trained network with the first of its test images.
pub(crate) struct Trained {
    /// Its file's name.
    pub(crate) name: &'static str,
    pub(crate) model: Model,
    pub(crate) images: Vec<Vec<f64>>,
    /// The true labels of all test images.
    pub(crate) labels: Vec<u8>,
    /// Logits of the images by the network as it was trained.
    pub(crate) expected: Vec<Vec<f64>>,
}

/// The trained networks of squares: file, folder of the data set.
pub(crate) const SQUARES: &[[&str; 2]] = &[
    ["training/networks/mnist_poly.onnx", "mnist"],
    ["training/networks/fashion_poly.onnx", "fashion-mnist"],
];
/// Those of ReLUs and max-pooling, of which the second is among the shared data.
pub(crate) const RELUS: &[[&str; 2]] =
    &[["cli/assets/mnist_cnn.onnx", "mnist"], ["fashion-mnist/models/fashion_cnn_bn.onnx", "fashion-mnist"]];

/// The shared data: beside the repository, or at `HUSHNET_DATA`.
pub(crate) fn shared_data() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("HUSHNET_DATA").map_or_else(|| root.join("../shared/data"), Into::into)
}

/// Trained networks, each with so many test images of the [shared data](shared_data).
pub(crate) fn trained(networks: &'static [[&str; 2]], count: usize) -> impl Iterator<Item = Trained> {
    let (root, data) = (Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), shared_data());
    networks.iter().map(move |&[file, set]| {
        let unzip = |file: &str| {
            let file = std::fs::File::open(data.join(set).join(file)).unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(file), &mut bytes).unwrap();
            bytes
        };
        let pixels = |bytes: &[u8], count: usize| -> Vec<Vec<f64>> {
            let images = bytes[16..].chunks_exact(784).take(count);
            images.map(|image| image.iter().map(|&p| f64::from(p) / 255.0).collect()).collect()
        };
        let images = pixels(&unzip("t10k-first5000-images-idx3-ubyte.gz"), count);
        let labels = unzip("t10k-first5000-labels-idx1-ubyte.gz")[8..].to_vec();
        let calibration = rounded(pixels(&unzip("train-images-idx3-ubyte.gz"), 256));
        let name = Path::new(file).file_stem().and_then(|name| name.to_str()).unwrap();
        let bytes = std::fs::read(root.join(file)).or_else(|_| std::fs::read(data.join(file))).unwrap();
        let graph = nn_merge::onnx::import(&bytes).unwrap();
        let options = BuildOptions::new(Profile::Wide, name);
        let model = build(&graph, &calibration, &options, &mut seed(11).stream()).unwrap().0;
        let expected = Evaluator::<f64>::new(&graph).unwrap().run_all(&images).unwrap();
        Trained { name, model, images, labels, expected }
    })
}

fn rounded(images: Vec<Vec<f64>>) -> Vec<Vec<f32>> {
    images.into_iter().map(|image| image.into_iter().map(|v| v as f32).collect()).collect()
}
