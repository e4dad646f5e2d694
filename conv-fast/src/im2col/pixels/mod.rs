//! The matrix product with pixels as lanes: sixteen neighbouring outputs of one channel are one vector.
//!
//! Planes come in and go out as they are. A vector of words holds the digits of two channels at sixteen neighbouring pixels,
//! weights are broadcast, and sums are stored straight into the output's planes: nothing is transposed, and sums never
//! leave the registers ([`kernel`]). So the way in and out costs a fraction of what it costs with channels as lanes, which
//! decides where an output sums few products. At the end of a plane, where a vector would be nearly empty, outputs are the lanes
//! ([`few`]). Planes that fill their vectors badly all the same (4×4, say) are left to the other form ([`choose`] compares), as is
//! everything else that this one has no kernel for: machines without AVX-512, weights of more than 16 bits, rings of at most 16
//! bits.
//!
//! | step | where | per |
//! |---|---|---|
//! | values to words of digits | `gather` | job: a rectangle of outputs whose digits fit a part of the second-level cache; or the part of it that a thread takes |
//! | addresses of taps, pieces of sixteen outputs | `layout` | layer |
//! | weights, folding of sums, constants | `pack` | layer |
//! | multiply, fold | `kernel` | piece × up to 24/D outputs |
//! | multiply, fold where a piece has up to four outputs | `few` | up to four pixels × up to 24/D outputs |
//! | reduce, store | `decode` | sixteen outputs |
//!
//! Everything that depends neither on the batch nor on the number of threads is made once, at preparation. Memory: 2 bytes per weight, 12 per piece, and per
//! thread the words of one job and of four pixels, and in layers of many terms the sums of a piece.

#![expect(unsafe_code, reason = "calls of AVX-512 kernels")]

mod choose;
mod decode;
mod few;
mod gather;
mod kernel;
mod layout;
mod pack;

pub(crate) use choose::work;

use super::Weight;
use crate::kernel::Kernel;
use crate::layout::Planes;
use crate::matmul::{Buffer, Cut};
use crate::scratch::with_words;
use crate::tasks::{self, in_parallel, part_of};
use crate::{ConvGeometry, Ring, Word};
use choose::choose;
use decode::Decode;
use few::Few;
use gather::{Digits, Gather};
use kernel::{Call, MAX_SUMS};
use layout::{FEW, Job, Layout, Part, WIDTH};
use pack::{Fold, Group, panels, terms};
use std::cell::RefCell;
use std::ops::Range;

/// Most words of digits of a job.
const MOST: usize = 1 << 22;
/// Words that are multiplied again and again while the first-level cache holds them.
const NEAR: usize = 2 << 10;
/// Most cache lines of one piece that are loaded for a panel out of that cache; words that lie in two lines count twice.
const LINES: usize = 700;
/// Multiply-adds (sixteen lanes) that are worth a task of their own: about 8 µs.
const ENOUGH_WORK: usize = 50_000;

/// Tasks per thread, so that threads finish together.
const TASKS_PER_THREAD: usize = 2;
/// Pieces of a job that are worth a task of their own: of fewer, one more or less would keep a thread waiting.
const ENOUGH_PIECES: usize = 8;

thread_local! {
    static WORDS: RefCell<Buffer> = RefCell::default();
}

/// A layer prepared in this form.
pub(super) struct Pixels {
    layout: Layout,
    digits: Digits,
    cut: Cut,
    fold: Fold,
    folds: Vec<usize>,
    decode: Decode,
    groups: Vec<Group>,
    /// Distance of each term's word.
    offsets: Vec<u32>,
    /// In how many parts a piece takes them.
    stretches: usize,
    /// Channels of a group.
    inputs: usize,
    outputs: usize,
    /// Outputs of each panel.
    panels: Vec<Range<usize>>,
    neighbours: bool,
}

