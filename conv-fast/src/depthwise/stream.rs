//! 3×3 windows over one input channel, of stride one or two, straight from the planes to the planes.
//!
//! Eight outputs of a row are a vector. A *strip* of one or two vectors is followed down a band of rows: every row of the
//! image is read once for all outputs that see it, and its columns beyond the edges are masked out. Each row gives up to
//! three sums of three products, one for each row of the window; the three sums of an output, from three rows, meet in
//! registers. There is no padded copy. But vectors reach over the ends of their channel, so that the first and the last
//! channel of a task, beyond which there may be nothing, are copied to scratch memory with room around them.
//!
//! Vectors are stored whole, but at the end of a plane: what reaches over the end of a row is written again by a later strip
//! or row. Masked stores make later loads wait.
//!
//! | ring | lanes | outputs that are served | kernels |
//! |---|---|---|---|
//! | Z_q | double precision | all, if Σ\|w\|·q < 2^50 in the whole layer | all |
//! | Z_q | 64-bit integers | those with ⌈Σ\|w\|/2⌉·q < min(2^63, 2^50·q) | AVX-512 |
//! | Z_2^k | 64-bit integers, wrapping | all | AVX-512 |
//!
//! *Double precision* (narrow profiles). All values are integers below 2^50, so products and sums are exact. With
//! T the sum, ⌊T/q⌋ is taken as the floor of T·(1/q) + 1/(2q), whose error is below Σ|w|·2^-51 < 1/(2q): since T/q
//! is a multiple of 1/q, the floor is the true one, and T − q·⌊T/q⌋ is the element.
//!
//! *Integers* (q < 2^52). Sums wrap modulo 2^64, which loses nothing if the last one is in range. With P and N the sums of
//! an output's positive and negative weights, its sum lies in [−N·q, P·q]; a multiple of q, −⌊(P − N)/2⌋·q, is added to
//! centre that, which leaves at most ⌈(P + N)/2⌉·q. Outputs with longer weights are left to [`super::buffered`], and so are
//! integers on kernels without products of 64-bit lanes.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::lanes::{Lanes, Streamed, span};
use super::{Share, plain};
use crate::kernel::{Kernel, Task};
use crate::lanes::LANES;
use crate::scratch::with_words;
use crate::{ConvGeometry, Ring, Word};
use std::ops::Range;

/// Taps of a window.
const TAPS: usize = 9;
/// Bytes of the rows of one band, which are read once per strip and should stay in the first-level cache.
const BAND_BYTES: usize = 16 << 10;

/// One or two vectors of output columns.
struct Strip {
    /// First output column.
    column: usize,
    /// Column of its first tap, counted from the padding's first.
    first: usize,
    /// Which taps lie in the image's columns, for [`Streamed::one`] and [`Streamed::two`].
    masks: [[u8; 3]; 2],
    two: bool,
}

impl Strip {
    /// The strips of a row, from right to left: a vector that reaches over the end of its row writes what the strips behind it,
    /// or the next rows, write again.
    fn all(geometry: &ConvGeometry, interleaved: bool, pairs: bool) -> Vec<Self> {
        let s = geometry.shape();
        let (stride, left) = (s.stride[1], s.padding[1]);
        let mask = |start: usize, step: usize| {
            let inside = |lane: usize| (left..left + s.in_width).contains(&(start + lane * step));
            (0..LANES).map(|lane| u8::from(inside(lane)) << lane).sum()
        };
        let strip = |column: usize| {
            let first = column * stride;
            let two = pairs && geometry.out_width() - column > LANES;
            let masks = std::array::from_fn(|vector| {
                std::array::from_fn(|tap| match two && interleaved {
                    true => mask(first + vector + tap, 2),
                    false => mask(first + vector * LANES * stride + tap, stride),
                })
            });
            Self { column, first, masks, two }
        };
        let step = if pairs { 2 * LANES } else { LANES };
        (0..geometry.out_width()).step_by(step).map(strip).rev().collect()
    }
}

/// The weights of a layer for the arithmetic that its ring and weights allow.
pub(super) struct Stream {
    /// Whether the lanes are doubles; else integers.
    doubles: bool,
    /// In order and, for words that are so, interleaved.
    strips: [Vec<Strip>; 2],
    /// Words that vectors reach before and behind a channel.
    reach: [usize; 2],
    /// `[output channel]`: the taps and what centres the sum, as `f64` bits or as wrapping integers.
    numbers: Vec<[u64; TAPS + 1]>,
    /// `[output channel]`: whether it is computed here.
    pub(super) serves: Vec<bool>,
}

