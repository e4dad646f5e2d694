//! Smooth activation functions and their approximation by short polynomials, with certified errors.
//!
//! **Functions** ([`Smooth`]) are evaluated in `f64` by straight-line arithmetic: no branch, no table, no call of a
//! system library, since the client evaluates them at points that depend on its secret shares. e^x is 2^n·e^r with
//! |r| ≤ ln(2)/2 and a Taylor polynomial of degree 13. The error function is the trapezoidal sum with half-step
//! offset of Matta and Reichl, *Uniform computation of the error function* (Mathematics of Computation 25, 1971), at
//! step 0.55 with ten terms. ln(1 + t) is 2·artanh(t/(2 + t)) with 16 terms. All are within 10^−13 of the function,
//! times its size.
//!
//! **Pieces** ([`pieces`]) interpolate at the Chebyshev nodes of an interval of length ℓ: two for degree 1, three for
//! degree 2, so that (Cauchy's remainder)
//!
//! | degree | error at most | ELU, whose f'' jumps from 1 to 0 |
//! |---|---|---|
//! | 1 | max\|f''\|·ℓ²/16 | the same |
//! | 2 | max\|f'''\|·ℓ³/192 | ℓ²/12 |
//!
//! The last: interpolation is exact for x²/4, so f'' counts from its middle, at most 1/2; the best line is off by a
//! sixteenth of that times ℓ², and the norm of interpolation in three nodes, 5/3, adds one to its own.
//!
//! | function | max\|f'\| | max\|f''\| | max\|f'''\| |
//! |---|---|---|---|
//! | sigmoid 1/(1 + e^−x) | 1/4 | 0.0963 | 1/8 |
//! | tanh | 1 | 0.770 | 2 |
//! | GELU x·Φ(x) | 1.129 | 0.798 | 0.779 |
//! | GELU, tanh form | 1.130 | 0.798 | 0.777 |
//! | SiLU x·sigmoid(x) | 1.100 | 1/2 | 0.309 |
//! | softplus ln(1 + e^x) | 1 | 1/4 | 0.0963 |
//! | ELU (α = 1) | 1 | 1 | – |
//! | e^x up to x = R | e^R | e^R | e^R |
//!
//! **Same bits everywhere.** Values inside a table are one party's affair, but the *shape* of a look-up follows from error
//! bounds, which both parties compute ([`crate::lookup::LookupSpec::new`]) and have to agree on. Only additions,
//! multiplications, divisions and square roots of `f64` in a fixed order are used, which IEEE 754 defines to the last bit
//! and Rust neither reorders nor fuses: no `sin`, `exp` or `powf` of a system library may come in here.
//!
//! Not promised: the last bits of a function. Nor equal times where a product is too small for a normal `f64` and a
//! processor is slow then: softplus beyond |x| = 354 alone comes there.

/// A smooth function of one variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Smooth {
    /// 1/(1 + e^−x).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// x·Φ(x), Φ the normal distribution.
    Gelu,
    /// x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
    GeluTanh,
    /// x/(1 + e^−x), also called swish.
    Silu,
    /// ln(1 + e^x).
    Softplus,
    /// x for x ≥ 0, e^x − 1 below.
    Elu,
    /// e^x.
    Exp,
}

impl Smooth {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Sigmoid,
        Self::Tanh,
        Self::Gelu,
        Self::GeluTanh,
        Self::Silu,
        Self::Softplus,
        Self::Elu,
        Self::Exp,
    ];

    /// The name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu-tanh",
            Self::Silu => "silu",
            Self::Softplus => "softplus",
            Self::Elu => "elu",
            Self::Exp => "exp",
        }
    }

    /// f(x), for |x| below 700.
    pub fn value(self, x: f64) -> f64 {
        let mut values = [x];
        self.values(&mut values);
        values[0]
    }

    /// Replaces every x by f(x), for |x| below 700.
    pub fn values(self, x: &mut [f64]) {
        match self {
            Self::Sigmoid => map(x, sigmoid),
            Self::Tanh => map(x, tanh),
            Self::Gelu => map(x, |x| x * 0.5 * erfc(-x * core::f64::consts::FRAC_1_SQRT_2)),
            Self::GeluTanh => map(x, |x| x * sigmoid(2.0 * GELU_SCALE * (x + 0.044715 * x * x * x))),
            Self::Silu => map(x, |x| x * sigmoid(x)),
            Self::Softplus => map(x, softplus),
            Self::Elu => map(x, |x| x.max(0.0) + (exp(x.min(0.0)) - 1.0)),
            Self::Exp => map(x, exp),
        }
    }

    /// Bounds of |f'|, |f''| and |f'''| up to `end`, the right end of the range; no third where it does not exist.
    pub fn derivative_bounds(self, end: f64) -> (f64, f64, Option<f64>) {
        match self {
            Self::Sigmoid => (0.25, 0.0963, Some(0.125)),
            Self::Tanh => (1.0, 0.77, Some(2.0)),
            Self::Gelu => (1.13, 0.798, Some(0.779)),
            Self::GeluTanh => (1.13, 0.798, Some(0.777)),
            Self::Silu => (1.1, 0.5, Some(0.309)),
            Self::Softplus => (1.0, 0.25, Some(0.0963)),
            Self::Elu => (1.0, 1.0, None),
            Self::Exp => (exp(end), exp(end), Some(exp(end))),
        }
    }

    /// The bound of this module on the error of pieces of real length `length`, in a range up to `end`. `degree` is 1 or 2.
    pub fn interpolation_bound(self, degree: u32, length: f64, end: f64) -> f64 {
        let (_, second, third) = self.derivative_bounds(end);
        match (degree, third) {
            (1, _) => second * length * length / 16.0,
            (_, Some(third)) => third * length * length * length / 192.0,
            (_, None) => second * length * length / 12.0,
        }
    }
}

