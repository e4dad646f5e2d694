//! The kernels of the samplers in plain Rust, and the definition of what the others compute.
//!
//! | kernel | from | to |
//! |---|---|---|
//! | [`below`] | words of 4 or 8 bytes | those whose masked value is below a public bound, in order |
//! | [`keep`] | bytes | those below 243, in order, in place |
//! | [`digits`] | bytes below 243 | five values of {-1, 0, 1} each |
//! | [`coins`] | words of 6 or 8 bytes | the number of ones in the low 2 eta bits, minus eta |
//! | [`spread`] | signed bytes | residues modulo q |
//!
//! All are inlined always, so that `avx2` compiles them once more with wider instructions. No branch and no address
//! depends on a value that is kept.

use super::signed_residue;

/// 2^16 / 3^(k + 1), rounded up: see [`digits`].
pub(super) const THIRDS: [u16; 5] = [21846, 7282, 2428, 810, 270];

/// Writes the words (of `BYTES` bytes, masked) that are below `bound` to the front of `out`, one place per word, and
/// returns how many there are; what comes after them in `out` is of no use.
#[inline(always)]
pub(super) fn below<const BYTES: usize>(bytes: &[u8], mask: u64, bound: u64, out: &mut [u64]) -> usize {
    let mut done = 0;
    for chunk in bytes.as_chunks::<BYTES>().0 {
        let word = word(chunk) & mask;
        // A rejected word is overwritten by the next one.
        out[done] = word;
        done += usize::from(word < bound);
    }
    done
}

/// Moves the bytes below 243 to the front and returns how many there are.
#[inline(always)]
pub(super) fn keep(bytes: &mut [u8]) -> usize {
    let mut kept = 0;
    for at in 0..bytes.len() {
        let byte = bytes[at];
        // A rejected byte is overwritten by the next one.
        bytes[kept] = byte;
        kept += usize::from(byte < 243);
    }
    kept
}

/// Five values of {-1, 0, 1} for each byte below 243: its base-3 digits from the lowest on, with 2 standing for -1.
///
/// Digit k is floor(3 f) with f the fraction of byte / 3^(k + 1). In 16 bits, byte * [`THIRDS`] modulo 2^16 is f * 2^16
/// plus less than 242: too large by less than 1/243 of 2^16, and the fractions are multiples of 1/3^(k + 1).
#[inline(always)]
pub(super) fn digits(bytes: &[u8], out: &mut [i8]) {
    for (five, &byte) in out.as_chunks_mut::<5>().0.iter_mut().zip(bytes) {
        for (value, third) in five.iter_mut().zip(THIRDS) {
            let fraction = u32::from(u16::from(byte).wrapping_mul(third));
            let digit = ((3 * fraction) >> 16) as i8;
            *value = digit - 3 * (digit >> 1);
        }
    }
}

/// Sums of coins: the ones in the low 2 eta bits of each word of `BYTES` bytes, minus eta.
#[inline(always)]
pub(super) fn coins<const BYTES: usize>(bytes: &[u8], eta: u32, out: &mut [i8]) {
    let mask = u64::MAX >> (64 - 2 * eta);
    for (value, chunk) in out.iter_mut().zip(bytes.as_chunks::<BYTES>().0) {
        *value = (word(chunk) & mask).count_ones() as i8 - eta as i8;
    }
}

/// Small signed integers as residues.
#[inline(always)]
pub(super) fn spread(small: &[i8], q: u64, out: &mut [u64]) {
    for (word, &value) in out.iter_mut().zip(small) {
        *word = signed_residue(i64::from(value) as u64, q);
    }
}

/// At most eight bytes, little-endian.
#[inline(always)]
fn word<const BYTES: usize>(bytes: &[u8; BYTES]) -> u64 {
    let mut word = [0; 8];
    word[..BYTES].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
