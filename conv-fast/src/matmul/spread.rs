//! From values to the words of digits that the kernels read, eight at a time.
//!
//! Adding H = Σ_d 2^(b−1)·2^(b·d) makes all digits non-negative bit fields; the fields move apart to 16 bits each, and
//! subtracting 2^(b−1) from each restores the signs. All of it is shifts, masks and additions on 64-bit lanes. Then
//! neighbouring values are paired: the *words* of eight values are `[pair 0..4][digit]`, an i32 with the digits of the even value
//! below and of the odd one above.
//!
//! D digits of b bits reach from −2^(b−1)·(1 + 2^b + …) to (2^(b−1) − 1)·(1 + 2^b + …), q ≤ 2^(b·D) numbers. Residues above
//! the upper end (or above q/2, if that is less) stand for x − q, so that every modulus up to 2^(b·D) is served. In Z_2^k
//! what the top digit loses is a multiple of 2^(b·D), that is, zero.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls of the AVX-512 twin"))]

use super::cut::{Cut, MAX_DIGITS};
#[cfg(target_arch = "x86_64")]
use super::spread_avx512 as avx512;
use crate::kernel::Kernel;
use crate::lanes::{LANES, Signed, Words};
use crate::{Ring, Word};

/// The constants that turn values into digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// The modulus, 0 in Z_2^k.
    pub(super) q: i64,
    /// Least and greatest value that stands for itself; there are q of them.
    pub(super) bottom: i64,
    pub(super) top: i64,
    /// H of the module's description.
    pub(super) half: u64,
    /// How far each field moves from the one before, 16 − b.
    pub(super) gap: u32,
    pub(super) masks: [u64; MAX_DIGITS],
    /// 2^15 − 2^(b−1) in each field: with the sign bit flipped afterwards this subtracts 2^(b−1).
    pub(super) lift: u64,
    /// Whether all |x| < 2q already are within reach of the digits.
    pub(super) roomy: bool,
}

/// The sign of each field.
pub(super) const SIGNS: u64 = 0x8000_8000_8000_8000;

impl Spread {
    pub(crate) fn new(ring: &Ring, cut: &Cut) -> Self {
        let (digits, bits) = (cut.digits as u32, cut.bits);
        let ones = |width: u32| (0..digits).fold(0u64, |sum, d| sum | 1 << (width * d));
        let (q, top) = match ring {
            Ring::Prime(modulus) => {
                let q = modulus.value() as i64;
                // Four digits of 16 bits never meet a prime: those have at most 52 bits.
                let reach = ((1i64 << (bits - 1)) - 1).saturating_mul(ones(bits) as i64);
                (q, reach.min((q - 1) / 2))
            }
            Ring::PowerOfTwo(_) => (0, i64::MAX),
        };
        let bottom = if q == 0 { i64::MIN } else { top + 1 - q };
        let reach = ((1i128 << (bits - 1)) - 1) * i128::from(ones(bits));
        let mut masks = [0; MAX_DIGITS];
        for (d, mask) in masks.iter_mut().enumerate().take(cut.digits) {
            *mask = ((1 << bits) - 1) << (16 * d);
        }
        Self {
            q,
            bottom,
            top,
            half: ones(bits) << (bits - 1),
            gap: 16 - bits,
            masks,
            lift: ones(16) * ((1 << 15) - (1 << (bits - 1))),
            roomy: 2 * i128::from(q) <= reach,
        }
    }

    /// Writes the words of many eights of |x| < 2q (any x in Z_2^k) to `words`: `[eight][pair][digit]`.
    ///
    /// # Panics
    /// If there are fewer than 4·D words for each eight.
    #[inline(always)]
    pub(crate) fn lazy<const D: usize>(&self, kernel: Kernel, values: &[Signed], words: &mut [i32]) {
        let words = &mut words[..values.len() * 4 * D];
        #[cfg(target_arch = "x86_64")]
        if kernel == Kernel::Avx512 {
            // SAFETY: this kernel only runs on machines that have AVX-512; there are 4·D words for each eight values.
            unsafe { avx512::line::<D, true, _>(self, values, words.as_mut_ptr()) };
            return;
        }
        let _ = kernel;
        for (&values, words) in values.iter().zip(words.chunks_exact_mut(4 * D)) {
            let mut x = values;
            if !self.roomy {
                for _ in 0..2 {
                    x = x.map(|x| self.down(x));
                    x = x.map(|x| x.wrapping_add(if x < self.bottom { self.q } else { 0 }));
                }
            }
            store::<D>(self.fields(x), words);
        }
    }

