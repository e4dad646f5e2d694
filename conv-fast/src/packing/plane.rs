//! One channel's plane: where a pixel of the zero-padded image lies among the coefficients, and where a tap reaches.
//!
//! **Shared borders.** The image is laid row by row. Between the last pixel of a row and the first of the next there are
//! max(left, right) zero coefficients, not left + right: they serve as the right border of the one and the left border
//! of the other. The same holds between planes: the zeros behind a plane are the zeros before the next. With
//!
//! | symbol | meaning |
//! |---|---|
//! | pitch | coefficients from one row to the next, at least the row and its larger side border |
//! | extent | from the first to the last pixel, both included |
//! | front, back | how far windows reach before the first and behind the last pixel |
//! | lead | shift of the whole plane so that no output index is negative (0 but for odd paddings) |
//! | reference | offset of the tap farthest down and right; the output is read at that tap's coefficient |
//!
//! the plane length P = max(extent + max(front, back), lead + extent + back, lead + last read + 1) keeps each read of a
//! known zero on a coefficient that holds one, and each read of a pixel on that pixel.
//!
//! **Phases.** With stride (s₀, s₁) only one output in s₀·s₁ coefficients would be used. A *split* plane first sorts the
//! pixels by (row mod s₀, column mod s₁) of the padded image: each phase becomes a channel of its own with its own taps
//! and the strided convolution becomes one of stride 1 with s₀·s₁ times the channels on planes as much smaller. Phases
//! that no tap meets (three of four under a 1×1 kernel of stride 2) come last, so that they fall into polynomials without
//! any product. This is an exact re-indexing; nothing is approximated. Channels times phases is bounded by [`MAX_SLOTS`].
//!
//! **Axes.** What a phase reads is a product set: the rows that its row residue reads times the columns that its column
//! residue reads, and likewise its taps and its pixels. So everything is kept per axis and residue (see [`Axis`]), in memory
//! and time about the padded height plus width, however many phases there are.

use super::axis::{Axis, Residue};
use crate::{ConvError, ConvGeometry};

/// Greatest number of slots, input channels times stride phases, of a plane that is split. Real layers have thousands;
/// a hostile description may ask for billions, most of them without a single tap.
pub(super) const MAX_SLOTS: usize = 1 << 20;

/// The layout that all planes of a packing share.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    /// Rows and columns.
    axes: [Axis; 2],
    pitch: usize,
    pub(super) lead: usize,
    pub(super) reference: usize,
    /// Plane length P in coefficients.
    pub(super) length: usize,
    /// Number of phases, used or not.
    pub(super) phases: usize,
    /// Phases with at least one tap; they come first.
    pub(super) used_phases: usize,
    /// Pixels of one channel that some window reads, over all phases.
    pub(super) pixels_read: usize,
}

impl Plane {
    /// Lays out the planes of a geometry for ring degree `degree`.
    ///
    /// # Errors
    /// [`ConvError::PlaneTooLarge`], and [`ConvError::TooLarge`] beyond [`MAX_SLOTS`].
    pub(super) fn new(geometry: &ConvGeometry, degree: usize, split: bool) -> Result<Self, ConvError> {
        let Frame { split, step, pitch, lead, reference, length } = Frame::new(geometry, degree, split)?;
        let s = geometry.shape();
        let outputs = [geometry.out_height(), geometry.out_width()];
        let image = [s.in_height, s.in_width];
        let axes = [0, 1].map(|axis| {
            let taps = (s.kernel[axis], s.dilation[axis]);
            Axis::new(split[axis], taps, (outputs[axis], step[axis]), (s.padding[axis], image[axis]))
        });
        Ok(Self {
            pitch,
            lead,
            reference,
            length,
            phases: split[0] * split[1],
            used_phases: axes[0].used.len() * axes[1].used.len(),
            pixels_read: axes[0].pixels_read * axes[1].pixels_read,
            axes,
        })
    }

