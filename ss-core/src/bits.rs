//! Packing of integers of any width, 0 to 64 bits, into bytes without gaps.
//!
//! Online messages are made of many short fields (one bit of a choice, four of a digit, 46 of an activation),
//! and every padded bit would be paid for on the wire. Bit order is little-endian throughout: field bits from
//! the least significant up, bytes from the first up. A field may straddle bytes and words.
//!
//! | n fields of w bits | bytes |
//! |---|---|
//! | any | ⌈n·w / 8⌉, see [`bytes_for_bits`] |
//!
//! The encoding is canonical: the unused bits of the last byte are zero and [`BitReader::new`] refuses
//! anything else, so two different byte strings never decode to the same fields.
//!
//! Values may be secret: time depends on the widths only.

use crate::error::{SsError, expect_length};

/// Bytes that `n` bits take, `⌈n / 8⌉`.
#[must_use]
pub const fn bytes_for_bits(n: usize) -> usize {
    n.div_ceil(8)
}

/// Appends fields of 0 to 64 bits to a byte vector.
///
/// ```
/// use ss_core::bits::{BitReader, BitWriter};
/// let mut writer = BitWriter::new();
/// writer.push(5, 3);
/// writer.push(1000, 10);
/// let bytes = writer.finish();
/// assert_eq!(bytes.len(), 2);
/// let mut reader = BitReader::new(&bytes, 13)?;
/// assert_eq!((reader.read(3), reader.read(10)), (5, 1000));
/// reader.finish()?;
/// # Ok::<(), ss_core::error::SsError>(())
/// ```
#[derive(Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits not yet in `bytes`, from bit 0 up; the bits above `held` are zero.
    pending: u64,
    /// Number of bits in `pending`, below 64.
    held: u32,
}

impl BitWriter {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer that takes `bits` bits without allocating again.
    #[must_use]
    pub fn with_capacity_bits(bits: usize) -> Self {
        // One word more: `finish` never needs it, but the last whole word may be written before the tail is
        // cut.
        Self { bytes: Vec::with_capacity(bytes_for_bits(bits) + 8), ..Self::default() }
    }

    /// Appends the low `width` bits of `value`; higher bits are ignored.
    ///
    /// `width` is 0 to 64; a greater one counts as 64.
    #[inline]
    pub fn push(&mut self, value: u64, width: u32) {
        let width = width.min(64);
        let value = value & low_mask(width);
        self.pending |= value << self.held;
        let total = self.held + width;
        if total >= 64 {
            self.bytes.extend_from_slice(&self.pending.to_le_bytes());
            // What did not fit; two shifts, because one by 64 is not defined.
            self.pending = (value >> 1) >> (63 - self.held);
            self.held = total - 64;
        } else {
            self.held = total;
        }
    }

    /// Number of bits written so far.
    #[must_use]
    pub fn len_bits(&self) -> usize {
        self.bytes.len() * 8 + self.held as usize
    }

    /// The bytes; the unused bits of the last one are zero.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let tail = self.pending.to_le_bytes();
        self.bytes.extend_from_slice(&tail[..bytes_for_bits(self.held as usize)]);
        self.bytes
    }
}

/// Reads fields back that a [`BitWriter`] wrote.
///
/// All checks of the peer's bytes happen in [`BitReader::new`], which is told how many bits the plan expects;
/// reading itself cannot fail. Reading past the end, an error of this code and not of the peer, yields zeros
/// and is reported by [`BitReader::finish`].
#[derive(Clone)]
pub struct BitReader<'a> {
    /// Bytes not yet loaded.
    rest: &'a [u8],
    /// Loaded bits not yet read, from bit 0 up; the bits above `held` are zero.
    pending: u64,
    /// Number of bits in `pending`, below 64.
    held: u32,
    /// Bits that the caller announced and has not read; negative when it has read too many.
    left: isize,
}

impl<'a> BitReader<'a> {
    /// A reader over exactly `bits` bits.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless `bytes` has `bytes_for_bits(bits)` bytes, [`SsError::BadValue`] unless
    /// the unused bits of the last byte are zero.
    pub fn new(bytes: &'a [u8], bits: usize) -> Result<Self, SsError> {
        expect_length("a bit-packed message (bytes)", bytes_for_bits(bits), bytes.len())?;
        let left =
            isize::try_from(bits).map_err(|_| SsError::BadValue { what: "bit count above isize::MAX" })?;
        let used = bits % 8;
        if let Some(&last) = bytes.last()
            && used != 0
            && last >> used != 0
        {
            return Err(SsError::BadValue { what: "unused bits of a bit-packed message must be zero" });
        }
        Ok(Self { rest: bytes, pending: 0, held: 0, left })
    }

    /// The next `width` bits, 0 to 64 (a greater width counts as 64), as an integer below `2^width`.
    #[inline]
    pub fn read(&mut self, width: u32) -> u64 {
        let width = width.min(64);
        self.left -= width as isize;
        if width <= self.held {
            // `held` is below 64, so `width` is too.
            let value = self.pending & low_mask(width);
            self.pending >>= width;
            self.held -= width;
            return value;
        }
        let (word, loaded) = self.load();
        let value = (self.pending | (word << self.held)) & low_mask(width);
        let from_word = width - self.held;
        // `from_word` is 1 to 64; two shifts, because one by 64 is not defined.
        self.pending = (word >> 1) >> (from_word - 1);
        self.held = loaded.saturating_sub(from_word);
        value
    }

