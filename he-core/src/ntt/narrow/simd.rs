//! Residues of three widths in 32-bit lanes, and what their arithmetic asks of a register beside [`Lanes`].
//!
//! | width | words between levels | product by a factor | factor's second word |
//! |---|---|---|---|
//! | [`Quarter`], q < 2^30 | [0, 4q) forward, [0, 2q) inverse | Shoup, [0, 2q) | floor(w * 2^32 / q) |
//! | [`Half`], q < 2^31 | [0, 2q) forward, [0, q) inverse | Shoup, reduced to [0, q) | floor(w * 2^32 / q) |
//! | [`Whole`], q < 2^32 | [0, q) | Montgomery, [0, q) | w * 2^32 / q modulo 2^32, beside w * 2^32 mod q |
//!
//! Shoup's product x*w - floor(x * v / 2^32) * q (D. Harvey, *Faster arithmetic for number-theoretic transforms*, 2014)
//! is in [0, 2q) for any 32-bit x, which fits a word up to 31 bits of q. For 32 bits the high words of x*w and of m*q
//! are subtracted, where m = x*w/q modulo 2^32 makes the low words equal (P. Montgomery, *Modular multiplication
//! without trial division*, Math. Comp. 44, 1985): the difference is above -q and below q.
//!
//! Products of 64 bits ("wide") take two registers, each with those of half of the lanes: on x86 the even and the odd
//! ones, on aarch64 the lower and the upper ones. Nothing here depends on which.

use super::portable;
use crate::ntt::lanes::{Lanes, Width};

/// Arithmetic of 32-bit lanes, half of them at a time seen as lanes of 64 bits.
pub(super) trait Simd: Lanes<Word = u32> {
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller, as unsigned words.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul_low(self, a: Self::V, b: Self::V) -> Self::V;
    /// x + y in the lanes where a < b as unsigned words, else x.
    fn add_if_less(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;

    /// Wide products of the first half of the lanes.
    fn mul_first(self, a: Self::V, b: Self::V) -> Self::V;
    /// The second half of the lanes in the places of the first.
    fn second(self, x: Self::V) -> Self::V;
    /// The high words of wide lanes: the first half of the lanes from the first, the second from the second.
    fn merge_high(self, first: Self::V, second: Self::V) -> Self::V;
    /// The low words, likewise.
    fn merge_low(self, first: Self::V, second: Self::V) -> Self::V;
    fn add_wide(self, a: Self::V, b: Self::V) -> Self::V;
    /// The high word of each wide lane, as a wide lane.
    fn high(self, x: Self::V) -> Self::V;
    /// The low word of each wide lane, as a wide lane.
    fn low(self, x: Self::V) -> Self::V;
}

/// Multiples of the modulus, in every lane.
#[derive(Clone, Copy)]
pub(super) struct Q<S: Simd> {
    one: S::V,
    two: S::V,
}

impl<S: Simd> Q<S> {
    #[inline(always)]
    fn new(s: S, q: u32) -> Self {
        Self { one: s.splat(q), two: s.splat(q.wrapping_mul(2)) }
    }
}

/// Lanes of factors: both words of the table, and the one that high products need again with its second half in front.
#[derive(Clone, Copy)]
pub(super) struct Factor<S: Simd> {
    word: S::V,
    second: S::V,
    front: S::V,
}

/// How a table's two words are made.
pub(super) trait Entry {
    /// The two words of the table for a factor w < q (public: divides).
    fn entry(w: u32, q: u32) -> (u32, u32);
}

/// q < 2^30: four moduli fit a word.
#[derive(Clone, Copy)]
pub(super) struct Quarter;
/// q < 2^31: two moduli fit a word.
#[derive(Clone, Copy)]
pub(super) struct Half;
/// q < 2^32.
#[derive(Clone, Copy)]
pub(super) struct Whole;

/// The bits of the width that a modulus falls into: 30, 31 or 32.
pub(super) fn width(q: u32) -> u32 {
    (32 - q.leading_zeros()).max(30)
}

/// The function that makes the table's two words of a factor w < q, by the width of q.
pub(super) fn entry(q: u32) -> fn(u32, u32) -> (u32, u32) {
    match width(q) {
        30 => Quarter::entry,
        31 => Half::entry,
        _ => Whole::entry,
    }
}

/// x < 2m to x < m: the unsigned minimum of x and x - m, which wraps when x < m.
#[inline(always)]
fn reduce_once<S: Simd>(s: S, x: S::V, m: S::V) -> S::V {
    s.min(x, s.sub(x, m))
}

/// The high words of the products of x by factors whose second half is given once more, in front.
#[inline(always)]
fn mul_high<S: Simd, const K: usize>(s: S, x: [S::V; K], first: [S::V; K], front: [S::V; K]) -> [S::V; K] {
    let (mut high, mut other) = (x, x);
    for i in 0..K {
        high[i] = s.mul_first(x[i], first[i]);
    }
    for i in 0..K {
        other[i] = s.mul_first(s.second(x[i]), front[i]);
    }
    for i in 0..K {
        high[i] = s.merge_high(high[i], other[i]);
    }
    high
}

/// K of Shoup's products, in [0, 2q) for any 32-bit x.
#[inline(always)]
fn shoup<S: Simd, const K: usize>(s: S, w: [Factor<S>; K], x: [S::V; K], q: Q<S>) -> [S::V; K] {
    let mut product = x;
    let (mut second, mut front) = (x, x);
    for i in 0..K {
        (second[i], front[i]) = (w[i].second, w[i].front);
    }
    let times = mul_high(s, x, second, front);
    for i in 0..K {
        product[i] = s.mul_low(x[i], w[i].word);
    }
    for i in 0..K {
        product[i] = s.sub(product[i], s.mul_low(times[i], q.one));
    }
    product
}

#[inline(always)]
fn shoup_factor<S: Simd>(s: S, word: S::V, second: S::V) -> Factor<S> {
    Factor { word, second, front: s.second(second) }
}

impl Entry for Quarter {
    fn entry(w: u32, q: u32) -> (u32, u32) {
        portable::entry(w, q)
    }
}

impl<S: Simd> Width<S> for Quarter {
    type Q = Q<S>;
    type Factor = Factor<S>;

