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
//! The bound of that argument is about p·q/2^128 for p evaluations of AES by the adversary and q hashes under one key:
//! 2^30 transfers under one key would leave 98 bits, not 128, against a receiver that can tell right from wrong guesses of
//! pads that it did not choose. So the extensions take a new key every 2^13 transfers or fewer (`TweakedHash::part`), which
//! leaves 115. None of that work can be done before the session's identifier is known.
//!
//! **[`Prg`]** is AES-128 in counter mode under a secret seed: block n of the stream is AES_seed(n), n as a
//! little-endian 128-bit integer.
//!
//! | object | in | out |
//! |---|---|---|
//! | [`TweakedHash::hash_slice`] | n blocks of 128 bits, first tweak | n blocks, in place |
//! | [`Prg::fill`] | | any number of bytes |
//!
//! Blocks are `u128`, little-endian as bytes. Encryption is that of `cipher`: VAES on 512-bit or 256-bit vectors,
//! AES-NI, or the `aes` crate (ARMv8 instructions, or constant-time bit slicing), whichever is the first that the
//! machine has; on each of them the time depends on the number of blocks only.
//!
//! Not promised: collision resistance, or anything about H under adversarially chosen session identifiers.

pub(crate) mod cipher;
pub(crate) mod keccak;
#[cfg(target_arch = "x86_64")]
pub(crate) mod simd;

use cipher::Cipher;
use core::fmt;
use sha3::{Digest, Sha3_256};

/// Blocks that go through AES in one call.
const BATCH: usize = 128;

/// The tweakable hash H(x, i) = π(π(x) ⊕ i) ⊕ π(x) on 128-bit blocks.
///
/// Holds no secret: the key of π is public.
pub struct TweakedHash {
    pi: Cipher,
    tag: [u8; 16],
}

impl TweakedHash {
    /// The hash of a session; both parties must give the same 32 bytes, and no two sessions may share them.
    #[must_use]
    pub fn new(session: &[u8; 32]) -> Self {
        let digest: [u8; 32] =
            Sha3_256::new().chain_update(b"hushnet/tweaked-hash/v1").chain_update(session).finalize().into();
        Self::from_digest(digest)
    }

    /// The hash of part number `part` of the session, under a key of its own. Its users change parts every few thousand
    /// hashes, so that a session of any length keeps the bound of a part.
    pub(crate) fn part(&self, part: u64) -> Self {
        let mut hash = Sha3_256::new();
        hash.update(b"hushnet/tweaked-hash-part/v1");
        hash.update(self.tag);
        hash.update(part.to_le_bytes());
        Self::from_digest(hash.finalize().into())
    }

    fn from_digest(digest: [u8; 32]) -> Self {
        let [key, tag] = [0, 16].map(|at| core::array::from_fn(|i| digest[at + i]));
        Self { pi: Cipher::new(u128::from_le_bytes(key)), tag }
    }

    /// 16 bytes that belong to the session, other than the key of π: for transcripts.
    pub(crate) fn tag(&self) -> &[u8; 16] {
        &self.tag
    }

    /// Replaces every block `x_j` by `H(x_j, first_tweak + j)`, tweaks modulo 2^64.
    ///
    /// The caller never uses a tweak twice in a session, except on the two halves of one oblivious transfer.
    pub fn hash_slice(&self, first_tweak: u64, blocks: &mut [u128]) {
        let mut hashes = [0u128; BATCH];
        let mut first = first_tweak;
        for batch in blocks.chunks_mut(BATCH) {
            let hashes = &mut hashes[..batch.len()];
            self.pi.tweaked_hash(first, batch, hashes);
            batch.copy_from_slice(hashes);
            first = first.wrapping_add(BATCH as u64);
        }
        wipe(&mut hashes);
    }

    /// Writes `H(x_j, first_tweak + j)` to `out`; as [`TweakedHash::hash_slice`]. Both slices have one length.
    pub(crate) fn hash_to(&self, first_tweak: u64, blocks: &[u128], out: &mut [u128]) {
        self.pi.tweaked_hash(first_tweak, blocks, out);
    }

