//! Winograd's one-dimensional forms F(m, r): m outputs of a filter of r taps by n = m + r − 1 products.
//!
//! Toom and Cook's construction (S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast
//! Algorithms for Convolutional Neural Networks, 2016): with n − 1 distinct points p and ∞,
//!
//! ```text
//! y = Aᵀ (G g ⊙ Bᵀ d)
//! Bᵀ   row p: coefficients of Π_{q≠p} (x − q)        row ∞: coefficients of Π_q (x − q)
//! G    row p: (1, p, ..., p^{r−1}) / Π_{q≠p} (p − q)  row ∞: (0, ..., 0, 1)
//! Aᵀ   column p: (1, p, ..., p^{m−1})                column ∞: (0, ..., 0, 1)
//! ```
//!
//! The points are 0, ±p₁, ±p₂, ..., so that the rows of +p and −p share their even and their odd terms: the transforms
//! below compute both parts once. Positions: 0, then +p and −p of each pair, ∞ last; n is always even here.
//!
//! | n | pairs | forms |
//! |---|---|---|
//! | 4 | 1 | F(2,3) |
//! | 6 | 5/8, 3/2 | F(4,3), F(2,5) |
//! | 8 | 1/2, 1, 2 | F(6,3), F(4,5) |
//! | 10 | 7/16, 13/16, 5/4, 39/16 | F(6,5) |
//!
//! Points are dyadic and found by trial, for the least error (the customary 1, 2 of n = 6 has twice the error of those
//! above). Matrices are constants of the type [`Form`], so that the compiler drops zeros and unrolls.

#![expect(unsafe_code, reason = "vector arithmetic")]

use crate::float::lanes::{Lanes, Numbers, repeat};

/// The most products of a form.
pub(super) const MOST: usize = 10;

/// The positive points of forms with n products, in the order of positions.
const fn points(n: usize) -> [f64; 4] {
    match n {
        4 => [1.0, 0.0, 0.0, 0.0],
        6 => [0.625, 1.5, 0.0, 0.0],
        8 => [0.5, 1.0, 2.0, 0.0],
        _ => [0.4375, 0.8125, 1.25, 2.4375],
    }
}

/// F(M, R) with N = M + R − 1 products.
pub(super) struct Form<const M: usize, const R: usize, const N: usize>;

/// Entries of Bᵀ and G, rows by position.
pub(super) struct Matrices {
    input: [[f64; MOST]; MOST],
    weights: [[f64; MOST]; MOST],
}

/// The finite point of a position of forms with n products.
const fn point(n: usize, position: usize) -> f64 {
    if position == 0 {
        0.0
    } else if position % 2 == 1 {
        points(n)[(position - 1) / 2]
    } else {
        -points(n)[(position - 1) / 2]
    }
}

/// Bᵀ and G for r taps by n products.
pub(super) const fn matrices(r: usize, n: usize) -> Matrices {
    let mut all = Matrices { input: [[0.0; MOST]; MOST], weights: [[0.0; MOST]; MOST] };
    let mut row = 0;
    while row < n {
        // The product of x − q over the finite points q but this row's, lowest coefficient first.
        let mut product = [0.0; MOST];
        product[0] = 1.0;
        let mut scale = 1.0;
        let mut other = 0;
        while other < n - 1 {
            if other != row {
                let q = point(n, other);
                let mut i = MOST - 1;
                while i > 0 {
                    product[i] = product[i - 1] - q * product[i];
                    i -= 1;
                }
                product[0] *= -q;
                if row < n - 1 {
                    scale *= point(n, row) - q;
                }
            }
            other += 1;
        }
        all.input[row] = product;
        let mut power = 1.0;
        let mut tap = 0;
        while tap < r {
            all.weights[row][tap] = if row < n - 1 {
                power / scale
            } else if tap == r - 1 {
                1.0
            } else {
                0.0
            };
            if row < n - 1 {
                power *= point(n, row);
            }
            tap += 1;
        }
        row += 1;
    }
    all
}

impl Matrices {
    /// Entry of G.
    pub(super) fn weight(&self, position: usize, tap: usize) -> f64 {
        self.weights[position][tap]
    }
}

