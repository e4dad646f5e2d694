//! Integers in double precision to residues, and residues back to the nearest doubles.
//!
//! | function | from | to | relative error |
//! |---|---|---|---|
//! | [`round`] | doubles | the nearest integers, ties to even, and the largest magnitude | exact |
//! | [`reduce`] | integers \|x\| < 2^126 held as f64 | x mod q in [0, q) | exact |
//! | [`Reconstruction::floats`] | l residues of the centred x, \|x\| < Q/2 | x as f64 | 2^-53 (6 l + 3) |
//!
//! **There.** Doubles are integers times a power of two, and fused multiply-add gives x - k q without rounding when
//! that fits 53 bits. With u = fl(x / q) off by less than 2^-51 u, one step with k = 2^48 round(2^-48 u) leaves
//! |r| <= (2^47 + 1) q, and a second step with k = round(u) leaves |r| < 3q/4. Both differences fit: r is a multiple of the
//! last place of x (or of 2^48), which is at least 2^-53 of the largest r whenever k is not zero.
//!
//! **Back.** Garner's mixed-radix digits with signs: x = d_0 + q_0 (d_1 + q_1 (d_2 + ..)), every |d_i| < q_i / 2. All
//! primes are odd, so each x in (-Q/2, Q/2) has exactly one such expansion and the centring comes by itself: a small
//! x of either sign has zeros above its first digits. In Horner's rule with doubles nothing cancels beyond a factor
//! of three, since the digits below the leading one add up to less than half of its unit; each of l steps rounds its
//! digit, its product and its sum once. That is the bound above, however many hundred bits Q has.
//!
//! Primes in 2^30..2^50 go through fused multiply-add in double lanes (products as in J. van der Hoeven, G. Lecerf,
//! G. Quintin, *Modular SIMD arithmetic in Mathemagix*, ACM TOMS 43(1), 2016, section 3); all others through
//! [`Modulus`]. Both paths give the same bits. No step depends on values; only primes and lengths steer it.
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls of target_feature functions"))]

use super::embedding::FloatKernel;
use crate::modulus::Modulus;
use crate::scratch::{Wipe, Wiped};

/// Primes in this range take the path of doubles.
const FUSED: core::ops::Range<u64> = 1 << 30..1 << 50;
/// 2^52: the bits below its exponent are an integer.
const TOP: f64 = 4_503_599_627_370_496.0;
/// Whether every CPU of the target multiplies and adds in one instruction, so that doubles serve without asking.
const FUSED_ANYWHERE: bool = cfg!(target_arch = "aarch64");
/// Coefficients per block of the reconstruction: the digits of a block stay in the first cache.
const BLOCK: usize = 64;

