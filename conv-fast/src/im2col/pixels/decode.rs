//! From the sums of digits to elements, in registers, and into the planes.
//!
//! S = Σ_d t_d·2^(b·d) with |t_d| < 2^31 is reduced modulo q in one of three ways, chosen at preparation:
//!
//! - *Close*: two digits of 16 bits and q = 2^32 − δ with 0 < δ < 2^15, as the largest primes of transforms are. With
//!   a = t_1 + ⌊t_0/2^16⌋, h = ⌊a/2^16⌋ + 2^15 and l the low 32 bits of S, S + 2^47 = h·2^32 + l with 0 ≤ h < 2^16; so sums start
//!   from −2^47, and the element is l + h·δ modulo q, which is less than 2·q. In 32-bit lanes (h + 1)·δ + l has a carry just if
//!   l + h·δ is at least q, and what remains is l + h·δ − q then; or else a δ too many is taken away again.
//! - *Short*: two digits and q < 2^31: the quotient, less than 2^18, in single precision. Conversions, constants and sums are
//!   off by 2^-22 of it in all, less than 1/8, so that what is left is below 1.25·q < 2^32: its low 32 bits are all of it.
//! - *Long*: any q < 2^52, as [`crate::matmul`] does it: eight lanes of 64 bits, the quotient in double
//!   precision. Over Z_2^k all quotients are zero, and the low bits are kept.
//!
//! Of a piece's sixteen elements those that exist are moved together and stored.

#![expect(unsafe_code, reason = "SIMD stores")]

use super::layout::Piece;
use crate::matmul::{Cut, multiply_add};
use crate::word::avx512::{store, store_some};
use crate::{Ring, Word};
use std::arch::x86_64::*;

/// 1.5·2^52, whose neighbours are integers.
const MAGIC: f64 = 6_755_399_441_055_744.0;

/// The way to reduce.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Close { delta: i32 },
    Short { factors: [f32; 2] },
    Long { factors: [f64; 2], correction: i64, mask: u64 },
}

/// Constants of one ring and cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decode {
    way: Way,
    bits: u32,
    q: u64,
}

impl Decode {
    /// For sums with Σ|w| ≤ `norm` that are never folded, or folded ones if that is `u64::MAX`.
    pub(super) fn new(ring: &Ring, cut: &Cut, norm: u64) -> Self {
        let bits = cut.bits;
        let Ring::Prime(modulus) = ring else {
            let way = Way::Long { factors: [0.0; 2], correction: 0, mask: ring.greatest() };
            return Self { way, bits, q: 0 };
        };
        let q = modulus.value();
        let base = 2f64.powi(bits as i32);
        // Greatest size of a sum, and of a quotient.
        let sum = (norm as f64 * base / 2.0 + 65_536.0).min(2f64.powi(31));
        let quotient = sum * (1.0 + base) / q as f64;
        let delta = (1u64 << 32).saturating_sub(q);
        let way = if cut.digits == 2 && bits == 16 && (1..1 << 15).contains(&delta) {
            Way::Close { delta: delta as i32 }
        } else if cut.digits == 2 && q < 1 << 31 && quotient < 262_144.0 {
            Way::Short { factors: [1.0, base].map(|unit| (unit / q as f64) as f32) }
        } else {
            let factors = [1.0, base * base].map(|unit| unit / q as f64);
            Way::Long { factors, correction: q.wrapping_mul(MAGIC.to_bits()) as i64, mask: u64::MAX }
        };
        Self { way, bits, q }
    }

    /// What sums have to start from.
    pub(super) fn offset(&self, ring: &Ring) -> u64 {
        match self.way {
            Way::Close { .. } => ring.from_i64(-(1 << 47)),
            _ => 0,
        }
    }