    /// Phase and coefficient, relative to the plane's base, of one pixel.
    pub(super) fn pixel(&self, row: usize, column: usize) -> (usize, usize) {
        let (row_residue, row) = self.axes[0].split_pixel(row);
        let (column_residue, column) = self.axes[1].split_pixel(column);
        (self.rank(row_residue, column_residue), self.position(row, column) as usize)
    }

    /// As [`Plane::pixel`] for coordinates of the padded image; in front of the image the coefficient may be negative.
    pub(super) fn padded(&self, row: usize, column: usize) -> (usize, isize) {
        let [rows, columns] = self.axes.each_ref().map(|axis| axis.residues.len());
        (self.rank(row % rows, column % columns), self.position(row / rows, column / columns))
    }

    /// Coefficient, relative to the base of the last channel's plane, at which one output is read.
    pub(super) fn output(&self, y: usize, x: usize) -> usize {
        let (row, column) = (y * self.axes[0].step, x * self.axes[1].step);
        (self.position(row, column) + self.reference as isize) as usize
    }

    /// The taps of a phase: index within the kernel, row-major, and coefficients from the window's first pixel; ascending.
    pub(super) fn taps(&self, phase: usize) -> impl DoubleEndedIterator<Item = (usize, usize)> + '_ {
        let [rows, columns] = self.residues(phase);
        let width = self.axes[1].taps;
        rows.taps.iter().flat_map(move |row| {
            columns.taps.iter().map(move |column| {
                (row.kernel * width + column.kernel, row.offset * self.pitch + column.offset)
            })
        })
    }

    /// Phases that lie alike have the same kind: the same reads and the same pixels.
    pub(super) fn kind(&self, phase: usize) -> Kind {
        Kind(self.residues(phase).map(|residue| residue.kind))
    }

    /// Coefficients that some window reads, relative to the plane's base; each at most a few times.
    pub(super) fn reads(&self, kind: Kind) -> impl Iterator<Item = isize> + '_ {
        let [rows, columns] = self.of_kind(kind);
        rows.reads
            .iter()
            .flat_map(move |&row| columns.reads.iter().map(move |&column| self.position(row, column)))
    }

    /// Coefficients, relative to the plane's base, of all pixels.
    pub(super) fn pixels(&self, kind: Kind) -> impl Iterator<Item = isize> + '_ {
        let [rows, columns] = self.of_kind(kind);
        rows.pixels
            .clone()
            .flat_map(move |row| columns.pixels.clone().map(move |column| self.position(row, column)))
    }

    /// Elements of [`Plane::reads`] and [`Plane::pixels`] together.
    pub(super) fn weight(&self, kind: Kind) -> usize {
        let [rows, columns] = self.of_kind(kind);
        rows.reads.len() * columns.reads.len() + rows.pixels.len() * columns.pixels.len()
    }

    fn position(&self, row: usize, column: usize) -> isize {
        self.lead as isize
            + (row as isize - self.axes[0].first as isize) * self.pitch as isize
            + (column as isize - self.axes[1].first as isize)
    }

    /// Phases by residues: row-major, those that taps meet before the others.
    fn rank(&self, row: usize, column: usize) -> usize {
        let [rows, columns] = &self.axes;
        let (used_row, used_column) = (rows.is_used(row), columns.is_used(column));
        let before = rows.used_before[row] * columns.used.len()
            + if used_row { columns.used_before[column] } else { 0 };
        if used_row && used_column {
            before
        } else {
            self.used_phases + row * columns.residues.len() + column - before
        }
    }

    /// The inverse of `rank`.
    fn residues(&self, phase: usize) -> [&Residue; 2] {
        let [rows, columns] = &self.axes;
        let [row, column] = if phase < self.used_phases {
            [rows.used[phase / columns.used.len()], columns.used[phase % columns.used.len()]]
        } else {
            let rest = phase - self.used_phases;
            let (width, used) = (columns.residues.len(), columns.used.len());
            // Unused phases before a row, and within the row before a column, never decrease.
            let before_row = |row: usize| row * width - rows.used_before[row] * used;
            let row = last_at_most(rows.residues.len(), rest, before_row);
            let rest = rest - before_row(row);
            let column = if rows.is_used(row) {
                last_at_most(width, rest, |column| column - columns.used_before[column])
            } else {
                rest
            };
            [row, column]
        };
        [&rows.residues[row], &columns.residues[column]]
    }

    fn of_kind(&self, Kind([row, column]): Kind) -> [&Residue; 2] {
        [&self.axes[0].residues[row], &self.axes[1].residues[column]]
    }
}

