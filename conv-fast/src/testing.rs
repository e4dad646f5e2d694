//! Random shapes and values for the tests of this crate; every generator prints its seed when a test fails.

use crate::{ConvGeometry, ConvShape};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// A seeded generator that names its seed if the test that holds it panics. `CONV_FAST_SEED` repeats a run.
pub(crate) struct Random {
    stream: ChaCha20Rng,
    seed: u64,
    what: &'static str,
}

impl Random {
    pub(crate) fn new(what: &'static str) -> Self {
        let given = std::env::var("CONV_FAST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            use std::hash::{BuildHasher, Hasher};
            std::collections::hash_map::RandomState::new().build_hasher().finish()
        });
        Self { stream: ChaCha20Rng::seed_from_u64(seed), seed, what }
    }

    /// Uniform below `bound` up to a bias of 2^-64·bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.stream.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below((high - low + 1) as u64) as usize
    }

    /// Uniform in −bound..=bound.
    pub(crate) fn signed(&mut self, bound: i32) -> i32 {
        (self.below(2 * bound as u64 + 1) as i64 - i64::from(bound)) as i32
    }

    pub(crate) fn words(&mut self, count: usize, bound: u64) -> Vec<u64> {
        (0..count).map(|_| self.below(bound)).collect()
    }

    pub(crate) fn weights(&mut self, count: usize, bound: i32) -> Vec<i32> {
        (0..count).map(|_| self.signed(bound)).collect()
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: repeat with CONV_FAST_SEED={}", self.what, self.seed);
        }
    }
}

/// Small, but with every feature: groups, strides, dilations, uneven paddings, kernels larger than the image.
pub(crate) fn random_geometry(random: &mut Random) -> ConvGeometry {
    loop {
        let groups = [1, 1, 1, 2, 3][random.between(0, 4)];
        let plain = random.below(3) == 0;
        let stride = if plain { [1, 1] } else { [random.between(1, 3), random.between(1, 3)] };
        let dilation = if plain { [1, 1] } else { [random.between(1, 2), random.between(1, 2)] };
        let shape = ConvShape {
            in_channels: groups * random.between(1, 5),
            in_height: random.between(1, 8),
            in_width: random.between(1, 8),
            out_channels: groups * random.between(1, 5),
            kernel: [random.between(1, 4), random.between(1, 4)],
            stride,
            padding: std::array::from_fn(|_| random.between(0, 2)),
            dilation,
            groups,
        };
        if let Ok(geometry) = ConvGeometry::new(shape) {
            return geometry;
        }
    }
}
