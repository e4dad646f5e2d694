//! A convolution with its weights prepared, ready to run on residues.
//!
//! The server prepares each layer once and runs it for every inference. All algorithms return the same values, bit for
//! bit; [`crate::plan::choose`] picks one.

use crate::im2col::Im2col;
use crate::Kernel;
use crate::ntt::NttConv;
use crate::plan::Algorithm;
use crate::winograd::Winograd;
use crate::{ConvError, ConvGeometry, direct};
use he_core::Modulus;
use std::fmt;

/// Prepared weights of one layer. `Debug` prints the shape only: weights are the server's secret.
pub struct PreparedConv {
    geometry: ConvGeometry,
    modulus: Modulus,
    algorithm: Algorithm,
    method: Method,
}

enum Method {
    Direct(Vec<i64>),
    Im2col(Im2col),
    Winograd(Winograd),
    Ntt(NttConv),
}

impl fmt::Debug for PreparedConv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PreparedConv({} modulo {}, {:?})",
            self.algorithm,
            self.modulus.value(),
            self.geometry.shape()
        )
    }
}

impl PreparedConv {
    /// Prepares `weights` (flat, as in [`crate::ConvGeometry`]) for products modulo q.
    ///
    /// # Errors
    /// [`ConvError::Length`]; [`ConvError::Unsupported`], [`ConvError::Modulus`] or [`ConvError::TooLarge`] if the
    /// algorithm cannot compute this layer. [`Algorithm::Direct`] computes every layer, [`Algorithm::Im2col`] every one
    /// with q < 2^52.
    pub fn new(
        geometry: ConvGeometry,
        modulus: Modulus,
        weights: &[i32],
        algorithm: Algorithm,
    ) -> Result<Self, ConvError> {
        Self::with_kernel(geometry, modulus, weights, algorithm, Kernel::best())
    }

    /// As [`PreparedConv::new`] with a multiply-add kernel out of [`Kernel::available`].
    ///
    /// # Errors
    /// As [`PreparedConv::new`].
    pub fn with_kernel(
        geometry: ConvGeometry,
        modulus: Modulus,
        weights: &[i32],
        algorithm: Algorithm,
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        let expected = geometry.weights_len();
        if weights.len() != expected {
            return Err(ConvError::Length { what: "the weight tensor", expected, got: weights.len() });
        }
        let method = match algorithm {
            Algorithm::Direct => Method::Direct(weights.iter().map(|&weight| i64::from(weight)).collect()),
            Algorithm::Im2col => Method::Im2col(Im2col::new(&geometry, modulus, weights, kernel)?),
            Algorithm::Winograd { tile } => {
                Method::Winograd(Winograd::new(&geometry, modulus, weights, tile, kernel)?)
            }
            Algorithm::Ntt => Method::Ntt(NttConv::new(&geometry, modulus, weights)?),
        };
        Ok(Self { geometry, modulus, algorithm, method })
    }

    /// The shape.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The algorithm it was prepared for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Convolves `batch` images back to back, `batch·input_len` residues, into `batch·output_len` residues.
    ///
    /// Values have to be below q; others give wrong results (never undefined ones).
    ///
    /// # Panics
    /// If `input` does not hold `batch·input_len` values.
    pub fn run(&self, input: &[u64], batch: usize) -> Vec<u64> {
        assert_eq!(Some(input.len()), batch.checked_mul(self.geometry.input_len()), "number of input values");
        if batch == 0 {
            return Vec::new();
        }
        match &self.method {
            Method::Direct(weights) => direct(&self.geometry, &self.modulus, weights, input),
            Method::Im2col(method) => method.run(input, batch),
            Method::Winograd(method) => method.run(input, batch),
            Method::Ntt(method) => method.run(input, batch),
        }
    }
}

#[cfg(test)]
mod tests;
