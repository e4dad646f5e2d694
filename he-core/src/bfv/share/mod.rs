//! From a ciphertext to additive shares: the end of a linear layer that was computed on encrypted masks.
//!
//! The owner of the secret (the *client*) has sent encryptions of polynomials r; the other side (the *server*) has formed
//! y = sum w_j r_j with small integer weights. Both want shares c + m = y modulo t, and nothing else may be learnt. As in
//! Delphi and Cheetah (P. Mishra et al., USENIX Security 2020, section 4.1.1; Z. Huang, W. Lu, C. Hong, J. Ding, USENIX
//! Security 2022, section 3), but with a mask that is uniform modulo the *ciphertext* modulus, so that it hides message and
//! noise alike, with no flooding to be sized:
//!
//! | step | who | what | phase afterwards |
//! |---|---|---|---|
//! | [`ShareRing::encrypt`] | C | symmetric, half of it a seed | Q r/t + v |
//! | [`ShareRing::dot`] | S | sum of products with weights | Q y/t + sum w v |
//! | [`ShareRing::join`] | S | by choice: several sums of which few places are read, in one ciphertext (`join`) | the same there, and noise of key switches |
//! | [`ShareRing::finish`] | S | adds an encryption of zero under C's public key, drops primes | Q' y/t + v' |
//! | [`ShareRing::mask`] | S | adds R, uniform modulo Q', to the coefficients of c0 that are read; m = -round(R t/Q') | Q' y/t + v' + R |
//! | [`ShareRing::open`] | C | c = round(t phase/Q') | |
//!
//! **Sums are right to one unit.** c + m = y + round(R t/Q' + v' t/Q') - round(R t/Q') modulo t, and two numbers less than 1
//! apart round to integers at most 1 apart. |v'| < Q'/t holds but with probability 2^-64 per polynomial; the bound is in
//! `room`. The unit is one of Z_t whatever the factors of t are: all of them are rounded together.
//!
//! **What C sees**: c0 + R, uniform and independent of all else, at the places that are read, nothing at the others; and c1,
//! in which a u + e1 (u ternary, fresh) hides sum w_j a_j as an RLWE sample, for C too, which knows s but not u. The last
//! unit of the server's share depends on v', hence on the weights, with a chance of |v'| t/Q' per coefficient: who reveals
//! more than the sum has to hide a unit (the protocol does, by a dither).
//! **What S sees**: RLWE ciphertexts of r.
//!
//! t is a product of one or two primes; numbers modulo t are held by their residues, limb-major, N to a polynomial.
//!
//! | name | what | range |
//! |---|---|---|
//! | t | plaintext modulus | one or two primes below 2^61 |
//! | Q | ciphertext modulus | as small as the noise allows; below the cap of [`crate::security`] |
//! | Q' | what a reply is sent modulo: the first primes of Q | about 2^10 t |
//!
//! Messages, phases, R and both shares are secret; nothing takes a time that depends on them.

mod join;
#[cfg(test)]
mod join_tests;
mod room;
#[cfg(test)]
mod tests;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::HeError;
use crate::modulus::Modulus;
use crate::ntt::NttTable;
use crate::poly::{Coeff, Ntt, Poly};
use crate::rlwe::{Ciphertext, PublicKey, RlweParams, SecretKey, SeededCiphertext};
use crate::rns::RnsPoly;
use crate::rns::convert::Converter;
use crate::rns::drop::ModDown;
use crate::rns::scale::FactorRound;
use crate::sample;
use crate::seed::Seed;
use crate::wire::{pack_into, packed_len, unpack};

pub use join::JoinKeys;

/// Numbers modulo t or Q': one vector of residues per prime, all of one length. Wiped on drop.
pub type Residues = Zeroizing<Vec<Vec<u64>>>;

