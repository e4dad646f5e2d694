//! Winograd's minimal filtering F(m×m, r×r) over Z_q: exact, with tiles of any size.
//!
//! Source: Lavin and Gray, *Fast algorithms for convolutional neural networks*, CVPR 2016, section 4; the matrices are
//! derived here from Toom–Cook interpolation. With n = m + r − 1 and distinct points p_0 … p_{n−2} (0, ±1, ±2, …) and ∞,
//! a line of n inputs d and r weights g gives m outputs
//!
//! ```text
//! y = Aᵀ [ (G g) ⊙ S ⊙ (Bᵀ d) ]
//! G[i][k] = p_i^k     Aᵀ[k][i] = p_i^k     Bᵀ[i] = coefficients of Π_{j≠i}(x − p_j)     S_i = 1/Π_{j≠i}(p_i − p_j)
//! G[∞] = last weight  Aᵀ[·][∞] = last row  Bᵀ[∞] = coefficients of Π_j (x − p_j)        S_∞ = 1
//! ```
//!
//! and the two-dimensional form applies this to rows and columns. In floating point large tiles lose precision; modulo a
//! prime all divisors are invertible and nothing is lost. G, A and B keep small integers; only S is a residue, and it is
//! applied once, to sums that have to be reduced anyway. So transformed weights stay short (12 bits become 18 under
//! F(4×4, 3×3)) and the products go through the digit kernel of [`crate::matmul`].
//!
//! Per tile and pair of channels n² products replace m²r². Supported: square kernels of 2 to 7 taps a side, stride 1,
//! dilation 1, any padding and groups, tiles up to n = 8 (beyond, the sums of the transforms would leave 64 bits).

use crate::Kernel;
use crate::matmul::{Columns, Digits, LANES, Rows, TILE_ROWS, Totals};
use crate::{ConvError, ConvGeometry};
use he_core::Modulus;
use rayon::prelude::*;

/// Greatest input tile n = m + r − 1.
const MAX_TILE: usize = 8;

pub(crate) struct Winograd {
    geometry: ConvGeometry,
    modulus: Modulus,
    digits: Digits,
    kernel: Kernel,
    line: Line,
    /// [group][element of the n×n tile]
    rows: Vec<Vec<Rows>>,
    /// S_i·S_j and its Shoup quotient.
    scales: Vec<(u64, u64)>,
}

/// The three integer matrices of one dimension, row-major.
struct Line {
    outputs: usize,
    n: usize,
    /// n × r
    weights: Vec<i64>,
    /// n × n
    input: Vec<i64>,
    /// m × n
    output: Vec<i64>,
    /// Π_{j≠i}(p_i − p_j), and 1 for ∞.
    divisors: Vec<i64>,
}

impl Line {
    fn new(m: usize, r: usize) -> Self {
        let n = m + r - 1;
        let points: Vec<i64> =
            (0..n as i64 - 1).map(|i| if i % 2 == 1 { (i + 1) / 2 } else { -i / 2 }).collect();
        let mut line = Self {
            outputs: m,
            n,
            weights: vec![0; n * r],
            input: vec![0; n * n],
            output: vec![0; m * n],
            divisors: vec![1; n],
        };
        for (i, &point) in points.iter().enumerate() {
            for k in 0..r {
                line.weights[i * r + k] = point.pow(k as u32);
            }
            for k in 0..m {
                line.output[k * n + i] = point.pow(k as u32);
            }
            let others = points.iter().filter(|&&other| other != point);
            line.divisors[i] = others.clone().map(|other| point - other).product();
            fill(&mut line.input[i * n..][..n], others);
        }
        line.weights[n * r - 1] = 1;
        line.output[m * n - 1] = 1;
        fill(&mut line.input[(n - 1) * n..], points.iter());
        line
    }

    /// Greatest sum of absolute values in a row of a matrix with rows of `width`.
    fn growth(matrix: &[i64], width: usize) -> i64 {
        matrix.chunks(width).map(|row| row.iter().map(|value| value.abs()).sum()).max().unwrap_or(0)
    }
}

