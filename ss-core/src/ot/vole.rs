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
//! level gain b ⊕ d and c ⊕ d, and the group goes on as a ⊕ b ⊕ c ⊕ d. That is 2^f · 7/3 additions. Where the
//! machine has AES instructions, `simd` does encryption and folding of a few vectors of counters at a time, all in
//! registers; elsewhere, and for f = 1, rows are folded with a stack of three rows per level.

#[cfg(target_arch = "x86_64")]
mod simd;

use super::transpose::transpose_128;
#[cfg(target_arch = "x86_64")]
use crate::hash::cipher::RoundKeys;
use crate::hash::cipher::{Cipher, Path};
use crate::hash::wipe;
use std::sync::{Mutex, PoisonError};

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
pub(super) struct Row(pub(super) [[u8; 16]; CHUNK_BLOCKS + 4]);

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
    keys: Keys,
    field_bits: u32,
}

/// One key per stream; that of a missing stream is never used.
enum Keys {
    /// For the folding kernel.
    #[cfg(target_arch = "x86_64")]
    Kernel(Path, Vec<RoundKeys>),
    /// For one stream after the other.
    Single(Vec<Cipher>),
}

impl Streams {
    /// All streams, from the 2^f leaves of a full tree.
    pub(super) fn full(leaves: &[u128]) -> Self {
        Self::on(Path::best(), leaves, false)
    }

    /// All streams but stream 0, from the 2^f leaves of a punctured tree in relative order.
    pub(super) fn punctured(leaves: &[u128]) -> Self {
        Self::on(Path::best(), leaves, true)
    }

    fn on(path: Path, leaves: &[u128], missing: bool) -> Self {
        let field_bits = leaves.len().ilog2();
        let ciphers = leaves.iter().map(|&seed| Cipher::on(path, seed));
        let keys = match path {
            #[cfg(target_arch = "x86_64")]
            path if path != Path::Portable && field_bits > 1 => Keys::Kernel(
                path,
                ciphers
                    .map(|cipher| match cipher {
                        Cipher::Kernel(_, keys) => keys,
                        Cipher::Portable(_) => RoundKeys::UNUSED,
                    })
                    .collect(),
            ),
            _ => Keys::Single(ciphers.collect()),
        };
        Self { missing, keys, field_bits }
    }

    /// Writes ⊕_x x·G(s_x) to the f rows `planes` and ⊕_x G(s_x) to `total`, `blocks` blocks from block `first`
    /// of the streams; what follows in the rows is undefined.
    fn fold(&self, first: u64, blocks: usize, stack: &mut [[Row; 3]], planes: &mut [Row], total: &mut Row) {
        let ciphers = match &self.keys {
            #[cfg(target_arch = "x86_64")]
            Keys::Kernel(path, keys) => {
                return simd::fold(*path, keys, self.missing, first, blocks, planes, total);
            }
            Keys::Single(ciphers) => ciphers,
        };
        planes.fill(Row::ZERO);
        let streams = Counters { ciphers, missing: self.missing, first, blocks };
        if self.field_bits == 1 {
            streams.write(0, total);
            streams.write(1, &mut planes[0]);
            xor(total.bytes_mut(blocks), planes[0].bytes(blocks));
        } else {
            streams.fold_group(self.field_bits as usize / 2, 0, stack, planes, total);
        }
    }
}

/// Streams at certain counters.
struct Counters<'a> {
    ciphers: &'a [Cipher],
    missing: bool,
    first: u64,
    blocks: usize,
}

