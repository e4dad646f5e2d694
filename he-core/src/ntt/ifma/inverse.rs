//! Values to coefficients: Gentleman–Sande, the mirror image of `forward.rs`, lanes and permutations included.
//!
//! A butterfly takes x and y to x + y and (x - y) * w: three multiply-adds, an addition and a subtraction. The difference
//! must not be negative. So words carry a *bias*, a multiple of q by the role that they play in the next two levels: all
//! words of quarter j of a pass are biased by the j-th of these.
//!
//! | quarter | bias | pair | difference, first level | sum | difference, second level |
//! |---|---|---|---|---|---|
//! | 0 | u | 0, 1 | u | u | |
//! | 1 | 0 | | | | v |
//! | 2 | h | 2, 3 | v - u + 2h | u - v | |
//! | 3 | u - v - h | | | | |
//!
//! u and v are the multiples of q next above W and 2W, where W bounds the words without their bias; h is 0, or q if v <
//! 2u, so that v - u + 2h is at least u. The sum of all four has the bias 2u - v, which is 0 or q. A bias costs nothing: a
//! product starts at it, and a sum that is tamed takes it from the table. Sums of products get theirs from products that
//! start at different multiples of q. The levels of half-lengths 8 and below add their offsets, and so does DENSE
//! everywhere, where no room is left for a bias.
//!
//! Products are in [0, 2q); sums double their range, so some of them are tamed. With S for the sum and P for the product
//! of a level, in the order of levels:
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
use super::tables::{BLOCK, DENSE, FREE, Factors, PAIRS, Role, SPARSE, Tables};
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
    /// For differences of values below W.
    first: __m512i,
    /// For differences of values below 2W (DENSE: there are none, W again).
    second: __m512i,
    /// By the role in the next two levels.
    roles: [Bias; 4],
    /// 1/N.
    scale: Factor,
}

