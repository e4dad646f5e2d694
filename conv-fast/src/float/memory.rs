//! Buffers of the float algorithms: aligned weights, padded planes, outputs that parallel tasks fill.
//!
//! Outputs are written once, never filled with zeros beforehand: tasks write into spare capacity and the length is set
//! when all have finished. Working memory is kept per thread from run to run ([`Buffer`], at most 48 MiB a thread, in practice
//! one or two).

#![expect(unsafe_code, reason = "spare capacity filled by parallel tasks, each its own part")]

use super::lanes::{Lanes, Numbers};
use rayon::prelude::*;
use std::cell::RefCell;
use std::marker::PhantomData;

/// Work below this many multiply-adds (about fifty microseconds) is not worth a second thread.
const SERIAL: u64 = 4_000_000;

/// Whether a run of `macs` multiply-adds should be spread over threads.
pub(super) fn spreads(macs: u64) -> bool {
    macs >= SERIAL && rayon::current_num_threads() > 1
}

/// 64 bytes on a multiple of 64, in which every bit pattern is a number.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u64; 8]);

impl Line {
    pub(super) const ZERO: Self = Self([0; 8]);

    /// The numbers in lines.
    #[inline(always)]
    pub(super) fn numbers<T: Numbers>(lines: &[Self]) -> &[T] {
        // SAFETY: f32 and f64, the only `Numbers`, need less alignment, divide 64 bytes into `BLOCK` and take all bits.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * T::BLOCK) }
    }

    /// As [`Line::numbers`], to write.
    #[inline(always)]
    pub(super) fn numbers_mut<T: Numbers>(lines: &mut [Self]) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * T::BLOCK) }
    }
}

thread_local! {
    /// Buffers of earlier tasks: fresh memory from the system costs more than the work of a small layer.
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Buffers that a thread keeps, and lines of the largest one it keeps (8 MiB).
const KEPT: usize = 6;
const KEPT_LINES: usize = 1 << 17;

/// Working memory, taken from what the thread has used before and given back on drop. It holds any numbers.
pub(super) struct Buffer<T> {
    lines: Vec<Line>,
    len: usize,
    holds: PhantomData<T>,
}

impl<T: Numbers> Buffer<T> {
    pub(super) fn new(len: usize) -> Self {
        let count = len.div_ceil(T::BLOCK);
        let mut lines = FREE.with_borrow_mut(|free| {
            let fits = (0..free.len()).filter(|&i| free[i].len() >= count).min_by_key(|&i| free[i].len());
            fits.or_else(|| (0..free.len()).min_by_key(|&i| free[i].len())).map(|i| free.swap_remove(i))
        });
        let lines = match lines.take() {
            Some(lines) if lines.len() >= count => lines,
            _ => vec![Line::ZERO; count],
        };
        Self { lines, len, holds: PhantomData }
    }

    #[inline(always)]
    pub(super) fn numbers(&self) -> &[T] {
        &Line::numbers(&self.lines)[..self.len]
    }

    #[inline(always)]
    pub(super) fn numbers_mut(&mut self) -> &mut [T] {
        &mut Line::numbers_mut(&mut self.lines)[..self.len]
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if lines.len() <= KEPT_LINES {
            // A thread that is ending keeps nothing.
            let _ = FREE.try_with(|free| {
                let mut free = free.borrow_mut();
                if free.len() < KEPT {
                    free.push(lines);
                }
            });
        }
    }
}

/// An output under construction, shared by tasks that write disjoint parts.
pub(super) struct Target<'a, T> {
    start: *mut T,
    len: usize,
    lives: PhantomData<&'a mut [T]>,
}

// SAFETY: the pointer is only written through, at places that the callers of `at` keep disjoint.
unsafe impl<T: Send> Send for Target<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Target<'_, T> {}

impl<T> Target<'_, T> {
    /// Where `rows` rows of `count` elements, `step` apart, start.
    ///
    /// # Panics
    /// If they do not lie inside.
    #[inline(always)]
    pub(super) fn at(&self, index: usize, rows: usize, step: usize, count: usize) -> *mut T {
        let last = index + (rows - 1) * step + count;
        assert!(last <= self.len && count <= self.len, "rows beyond the output");
        self.start.wrapping_add(index)
    }
}

