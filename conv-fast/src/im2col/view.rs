//! A convolution as the loops see it: which pixels are stored, and where the terms of an output lie among them.

use crate::ConvGeometry;
use crate::lanes::LANES;
use std::ops::Range;

/// A convolution with everything that makes no difference taken out: a 1×1 convolution without stride and padding is one long
/// row, and where the kernel has one row (column) the rows (columns) that a stride skips are not stored.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Input channels of a group.
    pub(crate) inputs: usize,
    /// Output channels of a group.
    pub(crate) outputs: usize,
    pub(crate) groups: usize,
    /// Rows and columns of the input.
    pub(crate) image: [usize; 2],
    /// Rows and columns of the output.
    pub(crate) out: [usize; 2],
    kernel: [usize; 2],
    dilation: [usize; 2],
    stride: [usize; 2],
    /// Zero rows above and columns to the left.
    padding: [usize; 2],
    /// Whether the terms of a row lie without gaps, channels not padded to eight.
    flat: bool,
    /// Terms left empty after each pixel.
    gap: usize,
}

/// A part of the work: one group, some images, a rectangle of outputs, some panels of output channels.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) group: usize,
    pub(crate) images: Range<usize>,
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
    pub(crate) panels: Range<usize>,
}

/// Sizes of a job's digits, in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Stored rows of one image, and stored pixels of a row.
    pub(crate) stored: [usize; 2],
    /// Words of one copy of a row, and of all its copies.
    pub(crate) copy: usize,
    pub(crate) pitch: usize,
}

impl View {
    pub(crate) fn new(geometry: &ConvGeometry) -> Self {
        let s = geometry.shape();
        let plain = s.kernel == [1, 1] && s.stride == [1, 1] && s.padding == [0; 4];
        let out = [geometry.out_height(), geometry.out_width()];
        let inputs = geometry.group_inputs();
        let mut view = Self {
            inputs,
            outputs: geometry.group_outputs(),
            groups: s.groups,
            image: [s.in_height, s.in_width],
            out,
            kernel: s.kernel,
            dilation: s.dilation,
            stride: s.stride,
            padding: [s.padding[0], s.padding[1]],
            flat: inputs < LANES && (s.dilation[1] == 1 || s.kernel[1] == 1),
            gap: 0,
        };
        if plain {
            view.image = [1, out[0] * out[1]];
            view.out = view.image;
        }
        view
    }

    /// A matrix of `outputs` × `inputs` on `columns` columns.
    pub(crate) fn matrix([outputs, inputs]: [usize; 2], columns: usize) -> Self {
        Self {
            inputs,
            outputs,
            groups: 1,
            image: [1, columns],
            out: [1, columns],
            kernel: [1; 2],
            dilation: [1; 2],
            stride: [1; 2],
            padding: [0; 2],
            flat: inputs < LANES,
            gap: 0,
        }
    }

    /// The same with pixels an odd number of cache lines apart where they would be a large power of two apart, and all of
    /// them compete for the same few places in the first-level cache.
    pub(crate) fn spaced(mut self, digits: usize) -> Self {
        let line = 32 / digits;
        if 32 % digits == 0 && self.pixel().is_multiple_of(8 * line) {
            self.gap = line;
        }
        self
    }

    /// Terms that one stored pixel takes.
    pub(crate) fn pixel(&self) -> usize {
        if self.flat { self.inputs } else { self.inputs.next_multiple_of(LANES) + self.gap }
    }

    pub(crate) fn is_flat(&self) -> bool {
        self.flat
    }

    /// Elements of all channels of an input plane, and of an output plane.
    pub(crate) fn planes(&self) -> [usize; 2] {
        [self.image[0] * self.image[1], self.out[0] * self.out[1]]
    }

    /// Elements of one image's input and output.
    pub(crate) fn lens(&self) -> [usize; 2] {
        let [image, out] = self.planes();
        [self.groups * self.inputs * image, self.groups * self.outputs * out]
    }