/// The coefficients of Π (x − p), lowest first.
fn fill<'a>(coefficients: &mut [i64], roots: impl Iterator<Item = &'a i64>) {
    coefficients[0] = 1;
    for (degree, root) in roots.enumerate() {
        for k in (0..=degree + 1).rev() {
            let lower = if k > 0 { coefficients[k - 1] } else { 0 };
            coefficients[k] = lower - root * if k <= degree { coefficients[k] } else { 0 };
        }
    }
}

/// `out` = M·X·Mᵀ for an M of `rows` × `width` and a square X of `width`; in between each value passes through `middle`.
fn sandwich(matrix: &[i64], width: usize, x: &[i64], out: &mut [i64], middle: impl Fn(i64) -> i64) {
    let rows = matrix.len() / width;
    let mut half = [0i64; MAX_TILE * MAX_TILE];
    for i in 0..rows {
        for j in 0..width {
            let sum = (0..width).map(|k| matrix[i * width + k] * x[k * width + j]).sum();
            half[i * width + j] = middle(sum);
        }
    }
    for i in 0..rows {
        for j in 0..rows {
            out[i * rows + j] = (0..width).map(|k| half[i * width + k] * matrix[j * width + k]).sum();
        }
    }
}

impl Winograd {
    /// What `geometry` lacks for tiles of m×m outputs, if anything.
    pub(crate) fn refusal(geometry: &ConvGeometry, m: usize) -> Option<&'static str> {
        let s = geometry.shape();
        if s.stride != [1, 1] || s.dilation != [1, 1] {
            Some("stride and dilation one")
        } else if s.kernel[0] != s.kernel[1] || !(2..=7).contains(&s.kernel[0]) {
            Some("a square kernel of 2 to 7 taps a side")
        } else if m < 2 || m + s.kernel[0] - 1 > MAX_TILE {
            Some("a tile of at least 2 and, with the kernel, of at most 8 a side")
        } else {
            None
        }
    }

    /// Greatest factor by which the transform of the weights may enlarge them.
    pub(crate) fn weight_growth(m: usize, r: usize) -> u64 {
        let growth = Line::growth(&Line::new(m, r).weights, r) as u64;
        growth * growth
    }

    pub(crate) fn new(
        geometry: &ConvGeometry,
        modulus: Modulus,
        weights: &[i32],
        m: usize,
        kernel: Kernel,
    ) -> Result<Self, ConvError> {
        if let Some(condition) = Self::refusal(geometry, m) {
            return Err(ConvError::Unsupported { algorithm: "Winograd", condition });
        }
        let digits = Digits::new(modulus)?;
        let r = geometry.shape().kernel[0];
        let line = Line::new(m, r);
        let (n, inputs, outputs) = (line.n, geometry.group_inputs(), geometry.group_outputs());
        let mut inverses = Vec::with_capacity(n);
        for &divisor in &line.divisors {
            let divisor = modulus.from_i64(divisor);
            if divisor == 0 {
                return Err(ConvError::Modulus {
                    modulus: modulus.value(),
                    wanted: "above the points of the tile",
                });
            }
            inverses.push(modulus.inv(divisor));
        }
        let scales = (0..n * n)
            .map(|at| {
                let scale = modulus.mul(inverses[at / n], inverses[at % n]);
                (scale, modulus.shoup(scale))
            })
            .collect();
        let mut rows = Vec::with_capacity(geometry.shape().groups);
        for group in 0..geometry.shape().groups {
            // [element][output][input]
            let mut transformed = vec![0i64; n * n * outputs * inputs];
            for at in 0..outputs * inputs {
                let kernel = &weights[(group * outputs * inputs + at) * r * r..][..r * r];
                let kernel: Vec<i64> = kernel.iter().map(|&weight| i64::from(weight)).collect();
                let mut tile = [0; MAX_TILE * MAX_TILE];
                sandwich(&line.weights, r, &kernel, &mut tile, |value| value);
                for (element, &value) in tile[..n * n].iter().enumerate() {
                    transformed[element * outputs * inputs + at] = value;
                }
            }
            let elements = transformed.chunks(outputs * inputs).map(|matrix| {
                Rows::new(outputs, inputs.div_ceil(2), |row, term| {
                    if term < inputs { matrix[row * inputs + term] } else { 0 }
                })
            });
            rows.push(elements.collect::<Result<_, _>>()?);
        }
        Ok(Self { geometry: geometry.clone(), modulus, digits, kernel, line, rows, scales })
    }

    pub(crate) fn run(&self, input: &[u64], batch: usize) -> Vec<u64> {
        let g = &self.geometry;
        let m = self.line.outputs;
        let grid = [g.out_height().div_ceil(m), g.out_width().div_ceil(m)];
        let tiles = batch * grid[0] * grid[1];
        let stride = tiles.next_multiple_of(LANES);
        let element = self.digits.count * stride;
        let block = self.line.n * self.line.n * element;
        let pairs = g.group_inputs().div_ceil(2);
        let mut output = vec![0; batch * g.output_len()];
        if tiles == 0 {
            return output;
        }
        let offsets: Vec<usize> = (0..pairs).map(|pair| pair * block).collect();
        for (group, elements) in self.rows.iter().enumerate() {
            let mut words = vec![0i32; pairs * block];
            words.par_chunks_mut(block).enumerate().for_each(|(pair, words)| {
                self.transform(input, group, pair, batch, grid, stride, words);
            });
            let columns = Columns::new(&words, &offsets, stride, self.digits.count);
            let per_group = elements.iter().map(Rows::outputs_per_group).max().unwrap_or(1);
            let tasks: Vec<(usize, usize)> = (0..g.group_outputs())
                .step_by(per_group)
                .flat_map(|first| (0..tiles).step_by(LANES).map(move |start| (first, start)))
                .collect();
            let results: Vec<Vec<u64>> = tasks
                .par_iter()
                .map(|&(first, start)| self.task(elements, first, per_group, &columns, element, start))
                .collect();
            for (&(first, start), result) in tasks.iter().zip(&results) {
                for (at, result) in result.chunks_exact(m * m).enumerate() {
                    let (row, tile) = (at / LANES, start + at % LANES);
                    let channel = group * g.group_outputs() + first + row;
                    if tile < tiles {
                        self.place(result, tile, grid, channel, &mut output);
                    }
                }
            }
        }
        output
    }

    /// Results in order (output, lane, m×m), for `count` outputs from `first` on and sixteen tiles from `start` on.
    fn task(
        &self,
        elements: &[Rows],
        first: usize,
        count: usize,
        columns: &Columns<'_>,
        element: usize,
        start: usize,
    ) -> Vec<u64> {
        let (n, m) = (self.line.n, self.line.outputs);
        let count = count.min(self.geometry.group_outputs() - first);
        // [output][lane][element]
        let mut products = vec![0i64; count * LANES * n * n];
        for (at, rows) in elements.iter().enumerate() {
            let mut totals: Vec<Totals> = vec![[[[0; LANES]; 2]; TILE_ROWS]; rows.tiles_per_group()];
            let (scale, quotient) = self.scales[at];
            // Elements differ in the length of their weights and so in the outputs per group; `count` is the greatest.
            let size = rows.outputs_per_group();
            for part in (0..count).step_by(size) {
                rows.panel(self.kernel, (first + part) / size, columns, at * element + start, &mut totals);
                let flat = totals.as_flattened();
                for (row, output) in (part..count.min(part + size)).enumerate() {
                    for lane in 0..LANES {
                        let sum = self.digits.reduce(&flat[row * rows.parts..][..rows.parts], lane);
                        let scaled = self.modulus.mul_shoup(sum, scale, quotient);
                        products[(output * LANES + lane) * n * n + at] = self.modulus.center(scaled);
                    }
                }
            }
        }
        let mut results = vec![0; count * LANES * m * m];
        let lazy = self.lazy(Line::growth(&self.line.output, n));
        for (products, results) in products.chunks_exact(n * n).zip(results.chunks_exact_mut(m * m)) {
            let mut tile = [0; MAX_TILE * MAX_TILE];
            sandwich(&self.line.output, n, products, &mut tile, |value| self.middle(value, lazy));
            for (result, &value) in results.iter_mut().zip(&tile) {
                *result = self.modulus.from_i64(value);
            }
        }
        results
    }

    /// Whether two passes that enlarge by `growth` each fit i64 without a reduction in between.
    fn lazy(&self, growth: i64) -> bool {
        i128::from(growth) * i128::from(growth) * i128::from(self.modulus.value()) < 1 << 63
    }

    #[inline(always)]
    fn middle(&self, value: i64, lazy: bool) -> i64 {
        if lazy { value } else { self.modulus.center(self.modulus.from_i64(value)) }
    }

    /// Transforms all tiles of one pair of channels into digits: `words[element][digit][tile]`, zero on entry.
    fn transform(
        &self,
        input: &[u64],
        group: usize,
        pair: usize,
        batch: usize,
        grid: [usize; 2],
        stride: usize,
        words: &mut [i32],
    ) {
        let g = &self.geometry;
        let s = g.shape();
        let (n, m) = (self.line.n, self.line.outputs);
        let lazy = self.lazy(Line::growth(&self.line.input, n));
        for half in 0..2.min(g.group_inputs() - 2 * pair) {
            let channel = group * g.group_inputs() + 2 * pair + half;
            for tile in 0..batch * grid[0] * grid[1] {
                let (image, row, column) =
                    (tile / (grid[0] * grid[1]), tile / grid[1] % grid[0] * m, tile % grid[1] * m);
                let source = image * g.input_len() + channel * s.in_height * s.in_width;
                let mut values = [0i64; MAX_TILE * MAX_TILE];
                for i in 0..n {
                    let y = (row + i).wrapping_sub(s.padding[0]);
                    if y < s.in_height {
                        let line = &input[source + y * s.in_width..][..s.in_width];
                        for j in 0..n {
                            if let Some(&value) = line.get((column + j).wrapping_sub(s.padding[1])) {
                                values[i * n + j] = self.modulus.center(value);
                            }
                        }
                    }
                }
                let mut transformed = [0i64; MAX_TILE * MAX_TILE];
                sandwich(&self.line.input, n, &values, &mut transformed, |value| self.middle(value, lazy));
                for (at, &value) in transformed[..n * n].iter().enumerate() {
                    let words = &mut words[at * self.digits.count * stride..];
                    self.digits.write(self.modulus.from_i64(value), words, tile, stride, half);
                }
            }
        }
    }

    /// Copies the part of an m×m result that lies inside the output.
    fn place(&self, result: &[u64], tile: usize, grid: [usize; 2], channel: usize, output: &mut [u64]) {
        let g = &self.geometry;
        let m = self.line.outputs;
        let (image, row, column) =
            (tile / (grid[0] * grid[1]), tile / grid[1] % grid[0] * m, tile % grid[1] * m);
        let base = image * g.output_len() + channel * g.out_height() * g.out_width();
        let width = m.min(g.out_width() - column);
        for (i, result) in result.chunks_exact(m).enumerate().take(g.out_height() - row) {
            output[base + (row + i) * g.out_width() + column..][..width].copy_from_slice(&result[..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published matrices of F(2, 3) come out, up to the scaling that S carries here.
    #[test]
    fn the_smallest_tile_by_hand() {
        let line = Line::new(2, 3);
        // Points 0, 1, −1, ∞.
        assert_eq!(line.weights, [1, 0, 0, 1, 1, 1, 1, -1, 1, 0, 0, 1]);
        assert_eq!(line.output, [1, 1, 1, 0, 0, 1, -1, 1]);
        assert_eq!(line.input, [-1, 0, 1, 0, 0, 1, 1, 0, 0, -1, 1, 0, 0, -1, 0, 1]);
        assert_eq!(line.divisors, [-1, 2, 2, 1]);
    }

    /// The sums of the passes stay inside i64 for every tile and every modulus below 2^52.
    #[test]
    fn passes_fit() {
        for r in 2..=7 {
            for m in 2..=MAX_TILE + 1 - r {
                let line = Line::new(m, r);
                for matrix in [&line.input, &line.output] {
                    // |x| ≤ 2^51 before each pass.
                    assert!(Line::growth(matrix, line.n) < 1 << 12, "F({m}, {r})");
                }
            }
        }
    }
}