/// A ring of ciphertexts whose linear combinations become shares modulo t.
#[derive(Debug, Clone)]
pub struct ShareRing {
    rlwe: RlweParams,
    plain: Vec<Modulus>,
    /// Limbs of Q'.
    kept: usize,
    log2_norm: f64,
    joins: Option<join::Joins>,
    /// Q modulo the factors of t.
    q_mod_t: Vec<u64>,
    /// -1/t modulo the primes of Q.
    minus_t_inverse: Vec<u64>,
    centre: Converter,
    down: Option<ModDown>,
    round: FactorRound,
}

impl ShareRing {
    /// The smallest ring for shares modulo the product of `plain` of sums with weights whose absolute values add up to at most
    /// 2^log2_norm, over all products of one sum.
    ///
    /// # Errors
    /// [`HeError::NoRoom`] when no ring below the security caps has room; [`HeError::PrimeChain`] unless there are one or two
    /// distinct factors.
    pub fn new(plain: &[Modulus], log2_norm: f64) -> Result<Self, HeError> {
        room::choose(plain, log2_norm, 0)
    }

    /// As [`ShareRing::new`], with room for joining 2^`levels` ciphertexts into one ([`ShareRing::join`]).
    ///
    /// # Errors
    /// As [`ShareRing::new`].
    pub fn for_joining(plain: &[Modulus], log2_norm: f64, levels: u32) -> Result<Self, HeError> {
        room::choose(plain, log2_norm, levels)
    }

    /// A ring with these primes, of which replies keep the first `kept`.
    fn over(rlwe: RlweParams, kept: usize, plain: &[Modulus], log2_norm: f64) -> Result<Self, HeError> {
        let moduli = rlwe.moduli(rlwe.limbs());
        if plain.is_empty() || plain.len() > 2 || plain.iter().any(|t| moduli.contains(t)) {
            return Err(HeError::PrimeChain {
                what: "a plaintext modulus of shares has one or two primes of its own",
            });
        }
        let t_mod = |q: &Modulus| plain.iter().fold(1, |product, t| q.mul(product, q.reduce(t.value())));
        let q_mod = |t: &Modulus| moduli.iter().fold(1, |product, q| t.mul(product, t.reduce(q.value())));
        let ring = Self {
            plain: plain.to_vec(),
            kept,
            log2_norm,
            joins: None,
            q_mod_t: plain.iter().map(q_mod).collect(),
            minus_t_inverse: moduli.iter().map(|q| q.neg(q.inv(t_mod(q)))).collect(),
            centre: Converter::new(plain, moduli),
            down: (kept < moduli.len()).then(|| ModDown::new(&moduli[kept..], &moduli[..kept])),
            round: FactorRound::new(&moduli[..kept], plain),
            rlwe,
        };
        if ring.log2_failure() > super::noise::LOG2_FAILURE {
            return Err(ring.no_room());
        }
        Ok(ring)
    }

    /// The ring of keys and ciphertexts.
    #[must_use]
    pub fn rlwe(&self) -> &RlweParams {
        &self.rlwe
    }

    /// The degree N.
    #[must_use]
    pub fn n(&self) -> usize {
        self.rlwe.n()
    }

    /// The factors of t.
    #[must_use]
    pub fn plain(&self) -> &[Modulus] {
        &self.plain
    }

    /// The primes of Q'.
    #[must_use]
    pub fn reply_moduli(&self) -> &[Modulus] {
        self.rlwe.moduli(self.kept)
    }

    /// log2 of a bound on the probability that the shares of some coefficient of a polynomial add up to more than one unit
    /// beside y; at most -64.
    #[must_use]
    pub fn log2_failure(&self) -> f64 {
        room::log2_failure(self)
    }

    /// Encrypts a polynomial modulo t, N residues per factor; the seed is used up.
    ///
    /// # Panics
    /// Unless there are so many, or when the key is of another ring.
    #[must_use]
    pub fn encrypt(&self, secret: &SecretKey, message: &[Vec<u64>], seed: Seed) -> SeededCiphertext {
        assert!(secret.params() == &self.rlwe, "a secret key of another ring");
        secret.encrypt_coefficients(self.scaled(message), seed)
    }

