//! The shape of a look-up: parameters, the integer coefficients of an entry, the plaintext oracle, the error bound.

use crate::bits::bytes_for_bits;
use crate::error::SsError;
use crate::product::{Field, ProductSpec};
use crate::ring::Z2k;
use crate::spline::{Piece, Smooth, pieces, pow2, round};

use super::{KEY_BYTES, SESSION_BYTES};

/// What `f64` adds to the error, times 1 + max|f|: [`crate::spline`] is within 10^−13, and a piece sums up three values.
const ARITHMETIC: f64 = 1e-12;

/// The argument of a function: y in Z_2^`bits` stands for the real y·`step`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// Bits k of the shared ring, 6 to 32.
    pub bits: u32,
    /// The real worth of one unit, positive; `step`·2^(k−1) is at most 600.
    pub step: f64,
}

/// The value of a function: the real v becomes v·`scale` in Z_2^`bits`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output {
    /// Bits p of the ring, at most 60.
    pub bits: u32,
    /// Units per 1.0, positive.
    pub scale: f64,
}

/// What a look-up computes: public, equal on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupSpec {
    pub(super) function: Smooth,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) degree: u32,
    /// g.
    pub(super) index_bits: u32,
    /// h.
    pub(super) dropped: u32,
    /// u = k − h − g.
    pub(super) rest: u32,
    /// q, or 0 for degree 1.
    pub(super) square: u32,
    /// e0, e1, e2.
    pub(super) exponents: [u32; 3],
    pub(super) product: ProductSpec,
    error: f64,
}

impl LookupSpec {
    /// `function` by pieces of `degree` 1 or 2, one for each value of the top `index_bits` (2 to 8) of a share.
    ///
    /// # Errors
    /// [`SsError::BadValue`] for values outside the ranges named above and in [`Input`] and [`Output`], where the function
    /// times `scale` does not fit the output ring with the error added, or where that ring is too narrow or an entry too
    /// wide (128 bits).
    pub fn new(
        function: Smooth,
        input: Input,
        output: Output,
        index_bits: u32,
        degree: u32,
    ) -> Result<Self, SsError> {
        let (k, g) = (input.bits, index_bits);
        let end = input.step * 0.5 * pow2(k);
        // Written so that no NaN passes.
        if !((6..=32).contains(&k) && input.step > 0.0 && end <= 600.0) {
            return Err(SsError::BadValue { what: "input of a look-up (6 to 32 bits, a range up to 600)" });
        }
        if !(2..=8).contains(&g) || g + 2 > k || !(1..=2).contains(&degree) {
            return Err(SsError::BadValue { what: "pieces of a look-up (2 to 8 index bits, degree 1 or 2)" });
        }
        let peak = function.value(end).abs().max(function.value(-end).abs()).max(0.3);
        let fits = output.scale > 0.0 && peak * output.scale < pow2(output.bits.min(60)) / 2.0;
        if output.bits > 60 || !fits {
            return Err(SsError::BadValue {
                what: "output of a look-up (at most 60 bits that hold its values)",
            });
        }

        let length = 2.0 * end / pow2(g);
        let (first, second, _) = function.derivative_bounds(end + length);
        let interpolation = function.interpolation_bound(degree, length, end + length);
        let allowed = interpolation / 4.0;
        let drop_error = |h: u32| first * input.step * (pow2(h) - 1.0);
        let dropped = (0..=k - g - 2).rev().find(|&h| drop_error(h) <= allowed).unwrap_or(0);
        let rest = k - g - dropped;
        let square_error = |q: u32| {
            if degree == 1 || q == rest { 0.0 } else { second * length * length / 4.0 / pow2(q) }
        };
        let square =
            if degree == 1 { 0 } else { (2..rest).find(|&q| square_error(q) <= allowed).unwrap_or(rest) };
        let square_bits = (2 * square).saturating_sub(3);
        // All three terms have their low bits in one place, so that none is finer than another needs.
        let top = rest.max(square_bits);
        let exponents = [top.saturating_sub(3), top - rest, top - square_bits];
        let units = pow2(top) * if degree == 1 { 0.25 } else { 0.5 } + 0.5 * pow2(exponents[0]);
        let rounding = |shift: u32| units * pow2(shift) / output.scale;
        let room = output.bits.checked_sub(top + 2).ok_or(SsError::BadValue {
            what: "output ring of a look-up (too narrow: it needs fraction bits for the pieces)",
        })?;
        let shift = (0..=room).rev().find(|&shift| rounding(shift) <= allowed).unwrap_or(0);
        let ring = output.bits - shift;
        let mut fields = vec![Field { bits: rest, exponent: exponents[1] }];
        if degree == 2 {
            fields.push(Field { bits: square_bits, exponent: exponents[2] });
        }
        let product = ProductSpec::new(ring, shift, fields, None)?;
        let error = interpolation
            + drop_error(dropped)
            + square_error(square)
            + rounding(shift)
            + ARITHMETIC * (1.0 + peak);
        let spec = Self {
            function,
            input,
            output,
            degree,
            index_bits,
            dropped,
            rest,
            square,
            exponents,
            product,
            error,
        };
        // A result may be off by the bound, and must not wrap then: σ(20) is 1 but for 2^−29, and half the ring too.
        let reach = spec.limit() as f64 * input.step;
        let largest = function.value(reach).abs().max(function.value(-reach).abs()).max(0.3);
        if (largest + error) * output.scale + 1.0 > pow2(output.bits) / 2.0 {
            return Err(SsError::BadValue {
                what: "output of a look-up (its ring has no room for the error beside the values)",
            });
        }
        // Coefficients are rounded in 51 bits; a ring that is wider is only a finer scale than there is use for.
        let exact = peak.max(first * length) * output.scale / pow2(shift) < pow2(48);
        if spec.entry_bits() > 128 || !exact {
            return Err(SsError::BadValue { what: "precision of a look-up (entries of at most 128 bits)" });
        }
        Ok(spec)
    }

