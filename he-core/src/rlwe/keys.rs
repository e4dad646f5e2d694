//! The keys of a computing party: relinearisation and automorphisms. Public, and of no use without ciphertexts.
//!
//! | key | takes | to |
//! |---|---|---|
//! | [`RelinKey`] | c0 + c1 s + c2 s^2 | c0' + c1' s |
//! | [`GaloisKeys`] | the image of a ciphertext under X to X^g, which is one under s(X^g) | one under s |
//!
//! Switching commutes with automorphisms: digits of an image are images of the digits, and so are quotients by P. So a
//! Galois key is kept turned back by its automorphism; it meets the digits as they are, and only the two parts of the
//! answer are turned. Its wire form is the key as it was made.
//!
//! A Galois key exists for each exponent that was asked for; rotations by other steps are compositions, which is the
//! caller's choice.

use std::collections::BTreeMap;

use crate::error::HeError;
use crate::galois::Automorphism;
use crate::rlwe::{Ciphertext, Decomposed, KeySwitchKey, RlweParams, SecretKey};
use crate::seed::Seed;

/// Key switching from s^2 to s.
#[derive(Debug)]
pub struct RelinKey(KeySwitchKey);

impl RelinKey {
    /// The key of a secret, from a fresh seed, which is used up.
    ///
    /// # Panics
    /// When the parameters have no special primes.
    #[must_use]
    pub fn new(secret: &SecretKey, seed: Seed) -> Self {
        Self(KeySwitchKey::new(secret, &secret.square(), seed.fork("rlwe: relinearisation key", &[])))
    }

    /// The key of its wire form.
    #[must_use]
    pub fn from_key(key: KeySwitchKey) -> Self {
        Self(key)
    }

    /// The key inside.
    #[must_use]
    pub fn key(&self) -> &KeySwitchKey {
        &self.0
    }

    /// A ciphertext of degree 1 with the same phase and a little more noise; one of degree 1 is left as it is.
    ///
    /// # Panics
    /// When the ciphertext is of other parameters.
    #[must_use]
    pub fn relinearise(&self, params: &RlweParams, ciphertext: Ciphertext) -> Ciphertext {
        if ciphertext.degree() < 2 {
            return ciphertext;
        }
        let mut parts = ciphertext.into_parts();
        let square = parts.pop().expect("a ciphertext of degree 2 has three parts");
        let [d0, d1] = self.0.apply(params, &params.decompose(&square));
        parts[0] += &d0;
        parts[1] += &d1;
        Ciphertext::from_parts(parts).expect("two parts of the same limbs")
    }
}

/// Key switching from s(X^g) to s, for some g.
#[derive(Debug)]
pub struct GaloisKeys {
    n: usize,
    /// Keys are turned back by their automorphisms.
    keys: BTreeMap<usize, (Automorphism, KeySwitchKey)>,
}

impl GaloisKeys {
    /// The keys for these exponents (odd, below 2N), from a fresh seed, which is used up. An exponent that is asked for
    /// twice has one key.
    ///
    /// # Panics
    /// For an exponent that is even or too large, or when the parameters have no special primes.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the seed of an encryption must not be used again")]
    pub fn new(secret: &SecretKey, exponents: &[usize], seed: Seed) -> Self {
        let n = secret.params().n();
        let mut keys = BTreeMap::new();
        for &exponent in exponents {
            keys.entry(exponent).or_insert_with(|| {
                let automorphism = Automorphism::new(n, exponent);
                let from = secret.image(&automorphism);
                let key = KeySwitchKey::new(secret, &from, seed.fork("rlwe: galois", &[exponent as u64]));
                Self::turned(automorphism, &key)
            });
        }
        Self { n, keys }
    }

    /// The keys of their wire form.
    ///
    /// # Panics
    /// For an exponent that is even or too large.
    #[must_use]
    pub fn from_keys(params: &RlweParams, keys: Vec<(usize, KeySwitchKey)>) -> Self {
        let n = params.n();
        let turned = |(g, key): (usize, KeySwitchKey)| (g, Self::turned(Automorphism::new(n, g), &key));
        Self { n, keys: keys.into_iter().map(turned).collect() }
    }

    /// The exponents that there are keys for, smallest first.
    pub fn exponents(&self) -> impl ExactSizeIterator<Item = usize> {
        self.keys.keys().copied()
    }

    /// Exponents and keys, smallest exponent first.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = (usize, KeySwitchKey)> {
        self.keys.iter().map(|(&exponent, (automorphism, key))| (exponent, key.image(automorphism)))
    }

    /// A key, turned back by its automorphism.
    fn turned(automorphism: Automorphism, key: &KeySwitchKey) -> (Automorphism, KeySwitchKey) {
        let back = key.image(&automorphism.inverse());
        (automorphism, back)
    }

    fn find(&self, exponent: usize) -> Result<&(Automorphism, KeySwitchKey), HeError> {
        self.keys.get(&exponent).ok_or(HeError::NoGaloisKey { exponent, n: self.n })
    }

    /// Whether there is a key for every exponent but 1, which needs none.
    ///
    /// # Errors
    /// [`HeError::NoGaloisKey`] for the first that is missing.
    pub fn check_all(&self, exponents: &[usize]) -> Result<(), HeError> {
        exponents.iter().filter(|&&exponent| exponent != 1).try_for_each(|&g| self.find(g).map(drop))
    }

    /// The image of a ciphertext of degree 1 under X to X^g, under the same secret.
    ///
    /// # Errors
    /// [`HeError::NoGaloisKey`] without a key for g, [`HeError::Length`] for a ciphertext of degree 2, which wants to be
    /// relinearised first.
    ///
    /// # Panics
    /// When the ciphertext is of other parameters.
    pub fn apply(
        &self,
        params: &RlweParams,
        ciphertext: &Ciphertext,
        exponent: usize,
    ) -> Result<Ciphertext, HeError> {
        if exponent == 1 && ciphertext.degree() == 1 {
            return Ok(ciphertext.duplicate());
        }
        self.find(exponent)?;
        Self::check(ciphertext)?;
        self.apply_hoisted(params, ciphertext, &params.decompose(&ciphertext.parts()[1]), exponent)
    }

    /// As [`GaloisKeys::apply`] with the decomposition of part 1 at hand: many images share it.
    ///
    /// # Errors
    /// As [`GaloisKeys::apply`].
    ///
    /// # Panics
    /// When the decomposition is of other parameters.
    pub fn apply_hoisted(
        &self,
        params: &RlweParams,
        ciphertext: &Ciphertext,
        decomposed: &Decomposed,
        exponent: usize,
    ) -> Result<Ciphertext, HeError> {
        Self::check(ciphertext)?;
        if exponent == 1 {
            return Ok(ciphertext.duplicate());
        }
        let (automorphism, key) = self.find(exponent)?;
        let [mut d0, d1] = key.apply(params, decomposed);
        d0 += &ciphertext.parts()[0];
        Ciphertext::from_parts(vec![automorphism.values(&d0), automorphism.values(&d1)])
    }

    fn check(ciphertext: &Ciphertext) -> Result<(), HeError> {
        if ciphertext.degree() == 1 {
            return Ok(());
        }
        Err(HeError::Length { what: "the parts of a ciphertext to rotate", expected: 2, found: 3 })
    }
}
