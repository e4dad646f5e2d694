//! The shape of a sign test: which bits are compared, in which digits, with how many oblivious transfers.
//!
//! The server knows m and the client knows c with y = m + c mod 2^k. After dropping the low h bits of both, y ≥ 0
//! is decided as 1 ⊕ msb(m') ⊕ msb(c') ⊕ carry, where the carry out of the low ℓ = k − h − 1 bits is the
//! comparison [m'_low > 2^ℓ − 1 − c'_low] of a value that only the server knows with a threshold T that the client
//! knows *before* any input exists (protocol statement, section 5). The sum of two floors is the floor of y or one
//! less, so a positive verdict is always right for y ≥ −2^(k−1) + 2^h and a wrong negative one only hits
//! 0 ≤ y < 2^h.
//!
//! The comparison is cut into digits of four bits, lowest first (the top digit takes what is left):
//!
//! | step | what | 1-of-n OT | entries |
//! |---|---|---|---|
//! | digits | g_i = `[x_i > T_i]` and, above the lowest, e_i = `[x_i = T_i]` | 1 of 2^4 | 1 or 2 bits |
//! | combine | carry = g_top ⊕ e_top·(g ⊕ e·(…)) on shared bits | 1 of 2^(2(D−1)) | 1 bit |
//!
//! The digits' tables are masked by random bits of the client, so the server learns shares only; the combining
//! table is shifted by the client's shares, again known to it in advance.

use crate::error::SsError;

/// Bits of a full digit.
const DIGIT: u32 = 4;

/// The sign test of a k-bit ring that ignores the low h bits. Small and copyable: it holds no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    ring_bits: u32,
    ignored_bits: u32,
}

impl Comparison {
    /// A test on the top `ring_bits − ignored_bits` bits.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless 5 ≤ ring_bits − ignored_bits − 1 ≤ 16 and ring_bits ≤ 40.
    pub fn new(ring_bits: u32, ignored_bits: u32) -> Result<Self, SsError> {
        let low = ring_bits.saturating_sub(ignored_bits.saturating_add(1));
        if ring_bits <= 40 && (DIGIT + 1..=4 * DIGIT).contains(&low) {
            Ok(Self { ring_bits, ignored_bits })
        } else {
            Err(SsError::BadValue {
                what: "sign test (it compares 5 to 16 bits below the sign of a ring of at most 40)",
            })
        }
    }

    /// k.
    pub fn ring_bits(self) -> u32 {
        self.ring_bits
    }

    /// h: a verdict can be wrong only for 0 ≤ y < 2^h.
    pub fn ignored_bits(self) -> u32 {
        self.ignored_bits
    }

    /// ℓ, the compared bits below the sign.
    pub fn low_bits(self) -> u32 {
        self.ring_bits - self.ignored_bits - 1
    }

    /// Number of digits D (2 to 4).
    pub fn digits(self) -> usize {
        self.low_bits().div_ceil(DIGIT) as usize
    }

    /// Bits of digit `d`, 0 the lowest.
    pub fn width(self, d: usize) -> u32 {
        (self.low_bits() - DIGIT * d as u32).min(DIGIT)
    }

    /// Table planes of digit `d`: greater-than and, above the lowest, equal.
    pub fn planes(self, d: usize) -> u32 {
        if d == 0 { 1 } else { 2 }
    }

    /// Variables of the combining table: g of all digits but the top, e of all but the lowest.
    pub fn combine_bits(self) -> u32 {
        2 * (self.digits() as u32 - 1)
    }

    /// Bits of all masked digit tables of one element.
    pub fn table_bits(self) -> u32 {
        (0..self.digits()).map(|d| self.planes(d) << self.width(d)).sum()
    }

    /// 1-of-2 random OTs (server receiving) per element, without the multiplexer's.
    pub fn transfers(self) -> usize {
        (self.low_bits() + self.combine_bits()) as usize
    }