impl Counters<'_> {
    /// Stream x, or zeros.
    fn write(&self, x: usize, out: &mut Row) {
        let out = &mut out.0[..self.blocks];
        if self.missing && x == 0 {
            return out.fill([0; 16]);
        }
        let mut words = [0u128; CHUNK_BLOCKS];
        self.ciphers[x].counters(self.first, &mut words[..self.blocks]);
        for (out, word) in out.iter_mut().zip(&words) {
            *out = word.to_le_bytes();
        }
        wipe(&mut words);
    }

    /// Folds the `4^level` streams from `first` on.
    fn fold_group(
        &self,
        level: usize,
        first: usize,
        stack: &mut [[Row; 3]],
        planes: &mut [Row],
        total: &mut Row,
    ) {
        let Some((siblings, below)) = stack[..level].split_last_mut() else {
            return self.write(first, total);
        };
        let step = 1 << (2 * (level - 1));
        self.fold_group(level - 1, first, below, planes, total);
        for (place, sibling) in (1..).zip(siblings.iter_mut()) {
            self.fold_group(level - 1, first + place * step, below, planes, sibling);
        }
        let [low, high] = &mut planes[2 * (level - 1)..][..2] else { unreachable!("two planes per level") };
        join_four(self.blocks, total, siblings, low, high);
    }
}

/// What one thread needs to work on a chunk; wiped on drop.
pub(super) struct Scratch {
    /// Plane rows: bit of the sender's secret by transfer.
    pub(super) matrix: Vec<Row>,
    /// The total of every tree.
    pub(super) totals: Vec<Row>,
    stack: Vec<[Row; 3]>,
    /// A block of the transposed matrix, one word per transfer.
    columns: Box<[u128; 128]>,
}

impl Scratch {
    pub(super) fn new(trees: usize) -> Self {
        Self {
            matrix: vec![Row::ZERO; ROWS],
            totals: vec![Row::ZERO; trees],
            stack: vec![[Row::ZERO; 3]; 4],
            columns: Box::new([0; 128]),
        }
    }

    /// Expands all trees over `blocks` (at most [`CHUNK_BLOCKS`]) blocks from block `first` of the streams,
    /// into the matrix and the totals. Tree j fills rows j·f to (j + 1)·f − 1.
    pub(super) fn expand(&mut self, trees: &[Streams], first: u64, blocks: usize) {
        let field_bits = ROWS / trees.len();
        let targets = self.matrix.chunks_exact_mut(field_bits).zip(&mut self.totals);
        for (tree, (planes, total)) in trees.iter().zip(targets) {
            tree.fold(first, blocks, &mut self.stack, planes, total);
        }
    }

    /// Clears what the matrix holds after its first `count` (at least 1) columns in their last block.
    pub(super) fn clear_unused(&mut self, count: usize) {
        let block = (count - 1) / 128;
        let mask = (u128::MAX >> (128 * (block + 1) - count)).to_le_bytes();
        for row in &mut self.matrix {
            for (byte, mask) in row.0[block].iter_mut().zip(mask) {
                *byte &= mask;
            }
        }
    }

    /// A block of 128 transfers of the matrix: one word per transfer, bit r from row r.
    #[inline]
    pub(super) fn columns(&mut self, block: usize) -> &[u128; 128] {
        transpose_128(&self.matrix, block, &mut self.columns);
        &self.columns
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for rows in [&mut self.matrix, &mut self.totals] {
            wipe(rows);
        }
        wipe(&mut self.stack);
        wipe(self.columns.as_mut_slice());
    }
}

/// Working memory that is kept between calls, one per thread that ever worked at once.
///
/// What it holds between calls follows from the streams' keys, which are in memory just as long.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Scratch>>);

impl Pool {
    /// Working memory for `trees` trees, the same number at every call; goes back on drop.
    pub(super) fn take(&self, trees: usize) -> Pooled<'_> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Pooled { pool: self, scratch: Some(kept.unwrap_or_else(|| Scratch::new(trees))) }
    }
}

/// Working memory on loan.
pub(super) struct Pooled<'a> {
    pool: &'a Pool,
    scratch: Option<Scratch>,
}

impl Pooled<'_> {
    pub(super) fn scratch(&mut self) -> &mut Scratch {
        self.scratch.as_mut().expect("taken on drop only")
    }
}

