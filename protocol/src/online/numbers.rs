//! The server's private numbers as the online stage takes them.

use std::iter::zip;

use he_core::Params;
use nn_merge::model::{Kind, NodeWeights, Tensor};

/// Biases of one node; `Debug` is not offered.
pub struct NodeNumbers {
    residues: Vec<Vec<u64>>,
    offsets: Vec<u64>,
}

impl NodeNumbers {
    /// The numbers of a node that gives `tensor`.
    pub fn new(params: &Params, tensor: &Tensor, own: &NodeWeights) -> Self {
        match tensor.kind {
            Kind::Raw => {
                let mut residues = vec![Vec::with_capacity(own.bias.len()); params.limbs()];
                for &bias in &own.bias {
                    zip(&mut residues, params.torus(bias)).for_each(|(limb, residue)| limb.push(residue));
                }
                Self { residues, offsets: Vec::new() }
            }
            Kind::Masked { width } => {
                let full = (1u64 << width) - 1;
                let offsets = own.bias.iter().map(|&bias| bias as u64 & full).collect();
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
