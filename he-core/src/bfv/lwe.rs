//! Single coefficients as LWE ciphertexts.
//!
//! The phase of a ciphertext (c0, c1) at X^i is c0_i + sum_(j <= i) c1_(i-j) s_j - sum_(j > i) c1_(N+i-j) s_j: an LWE
//! ciphertext b + <a, s> under the coefficients of the same secret, with the same noise (H. Chen, W. Dai, M. Kim, Y. Song,
//! *Efficient homomorphic conversion between (ring) LWE ciphertexts*, ACNS 2021, section 3.1).
//!
//! | part | what | words |
//! |---|---|---|
//! | a | N residues per limb: coefficients of `a` in natural order | l N |
//! | b | one residue per limb | l |
//!
//! The other coefficients of the plaintext are not in it. Back to a ciphertext of the ring goes [`Params::embed`] (one
//! coefficient and N - 1 of noise) and, for many at once, [`super::pack`]. Everything but decryption is public.

use crate::error::HeError;
use crate::poly::{Coeff, Poly};
use crate::rlwe::{self, SecretKey};
use crate::rns::RnsPoly;

use super::cipher::Ciphertext;
use super::each;
use super::params::Params;

/// One number modulo t, encrypted: Q_l m/t + v = b + <a, s>. Public.
#[derive(Debug)]
pub struct LweCiphertext {
    a: RnsPoly<Coeff>,
    b: Vec<u64>,
}

impl LweCiphertext {
    /// The ciphertext of these parts.
    ///
    /// # Errors
    /// [`HeError::Length`] unless `a` has 1 to L limbs of N coefficients and `b` one word for each of them,
    /// [`HeError::PrimeChain`] for limbs of other primes, [`HeError::OutOfRange`] for a word that is not below its prime.
    pub fn from_parts(params: &Params, a: RnsPoly<Coeff>, b: Vec<u64>) -> Result<Self, HeError> {
        let limbs = a.limb_count();
        if limbs > params.limbs() {
            let (expected, found) = (params.limbs(), limbs);
            return Err(HeError::Length { what: "the limbs of an LWE ciphertext", expected, found });
        }
        if b.len() != limbs {
            return Err(HeError::Length {
                what: "the last part of an LWE ciphertext",
                expected: limbs,
                found: b.len(),
            });
        }
        if a.n() != params.n() {
            return Err(HeError::Length { what: "an LWE ciphertext", expected: params.n(), found: a.n() });
        }
        for ((limb, word), q) in a.limbs().iter().zip(&b).zip(params.rlwe().moduli(limbs)) {
            if limb.modulus() != q {
                return Err(HeError::PrimeChain {
                    what: "an LWE ciphertext is modulo other primes than its parameters",
                });
            }
            if *word >= q.value() {
                return Err(HeError::OutOfRange {
                    what: "the last part of an LWE ciphertext",
                    index: 0,
                    bound: q.value(),
                });
            }
        }
        Ok(Self { a, b })
    }

    /// The coefficients of a, limb by limb.
    #[must_use]
    pub fn a(&self) -> &RnsPoly<Coeff> {
        &self.a
    }

    /// b, limb by limb.
    #[must_use]
    pub fn b(&self) -> &[u64] {
        &self.b
    }

    /// The number of ciphertext primes that it lives modulo.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.b.len()
    }
}

impl Params {
    /// The coefficients of the plaintext at these places, as LWE ciphertexts.
    ///
    /// # Errors
    /// [`HeError::Length`] for a ciphertext of three parts: relinearise first.
    ///
    /// # Panics
    /// When a place is not below N, or the ciphertext is of another ring.
    pub fn extract(&self, ciphertext: &Ciphertext, places: &[usize]) -> Result<Vec<LweCiphertext>, HeError> {
        let [c0, c1] = ciphertext.as_rlwe().parts() else {
            let found = ciphertext.degree() + 1;
            return Err(HeError::Length {
                what: "the parts of a ciphertext to extract from",
                expected: 2,
                found,
            });
        };
        let tables = self.rlwe().ciphertext_tables(ciphertext.limbs());
        let [c0, c1] = [c0, c1].map(|part| part.duplicate().into_coeff(tables));
        Ok(each(places, |&place| {
            let b = c0.limbs().iter().map(|limb| limb.coefficients()[place]).collect();
            let limb = |limb: &Poly<Coeff>| {
                let (modulus, from) = (*limb.modulus(), limb.coefficients());
                let mut a = limb.zero_like();
                let (low, high) = a.words_mut().split_at_mut(place + 1);
                low.iter_mut().zip(from[..=place].iter().rev()).for_each(|(to, &c)| *to = c);
                high.iter_mut().zip(from[place + 1..].iter().rev()).for_each(|(to, &c)| *to = modulus.neg(c));
                a
            };
            LweCiphertext { a: RnsPoly::from_limbs(c1.limbs().iter().map(limb).collect()), b }
        }))
    }

    /// The number modulo t in an LWE ciphertext.
    ///
    /// # Panics
    /// When the key or the ciphertext is of another ring.
    #[must_use]
    pub fn decrypt_lwe(&self, secret: &SecretKey, ciphertext: &LweCiphertext) -> u64 {
        // The place X^0 of the embedding; the other places are noise of nobody's concern.
        let embedded = self.embed(ciphertext);
        self.decrypt(secret, &embedded).coefficients()[0]
    }

    /// The ciphertext of the ring whose plaintext has the number at X^0, and arbitrary numbers elsewhere.
    ///
    /// # Panics
    /// When the ciphertext is of another ring.
    #[must_use]
    pub fn embed(&self, ciphertext: &LweCiphertext) -> Ciphertext {
        Ciphertext::wrap(self.embed_scaled(ciphertext, &vec![1; ciphertext.limbs()]))
    }

    /// As [`Params::embed`], times a number given by its residues.
    pub(super) fn embed_scaled(&self, ciphertext: &LweCiphertext, factors: &[u64]) -> rlwe::Ciphertext {
        let tables = self.rlwe().ciphertext_tables(ciphertext.limbs());
        assert_eq!(ciphertext.a.n(), self.n(), "an LWE ciphertext of another ring");
        // c1 = a_0 - a_1 X^(N-1) - ... - a_(N-1) X.
        let limb = |limb: &Poly<Coeff>| {
            let (modulus, from) = (*limb.modulus(), limb.coefficients());
            let mut c1 = limb.zero_like();
            let to = c1.words_mut();
            to[0] = from[0];
            to[1..].iter_mut().zip(from[1..].iter().rev()).for_each(|(to, &a)| *to = modulus.neg(a));
            c1
        };
        let mut c1 = RnsPoly::from_limbs(ciphertext.a.limbs().iter().map(limb).collect());
        c1.scale(factors);
        // The values of a constant polynomial are that constant.
        let mut c0 = RnsPoly::zero(tables);
        for (((limb, &b), &factor), table) in
            c0.limbs_mut().iter_mut().zip(&ciphertext.b).zip(factors).zip(tables)
        {
            limb.words_mut().fill(table.modulus().mul(b, factor));
        }
        rlwe::Ciphertext::from_parts(vec![c0, c1.into_ntt(tables)]).expect("two parts of one shape")
    }
}