    /// The cheapest shape whose error bound is at most `tolerance` (real): by all bytes, three for each transfer.
    ///
    /// # Errors
    /// [`SsError::BadValue`] where no shape of at most 8 index bits reaches it, or as [`LookupSpec::new`].
    pub fn within(function: Smooth, input: Input, output: Output, tolerance: f64) -> Result<Self, SsError> {
        let cost = |spec: &Self| {
            let bits: u32 = spec.message_bits().iter().sum();
            bits as usize + 24 * spec.server_transfers()
        };
        let shapes = (2..=8).flat_map(|g| [(g, 1), (g, 2)]);
        let mut refused =
            SsError::BadValue { what: "tolerance of a look-up (finer than 8 index bits reach)" };
        let mut best: Option<Self> = None;
        for (g, degree) in shapes {
            match Self::new(function, input, output, g, degree) {
                Ok(spec) if spec.error <= tolerance => {
                    if best.as_ref().is_none_or(|best| cost(&spec) < cost(best)) {
                        best = Some(spec);
                    }
                }
                Ok(_) => {}
                Err(error) => refused = error,
            }
        }
        best.ok_or(refused)
    }

    /// The function.
    pub fn function(&self) -> Smooth {
        self.function
    }

    /// Its argument.
    pub fn input(&self) -> Input {
        self.input
    }

    /// Its value.
    pub fn output_scale(&self) -> Output {
        self.output
    }

    /// The ring of the results.
    pub fn output(&self) -> Z2k {
        self.product.output()
    }

    /// Index bits g.
    pub fn index_bits(&self) -> u32 {
        self.index_bits
    }

    /// Degree of the pieces.
    pub fn degree(&self) -> u32 {
        self.degree
    }

    /// Low bits h of both shares that are dropped.
    pub fn dropped_bits(&self) -> u32 {
        self.dropped
    }

    /// A certified bound of |result/scale − f(y·step)|, real, for |y| below [`LookupSpec::limit`].
    pub fn error_bound(&self) -> f64 {
        self.error
    }

    /// The result is right for |y| below this: 2^(k−1) − 2^(k−g) − 2^(h+1), in units of the input.
    pub fn limit(&self) -> i64 {
        (1 << (self.input.bits - 1)) - (1 << (self.input.bits - self.index_bits)) - (2 << self.dropped)
    }

    /// Random transfers per element in which the server receives: the bits of x and T, then those of i.
    pub fn server_transfers(&self) -> usize {
        self.product.server_transfers() + self.index_bits as usize
    }

    /// Random transfers per element in which the client receives: none.
    pub fn client_transfers(&self) -> usize {
        0
    }

    /// Bits per element of the corrections (which have 32 bytes more per call), of S1 and of C1.
    pub fn message_bits(&self) -> Vec<u32> {
        let [corrections, offsets, answers] = self.product.message_bits();
        let table = 8 * (self.entry_bytes() << self.index_bits) as u32;
        vec![corrections + table, offsets + self.index_bits, answers + 8 * KEY_BYTES as u32]
    }

    /// Bytes for `n` elements of the corrections, of S1 and of C1. Each is two bit strings one behind the other.
    pub fn message_bytes(&self, n: usize) -> Vec<usize> {
        let [corrections, offsets, answers] = self.product.message_bytes(n);
        vec![
            SESSION_BYTES + corrections + self.table_bytes(n),
            offsets + bytes_for_bits(self.index_bits as usize * n),
            answers + KEY_BYTES * n,
        ]
    }

    /// The plaintext oracle: what the server ends with, less κ, for shares of k bits. Bit for bit, in any range.
    /// Branches on nothing but is slow: for tests and checks.
    pub fn value(&self, server: u64, client: u64) -> u64 {
        let (slot, x, square) = self.split(server);
        let [beta, alpha, gamma] = self.entry(self.client_part(client), slot);
        let z = (beta << self.exponents[0])
            .wrapping_add(alpha.wrapping_mul(x) << self.exponents[1])
            .wrapping_add(gamma.wrapping_mul(square) << self.exponents[2]);
        (z << self.product.shift()) & self.output().mask()
    }