/// The bias of a role, in the forms that it comes in.
#[derive(Clone, Copy)]
struct Bias {
    /// The bias.
    value: __m512i,
    /// The table of [`tame`] that adds it.
    table: __m512i,
    /// What two products start at whose sum shall have it, and whose difference shall not be negative.
    starts: [__m512i; 2],
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn run<const MODE: u8>(words: &mut [u64], tables: &Tables) {
    let side = &tables.inverse;
    let [first, second] = side.offsets;
    let table = load(&side.table);
    let [r0, r1, r2, r3] = &tables.roles;
    let context = Context {
        prime: prime(tables.q),
        first: splat(first),
        second: splat(if MODE == DENSE { first } else { second }),
        roles: [bias(r0, table), bias(r1, table), bias(r2, table), bias(r3, table)],
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
fn bias(role: &Role, table: __m512i) -> Bias {
    let value = splat(role.bias);
    let starts = [splat(role.starts[0]), splat(role.starts[1])];
    Bias { value, table: _mm512_sub_epi64(table, value), starts }
}

/// The product starts at a multiple of q.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn butterfly(x: &mut __m512i, y: &mut __m512i, w: Factor, offset: __m512i, start: __m512i, p: Prime) {
    let difference = _mm512_add_epi64(_mm512_sub_epi64(*x, *y), offset);
    *x = _mm512_add_epi64(*x, *y);
    *y = product(start, difference, w, p);
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
    let Context { prime: p, first, second, roles, scale } = context;
    let zero = _mm512_setzero_si512();
    let (first, second) = if MODE == DENSE { (first, second) } else { (zero, zero) };
    for (i, part) in words.chunks_exact_mut(size).enumerate() {
        let node = node + i;
        let (w1, w2, w3) = (factor(&pairs[node]), factor(&pairs[2 * node]), factor(&pairs[2 * node + 1]));
        // Which quarter of a part of the next pass this one is; what is last has no next and no bias.
        let bias = roles[if LAST || MODE == DENSE { 1 } else { node % 4 }];
        let starts = if MODE == FREE { bias.starts } else { roles[1].starts };
        let starts = if MODE == DENSE { [zero, zero] } else { starts };
        let value = if MODE == DENSE || LAST { zero } else { bias.value };
        let [a, b, c, d] = quarters(part);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let (mut x0, mut x1, mut x2, mut x3) = (load(a), load(b), load(c), load(d));
            butterfly(&mut x0, &mut x1, w2, first, starts[0], p);
            butterfly(&mut x2, &mut x3, w3, first, starts[1], p);
            if MODE == DENSE {
                (x0, x2) = (tame(x0, bias.table), tame(x2, bias.table));
            }
            butterfly(&mut x0, &mut x2, w1, second, value, p);
            butterfly(&mut x1, &mut x3, w1, second, value, p);
            if LAST {
                (x0, x1) = (finish(product(zero, x0, scale, p), p), finish(product(zero, x1, scale, p), p));
                (x2, x3) = (finish(x2, p), finish(x3, p));
            } else {
                x0 = tame(x0, bias.table);
                if MODE != FREE {
                    x1 = tame(x1, bias.table);
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
    let Context { prime: p, first, second, roles, .. } = context;
    let (lower, upper) = (load(&[0, 4, 1, 5, 8, 12, 9, 13]), load(&[2, 6, 3, 7, 10, 14, 11, 15]));
    let (zero, two_q) = (_mm512_setzero_si512(), _mm512_add_epi64(p.q, p.q));
    let free = MODE != DENSE;
    let plain = roles[1].table;
    let (last_first, last_second) = if free { (zero, zero) } else { (first, second) };
    for (i, (words, factors)) in words.as_chunks_mut::<BLOCK>().0.iter_mut().zip(factors).enumerate() {
        let words = chunks(words);
        let mut x = [zero; 2 * PAIRS];
        let pairs = x.as_chunks_mut::<2>().0;
        for (([a, b], words), w) in pairs.iter_mut().zip(words.as_chunks::<2>().0).zip(&factors.h1) {
            let (x0, x1) = (load(&words[0]), load(&words[1]));
            (*a, *b) = (_mm512_unpacklo_epi64(x0, x1), _mm512_unpackhi_epi64(x0, x1));
            butterfly(a, b, factor_of(load(w), p), p.q, zero, p);
        }
        for ([a, b], w) in pairs.iter_mut().zip(&factors.h2) {
            (*a, *b) = (_mm512_permutex2var_epi64(*a, lower, *b), _mm512_permutex2var_epi64(*a, upper, *b));
            butterfly(a, b, factor_of(load_twice(w), p), if free { two_q } else { first }, zero, p);
            if MODE != FREE {
                *a = tame(*a, plain);
            }
        }
        for ([a, b], w) in pairs.iter_mut().zip(&factors.h4) {
            (*a, *b) = (_mm512_unpacklo_epi64(*a, *b), _mm512_unpackhi_epi64(*a, *b));
            butterfly(a, b, factor_of(load_twice(w), p), first, zero, p);
            if MODE == DENSE {
                *a = tame(*a, plain);
            }
        }
        // A pair is a quarter of what half-lengths 16 and 32 join, half of what 16 joins.
        for ((k, [a, b]), w) in pairs.iter_mut().enumerate().zip(&factors.h8) {
            let bias = roles[if !free {
                1
            } else if SIX {
                k % 4
            } else {
                k % 2
            }];
            let value = if free { bias.value } else { zero };
            (*a, *b) = (_mm512_permutex2var_epi64(*a, lower, *b), _mm512_permutex2var_epi64(*a, upper, *b));
            butterfly(a, b, factor(w), second, value, p);
            *a = tame(*a, bias.table);
        }
        for ((k, [x0, x1, x2, x3]), w) in x.as_chunks_mut::<4>().0.iter_mut().enumerate().zip(&factors.h16) {
            // Half-length 32 joins these four with their neighbours; else the first pass does.
            let out = roles[if SIX || !free { 1 } else { k }];
            let start = match (free, SIX) {
                (true, true) if MODE == FREE => roles[half_role(i, k / 2)].starts[k % 2],
                (true, true) => roles[1].starts[k % 2],
                (true, false) => out.value,
                _ => zero,
            };
            butterfly(x0, x2, factor(w), last_first, start, p);
            butterfly(x1, x3, factor(w), last_first, start, p);
            if MODE == DENSE || !SIX {
                (*x0, *x1) = (tame(*x0, out.table), tame(*x1, out.table));
            }
        }
        if SIX {
            for ((k, x), w) in x.as_chunks_mut::<8>().0.iter_mut().enumerate().zip(&factors.h32) {
                let [x0, x1, x2, x3, x4, x5, x6, x7] = x;
                let out = roles[if free { half_role(i, k) } else { 1 }];
                let value = if free { out.value } else { zero };
                for (x, y) in [(&mut *x0, x4), (&mut *x1, x5), (&mut *x2, x6), (&mut *x3, x7)] {
                    butterfly(x, y, factor(w), last_second, value, p);
                }
                (*x0, *x1) = (tame(*x0, out.table), tame(*x1, out.table));
                if MODE != FREE {
                    (*x2, *x3) = (tame(*x2, out.table), tame(*x3, out.table));
                }
            }
        }
        for (words, x) in words.iter_mut().zip(x) {
            store(words, x);
        }
    }
}

/// The role of half a block in the first pass, of which it is a quarter.
#[inline]
fn half_role(block: usize, half: usize) -> usize {
    (2 * block + half) % 4
}
