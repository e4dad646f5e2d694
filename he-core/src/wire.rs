//! Bit packing: words of b bits, little-endian, one after the other with no gaps.
//!
//! Word i occupies the bits b*i .. b*(i+1) of the message; bit k of the message is bit k mod 8 of byte floor(k / 8).
//! A message of `count` words has exactly ceil(count * b / 8) bytes and the bits after the last word are zero, so every
//! sequence of words has one form and every accepted form one sequence.
//!
//! [`unpack`] reads bytes of a peer: it checks the length before it allocates and never panics. The time of both
//! depends on sizes only.

use crate::error::HeError;

/// How many bytes `count` words of `bits` bits take: ceil(count * bits / 8); `None` on overflow.
#[must_use]
pub fn packed_len(count: usize, bits: u32) -> Option<usize> {
    count.checked_mul(bits as usize).map(|total| total.div_ceil(8))
}

/// Packs the low `bits` bits of every word (higher bits are dropped: this is how a value modulo 2^bits is sent).
///
/// # Panics
/// Unless 1 <= bits <= 64: the width is a parameter of the program, never of a peer.
#[must_use]
pub fn pack(words: &[u64], bits: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack_into(words, bits, &mut bytes);
    bytes
}

/// As [`pack`], behind what is in `bytes` already.
///
/// # Panics
/// As [`pack`].
pub fn pack_into(words: &[u64], bits: u32, bytes: &mut Vec<u8>) {
    assert!((1..=64).contains(&bits), "words of {bits} bits cannot be packed");
    let length = (words.len() * bits as usize).div_ceil(8);
    let start = bytes.len();
    // Room for a store of eight bytes at the last place.
    bytes.resize(start + length + 8, 0);
    let out = &mut bytes[start..];
    if bits < 8 {
        pack_narrow(words, bits, out)
    } else {
        pack_wide(words, bits, out)
    }
    bytes.truncate(start + length);
}

/// Words of at least a byte, eight at a time, because eight of them fill `bits` bytes.
///
/// The store of a word begins at the byte of its first bit and brings the bits that the word before has in that byte,
/// so stores overwrite each other in order and none waits for an earlier one; a word that ends beyond its eight bytes
/// is completed by the next store.
fn pack_wide(words: &[u64], bits: u32, out: &mut [u8]) {
    let width = bits as usize;
    let (eights, rest) = words.as_chunks::<8>();
    for (at, eight) in eights.iter().enumerate() {
        // The eighth ends with its byte, so there is nothing to complete.
        pack_group(eight, bits, &mut out[at * width..][..width + 8]);
    }
    let out = &mut out[eights.len() * width..];
    let before = pack_group(rest, bits, out);
    let place = rest.len() * width;
    let end = (before >> 1) >> (bits - (place % 8) as u32 - 1);
    out[place / 8..][..8].copy_from_slice(&end.to_le_bytes());
}

/// Up to eight words from the beginning of `out` on; returns the last of them.
#[inline(always)]
fn pack_group(words: &[u64], bits: u32, out: &mut [u8]) -> u64 {
    let (mut place, mut before) = (0, 0);
    for word in words {
        let (word, shift) = (word & (u64::MAX >> (64 - bits)), (place % 8) as u32);
        // Two shifts, because `bits - shift` may be 64.
        let both = (word << shift) | ((before >> 1) >> (bits - shift - 1));
        out[place / 8..][..8].copy_from_slice(&both.to_le_bytes());
        place += bits as usize;
        before = word;
    }
    before
}

/// Words of less than a byte: eight of them fill `bits` bytes.
fn pack_narrow(words: &[u64], bits: u32, out: &mut [u8]) {
    let mask = u64::MAX >> (64 - bits);
    for (at, eight) in words.chunks(8).enumerate() {
        let together = eight.iter().rev().fold(0, |sum, word| (sum << bits) | (word & mask));
        out[at * bits as usize..][..8].copy_from_slice(&together.to_le_bytes());
    }
}

