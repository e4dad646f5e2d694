//! 1-of-2^w transfer of entries of any length.
//!
//! Naor and Pinkas, *Oblivious transfer and polynomial evaluation* (STOC 1999): one entry of a table of 2^w
//! is chosen by w 1-of-2 transfers with keys K_b^0, K_b^1, b < w. With f the w flips that the receiver sends
//! (see [`chosen`](super)) and t the number of the table in its batch:
//!
//! > X_i = ⊕_b K_b^{bit b of (i ⊕ f)},  pad\[i\] = H(X_i, L·t) ‖ H(X_i, L·t + 1) ‖ … ‖ H(X_i, L·t + L − 1)
//!
//! | symbol | meaning | range |
//! |---|---|---|
//! | w | transfers per table | 1 to 8 |
//! | i | slot | 0 to 2^w − 1 |
//! | ℓ | bits of an entry | 1 to [`MAX_ENTRY_BITS`] |
//! | L | words of 128 bits of an entry in memory, ⌈ℓ/128⌉ | |
//!
//! H is the tweakable hash of [`crate::hash`] under a key made of the batch's *label*. On the wire a batch
//! of n tables takes ⌈n·w/8⌉ bytes to the sender and ⌈n·2^w·ℓ/8⌉ back, tables in order, slots in order,
//! bit-packed. Where table and entry fit into 128 bits together, [`pads`](crate::ot::pads) does the same
//! without a hash.
//!
//! **Why it is secure** (semi-honest). Let the receiver hold the key of slot c, and D_b = K_b^0 ⊕ K_b^1 be
//! what it does not know: w uniform words. Slot i ≠ c has X_i = X_c ⊕ (⊕ of D_b over the bits where i and c
//! differ), a sum of at least one D_b, hence uniform for the receiver; and so has the difference of any two
//! slots. Therefore all 2^w inputs are different, and no query of the receiver to the permutation π in H is
//! one of the 2^w − 1 unknown X_i, but with probability 2^−128 for each pair of such values. Then the images
//! π(X_i) are fresh, as are the inputs π(X_i) ⊕ tweak of the second call, and all pads are independent and
//! uniform. One tweak serves all slots of a table, as it serves both halves of a plain transfer: it is the
//! X_i that keep slots apart. That their exclusive ors may cancel (X_0 ⊕ X_1 ⊕ X_2 ⊕ X_3 = 0) is why the
//! keys are hashed at all. Tweaks never repeat in a batch, and a label is never used for two batches, so π
//! and tweak together are used for one table.
//!
//! The flips are uniform for the sender, as in the 1-of-2 forms. Time depends on lengths only: the receiver
//! reads all slots and keeps one by masks.

use crate::bits::{BitReader, BitWriter, bytes_for_bits};
use crate::error::{SsError, expect_length};
use crate::hash::{TweakedHash, wipe};
use crate::ot::rot::{RotReceiver, RotSender};
use core::fmt;
use sha3::{Digest, Sha3_256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Most bits of an entry, 8 KiB.
pub const MAX_ENTRY_BITS: u32 = 1 << 16;

/// Blocks hashed together; enough to fill the pipelines of AES.
const BATCH: usize = 128;

/// The shape of tables; public, and the same for both parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSpec {
    choice_bits: u32,
    entry_bits: u32,
}

impl TableSpec {
    /// Tables of 2^`choice_bits` entries of `entry_bits` bits.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless `choice_bits` is 1 to 8 and `entry_bits` 1 to [`MAX_ENTRY_BITS`].
    pub fn new(choice_bits: u32, entry_bits: u32) -> Result<Self, SsError> {
        if !(1..=8).contains(&choice_bits) {
            return Err(SsError::BadValue { what: "an entry of a table is chosen by 1 to 8 transfers" });
        }
        if !(1..=MAX_ENTRY_BITS).contains(&entry_bits) {
            return Err(SsError::BadValue { what: "an entry of a table has 1 to 65536 bits" });
        }
        Ok(Self { choice_bits, entry_bits })
    }

    /// Entries per table, 2^w.
    #[must_use]
    pub fn slots(self) -> usize {
        1 << self.choice_bits
    }

