//! The secret key and what only it can do: read the phase of a ciphertext.
//!
//! The secret s is uniform ternary with N coefficients. It is held by its values modulo every prime of the parameters,
//! wiped on drop, never printed and never copied.

use core::fmt;

use crate::galois::Automorphism;
use crate::poly::{Ntt, Poly};
use crate::rlwe::{Ciphertext, RlweParams};
use crate::rns::RnsPoly;
use crate::seed::Seed;

/// A uniform ternary secret.
pub struct SecretKey {
    params: RlweParams,
    /// Modulo all ciphertext and special primes.
    values: RnsPoly<Ntt>,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// A secret from a fresh seed, which is used up.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a secret's seed must not be used again")]
    pub fn generate(params: &RlweParams, seed: Seed) -> Self {
        let mut rng = seed.fork("rlwe: secret", &[]).stream();
        let values = RnsPoly::ternary(params, &mut rng).into_ntt(params);
        Self { params: params.clone(), values }
    }

    /// The parameters.
    #[must_use]
    pub fn params(&self) -> &RlweParams {
        &self.params
    }

    pub(super) fn from_values(params: &RlweParams, values: RnsPoly<Ntt>) -> Self {
        Self { params: params.clone(), values }
    }

    /// The values modulo ciphertext primes, then special primes.
    pub(crate) fn values(&self) -> &RnsPoly<Ntt> {
        &self.values
    }

    /// s^2 modulo all primes.
    pub(crate) fn square(&self) -> RnsPoly<Ntt> {
        self.values.mul(&self.params, &self.values)
    }

    /// s(X^g) modulo all primes.
    pub(crate) fn image(&self, automorphism: &Automorphism) -> RnsPoly<Ntt> {
        automorphism.values(&self.values)
    }

    /// The phase c0 + c1 s (+ c2 s^2) of a ciphertext: message form plus error. **Secret**: it must go nowhere unrounded.
    ///
    /// # Panics
    /// When the ciphertext is of other parameters.
    #[must_use]
    pub fn phase(&self, ciphertext: &Ciphertext) -> RnsPoly<Ntt> {
        let tables = self.params.ciphertext_tables(ciphertext.limbs());
        // By Horner's rule: (c2 s + c1) s + c0.
        let parts = ciphertext.parts();
        let limb = |(i, table)| {
            let secret = self.values.limb(i);
            let mut rest = parts.iter().rev().skip(1).map(|part| part.limb(i));
            let mut sum = parts[parts.len() - 1].limb(i).mul(table, secret);
            if let Some(next) = rest.next() {
                sum += next;
            }
            for next in rest {
                sum = sum.mul(table, secret);
                sum += next;
            }
            sum
        };
        RnsPoly::from_limbs(tables.iter().enumerate().map(limb).collect::<Vec<Poly<Ntt>>>())
    }
}
