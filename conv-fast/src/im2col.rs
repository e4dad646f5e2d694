//! Convolution as one matrix product, without ever writing the matrix down.
//!
//! The matrix "image to column" would hold each pixel once per tap. Here the zero-padded pixels are written once, as 16-bit
//! digits, and a column of the matrix is nothing but addresses: strides, dilations and paddings cost nothing. Two forms:
//!
//! - *Pixels as lanes* ([`pixels`]): a vector is sixteen neighbouring pixels of two channels, weights are broadcast, results are
//!   stored as they are. For planes that fill vectors; AVX-512 only.
//! - *Channels as lanes*, the rest of this module: a vector is the weights of sixteen outputs, pixels are broadcast. Digits lie
//!   with channels innermost ([`gather`]); the terms of an output are runs of consecutive words at fixed distances from it,
//!   one per tap, or one per kernel row where pixels follow each other without gaps. The products are those of
//!   [`crate::matmul`]. For small planes and many channels, for all instruction sets, for weights of any length.
//!
//! In both, work is cut into jobs, rectangles of outputs (or some small images) and all or some panels of output channels. A job's
//! digits fit half of a core's second-level cache, and it needs nothing but them, the weights, and its part of the output. Which
//! jobs there are never changes a result.
//!
//! Any geometry and both rings are supported. Work per image: D/32 instructions (sixteen lanes, two terms each) per weight
//! and output position; memory: 2 bytes per weight, and per thread 2·D bytes per stored pixel and channel of a job.

#![expect(unsafe_code, reason = "disjoint writes from parallel jobs")]

mod gather;
#[cfg(target_arch = "x86_64")]
mod pixels;
mod scatter;
mod view;

#[cfg(target_arch = "x86_64")]
pub(crate) use pixels::work;
pub(crate) use view::View;

use crate::kernel::{Kernel, Task};
use crate::lanes::LANES;
use crate::layout::Planes;
use crate::matmul::{Buffer, Panels, Segments, Sums};
use crate::tasks::in_parallel;
use crate::{ConvError, ConvGeometry, Ring, Word};
use gather::Gather;
use std::cell::RefCell;
use view::{Extent, Job};

/// Words of digits of a job, half of a usual second-level cache.
const JOB_WORDS: usize = 1 << 17;
/// Outputs of a job that are worth loading a panel of weights for.
const ENOUGH_PIXELS: usize = 192;
/// Multiply-adds (sixteen lanes) that are worth a task of their own: about 15 µs.
const ENOUGH_WORK: usize = 100_000;
/// Jobs per thread, so that threads finish together.
const JOBS_PER_THREAD: usize = 3;
/// Outputs between two transposes.
const BATCH: usize = 48;
/// Blocks of eight outputs in a panel, at most.
const BLOCKS: usize = 4;

/// A weight by its flat index.
type Weight<'a> = dyn Fn(usize) -> i64 + 'a;

pub(crate) struct Im2col(Form);

/// What the lanes are.
enum Form {
    Channels {
        view: View,
        panels: Panels,
    },
    #[cfg(target_arch = "x86_64")]
    Pixels(pixels::Pixels),
}

