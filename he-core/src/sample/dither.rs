//! The dither: bounded, smooth, symmetric noise for whole words and for words of several limbs.
//!
//! | sampler | standard deviation | support | bytes of the stream per value |
//! |---|---|---|---|
//! | [`dither`] | about 2^log2_sigma | \[-2(F - 1), 2(F - 1)\], inside (-q/2, q/2) | 16 (F <= 2^32) or 32, times 2^bits / F |
//! | [`dither_limbs`] | F / sqrt(3) | the same, F < 2^126 | 16, 32, 48 or 64, times 2^bits / F |
//!
//! F = round(sqrt(3) * 2^log2_sigma) is the width of four uniforms whose sum is taken; bits is the length of F - 1.
//!
//! **Why the dither has smooth edges.** The client knows its own errors, hence a small shift d of a linear output (the
//! weights times those errors), and whoever sees many dithered outputs tries to find d. Under a *uniform* dither of
//! width F the outermost values occur for one sign of d only: F/d queries give it away, because the density jumps
//! at its edge. The density of the sum of four uniforms (Irwin–Hall) is a cubic spline, twice differentiable; its
//! Fisher information for a shift is finite, of the order of 1/sigma^2, so (sigma/d)^2 queries are needed, as with a
//! Gaussian; and unlike a Gaussian its support is bounded, by 2 sqrt(3) sigma = 3.46 sigma, so that the room it needs
//! in the modulus is exact.

use rand_core::CryptoRng;

use super::{READ, signed_residue, uniform_below};
use crate::error::HeError;
use crate::modulus::Modulus;
use crate::scratch::{Scratch, Wiped};
use crate::simd::Simd;

/// Values that are made at a time, from four times as many draws: few enough that drawing and wiping stay near the CPU.
const BLOCK: usize = 256;

/// Fills `out` with a bounded, smooth, symmetric dither as residues: see the essay of this module.
///
/// Each value is the sum of four independent uniform integers of 0..F minus its mean 2(F - 1), with
/// F = round(sqrt(3) * 2^log2_sigma), at least 2; variance (F^2 - 1) / 3, support \[-2(F - 1), 2(F - 1)\].
///
/// # Errors
/// [`HeError::Dither`] unless `log2_sigma` is finite and the support fits (-q/2, q/2).
pub fn dither<R: CryptoRng + ?Sized>(
    rng: &mut R,
    modulus: &Modulus,
    log2_sigma: f64,
    out: &mut [u64],
) -> Result<(), HeError> {
    let width = dither_width(modulus, log2_sigma)?;
    let mean = 2 * (width - 1);
    let mut parts = Wiped::<[u64; 4 * BLOCK]>::new();
    for block in out.chunks_mut(BLOCK) {
        let parts = &mut parts[..4 * block.len()];
        uniform_below(Simd::best(), rng, width, parts);
        for (word, four) in block.iter_mut().zip(parts.as_chunks::<4>().0) {
            let sum = four[0] + four[1] + four[2] + four[3];
            *word = signed_residue(sum.wrapping_sub(mean), modulus.value());
        }
    }
    Ok(())
}

/// The width F of the four uniforms of [`dither`], checked against the modulus.
///
/// # Errors
/// [`HeError::Dither`] as for [`dither`].
pub fn dither_width(modulus: &Modulus, log2_sigma: f64) -> Result<u64, HeError> {
    // Below a word, as the modulus is.
    width_below(u128::from(modulus.value()), log2_sigma).map(|width| width as u64)
}

/// As [`dither_width`], for a modulus of any size below 2^128.
pub(crate) fn width_below(q: u128, log2_sigma: f64) -> Result<u128, HeError> {
    let too_wide = || HeError::Dither { log2_sigma, log2_q: (q as f64).log2() };
    if !log2_sigma.is_finite() || log2_sigma > 126.0 {
        return Err(too_wide());
    }
    let width = ((3.0_f64.sqrt() * log2_sigma.exp2()).round() as u128).max(2);
    if width.checked_mul(4).is_some_and(|support| support < q) { Ok(width) } else { Err(too_wide()) }
}

/// Fills every vector of `limbs`, all of one length, with residues of the same draws of a dither: limb i with those
/// modulo `moduli[i]`. Draws are as in [`dither`] with the width F given, 2 <= F < 2^126, as
/// [`crate::Params::dither_width`] checks it; a draw may be larger than a single modulus.
///
/// # Panics
/// When the limbs have different lengths.
pub fn dither_limbs<R: CryptoRng + ?Sized>(
    rng: &mut R,
    moduli: &[Modulus],
    width: u128,
    limbs: &mut [Vec<u64>],
) {
    let count = limbs.first().map_or(0, Vec::len);
    assert!(limbs.iter().all(|limb| limb.len() == count), "the limbs of a dither have different lengths");
    debug_assert!((2..1 << 126).contains(&width));
    let mean = 2 * (width - 1);
    let mut parts = Wiped::<[u128; 4 * BLOCK]>::new();
    for start in (0..count).step_by(BLOCK) {
        let block = BLOCK.min(count - start);
        let parts = &mut parts[..4 * block];
        uniform_wide(rng, width, parts);
        for (at, four) in parts.chunks_exact(4).enumerate() {
            let noise = four.iter().sum::<u128>().wrapping_sub(mean) as i128;
            for (limb, modulus) in limbs.iter_mut().zip(moduli) {
                limb[start + at] = modulus.from_i128(noise);
            }
        }
    }
}

/// Uniform double words below a public bound of at least 2, by rejection of masked double words.
fn uniform_wide<R: CryptoRng + ?Sized>(rng: &mut R, bound: u128, out: &mut [u128]) {
    let bits = u128::BITS - (bound - 1).leading_zeros();
    match bits {
        0..=32 => reject_wide::<4, R>(rng, bound, bits, out),
        33..=64 => reject_wide::<8, R>(rng, bound, bits, out),
        65..=96 => reject_wide::<12, R>(rng, bound, bits, out),
        _ => reject_wide::<16, R>(rng, bound, bits, out),
    }
}

fn reject_wide<const BYTES: usize, R: CryptoRng + ?Sized>(
    rng: &mut R,
    bound: u128,
    bits: u32,
    out: &mut [u128],
) {
    let mask = u128::MAX >> (u128::BITS - bits);
    let mut buffer = Scratch::<READ>::new();
    let mut done = 0;
    while done < out.len() {
        // No more than are missing, so that none is read for nothing.
        let bytes = &mut buffer[..BYTES * (out.len() - done).min(READ / BYTES)];
        rng.fill_bytes(bytes);
        for chunk in bytes.chunks_exact(BYTES) {
            let mut word = [0; 16];
            word[..BYTES].copy_from_slice(chunk);
            let word = u128::from_le_bytes(word) & mask;
            // A rejected word is overwritten by the next one.
            out[done] = word;
            done += usize::from(word < bound);
        }
    }
}
