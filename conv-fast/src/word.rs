//! The words that elements come in: `u32` for rings of at most 32 bits, `u64` for all.
//!
//! An element of a ring of b bits fits any word of b bits or more. Half the bytes in and out count where a layer does little
//! with each value: 1×1 layers with few channels, depthwise ones. Words are little else than their width; the arithmetic behind
//! them is the same, so that a layer gives the same elements in either.
//!
//! | word | rings | bytes of an element |
//! |---|---|---|
//! | `u32` | Z_q with q < 2^32, Z_2^k with k ≤ 32 | 4 |
//! | `u64` | all | 8 |
//!
//! A word that is too short for the ring is refused ([`ConvError::Word`](crate::ConvError::Word)); nothing is ever cut off.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "SIMD loads and stores"))]

/// A word that holds elements of a ring: `u32` or `u64`.
pub trait Word: sealed::Sealed {
    /// Bits of the word.
    const BITS: u32;

    /// An element as 64 bits.
    fn to_u64(self) -> u64;

    /// The low [`Word::BITS`] bits: the element itself, if it belongs to a ring that the word serves.
    fn from_u64(element: u64) -> Self;
}

mod sealed {
    use std::fmt::Debug;

    /// Nobody else can add words: kernels rely on the two that there are, plain memory of four and eight bytes.
    pub trait Sealed: Copy + Debug + Default + PartialEq + Send + Sync + 'static {
        /// The slice itself, if its words are `u64`.
        fn as_u64(words: &[Self]) -> Option<&[u64]>;
        /// As [`Sealed::as_u64`].
        fn as_u64_mut(words: &mut [Self]) -> Option<&mut [u64]>;
    }
}

impl sealed::Sealed for u32 {
    fn as_u64(_: &[Self]) -> Option<&[u64]> {
        None
    }

    fn as_u64_mut(_: &mut [Self]) -> Option<&mut [u64]> {
        None
    }
}

impl sealed::Sealed for u64 {
    fn as_u64(words: &[Self]) -> Option<&[u64]> {
        Some(words)
    }

    fn as_u64_mut(words: &mut [Self]) -> Option<&mut [u64]> {
        Some(words)
    }
}

impl Word for u32 {
    const BITS: u32 = 32;

    #[inline(always)]
    fn to_u64(self) -> u64 {
        u64::from(self)
    }

    #[inline(always)]
    fn from_u64(element: u64) -> Self {
        element as u32
    }
}

impl Word for u64 {
    const BITS: u32 = 64;

    #[inline(always)]
    fn to_u64(self) -> u64 {
        self
    }

    #[inline(always)]
    fn from_u64(element: u64) -> Self {
        element
    }
}

/// Eight words in and out of 512-bit registers of 64-bit lanes. The mask has a bit for each word that is touched; words that
/// are not loaded are zero.
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512 {
    use super::Word;
    use std::arch::x86_64::*;

    /// # Safety
    /// The machine has the features; `from` points to eight words.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(crate) unsafe fn load<W: Word>(from: *const W) -> __m512i {
        // SAFETY: by the caller's promise.
        unsafe {
            if W::BITS == 32 {
                _mm512_cvtepu32_epi64(_mm256_loadu_si256(from.cast()))
            } else {
                _mm512_loadu_si512(from.cast())
            }
        }
    }

    /// # Safety
    /// The machine has the features; `from` points to the words that the mask names.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(crate) unsafe fn load_some<W: Word>(mask: u8, from: *const W) -> __m512i {
        // SAFETY: by the caller's promise.
        unsafe {
            if W::BITS == 32 {
                _mm512_cvtepu32_epi64(_mm256_maskz_loadu_epi32(mask, from.cast()))
            } else {
                _mm512_maskz_loadu_epi64(mask, from.cast())
            }
        }
    }

    /// # Safety
    /// The machine has the features; `to` points to eight words.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(crate) unsafe fn store<W: Word>(to: *mut W, words: __m512i) {
        // SAFETY: by the caller's promise.
        unsafe {
            if W::BITS == 32 {
                _mm256_storeu_si256(to.cast(), _mm512_cvtepi64_epi32(words));
            } else {
                _mm512_storeu_si512(to.cast(), words);
            }
        }
    }

    /// # Safety
    /// The machine has the features; `to` points to the words that the mask names.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(crate) unsafe fn store_some<W: Word>(mask: u8, to: *mut W, words: __m512i) {
        // SAFETY: by the caller's promise.
        unsafe {
            if W::BITS == 32 {
                _mm256_mask_storeu_epi32(to.cast(), mask, _mm512_cvtepi64_epi32(words));
            } else {
                _mm512_mask_storeu_epi64(to.cast(), mask, words);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back() {
        for element in [0, 1, 4_294_955_008, u64::from(u32::MAX)] {
            assert_eq!(<u32 as Word>::from_u64(element).to_u64(), element);
        }
        assert_eq!(<u64 as Word>::from_u64(u64::MAX).to_u64(), u64::MAX);
        assert!(sealed::Sealed::as_u64(&[1u32]).is_none() && sealed::Sealed::as_u64(&[1u64]).is_some());
    }

    /// Loads and stores of all masks touch the words they name and no others.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn masks() {
        use std::arch::x86_64::_mm512_add_epi64;

        #[target_feature(enable = "avx512f,avx512vl")]
        fn twice<W: Word>(mask: u8, from: &[W; 8], to: &mut [W; 8], all: &mut [W; 8]) {
            // SAFETY: eight words each.
            unsafe {
                let some = avx512::load_some(mask, from.as_ptr());
                avx512::store_some(mask, to.as_mut_ptr(), _mm512_add_epi64(some, some));
                avx512::store(all.as_mut_ptr(), _mm512_add_epi64(some, avx512::load(from.as_ptr())));
            }
        }

        fn check<W: Word>() {
            let from: [W; 8] = std::array::from_fn(|i| W::from_u64(3 + i as u64));
            for mask in 0..=u8::MAX {
                let (mut to, mut all) = ([W::from_u64(77); 8], [W::default(); 8]);
                // SAFETY: the caller found the features.
                unsafe { twice(mask, &from, &mut to, &mut all) };
                for i in 0..8 {
                    let (named, word) = (mask >> i & 1 == 1, 3 + i as u64);
                    assert_eq!(to[i].to_u64(), if named { 2 * word } else { 77 }, "{mask:b}");
                    assert_eq!(all[i].to_u64(), if named { 2 * word } else { word }, "{mask:b}");
                }
            }
        }

        if crate::Kernel::Avx512.is_available() {
            check::<u32>();
            check::<u64>();
        }
    }
}
