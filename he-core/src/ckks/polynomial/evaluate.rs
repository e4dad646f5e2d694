//! Evaluation of a plan on a ciphertext, with scales that come out as wanted.
//!
//! Scales are settled from the top. The answer is wanted at the input's scale S, after the last rescaling, so the
//! root is evaluated at the scale T = S q, with q the prime that the rescaling divides by. In a node at scale T and l
//! limbs,
//!
//! - a term c_i X^i multiplies X^i, whose scale is s_i, with the whole number round(c_i T / s_i): an error of
//!   s_i / 2T in c_i;
//! - a product X^K q_K wants q_K at scale T / s_K, so q_K is evaluated at that times the prime it is
//!   rescaled by, one limb higher.
//!
//! Every sum is then of equal scales by construction. Products of a node are added before they are relinearised: one
//! key switching per node. A power X^i is the rescaled product of its factors, at whatever scale that gives.

use std::collections::BTreeMap;

use super::plan::{Node, PolynomialPlan, factors};
use super::{Basis, ceil_log2};
use crate::ckks::Params;
use crate::ckks::cipher::Ciphertext;
use crate::ckks::complex::Complex;
use crate::error::HeError;
use crate::rlwe::RelinKey;

/// What stays the same in one evaluation.
struct Evaluation<'a> {
    params: &'a Params,
    key: &'a RelinKey,
    powers: BTreeMap<usize, Ciphertext>,
}

impl Params {
    /// p(x) in every slot, at the scale of x, with [`Polynomial::depth`](super::Polynomial::depth) limbs less.
    ///
    /// Slots must lie in the interval of a Chebyshev polynomial: outside, its powers grow quickly.
    ///
    /// # Errors
    /// [`HeError::Limbs`] when there are too few, [`HeError::Length`] for a ciphertext of degree 2,
    /// [`HeError::ScaleRange`] or [`HeError::Overflow`] when coefficients or scales do not fit the modulus.
    ///
    /// # Panics
    /// When operands are of other parameters.
    pub fn evaluate_polynomial(
        &self,
        x: &Ciphertext,
        plan: &PolynomialPlan,
        key: &RelinKey,
    ) -> Result<Ciphertext, HeError> {
        let polynomial = &plan.polynomial;
        let depth = polynomial.depth();
        if x.limbs() <= depth {
            return Err(HeError::Limbs { needed: depth + 1, found: x.limbs() });
        }
        if polynomial.degree() == 0 {
            // The answer is public, and so is this encryption of it: both parts of the noise are gone.
            let mut answer = x.duplicate();
            self.drop_to(&mut answer, x.limbs() - depth)?;
            answer.multiply_integer(0);
            answer.add_constant(self, Complex::from(polynomial.coefficients()[0]))?;
            return Ok(answer);
        }
        let scale = x.scale;
        let variable = self.variable(x, polynomial.basis())?;
        let mut evaluation = Evaluation { params: self, key, powers: BTreeMap::from([(1, variable)]) };
        for &i in &plan.powers {
            let power = evaluation.power(i, polynomial.basis())?;
            evaluation.powers.insert(i, power);
        }
        // x may have lost a prime to the interval already.
        let limbs = x.limbs() - depth + 1;
        let mut answer = evaluation.node(&plan.root, limbs, scale * self.last_prime(limbs))?;
        self.rescale(&mut answer)?;
        Ok(answer)
    }

    /// X of the powers: x itself, or its image in -1..1.
    fn variable(&self, x: &Ciphertext, basis: Basis) -> Result<Ciphertext, HeError> {
        let mut y = x.duplicate();
        if let Basis::Chebyshev { low, high } = basis {
            if high - low != 2.0 {
                // The scale of y is that of x again once the prime is divided out.
                y.multiply_constant(self, 2.0 / (high - low), self.last_prime(x.limbs()))?;
                self.rescale(&mut y)?;
            }
            y.add_constant(self, Complex::from(-(low + high) / (high - low)))?;
        }
        Ok(y)
    }
}

impl Evaluation<'_> {
    /// The power X^i modulo the first `limbs` primes.
    fn get(&self, i: usize, limbs: usize) -> Result<Ciphertext, HeError> {
        let mut power = self.powers[&i].duplicate();
        self.params.drop_to(&mut power, limbs)?;
        Ok(power)
    }

    /// X^i of its factors, rescaled.
    fn power(&self, i: usize, basis: Basis) -> Result<Ciphertext, HeError> {
        let (a, b) = factors(i);
        // After as many primes as ceil(log2 i) counts, so that all powers of one depth have the same limbs.
        let limbs = self.powers[&1].limbs() + 1 - ceil_log2(i);
        let a_power = self.get(a, limbs)?;
        let product = if a == b {
            self.params.square(&a_power)?
        } else {
            self.params.multiply(&a_power, &self.get(b, limbs)?)?
        };
        let mut power = self.params.relinearise(product, self.key);
        if matches!(basis, Basis::Chebyshev { .. }) {
            // T_(a + b) = 2 T_a T_b - T_(a - b), with T_(a - b) = 1 or X.
            power.multiply_integer(2);
            if a == b {
                power.add_constant(self.params, Complex::from(-1.0))?;
            } else {
                power.sub(&self.term(1, 1.0, limbs, power.scale)?)?;
            }
        }
        self.params.rescale(&mut power)?;
        Ok(power)
    }

    /// c X^i modulo the first `limbs` primes at this scale, up to the rounding of c.
    fn term(&self, i: usize, c: f64, limbs: usize, scale: f64) -> Result<Ciphertext, HeError> {
        let mut term = self.get(i, limbs)?;
        let factor_scale = scale / term.scale;
        term.multiply_constant(self.params, c, factor_scale)?;
        // The product of the two is the scale up to rounding of doubles.
        term.scale = scale;
        Ok(term)
    }

    /// A node modulo the first `limbs` primes at this scale, not rescaled.
    fn node(&self, node: &Node, limbs: usize, scale: f64) -> Result<Ciphertext, HeError> {
        let mut sum: Option<Ciphertext> = None;
        for (power, quotient) in &node.products {
            let power = self.get(*power, limbs)?;
            let wanted = scale / power.scale;
            let mut quotient = self.node(quotient, limbs + 1, wanted * self.params.last_prime(limbs + 1))?;
            self.params.rescale(&mut quotient)?;
            let mut product = self.params.multiply(&quotient, &power)?;
            product.scale = scale;
            add_to(&mut sum, product)?;
        }
        let mut sum = sum.map(|sum| self.params.relinearise(sum, self.key));
        for (&i, &c) in node.terms.iter().filter(|&(&i, _)| i > 0) {
            add_to(&mut sum, self.term(i, c, limbs, scale)?)?;
        }
        let mut sum = sum.expect("a node has a term or a product that is not constant");
        if let Some(&constant) = node.terms.get(&0) {
            sum.add_constant(self.params, Complex::from(constant))?;
        }
        Ok(sum)
    }
}

fn add_to(sum: &mut Option<Ciphertext>, term: Ciphertext) -> Result<(), HeError> {
    match sum {
        Some(sum) => sum.add(&term),
        None => {
            *sum = Some(term);
            Ok(())
        }
    }
}
