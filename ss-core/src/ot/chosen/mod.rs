//! Transfers of messages of one's own: chosen, correlated, and 1 of 2^w.
//!
//! Random transfers ([`RotSender`], [`RotReceiver`]) are turned into the other forms by two messages. First
//! the receiver says in which of the transfers its random choice is the wrong one (Beaver, *Precomputing
//! oblivious transfer*, CRYPTO 1995), then the sender sends what the form needs:
//!
//! | form | the sender has | the receiver gets, with choice c | receiver → sender | sender → receiver | functions |
//! |---|---|---|---|---|---|
//! | chosen | messages m^0, m^1 of 128 bits | m^c | 1 bit | 256 bits | [`send_chosen`], [`Choosing::open`] |
//! | correlated, in {0,1}^128 | δ, and gets x | x ⊕ c·δ | 1 bit | 128 bits | [`send_correlated`], [`Choosing::open_correlated`] |
//! | correlated, in Z_2^w | δ, and gets x | x + c·δ | 1 bit | w bits | [`send_sums`], [`Choosing::open_sums`] |
//! | 1 of 2^w | 2^w entries | entry number c | w bits | 2^w entries | [`table`] |
//!
//! With k^0, k^1 the keys of a transfer, r its random choice and f = c ⊕ r the flip: the sender pairs
//! message b with key b ⊕ f, so that choice c meets key c ⊕ f = r. Chosen: y^b = m^b ⊕ k^{b⊕f}. Correlated:
//! x = k^f, and y = x + δ − k^{1⊕f} (⊕ for + and − in {0,1}^128); the receiver has k^r + c·y. In Z_2^w keys
//! are cut to their low w bits.
//!
//! **Why it is secure** (semi-honest). *Choices*: r is uniform and unknown to the sender, so f is uniform
//! whatever c is. That needs transfers with *random* choices, as of
//! [`extend_random`](super::ExtensionReceiver::extend_random). *Messages*: k^{1⊕r} is uniform for the
//! receiver and masks exactly one value, y^{1⊕c} or, where c = 0, y; where c = 1, y is determined by k^r and
//! the result. Every key is used once: the batches are consumed.
//!
//! Not promised: authenticity. A peer, or the line, that flips a bit of any message flips it in a result, or
//! exchanges the two messages; nobody is told.
//!
//! Time depends on lengths only. Messages are bit-packed as in [`crate::bits`], transfer after transfer.

pub mod table;

use super::rot::{RotReceiver, RotSender, check_choices};
use crate::bits::{BitReader, BitWriter, bytes_for_bits};
use crate::error::{SsError, expect_length};
use core::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The receiver between its two messages: its choices, and the one key of each transfer.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Choosing {
    choices: Vec<u8>,
    keys: Vec<u128>,
}

impl Choosing {
    /// The message of [`flips_bytes`] bytes that turns random choices into `choices`, one per transfer, 0 or
    /// 1 each.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless there are as many choices as transfers, [`SsError::BadValue`] for a
    /// choice that is neither 0 nor 1.
    pub fn begin(choices: &[u8], transfers: RotReceiver) -> Result<(Vec<u8>, Self), SsError> {
        expect_length("the choices of a transfer", transfers.len(), choices.len())?;
        check_choices(choices)?;
        let (random, mut keys) = transfers.into_parts();
        let mut writer = BitWriter::with_capacity_bits(choices.len());
        for (choice, random) in choices.iter().zip(random.iter()) {
            writer.push(u64::from(choice ^ random), 1);
        }
        Ok((writer.finish(), Self { choices: choices.to_vec(), keys: core::mem::take(&mut *keys) }))
    }

    /// Number of transfers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no transfer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The chosen messages, from the message of [`send_chosen`].
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless it has [`chosen_bytes`] bytes.
    pub fn open(self, message: &[u8]) -> Result<Zeroizing<Vec<u128>>, SsError> {
        expect_length("the message of a chosen transfer (bytes)", chosen_bytes(self.len()), message.len())?;
        let (words, _) = message.as_chunks::<16>();
        let (pairs, _) = words.as_chunks::<2>();
        Ok(self.collect(pairs, |key, choice, pair| {
            let [zero, one] = pair.map(u128::from_le_bytes);
            key ^ zero ^ ((zero ^ one) & choice.wrapping_neg())
        }))
    }

    /// x ⊕ c·δ of every transfer, from the message of [`send_correlated`].
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless it has [`correlated_bytes`] bytes.
    pub fn open_correlated(self, message: &[u8]) -> Result<Zeroizing<Vec<u128>>, SsError> {
        let expected = correlated_bytes(self.len());
        expect_length("the message of a correlated transfer (bytes)", expected, message.len())?;
        let (words, _) = message.as_chunks::<16>();
        Ok(self
            .collect(words, |key, choice, word| key ^ (u128::from_le_bytes(*word) & choice.wrapping_neg())))
    }

    /// x + c·δ mod 2^`width` of every transfer, from the message of [`send_sums`].
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless it has [`sums_bytes`] bytes, [`SsError::BadValue`] where its unused
    /// bits are not zero or `width` is not 1 to 64.
    pub fn open_sums(self, width: u32, message: &[u8]) -> Result<Zeroizing<Vec<u64>>, SsError> {
        let mask = check_width(width)?;
        let mut reader = BitReader::new(message, self.len().saturating_mul(width as usize))?;
        let sums = self.keys.iter().zip(&self.choices).map(|(&key, &choice)| {
            let correction = reader.read(width) & u64::from(choice).wrapping_neg();
            (key as u64).wrapping_add(correction) & mask
        });
        let sums = Zeroizing::new(sums.collect());
        reader.finish()?;
        Ok(sums)
    }

