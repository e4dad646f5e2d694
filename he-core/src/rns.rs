//! Polynomials modulo the whole q: one [`Poly`] per limb.
//!
//! Modulo q = q0 q1 the ring Z_q\[X\]/(X^N + 1) is the product of the rings modulo q0 and q1, so sums and products are
//! those of the limbs, and the transform is one transform per limb. Nothing here ever forms a number modulo q; that is
//! [`crate::basis`]. With one limb an `RnsPoly` is a `Poly` in a box.
//!
//! | constructor | limbs |
//! |---|---|
//! | [`RnsPoly::uniform`] | independent: uniform modulo q, read from one stream limb after limb |
//! | [`RnsPoly::from_signed`], [`RnsPoly::ternary`], [`RnsPoly::error`] | the same small integers in every limb |
//!
//! Wiped on drop, no `Clone`, and `Debug` prints shapes, as for `Poly`. Mixing parameter sets is a mistake in the
//! program and panics.

use core::ops::{AddAssign, SubAssign};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::HeError;
use crate::params::Params;
use crate::poly::{Coeff, Form, Ntt, Poly};
use crate::sample::signed_residue;

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
    pub fn zero(params: &Params) -> Self {
        Self(params.tables().iter().map(Poly::zero).collect())
    }

    /// A uniform polynomial modulo q: uniform in either form, because the transform is a bijection.
    pub fn uniform<R: CryptoRng + ?Sized>(params: &Params, rng: &mut R) -> Self {
        Self(params.tables().iter().map(|table| Poly::uniform(table, rng)).collect())
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

    /// Words of a peer or of the caller, one vector of N residues per limb.
    pub(crate) fn checked(
        params: &Params,
        words: Vec<Vec<u64>>,
        limb: impl Fn(&crate::ntt::NttTable, Vec<u64>) -> Result<Poly<F>, HeError>,
    ) -> Result<Self, HeError> {
        let mut words = Zeroizing::new(words);
        if words.len() != params.limbs() {
            let (expected, found) = (params.limbs(), words.len());
            return Err(HeError::Length { what: "the limbs of a polynomial", expected, found });
        }
        // All limbs become polynomials before the first refusal is returned, so that all of them are wiped.
        let words = words.iter_mut().map(core::mem::take);
        let limbs: Vec<_> =
            params.tables().iter().zip(words).map(|(table, words)| limb(table, words)).collect();
        limbs.into_iter().collect::<Result<_, _>>().map(Self)
    }

    fn assert_limbs(&self, limbs: usize) {
        assert_eq!(self.0.len(), limbs, "a polynomial of {} limbs met {limbs} limbs", self.0.len());
    }
}

impl RnsPoly<Coeff> {
    /// The polynomial with these residues as coefficients, limb by limb: `residues[limb][i]` belongs to X^i.
    ///
    /// # Errors
    /// [`HeError::Length`] unless there is one vector of N words per limb, [`HeError::OutOfRange`] unless each word is
    /// below its prime.
    pub fn from_residues(params: &Params, residues: Vec<Vec<u64>>) -> Result<Self, HeError> {
        Self::checked(params, residues, Poly::from_coefficients)
    }

    /// The sparse polynomial with the sum of `c * X^i` over all terms `(i, c)`; any i64, repeated places add up.
    ///
    /// # Panics
    /// When an index is not below N, as indexing a slice does.
    #[must_use]
    pub fn from_signed(params: &Params, terms: &[(usize, i64)]) -> Self {
        Self(params.tables().iter().map(|table| Poly::from_signed(table, terms)).collect())
    }

    /// Uniform ternary coefficients, the same in every limb.
    pub fn ternary<R: CryptoRng + ?Sized>(params: &Params, rng: &mut R) -> Self {
        Self::spread(params, Poly::ternary(params.table(), rng))
    }

    /// Centred binomial coefficients of the error distribution, the same in every limb.
    pub fn error<R: CryptoRng + ?Sized>(params: &Params, rng: &mut R) -> Self {
        Self::spread(params, Poly::error(params.table(), rng))
    }

    /// round(y * q / 2^t) mod q for the N words y in [0, 2^t).
    pub(crate) fn lifted(params: &Params, words: &[u64], t: u32) -> Self {
        let mut poly = Self::zero(params);
        for (limb, words) in poly.0.iter_mut().zip(params.up(words, t)) {
            limb.words_mut().copy_from_slice(&words);
        }
        poly
    }

    /// The values of this polynomial.
    ///
    /// # Panics
    /// When the parameters are of another ring.
    #[must_use]
    pub fn into_ntt(self, params: &Params) -> RnsPoly<Ntt> {
        self.assert_limbs(params.limbs());
        RnsPoly(self.0.into_iter().zip(params.tables()).map(|(poly, table)| poly.into_ntt(table)).collect())
    }

    /// The polynomial whose coefficients are the small signed integers of limb 0 in every limb.
    fn spread(params: &Params, first: Poly<Coeff>) -> Self {
        let mut limbs = Vec::with_capacity(params.limbs());
        limbs.push(first);
        for table in &params.tables()[1..] {
            let mut limb = Poly::zero(table);
            for (word, &small) in limb.words_mut().iter_mut().zip(limbs[0].words()) {
                *word = signed_residue(params.modulus().center(small) as u64, table.modulus().value());
            }
            limbs.push(limb);
        }
        Self(limbs)
    }
}

impl RnsPoly<Ntt> {
    /// The coefficients of this polynomial.
    ///
    /// # Panics
    /// When the parameters are of another ring.
    #[must_use]
    pub fn into_coeff(self, params: &Params) -> RnsPoly<Coeff> {
        self.assert_limbs(params.limbs());
        RnsPoly(self.0.into_iter().zip(params.tables()).map(|(poly, table)| poly.into_coeff(table)).collect())
    }

