//! Division by some of the primes, with rounding: what ends a key switch, a rescale and a modulus switch.
//!
//! x is given modulo Q P by its residues; P is the product of the primes to be dropped, Q that of the primes to be kept.
//! round(x / P) modulo q_i is (x - rem) / P with rem the centred remainder of x by P, converted from the residues modulo P
//! (J. H. Cheon et al., *A Full RNS Variant of Approximate Homomorphic Encryption*, SAC 2018, section 3, "ModDown"; there
//! the remainder is not centred and may be off by multiples of P, here it is centred and exact up to the table).
//!
//! | primes dropped | result |
//! |---|---|
//! | one | round(x / P), always |
//! | several | round(x / P), or one less where the fraction of x / P is above one half by less than E |
//!
//! E as in [`super::convert`]. P is odd: no tie can happen. x may be any of the numbers with its residues: adding Q P to x
//! adds Q to the quotient, which vanishes modulo Q.
//!
//! | form | what to call |
//! |---|---|
//! | coefficients | [`ModDown::apply`], [`ModDown::drop_last`] |
//! | values | [`ModDown::drop_last_ntt`], [`ModDown::dropped_last_ntt`]; or by hand: the dropped part to coefficients, [`ModDown::correction`], the correction to values, [`ModDown::finish`] |
//!
//! The second way transforms only the dropped limbs back: a transform is a linear map, so it may be applied to the
//! correction alone. Slices are limb-major and hold residues, as in [`super::convert`].

use zeroize::Zeroizing;

use super::RnsPoly;
use super::convert::{Converter, assert_moduli, cofactor_inverses, product, words, words_mut};
#[cfg(target_arch = "x86_64")]
use super::linear::NARROW;
use super::linear::{LinearMap, check_shapes};
use crate::modulus::Modulus;
use crate::ntt::NttTable;
#[cfg(target_arch = "x86_64")]
use crate::ntt::wide512::Multiples;
use crate::poly::{Coeff, Form, Ntt, Poly};

/// Division by the product of some primes; all of it is public.
#[derive(Debug, Clone)]
pub struct ModDown {
    dropped: Vec<Modulus>,
    kept: Vec<Kept>,
    converter: Converter,
    /// The whole division for coefficients; `None` with one prime to drop, where the two steps are faster and exact.
    map: Option<LinearMap>,
    #[cfg(target_arch = "x86_64")]
    vectors: Option<super::ifma::Ifma>,
}

/// A kept prime with 1/P and its Shoup quotient.
#[derive(Debug, Clone, Copy)]
struct Kept {
    modulus: Modulus,
    inverse: u64,
    quotient: u64,
}

/// Positions of which [`ModDown::apply`] holds the correction at a time.
const BLOCK: usize = 256;

impl ModDown {
    /// The division by the product P of `dropped` (1 to [`super::convert::MOST_PRIMES`] primes) of numbers modulo that
    /// and `kept`; all distinct.
    ///
    /// # Panics
    /// For any other shape: the primes of parameters are checked before.
    #[must_use]
    pub fn new(dropped: &[Modulus], kept: &[Modulus]) -> Self {
        let converter = Converter::new(dropped, kept);
        let map = (dropped.len() > 1).then(|| division(1, dropped, kept));
        let keep = |q: &Modulus| {
            let inverse = q.inv(product(dropped.iter(), q));
            assert!(inverse != 0, "the prime {} is dropped and kept", q.value());
            Kept { modulus: *q, inverse, quotient: q.shoup(inverse) }
        };
        Self {
            dropped: dropped.to_vec(),
            kept: kept.iter().map(keep).collect(),
            converter,
            map,
            #[cfg(target_arch = "x86_64")]
            vectors: super::ifma::Ifma::detect(),
        }
    }

