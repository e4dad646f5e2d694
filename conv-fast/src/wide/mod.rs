//! Products of a fixed matrix with columns of whole residues, for weights of any size.
//!
//! `out[o][column] = scale · Σ_k w[o][k] · x[k][column]` over a [`Ring`]. Transformed weights (Winograd's, or of a
//! number-theoretic transform) are too long for the 16-bit digits of [`crate::matmul`]; here a whole residue is one
//! word of a 64-bit lane, eight output channels to a vector, and inputs are broadcast.
//!
//! What a lane sums, by [`Form`] (q: the modulus, m: the greatest |w|):
//!
//! | form | kernels | sums per output | condition |
//! |---|---|---|---|
//! | `Low` | AVX-512 | low 52 bits of x·(w+m), which are all of it | x·2m ≤ 2^52 |
//! | `Single` | all for Z_2^k, AVX-512 for Z_q | x·w in 64 bits | Z_2^k; or a sum of 64 fits 62 bits |
//! | `LowHigh` | AVX-512 | low and high 52 bits of x·(w+m), m < 2^31, or of x·(w mod q) | q < 2^52 |
//! | `Once` | others | x·w of 32-bit halves | x < 2^31, m < 2^31 |
//! | `Halves` | others | (x mod 2^26)·w, ⌊x/2^26⌋·w | m < 2^31 |
//! | `Quarters` | others | x₀w₀, x₀w₁ + x₁w₀, x₁w₁ of 26-bit parts | q < 2^52 |
//!
//! The 52-bit multiply-add (`vpmadd52luq`, `vpmadd52huq`) is unsigned: weights are kept with the bias m, and m·Σx is
//! taken out of every column when it is decoded. Every sum is a linear part of the result, so it may be reduced at
//! any time: after `chunk` terms, before its absolute value can pass min(2^62, 2^50·q), each is replaced by a small
//! representative, and the result is Σ_j 2^(s_j)·scale·sum_j − m·scale·Σx, reduced once.
//!
//! Weights lie as `[panel][term][block of the panel][8]`, 4 bytes each (8 if longer), a panel being the blocks whose
//! sums fit the registers beside each other. Columns are taken 96 at a time, so that they stay in the second-level
//! cache while the panels pass, and up to six of them at once inside a panel.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod decode;
mod form;
mod portable;
#[cfg(test)]
mod tests;

use crate::kernel::{Kernel, Task};
use crate::lanes::{LANES, LaneRing, PrimeLanes, Words};
use crate::{ConvError, MAX_ELEMENTS, Ring};
use decode::{Decoder, Last, PowerLast, PrimeLast};
use form::{Choice, Form};

/// Columns that pass all panels together.
const COLUMNS: usize = 96;
/// Sums of one tile: at most 24 vectors.
const SUMS: usize = 24;
type Sums = [Words; SUMS];

/// Weights of eight output channels at one term, 4 bytes each.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Narrow([i32; LANES]);

/// The same, 8 bytes each.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Long([i64; LANES]);

enum Weights {
    Narrow(Vec<Narrow>),
    Long(Vec<Long>),
}

/// A prepared matrix of `outputs` × `terms` weights over a ring. It has no `Debug`: weights are the server's secret.
pub(crate) struct WideMatrix {
    ring: Ring,
    kernel: Kernel,
    outputs: usize,
    terms: usize,
    form: Form,
    input_bits: u32,
    /// Terms that a sum takes before it is reduced.
    chunk: usize,
    weights: Weights,
    decoder: Decoder,
}

impl WideMatrix {
    /// Prepares weights `weight(output, term)`, signed integers of any size, of which only the residue counts; every
    /// result is multiplied by the element `scale`.
    ///
    /// # Errors
    /// [`ConvError::Zero`] without outputs or terms, [`ConvError::Modulus`] for a prime of more than 52 bits, or a
    /// scale that is not an element, [`ConvError::TooLarge`] beyond 16·[`MAX_ELEMENTS`] weights.
    pub(crate) fn new(
        ring: &Ring,
        kernel: Kernel,
        outputs: usize,
        terms: usize,
        weight: &dyn Fn(usize, usize) -> i128,
        scale: u64,
    ) -> Result<Self, ConvError> {
        if outputs == 0 || terms == 0 {
            return Err(ConvError::Zero { what: "outputs and terms of a matrix" });
        }
        let limit = MAX_ELEMENTS << 4;
        let count = (outputs as u64).next_multiple_of(LANES as u64).saturating_mul(terms as u64);
        if count > limit {
            return Err(ConvError::TooLarge { what: "weights of a matrix", value: count, limit });
        }
        if let Ring::Prime(modulus) = ring
            && !PrimeLanes::serves(modulus.value())
        {
            return Err(ConvError::Modulus { modulus: modulus.value(), wanted: "at most 52 bits" });
        }
        if scale > ring.greatest() {
            return Err(ConvError::Modulus { modulus: ring.greatest(), wanted: "above the scale" });
        }
        let weight = |output, term| {
            if output < outputs { ring.center(ring.from_i128(weight(output, term))) } else { 0 }
        };
        let greatest = (0..outputs)
            .flat_map(|output| (0..terms).map(move |term| (output, term)))
            .map(|(output, term)| weight(output, term).unsigned_abs())
            .max()
            .unwrap_or(0);
        let choice = Choice::new(ring, kernel, greatest, outputs * terms);
        let weights = pack(ring, kernel, &choice, [outputs, terms], &weight);
        let decoder = Decoder::new(ring, kernel, &choice, terms, scale);
        Ok(Self {
            ring: *ring,
            kernel,
            outputs,
            terms,
            form: choice.form,
            input_bits: choice.input_bits,
            chunk: decoder.chunk,
            weights,
            decoder,
        })
    }

