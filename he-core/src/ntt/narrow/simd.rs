//! What the transform asks of a vector of 32-bit words, and how residues of three widths are kept in one.
//!
//! A value of a type that is [`Simd`] proves that the CPU has the instructions, so its methods are safe to call. They
//! compile to those instructions only inside a function of that target feature, into which all of this is inlined.
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

use super::portable;

/// Lanes of 32-bit words, some of them seen as half as many lanes of 64 bits ("wide").
pub(super) trait Simd: Copy {
    /// A register.
    type V: Copy;
    /// The words of a register in memory.
    type Chunk;
    /// 32-bit lanes in a register.
    const LANES: usize;

    fn chunks(words: &[u32]) -> &[Self::Chunk];
    fn chunks_mut(words: &mut [u32]) -> &mut [Self::Chunk];
    fn load(self, chunk: &Self::Chunk) -> Self::V;
    fn store(self, chunk: &mut Self::Chunk, x: Self::V);
    fn splat(self, x: u32) -> Self::V;
    /// M words (a power of two up to the lanes), again and again.
    fn repeat<const M: usize>(self, words: &[u32; M]) -> Self::V;

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller, as unsigned words.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul_low(self, a: Self::V, b: Self::V) -> Self::V;
    /// x + y in the lanes where a < b as unsigned words, else x.
    fn add_if_less(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;

    /// Wide products of the even lanes.
    fn mul_even(self, a: Self::V, b: Self::V) -> Self::V;
    /// The odd lanes in the places of the even ones.
    fn odd(self, x: Self::V) -> Self::V;
    /// The high words of wide lanes: the even lanes of the result from the first, the odd from the second.
    fn merge_high(self, even: Self::V, odd: Self::V) -> Self::V;
    /// The low words, likewise.
    fn merge_low(self, even: Self::V, odd: Self::V) -> Self::V;
    fn add_wide(self, a: Self::V, b: Self::V) -> Self::V;
    /// The high word of each wide lane, as a wide lane.
    fn high(self, x: Self::V) -> Self::V;
    /// The low word of each wide lane, as a wide lane.
    fn low(self, x: Self::V) -> Self::V;

    /// x0 y0 x1 y1 ..: the lower halves of x and y, then the upper halves.
    fn interleave(self, x: Self::V, y: Self::V) -> (Self::V, Self::V);
    /// Undoes [`Simd::interleave`].
    fn separate(self, x: Self::V, y: Self::V) -> (Self::V, Self::V);
}

/// Multiples of the modulus, in every lane.
#[derive(Clone, Copy)]
pub(super) struct Q<S: Simd> {
    pub(super) one: S::V,
    two: S::V,
}

impl<S: Simd> Q<S> {
    #[inline(always)]
    pub(super) fn new(s: S, q: u32) -> Self {
        Self { one: s.splat(q), two: s.splat(q.wrapping_mul(2)) }
    }
}

/// Lanes of factors: both words of the table, and the one that high products need again with its odd lanes in front.
#[derive(Clone, Copy)]
pub(super) struct Factor<S: Simd> {
    word: S::V,
    second: S::V,
    odd: S::V,
}

/// How residues are kept and multiplied; see the table of the module.
pub(super) trait Width: Copy {
    /// The two words of the table for a factor w < q (public: divides).
    fn entry(w: u32, q: u32) -> (u32, u32);
    /// Lanes of factors from lanes of both words.
    fn factor<S: Simd>(s: S, word: S::V, second: S::V) -> Factor<S>;
    /// K products, for any 32-bit x.
    fn mul<S: Simd, const K: usize>(s: S, w: [Factor<S>; K], x: [S::V; K], q: Q<S>) -> [S::V; K];
    /// A sum of two such products or words of the inverse.
    fn sum<S: Simd>(s: S, a: S::V, b: S::V, q: Q<S>) -> S::V;
    /// A difference, likewise, in the range of a sum.
    fn difference<S: Simd>(s: S, a: S::V, b: S::V, q: Q<S>) -> S::V;
    /// A sum or difference to the range of a product.
    fn shrink<S: Simd>(s: S, x: S::V, q: Q<S>) -> S::V;
    /// A sum, difference or product to [0, q).
    fn settle<S: Simd>(s: S, x: S::V, q: Q<S>) -> S::V;

    /// K Cooley–Tukey butterflies a, b = a + b*w, a - b*w.
    #[inline(always)]
    fn forward<S: Simd, const K: usize>(
        s: S,
        w: [Factor<S>; K],
        a: &mut [S::V; K],
        b: &mut [S::V; K],
        q: Q<S>,
    ) {
        let v = Self::mul(s, w, *b, q);
        for i in 0..K {
            let u = Self::shrink(s, a[i], q);
            (a[i], b[i]) = (Self::sum(s, u, v[i], q), Self::difference(s, u, v[i], q));
        }
    }