/// Reads `count` words of `bits` bits back; each is below 2^bits by construction.
///
/// # Errors
/// [`HeError::Bits`] unless 1 <= bits <= 64, [`HeError::Length`] unless the length is exact, [`HeError::Padding`]
/// unless the bits after the last word are zero.
pub fn unpack(bytes: &[u8], count: usize, bits: u32) -> Result<Vec<u64>, HeError> {
    if !(1..=64).contains(&bits) {
        return Err(HeError::Bits { what: "packed words", bits, least: 1, most: 64 });
    }
    let expected = packed_len(count, bits).unwrap_or(usize::MAX);
    if bytes.len() != expected {
        return Err(HeError::Length { what: "a packed message", expected, found: bytes.len() });
    }
    // The length is exact, so count * bits does not overflow from here on.
    let padding = (8 * bytes.len() - count * bits as usize) as u32;
    if padding > 0 && bytes.last().is_some_and(|&last| last >> (8 - padding) != 0) {
        return Err(HeError::Padding { bits: padding });
    }
    let mut words = vec![0; count];
    let width = bits as usize;
    // Eight words at a time, as long as the nine bytes of each are there.
    let eights = (bytes.len().saturating_sub(8) / width).min(count / 8);
    let (many, rest) = words.split_at_mut(8 * eights);
    for (eight, group) in many.as_chunks_mut::<8>().0.iter_mut().zip(bytes.windows(width + 8).step_by(width))
    {
        for (index, word) in eight.iter_mut().enumerate() {
            *word = word_at(group, index * width, bits);
        }
    }
    // The rest with zeros behind it.
    let mut padded = [0; 96];
    let tail = &bytes[eights * width..];
    padded[..tail.len()].copy_from_slice(tail);
    for (index, word) in rest.iter_mut().enumerate() {
        *word = word_at(&padded, index * width, bits);
    }
    Ok(words)
}

/// The word of `bits` bits from a bit on.
#[inline(always)]
fn word_at(bytes: &[u8], place: usize, bits: u32) -> u64 {
    let from = &bytes[place / 8..];
    let (low, shift) = (from.first_chunk().map_or(0, |low| u64::from_le_bytes(*low)), (place % 8) as u32);
    let high = if bits > 57 { u64::from(from[8]) } else { 0 };
    // Two shifts, because `64 - shift` may be 64.
    ((low >> shift) | ((high << 1) << (63 - shift))) & (u64::MAX >> (64 - bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One bit at a time: the definition.
    fn slow_pack(words: &[u64], bits: u32) -> Vec<u8> {
        let mut bytes = vec![0; (words.len() * bits as usize).div_ceil(8)];
        for (i, word) in words.iter().enumerate() {
            for b in 0..bits as usize {
                let place = i * bits as usize + b;
                bytes[place / 8] |= ((word >> b & 1) as u8) << (place % 8);
            }
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn packs_as_defined_and_reads_back(words in prop::collection::vec(any::<u64>(), 0..70), bits in 1_u32..=64) {
            let bytes = pack(&words, bits);
            prop_assert_eq!(&bytes, &slow_pack(&words, bits));
            prop_assert_eq!(Some(bytes.len()), packed_len(words.len(), bits));
            let low: Vec<_> = words.iter().map(|w| w & (u64::MAX >> (64 - bits))).collect();
            prop_assert_eq!(unpack(&bytes, words.len(), bits).unwrap(), low);
        }

        #[test]
        fn any_bytes_are_refused_or_read_back_the_same(
            bytes in prop::collection::vec(any::<u8>(), 0..40), count in 0_usize..80, bits in 0_u32..70,
        ) {
            if let Ok(words) = unpack(&bytes, count, bits) {
                prop_assert_eq!(pack(&words, bits), bytes);
            }
        }
    }

    #[test]
    fn every_width_and_every_count_about_a_group() {
        let words: Vec<u64> = (1..=130_u64)
            .map(|i| if i % 5 == 0 { u64::MAX } else { i.wrapping_mul(0x9e37_79b9_7f4a_7c15) })
            .collect();
        for bits in 1..=64 {
            for count in (0..=40).chain([63, 64, 65, 127, 128, 129, 130]) {
                let words = &words[..count];
                let mut bytes = vec![0xa5; 3];
                pack_into(words, bits, &mut bytes);
                assert_eq!(bytes[..3], [0xa5; 3]);
                assert_eq!(bytes[3..], slow_pack(words, bits), "{count} words of {bits} bits");
                let low: Vec<_> = words.iter().map(|w| w & (u64::MAX >> (64 - bits))).collect();
                assert_eq!(unpack(&bytes[3..], count, bits), Ok(low), "{count} words of {bits} bits");
            }
        }
    }

    #[test]
    fn what_is_refused() {
        let bytes = pack(&[5, 6, 7], 5);
        assert!(unpack(&bytes, 3, 5).is_ok());
        assert_eq!(
            unpack(&bytes, 3, 0),
            Err(HeError::Bits { what: "packed words", bits: 0, least: 1, most: 64 })
        );
        assert!(matches!(unpack(&bytes, 4, 5), Err(HeError::Length { expected: 3, found: 2, .. })));
        assert!(matches!(unpack(&bytes[..1], 3, 5), Err(HeError::Length { .. })));
        assert!(matches!(unpack(&bytes, usize::MAX, 64), Err(HeError::Length { .. })));
        assert_eq!(unpack(&[0, 0x80], 3, 5), Err(HeError::Padding { bits: 1 }));
        assert_eq!(unpack(&[], 0, 64).unwrap(), Vec::<u64>::new());
    }
}
