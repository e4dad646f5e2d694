//! What each algorithm does, counted.
//!
//! The counts follow the data flow of the algorithms' own modules: what goes through their inner loops, with the padding
//! to whole vectors that they really pay.

use super::{Algorithm, Products};
use crate::depthwise::Depthwise;
use crate::ntt::NttConv;
use crate::polyphase::Polyphase;
use crate::winograd::Winograd;
use crate::{ConvGeometry, Kernel, Ring};
use std::fmt;

/// A unit of work. Counts are for vectors of 512 bits; narrower kernels have larger constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
#[non_exhaustive]
pub enum Unit {
    /// A multiply-add of the seven loops.
    Multiply,
    /// Sixteen outputs, two terms, one digit: one multiply-add of digits.
    Digits,
    /// One vector of 32-bit sums moved to wider ones because it may be full.
    Spill,
    /// One digit of one value written.
    Encode,
    /// One digit sum of eight outputs brought back into the ring.
    Decode,
    /// Eight outputs, one term, one word product (low or high half).
    Words,
    /// Eight channels of one position of a transformed tile: into the transform's domain.
    TileIn,
    /// Eight channels of one position of a transformed tile: out of it.
    TileOut,
    /// Eight values moved between layouts.
    Move,
    /// One tap of eight outputs of a sum over rows.
    Tap,
    /// Eight sums over rows reduced.
    Reduce,
    /// Eight butterflies of a number-theoretic transform.
    Butterfly,
    /// Eight products of transforms.
    Pointwise,
    /// A kilobyte of prepared weights read from memory.
    Weights,
    /// A call, with its tasks and buffers.
    Call,
}

impl Unit {
    /// All units, in order of their constants.
    pub const ALL: [Self; 15] = [
        Self::Multiply,
        Self::Digits,
        Self::Spill,
        Self::Encode,
        Self::Decode,
        Self::Words,
        Self::TileIn,
        Self::TileOut,
        Self::Move,
        Self::Tap,
        Self::Reduce,
        Self::Butterfly,
        Self::Pointwise,
        Self::Weights,
        Self::Call,
    ];
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Multiply => "products",
            Self::Digits => "digit products",
            Self::Spill => "spills",
            Self::Encode => "digits",
            Self::Decode => "sums",
            Self::Words => "word products",
            Self::TileIn => "transforms in",
            Self::TileOut => "transforms out",
            Self::Move => "moves",
            Self::Tap => "taps",
            Self::Reduce => "reductions",
            Self::Butterfly => "butterflies",
            Self::Pointwise => "pointwise products",
            Self::Weights => "weights",
            Self::Call => "call",
        })
    }
}

/// A layer under the circumstances that decide its cost.
pub(super) struct Job<'a> {
    pub(super) geometry: &'a ConvGeometry,
    pub(super) ring: Ring,
    pub(super) kernel: Kernel,
    pub(super) weight_bits: u32,
    pub(super) batch: usize,
}

/// An algorithm that computes the layer, its work and its bytes of prepared weights.
type Entry = (Algorithm, Vec<(Unit, f64)>, u64);

