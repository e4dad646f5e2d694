//! Fixed-key AES: a hash for oblivious transfer and a pseudorandom generator.
//!
//! **[`TweakedHash`]** is the tweakable circular correlation-robust hash of Guo, Katz, Wang and Yu,
//! *Efficient and secure multiparty computation from fixed-key block ciphers* (IEEE S&P 2020):
//!
//! > H(x, i) = π(π(x) ⊕ i) ⊕ π(x)
//!
//! with π = AES-128 under a public key. Two choices keep the ideal-permutation argument honest over many
//! uses: the key is derived from the session identifier, so a tweak never meets the same permutation in two
//! sessions, and the tweak is a running index that its user must never repeat within a session.
//!
//! **[`Prg`]** is AES-128 in counter mode under a secret seed: block n of the stream is AES_seed(n), n as a
//! little-endian 128-bit integer.
//!
//! | object | in | out |
//! |---|---|---|
//! | [`TweakedHash::hash_slice`] | n blocks of 128 bits, first tweak | n blocks, in place |
//! | [`Prg::fill`] | | any number of bytes |
//!
//! Blocks are `u128`, little-endian as bytes. All calls go to the `aes` crate in batches, which picks AES-NI,
//! VAES, the ARMv8 instructions or constant-time bit-sliced code at run time; on each of them the time
//! depends on the number of blocks only.
//!
//! Not promised: collision resistance, or anything about H under adversarially chosen session identifiers.

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use core::fmt;
use sha3::{Digest, Sha3_256};
use zeroize::Zeroize;

/// Blocks that go through AES in one call: two full pipelines of the widest backend.
const BATCH: usize = 128;

/// The tweakable hash H(x, i) = π(π(x) ⊕ i) ⊕ π(x) on 128-bit blocks.
///
/// Holds no secret: the key of π is public.
pub struct TweakedHash {
    pi: Aes128Enc,
}

impl TweakedHash {
    /// The hash of a session; both parties must give the same 32 bytes, and no two sessions may share them.
    #[must_use]
    pub fn new(session: &[u8; 32]) -> Self {
        let digest =
            Sha3_256::new().chain_update(b"hushnet/tweaked-hash/v1").chain_update(session).finalize();
        let mut key = [0u8; 16];
        key.copy_from_slice(&digest[..16]);
        Self { pi: Aes128Enc::new(&Array(key)) }
    }

    /// Replaces every block `x_j` by `H(x_j, first_tweak + j)`.
    ///
    /// The caller never uses a tweak twice in a session, except on the two halves of one oblivious transfer.
    pub fn hash_slice(&self, first_tweak: u64, blocks: &mut [u128]) {
        let mut inner = [Block::default(); BATCH];
        let mut outer = [Block::default(); BATCH];
        let mut tweak = u128::from(first_tweak);
        for batch in blocks.chunks_mut(BATCH) {
            let (inner, outer) = (&mut inner[..batch.len()], &mut outer[..batch.len()]);
            for (cell, &block) in inner.iter_mut().zip(batch.iter()) {
                *cell = Array(block.to_le_bytes());
            }
            self.pi.encrypt_blocks(inner);
            for (cell, image) in outer.iter_mut().zip(inner.iter()) {
                *cell = Array((u128::from_le_bytes(image.0) ^ tweak).to_le_bytes());
                tweak = tweak.wrapping_add(1);
            }
            self.pi.encrypt_blocks(outer);
            for ((block, image), cell) in batch.iter_mut().zip(inner.iter()).zip(outer.iter()) {
                *block = u128::from_le_bytes(image.0) ^ u128::from_le_bytes(cell.0);
            }
        }
        wipe(&mut inner);
        wipe(&mut outer);
    }

    /// `H(block, tweak)` of a single block.
    #[must_use]
    pub fn hash_one(&self, tweak: u64, block: u128) -> u128 {
        let mut blocks = [block];
        self.hash_slice(tweak, &mut blocks);
        blocks[0]
    }
}

impl fmt::Debug for TweakedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TweakedHash")
    }
}

/// A pseudorandom stream, AES-128-CTR under a secret seed; the expanded key is wiped on drop.
///
/// ```
/// use ss_core::hash::Prg;
/// let mut bytes = [0u8; 40];
/// Prg::new(7).fill(&mut bytes);
/// assert_ne!(bytes, [0u8; 40]);
/// ```
pub struct Prg {
    cipher: Aes128Enc,
    /// Index of the next block of the stream.
    next: u64,
}

impl Prg {
    /// The stream of `seed`, from its start.
    #[must_use]
    pub fn new(seed: u128) -> Self {
        let mut key = Array(seed.to_le_bytes());
        let cipher = Aes128Enc::new(&key);
        key.0.zeroize();
        Self { cipher, next: 0 }
    }

