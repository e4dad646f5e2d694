//! Weights, packed for outputs that lie side by side, and when sums have to be folded.
//!
//! ```text
//! weights[panel][term][output of the panel]      one i32: the weights of the even channel (below) and of the odd one
//! ```
//!
//! A *term* is a plane of two channels under one tap. Where the number of channels is odd, the last one has a plane of its
//! own, whose words pair each value with its right neighbour, so that two taps of a row are one term.
//!
//! *Offset.* Digits are taken as they stand in the value, each less 2^(b−1) to be signed: x = Σ (x_d + 2^(b−1))·2^(b·d). So
//! sums lack Σ_d 2^(b−1+b·d) times the sum of an output's weights, a constant that they start from. Zeros of the padding are
//! written as what zero is, −2^(b−1) in each digit.
//!
//! *Folding.* Before a sum could leave 32 bits its upper half moves on: t_d = h_d·2^16 + l_d, h_d·2^(16−b) is added to t_{d+1},
//! and h of the topmost, times 2^(16 + b·(D−1)) mod q, written in digits c_d again, to all of them. Everything stays in registers,
//! and what is left is at most 2^16 + 2^(31−b) + 2^15·|c_d|; products may add what 2^31 − 1 leaves.

use crate::Ring;
use crate::matmul::Cut;
use std::ops::Range;

/// Most digits.
pub(super) const MAX_DIGITS: usize = 4;

/// How sums are folded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold {
    /// 2^(16−b): what the upper half of a digit's sum counts in the next.
    pub(super) carry: i16,
    /// 2^(16 + b·(D−1)) mod q in signed digits.
    pub(super) top: [i16; MAX_DIGITS],
    /// Digits up to the last of these that is not zero: none over Z_2^k, one for primes so close to a power of two that the
    /// residue fits a digit.
    pub(super) tops: usize,
}

/// The weights of one group.
pub(super) struct Group {
    pub(super) weights: Vec<i32>,
    /// What sums start from, `[output][digit]`.
    pub(super) start: Vec<i32>,
}

/// Two weights that are multiplied by one word, as (channel, tap).
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    /// Number of the plane.
    pub(super) plane: usize,
    /// Distance of its first tap.
    pub(super) tap: usize,
    pub(super) low: (usize, usize),
    pub(super) high: Option<(usize, usize)>,
}

impl Fold {
    /// `None` if a digit does not fit its word.
    pub(super) fn new(ring: &Ring, cut: &Cut) -> Option<Self> {
        let mut top = [0; MAX_DIGITS];
        if let Ring::Prime(_) = ring {
            let two = ring.from_i64(1 << (16 + cut.bits));
            let base = ring.from_i64(1 << cut.bits);
            let mut rest = ring.center((2..cut.digits).fold(two, |power, _| ring.mul(power, base)));
            if cut.digits == 1 {
                rest = ring.center(ring.from_i64(1 << 16));
            }
            let half = 1i64 << (cut.bits - 1);
            for (d, digit) in top.iter_mut().enumerate().take(cut.digits) {
                let low = if d + 1 == cut.digits { rest } else { ((rest + half) & (2 * half - 1)) - half };
                *digit = i16::try_from(low).ok()?;
                rest = (rest - low) >> cut.bits;
            }
        }
        let tops = top.iter().rposition(|&digit| digit != 0).map_or(0, |last| last + 1);
        Some(Self { carry: i16::try_from(1i32 << (16 - cut.bits)).ok()?, top, tops })
    }

    /// Greatest sum of absolute values of weights between two foldings.
    pub(super) fn room(&self, cut: &Cut) -> u64 {
        let top = self.top.iter().map(|digit| u64::from(digit.unsigned_abs())).max().unwrap_or(0);
        let left = (1 << 16) + (1 << (31 - cut.bits)) + (top << 15);
        ((1u64 << 31) - 1 - left) >> (cut.bits - 1)
    }
}

