//! Few channels per group: vectors are output pixels, weights are broadcast.
//!
//! The padded input plane of a channel is split by the strides into s₀·s₁ *phases*, planes of every s₀-th row and s₁-th
//! column, so that a tap reads the same pixels of one phase for every output, at a fixed distance:
//!
//! ```text
//! output (y, x) at y·w + x,   tap (i, j) at phase (i·d₀ mod s₀, j·d₁ mod s₁) + (⌊i·d₀/s₀⌋ + y)·w + ⌊j·d₁/s₁⌋ + x
//! ```
//!
//! with w the columns of a phase: one run over y·w + x, whatever the geometry, that also computes the few positions between
//! the rows and drops them. Sums run over channel, row and column of the kernel, as in the definition.
//!
//! Made for depthwise layers, it takes every geometry, and pays as long as a group has few output channels.
//!
//! Memory: the weights; per task the phases of a group's input channels.

#![expect(unsafe_code, reason = "vector arithmetic, disjoint writes")]

use super::lanes::{Job, Lanes, Numbers, dispatch, repeat};
use super::memory::{Buffer, Target, filled, spreads};
use crate::tasks::{ALONE, in_parallel};
use crate::{ConvGeometry, Kernel};
use std::ops::Range;

/// Vectors of sums at a time.
const WIDE: usize = 8;
/// Numbers of the phases of groups that are taken together.
const NEAR: usize = 2048;
/// Rows of outputs at a time where the kernel is dense.
const ROWS: usize = 4;
/// Multiply-adds of a task, at least.
const TASK: u64 = 500_000;

/// Prepared weights.
pub(super) struct Depthwise<T> {
    geometry: ConvGeometry,
    kernel: Kernel,
    weights: Vec<T>,
    /// Of every term of a sum, from position 0.
    offsets: Vec<usize>,
    /// Rows and columns of a phase.
    phase: [usize; 2],
}

impl<T: Numbers> Depthwise<T> {
    pub(super) fn new(geometry: &ConvGeometry, weights: &[T], kernel: Kernel) -> Self {
        let s = geometry.shape();
        let height = s.in_height + s.padding[0] + s.padding[2];
        let width = s.in_width + s.padding[1] + s.padding[3];
        let phase = [height.div_ceil(s.stride[0]), width.div_ceil(s.stride[1])];
        let mut offsets = Vec::with_capacity(geometry.terms());
        for channel in 0..geometry.group_inputs() {
            for i in 0..s.kernel[0] {
                for j in 0..s.kernel[1] {
                    let (row, column) = (i * s.dilation[0], j * s.dilation[1]);
                    let part = (row % s.stride[0]) * s.stride[1] + column % s.stride[1];
                    let plane = channel * s.stride[0] * s.stride[1] + part;
                    offsets.push((plane * phase[0] + row / s.stride[0]) * phase[1] + column / s.stride[1]);
                }
            }
        }
        Self { geometry: geometry.clone(), kernel, weights: weights.to_vec(), offsets, phase }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
    }

    pub(super) fn run(&self, input: &[T], batch: usize) -> Vec<T> {
        let groups = batch * self.geometry.shape().groups;
        let macs = self.geometry.macs() * batch as u64;
        let each = (TASK / (macs / groups as u64).max(1)).max(1) as usize;
        let fill = |output: &Target<'_, T>| {
            let task = |index: usize| {
                let groups = index * each..((index + 1) * each).min(groups);
                dispatch(self.kernel, Chunk { conv: self, input, output, groups });
            };
            let tasks = groups.div_ceil(each);
            in_parallel(tasks, if spreads(macs) { 1 } else { ALONE }, task);
        };
        // SAFETY: tasks cover the groups of all images, hence every output.
        unsafe { filled(batch * self.geometry.output_len(), fill) }
    }
}

/// One task: some groups, counted through all images.
struct Chunk<'a, T> {
    conv: &'a Depthwise<T>,
    input: &'a [T],
    output: &'a Target<'a, T>,
    groups: Range<usize>,
}

