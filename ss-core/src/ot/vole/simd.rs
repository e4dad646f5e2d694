//! Folding a tree's streams without leaving the registers.
//!
//! Four streams at a time are encrypted, [`WAYS`] vectors of counters each, and joined at once into two planes
//! and a sum, as in the text of [`vole`](super); sums of four groups are joined again, and so on. Rows are
//! written once, when all streams of a tree are folded. See [`hash::simd`](crate::hash::simd) for how a kernel
//! is compiled per width. The twin is the portable folding of [`vole`](super).
#![expect(unsafe_code, reason = "AES instructions, vector loads and stores")]

use super::{CHUNK_BLOCKS, Row};
use crate::hash::cipher::{Path, RoundKeys};
use crate::hash::simd::{V128, V256, V512, Vector, dispatch};

/// Vectors of counters in flight, for each of four keys.
const WAYS: usize = 4;

/// Folds the streams under `keys`, 2^f of them with f = `planes.len()` one of 2, 4, 8, over the counters
/// from `first` on, `blocks` of them at least: writes ⊕_x x·G(s_x) to the planes and ⊕_x G(s_x) to `total`.
/// Where `missing` is set, stream 0 counts as zero, whatever its key.
///
/// Blocks of the rows after the first `blocks` are undefined afterwards.
pub(super) fn fold(
    path: Path,
    keys: &[RoundKeys],
    missing: bool,
    first: u64,
    blocks: usize,
    planes: &mut [Row],
    total: &mut Row,
) {
    assert_eq!(keys.len(), 1 << planes.len(), "two keys to the number of planes");
    assert!(blocks <= CHUNK_BLOCKS, "a chunk at most");
    macro_rules! run {
        ($kernel:ident) => {
            dispatch!(
                path,
                $kernel(
                    keys: &[RoundKeys],
                    missing: bool,
                    first: u64,
                    blocks: usize,
                    planes: &mut [Row],
                    total: &mut Row
                )
            )
        };
    }
    match planes.len() {
        2 => run!(fold_two),
        4 => run!(fold_four),
        8 => run!(fold_eight),
        other => unreachable!("trees of depth {other} are not folded here"),
    }
}

macro_rules! sized {
    ($name:ident, $planes:literal, $levels:literal) => {
        #[inline(always)]
        unsafe fn $name<V: Vector>(
            keys: &[RoundKeys],
            missing: bool,
            first: u64,
            blocks: usize,
            planes: &mut [Row],
            total: &mut Row,
        ) {
            // SAFETY: as with the caller.
            unsafe { fold_kernel::<V, $planes, $levels>(keys, missing, first, blocks, planes, total) }
        }
    };
}
sized!(fold_two, 2, 0);
sized!(fold_four, 4, 1);
sized!(fold_eight, 8, 3);

/// Vectors of one row, side by side.
type Part<V> = [V; WAYS];

/// `P` planes, and `L` levels of sums above the leaves: P / 2 − 1.
#[inline(always)]
unsafe fn fold_kernel<V: Vector, const P: usize, const L: usize>(
    keys: &[RoundKeys],
    missing: bool,
    first: u64,
    blocks: usize,
    planes: &mut [Row],
    total: &mut Row,
) {
    // A chunk is a whole number of parts, so that the last part stays inside of the rows.
    const { assert!(CHUNK_BLOCKS.is_multiple_of(WAYS * 4)) };
    // SAFETY: the caller has the instructions; all places are below CHUNK_BLOCKS blocks.
    unsafe {
        let zero = [V::splat(&0); WAYS];
        for base in (0..blocks).step_by(WAYS * V::LANES) {
            let mut counters = zero;
            for (w, counter) in counters.iter_mut().enumerate() {
                *counter = V::counters(first.wrapping_add((base + w * V::LANES) as u64));
            }
            let mut sums = [zero; P];
            let mut waiting = [[zero; 3]; L];
            let mut sum = zero;
            for (group, keys) in keys.as_chunks::<4>().0.iter().enumerate() {
                let [a, b, c, d] = if missing && group == 0 {
                    let [_, keys @ ..] = keys;
                    let [b, c, d] = encrypt_under(keys, &counters);
                    [zero, b, c, d]
                } else {
                    encrypt_under(keys, &counters)
                };
                sum = join_four(&a, &b, &c, &d, &mut sums, 0);
                // Carries of a counter in base four: where a digit is full, its four sums are joined.
                let mut rest = group;
                for (level, waiting) in waiting.iter_mut().enumerate() {
                    if rest & 3 != 3 {
                        waiting[rest & 3] = sum;
                        break;
                    }
                    let [a, b, c] = waiting;
                    sum = join_four(a, b, c, &sum, &mut sums, 2 * level + 2);
                    rest >>= 2;
                }
            }
            let rows = planes.iter_mut().zip(&sums).chain(core::iter::once((&mut *total, &sum)));
            for (row, part) in rows {
                let place: *mut u128 = row.0[base..].as_mut_ptr().cast();
                for (w, vector) in part.iter().enumerate() {
                    vector.store(place.add(w * V::LANES));
                }
            }
        }
    }
}

/// The counters under each of the keys.
#[inline(always)]
unsafe fn encrypt_under<V: Vector, const N: usize>(
    keys: &[RoundKeys; N],
    counters: &Part<V>,
) -> [Part<V>; N] {
    unsafe {
        let mut leaves = [*counters; N];
        for (leaf, keys) in leaves.iter_mut().zip(keys) {
            let key = V::splat(keys.round(0));
            for vector in leaf.iter_mut() {
                *vector = vector.xor(key);
            }
        }
        for round in 1..10 {
            for (leaf, keys) in leaves.iter_mut().zip(keys) {
                let key = V::splat(keys.round(round));
                for vector in leaf.iter_mut() {
                    *vector = vector.round(key);
                }
            }
        }
        for (leaf, keys) in leaves.iter_mut().zip(keys) {
            let key = V::splat(keys.round(10));
            for vector in leaf.iter_mut() {
                *vector = vector.last_round(key);
            }
        }
        leaves
    }
}

/// One folding step; gives the sum of the four.
#[inline(always)]
unsafe fn join_four<V: Vector, const P: usize>(
    a: &Part<V>,
    b: &Part<V>,
    c: &Part<V>,
    d: &Part<V>,
    planes: &mut [Part<V>; P],
    plane: usize,
) -> Part<V> {
    unsafe {
        let mut sum = *a;
        for w in 0..WAYS {
            let (b, c, d) = (b[w], c[w], d[w]);
            planes[plane][w] = planes[plane][w].xor(b).xor(d);
            planes[plane + 1][w] = planes[plane + 1][w].xor(c).xor(d);
            sum[w] = sum[w].xor(b).xor(c).xor(d);
        }
        sum
    }
}