/// Rounds half to even, in place, and gives the largest absolute value: infinite or NaN if any is, so that no
/// comparison `largest < limit` lets those pass. `simd` must be a kernel that this CPU has.
pub(crate) fn round(simd: FloatKernel, numbers: &mut [f64]) -> f64 {
    match simd {
        // SAFETY: as in `reduce`.
        #[cfg(target_arch = "x86_64")]
        FloatKernel::Avx512 => unsafe { round_avx512(numbers) },
        // SAFETY: as in `reduce`.
        #[cfg(target_arch = "x86_64")]
        FloatKernel::Avx2 => unsafe { round_avx2(numbers) },
        _ => round_lanes(numbers),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
fn round_avx512(numbers: &mut [f64]) -> f64 {
    round_lanes(numbers)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn round_avx2(numbers: &mut [f64]) -> f64 {
    round_lanes(numbers)
}

#[inline(always)]
fn round_lanes(numbers: &mut [f64]) -> f64 {
    // Magnitudes compare as their bits do, and so NaN is above infinity, and infinity above all numbers.
    let mut largest = [0_i64; 16];
    for block in numbers.chunks_mut(16) {
        for (x, largest) in block.iter_mut().zip(&mut largest) {
            *x = x.round_ties_even();
            *largest = (*largest).max(x.abs().to_bits().cast_signed());
        }
    }
    f64::from_bits(largest.into_iter().fold(0, i64::max).cast_unsigned())
}

/// x mod q for integers x held as doubles, |x| < 2^126. `simd` must be a kernel that this CPU has.
pub(crate) fn reduce(simd: FloatKernel, modulus: &Modulus, integers: &[f64], out: &mut [u64]) {
    assert_eq!(integers.len(), out.len(), "one residue per integer");
    match simd {
        _ if !FUSED.contains(&modulus.value()) => reduce_words(modulus, integers, out),
        // SAFETY: `FloatKernel` values that reach this function were detected (`Embedding::with_kernel`).
        #[cfg(target_arch = "x86_64")]
        FloatKernel::Avx512 => unsafe { reduce_avx512(modulus.value(), integers, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        FloatKernel::Avx2 => unsafe { reduce_avx2(modulus.value(), integers, out) },
        _ if FUSED_ANYWHERE => reduce_fused(modulus.value(), integers, out),
        _ => reduce_words(modulus, integers, out),
    }
}

/// The slow path and twin: the double is taken apart into two words.
fn reduce_words(modulus: &Modulus, integers: &[f64], out: &mut [u64]) {
    let word = 2.0_f64.powi(64);
    for (out, &x) in out.iter_mut().zip(integers) {
        let magnitude = x.abs();
        let high = (magnitude / word).trunc();
        // Exact: a multiple of the last place of x, below 2^64 and not above x.
        let low = magnitude - high * word;
        let magnitude = (i128::from(high as u64) << 64) | i128::from(low as u64);
        let negative = -i128::from((x.to_bits() >> 63) as i64);
        *out = modulus.from_i128((magnitude ^ negative) - negative);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
fn reduce_avx512(q: u64, integers: &[f64], out: &mut [u64]) {
    reduce_fused(q, integers, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn reduce_avx2(q: u64, integers: &[f64], out: &mut [u64]) {
    reduce_fused(q, integers, out);
}

#[inline(always)]
fn reduce_fused(q: u64, integers: &[f64], out: &mut [u64]) {
    let q = q as f64;
    let inverse = 1.0 / q;
    let (cut, coarse) = (2.0_f64.powi(48), inverse / 2.0_f64.powi(48));
    for (out, &x) in out.iter_mut().zip(integers) {
        let x = (-cut * (x * coarse).round_ties_even()).mul_add(q, x);
        let x = (-(x * inverse).round_ties_even()).mul_add(q, x);
        let x = if x < 0.0 { x + q } else { x };
        *out = (x + TOP).to_bits() ^ TOP.to_bits();
    }
}

/// What the way back needs: inverses of primes modulo later ones.
pub(crate) struct Reconstruction {
    moduli: Vec<Modulus>,
    /// `inverses[i][j]` = q_j^-1 modulo q_i for j < i.
    inverses: Vec<Vec<u64>>,
    simd: FloatKernel,
}

/// The same in doubles: the prime, its inverse, and the centred inverses of the primes before it.
struct FusedPrime {
    q: f64,
    inverse: f64,
    factors: Vec<f64>,
}

impl Reconstruction {
    /// For a chain of distinct primes; any prefix of it can be served. `simd` must be a kernel that this CPU has.
    pub(crate) fn new(moduli: &[Modulus], simd: FloatKernel) -> Self {
        let row = |(i, q): (usize, &Modulus)| {
            moduli[..i].iter().map(|earlier| q.inv(q.reduce(earlier.value()))).collect()
        };
        Self { moduli: moduli.to_vec(), inverses: moduli.iter().enumerate().map(row).collect(), simd }
    }

    /// The centred integers with these residues modulo the first `limbs.len()` primes, rounded as the module essay
    /// says.
    ///
    /// # Panics
    /// When there are more limbs than primes, none, or limbs of different lengths.
    pub(crate) fn floats(&self, limbs: &[&[u64]], out: &mut [f64]) {
        assert!((1..=self.moduli.len()).contains(&limbs.len()), "{} limbs of residues", limbs.len());
        assert!(limbs.iter().all(|limb| limb.len() == out.len()), "limbs of different lengths");
        let fused = self.moduli[..limbs.len()].iter().all(|q| FUSED.contains(&q.value()));
        match self.simd {
            _ if !fused => self.floats_words(limbs, out),
            // SAFETY: as in `reduce`.
            #[cfg(target_arch = "x86_64")]
            FloatKernel::Avx512 => unsafe { floats_avx512(&self.fused(limbs.len()), limbs, out) },
            // SAFETY: as in `reduce`.
            #[cfg(target_arch = "x86_64")]
            FloatKernel::Avx2 => unsafe { floats_avx2(&self.fused(limbs.len()), limbs, out) },
            _ if FUSED_ANYWHERE => floats_fused(&self.fused(limbs.len()), limbs, out),
            _ => self.floats_words(limbs, out),
        }
    }

    fn fused(&self, limbs: usize) -> Vec<FusedPrime> {
        let prime = |(q, inverses): (&Modulus, &Vec<u64>)| FusedPrime {
            q: q.value() as f64,
            inverse: 1.0 / q.value() as f64,
            factors: inverses.iter().map(|&w| q.center(w) as f64).collect(),
        };
        self.moduli.iter().zip(&self.inverses).take(limbs).map(prime).collect()
    }

    /// The slow path and twin.
    fn floats_words(&self, limbs: &[&[u64]], out: &mut [f64]) {
        let mut digits = Wiped::from(vec![0_i64; limbs.len()]);
        for (at, out) in out.iter_mut().enumerate() {
            self.digits(limbs, at, &mut digits);
            *out = 0.0;
            for (digit, q) in digits.iter().zip(&self.moduli).rev() {
                *out = *out * q.value() as f64 + *digit as f64;
            }
        }
    }

    /// The signed digits d_0, d_1, .. of the centred integer with the residues at place `at`, one per limb.
    pub(crate) fn digits(&self, limbs: &[&[u64]], at: usize, digits: &mut [i64]) {
        for (i, limb) in limbs.iter().enumerate() {
            let q = &self.moduli[i];
            let mut rest = limb[at];
            for (&digit, &inverse) in digits[..i].iter().zip(&self.inverses[i]) {
                rest = q.mul(q.sub(rest, q.from_i64(digit)), inverse);
            }
            digits[i] = q.center(rest);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
fn floats_avx512(primes: &[FusedPrime], limbs: &[&[u64]], out: &mut [f64]) {
    floats_fused(primes, limbs, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn floats_avx2(primes: &[FusedPrime], limbs: &[&[u64]], out: &mut [f64]) {
    floats_fused(primes, limbs, out);
}

#[inline(always)]
fn floats_fused(primes: &[FusedPrime], limbs: &[&[u64]], out: &mut [f64]) {
    let mut digits = vec![[0.0; BLOCK]; limbs.len()];
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        for (i, (limb, prime)) in limbs.iter().zip(primes).enumerate() {
            let (before, digit) = digits.split_at_mut(i);
            let digit = &mut digit[0];
            let words = &limb[block * BLOCK..][..out.len()];
            for (digit, &word) in digit.iter_mut().zip(words) {
                let x = f64::from_bits(word | TOP.to_bits()) - TOP;
                // 0 or 1 times q, by arithmetic: a comparison may become a branch. q < 2^50 is odd, so x/q is never within
                // 2^-51 of one half.
                *digit = (-(x * prime.inverse).round_ties_even()).mul_add(prime.q, x);
            }
            for (before, &w) in before.iter().zip(&prime.factors) {
                for (digit, &before) in digit.iter_mut().zip(before) {
                    // |x| <= 1.3 * 2^50 and |w| < q/2: the quotient is below 2^50 and rounded right but for a quarter.
                    let x = *digit - before;
                    let high = x * w;
                    let low = x.mul_add(w, -high);
                    let times = (high * prime.inverse).round_ties_even();
                    *digit = (-times).mul_add(prime.q, high) + low;
                }
            }
            for digit in digit.iter_mut() {
                *digit = (-(*digit * prime.inverse).round_ties_even()).mul_add(prime.q, *digit);
            }
        }
        out.fill(0.0);
        for (digit, prime) in digits.iter().zip(primes).rev() {
            for (out, &digit) in out.iter_mut().zip(digit) {
                *out = *out * prime.q + digit;
            }
        }
    }
    digits.as_flattened_mut().wipe();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prime::largest_ntt_prime;
    use crate::seed::Seed;
    use rand_core::Rng;

    fn modulus(q: u64) -> Modulus {
        Modulus::new(q).unwrap()
    }

    /// m * 2^e mod q.
    fn shifted(q: &Modulus, m: i64, e: u64) -> u64 {
        q.mul(q.from_i64(m), q.pow(2, e))
    }

    #[test]
    fn reduction_is_exact_for_any_double_integer() {
        let mut stream = Seed::from_bytes([3; 32]).stream();
        let primes = [
            3,
            12289,
            (1 << 30) - 35,
            1_073_741_827,
            1_099_511_627_689,
            1_125_899_906_826_241,
            (1 << 61) - 1,
        ];
        for q in primes.map(modulus) {
            let (mut integers, mut expected) = (vec![], vec![]);
            for e in (0..=73).chain([0; 40]) {
                let m = stream.next_u64() as i64 >> 11 >> (stream.next_u64() % 53);
                for m in [m, 0, 1, -1, (1 << 53) - 1, 1 - (1 << 53)] {
                    integers.push(m as f64 * 2.0_f64.powi(e));
                    expected.push(shifted(&q, m, e as u64));
                }
            }
            // Around multiples of q and of 2^48 q, and around their halves.
            for k in 0..2000_i64 {
                let near = (q.value() >> 1).wrapping_mul(stream.next_u64() >> 40) as i64;
                let near = (near >> 11) + k % 5 - 2;
                integers.push(near as f64);
                expected.push(q.from_i64(near));
            }
            for simd in FloatKernel::available() {
                let mut out = vec![7; integers.len()];
                reduce(simd, &q, &integers, &mut out);
                for ((x, out), expected) in integers.iter().zip(&out).zip(&expected) {
                    assert_eq!(out, expected, "{x} mod {} by {simd:?}", q.value());
                }
            }
        }
    }

    #[test]
    fn the_largest_magnitude_is_found_wherever_it_is() {
        for simd in FloatKernel::available() {
            for count in [1, 15, 16, 17, 50] {
                for at in 0..count {
                    for large in [3.5, -3.5, f64::MAX, -f64::MAX, f64::INFINITY, f64::NEG_INFINITY] {
                        let mut numbers = vec![-2.5; count];
                        numbers[at] = large;
                        let largest = round(simd, &mut numbers);
                        assert_eq!(largest, large.abs().round_ties_even(), "{simd:?}: {large} at {at}");
                        assert_eq!(numbers[at], large.round_ties_even());
                        assert!(numbers.iter().enumerate().all(|(i, &x)| i == at || x == -2.0));
                    }
                    // Not a number, of either sign, among numbers and among infinities.
                    for (nan, others) in [(f64::NAN, 1.0), (-f64::NAN, 1.0), (f64::NAN, f64::INFINITY)] {
                        let mut numbers = vec![others; count];
                        numbers[at] = nan;
                        assert!(round(simd, &mut numbers).is_nan(), "{simd:?}: {nan} at {at}");
                    }
                }
            }
        }
    }

    /// Chains of primes of several widths: all fused, none, mixed.
    fn chains() -> Vec<Vec<Modulus>> {
        let ntt = |bits, order| modulus(largest_ntt_prime(bits, order).unwrap());
        let descending = |bits: u32, count: usize| -> Vec<Modulus> {
            let mut primes = vec![];
            let mut candidate = (1_u64 << bits) - 1;
            while primes.len() < count {
                primes.extend(Modulus::new(candidate));
                candidate -= 2;
            }
            primes
        };
        vec![
            vec![ntt(50, 4096)],
            vec![ntt(50, 4096), ntt(40, 4096), ntt(39, 4096), ntt(31, 4096)],
            vec![ntt(60, 4096), ntt(40, 4096), ntt(41, 4096)],
            descending(50, 17),
            descending(40, 21),
            descending(58, 9),
            descending(20, 5),
        ]
    }

    #[test]
    fn centred_integers_come_back_to_the_nearest_double() {
        let mut stream = Seed::from_bytes([4; 32]).stream();
        for moduli in chains() {
            for count in 1..=moduli.len() {
                let log2_q: f64 = moduli[..count].iter().map(|q| (q.value() as f64).log2()).sum();
                let (mut integers, mut limbs) = (vec![], vec![vec![]; count]);
                for _ in 0..150 {
                    // m 2^e, |m| < 2^53, |m 2^e| < Q/2: exactly a double, and its residues are known.
                    let most = (log2_q - 54.0).floor();
                    let e = if most > 0.0 { stream.next_u64() % (most as u64 + 1) } else { 0 };
                    let keep = (log2_q.floor() as u32 - 1).min(53);
                    let m = stream.next_u64() as i64 >> (64 - keep) >> (stream.next_u64() % u64::from(keep));
                    integers.push(m as f64 * 2.0_f64.powi(e as i32));
                    limbs.iter_mut().zip(&moduli).for_each(|(limb, q)| limb.push(shifted(q, m, e)));
                }
                let slices: Vec<&[u64]> = limbs.iter().map(|limb| &limb[..]).collect();
                let run = |simd| {
                    let mut out = vec![1.0; integers.len()];
                    Reconstruction::new(&moduli, simd).floats(&slices, &mut out);
                    out
                };
                let mut expected = vec![0.0; integers.len()];
                Reconstruction::new(&moduli, FloatKernel::Portable).floats_words(&slices, &mut expected);
                for (x, out) in integers.iter().zip(&expected) {
                    let bound = f64::EPSILON / 2.0 * (6 * count + 3) as f64 * x.abs();
                    assert!((x - out).abs() <= bound, "{x} came back as {out} from {count} primes");
                }
                for simd in FloatKernel::available() {
                    assert!(run(simd) == expected, "{simd:?}, {count} of {moduli:?}");
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        for moduli in chains() {
            // (Q - 1) / 2 and its negative: every digit at its end.
            let floats = moduli.iter().fold(1.0, |product, q| product * q.value() as f64) / 2.0;
            let minus: Vec<_> = moduli.iter().map(|q| vec![q.value() / 2 + 1; 3]).collect();
            let plus: Vec<_> = moduli.iter().map(|q| vec![q.value() / 2; 3]).collect();
            for simd in FloatKernel::available() {
                for (limbs, sign) in [(&plus, -1.0), (&minus, 1.0)] {
                    let slices: Vec<&[u64]> = limbs.iter().map(|limb| &limb[..]).collect();
                    let mut out = vec![0.0; 3];
                    Reconstruction::new(&moduli, simd).floats(&slices, &mut out);
                    for x in out {
                        // -1/2 mod q is (q - 1)/2: these are the residues of (Q - 1)/2 and its negative.
                        assert!((x.abs() / floats - 1.0).abs() < 1e-5, "{x} against {floats}");
                        assert!(x * sign < 0.0);
                    }
                }
            }
        }
    }
}
