//! Buffers of polynomials: wiped when they are given back, and used again.
//!
//! A polynomial of N words is 8 to 512 KiB. From the system such a buffer costs a page fault for every 4 KiB, again and
//! again, because allocators return large buffers to it: more than the arithmetic of most operations. So each thread keeps
//! what it gives back, and what it takes is zero already, because it was wiped.
//!
//! | constant | value | what |
//! |---|---|---|
//! | [`SIZES`] | 2^8 to 2^16 words | the sizes that are kept, powers of two; all others come from the allocator |
//! | [`MOST_WORDS`] | 2^22 words (32 MiB) | what a thread keeps at most; the rest goes back to the allocator |
//!
//! A buffer holds no words but zeros while it is kept, whoever had it before. It is wiped as in
//! [`crate::scratch`]; so too when it is freed.

use core::cell::RefCell;
use core::ops::{Deref, DerefMut, RangeInclusive};

use zeroize::Zeroize;

use crate::scratch::Wipe;

/// log2 of the sizes that are kept.
const SIZES: RangeInclusive<u32> = 8..=16;
/// The words that a thread keeps at most.
const MOST_WORDS: usize = 1 << 22;

/// Secret words of a pooled buffer, given back when dropped.
pub(crate) struct Words(pub(crate) Vec<u64>);

impl Drop for Words {
    fn drop(&mut self) {
        give(core::mem::take(&mut self.0));
    }
}

impl Deref for Words {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.0
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
}

#[derive(Default)]
struct Pool {
    /// All zero, of 2^i words at place i.
    buffers: [Vec<Vec<u64>>; 17],
    words: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// The place of buffers of n words, if they are kept.
fn place(n: usize) -> Option<usize> {
    let log2 = n.trailing_zeros();
    (n.is_power_of_two() && SIZES.contains(&log2)).then_some(log2 as usize)
}

/// A buffer of n zeros.
pub(crate) fn take(n: usize) -> Vec<u64> {
    let kept = place(n).and_then(|place| {
        // While a thread ends it may have no pool any more.
        POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            let buffer = pool.buffers[place].pop()?;
            pool.words -= n;
            Some(buffer)
        })
        .ok()
        .flatten()
    });
    kept.unwrap_or_else(|| vec![0; n])
}

/// A copy of some words.
pub(crate) fn copy(words: &[u64]) -> Vec<u64> {
    let mut buffer = take(words.len());
    buffer.copy_from_slice(words);
    buffer
}

/// Takes a buffer back, wiped.
pub(crate) fn give(mut buffer: Vec<u64>) {
    if buffer.capacity() != buffer.len() {
        // With room to spare, which may hold words of old: wiped too, slowly, and not kept.
        buffer.zeroize();
        return;
    }
    buffer.wipe();
    let Some(place) = place(buffer.len()) else { return };
    // Without a pool the buffer is freed, wiped as it is.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.words + buffer.len() <= MOST_WORDS {
            pool.words += buffer.len();
            pool.buffers[place].push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        POOL.with(|pool| pool.borrow().words)
    }

    /// Runs a test on a thread of its own, with a pool of its own.
    fn alone(test: fn()) {
        std::thread::spawn(test).join().unwrap();
    }

    #[test]
    fn what_comes_back_is_zero_and_used_again() {
        alone(used_again);
    }

    #[test]
    fn other_sizes_and_too_much_are_freed() {
        alone(freed);
    }

    fn used_again() {
        let mut buffer = take(1024);
        assert_eq!((kept(), buffer.len()), (0, 1024));
        buffer.fill(7);
        let address = buffer.as_ptr();
        give(buffer);
        assert_eq!(kept(), 1024);
        assert_eq!(take(512).len(), 512);
        let again = take(1024);
        assert_eq!((again.as_ptr(), kept()), (address, 0));
        assert!(again.iter().all(|&word| word == 0));
        assert_eq!(copy(&[1, 2, 3]), [1, 2, 3]);
        drop(Words(copy(&[5; 256])));
        assert_eq!(kept(), 256);
        assert_eq!(take(256), [0; 256]);
    }

    fn freed() {
        for n in [0, 1, 128, 1000, 1 << 17] {
            give(take(n));
            assert_eq!(kept(), 0, "{n}");
        }
        // Room to spare would be lost memory.
        let mut roomy = Vec::with_capacity(2048);
        roomy.resize(1024, 1);
        give(roomy);
        assert_eq!(kept(), 0);
        let many: Vec<_> = (0..100).map(|_| take(1 << 16)).collect();
        many.into_iter().for_each(give);
        assert_eq!(kept(), MOST_WORDS);
    }
}
