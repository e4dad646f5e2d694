//! What the loops are written in: eight lanes over a ring, reading and writing words of 32 or 64 bits.
//!
//! All methods inline, into a [`crate::kernel::Task`] for the instruction set that they are written for. The lanes of plain Rust
//! ([`super::plain`]) are the twins of the others.

use crate::Word;
use crate::lanes::{LANES, Words};

/// Sums of products.
pub(super) trait Lanes<W: Word>: Copy + Send {
    /// Eight sums.
    type Vector: Copy;
    /// A prepared number in all lanes: an integer, or the bits of a double where lanes are doubles. Zero is zero.
    fn splat(self, number: u64) -> Self::Vector;
    /// Sum, wrapping.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Product, wrapping.
    fn times(self, words: Self::Vector, weight: Self::Vector) -> Self::Vector;
    /// words·weight + sum, wrapping.
    fn times_add(self, words: Self::Vector, weight: Self::Vector, sum: Self::Vector) -> Self::Vector;
    /// The elements sum + centre into `to`, as many as it has words, at most eight.
    fn finish(self, sum: Self::Vector, centre: Self::Vector, to: &mut [W]);
}

/// What [`super::stream`] needs beside that. Two vectors that are computed side by side are sixteen neighbouring outputs: the
/// first eight and the next, or, where words are [`Streamed::interleaved`], those of even and of odd numbers.
pub(super) trait Streamed<W: Word>: Lanes<W> {
    /// Whether vectors are computed in twos.
    const TWO: bool;

    /// Whether two vectors of this stride are even and odd outputs.
    fn interleaved(stride: usize) -> bool;

    /// The three taps of eight outputs: tap t of output j is word j·STRIDE + t where bit j of mask t is set, else zero.
    /// `STRIDE` is one or two.
    ///
    /// # Panics
    /// If there are fewer than [`span`] words.
    fn one<const STRIDE: usize>(self, words: &[W], masks: &[u8; 3]) -> [Self::Vector; 3];

    /// The taps of two vectors.
    ///
    /// # Panics
    /// As [`Streamed::one`].
    fn two<const STRIDE: usize>(self, words: &[W], masks: &[[u8; 3]; 2]) -> [[Self::Vector; 3]; 2];

    /// As [`Lanes::finish`] for two vectors, at most sixteen words.
    fn finish_two<const STRIDE: usize>(self, sums: [Self::Vector; 2], centre: Self::Vector, to: &mut [W]);
}

/// Words of a row that so many vectors are computed from.
pub(super) const fn span(vectors: usize, stride: usize) -> usize {
    vectors * LANES * stride + 2
}

/// What [`super::plane`] needs beside that.
pub(super) trait Buffered<W: Word>: Lanes<W> {
    /// Centred words.
    fn load(self, words: &Words) -> Self::Vector;
    /// A representative in (−2q, 2q), shifted to the left.
    fn fold(self, sum: Self::Vector, shift: u32) -> Self::Vector;
    /// Every `stride`-th word, centred, until `to` is full; `STRIDE` is the stride if it is one or two, else zero.
    ///
    /// # Panics
    /// If there are fewer words than that.
    fn center<const STRIDE: usize>(self, words: &[W], stride: usize, to: &mut [u64]);
}
