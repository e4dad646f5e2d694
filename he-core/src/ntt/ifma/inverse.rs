//! Values to coefficients: Gentleman–Sande, the mirror image of `forward.rs`.
//!
//! A butterfly takes x and y to x + y and (x - y + offset) * w: three multiply-adds, two additions, one subtraction;
//! the offset is a multiple of q that keeps the factor positive. Products are in [0, 2q); sums double their range, so
//! some of them are tamed. With S for the sum and P for the product of a level, in the order of levels:
//!
//! | mode | in a pass | within registers |
//! |---|---|---|
//! | FREE | SS | S of half-length 8; SSS and PSS of half-lengths 8, 16, 32 |
//! | SPARSE | SS, PS | S of half-lengths 4, 16 and 32 |
//! | DENSE | every S | every S but of half-length 1 |
//!
//! Between passes values are below the bound W of `tables.rs`. The last level multiplies both its outputs by 1/N and
//! returns the canonical residue.
//! Not promised: everything is safe to call only where the CPU has AVX-512F and AVX-512IFMA.

use core::arch::x86_64::*;
use core::ops::Range;

use super::lanes::{
    Factor, LANES, Prime, factor, factor_of, finish, load, load_twice, prime, product, splat, store, tame,
};
use super::tables::{DENSE, FREE, SPARSE, Side, Tables, UNIT};
use super::{AT_ONCE, PART, chunks, quarters};

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
    let last = if n.trailing_zeros().is_multiple_of(2) { 4 } else { 8 };
    let part = PART.min(n);
    for (i, words) in words.chunks_exact_mut(part).enumerate() {
        let (first, units) = (i * part / UNIT, part / UNIT);
        in_lanes::<MODE>(words, side, first..first + units, context);
        let mut size = 4 * UNIT;
        while size <= part.min(n / last) {
            let node = (n + i * part) / size;
            for (j, block) in words.chunks_exact_mut(size).enumerate() {
                pass::<MODE>(block, side, node + j, context);
            }
            size *= 4;
        }
    }
    // The smallest blocks that are larger than a part.
    let mut blocks = last;
    while n / blocks > part {
        blocks *= 4;
    }
    while blocks > last {
        blocks /= 4;
        for (i, block) in words.chunks_exact_mut(n / blocks).enumerate() {
            pass::<MODE>(block, side, blocks + i, context);
        }
    }
    if last == 4 {
        last_four::<MODE>(words, side, context);
    } else {
        last_eight::<MODE>(words, side, context);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn butterfly(x: &mut __m512i, y: &mut __m512i, w: Factor, offset: __m512i, p: Prime) {
    let difference = _mm512_add_epi64(_mm512_sub_epi64(*x, *y), offset);
    *x = _mm512_add_epi64(*x, *y);
    *y = product(_mm512_setzero_si512(), difference, w, p);
}

/// The last butterfly: both outputs multiplied and canonical.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn last_butterfly(x: &mut __m512i, y: &mut __m512i, w: Factor, offset: __m512i, context: Context) {
    let p = context.prime;
    butterfly(x, y, w, offset, p);
    *x = finish(product(_mm512_setzero_si512(), *x, context.scale, p), p);
    *y = finish(*y, p);
}

/// Two levels of one part, whose factors have the indices `2 node`, `2 node + 1` and then `node`.
#[target_feature(enable = "avx512f,avx512ifma")]
fn pass<const MODE: u8>(part: &mut [u64], side: &Side, node: usize, context: Context) {
    let Context { prime: p, table, first, second, .. } = context;
    let (w1, w2, w3) =
        (factor(&side.pairs[node]), factor(&side.pairs[2 * node]), factor(&side.pairs[2 * node + 1]));
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
        x0 = tame(x0, table);
        if MODE != FREE {
            x1 = tame(x1, table);
        }
        store(a, x0);
        store(b, x1);
        store(c, x2);
        store(d, x3);
    }
}

/// The last two levels.
#[target_feature(enable = "avx512f,avx512ifma")]
fn last_four<const MODE: u8>(words: &mut [u64], side: &Side, context: Context) {
    let Context { prime: p, table, first, second, .. } = context;
    let (w1, w2, w3) = (factor(&side.pairs[1]), factor(&side.pairs[2]), factor(&side.pairs[3]));
    let [a, b, c, d] = quarters(words);
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let (mut x0, mut x1, mut x2, mut x3) = (load(a), load(b), load(c), load(d));
        butterfly(&mut x0, &mut x1, w2, first, p);
        butterfly(&mut x2, &mut x3, w3, first, p);
        if MODE == DENSE {
            (x0, x2) = (tame(x0, table), tame(x2, table));
        }
        last_butterfly(&mut x0, &mut x2, w1, second, context);
        last_butterfly(&mut x1, &mut x3, w1, second, context);
        store(a, x0);
        store(b, x1);
        store(c, x2);
        store(d, x3);
    }
}

