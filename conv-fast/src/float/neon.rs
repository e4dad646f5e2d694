//! NEON vectors: four vectors of floats, or of doubles, are one block of output channels.
//!
//! A register tile of one block and six pixels keeps 24 of the 32 registers for sums.

#![expect(unsafe_code, reason = "SIMD intrinsics")]

use super::lanes::{Lanes, tiles};
use std::arch::aarch64::*;

macro_rules! vector {
    ($vector:ident: $number:ty, $len:literal, $splat:ident $load:ident $store:ident $add:ident $sub:ident $mul:ident $fma:ident) => {
        impl Lanes for $vector {
            type Number = $number;
            const LEN: usize = $len;
            tiles!((1, 4, 6, 4, 2, 1));

            #[inline(always)]
            unsafe fn splat(value: $number) -> Self {
                // SAFETY: NEON belongs to every 64-bit ARM.
                unsafe { $splat(value) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $number) -> Self {
                // SAFETY: the numbers can be read.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $number) {
                // SAFETY: the numbers can be written.
                unsafe { $store(to, self) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: NEON belongs to every 64-bit ARM.
                unsafe { $add(self, other) }
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                // SAFETY: NEON belongs to every 64-bit ARM.
                unsafe { $sub(self, other) }
            }
            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                // SAFETY: NEON belongs to every 64-bit ARM.
                unsafe { $mul(self, other) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
                // SAFETY: NEON belongs to every 64-bit ARM.
                unsafe { $fma(sum, self, factor) }
            }
        }
    };
}

vector!(float32x4_t: f32, 4, vdupq_n_f32 vld1q_f32 vst1q_f32 vaddq_f32 vsubq_f32 vmulq_f32 vfmaq_f32);
vector!(float64x2_t: f64, 2, vdupq_n_f64 vld1q_f64 vst1q_f64 vaddq_f64 vsubq_f64 vmulq_f64 vfmaq_f64);
