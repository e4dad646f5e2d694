//! The transform in four lanes of doubles with fused multiply-add (AVX2, FMA), q < 2^50, N >= 32.
//!
//! Exact integer arithmetic in floating point, after the "fused" modular product used in FFT-based multiplication
//! (J. van der Hoeven, G. Lecerf, G. Quintin, *Modular SIMD arithmetic in Mathemagix*, ACM TOMS 43(1), 2016,
//! section 3). For an integer |x| <= 2q and a centred factor |w| <= q/2, with v = fl(w / q):
//!
//! h = fl(x*w), l = x*w - h (exact by FMA), k = round(x*v), r = (h - k*q) + l.
//!
//! The quotient x*w/q is at most 2^50 and computed with relative error 2^-52, so k misses it by at most 1/2 + 1/4 and
//! |r| <= 3q/4. h - k*q is a multiple of ulp(h) smaller than 2^52 and therefore exact, and so is the last sum.
//!
//! | value | range |
//! |---|---|
//! | a reduced word | \[-q/2, q/2\] up to one rounding |
//! | a product | \[-3q/4, 3q/4\] |
//! | between stages, forward and inverse | \[-5q/4, 5q/4\] and \[-3q/4, 3q/4\] |
//!
//! Words are converted to doubles before the first stage and back after the last, in place.
//! The functions here are safe to call only because [`super::Twiddles::Avx2`] is built after asking the CPU.
#![expect(unsafe_code, reason = "vector loads and stores, and calls of target_feature functions")]

use core::arch::x86_64::*;

use super::Roots;
use crate::modulus::Modulus;

const LANES: usize = 4;
/// 2^52 as a double: the bits below its exponent are an integer.
const MAGIC: f64 = 4_503_599_627_370_496.0;

/// In place; [0, q) natural order to [0, q) bit-reversed order.
pub(crate) fn forward(words: &mut [u64], roots: &Roots<f64>, q: u64) {
    assert!(words.len() >= 32 && roots.forward.len() == words.len());
    // SAFETY: a table with these roots exists only if the CPU has AVX2 and FMA (`Kernel::serves`).
    unsafe { forward_avx2(words, roots, q) }
}

/// In place; [0, q) bit-reversed order to [0, q) natural order, divided by N.
pub(crate) fn inverse(words: &mut [u64], roots: &Roots<f64>, q: u64) {
    assert!(words.len() >= 32 && roots.inverse.len() == words.len());
    // SAFETY: as in `forward`.
    unsafe { inverse_avx2(words, roots, q) }
}

/// acc = acc + sum of products, all residues; equal lengths, a multiple of 4.
pub(crate) fn accumulate(terms: &[(&[u64], &[u64])], acc: &mut [u64], q: u64) {
    assert!(acc.len().is_multiple_of(LANES));
    assert!(terms.iter().all(|(a, b)| a.len() == acc.len() && b.len() == acc.len()));
    // SAFETY: as in `forward`.
    unsafe { accumulate_avx2(terms, acc, q) }
}

/// x = x * factor, residues; a length that is a multiple of 4; the factor is public.
pub(crate) fn scale(x: &mut [u64], factor: u64, modulus: &Modulus) {
    assert!(x.len().is_multiple_of(LANES));
    // SAFETY: as in `forward`.
    unsafe { scale_avx2(x, modulus.center(factor) as f64, modulus.value()) }
}

/// The modulus in the forms that every step needs.
#[derive(Clone, Copy)]
struct Q {
    value: __m256d,
    inverse: __m256d,
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn q_lanes(q: u64) -> Q {
    Q { value: _mm256_set1_pd(q as f64), inverse: _mm256_set1_pd(1.0 / q as f64) }
}

/// Four words that hold the bits of doubles.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(words: &[u64], at: usize) -> __m256d {
    let chunk = &words[at..at + LANES];
    // SAFETY: the slice just made has four words.
    unsafe { _mm256_loadu_pd(chunk.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store(words: &mut [u64], at: usize, value: __m256d) {
    let chunk = &mut words[at..at + LANES];
    // SAFETY: the slice just made has four words.
    unsafe { _mm256_storeu_pd(chunk.as_mut_ptr().cast(), value) }
}

/// Two factors, each in two neighbouring lanes.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn spread_two(factors: &[f64], at: usize) -> __m256d {
    let chunk = &factors[at..at + 2];
    // SAFETY: the slice just made has two doubles.
    let pair = unsafe { _mm_loadu_pd(chunk.as_ptr()) };
    _mm256_permute4x64_pd::<0b01_01_00_00>(_mm256_castpd128_pd256(pair))
}

/// Four factors in the lane order 0, 2, 1, 3 that unpacking gives.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn spread_four(factors: &[f64], at: usize) -> __m256d {
    let chunk = &factors[at..at + LANES];
    // SAFETY: the slice just made has four doubles.
    let four = unsafe { _mm256_loadu_pd(chunk.as_ptr()) };
    _mm256_permute4x64_pd::<0b11_01_10_00>(four)
}

/// Words in [0, 2^52) as bits to doubles.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn to_double(bits: __m256d) -> __m256d {
    let magic = _mm256_set1_pd(MAGIC);
    _mm256_sub_pd(_mm256_or_pd(bits, magic), magic)
}