    /// Writes the words of elements of the ring, eight after eight (a rest is left out): `[eight][pair][digit]`.
    ///
    /// # Panics
    /// If there are fewer than D/2 words per value.
    #[inline(always)]
    pub(crate) fn line<const D: usize>(&self, kernel: Kernel, values: &[u64], words: &mut [i32]) {
        let values = values.as_chunks::<LANES>().0;
        let words = &mut words[..values.len() * 4 * D];
        #[cfg(target_arch = "x86_64")]
        if kernel == Kernel::Avx512 {
            // SAFETY: this kernel only runs on machines that have AVX-512; there are 4·D words for each eight values.
            unsafe { avx512::line::<D, false, _>(self, values, words.as_mut_ptr()) };
            return;
        }
        let _ = kernel;
        for (values, words) in values.iter().zip(words.chunks_exact_mut(4 * D)) {
            store::<D>(self.fields(values.map(|x| self.down(x as i64))), words);
        }
    }

    /// Takes `columns` words of up to eight channels, elements of the ring, the next channel `distance` words after the
    /// last, and writes the words of each column's eight values, the next column's `pitch` words after the last's. The first
    /// `ahead` of the eight channels that follow may be fetched into the cache meanwhile.
    ///
    /// # Panics
    /// If `values` or `words` is too short, or there are more than eight channels.
    #[inline(always)]
    pub(crate) fn rows<const D: usize, W: Word>(
        &self,
        kernel: Kernel,
        (values, distance): (&[W], usize),
        [channels, columns, ahead]: [usize; 3],
        (words, pitch): (&mut [i32], usize),
    ) {
        if channels == 0 || columns == 0 {
            return;
        }
        assert!(channels <= LANES, "at most eight channels");
        assert!((channels - 1) * distance + columns <= values.len(), "values too short");
        assert!((columns - 1) * pitch + 4 * D <= words.len(), "words too short");
        #[cfg(target_arch = "x86_64")]
        if kernel == Kernel::Avx512 {
            // SAFETY: this kernel only runs on machines that have AVX-512; the lengths were checked just above.
            unsafe {
                avx512::rows::<D, W>(
                    self,
                    (values.as_ptr(), distance),
                    [channels, columns, ahead],
                    (words.as_mut_ptr(), pitch),
                )
            };
            return;
        }
        let _ = (kernel, ahead);
        for column in 0..columns {
            let mut x = [0; LANES];
            for (channel, x) in x.iter_mut().enumerate().take(channels) {
                *x = values[channel * distance + column].to_u64() as i64;
            }
            store::<D>(self.fields(x.map(|x| self.down(x))), &mut words[column * pitch..][..4 * D]);
        }
    }

    /// Values above the greatest that stands for itself, less q.
    #[inline(always)]
    fn down(&self, x: i64) -> i64 {
        x.wrapping_sub(if x > self.top { self.q } else { 0 })
    }

    #[inline(always)]
    fn fields(&self, x: Signed) -> Words {
        let [m0, m1, m2, m3] = self.masks;
        let gap = self.gap;
        x.map(|x| {
            let u = (x as u64).wrapping_add(self.half);
            let apart = u & m0 | u << gap & m1 | u << (2 * gap) & m2 | u << (3 * gap) & m3;
            apart.wrapping_add(self.lift) ^ SIGNS
        })
    }
}

/// The words of eight values with these fields.
#[inline(always)]
fn store<const D: usize>(fields: Words, at: &mut [i32]) {
    for (pair, words) in at.chunks_exact_mut(D).enumerate() {
        for (d, word) in words.iter_mut().enumerate() {
            let digit = |value: u64| u32::from((value >> (16 * d)) as u16);
            *word = (digit(fields[2 * pair]) | digit(fields[2 * pair + 1]) << 16) as i32;
        }
    }
}
