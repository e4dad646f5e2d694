//! Convolution through the negacyclic number-theoretic transform, tile by tile.
//!
//! A plane laid row by row into the coefficients of a polynomial turns the convolution into a product modulo X^N + 1 (the
//! coefficient encoding of Cheetah: Huang, Lu, Hong, Ding, USENIX Security 2022, section 3). Here planes of any size are cut
//! into tiles with their halo (`cut`), as in the overlap-save method: coefficients that wrap around belong to no output and are
//! dropped, so that nothing is padded. Small tiles and several images share a polynomial.
//!
//! 1. Inputs: eight channels of a tile are transposed into eight polynomials side by side (`tiles`) and transformed (`transform`).
//! 2. Products: for each of the N values a matrix product of outputs × inputs × polynomials (`pointwise`), with sums that are
//!    reduced once. Weights, transformed at preparation, stream through once for all polynomials of a run.
//! 3. Outputs: transformed back, valid coefficients transposed into the planes.
//!
//! With tiles of T×T outputs and an r×r kernel a product does T²r²/N multiply-adds of the direct method, N ≥ (T + r − 1)²: seven
//! for 3×3 with N = 256, twenty-five and more for 7×7 with N = 1024. The arithmetic (`field`, `fused`, `ifma`) is exact modulo q
//! whatever the weights and the number of channels.
//!
//! Measured on one core of a Zen 5 at 3.75 GHz with q < 2^50, 64 → 64 channels of 56×56: 0.92 ms for 3×3, 1.4 ms for 5×5, 1.7 ms
//! for 7×7, 2.9 ms for 11×11. Products run at the multiplier's limit, a step of eight in a cycle, until the weights no longer
//! come from the third-level cache; many channels on small planes are therefore not its case.
//!
//! **Needs** a prime q with 2N | q − 1 for an N ≥ 32 that holds at least the window of one output. Any stride, dilation, padding
//! and grouping. With a stride it computes by phases ([`Polyphase`]) or keeps every s-th output, whichever costs less.
//!
//! **Memory**: N·O·(C/groups)·8 bytes of weights (outputs rounded up to eight), at most [`MAX_WEIGHT_BYTES`]; per run
//! 8·N·(C + O) bytes for each polynomial of a stretch of the batch, kept by the thread for the next run.

mod cut;
mod field;
mod fused;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod layer;
mod pointwise;
mod tiles;
mod transform;
mod weights;

pub(crate) use cut::NttCost;

use crate::polyphase::Polyphase;
use crate::scratch::with_words;
use crate::{ConvError, ConvGeometry, Kernel, Ring};
use cut::Cut;
use he_core::Modulus;
use layer::{Layer, Run};

/// Most bytes of transformed weights.
pub(crate) const MAX_WEIGHT_BYTES: u64 = 1 << 29;

/// A convolution prepared for transforms.
pub(crate) struct NttConv {
    phases: Option<Polyphase>,
    layer: Box<dyn Run>,
}

/// How a layer would be computed.
struct Choice {
    phases: Option<Polyphase>,
    cut: Cut,
    cost: NttCost,
}

impl NttConv {
    /// Prepares `weights` (flat, as in [`ConvGeometry`]), with tiles that suit single images.
    ///
    /// # Errors
    /// [`ConvError::Unsupported`] for Z_2^k; [`ConvError::Modulus`] if the modulus has no transform that is long enough;
    /// [`ConvError::TooLarge`] if the transformed weights would take more than [`MAX_WEIGHT_BYTES`]; [`ConvError::Length`].
    pub(crate) fn new(
        geometry: &ConvGeometry,
        ring: impl Into<Ring>,
        weights: &[i32],
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        Self::for_batch(geometry, ring, weights, kernel, 1)
    }

    /// As [`NttConv::new`], with tiles that suit `batch` images at a time (it will take any other number, too).
    ///
    /// # Errors
    /// As [`NttConv::new`].
    pub(crate) fn for_batch(
        geometry: &ConvGeometry,
        ring: impl Into<Ring>,
        weights: &[i32],
        kernel: Kernel,
        batch: usize,
    ) -> Result<Self, ConvError> {
        let expected = geometry.weights_len();
        if weights.len() != expected {
            return Err(ConvError::Length { what: "the weight tensor", expected, got: weights.len() });
        }
        let (modulus, choice) = choose(geometry, &ring.into(), batch)?;
        let Choice { phases, cut, .. } = choice;
        let layer = match &phases {
            Some(phases) => layer(phases.inner(), modulus, &phases.weights(weights), kernel, cut)?,
            None => layer(geometry, modulus, weights, kernel, cut)?,
        };
        Ok(Self { phases, layer })
    }