    /// Coefficients: puts round(x / P) in the place of x in `kept`, one slice per kept prime; `dropped` is x modulo the
    /// primes to be dropped.
    ///
    /// # Panics
    /// Unless there is one slice per prime, all of one length.
    pub fn apply(&self, dropped: &[&[u64]], kept: &mut [&mut [u64]]) {
        check_shapes(self.dropped.len(), self.kept.len(), dropped, kept);
        if let Some(map) = &self.map {
            return map.apply(dropped, kept);
        }
        let mut correction = Zeroizing::new([0; BLOCK]);
        for (limb, values) in kept.iter_mut().enumerate() {
            for (dropped, values) in dropped[0].chunks(BLOCK).zip(values.chunks_mut(BLOCK)) {
                let correction = &mut correction[..values.len()];
                self.converter.convert_one(limb, dropped, correction);
                self.finish(limb, values, correction);
            }
        }
    }

    /// The centred remainder of x by P modulo every kept prime, from x modulo the dropped ones: coefficients to
    /// coefficients.
    ///
    /// # Panics
    /// Unless there is one slice per prime, all of one length.
    pub fn correction(&self, dropped: &[&[u64]], correction: &mut [&mut [u64]]) {
        self.converter.convert(dropped, correction);
    }

    /// values = (values - correction) / P modulo the kept prime number `limb`; both in one form, coefficients or values.
    ///
    /// # Panics
    /// When there is no such prime, or the lengths differ.
    pub fn finish(&self, limb: usize, values: &mut [u64], correction: &[u64]) {
        let Kept { modulus, inverse, quotient } = self.kept[limb];
        assert_eq!(values.len(), correction.len(), "a correction of another length");
        #[cfg(target_arch = "x86_64")]
        let done = match (self.vectors, Multiples::new(modulus.value(), inverse, quotient)) {
            (Some(ifma), _) if modulus.value() < NARROW => {
                ifma.finish(modulus.value(), inverse, quotient, values, correction)
            }
            (Some(_), Some(wide)) => wide.finish(values, correction),
            _ => 0,
        };
        #[cfg(not(target_arch = "x86_64"))]
        let done = 0;
        for (value, &correction) in values[done..].iter_mut().zip(&correction[done..]) {
            *value = modulus.mul_shoup(modulus.sub(*value, correction), inverse, quotient);
        }
    }

    /// As [`ModDown::finish`], in the place of the correction.
    fn finish_into(&self, limb: usize, values: &[u64], correction: &mut [u64]) {
        let Kept { modulus, inverse, quotient } = self.kept[limb];
        assert_eq!(values.len(), correction.len(), "a correction of another length");
        #[cfg(target_arch = "x86_64")]
        let done = match (self.vectors, Multiples::new(modulus.value(), inverse, quotient)) {
            (Some(ifma), _) if modulus.value() < NARROW => {
                ifma.finish_into(modulus.value(), inverse, quotient, values, correction)
            }
            (Some(_), Some(wide)) => wide.finish_into(values, correction),
            _ => 0,
        };
        #[cfg(not(target_arch = "x86_64"))]
        let done = 0;
        for (&value, correction) in values[done..].iter().zip(&mut correction[done..]) {
            *correction = modulus.mul_shoup(modulus.sub(value, *correction), inverse, quotient);
        }
    }

    /// round(x / P) of a polynomial x whose last limbs are those of the primes to be dropped.
    ///
    /// # Panics
    /// Unless the primes of x are the kept ones followed by the dropped ones.
    #[must_use]
    pub fn drop_last(&self, mut poly: RnsPoly<Coeff>) -> RnsPoly<Coeff> {
        let dropped = self.split(&mut poly);
        self.apply(&words(&dropped), &mut words_mut(&mut poly.0));
        poly
    }

    /// As [`ModDown::drop_last`] for values: `tables` are those of the limbs of x.
    ///
    /// # Panics
    /// As there, and when the tables are of another ring.
    #[must_use]
    pub fn drop_last_ntt(&self, mut poly: RnsPoly<Ntt>, tables: &[NttTable]) -> RnsPoly<Ntt> {
        let dropped = self.split(&mut poly);
        self.divide(&poly.0, RnsPoly(dropped), tables)
    }

