//! Chains of primes for CKKS: inner primes near the scale, in an order that keeps scales near it.
//!
//! A product of two messages at scale S has scale S^2 / q once it is rescaled by q. With S = Delta (1 + x) and q =
//! Delta (1 + y) that is about Delta (1 + 2x - y): every level doubles the drift and takes off that of its prime. So
//! the primes are taken from those nearest to Delta on both sides, and each, in the order of dropping, is the one
//! that undoes the drift best. Scales stay within 2^-16 of Delta down to the last level; what they are exactly is
//! tracked anyhow.
//!
//! | field | what | range |
//! |---|---|---|
//! | degree | N | a power of two that the security caps know |
//! | first_bits | the first prime, which stays to the end: scale, room for values, a sign | up to 61, above scale_bits |
//! | scale_bits | log2 Delta, and of the inner primes | 20 to 59 |
//! | depth | number of inner primes | |
//! | special_bits, special_primes | primes of key switching; a digit is as many ciphertext primes | see [`crate::rlwe::params`] |
//!
//! Primes below 2^50 are the fast ones.

use crate::error::HeError;
use crate::prime::is_prime;
use crate::rlwe::RlweLiteral;

/// Primes more than needed, to choose from.
const SPARE: usize = 8;

/// A wish for CKKS parameters, not yet checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal {
    /// The ring degree N.
    pub degree: usize,
    /// Bits of the first prime.
    pub first_bits: u32,
    /// log2 of the scale.
    pub scale_bits: u32,
    /// The number of primes near the scale: how often a ciphertext can be rescaled.
    pub depth: usize,
    /// Bits of the special primes.
    pub special_bits: u32,
    /// The number of special primes.
    pub special_primes: usize,
}

impl Literal {
    /// The scale Delta.
    #[must_use]
    pub fn scale(&self) -> f64 {
        f64::from(self.scale_bits).exp2()
    }

    /// The primes, in the order of the module essay, the last dropped first.
    ///
    /// # Errors
    /// [`HeError::Bits`] for a scale outside 2^20 to 2^59, [`HeError::PrimeChain`] when there are not enough primes.
    pub fn chain(&self) -> Result<RlweLiteral, HeError> {
        let (bits, least, most) = (self.scale_bits, 20, 59);
        if !(least..=most).contains(&bits) {
            return Err(HeError::Bits { what: "the scale", bits, least, most });
        }
        let special = vec![self.special_bits; self.special_primes];
        let mut literal = RlweLiteral::from_bits(self.degree, &[self.first_bits], &special)?;
        let taken = [&literal.ciphertext_primes[..], &literal.special_primes].concat();
        let mut near = primes_near(bits, 2 * self.degree as u64, self.depth + SPARE, &taken)?;
        let size = |q: u64| q as f64 / self.scale();
        let (mut drift, mut inner) = (1.0, Vec::with_capacity(self.depth));
        for _ in 0..self.depth {
            let miss = |q: u64| (drift * drift - size(q)).abs();
            let best = (0..near.len())
                .min_by(|&a, &b| miss(near[a]).total_cmp(&miss(near[b])))
                .expect("there are spare primes");
            drift = drift * drift / size(near[best]);
            inner.push(near.remove(best));
        }
        literal.ciphertext_primes.extend(inner.into_iter().rev());
        Ok(literal)
    }
}

/// Primes that are 1 mod `two_n`, nearest to 2^bits, one above and one below in turn, within a factor of two.
fn primes_near(bits: u32, two_n: u64, count: usize, taken: &[u64]) -> Result<Vec<u64>, HeError> {
    let missing = HeError::PrimeChain { what: "there are not enough primes near the scale for this degree" };
    if two_n == 0 || two_n >= 1 << (bits - 1) {
        return Err(missing);
    }
    let centre = 1_u64 << bits;
    let good = |q: &u64| is_prime(*q) && !taken.contains(q);
    let above = (0..).map(|i| centre + 1 + i * two_n).take_while(|&q| q < 2 * centre).filter(good);
    let below = (1..).map(|i| centre + 1 - i * two_n).take_while(|&q| q > centre / 2).filter(good);
    let primes: Vec<u64> = above.zip(below).flat_map(|(a, b)| [a, b]).take(count).collect();
    if primes.len() == count { Ok(primes) } else { Err(missing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_stay_near_their_start() {
        for (degree, scale_bits, depth) in [(1024, 25, 6), (8192, 40, 10), (32768, 40, 17), (16384, 55, 5)] {
            let literal =
                Literal { degree, first_bits: 60, scale_bits, depth, special_bits: 60, special_primes: 1 };
            let chain = literal.chain().unwrap();
            let inner = &chain.ciphertext_primes[1..];
            assert_eq!((chain.ciphertext_primes.len(), chain.special_primes.len()), (depth + 1, 1));
            let mut scale = literal.scale();
            for &q in inner.iter().rev() {
                assert!(is_prime(q) && q % (2 * degree as u64) == 1);
                scale = scale * scale / q as f64;
                // Every (bits ln 2 / 2)-th number that is 1 mod 2N is prime or so, and the nearest few are chosen from.
                let spacing = 2.0 * degree as f64 * f64::from(scale_bits) / literal.scale();
                assert!((scale / literal.scale() - 1.0).abs() < 4.0 * spacing, "{scale} after {q}");
            }
            let mut sorted = inner.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), depth);
        }
    }

    #[test]
    fn what_is_refused() {
        let good = Literal {
            degree: 1024,
            first_bits: 50,
            scale_bits: 40,
            depth: 2,
            special_bits: 50,
            special_primes: 1,
        };
        assert!(good.chain().is_ok());
        for scale_bits in [0, 19, 60, 200] {
            assert!(matches!(
                Literal { scale_bits, ..good }.chain(),
                Err(HeError::Bits { least: 20, most: 59, .. })
            ));
        }
        assert!(matches!(
            Literal { depth: 1 << 10, scale_bits: 20, ..good }.chain(),
            Err(HeError::PrimeChain { .. })
        ));
        assert!(matches!(Literal { first_bits: 62, ..good }.chain(), Err(HeError::PrimeChain { .. })));
    }
}
