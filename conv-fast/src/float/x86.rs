//! AVX2 and AVX-512 vectors.
//!
//! Register tiles, in vectors of sums of the 32 (AVX-512) or 16 (AVX2) registers; each multiply-add reads registers only,
//! and a tile of V vectors and P pixels loads V + P operands for V·P multiply-adds, of which two can start per cycle, as
//! can two loads. At least eight sums are needed to hide the latency of four cycles.
//!
//! | set | blocks × pixels | sums | operands per multiply-add |
//! |---|---|---|---|
//! | AVX-512 | 1×12, 2×8, 3×8, 4×6 | 12, 16, 24, 24 | 1.08, 0.63, 0.46, 0.42 |
//! | AVX2 | 1×6 (two vectors a block) | 12 | 0.67 |

#![expect(unsafe_code, reason = "SIMD intrinsics")]

use super::lanes::{Lanes, loads, stores, tiles};
use std::arch::x86_64::*;

macro_rules! vector {
    ($vector:ident: $number:ty, $len:literal, $splat:ident $load:ident $store:ident $add:ident $sub:ident $mul:ident $fma:ident,
     $transpose:ident, [$($some:item)*], $($tile:tt),+) => {
        impl Lanes for $vector {
            type Number = $number;
            const LEN: usize = $len;
            tiles!($($tile),+);

            #[inline(always)]
            unsafe fn splat(value: $number) -> Self {
                // SAFETY: the machine has the set.
                unsafe { $splat(value) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $number) -> Self {
                // SAFETY: the machine has the set, the numbers can be read.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $number) {
                // SAFETY: the machine has the set, the numbers can be written.
                unsafe { $store(to, self) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the machine has the set.
                unsafe { $add(self, other) }
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                // SAFETY: the machine has the set.
                unsafe { $sub(self, other) }
            }
            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                // SAFETY: the machine has the set.
                unsafe { $mul(self, other) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
                // SAFETY: the machine has the set.
                unsafe { $fma(self, factor, sum) }
            }
            $(#[inline(always)] $some)*
            #[inline(always)]
            unsafe fn transpose(from: *const $number, from_step: usize, to: *mut $number, to_step: usize) {
                // SAFETY: the machine has the set; rows inside the squares.
                unsafe {
                    stores(&$transpose(loads::<Self, $len>(from, from_step)), to, to_step);
                }
            }
        }
    };
}

vector!(__m512: f32, 16, _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps
    _mm512_fmadd_ps, transpose_16,
    [
        unsafe fn load_some(from: *const f32, count: usize) -> Self {
            // SAFETY: the machine has the set, and only these lanes are read.
            unsafe { _mm512_maskz_loadu_ps(((1 << count) - 1_u32) as __mmask16, from) }
        }
        unsafe fn store_some(self, to: *mut f32, count: usize) {
            // SAFETY: the machine has the set, and only these lanes are written.
            unsafe { _mm512_mask_storeu_ps(to, ((1 << count) - 1_u32) as __mmask16, self) }
        }
        unsafe fn halves(first: Self, second: Self) -> [Self; 2] {
            // SAFETY: the machine has the set.
            unsafe {
                let even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
                let odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
                [_mm512_permutex2var_ps(first, even, second), _mm512_permutex2var_ps(first, odd, second)]
            }
        }
    ], (1, 1, 12, 4, 2, 1), (2, 2, 8, 4, 2, 1), (3, 3, 8, 4, 2, 1), (4, 4, 6, 4, 2, 1));
vector!(__m512d: f64, 8, _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_add_pd _mm512_sub_pd _mm512_mul_pd
    _mm512_fmadd_pd, transpose_8_wide,
    [
        unsafe fn load_some(from: *const f64, count: usize) -> Self {
            // SAFETY: the machine has the set, and only these lanes are read.
            unsafe { _mm512_maskz_loadu_pd(((1 << count) - 1_u16) as __mmask8, from) }
        }
        unsafe fn store_some(self, to: *mut f64, count: usize) {
            // SAFETY: the machine has the set, and only these lanes are written.
            unsafe { _mm512_mask_storeu_pd(to, ((1 << count) - 1_u16) as __mmask8, self) }
        }
        unsafe fn halves(first: Self, second: Self) -> [Self; 2] {
            // SAFETY: the machine has the set.
            unsafe {
                let even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
                let odd = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
                [_mm512_permutex2var_pd(first, even, second), _mm512_permutex2var_pd(first, odd, second)]
            }
        }
    ], (1, 1, 12, 4, 2, 1), (2, 2, 8, 4, 2, 1), (3, 3, 8, 4, 2, 1), (4, 4, 6, 4, 2, 1));
vector!(__m256: f32, 8, _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps
    _mm256_fmadd_ps, transpose_8,
    [
        unsafe fn halves(first: Self, second: Self) -> [Self; 2] {
            // SAFETY: the machine has the set.
            unsafe {
                // Pairs of the first and the second, alternating.
                let even = _mm256_castps_pd(_mm256_shuffle_ps::<0b10_00_10_00>(first, second));
                let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0b11_01_11_01>(first, second));
                [
                    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(even)),
                    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(odd)),
                ]
            }
        }
    ], (1, 2, 6, 4, 2, 1));
