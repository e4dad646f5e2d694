//! Correlated half-trees: 2^h correlated transfers with one choice bit set, out of h transfers and h − 1
//! blocks.
//!
//! Guo, Yang, Wang, Zhang, Xie, Liu, Zhao, *Half-Tree: halving the cost of tree expansion in COT and DPF*
//! (EUROCRYPT 2023, eprint 2022/1431): the correlated tree. The sender has Δ and a root r:
//!
//! > level 1: r, r ⊕ Δ;  children of a node x: H(x), x ⊕ H(x)
//!
//! with the circular correlation-robust H of [`crate::hash`]. The two children sum to their parent, so the
//! nodes of every level sum to Δ, and the sums L_i of the left and R_i of the right nodes of level i are
//! `R_i = L_i ⊕ Δ`: the two pads of one correlated transfer. The receiver gets at every level the sum of the
//! side that its path α does *not* take, recovers the sibling of its path from it, and ends with
//!
//! > w_x = v_x for x ≠ α,  w_α = v_α ⊕ Δ
//!
//! where v are the sender's leaves: w_α is the sum of all the others. So one AES call per leaf and party.
//!
//! **Layout.** The left child of node j of a level with n nodes is at place j of the next, the right child at
//! place j + n: a level is two contiguous halves. Bit i − 1 of a leaf's place is the turn at level i.
//!
//! **Lowest bits.** Δ is odd. Leaves leave here with bit 0 cleared, but that of w_α set: bit 0 of `w` is the
//! choice bit, bit 0 of `v` zero, and `w = v ⊕ choice·Δ` holds in all 128 bits.
//!
//! **Time** does not depend on α. The place of the path holds 0 at each level, its two children are then H(0)
//! both, and are put right by one masked pass over the level.

use crate::hash::CircularHash;
use crate::ot::vole::secret_mask;

/// The sender's leaves: fills `leaves` (2^h, h ≥ 1 words).
pub(super) fn grow(hash: &CircularHash, root: u128, delta: u128, leaves: &mut [u128]) {
    grow_with(hash, root, delta, leaves, |_, _| {});
    for leaf in leaves {
        *leaf &= !1;
    }
}

/// The sender's sums L_2 to L_h of left nodes, h − 1 words; `scratch` has 2^h words.
pub(super) fn left_sums(
    hash: &CircularHash,
    root: u128,
    delta: u128,
    scratch: &mut [u128],
    sums: &mut [u128],
) {
    grow_with(hash, root, delta, scratch, |level, sum| sums[level - 2] = sum);
}

/// Grows all levels and reports L_i for i ≥ 2.
fn grow_with(
    hash: &CircularHash,
    root: u128,
    delta: u128,
    nodes: &mut [u128],
    mut report: impl FnMut(usize, u128),
) {
    nodes[0] = root;
    nodes[1] = root ^ delta;
    for level in 2..=nodes.len().ilog2() as usize {
        let (left, right) = nodes[..1 << level].split_at_mut(1 << (level - 1));
        let [sum, _] = hash.children(left, right);
        report(level, sum);
    }
}

