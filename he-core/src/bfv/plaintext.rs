//! Plaintexts: polynomials modulo t, and the two forms in which they meet a ciphertext.
//!
//! | type | what | form | where |
//! |---|---|---|---|
//! | [`Plaintext`] | m, N residues modulo t | coefficients | everywhere |
//! | [`PreparedPlaintext`] | the centred lift of m, coefficients in (-t/2, t/2] | values modulo q_0 … q_{l-1} | products |
//! | [`ScaledPlaintext`] | round(Q_l m / t), the message form of a ciphertext | values modulo q_0 … q_{l-1} | sums |
//!
//! **Scaling exactly.** The nearest integer x to Q m/t is (Q m - rho)/t with rho the centred residue of Q m modulo t, and
//! Q m vanishes modulo every q_i: x = -rho/t modulo q_i. So one product modulo t and one per limb give round(Q m/t)
//! itself, for any t that is coprime to Q (for even t a tie rounds down). The customary floor(Q/t) m would cost up to
//! (Q mod t) m/t, almost t, of noise instead of 1/2.
//!
//! A prepared plaintext of l limbs serves every level with at most l limbs; a scaled one serves its own level, because Q_l
//! is in it. All are wiped on drop and print no coefficients. None of this depends in time on the coefficients, but for the
//! checks of [`Plaintext::from_coefficients`], which tell where a refused word is, and [`Plaintext::norm`].

use core::fmt;

use zeroize::Zeroizing;

use super::lift::Lift;
use super::modulus::PlainModulus;
use super::params::Params;
use crate::error::HeError;
use crate::ntt::NttTable;
use crate::poly::{Coeff, Ntt, Poly};
use crate::pool::Words;
use crate::rns::RnsPoly;

const WHAT: &str = "coefficients of a plaintext";

/// A polynomial modulo t: N residues in natural order. Wiped on drop.
pub struct Plaintext {
    words: Words,
    modulus: PlainModulus,
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} coefficients modulo {})", self.words.len(), self.modulus.value())
    }
}

impl Plaintext {
    /// The polynomial with these residues as its first coefficients; the others are zero.
    ///
    /// # Errors
    /// [`HeError::Length`] for more than N of them, [`HeError::OutOfRange`] unless each is below t.
    pub fn from_coefficients(params: &Params, coefficients: &[u64]) -> Result<Self, HeError> {
        let (modulus, bound) = (*params.modulus(), params.t());
        if let Some(index) = coefficients.iter().position(|&word| word >= bound) {
            return Err(HeError::OutOfRange { what: WHAT, index, bound });
        }
        let words = padded(params.n(), coefficients.iter().copied())?;
        Ok(Self { words, modulus })
    }

    /// The polynomial whose first coefficients are these numbers modulo t (any i64); the others are zero.
    ///
    /// # Errors
    /// [`HeError::Length`] for more than N of them.
    pub fn from_signed(params: &Params, coefficients: &[i64]) -> Result<Self, HeError> {
        let modulus = *params.modulus();
        let words = padded(params.n(), coefficients.iter().map(|&c| modulus.from_i64(c)))?;
        Ok(Self { words, modulus })
    }

    /// The polynomial of N residues that are known to be below t.
    pub(super) fn from_residues(modulus: PlainModulus, words: impl Into<Words>) -> Self {
        let words = words.into();
        debug_assert!(words.iter().all(|&word| word < modulus.value()));
        Self { words, modulus }
    }

    /// The N coefficients, residues modulo t.
    #[must_use]
    pub fn coefficients(&self) -> &[u64] {
        &self.words
    }

    /// The N coefficients in (-t/2, t/2].
    #[must_use]
    pub fn signed(&self) -> Zeroizing<Vec<i64>> {
        Zeroizing::new(self.words.iter().map(|&word| self.modulus.center(word)).collect())
    }

    /// The plaintext modulus.
    #[must_use]
    pub fn modulus(&self) -> &PlainModulus {
        &self.modulus
    }

    /// The degree N.
    #[must_use]
    pub fn n(&self) -> usize {
        self.words.len()
    }

    /// The Euclidean norm of the centred coefficients: what a product with this plaintext multiplies the noise of a fresh
    /// ciphertext with. In a chain of products it is enough for coefficients of mean zero that are independent of each
    /// other and for monomials, but not, say, for coefficients 0 and 1; the sum of the absolute values of
    /// [`Plaintext::signed`], the l1 norm, is enough always (heuristic 3 of [`super::noise`]). It tells about the message;
    /// not for plaintexts that are secret.
    #[must_use]
    pub fn norm(&self) -> f64 {
        self.words.iter().map(|&word| (self.modulus.center(word) as f64).powi(2)).sum::<f64>().sqrt()
    }

