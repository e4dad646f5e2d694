//! Parameters of BFV: a checked ring of ciphertexts, a plaintext modulus, and the constants between the two.
//!
//! | name | what | range |
//! |---|---|---|
//! | t | plaintext modulus: a prime, a power of two or composite | 2 to 2^60, coprime to every ciphertext prime |
//! | Q_l | product of the first l ciphertext primes; a ciphertext of l limbs is at *level* l | |
//! | B_l | product of *auxiliary primes* that products are formed modulo, besides Q_l | above 2 N t Q_l |
//!
//! **Auxiliary primes.** Coefficients of ciphertexts are centred, so those of a product of two are at most N Q_l^2/2 (the
//! middle part is a sum of two), and after scaling by t/Q_l at most N t Q_l/2. The residues modulo the auxiliary primes
//! say which number that is when B_l is above twice as much; one bit more keeps it away from ±B_l/2, where a conversion
//! of bases may err. The primes are as few as 50 bits allow and then as narrow as their number allows, because the
//! fastest transforms want that. Level l uses the first of them that suffice.
//!
//! Batching presets, t the largest prime of 20 bits that is 1 mod 2N (for another t see [`Params::new`]):
//!
//! | preset | t | rings |
//! |---|---|---|
//! | 4096, 8192, 16384, 32768 | 20 bits | those of [`crate::rlwe::params`] |
//!
//! A set is refused when a fresh public-key encryption of all limbs might not decrypt (see [`super::noise`]).

use std::sync::{Arc, OnceLock};

use crate::error::HeError;
use crate::modulus::Modulus;
use crate::ntt::NttTable;
use crate::prime::{largest_ntt_prime, ntt_primes};
use crate::rlwe::RlweParams;
use crate::rns::convert::Converter;
use crate::rns::drop::ModDown;
use crate::rns::scale::{PlainRound, ScaleRound};

use super::lift::Lift;
use super::modulus::PlainModulus;
use super::noise::NoiseBound;

/// Bits of t in a preset.
const PRESET_BITS: u32 = 20;
/// The widest auxiliary primes: those below 2^50 have the fastest transforms.
const WIDEST: u32 = 50;

/// Checked parameters of BFV. Cloning shares them.
#[derive(Clone)]
pub struct Params(Arc<Inner>);

struct Inner {
    rlwe: RlweParams,
    modulus: PlainModulus,
    lift: Lift,
    /// -1/t modulo each ciphertext prime.
    minus_t_inverse: Vec<u64>,
    levels: Vec<Level>,
    auxiliary: Vec<NttTable>,
}

/// The constants of ciphertexts of l limbs.
pub(super) struct Level {
    /// Q_l mod t and its Shoup quotient.
    pub(super) q_mod_t: (u64, u64),
    /// The number of auxiliary primes.
    auxiliary: usize,
    decrypt: OnceLock<PlainRound>,
    product: OnceLock<ProductLevel>,
    /// To each lower level, fewest limbs first.
    down: Vec<OnceLock<ModDown>>,
}

/// What a product of two ciphertexts of l limbs needs.
pub(super) struct ProductLevel {
    /// Ciphertext primes of the level, then auxiliary primes.
    pub(super) tables: Vec<NttTable>,
    /// Q_l to B_l, of the centred integer.
    pub(super) extend: Converter,
    /// Modulo Q_l B_l to round(t x / Q_l) modulo B_l.
    pub(super) scale: ScaleRound,
    /// B_l to Q_l.
    pub(super) back: Converter,
}

impl core::fmt::Debug for Params {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "bfv::Params(t = {}, {:?})", self.t(), self.0.rlwe)
    }
}

impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.modulus == other.0.modulus && self.0.rlwe == other.0.rlwe)
    }
}

impl Eq for Params {}

