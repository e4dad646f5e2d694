//! Parameter sets of the two schemes: a degree, a chain of primes, and the proof that they were checked.
//!
//! | name | what | range |
//! |---|---|---|
//! | N | degree of the ring, a power of two | 1024..=32768 |
//! | q_0 … q_{L-1} | *ciphertext primes*: a ciphertext of l limbs lives modulo Q_l = q_0 … q_{l-1} | distinct, = 1 mod 2N, below 2^61 |
//! | P = p_0 … p_{k-1} | *special primes*: only keys of key switching live modulo Q P | as above; k = 0 means no key switching |
//! | digit | k neighbouring ciphertext primes, what key switching decomposes into | product at most 2 P |
//!
//! The cap on log2 of the modulus ([`crate::security`]) is on the whole product Q P, because keys are samples modulo it. A
//! [`RlweLiteral`] is a wish; an [`RlweParams`] exists only if the wish was checked.
//!
//! | preset | ciphertext primes (bits) | special primes (bits) | log2 Q P |
//! |---|---|---|---|
//! | 2048 | 50 | none | 50 |
//! | 4096 | 35 35 | 36 | 106 |
//! | 8192 | 42 43 43 43 | 43 | 214 |
//! | 16384 | 47 47 48 48 48 48 48 48 | 48 | 430 |
//! | 32768 | fifteen of 48 | 49 49 49 | 867 |

use std::sync::{Arc, OnceLock};

use crate::error::HeError;
use crate::modulus::Modulus;
use crate::ntt::NttTable;
use crate::prime::ntt_primes;
use crate::rns::Tables;
use crate::rns::convert::Converter;
use crate::rns::drop::ModDown;
use crate::security;

/// A wish for a parameter set, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RlweLiteral {
    /// The ring degree N.
    pub degree: usize,
    /// The primes of the ciphertext modulus; the last is dropped first.
    pub ciphertext_primes: Vec<u64>,
    /// The primes that only keys live modulo; their number is the number of primes in a digit of key switching.
    pub special_primes: Vec<u64>,
}

impl RlweLiteral {
    /// The largest distinct primes of these numbers of bits that suit the degree, largest first among equals.
    ///
    /// # Errors
    /// [`HeError::PrimeChain`] when there are not enough such primes, or a width is outside 2..=61.
    pub fn from_bits(degree: usize, ciphertext: &[u32], special: &[u32]) -> Result<Self, HeError> {
        let mut taken = Vec::new();
        for &bits in ciphertext.iter().chain(special) {
            taken.push(next_prime(bits, 2 * degree as u64, &taken)?);
        }
        let special_primes = taken.split_off(ciphertext.len());
        Ok(Self { degree, ciphertext_primes: taken, special_primes })
    }

    /// The preset of a degree in the table of the module essay.
    ///
    /// # Errors
    /// [`HeError::Degree`] for a degree without a preset.
    pub fn preset(degree: usize) -> Result<Self, HeError> {
        let (ciphertext, special): (&[u32], &[u32]) = match degree {
            2048 => (&[50], &[]),
            4096 => (&[35, 35], &[36]),
            8192 => (&[42, 43, 43, 43], &[43]),
            16384 => (&[47, 47, 48, 48, 48, 48, 48, 48], &[48]),
            32768 => (&[48; 15], &[49; 3]),
            _ => return Err(HeError::Degree { n: degree }),
        };
        Self::from_bits(degree, ciphertext, special)
    }
}

/// The largest prime of `bits` bits that is 1 mod `two_n` and not yet taken.
fn next_prime(bits: u32, two_n: u64, taken: &[u64]) -> Result<u64, HeError> {
    ntt_primes(bits, two_n)
        .take_while(|q| q >> (bits - 1) == 1)
        .find(|q| !taken.contains(q))
        .ok_or(HeError::PrimeChain { what: "there are not enough primes of a width for this degree" })
}

struct Inner {
    n: usize,
    /// Ciphertext primes, then special primes.
    tables: Vec<NttTable>,
    moduli: Vec<Modulus>,
    limbs: usize,
    levels: Vec<OnceLock<Level>>,
}

/// What key switching needs to know about ciphertexts of l limbs; made when first asked for.
pub(super) struct Level {
    /// Ciphertext primes of the level, then special primes.
    pub(super) tables: Vec<NttTable>,
    /// For each digit its first prime, and the way from its primes to all others of `tables`.
    pub(super) digits: Vec<Digit>,
    /// Division by the special primes.
    pub(super) down: ModDown,
}

/// Neighbouring ciphertext primes `start..end` of a level.
pub(super) struct Digit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) up: Converter,
}

/// A checked parameter set with its transform tables. Cloning shares them.
#[derive(Clone)]
pub struct RlweParams(Arc<Inner>);

