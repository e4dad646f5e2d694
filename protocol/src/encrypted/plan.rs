//! What both parties know before a ciphertext is made: parameters, layouts, rotations, sizes of messages.
//!
//! Everything follows from the public shapes ([`Shapes`]) and the mode. With S squares a network has S + 1 linear maps.
//!
//! | | single | batch |
//! |---|---|---|
//! | N | 16384, beyond S = 3 32768 | 16384, beyond S = 6 32768 |
//! | levels | 2 S + 1: one prime per map and square | S: one prime per map and square together |
//! | ciphertext primes (bits) | 50, then one of 40 per level | S + 1 of 50 |
//! | special primes (bits) | two of 45 | one of 50 |
//! | squares S | 1 to 8 | 1 to 8 |
//! | scale | 2^40, as long as levels last | of the input 2^(e/8), the server's choice: see [`super::batch`] |
//!
//! All parameter sets are below the caps of [`he_core::security`], or do not exist. Single mode turns ciphertexts with two
//! special primes, which makes keys a third smaller than one would; batch mode makes few key switchings and wants the bits
//! elsewhere.
//!
//! Sizes are those of the wire forms of `he_core`; every message has one length, or a cap that its header decides.

use std::collections::BTreeSet;

use conv_fast::ConvGeometry;
use he_core::ckks::{Literal, Params};
use he_core::rlwe::{RlweLiteral, RlweParams};
use serde::{Deserialize, Serialize};

use super::network::Shapes;
use crate::error::{ProtocolError, caller};
use crate::slots::{SlotLayout, distances, rotation_steps};

/// Most squares.
const MOST_SQUARES: usize = 8;
/// Most ciphertexts of a message: frames number them with 16 bits.
const MOST_CIPHERTEXTS: usize = 1 << 14;
/// Bits of batch mode's primes.
const BATCH_BITS: u32 = 50;
/// log2 of single mode's scale.
const SCALE_BITS: u32 = 40;

/// What a ciphertext holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// One image.
    Single,
    /// One element of many images.
    Batch,
}

impl Mode {
    /// The word of the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Batch => "batch",
        }
    }
}

/// Parameters and layouts of one network in one mode.
#[derive(Clone, Debug)]
pub struct Plan {
    mode: Mode,
    shapes: Shapes,
    params: Params,
    layouts: Vec<SlotLayout>,
    baby_steps: Vec<usize>,
    /// Diagonals of every layer's matrices.
    diagonals: Vec<usize>,
    rotations: Vec<i64>,
}

impl Plan {
    /// The plan of a network.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for more squares than any parameters have levels for, none, or tensors that do not fit
    /// the slots.
    pub fn new(shapes: &Shapes, mode: Mode) -> Result<Self, ProtocolError> {
        let squares = shapes.squares();
        if !(1..=MOST_SQUARES).contains(&squares) {
            return Err(ProtocolError::Caller(format!(
                "a network of {squares} squares in a row: on ciphertexts alone there have to be 1 to {MOST_SQUARES}"
            )));
        }
        let params = match mode {
            Mode::Single => Params::from_literal(&Literal {
                degree: if squares <= 3 { 16384 } else { 32768 },
                first_bits: 50,
                scale_bits: SCALE_BITS,
                depth: 2 * squares + 1,
                special_bits: 45,
                special_primes: 2,
            }),
            Mode::Batch => {
                let degree = if squares <= 6 { 16384 } else { 32768 };
                RlweLiteral::from_bits(degree, &vec![BATCH_BITS; squares + 1], &[BATCH_BITS])
                    .and_then(|literal| RlweParams::new(&literal))
                    .and_then(|rlwe| Params::new(rlwe, 1.0))
            }
        };
        let params = params.map_err(caller)?;
        let mut plan = Self {
            mode,
            shapes: shapes.clone(),
            params,
            layouts: Vec::new(),
            baby_steps: Vec::new(),
            diagonals: Vec::new(),
            rotations: Vec::new(),
        };
        if mode == Mode::Single {
            plan.lay_out()?;
        }
        if plan.inputs().max(plan.outputs()) > MOST_CIPHERTEXTS {
            return Err(ProtocolError::Caller(format!(
                "{} ciphertexts of input: a message has at most {MOST_CIPHERTEXTS}",
                plan.inputs()
            )));
        }
        Ok(plan)
    }

    fn lay_out(&mut self) -> Result<(), ProtocolError> {
        let slots = self.params.slots();
        self.layouts.push(SlotLayout::aligned(slots, self.shapes.input, true)?);
        let mut rotations = BTreeSet::new();
        for geometry in &self.shapes.layers {
            let input = &self.layouts[self.layouts.len() - 1];
            let output = input.after(geometry, true)?;
            let map = distances(geometry, input, &output)?;
            let (baby_steps, own) = rotation_steps(&map);
            rotations.extend(own);
            self.diagonals.push(map.diagonals());
            self.baby_steps.push(baby_steps);
            self.layouts.push(output);
        }
        self.rotations = rotations.into_iter().collect();
        Ok(())
    }

