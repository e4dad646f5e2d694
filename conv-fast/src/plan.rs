//! Which algorithm for which layer: a small cost model in nanoseconds of one core.
//!
//! The model counts what each algorithm does per image and multiplies by constants that were measured once, on one machine
//! with AVX-512; they need not be right, only their ratios roughly so, since every choice computes the same values.
//! It assumes 12-bit weights (what the protocol uses); longer ones cost more rows in [`crate::matmul`], for which Winograd
//! pays sooner. [`explain`] prints the candidates, for reports and for arguing with the model.

use crate::ConvGeometry;
use crate::Kernel;
use crate::matmul::LANES;
use crate::ntt::NttConv;
use crate::winograd::Winograd;
use he_core::Modulus;
use std::fmt;

/// How a prepared convolution computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// The definition, seven loops; the slow twin.
    Direct,
    /// A matrix product with the implicit matrix of shifted images.
    Im2col,
    /// Winograd's minimal filtering with tiles of `tile`×`tile` outputs.
    Winograd {
        /// Outputs per tile and axis, 2 to 7 (with the kernel at most 8 inputs).
        tile: usize,
    },
    /// Products of polynomials by the number-theoretic transform.
    Ntt,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Im2col => f.write_str("im2col"),
            Self::Winograd { tile } => write!(f, "winograd {tile}×{tile}"),
            Self::Ntt => f.write_str("ntt"),
        }
    }
}

/// Nanoseconds: one modular multiply-add of the direct loops.
const DIRECT: f64 = 3.0;
/// One word of sixteen lanes through the multiply-add kernel (one digit of one pair of terms).
const WORDS: f64 = 0.15;
/// One residue into digits, or one tile of sums back.
const DIGITS: f64 = 3.0;
const REDUCE: f64 = 6.0;
/// One multiply-add of a Winograd transform.
const TRANSFORM: f64 = 0.5;
/// One pointwise product, or a third of a butterfly; memory traffic included.
const BUTTERFLY: f64 = 0.42;

/// The algorithm with the least estimated time for one image.
pub fn choose(geometry: &ConvGeometry, modulus: &Modulus) -> Algorithm {
    estimates(geometry, modulus)
        .into_iter()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(Algorithm::Direct, |(algorithm, _)| algorithm)
}

/// All algorithms that can compute this geometry, with the model's microseconds per image, best first; one line each.
pub fn explain(geometry: &ConvGeometry, modulus: &Modulus) -> String {
    let mut list = estimates(geometry, modulus);
    list.sort_by(|a, b| a.1.total_cmp(&b.1));
    list.iter().map(|(algorithm, time)| format!("{algorithm}: {:.1} µs\n", time / 1000.0)).collect()
}

fn estimates(geometry: &ConvGeometry, modulus: &Modulus) -> Vec<(Algorithm, f64)> {
    let mut list = vec![(Algorithm::Direct, geometry.macs() as f64 * DIRECT)];
    if modulus.bits() > 52 {
        return list;
    }
    let lanes = match Kernel::best() {
        Kernel::Avx512 => 1.0,
        Kernel::Avx2 => 4.0,
        _ => 12.0,
    };
    let s = geometry.shape();
    let digits = f64::from(modulus.bits().div_ceil(13));
    let pairs = geometry.group_inputs().div_ceil(2) as f64;
    let rows = |parts: f64| s.groups as f64 * (geometry.group_outputs() as f64 * parts / 16.0).ceil() * 16.0;
    let width = geometry.out_width() + (s.kernel[1] - 1) * s.dilation[1] / s.stride[1];
    let panels = (geometry.out_height() * width).div_ceil(LANES) as f64;
    let taps = (s.kernel[0] * s.kernel[1]) as f64;
    let im2col = rows(1.0) * panels * pairs * taps * digits * WORDS * lanes
        + geometry.input_len() as f64 * DIGITS
        + geometry.output_len() as f64 * REDUCE;
    list.push((Algorithm::Im2col, im2col));
    for tile in 2..=6 {
        if Winograd::refusal(geometry, tile).is_some() {
            continue;
        }
        let n = (tile + s.kernel[0] - 1) as f64;
        let tiles = (geometry.out_height().div_ceil(tile) * geometry.out_width().div_ceil(tile)) as f64;
        let parts = match Winograd::weight_growth(tile, s.kernel[0]) << 11 {
            0..=0x2000 => 1.0,
            0x2001..=0x10_0000 => 2.0,
            _ => 3.0,
        };
        let products = rows(parts) * (tiles / LANES as f64).ceil() * pairs * n * n * digits * WORDS * lanes;
        let inputs = s.in_channels as f64 * tiles * (2.0 * n.powi(3) * TRANSFORM + n * n * DIGITS);
        let m = tile as f64;
        let outputs = s.out_channels as f64 * tiles * ((n * n * m + n * m * m) * TRANSFORM + n * n * REDUCE);
        list.push((Algorithm::Winograd { tile }, products + inputs + outputs));
    }
    if let Ok(packing) = NttConv::packing(geometry, modulus) {
        list.push((Algorithm::Ntt, NttConv::cost(&packing) as f64 * BUTTERFLY));
    }
    list
}
