//! From residues modulo some primes to residues of the same integers modulo others.
//!
//! For Q = q_0 .. q_(l-1) and the centred integer x in (-Q/2, Q/2] with residues x_i (Halevi, Polyakov and Shoup, *An
//! Improved RNS Variant of the BFV Homomorphic Encryption Scheme*, CT-RSA 2019, section 2.2):
//!
//! > x = sum_i x_i e_i (Q/q_i) - r Q, e_i = (Q/q_i)^-1 mod q_i, r = round(sum_i x_i e_i / q_i).
//!
//! Modulo p that is a sum of l products with constants, and one more for r; `linear.rs` beside does it.
//!
//! | sources | result |
//! |---|---|
//! | one prime | the residues of x, always |
//! | l primes | the residues of x, or of x + Q where x is above -Q/2 by less than E Q |
//!
//! E = l * 1.25 * 2^-52 when all q_i are below 2^50, else l * 3 * 2^-60. What is uniform modulo Q meets that with a chance
//! of E per coefficient; where x is a small number (a noisy message with any noise budget left) it cannot happen. The
//! result is the same on every machine, there too. So a [`Converter`] is exact up to a multiple of Q that is 0 or Q, and
//! what it returns stands for a number in (-Q/2, Q/2 + E Q].
//!
//! Shapes: slices are limb-major, `from[i][k]` is position k modulo q_i, any number of positions; words are residues in
//! [0, q_i). What is returned may be a secret and is the caller's to wipe ([`RnsPoly`] does so).

use super::RnsPoly;
use super::centred::Centred;
use super::linear::{LinearMap, check_shapes};
use crate::modulus::Modulus;
use crate::ntt::NttTable;
use crate::poly::{Coeff, Form, Poly};

pub use super::linear::MOST_PRIMES;

/// The conversion from one list of primes to another; all of it is public.
#[derive(Debug, Clone)]
pub struct Converter {
    from: Vec<Modulus>,
    to: Vec<Modulus>,
    map: Map,
}

#[derive(Debug, Clone)]
enum Map {
    One(Centred),
    Many(LinearMap),
}

impl Converter {
    /// The conversion from residues modulo `from` (1 to [`MOST_PRIMES`] distinct primes) to residues modulo `to` (any
    /// primes, those of `from` too; with none there is nothing to do).
    ///
    /// # Panics
    /// For any other shape: the primes of parameters are checked before.
    #[must_use]
    pub fn new(from: &[Modulus], to: &[Modulus]) -> Self {
        let map = match from {
            [only] => Map::One(Centred::new(only, to)),
            _ => Map::Many(conversion(from, to)),
        };
        Self { from: from.to_vec(), to: to.to_vec(), map }
    }

    /// Writes to `to[j]` the residues modulo its prime of the centred integers with residues `from[i]`.
    ///
    /// # Panics
    /// Unless there is one slice per prime, all of one length.
    pub fn convert(&self, from: &[&[u64]], to: &mut [&mut [u64]]) {
        match &self.map {
            Map::One(map) => {
                check_shapes(1, self.to.len(), from, to);
                for (j, to) in to.iter_mut().enumerate() {
                    map.apply(j, from[0], to);
                }
            }
            Map::Many(map) => map.apply(from, to),
        }
    }

    /// One target of a conversion from one prime.
    pub(super) fn convert_one(&self, j: usize, from: &[u64], to: &mut [u64]) {
        match &self.map {
            Map::One(map) => map.apply(j, from, to),
            Map::Many(_) => panic!("a conversion from {} primes was taken for one from one", self.from.len()),
        }
    }

    /// The polynomial of the same centred integers over the primes of `tables`.
    ///
    /// # Panics
    /// Unless `poly` is over the primes converted from and `tables` is of those converted to.
    #[must_use]
    pub fn convert_poly(&self, poly: &RnsPoly<Coeff>, tables: &[NttTable]) -> RnsPoly<Coeff> {
        assert_moduli(&poly.0, &self.from);
        let mut limbs: Vec<_> = tables.iter().map(Poly::zero).collect();
        assert_moduli(&limbs, &self.to);
        self.convert(&words(&poly.0), &mut words_mut(&mut limbs));
        RnsPoly(limbs)
    }

    /// The polynomial with limbs over the primes of `tables` added behind its own: from Q to Q and B.
    ///
    /// # Panics
    /// As [`Converter::convert_poly`].
    #[must_use]
    pub fn extend(&self, mut poly: RnsPoly<Coeff>, tables: &[NttTable]) -> RnsPoly<Coeff> {
        let more = self.convert_poly(&poly, tables);
        poly.0.extend(more.0);
        poly
    }

    /// This conversion without vector kernels.
    #[cfg(test)]
    pub(super) fn portable(self) -> Self {
        let map = match self.map {
            Map::One(map) => Map::One(map.portable()),
            Map::Many(map) => Map::Many(map.portable()),
        };
        Self { map, ..self }
    }
}

/// The map of a conversion from any number of primes.
fn conversion(from: &[Modulus], to: &[Modulus]) -> LinearMap {
    let inverses = cofactor_inverses(from);
    let sources: Vec<_> = from.iter().zip(inverses.iter().copied()).collect();
    let targets: Vec<_> = to.iter().map(|p| (p.value(), 0, p.neg(product(from.iter(), p)))).collect();
    let factor = |i: usize, j: usize| {
        let others = from.iter().enumerate().filter(|&(other, _)| other != i).map(|(_, q)| q);
        to[j].mul(product(others, &to[j]), to[j].reduce(inverses[i]))
    };
    LinearMap::new(&sources, &targets, factor, false, false)
}

/// The product of primes modulo p.
pub(super) fn product<'a>(primes: impl Iterator<Item = &'a Modulus>, p: &Modulus) -> u64 {
    primes.fold(1, |product, q| p.mul(product, p.reduce(q.value())))
}

/// (Q/q_i)^-1 mod q_i of every prime.
///
/// # Panics
/// When a prime is there twice.
pub(super) fn cofactor_inverses(primes: &[Modulus]) -> Vec<u64> {
    let inverse = |(i, q): (usize, &Modulus)| {
        let others = primes.iter().enumerate().filter(|&(other, _)| other != i).map(|(_, q)| q);
        let cofactor = product(others, q);
        assert!(cofactor != 0, "the prime {} is twice in a basis", q.value());
        q.inv(cofactor)
    };
    primes.iter().enumerate().map(inverse).collect()
}

/// # Panics
/// Unless the limbs are those of the primes, in their order.
pub(super) fn assert_moduli<F: Form>(limbs: &[Poly<F>], primes: &[Modulus]) {
    assert!(
        limbs.iter().map(Poly::modulus).eq(primes),
        "a polynomial {limbs:?} met a change of basis of the primes {primes:?}"
    );
}

/// The words of limbs.
pub(super) fn words(limbs: &[Poly<Coeff>]) -> Vec<&[u64]> {
    limbs.iter().map(Poly::words).collect()
}

/// The words of limbs, to be written.
pub(super) fn words_mut(limbs: &mut [Poly<Coeff>]) -> Vec<&mut [u64]> {
    limbs.iter_mut().map(Poly::words_mut).collect()
}
