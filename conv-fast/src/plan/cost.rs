//! What each algorithm does, counted.
//!
//! The counts follow the data flow of the algorithms' own modules: what goes through their inner loops, with the padding
//! to whole vectors that they really pay.

use super::{Algorithm, Products};
use crate::depthwise::Depthwise;
use crate::matmul::Cut;
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
    /// One vector of 32-bit sums of which the upper half is moved away because it may be full.
    Spill,
    /// One digit of one value of an image written.
    Encode,
    /// One digit sum of eight outputs of an image brought back into the ring.
    Decode,
    /// Eight outputs, one term, one word product (low or high half).
    Words,
    /// One sum of word products of eight outputs brought back into the ring.
    WordSums,
    /// Eight channels of one position of a tile: into the transform's domain.
    TileIn,
    /// Eight channels of one position of a tile: out of it.
    TileOut,
    /// One digit of eight channels of one position of a tile written.
    TileEncode,
    /// One digit sum of eight outputs of one position of a tile brought back into the ring.
    TileDecode,
    /// Eight values moved between layouts.
    Move,
    /// Eight values of a strided layer sorted into phases.
    Gather,
    /// One tap of eight outputs of a sum over rows.
    Tap,
    /// Eight sums over rows reduced.
    Reduce,
    /// Eight butterflies of a number-theoretic transform.
    Butterfly,
    /// Eight products of transforms.
    Pointwise,
    /// Eight coefficients brought into a transform or out of it.
    Coefficient,
    /// A kilobyte of prepared weights read from beyond the second-level cache.
    Weights,
    /// A kilobyte of prepared weights read from memory, or from a third-level cache like it.
    FarWeights,
    /// The same where it is tens of megabytes, too many for a cache to keep any.
    RemoteWeights,
    /// A call, with its tasks and buffers.
    Call,
}

impl Unit {
    /// All units, in order of their constants.
    pub const ALL: [Self; 22] = [
        Self::Multiply,
        Self::Digits,
        Self::Spill,
        Self::Encode,
        Self::Decode,
        Self::Words,
        Self::WordSums,
        Self::TileIn,
        Self::TileOut,
        Self::TileEncode,
        Self::TileDecode,
        Self::Move,
        Self::Gather,
        Self::Tap,
        Self::Reduce,
        Self::Butterfly,
        Self::Pointwise,
        Self::Coefficient,
        Self::Weights,
        Self::FarWeights,
        Self::RemoteWeights,
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
            Self::WordSums => "word sums",
            Self::TileIn => "transforms in",
            Self::TileOut => "transforms out",
            Self::TileEncode => "tile digits",
            Self::TileDecode => "tile sums",
            Self::Move => "moves",
            Self::Gather => "phases",
            Self::Tap => "taps",
            Self::Reduce => "reductions",
            Self::Butterfly => "butterflies",
            Self::Pointwise => "pointwise products",
            Self::Coefficient => "coefficients",
            Self::Weights => "weights",
            Self::FarWeights | Self::RemoteWeights => "weights from memory",
            Self::Call => "call",
        })
    }
}

/// A layer under the circumstances that decide its cost.
pub(super) struct Job<'a> {
    pub(super) geometry: &'a ConvGeometry,
    pub(super) ring: Ring,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for AVX-512 alone"))]
    pub(super) kernel: Kernel,
    pub(super) weight_bits: u32,
    /// Greatest sum of the absolute weights of one output.
    pub(super) norm: u128,
    pub(super) batch: usize,
}

/// An algorithm that computes the layer, its work and its bytes of prepared weights.
type Entry = (Algorithm, Vec<(Unit, f64)>, u64);

