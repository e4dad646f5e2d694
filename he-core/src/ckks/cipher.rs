//! Plaintexts and ciphertexts with their scales, and what is linear in them.
//!
//! | type | holds | phase or polynomial |
//! |---|---|---|
//! | [`Plaintext`] | a polynomial in NTT form modulo the first l primes, a scale | scale * message, rounded |
//! | [`Ciphertext`] | two parts, three after a product; a scale | scale * message + noise |
//! | [`SeededCiphertext`] | one part and 32 bytes; a scale | the same |
//!
//! **Scales** are doubles that follow the arithmetic: products multiply them, rescaling divides them by its prime,
//! each with one rounding (relative 2^-53). Two scales count as equal within a relative [`SCALE_TOLERANCE`] = 2^-40;
//! adding under unequal scales would add wrong messages, and is an error that names both. The sum keeps the scale of
//! the left side, so the message of the right side may come in wrong by its 2^-40th.
//!
//! **Limbs.** Operands of one operation must have the same number of limbs; a plaintext may have more, and is then used
//! modulo the first of them. [`super::rescale`] has what brings ciphertexts to the same scale and limbs.

use crate::error::HeError;
use crate::poly::Ntt;
use crate::rlwe::{self, RlweParams};
use crate::rns::RnsPoly;

use super::Params;
use super::complex::Complex;

/// Scales that differ by less than this, relatively, count as equal: 2^-40.
pub const SCALE_TOLERANCE: f64 = 1.0 / (1_u64 << 40) as f64;

/// An encoded message, ready to be encrypted, added or multiplied. Wiped on drop.
#[derive(Debug)]
pub struct Plaintext {
    pub(super) poly: RnsPoly<Ntt>,
    pub(super) scale: f64,
}

impl Plaintext {
    /// The plaintext of a polynomial modulo the first primes of the parameters, with its scale.
    ///
    /// # Errors
    /// [`HeError::OtherParameters`] unless the polynomial is modulo the first primes, [`HeError::ScaleRange`] for a
    /// scale that is not positive and finite.
    pub fn from_parts(params: &Params, poly: RnsPoly<Ntt>, scale: f64) -> Result<Self, HeError> {
        check_parts(params, core::slice::from_ref(&poly), scale)?;
        Ok(Self { poly, scale })
    }

    /// The polynomial, in NTT form.
    #[must_use]
    pub fn poly(&self) -> &RnsPoly<Ntt> {
        &self.poly
    }

    /// The scale.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The number of primes that it lives modulo.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.poly.limb_count()
    }
}

/// An encrypted message of N/2 complex numbers. Public: copies are explicit but harmless.
#[derive(Debug)]
pub struct Ciphertext {
    pub(super) inner: rlwe::Ciphertext,
    pub(super) scale: f64,
}

impl Ciphertext {
    /// The ciphertext of its parts and scale.
    ///
    /// # Errors
    /// [`HeError::OtherParameters`] unless all parts are modulo the first primes, [`HeError::ScaleRange`] for a scale
    /// that is not positive and finite.
    pub fn from_rlwe(params: &Params, inner: rlwe::Ciphertext, scale: f64) -> Result<Self, HeError> {
        check_parts(params, inner.parts(), scale)?;
        Ok(Self { inner, scale })
    }

    /// The parts.
    #[must_use]
    pub fn as_rlwe(&self) -> &rlwe::Ciphertext {
        &self.inner
    }

    /// The parts, given away.
    #[must_use]
    pub fn into_rlwe(self) -> rlwe::Ciphertext {
        self.inner
    }

