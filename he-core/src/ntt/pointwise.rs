//! Products of values: what a polynomial product is after the transform.
//!
//! [`NttTable::dot`] is the work horse of the hint: a sum of many products with one reduction at the end (IFMA: low
//! and high 52-bit halves summed apart; portable: 128-bit sums). All slices have N residues in [0, q).

use super::{NttTable, Twiddles};
use crate::pool::Words;

#[cfg(target_arch = "x86_64")]
use super::{avx2, ifma, wide256, wide512};

/// Products that a 128-bit sum surely holds: 63 * (2^61)^2 < 2^128.
const PORTABLE_TERMS: usize = 63;

impl NttTable {
    /// out = a * b, pointwise.
    ///
    /// # Panics
    /// When a slice does not have N words.
    pub fn mul(&self, a: &[u64], b: &[u64], out: &mut [u64]) {
        match &self.inner.twiddles {
            #[cfg(target_arch = "x86_64")]
            Twiddles::Ifma(tables) => {
                self.check(a);
                self.check(b);
                ifma::products(a, b, out, tables);
            }
            _ => self.dot(&[(a, b)], out),
        }
    }

    /// x = x * y, pointwise.
    ///
    /// # Panics
    /// When a slice does not have N words.
    pub fn mul_assign(&self, x: &mut [u64], y: &[u64]) {
        match &self.inner.twiddles {
            #[cfg(target_arch = "x86_64")]
            Twiddles::Ifma(tables) => {
                self.check(x);
                self.check(y);
                ifma::multiply(x, y, tables);
            }
            _ => {
                let mut product = Words::zeros(self.n());
                self.accumulate(&[(x, y)], &mut product);
                x.copy_from_slice(&product);
            }
        }
    }

    /// acc = acc + a * b, pointwise and reduced.
    ///
    /// # Panics
    /// When a slice does not have N words.
    pub fn mul_acc(&self, acc: &mut [u64], a: &[u64], b: &[u64]) {
        self.accumulate(&[(a, b)], acc);
    }

    /// out = the sum over all terms of left * right, pointwise; zero without terms.
    ///
    /// # Panics
    /// When a slice does not have N words.
    pub fn dot(&self, terms: &[(&[u64], &[u64])], out: &mut [u64]) {
        out.fill(0);
        self.accumulate(terms, out);
    }

    /// As [`NttTable::dot`], added to what is in `acc`.
    pub(crate) fn accumulate(&self, terms: &[(&[u64], &[u64])], acc: &mut [u64]) {
        let n = self.n();
        assert_eq!(acc.len(), n, "the output of a pointwise product has another degree");
        for (a, b) in terms {
            assert!(a.len() == n && b.len() == n, "a factor of a pointwise product has another degree");
            debug_assert!(
                a.iter().chain(*b).all(|&w| w < self.modulus().value()),
                "a factor is not a residue"
            );
        }
        match &self.inner.twiddles {
            Twiddles::Portable(_) => self.accumulate_portable(terms, acc),
            #[cfg(target_arch = "x86_64")]
            Twiddles::Avx2(_) => avx2::accumulate(terms, acc, self.modulus().value()),
            #[cfg(target_arch = "x86_64")]
            Twiddles::Ifma(tables) => {
                for group in terms.chunks(ifma::MOST_TERMS) {
                    ifma::accumulate(group, acc, tables);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Twiddles::Wide256(..) if terms.len() < wide256::LEAST_TERMS => {
                self.accumulate_portable(terms, acc)
            }
            #[cfg(target_arch = "x86_64")]
            Twiddles::Wide256(proof, _) => {
                for group in terms.chunks(wide256::MOST_TERMS) {
                    proof.accumulate(group, acc, self.modulus());
                }
            }
            #[cfg(target_arch = "x86_64")]
            Twiddles::Wide512(_) => {
                for group in terms.chunks(wide512::MOST_TERMS) {
                    wide512::accumulate(group, acc, self.modulus());
                }
            }
        }
    }

    fn accumulate_portable(&self, terms: &[(&[u64], &[u64])], acc: &mut [u64]) {
        for group in terms.chunks(PORTABLE_TERMS) {
            for (i, out) in acc.iter_mut().enumerate() {
                let sum: u128 = group.iter().map(|(a, b)| u128::from(a[i]) * u128::from(b[i])).sum();
                *out = self.modulus().reduce_u128(sum + u128::from(*out));
            }
        }
    }
}
