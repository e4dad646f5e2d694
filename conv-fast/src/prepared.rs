//! A convolution with its weights prepared, ready to run on elements of a ring.
//!
//! The server prepares each layer once and runs it for every inference. All algorithms return the same values, bit for
//! bit, on every kernel and for every number of threads; [`crate::plan`] picks one.

use crate::depthwise::Depthwise;
use crate::im2col::Im2col;
use crate::ntt::NttConv;
use crate::plan::{Algorithm, Planner};
use crate::polyphase::Polyphase;
use crate::winograd::Winograd;
use crate::{ConvError, ConvGeometry, Kernel, Ring, direct};
use std::borrow::Cow;
use std::fmt;

/// Prepared weights of one layer. `Debug` prints the shape only: weights are the server's secret.
pub struct PreparedConv {
    geometry: ConvGeometry,
    ring: Ring,
    algorithm: Algorithm,
    method: Method,
    /// For algorithms of stride one under a strided geometry.
    phases: Option<Polyphase>,
}

enum Method {
    Direct(Vec<i64>),
    Im2col(Im2col),
    Depthwise(Depthwise),
    Winograd(Winograd),
    Ntt(NttConv),
}

impl fmt::Debug for PreparedConv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreparedConv({} over {}, {:?})", self.algorithm, self.ring, self.geometry.shape())
    }
}

impl PreparedConv {
    /// Prepares `weights` (flat, as in [`ConvGeometry`]) for products in a ring, by the algorithm of one's choice.
    ///
    /// # Errors
    /// [`ConvError::Length`]; [`ConvError::Unsupported`], [`ConvError::Modulus`] or [`ConvError::TooLarge`] if the
    /// algorithm cannot compute this layer. [`Algorithm::Direct`] computes every layer, [`Algorithm::Im2col`] every
    /// ordinary one (strides up to 256, windows and padded images that fit memory) over Z_2^k and over Z_q with q < 2^52 whose
    /// weights of one output sum, in absolute value, to at most 2^45.
    pub fn new(
        geometry: ConvGeometry,
        ring: impl Into<Ring>,
        weights: &[i32],
        algorithm: Algorithm,
    ) -> Result<Self, ConvError> {
        Self::with_kernel(geometry, ring, weights, algorithm, Kernel::best())
    }

    /// Prepares `weights` by the algorithm with the least estimated time for these very weights, `batch` images per call.
    ///
    /// # Errors
    /// [`ConvError::Length`].
    pub fn best(
        geometry: ConvGeometry,
        ring: impl Into<Ring>,
        weights: &[i32],
        batch: usize,
    ) -> Result<Self, ConvError> {
        let ring = ring.into();
        let greatest = weights.iter().map(|weight| weight.unsigned_abs()).max().unwrap_or(0).max(1);
        // |w| ≤ 2^(bits−1)
        let bits = greatest.next_power_of_two().ilog2() + 1;
        let planner = Planner::default().weight_bits(bits).batch(batch);
        // Weights can be too large for an algorithm that takes the shape.
        let candidates = planner.candidates(&geometry, ring);
        let algorithms = candidates.iter().map(|candidate| candidate.algorithm);
        for algorithm in algorithms {
            if let Ok(layer) = Self::new(geometry.clone(), ring, weights, algorithm) {
                return Ok(layer);
            }
        }
        Self::new(geometry, ring, weights, Algorithm::Direct)
    }

    /// As [`PreparedConv::new`] with a kernel out of [`Kernel::available`].
    ///
    /// # Errors
    /// As [`PreparedConv::new`]; [`ConvError::Unsupported`] for a kernel that this machine lacks.
    pub fn with_kernel(
        geometry: ConvGeometry,
        ring: impl Into<Ring>,
        weights: &[i32],
        algorithm: Algorithm,
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        let ring = ring.into();
        let expected = geometry.weights_len();
        if weights.len() != expected {
            return Err(ConvError::Length { what: "the weight tensor", expected, got: weights.len() });
        }
        if !kernel.is_available() {
            return Err(ConvError::Unsupported {
                algorithm: "this",
                condition: "a kernel that this machine has",
            });
        }
        if !geometry.is_ordinary() && algorithm != Algorithm::Direct {
            return Err(ConvError::Unsupported { algorithm: "this", condition: "an ordinary geometry" });
        }
        if !ring.is_fast() && algorithm != Algorithm::Direct {
            return Err(ConvError::Modulus { modulus: ring.greatest(), wanted: "below 2^52" });
        }
        let phases = match algorithm {
            Algorithm::Winograd { .. } => Polyphase::new(&geometry),
            _ => None,
        };
        let (inner, reordered) = match &phases {
            Some(phases) => (phases.inner(), Cow::Owned(phases.weights(weights))),
            None => (&geometry, Cow::Borrowed(weights)),
        };
        let method = match algorithm {
            Algorithm::Direct => Method::Direct(weights.iter().map(|&weight| i64::from(weight)).collect()),
            Algorithm::Im2col => Method::Im2col(Im2col::new(&geometry, ring, weights, kernel)?),
            Algorithm::Depthwise => Method::Depthwise(Depthwise::new(&geometry, ring, weights, kernel)?),
            Algorithm::Winograd { tile, products } => {
                Method::Winograd(Winograd::new(inner, ring, &reordered, tile, products, kernel)?)
            }
            Algorithm::Ntt => Method::Ntt(NttConv::new(&geometry, ring, weights, kernel)?),
        };
        Ok(Self { geometry, ring, algorithm, method, phases })
    }

    /// The shape.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The ring.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The algorithm it was prepared for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Bytes of prepared weights.
    pub fn bytes(&self) -> u64 {
        match &self.method {
            Method::Direct(weights) => 8 * weights.len() as u64,
            Method::Im2col(method) => method.bytes() as u64,
            Method::Depthwise(method) => method.bytes() as u64,
            Method::Winograd(method) => method.bytes() as u64,
            Method::Ntt(method) => method.bytes() as u64,
        }
    }

    /// Convolves `batch` images back to back, `batch·input_len` elements, into `batch·output_len` elements.
    ///
    /// Elements have to be canonical (below q, or below 2^k); others give wrong results, never undefined ones.
    ///
    /// # Panics
    /// If `input` does not hold `batch·input_len` values.
    pub fn run(&self, input: &[u64], batch: usize) -> Vec<u64> {
        assert_eq!(Some(input.len()), batch.checked_mul(self.geometry.input_len()), "number of input values");
        if batch == 0 {
            return Vec::new();
        }
        let gathered = self.phases.as_ref().map(|phases| phases.gather(input, batch));
        let input = gathered.as_deref().unwrap_or(input);
        match &self.method {
            Method::Direct(weights) => direct(&self.geometry, self.ring, weights, input),
            Method::Im2col(method) => method.run(input, batch),
            Method::Depthwise(method) => method.run(input, batch),
            Method::Winograd(method) => method.run(input, batch),
            Method::Ntt(method) => method.run(input, batch),
        }
    }
}

#[cfg(test)]
mod tests;