    /// Words per column of x: the terms, padded to a multiple of eight.
    pub(crate) fn stride(&self) -> usize {
        self.terms.next_multiple_of(LANES)
    }

    /// Output channels in blocks of eight.
    pub(crate) fn blocks(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Words of x may be any below 2^input_bits, reduced or not: at least the bits of the ring's elements, 52 when two
    /// products are needed per term over Z_q (so, q < 2^50, all below 4q), 64 over Z_2^k.
    pub(crate) fn input_bits(&self) -> u32 {
        self.input_bits
    }

    /// Sums per output: what one multiplication costs, relatively.
    pub(crate) fn sums(&self) -> usize {
        self.form.shifts().len()
    }

    /// Bytes of prepared weights.
    pub(crate) fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Narrow(weights) => size_of_val(weights.as_slice()),
            Weights::Long(weights) => size_of_val(weights.as_slice()),
        }
    }

    /// Multiplies, on this thread. `x` is `[column][stride]`, words below 2^[`WideMatrix::input_bits`] (longer ones
    /// give wrong results, never undefined ones), the padding words of a column anything. `out` receives
    /// `[output block][column][8]` elements; channels beyond the outputs get arbitrary ones.
    ///
    /// # Panics
    /// If `x` or `out` are not `columns·stride` and `blocks·columns·8` words long.
    pub(crate) fn multiply(&self, x: &[u64], columns: usize, out: &mut [u64]) {
        assert_eq!(Some(x.len()), columns.checked_mul(self.stride()), "words of x");
        assert_eq!(Some(out.len()), columns.checked_mul(self.blocks() * LANES), "words of the result");
        let wide = self.kernel == Kernel::Avx512;
        match &self.ring {
            Ring::Prime(modulus) if wide => {
                self.run(PrimeLast::<true>::new(modulus.value()), x, columns, out)
            }
            Ring::Prime(modulus) => self.run(PrimeLast::<false>::new(modulus.value()), x, columns, out),
            &Ring::PowerOfTwo(bits) if wide => self.run(PowerLast::<true>::new(bits), x, columns, out),
            &Ring::PowerOfTwo(bits) => self.run(PowerLast::<false>::new(bits), x, columns, out),
        }
    }

    fn run<L: Last>(&self, last: L, x: &[u64], columns: usize, out: &mut [u64]) {
        self.kernel.run(Multiply { matrix: self, last, x, columns, out });
    }

    /// Blocks of the panel that starts at `block`, with this many blocks left.
    #[inline(always)]
    fn panel(kernel: Kernel, form: Form, left: usize) -> usize {
        match (kernel, form) {
            (Kernel::Avx512, Form::LowHigh) if left >= 2 => 2,
            (Kernel::Avx512, Form::Low | Form::Single) if left >= 4 => 4,
            (Kernel::Avx512, Form::Low | Form::Single) if left >= 2 => 2,
            _ => 1,
        }
    }

    /// Columns of one tile.
    #[inline(always)]
    fn tile_columns(&self) -> usize {
        match (self.kernel, self.form) {
            (Kernel::Avx512, _) => 6,
            (_, Form::Single | Form::Once) => 4,
            (_, Form::Halves) => 3,
            _ => 2,
        }
    }
}