    /// Checks that every announced bit was read, and no more.
    ///
    /// # Errors
    /// [`SsError::OutOfOrder`] otherwise.
    pub fn finish(self) -> Result<(), SsError> {
        if self.left == 0 {
            Ok(())
        } else {
            Err(SsError::OutOfOrder { what: "a bit-packed message was not read to its exact end" })
        }
    }

    /// The next up to eight bytes as a word, and the number of bits it holds.
    #[inline]
    fn load(&mut self) -> (u64, u32) {
        if let Some((head, rest)) = self.rest.split_first_chunk::<8>() {
            self.rest = rest;
            return (u64::from_le_bytes(*head), 64);
        }
        let mut word = [0u8; 8];
        word[..self.rest.len()].copy_from_slice(self.rest);
        let bits = 8 * self.rest.len() as u32;
        self.rest = &[];
        (u64::from_le_bytes(word), bits)
    }
}

/// Packs the low `width` bits (0 to 64) of every value: `⌈n·width / 8⌉` bytes.
#[must_use]
pub fn pack(values: &[u64], width: u32) -> Vec<u8> {
    let mut writer = BitWriter::with_capacity_bits(values.len() * width as usize);
    for &value in values {
        writer.push(value, width);
    }
    writer.finish()
}

/// Unpacks `count` values of `width` bits (0 to 64).
///
/// # Errors
/// As [`BitReader::new`] for `count·width` bits; [`SsError::TooLarge`] where that product overflows.
pub fn unpack(bytes: &[u8], count: usize, width: u32) -> Result<Vec<u64>, SsError> {
    let width = width.min(64);
    let bits = count.checked_mul(width as usize).ok_or(SsError::TooLarge {
        what: "fields of a bit-packed message",
        limit: usize::MAX / 64,
        got: count,
    })?;
    let mut reader = BitReader::new(bytes, bits)?;
    let values = (0..count).map(|_| reader.read(width)).collect();
    reader.finish()?;
    Ok(values)
}

/// The low `width` bits set, `width` at most 64.
#[inline]
const fn low_mask(width: u32) -> u64 {
    if width == 0 { 0 } else { u64::MAX >> (64 - width) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The slow twin: one bit at a time.
    fn pack_slow(fields: &[(u64, u32)]) -> Vec<u8> {
        let bits: Vec<bool> =
            fields.iter().flat_map(|&(value, width)| (0..width).map(move |b| value >> b & 1 == 1)).collect();
        bits.chunks(8).map(|byte| byte.iter().enumerate().map(|(i, &bit)| u8::from(bit) << i).sum()).collect()
    }

    proptest! {
        #[test]
        fn writer_matches_the_slow_twin_and_reads_back(
            fields in proptest::collection::vec((any::<u64>(), 0u32..=64), 0..60)
        ) {
            let mut writer = BitWriter::new();
            for &(value, width) in &fields {
                writer.push(value, width);
            }
            let bits: usize = fields.iter().map(|f| f.1 as usize).sum();
            prop_assert_eq!(writer.len_bits(), bits);
            let bytes = writer.finish();
            prop_assert_eq!(&bytes, &pack_slow(&fields));
            let mut reader = BitReader::new(&bytes, bits).unwrap();
            for &(value, width) in &fields {
                prop_assert_eq!(reader.read(width), value & low_mask(width));
            }
            prop_assert!(reader.finish().is_ok());
        }

        #[test]
        fn equal_widths_round_trip(
            values in proptest::collection::vec(any::<u64>(), 0..50),
            width in 0u32..=64,
        ) {
            let packed = pack(&values, width);
            let masked: Vec<u64> = values.iter().map(|v| v & low_mask(width)).collect();
            prop_assert_eq!(unpack(&packed, values.len(), width).unwrap(), masked);
        }

        #[test]
        fn every_set_padding_bit_is_refused(bits in 1usize..200, pad in 0usize..8) {
            let mut bytes = vec![0u8; bytes_for_bits(bits)];
            let position = bits + pad;
            if position < 8 * bytes.len() {
                bytes[position / 8] |= 1 << (position % 8);
                prop_assert!(BitReader::new(&bytes, bits).is_err());
                bytes[position / 8] = 0;
            }
            prop_assert!(BitReader::new(&bytes, bits).is_ok());
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        assert!(BitReader::new(&[0; 3], 16).is_err());
        assert!(BitReader::new(&[0; 1], 16).is_err());
        assert!(BitReader::new(&[0; 2], 16).is_ok());
        assert!(unpack(&[], usize::MAX, 64).is_err());
    }

    #[test]
    fn reading_too_much_or_too_little_is_reported() {
        let mut reader = BitReader::new(&[255, 1], 9).unwrap();
        assert_eq!(reader.read(64), 511);
        assert_eq!(reader.read(64), 0);
        assert!(reader.finish().is_err());
        let mut reader = BitReader::new(&[255, 1], 9).unwrap();
        reader.read(8);
        assert!(reader.finish().is_err());
    }
}
