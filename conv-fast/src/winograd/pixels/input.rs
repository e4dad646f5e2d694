//! From rows of pixels to transformed digits.
//!
//! ```text
//! x                                      64 bits, cut into four fields of 16: x = Σ_d field_d·2^(13·d)
//! rows[row][vector / 2][channel][vector % 2][2]
//!                                        a line of four tiles: positions 0 and 3 of d B side by side, and 1 and 2
//! tiles[pair][position][vector]          a line of four tiles: [tile][digit], the digits of two channels a word
//! ```
//!
//! With p the pixels from a tile's first column on and s those two columns on, p − s is d₀ − d₂ in even lanes and d₁ − d₃ in
//! odd ones; d₁ of p and d₂ of s, each spread to both lanes of a tile, give d₁ + d₂ and d₂ − d₁. Interleaving two channels by 16
//! bits then parts the positions that were side by side. A row is transformed once, for the two rows of tiles that read it,
//! just before the first of them does.

use super::{BITS, POSITIONS, STEP, TILES, VECTORS, WIDTH};
use crate::ConvGeometry;
use crate::word::avx512::load_some;
use std::arch::x86_64::*;
use std::ops::Range;

/// The same three lower digits, `bits` apart.
const fn lower(digit: u64, bits: u32) -> u64 {
    digit | digit << bits | digit << (2 * bits)
}

/// What makes the three lower digits non-negative: half of 2^13 in each.
const OFFSET: u64 = lower(1 << (BITS - 1), BITS);
/// The same in fields of 16 bits.
const HALVES: u64 = lower(1 << (BITS - 1), 16);
/// The bits of these fields, and all of the topmost.
const FIELDS: u64 = lower((1 << BITS) - 1, 16) | 0xffff << 48;

/// Words from channel to channel.
const CHANNEL: usize = 2 * VECTORS * WIDTH;

/// Words of the transformed digits of [`VECTORS`] vectors.
pub(super) fn tiles_len(pairs: usize) -> usize {
    pairs * POSITIONS * VECTORS * WIDTH
}

/// Words of the rows that are held of `channels` planes, `across` vectors wide.
pub(super) fn rows_len(channels: usize, across: usize) -> usize {
    held(across) * pitch(channels, across)
}

/// Rows that are held: those of a row of tiles, or of two where vectors that are computed together can be of two.
#[inline(always)]
fn held(across: usize) -> usize {
    if across.is_multiple_of(VECTORS) { 4 } else { 6 }
}

/// Words of a row of all channels, an unpaired one's neighbour and an unpaired vector's included: an odd number of lines, so
/// that rows do not meet in one set of a cache.
#[inline(always)]
fn pitch(channels: usize, across: usize) -> usize {
    (2 * channels.next_multiple_of(2) * across.next_multiple_of(VECTORS) + 1) * WIDTH
}

/// Some rows of tiles of an image, and where their digits lie.
pub(super) struct Rows<'a> {
    tiles: Range<usize>,
    channels: usize,
    /// Rows and columns of the image, and zeros above and to the left of it.
    image: [usize; 2],
    padding: [usize; 2],
    pub(super) out: [usize; 2],
    /// Vectors of a row of tiles.
    across: usize,
    /// For each of them, and one more, which of its eight pixels are in the image.
    masks: &'a [u8],
}

impl<'a> Rows<'a> {
    pub(super) fn new(geometry: &ConvGeometry, masks: &'a [u8], tiles: Range<usize>) -> Self {
        let s = geometry.shape();
        let out = [geometry.out_height(), geometry.out_width()];
        Self {
            tiles,
            channels: s.in_channels,
            image: [s.in_height, s.in_width],
            padding: [s.padding[0], s.padding[1]],
            out,
            across: masks.len() - 1,
            masks,
        }
    }

    /// Rows of pixels: two of each row of tiles, and two more.
    #[inline(always)]
    fn height(&self) -> usize {
        2 * self.tiles.len() + 2
    }

    /// Words of the rows that are held.
    pub(super) fn len(&self) -> usize {
        rows_len(self.channels, self.across)
    }

    /// How many rows of pixels vectors of tiles before `end` read.
    pub(super) fn read(&self, end: usize) -> usize {
        2 * end.div_ceil(self.across) + 2
    }

    /// Vectors of tiles.
    pub(super) fn vectors(&self) -> usize {
        self.tiles.len() * self.across
    }

    /// The first output row and column of a vector of tiles.
    #[inline(always)]
    pub(super) fn place(&self, vector: usize) -> [usize; 2] {
        [2 * (self.tiles.start + vector / self.across), vector % self.across * STEP]
    }

