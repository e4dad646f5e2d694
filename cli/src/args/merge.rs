//! The flags of `hushnet merge`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Scale, above_zero, at_least_one, finite, positive};

/// `hushnet merge`
#[derive(Debug, Args)]
#[command(after_help = "\
Calibration runs sample images through the network and picks ranges from what it sees; without
--calibrate, random inputs are used with a wider margin. Inputs of the network are
(x·scale − mean) / std of raw pixels 0..255; the model remembers this, and clients apply it.

Examples:
  hushnet merge mnist.onnx -o mnist.hush --calibrate train-images-idx3-ubyte.gz
  hushnet merge mnist-8.onnx -o mnist-8.hush --profile narrow
  hushnet merge resnet.onnx -o resnet.hush --calibrate samples/ --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26
  hushnet merge mnist.onnx -o mnist.hush --check inputs.npy       beside ONNX Runtime, through Python
  hushnet merge mnist.onnx -o mnist.hush --replace list.json

A list for --replace names activations by the network file's node names:
  [{\"layer\": \"relu3\", \"function\": \"square\"},
   {\"layer\": \"relu5\", \"channels\": [0, 1, 2, 7], \"function\": \"identity\"},
   {\"layer\": \"relu6\", \"function\": {\"polynomial\": [0.2, 0.5, 0.2]}}]")]
pub(crate) struct Merge {
    /// The network
    #[arg(value_name = "MODEL.onnx")]
    pub(crate) network: PathBuf,
    /// The model file to write; it holds the weights: keep it to yourself
    #[arg(short, long, value_name = "MODEL.hush")]
    pub(crate) output: PathBuf,
    /// Sample images: a file or a folder of any kind that `infer` reads
    #[arg(long, value_name = "IMAGES")]
    pub(crate) calibrate: Option<PathBuf>,
    /// Use at most this many sample images
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive(1 << 20))]
    pub(crate) calibrate_count: usize,
    /// Factor on raw pixels, a number or a fraction
    #[arg(long, value_name = "S", default_value = "1/255")]
    pub(crate) scale: Scale,
    /// Mean per channel, after scaling
    #[arg(long, value_name = "M,..", value_delimiter = ',', allow_hyphen_values = true, value_parser = finite)]
    pub(crate) mean: Vec<f64>,
    /// Standard deviation per channel, after scaling
    #[arg(long, value_name = "D,..", value_delimiter = ',', value_parser = above_zero)]
    pub(crate) std: Vec<f64>,
    /// Ring degree and modulus
    #[arg(long, value_enum, default_value_t = ProfileName::Wide)]
    pub(crate) profile: ProfileName,
    /// How far above the largest value seen in calibration a layer's range reaches; the default depends on
    /// what it was calibrated with
    #[arg(long, value_name = "X", value_parser = at_least_one)]
    pub(crate) margin: Option<f64>,
    /// Cheaper, faulty activations: sign tests ignore H low bits of a result (default 3, 4, 7 by profile), and
    /// positive values below 2^H units may become zero. The report bounds their share of the positive values
    #[arg(long, value_name = "H", value_parser = clap::value_parser!(u32).range(1..=21))]
    pub(crate) stochastic: Option<u32>,
    /// Exchange activations by a list in JSON, per layer or per channel (see below)
    #[arg(long, value_name = "LIST.json")]
    pub(crate) replace: Option<PathBuf>,
    /// Take the weights' values from this file where the network names them
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) tensors: Option<PathBuf>,
    /// Compare with ONNX Runtime on these inputs (.npy, or any images), where Python has it
    #[arg(long, value_name = "INPUTS.npy")]
    pub(crate) check: Option<PathBuf>,
    /// Use at most this many inputs for --check
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = positive(1 << 20))]
    pub(crate) check_count: usize,
    /// Refuse a network in which an accepted input could overflow a layer
    #[arg(long)]
    pub(crate) strict: bool,
    /// Bits of the largest weight of a layer; default 8 or 12 by profile
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=19))]
    pub(crate) weight_bits: Option<u32>,
    /// Bits of the results that activations take; default 14, 16 or 18 by profile
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(6..=24))]
    pub(crate) ring_bits: Option<u32>,
    /// Name that clients see; default: the network file's
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Names of the profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileName {
    /// N = 1024, q < 2^26: smallest messages, labels only
    Tiny,
    /// N = 2048, q < 2^32: small messages, labels only
    Narrow,
    /// N = 2048, q < 2^50: room for the noise that hides the weights
    Wide,
    /// N = 4096, q of two primes: a client sees the fixed-point result with fresh rounding noise, up to 2^-40 and less
    Exact,
}

impl std::fmt::Display for ProfileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tiny => "tiny",
            Self::Narrow => "narrow",
            Self::Wide => "wide",
            Self::Exact => "exact",
        })
    }
}
