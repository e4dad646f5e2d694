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
        let mut rest = bytes;
        let mut take = |count: usize| {
            let (part, more) = rest.split_at(count);
            rest = more;
            part
        };
        let narrow =
            |part: &[u8]| part.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let wide =
            |part: &[u8]| part.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        // In the order of `into_bytes`; every word is read straight into its place, so that no copy is left to wipe.
        Ok(Self {
            spec: spec.clone(),
            n,
            tables: narrow(take(4 * n * digits)),
            table_pads: narrow(take(4 * n * digits)),
            combine: wide(take(8 * n)),
            combine_pads: wide(take(8 * n)),
            base: (0..lanes).map(|_| wide(take(8 * n))).collect(),
            flip: (0..lanes).map(|_| wide(take(8 * n))).collect(),
            bits: take(n).to_vec(),
        })
    }
}
