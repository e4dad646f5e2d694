//! The geometry of a maximum pooling: which inputs each output looks at.
//!
//! | tensor | shape | index |
//! |---|---|---|
//! | input | C × H × W, row-major | `(c·H + y)·W + x` |
//! | output | C × OH × OW, row-major | `(c·OH + y)·OW + x` |
//!
//! Padding cells never win (they count as −∞), so a window simply skips them; construction guarantees that
//! every window keeps at least one real cell. The type is checked when it is made *and* when it is
//! deserialised, so code that holds one may index without further checks.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use ss_core::SsError;
use ss_core::maximum::Tournament;

use crate::error::NnError;

/// Most elements of a pooled tensor.
const MAX_ELEMENTS: u64 = 1 << 28;
/// Most cells of one window.
const MAX_WINDOW: u64 = 1 << 20;
/// Most cells of all windows of one channel plane together, times channels.
const MAX_CELLS: u64 = 1 << 30;
/// Largest plane side, stride and padding.
const MAX_SIDE: usize = 1 << 16;

/// The raw numbers of a pooling, unchecked: what is written in a manifest.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Channels C; pooling treats each alone.
    pub channels: usize,
    /// Input rows H.
    pub in_height: usize,
    /// Input columns W.
    pub in_width: usize,
    /// Window rows and columns.
    pub kernel: [usize; 2],
    /// Steps between windows, rows and columns.
    pub stride: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub padding: [usize; 4],
}

/// A checked pooling geometry.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(try_from = "PoolShape", into = "PoolShape")]
pub struct PoolGeometry {
    shape: PoolShape,
    out_height: usize,
    out_width: usize,
}

impl TryFrom<PoolShape> for PoolGeometry {
    type Error = NnError;

    fn try_from(shape: PoolShape) -> Result<Self, NnError> {
        Self::new(shape)
    }
}

impl From<PoolGeometry> for PoolShape {
    fn from(geometry: PoolGeometry) -> Self {
        geometry.shape
    }
}

