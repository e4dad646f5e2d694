//! From planes of values to words of digits, sixteen pixels at a time: no transposes, a few shifts and masks.
//!
//! Two channels a and b give D words per pixel, the digits of a below, those of b above: for each digit a's bits are moved to
//! the lower half of a word, b's to the upper half, what else they bring is blended and masked away, and 2^(b−1) taken from both
//! halves. Values of more than 32 bits are taken apart into their lower and upper halves before.

#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::layout::{Layout, StoredRow, WIDTH};
use crate::Word;
use crate::word::avx512::load_some;
use std::arch::x86_64::*;
use std::ops::Range;

/// A row of at most so many words is over before the processor's own prefetching has recognised it; longer ones it fetches by
/// itself, and earlier than the code here could ask for them.
const SHORT: usize = 128;

/// How values become digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digits {
    /// Bits of a digit, b.
    pub(super) bits: u32,
}

/// Planes of one image that a job reads.
#[derive(Clone, Copy)]
pub(super) struct Gather<'a, W> {
    pub(super) layout: &'a Layout,
    pub(super) digits: Digits,
    /// Values of the channels of a group, plane after plane.
    pub(super) input: &'a [W],
    pub(super) channels: usize,
    /// Whether the last channel, without another, is paired with its right neighbours.
    pub(super) neighbours: bool,
}

/// Masks and shifts of a width of digits.
#[derive(Clone, Copy)]
struct Constants {
    /// b, 2b, 3b − 32.
    down: [__m128i; 3],
    /// 16 − b, 48 − 3b.
    up: [__m128i; 2],
    /// What crosses from the upper half of a value to digit 2, for a and b: 32 − 2b and 48 − 2b; and from the lower one for b.
    across: [__m128i; 3],
    /// b bits in each half.
    mask: __m512i,
    /// 2^(b−1) in each half.
    half: __m512i,
}

impl<W: Word> Gather<'_, W> {
    /// Writes all digits of some rows of a job; `line` is scratch for two rows.
    ///
    /// # Safety
    /// The machine has AVX-512 F, BW, VL.
    ///
    /// # Panics
    /// If `input`, `words` or `line` is too short.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn rows<const D: usize>(self, rows: &[StoredRow], words: &mut [i32], line: &mut [W]) {
        let Self { layout, input, channels, .. } = self;
        let image = layout.image[0] * layout.image[1];
        let constants = Constants::new(self.digits.bits);
        assert!(input.len() >= channels * image, "values of all channels");
        for row in rows {
            let last = row.source + row.inside.len().saturating_sub(1) * row.step;
            assert!(last < image && row.inside.end <= row.len, "values of a row");
            assert!(row.at + row.len <= layout.plane, "words of a row");
        }
        for (plane, words) in words.chunks_exact_mut(D * layout.plane).take(channels.div_ceil(2)).enumerate()
        {
            let alone = 2 * plane + 1 == channels;
            let low = &input[2 * plane * image..][..image];
            let high = if alone { low } else { &input[(2 * plane + 1) * image..][..image] };
            // The last planes have none after them.
            let next = (2 * plane + 4 <= channels).then_some(2 * image);
            for row in rows {
                let StoredRow { at, len, ref inside, source, step } = *row;
                let ahead = next.filter(|_| len <= SHORT);
                let pair = [low.as_ptr().wrapping_add(source), high.as_ptr().wrapping_add(source)];
                // SAFETY: the features are the caller's promise; as many values as `inside` and the step ask for in both rows, and
                // as many words as `len` at each digit, as was seen above.
                unsafe {
                    let to = (words.as_mut_ptr().add(at), layout.plane);
                    match step {
                        1 => constants.row::<D, 1, W>(pair, inside, to, len, ahead),
                        2 => constants.row::<D, 2, W>(pair, inside, to, len, ahead),
                        _ => {
                            let (a, b) = line.split_at_mut(inside.len());
                            pick(&low[source..], step, a);
                            pick(&high[source..], step, &mut b[..inside.len()]);
                            constants.row::<D, 1, W>([a.as_ptr(), b.as_ptr()], inside, to, len, None);
                        }
                    }
                }
            }
            if alone && self.neighbours {
                for digit in words.chunks_exact_mut(layout.plane) {
                    // The last word keeps its own value: no term reads a neighbour beyond it.
                    for i in 0..digit.len() - 1 {
                        digit[i] = digit[i] & 0xffff | digit[i + 1] << 16;
                    }
                }
            }
        }
    }
}