impl core::fmt::Debug for RlweParams {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let primes: Vec<_> = self.0.moduli.iter().map(Modulus::value).collect();
        let (ciphertext, special) = primes.split_at(self.0.limbs);
        write!(f, "RlweParams(N = {}, q = {ciphertext:?}, p = {special:?})", self.0.n)
    }
}

impl PartialEq for RlweParams {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.n == other.0.n && self.0.limbs == other.0.limbs && self.0.moduli == other.0.moduli)
    }
}

impl Eq for RlweParams {}

impl Tables for RlweParams {
    /// Ciphertext primes, then special primes.
    fn tables(&self) -> &[NttTable] {
        &self.0.tables
    }
}

impl RlweParams {
    /// Checks a literal.
    ///
    /// # Errors
    /// [`HeError::Insecure`] above the cap for the degree or for a degree without one; [`HeError::PrimeChain`] without
    /// ciphertext primes, for equal primes, or for special primes whose product is less than half of a digit;
    /// [`HeError::ModulusRange`], [`HeError::NotPrime`] or [`HeError::NoRoot`] for a prime that does not serve.
    pub fn new(literal: &RlweLiteral) -> Result<Self, HeError> {
        let primes = [&literal.ciphertext_primes[..], &literal.special_primes].concat();
        security::check(literal.degree, product_bits(&primes))?;
        Self::of(literal)
    }

    /// The preset of a degree, 2048 to 32768: see the module essay.
    ///
    /// # Errors
    /// [`HeError::Degree`] for a degree without a preset.
    pub fn preset(degree: usize) -> Result<Self, HeError> {
        Self::new(&RlweLiteral::preset(degree)?)
    }

    /// As [`RlweParams::new`] without the cap: **no security whatsoever**, for tests of small rings.
    ///
    /// # Errors
    /// As [`RlweParams::new`] but for [`HeError::Insecure`].
    #[cfg(any(test, feature = "insecure_for_tests"))]
    pub fn insecure_for_tests(literal: &RlweLiteral) -> Result<Self, HeError> {
        Self::of(literal)
    }

    fn of(literal: &RlweLiteral) -> Result<Self, HeError> {
        let primes = [&literal.ciphertext_primes[..], &literal.special_primes].concat();
        let (n, limbs) = (literal.degree, literal.ciphertext_primes.len());
        if limbs == 0 {
            return Err(HeError::PrimeChain { what: "there is no ciphertext prime" });
        }
        if (1..primes.len()).any(|i| primes[..i].contains(&primes[i])) {
            return Err(HeError::PrimeChain { what: "a prime occurs twice" });
        }
        let log2 = |primes: &[u64]| primes.iter().map(|&q| (q as f64).log2()).sum::<f64>();
        let special = log2(&literal.special_primes);
        let digit = literal.special_primes.len().max(1);
        let widest = literal.ciphertext_primes.chunks(digit).map(log2).fold(0.0, f64::max);
        if !literal.special_primes.is_empty() && widest > special + 1.0 {
            return Err(HeError::PrimeChain { what: "the special primes are smaller than a digit" });
        }
        let moduli = primes.iter().map(|&q| Modulus::new(q)).collect::<Result<Vec<_>, _>>()?;
        let tables = moduli.iter().map(|&q| NttTable::new(n, q)).collect::<Result<Vec<_>, _>>()?;
        let levels = (0..limbs).map(|_| OnceLock::new()).collect();
        Ok(Self(Arc::new(Inner { n, tables, moduli, limbs, levels })))
    }

    /// The ring degree N.
    #[must_use]
    pub fn n(&self) -> usize {
        self.0.n
    }

