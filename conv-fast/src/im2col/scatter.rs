//! From blocks of eight channels back to planes, into words of either kind.
//!
//! Results come as `[pixel][8]`, elements of eight output channels side by side, and go to eight planes. Jobs on several
//! threads write disjoint parts of one output.

#![expect(unsafe_code, reason = "disjoint writes from parallel jobs; SIMD transposes")]

use crate::Word;
use crate::kernel::Kernel;
use crate::lanes::LANES;
use crate::layout::Planes;

impl<W: Word> Planes<'_, W> {
    /// Writes the first `channels` words of each pixel's eight: channel c of pixel i goes to `at + c·plane + i`.
    ///
    /// # Safety
    /// No other thread writes the same words at the same time.
    ///
    /// # Panics
    /// If they lie beyond the output, or there are more than eight channels.
    #[inline(always)]
    pub(super) unsafe fn write(
        &self,
        kernel: Kernel,
        pixels: &[[u64; LANES]],
        [at, plane, channels]: [usize; 3],
    ) {
        if channels == 0 || pixels.is_empty() {
            return;
        }
        assert!(channels <= LANES, "at most eight channels");
        let out = self.words(at, (channels - 1) * plane + pixels.len());
        // SAFETY: within the borrowed output, by the assertion, and nobody else writes there, by the caller's promise. Only
        // machines with AVX-512 run its kernel.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if kernel == Kernel::Avx512 {
                avx512::write(pixels, out, plane, channels);
                return;
            }
            let _ = kernel;
            for channel in 0..channels {
                for (i, pixel) in pixels.iter().enumerate() {
                    out.add(channel * plane + i).write(W::from_u64(pixel[channel]));
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::LANES;
    use crate::Word;
    use crate::layout::avx512::vectors;
    use crate::word::avx512::{store, store_some};
    use std::arch::x86_64::*;

    /// # Safety
    /// The machine has AVX-512 F and VL; `out` points to (channels − 1)·plane + pixels words, 1 ≤ channels ≤ 8.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) unsafe fn write<W: Word>(pixels: &[[u64; LANES]], out: *mut W, plane: usize, channels: usize) {
        let (squares, rest) = pixels.as_chunks::<LANES>();
        // SAFETY: pixels and channels that are not there are neither read nor written.
        unsafe {
            for (i, square) in squares.iter().enumerate() {
                let rows = square.each_ref().map(|row| _mm512_loadu_si512(row.as_ptr().cast()));
                let planes = vectors(rows);
                let out = out.add(i * LANES);
                for (channel, vector) in planes.into_iter().enumerate() {
                    if channel < channels {
                        store(out.add(channel * plane), vector);
                    }
                }
            }
            if !rest.is_empty() {
                let mut rows = [_mm512_setzero_si512(); LANES];
                for (row, pixel) in rows.iter_mut().zip(rest) {
                    *row = _mm512_loadu_si512(pixel.as_ptr().cast());
                }
                let planes = vectors(rows);
                let mask = 0xff >> (LANES - rest.len());
                let out = out.add(squares.len() * LANES);
                for (channel, vector) in planes.into_iter().enumerate() {
                    if channel < channels {
                        store_some(mask, out.add(channel * plane), vector);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_and_nothing_else() {
        check::<u32>();
        check::<u64>();
    }

    fn check<W: Word>() {
        for kernel in Kernel::available() {
            for (channels, pixels, plane) in [(8, 24, 30), (5, 19, 19), (1, 3, 7), (8, 1, 1), (3, 8, 9)] {
                let blocks: Vec<[u64; LANES]> =
                    (0..pixels as u64).map(|p| std::array::from_fn(|c| 100 * c as u64 + p)).collect();
                let mut output = vec![W::from_u64(u64::MAX); 2 + channels * plane];
                let planes = Planes::new(&mut output);
                // SAFETY: one thread.
                unsafe { planes.write(kernel, &blocks, [1, plane, channels]) };
                for (at, &word) in output.iter().enumerate() {
                    let (channel, pixel) = (at.wrapping_sub(1) / plane, at.wrapping_sub(1) % plane);
                    let written = at > 0 && channel < channels && pixel < pixels;
                    let expected =
                        W::from_u64(if written { (100 * channel + pixel) as u64 } else { u64::MAX });
                    assert_eq!(word, expected, "{kernel:?} {channels}×{pixels} in {plane}, word {at}");
                }
            }
        }
    }
}
