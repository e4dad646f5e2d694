//! Sums of products and multiples of residues, eight at a time.
//!
//! [`accumulate`] adds the low and the high 52 bits of products apart, for 64 places at once so that the additions of
//! one place need not wait for each other, and reduces once at the end.
//!
//! | number | range |
//! |---|---|
//! | sum of low halves, with what was there | < 4000 * 2^52 + 2^50 < 2^64 |
//! | sum of high halves | < 4000 * 2^48 < 2^60 |
//!
//! Not promised: everything is safe to call only where the CPU has AVX-512F and AVX-512IFMA.

use core::arch::x86_64::*;

use super::lanes::{
    Factor, LANES, MASK, Prime, canonical, factor, finish, load, prime, product, shoup_52, splat, store, tame,
};
use super::tables::taming;

/// Low halves are summed in 64 bits: 2^12 terms of less than 2^52, minus room for what was there.
pub(crate) const MOST_TERMS: usize = 4000;
/// High halves of so many terms stay below 2^52.
const FEW_TERMS: usize = 8;
/// Registers of a tile.
const TILE: usize = 8;

/// What the reduction of a sum needs.
#[derive(Clone, Copy)]
struct Reduction {
    prime: Prime,
    table: __m512i,
    /// 2^52 modulo q.
    limb: Factor,
}

#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn accumulate(terms: &[(&[u64], &[u64])], acc: &mut [u64], q: u64) {
    let limb = ((1_u128 << 52) % u128::from(q)) as u64;
    let reduction =
        Reduction { prime: prime(q), table: load(&taming(q, 0)), limb: factor(&[limb, shoup_52(limb, q)]) };
    if terms.len() <= FEW_TERMS {
        tiles::<true>(terms, acc, reduction);
    } else {
        tiles::<false>(terms, acc, reduction);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn tiles<const FEW: bool>(terms: &[(&[u64], &[u64])], acc: &mut [u64], reduction: Reduction) {
    for (i, acc) in acc.as_chunks_mut::<{ TILE * LANES }>().0.iter_mut().enumerate() {
        let acc: &mut [[u64; LANES]] = acc.as_chunks_mut().0;
        let (mut low, mut high) = ([_mm512_setzero_si512(); TILE], [_mm512_setzero_si512(); TILE]);
        for k in 0..TILE {
            low[k] = load(&acc[k]);
        }
        for (a, b) in terms {
            let (a, b) = (tile(a, i), tile(b, i));
            for k in 0..TILE {
                let (a, b) = (load(&a[k]), load(&b[k]));
                low[k] = _mm512_madd52lo_epu64(low[k], a, b);
                high[k] = _mm512_madd52hi_epu64(high[k], a, b);
            }
        }
        for k in 0..TILE {
            store(&mut acc[k], reduce::<FEW>(low[k], high[k], reduction));
        }
    }
}

/// The i-th tile of a polynomial.
#[inline]
fn tile(words: &[u64], i: usize) -> &[[u64; LANES]] {
    words[i * TILE * LANES..(i + 1) * TILE * LANES].as_chunks().0
}

/// low + high * 2^52 modulo q. `FEW` says that high with the carry is below 2^52.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn reduce<const FEW: bool>(low: __m512i, high: __m512i, reduction: Reduction) -> __m512i {
    let Reduction { prime: p, table, limb } = reduction;
    let mut high = _mm512_add_epi64(high, _mm512_srli_epi64::<52>(low));
    if !FEW {
        // Below q + 2^49 + 2q: the third limb joins the tamed second.
        high = product(tame(high, table), _mm512_srli_epi64::<52>(high), limb, p);
    }
    canonical(product(tame(low, table), high, limb, p), p)
}

/// What a product of two words needs.
///
/// Barrett: with q of k bits, h = floor(2 x y / 2^k) is the high half of the product of 2x and y 2^(52-k), and
/// floor(h m / 2^52), m = floor(2^(51+k) / q), falls short of x y / q by less than 1 (the floor in h, 2^k <= 2q) and 1/2
/// (the floor in m, h < 2^51) and 1: the rest is below 3q.
#[derive(Clone, Copy)]
struct Barrett {
    prime: Prime,
    two_q: __m512i,
    m: __m512i,
    shift: __m128i,
}

impl Barrett {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(q: u64) -> Self {
        let bits = 64 - q.leading_zeros();
        Self {
            prime: prime(q),
            two_q: splat(2 * q),
            m: splat(((1_u128 << (51 + bits)) / u128::from(q)) as u64),
            shift: _mm_cvtsi64_si128(52 - i64::from(bits)),
        }
    }

    /// a * b of residues.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn product(self, a: __m512i, b: __m512i) -> __m512i {
        let zero = _mm512_setzero_si512();
        let high = _mm512_madd52hi_epu64(zero, _mm512_add_epi64(a, a), _mm512_sll_epi64(b, self.shift));
        let quotient = _mm512_madd52hi_epu64(zero, high, self.m);
        let low = _mm512_madd52lo_epu64(zero, a, b);
        let rest = _mm512_madd52lo_epu64(low, quotient, self.prime.minus_q);
        let rest = _mm512_and_si512(rest, splat(MASK));
        let rest = _mm512_min_epu64(rest, _mm512_sub_epi64(rest, self.two_q));
        _mm512_min_epu64(rest, _mm512_sub_epi64(rest, self.prime.q))
    }
}

/// x = x * y.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn multiply(x: &mut [u64], y: &[u64], q: u64) {
    let barrett = Barrett::new(q);
    for (x, y) in x.as_chunks_mut().0.iter_mut().zip(y.as_chunks().0) {
        store(x, barrett.product(load(x), load(y)));
    }
}

/// out = x * y.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn products(x: &[u64], y: &[u64], out: &mut [u64], q: u64) {
    let barrett = Barrett::new(q);
    let factors = x.as_chunks().0.iter().zip(y.as_chunks().0);
    for (out, (x, y)) in out.as_chunks_mut().0.iter_mut().zip(factors) {
        store(out, barrett.product(load(x), load(y)));
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn scale(x: &mut [u64], by: u64, q: u64) {
    let (p, w) = (prime(q), factor(&[by, shoup_52(by, q)]));
    for x in x.as_chunks_mut().0 {
        store(x, finish(product(_mm512_setzero_si512(), load(x), w, p), p));
    }
}
