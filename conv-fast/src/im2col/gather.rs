//! From planes to the digits of a job's pixels.
//!
//! ```text
//! words[image][stored row][pixel][pair of channels][digit]                     channels padded to eight
//! words[image][stored row][copy][pair of terms][digit]                         flat: fewer than eight channels
//! ```
//!
//! Eight channels of eight pixels are loaded, transposed, and each pixel's eight values written as 4·D words. With fewer than
//! eight channels the terms of a row (pixel after pixel, channel after channel) are lined up first and then written eight at a
//! time; if outputs start at odd terms a second copy, one term further, keeps their pairs together. Padding is written as
//! zeros every time, since the buffer is used for all layers in turn.

use super::view::{Extent, Job, View};
use crate::Word;
use crate::kernel::Kernel;
use crate::lanes::LANES;
use crate::matmul::Spread;

/// What gathering needs to know.
#[derive(Clone, Copy)]
pub(super) struct Gather<'a, W> {
    pub(super) view: &'a View,
    pub(super) spread: Spread,
    pub(super) kernel: Kernel,
    /// All images.
    pub(super) input: &'a [W],
}

impl<W: Word> Gather<'_, W> {
    /// Writes the digits of a job; `line` is scratch.
    #[inline(always)]
    pub(super) fn job<const D: usize>(
        self,
        job: &Job,
        extent: Extent,
        words: &mut [i32],
        line: &mut Vec<u64>,
    ) {
        let view = self.view;
        let [image, _] = view.planes();
        let [len, _] = view.lens();
        let (y, rows) = view.inside(0, job.rows.start, extent.stored[0]);
        let (x, columns) = view.inside(1, job.columns.start, extent.stored[1]);
        for number in job.images.clone() {
            let first = number * len + job.group * view.inputs * image;
            for row in 0..extent.stored[0] {
                let at = ((number - job.images.start) * extent.stored[0] + row) * extent.pitch;
                let words = &mut words[at..at + extent.pitch];
                if !rows.contains(&row) || columns.is_empty() {
                    words.fill(0);
                    continue;
                }
                let y = (y + (row * view.skip(0)) as isize) as usize;
                let x = (x + (columns.start * view.skip(1)) as isize) as usize;
                let source = first + y * view.image[1] + x;
                if view.is_flat() {
                    self.flat::<D>(source, columns.clone(), extent, words, line);
                } else {
                    self.blocks::<D>(source, columns.clone(), words, line);
                }
            }
        }
    }

    /// A row of pixels with channels in blocks of eight.
    #[inline(always)]
    fn blocks<const D: usize>(
        self,
        source: usize,
        columns: std::ops::Range<usize>,
        words: &mut [i32],
        line: &mut Vec<u64>,
    ) {
        let pixel = self.view.pixel() / 2 * D;
        words[..columns.start * pixel].fill(0);
        words[columns.end * pixel..].fill(0);
        let words = &mut words[columns.start * pixel..columns.end * pixel];
        let [plane, _] = self.view.planes();
        for (block, channel) in (0..self.view.inputs).step_by(LANES).enumerate() {
            let channels = LANES.min(self.view.inputs - channel);
            let from = source + channel * plane;
            let skip = self.view.skip(1);
            let words = (&mut words[block * 4 * D..], pixel);
            if skip == 1 {
                let ahead = (self.view.inputs - channel - channels).min(LANES);
                let size = [channels, columns.len(), ahead];
                self.spread.rows::<D, W>(self.kernel, (&self.input[from..], plane), size, words);
                continue;
            }
            // Every skip-th pixel of each channel, in order.
            let distance = columns.len();
            line.resize(LANES * distance, 0);
            for (row, line) in line.chunks_exact_mut(distance).take(channels).enumerate() {
                for (word, value) in
                    line.iter_mut().zip(self.input[from + row * plane..].iter().step_by(skip))
                {
                    *word = value.to_u64();
                }
            }
            let size = [channels, columns.len(), 0];
            self.spread.rows::<D, u64>(self.kernel, (&*line, distance), size, words);
        }
    }

    /// A row of pixels without gaps.
    #[inline(always)]
    fn flat<const D: usize>(
        self,
        source: usize,
        columns: std::ops::Range<usize>,
        extent: Extent,
        words: &mut [i32],
        line: &mut Vec<u64>,
    ) {
        let (inputs, skip) = (self.view.inputs, self.view.skip(1));
        let [plane, _] = self.view.planes();
        let terms = extent.copy / D * 2;
        line.clear();
        line.resize(terms + 1, 0);
        let inner = &mut line[columns.start * inputs..columns.end * inputs];
        for channel in 0..inputs {
            let values = self.input[source + channel * plane..].iter().step_by(skip);
            for (pixel, value) in inner.chunks_exact_mut(inputs).zip(values) {
                pixel[channel] = value.to_u64();
            }
        }
        for (shift, words) in words.chunks_exact_mut(extent.copy).enumerate() {
            self.spread.line::<D>(self.kernel, &line[shift..shift + terms], words);
        }
    }
}
