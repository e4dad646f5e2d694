//! How large a ring has to be so that shares add up to within one unit.
//!
//! In units of Z_Q, with B the bound on the absolute values of all weights of a sum together:
//!
//! | noise | bound | certain |
//! |---|---|---|
//! | sum of w v: fresh errors at most eta, rounding of the message at most 3/2 | A = (eta + 3/2) B | yes |
//! | e_pk u + e0 + e1 s: sub-Gaussian | parameter d^2 = (2N + 1) eta/2 | |
//! | key switches of joining k levels, with g digits of at most 2^(w-1): sub-Gaussian | parameter j^2 = g 4^(w-1) N eta/2 (4^k - 1)/3 | |
//! | rounding of both parts when primes are dropped, in units of Z_Q': sub-Gaussian | parameter d'^2 = (N + 1)/4 | |
//!
//! A centred binomial is sub-Gaussian with its variance eta/2 as parameter, a rounding error with 1/4 (Hoeffding; under the
//! usual assumption that the roundings of a pseudorandom polynomial are independent and centred), products with ternary
//! polynomials of N coefficients with N times as much. The rounding of a message is at most 1/2, and one more where the
//! conversion between bases errs. Shares are right to one unit where |v'| < Q'/t, so with x = 1/t - A/Q
//!
//! > P(failure of some coefficient) <= 2N exp(-x^2 / (2 ((d^2 + j^2)/Q^2 + d'^2/Q'^2))),
//!
//! without d' where nothing is dropped and without j where nothing is joined (digits do not depend on the keys' errors: the
//! part that they are cut out of never has them in). The choice takes the smallest degree that has room, gives half of 1/t to d' (so Q'
//! is as small as that allows) and takes the smallest Q for the rest. A ring for joining is the smallest with room for digits of
//! [`LEAST_WIDTH`] bits, and its digits as wide as there is room for then. Degrees, primes and bounds are public.

use super::ShareRing;
use super::join::Joins;
use crate::bfv::noise::LOG2_FAILURE;
use crate::error::HeError;
use crate::modulus::Modulus;
use crate::prime::ntt_primes;
use crate::rlwe::{RlweLiteral, RlweParams};
use crate::sample::ERROR_ETA;
use crate::security;

/// Degrees that are tried.
const DEGREES: [usize; 4] = [2048, 4096, 8192, 16384];
/// Bits of the widest prime.
const WIDEST: u32 = 60;
/// Bits of the narrowest prime beyond those of 2N: below that there may be none.
const NARROWEST: u32 = 4;
/// Bits of the widest and the narrowest digits of a ring for joining: two to a prime of 60 bits, or three.
const WIDEST_DIGIT: u32 = 36;
const LEAST_WIDTH: u32 = 20;

/// log2 of the failure bound of a ring.
pub(super) fn log2_failure(ring: &ShareRing) -> f64 {
    let log2_t: f64 = log2(&ring.plain);
    let (all, kept) = (ring.rlwe.log2_q(ring.rlwe.limbs()), ring.rlwe.log2_q(ring.kept));
    // All in units of 1/t.
    let dropped = ring.down.is_some();
    let margin = 1.0 - (log2_t + log2_weighted(ring.log2_norm) - all).exp2();
    if margin <= 0.0 {
        return 0.0;
    }
    let joins = ring.joins.map_or(0.0, |joins| joins.variance(ring.n(), ring.rlwe.moduli(ring.rlwe.limbs())));
    let fresh = (log2_t + fresh(ring.n()).hypot(joins.sqrt()).log2() - all).exp2();
    let rounding = if dropped { (log2_t + rounding(ring.n()).log2() - kept).exp2() } else { 0.0 };
    let ratio = margin / fresh.hypot(rounding);
    ((2.0 * ring.n() as f64).log2() - ratio * ratio / 2.0 * core::f64::consts::LOG2_E).min(0.0)
}