    /// Writes `[H(x_j, first_tweak + j), H(x_j ⊕ delta, first_tweak + j)]` to `out`. Both slices have one length.
    pub(crate) fn hash_pairs_to(
        &self,
        first_tweak: u64,
        delta: u128,
        blocks: &[u128],
        out: &mut [[u128; 2]],
    ) {
        self.pi.tweaked_hash_pairs(first_tweak, delta, blocks, out);
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
    cipher: Cipher,
    /// Index of the next block of the stream.
    next: u64,
}

impl Prg {
    /// The stream of `seed`, from its start.
    #[must_use]
    pub fn new(seed: u128) -> Self {
        Self { cipher: Cipher::new(seed), next: 0 }
    }

    /// Writes the next `⌈out.len() / 16⌉` blocks of the stream; what is left over of the last block is
    /// dropped, so the next call starts at a block again.
    pub fn fill(&mut self, out: &mut [u8]) {
        let mut words = [0u128; BATCH];
        for batch in out.chunks_mut(16 * BATCH) {
            let words = &mut words[..batch.len().div_ceil(16)];
            self.fill_blocks(words);
            for (bytes, word) in batch.chunks_mut(16).zip(words.iter()) {
                bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
            }
        }
        wipe(&mut words);
    }

    /// Writes the next `out.len()` blocks of the stream.
    pub(crate) fn fill_blocks(&mut self, out: &mut [u128]) {
        self.cipher.counters(self.next, out);
        self.next += out.len() as u64;
    }

    /// Writes blocks `first`, `first + 1`, … of the stream, wherever it stands.
    pub(crate) fn blocks_at(&self, first: u64, out: &mut [u128]) {
        self.cipher.counters(first, out);
    }

    /// The next 128 bits of the stream.
    #[must_use]
    pub fn next_block(&mut self) -> u128 {
        let mut block = [0];
        self.fill_blocks(&mut block);
        block[0]
    }
}

impl fmt::Debug for Prg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prg(secret)")
    }
}

/// The circular correlation-robust hash of the same authors, H(x) = π(σ(x)) ⊕ σ(x), with σ(a ‖ b) = (a ⊕ b) ‖ a
/// on halves and π = AES-128 under a public key; as the step of a binary tree.
///
/// Holds no secret.
pub(crate) struct CircularHash {
    pi: Cipher,
}

impl CircularHash {
    /// The hash with this public key of π.
    pub(crate) fn new(key: u128) -> Self {
        Self { pi: Cipher::new(key) }
    }

    /// Both children of every node x: `nodes` become H(x), `siblings` x ⊕ H(x); what `siblings` held does not
    /// matter. Gives the sums of both.
    ///
    /// Both slices have the same length.
    pub(crate) fn children(&self, nodes: &mut [u128], siblings: &mut [u128]) -> [u128; 2] {
        let mut inputs = [0u128; BATCH];
        let mut images = [0u128; BATCH];
        let mut sums = [0u128; 2];
        for (nodes, siblings) in nodes.chunks_mut(BATCH).zip(siblings.chunks_mut(BATCH)) {
            let (inputs, images) = (&mut inputs[..nodes.len()], &mut images[..nodes.len()]);
            for (input, &node) in inputs.iter_mut().zip(nodes.iter()) {
                *input = node.rotate_left(64) ^ (node >> 64 << 64);
            }
            self.pi.encrypt(inputs, images);
            let cells = inputs.iter().zip(images.iter());
            for ((node, sibling), (input, image)) in nodes.iter_mut().zip(siblings).zip(cells) {
                let hash = input ^ image;
                *sibling = *node ^ hash;
                *node = hash;
                sums[0] ^= hash;
                sums[1] ^= *sibling;
            }
        }
        wipe(&mut inputs);
        wipe(&mut images);
        sums
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
    use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
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
                prop_assert_eq!(h, pi_slow(key, image ^ u128::from(first.wrapping_add(j as u64))) ^ image);
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
        // Parts: not the whole, not each other, not those of another session; the same on both sides.
        let hashes =
            [a.hash_one(0, 5), a.part(0).hash_one(0, 5), a.part(1).hash_one(0, 5), b.part(0).hash_one(0, 5)];
        assert!((0..4).all(|i| !hashes[..i].contains(&hashes[i])));
        assert_eq!(hashes[2], TweakedHash::new(&[1; 32]).part(1).hash_one(0, 5));
    }
}
