//! The slow, obvious twins of the transform: definitions written down, quadratic time, no tables.
//!
//! They exist to be compared against, in this crate's tests and in those of crates above. Variable time: never call
//! them on secrets outside tests.

use super::reverse_bits;
use crate::modulus::Modulus;

/// a * b in Z_q\[X\]/(X^N + 1): the definition. Both have N residues in natural order, N >= 1 any number.
///
/// # Panics
/// When the lengths differ.
#[must_use]
pub fn negacyclic_product(modulus: &Modulus, a: &[u64], b: &[u64]) -> Vec<u64> {
    assert_eq!(a.len(), b.len(), "factors of different degrees");
    let n = a.len();
    let mut product = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            let term = modulus.mul(x, y);
            let place = (i + j) % n;
            product[place] =
                if i + j < n { modulus.add(product[place], term) } else { modulus.sub(product[place], term) };
        }
    }
    product
}

/// The values of the polynomial a at psi^(2*brv(i) + 1), i = 0..N, by Horner's rule.
#[must_use]
pub fn evaluate(modulus: &Modulus, psi: u64, a: &[u64]) -> Vec<u64> {
    let n = a.len();
    (0..n)
        .map(|i| {
            let x = modulus.pow(psi, 2 * reverse_bits(i, n) as u64 + 1);
            a.iter().rev().fold(0, |sum, &coefficient| modulus.add(modulus.mul(sum, x), coefficient))
        })
        .collect()
}
