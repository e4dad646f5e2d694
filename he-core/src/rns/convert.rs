//! From residues modulo some primes to residues modulo others.
//!
//! Portable form: S. Halevi, Y. Polyakov, V. Shoup, *An improved RNS variant of the BFV homomorphic encryption scheme*
//! (CT-RSA 2019), section 2.2. With y_i = \[x_i (Q/q_i)^-1\] modulo q_i, x = sum y_i Q/q_i - v Q for
//! v = round(sum y_i / q_i) and x centred.

use crate::modulus::Modulus;

/// The way from residues modulo the `from` primes to residues modulo the `to` primes.
#[derive(Debug, Clone)]
pub struct Converter {
    from: Vec<Modulus>,
    to: Vec<Modulus>,
    /// (Q/q_i)^-1 modulo q_i.
    inverse: Vec<u64>,
    /// Q/q_i modulo each `to` prime, then Q.
    factors: Vec<Vec<u64>>,
}

impl Converter {
    /// Prepares the way.
    #[must_use]
    pub fn new(from: &[Modulus], to: &[Modulus]) -> Self {
        let product = |skip: Option<usize>, p: &Modulus| {
            let others = from.iter().enumerate().filter(|(i, _)| Some(*i) != skip);
            others.fold(1 % p.value(), |f, (_, q)| p.mul(f, p.reduce(q.value())))
        };
        let inverse = from.iter().enumerate().map(|(i, q)| q.inv(product(Some(i), q))).collect();
        let factors = to
            .iter()
            .map(|p| (0..from.len()).map(Some).chain([None]).map(|skip| product(skip, p)).collect())
            .collect();
        Self { from: from.to_vec(), to: to.to_vec(), inverse, factors }
    }

    /// Residues modulo the `to` primes of the centred integers with these residues.
    ///
    /// # Panics
    /// When limbs or lengths do not fit.
    pub fn convert(&self, from: &[&[u64]], to: &mut [&mut [u64]]) {
        assert!(from.len() == self.from.len() && to.len() == self.to.len(), "limbs of a conversion");
        let mut digits = vec![0; from.len()];
        for at in 0..from[0].len() {
            let mut turns = 0.5;
            for (((digit, x), q), &inverse) in digits.iter_mut().zip(from).zip(&self.from).zip(&self.inverse)
            {
                *digit = q.mul(x[at], inverse);
                turns += *digit as f64 / q.value() as f64;
            }
            let turns = turns as u64;
            for ((out, p), factors) in to.iter_mut().zip(&self.to).zip(&self.factors) {
                let sum: u64 = digits
                    .iter()
                    .zip(factors)
                    .fold(0, |sum, (&digit, &factor)| p.add(sum, p.mul(p.reduce(digit), factor)));
                out[at] = p.sub(sum, p.mul(p.reduce(turns), factors[digits.len()]));
            }
        }
    }
}