    /// Transfers per table, w.
    #[must_use]
    pub fn transfers(self) -> usize {
        self.choice_bits as usize
    }

    /// Words of 128 bits per entry in memory, L.
    #[must_use]
    pub fn words(self) -> usize {
        (self.entry_bits as usize).div_ceil(128)
    }

    /// Bytes of the receiver's message for `tables` tables.
    #[must_use]
    pub fn flips_bytes(self, tables: usize) -> usize {
        bytes_for_bits(tables.saturating_mul(self.transfers()))
    }

    /// Bytes of the sender's message for `tables` tables.
    #[must_use]
    pub fn message_bytes(self, tables: usize) -> usize {
        bytes_for_bits(self.message_bits(tables))
    }

    fn message_bits(self, tables: usize) -> usize {
        tables.saturating_mul(self.slots() * self.entry_bits as usize)
    }

    /// Widths of the halves of word `word` of an entry, low half first.
    fn halves(self, word: usize) -> [u32; 2] {
        let left = self.entry_bits - 128 * word as u32;
        [left.min(64), left.saturating_sub(64).min(64)]
    }

    /// Tables that are hashed together.
    fn tables_at_once(self) -> usize {
        (BATCH / self.words()).max(1)
    }

    fn hash(self, label: &[u8; 32]) -> TweakedHash {
        let key: [u8; 32] = Sha3_256::new()
            .chain_update(b"hushnet/table-transfer/v1")
            .chain_update(label)
            .chain_update(self.choice_bits.to_le_bytes())
            .chain_update(self.entry_bits.to_le_bytes())
            .finalize()
            .into();
        TweakedHash::new(&key)
    }
}

/// The receiver between its two messages: one slot number and one hash input per table.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ChoosingTables {
    #[zeroize(skip)]
    spec: TableSpec,
    slots: Vec<u8>,
    inputs: Vec<u128>,
}

impl ChoosingTables {
    /// The message of [`TableSpec::flips_bytes`] bytes that chooses slot `slots[t]` of table t. Table t takes
    /// transfers w·t to w·t + w − 1, the lowest bit of the slot number first.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless there are w transfers per table, [`SsError::BadValue`] for a slot
    /// number from 2^w up.
    pub fn begin(spec: TableSpec, slots: &[u8], transfers: RotReceiver) -> Result<(Vec<u8>, Self), SsError> {
        let width = spec.transfers();
        let expected = slots.len().saturating_mul(width);
        expect_length("the transfers of a batch of tables", expected, transfers.len())?;
        // Without a branch on a single one.
        if usize::from(slots.iter().fold(0, |all, slot| all | slot)) >= spec.slots() {
            return Err(SsError::BadValue { what: "a slot number must be below the number of slots" });
        }
        let mut writer = BitWriter::with_capacity_bits(expected);
        for (&slot, random) in slots.iter().zip(transfers.choices().chunks_exact(width)) {
            let random = random.iter().rev().fold(0, |index, bit| index << 1 | bit);
            writer.push(u64::from(slot ^ random), spec.choice_bits);
        }
        let inputs = transfers.pads().chunks_exact(width).map(|keys| keys.iter().fold(0, |x, key| x ^ key));
        let state = Self { spec, slots: slots.to_vec(), inputs: inputs.collect() };
        Ok((writer.finish(), state))
    }

    /// The chosen entries, L words per table, bits from ℓ up zero; from the message of [`send_tables`].
    ///
    /// `label` is the sender's.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless it has [`TableSpec::message_bytes`] bytes, [`SsError::BadValue`] where
    /// its unused bits are not zero.
    pub fn finish(self, label: &[u8; 32], message: &[u8]) -> Result<Zeroizing<Vec<u128>>, SsError> {
        let spec = self.spec;
        let words = spec.words();
        let mut reader = BitReader::new(message, spec.message_bits(self.slots.len()))?;
        let mut entries = Zeroizing::new(vec![0u128; self.slots.len() * words]);
        for (entry, input) in entries.chunks_exact_mut(words).zip(&self.inputs) {
            entry.fill(*input);
        }
        // The tweaks of a batch are consecutive, whatever the slots.
        spec.hash(label).hash_slice(0, &mut entries);
        for (entry, &slot) in entries.chunks_exact_mut(words).zip(&self.slots) {
            for other in 0..spec.slots() as u64 {
                // All ones where the numbers are equal.
                let mask = ((u64::from(slot) ^ other).wrapping_sub(1) >> 63).wrapping_neg();
                for (word, value) in entry.iter_mut().enumerate() {
                    let [low, high] = spec.halves(word).map(|width| u128::from(reader.read(width) & mask));
                    *value ^= high << 64 | low;
                }
            }
            if let Some(last) = entry.last_mut() {
                *last &= u128::MAX >> (128 * words - spec.entry_bits as usize);
            }
        }
        reader.finish()?;
        Ok(entries)
    }
}