    /// The mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The network's shapes.
    #[must_use]
    pub fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// The scheme's parameters.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Layouts of the input and of every layer's result; none in batch mode.
    #[must_use]
    pub fn layouts(&self) -> &[SlotLayout] {
        &self.layouts
    }

    /// Baby steps of every layer; none in batch mode.
    #[must_use]
    pub fn baby_steps(&self) -> &[usize] {
        &self.baby_steps
    }

    /// The steps that need a Galois key; none in batch mode.
    #[must_use]
    pub fn rotations(&self) -> &[i64] {
        &self.rotations
    }

    /// Most images of one evaluation.
    #[must_use]
    pub fn most_images(&self) -> usize {
        match self.mode {
            Mode::Single => 1,
            Mode::Batch => self.params.slots(),
        }
    }

    /// Ciphertexts of the client's message.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match self.mode {
            Mode::Single => self.layouts[0].ciphertexts(),
            Mode::Batch => self.shapes.input_len(),
        }
    }

    /// Ciphertexts of the server's answer.
    #[must_use]
    pub fn outputs(&self) -> usize {
        match self.mode {
            Mode::Single => self.layouts.last().map_or(0, SlotLayout::ciphertexts),
            Mode::Batch => self.shapes.classes(),
        }
    }

    /// Primes of the answer's ciphertexts.
    #[must_use]
    pub fn answer_limbs(&self) -> usize {
        1
    }

    /// A bound on the bytes of one wire form of `polynomials` polynomials modulo `limbs` primes, which is tight up to
    /// headers, scales and seeds: primes count with the widest one's bits.
    #[must_use]
    pub fn message_cap(&self, polynomials: usize, limbs: usize) -> usize {
        const REST: usize = 128;
        REST + polynomials * limbs * self.params.n() * 50 / 8
    }

    /// Primes of a fresh ciphertext, and of a key.
    #[must_use]
    pub fn limbs(&self) -> [usize; 2] {
        let rlwe = self.params.rlwe();
        [rlwe.limbs(), rlwe.limbs() + rlwe.digit_len()]
    }

    /// Polynomials of a key of key switching.
    #[must_use]
    pub fn digits(&self) -> usize {
        self.params.limbs().div_ceil(self.params.rlwe().digit_len().max(1))
    }

    /// Bytes of the server's prepared weights, which serve all clients: diagonals as polynomials of their level, or whole
    /// numbers and biases.
    #[must_use]
    pub fn prepared_bytes(&self) -> usize {
        match self.mode {
            Mode::Single => {
                let word = core::mem::size_of::<u64>() * self.params.n();
                // Every layer takes one prime, and every square between them.
                let limbs = |at: usize| self.params.limbs() - 2 * at;
                self.diagonals.iter().enumerate().map(|(at, count)| count * limbs(at) * word).sum()
            }
            Mode::Batch => {
                let bytes = |layer: &ConvGeometry| 4 * layer.weights_len() + 8 * layer.output_len();
                self.shapes.layers.iter().map(bytes).sum()
            }
        }
    }

    /// A bound on the bytes that the server holds for one client and one evaluation: keys as they are used (both halves),
    /// ciphertexts of the widest moment. [`Plan::prepared_bytes`] come on top, once for all clients.
    #[must_use]
    pub fn server_bytes(&self) -> usize {
        let word = core::mem::size_of::<u64>() * self.params.n();
        let [limbs, all] = self.limbs();
        let keys = (self.rotations.len() + 1) * self.digits() * 2 * all * word;
        let held = match self.mode {
            // Of the widest layer: what comes in and goes out, babies, and sums of groups.
            Mode::Single => {
                let layer = |(ends, babies): (&[SlotLayout], &usize)| {
                    let ciphertexts: usize = ends.iter().map(SlotLayout::ciphertexts).sum();
                    (2 * ciphertexts + 4 * babies.max(&64)) * limbs * word
                };
                self.layouts.windows(2).zip(&self.baby_steps).map(layer).max().unwrap_or(0)
            }
            // The input's halves, and of every tensor the rows that its reader needs at a time.
            Mode::Batch => {
                let tensor = |(at, geometry): (usize, &ConvGeometry)| {
                    let s = geometry.shape();
                    let rows = ((s.kernel[0] - 1) * s.dilation[0] + 1).min(s.in_height);
                    s.in_channels * rows * s.in_width * 2 * (limbs - at) * word
                };
                let tensors: usize = self.shapes.layers.iter().enumerate().map(tensor).sum();
                self.shapes.input_len() * limbs * word + tensors
            }
        };
        keys + held
    }
}
