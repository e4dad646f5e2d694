//! Key switching: from a polynomial times one secret to a ciphertext under another.
//!
//! Given c modulo Q_l and a key for the secret s', the answer (d0, d1) has d0 + d1 s = c s' + small. Hybrid method with
//! several special primes (K. Han, D. Ki, *Better bootstrapping for approximate homomorphic encryption*, CT-RSA 2020,
//! section 3), in residues throughout:
//!
//! 1. *Decompose*: c is cut into digits of k neighbouring ciphertext primes, k the number of special primes. Digit j is
//!    the centred integer of c modulo its primes, extended to all primes of Q_l P ([`Decomposed`]).
//! 2. *Accumulate*: the sum over j of digit j times the key's pair (b_j, a_j), where b_j = -a_j s + e_j + P [q in digit j]
//!    s'; one lazy sum per prime with one reduction.
//! 3. *Come down*: divide by P with rounding.
//!
//! | quantity | size |
//! |---|---|
//! | transforms | l inverse, (l + k) ceil(l/k) - l forward; coming down 2 k inverse, 2 l forward |
//! | a key | ceil(L/k) polynomials modulo Q P and a seed of 32 bytes |
//! | noise added | about sqrt(N/12) (sum of digit j times e_j)/P: see [`Decomposed::noise_variance`] |
//!
//! **Hoisting** (S. Halevi, V. Shoup, *Faster homomorphic linear transformations in HElib*, CRYPTO 2018, section 5): an
//! automorphism commutes with step 1, so many rotations of one ciphertext share one decomposition.

use rayon::prelude::*;

use crate::galois::Automorphism;
use crate::poly::{Coeff, Ntt, Poly};
use crate::rlwe::encrypt::{PublicSeed, public_seed, public_uniform};
use crate::rlwe::params::{Digit, Level};
use crate::rlwe::{RlweParams, SecretKey};
use crate::rns::{RnsPoly, Tables};
use crate::sample::ERROR_ETA;
use crate::seed::Seed;

/// A key that takes products with one secret to ciphertexts under another. Public.
#[derive(Debug)]
pub struct KeySwitchKey {
    /// b_j modulo all primes, ciphertext primes first.
    parts: Vec<RnsPoly<Ntt>>,
    /// a_j, of the seed.
    uniform: Vec<RnsPoly<Ntt>>,
    seed: PublicSeed,
}

/// A polynomial, cut into digits and extended to the special primes.
#[derive(Debug)]
pub struct Decomposed {
    /// Modulo the ciphertext primes of the level, then the special primes.
    digits: Vec<RnsPoly<Ntt>>,
    limbs: usize,
}

impl Decomposed {
    /// The number of ciphertext primes of what was cut.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.limbs
    }

    /// The variance per coefficient of the noise that switching a key adds to a ciphertext of `limbs` limbs.
    ///
    /// The digits are uniform and centred modulo their primes (variance D_j^2/12), the errors have variance eta/2, N
    /// products meet in a coefficient, and coming down divides by P and rounds both parts (1/12 and N (2/3)/12).
    #[must_use]
    pub fn noise_variance(params: &RlweParams, limbs: usize) -> f64 {
        let n = params.n() as f64;
        let digits = params.moduli(limbs).chunks(params.digit_len().max(1));
        let size = |digit: &[crate::Modulus]| {
            let log2: f64 = digit.iter().map(|q| (q.value() as f64).log2()).sum();
            (2.0 * (log2 - params.log2_p())).exp2() / 12.0
        };
        let sum: f64 = digits.map(size).sum();
        sum * n * f64::from(ERROR_ETA) / 2.0 + (1.0 + 2.0 * n / 3.0) / 12.0
    }
}

impl RlweParams {
    /// Cuts a polynomial modulo the first primes into digits.
    ///
    /// # Panics
    /// When the polynomial is of other parameters, or without special primes.
    #[must_use]
    pub fn decompose(&self, poly: &RnsPoly<Ntt>) -> Decomposed {
        let limbs = poly.limb_count();
        let level = self.level(limbs);
        let coefficients = poly.duplicate().into_coeff(self.ciphertext_tables(limbs));
        let cut = |digit: &Digit| extend(level, digit, poly, &coefficients);
        let parallel = rayon::current_num_threads() > 1 && level.digits.len() > 1;
        let digits = if parallel {
            level.digits.par_iter().map(cut).collect()
        } else {
            level.digits.iter().map(cut).collect()
        };
        Decomposed { digits, limbs }
    }
}

