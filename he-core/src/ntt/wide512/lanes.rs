//! Eight 64-bit residues in a register: multiplication by a twiddle factor, and the two butterflies.
//!
//! Shoup's product x*w - Q*q needs the quotient Q = floor(x*w/q) only up to a few units, but 61 bits of a quotient do
//! not come out of one multiplication of 52 bits. Let v = floor(w * 2^64 / q) = vh * 2^12 + vl and x = xh * 2^52 + xl:
//!
//! x*v / 2^64 = xh*vh + xl*vh / 2^52 + xh*vl / 2^12 + xl*vl / 2^64.
//!
//! The first term is one 64-bit low product (xh < 2^12, vh < 2^52), the next two are high halves of 52-bit products,
//! the last is dropped. The multiplier reads 52 bits of its operands, so xl and the 12 bits of vl (shifted left by 40)
//! need no mask. Four things lose less than one each: the dropped term, two roundings, and v itself. So Q is short by
//! 0, 1, 2 or 3, and the rest is in [0, 4q) for *any* 64-bit x; with 2 added to Q it is in [-2q, 2q).
//!
//! | value | range, tight (q < 2^61) | range, loose (see [`super::loose_forward`], [`super::LOOSE_INVERSE`]) |
//! |---|---|---|
//! | forward, after l of L levels | [0, 8q) | [2(L-l)q, (2(L+l)+1)q), the first 2Lq added at the start |
//! | a product by a twiddle | [0, 4q) | [-2q, 2q) forward, as a signed word; [0, 4q) inverse |
//! | inverse, between passes | [0, 4q) | [0, 8q) |
//!
//! The loose forward butterfly is a product and two additions: nothing is reduced before the last level.

use core::arch::x86_64::*;

pub(super) const LANES: usize = 8;
/// Eight neighbouring words.
pub(super) type Chunk = [u64; LANES];

/// Multiples of the modulus, in every lane.
#[derive(Clone, Copy)]
pub(super) struct Q {
    pub(super) one: __m512i,
    pub(super) two: __m512i,
    pub(super) four: __m512i,
    pub(super) eight: __m512i,
    /// floor(2^64 / q), for [`Q::fold`].
    ratio: __m512i,
    /// The modulus as a word, for the assertions.
    pub(super) word: u64,
}

/// A factor w < q and the pieces of its quotient; see the essay.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    w: __m512i,
    high: __m512i,
    low: __m512i,
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn load(chunk: &Chunk) -> __m512i {
    // SAFETY: the reference is to eight words.
    unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn store(chunk: &mut Chunk, value: __m512i) {
    // SAFETY: the reference is to eight words.
    unsafe { _mm512_storeu_si512(chunk.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn splat(x: u64) -> __m512i {
    _mm512_set1_epi64(x as i64)
}

/// x < 2m to x < m: the unsigned minimum of x and x - m, which wraps when x < m.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn reduce_once(x: __m512i, m: __m512i) -> __m512i {
    _mm512_min_epu64(x, _mm512_sub_epi64(x, m))
}

/// Whether every lane is below `times` q; for assertions.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn below(x: __m512i, times: u64, q: Q) -> bool {
    times.checked_mul(q.word).is_none_or(|bound| _mm512_cmpge_epu64_mask(x, splat(bound)) == 0)
}

impl Q {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    pub(super) fn new(q: u64) -> Self {
        Self {
            one: splat(q),
            two: splat(2 * q),
            four: splat(4 * q),
            eight: splat(q << 3),
            ratio: splat(u64::MAX / q),
            word: q,
        }
    }

    /// x in [0, 4q) to [0, q).
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    pub(super) fn settle(self, x: __m512i) -> __m512i {
        debug_assert!(below(x, 4, self));
        reduce_once(reduce_once(x, self.two), self.one)
    }

    /// Any 64-bit x to [0, 3q), for q > 2^12. The quotient by floor(2^64 / q) < 2^52 is short by less than three: one
    /// for each of the two roundings and one for the bits that the shift drops.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    pub(super) fn fold(self, x: __m512i) -> __m512i {
        let times = _mm512_madd52hi_epu64(_mm512_setzero_si512(), _mm512_srli_epi64::<12>(x), self.ratio);
        _mm512_sub_epi64(x, _mm512_mullo_epi64(times, self.one))
    }
}

impl Factor {
    /// From lanes of factors and of their Shoup quotients floor(w * 2^64 / q).
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    pub(super) fn new(w: __m512i, quotient: __m512i) -> Self {
        Self { w, high: _mm512_srli_epi64::<12>(quotient), low: _mm512_slli_epi64::<40>(quotient) }
    }

    /// x * w mod q in [0, 4q) for any 64-bit x.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    pub(super) fn mul(self, x: __m512i, q: Q) -> __m512i {
        let [product] = mul([self], [x], q);
        product
    }
}

