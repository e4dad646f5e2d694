//! How residues and weights are cut into the 16-bit factors of the multiply-add kernels.
//!
//! A value x of the ring is written as D signed digits of b ≤ 16 bits, x = Σ_d x_d·2^(b·d) with x_d in
//! [−2^(b−1), 2^(b−1)), and a weight as E signed parts of s bits, w = Σ_e w_e·2^(s·e) (E = 1: the weight itself). The
//! kernels sum products x_d·w_e in 32 bits. Before such a sum could leave 32 bits its upper half is moved ("spilled") into
//! a second word:
//!
//! ```text
//! high += sum >> 16;    sum &= 0xffff;      before Σ|w| of any output exceeds the room, 2^31/2^(b−1)
//! ```
//!
//! | quantity | bound |
//! |---|---|
//! | sum before a spill | < 2^31 − 2^16 by products, + 2^16 − 1 left over from the last spill |
//! | `high` | ≤ 2^15 per spill, at most 2^15 spills: ≤ 2^30 |
//! | digit total = high·2^16 + sum | < 2^47 |
//!
//! [`Cut::choose`] takes the combination of D, b, E with the fewest multiply-adds, spills included: 50 bits and 12-bit weights
//! give 4 digits of 13 bits, 32 bits give 2 of 16 with a spill every 16 pairs at worst.

use crate::ConvError;

/// Most digits of a value.
pub(crate) const MAX_DIGITS: usize = 4;
/// Most parts of a weight.
const MAX_PARTS: usize = 3;
/// Greatest absolute value of a weight.
const MAX_WEIGHT: u64 = 1 << 36;
/// Most spills of one sum.
const MAX_SPILLS: usize = 1 << 15;
/// What products may add to a sum between two spills.
const ROOM: u64 = (1 << 31) - (1 << 16) - 1;
/// Cost of one spill, in multiply-adds.
const SPILL_COST: f64 = 3.0;

/// Sizes of digits and parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cut {
    /// Digits of a value, D.
    pub(crate) digits: usize,
    /// Bits of a digit, b.
    pub(crate) bits: u32,
    /// Parts of a weight, E.
    pub(crate) parts: usize,
    /// Bits of a part, s.
    pub(crate) part_bits: u32,
    /// Pairs of terms that certainly fit between two spills.
    pub(crate) block: usize,
}

impl Cut {
    /// The cheapest cut for values of `ring_bits` bits and sums of `pairs` pairs of terms with weights up to `greatest`.
    ///
    /// # Errors
    /// [`ConvError::TooLarge`] for weights beyond 2^36 and for sums that would need too many spills.
    pub(crate) fn choose(ring_bits: u32, greatest: u64, pairs: usize) -> Result<Self, ConvError> {
        if greatest > MAX_WEIGHT {
            return Err(ConvError::TooLarge { what: "a weight", value: greatest, limit: MAX_WEIGHT });
        }
        let mut best: Option<(f64, Self)> = None;
        for digits in 1..=MAX_DIGITS {
            let bits = ring_bits.div_ceil(digits as u32);
            if bits > 16 {
                continue;
            }
            for parts in 1..=MAX_PARTS {
                let part_bits = (65 - greatest.leading_zeros()).div_ceil(parts as u32);
                if part_bits > if parts == 1 { 16 } else { 15 } {
                    continue;
                }
                let part = if parts == 1 {
                    greatest.max(1)
                } else {
                    ((greatest >> (part_bits * (parts as u32 - 1))) + 1).max(1 << (part_bits - 1))
                };
                let block = usize::try_from(ROOM / (part << (bits - 1)) / 2).unwrap_or(usize::MAX);
                if block == 0 || pairs.div_ceil(block) > MAX_SPILLS {
                    continue;
                }
                let spills = (pairs.div_ceil(block) - 1) as f64 / pairs as f64;
                let cost = (digits * parts) as f64 * (1.0 + SPILL_COST * spills);
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, Self { digits, bits, parts, part_bits, block }));
                }
            }
        }
        best.map(|(_, cut)| cut).ok_or(ConvError::TooLarge {
            what: "the number of terms of a sum",
            value: 2 * pairs as u64,
            limit: 2 * MAX_SPILLS as u64,
        })
    }

    /// Greatest sum of absolute values of weights between two spills.
    pub(crate) fn room(&self) -> u32 {
        (ROOM >> (self.bits - 1)) as u32
    }

    /// The signed part of 16 bits at most: part `e` of `weight`.
    pub(crate) fn part(&self, weight: i64, e: usize) -> i64 {
        let mut rest = weight;
        for _ in 0..e {
            rest = (rest - low_part(rest, self.part_bits)) >> self.part_bits;
        }
        if e + 1 == self.parts { rest } else { low_part(rest, self.part_bits) }
    }
}

/// The signed low part of `bits` bits, in [−2^(bits−1), 2^(bits−1)).
fn low_part(value: i64, bits: u32) -> i64 {
    let half = 1i64 << (bits - 1);
    ((value + half) & ((1 << bits) - 1)) - half
}