/// The receiver's leaves: fills `leaves` (2^h words, h ≥ 2).
///
/// Bit i − 1 of `path` is the turn of α at level i, 1 for right; `sums[i − 1]` is the sum of the nodes of
/// level i on the *other* side, h words.
pub(super) fn grow_punctured(hash: &CircularHash, path: u32, sums: &[u128], leaves: &mut [u128]) {
    let turn = |level: usize| secret_mask(u128::from(path), level - 1);
    leaves[0] = sums[0] & turn(1);
    leaves[1] = sums[0] & !turn(1);
    let mut zero = [0u128; 2];
    let (child, _) = zero.split_at_mut(1);
    let [zero_child, _] = hash.children(child, &mut [0]);
    for (level, sum) in (2..).zip(&sums[1..]) {
        let (left, right) = leaves[..1 << level].split_at_mut(1 << (level - 1));
        let totals = hash.children(left, right);
        // On the side of the sibling: the sibling, without the H(0) that stands in its place and entered the
        // total. On the side of the path, for the leaves: the sum of all others, likewise.
        let [mut left_fix, mut right_fix] = totals.map(|total| sum ^ total);
        let mut keep = u128::MAX;
        if level < sums.len() {
            // The path itself goes on as 0.
            left_fix ^= (left_fix ^ zero_child) & !turn(level);
            right_fix ^= (right_fix ^ zero_child) & turn(level);
        } else {
            keep = !1;
            left_fix = (left_fix & keep) | (!turn(level) & 1);
            right_fix = (right_fix & keep) | (turn(level) & 1);
        }
        let place = path & ((1 << (level - 1)) - 1);
        for (j, (left, right)) in left.iter_mut().zip(right).enumerate() {
            let here = u128::from((j as u32 ^ place).wrapping_sub(1) >> 31).wrapping_neg();
            *left = (*left & keep) ^ (left_fix & here);
            *right = (*right & keep) ^ (right_fix & here);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

    const KEY: u128 = 0x0f1e_2d3c_4b5a_6978_8796_a5b4_c3d2_e1f0;
    const DELTA: u128 = 0xdead_beef_0123_4567_89ab_cdef_5555_aaab;

    /// H(x), from its formula.
    fn hash_slow(x: u128) -> u128 {
        let (high, low) = (x >> 64, x & u128::from(u64::MAX));
        let sigma = (high ^ low) << 64 | high;
        let mut block = Array(sigma.to_le_bytes());
        aes::Aes128::new(&Array(KEY.to_le_bytes())).encrypt_block(&mut block);
        u128::from_le_bytes(block.0) ^ sigma
    }

    /// The node at `place` of `level`, by walking from the root.
    fn node_slow(root: u128, level: usize, place: usize) -> u128 {
        let mut node = if place & 1 == 1 { root ^ DELTA } else { root };
        for turn in 1..level {
            let hash = hash_slow(node);
            node = if place >> turn & 1 == 1 { node ^ hash } else { hash };
        }
        node
    }

    fn root(seed: u128) -> u128 {
        0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834_u128.wrapping_mul(2 * seed + 3)
    }

    /// The sums that the receiver of `path` gets, by adding up nodes.
    fn offered_slow(root: u128, depth: usize, path: u32) -> Vec<u128> {
        let other = |level: usize| 1 - (path >> (level - 1) & 1) as usize;
        (1..=depth)
            .map(|level| {
                let side = (0..1 << level).filter(|place| place >> (level - 1) & 1 == other(level));
                side.fold(0, |sum, place| sum ^ node_slow(root, level, place))
            })
            .collect()
    }

    #[test]
    fn leaves_and_sums_match_a_walk_from_the_root() {
        let hash = CircularHash::new(KEY);
        for depth in 1..=9 {
            let mut leaves = vec![7; 1 << depth];
            grow(&hash, root(depth as u128), DELTA, &mut leaves);
            for (place, leaf) in leaves.iter().enumerate() {
                assert_eq!(*leaf, node_slow(root(depth as u128), depth, place) & !1);
            }
            let mut sums = vec![0; depth - 1];
            left_sums(&hash, root(depth as u128), DELTA, &mut leaves, &mut sums);
            // A path that always turns right is offered the left sums.
            assert_eq!(sums, offered_slow(root(depth as u128), depth, u32::MAX)[1..]);
        }
    }

    #[test]
    fn the_punctured_tree_differs_by_delta_at_one_leaf() {
        let hash = CircularHash::new(KEY);
        for depth in [2, 3, 5, 8] {
            let mut full = vec![0; 1 << depth];
            grow(&hash, root(1), DELTA, &mut full);
            for path in 0..1u32 << depth {
                let mut leaves = vec![9; 1 << depth];
                grow_punctured(&hash, path, &offered_slow(root(1), depth, path), &mut leaves);
                for (place, (w, v)) in leaves.iter().zip(&full).enumerate() {
                    let expected = if place == path as usize { v ^ DELTA } else { *v };
                    assert_eq!(*w, expected, "depth {depth}, path {path}, leaf {place}");
                }
            }
        }
    }

    #[test]
    fn a_wrong_sum_spoils_the_leaves() {
        let hash = CircularHash::new(KEY);
        let mut full = vec![0; 256];
        grow(&hash, root(2), DELTA, &mut full);
        for level in 1..=8 {
            let mut sums = offered_slow(root(2), 8, 77);
            sums[level - 1] ^= 1 << 60;
            let mut leaves = vec![0; 256];
            grow_punctured(&hash, 77, &sums, &mut leaves);
            let wrong = (0..256).filter(|&x| x != 77 && leaves[x] != full[x]).count();
            // The sibling at that level has 2^(8 − level) leaves, and its error enters the levels below.
            assert!(wrong >= 1 << (8 - level), "{wrong} wrong leaves at level {level}");
            assert_ne!(leaves[77], full[77] ^ DELTA);
        }
    }
}
