//! Slots and rotations of a network's layers, from its public shapes alone.
//!
//! Every layer is laid out for itself, since the client encrypts masks for each: the input with rows at distances that are
//! a power of two, a small one repeated; the output where the input's positions were ([`crate::slots`]).
//!
//! | quantity | value | |
//! |---|---|---|
//! | N; primes (bits) | 8192; 50, 45, 45, special 50 | 190 bits of at most 214 |
//! | ciphertexts of a layer | 1 to 2^12 | |
//! | linear maps | 1 to 32 | |

use std::collections::BTreeSet;

use he_core::ckks::Params;
use he_core::rlwe::{self, GaloisKeys, RlweLiteral, RlweParams};

use super::plan::MASK_SCALE;
use crate::encrypted::network::Shapes;
use crate::error::{ProtocolError, caller};
use crate::slots::wire::exponents;
use crate::slots::{SlotLayout, distances, rotation_steps};

/// Most linear maps.
const MOST_LAYERS: usize = 32;
/// Most ciphertexts of a layer.
const MOST_CIPHERTEXTS: usize = 1 << 12;

/// Slots and rotations of a network's layers, whatever is in them.
#[derive(Debug)]
pub struct Layouts {
    shapes: Shapes,
    params: Params,
    layers: Vec<LayerLayout>,
    rotations: Vec<i64>,
    exponents: Vec<usize>,
}

/// One linear map.
#[derive(Debug)]
pub struct LayerLayout {
    /// Of its input.
    pub input: SlotLayout,
    /// Of its result.
    pub output: SlotLayout,
    /// Baby steps of its rotations.
    pub baby_steps: usize,
}

impl Layouts {
    /// The layouts of a network.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for tensors that do not fit the slots.
    pub fn new(shapes: &Shapes) -> Result<Self, ProtocolError> {
        if shapes.layers.is_empty() || shapes.layers.len() > MOST_LAYERS {
            return Err(ProtocolError::Caller(format!(
                "a network of {} linear maps: floating-point shares take 1 to {MOST_LAYERS}",
                shapes.layers.len()
            )));
        }
        let params = RlweLiteral::from_bits(8192, &[50, 45, 45], &[50])
            .and_then(|literal| RlweParams::new(&literal))
            .and_then(|rlwe| Params::new(rlwe, MASK_SCALE))
            .map_err(caller)?;
        let slots = params.slots();
        let (mut layers, mut rotations) = (Vec::new(), BTreeSet::new());
        for geometry in &shapes.layers {
            let s = geometry.shape();
            let input = SlotLayout::aligned(slots, [s.in_channels, s.in_height, s.in_width], true)?;
            let output = input.after(geometry, true)?;
            if input.ciphertexts().max(output.ciphertexts()) > MOST_CIPHERTEXTS {
                return Err(ProtocolError::Caller(format!(
                    "a layer of more than {MOST_CIPHERTEXTS} ciphertexts"
                )));
            }
            let (baby_steps, own) = rotation_steps(&distances(geometry, &input, &output)?);
            rotations.extend(own);
            layers.push(LayerLayout { input, output, baby_steps });
        }
        Ok(Self {
            shapes: shapes.clone(),
            exponents: exponents(params.n(), rotations.iter().copied()),
            params,
            layers,
            rotations: rotations.into_iter().collect(),
        })
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

    /// The layers.
    #[must_use]
    pub fn layers(&self) -> &[LayerLayout] {
        &self.layers
    }

    /// Steps of the rotations that need a key.
    #[must_use]
    pub fn rotations(&self) -> &[i64] {
        &self.rotations
    }

    /// The same as exponents, ascending: the order of the keys.
    #[must_use]
    pub fn exponents(&self) -> &[usize] {
        &self.exponents
    }

    /// Bytes of the public key, and of the rotation keys behind it.
    #[must_use]
    pub fn key_bytes(&self) -> [usize; 2] {
        let rlwe = self.params.rlwe();
        [
            rlwe::SeededCiphertext::wire_len(rlwe, self.params.limbs()),
            GaloisKeys::wire_len(rlwe, self.exponents.len()),
        ]
    }
}