impl Job<'_> {
    /// Every algorithm that can compute the layer; [`Algorithm::Direct`] always can.
    pub(super) fn algorithms(&self) -> Vec<Entry> {
        let g = self.geometry;
        let macs = g.macs() as f64 * self.batch as f64;
        let mut list =
            vec![(Algorithm::Direct, vec![(Unit::Multiply, macs), (Unit::Call, 0.1)], 8 * g.weights_len() as u64)];
        if !self.ring.is_fast() {
            return list;
        }
        list.push(self.im2col());
        if Depthwise::supports(g) {
            list.push(self.depthwise());
        }
        for tile in TILES {
            for products in [Products::Digits, Products::Words] {
                list.extend(self.winograd(tile, products));
            }
        }
        list.extend(self.ntt());
        list
    }

    fn im2col(&self) -> Entry {
        let g = self.geometry;
        let s = g.shape();
        let digits = f64::from(self.ring.bits().div_ceil(16));
        let parts = if self.weight_bits <= 15 { 1.0 } else { f64::from(self.weight_bits.div_ceil(11).min(3)) };
        let pairs = if g.group_inputs() <= 4 {
            s.kernel[0] * (s.kernel[1] * g.group_inputs()).div_ceil(2)
        } else {
            s.kernel[0] * s.kernel[1] * g.group_inputs().div_ceil(2)
        } as f64;
        let vectors = (s.groups as f64) * (g.group_outputs() as f64 * parts / 16.0).ceil();
        let pixels = (g.out_height() * g.out_width() * self.batch) as f64;
        let products = vectors * pixels * pairs * digits;
        let padded = (s.in_height + s.padding[0] + s.padding[2]) * (s.in_width + s.padding[1] + s.padding[3]);
        let bytes = vectors * 64.0 * pairs;
        let work = vec![
            (Unit::Digits, products),
            (Unit::Spill, products / self.pairs_per_spill()),
            (Unit::Encode, (padded * s.in_channels.next_multiple_of(8) * self.batch) as f64 * digits),
            (Unit::Decode, vectors * 2.0 * pixels * digits),
            (Unit::Weights, bytes / 1024.0),
            (Unit::Call, 1.0),
        ];
        (Algorithm::Im2col, work, bytes as u64)
    }

    /// Pairs of terms that 32 bits can sum: digits of ⌈bits/D⌉ bits and weights with their sign.
    fn pairs_per_spill(&self) -> f64 {
        let bits = self.ring.bits();
        let digit = bits.div_ceil(bits.div_ceil(16));
        2f64.powi(31 - digit as i32 + 1 - self.weight_bits.min(15) as i32).max(1.0)
    }

    fn depthwise(&self) -> Entry {
        let g = self.geometry;
        let s = g.shape();
        // Rows are computed in whole vectors.
        let vectors = (s.out_channels * self.batch * (g.out_height() * g.out_width().next_multiple_of(8) / 8)) as f64;
        let work = vec![
            (Unit::Tap, vectors * g.terms() as f64),
            (Unit::Reduce, vectors),
            (Unit::Move, (g.input_len() * self.batch) as f64 / 8.0),
            (Unit::Call, 1.0),
        ];
        (Algorithm::Depthwise, work, 8 * g.weights_len() as u64)
    }

    fn winograd(&self, tile: [usize; 2], products: Products) -> Option<Entry> {
        let phases = Polyphase::new(self.geometry);
        let g = phases.as_ref().map_or(self.geometry, Polyphase::inner);
        if Winograd::refusal(g, &self.ring, tile).is_some() {
            return None;
        }
        let s = g.shape();
        // A tile that reaches far beyond the plane only wastes.
        if (tile[0] > 2 && tile[0] >= 2 * g.out_height()) || (tile[1] > 2 && tile[1] >= 2 * g.out_width()) {
            return None;
        }
        let positions = ((tile[0] + s.kernel[0] - 1) * (tile[1] + s.kernel[1] - 1)) as f64;
        let tiles = (g.out_height().div_ceil(tile[0]) * g.out_width().div_ceil(tile[1]) * self.batch) as f64;
        let groups = s.groups as f64;
        let (ins, outs) = (g.group_inputs() as f64, g.group_outputs() as f64);
        let (in_blocks, out_blocks) = ((ins / 8.0).ceil() * groups, (outs / 8.0).ceil() * groups);
        let growth = Winograd::growth_bits(g, tile);
        let (product, bytes) = match products {
            Products::Words => {
                let bits = self.weight_bits + growth;
                let halves = if bits + self.ring.bits() + 1 <= 52 { 1.0 } else { 2.0 };
                let width = if bits <= 31 { 4.0 } else { 8.0 };
                let step = tiles * positions * ins * out_blocks * halves;
                (vec![(Unit::Words, step)], positions * out_blocks * 8.0 * ins * width)
            }
            Products::Digits => {
                let digits = f64::from(self.ring.bits().div_ceil(16));
                let bits = self.weight_bits + growth;
                let parts = if bits <= 16 { 1.0 } else { f64::from(bits.div_ceil(11).min(3)) };
                let vectors = groups * (outs * parts / 16.0).ceil();
                let step = tiles * positions * (ins / 2.0).ceil() * vectors * digits;
                let spill = Job { weight_bits: bits, ..*self }.pairs_per_spill();
                let work = vec![
                    (Unit::Digits, step),
                    (Unit::Spill, step / spill),
                    (Unit::Encode, tiles * positions * in_blocks * 8.0 * digits),
                    (Unit::Decode, tiles * positions * out_blocks * digits),
                ];
                (work, positions * vectors * 32.0 * ins)
            }
        };
        let mut work = product;
        work.extend([
            (Unit::TileIn, tiles * positions * in_blocks),
            (Unit::TileOut, tiles * positions * out_blocks),
            (Unit::Move, ((g.input_len() + g.output_len()) * self.batch) as f64 / 8.0),
            (Unit::Weights, bytes / 1024.0),
            (Unit::Call, 2.0),
        ]);
        Some((Algorithm::Winograd { tile, products }, work, bytes as u64))
    }
}

impl Job<'_> {
    fn ntt(&self) -> Option<Entry> {
        let cost = NttConv::cost(self.geometry, self.ring, self.batch).ok()?;
        let bytes = 64 * cost.weights;
        let work = vec![
            (Unit::Butterfly, cost.butterflies as f64),
            (Unit::Pointwise, cost.products as f64),
            (Unit::Move, cost.moves as f64),
            (Unit::Weights, bytes as f64 / 1024.0),
            (Unit::Call, 2.0),
        ];
        Some((Algorithm::Ntt, work, bytes))
    }
}

/// The tiles that are considered; others can be asked for by name. Over an axis with one tap tiles are one output.
const TILES: [[usize; 2]; 7] = [[2, 2], [3, 3], [4, 4], [5, 5], [6, 6], [7, 7], [8, 8]];
