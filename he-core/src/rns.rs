//! Polynomials modulo a product of primes: one [`Poly`] per prime, called a *limb*.
//!
//! Modulo q = q0 q1 … the ring Z_q\[X\]/(X^N + 1) is the product of the rings modulo the q_i (the Chinese remainder
//! theorem), so sums and products are those of the limbs, and the transform is one transform per limb. Nothing here ever
//! forms a number modulo q; that is [`crate::basis`] and [`convert`]. With one limb an `RnsPoly` is a `Poly` in a box.
//!
//! Which primes there are is said by whatever has [`Tables`]: a parameter set, or a slice of transform tables.
//!
//! | constructor | limbs |
//! |---|---|
//! | [`RnsPoly::uniform`] | independent: uniform modulo q, read from one stream limb after limb |
//! | [`RnsPoly::from_signed`], [`RnsPoly::from_small`], [`RnsPoly::ternary`], [`RnsPoly::error`] | the same small integers in every limb |
//!
//! Large polynomials of several limbs are transformed on several threads where there are some; results never depend on
//! how many. Wiped on drop, no `Clone` (public data has [`RnsPoly::duplicate`]), and `Debug` prints shapes, as for `Poly`.
//! Mixing rings is a mistake in the program and panics.

use core::ops::{Add, AddAssign, Sub, SubAssign};

use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::error::HeError;
use crate::ntt::NttTable;
use crate::params::Params;
use crate::poly::{Coeff, Form, Ntt, Poly};
use crate::sample;
use crate::scratch::Wiped;

mod centred;
pub mod convert;
pub mod drop;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod linear;
pub mod scale;
#[cfg(target_arch = "x86_64")]
mod tiles;

#[cfg(test)]
mod basis_tests;
#[cfg(test)]
pub(crate) mod big;

/// Words from which a transform of several limbs is worth several threads.
const WORTH_THREADS: usize = 1 << 15;

/// Whatever names a ring by the transform tables of its primes, limb by limb.
pub trait Tables {
    /// The tables; at least one, all of one degree.
    fn tables(&self) -> &[NttTable];
}

impl Tables for [NttTable] {
    fn tables(&self) -> &[NttTable] {
        self
    }
}

impl Tables for Vec<NttTable> {
    fn tables(&self) -> &[NttTable] {
        self
    }
}

impl Tables for Params {
    fn tables(&self) -> &[NttTable] {
        Params::tables(self)
    }
}

/// A polynomial modulo q in the form `F`: one polynomial of N residues per limb.
pub struct RnsPoly<F: Form>(Vec<Poly<F>>);

impl<F: Form> core::fmt::Debug for RnsPoly<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RnsPoly")?;
        f.debug_list().entries(&self.0).finish()
    }
}

impl<F: Form> RnsPoly<F> {
    /// The zero polynomial.
    #[must_use]
    pub fn zero(ring: &(impl Tables + ?Sized)) -> Self {
        Self(ring.tables().iter().map(Poly::zero).collect())
    }

    /// A uniform polynomial modulo q: uniform in either form, because the transform is a bijection.
    pub fn uniform<R: CryptoRng + ?Sized>(ring: &(impl Tables + ?Sized), rng: &mut R) -> Self {
        Self(ring.tables().iter().map(|table| Poly::uniform(table, rng)).collect())
    }

    /// The polynomial of these limbs.
    ///
    /// # Panics
    /// Without limbs, or when they have different degrees.
    #[must_use]
    pub fn from_limbs(limbs: Vec<Poly<F>>) -> Self {
        assert!(
            !limbs.is_empty() && limbs.iter().all(|limb| limb.n() == limbs[0].n()),
            "limbs of one degree"
        );
        Self(limbs)
    }

    /// The limbs.
    #[must_use]
    pub fn limbs(&self) -> &[Poly<F>] {
        &self.0
    }

    /// One limb.
    ///
    /// # Panics
    /// When there is no such limb.
    #[must_use]
    pub fn limb(&self, limb: usize) -> &Poly<F> {
        &self.0[limb]
    }

    /// How many limbs there are.
    #[must_use]
    pub fn limb_count(&self) -> usize {
        self.0.len()
    }

    /// The limbs, given away.
    #[must_use]
    pub fn into_limbs(self) -> Vec<Poly<F>> {
        self.0
    }

    /// The degree N of the ring.
    #[must_use]
    pub fn n(&self) -> usize {
        self.0[0].n()
    }

