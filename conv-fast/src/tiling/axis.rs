//! One direction, rows or columns, of a tiling: how outputs are dealt to tiles and which input coordinates a tile holds.
//!
//! Windows read the input at y·s + i·d − front only. With g = gcd(s, d) (g = s where the kernel has one tap) all reads of the
//! layer lie on a lattice of pitch g, so that a tile keeps lattice points alone and its convolution has stride s/g and
//! dilation d/g: a 1×1 layer of stride 2 becomes one of stride 1 on a quarter of the pixels.
//!
//! | kind of axis | tiles | zeros of the border |
//! |---|---|---|
//! | implicit | 1 | stay padding of the tile's geometry |
//! | explicit | 1 or more | are slots of the tile, which then has no padding |

use crate::ConvGeometry;
use crate::packing::gcd;

/// Tile sizes that are tried along one axis; images up to some six hundred pixels a side have fewer.
const MAX_SIZES: usize = 48;

/// What the geometry says about one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) outputs: usize,
    input: usize,
    front: usize,
    taps: usize,
    /// Lattice pitch g, and stride and dilation in units of it.
    pitch: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
}

impl Line {
    pub(super) fn new(geometry: &ConvGeometry, axis: usize) -> Self {
        let s = geometry.shape();
        let pitch = if s.kernel[axis] == 1 { s.stride[axis] } else { gcd(s.stride[axis], s.dilation[axis]) };
        Self {
            outputs: [geometry.out_height(), geometry.out_width()][axis],
            input: [s.in_height, s.in_width][axis],
            front: s.padding[axis],
            taps: s.kernel[axis],
            pitch,
            stride: s.stride[axis] / pitch,
            dilation: if s.kernel[axis] == 1 { 1 } else { s.dilation[axis] / pitch },
        }
    }

    /// Lattice points that the windows of `outputs` consecutive outputs span.
    fn span(&self, outputs: usize) -> usize {
        (outputs - 1) * self.stride + (self.taps - 1) * self.dilation + 1
    }

    /// Which lattice points of that span some window reads.
    fn reads(&self, outputs: usize) -> Vec<bool> {
        let mut read = vec![false; self.span(outputs)];
        // One sweep: per residue of the dilation the last window start seen; a point is read while the kernel reaches it.
        let mut latest: Vec<Option<usize>> = vec![None; self.dilation];
        let reach = (self.taps - 1) * self.dilation;
        for (at, read) in read.iter_mut().enumerate() {
            let latest = &mut latest[at % self.dilation];
            if at % self.stride == 0 && at / self.stride < outputs {
                *latest = Some(at);
            }
            *read = latest.is_some_and(|start| at - start <= reach);
        }
        read
    }

    /// All ways to cut this axis that are tried, largest tiles first. Bounded, whatever the axis.
    pub(super) fn cuts(&self) -> Vec<Cut> {
        let mut cuts: Vec<Cut> = self.implicit().into_iter().collect();
        let mut sizes = Vec::new();
        let mut size = self.outputs;
        while size > 0 {
            let count = self.outputs.div_ceil(size);
            sizes.push(self.outputs.div_ceil(count));
            size = sizes[sizes.len() - 1] - 1;
        }
        let step = sizes.len().div_ceil(MAX_SIZES);
        for size in sizes.into_iter().step_by(step) {
            let cut = self.explicit(size);
            // Without a border the two kinds are the same.
            if !cuts.iter().any(|known| known.size == size && known.padding == [0; 2]) {
                cuts.push(cut);
            }
        }
        cuts
    }

    /// The whole axis with its padding kept, unless no window meets the image at all.
    fn implicit(&self) -> Option<Cut> {
        let span = self.span(self.outputs);
        let before = self.front.div_ceil(self.pitch).min(span);
        let end = (self.input + self.front).div_ceil(self.pitch).min(span);
        (before < end).then(|| self.cut(self.outputs, 1, [before, span - end]))
    }

    fn explicit(&self, size: usize) -> Cut {
        self.cut(size, self.outputs.div_ceil(size), [0; 2])
    }

    fn cut(&self, size: usize, tiles: usize, padding: [usize; 2]) -> Cut {
        let len = self.span(size) - padding[0] - padding[1];
        let mut cut = Cut { line: *self, size, tiles, padding, len, reads: 0, slots: 0, distinct: 0 };
        let full = self.reads(size);
        let last = self.reads(self.outputs - (tiles - 1) * size);
        let within = |read: &[bool]| {
            read[padding[0].min(read.len())..(padding[0] + len).min(read.len())]
                .iter()
                .filter(|&&read| read)
                .count()
        };
        cut.reads = within(&full);
        cut.slots = (tiles - 1) * cut.reads + within(&last);
        cut.distinct = self.distinct();
        cut
    }

    /// Input coordinates that some window reads.
    fn distinct(&self) -> usize {
        let reads = self.reads(self.outputs);
        let inside = |&(at, &read): &(usize, &bool)| {
            read && (at * self.pitch).checked_sub(self.front).is_some_and(|at| at < self.input)
        };
        reads.iter().enumerate().filter(inside).count()
    }
}

/// One way to cut one axis.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    line: Line,
    /// Outputs of a tile.
    pub(super) size: usize,
    /// Tiles; the last may have fewer outputs that are used.
    pub(super) tiles: usize,
    /// Padding of a tile in front and behind; zeros unless the axis is implicit.
    pub(super) padding: [usize; 2],
    /// Input rows or columns of a tile.
    pub(super) len: usize,
    /// Slots of one tile that some output reads.
    pub(super) reads: usize,
    /// Slots that a used output reads, over all tiles.
    pub(super) slots: usize,
    /// Input coordinates that some output reads.
    pub(super) distinct: usize,
}

impl Cut {
    /// Tile by tile, slot by slot: the input coordinate (none for a zero of the border), and whether a used output reads it.
    pub(super) fn coordinates(&self) -> Vec<(Option<usize>, bool)> {
        let line = &self.line;
        let full = line.reads(self.size);
        let last = line.reads(line.outputs - (self.tiles - 1) * self.size);
        let mut coordinates = Vec::with_capacity(self.tiles * self.len);
        for tile in 0..self.tiles {
            let read = if tile + 1 == self.tiles { &last } else { &full };
            for slot in self.padding[0]..self.padding[0] + self.len {
                let lattice = tile * self.size * line.stride + slot;
                let coordinate = (lattice * line.pitch)
                    .checked_sub(line.front)
                    .filter(|&coordinate| coordinate < line.input);
                coordinates.push((coordinate, read.get(slot).is_some_and(|&read| read)));
            }
        }
        coordinates
    }
}
