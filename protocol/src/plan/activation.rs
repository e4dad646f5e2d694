//! Activations in the plan: tournaments, then every part's steps.
//!
//! An activation switches its raw input to Z_2^k, takes maxima level by level (the steps of its tournaments), and then
//! applies each part's function to the part's channels. Values of a part lie image after image, run of channels after run,
//! pixel after pixel. Results go to the same channels; the second results of a PReLU follow all first ones.

use nn_merge::model::{ActivationSpec, FunctionSpec, Shape};
use ss_core::activation::{ActivationPlan, Widths};
use ss_core::compare::Comparison;
use ss_core::gate::GateSpec;
use ss_core::maximum::Tournament;
use ss_core::ring::Z2k;
use ss_core::step::StepSpec;
use zeroize::Zeroizing;

use super::GateStep;
use super::masked::Producer;
use crate::error::{PeerResult, ProtocolError};
use crate::rounds::RoundChoice;

/// One activation over all images.
#[derive(Debug)]
pub struct ActivationLayer {
    /// Its node.
    pub node: usize,
    /// The raw node that it reads.
    pub input: usize,
    /// Z_2^k.
    pub ring: Z2k,
    /// Z_2^w.
    pub output: Z2k,
    /// Maximum pooling over all images of the bundle.
    pub pool: Option<Tournament>,
    /// Functions, in order.
    pub parts: Vec<Part>,
    /// Elements per image after pooling.
    pub length: usize,
    /// Results per pooled element.
    pub outputs: usize,
    /// Where its masks lie.
    pub(crate) producer: Producer,
}

/// A function on some of the channels.
#[derive(Debug)]
pub struct Part {
    /// Its steps.
    pub plan: ActivationPlan,
    /// Elements per image.
    pub elements: usize,
    /// First element and number of elements, per image, of each run of channels.
    runs: Vec<[usize; 2]>,
}

impl ActivationLayer {
    pub(super) fn new(
        [node, input]: [usize; 2],
        spec: &ActivationSpec,
        shape: Shape,
        images: usize,
        producer: Producer,
        rounds: RoundChoice,
        gates: &mut Vec<GateStep>,
    ) -> Result<Self, ProtocolError> {
        let (mut maxima, mut plane) = (None, shape[1] * shape[2]);
        if let Some(pool) = &spec.pool {
            let comparison = Comparison::new(spec.ring_bits, spec.ignored_bits).or_malformed("manifest")?;
            let maximum = GateSpec::maximum(comparison, None).or_malformed("manifest")?;
            let tournament = pool.tournament(images).or_malformed("manifest")?;
            gates.extend(tournament.levels().iter().map(|level| GateStep {
                node,
                part: "max-pool",
                spec: rounds.construct(maximum.clone(), level.gates()),
                elements: level.gates(),
            }));
            plane = pool.out_height() * pool.out_width();
            maxima = Some(tournament);
        }
        let mut parts = Vec::with_capacity(spec.parts.len());
        for part in &spec.parts {
            let runs: Vec<[usize; 2]> = part
                .channels
                .iter()
                .map(|&(first, count)| [first as usize * plane, count as usize * plane])
                .collect();
            let elements = runs.iter().map(|run| run[1]).sum();
            let activation = part.function.activation(spec.ring_bits, spec.width).or_malformed("manifest")?;
            let widths = Widths {
                ring_bits: spec.ring_bits,
                ignored_bits: spec.ignored_bits,
                output_bits: spec.width,
                shift: 0,
            };
            let own =
                |one_round| ActivationPlan::new(&activation, widths, one_round).or_malformed("manifest");
            let mut plan = own(false)?;
            // At most one step of an activation has two constructions.
            let one_round = plan.steps().iter().any(|step| match step {
                StepSpec::Gate(gate) => {
                    matches!(rounds.construct(gate.clone(), images * elements), StepSpec::Garbled(_))
                }
                _ => false,
            });
            if one_round {
                plan = own(true)?;
            }
            gates.extend(plan.steps().iter().map(|step| GateStep {
                node,
                part: name(&part.function),
                spec: step.clone(),
                elements: images * elements,
            }));
            parts.push(Part { plan, elements, runs });
        }
        Ok(Self {
            node,
            input,
            ring: Z2k::new(spec.ring_bits).or_malformed("manifest")?,
            output: Z2k::new(spec.width).or_malformed("manifest")?,
            pool: maxima,
            parts,
            length: shape[0] * plane,
            outputs: spec.outputs(),
            producer,
        })
    }

    /// Elements per image of the result.
    pub fn output_len(&self) -> usize {
        self.outputs * self.length
    }
}

impl Part {
    /// The part's elements out of `values`, which hold `stride` elements per image; of result `output` where a pooled
    /// tensor of `length` elements has several.
    pub(crate) fn gather(
        &self,
        values: &[u64],
        [stride, first]: [usize; 2],
        images: usize,
    ) -> Zeroizing<Vec<u64>> {
        let mut own = Zeroizing::new(Vec::with_capacity(images * self.elements));
        for image in 0..images {
            for &[start, count] in &self.runs {
                own.extend_from_slice(&values[image * stride + first + start..][..count]);
            }
        }
        own
    }

    /// The way back of [`Part::gather`].
    pub(crate) fn scatter(
        &self,
        own: &[u64],
        values: &mut [u64],
        [stride, first]: [usize; 2],
        images: usize,
    ) {
        let mut own = own;
        for image in 0..images {
            for &[start, count] in &self.runs {
                let (part, rest) = own.split_at(count);
                values[image * stride + first + start..][..count].copy_from_slice(part);
                own = rest;
            }
        }
    }
}

/// For reports.
fn name(function: &FunctionSpec) -> &'static str {
    match function {
        FunctionSpec::Identity => "lift",
        FunctionSpec::Relu => "ReLU",
        FunctionSpec::Clip { .. } => "clip",
        FunctionSpec::Leaky { .. } => "leaky ReLU",
        FunctionSpec::PRelu => "PReLU",
        FunctionSpec::Polynomial { .. } => "polynomial",
        FunctionSpec::HardSwish { .. } => "hard swish",
        FunctionSpec::Smooth { .. } => "smooth",
    }
}
