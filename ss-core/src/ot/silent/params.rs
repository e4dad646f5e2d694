//! Parameters of the silent extension, their sizes, and the choice among them.
//!
//! One *iteration* turns a base of k + t·h correlated transfers into t·2^h, of which the last ⌈(k + t·h)/2^h⌉
//! trees are kept back as the base of the next iteration.
//!
//! | t trees | log2 k | h depth | outputs t·2^h | usable | base k + t·h | answer t·(h − 1)·16 B | noise rate 2^−h |
//! |---|---|---|---|---|---|---|---|
//! | 850 | 16 | 10 | 870 400 | 795 648 | 74 036 | 122 400 | 1/1024 |
//! | 1170 | 17 | 11 | 2 396 160 | 2 250 752 | 143 942 | 187 200 | 1/2048 |
//! | 1520 | 18 | 12 | 6 225 920 | 5 943 296 | 280 384 | 267 520 | 1/4096 |
//! | 1900 | 19 | 13 | 15 564 800 | 15 007 744 | 548 988 | 364 800 | 1/8192 |
//!
//! These are the sets of emp-ot of 2026 (as of November 2026), for 128 bits of security of learning parity with
//! regular noise, d = 10 positions per row: tuned against Gaussian elimination, statistical and
//! information-set decoding with its refinements, hybrid attacks, and the algebraic attacks of Briaud and
//! Øygarden (eprint 2023/176) and their successor (eprint 2025/1476), which broke the margins of the sets of
//! 2020. By their authors' estimate they are *at* 128 bits, the hybrid attack binding, without a margin; estimates of
//! this kind take the code for a random one, and that ten ones per row do not weaken it is an assumption of its own
//! (made by Ferret, with attacks on such codes considered there). They are to be looked at again every year. Gaussian elimination, the simplest attack, needs k
//! outputs without noise: a chance of (1 − 2^−h)^k ≈ e^−64 ≈ 2^−92 a try in all four sets, and each try
//! solves a linear system of k unknowns.
//!
//! **Choice.** [`SilentParams::for_demand`] takes the set with the least modelled time, bytes priced as on a
//! link of 100 Mbit/s; the model is the constants at the end of this file.

use crate::error::SsError;
use crate::ot::softspoken::ExtensionParams;

/// The parameter sets: (t, log2 k, h), smallest first.
const SETS: [(usize, u32, u32); 4] = [(850, 16, 10), (1170, 17, 11), (1520, 18, 12), (1900, 19, 13)];

/// One of the four parameter sets of the module's table; public, and the same for both parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilentParams {
    trees: usize,
    log_base: u32,
    depth: u32,
}

impl SilentParams {
    /// All sets, smallest first.
    #[must_use]
    pub fn all() -> [Self; 4] {
        SETS.map(|(trees, log_base, depth)| Self { trees, log_base, depth })
    }

    /// The set of least modelled cost for `transfers` transfers in all; see the module's text.
    #[must_use]
    pub fn for_demand(transfers: usize) -> Self {
        let [first, rest @ ..] = Self::all();
        rest.into_iter().fold(
            first,
            |best, set| {
                if set.cost(transfers) < best.cost(transfers) { set } else { best }
            },
        )
    }

    /// The set with k = 2^`log_base`.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless `log_base` is 16, 17, 18 or 19.
    pub fn with_log_base(log_base: u32) -> Result<Self, SsError> {
        Self::all().into_iter().find(|set| set.log_base == log_base).ok_or(SsError::BadValue {
            what: "the base of the silent extension must have 2^16, 2^17, 2^18 or 2^19 transfers",
        })
    }

    /// log2 k, 16 to 19: names the set.
    #[must_use]
    pub fn log_base(self) -> u32 {
        self.log_base
    }

    /// Iterations for `transfers` transfers in all.
    #[must_use]
    pub fn iterations(self, transfers: usize) -> usize {
        transfers.div_ceil(self.usable())
    }

    /// Transfers that each iteration gives.
    #[must_use]
    pub fn usable(self) -> usize {
        self.usable_trees() << self.depth
    }

    /// Correlated transfers that each iteration starts from, k + t·h.
    #[must_use]
    pub fn base_len(self) -> usize {
        self.base_rows() + self.trees * self.depth as usize
    }

    /// Bytes of the message that begins the first iteration, receiver to sender: it makes the first base out
    /// of an extension with the parameters `extension`. The message that begins a later iteration is empty.
    #[must_use]
    pub fn first_request_len(self, extension: ExtensionParams) -> usize {
        self.base_message_len(extension) + extension.proof_len()
    }

    /// Of that the part that makes the base; the rest proves it.
    pub(super) fn base_message_len(self, extension: ExtensionParams) -> usize {
        extension.random_message_len(self.base_len()).expect("a base is below the largest batch")
    }

