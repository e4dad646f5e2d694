//! What a node computes: linear maps, normalisations, functions, index maps.
//!
//! Numbers are `f64`; weights are row-major; what is per channel is in the order of axis 1.

use std::sync::Arc;

use conv_fast::ConvGeometry;

use crate::error::NnError;
use crate::model::{PoolGeometry, SmoothName};

/// A linear map with a bias per output channel.
#[derive(Clone, PartialEq)]
pub struct Linear {
    /// Shape of the convolution.
    pub geometry: ConvGeometry,
    /// O × C/groups × kh × kw, row-major.
    pub weights: Arc<Vec<f64>>,
    /// One per output channel.
    pub bias: Vec<f64>,
}

impl Linear {
    /// A scale and a shift per channel of planes with these sides: a 1×1 convolution with one group per channel.
    ///
    /// # Errors
    /// [`NnError::Shape`] naming `name` for impossible sizes, or unless there are as many shifts as scales.
    pub fn per_channel(
        name: &str,
        sides: [usize; 2],
        scale: Vec<f64>,
        shift: Vec<f64>,
    ) -> Result<Self, NnError> {
        let channels = scale.len();
        let geometry = ConvGeometry::pointwise([channels, channels], sides, channels)
            .map_err(|e| NnError::shape(name, e.to_string()))?;
        Self::new(name, geometry, scale, shift)
    }

    /// Checks lengths.
    ///
    /// # Errors
    /// [`NnError::Shape`] naming `name` when the numbers of weights or biases do not fit the geometry.
    pub fn new(
        name: &str,
        geometry: ConvGeometry,
        weights: Vec<f64>,
        bias: Vec<f64>,
    ) -> Result<Self, NnError> {
        if weights.len() != geometry.weights_len() || bias.len() != geometry.shape().out_channels {
            return Err(NnError::shape(
                name,
                format!(
                    "{} weights and {} biases, wanted {} and {}",
                    weights.len(),
                    bias.len(),
                    geometry.weights_len(),
                    geometry.shape().out_channels
                ),
            ));
        }
        Ok(Self { geometry, weights: Arc::new(weights), bias })
    }

    /// Whether this is a 1×1 convolution on a 1×1 plane; it takes any tensor with C elements and gives 1×O.
    pub fn is_flat(&self) -> bool {
        let s = self.geometry.shape();
        s.in_height == 1 && s.in_width == 1 && s.kernel == [1, 1] && s.padding == [0; 4]
    }

    /// Whether this is a fully connected layer: flat, with one group.
    pub fn is_dense(&self) -> bool {
        self.is_flat() && self.geometry.shape().groups == 1
    }
}

/// Inference-time batch normalisation, per channel: γ·(x − μ)/√(σ² + ε) + β.
#[derive(Clone, PartialEq)]
pub struct BatchNorm {
    /// γ
    pub gamma: Vec<f64>,
    /// β
    pub beta: Vec<f64>,
    /// μ
    pub mean: Vec<f64>,
    /// σ²
    pub variance: Vec<f64>,
    /// ε
    pub epsilon: f64,
}

impl BatchNorm {
    /// The same map as a scale and a shift.
    pub fn diagonal(&self) -> Diagonal {
        let scale: Vec<f64> =
            self.gamma.iter().zip(&self.variance).map(|(g, v)| g / (v + self.epsilon).sqrt()).collect();
        let shift =
            self.beta.iter().zip(&self.mean).zip(&scale).map(|((beta, mean), s)| beta - mean * s).collect();
        Diagonal { scale, shift }
    }
}

/// A per-channel affine map: scale·x + shift.
#[derive(Clone, PartialEq)]
pub struct Diagonal {
    /// Factor per channel.
    pub scale: Vec<f64>,
    /// Addend per channel.
    pub shift: Vec<f64>,
}

/// A scalar function, applied element by element.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Function {
    /// x
    Identity,
    /// max(0, x)
    Relu,
    /// min(max(x, low), high); either end may be infinite.
    Clip {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// slope·x below zero, x above.
    Leaky {
        /// Slope below zero.
        slope: f64,
    },
    /// The same with a trained slope per channel (or one for all).
    PRelu {
        /// Slopes below zero.
        slopes: Vec<f64>,
    },
    /// min(max(alpha·x + beta, 0), 1)
    HardSigmoid {
        /// Factor.
        alpha: f64,
        /// Addend.
        beta: f64,
    },
    /// x·min(max(x + 3, 0), 6)/6
    HardSwish,
    /// A smooth function.
    Smooth(SmoothName),
    /// Σ c\[e\]·x^e; one row of coefficients, from the constant up, or one per channel.
    Polynomial {
        /// Rows.
        coefficients: Vec<Vec<f64>>,
    },
}

impl Function {
    /// Rows of per-channel numbers: 1 where one set of numbers serves all channels.
    pub fn rows(&self) -> usize {
        match self {
            Self::PRelu { slopes } => slopes.len(),
            Self::Polynomial { coefficients } => coefficients.len(),
            _ => 1,
        }
    }

