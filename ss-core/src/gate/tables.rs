//! The digit tables of one sign test as two machine words.
//!
//! All planes of all digits of a test have at most 112 to 128 bits and every digit at most 64, so the tables of a test
//! lie in two words, each digit whole in one of them: first fit, lowest digit first. For the default test of 11 bits
//! one word is enough.
//!
//! | digit | width | planes | word | bits from |
//! |---|---|---|---|---|
//! | 0 | 4 | greater | 0 | 0 |
//! | 1 | 4 | greater, equal | 0 | 16 |
//! | 2 | 3 | greater, equal | 0 | 48 |
//!
//! Words are permuted by the server's offsets for all digits at once: a butterfly of masked swaps, one stage per index
//! bit. Loops over digits are unrolled by the constant D; widths and places are public, so nothing here branches on or
//! indexes by a secret.

use crate::compare::Comparison;
use crate::ot::pads::{INDEX_BIT, receiver_pad, sender_pads};

/// Index bits of the widest digit.
const STAGES: usize = 5;

/// Where the planes of a test of D digits lie.
#[derive(Clone, Debug)]
pub(super) struct Tables<const D: usize> {
    width: [u32; D],
    /// First bit of each digit in the ℓ compared bits.
    at: [u32; D],
    word: [usize; D],
    /// First bit of each digit's planes in its word.
    start: [u32; D],
    /// Used bits of the words.
    pub(super) bits: [u32; 2],
    /// Index bits of the widest digit.
    stages: usize,
    /// Per word, stage and digit: the slots whose index has that bit clear.
    clear: [[[u64; D]; STAGES]; 2],
}

impl<const D: usize> Tables<D> {
    /// The places of `test`, which has D digits.
    pub(super) fn new(test: Comparison) -> Self {
        debug_assert_eq!(test.digits(), D);
        let mut tables = Self {
            width: [0; D],
            at: [0; D],
            word: [0; D],
            start: [0; D],
            bits: [0; 2],
            stages: 0,
            clear: [[[0; D]; STAGES]; 2],
        };
        let mut at = 0;
        for d in 0..D {
            let (width, planes) = (test.width(d), test.planes(d));
            let size = planes << width;
            let word = usize::from(tables.bits[0] + size > 64);
            let start = tables.bits[word];
            for (b, stage) in tables.clear[word].iter_mut().enumerate().take(width as usize) {
                // The pattern repeats with 2^(b+1), which divides a plane: all planes at once.
                stage[d] = (!INDEX_BIT[b] & low_mask(size)) << start;
            }
            (tables.width[d], tables.at[d], tables.word[d], tables.start[d]) = (width, at, word, start);
            tables.bits[word] += size;
            tables.stages = tables.stages.max(width as usize);
            at += width;
        }
        debug_assert!(tables.bits[1] <= 64, "two words hold every test");
        tables
    }

    /// The client's tables for `threshold` (ℓ bits) under its shares `shares` of the entries: g_0 … g_{D−2},
    /// e_1 … e_{D−1}, g_{D−1} from bit 0 up.
    #[inline]
    pub(super) fn masked(&self, threshold: u32, shares: u32) -> [u64; 2] {
        let mut words = [0; 2];
        for d in 0..D {
            let size = 1 << self.width[d];
            let full = low_mask(size);
            let digit = threshold >> self.at[d] & (size - 1);
            let share = |place: usize| u64::from(shares >> place & 1).wrapping_neg() & full;
            let mut planes = ((full << digit) << 1 & full) ^ share(Self::greater(d));
            if d > 0 {
                planes |= (1 << digit ^ share(Self::equal(d))) << size;
            }
            words[self.word[d]] |= planes << self.start[d];
        }
        words
    }

    /// The pads of all slots from the ℓ transfers of the digits, lowest bit first.
    #[inline]
    pub(super) fn sender_pads(&self, pairs: &[[u128; 2]]) -> [u64; 2] {
        let mut words = [0; 2];
        for d in 0..D {
            let own = &pairs[self.at[d] as usize..][..self.width[d] as usize];
            words[self.word[d]] |= sender_pads(own, if d == 0 { 1 } else { 2 }) << self.start[d];
        }
        words
    }

    /// The random index of all digits (ℓ bits) and the pad bits of the slots it names, placed like `shares` above.
    #[inline]
    pub(super) fn receiver_pads(&self, choices: &[u8], pads: &[u128]) -> (u32, u32) {
        let (mut indices, mut bits) = (0, 0);
        for d in 0..D {
            let (at, width) = (self.at[d] as usize, self.width[d] as usize);
            let (index, opened) =
                receiver_pad(&choices[at..][..width], &pads[at..][..width], if d == 0 { 1 } else { 2 });
            indices |= index << at;
            bits |= (opened & 1) << Self::greater(d);
            if d > 0 {
                bits |= (opened >> 1) << Self::equal(d);
            }
        }
        (indices, bits)
    }

    /// Moves every digit's slots to the server's offsets (ℓ bits): slot s of the result was slot s ⊕ offset.
    #[inline]
    pub(super) fn permute(&self, word: usize, table: u64, offset: u32) -> u64 {
        let mut table = table;
        for (b, clear) in self.clear[word].iter().enumerate().take(self.stages) {
            let mut mask = 0;
            for (clear, at) in clear.iter().zip(self.at) {
                mask |= clear & u64::from(offset >> (at + b as u32) & 1).wrapping_neg();
            }
            let swap = ((table >> (1 << b)) ^ table) & mask;
            table ^= swap ^ swap << (1 << b);
        }
        table
    }