/// All terms: plane after plane, tap after tap.
pub(super) fn terms(inputs: usize, taps: &[usize]) -> Vec<Term> {
    let mut terms = Vec::new();
    for plane in 0..inputs / 2 {
        for (number, &tap) in taps.iter().enumerate() {
            let (low, high) = ((2 * plane, number), Some((2 * plane + 1, number)));
            terms.push(Term { plane, tap, low, high });
        }
    }
    if inputs % 2 == 1 {
        let (plane, channel) = (inputs / 2, inputs - 1);
        let mut order: Vec<(usize, usize)> =
            taps.iter().copied().enumerate().map(|(n, tap)| (tap, n)).collect();
        order.sort_unstable();
        let mut order = order.into_iter().peekable();
        while let Some((tap, number)) = order.next() {
            let right = order.next_if(|&(next, _)| next == tap + 1);
            let high = right.map(|(_, number)| (channel, number));
            terms.push(Term { plane, tap, low: (channel, number), high });
        }
    }
    terms
}

/// Outputs of a panel that kernels are compiled for, largest first.
const SIZES: [usize; 7] = [12, 8, 6, 4, 3, 2, 1];

/// Outputs in panels of at most `most` (6 or more), of few different sizes, large ones first.
pub(super) fn panels(outputs: usize, most: usize) -> Vec<Range<usize>> {
    let sizes = SIZES.into_iter().filter(|&size| size <= most);
    let mut left = outputs;
    let mut panels = Vec::new();
    while let Some(size) = sizes.clone().find(|&size| size <= left) {
        // Twice eight instead of twelve and four, three and two instead of four and one.
        let size = match (size, left) {
            (12, 16) => 8,
            (4, 5) => 3,
            _ => size,
        };
        panels.push(outputs - left..outputs - left + size);
        left -= size;
    }
    panels
}

impl Group {
    /// Packs `weight(output, channel, tap)`; `offset` is what is added to every sum.
    pub(super) fn new(
        ring: &Ring,
        cut: &Cut,
        panels: &[Range<usize>],
        terms: &[Term],
        offset: u64,
        weight: &dyn Fn(usize, usize, usize) -> i32,
    ) -> Self {
        let outputs = panels.last().map_or(0, |last| last.end);
        let mut weights = Vec::with_capacity(outputs * terms.len());
        for panel in panels {
            for term in terms {
                for output in panel.clone() {
                    let low = weight(output, term.low.0, term.low.1);
                    let high = term.high.map_or(0, |(channel, tap)| weight(output, channel, tap));
                    weights.push(low & 0xffff | high << 16);
                }
            }
        }
        // What digits lack.
        let lack = (0..cut.digits as u32)
            .fold(0, |sum, d| ring.add(sum, ring.from_i128(1i128 << (cut.bits - 1 + cut.bits * d))));
        let mut start = Vec::with_capacity(outputs * cut.digits);
        for output in 0..outputs {
            let sum: i64 = (terms.iter())
                .map(|term| {
                    let high = term.high.map_or(0, |(channel, tap)| weight(output, channel, tap));
                    i64::from(weight(output, term.low.0, term.low.1)) + i64::from(high)
                })
                .sum();
            let element = ring.add(ring.mul(ring.from_i64(sum), lack), offset);
            for d in 0..cut.digits as u32 {
                start.push(((element >> (cut.bits * d)) & ((1 << cut.bits) - 1)) as i32);
            }
        }
        Self { weights, start }
    }

    /// Numbers of terms before which sums are folded, so that Σ|w| of no output exceeds `room` in between; `None` if one term is
    /// too much.
    pub(super) fn folds(
        groups: &[Self],
        panels: &[Range<usize>],
        terms: usize,
        room: u64,
    ) -> Option<Vec<usize>> {
        let outputs = panels.last().map_or(0, |last| last.end);
        let mut sums = vec![0u64; groups.len() * outputs];
        let mut folds = Vec::new();
        let size =
            |word: i32| u64::from((word as i16).unsigned_abs()) + u64::from((word >> 16).unsigned_abs());
        let each = |term: usize, act: &mut dyn FnMut(usize, u64)| {
            for (number, group) in groups.iter().enumerate() {
                for panel in panels {
                    let at = panel.start * terms + term * panel.len();
                    for (output, &word) in panel.clone().zip(&group.weights[at..]) {
                        act(number * outputs + output, size(word));
                    }
                }
            }
        };
        for term in 0..terms {
            let mut most = 0;
            each(term, &mut |output, size| {
                sums[output] += size;
                most = most.max(sums[output]);
            });
            if most > room {
                folds.push(term);
                most = 0;
                each(term, &mut |output, size| {
                    sums[output] = size;
                    most = most.max(size);
                });
                if most > room {
                    return None;
                }
            }
        }
        Some(folds)
    }
}