/// Reduced doubles in \[-q/2, q/2\] to words in [0, q) as bits.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn to_word(x: __m256d, q: Q) -> __m256d {
    let magic = _mm256_set1_pd(MAGIC);
    let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(x, _mm256_setzero_pd());
    let residue = _mm256_add_pd(x, _mm256_and_pd(negative, q.value));
    _mm256_xor_pd(_mm256_add_pd(residue, magic), magic)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn round(x: __m256d) -> __m256d {
    _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
}

/// An integer |x| < 2^52 to \[-q/2, q/2\].
#[inline]
#[target_feature(enable = "avx2,fma")]
fn reduce(x: __m256d, q: Q) -> __m256d {
    _mm256_fnmadd_pd(round(_mm256_mul_pd(x, q.inverse)), q.value, x)
}

/// x * w reduced to \[-3q/4, 3q/4\]; see the module essay.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn mul(x: __m256d, w: __m256d, w_over_q: __m256d, q: Q) -> __m256d {
    let high = _mm256_mul_pd(x, w);
    let low = _mm256_fmsub_pd(x, w, high);
    let times = round(_mm256_mul_pd(x, w_over_q));
    _mm256_add_pd(_mm256_fnmadd_pd(times, q.value, high), low)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_pair(a: __m256d, b: __m256d, w: __m256d, w_over_q: __m256d, q: Q) -> (__m256d, __m256d) {
    let u = reduce(a, q);
    let v = mul(b, w, w_over_q, q);
    (_mm256_add_pd(u, v), _mm256_sub_pd(u, v))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_pair(a: __m256d, b: __m256d, w: __m256d, w_over_q: __m256d, q: Q) -> (__m256d, __m256d) {
    (reduce(_mm256_add_pd(a, b), q), mul(_mm256_sub_pd(a, b), w, w_over_q, q))
}

#[target_feature(enable = "avx2,fma")]
fn forward_avx2(words: &mut [u64], roots: &Roots<f64>, modulus: u64) {
    let n = words.len();
    let q = q_lanes(modulus);
    for j in (0..n).step_by(LANES) {
        let x = to_double(load(words, j));
        store(words, j, x);
    }
    let (mut blocks, mut half) = (1, n / 2);
    while half >= LANES {
        for i in 0..blocks {
            let w = _mm256_set1_pd(roots.forward[blocks + i]);
            let w_over_q = _mm256_set1_pd(roots.forward_quotient[blocks + i]);
            let start = 2 * half * i;
            for j in (start..start + half).step_by(LANES) {
                let (a, b) = forward_pair(load(words, j), load(words, j + half), w, w_over_q, q);
                store(words, j, a);
                store(words, j + half, b);
            }
        }
        blocks *= 2;
        half /= 2;
    }
    // Half-lengths 2 and 1, and the way back to words, in one pass over two registers.
    for (group, j) in (0..n).step_by(2 * LANES).enumerate() {
        let (x0, x1) = (load(words, j), load(words, j + LANES));
        let (w, w_over_q) = (
            spread_two(&roots.forward, blocks + 2 * group),
            spread_two(&roots.forward_quotient, blocks + 2 * group),
        );
        let (a, b) = forward_pair(
            _mm256_permute2f128_pd::<0x20>(x0, x1),
            _mm256_permute2f128_pd::<0x31>(x0, x1),
            w,
            w_over_q,
            q,
        );
        let (x0, x1) = (_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x31>(a, b));
        let at = 2 * blocks + 4 * group;
        let (w, w_over_q) = (spread_four(&roots.forward, at), spread_four(&roots.forward_quotient, at));
        let (a, b) = forward_pair(_mm256_unpacklo_pd(x0, x1), _mm256_unpackhi_pd(x0, x1), w, w_over_q, q);
        let (x0, x1) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
        store(words, j, to_word(reduce(x0, q), q));
        store(words, j + LANES, to_word(reduce(x1, q), q));
    }
}

#[target_feature(enable = "avx2,fma")]
fn inverse_avx2(words: &mut [u64], roots: &Roots<f64>, modulus: u64) {
    let n = words.len();
    let q = q_lanes(modulus);
    for (group, j) in (0..n).step_by(2 * LANES).enumerate() {
        // Words in [0, q) are centred first, so that the differences below stay within 2q.
        let x0 = reduce(to_double(load(words, j)), q);
        let x1 = reduce(to_double(load(words, j + LANES)), q);
        let at = n / 2 + 4 * group;
        let (w, w_over_q) = (spread_four(&roots.inverse, at), spread_four(&roots.inverse_quotient, at));
        let (a, b) = inverse_pair(_mm256_unpacklo_pd(x0, x1), _mm256_unpackhi_pd(x0, x1), w, w_over_q, q);
        let (x0, x1) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
        let at = n / 4 + 2 * group;
        let (w, w_over_q) = (spread_two(&roots.inverse, at), spread_two(&roots.inverse_quotient, at));
        let (a, b) = inverse_pair(
            _mm256_permute2f128_pd::<0x20>(x0, x1),
            _mm256_permute2f128_pd::<0x31>(x0, x1),
            w,
            w_over_q,
            q,
        );
        store(words, j, _mm256_permute2f128_pd::<0x20>(a, b));
        store(words, j + LANES, _mm256_permute2f128_pd::<0x31>(a, b));
    }
    let (mut blocks, mut half) = (n / 8, LANES);
    while blocks > 1 {
        for i in 0..blocks {
            let w = _mm256_set1_pd(roots.inverse[blocks + i]);
            let w_over_q = _mm256_set1_pd(roots.inverse_quotient[blocks + i]);
            let start = 2 * half * i;
            for j in (start..start + half).step_by(LANES) {
                let (a, b) = inverse_pair(load(words, j), load(words, j + half), w, w_over_q, q);
                store(words, j, a);
                store(words, j + half, b);
            }
        }
        blocks /= 2;
        half *= 2;
    }
    // The last stage multiplies both outputs, because 1/N is folded into its two factors.
    let (w0, w0_over_q) = (_mm256_set1_pd(roots.inverse[0]), _mm256_set1_pd(roots.inverse_quotient[0]));
    let (w1, w1_over_q) = (_mm256_set1_pd(roots.inverse[1]), _mm256_set1_pd(roots.inverse_quotient[1]));
    for j in (0..half).step_by(LANES) {
        let (a, b) = (load(words, j), load(words, j + half));
        let sum = mul(_mm256_add_pd(a, b), w0, w0_over_q, q);
        let difference = mul(_mm256_sub_pd(a, b), w1, w1_over_q, q);
        store(words, j, to_word(reduce(sum, q), q));
        store(words, j + half, to_word(reduce(difference, q), q));
    }
}

#[target_feature(enable = "avx2,fma")]
fn accumulate_avx2(terms: &[(&[u64], &[u64])], acc: &mut [u64], modulus: u64) {
    let q = q_lanes(modulus);
    for j in (0..acc.len()).step_by(LANES) {
        let mut sum = reduce(to_double(load(acc, j)), q);
        for group in terms.chunks(3) {
            for (a, b) in group {
                // Residues in [0, q) uncentred: the quotient is below 2^50 and off by at most 1/2 + 3/8, so a product
                // is within 7q/8, and three of them with a reduced sum stay below 4q <= 2^52.
                let (a, b) = (to_double(load(a, j)), to_double(load(b, j)));
                sum = _mm256_add_pd(sum, mul(a, b, _mm256_mul_pd(b, q.inverse), q));
            }
            sum = reduce(sum, q);
        }
        store(acc, j, to_word(sum, q));
    }
}

#[target_feature(enable = "avx2,fma")]
fn scale_avx2(words: &mut [u64], factor: f64, modulus: u64) {
    let q = q_lanes(modulus);
    let (w, w_over_q) = (_mm256_set1_pd(factor), _mm256_set1_pd(factor / modulus as f64));
    for j in (0..words.len()).step_by(LANES) {
        let x = mul(to_double(load(words, j)), w, w_over_q, q);
        store(words, j, to_word(reduce(x, q), q));
    }
}
