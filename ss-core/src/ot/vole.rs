//! Small-field vector oblivious linear evaluation by expanding the leaves of a tree.
//!
//! Roy, *SoftSpokenOT: quieter OT extension from small-field silent VOLE in the Minicrypt model* (CRYPTO
//! 2022, eprint 2022/192), figure 7, over subfield F_2 of F_{2^f}. One party has all seeds `s_x`, 0 ≤ x <
//! 2^f, of a tree, the other all but `s_Δ`. With G a pseudorandom generator of n bits and x read as f bits:
//!
//! | who | computes | shape |
//! |---|---|---|
//! | knows all | u = ⊕_x G(s_x), v = ⊕_x x·G(s_x) | n bits, f × n bits |
//! | misses Δ | w = ⊕_x (x ⊕ Δ)·G(s_x) | f × n bits |
//!
//! The unknown term of w has the factor zero, and `w = v ⊕ Δ·u`: bit plane b of w is that of v, plus u where
//! bit b of Δ is set. Since the punctured tree is stored by y = x ⊕ Δ (see `ggm`), both parties run the same
//! code: fold 2^f streams, numbered from 0, where stream 0 is either known or taken as zero. Nothing depends
//! on Δ.
//!
//! **Folding.** Summing each plane by itself would cost f·2^{f−1} additions of rows. Streams are folded in
//! groups of four instead: with a, b, c, d the sums of four neighbouring subtrees, the two planes of this
//! level gain b ⊕ d and c ⊕ d, and the group goes on as a ⊕ b ⊕ c ⊕ d. That is 2^f · 7/3 additions, and with
//! a stack of three rows per level everything but the seeds stays in the first-level cache.

use super::transpose::transpose_128;
use crate::hash::{Prg, wipe, write_counters};
use aes::Block;

/// Transfers that are worked on at once; both parties and the message format share it.
pub(super) const CHUNK: usize = 8192;

/// Blocks of 128 transfers per chunk.
pub(super) const CHUNK_BLOCKS: usize = CHUNK / 128;

/// Rows of the matrix: bits of the sender's secret.
pub(super) const ROWS: usize = 128;

/// A row: one bit per transfer of a chunk. The spare blocks at the end keep equal columns of different rows
/// out of the same cache set.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Row([[u8; 16]; CHUNK_BLOCKS + 4]);

impl Row {
    pub(super) const ZERO: Self = Self([[0; 16]; CHUNK_BLOCKS + 4]);

    /// The first `blocks` blocks as bytes.
    #[inline]
    pub(super) fn bytes(&self, blocks: usize) -> &[u8] {
        self.0[..blocks].as_flattened()
    }

    /// The first `blocks` blocks as bytes.
    #[inline]
    pub(super) fn bytes_mut(&mut self, blocks: usize) -> &mut [u8] {
        self.0[..blocks].as_flattened_mut()
    }
}

impl Default for Row {
    fn default() -> Self {
        Self::ZERO
    }
}

/// The expanded seeds of one tree: streams 0 to 2^f − 1, of which stream 0 may be missing.
pub(super) struct Streams {
    missing: bool,
    known: Vec<Prg>,
    field_bits: u32,
}

impl Streams {
    /// All streams, from the 2^f leaves of a full tree.
    pub(super) fn full(leaves: &[u128]) -> Self {
        let known = leaves.iter().map(|&seed| Prg::new(seed)).collect();
        Self { missing: false, known, field_bits: leaves.len().ilog2() }
    }

    /// All streams but stream 0, from the 2^f leaves of a punctured tree in relative order.
    pub(super) fn punctured(leaves: &[u128]) -> Self {
        let known = leaves[1..].iter().map(|&seed| Prg::new(seed)).collect();
        Self { missing: true, known, field_bits: leaves.len().ilog2() }
    }

    /// Stream x at the counters, or zeros.
    fn stream(&self, x: usize, counters: &[Block], out: &mut Row) {
        let out = &mut out.0[..counters.len()];
        match x.checked_sub(usize::from(self.missing)) {
            Some(place) => self.known[place].encrypt(counters, out),
            None => out.fill([0; 16]),
        }
    }

    /// Writes ⊕_x x·G(s_x) to the f rows `planes` and ⊕_x G(s_x) to `total`.
    fn fold(&self, counters: &[Block], stack: &mut [[Row; 3]], planes: &mut [Row], total: &mut Row) {
        planes.fill(Row::ZERO);
        if self.field_bits == 1 {
            let blocks = counters.len();
            self.stream(0, counters, total);
            self.stream(1, counters, &mut planes[0]);
            xor(total.bytes_mut(blocks), planes[0].bytes(blocks));
        } else {
            self.fold_group(self.field_bits as usize / 2, 0, counters, stack, planes, total);
        }
    }

    /// Folds the `4^level` streams from `first` on.
    fn fold_group(
        &self,
        level: usize,
        first: usize,
        counters: &[Block],
        stack: &mut [[Row; 3]],
        planes: &mut [Row],
        total: &mut Row,
    ) {
        let Some((siblings, below)) = stack[..level].split_last_mut() else {
            return self.stream(first, counters, total);
        };
        let step = 1 << (2 * (level - 1));
        self.fold_group(level - 1, first, counters, below, planes, total);
        for (place, sibling) in (1..).zip(siblings.iter_mut()) {
            self.fold_group(level - 1, first + place * step, counters, below, planes, sibling);
        }
        let [low, high] = &mut planes[2 * (level - 1)..][..2] else { unreachable!("two planes per level") };
        join_four(counters.len(), total, siblings, low, high);
    }
}