impl<T: Numbers> Job<T> for Chunk<'_, T> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let Self { conv, input, output, groups } = self;
        let geometry = &conv.geometry;
        let s = geometry.shape();
        let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
        let (height, width) = (geometry.out_height(), geometry.out_width());
        let plane = s.in_height * s.in_width;
        let phases = s.stride[0] * s.stride[1] * conv.phase[0] * conv.phase[1];
        let positions = (height - 1) * conv.phase[1] + width;
        let slack = WIDE * L::LEN;
        // Several small groups at a time, so that what is read was written some time ago.
        let batch = (NEAR / (inputs * phases)).clamp(1, groups.len().max(1));
        let mut planes: Buffer<T> = Buffer::new(batch * inputs * phases + slack);
        let mut sums: Buffer<T> = Buffer::new(batch * (positions + slack));
        // Padding stays zero from group to group.
        planes.numbers_mut().fill(T::default());
        for first in groups.clone().step_by(batch) {
            let batch = batch.min(groups.end - first);
            let channels = input[first * inputs * plane..][..batch * inputs * plane].chunks_exact(plane);
            for (from, to) in channels.zip(planes.numbers_mut().chunks_exact_mut(phases)) {
                // SAFETY: the machine has the set of L.
                unsafe { split::<L>(conv, from, to) };
            }
            for o in 0..outputs {
                let to =
                    |g: usize| output.at(((first + g) * outputs + o) * height * width, height, width, width);
                let all = sums.numbers_mut().as_mut_ptr();
                for g in 0..batch {
                    let weights = ((first + g) % s.groups * outputs + o) * geometry.terms();
                    let weights = &conv.weights[weights..][..geometry.terms()];
                    let planes = &planes.numbers()[g * inputs * phases..];
                    let steps = [phases, conv.phase[1]];
                    // SAFETY: the machine has the set of L. A tap's offset and a position together stay inside the phases
                    // of a group, the last vectors inside the slack. This plane of the output is this task's alone.
                    unsafe {
                        match blocked::<L>(conv) {
                            Some(3) => blocks::<L, 3>(weights, planes, steps, to(g), [height, width]),
                            Some(_) => blocks::<L, 5>(weights, planes, steps, to(g), [height, width]),
                            None => {
                                let sums = all.add(g * (positions + slack));
                                runs::<L>(weights, &conv.offsets, planes.as_ptr(), sums, positions);
                            }
                        }
                    }
                }
                if blocked::<L>(conv).is_none() {
                    for g in 0..batch {
                        for y in 0..height {
                            // SAFETY: as above; row y of the sums of a group.
                            unsafe {
                                let sums = all.add(g * (positions + slack) + y * conv.phase[1]);
                                copy::<L>(sums, to(g).add(y * width), width);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The size of a square kernel without strides and dilations, 3 or 5, on planes large enough for [`blocks`].
#[inline(always)]
fn blocked<L: Lanes>(conv: &Depthwise<L::Number>) -> Option<usize> {
    let s = conv.geometry.shape();
    let plain = s.stride == [1, 1] && s.dilation == [1, 1] && s.kernel[0] == s.kernel[1];
    let large = conv.geometry.out_height() >= ROWS && conv.geometry.out_width() >= L::LEN;
    (plain && large && [3, 5].contains(&s.kernel[0])).then_some(s.kernel[0])
}

/// A plane of outputs of a dense K×K kernel, in blocks of [`ROWS`] rows and two vectors, so that a loaded vector serves
/// all the rows that read it. Blocks at the ends overlap their neighbours.
///
/// `planes` has channels `steps[0]` and rows `steps[1]` apart.
///
/// # Safety
/// The machine has the instruction set of L; sizes are at least `ROWS` and `LEN`; planes hold all windows, `to` the outputs.
#[inline(always)]
unsafe fn blocks<L: Lanes, const K: usize>(
    weights: &[L::Number],
    planes: &[L::Number],
    [channel, row]: [usize; 2],
    to: *mut L::Number,
    [height, width]: [usize; 2],
) {
    let mut y = 0;
    while y < height {
        let top = y.min(height - ROWS);
        let mut x = 0;
        while x < width {
            let columns = [x, x + L::LEN].map(|x| x.min(width - L::LEN));
            // SAFETY: as the caller's.
            unsafe {
                let mut sums = [[L::splat(L::Number::default()); 2]; ROWS];
                for (c, weights) in weights.chunks_exact(K * K).enumerate() {
                    let plane = planes.as_ptr().add(c * channel + top * row);
                    repeat!(A in 0 1 2 3 4 5 6 7 {
                        if A < K + ROWS - 1 {
                            for j in 0..K {
                                for (i, &x) in columns.iter().enumerate() {
                                    let value = L::load(plane.add(A * row + x + j));
                                    repeat!(R in 0 1 2 3 {
                                        if A.wrapping_sub(R) < K {
                                            let weight = L::splat(weights[A.wrapping_sub(R) * K + j]);
                                            sums[R][i] = value.mul_add(weight, sums[R][i]);
                                        }
                                    });
                                }
                            }
                        }
                    });
                }
                for (r, sums) in sums.iter().enumerate() {
                    for (sum, &x) in sums.iter().zip(&columns) {
                        sum.store(to.add((top + r) * width + x));
                    }
                }
            }
            x += 2 * L::LEN;
        }
        y += ROWS;
    }
}

/// All sums, in runs of vectors.
///
/// # Safety
/// The machine has the instruction set of L; `positions` and [`WIDE`] vectors more can be read at every offset and written.
#[inline(always)]
unsafe fn runs<L: Lanes>(
    weights: &[L::Number],
    offsets: &[usize],
    planes: *const L::Number,
    sums: *mut L::Number,
    positions: usize,
) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut at = 0;
        while at < positions {
            let (from, to) = (planes.add(at), sums.add(at));
            if at + (WIDE - 4) * L::LEN < positions {
                run_of::<L, WIDE>(weights, offsets, from, to);
                at += WIDE * L::LEN;
            } else {
                run_of::<L, 4>(weights, offsets, from, to);
                at += 4 * L::LEN;
            }
        }
    }
}

/// V vectors of neighbouring sums.
///
/// # Safety
/// The machine has the instruction set of L; V vectors can be read at every offset and written to `sums`.
#[inline(always)]
unsafe fn run_of<L: Lanes, const V: usize>(
    weights: &[L::Number],
    offsets: &[usize],
    planes: *const L::Number,
    sums: *mut L::Number,
) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut acc = [L::splat(L::Number::default()); V];
        for (&weight, &offset) in weights.iter().zip(offsets) {
            let weight = L::splat(weight);
            for (v, acc) in acc.iter_mut().enumerate() {
                *acc = L::load(planes.add(offset + v * L::LEN)).mul_add(weight, *acc);
            }
        }
        for (v, acc) in acc.into_iter().enumerate() {
            acc.store(sums.add(v * L::LEN));
        }
    }
}

/// Copies a row of `count` numbers.
///
/// # Safety
/// The machine has the instruction set of L; both rows have the length, and do not overlap.
#[inline(always)]
unsafe fn copy<L: Lanes>(from: *const L::Number, to: *mut L::Number, count: usize) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut at = 0;
        while at + L::LEN <= count {
            L::load(from.add(at)).store(to.add(at));
            at += L::LEN;
        }
        if at < count {
            L::load_some(from.add(at), count - at).store_some(to.add(at), count - at);
        }
    }
}

