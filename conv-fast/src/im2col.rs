//! Convolution as one matrix product, without ever writing the matrix down.
//!
//! The matrix "image to column" would hold each pixel once per tap. Here the zero-padded image is written once, as digit
//! pairs (see [`crate::matmul`]), and the kernel reads it at shifted positions:
//!
//! ```text
//! words[group][phase][channel pair][digit][image][row][column]     one i32: two channels' 16-bit digits
//! ```
//!
//! - Two neighbouring *channels* of a group form a pair of terms, so that a tap is nothing but an offset.
//! - Output positions are taken in the padded image's own pitch; the few positions beyond the last output column are
//!   computed and dropped. That keeps all loads contiguous.
//! - A stride splits rows and columns by residue (phases), after which every phase has stride one. Phases that no tap
//!   meets are not written.
//! - Small planes of a batch share panels; large ones start a panel each.
//!
//! Any geometry is supported. Work: one product per weight, output position and digit; memory: 4·D bytes per padded pixel
//! and pair of channels.

use crate::Kernel;
use crate::matmul::{Columns, Digits, LANES, Rows, TILE_ROWS, Totals};
use crate::{ConvError, ConvGeometry};
use he_core::Modulus;
use rayon::prelude::*;

/// Panels that one task computes.
const TASK_PANELS: usize = 32;
/// Marks a lane without an output.
const DROPPED: usize = usize::MAX;

pub(crate) struct Im2col {
    geometry: ConvGeometry,
    digits: Digits,
    kernel: Kernel,
    groups: Vec<Rows>,
    /// Stride residues (row, column) that have taps.
    phases: Vec<[usize; 2]>,
    /// For each pair of terms: block (phase and channel pair), row and column of the tap within its phase.
    terms: Vec<(usize, usize, usize)>,
    /// Rows and columns of one phase's plane.
    plane: [usize; 2],
}

/// Sixteen consecutive positions, and where their results go within the batch's output, for output channel 0.
struct Panel {
    start: usize,
    targets: [usize; LANES],
}