    #[inline(always)]
    fn modulus(s: S, q: u32) -> Q<S> {
        Q::new(s, q)
    }

    #[inline(always)]
    fn factor(s: S, word: S::V, second: S::V) -> Factor<S> {
        shoup_factor(s, word, second)
    }

    #[inline(always)]
    fn mul<const K: usize>(s: S, w: [Factor<S>; K], x: [S::V; K], q: Q<S>) -> [S::V; K] {
        shoup(s, w, x, q)
    }

    #[inline(always)]
    fn sum(s: S, a: S::V, b: S::V, _: Q<S>) -> S::V {
        s.add(a, b)
    }

    #[inline(always)]
    fn difference(s: S, a: S::V, b: S::V, q: Q<S>) -> S::V {
        s.sub(s.add(a, q.two), b)
    }

    #[inline(always)]
    fn shrink(s: S, x: S::V, q: Q<S>) -> S::V {
        reduce_once(s, x, q.two)
    }

    #[inline(always)]
    fn settle(s: S, x: S::V, q: Q<S>) -> S::V {
        reduce_once(s, reduce_once(s, x, q.two), q.one)
    }
}

impl Entry for Half {
    fn entry(w: u32, q: u32) -> (u32, u32) {
        portable::entry(w, q)
    }
}

impl<S: Simd> Width<S> for Half {
    type Q = Q<S>;
    type Factor = Factor<S>;

    #[inline(always)]
    fn modulus(s: S, q: u32) -> Q<S> {
        Q::new(s, q)
    }

    #[inline(always)]
    fn factor(s: S, word: S::V, second: S::V) -> Factor<S> {
        shoup_factor(s, word, second)
    }

    #[inline(always)]
    fn mul<const K: usize>(s: S, w: [Factor<S>; K], x: [S::V; K], q: Q<S>) -> [S::V; K] {
        let mut product = shoup(s, w, x, q);
        for x in &mut product {
            *x = reduce_once(s, *x, q.one);
        }
        product
    }

    #[inline(always)]
    fn sum(s: S, a: S::V, b: S::V, _: Q<S>) -> S::V {
        s.add(a, b)
    }

    #[inline(always)]
    fn difference(s: S, a: S::V, b: S::V, q: Q<S>) -> S::V {
        s.sub(s.add(a, q.one), b)
    }

    #[inline(always)]
    fn shrink(s: S, x: S::V, q: Q<S>) -> S::V {
        reduce_once(s, x, q.one)
    }

