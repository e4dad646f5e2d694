//! ReLU and max-pooling between two linear maps, by the steps of the ring protocol ([`crate::steps`]).
//!
//! u = a + c, and the client knows c ahead of the images. Both parties round their share to the public grid 2^-j of
//! x_(l+1) and take it as an integer modulo 2^k; then they do what they do in a ring: a tournament level by level where there
//! is a pool, ReLU by one more step. The result leaves in Z_2^w minus ρ = 2^j r_(l+1), the mask that the client has drawn for
//! x_(l+1) anyway. The server lifts it to X_(l+1) = x_(l+1) − r_(l+1).
//!
//! | quantity | value | so that |
//! |---|---|---|
//! | k | j + 2 | 2^k steps are 2 [`BOUND`]; differences in a pool have the guard bit that calibration leaves them there |
//! | bits that sign tests look at | those of the model's own ring, or k | a maximum or a ReLU is decided as in the ring |
//! | w | j + 2 + log2 R_(l+1) | \|x − r\| < 2^(w−1) steps: the lift is always right |
//!
//! **Errors.** Two roundings are a step of the grid at most. A positive u smaller than what the sign test ignores may count as
//! none, and of two values in a pool that are closer the smaller may win: some 2^-10 for a ring that compares 12 bits.
//! Values beyond the calibrated [`BOUND`] (in a pool, half of it) wrap, without notice, as they do in the ring.
//!
//! **What is hidden.** The steps themselves hide perfectly up to their transfers: nothing of u is opened to anyone. What
//! leaks is their result, since r is no uniform element of Z_2^w, and must not be one: X goes into arithmetic in doubles.

use std::iter::repeat_n;

use conv_fast::ConvGeometry;
use nn_merge::model::PoolGeometry;
use rand_core::CryptoRng;
use ss_core::activation::{self, ActivationPlan, Operands, Widths};
use ss_core::compare::Comparison;
use ss_core::gate::GateSpec;
use ss_core::maximum::Tournament;
use ss_core::ring::Z2k;
use ss_core::step::StepSpec;
use zeroize::Zeroizing;

use crate::channel::Channel;
use crate::encrypted::chain::Relu;
use crate::encrypted::network::BOUND;
use crate::error::{ProtocolError, caller};
use crate::offline::correlations::play;
use crate::online::{missing_gate, play_level};
use crate::report::{Report, Stage, Start};
use crate::steps::{ClientSteps, ServerSteps, run};

/// One activation, public and the same for both parties.
#[derive(Clone, Debug)]
pub struct Activation {
    grid: i32,
    ring: Z2k,
    output: Z2k,
    pool: Option<Pool>,
    /// Of one step.
    relu: ActivationPlan,
    /// Elements per image behind the pool.
    outputs: usize,
}

/// A maximum pooling.
#[derive(Clone, Debug)]
struct Pool {
    geometry: PoolGeometry,
    maximum: StepSpec,
    /// Comparisons per image, level by level.
    levels: Vec<usize>,
}

impl Activation {
    /// The activation behind a linear map, on the grid 2^-`grid`, its result under masks in ±2^`mask`.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for numbers that no steps are made for.
    pub(super) fn new(
        relu: &Relu,
        geometry: &ConvGeometry,
        grid: i32,
        mask: i32,
    ) -> Result<Self, ProtocolError> {
        // A value in ±BOUND, as a signed number of steps.
        let ring_bits = (grid + BOUND.log2() as i32 + 1).max(0) as u32;
        let output_bits = (grid + mask + 2).max(0) as u32;
        let ignored_bits = ring_bits.saturating_sub(relu.compared_bits);
        let widths = Widths { ring_bits, ignored_bits, output_bits, shift: 0 };
        let pool = match &relu.pool {
            None => None,
            Some(pool) => {
                let comparison = Comparison::new(ring_bits, ignored_bits).map_err(caller)?;
                let maximum = StepSpec::Gate(GateSpec::maximum(comparison, None).map_err(caller)?);
                let tournament = pool.tournament(1).map_err(caller)?;
                let levels = tournament.levels().iter().map(|level| level.gates()).collect();
                Some(Pool { geometry: pool.clone(), maximum, levels })
            }
        };
        let own = ActivationPlan::new(&activation::Activation::Relu, widths, false).map_err(caller)?;
        // One gate without lanes, which both parties run as such.
        if own.steps().len() != 1 {
            return Err(ProtocolError::Caller("a ReLU of several steps".into()));
        }
        Ok(Self {
            grid,
            ring: Z2k::new(ring_bits).map_err(caller)?,
            output: Z2k::new(output_bits).map_err(caller)?,
            outputs: pool.as_ref().map_or(geometry.output_len(), |pool| pool.geometry.output_len()),
            pool,
            relu: own,
        })
    }