/// Every `step`-th value, until `to` is full.
#[inline(always)]
fn pick<W: Word>(values: &[W], step: usize, to: &mut [W]) {
    for (to, &value) in to.iter_mut().zip(values.iter().step_by(step)) {
        *to = value;
    }
}

impl Constants {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new(bits: u32) -> Self {
        let b = bits as i32;
        // Of less than three digits no negative count is used.
        let count = |bits: i32| _mm_cvtsi32_si128(bits.max(0));
        Self {
            down: [count(b), count(2 * b), count(3 * b - 32)],
            up: [count(16 - b), count(48 - 3 * b)],
            across: [count(32 - 2 * b), count(48 - 2 * b), count(2 * b - 16)],
            mask: _mm512_set1_epi16(((1u32 << b) - 1) as i16),
            half: _mm512_set1_epi16((1i32 << (b - 1)) as i16),
        }
    }

    /// One row of two channels: `len` words, of which those `inside` are every STEP-th value, STEP being one or two, and the
    /// others zero.
    ///
    /// # Safety
    /// The machine has the features; both rows point to (inside.len() − 1)·STEP + 1 values, and from `to` on D times `len` words
    /// can be written, `plane` apart. What lies `ahead` values further, if given, is fetched into the cache meanwhile.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn row<const D: usize, const STEP: usize, W: Word>(
        &self,
        rows: [*const W; 2],
        inside: &Range<usize>,
        (to, plane): (*mut i32, usize),
        len: usize,
        ahead: Option<usize>,
    ) {
        for at in (0..len).step_by(WIDTH) {
            // SAFETY: whole vectors lie in the row, the masks name values and words that there are.
            unsafe {
                let from = rows.map(|row| row.wrapping_add(at * STEP).wrapping_sub(inside.start * STEP));
                let to = (to.add(at), plane);
                if let Some(ahead) = ahead {
                    // The next two channels, a pair of planes further.
                    for row in from {
                        for line in (0..WIDTH * STEP).step_by(512 / W::BITS as usize) {
                            _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(ahead + line).cast());
                        }
                    }
                }
                if inside.start <= at && at + WIDTH + STEP - 1 <= inside.end {
                    self.words::<D, STEP, W>(from, u32::MAX, to, u16::MAX);
                    continue;
                }
                // Which of the words from here on are values, and the values between them. Zero has the digits of zero.
                let [first, end] =
                    [inside.start, inside.end].map(|place| place.saturating_sub(at).min(WIDTH));
                let read = match end.saturating_sub(first) {
                    0 => 0,
                    count => (u32::MAX >> (32 - ((count - 1) * STEP + 1))) << (first * STEP),
                };
                let write = (u32::from(u16::MAX) >> (WIDTH - WIDTH.min(len - at))) as u16;
                self.words::<D, STEP, W>(from, read, to, write);
            }
        }
    }

    /// Sixteen words of each digit, those that `write` names, from every STEP-th of the values that `read` names.
    ///
    /// # Safety
    /// As [`Constants::row`].
    #[inline(always)]
    unsafe fn words<const D: usize, const STEP: usize, W: Word>(
        &self,
        from: [*const W; 2],
        read: u32,
        (to, plane): (*mut i32, usize),
        write: u16,
    ) {
        // SAFETY: arithmetic on registers; the masks name values and words that there are.
        unsafe {
            let put = |digit: usize, word: __m512i| {
                let word = _mm512_sub_epi16(word, self.half);
                _mm512_mask_storeu_epi32(to.add(digit * plane), write, word);
            };
            // The lower half of one, the upper half of the other.
            let meet =
                |a: __m512i, b: __m512i| _mm512_ternarylogic_epi32::<0xca>(_mm512_set1_epi32(0xffff), a, b);
            let [b1, b2, b3] = self.down;
            if D <= 2 {
                let [a, b] = from.map(|from| short::<STEP, W>(read, from));
                put(0, _mm512_and_si512(meet(a, _mm512_slli_epi32::<16>(b)), self.mask));
                put(1, meet(_mm512_srl_epi32(a, b1), _mm512_sll_epi32(b, self.up[0])));
                return;
            }
            let [a, b] = from.map(|from| long::<STEP, W>(read, from));
            put(0, _mm512_and_si512(meet(a[0], _mm512_slli_epi32::<16>(b[0])), self.mask));
            let word = meet(_mm512_srl_epi32(a[0], b1), _mm512_sll_epi32(b[0], self.up[0]));
            put(1, _mm512_and_si512(word, self.mask));
            let [left, left_up, right_up] = self.across;
            let low = _mm512_or_si512(_mm512_srl_epi32(a[0], b2), _mm512_sll_epi32(a[1], left));
            let high = _mm512_or_si512(_mm512_srl_epi32(b[0], right_up), _mm512_sll_epi32(b[1], left_up));
            put(2, _mm512_and_si512(meet(low, high), self.mask));
            if D == 4 {
                put(3, meet(_mm512_srl_epi32(a[1], b3), _mm512_sll_epi32(b[1], self.up[1])));
            }
        }
    }
}