/// A piece: f(centre + half·t) ≈ p\[0\] + p\[1\]·t + p\[2\]·t² for t in \[−1, 1\].
pub type Piece = [f64; 3];

/// The pieces of degree 1 or 2 around `centres`, each of `half` to both sides. `out` is as long as `centres`.
pub fn pieces(function: Smooth, degree: u32, centres: &[f64], half: f64, out: &mut [Piece]) {
    let node = if degree == 1 { core::f64::consts::FRAC_1_SQRT_2 } else { 0.75f64.sqrt() };
    let mut values = [[0.0f64; BLOCK]; 3];
    for (centres, out) in centres.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        let n = centres.len();
        for (j, values) in values.iter_mut().enumerate().take(if degree == 1 { 2 } else { 3 }) {
            let offset = [-half * node, half * node, 0.0][j];
            values.iter_mut().zip(centres).for_each(|(value, centre)| *value = centre + offset);
            function.values(&mut values[..n]);
        }
        let [left, right, middle] = &values;
        for (i, piece) in out.iter_mut().enumerate() {
            let (sum, difference) = (left[i] + right[i], right[i] - left[i]);
            let slope = difference / (2.0 * node);
            *piece = if degree == 1 {
                [sum / 2.0, slope, 0.0]
            } else {
                [middle[i], slope, (sum - 2.0 * middle[i]) / (2.0 * node * node)]
            };
        }
    }
    values.iter_mut().for_each(|values| crate::hash::wipe(values));
}

/// Pieces that are evaluated together.
const BLOCK: usize = 64;

/// √(2/π).
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;

/// Adding and subtracting it rounds to an integer; its last bits hold that integer.
const MAGIC: f64 = 6_755_399_441_055_744.0;

/// 2^n for n up to 1000, exactly on every machine.
pub(crate) fn pow2(n: u32) -> f64 {
    f64::from_bits((1023 + u64::from(n)) << 52)
}