vector!(__m256d: f64, 4, _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_add_pd _mm256_sub_pd _mm256_mul_pd
    _mm256_fmadd_pd, transpose_4,
    [
        unsafe fn halves(first: Self, second: Self) -> [Self; 2] {
            // SAFETY: the machine has the set.
            unsafe {
                [
                    _mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_unpacklo_pd(first, second)),
                    _mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_unpackhi_pd(first, second)),
                ]
            }
        }
    ], (1, 2, 6, 4, 2, 1));

/// Interleaves 64-bit pairs of four rows of floats, within each 128-bit quarter: [a₀ b₀ c₀ d₀ | ...] and so on.
#[inline(always)]
unsafe fn quads([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
        let high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
        let other_low = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
        let other_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
        [
            _mm512_castpd_ps(_mm512_unpacklo_pd(low, other_low)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(low, other_low)),
            _mm512_castpd_ps(_mm512_unpacklo_pd(high, other_high)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(high, other_high)),
        ]
    }
}

/// The transpose of a square of 16 rows.
///
/// # Safety
/// The machine has AVX-512 F.
#[inline(always)]
unsafe fn transpose_16(rows: [__m512; 16]) -> [__m512; 16] {
    // SAFETY: the caller has the instruction set.
    unsafe {
        // In quarter g of parts[f][i]: column 4g + i of rows 4f to 4f + 3.
        let mut parts = [[rows[0]; 4]; 4];
        for (f, parts) in parts.iter_mut().enumerate() {
            *parts = quads([rows[4 * f], rows[4 * f + 1], rows[4 * f + 2], rows[4 * f + 3]]);
        }
        let mut out = rows;
        for i in 0..4 {
            let [a, b, c, d] = [parts[0][i], parts[1][i], parts[2][i], parts[3][i]];
            let ab_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
            let ab_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
            let cd_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d);
            let cd_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d);
            out[i] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_even, cd_even);
            out[4 + i] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_odd, cd_odd);
            out[8 + i] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_even, cd_even);
            out[12 + i] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_odd, cd_odd);
        }
        out
    }
}

/// The transpose of a square of 8 rows of doubles.
///
/// # Safety
/// The machine has AVX-512 F.
#[inline(always)]
unsafe fn transpose_8_wide(rows: [__m512d; 8]) -> [__m512d; 8] {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let mut out = rows;
        for i in 0..2 {
            // In quarter g: column 2g + i of two rows.
            let mut pairs = [rows[0]; 4];
            for (f, pair) in pairs.iter_mut().enumerate() {
                let (a, b) = (rows[2 * f], rows[2 * f + 1]);
                *pair = if i == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) };
            }
            let [a, b, c, d] = pairs;
            let ab_even = _mm512_shuffle_f64x2::<0b10_00_10_00>(a, b);
            let ab_odd = _mm512_shuffle_f64x2::<0b11_01_11_01>(a, b);
            let cd_even = _mm512_shuffle_f64x2::<0b10_00_10_00>(c, d);
            let cd_odd = _mm512_shuffle_f64x2::<0b11_01_11_01>(c, d);
            out[i] = _mm512_shuffle_f64x2::<0b10_00_10_00>(ab_even, cd_even);
            out[2 + i] = _mm512_shuffle_f64x2::<0b10_00_10_00>(ab_odd, cd_odd);
            out[4 + i] = _mm512_shuffle_f64x2::<0b11_01_11_01>(ab_even, cd_even);
            out[6 + i] = _mm512_shuffle_f64x2::<0b11_01_11_01>(ab_odd, cd_odd);
        }
        out
    }
}

/// The transpose of a square of 8 rows.
///
/// # Safety
/// The machine has AVX.
#[inline(always)]
unsafe fn transpose_8(rows: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let mut out = rows;
        // In half g of parts[f][i]: column 4g + i of rows 4f to 4f + 3.
        let mut parts = [[rows[0]; 4]; 2];
        for (f, parts) in parts.iter_mut().enumerate() {
            let [a, b, c, d] = [rows[4 * f], rows[4 * f + 1], rows[4 * f + 2], rows[4 * f + 3]];
            let low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b));
            let high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
            let other_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
            let other_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
            *parts = [
                _mm256_castpd_ps(_mm256_unpacklo_pd(low, other_low)),
                _mm256_castpd_ps(_mm256_unpackhi_pd(low, other_low)),
                _mm256_castpd_ps(_mm256_unpacklo_pd(high, other_high)),
                _mm256_castpd_ps(_mm256_unpackhi_pd(high, other_high)),
            ];
        }
        for i in 0..4 {
            out[i] = _mm256_permute2f128_ps::<0x20>(parts[0][i], parts[1][i]);
            out[4 + i] = _mm256_permute2f128_ps::<0x31>(parts[0][i], parts[1][i]);
        }
        out
    }
}

/// The transpose of a square of 4 rows of doubles.
///
/// # Safety
/// The machine has AVX.
#[inline(always)]
unsafe fn transpose_4([a, b, c, d]: [__m256d; 4]) -> [__m256d; 4] {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let (ab_even, ab_odd) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
        let (cd_even, cd_odd) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
        [
            _mm256_permute2f128_pd::<0x20>(ab_even, cd_even),
            _mm256_permute2f128_pd::<0x20>(ab_odd, cd_odd),
            _mm256_permute2f128_pd::<0x31>(ab_even, cd_even),
            _mm256_permute2f128_pd::<0x31>(ab_odd, cd_odd),
        ]
    }
}
