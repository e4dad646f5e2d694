//! Pieces of which only a few outputs exist, at the end of a plane: the lanes are output channels here.
//!
//! The sums of [`super::kernel`] would be those of sixteen pixels, most of which are dropped: for 7×7 planes, three pieces and one
//! pixel, a quarter of the work. Weights of a term lie side by side for the outputs of a panel, so that they can be a vector as
//! well; the words of a pixel are broadcast. They are picked out of their vectors once, for all panels. One, two or four pixels
//! are computed together. So that enough sums are under way even where there is a single pixel, terms are dealt out to up to
//! four partial sums, which are added before anything else is done with them: together they are bounded as the one sum is.
//!
//! | pixels | partial sums | registers of sums |
//! |---|---|---|
//! | 1 | 4 | 4·D |
//! | 2 | 2 | 4·D |
//! | 3, 4 | 1 | 4·D |
//!
//! Elements come out with the channels of a pixel side by side and are written to their planes one by one.

#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::kernel::{Call, Folder};
use super::layout::{FEW, Piece, WIDTH};
use crate::Word;
use crate::matmul::multiply_add;
use std::arch::x86_64::*;
use std::ops::Range;

/// A few outputs.
pub(super) struct Few<'a> {
    /// `[term][pixel][digit]`
    words: &'a [i32],
    /// One, two or four.
    pixels: usize,
    /// Their places in the plane, one less where three are computed as four.
    places: Range<usize>,
}

impl<'a> Few<'a> {
    /// Picks the words of a piece at the distances of all terms, with digits `plane` words apart, into `to`.
    ///
    /// # Panics
    /// Unless the piece has one to [`FEW`] outputs, and if `words` or `to` is too short.
    pub(super) fn new<const D: usize>(
        piece: Piece,
        words: &[i32],
        (offsets, plane): (&[u32], usize),
        to: &'a mut [i32],
    ) -> Self {
        let mut lanes = [0; FEW];
        let mut count = 0;
        for lane in (0..WIDTH).filter(|lane| piece.mask >> lane & 1 == 1) {
            lanes[count] = lane;
            count += 1;
        }
        let pixels = count.next_power_of_two();
        let to = &mut to[..offsets.len() * pixels * D];
        for (&offset, to) in offsets.iter().zip(to.chunks_exact_mut(pixels * D)) {
            for (to, lane) in to.chunks_exact_mut(D).zip(lanes) {
                let at = piece.start as usize + offset as usize + lane;
                for (d, word) in to.iter_mut().enumerate() {
                    *word = words[at + d * plane];
                }
            }
        }
        Self { words: to, pixels, places: piece.place as usize..piece.place as usize + count }
    }
}

impl<W: Word> Call<'_, W> {
    /// Computes the panels at a few outputs.
    ///
    /// # Safety
    /// As [`Call::run`]; there are words for all terms.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(super) unsafe fn few<const D: usize>(&self, few: &Few<'_>) {
        // SAFETY: the caller's promises.
        unsafe {
            match few.pixels {
                1 => self.pixels::<D, 1, 4>(few),
                2 => self.pixels::<D, 2, 2>(few),
                _ => self.pixels::<D, 4, 1>(few),
            }
        }
    }

    /// The panels at P pixels, in U partial sums.
    ///
    /// # Safety
    /// As [`Call::few`], for P pixels.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn pixels<const D: usize, const P: usize, const U: usize>(&self, few: &Few<'_>) {
        let (mut weights, mut start, mut out) = (self.weights.as_ptr(), self.start.as_ptr(), self.out);
        let outputs = self.outputs;
        let mask = (u32::from(u16::MAX) >> (WIDTH - outputs)) as u16;
        let piece = Piece { start: 0, place: 0, mask };
        // SAFETY: the caller's promises.
        let folder = unsafe { Folder::<D>::new(self.fold) };
        for _ in 0..self.panels {
            // SAFETY: the caller's promises: every load is of words that exist, and so is every place.
            unsafe {
                let mut sums = [[[_mm512_setzero_si512(); D]; P]; U];
                for d in 0..D {
                    let mut lanes = [0; WIDTH];
                    for (output, lane) in lanes.iter_mut().enumerate().take(outputs) {
                        *lane = *start.add(output * D + d);
                    }
                    for sums in &mut sums[0] {
                        sums[d] = _mm512_loadu_si512(lanes.as_ptr().cast());
                    }
                }
                start = start.add(outputs * D);
                let mut words = few.words.as_ptr();
                let mut from = 0;
                let mut folds = self.folds.iter();
                loop {
                    let fold = folds.next();
                    let to = fold.copied().unwrap_or(self.offsets.len());
                    // One after the other, to the partial sums in turn.
                    macro_rules! add {
                        ($sums:expr) => {
                            term($sums, words, _mm512_maskz_loadu_epi32(mask, weights));
                            words = words.add(P * D);
                            weights = weights.add(outputs);
                        };
                    }
                    for _ in 0..(to - from) / U {
                        for sums in &mut sums {
                            add!(sums);
                        }
                    }
                    for _ in 0..(to - from) % U {
                        add!(&mut sums[0]);
                    }
                    let (sum, parts) = sums.split_at_mut(1);
                    for part in parts {
                        for (sum, part) in sum[0].as_flattened_mut().iter_mut().zip(part.as_flattened_mut()) {
                            *sum = _mm512_add_epi32(*sum, *part);
                            *part = _mm512_setzero_si512();
                        }
                    }
                    if fold.is_none() {
                        break;
                    }
                    from = to;
                    for sums in &mut sums[0] {
                        *sums = folder.fold::<D>(*sums);
                    }
                }
                let mut elements = [[W::default(); WIDTH]; P];
                self.decode.store::<W, D, P>(sums[0], piece, elements.as_mut_ptr().cast(), WIDTH);
                for output in 0..outputs {
                    for (place, elements) in few.places.clone().zip(&elements) {
                        *out.add(output * self.out_plane + place) = elements[output];
                    }
                }
                out = out.wrapping_add(outputs * self.out_plane);
            }
        }
    }
}

/// Adds one term of some pixels.
///
/// # Safety
/// The machine has AVX-512 F and VNNI; there are P·D words.
#[inline(always)]
unsafe fn term<const D: usize, const P: usize>(
    sums: &mut [[__m512i; D]; P],
    words: *const i32,
    weights: __m512i,
) {
    for (i, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
        // SAFETY: the caller's promises.
        unsafe { *sum = multiply_add(*sum, weights, _mm512_set1_epi32(*words.add(i))) };
    }
}
