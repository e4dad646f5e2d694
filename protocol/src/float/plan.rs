//! What both parties know: magnitudes of masks, grids, statistical distances, sizes of messages.
//!
//! Layouts follow from the public shapes ([`Layouts`]); magnitudes from the client's mask bits g and from one number
//! per layer that the server tells, its *reach*: a bound 2^(e/4) on how much larger than an input vector's entries a
//! result's entry gets. **It shows how large the rows of weights are**, to a factor of 2^(1/4).
//!
//! | quantity | value | |
//! |---|---|---|
//! | scale of r, of weights | 2^45, the last prime | one rescaling |
//! | scale of c, d | 2^44, 2^36 | no rescaling |
//! | X_1 | the least power of two that is no less than the input's limit | |
//! | X_l behind a square, behind a ReLU; U_l; U_L | 4, 2; 2; 1/2 | [`BOUND`] |
//! | R_l, S_l, D_l: masks r, s, d | 2^g X_l, 2^g U_l, 2^g U_l | uniform in \[-M, M) |
//! | C_l: bound on c | 2^(e/4) R_l + S_l | but for a chance below 2^-50 an element |
//! | T_l: mask t, before a square | 2^(g+1) U_l C_l | |
//! | V_l: bound on what the client sends back there | (D_l + U_l)^2 + 2 D_l C_l + T_l + R_(l+1) | |
//! | grid of x_1; of D, a; of x_(l+1) | 2^-20 or coarser | sums below 2^52 steps; before a ReLU those of a and c |
//!
//! Before a ReLU there are neither D, d nor t; what its steps are is in [`super::activation`].
//!
//! A network whose hidden values would be on a grid coarser than 2^-[`LEAST_GRID`] is refused for these mask bits: doubles
//! have no room for them.

mod sizes;

use std::fmt;
use std::sync::Arc;

use conv_fast::ConvGeometry;
use he_core::ckks::Params;
use ss_core::step::StepSpec;

use super::activation::Activation;
use super::layout::Layouts;
use crate::encrypted::chain::Between;
use crate::encrypted::network::BOUND;
use crate::error::ProtocolError;

/// Mask bits that exist.
pub const MASK_BITS: std::ops::RangeInclusive<u32> = 4..=24;
/// Mask bits that are asked for if nothing else is said.
pub const DEFAULT_MASK_BITS: u32 = 16;
/// Bits behind the point that a grid has at most.
const MOST_GRID: i32 = 20;
/// Bits behind the point that hidden values have at least.
pub const LEAST_GRID: i32 = 6;
/// Steps of a grid that a sum may have, as a power of two.
const EXACT: f64 = 52.0;
/// Steps of a reach's exponent in a factor of two.
const REACH_STEPS: f64 = 4.0;
/// Reaches that are believed, in steps.
const MOST_REACH: i8 = 80;
/// Scale of encrypted masks r.
pub(super) const MASK_SCALE: f64 = (1_u64 << 45) as f64;
/// log2 of the scale of encrypted shares c.
pub(super) const SHARE_BITS: u32 = 44;
/// See [`SHARE_BITS`].
pub(super) const SHARE_SCALE: f64 = (1_u64 << SHARE_BITS) as f64;
/// log2 of the scale of d, and of what c times d has.
pub(super) const FACTOR_BITS: u32 = 36;
/// See [`FACTOR_BITS`].
pub(super) const PRODUCT_BITS: u32 = 80;
/// Limbs of an encryption that is sent, and of c_l's when it comes back.
const LIMBS: usize = 3;
/// See [`LIMBS`].
const REPLY_LIMBS: usize = 2;

/// Magnitudes of one layer, all about values of one element; see the module essay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Magnitudes {
    /// log2 R_l: masks of the input are uniform in ±2^this.
    pub input_mask: i32,
    /// j: the input is a multiple of 2^-j.
    pub input_grid: i32,
    /// log2 S_l = log2 D_l.
    pub own_mask: i32,
    /// j of D_l or a_L.
    pub opened_grid: i32,
    /// A bound on D_l or a_L; before a ReLU, where neither is opened, on a_l and c_l.
    pub opened: f64,
    /// C_l.
    pub share: f64,
    /// T_l; 0 where no square follows.
    pub product_mask: f64,
    /// V_l; 0 where no square follows.
    pub back: f64,
}

/// Statistical distances of what a party sees for two inputs (or models), per image, summed over all elements; 1 says
/// nothing at all.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Distance {
    /// The server's view of two images.
    pub images: f64,
    /// The client's view of two sets of hidden values behind the same shares c.
    pub hidden_values: f64,
    /// The client's view of two models of the same reaches.
    pub weights: f64,
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "statistical distance per image {:.3e} for the client's values, {:.3e} for hidden values, {:.3e} for weights",
            self.images, self.hidden_values, self.weights
        )
    }
}