/// A vector of `len` elements that `fill` writes.
///
/// # Safety
/// `fill` writes every element.
pub(super) unsafe fn filled<T: Numbers>(len: usize, fill: impl FnOnce(&Target<'_, T>)) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(len);
    fill(&Target { start: out.spare_capacity_mut().as_mut_ptr().cast(), len, lives: PhantomData });
    // SAFETY: the capacity is there, and by the caller's promise all of it has been written.
    unsafe { out.set_len(len) };
    out
}

/// Planes of `[rows, columns]` with zeros around, as many as `input` holds.
///
/// `padding` is top, left, bottom, right.
pub(super) fn padded<T: Numbers>(
    input: &[T],
    [rows, columns]: [usize; 2],
    padding: [usize; 4],
    spread: bool,
) -> Buffer<T> {
    let [top, left, bottom, right] = padding;
    let (height, width) = (rows + top + bottom, columns + left + right);
    let planes = input.len() / (rows * columns);
    let mut out = Buffer::new(planes * height * width);
    let fill = |(target, plane): (&mut [T], &[T])| {
        target[..top * width].fill(T::default());
        target[(top + rows) * width..].fill(T::default());
        let lines = target[top * width..(top + rows) * width].chunks_exact_mut(width);
        for (line, row) in lines.zip(plane.chunks_exact(columns)) {
            line[..left].fill(T::default());
            line[left..left + columns].copy_from_slice(row);
            line[left + columns..].fill(T::default());
        }
    };
    let targets = out.numbers_mut();
    if spread {
        let targets = targets.par_chunks_exact_mut(height * width);
        targets.zip(input.par_chunks_exact(rows * columns)).with_min_len(8).for_each(fill);
    } else {
        targets.chunks_exact_mut(height * width).zip(input.chunks_exact(rows * columns)).for_each(fill);
    }
    out
}

/// Writes `count` pixels of up to `LEN` channels, pixels `from_step` apart, as rows of channels, `to_step` apart.
///
/// # Safety
/// The machine has the instruction set of L; `count` rounded up to a multiple of `LEN` pixels can be read, `channels` rows
/// of `count` can be written.
#[inline(always)]
pub(super) unsafe fn scatter<L: Lanes>(
    from: *const L::Number,
    from_step: usize,
    [count, channels]: [usize; 2],
    to: *mut L::Number,
    to_step: usize,
) {
    // SAFETY: the caller's promises; the square below has room for LEN rows of LEN ≤ 16.
    unsafe {
        let mut pixel = 0;
        while pixel < count {
            let from = from.add(pixel * from_step);
            if pixel + L::LEN <= count && channels >= L::LEN {
                L::transpose(from, from_step, to.add(pixel), to_step);
            } else {
                let mut square = [L::Number::default(); 256];
                L::transpose(from, from_step, square.as_mut_ptr(), L::LEN);
                let some = L::LEN.min(count - pixel);
                for channel in 0..channels.min(L::LEN) {
                    for i in 0..some {
                        *to.add(channel * to_step + pixel + i) = square[channel * L::LEN + i];
                    }
                }
            }
            pixel += L::LEN;
        }
    }
}

/// Reads `count` pixels of up to `LEN` channels out of rows of channels, `from_step` apart, as `[pixel][LEN]`; missing
/// channels are zero.
///
/// # Safety
/// The machine has the instruction set of L; `channels` rows of `count` can be read, `count·LEN` numbers written.
#[inline(always)]
pub(super) unsafe fn gather<L: Lanes>(
    from: *const L::Number,
    from_step: usize,
    [count, channels]: [usize; 2],
    to: *mut L::Number,
) {
    // SAFETY: the caller's promises; the square below has room for LEN rows of LEN ≤ 16.
    unsafe {
        if count >= L::LEN && channels >= L::LEN {
            let mut pixel = 0;
            loop {
                L::transpose(from.add(pixel), from_step, to.add(pixel * L::LEN), L::LEN);
                if pixel + L::LEN == count {
                    break;
                }
                // The last square overlaps the one before.
                pixel = (pixel + L::LEN).min(count - L::LEN);
            }
            return;
        }
        let mut pixel = 0;
        while pixel < count {
            let some = L::LEN.min(count - pixel);
            let mut square = [L::Number::default(); 256];
            for channel in 0..channels.min(L::LEN) {
                for i in 0..some {
                    square[channel * L::LEN + i] = *from.add(channel * from_step + pixel + i);
                }
            }
            for i in 0..some {
                for lane in 0..L::LEN {
                    *to.add((pixel + i) * L::LEN + lane) = square[lane * L::LEN + i];
                }
            }
            pixel += L::LEN;
        }
    }
}
