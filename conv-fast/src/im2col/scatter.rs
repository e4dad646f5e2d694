//! From blocks of eight channels back to planes, into memory that need not be initialised.
//!
//! Results come as `[pixel][8]`, elements of eight output channels side by side, and go to eight planes. Jobs on several
//! threads write disjoint parts of one output, through [`Target`]; nothing ever reads it, so that it can be fresh memory:
//! filling a large output with zeros first would cost as much as a tenth of a layer with few input channels.

#![expect(unsafe_code, reason = "disjoint writes from parallel jobs; SIMD transposes")]

use crate::kernel::Kernel;
use crate::lanes::LANES;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// An output that parallel jobs fill, each its own part.
pub(super) struct Target<'a> {
    start: *mut u64,
    len: usize,
    lives: PhantomData<&'a mut [MaybeUninit<u64>]>,
}

// SAFETY: the only access is `Target::write`, whose callers promise disjoint writes.
unsafe impl Send for Target<'_> {}
// SAFETY: as above.
unsafe impl Sync for Target<'_> {}

impl<'a> Target<'a> {
    pub(super) fn new(output: &'a mut [MaybeUninit<u64>]) -> Self {
        Self { start: output.as_mut_ptr().cast(), len: output.len(), lives: PhantomData }
    }

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
        let end = at + (channels - 1) * plane + pixels.len();
        assert!(end <= self.len, "beyond the output");
        // SAFETY: within the borrowed output, by the assertion, and nobody else writes there, by the caller's promise. Only
        // machines with AVX-512 run its kernel.
        unsafe {
            let out = self.start.add(at);
            #[cfg(target_arch = "x86_64")]
            if kernel == Kernel::Avx512 {
                avx512::write(pixels, out, plane, channels);
                return;
            }
            let _ = kernel;
            for channel in 0..channels {
                for (i, pixel) in pixels.iter().enumerate() {
                    out.add(channel * plane + i).write(pixel[channel]);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::LANES;
    use crate::layout::avx512::vectors;
    use std::arch::x86_64::*;

    /// # Safety
    /// The machine has AVX-512 F; `out` points to (channels − 1)·plane + pixels words, 1 ≤ channels ≤ 8.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn write(pixels: &[[u64; LANES]], out: *mut u64, plane: usize, channels: usize) {
        let (squares, rest) = pixels.as_chunks::<LANES>();
        // SAFETY: pixels and channels that are not there are neither read nor written.
        unsafe {
            for (i, square) in squares.iter().enumerate() {
                let rows = square.each_ref().map(|row| _mm512_loadu_si512(row.as_ptr().cast()));
                let planes = vectors(rows);
                let out = out.add(i * LANES);
                for (channel, vector) in planes.into_iter().enumerate() {
                    if channel < channels {
                        _mm512_storeu_si512(out.add(channel * plane).cast(), vector);
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
                        _mm512_mask_storeu_epi64(out.add(channel * plane).cast(), mask, vector);
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
        for kernel in Kernel::available() {
            for (channels, pixels, plane) in [(8, 24, 30), (5, 19, 19), (1, 3, 7), (8, 1, 1), (3, 8, 9)] {
                let blocks: Vec<[u64; LANES]> =
                    (0..pixels as u64).map(|p| std::array::from_fn(|c| 100 * c as u64 + p)).collect();
                let mut output = vec![MaybeUninit::new(u64::MAX); 2 + channels * plane];
                let target = Target::new(&mut output);
                // SAFETY: one thread.
                unsafe { target.write(kernel, &blocks, [1, plane, channels]) };
                for (at, word) in output.iter().enumerate() {
                    // SAFETY: initialised above.
                    let word = unsafe { word.assume_init() };
                    let (channel, pixel) = (at.wrapping_sub(1) / plane, at.wrapping_sub(1) % plane);
                    let written = at > 0 && channel < channels && pixel < pixels;
                    let expected = if written { (100 * channel + pixel) as u64 } else { u64::MAX };
                    assert_eq!(word, expected, "{kernel:?} {channels}×{pixels} in {plane}, word {at}");
                }
            }
        }
    }
}
