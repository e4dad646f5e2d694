//! The packed left factor, and the loop over columns that all products share.
//!
//! Weights are packed in *panels* of V vectors. A vector holds the 16-bit parts of sixteen outputs, two terms of each, so
//! that one multiply-add serves sixteen sums:
//!
//! ```text
//! vectors[group][panel][pair of terms][vector][output 0..16]     one i32: the weights of terms 2k (below) and 2k + 1
//! ```
//!
//! With one part per weight a panel is two vectors, 32 outputs (one vector at the end, if 16 are left at most); with E > 1 parts it
//! is the E parts of sixteen outputs. The right factor is never gathered: a column is an address, and its terms lie at
//! fixed distances from it, given as [`Segment`]s of consecutive pairs:
//!
//! ```text
//! words[start + offset + D·pair + digit]     one i32: the digits of terms 2k (below) and 2k + 1
//! ```
//!
//! One kernel call computes V vectors × P columns × D digits, all sums in registers: V·P·D ≤ 24. Weights are loaded, words
//! broadcast, both are used several times. Limit: 16·2 products per instruction, two instructions per cycle on the machines
//! this was tuned on, hence 64/(D·E) exact multiply-adds per cycle. Memory: 2·E bytes per weight, outputs padded to 16.

use super::buffer::Vector;
use super::cut::Cut;
use super::decode::{Decode, WIDTH};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
use super::spread::Spread;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::kernel::Kernel;
use crate::lanes::LANES;
use crate::{ConvError, Ring};

/// Most sums of one kernel call, in vectors.
pub(crate) const MAX_SUMS: usize = 24;

/// Consecutive pairs of terms of a column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// Words from the column's start to the first.
    pub(crate) offset: usize,
    /// How many; at least one.
    pub(crate) pairs: usize,
    /// Whether the upper halves of the sums are moved away afterwards.
    pub(crate) spill: bool,
}

/// Where the terms of a column are.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    pub(crate) list: Vec<Segment>,
    pub(crate) spills: bool,
    /// Words from a column's start to the end of its last term.
    reach: usize,
}

/// Signed weights, packed.
pub(crate) struct Panels {
    vectors: Vec<Vector>,
    pub(crate) cut: Cut,
    spread: Spread,
    decode: Decode,
    kernel: Kernel,
    prime: bool,
    outputs: usize,
    pairs: usize,
    /// Numbers of pairs after which sums are spilled, ascending; never all pairs.
    spills: Vec<usize>,
}

/// What one kernel call reads and writes; [`Panels::columns`] alone makes one, after checking what the unchecked accesses of
/// the kernels rest on: `weights` has V vectors for each pair of the segments, and each of the starts plus the reach of the
/// segments is at most the length of `words`.
pub(crate) struct Tile<'a> {
    pub(crate) weights: &'a [Vector],
    pub(crate) words: &'a [i32],
    pub(crate) segments: &'a [Segment],
    pub(crate) starts: &'a [usize],
}

/// Sums of one kernel call, `[column][vector][digit]`, and what was spilled from them.
pub(crate) struct Sums {
    pub(crate) sums: [Vector; MAX_SUMS],
    pub(crate) highs: [Vector; MAX_SUMS],
}

impl Sums {
    /// Room for one kernel call after another.
    pub(crate) fn new() -> Self {
        Self { sums: [Vector::default(); MAX_SUMS], highs: [Vector::default(); MAX_SUMS] }
    }
}

