//! The stream of a seed: ChaCha20 bytes, made several blocks at a time.
//!
//! The bytes are a format: they are those of `rand_chacha`'s `ChaCha20Rng` with the same key, so ChaCha with 20 rounds
//! (D. J. Bernstein, *ChaCha, a variant of Salsa20*, 2008; RFC 8439 section 2.3), a counter of 64 bits from 0 in words
//! 12 and 13 of the state and a nonce of zeros. Reading follows `rand_core`'s block generators, and that is part of the
//! format as well: the stream is a sequence of 32-bit words, little-endian; a read of n bytes uses up ceil(n / 4) of
//! them, so bytes left of a last word are lost and a split at any multiple of four changes nothing.
//!
//! | read | words used up | value |
//! |---|---|---|
//! | `next_u32` | 1 | the word |
//! | `next_u64` | 2 | the first word is the low half |
//! | `fill_bytes` of n bytes | ceil(n / 4) | the bytes of the words in order |
//!
//! | kernel | blocks at a time |
//! |---|---|
//! | `portable` | 4 |
//! | `avx2` | 8 |
//! | `avx512` | 16 |
//!
//! Long reads are made in place, without the buffer; a buffer of one group serves the rest. Key and buffer are wiped on
//! drop. Constant time: the instructions and addresses depend on the lengths that are read, never on key or bytes.
//! The counter returns to 0 after 2^64 blocks (2^70 bytes), which no program reaches.

mod portable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use core::convert::Infallible;
use core::fmt;

use rand_core::{TryCryptoRng, TryRng};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::scratch::Scratch;
use crate::simd::Simd;

/// Bytes of a block.
const BLOCK: usize = 64;

/// Bytes of the largest group that a kernel makes.
const LARGEST_GROUP: usize = 16 * BLOCK;

/// "expand 32-byte k" as words.
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// The ChaCha20 stream of a [`crate::Seed`], made by [`crate::Seed::stream`]: a `rand_core` generator.
///
/// Not `Clone`: a copy would repeat randomness. Wiped on drop; `Debug` shows nothing of it.
pub struct Stream {
    key: [u32; 8],
    /// The number of the next block to be made.
    counter: u64,
    /// One group of blocks, of which `next..filled` has not been read. Both are multiples of four.
    buffer: Scratch<LARGEST_GROUP>,
    next: usize,
    filled: usize,
    simd: Simd,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream(..)")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The buffer wipes itself.
        self.key.zeroize();
    }
}

impl ZeroizeOnDrop for Stream {}

impl TryCryptoRng for Stream {}

impl TryRng for Stream {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    #[inline]
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

impl Stream {
    /// The stream of a key, from its beginning, with the best kernel of this CPU.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self::with_simd(key, Simd::best())
    }

    fn with_simd(key: &[u8; 32], simd: Simd) -> Self {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let stream = Self { key: words, counter: 0, buffer: Scratch::new(), next: 0, filled: 0, simd };
        words.zeroize();
        stream
    }

    #[inline]
    fn fill(&mut self, bytes: &mut [u8]) {
        if bytes.len() <= self.filled - self.next {
            let end = self.next + bytes.len();
            bytes.copy_from_slice(&self.buffer[self.next..end]);
            self.next = end.next_multiple_of(4);
        } else {
            self.fill_beyond_the_buffer(bytes);
        }
    }

    /// What is left in the buffer, whole groups in place, and a new buffer for the rest.
    fn fill_beyond_the_buffer(&mut self, bytes: &mut [u8]) {
        let (head, rest) = bytes.split_at_mut(self.filled - self.next);
        head.copy_from_slice(&self.buffer[self.next..self.filled]);
        let group = BLOCK * self.group();
        let (bulk, tail) = rest.split_at_mut(rest.len() - rest.len() % group);
        blocks(self.simd, &self.key, self.counter, bulk);
        self.counter = self.counter.wrapping_add((bulk.len() / BLOCK) as u64);
        (self.next, self.filled) = (0, 0);
        if !tail.is_empty() {
            blocks(self.simd, &self.key, self.counter, &mut self.buffer[..group]);
            self.counter = self.counter.wrapping_add(self.group() as u64);
            self.filled = group;
            tail.copy_from_slice(&self.buffer[..tail.len()]);
            self.next = tail.len().next_multiple_of(4);
        }
    }

    /// How many blocks the kernel makes at a time.
    fn group(&self) -> usize {
        match self.simd {
            Simd::Portable => portable::GROUP,
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => avx2::GROUP,
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => avx512::GROUP,
        }
    }
}

/// Fills a whole number of groups with the blocks from `counter` on.
fn blocks(simd: Simd, key: &[u32; 8], counter: u64, out: &mut [u8]) {
    match simd {
        Simd::Portable => portable::blocks(key, counter, out),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => avx2::blocks(key, counter, out),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => avx512::blocks(key, counter, out),
    }
}

#[cfg(test)]
mod tests;
