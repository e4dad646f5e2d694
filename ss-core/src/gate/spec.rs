//! What a gate computes: public, validated, equal on both sides; and the sizes that follow from it.

use crate::bits::{BitReader, bytes_for_bits};
use crate::compare::Comparison;
use crate::error::{SsError, expect_length};
use crate::ring::Z2k;

/// The most terms of an element: thirty-two pieces approximate any function better than the ring resolves.
const MAX_TERMS: usize = 32;

/// Slopes are below 2^30 in size, so that sums of them stay far from the word.
const MAX_SLOPE: u64 = 1 << 30;

/// A gated value: `bits` wide, its result multiplied by 2^`shift`, so that it ends in the ring of bits + shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    bits: u32,
    shift: u32,
}

impl Lane {
    /// A lane of `bits` bits scaled by 2^`shift`.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless 1 ≤ bits and bits + shift ≤ 60.
    pub fn new(bits: u32, shift: u32) -> Result<Self, SsError> {
        if bits == 0 || shift > 60 || bits > 60 || bits + shift > 60 {
            return Err(SsError::BadValue { what: "lane of a gate (1 to 60 bits with its shift)" });
        }
        Ok(Self { bits, shift })
    }

    /// w, the bits before the shift.
    pub fn bits(self) -> u32 {
        self.bits
    }

    /// j: the result is multiplied by 2^j.
    pub fn shift(self) -> u32 {
        self.shift
    }

    /// The ring the results live in, of w + j bits.
    pub fn output(self) -> Z2k {
        Z2k::new(self.bits + self.shift).expect("checked at construction")
    }
}

/// How a gated value becomes an integer of a larger ring; see the [module](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lift {
    /// Not at all: the gated values are elements of their lanes' rings.
    None,
    /// Right where the verdict is positive.
    Positive,
    /// Right for −2^(k−2) ≤ y < 2^(k−2), whatever the verdict.
    Guarded,
}

/// What a gate computes: public, equal on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateSpec {
    comparison: Comparison,
    lanes: Vec<Lane>,
    lift: Lift,
    base: i64,
    slopes: Vec<i64>,
}

impl GateSpec {
    /// ReLU of a `comparison.ring_bits()`-bit value into the ring of `output_bits`, scaled by 2^`shift`.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless ring_bits + shift ≤ output_bits ≤ 60.
    pub fn relu(comparison: Comparison, output_bits: u32, shift: u32) -> Result<Self, SsError> {
        Self::piecewise(comparison, output_bits, shift, 0, &[1])
    }

    /// min(max(y − τ_0, 0), τ_1 − τ_0): two terms of slopes 1 and −1. The client gives c − τ_0 and c − τ_1, and adds the
    /// lower end by its constant. ReLU6, hard sigmoid and every clipping are this.
    ///
    /// # Errors
    /// [`SsError::BadValue`] as for [`GateSpec::relu`].
    pub fn clip(comparison: Comparison, output_bits: u32, shift: u32) -> Result<Self, SsError> {
        Self::piecewise(comparison, output_bits, shift, 0, &[1, -1])
    }

    /// `negative`·y below zero and `positive`·y above, for −2^(k−2) ≤ y < 2^(k−2): leaky ReLU; (−1, 1) is the absolute
    /// value.
    ///
    /// # Errors
    /// [`SsError::BadValue`] as for [`GateSpec::piecewise`], and where the slopes are equal.
    pub fn leaky(
        comparison: Comparison,
        output_bits: u32,
        shift: u32,
        negative: i64,
        positive: i64,
    ) -> Result<Self, SsError> {
        let slope = positive.checked_sub(negative).unwrap_or(i64::MAX);
        let spec = Self::piecewise(comparison, output_bits, shift, negative, &[slope])?;
        Ok(Self { lift: Lift::Guarded, ..spec })
    }

    /// base·y_0 + Σ slopes\[t\]·[y_t ≥ 0]·y_t. A base makes the lift [guarded](Lift::Guarded); without one it is
    /// [positive](Lift::Positive). The base multiplies y_0, the value of the *first* term.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless there are 1 to 32 slopes, all other than zero and below 2^30 in size like the base,
    /// ring_bits + shift ≤ output_bits ≤ 60, and the slopes at both ends, base and base + Σ slopes, times the largest y
    /// fit into the lane. (Results in between are the caller's to look after; all is exact modulo 2^output_bits.)
    pub fn piecewise(
        comparison: Comparison,
        output_bits: u32,
        shift: u32,
        base: i64,
        slopes: &[i64],
    ) -> Result<Self, SsError> {
        let what = |what| Err(SsError::BadValue { what });
        if !(1..=MAX_TERMS).contains(&slopes.len()) {
            return what("piecewise linear gate (1 to 32 terms)");
        }
        if slopes.contains(&0) || slopes.iter().chain([&base]).any(|slope| slope.unsigned_abs() >= MAX_SLOPE)
        {
            return what("piecewise linear gate (slopes are integers below 2^30 in size, and not zero)");
        }
        let ring_bits = comparison.ring_bits();
        let Some(bits) = output_bits.checked_sub(shift).filter(|&bits| bits >= ring_bits) else {
            return what("lifted gate (the output ring is too narrow for the lifted value)");
        };
        let lane = Lane::new(bits, shift)?;
        let lift = if base == 0 { Lift::Positive } else { Lift::Guarded };
        let largest = if base == 0 { ring_bits - 1 } else { ring_bits - 2 };
        let ends = [base, base + slopes.iter().sum::<i64>()];
        // |y| ≤ 2^largest; an end's result has to fit a signed value of the lane.
        if ends.iter().any(|end| u128::from(end.unsigned_abs()) << largest > 1 << (bits - 1)) {
            return what("lifted gate (the output ring is too narrow for its slopes)");
        }
        Ok(Self { comparison, lanes: vec![lane], lift, base, slopes: slopes.to_vec() })
    }