/// The weights in the order of the tiles.
fn pack(
    ring: &Ring,
    kernel: Kernel,
    choice: &Choice,
    [outputs, terms]: [usize; 2],
    weight: &dyn Fn(usize, usize) -> i64,
) -> Weights {
    let blocks = outputs.div_ceil(LANES);
    let mut order = Vec::with_capacity(blocks * terms);
    let mut block = 0;
    while block < blocks {
        let panel = WideMatrix::panel(kernel, choice.form, blocks - block);
        order.extend((0..terms).flat_map(|term| (block..block + panel).map(move |block| (block, term))));
        block += panel;
    }
    let lanes = |(block, term): (usize, usize)| -> [i64; LANES] {
        std::array::from_fn(|lane| weight(block * LANES + lane, term))
    };
    if choice.long {
        let element = |weight: i64| match ring {
            Ring::Prime(modulus) => modulus.from_i64(weight) as i64,
            Ring::PowerOfTwo(_) => weight,
        };
        return Weights::Long(order.into_iter().map(|at| Long(lanes(at).map(element))).collect());
    }
    if choice.form == Form::Quarters {
        // Two vectors per term: the signed low 26 bits, and the rest.
        let low = |weight: i64| (weight << 38) >> 38;
        let split = |at| {
            let weights = lanes(at);
            [
                Narrow(weights.map(|weight| low(weight) as i32)),
                Narrow(weights.map(|weight| ((weight - low(weight)) >> 26) as i32)),
            ]
        };
        return Weights::Narrow(order.into_iter().flat_map(split).collect());
    }
    // With the bias a weight is below 2^32: the same 32 bits, read as unsigned.
    let biased = |weight: i64| weight.wrapping_add(choice.bias as i64) as i32;
    Weights::Narrow(order.into_iter().map(|at| Narrow(lanes(at).map(biased))).collect())
}

/// `count` in as few pieces of at most `most` as possible, as even as they can be: (start, length).
#[inline(always)]
fn even(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let pieces = count.div_ceil(most);
    let length = count.checked_div(pieces).unwrap_or(0);
    let longer = count - length * pieces;
    (0..pieces).map(move |piece| (piece * length + piece.min(longer), length + usize::from(piece < longer)))
}

struct Multiply<'a, L> {
    matrix: &'a WideMatrix,
    last: L,
    x: &'a [u64],
    columns: usize,
    out: &'a mut [u64],
}

impl<L: Last> Task for Multiply<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { matrix, last, x, columns, out } = self;
        let (stride, blocks) = (matrix.stride(), matrix.blocks());
        let mut sums = [[0; LANES]; SUMS];
        let mut corrections = [0; COLUMNS];
        for (start, count) in even(columns, COLUMNS) {
            let x = &x[start * stride..(start + count) * stride];
            matrix.decoder.corrections(last, x, [stride, matrix.terms], &mut corrections);
            let tiles = even(count, matrix.tile_columns());
            let mut block = 0;
            while block < blocks {
                let panel = WideMatrix::panel(matrix.kernel, matrix.form, blocks - block);
                for (at, width) in tiles.clone() {
                    let x = &x[at * stride..(at + width) * stride];
                    matrix.tile(last, x, [block, panel, width], &mut sums);
                    for v in 0..panel {
                        let out = &mut out[((block + v) * columns + start + at) * LANES..][..width * LANES];
                        let corrections = &corrections[at..at + width];
                        matrix.decoder.decode(last, &sums[v * width..], panel * width, corrections, out);
                    }
                }
                block += panel;
            }
        }
    }
}

impl WideMatrix {
    /// The sums of one panel with `width` columns: sum j of block v and column p is `sums[(j·panel + v)·width + p]`.
    #[inline(always)]
    fn tile<L: Last>(&self, last: L, x: &[u64], shape: [usize; 3], sums: &mut Sums) {
        let [block, panel, width] = shape;
        let mut done = 0;
        while done < self.terms {
            let terms = self.chunk.min(self.terms - done);
            let fresh = done == 0;
            if !fresh {
                for sum in &mut sums[..self.sums() * panel * width] {
                    *sum = last.lanes().lazy(sum.map(|word| word as i64)).map(|word| word as u64);
                }
            }
            let from = block * self.terms + done * panel;
            let work =
                Work { from, terms, fresh, x: &x[done..], stride: self.stride(), shape: [panel, width] };
            #[cfg(target_arch = "x86_64")]
            if L::WIDE {
                avx512::tile(self, &work, sums);
            } else {
                portable::tile(self, &work, sums);
            }
            #[cfg(not(target_arch = "x86_64"))]
            portable::tile(self, &work, sums);
            done += terms;
        }
    }
}

/// The products of one tile.
struct Work<'a> {
    /// First vector of weights.
    from: usize,
    /// Terms to add.
    terms: usize,
    /// Whether the sums start at zero, whatever they hold.
    fresh: bool,
    /// Columns, `stride` words apart.
    x: &'a [u64],
    stride: usize,
    /// Blocks and columns.
    shape: [usize; 2],
}