    #[inline(always)]
    fn settle(s: S, x: S::V, q: Q<S>) -> S::V {
        reduce_once(s, x, q.one)
    }
}

impl Entry for Whole {
    fn entry(w: u32, q: u32) -> (u32, u32) {
        // Newton's iteration for 1/q modulo 2^32: q itself is right to three bits, each step doubles them.
        let inverse = (0..4).fold(q, |x, _| x.wrapping_mul(2_u32.wrapping_sub(q.wrapping_mul(x))));
        let word = ((u64::from(w) << 32) % u64::from(q)) as u32;
        (word, word.wrapping_mul(inverse))
    }
}

impl<S: Simd> Width<S> for Whole {
    type Q = Q<S>;
    type Factor = Factor<S>;

    #[inline(always)]
    fn modulus(s: S, q: u32) -> Q<S> {
        Q::new(s, q)
    }

    #[inline(always)]
    fn factor(s: S, word: S::V, second: S::V) -> Factor<S> {
        Factor { word, second, front: s.second(word) }
    }

    #[inline(always)]
    fn mul<const K: usize>(s: S, w: [Factor<S>; K], x: [S::V; K], q: Q<S>) -> [S::V; K] {
        let mut low = x;
        for i in 0..K {
            low[i] = s.mul_low(x[i], w[i].second);
        }
        let (mut word, mut front) = (x, x);
        for i in 0..K {
            (word[i], front[i]) = (w[i].word, w[i].front);
        }
        let product = mul_high(s, x, word, front);
        let excess = mul_high(s, low, [q.one; K], [q.one; K]);
        for i in 0..K {
            low[i] = s.add_if_less(product[i], excess[i], s.sub(product[i], excess[i]), q.one);
        }
        low
    }

    #[inline(always)]
    fn sum(s: S, a: S::V, b: S::V, q: Q<S>) -> S::V {
        let rest = s.sub(q.one, b);
        s.add_if_less(a, rest, s.sub(a, rest), q.one)
    }

    #[inline(always)]
    fn difference(s: S, a: S::V, b: S::V, q: Q<S>) -> S::V {
        s.add_if_less(a, b, s.sub(a, b), q.one)
    }

    #[inline(always)]
    fn shrink(_: S, x: S::V, _: Q<S>) -> S::V {
        x
    }

    #[inline(always)]
    fn settle(_: S, x: S::V, _: Q<S>) -> S::V {
        x
    }
}

/// The entries to the walks over memory, compiled for the instructions that a value of `$set` is the proof of.
macro_rules! entries {
    ($set:ident, $features:literal) => {
        impl $set {
            pub(super) fn forward<W: $crate::ntt::lanes::Width<Self>>(
                self,
                words: &mut [u32],
                roots: &$crate::ntt::Roots<u32>,
                q: u32,
            ) {
                #[target_feature(enable = $features)]
                fn inside<W: $crate::ntt::lanes::Width<$set>>(
                    s: $set,
                    words: &mut [u32],
                    roots: &$crate::ntt::Roots<u32>,
                    q: u32,
                ) {
                    $crate::ntt::passes::forward::<$set, W>(s, words, roots, q);
                }
                // SAFETY: see the type.
                unsafe { inside::<W>(self, words, roots, q) }
            }

            pub(super) fn inverse<W: $crate::ntt::lanes::Width<Self>>(
                self,
                words: &mut [u32],
                roots: &$crate::ntt::Roots<u32>,
                q: u32,
            ) {
                #[target_feature(enable = $features)]
                fn inside<W: $crate::ntt::lanes::Width<$set>>(
                    s: $set,
                    words: &mut [u32],
                    roots: &$crate::ntt::Roots<u32>,
                    q: u32,
                ) {
                    $crate::ntt::passes::inverse::<$set, W>(s, words, roots, q);
                }
                // SAFETY: see the type.
                unsafe { inside::<W>(self, words, roots, q) }
            }

            pub(super) fn accumulate<W: $crate::ntt::lanes::Width<Self> + super::simd::Entry>(
                self,
                terms: &[(&[u32], &[u32])],
                acc: &mut [u32],
                q: u32,
            ) {
                #[target_feature(enable = $features)]
                fn inside<W: $crate::ntt::lanes::Width<$set> + super::simd::Entry>(
                    s: $set,
                    terms: &[(&[u32], &[u32])],
                    acc: &mut [u32],
                    q: u32,
                ) {
                    super::sums::accumulate::<$set, W>(s, terms, acc, q);
                }
                // SAFETY: see the type.
                unsafe { inside::<W>(self, terms, acc, q) }
            }
        }
    };
}
pub(super) use entries;