    /// The number L of ciphertext primes: the limbs of a fresh ciphertext.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.0.limbs
    }

    /// The number of special primes, which is the number of primes in a digit of key switching; 0 without them.
    #[must_use]
    pub fn digit_len(&self) -> usize {
        self.0.tables.len() - self.0.limbs
    }

    /// The tables of the first `limbs` ciphertext primes.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    #[must_use]
    pub fn ciphertext_tables(&self, limbs: usize) -> &[NttTable] {
        self.assert_limbs(limbs);
        &self.0.tables[..limbs]
    }

    /// The tables of the special primes.
    #[must_use]
    pub fn special_tables(&self) -> &[NttTable] {
        &self.0.tables[self.0.limbs..]
    }

    /// The first `limbs` ciphertext primes.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    #[must_use]
    pub fn moduli(&self, limbs: usize) -> &[Modulus] {
        self.assert_limbs(limbs);
        &self.0.moduli[..limbs]
    }

    /// log2 of Q_l, the product of the first `limbs` ciphertext primes.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    #[must_use]
    pub fn log2_q(&self, limbs: usize) -> f64 {
        self.moduli(limbs).iter().map(|q| (q.value() as f64).log2()).sum()
    }

    /// log2 of P, the product of the special primes; 0 without them.
    #[must_use]
    pub fn log2_p(&self) -> f64 {
        self.0.moduli[self.0.limbs..].iter().map(|q| (q.value() as f64).log2()).sum()
    }

    pub(super) fn all_moduli(&self) -> &[Modulus] {
        &self.0.moduli
    }

    /// What key switching needs for ciphertexts of `limbs` limbs.
    ///
    /// # Panics
    /// Without special primes: keys that lead here cannot be made then.
    pub(super) fn level(&self, limbs: usize) -> &Level {
        self.assert_limbs(limbs);
        assert!(self.digit_len() > 0, "parameters without special primes switch no keys");
        self.0.levels[limbs - 1].get_or_init(|| self.make_level(limbs))
    }

    fn make_level(&self, limbs: usize) -> Level {
        let inner = &*self.0;
        let tables = [&inner.tables[..limbs], self.special_tables()].concat();
        let moduli = [&inner.moduli[..limbs], &inner.moduli[inner.limbs..]].concat();
        let digit = |start: usize| {
            let end = (start + self.digit_len()).min(limbs);
            let others = [&moduli[..start], &moduli[end..]].concat();
            Digit { start, end, up: Converter::new(&moduli[start..end], &others) }
        };
        Level {
            digits: (0..limbs).step_by(self.digit_len()).map(digit).collect(),
            down: ModDown::new(&moduli[limbs..], &moduli[..limbs]),
            tables,
        }
    }

    fn assert_limbs(&self, limbs: usize) {
        assert!((1..=self.0.limbs).contains(&limbs), "{limbs} of {} ciphertext primes", self.0.limbs);
    }
}

/// The bits of the product of public numbers, exactly.
fn product_bits(factors: &[u64]) -> u32 {
    let mut product = vec![1_u64];
    for &factor in factors {
        let mut carry = 0_u128;
        for word in &mut product {
            carry += u128::from(*word) * u128::from(factor);
            *word = carry as u64;
            carry >>= 64;
        }
        product.push(carry as u64);
    }
    let top = product.iter().rposition(|&word| word != 0).unwrap_or(0);
    64 * top as u32 + (64 - product[top].leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_below_their_caps_and_close() {
        for (n, bits) in [(2048, 50), (4096, 106), (8192, 214), (16384, 430), (32768, 867)] {
            let literal = RlweLiteral::preset(n).unwrap();
            let primes = [&literal.ciphertext_primes[..], &literal.special_primes].concat();
            assert_eq!(product_bits(&primes), bits, "{n}");
        }
        for n in [2048, 4096, 8192] {
            let params = RlweParams::preset(n).unwrap();
            assert_eq!(params.n(), n);
            assert_eq!(params.tables().len(), params.limbs() + params.digit_len());
        }
        assert_eq!(RlweParams::preset(1024).unwrap_err(), HeError::Degree { n: 1024 });
    }

    #[test]
    fn what_is_refused() {
        let from = |n, q: &[u32], p: &[u32]| RlweParams::new(&RlweLiteral::from_bits(n, q, p).unwrap());
        assert_eq!(
            from(4096, &[36, 35], &[36]).unwrap_err(),
            HeError::Insecure { n: 4096, log2_q: 107, cap: 106 }
        );
        // The special prime counts.
        assert!(matches!(from(4096, &[53, 53], &[30]), Err(HeError::Insecure { .. })));
        assert!(matches!(from(4096, &[50], &[40]), Err(HeError::PrimeChain { .. })));
        assert!(matches!(from(4096, &[], &[40]), Err(HeError::PrimeChain { .. })));
        assert!(matches!(from(512, &[20], &[]), Err(HeError::Insecure { cap: 0, .. })));
        let mut literal = RlweLiteral::preset(4096).unwrap();
        literal.special_primes = vec![literal.ciphertext_primes[0]];
        assert_eq!(
            RlweParams::new(&literal).unwrap_err(),
            HeError::PrimeChain { what: "a prime occurs twice" }
        );
        literal.special_primes = vec![(1 << 35) - 1];
        assert!(matches!(RlweParams::new(&literal), Err(HeError::NotPrime { .. })));
        // Too few primes of 16 bits are 1 mod 8192.
        assert!(RlweLiteral::from_bits(4096, &[16; 9], &[]).is_err());
        assert!(RlweLiteral::from_bits(4096, &[62], &[]).is_err());
    }

    #[test]
    fn products_are_counted_exactly() {
        assert_eq!(product_bits(&[]), 1);
        assert_eq!(product_bits(&[1 << 32, 1 << 31]), 64);
        assert_eq!(product_bits(&[1 << 32, 1 << 32]), 65);
        assert_eq!(product_bits(&[u64::MAX; 5]), 320);
    }
}
