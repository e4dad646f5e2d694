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
//! Weights that are zero are encoded like others, so that the work shows the shape only. Prepared maps take one
//! polynomial modulo all primes of their level per diagonal: some 500 MB for three convolutions of an MNIST network;
//! [`Evaluator::bytes`] has the number.

use he_core::ckks::{Ciphertext, LinearTransform, Params, Plaintext};
use he_core::rlwe::{GaloisKeys, RelinKey};

use super::Plan;
use super::network::{Layer, Network};
use super::plan::caller;
use crate::error::ProtocolError;
use crate::slots::{SlotLayout, SlotMap};

/// Stands for a weight that is zero: it is encoded as zero, but its diagonal is kept.
const NOTHING: f64 = 1e-200;

/// Most bytes of prepared maps.
const MOST_BYTES: usize = 4_000_000_000;

/// A network made ready. It holds weights: no `Debug`.
pub struct Evaluator {
    params: Params,
    stages: Vec<Stage>,
    bytes: usize,
}

struct Stage {
    /// Row by row, for each pair of an output's and an input's ciphertext.
    maps: Vec<Option<LinearTransform>>,
    inputs: usize,
    folds: Vec<i64>,
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
        let (mut limbs, mut scale, mut bytes) = (params.limbs(), params.scale(), 0);
        for (at, layer) in network.layers().iter().enumerate() {
            let [input, output] = [&layouts[at], &layouts[at + 1]];
            let stage = Stage::prepare(&params, layer, [input, output], plan.baby_steps()[at], limbs, scale)?;
            bytes += stage.polynomials * limbs * params.n() * core::mem::size_of::<u64>();
            if bytes > MOST_BYTES {
                return Err(ProtocolError::Caller(format!(
                    "this network's matrices take more than {} GB as polynomials",
                    MOST_BYTES / 1_000_000_000
                )));
            }
            stages.push(stage.stage);
            limbs -= 1;
            if at + 1 < network.layers().len() {
                scale = scale * scale / params.last_prime(limbs);
                limbs -= 1;
            }
        }
        Ok(Self { params, stages, bytes })
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

/// A stage, and how many polynomials its maps have.
struct Prepared {
    stage: Stage,
    polynomials: usize,
}

impl Stage {
    fn prepare(
        params: &Params,
        layer: &Layer,
        [input, output]: [&SlotLayout; 2],
        baby_steps: usize,
        limbs: usize,
        scale: f64,
    ) -> Result<Prepared, ProtocolError> {
        let weights: Vec<f64> = layer.weights.iter().map(|&w| if w == 0.0 { NOTHING } else { w }).collect();
        let map = SlotMap::new(&layer.geometry, &weights, input, output)?;
        let mut maps = Vec::new();
        let mut polynomials = 0;
        for to in 0..output.ciphertexts() {
            for from in 0..input.ciphertexts() {
                let encode = |matrix: &he_core::ckks::Diagonals| {
                    polynomials += matrix.indices().count();
                    params
                        .linear_transform_at(matrix, limbs, params.last_prime(limbs), baby_steps)
                        .map_err(caller)
                };
                maps.push(map.matrix(to, from).map(encode).transpose()?);
            }
        }
        let bias = output.scatter(&layer.bias)?;
        let bias = bias.iter().map(|bias| params.encode_at(bias, limbs - 1, scale).map_err(caller));
        let stage = Self {
            maps,
            inputs: input.ciphertexts(),
            folds: map.folds().to_vec(),
            bias: bias.collect::<Result<_, _>>()?,
        };
        Ok(Prepared { stage, polynomials })
    }

    /// The map, rescaled, with its bias.
    fn linear(
        &self,
        params: &Params,
        x: &[Ciphertext],
        galois: &GaloisKeys,
    ) -> Result<Vec<Ciphertext>, ProtocolError> {
        if x.len() != self.inputs {
            return Err(ProtocolError::Caller(format!("{} ciphertexts for {}", x.len(), self.inputs)));
        }
        let output = |(row, bias): (&[Option<LinearTransform>], &Plaintext)| {
            let mut sum: Option<Ciphertext> = None;
            for (map, x) in row.iter().zip(x) {
                let Some(map) = map else { continue };
                let product = params.transform_chained(x, map, galois).map_err(caller)?;
                match &mut sum {
                    Some(sum) => sum.add(&product).map_err(caller)?,
                    None => sum = Some(product),
                }
            }
            let empty = || ProtocolError::Caller("a ciphertext of a layer that depends on no input".into());
            let mut sum = sum.ok_or_else(empty)?;
            for &step in &self.folds {
                let turned = params.rotate(&sum, step, galois).map_err(caller)?;
                sum.add(&turned).map_err(caller)?;
            }
            params.rescale(&mut sum).map_err(caller)?;
            sum.add_plain(bias).map_err(caller)?;
            Ok(sum)
        };
        self.maps.chunks(self.inputs).zip(&self.bias).map(output).collect()
    }
}