    /// Reduces the sums of M outputs at one piece and stores those that exist, output m in the plane that starts m·plane words
    /// after `out`.
    ///
    /// # Safety
    /// The machine has AVX-512 F, BW, DQ, VL, VNNI; the places of the piece lie in all planes, and nobody else writes there.
    #[inline(always)]
    pub(super) unsafe fn store<W: Word, const D: usize, const M: usize>(
        &self,
        sums: [[__m512i; D]; M],
        piece: Piece,
        out: *mut W,
        plane: usize,
    ) {
        let out = out.wrapping_add(piece.place as usize);
        // The choice is made once, not for each vector. A loop over outputs, if the compiler left it one, would keep the sums in
        // memory from the start.
        macro_rules! each {
            (|$sums:ident| $put:ident($value:expr)) => {
                each!(|$sums| $put($value), 0 1 2 3 4 5 6 7 8 9 10 11)
            };
            (|$sums:ident| $put:ident($value:expr), $($m:literal)*) => {{
                $(if let Some(&$sums) = sums.get($m) {
                    let out = out.wrapping_add($m * plane);
                    $put(piece.mask, out, $value);
                })*
            }};
        }
        // SAFETY: the caller's promises.
        unsafe {
            match self.way {
                Way::Close { delta } if D == 2 => each!(|t| put(close(t[0], t[1], delta))),
                Way::Short { factors } if D == 2 => each!(|t| put(self.short(t[0], t[1], factors))),
                _ => each!(|t| put_long(self.long(halves(t)))),
            }
        }
    }

    /// # Safety
    /// The machine has AVX-512 F.
    #[inline(always)]
    unsafe fn short(&self, low: __m512i, high: __m512i, factors: [f32; 2]) -> __m512i {
        // SAFETY: arithmetic on registers.
        unsafe {
            let q = _mm512_set1_epi32(self.q as i32);
            // Rounded to the nearest this is the quotient or one less.
            let (start, low_factor) = (_mm512_set1_ps(-0.625), _mm512_set1_ps(factors[0]));
            let estimate = _mm512_fmadd_ps(_mm512_cvtepi32_ps(low), low_factor, start);
            let estimate = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), _mm512_set1_ps(factors[1]), estimate);
            let high = _mm512_sll_epi32(high, _mm_cvtsi32_si128(self.bits as i32));
            let multiple = _mm512_mullo_epi32(_mm512_cvtps_epi32(estimate), q);
            let rest = _mm512_sub_epi32(_mm512_add_epi32(low, high), multiple);
            _mm512_min_epu32(rest, _mm512_sub_epi32(rest, q))
        }
    }

    /// Digits 0 and 1, digits 2 and 3, and all of them (modulo 2^64).
    ///
    /// # Safety
    /// The machine has AVX-512 F.
    #[inline(always)]
    unsafe fn pairs<const D: usize>(&self, t: [__m512i; D]) -> (__m512i, __m512i, __m512i) {
        // SAFETY: arithmetic on registers.
        unsafe {
            let bits = _mm_cvtsi32_si128(self.bits as i32);
            let low = if D > 1 { _mm512_add_epi64(t[0], _mm512_sll_epi64(t[1], bits)) } else { t[0] };
            if D <= 2 {
                return (low, _mm512_setzero_si512(), low);
            }
            let high = if D > 3 { _mm512_add_epi64(t[2], _mm512_sll_epi64(t[3], bits)) } else { t[2] };
            let moved = _mm512_sll_epi64(high, _mm_cvtsi32_si128(2 * self.bits as i32));
            (low, high, _mm512_add_epi64(low, moved))
        }
    }

    /// # Safety
    /// The machine has AVX-512 F and DQ.
    #[inline(always)]
    unsafe fn long<const D: usize>(&self, halves: [[__m512i; D]; 2]) -> [__m512i; 2] {
        let Way::Long { factors, correction, mask } = self.way else { unreachable!("another way") };
        // SAFETY: arithmetic on registers.
        unsafe {
            let mut out = [_mm512_setzero_si512(); 2];
            for (out, t) in out.iter_mut().zip(halves) {
                let (low, high, sum) = self.pairs(t);
                let (start, low_factor) = (_mm512_set1_pd(-0.75), _mm512_set1_pd(factors[0]));
                let mut estimate = _mm512_fmadd_pd(_mm512_cvtepi64_pd(low), low_factor, start);
                if D > 2 {
                    estimate =
                        _mm512_fmadd_pd(_mm512_cvtepi64_pd(high), _mm512_set1_pd(factors[1]), estimate);
                }
                let quotient = _mm512_castpd_si512(_mm512_add_pd(estimate, _mm512_set1_pd(MAGIC)));
                let q = _mm512_set1_epi64(self.q as i64);
                let sum = _mm512_add_epi64(sum, _mm512_set1_epi64(correction));
                let rest = _mm512_sub_epi64(sum, _mm512_mullo_epi64(quotient, q));
                let least = _mm512_min_epu64(rest, _mm512_sub_epi64(rest, q));
                *out = _mm512_and_si512(least, _mm512_set1_epi64(mask as i64));
            }
            out
        }
    }
}