    /// Distance of stored rows (columns) in the image.
    pub(crate) fn skip(&self, axis: usize) -> usize {
        if self.kernel[axis] == 1 { self.stride[axis] } else { 1 }
    }

    /// Distance of neighbouring outputs in stored rows (columns).
    pub(crate) fn step(&self, axis: usize) -> usize {
        if self.kernel[axis] == 1 { 1 } else { self.stride[axis] }
    }

    /// Stored rows (columns) of `outputs` rows (columns) of output.
    pub(crate) fn span(&self, axis: usize, outputs: usize) -> usize {
        (outputs - 1) * self.step(axis) + (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// Of the stored rows (columns) for the outputs from `first` on: the coordinate in the image of number 0, and the numbers
    /// of those inside the image.
    pub(crate) fn inside(&self, axis: usize, first: usize, stored: usize) -> (isize, Range<usize>) {
        let origin = (first * self.stride[axis]) as isize - self.padding[axis] as isize;
        let skip = self.skip(axis) as isize;
        // Number of stored positions whose coordinate origin + i·skip is below a limit.
        let below = |limit: isize| ((limit - origin).max(0) as usize).div_ceil(skip as usize).min(stored);
        (origin, below(0)..below(self.image[axis] as isize))
    }

    /// Whether outputs start at odd terms, so that rows need a second copy, shifted by one term.
    fn odd(&self) -> bool {
        self.flat && !(self.step(1) * self.inputs).is_multiple_of(2)
    }

    /// Sizes for rectangles of `rows` × `columns` outputs with `digits` digits.
    pub(crate) fn extent(&self, rows: usize, columns: usize, digits: usize) -> Extent {
        let stored = [self.span(0, rows), self.span(1, columns)];
        let copy = (stored[1] * self.pixel()).next_multiple_of(LANES) / 2 * digits;
        Extent { stored, copy, pitch: copy * if self.odd() { 2 } else { 1 } }
    }

    /// Words from a row's start to the terms of output column `column` of the rectangle.
    pub(crate) fn column(&self, column: usize, extent: Extent, digits: usize) -> usize {
        let term = column * self.step(1) * self.pixel();
        term / 2 * digits + term % 2 * extent.copy
    }

    /// The runs of consecutive terms of an output, as (row of the kernel, first column, terms).
    fn taps(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let [height, width] = self.kernel;
        let whole = self.dilation[1] == 1 && self.pixel() == self.inputs;
        let runs = if whole { 1 } else { width };
        let terms = width / runs * self.inputs;
        (0..height * runs).map(move |run| (run / runs, run % runs, terms))
    }

    /// Pairs of terms of an output.
    pub(crate) fn pairs(&self) -> usize {
        self.taps().map(|(_, _, terms)| terms.div_ceil(2)).sum()
    }

    /// For each term in the order of the runs, its index within an output's weights `[channel][row][column]`; `None` for the
    /// second half of a pair that has one term.
    pub(crate) fn sources(&self) -> Vec<Option<usize>> {
        let [height, width] = self.kernel;
        let mut sources = Vec::with_capacity(2 * self.pairs());
        for (row, column, terms) in self.taps() {
            for term in 0..terms.next_multiple_of(2) {
                let (tap, channel) = (column + term / self.inputs, term % self.inputs);
                sources.push((term < terms).then_some((channel * height + row) * width + tap));
            }
        }
        sources
    }

    /// The runs as (words from the output's start, pairs).
    pub(crate) fn runs(&self, extent: Extent, digits: usize) -> impl Iterator<Item = (usize, usize)> {
        self.taps().map(move |(row, column, terms)| {
            let pixel = column * self.dilation[1] * self.pixel() / 2 * digits;
            (row * self.dilation[0] * extent.pitch + pixel, terms.div_ceil(2))
        })
    }
}