    /// The name used in messages and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "ReLU",
            Self::Clip { .. } => "clip",
            Self::Leaky { .. } => "leaky ReLU",
            Self::PRelu { .. } => "PReLU",
            Self::HardSigmoid { .. } => "hard sigmoid",
            Self::HardSwish => "hard swish",
            Self::Smooth(name) => name.function().name(),
            Self::Polynomial { .. } => "polynomial",
        }
    }

    /// Whether all its numbers are finite (the ends of a clip may be infinite).
    pub fn is_finite(&self) -> bool {
        match self {
            Self::Clip { low, high } => !low.is_nan() && !high.is_nan(),
            Self::Leaky { slope } => slope.is_finite(),
            Self::PRelu { slopes } => slopes.iter().all(|v| v.is_finite()),
            Self::HardSigmoid { alpha, beta } => alpha.is_finite() && beta.is_finite(),
            Self::Polynomial { coefficients } => coefficients.iter().flatten().all(|v| v.is_finite()),
            Self::Identity | Self::Relu | Self::HardSwish | Self::Smooth(_) => true,
        }
    }
}

/// A function on some channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Channels, ascending.
    pub channels: Vec<usize>,
    /// The function; its per-channel numbers (slopes, coefficients) are counted within `channels`.
    pub function: Function,
}

/// What a node computes.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// The network's input; node 0 and only node 0.
    Input,
    /// Convolution or fully connected layer.
    Linear(Linear),
    /// Batch normalisation.
    BatchNorm(BatchNorm),
    /// Per-channel scale and shift.
    Scale(Diagonal),
    /// One function on every element.
    Activation(Function),
    /// Several functions, each on channels of its own; together they cover every channel once.
    Mixed(Vec<Part>),
    /// Maximum pooling; padding never wins.
    MaxPool(PoolGeometry),
    /// Average pooling.
    AveragePool {
        /// Windows.
        window: PoolGeometry,
        /// Padding cells count in the divisor (as zeros).
        count_padding: bool,
    },
    /// Same elements, other shape.
    Reshape(Vec<usize>),
    /// Axes permuted: output axis i is input axis `perm[i]`.
    Transpose(Vec<usize>),
    /// Every step-th element from start on, size of them, along every axis (batch included).
    Slice {
        /// First index per axis.
        start: Vec<usize>,
        /// Distance per axis, at least 1.
        step: Vec<usize>,
        /// Number of elements per axis.
        size: Vec<usize>,
    },
    /// Zeros around.
    Pad {
        /// In front, per axis.
        before: Vec<usize>,
        /// Behind, per axis.
        after: Vec<usize>,
    },
    /// Nearest-neighbour enlargement of height and width by whole factors.
    Upsample([usize; 2]),
    /// All inputs joined along an axis.
    Concat {
        /// Axis, batch included.
        axis: usize,
    },
    /// The input.
    Identity,
    /// The input (dropout does nothing at inference).
    Dropout,
    /// exp(x)/Σexp(x) over the last axis.
    Softmax,
    /// Logarithm of the same.
    LogSoftmax,
    /// Element-wise sum of two nodes (a residual connection).
    Add,
}

impl Op {
    /// Whether all its numbers are finite.
    pub fn is_finite(&self) -> bool {
        let finite = |values: &[f64]| values.iter().all(|v| v.is_finite());
        match self {
            Self::Linear(linear) => finite(&linear.weights) && finite(&linear.bias),
            Self::BatchNorm(n) => {
                let d = n.diagonal();
                [&n.gamma, &n.beta, &n.mean, &n.variance, &d.scale, &d.shift].iter().all(|v| finite(v))
            }
            Self::Scale(d) => finite(&d.scale) && finite(&d.shift),
            Self::Activation(function) => function.is_finite(),
            Self::Mixed(parts) => parts.iter().all(|part| part.function.is_finite()),
            _ => true,
        }
    }

    /// Whether it only moves elements (and adds zeros): nothing is computed.
    pub(crate) fn moves(&self) -> bool {
        matches!(
            self,
            Self::Reshape(_)
                | Self::Transpose(_)
                | Self::Slice { .. }
                | Self::Pad { .. }
                | Self::Upsample(_)
                | Self::Concat { .. }
        )
    }

    /// The name used in messages and reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Input => "Input",
            Self::Linear(_) => "Linear",
            Self::BatchNorm(_) => "BatchNormalization",
            Self::Scale(_) => "Scale",
            Self::Activation(function) => function.name(),
            Self::Mixed(_) => "mixed activation",
            Self::Slice { .. } => "Slice",
            Self::Pad { .. } => "Pad",
            Self::Upsample(_) => "Resize",
            Self::Concat { .. } => "Concat",
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool { .. } => "AveragePool",
            Self::Reshape(_) => "Reshape",
            Self::Transpose(_) => "Transpose",
            Self::Identity => "Identity",
            Self::Dropout => "Dropout",
            Self::Softmax => "Softmax",
            Self::LogSoftmax => "LogSoftmax",
            Self::Add => "Add",
        }
    }
}
