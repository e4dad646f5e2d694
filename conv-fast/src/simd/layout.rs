//! From planes to channel blocks and back.
//!
//! Tensors arrive as planes, `[channel][pixel]`. The fast algorithms want the eight channels of a *block* side by side,
//! `[block][pixel][8]`, so that one vector is eight channels of one pixel and every geometry is a matter of addresses:
//! [`transpose`] turns eight pixels of eight channels.
//!
//! [`Planes`] lets parallel tasks write disjoint stretches of one output.

#![expect(unsafe_code, reason = "SIMD transposes; disjoint writes from parallel tasks")]

use crate::kernel::Kernel;
use crate::lanes::{LANES, Words};
use std::marker::PhantomData;

/// The transpose of eight rows of eight words.
#[inline(always)]
pub(crate) fn transpose(kernel: Kernel, square: [Words; LANES]) -> [Words; LANES] {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: this kernel only runs on machines that have AVX-512.
        Kernel::Avx512 => unsafe { avx512::words(square) },
        _ => std::array::from_fn(|row| std::array::from_fn(|column| square[column][row])),
    }
}

/// The transpose in registers.
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512 {
    use super::{LANES, Words};
    use std::arch::x86_64::{
        __m512i, _mm512_loadu_si512, _mm512_shuffle_i64x2, _mm512_storeu_si512, _mm512_unpackhi_epi64,
        _mm512_unpacklo_epi64,
    };

    /// The transpose of eight rows of eight words.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn words(square: [Words; LANES]) -> [Words; LANES] {
        // SAFETY: every load and store is of one array of eight words.
        let rows = square.map(|row| unsafe { _mm512_loadu_si512(row.as_ptr().cast()) });
        let mut out = [[0; LANES]; LANES];
        for (row, vector) in out.iter_mut().zip(vectors(rows)) {
            // SAFETY: as above.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), vector) };
        }
        out
    }

    /// The transpose of eight vectors of eight words.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn vectors([a, b, c, d, e, f, g, h]: [__m512i; LANES]) -> [__m512i; LANES] {
        // Words 0, 2, 4, 6 (even) and 1, 3, 5, 7 (odd) of two rows, in turn.
        let even = [
            _mm512_unpacklo_epi64(a, b),
            _mm512_unpacklo_epi64(c, d),
            _mm512_unpacklo_epi64(e, f),
            _mm512_unpacklo_epi64(g, h),
        ];
        let odd = [
            _mm512_unpackhi_epi64(a, b),
            _mm512_unpackhi_epi64(c, d),
            _mm512_unpackhi_epi64(e, f),
            _mm512_unpackhi_epi64(g, h),
        ];
        let [x0, x4, x2, x6] = quarters(even);
        let [x1, x5, x3, x7] = quarters(odd);
        [x0, x1, x2, x3, x4, x5, x6, x7]
    }

    /// The transpose of four vectors of four 128-bit quarters, in the order 0, 2, 1, 3.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
        const EVEN: i32 = 0b10_00_10_00;
        const ODD: i32 = 0b11_01_11_01;
        let (ab, cd) = (_mm512_shuffle_i64x2::<EVEN>(a, b), _mm512_shuffle_i64x2::<EVEN>(c, d));
        let (ef, gh) = (_mm512_shuffle_i64x2::<ODD>(a, b), _mm512_shuffle_i64x2::<ODD>(c, d));
        [
            _mm512_shuffle_i64x2::<EVEN>(ab, cd),
            _mm512_shuffle_i64x2::<ODD>(ab, cd),
            _mm512_shuffle_i64x2::<EVEN>(ef, gh),
            _mm512_shuffle_i64x2::<ODD>(ef, gh),
        ]
    }
}

/// An output that parallel tasks fill, each its own stretches.
pub(crate) struct Planes<'a, T> {
    start: *mut T,
    len: usize,
    lives: PhantomData<&'a mut [T]>,
}

// SAFETY: nothing is accessed but by callers of `Planes::stretch` and by writes through the pointer of `Planes::words`, both
// unsafe, where disjointness is promised.
unsafe impl<T: Send> Send for Planes<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Planes<'_, T> {}

impl<'a, T> Planes<'a, T> {
    pub(crate) fn new(output: &'a mut [T]) -> Self {
        Self { start: output.as_mut_ptr(), len: output.len(), lives: PhantomData }
    }

    /// Where words `at..at + len` of the output start.
    ///
    /// # Panics
    /// If they lie beyond the output.
    #[inline(always)]
    pub(crate) fn words(&self, at: usize, len: usize) -> *mut T {
        assert!(at <= self.len && len <= self.len - at, "words beyond the output");
        self.start.wrapping_add(at)
    }

    /// Words `at..at + len` of the output.
    ///
    /// # Safety
    /// While the result lives, no other call may give out any of the same words.
    ///
    /// # Panics
    /// If they lie beyond the output.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub(crate) unsafe fn stretch(&self, at: usize, len: usize) -> &mut [T] {
        // SAFETY: within the borrowed slice; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.words(at, len), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes() {
        for kernel in Kernel::available() {
            let square = std::array::from_fn(|row| std::array::from_fn(|column| (8 * row + column) as u64));
            let turned = transpose(kernel, square);
            for (row, words) in turned.iter().enumerate() {
                for (column, &word) in words.iter().enumerate() {
                    assert_eq!(word, (8 * column + row) as u64, "{kernel:?}");
                }
            }
            assert_eq!(transpose(kernel, turned), square, "{kernel:?}");
        }
    }

    #[test]
    #[should_panic(expected = "beyond the output")]
    #[expect(unsafe_code, reason = "the check is what is tested")]
    fn no_stretch_leaves_the_output() {
        let mut output = [0u64; 4];
        let planes = Planes::new(&mut output);
        // SAFETY: the only stretch.
        unsafe { planes.stretch(3, 2) };
    }
}
