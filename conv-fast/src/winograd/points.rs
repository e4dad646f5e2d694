//! The matrices of one direction of F(m, r), from points of the projective line.
//!
//! Source: Winograd, *Arithmetic complexity of computations*, 1980, chapter III (Toom–Cook and its transpose); points and
//! scaling derived here. A filter of r taps gives m outputs of n = m + r − 1 inputs with n products:
//!
//! ```text
//! y = Aᵀ [ (G g) ⊙ S ⊙ (Bᵀ d) ],   points (a_i : b_i), pairwise different, coprime integers, (0 : 1) = 0, (1 : 0) = ∞
//! G[i][k] = a_i^k·b_i^(r−1−k)      Aᵀ[k][i] = a_i^k·b_i^(m−1−k)
//! Bᵀ[i]   = coefficients of ± Π_{j≠i} (b_j·x − a_j·y)           S_i = 1 / Bᵀ[i](a_i, b_i)
//! ```
//!
//! This is evaluation and interpolation of binary forms, transposed; homogeneous coordinates keep every entry of G, A and
//! B an integer for fractions and ∞ as well, and leave all divisors to S, one element of the ring per position.
//!
//! The points are 0, then the pairs ±1, ±2, ±1/2, ±3, ±1/3, ±3/2 as far as n asks, then ∞ if n is even. A pair (±a : b)
//! shares nearly all of its rows' work ([`super::lines`]). Where b > a the minus stands at b, (a : ±b): then a row of Aᵀ with
//! large powers of b has them with both signs, as has a row with large powers of a, and outputs of an even m stay half as
//! large. Every row of Bᵀ except that of the point 1 contains the factor (x − y), so its positive and its negative
//! entries have equal sums: inputs in [0, q) grow no more than centred ones would.
//!
//! Growth, the greatest sum of absolute values of a row: of Bᵀ (inputs; half of it counts, see above), of Aᵀ (m = n − 2,
//! three taps), of G for three and for five taps; s is the power of two in the common denominator of S.
//!
//! | n | points added | Bᵀ | Aᵀ | G, r = 3 | G, r = 5 | s |
//! |---|---|---|---|---|---|---|
//! | 3, 4 | 0, ±1 (∞) | 2 | 3 | 3 | – | 1 |
//! | 5, 6 | ±2 | 10 | 10, 19 | 7 | 31 | 3 |
//! | 7, 8 | ±1/2 | 50 | 37, 69 | 7 | 31 | 3 |
//! | 9, 10 | ±3 | 500 | 1590, 4635 | 13 | 121 | 4 |
//! | 11, 12 | ±1/3 | 5000 | 13641, 40397 | 13 | 121 | 8 |
//! | 13, 14 | ±3/2 | 65000 | 238250, 712691 | 19 | 211 | 8 |

