//! Which algorithm for which layer: a cost model, and what it thinks.
//!
//! For each algorithm that can compute a layer the model counts units of work (products, digits, transformed values,
//! bytes of weights; see [`Unit`]) and multiplies them by nanoseconds per unit, [`Speed`]. The built-in constants were
//! fitted to measurements on one core of two machines with AVX-512, one of either maker; [`Speed::measured`] rescales them
//! in a fraction of a second on any other. They need not be right, only their ratios roughly so: every choice computes
//! the same values.
//!
//! [`choose`] answers for single images on the machine's best kernel with 12-bit weights; [`Planner`] answers any other
//! question. [`explain`] prints the candidates with where their time goes, for reports and
//! for arguing with the model.

mod algorithm;
mod cost;
mod speed;

pub use algorithm::{Algorithm, Products};
pub use cost::Unit;
pub use speed::Speed;

use crate::{ConvGeometry, Kernel, Ring};

/// One way to compute a layer, and what the model says of it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Estimated nanoseconds of one core for the whole batch.
    pub nanoseconds: f64,
    /// Estimated bytes of prepared weights.
    pub bytes: u64,
    /// What the estimate is made of.
    pub work: Vec<(Unit, f64)>,
}

/// The model with its circumstances: kernel, constants, width of the weights, images per call.
#[derive(Clone, Debug)]
pub struct Planner {
    kernel: Kernel,
    speed: Speed,
    weight_bits: u32,
    /// Greatest sum of the absolute weights of one output, where it is known.
    norm: Option<u128>,
    batch: usize,
}

impl Default for Planner {
    fn default() -> Self {
        Self::new(Kernel::best())
    }
}

impl Planner {
    /// For a kernel, with its built-in constants, weights of 12 bits (|w| ≤ 2^11) and single images.
    pub fn new(kernel: Kernel) -> Self {
        Self { kernel, speed: Speed::of(kernel), weight_bits: 12, norm: None, batch: 1 }
    }

    /// With other constants.
    pub fn speed(self, speed: Speed) -> Self {
        Self { speed, ..self }
    }

    /// For weights of `bits` bits with their sign, |w| ≤ 2^(bits−1).
    pub fn weight_bits(self, bits: u32) -> Self {
        Self { weight_bits: bits.clamp(2, 32), ..self }
    }

    /// For weights of which none is larger than the largest of these.
    pub fn weights(self, weights: &[i32]) -> Self {
        let greatest = weights.iter().map(|weight| weight.unsigned_abs()).max().unwrap_or(0).max(1);
        // |w| ≤ 2^(bits−1)
        self.weight_bits(greatest.next_power_of_two().ilog2() + 1)
    }

    /// For weights whose absolute values sum, over the terms of an output, to at most `norm`.
    pub(crate) fn norm(self, norm: u128) -> Self {
        Self { norm: Some(norm), ..self }
    }

    /// For as many images per call (one to 2^20).
    pub fn batch(self, images: usize) -> Self {
        Self { batch: images.clamp(1, 1 << 20), ..self }
    }

    /// All ways to compute a layer, whatever its weights of that width, least estimate first. Never empty:
    /// [`Algorithm::Direct`] serves every layer.
    pub fn candidates(&self, geometry: &ConvGeometry, ring: impl Into<Ring>) -> Vec<Candidate> {
        let Self { kernel, weight_bits, norm, batch, .. } = *self;
        let norm = norm.unwrap_or((geometry.terms() as u128) << (weight_bits - 1));
        let job = cost::Job { geometry, ring: ring.into(), kernel, weight_bits, norm, batch };
        let mut list: Vec<Candidate> = job
            .algorithms()
            .into_iter()
            .map(|(algorithm, work, bytes)| {
                let nanoseconds = work.iter().map(|&(unit, count)| count * self.speed.per(unit)).sum();
                Candidate { algorithm, nanoseconds, bytes, work }
            })
            .collect();
        list.sort_by(|a, b| a.nanoseconds.total_cmp(&b.nanoseconds));
        list
    }

    /// The algorithm with the least estimate.
    pub fn choose(&self, geometry: &ConvGeometry, ring: impl Into<Ring>) -> Algorithm {
        self.candidates(geometry, ring).first().map_or(Algorithm::Direct, |best| best.algorithm)
    }

    /// The candidates, best first, one line each: estimate, bytes of prepared weights, where the time goes.
    pub fn explain(&self, geometry: &ConvGeometry, ring: impl Into<Ring>) -> String {
        let line = |candidate: &Candidate| {
            let share = |&(unit, count): &(Unit, f64)| {
                (unit, count * self.speed.per(unit) / candidate.nanoseconds * 100.0)
            };
            let mut shares: Vec<(Unit, f64)> = candidate.work.iter().map(share).collect();
            shares.sort_by(|a, b| b.1.total_cmp(&a.1));
            let shares: Vec<String> = shares
                .iter()
                .filter(|(_, share)| *share >= 1.0)
                .map(|(unit, share)| format!("{unit} {share:.0} %"))
                .collect();
            format!(
                "{:<21}{:>11.1} µs{:>10.1} KB   {}\n",
                candidate.algorithm.to_string(),
                candidate.nanoseconds / 1000.0,
                candidate.bytes as f64 / 1000.0,
                shares.join(", ")
            )
        };
        self.candidates(geometry, ring).iter().map(line).collect()
    }
}

/// The algorithm with the least estimated time for one image on this machine's best kernel.
pub fn choose(geometry: &ConvGeometry, ring: impl Into<Ring>) -> Algorithm {
    Planner::default().choose(geometry, ring)
}

/// All ways to compute a layer for one image, best first; see [`Planner::candidates`].
pub fn candidates(geometry: &ConvGeometry, ring: impl Into<Ring>) -> Vec<Candidate> {
    Planner::default().candidates(geometry, ring)
}

/// The candidates for one image as text, best first; see [`Planner::explain`].
pub fn explain(geometry: &ConvGeometry, ring: impl Into<Ring>) -> String {
    Planner::default().explain(geometry, ring)
}
