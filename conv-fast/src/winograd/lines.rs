//! The transforms of one line, Bᵀd and AᵀY, with the number of points known to the compiler.
//!
//! With the points 0, ±a_p/b_p, (∞) of [`super::points`] the rows of Bᵀ come in pairs
//!
//! ```text
//! u_p = Σ_k e_pk·d[2k+2]     v_p = Σ_k e_pk·d[2k+1]     e_p: coefficients of Π_{j≠p} (b_j²·z − a_j²)
//! rows ±: b_p·u_p ± a_p·v_p     row 0: Σ_k f_k·d[2k]     row ∞: Σ_k f_k·d[2k+1]     f: of Π_j (b_j²·z − a_j²)
//! ```
//!
//! and those of Aᵀ meet Y₊ + Y₋ and Y₊ − Y₋ by turns. So a pair costs little more than one of its points. All factors of
//! Bᵀ are constants here: zeros and ones vanish, others become shifts or multiplications as the compiler sees fit. Words
//! wrap; that sums stay within 62 bits over Z_q is checked where a tile is chosen.

use super::points::{MAX_PAIRS, PAIRS, even_part};
use super::vector::Vector;

/// Lines of N points.
pub(super) struct Points<const N: usize>;

impl<const N: usize> Points<N> {
    const PAIR_COUNT: usize = (N - 1) / 2;
    const INFINITY: bool = N.is_multiple_of(2);
    /// f.
    const ALL: [i64; MAX_PAIRS + 1] = even_part(Self::PAIR_COUNT, MAX_PAIRS);
    /// e.
    const OTHERS: [[i64; MAX_PAIRS + 1]; MAX_PAIRS] = {
        let mut rows = [[0; MAX_PAIRS + 1]; MAX_PAIRS];
        let mut pair = 0;
        while pair < Self::PAIR_COUNT {
            rows[pair] = even_part(Self::PAIR_COUNT, pair);
            pair += 1;
        }
        rows
    };

    /// Bᵀd.
    #[inline(always)]
    pub(super) fn input<V: Vector>(d: [V; N]) -> [V; N] {
        let mut out = [V::zero(); N];
        out[0] = d[0].times(Self::ALL[0]);
        for k in 1..=Self::PAIR_COUNT {
            out[0] = out[0].add(d[2 * k].times(Self::ALL[k]));
        }
        for pair in 0..Self::PAIR_COUNT {
            let (a, b) = PAIRS[pair];
            let factors = &Self::OTHERS[pair];
            let mut u = d[2].times(factors[0]);
            let mut v = d[1].times(factors[0]);
            for k in 1..Self::PAIR_COUNT {
                u = u.add(d[2 * k + 2].times(factors[k]));
                v = v.add(d[2 * k + 1].times(factors[k]));
            }
            let (u, v) = (u.times(b), v.times(a));
            out[2 * pair + 1] = u.add(v);
            out[2 * pair + 2] = u.sub(v);
        }
        if Self::INFINITY {
            let mut last = d[1].times(Self::ALL[0]);
            for k in 1..=Self::PAIR_COUNT {
                last = last.add(d[2 * k + 1].times(Self::ALL[k]));
            }
            out[N - 1] = last;
        }
        out
    }

    /// AᵀY for the rows of [`super::points::Line::pair_factors`].
    #[inline(always)]
    pub(super) fn output<V: Vector>(y: [V; N], factors: &[[i64; MAX_PAIRS]], mut to: impl Lines) {
        let mut even = [V::zero(); MAX_PAIRS];
        let mut odd = [V::zero(); MAX_PAIRS];
        let last = factors.len() - 1;
        for pair in 0..Self::PAIR_COUNT {
            let (plus, minus) = (y[2 * pair + 1], y[2 * pair + 2]);
            let (a, b) = PAIRS[pair];
            (even[pair], odd[pair]) = (plus.add(minus), plus.sub(minus));
            // (a : −b): the sign goes with the power of b, which falls as that of a rises.
            if b > a && last % 2 == 1 {
                (even[pair], odd[pair]) = (odd[pair], even[pair]);
            }
        }
        // The value at 0 belongs to the first row, that at ∞ to the last.
        let infinity = if Self::INFINITY { y[N - 1] } else { V::zero() };
        for k in (0..=last).step_by(2) {
            let mut value = if k == 0 { y[0] } else { V::zero() };
            for pair in 0..Self::PAIR_COUNT {
                value = value.add(even[pair].times(factors[k][pair]));
            }
            if k == last {
                to.put(k, value.add(infinity));
                return;
            }
            to.put(k, value);
            let mut value = if k + 1 == last { infinity } else { V::zero() };
            for pair in 0..Self::PAIR_COUNT {
                value = value.add(odd[pair].times(factors[k + 1][pair]));
            }
            to.put(k + 1, value);
        }
    }
}

/// Where [`Points::output`] writes its rows. (A closure would not be compiled for the caller's instruction set.)
pub(super) trait Lines {
    fn put<V: Vector>(&mut self, k: usize, value: V);
}

#[cfg(test)]
mod tests {
    use super::super::points::Line;
    use super::*;
    use crate::lanes::Signed;

    struct Collect<'a>(&'a mut Vec<i64>);

    impl Lines for Collect<'_> {
        fn put<V: Vector>(&mut self, k: usize, value: V) {
            let mut words = [0; 8];
            value.store(&mut words, 0);
            assert_eq!(self.0.len(), k);
            self.0.push(words[3] as i64);
        }
    }

    /// The rows against the dense matrices, on unit vectors.
    fn check<const N: usize>() {
        for m in N.saturating_sub(6).max(1)..=N.min(8) {
            let line = Line::new(m, N + 1 - m);
            for at in 0..N {
                let mut d = [Signed::zero(); N];
                d[at] = [1; 8];
                let column = Points::<N>::input(d).map(|row| row[0]);
                assert!((0..N).all(|i| column[i] == line.input[i * N + at]), "{N} {at}");
                let mut column = Vec::new();
                Points::<N>::output(d, &line.pair_factors(), Collect(&mut column));
                assert!((0..m).all(|k| column[k] == line.output[k * N + at]), "{N} {m} {at}");
            }
        }
    }

    #[test]
    fn rows_are_those_of_the_matrices() {
        check::<1>();
        check::<2>();
        check::<3>();
        check::<4>();
        check::<5>();
        check::<6>();
        check::<7>();
        check::<8>();
        check::<9>();
        check::<10>();
        check::<11>();
        check::<12>();
        check::<13>();
        check::<14>();
    }
}
