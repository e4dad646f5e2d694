//! The fastest algorithm by trial: the model's best candidates, prepared and timed on this machine.
//!
//! The model of [`crate::plan`] is right within some percent for most layers; where two algorithms are closer than that, only
//! the clock tells. Candidates that the model puts within [`WITHIN`] of its first, [`MOST`] at most, run in turn, so that
//! disturbances meet all of them; the least time counts. Layers of less than [`WORTH`] are left to the model.
//!
//! All algorithms give the same values: what is chosen shows in the time alone. It depends on the machine and on what else
//! runs there, and no more on the weights than the model does.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::PreparedConv;
use crate::plan::{Candidate, Planner};
use crate::{ConvError, ConvGeometry, Ring, Word};

/// How much slower than the best by the model an algorithm may be that is tried.
const WITHIN: f64 = 1.3;
/// Most algorithms that are tried.
const MOST: usize = 4;
/// Nanoseconds of a call, by the model, below which there is little to win.
const WORTH: f64 = 20e3;
/// Rounds: at least, at most, and the time per algorithm after which there are no more.
const ROUNDS: [usize; 2] = [3, 32];
const BUDGET: Duration = Duration::from_millis(1);

impl PreparedConv {
    /// Prepares `weights` by the algorithm that is fastest on this machine for words `W` and `batch` images per call. Takes
    /// some milliseconds longer than [`PreparedConv::best`], and several layers' memory meanwhile.
    ///
    /// # Errors
    /// As [`PreparedConv::best`]; [`ConvError::Word`] if elements of the ring do not fit `W`.
    pub fn fastest<W: Word>(
        geometry: ConvGeometry,
        ring: impl Into<Ring>,
        weights: &[i32],
        batch: usize,
    ) -> Result<Self, ConvError> {
        let ring = ring.into();
        let candidates = Planner::default().weights(weights).batch(batch).candidates(&geometry, ring);
        let first = candidates.first().map_or(0.0, |best| best.nanoseconds);
        let close = |candidate: &&Candidate| candidate.nanoseconds <= WITHIN * first;
        let mut tried: Vec<Self> = candidates
            .iter()
            .take_while(close)
            .take(if first < WORTH { 0 } else { MOST })
            .filter_map(|candidate| Self::new(geometry.clone(), ring, weights, candidate.algorithm).ok())
            .collect();
        if tried.len() < 2 {
            return Self::best(geometry, ring, weights, batch);
        }
        let least = race::<W>(&tried, batch)?;
        let best = (0..tried.len()).min_by_key(|&at| least[at]).unwrap_or(0);
        Ok(tried.swap_remove(best))
    }
}

/// The least time of each.
fn race<W: Word>(layers: &[PreparedConv], batch: usize) -> Result<Vec<Duration>, ConvError> {
    let (geometry, ring) = (layers[0].geometry(), layers[0].ring());
    // Elements of all sizes; no algorithm's time depends on them.
    let below = ring.greatest();
    let mut state = 1_u64;
    let mut element = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        W::from_u64((state >> 8) % below.max(1))
    };
    let input: Vec<W> = (0..batch * geometry.input_len()).map(|_| element()).collect();
    let mut output = vec![W::from_u64(0); batch * geometry.output_len()];
    let mut least = vec![Duration::MAX; layers.len()];
    let start = Instant::now();
    for round in 0..ROUNDS[1] {
        if round >= ROUNDS[0] && start.elapsed() > BUDGET * layers.len() as u32 {
            break;
        }
        for (layer, least) in layers.iter().zip(&mut least) {
            let before = Instant::now();
            layer.run_into(black_box(&input), batch, black_box(&mut output))?;
            *least = before.elapsed().min(*least);
        }
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use he_core::Modulus;

    use super::*;
    use crate::ConvShape;
    use crate::plan::Algorithm;
    use crate::testing::Random;

    #[test]
    fn the_choice_computes_the_same_in_no_more_time_than_the_others() {
        let geometry = ConvGeometry::new(ConvShape::same([48, 64], [24, 24], 3)).unwrap();
        let modulus = Modulus::new(1_125_899_906_826_241).unwrap();
        let mut random = Random::new("trial");
        let weights = random.weights(geometry.weights_len(), 1 << 11);
        let candidates = Planner::default().weights(&weights).candidates(&geometry, modulus);
        assert!(
            candidates[0].nanoseconds > WORTH
                && candidates[1].nanoseconds < WITHIN * candidates[0].nanoseconds
        );
        let fastest = PreparedConv::fastest::<u64>(geometry.clone(), modulus, &weights, 1).unwrap();
        assert!(candidates[..MOST].iter().any(|candidate| candidate.algorithm == fastest.algorithm()));
        let direct = PreparedConv::new(geometry.clone(), modulus, &weights, Algorithm::Direct).unwrap();
        let input = random.words(geometry.input_len(), modulus.value() - 1);
        assert_eq!(fastest.run(&input, 1), direct.run(&input, 1));
        // The definition is out of the race: what would take it was never timed.
        let least = race::<u64>(&[direct, fastest], 1).unwrap();
        assert!(least[1] < least[0], "{least:?}");
    }

    #[test]
    fn words_that_are_too_short_and_small_layers() {
        let modulus = Modulus::new(1_125_899_906_826_241).unwrap();
        let large = ConvGeometry::new(ConvShape::same([48, 64], [24, 24], 3)).unwrap();
        let weights = vec![1; large.weights_len()];
        let refused = PreparedConv::fastest::<u32>(large, modulus, &weights, 1).unwrap_err();
        assert_eq!(refused, ConvError::Word { word: 32, element: 50 });
        let small = ConvGeometry::new(ConvShape::same([4, 4], [4, 4], 3)).unwrap();
        let weights = vec![1; small.weights_len()];
        let fastest = PreparedConv::fastest::<u64>(small.clone(), modulus, &weights, 1).unwrap();
        let best = PreparedConv::best(small, modulus, &weights, 1).unwrap();
        assert_eq!(fastest.algorithm(), best.algorithm());
    }
}