/// Where a plane's rows lie and how long it is: plain arithmetic on the shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    split: [usize; 2],
    step: [usize; 2],
    pitch: usize,
    lead: usize,
    reference: usize,
    /// Plane length P in coefficients.
    pub(super) length: usize,
}

impl Frame {
    /// As [`Plane::new`].
    ///
    /// # Errors
    /// [`ConvError::PlaneTooLarge`], and [`ConvError::TooLarge`] beyond [`MAX_SLOTS`].
    pub(super) fn new(geometry: &ConvGeometry, degree: usize, split: bool) -> Result<Self, ConvError> {
        let s = geometry.shape();
        let image = [s.in_height, s.in_width];
        let padding = [s.padding[0], s.padding[1]];
        let outputs = [geometry.out_height(), geometry.out_width()];
        let split = if split { s.stride } else { [1, 1] };
        let mut first = [0; 2];
        let mut pixels = [0; 2];
        let mut step = [0; 2];
        let mut reach = [0; 2];
        let mut last = [0; 2];
        for axis in 0..2 {
            step[axis] = s.stride[axis] / split[axis];
            first[axis] = padding[axis] / split[axis];
            pixels[axis] = (image[axis] - 1 + padding[axis]) / split[axis] - first[axis] + 1;
            reach[axis] = (s.kernel[axis] - 1) * s.dilation[axis] / split[axis];
            last[axis] = (outputs[axis] - 1) * step[axis] + reach[axis];
        }
        let right = (last[1] + 1).saturating_sub(first[1] + pixels[1]);
        // The second bound keeps outputs apart whose windows lie in the padding altogether.
        let pitch = (pixels[1] + first[1].max(right)).max((outputs[1] - 1) * step[1] + 1);
        // All sizes are below 2^18 and so these products fit i64 on every platform; they are compared before use.
        let at = |row: usize, column: usize| {
            (row as i64 - first[0] as i64) * pitch as i64 + column as i64 - first[1] as i64
        };
        let extent = at(first[0] + pixels[0] - 1, first[1] + pixels[1] - 1) + 1;
        let front = -at(0, 0);
        let last_read = at(last[0], last[1]);
        let back = (last_read + 1 - extent).max(0);
        let reference = reach[0] as i64 * pitch as i64 + reach[1] as i64;
        let lead = (front - reference).max(0);
        let length =
            (extent + front.max(back)).max(lead + extent + back).max(lead + last_read + 1).max(1) as usize;
        if length > degree {
            return Err(ConvError::PlaneTooLarge { plane: length, degree });
        }
        let slots = split.iter().fold(s.in_channels as u64, |product, &factor| product * factor as u64);
        if split != [1, 1] && slots > MAX_SLOTS as u64 {
            return Err(ConvError::TooLarge {
                what: "input channels × stride phases",
                value: slots,
                limit: MAX_SLOTS as u64,
            });
        }
        Ok(Self { split, step, pitch, lead: lead as usize, reference: reference as usize, length })
    }
}

/// What a phase reads and holds, named by the first residues that do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind([usize; 2]);

/// The last index below `len` at which a non-decreasing function that starts at zero is at most `value`.
fn last_at_most(len: usize, value: usize, function: impl Fn(usize) -> usize) -> usize {
    let (mut low, mut high) = (0, len);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if function(middle) <= value { low = middle } else { high = middle }
    }
    low
}