impl Params {
    /// Parameters over a checked ring. For batching t must be a prime that is 1 mod 2N.
    ///
    /// # Errors
    /// [`HeError::PlainModulus`] unless 2 <= t <= 2^60; [`HeError::PlainNotCoprime`] when a ciphertext prime divides t;
    /// [`HeError::NoRoom`] when a fresh encryption would decrypt wrongly with a probability above 2^-64.
    pub fn new(rlwe: &RlweParams, t: u64) -> Result<Self, HeError> {
        let modulus = PlainModulus::new(t)?;
        let primes = rlwe.moduli(rlwe.limbs());
        if let Some(q) = primes.iter().find(|q| t.is_multiple_of(q.value())) {
            return Err(HeError::PlainNotCoprime { t, q: q.value() });
        }
        let minus_t_inverse = primes.iter().map(|q| q.neg(q.inv(q.reduce(t)))).collect();
        // log2 of 4 N t Q_l: twice what is needed and a bit for the margin, less nothing.
        let needed = |limbs| 2.0 + (rlwe.n() as f64).log2() + (t as f64).log2() + rlwe.log2_q(limbs);
        let auxiliary = auxiliary_primes(rlwe, needed(rlwe.limbs()))?;
        let mut q_mod_t = 1 % t;
        let mut levels = Vec::with_capacity(primes.len());
        for (i, q) in primes.iter().enumerate() {
            q_mod_t = modulus.reduce_u128(u128::from(q_mod_t) * u128::from(q.value()));
            let mut sum = 0.0;
            let enough = auxiliary.iter().position(|table| {
                sum += (table.modulus().value() as f64).log2();
                sum >= needed(i + 1)
            });
            levels.push(Level {
                q_mod_t: (q_mod_t, modulus.shoup(q_mod_t)),
                auxiliary: enough.map_or(auxiliary.len(), |last| last + 1),
                decrypt: OnceLock::new(),
                product: OnceLock::new(),
                down: (0..i).map(|_| OnceLock::new()).collect(),
            });
        }
        let lift = Lift::new(modulus);
        let inner = Inner { rlwe: rlwe.clone(), modulus, lift, minus_t_inverse, levels, auxiliary };
        let params = Self(Arc::new(inner));
        let fresh = NoiseBound::public_key(&params);
        if !fresh.decrypts() {
            return Err(HeError::NoRoom {
                t,
                log2_q: rlwe.log2_q(rlwe.limbs()),
                log2_noise: fresh.log2_bound(),
            });
        }
        Ok(params)
    }

    /// The batching preset of a degree, 4096 to 32768: see the module essay.
    ///
    /// # Errors
    /// [`HeError::Degree`] for a degree without a preset.
    pub fn preset(degree: usize) -> Result<Self, HeError> {
        if degree < 4096 {
            return Err(HeError::Degree { n: degree });
        }
        let rlwe = RlweParams::preset(degree)?;
        let t = largest_ntt_prime(PRESET_BITS, 2 * degree as u64).ok_or(HeError::Degree { n: degree })?;
        Self::new(&rlwe, t)
    }

    /// The ring of the ciphertexts.
    #[must_use]
    pub fn rlwe(&self) -> &RlweParams {
        &self.0.rlwe
    }

    /// The plaintext modulus.
    #[must_use]
    pub fn modulus(&self) -> &PlainModulus {
        &self.0.modulus
    }

    /// The plaintext modulus t.
    #[must_use]
    pub fn t(&self) -> u64 {
        self.0.modulus.value()
    }

    /// The degree N.
    #[must_use]
    pub fn n(&self) -> usize {
        self.0.rlwe.n()
    }

    /// The number L of ciphertext primes: the limbs of a fresh ciphertext.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.0.rlwe.limbs()
    }

    /// From residues modulo t to those modulo ciphertext primes.
    pub(super) fn lift(&self) -> &Lift {
        &self.0.lift
    }

    /// -1/t modulo each ciphertext prime.
    pub(super) fn minus_t_inverse(&self) -> &[u64] {
        &self.0.minus_t_inverse
    }

    /// The constants of a level.
    pub(super) fn level(&self, limbs: usize) -> &Level {
        assert!((1..=self.limbs()).contains(&limbs), "{limbs} of {} ciphertext primes", self.limbs());
        &self.0.levels[limbs - 1]
    }

    /// Modulo Q_l to round(t x / Q_l) modulo t.
    pub(super) fn decrypting(&self, limbs: usize) -> &PlainRound {
        let make = || PlainRound::new(self.rlwe().moduli(limbs), self.t());
        self.level(limbs).decrypt.get_or_init(make)
    }

    /// Division by the primes between two levels, `to` < `from`.
    pub(super) fn dropping(&self, from: usize, to: usize) -> &ModDown {
        let make = || {
            let (kept, dropped) = self.rlwe().moduli(from).split_at(to);
            ModDown::new(dropped, kept)
        };
        self.level(from).down[to - 1].get_or_init(make)
    }

    /// What a product at a level needs; made when first asked for.
    pub(super) fn product_level(&self, limbs: usize) -> &ProductLevel {
        let level = self.level(limbs);
        level.product.get_or_init(|| {
            let auxiliary = &self.0.auxiliary[..level.auxiliary];
            let own = self.rlwe().moduli(limbs);
            let more: Vec<Modulus> = auxiliary.iter().map(|table| *table.modulus()).collect();
            ProductLevel {
                tables: [self.rlwe().ciphertext_tables(limbs), auxiliary].concat(),
                extend: Converter::new(own, &more),
                scale: ScaleRound::new(own, &more, self.t()),
                back: Converter::new(&more, own),
            }
        })
    }
}

