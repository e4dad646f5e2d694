//! A convolution with its weights prepared, ready to run on elements of a ring.
//!
//! The server prepares each layer once and runs it for every inference. All algorithms return the same values, bit for
//! bit, on every kernel and for every number of threads; [`crate::plan`] picks one.

use crate::depthwise::Depthwise;
use crate::im2col::Im2col;
use crate::ntt::NttConv;
use crate::plan::{Algorithm, Planner, Products};
use crate::polyphase::Polyphase;
use crate::scratch::with_words;
use crate::winograd::{Winograd, greatest_norm};
use crate::{ConvError, ConvGeometry, Kernel, Ring, Word, direct};
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
    #[cfg(target_arch = "x86_64")]
    WinogradPixels(crate::winograd::Pixels),
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
        let norm = greatest_norm(&geometry, weights);
        let planner = Planner::default().weights(weights).norm(norm).batch(batch);
        // Weights can be too large for an algorithm that takes the shape.
        for candidate in planner.candidates(&geometry, ring) {
            if let Ok(layer) = Self::new(geometry.clone(), ring, weights, candidate.algorithm) {
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
                winograd(inner, ring, &reordered, (tile, products), kernel)?
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
            #[cfg(target_arch = "x86_64")]
            Method::WinogradPixels(method) => method.bytes() as u64,
            Method::Ntt(method) => method.bytes() as u64,
        }
    }

    /// Convolves `batch` images back to back: [`PreparedConv::run_into`] with 64-bit words and an output of its own.
    ///
    /// # Panics
    /// If `input` does not hold `batch·input_len` values.
    pub fn run(&self, input: &[u64], batch: usize) -> Vec<u64> {
        assert_eq!(Some(input.len()), batch.checked_mul(self.geometry.input_len()), "number of input values");
        let mut output = vec![0; batch * self.geometry.output_len()];
        self.compute(input, batch, &mut output);
        output
    }

    /// Convolves `batch` images back to back, `batch·input_len` elements, into `batch·output_len` elements, all of which are
    /// written. Words are `u32` (rings of at most 32 bits) or `u64`; with `u32` half as many bytes go through memory. Digits and
    /// transforms are written into buffers that a thread keeps from call to call.
    ///
    /// Elements have to be canonical (below q, or below 2^k); others give wrong results, never undefined ones.
    ///
    /// # Errors
    /// [`ConvError::Word`] if elements of the ring do not fit `W`; [`ConvError::Length`] if `input` or `output` does not hold
    /// `batch` images.
    pub fn run_into<W: Word>(&self, input: &[W], batch: usize, output: &mut [W]) -> Result<(), ConvError> {
        if self.ring.bits() > W::BITS {
            return Err(ConvError::Word { word: W::BITS, element: self.ring.bits() });
        }
        for (what, each, got) in [
            ("the input", self.geometry.input_len(), input.len()),
            ("the output", self.geometry.output_len(), output.len()),
        ] {
            let expected = each.saturating_mul(batch);
            if got != expected {
                return Err(ConvError::Length { what, expected, got });
            }
        }
        self.compute(input, batch, output);
        Ok(())
    }

    /// As [`PreparedConv::run_into`]; lengths and words fit.
    fn compute<W: Word>(&self, input: &[W], batch: usize, output: &mut [W]) {
        if batch == 0 {
            return;
        }
        match &self.phases {
            None => self.stride_one(input, batch, output),
            Some(phases) => with_words(batch * phases.inner().input_len(), |gathered| {
                phases.gather_into(input, batch, gathered);
                self.stride_one(gathered, batch, output);
            }),
        }
    }

    fn stride_one<W: Word>(&self, input: &[W], batch: usize, output: &mut [W]) {
        match &self.method {
            Method::Im2col(method) => method.run_into(input, batch, output),
            Method::Winograd(method) => method.run_into(input, batch, output),
            #[cfg(target_arch = "x86_64")]
            Method::WinogradPixels(method) => {
                in_u64(input, output, |input, output| method.run_into(input, batch, output));
            }
            Method::Depthwise(method) => method.run_into(input, batch, output),
            Method::Ntt(method) => {
                in_u64(input, output, |input, output| method.run_into(input, batch, output));
            }
            Method::Direct(weights) => in_u64(input, output, |input, output| {
                output.copy_from_slice(&direct(&self.geometry, self.ring, weights, input));
            }),
        }
    }
}

/// The form with tiles as lanes where it has a kernel.
fn winograd(
    geometry: &ConvGeometry,
    ring: Ring,
    weights: &[i32],
    (tile, products): ([usize; 2], Products),
    kernel: Kernel,
) -> Result<Method, ConvError> {
    #[cfg(target_arch = "x86_64")]
    if crate::winograd::Pixels::pays(geometry)
        && let Some(pixels) = crate::winograd::Pixels::new(geometry, &ring, weights, (tile, products), kernel)
    {
        return Ok(Method::WinogradPixels(pixels));
    }
    Ok(Method::Winograd(Winograd::new(geometry, ring, weights, tile, products, kernel)?))
}

/// Runs `body` on the same elements in 64-bit words.
fn in_u64<W: Word>(input: &[W], output: &mut [W], body: impl FnOnce(&[u64], &mut [u64])) {
    if let (Some(input), Some(output)) = (W::as_u64(input), W::as_u64_mut(output)) {
        return body(input, output);
    }
    with_words(input.len(), |wide_input: &mut [u64]| {
        with_words(output.len(), |wide_output: &mut [u64]| {
            for (wide, word) in wide_input.iter_mut().zip(input) {
                *wide = word.to_u64();
            }
            body(wide_input, wide_output);
            for (word, &wide) in output.iter_mut().zip(&*wide_output) {
                *word = W::from_u64(wide);
            }
        });
    });
}

#[cfg(test)]
mod tests;
