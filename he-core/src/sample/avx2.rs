//! The kernels of `portable`, compiled for AVX2 and POPCNT: the compiler finds the vectors.
//!
//! Shapes and ranges are those of `portable`. Rejection of words stays scalar, where a store and an addition per word
//! are as fast as permuting four lanes. Safe to call only where [`crate::simd::Simd::Avx2`] was detected.
#![expect(unsafe_code, reason = "calls of target_feature functions")]

use super::portable;

/// As [`portable::below`].
pub(super) fn below<const BYTES: usize>(bytes: &[u8], mask: u64, bound: u64, out: &mut [u64]) -> usize {
    #[target_feature(enable = "avx2,popcnt")]
    fn compiled<const BYTES: usize>(bytes: &[u8], mask: u64, bound: u64, out: &mut [u64]) -> usize {
        portable::below::<BYTES>(bytes, mask, bound, out)
    }
    // SAFETY: this level is chosen only if the CPU has AVX2 and POPCNT (`Simd::best`).
    unsafe { compiled::<BYTES>(bytes, mask, bound, out) }
}

/// As [`portable::digits`].
pub(super) fn digits(bytes: &[u8], out: &mut [i8]) {
    #[target_feature(enable = "avx2,popcnt")]
    fn compiled(bytes: &[u8], out: &mut [i8]) {
        portable::digits(bytes, out);
    }
    // SAFETY: as in `below`.
    unsafe { compiled(bytes, out) }
}

/// As [`portable::coins`].
pub(super) fn coins<const BYTES: usize>(bytes: &[u8], eta: u32, out: &mut [i8]) {
    #[target_feature(enable = "avx2,popcnt")]
    fn compiled<const BYTES: usize>(bytes: &[u8], eta: u32, out: &mut [i8]) {
        portable::coins::<BYTES>(bytes, eta, out);
    }
    // SAFETY: as in `below`.
    unsafe { compiled::<BYTES>(bytes, eta, out) }
}

/// As [`portable::spread`].
pub(super) fn spread(small: &[i8], q: u64, out: &mut [u64]) {
    #[target_feature(enable = "avx2,popcnt")]
    fn compiled(small: &[i8], q: u64, out: &mut [u64]) {
        portable::spread(small, q, out);
    }
    // SAFETY: as in `below`.
    unsafe { compiled(small, q, out) }
}