impl Drop for Pooled<'_> {
    fn drop(&mut self) {
        self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).extend(self.scratch.take());
    }
}

/// `target ^= source`.
#[inline]
pub(super) fn xor(target: &mut [u8], source: &[u8]) {
    for (target, source) in target.iter_mut().zip(source) {
        *target ^= source;
    }
}

/// All ones where bit `bit` of `secret` is set, else zero.
///
/// The compiler must not know that there are just these two: where a loop does not change such a mask, it makes of
/// `x & mask` a branch around the loop, and time and branch predictors tell the bit.
#[inline]
pub(super) fn secret_mask(secret: u128, bit: usize) -> u128 {
    u128::from(core::hint::black_box((secret >> bit) as u64 & 1)).wrapping_neg()
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
            crate::hash::Prg::new(*seed).fill(&mut stream);
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

    /// One fresh tree per depth, path and kind, at several places of the streams.
    #[test]
    fn every_way_of_folding_matches_the_sums() {
        for (path, field_bits) in Path::available().flat_map(|path| [1usize, 2, 4, 8].map(|f| (path, f))) {
            let leaf = |tree: usize, x: usize| (tree << 20 | x << 4 | 5) as u128;
            for (first, blocks) in [(0, 1), (3, 7), (11, 33), (70, CHUNK_BLOCKS)] {
                for missing in [false, true] {
                    let trees = ROWS / field_bits;
                    let streams: Vec<Streams> = (0..trees)
                        .map(|tree| {
                            let leaves: Vec<u128> = (0..1 << field_bits).map(|x| leaf(tree, x)).collect();
                            Streams::on(path, &leaves, missing)
                        })
                        .collect();
                    let mut scratch = Scratch::new(trees);
                    scratch.expand(&streams, first, blocks);
                    for tree in [0, trees - 1] {
                        let seeds: Vec<_> = (0..1 << field_bits)
                            .map(|x| (x > 0 || !missing).then_some(leaf(tree, x)))
                            .collect();
                        let (planes, total) = fold_slow(&seeds, first, blocks);
                        assert_eq!(scratch.totals[tree].bytes(blocks), total, "{path:?}, f {field_bits}");
                        for (b, plane) in planes.iter().enumerate() {
                            let row = &scratch.matrix[tree * field_bits + b];
                            assert_eq!(row.bytes(blocks), plane, "{path:?}, f {field_bits}, plane {b}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn masks_follow_the_bits() {
        let secret = 1 << 127 | 1 << 64 | 1 << 63 | 6;
        for bit in 0..ROWS {
            let expected = if [1, 2, 63, 64, 127].contains(&bit) { u128::MAX } else { 0 };
            assert_eq!(secret_mask(secret, bit), expected, "bit {bit}");
        }
    }

    #[test]
    fn only_unused_columns_are_cleared() {
        for count in [1, 7, 8, 127, 128, 129, 300] {
            let mut scratch = Scratch::new(16);
            scratch.matrix.fill(Row([[0xff; 16]; CHUNK_BLOCKS + 4]));
            scratch.clear_unused(count);
            for row in &scratch.matrix {
                let bits = row.bytes(count.div_ceil(128)).iter().map(|byte| byte.count_ones()).sum::<u32>();
                assert_eq!(bits, count as u32);
                let last = row.0[(count - 1) / 128];
                assert_eq!(last[(count - 1) % 128 / 8] >> ((count - 1) % 8) & 1, 1);
            }
        }
    }

    #[test]
    fn working_memory_is_used_again() {
        let pool = Pool::default();
        pool.take(16).scratch().matrix[3].0[2][1] = 77;
        let mut again = pool.take(16);
        assert_eq!(again.scratch().matrix[3].0[2][1], 77);
        assert_eq!(pool.take(16).scratch().matrix[3].0[2][1], 0);
    }
}
