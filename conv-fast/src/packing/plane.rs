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
//! any product. This is an exact re-indexing; nothing is approximated.

use crate::{ConvError, ConvGeometry};

/// One kernel position as one phase sees it.
#[derive(Clone, Debug)]
pub(crate) struct Tap {
    /// Index within the kernel, row-major.
    pub(crate) kernel: usize,
    /// Coefficients from the window's first pixel.
    pub(crate) offset: usize,
}

/// The pixels with one pair of residues, and the taps that read them.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    row: usize,
    column: usize,
    pub(crate) taps: Vec<Tap>,
    /// All coefficients that some window reads, relative to the plane's base; sorted, distinct.
    pub(crate) reads: Vec<isize>,
    /// How many of the phase's pixels are among them.
    pub(crate) pixels_read: usize,
}

/// The layout that all planes of a packing share.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    padding: [usize; 2],
    image: [usize; 2],
    /// Residues over rows and columns: [1, 1], or the stride.
    split: [usize; 2],
    /// Stride that remains.
    step: [usize; 2],
    /// First row and column, in split coordinates of the padded image, that hold pixels.
    first: [usize; 2],
    pitch: usize,
    pub(crate) lead: usize,
    pub(crate) reference: usize,
    /// Plane length P in coefficients.
    pub(crate) length: usize,
    pub(crate) phases: Vec<Phase>,
    /// Phases with at least one tap; they come first.
    pub(crate) used_phases: usize,
    rank: Vec<usize>,
}

impl Plane {
    /// Lays out the planes of a geometry for ring degree `degree`.
    pub(crate) fn new(geometry: &ConvGeometry, degree: usize, split: bool) -> Result<Self, ConvError> {
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
        let mut phases: Vec<Phase> = (0..split[0] * split[1])
            .map(|p| Phase {
                row: p / split[1],
                column: p % split[1],
                taps: Vec::new(),
                reads: Vec::new(),
                pixels_read: 0,
            })
            .collect();
        for i in 0..s.kernel[0] {
            for j in 0..s.kernel[1] {
                let (row, column) = (i * s.dilation[0], j * s.dilation[1]);
                phases[row % split[0] * split[1] + column % split[1]].taps.push(Tap {
                    kernel: i * s.kernel[1] + j,
                    offset: row / split[0] * pitch + column / split[1],
                });
            }
        }
        let used_phases = phases.iter().filter(|phase| !phase.taps.is_empty()).count();
        phases.sort_by_key(|phase| phase.taps.is_empty());
        let mut rank = vec![0; phases.len()];
        for (position, phase) in phases.iter().enumerate() {
            rank[phase.row * split[1] + phase.column] = position;
        }
        let lead = lead as usize;
        let mut plane = Self {
            padding,
            image,
            split,
            step,
            first,
            pitch,
            lead,
            reference: reference as usize,
            length,
            phases,
            used_phases,
            rank,
        };
        for p in 0..used_phases {
            let mut reads = Vec::new();
            for y in 0..outputs[0] {
                for x in 0..outputs[1] {
                    let window = plane.position(y * step[0], x * step[1]);
                    reads.extend(plane.phases[p].taps.iter().map(|tap| window + tap.offset as isize));
                }
            }
            reads.sort_unstable();
            reads.dedup();
            let read =
                plane.pixels(p).filter(|&pixel| reads.binary_search(&(pixel as isize)).is_ok()).count();
            plane.phases[p].pixels_read = read;
            plane.phases[p].reads = reads;
        }
        Ok(plane)
    }

    /// Phase (as a position in `phases`) and coefficient, relative to the plane's base, of one pixel.
    pub(crate) fn pixel(&self, row: usize, column: usize) -> (usize, usize) {
        let (row, column) = (row + self.padding[0], column + self.padding[1]);
        let phase = row % self.split[0] * self.split[1] + column % self.split[1];
        let position = self.position(row / self.split[0], column / self.split[1]);
        (self.rank[phase], position as usize)
    }

    /// Coefficient, relative to the base of the last channel's plane, at which one output is read.
    pub(crate) fn output(&self, y: usize, x: usize) -> usize {
        (self.position(y * self.step[0], x * self.step[1]) + self.reference as isize) as usize
    }

    /// Coefficients, relative to the plane's base, of all pixels of a phase.
    pub(crate) fn pixels(&self, phase: usize) -> impl Iterator<Item = usize> + '_ {
        let Phase { row, column, .. } = self.phases[phase];
        let along = |axis: usize, residue: usize| {
            // The least pixel p ≥ 0 with p + padding ≡ residue (mod split).
            let modulus = self.split[axis];
            let start = (residue + modulus - self.padding[axis] % modulus) % modulus;
            (start..self.image[axis]).step_by(modulus)
        };
        along(0, row).flat_map(move |y| along(1, column).map(move |x| self.pixel(y, x).1))
    }

    fn position(&self, row: usize, column: usize) -> isize {
        self.lead as isize
            + (row as isize - self.first[0] as isize) * self.pitch as isize
            + (column as isize - self.first[1] as isize)
    }
}
