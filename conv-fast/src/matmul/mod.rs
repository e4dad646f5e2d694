//! Exact products of small signed weights and residues: the multiply-add kernels behind the algorithms of this crate.
//!
//! No instruction multiplies a 12-bit weight by a 50-bit residue and sums exactly. So a residue is written in D signed
//! digits of at most 16 bits (`cut`, `spread`), and weights and digits meet in the one instruction that all machines are
//! good at: 16 × 16 → 32 bits, two neighbouring products summed (`vpdpwssd`, `vpmaddwd`). The rest lies around it:
//!
//! - `panels`: weights packed for sixteen outputs side by side, and the loop over columns, which are only addresses;
//! - `decode`: from the sums of the digits back to elements of the ring, eight outputs at a time;
//! - `avx512`, `avx2`, `neon`, `portable`: the multiply-adds, one kernel chosen at run time; the portable one is the twin
//!   that the others are tested against.
//!
//! [`SmallMatrix`] is the product as an operation of its own; `PairMatrix` serves transforms, and the implicit matrix of a
//! convolution is in `im2col`. Of the weights, run time tells their greatest absolute value and how often sums are spilled;
//! of the inputs nothing.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod buffer;
mod cut;
mod decode;
#[cfg(target_arch = "x86_64")]
mod decode_avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pair;
mod panels;
mod portable;
mod product;
mod spread;
#[cfg(target_arch = "x86_64")]
mod spread_avx512;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::multiply_add;
pub(crate) use buffer::Buffer;
pub(crate) use cut::Cut;
pub(crate) use pair::PairMatrix;
pub(crate) use panels::{Panels, Segments, Sums};
pub use product::{SmallMatrix, multiply_slow};
pub(crate) use spread::Spread;

#[cfg(test)]
mod tests;
