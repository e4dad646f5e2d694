//! Coefficients to values: Cooley–Tukey, several levels in registers at a time.
//!
//! A butterfly takes x and b to x + r and x - r with r = b*w - q in [-q, q) modulo q: three multiply-adds, one
//! addition, one subtraction. The product starts at -q, so that values leave their range by at most q on either side;
//! they start at a multiple of q that pays for it (the bias), and nothing needs masking or comparing on the way.
//!
//! Where x is tamed at each level anyway (DENSE), there is a cheaper one: the product starts at x, which gives x + r with r
//! in [0, 2q), and a fourth multiply-add gives 2x + 2q, from which x - r + 2q is what the sum leaves. Both are at most
//! x + 2q, below 2^52 if x is below 2^51: one bit tells whether to take 2q away.
//!
//! | pass | levels | on |
//! |---|---|---|
//! | [`first`], or [`first_three`] where log2 N is odd | 2 or 3 | all words; adds the bias, if there is one, to one input of the first level |
//! | [`passes`] | 2 | all words, then depth first in parts of [`PART`] words |
//! | [`blocks`] | 6 | 128 words in 16 registers; ends with the canonical residue |
//!
//! Words of half-lengths 4, 2 and 1 meet across registers: a two-register permutation brings the index bit e2 out of
//! the lanes of a pair, interleaving brings e1 out, a permutation e0, and interleaving restores the order. Lanes are
//! counted from the left; v tells the two registers of a pair apart.
//!
//! | half-length | lanes (high to low bit) | registers of the pair |
//! |---|---|---|
//! | 8 | e2, e1, e0 | v |
//! | 4 | e0, v, e1 | e2 |
//! | 2 | e0, v, e2 | e1 |
//! | 1 | e2, e1, v | e0 |
//!
//! | mode | inputs tamed |
//! |---|---|
//! | FREE | none |
//! | SPARSE | at the first level of each pass but the first, at the first and the fourth of a block |
//! | DENSE | at each level but the very first, by one bit |
//!
//! Values are in [0, 2^52) throughout; the bounds are in `tables.rs`.
//! Not promised: everything is safe to call only where the CPU has AVX-512F and AVX-512IFMA.

use core::arch::x86_64::*;

use super::lanes::{
    Factor, Nodes, Prime, canonical, factor, factor_of, factors_twice, load, load_pairs, nodes, prime,
    product, splat, store, store_pairs, tame, tame_once,
};
use super::tables::{BLOCK, DENSE, FREE, Factors, HALF, PAIRS, SPARSE, Tables};
use super::{PART, chunks, pairs_of_quarters, quarters_of_halves};

/// In place; [0, q) natural order to [0, q) bit-reversed order.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn forward(words: &mut [u64], tables: &Tables) {
    match tables.forward.mode {
        FREE => run::<FREE>(words, tables),
        SPARSE => run::<SPARSE>(words, tables),
        _ => run::<DENSE>(words, tables),
    }
}

