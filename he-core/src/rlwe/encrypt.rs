//! Encryptions of zero, to which a scheme adds its message.
//!
//! | kind | parts | sent |
//! |---|---|---|
//! | secret key | c1 = a uniform from a public seed, c0 = -a s + e | c0 and 32 bytes: half of a ciphertext |
//! | public key (b, a) = (-a s + e, a) | c0 = b u + e0, c1 = a u + e1 for a ternary u | both parts |
//!
//! (V. Lyubashevsky, C. Peikert, O. Regev, *On ideal lattices and learning with errors over rings*, EUROCRYPT 2010.)
//! The uniform polynomial of a public seed is read prime by prime from streams of their own, named by N and the prime, so
//! that limbs can be expanded apart. Seeds of noise are used up; should a caller give the same one to several functions all
//! the same, labels of their own keep keys and encryptions apart.

use rand_core::Rng;

use crate::ntt::NttTable;
use crate::poly::{Coeff, Ntt, Poly};
use crate::rlwe::{Ciphertext, RlweParams, SecretKey};
use crate::rns::RnsPoly;
use crate::seed::Seed;

/// The public bytes that a uniform polynomial comes from.
pub type PublicSeed = [u8; 32];

/// The uniform polynomial of a public seed, with an index for seeds of several.
pub(crate) fn public_uniform(tables: &[NttTable], seed: &PublicSeed, index: u64) -> RnsPoly<Ntt> {
    let root = Seed::from_bytes(*seed);
    let limb = |table: &NttTable| {
        let place = [table.n() as u64, table.modulus().value(), index];
        Poly::uniform(table, &mut root.fork("rlwe: public uniform", &place).stream())
    };
    RnsPoly::from_limbs(tables.iter().map(limb).collect())
}

/// Fresh public bytes.
pub(crate) fn public_seed(seed: &Seed) -> PublicSeed {
    let mut bytes = [0; 32];
    seed.fork("rlwe: public bytes", &[]).stream().fill_bytes(&mut bytes);
    bytes
}

/// A ciphertext of degree one whose second part is a seed.
#[derive(Debug)]
pub struct SeededCiphertext {
    part: RnsPoly<Ntt>,
    seed: PublicSeed,
}

impl SeededCiphertext {
    /// The ciphertext of a first part and the seed of the second.
    #[must_use]
    pub fn from_parts(part: RnsPoly<Ntt>, seed: PublicSeed) -> Self {
        Self { part, seed }
    }

    /// The first part c0.
    #[must_use]
    pub fn part(&self) -> &RnsPoly<Ntt> {
        &self.part
    }

    /// For a scheme to add its message.
    pub(crate) fn part_mut(&mut self) -> &mut RnsPoly<Ntt> {
        &mut self.part
    }

    /// The seed of the second part.
    #[must_use]
    pub fn seed(&self) -> &PublicSeed {
        &self.seed
    }

    /// The number of ciphertext primes that it lives modulo.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.part.limb_count()
    }

    /// The whole ciphertext.
    ///
    /// # Panics
    /// When the ciphertext is of other parameters.
    #[must_use]
    pub fn expand(self, params: &RlweParams) -> Ciphertext {
        let uniform = public_uniform(params.ciphertext_tables(self.part.limb_count()), &self.seed, 0);
        Ciphertext::from_parts(vec![self.part, uniform]).expect("two parts of the same limbs")
    }
}

impl SecretKey {
    /// Zero modulo the first `limbs` ciphertext primes, from a fresh seed, which is used up.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the seed of an encryption must not be used again")]
    pub fn encrypt_zero(&self, limbs: usize, seed: Seed) -> SeededCiphertext {
        let tables = self.params().ciphertext_tables(limbs);
        let public = public_seed(&seed);
        let uniform = public_uniform(tables, &public, 0);
        SeededCiphertext { part: self.hide(tables, &uniform, &seed, 0), seed: public }
    }

    /// As zero plus a polynomial modulo the first ciphertext primes, for one transform of both.
    #[expect(clippy::needless_pass_by_value, reason = "the seed of an encryption must not be used again")]
    pub(crate) fn encrypt_coefficients(&self, message: RnsPoly<Coeff>, seed: Seed) -> SeededCiphertext {
        let tables = self.params().ciphertext_tables(message.limb_count());
        let public = public_seed(&seed);
        let uniform = public_uniform(tables, &public, 0);
        SeededCiphertext { part: self.hide_with(tables, &uniform, &seed, 0, Some(message)), seed: public }
    }

