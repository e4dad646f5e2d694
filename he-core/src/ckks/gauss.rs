//! Exact discrete Gaussians of any width, for noise that is to hide other noise.
//!
//! C. Canonne, G. Kamath, T. Steinke, *The discrete Gaussian for differential privacy* (NeurIPS 2020, algorithms 1 to
//! 3): rejection from a discrete Laplace, with coins of probability exp(-g) tossed in integers. No logarithm, no
//! rounding: for sigma = 2^k, k <= 57, x comes with probability proportional to exp(-x^2 / 2 sigma^2), exactly, if
//! the stream is uniform.
//!
//! | k | answer |
//! |---|---|
//! | 0..=57 | X with sigma = 2^k |
//! | 58..=110 | 2^c X + U, c = k - 57, X with sigma = 2^57, U uniform in \[0, 2^c) |
//!
//! For the wide form let h be any integer function x -> floor((x + U) / 2^c) for fixed (x + U) mod 2^c, which does
//! not depend on x in distribution: x + 2^c X + U is a function of h(x) + X and of that remainder, and |h(x) - h(x')|
//! <= |x - x'| / 2^c + 1. So it hides a difference of t as a discrete Gaussian of width 2^57 hides t / 2^c + 1.
//!
//! **Time** depends on the draws: candidates are rejected, and coins tossed until one falls. The number of draws
//! tells a little about the noise to whoever can time the key's owner to the nanosecond; the noise itself is used
//! once.

use rand_core::Rng;

/// Widths up to 2^57 are exact: squares of candidates fit 128 bits.
pub(super) const EXACT_LOG2: u32 = 57;
/// The widest.
pub(super) const MOST_LOG2: u32 = 110;

/// One draw with sigma = 2^`log2_sigma`, at most [`MOST_LOG2`].
pub(super) fn sample(rng: &mut impl Rng, log2_sigma: u32) -> i128 {
    assert!(log2_sigma <= MOST_LOG2, "a Gaussian of width 2^{log2_sigma}");
    let coarse = log2_sigma.saturating_sub(EXACT_LOG2);
    let x = exact(rng, log2_sigma - coarse);
    let low = if coarse == 0 { 0 } else { u128::from(rng.next_u64() >> (64 - coarse)) };
    (i128::from(x) << coarse) + low as i128
}

/// Algorithm 3 with t = sigma = 2^k.
fn exact(rng: &mut impl Rng, k: u32) -> i64 {
    loop {
        let y = laplace(rng, k);
        // (|y| - sigma^2 / t)^2 / 2 sigma^2; |y| is below 2^63.
        let distance = u128::from(y.unsigned_abs().abs_diff(1 << k));
        let square = distance * distance;
        let shift = 2 * k + 1;
        let whole = square.checked_shr(shift).unwrap_or(0);
        let fraction = square & mask(shift);
        if (0..whole).all(|_| coin(rng, 1, 0)) && coin(rng, fraction, shift) {
            return y;
        }
    }
}

/// Algorithm 2: y with probability proportional to exp(-|y| / 2^k).
fn laplace(rng: &mut impl Rng, k: u32) -> i64 {
    loop {
        let low = rng.next_u64() & mask(k) as u64;
        if !coin(rng, u128::from(low), k) {
            continue;
        }
        // Beyond 2^63 only with probability exp(-2^6); such a draw starts anew, below.
        let Some(magnitude) = (0_u64..)
            .find(|_| !coin(rng, 1, 0))
            .and_then(|high| high.checked_mul(1 << k)?.checked_add(low))
            .and_then(|magnitude| i64::try_from(magnitude).ok())
        else {
            continue;
        };
        let negative = rng.next_u64() >> 63 == 1;
        if !(negative && magnitude == 0) {
            return if negative { -magnitude } else { magnitude };
        }
    }
}

