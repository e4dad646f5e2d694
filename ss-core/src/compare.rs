//! The shape of a sign test: which bits are compared, in which digits, with how many oblivious transfers.
//!
//! The server knows m and the client knows c with y = m + c mod 2^k. After dropping the low h bits of both, y ≥ 0
//! is decided as 1 ⊕ msb(m') ⊕ msb(c') ⊕ carry, where the carry out of the low ℓ = k − h − 1 bits is the
//! comparison [m'_low > 2^ℓ − 1 − c'_low] of a value that only the server knows with a threshold T that the client
//! knows *before* any input exists (protocol statement, section 5). The sum of two floors is the floor of y or one
//! less, so a positive verdict is always right for y ≥ −2^(k−1) + 2^h and a wrong negative one only hits
//! 0 ≤ y < 2^h.
//!
//! The comparison is cut into D digits, lowest first:
//!
//! | step | what | 1-of-n OT | entries |
//! |---|---|---|---|
//! | digits | g_i = `[x_i > T_i]` and, above the lowest, e_i = `[x_i = T_i]` | 1 of 2^width | 1 or 2 bits |
//! | combine | carry = g_top ⊕ e_top·(g ⊕ e·(…)) on shared bits | 1 of 2^(2(D−1)) | 1 bit |
//!
//! The digits' tables are masked by random bits of the client, so the server learns shares only; the combining
//! table is shifted by the client's shares, again known to it in advance. One digit alone has nothing to combine.
//!
//! **Widths by cost.** Of all ways to cut ℓ into one to four digits of one to five bits, the cheapest is taken. Cost
//! is the online bits of a test, ℓ + tables + 2(D−1) + 2^(2(D−1)), plus one bit per random transfer: on a link of
//! 100 Mbit/s a bit takes as long as an extension computes for a transfer, and the silent one sends less than a bit
//! for it. Equals are decided by fewer digits, then by the narrowest widest digit, then by the wider low digit (whose
//! table has one plane only):
//!
//! | ℓ | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15 | 16 |
//! |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
//! | widths | 2 | 3 | 4 | 3,2 | 3,3 | 4,3 | 4,4 | 3,3,3 | 4,3,3 | 4,4,3 | 4,4,4 | 5,4,4 | 5,5,4 | 4,4,4,3 | 4,4,4,4 |
//! | online bits | 6 | 11 | 20 | 27 | 36 | 45 | 62 | 69 | 78 | 95 | 112 | 129 | 162 | 181 | 198 |
//! | transfers | 2 | 3 | 4 | 7 | 8 | 9 | 10 | 13 | 14 | 15 | 16 | 17 | 18 | 21 | 22 |

use crate::error::SsError;

/// The most digits of a test.
pub(crate) const MAX_DIGITS: usize = 4;

/// Bits of the widest digit: its two planes of 32 entries fill the 64 bits of a pad that tables use.
const MAX_WIDTH: u32 = 5;

/// The sign test of a k-bit ring that ignores the low h bits. Small and copyable: it holds no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    ring_bits: u32,
    ignored_bits: u32,
    digits: usize,
    /// Lowest first; zero beyond `digits`.
    widths: [u32; MAX_DIGITS],
}