    /// What a run of `batch` images would take, or why there is none.
    ///
    /// # Errors
    /// As [`NttConv::new`].
    pub(crate) fn cost(
        geometry: &ConvGeometry,
        ring: impl Into<Ring>,
        batch: usize,
    ) -> Result<NttCost, ConvError> {
        choose(geometry, &ring.into(), batch).map(|(_, choice)| choice.cost)
    }

    /// Convolves `batch` images back to back; every word of `output` is written.
    ///
    /// # Panics
    /// If `input` or `output` does not hold `batch` images.
    pub(crate) fn run_into(&self, input: &[u64], batch: usize, output: &mut [u64]) {
        match &self.phases {
            Some(phases) => with_words(batch * phases.inner().input_len(), |gathered: &mut [u64]| {
                phases.gather_into(input, batch, gathered);
                self.layer.run(gathered, batch, output);
            }),
            None => self.layer.run(input, batch, output),
        }
    }

    /// Bytes of the prepared weights.
    pub(crate) fn bytes(&self) -> usize {
        self.layer.bytes()
    }
}

/// Whether products of residues have more than 52 bits.
fn both(modulus: &Modulus) -> bool {
    modulus.value() >= 1 << 26
}

fn choose(geometry: &ConvGeometry, ring: &Ring, batch: usize) -> Result<(Modulus, Choice), ConvError> {
    let Ring::Prime(modulus) = *ring else {
        return Err(ConvError::Unsupported { algorithm: "NTT", condition: "a prime modulus" });
    };
    let batch = batch.max(1);
    let best = |geometry: &ConvGeometry, most_rows: u64| {
        let cut = Cut::best(geometry, modulus.value(), batch, both(&modulus), most_rows)?;
        Some((cut, cut.cost(geometry, batch)))
    };
    let most_rows = MAX_WEIGHT_BYTES / 64;
    let plain = best(geometry, most_rows).map(|(cut, cost)| Choice { phases: None, cut, cost });
    let split = Polyphase::new(geometry).and_then(|phases| {
        let (cut, mut cost) = best(phases.inner(), most_rows)?;
        // The phases are sorted first, word by word.
        cost.moves += (batch * phases.inner().input_len()).div_ceil(8) as u64;
        Some(Choice { phases: Some(phases), cut, cost })
    });
    let cycles = |choice: &Choice| choice.cost.cycles(both(&modulus));
    let choice = match (plain, split) {
        (Some(plain), Some(split)) => Some(if cycles(&split) < cycles(&plain) { split } else { plain }),
        (plain, split) => plain.or(split),
    };
    if let Some(choice) = choice {
        return Ok((modulus, choice));
    }
    // Would it have worked with more memory?
    match best(geometry, u64::MAX) {
        Some((cut, _)) => Err(ConvError::TooLarge {
            what: "bytes of transformed weights",
            value: cut::Blocks::new(geometry).weight_rows(cut.degree).saturating_mul(64),
            limit: MAX_WEIGHT_BYTES,
        }),
        None => Err(ConvError::Modulus {
            modulus: modulus.value(),
            wanted: "one above a multiple of twice a transform's length that holds a window",
        }),
    }
}

/// The layer in the arithmetic that is fastest here.
fn layer(
    geometry: &ConvGeometry,
    modulus: Modulus,
    weights: &[i32],
    kernel: Kernel,
    cut: Cut,
) -> Result<Box<dyn Run>, ConvError> {
    let short = modulus.value() < 1 << 50;
    Ok(match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 if !both(&modulus) => {
            Box::new(Layer::new(ifma::Ifma::<false>::new(modulus), geometry, modulus, weights, kernel, cut)?)
        }
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 if short => {
            Box::new(Layer::new(ifma::Ifma::<true>::new(modulus), geometry, modulus, weights, kernel, cut)?)
        }
        Kernel::Avx2 | Kernel::Neon if short => {
            Box::new(Layer::new(fused::Fused::new(modulus), geometry, modulus, weights, kernel, cut)?)
        }
        _ => Box::new(Layer::new(field::Portable::new(modulus), geometry, modulus, weights, kernel, cut)?),
    })
}

#[cfg(test)]
mod tests;
