//! What a transform reads: factors in the order of reading, offsets, and how often values must be tamed.
//!
//! A level of the transform that joins the halves of m blocks uses the factors with the bit-reversed indices m..2m, as
//! in [`super::super`]. The levels of half-lengths 32 to 1 are done on 128 words at a time; their factors lie together,
//! one [`Factors`] for each 128 words. All other levels read [`Side::pairs`].
//!
//! | mode | forward: inputs tamed | inverse: sums tamed | forward for | inverse for |
//! |---|---|---|---|---|
//! | [`FREE`] | never | about one of four | (2L+1) q <= 2^52 | q < 2^48 |
//! | [`SPARSE`] | every third or second level | half of them | q < 2^49 | q < 2^49 |
//! | [`DENSE`] | at each level | nearly all | q < 2^50 | q < 2^50 |
//!
//! (L = log2 N: FREE is forward for all primes of 47 bits up to N = 32768. Inverse, bands between 5/6 and 8/9 of 2^49 are
//! DENSE.) What decides are the bounds of the very
//! prime, in [`forward_fits`] and [`inverse_fits`]; the last columns are what comes out.

use core::array::from_fn as array;

use super::lanes::{LANES, STEP, TOPMOST, shoup_52};

/// Values grow to the end (forward) or to the end of a pass (inverse).
pub(super) const FREE: u8 = 0;
/// Values grow over two or three levels.
pub(super) const SPARSE: u8 = 1;
/// Values grow over one level.
pub(super) const DENSE: u8 = 2;

/// All values that the multiplier can tell apart.
const CAPACITY: u128 = 1 << 52;

/// Words of 16 registers, in which the last levels (first of the inverse) are done.
pub(super) const BLOCK: usize = 128;
/// Words that the levels of a block join: half of them.
pub(super) const HALF: usize = 64;
/// Pairs of registers in a block.
pub(super) const PAIRS: usize = 8;

/// What one block reads: factors with their quotients; of half-length 1, which has half of them all, the quotients alone.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Factors {
    /// Half-length 32.
    pub(super) h32: [[u64; 2]; 2],
    /// Half-length 16.
    pub(super) h16: [[u64; 2]; 4],
    /// Half-length 8: one for each pair of registers.
    pub(super) h8: [[u64; 2]; PAIRS],
    /// Half-length 4: factors, then quotients; those of a pair's two registers, each twice.
    pub(super) h4: [[[u64; 4]; 2]; PAIRS],
    /// Half-length 2: factors, then quotients; four of each pair.
    pub(super) h2: [[[u64; 4]; 2]; PAIRS],
    /// Half-length 1: quotients; eight of each pair, those of the two registers alternating.
    pub(super) h1: [[u64; LANES]; PAIRS],
}

/// One direction.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) mode: u8,
    /// Half-lengths N/2 to 32: factor and quotient by bit-reversed index, below N/32.
    pub(super) pairs: Vec<[u64; 2]>,
    /// All other half-lengths.
    pub(super) blocks: Vec<Factors>,
    /// The table of [`super::lanes::tame`]; forward, DENSE does not read it.
    pub(super) table: [u64; LANES],
    /// Forward: added to one input of the first level. Inverse: added to differences of tame values, and of their sums.
    pub(super) offsets: [u64; 2],
}

/// Inverse: what words of one quarter of a pass carry; multiples of q, negative ones as wrapping words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role {
    /// On each word.
    pub(super) bias: u64,
    /// On two products, so that their sum has the bias and their difference is not negative.
    pub(super) starts: [u64; 2],
}

/// Both directions of one (N, q).
#[derive(Debug)]
pub(crate) struct Tables {
    pub(super) q: u64,
    /// Inverse: quarter by quarter, see `inverse.rs`.
    pub(super) roles: [Role; 4],
    /// Inverse: the table of [`super::lanes::tame_negated`].
    pub(super) negated: [u64; LANES],
    pub(super) forward: Side,
    pub(super) inverse: Side,
    /// 1/N with its quotient: the last level of the inverse multiplies both its outputs.
    pub(super) scale: [u64; 2],
}

impl Tables {
    /// From the powers of psi and of its inverse by bit-reversed index, `inverse[0]` = 1/N and `inverse[1]` with 1/N
    /// folded in, as [`super::super::Roots`] has them. N >= 256, q < 2^50 an odd prime.
    pub(crate) fn new(forward: &[u64], inverse: &[u64], q: u64) -> Self {
        let n = forward.len();
        assert!(n >= super::LEAST_DEGREE && n.is_power_of_two() && q < 1 << 50 && inverse.len() == n);
        let levels = u64::from(n.trailing_zeros());
        let mode = [FREE, SPARSE, DENSE].into_iter().find(|&mode| forward_fits(mode, levels, q));
        let mode = mode.expect("forward_fits holds for DENSE below 2^50");
        let bias = forward_bias(mode, levels) * q;
        let forward = Side::new(forward, q, mode, |_| false, taming(q, bias), [bias, 0]);
        let mode = [FREE, SPARSE, DENSE].into_iter().find(|&mode| inverse_fits(mode, q));
        let mode = mode.expect("inverse_fits holds for DENSE below 2^50");
        let scale = [inverse[0], shoup_52(inverse[0], q)];
        // What DENSE negates: all but the very last level's odd ones.
        let negated = |index: usize| mode == DENSE && index % 2 == 1 && index > 1;
        let inverse = Side::new(inverse, q, mode, negated, taming(q, 0), inverse_offsets(mode, q));
        let (roles, negated) = (inverse_roles(mode, q), taming_negated(q));
        Self { q, roles, negated, forward, inverse, scale }
    }
}

