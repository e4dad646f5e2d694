//! Buffers of polynomials: wiped when they are given back, and used again.
//!
//! A polynomial of N words is 8 to 512 KiB. From the system such a buffer costs a page fault for every 4 KiB, again and
//! again, because allocators return large buffers to it: more than the arithmetic of most operations. So each thread keeps
//! what it gives back, and what it takes is zero already, because it was wiped.
//!
//! Buffers begin where a cache line of 64 bytes begins: a vector of 64 bytes that lies across two lines is loaded and
//! stored at half the speed.
//!
//! | constant | value | what |
//! |---|---|---|
//! | [`SIZES`] | 2^8 to 2^16 words | the sizes that are kept, powers of two; all others come from the allocator |
//! | [`MOST_WORDS`] | 2^22 words (32 MiB) | what a thread keeps at most; the rest goes back to the allocator |
//! | [`LINE`] | 8 words | of a cache line; each buffer has room for one word less beside its own |
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
/// Words of a cache line.
const LINE: usize = 8;

/// Words that may be secret; wiped, and given back if they are of a buffer, when dropped.
pub(crate) struct Words {
    /// Never grows, so that it stays where it is.
    room: Vec<u64>,
    start: usize,
    len: usize,
}

impl Words {
    /// A buffer of n zeros.
    pub(crate) fn zeros(n: usize) -> Self {
        let kept = place(n).and_then(|place| {
            // While a thread ends it may have no pool any more.
            POOL.try_with(|pool| {
                let mut pool = pool.borrow_mut();
                let room = pool.buffers[place].pop()?;
                pool.words -= n;
                Some(room)
            })
            .ok()
            .flatten()
        });
        let room = kept.unwrap_or_else(|| vec![0; n + LINE - 1]);
        // Interpreters may know no address; words are right anywhere.
        let start = room.as_ptr().align_offset(LINE * size_of::<u64>()).min(LINE - 1);
        Self { room, start, len: n }
    }

    /// A copy of some words.
    pub(crate) fn copy(words: &[u64]) -> Self {
        let mut copy = Self::zeros(words.len());
        copy.copy_from_slice(words);
        copy
    }
}

impl From<Vec<u64>> for Words {
    /// The vector's own words, where they are; they are freed later and not kept.
    fn from(room: Vec<u64>) -> Self {
        let len = room.len();
        Self { room, start: 0, len }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        let mut room = core::mem::take(&mut self.room);
        if room.capacity() != room.len() {
            // Of the caller, with room to spare that may hold words of old: wiped too, slowly, and not kept.
            room.zeroize();
            return;
        }
        room[self.start..][..self.len].wipe();
        let Some(place) = place(self.len).filter(|_| room.len() == self.len + LINE - 1) else { return };
        // Without a pool the buffer is freed, wiped as it is.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.words + self.len <= MOST_WORDS {
                pool.words += self.len;
                pool.buffers[place].push(room);
            }
        });
    }
}

impl Deref for Words {
    type Target = [u64];

    #[inline]
    fn deref(&self) -> &[u64] {
        &self.room[self.start..][..self.len]
    }
}

impl DerefMut for Words {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.room[self.start..][..self.len]
    }
}

#[derive(Default)]
struct Pool {
    /// All zero, with room for 2^i words at place i.
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
        let mut buffer = Words::zeros(1024);
        assert_eq!((kept(), buffer.len()), (0, 1024));
        assert_eq!(buffer.as_ptr().addr() % 64, 0);
        buffer.fill(7);
        let address = buffer.as_ptr();
        drop(buffer);
        assert_eq!(kept(), 1024);
        assert_eq!(Words::zeros(512).len(), 512);
        let again = Words::zeros(1024);
        assert_eq!((again.as_ptr(), kept()), (address, 512));
        assert!(again.iter().all(|&word| word == 0));
        assert_eq!(*Words::copy(&[1, 2, 3]), [1, 2, 3]);
        drop(Words::copy(&[5; 256]));
        assert_eq!(kept(), 768);
        assert_eq!(*Words::zeros(256), [0; 256]);
    }

    fn freed() {
        for n in [0, 1, 128, 1000, 1 << 17] {
            drop(Words::zeros(n));
            assert_eq!(kept(), 0, "{n}");
        }
        // Vectors of the caller are none of ours, with room to spare or without.
        let mut roomy = Vec::with_capacity(2048);
        roomy.resize(1024, 1);
        for vector in [roomy, vec![1; 1024], vec![1; 1031]] {
            let length = vector.len();
            let words = Words::from(vector);
            assert_eq!(*words, vec![1; length]);
            drop(words);
            assert_eq!(kept(), 0);
        }
        let many: Vec<_> = (0..100).map(|_| Words::zeros(1 << 16)).collect();
        drop(many);
        assert_eq!(kept(), MOST_WORDS);
    }
}
