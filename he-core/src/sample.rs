//! The four distributions: uniform, ternary, centred binomial, dither.
//!
//! | sampler | distribution | output | bytes of the stream per output word |
//! |---|---|---|---|
//! | [`uniform`] | uniform modulo q, exact | residues | 4 (q < 2^32) or 8, times 2^bits / q |
//! | [`ternary`] | uniform on {-1, 0, 1}, exact | residues | 1/5 times 256/243 |
//! | [`centred_binomial`] | sum of eta coin differences, variance eta/2 | residues | ceil(2 eta / 8) |
//! | [`dither`] | sum of four uniforms, standard deviation about 2^log2_sigma | residues | 16 or 32 |
//! | [`dither_limbs`] | the same, of up to 126 bits | residues of one integer modulo several primes | 16 to 64 |
//!
//! Streams are read in bulk, little-endian, and the buffers are wiped. Rejections depend only on words that are thrown
//! away (their bounds are public), never on a word that is kept; what is kept is turned into a residue without
//! branches or tables. The exact consumption of the stream is part of the format, because public polynomials are
//! sampled from public labels.
//!
//! The centred binomial stands for the rounded Gaussian of the lattice estimates: eta = 21 gives variance 10.5,
//! sigma = 3.24, and one popcount: the difference of two sums of 21 coins is distributed as the sum of 42 coins
//! minus 21, since a coin and its opposite have the same distribution.
//!
//! **Why the dither has smooth edges.** The client knows its own errors, hence a small shift d of a linear output (the
//! weights times those errors), and whoever sees many dithered outputs tries to find d. Under a *uniform* dither of
//! width F the outermost values occur for one sign of d only: F/d queries give it away, because the density jumps
//! at its edge. The density of the sum of four uniforms (Irwin–Hall) is a cubic spline, twice differentiable; its
//! Fisher information for a shift is finite, of the order of 1/sigma^2, so (sigma/d)^2 queries are needed, as with a
//! Gaussian; and unlike a Gaussian its support is bounded, by 2 sqrt(3) sigma = 3.46 sigma, so that the room it needs
//! in the modulus is exact.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::HeError;
use crate::modulus::Modulus;

/// Draws of a wide dither that are made at a time.
const BLOCK: usize = 1024;

/// The parameter of the centred binomial error: variance 21/2, standard deviation 3.24.
pub const ERROR_ETA: u32 = 21;

/// Fills `out` with uniform residues.
pub fn uniform<R: CryptoRng + ?Sized>(rng: &mut R, modulus: &Modulus, out: &mut [u64]) {
    uniform_below(rng, modulus.value(), out);
}

/// Fills `out` with uniform values of {-1, 0, 1} as residues.
pub fn ternary<R: CryptoRng + ?Sized>(rng: &mut R, modulus: &Modulus, out: &mut [u64]) {
    let minus_one = modulus.value() - 1;
    let mut done = 0;
    while done < out.len() {
        // A byte below 3^5 is five uniform digits; 5 % of the bytes are rejected, so ask for a little more.
        let missing = (out.len() - done).div_ceil(5);
        let mut bytes = Zeroizing::new(vec![0_u8; missing + missing / 16 + 1]);
        rng.fill_bytes(&mut bytes);
        for &byte in bytes.iter().filter(|&&byte| byte < 243) {
            let mut rest = u32::from(byte);
            let room = (out.len() - done).min(5);
            for word in &mut out[done..done + room] {
                // rest / 3 for rest < 256, without a division instruction.
                let third = (rest * 171) >> 9;
                let digit = u64::from(rest - 3 * third);
                // 0, 1, 2 to 0, 1, -1.
                let is_two = (digit >> 1).wrapping_neg();
                *word = (minus_one & is_two) | (digit & !is_two);
                rest = third;
            }
            done += room;
            if done == out.len() {
                break;
            }
        }
    }
}

