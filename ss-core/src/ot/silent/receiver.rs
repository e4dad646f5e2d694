//! The receiver of the silent extension.
//!
//! Has per correlated transfer M, whose bit 0 is the choice b. Per iteration and tree, with `M_1, …, M_h` the
//! h base transfers that belong to it: the path turns right at level i where `b_i = 0`, `M_1` is the node of
//! level 1 beside the path, and the answer's block i plus `M_i` is the sum of the nodes of level i on the side
//! that the path does not take:
//!
//! > (K_i ⊕ L_i) ⊕ (K_i ⊕ b_i·Δ) = L_i ⊕ b_i·Δ, which is L_i for b_i = 0 and R_i for b_i = 1.
//!
//! Random choices cost nothing; chosen ones one bit each, the difference from the random ones.

use super::Blocks;
use super::params::SilentParams;
use super::pool::{Pool, Side};
use super::tree::grow_punctured;
use crate::bits::bytes_for_bits;
use crate::error::{SsError, expect_length};
use crate::hash::{CircularHash, TweakedHash};
use crate::ot::rot::{RotReceiver, check_choices};
use crate::ot::softspoken::ExtensionReceiver;
use core::fmt;
use zeroize::Zeroizing;

/// The receiver's end of the silent extension: a stock of transfers, refilled by one answer per iteration.
pub struct SilentReceiver {
    /// Gives the first base, and is dropped then.
    pub(super) extension: Option<ExtensionReceiver>,
    /// The base of the iteration that waits for its answer: k + t·h words, bit 0 the choice, or more.
    pub(super) pending: Option<Blocks>,
    pub(super) pool: Pool<ReceiverSide>,
}