impl Stream {
    /// Whether windows are 3×3, of stride one or two, over one input channel.
    pub(super) fn has_window(geometry: &ConvGeometry) -> bool {
        let s = geometry.shape();
        geometry.group_inputs() == 1
            && s.kernel == [3; 2]
            && s.dilation == [1; 2]
            && (s.stride == [1; 2] || s.stride == [2; 2])
    }

    /// None for other windows than 3×3, other strides than one and two, groups of several input channels, and rings that need
    /// 64-bit products on kernels that have none.
    pub(super) fn new(geometry: &ConvGeometry, ring: &Ring, weights: &[i32], kernel: Kernel) -> Option<Self> {
        let s = geometry.shape();
        let stride = s.stride[0];
        if !Self::has_window(geometry) {
            return None;
        }
        let windows: Vec<[i64; TAPS]> =
            weights.as_chunks::<TAPS>().0.iter().map(|taps| taps.map(i64::from)).collect();
        let norm = |taps: &[i64; TAPS]| taps.iter().map(|tap| u128::from(tap.unsigned_abs())).sum::<u128>();
        let greatest = windows.iter().map(norm).max().unwrap_or(0);
        let (doubles, numbers, serves) = match ring {
            Ring::Prime(modulus) if greatest * u128::from(modulus.value()) < 1 << 50 => {
                let number =
                    |taps: &[i64; TAPS], at: usize| (taps.get(at).copied().unwrap_or(0) as f64).to_bits();
                let numbers = |taps| std::array::from_fn(|at| number(taps, at));
                (true, windows.iter().map(numbers).collect(), vec![true; windows.len()])
            }
            _ if kernel != Kernel::Avx512 => return None,
            Ring::Prime(modulus) => {
                let q = u128::from(modulus.value());
                let limit = (q << 50).min(1 << 63);
                let numbers = |taps: &[i64; TAPS]| {
                    let centre = taps.iter().sum::<i64>().div_euclid(2).wrapping_neg();
                    let centre = centre.wrapping_mul(modulus.value() as i64);
                    std::array::from_fn(|at| taps.get(at).copied().unwrap_or(centre) as u64)
                };
                let serves = windows.iter().map(|taps| norm(taps).div_ceil(2) * q < limit).collect();
                (false, windows.iter().map(numbers).collect(), serves)
            }
            Ring::PowerOfTwo(_) => {
                let numbers =
                    |taps: &[i64; TAPS]| std::array::from_fn(|at| taps.get(at).copied().unwrap_or(0) as u64);
                (false, windows.iter().map(numbers).collect(), vec![true; windows.len()])
            }
        };
        let pairs = kernel == Kernel::Avx512;
        let strips = [false, true].map(|interleaved| Strip::all(geometry, interleaved, pairs));
        let read = strips[0].iter().map(|strip| strip.first + span(1 + usize::from(strip.two), stride)).max();
        let behind = read.unwrap_or(0).saturating_sub(s.padding[1] + s.in_width);
        Some(Self { doubles, strips, reach: [s.padding[1], behind], numbers, serves })
    }

    /// Bytes of prepared weights.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.numbers.as_slice())
            + self.serves.len()
            + self.strips.iter().map(|strips| size_of_val(strips.as_slice())).sum::<usize>()
    }

    /// The outputs that it serves, of a run of groups.
    pub(super) fn run<W: Word>(&self, ring: &Ring, kernel: Kernel, share: Share<'_, W>) {
        let s = share.geometry.shape();
        let [before, behind] = self.reach;
        with_words(before + s.in_height * s.in_width + behind, |copy: &mut [W]| match s.stride[0] {
            1 => self.by::<W, 1>(ring, kernel, share, copy),
            _ => self.by::<W, 2>(ring, kernel, share, copy),
        });
    }

    fn by<W: Word, const STRIDE: usize>(
        &self,
        ring: &Ring,
        kernel: Kernel,
        share: Share<'_, W>,
        copy: &mut [W],
    ) {
        match ring {
            #[cfg(target_arch = "x86_64")]
            Ring::Prime(modulus) if kernel == Kernel::Avx512 && self.doubles => {
                let lanes = avx512::Doubles::new(modulus.value());
                avx512::run(Planes::<_, _, STRIDE> { stream: self, lanes, share, copy });
            }
            #[cfg(target_arch = "x86_64")]
            Ring::Prime(modulus) if kernel == Kernel::Avx512 => {
                let lanes = avx512::Prime::new(modulus.value());
                avx512::run(Planes::<_, _, STRIDE> { stream: self, lanes, share, copy });
            }
            #[cfg(target_arch = "x86_64")]
            &Ring::PowerOfTwo(bits) if kernel == Kernel::Avx512 => {
                let lanes = avx512::Power::new(bits);
                avx512::run(Planes::<_, _, STRIDE> { stream: self, lanes, share, copy });
            }
            Ring::Prime(modulus) if self.doubles => {
                let lanes = plain::Doubles::new(modulus.value());
                kernel.run(Planes::<_, _, STRIDE> { stream: self, lanes, share, copy });
            }
            _ => unreachable!("integers are made for AVX-512 alone"),
        }
    }
}

