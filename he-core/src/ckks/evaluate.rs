//! Products, rotations and conjugation.
//!
//! | operation | slots | scale | degree | limbs |
//! |---|---|---|---|---|
//! | [`Params::multiply_plain`] | products | product | stays | stay |
//! | [`Params::multiply`], [`Params::square`] | products | product | 2 | stay |
//! | [`Params::relinearise`] | stay | stays | 1 | stay |
//! | [`Params::multiply_rescale`] | products | product over last prime | 1 | one less |
//! | [`Params::rotate`] | slot j gets slot j + steps, cyclically | stays | 1 | stay |
//! | [`Params::conjugate`] | conjugates | stays | 1 | stay |
//!
//! A product needs depth: its scale is about Delta^2, and [`Params::rescale`] takes it back to Delta. Rotations and
//! conjugation need a Galois key each ([`Params::galois_keys`]); [`Params::rotate_many`] shares the expensive half of
//! several rotations of one ciphertext (hoisting, see [`crate::rlwe::switch`]).

use rayon::prelude::*;

use super::Params;
use super::cipher::{Ciphertext, Plaintext};
use crate::error::HeError;
use crate::galois::{conjugation, rotation};
use crate::ntt::NttTable;
use crate::poly::{Ntt, Poly};
use crate::rlwe::{self, GaloisKeys, RelinKey, SecretKey};
use crate::rns::RnsPoly;
use crate::seed::Seed;

