//! Random oblivious transfers as one-time material.
//!
//! [`RotSender`] and [`RotReceiver`] are the two ends of a queue of n transfers: entry i of one belongs to
//! entry i of the other. Both parties take from the front, in the same order and amounts, and so stay
//! aligned. Transfers are secrets to be used once: the types are neither `Clone` nor `Copy`, print their
//! length only, and are wiped when taken or dropped.
//!
//! | side | per transfer | |
//! |---|---|---|
//! | sender | `[k0, k1]`: two pads of 128 bits | 32 bytes |
//! | receiver | `c` in {0, 1} and `k_c` | 17 bytes |
//!
//! Not promised: that the two ends agree. A peer that deviates from the protocol can make them differ.

use crate::error::{SsError, expect_length};
use crate::hash::wipe;
use core::fmt;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// The sender's end of a batch of random oblivious transfers: both pads of each.
///
/// ```compile_fail
/// fn twice(pads: ss_core::ot::RotSender) -> (ss_core::ot::RotSender, ss_core::ot::RotSender) {
///     (pads.clone(), pads)
/// }
/// ```
pub struct RotSender {
    pairs: Vec<[u128; 2]>,
    /// Entries before this one are taken and wiped.
    start: usize,
}

impl RotSender {
    /// A batch from its pads, in order.
    #[must_use]
    pub fn from_pairs(pairs: Vec<[u128; 2]>) -> Self {
        Self { pairs, start: 0 }
    }

    /// Number of transfers left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len() - self.start
    }

    /// Whether no transfer is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pads left: `pairs()[i][c]` is the pad that the receiver has where its choice is `c`.
    #[must_use]
    pub fn pairs(&self) -> &[[u128; 2]] {
        &self.pairs[self.start..]
    }

    /// Splits off the first `count` transfers; they are wiped here. Costs time in `count` only.
    ///
    /// # Errors
    /// [`SsError::Exhausted`] where fewer are left; nothing is taken then.
    pub fn take(&mut self, count: usize) -> Result<Self, SsError> {
        check_left(count, self.len())?;
        let taken = &mut self.pairs[self.start..][..count];
        let pairs = taken.to_vec();
        wipe(taken);
        self.start += count;
        Ok(Self { pairs, start: 0 })
    }

    /// Adds the transfers of `other` at the end.
    pub fn append(&mut self, mut other: Self) {
        let mut joined = Vec::with_capacity(self.len() + other.len());
        joined.extend_from_slice(self.pairs());
        joined.extend_from_slice(other.pairs());
        wipe(&mut self.pairs);
        wipe(&mut other.pairs);
        *self = Self::from_pairs(joined);
    }

    /// The pads left, wiped on drop.
    #[must_use]
    pub fn into_pairs(mut self) -> Zeroizing<Vec<[u128; 2]>> {
        if self.start == 0 {
            return Zeroizing::new(core::mem::take(&mut self.pairs));
        }
        Zeroizing::new(self.pairs().to_vec())
    }
}

impl Drop for RotSender {
    fn drop(&mut self) {
        wipe(&mut self.pairs);
    }
}

impl ZeroizeOnDrop for RotSender {}

impl fmt::Debug for RotSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RotSender({} transfers, secret)", self.len())
    }
}

/// The receiver's end of a batch of random oblivious transfers: a choice bit and the chosen pad of each.
pub struct RotReceiver {
    choices: Vec<u8>,
    pads: Vec<u128>,
    /// Entries before this one are taken and wiped.
    start: usize,
}

impl RotReceiver {
    /// A batch from its parts: `choices` (each 0 or 1) and
    /// `pads` of one length.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] where the lengths differ, [`SsError::BadValue`] where a choice is neither 0
    /// nor 1.
    pub fn from_parts(choices: Vec<u8>, pads: Vec<u128>) -> Result<Self, SsError> {
        // Owned first, so that refused material is wiped too.
        let batch = Self { choices, pads, start: 0 };
        expect_length("the choices of a transfer batch", batch.pads.len(), batch.choices.len())?;
        check_choices(&batch.choices)?;
        Ok(batch)
    }

    /// Number of transfers left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.choices.len() - self.start
    }

    /// Whether no transfer is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The choices left, one per byte, 0 or 1.
    #[must_use]
    pub fn choices(&self) -> &[u8] {
        &self.choices[self.start..]
    }

    /// The chosen pads left, in the order of [`RotReceiver::choices`].
    #[must_use]
    pub fn pads(&self) -> &[u128] {
        &self.pads[self.start..]
    }

    /// Splits off the first `count` transfers; they are wiped here. Costs time in `count` only.
    ///
    /// # Errors
    /// [`SsError::Exhausted`] where fewer are left; nothing is taken then.
    pub fn take(&mut self, count: usize) -> Result<Self, SsError> {
        check_left(count, self.len())?;
        let (choices, pads) =
            (&mut self.choices[self.start..][..count], &mut self.pads[self.start..][..count]);
        let taken = Self { choices: choices.to_vec(), pads: pads.to_vec(), start: 0 };
        wipe(choices);
        wipe(pads);
        self.start += count;
        Ok(taken)
    }

    /// Adds the transfers of `other` at the end.
    pub fn append(&mut self, other: Self) {
        let mut choices = Vec::with_capacity(self.len() + other.len());
        let mut pads = Vec::with_capacity(self.len() + other.len());
        for part in [&*self, &other] {
            choices.extend_from_slice(part.choices());
            pads.extend_from_slice(part.pads());
        }
        *self = Self { choices, pads, start: 0 };
    }

    /// The choices and pads left, wiped on drop.
    #[must_use]
    pub fn into_parts(mut self) -> (Zeroizing<Vec<u8>>, Zeroizing<Vec<u128>>) {
        if self.start == 0 {
            let (choices, pads) = (core::mem::take(&mut self.choices), core::mem::take(&mut self.pads));
            return (Zeroizing::new(choices), Zeroizing::new(pads));
        }
        (Zeroizing::new(self.choices().to_vec()), Zeroizing::new(self.pads().to_vec()))
    }
}

