//! Garbled AND gates, many at a time: half gates under free exclusive or.
//!
//! Zahur, Rosulek and Evans, *Two halves make a whole: reducing data transfer in garbled circuits using half gates*
//! (EUROCRYPT 2015, figure 2), on the wires of Kolesnikov and Schneider, *Improved garbled circuit: free XOR gates
//! and applications* (ICALP 2008). A wire has a *zero label* W of 128 bits; its *active label* for the bit v is W ⊕
//! v·Δ, with one secret Δ for all wires of a circuit. Δ is odd, so the lowest bit of a label, its *colour*, differs
//! between the two labels of a wire. Exclusive or of wires is exclusive or of labels and costs nothing; a constant
//! known to the garbler alone is v·Δ folded into a zero label. An AND gate costs two rows:
//!
//! | | formula, a and b the inputs' zero labels, α and β their colours |
//! |---|---|
//! | row G | H(a, t) ⊕ H(a ⊕ Δ, t) ⊕ β·Δ |
//! | row E | H(b, t') ⊕ H(b ⊕ Δ, t') ⊕ a |
//! | zero label of a∧b | H(a, t) ⊕ α·G ⊕ H(b, t') ⊕ β·(E ⊕ a) |
//! | active label, from the active A, B | H(A, t) ⊕ colour(A)·G ⊕ H(B, t') ⊕ colour(B)·(E ⊕ A) |
//!
//! H is [`TweakedHash`], whose tweaks are t + j and t' + j for the j-th gate of a call, t' = t + n: one call on n
//! gates uses up 2n tweaks. **Privacy** holds as long as H is tweakable circular correlation robust under Δ (Guo,
//! Katz, Wang, Yu, IEEE S&P 2020) and no tweak is used for two gates under one key and one Δ: whoever holds one label
//! of each wire learns from the rows nothing but one label of the output, its colour being a coin unless the garbler
//! tells it.
//!
//! | per gate | garbler | evaluator |
//! |---|---|---|
//! | rows, on the wire | 32 bytes | |
//! | hashes (two AES calls each) | 4 | 2 |
//!
//! Wires lie side by side: a call takes slices over n independent gates, so that AES runs over whole slices.
//! Selections by colours and secret bits are masks; no memory access or branch depends on them. Not promised:
//! authenticity against an evaluator that invents labels (nothing here needs it), or anything for a Δ that serves
//! twice.

use zeroize::ZeroizeOnDrop;

use crate::hash::TweakedHash;
use crate::secret::Secret;

/// A row of a garbled gate as it travels, little-endian.
pub type Row = [u8; 16];

/// v·`word` for a bit v.
#[inline(always)]
pub(super) fn times(bit: u64, word: u128) -> u128 {
    let mask = u128::from((bit & 1).wrapping_neg());
    word & (mask | mask << 64)
}

/// The colour of a label: its lowest bit.
#[inline(always)]
pub(super) fn colour(label: u128) -> u64 {
    label as u64 & 1
}

/// The garbler of the gates of one circuit: a hash, the secret Δ, and room for `n` gates side by side.
pub struct Garbler {
    hash: TweakedHash,
    /// Δ alone in its vector, and four hashes per gate.
    delta: Secret<u128>,
    hashes: Secret<u128>,
}

// Both secrets wipe themselves.
impl ZeroizeOnDrop for Garbler {}

impl Garbler {
    /// A garbler of up to `n` gates a call. `delta` is made odd.
    #[must_use]
    pub fn new(hash: TweakedHash, delta: u128, n: usize) -> Self {
        Self { hash, delta: Secret::from(vec![delta | 1]), hashes: Secret::zeros(4 * n) }
    }

    /// Δ.
    #[must_use]
    pub fn delta(&self) -> u128 {
        self.delta[0]
    }