/// The nearest integer, for |x| up to 2^51 (greater ones are cut): one addition, no conversion that branches.
pub(crate) fn round(x: f64) -> i64 {
    const LIMIT: f64 = (1i64 << 50) as f64;
    (x.clamp(-LIMIT, LIMIT) + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i64
}

#[inline(always)]
fn map(x: &mut [f64], f: impl Fn(f64) -> f64) {
    x.iter_mut().for_each(|x| *x = f(*x));
}

/// e^x; x is cut to \[−700, 700\].
#[inline(always)]
fn exp(x: f64) -> f64 {
    const HIGH: f64 = 0.693_145_751_953_125;
    const LOW: f64 = core::f64::consts::LN_2 - HIGH;
    /// 1/n! from n = 13 down to 0.
    const TAYLOR: [f64; 14] = {
        let (mut terms, mut value, mut n) = ([0.0; 14], 1.0, 0);
        while n < 14 {
            terms[13 - n] = value;
            n += 1;
            value /= n as f64;
        }
        terms
    };
    let x = x.clamp(-700.0, 700.0);
    let turns = x * core::f64::consts::LOG2_E + MAGIC;
    let n = turns - MAGIC;
    let r = (x - n * HIGH) - n * LOW;
    let mantissa = TAYLOR.iter().fold(0.0, |sum, term| sum * r + term);
    let power = turns.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(1023) << 52;
    mantissa * f64::from_bits(power)
}

#[inline(always)]
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn tanh(x: f64) -> f64 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

#[inline(always)]
fn softplus(x: f64) -> f64 {
    let t = exp(-x.abs());
    let s = t / (2.0 + t);
    let square = s * s;
    let series = (0..16).rev().fold(0.0, |sum, n| sum * square + 1.0 / f64::from(2 * n + 1));
    x.max(0.0) + 2.0 * s * series
}

/// 1 − erf(x).
#[inline(always)]
fn erfc(x: f64) -> f64 {
    const STEP: f64 = 0.55;
    const TERMS: usize = 10;
    /// Squares of the nodes and the Gaussian there.
    const NODES: [(f64, f64); TERMS] = {
        let (mut nodes, mut n) = ([(0.0, 0.0); TERMS], 0);
        while n < TERMS {
            let node = (n as f64 + 0.5) * STEP;
            nodes[n] = (node * node, const_exp(-node * node));
            n += 1;
        }
        nodes
    };
    let square = x * x;
    let sum = NODES.iter().fold(0.0, |sum, &(node, weight)| sum + weight / (node + square));
    let step = 2.0 * STEP / core::f64::consts::PI * x * exp(-square) * sum;
    step + 2.0 / (1.0 + exp(2.0 * core::f64::consts::PI / STEP * x))
}

/// e^x for the table above: a Taylor series of e^(x/64), squared six times.
const fn const_exp(x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (1.0, 1.0, 1);
    while n < 20 {
        term *= x / 64.0 / n as f64;
        sum += term;
        n += 1;
    }
    let mut i = 0;
    while i < 6 {
        sum *= sum;
        i += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slow twins from other formulas, and the system's e^x.
    fn slow(function: Smooth, x: f64) -> f64 {
        match function {
            Smooth::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Smooth::Tanh => x.tanh(),
            Smooth::Gelu => x * (0.5 + erf_slow(x / 2f64.sqrt()) / 2.0),
            Smooth::GeluTanh => {
                x / 2.0 * (1.0 + ((2.0 / core::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }
            Smooth::Silu => x / (1.0 + (-x).exp()),
            Smooth::Softplus => {
                if x > 30.0 {
                    x
                } else {
                    x.exp().ln_1p()
                }
            }
            Smooth::Elu => {
                if x < 0.0 {
                    x.exp_m1()
                } else {
                    x
                }
            }
            Smooth::Exp => x.exp(),
        }
    }

    /// 2/√π·e^(−x²)·Σ 2^n·x^(2n+1)/(2n+1)!!, all terms of one sign.
    fn erf_slow(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..400 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        sum * (-x * x).exp() * core::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn functions_match_other_formulas() {
        for function in Smooth::ALL {
            let mut worst = 0f64;
            for i in -40_000..=40_000 {
                let x = f64::from(i) / 2500.0;
                let (fast, exact) = (function.value(x), slow(function, x));
                worst = worst.max((fast - exact).abs() / exact.abs().max(1.0));
            }
            assert!(worst < 1e-13, "{}: {worst:e}", function.name());
        }
        // The extremes stay finite.
        for function in Smooth::ALL {
            assert!(function.value(-690.0).is_finite() && function.value(690.0).is_finite());
        }
    }

    #[test]
    fn derivatives_keep_within_their_bounds_and_reach_them() {
        for function in Smooth::ALL {
            let (first, second, third) = function.derivative_bounds(8.0);
            let mut seen = [0f64; 3];
            let d = 1.0 / 256.0;
            for i in -8 * 512..8 * 512 - 4 {
                let x = f64::from(i) / 512.0;
                let [a, b, c, e] = [0.0, d, 2.0 * d, 3.0 * d].map(|s| function.value(x + s));
                // Divided differences are derivatives somewhere in between.
                seen[0] = seen[0].max(((b - a) / d).abs());
                seen[1] = seen[1].max(((c - 2.0 * b + a) / (d * d)).abs());
                seen[2] = seen[2].max(((e - 3.0 * c + 3.0 * b - a) / (d * d * d)).abs());
            }
            for (seen, bound) in seen.into_iter().zip([Some(first), Some(second), third]) {
                if let Some(bound) = bound {
                    assert!(seen <= bound * (1.0 + 1e-6), "{}: {seen} > {bound}", function.name());
                    assert!(seen > 0.97 * bound, "{}: {seen} is far below {bound}", function.name());
                }
            }
        }
    }

    #[test]
    fn pieces_keep_within_the_bound() {
        for function in Smooth::ALL {
            for degree in [1, 2] {
                for length in [0.25, 0.5, 1.0, 1.7] {
                    let centres: Vec<f64> = (-30..30).map(|i| f64::from(i) * 0.237).collect();
                    let mut out = vec![[0.0; 3]; centres.len()];
                    pieces(function, degree, &centres, length / 2.0, &mut out);
                    let bound = function.interpolation_bound(degree, length, 8.0);
                    let mut worst = 0f64;
                    for (centre, p) in centres.iter().zip(&out) {
                        for i in -50..=50 {
                            let t = f64::from(i) / 50.0;
                            let near = p[0] + t * (p[1] + t * p[2]);
                            worst = worst.max((near - function.value(centre + t * length / 2.0)).abs());
                        }
                    }
                    assert!(
                        worst <= bound * (1.0 + 1e-9),
                        "{} {degree} {length}: {worst} > {bound}",
                        function.name()
                    );
                    assert!(
                        worst > bound / 50.0,
                        "{} {degree} {length}: {worst} is far below {bound}",
                        function.name()
                    );
                }
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest() {
        for x in [0.0, 0.49, -0.49, 0.51, -0.51, 1e6 + 0.3, -1e15 - 0.25, 1.1e15, -1e18, 1e300] {
            let limit = (1i64 << 50) as f64;
            assert_eq!(round(x), x.clamp(-limit, limit).round() as i64, "{x}");
        }
        assert_eq!((pow2(0), pow2(1), pow2(60)), (1.0, 2.0, (1u64 << 60) as f64));
    }
}
