//! Eight 32-bit lanes (AVX2).
#![expect(unsafe_code, reason = "vector instructions, and calls of target_feature functions")]

use core::arch::x86_64::*;

use super::simd::{Simd, entries};
use crate::ntt::Kernel;
use crate::ntt::lanes::Lanes;

/// Proof that this CPU has AVX2: values are made by [`Avx2::detect`] alone, and every SAFETY comment below rests on
/// that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    /// The proof, where the CPU has what [`Kernel::Avx2`] asks for (AVX2 among it).
    pub(super) fn detect() -> Option<Self> {
        Kernel::Avx2.detected().then_some(Self(()))
    }
}

entries!(Avx2, "avx2");

impl Lanes for Avx2 {
    type Word = u32;
    type V = __m256i;
    type Chunk = [u32; 8];
    const LANES: usize = 8;
    const MANY: bool = false;

    #[inline(always)]
    fn chunks(words: &[u32]) -> &[[u32; 8]] {
        words.as_chunks().0
    }

    #[inline(always)]
    fn chunks_mut(words: &mut [u32]) -> &mut [[u32; 8]] {
        words.as_chunks_mut().0
    }

    #[inline(always)]
    fn load(self, chunk: &[u32; 8]) -> __m256i {
        // SAFETY: see the type; the reference is to eight words.
        unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, chunk: &mut [u32; 8], x: __m256i) {
        // SAFETY: see the type; the reference is to eight words.
        unsafe { _mm256_storeu_si256(chunk.as_mut_ptr().cast(), x) }
    }

    #[inline(always)]
    fn splat(self, x: u32) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_set1_epi32(x as i32) }
    }

    #[inline(always)]
    fn repeat<const M: usize>(self, words: &[u32; M]) -> __m256i {
        let words = words.as_ptr();
        // SAFETY: see the type; each arm reads the M words that there are.
        unsafe {
            match M {
                1 => _mm256_set1_epi32(words.read() as i32),
                2 => _mm256_set1_epi64x(words.cast::<i64>().read_unaligned()),
                4 => _mm256_broadcastsi128_si256(_mm_loadu_si128(words.cast())),
                8 => _mm256_loadu_si256(words.cast()),
                _ => unreachable!("factors are repeated by powers of two"),
            }
        }
    }

    #[inline(always)]
    fn interleave(self, x: __m256i, y: __m256i) -> (__m256i, __m256i) {
        // SAFETY: see the type.
        unsafe {
            // Unpacking interleaves within the halves of a register.
            let (low, high) = (_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y));
            (_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high))
        }
    }

    #[inline(always)]
    fn separate(self, x: __m256i, y: __m256i) -> (__m256i, __m256i) {
        // SAFETY: see the type.
        unsafe {
            let order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
            let (x, y) = (_mm256_permutevar8x32_epi32(x, order), _mm256_permutevar8x32_epi32(y, order));
            (_mm256_permute2x128_si256::<0x20>(x, y), _mm256_permute2x128_si256::<0x31>(x, y))
        }
    }
}

impl Simd for Avx2 {
    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_sub_epi32(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_min_epu32(a, b) }
    }

    #[inline(always)]
    fn mul_low(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_mullo_epi32(a, b) }
    }

    #[inline(always)]
    fn add_if_less(self, a: __m256i, b: __m256i, x: __m256i, y: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe {
            let not_less = _mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a);
            _mm256_add_epi32(x, _mm256_andnot_si256(not_less, y))
        }
    }

    #[inline(always)]
    fn mul_first(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_mul_epu32(a, b) }
    }

    #[inline(always)]
    fn second(self, x: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_shuffle_epi32::<0b11_11_01_01>(x) }
    }

    #[inline(always)]
    fn merge_high(self, first: __m256i, second: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_blend_epi32::<0b10101010>(_mm256_shuffle_epi32::<0b11_11_01_01>(first), second) }
    }

    #[inline(always)]
    fn merge_low(self, first: __m256i, second: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_blend_epi32::<0b10101010>(first, _mm256_shuffle_epi32::<0b10_10_00_00>(second)) }
    }

    #[inline(always)]
    fn add_wide(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_add_epi64(a, b) }
    }

    #[inline(always)]
    fn high(self, x: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_srli_epi64::<32>(x) }
    }

    #[inline(always)]
    fn low(self, x: __m256i) -> __m256i {
        // SAFETY: see the type.
        unsafe { _mm256_and_si256(x, _mm256_set1_epi64x(0xffff_ffff)) }
    }
}
