//! Words on cache-line boundaries.
//!
//! Vector loads and stores that straddle two cache lines take twice as long, so weights and digits live in whole lines.
//! A buffer only ever grows, and what it holds between two uses is unspecified: its users write before they read.

#![expect(unsafe_code, reason = "a slice of lines seen as a slice of words")]

use super::decode::WIDTH;

/// Sixteen words, one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Vector(pub(crate) [i32; WIDTH]);

/// A growing stretch of words.
#[derive(Default)]
pub(crate) struct Buffer(Vec<Vector>);

impl Buffer {
    /// `len` words with unspecified values.
    pub(crate) fn words(&mut self, len: usize) -> &mut [i32] {
        let lines = len.div_ceil(WIDTH);
        if self.0.len() < lines {
            self.0 = vec![Vector::default(); lines];
        }
        // SAFETY: a `Vector` is sixteen words without padding, so `lines` of them are at least `len` words.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) }
    }
}
