//! One prime to many: the residues of a centred residue. Exact, and with no multiplication where primes are similar.
//!
//! x in [0, q) stands for x, or for x - q where x > (q - 1)/2. Modulo p that is x + (x > (q - 1)/2) d with d = -q mod p,
//! below 2^62 and reduced once by Barrett's quotient. Where q < 2p the choice d = p - q, perhaps negative, already gives
//! a number in [0, p): a comparison and an addition. Primes are below 2^61; no branch depends on x.

use crate::modulus::{Modulus, reduce_once};

/// The map from residues modulo q to those of the same centred integers modulo each p; all of it is public.
#[derive(Debug, Clone)]
pub(super) struct Centred {
    q: u64,
    targets: Vec<Place>,
    #[cfg(target_arch = "x86_64")]
    vectors: Option<super::ifma::Ifma>,
}

/// One target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) p: u64,
    /// What turns x into x - q modulo p, as a wrapping word.
    pub(super) add: u64,
    /// floor(2^64 / p); 0 where the sum is in range as it is.
    pub(super) one: u64,
}

impl Centred {
    pub(super) fn new(from: &Modulus, to: &[Modulus]) -> Self {
        let q = from.value();
        let place = |p: &Modulus| {
            if q < 2 * p.value() {
                Place { p: p.value(), add: p.value().wrapping_sub(q), one: 0 }
            } else {
                Place { p: p.value(), add: p.neg(p.reduce(q)), one: u64::MAX / p.value() }
            }
        };
        Self {
            q,
            targets: to.iter().map(place).collect(),
            #[cfg(target_arch = "x86_64")]
            vectors: super::ifma::Ifma::detect(),
        }
    }

    /// This map without vector kernels.
    #[cfg(test)]
    pub(super) fn portable(self) -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            vectors: None,
            ..self
        }
    }

    /// The residues modulo target `j`. Both slices have one length.
    pub(super) fn apply(&self, j: usize, from: &[u64], to: &mut [u64]) {
        assert_eq!(from.len(), to.len(), "the limbs of a change of basis have different lengths");
        debug_assert!(from.iter().all(|&x| x < self.q), "a word is not a residue");
        let half = (self.q - 1) / 2;
        let place = &self.targets[j];
        #[cfg(target_arch = "x86_64")]
        let done = self.vectors.map_or(0, |ifma| ifma.centred(place, half, from, to));
        #[cfg(not(target_arch = "x86_64"))]
        let done = 0;
        for (&x, out) in from[done..].iter().zip(&mut to[done..]) {
            let above = (half.wrapping_sub(x) as i64 >> 63) as u64;
            let sum = x.wrapping_add(place.add & above);
            *out = if place.one == 0 { sum } else { place.reduce(sum) };
        }
    }
}

impl Place {
    /// Any word modulo p.
    #[inline(always)]
    fn reduce(&self, x: u64) -> u64 {
        let times = ((u128::from(x) * u128::from(self.one)) >> 64) as u64;
        reduce_once(x.wrapping_sub(times.wrapping_mul(self.p)), self.p)
    }
}
