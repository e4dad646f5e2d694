//! How planes are cut into tiles and tiles are laid into polynomials.
//!
//! A tile of T₀×T₁ outputs reads a window of R₀×R₁ pixels of the padded image, R = (T − 1)·stride + (kernel − 1)·dilation + 1.
//! The window is laid row by row into coefficients, `pitch` apart, and one after another `pieces` windows share a
//! polynomial, `step` apart; windows are numbered through all tiles of all images of a batch.
//!
//! Normally pitch = R₁ and step = R₀·pitch. Where a tile spans the whole width, the zeros right of a row and those left
//! of the next are laid on top of each other, and where it spans the whole height, the zero rows below and above likewise.
//!
//! The kernel's tap (i, j) reads i·dilation₀·pitch + j·dilation₁ coefficients behind an output's own, always within the
//! window: no valid output reads across the end of a polynomial or of a window.

use crate::ConvGeometry;

/// Coefficients of the polynomials that are tried, as powers of two.
const DEGREES: std::ops::RangeInclusive<u32> = 5..=14;

/// What a run takes, in units that depend on no machine: steps on eight words at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NttCost {
    /// Butterflies.
    pub(crate) butterflies: u64,
    /// Pointwise products.
    pub(crate) products: u64,
    /// Sums of products that are reduced, and steps that bring coefficients into and out of the transforms.
    pub(crate) moves: u64,
    /// Steps of transformed weights that are read from memory.
    pub(crate) weights: u64,
}

impl NttCost {
    /// Cycles of one core with AVX-512, roughly: what layouts are chosen by. `both`: products of residues have more than 52
    /// bits, two steps each.
    pub(crate) fn cycles(&self, both: bool) -> f64 {
        let product = if both { 1.0 } else { 0.5 };
        // Weights from the second-level cache, from a third-level one shared with others, or from memory: 0.5, 8, 16 MB.
        let weight = match self.weights {
            0..=0x1fff => 0.5,
            0x2000..=0x2_0000 => 2.0,
            0x2_0001..=0x4_0000 => 4.0,
            _ => 8.0,
        };
        2.8 * self.butterflies as f64
            + 1.15 * product * self.products as f64
            + 3.0 * self.moves as f64
            + weight * self.weights as f64
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Coefficients N of a polynomial.
    pub(super) degree: usize,
    /// Output rows and columns of a tile; those at the far ends may be cut short.
    pub(super) tile: [usize; 2],
    /// Tiles over the rows and columns of an image.
    pub(super) tiles: [usize; 2],
    /// Rows R₀ and columns R₁ of a tile's window.
    pub(super) window: [usize; 2],
    pub(super) pitch: usize,
    pub(super) step: usize,
    pub(super) pieces: usize,
}

/// Blocks of eight channels, and how products pair them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// One input channel per group: lane by lane, input channels in the order of the outputs that they serve.
    pub(super) lanewise: bool,
    /// Input blocks of an image.
    pub(super) inputs: usize,
    /// Output blocks of one group (of all groups if lanewise).
    pub(super) outputs: usize,
    /// Groups (one if lanewise).
    pub(super) groups: usize,
    /// Input channels that one output block sums.
    pub(super) terms: usize,
}

impl Blocks {
    pub(super) fn new(geometry: &ConvGeometry) -> Self {
        let s = geometry.shape();
        if geometry.group_inputs() == 1 && s.groups > 1 {
            let outputs = s.out_channels.div_ceil(8);
            return Self { lanewise: true, inputs: outputs, outputs, groups: 1, terms: 1 };
        }
        Self {
            lanewise: false,
            inputs: s.in_channels.div_ceil(8),
            outputs: geometry.group_outputs().div_ceil(8),
            groups: s.groups,
            terms: geometry.group_inputs(),
        }
    }

    /// Output blocks of an image.
    pub(super) fn all_outputs(&self) -> usize {
        self.groups * self.outputs
    }

    /// Steps of eight words of transformed weights for degree `degree`.
    pub(super) fn weight_rows(&self, degree: usize) -> u64 {
        degree as u64 * self.all_outputs() as u64 * self.terms as u64
    }
}

