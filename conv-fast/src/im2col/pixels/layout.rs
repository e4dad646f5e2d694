//! Where the digits of a job lie, and which outputs are computed together.
//!
//! ```text
//! words[plane of channels][digit][phase][row][column]      a phase's rows are `pitch` words apart
//! ```
//!
//! A stride splits padded rows and columns into phases, so that neighbouring outputs always read neighbouring words: output t
//! of a job (row by row, `pitch` a row) reads tap (i, j) at a distance from t that depends on the tap alone. Only phases that
//! some tap reads are stored. Without a stride over columns the zeros right of a row are those left of the next. Or else
//! ([`Layout::new`]'s `copies`) every column of the kernel has a copy of its own, without the columns that no output has: more to
//! write, but outputs follow each other without gaps.
//!
//! Sixteen outputs that follow each other are a [`Piece`]. Pieces run over the ends of rows where that takes fewer of them:
//! outputs that are in no plane are dropped when results are stored, and what is left follows each other in the plane, too.

use crate::ConvGeometry;
use std::borrow::Cow;
use std::ops::Range;

/// Outputs of a piece.
pub(super) const WIDTH: usize = 16;
/// Most outputs that are few.
pub(super) const FEW: usize = 4;
/// What so many outputs take, of the time of a piece.
const FEW_PARTS: [f64; FEW + 1] = [0.0, 0.2, 0.25, 0.45, 0.45];
/// Words of digits that a job should not exceed by much: a quarter of a usual second-level cache.
const JOB_WORDS: usize = 1 << 16;

/// Most outputs of a plane, taps, and stored rows of all jobs.
const MOST_OUTPUTS: usize = 1 << 22;
const MOST_TAPS: usize = 1 << 10;
const MOST_ROWS: usize = 1 << 18;

/// A convolution cut into jobs.
pub(super) struct Layout {
    /// Rows and columns of an input plane, and of an output plane.
    pub(super) image: [usize; 2],
    pub(super) out: [usize; 2],
    /// Words of one digit of one plane: an odd number of cache lines.
    pub(super) plane: usize,
    pub(super) jobs: Vec<Job>,
    /// Distance of each tap, in the order of a kernel's weights.
    pub(super) taps: Vec<usize>,
    /// The same in ascending order.
    pub(super) distances: Vec<usize>,
}

/// A rectangle of outputs: all columns, or a part of a single row.
pub(super) struct Job {
    /// What is gathered, of every channel.
    pub(super) rows: Vec<StoredRow>,
    pub(super) pieces: Vec<Piece>,
}

/// Some pieces of a job.
pub(super) struct Part<'a> {
    /// What they read, or more.
    pub(super) rows: Cow<'a, [StoredRow]>,
    pub(super) pieces: &'a [Piece],
}

impl Job {
    /// Those pieces, of a layout whose taps are at such distances, in ascending order.
    pub(super) fn part(&self, pieces: Range<usize>, distances: &[usize]) -> Part<'_> {
        let pieces = &self.pieces[pieces];
        if pieces.len() == self.pieces.len() {
            return Part { rows: Cow::Borrowed(&self.rows), pieces };
        }
        let starts = pieces.iter().map(|piece| piece.start as usize);
        let read = starts.clone().min().zip(starts.max()).map(|(first, last)| {
            // A tap reads from `first` plus its distance to `last` plus that and sixteen: one more, for pairs of neighbours.
            let by = |row: &&StoredRow| {
                let near = distances.partition_point(|&distance| last + distance + WIDTH < row.at);
                distances.get(near).is_some_and(|distance| first + distance < row.at + row.len)
            };
            self.rows.iter().filter(by).cloned().collect()
        });
        Part { rows: read.unwrap_or_default(), pieces }
    }
}

/// Sixteen outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Words from the start of a digit to the first output's.
    pub(super) start: u32,
    /// Place of the first output that exists, in its plane.
    pub(super) place: u32,
    /// Which of the sixteen exist.
    pub(super) mask: u16,
}

impl Piece {
    /// Whether so few outputs exist that they are not worth whole vectors.
    pub(super) fn few(&self) -> bool {
        self.mask.count_ones() as usize <= FEW
    }
}

/// A row of one phase.
#[derive(Clone)]
pub(super) struct StoredRow {
    /// Its first word.
    pub(super) at: usize,
    /// Its words, zeros included.
    pub(super) len: usize,
    /// Which of them are in the image.
    pub(super) inside: Range<usize>,
    /// Place of the first of these in the image's plane, and the distance of the others.
    pub(super) source: usize,
    pub(super) step: usize,
}

