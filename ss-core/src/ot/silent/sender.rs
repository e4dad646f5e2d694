//! The sender of the silent extension.
//!
//! Has Δ, odd, and per correlated transfer K with bit 0 cleared. Per iteration and tree, with `K_1, …, K_h`
//! the h base transfers that belong to it: the root is `K_1`, and the answer holds `K_i ⊕ L_i` for i = 2 to h,
//! L_i the sum of the left nodes of level i.
//!
//! | answer | order | bytes |
//! |---|---|---|
//! | `K_i ⊕ L_i` | tree-major, i ascending, little-endian | t·(h − 1)·16 |

use super::Blocks;
use super::params::SilentParams;
use super::pool::{Pool, Side};
use super::tree::{grow, left_sums};
use crate::bits::BitReader;
use crate::error::{SsError, expect_length};
use crate::hash::{CircularHash, TweakedHash, wipe};
use crate::ot::rot::RotSender;
use crate::ot::softspoken::ExtensionSender;
use core::fmt;
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Transfers that are hashed at once.
const BATCH: usize = 256;

/// The sender's end of the silent extension: a stock of transfers, refilled by one answer per iteration.
pub struct SilentSender {
    /// Gives the first base, and is dropped then.
    pub(super) extension: Option<ExtensionSender>,
    pub(super) pool: Pool<SenderSide>,
}

impl SilentSender {
    /// An empty stock. `extension` may have been used before, but is used up here; it must be at the same
    /// place of its streams as that of the receiver.
    ///
    /// `session` is the identifier of the extension's set-up, or another one that is unique to this pair of
    /// ends.
    #[must_use]
    pub fn new(session: &[u8; 32], extension: ExtensionSender, params: SilentParams) -> Self {
        let side = SenderSide { delta: extension.delta() };
        // Zero is what a failed check leaves; such an extension refuses to make a base.
        assert!(side.delta & 1 == 1 || side.delta == 0, "the set-up makes Δ odd");
        Self { extension: Some(extension), pool: Pool::new(session, params, side) }
    }

    /// The public parameters.
    #[must_use]
    pub fn params(&self) -> SilentParams {
        self.pool.params
    }

    /// Transfers in stock.
    #[must_use]
    pub fn available(&self) -> usize {
        self.pool.available()
    }

    /// Bytes of the request that [`SilentSender::refill`] takes next: [`SilentParams::first_request_len`] the
    /// first time, 0 later.
    #[must_use]
    pub fn request_len(&self) -> usize {
        self.extension.as_ref().map_or(0, |extension| self.params().first_request_len(extension.params()))
    }

    /// Adds [`SilentParams::usable`] transfers to the stock: takes the request of
    /// [`SilentReceiver::refill_begin`](super::SilentReceiver::refill_begin), gives the answer,
    /// [`SilentParams::answer_len`] bytes. Expands all trees once, for their sums.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] or [`SsError::BadValue`] for a request that is none; nothing has changed then.
    /// [`SsError::Inconsistent`] where the base contradicts itself: the other party is not to be trusted any more.
    pub fn refill(&mut self, request: &[u8]) -> Result<Vec<u8>, SsError> {
        let params = self.pool.params;
        let base = match &mut self.extension {
            Some(extension) => {
                let expected = params.first_request_len(extension.params());
                expect_length("the first request of a silent extension (bytes)", expected, request.len())?;
                let (base, proof) = request.split_at(params.base_message_len(extension.params()));
                let sent = extension.extend_correlated(params.base_len(), base)?;
                extension.verify(proof)?;
                self.extension = None;
                Blocks::from(sent.into_pairs().iter().map(|pair| pair[0] & !1).collect::<Vec<_>>())
            }
            None => {
                expect_length("the request of a later silent iteration (bytes)", 0, request.len())?;
                self.pool.next_base().expect("without the extension there is an iteration in stock")
            }
        };
        Ok(self.iterate(&base[..params.base_len()]))
    }