impl Job<'_> {
    /// Every algorithm that can compute the layer; [`Algorithm::Direct`] always can.
    pub(super) fn algorithms(&self) -> Vec<Entry> {
        let g = self.geometry;
        let macs = g.macs() as f64 * self.batch as f64;
        let mut list = vec![(
            Algorithm::Direct,
            vec![(Unit::Multiply, macs), (Unit::Call, 0.1)],
            8 * g.weights_len() as u64,
        )];
        if !self.ring.is_fast() || !g.is_ordinary() {
            return list;
        }
        list.extend(self.im2col());
        // With more inputs a group the matrix product is faster.
        if g.group_inputs() == 1 && Depthwise::supports(g) {
            list.push(self.depthwise());
        }
        let phases = Polyphase::new(g);
        let inner = phases.as_ref().map_or(g, Polyphase::inner);
        for tile in TILES {
            if Winograd::refusal(inner, &self.ring, tile, self.norm).is_none() && fits(inner, tile) {
                list.push(self.winograd(inner, tile, Products::Words));
                list.extend(self.digit_winograd(inner, tile));
            }
        }
        list.extend(self.ntt());
        list
    }

    fn im2col(&self) -> Option<Entry> {
        if let Some(entry) = self.im2col_by_pixels() {
            return Some(entry);
        }
        let g = self.geometry;
        let s = g.shape();
        let pairs = if g.group_inputs() <= 4 {
            s.kernel[0] * (s.kernel[1] * g.group_inputs()).div_ceil(2)
        } else {
            s.kernel[0] * s.kernel[1] * g.group_inputs().div_ceil(2)
        };
        let (cut, spills) = self.cut(1 << (self.weight_bits - 1), pairs)?;
        let digits = cut.digits as f64;
        let vectors = (s.groups * (g.group_outputs() * cut.parts).div_ceil(16)) as f64;
        let pixels = (g.out_height() * g.out_width() * self.batch) as f64;
        let columns = vectors * pixels * digits;
        let padded = (s.in_height + s.padding[0] + s.padding[2]) * (s.in_width + s.padding[1] + s.padding[3]);
        let bytes = vectors * 64.0 * pairs as f64;
        let mut work = vec![
            (Unit::Digits, columns * pairs as f64),
            (Unit::Spill, columns * spills),
            (Unit::Encode, (padded * s.in_channels.next_multiple_of(8) * self.batch) as f64 * digits),
            (Unit::Decode, columns * 2.0),
            (Unit::Call, 1.0),
        ];
        work.extend(stream(bytes, 1.0, pixels, &BY_DIGITS));
        Some((Algorithm::Im2col, work, bytes as u64))
    }

    /// As [`Job::im2col`] where pixels are the lanes. There a sum is reduced sixteen at a time, a value of two digits without a
    /// detour by 64 bits: counts are in units of the other form.
    #[cfg(target_arch = "x86_64")]
    fn im2col_by_pixels(&self) -> Option<Entry> {
        // Weights of 16 bits are signed numbers of at most 2^15 − 1.
        if self.weight_bits > 16 {
            return None;
        }
        let g = self.geometry;
        let work = crate::im2col::work(g, &self.ring, self.kernel)?;
        let two = self.ring.bits() <= 32;
        let [decode, encode] = if two { [0.6, 21.0] } else { [3.0, 47.0] };
        let batch = self.batch as f64;
        let bytes = 2.0 * g.weights_len() as f64;
        let mut list = vec![
            (Unit::Digits, work.products * batch),
            (Unit::Encode, work.written * batch * encode),
            (Unit::Decode, work.stores * batch * decode),
            (Unit::Call, 0.5),
        ];
        list.extend(stream(bytes, 1.0, work.stores / g.shape().out_channels as f64 * batch, &BY_DIGITS));
        Some((Algorithm::Im2col, list, bytes as u64))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn im2col_by_pixels(&self) -> Option<Entry> {
        None
    }

    /// How values and weights up to `greatest` are cut, and the spills of a sum of `pairs` pairs: the matrix places them by
    /// its weights' absolute values, which are, as those of normal numbers, a fifth of the greatest on average.
    fn cut(&self, greatest: u64, pairs: usize) -> Option<(Cut, f64)> {
        let cut = Cut::choose(self.ring.bits(), greatest, pairs).ok()?;
        let sum = 2.0 * pairs as f64 * greatest as f64 / 5.0;
        Some((cut, if pairs > cut.block { (sum / f64::from(cut.room())).floor() } else { 0.0 }))
    }

    fn depthwise(&self) -> Entry {
        let g = self.geometry;
        let s = g.shape();
        // Rows are computed in whole vectors.
        let columns = g.out_width().div_ceil(8);
        let vectors = (s.out_channels * self.batch) as f64;
        let work = if Depthwise::streams(g) {
            // A channel costs some vectors by itself. Integers are slower than doubles, and so is every second pixel.
            let taps = match (s.stride[0], self.ring.bits() <= 32) {
                (1, true) => 1.0,
                (1, false) => 1.4,
                (_, true) => 1.7,
                (_, false) => 3.0,
            };
            let vectors = vectors * (g.out_height() * columns + 3) as f64;
            vec![(Unit::Tap, vectors * g.terms() as f64 * taps), (Unit::Reduce, vectors), (Unit::Call, 1.0)]
        } else {
            let vectors = vectors * (g.out_height() * columns) as f64;
            vec![
                (Unit::Tap, vectors * g.terms() as f64 * 1.4),
                (Unit::Reduce, vectors),
                (Unit::Move, (g.input_len() * self.batch) as f64 / 8.0),
                (Unit::Call, 1.0),
            ]
        };
        (Algorithm::Depthwise, work, 8 * g.weights_len() as u64)
    }

    /// What all products share: tiles, positions of a tile, blocks of input and output channels, and the transforms.
    fn transforms(&self, g: &ConvGeometry, tile: [usize; 2]) -> ([f64; 4], Vec<(Unit, f64)>) {
        let s = g.shape();
        let size = [0, 1].map(|axis| if s.kernel[axis] == 1 { 1 } else { tile[axis] });
        let ends = [0, 1].map(|axis| (size[axis] + s.kernel[axis] - 1) as f64);
        // A value of a larger tile is a sum of more terms.
        let (positions, points) = (ends[0] * ends[1], (ends[0] + ends[1]) / 2.0);
        let tiles = (g.out_height().div_ceil(size[0]) * g.out_width().div_ceil(size[1]) * self.batch) as f64;
        let blocks = |channels: usize| (channels.div_ceil(8) * s.groups) as f64;
        let (ins, outs) = (blocks(g.group_inputs()), blocks(g.group_outputs()));
        let work = vec![
            (Unit::TileIn, tiles * positions * ins * (1.0 + 0.087 * points)),
            (Unit::TileOut, tiles * positions * outs * (1.0 + 0.138 * points)),
            (Unit::Move, ((g.input_len() + g.output_len()) * self.batch) as f64 / 8.0),
            self.gathering(g),
            // One tile is one column for each position's product, which waits for its own sums; two are enough company.
            (Unit::Call, 2.0 + if tiles < 2.0 { 0.25 * positions } else { 0.0 }),
        ];
        ([tiles, positions, ins, outs], work)
    }

    /// Sorting the input of a strided layer into that of `g`, its phases.
    fn gathering(&self, g: &ConvGeometry) -> (Unit, f64) {
        (Unit::Gather, if g == self.geometry { 0.0 } else { (g.input_len() * self.batch) as f64 / 8.0 })
    }

    /// How often the weights pass: a box of tiles at a time.
    fn passes([tiles, positions, ins, outs]: [f64; 4]) -> f64 {
        let box_tiles = (Winograd::BOX_BYTES as f64 / (positions * (ins + outs) * 64.0)).max(12.0);
        (tiles / box_tiles).ceil()
    }

    fn winograd(&self, g: &ConvGeometry, tile: [usize; 2], products: Products) -> Entry {
        let (sizes, mut work) = self.transforms(g, tile);
        let [tiles, _, _, outs] = sizes;
        let inputs = g.group_inputs() as f64;
        let (mut sums, mut bytes) = (0.0, 0.0);
        for greatest in Winograd::greatest_weights(g, tile, self.weight_bits) {
            let bits = u64::BITS - greatest.leading_zeros() + 1;
            sums += match self.ring {
                Ring::Prime(_) if bits + self.ring.bits() > 52 => 2.0,
                _ => 1.0,
            };
            bytes += outs * 8.0 * inputs * if bits <= 32 { 4.0 } else { 8.0 };
        }
        work.push((Unit::Words, tiles * inputs * outs * sums));
        work.push((Unit::WordSums, tiles * outs * sums));
        work.extend(stream(bytes, Self::passes(sizes), tiles, &BY_WORDS));
        (Algorithm::Winograd { tile, products }, work, bytes as u64)
    }

    fn digit_winograd(&self, g: &ConvGeometry, tile: [usize; 2]) -> Option<Entry> {
        if let Some(entry) = self.winograd_by_pixels(g, tile) {
            return Some(entry);
        }
        let (sizes, mut work) = self.transforms(g, tile);
        let [tiles, _, ins, outs] = sizes;
        let pairs = g.group_inputs().div_ceil(2);
        let (mut products, mut moved, mut encoded, mut decoded, mut bytes) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for greatest in Winograd::greatest_weights(g, tile, self.weight_bits) {
            let (cut, spills) = self.cut(greatest, pairs)?;
            let digits = cut.digits as f64;
            let vectors = (g.shape().groups * (g.group_outputs() * cut.parts).div_ceil(16)) as f64;
            // A position has few columns: the product's ends weigh more than in im2col.
            products += 1.11 * tiles * vectors * digits * pairs as f64;
            moved += tiles * vectors * digits * spills;
            encoded += tiles * ins * digits;
            decoded += tiles * outs * digits * cut.parts as f64;
            bytes += vectors * 64.0 * pairs as f64;
        }
        work.extend([
            (Unit::Digits, products),
            (Unit::Spill, moved),
            (Unit::TileEncode, encoded),
            (Unit::TileDecode, decoded),
        ]);
        // A lone column leaves nothing to read weights behind.
        let shown = if tiles < 2.0 { 3.0 } else { 1.0 };
        let read = stream(bytes, Self::passes(sizes), tiles, &BY_DIGITS);
        work.extend(read.map(|(unit, read)| (unit, shown * read)));
        Some((Algorithm::Winograd { tile, products: Products::Digits }, work, bytes as u64))
    }

    /// As [`Job::digit_winograd`] where tiles are the lanes: counts are in units of the other form.
    #[cfg(target_arch = "x86_64")]
    fn winograd_by_pixels(&self, g: &ConvGeometry, tile: [usize; 2]) -> Option<Entry> {
        use crate::winograd::Pixels;
        // Weights are a fifth of the greatest on average; sums of three normal ones are √3 times as large as one, of nine three
        // times, and the greatest of those is about five deviations out, five quarters of the greatest weight.
        let greatest = f64::from(self.weight_bits - 1).exp2();
        if !Pixels::pays(g)
            || !Pixels::serves(g, &self.ring, tile, Products::Digits, self.kernel)
            || 3.75 * greatest > f64::from(i16::MAX)
        {
            return None;
        }
        let (words, [rows, across]) = (Pixels::words(g) as f64, Pixels::vectors(g));
        let vectors = (rows * across * self.batch) as f64;
        let blocks = (g.terms() as f64 / 3f64.sqrt() * greatest / 5.0 / Pixels::ROOM as f64).ceil();
        let mut list = vec![
            (Unit::Digits, 1.39 * words * vectors),
            (Unit::TileEncode, 24.5 * g.group_inputs() as f64 * vectors),
            (Unit::TileDecode, (6.5 + 15.0 * blocks) * g.group_outputs() as f64 * vectors),
            self.gathering(g),
            (Unit::Call, 1.0),
        ];
        // Two vectors are eight tiles.
        let (bytes, passes) = (4.0 * words, (vectors / 2.0).ceil());
        list.extend(stream(bytes, passes, 8.0 * passes, &BY_DIGITS).map(|(unit, read)| (unit, 0.75 * read)));
        Some((Algorithm::Winograd { tile, products: Products::Digits }, list, bytes as u64))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn winograd_by_pixels(&self, _: &ConvGeometry, _: [usize; 2]) -> Option<Entry> {
        None
    }

    fn ntt(&self) -> Option<Entry> {
        let cost = NttConv::cost(self.geometry, self.ring, self.batch).ok()?;
        let bytes = 64 * cost.weights;
        let mut work = vec![
            (Unit::Butterfly, cost.butterflies as f64),
            (Unit::Pointwise, cost.products as f64),
            (Unit::Coefficient, cost.moves as f64),
            (Unit::Call, 2.0),
        ];
        work.extend(stream(bytes as f64, 1.0, cost.products as f64 / cost.weights.max(1) as f64, &BY_DIGITS));
        Some((Algorithm::Ntt, work, bytes))
    }
}

/// Whether a tile does not reach far beyond the plane, where it would only waste.
fn fits(geometry: &ConvGeometry, tile: [usize; 2]) -> bool {
    let plane = [geometry.out_height(), geometry.out_width()];
    (0..2).all(|axis| tile[axis] <= 2 || tile[axis] < 2 * plane[axis] || geometry.shape().kernel[axis] == 1)
}

/// How a product reads weights that come from memory at every call.
struct Far {
    /// From so many bytes they do.
    from: f64,
    /// The share of [`Unit::FarWeights`] that a kilobyte then costs.
    share: f64,
    /// Columns behind which half of that hides.
    hides: f64,
}

/// Few loads, far apart, which the machine foresees.
const BY_WORDS: Far = Far { from: 25e6, share: 0.65, hides: 1e3 };
/// Products of digits wait for nearly all of it.
const BY_DIGITS: Far = Far { from: 10.5e6, share: 1.0, hides: 137.0 };

/// Of so many bytes or more no cache keeps a part until the next pass or call: on some machines reading them is slower yet.
const REMOTE: f64 = 30e6;

/// What reading weights that often costs, by where they fit. The more columns each pass multiplies them with, the more of it hides
/// behind the products.
fn stream(bytes: f64, passes: f64, columns: f64, far: &Far) -> Option<(Unit, f64)> {
    let (unit, share, hides) = match bytes {
        ..700e3 => return None,
        _ if bytes < far.from => (Unit::Weights, 1.0, 3.0),
        ..REMOTE => (Unit::FarWeights, far.share, far.hides),
        _ => (Unit::RemoteWeights, far.share, far.hides),
    };
    let shown: f64 = hides / (hides + columns / passes);
    let read = bytes * passes * shown * shown;
    Some((unit, read / 1024.0 * share))
}

/// The tiles that are considered; others can be asked for by name. Over an axis with one tap tiles are one output.
const TILES: [[usize; 2]; 7] = [[2, 2], [3, 3], [4, 4], [5, 5], [6, 6], [7, 7], [8, 8]];
