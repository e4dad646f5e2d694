//! Key switching and level changes: relinearisation, rotations, modulus switching.
//!
//! | operation | plaintext | key |
//! |---|---|---|
//! | [`Params::relinearise`] | m | relinearisation key |
//! | [`Params::turn`], [`Params::turn_many`] | m(X^g): slots move, see [`Turn`] | Galois key for g |
//! | [`Params::switch_modulus`], [`Params::switched`] | m | none |
//!
//! [`Params::turn_many`] decomposes the ciphertext once for all turns (hoisting). A switch of the modulus divides by the
//! primes that go, with one rounding: noise shrinks with the modulus down to a floor of about sqrt(N/18), and everything
//! after it is cheaper. Everything here is public.

use crate::error::HeError;
use crate::galois;
use crate::rlwe::{self, GaloisKeys, RelinKey, SecretKey};
use crate::seed::Seed;

use super::cipher::Ciphertext;
use super::each;
use super::params::Params;

/// How slots move, seen as 2 rows of N/2 columns (see [`super::encode`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Turn {
    /// Both rows to the left by this many columns; a negative number turns to the right.
    Rotate(i64),
    /// The rows change places.
    SwapRows,
    /// Both rows to the left by this many columns, and the rows change places.
    RotateAndSwap(i64),
}

impl Turn {
    /// The exponent g of X to X^g in the ring of degree n.
    ///
    /// # Panics
    /// Unless n is a power of two of at least 4.
    #[must_use]
    pub fn exponent(self, n: usize) -> usize {
        match self {
            Self::Rotate(steps) => galois::rotation(n, steps),
            Self::SwapRows => galois::conjugation(n),
            Self::RotateAndSwap(steps) => 2 * n - galois::rotation(n, steps),
        }
    }
}

impl Params {
    /// The same plaintext in two parts; a ciphertext of two parts is left as it is.
    ///
    /// # Panics
    /// When the key or the ciphertext is of another ring.
    #[must_use]
    pub fn relinearise(&self, ciphertext: Ciphertext, key: &RelinKey) -> Ciphertext {
        Ciphertext::wrap(key.relinearise(self.rlwe(), ciphertext.into_rlwe()))
    }

    /// The keys for these turns; the seed is used up.
    ///
    /// # Panics
    /// When the secret is of another ring, or the ring has no special primes.
    #[must_use]
    pub fn galois_keys(&self, secret: &SecretKey, turns: &[Turn], seed: Seed) -> GaloisKeys {
        self.assert_ring(secret.params());
        let exponents: Vec<_> =
            turns.iter().map(|turn| turn.exponent(self.n())).filter(|&g| g != 1).collect();
        GaloisKeys::new(secret, &exponents, seed)
    }

    /// The ciphertext with its slots moved.
    ///
    /// # Errors
    /// [`HeError::NoGaloisKey`] without a key for the turn, [`HeError::Length`] for a ciphertext of three parts.
    ///
    /// # Panics
    /// When the keys or the ciphertext are of another ring.
    pub fn turn(
        &self,
        ciphertext: &Ciphertext,
        turn: Turn,
        keys: &GaloisKeys,
    ) -> Result<Ciphertext, HeError> {
        two_parts(ciphertext.as_rlwe())?;
        let exponent = turn.exponent(self.n());
        keys.apply(self.rlwe(), ciphertext.as_rlwe(), exponent).map(Ciphertext::wrap)
    }

    /// One ciphertext moved in several ways, for one decomposition.
    ///
    /// # Errors
    /// As [`Params::turn`], but that no turns at all are fine for three parts too.
    ///
    /// # Panics
    /// As [`Params::turn`].
    pub fn turn_many(
        &self,
        ciphertext: &Ciphertext,
        turns: &[Turn],
        keys: &GaloisKeys,
    ) -> Result<Vec<Ciphertext>, HeError> {
        let inner = ciphertext.as_rlwe();
        if turns.is_empty() {
            return Ok(Vec::new());
        }
        two_parts(inner)?;
        let exponents: Vec<_> = turns.iter().map(|turn| turn.exponent(self.n())).collect();
        if exponents.iter().all(|&exponent| exponent == 1) {
            // Nothing moves, and nothing is decomposed: a ring without special primes could not.
            return Ok(turns.iter().map(|_| ciphertext.duplicate()).collect());
        }
        // Before the work is begun; for rings without special primes there are no keys at all.
        keys.check_all(&exponents)?;
        let decomposed = self.rlwe().decompose(&inner.parts()[1]);
        let apply = |&exponent: &usize| {
            keys.apply_hoisted(self.rlwe(), inner, &decomposed, exponent).map(Ciphertext::wrap)
        };
        each(&exponents, apply).into_iter().collect()
    }

    /// The same plaintext at a lower level: parts are divided by the primes that go, with rounding.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= the limbs of the ciphertext, or when the ciphertext is of another ring.
    #[must_use]
    pub fn switch_modulus(&self, ciphertext: Ciphertext, limbs: usize) -> Ciphertext {
        let from = ciphertext.limbs();
        assert!((1..=from).contains(&limbs), "{limbs} of {from} limbs");
        if limbs == from {
            return ciphertext;
        }
        let (down, tables) = (self.dropping(from, limbs), self.rlwe().ciphertext_tables(from));
        let parts = ciphertext.into_rlwe().into_parts();
        let parts = parts.into_iter().map(|part| down.drop_last_ntt(part, tables)).collect();
        Ciphertext::wrap(rlwe::Ciphertext::from_parts(parts).expect("parts of one shape"))
    }

    /// As [`Params::switch_modulus`], into a new ciphertext: cheaper than switching a copy.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn switched(&self, ciphertext: &Ciphertext, limbs: usize) -> Ciphertext {
        let from = ciphertext.limbs();
        assert!((1..=from).contains(&limbs), "{limbs} of {from} limbs");
        if limbs == from {
            return ciphertext.duplicate();
        }
        let (down, tables) = (self.dropping(from, limbs), self.rlwe().ciphertext_tables(from));
        let parts = ciphertext.as_rlwe().parts().iter();
        let parts = parts.map(|part| down.dropped_last_ntt(part, tables)).collect();
        Ciphertext::wrap(rlwe::Ciphertext::from_parts(parts).expect("parts of one shape"))
    }
}

/// Refuses what wants to be relinearised before it is turned, in a way that does not depend on the turn.
fn two_parts(ciphertext: &rlwe::Ciphertext) -> Result<(), HeError> {
    match ciphertext.parts().len() {
        2 => Ok(()),
        found => Err(HeError::Length { what: "the parts of a ciphertext to rotate", expected: 2, found }),
    }
}
