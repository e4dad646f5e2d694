//! Vectors of one-time material that wipe themselves.
//!
//! The one home of secret words in this crate: what gates, garbled gates, products and look-ups keep between messages,
//! and the blocks of silent transfers. `Zeroize` for a vector overwrites what it holds word by word and its unused room
//! byte by byte, both volatile; for material that lives for a microsecond that costs more than the protocol. A [`Secret`]
//! has its full length from the beginning and never grows, so nothing moves and there is no unused room; one pass of
//! [`wipe`] clears all of it.
//!
//! Not promised: that the unused room of a vector that was made elsewhere ([`Secret::from`]) is cleared. Whoever hands
//! over a vector has never written there, or has wiped it.

use std::ops::{Deref, DerefMut};

use zeroize::ZeroizeOnDrop;

use crate::hash::wipe;

/// A vector of fixed length, wiped when dropped. Neither `Clone` nor `Debug`.
pub(crate) struct Secret<T: Copy + Default>(Vec<T>);

impl<T: Copy + Default> Secret<T> {
    /// `len` zeros, to be written in place.
    pub(crate) fn zeros(len: usize) -> Self {
        Self(vec![T::default(); len])
    }

    /// Another home for the same words.
    pub(crate) fn copy_of(words: &[T]) -> Self {
        Self(words.to_vec())
    }

    /// The vector itself: from here on the caller wipes it.
    pub(crate) fn into_inner(mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }
}

impl<T: Copy + Default> From<Vec<T>> for Secret<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<T: Copy + Default> Deref for Secret<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Copy + Default> DerefMut for Secret<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: Copy + Default> Drop for Secret<T> {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl<T: Copy + Default> ZeroizeOnDrop for Secret<T> {}