    /// The scale.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The number of primes that it lives modulo.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.inner.limbs()
    }

    /// How often it can still be rescaled.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.limbs() - 1
    }

    /// The degree in the secret: 1, or 2 after a product that was not relinearised.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.inner.degree()
    }

    /// A copy.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { inner: self.inner.duplicate(), scale: self.scale }
    }

    /// Reads the same phase under another scale: divides every slot by `factor`, at no cost in limbs or noise.
    ///
    /// # Errors
    /// [`HeError::ScaleRange`] when the new scale is not positive or does not fit the modulus; the ciphertext is then
    /// as it was.
    ///
    /// # Panics
    /// When the ciphertext has more limbs than the parameters.
    pub fn divide(&mut self, params: &Params, factor: f64) -> Result<(), HeError> {
        self.scale = params.product_scale(self.scale, factor, self.limbs())?;
        Ok(())
    }

    /// Changes the sign of every slot.
    pub fn negate(&mut self) {
        self.inner.negate();
    }

    /// Adds slot by slot.
    ///
    /// # Errors
    /// [`HeError::Limbs`] or [`HeError::UnequalScales`] when the two differ.
    pub fn add(&mut self, other: &Self) -> Result<(), HeError> {
        self.check(other.limbs() == self.limbs(), other.limbs(), other.scale)?;
        self.inner += &other.inner;
        Ok(())
    }

    /// Subtracts slot by slot.
    ///
    /// # Errors
    /// As [`Ciphertext::add`].
    pub fn sub(&mut self, other: &Self) -> Result<(), HeError> {
        self.check(other.limbs() == self.limbs(), other.limbs(), other.scale)?;
        self.inner -= &other.inner;
        Ok(())
    }

    /// The sum slot by slot: [`Ciphertext::add`] into a new ciphertext, cheaper than adding to a copy.
    ///
    /// # Errors
    /// As [`Ciphertext::add`].
    pub fn plus(&self, other: &Self) -> Result<Self, HeError> {
        self.check(other.limbs() == self.limbs(), other.limbs(), other.scale)?;
        Ok(Self { inner: &self.inner + &other.inner, scale: self.scale })
    }

    /// The difference slot by slot, likewise.
    ///
    /// # Errors
    /// As [`Ciphertext::add`].
    pub fn minus(&self, other: &Self) -> Result<Self, HeError> {
        self.check(other.limbs() == self.limbs(), other.limbs(), other.scale)?;
        Ok(Self { inner: &self.inner - &other.inner, scale: self.scale })
    }

    /// Adds a plaintext slot by slot.
    ///
    /// # Errors
    /// [`HeError::Limbs`] when the plaintext has fewer limbs, [`HeError::UnequalScales`].
    pub fn add_plain(&mut self, plaintext: &Plaintext) -> Result<(), HeError> {
        self.check(plaintext.limbs() >= self.limbs(), plaintext.limbs(), plaintext.scale)?;
        let limbs = self.inner.parts_mut()[0].limbs_mut().iter_mut();
        limbs.zip(plaintext.poly.limbs()).for_each(|(limb, other)| *limb += other);
        Ok(())
    }

    /// Subtracts a plaintext slot by slot.
    ///
    /// # Errors
    /// As [`Ciphertext::add_plain`].
    pub fn sub_plain(&mut self, plaintext: &Plaintext) -> Result<(), HeError> {
        self.check(plaintext.limbs() >= self.limbs(), plaintext.limbs(), plaintext.scale)?;
        let limbs = self.inner.parts_mut()[0].limbs_mut().iter_mut();
        limbs.zip(plaintext.poly.limbs()).for_each(|(limb, other)| *limb -= other);
        Ok(())
    }

    /// Adds the same number to every slot, exact to half a unit of the scale in each part.
    ///
    /// # Errors
    /// [`HeError::NotFinite`], or [`HeError::Overflow`] when the number does not fit the modulus at this scale.
    ///
    /// # Panics
    /// When the ciphertext is of other parameters.
    pub fn add_constant(&mut self, params: &Params, constant: Complex) -> Result<(), HeError> {
        let limbs = self.limbs();
        let re = params.residues(constant.re * self.scale, limbs)?;
        let im = params.residues(constant.im * self.scale, limbs)?;
        let first = self.inner.parts_mut()[0].limbs_mut().iter_mut();
        for (((limb, unit), re), im) in first.zip(params.imaginary().limbs()).zip(re).zip(im) {
            let modulus = *limb.modulus();
            // The constants are public; so is whether they have an imaginary part.
            if im != 0 {
                let mut turned = unit.duplicate();
                turned.scale(im);
                *limb += &turned;
            }
            limb.words_mut().iter_mut().for_each(|word| *word = modulus.add(*word, re));
        }
        Ok(())
    }

    /// Multiplies every slot with a whole number: exact, the scale stays.
    pub fn multiply_integer(&mut self, factor: i64) {
        for part in self.inner.parts_mut() {
            let factors: Vec<_> = part.limbs().iter().map(|limb| limb.modulus().from_i64(factor)).collect();
            part.scale(&factors);
        }
    }

    /// Multiplies every slot with a real number, which is rounded to a multiple of 1/`factor_scale`; the scale is
    /// multiplied with `factor_scale`. The last prime ([`Params::last_prime`]) is a good choice if rescaling follows.
    ///
    /// # Errors
    /// [`HeError::NotFinite`] or [`HeError::Overflow`] for a number that does not fit the modulus,
    /// [`HeError::ScaleRange`] when the new scale does not.
    ///
    /// # Panics
    /// When the ciphertext is of other parameters.
    pub fn multiply_constant(
        &mut self,
        params: &Params,
        factor: f64,
        factor_scale: f64,
    ) -> Result<(), HeError> {
        let scale = params.product_scale(self.scale, factor_scale, self.limbs())?;
        let residues = params.residues(factor * factor_scale, self.limbs())?;
        self.inner.parts_mut().iter_mut().for_each(|part| part.scale(&residues));
        self.scale = scale;
        Ok(())
    }

    /// Multiplies every slot with the imaginary unit: exact, the scale stays.
    ///
    /// # Panics
    /// When the ciphertext is of other parameters.
    pub fn multiply_by_i(&mut self, params: &Params) {
        for part in self.inner.parts_mut() {
            for ((limb, unit), table) in
                part.limbs_mut().iter_mut().zip(params.imaginary().limbs()).zip(params.tables(params.limbs()))
            {
                *limb = limb.mul(table, unit);
            }
        }
    }

    /// Multiplies with a plaintext slot by slot: [`Params::multiply_plain`] in place.
    ///
    /// # Errors
    /// As [`Params::multiply_plain`].
    ///
    /// # Panics
    /// When operands are of other parameters.
    pub fn multiply_plain(&mut self, params: &Params, plaintext: &Plaintext) -> Result<(), HeError> {
        *self = params.multiply_plain(self, plaintext)?;
        Ok(())
    }

    fn check(&self, limbs_fit: bool, limbs: usize, scale: f64) -> Result<(), HeError> {
        if !limbs_fit {
            return Err(HeError::Limbs { needed: self.limbs(), found: limbs });
        }
        equal_scales(self.scale, scale)
    }
}

