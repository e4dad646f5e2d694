//! The four distributions: uniform, ternary, centred binomial, dither.
//!
//! | sampler | distribution | output | bytes of the stream per output word |
//! |---|---|---|---|
//! | [`uniform`] | uniform modulo q, exact | residues | 4 (q < 2^32) or 8, times 2^bits / q |
//! | [`ternary`] | uniform on {-1, 0, 1}, exact | residues | about 0.213: see below |
//! | [`ternary_small`] | the same draws | signed bytes | the same bytes |
//! | [`centred_binomial`] | sum of eta coin differences, variance eta/2 | residues | 6 (eta = 21) or 8 |
//! | [`binomial_small`] | the same draws | signed bytes in \[-eta, eta\] | the same bytes |
//! | [`dither`] | sum of four uniforms, standard deviation about 2^log2_sigma | residues | 16 or 32 |
//! | [`dither_limbs`] | the same, of up to 126 bits | residues of one integer modulo several primes | 16 to 64 |
//!
//! A small polynomial over several primes is drawn once, as signed bytes, and [`spread`] writes it as residues modulo
//! each of them: the stream is read as for one prime.
//!
//! Streams are read in bulk, little-endian, and the buffers are wiped. Rejections depend only on words that are thrown
//! away (their bounds are public), never on a word that is kept; what is kept is turned into a residue without
//! branches or tables. The exact consumption of the stream is part of the format, because public polynomials are
//! sampled from public labels:
//!
//! - *uniform*: words of 4 or 8 bytes, their low bits(q - 1) bits, those below q in order, until there are enough.
//! - *ternary*: while m > 0 values are missing, k = ceil(m / 5) and k + floor(k / 16) + 1 bytes are read in one go. Each
//!   byte below 3^5 = 243 gives five values, its base-3 digits from the lowest on, with 2 standing for -1. What is left
//!   of such a read when there are enough values is lost.
//! - *binomial*: 6 bytes (eta = 21) or 8 bytes per value, of whose bits the lowest 2 eta count.
//!
//! The centred binomial stands for the rounded Gaussian of the lattice estimates: eta = 21 gives variance 10.5,
//! sigma = 3.24, and one popcount: the difference of two sums of 21 coins is distributed as the sum of 42 coins
//! minus 21, since a coin and its opposite have the same distribution.
//!
//! `portable` holds the kernels in plain Rust, `avx2` the same compiled for AVX2 and POPCNT, `avx512` others in wide
//! registers; all of them give the same words.

mod dither;
mod portable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use rand_core::CryptoRng;

pub(crate) use dither::width_below;
pub use dither::{dither, dither_limbs, dither_width};

use crate::modulus::Modulus;
use crate::scratch::{Scratch, Small};
use crate::simd::Simd;

/// The parameter of the centred binomial error: variance 21/2, standard deviation 3.24.
pub const ERROR_ETA: u32 = 21;

/// Bytes that are read from a stream at a time: six of the largest groups of its blocks, well inside of the nearest
/// cache, and a multiple of every size of word (4, 6, 8, 12, 16).
const READ: usize = 6144;

/// Small values that are held at a time: as many as one read gives with six bytes each.
const HELD: usize = READ / 6;

/// Fills `out` with uniform residues.
pub fn uniform<R: CryptoRng + ?Sized>(rng: &mut R, modulus: &Modulus, out: &mut [u64]) {
    uniform_below(Simd::best(), rng, modulus.value(), out);
}

/// Fills `out` with uniform values of {-1, 0, 1} as residues.
pub fn ternary<R: CryptoRng + ?Sized>(rng: &mut R, modulus: &Modulus, out: &mut [u64]) {
    ternary_with(Simd::best(), rng, modulus, out);
}

/// Fills `out` with the uniform values of {-1, 0, 1} that [`ternary`] would draw from the same stream, as signed bytes.
pub fn ternary_small<R: CryptoRng + ?Sized>(rng: &mut R, out: &mut [i8]) {
    trits(Simd::best(), rng, out.len(), |at, small| out[at..][..small.len()].copy_from_slice(small));
}

/// Fills `out` with centred binomial values of variance eta / 2 as residues. The values lie in \[-eta, eta\].
///
/// # Panics
/// Unless 1 <= eta <= 32 and eta < q.
pub fn centred_binomial<R: CryptoRng + ?Sized>(rng: &mut R, eta: u32, modulus: &Modulus, out: &mut [u64]) {
    assert!(u64::from(eta) < modulus.value(), "eta = {eta} is not below the modulus");
    binomial_with(Simd::best(), rng, eta, modulus, out);
}

/// Fills `out` with the centred binomial values that [`centred_binomial`] would draw from the same stream, as signed
/// bytes in \[-eta, eta\].
///
/// # Panics
/// Unless 1 <= eta <= 32.
pub fn binomial_small<R: CryptoRng + ?Sized>(rng: &mut R, eta: u32, out: &mut [i8]) {
    binomial(Simd::best(), rng, eta, out);
}

/// Writes small signed integers as residues: `out[i]` = `small[i]` modulo q. Constant time.
///
/// Values must lie in (-q, q), which those of the samplers here do; others give words that are not residues (debug
/// builds assert).
///
/// # Panics
/// When the lengths differ.
pub fn spread(small: &[i8], modulus: &Modulus, out: &mut [u64]) {
    spread_with(Simd::best(), small, modulus, out);
}

