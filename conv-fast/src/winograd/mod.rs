//! Winograd's minimal filtering F(m₀×m₁, r₀×r₁): exact, with rectangular tiles of any size.
//!
//! Source: Lavin and Gray, *Fast algorithms for convolutional neural networks*, CVPR 2016, section 4, for the data flow;
//! matrices from [`points`]. An m₀×m₁ tile of outputs of one pair of channels takes n₀·n₁ products, n = m + r − 1, instead
//! of m₀·m₁·r₀·r₁; at each of the n₀·n₁ *positions* the sum over input channels is a matrix product with one column per
//! tile. In floating point large tiles lose precision; here every divisor is a unit (modulo an odd prime) or a power of two
//! that is divided out at the end (modulo 2^k), and nothing is lost.
//!
//! ```text
//! planes → blocks of 8 channels → Bᵀ d B → x[position][tile][channel] → matrix product, times S_i·S_j
//!        → y[position][output block][tile][8] → Aᵀ Y A → blocks of 8 channels → planes
//! ```
//!
//! G, A and B are small integers ([`points`] has the growth per tile); the divisors S are one element of the ring per
//! position, a factor of that position's matrix product. So transformed weights stay short (12 bits become 18 under
//! F(4×4, 3×3) and F(6×6, 3×3)) and a product takes one or two multiply-adds ([`crate::wide`]).
//!
//! F(2×2, 3×3) on digits has a form of its own where it has a kernel (`pixels`): no coefficient but ±1, no transposes.
//!
//! Bounds, and what replaces the division by powers of two modulo 2^k, are in [`bounds`].
//!
//! *Memory.* Prepared weights take n₀·n₁·O·C words of 4 bytes (8 where they exceed 31 bits, 2 in `pixels`), at most 2^29
//! bytes; a run takes one box of tiles per thread ([`flow`]).
//!
//! *Not nested.* A nested algorithm F(m₁m₂, r₁r₂) takes (m₁ + r₁ − 1)(m₂ + r₂ − 1) products a line where F(m₁m₂, r₁r₂)
//! takes m₁m₂ + r₁r₂ − 1; what it buys is smaller constants, for the sake of floating-point numbers. Here that is no gain,
//! and kernels of 3, 5 and 7 taps have no factors: 3 as 2·2 taps with m₁ = m₂ = 3 takes 16 products for 9 outputs (1.8
//! each), F(8, 3) takes 10 for 8 (1.25). Longer kernels are for [`crate::ntt`].
//!
//! Supported: kernels of 1 to 7 taps a direction (one tap: no transform in that direction), tiles of 1 to 8 outputs,
//! stride 1, dilation 1, any padding and groups.

mod bounds;
mod flow;
mod input;
mod lines;
mod output;
#[cfg(target_arch = "x86_64")]
mod pixels;
mod points;
mod products;
#[cfg(test)]
mod tests;
mod vector;

#[cfg(target_arch = "x86_64")]
pub(crate) use pixels::Pixels;

use crate::kernel::Kernel;
use crate::lanes::PrimeLanes;
use crate::plan::Products;
use crate::{ConvError, ConvGeometry, Ring, Word};
use bounds::{Bounds, LOW_BITS};
use flow::Flow;
use output::Finish;
use points::{Line, MAX_PAIRS};
use products::Matrix;
use rayon::prelude::*;
use vector::Close;

/// Most outputs of a tile and most taps of a kernel, per direction.
const MAX_OUTPUTS: usize = 8;
const MAX_TAPS: usize = 7;
/// Most bytes of prepared weights.
const MAX_BYTES: u64 = 1 << 29;

/// A layer prepared for one tile size. It has no `Debug`: weights are the server's secret.
pub(crate) struct Winograd {
    geometry: ConvGeometry,
    ring: Ring,
    kernel: Kernel,
    lines: [Line; 2],
    /// Rows of Aᵀ at the pairs of points.
    factors: [Vec<[i64; MAX_PAIRS]>; 2],
    reduce_inputs: bool,
    reduce_outputs: bool,
    /// The matrices of each group, by position.
    groups: Vec<Vec<Matrix>>,
    /// Whether inputs are cut into low and high bits.
    cut: bool,
    /// Whether a matrix product takes nothing above q − 1.
    tight: bool,
}

/// The lines of a tile; a direction with one tap has tiles of one output.
fn tile_lines(geometry: &ConvGeometry, tile: [usize; 2]) -> [Line; 2] {
    let taps = geometry.shape().kernel;
    [0, 1].map(|axis| Line::new(if taps[axis] == 1 { 1 } else { tile[axis] }, taps[axis]))
}

