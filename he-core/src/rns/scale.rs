//! Scaling by t/Q with rounding: the end of a BFV decryption and of a BFV multiplication.
//!
//! With a_i = t (Q/q_i)^-1 mod q_i and x = sum_i x_i (Q/q_i)^-1 (Q/q_i) modulo Q (Halevi, Polyakov and Shoup, *An Improved
//! RNS Variant of the BFV Homomorphic Encryption Scheme*, CT-RSA 2019, sections 2.3 and 2.4, "simple" and "complex
//! scaling"):
//!
//! | type | input | output |
//! |---|---|---|
//! | [`PlainRound`] | x modulo Q | round(t x / Q) mod t, any integer t from 2 to 2^60: sum_i x_i floor(t (Q/q_i)^-1 / q_i) + r |
//! | [`FactorRound`] | x modulo Q | round(t x / Q) modulo the prime factors t_j of t: sum_i -x_i a_i / q_i + r modulo t_j |
//! | [`ScaleRound`] | x modulo Q B | round(t x / Q) modulo the primes of B, any t >= 1: x t/Q - sum_i x_i a_i / q_i + r |
//!
//! with r = round(sum_i x_i a_i / q_i) in all; t (Q/q_i)^-1 - a_i is a multiple of q_i, and t vanishes modulo its factors. Which of the numbers with its residues x is does not matter: another Q adds
//! t, another Q B adds t B. The result is exact, or one too small where the fraction of t x / Q is above one half by less
//! than E, which is l * 1.25 * 2^-52 for l primes q_i below 2^50, else l * 3 * 2^-60; below 2^-45 always, and on every machine
//! alike. A decryption meets that only with noise within a part of 2^-44 of the most that it may have; in a multiplication
//! it adds noise of one unit, with a chance of E. Q is odd: no tie can happen.
//!
//! Slices are limb-major and hold residues, coefficient form, as in [`super::convert`]. Results may be secrets.

use super::RnsPoly;
use super::convert::{assert_moduli, cofactor_inverses, product, words, words_mut};
use super::drop::division;
use super::linear::LinearMap;
use crate::modulus::Modulus;
use crate::poly::Coeff;

/// The largest plaintext modulus of [`PlainRound`].
pub const MOST_PLAIN: u64 = 1 << 60;

/// round(t x / Q) mod t; all of it is public.
#[derive(Debug, Clone)]
pub struct PlainRound {
    primes: Vec<Modulus>,
    map: LinearMap,
}

impl PlainRound {
    /// The scaling by t/Q of numbers modulo the product Q of `primes` (1 to [`super::convert::MOST_PRIMES`] distinct ones).
    ///
    /// # Panics
    /// For any other shape, or unless 2 <= t <= [`MOST_PLAIN`]: parameters are checked before.
    #[must_use]
    pub fn new(primes: &[Modulus], t: u64) -> Self {
        assert!((2..=MOST_PLAIN).contains(&t), "a plaintext modulus of {t}; 2 to 2^60 are supported");
        // t (Q/q_i)^-1 = c_i q_i + a_i.
        let parts: Vec<_> = primes
            .iter()
            .zip(cofactor_inverses(primes))
            .map(|(q, inverse)| {
                let whole = u128::from(t) * u128::from(inverse);
                ((whole / u128::from(q.value())) as u64, (whole % u128::from(q.value())) as u64)
            })
            .collect();
        let sources: Vec<_> = primes.iter().zip(&parts).map(|(q, &(_, a))| (q, a)).collect();
        let map = LinearMap::new(&sources, &[(t, 0, 1)], |i, _| parts[i].0, false, true);
        Self { primes: primes.to_vec(), map }
    }

    /// out = round(t x / Q) mod t, in [0, t).
    ///
    /// # Panics
    /// Unless there is one slice per prime, all of the length of `out`.
    pub fn apply(&self, x: &[&[u64]], out: &mut [u64]) {
        self.map.apply(x, &mut [out]);
    }

