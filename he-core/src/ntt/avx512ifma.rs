//! The transform in eight lanes of 52-bit multiply-add (AVX-512F, AVX-512IFMA), q < 2^50, N >= 32.
//!
//! As `portable`, with Shoup quotients floor(w * 2^52 / q): `madd52hi` gives the quotient, two `madd52lo` the
//! product and what to take from it, modulo 2^52. Words stay below 4q < 2^52, which is all the multiplier reads.
//! Stages whose blocks are shorter than a register (half-length 4, 2, 1) gather the two operands of eight
//! butterflies with two permutations and put them back with two more.
//!
//! | value | range |
//! |---|---|
//! | forward, between stages | [0, 4q) |
//! | inverse, between stages | [0, 2q) |
//! | sums of [`accumulate`] | low halves < 2^52 each, high halves < 2^48 each, at most [`MOST_TERMS`] terms |
//!
//! The functions here are safe to call only because [`super::Twiddles::Ifma`] is built after asking the CPU.
#![expect(unsafe_code, reason = "vector loads and stores, and calls of target_feature functions")]

use core::arch::x86_64::*;

use super::Roots;

/// Low halves are summed in 64 bits: 2^12 terms of less than 2^52, minus room for the accumulator.
pub(crate) const MOST_TERMS: usize = 4000;

const LANES: usize = 8;
const MASK: i64 = (1 << 52) - 1;

/// The 52-bit Shoup quotient floor(w * 2^52 / q) of a public factor w < q < 2^50.
pub(crate) fn shoup_52(w: u64, q: u64) -> u64 {
    ((u128::from(w) << 52) / u128::from(q)) as u64
}

/// Permutations of the pair (x0, x1) of registers for half-lengths 4, 2, 1: the lower operands, the upper operands
/// and the two that undo it; and how to spread the factors of the butterflies over the lanes.
struct Shuffle {
    lower: [i64; 8],
    upper: [i64; 8],
    first: [i64; 8],
    second: [i64; 8],
    spread: [i64; 8],
}

static SHUFFLES: [Shuffle; 3] = [
    Shuffle {
        lower: [0, 1, 2, 3, 8, 9, 10, 11],
        upper: [4, 5, 6, 7, 12, 13, 14, 15],
        first: [0, 1, 2, 3, 8, 9, 10, 11],
        second: [4, 5, 6, 7, 12, 13, 14, 15],
        spread: [0, 0, 0, 0, 1, 1, 1, 1],
    },
    Shuffle {
        lower: [0, 1, 4, 5, 8, 9, 12, 13],
        upper: [2, 3, 6, 7, 10, 11, 14, 15],
        first: [0, 1, 8, 9, 2, 3, 10, 11],
        second: [4, 5, 12, 13, 6, 7, 14, 15],
        spread: [0, 0, 1, 1, 2, 2, 3, 3],
    },
    Shuffle {
        lower: [0, 2, 4, 6, 8, 10, 12, 14],
        upper: [1, 3, 5, 7, 9, 11, 13, 15],
        first: [0, 8, 1, 9, 2, 10, 3, 11],
        second: [4, 12, 5, 13, 6, 14, 7, 15],
        spread: [0, 1, 2, 3, 4, 5, 6, 7],
    },
];

/// In place; [0, q) natural order to [0, q) bit-reversed order.
pub(crate) fn forward(words: &mut [u64], roots: &Roots<u64>, q: u64) {
    assert!(words.len() >= 32 && roots.forward.len() == words.len());
    // SAFETY: a table with these roots exists only if the CPU has AVX-512F and IFMA (`Kernel::serves`).
    unsafe { forward_ifma(words, roots, q) }
}

/// In place; [0, q) bit-reversed order to [0, q) natural order, divided by N.
pub(crate) fn inverse(words: &mut [u64], roots: &Roots<u64>, q: u64) {
    assert!(words.len() >= 32 && roots.inverse.len() == words.len());
    // SAFETY: as in `forward`.
    unsafe { inverse_ifma(words, roots, q) }
}

