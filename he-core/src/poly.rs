//! Polynomials of Z_q\[X\]/(X^N + 1) in one of two forms, told apart by their type.
//!
//! | type | words | order |
//! |---|---|---|
//! | `Poly<Coeff>` | N residues: coefficients | natural |
//! | `Poly<Ntt>` | N residues: values at the odd powers of psi | bit-reversed, see [`crate::ntt`] |
//!
//! Only `Poly<Ntt>` multiplies; both add. Conversions consume, so that one polynomial has one form and no stale copy
//! of a secret stays behind. Every polynomial is wiped on drop and prints its shape only. There is no `Clone`: most
//! polynomials of this project are one-time material, and the public ones are derived again from their label.
//!
//! ```
//! # use he_core::{modulus::Modulus, ntt::NttTable, poly::Poly};
//! # let table = NttTable::new(1024, Modulus::new(12289)?)?;
//! let x = Poly::from_signed(&table, &[(1, 1)]).into_ntt(&table);
//! let y = Poly::from_signed(&table, &[(1023, 1)]).into_ntt(&table);
//! let product = x.mul(&table, &y).into_coeff(&table); // X * X^1023 = -1
//! assert_eq!(product.coefficients()[0], 12288);
//! # Ok::<(), he_core::HeError>(())
//! ```
//!
//! The same product of coefficient forms does not compile:
//!
//! ```compile_fail,E0599
//! # use he_core::{modulus::Modulus, ntt::NttTable, poly::Poly};
//! # let table = NttTable::new(1024, Modulus::new(12289)?)?;
//! let x = Poly::from_signed(&table, &[(1, 1)]);
//! let y = Poly::from_signed(&table, &[(1023, 1)]);
//! let product = x.mul(&table, &y); // no method `mul` on `Poly<Coeff>`
//! # Ok::<(), he_core::HeError>(())
//! ```
//!
//! Mixing polynomials of different degrees or moduli is a mistake in the program and panics.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Add, AddAssign, Sub, SubAssign};

use rand_core::CryptoRng;
use zeroize::Zeroize;

use crate::error::HeError;
use crate::modulus::Modulus;
use crate::ntt::{Kernel, NttTable, elementwise};
use crate::pool::Words;
use crate::sample;
use crate::scratch::Wipe;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Coeff {}
    impl Sealed for super::Ntt {}
}

/// The form of a polynomial: [`Coeff`] or [`Ntt`], nothing else.
pub trait Form: sealed::Sealed + Send + Sync + 'static {
    /// The name that `Debug` prints.
    const NAME: &'static str;
}

/// Coefficients in natural order.
#[derive(Debug)]
pub enum Coeff {}

/// Values at the odd powers of psi in bit-reversed order.
#[derive(Debug)]
pub enum Ntt {}

impl Form for Coeff {
    const NAME: &'static str = "Coeff";
}

impl Form for Ntt {
    const NAME: &'static str = "Ntt";
}

/// N residues modulo q in the form `F`; wiped on drop.
pub struct Poly<F: Form> {
    words: Words,
    modulus: Modulus,
    form: PhantomData<F>,
}

impl<F: Form> fmt::Debug for Poly<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Poly<{}>({} words modulo {})", F::NAME, self.words.len(), self.modulus.value())
    }
}

impl<F: Form> Zeroize for Poly<F> {
    /// Sets every word to zero; the polynomial stays usable, as zero.
    fn zeroize(&mut self) {
        self.words.wipe();
    }
}

impl<F: Form> Poly<F> {
    /// The zero polynomial.
    #[must_use]
    pub fn zero(table: &NttTable) -> Self {
        Self { words: Words::zeros(table.n()), modulus: *table.modulus(), form: PhantomData }
    }

    /// A uniform polynomial: uniform in either form, because the transform is a bijection.
    pub fn uniform<R: CryptoRng + ?Sized>(table: &NttTable, rng: &mut R) -> Self {
        let mut poly = Self::zero(table);
        sample::uniform(rng, table.modulus(), &mut poly.words);
        poly
    }