/// What every pass needs. Passes are functions of their own, not inlined, so that registers are dealt out for each alone.
struct Context {
    prime: Prime,
    /// Of [`tame`]; not for DENSE.
    table: __m512i,
    /// Nothing in DENSE.
    bias: __m512i,
    /// 2q.
    twice: __m512i,
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn run<const MODE: u8>(words: &mut [u64], tables: &Tables) {
    let side = &tables.forward;
    let context = Context {
        prime: prime(tables.q),
        table: load(&side.table),
        bias: splat(side.offsets[0]),
        twice: splat(2 * tables.q),
    };
    let n = words.len();
    let part = PART.min(n);
    let mut size = if n.trailing_zeros().is_multiple_of(2) {
        first::<MODE>(words, &side.pairs, &context);
        n / 4
    } else {
        first_three::<MODE>(words, &side.pairs, &context);
        n / 8
    };
    while size > part {
        passes::<MODE>(words, size, &side.pairs, n / size, &context);
        size /= 4;
    }
    for (i, (words, factors)) in
        words.chunks_exact_mut(part).zip(side.blocks.chunks_exact(part / BLOCK)).enumerate()
    {
        let mut size = size;
        while size > HALF {
            passes::<MODE>(words, size, &side.pairs, (n + i * part) / size, &context);
            size /= 4;
        }
        blocks::<MODE>(words, factors, &context);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn butterfly<const MODE: u8>(x: &mut __m512i, b: &mut __m512i, w: Factor, context: &Context) {
    let &Context { prime: p, twice, .. } = context;
    if MODE == DENSE {
        let sum = product(*x, *b, w, p);
        let both = _mm512_madd52lo_epu64(twice, *x, splat(2));
        (*x, *b) = (sum, _mm512_sub_epi64(both, sum));
    } else {
        let r = product(p.minus_q, *b, w, p);
        (*x, *b) = (_mm512_add_epi64(*x, r), _mm512_sub_epi64(*x, r));
    }
}

/// What the mode does to x before a butterfly.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn tamed<const MODE: u8>(x: __m512i, context: &Context) -> __m512i {
    if MODE == DENSE { tame_once(x, context.twice) } else { tame(x, context.table) }
}

/// What the mode does to a residue that is x of the first butterfly.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn biased<const MODE: u8>(x: __m512i, context: &Context) -> __m512i {
    if MODE == DENSE { x } else { _mm512_add_epi64(x, context.bias) }
}

/// Two levels of the quarters of two parts, or of a part in two places; `TAMED`: the values may be too large for them. Two at
/// a time, because a level waits long for the one before.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn two_levels<const MODE: u8, const TAMED: bool>(
    x: &mut [[__m512i; 4]; 2],
    nodes: [Nodes; 2],
    context: &Context,
) {
    for ([x0, x1, x2, x3], [w1, ..]) in x.iter_mut().zip(nodes) {
        if TAMED {
            (*x0, *x1) = (tamed::<MODE>(*x0, context), tamed::<MODE>(*x1, context));
        }
        butterfly::<MODE>(x0, x2, w1, context);
        butterfly::<MODE>(x1, x3, w1, context);
    }
    for ([x0, x1, x2, x3], [_, w2, w3]) in x.iter_mut().zip(nodes) {
        if MODE == DENSE {
            (*x0, *x2) = (tamed::<MODE>(*x0, context), tamed::<MODE>(*x2, context));
        }
        butterfly::<MODE>(x0, x1, w2, context);
        butterfly::<MODE>(x2, x3, w3, context);
    }
}

/// The first two levels of all.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn first<const MODE: u8>(words: &mut [u64], pairs: &[[u64; 2]], context: &Context) {
    let nodes = nodes(pairs, 1);
    for places in pairs_of_quarters(words) {
        let mut x = load_pairs(&places);
        for [x0, x1, ..] in &mut x {
            (*x0, *x1) = (biased::<MODE>(*x0, context), biased::<MODE>(*x1, context));
        }
        two_levels::<MODE, false>(&mut x, [nodes; 2], context);
        store_pairs(places, x);
    }
}

/// The first three levels of all.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn first_three<const MODE: u8>(words: &mut [u64], pairs: &[[u64; 2]], context: &Context) {
    let top = factor(&pairs[1]);
    let nodes = [nodes(pairs, 2), nodes(pairs, 3)];
    for places in quarters_of_halves(words) {
        let mut x = load_pairs(&places);
        let [low, high] = &mut x;
        for (x, y) in low.iter_mut().zip(high) {
            *x = biased::<MODE>(*x, context);
            butterfly::<MODE>(x, y, top, context);
        }
        if MODE == DENSE {
            two_levels::<MODE, true>(&mut x, nodes, context);
        } else {
            two_levels::<MODE, false>(&mut x, nodes, context);
        }
        store_pairs(places, x);
    }
}

