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
    assert!((1..=64).contains(&bits), "words of {bits} bits cannot be packed");
    let mask = u64::MAX >> (64 - bits);
    let length = (words.len() * bits as usize).div_ceil(8);
    let mut bytes = Vec::with_capacity(length + 8);
    let (mut pending, mut filled) = (0_u64, 0_u32);
    for &word in words {
        let word = word & mask;
        pending |= word << filled;
        filled += bits;
        if filled >= 64 {
            bytes.extend_from_slice(&pending.to_le_bytes());
            filled -= 64;
            // What did not fit: the upper `filled` of the word's bits (a shift by 64 would be undefined).
            pending = if filled == 0 { 0 } else { word >> (bits - filled) };
        }
    }
    bytes.extend_from_slice(&pending.to_le_bytes());
    bytes.truncate(length);
    bytes
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
    let mask = u64::MAX >> (64 - bits);
    let mut words = Vec::with_capacity(count);
    let mut chunks = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    let (mut current, mut left) = (0_u64, 0_u32);
    for _ in 0..count {
        if left >= bits {
            words.push(current & mask);
            current = current.checked_shr(bits).unwrap_or(0);
            left -= bits;
        } else {
            // `left` < bits <= 64 bits of the word are here, the rest begins the next chunk.
            let next = chunks.next().unwrap_or(0);
            words.push((current | next << left) & mask);
            let taken = bits - left;
            current = next.checked_shr(taken).unwrap_or(0);
            left = 64 - taken;
        }
    }
    Ok(words)
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
