//! Roots of unity to 126 bits after the binary point.
//!
//! exp(i theta) by its Taylor series in numbers of 192 bits after the point, theta = 2 pi k / order straight from the
//! digits of pi: no recurrence, so no error adds up from root to root.
//!
//! | quantity | error |
//! |---|---|
//! | theta, of at most 2 pi | 2^-191 |
//! | a term, at most 86 | below 2^-184: each of its 100 or so products and quotients rounds down once |
//! | a sum of terms | below 2^-177 |
//! | a part of a root | half of 2^-126, and 2^-177 |
//!
//! For tables, which are public: steps depend on values here.

use super::integer::{ROOT_BITS, Wide};

/// pi in units of 2^-192: 3.243F6A88 85A308D3 13198A2E 03707344 A4093822 299F31D0 in base 16.
const PI: Wide = Wide([0xA409_3822_299F_31D0, 0x1319_8A2E_0370_7344, 0x243F_6A88_85A3_08D3, 3]);

/// The bits after the binary point here.
const BITS: u32 = 192;

/// cos and sin of 2 pi k / order in units of 2^-126, for an order that is a power of two up to 2^20.
pub(super) fn root(k: usize, order: usize) -> [i128; 2] {
    assert!(order.is_power_of_two() && order <= 1 << 20, "roots of order {order}");
    let theta = PI.mul_small(2 * (k % order) as u64).div_small(order as u64);
    // The even terms make the cosine, the odd ones the sine; signs change with every two.
    let mut sums = [Wide::ZERO; 2];
    let mut term = Wide([0, 0, 0, 1]);
    let mut at = 0;
    while term != Wide::ZERO {
        let sum = &mut sums[at % 2];
        *sum = if at % 4 < 2 { sum.add(term) } else { sum.sub(term) };
        at += 1;
        term = term.mul_fraction(theta).div_small(at as u64);
    }
    sums.map(|sum| sum.shift_round(BITS - ROOT_BITS).to_i128())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rns::big::Big;

    #[test]
    fn roots_agree_with_the_sines_of_this_platform() {
        let unit = 2.0_f64.powi(126);
        for order in [1, 2, 8, 4096, 1 << 17] {
            for k in (0..order).step_by((order / 512).max(1)) {
                let (sin, cos) = (core::f64::consts::TAU * k as f64 / order as f64).sin_cos();
                let [c, s] = root(k, order);
                assert!((c as f64 / unit - cos).abs() < 1.5e-15 && (s as f64 / unit - sin).abs() < 1.5e-15);
            }
        }
    }

    /// What makes them roots: quadrants that mirror each other, the unit circle, and products, all to the last bits.
    #[test]
    fn roots_multiply_as_roots_do() {
        let (order, one) = (1 << 16, Big::new(1 << 126));
        let off = |x: Big| x.abs().to_f64();
        for k in (0..order).step_by(977) {
            let [c, s] = root(k, order);
            assert_eq!(root(k + order, order), [c, s]);
            let [d, t] = root(k + order / 4, order);
            assert!((d + s).abs() <= 1 && (t - c).abs() <= 1);
            let [c, s] = [c, s].map(Big::new);
            let norm = c.mul(&c).add(&s.mul(&s)).round_div(&one).sub(&one);
            assert!(off(norm) <= 3.0, "root {k} is off the circle");
            let [e, u] = root(3 * k + 5, order).map(Big::new);
            let [f, v] = root(4 * k + 5, order).map(Big::new);
            let re = c.mul(&e).sub(&s.mul(&u)).round_div(&one).sub(&f);
            let im = c.mul(&u).add(&s.mul(&e)).round_div(&one).sub(&v);
            assert!(off(re) <= 3.0 && off(im) <= 3.0, "the product of roots {k} and {}", 3 * k + 5);
        }
        assert_eq!(root(0, 8), [1 << 126, 0]);
        assert_eq!(root(2, 8), [0, 1 << 126]);
    }
}
