//! Sixteen 32-bit lanes (AVX-512F).
#![expect(unsafe_code, reason = "vector instructions, and calls of target_feature functions")]

use core::arch::x86_64::*;

use super::simd::{Simd, entries};
use crate::ntt::Kernel;
use crate::ntt::lanes::Lanes;

/// Proof that this CPU has AVX-512F: values are made by [`Avx512::detect`] alone, and every SAFETY comment below rests on
/// that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The proof, where the CPU has what [`Kernel::Avx512`] asks for (AVX-512F among it).
    pub(super) fn detect() -> Option<Self> {
        Kernel::Avx512.detected().then_some(Self(()))
    }
}

entries!(Avx512, "avx512f");

impl Lanes for Avx512 {
    type Word = u32;
    type V = __m512i;
    type Chunk = [u32; 16];
    const LANES: usize = 16;
    const MANY: bool = true;

    #[inline(always)]
    fn chunks(words: &[u32]) -> &[[u32; 16]] {
        words.as_chunks().0
    }

    #[inline(always)]
    fn chunks_mut(words: &mut [u32]) -> &mut [[u32; 16]] {
        words.as_chunks_mut().0
    }

    #[inline(always)]
    fn load(self, chunk: &[u32; 16]) -> __m512i {
        // SAFETY: see the type; the reference is to sixteen words.
        unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, chunk: &mut [u32; 16], x: __m512i) {
        // SAFETY: see the type; the reference is to sixteen words.
        unsafe { _mm512_storeu_si512(chunk.as_mut_ptr().cast(), x) }
    }

    #[inline(always)]
    fn splat(self, x: u32) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_set1_epi32(x as i32) }
    }

    #[inline(always)]
    fn repeat<const M: usize>(self, words: &[u32; M]) -> __m512i {
        let words = words.as_ptr();
        // SAFETY: see the type; each arm reads the M words that there are.
        unsafe {
            match M {
                1 => _mm512_set1_epi32(words.read() as i32),
                2 => _mm512_set1_epi64(words.cast::<i64>().read_unaligned()),
                4 => _mm512_broadcast_i32x4(_mm_loadu_si128(words.cast())),
                8 => _mm512_broadcast_i64x4(_mm256_loadu_si256(words.cast())),
                16 => _mm512_loadu_si512(words.cast()),
                _ => unreachable!("factors are repeated by powers of two"),
            }
        }
    }

    #[inline(always)]
    fn interleave(self, x: __m512i, y: __m512i) -> (__m512i, __m512i) {
        // SAFETY: see the type.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            (_mm512_permutex2var_epi32(x, low, y), _mm512_permutex2var_epi32(x, high, y))
        }
    }

    #[inline(always)]
    fn separate(self, x: __m512i, y: __m512i) -> (__m512i, __m512i) {
        // SAFETY: see the type.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            (_mm512_permutex2var_epi32(x, even, y), _mm512_permutex2var_epi32(x, odd, y))
        }
    }
}

impl Simd for Avx512 {
    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_sub_epi32(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_min_epu32(a, b) }
    }

    #[inline(always)]
    fn mul_low(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_mullo_epi32(a, b) }
    }

    #[inline(always)]
    fn add_if_less(self, a: __m512i, b: __m512i, x: __m512i, y: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_mask_add_epi32(x, _mm512_cmplt_epu32_mask(a, b), x, y) }
    }

    #[inline(always)]
    fn mul_first(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_mul_epu32(a, b) }
    }

    #[inline(always)]
    fn second(self, x: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_shuffle_epi32::<0b11_11_01_01>(x) }
    }

    #[inline(always)]
    fn merge_high(self, first: __m512i, second: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_mask_shuffle_epi32::<0b11_11_01_01>(second, 0x5555, first) }
    }

    #[inline(always)]
    fn merge_low(self, first: __m512i, second: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_mask_shuffle_epi32::<0b10_10_00_00>(first, 0xaaaa, second) }
    }

    #[inline(always)]
    fn add_wide(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_add_epi64(a, b) }
    }

    #[inline(always)]
    fn high(self, x: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_srli_epi64::<32>(x) }
    }

    #[inline(always)]
    fn low(self, x: __m512i) -> __m512i {
        // SAFETY: see the type.
        unsafe { _mm512_and_si512(x, _mm512_set1_epi64(0xffff_ffff)) }
    }
}
