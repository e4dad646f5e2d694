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
//! start at different multiples of q. The levels of half-lengths 8 and below add their offsets.
//!
//! In DENSE no room is left for a bias. There the words of odd quarters, and within two levels the second pair's, are
//! *negated*: of x and -y the sum is the difference, in [0, 2W), and the difference, in (-W, W), is the sum, to which W, there a
//! multiple of q, is added where it is negative. Negating costs nothing either: a product has the factor -w, and a difference is taken the other
//! way round. The index of a factor says which: those of odd indices are negated in the tables, but for the last of all.
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
//! Half-lengths 4 and 8 share registers between S and P, so both SS and PS are tamed in every mode. Then all values are
//! below W again, the bound of `tables.rs`. The last pass has three levels where log2 N is odd; the last level multiplies
//! both its outputs, 1/N folded in, and returns the canonical residue.
//! Not promised: everything is safe to call only where the CPU has AVX-512F and AVX-512IFMA.

use core::arch::x86_64::*;

use super::lanes::{
    Factor, Nodes, Prime, factor, factor_of, factors_twice, finish, load, load_pairs, nodes, prime, product,
    splat, store, store_pairs, tame, tame_negated, tame_signed,
};
use super::tables::{BLOCK, DENSE, FREE, Factors, HALF, PAIRS, Role, SPARSE, Tables};
use super::{PART, chunks, pairs_of_quarters, quarters_of_halves};

/// In place; [0, q) bit-reversed order to [0, q) natural order, divided by N.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn inverse(words: &mut [u64], tables: &Tables) {
    match tables.inverse.mode {
        FREE => run::<FREE>(words, tables),
        SPARSE => run::<SPARSE>(words, tables),
        _ => run::<DENSE>(words, tables),
    }
}

/// What every pass needs. Passes are functions of their own, not inlined, so that registers are dealt out for each alone.
struct Context {
    prime: Prime,
    /// For differences of values below W; W itself in DENSE.
    first: __m512i,
    /// For differences of values below 2W.
    second: __m512i,
    /// By the role in the next two levels. Not for DENSE.
    roles: [Bias; 4],
    /// The table of [`tame`] for values below 2W.
    plain: __m512i,
    /// The table of [`tame_negated`] for values below 2W. For DENSE.
    negated: __m512i,
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
    let plain = load(&side.table);
    let context = Context {
        prime: prime(tables.q),
        first: splat(first),
        second: splat(second),
        roles: [0, 1, 2, 3].map(|quarter| bias(&tables.roles[quarter], plain)),
        plain,
        negated: load(&tables.negated),
        scale: factor(&tables.scale),
    };
    let n = words.len();
    let part = PART.min(n);
    // What the last pass joins are four parts or eight.
    let last = if n.trailing_zeros().is_multiple_of(2) { n / 4 } else { n / 8 };
    let mut size = 4 * HALF;
    for (i, (words, factors)) in
        words.chunks_exact_mut(part).zip(side.blocks.chunks_exact(part / BLOCK)).enumerate()
    {
        blocks::<MODE>(words, factors, &context);
        size = 4 * HALF;
        while size <= part && size <= last {
            passes::<MODE>(words, size, &side.pairs, (n + i * part) / size, &context);
            size *= 4;
        }
    }
    while size <= last {
        passes::<MODE>(words, size, &side.pairs, n / size, &context);
        size *= 4;
    }
    if last == n / 4 {
        last_two::<MODE>(words, &side.pairs, &context);
    } else {
        last_three::<MODE>(words, &side.pairs, &context);
    }
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

/// DENSE: of x and -y; the sum is tamed, and negated if `NEGATED`, the product if its factor is.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn signed_butterfly<const NEGATED: bool>(x: &mut __m512i, y: &mut __m512i, w: Factor, context: &Context) {
    let difference = _mm512_add_epi64(*x, *y);
    let sum = if NEGATED { _mm512_sub_epi64(*y, *x) } else { _mm512_sub_epi64(*x, *y) };
    *x = tame_signed(sum, context.first);
    *y = product(_mm512_setzero_si512(), difference, w, context.prime);
}

