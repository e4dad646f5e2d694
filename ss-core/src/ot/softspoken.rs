//! Oblivious transfer extension: SoftSpokenOT with its consistency check.
//!
//! Roy, *SoftSpokenOT: quieter OT extension from small-field silent VOLE in the Minicrypt model* (CRYPTO
//! 2022, eprint 2022/192), with the repetition code. With f = 1 it is the protocol of Ishai, Kilian, Nissim
//! and Petrank (CRYPTO 2003); a larger f saves communication for computation that is all AES.
//!
//! | f | bytes on the wire per transfer, chosen / random | AES blocks per transfer and party |
//! |---|---|---|
//! | 1 | 16 / 15⅞ | 2 |
//! | 2 | 8 / 7⅞ | 2 |
//! | 4 | 4 / 3⅞ | 4 |
//! | 8 | 2 / 1⅞ | 32 |
//!
//! After the set-up (see [`setup`](super::setup)) the receiver knows all 2^f leaves of each of 128/f trees
//! and the sender all but those at Δ, 128 bits of which 127 are secret (the lowest is 1).
//!
//! **Extension** of n transfers with choices x, as often as wanted: tree j gives the receiver bit rows `u_j`
//! and `v_j`, the sender `w_j = v_j ⊕ Δ_j·u_j` (see `vole`). The receiver sends `d_j = u_j ⊕ x`, the sender
//! adds `Δ_j·d_j` and has `q = v ⊕ Δ·x`, 128 bits for each transfer. The pads are `H(v_i, i)` on one side,
//! `H(q_i, i)` and `H(q_i ⊕ Δ, i)` on the other. In the random form the receiver takes `x = u_0`, and `d_0 =
//! 0` is not sent.
//!
//! *Message layout*: chunks of 8192 transfers, the last one shorter; in a chunk the rows `d_j`, j ascending,
//! each `⌈n/8⌉` bytes, bit t of a row for transfer t of the chunk, unused bits of the last byte zero.
//!
//! Both parties count the blocks of 128 transfers that they used; streams and hash tweaks go on from there,
//! so every call gives fresh transfers and both must extend in the same order. Every chunk hashes under a key of its
//! own (`TweakedHash::part` of its first block). Chunks run in parallel; bytes do not depend on the number of threads.
//!
//! Security: semi-honest base transfers and trees. The receiver's choices are masked by the one stream per tree that the sender
//! misses; the sender's other pads are hidden by the hash, a circular correlation-robust one for Δ (see
//! [`crate::hash`]). A receiver that sends inconsistent rows, which would learn bits of Δ, is caught by
//! [`ExtensionReceiver::prove`] and [`ExtensionSender::verify`], one short message for everything since the last
//! one (see `check`); both parties sum up for it all the time. Not promised: anything about transfers that were used
//! before the check, or without one; base transfers and trees of a set-up with a dishonest party.

use super::check::{Check, ChunkCheck, PROOF_BYTES};
use super::rot::{RotReceiver, RotSender, check_choices};
use super::vole::{CHUNK, CHUNK_BLOCKS, Pool, ROWS, Scratch, Streams, secret_mask, xor, xor_masked};
use crate::bits::bytes_for_bits;
use crate::error::{SsError, expect_length};
use crate::hash::TweakedHash;
use core::fmt;
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Most transfers of one call.
pub const MAX_BATCH: usize = 1 << 28;

/// The field of the extension; public, and the same for both parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionParams {
    field_bits: u32,
}

impl ExtensionParams {
    /// Parameters with f = `field_bits`, one of 1, 2, 4, 8.
    ///
    /// # Errors
    /// [`SsError::BadValue`] for another number.
    pub fn new(field_bits: u32) -> Result<Self, SsError> {
        if matches!(field_bits, 1 | 2 | 4 | 8) {
            Ok(Self { field_bits })
        } else {
            Err(SsError::BadValue { what: "the field of the transfer extension must have 1, 2, 4 or 8 bits" })
        }
    }

    /// The field parameter f.
    #[must_use]
    pub fn field_bits(self) -> u32 {
        self.field_bits
    }