    /// Cuts and transforms some rows of an image's pixels. An unpaired channel's neighbour is left as it is: its weights are
    /// zero.
    ///
    /// # Panics
    /// If `input` or `rows` is shorter than it has to be.
    ///
    /// # Safety
    /// The machine has AVX-512 F, BW, VL and VBMI.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    pub(super) unsafe fn cut(&self, input: &[u64], numbers: Range<usize>, rows: &mut [i32]) {
        let [height, width] = self.image;
        assert!(input.len() >= self.channels * height * width, "values of an image");
        assert!(numbers.end <= self.height() && rows.len() >= self.len(), "rows of a job");
        let (held, pitch) = (held(self.across), pitch(self.channels, self.across));
        for number in numbers {
            let row = (2 * self.tiles.start + number).wrapping_sub(self.padding[0]);
            let lines = &mut rows[number % held * pitch..][..pitch];
            if row >= height {
                lines.fill(0);
                continue;
            }
            let lines = lines.as_mut_ptr();
            for channel in 0..self.channels {
                let from = input.as_ptr().wrapping_add((channel * height + row) * width);
                let mut from = from.wrapping_sub(self.padding[1]);
                // SAFETY: masks name pixels of the row alone; each vector of the row has two lines.
                unsafe {
                    let mut now = fields(load_some(self.masks[0], from));
                    for (vector, &mask) in self.masks[1..].iter().enumerate() {
                        from = from.wrapping_add(STEP);
                        let next = fields(load_some(mask, from));
                        let two_on = _mm512_alignr_epi64::<2>(next, now);
                        let one = _mm512_unpackhi_epi64(now, now);
                        let two = _mm512_unpacklo_epi64(two_on, two_on);
                        let sum = _mm512_add_epi16(two, one);
                        let to = lines.add(self.place_of(vector) + channel * CHANNEL);
                        _mm512_store_si512(to.cast(), _mm512_sub_epi16(now, two_on));
                        let middle = _mm512_mask_sub_epi16(sum, ODD, two, one);
                        _mm512_store_si512(to.add(WIDTH).cast(), middle);
                        now = next;
                    }
                }
            }
        }
    }

    /// Where the lines of a vector of a row begin, those of the first channel.
    #[inline(always)]
    fn place_of(&self, vector: usize) -> usize {
        (vector / VECTORS * self.channels.next_multiple_of(2) * VECTORS + vector % VECTORS) * 2 * WIDTH
    }

    /// Transforms the columns of C vectors of tiles from `first` on, for all pairs of channels.
    ///
    /// # Panics
    /// If `rows` or `tiles` is shorter than it has to be, or there are not so many vectors.
    ///
    /// # Safety
    /// The machine has AVX-512 F and BW.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn transform<const C: usize>(&self, first: usize, rows: &[i32], tiles: &mut [i32]) {
        let pairs = self.channels.div_ceil(2);
        assert!(first + C <= self.vectors() && rows.len() >= self.len(), "vectors of rows");
        assert!(tiles.len() >= tiles_len(pairs), "words of tiles");
        let (held, pitch) = (held(self.across), pitch(self.channels, self.across));
        for vector in 0..C {
            let [row, column] = [(first + vector) / self.across, (first + vector) % self.across];
            let top = 2 * row % held;
            let from = rows.as_ptr().wrapping_add(self.place_of(column));
            let row = |i: usize| {
                let number = if top + i < held { top + i } else { top + i - held };
                from.wrapping_add(number * pitch)
            };
            let from = [row(0), row(1), row(2), row(3)];
            for pair in 0..pairs {
                let now = 2 * pair * CHANNEL;
                let to = tiles.as_mut_ptr().wrapping_add((pair * POSITIONS * C + vector) * WIDTH);
                // SAFETY: two lines from there on are stored, of four rows and two channels; lines of all positions are there.
                unsafe {
                    for (middle, [low, high]) in [(0, [0, 3]), (WIDTH, [1, 2])] {
                        let a = columns(from, now + middle);
                        let b = columns(from, now + middle + CHANNEL);
                        for i in 0..TILES {
                            let to = to.add(4 * i * C * WIDTH);
                            let [low, high] = [to.add(low * C * WIDTH), to.add(high * C * WIDTH)];
                            _mm512_store_si512(low.cast(), _mm512_unpacklo_epi16(a[i], b[i]));
                            _mm512_store_si512(high.cast(), _mm512_unpackhi_epi16(a[i], b[i]));
                        }
                    }
                }
            }
        }
    }
}

/// The odd ones of eight lanes of 64 bits.
const ODD: __mmask32 = 0xf0f0_f0f0;

/// For each vector of a row of tiles, and one more, which of its eight pixels are in the image.
pub(super) fn masks(geometry: &ConvGeometry) -> Vec<u8> {
    let s = geometry.shape();
    let inside = |column: usize| (s.padding[1]..s.padding[1] + s.in_width).contains(&column);
    let mask = |vector: usize| {
        (0..STEP).filter(|lane| inside(vector * STEP + lane)).fold(0, |mask, lane| mask | 1 << lane)
    };
    (0..=geometry.out_width().div_ceil(STEP)).map(mask).collect()
}

/// The digits of eight elements below 2^51: x + offset in fields of 13 bits, less the offset.
///
/// # Safety
/// The machine has AVX-512 F, BW and VBMI.
#[inline(always)]
unsafe fn fields(x: __m512i) -> __m512i {
    // Byte by byte, the bit that it starts from: field d has its bits from 13·d on.
    const PICK: u64 = u64::from_le_bytes([0, 8, 13, 21, 26, 34, 39, 47]);
    // SAFETY: arithmetic on registers.
    unsafe {
        let x = _mm512_add_epi64(x, _mm512_set1_epi64(OFFSET as i64));
        let fields = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(PICK as i64), x);
        let fields = _mm512_and_si512(fields, _mm512_set1_epi64(FIELDS as i64));
        _mm512_sub_epi16(fields, _mm512_set1_epi64(HALVES as i64))
    }
}

/// Bᵀ of a line of four rows.
///
/// # Safety
/// The machine has AVX-512 F and BW; there is a line of each row, `at` words on.
#[inline(always)]
unsafe fn columns(rows: [*const i32; TILES], at: usize) -> [__m512i; TILES] {
    // SAFETY: by the caller's promise.
    unsafe {
        let a = _mm512_load_si512(rows[0].add(at).cast());
        let b = _mm512_load_si512(rows[1].add(at).cast());
        let c = _mm512_load_si512(rows[2].add(at).cast());
        let d = _mm512_load_si512(rows[3].add(at).cast());
        [_mm512_sub_epi16(a, c), _mm512_add_epi16(b, c), _mm512_sub_epi16(c, b), _mm512_sub_epi16(b, d)]
    }
}
