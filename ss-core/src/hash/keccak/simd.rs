//! The permutation of eight states with AVX-512 (eight words per register) and AVX2 (four).
#![expect(unsafe_code, reason = "SIMD loads and stores")]

use super::{States, Word};
use core::arch::x86_64::*;

/// Permutes, where the machine has the instructions: says whether it was done.
#[inline]
pub(super) fn permute<const ROUNDS: usize>(states: &mut States) -> bool {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the instructions are there.
        unsafe { permute_512::<ROUNDS>(states) }
        return true;
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: as above.
        unsafe { permute_256::<ROUNDS>(states) }
        return true;
    }
    false
}

/// For use in functions with AVX-512F only.
#[derive(Clone, Copy)]
struct W512(__m512i);

impl Word for W512 {
    #[inline(always)]
    fn splat(word: u64) -> Self {
        // SAFETY: here and below, by the note on the type.
        unsafe { Self(_mm512_set1_epi64(word as i64)) }
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        unsafe { Self(_mm512_xor_si512(self.0, other.0)) }
    }
    #[inline(always)]
    fn chi(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm512_ternarylogic_epi64::<0xd2>(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    fn rotate<const LEFT: i32>(self) -> Self {
        unsafe { Self(_mm512_rol_epi64::<LEFT>(self.0)) }
    }
}

#[target_feature(enable = "avx512f")]
fn permute_512<const ROUNDS: usize>(states: &mut States) {
    let mut words = [W512(_mm512_setzero_si512()); 25];
    // SAFETY: every place has eight words.
    unsafe {
        for (word, state) in words.iter_mut().zip(states.iter()) {
            word.0 = _mm512_loadu_si512(state.as_ptr().cast());
        }
        super::permute::<_, ROUNDS>(&mut words);
        for (word, state) in words.iter().zip(states) {
            _mm512_storeu_si512(state.as_mut_ptr().cast(), word.0);
        }
    }
}

/// For use in functions with AVX2 only.
#[derive(Clone, Copy)]
struct W256(__m256i);

impl Word for W256 {
    #[inline(always)]
    fn splat(word: u64) -> Self {
        // SAFETY: here and below, by the note on the type.
        unsafe { Self(_mm256_set1_epi64x(word as i64)) }
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        unsafe { Self(_mm256_xor_si256(self.0, other.0)) }
    }
    #[inline(always)]
    fn chi(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm256_xor_si256(self.0, _mm256_andnot_si256(b.0, c.0))) }
    }
    #[inline(always)]
    fn rotate<const LEFT: i32>(self) -> Self {
        // Shifts by a count in a register, since 64 − LEFT is no constant of the trait.
        unsafe {
            let left = _mm256_sll_epi64(self.0, _mm_cvtsi32_si128(LEFT));
            let right = _mm256_srl_epi64(self.0, _mm_cvtsi32_si128(64 - LEFT));
            Self(_mm256_or_si256(left, right))
        }
    }
}

#[target_feature(enable = "avx2")]
fn permute_256<const ROUNDS: usize>(states: &mut States) {
    for half in [0, 4] {
        let mut words = [W256(_mm256_setzero_si256()); 25];
        // SAFETY: every place has four words from `half` on.
        unsafe {
            for (word, state) in words.iter_mut().zip(states.iter()) {
                word.0 = _mm256_loadu_si256(state[half..].as_ptr().cast());
            }
            super::permute::<_, ROUNDS>(&mut words);
            for (word, state) in words.iter().zip(states.iter_mut()) {
                _mm256_storeu_si256(state[half..].as_mut_ptr().cast(), word.0);
            }
        }
    }
}

/// Every way of this machine on a copy, twelve rounds, for the tests.
#[cfg(test)]
pub(super) fn all_permuted(states: &States) -> Vec<(&'static str, States)> {
    let mut ways = Vec::new();
    let (mut wide, mut narrow) = (*states, *states);
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the instructions are there.
        unsafe { permute_512::<12>(&mut wide) }
        ways.push(("avx512", wide));
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the instructions are there.
        unsafe { permute_256::<12>(&mut narrow) }
        ways.push(("avx2", narrow));
    }
    ways
}
