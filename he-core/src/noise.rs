//! What the split construction adds to a linear layer: standard deviations and hard bounds.
//!
//! q is the whole modulus here, all its primes together; limbs do not matter to the noise.
//!
//! With m and c the two shares of [`crate::split`], m + c - W x = small + rho s - W e modulo q, where
//!
//! | term | what | variance per coefficient |
//! |---|---|---|
//! | small | e s + e_pk u + e' | 2 N (eta/2)(2/3) + eta/2 |
//! | rho s | rounding of the reply to t bits, opened with the secret | (q/2^t)^2 / 12 * 2N/3 |
//! | W e | the client's input errors through the weights | \|\|W\|\|_2^2 eta/2 |
//!
//! and after the local switch to k bits another 1/6 unit^2 of two roundings. Standard deviations are those of ternary
//! secrets (variance 2/3) and centred binomial errors (variance eta/2).
//!
//! **Bounds.** A centred binomial is a sum of 2 eta independent half coins, hence sub-Gaussian with its own variance
//! eta/2 as parameter; multiplied with a ternary polynomial, whatever its values, N of them give parameter N eta/2. So
//! P(|small| > b) <= 2 exp(-b^2 / (2 v)), v = (2N + 1) eta/2, and a union bound over the N coefficients gives the b with
//! failure 2^-64 for the whole polynomial. For rho the same holds with (q/2^(t+1))^2 in place of eta/2 (Hoeffding) under
//! the usual assumption that the roundings of a pseudorandom polynomial are independent and centred; the lift back to Z_q
//! adds at most half a unit of Z_q to each rho. Dither and W e are the caller's: their own modules bound them.

use crate::params::Params;
use crate::sample::ERROR_ETA;

/// ln of the inverse failure probability that bounds are made for: 2^-64.
const LN_INVERSE_FAILURE: f64 = 64.0 * core::f64::consts::LN_2;

/// Standard deviations and bounds of the noise of one layer, in units of Z_q, for replies of t bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitNoise {
    n: f64,
    q: f64,
    /// q / 2^t: one unit of the reply.
    reply_unit: f64,
}

impl SplitNoise {
    /// The noise for a parameter set and replies of t bits.
    #[must_use]
    pub fn new(params: &Params, t: u32) -> Self {
        let q = params.q() as f64;
        Self { n: params.n() as f64, q, reply_unit: q / f64::from(t).exp2() }
    }

    /// Variance of one error coefficient: eta / 2.
    #[must_use]
    pub fn error_variance() -> f64 {
        f64::from(ERROR_ETA) / 2.0
    }

    /// Standard deviation of small = e s + e_pk u + e' (169.4 for N = 2048).
    #[must_use]
    pub fn small_deviation(&self) -> f64 {
        ((4.0 * self.n / 3.0 + 1.0) * Self::error_variance()).sqrt()
    }

    /// No coefficient of `small` of a polynomial is larger than this, but with probability 2^-64.
    #[must_use]
    pub fn small_bound(&self) -> f64 {
        self.tail() * ((2.0 * self.n + 1.0) * Self::error_variance()).sqrt()
    }

    /// Standard deviation of rho s, the reply's rounding times the secret: sqrt(N/18) q/2^t, lift included.
    #[must_use]
    pub fn rounding_deviation(&self) -> f64 {
        // The lift rounds to whole units of Z_q: another uniform error of width one.
        ((self.reply_unit.powi(2) + 1.0) / 12.0 * 2.0 * self.n / 3.0).sqrt()
    }

    /// No coefficient of rho s of a polynomial is larger than this, but with probability 2^-64 (see the module essay for
    /// the assumption); never above the certain bound N (q/2^(t+1) + 1/2).
    #[must_use]
    pub fn rounding_bound(&self) -> f64 {
        let largest = (self.reply_unit + 1.0) / 2.0;
        (self.tail() * self.n.sqrt() * largest).min(self.n * largest)
    }

    /// Standard deviation of W e for an output whose weights have this Euclidean norm.
    #[must_use]
    pub fn input_deviation(&self, weights_norm: f64) -> f64 {
        weights_norm * Self::error_variance().sqrt()
    }

    /// No coefficient of W e of a polynomial is larger than this, but with probability 2^-64.
    #[must_use]
    pub fn input_bound(&self, weights_norm: f64) -> f64 {
        self.tail() * self.input_deviation(weights_norm)
    }

    /// Standard deviation of everything, in units of the k-bit ring, after both shares were switched to k bits by rounding:
    /// small, rho s, the two roundings, and W e for weights of this Euclidean norm.
    #[must_use]
    pub fn switched_deviation(&self, k: u32, weights_norm: f64) -> f64 {
        let unit = self.q / f64::from(k).exp2();
        let variance = self.small_deviation().powi(2)
            + self.rounding_deviation().powi(2)
            + self.input_deviation(weights_norm).powi(2);
        (variance / unit.powi(2) + 1.0 / 6.0).sqrt()
    }

    /// How many standard parameters a sub-Gaussian coefficient stays within, for all N at once and failure 2^-64.
    fn tail(&self) -> f64 {
        (2.0 * (LN_INVERSE_FAILURE + (2.0 * self.n).ln())).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Profile;

    #[test]
    fn the_figures_of_the_protocol_document() {
        let noise = SplitNoise::new(&Params::new(Profile::Narrow), 22);
        assert!((noise.small_deviation() - 169.4).abs() < 0.1);
        assert!((noise.rounding_deviation() / 1024.0 - 10.67).abs() < 0.01);
        // sqrt(1/6 + (N/18) 4^(k-t)) units.
        let wide = SplitNoise::new(&Params::new(Profile::Wide), 24);
        for (k, expected) in [(18, 0.44), (20, 0.78), (22, 2.70)] {
            assert!(
                (wide.switched_deviation(k, 0.0) - expected).abs() < 0.01,
                "{}",
                wide.switched_deviation(k, 0.0)
            );
        }
        assert!((noise.input_deviation(100.0) - 324.0).abs() < 0.1);
        // Two limbs: N = 4096 and the whole q of 96 bits count.
        let exact = SplitNoise::new(&Params::new(Profile::Exact), 24);
        assert!((exact.small_deviation() - 239.5).abs() < 0.1);
        assert!((exact.rounding_deviation().log2() - (72.0 + (4096.0_f64 / 18.0).log2() / 2.0)).abs() < 1e-6);
        // sqrt(1/6 + 4096/18/4^6) units.
        assert!((exact.switched_deviation(18, 0.0) - 0.4714).abs() < 1e-3);
    }

    #[test]
    fn bounds_are_above_ten_deviations_and_below_the_certain_ones() {
        for profile in Profile::ALL {
            for t in [12, 18, 24] {
                let params = Params::new(profile);
                let noise = SplitNoise::new(&params, t);
                assert!(noise.small_bound() > 10.0 * noise.small_deviation());
                assert!(noise.rounding_bound() > 10.0 * noise.rounding_deviation());
                let n = params.n() as f64;
                assert!(noise.small_bound() <= (2.0 * n + 1.0) * f64::from(ERROR_ETA));
                assert!(noise.rounding_bound() <= n * (noise.reply_unit + 1.0) / 2.0);
                assert!(noise.input_bound(10.0) > 10.0 * noise.input_deviation(10.0));
            }
        }
    }
}
