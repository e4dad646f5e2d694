//! When the sums of a tile's transforms fit, and its divisors.
//!
//! *Bounds modulo q.* With P and N the sums of positive and of negative entries of a row, a transform of values in
//! [0, q) lies within max(P, N)·q, both directions together within max(P₀P₁ + N₀N₁, P₀N₁ + N₀P₁)·q. Where that passes 2^62
//! or 2^31·q values are reduced (to [0, q·(1 + 2^-18)], see [`super::vector`]) between the directions; where one direction does,
//! the tile is refused.
//!
//! *Modulo 2^k.* With 2^s the power of two in the common denominator of the S_i·S_j, everything runs modulo 2^64, scaled by
//! 2^s, and results are shifted right by s, which needs k + s ≤ 64. For greater k, up to 64, the input is cut into its low
//! 32 bits, whose convolution is an integer below 2^32·Σ|w| and comes out whole if that is below 2^(63−s), and its high ones,
//! of which 32 bits are needed.

use super::points::{Line, signed_sums};
use super::vector::Close;
use crate::Ring;

/// Transformed values have to stay below this in absolute value, and below 2^31·q for the estimates of quotients.
const LIMIT: u128 = 1 << 62;
/// Bits of the low part of an input that is cut in two.
pub(super) const LOW_BITS: u32 = 32;

/// Where values are reduced between the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) reduce_inputs: bool,
    pub(super) reduce_outputs: bool,
}

impl Bounds {
    /// No reductions, as in Z_2^64.
    pub(super) const NONE: Self = Self { reduce_inputs: false, reduce_outputs: false };

    /// Modulo q; `None` if one direction alone is too much.
    pub(super) fn new(q: u64, [rows, columns]: &[Line; 2]) -> Option<Self> {
        let widths = [rows.n, columns.n];
        let inputs = fits(q, [&rows.input, &columns.input], widths)?;
        let outputs = fits(q, [&rows.output, &columns.output], widths)?;
        Some(Self { reduce_inputs: !inputs, reduce_outputs: !outputs })
    }
}

/// Whether two transforms of residues by these matrices fit without a reduction in between; `None`: not even one.
fn fits(q: u64, matrices: [&[i64]; 2], widths: [usize; 2]) -> Option<bool> {
    let sums = [0, 1].map(|axis| signed_sums(matrices[axis], widths[axis]));
    let limit = LIMIT.min(u128::from(q) << 31);
    let q = u128::from(Close::greatest(q));
    let single = sums.iter().flatten().all(|&(plus, minus)| plus.max(minus) * q < limit);
    let both = sums[0].iter().all(|&(p, n)| {
        sums[1].iter().all(|&(plus, minus)| (p * plus + n * minus).max(p * minus + n * plus) * q < limit)
    });
    single.then_some(both)
}

/// S_i·S_j for the divisors of two directions; over Z_2^k times 2^twos and modulo 2^64.
pub(super) fn scale(ring: &Ring, twos: u32, row: i64, column: i64) -> u64 {
    match ring {
        Ring::Prime(modulus) => {
            modulus.mul(modulus.inv(modulus.from_i64(row)), modulus.inv(modulus.from_i64(column)))
        }
        Ring::PowerOfTwo(_) => {
            let shift = row.trailing_zeros() + column.trailing_zeros();
            let odd = (row >> row.trailing_zeros()).wrapping_mul(column >> column.trailing_zeros()) as u64;
            // Newton's iteration: an odd number is its own inverse modulo 8, and each step doubles the bits.
            let mut inverse = odd;
            for _ in 0..5 {
                inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
            }
            inverse << (twos - shift)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use he_core::Modulus;

    #[test]
    fn which_tiles_reduce() {
        let bounds = |q: u64, m: usize, r: usize| Bounds::new(q, &[Line::new(m, r), Line::new(m, r)]);
        let neither = Some(Bounds::NONE);
        let both = Some(Bounds { reduce_inputs: true, reduce_outputs: true });
        let q = 1_125_899_906_826_241;
        assert_eq!([2, 4, 6].map(|m| bounds(q, m, 3)), [neither; 3]);
        assert_eq!([7, 8].map(|m| bounds(q, m, 3)), [both; 2]);
        assert_eq!(bounds(q, 8, 7), None);
        assert_eq!([6, 7, 8].map(|m| bounds(4_294_828_033, m, 3)), [neither; 3]);
    }

    #[test]
    fn scales_are_inverses() {
        let ring = Ring::Prime(Modulus::new(67_104_769).unwrap());
        for m in 1..=8 {
            let line = Line::new(m, 3);
            let twos = 2 * line.twos();
            for &row in &line.divisors {
                for &column in &line.divisors {
                    let product = ring.mul(scale(&ring, 0, row, column), ring.from_i64(row * column));
                    assert_eq!(product, 1);
                    let power = scale(&Ring::PowerOfTwo(64), twos, row, column);
                    assert_eq!(power.wrapping_mul((row * column) as u64), 1 << twos);
                }
            }
        }
    }
}
