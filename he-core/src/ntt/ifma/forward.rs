//! Coefficients to values: Cooley–Tukey, two or three levels in registers at a time.
//!
//! A butterfly takes x and b to x + r and x - r with r = b*w - q in [-q, q) modulo q: three multiply-adds, one
//! addition, one subtraction. The product starts at -q, so that values leave their range by at most q on either side;
//! they start at a multiple of q that pays for it (`bias`), and nothing needs masking or comparing on the way.
//!
//! | pass | levels | on |
//! |---|---|---|
//! | [`first_four`] or [`first_eight`] | 2, or 3 if log2 N is odd | the whole, adds the bias |
//! | [`pass`] | 2 | parts, first the whole level by level, then depth first in parts of [`PART`] words |
//! | [`block`] | 6 | 64 words in 8 registers, half-lengths 32 to 1, ends with the canonical residue |
//!
//! Values between passes are in [0, 2^52) whatever the mode; see `tables.rs` for the bounds.
//! Not promised: everything is safe to call only where the CPU has AVX-512F and AVX-512IFMA.

use core::arch::x86_64::*;
use core::ops::Range;

use super::lanes::{
    Factor, LANES, Prime, canonical, factor, factor_of, load, load_twice, prime, product, splat, store, tame,
};
use super::tables::{DENSE, FREE, SPARSE, Side, Tables, UNIT};
use super::{AT_ONCE, PART, chunks, quarters};

/// In place; [0, q) natural order to [0, q) bit-reversed order.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn forward(words: &mut [u64], tables: &Tables) {
    match tables.forward.mode {
        FREE => run::<FREE>(words, tables),
        SPARSE => run::<SPARSE>(words, tables),
        _ => run::<DENSE>(words, tables),
    }
}

/// What every pass needs: the prime, -q again where it is an addend, and the table.
#[derive(Clone, Copy)]
struct Context {
    prime: Prime,
    table: __m512i,
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn run<const MODE: u8>(words: &mut [u64], tables: &Tables) {
    let side = &tables.forward;
    let context = Context { prime: prime(tables.q), table: load(&side.table) };
    let n = words.len();
    let mut blocks = if n.trailing_zeros().is_multiple_of(2) {
        first_four::<MODE>(words, side, context);
        4
    } else {
        first_eight::<MODE>(words, side, context);
        8
    };
    let part = PART.min(n);
    while n / blocks > part {
        for (i, block) in words.chunks_exact_mut(n / blocks).enumerate() {
            pass::<MODE>(block, side, blocks + i, context);
        }
        blocks *= 4;
    }
    for (i, words) in words.chunks_exact_mut(part).enumerate() {
        let mut size = n / blocks;
        while size > UNIT {
            let node = (n + i * part) / size;
            for (j, block) in words.chunks_exact_mut(size).enumerate() {
                pass::<MODE>(block, side, node + j, context);
            }
            size /= 4;
        }
        let (first, units) = (i * part / UNIT, part / UNIT);
        in_lanes::<MODE>(words, side, first..first + units, context);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn butterfly(x: &mut __m512i, b: &mut __m512i, w: Factor, p: Prime) {
    let r = product(p.minus_q, *b, w, p);
    (*x, *b) = (_mm512_add_epi64(*x, r), _mm512_sub_epi64(*x, r));
}

/// The first two levels.
#[target_feature(enable = "avx512f,avx512ifma")]
fn first_four<const MODE: u8>(words: &mut [u64], side: &Side, context: Context) {
    let Context { prime: p, table } = context;
    let bias = splat(side.offsets[0]);
    let [w1, w2, w3] = [1, 2, 3].map(|i| &side.pairs[i]);
    let (w1, w2, w3) = (factor(w1), factor(w2), factor(w3));
    let [a, b, c, d] = quarters(words);
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let (mut x0, mut x1) = (_mm512_add_epi64(load(a), bias), _mm512_add_epi64(load(b), bias));
        let (mut x2, mut x3) = (load(c), load(d));
        butterfly(&mut x0, &mut x2, w1, p);
        butterfly(&mut x1, &mut x3, w1, p);
        if MODE == DENSE {
            (x0, x2) = (tame(x0, table), tame(x2, table));
        }
        butterfly(&mut x0, &mut x1, w2, p);
        butterfly(&mut x2, &mut x3, w3, p);
        store(a, x0);
        store(b, x1);
        store(c, x2);
        store(d, x3);
    }
}

/// The first three levels.
#[target_feature(enable = "avx512f,avx512ifma")]
fn first_eight<const MODE: u8>(words: &mut [u64], side: &Side, context: Context) {
    let Context { prime: p, table } = context;
    let bias = splat(side.offsets[0]);
    let pairs: &[[u64; 2]; 8] = side.pairs.first_chunk().expect("N/64 is at least 8 where log2 N is odd");
    let half = words.len() / 2;
    let (low, high) = words.split_at_mut(half);
    let ([a, b, c, d], [e, f, g, h]) = (quarters(low), quarters(high));
    for (((((((a, b), c), d), e), f), g), h) in a.iter_mut().zip(b).zip(c).zip(d).zip(e).zip(f).zip(g).zip(h)
    {
        let mut x = [load(a), load(b), load(c), load(d), load(e), load(f), load(g), load(h)];
        for x in &mut x[..4] {
            *x = _mm512_add_epi64(*x, bias);
        }
        across::<MODE>(&mut x, pairs, p, table);
        for (place, x) in [a, b, c, d, e, f, g, h].into_iter().zip(x) {
            store(place, x);
        }
    }
}

/// Two levels of one part, whose factors have the indices `node`, `2 node` and `2 node + 1`.
#[target_feature(enable = "avx512f,avx512ifma")]
fn pass<const MODE: u8>(part: &mut [u64], side: &Side, node: usize, context: Context) {
    let Context { prime: p, table } = context;
    let (w1, w2, w3) =
        (factor(&side.pairs[node]), factor(&side.pairs[2 * node]), factor(&side.pairs[2 * node + 1]));
    let [a, b, c, d] = quarters(part);
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let (mut x0, mut x1, mut x2, mut x3) = (load(a), load(b), load(c), load(d));
        if MODE != FREE {
            (x0, x1) = (tame(x0, table), tame(x1, table));
        }
        butterfly(&mut x0, &mut x2, w1, p);
        butterfly(&mut x1, &mut x3, w1, p);
        if MODE == DENSE {
            (x0, x2) = (tame(x0, table), tame(x2, table));
        }
        butterfly(&mut x0, &mut x1, w2, p);
        butterfly(&mut x2, &mut x3, w3, p);
        store(a, x0);
        store(b, x1);
        store(c, x2);
        store(d, x3);
    }
}

/// Three levels over eight registers; `pairs` by index within the eight, 1 to 7.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn across<const MODE: u8>(x: &mut [__m512i; 8], pairs: &[[u64; 2]; 8], p: Prime, table: __m512i) {
    for (level, half) in [4, 2, 1].into_iter().enumerate() {
        for (i, x) in x.chunks_exact_mut(2 * half).enumerate() {
            let w = factor(&pairs[(1 << level) + i]);
            let (low, high) = x.split_at_mut(half);
            for (x, b) in low.iter_mut().zip(high) {
                if MODE == DENSE && level > 0 {
                    *x = tame(*x, table);
                }
                butterfly(x, b, w, p);
            }
        }
    }
}

