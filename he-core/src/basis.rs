//! Between the residues of Z_q, integers, and rings of powers of two: the modulus switch for one limb and for two.
//!
//! q is a prime or the product of two (see [`crate::params`]); a number modulo q is held as one residue per limb. What
//! follows is one definition for both cases; with one limb it is [`crate::switch`], word for word.
//!
//! | function | in | out | error |
//! |---|---|---|---|
//! | [`Params::down`] | residues of x in [0, q) | round(x 2^k / q) mod 2^k | half a unit of the k-bit ring |
//! | [`Params::up`] | v in [0, 2^w) | residues of round(v q / 2^w) mod q | half a unit of Z_q |
//! | [`Params::torus`] | an i64 in units of 2^-62 turns | residues of round(v q / 2^62) mod q | half a unit of Z_q |
//! | [`Params::residues`] | any i128 | its residues | none |
//! | [`Params::compose`], [`Params::center`] | residues | the number in [0, q), or in (-q/2, q/2] | none |
//! | [`Params::dither`] | randomness | residues of bounded smooth noise, the same integer in every limb | none |
//!
//! Slices are limb-major: `residues[limb][i]` belongs to value i. Widths k and w are 1 to 62, for one limb and for two.
//!
//! **Down, two limbs.** By Garner's form of the Chinese remainder theorem (H. Garner, *The residue number system*, 1959),
//! x = r0 + q0 t with t = (r1 - r0) / q0 mod q1. With h = (q - 1)/2 = h0 + q0 h1 the wanted floor((x 2^k + h) / q) is
//! floor((t 2^k + h1 + floor((r0 2^k + h0) / q0)) / q1), because floors nest: two Barrett quotients of numbers below
//! 2^111, no wide integer and no division instruction. q is odd, so no tie can happen.
//!
//! **Up, two limbs.** v q + 2^(w-1) has up to 158 bits: v times the low and the high word of q, added after the shift.
//! Ties round up.
//!
//! Everything is exact and free of branches and look-ups on values. Not promised: residues that are not below their
//! prime or values that are not below 2^w give wrong numbers (debug builds assert). What is returned may be a secret and
//! is the caller's to wipe, but for [`Params::dither`], whose result wipes itself.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::HeError;
use crate::modulus::Modulus;
use crate::params::Params;
use crate::{sample, switch};

/// The widths that a ring of a power of two may have here.
const MOST_BITS: u32 = 62;

/// What switching needs of a pair of limbs; `None` with one limb.
#[derive(Debug, Clone)]
pub(crate) struct Basis(Option<Pair>);

#[derive(Debug, Clone)]
struct Pair {
    q: [Modulus; 2],
    /// 1/q0 mod q1 and its Shoup quotient.
    inverse: (u64, u64),
    /// (q0 q1 - 1)/2 = h.0 + q0 h.1.
    half: (u64, u64),
}

impl Basis {
    /// The constants of one modulus or of two distinct ones.
    ///
    /// # Panics
    /// For any other number of moduli: parameter sets have one limb or two.
    pub(crate) fn new(moduli: &[Modulus]) -> Self {
        match *moduli {
            [_] => Self(None),
            [q0, q1] => {
                let inverse = q1.inv(q1.reduce(q0.value()));
                let half = (u128::from(q0.value()) * u128::from(q1.value()) - 1) / 2;
                let half = (half % u128::from(q0.value()), half / u128::from(q0.value()));
                let half = (half.0 as u64, half.1 as u64);
                Self(Some(Pair { q: [q0, q1], inverse: (inverse, q1.shoup(inverse)), half }))
            }
            _ => panic!("a parameter set has one or two limbs, not {}", moduli.len()),
        }
    }
}

impl Pair {
    /// t of x = r0 + q0 t: the upper digit of x in mixed radix, below q1.
    #[inline(always)]
    fn upper_digit(&self, r0: u64, r1: u64) -> u64 {
        let q1 = &self.q[1];
        q1.mul_shoup(q1.sub(r1, q1.reduce(r0)), self.inverse.0, self.inverse.1)
    }

    #[inline(always)]
    fn down(&self, r0: u64, r1: u64, k: u32) -> u64 {
        let t = self.upper_digit(r0, r1);
        let low = self.q[0].quotient_u128((u128::from(r0) << k) + u128::from(self.half.0));
        let sum = (u128::from(t) << k) + u128::from(self.half.1) + u128::from(low);
        self.q[1].quotient_u128(sum) & ((1 << k) - 1)
    }
}

/// floor((v * q + 2^(w-1)) / 2^w) for v < 2^w, w <= 62, q < 2^122.
#[inline(always)]
fn scale(q: u128, v: u64, w: u32) -> u128 {
    let (q_low, q_high) = (u128::from(q as u64), q >> 64);
    let low = u128::from(v) * q_low + (1 << (w - 1));
    // v * q_high * 2^64 is a multiple of 2^w: its shift loses nothing.
    ((u128::from(v) * q_high) << (64 - w)) + (low >> w)
}