/// Buffers of a thread.
#[derive(Default)]
struct Scratch {
    words: Buffer,
    line: Vec<u64>,
    starts: Vec<usize>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Im2col {
    /// Prepares `weights`, flat as in [`ConvGeometry`].
    ///
    /// # Errors
    /// [`ConvError::Modulus`] for primes above 2^52, [`ConvError::TooLarge`] if the weights of one output sum to more than
    /// 2^45.
    pub(crate) fn new(
        geometry: &ConvGeometry,
        ring: impl Into<Ring>,
        weights: &[i32],
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        Self::with_weights(geometry, &ring.into(), &|index| i64::from(weights[index]), kernel)
    }

    /// As [`Im2col::new`] with the weight of each flat index, up to 2^36.
    ///
    /// # Errors
    /// As [`Im2col::new`], and [`ConvError::TooLarge`] for a weight beyond 2^36.
    pub(crate) fn with_weights(
        geometry: &ConvGeometry,
        ring: &Ring,
        weight: &Weight<'_>,
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        #[cfg(target_arch = "x86_64")]
        if let Some(pixels) = pixels::Pixels::new(geometry, ring, weight, kernel) {
            return Ok(Self(Form::Pixels(pixels)));
        }
        let view = View::new(geometry);
        let panels = pack(&view, ring, geometry.terms(), weight, kernel)?;
        Ok(Self(Form::Channels { view: view.spaced(panels.cut.digits), panels }))
    }

    /// Bytes of the prepared weights.
    pub(crate) fn bytes(&self) -> usize {
        match &self.0 {
            Form::Channels { panels, .. } => panels.bytes(),
            #[cfg(target_arch = "x86_64")]
            Form::Pixels(pixels) => pixels.bytes(),
        }
    }

    /// Convolves `batch` images; every word of `output` is written.
    ///
    /// # Panics
    /// Unless `input` and `output` have the lengths that the geometry and `batch` ask for.
    pub(crate) fn run_into<W: Word>(&self, input: &[W], batch: usize, output: &mut [W]) {
        match &self.0 {
            Form::Channels { view, panels } => convolve(view, panels, input, batch, output),
            #[cfg(target_arch = "x86_64")]
            Form::Pixels(pixels) => pixels.run_into(input, batch, output),
        }
    }
}

/// The panels of a view; `weight` takes indices [group][output][term], `terms` per output.
pub(crate) fn pack(
    view: &View,
    ring: &Ring,
    terms: usize,
    weight: &Weight<'_>,
    kernel: Kernel,
) -> Result<Panels, ConvError> {
    let sources = view.sources();
    let weight = |group: usize, output: usize, term: usize| match sources[term] {
        Some(source) => weight((group * view.outputs + output) * terms + source),
        None => 0,
    };
    Panels::new(ring, kernel, [view.groups, view.outputs, view.pairs()], &weight)
}

/// Convolves `batch` images with weights packed for `view`; every word of `output` is written.
///
/// # Panics
/// Unless `input` and `output` have the lengths that the view and `batch` ask for.
pub(crate) fn convolve<W: Word>(view: &View, panels: &Panels, input: &[W], batch: usize, output: &mut [W]) {
    let lens = view.lens();
    assert_eq!((input.len(), output.len()), (batch * lens[0], batch * lens[1]), "numbers of values");
    if output.is_empty() {
        return;
    }
    let (jobs, extent) = jobs(view, panels, batch);
    let segments = panels.segments(view.runs(extent, panels.cut.digits));
    let spread = *panels.spread();
    let gather = Gather { view, spread, kernel: panels.kernel(), input };
    let output = Planes::new(output);
    let layer = Layer { view, panels, segments: &segments, extent, gather, output: &output };
    // Jobs that are parts of one are run by one task where they are too small to be worth more.
    let work =
        view.pairs() * view.outputs.div_ceil(16) * view.groups * view.planes()[1] * batch * panels.cut.digits;
    let least = (jobs.len() / (work / ENOUGH_WORK + 1)).max(1);
    in_parallel(jobs.len(), least, |job| layer.job(&jobs[job]));
}

/// Cuts a layer into jobs, and says how their digits are laid out.
fn jobs(view: &View, panels: &Panels, batch: usize) -> (Vec<Job>, Extent) {
    let digits = panels.cut.digits;
    let [height, width] = view.out;
    let work = view.pairs() * view.outputs.div_ceil(16) * view.groups * height * width * batch * digits;
    let threads = rayon::current_num_threads().min(work / ENOUGH_WORK + 1);
    let wanted = if threads == 1 { 1 } else { threads * JOBS_PER_THREAD };
    // Rows and columns that fit the cache.
    let words = |rows: usize, columns: usize| {
        let extent = view.extent(rows, columns, digits);
        extent.stored[0] * extent.pitch
    };
    let fitting = |most: usize, words: &dyn Fn(usize) -> usize| {
        let count = (1..=most.ilog2())
            .map(|i| most.div_ceil(1 << i))
            .fold((most, false), |(fits, done), next| {
                // Where most of a job is the halo of a dilation, smaller ones only gather it more often.
                let done = done || words(fits) <= JOB_WORDS || 10 * words(next) > 7 * words(fits);
                (if done { fits } else { next }, done)
            })
            .0;
        // Equal parts instead of full ones and a rest.
        most.div_ceil(most.div_ceil(count))
    };
    let mut columns = fitting(width, &|columns| words(1, columns));
    if columns < width && columns > BATCH {
        columns = columns.next_multiple_of(BATCH);
    }
    let mut rows = if columns < width { 1 } else { fitting(height, &|rows| words(rows, width)) };
    let mut images = 1;
    if rows == height && columns == width {
        let fit = JOB_WORDS / words(rows, columns);
        images = ENOUGH_PIXELS.div_ceil(height * width).min(fit).clamp(1, batch);
    }
    // More, smaller jobs where threads would be idle: pixels first, then output channels.
    let count = |rows: usize, columns: usize, images: usize| {
        view.groups * batch.div_ceil(images) * height.div_ceil(rows) * width.div_ceil(columns)
    };
    while count(rows, columns, images) < wanted && rows * columns * images >= ENOUGH_PIXELS {
        if images > 1 {
            images = images.div_ceil(2);
        } else if rows > 1 {
            rows = rows.div_ceil(2);
        } else {
            columns = columns.div_ceil(2);
        }
    }
    let parts = wanted.div_ceil(count(rows, columns, images)).min(panels.count());
    let some = panels.count().div_ceil(parts);
    let mut jobs = Vec::new();
    for group in 0..view.groups {
        for images in parts_of(batch, images) {
            for rows in parts_of(height, rows) {
                for columns in parts_of(width, columns) {
                    for panels in parts_of(panels.count(), some) {
                        let (images, rows, columns) = (images.clone(), rows.clone(), columns.clone());
                        jobs.push(Job { group, images, rows, columns, panels });
                    }
                }
            }
        }
    }
    (jobs, view.extent(rows, columns, digits))
}

fn parts_of(whole: usize, part: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..whole).step_by(part).map(move |first| first..whole.min(first + part))
}

