//! One party's additive share of a tensor modulo M: value = server share + client share mod M.
//!
//! A share on its own is uniform and says nothing; the two together say everything. So a [`Share`] prints its
//! length only, is wiped when it is dropped, and can't be cloned by accident.

use std::fmt;

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// One party's share of a vector of ring elements (`u64` words below the modulus).
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Share {
    values: Vec<u64>,
}

impl Share {
    /// Wraps share words.
    pub fn new(values: Vec<u64>) -> Self {
        Self { values }
    }

    /// A uniform share over Z_2^bits, the usual first half of a fresh sharing (`bits` ≤ 63).
    pub fn random(bits: u32, count: usize, rng: &mut impl CryptoRng) -> Self {
        let mask = (1u64 << bits) - 1;
        Self { values: (0..count).map(|_| rng.next_u64() & mask).collect() }
    }

    /// The words.
    pub fn values(&self) -> &[u64] {
        &self.values
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether the share is of an empty tensor.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} elements, redacted)", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_shape_only() {
        assert_eq!(format!("{:?}", Share::new(vec![77, 78])), "Share(2 elements, redacted)");
    }

    #[test]
    fn random_shares_fill_the_ring() {
        use rand_core::SeedableRng;
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([3; 32]);
        let share = Share::random(3, 4000, &mut rng);
        let mut counts = [0u32; 8];
        share.values().iter().for_each(|&v| counts[v as usize] += 1);
        assert!(counts.iter().all(|&c| (400..600).contains(&c)), "{counts:?}");
    }
}