    /// Bytes of the message for `count` transfers with chosen choices; see [`ExtensionReceiver::extend`].
    ///
    /// # Errors
    /// [`SsError::TooLarge`] above [`MAX_BATCH`].
    pub fn message_len(self, count: usize) -> Result<usize, SsError> {
        Shape::new(self, count, Form::Chosen).map(|shape| shape.message_len())
    }

    /// Bytes of the message for `count` transfers with random choices; see
    /// [`ExtensionReceiver::extend_random`].
    ///
    /// # Errors
    /// [`SsError::TooLarge`] above [`MAX_BATCH`].
    pub fn random_message_len(self, count: usize) -> Result<usize, SsError> {
        Shape::new(self, count, Form::Random).map(|shape| shape.message_len())
    }

    /// Bytes of the message of [`ExtensionReceiver::prove`].
    #[must_use]
    pub fn proof_len(self) -> usize {
        Shape::mask(self).message_len() + PROOF_BYTES
    }

    /// Number of trees, 128/f.
    pub(super) fn trees(self) -> usize {
        ROWS / self.field_bits as usize
    }
}

impl Default for ExtensionParams {
    /// f = 8, the least communication.
    fn default() -> Self {
        Self { field_bits: 8 }
    }
}

/// The receiver of the extension: all leaves of all trees, and a counter.
pub struct ExtensionReceiver {
    params: ExtensionParams,
    trees: Vec<Streams>,
    hash: TweakedHash,
    next_block: u64,
    check: Check,
    pool: Pool,
}

impl ExtensionReceiver {
    /// A receiver at the start of its streams; `hash` belongs to the session of the set-up.
    pub(super) fn new(params: ExtensionParams, trees: Vec<Streams>, hash: TweakedHash) -> Self {
        let check = Check::new(hash.tag());
        Self { params, trees, hash, next_block: 0, check, pool: Pool::default() }
    }

    /// The public parameters.
    #[must_use]
    pub fn params(&self) -> ExtensionParams {
        self.params
    }

    /// Transfers with the given choices, one per byte, 0 or 1: the message for [`ExtensionSender::extend`]
    /// and the receiver's end.
    ///
    /// # Errors
    /// [`SsError::BadValue`] for a choice that is neither 0 nor 1, [`SsError::TooLarge`] above [`MAX_BATCH`]
    /// choices.
    pub fn extend(&mut self, choices: &[u8]) -> Result<(Vec<u8>, RotReceiver), SsError> {
        check_choices(choices)?;
        let shape = Shape::new(self.params, choices.len(), Form::Chosen)?;
        self.run(&shape, choices.to_vec())
    }

    /// `count` transfers with random choices: the message for [`ExtensionSender::extend_random`], a row
    /// shorter than that of [`ExtensionReceiver::extend`], and the receiver's end. The choices come out of
    /// the streams; no generator is needed.
    ///
    /// # Errors
    /// [`SsError::TooLarge`] above [`MAX_BATCH`].
    pub fn extend_random(&mut self, count: usize) -> Result<(Vec<u8>, RotReceiver), SsError> {
        let shape = Shape::new(self.params, count, Form::Random)?;
        self.run(&shape, vec![0; count])
    }

    /// `count` correlated transfers with random choices, not hashed: the message for
    /// [`ExtensionSender::extend_correlated`], and columns v instead of pads.
    pub(crate) fn extend_correlated(&mut self, count: usize) -> Result<(Vec<u8>, RotReceiver), SsError> {
        let shape = Shape::new(self.params, count, Form::Correlated)?;
        self.run(&shape, vec![0; count])
    }

    /// A proof that all transfers since the last proof, or since the set-up, are consistent: the message for
    /// [`ExtensionSender::verify`], `params().proof_len()` bytes. Uses 128 transfers of its own.
    pub fn prove(&mut self) -> Vec<u8> {
        let shape = Shape::mask(self.params);
        let mut choices = Zeroizing::new(vec![0; shape.count]);
        let (mut message, pads) = self.expand(&shape, &mut choices);
        drop(Zeroizing::new(pads));
        message.extend_from_slice(&self.check.prove());
        message
    }