    pub(crate) fn limbs_mut(&mut self) -> &mut [Poly<F>] {
        &mut self.0
    }

    /// A copy, for data that is public: ciphertexts and keys of the other party. Secrets are not copied.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.iter().map(Poly::duplicate).collect())
    }

    /// Keeps the first `limbs` limbs: the same polynomial modulo a divisor of q.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= the number there is.
    pub fn truncate(&mut self, limbs: usize) {
        assert!((1..=self.0.len()).contains(&limbs), "{limbs} of {} limbs", self.0.len());
        self.0.truncate(limbs);
    }

    /// Changes the sign.
    pub fn negate(&mut self) {
        self.0.iter_mut().for_each(Poly::negate);
    }

    /// Multiplies with a public number, given by one residue per limb.
    ///
    /// # Panics
    /// Unless there are as many factors as limbs.
    pub fn scale(&mut self, factors: &[u64]) {
        self.assert_limbs(factors.len());
        self.0.iter_mut().zip(factors).for_each(|(limb, &factor)| limb.scale(factor));
    }

    /// Words of a peer or of the caller, one vector of N residues per limb.
    pub(crate) fn checked(
        ring: &(impl Tables + ?Sized),
        words: Vec<Vec<u64>>,
        limb: impl Fn(&NttTable, Vec<u64>) -> Result<Poly<F>, HeError>,
    ) -> Result<Self, HeError> {
        let mut words = Zeroizing::new(words);
        if words.len() != ring.tables().len() {
            let (expected, found) = (ring.tables().len(), words.len());
            return Err(HeError::Length { what: "the limbs of a polynomial", expected, found });
        }
        // All limbs become polynomials before the first refusal is returned, so that all of them are wiped.
        let words = words.iter_mut().map(core::mem::take);
        let limbs: Vec<_> =
            ring.tables().iter().zip(words).map(|(table, words)| limb(table, words)).collect();
        limbs.into_iter().collect::<Result<_, _>>().map(Self)
    }

    fn assert_limbs(&self, limbs: usize) {
        assert_eq!(self.0.len(), limbs, "a polynomial of {} limbs met {limbs} limbs", self.0.len());
    }

    /// Changes the form limb by limb, on several threads where it pays.
    fn convert<G: Form>(
        self,
        ring: &(impl Tables + ?Sized),
        limb: impl Fn(Poly<F>, &NttTable) -> Poly<G> + Sync,
    ) -> RnsPoly<G> {
        let tables = ring.tables();
        self.assert_limbs(tables.len());
        if tables.len() > 1 && self.n() * tables.len() >= WORTH_THREADS && rayon::current_num_threads() > 1 {
            return RnsPoly(
                self.0.into_par_iter().zip(tables).map(|(poly, table)| limb(poly, table)).collect(),
            );
        }
        RnsPoly(self.0.into_iter().zip(tables).map(|(poly, table)| limb(poly, table)).collect())
    }
}

impl RnsPoly<Coeff> {
    /// The polynomial with these residues as coefficients, limb by limb: `residues[limb][i]` belongs to X^i.
    ///
    /// # Errors
    /// [`HeError::Length`] unless there is one vector of N words per limb, [`HeError::OutOfRange`] unless each word is
    /// below its prime.
    pub fn from_residues(ring: &(impl Tables + ?Sized), residues: Vec<Vec<u64>>) -> Result<Self, HeError> {
        Self::checked(ring, residues, Poly::from_coefficients)
    }

    /// The sparse polynomial with the sum of `c * X^i` over all terms `(i, c)`; any i64, repeated places add up.
    ///
    /// # Panics
    /// When an index is not below N, as indexing a slice does.
    #[must_use]
    pub fn from_signed(ring: &(impl Tables + ?Sized), terms: &[(usize, i64)]) -> Self {
        Self(ring.tables().iter().map(|table| Poly::from_signed(table, terms)).collect())
    }

    /// The polynomial with these N signed coefficients; any i64.
    ///
    /// # Panics
    /// Unless there are N.
    #[must_use]
    pub fn from_small(ring: &(impl Tables + ?Sized), coefficients: &[i64]) -> Self {
        Self(ring.tables().iter().map(|table| Poly::from_small(table, coefficients)).collect())
    }

    /// Uniform ternary coefficients, the same in every limb.
    pub fn ternary<R: CryptoRng + ?Sized>(ring: &(impl Tables + ?Sized), rng: &mut R) -> Self {
        Self::small(ring, |small| sample::ternary_small(rng, small))
    }