/// An encrypted message as its owner sends it: half of a ciphertext, and a seed for the other half.
#[derive(Debug)]
pub struct SeededCiphertext {
    pub(super) inner: rlwe::SeededCiphertext,
    pub(super) scale: f64,
}

impl SeededCiphertext {
    /// The ciphertext of its part, seed and scale.
    ///
    /// # Errors
    /// As [`Ciphertext::from_rlwe`].
    pub fn from_rlwe(params: &Params, inner: rlwe::SeededCiphertext, scale: f64) -> Result<Self, HeError> {
        check_parts(params, core::slice::from_ref(inner.part()), scale)?;
        Ok(Self { inner, scale })
    }

    /// The part and the seed.
    #[must_use]
    pub fn as_rlwe(&self) -> &rlwe::SeededCiphertext {
        &self.inner
    }

    /// The scale.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The number of primes that it lives modulo.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.inner.limbs()
    }

    /// The whole ciphertext.
    ///
    /// # Panics
    /// When it is of other parameters.
    #[must_use]
    pub fn expand(self, params: &Params) -> Ciphertext {
        let rlwe: &RlweParams = params.rlwe();
        Ciphertext { inner: self.inner.expand(rlwe), scale: self.scale }
    }
}

/// Refuses scales that differ by more than [`SCALE_TOLERANCE`].
pub(super) fn equal_scales(left: f64, right: f64) -> Result<(), HeError> {
    if (left / right - 1.0).abs() <= SCALE_TOLERANCE {
        return Ok(());
    }
    Err(HeError::UnequalScales { left, right })
}

fn check_parts(params: &Params, parts: &[RnsPoly<Ntt>], scale: f64) -> Result<(), HeError> {
    if !(scale > 0.0 && scale.is_finite()) {
        return Err(HeError::ScaleRange {
            log2_scale: scale.log2(),
            log2_most: params.log2_most_scale(params.limbs()),
        });
    }
    let primes = params.rlwe().moduli(params.limbs());
    let fits = |part: &RnsPoly<Ntt>| {
        part.n() == params.n()
            && part.limb_count() <= primes.len()
            && part.limbs().iter().zip(primes).all(|(limb, q)| limb.modulus() == q)
    };
    if parts.iter().all(fits) { Ok(()) } else { Err(HeError::OtherParameters { what: "a CKKS text" }) }
}

impl Params {
    /// The scale of a product of messages of size one at this number of limbs.
    pub(super) fn product_scale(&self, a: f64, b: f64, limbs: usize) -> Result<f64, HeError> {
        let (scale, log2_most) = (a * b, self.log2_most_scale(limbs));
        if scale > 0.0 && scale.log2() <= log2_most {
            return Ok(scale);
        }
        Err(HeError::ScaleRange { log2_scale: scale.log2(), log2_most })
    }
}
