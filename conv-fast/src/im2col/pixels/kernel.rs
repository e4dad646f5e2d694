//! The sums of some outputs at one piece: multiplied, folded, decoded and stored without leaving the registers.
//!
//! One step takes M outputs × D digits, 24 vectors of 32-bit sums at most. A term costs D loads of sixteen words, M broadcasts
//! of a pair of weights and M·D multiply-adds, of which the machine does two a cycle: the loads are fewer than it can do meanwhile.
//! A call takes some pieces past each panel, as many as the first-level cache holds the words of: the results of one are stored
//! while the next is multiplied, and each output's plane is written several cache lines at a time. Where that cache does not
//! hold the words of a single piece beside a panel's weights, a call takes a stretch of the terms, and the sums wait in memory
//! between two of them.

#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::decode::Decode;
use super::layout::{Piece, WIDTH};
use super::pack::{Fold, MAX_DIGITS};
use crate::Word;
use crate::matmul::multiply_add;
use std::arch::x86_64::*;
use std::ops::Range;

/// Most sums of one step, in vectors.
pub(super) const MAX_SUMS: usize = 24;

/// What one call reads and writes.
pub(super) struct Call<'a, W> {
    pub(super) words: &'a [i32],
    /// Distance of the word of each term from a piece's start.
    pub(super) offsets: &'a [u32],
    /// Those that are added.
    pub(super) terms: Range<usize>,
    /// Numbers of terms, of these, before which sums are folded.
    pub(super) folds: &'a [usize],
    pub(super) fold: &'a Fold,
    /// Words from digit to digit.
    pub(super) plane: usize,
    pub(super) decode: &'a Decode,
    /// How many panels, and outputs of each.
    pub(super) panels: usize,
    pub(super) outputs: usize,
    /// `[panel][term][output]`, from the first panel on.
    pub(super) weights: &'a [i32],
    /// `[panel][output][digit]`.
    pub(super) start: &'a [i32],
    /// Sums between two stretches, sixteen words each, `[piece][output][digit]`: those of the first piece and output.
    pub(super) sums: *mut i32,
    /// Words of these from piece to piece.
    pub(super) sums_piece: usize,
    /// From the first output's plane on.
    pub(super) out: *mut W,
    /// Words of an output plane.
    pub(super) out_plane: usize,
}