/// A run of groups, image by image.
struct Planes<'a, L, W, const STRIDE: usize> {
    stream: &'a Stream,
    lanes: L,
    share: Share<'a, W>,
    /// A channel with what vectors reach around it, to hold any content.
    copy: &'a mut [W],
}

impl<W: Word, L: Streamed<W>, const STRIDE: usize> Task for Planes<'_, L, W, STRIDE> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { stream, lanes, share, copy } = self;
        let Share { geometry, first, input, output } = share;
        let s = geometry.shape();
        let image = s.in_height * s.in_width;
        let (height, width) = (geometry.out_height(), geometry.out_width());
        let outputs = geometry.group_outputs();
        let strips = stream.strips[usize::from(L::interleaved(STRIDE))].as_slice();
        let band = (BAND_BYTES / (STRIDE * s.in_width * size_of::<W>())).max(LANES);
        let [before, behind] = stream.reach;
        for (number, results) in output.chunks_exact_mut(outputs * height * width).enumerate() {
            // Vectors reach over the ends of the channel. At those of the input it is copied.
            let at = number * image;
            let words = if at >= before && at + image + behind <= input.len() {
                &input[at - before..at + image + behind]
            } else {
                copy[before..before + image].copy_from_slice(&input[at..at + image]);
                &*copy
            };
            let channel = (first + number) % s.groups * outputs;
            for (channel, result) in (channel..).zip(results.chunks_exact_mut(height * width)) {
                if !stream.serves[channel] {
                    continue;
                }
                let mut numbers = [lanes.splat(0); TAPS + 1];
                for (vector, &number) in numbers.iter_mut().zip(&stream.numbers[channel]) {
                    *vector = lanes.splat(number);
                }
                let (above, size) = (s.padding[0], [s.in_height, s.in_width]);
                let channel = Channel { lanes, numbers, words, size, above, out_width: width };
                for top in (0..height).step_by(band) {
                    let rows = top..height.min(top + band);
                    for strip in strips {
                        if L::TWO && strip.two {
                            channel.down::<STRIDE, 2>(strip, rows.clone(), result);
                        } else {
                            channel.down::<STRIDE, 1>(strip, rows.clone(), result);
                        }
                    }
                }
            }
        }
    }
}

/// One input channel, with the weights of one output.
#[derive(Clone, Copy)]
struct Channel<'a, W: Word, L: Lanes<W>> {
    lanes: L,
    numbers: [L::Vector; TAPS + 1],
    /// The channel, and what vectors reach before and behind it.
    words: &'a [W],
    /// Rows and columns of the image, rows of zeros above it, columns of the output.
    size: [usize; 2],
    above: usize,
    out_width: usize,
}

