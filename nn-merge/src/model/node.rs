//! The nodes of a manifest: what both parties compute, tensor by tensor, in topological order.
//!
//! Every tensor has a shape channels × height × width (a vector is n × 1 × 1), row-major, and one of two [`Kind`]s:
//!
//! - **masked**: integers z of which the server holds Z = z − ρ and the client ρ, in Z_2^w. An input or an activation makes
//!   them; ρ is the client's choice, fixed in preprocessing.
//! - **raw**: results of linear maps, shared additively in Z_q, read as torus values: y/2B = (m + c)/q modulo 1.
//!
//! | node | takes | gives | interaction |
//! |---|---|---|---|
//! | input | – | masked | the client sends Z |
//! | linear | one masked | raw | none online |
//! | sum | raw ones, and masked ones with a public factor | raw | none |
//! | activation | one raw | masked | the steps of [`ss_core::activation`] |
//! | local | masked ones of one width, or raw ones | the same kind | none: an index map, sums of disjoint or overlapping windows |
//!
//! A sum with one masked operand turns an activation's result into a raw tensor again, for free: that is how a second
//! activation, a residual connection or the network's output follows an activation. In a sum, the masked z with factor v
//! counts as the torus value v·z/2^w.

use conv_fast::ConvGeometry;
use serde::{Deserialize, Serialize};
use ss_core::activation::Activation;
use ss_core::lookup::{Input, LookupSpec, Output};
use ss_core::spline::Smooth;

use super::PoolGeometry;
use super::local::LocalOp;
use crate::error::NnError;

/// Channels, height, width.
pub type Shape = [usize; 3];

/// How a tensor is shared; see [`model`](crate::model).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In Z_2^width, the client's share being its free choice.
    Masked {
        /// w.
        width: u32,
    },
    /// In Z_q.
    Raw,
}

/// One node.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct NodeSpec {
    /// The node's name in the network file, or made up.
    pub name: String,
    /// What it computes.
    pub op: OpSpec,
    /// The nodes it reads, all before it.
    pub inputs: Vec<u32>,
}

/// What a node computes.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum OpSpec {
    /// The network's input: node 0 and only node 0.
    Input {
        /// w: the quantised input lives in Z_2^w.
        width: u32,
    },
    /// A convolution or fully connected layer (a 1×1 convolution on a 1×1 plane, of any tensor with as many elements).
    Linear {
        /// Its shape.
        geometry: ConvGeometry,
        /// t: bits per coefficient of the preprocessing replies.
        reply_bits: u32,
    },
    /// The sum of its inputs.
    Sum {
        /// One per input: 1 for a raw one, the public factor v of a masked one.
        factors: Vec<i64>,
    },
    /// Switch to Z_2^k, maximum pooling (perhaps), a function, a new mask.
    Activation(ActivationSpec),
    /// A map that both parties apply to their shares.
    Local(LocalOp),
}

/// An activation; its result is masked.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ActivationSpec {
    /// k: values enter in Z_2^k.
    pub ring_bits: u32,
    /// h: low bits that sign tests ignore.
    pub ignored_bits: u32,
    /// w: results leave in Z_2^w.
    pub width: u32,
    /// Maximum pooling before the functions.
    pub pool: Option<PoolGeometry>,
    /// The functions and the channels they act on; together they cover every channel once.
    pub parts: Vec<PartSpec>,
}

/// A function on some channels.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct PartSpec {
    /// Runs of channels, ascending: first channel and number of channels.
    pub channels: Vec<(u32, u32)>,
    /// The function.
    pub function: FunctionSpec,
}

/// A scalar function of y, the integer in Z_2^k; all numbers are public and in units of y.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum FunctionSpec {
    /// y: only the ring and the mask change.
    Identity,
    /// max(y, 0).
    Relu,
    /// min(max(y, low), high).
    Clip {
        /// Lower end.
        low: i64,
        /// Upper end.
        high: i64,
    },
    /// negative·y below zero, positive·y above.
    Leaky {
        /// Slope below zero.
        negative: i64,
        /// Slope above zero.
        positive: i64,
    },
    /// Two results: max(y, 0), and y. The channels of the second follow all channels of the first. Stands alone.
    PRelu,
    /// Σ coefficients\[e\]·y^e.
    Polynomial {
        /// From the constant up.
        coefficients: Vec<i64>,
    },
    /// y·min(max(y + three, 0), 2·three).
    HardSwish {
        /// The real number three in units of y.
        three: i64,
    },
    /// A smooth function by its table.
    Smooth {
        /// Which.
        function: SmoothName,
        /// The real worth of one unit of y.
        step: f64,
        /// Units of the result per 1.0.
        scale: f64,
        /// Wanted bound on the real error.
        tolerance: f64,
    },
}

/// The smooth functions of [`ss_core::spline`], as a manifest names them.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of ss_core::spline::Smooth, which says what they are")]
pub enum SmoothName {
    Sigmoid,
    Tanh,
    Gelu,
    GeluTanh,
    Silu,
    Softplus,
    Elu,
    Exp,
}

impl SmoothName {
    /// The function itself.
    pub fn function(self) -> Smooth {
        match self {
            Self::Sigmoid => Smooth::Sigmoid,
            Self::Tanh => Smooth::Tanh,
            Self::Gelu => Smooth::Gelu,
            Self::GeluTanh => Smooth::GeluTanh,
            Self::Silu => Smooth::Silu,
            Self::Softplus => Smooth::Softplus,
            Self::Elu => Smooth::Elu,
            Self::Exp => Smooth::Exp,
        }
    }
}

impl FunctionSpec {
    /// The same function as [`ss_core::activation`] plans it, from Z_2^ring_bits into Z_2^width.
    ///
    /// # Errors
    /// [`NnError::Manifest`] where a table's numbers do not fit each other.
    pub fn activation(&self, ring_bits: u32, width: u32) -> Result<Activation, NnError> {
        Ok(match self {
            Self::Identity => Activation::Polynomial { coefficients: vec![0, 1] },
            Self::Relu => Activation::Relu,
            &Self::Clip { low, high } => Activation::Clip { low, high },
            &Self::Leaky { negative, positive } => Activation::Leaky { negative, positive },
            Self::PRelu => Activation::PRelu,
            Self::Polynomial { coefficients } => {
                Activation::Polynomial { coefficients: coefficients.clone() }
            }
            &Self::HardSwish { three } => Activation::HardSwish { three },
            &Self::Smooth { function, step, scale, tolerance } => {
                let (input, output) = (Input { bits: ring_bits, step }, Output { bits: width, scale });
                let spec = LookupSpec::within(function.function(), input, output, tolerance);
                Activation::Smooth(spec.map_err(|error| NnError::manifest(error.to_string()))?)
            }
        })
    }

    /// Whether |y| has to stay below 2^(k−2), not 2^(k−1): what lifts without knowing a sign.
    pub fn needs_guard_bit(&self) -> bool {
        matches!(
            self,
            Self::Identity
                | Self::Leaky { .. }
                | Self::PRelu
                | Self::Polynomial { .. }
                | Self::HardSwish { .. }
        )
    }
}

impl ActivationSpec {
    /// The whole activation as one function on all of `channels`.
    pub fn single(function: FunctionSpec, channels: usize) -> Vec<PartSpec> {
        vec![PartSpec { channels: vec![(0, channels as u32)], function }]
    }

    /// Results per pooled value: 2 for [`FunctionSpec::PRelu`], else 1.
    pub fn outputs(&self) -> usize {
        if self.parts.iter().any(|part| part.function == FunctionSpec::PRelu) { 2 } else { 1 }
    }
}
