//! Values to coefficients: Gentleman–Sande, the mirror image of `forward.rs`, lanes and permutations included.
//!
//! A butterfly takes x and y to x + y and (x - y + offset) * w: three multiply-adds, two additions, one subtraction;
//! the offset is a multiple of q that keeps the factor positive. Products are in [0, 2q); sums double their range, so
//! some of them are tamed. With S for the sum and P for the product of a level, in the order of levels:
//!
//! | mode | two levels of a pass or a block, from values below W | first two levels of a block |
//! |---|---|---|
//! | FREE | SS | none |
//! | SPARSE | SS and PS | S of the second |
//! | DENSE | each S | S of the second |
//!
//! Half-lengths 4 and 8 share registers between S and P, so both SS and PS are tamed in every mode; so is S of
//! half-length 16 where it is the last of a block. Then all values are below W again, the bound of `tables.rs`. The
//! last level multiplies both its outputs, 1/N folded in, and returns the canonical residue.
//! Not promised: everything is safe to call only where the CPU has AVX-512F and AVX-512IFMA.

use core::arch::x86_64::*;

use super::lanes::{
    Factor, Prime, factor, factor_of, finish, load, load_twice, prime, product, splat, store, tame,
};
use super::tables::{BLOCK, DENSE, FREE, Factors, PAIRS, SPARSE, Tables};
use super::{PART, chunks, quarters};

/// In place; [0, q) bit-reversed order to [0, q) natural order, divided by N.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn inverse(words: &mut [u64], tables: &Tables) {
    match tables.inverse.mode {
        FREE => run::<FREE>(words, tables),
        SPARSE => run::<SPARSE>(words, tables),
        _ => run::<DENSE>(words, tables),
    }
}