impl Drop for RotReceiver {
    fn drop(&mut self) {
        wipe(&mut self.choices);
        wipe(&mut self.pads);
    }
}

impl ZeroizeOnDrop for RotReceiver {}

impl fmt::Debug for RotReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RotReceiver({} transfers, secret)", self.len())
    }
}

/// Checks that every choice is 0 or 1, without a branch on a single one.
pub(crate) fn check_choices(choices: &[u8]) -> Result<(), SsError> {
    if choices.iter().fold(0, |all, choice| all | choice) > 1 {
        return Err(SsError::BadValue { what: "a choice bit must be 0 or 1" });
    }
    Ok(())
}

fn check_left(wanted: usize, left: usize) -> Result<(), SsError> {
    if wanted > left {
        return Err(SsError::Exhausted { what: "random oblivious transfers", wanted, left });
    }
    Ok(())
}

/// Both ends of `count` random transfers out of one generator: a dealer, for the tests of this crate only.
#[cfg(test)]
pub(crate) fn deal<R: rand_core::CryptoRng>(count: usize, rng: &mut R) -> (RotSender, RotReceiver) {
    let mut block = || u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    let pairs: Vec<[u128; 2]> = (0..count).map(|_| [block(), block()]).collect();
    let choices: Vec<u8> = (0..count).map(|_| block() as u8 & 1).collect();
    let pads = pairs.iter().zip(&choices).map(|(pair, &choice)| pair[choice as usize]).collect();
    (RotSender::from_pairs(pairs), RotReceiver { choices, pads, start: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    fn assert_agree(sender: &RotSender, receiver: &RotReceiver) {
        assert_eq!(sender.len(), receiver.len());
        for (i, pair) in sender.pairs().iter().enumerate() {
            assert_eq!(pair[receiver.choices()[i] as usize], receiver.pads()[i]);
        }
    }

    #[test]
    fn taking_keeps_both_ends_aligned_and_wipes() {
        let (mut sender, mut receiver) = deal(100, &mut ChaCha20Rng::from_seed([3; 32]));
        let all = sender.pairs().to_vec();
        for count in [0, 1, 30, 5] {
            let before = sender.start;
            let (s, r) = (sender.take(count).unwrap(), receiver.take(count).unwrap());
            assert_eq!(s.pairs(), &all[before..before + count]);
            assert_agree(&s, &r);
            assert!(sender.pairs[..sender.start].iter().all(|pair| *pair == [0, 0]));
            assert!(receiver.pads[..receiver.start].iter().all(|pad| *pad == 0));
        }
        assert_eq!(sender.len(), 64);
        assert_eq!(
            sender.take(65).unwrap_err(),
            SsError::Exhausted { what: "random oblivious transfers", wanted: 65, left: 64 }
        );
        assert!(matches!(receiver.take(65), Err(SsError::Exhausted { wanted: 65, left: 64, .. })));
        assert_agree(&sender, &receiver);
        assert_eq!(sender.into_pairs().as_slice(), &all[36..]);
        assert_eq!(receiver.into_parts().1.len(), 64);
    }

    #[test]
    fn appending_keeps_the_order() {
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        let (mut sender, mut receiver) = deal(9, &mut rng);
        let (more_sender, more_receiver) = deal(6, &mut rng);
        let expected = [&sender.pairs()[2..], more_sender.pairs()].concat();
        drop((sender.take(2).unwrap(), receiver.take(2).unwrap()));
        sender.append(more_sender);
        receiver.append(more_receiver);
        assert_eq!(sender.pairs(), expected);
        assert_agree(&sender, &receiver);
    }

    #[test]
    fn parts_are_checked_and_printed_without_secrets() {
        assert!(RotReceiver::from_parts(vec![0, 1], vec![1]).is_err());
        assert!(RotReceiver::from_parts(vec![0, 2], vec![1, 1]).is_err());
        let receiver = RotReceiver::from_parts(vec![0, 1], vec![77_777, 88_888]).unwrap();
        assert_eq!(format!("{receiver:?}"), "RotReceiver(2 transfers, secret)");
        let sender = RotSender::from_pairs(vec![[77_777, 88_888]]);
        assert_eq!(format!("{sender:?}"), "RotSender(1 transfers, secret)");
    }
}
