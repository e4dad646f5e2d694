//! The server's private numbers as the online stage takes them.

use he_core::Params;
use nn_merge::model::{Kind, NodeWeights, Tensor};

/// Biases of one node; `Debug` is not offered.
pub struct NodeNumbers {
    residues: Vec<Vec<u64>>,
    offsets: Vec<u64>,
}

/// Fraction bits of a bias: turns of the torus in units of 2^-62.
const BIAS_BITS: u32 = 62;

impl NodeNumbers {
    /// The numbers of a node that gives `tensor`.
    pub fn new(params: &Params, tensor: &Tensor, own: &NodeWeights) -> Self {
        let mask = |bits: u32| (1u64 << bits) - 1;
        match tensor.kind {
            Kind::Raw => {
                // Whole turns vanish.
                let turns: Vec<u64> = own.bias.iter().map(|&bias| bias as u64 & mask(BIAS_BITS)).collect();
                Self { residues: params.up(&turns, BIAS_BITS), offsets: Vec::new() }
            }
            Kind::Masked { width } => {
                let offsets = own.bias.iter().map(|&bias| bias as u64 & mask(width)).collect();
                Self { residues: Vec::new(), offsets }
            }
        }
    }

    /// Of a raw node: limb by limb, per channel or per element, or none.
    pub fn residues(&self) -> &[Vec<u64>] {
        &self.residues
    }

    /// Of an activation: what is added to its results, per channel, in Z_2^w, or none.
    pub fn offsets(&self) -> &[u64] {
        &self.offsets
    }
}
