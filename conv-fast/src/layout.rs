//! From planes to channel blocks and back.
//!
//! Tensors arrive as planes, `[channel][pixel]`. The fast algorithms want the eight channels of a *block* side by side,
//! `[block][pixel][8]`, so that one vector is eight channels of one pixel and every geometry is a matter of addresses.
//! Missing channels of the last block are zero.
//!
//! [`Planes`] lets parallel tasks write disjoint stretches of one output.

#![expect(unsafe_code, reason = "SIMD transposes; disjoint writes from parallel tasks")]

use crate::kernel::{Kernel, Task};
use crate::lanes::{LANES, Words};
use std::marker::PhantomData;

/// `rows` of up to eight channels, each with `pixels` words, as `[pixel][8]`; missing rows are zero.
///
/// # Panics
/// If a row is shorter than `out.len() / 8`, or there are more than eight.
pub(crate) fn to_block(kernel: Kernel, rows: &[&[u64]], out: &mut [u64]) {
    kernel.run(ToBlock { kernel, rows, out });
}

/// `[pixel][8]` as up to eight rows; the others are dropped.
///
/// # Panics
/// If a row is shorter than `block.len() / 8`, or there are more than eight.
pub(crate) fn from_block(kernel: Kernel, block: &[u64], rows: &mut [&mut [u64]]) {
    kernel.run(FromBlock { kernel, block, rows });
}

struct ToBlock<'a, 'b> {
    kernel: Kernel,
    rows: &'a [&'b [u64]],
    out: &'a mut [u64],
}

impl Task for ToBlock<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let pixels = self.out.len() / LANES;
        assert!(self.rows.len() <= LANES, "at most eight channels");
        let whole = pixels - pixels % LANES;
        let mut at = 0;
        while at < whole {
            let square: [Words; LANES] = std::array::from_fn(|row| match self.rows.get(row) {
                Some(row) => row[at..at + LANES].try_into().expect("eight words"),
                None => [0; LANES],
            });
            let square = transpose(self.kernel, square);
            self.out[at * LANES..(at + LANES) * LANES].copy_from_slice(square.as_flattened());
            at += LANES;
        }
        for pixel in whole..pixels {
            let words = &mut self.out[pixel * LANES..][..LANES];
            words.fill(0);
            for (word, row) in words.iter_mut().zip(self.rows) {
                *word = row[pixel];
            }
        }
    }
}

struct FromBlock<'a, 'b> {
    kernel: Kernel,
    block: &'a [u64],
    rows: &'a mut [&'b mut [u64]],
}

impl Task for FromBlock<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let pixels = self.block.len() / LANES;
        assert!(self.rows.len() <= LANES, "at most eight channels");
        let whole = pixels - pixels % LANES;
        let mut at = 0;
        while at < whole {
            let flat: &[Words] = self.block[at * LANES..(at + LANES) * LANES].as_chunks().0;
            let square = transpose(self.kernel, flat.try_into().expect("eight rows of eight"));
            for (row, words) in self.rows.iter_mut().zip(&square) {
                row[at..at + LANES].copy_from_slice(words);
            }
            at += LANES;
        }
        for pixel in whole..pixels {
            for (row, &word) in self.rows.iter_mut().zip(&self.block[pixel * LANES..][..LANES]) {
                row[pixel] = word;
            }
        }
    }
}

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
    fn there_and_back() {
        for kernel in Kernel::available() {
            for (channels, pixels) in [(8, 24), (5, 19), (1, 3), (8, 8)] {
                let planes: Vec<Vec<u64>> =
                    (0..channels).map(|c| (0..pixels).map(|p| (100 * c + p) as u64).collect()).collect();
                let rows: Vec<&[u64]> = planes.iter().map(Vec::as_slice).collect();
                let mut block = vec![7; pixels * LANES];
                to_block(kernel, &rows, &mut block);
                for pixel in 0..pixels {
                    for lane in 0..LANES {
                        let expected = if lane < channels { planes[lane][pixel] } else { 0 };
                        assert_eq!(block[pixel * LANES + lane], expected, "{kernel:?}");
                    }
                }
                let mut back = vec![vec![0; pixels]; channels];
                let mut rows: Vec<&mut [u64]> = back.iter_mut().map(Vec::as_mut_slice).collect();
                from_block(kernel, &block, &mut rows);
                assert_eq!(back, planes, "{kernel:?}");
            }
        }
    }
}