impl Layout {
    /// For planes of `digits` digits; with a copy for each column of the kernel if `copies`. `None` if the lists would be long:
    /// windows and planes of millions of values.
    pub(super) fn new(geometry: &ConvGeometry, digits: usize, copies: bool) -> Option<Self> {
        let s = geometry.shape();
        if geometry.out_height() * geometry.out_width() > MOST_OUTPUTS
            || s.kernel[0] * s.kernel[1] > MOST_TAPS
        {
            return None;
        }
        let plain = s.kernel == [1, 1] && s.stride == [1, 1] && s.padding == [0; 4];
        let mut out = [geometry.out_height(), geometry.out_width()];
        let mut image = [s.in_height, s.in_width];
        if plain {
            out = [1, out[0] * out[1]];
            image = out;
        }
        // Copies are phases that no tap has any distance in.
        let modulus = [s.stride[0], if copies { usize::MAX } else { s.stride[1] }];
        let phases = [0, 1].map(|axis| {
            let mut list: Vec<usize> =
                (0..s.kernel[axis]).map(|tap| tap * s.dilation[axis] % modulus[axis]).collect();
            list.sort_unstable();
            list.dedup();
            list
        });
        let padding = [s.padding[0], s.padding[1]];
        // The farthest tap of an axis, in stored rows or columns.
        let reach = [0, 1].map(|axis| (s.kernel[axis] - 1) * s.dilation[axis] / modulus[axis]);
        let count = phases[0].len() * phases[1].len();
        let planes = geometry.group_inputs().div_ceil(2) * digits;
        let size = if plain { [1, columns(out[1], planes)] } else { [0, out[1]] };
        let shared = match s.stride[1] {
            // No more than leaves a place for each output.
            1 => padding[1].min((size[1] + reach[1]).saturating_sub(padding[1] + image[1])).min(reach[1]),
            _ => 0,
        };
        let pitch = size[1] + reach[1] - shared;
        let rows = if plain {
            1
        } else {
            let term = geometry.terms().div_ceil(2) * geometry.group_outputs() * digits / 2;
            rows([out[0], out[1]], pitch, &|rows| (rows + reach[0]) * pitch * count * planes, term)
        };
        let columns = size[1];
        if out[0].div_ceil(rows) * count * (rows + reach[0]) > MOST_ROWS {
            return None;
        }
        let stored = [rows + reach[0], columns + reach[1]];
        let phase = (stored[0] - 1) * pitch + stored[1];
        let mut taps = Vec::with_capacity(s.kernel[0] * s.kernel[1]);
        for row in 0..s.kernel[0] {
            for column in 0..s.kernel[1] {
                let tap = [row * s.dilation[0], column * s.dilation[1]];
                let [row, column] = [0, 1].map(|axis| {
                    let residue = tap[axis] % modulus[axis];
                    phases[axis].iter().position(|&phase| phase == residue).unwrap_or(0)
                });
                let number = row * phases[1].len() + column;
                taps.push(number * phase + tap[0] / modulus[0] * pitch + tap[1] / modulus[1]);
            }
        }
        let stored_row =
            |job: &[Range<usize>; 2], phase_at: usize, [residue, shift]: [usize; 2], number: usize| {
                let (first, start) = (job[0].start * s.stride[0], job[1].start * s.stride[1]);
                let len = job[1].len() + reach[1];
                let row = (first + number * s.stride[0] + residue).wrapping_sub(padding[0]);
                // Stored columns up to a column of the image.
                let below = |column: usize| {
                    (column + padding[1]).saturating_sub(start + shift).div_ceil(s.stride[1]).min(len)
                };
                let inside = if row < image[0] { below(0)..below(image[1]) } else { 0..0 };
                let column = (start + inside.start * s.stride[1] + shift).wrapping_sub(padding[1]);
                StoredRow {
                    at: phase_at + number * pitch,
                    len,
                    source: if inside.is_empty() { 0 } else { row * image[1] + column },
                    inside,
                    step: s.stride[1],
                }
            };
        let mut jobs = Vec::new();
        for rows in parts(out[0], rows) {
            for columns in parts(out[1], columns) {
                let pieces = pieces(&rows, &columns, pitch, out[1]);
                let job = [rows.clone(), columns];
                let mut stored = Vec::new();
                for (i, &residue) in phases[0].iter().enumerate() {
                    for (j, &shift) in phases[1].iter().enumerate() {
                        let at = (i * phases[1].len() + j) * phase;
                        let numbers = 0..job[0].len() + reach[0];
                        stored.extend(numbers.map(|number| stored_row(&job, at, [residue, shift], number)));
                    }
                }
                jobs.push(Job { rows: stored, pieces });
            }
        }
        let last = |list: &mut dyn Iterator<Item = usize>| list.max().unwrap_or(0);
        let starts = last(&mut jobs.iter().flat_map(|job| &job.pieces).map(|piece| piece.start as usize));
        // One more for pairs of neighbours.
        let read = starts + last(&mut taps.iter().copied()) + WIDTH + 1;
        let lines = read.max(count * phase).div_ceil(WIDTH) | 1;
        let mut distances = taps.clone();
        distances.sort_unstable();
        Some(Self { image, out, plane: lines * WIDTH, jobs, taps, distances })
    }