    fn run(&mut self, shape: &Shape, mut choices: Vec<u8>) -> Result<(Vec<u8>, RotReceiver), SsError> {
        let (message, pads) = self.expand(shape, &mut choices);
        Ok((message, RotReceiver::from_parts(choices, pads)?))
    }

    /// The message and the pads; in other forms than the chosen one, also writes the choices.
    fn expand(&mut self, shape: &Shape, choices: &mut [u8]) -> (Vec<u8>, Vec<u128>) {
        let mut message = vec![0u8; shape.message_len()];
        let mut pads = vec![0u128; shape.count];
        let mut checks = vec![ChunkCheck::default(); shape.count.div_ceil(CHUNK)];
        let first = self.next_block;
        self.next_block += shape.blocks();
        message
            .par_chunks_mut(shape.rows * CHUNK / 8)
            .zip(pads.par_chunks_mut(CHUNK))
            .zip(choices.par_chunks_mut(CHUNK))
            .zip(checks.par_iter_mut())
            .enumerate()
            .for_each_init(
                || self.pool.take(self.trees.len()),
                |pooled, (chunk, (((message, pads), choices), check))| {
                    let first = first + (chunk * CHUNK_BLOCKS) as u64;
                    *check = self.chunk(pooled.scratch(), first, shape, message, pads, choices);
                },
            );
        self.check.add_message(&mut checks);
        (message, pads)
    }

    /// One chunk: rows of the message, pads, and in the random form the choices.
    fn chunk(
        &self,
        scratch: &mut Scratch,
        first: u64,
        shape: &Shape,
        message: &mut [u8],
        pads: &mut [u128],
        choices: &mut [u8],
    ) -> ChunkCheck {
        let count = pads.len();
        let blocks = count.div_ceil(128);
        scratch.expand(&self.trees, first, blocks);
        let mut packed = Zeroizing::new(vec![0u8; 16 * blocks]);
        match shape.form {
            Form::Chosen => pack(choices, &mut packed),
            Form::Random | Form::Correlated => {
                packed.copy_from_slice(scratch.totals[0].bytes(blocks));
                unpack(&packed, choices);
            }
        }
        let bytes = bytes_for_bits(count);
        let totals = &scratch.totals[self.trees.len() - shape.rows..];
        for (row, total) in message.chunks_exact_mut(bytes).zip(totals) {
            row.copy_from_slice(&total.bytes(blocks)[..bytes]);
            xor(row, &packed[..bytes]);
            row[bytes - 1] &= last_byte_mask(count);
        }
        packed[bytes - 1] &= last_byte_mask(count);
        packed[bytes..].fill(0);
        scratch.clear_unused(count);
        let digest = Check::digest(shape.form as u8, first, count, message);
        let check = ChunkCheck::sum(digest, &scratch.matrix, blocks, packed.as_chunks().0);
        let hash = self.hash.part(first);
        for ((block, pads), first) in pads.chunks_mut(128).enumerate().zip((128 * first..).step_by(128)) {
            let columns = &scratch.columns(block)[..pads.len()];
            match shape.form {
                Form::Correlated => pads.copy_from_slice(columns),
                Form::Chosen | Form::Random => hash.hash_to(first, columns, pads),
            }
        }
        check
    }
}

impl fmt::Debug for ExtensionReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtensionReceiver({:?}, {} blocks used, secret)", self.params, self.next_block)
    }
}

/// The sender of the extension: all leaves but those at Δ, and a counter.
pub struct ExtensionSender {
    params: ExtensionParams,
    delta: u128,
    trees: Vec<Streams>,
    hash: TweakedHash,
    next_block: u64,
    check: Check,
    /// Whether a check failed.
    poisoned: bool,
    pool: Pool,
}

impl ExtensionSender {
    /// A sender at the start of its streams; `hash` belongs to the session of the set-up.
    pub(super) fn new(params: ExtensionParams, delta: u128, trees: Vec<Streams>, hash: TweakedHash) -> Self {
        let check = Check::new(hash.tag());
        Self { params, delta, trees, hash, next_block: 0, check, poisoned: false, pool: Pool::default() }
    }

    /// The public parameters.
    #[must_use]
    pub fn params(&self) -> ExtensionParams {
        self.params
    }