/// Greatest n.
pub(super) const MAX_POINTS: usize = 14;
/// Pairs of points ±a/b that the greatest n takes.
pub(super) const MAX_PAIRS: usize = 6;
/// The pairs as (a, b), in the order in which they join.
pub(super) const PAIRS: [(i64, i64); MAX_PAIRS] = [(1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (3, 2)];

/// Coefficients of Π (b²·z − a²) over the first `pairs` pairs, without the pair `omit`; constant term first.
pub(super) const fn even_part(pairs: usize, omit: usize) -> [i64; MAX_PAIRS + 1] {
    let mut product = [0; MAX_PAIRS + 1];
    product[0] = 1;
    let mut pair = 0;
    while pair < pairs {
        if pair != omit {
            let (a, b) = PAIRS[pair];
            let mut k = MAX_PAIRS;
            while k > 0 {
                product[k] = product[k - 1] * b * b - product[k] * a * a;
                k -= 1;
            }
            product[0] *= -a * a;
        }
        pair += 1;
    }
    product
}

/// The matrices of one direction, dense and row-major. The fast forms of [`super::lines`] are held to them.
pub(super) struct Line {
    /// Outputs of a tile.
    pub(super) m: usize,
    /// Taps.
    pub(super) r: usize,
    /// Inputs of a tile, and products.
    pub(super) n: usize,
    /// G, n × r.
    weights: Vec<i64>,
    /// Bᵀ, n × n.
    pub(super) input: Vec<i64>,
    /// Aᵀ, m × n.
    pub(super) output: Vec<i64>,
    /// Row i of Bᵀ as a form, at the point i; S has the inverses.
    pub(super) divisors: Vec<i64>,
}

impl Line {
    /// F(m, r); one tap needs no transform, so its tile is one output.
    ///
    /// # Panics
    /// Unless m and r are positive and m + r − 1 at most [`MAX_POINTS`].
    pub(super) fn new(m: usize, r: usize) -> Self {
        let n = m + r - 1;
        assert!(m > 0 && r > 0 && n <= MAX_POINTS, "a tile of 1 to {MAX_POINTS} inputs");
        let pairs = (n - 1) / 2;
        let mut points = vec![(0, 1)];
        let mut input = vec![0; n * n];
        let all = even_part(pairs, MAX_PAIRS);
        for k in 0..=pairs {
            input[2 * k] = all[k];
        }
        for (pair, &(a, b)) in PAIRS[..pairs].iter().enumerate() {
            points.push((a, b));
            points.push(if a >= b { (-a, b) } else { (a, -b) });
            // x·(b·x ± a)·Π of the others.
            let others = even_part(pairs, pair);
            for k in 0..pairs {
                for (row, sign) in [(2 * pair + 1, 1), (2 * pair + 2, -1)] {
                    input[row * n + 2 * k + 1] = sign * a * others[k];
                    input[row * n + 2 * k + 2] = b * others[k];
                }
            }
        }
        if n.is_multiple_of(2) {
            points.push((1, 0));
            for k in 0..=pairs {
                input[(n - 1) * n + 2 * k + 1] = all[k];
            }
        }
        let power = |base: i64, exponent: usize| base.pow(exponent as u32);
        let form = |(a, b): (i64, i64), k: usize, degree: usize| power(a, k) * power(b, degree - k);
        let at = |count: usize| move |index: usize| (index / count, index % count);
        let weights = (0..n * r).map(at(r)).map(|(i, k)| form(points[i], k, r - 1)).collect();
        let output = (0..m * n).map(at(n)).map(|(k, i)| form(points[i], k, m - 1)).collect();
        let divisors =
            (0..n).map(|i| (0..n).map(|k| input[i * n + k] * form(points[i], k, n - 1)).sum()).collect();
        Self { m, r, n, weights, input, output, divisors }
    }

    /// The power of two in the common denominator of S.
    pub(super) fn twos(&self) -> u32 {
        self.divisors.iter().map(|divisor| divisor.trailing_zeros()).max().unwrap_or(0)
    }

    /// Row i of G.
    pub(super) fn weights(&self, i: usize) -> &[i64] {
        &self.weights[i * self.r..][..self.r]
    }

    /// Row k of Aᵀ at the pairs' plus points: the factors of Y₊ ± Y₋ (see [`super::lines`]).
    pub(super) fn pair_factors(&self) -> Vec<[i64; MAX_PAIRS]> {
        let factor = |k: usize, pair: usize| {
            if 2 * pair + 2 < self.n { self.output[k * self.n + 2 * pair + 1] } else { 0 }
        };
        (0..self.m).map(|k| std::array::from_fn(|pair| factor(k, pair))).collect()
    }
}

/// Sums of the positive and of the absolute negative entries of each row of a matrix with rows of `width`.
pub(super) fn signed_sums(matrix: &[i64], width: usize) -> Vec<(u128, u128)> {
    let side = |row: &[i64], sign: i64| row.iter().map(|&x| (sign * x).max(0) as u128).sum();
    matrix.chunks(width).map(|row| (side(row, 1), side(row, -1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y = Aᵀ[(Gg) ⊙ S ⊙ (Bᵀd)] over the rationals, times the common denominator.
    #[test]
    fn identity_over_the_integers() {
        for m in 1..=8 {
            for r in 1..=7 {
                let line = Line::new(m, r);
                let common: i128 = line.divisors.iter().fold(1, |common, &divisor| {
                    let (mut a, mut b) = (common, i128::from(divisor.abs()));
                    while b != 0 {
                        (a, b) = (b, a % b);
                    }
                    common / a * i128::from(divisor.abs())
                });
                // Linear in d and g: unit vectors suffice.
                for tap in 0..r {
                    for at in 0..line.n {
                        for k in 0..m {
                            let sum: i128 = (0..line.n)
                                .map(|i| {
                                    i128::from(line.output[k * line.n + i])
                                        * i128::from(line.weights[i * r + tap])
                                        * i128::from(line.input[i * line.n + at])
                                        * (common / i128::from(line.divisors[i]))
                                })
                                .sum();
                            assert_eq!(sum, if at == k + tap { common } else { 0 }, "F({m}, {r})");
                        }
                    }
                }
            }
        }
    }

    /// The table at the top.
    #[test]
    fn growth_is_what_the_table_says() {
        let growth = |matrix: &[i64], width: usize| {
            signed_sums(matrix, width).iter().map(|&(plus, minus)| plus + minus).max().unwrap()
        };
        for (n, input, output, three, five, twos) in [
            (4, 2, 3, 3, 0, 1),
            (6, 10, 19, 7, 31, 3),
            (8, 50, 69, 7, 31, 3),
            (9, 500, 1590, 13, 121, 4),
            (10, 500, 4635, 13, 121, 4),
            (12, 5000, 40_397, 13, 121, 8),
            (14, 65_000, 712_691, 19, 211, 8),
        ] {
            let line = Line::new(n - 2, 3);
            let wide = if five > 0 { growth(&Line::new(n - 4, 5).weights, 5) } else { 0 };
            assert_eq!(
                (
                    growth(&line.input, n),
                    growth(&line.output, n),
                    growth(&line.weights, 3),
                    wide,
                    line.twos()
                ),
                (input, output, three, five, twos),
                "{n}"
            );
        }
    }
}
