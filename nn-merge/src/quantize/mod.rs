//! Quantisation: a program of real numbers into torus arithmetic.
//!
//! With B the bound of a raw tensor, k and w the widths of an activation, `worth` the real value of one integer unit of a
//! masked tensor (the inverse of `units` in the table of [`model`](crate::model), where all of this is defined):
//!
//! - raw tensors that sums and local maps connect share one B (module `bounds`); it is sized for the activations and the
//!   output that read them, since everything else may wrap: all of it is modulo one turn;
//! - y = x·2^k/2B, and a function of y is worth what module `function` says: a ReLU 2B/2^k, a square the square of that;
//! - module `widths` takes for every masked tensor the smallest w at which the largest weight of each linear reader,
//!   W·worth·2^w/2B, has the wanted bits; where no w of the profile gives them, k is lowered, as long as that gains;
//! - module `emit` rounds: weights, biases, factors of sums, offsets.
//!
//! Units differ by channel where functions or scales do: module `classes` says which elements have which.

mod bounds;
mod classes;
mod emit;
mod function;
mod widths;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::seed;

use std::collections::BTreeMap;

use crate::error::NnError;
use crate::lower::{Program, ProgramOp};
use crate::model::{NodeSpec, NodeWeights, ProfileLimits};

pub(crate) use bounds::Bounds;
pub(crate) use classes::uniform_channels;
pub(crate) use widths::Plan;

/// Overrides for one layer, by its node's name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerOptions {
    /// k of the activation.
    pub ring_bits: Option<u32>,
    /// h of the activation.
    pub ignored_bits: Option<u32>,
    /// Wanted bits of the linear map's largest weight.
    pub weight_bits: Option<u32>,
    /// Factor on the measured bound of what the activation reads.
    pub margin: Option<f64>,
}

/// The widths that a build uses: the profile's defaults with the caller's overrides applied.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: ProfileLimits,
    /// Greatest width of a masked tensor.
    pub(crate) max_width: u32,
    pub(crate) ring: u32,
    /// Whether k was asked for: then it is not lowered.
    pub(crate) ring_fixed: bool,
    pub(crate) last_ring: u32,
    pub(crate) ignored: u32,
    pub(crate) weight: u32,
    /// Wanted bits of the largest input, sign included.
    pub(crate) input: u32,
    pub(crate) margin: f64,
    pub(crate) strict: bool,
    pub(crate) layers: BTreeMap<String, LayerOptions>,
}

impl Settings {
    fn layer(&self, name: &str) -> LayerOptions {
        self.layers.get(name).copied().unwrap_or_default()
    }

    /// Checks widths against the profile, reported by option.
    pub(crate) fn check(&self) -> Result<(), NnError> {
        let bits = self.limits.modulus_bits;
        let top = 24.min(bits - 7);
        let rules = [
            ("greatest masked width".to_string(), Some(self.max_width), 8, self.limits.max_width),
            ("ring width k".into(), Some(self.ring), 6, top.min(self.max_width - 1)),
            ("last ring width".into(), Some(self.last_ring), 6, top),
            // The sign test compares 2 to 16 bits below the sign.
            (
                "ignored bits h".into(),
                Some(self.ignored),
                self.ring.saturating_sub(17),
                self.ring.saturating_sub(3),
            ),
            ("weight bits".into(), Some(self.weight), 2, 19),
            ("input bits".into(), Some(self.input), 4, self.max_width - 1),
        ];
        let layers = self.layers.iter().flat_map(|(name, own)| {
            let k = own.ring_bits.unwrap_or(self.ring);
            [
                (format!("ring width k of {name}"), own.ring_bits, 6, top.min(self.max_width - 1)),
                (
                    format!("ignored bits h of {name}"),
                    own.ignored_bits,
                    k.saturating_sub(17),
                    k.saturating_sub(3),
                ),
                (format!("weight bits of {name}"), own.weight_bits, 2, 19),
            ]
        });
        for (what, value, low, high) in rules.into_iter().chain(layers) {
            if let Some(value) = value.filter(|value| !(low..=high).contains(value)) {
                let why = format!("{value} is not in {low}..={high} for this profile");
                return Err(NnError::option(&what, why));
            }
        }
        let margins = self.layers.values().filter_map(|own| own.margin).chain([self.margin]);
        for margin in margins {
            if !(margin.is_finite() && (1.0..=1e6).contains(&margin)) {
                return Err(NnError::option("margin", format!("{margin} is not in 1..=1000000")));
            }
        }
        Ok(())
    }

    /// Every override names a node of the program.
    pub(crate) fn check_names(&self, program: &Program) -> Result<(), NnError> {
        match self.layers.keys().find(|name| program.nodes.iter().all(|node| node.name != **name)) {
            Some(name) => Err(NnError::option(&format!("options of {name}"), "no node has that name")),
            None => Ok(()),
        }
    }
}

/// A quantised program.
pub(crate) struct Quantized {
    pub(crate) nodes: Vec<NodeSpec>,
    pub(crate) weights: Vec<NodeWeights>,
    /// The manifest's node of every program node.
    pub(crate) index: Vec<u32>,
    pub(crate) bounds: Bounds,
    pub(crate) plan: Plan,
    /// Integers per real unit of the input.
    pub(crate) units: f64,
    /// log2 of the largest |w| of every program node, rounded up.
    pub(crate) weight_bits: Vec<Option<u32>>,
    /// Real logit per torus.
    pub(crate) logit_scale: f64,
}

/// Quantises a program. `measured` and `fixed` are the largest |value| per program node, measured and static (only those
/// of raw nodes that activations or the output read are looked at); `limit` is the largest |input| accepted.
pub(crate) fn quantize(
    program: &Program,
    measured: &[f64],
    fixed: &[f64],
    limit: f64,
    settings: &Settings,
) -> Result<Quantized, NnError> {
    let bounds = bounds::bounds(program, measured, fixed, settings)?;
    let layouts = classes::layouts(&program.nodes)?;
    let plan = widths::plan(program, &bounds, &layouts, limit, settings)?;
    emit::emit(program, bounds, &layouts, plan, settings)
}

/// The raw nodes whose values have to fit: what activations read, and the output.
pub(crate) fn read_raw(program: &Program) -> Vec<usize> {
    let mut read: Vec<usize> = program
        .nodes
        .iter()
        .filter(|node| matches!(node.op, ProgramOp::Activation(_)))
        .map(|node| node.inputs[0])
        .chain([program.output])
        .collect();
    read.sort_unstable();
    read.dedup();
    read
}