    /// The sender's end of `count` transfers, from the message of [`ExtensionReceiver::extend`].
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless the message has `params().message_len(count)` bytes,
    /// [`SsError::BadValue`] where its unused bits are not zero, [`SsError::TooLarge`] above [`MAX_BATCH`].
    /// The state is as before then.
    pub fn extend(&mut self, count: usize, message: &[u8]) -> Result<RotSender, SsError> {
        self.run(&Shape::new(self.params, count, Form::Chosen)?, message)
    }

    /// The sender's end of `count` transfers, from the message of [`ExtensionReceiver::extend_random`].
    ///
    /// # Errors
    /// As [`ExtensionSender::extend`], with `params().random_message_len(count)`.
    pub fn extend_random(&mut self, count: usize, message: &[u8]) -> Result<RotSender, SsError> {
        self.run(&Shape::new(self.params, count, Form::Random)?, message)
    }

    /// `count` correlated transfers, not hashed, from the message of
    /// [`ExtensionReceiver::extend_correlated`]: pairs (q, q ⊕ Δ) with q = v ⊕ Δ·x.
    pub(crate) fn extend_correlated(&mut self, count: usize, message: &[u8]) -> Result<RotSender, SsError> {
        self.run(&Shape::new(self.params, count, Form::Correlated)?, message)
    }

    /// The secret Δ; its lowest bit is 1.
    pub(crate) fn delta(&self) -> u128 {
        self.delta
    }

    /// Checks the message of [`ExtensionReceiver::prove`]: whether all transfers since the last one, or since the
    /// set-up, are consistent.
    ///
    /// # Errors
    /// [`SsError::Inconsistent`] where they are not: this sender then refuses everything else, and nothing that came
    /// from it may be used any more. [`SsError::WrongLength`] unless the message has `params().proof_len()` bytes;
    /// the state is as before then.
    pub fn verify(&mut self, message: &[u8]) -> Result<(), SsError> {
        let wrong_length = || SsError::WrongLength {
            what: "the proof of a transfer extension (bytes)",
            expected: self.params.proof_len(),
            got: message.len(),
        };
        let (mask, proof) = message.split_last_chunk::<PROOF_BYTES>().ok_or_else(wrong_length)?;
        let shape = Shape::mask(self.params);
        if mask.len() != shape.message_len() {
            return Err(wrong_length());
        }
        drop(self.run(&shape, mask)?);
        if self.check.verify(self.delta, proof) {
            return Ok(());
        }
        self.poisoned = true;
        self.delta.zeroize();
        Err(SsError::Inconsistent)
    }

    fn run(&mut self, shape: &Shape, message: &[u8]) -> Result<RotSender, SsError> {
        if self.poisoned {
            return Err(SsError::Inconsistent);
        }
        shape.check(message)?;
        let mut pairs = vec![[0u128; 2]; shape.count];
        let mut checks = vec![ChunkCheck::default(); shape.count.div_ceil(CHUNK)];
        let first = self.next_block;
        self.next_block += shape.blocks();
        message
            .par_chunks(shape.rows * CHUNK / 8)
            .zip(pairs.par_chunks_mut(CHUNK))
            .zip(checks.par_iter_mut())
            .enumerate()
            .for_each_init(
                || self.pool.take(self.trees.len()),
                |pooled, (chunk, ((message, pairs), check))| {
                    let first = first + (chunk * CHUNK_BLOCKS) as u64;
                    *check = self.chunk(pooled.scratch(), first, shape, message, pairs);
                },
            );
        self.check.add_message(&mut checks);
        Ok(RotSender::from_pairs(pairs))
    }