/// The last three levels.
#[target_feature(enable = "avx512f,avx512ifma")]
fn last_eight<const MODE: u8>(words: &mut [u64], side: &Side, context: Context) {
    let Context { prime: p, table, first, second, .. } = context;
    let pairs: &[[u64; 2]; 8] = side.pairs.first_chunk().expect("N/64 is at least 8 where log2 N is odd");
    let half = words.len() / 2;
    let (low, high) = words.split_at_mut(half);
    let ([a, b, c, d], [e, f, g, h]) = (quarters(low), quarters(high));
    for (((((((a, b), c), d), e), f), g), h) in a.iter_mut().zip(b).zip(c).zip(d).zip(e).zip(f).zip(g).zip(h)
    {
        let mut x = [load(a), load(b), load(c), load(d), load(e), load(f), load(g), load(h)];
        for (i, x) in x.chunks_exact_mut(4).enumerate() {
            let [x0, x1, x2, x3] = x else { unreachable!("chunks of four") };
            butterfly(x0, x1, factor(&pairs[4 + 2 * i]), first, p);
            butterfly(x2, x3, factor(&pairs[5 + 2 * i]), first, p);
            if MODE == DENSE {
                (*x0, *x2) = (tame(*x0, table), tame(*x2, table));
            }
            butterfly(x0, x2, factor(&pairs[2 + i]), second, p);
            butterfly(x1, x3, factor(&pairs[2 + i]), second, p);
            *x0 = tame(*x0, table);
            if MODE != FREE {
                *x1 = tame(*x1, table);
            }
        }
        let (low, high) = x.split_at_mut(4);
        for (x, y) in low.iter_mut().zip(high) {
            last_butterfly(x, y, factor(&pairs[1]), first, context);
        }
        for (place, x) in [a, b, c, d, e, f, g, h].into_iter().zip(x) {
            store(place, x);
        }
    }
}

/// Half-lengths 1 to 8: the first four levels of some units.
///
/// The levels of [`AT_ONCE`] units are written side by side, because the chain of one unit is long.
#[target_feature(enable = "avx512f,avx512ifma")]
fn in_lanes<const MODE: u8>(words: &mut [u64], side: &Side, units: Range<usize>, context: Context) {
    let Context { prime: p, table, first, second, .. } = context;
    let pairs = side.pairs[side.ones.len()..][units.clone()].as_chunks::<AT_ONCE>().0;
    let fours = side.fours[units.clone()].as_chunks::<AT_ONCE>().0;
    let twos = side.twos[units.clone()].as_chunks::<AT_ONCE>().0;
    let ones = side.ones[units].as_chunks::<AT_ONCE>().0;
    let (lower, upper) = (index([0, 4, 1, 5, 8, 12, 9, 13]), index([2, 6, 3, 7, 10, 14, 11, 15]));
    let two_q = _mm512_add_epi64(p.q, p.q);
    let words = words.as_chunks_mut::<{ UNIT * AT_ONCE }>().0;
    for ((((words, pairs), fours), twos), ones) in words.iter_mut().zip(pairs).zip(fours).zip(twos).zip(ones)
    {
        let words = chunks(words);
        let (mut a, mut b) = ([_mm512_setzero_si512(); AT_ONCE], [_mm512_setzero_si512(); AT_ONCE]);
        for k in 0..AT_ONCE {
            let (x0, x1) = (load(&words[2 * k]), load(&words[2 * k + 1]));
            a[k] = _mm512_unpacklo_epi64(x0, x1);
            b[k] = _mm512_unpackhi_epi64(x0, x1);
            butterfly(&mut a[k], &mut b[k], factor_of(load(&ones[k].0), p), p.q, p);
        }
        for k in 0..AT_ONCE {
            let (x0, x1) = (a[k], b[k]);
            a[k] = _mm512_permutex2var_epi64(x0, lower, x1);
            b[k] = _mm512_permutex2var_epi64(x0, upper, x1);
            let offset = if MODE == DENSE { first } else { two_q };
            butterfly(&mut a[k], &mut b[k], factor_of(load_twice(&twos[k]), p), offset, p);
            if MODE != FREE {
                a[k] = tame(a[k], table);
            }
        }
        for k in 0..AT_ONCE {
            let (x0, x1) = (a[k], b[k]);
            a[k] = _mm512_unpacklo_epi64(x0, x1);
            b[k] = _mm512_unpackhi_epi64(x0, x1);
            butterfly(&mut a[k], &mut b[k], factor_of(load_twice(&fours[k]), p), first, p);
            if MODE == DENSE {
                a[k] = tame(a[k], table);
            }
        }
        for k in 0..AT_ONCE {
            let (x0, x1) = (a[k], b[k]);
            a[k] = _mm512_permutex2var_epi64(x0, lower, x1);
            b[k] = _mm512_permutex2var_epi64(x0, upper, x1);
            butterfly(&mut a[k], &mut b[k], factor(&pairs[k]), second, p);
            a[k] = tame(a[k], table);
        }
        for k in 0..AT_ONCE {
            store(&mut words[2 * k], a[k]);
            store(&mut words[2 * k + 1], b[k]);
        }
    }
}

/// Where a permutation of two registers finds its words: 0 to 7 in the first, 8 to 15 in the second.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn index(places: [u64; LANES]) -> __m512i {
    load(&places)
}