/// x*w - (Q + start)*q modulo 2^64 for K pairs, with Q as in the essay; any 64-bit x.
///
/// The products go step by step side by side: each step of one waits several cycles for the step before.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn mul_from<const K: usize>(w: [Factor; K], x: [__m512i; K], start: __m512i, q: Q) -> [__m512i; K] {
    let (mut times, mut above, mut product) = (x, x, x);
    for i in 0..K {
        times[i] = _mm512_madd52hi_epu64(start, x[i], w[i].high);
    }
    for i in 0..K {
        above[i] = _mm512_srli_epi64::<52>(x[i]);
    }
    for i in 0..K {
        times[i] = _mm512_madd52hi_epu64(times[i], above[i], w[i].low);
    }
    for i in 0..K {
        above[i] = _mm512_mullo_epi64(above[i], w[i].high);
    }
    for i in 0..K {
        times[i] = _mm512_add_epi64(times[i], above[i]);
    }
    for i in 0..K {
        product[i] = _mm512_mullo_epi64(x[i], w[i].w);
    }
    for i in 0..K {
        product[i] = _mm512_sub_epi64(product[i], _mm512_mullo_epi64(times[i], q.one));
    }
    product
}

/// K products x * w mod q in [0, 4q), for any 64-bit x.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn mul<const K: usize>(w: [Factor; K], x: [__m512i; K], q: Q) -> [__m512i; K] {
    let product = mul_from(w, x, _mm512_setzero_si512(), q);
    for x in product {
        debug_assert!(below(x, 4, q));
    }
    product
}

/// K Cooley–Tukey butterflies a, b = a + b*w, a - b*w: tight [0, 8q) to [0, 8q), loose [l, h) to [l - 2q, h + 2q).
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn forward<const K: usize, const LOOSE: bool>(
    w: [Factor; K],
    a: &mut [__m512i; K],
    b: &mut [__m512i; K],
    q: Q,
) {
    if LOOSE {
        let v = mul_from(w, *b, splat(2), q);
        for i in 0..K {
            debug_assert!(below(_mm512_add_epi64(v[i], q.two), 4, q));
            b[i] = _mm512_sub_epi64(a[i], v[i]);
            a[i] = _mm512_add_epi64(a[i], v[i]);
        }
    } else {
        let v = mul(w, *b, q);
        for i in 0..K {
            let u = reduce_once(a[i], q.four);
            debug_assert!(below(u, 4, q));
            a[i] = _mm512_add_epi64(u, v[i]);
            b[i] = _mm512_sub_epi64(_mm512_add_epi64(u, q.four), v[i]);
        }
    }
}

/// K Gentleman–Sande butterflies a, b = a + b, (a - b)*w: the product in [0, 4q), the sum not reduced. The words b are
/// below the given multiple of q.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn inverse<const K: usize>(
    w: [Factor; K],
    a: &mut [__m512i; K],
    b: &mut [__m512i; K],
    multiple: __m512i,
    q: Q,
) {
    let mut difference = *a;
    for i in 0..K {
        difference[i] = _mm512_sub_epi64(_mm512_add_epi64(a[i], multiple), b[i]);
        a[i] = _mm512_add_epi64(a[i], b[i]);
    }
    *b = mul(w, difference, q);
}