/// A session's plan: the same for both parties.
#[derive(Clone, Debug)]
pub struct Plan {
    layouts: Arc<Layouts>,
    mask_bits: u32,
    reaches: Vec<i8>,
    limit: f64,
    magnitudes: Vec<Magnitudes>,
    /// Behind every linear map, where there is a ReLU.
    activations: Vec<Option<Activation>>,
}

impl Plan {
    /// The plan for mask bits, the reaches that the server tells (one per layer), and the limit of the manifest's input.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for mask bits or reaches that do not exist, a limit that is not positive, or values that
    /// doubles have no room for.
    pub fn new(
        layouts: Arc<Layouts>,
        mask_bits: u32,
        reaches: &[i8],
        limit: f64,
    ) -> Result<Self, ProtocolError> {
        if !MASK_BITS.contains(&mask_bits) {
            return Err(ProtocolError::Caller(format!(
                "masks of {mask_bits} bits were asked for: it can be {} to {}",
                MASK_BITS.start(),
                MASK_BITS.end()
            )));
        }
        let believable = |reach: &i8| (-MOST_REACH..=MOST_REACH).contains(reach);
        if reaches.len() != layouts.layers().len() || !reaches.iter().all(believable) {
            return Err(ProtocolError::Caller("impossible magnitudes of a network's layers".into()));
        }
        if !(1e-6..=1e6).contains(&limit) {
            return Err(ProtocolError::Caller(format!("inputs up to {limit}: out of any sensible range")));
        }
        let (magnitudes, activations) = (Vec::new(), Vec::new());
        let mut plan = Self { layouts, mask_bits, reaches: reaches.to_vec(), limit, magnitudes, activations };
        let mut input_grid = None;
        for at in 0..plan.layers() {
            let own = plan.magnitude(at, input_grid);
            // Sums on the grid behind it: those of the square's product, or of the shares that a ReLU begins with.
            let next = grid(if plan.is_square(at) { own.back } else { own.opened });
            if at + 1 < plan.layers() && next < LEAST_GRID {
                return Err(ProtocolError::Caller(format!(
                    "with masks of {mask_bits} bits the values behind linear map {} would have {next} bits behind the \
                     point: doubles have no room for more, take fewer mask bits",
                    at + 1
                )));
            }
            plan.magnitudes.push(own);
            input_grid = Some(next);
        }
        for at in 0..plan.layers() {
            let activation = match plan.between(at) {
                Some(Between::Relu(relu)) => {
                    let next = plan.magnitudes(at + 1);
                    let (grid, mask) = (next.input_grid, next.input_mask);
                    Some(Activation::new(relu, plan.geometry(at), grid, mask)?)
                }
                _ => None,
            };
            plan.activations.push(activation);
        }
        Ok(plan)
    }

    fn magnitude(&self, at: usize, input_grid: Option<i32>) -> Magnitudes {
        let bits = self.mask_bits as i32;
        let power = |bits: i32| f64::from(bits).exp2();
        let is_last = at + 1 == self.layers();
        let input_bits = self.input_bits(at);
        let bound = if is_last { 0.5 } else { BOUND };
        let (input_mask, own_mask) = (input_bits + bits, bound.log2() as i32 + bits);
        let share = reach(self.reaches[at]) * power(input_mask) + power(own_mask);
        // a = u − c; and d beside it, t, and what comes back.
        let (mut opened, mut product_mask, mut back) = (bound + share + 1.0, 0.0, 0.0);
        if self.is_square(at) {
            opened += power(own_mask);
            product_mask = power(bits + 1) * bound * share;
            let next = power(self.input_bits(at + 1) + bits);
            back =
                (power(own_mask) + bound).powi(2) + 2.0 * power(own_mask) * share + product_mask + next + 1.0;
        }
        let own = grid(power(input_mask) + power(input_bits));
        Magnitudes {
            input_mask,
            input_grid: input_grid.map_or(own, |before| own.min(before)),
            own_mask,
            opened_grid: grid(opened),
            opened,
            share,
            product_mask,
            back,
        }
    }

    /// X_l, l > 1: no value of the input of layer `at` is larger.
    fn hidden(&self, at: usize) -> f64 {
        if self.is_square(at - 1) { BOUND * BOUND } else { BOUND }
    }

    /// log2 X_l, rounded up.
    fn input_bits(&self, at: usize) -> i32 {
        if at == 0 { self.limit.log2().ceil() as i32 } else { self.hidden(at).log2() as i32 }
    }

