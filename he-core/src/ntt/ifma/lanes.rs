//! Eight residues in one register: the steps that both directions and the pointwise products are made of.
//!
//! The multiplier of AVX-512IFMA reads the low 52 bits of its factors and adds 52 bits of the product to a 64-bit
//! word. All arithmetic here is therefore meant modulo 2^52: the bits above are debris that nothing reads and nobody
//! clears, until [`canonical`] does. A word *has the value v* when v is in [0, 2^52) and equals the word modulo 2^52.
//!
//! | step | in | out |
//! |---|---|---|
//! | [`product`] | any value | addend + b*w mod q, in [0, 2q) above the addend |
//! | [`tame`] | any value | congruent, below the bound that the table was made for |
//! | [`tame_negated`] | any value | congruent to its negative, likewise |
//! | [`tame_signed`] | a value in [-m, m), m a multiple of q | congruent, in [0, m) |
//! | [`tame_once`] | a value below 2^51 + m | congruent modulo m, below 2^51 |
//! | [`canonical`] | any value | [0, q), no debris |
//!
//! Not promised: everything is safe to call only where the CPU has AVX-512F and AVX-512IFMA.
#![expect(unsafe_code, reason = "vector loads and stores")]

use core::arch::x86_64::*;

/// Words of a register.
pub(super) const LANES: usize = 8;
/// The bits that the multiplier reads.
pub(super) const MASK: u64 = (1 << 52) - 1;
/// [`tame`] looks at the three topmost of the 52 bits: it divides [0, 2^52) into steps of this length.
pub(super) const STEP: u64 = 1 << 49;
/// The topmost of the 52 bits.
pub(super) const TOPMOST: u64 = 1 << 51;

/// The modulus in the forms that the steps need.
#[derive(Clone, Copy)]
pub(super) struct Prime {
    /// q.
    pub(super) q: __m512i,
    /// -q: added as a word, 2^52 - q as a factor.
    pub(super) minus_q: __m512i,
    /// floor(2^52 / q): the quotient of the factor 1.
    ratio: __m512i,
    /// 1 in each lane.
    pub(super) one: __m512i,
}

/// A public factor w < q with floor(w * 2^52 / q).
#[derive(Clone, Copy)]
pub(super) struct Factor {
    pub(super) value: __m512i,
    pub(super) quotient: __m512i,
}

/// The 52-bit Shoup quotient floor(w * 2^52 / q) of a public factor w < q < 2^50.
pub(crate) fn shoup_52(w: u64, q: u64) -> u64 {
    ((u128::from(w) << 52) / u128::from(q)) as u64
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn prime(q: u64) -> Prime {
    Prime { q: splat(q), minus_q: splat(q.wrapping_neg()), ratio: splat(shoup_52(1, q)), one: splat(1) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn splat(x: u64) -> __m512i {
    _mm512_set1_epi64(x as i64)
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn load(words: &[u64; LANES]) -> __m512i {
    // SAFETY: the array has eight words.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn store(words: &mut [u64; LANES], x: __m512i) {
    // SAFETY: the array has eight words.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), x) }
}

/// One register for each quarter of a part.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn store_all(words: [&mut [u64; LANES]; 4], x: [__m512i; 4]) {
    for (words, x) in words.into_iter().zip(x) {
        store(words, x);
    }
}

/// Two places of a part, or of two: a register's worth of words of each quarter.
pub(super) type Places<'a> = [[&'a mut [u64; LANES]; 4]; 2];

/// The words of two places.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn load_pairs([[a, b, c, d], [e, f, g, h]]: &Places<'_>) -> [[__m512i; 4]; 2] {
    [[load(a), load(b), load(c), load(d)], [load(e), load(f), load(g), load(h)]]
}

/// The inverse of [`load_pairs`].
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn store_pairs([first, second]: Places<'_>, [x, y]: [[__m512i; 4]; 2]) {
    store_all(first, x);
    store_all(second, y);
}