impl PoolGeometry {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`NnError::Manifest`] when a size is zero or above its cap, when the window is larger than the padded
    /// plane, or when some window would see padding only.
    pub fn new(shape: PoolShape) -> Result<Self, NnError> {
        let PoolShape { channels, in_height, in_width, kernel, stride, padding } = shape;
        let wrong = |what: &str| NnError::manifest(format!("pooling {what}"));
        let sides = [in_height, in_width, kernel[0], kernel[1], stride[0], stride[1]];
        if sides.iter().any(|&v| v == 0 || v > MAX_SIDE) || padding.iter().any(|&v| v > MAX_SIDE) {
            return Err(wrong("has a side, window, stride or padding of zero or above 65536"));
        }
        let window = kernel[0] as u64 * kernel[1] as u64;
        if window > MAX_WINDOW {
            return Err(wrong("window has more than 2^20 cells"));
        }
        let plane = (in_height as u64) * (in_width as u64);
        if channels == 0 || channels as u64 > MAX_ELEMENTS || plane * channels as u64 > MAX_ELEMENTS {
            return Err(wrong("tensor is empty or above 2^28 elements"));
        }
        let out_height = outputs(in_height, kernel[0], stride[0], padding[0], padding[2])
            .ok_or_else(|| wrong("has a window with no row of the image in it"))?;
        let out_width = outputs(in_width, kernel[1], stride[1], padding[1], padding[3])
            .ok_or_else(|| wrong("has a window with no column of the image in it"))?;
        let results = (out_height as u64) * (out_width as u64) * channels as u64;
        if results > MAX_ELEMENTS || results * window > MAX_CELLS {
            return Err(wrong("has more than 2^28 results or 2^30 cells in its windows"));
        }
        Ok(Self { shape, out_height, out_width })
    }

    /// The numbers this geometry was made from.
    pub fn shape(&self) -> &PoolShape {
        &self.shape
    }

    /// Channels, unchanged by pooling.
    pub fn channels(&self) -> usize {
        self.shape.channels
    }

    /// Output rows.
    pub fn out_height(&self) -> usize {
        self.out_height
    }

    /// Output columns.
    pub fn out_width(&self) -> usize {
        self.out_width
    }

    /// Elements of the input tensor.
    pub fn input_len(&self) -> usize {
        self.shape.channels * self.shape.in_height * self.shape.in_width
    }

    /// Elements of the output tensor.
    pub fn output_len(&self) -> usize {
        self.shape.channels * self.out_height * self.out_width
    }

    /// Comparisons that a tournament over all windows takes (cells − 1 per window).
    pub fn comparisons(&self) -> u64 {
        let (rows, columns) = self.spans();
        let cells: u64 = rows.iter().map(|r| r.len() as u64).sum::<u64>()
            * columns.iter().map(|c| c.len() as u64).sum::<u64>();
        (cells - (self.out_height * self.out_width) as u64) * self.shape.channels as u64
    }

    /// Every output's window, in output order: the flat input indices it looks at, ascending, never empty.
    pub fn windows(&self) -> impl Iterator<Item = Vec<usize>> + '_ {
        let (rows, columns) = self.spans();
        let (height, width) = (self.shape.in_height, self.shape.in_width);
        let per_channel = self.out_height * self.out_width;
        (0..self.output_len()).map(move |output| {
            let (channel, pixel) = (output / per_channel, output % per_channel);
            let (row, column) = (&rows[pixel / self.out_width], &columns[pixel % self.out_width]);
            row.clone()
                .flat_map(|y| column.clone().map(move |x| (channel * height + y) * width + x))
                .collect()
        })
    }

    /// The tournament that finds the maxima of all windows, for `images` tensors that follow one another. Overlapping windows
    /// share the maxima of their rows or of their columns where that takes fewer comparisons and no more levels.
    ///
    /// # Errors
    /// [`SsError`] for more values than indices can name.
    pub fn tournament(&self, images: usize) -> Result<Tournament, SsError> {
        let (height, width) = (self.shape.in_height, self.shape.in_width);
        let (rows, columns) = self.spans();
        let depth = |cells: usize| usize::BITS - (cells.max(1) - 1).leading_zeros();
        let lengths =
            |spans: &[Range<usize>]| spans.iter().map(|span| span.len()).collect::<BTreeSet<usize>>();
        let deeper = lengths(&rows).iter().any(|&rows| {
            lengths(&columns).iter().any(|&columns| depth(rows) + depth(columns) > depth(rows * columns))
        });
        let gates = |spans: &[Range<usize>]| spans.iter().map(|span| span.len() - 1).sum::<usize>();
        let whole = self.comparisons() as usize / self.shape.channels;
        let by_rows = gates(&rows) * width + gates(&columns) * self.out_height;
        let by_columns = gates(&columns) * height + gates(&rows) * self.out_width;
        // Windows along one axis of a plane with `width` columns.
        let along_rows = |width: usize| -> Vec<Vec<u32>> {
            let window = |row: &Range<usize>, x: usize| row.clone().map(|y| (y * width + x) as u32).collect();
            rows.iter().flat_map(|row| (0..width).map(move |x| window(row, x))).collect()
        };
        let along_columns = |height: usize| -> Vec<Vec<u32>> {
            let window = |y: usize, column: &Range<usize>| {
                column.clone().map(|x| (y * width + x) as u32).collect::<Vec<u32>>()
            };
            (0..height).flat_map(|y| columns.iter().map(move |column| window(y, column))).collect()
        };
        let plane = if deeper || by_rows.min(by_columns) >= whole {
            let windows: Vec<Vec<u32>> = rows
                .iter()
                .flat_map(|row| columns.iter().map(move |column| (row, column)))
                .map(|(row, column)| {
                    row.clone().flat_map(|y| column.clone().map(move |x| (y * width + x) as u32)).collect()
                })
                .collect();
            Tournament::new(height * width, &windows)?
        } else if by_rows <= by_columns {
            let second = along_columns(self.out_height);
            Tournament::new(height * width, &along_rows(width))?
                .then(Tournament::new(self.out_height * width, &second)?)?
        } else {
            let second = along_rows(self.out_width);
            Tournament::new(height * width, &along_columns(height))?
                .then(Tournament::new(height * self.out_width, &second)?)?
        };
        plane.repeat(self.shape.channels * images)
    }

    /// The image rows each output row sees, and the columns likewise.
    pub(crate) fn spans(&self) -> (Vec<std::ops::Range<usize>>, Vec<std::ops::Range<usize>>) {
        let s = &self.shape;
        let span = |count: usize, axis: usize, size: usize, before: usize| {
            (0..count)
                .map(|o| {
                    let start = (o * s.stride[axis]).saturating_sub(before);
                    let end = (o * s.stride[axis] + s.kernel[axis]).saturating_sub(before).min(size);
                    start..end
                })
                .collect::<Vec<_>>()
        };
        (
            span(self.out_height, 0, s.in_height, s.padding[0]),
            span(self.out_width, 1, s.in_width, s.padding[1]),
        )
    }
}