/// A small signed number, given as a wrapped word, as a residue; |x| < q.
#[inline(always)]
pub(crate) fn signed_residue(x: u64, q: u64) -> u64 {
    let negative = ((x as i64) >> 63) as u64;
    x.wrapping_add(q & negative)
}

fn spread_with(simd: Simd, small: &[i8], modulus: &Modulus, out: &mut [u64]) {
    assert_eq!(small.len(), out.len(), "small values and residues of different counts");
    let q = modulus.value();
    debug_assert!(small.iter().all(|x| u64::from(x.unsigned_abs()) < q), "a value is not small");
    match simd {
        Simd::Portable => portable::spread(small, q, out),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => avx2::spread(small, q, out),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => avx512::spread(small, q, out),
    }
}

/// Uniform words below a public bound (at least 2), by rejection of masked words.
fn uniform_below<R: CryptoRng + ?Sized>(simd: Simd, rng: &mut R, bound: u64, out: &mut [u64]) {
    let bits = 64 - (bound - 1).leading_zeros();
    if bits <= 32 {
        reject::<4, R>(simd, rng, bound, bits, out);
    } else {
        reject::<8, R>(simd, rng, bound, bits, out);
    }
}

fn reject<const BYTES: usize, R: CryptoRng + ?Sized>(
    simd: Simd,
    rng: &mut R,
    bound: u64,
    bits: u32,
    out: &mut [u64],
) {
    let mask = u64::MAX >> (64 - bits);
    let mut buffer = Scratch::<READ>::new();
    let mut done = 0;
    while done < out.len() {
        // No more words than are missing, so that none is read for nothing.
        let words = (out.len() - done).min(READ / BYTES);
        let bytes = &mut buffer[..BYTES * words];
        rng.fill_bytes(bytes);
        let out = &mut out[done..done + words];
        done += match simd {
            Simd::Portable => portable::below::<BYTES>(bytes, mask, bound, out),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => avx2::below::<BYTES>(bytes, mask, bound, out),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => avx512::below::<BYTES>(bytes, mask, bound, out),
        };
    }
}

fn ternary_with<R: CryptoRng + ?Sized>(simd: Simd, rng: &mut R, modulus: &Modulus, out: &mut [u64]) {
    trits(simd, rng, out.len(), |at, small| spread_with(simd, small, modulus, &mut out[at..][..small.len()]));
}

fn binomial_with<R: CryptoRng + ?Sized>(
    simd: Simd,
    rng: &mut R,
    eta: u32,
    modulus: &Modulus,
    out: &mut [u64],
) {
    let mut small = Small::<HELD>::new();
    // An even number of values at a time: see `binomial_of_width`.
    for block in out.chunks_mut(HELD) {
        let small = &mut small[..block.len()];
        binomial(simd, rng, eta, small);
        spread_with(simd, small, modulus, block);
    }
}

/// Uniform values of {-1, 0, 1}: `take(i, values)` gets those from place i on, in order, until there are `count`.
fn trits<R: CryptoRng + ?Sized>(simd: Simd, rng: &mut R, count: usize, mut take: impl FnMut(usize, &[i8])) {
    let mut buffer = Scratch::<READ>::new();
    let mut small = Small::<HELD>::new();
    let mut done = 0;
    while done < count {
        // A byte below 3^5 is five uniform digits; 5 % of the bytes are rejected, so ask for a little more.
        let missing = (count - done).div_ceil(5);
        let mut asked = missing + missing / 16 + 1;
        while asked > 0 {
            let bytes = &mut buffer[..asked.min(READ)];
            rng.fill_bytes(bytes);
            asked -= bytes.len();
            let kept = match simd {
                #[cfg(target_arch = "x86_64")]
                Simd::Avx512 => avx512::keep(bytes),
                _ => portable::keep(bytes),
            };
            for five in bytes[..kept].chunks(HELD / 5) {
                let small = &mut small[..5 * five.len()];
                match simd {
                    Simd::Portable => portable::digits(five, small),
                    #[cfg(target_arch = "x86_64")]
                    Simd::Avx2 => avx2::digits(five, small),
                    #[cfg(target_arch = "x86_64")]
                    Simd::Avx512 => avx512::digits(five, small),
                }
                let room = small.len().min(count - done);
                take(done, &small[..room]);
                done += room;
            }
        }
    }
}

/// Centred binomial values.
fn binomial<R: CryptoRng + ?Sized>(simd: Simd, rng: &mut R, eta: u32, out: &mut [i8]) {
    assert!((1..=32).contains(&eta), "eta = {eta} is outside 1..=32");
    if eta == ERROR_ETA {
        binomial_of_width::<6, R>(simd, rng, eta, out);
    } else {
        binomial_of_width::<8, R>(simd, rng, eta, out);
    }
}

fn binomial_of_width<const BYTES: usize, R: CryptoRng + ?Sized>(
    simd: Simd,
    rng: &mut R,
    eta: u32,
    out: &mut [i8],
) {
    let mut buffer = Scratch::<READ>::new();
    // An even number of values, so that a read ends with a word of the stream.
    for block in out.chunks_mut(READ / BYTES) {
        let bytes = &mut buffer[..BYTES * block.len()];
        rng.fill_bytes(bytes);
        match simd {
            Simd::Portable => portable::coins::<BYTES>(bytes, eta, block),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => avx2::coins::<BYTES>(bytes, eta, block),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => avx512::coins::<BYTES>(bytes, eta, block),
        }
    }
}

#[cfg(test)]
mod tests;