    /// Garbles the gates left\[j\] ∧ right\[j\] of zero labels: `right` becomes the zero labels of the results,
    /// `rows` the n rows G and then the n rows E. Uses the tweaks `tweak` to `tweak` + 2n − 1.
    ///
    /// # Panics
    /// Unless `left` and `right` have one length n, at most that of [`Garbler::new`], and `rows` has 2n.
    pub fn and(&mut self, tweak: u64, left: &[u128], right: &mut [u128], rows: &mut [Row]) {
        let (n, delta) = (left.len(), self.delta[0]);
        assert!(right.len() == n && rows.len() == 2 * n, "a gate has two inputs and two rows");
        let (of_left, of_right) = self.hashes[..4 * n].split_at_mut(2 * n);
        let ((left0, left1), (right0, right1)) = (of_left.split_at_mut(n), of_right.split_at_mut(n));
        for (zero, one, labels, tweak) in
            [(&mut *left0, &mut *left1, left, tweak), (&mut *right0, &mut *right1, &*right, tweak + n as u64)]
        {
            zero.copy_from_slice(labels);
            one.iter_mut().zip(labels).for_each(|(one, label)| *one = label ^ delta);
            self.hash.hash_slice(tweak, zero);
            self.hash.hash_slice(tweak, one);
        }
        let (generator, evaluator) = rows.split_at_mut(n);
        for j in 0..n {
            let (a, b) = (left[j], right[j]);
            let row_g = left0[j] ^ left1[j] ^ times(colour(b), delta);
            let difference = right0[j] ^ right1[j];
            generator[j] = row_g.to_le_bytes();
            evaluator[j] = (difference ^ a).to_le_bytes();
            right[j] = left0[j] ^ times(colour(a), row_g) ^ right0[j] ^ times(colour(b), difference);
        }
    }

    /// Replaces every block `x_j` by its hash under tweak `tweak` + j: for pads from output labels.
    pub fn hash(&self, tweak: u64, blocks: &mut [u128]) {
        self.hash.hash_slice(tweak, blocks);
    }
}

/// The evaluator of the gates of one circuit: the hash, and room for `n` gates side by side.
pub struct Evaluator {
    hash: TweakedHash,
    hashes: Secret<u128>,
}

// The labels' hashes wipe themselves.
impl ZeroizeOnDrop for Evaluator {}

impl Evaluator {
    /// An evaluator of up to `n` gates a call; `hash` as the garbler's.
    #[must_use]
    pub fn new(hash: TweakedHash, n: usize) -> Self {
        Self { hash, hashes: Secret::zeros(2 * n) }
    }

    /// Evaluates the gates left\[j\] ∧ right\[j\] on active labels: `right` becomes the active labels of the results.
    /// `tweak` and `rows` as of [`Garbler::and`].
    ///
    /// # Panics
    /// Unless `left` and `right` have one length n, at most that of [`Evaluator::new`], and `rows` has 2n.
    pub fn and(&mut self, tweak: u64, left: &[u128], right: &mut [u128], rows: &[Row]) {
        let n = left.len();
        assert!(right.len() == n && rows.len() == 2 * n, "a gate has two inputs and two rows");
        let (of_left, of_right) = self.hashes[..2 * n].split_at_mut(n);
        of_left.copy_from_slice(left);
        of_right.copy_from_slice(right);
        self.hash.hash_slice(tweak, of_left);
        self.hash.hash_slice(tweak + n as u64, of_right);
        let (generator, evaluator) = rows.split_at(n);
        for j in 0..n {
            let (a, b) = (left[j], right[j]);
            let (row_g, row_e) = (u128::from_le_bytes(generator[j]), u128::from_le_bytes(evaluator[j]));
            right[j] = of_left[j] ^ times(colour(a), row_g) ^ of_right[j] ^ times(colour(b), row_e ^ a);
        }
    }