    /// The modulus q.
    #[must_use]
    pub fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// The degree N of the ring.
    #[must_use]
    pub fn n(&self) -> usize {
        self.words.len()
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    fn checked(table: &NttTable, words: Vec<u64>, what: &'static str) -> Result<Self, HeError> {
        // Owned from the start, so that a refused polynomial is wiped too.
        let poly = Self { words: words.into(), modulus: *table.modulus(), form: PhantomData };
        if poly.words.len() != table.n() {
            return Err(HeError::Length { what, expected: table.n(), found: poly.words.len() });
        }
        let bound = table.modulus().value();
        match poly.words.iter().position(|&word| word >= bound) {
            Some(index) => Err(HeError::OutOfRange { what, index, bound }),
            None => Ok(poly),
        }
    }

    fn convert<G: Form>(self) -> Poly<G> {
        Poly { words: self.words, modulus: self.modulus, form: PhantomData }
    }

    /// A copy, for data that is public.
    pub(crate) fn duplicate(&self) -> Self {
        Self { words: Words::copy(&self.words), modulus: self.modulus, form: PhantomData }
    }

    /// Zero, of the same ring.
    pub(crate) fn zero_like(&self) -> Self {
        Self { words: Words::zeros(self.words.len()), modulus: self.modulus, form: PhantomData }
    }

    pub(crate) fn negate(&mut self) {
        elementwise::neg(Kernel::widest(), &mut self.words, &self.modulus);
    }

    /// Multiplies with a public residue.
    pub(crate) fn scale(&mut self, factor: u64) {
        elementwise::scale(Kernel::widest(), &mut self.words, factor, &self.modulus);
    }

    fn assert_fits(&self, n: usize, modulus: &Modulus) {
        assert!(
            self.words.len() == n && self.modulus == *modulus,
            "{self:?} met a ring of degree {n} modulo {}",
            modulus.value()
        );
    }
}

impl Poly<Coeff> {
    /// The polynomial with these residues as coefficients.
    ///
    /// # Errors
    /// [`HeError::Length`] unless there are N, [`HeError::OutOfRange`] unless each is below q.
    pub fn from_coefficients(table: &NttTable, coefficients: Vec<u64>) -> Result<Self, HeError> {
        Self::checked(table, coefficients, "coefficients of a polynomial")
    }

    /// The sparse polynomial with the sum of `c * X^i` over all terms `(i, c)`; any i64, repeated places add up.
    ///
    /// # Panics
    /// When an index is not below N, as indexing a slice does.
    #[must_use]
    pub fn from_signed(table: &NttTable, terms: &[(usize, i64)]) -> Self {
        let mut poly = Self::zero(table);
        let modulus = poly.modulus;
        for &(index, value) in terms {
            poly.words[index] = modulus.add(poly.words[index], modulus.from_i64(value));
        }
        poly
    }

    /// The polynomial with these N signed coefficients; any i64.
    ///
    /// # Panics
    /// Unless there are N.
    #[must_use]
    pub fn from_small(table: &NttTable, coefficients: &[i64]) -> Self {
        assert_eq!(coefficients.len(), table.n(), "coefficients of a polynomial");
        let mut poly = Self::zero(table);
        let modulus = poly.modulus;
        poly.words.iter_mut().zip(coefficients).for_each(|(word, &value)| *word = modulus.from_i64(value));
        poly
    }

    /// Uniform ternary coefficients.
    pub fn ternary<R: CryptoRng + ?Sized>(table: &NttTable, rng: &mut R) -> Self {
        let mut poly = Self::zero(table);
        sample::ternary(rng, table.modulus(), &mut poly.words);
        poly
    }

    /// Centred binomial coefficients of the error distribution, [`sample::ERROR_ETA`].
    pub fn error<R: CryptoRng + ?Sized>(table: &NttTable, rng: &mut R) -> Self {
        let mut poly = Self::zero(table);
        sample::centred_binomial(rng, sample::ERROR_ETA, table.modulus(), &mut poly.words);
        poly
    }

    /// The N coefficients, residues in natural order.
    #[must_use]
    pub fn coefficients(&self) -> &[u64] {
        &self.words
    }

    /// The values of this polynomial.
    ///
    /// # Panics
    /// When the table is of another ring.
    #[must_use]
    pub fn into_ntt(mut self, table: &NttTable) -> Poly<Ntt> {
        self.assert_fits(table.n(), table.modulus());
        table.forward(&mut self.words);
        self.convert()
    }
}

impl Poly<Ntt> {
    /// The polynomial with these values, in the order of [`crate::ntt`].
    ///
    /// # Errors
    /// [`HeError::Length`] unless there are N, [`HeError::OutOfRange`] unless each is below q.
    pub fn from_values(table: &NttTable, values: Vec<u64>) -> Result<Self, HeError> {
        Self::checked(table, values, "values of a polynomial")
    }

    /// The N values, residues in the order of [`crate::ntt`].
    #[must_use]
    pub fn values(&self) -> &[u64] {
        &self.words
    }

    /// The coefficients of this polynomial.
    ///
    /// # Panics
    /// When the table is of another ring.
    #[must_use]
    pub fn into_coeff(mut self, table: &NttTable) -> Poly<Coeff> {
        self.assert_fits(table.n(), table.modulus());
        table.inverse(&mut self.words);
        self.convert()
    }

    /// The product.
    ///
    /// # Panics
    /// When a factor or the table is of another ring.
    #[must_use]
    pub fn mul(&self, table: &NttTable, other: &Self) -> Self {
        for poly in [self, other] {
            poly.assert_fits(table.n(), table.modulus());
        }
        let mut product = Self::zero(table);
        table.mul(&self.words, &other.words, &mut product.words);
        product
    }

    /// Multiplies with another polynomial, in place.
    ///
    /// # Panics
    /// When a factor or the table is of another ring.
    pub fn mul_assign(&mut self, table: &NttTable, other: &Self) {
        for poly in [&*self, other] {
            poly.assert_fits(table.n(), table.modulus());
        }
        table.mul_assign(&mut self.words, &other.words);
    }