/// Two levels of the quarters of two parts, or of a part in two places, whose words shall have a bias each; in DENSE those
/// of `FIRST` and `SECOND` are negated. Two at a time, because a level waits long for the one before.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn two_levels<const MODE: u8, const FIRST: bool, const SECOND: bool>(
    [[x0, x1, x2, x3], [y0, y1, y2, y3]]: &mut [[__m512i; 4]; 2],
    [[u1, u2, u3], [v1, v2, v3]]: [Nodes; 2],
    [u, v]: [Bias; 2],
    context: &Context,
) {
    if MODE == DENSE {
        signed_butterfly::<false>(x0, x1, u2, context);
        signed_butterfly::<false>(y0, y1, v2, context);
        signed_butterfly::<true>(x2, x3, u3, context);
        signed_butterfly::<true>(y2, y3, v3, context);
        signed_butterfly::<FIRST>(x0, x2, u1, context);
        signed_butterfly::<SECOND>(y0, y2, v1, context);
        signed_butterfly::<FIRST>(x1, x3, u1, context);
        signed_butterfly::<SECOND>(y1, y3, v1, context);
        return;
    }
    let (p, zero) = (context.prime, _mm512_setzero_si512());
    let [u_starts, v_starts] = if MODE == FREE { [u.starts, v.starts] } else { [context.roles[1].starts; 2] };
    butterfly(x0, x1, u2, zero, u_starts[0], p);
    butterfly(y0, y1, v2, zero, v_starts[0], p);
    butterfly(x2, x3, u3, zero, u_starts[1], p);
    butterfly(y2, y3, v3, zero, v_starts[1], p);
    butterfly(x0, x2, u1, zero, u.value, p);
    butterfly(y0, y2, v1, zero, v.value, p);
    butterfly(x1, x3, u1, zero, u.value, p);
    butterfly(y1, y3, v1, zero, v.value, p);
    (*x0, *y0) = (tame(*x0, u.table), tame(*y0, v.table));
    if MODE == SPARSE {
        (*x1, *y1) = (tame(*x1, u.table), tame(*y1, v.table));
    }
}

/// Two levels of all parts of some size, whose factors have the indices from `2 node` on, then from `node` on.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn passes<const MODE: u8>(
    words: &mut [u64],
    size: usize,
    pairs: &[[u64; 2]],
    node: usize,
    context: &Context,
) {
    for (part, node) in words.chunks_exact_mut(size).zip(node..) {
        // Which quarter of a part of the next pass this one is.
        if MODE == DENSE && node % 2 == 1 {
            pass::<MODE, true>(part, nodes(pairs, node), context.roles[node % 4], context);
        } else {
            pass::<MODE, false>(part, nodes(pairs, node), context.roles[node % 4], context);
        }
    }
}

/// One part.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn pass<const MODE: u8, const NEGATED: bool>(part: &mut [u64], nodes: Nodes, bias: Bias, context: &Context) {
    for places in pairs_of_quarters(part) {
        let mut x = load_pairs(&places);
        two_levels::<MODE, NEGATED, NEGATED>(&mut x, [nodes; 2], [bias; 2], context);
        store_pairs(places, x);
    }
}

/// The last level of all, on words of either half: residues, divided by N.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn last_level<const MODE: u8>(x: &mut __m512i, y: &mut __m512i, w: Factor, context: &Context) {
    let (p, zero) = (context.prime, _mm512_setzero_si512());
    if MODE == DENSE {
        // What is multiplied must not be negative.
        let sum = _mm512_add_epi64(_mm512_sub_epi64(*x, *y), context.first);
        (*x, *y) = (sum, product(zero, _mm512_add_epi64(*x, *y), w, p));
    } else {
        butterfly(x, y, w, zero, zero, p);
    }
    *x = finish(product(zero, *x, context.scale, p), p);
    *y = finish(*y, p);
}

/// The last two levels.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn last_two<const MODE: u8>(words: &mut [u64], pairs: &[[u64; 2]], context: &Context) {
    let (p, zero) = (context.prime, _mm512_setzero_si512());
    let [w1, w2, w3] = nodes(pairs, 1);
    let starts = context.roles[1].starts;
    for places in pairs_of_quarters(words) {
        let mut x = load_pairs(&places);
        for [x0, x1, x2, x3] in &mut x {
            if MODE == DENSE {
                signed_butterfly::<false>(x0, x1, w2, context);
                signed_butterfly::<true>(x2, x3, w3, context);
            } else {
                butterfly(x0, x1, w2, zero, starts[0], p);
                butterfly(x2, x3, w3, zero, starts[1], p);
            }
        }
        for [x0, x1, x2, x3] in &mut x {
            last_level::<MODE>(x0, x2, w1, context);
            last_level::<MODE>(x1, x3, w1, context);
        }
        store_pairs(places, x);
    }
}

/// The last three levels: two as if the halves were the first quarters of a part of another pass, and the last.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn last_three<const MODE: u8>(words: &mut [u64], pairs: &[[u64; 2]], context: &Context) {
    let top = factor(&pairs[1]);
    let nodes = [nodes(pairs, 2), nodes(pairs, 3)];
    align_stack();
    for places in quarters_of_halves(words) {
        let mut x = load_pairs(&places);
        two_levels::<MODE, false, true>(&mut x, nodes, [context.roles[0], context.roles[1]], context);
        let [low, high] = &mut x;
        for (x, y) in low.iter_mut().zip(high) {
            last_level::<MODE>(x, y, top, context);
        }
        store_pairs(places, x);
    }
}