impl Pixels {
    /// `None` where this form has no kernel, or is likely to be the slower one.
    pub(super) fn new(
        geometry: &ConvGeometry,
        ring: &Ring,
        weight: &Weight<'_>,
        kernel: Kernel,
    ) -> Option<Self> {
        if kernel != Kernel::Avx512 {
            return None;
        }
        let (copies, _) = choose(geometry, ring)?;
        Self::with_copies(geometry, ring, weight, copies)
    }

    /// As [`Pixels::new`] with the layout given, be it fast or not.
    fn with_copies(geometry: &ConvGeometry, ring: &Ring, weight: &Weight<'_>, copies: bool) -> Option<Self> {
        let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
        let s = geometry.shape();
        let kernel_taps = s.kernel[0] * s.kernel[1];
        let planes = inputs.div_ceil(2);
        if !Kernel::Avx512.is_available() {
            return None;
        }
        let (mut greatest, mut norm) = (0, 0);
        for row in 0..s.groups * outputs {
            let row = row * inputs * kernel_taps..(row + 1) * inputs * kernel_taps;
            let (most, sum) = row.fold((0u64, 0u64), |(most, sum), at| {
                let size = weight(at).unsigned_abs();
                (most.max(size), sum.saturating_add(size))
            });
            (greatest, norm) = (greatest.max(most), norm.max(sum));
        }
        // As few digits as possible: folding is cheap.
        let digits = ring.bits().div_ceil(16) as usize;
        if digits == 1 || greatest > i16::MAX as u64 {
            return None;
        }
        let cut =
            Cut { digits, bits: ring.bits().div_ceil(digits as u32), parts: 1, part_bits: 16, block: 1 };
        let layout = Layout::new(geometry, digits, copies)?;
        if layout.plane.saturating_mul(planes * digits) > MOST {
            return None;
        }
        let terms = terms(inputs, &layout.taps);
        let offset = |term: &pack::Term| (term.plane * cut.digits * layout.plane + term.tap) as u32;
        let offsets: Vec<u32> = terms.iter().map(offset).collect();
        let stretches = (lines(&layout, &offsets) * cut.digits).div_ceil(LINES).max(1);
        let fold = Fold::new(ring, &cut)?;
        let decode = Decode::new(ring, &cut, if norm > fold.room(&cut) { u64::MAX } else { norm });
        let panels = panels(outputs, MAX_SUMS / cut.digits);
        let pack = |group: usize| {
            let weight = |output: usize, channel: usize, tap: usize| {
                weight(((group * outputs + output) * inputs + channel) * kernel_taps + tap) as i32
            };
            Group::new(ring, &cut, &panels, &terms, decode.offset(ring), &weight)
        };
        let groups: Vec<Group> = (0..s.groups).map(pack).collect();
        let folds = Group::folds(&groups, &panels, terms.len(), fold.room(&cut))?;
        let neighbours = terms.last().is_some_and(|term| term.plane * 2 + 1 == inputs)
            && terms.iter().any(|term| term.plane * 2 + 1 == inputs && term.high.is_some());
        let digits = Digits { bits: cut.bits };
        let pixels = Self {
            layout,
            digits,
            cut,
            fold,
            folds,
            decode,
            groups,
            offsets,
            stretches,
            inputs,
            outputs,
            panels,
            neighbours,
        };
        pixels.check();
        Some(pixels)
    }

    /// What the unchecked accesses of the kernel rest on.
    ///
    /// # Panics
    /// If a piece could read beyond the words of a job or write beyond a plane.
    fn check(&self) {
        let Layout { plane, out, jobs, .. } = &self.layout;
        let reach = self.offsets.iter().max().map_or(0, |&most| most as usize)
            + (self.cut.digits - 1) * plane
            + WIDTH;
        let pieces = jobs.iter().flat_map(|job| &job.pieces);
        for piece in pieces {
            assert!(piece.start as usize + reach <= self.words(), "words of a piece");
            assert!(
                piece.place as usize + piece.mask.count_ones() as usize <= out[0] * out[1],
                "place of a piece"
            );
        }
        let (terms, digits) = (self.offsets.len(), self.cut.digits);
        for group in &self.groups {
            assert_eq!(
                (group.weights.len(), group.start.len()),
                (self.outputs * terms, self.outputs * digits)
            );
        }
        assert!(self.folds.is_sorted() && self.folds.iter().all(|&fold| fold < terms), "places of foldings");
    }