    /// Makes an iteration of its base, k + t·h words with bit 0 cleared, and gives the answer.
    pub(super) fn iterate(&mut self, base: &[u128]) -> Vec<u8> {
        let params = self.pool.params;
        let (secret, keys) = base.split_at(params.base_rows());
        let depth = params.depth();
        let (hash, _) = self.pool.next_keys();
        let delta = self.pool.side.delta;
        let mut answer = vec![0u8; params.answer_len()];
        answer.par_chunks_mut(16 * (depth - 1)).zip(keys.par_chunks(depth)).for_each_init(
            || (Blocks::zeros(params.leaves()), Blocks::zeros(depth - 1)),
            |(scratch, sums), (answer, keys)| {
                left_sums(&hash, keys[0], delta, scratch, sums);
                let (cells, _) = answer.as_chunks_mut::<16>();
                for ((cell, key), sum) in cells.iter_mut().zip(&keys[1..]).zip(sums.iter()) {
                    *cell = (key ^ sum).to_le_bytes();
                }
            },
        );
        let roots = Blocks::from(keys.iter().step_by(depth).copied().collect::<Vec<_>>());
        self.pool.put(Blocks::copy_of(secret), roots);
        answer
    }

    /// The next `count` transfers, which belong to those of
    /// [`SilentReceiver::take_random`](super::SilentReceiver::take_random).
    ///
    /// # Errors
    /// [`SsError::Exhausted`] where fewer are in stock; nothing is taken then.
    pub fn take(&mut self, count: usize) -> Result<RotSender, SsError> {
        self.pool.check(count)?;
        let mut pairs = vec![[0u128; 2]; count];
        self.pool.take(count, &mut pairs)?;
        Ok(RotSender::from_pairs(pairs))
    }

    /// The next `count` transfers, with the receiver's choices: `flips` is the message of
    /// [`SilentReceiver::take_chosen`](super::SilentReceiver::take_chosen), `⌈count/8⌉` bytes.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] for a message of another length, [`SsError::BadValue`] where its unused bits
    /// are not zero, [`SsError::Exhausted`] where fewer transfers are in stock; nothing is taken then.
    pub fn take_chosen(&mut self, count: usize, flips: &[u8]) -> Result<RotSender, SsError> {
        // Checks length and unused bits.
        BitReader::new(flips, count)?;
        let mut pairs = self.take(count)?.into_pairs();
        for (pairs, byte) in pairs.chunks_mut(8).zip(flips) {
            for (bit, pair) in pairs.iter_mut().enumerate() {
                let swap = (pair[0] ^ pair[1]) & u128::from(byte >> bit & 1).wrapping_neg();
                pair[0] ^= swap;
                pair[1] ^= swap;
            }
        }
        Ok(RotSender::from_pairs(core::mem::take(&mut *pairs)))
    }
}

impl fmt::Debug for SilentSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SilentSender({:?}, {} transfers, secret)", self.params(), self.available())
    }
}

/// The sender's secret.
pub(super) struct SenderSide {
    pub(super) delta: u128,
}

impl Drop for SenderSide {
    fn drop(&mut self) {
        self.delta.zeroize();
    }
}

impl ZeroizeOnDrop for SenderSide {}

impl Side for SenderSide {
    /// The roots.
    type Trees = Blocks;
    type Out<'a> = &'a mut [[u128; 2]];

    fn split(out: Self::Out<'_>, count: usize) -> (Self::Out<'_>, Self::Out<'_>) {
        out.split_at_mut(count)
    }

    fn grow(&self, hash: &CircularHash, trees: &Blocks, tree: usize, leaves: &mut [u128]) {
        grow(hash, trees[tree], self.delta, leaves);
    }

    fn emit(&self, hash: &TweakedHash, first: u64, columns: &[u128], out: Self::Out<'_>) {
        let mut pads = [[0u128; BATCH]; 2];
        for ((first, columns), out) in
            (first..).step_by(BATCH).zip(columns.chunks(BATCH)).zip(out.chunks_mut(BATCH))
        {
            let [zeros, ones] = &mut pads;
            let (zeros, ones) = (&mut zeros[..columns.len()], &mut ones[..columns.len()]);
            zeros.copy_from_slice(columns);
            for (one, column) in ones.iter_mut().zip(columns) {
                *one = column ^ self.delta;
            }
            hash.hash_slice(first, zeros);
            hash.hash_slice(first, ones);
            for ((pair, zero), one) in out.iter_mut().zip(zeros.iter()).zip(ones.iter()) {
                *pair = [*zero, *one];
            }
        }
        wipe(pads.as_flattened_mut());
    }
}
