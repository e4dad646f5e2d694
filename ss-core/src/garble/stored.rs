//! Client halves at rest, packed: a gate garbled ahead can wait on disk for its input.
//!
//! | field | bits |
//! |---|---|
//! | seed of Δ and of the X | 128 |
//! | flags, per term and element | 4 |
//! | V and pads, per term, lane and element | 4·(w + j) |
//!
//! The bytes are as secret as the material. Whoever stores them must make sure that they are used at most once: burn
//! the record before the first message that depends on it leaves. The shape is not part of the record.

use zeroize::Zeroizing;

use super::client::FLAGS;
use super::{GarbleClient, GarbleSpec};
use crate::bits::{BitReader, BitWriter, bytes_for_bits};
use crate::error::{SsError, expect_length};
use crate::secret::Secret;

impl GarbleClient {
    /// Bytes of the stored half of `n` elements.
    #[must_use]
    pub fn stored_len(spec: &GarbleSpec, n: usize) -> usize {
        16 + bytes_for_bits(n * stored_bits(spec))
    }

    /// The half as bytes, wiped when dropped; the half itself is consumed.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        let spec = &self.spec;
        let mut writer = BitWriter::with_capacity_bits(128 + self.n * stored_bits(spec));
        writer.push(self.seed[0] as u64, 64);
        writer.push((self.seed[0] >> 64) as u64, 64);
        self.flags.iter().for_each(|&flags| writer.push(u64::from(flags), FLAGS));
        for words in [&self.parts, &self.pads] {
            for_lanes(spec, self.n, |range, width| {
                words[range].as_flattened().iter().for_each(|&word| writer.push(word, width));
            });
        }
        Zeroizing::new(writer.finish())
    }

    /// A stored half of `n` elements.
    ///
    /// # Errors
    /// [`SsError`] unless the record has exactly the size of `n` elements and no stray bits.
    pub fn from_bytes(spec: &GarbleSpec, n: usize, bytes: &[u8]) -> Result<Self, SsError> {
        expect_length("stored garbled gate", Self::stored_len(spec, n), bytes.len())?;
        let (seed, rest) = bytes.split_first_chunk::<16>().expect("the length was checked");
        let mut reader = BitReader::new(rest, n * stored_bits(spec))?;
        let mut client = Self {
            spec: spec.clone(),
            n,
            seed: vec![u128::from_le_bytes(*seed)].into(),
            flags: Secret::zeros(n * spec.terms()),
            parts: Secret::zeros(n * spec.terms() * spec.lanes().len()),
            pads: Secret::zeros(n * spec.terms() * spec.lanes().len()),
        };
        client.flags.iter_mut().for_each(|flags| *flags = reader.read(FLAGS) as u8);
        for words in [&mut client.parts, &mut client.pads] {
            for_lanes(spec, n, |range, width| {
                words[range].as_flattened_mut().iter_mut().for_each(|word| *word = reader.read(width));
            });
        }
        reader.finish()?;
        Ok(client)
    }
}

/// Calls with the place and the width of each term's and lane's words.
fn for_lanes(spec: &GarbleSpec, n: usize, mut call: impl FnMut(std::ops::Range<usize>, u32)) {
    let lanes = spec.lanes();
    for at in 0..spec.terms() * lanes.len() {
        let lane = lanes[at % lanes.len()];
        call(at * n..(at + 1) * n, lane.bits() + lane.shift());
    }
}

/// Bits per element but for the seed.
fn stored_bits(spec: &GarbleSpec) -> usize {
    let widths = spec.lanes().iter().map(|lane| lane.bits() + lane.shift()).sum::<u32>() as usize;
    spec.terms() * (FLAGS as usize + 4 * widths)
}