impl fmt::Debug for ChoosingTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChoosingTables({} tables, secret)", self.slots.len())
    }
}

/// Sends one entry of each table: [`TableSpec::message_bytes`] bytes.
///
/// `label` names this batch and no other, the same for both parties. `entries` are n·2^w·L words: table by
/// table, slot by slot, low words first; bits from ℓ up are ignored. `flips` is the message of
/// [`ChoosingTables::begin`].
///
/// # Errors
/// [`SsError::WrongLength`] unless `transfers` are w per table, `entries` 2^w·L words per table and `flips`
/// of [`TableSpec::flips_bytes`] bytes, [`SsError::BadValue`] where unused bits of the flips are not zero.
pub fn send_tables(
    spec: TableSpec,
    label: &[u8; 32],
    entries: &[u128],
    transfers: RotSender,
    flips: &[u8],
) -> Result<Vec<u8>, SsError> {
    let (width, words, slots) = (spec.transfers(), spec.words(), spec.slots());
    let tables = transfers.len() / width;
    expect_length("the transfers of a batch of tables", tables * width, transfers.len())?;
    expect_length("the entries of a batch of tables (words)", tables * slots * words, entries.len())?;
    let mut reader = BitReader::new(flips, transfers.len())?;
    let mut writer = BitWriter::with_capacity_bits(spec.message_bits(tables));
    let hash = spec.hash(label);
    let at_once = spec.tables_at_once();
    let mut inputs = Zeroizing::new(vec![0u128; slots]);
    // Slot after slot, and within it table after table, so that the tweaks of a slot are consecutive.
    let mut pads = Zeroizing::new(vec![0u128; slots * at_once * words]);
    let tables = transfers.pairs().chunks(at_once * width).zip(entries.chunks(at_once * slots * words));
    for (batch, (pairs, entries)) in tables.enumerate() {
        let stride = pairs.len() / width * words;
        for (table, pairs) in pairs.chunks_exact(width).enumerate() {
            hash_inputs(pairs, reader.read(spec.choice_bits), &mut inputs);
            for (slot, input) in inputs.iter().enumerate() {
                pads[slot * stride + table * words..][..words].fill(*input);
            }
        }
        let first_tweak = (batch * at_once * words) as u64;
        for pads in pads[..slots * stride].chunks_exact_mut(stride) {
            hash.hash_slice(first_tweak, pads);
        }
        for (index, entry) in entries.chunks_exact(words).enumerate() {
            let (table, slot) = (index / slots, index % slots);
            let pads = &pads[slot * stride + table * words..][..words];
            for (word, (value, pad)) in entry.iter().zip(pads).enumerate() {
                let [low, high] = spec.halves(word);
                writer.push((value ^ pad) as u64, low);
                writer.push(((value ^ pad) >> 64) as u64, high);
            }
        }
    }
    reader.finish()?;
    wipe(&mut pads);
    Ok(writer.finish())
}

/// X_i of every slot: the first from the flipped keys, the others by adding differences.
fn hash_inputs(pairs: &[[u128; 2]], flips: u64, inputs: &mut [u128]) {
    inputs[0] = 0;
    for (bit, &[zero, one]) in pairs.iter().enumerate() {
        let difference = zero ^ one;
        let first = zero ^ (difference & u128::from(flips >> bit & 1).wrapping_neg());
        let (done, next) = inputs[..2 << bit].split_at_mut(1 << bit);
        for (low, high) in done.iter_mut().zip(next) {
            *low ^= first;
            *high = *low ^ difference;
        }
    }
}

#[cfg(test)]
mod tests;