    /// Digit `d` of the low bits of a share.
    pub fn digit(self, share: u64, d: usize) -> u32 {
        let low = (share >> self.ignored_bits) & ((1 << self.low_bits()) - 1);
        (low >> (DIGIT * d as u32)) as u32 & ((1 << self.width(d)) - 1)
    }

    /// The client's threshold T as a pseudo share, so that [`Self::digit`] cuts it.
    pub fn threshold(self, client_share: u64) -> u64 {
        !client_share & ((1 << self.ring_bits) - 1)
    }

    /// Sign bit of a share.
    pub fn top(self, share: u64) -> u64 {
        (share >> (self.ring_bits - 1)) & 1
    }

    /// Truth table of the carry without its top digit's g: entry index holds g_0, …, g_{D−2}, e_1, …, e_{D−1}
    /// from bit 0 up.
    pub fn combine_table(self) -> u64 {
        let below = self.digits() - 1;
        let mut table = 0u64;
        for index in 0u64..1 << self.combine_bits() {
            let g = |i: usize| index >> i & 1;
            let e = |i: usize| index >> (below + i - 1) & 1;
            let mut carry = 0;
            for digit in 0..below {
                carry = g(digit) ^ if digit == 0 { 0 } else { e(digit) & carry };
            }
            table |= (e(below) & carry) << index;
        }
        table
    }
}

/// One digit's greater-than plane and, above it, equality plane, for entries 0 … 2^width − 1 against `threshold`.
pub(crate) fn digit_table(threshold: u32, width: u32, planes: u32) -> u64 {
    let size = 1u32 << width;
    let full = (1u64 << size) - 1;
    let greater = (full << (threshold + 1)) & full;
    let equal = (1u64 << threshold) << size;
    greater | (equal & u64::from(planes == 2).wrapping_neg())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict in the clear, put together exactly as the two parties do.
    fn verdict(test: Comparison, m: u64, c: u64) -> u64 {
        let threshold = test.threshold(c);
        let top = test.digits() - 1;
        let (mut index, mut top_greater) = (0u64, 0);
        for d in 0..=top {
            let table = digit_table(test.digit(threshold, d), test.width(d), test.planes(d));
            let entry = test.digit(m, d);
            let greater = table >> entry & 1;
            if d == top {
                top_greater = greater
            } else {
                index |= greater << d
            }
            if d > 0 {
                index |= (table >> (entry + (1 << test.width(d))) & 1) << (top + d - 1);
            }
        }
        let carry = top_greater ^ (test.combine_table() >> index & 1);
        1 ^ test.top(m) ^ test.top(c) ^ carry
    }

    #[test]
    fn exhaustive_on_a_small_ring() {
        for (k, h) in [(9u32, 2u32), (9, 3), (10, 0), (11, 1)] {
            let test = Comparison::new(k, h).unwrap();
            let (edge, slack) = (1i64 << (k - 1), 1i64 << h);
            for y in -edge + slack..edge {
                for c in 0..1u64 << k {
                    let m = (y - c as i64) as u64 & ((1 << k) - 1);
                    let positive = verdict(test, m, c) == 1;
                    assert!(!positive || y >= 0, "k={k} h={h} y={y} c={c}: a negative passed");
                    assert!(positive || y < slack, "k={k} h={h} y={y} c={c}: a large positive was dropped");
                }
            }
        }
    }

    #[test]
    fn counts_of_the_default_test() {
        let test = Comparison::new(18, 6).unwrap();
        assert_eq!((test.low_bits(), test.digits(), test.table_bits(), test.combine_bits()), (11, 3, 64, 4));
        assert_eq!(test.transfers(), 15);
    }

    #[test]
    fn shapes_outside_the_range_are_refused() {
        for (k, h) in [(5, 0), (18, 0), (18, 13), (18, 18), (18, 40), (41, 30)] {
            assert!(Comparison::new(k, h).is_err(), "k={k} h={h}");
        }
    }
}
