//! What two parties run: the public manifest and the server's private weights.
//!
//! A [`Manifest`] is everything the client may know: shapes, ring widths, how an image becomes integers, and
//! a commitment to the weights. A [`Model`] is a manifest with the weights; it lives in the server's file and
//! its `Debug` form prints no weight.
//!
//! # Arithmetic
//!
//! All of it happens in the *torus* (reals modulo 1), seen through integers of different widths. Where a masked tensor
//! z in Z_2^w (with `units` integers per real unit) enters a linear map, and B bounds the real values of the raw tensor
//! that the map (or the sum it is part of) gives:
//!
//! | quantity | integer form | one unit in real terms |
//! |---|---|---|
//! | input of the map `z` | in Z_2^w (`width`), signed | `1/units` |
//! | weight `v` | signed, |v| < 2^20 | `1/Dw` with `units · Dw · 2B = 2^w` |
//! | bias | i64, torus value × 2^62 | `2B / 2^62` |
//! | raw value | torus value Σ v·z / 2^w + bias, shared in Z_q | torus value 1 is `2B` |
//! | value `y` of an activation | the raw value times 2^k, in Z_2^k, signed | `2B / 2^k` |
//!
//! An activation's result is the integer that its function gives of y (see [`FunctionSpec`]), plus the server's private
//! offset, in Z_2^w of the activation; what a unit of it is worth the weights behind it know, channel by channel. The
//! manifest's output is a raw tensor: the logits are `scale` times its torus values in [-1/2, 1/2).
//!
//! # Not promised
//! The manifest names no weight, but what is in units of a layer shows its bound B: the output's scale, the corners of
//! clips, the factors of sums, the widths. The commitment hides the weights (it is salted) and binds the
//! server to them.

mod format;
mod local;
mod node;
mod pool;
mod validate;

use he_core::Profile;
use serde::{Deserialize, Serialize};
use sha3::{Digest, Sha3_256};
use std::fmt;

pub use format::{MAX_MANIFEST_BYTES, MAX_MODEL_BYTES};
pub use local::{IndexMap, LocalOp};
pub use node::{ActivationSpec, FunctionSpec, Kind, NodeSpec, OpSpec, PartSpec, Shape, SmoothName};
pub use pool::{PoolGeometry, PoolShape};
pub(crate) use validate::{BIAS_BOUND, WEIGHT_BOUND};
pub use validate::{ProfileLimits, Tensor, limits};

/// The public part of a model: all that the client knows of it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Manifest {
    /// A name for people, at most 128 characters.
    pub name: String,
    /// Ring degree and modulus of the linear layers.
    pub profile: Profile,
    /// How images become integers.
    pub input: InputSpec,
    /// The nodes in topological order; node 0 is the input.
    pub nodes: Vec<NodeSpec>,
    /// What the client gets.
    pub output: OutputSpec,
    /// SHA3-256 over the salted weights; see [`Model::commitment`].
    pub weights_commitment: [u8; 32],
}

/// How an image of raw 0..255 pixels becomes the first layer's integers.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct InputSpec {
    /// Colour channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The network's own tensor order is N×H×W×C (it matters only when reading `.npy` tensors: images are
    /// always brought to C×H×W, and so is what the layers take).
    pub channels_last: bool,
    /// Factor on raw pixels: value = (pixel · scale − mean) / std.
    pub scale: f64,
    /// Mean per channel, after scaling.
    pub mean: Vec<f64>,
    /// Standard deviation per channel, positive.
    pub std: Vec<f64>,
    /// Integers per real unit: D = round(value · units).
    pub units: f64,
    /// Largest |value| that is accepted.
    pub limit: f64,
}

/// The raw tensor that holds the logits.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct OutputSpec {
    /// Its node.
    pub node: u32,
    /// k: the logits are read in Z_2^k.
    pub ring_bits: u32,
    /// Real logit per unit of the torus: `logit = scale · t`, `t` in [−1/2, 1/2).
    pub scale: f64,
}

/// The server's private numbers of one node; empty where it has none.
///
/// | node | weights | bias |
/// |---|---|---|
/// | linear | row-major O × C/groups × kh × kw, \|w\| < 2^20 | per output channel or per output element, 2^-62 of the torus |
/// | sum | – | none, per channel or per element, 2^-62 of the torus |
/// | activation | – | none or per output channel: the offset that is added to its results, in units of Z_2^w |
/// | other | – | – |
///
/// Biases are in [−2^61, 2^61].
#[derive(Clone, Default, PartialEq)]
pub struct NodeWeights {
    /// Weights.
    pub weights: Vec<i32>,
    /// Biases or offsets.
    pub bias: Vec<i64>,
}

impl fmt::Debug for NodeWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeWeights({} weights, {} biases, redacted)", self.weights.len(), self.bias.len())
    }
}

/// A network ready to be served: manifest, weights, and the salt of the commitment.
#[derive(Clone, PartialEq)]
pub struct Model {
    /// The public part.
    pub manifest: Manifest,
    /// The private part, node by node.
    pub nodes: Vec<NodeWeights>,
    /// Random salt of the weights' commitment; private.
    pub salt: [u8; 32],
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("manifest", &self.manifest)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

impl Manifest {
    /// The 32 bytes that name this manifest: SHA3-256 of a domain label and the encoded manifest.
    ///
    /// Both parties compute it and compare in the handshake.
    ///
    /// # Errors
    /// [`NnError::Manifest`](crate::NnError::Manifest) if the manifest does not fit its size cap.
    pub fn digest(&self) -> Result<[u8; 32], crate::NnError> {
        let mut hash = Sha3_256::new();
        hash.update(b"hushnet manifest v2");
        hash.update(self.encode()?);
        Ok(hash.finalize().into())
    }

    /// Number of logits; 0 for a manifest that is not valid.
    pub fn classes(&self) -> usize {
        let tensors = self.tensors().unwrap_or_default();
        tensors.get(self.output.node as usize).map_or(0, Tensor::elements)
    }

    /// Number of elements of one input tensor.
    pub fn input_len(&self) -> usize {
        self.input.channels * self.input.height * self.input.width
    }
}

impl InputSpec {
    /// The integer form of one real input value: `round(value · units)`, ties away from zero.
    pub fn quantize(&self, value: f64) -> i64 {
        (value * self.units).round() as i64
    }

    /// The real network input of a raw pixel of `channel` (0 for unknown channels' mean, 1 for their std).
    pub fn normalize(&self, pixel: f64, channel: usize) -> f64 {
        let mean = self.mean.get(channel).copied().unwrap_or(0.0);
        let std = self.std.get(channel).copied().unwrap_or(1.0);
        (pixel * self.scale - mean) / std
    }
}

impl Model {
    /// SHA3-256 over label, salt and all weights and biases: what [`Manifest::weights_commitment`] must hold.
    pub fn commitment(salt: &[u8; 32], nodes: &[NodeWeights]) -> [u8; 32] {
        let mut hash = Sha3_256::new();
        hash.update(b"hushnet weights v2");
        hash.update(salt);
        for node in nodes {
            hash.update((node.weights.len() as u64).to_le_bytes());
            node.weights.iter().for_each(|w| hash.update(w.to_le_bytes()));
            hash.update((node.bias.len() as u64).to_le_bytes());
            node.bias.iter().for_each(|b| hash.update(b.to_le_bytes()));
        }
        hash.finalize().into()
    }
}