/// Primes below 2^50 that are 1 mod 2N and no ciphertext primes, whose product has at least `needed` bits.
fn auxiliary_primes(rlwe: &RlweParams, needed: f64) -> Result<Vec<NttTable>, HeError> {
    let (n, two_n) = (rlwe.n(), 2 * rlwe.n() as u64);
    let taken: Vec<u64> = rlwe.moduli(rlwe.limbs()).iter().map(Modulus::value).collect();
    // The largest primes of a width below its power of two, as many as reach what is needed.
    let chain = |bits: u32| {
        let mut log2 = 0.0;
        let mut primes = Vec::new();
        let candidates = ntt_primes(bits, two_n).take_while(|q| q >> (bits - 1) == 1);
        for q in candidates.filter(|q| !taken.contains(q)) {
            if log2 >= needed {
                break;
            }
            log2 += (q as f64).log2();
            primes.push(q);
        }
        (log2 >= needed).then_some(primes)
    };
    let too_few = HeError::PrimeChain { what: "there are not enough auxiliary primes for this degree" };
    let fewest = chain(WIDEST).ok_or_else(|| too_few.clone())?.len();
    let narrowest = two_n.trailing_zeros() + 2;
    let primes = (narrowest..=WIDEST)
        .find_map(|bits| chain(bits).filter(|primes| primes.len() <= fewest))
        .ok_or(too_few)?;
    primes.into_iter().map(|q| NttTable::new(n, Modulus::new(q)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rlwe::RlweLiteral;

    #[test]
    fn presets_batch_and_their_auxiliary_primes_suffice() {
        let log2 =
            |tables: &[NttTable]| tables.iter().map(|t| (t.modulus().value() as f64).log2()).sum::<f64>();
        for degree in [4096, 8192, 16384, 32768] {
            let preset = Params::preset(degree).unwrap();
            assert_eq!(preset.t() % (2 * degree as u64), 1);
            assert_eq!(preset.t().ilog2(), PRESET_BITS - 1);
            // The other customary batching prime.
            for params in [Params::new(preset.rlwe(), 65537).unwrap(), preset] {
                assert!(super::super::BatchEncoder::new(&params).is_ok());
                let fresh = NoiseBound::public_key(&params);
                assert!(
                    fresh.multiply(&fresh).key_switch().decrypts(),
                    "{params:?} has no room for a product"
                );
                for limbs in [1, params.limbs()] {
                    let level = params.product_level(limbs);
                    let (own, more) = level.tables.split_at(limbs);
                    let bound = (degree as f64).log2() + (params.t() as f64).log2() + log2(own);
                    assert!(log2(more) > bound + 1.0, "{degree} {limbs}");
                    // One prime fewer would not do.
                    assert!(f64::from(WIDEST) * (more.len() - 1) as f64 <= bound + 2.0, "{degree} {limbs}");
                    assert!(own.iter().all(|q| more.iter().all(|p| p.modulus() != q.modulus())));
                }
            }
        }
        assert_eq!(Params::preset(2048).unwrap_err(), HeError::Degree { n: 2048 });
        assert_eq!(Params::preset(5000).unwrap_err(), HeError::Degree { n: 5000 });
    }

    #[test]
    fn what_is_refused() {
        let rlwe = RlweParams::preset(4096).unwrap();
        let q = rlwe.moduli(2)[1].value();
        assert_eq!(Params::new(&rlwe, 1).unwrap_err(), HeError::PlainModulus { t: 1 });
        assert_eq!(Params::new(&rlwe, 2 * q).unwrap_err(), HeError::PlainNotCoprime { t: 2 * q, q });
        assert!(matches!(Params::new(&rlwe, 1 << 60), Err(HeError::NoRoom { .. })));
        assert!(Params::new(&rlwe, 1 << 40).is_ok());
        let small = RlweLiteral::from_bits(64, &[20], &[20]).unwrap();
        assert!(Params::new(&RlweParams::insecure_for_tests(&small).unwrap(), 2).is_ok());
    }
}
