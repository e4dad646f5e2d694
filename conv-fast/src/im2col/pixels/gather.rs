//! From planes of values to words of digits, sixteen pixels at a time: no transposes, a few shifts and masks.
//!
//! Two channels a and b give D words per pixel, the digits of a below, those of b above. The fields of one value come apart
//! first (`fields`), then those of the two channels meet.

#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::layout::{Job, Layout, StoredRow, WIDTH};
use crate::Word;
use crate::word::avx512::load_some;
use std::arch::x86_64::*;
use std::ops::Range;

/// How values become digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digits {
    /// Bits of a digit, b.
    pub(super) bits: u32,
}

/// Planes of one image that a job reads, and the job.
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
    low: __m512i,
    gap: __m128i,
    gaps: [__m128i; 4],
    masks: [__m512i; 4],
    /// 2^(b−1) in each field.
    half: __m512i,
}

impl<W: Word> Gather<'_, W> {
    /// Writes all digits of a job; `line` is scratch for two rows.
    ///
    /// # Safety
    /// The machine has AVX-512 F, BW, VL.
    ///
    /// # Panics
    /// If `input`, `words` or `line` is too short.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn job<const D: usize>(self, job: &Job, words: &mut [i32], line: &mut [W]) {
        let Self { layout, input, channels, .. } = self;
        let image = layout.image[0] * layout.image[1];
        let constants = Constants::new(self.digits.bits);
        assert!(input.len() >= channels * image, "values of all channels");
        for (plane, words) in words.chunks_exact_mut(D * layout.plane).take(channels.div_ceil(2)).enumerate()
        {
            let alone = 2 * plane + 1 == channels;
            let [low, high] =
                [2 * plane, 2 * plane + usize::from(!alone)].map(|c| &input[c * image..][..image]);
            // The last planes have none after them.
            let ahead = if 2 * plane + 4 <= channels { 2 * image } else { 0 };
            for row in &job.rows {
                let StoredRow { at, len, ref inside, source, step } = *row;
                let count = inside.len();
                let last = source + count.saturating_sub(1) * step;
                assert!(last < image && inside.end <= len, "values of a row");
                assert!((D - 1) * layout.plane + at + len <= words.len(), "words of a row");
                let rows = [low, high].map(|plane| plane.as_ptr().wrapping_add(source));
                // SAFETY: the features are the caller's promise; as many values as `inside` and the step ask for in both rows, and
                // as many words as `len` at each digit.
                unsafe {
                    let to = (words.as_mut_ptr().add(at), layout.plane);
                    match step {
                        1 => constants.row::<D, 1, W>(rows, inside, to, len, ahead),
                        2 => constants.row::<D, 2, W>(rows, inside, to, len, ahead),
                        _ => {
                            let (a, b) = line.split_at_mut(count);
                            pick(&low[source..], step, a);
                            pick(&high[source..], step, &mut b[..count]);
                            constants.row::<D, 1, W>([a.as_ptr(), b.as_ptr()], inside, to, len, 0);
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
        let gap = 16 - bits as i32;
        let mask = (1i64 << bits) - 1;
        Self {
            low: _mm512_set1_epi32(mask as i32),
            gap: _mm_cvtsi32_si128(gap),
            gaps: [0, 1, 2, 3].map(|d| _mm_cvtsi32_si128(d * gap)),
            masks: [0, 1, 2, 3].map(|d| _mm512_set1_epi64(mask << (16 * d))),
            half: _mm512_set1_epi16((1i32 << (bits - 1)) as i16),
        }
    }

    /// One row of two channels: `len` words, of which those `inside` are every STEP-th value, STEP being one or two, and the
    /// others zero.
    ///
    /// # Safety
    /// The machine has the features; both rows point to (inside.len() − 1)·STEP + 1 values, and from `to` on D times `len` words
    /// can be written, `plane` apart. What lies `ahead` values further is fetched into the cache meanwhile.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn row<const D: usize, const STEP: usize, W: Word>(
        &self,
        rows: [*const W; 2],
        inside: &Range<usize>,
        (to, plane): (*mut i32, usize),
        len: usize,
        ahead: usize,
    ) {
        let lower = _mm512_set1_epi32(0xffff);
        for at in (0..len).step_by(WIDTH) {
            let mask = (u32::from(u16::MAX) >> (WIDTH - WIDTH.min(len - at))) as u16;
            // Which of the words from here on are values, and the values between them. Zero has the digits of zero.
            let [from, end] = [inside.start, inside.end].map(|place| place.saturating_sub(at).min(WIDTH));
            let read = match end.saturating_sub(from) {
                0 => 0,
                count => (u32::MAX >> (32 - ((count - 1) * STEP + 1))) << (from * STEP),
            };
            // SAFETY: the masks name values and words that there are.
            unsafe {
                let [low, high] =
                    rows.map(|row| row.wrapping_add(at * STEP).wrapping_sub(inside.start * STEP));
                let to = to.add(at);
                // The next two channels, a pair of planes further.
                for row in [low, high] {
                    for line in (0..WIDTH * STEP).step_by(512 / W::BITS as usize) {
                        _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(ahead + line).cast());
                    }
                }
                if D <= 2 {
                    let a = self.fields_of_two(short::<STEP, W>(read, low));
                    let b = self.fields_of_two(short::<STEP, W>(read, high));
                    // lower ? a : b << 16, and lower ? a >> 16 : b.
                    let word = _mm512_ternarylogic_epi32::<0xca>(lower, a, _mm512_slli_epi32::<16>(b));
                    _mm512_mask_storeu_epi32(to, mask, word);
                    if D == 2 {
                        let word = _mm512_ternarylogic_epi32::<0xca>(lower, _mm512_srli_epi32::<16>(a), b);
                        _mm512_mask_storeu_epi32(to.add(plane), mask, word);
                    }
                    continue;
                }
                let (a, b) = (long::<STEP, W>(read, low), long::<STEP, W>(read, high));
                // Digits 0 and 2, and 1 and 3, of both channels, in turn.
                let (mut even, mut odd) = (a, a);
                for i in 0..2 {
                    let (a, b) = (self.fields_of_four::<D>(a[i]), self.fields_of_four::<D>(b[i]));
                    even[i] = _mm512_ternarylogic_epi32::<0xca>(lower, a, _mm512_slli_epi32::<16>(b));
                    odd[i] = _mm512_ternarylogic_epi32::<0xca>(lower, _mm512_srli_epi32::<16>(a), b);
                }
                let firsts = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
                let seconds = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
                _mm512_mask_storeu_epi32(to, mask, _mm512_permutex2var_epi32(even[0], firsts, even[1]));
                let word = _mm512_permutex2var_epi32(odd[0], firsts, odd[1]);
                _mm512_mask_storeu_epi32(to.add(plane), mask, word);
                let word = _mm512_permutex2var_epi32(even[0], seconds, even[1]);
                _mm512_mask_storeu_epi32(to.add(2 * plane), mask, word);
                if D == 4 {
                    let word = _mm512_permutex2var_epi32(odd[0], seconds, odd[1]);
                    _mm512_mask_storeu_epi32(to.add(3 * plane), mask, word);
                }
            }
        }
    }

    /// Two digits of sixteen values, 16 bits each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn fields_of_two(&self, x: __m512i) -> __m512i {
        let low = _mm512_and_si512(x, self.low);
        // low | moved & upper half
        let moved = _mm512_sll_epi32(x, self.gap);
        let fields = _mm512_ternarylogic_epi32::<0xf8>(low, moved, _mm512_set1_epi32(!0xffff));
        _mm512_sub_epi16(fields, self.half)
    }

    /// Up to four digits of eight values.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn fields_of_four<const D: usize>(&self, x: __m512i) -> __m512i {
        let mut fields = _mm512_and_si512(x, self.masks[0]);
        for d in 1..D {
            let moved = _mm512_sll_epi64(x, self.gaps[d]);
            fields = _mm512_ternarylogic_epi64::<0xf8>(fields, moved, self.masks[d]);
        }
        _mm512_sub_epi16(fields, self.half)
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

/// As [`short`] for values of any length: eight and eight.
///
/// # Safety
/// As [`short`].
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn long<const STEP: usize, W: Word>(mask: u32, from: *const W) -> [__m512i; 2] {
    // SAFETY: by the caller's promise.
    unsafe {
        let a = load_some(mask as u8, from);
        let b = load_some((mask >> 8) as u8, from.wrapping_add(8));
        if STEP == 1 {
            return [a, b];
        }
        let c = load_some((mask >> 16) as u8, from.wrapping_add(16));
        let d = load_some((mask >> 24) as u8, from.wrapping_add(24));
        let evens = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
        [_mm512_permutex2var_epi64(a, evens, b), _mm512_permutex2var_epi64(c, evens, d)]
    }
}