/// Windows along one axis, or `None` if there is none or one of them sees padding only.
fn outputs(size: usize, kernel: usize, stride: usize, before: usize, after: usize) -> Option<usize> {
    let count = (size + before + after).checked_sub(kernel)? / stride + 1;
    let last_start = (count - 1) * stride;
    (before < kernel && last_start < size + before).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> PoolShape {
        PoolShape {
            channels: 2,
            in_height: 5,
            in_width: 4,
            kernel: [3, 2],
            stride: [2, 2],
            padding: [1, 0, 1, 0],
        }
    }

    #[test]
    fn windows_skip_padding_and_cover_the_plane() {
        let pool = PoolGeometry::new(shape()).expect("valid");
        assert_eq!((pool.out_height(), pool.out_width()), (3, 2));
        let windows: Vec<_> = pool.windows().collect();
        assert_eq!(windows.len(), pool.output_len());
        assert_eq!(windows[0], [0, 1, 4, 5]);
        assert_eq!(windows[3], [6, 7, 10, 11, 14, 15]);
        assert_eq!(windows[6 + 4], [20 + 12, 20 + 13, 20 + 16, 20 + 17]);
        let slow: u64 = windows.iter().map(|w| w.len() as u64 - 1).sum();
        assert_eq!(pool.comparisons(), slow);
    }

    #[test]
    fn tournaments_find_the_maxima_of_windows_with_fewer_comparisons_where_they_overlap() {
        let pool = |side: usize, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 4]| {
            let numbers =
                PoolShape { channels: 2, in_height: side, in_width: side + 1, kernel, stride, padding };
            PoolGeometry::new(numbers).expect("valid")
        };
        let pools = [
            (pool(7, [3, 3], [2, 2], [0; 4]), true),
            (pool(8, [3, 3], [2, 2], [1, 1, 0, 1]), true),
            (pool(6, [3, 2], [1, 3], [1, 0, 1, 0]), true),
            (pool(6, [2, 2], [2, 2], [0; 4]), false),
            (pool(9, [5, 3], [1, 1], [0; 4]), false),
        ];
        for (pool, fewer) in pools {
            let tournament = pool.tournament(3).expect("small");
            assert_eq!((tournament.gates() as u64) < 3 * pool.comparisons(), fewer, "{pool:?}");
            let inputs: Vec<u64> = (0..3 * pool.input_len() as u64)
                .map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40)
                .collect();
            let mut values = inputs.clone();
            for level in tournament.levels() {
                let met = level.first(&values).into_iter().zip(level.second(&values));
                let larger: Vec<u64> = met.map(|(a, b)| a.max(b)).collect();
                values = level.advance(&values, &larger);
            }
            let slow: Vec<u64> = inputs
                .chunks(pool.input_len())
                .flat_map(|image| {
                    pool.windows().map(|w| w.iter().map(|&i| image[i]).max().expect("not empty"))
                })
                .collect();
            assert_eq!(tournament.winners(&values), slow, "{pool:?}");
            let most = usize::BITS - (pool.shape().kernel.iter().product::<usize>() - 1).leading_zeros();
            assert!(tournament.levels().len() <= most as usize, "{pool:?}");
        }
    }

    #[test]
    fn bad_numbers_are_refused_also_by_the_decoder() {
        type Fault = fn(&mut PoolShape);
        let faults: [Fault; 6] = [
            |s| s.stride[0] = 0,
            |s| s.kernel = [9, 1],
            |s| s.padding = [3, 0, 1, 0],
            |s| s.channels = usize::MAX,
            |s| s.in_height = usize::MAX,
            |s| s.padding = [0, 0, 4, 0],
        ];
        for fault in faults {
            let mut s = shape();
            fault(&mut s);
            assert!(PoolGeometry::new(s.clone()).is_err(), "{s:?}");
            let bytes = postcard::to_stdvec(&s).expect("plain numbers");
            assert!(postcard::from_bytes::<PoolGeometry>(&bytes).is_err(), "{s:?}");
        }
        let good = PoolGeometry::new(shape()).expect("valid");
        let bytes = postcard::to_stdvec(&good).expect("plain numbers");
        assert_eq!(postcard::from_bytes::<PoolGeometry>(&bytes).expect("round trip"), good);
    }
}
