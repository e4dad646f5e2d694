//! Arithmetic modulo q on eight lanes, in three forms with one interface.
//!
//! | form | served | a word in memory | between butterflies, forward / inverse |
//! |---|---|---|---|
//! | [`Portable`] | any machine, q < 2^61 | residue | \[0, 4q) / \[0, 2q) |
//! | [`super::fused::Fused`] | AVX2 and NEON, q < 2^50 | bits of a double | \[−5q/4, 5q/4\] / \[−3q/4, 3q/4\] |
//! | [`super::ifma::Ifma`] | AVX-512, q < 2^50 | residue | \[0, 4q) / \[0, 2q) |
//!
//! The butterflies are the lazy ones of D. Harvey, *Faster arithmetic for number-theoretic transforms* (2014). A sum of
//! products is kept in a form's own [`Field::Sum`] and reduced once, by [`Field::close`], after at most
//! [`Field::most_terms`] products; it may come out multiplied by a constant, which [`Field::weight_scale`] undoes in the
//! weights beforehand. All run in a time that does not depend on the values.

use crate::Kernel;
use crate::lanes::{LANES, Words};
use crate::layout::transpose;
use he_core::Modulus;

/// A constant factor in memory: two words whose meaning is the form's.
pub(super) type Twiddle = [u64; 2];

/// See the module. `Copy` bundles of constants; everything but the preparation inlines.
pub(super) trait Field: Copy + Send + Sync {
    /// Eight elements in registers.
    type Lanes: Copy;
    /// Eight sums of products.
    type Sum: Copy;
    /// A twiddle spread over the lanes.
    type Factor: Copy;
    /// Whether 32 registers of eight lanes are there, so that products may be blocked 2×6.
    const MANY_REGISTERS: bool;

    /// A constant w < q as twiddle (prepared once; w is public).
    fn twiddle(self, w: u64) -> Twiddle;
    /// What a weight has to be multiplied by so that closed sums come out right.
    fn weight_scale(self) -> u64;
    /// Products that one sum holds.
    fn most_terms(self) -> usize;

    /// Residues in \[0, q) to the form in memory.
    fn enter(self, residues: Words) -> Words;
    /// What the inverse transform left in memory to residues in \[0, q).
    fn leave(self, row: Words) -> Words;
    /// As [`crate::layout::transpose`].
    fn transpose(self, square: [Words; LANES]) -> [Words; LANES];
    fn load(self, row: &Words) -> Self::Lanes;
    fn store(self, lanes: Self::Lanes, row: &mut Words);
    fn splat(self, word: u64) -> Self::Lanes;
    fn factor(self, twiddle: Twiddle) -> Self::Factor;

    /// (a + b·w, a − b·w).
    fn forward_pair(self, a: Self::Lanes, b: Self::Lanes, w: Self::Factor) -> (Self::Lanes, Self::Lanes);
    /// (a + b, (a − b)·w).
    fn inverse_pair(self, a: Self::Lanes, b: Self::Lanes, w: Self::Factor) -> (Self::Lanes, Self::Lanes);
    /// The end of a forward transform of inputs: fit for [`Field::add_product`].
    fn settle(self, x: Self::Lanes) -> Self::Lanes;
    /// The end of a forward transform of weights.
    fn settle_weight(self, w: Self::Lanes) -> Self::Lanes;

    fn nothing(self) -> Self::Sum;
    /// sum + w·x.
    fn add_product(self, sum: Self::Sum, w: Self::Lanes, x: Self::Lanes) -> Self::Sum;
    /// To be called after every fourth product.
    fn tidy(self, sum: Self::Sum) -> Self::Sum;
    /// A sum as input of the inverse transform.
    fn close(self, sum: Self::Sum) -> Self::Lanes;
    /// a + b of two closed sums, as one.
    fn join(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
}

/// Shoup butterflies and 128-bit sums in plain Rust: the twin of the other forms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable {
    modulus: Modulus,
}