/// Writes the pixels of a plane into its phases; what they do not reach is left as it is.
///
/// # Safety
/// The machine has the instruction set of L.
#[inline(always)]
unsafe fn split<L: Lanes>(conv: &Depthwise<L::Number>, from: &[L::Number], to: &mut [L::Number]) {
    let s = conv.geometry.shape();
    let ([height, width], [down, across]) = (conv.phase, s.stride);
    // Where the phases of the pixels 0 and 1 of a row start.
    let first = s.padding[1] % across * height * width + s.padding[1] / across;
    let second = (s.padding[1] + 1) % across * height * width + (s.padding[1] + 1) / across;
    let (len, rows) = (s.in_width, s.in_height);
    // The row of phases, and the row in them, of the first pixels and of the last.
    let (mut part, mut row) = (s.padding[0] % down, s.padding[0] / down);
    assert!(from.len() == rows * len && to.len() == down * across * height * width, "a plane and its phases");
    for y in 0..rows {
        let line = part * across * height * width + row * width;
        let pixels = &from[y * len..][..len];
        part += 1;
        if part == down {
            (part, row) = (0, row + 1);
        }
        // SAFETY: the machine has the set of L. Pixel x of a padded row is number ⌊x/s₁⌋ of phase x mod s₁, which has
        // ⌈width/s₁⌉ columns, and likewise for rows; so all places lie inside the phases.
        unsafe {
            let (from, line) = (pixels.as_ptr(), to.as_mut_ptr().add(line));
            match across {
                1 => copy::<L>(from, line.add(first), len),
                2 => deinterleave::<L>(from, [line.add(first), line.add(second)], len),
                _ => {
                    for (x, &pixel) in pixels.iter().enumerate() {
                        let x = x + s.padding[1];
                        *line.add(x % across * height * width + x / across) = pixel;
                    }
                }
            }
        }
    }
}

/// Copies numbers of even index to one place and those of odd index to another.
///
/// # Safety
/// The machine has the instruction set of L; ⌈count/2⌉ and ⌊count/2⌋ numbers can be written, and nothing overlaps.
#[inline(always)]
unsafe fn deinterleave<L: Lanes>(from: *const L::Number, to: [*mut L::Number; 2], count: usize) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut at = 0;
        while at + 2 * L::LEN <= count {
            let [even, odd] = L::halves(L::load(from.add(at)), L::load(from.add(at + L::LEN)));
            even.store(to[0].add(at / 2));
            odd.store(to[1].add(at / 2));
            at += 2 * L::LEN;
        }
        let (from, some) = (from.add(at), count - at);
        let first = L::load_some(from, some.min(L::LEN));
        let second = L::load_some(from.add(some.min(L::LEN)), some.saturating_sub(L::LEN));
        let [even, odd] = L::halves(first, second);
        even.store_some(to[0].add(at / 2), some.div_ceil(2));
        odd.store_some(to[1].add(at / 2), some / 2);
    }
}
