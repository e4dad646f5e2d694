//! Eight TurboSHAKE128 at once: the fast half of a tree hash for long public messages.
//!
//! TurboSHAKE128 (RFC 9861; Bertoni, Daemen, Hoffert, Peeters, Van Assche, Van Keer, Viguier 2023) is the sponge of
//! SHAKE128, rate 168 bytes, with the last twelve of its rounds, 128 bits of security against collisions and second
//! preimages. Eight messages of one length are absorbed side by side: every 64-bit word of the state becomes a
//! vector, on AVX-512 one register. [`digest`] cuts a message into eight parts and joins the eight results with
//! SHA3-256.
//!
//! | function | in | out |
//! |---|---|---|
//! | [`turboshake128_x8`] | 8 messages of n bytes | 8 × 32 bytes |
//! | [`digest`] | domain and header, message | 32 bytes |
//!
//! The data hashed here is public (messages on the wire), but nothing depends on its values anyway.

use sha3::{Digest, Sha3_256};

#[cfg(target_arch = "x86_64")]
mod simd;

/// Bytes absorbed per permutation.
const RATE: usize = 168;

/// The byte that ends the input of TurboSHAKE: domain 0x1f, the one for plain use.
const DOMAIN: u8 = 0x1f;

/// The constants of the 24 rounds of Keccak-f[1600] (FIPS 202, section 3.2.5).
const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// A 64-bit word of eight states, or of fewer.
trait Word: Copy {
    fn splat(word: u64) -> Self;
    fn xor(self, other: Self) -> Self;
    /// `self ⊕ (¬b ∧ c)`.
    fn chi(self, b: Self, c: Self) -> Self;
    fn rotate<const LEFT: i32>(self) -> Self;
}

impl Word for [u64; 8] {
    #[inline(always)]
    fn splat(word: u64) -> Self {
        [word; 8]
    }
    #[inline(always)]
    fn xor(mut self, other: Self) -> Self {
        for (word, other) in self.iter_mut().zip(other) {
            *word ^= other;
        }
        self
    }
    #[inline(always)]
    fn chi(mut self, b: Self, c: Self) -> Self {
        for ((word, b), c) in self.iter_mut().zip(b).zip(c) {
            *word ^= !b & c;
        }
        self
    }
    #[inline(always)]
    fn rotate<const LEFT: i32>(mut self) -> Self {
        for word in &mut self {
            *word = word.rotate_left(LEFT as u32);
        }
        self
    }
}

/// The last rounds on states of words (x, y) at place 5·y + x.
#[inline(always)]
fn permute<W: Word, const ROUNDS: usize>(a: &mut [W; 25]) {
    for &constant in &ROUND_CONSTANTS[24 - ROUNDS..] {
        // θ
        let mut c = [a[0]; 5];
        for x in 0..5 {
            c[x] = a[x].xor(a[x + 5]).xor(a[x + 10]).xor(a[x + 15]).xor(a[x + 20]);
        }
        for x in 0..5 {
            let d = c[(x + 4) % 5].xor(c[(x + 1) % 5].rotate::<1>());
            for y in 0..5 {
                a[5 * y + x] = a[5 * y + x].xor(d);
            }
        }
        // ρ and π: the word at (x, y) goes to (y, 2x + 3y).
        let b = [
            a[0],
            a[6].rotate::<44>(),
            a[12].rotate::<43>(),
            a[18].rotate::<21>(),
            a[24].rotate::<14>(),
            a[3].rotate::<28>(),
            a[9].rotate::<20>(),
            a[10].rotate::<3>(),
            a[16].rotate::<45>(),
            a[22].rotate::<61>(),
            a[1].rotate::<1>(),
            a[7].rotate::<6>(),
            a[13].rotate::<25>(),
            a[19].rotate::<8>(),
            a[20].rotate::<18>(),
            a[4].rotate::<27>(),
            a[5].rotate::<36>(),
            a[11].rotate::<10>(),
            a[17].rotate::<15>(),
            a[23].rotate::<56>(),
            a[2].rotate::<62>(),
            a[8].rotate::<55>(),
            a[14].rotate::<39>(),
            a[15].rotate::<41>(),
            a[21].rotate::<2>(),
        ];
        // χ and ι
        for y in 0..5 {
            for x in 0..5 {
                a[5 * y + x] = b[5 * y + x].chi(b[5 * y + (x + 1) % 5], b[5 * y + (x + 2) % 5]);
            }
        }
        a[0] = a[0].xor(W::splat(constant));
    }
}

/// The states of eight sponges.
type States = [[u64; 8]; 25];

/// One permutation of eight states, on the best instructions.
#[inline]
fn permute_states<const ROUNDS: usize>(states: &mut States) {
    #[cfg(target_arch = "x86_64")]
    if simd::permute::<ROUNDS>(states) {
        return;
    }
    permute::<_, ROUNDS>(states);
}

/// Eight times 32 bytes of TurboSHAKE128 of eight messages, domain byte 0x1f.
///
/// # Panics
/// Unless the messages have one length.
fn turboshake128_x8(messages: [&[u8]; 8]) -> [[u8; 32]; 8] {
    sponge_x8::<12>(messages)
}