/// Algorithm 1: true with probability exp(-g) for g = numerator / 2^log2 in 0..=1, log2 <= 127.
fn coin(rng: &mut impl Rng, numerator: u128, log2: u32) -> bool {
    let mut tosses = 1;
    // A toss succeeds with probability g / tosses: a uniform number below `tosses` is 0, and one below 2^log2 below g.
    while uniform_is_zero(rng, tosses) && wide(rng, log2) < numerator {
        tosses += 1;
    }
    tosses % 2 == 1
}

/// Whether a uniform number below a small bound is zero.
fn uniform_is_zero(rng: &mut impl Rng, bound: u64) -> bool {
    let mask = bound.next_power_of_two() - 1;
    loop {
        let x = rng.next_u64() & mask;
        if x < bound {
            return x == 0;
        }
    }
}

/// Uniform below 2^log2.
fn wide(rng: &mut impl Rng, log2: u32) -> u128 {
    let mut x = u128::from(rng.next_u64());
    if log2 > 64 {
        x = x << 64 | u128::from(rng.next_u64());
    }
    x & mask(log2)
}

/// 2^log2 - 1, log2 <= 127.
fn mask(log2: u32) -> u128 {
    (1 << log2) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn coins_fall_as_often_as_they_should() {
        let mut rng = Seed::from_bytes([21; 32]).stream();
        for (numerator, log2) in [(0, 5), (1, 0), (1, 1), (3, 3), (7, 4), (1 << 114, 115), (1 << 126, 127)] {
            let g = numerator as f64 / 2.0_f64.powi(log2 as i32);
            let probability = (-g).exp();
            let count = 200_000;
            let heads = (0..count).filter(|_| coin(&mut rng, numerator, log2)).count() as f64;
            let deviation = (f64::from(count) * probability * (1.0 - probability)).sqrt();
            assert!((heads - f64::from(count) * probability).abs() <= 5.0 * deviation, "exp(-{g}): {heads}");
        }
    }

    #[test]
    fn narrow_draws_follow_the_distribution_by_chi_square() {
        let mut rng = Seed::from_bytes([22; 32]).stream();
        for k in 0..=2 {
            let sigma = f64::from(1 << k);
            let weight = |x: i64| (-(x * x) as f64 / (2.0 * sigma * sigma)).exp();
            let total: f64 = (-200..=200).map(weight).sum();
            let (count, reach) = (400_000, 3 * (1 << k) as i64);
            let mut seen = std::collections::BTreeMap::new();
            for _ in 0..count {
                *seen.entry(sample(&mut rng, k)).or_insert(0_u32) += 1;
            }
            let mut chi = 0.0;
            for x in -reach..=reach {
                let expected = f64::from(count) * weight(x) / total;
                let found = f64::from(seen.get(&i128::from(x)).copied().unwrap_or(0));
                chi += (found - expected).powi(2) / expected;
            }
            // 2 reach degrees of freedom and a rest: mean about 2 reach, deviation sqrt(4 reach).
            let freedom = 2.0 * reach as f64 + 1.0;
            assert!(chi < freedom + 6.0 * (2.0 * freedom).sqrt(), "sigma {sigma}: chi square {chi}");
        }
    }

    #[test]
    fn wide_draws_have_mean_variance_and_kurtosis() {
        let mut rng = Seed::from_bytes([23; 32]).stream();
        for k in [10, 40, 57, 58, 75, 110] {
            let count = 40_000;
            let sigma = 2.0_f64.powi(k as i32);
            let draws: Vec<f64> = (0..count).map(|_| sample(&mut rng, k) as f64 / sigma).collect();
            let moment = |power: i32| draws.iter().map(|x| x.powi(power)).sum::<f64>() / f64::from(count);
            let deviation = |variance: f64| (variance / f64::from(count)).sqrt();
            assert!(moment(1).abs() < 5.0 * deviation(1.0), "mean at {k}: {}", moment(1));
            assert!((moment(2) - 1.0).abs() < 5.0 * deviation(2.0), "variance at {k}: {}", moment(2));
            assert!((moment(4) - 3.0).abs() < 5.0 * deviation(96.0), "kurtosis at {k}: {}", moment(4));
            assert!(draws.iter().all(|x| x.abs() < 12.0));
        }
    }
}
