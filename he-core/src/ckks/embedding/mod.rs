//! The canonical embedding: N real coefficients to N/2 complex slots and back, in O(N log N).
//!
//! The slot j of a polynomial m is its value at zeta^(5^j), zeta = exp(2 pi i / 2N), j < N/2 (J. H. Cheon, A. Kim, M.
//! Kim, Y. Song, *Homomorphic encryption for arithmetic of approximate numbers*, ASIACRYPT 2017, section 3.2; the
//! values at the other primitive roots are the conjugates of these). Substituting X^(5^k) for X moves slot j + k to
//! slot j, X^-1 conjugates all slots.
//!
//! | axis | shape | order |
//! |---|---|---|
//! | coefficients | n = N/2 complex numbers w_i = m_i + i m_(i + n), two planes of n | natural |
//! | slots | n complex numbers, two planes of n | the orbit of 5 |
//!
//! **Transform.** With zeta^n = i, slot j is w(zeta^(5^j)) for the complex polynomial w of degree below n. The values
//! s\[L\]\_j at the L points zeta_4L^(5^j) of the polynomial with every (n/L)-th coefficient combine as in the
//! special transform of Cheon, Han, Kim, Kim and Song, *Bootstrapping for approximate homomorphic encryption*
//! (EUROCRYPT 2018, section 4, algorithm 1): s\[2L\]\_j, s\[2L\]\_(j+L) = even_j +- zeta_8L^(5^j) odd_j. The order of
//! the roots is the order of the slots, so nothing is permuted but the rows of a block as it is loaded. Two passes
//! over a matrix of n2 x n1 = n points (D. H. Bailey, *FFTs in external or hierarchical memory*, 1990) do log2 n1 and
//! log2 n2 levels on blocks of eight columns that stay in the first cache; lanes of a vector are eight independent
//! columns, so no value ever moves between lanes.
//!
//! **Error.** Let u = 2^-53. Each level adds a relative error of at most eta = u + (1 + u) sqrt(2) 4 u / (1 - 4u) <
//! 6.7 u in the Euclidean norm (N. J. Higham, *Accuracy and stability of numerical algorithms*, 2nd ed., section
//! 24.1, with twiddle factors that are correctly rounded), so with l = log2 n levels:
//!
//! | direction | bound on each component |
//! |---|---|
//! | coefficients from slots | 6.8 l u max\|z_j\| |
//! | slots from coefficients | 6.8 l u sqrt(n) \|\|w\|\|_2 |
//!
//! [`Embedding::relative_error`] is 6.8 l u. Every kernel does the same operations in the same order without fused
//! multiply-add: results are the same bits on every machine and for every kernel.

mod kernel;
mod roots;

use std::sync::Arc;

pub(crate) use kernel::FloatKernel;

use crate::ckks::complex::Complex;
use roots::Roots;

/// Twiddle factors for one ring degree. Cloning shares the tables.
#[derive(Clone)]
pub(crate) struct Embedding {
    tables: Arc<Tables>,
}

/// Entry L + j, for L = 1, 2, .., n/2 and j < L, is zeta_8L^(5^j).
struct Tables {
    slots: usize,
    re: Vec<f64>,
    im: Vec<f64>,
    simd: FloatKernel,
}

impl core::fmt::Debug for Embedding {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Embedding({} slots, {:?})", self.slots(), self.tables.simd)
    }
}

impl Embedding {
    /// As [`Embedding::with_kernel`] with the fastest kernel of this machine.
    #[cfg(test)]
    pub(crate) fn new(slots: usize) -> Self {
        Self::with_kernel(slots, FloatKernel::best())
    }

    /// The embedding of degree N = 2 * `slots`, slots a power of two, with a kernel that this CPU must have.
    pub(crate) fn with_kernel(slots: usize, simd: FloatKernel) -> Self {
        assert!(slots.is_power_of_two(), "{slots} slots are not a power of two");
        assert!(simd.detected(), "this CPU has no {simd:?}");
        let order = 4 * slots;
        let roots = Roots::new(order);
        let (mut re, mut im) = (vec![1.0; slots], vec![0.0; slots]);
        let mut length = 1;
        while length < slots {
            let mut power = 1;
            for j in 0..length {
                let root = roots.get(power * (order / (8 * length)));
                (re[length + j], im[length + j]) = (root.re, root.im);
                power = 5 * power % (8 * length);
            }
            length *= 2;
        }
        Self { tables: Arc::new(Tables { slots, re, im, simd }) }
    }

    /// n = N/2.
    pub(crate) fn slots(&self) -> usize {
        self.tables.slots
    }

    /// The relative error of the module essay.
    pub(crate) fn relative_error(&self) -> f64 {
        6.8 * f64::from(self.slots().trailing_zeros()) * (f64::EPSILON / 2.0)
    }

    /// What the relative error is in the mean, if the levels' roundings are independent: 6.8 sqrt(l) u, still the worst
    /// case of every level.
    pub(crate) fn relative_deviation(&self) -> f64 {
        self.relative_error() / f64::from(self.slots().trailing_zeros().max(1)).sqrt()
    }

    /// Coefficients to slots, in place, two planes of n numbers each.
    pub(crate) fn to_slots(&self, re: &mut [f64], im: &mut [f64]) {
        self.check(re, im);
        self.tables.simd.to_slots(&self.tables.re, &self.tables.im, re, im);
    }

    /// Slots to coefficients times `factor`, in place, two planes of n numbers each.
    pub(crate) fn to_coefficients(&self, re: &mut [f64], im: &mut [f64], factor: f64) {
        self.check(re, im);
        // n is a power of two: dividing by it is exact.
        let factor = factor / self.slots() as f64;
        self.tables.simd.to_coefficients(&self.tables.re, &self.tables.im, re, im, factor);
    }

    fn check(&self, re: &[f64], im: &[f64]) {
        assert_eq!((re.len(), im.len()), (self.slots(), self.slots()), "planes of another ring");
    }
}

/// The slow twin: every slot by Horner's rule at its root, O(N^2).
#[cfg_attr(not(test), expect(dead_code, reason = "the slow twin of the transform"))]
pub(crate) fn evaluate_naively(coefficients: &[f64]) -> Vec<Complex> {
    let order = 2 * coefficients.len();
    let roots = Roots::new(order);
    let mut power = 1;
    (0..coefficients.len() / 2)
        .map(|_| {
            let point = power;
            power = 5 * power % order;
            let term = |(i, &c): (usize, &f64)| roots.get(i * point).scale(c);
            coefficients.iter().enumerate().map(term).sum()
        })
        .collect()
}

#[cfg(test)]
mod tests;