impl Winograd {
    /// What `geometry`, `ring`, `tile` or weights lack for tiles of `tile` outputs (rows, columns), if anything; the absolute
    /// weights of no output may sum to more than `norm`.
    pub(crate) fn refusal(
        geometry: &ConvGeometry,
        ring: &Ring,
        tile: [usize; 2],
        norm: u128,
    ) -> Option<&'static str> {
        let s = geometry.shape();
        if s.stride != [1, 1] || s.dilation != [1, 1] {
            return Some("stride and dilation one");
        }
        if s.kernel.iter().any(|taps| !(1..=MAX_TAPS).contains(taps)) || s.kernel == [1, 1] {
            return Some("a kernel of up to 7 taps a direction, and more than one tap");
        }
        if tile.iter().any(|outputs| !(1..=MAX_OUTPUTS).contains(outputs)) {
            return Some("tiles of 1 to 8 outputs a direction");
        }
        let lines = tile_lines(geometry, tile);
        let positions = (lines[0].n * lines[1].n) as u64;
        // Each group's outputs are padded, and each of its positions is a matrix of its own.
        let per_position = geometry.group_inputs() * geometry.group_outputs().next_multiple_of(8);
        let matrices = positions.saturating_mul(s.groups as u64);
        let each = 4 * per_position as u64 + size_of::<Matrix>() as u64;
        if matrices.saturating_mul(each) > MAX_BYTES {
            return Some("at most 2^29 bytes of transformed weights");
        }
        match ring {
            Ring::Prime(modulus) => {
                let q = modulus.value();
                if !PrimeLanes::serves(q) {
                    return Some("a modulus of at most 52 bits");
                }
                let divisors = lines.iter().flat_map(|line| &line.divisors);
                if divisors.into_iter().any(|divisor| divisor.unsigned_abs() % q == 0) {
                    return Some("a modulus that does not divide differences of the points");
                }
                if Bounds::new(q, &lines).is_none() { Some("transforms that stay below 2^62") } else { None }
            }
            Ring::PowerOfTwo(bits) => {
                let twos = lines[0].twos() + lines[1].twos();
                let whole = norm.leading_zeros() >= LOW_BITS && (norm << LOW_BITS) >> (63 - twos) == 0;
                let wanted = "smaller weights or a smaller ring for its divisions by two";
                (cuts(*bits, twos) && !whole).then_some(wanted)
            }
        }
    }

    /// Bytes of transformed tiles, in and out, that are worked on at a time.
    pub(crate) const BOX_BYTES: usize = flow::BOX_BYTES;

    /// Guesses at the greatest transformed weight of each position, for a layer with weights of `bits` bits: normal ones,
    /// clipped at four deviations, become normal ones, of which the greatest is about five deviations out.
    pub(crate) fn greatest_weights(geometry: &ConvGeometry, tile: [usize; 2], bits: u32) -> Vec<u64> {
        let norms = tile_lines(geometry, tile).map(|line| {
            let norm = |i| (line.weights(i).iter().map(|factor| factor * factor).sum::<i64>() as f64).sqrt();
            (0..line.n).map(norm).collect::<Vec<f64>>()
        });
        let largest = (1u64 << (bits - 1)) as f64 * 1.25;
        let [rows, columns] = &norms;
        rows.iter()
            .flat_map(|row| columns.iter().map(move |column| (largest * row * column) as u64))
            .collect()
    }

    /// Prepares `weights` for tiles of `tile` outputs (rows, columns).
    ///
    /// # Errors
    /// [`ConvError::Unsupported`] with [`Winograd::refusal`]'s condition.
    pub(crate) fn new(
        geometry: &ConvGeometry,
        ring: Ring,
        weights: &[i32],
        tile: [usize; 2],
        products: Products,
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        let refuse = |condition| ConvError::Unsupported { algorithm: "Winograd", condition };
        if let Some(condition) = Self::refusal(geometry, &ring, tile, greatest_norm(geometry, weights)) {
            return Err(refuse(condition));
        }
        let lines = tile_lines(geometry, tile);
        let twos = lines[0].twos() + lines[1].twos();
        let mut cut = false;
        let (inner, bounds) = match ring {
            Ring::Prime(modulus) => {
                let bounds = Bounds::new(modulus.value(), &lines);
                (ring, bounds.ok_or_else(|| refuse("transforms that stay below 2^62"))?)
            }
            Ring::PowerOfTwo(bits) => {
                cut = cuts(bits, twos);
                (Ring::PowerOfTwo(u64::BITS), Bounds::NONE)
            }
        };
        let [rows, columns] = &lines;
        let size = [geometry.group_outputs(), geometry.group_inputs()];
        let per_group = geometry.group_outputs() * geometry.terms();
        let mut groups = Vec::with_capacity(geometry.shape().groups);
        for weights in weights.chunks(per_group) {
            let matrix = |position: usize| {
                let (i, j) = (position / columns.n, position % columns.n);
                let weight = |output: usize, input: usize| {
                    let taps = rows.r * columns.r;
                    let kernel = &weights[(output * size[1] + input) * taps..][..taps];
                    transformed(kernel, rows.weights(i), columns.weights(j))
                };
                let scale = bounds::scale(&ring, twos, rows.divisors[i], columns.divisors[j]);
                Matrix::new(&inner, kernel, size, &weight, scale, products)
            };
            let matrices: Result<Vec<Matrix>, ConvError> =
                (0..rows.n * columns.n).into_par_iter().map(matrix).collect();
            groups.push(matrices?);
        }
        let tight = match ring {
            Ring::Prime(modulus) => {
                let greatest = Close::greatest(modulus.value());
                groups.iter().flatten().any(|matrix| greatest >> matrix.input_bits() != 0)
            }
            Ring::PowerOfTwo(_) => false,
        };
        Ok(Self {
            geometry: geometry.clone(),
            ring,
            kernel,
            factors: [rows.pair_factors(), columns.pair_factors()],
            reduce_inputs: bounds.reduce_inputs,
            reduce_outputs: bounds.reduce_outputs,
            lines,
            groups,
            cut,
            tight,
        })
    }

    /// Bytes of prepared weights.
    pub(crate) fn bytes(&self) -> usize {
        self.groups.iter().flatten().map(|matrix| size_of::<Matrix>() + matrix.bytes()).sum()
    }

    /// Convolves `batch` images of elements back to back; every word of `output` is written.
    ///
    /// # Panics
    /// If `input` or `output` does not hold `batch` images.
    pub(crate) fn run_into<W: Word>(&self, input: &[W], batch: usize, output: &mut [W]) {
        assert_eq!(Some(input.len()), batch.checked_mul(self.geometry.input_len()), "number of input values");
        assert_eq!(
            Some(output.len()),
            batch.checked_mul(self.geometry.output_len()),
            "number of output values"
        );
        let layer = self;
        let close = Close::new(&self.ring);
        let (shift, mask) = match self.ring {
            Ring::Prime(_) => (0, u64::MAX),
            Ring::PowerOfTwo(_) => (self.lines[0].twos() + self.lines[1].twos(), self.ring.greatest()),
        };
        if !self.cut {
            let finish = Finish { close, shift, mask };
            Flow { layer, close, finish, input, batch }.run(output);
            return;
        }
        // The low bits times the weights need more bits than an element has.
        let finish = Finish { close, shift, mask: u64::MAX };
        let part = |part: fn(u64) -> u64, output: &mut [u64]| {
            let input: Vec<u64> = input.iter().map(|&word| part(word.to_u64())).collect();
            Flow { layer, close, finish, input: &input, batch }.run(output);
        };
        let (mut low, mut high) = (vec![0; output.len()], vec![0; output.len()]);
        part(|word| word & ((1 << LOW_BITS) - 1), &mut low);
        part(|word| word >> LOW_BITS, &mut high);
        for ((word, &low), &high) in output.iter_mut().zip(&low).zip(&high) {
            *word = W::from_u64(low.wrapping_add(high << LOW_BITS) & mask);
        }
    }
}

/// The weight of one position: one row of G for the rows of a kernel, one for its columns.
fn transformed(kernel: &[i32], rows: &[i64], columns: &[i64]) -> i64 {
    let line = |line: &[i32]| -> i64 {
        line.iter().zip(columns).map(|(&weight, &factor)| i64::from(weight) * factor).sum()
    };
    kernel.chunks(columns.len()).zip(rows).map(|(row, &factor)| factor * line(row)).sum()
}

/// Whether inputs modulo 2^`bits` are cut in two, for lack of room for a division by 2^`twos`.
fn cuts(bits: u32, twos: u32) -> bool {
    bits + twos > u64::BITS
}

/// Greatest sum of the absolute weights of one output.
pub(crate) fn greatest_norm(geometry: &ConvGeometry, weights: &[i32]) -> u128 {
    let norm = |weights: &[i32]| weights.iter().map(|&weight| u128::from(weight.unsigned_abs())).sum();
    weights.chunks(geometry.terms()).map(norm).max().unwrap_or(0)
}