    /// As [`ModDown::drop_last_ntt`], and x stays: for what is public.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn dropped_last_ntt(&self, poly: &RnsPoly<Ntt>, tables: &[NttTable]) -> RnsPoly<Ntt> {
        self.assert_primes(poly);
        let (kept, dropped) = poly.0.split_at(self.kept.len());
        self.divide(kept, RnsPoly(dropped.iter().map(Poly::duplicate).collect()), tables)
    }

    /// (kept - correction) / P, written where the corrections are.
    fn divide(&self, kept: &[Poly<Ntt>], dropped: RnsPoly<Ntt>, tables: &[NttTable]) -> RnsPoly<Ntt> {
        assert_eq!(tables.len(), kept.len() + dropped.0.len(), "one table per limb is needed");
        let (tables, special) = tables.split_at(kept.len());
        let dropped = dropped.into_coeff(special);
        let mut quotients: Vec<Poly<Coeff>> = tables.iter().map(Poly::zero).collect();
        self.correction(&words(&dropped.0), &mut words_mut(&mut quotients));
        let mut quotients = RnsPoly(quotients).into_ntt(tables);
        for (limb, (values, quotient)) in kept.iter().zip(&mut quotients.0).enumerate() {
            assert_eq!(values.modulus(), quotient.modulus(), "a table of another prime");
            self.finish_into(limb, values.words(), quotient.words_mut());
        }
        quotients
    }

    /// Takes the dropped limbs away.
    fn split<F: Form>(&self, poly: &mut RnsPoly<F>) -> Vec<Poly<F>> {
        self.assert_primes(poly);
        poly.0.split_off(self.kept.len())
    }

    fn assert_primes<F: Form>(&self, poly: &RnsPoly<F>) {
        let primes: Vec<_> =
            self.kept.iter().map(|k| k.modulus).chain(self.dropped.iter().copied()).collect();
        assert_moduli(&poly.0, &primes);
    }

    /// This division without vector kernels.
    #[cfg(test)]
    pub(super) fn portable(self) -> Self {
        Self {
            converter: self.converter.portable(),
            map: self.map.map(LinearMap::portable),
            #[cfg(target_arch = "x86_64")]
            vectors: None,
            ..self
        }
    }
}

/// The map from x modulo `dropped` and `kept` to round(t x / P) modulo `kept`, for t >= 1 and the product P of `dropped`.
///
/// With a_i = t (P/p_i)^-1 mod p_i the centred remainder of t x by P is sum_i x_i a_i (P/p_i) - r P with
/// r = round(sum_i x_i a_i / p_i), so the quotient is t x / P - sum_i x_i a_i / p_i + r modulo each kept prime.
///
/// # Panics
/// When a prime is there twice.
pub(super) fn division(t: u64, dropped: &[Modulus], kept: &[Modulus]) -> LinearMap {
    let inverses = cofactor_inverses(dropped);
    let numerators: Vec<_> =
        dropped.iter().zip(inverses).map(|(p, inverse)| p.mul(inverse, p.reduce(t))).collect();
    let sources: Vec<_> = dropped.iter().zip(numerators.iter().copied()).collect();
    let target = |q: &Modulus| {
        let inverse = q.inv(product(dropped.iter(), q));
        assert!(inverse != 0, "the prime {} is dropped and kept", q.value());
        (q.value(), q.mul(inverse, q.reduce(t)), 1)
    };
    let targets: Vec<_> = kept.iter().map(target).collect();
    let factor = |i: usize, j: usize| {
        let q = &kept[j];
        q.neg(q.mul(q.reduce(numerators[i]), q.inv(q.reduce(dropped[i].value()))))
    };
    LinearMap::new(&sources, &targets, factor, true, true)
}