    /// One value per transfer, from key, choice and the sender's word.
    fn collect<T>(&self, words: &[T], value: impl Fn(u128, u128, &T) -> u128) -> Zeroizing<Vec<u128>> {
        let own = self.keys.iter().zip(&self.choices);
        Zeroizing::new(
            own.zip(words).map(|((&key, &choice), word)| value(key, u128::from(choice), word)).collect(),
        )
    }
}

impl fmt::Debug for Choosing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Choosing({} transfers, secret)", self.len())
    }
}

/// Bytes of the receiver's message for `count` transfers of any 1-of-2 form.
#[must_use]
pub const fn flips_bytes(count: usize) -> usize {
    bytes_for_bits(count)
}

/// Bytes of the message of [`send_chosen`].
#[must_use]
pub const fn chosen_bytes(count: usize) -> usize {
    count.saturating_mul(32)
}

/// Bytes of the message of [`send_correlated`].
#[must_use]
pub const fn correlated_bytes(count: usize) -> usize {
    count.saturating_mul(16)
}

/// Bytes of the message of [`send_sums`].
#[must_use]
pub const fn sums_bytes(count: usize, width: u32) -> usize {
    bytes_for_bits(count.saturating_mul(width as usize))
}

/// Sends one of two messages per transfer; `flips` is the message of [`Choosing::begin`]. Gives
/// [`chosen_bytes`] bytes.
///
/// # Errors
/// [`SsError::WrongLength`] unless there are as many pairs of messages as transfers and
/// [`flips_bytes`] bytes of flips, [`SsError::BadValue`] where unused bits of the flips are not zero.
pub fn send_chosen(messages: &[[u128; 2]], transfers: RotSender, flips: &[u8]) -> Result<Vec<u8>, SsError> {
    expect_length("the messages of a chosen transfer", transfers.len(), messages.len())?;
    let mut bytes = Vec::with_capacity(chosen_bytes(messages.len()));
    for_each_flipped(transfers, flips, |i, keys| {
        for (message, key) in messages[i].iter().zip(keys) {
            bytes.extend_from_slice(&(message ^ key).to_le_bytes());
        }
    })?;
    Ok(bytes)
}

/// Sends x or x ⊕ `delta[i]` in transfer i, x random: the message of [`correlated_bytes`] bytes, and all x.
///
/// # Errors
/// As [`send_chosen`], with one `delta` per transfer.
pub fn send_correlated(
    delta: &[u128],
    transfers: RotSender,
    flips: &[u8],
) -> Result<(Vec<u8>, Zeroizing<Vec<u128>>), SsError> {
    expect_length("the differences of a correlated transfer", transfers.len(), delta.len())?;
    let mut bytes = Vec::with_capacity(correlated_bytes(delta.len()));
    let mut kept = Zeroizing::new(Vec::with_capacity(delta.len()));
    for_each_flipped(transfers, flips, |i, [zero, one]| {
        bytes.extend_from_slice(&(zero ^ delta[i] ^ one).to_le_bytes());
        kept.push(zero);
    })?;
    Ok((bytes, kept))
}

/// Sends x or x + `delta[i]` mod 2^`width` in transfer i, x random: the message of [`sums_bytes`] bytes, and
/// all x. Bits of `delta` from `width` up are ignored.
///
/// # Errors
/// As [`send_correlated`]; [`SsError::BadValue`] also where `width` is not 1 to 64.
pub fn send_sums(
    delta: &[u64],
    width: u32,
    transfers: RotSender,
    flips: &[u8],
) -> Result<(Vec<u8>, Zeroizing<Vec<u64>>), SsError> {
    let mask = check_width(width)?;
    expect_length("the differences of a correlated transfer", transfers.len(), delta.len())?;
    let mut writer = BitWriter::with_capacity_bits(delta.len().saturating_mul(width as usize));
    let mut kept = Zeroizing::new(Vec::with_capacity(delta.len()));
    for_each_flipped(transfers, flips, |i, [zero, one]| {
        // The writer cuts to `width` bits.
        writer.push((zero as u64).wrapping_add(delta[i]).wrapping_sub(one as u64), width);
        kept.push(zero as u64 & mask);
    })?;
    Ok((writer.finish(), kept))
}

/// Calls `each` with the index of every transfer and its keys, in the order of the receiver's choices.
fn for_each_flipped(
    transfers: RotSender,
    flips: &[u8],
    mut each: impl FnMut(usize, [u128; 2]),
) -> Result<(), SsError> {
    let mut reader = BitReader::new(flips, transfers.len())?;
    for (i, &[zero, one]) in transfers.pairs().iter().enumerate() {
        let swap = (zero ^ one) & u128::from(reader.read(1)).wrapping_neg();
        each(i, [zero ^ swap, one ^ swap]);
    }
    reader.finish()
}

/// The mask of the low `width` bits.
fn check_width(width: u32) -> Result<u64, SsError> {
    if (1..=64).contains(&width) {
        Ok(u64::MAX >> (64 - width))
    } else {
        Err(SsError::BadValue { what: "a correlated transfer has 1 to 64 bits" })
    }
}

#[cfg(test)]
mod tests;
