//! Seeds as a labelled tree: the only source of randomness that has a memory.
//!
//! A [`Seed`] is 256 bits. It has children, one for every (label, indices), and one stream. Children are
//!
//! SHA3-256("hushnet/he-core/seed/v1" | 0x01 | parent | len(label) | label | len(index) | index...)
//!
//! with lengths and indices as 64-bit little-endian words, so no two different (label, indices) hash the same bytes.
//! The stream is ChaCha20 keyed by the same hash with 0x00 in place of 0x01 and nothing after the parent. Same seed,
//! same transcript, in any order and on any number of threads; two places of the program that use different labels
//! never share a stream.
//!
//! A seed may be secret (drawn by [`Seed::from_os`]) or public (a label from which everybody derives the same public
//! polynomials). It is wiped on drop, prints nothing, and cannot be copied: functions that must not see the same
//! randomness twice take it by value. A [`Stream`] in use is wiped on drop as well.

mod stream;

use core::fmt;

pub use stream::Stream;

use sha3::{Digest, Sha3_256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::HeError;

const DOMAIN: &[u8] = b"hushnet/he-core/seed/v1";

/// 256 bits from which labelled children and one stream are derived. Neither `Clone` nor `Copy`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl Seed {
    /// A fresh secret seed from the operating system.
    ///
    /// # Errors
    /// [`HeError::Entropy`] when the operating system has none to give.
    pub fn from_os() -> Result<Self, HeError> {
        let mut seed = Self([0; 32]);
        getrandom::fill(&mut seed.0).map_err(|error| HeError::Entropy { reason: error.to_string() })?;
        Ok(seed)
    }

    /// The seed with these bytes: for public labels, recorded runs and tests.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The child with a label and indices; different (label, indices) give independent children.
    #[must_use]
    pub fn fork(&self, label: &'static str, index: &[u64]) -> Self {
        let mut hash = Sha3_256::new();
        hash.update(DOMAIN);
        hash.update([1]);
        hash.update(self.0);
        hash.update((label.len() as u64).to_le_bytes());
        hash.update(label.as_bytes());
        hash.update((index.len() as u64).to_le_bytes());
        for i in index {
            hash.update(i.to_le_bytes());
        }
        Self(hash.finalize().into())
    }

    /// The stream of this seed, from its beginning. Two calls give the same bytes.
    #[must_use]
    pub fn stream(&self) -> Stream {
        let mut hash = Sha3_256::new();
        hash.update(DOMAIN);
        hash.update([0]);
        hash.update(self.0);
        let mut key: [u8; 32] = hash.finalize().into();
        let stream = Stream::new(&key);
        key.zeroize();
        stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::Rng;

    fn first(seed: &Seed) -> u64 {
        seed.stream().next_u64()
    }

    #[test]
    fn the_tree_is_deterministic_and_its_branches_differ() {
        let root = Seed::from_bytes([7; 32]);
        assert_eq!(first(&root), first(&Seed::from_bytes([7; 32])));
        assert_eq!(first(&root.fork("a", &[1, 2])), first(&root.fork("a", &[1, 2])));
        let all = [
            first(&root),
            first(&root.fork("a", &[])),
            first(&root.fork("b", &[])),
            first(&root.fork("", &[])),
            first(&root.fork("a", &[0])),
            first(&root.fork("a", &[0, 0])),
            first(&root.fork("a", &[1])),
            first(&root.fork("a", &[1]).fork("a", &[1])),
            first(&Seed::from_bytes([8; 32])),
        ];
        for (i, x) in all.iter().enumerate() {
            assert!(!all[i + 1..].contains(x), "branch {i} is met twice");
        }
    }

    #[test]
    fn the_derivation_is_fixed() {
        // From tests/vectors/generate.py, which uses hashlib.
        let child = Seed::from_bytes([7; 32]).fork("label", &[1, 2]);
        assert_eq!(child.0[..8], crate::vectors::SEED_CHILD_HEAD);
    }

    #[test]
    fn the_operating_system_gives_different_seeds_and_they_print_nothing() {
        let (a, b) = (Seed::from_os().unwrap(), Seed::from_os().unwrap());
        assert_ne!(a.0, b.0);
        assert_eq!(format!("{a:?}"), "Seed(..)");
    }

    #[test]
    fn wiped() {
        let mut seed = Seed::from_bytes([9; 32]);
        seed.zeroize();
        assert_eq!(seed.0, [0; 32]);
    }
}
