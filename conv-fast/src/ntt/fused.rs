//! The field in double precision with fused multiply-add, for machines without 52-bit integer products; q < 2^50.
//!
//! The product of an integer |x| ≤ 2q and a centred factor |w| ≤ q/2 after J. van der Hoeven, G. Lecerf and G. Quintin,
//! *Modular SIMD arithmetic in Mathemagix* (ACM TOMS 43(1), 2016, section 3): with v = fl(w/q)
//!
//! h = fl(x·w), l = x·w − h (exact by the fused operation), k = round(x·v), r = (h − k·q) + l.
//!
//! The quotient is at most 2^50 with a relative error of 2^-52, so that k misses it by at most 1/2 + 1/4 and |r| ≤ 3q/4;
//! h − k·q is a multiple of an ulp of h and small, therefore exact, and so is the last sum. A product of two residues that
//! are both centred has a quotient below 2^49 and comes out within 3q/4 as well: four of them on top of a reduced sum stay
//! below 4q ≤ 2^52, where doubles are still exact ([`Field::tidy`]).
//!
//! Plain Rust over arrays of eight doubles; it is only run where fused operations are instructions. No closures: whatever is
//! not inlined into the function compiled for the instruction set would call a library for each fused operation.

use super::field::{Field, Twiddle};
use crate::Kernel;
use crate::lanes::{LANES, Words};
use crate::layout::transpose;
use he_core::Modulus;

/// 2^52 as a double: the bits below its exponent are an integer.
const MAGIC: f64 = 4_503_599_627_370_496.0;

/// Eight doubles that are integers.
type Doubles = [f64; LANES];

#[derive(Clone, Copy, Debug)]
pub(super) struct Fused {
    modulus: Modulus,
    q: f64,
    inverse: f64,
}

impl Fused {
    /// Needs q < 2^50.
    pub(super) fn new(modulus: Modulus) -> Self {
        let q = modulus.value() as f64;
        Self { modulus, q, inverse: 1.0 / q }
    }

    /// An integer |x| < 2^52 to \[−q/2, q/2\] up to a rounding of the quotient.
    #[inline(always)]
    fn reduce(self, x: Doubles) -> Doubles {
        let mut out = x;
        for x in &mut out {
            let times = (*x * self.inverse).round_ties_even();
            *x = (-times).mul_add(self.q, *x);
        }
        out
    }

    /// x·w within 3q/4.
    #[inline(always)]
    fn times(self, x: Doubles, (w, quotient): (f64, f64)) -> Doubles {
        let mut out = x;
        for x in &mut out {
            let high = *x * w;
            let low = x.mul_add(w, -high);
            let times = (*x * quotient).round_ties_even();
            *x = (-times).mul_add(self.q, high) + low;
        }
        out
    }
}

#[inline(always)]
fn add(a: Doubles, b: Doubles) -> Doubles {
    let mut out = a;
    for (a, b) in out.iter_mut().zip(b) {
        *a += b;
    }
    out
}

#[inline(always)]
fn sub(a: Doubles, b: Doubles) -> Doubles {
    let mut out = a;
    for (a, b) in out.iter_mut().zip(b) {
        *a -= b;
    }
    out
}

impl Field for Fused {
    type Lanes = Doubles;
    type Sum = Doubles;
    type Factor = (f64, f64);
    const MANY_REGISTERS: bool = false;

    fn twiddle(self, w: u64) -> Twiddle {
        let centred = self.modulus.center(w) as f64;
        [centred.to_bits(), (centred / self.q).to_bits()]
    }

    fn weight_scale(self) -> u64 {
        1
    }

    fn most_terms(self) -> usize {
        usize::MAX
    }

    #[inline(always)]
    fn enter(self, mut row: Words) -> Words {
        for x in &mut row {
            *x = (f64::from_bits(*x | MAGIC.to_bits()) - MAGIC).to_bits();
        }
        row
    }

    #[inline(always)]
    fn leave(self, mut row: Words) -> Words {
        self.store(self.reduce(self.load(&row)), &mut row);
        for x in &mut row {
            // q is added where the sign is set.
            let lift = f64::from_bits(self.q.to_bits() & ((*x as i64 >> 63) as u64));
            *x = (f64::from_bits(*x) + lift + MAGIC).to_bits() ^ MAGIC.to_bits();
        }
        row
    }

    #[inline(always)]
    fn transpose(self, square: [Words; LANES]) -> [Words; LANES] {
        transpose(Kernel::Portable, square)
    }

    #[inline(always)]
    fn load(self, row: &Words) -> Doubles {
        let mut out = [0.0; LANES];
        for (out, word) in out.iter_mut().zip(row) {
            *out = f64::from_bits(*word);
        }
        out
    }

    #[inline(always)]
    fn store(self, lanes: Doubles, row: &mut Words) {
        for (word, x) in row.iter_mut().zip(lanes) {
            *word = x.to_bits();
        }
    }

    #[inline(always)]
    fn splat(self, word: u64) -> Doubles {
        [f64::from_bits(word); LANES]
    }

    #[inline(always)]
    fn factor(self, [w, quotient]: Twiddle) -> (f64, f64) {
        (f64::from_bits(w), f64::from_bits(quotient))
    }

    #[inline(always)]
    fn forward_pair(self, a: Doubles, b: Doubles, w: (f64, f64)) -> (Doubles, Doubles) {
        let (u, v) = (self.reduce(a), self.times(b, w));
        (add(u, v), sub(u, v))
    }

    #[inline(always)]
    fn inverse_pair(self, a: Doubles, b: Doubles, w: (f64, f64)) -> (Doubles, Doubles) {
        (self.reduce(add(a, b)), self.times(sub(a, b), w))
    }

    #[inline(always)]
    fn settle(self, x: Doubles) -> Doubles {
        self.reduce(x)
    }

    #[inline(always)]
    fn settle_weight(self, w: Doubles) -> Doubles {
        self.reduce(w)
    }

    #[inline(always)]
    fn nothing(self) -> Doubles {
        [0.0; LANES]
    }

    #[inline(always)]
    fn add_product(self, mut sum: Doubles, w: Doubles, x: Doubles) -> Doubles {
        for lane in 0..LANES {
            let high = w[lane] * x[lane];
            let low = w[lane].mul_add(x[lane], -high);
            let times = (high * self.inverse).round_ties_even();
            sum[lane] += (-times).mul_add(self.q, high) + low;
        }
        sum
    }

    #[inline(always)]
    fn tidy(self, sum: Doubles) -> Doubles {
        self.reduce(sum)
    }

    #[inline(always)]
    fn close(self, sum: Doubles) -> Doubles {
        self.reduce(sum)
    }

    #[inline(always)]
    fn join(self, a: Doubles, b: Doubles) -> Doubles {
        self.reduce(add(a, b))
    }
}