/// What one thread needs to work on a chunk; wiped on drop.
pub(super) struct Scratch {
    /// Plane rows: bit of the sender's secret by transfer.
    pub(super) matrix: Vec<Row>,
    /// The total of every tree.
    pub(super) totals: Vec<Row>,
    stack: Vec<[Row; 3]>,
    counters: Vec<Block>,
    /// The transposed matrix, one word per transfer.
    pub(super) columns: Vec<u128>,
}

impl Scratch {
    pub(super) fn new(trees: usize) -> Self {
        Self {
            matrix: vec![Row::ZERO; ROWS],
            totals: vec![Row::ZERO; trees],
            stack: vec![[Row::ZERO; 3]; 4],
            counters: vec![Block::default(); CHUNK_BLOCKS],
            columns: vec![0; CHUNK],
        }
    }

    /// Expands all trees over `blocks` (at most [`CHUNK_BLOCKS`]) blocks from block `first` of the streams,
    /// into the matrix and the totals. Tree j fills rows j·f to (j + 1)·f − 1.
    pub(super) fn expand(&mut self, trees: &[Streams], first: u64, blocks: usize) {
        let counters = &mut self.counters[..blocks];
        write_counters(first, counters);
        let field_bits = ROWS / trees.len();
        let targets = self.matrix.chunks_exact_mut(field_bits).zip(&mut self.totals);
        for (tree, (planes, total)) in trees.iter().zip(targets) {
            tree.fold(counters, &mut self.stack, planes, total);
        }
    }

    /// Transposes the first `blocks` blocks of the matrix into the columns.
    pub(super) fn transpose(&mut self, blocks: usize) {
        let (columns, _) = self.columns.as_chunks_mut::<128>();
        for (block, columns) in columns[..blocks].iter_mut().enumerate() {
            transpose_128(|r| self.matrix[r].0[block], columns);
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for rows in [&mut self.matrix, &mut self.totals] {
            wipe(rows);
        }
        wipe(&mut self.stack);
        wipe(&mut self.columns);
    }
}

/// `target ^= source`.
#[inline]
pub(super) fn xor(target: &mut [u8], source: &[u8]) {
    for (target, source) in target.iter_mut().zip(source) {
        *target ^= source;
    }
}

/// `target ^= source & mask`.
#[inline]
pub(super) fn xor_masked(target: &mut [u8], source: &[u8], mask: u8) {
    for (target, source) in target.iter_mut().zip(source) {
        *target ^= source & mask;
    }
}

/// One folding step: see the module's text; `total` is a, `siblings` are b, c, d.
#[inline]
fn join_four(blocks: usize, total: &mut Row, siblings: &[Row; 3], low: &mut Row, high: &mut Row) {
    let n = 16 * blocks;
    let total = &mut total.bytes_mut(blocks)[..n];
    let [b, c, d] = siblings.each_ref().map(|row| &row.bytes(blocks)[..n]);
    let (low, high) = (&mut low.bytes_mut(blocks)[..n], &mut high.bytes_mut(blocks)[..n]);
    for i in 0..n {
        let (b, c, d) = (b[i], c[i], d[i]);
        low[i] ^= b ^ d;
        high[i] ^= c ^ d;
        total[i] ^= b ^ c ^ d;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sums of the module's table, stream by stream.
    fn fold_slow(seeds: &[Option<u128>], first: u64, blocks: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut planes = vec![vec![0u8; 16 * blocks]; seeds.len().ilog2() as usize];
        let mut total = vec![0u8; 16 * blocks];
        for (x, seed) in seeds.iter().enumerate() {
            let Some(seed) = seed else { continue };
            let mut stream = vec![0u8; 16 * (first as usize + blocks)];
            Prg::new(*seed).fill(&mut stream);
            let stream = &stream[16 * first as usize..];
            xor(&mut total, stream);
            for (b, plane) in planes.iter_mut().enumerate() {
                if x >> b & 1 == 1 {
                    xor(plane, stream);
                }
            }
        }
        (planes, total)
    }

    #[test]
    fn folding_matches_the_sums() {
        for field_bits in [1usize, 2, 4, 8] {
            for (first, blocks) in [(0, 1), (3, 7), (70, CHUNK_BLOCKS)] {
                for missing in [false, true] {
                    let trees = ROWS / field_bits;
                    let leaf = |tree: usize, x: usize| (tree << 20 | x << 4 | 5) as u128;
                    let streams: Vec<Streams> = (0..trees)
                        .map(|tree| {
                            let leaves: Vec<u128> = (0..1 << field_bits).map(|x| leaf(tree, x)).collect();
                            if missing { Streams::punctured(&leaves) } else { Streams::full(&leaves) }
                        })
                        .collect();
                    let mut scratch = Scratch::new(trees);
                    scratch.expand(&streams, first, blocks);
                    for tree in [0, 1, trees - 1] {
                        let seeds: Vec<_> = (0..1 << field_bits)
                            .map(|x| (x > 0 || !missing).then_some(leaf(tree, x)))
                            .collect();
                        let (planes, total) = fold_slow(&seeds, first, blocks);
                        assert_eq!(scratch.totals[tree].bytes(blocks), total);
                        for (b, plane) in planes.iter().enumerate() {
                            let row = &scratch.matrix[tree * field_bits + b];
                            assert_eq!(row.bytes(blocks), plane, "f {field_bits}, tree {tree}, plane {b}");
                        }
                    }
                }
            }
        }
    }
}