impl Panels {
    /// Packs `groups` matrices of `outputs` × 2·`pairs` weights, `weight(group, output, term)` each.
    ///
    /// # Errors
    /// [`ConvError::TooLarge`] for weights beyond 2^36 or rows with Σ|w| beyond 2^45; [`ConvError::Modulus`] for primes
    /// above 2^52.
    pub(crate) fn new(
        ring: &Ring,
        kernel: Kernel,
        [groups, outputs, pairs]: [usize; 3],
        weight: &dyn Fn(usize, usize, usize) -> i64,
    ) -> Result<Self, ConvError> {
        if let Ring::Prime(modulus) = ring
            && modulus.bits() > 52
        {
            return Err(ConvError::Modulus { modulus: modulus.value(), wanted: "below 2^52" });
        }
        let (mut greatest, mut norm) = (0u64, 0u64);
        for row in 0..groups * outputs {
            let row = (0..2 * pairs).map(|term| weight(row / outputs, row % outputs, term).unsigned_abs());
            let (most, sum) = row.fold((0u64, 0u64), |(most, sum), w| (most.max(w), sum.saturating_add(w)));
            (greatest, norm) = (greatest.max(most), norm.max(sum));
        }
        let cut = Cut::choose(ring.bits(), greatest, pairs)?;
        let mut panels = Self {
            vectors: Vec::new(),
            cut,
            spread: Spread::new(ring, &cut),
            decode: Decode::new(ring, cut, norm, 2 * pairs)?,
            kernel,
            prime: matches!(ring, Ring::Prime(_)),
            outputs,
            pairs,
            spills: Vec::new(),
        };
        let per_group = outputs.div_ceil(WIDTH) * cut.parts * pairs;
        panels.vectors = vec![Vector::default(); groups * per_group];
        for group in 0..groups {
            for panel in 0..panels.count() {
                let (width, first) = (panels.width(panel), panels.first_vector(panel));
                let vectors = &mut panels.vectors[group * per_group + first * pairs..][..width * pairs];
                for (pair, vectors) in vectors.chunks_exact_mut(width).enumerate() {
                    for (v, vector) in vectors.iter_mut().enumerate() {
                        let (base, part) = ((first + v) / cut.parts * WIDTH, v % cut.parts);
                        for (lane, word) in vector.0.iter_mut().enumerate().take(outputs.saturating_sub(base))
                        {
                            let [low, high] = [0, 1].map(|half| {
                                let weight = weight(group, base + lane, 2 * pair + half);
                                cut.part(weight, part) as i32
                            });
                            *word = low & 0xffff | high << 16;
                        }
                    }
                }
            }
        }
        panels.place_spills();
        Ok(panels)
    }

    /// Spills as late as the weights allow: before the products of any output could exceed the room. Real weights are mostly
    /// far below the greatest one, for which [`Cut::block`] is meant.
    fn place_spills(&mut self) {
        if self.pairs <= self.cut.block {
            return;
        }
        let room = self.cut.room();
        let vectors = self.vectors.len() / self.pairs;
        let mut sums = vec![[0u32; WIDTH]; vectors];
        let per_group = self.outputs.div_ceil(WIDTH) * self.cut.parts;
        for pair in 0..self.pairs {
            let mut most = 0;
            for first in (0..vectors).step_by(per_group) {
                for panel in 0..self.count() {
                    let (first, width) = (first + self.first_vector(panel), self.width(panel));
                    let at = first * self.pairs + pair * width;
                    for (sums, vector) in sums[first..].iter_mut().zip(&self.vectors[at..at + width]) {
                        for (sum, &word) in sums.iter_mut().zip(&vector.0) {
                            *sum += size(word);
                            most = most.max(*sum);
                        }
                    }
                }
            }
            if most > room {
                self.spills.push(pair);
                // The sums start again with this pair.
                for first in (0..vectors).step_by(per_group) {
                    for panel in 0..self.count() {
                        let (first, width) = (first + self.first_vector(panel), self.width(panel));
                        let at = first * self.pairs + pair * width;
                        for (sums, vector) in sums[first..].iter_mut().zip(&self.vectors[at..at + width]) {
                            *sums = vector.0.map(size);
                        }
                    }
                }
            }
        }
    }

