//! Carry-less products with `PCLMULQDQ`, and with `VPCLMULQDQ` on 512-bit vectors.
//!
//! A product of elements is four 64 × 64 products, or three on the wide path (Karatsuba). Sums are kept as low,
//! middle and high part, four lanes at a time on the wide path, and put together at the end.
#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::{Wide, reduce};
use core::arch::x86_64::*;

fn has_narrow() -> bool {
    is_x86_feature_detected!("pclmulqdq") && is_x86_feature_detected!("sse2")
}

fn has_wide() -> bool {
    has_narrow() && is_x86_feature_detected!("vpclmulqdq") && is_x86_feature_detected!("avx512f")
}

/// The unreduced sum of products of slices of one length, where the machine has the instruction.
#[inline]
pub(super) fn dot(a: &[u128], b: &[[u8; 16]]) -> Option<Wide> {
    if has_wide() {
        // SAFETY: the instructions are there.
        Some(unsafe { dot_wide(a, b) })
    } else if has_narrow() {
        // SAFETY: as above.
        Some(unsafe { dot_narrow(a, b) })
    } else {
        None
    }
}

/// `totals += weight·values`, where the machine has the instruction: says whether it was done.
#[inline]
pub(super) fn add_scaled(totals: &mut [u128], weight: u128, values: &[u128]) -> bool {
    if has_narrow() {
        // SAFETY: the instructions are there.
        unsafe { add_scaled_narrow(totals, weight, values) }
        return true;
    }
    false
}

/// The sums of products of every row, where the machine has the instruction; else gives the rows back.
pub(super) fn dots<'a, R>(weights: &[u128], rows: R, sums: &mut [u128]) -> Result<(), R>
where
    R: Iterator<Item = &'a [[u8; 16]]>,
{
    if has_wide() {
        // SAFETY: the instructions are there.
        unsafe { dots_wide(weights, rows, sums) }
    } else if has_narrow() {
        // SAFETY: as above.
        unsafe { dots_narrow(weights, rows, sums) }
    } else {
        return Err(rows);
    }
    Ok(())
}

#[target_feature(enable = "vpclmulqdq,avx512f,pclmulqdq,sse2")]
fn dots_wide<'a>(weights: &[u128], rows: impl Iterator<Item = &'a [[u8; 16]]>, sums: &mut [u128]) {
    for (sum, row) in sums.iter_mut().zip(rows) {
        *sum = reduce(dot_wide(weights, row));
    }
}

#[target_feature(enable = "pclmulqdq,sse2")]
fn dots_narrow<'a>(weights: &[u128], rows: impl Iterator<Item = &'a [[u8; 16]]>, sums: &mut [u128]) {
    for (sum, row) in sums.iter_mut().zip(rows) {
        *sum = reduce(dot_narrow(weights, row));
    }
}

/// Every way of this machine, for the tests.
#[cfg(test)]
pub(super) fn all_dots(a: &[u128], b: &[[u8; 16]]) -> Vec<(&'static str, Wide)> {
    let mut ways = Vec::new();
    if has_narrow() {
        // SAFETY: the instructions are there.
        ways.push(("narrow", unsafe { dot_narrow(a, b) }));
    }
    if has_wide() {
        // SAFETY: the instructions are there.
        ways.push(("wide", unsafe { dot_wide(a, b) }));
    }
    ways
}

/// Low, middle and high part of a sum of products.
type Parts = [__m128i; 3];

/// Adds a product to a sum.
#[inline]
#[target_feature(enable = "pclmulqdq,sse2")]
fn add_product(sum: &mut Parts, a: __m128i, b: __m128i) {
    let middle = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
    sum[0] = _mm_xor_si128(sum[0], _mm_clmulepi64_si128::<0x00>(a, b));
    sum[1] = _mm_xor_si128(sum[1], middle);
    sum[2] = _mm_xor_si128(sum[2], _mm_clmulepi64_si128::<0x11>(a, b));
}

/// The parts put together.
#[inline]
#[target_feature(enable = "sse2")]
fn join(sum: Parts) -> Wide {
    let [low, middle, high] = sum.map(|part| {
        let mut word = 0u128;
        // SAFETY: the word has 16 bytes.
        unsafe { _mm_storeu_si128((&raw mut word).cast(), part) };
        word
    });
    [low ^ middle << 64, high ^ middle >> 64]
}

#[inline]
#[target_feature(enable = "sse2")]
fn load<T>(word: &T) -> __m128i {
    const { assert!(size_of::<T>() == 16) };
    // SAFETY: the word has 16 bytes.
    unsafe { _mm_loadu_si128(core::ptr::from_ref(word).cast()) }
}

#[target_feature(enable = "pclmulqdq,sse2")]
fn dot_narrow(a: &[u128], b: &[[u8; 16]]) -> Wide {
    let mut sum = [_mm_setzero_si128(); 3];
    for (a, b) in a.iter().zip(b) {
        add_product(&mut sum, load(a), load(b));
    }
    join(sum)
}

#[target_feature(enable = "pclmulqdq,sse2")]
fn add_scaled_narrow(totals: &mut [u128], weight: u128, values: &[u128]) {
    let weight = load(&weight);
    for (total, value) in totals.iter_mut().zip(values) {
        let mut sum = [_mm_setzero_si128(); 3];
        add_product(&mut sum, load(value), weight);
        *total ^= reduce(join(sum));
    }
}

#[inline]
#[target_feature(enable = "vpclmulqdq,avx512f,pclmulqdq,sse2")]
fn dot_wide(a: &[u128], b: &[[u8; 16]]) -> Wide {
    let mut sum = [_mm512_setzero_si512(); 3];
    let (a, a_rest) = a.as_chunks::<4>();
    let (b, b_rest) = b.as_chunks::<4>();
    for (a, b) in a.iter().zip(b) {
        // SAFETY: both places have 64 bytes.
        let (a, b) =
            unsafe { (_mm512_loadu_si512(a.as_ptr().cast()), _mm512_loadu_si512(b.as_ptr().cast())) };
        sum[0] = _mm512_xor_si512(sum[0], _mm512_clmulepi64_epi128::<0x00>(a, b));
        let a_sum = _mm512_xor_si512(a, _mm512_shuffle_epi32::<0x4e>(a));
        let b_sum = _mm512_xor_si512(b, _mm512_shuffle_epi32::<0x4e>(b));
        sum[1] = _mm512_xor_si512(sum[1], _mm512_clmulepi64_epi128::<0x00>(a_sum, b_sum));
        sum[2] = _mm512_xor_si512(sum[2], _mm512_clmulepi64_epi128::<0x11>(a, b));
    }
    sum[1] = _mm512_xor_si512(sum[1], _mm512_xor_si512(sum[0], sum[2]));
    let mut parts = [_mm_setzero_si128(); 3];
    for (part, sum) in parts.iter_mut().zip(sum) {
        let two = _mm256_xor_si256(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum));
        *part = _mm_xor_si128(_mm256_castsi256_si128(two), _mm256_extracti128_si256::<1>(two));
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        add_product(&mut parts, load(a), load(b));
    }
    join(parts)
}