/// Two levels of all parts of some size, whose factors have the indices from `node` on, from `2 node` on.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn passes<const MODE: u8>(
    words: &mut [u64],
    size: usize,
    pairs: &[[u64; 2]],
    node: usize,
    context: &Context,
) {
    for (i, part) in words.chunks_exact_mut(size).enumerate() {
        let nodes = nodes(pairs, node + i);
        for places in pairs_of_quarters(part) {
            let mut x = load_pairs(&places);
            if MODE == FREE {
                two_levels::<MODE, false>(&mut x, [nodes; 2], context);
            } else {
                two_levels::<MODE, true>(&mut x, [nodes; 2], context);
            }
            store_pairs(places, x);
        }
    }
}

/// The last six levels, half-lengths 32 to 1, and the canonical residue.
///
/// Each level is written for all registers of a block, because one waits long for the level before.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn blocks<const MODE: u8>(words: &mut [u64], factors: &[Factors], context: &Context) {
    let p = context.prime;
    let (lower, upper) = (load(&[0, 2, 8, 10, 1, 3, 9, 11]), load(&[4, 6, 12, 14, 5, 7, 13, 15]));
    for (words, factors) in words.as_chunks_mut::<BLOCK>().0.iter_mut().zip(factors) {
        let words = chunks(words);
        let mut x = [_mm512_setzero_si512(); 2 * PAIRS];
        for (x, words) in x.iter_mut().zip(&*words) {
            *x = load(words);
        }
        for (x, w) in x.as_chunks_mut::<8>().0.iter_mut().zip(&factors.h32) {
            let (low, high) = x.split_at_mut(4);
            for (x, b) in low.iter_mut().zip(high) {
                if MODE != FREE {
                    *x = tamed::<MODE>(*x, context);
                }
                butterfly::<MODE>(x, b, factor(w), context);
            }
        }
        for ([x0, x1, x2, x3], w) in x.as_chunks_mut::<4>().0.iter_mut().zip(&factors.h16) {
            if MODE == DENSE {
                (*x0, *x1) = (tamed::<MODE>(*x0, context), tamed::<MODE>(*x1, context));
            }
            butterfly::<MODE>(x0, x2, factor(w), context);
            butterfly::<MODE>(x1, x3, factor(w), context);
        }
        let pairs = x.as_chunks_mut::<2>().0;
        for ([a, b], w) in pairs.iter_mut().zip(&factors.h8) {
            if MODE == DENSE {
                *a = tamed::<MODE>(*a, context);
            }
            butterfly::<MODE>(a, b, factor(w), context);
        }
        for ([a, b], w) in pairs.iter_mut().zip(&factors.h4) {
            (*a, *b) = (_mm512_permutex2var_epi64(*a, lower, *b), _mm512_permutex2var_epi64(*a, upper, *b));
            if MODE != FREE {
                *a = tamed::<MODE>(*a, context);
            }
            butterfly::<MODE>(a, b, factors_twice(w), context);
        }
        for ([a, b], w) in pairs.iter_mut().zip(&factors.h2) {
            (*a, *b) = (_mm512_unpacklo_epi64(*a, *b), _mm512_unpackhi_epi64(*a, *b));
            if MODE == DENSE {
                *a = tamed::<MODE>(*a, context);
            }
            butterfly::<MODE>(a, b, factors_twice(w), context);
        }
        for ([a, b], w) in pairs.iter_mut().zip(&factors.h1) {
            (*a, *b) = (_mm512_permutex2var_epi64(*a, lower, *b), _mm512_permutex2var_epi64(*a, upper, *b));
            if MODE == DENSE {
                *a = tamed::<MODE>(*a, context);
            }
            butterfly::<MODE>(a, b, factor_of(load(w), p), context);
        }
        for ([a, b], words) in pairs.iter_mut().zip(words.as_chunks_mut::<2>().0) {
            (*a, *b) = (canonical(*a, p), canonical(*b, p));
            store(&mut words[0], _mm512_unpacklo_epi64(*a, *b));
            store(&mut words[1], _mm512_unpackhi_epi64(*a, *b));
        }
    }
}
