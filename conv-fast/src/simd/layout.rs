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
        Kernel::Avx512 => unsafe { transpose_avx512(square) },
        _ => std::array::from_fn(|row| std::array::from_fn(|column| square[column][row])),
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_avx512(square: [Words; LANES]) -> [Words; LANES] {
    use std::arch::x86_64::{
        __m512i, _mm512_loadu_si512, _mm512_shuffle_i64x2, _mm512_storeu_si512, _mm512_unpackhi_epi64,
        _mm512_unpacklo_epi64,
    };
    // SAFETY: every load and store is of one array of eight words.
    let rows: [__m512i; LANES] = square.map(|row| unsafe { _mm512_loadu_si512(row.as_ptr().cast()) });
    let pairs: [__m512i; LANES] = std::array::from_fn(|i| {
        let (a, b) = (rows[i & !1], rows[i | 1]);
        if i & 1 == 0 { _mm512_unpacklo_epi64(a, b) } else { _mm512_unpackhi_epi64(a, b) }
    });
    // pairs[i]: columns (i & 1) + 0, 2, 4, 6 of rows i & !1 and i | 1, in 128-bit quarters.
    let mut out = [[0; LANES]; LANES];
    for half in 0..2 {
        let (a, b, c, d) = (pairs[half], pairs[half + 2], pairs[half + 4], pairs[half + 6]);
        let ab_even = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
        let ab_odd = _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b);
        let cd_even = _mm512_shuffle_i64x2::<0b10_00_10_00>(c, d);
        let cd_odd = _mm512_shuffle_i64x2::<0b11_01_11_01>(c, d);
        let columns = [
            (half, _mm512_shuffle_i64x2::<0b10_00_10_00>(ab_even, cd_even)),
            (half + 4, _mm512_shuffle_i64x2::<0b11_01_11_01>(ab_even, cd_even)),
            (half + 2, _mm512_shuffle_i64x2::<0b10_00_10_00>(ab_odd, cd_odd)),
            (half + 6, _mm512_shuffle_i64x2::<0b11_01_11_01>(ab_odd, cd_odd)),
        ];
        for (column, words) in columns {
            // SAFETY: as above.
            unsafe { _mm512_storeu_si512(out[column].as_mut_ptr().cast(), words) };
        }
    }
    out
}

/// An output that parallel tasks fill, each its own stretches.
pub(crate) struct Planes<'a> {
    start: *mut u64,
    len: usize,
    lives: PhantomData<&'a mut [u64]>,
}

// SAFETY: the only access is `Planes::stretch`, whose callers promise disjoint stretches.
unsafe impl Send for Planes<'_> {}
// SAFETY: as above.
unsafe impl Sync for Planes<'_> {}

impl<'a> Planes<'a> {
    pub(crate) fn new(output: &'a mut [u64]) -> Self {
        Self { start: output.as_mut_ptr(), len: output.len(), lives: PhantomData }
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
    pub(crate) unsafe fn stretch(&self, at: usize, len: usize) -> &mut [u64] {
        assert!(at <= self.len && len <= self.len - at, "stretch beyond the output");
        // SAFETY: within the borrowed slice; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
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
        let mut output = [0; 4];
        let planes = Planes::new(&mut output);
        // SAFETY: the only stretch.
        unsafe { planes.stretch(3, 2) };
    }
}