impl Comparison {
    /// A test on the top `ring_bits − ignored_bits` bits.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless 2 ≤ ring_bits − ignored_bits − 1 ≤ 16 and ring_bits ≤ 40.
    pub fn new(ring_bits: u32, ignored_bits: u32) -> Result<Self, SsError> {
        let low = ring_bits.saturating_sub(ignored_bits.saturating_add(1));
        if ring_bits <= 40 && (2..=16).contains(&low) {
            let widths = cheapest_widths(low);
            let digits = widths.iter().filter(|&&width| width > 0).count();
            Ok(Self { ring_bits, ignored_bits, digits, widths })
        } else {
            Err(SsError::BadValue {
                what: "sign test (it compares 2 to 16 bits below the sign of a ring of at most 40)",
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

    /// Number of digits D (1 to 4).
    pub fn digits(self) -> usize {
        self.digits
    }

    /// Bits of digit `d` below [`Self::digits`], 0 the lowest.
    pub fn width(self, d: usize) -> u32 {
        self.widths[d]
    }

    /// Table planes of digit `d`: greater-than and, above the lowest, equal.
    pub fn planes(self, d: usize) -> u32 {
        if d == 0 { 1 } else { 2 }
    }

    /// Variables of the combining table: g of all digits but the top, e of all but the lowest.
    pub fn combine_bits(self) -> u32 {
        2 * (self.digits as u32 - 1)
    }

    /// Entries of the combining table; none where there is one digit.
    pub fn combine_entries(self) -> u32 {
        if self.digits == 1 { 0 } else { 1 << self.combine_bits() }
    }

    /// Bits of all masked digit tables of one element.
    pub fn table_bits(self) -> u32 {
        (0..self.digits).map(|d| self.planes(d) << self.widths[d]).sum()
    }

    /// 1-of-2 random OTs (server receiving) per element, without the multiplexer's.
    pub fn transfers(self) -> usize {
        (self.low_bits() + self.combine_bits()) as usize
    }

    /// The compared bits of a share, below 2^ℓ: the digits from bit 0 up.
    pub fn low(self, share: u64) -> u32 {
        (share >> self.ignored_bits) as u32 & ((1 << self.low_bits()) - 1)
    }

    /// The client's threshold T, below 2^ℓ: the digits from bit 0 up.
    pub fn threshold(self, client_share: u64) -> u32 {
        self.low(!client_share)
    }

    /// Sign bit of a share.
    pub fn top(self, share: u64) -> u64 {
        (share >> (self.ring_bits - 1)) & 1
    }
}

/// Online bits plus one per transfer of a test with these digits, lowest first, zeros beyond the last.
fn cost(widths: [u32; MAX_DIGITS]) -> u32 {
    let digits = widths.iter().filter(|&&width| width > 0).count() as u32;
    let low: u32 = widths.iter().sum();
    let tables: u32 = widths.iter().zip(0..digits).map(|(&width, d)| (1 + d.min(1)) << width).sum();
    let combine = 2 * (digits - 1);
    let combining = if digits == 1 { 0 } else { combine + (1 << combine) };
    low + tables + combining + low + combine
}

/// All ways to cut `low` bits into one to [`MAX_DIGITS`] digits of one to [`MAX_WIDTH`] bits.
fn splits(low: u32) -> impl Iterator<Item = [u32; MAX_DIGITS]> {
    let base = MAX_WIDTH + 1;
    (0..base.pow(MAX_DIGITS as u32))
        .map(move |code| std::array::from_fn(|d| code / base.pow(d as u32) % base))
        .filter(move |widths: &[u32; MAX_DIGITS]| {
            let gapless = widths.windows(2).all(|pair| pair[0] > 0 || pair[1] == 0);
            gapless && widths.iter().sum::<u32>() == low
        })
}

/// The cheapest cut of `low` bits, 2 to 16.
fn cheapest_widths(low: u32) -> [u32; MAX_DIGITS] {
    let rank = |widths: &[u32; MAX_DIGITS]| {
        let digits = widths.iter().filter(|&&width| width > 0).count();
        (cost(*widths), digits, widths.iter().copied().max(), widths.map(std::cmp::Reverse))
    };
    splits(low).min_by_key(rank).expect("two to sixteen bits fit into four digits of five")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict in the clear, digit by digit as the two parties compute it.
    fn verdict(test: Comparison, m: u64, c: u64) -> u64 {
        let (own, threshold) = (test.low(m), test.threshold(c));
        let (mut carry, mut at) = (0, 0);
        for d in 0..test.digits() {
            let digit = |word: u32| word >> at & ((1 << test.width(d)) - 1);
            let (x, t) = (digit(own), digit(threshold));
            carry = u64::from(x > t) ^ (u64::from(x == t) & carry);
            at += test.width(d);
        }
        assert_eq!(at, test.low_bits());
        1 ^ test.top(m) ^ test.top(c) ^ carry
    }

    #[test]
    fn exhaustive_on_a_small_ring() {
        for (k, h) in [(9u32, 2u32), (9, 3), (10, 0), (11, 1), (5, 2), (5, 1), (6, 1), (3, 0)] {
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
        assert_eq!(test.low_bits() + test.table_bits() + test.combine_bits() + test.combine_entries(), 95);
    }

    /// The table of the module: widths, online bits, transfers. And nothing is cheaper.
    #[test]
    fn widths_are_the_cheapest() {
        let table: [(&[u32], u32, usize); 15] = [
            (&[2], 6, 2),
            (&[3], 11, 3),
            (&[4], 20, 4),
            (&[3, 2], 27, 7),
            (&[3, 3], 36, 8),
            (&[4, 3], 45, 9),
            (&[4, 4], 62, 10),
            (&[3, 3, 3], 69, 13),
            (&[4, 3, 3], 78, 14),
            (&[4, 4, 3], 95, 15),
            (&[4, 4, 4], 112, 16),
            (&[5, 4, 4], 129, 17),
            (&[5, 5, 4], 162, 18),
            (&[4, 4, 4, 3], 181, 21),
            (&[4, 4, 4, 4], 198, 22),
        ];
        for (low, (widths, bits, transfers)) in (2..).zip(table) {
            let test = Comparison::new(low + 3, 2).unwrap();
            assert_eq!(&test.widths[..test.digits()], widths, "l = {low}");
            let online = low + test.table_bits() + test.combine_bits() + test.combine_entries();
            assert_eq!((online, test.transfers()), (bits, transfers), "l = {low}");
            // The twin of `cost`: what the finished test says of itself.
            assert_eq!(cost(test.widths), online + test.transfers() as u32);
            let all: Vec<_> = splits(low).collect();
            assert!(all.iter().all(|&other| cost(other) >= cost(test.widths)), "l = {low}");
            assert!(all.contains(&test.widths));
        }
    }

    #[test]
    fn splits_are_all_there() {
        // Compositions of 5 into at most four parts: 1 + 4 + 6 + 4; none of its parts exceeds five.
        assert_eq!(splits(5).count(), 15);
        // Of 16: four parts of at most five, 35 minus nothing: the complements to 5 add up to 4.
        assert_eq!(splits(16).count(), 35);
    }

    #[test]
    fn shapes_outside_the_range_are_refused() {
        for (k, h) in [(2, 0), (18, 0), (18, 16), (18, 18), (18, 40), (41, 30)] {
            assert!(Comparison::new(k, h).is_err(), "k={k} h={h}");
        }
    }
}