impl<W: Word, L: Streamed<W>> Channel<'_, W, L> {
    /// Some rows of a strip of `N` vectors.
    #[inline(always)]
    fn down<const STRIDE: usize, const N: usize>(self, strip: &Strip, rows: Range<usize>, result: &mut [W]) {
        match STRIDE {
            1 => self.by_one::<N>(strip, rows, result),
            _ => self.by_two::<N>(strip, rows, result),
        }
    }

    /// The taps of a row, numbered from the padding's first, if it is no padding.
    #[inline(always)]
    fn row<const STRIDE: usize, const N: usize>(
        self,
        padded: usize,
        strip: &Strip,
    ) -> Option<[[L::Vector; 3]; N]> {
        let row = padded.wrapping_sub(self.above);
        if row < self.size[0] { Some(self.taps::<STRIDE, N>(row, strip)) } else { None }
    }

    /// The taps of a row of the image.
    #[inline(always)]
    fn taps<const STRIDE: usize, const N: usize>(self, row: usize, strip: &Strip) -> [[L::Vector; 3]; N] {
        let words = &self.words[strip.first + row * self.size[1]..][..span(N, STRIDE)];
        let mut taps = [[self.lanes.splat(0); 3]; N];
        if N == 1 {
            taps[0] = self.lanes.one::<STRIDE>(words, &strip.masks[0]);
        } else {
            [taps[0], taps[N - 1]] = self.lanes.two::<STRIDE>(words, &strip.masks);
        }
        taps
    }

    /// Row `row` of the window.
    #[inline(always)]
    fn dot<const N: usize>(self, taps: &[[L::Vector; 3]; N], row: usize) -> [L::Vector; N] {
        let mut dots = [self.lanes.splat(0); N];
        for (dot, taps) in dots.iter_mut().zip(taps) {
            let sum = self.lanes.times(taps[0], self.numbers[3 * row]);
            let sum = self.lanes.times_add(taps[1], self.numbers[3 * row + 1], sum);
            *dot = self.lanes.times_add(taps[2], self.numbers[3 * row + 2], sum);
        }
        dots
    }

    /// The same, added to sums.
    #[inline(always)]
    fn add<const N: usize>(
        self,
        mut sums: [L::Vector; N],
        taps: &[[L::Vector; 3]; N],
        row: usize,
    ) -> [L::Vector; N] {
        for (sum, dot) in sums.iter_mut().zip(self.dot(taps, row)) {
            *sum = self.lanes.add(*sum, dot);
        }
        sums
    }

    /// Writes an output row of a strip, whole vectors as far as the plane goes.
    #[inline(always)]
    fn finish<const STRIDE: usize, const N: usize>(
        self,
        sums: [L::Vector; N],
        strip: &Strip,
        row: usize,
        result: &mut [W],
    ) {
        let to = &mut result[row * self.out_width + strip.column..];
        let count = to.len().min(N * LANES);
        let to = &mut to[..count];
        if N == 1 {
            self.lanes.finish(sums[0], self.numbers[TAPS], to);
        } else {
            self.lanes.finish_two::<STRIDE>([sums[0], sums[N - 1]], self.numbers[TAPS], to);
        }
    }

    /// Stride one: a row of the image is the last of one output's window, the middle of the next one's, the first of the
    /// one after.
    #[inline(always)]
    fn by_one<const N: usize>(self, strip: &Strip, rows: Range<usize>, result: &mut [W]) {
        let zero = [self.lanes.splat(0); N];
        // Outputs that lack their third row; the third and the second. The first two rows complete nothing.
        let (mut last, mut middle) = (zero, zero);
        if let Some(taps) = self.row::<1, N>(rows.start, strip) {
            last = self.dot(&taps, 0);
        }
        if let Some(taps) = self.row::<1, N>(rows.start + 1, strip) {
            last = self.add(last, &taps, 1);
            middle = self.dot(&taps, 0);
        }
        let mut row = rows.start;
        // Rows of the image that complete one output and begin another.
        let inner = (self.above + self.size[0]).min(rows.end).saturating_sub(2);
        if row + 2 >= self.above {
            while row < inner {
                let taps = self.taps::<1, N>(row + 2 - self.above, strip);
                let done = self.add(last, &taps, 2);
                last = self.add(middle, &taps, 1);
                middle = self.dot(&taps, 0);
                self.finish::<1, N>(done, strip, row, result);
                row += 1;
            }
        }
        // The last two, windows that end below the image, and all where many end above it.
        while row < rows.end {
            let mut next = zero;
            if let Some(taps) = self.row::<1, N>(row + 2, strip) {
                last = self.add(last, &taps, 2);
                middle = self.add(middle, &taps, 1);
                next = self.dot(&taps, 0);
            }
            self.finish::<1, N>(last, strip, row, result);
            (last, middle) = (middle, next);
            row += 1;
        }
    }

    /// Stride two: the last row of one output's window is the first of the next one's.
    #[inline(always)]
    fn by_two<const N: usize>(self, strip: &Strip, rows: Range<usize>, result: &mut [W]) {
        let zero = [self.lanes.splat(0); N];
        let mut sum = match self.row::<2, N>(2 * rows.start, strip) {
            Some(taps) => self.dot(&taps, 0),
            None => zero,
        };
        for row in rows {
            if let Some(taps) = self.row::<2, N>(2 * row + 1, strip) {
                sum = self.add(sum, &taps, 1);
            }
            let mut next = zero;
            if let Some(taps) = self.row::<2, N>(2 * row + 2, strip) {
                sum = self.add(sum, &taps, 2);
                next = self.dot(&taps, 0);
            }
            self.finish::<2, N>(sum, strip, row, result);
            sum = next;
        }
    }
}
