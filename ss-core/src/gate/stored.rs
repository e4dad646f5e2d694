//! Client gates at rest: a gate prepared ahead can wait on disk for its input.
//!
//! The bytes are as secret as the gate. Whoever stores them must make sure that they are used at most once: burn
//! the record before the first message that depends on it leaves. All lengths follow from the shape of the gate,
//! which is not part of the record: its arrays follow each other, little-endian.

use zeroize::Zeroizing;

use super::{ClientGate, GateSpec};
use crate::error::{SsError, expect_length};
use crate::secret::Secret;

impl ClientGate {
    /// Bytes of a stored gate of `n` elements.
    pub fn stored_len(spec: &GateSpec, n: usize) -> usize {
        let (test, lanes) = (spec.comparison(), spec.lanes().len());
        let words = if test.table_bits() > 64 { 2 } else { 1 };
        let combine = if test.combine_entries() > 0 { 8 } else { 0 };
        n * (spec.terms() * (16 * words + combine + 2 + 8 * lanes) + 8 * lanes)
    }

    /// The gate as bytes, wiped when dropped; the gate itself is consumed.
    pub fn into_bytes(mut self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(Self::stored_len(&self.spec, self.n)));
        for words in self.words() {
            words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        }
        self.state.iter().for_each(|state| bytes.extend_from_slice(&state.to_le_bytes()));
        bytes
    }

    /// A stored gate of `n` elements.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless the record has exactly the gate's size.
    pub fn from_bytes(spec: &GateSpec, n: usize, bytes: &[u8]) -> Result<Self, SsError> {
        expect_length("stored gate", Self::stored_len(spec, n), bytes.len())?;
        let mut gate = Self::blank(spec, n);
        // Every word is read straight into its place, so that no copy is left to wipe.
        let mut rest = bytes;
        for words in gate.words() {
            let (own, more) = rest.split_at(8 * words.len());
            words
                .iter_mut()
                .zip(own.as_chunks::<8>().0)
                .for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
            rest = more;
        }
        let states = gate.state.iter_mut().zip(rest.as_chunks::<2>().0);
        states.for_each(|(state, bytes)| *state = u16::from_le_bytes(*bytes));
        Ok(gate)
    }

    /// All arrays of words, in the order of the record.
    fn words(&mut self) -> impl Iterator<Item = &mut Secret<u64>> {
        self.tables
            .iter_mut()
            .chain(&mut self.table_pads)
            .chain([&mut self.combine_pads])
            .chain(&mut self.base)
            .chain(&mut self.flip)
    }
}
