//! The levels within sixteen neighbouring words, two registers x and y: the last of the forward transform, the first
//! of the inverse.
//!
//! Level 8, if it is left over, pairs x with y as they are. Each level below is one interleaving of x and y away from
//! the one before: a perfect shuffle (M. Pease, *An adaptation of the fast Fourier transform for parallel processing*,
//! J. ACM 15(2), 1968). It leaves the words of block k of 2^j in the lanes that are k modulo 2^j, so that factors in
//! the order of the table only have to be repeated over the register.
//!
//! The chain of dependent instructions of one pair takes about a hundred cycles, more than the CPU fills by looking
//! ahead to other pairs. So G * K pairs go level by level side by side: K instruction by instruction, G groups in turn.

use core::arch::x86_64::*;

use super::lanes::{self, Chunk, Factor, LANES, Q, below, load, reduce_once, splat, store};
use crate::ntt::Roots;

/// The fewest words that the wide shape (G = 2, K = 4) can be cut into.
const WIDE: usize = 128;

/// Sixteen words.
type Pair = [Chunk; 2];

/// The last three levels, or four with EIGHT, and the reduction to [0, q). The factor of the part's first sixteen
/// words is at a place of the table.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn forward<const LOOSE: bool, const EIGHT: bool>(
    part: &mut [u64],
    at: usize,
    roots: &Roots<u64>,
    q: Q,
) {
    let pairs = part.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0;
    if 2 * LANES * pairs.len() >= WIDE {
        forward_pass::<LOOSE, EIGHT, 4, 2>(pairs, at, roots, q);
    } else {
        forward_pass::<LOOSE, EIGHT, 2, 1>(pairs, at, roots, q);
    }
}

