//! Client gates at rest: a gate prepared ahead can wait on disk for its input.
//!
//! The bytes are as secret as the gate. Whoever stores them must make sure that they are used at most once: burn
//! the record before the first message that depends on it leaves. All lengths follow from the shape of the gate,
//! which is not part of the record.

use zeroize::Zeroizing;

use super::{ClientGate, GateSpec};
use crate::error::{SsError, expect_length};

impl ClientGate {
    /// Bytes of a stored gate of `n` elements.
    pub fn stored_len(spec: &GateSpec, n: usize) -> usize {
        let digits = spec.comparison().digits();
        n * (digits * 8 + 17 + spec.lanes().len() * 16)
    }

    /// The gate as bytes, wiped when dropped; the gate itself is consumed.
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(Self::stored_len(&self.spec, self.n)));
        for words in [&self.tables, &self.table_pads] {
            words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        }
        for words in [&self.combine, &self.combine_pads].into_iter().chain(&self.base).chain(&self.flip) {
            words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        }
        bytes.extend_from_slice(&self.bits);
        bytes
    }

    /// A stored gate of `n` elements.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless the record has exactly the gate's size.
    pub fn from_bytes(spec: &GateSpec, n: usize, bytes: &[u8]) -> Result<Self, SsError> {
        expect_length("stored gate", Self::stored_len(spec, n), bytes.len())?;
        let (digits, lanes) = (spec.comparison().digits(), spec.lanes().len());
        let (narrow, rest) = bytes.split_at(8 * n * digits);
        let (wide, bits) = rest.split_at(rest.len() - n);
        let narrow: Vec<u32> =
            narrow.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let wide: Vec<u64> = wide.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let part = |at: usize| wide[at * n..(at + 1) * n].to_vec();
        Ok(Self {
            spec: spec.clone(),
            n,
            tables: narrow[..n * digits].to_vec(),
            table_pads: narrow[n * digits..].to_vec(),
            combine: part(0),
            combine_pads: part(1),
            base: (0..lanes).map(|lane| part(2 + lane)).collect(),
            flip: (0..lanes).map(|lane| part(2 + lanes + lane)).collect(),
            bits: bits.to_vec(),
        })
    }
}