    /// -a s + e, modulo the primes of `tables`, which are the first of all.
    pub(crate) fn hide(
        &self,
        tables: &[NttTable],
        a: &RnsPoly<Ntt>,
        seed: &Seed,
        index: u64,
    ) -> RnsPoly<Ntt> {
        self.hide_with(tables, a, seed, index, None)
    }

    fn hide_with(
        &self,
        tables: &[NttTable],
        a: &RnsPoly<Ntt>,
        seed: &Seed,
        index: u64,
        message: Option<RnsPoly<Coeff>>,
    ) -> RnsPoly<Ntt> {
        let mut rng = seed.fork("rlwe: error", &[index]).stream();
        let mut hidden = RnsPoly::error(tables, &mut rng);
        if let Some(message) = message {
            hidden += &message;
        }
        let mut hidden = hidden.into_ntt(tables);
        for (i, (limb, table)) in hidden.limbs_mut().iter_mut().zip(tables).enumerate() {
            *limb -= &a.limb(i).mul(table, self.values().limb(i));
        }
        hidden
    }
}

/// A public key: an encryption of zero modulo all ciphertext primes.
#[derive(Debug)]
pub struct PublicKey {
    params: RlweParams,
    seeded: SeededCiphertext,
    uniform: RnsPoly<Ntt>,
}

impl PublicKey {
    /// The public key of a secret, from a fresh seed, which is used up.
    #[must_use]
    pub fn new(secret: &SecretKey, seed: Seed) -> Self {
        let params = secret.params();
        Self::from_seeded(params, secret.encrypt_zero(params.limbs(), seed.fork("rlwe: public key", &[])))
    }

    /// The key of its wire form.
    ///
    /// # Panics
    /// Unless the seeded ciphertext lives modulo all ciphertext primes of the parameters.
    #[must_use]
    pub fn from_seeded(params: &RlweParams, seeded: SeededCiphertext) -> Self {
        assert_eq!(seeded.limbs(), params.limbs(), "a public key lives modulo all ciphertext primes");
        let uniform = public_uniform(params.ciphertext_tables(params.limbs()), &seeded.seed, 0);
        Self { params: params.clone(), seeded, uniform }
    }

    /// The wire form: b and the seed of a.
    #[must_use]
    pub fn seeded(&self) -> &SeededCiphertext {
        &self.seeded
    }

    /// The parameters.
    #[must_use]
    pub fn params(&self) -> &RlweParams {
        &self.params
    }

    /// Zero modulo the first `limbs` ciphertext primes, from a fresh seed, which is used up.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the seed of an encryption must not be used again")]
    pub fn encrypt_zero(&self, limbs: usize, seed: Seed) -> Ciphertext {
        self.encrypt_with(limbs, &seed, None)
    }

    /// As zero plus a polynomial modulo the first ciphertext primes, for one transform of both.
    #[expect(clippy::needless_pass_by_value, reason = "the seed of an encryption must not be used again")]
    pub(crate) fn encrypt_coefficients(&self, message: RnsPoly<Coeff>, seed: Seed) -> Ciphertext {
        self.encrypt_with(message.limb_count(), &seed, Some(message))
    }

    fn encrypt_with(&self, limbs: usize, seed: &Seed, mut message: Option<RnsPoly<Coeff>>) -> Ciphertext {
        let tables = self.params.ciphertext_tables(limbs);
        let u = RnsPoly::ternary(tables, &mut seed.fork("rlwe: u", &[]).stream()).into_ntt(tables);
        let mut part = |key: &RnsPoly<Ntt>, index| {
            let mut rng = seed.fork("rlwe: error of a part", &[index]).stream();
            let mut part = RnsPoly::error(tables, &mut rng);
            // The message belongs to the first part.
            if let Some(message) = message.take() {
                part += &message;
            }
            let mut part = part.into_ntt(tables);
            for (i, (limb, table)) in part.limbs_mut().iter_mut().zip(tables).enumerate() {
                limb.mul_acc(table, key.limb(i), u.limb(i));
            }
            part
        };
        Ciphertext::from_parts(vec![part(&self.seeded.part, 0), part(&self.uniform, 1)])
            .expect("two parts of the same limbs")
    }
}