    /// Words of digits of a job.
    fn words(&self) -> usize {
        self.inputs.div_ceil(2) * self.cut.digits * self.layout.plane
    }

    /// Bytes of the prepared weights, and of what goes with them.
    pub(super) fn bytes(&self) -> usize {
        let weights =
            |group: &Group| size_of_val(group.weights.as_slice()) + size_of_val(group.start.as_slice());
        let pieces = |job: &Job| size_of_val(job.pieces.as_slice());
        self.groups.iter().map(weights).sum::<usize>()
            + self.layout.jobs.iter().map(pieces).sum::<usize>()
            + size_of_val(self.offsets.as_slice())
    }

    /// Convolves `batch` images.
    ///
    /// # Panics
    /// Unless `input` and `output` have the lengths that the geometry and `batch` ask for.
    pub(super) fn run_into<W: Word>(&self, input: &[W], batch: usize, output: &mut [W]) {
        let pixels = self.layout.out[0] * self.layout.out[1] * self.groups.len() * batch;
        let work = self.offsets.len() * self.cut.digits * self.outputs * pixels / WIDTH;
        self.run_shared(input, batch, output, work / ENOUGH_WORK + 1);
    }

    /// As [`Pixels::run_into`], the work being worth `most` tasks.
    fn run_shared<W: Word>(&self, input: &[W], batch: usize, output: &mut [W], most: usize) {
        let Layout { image, out, jobs, .. } = &self.layout;
        let groups = self.groups.len();
        let lens = [image[0] * image[1] * self.inputs, out[0] * out[1] * self.outputs];
        assert_eq!([input.len(), output.len()], lens.map(|len| batch * groups * len), "numbers of values");
        let output = Planes::new(output);
        let (jobs_in_all, panels) = (batch * groups * jobs.len(), self.panels.len());
        // Where there are not enough jobs, the pieces of a job are shared, and then its outputs: each of these parts gathers what
        // it reads.
        let wanted = tasks::number(most, TASKS_PER_THREAD).div_ceil(jobs_in_all);
        let runs = (jobs[0].pieces.len() / ENOUGH_PIECES).clamp(1, wanted);
        let shares = wanted.div_ceil(runs).min(panels);
        let task = |number: usize| {
            let (rest, share) = (number / shares, number % shares);
            let (rest, run) = (rest / runs, rest % runs);
            let (block, job) = (rest / jobs.len(), &jobs[rest % jobs.len()]);
            let part = job.part(part_of(job.pieces.len(), run, runs), &self.layout.distances);
            let panels = part_of(panels, share, shares);
            let input = &input[block * lens[0]..][..lens[0]];
            let place = (output.words(block * lens[1], lens[1]), panels);
            // SAFETY: only machines with AVX-512 have such a layer, and tasks differ in image, group, pieces or panels.
            unsafe {
                match self.cut.digits {
                    2 => self.part::<W, 2>(block % groups, &part, input, place),
                    // No ring of three digits fits a shorter word.
                    3 if W::BITS > 32 => self.part::<W, 3>(block % groups, &part, input, place),
                    _ if W::BITS > 32 => self.part::<W, 4>(block % groups, &part, input, place),
                    digits => unreachable!("{digits} digits in words of {} bits", W::BITS),
                }
            }
        };
        let count = jobs_in_all * runs * shares;
        in_parallel(count, (count / most).max(1), task);
    }

