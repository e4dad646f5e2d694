//! Joining: ciphertexts of which few places are read, moved into one before they are sent.
//!
//! A reply's second part has N coefficients however few places of the first are read. Where all places that are read are
//! congruent modulo 2^k, up to 2^k ciphertexts have room in one. The tree is that of H. Chen, W. Dai, M. Kim, Y. Song,
//! *Efficient homomorphic conversion between (ring) LWE ciphertexts*, ACNS 2021, algorithm 2, with whole ciphertexts in the
//! place of embedded LWE ciphertexts, as in the output packing of *Rhombus* (J. He, K. Yang, G. Tang, Z. Huang, L. Lin,
//! C. Wei, Y. Yan, W. Wang, CCS 2024). At depth j, with Y = X^(2^j) and the automorphism X to X^(N/2^j + 1), which sends Y to
//! -Y and fixes Y^2,
//!
//! > joined = (even + Y odd) + image of (even - Y odd)
//!
//! doubles what even has at multiples of Y^2, and moves what odd has there, doubled, to the places between. What is at other
//! places is rubbish; it is pushed about, never onto a place that counts, and never sent. Depths go from k - 1 to 0, leaf l ends
//! at places l modulo 2^k, and the factor 2^k is taken off beforehand: the weights are multiplied with 1/2^k modulo Q
//! ([`ShareRing::weights_to_join`]), exactly, message and noise alike.
//!
//! | thing | size |
//! |---|---|
//! | leaves | 1 to 2^k, k at most the levels of the keys; what counts at multiples of 2^k |
//! | key switches | leaves - 1 |
//! | key of a depth | digits x N numbers modulo Q, and a seed of 32 bytes |
//! | a digit | a signed number of w bits, \|d\| <= 2^(w-1), cut out of a residue modulo one prime of Q |
//!
//! **No special prime.** Digits are cut out of residues, the key for digit i of prime q_l encrypts 2^(w i) s' modulo q_l and 0
//! modulo the others, and nothing is divided by a prime of the keys' own. It is the primes of Q/Q' that take the noise
//! down in the end: Q has room for the noise of sums with weights, and that of key switches with digits of half a word is below it
//! (`room` has the bound). A special prime as wide as a digit would go beyond the cap of degree 4096 in `wide`, whose Q has some 93
//! of its 106 bits, and double the degree.
//!
//! **Security.** A key of depth j encrypts s(X^(N/2^j + 1)) under s: circular security is assumed, as wherever ciphertexts are
//! rotated. Joining hides nothing by itself; [`ShareRing::finish`] and [`ShareRing::mask`] come after it. Ciphertexts depend on the
//! server's weights: digits are cut without branches. Keys of a peer that are wrong give wrong results, and nothing else.

use rayon::prelude::*;
use zeroize::Zeroizing;

use super::ShareRing;
use crate::error::HeError;
use crate::galois::Automorphism;
use crate::modulus::Modulus;
use crate::poly::{Ntt, Poly};
use crate::rlwe::encrypt::{PublicSeed, public_seed, public_uniform};
use crate::rlwe::{Ciphertext, SecretKey};
use crate::rns::RnsPoly;
use crate::sample::ERROR_ETA;
use crate::seed::Seed;
use crate::wire::{pack_into, packed_len, unpack};

/// Bytes of a public seed.
const SEED: usize = 32;

/// What a ring was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Joins {
    /// Most levels.
    pub(super) levels: u32,
    /// Most bits of a digit.
    pub(super) width: u32,
}

impl Joins {
    /// How many digits a residue of so many bits has, and the bits of each.
    pub(super) fn cut(&self, bits: u32) -> (u32, u32) {
        let count = bits.div_ceil(self.width);
        (count, bits.div_ceil(count))
    }