impl<const M: usize, const R: usize, const N: usize> Form<M, R, N> {
    const MATRICES: Matrices = matrices(R, N);
    /// Aᵀ: powers of the positive points, row by output.
    const POWERS: [[f64; 4]; MOST] = {
        let mut powers = [[1.0; 4]; MOST];
        let mut output = 1;
        while output < MOST {
            let mut pair = 0;
            while pair < 4 {
                powers[output][pair] = powers[output - 1][pair] * points(N)[pair];
                pair += 1;
            }
            output += 1;
        }
        powers
    };

    /// Bᵀ d.
    ///
    /// # Safety
    /// The machine has the instruction set of L.
    #[inline(always)]
    pub(super) unsafe fn input<L: Lanes>(d: [L; N]) -> [L; N] {
        let rows = &Self::MATRICES.input;
        // SAFETY: as the caller's.
        unsafe {
            let mut out = d;
            out[0] = combine::<L, N>(&rows[0], &d, 0);
            repeat!(PAIR in 0 1 2 3 {
                if 2 * PAIR + 3 < N {
                    let even = combine::<L, N>(&rows[2 * PAIR + 1], &d, 0);
                    let odd = combine::<L, N>(&rows[2 * PAIR + 1], &d, 1);
                    out[2 * PAIR + 1] = even.add(odd);
                    out[2 * PAIR + 2] = even.sub(odd);
                }
            });
            out[N - 1] = combine::<L, N>(&rows[N - 1], &d, 1);
            out
        }
    }

    /// Aᵀ y.
    ///
    /// # Safety
    /// The machine has the instruction set of L.
    #[inline(always)]
    pub(super) unsafe fn output<L: Lanes>(y: [L; N]) -> [L; M] {
        // SAFETY: as the caller's.
        unsafe {
            let (mut even, mut odd) = ([y[0]; 4], [y[0]; 4]);
            repeat!(PAIR in 0 1 2 3 {
                if 2 * PAIR + 3 < N {
                    even[PAIR] = y[2 * PAIR + 1].add(y[2 * PAIR + 2]);
                    odd[PAIR] = y[2 * PAIR + 1].sub(y[2 * PAIR + 2]);
                }
            });
            let mut out = [y[0]; M];
            repeat!(OUTPUT in 0 1 2 3 4 5 {
                if OUTPUT < M {
                    let parts = if OUTPUT.is_multiple_of(2) { even } else { odd };
                    let powers = &Self::POWERS[OUTPUT];
                    let mut sum = product(parts[0], powers[0]);
                    repeat!(PAIR in 1 2 3 {
                        if 2 * PAIR + 3 < N {
                            sum = scaled(parts[PAIR], powers[PAIR], sum);
                        }
                    });
                    if OUTPUT == 0 {
                        sum = sum.add(y[0]);
                    }
                    if OUTPUT == M - 1 {
                        sum = sum.add(y[N - 1]);
                    }
                    out[OUTPUT] = sum;
                }
            });
            out
        }
    }
}

/// The terms of a row with even (0) or odd (1) index. The first is never zero, but for the coefficient of 1 in rows that
/// have none.
#[inline(always)]
unsafe fn combine<L: Lanes, const N: usize>(row: &[f64; MOST], d: &[L; N], parity: usize) -> L {
    // SAFETY: as the caller's.
    unsafe {
        let mut sum = None;
        repeat!(TERM in 0 1 2 3 4 5 6 7 8 9 {
            if TERM < N && TERM % 2 == parity && row[TERM] != 0.0 {
                sum = match sum {
                    None => Some(product(d[TERM], row[TERM])),
                    Some(sum) => Some(scaled(d[TERM], row[TERM], sum)),
                };
            }
        });
        sum.unwrap_or_else(|| L::splat(L::Number::default()))
    }
}

/// x·factor.
#[inline(always)]
unsafe fn product<L: Lanes>(x: L, factor: f64) -> L {
    // SAFETY: as the caller's.
    unsafe { if factor == 1.0 { x } else { L::splat(L::Number::from_f64(factor)).mul(x) } }
}

/// x·factor + sum.
#[inline(always)]
unsafe fn scaled<L: Lanes>(x: L, factor: f64, sum: L) -> L {
    // SAFETY: as the caller's.
    unsafe {
        if factor == 1.0 {
            sum.add(x)
        } else if factor == -1.0 {
            sum.sub(x)
        } else {
            L::splat(L::Number::from_f64(factor)).mul_add(x, sum)
        }
    }
}