    /// One chunk: adds the corrections, hashes both possible columns.
    fn chunk(
        &self,
        scratch: &mut Scratch,
        first: u64,
        shape: &Shape,
        message: &[u8],
        pairs: &mut [[u128; 2]],
    ) -> ChunkCheck {
        let count = pairs.len();
        let blocks = count.div_ceil(128);
        scratch.expand(&self.trees, first, blocks);
        let field_bits = self.params.field_bits as usize;
        let uncorrected = self.trees.len() - shape.rows;
        for (tree, row) in message.chunks_exact(bytes_for_bits(count)).enumerate() {
            for bit in (tree + uncorrected) * field_bits..(tree + uncorrected + 1) * field_bits {
                let mask = secret_mask(self.delta, bit) as u8;
                xor_masked(scratch.matrix[bit].bytes_mut(blocks), row, mask);
            }
        }
        scratch.clear_unused(count);
        let digest = Check::digest(shape.form as u8, first, count, message);
        let check = ChunkCheck::sum(digest, &scratch.matrix, blocks, &[]);
        let hash = self.hash.part(first);
        for ((block, pairs), first) in pairs.chunks_mut(128).enumerate().zip((128 * first..).step_by(128)) {
            let columns = &scratch.columns(block)[..pairs.len()];
            match shape.form {
                Form::Correlated => {
                    for (pair, column) in pairs.iter_mut().zip(columns) {
                        *pair = [*column, column ^ self.delta];
                    }
                }
                Form::Chosen | Form::Random => hash.hash_pairs_to(first, self.delta, columns, pairs),
            }
        }
        check
    }
}

impl Drop for ExtensionSender {
    fn drop(&mut self) {
        // The streams wipe their own keys.
        self.delta.zeroize();
    }
}

impl ZeroizeOnDrop for ExtensionSender {}

impl fmt::Debug for ExtensionSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtensionSender({:?}, {} blocks used, secret)", self.params, self.next_block)
    }
}

/// Whether the receiver chooses its bits or takes them from the streams.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Chosen,
    Random,
    /// As random, but the columns are given as they are, without the hash.
    Correlated,
}

/// Shape of one batch: all that both parties know of it beforehand.
struct Shape {
    count: usize,
    /// Rows that are sent per chunk: the number of trees, or one less in the random form.
    rows: usize,
    form: Form,
}

impl Shape {
    fn new(params: ExtensionParams, count: usize, form: Form) -> Result<Self, SsError> {
        if count > MAX_BATCH {
            return Err(SsError::TooLarge { what: "oblivious transfers", limit: MAX_BATCH, got: count });
        }
        Ok(Self { count, rows: params.trees() - usize::from(form != Form::Chosen), form })
    }

    /// The transfers that mask a proof: one block, random.
    fn mask(params: ExtensionParams) -> Self {
        Self { count: 128, rows: params.trees() - 1, form: Form::Random }
    }

    /// All chunks but the last are whole bytes, so the rows of all chunks together have ⌈count/8⌉ bytes each.
    fn message_len(&self) -> usize {
        self.rows * bytes_for_bits(self.count)
    }

    fn blocks(&self) -> u64 {
        self.count.div_ceil(128) as u64
    }

    /// Checks the length of a message, and that the unused bits of the rows of its last chunk are zero.
    fn check(&self, message: &[u8]) -> Result<(), SsError> {
        expect_length("the message of a transfer extension (bytes)", self.message_len(), message.len())?;
        let Some(last) = message.chunks(self.rows * CHUNK / 8).last() else { return Ok(()) };
        let unused = !last_byte_mask(self.count);
        let row_ends = last.chunks(last.len() / self.rows).filter_map(<[u8]>::last);
        if row_ends.fold(0, |all, byte| all | byte & unused) != 0 {
            return Err(SsError::BadValue {
                what: "unused bits of a transfer extension message must be zero",
            });
        }
        Ok(())
    }
}

/// The bits in use of the last byte of a row of `count` > 0 bits.
fn last_byte_mask(count: usize) -> u8 {
    u8::MAX >> (bytes_for_bits(count) * 8 - count)
}

/// Packs bytes of 0 or 1, least significant bit first.
fn pack(choices: &[u8], packed: &mut [u8]) {
    for (byte, choices) in packed.iter_mut().zip(choices.chunks(8)) {
        *byte = choices.iter().rev().fold(0, |byte, choice| byte << 1 | choice);
    }
}

/// Unpacks bits to bytes of 0 or 1.
fn unpack(packed: &[u8], choices: &mut [u8]) {
    for (byte, choices) in packed.iter().zip(choices.chunks_mut(8)) {
        for (bit, choice) in choices.iter_mut().enumerate() {
            *choice = byte >> bit & 1;
        }
    }
}

#[cfg(test)]
mod tests;