impl Tables {
    /// The degree N.
    pub(super) fn check(&self, words: usize) {
        assert_eq!(words, BLOCK * self.forward.blocks.len(), "a transform got words of another degree");
    }
}

impl Side {
    /// Factors by bit-reversed index, those of half-lengths from 8 on negated where `negated` says so.
    fn new(
        roots: &[u64],
        q: u64,
        mode: u8,
        negated: impl Fn(usize) -> bool,
        table: [u64; LANES],
        offsets: [u64; 2],
    ) -> Self {
        let n = roots.len();
        let pair = |index: usize| {
            let root = if negated(index) { q - roots[index] } else { roots[index] };
            [root, shoup_52(root, q)]
        };
        let quotient = |index: usize| shoup_52(roots[index], q);
        let four = |indices: [usize; 4]| [indices.map(|index| roots[index]), indices.map(quotient)];
        let block = |b: usize| Factors {
            h32: array(|k| pair(n / 64 + 2 * b + k)),
            h16: array(|k| pair(n / 32 + 4 * b + k)),
            h8: array(|k| pair(n / 16 + 8 * b + k)),
            h4: array(|k| four([0, 0, 1, 1].map(|i| n / 8 + 16 * b + 2 * k + i))),
            h2: array(|k| four([0, 1, 2, 3].map(|i| n / 4 + 32 * b + 4 * k + i))),
            h1: array(|k| [0, 4, 1, 5, 2, 6, 3, 7].map(|i| quotient(n / 2 + 64 * b + 8 * k + i))),
        };
        Self {
            mode,
            pairs: (0..n / 32).map(pair).collect(),
            blocks: (0..n / BLOCK).map(block).collect(),
            table,
            offsets,
        }
    }
}

/// Entry k takes from values in [k * STEP, (k+1) * STEP) the multiples of q that fit below, and adds the bias.
pub(super) fn taming(q: u64, bias: u64) -> [u64; LANES] {
    array(|k| (k as u64 * STEP / q * q).wrapping_sub(bias))
}

/// Entry k is the least multiple of q that no value in [k * STEP, (k+1) * STEP) exceeds.
fn taming_negated(q: u64) -> [u64; LANES] {
    array(|k| ((k as u64 + 1) * STEP).div_ceil(q) * q)
}

/// The bound of tamed values, without a bias: the largest (k+1) * STEP - floor(k * STEP / q) * q.
fn tame_bound(q: u64) -> u64 {
    (0..LANES as u64).map(|k| (k + 1) * STEP - k * STEP / q * q).max().expect("eight entries")
}

/// Forward, the multiples of q that values start with: each level may take one away, but for those of DENSE.
fn forward_bias(mode: u8, levels: u64) -> u64 {
    match mode {
        FREE => levels,
        SPARSE => 3,
        _ => 0,
    }
}

/// Whether the forward transform stays within 52 bits.
fn forward_fits(mode: u8, levels: u64, q: u64) -> bool {
    let bias = forward_bias(mode, levels);
    // Residues at the start, tamed values later (never in FREE). A level adds to x a number in [-q, q), as many levels as
    // the bias pays for. In DENSE x is below 2^51 (`tame_once`, which needs 2q <= 2^51), and a level adds a number in [0, 2q].
    let (start, spread) = match mode {
        FREE => (q, 2 * bias),
        SPARSE => (tame_bound(q).max(q), 2 * bias),
        _ => (TOPMOST, 2),
    };
    u128::from(start) + u128::from(spread) * u128::from(q) <= CAPACITY
}

/// Inverse: the bound W of what enters a pass, by mode: tamed sums, products, and sums of products in FREE; a multiple of q
/// in DENSE.
fn inverse_bound(mode: u8, q: u64) -> u64 {
    match mode {
        FREE => tame_bound(q).max(4 * q),
        SPARSE => tame_bound(q).max(2 * q),
        // The table of negated values leaves less than a step and a residue.
        _ => tame_bound(q).max(2 * q).max(STEP + q).div_ceil(q) * q,
    }
}

/// Inverse: multiples of q to add to the difference of two values below W, and below 2W.
fn inverse_offsets(mode: u8, q: u64) -> [u64; 2] {
    [1, 2].map(|times| (times * inverse_bound(mode, q)).div_ceil(q) * q)
}

/// Inverse, the roles of the four quarters of a pass: see `inverse.rs`. DENSE has no biases.
fn inverse_roles(mode: u8, q: u64) -> [Role; 4] {
    let [u, v] = inverse_offsets(mode, q).map(u64::cast_signed);
    let q = q.cast_signed();
    let h = if v < 2 * u { q } else { 0 };
    let biases = if mode == DENSE { [0; 4] } else { [u, 0, h, u - v - h] };
    biases.map(|bias| {
        // A difference of products is above -2q.
        let less = match bias {
            ..0 => -bias,
            _ if bias >= 2 * q => 0,
            _ => q,
        };
        Role { bias: bias.cast_unsigned(), starts: [bias + less, -less].map(i64::cast_unsigned) }
    })
}

/// Whether the inverse transform stays within 52 bits; see `inverse.rs` for what is tamed where.
fn inverse_fits(mode: u8, q: u64) -> bool {
    let bound = u128::from(inverse_bound(mode, q));
    let [first, second] = inverse_offsets(mode, q).map(u128::from);
    match mode {
        // Two levels from W, which is no less than the first two levels need, from [0, q) with offsets q and 2q.
        FREE | SPARSE => {
            // Of four words from W, the difference of their sums, and the sum.
            2 * bound + second <= CAPACITY && 4 * bound + 2 * first - second <= CAPACITY
        }
        // One level from W, of half-length 8 or below; signed sums.
        _ => bound + first <= CAPACITY && 2 * bound <= CAPACITY,
    }
}

#[cfg(test)]
mod tests;