    /// Its steps for so many images, with their elements, in the order in which they run.
    #[must_use]
    pub fn steps(&self, images: usize) -> Vec<(StepSpec, usize)> {
        let levels = self.pool.iter().flat_map(|pool| {
            pool.levels.iter().map(|comparisons| (pool.maximum.clone(), images * comparisons))
        });
        let relu = self.relu.steps().iter().map(|step| (step.clone(), images * self.outputs));
        levels.chain(relu).collect()
    }

    /// Bytes that the server holds for so many images: its halves of the steps, and integers on the way.
    #[must_use]
    pub fn server_bytes(&self, images: usize) -> usize {
        // Values, differences and results of a level at a time, and the pairs of a tournament.
        let own = |(spec, elements): &(StepSpec, usize)| spec.server_bytes(*elements) + 64 * elements;
        self.steps(images).iter().map(own).sum()
    }

    /// The client's operands of all steps from its shares c of u and the masks r of the result, images × elements.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for other numbers of shares and masks than so many images have.
    pub(super) fn client(
        &self,
        images: usize,
        shares: &[f64],
        masks: &[f64],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<Operands>, ProtocolError> {
        let (mut steps, mut values) = (Vec::new(), vec![self.integers(self.ring, shares)]);
        if let Some(tournament) = self.tournament(images)? {
            play(&tournament, &[self.ring], &mut values, rng, &mut steps, &mut |_, _| ());
        }
        let masks = self.integers(self.output, masks);
        steps.extend(self.relu.client(&values[0], &[&masks], rng).map_err(caller)?);
        Ok(steps)
    }

    /// Client: plays its half of this activation. `steps` are the bundle's, each with its place, and the next of them are this
    /// activation's.
    ///
    /// # Errors
    /// What the channel or the peer did.
    pub(super) fn answer(
        &self,
        channel: &mut Channel,
        steps: &mut impl Iterator<Item = (usize, ClientSteps)>,
        (number, report): (usize, &mut Report),
    ) -> Result<(), ProtocolError> {
        let levels = self.pool.as_ref().map_or(0, |pool| pool.levels.len());
        for part in repeat_n("max-pool", levels).chain(["ReLU"]) {
            let start = Start::now(channel);
            let (at, gate) = steps.next().ok_or_else(missing_gate)?;
            run::client(channel, at, gate)?;
            report.add(Stage::Online, &format!("{part} {number}"), part, &start, channel);
        }
        Ok(())
    }

    /// Server: X behind this activation from its shares a of u. `steps` are the bundle's, each with its place, and the next
    /// of them are this activation's.
    ///
    /// # Errors
    /// What the channel or the peer did.
    pub(super) fn server(
        &self,
        channel: &mut Channel,
        images: usize,
        shares: &[f64],
        steps: &mut impl Iterator<Item = (usize, ServerSteps)>,
        (number, report): (usize, &mut Report),
    ) -> Result<Zeroizing<Vec<f64>>, ProtocolError> {
        let mut values = vec![self.integers(self.ring, shares)];
        if let Some(tournament) = self.tournament(images)? {
            for level in tournament.levels() {
                let start = Start::now(channel);
                let (at, gate) = steps.next().ok_or_else(missing_gate)?;
                play_level(channel, at, gate, level, &[self.ring], &mut values)?;
                report.add(Stage::Online, &format!("max-pool {number}"), "max-pool", &start, channel);
            }
            values[0] = tournament.winners(&values[0]).into();
        }
        let start = Start::now(channel);
        let (at, gate) = steps.next().ok_or_else(missing_gate)?;
        // Shares, wiped when they are not needed any more.
        let results = Zeroizing::new(run::server(channel, at, gate, &values[0], &[])?);
        let unit = self.unit();
        let lifted = results.iter().flatten().map(|&z| self.output.signed(z) as f64 * unit).collect();
        report.add(Stage::Online, &format!("ReLU {number}"), "ReLU", &start, channel);
        Ok(Zeroizing::new(lifted))
    }

    /// The tournament for so many images.
    fn tournament(&self, images: usize) -> Result<Option<Tournament>, ProtocolError> {
        let Some(pool) = &self.pool else { return Ok(None) };
        pool.geometry.tournament(images).map(Some).map_err(caller)
    }

    /// A step of the grid.
    fn unit(&self) -> f64 {
        f64::from(-self.grid).exp2()
    }

    /// The nearest multiples of the grid, as integers modulo the ring. What is too large for any plan's bounds is cut off.
    fn integers(&self, ring: Z2k, values: &[f64]) -> Zeroizing<Vec<u64>> {
        let steps = f64::from(self.grid).exp2();
        Zeroizing::new(values.iter().map(|value| ring.from_signed((value * steps).round() as i64)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use he_core::Seed;

    /// A ReLU of four elements on this grid under masks in ±2^`mask`.
    fn relu(grid: i32, mask: i32) -> Activation {
        let geometry = ConvGeometry::fully_connected(4, 4).unwrap();
        Activation::new(&Relu { pool: None, compared_bits: 12 }, &geometry, grid, mask).unwrap()
    }

    #[test]
    fn results_are_lifted_right_to_the_ends_of_their_range() {
        for (grid, mask) in [(6, 5), (20, 5), (20, 17), (20, 25), (7, 25)] {
            let own = relu(grid, mask);
            let (step, most) = (own.unit(), f64::from(mask).exp2());
            for x in [0.0, step, 1.0, BOUND] {
                for r in [-most, -step, 0.0, step, most - step] {
                    let [z, rho] = [x, r].map(|value| own.integers(own.output, &[value])[0]);
                    let found = own.output.signed(own.output.sub(z, rho)) as f64 * step;
                    assert_eq!(found, x - r, "{x} under {r}, grid {grid}, mask {mask}");
                }
            }
        }
    }

    #[test]
    fn shares_are_rounded_to_the_grid_and_add_up() {
        let own = relu(20, 17);
        let mut rng = Seed::from_bytes([3; 32]).stream();
        for _ in 0..1000 {
            let u = super::super::masks::even(&mut rng, 1.99);
            let c = super::super::masks::even(&mut rng, 1e6);
            let [a, c] = [u - c, c].map(|share| own.integers(own.ring, &[share])[0]);
            let found = own.ring.signed(own.ring.add(a, c)) as f64 * own.unit();
            assert!((found - u).abs() <= 1.001 * own.unit(), "{u}: {found}");
        }
        // Whatever a broken peer makes of the numbers, there is an integer for it.
        for value in [f64::NAN, f64::INFINITY, -1e300] {
            assert!(own.integers(own.ring, &[value])[0] <= own.ring.mask());
        }
    }

    #[test]
    fn steps_are_those_of_the_rings() {
        let own = relu(20, 17);
        let steps = own.steps(3);
        let [(StepSpec::Gate(gate), 12)] = steps.as_slice() else { panic!("{steps:?}") };
        // 22 bits of argument, 12 of them compared; 39 bits of result.
        assert_eq!((gate.comparison().ring_bits(), gate.comparison().ignored_bits()), (22, 10));
        assert_eq!(own.output.bits(), 39);
        // A grid too coarse for as many bits: all there are.
        let coarse = relu(6, 17);
        assert_eq!(coarse.steps(1)[0].1, 4);
        assert!(
            matches!(&coarse.steps(1)[0].0, StepSpec::Gate(gate) if gate.comparison().ignored_bits() == 0)
        );
    }
}