    /// A bound on the sub-Gaussian parameter, squared, that all levels together add at a place that counts, in units of Z_Q.
    ///
    /// Digits are at most 2^(w-1), errors have parameter eta/2, N products meet in a coefficient for each digit; what a
    /// level adds is doubled by each one after it. Errors of different levels are those of different keys, and one place is
    /// reached from one node per level.
    pub(super) fn variance(&self, n: usize, moduli: &[Modulus]) -> f64 {
        let limb = |q: &Modulus| {
            let (count, width) = self.cut(q.bits());
            f64::from(count) * (2.0 * (f64::from(width) - 1.0)).exp2()
        };
        let switch = moduli.iter().map(limb).sum::<f64>() * n as f64 * f64::from(ERROR_ETA) / 2.0;
        switch * ((2.0 * f64::from(self.levels)).exp2() - 1.0) / 3.0
    }
}

/// The keys of a secret for joining. Public.
#[derive(Debug)]
pub struct JoinKeys {
    /// By depth.
    pub(super) levels: Vec<Level>,
}

/// The key of X to X^(N/2^j + 1).
#[derive(Debug)]
pub(super) struct Level {
    pub(super) automorphism: Automorphism,
    /// X^(2^j).
    pub(super) shift: RnsPoly<Ntt>,
    /// Per digit -a s + e + its power of two times the image of s, and a.
    pub(super) parts: Vec<RnsPoly<Ntt>>,
    pub(super) uniform: Vec<RnsPoly<Ntt>>,
    seed: PublicSeed,
}

/// A part of a residue: bits `at..at + width` of it, all bits from `at` where it is the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digit {
    pub(super) limb: usize,
    pub(super) at: u32,
    pub(super) width: u32,
    pub(super) last: bool,
}

impl JoinKeys {
    /// log2 of the most ciphertexts that they join.
    #[must_use]
    pub fn levels(&self) -> u32 {
        self.levels.len() as u32
    }

    /// The wire form: per level 32 bytes of seed, then per digit the numbers modulo the primes of Q, packed, prime by prime.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for level in &self.levels {
            bytes.extend_from_slice(&level.seed);
            for limb in level.parts.iter().flat_map(|part| part.limbs()) {
                pack_into(limb.values(), limb.modulus().bits(), &mut bytes);
            }
        }
        bytes
    }
}

impl ShareRing {
    /// log2 of the most ciphertexts that can be joined in this ring; 0 where it was not made for it.
    #[must_use]
    pub fn join_levels(&self) -> u32 {
        self.joins.map_or(0, |joins| joins.levels)
    }

    /// Keys for joining up to 2^`levels` ciphertexts; the seed is used up.
    ///
    /// # Panics
    /// When the secret is of another ring, or there are more levels than the ring was made for.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the seed of an encryption must not be used again")]
    pub fn join_keys(&self, secret: &SecretKey, levels: u32, seed: Seed) -> JoinKeys {
        assert!(secret.params() == &self.rlwe, "a secret key of another ring");
        self.assert_levels(levels);
        let tables = self.tables();
        let level = |depth: u32| {
            let automorphism = self.automorphism(depth);
            let image = secret.image(&automorphism);
            let seed = seed.fork("bfv: join keys of shares", &[u64::from(depth)]);
            let public = public_seed(&seed);
            let pair = |(index, digit): (usize, Digit)| {
                let uniform = public_uniform(tables, &public, index as u64);
                let mut part = secret.hide(tables, &uniform, &seed, index as u64);
                let modulus = tables[digit.limb].modulus();
                let mut shifted = image.limb(digit.limb).duplicate();
                shifted.scale(modulus.reduce(1 << digit.at));
                part.limbs_mut()[digit.limb] += &shifted;
                (part, uniform)
            };
            let (parts, uniform) = self.digits().into_par_iter().enumerate().map(pair).unzip();
            Level { automorphism, shift: self.shift(depth), parts, uniform, seed: public }
        };
        JoinKeys { levels: (0..levels).map(level).collect() }
    }

    /// Bytes of the wire form of keys with so many levels.
    #[must_use]
    pub fn join_keys_len(&self, levels: u32) -> usize {
        levels as usize * (SEED + self.digits().len() * self.poly_len())
    }