    /// Replaces every block `x_j` by its hash under tweak `tweak` + j.
    pub fn hash(&self, tweak: u64, blocks: &mut [u128]) {
        self.hash.hash_slice(tweak, blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One gate by the formulas of the module, with branches: rows G and E, and the zero label of the result.
    fn garble_slow(hash: &TweakedHash, delta: u128, tweaks: [u64; 2], a: u128, b: u128) -> [u128; 3] {
        let mut row_g = hash.hash_one(tweaks[0], a) ^ hash.hash_one(tweaks[0], a ^ delta);
        if b % 2 == 1 {
            row_g ^= delta;
        }
        let row_e = hash.hash_one(tweaks[1], b) ^ hash.hash_one(tweaks[1], b ^ delta) ^ a;
        [row_g, row_e, evaluate_slow(hash, tweaks, [row_g, row_e], a, b)]
    }

    /// The active label: the same formula whether the labels are zero labels or not, but for E, whose a must be the
    /// label at hand.
    fn evaluate_slow(hash: &TweakedHash, tweaks: [u64; 2], rows: [u128; 2], a: u128, b: u128) -> u128 {
        let mut label = hash.hash_one(tweaks[0], a) ^ hash.hash_one(tweaks[1], b);
        if a % 2 == 1 {
            label ^= rows[0];
        }
        if b % 2 == 1 {
            label ^= rows[1] ^ a;
        }
        label
    }

    /// From a separate program that has AES written down from FIPS 197, and evaluates all four inputs.
    #[test]
    fn known_answer() {
        let session = core::array::from_fn(|i| i as u8);
        let delta = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3211;
        let mut garbler = Garbler::new(TweakedHash::new(&session), delta, 1);
        let (left, mut right) =
            ([0x0011_2233_4455_6677_8899_aabb_ccdd_eeff], [0xf0e1_d2c3_b4a5_9687_7869_5a4b_3c2d_1e0e]);
        let mut rows = [[0; 16]; 2];
        garbler.and(1000, &left, &mut right, &mut rows);
        assert_eq!(u128::from_le_bytes(rows[0]), 0xdca9_f911_b4dc_cace_e983_a3c1_a9d9_d93c);
        assert_eq!(u128::from_le_bytes(rows[1]), 0x5c36_21ff_f27f_b0b0_e584_f7ec_7533_f7a0);
        assert_eq!(right[0], 0xc7a5_ef96_11fd_675b_8cd1_e788_f199_80b4);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn gates_match_the_formulas_and_the_truth_table(
            session in any::<[u8; 32]>(),
            delta in any::<u128>(),
            tweak in 0u64..1 << 40,
            inputs in proptest::collection::vec(any::<(u128, u128)>(), 1..300),
        ) {
            let (n, delta) = (inputs.len(), delta | 1);
            let hash = TweakedHash::new(&session);
            let (left, mut right): (Vec<u128>, Vec<u128>) = inputs.iter().copied().unzip();
            let mut rows = vec![[0; 16]; 2 * n];
            let mut garbler = Garbler::new(TweakedHash::new(&session), delta, n);
            prop_assert_eq!(garbler.delta(), delta);
            garbler.and(tweak, &left, &mut right, &mut rows);
            for (j, &(a, b)) in inputs.iter().enumerate() {
                let tweaks = [tweak + j as u64, tweak + (n + j) as u64];
                let expected = garble_slow(&hash, delta, tweaks, a, b);
                prop_assert_eq!([rows[j], rows[n + j]].map(u128::from_le_bytes), [expected[0], expected[1]]);
                prop_assert_eq!(right[j], expected[2]);
            }
            let mut evaluator = Evaluator::new(TweakedHash::new(&session), n);
            for values in 0..4u64 {
                // All four rows of the table, a different one for each gate of a call.
                let bits: Vec<[u64; 2]> =
                    (0..n as u64).map(|j| [(values + j) & 1, (values + j) >> 1 & 1]).collect();
                let mut active: [Vec<u128>; 2] = [Vec::new(), Vec::new()];
                for (&(a, b), &[x, y]) in inputs.iter().zip(&bits) {
                    active[0].push(a ^ times(x, delta));
                    active[1].push(b ^ times(y, delta));
                }
                let [own, mut result] = active;
                evaluator.and(tweak, &own, &mut result, &rows);
                for j in 0..n {
                    let [x, y] = bits[j];
                    prop_assert_eq!(result[j], if x * y == 1 { right[j] ^ delta } else { right[j] });
                }
            }
        }
    }

    /// A label opens the gate that it belongs to, and under no other tweak, row or key.
    #[test]
    fn changed_rows_tweaks_and_keys_give_no_label() {
        let (delta, left, right) = (0x8b1d_u128 << 100 | 1, [3u128 << 90 | 1], [5u128 << 91 | 1]);
        let mut rows = [[0; 16]; 2];
        let mut zero = right;
        Garbler::new(TweakedHash::new(&[1; 32]), delta, 1).and(7, &left, &mut zero, &mut rows);
        let evaluate = |session: u8, tweak: u64, rows: &[Row]| {
            let mut result = right;
            Evaluator::new(TweakedHash::new(&[session; 32]), 1).and(tweak, &left, &mut result, rows);
            result[0]
        };
        assert_eq!(evaluate(1, 7, &rows), zero[0]);
        for wrong in [evaluate(2, 7, &rows), evaluate(1, 8, &rows)] {
            assert!(wrong != zero[0] && wrong != zero[0] ^ delta);
        }
        // Both labels are odd, so both rows count.
        for row in 0..2 {
            let mut changed = rows;
            changed[row][5] ^= 4;
            assert_eq!(evaluate(1, 7, &changed) ^ zero[0], 4 << 40);
        }
    }
}
