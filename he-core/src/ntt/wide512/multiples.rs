//! Multiples by one public factor, for primes that 52-bit words cannot hold: 2^12 < q < 2^61.
//!
//! | loop | words in | words out |
//! |---|---|---|
//! | [`Multiples::scale`] | residues x | x w |
//! | [`Multiples::finish`], [`Multiples::finish_into`] | residues x, c | (x - c) w: the division that ends a change of basis |
//!
//! All do whole registers and return how many positions those are; the rest, fewer than eight, is the caller's.

use core::arch::x86_64::*;

use super::lanes::{Factor, LANES, Q, load, splat, store};
use crate::ntt::Kernel;

/// The knowledge that this CPU has what [`Kernel::Avx512`] asks for, and the factor w with its Shoup quotient.
#[derive(Clone, Copy)]
pub(crate) struct Multiples {
    q: u64,
    w: u64,
    quotient: u64,
}

impl Multiples {
    /// By w < q with `quotient` = floor(w 2^64 / q); none where the CPU has no such vectors or q is out of their range.
    pub(crate) fn new(q: u64, w: u64, quotient: u64) -> Option<Self> {
        let serves = q > 1 << 12 && q < 1 << 61 && Kernel::Avx512.detected();
        serves.then_some(Self { q, w, quotient })
    }

    /// x = x w.
    pub(crate) fn scale(self, x: &mut [u64]) -> usize {
        // SAFETY: `self` exists, so the CPU was asked.
        unsafe { self.scale_all(x) }
        x.len() - x.len() % LANES
    }

    /// x = (x - c) w; equal lengths.
    pub(crate) fn finish(self, x: &mut [u64], c: &[u64]) -> usize {
        assert_eq!(x.len(), c.len());
        // SAFETY: as in `scale`.
        unsafe { self.finish_all(x, c) }
        x.len() - x.len() % LANES
    }

    /// c = (x - c) w; equal lengths.
    pub(crate) fn finish_into(self, x: &[u64], c: &mut [u64]) -> usize {
        assert_eq!(x.len(), c.len());
        // SAFETY: as in `scale`.
        unsafe { self.finish_all_into(x, c) }
        x.len() - x.len() % LANES
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn scale_all(self, x: &mut [u64]) {
        let (q, w) = (Q::new(self.q), Factor::new(splat(self.w), splat(self.quotient)));
        for x in x.as_chunks_mut().0 {
            store(x, q.settle(w.mul(load(x), q)));
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn finish_all(self, x: &mut [u64], c: &[u64]) {
        let (q, w) = (Q::new(self.q), Factor::new(splat(self.w), splat(self.quotient)));
        for (x, c) in x.as_chunks_mut().0.iter_mut().zip(c.as_chunks().0) {
            store(x, step(load(x), load(c), w, q));
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn finish_all_into(self, x: &[u64], c: &mut [u64]) {
        let (q, w) = (Q::new(self.q), Factor::new(splat(self.w), splat(self.quotient)));
        for (x, c) in x.as_chunks().0.iter().zip(c.as_chunks_mut().0) {
            store(c, step(load(x), load(c), w, q));
        }
    }
}

/// (x - c) w of residues.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn step(x: __m512i, c: __m512i, w: Factor, q: Q) -> __m512i {
    q.settle(w.mul(_mm512_sub_epi64(_mm512_add_epi64(x, q.one), c), q))
}