    /// Bytes of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.vectors.len() * size_of::<Vector>()
    }

    /// How values become digits.
    pub(crate) fn spread(&self) -> &Spread {
        &self.spread
    }

    pub(crate) fn kernel(&self) -> Kernel {
        self.kernel
    }

    pub(crate) fn is_prime(&self) -> bool {
        self.prime
    }

    /// Panels of one group.
    pub(crate) fn count(&self) -> usize {
        self.outputs.div_ceil(self.panel_outputs())
    }

    /// Outputs of a panel (all but the last are full).
    pub(crate) fn panel_outputs(&self) -> usize {
        if self.cut.parts == 1 { 2 * WIDTH } else { WIDTH }
    }

    /// Blocks of eight outputs in one panel.
    pub(crate) fn blocks(&self, panel: usize) -> usize {
        (self.outputs - panel * self.panel_outputs()).min(self.panel_outputs()).div_ceil(LANES)
    }

    fn first_vector(&self, panel: usize) -> usize {
        panel * self.cut.parts.max(2)
    }

    /// Vectors of one panel.
    fn width(&self, panel: usize) -> usize {
        match self.cut.parts {
            1 => self.blocks(panel).div_ceil(2),
            parts => parts,
        }
    }

    /// Cuts runs of (offset in words, pairs) where sums have to be spilled.
    ///
    /// # Panics
    /// If the runs do not have the pairs that the weights were packed for.
    pub(crate) fn segments(&self, runs: impl IntoIterator<Item = (usize, usize)>) -> Segments {
        let digits = self.cut.digits;
        let (mut list, mut reach, mut total) = (Vec::new(), 0, 0);
        let mut spills = self.spills.iter().copied().peekable();
        for (mut offset, mut pairs) in runs {
            reach = reach.max(offset + pairs * digits);
            while pairs > 0 {
                let now = spills.peek().map_or(pairs, |next| pairs.min(next - total));
                total += now;
                let spill = spills.next_if_eq(&total).is_some();
                list.push(Segment { offset, pairs: now, spill });
                offset += now * digits;
                pairs -= now;
            }
        }
        assert_eq!(total, self.pairs, "pairs of terms");
        Segments { list, spills: !self.spills.is_empty(), reach }
    }

    /// One panel of one group times the columns at `starts`: block b of eight outputs of column c goes to the eight words
    /// from `out[(b·pitch + c)·8]` on. `sums` is scratch.
    ///
    /// # Panics
    /// If a column reaches beyond `words`, or `out` is too short.
    #[inline(always)]
    pub(crate) fn columns<const D: usize, const PRIME: bool>(
        &self,
        [group, panel]: [usize; 2],
        (words, segments): (&[i32], &Segments),
        starts: &[usize],
        (out, pitch): (&mut [u64], usize),
        sums: &mut Sums,
    ) {
        assert_eq!((D, PRIME), (self.cut.digits, self.prime), "instantiated for another ring");
        let last = starts.iter().copied().max().unwrap_or(0);
        assert!(
            last.checked_add(segments.reach).is_some_and(|end| end <= words.len()),
            "column beyond the data"
        );
        let (width, parts, blocks) = (self.width(panel), self.cut.parts, self.blocks(panel));
        let per_group = self.outputs.div_ceil(WIDTH) * parts * self.pairs;
        let first = group * per_group + self.first_vector(panel) * self.pairs;
        let weights = &self.vectors[first..][..width * self.pairs];
        let most = (if width == 3 { 8 } else { 12 }) / D;
        let mut at = 0;
        while at < starts.len() {
            let count = share(starts.len() - at, most);
            let tile = Tile { weights, words, segments: &segments.list, starts: &starts[at..at + count] };
            match self.kernel {
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512 => avx512::run::<D>(&tile, width, sums),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx2 => avx2::run::<D>(&tile, width, sums),
                #[cfg(target_arch = "aarch64")]
                Kernel::Neon => neon::run::<D>(&tile, width, sums),
                _ => portable::run::<D>(&tile, width, sums),
            }
            self.decode.tile::<D, PRIME>(
                self.kernel,
                (sums, segments.spills),
                [count, width, blocks],
                (&mut out[at * LANES..], pitch),
            );
            at += count;
        }
    }
}

/// The sum of the absolute values of two weights.
#[inline(always)]
fn size(word: i32) -> u32 {
    (word as i16).unsigned_abs() as u32 + (word >> 16).unsigned_abs()
}

/// Columns for the next kernel call out of `left`, at most `most`: one of 1, 2, 3, 4, 6, 8, 12, and such that no single one
/// is left over without need.
#[inline(always)]
fn share(left: usize, most: usize) -> usize {
    let calls = left.div_ceil(most);
    match left.div_ceil(calls) {
        5 => 4,
        7 => 6,
        9..=11 => 8,
        count => count,
    }
}