    /// b + d·(a − b) on k-bit values and, for arg-max, on an index of `index_bits` riding along.
    ///
    /// # Errors
    /// [`SsError::BadValue`] for an index wider than 32 bits.
    pub fn maximum(comparison: Comparison, index_bits: Option<u32>) -> Result<Self, SsError> {
        let mut lanes = vec![Lane::new(comparison.ring_bits(), 0)?];
        if let Some(bits) = index_bits {
            if bits > 32 {
                return Err(SsError::BadValue { what: "arg-max (an index has at most 32 bits)" });
            }
            lanes.push(Lane::new(bits, 0)?);
        }
        Ok(Self { comparison, lanes, lift: Lift::None, base: 0, slopes: vec![1] })
    }

    /// The sign test.
    pub fn comparison(&self) -> Comparison {
        self.comparison
    }

    /// The gated values, one or two.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// How the gated value is lifted.
    pub fn lift(&self) -> Lift {
        self.lift
    }

    /// T, the sign tests per element.
    pub fn terms(&self) -> usize {
        self.slopes.len()
    }

    /// b, the slope where no test is positive.
    pub fn base(&self) -> i64 {
        self.base
    }

    /// What each term adds to the slope.
    pub fn slopes(&self) -> &[i64] {
        &self.slopes
    }

    /// Random OTs per element with the server receiving.
    pub fn server_transfers(&self) -> usize {
        self.terms() * self.server_transfers_per_term()
    }

    /// OTs per element with the client receiving (per term choices d_C and, if lifted, λ and λ·d_C).
    pub fn client_transfers(&self) -> usize {
        self.terms() * self.client_transfers_per_term()
    }

    /// Bits of each message per element: the offline corrections first, then messages 1 to 6.
    pub fn message_bits(&self) -> Vec<u32> {
        self.bits_of_messages().to_vec()
    }

    /// Bytes of each message for `n` elements: the offline corrections first, then messages 1 to 6.
    pub fn message_bytes(&self, n: usize) -> Vec<usize> {
        self.bits_of_messages().iter().map(|&bits| bytes_for_bits(bits as usize * n)).collect()
    }

    /// Transfers of one term with the server receiving: the test's and the multiplexer's.
    pub(super) fn server_transfers_per_term(&self) -> usize {
        self.comparison.transfers() + 1
    }

    /// Transfers of one term with the client receiving.
    pub(super) fn client_transfers_per_term(&self) -> usize {
        if self.lifted() { 3 } else { 1 }
    }

    /// Whether the gated value is the compared value, lifted.
    pub(super) fn lifted(&self) -> bool {
        self.lift != Lift::None
    }

    /// Bits of a lift correction: what is left of the lane above k bits. Zero without a lift.
    pub(super) fn lift_bits(&self) -> u32 {
        if self.lifted() { self.lanes[0].bits - self.comparison.ring_bits() } else { 0 }
    }

    /// The base slope as seen by term `t`: it belongs to the first.
    pub(super) fn base_of(&self, t: usize) -> i64 {
        if t == 0 { self.base } else { 0 }
    }

    fn bits_of_messages(&self) -> [u32; 7] {
        let (test, terms) = (self.comparison, self.terms() as u32);
        let lanes: u32 = self.lanes.iter().map(|lane| lane.bits).sum();
        [
            terms * lanes,
            terms * test.low_bits(),
            terms * test.table_bits(),
            terms * test.combine_bits(),
            terms * test.combine_entries(),
            terms * (1 + lanes + 2 * self.lift_bits()),
            self.lanes.iter().map(|lane| lane.bits + lane.shift).sum(),
        ]
    }

    /// Bits of message `step` for `n` elements.
    pub(super) fn total_bits(&self, step: usize, n: usize) -> usize {
        self.bits_of_messages()[step] as usize * n
    }

    /// A reader over a message of the other party, its length checked.
    pub(super) fn open<'a>(
        &self,
        step: usize,
        n: usize,
        message: &'a [u8],
    ) -> Result<BitReader<'a>, SsError> {
        let bits = self.total_bits(step, n);
        expect_length(STEPS[step], bytes_for_bits(bits), message.len())?;
        BitReader::new(message, bits)
    }
}

const STEPS: [&str; 7] = [
    "gate corrections",
    "digit offsets",
    "digit tables",
    "combine offsets",
    "combine tables",
    "multiplexer corrections",
    "gate results",
];