impl Params {
    /// round(x * 2^k / q) mod 2^k of every x, given as residues, limb by limb; 1 <= k <= 62.
    ///
    /// # Panics
    /// Unless there is one slice per limb, all of one length, and k is in its range: shapes are the program's.
    #[must_use]
    pub fn down(&self, residues: &[&[u64]], k: u32) -> Vec<u64> {
        self.check(residues.len(), k);
        match (&self.basis().0, residues) {
            (Some(pair), [low, high]) => {
                assert_eq!(low.len(), high.len(), "the limbs of values to switch have different lengths");
                low.iter().zip(*high).map(|(&r0, &r1)| pair.down(r0, r1, k)).collect()
            }
            _ => residues[0].iter().map(|&x| switch::switch_down(self.modulus(), x, k)).collect(),
        }
    }

    /// round(v * q / 2^w) mod q of every v in [0, 2^w), as residues, one vector per limb; 1 <= w <= 62.
    ///
    /// # Panics
    /// Unless w is in its range.
    #[must_use]
    pub fn up(&self, values: &[u64], w: u32) -> Vec<Vec<u64>> {
        self.check(self.limbs(), w);
        debug_assert!(values.iter().all(|v| v >> w == 0), "a value is not below 2^{w}");
        match &self.basis().0 {
            None => vec![values.iter().map(|&v| switch::lift(self.modulus(), v, w)).collect()],
            Some(pair) => {
                let mut limbs = pair.q.map(|_| Vec::with_capacity(values.len()));
                for &v in values {
                    let scaled = scale(self.q(), v, w);
                    for (limb, q) in limbs.iter_mut().zip(&pair.q) {
                        limb.push(q.reduce_u128(scaled));
                    }
                }
                limbs.into()
            }
        }
    }

    /// round(value * q / 2^62) mod q: a number of turns of the torus in units of 2^-62, as one residue per limb. Whole
    /// turns vanish, so every i64 has a place.
    #[must_use]
    pub fn torus(&self, value: i64) -> Vec<u64> {
        // q * 2^62 / 2^62 = q vanishes modulo q, so only the low 62 bits count, of negative values too.
        let turn = (value as u64) & ((1 << MOST_BITS) - 1);
        self.up(&[turn], MOST_BITS).into_iter().flatten().collect()
    }

    /// The residues of any integer, one per limb.
    #[must_use]
    pub fn residues(&self, value: i128) -> Vec<u64> {
        self.moduli().iter().map(|q| q.from_i128(value)).collect()
    }

    /// The number in [0, q) with these residues, one per limb.
    ///
    /// # Panics
    /// Unless there is one residue per limb.
    #[must_use]
    pub fn compose(&self, residues: &[u64]) -> u128 {
        self.check(residues.len(), 1);
        match (&self.basis().0, residues) {
            (Some(pair), &[r0, r1]) => {
                u128::from(r0) + u128::from(pair.q[0].value()) * u128::from(pair.upper_digit(r0, r1))
            }
            _ => u128::from(residues[0]),
        }
    }

    /// The number in (-q/2, q/2] with these residues, one per limb.
    ///
    /// # Panics
    /// Unless there is one residue per limb.
    #[must_use]
    pub fn center(&self, residues: &[u64]) -> i128 {
        let x = self.compose(residues);
        // q is below 2^122: the borrow of q/2 - x is its sign bit.
        let above = ((self.q() / 2).wrapping_sub(x) as i128 >> 127) as u128;
        x.wrapping_sub(self.q() & above) as i128
    }

    /// `count` draws of the server's dither of standard deviation 2^log2_sigma, as residues, one vector per limb: the same
    /// integer in every limb. The distribution is that of [`sample::dither`], and with one limb so are the words.
    ///
    /// # Errors
    /// [`HeError::Dither`] as for [`Params::dither_width`].
    pub fn dither<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        log2_sigma: f64,
        count: usize,
    ) -> Result<Zeroizing<Vec<Vec<u64>>>, HeError> {
        let mut limbs = Zeroizing::new(vec![vec![0; count]; self.limbs()]);
        match limbs.as_mut_slice() {
            [only] => sample::dither(rng, self.modulus(), log2_sigma, only)?,
            limbs => sample::dither_limbs(rng, self.moduli(), self.dither_width(log2_sigma)?, limbs),
        }
        Ok(limbs)
    }

    /// The width F of the four uniforms of [`Params::dither`]: its support is \[-2(F - 1), 2(F - 1)\].
    ///
    /// # Errors
    /// [`HeError::Dither`] unless `log2_sigma` is finite and the support fits (-q/2, q/2).
    pub fn dither_width(&self, log2_sigma: f64) -> Result<u128, HeError> {
        sample::width_below(self.q(), log2_sigma)
    }

    fn check(&self, limbs: usize, bits: u32) {
        assert_eq!(limbs, self.limbs(), "values of {limbs} limbs met a parameter set of {}", self.limbs());
        assert!((1..=MOST_BITS).contains(&bits), "a ring of {bits} bits; 1 to {MOST_BITS} are supported");
    }
}

#[cfg(test)]
mod tests;