/// A layer on its inputs.
struct Layer<'a, W> {
    view: &'a View,
    panels: &'a Panels,
    segments: &'a Segments,
    extent: Extent,
    gather: Gather<'a, W>,
    output: &'a Planes<'a, W>,
}

impl<W: Word> Layer<'_, W> {
    fn job(&self, job: &Job) {
        SCRATCH.with_borrow_mut(|scratch| {
            let part = Part { layer: self, job, scratch };
            let kernel = self.panels.kernel();
            match (self.panels.cut.digits, self.panels.is_prime()) {
                (1, true) => kernel.run(Digits::<W, 1, true>(part)),
                (2, true) => kernel.run(Digits::<W, 2, true>(part)),
                (3, true) => kernel.run(Digits::<W, 3, true>(part)),
                (_, true) => kernel.run(Digits::<W, 4, true>(part)),
                (1, false) => kernel.run(Digits::<W, 1, false>(part)),
                (2, false) => kernel.run(Digits::<W, 2, false>(part)),
                (3, false) => kernel.run(Digits::<W, 3, false>(part)),
                (_, false) => kernel.run(Digits::<W, 4, false>(part)),
            }
        });
    }

    /// Writes `[block][output of the batch][8]` to the planes. The batch are outputs number `first` and following of the job.
    #[inline(always)]
    fn place(&self, job: &Job, panel: usize, first: usize, count: usize, blocks: &[[u64; LANES]]) {
        let view = self.view;
        let [_, plane] = view.planes();
        let (width, each) = (view.out[1], job.rows.len() * job.columns.len());
        let whole = job.columns.len() == width;
        let channels = panel * self.panels.panel_outputs();
        let mut at = 0;
        while at < count {
            // Outputs that follow each other in a plane: to the end of the image or of the row.
            let (image, inside) = ((first + at) / each, (first + at) % each);
            let (row, column) = (inside / job.columns.len(), inside % job.columns.len());
            let run = if whole { each - inside } else { job.columns.len() - column };
            let run = run.min(count - at);
            let pixel = (job.rows.start + row) * width + job.columns.start + column;
            let base = (job.images.start + image) * view.lens()[1] + job.group * view.outputs * plane + pixel;
            for block in 0..self.panels.blocks(panel) {
                let channel = channels + block * LANES;
                let pixels = &blocks[block * BATCH + at..][..run];
                let place = [base + channel * plane, plane, LANES.min(view.outputs - channel)];
                // SAFETY: jobs are disjoint in images, outputs or channels, so nobody else writes these words.
                unsafe { self.output.write(self.panels.kernel(), pixels, place) };
            }
            at += run;
        }
    }
}

struct Part<'a, 'b, W> {
    layer: &'a Layer<'b, W>,
    job: &'a Job,
    scratch: &'a mut Scratch,
}

struct Digits<'a, 'b, W, const D: usize, const PRIME: bool>(Part<'a, 'b, W>);

impl<W: Word, const D: usize, const PRIME: bool> Task for Digits<'_, '_, W, D, PRIME> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Part { layer, job, scratch } = self.0;
        let (view, extent) = (layer.view, layer.extent);
        let Scratch { words, line, starts } = scratch;
        // The last term of a flat row of odd length is paired with what follows.
        let words = words.words(job.images.len() * extent.stored[0] * extent.pitch + D);
        layer.gather.job::<D>(job, extent, words, line);
        starts.clear();
        for image in 0..job.images.len() {
            for row in 0..job.rows.len() {
                let row = (image * extent.stored[0] + row * view.step(0)) * extent.pitch;
                starts.extend((0..job.columns.len()).map(|column| row + view.column(column, extent, D)));
            }
        }
        let mut out = [[0; LANES]; BLOCKS * BATCH];
        let mut sums = Sums::new();
        for panel in job.panels.clone() {
            for (at, starts) in starts.chunks(BATCH).enumerate() {
                let columns = (&*words, layer.segments);
                let room = (out.as_flattened_mut(), BATCH);
                layer.panels.columns::<D, PRIME>([job.group, panel], columns, starts, room, &mut sums);
                layer.place(job, panel, at * BATCH, starts.len(), &out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