    /// As [`PlainRound::apply`], for the coefficients of a polynomial.
    ///
    /// # Panics
    /// When the polynomial is of other primes.
    #[must_use]
    pub fn round(&self, poly: &RnsPoly<Coeff>) -> Vec<u64> {
        assert_moduli(&poly.0, &self.primes);
        let mut out = vec![0; poly.n()];
        self.apply(&words(&poly.0), &mut out);
        out
    }

    /// This scaling without vector kernels.
    #[cfg(test)]
    pub(super) fn portable(self) -> Self {
        Self { map: self.map.portable(), ..self }
    }
}

/// round(t x / Q) modulo the prime factors of t; all of it is public.
#[derive(Debug, Clone)]
pub struct FactorRound {
    map: LinearMap,
}

impl FactorRound {
    /// The scaling by t/Q of numbers modulo the product Q of `primes` (1 to [`super::convert::MOST_PRIMES`]), t the product of
    /// `factors`; all distinct.
    ///
    /// # Panics
    /// For any other shape: parameters are checked before.
    #[must_use]
    pub fn new(primes: &[Modulus], factors: &[Modulus]) -> Self {
        let numerators: Vec<_> = primes
            .iter()
            .zip(cofactor_inverses(primes))
            .map(|(q, inverse)| q.mul(inverse, product(factors.iter(), q)))
            .collect();
        let sources: Vec<_> = primes.iter().zip(numerators.iter().copied()).collect();
        let targets: Vec<_> = factors.iter().map(|t| (t.value(), 0, 1)).collect();
        let factor = |i: usize, j: usize| {
            let (t, q) = (&factors[j], primes[i].value());
            let inverse = t.inv(t.reduce(q));
            assert!(inverse != 0, "the prime {q} divides Q and t");
            t.neg(t.mul(t.reduce(numerators[i]), inverse))
        };
        let map = LinearMap::new(&sources, &targets, factor, false, true);
        Self { map }
    }

    /// Writes round(t x / Q) modulo factor j to `out[j]`.
    ///
    /// # Panics
    /// Unless there is one slice per prime and one per factor, all of one length.
    pub fn apply(&self, x: &[&[u64]], out: &mut [&mut [u64]]) {
        self.map.apply(x, out);
    }

    /// This scaling without vector kernels.
    #[cfg(test)]
    pub(super) fn portable(self) -> Self {
        Self { map: self.map.portable() }
    }
}

/// round(t x / Q) modulo the primes of B, of x modulo Q B; all of it is public.
#[derive(Debug, Clone)]
pub struct ScaleRound {
    from: Vec<Modulus>,
    to: Vec<Modulus>,
    map: LinearMap,
}

impl ScaleRound {
    /// The scaling by t/Q, t >= 1 any integer, for the product Q of `from` (1 to [`super::convert::MOST_PRIMES`] primes) and
    /// B of `to`; all distinct.
    ///
    /// # Panics
    /// For any other shape: parameters are checked before.
    #[must_use]
    pub fn new(from: &[Modulus], to: &[Modulus], t: u64) -> Self {
        assert!(t >= 1, "a scaling by zero");
        Self { from: from.to_vec(), to: to.to_vec(), map: division(t, from, to) }
    }

    /// Puts round(t x / Q) in the place of x in `to`, one slice per prime of B; `from` is x modulo the primes of Q.
    ///
    /// # Panics
    /// Unless there is one slice per prime, all of one length.
    pub fn apply(&self, from: &[&[u64]], to: &mut [&mut [u64]]) {
        self.map.apply(from, to);
    }

    /// As [`ScaleRound::apply`], for a polynomial with the limbs of Q followed by those of B; those of B remain.
    ///
    /// # Panics
    /// When the polynomial is of other primes.
    #[must_use]
    pub fn scale(&self, mut poly: RnsPoly<Coeff>) -> RnsPoly<Coeff> {
        let primes: Vec<_> = self.from.iter().chain(&self.to).copied().collect();
        assert_moduli(&poly.0, &primes);
        let mut out = RnsPoly(poly.0.split_off(self.from.len()));
        self.apply(&words(&poly.0), &mut words_mut(&mut out.0));
        out
    }

    /// This scaling without vector kernels.
    #[cfg(test)]
    pub(super) fn portable(self) -> Self {
        Self { map: self.map.portable(), ..self }
    }
}