impl Cut {
    /// The best cut for images of `batch` at a time, among degrees with 2N | q − 1 whose transformed weights have at most
    /// `most_rows` steps of eight words; `both`: products have a high half. `None` if no degree will do.
    pub(super) fn best(
        geometry: &ConvGeometry,
        q: u64,
        batch: usize,
        both: bool,
        most_rows: u64,
    ) -> Option<Self> {
        let blocks = Blocks::new(geometry);
        let mut best: Option<(f64, Self)> = None;
        for degree in DEGREES.map(|bits| 1_usize << bits) {
            if q % (2 * degree as u64) != 1 || blocks.weight_rows(degree) > most_rows {
                break;
            }
            for cut in Self::of_degree(geometry, degree) {
                let cycles = cut.cost(geometry, batch).cycles(both);
                if best.as_ref().is_none_or(|&(least, _)| cycles < least) {
                    best = Some((cycles, cut));
                }
            }
        }
        best.map(|(_, cut)| cut)
    }

    /// One cut for each number of tiles over the columns, with tiles as high as the degree allows.
    pub(super) fn of_degree(geometry: &ConvGeometry, degree: usize) -> impl Iterator<Item = Self> {
        let [_, width] = outputs(geometry);
        // Tile widths that need the same number of tiles differ in nothing but waste: about 2·√width remain.
        let mut next = Some(width);
        std::iter::from_fn(move || {
            let tile = next?;
            let tiles = width.div_ceil(tile);
            // The greatest width with more tiles than this one.
            next = if tile == 1 { None } else { Some((width - 1) / tiles).filter(|&t| t > 0) };
            Some(width.div_ceil(tiles))
        })
        .filter_map(move |columns| Self::with_columns(geometry, degree, columns))
    }

    fn with_columns(geometry: &ConvGeometry, degree: usize, columns: usize) -> Option<Self> {
        let s = geometry.shape();
        let [height, width] = outputs(geometry);
        let span = |axis: usize, outputs: usize| {
            (outputs - 1) * s.stride[axis] + (s.kernel[axis] - 1) * s.dilation[axis] + 1
        };
        // Zeros at both ends of an axis that neighbours can share.
        let shared = |axis: usize, window: usize, image: usize| {
            s.padding[axis].min(window.saturating_sub(s.padding[axis] + image))
        };
        let across = span(1, columns);
        let pitch = if columns == width { across - shared(1, across, s.in_width) } else { across };
        let smallest = span(0, 1);
        if (smallest - 1) * pitch + across > degree {
            return None;
        }
        let most = (degree - across) / pitch + 1;
        let rows = ((most - smallest) / s.stride[0] + 1).min(height);
        let down = height.div_ceil(rows);
        let rows = height.div_ceil(down);
        let window = [span(0, rows), across];
        let step = (window[0] - if down == 1 { shared(0, window[0], s.in_height) } else { 0 }).max(1) * pitch;
        let length = (window[0] - 1) * pitch + across;
        Some(Self {
            degree,
            tile: [rows, columns],
            tiles: [down, width.div_ceil(columns)],
            window,
            pitch,
            step,
            pieces: (degree - length) / step + 1,
        })
    }

    /// Tiles of one image.
    pub(super) fn per_image(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Polynomials per channel for a batch.
    pub(super) fn transforms(&self, batch: usize) -> usize {
        (batch * self.per_image()).div_ceil(self.pieces)
    }

    /// What a batch takes.
    pub(super) fn cost(&self, geometry: &ConvGeometry, batch: usize) -> NttCost {
        let blocks = Blocks::new(geometry);
        let count = self.transforms(batch) as u64;
        let n = self.degree as u64;
        let transforms = count * (blocks.inputs + blocks.all_outputs()) as u64;
        NttCost {
            butterflies: transforms * n / 2 * u64::from(n.ilog2()),
            products: count * blocks.weight_rows(self.degree),
            moves: transforms * n + count * n * blocks.all_outputs() as u64,
            weights: blocks.weight_rows(self.degree),
        }
    }
}

fn outputs(geometry: &ConvGeometry) -> [usize; 2] {
    [geometry.out_height(), geometry.out_width()]
}