/// The first six levels, half-lengths 1 to 32.
///
/// Each level is written for all registers of a block, because one waits long for the level before.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma")]
fn blocks<const MODE: u8>(words: &mut [u64], factors: &[Factors], context: &Context) {
    let Context { prime: p, first, second, roles, plain, .. } = *context;
    let (lower, upper) = (load(&[0, 4, 1, 5, 8, 12, 9, 13]), load(&[2, 6, 3, 7, 10, 14, 11, 15]));
    align_stack();
    let (zero, two_q) = (_mm512_setzero_si512(), _mm512_add_epi64(p.q, p.q));
    for (i, (words, factors)) in words.as_chunks_mut::<BLOCK>().0.iter_mut().zip(factors).enumerate() {
        let words = chunks(words);
        let mut halves = [[zero; PAIRS]; 2];
        let pairs = halves.as_flattened_mut().as_chunks_mut::<2>().0;
        for (([a, b], words), w) in pairs.iter_mut().zip(words.as_chunks::<2>().0).zip(&factors.h1) {
            let (x0, x1) = (load(&words[0]), load(&words[1]));
            (*a, *b) = (_mm512_unpacklo_epi64(x0, x1), _mm512_unpackhi_epi64(x0, x1));
            butterfly(a, b, factor_of(load(w), p), p.q, zero, p);
        }
        for ([a, b], w) in pairs.iter_mut().zip(&factors.h2) {
            (*a, *b) = (_mm512_permutex2var_epi64(*a, lower, *b), _mm512_permutex2var_epi64(*a, upper, *b));
            butterfly(a, b, factors_twice(w), if MODE == DENSE { first } else { two_q }, zero, p);
            if MODE != FREE {
                *a = tame(*a, plain);
            }
        }
        for ([a, b], w) in pairs.iter_mut().zip(&factors.h4) {
            (*a, *b) = (_mm512_unpacklo_epi64(*a, *b), _mm512_unpackhi_epi64(*a, *b));
            butterfly(a, b, factors_twice(w), first, zero, p);
            if MODE == DENSE {
                *a = tame(*a, plain);
            }
        }
        // A pair is a quarter of what half-lengths 16 and 32 join.
        for ((k, [a, b]), w) in pairs.iter_mut().enumerate().zip(&factors.h8) {
            (*a, *b) = (_mm512_permutex2var_epi64(*a, lower, *b), _mm512_permutex2var_epi64(*a, upper, *b));
            if MODE == DENSE {
                butterfly(a, b, factor(w), first, zero, p);
                *a = if k % 2 == 1 { tame_negated(*a, context.negated) } else { tame(*a, plain) };
            } else {
                butterfly(a, b, factor(w), second, roles[k % 4].value, p);
                *a = tame(*a, roles[k % 4].table);
            }
        }
        // Halves of a block are quarters of a part of the first pass.
        let [low, high] = &mut halves;
        thirty_two::<MODE, false>(low, half(factors, 0), roles[2 * i % 4], context);
        thirty_two::<MODE, true>(high, half(factors, 1), roles[(2 * i + 1) % 4], context);
        for (words, x) in words.iter_mut().zip(halves.as_flattened()) {
            store(words, *x);
        }
    }
}

/// Makes a function keep its stack where cache lines begin. There are more values than registers, and the compiler puts those
/// that wait anywhere, across two lines or two pages as chance has it: up to an eighth of a transform. Only a value in
/// memory makes it look.
#[inline(always)]
fn align_stack() {
    #[repr(align(64))]
    struct Line(#[expect(dead_code, reason = "what counts is where it lies")] u8);
    core::hint::black_box(&mut Line(0));
}

/// The factors of half-lengths 32 and 16 of half a block.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn half(factors: &Factors, half: usize) -> Nodes {
    [factor(&factors.h32[half]), factor(&factors.h16[2 * half]), factor(&factors.h16[2 * half + 1])]
}

/// Half-lengths 16 and 32 of half a block, whose quarters are two registers each.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn thirty_two<const MODE: u8, const NEGATED: bool>(
    [a0, b0, a1, b1, a2, b2, a3, b3]: &mut [__m512i; PAIRS],
    nodes: Nodes,
    bias: Bias,
    context: &Context,
) {
    // Without closures: one that is not inlined costs a fifth of a transform.
    let mut x = [[*a0, *a1, *a2, *a3], [*b0, *b1, *b2, *b3]];
    two_levels::<MODE, NEGATED, NEGATED>(&mut x, [nodes; 2], [bias; 2], context);
    [[*a0, *a1, *a2, *a3], [*b0, *b1, *b2, *b3]] = x;
}
