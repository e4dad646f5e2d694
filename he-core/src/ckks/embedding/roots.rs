//! Roots of unity in double precision, correctly rounded but for rare half-way cases, on any machine.
//!
//! Sines of the standard library come from the platform and differ in their last bit between platforms; here every
//! root is a product of two numbers in double-double arithmetic (T. J. Dekker, *A floating-point technique for
//! extending the available precision*, Numer. Math. 18, 1971) and rounded once. Only IEEE sums, products and square
//! roots are used, so that all machines build the same tables and encode the same bytes.
//!
//! | quantity | error |
//! |---|---|
//! | a double-double sum or product | below 2^-102 relative to the size of its operands |
//! | a root before rounding | below 2^-96: at most 17 halvings and 18 products |
//! | a root of the table, each part | half a unit in the last place, plus 2^-96 |

use crate::ckks::complex::Complex;

/// high + low, |low| at most half a unit in the last place of high.
#[derive(Clone, Copy)]
struct Double {
    high: f64,
    low: f64,
}

impl Double {
    const fn of(high: f64) -> Self {
        Self { high, low: 0.0 }
    }

    /// a + b exactly.
    fn two_sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let part = high - a;
        Self { high, low: (a - (high - part)) + (b - part) }
    }

    /// a * b exactly, with Dekker's splitting: fused multiply-add would be a library call on some machines.
    fn two_product(a: f64, b: f64) -> Self {
        let split = |x: f64| {
            let wide = 134_217_729.0 * x; // 2^27 + 1
            let high = wide - (wide - x);
            (high, x - high)
        };
        let high = a * b;
        let ((a1, a0), (b1, b0)) = (split(a), split(b));
        Self { high, low: ((a1 * b1 - high) + a1 * b0 + a0 * b1) + a0 * b0 }
    }

    fn add(self, other: Self) -> Self {
        let sum = Self::two_sum(self.high, other.high);
        let low = Self::two_sum(self.low, other.low);
        let sum = Self::two_sum(sum.high, sum.low + low.high);
        Self::two_sum(sum.high, sum.low + low.low)
    }

    fn neg(self) -> Self {
        Self { high: -self.high, low: -self.low }
    }

    fn mul(self, other: Self) -> Self {
        let product = Self::two_product(self.high, other.high);
        Self::two_sum(product.high, product.low + (self.high * other.low + self.low * other.high))
    }

    fn half(self) -> Self {
        Self { high: self.high / 2.0, low: self.low / 2.0 }
    }

    /// The square root of a positive number: one Newton step from the rounded root.
    fn sqrt(self) -> Self {
        let root = self.high.sqrt();
        let rest = self.add(Self::two_product(root, root).neg());
        Self::two_sum(root, rest.high / (2.0 * root))
    }

    /// self / divisor by two steps of long division.
    fn div(self, divisor: Self) -> Self {
        let first = self.high / divisor.high;
        let rest = self.add(divisor.mul(Self::of(first)).neg());
        Self::two_sum(first, rest.high / divisor.high)
    }
}

/// A complex number of two double-doubles.
#[derive(Clone, Copy)]
struct Root {
    re: Double,
    im: Double,
}

impl Root {
    const ONE: Self = Self { re: Double::of(1.0), im: Double::of(0.0) };

    fn mul(self, other: Self) -> Self {
        Self {
            re: self.re.mul(other.re).add(self.im.mul(other.im).neg()),
            im: self.re.mul(other.im).add(self.im.mul(other.re)),
        }
    }

    /// exp(i theta / 2) from exp(i theta), 0 < theta <= pi / 2.
    fn halved(self) -> Self {
        let re = Double::of(1.0).add(self.re).half().sqrt();
        let im = self.im.div(re).half();
        Self { re, im }
    }
}

/// The roots of unity of one order, made from two short tables: exp(2 pi i (low + high * split) / order).
pub(super) struct Roots {
    order: usize,
    low: Vec<Root>,
    high: Vec<Root>,
}

impl Roots {
    /// For `order`, a power of two, at least 4.
    pub(super) fn new(order: usize) -> Self {
        let bits = order.trailing_zeros();
        // exp(2 pi i 2^k / order) for k = 0..bits-1: the last is i^2 = -1, the one before i, the others halve.
        let mut powers = vec![Root::ONE; bits as usize];
        let quarter = bits as usize - 2;
        powers[quarter + 1] = Root { re: Double::of(-1.0), im: Double::of(0.0) };
        powers[quarter] = Root { re: Double::of(0.0), im: Double::of(1.0) };
        for k in (0..quarter).rev() {
            powers[k] = powers[k + 1].halved();
        }
        let table = |powers: &[Root]| {
            let mut table = vec![Root::ONE];
            for &power in powers {
                let shifted: Vec<_> = table.iter().map(|root| root.mul(power)).collect();
                table.extend(shifted);
            }
            table
        };
        let (low, high) = powers.split_at(powers.len() / 2);
        Self { order, low: table(low), high: table(high) }
    }

    /// exp(2 pi i k / order) for any k.
    pub(super) fn get(&self, k: usize) -> Complex {
        let k = k % self.order;
        let root = self.low[k % self.low.len()].mul(self.high[k / self.low.len()]);
        Complex::new(root.re.high, root.im.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_agree_with_the_sines_of_this_platform() {
        for order in [4, 8, 32, 4096, 1 << 17] {
            let roots = Roots::new(order);
            for k in (0..order).step_by((order / 4096).max(1)) {
                let (sin, cos) = (core::f64::consts::TAU * k as f64 / order as f64).sin_cos();
                let root = roots.get(k);
                // The argument of the platform's sine is itself off by 2^-53 * 2 pi.
                assert!((root.re - cos).abs() < 1.5e-15 && (root.im - sin).abs() < 1.5e-15, "{k} of {order}");
                assert_eq!(root, roots.get(k + order));
            }
        }
    }

    #[test]
    fn roots_known_to_many_digits() {
        // cos(pi/4), cos(pi/8), sin(pi/8), and for 2 pi / 2^17 from the first terms of the series, exact enough in f64.
        let roots = Roots::new(16);
        assert_eq!(
            roots.get(2),
            Complex::new(core::f64::consts::FRAC_1_SQRT_2, core::f64::consts::FRAC_1_SQRT_2)
        );
        assert_eq!(roots.get(1), Complex::new(0.923_879_532_511_286_7, 0.382_683_432_365_089_8));
        let theta = core::f64::consts::TAU / 131_072.0;
        let fine = Roots::new(1 << 17).get(1);
        let square = theta * theta;
        assert_eq!(fine.re, 1.0 - (square / 2.0 - square * square / 24.0));
        let sin = theta - theta * square / 6.0;
        assert!((fine.im - sin).abs() <= f64::EPSILON * sin);
    }

    #[test]
    fn quadrants_are_exact_mirrors() {
        let order = 1 << 10;
        let roots = Roots::new(order);
        for k in 0..order / 4 {
            let root = roots.get(k);
            assert_eq!(roots.get(k + order / 4), Complex::new(-root.im, root.re));
            assert_eq!(roots.get(order - k), root.conj());
        }
    }
}