    /// The form for products with ciphertexts of at most `limbs` limbs.
    ///
    /// # Panics
    /// When the plaintext is of another ring, or unless 1 <= limbs <= L.
    #[must_use]
    pub fn prepare(&self, params: &Params, limbs: usize) -> PreparedPlaintext {
        self.assert_fits(params);
        let tables = params.rlwe().ciphertext_tables(limbs);
        let limb = |table: &NttTable| centred(params.lift(), &self.words, table, 1);
        let poly = RnsPoly::from_limbs(tables.iter().map(limb).collect());
        PreparedPlaintext { poly: poly.into_ntt(tables), t: self.modulus.value() }
    }

    /// The form for sums with ciphertexts of exactly `limbs` limbs: round(Q_l m / t).
    ///
    /// # Panics
    /// When the plaintext is of another ring, or unless 1 <= limbs <= L.
    #[must_use]
    pub fn scale(&self, params: &Params, limbs: usize) -> ScaledPlaintext {
        let poly = self.scaled(params, limbs).into_ntt(params.rlwe().ciphertext_tables(limbs));
        ScaledPlaintext { poly, t: self.modulus.value() }
    }

    /// round(Q_l m / t), by its coefficients.
    pub(super) fn scaled(&self, params: &Params, limbs: usize) -> RnsPoly<Coeff> {
        self.assert_fits(params);
        let tables = params.rlwe().ciphertext_tables(limbs);
        let mut rest = Words::zeros(self.n());
        params.lift().multiply(&self.words, params.level(limbs).q_mod_t, &mut rest);
        let limb = |(table, &factor): (&NttTable, &u64)| centred(params.lift(), &rest, table, factor);
        RnsPoly::from_limbs(tables.iter().zip(params.minus_t_inverse()).map(limb).collect())
    }

    fn assert_fits(&self, params: &Params) {
        assert!(
            self.words.len() == params.n() && self.modulus == *params.modulus(),
            "{self:?} met a ring of degree {} modulo {}",
            params.n(),
            params.t()
        );
    }
}

/// The centred lift of a [`Plaintext`], by its values: the factor of a product. Wiped on drop.
#[derive(Debug)]
pub struct PreparedPlaintext {
    poly: RnsPoly<Ntt>,
    t: u64,
}

impl PreparedPlaintext {
    /// The limbs: it serves ciphertexts of as many limbs or fewer.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.poly.limb_count()
    }

    /// The values modulo each prime.
    #[must_use]
    pub fn poly(&self) -> &RnsPoly<Ntt> {
        &self.poly
    }

    pub(super) fn assert_fits(&self, params: &Params, limbs: usize) {
        assert!(
            self.t == params.t() && self.poly.n() == params.n() && self.limbs() >= limbs,
            "a prepared plaintext of {} limbs modulo {} met a ciphertext of {limbs} limbs modulo {}",
            self.limbs(),
            self.t,
            params.t()
        );
    }
}

/// round(Q_l m / t) of a [`Plaintext`] m, by its values: the term of a sum. Wiped on drop.
#[derive(Debug)]
pub struct ScaledPlaintext {
    poly: RnsPoly<Ntt>,
    t: u64,
}

impl ScaledPlaintext {
    /// The limbs of the ciphertexts that it serves.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.poly.limb_count()
    }

    /// The values modulo each prime.
    #[must_use]
    pub fn poly(&self) -> &RnsPoly<Ntt> {
        &self.poly
    }

    pub(super) fn assert_fits(&self, params: &Params, limbs: usize) {
        assert!(
            self.t == params.t() && self.poly.n() == params.n() && self.limbs() == limbs,
            "a scaled plaintext of {} limbs modulo {} met a ciphertext of {limbs} limbs modulo {}",
            self.limbs(),
            self.t,
            params.t()
        );
    }
}

/// The given words and zeros up to n.
fn padded(n: usize, words: impl ExactSizeIterator<Item = u64>) -> Result<Words, HeError> {
    if words.len() > n {
        return Err(HeError::Length { what: WHAT, expected: n, found: words.len() });
    }
    let mut all = Words::zeros(n);
    all.iter_mut().zip(words).for_each(|(place, word)| *place = word);
    Ok(all)
}

/// The centred representatives of residues modulo t times a factor, modulo the prime of a table.
fn centred(lift: &Lift, words: &[u64], table: &NttTable, factor: u64) -> Poly<Coeff> {
    let mut limb = Poly::zero(table);
    lift.centre(words, table.modulus(), factor, limb.words_mut());
    limb
}