    /// round(Q m/t): (Q m - rho)/t with rho the centred residue of Q m modulo t, and Q m vanishes modulo the primes of Q.
    fn scaled(&self, message: &[Vec<u64>]) -> RnsPoly<Coeff> {
        assert!(
            message.len() == self.plain.len() && message.iter().all(|limb| limb.len() == self.n()),
            "a message of {} limbs for shares modulo {} primes",
            message.len(),
            self.plain.len()
        );
        let rest: Residues = Zeroizing::new(
            message
                .iter()
                .zip(self.plain.iter().zip(&self.q_mod_t))
                .map(|(limb, (t, &factor))| {
                    let quotient = t.shoup(factor);
                    limb.iter().map(|&m| t.mul_shoup(m, factor, quotient)).collect()
                })
                .collect(),
        );
        let mut limbs: Vec<Poly<Coeff>> = self.tables().iter().map(Poly::zero).collect();
        let from: Vec<&[u64]> = rest.iter().map(Vec::as_slice).collect();
        let mut to: Vec<&mut [u64]> = limbs.iter_mut().map(Poly::words_mut).collect();
        self.centre.convert(&from, &mut to);
        let mut poly = RnsPoly::from_limbs(limbs);
        poly.scale(&self.minus_t_inverse);
        poly
    }

    /// A polynomial of weights, as (place, weight), in the form for products.
    ///
    /// # Panics
    /// When a place is not below N.
    #[must_use]
    pub fn weights(&self, terms: &[(usize, i64)]) -> RnsPoly<Ntt> {
        RnsPoly::from_signed(self.tables(), terms).into_ntt(self.tables())
    }

    /// The sum of products of weights with ciphertexts of all limbs; zero without terms.
    ///
    /// # Panics
    /// When anything is of another ring.
    #[must_use]
    pub fn dot(&self, terms: &[(&RnsPoly<Ntt>, &Ciphertext)]) -> Ciphertext {
        let part = |part: usize| {
            let terms: Vec<_> = terms.iter().map(|&(w, c)| (w, &c.parts()[part])).collect();
            RnsPoly::dot(self.tables(), &terms)
        };
        Ciphertext::from_parts(vec![part(0), part(1)]).expect("two parts of one shape")
    }

    /// Re-randomises with the client's public key and switches to Q': the coefficients of c0, and c1. The seed is used up.
    ///
    /// # Panics
    /// When anything is of another ring, or the ciphertext has not all limbs.
    #[must_use]
    pub fn finish(
        &self,
        mut sum: Ciphertext,
        public: &PublicKey,
        seed: Seed,
    ) -> (RnsPoly<Coeff>, RnsPoly<Ntt>) {
        assert!(public.params() == &self.rlwe, "a public key of another ring");
        sum += &public.encrypt_zero(self.rlwe.limbs(), seed.fork("bfv: fresh zero of shares", &[]));
        let mut parts = sum.into_parts().into_iter().map(|part| match &self.down {
            Some(down) => down.drop_last_ntt(part, self.tables()),
            None => part,
        });
        let (Some(c0), Some(c1)) = (parts.next(), parts.next()) else {
            unreachable!("a ciphertext has two parts")
        };
        (c0.into_coeff(self.kept_tables()), c1)
    }

    /// Adds R, uniform modulo Q', to coefficients of c0 (per prime of Q' the same places), and gives the server's share
    /// -round(R t/Q') modulo t of each.
    ///
    /// # Panics
    /// Unless there is one vector per prime of Q', all of one length.
    pub fn mask<R: CryptoRng + ?Sized>(&self, values: &mut [Vec<u64>], rng: &mut R) -> Residues {
        let length = values.first().map_or(0, Vec::len);
        let mut mask = self.residues(self.kept, length);
        for ((mask, values), q) in mask.iter_mut().zip(values).zip(self.reply_moduli()) {
            sample::uniform(rng, q, mask);
            values.iter_mut().zip(mask.iter()).for_each(|(value, &mask)| *value = q.add(*value, mask));
        }
        let mut share = self.open(&mask);
        for (share, t) in share.iter_mut().zip(&self.plain) {
            share.iter_mut().for_each(|value| *value = t.neg(*value));
        }
        share
    }