impl<W: Word> Call<'_, W> {
    /// Computes the panels at some pieces, whose words the first-level cache should hold.
    ///
    /// # Safety
    /// The machine has the features of [`Kernel::Avx512`](crate::Kernel::Avx512). Panels are of a size that there is (below), `outputs`
    /// weights for each offset, and D starts for each output; the start of each piece, plus any offset, plus (D − 1)·plane + 16
    /// is at most the length of `words`; and `out` points to all places that the pieces name, in as many planes, where nobody
    /// else writes. Unless `terms` are all, panels are of the largest size, and `sums` points to sums of all pieces, outputs and
    /// digits.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(super) unsafe fn run<const D: usize>(&self, pieces: &[Piece]) {
        let (whole, few_tops) = (self.terms.len() == self.offsets.len(), self.fold.tops <= 1);
        // Those of the largest size are most: they alone come in stretches, and in a form for few digits to fold into.
        macro_rules! outputs {
            ($largest:literal $($m:literal)*) => {
                // SAFETY: the caller's promises.
                unsafe {
                    match (self.outputs, few_tops) {
                        ($largest, true) if whole => self.sums::<D, $largest, 1, true>(pieces),
                        ($largest, true) => self.sums::<D, $largest, 1, false>(pieces),
                        ($largest, false) if whole => self.sums::<D, $largest, D, true>(pieces),
                        ($largest, false) => self.sums::<D, $largest, D, false>(pieces),
                        $(($m, _) if whole => self.sums::<D, $m, D, true>(pieces),)*
                        (m, _) => unreachable!("{m} outputs in a panel"),
                    }
                }
            };
        }
        // No larger kernels than there are registers for: they would be compiled all the same.
        match D {
            2 => outputs!(12 8 6 4 3 2 1),
            3 => outputs!(8 6 4 3 2 1),
            _ => outputs!(6 4 3 2 1),
        }
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn sums<const D: usize, const M: usize, const T: usize, const WHOLE: bool>(
        &self,
        pieces: &[Piece],
    ) {
        let outputs = self.weights.chunks_exact(M * self.offsets.len()).zip(self.start.chunks_exact(M * D));
        for (panel, (weights, start)) in outputs.take(self.panels).enumerate() {
            let out = self.out.wrapping_add(panel * M * self.out_plane);
            for (number, &piece) in pieces.iter().enumerate() {
                let sums = self.sums.wrapping_add(number * self.sums_piece + panel * M * D * WIDTH);
                // SAFETY: the caller's promises.
                unsafe { self.panel::<D, M, T, WHOLE>(piece, weights.as_ptr(), start, sums, out) };
            }
        }
    }

    /// One panel at one piece; all terms if `WHOLE`.
    ///
    /// # Safety
    /// As [`Call::run`]; `weights`, `start` and `out` are the panel's, `saved` the piece's and the panel's.
    #[inline(always)]
    unsafe fn panel<const D: usize, const M: usize, const T: usize, const WHOLE: bool>(
        &self,
        piece: Piece,
        weights: *const i32,
        start: &[i32],
        saved: *mut i32,
        out: *mut W,
    ) {
        // SAFETY: the caller's promises: every load is of a word that exists.
        unsafe {
            let mut sums = [[_mm512_setzero_si512(); D]; M];
            if WHOLE || self.terms.start == 0 {
                for (sum, &start) in sums.as_flattened_mut().iter_mut().zip(start) {
                    *sum = _mm512_set1_epi32(start);
                }
            } else {
                for (i, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
                    *sum = _mm512_loadu_si512(saved.add(i * WIDTH).cast());
                }
            }
            let column = self.words.as_ptr().add(piece.start as usize);
            let mut from = if WHOLE { 0 } else { self.terms.start };
            let mut weights = weights.add(from * M);
            let end = if WHOLE { self.offsets.len() } else { self.terms.end };
            let folder = Folder::<D>::new(self.fold);
            let mut folds = self.folds.iter();
            loop {
                let fold = folds.next();
                let to = fold.copied().unwrap_or(end);
                for &offset in self.offsets.get_unchecked(from..to) {
                    let mut x = [_mm512_setzero_si512(); D];
                    for (d, x) in x.iter_mut().enumerate() {
                        *x = _mm512_loadu_si512(column.add(offset as usize + d * self.plane).cast());
                    }
                    for sums in &mut sums {
                        let weight = _mm512_set1_epi32(*weights);
                        weights = weights.add(1);
                        for (sum, &x) in sums.iter_mut().zip(&x) {
                            *sum = multiply_add(*sum, x, weight);
                        }
                    }
                }
                if fold.is_none() {
                    break;
                }
                from = to;
                // No loop: it would keep the sums in memory.
                macro_rules! fold {
                    ($($i:literal)*) => {
                        $(if let Some(sums) = sums.get_mut($i) {
                            *sums = folder.fold::<T>(*sums);
                        })*
                    };
                }
                fold!(0 1 2 3 4 5 6 7 8 9 10 11);
            }
            if end < self.offsets.len() {
                for (i, &sum) in sums.as_flattened().iter().enumerate() {
                    _mm512_storeu_si512(saved.add(i * WIDTH).cast(), sum);
                }
                return;
            }
            self.decode.store(sums, piece, out, self.out_plane);
        }
    }
}

/// The constants of [`Fold`] as factors of upper halves, made once: the compiler would make them again for each output.
pub(super) struct Folder<const D: usize> {
    /// The lower half.
    low: __m512i,
    carry: __m512i,
    top: [__m512i; D],
}

impl<const D: usize> Folder<D> {
    /// # Safety
    /// The machine has AVX-512 F.
    #[inline(always)]
    pub(super) unsafe fn new(fold: &Fold) -> Self {
        const { assert!(D <= MAX_DIGITS) }
        // SAFETY: arithmetic on registers.
        unsafe {
            let upper = |factor: i16| _mm512_set1_epi32(i32::from(factor) << 16);
            let mut top = [_mm512_setzero_si512(); D];
            for (top, &factor) in top.iter_mut().zip(&fold.top) {
                *top = upper(factor);
            }
            Self { low: _mm512_set1_epi32(0xffff), carry: upper(fold.carry), top }
        }
    }

    /// Moves the upper halves of sums on, the topmost's to the first T digits: `fold.tops` or more.
    ///
    /// # Safety
    /// The machine has AVX-512 F and VNNI.
    #[inline(always)]
    pub(super) unsafe fn fold<const T: usize>(&self, old: [__m512i; D]) -> [__m512i; D] {
        // SAFETY: arithmetic on registers.
        unsafe {
            let mut sums = old;
            for (d, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_and_si512(*sum, self.low);
                if d > 0 {
                    *sum = multiply_add(*sum, old[d - 1], self.carry);
                }
                if d < T {
                    *sum = multiply_add(*sum, old[D - 1], self.top[d]);
                }
            }
            sums
        }
    }
}
