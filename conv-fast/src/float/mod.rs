//! The float twin: the same convolutions over f32 and f64.
//!
//! For the floating mode, where real numbers are shared instead of residues, and for plaintext networks beside the private
//! ones. One interface over four algorithms ([`FloatAlgorithm`]); all take flat tensors as [`ConvGeometry`] describes them
//! and agree with [`crate::direct_float`] up to rounding. Sums are not associative here: results differ in the last places
//! between algorithms and between instruction sets, never between runs or numbers of threads.
//!
//! | algorithm | geometries | error (see [`FloatConv::run`]) |
//! |---|---|---|
//! | direct | all | the definition |
//! | im2col | all | as direct, or smaller (fused multiply-adds) |
//! | depthwise | all; fast for few channels per group | as direct, or smaller |
//! | Winograd | stride and dilation one, 3 or 5 taps per axis | 2 to 100 times larger |
//!
//! Infinities and NaN in the input propagate as in the definition, but in Winograd, which spreads them over tiles.
//! Weights have to be finite.

mod choose;
mod depthwise;
mod im2col;
mod lanes;
mod memory;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panels;
#[cfg(test)]
mod tests;
mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::{ConvError, ConvGeometry, Kernel, direct_float};
pub use choose::choose;
use depthwise::Depthwise;
use im2col::Im2col;
use std::fmt;
use winograd::Winograd;

/// The floating-point types: f32 and f64.
pub trait Float: lanes::Numbers {}
impl Float for f32 {}
impl Float for f64 {}

/// How a prepared float convolution computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FloatAlgorithm {
    /// The definition, seven loops; the slow twin.
    Direct,
    /// A matrix product with the implicit matrix of shifted images.
    Im2col,
    /// Winograd's minimal filtering, in both directions.
    ///
    /// An output is off by at most c₀·c₁·ε·S, with ε = 2^-23 (f32) or 2^-52 (f64), S the greatest Σ|w·x| among the
    /// outputs, and c for each direction, measured over random layers (the others stay near 4·ε·S):
    ///
    /// | tile, taps | 2, 3 | 4, 3 | 6, 3 | 2, 5 | 4, 5 | 6, 5 |
    /// |---|---|---|---|---|---|---|
    /// | c | 2 | 5 | 10 | 4 | 10 | 20 |
    ///
    /// Infinities and NaN in the input spread over the tiles that read them.
    Winograd {
        /// Outputs per tile, rows and columns: 2, 4 or 6 each.
        tile: [usize; 2],
    },
    /// Vectors of output pixels, channel by channel, for groups of few channels.
    Depthwise,
}

impl fmt::Display for FloatAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Im2col => f.write_str("im2col"),
            Self::Winograd { tile: [m0, m1] } => write!(f, "winograd {m0}×{m1}"),
            Self::Depthwise => f.write_str("depthwise"),
        }
    }
}

/// A float convolution with its weights prepared. `Debug` prints the shape only.
pub struct FloatConv<T: Float> {
    geometry: ConvGeometry,
    algorithm: FloatAlgorithm,
    method: Method<T>,
}

enum Method<T> {
    Direct(Vec<T>),
    Im2col(Im2col<T>),
    Winograd(Winograd<T>),
    Depthwise(Depthwise<T>),
}

impl<T: Float> fmt::Debug for FloatConv<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = std::any::type_name::<T>();
        write!(f, "FloatConv({} over {number}, {:?})", self.algorithm, self.geometry.shape())
    }
}

impl<T: Float> FloatConv<T> {
    /// Prepares `weights` (flat, as in [`ConvGeometry`]).
    ///
    /// # Errors
    /// [`ConvError::Length`]; [`ConvError::NotFinite`]; [`ConvError::Unsupported`] if the algorithm cannot compute this
    /// geometry.
    pub fn new(geometry: ConvGeometry, weights: &[T], algorithm: FloatAlgorithm) -> Result<Self, ConvError> {
        Self::with_kernel(geometry, weights, algorithm, Kernel::best())
    }

    /// As [`FloatConv::new`] with an instruction set out of [`Kernel::available`].
    ///
    /// # Errors
    /// As [`FloatConv::new`].
    pub fn with_kernel(
        geometry: ConvGeometry,
        weights: &[T],
        algorithm: FloatAlgorithm,
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        let expected = geometry.weights_len();
        if weights.len() != expected {
            return Err(ConvError::Length { what: "the weight tensor", expected, got: weights.len() });
        }
        if let Some(index) = weights.iter().position(|weight| !weight.is_finite()) {
            return Err(ConvError::NotFinite { index });
        }
        if !geometry.is_ordinary() && algorithm != FloatAlgorithm::Direct {
            return Err(ConvError::Unsupported { algorithm: "this", condition: "an ordinary geometry" });
        }
        let method = match algorithm {
            FloatAlgorithm::Direct => Method::Direct(weights.to_vec()),
            FloatAlgorithm::Im2col => Method::Im2col(Im2col::new(&geometry, weights, kernel)),
            FloatAlgorithm::Winograd { tile } => {
                Method::Winograd(Winograd::new(&geometry, weights, tile, kernel)?)
            }
            FloatAlgorithm::Depthwise => Method::Depthwise(Depthwise::new(&geometry, weights, kernel)),
        };
        Ok(Self { geometry, algorithm, method })
    }

    /// Prepares `weights` with the algorithm that [`choose`] picks.
    ///
    /// # Errors
    /// [`ConvError::Length`]; [`ConvError::NotFinite`].
    pub fn best(geometry: ConvGeometry, weights: &[T]) -> Result<Self, ConvError> {
        let algorithm = choose::<T>(&geometry);
        Self::new(geometry, weights, algorithm)
    }

    /// The shape.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The algorithm it was prepared for.
    pub fn algorithm(&self) -> FloatAlgorithm {
        self.algorithm
    }

    /// Bytes of the prepared weights.
    pub fn bytes(&self) -> usize {
        match &self.method {
            Method::Direct(weights) => size_of_val(weights.as_slice()),
            Method::Im2col(method) => method.bytes(),
            Method::Winograd(method) => method.bytes(),
            Method::Depthwise(method) => method.bytes(),
        }
    }

    /// Convolves `batch` images back to back, `batch·input_len` numbers, into `batch·output_len` numbers.
    ///
    /// The error of a sum of t products is at most about t·ε·Σ|w·x| for direct, im2col and depthwise (in practice some
    /// ε·√t); for Winograd see [`FloatAlgorithm::Winograd`].
    ///
    /// # Panics
    /// If `input` does not hold `batch·input_len` values.
    pub fn run(&self, input: &[T], batch: usize) -> Vec<T> {
        assert_eq!(Some(input.len()), batch.checked_mul(self.geometry.input_len()), "number of input values");
        if batch == 0 {
            return Vec::new();
        }
        match &self.method {
            Method::Direct(weights) => direct_float(&self.geometry, weights, input),
            Method::Im2col(method) => method.run(input, batch),
            Method::Winograd(method) => method.run(input, batch),
            Method::Depthwise(method) => method.run(input, batch),
        }
    }
}