    /// Adds the product a * b.
    ///
    /// # Panics
    /// When a factor or the table is of another ring.
    pub fn mul_acc(&mut self, table: &NttTable, a: &Self, b: &Self) {
        for poly in [&*self, a, b] {
            poly.assert_fits(table.n(), table.modulus());
        }
        table.mul_acc(&mut self.words, &a.words, &b.words);
    }

    /// The sum of the products of all terms, with one reduction at the end; zero without terms.
    ///
    /// # Panics
    /// When a factor or the table is of another ring.
    #[must_use]
    pub fn dot(table: &NttTable, terms: &[(&Self, &Self)]) -> Self {
        for poly in terms.iter().flat_map(|(a, b)| [a, b]) {
            poly.assert_fits(table.n(), table.modulus());
        }
        let slices: Vec<(&[u64], &[u64])> = terms.iter().map(|(a, b)| (&a.words[..], &b.words[..])).collect();
        let mut sum = Self::zero(table);
        table.accumulate(&slices, &mut sum.words);
        sum
    }
}

impl<F: Form> Add for &Poly<F> {
    type Output = Poly<F>;

    fn add(self, other: Self) -> Poly<F> {
        self.assert_fits(other.n(), &other.modulus);
        let mut sum = self.zero_like();
        elementwise::sum(Kernel::widest(), &self.words, &other.words, &mut sum.words, &self.modulus);
        sum
    }
}

impl<F: Form> Sub for &Poly<F> {
    type Output = Poly<F>;

    fn sub(self, other: Self) -> Poly<F> {
        self.assert_fits(other.n(), &other.modulus);
        let mut rest = self.zero_like();
        elementwise::difference(Kernel::widest(), &self.words, &other.words, &mut rest.words, &self.modulus);
        rest
    }
}

impl<F: Form> AddAssign<&Self> for Poly<F> {
    fn add_assign(&mut self, other: &Self) {
        self.assert_fits(other.n(), &other.modulus);
        elementwise::add(Kernel::widest(), &mut self.words, &other.words, &self.modulus);
    }
}

impl<F: Form> SubAssign<&Self> for Poly<F> {
    fn sub_assign(&mut self, other: &Self) {
        self.assert_fits(other.n(), &other.modulus);
        elementwise::sub(Kernel::widest(), &mut self.words, &other.words, &self.modulus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ntt::reference::negacyclic_product;
    use crate::seed::Seed;

    fn table() -> NttTable {
        NttTable::new(64, Modulus::new(1_125_899_906_826_241).unwrap()).unwrap()
    }

    #[test]
    fn the_ring_laws_against_the_slow_product() {
        let table = table();
        let mut rng = Seed::from_bytes([1; 32]).stream();
        let [a, b, c] = [(); 3].map(|()| Poly::<Coeff>::uniform(&table, &mut rng));
        let m = table.modulus();
        let expected: Vec<_> = negacyclic_product(m, a.coefficients(), b.coefficients())
            .into_iter()
            .zip(negacyclic_product(m, a.coefficients(), c.coefficients()))
            .map(|(x, y)| m.sub(x, y))
            .collect();
        let [a, mut b, c] = [a, b, c].map(|p| p.into_ntt(&table));
        let ab = a.mul(&table, &b);
        b -= &c;
        let mut difference = a.mul(&table, &b);
        assert_eq!(a.mul(&table, &b).into_coeff(&table).coefficients(), expected);
        difference.mul_acc(&table, &a, &c);
        assert_eq!(difference.values(), ab.values());
        b += &c;
        assert_eq!(a.mul(&table, &b).values(), ab.values());
        assert_eq!(Poly::dot(&table, &[(&a, &b), (&a, &c)]).values().len(), 64);
    }

    #[test]
    fn sparse_signed_and_checked() {
        let table = table();
        let q = table.modulus().value();
        let poly = Poly::from_signed(&table, &[(3, -1), (5, 7), (5, -9), (63, i64::MIN)]);
        assert_eq!(poly.coefficients()[3], q - 1);
        assert_eq!(poly.coefficients()[5], q - 2);
        assert_eq!(poly.coefficients()[63], table.modulus().from_i64(i64::MIN));
        assert!(matches!(
            Poly::from_coefficients(&table, vec![0; 63]),
            Err(HeError::Length { expected: 64, found: 63, .. })
        ));
        let mut words = vec![q - 1; 64];
        assert!(Poly::from_values(&table, words.clone()).is_ok());
        words[9] = q;
        assert!(matches!(Poly::from_values(&table, words), Err(HeError::OutOfRange { index: 9, .. })));
    }

    #[test]
    fn prints_its_shape_only_and_is_wiped() {
        let table = table();
        let mut poly = Poly::from_signed(&table, &[(0, 424_242)]);
        assert_eq!(format!("{poly:?}"), "Poly<Coeff>(64 words modulo 1125899906826241)");
        poly.zeroize();
        assert_eq!(poly.coefficients(), [0; 64]);
    }

    #[test]
    #[should_panic(expected = "met a ring of degree")]
    fn different_rings_do_not_mix() {
        let other = NttTable::new(32, *table().modulus()).unwrap();
        let mut poly = Poly::<Coeff>::zero(&table());
        poly += &Poly::zero(&other);
    }
}
