//! What two parties run: the public manifest and the server's private weights.
//!
//! A [`Manifest`] is everything the client may know: shapes, ring widths, how an image becomes integers, and
//! a commitment to the weights. A [`Model`] is a manifest with the weights; it lives in the server's file and
//! its `Debug` form prints no weight.
//!
//! # One layer's arithmetic
//!
//! All of a layer happens in the *torus* (reals modulo 1), seen through integers of different widths:
//!
//! | quantity | integer form | one unit in real terms |
//! |---|---|---|
//! | activation `D` | in Z_2^p (`masked_bits`), signed | `1/units` |
//! | weight `w` | signed, |w| < 2^20 | `1/Dw` with `units · Dw · 2B = 2^p` |
//! | bias | i64, torus value × 2^62 | `2B / 2^62` |
//! | output `y` = Σ w·D / 2^p + bias | in Z_2^k (`ring_bits`), signed | `2B / 2^k` |
//!
//! `B` bounds the layer's real outputs. The next layer's activation is `relu(y) << shift` in Z_2^p of that
//! layer, so its `units` are `2^k/(2B) · 2^shift`. The last layer's outputs are the logits:
//! `logit = logit_scale · torus value in [-1/2, 1/2)` with `logit_scale = 2B`.
//!
//! # Not promised
//! The manifest names no weight, but layer bounds are visible through `logit_scale` and `shift`: one real
//! number and a few small integers per model. The commitment hides the weights (it is salted) and binds the
//! server to them.

mod format;
mod pool;
mod validate;

use conv_fast::ConvGeometry;
use he_core::Profile;
use serde::{Deserialize, Serialize};
use sha3::{Digest, Sha3_256};
use std::fmt;

pub use format::{MAX_MANIFEST_BYTES, MAX_MODEL_BYTES};
pub use pool::{PoolGeometry, PoolShape};
pub(crate) use validate::WEIGHT_BOUND;
pub use validate::{ProfileLimits, limits};

/// The public part of a model: all that the client knows of it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Manifest {
    /// A name for people, at most 128 characters.
    pub name: String,
    /// Ring degree and modulus of the linear layers.
    pub profile: Profile,
    /// How images become integers.
    pub input: InputSpec,
    /// The layers in order; the last one has no activation.
    pub layers: Vec<LayerSpec>,
    /// Number of outputs of the last layer.
    pub classes: usize,
    /// Real logit per unit of the torus: `logit = logit_scale · t`, `t` in [−1/2, 1/2). It is `2B` of the last layer.
    pub logit_scale: f64,
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

/// One linear layer and the activation after it, as far as both parties know it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// The node's name in the network file.
    pub name: String,
    /// Shape of the convolution (a fully connected layer is a 1×1 convolution on a 1×1 plane).
    pub geometry: ConvGeometry,
    /// p: the activations of this layer's input live in Z_2^p.
    pub masked_bits: u32,
    /// k: this layer's output lives in Z_2^k.
    pub ring_bits: u32,
    /// t: bits per coefficient of the preprocessing reply.
    pub reply_bits: u32,
    /// What follows; `None` exactly for the last layer.
    pub activation: Option<ActivationSpec>,
}

/// Max-pool (perhaps), ReLU, shift.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ActivationSpec {
    /// Maximum pooling before the ReLU.
    pub pool: Option<PoolGeometry>,
    /// h: low bits that the sign test ignores.
    pub ignored_bits: u32,
    /// j: the next layer's activation is `relu(y) << j`.
    pub shift: u32,
}

/// The server's private numbers of one layer.
#[derive(Clone, PartialEq)]
pub struct LayerWeights {
    /// Row-major O × C/groups × kh × kw; |w| < 2^20.
    pub weights: Vec<i32>,
    /// One per output channel O, in units of 2^-62 of the torus, in [−2^61, 2^61].
    pub bias: Vec<i64>,
}

impl fmt::Debug for LayerWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerWeights({} weights, {} biases, redacted)", self.weights.len(), self.bias.len())
    }
}

/// A network ready to be served: manifest, weights, and the salt of the commitment.
#[derive(Clone, PartialEq)]
pub struct Model {
    /// The public part.
    pub manifest: Manifest,
    /// The private part, layer by layer.
    pub layers: Vec<LayerWeights>,
    /// Random salt of the weights' commitment; private.
    pub salt: [u8; 32],
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("manifest", &self.manifest)
            .field("layers", &self.layers)
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
        hash.update(b"hushnet manifest v1");
        hash.update(self.encode()?);
        Ok(hash.finalize().into())
    }

    /// Number of elements of one input tensor.
    pub fn input_len(&self) -> usize {
        self.input.channels * self.input.height * self.input.width
    }

    /// Elements that pass through the activation of layer `index` (after its pooling); 0 for the last layer.
    pub fn activations(&self, index: usize) -> usize {
        match self.layers.get(index) {
            Some(LayerSpec { activation: Some(a), geometry, .. }) => {
                a.pool.as_ref().map_or(geometry.output_len(), PoolGeometry::output_len)
            }
            _ => 0,
        }
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
    pub fn commitment(salt: &[u8; 32], layers: &[LayerWeights]) -> [u8; 32] {
        let mut hash = Sha3_256::new();
        hash.update(b"hushnet weights v1");
        hash.update(salt);
        for layer in layers {
            hash.update((layer.weights.len() as u64).to_le_bytes());
            layer.weights.iter().for_each(|w| hash.update(w.to_le_bytes()));
            hash.update((layer.bias.len() as u64).to_le_bytes());
            layer.bias.iter().for_each(|b| hash.update(b.to_le_bytes()));
        }
        hash.finalize().into()
    }
}