    /// Some panels of a part of a job; `input` and `out` are the group's.
    ///
    /// # Safety
    /// The machine has the features of [`Kernel::Avx512`]; `out` points to the group's output, and nobody else writes these
    /// pieces of these panels.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn part<W: Word, const D: usize>(
        &self,
        group: usize,
        part: &Part<'_>,
        input: &[W],
        (out, range): (*mut W, Range<usize>),
    ) {
        let (layout, group) = (&self.layout, &self.groups[group]);
        let out_plane = layout.out[0] * layout.out[1];
        WORDS.with_borrow_mut(|buffer| {
            let terms = self.offsets.len();
            let (stretches, stretch) = (self.stretches, terms.div_ceil(self.stretches));
            let most = (NEAR / (stretch * D * WIDTH)).max(1);
            // Of a piece, if they have to wait.
            let waiting = if stretches > 1 { self.outputs * D * WIDTH } else { 0 };
            let (words, rest) =
                buffer.words(self.words() + most * waiting + terms * D * FEW).split_at_mut(self.words());
            let (sums, room) = rest.split_at_mut(most * waiting);
            let sums = sums.as_mut_ptr();
            let Self { digits, neighbours, inputs: channels, .. } = *self;
            with_words(2 * layout.image[1], |line| {
                let gather = Gather { layout, digits, input, channels, neighbours };
                // SAFETY: the caller's promise.
                unsafe { gather.rows::<D>(&part.rows, words, line) };
            });
            let call = |part: Range<usize>, panels: &[Range<usize>]| {
                let (first, count, outputs) = (panels[0].start, panels.len(), panels[0].len());
                let folds = [part.start, part.end].map(|end| self.folds.partition_point(|&fold| fold < end));
                Call {
                    words,
                    offsets: &self.offsets,
                    terms: part,
                    folds: &self.folds[folds[0]..folds[1]],
                    fold: &self.fold,
                    plane: layout.plane,
                    decode: &self.decode,
                    panels: count,
                    outputs,
                    weights: &group.weights[first * terms..][..count * outputs * terms],
                    start: &group.start[first * D..][..count * outputs * D],
                    sums: sums.wrapping_add(first * D * WIDTH),
                    sums_piece: waiting,
                    out: out.wrapping_add(first * out_plane),
                    out_plane,
                }
            };
            // Panels of the largest size by stretches, all others at once.
            let in_steps_of = |size: usize| -> Vec<Call<'_, W>> {
                let mut calls = Vec::new();
                for panels in self.panels[range.clone()].chunk_by(|a, b| a.len() == b.len()) {
                    let step = if panels[0].len() == MAX_SUMS / D { size } else { terms };
                    calls.extend(
                        (0..terms).step_by(step).map(|from| call(from..terms.min(from + step), panels)),
                    );
                }
                calls
            };
            let (whole, calls) = (in_steps_of(terms), in_steps_of(stretch));
            for pieces in part.pieces.chunk_by(|a, b| !a.few() && !b.few()).flat_map(|run| run.chunks(most)) {
                if pieces[0].few() {
                    let few = Few::new::<D>(pieces[0], words, (&self.offsets, layout.plane), room);
                    // SAFETY: as below.
                    whole.iter().for_each(|call| unsafe { call.few::<D>(&few) });
                } else {
                    // SAFETY: `check` looked after words and places, and there is room for the sums that wait; the rest is the
                    // caller's promise.
                    calls.iter().for_each(|call| unsafe { call.run::<D>(pieces) });
                }
            }
        });
    }
}

/// Cache lines that are loaded for one digit of a piece; words that lie in two lines take both.
fn lines(layout: &Layout, offsets: &[u32]) -> usize {
    let start = layout.jobs.iter().flat_map(|job| &job.pieces).next().map_or(0, |piece| piece.start as usize);
    offsets.iter().map(|&offset| if (start + offset as usize).is_multiple_of(WIDTH) { 1 } else { 2 }).sum()
}

#[cfg(test)]
mod tests;