/// acc = acc + sum of products, all residues; at most [`MOST_TERMS`] terms, equal lengths, a multiple of 8.
pub(crate) fn accumulate(terms: &[(&[u64], &[u64])], acc: &mut [u64], q: u64) {
    assert!(terms.len() <= MOST_TERMS && acc.len().is_multiple_of(LANES));
    assert!(terms.iter().all(|(a, b)| a.len() == acc.len() && b.len() == acc.len()));
    // SAFETY: as in `forward`.
    unsafe { accumulate_ifma(terms, acc, q) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn load(words: &[u64], at: usize) -> __m512i {
    let chunk = &words[at..at + LANES];
    // SAFETY: the slice just made has eight words.
    unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn store(words: &mut [u64], at: usize, value: __m512i) {
    let chunk = &mut words[at..at + LANES];
    // SAFETY: the slice just made has eight words.
    unsafe { _mm512_storeu_si512(chunk.as_mut_ptr().cast(), value) }
}

/// The first `count` (a power of two up to 8) words at a place, zero above.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn load_few(words: &[u64], at: usize, count: usize) -> __m512i {
    let chunk = &words[at..at + count];
    let mask = ((1_u16 << count) - 1) as __mmask8;
    // SAFETY: masked-off lanes are not read; the slice just made has `count` words.
    unsafe { _mm512_maskz_loadu_epi64(mask, chunk.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn splat(x: u64) -> __m512i {
    _mm512_set1_epi64(x as i64)
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn pattern(index: &[i64; 8]) -> __m512i {
    // SAFETY: the array has eight words.
    unsafe { _mm512_loadu_si512(index.as_ptr().cast()) }
}

/// x < 2m to x < m: the unsigned minimum of x and x - m, which wraps when x < m.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn reduce_once(x: __m512i, m: __m512i) -> __m512i {
    _mm512_min_epu64(x, _mm512_sub_epi64(x, m))
}

/// x * w mod q in [0, 2q) for any x < 2^52.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn mul_lazy(x: __m512i, w: __m512i, quotient: __m512i, q: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    let times = _mm512_madd52hi_epu64(zero, x, quotient);
    let product = _mm512_madd52lo_epu64(zero, x, w);
    let excess = _mm512_madd52lo_epu64(zero, times, q);
    _mm512_and_si512(_mm512_sub_epi64(product, excess), _mm512_set1_epi64(MASK))
}

/// A Cooley–Tukey butterfly, [0, 4q) to [0, 4q).
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_pair(
    a: __m512i,
    b: __m512i,
    w: __m512i,
    quotient: __m512i,
    q: __m512i,
    two_q: __m512i,
) -> (__m512i, __m512i) {
    let u = reduce_once(a, two_q);
    let v = mul_lazy(b, w, quotient, q);
    (_mm512_add_epi64(u, v), _mm512_sub_epi64(_mm512_add_epi64(u, two_q), v))
}

/// A Gentleman–Sande butterfly, [0, 2q) to [0, 2q).
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_pair(
    a: __m512i,
    b: __m512i,
    w: __m512i,
    quotient: __m512i,
    q: __m512i,
    two_q: __m512i,
) -> (__m512i, __m512i) {
    let sum = reduce_once(_mm512_add_epi64(a, b), two_q);
    let difference = _mm512_sub_epi64(_mm512_add_epi64(a, two_q), b);
    (sum, mul_lazy(difference, w, quotient, q))
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_ifma(words: &mut [u64], roots: &Roots<u64>, modulus: u64) {
    let n = words.len();
    let (q, two_q) = (splat(modulus), splat(2 * modulus));
    let (mut blocks, mut half) = (1, n / 2);
    while half >= LANES {
        for i in 0..blocks {
            let w = splat(roots.forward[blocks + i]);
            let quotient = splat(roots.forward_quotient[blocks + i]);
            let start = 2 * half * i;
            for j in (start..start + half).step_by(LANES) {
                let (a, b) = forward_pair(load(words, j), load(words, j + half), w, quotient, q, two_q);
                store(words, j, a);
                store(words, j + half, b);
            }
        }
        blocks *= 2;
        half /= 2;
    }
    for shuffle in &SHUFFLES {
        let (lower, upper) = (pattern(&shuffle.lower), pattern(&shuffle.upper));
        let (first, second) = (pattern(&shuffle.first), pattern(&shuffle.second));
        let spread = pattern(&shuffle.spread);
        let count = LANES / half;
        for (group, j) in (0..n).step_by(2 * LANES).enumerate() {
            let at = blocks + group * count;
            let w = _mm512_permutexvar_epi64(spread, load_few(&roots.forward, at, count));
            let quotient = _mm512_permutexvar_epi64(spread, load_few(&roots.forward_quotient, at, count));
            let (x0, x1) = (load(words, j), load(words, j + LANES));
            let a = _mm512_permutex2var_epi64(x0, lower, x1);
            let b = _mm512_permutex2var_epi64(x0, upper, x1);
            let (a, b) = forward_pair(a, b, w, quotient, q, two_q);
            store(words, j, _mm512_permutex2var_epi64(a, first, b));
            store(words, j + LANES, _mm512_permutex2var_epi64(a, second, b));
        }
        blocks *= 2;
        half /= 2;
    }
    for j in (0..n).step_by(LANES) {
        let x = reduce_once(reduce_once(load(words, j), two_q), q);
        store(words, j, x);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_ifma(words: &mut [u64], roots: &Roots<u64>, modulus: u64) {
    let n = words.len();
    let (q, two_q) = (splat(modulus), splat(2 * modulus));
    let (mut blocks, mut half) = (n / 2, 1);
    for shuffle in SHUFFLES.iter().rev() {
        let (lower, upper) = (pattern(&shuffle.lower), pattern(&shuffle.upper));
        let (first, second) = (pattern(&shuffle.first), pattern(&shuffle.second));
        let spread = pattern(&shuffle.spread);
        let count = LANES / half;
        for (group, j) in (0..n).step_by(2 * LANES).enumerate() {
            let at = blocks + group * count;
            let w = _mm512_permutexvar_epi64(spread, load_few(&roots.inverse, at, count));
            let quotient = _mm512_permutexvar_epi64(spread, load_few(&roots.inverse_quotient, at, count));
            let (x0, x1) = (load(words, j), load(words, j + LANES));
            let a = _mm512_permutex2var_epi64(x0, lower, x1);
            let b = _mm512_permutex2var_epi64(x0, upper, x1);
            let (a, b) = inverse_pair(a, b, w, quotient, q, two_q);
            store(words, j, _mm512_permutex2var_epi64(a, first, b));
            store(words, j + LANES, _mm512_permutex2var_epi64(a, second, b));
        }
        blocks /= 2;
        half *= 2;
    }
    while blocks > 1 {
        for i in 0..blocks {
            let w = splat(roots.inverse[blocks + i]);
            let quotient = splat(roots.inverse_quotient[blocks + i]);
            let start = 2 * half * i;
            for j in (start..start + half).step_by(LANES) {
                let (a, b) = inverse_pair(load(words, j), load(words, j + half), w, quotient, q, two_q);
                store(words, j, a);
                store(words, j + half, b);
            }
        }
        blocks /= 2;
        half *= 2;
    }
    // The last stage multiplies both outputs, because 1/N is folded into its two factors.
    let (w0, quotient0) = (splat(roots.inverse[0]), splat(roots.inverse_quotient[0]));
    let (w1, quotient1) = (splat(roots.inverse[1]), splat(roots.inverse_quotient[1]));
    for j in (0..half).step_by(LANES) {
        let (a, b) = (load(words, j), load(words, j + half));
        let sum = _mm512_add_epi64(a, b);
        let difference = _mm512_sub_epi64(_mm512_add_epi64(a, two_q), b);
        store(words, j, reduce_once(mul_lazy(sum, w0, quotient0, q), q));
        store(words, j + half, reduce_once(mul_lazy(difference, w1, quotient1, q), q));
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn accumulate_ifma(terms: &[(&[u64], &[u64])], acc: &mut [u64], modulus: u64) {
    let (q, two_q, four_q) = (splat(modulus), splat(2 * modulus), splat(4 * modulus));
    // The weights of a sum's three limbs, reduced: 1, 2^52 and 2^104 modulo q.
    let power = |bits: u32| ((1_u128 << bits) % u128::from(modulus)) as u64;
    let weight = |bits: u32| (splat(power(bits)), splat(shoup_52(power(bits), modulus)));
    let (one, limb, two_limbs) = (weight(0), weight(52), weight(104));
    let mask = _mm512_set1_epi64(MASK);
    for j in (0..acc.len()).step_by(LANES) {
        let mut low = load(acc, j);
        let mut high = _mm512_setzero_si512();
        for (a, b) in terms {
            let (a, b) = (load(a, j), load(b, j));
            low = _mm512_madd52lo_epu64(low, a, b);
            high = _mm512_madd52hi_epu64(high, a, b);
        }
        high = _mm512_add_epi64(high, _mm512_srli_epi64::<52>(low));
        let top = _mm512_srli_epi64::<52>(high);
        let sum = _mm512_add_epi64(
            mul_lazy(_mm512_and_si512(low, mask), one.0, one.1, q),
            _mm512_add_epi64(
                mul_lazy(_mm512_and_si512(high, mask), limb.0, limb.1, q),
                mul_lazy(top, two_limbs.0, two_limbs.1, q),
            ),
        );
        // Below 6q: take off 4q, 2q and q where they fit.
        let sum = reduce_once(reduce_once(reduce_once(sum, four_q), two_q), q);
        store(acc, j, sum);
    }
}
