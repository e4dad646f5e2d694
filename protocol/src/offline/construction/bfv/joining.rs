//! For which layers replies are joined, and how many into one.
//!
//! Joining 2^k output polynomials saves all of their second parts but one, and lets more input channels share a polynomial,
//! since sparse outputs cost next to nothing then. It takes k keys per layer and session, each several polynomials modulo Q, and a
//! key switch per polynomial that is joined (one less encryption of 0 pays for part of it). So per layer, from public shapes
//! alone,
//!
//! > k minimises  keys(k) + [`IMAGES`] · bytes of one image's messages in the best layout for k + price of the key switches,
//!
//! with k = 0 a choice like any other: a layer whose keys do not come back within [`IMAGES`] images stays as it is. Of the rings
//! with and without room for joining the one with the fewest bits in all is taken. Bundles of more images use the same
//! keys in their own layouts.
//!
//! | number | value | why |
//! |---|---|---|
//! | [`IMAGES`] | 8 | a session that prepares fewer is served better by `bfv`: a handful of images should pay for keys |
//! | [`PRICE`] | 2 KiB per key switch | about 0.2 ms of one core, which is 2 KiB at 100 Mbit/s |
//! | [`MOST_LEVELS`] | 5 | 32 into one: what is left to save is a thirtieth of what was |

use conv_fast::{ConvGeometry, Joining, Tiling};

use super::super::Operations;
use super::Scheme;

/// log2 of the most output polynomials in one reply.
pub(super) const MOST_LEVELS: u32 = 5;

/// Images of a session after which keys have to have come back.
const IMAGES: u64 = 8;

/// Bits that a key switch counts as.
const PRICE: u64 = 8 * 2048;

/// How 2^`levels` polynomials are joined, for the choice of a layout; none for one.
pub(super) fn at(levels: u32) -> Option<Joining> {
    (levels > 0).then_some(Joining { levels, bits: PRICE })
}

/// The k of each layer, and the bits of a session of [`IMAGES`] images with all keys: what rings are compared by.
pub(super) fn choose<'a>(
    scheme: &Scheme,
    layers: impl Iterator<Item = (usize, &'a ConvGeometry)>,
) -> (Vec<u32>, u64) {
    let public = 8 * scheme.ciphertext_bytes() as u64;
    let mut sum = 0_u64;
    let own = |(_, geometry)| {
        let (levels, bits) = of_layer(scheme, geometry);
        sum = sum.saturating_add(bits).saturating_add(public);
        levels
    };
    (layers.map(own).collect(), sum)
}

/// k, and the bits. A layer that has no layout at all has no use for keys: making its plan will say what is wrong.
fn of_layer(scheme: &Scheme, geometry: &ConvGeometry) -> (u32, u64) {
    let (mut best, mut least) = (0, u64::MAX);
    for levels in 0..=scheme.ring.join_levels() {
        let keys = 8 * scheme.ring.join_keys_len(levels) as u64;
        if keys >= least {
            break;
        }
        let Ok(tiling) = Tiling::choose(geometry, scheme.ring.n(), 1, &scheme.cost(levels)) else { break };
        let bits = keys.saturating_add(IMAGES.saturating_mul(tiling.bits()));
        if bits < least {
            (best, least) = (levels, bits);
        }
    }
    (best, least)
}

/// What joining so many ciphertexts takes by [`he_core::bfv::ShareRing::join`]: pairs are joined by a product with a power of X,
/// three sums and a key switch; what is left over is added to itself.
pub(super) fn operations(count: usize, levels: u32) -> Operations {
    let mut all = Operations::default();
    let mut nodes = count;
    for depth in (0..levels).rev() {
        let left = nodes.min(1 << depth);
        let pairs = nodes - left;
        all.products += pairs;
        all.rotations += pairs;
        all.additions += 3 * pairs + (left - pairs);
        nodes = left;
    }
    all
}