impl Portable {
    pub(super) fn new(modulus: Modulus) -> Self {
        Self { modulus }
    }
}

/// x < 2m to x < m.
#[inline(always)]
fn reduce_once(x: u64, m: u64) -> u64 {
    let less = x.wrapping_sub(m);
    less.wrapping_add(m & ((less as i64 >> 63) as u64))
}

#[inline(always)]
fn zip(a: Words, b: Words, op: impl Fn(u64, u64) -> u64) -> Words {
    let mut out = [0; LANES];
    for lane in 0..LANES {
        out[lane] = op(a[lane], b[lane]);
    }
    out
}

impl Field for Portable {
    type Lanes = Words;
    type Sum = [u128; LANES];
    type Factor = Twiddle;
    const MANY_REGISTERS: bool = false;

    fn twiddle(self, w: u64) -> Twiddle {
        [w, self.modulus.shoup(w)]
    }

    fn weight_scale(self) -> u64 {
        1
    }

    fn most_terms(self) -> usize {
        // A product is below 4q·q.
        let most = u128::MAX / (4 * u128::from(self.modulus.value()).pow(2));
        most.min(1 << 20) as usize
    }

    #[inline(always)]
    fn enter(self, residues: Words) -> Words {
        residues
    }

    #[inline(always)]
    fn leave(self, row: Words) -> Words {
        row.map(|x| reduce_once(x, self.modulus.value()))
    }

    #[inline(always)]
    fn transpose(self, square: [Words; LANES]) -> [Words; LANES] {
        transpose(Kernel::Portable, square)
    }

    #[inline(always)]
    fn load(self, row: &Words) -> Words {
        *row
    }

    #[inline(always)]
    fn store(self, lanes: Words, row: &mut Words) {
        *row = lanes;
    }

    #[inline(always)]
    fn splat(self, word: u64) -> Words {
        [word; LANES]
    }

    #[inline(always)]
    fn factor(self, twiddle: Twiddle) -> Twiddle {
        twiddle
    }

    #[inline(always)]
    fn forward_pair(self, a: Words, b: Words, [w, quotient]: Twiddle) -> (Words, Words) {
        let q = self.modulus.value();
        let u = a.map(|a| reduce_once(a, 2 * q));
        let v = b.map(|b| self.modulus.mul_shoup_lazy(b, w, quotient));
        (zip(u, v, |u, v| u + v), zip(u, v, |u, v| u + 2 * q - v))
    }

    #[inline(always)]
    fn inverse_pair(self, a: Words, b: Words, [w, quotient]: Twiddle) -> (Words, Words) {
        let q = self.modulus.value();
        let sum = zip(a, b, |a, b| reduce_once(a + b, 2 * q));
        (sum, zip(a, b, |a, b| self.modulus.mul_shoup_lazy(a + 2 * q - b, w, quotient)))
    }

    #[inline(always)]
    fn settle(self, x: Words) -> Words {
        x
    }

    #[inline(always)]
    fn settle_weight(self, w: Words) -> Words {
        let q = self.modulus.value();
        w.map(|w| reduce_once(reduce_once(w, 2 * q), q))
    }

    #[inline(always)]
    fn nothing(self) -> [u128; LANES] {
        [0; LANES]
    }

    #[inline(always)]
    fn add_product(self, mut sum: [u128; LANES], w: Words, x: Words) -> [u128; LANES] {
        for lane in 0..LANES {
            sum[lane] += u128::from(w[lane]) * u128::from(x[lane]);
        }
        sum
    }

    #[inline(always)]
    fn tidy(self, sum: [u128; LANES]) -> [u128; LANES] {
        sum
    }

    #[inline(always)]
    fn close(self, sum: [u128; LANES]) -> Words {
        sum.map(|sum| self.modulus.reduce_u128(sum))
    }

    #[inline(always)]
    fn join(self, a: Words, b: Words) -> Words {
        zip(a, b, |a, b| reduce_once(a + b, 2 * self.modulus.value()))
    }
}