    /// The layouts.
    #[must_use]
    pub fn layouts(&self) -> &Layouts {
        &self.layouts
    }

    /// The scheme's parameters.
    #[must_use]
    pub fn params(&self) -> &Params {
        self.layouts.params()
    }

    /// g.
    #[must_use]
    pub fn mask_bits(&self) -> u32 {
        self.mask_bits
    }

    /// Largest |value| of an input.
    #[must_use]
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// Linear maps.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layouts.layers().len()
    }

    /// What follows a linear map; nothing after the last one.
    fn between(&self, at: usize) -> Option<&Between> {
        self.layouts.shapes().between.get(at)
    }

    /// Whether a square follows a linear map.
    #[must_use]
    pub fn is_square(&self, at: usize) -> bool {
        self.between(at) == Some(&Between::Square)
    }

    /// The ReLU that follows a linear map, if one does.
    #[must_use]
    pub fn activation(&self, at: usize) -> Option<&Activation> {
        self.activations.get(at)?.as_ref()
    }

    /// The steps of all ReLUs for so many images, with their elements, in the order in which they run; none where
    /// there are squares only.
    #[must_use]
    pub fn steps(&self, images: usize) -> Vec<(StepSpec, usize)> {
        self.activations.iter().flatten().flat_map(|activation| activation.steps(images)).collect()
    }

    /// Whether there is a ReLU, so that the session needs transfers.
    #[must_use]
    pub fn has_steps(&self) -> bool {
        self.activations.iter().any(Option::is_some)
    }

    /// The shape of a linear map.
    ///
    /// # Panics
    /// Beyond the last one.
    #[must_use]
    pub fn geometry(&self, at: usize) -> &ConvGeometry {
        &self.layouts.shapes().layers[at]
    }

    /// The magnitudes of a layer.
    ///
    /// # Panics
    /// Beyond the last one.
    #[must_use]
    pub fn magnitudes(&self, at: usize) -> &Magnitudes {
        &self.magnitudes[at]
    }

    /// The scale of c_l when it comes back: the weights' is the prime that is divided out.
    pub(super) fn share_scale(&self) -> f64 {
        let last = self.params().last_prime(LIMBS);
        MASK_SCALE * last / last
    }

    /// The distances; see the essay of [`super`].
    #[must_use]
    pub fn distance(&self) -> Distance {
        let (mut images, mut hidden_values, mut weights) = (0.0, 0.0, 0.0);
        for at in 0..self.layers() {
            let own = &self.magnitudes[at];
            let (inputs, outputs) = (self.geometry(at).input_len(), self.geometry(at).output_len());
            let power = |bits: i32| f64::from(bits).exp2();
            // A shift by delta of a number that is uniform in ±M: delta / 2M. Inputs are of either sign, squares and what
            // a ReLU leaves are not.
            let spread = if at == 0 { 2.0 * self.limit } else { self.hidden(at) } + power(-own.input_grid);
            images += inputs as f64 * spread / (2.0 * power(own.input_mask));
            // The client is shown nothing of what goes into a ReLU.
            if self.is_square(at) {
                let (d, t) = (power(own.own_mask), own.product_mask);
                let spread = 2.0 * BOUND + power(-own.opened_grid);
                hidden_values += outputs as f64 * (spread / (2.0 * d) + spread * 2.0 * own.share / (2.0 * t));
            }
            let product = reach(self.reaches[at]) * power(own.input_mask);
            weights += outputs as f64 * (product / power(own.own_mask)).min(1.0);
        }
        Distance {
            images: f64::min(images, 1.0),
            hidden_values: f64::min(hidden_values, 1.0),
            weights: f64::min(weights, 1.0),
        }
    }
}

/// 2^(e/4).
fn reach(exponent: i8) -> f64 {
    (f64::from(exponent) / REACH_STEPS).exp2()
}

/// The least e with 2^(e/4) at least this; the least that is believed for less.
pub(super) fn reach_exponent(value: f64) -> Result<i8, ProtocolError> {
    let exponent = (REACH_STEPS * value.log2()).ceil().max(-f64::from(MOST_REACH));
    if value.is_finite() && exponent <= f64::from(MOST_REACH) {
        return Ok(exponent as i8);
    }
    Err(ProtocolError::Caller("weights too large for floating-point shares".into()))
}

/// j of the finest grid on which sums up to `most` are exact.
fn grid(most: f64) -> i32 {
    ((EXACT - most.log2()).floor() as i32).min(MOST_GRID)
}

#[cfg(test)]
mod tests;