/// What every pass needs.
#[derive(Clone, Copy)]
struct Context {
    prime: Prime,
    table: __m512i,
    /// For differences of values below W.
    first: __m512i,
    /// For differences of values below 2W (DENSE: there are none, W again).
    second: __m512i,
    /// 1/N.
    scale: Factor,
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn run<const MODE: u8>(words: &mut [u64], tables: &Tables) {
    let side = &tables.inverse;
    let [first, second] = side.offsets;
    let context = Context {
        prime: prime(tables.q),
        table: load(&side.table),
        first: splat(first),
        second: splat(if MODE == DENSE { first } else { second }),
        scale: factor(&tables.scale),
    };
    let n = words.len();
    let odd = !n.trailing_zeros().is_multiple_of(2);
    let (part, rest) = (PART.min(n), if odd { 32 } else { 64 });
    let mut size = 4 * rest;
    for (i, (words, factors)) in
        words.chunks_exact_mut(part).zip(side.blocks.chunks_exact(part / BLOCK)).enumerate()
    {
        if odd {
            blocks::<MODE, false>(words, factors, context);
        } else {
            blocks::<MODE, true>(words, factors, context);
        }
        size = 4 * rest;
        while size <= part && size < n {
            passes::<MODE, false>(words, size, &side.pairs, (n + i * part) / size, context);
            size *= 4;
        }
    }
    while size < n {
        passes::<MODE, false>(words, size, &side.pairs, n / size, context);
        size *= 4;
    }
    passes::<MODE, true>(words, n, &side.pairs, 1, context);
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn butterfly(x: &mut __m512i, y: &mut __m512i, w: Factor, offset: __m512i, p: Prime) {
    let difference = _mm512_add_epi64(_mm512_sub_epi64(*x, *y), offset);
    *x = _mm512_add_epi64(*x, *y);
    *y = product(_mm512_setzero_si512(), difference, w, p);
}

/// Two levels of all parts of some size, whose factors have the indices from `2 node` on, then from `node` on.
#[target_feature(enable = "avx512f,avx512ifma")]
fn passes<const MODE: u8, const LAST: bool>(
    words: &mut [u64],
    size: usize,
    pairs: &[[u64; 2]],
    node: usize,
    context: Context,
) {
    let Context { prime: p, table, first, second, scale } = context;
    for (i, part) in words.chunks_exact_mut(size).enumerate() {
        let node = node + i;
        let (w1, w2, w3) = (factor(&pairs[node]), factor(&pairs[2 * node]), factor(&pairs[2 * node + 1]));
        let [a, b, c, d] = quarters(part);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let (mut x0, mut x1, mut x2, mut x3) = (load(a), load(b), load(c), load(d));
            butterfly(&mut x0, &mut x1, w2, first, p);
            butterfly(&mut x2, &mut x3, w3, first, p);
            if MODE == DENSE {
                (x0, x2) = (tame(x0, table), tame(x2, table));
            }
            butterfly(&mut x0, &mut x2, w1, second, p);
            butterfly(&mut x1, &mut x3, w1, second, p);
            if LAST {
                let zero = _mm512_setzero_si512();
                (x0, x1) = (finish(product(zero, x0, scale, p), p), finish(product(zero, x1, scale, p), p));
                (x2, x3) = (finish(x2, p), finish(x3, p));
            } else {
                x0 = tame(x0, table);
                if MODE != FREE {
                    x1 = tame(x1, table);
                }
            }
            store(a, x0);
            store(b, x1);
            store(c, x2);
            store(d, x3);
        }
    }
}

/// The first five levels, half-lengths 1 to 16, or six with 32 after them.
///
/// Each level is written for all registers of a block, because one waits long for the level before.
#[target_feature(enable = "avx512f,avx512ifma")]
fn blocks<const MODE: u8, const SIX: bool>(words: &mut [u64], factors: &[Factors], context: Context) {
    let Context { prime: p, table, first, second, .. } = context;
    let (lower, upper) = (load(&[0, 4, 1, 5, 8, 12, 9, 13]), load(&[2, 6, 3, 7, 10, 14, 11, 15]));
    let two_q = _mm512_add_epi64(p.q, p.q);
    for (words, factors) in words.as_chunks_mut::<BLOCK>().0.iter_mut().zip(factors) {
        let words = chunks(words);
        let mut x = [_mm512_setzero_si512(); 2 * PAIRS];
        let pairs = x.as_chunks_mut::<2>().0;
        for (([a, b], words), w) in pairs.iter_mut().zip(words.as_chunks::<2>().0).zip(&factors.h1) {
            let (x0, x1) = (load(&words[0]), load(&words[1]));
            (*a, *b) = (_mm512_unpacklo_epi64(x0, x1), _mm512_unpackhi_epi64(x0, x1));
            butterfly(a, b, factor_of(load(w), p), p.q, p);
        }
        for ([a, b], w) in pairs.iter_mut().zip(&factors.h2) {
            (*a, *b) = (_mm512_permutex2var_epi64(*a, lower, *b), _mm512_permutex2var_epi64(*a, upper, *b));
            butterfly(a, b, factor_of(load_twice(w), p), if MODE == DENSE { first } else { two_q }, p);
            if MODE != FREE {
                *a = tame(*a, table);
            }
        }
        for ([a, b], w) in pairs.iter_mut().zip(&factors.h4) {
            (*a, *b) = (_mm512_unpacklo_epi64(*a, *b), _mm512_unpackhi_epi64(*a, *b));
            butterfly(a, b, factor_of(load_twice(w), p), first, p);
            if MODE == DENSE {
                *a = tame(*a, table);
            }
        }
        for ([a, b], w) in pairs.iter_mut().zip(&factors.h8) {
            (*a, *b) = (_mm512_permutex2var_epi64(*a, lower, *b), _mm512_permutex2var_epi64(*a, upper, *b));
            butterfly(a, b, factor(w), second, p);
            *a = tame(*a, table);
        }
        for ([x0, x1, x2, x3], w) in x.as_chunks_mut::<4>().0.iter_mut().zip(&factors.h16) {
            butterfly(x0, x2, factor(w), first, p);
            butterfly(x1, x3, factor(w), first, p);
            if MODE == DENSE || !SIX {
                (*x0, *x1) = (tame(*x0, table), tame(*x1, table));
            }
        }
        if SIX {
            for ([x0, x1, x2, x3, x4, x5, x6, x7], w) in x.as_chunks_mut::<8>().0.iter_mut().zip(&factors.h32)
            {
                for (x, y) in [(&mut *x0, x4), (&mut *x1, x5), (&mut *x2, x6), (&mut *x3, x7)] {
                    butterfly(x, y, factor(w), second, p);
                }
                (*x0, *x1) = (tame(*x0, table), tame(*x1, table));
                if MODE != FREE {
                    (*x2, *x3) = (tame(*x2, table), tame(*x3, table));
                }
            }
        }
        for (words, x) in words.iter_mut().zip(x) {
            store(words, x);
        }
    }
}
