//! Puncturable pseudorandom functions from binary trees.
//!
//! The tree of Goldreich, Goldwasser and Micali (J. ACM 1986), made into an all-but-one transfer as in Roy,
//! *SoftSpokenOT* (CRYPTO 2022) and the works it builds on: one party grows a tree of depth f from a random
//! root, the other gets all 2^f leaves but one. Per level, the first party offers two sums, of all left and
//! of all right nodes, in one oblivious transfer; the second chooses the side that its path does *not* take,
//! and recovers the sibling of its path.
//!
//! > left(n) ‖ right(n) = AES_n(0) ‖ AES_n(1)
//!
//! **Relative order.** With Δ the position of the missing leaf, the punctured tree is stored by `x ⊕ Δ` in
//! place of x, at every level. The missing node is then always number 0, whatever Δ is, and no memory access
//! depends on Δ; only which of two children comes first does, and that is a masked swap.
//!
//! | quantity | shape | order |
//! |---|---|---|
//! | leaves | 2^f seeds of 128 bits | full: by x; punctured: by x ⊕ Δ, entry 0 a zero |
//! | sums | f pairs | by bit of x: entry b is for the level that decides bit b; the top level decides bit f − 1 |

use super::vole::secret_mask;
use crate::hash::Prg;
use zeroize::Zeroizing;

/// The leaves of a whole tree, and the sums of left and of right nodes per level.
pub(super) struct FullTree {
    pub(super) leaves: Zeroizing<Vec<u128>>,
    pub(super) sums: Zeroizing<Vec<[u128; 2]>>,
}

/// Grows a tree of depth `depth` (1 to 8) from its root.
pub(super) fn grow(root: u128, depth: usize) -> FullTree {
    let mut nodes = Zeroizing::new(vec![root]);
    let mut sums = Zeroizing::new(vec![[0u128; 2]; depth]);
    for bit in (0..depth).rev() {
        let mut next = Zeroizing::new(Vec::with_capacity(2 * nodes.len()));
        for &node in nodes.iter() {
            let [left, right] = children(node);
            sums[bit][0] ^= left;
            sums[bit][1] ^= right;
            next.extend_from_slice(&[left, right]);
        }
        nodes = next;
    }
    FullTree { leaves: nodes, sums }
}

/// Grows the punctured tree: bit b of `missing` is the side that the path takes at the level of bit b, and
/// `sums[b]` the sum of the nodes on the *other* side of that level.
///
/// Returns 2^f leaves in relative order; entry 0, the missing one, is zero.
pub(super) fn grow_punctured(missing: u32, sums: &[u128]) -> Zeroizing<Vec<u128>> {
    let mut nodes = Zeroizing::new(vec![0u128]);
    for bit in (0..sums.len()).rev() {
        let taken = secret_mask(u128::from(missing), bit);
        // Children on the path's side come first. The first two are the missing node and its sibling, and the
        // sibling is what the sum of the other side leaves when all others are removed from it.
        let mut next = Zeroizing::new(Vec::with_capacity(2 * nodes.len()));
        next.extend_from_slice(&[0, sums[bit]]);
        for &node in &nodes[1..] {
            let [left, right] = children(node);
            let swap = (left ^ right) & taken;
            next.extend_from_slice(&[left ^ swap, right ^ swap]);
            next[1] ^= right ^ swap;
        }
        nodes = next;
    }
    nodes
}

/// The two children of a node.
fn children(node: u128) -> [u128; 2] {
    let mut both = [0u128; 2];
    Prg::new(node).blocks_at(0, &mut both);
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leaf by walking from the root, highest bit first.
    fn leaf_slow(root: u128, depth: usize, x: usize) -> u128 {
        (0..depth).rev().fold(root, |node, bit| {
            let mut stream = Prg::new(node);
            let both = [stream.next_block(), stream.next_block()];
            both[x >> bit & 1]
        })
    }

    #[test]
    fn leaves_and_sums_match_a_walk_from_the_root() {
        for depth in 1..=8 {
            let root = 0x1234_5678_9abc_def0_u128 << depth;
            let tree = grow(root, depth);
            for x in 0..1 << depth {
                assert_eq!(tree.leaves[x], leaf_slow(root, depth, x));
            }
            for bit in 0..depth {
                for side in 0..2 {
                    // Every node of the level, by its prefix: the bits from `bit` up.
                    let sum = (0..1usize << (depth - bit)).filter(|prefix| prefix & 1 == side);
                    let sum = sum.fold(0, |sum, prefix| {
                        let node = (bit..depth)
                            .rev()
                            .fold(root, |node, level| children(node)[prefix >> (level - bit) & 1]);
                        sum ^ node
                    });
                    assert_eq!(tree.sums[bit][side], sum, "depth {depth}, bit {bit}, side {side}");
                }
            }
        }
    }

    #[test]
    fn the_punctured_tree_has_every_leaf_but_one() {
        for depth in [1, 2, 4, 8] {
            let tree = grow(987_654_321, depth);
            for missing in 0..1u32 << depth {
                let sums: Vec<u128> =
                    (0..depth).map(|bit| tree.sums[bit][1 - (missing >> bit & 1) as usize]).collect();
                let leaves = grow_punctured(missing, &sums);
                assert_eq!(leaves[0], 0);
                for y in 1..leaves.len() {
                    assert_eq!(
                        leaves[y],
                        tree.leaves[y ^ missing as usize],
                        "depth {depth}, missing {missing}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_wrong_sum_spoils_the_leaves() {
        let tree = grow(5, 4);
        let mut sums: Vec<u128> = (0..4).map(|bit| tree.sums[bit][1]).collect();
        sums[2] ^= 1;
        let leaves = grow_punctured(0, &sums);
        let wrong = (1..16).filter(|&y| leaves[y] != tree.leaves[y]).count();
        // The sibling at the level of bit 2 has four leaves below it, and its error enters one more sibling
        // on each level further down: two leaves and one.
        assert_eq!(wrong, 4 + 2 + 1);
    }
}
