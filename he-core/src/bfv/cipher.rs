//! Ciphertexts of BFV, and their linear operations.
//!
//! The phase c0 + c1 s (+ c2 s^2) of a ciphertext of l limbs is Q_l m/t + v modulo Q_l, with m the plaintext and v the
//! *noise*; it decrypts to m as long as |v| < Q_l/(2t) in every coefficient (Z. Brakerski, CRYPTO 2012; J. Fan,
//! F. Vercauteren, ePrint 2012/144).
//!
//! | operation | plaintexts | noise |
//! |---|---|---|
//! | [`Ciphertext::add`], [`Ciphertext::sub`]; [`Ciphertext::plus`], [`Ciphertext::minus`] | m ± m' | v ± v' |
//! | [`Ciphertext::negate`] | -m | -v |
//! | [`Ciphertext::add_plain`], [`Ciphertext::sub_plain`] | m ± m' | at most 1/2 more |
//! | [`Ciphertext::multiply_plain`], [`Ciphertext::times_plain`] | m m' | m' v, m' centred |
//! | [`Ciphertext::multiply_scalar`] | k m | k v |
//!
//! Verbs work in place; `plus`, `minus` and `times_plain` make a new ciphertext and are cheaper than a copy and a verb.
//! Ciphertexts are public and may be copied, explicitly. Mixing levels or rings panics.

use crate::error::HeError;
use crate::poly::Ntt;
use crate::rlwe::{self, SeededCiphertext as SeededZero};
use crate::rns::RnsPoly;

use super::params::Params;
use super::plaintext::{Plaintext, PreparedPlaintext, ScaledPlaintext};

/// A BFV ciphertext of two parts, or three after a product. Public.
#[derive(Debug)]
pub struct Ciphertext {
    inner: rlwe::Ciphertext,
}

/// A fresh secret-key encryption whose second part is a seed: half of the bytes.
#[derive(Debug)]
pub struct SeededCiphertext {
    inner: SeededZero,
}

impl SeededCiphertext {
    pub(super) fn wrap(inner: SeededZero) -> Self {
        Self { inner }
    }

    /// A seeded ciphertext that came from elsewhere.
    ///
    /// # Errors
    /// [`HeError::Length`] unless it has 1 to L limbs of degree N.
    pub fn from_rlwe(params: &Params, inner: SeededZero) -> Result<Self, HeError> {
        check(params, inner.limbs(), inner.part().n())?;
        check_primes(params, [inner.part()])?;
        Ok(Self { inner })
    }

    /// The part and the seed, for the wire.
    #[must_use]
    pub fn as_rlwe(&self) -> &SeededZero {
        &self.inner
    }

    /// The limbs.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.inner.limbs()
    }

    /// The whole ciphertext.
    ///
    /// # Panics
    /// When the parameters are of another ring.
    #[must_use]
    pub fn expand(self, params: &Params) -> Ciphertext {
        Ciphertext { inner: self.inner.expand(params.rlwe()) }
    }
}

impl Ciphertext {
    pub(super) fn wrap(inner: rlwe::Ciphertext) -> Self {
        Self { inner }
    }

    /// A ciphertext that came from elsewhere.
    ///
    /// # Errors
    /// [`HeError::Length`] unless it has 1 to L limbs of degree N, [`HeError::PrimeChain`] for limbs of other primes.
    pub fn from_rlwe(params: &Params, inner: rlwe::Ciphertext) -> Result<Self, HeError> {
        check(params, inner.limbs(), inner.n())?;
        check_primes(params, inner.parts())?;
        Ok(Self { inner })
    }

    /// The parts, for the wire and for what both schemes share.
    #[must_use]
    pub fn as_rlwe(&self) -> &rlwe::Ciphertext {
        &self.inner
    }

    /// The parts, given away.
    #[must_use]
    pub fn into_rlwe(self) -> rlwe::Ciphertext {
        self.inner
    }

    pub(super) fn inner_mut(&mut self) -> &mut rlwe::Ciphertext {
        &mut self.inner
    }