    /// Writes the next `⌈out.len() / 16⌉` blocks of the stream; what is left over of the last block is
    /// dropped, so the next call starts at a block again.
    pub fn fill(&mut self, out: &mut [u8]) {
        let mut counters = [Block::default(); BATCH];
        let (blocks, tail) = out.as_chunks_mut::<16>();
        for batch in blocks.chunks_mut(BATCH) {
            let counters = &mut counters[..batch.len()];
            write_counters(self.next, counters);
            self.encrypt(counters, batch);
            self.next += batch.len() as u64;
        }
        if !tail.is_empty() {
            let mut last = [[0u8; 16]];
            write_counters(self.next, &mut counters[..1]);
            self.encrypt(&counters[..1], &mut last);
            self.next += 1;
            tail.copy_from_slice(&last[0][..tail.len()]);
            last.zeroize();
        }
    }

    /// The next 128 bits of the stream.
    #[must_use]
    pub fn next_block(&mut self) -> u128 {
        let mut bytes = [0u8; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }

    /// Encrypts prepared counter blocks: random access for callers that run many streams over the same
    /// counters.
    ///
    /// Both slices have the same length.
    #[inline]
    pub(crate) fn encrypt(&self, counters: &[Block], out: &mut [[u8; 16]]) {
        self.cipher
            .encrypt_blocks_b2b(counters, Array::cast_slice_from_core_mut(out))
            .expect("callers pass slices of one length");
    }
}

impl fmt::Debug for Prg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prg(secret)")
    }
}

/// Fills `counters` with the counter blocks `first`, `first + 1`, ….
pub(crate) fn write_counters(first: u64, counters: &mut [Block]) {
    for (counter, cell) in (u128::from(first)..).zip(counters) {
        *cell = Array(counter.to_le_bytes());
    }
}

/// Overwrites a buffer with zeros in a way that the optimiser keeps.
///
/// Does the same as `Zeroize` at the speed of `memset`: that trait writes bytes one by one, which for the
/// buffers of this crate would cost more than the encryption.
pub(crate) fn wipe<T: Copy + Default>(buffer: &mut [T]) {
    buffer.fill(T::default());
    zeroize::optimization_barrier(buffer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One block through π, with a fresh cipher: the twin of the batched paths.
    fn pi_slow(key: [u8; 16], block: u128) -> u128 {
        let mut cell = Array(block.to_le_bytes());
        aes::Aes128::new(&Array(key)).encrypt_block(&mut cell);
        u128::from_le_bytes(cell.0)
    }

    fn session_key(session: &[u8; 32]) -> [u8; 16] {
        let mut input = b"hushnet/tweaked-hash/v1".to_vec();
        input.extend_from_slice(session);
        Sha3_256::digest(&input)[..16].try_into().unwrap()
    }

    #[test]
    fn aes_128_known_answer_of_fips_197_appendix_c1() {
        let key: [u8; 16] = core::array::from_fn(|i| i as u8);
        let plain: [u8; 16] = core::array::from_fn(|i| 0x11 * i as u8);
        let expected = 0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a_u128.to_be_bytes();
        let prg = Prg::new(u128::from_le_bytes(key));
        let mut out = [[0u8; 16]];
        prg.encrypt(&[Array(plain)], &mut out);
        assert_eq!(out[0], expected);
        assert_eq!(pi_slow(key, u128::from_le_bytes(plain)).to_le_bytes(), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn hash_matches_the_formula(
            session in any::<[u8; 32]>(),
            first in any::<u64>(),
            blocks in proptest::collection::vec(any::<u128>(), 0..300),
        ) {
            let hash = TweakedHash::new(&session);
            let mut fast = blocks.clone();
            hash.hash_slice(first, &mut fast);
            let key = session_key(&session);
            for (j, (&x, &h)) in blocks.iter().zip(&fast).enumerate() {
                let image = pi_slow(key, x);
                prop_assert_eq!(h, pi_slow(key, image ^ (u128::from(first) + j as u128)) ^ image);
            }
        }

        #[test]
        fn stream_matches_the_formula_and_continues(
            seed in any::<u128>(),
            lengths in proptest::collection::vec(0usize..3000, 1..4),
        ) {
            let mut prg = Prg::new(seed);
            let mut counter = 0u128;
            for length in lengths {
                let mut out = vec![0u8; length];
                prg.fill(&mut out);
                for part in out.chunks(16) {
                    let block = pi_slow(seed.to_le_bytes(), counter).to_le_bytes();
                    prop_assert_eq!(part, &block[..part.len()]);
                    counter += 1;
                }
            }
        }
    }

    #[test]
    fn sessions_and_tweaks_separate() {
        let (a, b) = (TweakedHash::new(&[1; 32]), TweakedHash::new(&[2; 32]));
        assert_ne!(a.hash_one(0, 5), b.hash_one(0, 5));
        assert_ne!(a.hash_one(0, 5), a.hash_one(1, 5));
        assert_ne!(a.hash_one(0, 5), a.hash_one(0, 6));
    }
}