    /// Client: c1 s modulo Q', which a coefficient of c0 is to be added to.
    ///
    /// # Panics
    /// When anything is of another ring.
    #[must_use]
    pub fn key_part(&self, secret: &SecretKey, c1: &RnsPoly<Ntt>) -> RnsPoly<Coeff> {
        assert!(secret.params() == &self.rlwe, "a secret key of another ring");
        let tables = self.kept_tables();
        let limb = |(i, table): (usize, &NttTable)| c1.limb(i).mul(table, secret.values().limb(i));
        RnsPoly::from_limbs(tables.iter().enumerate().map(limb).collect()).into_coeff(tables)
    }

    /// Client: round(t x/Q') modulo t of phases x, its share.
    ///
    /// # Panics
    /// Unless there is one vector per prime of Q', all of one length.
    #[must_use]
    pub fn open(&self, phases: &[Vec<u64>]) -> Residues {
        let mut out = self.residues(self.plain.len(), phases.first().map_or(0, Vec::len));
        let from: Vec<&[u64]> = phases.iter().map(Vec::as_slice).collect();
        let mut to: Vec<&mut [u64]> = out.iter_mut().map(Vec::as_mut_slice).collect();
        self.round.apply(&from, &mut to);
        out
    }

    /// Bytes of `count` numbers modulo Q'.
    #[must_use]
    pub fn packed_len(&self, count: usize) -> usize {
        let limb = |q: &Modulus| packed_len(count, q.bits()).expect("a message of less than 2^60 bits");
        self.reply_moduli().iter().map(limb).sum()
    }

    /// Appends numbers modulo Q', limb by limb.
    pub fn pack<'a>(&self, limbs: impl IntoIterator<Item = &'a [u64]>, bytes: &mut Vec<u8>) {
        limbs.into_iter().zip(self.reply_moduli()).for_each(|(limb, q)| pack_into(limb, q.bits(), bytes));
    }

    /// Reads `count` numbers modulo Q' of a peer.
    ///
    /// # Errors
    /// [`HeError::Length`], [`HeError::Padding`] or [`HeError::OutOfRange`], each for what its name says.
    pub fn unpack(&self, mut bytes: &[u8], count: usize) -> Result<Vec<Vec<u64>>, HeError> {
        const WHAT: &str = "numbers of a reply";
        let length = self.packed_len(count);
        if bytes.len() != length {
            return Err(HeError::Length { what: WHAT, expected: length, found: bytes.len() });
        }
        let mut limbs = Vec::with_capacity(self.kept);
        for q in self.reply_moduli() {
            let own = packed_len(count, q.bits()).expect("checked with the whole length");
            let (own, rest) = bytes.split_at(own);
            bytes = rest;
            let words = unpack(own, count, q.bits())?;
            if let Some(index) = words.iter().position(|&word| word >= q.value()) {
                return Err(HeError::OutOfRange { what: WHAT, index, bound: q.value() });
            }
            limbs.push(words);
        }
        Ok(limbs)
    }

    /// Reads a c1 of a peer: [`ShareRing::packed_len`] of N.
    ///
    /// # Errors
    /// As [`ShareRing::unpack`].
    pub fn read_part(&self, bytes: &[u8]) -> Result<RnsPoly<Ntt>, HeError> {
        RnsPoly::from_values(self.kept_tables(), self.unpack(bytes, self.n())?)
    }

    fn tables(&self) -> &[NttTable] {
        self.rlwe.ciphertext_tables(self.rlwe.limbs())
    }

    fn kept_tables(&self) -> &[NttTable] {
        self.rlwe.ciphertext_tables(self.kept)
    }

    fn residues(&self, limbs: usize, length: usize) -> Residues {
        Zeroizing::new(vec![vec![0; length]; limbs])
    }
}
