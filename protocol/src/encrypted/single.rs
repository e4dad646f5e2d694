//! One image in the slots: diagonals and rotations.
//!
//! | step of a layer | level | rotations |
//! |---|---|---|
//! | matrix on slots, Horner over giant steps ([`Params::transform_chained`]) | | babies hoisted, giants one by one |
//! | sums over copies of the output ([`crate::slots`]) | | log2(p/P) |
//! | rescale, bias | - 1 | |
//! | square, relinearise, rescale (not after the last map) | - 1 | |
//!
//! Scales: a map is encoded with the prime that it is rescaled by, so it leaves scales as they are; a square of scale s
//! gives s^2 / q, within 2^-16 of 2^40 for chains of [`he_core::ckks::Literal`].
//!
//! Prepared maps take one polynomial modulo all primes of their level per diagonal: some 500 MB for three convolutions of
//! an MNIST network; [`Evaluator::bytes`] has the number.

use he_core::ckks::{Ciphertext, Params, Plaintext};
use he_core::rlwe::{GaloisKeys, RelinKey};

use super::Plan;
use super::network::Network;
use crate::error::{ProtocolError, caller};
use crate::slots::{EncodedMap, Room};

/// Most bytes of prepared maps.
const MOST_BYTES: usize = 4_000_000_000;

/// A network made ready. It holds weights: no `Debug`.
pub struct Evaluator {
    params: Params,
    stages: Vec<Stage>,
    bytes: usize,
}

struct Stage {
    map: EncodedMap,
    /// For each of the result's ciphertexts.
    bias: Vec<Plaintext>,
}

impl Evaluator {
    /// Encodes the network's maps.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a plan of another mode or network, weights that do not fit the scale, maps of more
    /// diagonals than memory should hold.
    pub fn new(network: &Network, plan: &Plan) -> Result<Self, ProtocolError> {
        let (params, layouts) = (plan.params().clone(), plan.layouts());
        if layouts.len() != network.layers().len() + 1 || plan.shapes() != network.shapes() {
            return Err(ProtocolError::Caller("a plan of another network or mode".into()));
        }
        let mut stages = Vec::new();
        let (mut limbs, mut scale, mut room) = (params.limbs(), params.scale(), Room::new(MOST_BYTES));
        for (at, layer) in network.layers().iter().enumerate() {
            let [input, output] = [&layouts[at], &layouts[at + 1]];
            let (geometry, weights, baby_steps) = (&layer.geometry, &layer.weights, plan.baby_steps()[at]);
            let map =
                EncodedMap::new(&params, geometry, weights, [input, output], baby_steps, limbs, &mut room)?;
            limbs -= 1;
            let bias = output.scatter(&layer.bias)?;
            let bias = bias.iter().map(|bias| params.encode_at(bias, limbs, scale).map_err(caller));
            stages.push(Stage { map, bias: bias.collect::<Result<_, _>>()? });
            if at + 1 < network.layers().len() {
                scale = scale * scale / params.last_prime(limbs);
                limbs -= 1;
            }
        }
        Ok(Self { params, stages, bytes: room.taken() })
    }

    /// Bytes of the prepared maps.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The encrypted results of the last map.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for ciphertexts of other limbs or scale than fresh ones have, or keys that lack a
    /// rotation of the plan.
    ///
    /// # Panics
    /// When ciphertexts or keys are of other parameters.
    pub fn evaluate(
        &self,
        mut x: Vec<Ciphertext>,
        relin: &RelinKey,
        galois: &GaloisKeys,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Ciphertext>, ProtocolError> {
        for (at, stage) in self.stages.iter().enumerate() {
            x = stage.linear(&self.params, &x, galois)?;
            if at + 1 < self.stages.len() {
                for x in &mut x {
                    let square = self.params.square(x).map_err(caller)?;
                    *x = self.params.relinearise(square, relin);
                    self.params.rescale(x).map_err(caller)?;
                }
            }
            progress(at + 1, self.stages.len());
        }
        Ok(x)
    }
}

impl Stage {
    /// The map, rescaled, with its bias.
    fn linear(
        &self,
        params: &Params,
        x: &[Ciphertext],
        galois: &GaloisKeys,
    ) -> Result<Vec<Ciphertext>, ProtocolError> {
        let output = |(at, bias): (usize, &Plaintext)| {
            let empty = || ProtocolError::Caller("a ciphertext of a layer that depends on no input".into());
            let mut sum = self.map.product(params, x, at, galois)?.ok_or_else(empty)?;
            params.rescale(&mut sum).map_err(caller)?;
            sum.add_plain(bias).map_err(caller)?;
            Ok(sum)
        };
        self.bias.iter().enumerate().map(output).collect()
    }
}