    /// i, x and T of a server's share.
    pub(super) fn split(&self, share: u64) -> (u64, u64, u64) {
        let bits = self.input.bits - self.dropped;
        let high = (share >> self.dropped) & ((1 << bits) - 1);
        let x = high & ((1 << self.rest) - 1);
        if self.degree == 1 {
            return (high >> self.rest, x, 0);
        }
        let s = (x >> (self.rest - self.square)).wrapping_sub(1 << (self.square - 1)) as i64;
        (high >> self.rest, x, (s * (s + 1) / 2) as u64)
    }

    /// c without its dropped bits.
    pub(super) fn client_part(&self, share: u64) -> u64 {
        (share & ((1 << self.input.bits) - 1)) >> self.dropped
    }

    /// The real middle of entry `slot`.
    pub(super) fn centre(&self, part: u64, slot: u64) -> f64 {
        let shift = 64 - (self.input.bits - self.dropped);
        let start = ((slot << self.rest).wrapping_add(part) << shift) as i64 >> shift;
        // The dropped bits of both shares add up to 2^h − 1 in the middle.
        let unit = self.input.step * pow2(self.dropped);
        unit * (start as f64 + self.middle() + 1.0) - self.input.step
    }

    /// Half the real length of an entry.
    pub(super) fn half(&self) -> f64 {
        self.input.step * pow2(self.dropped + self.rest - 1)
    }

    /// The middle of x, (2^u − 1)/2.
    fn middle(&self) -> f64 {
        (pow2(self.rest) - 1.0) / 2.0
    }

    /// Scale factors of [`LookupSpec::quantize`], for all entries alike.
    pub(super) fn factors(&self) -> Quantizer {
        let unit = self.output.scale / pow2(self.product.shift());
        let [e0, e1, e2] = self.exponents.map(pow2);
        let quarter = pow2(2 * self.square);
        Quantizer {
            constant: unit / e0,
            // For degree 1 the squares are zero, whatever they are multiplied by.
            constant_square: unit / quarter / e0,
            slope: unit / pow2(self.rest - 1) / e1,
            slope_middle: self.middle() * e1 / e0,
            square: unit * 8.0 / quarter / e2,
            square_middle: pow2((2 * self.square).saturating_sub(4)) * e2 / e0,
        }
    }

    /// β, α and γ of one entry, as words modulo 2^64.
    fn entry(&self, part: u64, slot: u64) -> [u64; 3] {
        let mut piece: [Piece; 1] = [[0.0; 3]];
        pieces(self.function, self.degree, &[self.centre(part, slot)], self.half(), &mut piece);
        self.factors().quantize(&piece[0])
    }

    /// Bits of β, α and γ in the table.
    pub(super) fn widths(&self) -> [u32; 3] {
        let ring = self.product.ring_bits();
        let [e0, e1, e2] = self.exponents;
        [ring - e0, ring - e1, if self.degree == 1 { 0 } else { ring - e2 }]
    }

    fn entry_bits(&self) -> u32 {
        self.widths().iter().sum()
    }

    /// The bits of an entry that are used.
    pub(super) fn entry_mask(&self) -> u128 {
        u128::MAX >> (128 - self.entry_bits())
    }

    /// Coefficients side by side, each cut to its width.
    pub(super) fn pack(&self, values: [u64; 3]) -> u128 {
        let [b, a, c] = self.widths();
        let cut = |value: u64, bits: u32| u128::from(value & ((1 << bits) - 1));
        cut(values[0], b) | cut(values[1], a) << b | cut(values[2], c) << ((a + b) & 127)
    }

    /// The inverse of [`LookupSpec::pack`].
    pub(super) fn unpack(&self, entry: u128) -> [u64; 3] {
        let [b, a, c] = self.widths();
        let cut = |value: u128, bits: u32| value as u64 & ((1 << bits) - 1);
        [cut(entry, b), cut(entry >> b, a), cut(entry >> ((a + b) & 127), c)]
    }

    /// Bytes of an entry.
    pub(super) fn entry_bytes(&self) -> usize {
        bytes_for_bits(self.entry_bits() as usize)
    }

    pub(super) fn table_bytes(&self, n: usize) -> usize {
        (n << self.index_bits) * self.entry_bytes()
    }
}

/// From real coefficients on \[−1, 1\] to integers in x and T.
pub(super) struct Quantizer {
    constant: f64,
    constant_square: f64,
    slope: f64,
    slope_middle: f64,
    square: f64,
    square_middle: f64,
}

impl Quantizer {
    /// β, α, γ. What rounding takes from α and γ goes into β in the middle of the range, so that it counts half.
    pub(super) fn quantize(&self, piece: &Piece) -> [u64; 3] {
        let [p0, p1, p2] = *piece;
        let slope = round(p1 * self.slope);
        let square_exact = p2 * self.square;
        let square = round(square_exact);
        let beta = p0 * self.constant + p2 * self.constant_square - slope as f64 * self.slope_middle
            + (square_exact - square as f64) * self.square_middle;
        [round(beta) as u64, slope as u64, square as u64]
    }
}