/// One digit modulo all primes of the level: its own residues as they are, all others by conversion.
fn extend(
    level: &Level,
    digit: &Digit,
    values: &RnsPoly<Ntt>,
    coefficients: &RnsPoly<Coeff>,
) -> RnsPoly<Ntt> {
    let own = digit.start..digit.end;
    let from: Vec<&[u64]> = coefficients.limbs()[own.clone()].iter().map(Poly::coefficients).collect();
    let others = level.tables.iter().enumerate().filter(|(i, _)| !own.contains(i));
    let mut extended: Vec<Poly<Coeff>> = others.map(|(_, table)| Poly::zero(table)).collect();
    let mut to: Vec<&mut [u64]> = extended.iter_mut().map(Poly::words_mut).collect();
    digit.up.convert(&from, &mut to);
    let mut extended = extended.into_iter();
    let limb = |(i, table)| {
        if own.contains(&i) {
            return values.limb(i).duplicate();
        }
        extended.next().expect("one polynomial per other prime").into_ntt(table)
    };
    RnsPoly::from_limbs(level.tables.iter().enumerate().map(limb).collect())
}

impl KeySwitchKey {
    /// The key from `from`, a secret's values modulo all primes, to `secret`; the seed is used up.
    ///
    /// # Panics
    /// Without special primes.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the seed of an encryption must not be used again")]
    pub(crate) fn new(secret: &SecretKey, from: &RnsPoly<Ntt>, seed: Seed) -> Self {
        let params = secret.params();
        assert!(params.digit_len() > 0, "parameters without special primes switch no keys");
        let (tables, public) = (params.tables(), public_seed(&seed));
        let special = params.all_moduli()[params.limbs()..].to_vec();
        let starts: Vec<usize> = (0..params.limbs()).step_by(params.digit_len()).collect();
        let pair = |(j, start): (usize, usize)| {
            let uniform = public_uniform(tables, &public, j as u64);
            let mut part = secret.hide(tables, &uniform, &seed, j as u64);
            let end = (start + params.digit_len()).min(params.limbs());
            for (i, table) in tables.iter().enumerate().take(end).skip(start) {
                let modulus = table.modulus();
                let factor = special.iter().fold(1, |f, p| modulus.mul(f, modulus.reduce(p.value())));
                let mut shifted = from.limb(i).duplicate();
                shifted.scale(factor);
                part.limbs_mut()[i] += &shifted;
            }
            (part, uniform)
        };
        let (parts, uniform) = starts.into_par_iter().enumerate().map(pair).unzip();
        Self { parts, uniform, seed: public }
    }

    /// The key of its wire form: one polynomial modulo all primes per digit, and the seed.
    ///
    /// # Panics
    /// Unless there are ceil(L/k) polynomials with all limbs.
    #[must_use]
    pub fn from_seeded(params: &RlweParams, parts: Vec<RnsPoly<Ntt>>, seed: PublicSeed) -> Self {
        assert_eq!(parts.len(), Self::digits(params), "digits of a key");
        assert!(parts.iter().all(|part| part.limb_count() == params.tables().len()), "limbs of a key");
        let uniform = (0..parts.len()).map(|j| public_uniform(params.tables(), &seed, j as u64)).collect();
        Self { parts, uniform, seed }
    }

    /// The key turned by an automorphism: digits that are turned likewise meet it in a result that is.
    pub(super) fn image(&self, automorphism: &Automorphism) -> Self {
        let turn = |polys: &[RnsPoly<Ntt>]| polys.iter().map(|poly| automorphism.values(poly)).collect();
        Self { parts: turn(&self.parts), uniform: turn(&self.uniform), seed: self.seed }
    }

    /// The number of digits ceil(L/k) of a key; 0 without special primes.
    #[must_use]
    pub fn digits(params: &RlweParams) -> usize {
        params
            .limbs()
            .checked_div(params.digit_len())
            .map_or(0, |_| params.limbs().div_ceil(params.digit_len()))
    }

    /// The polynomials b_j.
    #[must_use]
    pub fn parts(&self) -> &[RnsPoly<Ntt>] {
        &self.parts
    }

    /// The seed of the polynomials a_j.
    #[must_use]
    pub fn seed(&self) -> &PublicSeed {
        &self.seed
    }

    /// (d0, d1) with d0 + d1 s = c s' + small, for the decomposition of c.
    ///
    /// # Panics
    /// When the decomposition is of other parameters.
    #[must_use]
    pub fn apply(&self, params: &RlweParams, decomposed: &Decomposed) -> [RnsPoly<Ntt>; 2] {
        let level = params.level(decomposed.limbs);
        // The level's primes among all primes: the first, and the special ones at the end.
        let place = |i: usize| if i < decomposed.limbs { i } else { i - decomposed.limbs + params.limbs() };
        let sum = |key: &[RnsPoly<Ntt>]| {
            let limb = |(i, table)| {
                let terms: Vec<_> =
                    decomposed.digits.iter().zip(key).map(|(d, k)| (d.limb(i), k.limb(place(i)))).collect();
                Poly::dot(table, &terms)
            };
            let sums = level.tables.iter().enumerate().map(limb).collect();
            level.down.drop_last_ntt(RnsPoly::from_limbs(sums), &level.tables)
        };
        if rayon::current_num_threads() > 1 {
            let (first, second) = rayon::join(|| sum(&self.parts), || sum(&self.uniform));
            return [first, second];
        }
        [sum(&self.parts), sum(&self.uniform)]
    }
}