    /// The number of ciphertext primes that it lives modulo: its level.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.inner.limbs()
    }

    /// The degree in the secret: 1, or 2 after a product until it is relinearised.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.inner.degree()
    }

    /// A copy.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { inner: self.inner.duplicate() }
    }

    /// Adds another ciphertext.
    ///
    /// # Panics
    /// When the two have different limbs.
    pub fn add(&mut self, other: &Self) {
        self.inner += &other.inner;
    }

    /// Subtracts another ciphertext.
    ///
    /// # Panics
    /// When the two have different limbs.
    pub fn sub(&mut self, other: &Self) {
        self.inner -= &other.inner;
    }

    /// The sum with another ciphertext.
    ///
    /// # Panics
    /// When the two have different limbs.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self { inner: &self.inner + &other.inner }
    }

    /// The difference to another ciphertext.
    ///
    /// # Panics
    /// When the two have different limbs.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self { inner: &self.inner - &other.inner }
    }

    /// Changes the sign of the plaintext.
    pub fn negate(&mut self) {
        self.inner.negate();
    }

    /// Adds a plaintext. [`Ciphertext::add_scaled`] is for one that is added more than once.
    ///
    /// # Panics
    /// When the plaintext is of another ring.
    pub fn add_plain(&mut self, params: &Params, plaintext: &Plaintext) {
        self.add_scaled(params, &plaintext.scale(params, self.limbs()));
    }

    /// Subtracts a plaintext.
    ///
    /// # Panics
    /// When the plaintext is of another ring.
    pub fn sub_plain(&mut self, params: &Params, plaintext: &Plaintext) {
        self.sub_scaled(params, &plaintext.scale(params, self.limbs()));
    }

    /// Adds a plaintext in its form for sums.
    ///
    /// # Panics
    /// When the plaintext is of another ring or level.
    pub fn add_scaled(&mut self, params: &Params, plaintext: &ScaledPlaintext) {
        plaintext.assert_fits(params, self.limbs());
        self.inner.parts_mut()[0] += plaintext.poly();
    }

    /// Subtracts a plaintext in its form for sums.
    ///
    /// # Panics
    /// When the plaintext is of another ring or level.
    pub fn sub_scaled(&mut self, params: &Params, plaintext: &ScaledPlaintext) {
        plaintext.assert_fits(params, self.limbs());
        self.inner.parts_mut()[0] -= plaintext.poly();
    }

    /// Multiplies with a plaintext, in its form for products.
    ///
    /// # Panics
    /// When the plaintext is of another ring or has fewer limbs.
    pub fn multiply_plain(&mut self, params: &Params, plaintext: &PreparedPlaintext) {
        plaintext.assert_fits(params, self.limbs());
        let tables = params.rlwe().ciphertext_tables(self.limbs());
        for part in self.inner.parts_mut() {
            for ((limb, factor), table) in
                part.limbs_mut().iter_mut().zip(plaintext.poly().limbs()).zip(tables)
            {
                limb.mul_assign(table, factor);
            }
        }
    }

    /// The product with a plaintext, in its form for products.
    ///
    /// # Panics
    /// As [`Ciphertext::multiply_plain`].
    #[must_use]
    pub fn times_plain(&self, params: &Params, plaintext: &PreparedPlaintext) -> Self {
        plaintext.assert_fits(params, self.limbs());
        let tables = params.rlwe().ciphertext_tables(self.limbs());
        let part = |part: &RnsPoly<Ntt>| {
            let factors = part.limbs().iter().zip(plaintext.poly().limbs()).zip(tables);
            RnsPoly::from_limbs(factors.map(|((limb, factor), table)| limb.mul(table, factor)).collect())
        };
        let parts = self.inner.parts().iter().map(part).collect();
        Self { inner: rlwe::Ciphertext::from_parts(parts).expect("parts of one shape") }
    }

    /// Multiplies with a public number, whatever t is. The noise grows by |k|: modulo t choose the smallest.
    pub fn multiply_scalar(&mut self, params: &Params, k: i64) {
        let factors: Vec<u64> = params.rlwe().moduli(self.limbs()).iter().map(|q| q.from_i64(k)).collect();
        self.inner.parts_mut().iter_mut().for_each(|part| part.scale(&factors));
    }
}

/// The sum of products of ciphertexts with prepared plaintexts, with one reduction at the end.
///
/// # Panics
/// Without terms; when the ciphertexts have different limbs or parts, or a plaintext does not fit.
#[must_use]
pub fn dot_plain(params: &Params, terms: &[(&Ciphertext, &PreparedPlaintext)]) -> Ciphertext {
    let (first, _) = terms.first().expect("a sum of products has terms");
    let (limbs, degree) = (first.limbs(), first.degree());
    for (ciphertext, plaintext) in terms {
        assert!(ciphertext.limbs() == limbs && ciphertext.degree() == degree, "ciphertexts of one shape");
        plaintext.assert_fits(params, limbs);
    }
    let tables = params.rlwe().ciphertext_tables(limbs);
    let part = |part: usize| {
        let limb = |(i, table)| {
            let factors: Vec<_> =
                terms.iter().map(|(c, m)| (c.inner.parts()[part].limb(i), m.poly().limb(i))).collect();
            crate::poly::Poly::dot(table, &factors)
        };
        RnsPoly::from_limbs(tables.iter().enumerate().map(limb).collect())
    };
    let parts = (0..=degree).map(part).collect();
    Ciphertext { inner: rlwe::Ciphertext::from_parts(parts).expect("parts of one shape") }
}

fn check(params: &Params, limbs: usize, n: usize) -> Result<(), HeError> {
    if !(1..=params.limbs()).contains(&limbs) {
        return Err(HeError::Length {
            what: "the limbs of a ciphertext",
            expected: params.limbs(),
            found: limbs,
        });
    }
    if n != params.n() {
        return Err(HeError::Length { what: "the degree of a ciphertext", expected: params.n(), found: n });
    }
    Ok(())
}

fn check_primes<'a>(
    params: &Params,
    parts: impl IntoIterator<Item = &'a RnsPoly<Ntt>>,
) -> Result<(), HeError> {
    let fits = |part: &RnsPoly<Ntt>| {
        let primes = params.rlwe().moduli(part.limb_count());
        part.limbs().iter().zip(primes).all(|(limb, prime)| limb.modulus() == prime)
    };
    if parts.into_iter().all(fits) {
        return Ok(());
    }
    Err(HeError::PrimeChain { what: "a ciphertext is modulo other primes than its parameters" })
}
