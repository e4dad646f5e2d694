//! How to evaluate a polynomial: baby powers, giant powers, products.
//!
//! After M. S. Paterson and L. J. Stockmeyer, *On the number of nonscalar multiplications necessary to evaluate
//! polynomials*, SIAM J. Comput. 2, 1973, in the recursive form with powers of two, at the least depth (J.-P.
//! Bossuat, C. Mouchet, J. Troncoso-Pastoriza, J.-P. Hubaux, *Efficient bootstrapping for approximate homomorphic
//! encryption with non-sparse keys*, EUROCRYPT 2021, section 5.1).
//!
//! A polynomial p of degree above K = 2^k is q X^K + r; in the Chebyshev basis q_0 = c_K, q_j = 2 c_(K+j), and
//! r_(K-j) loses c_(K+j). Splitting r again flattens p to a [`Node`]: sum of c_i X^i + sum of X^K q_K, with nodes
//! q_K.
//!
//! **Depth.** Let m = ceil(log2(d + 1)) and count primes from the input. X^i is ready after ceil(log2 i) of them. The
//! root's terms all meet after m - 1 primes and are rescaled once: m. A node q_K meets one prime earlier than its
//! parent, because it is rescaled before it is multiplied with X^K. So the terms of a node that is j products deep
//! must be powers with ceil(log2 i) <= m - 1 - j: that is when a remainder of degree below 2^l may stay as it is, and
//! otherwise it is split further. l, the bits of the baby powers, is chosen for the fewest products.

use std::collections::{BTreeMap, BTreeSet};

use super::{Basis, Polynomial, ceil_log2};

/// sum of terms c_i X^i plus sum of products X^K q_K.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Node {
    /// (i, c_i), each i once; i = 0 is the constant.
    pub(super) terms: BTreeMap<usize, f64>,
    /// (K, q_K), every q_K of degree at least 1.
    pub(super) products: Vec<(usize, Node)>,
}

/// A polynomial and the order of its evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct PolynomialPlan {
    pub(super) polynomial: Polynomial,
    pub(super) root: Node,
    /// All powers to be computed besides X itself, in an order in which each finds its factors ready.
    pub(super) powers: Vec<usize>,
}

impl PolynomialPlan {
    /// The plan with the fewest products of ciphertexts.
    #[must_use]
    pub fn new(polynomial: Polynomial) -> Self {
        let depth = ceil_log2(polynomial.degree() + 1).max(1);
        let plan = |bits: usize| {
            let root = build(&polynomial, polynomial.coefficients().to_vec(), bits, depth, 0);
            let mut powers = BTreeSet::new();
            root.needs(&mut powers);
            Self { root, powers: closure(powers), polynomial: polynomial.clone() }
        };
        (1..=depth).map(plan).min_by_key(Self::products).expect("there is at least one plan")
    }

    /// The polynomial.
    #[must_use]
    pub fn polynomial(&self) -> &Polynomial {
        &self.polynomial
    }

    /// The number of products of ciphertexts.
    #[must_use]
    pub fn products(&self) -> usize {
        self.powers.len() + self.root.count()
    }

    /// The value in the clear by the steps of the plan: what an evaluation without noise gives.
    #[must_use]
    pub fn value(&self, x: f64) -> f64 {
        let y = self.polynomial.variable(x);
        let mut powers = BTreeMap::from([(1, y)]);
        for &i in &self.powers {
            let (a, b) = factors(i);
            let product = powers[&a] * powers[&b];
            let power = match self.polynomial.basis() {
                Basis::Monomial => product,
                Basis::Chebyshev { .. } => 2.0 * product - if a == b { 1.0 } else { y },
            };
            powers.insert(i, power);
        }
        self.root.value(&powers)
    }
}

impl Node {
    fn needs(&self, powers: &mut BTreeSet<usize>) {
        powers.extend(self.terms.keys().filter(|&&i| i > 1));
        for (power, quotient) in &self.products {
            powers.extend((*power > 1).then_some(*power));
            quotient.needs(powers);
        }
    }

    fn count(&self) -> usize {
        self.products.iter().map(|(_, quotient)| 1 + quotient.count()).sum()
    }

    fn value(&self, powers: &BTreeMap<usize, f64>) -> f64 {
        let term = |(i, c): (&usize, &f64)| if *i == 0 { *c } else { c * powers[i] };
        let product = |(power, quotient): &(usize, Self)| powers[power] * quotient.value(powers);
        self.terms.iter().map(term).sum::<f64>() + self.products.iter().map(product).sum::<f64>()
    }
}

/// The two powers whose product makes X^i (i >= 2): halves, so that their Chebyshev indices differ by at most one.
pub(super) fn factors(i: usize) -> (usize, usize) {
    (i.div_ceil(2), i / 2)
}

/// All powers that these are made of, except X, in increasing order.
fn closure(mut powers: BTreeSet<usize>) -> Vec<usize> {
    let mut open: Vec<usize> = powers.iter().copied().collect();
    while let Some(i) = open.pop() {
        let (a, b) = factors(i);
        open.extend([a, b].into_iter().filter(|&factor| factor > 1 && powers.insert(factor)));
    }
    powers.into_iter().collect()
}

/// The node of these coefficients, `below` products deep in a polynomial that takes `depth` primes, with baby powers
/// below 2^bits.
fn build(polynomial: &Polynomial, mut c: Vec<f64>, bits: usize, depth: usize, below: usize) -> Node {
    let mut node = Node::default();
    loop {
        let degree = c.iter().rposition(|&c| c != 0.0).unwrap_or(0);
        c.truncate(degree + 1);
        if degree <= 1 || (degree < 1 << bits && ceil_log2(degree) < depth - below) {
            node.terms.extend(c.into_iter().enumerate().filter(|&(i, c)| i == 0 || c != 0.0));
            return node;
        }
        let power = 1 << degree.ilog2();
        let mut quotient = c.split_off(power);
        if matches!(polynomial.basis(), Basis::Chebyshev { .. }) {
            for (j, high) in quotient.iter_mut().enumerate().skip(1) {
                c[power - j] -= *high;
                *high *= 2.0;
            }
        }
        if quotient.len() == 1 {
            node.terms.insert(power, quotient[0]);
        } else {
            node.products.push((power, build(polynomial, quotient, bits, depth, below + 1)));
        }
    }
}
