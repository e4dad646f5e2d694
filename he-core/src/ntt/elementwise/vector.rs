//! Sums, differences and negatives in vectors of words: AVX-512F written out, AVX2 as the compiler makes it.
//!
//! Residues of q < 2^61 in and out; any equal lengths. Each of the first two comes in place and into new words.
//! Reducing is an unsigned minimum: of the two numbers s and s - q the one that did not wrap, or is reduced, is less.
//! The functions are safe to call only with a [`crate::ntt::Kernel`] that the CPU was asked for: that of a table, or
//! `Kernel::widest`.
#![expect(unsafe_code, reason = "vector loads and stores, and calls of target_feature functions")]

use core::arch::x86_64::*;

pub(super) fn avx512_add(x: &mut [u64], y: &[u64], q: u64) {
    // SAFETY: callers have asked this CPU for a kernel of AVX-512F (`Kernel::serves`, `Kernel::widest`).
    unsafe { add(x, y, q) }
}

pub(super) fn avx512_sub(x: &mut [u64], y: &[u64], q: u64) {
    // SAFETY: as in `avx512_add`.
    unsafe { sub(x, y, q) }
}

pub(super) fn avx512_sum(x: &[u64], y: &[u64], out: &mut [u64], q: u64) {
    // SAFETY: as in `avx512_add`.
    unsafe { sum(x, y, out, q) }
}

pub(super) fn avx512_difference(x: &[u64], y: &[u64], out: &mut [u64], q: u64) {
    // SAFETY: as in `avx512_add`.
    unsafe { difference(x, y, out, q) }
}

pub(super) fn avx512_neg(x: &mut [u64], q: u64) {
    // SAFETY: as in `avx512_add`.
    unsafe { neg(x, q) }
}

pub(super) fn avx2_add(x: &mut [u64], y: &[u64], q: u64) {
    #[target_feature(enable = "avx2")]
    fn run(x: &mut [u64], y: &[u64], q: u64) {
        super::add_words(x, y, q);
    }
    // SAFETY: callers have asked this CPU for the kernel of AVX2 (`Kernel::serves`, `Kernel::widest`).
    unsafe { run(x, y, q) }
}

pub(super) fn avx2_sub(x: &mut [u64], y: &[u64], q: u64) {
    #[target_feature(enable = "avx2")]
    fn run(x: &mut [u64], y: &[u64], q: u64) {
        super::sub_words(x, y, q);
    }
    // SAFETY: as in `avx2_add`.
    unsafe { run(x, y, q) }
}

pub(super) fn avx2_sum(x: &[u64], y: &[u64], out: &mut [u64], q: u64) {
    #[target_feature(enable = "avx2")]
    fn run(x: &[u64], y: &[u64], out: &mut [u64], q: u64) {
        super::sum_words(x, y, out, q);
    }
    // SAFETY: as in `avx2_add`.
    unsafe { run(x, y, out, q) }
}

pub(super) fn avx2_difference(x: &[u64], y: &[u64], out: &mut [u64], q: u64) {
    #[target_feature(enable = "avx2")]
    fn run(x: &[u64], y: &[u64], out: &mut [u64], q: u64) {
        super::difference_words(x, y, out, q);
    }
    // SAFETY: as in `avx2_add`.
    unsafe { run(x, y, out, q) }
}

pub(super) fn avx2_neg(x: &mut [u64], q: u64) {
    #[target_feature(enable = "avx2")]
    fn run(x: &mut [u64], q: u64) {
        super::neg_words(x, q);
    }
    // SAFETY: as in `avx2_add`.
    unsafe { run(x, q) }
}

#[target_feature(enable = "avx512f")]
fn add(x: &mut [u64], y: &[u64], q: u64) {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks_mut(), y.as_chunks());
    super::add_words(x_rest, y_rest, q);
    let q = _mm512_set1_epi64(q as i64);
    for (x, y) in x.iter_mut().zip(y) {
        store(x, sum_of(load(x), load(y), q));
    }
}

#[target_feature(enable = "avx512f")]
fn sum(x: &[u64], y: &[u64], out: &mut [u64], q: u64) {
    let ((x, x_rest), (y, y_rest), (out, out_rest)) = (x.as_chunks(), y.as_chunks(), out.as_chunks_mut());
    super::sum_words(x_rest, y_rest, out_rest, q);
    let q = _mm512_set1_epi64(q as i64);
    for ((x, y), out) in x.iter().zip(y).zip(out) {
        store(out, sum_of(load(x), load(y), q));
    }
}

#[target_feature(enable = "avx512f")]
fn sub(x: &mut [u64], y: &[u64], q: u64) {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks_mut(), y.as_chunks());
    super::sub_words(x_rest, y_rest, q);
    let q = _mm512_set1_epi64(q as i64);
    for (x, y) in x.iter_mut().zip(y) {
        store(x, difference_of(load(x), load(y), q));
    }
}

#[target_feature(enable = "avx512f")]
fn difference(x: &[u64], y: &[u64], out: &mut [u64], q: u64) {
    let ((x, x_rest), (y, y_rest), (out, out_rest)) = (x.as_chunks(), y.as_chunks(), out.as_chunks_mut());
    super::difference_words(x_rest, y_rest, out_rest, q);
    let q = _mm512_set1_epi64(q as i64);
    for ((x, y), out) in x.iter().zip(y).zip(out) {
        store(out, difference_of(load(x), load(y), q));
    }
}

#[target_feature(enable = "avx512f")]
fn neg(x: &mut [u64], q: u64) {
    let (x, rest) = x.as_chunks_mut();
    super::neg_words(rest, q);
    let q = _mm512_set1_epi64(q as i64);
    for x in x {
        let difference = _mm512_sub_epi64(q, load(x));
        store(x, _mm512_min_epu64(difference, _mm512_sub_epi64(difference, q)));
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sum_of(x: __m512i, y: __m512i, q: __m512i) -> __m512i {
    let sum = _mm512_add_epi64(x, y);
    _mm512_min_epu64(sum, _mm512_sub_epi64(sum, q))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn difference_of(x: __m512i, y: __m512i, q: __m512i) -> __m512i {
    let difference = _mm512_sub_epi64(x, y);
    _mm512_min_epu64(difference, _mm512_add_epi64(difference, q))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(words: &[u64; 8]) -> __m512i {
    // SAFETY: the array has eight words.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(words: &mut [u64; 8], x: __m512i) {
    // SAFETY: the array has eight words.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), x) }
}
