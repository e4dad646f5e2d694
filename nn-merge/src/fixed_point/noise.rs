//! How far one linear result of the protocol can be from the noise-free one.
//!
//! With norms over all weights of the layer (outputs that share a polynomial share its noise, so all of them may count),
//! in units of Z_q; p is the width of the slots, t that of the replies:
//!
//! | part | bound | certain |
//! |---|---|---|
//! | polynomial masks and the reply's rounding | [`SplitNoise`] | but for 2^-64 per polynomial |
//! | the client's errors through the weights | [`SplitNoise::input_bound`] | but for 2^-64 |
//! | the rounding of masks to p bits and of slots back to Z_q | the least of Σ\|w\|·a and tail·‖w‖·a, a = q/2^(p+1) + 1 (two primes: 1) | but for 2^-64: the roundings of pseudorandom masks are independent and centred (Hoeffding) |
//! | dither | its support | yes |
//! | bias | 1 | yes |

use he_core::noise::SplitNoise;
use he_core::{Params, Profile};

use super::dither_log2_sigma;
use crate::model::{NodeWeights, limits};

/// A bound on the noise of a linear node's results, as a part of a turn (1 is the whole torus), that holds but with
/// probability about 2^-60 per polynomial: for replies of `reply_bits` bits and dither for results of `k` bits.
pub fn linear_noise(profile: Profile, own: &NodeWeights, reply_bits: u32, k: u32) -> f64 {
    let params = &Params::new(profile);
    let q = params.q() as f64;
    let noise = SplitNoise::new(params, reply_bits);
    let sum: f64 = own.weights.iter().map(|&w| f64::from(w.abs())).sum();
    let norm = own.weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt();
    let tail = noise.input_bound(1.0) / noise.input_deviation(1.0);
    let step = limits(profile).masked_bits.map_or(1.0, |p| q / f64::from(p + 1).exp2() + 1.0);
    let rounding = step * sum.min(tail * norm);
    let dither = params.dither_width(dither_log2_sigma(params, k)).map_or(q, |width| 2.0 * width as f64);
    (noise.small_bound() + noise.rounding_bound() + noise.input_bound(norm) + rounding + dither + 1.0) / q
}