    /// Reads keys of so many levels of a peer.
    ///
    /// # Errors
    /// [`HeError::Length`], [`HeError::Padding`] or [`HeError::OutOfRange`], each for what its name says.
    ///
    /// # Panics
    /// When there are more levels than the ring was made for.
    pub fn read_join_keys(&self, levels: u32, bytes: &[u8]) -> Result<JoinKeys, HeError> {
        const WHAT: &str = "keys for joining";
        self.assert_levels(levels);
        let expected = self.join_keys_len(levels);
        if bytes.len() != expected {
            return Err(HeError::Length { what: WHAT, expected, found: bytes.len() });
        }
        let one = SEED + self.digits().len() * self.poly_len();
        let level = |(depth, bytes): (usize, &[u8])| {
            let (seed, body) =
                bytes.split_first_chunk::<SEED>().expect("a chunk is longer than the seed in front of it");
            let parts = body.chunks_exact(self.poly_len()).map(|part| self.read_poly(part));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            let uniform =
                (0..parts.len()).map(|index| public_uniform(self.tables(), seed, index as u64)).collect();
            let depth = depth as u32;
            let automorphism = self.automorphism(depth);
            Ok(Level { automorphism, shift: self.shift(depth), parts, uniform, seed: *seed })
        };
        let levels = bytes.chunks_exact(one).enumerate().map(level);
        Ok(JoinKeys { levels: levels.collect::<Result<_, _>>()? })
    }

    /// As [`ShareRing::weights`] for sums that 2^`levels` others will be joined with: times 1/2^`levels` modulo Q, and turned
    /// by X^-`residue`, so that places that are `residue` modulo 2^`levels` become multiples of it.
    ///
    /// # Panics
    /// When a place or the residue is not below N.
    #[must_use]
    pub fn weights_to_join(&self, terms: &[(usize, i64)], levels: u32, residue: usize) -> RnsPoly<Ntt> {
        let n = self.n();
        assert!(residue < n, "{residue} is no place of {n}");
        let turn = |&(place, weight): &(usize, i64)| match place.checked_sub(residue) {
            Some(place) => (place, weight),
            None => (place + n - residue, -weight),
        };
        let terms: Vec<(usize, i64)> = terms.iter().map(turn).collect();
        let mut weights = self.weights(&terms);
        let inverse = |q: &Modulus| q.inv(q.reduce(1 << levels));
        let factors: Vec<u64> = self.rlwe.moduli(self.rlwe.limbs()).iter().map(inverse).collect();
        weights.scale(&factors);
        weights
    }

    /// One ciphertext of up to 2^`levels` with weights for as many ([`ShareRing::weights_to_join`]): place i of ciphertext l, a
    /// multiple of 2^`levels`, is at place i + l.
    ///
    /// # Panics
    /// Unless there are 1 to 2^`levels` ciphertexts of all limbs, and keys of so many levels.
    #[must_use]
    pub fn join(&self, keys: &JoinKeys, levels: u32, leaves: Vec<Ciphertext>) -> Ciphertext {
        assert!(levels <= keys.levels(), "keys of {} levels, of {levels} needed", keys.levels());
        assert!((1..=1 << levels).contains(&leaves.len()), "{} ciphertexts to join", leaves.len());
        let mut nodes = leaves;
        for (depth, level) in keys.levels[..levels as usize].iter().enumerate().rev() {
            let odd = nodes.split_off(nodes.len().min(1 << depth));
            let mut pairs: Vec<_> = odd.into_iter().map(Some).collect();
            pairs.resize_with(nodes.len(), || None);
            if nodes.len() > 1 && rayon::current_num_threads() > 1 {
                nodes.par_iter_mut().zip(pairs).for_each(|(even, odd)| self.merge(level, even, odd));
            } else {
                nodes.iter_mut().zip(pairs).for_each(|(even, odd)| self.merge(level, even, odd));
            }
        }
        nodes.pop().expect("one node is left of at least one")
    }

