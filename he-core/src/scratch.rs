//! Short-lived secrets, wiped at the speed of a memory fill.
//!
//! `zeroize` writes one element at a time with volatile stores: for a buffer of bytes that costs as much as drawing the
//! randomness that was in it. Here a buffer is filled with zeros and then shown to
//! [`zeroize::optimization_barrier`], before which the compiler must have made the writes.
//!
//! | type | holds |
//! |---|---|
//! | [`Wiped<[T; N]>`](Wiped) | N values on the stack |
//! | [`Wiped<Vec<T>>`](Wiped) | a vector; its room beyond the length is not wiped |
//! | [`Scratch<N>`] | N bytes of a stream on their way to a sample |
//! | [`Small<N>`] | N small samples on their way to residues |
//!
//! Not promised: copies that the compiler keeps in registers or spills are not wiped.

use core::ops::{Deref, DerefMut};

/// N bytes, zero at first and again when dropped.
pub(crate) type Scratch<const N: usize> = Wiped<[u8; N]>;

/// N signed bytes, zero at first and again when dropped.
pub(crate) type Small<const N: usize> = Wiped<[i8; N]>;

/// Values that are wiped when they are dropped.
pub(crate) struct Wiped<C: Wipe>(C);

/// What [`Wiped`] can hold.
pub(crate) trait Wipe {
    /// Sets everything to zero, however little the compiler thinks of it.
    fn wipe(&mut self);
}

impl<T: Copy + Default> Wipe for [T] {
    fn wipe(&mut self) {
        self.fill(T::default());
        zeroize::optimization_barrier(self);
    }
}

impl<T: Copy + Default, const N: usize> Wipe for [T; N] {
    fn wipe(&mut self) {
        self.as_mut_slice().wipe();
    }
}

impl<T: Copy + Default> Wipe for Vec<T> {
    fn wipe(&mut self) {
        self.as_mut_slice().wipe();
    }
}

impl<T: Copy + Default, const N: usize> Wiped<[T; N]> {
    pub(crate) fn new() -> Self {
        Self([T::default(); N])
    }
}

impl<C: Wipe> From<C> for Wiped<C> {
    fn from(values: C) -> Self {
        Self(values)
    }
}

impl<C: Wipe> Deref for Wiped<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

impl<C: Wipe> DerefMut for Wiped<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.0
    }
}

impl<C: Wipe> Drop for Wiped<C> {
    fn drop(&mut self) {
        self.0.wipe();
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
        let mut words = Wiped::from(vec![u64::MAX; 33]);
        words.wipe();
        assert_eq!(*words, vec![0; 33]);
    }

    /// A container that says when it is wiped.
    struct Told<'a>(&'a mut bool);

    impl Wipe for Told<'_> {
        fn wipe(&mut self) {
            *self.0 = true;
        }
    }

    #[test]
    fn dropping_wipes() {
        let mut wiped = false;
        drop(Wiped::from(Told(&mut wiped)));
        assert!(wiped);
    }
}
