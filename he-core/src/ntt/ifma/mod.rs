//! The transform in eight lanes of 52-bit multiply-add (AVX-512F, AVX-512IFMA), q < 2^50, N >= 256.
//!
//! Lazy in the way of D. Harvey (*Faster arithmetic for number-theoretic transforms*, J. Symb. Comput. 60, 2014) with
//! 52-bit Shoup quotients, and further in three points:
//!
//! - Numbers live modulo 2^52, the width that the multiplier reads. A butterfly of the forward transform is three
//!   multiply-adds, one addition and one subtraction: no mask, no comparison. For primes up to 47 bits there is no
//!   reduction before the very end; wider primes are *tamed* now and then by one table look-up in a register. For those of 50
//!   bits a fourth multiply-add takes the addition's place, and one bit tells what to tame.
//! - Two levels are done in registers for each load and store, the last six (inverse: the first) in one go on 128
//!   words, the first three (inverse: the last) together where log2 N is odd. Half-length 1, with half of all
//!   factors, stores quotients alone and computes the factors: less memory to read.
//! - Large transforms go depth first once a part fits the first-level cache.
//!
//! | room | what |
//! |---|---|
//! | `lanes` | the steps on one register: product, tame, canonical residue |
//! | `tables` | factors in the order of reading; which bounds hold for which prime, and what follows |
//! | `forward`, `inverse` | the two transforms |
//! | `pointwise` | sums of products, multiples |
//!
//! | value | range |
//! |---|---|
//! | words in and out of every function here | [0, q), canonical |
//! | between passes | [0, 2^52) modulo 2^52, see `tables` |
//! | sums of [`accumulate`] | low halves < 2^52 each, high halves < 2^48 each, at most [`MOST_TERMS`] terms |
//!
//! Order of the output and psi are those of [`super`]. The time depends on N and on the width of q only.
//! The functions here are safe to call only because [`super::Twiddles::Ifma`] is built after asking the CPU.
#![expect(unsafe_code, reason = "calls of target_feature functions")]

mod forward;
mod inverse;
pub(crate) mod lanes;
mod pointwise;
mod tables;

pub(crate) use pointwise::MOST_TERMS;
pub(super) use tables::Tables;

use lanes::LANES;

/// The smallest degree: one block, and two levels after it.
pub(crate) const LEAST_DEGREE: usize = 256;
/// Words of a part that is finished before the next is begun: 32 KiB, which leaves room for factors in 48 KiB.
const PART: usize = 4096;

/// In place; [0, q) natural order to [0, q) bit-reversed order.
pub(crate) fn forward(words: &mut [u64], tables: &Tables) {
    tables.check(words.len());
    // SAFETY: tables exist only if the CPU has AVX-512F and IFMA (`Kernel::serves`).
    unsafe { forward::forward(words, tables) }
}

/// In place; [0, q) bit-reversed order to [0, q) natural order, divided by N.
pub(crate) fn inverse(words: &mut [u64], tables: &Tables) {
    tables.check(words.len());
    // SAFETY: as in `forward`.
    unsafe { inverse::inverse(words, tables) }
}

/// acc = acc + sum of products, all residues; at most [`MOST_TERMS`] terms of N words each.
pub(crate) fn accumulate(terms: &[(&[u64], &[u64])], acc: &mut [u64], tables: &Tables) {
    tables.check(acc.len());
    assert!(terms.len() <= MOST_TERMS);
    assert!(terms.iter().all(|(a, b)| a.len() == acc.len() && b.len() == acc.len()));
    // SAFETY: as in `forward`.
    unsafe { pointwise::accumulate(terms, acc, tables.q) }
}

/// x = x * y, residues, N words each.
pub(crate) fn multiply(x: &mut [u64], y: &[u64], tables: &Tables) {
    tables.check(x.len());
    assert_eq!(x.len(), y.len());
    // SAFETY: as in `forward`.
    unsafe { pointwise::multiply(x, y, tables.q) }
}

/// out = x * y, residues, N words each.
pub(crate) fn products(x: &[u64], y: &[u64], out: &mut [u64], tables: &Tables) {
    tables.check(out.len());
    assert!(x.len() == out.len() && y.len() == out.len());
    // SAFETY: as in `forward`.
    unsafe { pointwise::products(x, y, out, tables.q) }
}

/// x = x * factor, residues of a prime q < 2^50, a multiple of 8 of them; the factor is public.
pub(crate) fn scale(x: &mut [u64], factor: u64, q: u64) {
    assert!(x.len().is_multiple_of(LANES) && q < 1 << 50);
    // SAFETY: callers have asked this CPU for a kernel of AVX-512F and IFMA (`Kernel::serves`, `Kernel::widest`).
    unsafe { pointwise::scale(x, factor, q) }
}

// Left to itself, the compiler makes calls of these in some builds, which cost transforms of small parts a sixth of their time.

/// Registers' worth of words.
#[inline(always)]
fn chunks(words: &mut [u64]) -> &mut [[u64; LANES]] {
    words.as_chunks_mut().0
}

/// The four quarters of a part, in registers' worth of words.
#[inline(always)]
fn quarters(words: &mut [u64]) -> [&mut [[u64; LANES]]; 4] {
    let words = chunks(words);
    let half = words.len() / 2;
    let (low, high) = words.split_at_mut(half);
    let (a, b) = low.split_at_mut(half / 2);
    let (c, d) = high.split_at_mut(half / 2);
    [a, b, c, d]
}

/// The four quarters of a part, two places at a time. Quarters have at least two registers' worth of words: parts have 256
/// words at least.
#[inline(always)]
fn pairs_of_quarters(words: &mut [u64]) -> impl Iterator<Item = lanes::Places<'_>> {
    let [a, b, c, d] = quarters(words).map(|quarter| quarter.as_chunks_mut::<2>().0);
    a.iter_mut().zip(b).zip(c).zip(d).map(|((([a, e], [b, f]), [c, g]), [d, h])| [[a, b, c, d], [e, f, g, h]])
}

/// The four quarters of either half of a part, a place of each at a time.
#[inline(always)]
fn quarters_of_halves(words: &mut [u64]) -> impl Iterator<Item = lanes::Places<'_>> {
    let (low, high) = words.split_at_mut(words.len() / 2);
    let ([a, b, c, d], [e, f, g, h]) = (quarters(low), quarters(high));
    let low = a.iter_mut().zip(b).zip(c).zip(d).map(|(((a, b), c), d)| [a, b, c, d]);
    let high = e.iter_mut().zip(f).zip(g).zip(h).map(|(((e, f), g), h)| [e, f, g, h]);
    low.zip(high).map(|(low, high)| [low, high])
}