    /// K Gentleman–Sande butterflies a, b = a + b, (a - b)*w.
    #[inline(always)]
    fn inverse<S: Simd, const K: usize>(
        s: S,
        w: [Factor<S>; K],
        a: &mut [S::V; K],
        b: &mut [S::V; K],
        q: Q<S>,
    ) {
        let mut difference = *a;
        for i in 0..K {
            difference[i] = Self::difference(s, a[i], b[i], q);
            a[i] = Self::shrink(s, Self::sum(s, a[i], b[i], q), q);
        }
        *b = Self::mul(s, w, difference, q);
    }
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

/// The high words of the products of x by factors whose odd lanes are given once more.
#[inline(always)]
fn mul_high<S: Simd, const K: usize>(s: S, x: [S::V; K], even: [S::V; K], odd: [S::V; K]) -> [S::V; K] {
    let (mut high, mut other) = (x, x);
    for i in 0..K {
        high[i] = s.mul_even(x[i], even[i]);
    }
    for i in 0..K {
        other[i] = s.mul_even(s.odd(x[i]), odd[i]);
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
    let (mut second, mut odd) = (x, x);
    for i in 0..K {
        (second[i], odd[i]) = (w[i].second, w[i].odd);
    }
    let times = mul_high(s, x, second, odd);
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
    Factor { word, second, odd: s.odd(second) }
}

impl Width for Quarter {
    fn entry(w: u32, q: u32) -> (u32, u32) {
        portable::entry(w, q)
    }

    #[inline(always)]
    fn factor<S: Simd>(s: S, word: S::V, second: S::V) -> Factor<S> {
        shoup_factor(s, word, second)
    }

    #[inline(always)]
    fn mul<S: Simd, const K: usize>(s: S, w: [Factor<S>; K], x: [S::V; K], q: Q<S>) -> [S::V; K] {
        shoup(s, w, x, q)
    }

    #[inline(always)]
    fn sum<S: Simd>(s: S, a: S::V, b: S::V, _: Q<S>) -> S::V {
        s.add(a, b)
    }

    #[inline(always)]
    fn difference<S: Simd>(s: S, a: S::V, b: S::V, q: Q<S>) -> S::V {
        s.sub(s.add(a, q.two), b)
    }

    #[inline(always)]
    fn shrink<S: Simd>(s: S, x: S::V, q: Q<S>) -> S::V {
        reduce_once(s, x, q.two)
    }

    #[inline(always)]
    fn settle<S: Simd>(s: S, x: S::V, q: Q<S>) -> S::V {
        reduce_once(s, reduce_once(s, x, q.two), q.one)
    }
}

impl Width for Half {
    fn entry(w: u32, q: u32) -> (u32, u32) {
        portable::entry(w, q)
    }

    #[inline(always)]
    fn factor<S: Simd>(s: S, word: S::V, second: S::V) -> Factor<S> {
        shoup_factor(s, word, second)
    }

    #[inline(always)]
    fn mul<S: Simd, const K: usize>(s: S, w: [Factor<S>; K], x: [S::V; K], q: Q<S>) -> [S::V; K] {
        let mut product = shoup(s, w, x, q);
        for x in &mut product {
            *x = reduce_once(s, *x, q.one);
        }
        product
    }

    #[inline(always)]
    fn sum<S: Simd>(s: S, a: S::V, b: S::V, _: Q<S>) -> S::V {
        s.add(a, b)
    }

    #[inline(always)]
    fn difference<S: Simd>(s: S, a: S::V, b: S::V, q: Q<S>) -> S::V {
        s.sub(s.add(a, q.one), b)
    }

    #[inline(always)]
    fn shrink<S: Simd>(s: S, x: S::V, q: Q<S>) -> S::V {
        reduce_once(s, x, q.one)
    }

    #[inline(always)]
    fn settle<S: Simd>(s: S, x: S::V, q: Q<S>) -> S::V {
        reduce_once(s, x, q.one)
    }
}

impl Width for Whole {
    fn entry(w: u32, q: u32) -> (u32, u32) {
        // Newton's iteration for 1/q modulo 2^32: q itself is right to three bits, each step doubles them.
        let inverse = (0..4).fold(q, |x, _| x.wrapping_mul(2_u32.wrapping_sub(q.wrapping_mul(x))));
        let word = ((u64::from(w) << 32) % u64::from(q)) as u32;
        (word, word.wrapping_mul(inverse))
    }

    #[inline(always)]
    fn factor<S: Simd>(s: S, word: S::V, second: S::V) -> Factor<S> {
        Factor { word, second, odd: s.odd(word) }
    }

    #[inline(always)]
    fn mul<S: Simd, const K: usize>(s: S, w: [Factor<S>; K], x: [S::V; K], q: Q<S>) -> [S::V; K] {
        let mut low = x;
        for i in 0..K {
            low[i] = s.mul_low(x[i], w[i].second);
        }
        let (mut word, mut odd) = (x, x);
        for i in 0..K {
            (word[i], odd[i]) = (w[i].word, w[i].odd);
        }
        let product = mul_high(s, x, word, odd);
        let excess = mul_high(s, low, [q.one; K], [q.one; K]);
        for i in 0..K {
            low[i] = s.add_if_less(product[i], excess[i], s.sub(product[i], excess[i]), q.one);
        }
        low
    }

    #[inline(always)]
    fn sum<S: Simd>(s: S, a: S::V, b: S::V, q: Q<S>) -> S::V {
        let rest = s.sub(q.one, b);
        s.add_if_less(a, rest, s.sub(a, rest), q.one)
    }

    #[inline(always)]
    fn difference<S: Simd>(s: S, a: S::V, b: S::V, q: Q<S>) -> S::V {
        s.add_if_less(a, b, s.sub(a, b), q.one)
    }

    #[inline(always)]
    fn shrink<S: Simd>(_: S, x: S::V, _: Q<S>) -> S::V {
        x
    }

    #[inline(always)]
    fn settle<S: Simd>(_: S, x: S::V, _: Q<S>) -> S::V {
        x
    }
}
