//! What a transform reads: factors in the order of reading, offsets, and how often values must be tamed.
//!
//! A level of the transform that joins m blocks' halves uses the factors with the bit-reversed indices m..2m, as in
//! [`super::super`]. The six levels of half-lengths 32 to 1 work on 64 words at a time; their factors lie together,
//! one [`Block`] for each 64 words. All other levels read [`Side::pairs`].
//!
//! | mode | forward: inputs tamed | inverse: sums tamed | for |
//! |---|---|---|---|
//! | [`FREE`] | never | one of four in a pass | (2L+1) q <= 2^52; inverse: q < 2^48 |
//! | [`SPARSE`] | once in a pass, twice in a block | half of them in a pass | q < 2^49 |
//! | [`DENSE`] | at each level | at each level | q < 2^50 |
//!
//! (L = log2 N.) The bounds that decide are computed with the very table of [`super::lanes::tame`] for the prime at
//! hand, in [`forward_fits`] and [`inverse_fits`]; the last column says what comes out of it.

use super::lanes::{LANES, STEP, shoup_52};

/// Values grow to the end (forward) or to the end of a pass (inverse).
pub(super) const FREE: u8 = 0;
/// Values grow over two or three levels.
pub(super) const SPARSE: u8 = 1;
/// Values grow over one level.
pub(super) const DENSE: u8 = 2;

/// All values that the multiplier can tell apart.
const CAPACITY: u128 = 1 << 52;

/// Words of two registers, within which the last four levels (first four of the inverse) are done.
pub(super) const UNIT: usize = 16;

/// One register's worth of words, in a cache line of its own.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [u64; LANES]);

/// One direction.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) mode: u8,
    /// Half-lengths N/2 to 8: factor and quotient by bit-reversed index, below N/8.
    pub(super) pairs: Vec<[u64; 2]>,
    /// Half-length 4: the quotients of a unit's two registers, each twice.
    pub(super) fours: Vec<[u64; 4]>,
    /// Half-length 2: the four quotients of a unit.
    pub(super) twos: Vec<[u64; 4]>,
    /// Half-length 1: the eight quotients of a unit, those of the two registers alternating.
    pub(super) ones: Vec<Line>,
    /// The table of [`super::lanes::tame`].
    pub(super) table: [u64; LANES],
    /// Forward: added to one input of the first level. Inverse: added to differences of tame values, and of their sums.
    pub(super) offsets: [u64; 2],
}

/// Both directions of one (N, q).
#[derive(Debug)]
pub(crate) struct Tables {
    pub(super) q: u64,
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
        let forward = Side::new(forward, q, mode, taming(q, bias), [bias, 0]);
        let mode = [FREE, SPARSE, DENSE].into_iter().find(|&mode| inverse_fits(mode, q));
        let mode = mode.expect("inverse_fits holds for DENSE below 2^50");
        let scale = [inverse[0], shoup_52(inverse[0], q)];
        let inverse = Side::new(inverse, q, mode, taming(q, 0), inverse_offsets(mode, q));
        Self { q, forward, inverse, scale }
    }
}

impl Tables {
    /// The degree N.
    pub(super) fn check(&self, words: usize) {
        assert_eq!(words, UNIT * self.forward.ones.len(), "a transform got words of another degree");
    }
}

impl Side {
    fn new(roots: &[u64], q: u64, mode: u8, table: [u64; LANES], offsets: [u64; 2]) -> Self {
        let n = roots.len();
        let pair = |index: usize| [roots[index], shoup_52(roots[index], q)];
        let quotient = |index: usize| shoup_52(roots[index], q);
        let units = 0..n / UNIT;
        Self {
            mode,
            pairs: (0..n / 8).map(pair).collect(),
            fours: units.clone().map(|u| [0, 0, 1, 1].map(|v| quotient(n / 8 + 2 * u + v))).collect(),
            twos: units.clone().map(|u| [0, 1, 2, 3].map(|v| quotient(n / 4 + 4 * u + v))).collect(),
            ones: units
                .map(|u| Line([0, 4, 1, 5, 2, 6, 3, 7].map(|v| quotient(n / 2 + 8 * u + v))))
                .collect(),
            table,
            offsets,
        }
    }
}

/// Entry k takes from values in [k * STEP, (k+1) * STEP) the multiples of q that fit below, and adds the bias.
pub(super) fn taming(q: u64, bias: u64) -> [u64; LANES] {
    core::array::from_fn(|k| (k as u64 * STEP / q * q).wrapping_sub(bias))
}

/// The bound of tamed values, without a bias: the largest (k+1) * STEP - floor(k * STEP / q) * q.
fn tame_bound(q: u64) -> u64 {
    (0..LANES as u64).map(|k| (k + 1) * STEP - k * STEP / q * q).max().expect("eight entries")
}

/// Forward, the multiples of q that values start with: each level may take one away.
fn forward_bias(mode: u8, levels: u64) -> u64 {
    match mode {
        FREE => levels,
        SPARSE => 3,
        _ => 1,
    }
}

/// Whether the forward transform stays within 52 bits: a level adds to x a number in [-q, q).
fn forward_fits(mode: u8, levels: u64, q: u64) -> bool {
    let bias = forward_bias(mode, levels);
    // Residues at the start, tamed values later (never in FREE); then as many levels as the bias pays for.
    let start = if mode == FREE { q } else { tame_bound(q).max(q) };
    u128::from(start) + 2 * u128::from(bias) * u128::from(q) <= CAPACITY
}

/// Inverse: the bound W of what enters a pass, by mode.
fn inverse_bound(mode: u8, q: u64) -> u64 {
    tame_bound(q).max(if mode == FREE { 4 * q } else { 2 * q })
}

/// Inverse: multiples of q to add to the difference of two values below W, and below 2W.
fn inverse_offsets(mode: u8, q: u64) -> [u64; 2] {
    [1, 2].map(|times| (times * inverse_bound(mode, q)).div_ceil(q) * q)
}

/// Whether the inverse transform stays within 52 bits; see `inverse.rs` for what is tamed where.
fn inverse_fits(mode: u8, q: u64) -> bool {
    let bound = u128::from(inverse_bound(mode, q));
    let [first, second] = inverse_offsets(mode, q).map(u128::from);
    let q = u128::from(q);
    match mode {
        // Four levels from [0, q) without taming, then two levels from W.
        FREE => 16 * q <= CAPACITY && 2 * bound + second <= CAPACITY,
        // Three levels from [0, q), then two levels from W.
        SPARSE => 8 * q <= CAPACITY && 2 * bound + second <= CAPACITY,
        // One level from W.
        _ => 2 * bound <= CAPACITY && bound + first <= CAPACITY,
    }
}