impl Params {
    /// The product slot by slot, of degree 2.
    ///
    /// # Errors
    /// [`HeError::Limbs`] when the two have different limbs, [`HeError::Length`] for a factor of degree 2,
    /// [`HeError::ScaleRange`] when the product of the scales does not fit the modulus.
    ///
    /// # Panics
    /// When operands are of other parameters.
    pub fn multiply(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, HeError> {
        if a.limbs() != b.limbs() {
            return Err(HeError::Limbs { needed: a.limbs(), found: b.limbs() });
        }
        let (x, y) = (two_parts(a)?, two_parts(b)?);
        let scale = self.product_scale(a.scale, b.scale, a.limbs())?;
        let tensor = |(i, table): (usize, &NttTable)| {
            let [x0, x1, y0, y1] = [x[0].limb(i), x[1].limb(i), y[0].limb(i), y[1].limb(i)];
            [x0.mul(table, y0), Poly::dot(table, &[(x0, y1), (x1, y0)]), x1.mul(table, y1)]
        };
        Ok(Ciphertext { inner: self.tensor(a.limbs(), tensor), scale })
    }

    /// The square slot by slot, of degree 2: cheaper than a product.
    ///
    /// # Errors
    /// As [`Params::multiply`].
    ///
    /// # Panics
    /// When the ciphertext is of other parameters.
    pub fn square(&self, a: &Ciphertext) -> Result<Ciphertext, HeError> {
        let x = two_parts(a)?;
        let scale = self.product_scale(a.scale, a.scale, a.limbs())?;
        let tensor = |(i, table): (usize, &NttTable)| {
            let (x0, x1) = (x[0].limb(i), x[1].limb(i));
            [x0.mul(table, x0), Poly::dot(table, &[(x0, x1), (x0, x1)]), x1.mul(table, x1)]
        };
        Ok(Ciphertext { inner: self.tensor(a.limbs(), tensor), scale })
    }

    /// The product with a plaintext slot by slot; scales multiply, the degree stays.
    ///
    /// # Errors
    /// [`HeError::Limbs`] when the plaintext has fewer limbs, [`HeError::ScaleRange`] when the new scale does not fit.
    ///
    /// # Panics
    /// When operands are of other parameters.
    pub fn multiply_plain(&self, a: &Ciphertext, plaintext: &Plaintext) -> Result<Ciphertext, HeError> {
        if plaintext.limbs() < a.limbs() {
            return Err(HeError::Limbs { needed: a.limbs(), found: plaintext.limbs() });
        }
        let scale = self.product_scale(a.scale, plaintext.scale, a.limbs())?;
        let part = |part: &RnsPoly<Ntt>| {
            let terms = part.limbs().iter().zip(plaintext.poly.limbs()).zip(self.tables(a.limbs()));
            RnsPoly::from_limbs(terms.map(|((limb, factor), table)| limb.mul(table, factor)).collect())
        };
        let inner = rlwe::Ciphertext::from_parts(a.inner.parts().iter().map(part).collect());
        Ok(Ciphertext { inner: inner.expect("as many parts, of as many limbs, as before"), scale })
    }

    fn tensor(&self, limbs: usize, limb: impl Fn((usize, &NttTable)) -> [Poly<Ntt>; 3]) -> rlwe::Ciphertext {
        let mut parts = [(); 3].map(|()| Vec::with_capacity(limbs));
        for entry in self.tables(limbs).iter().enumerate() {
            parts.iter_mut().zip(limb(entry)).for_each(|(part, limb)| part.push(limb));
        }
        let parts = parts.map(RnsPoly::from_limbs).into();
        rlwe::Ciphertext::from_parts(parts).expect("three parts of the same limbs")
    }

    /// The same message in two parts; a ciphertext of degree 1 is left as it is.
    ///
    /// # Panics
    /// When operands are of other parameters.
    #[must_use]
    pub fn relinearise(&self, ciphertext: Ciphertext, key: &RelinKey) -> Ciphertext {
        let Ciphertext { inner, scale } = ciphertext;
        Ciphertext { inner: key.relinearise(self.rlwe(), inner), scale }
    }

    /// Product, relinearisation, rescaling.
    ///
    /// # Errors
    /// As [`Params::multiply`] and [`Params::rescale`].
    ///
    /// # Panics
    /// When operands are of other parameters.
    pub fn multiply_rescale(
        &self,
        a: &Ciphertext,
        b: &Ciphertext,
        key: &RelinKey,
    ) -> Result<Ciphertext, HeError> {
        let mut product = self.relinearise(self.multiply(a, b)?, key);
        self.rescale(&mut product)?;
        Ok(product)
    }

    /// Keys for rotations by these steps, and for the conjugation; the seed must be fresh and is used up.
    ///
    /// # Panics
    /// When the secret is of other parameters or they have no special primes.
    #[must_use]
    pub fn galois_keys(
        &self,
        secret: &SecretKey,
        steps: &[i64],
        with_conjugation: bool,
        seed: Seed,
    ) -> GaloisKeys {
        assert!(self.rlwe() == secret.params(), "a key of other parameters");
        let mut exponents: Vec<_> =
            steps.iter().map(|&s| rotation(self.n(), s)).filter(|&g| g != 1).collect();
        exponents.extend(with_conjugation.then(|| conjugation(self.n())));
        GaloisKeys::new(secret, &exponents, seed)
    }

    /// Rotates: slot j of the answer is slot j + steps of the ciphertext, modulo N/2; steps may be negative.
    ///
    /// # Errors
    /// [`HeError::NoGaloisKey`], [`HeError::Length`] for a ciphertext of degree 2.
    ///
    /// # Panics
    /// When operands are of other parameters.
    pub fn rotate(&self, a: &Ciphertext, steps: i64, keys: &GaloisKeys) -> Result<Ciphertext, HeError> {
        // By no steps too.
        two_parts(a)?;
        let inner = keys.apply(self.rlwe(), &a.inner, rotation(self.n(), steps))?;
        Ok(Ciphertext { inner, scale: a.scale })
    }

    /// The same for several steps, sharing the decomposition of the ciphertext.
    ///
    /// # Errors
    /// As [`Params::rotate`].
    ///
    /// # Panics
    /// As [`Params::rotate`].
    pub fn rotate_many(
        &self,
        a: &Ciphertext,
        steps: &[i64],
        keys: &GaloisKeys,
    ) -> Result<Vec<Ciphertext>, HeError> {
        two_parts(a)?;
        let exponents: Vec<_> = steps.iter().map(|&steps| rotation(self.n(), steps)).collect();
        if exponents.iter().all(|&g| g == 1) {
            return Ok(exponents.iter().map(|_| a.duplicate()).collect());
        }
        keys.check_all(&exponents)?;
        let decomposed = self.rlwe().decompose(&a.inner.parts()[1]);
        let image = |&g: &usize| {
            let inner = keys.apply_hoisted(self.rlwe(), &a.inner, &decomposed, g)?;
            Ok(Ciphertext { inner, scale: a.scale })
        };
        exponents.par_iter().map(image).collect()
    }

    /// Conjugates every slot.
    ///
    /// # Errors
    /// As [`Params::rotate`].
    ///
    /// # Panics
    /// As [`Params::rotate`].
    pub fn conjugate(&self, a: &Ciphertext, keys: &GaloisKeys) -> Result<Ciphertext, HeError> {
        let inner = keys.apply(self.rlwe(), &a.inner, conjugation(self.n()))?;
        Ok(Ciphertext { inner, scale: a.scale })
    }
}

/// The two parts of a ciphertext of degree 1.
pub(super) fn two_parts(a: &Ciphertext) -> Result<&[RnsPoly<Ntt>], HeError> {
    match a.inner.parts() {
        parts @ [_, _] => Ok(parts),
        parts => Err(HeError::Length { what: "the parts of a factor", expected: 2, found: parts.len() }),
    }
}
