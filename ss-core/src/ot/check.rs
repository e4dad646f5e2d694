//! Running consistency check of the transfer extension.
//!
//! Roy, *SoftSpokenOT* (CRYPTO 2022, eprint 2022/192), section 4: the check of subspace vector oblivious linear
//! evaluation, for the repetition code. An honest receiver puts the same choices x into all rows `d_j = u_j ⊕ x`.
//! One that puts `x ⊕ e_j` into row j, with e_j not the same for all j, would see from the use of pads which bits
//! of Δ are zero. The check is linear: with public weights χ in GF(2^128) for blocks of 128 transfers,
//!
//! > ṽ_r = Σ_b χ_b·v_{r,b},   q̃_r = Σ_b χ_b·q_{r,b},   x̃ = Σ_b χ_b·x_b,   q̃_r = ṽ_r ⊕ Δ_r·x̃ for 128 rows r.
//!
//! The receiver sends x̃ and a digest of all ṽ_r; the sender computes what they should be and compares digests.
//! Both keep sums over all messages, so that one proof of some hundred bytes covers everything since the last one.
//!
//! **Weights** come out of the messages themselves (Fiat–Shamir), in two levels, so that chunks of 8192 transfers
//! stay independent and can be worked on in parallel:
//! 1. χ_b inside a chunk: AES-CTR under a digest of the chunk's rows and position ([`Check::digest`]);
//! 2. one weight ψ_c per chunk of a message: AES-CTR under a digest of *all* chunk digests of this message and the
//!    chain of everything before it ([`Check::add_message`]).
//!
//! The weight of a block is ψ_c·χ_b.
//!
//! **Soundness.** Take digests as random functions. Let e_j differ from e_0 in some chunk. When the chunk's rows are
//! fixed, χ is fresh, and Σ_b χ_b·(e_j ⊕ e_0)_b is zero with probability 2^−128. When all chunks of the message are
//! fixed, ψ is fresh, and with it the difference of ẽ_j and ẽ_0 after this message is uniform; a later message
//! cannot cancel it with better chances, for its own weights are fixed by a chain that includes the former. So a
//! receiver that makes Q hash queries gets ẽ_j = ẽ_0 for all j with probability about Q·2^−128, and otherwise has to
//! guess the bits of Δ of every tree j outside one class of equal ẽ_j: q̃_r ⊕ ṽ_r ⊕ Δ_r·x̃ moves by Δ_r·(ẽ_j ⊕ δ),
//! whatever δ it adds to x̃. Weights only at the second level would not do without the chain (birthday attack on
//! independent chunks).
//!
//! **Leakage.** ṽ follows from x̃ and what the sender has. x̃ is masked: the last block before a proof holds 128
//! random transfers that are not used for anything else, with a weight that is zero with probability 2^−127 at
//! most. *Selective failure*: that a receiver was not caught tells it that its guess of some bits of Δ was right; t
//! bits are guessed with probability 2^−t, as in the ideal functionality of the paper. A failed check ends the
//! session, and its Δ is not used again. Pads that were used before the check are not protected by it.
//!
//! It also catches any desynchronised or faulty peer.

use super::vole::{CHUNK_BLOCKS, ROWS, Row, secret_mask};
use crate::gf128::{add_scaled, dot, dots};
use crate::hash::{Prg, keccak, wipe};
use sha3::{Digest, Sha3_256};
use subtle::ConstantTimeEq;

/// Bytes of a proof without the rows of its mask: x̃ and a digest.
pub(super) const PROOF_BYTES: usize = 48;

/// Sums over blocks: entry r for row r, the last one for the choices (zero with the sender).
pub(super) type Sums = [u128; ROWS + 1];

/// One chunk's part of the check.
#[derive(Clone, Copy)]
pub(super) struct ChunkCheck {
    digest: [u8; 32],
    sums: Sums,
}

impl Default for ChunkCheck {
    fn default() -> Self {
        Self { digest: [0; 32], sums: [0; ROWS + 1] }
    }
}