/// Sixteen values of at most 32 bits, every STEP-th of those that the mask names.
///
/// # Safety
/// The machine has the features; `from` points to the values that the mask names.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn short<const STEP: usize, W: Word>(mask: u32, from: *const W) -> __m512i {
    // SAFETY: by the caller's promise.
    unsafe {
        let low = sixteen(mask as u16, from);
        if STEP == 1 {
            return low;
        }
        let high = sixteen((mask >> 16) as u16, from.wrapping_add(16));
        let evens = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
        _mm512_permutex2var_epi32(low, evens, high)
    }
}

/// # Safety
/// As [`short`].
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn sixteen<W: Word>(mask: u16, from: *const W) -> __m512i {
    // SAFETY: by the caller's promise.
    unsafe {
        if W::BITS == 32 {
            return _mm512_maskz_loadu_epi32(mask, from.cast());
        }
        let low = _mm512_cvtepi64_epi32(load_some(mask as u8, from));
        let high = _mm512_cvtepi64_epi32(load_some((mask >> 8) as u8, from.wrapping_add(8)));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
}

/// As [`short`] for values of any length: the lower 32 bits of sixteen, and the upper ones.
///
/// # Safety
/// As [`short`].
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn long<const STEP: usize, W: Word>(mask: u32, from: *const W) -> [__m512i; 2] {
    // SAFETY: by the caller's promise.
    unsafe {
        let mut a = load_some(mask as u8, from);
        let mut b = load_some((mask >> 8) as u8, from.wrapping_add(8));
        if STEP == 2 {
            let c = load_some((mask >> 16) as u8, from.wrapping_add(16));
            let d = load_some((mask >> 24) as u8, from.wrapping_add(24));
            let evens = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
            (a, b) = (_mm512_permutex2var_epi64(a, evens, b), _mm512_permutex2var_epi64(c, evens, d));
        }
        let firsts = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
        let seconds = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
        [_mm512_permutex2var_epi32(a, firsts, b), _mm512_permutex2var_epi32(a, seconds, b)]
    }
}