impl Im2col {
    pub(crate) fn new(
        geometry: &ConvGeometry,
        modulus: Modulus,
        weights: &[i32],
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        let s = geometry.shape();
        let inputs = geometry.group_inputs();
        let channel_pairs = inputs.div_ceil(2);
        let mut phases = Vec::new();
        // (phase, row, column, kernel index) of each tap
        let mut taps = Vec::new();
        for i in 0..s.kernel[0] {
            for j in 0..s.kernel[1] {
                let (y, x) = (i * s.dilation[0], j * s.dilation[1]);
                let residue = [y % s.stride[0], x % s.stride[1]];
                let phase = phases.iter().position(|&known| known == residue).unwrap_or_else(|| {
                    phases.push(residue);
                    phases.len() - 1
                });
                taps.push((phase, y / s.stride[0], x / s.stride[1], i * s.kernel[1] + j));
            }
        }
        let reach = [0, 1].map(|axis| (s.kernel[axis] - 1) * s.dilation[axis] / s.stride[axis]);
        let plane = [geometry.out_height() + reach[0], geometry.out_width() + reach[1]];
        let mut terms = Vec::new();
        let mut sources = Vec::new();
        for &(phase, row, column, index) in &taps {
            for pair in 0..channel_pairs {
                terms.push((phase * channel_pairs + pair, row, column));
                sources.push((pair, index));
            }
        }
        let kernel_len = s.kernel[0] * s.kernel[1];
        let groups = (0..s.groups)
            .map(|group| {
                let first = group * geometry.group_outputs();
                Rows::new(geometry.group_outputs(), sources.len(), |output, term| {
                    let (pair, index) = sources[term / 2];
                    let channel = 2 * pair + term % 2;
                    if channel < inputs {
                        i64::from(weights[((first + output) * inputs + channel) * kernel_len + index])
                    } else {
                        0
                    }
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            geometry: geometry.clone(),
            digits: Digits::new(modulus)?,
            kernel,
            groups,
            phases,
            terms,
            plane,
        })
    }

    pub(crate) fn run(&self, input: &[u64], batch: usize) -> Vec<u64> {
        let g = &self.geometry;
        let cells = self.plane[0] * self.plane[1];
        let stride = batch * cells;
        let blocks = self.phases.len() * g.group_inputs().div_ceil(2);
        let block = self.digits.count * stride;
        let reach = (self.plane[0] + 1) * self.plane[1] + 2 * LANES;
        let mut words = vec![0i32; self.groups.len() * blocks * block + reach];
        // Small layers are not worth a task for each block.
        let least = (4096 / block).max(1);
        words[..self.groups.len() * blocks * block]
            .par_chunks_mut(block)
            .with_min_len(least)
            .enumerate()
            .for_each(|(at, words)| {
                self.spread(input, at / blocks, at % blocks, batch, words);
            });
        let offsets: Vec<usize> =
            self.terms.iter().map(|&(at, row, column)| at * block + row * self.plane[1] + column).collect();
        let panels = self.panels(batch);
        // One task: one group of output rows at some panels. Its results are in order of (panel, output, lane).
        let mut tasks = Vec::new();
        for (group, rows) in self.groups.iter().enumerate() {
            for first in (0..rows.outputs).step_by(rows.outputs_per_group()) {
                for panels in panels.chunks(TASK_PANELS) {
                    tasks.push((group, first, panels));
                }
            }
        }
        let results: Vec<Vec<u64>> = tasks
            .par_iter()
            .map(|&(group, first, panels)| {
                let columns =
                    Columns::new(&words[group * blocks * block..], &offsets, stride, self.digits.count);
                self.task(&self.groups[group], first, &columns, panels)
            })
            .collect();
        let mut output = vec![0; batch * g.output_len()];
        let pixels = g.out_height() * g.out_width();
        for (&(group, first, panels), result) in tasks.iter().zip(&results) {
            let base = (group * g.group_outputs() + first) * pixels;
            let outputs = result.len() / (panels.len() * LANES);
            for (panel, result) in panels.iter().zip(result.chunks_exact(outputs * LANES)) {
                for (row, result) in result.chunks_exact(LANES).enumerate() {
                    for (&target, &value) in panel.targets.iter().zip(result) {
                        if target != DROPPED {
                            output[target + base + row * pixels] = value;
                        }
                    }
                }
            }
        }
        output
    }

    fn task(&self, rows: &Rows, first: usize, columns: &Columns<'_>, panels: &[Panel]) -> Vec<u64> {
        let outputs = rows.outputs_per_group().min(rows.outputs - first);
        let mut totals: Vec<Totals> = vec![[[[0; LANES]; 2]; TILE_ROWS]; rows.tiles_per_group()];
        let mut results = vec![0; panels.len() * outputs * LANES];
        for (panel, results) in panels.iter().zip(results.chunks_exact_mut(outputs * LANES)) {
            rows.panel(self.kernel, first / rows.outputs_per_group(), columns, panel.start, &mut totals);
            let flat = totals.as_flattened();
            for (row, results) in results.chunks_exact_mut(LANES).enumerate() {
                for (lane, result) in results.iter_mut().enumerate() {
                    if panel.targets[lane] == DROPPED {
                        continue;
                    }
                    *result = self.digits.reduce(&flat[row * rows.parts..][..rows.parts], lane);
                }
            }
        }
        results
    }

    /// Writes the digits of one phase of one pair of channels, all images; `words` is zero on entry.
    fn spread(&self, input: &[u64], group: usize, at: usize, batch: usize, words: &mut [i32]) {
        let g = &self.geometry;
        let s = g.shape();
        let channel_pairs = g.group_inputs().div_ceil(2);
        let (phase, pair) = (self.phases[at / channel_pairs], at % channel_pairs);
        let stride = words.len() / self.digits.count;
        for image in 0..batch {
            for half in 0..2.min(g.group_inputs() - 2 * pair) {
                let channel = group * g.group_inputs() + 2 * pair + half;
                let source = image * g.input_len() + channel * s.in_height * s.in_width;
                for row in 0..self.plane[0] {
                    // Rows and columns of the image; what wraps below zero is out of range and stays zero.
                    let y = (row * s.stride[0] + phase[0]).wrapping_sub(s.padding[0]);
                    if y >= s.in_height {
                        continue;
                    }
                    let line = &input[source + y * s.in_width..][..s.in_width];
                    let base = (image * self.plane[0] + row) * self.plane[1];
                    for column in 0..self.plane[1] {
                        let x = (column * s.stride[1] + phase[1]).wrapping_sub(s.padding[1]);
                        if let Some(&value) = line.get(x) {
                            self.digits.write(value, words, base + column, stride, half);
                        }
                    }
                }
            }
        }
    }

    fn panels(&self, batch: usize) -> Vec<Panel> {
        let g = &self.geometry;
        let [height, width] = self.plane;
        let cells = height * width;
        let span = (g.out_height() - 1) * width + g.out_width();
        let target = |position: usize| {
            let (image, cell) = (position / cells, position % cells);
            let (y, x) = (cell / width, cell % width);
            if image < batch && y < g.out_height() && x < g.out_width() {
                image * g.output_len() + y * g.out_width() + x
            } else {
                DROPPED
            }
        };
        // In the second case a panel never reaches the next image, so that no output is computed twice.
        let starts: Vec<usize> = if cells < span.next_multiple_of(LANES) {
            (0..batch * cells).step_by(LANES).collect()
        } else {
            (0..batch).flat_map(|image| (0..span).step_by(LANES).map(move |at| image * cells + at)).collect()
        };
        starts
            .into_iter()
            .map(|start| Panel { start, targets: std::array::from_fn(|lane| target(start + lane)) })
            .filter(|panel| panel.targets.iter().any(|&target| target != DROPPED))
            .collect()
    }
}