    /// The product.
    ///
    /// # Panics
    /// When a factor or the parameters are of another ring.
    #[must_use]
    pub fn mul(&self, params: &Params, other: &Self) -> Self {
        Self::dot(params, &[(self, other)])
    }

    /// Adds the product a * b.
    ///
    /// # Panics
    /// When a factor or the parameters are of another ring.
    pub fn mul_acc(&mut self, params: &Params, a: &Self, b: &Self) {
        for poly in [&*self, a, b] {
            poly.assert_limbs(params.limbs());
        }
        for (((sum, table), a), b) in self.0.iter_mut().zip(params.tables()).zip(&a.0).zip(&b.0) {
            sum.mul_acc(table, a, b);
        }
    }

    /// The sum of the products of all terms, with one reduction per limb at the end; zero without terms.
    ///
    /// # Panics
    /// When a factor or the parameters are of another ring.
    #[must_use]
    pub fn dot(params: &Params, terms: &[(&Self, &Self)]) -> Self {
        for poly in terms.iter().flat_map(|(a, b)| [a, b]) {
            poly.assert_limbs(params.limbs());
        }
        let limb = |(i, table)| {
            let terms: Vec<_> = terms.iter().map(|(a, b)| (&a.0[i], &b.0[i])).collect();
            Poly::dot(table, &terms)
        };
        Self(params.tables().iter().enumerate().map(limb).collect())
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
mod tests {
    use super::*;
    use crate::ntt::reference::negacyclic_product;
    use crate::params::Profile;
    use crate::seed::Seed;

    #[test]
    fn the_ring_laws_limb_by_limb_against_the_slow_product() {
        let params = Params::new(Profile::Exact);
        let mut rng = Seed::from_bytes([1; 32]).stream();
        let [a, b] = [(); 2].map(|()| RnsPoly::<Coeff>::uniform(&params, &mut rng));
        let slow: Vec<_> = (0..2)
            .map(|i| {
                let (a, b) = (a.limb(i).coefficients(), b.limb(i).coefficients());
                negacyclic_product(&params.moduli()[i], a, b)
            })
            .collect();
        let (a, b) = (a.into_ntt(&params), b.into_ntt(&params));
        let mut product = a.mul(&params, &b);
        product.mul_acc(&params, &a, &b);
        product += &RnsPoly::dot(&params, &[(&a, &b), (&b, &a)]);
        product -= &RnsPoly::dot(&params, &[(&a, &b), (&a, &b), (&a, &b)]);
        product -= &RnsPoly::zero(&params);
        let product = product.into_coeff(&params);
        for (limb, slow) in product.limbs().iter().zip(&slow) {
            assert_eq!(limb.coefficients(), slow);
        }
        assert_eq!(product.n(), 4096);
        assert_eq!(product.into_limbs().len(), 2);
    }

    #[test]
    fn small_polynomials_are_the_same_integers_in_every_limb() {
        let params = Params::new(Profile::Exact);
        let mut rng = Seed::from_bytes([2; 32]).stream();
        let ternary = RnsPoly::ternary(&params, &mut rng);
        let error = RnsPoly::error(&params, &mut rng);
        let signed = RnsPoly::from_signed(&params, &[(3, -7), (4, i64::MAX), (3, 2)]);
        for (poly, largest) in [(&ternary, 1), (&error, 21), (&signed, i128::from(i64::MAX))] {
            let values: Vec<_> = (0..params.n())
                .map(|i| params.center(&[poly.limb(0).coefficients()[i], poly.limb(1).coefficients()[i]]))
                .collect();
            assert!(values.iter().all(|v| v.abs() <= largest));
            assert!(values.iter().any(|&v| v < 0) && values.iter().any(|&v| v > 0));
        }
        // The stream is read as for one limb: the first limb is the polynomial of its own ring.
        let mut rng = Seed::from_bytes([2; 32]).stream();
        let alone = Poly::ternary(params.table(), &mut rng);
        assert_eq!(alone.coefficients(), ternary.limb(0).coefficients());
        assert_eq!(Poly::error(params.table(), &mut rng).coefficients(), error.limb(0).coefficients());
    }

    #[test]
    fn residues_are_checked_limb_by_limb() {
        let params = Params::new(Profile::Exact);
        let tops: Vec<_> = params.moduli().iter().map(|q| vec![q.value() - 1; 4096]).collect();
        assert!(RnsPoly::from_residues(&params, tops.clone()).is_ok());
        let missing = RnsPoly::from_residues(&params, tops[..1].to_vec());
        assert!(matches!(missing, Err(HeError::Length { expected: 2, found: 1, .. })));
        // Limb 0 has the larger prime: its residues do not all fit limb 1.
        let swapped = RnsPoly::from_residues(&params, vec![tops[1].clone(), tops[0].clone()]);
        assert!(matches!(swapped, Err(HeError::OutOfRange { index: 0, .. })));
        let mut short = tops;
        short[1].pop();
        let short = RnsPoly::from_residues(&params, short);
        assert!(matches!(short, Err(HeError::Length { expected: 4096, found: 4095, .. })));
    }

    #[test]
    #[should_panic(expected = "a polynomial of 1 limbs met 2 limbs")]
    fn parameter_sets_do_not_mix() {
        let (wide, exact) = (Params::new(Profile::Wide), Params::new(Profile::Exact));
        let a = RnsPoly::<Ntt>::zero(&wide);
        let _ = a.mul(&exact, &a);
    }
}
