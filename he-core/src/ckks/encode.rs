//! Slots to plaintexts and back.
//!
//! | direction and steps | error |
//! |---|---|
//! | encode: embedding, times scale, round half to even, residues, transform | 1/2 + eps scale max\|z\| per coefficient |
//! | decode: transform, residues to doubles, over scale, embedding | eps' sqrt(N/2) \|\|m\|\|_2 / scale per slot |
//!
//! u = 2^-53, eps = (6.8 log2(N/2) + 1) u and eps' = eps + (6 l + 4) u for l limbs (the bounds of the modules
//! `embedding` and `residues`). N coefficients that are off by 1/2 at most move a slot by N / (2 scale) at worst, and
//! by sqrt(N/12) / scale in the mean. Rounding is the same on every machine, so equal messages give equal plaintexts.
//!
//! Fewer values than slots are followed by zeros. A value that is not finite is refused, and so is a message whose
//! coefficients do not fit: |coefficient| < Q_l / 2 and < 2^126. These refusals are the only steps that depend on
//! values. (Arithmetic on doubles takes the same time for all values but subnormal ones, on some CPUs; that is not
//! mended here.)
//!
//! **Raw decoding is not safe to publish.** A decrypted CKKS message is message plus noise, and noise times known
//! polynomials is linear in the secret: who sees both a ciphertext (or how it was made) and its raw decoding can
//! often solve for the key (B. Li, D. Micciancio, *On the security of homomorphic encryption on approximate numbers*,
//! EUROCRYPT 2021). Plain IND-CPA does not cover decryptions that leave the key's owner; [`super::safe`] has a
//! decoding that may.

use super::Params;
use super::cipher::Plaintext;
use super::complex::Complex;
use super::residues;
use crate::error::HeError;
use crate::poly::{Coeff, Poly};
use crate::rns::RnsPoly;
use crate::scratch::Wiped;

/// Coefficients must be below 2^126.
const LOG2_MOST: f64 = 126.0;

impl Params {
    /// The plaintext of at most N/2 real or complex values at the default scale, modulo all primes.
    ///
    /// # Errors
    /// As [`Params::encode_at`].
    pub fn encode<T: Copy + Into<Complex>>(&self, values: &[T]) -> Result<Plaintext, HeError> {
        self.encode_at(values, self.limbs(), self.scale())
    }

    /// The plaintext of at most N/2 real or complex values at this scale, modulo the first `limbs` primes.
    ///
    /// # Errors
    /// [`HeError::Count`] for too many values, [`HeError::NotFinite`] for a NaN or an infinity,
    /// [`HeError::ScaleRange`] for a scale that is not positive or too large, [`HeError::Overflow`] when a
    /// coefficient does not fit the modulus.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    pub fn encode_at<T: Copy + Into<Complex>>(
        &self,
        values: &[T],
        limbs: usize,
        scale: f64,
    ) -> Result<Plaintext, HeError> {
        let slots = self.slots();
        if values.len() > slots {
            return Err(HeError::Count {
                what: "values to encode",
                found: values.len(),
                least: 0,
                most: slots,
            });
        }
        let scale = self.product_scale(scale, 1.0, limbs)?;
        // One allocation: real parts and then imaginary parts are the coefficients in their order.
        let mut coefficients = Wiped::from(vec![0.0; 2 * slots]);
        let (re, im) = coefficients.split_at_mut(slots);
        for (index, (&value, (re, im))) in values.iter().zip(re.iter_mut().zip(im.iter_mut())).enumerate() {
            let value: Complex = value.into();
            if !value.is_finite() {
                return Err(HeError::NotFinite { what: "a value to encode", index });
            }
            (*re, *im) = (value.re, value.im);
        }
        self.embedding().to_coefficients(re, im, scale);
        let largest = residues::round(self.simd(), &mut coefficients);
        self.check_size(largest, limbs)?;
        let limb = |table| {
            let mut poly = Poly::<Coeff>::zero(table);
            residues::reduce(self.simd(), table.modulus(), &coefficients, poly.words_mut());
            poly
        };
        let tables = self.tables(limbs);
        let poly = RnsPoly::from_limbs(tables.iter().map(limb).collect());
        Ok(Plaintext { poly: poly.into_ntt(tables), scale })
    }

    /// The N/2 values of a plaintext. **Raw**: of a decryption, they must not reach anybody who may not have the key;
    /// see the module essay. What decoding needs on the way is wiped; the answer is the caller's to wipe.
    ///
    /// # Panics
    /// When the plaintext is of other parameters.
    #[must_use]
    pub fn decode(&self, plaintext: &Plaintext) -> Vec<Complex> {
        let tables = self.tables(plaintext.limbs());
        let poly = plaintext.poly.duplicate().into_coeff(tables);
        self.decode_coefficients(&poly, plaintext.scale)
    }

    /// The real parts of [`Params::decode`], with the same warning.
    ///
    /// # Panics
    /// As [`Params::decode`].
    #[must_use]
    pub fn decode_real(&self, plaintext: &Plaintext) -> Vec<f64> {
        let poly = plaintext.poly.duplicate().into_coeff(self.tables(plaintext.limbs()));
        self.planes(&poly, plaintext.scale)[..self.slots()].to_vec()
    }

    /// The slots of a polynomial in coefficient form.
    pub(super) fn decode_coefficients(&self, poly: &RnsPoly<Coeff>, scale: f64) -> Vec<Complex> {
        let planes = self.planes(poly, scale);
        let (re, im) = planes.split_at(self.slots());
        re.iter().zip(im).map(|(&re, &im)| Complex::new(re, im)).collect()
    }

    /// The real parts of all slots, then the imaginary parts.
    fn planes(&self, poly: &RnsPoly<Coeff>, scale: f64) -> Wiped<Vec<f64>> {
        let limbs: Vec<&[u64]> = poly.limbs().iter().map(Poly::coefficients).collect();
        let mut coefficients = Wiped::from(vec![0.0; self.n()]);
        self.reconstruction().floats(&limbs, &mut coefficients);
        let inverse = 1.0 / scale;
        coefficients.iter_mut().for_each(|c| *c *= inverse);
        let (re, im) = coefficients.split_at_mut(self.slots());
        self.embedding().to_slots(re, im);
        coefficients
    }

    /// round(x) modulo each of the first `limbs` primes, for a public number.
    pub(super) fn residues(&self, x: f64, limbs: usize) -> Result<Vec<u64>, HeError> {
        if !x.is_finite() {
            return Err(HeError::NotFinite { what: "a constant times a scale", index: 0 });
        }
        let mut rounded = [x];
        let largest = residues::round(self.simd(), &mut rounded);
        self.check_size(largest, limbs)?;
        let residue = |q| {
            let mut residue = [0];
            residues::reduce(self.simd(), q, &rounded, &mut residue);
            residue[0]
        };
        Ok(self.rlwe().moduli(limbs).iter().map(residue).collect())
    }

    fn check_size(&self, largest: f64, limbs: usize) -> Result<(), HeError> {
        let log2_most = (self.rlwe().log2_q(limbs) - 1.0).min(LOG2_MOST);
        // A little below, because the logarithm of Q is rounded. An overflow of doubles, NaN included, is not below.
        if largest < (log2_most - 1e-9).exp2() {
            return Ok(());
        }
        Err(HeError::Overflow { log2_most })
    }
}