    /// Joins two, or doubles one.
    fn merge(&self, level: &Level, even: &mut Ciphertext, odd: Option<Ciphertext>) {
        let Some(mut odd) = odd else {
            let copy = even.duplicate();
            *even += &copy;
            return;
        };
        for part in odd.parts_mut() {
            *part = part.mul(self.tables(), &level.shift);
        }
        let mut difference = even.duplicate();
        difference -= &odd;
        *even += &odd;
        *even += &self.image(level, &difference);
    }

    /// The image of a ciphertext, back under the same secret.
    fn image(&self, level: &Level, ciphertext: &Ciphertext) -> Ciphertext {
        let [mut c0, c1] = [0, 1].map(|part| level.automorphism.values(&ciphertext.parts()[part]));
        let c1 = c1.into_coeff(self.tables());
        let mut small = Zeroizing::new(vec![0; self.n()]);
        let digit = |digit: Digit| {
            let (modulus, from) = (self.tables()[digit.limb].modulus(), c1.limb(digit.limb).coefficients());
            let (lift, half) = (self.lift(digit), 1_i64 << (digit.width - 1));
            let mask = if digit.last { u64::MAX } else { (1 << digit.width) - 1 };
            for (small, &x) in small.iter_mut().zip(from) {
                let lifted = (modulus.center(x) + lift) as u64;
                *small = (lifted >> digit.at & mask) as i64 - half;
            }
            RnsPoly::from_small(self.tables(), &small).into_ntt(self.tables())
        };
        let digits: Vec<RnsPoly<Ntt>> = self.digits().into_iter().map(digit).collect();
        let sum = |key: &[RnsPoly<Ntt>]| {
            let terms: Vec<_> = digits.iter().zip(key).collect();
            RnsPoly::dot(self.tables(), &terms)
        };
        c0 += &sum(&level.parts);
        Ciphertext::from_parts(vec![c0, sum(&level.uniform)]).expect("two parts of one shape")
    }

    /// What makes all digits of a centred residue nonnegative: 2^(w-1) at each.
    pub(super) fn lift(&self, digit: Digit) -> i64 {
        let own = self.digits().into_iter().filter(|other| other.limb == digit.limb);
        own.map(|digit| 1_i64 << (digit.at + digit.width - 1)).sum()
    }

    /// All digits of all primes; none in a ring that was not made for joining.
    pub(super) fn digits(&self) -> Vec<Digit> {
        let Some(joins) = self.joins else { return Vec::new() };
        let limb = |(limb, q): (usize, &Modulus)| {
            let (count, width) = joins.cut(q.bits());
            (0..count).map(move |i| Digit { limb, at: i * width, width, last: i + 1 == count })
        };
        self.rlwe.moduli(self.rlwe.limbs()).iter().enumerate().flat_map(limb).collect()
    }

    fn automorphism(&self, depth: u32) -> Automorphism {
        Automorphism::new(self.n(), (self.n() >> depth) + 1)
    }

    fn shift(&self, depth: u32) -> RnsPoly<Ntt> {
        self.weights(&[(1 << depth, 1)])
    }

    /// Bytes of a polynomial modulo Q.
    fn poly_len(&self) -> usize {
        let limb = |q: &Modulus| packed_len(self.n(), q.bits()).expect("a limb has less than 2^23 bits");
        self.rlwe.moduli(self.rlwe.limbs()).iter().map(limb).sum()
    }

    /// Reads `poly_len` bytes.
    fn read_poly(&self, mut bytes: &[u8]) -> Result<RnsPoly<Ntt>, HeError> {
        let mut limbs = Vec::with_capacity(self.rlwe.limbs());
        for table in self.tables() {
            let bits = table.modulus().bits();
            let (own, rest) = bytes.split_at(packed_len(self.n(), bits).expect("as in `poly_len`"));
            bytes = rest;
            limbs.push(Poly::from_values(table, unpack(own, self.n(), bits)?)?);
        }
        Ok(RnsPoly::from_limbs(limbs))
    }

    fn assert_levels(&self, levels: u32) {
        let most = self.join_levels();
        assert!(levels <= most, "{levels} levels of joining in a ring made for {most}");
    }
}