impl ChunkCheck {
    /// Sums a chunk of at least one and at most [`CHUNK_BLOCKS`] blocks under the weights of its digest. `choices`
    /// has one entry per block; with the sender, none. Columns that are not in use have to be zero.
    pub(super) fn sum(digest: [u8; 32], rows: &[Row], blocks: usize, choices: &[[u8; 16]]) -> Self {
        let mut weights = [0u128; CHUNK_BLOCKS];
        let weights = &mut weights[..blocks];
        Prg::new(first_word(&digest)).fill_blocks(weights);
        let mut sums = [0; ROWS + 1];
        dots(weights, rows.iter().map(|row| &row.0[..blocks]), &mut sums[..ROWS]);
        sums[ROWS] = dot(&weights[..choices.len()], choices);
        Self { digest, sums }
    }
}

/// The running state of one party.
pub(super) struct Check {
    /// Digest of everything so far.
    chain: [u8; 32],
    sums: Box<Sums>,
}

impl Check {
    /// An empty check in the session of `tag`.
    pub(super) fn new(tag: &[u8; 16]) -> Self {
        let chain = Sha3_256::new().chain_update(b"hushnet/softspoken/check/v1").chain_update(tag).finalize();
        Self { chain: chain.into(), sums: Box::new([0; ROWS + 1]) }
    }

    /// The digest of the rows of one chunk: `form` tells messages of different meaning apart, `first` is the
    /// chunk's first block, `count` its number of transfers.
    pub(super) fn digest(form: u8, first: u64, count: usize, rows: &[u8]) -> [u8; 32] {
        let header: [&[u8]; 3] = [&[form], &first.to_le_bytes(), &(count as u64).to_le_bytes()];
        keccak::digest(b"hushnet/softspoken/chunk/v1", &header, rows)
    }

    /// Takes in a message, chunk by chunk, and wipes what it is given.
    pub(super) fn add_message(&mut self, chunks: &mut [ChunkCheck]) {
        let mut hasher =
            Sha3_256::new().chain_update(b"hushnet/softspoken/message/v1").chain_update(self.chain);
        for chunk in chunks.iter() {
            hasher.update(chunk.digest);
        }
        self.chain = hasher.finalize().into();
        let mut weights = Prg::new(first_word(&self.chain));
        for chunk in chunks.iter() {
            add_scaled(self.sums.as_mut_slice(), weights.next_block(), &chunk.sums);
        }
        wipe(chunks);
    }

    /// The receiver's proof, after its mask was added; the sums start anew.
    pub(super) fn prove(&mut self) -> [u8; PROOF_BYTES] {
        let mut proof = [0; PROOF_BYTES];
        let choices = self.sums[ROWS];
        proof[..16].copy_from_slice(&choices.to_le_bytes());
        proof[16..].copy_from_slice(&self.expected(choices, 0));
        self.finish(&proof);
        proof
    }

    /// Whether the proof fits the sums of the sender with secret `delta`; the sums start anew.
    pub(super) fn verify(&mut self, delta: u128, proof: &[u8; PROOF_BYTES]) -> bool {
        let (choices, digest) = proof.split_first_chunk::<16>().expect("16 of 48 bytes");
        let expected = self.expected(u128::from_le_bytes(*choices), delta);
        self.finish(proof);
        expected.as_slice().ct_eq(digest).into()
    }

    /// The digest of all rows' sums plus Δ_r·x̃.
    fn expected(&self, choices: u128, delta: u128) -> [u8; 32] {
        let mut hasher = Sha3_256::new()
            .chain_update(b"hushnet/softspoken/proof/v1")
            .chain_update(self.chain)
            .chain_update(choices.to_le_bytes());
        for (r, sum) in self.sums[..ROWS].iter().enumerate() {
            let masked = choices & secret_mask(delta, r);
            hasher.update((sum ^ masked).to_le_bytes());
        }
        hasher.finalize().into()
    }

    /// Binds what follows to the proof.
    fn finish(&mut self, proof: &[u8; PROOF_BYTES]) {
        self.chain = Sha3_256::new()
            .chain_update(b"hushnet/softspoken/next/v1")
            .chain_update(self.chain)
            .chain_update(proof)
            .finalize()
            .into();
        wipe(self.sums.as_mut_slice());
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        wipe(self.sums.as_mut_slice());
    }
}

/// The first 16 bytes of a digest.
fn first_word(digest: &[u8; 32]) -> u128 {
    u128::from_le_bytes(core::array::from_fn(|i| digest[i]))
}

#[cfg(test)]
mod tests;