/// The sponge with a number of rounds: 12 for TurboSHAKE128, 24 for SHAKE128.
fn sponge_x8<const ROUNDS: usize>(messages: [&[u8]; 8]) -> [[u8; 32]; 8] {
    let length = messages[0].len();
    assert!(messages.iter().all(|message| message.len() == length), "messages of one length");
    let mut states: States = [[0; 8]; 25];
    let whole = length / RATE * RATE;
    for start in (0..whole).step_by(RATE) {
        absorb(&mut states, messages.map(|message| &message[start..start + RATE]));
        permute_states::<ROUNDS>(&mut states);
    }
    let mut last = [[0u8; RATE]; 8];
    for (last, message) in last.iter_mut().zip(messages) {
        let rest = &message[whole..];
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] ^= DOMAIN;
        last[RATE - 1] ^= 0x80;
    }
    absorb(&mut states, last.each_ref().map(|block| block.as_slice()));
    permute_states::<ROUNDS>(&mut states);
    let mut digests = [[0u8; 32]; 8];
    for (lane, digest) in digests.iter_mut().enumerate() {
        for (bytes, words) in digest.chunks_exact_mut(8).zip(&states) {
            bytes.copy_from_slice(&words[lane].to_le_bytes());
        }
    }
    digests
}

/// Adds one block of the rate to each state.
#[inline]
fn absorb(states: &mut States, blocks: [&[u8]; 8]) {
    let blocks = blocks.map(|block| block.as_chunks::<8>().0);
    for (i, words) in states[..RATE / 8].iter_mut().enumerate() {
        for (word, block) in words.iter_mut().zip(blocks) {
            *word ^= u64::from_le_bytes(block[i]);
        }
    }
}

/// A 32-byte digest of a header and a message: the message is cut into eight parts of ⌈n / 8⌉ bytes, the last ones
/// shorter and filled up with zeros; header, length and the TurboSHAKE128 of the parts go through SHA3-256.
pub(crate) fn digest(domain: &[u8], header: &[&[u8]], message: &[u8]) -> [u8; 32] {
    let part = message.len().div_ceil(8);
    let mut filled = Vec::new();
    let mut parts = [&[] as &[u8]; 8];
    let whole = message.len().checked_div(part).unwrap_or(8);
    if whole < 8 {
        filled.resize((8 - whole) * part, 0);
        filled[..message.len() - whole * part].copy_from_slice(&message[whole * part..]);
    }
    for (i, place) in parts.iter_mut().enumerate() {
        *place = if i < whole { &message[i * part..][..part] } else { &filled[(i - whole) * part..][..part] };
    }
    let mut hasher = Sha3_256::new().chain_update(domain);
    for field in header {
        hasher.update(field);
    }
    hasher.update((message.len() as u64).to_le_bytes());
    hasher.update(turboshake128_x8(parts).as_flattened());
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Prg;
    use shake::Shake128;
    use shake::digest::{ExtendableOutput, Update, XofReader};

    fn bytes(seed: u128, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        Prg::new(seed).fill(&mut bytes);
        bytes
    }

    #[test]
    fn turboshake128_known_answer_of_rfc_9861() {
        let expected = "1e415f1c5983aff2169217277d17bb538cd945a397ddec541f1ce41af2c1b74c";
        for digest in turboshake128_x8([&[]; 8]) {
            assert_eq!(digest.map(|byte| format!("{byte:02x}")).concat(), expected);
        }
    }

    #[test]
    fn with_all_rounds_it_is_shake128() {
        for length in [0, 1, 135, 136, 167, 168, 169, 335, 336, 337, 1000] {
            let messages: [Vec<u8>; 8] = core::array::from_fn(|i| bytes(i as u128, length));
            let digests = sponge_x8::<24>(messages.each_ref().map(Vec::as_slice));
            for (message, digest) in messages.iter().zip(digests) {
                let mut hasher = Shake128::default();
                Update::update(&mut hasher, message);
                let mut slow = [0u8; 32];
                hasher.finalize_xof().read(&mut slow);
                assert_eq!(digest, slow, "{length} bytes");
            }
        }
    }

    #[test]
    fn every_way_of_permuting_agrees() {
        let mut states: States = [[0; 8]; 25];
        for (i, word) in states.as_flattened_mut().iter_mut().enumerate() {
            *word = u64::from_le_bytes(bytes(i as u128, 8).try_into().unwrap());
        }
        let mut slow = states;
        permute::<_, 12>(&mut slow);
        let mut chosen = states;
        permute_states::<12>(&mut chosen);
        assert_eq!(slow, chosen);
        #[cfg(target_arch = "x86_64")]
        for (name, permuted) in simd::all_permuted(&states) {
            assert_eq!(slow, permuted, "{name}");
        }
    }

    #[test]
    fn the_digest_covers_every_byte_and_length() {
        let mut seen = std::collections::HashSet::new();
        for length in [0, 1, 7, 8, 9, 64, 100, 8 * 168, 8 * 168 + 3, 5000] {
            let mut message = bytes(7, length);
            assert!(seen.insert(digest(b"a", &[], &message)));
            assert!(seen.insert(digest(b"a", &[b"b"], &message)));
            // The padding of the last part is no part of the message.
            message.push(0);
            assert!(seen.insert(digest(b"a", &[b"x"], &message)));
            for at in (0..length).step_by(1 + length / 50) {
                message[at] ^= 1;
                assert!(seen.insert(digest(b"a", &[], &message)), "{length} bytes, byte {at}");
                message[at] ^= 1;
            }
        }
    }
}
