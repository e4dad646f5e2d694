//! Four 32-bit lanes (aarch64 NEON). Wide products are those of the lower and of the upper lanes.
#![expect(unsafe_code, reason = "vector instructions, and calls of target_feature functions")]

use core::arch::aarch64::*;

use super::simd::{Simd, entries};
use crate::ntt::Kernel;
use crate::ntt::lanes::Lanes;

/// Proof that this CPU has NEON: values are made by [`Neon::detect`] alone, and every SAFETY comment below rests on
/// that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neon(());

impl Neon {
    /// The proof, where the CPU has what [`Kernel::Neon`] asks for.
    pub(super) fn detect() -> Option<Self> {
        Kernel::Neon.detected().then_some(Self(()))
    }
}

entries!(Neon, "neon");

impl Lanes for Neon {
    type Word = u32;
    type V = uint32x4_t;
    type Chunk = [u32; 4];
    const LANES: usize = 4;
    const MANY: bool = true;

    #[inline(always)]
    fn chunks(words: &[u32]) -> &[[u32; 4]] {
        words.as_chunks().0
    }

    #[inline(always)]
    fn chunks_mut(words: &mut [u32]) -> &mut [[u32; 4]] {
        words.as_chunks_mut().0
    }

    #[inline(always)]
    fn load(self, chunk: &[u32; 4]) -> uint32x4_t {
        // SAFETY: see the type; the reference is to four words.
        unsafe { vld1q_u32(chunk.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, chunk: &mut [u32; 4], x: uint32x4_t) {
        // SAFETY: see the type; the reference is to four words.
        unsafe { vst1q_u32(chunk.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn splat(self, x: u32) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vdupq_n_u32(x) }
    }

    #[inline(always)]
    fn repeat<const M: usize>(self, words: &[u32; M]) -> uint32x4_t {
        let words = words.as_ptr();
        // SAFETY: see the type; each arm reads the M words that there are.
        unsafe {
            match M {
                1 => vld1q_dup_u32(words),
                2 => {
                    let two = vld1_u32(words);
                    vcombine_u32(two, two)
                }
                4 => vld1q_u32(words),
                _ => unreachable!("factors are repeated by powers of two"),
            }
        }
    }

    #[inline(always)]
    fn interleave(self, x: uint32x4_t, y: uint32x4_t) -> (uint32x4_t, uint32x4_t) {
        // SAFETY: see the type.
        unsafe { (vzip1q_u32(x, y), vzip2q_u32(x, y)) }
    }

    #[inline(always)]
    fn separate(self, x: uint32x4_t, y: uint32x4_t) -> (uint32x4_t, uint32x4_t) {
        // SAFETY: see the type.
        unsafe { (vuzp1q_u32(x, y), vuzp2q_u32(x, y)) }
    }
}

impl Simd for Neon {
    #[inline(always)]
    fn add(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vaddq_u32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vsubq_u32(a, b) }
    }

    #[inline(always)]
    fn min(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vminq_u32(a, b) }
    }

    #[inline(always)]
    fn mul_low(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vmulq_u32(a, b) }
    }

    #[inline(always)]
    fn add_if_less(self, a: uint32x4_t, b: uint32x4_t, x: uint32x4_t, y: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vaddq_u32(x, vandq_u32(vcltq_u32(a, b), y)) }
    }

    #[inline(always)]
    fn mul_first(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vreinterpretq_u32_u64(vmull_u32(vget_low_u32(a), vget_low_u32(b))) }
    }

    #[inline(always)]
    fn second(self, x: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vextq_u32::<2>(x, x) }
    }

    #[inline(always)]
    fn merge_high(self, first: uint32x4_t, second: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vuzp2q_u32(first, second) }
    }

    #[inline(always)]
    fn merge_low(self, first: uint32x4_t, second: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vuzp1q_u32(first, second) }
    }

    #[inline(always)]
    fn add_wide(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vreinterpretq_u32_u64(vaddq_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b))) }
    }

    #[inline(always)]
    fn high(self, x: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vreinterpretq_u32_u64(vshrq_n_u64::<32>(vreinterpretq_u64_u32(x))) }
    }

    #[inline(always)]
    fn low(self, x: uint32x4_t) -> uint32x4_t {
        // SAFETY: see the type.
        unsafe { vandq_u32(x, vreinterpretq_u32_u64(vdupq_n_u64(0xffff_ffff))) }
    }
}
