//! Short-lived secret bytes on the stack, wiped at the speed of a memory fill.
//!
//! `zeroize` writes one element at a time with volatile stores: for a buffer of bytes that costs more than drawing the
//! randomness that was in it. Here a buffer is filled with zeros and then shown to
//! [`zeroize::optimization_barrier`], before which the compiler must have made the writes.
//!
//! | type | shape | holds |
//! |---|---|---|
//! | [`Scratch<N>`] | N bytes | bytes of a stream on their way to a sample |
//! | [`Small<N>`] | N signed bytes | small samples on their way to residues |
//!
//! Not promised: copies that the compiler keeps in registers or spills are not wiped.

use core::ops::{Deref, DerefMut};

/// N bytes, zero at first and again when dropped.
pub(crate) type Scratch<const N: usize> = Wiped<[u8; N]>;

/// N signed bytes, zero at first and again when dropped.
pub(crate) type Small<const N: usize> = Wiped<[i8; N]>;

/// An array that is wiped when it is dropped.
pub(crate) struct Wiped<T: Blank>(T);

/// Arrays of bytes, which know how to become zero.
pub(crate) trait Blank {
    /// All zero.
    const ZERO: Self;
}

impl<const N: usize> Blank for [u8; N] {
    const ZERO: Self = [0; N];
}

impl<const N: usize> Blank for [i8; N] {
    const ZERO: Self = [0; N];
}

impl<T: Blank> Wiped<T> {
    pub(crate) fn new() -> Self {
        Self(T::ZERO)
    }
}

impl<T: Blank> Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Blank> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Blank> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl<T: Blank> Wiped<T> {
    fn wipe(&mut self) {
        self.0 = T::ZERO;
        zeroize::optimization_barrier(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_at_first_and_after_a_wipe() {
        let mut bytes = Scratch::<100>::new();
        assert_eq!(*bytes, [0; 100]);
        bytes.fill(7);
        bytes.wipe();
        assert_eq!(*bytes, [0; 100]);
        let mut small = Small::<3>::new();
        small.copy_from_slice(&[-1, 0, 1]);
        small.wipe();
        assert_eq!(*small, [0; 3]);
    }
}