    /// Bytes of the message of every iteration, sender to receiver: t·(h − 1)·16.
    #[must_use]
    pub fn answer_len(self) -> usize {
        self.trees * (self.depth as usize - 1) * 16
    }

    /// Bytes on the wire, both ways together, for `transfers` transfers in all, the first base included.
    #[must_use]
    pub fn wire_bytes(self, transfers: usize, extension: ExtensionParams) -> usize {
        let iterations = self.iterations(transfers);
        let first = if iterations > 0 { self.first_request_len(extension) } else { 0 };
        first + iterations * self.answer_len()
    }

    /// Height of a tree, h.
    pub(super) fn depth(self) -> usize {
        self.depth as usize
    }

    /// Leaves of a tree, 2^h.
    pub(super) fn leaves(self) -> usize {
        1 << self.depth
    }

    /// Rows of the base that the code draws from, k.
    pub(super) fn base_rows(self) -> usize {
        1 << self.log_base
    }

    /// Trees whose outputs become the next base.
    pub(super) fn kept_trees(self) -> usize {
        self.base_len().div_ceil(self.leaves())
    }

    /// Trees whose outputs are given out; they come first.
    pub(super) fn usable_trees(self) -> usize {
        self.trees - self.kept_trees()
    }

    /// Modelled picoseconds for both parties and the wire; see the constants.
    fn cost(self, transfers: usize) -> u128 {
        let iterations = self.iterations(transfers) as u128;
        let bytes = self.wire_bytes(transfers, ExtensionParams::default()) as u128;
        let outputs = transfers as u128 + iterations * self.base_len() as u128;
        let leaves = iterations * (self.trees << self.depth) as u128;
        let output = OUTPUT_PS[(self.log_base - SETS[0].1) as usize];
        let first_base = if iterations > 0 { self.base_len() as u128 * BASE_PS } else { 0 };
        bytes * BYTE_PS + outputs * output + leaves * LEAF_PS + first_base
    }
}

/// The cost model, in picoseconds: a byte at 100 Mbit/s.
const BYTE_PS: u128 = 80_000;

/// An output with its share of leaf, code and hash, both parties together, by set, as measured on one core with
/// VAES: the base has 1, 2, 4, 8 MiB and is read in random order.
const OUTPUT_PS: [u128; 4] = [35_000, 37_000, 42_000, 55_000];

/// A leaf, for the sums that the sender's answer is made of.
const LEAF_PS: u128 = 3_500;

/// A transfer of the first base, both parties together.
const BASE_PS: u128 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_in_the_table() {
        let expected = [
            (870_400, 795_648, 74_036, 122_400),
            (2_396_160, 2_250_752, 143_942, 187_200),
            (6_225_920, 5_943_296, 280_384, 267_520),
            (15_564_800, 15_007_744, 548_988, 364_800),
        ];
        for (set, (outputs, usable, base, answer)) in SilentParams::all().into_iter().zip(expected) {
            assert_eq!(set.trees * set.leaves(), outputs);
            assert_eq!((set.usable(), set.base_len(), set.answer_len()), (usable, base, answer));
            assert!(set.kept_trees() * set.leaves() >= base);
            assert_eq!(SilentParams::with_log_base(set.log_base()), Ok(set));
            // The margin of the module's text: k·2^−h = 64.
            assert_eq!(set.base_rows() / set.leaves(), 64);
        }
        assert!(SilentParams::with_log_base(15).is_err());
        assert!(SilentParams::with_log_base(20).is_err());
    }

    #[test]
    fn iterations_and_bytes_follow_the_demand() {
        let extension = ExtensionParams::default();
        for set in SilentParams::all() {
            let usable = set.usable();
            for (demand, iterations) in [(0, 0), (1, 1), (usable, 1), (usable + 1, 2), (3 * usable, 3)] {
                assert_eq!(set.iterations(demand), iterations);
                // Fifteen of sixteen rows leave, and 288 bytes of proof.
                let first = if demand == 0 { 0 } else { set.base_len().div_ceil(8) * 15 + 288 };
                assert_eq!(set.wire_bytes(demand, extension), first + iterations * set.answer_len());
            }
        }
    }

    #[test]
    fn a_larger_demand_takes_a_larger_set() {
        let sets = [0, 1000, 700_000, 100_000_000].map(|demand| SilentParams::for_demand(demand).log_base());
        assert!(sets.is_sorted(), "{sets:?}");
        assert_eq!((sets[1], sets[3]), (16, 17));
        // The choice is the minimum of the model.
        for demand in [1, 800_000, 2_000_000, 50_000_000] {
            let best = SilentParams::for_demand(demand);
            assert!(SilentParams::all().iter().all(|set| set.cost(demand) >= best.cost(demand)));
        }
    }
}
