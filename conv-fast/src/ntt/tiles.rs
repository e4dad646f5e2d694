//! Pixels into the coefficients of eight channels, and out again.
//!
//! Both ways by squares of 8×8 words that are transposed in registers. A row that is no multiple of eight ends with a square
//! that overlaps the one before, so that hardly anything is moved word by word. A tile touches a few cache lines in each of
//! many rows, which no hardware foresees: so each step asks for the same lines of the next eight channels.

#![expect(unsafe_code, reason = "disjoint writes from parallel tasks")]

use super::cut::Cut;
use super::field::Field;
use crate::ConvGeometry;
use crate::lanes::{LANES, Words};
use crate::layout::Planes;

/// What both directions need to know of a layer.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a, F> {
    pub(super) field: F,
    pub(super) geometry: &'a ConvGeometry,
    pub(super) cut: &'a Cut,
    /// Images of the batch.
    pub(super) batch: usize,
}

/// A tile: image, first output row and column.
#[derive(Clone, Copy)]
struct Piece {
    image: usize,
    start: [usize; 2],
}

impl<F: Field> Tiles<'_, F> {
    /// The window that lies in slot `slot` of polynomial `poly`, if any.
    #[inline(always)]
    fn piece(&self, poly: usize, slot: usize) -> Option<Piece> {
        let number = poly * self.cut.pieces + slot;
        let (image, tile) = (number / self.cut.per_image(), number % self.cut.per_image());
        let (row, column) = (tile / self.cut.tiles[1], tile % self.cut.tiles[1]);
        (image < self.batch)
            .then_some(Piece { image, start: [row * self.cut.tile[0], column * self.cut.tile[1]] })
    }

    /// The coefficients of polynomial `poly` for the first `lanes` of these input channels, one per lane (the other lanes
    /// are zero), out of a batch.
    #[inline(always)]
    pub(super) fn gather(
        &self,
        input: &[u64],
        (channels, lanes): ([usize; LANES], usize),
        poly: usize,
        rows: &mut [Words],
    ) {
        let s = self.geometry.shape();
        let zeros = self.field.enter([0; LANES]);
        let (cut, plane) = (self.cut, s.in_height * s.in_width);
        let mut end = 0;
        for slot in 0..cut.pieces {
            let Some(piece) = self.piece(poly, slot) else { break };
            let base = slot * cut.step;
            // Of the window, what lies in the image.
            let first = [0, 1].map(|axis| piece.start[axis] * s.stride[axis]);
            let left = s.padding[1].saturating_sub(first[1]).min(cut.pitch);
            let column = (first[1] + left).saturating_sub(s.padding[1]);
            let count = s.in_width.saturating_sub(column).min(cut.pitch - left);
            for row in 0..cut.window[0] {
                let at = base + row * cut.pitch;
                let target = &mut rows[at..(at + cut.pitch).min(cut.degree)];
                let y = (first[0] + row).wrapping_sub(s.padding[0]);
                if y >= s.in_height || count == 0 {
                    target.fill(zeros);
                    continue;
                }
                let (before, rest) = target.split_at_mut(left);
                let (pixels, after) = rest.split_at_mut(count);
                before.fill(zeros);
                after.fill(zeros);
                let mut from = channels;
                for channel in &mut from {
                    *channel = (piece.image * s.in_channels + *channel) * plane + y * s.in_width + column;
                }
                self.gather_row(input, &from[..lanes], LANES * plane, pixels);
            }
            end = (base + cut.window[0] * cut.pitch).min(cut.degree);
        }
        rows[end..].fill(zeros);
    }

    /// Neighbouring pixels of up to eight planes, each from its own index on; the same pixels of the next eight, which are
    /// likely to be wanted next, are `ahead` words behind.
    #[inline(always)]
    fn gather_row(&self, input: &[u64], from: &[usize], ahead: usize, pixels: &mut [Words]) {
        let count = pixels.len();
        let mut at = 0;
        while at < count {
            if count >= LANES {
                at = at.min(count - LANES);
            }
            // Words behind a short row are read, but not written.
            let square = match <&[usize; LANES]>::try_from(from) {
                Ok(from) if from[LANES - 1] + at + LANES <= input.len() => {
                    read_square(input, from, at, ahead)
                }
                _ => read_less(input, from, at),
            };
            let square = self.field.transpose(square);
            match pixels[at..].first_chunk_mut::<LANES>() {
                Some(part) => {
                    for (pixel, words) in part.iter_mut().zip(square) {
                        *pixel = self.field.enter(words);
                    }
                }
                None => {
                    for (pixel, words) in pixels[at..].iter_mut().zip(square) {
                        *pixel = self.field.enter(words);
                    }
                }
            }
            at += LANES;
        }
    }

    /// The outputs in polynomial `poly` of up to eight output channels from `channel` on, `lanes` of them, into a batch.
    ///
    /// # Safety
    /// No other call for the same polynomial and channel may run at the same time.
    #[inline(always)]
    pub(super) unsafe fn scatter(
        &self,
        rows: &[Words],
        channel: usize,
        lanes: usize,
        poly: usize,
        output: &Planes<'_, u64>,
    ) {
        let s = self.geometry.shape();
        let (height, width) = (self.geometry.out_height(), self.geometry.out_width());
        let cut = self.cut;
        for slot in 0..cut.pieces {
            let Some(piece) = self.piece(poly, slot) else { break };
            let down = cut.tile[0].min(height - piece.start[0]);
            let across = cut.tile[1].min(width - piece.start[1]);
            for row in 0..down {
                let from = slot * cut.step + row * s.stride[0] * cut.pitch;
                let first = (piece.image * s.out_channels + channel) * height * width
                    + (piece.start[0] + row) * width
                    + piece.start[1];
                let mut at = 0;
                while at < across {
                    if across >= LANES {
                        at = at.min(across - LANES);
                    }
                    let count = LANES.min(across - at);
                    let mut square = [[0; LANES]; LANES];
                    match (s.stride[1], rows[from + at..].first_chunk::<LANES>()) {
                        // Beyond a short row lie other coefficients; they are not written.
                        (1, Some(pixels)) => {
                            for (words, pixel) in square.iter_mut().zip(pixels) {
                                *words = self.field.leave(*pixel);
                            }
                        }
                        (stride, _) => {
                            for (i, words) in square.iter_mut().enumerate().take(count) {
                                *words = self.field.leave(rows[from + (at + i) * stride]);
                            }
                        }
                    }
                    let square = self.field.transpose(square);
                    for (lane, words) in square.iter().enumerate() {
                        if lane == lanes {
                            break;
                        }
                        let to = first + lane * height * width + at;
                        if across >= LANES {
                            // SAFETY: pixels of one channel of one tile: this polynomial's and channel's alone.
                            let target = unsafe { output.stretch(to, LANES) };
                            prefetch(target.as_ptr().wrapping_add(LANES * height * width));
                            if let Some(target) = target.as_mut_array() {
                                *target = *words;
                            }
                        } else {
                            // SAFETY: as above.
                            let target = unsafe { output.stretch(to, count) };
                            for (target, word) in target.iter_mut().zip(words) {
                                *target = *word;
                            }
                        }
                    }
                    at += LANES;
                }
            }
        }
    }
}

/// Asks for the cache line of an address that will soon be used, wherever it points.
#[inline(always)]
fn prefetch(address: *const u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch changes no memory that the program can see and does not fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Eight neighbouring words of eight ascending places; asks for those `ahead` words behind.
#[inline(always)]
fn read_square(input: &[u64], from: &[usize; LANES], at: usize, ahead: usize) -> [Words; LANES] {
    let mut square = [[0; LANES]; LANES];
    for lane in 0..LANES {
        prefetch(input.as_ptr().wrapping_add(from[lane] + at + ahead));
        square[lane] = *input[from[lane] + at..].first_chunk().expect("the last place has eight words");
    }
    square
}

/// As [`read_square`] for fewer places, or where the input ends; what is missing is zero.
#[inline(never)]
fn read_less(input: &[u64], from: &[usize], at: usize) -> [Words; LANES] {
    let mut square = [[0; LANES]; LANES];
    for (row, from) in square.iter_mut().zip(from) {
        let words = &input[from + at..];
        let count = words.len().min(LANES);
        row[..count].copy_from_slice(&words[..count]);
    }
    square
}