    /// Pieces of an image.
    pub(super) fn pieces(&self) -> usize {
        self.jobs.iter().map(|job| job.pieces.len()).sum()
    }

    /// As [`Layout::pieces`], those of a few outputs counted as the parts of a whole one's products that they take.
    pub(super) fn whole_pieces(&self) -> f64 {
        let part =
            |piece: &Piece| if piece.few() { FEW_PARTS[piece.mask.count_ones() as usize] } else { 1.0 };
        self.jobs.iter().flat_map(|job| &job.pieces).map(part).sum()
    }

    /// Vectors of sixteen words that are written per digit of a plane.
    pub(super) fn written(&self) -> usize {
        self.jobs.iter().flat_map(|job| &job.rows).map(|row| row.inside.len().div_ceil(WIDTH) + 1).sum()
    }
}

/// Columns of a job of a single row: whole pairs of pieces, as many as fit.
fn columns(whole: usize, planes: usize) -> usize {
    let fit = (JOB_WORDS / planes).clamp(4 * WIDTH, whole.max(4 * WIDTH));
    whole.div_ceil(whole.div_ceil(fit)).next_multiple_of(2 * WIDTH).min(whole)
}

/// Rows of a job: those with the least work. `words` are those of a job's digits, `term` the cycles that a piece takes.
fn rows([height, width]: [usize; 2], pitch: usize, words: &dyn Fn(usize) -> usize, term: usize) -> usize {
    let cost = |rows: usize| {
        let pieces = |rows: usize| match rows {
            0 => 0,
            rows => ((rows - 1) * pitch + width).div_ceil(WIDTH).min(rows * width.div_ceil(WIDTH)),
        };
        let all = height / rows * pieces(rows) + pieces(height % rows);
        // Sixteen words take about three cycles to write.
        let gathered = height.div_ceil(rows) * words(rows) / WIDTH * 3;
        (all * term + gathered) as f64 * (words(rows) as f64 / JOB_WORDS as f64).max(1.0).powf(0.2)
    };
    // Beyond some number of rows there is little left to gain.
    let candidates = (1..=height.min(64)).chain((height > 64).then_some(height));
    candidates.min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap_or(1)
}

fn parts(whole: usize, part: usize) -> impl Iterator<Item = Range<usize>> {
    (0..whole).step_by(part).map(move |first| first..whole.min(first + part))
}

/// The pieces of a rectangle whose rows are `pitch` words apart, in planes with rows of `width`.
fn pieces(rows: &Range<usize>, columns: &Range<usize>, pitch: usize, width: usize) -> Vec<Piece> {
    let flat = (rows.len() - 1) * pitch + columns.len();
    let piece = |start: usize, end: usize| {
        let lanes = (start..end.min(start + WIDTH)).enumerate().filter(|(_, t)| t % pitch < columns.len());
        let mask = lanes.clone().fold(0, |mask, (lane, _)| mask | 1 << lane);
        let first =
            lanes.map(|(_, t)| (rows.start + t / pitch) * width + columns.start + t % pitch).next()?;
        Some(Piece { start: start as u32, place: first as u32, mask })
    };
    if flat.div_ceil(WIDTH) < rows.len() * columns.len().div_ceil(WIDTH) {
        return (0..flat).step_by(WIDTH).filter_map(|start| piece(start, flat)).collect();
    }
    let row = |row: usize| (row * pitch..row * pitch + columns.len()).step_by(WIDTH).map(move |at| (at, row));
    let all = (0..rows.len()).flat_map(row);
    all.filter_map(|(start, row)| piece(start, row * pitch + columns.len())).collect()
}
