//! The online products of a model's linear layers, by one algorithm after the other, in this process on its threads.
//!
//! Inputs are uniform residues, as masked tensors are; weights are the model's; images of a bundle and tiles of large
//! planes go together as in the online stage. What an algorithm can't compute, im2col does; how many layers that are is
//! part of the row.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result};
use conv_fast::{Algorithm, ConvGeometry, Planner, PreparedConv};
use he_core::{Modulus, Seed, sample};
use nn_merge::model::Model;
use protocol::{OutputMode, Plan};

use super::figures::Convolutions;
use crate::bench::timing::median;

/// A family of algorithms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Direct,
    Im2col,
    Winograd,
    Ntt,
    /// What servers take: the planner's choice for the very weights.
    Planned,
}

impl Family {
    const ALL: [Self; 5] = [Self::Direct, Self::Im2col, Self::Winograd, Self::Ntt, Self::Planned];

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Im2col => "im2col",
            Self::Winograd => "winograd",
            Self::Ntt => "ntt",
            Self::Planned => "planned",
        }
    }

    fn has(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Direct => algorithm == Algorithm::Direct,
            Self::Im2col => algorithm == Algorithm::Im2col,
            Self::Winograd => matches!(algorithm, Algorithm::Winograd { .. }),
            Self::Ntt => algorithm == Algorithm::Ntt,
            Self::Planned => false,
        }
    }
}

/// One row per family.
pub(super) fn measure(model: &Model, merging: bool, images: usize, smoke: bool) -> Result<Vec<Convolutions>> {
    let plan = Plan::new(&model.manifest, images, OutputMode::Label)?;
    let budget = Duration::from_millis(if smoke { 1 } else { 100 });
    let mut words = Seed::from_os()?.stream();
    let row = |family: Family| {
        let (mut seconds, mut computed) = (0.0, 0);
        for layer in plan.layers() {
            let (tile, weights) = (layer.tiling.tile(), &model.nodes[layer.node].weights);
            let batch = images * layer.tiling.tiles();
            let mut own = true;
            for modulus in plan.params().moduli() {
                let (convolution, is_own) = prepare(family, tile, *modulus, weights, batch)?;
                own &= is_own;
                let mut input = vec![0; batch * tile.input_len()];
                sample::uniform(&mut words, modulus, &mut input);
                let mut output = vec![0; batch * tile.output_len()];
                // One run shows whether it runs at all; then its time is taken.
                convolution.run_into(&input, batch, &mut output)?;
                seconds += median(budget, || {
                    let _ = convolution.run_into(black_box(&input), batch, black_box(&mut output));
                });
            }
            computed += usize::from(own);
        }
        Ok(Convolutions {
            merging,
            algorithm: family.name(),
            seconds: seconds / images as f64,
            layers: computed,
            of_layers: plan.layers().len(),
        })
    };
    Family::ALL.into_iter().map(row).collect()
}

/// The family's fastest algorithm for a layer by the planner's estimate, and whether it is of that family.
fn prepare(
    family: Family,
    geometry: &ConvGeometry,
    modulus: Modulus,
    weights: &[i32],
    batch: usize,
) -> Result<(PreparedConv, bool)> {
    if family == Family::Planned {
        return Ok((PreparedConv::best(geometry.clone(), modulus, weights, batch)?, true));
    }
    let prepare = |algorithm| PreparedConv::new(geometry.clone(), modulus, weights, algorithm).ok();
    let candidates = Planner::default().weights(weights).batch(batch).candidates(geometry, modulus);
    let mut own = candidates.iter().map(|candidate| candidate.algorithm).filter(|&one| family.has(one));
    let found = own.find_map(prepare).map(|convolution| (convolution, true));
    let instead = || prepare(Algorithm::Im2col).or_else(|| prepare(Algorithm::Direct));
    found
        .or_else(|| instead().map(|convolution| (convolution, false)))
        .context("a layer that nothing computes")
}