/// The smallest ring with room, that for joining `levels` levels included.
pub(super) fn choose(plain: &[Modulus], log2_norm: f64, levels: u32) -> Result<ShareRing, HeError> {
    let log2_t = log2(plain);
    for degree in DEGREES {
        let Some(cap) = security::cap(degree) else { continue };
        let tail = (2.0 * (-LOG2_FAILURE * core::f64::consts::LN_2 + (2.0 * degree as f64).ln())).sqrt();
        let noise = log2_weighted(log2_norm).exp2() + tail * fresh(degree);
        // 1/t is shared out: a half for roundings, the rest for all else.
        let kept = (log2_t + 1.0 + (tail * rounding(degree)).log2()).ceil() as u32;
        let least = (log2_t + 1.0 + noise.log2()).ceil() as u32;
        let narrowest = (2 * degree).ilog2() + NARROWEST;
        for all in least.max(kept)..=cap {
            let primes = match all - kept {
                0 => widths(kept),
                rest if kept + rest.max(narrowest) > cap => break,
                rest => [widths(kept), widths(rest.max(narrowest))].concat(),
            };
            let count = widths(kept).len();
            let literal = literal(degree, &primes, plain)?;
            match ShareRing::over(RlweParams::new(&literal)?, count, plain, log2_norm) {
                Err(HeError::NoRoom { .. }) => {}
                Ok(ring) if levels > 0 => match with_joins(ring, levels) {
                    Err(HeError::NoRoom { .. }) => {}
                    other => return other,
                },
                other => return other,
            }
        }
    }
    Err(HeError::NoRoom {
        t: plain.iter().fold(1, |t: u64, factor| t.saturating_mul(factor.value())),
        log2_q: DEGREES.last().and_then(|&n| security::cap(n)).map_or(0.0, f64::from),
        log2_noise: log2_weighted(log2_norm),
    })
}

/// The ring with digits for joining, as wide as there is room for.
pub(super) fn with_joins(mut ring: ShareRing, levels: u32) -> Result<ShareRing, HeError> {
    for width in (LEAST_WIDTH..=WIDEST_DIGIT).rev() {
        ring.joins = Some(Joins { levels, width });
        if log2_failure(&ring) <= LOG2_FAILURE {
            return Ok(ring);
        }
    }
    Err(ring.no_room())
}

impl ShareRing {
    pub(super) fn no_room(&self) -> HeError {
        HeError::NoRoom {
            t: self.plain.iter().fold(1, |t: u64, factor| t.saturating_mul(factor.value())),
            log2_q: self.rlwe.log2_q(self.rlwe.limbs()),
            log2_noise: log2_weighted(self.log2_norm),
        }
    }
}

/// Bits in as few primes as they fit, of about one width.
fn widths(bits: u32) -> Vec<u32> {
    let count = bits.div_ceil(WIDEST);
    (0..count).map(|at| (bits + at) / count).collect()
}

/// The largest primes of these widths for the degree, all distinct and none a factor of t.
fn literal(degree: usize, widths: &[u32], plain: &[Modulus]) -> Result<RlweLiteral, HeError> {
    let mut primes: Vec<u64> = Vec::with_capacity(widths.len());
    for &bits in widths {
        let prime = ntt_primes(bits, 2 * degree as u64)
            .take_while(|q| q >> (bits - 1) == 1)
            .find(|q| !primes.contains(q) && plain.iter().all(|t| t.value() != *q))
            .ok_or(HeError::PrimeChain { what: "there are not enough primes of a width for this degree" })?;
        primes.push(prime);
    }
    Ok(RlweLiteral { degree, ciphertext_primes: primes, special_primes: Vec::new() })
}

/// log2 of A.
fn log2_weighted(log2_norm: f64) -> f64 {
    log2_norm + (f64::from(ERROR_ETA) + 1.5).log2()
}

/// d.
fn fresh(n: usize) -> f64 {
    ((2.0 * n as f64 + 1.0) * f64::from(ERROR_ETA) / 2.0).sqrt()
}

/// d'.
fn rounding(n: usize) -> f64 {
    (n as f64 + 1.0).sqrt() / 2.0
}

fn log2(plain: &[Modulus]) -> f64 {
    plain.iter().map(|t| (t.value() as f64).log2()).sum()
}