    /// The entries at the server's indices (ℓ bits), placed like `shares` of [`Tables::masked`].
    #[inline]
    pub(super) fn open(&self, words: [u64; 2], indices: u32) -> u32 {
        let mut bits = 0;
        for d in 0..D {
            let size = 1 << self.width[d];
            let slot = self.start[d] + (indices >> self.at[d] & (size - 1));
            let entry = words[self.word[d]] >> slot;
            bits |= (entry as u32 & 1) << Self::greater(d);
            if d > 0 {
                bits |= ((entry >> size) as u32 & 1) << Self::equal(d);
            }
        }
        bits
    }

    /// The combining table moved by `offset`, without its top digit's g: entry s is
    /// e_{D−1}·(g_{D−2} ⊕ e_{D−2}·(…)) for the variables g_0 … g_{D−2}, e_1 … e_{D−1} = s ⊕ offset.
    #[inline]
    pub(super) fn combining(offset: u32) -> u64 {
        if D == 1 {
            return 0;
        }
        let variable = |place: usize| INDEX_BIT[place] ^ u64::from(offset >> place & 1).wrapping_neg();
        let mut carry = variable(0);
        for d in 1..D - 1 {
            carry = variable(Self::greater(d)) ^ (variable(Self::equal(d)) & carry);
        }
        carry & variable(Self::equal(D - 1))
    }

    /// Place of g_d among the 2D − 1 shared bits: the top digit's is the last.
    const fn greater(d: usize) -> usize {
        if d + 1 == D { 2 * (D - 1) } else { d }
    }

    /// Place of e_d, d ≥ 1.
    const fn equal(d: usize) -> usize {
        D + d - 2
    }
}

/// The low `bits` bits set, 1 to 64.
const fn low_mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ot::rot::deal;
    use crate::testing::fresh_rng;
    use rand_chacha::ChaCha20Rng;
    use rand_core::Rng;

    /// Both parties' work on one test against the comparison of integers, through masks, pads and offsets.
    fn one_test<const D: usize>(test: Comparison, rng: &mut ChaCha20Rng) {
        let tables = Tables::<D>::new(test);
        assert_eq!(tables.bits[0] + tables.bits[1], test.table_bits());
        let low = test.low_bits();
        for round in 0..400 {
            let (sent, received) = deal(low as usize, rng);
            let m = rng.next_u32() & ((1 << low) - 1);
            // Equal digits are rare among random ones.
            let threshold = match round % 4 {
                0 => m,
                1 => m ^ 1 << (round / 4 % low),
                _ => rng.next_u32() & ((1 << low) - 1),
            };
            let shares = rng.next_u32() & ((1 << (2 * D - 1)) - 1);
            let (index, pad) = tables.receiver_pads(received.choices(), received.pads());
            let (masked, pads) = (tables.masked(threshold, shares), tables.sender_pads(sent.pairs()));
            let words = [0, 1].map(|w| tables.permute(w, masked[w], index ^ m) ^ pads[w]);
            for (word, bits) in words.into_iter().zip(tables.bits) {
                assert_eq!(word & !low_mask_or_none(bits), 0, "nothing beyond the used bits");
            }
            let opened = tables.open(words, index) ^ pad;
            let top = (opened ^ shares) >> (2 * (D - 1));
            let rest = opened & ((1 << (2 * (D - 1))) - 1);
            let carry = u64::from(top) ^ (Tables::<D>::combining(shares) >> rest & 1);
            assert_eq!(carry == 1, m > threshold, "D {D}, l {low}: {m} > {threshold}");
        }
    }

    fn low_mask_or_none(bits: u32) -> u64 {
        if bits == 0 { 0 } else { low_mask(bits) }
    }

    #[test]
    fn every_width_compares_integers() {
        let mut rng = fresh_rng();
        for low in 2..=16 {
            let test = Comparison::new(low + 3, 2).unwrap();
            match test.digits() {
                1 => one_test::<1>(test, &mut rng),
                2 => one_test::<2>(test, &mut rng),
                3 => one_test::<3>(test, &mut rng),
                _ => one_test::<4>(test, &mut rng),
            }
        }
    }

    /// The combining table entry by entry from its formula.
    #[test]
    fn combining_tables_match_the_formula() {
        fn check<const D: usize>() {
            for offset in 0u32..1 << (2 * (D - 1)) {
                let table = Tables::<D>::combining(offset);
                for slot in 0u32..1 << (2 * (D - 1)) {
                    let v = slot ^ offset;
                    let g = |d: usize| v >> d & 1;
                    let e = |d: usize| v >> (D - 2 + d) & 1;
                    let carry = (0..D - 1).fold(0, |carry, d| g(d) ^ if d == 0 { 0 } else { e(d) & carry });
                    assert_eq!((table >> slot) as u32 & 1, e(D - 1) & carry, "D {D} {offset} {slot}");
                }
            }
        }
        check::<2>();
        check::<3>();
        check::<4>();
        assert_eq!(Tables::<1>::combining(0), 0);
    }
}