    /// Centred binomial coefficients of the error distribution, the same in every limb.
    pub fn error<R: CryptoRng + ?Sized>(ring: &(impl Tables + ?Sized), rng: &mut R) -> Self {
        Self::small(ring, |small| sample::binomial_small(rng, sample::ERROR_ETA, small))
    }

    /// The values of this polynomial.
    ///
    /// # Panics
    /// When the tables are of another ring.
    #[must_use]
    pub fn into_ntt(self, ring: &(impl Tables + ?Sized)) -> RnsPoly<Ntt> {
        self.convert(ring, Poly::into_ntt)
    }

    /// Coefficients that are drawn once, as small integers, and reduced modulo every prime.
    fn small(ring: &(impl Tables + ?Sized), draw: impl FnOnce(&mut [i8])) -> Self {
        let mut poly = Self::zero(ring);
        let mut small = Wiped::from(vec![0; poly.n()]);
        draw(&mut small);
        for limb in &mut poly.0 {
            let modulus = *limb.modulus();
            sample::spread(&small, &modulus, limb.words_mut());
        }
        poly
    }
}

impl RnsPoly<Ntt> {
    /// The polynomial with these values, limb by limb, in the order of [`crate::ntt`].
    ///
    /// # Errors
    /// As [`RnsPoly::from_residues`].
    pub fn from_values(ring: &(impl Tables + ?Sized), values: Vec<Vec<u64>>) -> Result<Self, HeError> {
        Self::checked(ring, values, Poly::from_values)
    }

    /// The coefficients of this polynomial.
    ///
    /// # Panics
    /// When the tables are of another ring.
    #[must_use]
    pub fn into_coeff(self, ring: &(impl Tables + ?Sized)) -> RnsPoly<Coeff> {
        self.convert(ring, Poly::into_coeff)
    }

    /// The product.
    ///
    /// # Panics
    /// When a factor or the tables are of another ring.
    #[must_use]
    pub fn mul(&self, ring: &(impl Tables + ?Sized), other: &Self) -> Self {
        Self::dot(ring, &[(self, other)])
    }

    /// Adds the product a * b.
    ///
    /// # Panics
    /// When a factor or the tables are of another ring.
    pub fn mul_acc(&mut self, ring: &(impl Tables + ?Sized), a: &Self, b: &Self) {
        for poly in [&*self, a, b] {
            poly.assert_limbs(ring.tables().len());
        }
        for (((sum, table), a), b) in self.0.iter_mut().zip(ring.tables()).zip(&a.0).zip(&b.0) {
            sum.mul_acc(table, a, b);
        }
    }

    /// The sum of the products of all terms, with one reduction per limb at the end; zero without terms.
    ///
    /// # Panics
    /// When a factor or the tables are of another ring.
    #[must_use]
    pub fn dot(ring: &(impl Tables + ?Sized), terms: &[(&Self, &Self)]) -> Self {
        for poly in terms.iter().flat_map(|(a, b)| [a, b]) {
            poly.assert_limbs(ring.tables().len());
        }
        let limb = |(i, table): (usize, &NttTable)| {
            let terms: Vec<_> = terms.iter().map(|(a, b)| (&a.0[i], &b.0[i])).collect();
            Poly::dot(table, &terms)
        };
        Self(ring.tables().iter().enumerate().map(limb).collect())
    }
}

impl<F: Form> Add for &RnsPoly<F> {
    type Output = RnsPoly<F>;

    fn add(self, other: Self) -> RnsPoly<F> {
        self.assert_limbs(other.0.len());
        RnsPoly(self.0.iter().zip(&other.0).map(|(x, y)| x + y).collect())
    }
}

impl<F: Form> Sub for &RnsPoly<F> {
    type Output = RnsPoly<F>;

    fn sub(self, other: Self) -> RnsPoly<F> {
        self.assert_limbs(other.0.len());
        RnsPoly(self.0.iter().zip(&other.0).map(|(x, y)| x - y).collect())
    }
}

impl<F: Form> AddAssign<&Self> for RnsPoly<F> {
    fn add_assign(&mut self, other: &Self) {
        self.assert_limbs(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(x, y)| *x += y);
    }
}

impl<F: Form> SubAssign<&Self> for RnsPoly<F> {
    fn sub_assign(&mut self, other: &Self) {
        self.assert_limbs(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(x, y)| *x -= y);
    }
}

#[cfg(test)]
mod tests;