/// Four factors with their quotients, twice over.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn factors_twice([values, quotients]: &[[u64; 4]; 2]) -> Factor {
    Factor { value: load_twice(values), quotient: load_twice(quotients) }
}

/// Four words, twice over.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn load_twice(words: &[u64; 4]) -> __m512i {
    // SAFETY: the array has four words.
    _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(words.as_ptr().cast()) })
}

/// A factor and its quotient, in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn factor(pair: &[u64; 2]) -> Factor {
    Factor { value: splat(pair[0]), quotient: splat(pair[1]) }
}

/// The factors of two levels: the upper one's, those of the halves of the lower one.
pub(super) type Nodes = [Factor; 3];

/// The factors of the part with the bit-reversed index `node`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn nodes(pairs: &[[u64; 2]], node: usize) -> Nodes {
    [factor(&pairs[node]), factor(&pairs[2 * node]), factor(&pairs[2 * node + 1])]
}

/// The factors that belong to quotients: w = floor(quotient * q / 2^52) + 1.
///
/// With quotient = floor(w * 2^52 / q), quotient * q is below w * 2^52 by w * 2^52 mod q, which is neither 0 (q is an
/// odd prime and w not 0) nor 2^52 or more. One multiplication instead of a second table.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn factor_of(quotient: __m512i, p: Prime) -> Factor {
    Factor { value: _mm512_madd52hi_epu64(p.one, quotient, p.q), quotient }
}

/// addend + r with r = b * w mod q in [0, 2q); precisely r < q + q * b / 2^52.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn product(addend: __m512i, b: __m512i, w: Factor, p: Prime) -> __m512i {
    let times = _mm512_madd52hi_epu64(_mm512_setzero_si512(), b, w.quotient);
    _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(addend, b, w.value), times, p.minus_q)
}

/// x minus the entry of `table` for its three topmost bits of 52: a multiple of q.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn tame(x: __m512i, table: __m512i) -> __m512i {
    // The permutation reads three bits of its index: debris above them does no harm.
    _mm512_sub_epi64(x, _mm512_permutexvar_epi64(_mm512_srli_epi64::<49>(x), table))
}

/// The entry of `table` for the three topmost bits of 52 of x, a multiple of q, minus x.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn tame_negated(x: __m512i, table: __m512i) -> __m512i {
    _mm512_sub_epi64(_mm512_permutexvar_epi64(_mm512_srli_epi64::<49>(x), table), x)
}

/// Which words have the topmost of the 52 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn topmost(x: __m512i) -> __mmask8 {
    _mm512_test_epi64_mask(x, splat(TOPMOST))
}

/// A value below m, or one of [-m, 0) modulo 2^52, to [0, m): adds m to the latter. For m of at most 2^51, so that the
/// topmost bit of the 52 is the sign.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn tame_signed(x: __m512i, m: __m512i) -> __m512i {
    _mm512_mask_add_epi64(x, topmost(x), x, m)
}

/// A value below 2^51 + m to one below 2^51, for m of at most 2^51: takes m from those with the topmost bit of the 52.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn tame_once(x: __m512i, m: __m512i) -> __m512i {
    _mm512_mask_sub_epi64(x, topmost(x), x, m)
}

/// x < 2m to x < m: the unsigned minimum of x and x - m, which wraps when x < m.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn reduce_once(x: __m512i, m: __m512i) -> __m512i {
    _mm512_min_epu64(x, _mm512_sub_epi64(x, m))
}

/// A value in [0, 2q), with debris, to [0, q).
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn finish(x: __m512i, p: Prime) -> __m512i {
    reduce_once(_mm512_and_si512(x, splat(MASK)), p.q)
}

/// Any value to [0, q): Barrett, which is the product by 1 without its first multiplication.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn canonical(x: __m512i, p: Prime) -> __m512i {
    let times = _mm512_madd52hi_epu64(_mm512_setzero_si512(), x, p.ratio);
    finish(_mm512_madd52lo_epu64(x, times, p.minus_q), p)
}