/// # Safety
/// The machine has AVX-512 F and VNNI.
#[inline(always)]
unsafe fn close(low: __m512i, high: __m512i, delta: i32) -> __m512i {
    // SAFETY: arithmetic on registers.
    unsafe {
        let a = _mm512_add_epi32(high, _mm512_srai_epi32::<16>(low));
        let l = _mm512_add_epi32(low, _mm512_slli_epi32::<16>(high));
        // δ·(h + 1) of a's upper half.
        let more = multiply_add(_mm512_set1_epi32((delta << 15) + delta), a, _mm512_set1_epi32(delta << 16));
        let sum = _mm512_add_epi32(l, more);
        let below = _mm512_cmpge_epu32_mask(sum, l);
        _mm512_mask_sub_epi32(sum, below, sum, _mm512_set1_epi32(delta))
    }
}

/// Sums in 64 bits, eight and eight.
///
/// # Safety
/// The machine has AVX-512 F.
#[inline(always)]
unsafe fn halves<const D: usize>(sums: [__m512i; D]) -> [[__m512i; D]; 2] {
    // SAFETY: arithmetic on registers.
    unsafe {
        let mut halves = [sums; 2];
        for (d, sum) in sums.into_iter().enumerate() {
            halves[0][d] = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(sum));
            halves[1][d] = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(sum));
        }
        halves
    }
}

/// Stores the elements that the mask names of sixteen in 32 bits each, one after the other.
///
/// # Safety
/// The machine has AVX-512 F and VL; `to` points to as many words as the mask has bits.
#[inline(always)]
unsafe fn put<W: Word>(mask: u16, to: *mut W, elements: __m512i) {
    // SAFETY: by the caller's promise.
    unsafe {
        if mask == u16::MAX && W::BITS == 32 {
            _mm512_storeu_si512(to.cast(), elements);
            return;
        }
        let elements = _mm512_maskz_compress_epi32(mask, elements);
        let mask = ((1u32 << mask.count_ones()) - 1) as u16;
        if W::BITS == 32 {
            _mm512_mask_storeu_epi32(to.cast(), mask, elements);
        } else {
            store_some(mask as u8, to, _mm512_cvtepu32_epi64(_mm512_castsi512_si256(elements)));
            let high = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64::<1>(elements));
            store_some((mask >> 8) as u8, to.wrapping_add(8), high);
        }
    }
}

/// As [`put`] for twice eight in 64 bits each.
///
/// # Safety
/// As [`put`].
#[inline(always)]
unsafe fn put_long<W: Word>(mask: u16, to: *mut W, [low, high]: [__m512i; 2]) {
    // SAFETY: by the caller's promise.
    unsafe {
        if mask == u16::MAX {
            store(to, low);
            store(to.wrapping_add(8), high);
            return;
        }
        let (first, second) = (mask as u8, (mask >> 8) as u8);
        let (count, more) = (first.count_ones(), second.count_ones());
        store_some(((1u32 << count) - 1) as u8, to, _mm512_maskz_compress_epi64(first, low));
        let high = _mm512_maskz_compress_epi64(second, high);
        store_some(((1u32 << more) - 1) as u8, to.wrapping_add(count as usize), high);
    }
}