/// The inverse of [`forward`], from residues to words below 8q (loose) or 4q.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn inverse<const LOOSE: bool, const EIGHT: bool>(
    part: &mut [u64],
    at: usize,
    roots: &Roots<u64>,
    q: Q,
) {
    let pairs = part.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0;
    if 2 * LANES * pairs.len() >= WIDE {
        inverse_pass::<LOOSE, EIGHT, 4, 2>(pairs, at, roots, q);
    } else {
        inverse_pass::<LOOSE, EIGHT, 2, 1>(pairs, at, roots, q);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn forward_pass<const LOOSE: bool, const EIGHT: bool, const K: usize, const G: usize>(
    pairs: &mut [Pair],
    at: usize,
    roots: &Roots<u64>,
    q: Q,
) {
    let table = Tables::new(&roots.forward, &roots.forward_quotient, at, pairs.len());
    for (i, groups) in pairs.as_chunks_mut::<K>().0.as_chunks_mut::<G>().0.iter_mut().enumerate() {
        let first = |g: usize| K * (G * i + g);
        let (mut x, mut y) = ([[q.one; K]; G], [[q.one; K]; G]);
        for g in 0..G {
            for j in 0..K {
                (x[g][j], y[g][j]) = (load(&groups[g][j][0]), load(&groups[g][j][1]));
            }
            if EIGHT {
                lanes::forward::<K, LOOSE>(table.ones(first(g)), &mut x[g], &mut y[g], q);
            }
            interleave(&mut x[g], &mut y[g]);
        }
        for g in 0..G {
            lanes::forward::<K, LOOSE>(table.twos(first(g)), &mut x[g], &mut y[g], q);
            interleave(&mut x[g], &mut y[g]);
        }
        for g in 0..G {
            lanes::forward::<K, LOOSE>(table.fours(first(g)), &mut x[g], &mut y[g], q);
            interleave(&mut x[g], &mut y[g]);
        }
        for g in 0..G {
            lanes::forward::<K, LOOSE>(table.eights(first(g)), &mut x[g], &mut y[g], q);
            interleave(&mut x[g], &mut y[g]);
        }
        for g in 0..G {
            for j in 0..K {
                if LOOSE {
                    (x[g][j], y[g][j]) = (q.fold(x[g][j]), q.fold(y[g][j]));
                } else {
                    (x[g][j], y[g][j]) = (reduce_once(x[g][j], q.four), reduce_once(y[g][j], q.four));
                }
            }
            for j in 0..K {
                store(&mut groups[g][j][0], q.settle(x[g][j]));
                store(&mut groups[g][j][1], q.settle(y[g][j]));
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn inverse_pass<const LOOSE: bool, const EIGHT: bool, const K: usize, const G: usize>(
    pairs: &mut [Pair],
    at: usize,
    roots: &Roots<u64>,
    q: Q,
) {
    let table = Tables::new(&roots.inverse, &roots.inverse_quotient, at, pairs.len());
    let sixteen = _mm512_add_epi64(q.eight, q.eight);
    // Loose sums reach 2q, 8q, 16q, and 32q with EIGHT; products are always below 4q.
    let (third, fourth) = if LOOSE { (q.eight, sixteen) } else { (q.four, q.four) };
    for (i, groups) in pairs.as_chunks_mut::<K>().0.as_chunks_mut::<G>().0.iter_mut().enumerate() {
        let first = |g: usize| K * (G * i + g);
        let (mut x, mut y) = ([[q.one; K]; G], [[q.one; K]; G]);
        for g in 0..G {
            for j in 0..K {
                (x[g][j], y[g][j]) = (load(&groups[g][j][0]), load(&groups[g][j][1]));
            }
            separate(&mut x[g], &mut y[g]);
            lanes::inverse(table.eights(first(g)), &mut x[g], &mut y[g], q.one, q);
        }
        for g in 0..G {
            separate(&mut x[g], &mut y[g]);
            lanes::inverse(table.fours(first(g)), &mut x[g], &mut y[g], q.four, q);
            tighten::<LOOSE, K>(&mut x[g], q);
        }
        for g in 0..G {
            separate(&mut x[g], &mut y[g]);
            lanes::inverse(table.twos(first(g)), &mut x[g], &mut y[g], third, q);
            tighten::<LOOSE, K>(&mut x[g], q);
        }
        for g in 0..G {
            separate(&mut x[g], &mut y[g]);
            if EIGHT {
                lanes::inverse(table.ones(first(g)), &mut x[g], &mut y[g], fourth, q);
                tighten::<LOOSE, K>(&mut x[g], q);
            }
            for j in 0..K {
                if LOOSE && EIGHT {
                    x[g][j] = reduce_once(reduce_once(x[g][j], sixteen), q.eight);
                } else if LOOSE {
                    (x[g][j], y[g][j]) = (reduce_once(x[g][j], q.eight), reduce_once(y[g][j], q.eight));
                }
                debug_assert!(below(x[g][j], if LOOSE { 8 } else { 4 }, q));
                debug_assert!(below(y[g][j], if LOOSE { 8 } else { 4 }, q));
                store(&mut groups[g][j][0], x[g][j]);
                store(&mut groups[g][j][1], y[g][j]);
            }
        }
    }
}

/// Sums below 8q to below 4q, unless the transform is loose.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn tighten<const LOOSE: bool, const K: usize>(x: &mut [__m512i; K], q: Q) {
    if !LOOSE {
        for x in x {
            *x = reduce_once(*x, q.four);
        }
    }
}

/// One table cut for all the levels: pair k of a part has one factor at level 8 and two, four, eight below it, all at
/// the same index.
struct Tables<'a> {
    ones: [&'a [u64]; 2],
    twos: [&'a [[u64; 2]]; 2],
    fours: [&'a [[u64; 4]]; 2],
    eights: [&'a [[u64; 8]]; 2],
}

impl<'a> Tables<'a> {
    /// The factors of `count` pairs of which the first is at a place of the table.
    #[inline]
    fn new(w: &'a [u64], quotients: &'a [u64], at: usize, count: usize) -> Self {
        fn cut<const M: usize>(table: &[u64], at: usize, count: usize) -> &[[u64; M]] {
            &table.as_chunks::<M>().0[at..][..count]
        }
        Self {
            ones: [&w[at..][..count], &quotients[at..][..count]],
            twos: [cut(w, at, count), cut(quotients, at, count)],
            fours: [cut(w, at, count), cut(quotients, at, count)],
            eights: [cut(w, at, count), cut(quotients, at, count)],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn ones<const K: usize>(&self, k: usize) -> [Factor; K] {
        let (w, v) = (&self.ones[0][k..][..K], &self.ones[1][k..][..K]);
        let mut factors = [Factor::new(splat(w[0]), splat(v[0])); K];
        for j in 1..K {
            factors[j] = Factor::new(splat(w[j]), splat(v[j]));
        }
        factors
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn twos<const K: usize>(&self, k: usize) -> [Factor; K] {
        let (w, v) = (&self.twos[0][k..][..K], &self.twos[1][k..][..K]);
        let mut factors = [Factor::new(repeat_two(&w[0]), repeat_two(&v[0])); K];
        for j in 1..K {
            factors[j] = Factor::new(repeat_two(&w[j]), repeat_two(&v[j]));
        }
        factors
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn fours<const K: usize>(&self, k: usize) -> [Factor; K] {
        let (w, v) = (&self.fours[0][k..][..K], &self.fours[1][k..][..K]);
        let mut factors = [Factor::new(repeat_four(&w[0]), repeat_four(&v[0])); K];
        for j in 1..K {
            factors[j] = Factor::new(repeat_four(&w[j]), repeat_four(&v[j]));
        }
        factors
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn eights<const K: usize>(&self, k: usize) -> [Factor; K] {
        let (w, v) = (&self.eights[0][k..][..K], &self.eights[1][k..][..K]);
        let mut factors = [Factor::new(load(&w[0]), load(&v[0])); K];
        for j in 1..K {
            factors[j] = Factor::new(load(&w[j]), load(&v[j]));
        }
        factors
    }
}

/// Two factors, one in the even lanes and one in the odd.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn repeat_two(factors: &[u64; 2]) -> __m512i {
    // SAFETY: the reference is to two words.
    _mm512_broadcast_i64x2(unsafe { _mm_loadu_si128(factors.as_ptr().cast()) })
}

/// Four factors, twice.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn repeat_four(factors: &[u64; 4]) -> __m512i {
    // SAFETY: the reference is to four words.
    _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(factors.as_ptr().cast()) })
}

/// x, y = x0 y0 x1 y1 .. x3 y3, x4 y4 .. x7 y7.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn interleave<const K: usize>(x: &mut [__m512i; K], y: &mut [__m512i; K]) {
    let low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    let high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = (_mm512_permutex2var_epi64(*x, low, *y), _mm512_permutex2var_epi64(*x, high, *y));
    }
}

/// Undoes [`interleave`]: the even words of both, then the odd.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn separate<const K: usize>(x: &mut [__m512i; K], y: &mut [__m512i; K]) {
    let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    let odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = (_mm512_permutex2var_epi64(*x, even, *y), _mm512_permutex2var_epi64(*x, odd, *y));
    }
}