impl SilentReceiver {
    /// An empty stock. `extension` may have been used before, but is used up here; it must be at the same
    /// place of its streams as that of the sender.
    ///
    /// `session` is the identifier of the extension's set-up, or another one that is unique to this pair of
    /// ends.
    #[must_use]
    pub fn new(session: &[u8; 32], extension: ExtensionReceiver, params: SilentParams) -> Self {
        let pool = Pool::new(session, params, ReceiverSide { depth: params.depth() });
        Self { extension: Some(extension), pending: None, pool }
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

    /// Begins an iteration: the request for [`SilentSender::refill`](super::SilentSender::refill),
    /// [`SilentParams::first_request_len`] bytes the first time, none later. Transfers in stock can go on
    /// being taken.
    ///
    /// # Errors
    /// [`SsError::OutOfOrder`] while an iteration waits for its answer.
    pub fn refill_begin(&mut self) -> Result<Vec<u8>, SsError> {
        if self.pending.is_some() {
            return Err(SsError::OutOfOrder { what: "a silent iteration still waits for its answer" });
        }
        let mut request = Vec::new();
        let base = match self.extension.take() {
            Some(mut extension) => {
                let received;
                (request, received) = extension.extend_correlated(self.pool.params.base_len())?;
                request.extend(extension.prove());
                let with_choice = |(column, &choice): (&u128, &u8)| (column & !1) | u128::from(choice);
                Blocks::from(
                    received.pads().iter().zip(received.choices()).map(with_choice).collect::<Vec<_>>(),
                )
            }
            None => self.pool.next_base().expect("without the extension there is an iteration in stock"),
        };
        self.pending = Some(base);
        Ok(request)
    }

    /// Ends the iteration: takes the sender's answer and adds [`SilentParams::usable`] transfers to the stock.
    ///
    /// # Errors
    /// [`SsError::OutOfOrder`] unless an iteration was begun, [`SsError::WrongLength`] unless the answer has
    /// [`SilentParams::answer_len`] bytes; nothing has changed then.
    pub fn refill_finish(&mut self, answer: &[u8]) -> Result<(), SsError> {
        let params = self.pool.params;
        let Some(base) = &self.pending else {
            return Err(SsError::OutOfOrder { what: "no silent iteration waits for an answer" });
        };
        expect_length("the answer of a silent iteration (bytes)", params.answer_len(), answer.len())?;
        let (secret, keys) = base[..params.base_len()].split_at(params.base_rows());
        let depth = params.depth();
        let mut sums = Blocks::copy_of(keys);
        let (cells, _) = answer.as_chunks::<16>();
        for (sums, cells) in sums.chunks_mut(depth).zip(cells.chunks(depth - 1)) {
            for (sum, cell) in sums[1..].iter_mut().zip(cells) {
                *sum ^= u128::from_le_bytes(*cell);
            }
        }
        let path = |keys: &[u128]| (0..).zip(keys).fold(0, |path, (i, key)| path | (!*key as u32 & 1) << i);
        let paths = Zeroizing::new(keys.chunks(depth).map(path).collect());
        self.pool.put(Blocks::copy_of(secret), PuncturedTrees { paths, sums });
        self.pending = None;
        Ok(())
    }

    /// The next `count` transfers, with random choices.
    ///
    /// # Errors
    /// [`SsError::Exhausted`] where fewer are in stock; nothing is taken then.
    pub fn take_random(&mut self, count: usize) -> Result<RotReceiver, SsError> {
        self.pool.check(count)?;
        let (mut choices, mut pads) = (vec![0u8; count], vec![0u128; count]);
        self.pool.take(count, (&mut choices, &mut pads))?;
        RotReceiver::from_parts(choices, pads)
    }

    /// The next transfers with the given choices, one per byte, 0 or 1: the message for
    /// [`SilentSender::take_chosen`](super::SilentSender::take_chosen), `⌈n/8⌉` bytes, and the receiver's end.
    ///
    /// # Errors
    /// [`SsError::BadValue`] for a choice that is neither 0 nor 1, [`SsError::Exhausted`] where fewer
    /// transfers are in stock; nothing is taken then.
    pub fn take_chosen(&mut self, choices: &[u8]) -> Result<(Vec<u8>, RotReceiver), SsError> {
        check_choices(choices)?;
        let (random, mut pads) = self.take_random(choices.len())?.into_parts();
        let mut flips = vec![0u8; bytes_for_bits(choices.len())];
        for ((byte, choices), random) in flips.iter_mut().zip(choices.chunks(8)).zip(random.chunks(8)) {
            for (bit, (choice, random)) in choices.iter().zip(random).enumerate() {
                *byte |= (choice ^ random) << bit;
            }
        }
        let received = RotReceiver::from_parts(choices.to_vec(), core::mem::take(&mut *pads))?;
        Ok((flips, received))
    }
}

impl fmt::Debug for SilentReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SilentReceiver({:?}, {} transfers, secret)", self.params(), self.available())
    }
}

/// The receiver needs no secret of its own to expand.
pub(super) struct ReceiverSide {
    pub(super) depth: usize,
}

/// Paths, one per tree, and h sums each.
pub(super) struct PuncturedTrees {
    paths: Zeroizing<Vec<u32>>,
    sums: Blocks,
}

impl Side for ReceiverSide {
    type Trees = PuncturedTrees;
    /// Choices and pads.
    type Out<'a> = (&'a mut [u8], &'a mut [u128]);

    fn split((choices, pads): Self::Out<'_>, count: usize) -> (Self::Out<'_>, Self::Out<'_>) {
        let (choices, later_choices) = choices.split_at_mut(count);
        let (pads, later_pads) = pads.split_at_mut(count);
        ((choices, pads), (later_choices, later_pads))
    }

    fn grow(&self, hash: &CircularHash, trees: &PuncturedTrees, tree: usize, leaves: &mut [u128]) {
        let sums = &trees.sums[tree * self.depth..][..self.depth];
        grow_punctured(hash, trees.paths[tree], sums, leaves);
    }

    fn emit(&self, hash: &TweakedHash, first: u64, columns: &[u128], (choices, pads): Self::Out<'_>) {
        for (choice, column) in choices.iter_mut().zip(columns) {
            *choice = *column as u8 & 1;
        }
        pads.copy_from_slice(columns);
        hash.hash_slice(first, pads);
    }
}