/// Half-lengths 8 to 1 and the canonical residue: the last four levels of some units.
///
/// The levels of [`AT_ONCE`] units are written side by side, because the chain of one unit is long.
#[target_feature(enable = "avx512f,avx512ifma")]
fn in_lanes<const MODE: u8>(words: &mut [u64], side: &Side, units: Range<usize>, context: Context) {
    let Context { prime: p, table } = context;
    let pairs = side.pairs[side.ones.len()..][units.clone()].as_chunks::<AT_ONCE>().0;
    let fours = side.fours[units.clone()].as_chunks::<AT_ONCE>().0;
    let twos = side.twos[units.clone()].as_chunks::<AT_ONCE>().0;
    let ones = side.ones[units].as_chunks::<AT_ONCE>().0;
    let (lower, upper) = (index([0, 2, 8, 10, 1, 3, 9, 11]), index([4, 6, 12, 14, 5, 7, 13, 15]));
    let words = words.as_chunks_mut::<{ UNIT * AT_ONCE }>().0;
    for ((((words, pairs), fours), twos), ones) in words.iter_mut().zip(pairs).zip(fours).zip(twos).zip(ones)
    {
        let words = chunks(words);
        let (mut a, mut b) = ([_mm512_setzero_si512(); AT_ONCE], [_mm512_setzero_si512(); AT_ONCE]);
        for k in 0..AT_ONCE {
            (a[k], b[k]) = (load(&words[2 * k]), load(&words[2 * k + 1]));
            if MODE != FREE {
                a[k] = tame(a[k], table);
            }
            butterfly(&mut a[k], &mut b[k], factor(&pairs[k]), p);
        }
        for k in 0..AT_ONCE {
            let (x0, x1) = (a[k], b[k]);
            a[k] = _mm512_permutex2var_epi64(x0, lower, x1);
            b[k] = _mm512_permutex2var_epi64(x0, upper, x1);
            if MODE == DENSE {
                a[k] = tame(a[k], table);
            }
            butterfly(&mut a[k], &mut b[k], factor_of(load_twice(&fours[k]), p), p);
        }
        for k in 0..AT_ONCE {
            let (x0, x1) = (a[k], b[k]);
            a[k] = _mm512_unpacklo_epi64(x0, x1);
            b[k] = _mm512_unpackhi_epi64(x0, x1);
            if MODE != FREE {
                a[k] = tame(a[k], table);
            }
            butterfly(&mut a[k], &mut b[k], factor_of(load_twice(&twos[k]), p), p);
        }
        for k in 0..AT_ONCE {
            let (x0, x1) = (a[k], b[k]);
            a[k] = _mm512_permutex2var_epi64(x0, lower, x1);
            b[k] = _mm512_permutex2var_epi64(x0, upper, x1);
            if MODE == DENSE {
                a[k] = tame(a[k], table);
            }
            butterfly(&mut a[k], &mut b[k], factor_of(load(&ones[k].0), p), p);
        }
        for k in 0..AT_ONCE {
            (a[k], b[k]) = (canonical(a[k], p), canonical(b[k], p));
        }
        for k in 0..AT_ONCE {
            store(&mut words[2 * k], _mm512_unpacklo_epi64(a[k], b[k]));
            store(&mut words[2 * k + 1], _mm512_unpackhi_epi64(a[k], b[k]));
        }
    }
}

/// Where a permutation of two registers finds its words: 0 to 7 in the first, 8 to 15 in the second.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn index(places: [u64; LANES]) -> __m512i {
    load(&places)
}