/// Fills `out` with centred binomial values of variance eta / 2 as residues. The values lie in \[-eta, eta\].
///
/// # Panics
/// Unless 1 <= eta <= 32 and eta < q.
pub fn centred_binomial<R: CryptoRng + ?Sized>(rng: &mut R, eta: u32, modulus: &Modulus, out: &mut [u64]) {
    assert!((1..=32).contains(&eta) && u64::from(eta) < modulus.value(), "eta = {eta} is outside 1..=32");
    if eta == ERROR_ETA {
        binomial_of_width::<6>(rng, eta, modulus.value(), out);
    } else {
        binomial_of_width::<8>(rng, eta, modulus.value(), out);
    }
}

/// Fills `out` with a bounded, smooth, symmetric dither as residues: see the module essay.
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
    let mut parts = Zeroizing::new(vec![0_u64; 4 * out.len()]);
    uniform_below(rng, width, &mut parts);
    let mean = 2 * (width - 1);
    for (word, four) in out.iter_mut().zip(parts.chunks_exact(4)) {
        let sum = four[0] + four[1] + four[2] + four[3];
        *word = signed_residue(sum.wrapping_sub(mean), modulus.value());
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
    let mut parts = Zeroizing::new([0_u128; 4 * BLOCK]);
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

/// A small signed number, given as a wrapped word, as a residue; |x| < q.
#[inline(always)]
pub(crate) fn signed_residue(x: u64, q: u64) -> u64 {
    let negative = ((x as i64) >> 63) as u64;
    x.wrapping_add(q & negative)
}

/// Uniform words below a public bound (at least 2), by rejection of masked words.
fn uniform_below<R: CryptoRng + ?Sized>(rng: &mut R, bound: u64, out: &mut [u64]) {
    let bits = 64 - (bound - 1).leading_zeros();
    if bits <= 32 {
        reject::<4, R>(rng, bound, bits, out);
    } else {
        reject::<8, R>(rng, bound, bits, out);
    }
}

fn reject<const BYTES: usize, R: CryptoRng + ?Sized>(rng: &mut R, bound: u64, bits: u32, out: &mut [u64]) {
    let mask = u64::MAX >> (64 - bits);
    let mut buffer = Zeroizing::new(vec![0_u8; BYTES * out.len().min(4096)]);
    let mut done = 0;
    while done < out.len() {
        let bytes = &mut buffer[..BYTES * (out.len() - done).min(4096)];
        rng.fill_bytes(bytes);
        for chunk in bytes.chunks_exact(BYTES) {
            let mut word = [0; 8];
            word[..BYTES].copy_from_slice(chunk);
            let word = u64::from_le_bytes(word) & mask;
            // A rejected word is overwritten by the next one.
            out[done] = word;
            done += usize::from(word < bound);
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
    let mut buffer = Zeroizing::new(vec![0_u8; BYTES * out.len()]);
    let mut done = 0;
    while done < out.len() {
        let bytes = &mut buffer[..BYTES * (out.len() - done)];
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

fn binomial_of_width<const BYTES: usize>(
    rng: &mut (impl CryptoRng + ?Sized),
    eta: u32,
    q: u64,
    out: &mut [u64],
) {
    let mask = u64::MAX >> (64 - 2 * eta);
    let mut buffer = Zeroizing::new(vec![0_u8; BYTES * out.len().min(4096)]);
    for block in out.chunks_mut(4096) {
        let bytes = &mut buffer[..BYTES * block.len()];
        rng.fill_bytes(bytes);
        for (word, chunk) in block.iter_mut().zip(bytes.chunks_exact(BYTES)) {
            let mut coins = [0; 8];
            coins[..BYTES].copy_from_slice(chunk);
            let heads = (u64::from_le_bytes(coins) & mask).count_ones();
            *word = signed_residue(u64::from(heads).wrapping_sub(u64::from(eta)), q);
        }
    }
}

#[cfg(test)]
mod tests;
