//! Products of ciphertexts: tensor, scale by t/Q, come back.
//!
//! With centred representatives, t/Q (c0 + c1 s)(c0' + c1' s) has the product of the plaintexts in its phase (see
//! [`super::noise`]). Its three coefficients are integers of twice the size of Q, so they are formed modulo Q B:
//!
//! | step | what | transforms, for l ciphertext and k auxiliary primes |
//! |---|---|---|
//! | extend | the centred integers c_i modulo B | 4 l inverse, 4 k forward |
//! | tensor | c0 c0', c0 c1' + c1 c0', c1 c1' modulo Q B, by values | |
//! | scale | round(t x/Q) modulo B, of x modulo Q B | 3 (l + k) inverse |
//! | back | the same integers modulo Q | 3 l forward |
//!
//! (Halevi, Polyakov, Shoup, CT-RSA 2019, section 4; the conversions are those of [`crate::rns`].) A square extends two
//! polynomials instead of four. x itself may be known up to multiples of Q B only: another Q B is another t B after scaling.
//! A conversion that takes c_i ± Q for c_i, which can happen next to ±Q/2 only, changes the phase by a multiple of Q.
//!
//! Everything here is public.

use crate::error::HeError;
use crate::poly::{Coeff, Ntt, Poly};
use crate::rlwe;
use crate::rns::RnsPoly;

use super::cipher::Ciphertext;
use super::each;
use super::params::{Params, ProductLevel};

impl Params {
    /// The product, of three parts: [`Params::relinearise`] makes it two again.
    ///
    /// # Errors
    /// [`HeError::Length`] when a factor has three parts itself: relinearise first.
    ///
    /// # Panics
    /// When the factors are of different levels or of another ring.
    pub fn multiply(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, HeError> {
        assert_eq!(a.limbs(), b.limbs(), "factors of different levels");
        let level = self.product_level(a.limbs());
        let parts = [two_parts(a)?, two_parts(b)?].concat();
        let more = each(&parts, |part| extend(level, part));
        let [a0, a1, b0, b1] = [0, 1, 2, 3].map(|i| Wide { own: parts[i], more: &more[i] });
        let terms: [&[_]; 3] = [&[(a0, b0)], &[(a0, b1), (a1, b0)], &[(a1, b1)]];
        Ok(join(each(&terms, |terms| product(level, terms))))
    }

    /// The square, of three parts; cheaper than a product.
    ///
    /// # Errors
    /// [`HeError::Length`] when the ciphertext has three parts itself: relinearise first.
    ///
    /// # Panics
    /// When the ciphertext is of another ring.
    pub fn square(&self, a: &Ciphertext) -> Result<Ciphertext, HeError> {
        let level = self.product_level(a.limbs());
        let parts = two_parts(a)?;
        let more = each(&parts, |part| extend(level, part));
        let [a0, a1] = [0, 1].map(|i| Wide { own: parts[i], more: &more[i] });
        let terms: [&[_]; 3] = [&[(a0, a0)], &[(a0, a1), (a0, a1)], &[(a1, a1)]];
        Ok(join(each(&terms, |terms| product(level, terms))))
    }
}

/// The values of a polynomial modulo Q, and those of its centred integers modulo B.
#[derive(Clone, Copy)]
struct Wide<'a> {
    own: &'a RnsPoly<Ntt>,
    more: &'a RnsPoly<Ntt>,
}

impl Wide<'_> {
    fn limb(&self, i: usize) -> &Poly<Ntt> {
        let own = self.own.limb_count();
        if i < own { self.own.limb(i) } else { self.more.limb(i - own) }
    }
}

fn two_parts(ciphertext: &Ciphertext) -> Result<[&RnsPoly<Ntt>; 2], HeError> {
    match ciphertext.as_rlwe().parts() {
        [c0, c1] => Ok([c0, c1]),
        parts => Err(HeError::Length { what: "the parts of a factor", expected: 2, found: parts.len() }),
    }
}

fn join(parts: Vec<RnsPoly<Ntt>>) -> Ciphertext {
    Ciphertext::wrap(rlwe::Ciphertext::from_parts(parts).expect("three parts of one shape"))
}

/// The values modulo B of the centred integers of a polynomial modulo Q.
fn extend(level: &ProductLevel, part: &RnsPoly<Ntt>) -> RnsPoly<Ntt> {
    let (own, more) = level.tables.split_at(part.limb_count());
    let coefficients = part.duplicate().into_coeff(own);
    let mut extended = RnsPoly::<Coeff>::zero(more);
    convert(&level.extend, &coefficients, &mut extended);
    extended.into_ntt(more)
}

/// round(t x/Q) modulo Q for the sum x of products of these terms.
fn product(level: &ProductLevel, terms: &[(Wide<'_>, Wide<'_>)]) -> RnsPoly<Ntt> {
    let limb = |(i, table)| {
        let factors: Vec<_> = terms.iter().map(|(a, b)| (a.limb(i), b.limb(i))).collect();
        Poly::dot(table, &factors)
    };
    let sum = RnsPoly::from_limbs(level.tables.iter().enumerate().map(limb).collect());
    let limbs = terms[0].0.own.limb_count();
    let scaled = level.scale.scale(sum.into_coeff(&level.tables));
    let own = &level.tables[..limbs];
    let mut product = RnsPoly::<Coeff>::zero(own);
    convert(&level.back, &scaled, &mut product);
    product.into_ntt(own)
}

fn convert(converter: &crate::rns::convert::Converter, from: &RnsPoly<Coeff>, to: &mut RnsPoly<Coeff>) {
    let from: Vec<&[u64]> = from.limbs().iter().map(Poly::coefficients).collect();
    let mut to: Vec<&mut [u64]> = to.limbs_mut().iter_mut().map(Poly::words_mut).collect();
    converter.convert(&from, &mut to);
}
