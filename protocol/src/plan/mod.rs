//! The plan: what both parties do, lowered once from the public manifest.
//!
//! Both sides build the same [`Plan`] from the manifest, the number of images in the bundle and the output mode,
//! and walk it with the same loops, so they cannot drift apart: every message's kind, place and length follows
//! from it.
//!
//! A bundle holds `images` inferences that are run together; local maps are applied image by image. The steps of all
//! activations form one list of [`GateStep`]s in the order in which they run.
//!
//! | room | what |
//! |---|---|
//! | `size` | caps, before anything is allocated |
//! | `masked` | masked tensors as views of one arena; which slots are bound |
//! | `linear` | tiles, slots, deltas of a linear layer ([`LinearPlan`]) |
//! | `activation` | pools and parts ([`ActivationLayer`]) |
//! | `local` | index maps over the images of a bundle ([`LocalPlan`]) |

mod activation;
mod arg_max;
mod linear;
mod local;
mod masked;
mod size;

use he_core::Params;
use nn_merge::fixed_point::{last_reads, reply_bits, result_bits};
use nn_merge::model::{Kind, Manifest, OpSpec, Tensor, limits};
use serde::{Deserialize, Serialize};
use ss_core::step::StepSpec;

use crate::error::{PeerFault, PeerResult, ProtocolError};
use crate::offline::construction::{Preprocessing, Scheme};
use crate::rounds::RoundChoice;
use linear::LinearSpec;
use masked::Arena;
use size::Budget;

pub use activation::{ActivationLayer, Part};
pub use arg_max::ArgMax;
pub use linear::LinearPlan;
pub(crate) use linear::{FREE, UNREAD};
pub use local::LocalPlan;
pub use masked::{Places, Producer};
pub use size::MAX_ELEMENTS;
pub(crate) use size::{cells, check_images};

/// Most images in one bundle.
pub const MAX_IMAGES: usize = 256;
/// Most steps of a plan: a frame names its step in 16 bits.
const MAX_STEPS: usize = 1 << 16;
/// The least k of an activation.
const COARSEST: u32 = 6;

/// Most labels per image that can be asked for.
pub const MAX_TOP: u32 = 16;

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputMode {
    /// The index of the largest logit and nothing else.
    Label,
    /// The indices of the largest logits, largest first, and nothing else.
    Top {
        /// How many, 2 to [`MAX_TOP`].
        labels: u32,
    },
    /// All logits, rounded to this many bits of the last layer's range (6 to 20).
    Logits {
        /// Bits kept.
        bits: u32,
    },
}

impl OutputMode {
    /// Labels per image, 0 where logits leave.
    pub fn labels(self) -> usize {
        match self {
            Self::Label => 1,
            Self::Top { labels } => labels as usize,
            Self::Logits { .. } => 0,
        }
    }

    /// One word for each mode and its number, for hashes and records.
    pub(crate) fn word(self) -> u32 {
        match self {
            Self::Label => 0,
            Self::Top { labels } => 1 << 8 | labels,
            Self::Logits { bits } => bits,
        }
    }

    /// From [`Self::word`], whatever it says: what makes no sense is refused by the plan.
    pub(crate) fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Label,
            bits if bits < 1 << 8 => Self::Logits { bits },
            labels => Self::Top { labels: labels ^ 1 << 8 },
        }
    }
}

/// Both parties' walk through one bundle.
#[derive(Debug)]
pub struct Plan {
    params: Params,
    scheme: Scheme,
    images: usize,
    mode: OutputMode,
    rounds: RoundChoice,
    tensors: Vec<Tensor>,
    names: Vec<String>,
    nodes: Vec<NodePlan>,
    layers: Vec<LinearPlan>,
    activations: Vec<ActivationLayer>,
    producers: Vec<Producer>,
    /// Per node what stands behind it, if it is masked.
    places: Vec<Option<Places>>,
    arena: usize,
    gates: Vec<GateStep>,
    arg_max: Option<ArgMax>,
    output: (usize, u32),
    /// Per node the nodes that nobody reads after it.
    done: Vec<Vec<usize>>,
}

/// What a node is in the walk.
#[derive(Debug)]
pub enum NodePlan {
    /// The network's input.
    Input,
    /// Number of a linear layer, see [`Plan::layers`].
    Linear(usize),
    /// Sum of raw nodes and of masked nodes with a public factor.
    Sum(Vec<(usize, i64)>),
    /// Number of an activation, see [`Plan::activations`].
    Activation(usize),
    /// A local map of nodes.
    Local(Vec<usize>, LocalPlan),
}

/// One step over all images.
#[derive(Clone, Debug)]
pub struct GateStep {
    /// Node it belongs to; one beyond the last for the choice of labels.
    pub node: usize,
    /// What it is for, for reports.
    pub part: &'static str,
    /// What it computes, and by which construction.
    pub spec: StepSpec,
    /// Elements.
    pub elements: usize,
}

impl Plan {
    /// Lowers a (validated) manifest.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for an impossible number of images or bits or a bundle beyond [`MAX_ELEMENTS`],
    /// [`ProtocolError::Peer`] for a manifest whose numbers do not fit together or whose single image is beyond it.
    pub fn new(manifest: &Manifest, images: usize, mode: OutputMode) -> Result<Self, ProtocolError> {
        Self::with_rounds(manifest, images, mode, RoundChoice::Three)
    }

    /// As [`Plan::new`], with another choice of round trips.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn with_rounds(
        manifest: &Manifest,
        images: usize,
        mode: OutputMode,
        rounds: RoundChoice,
    ) -> Result<Self, ProtocolError> {
        Self::with_preprocessing(manifest, images, mode, rounds, Preprocessing::Split)
    }

    /// As [`Plan::with_rounds`], with another construction of the preprocessing.
    ///
    /// # Errors
    /// As [`Plan::new`], and [`ProtocolError::Caller`] for a network that the construction has no room for.
    pub fn with_preprocessing(
        manifest: &Manifest,
        images: usize,
        mode: OutputMode,
        rounds: RoundChoice,
        preprocessing: Preprocessing,
    ) -> Result<Self, ProtocolError> {
        let tensors = manifest.tensors().or_malformed("manifest")?;
        let output = manifest.output.node as usize;
        let classes = tensors[output].elements();
        check_request(images, mode, classes)?;
        let mut budget = Budget::new(manifest, &tensors, images)?;
        let params = Params::new(manifest.profile);
        let scheme = Scheme::new(preprocessing, &params, manifest)?;
        let asked = match mode {
            OutputMode::Logits { bits } => Some(bits),
            _ => None,
        };
        let (ring_bits, reply_bits) = (result_bits(manifest, asked), reply_bits(manifest, &params, asked));
        let mut plan = Self {
            params,
            scheme,
            images,
            mode,
            rounds,
            names: manifest.nodes.iter().map(|node| printable(&node.name)).collect(),
            nodes: Vec::with_capacity(tensors.len()),
            layers: Vec::new(),
            activations: Vec::new(),
            producers: Vec::new(),
            places: Vec::with_capacity(tensors.len()),
            arena: 0,
            gates: Vec::new(),
            arg_max: None,
            output: (output, asked.unwrap_or(manifest.output.ring_bits)),
            done: done(manifest),
            tensors,
        };
        let masked_bits = limits(manifest.profile).masked_bits;
        let mut arena = Arena::default();
        for (index, node) in manifest.nodes.iter().enumerate() {
            let inputs: Vec<usize> = node.inputs.iter().map(|&input| input as usize).collect();
            let tensor = plan.tensors[index];
            let mut places = None;
            let lowered = match &node.op {
                OpSpec::Input { .. } => {
                    places = Some(arena.produce(index, &tensor));
                    NodePlan::Input
                }
                OpSpec::Linear { geometry, .. } => {
                    let source = plan.tensors[inputs[0]];
                    let (Kind::Masked { width }, Some(behind)) = (source.kind, &plan.places[inputs[0]])
                    else {
                        return Err(unfit("a linear layer of a raw tensor"));
                    };
                    let spec = LinearSpec {
                        node: index,
                        name: &node.name,
                        input: inputs[0],
                        tensor: source,
                        width,
                        masked_bits,
                        geometry,
                        // What nobody reads takes the coarsest ring there is.
                        ring_bits: ring_bits[index].max(COARSEST),
                        reply_bits: reply_bits[index],
                    };
                    let layer = LinearPlan::new(
                        &plan.params,
                        &plan.scheme,
                        spec,
                        images,
                        behind,
                        &mut arena,
                        &mut budget,
                    )?;
                    plan.layers.push(layer);
                    NodePlan::Linear(plan.layers.len() - 1)
                }
                OpSpec::Sum { factors } => {
                    for places in inputs.iter().filter_map(|&input| plan.places[input].as_ref()) {
                        arena.read(places)?;
                    }
                    NodePlan::Sum(inputs.into_iter().zip(factors.iter().copied()).collect())
                }
                OpSpec::Activation(spec) => {
                    places = Some(arena.produce(index, &tensor));
                    let producer = arena.producers[arena.producers.len() - 1];
                    let shape = plan.tensors[inputs[0]].shape;
                    let nodes = [index, inputs[0]];
                    let layer =
                        ActivationLayer::new(nodes, spec, shape, images, producer, rounds, &mut plan.gates)?;
                    plan.activations.push(layer);
                    NodePlan::Activation(plan.activations.len() - 1)
                }
                OpSpec::Local(op) => {
                    let shapes: Vec<_> = inputs.iter().map(|&input| plan.tensors[input].shape).collect();
                    let map = LocalPlan::new(op, &shapes);
                    if tensor.kind != Kind::Raw {
                        let behind: Option<Vec<&Places>> =
                            inputs.iter().map(|&input| plan.places[input].as_ref()).collect();
                        let behind = behind.ok_or_else(|| unfit("a masked map of a raw tensor"))?;
                        places = Some(arena.compose(&map, &behind)?);
                    }
                    NodePlan::Local(inputs, map)
                }
            };
            plan.nodes.push(lowered);
            plan.places.push(places);
        }
        (plan.producers, plan.arena) = (arena.producers, arena.length);
        if !matches!(mode, OutputMode::Logits { .. }) {
            plan.arg_max = Some(ArgMax::new(&mut plan, classes)?);
        }
        if plan.gates.len() >= MAX_STEPS {
            return Err(unfit("more steps than frames can name"));
        }
        Ok(plan)
    }

    /// Lattice parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The construction of the preprocessing, and what it computes in.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The construction of the preprocessing.
    pub fn preprocessing(&self) -> Preprocessing {
        self.scheme.preprocessing()
    }

    /// Images in the bundle.
    pub fn images(&self) -> usize {
        self.images
    }

    /// What the client gets.
    pub fn mode(&self) -> OutputMode {
        self.mode
    }

    /// How its activations trade round trips for bytes.
    pub fn rounds(&self) -> RoundChoice {
        self.rounds
    }

    /// Bytes that the server's half of a bundle takes in memory, about.
    pub fn server_bytes(&self) -> usize {
        let layer = |layer: &LinearPlan| {
            let (narrow, wide) = layer.delta_bytes(&self.params, self.images);
            8 * self.params.limbs() * self.images * layer.geometry().output_len()
                + narrow
                + wide.iter().sum::<usize>()
        };
        self.layers.iter().map(layer).sum::<usize>()
            + self.gates.iter().map(|step| step.spec.server_bytes(step.elements)).sum::<usize>()
    }

    /// Every step's construction and number of elements, in order of execution.
    pub fn step_sizes(&self) -> Vec<(StepSpec, usize)> {
        self.gates.iter().map(|step| (step.spec.clone(), step.elements)).collect()
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> &[NodePlan] {
        &self.nodes
    }

    /// Shape and kind of every node's result.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Linear layers, in order.
    pub fn layers(&self) -> &[LinearPlan] {
        &self.layers
    }

    /// Activations, in order.
    pub fn activations(&self) -> &[ActivationLayer] {
        &self.activations
    }

    /// Steps in order of execution.
    pub fn gates(&self) -> &[GateStep] {
        &self.gates
    }

    /// The tensors whose masks the client chooses, in order: the input, then every activation's result.
    pub fn producers(&self) -> &[Producer] {
        &self.producers
    }

    /// Elements of all producers, per image.
    pub fn arena_len(&self) -> usize {
        self.arena
    }

    /// What stands behind a node's elements, if it is masked.
    pub fn places(&self, node: usize) -> Option<&Places> {
        self.places.get(node)?.as_ref()
    }

    /// The arg-max, or the search for the best labels, unless logits leave.
    pub fn arg_max(&self) -> Option<&ArgMax> {
        self.arg_max.as_ref()
    }

    /// The node of the logits, and the bits in which they are read.
    pub fn output(&self) -> (usize, u32) {
        self.output
    }

    /// Nodes whose values nobody reads after node `node`.
    pub(crate) fn done_after(&self, node: usize) -> &[usize] {
        &self.done[node]
    }

    /// Values per image that the last message carries.
    pub fn outputs(&self) -> usize {
        if self.arg_max.is_some() { self.mode.labels() } else { self.classes() }
    }

    /// Elements of the input of one image.
    pub fn input_len(&self) -> usize {
        self.tensors[0].elements()
    }

    /// w of the input.
    pub fn input_bits(&self) -> u32 {
        self.producers[0].width
    }

    /// The node that a step is reported under.
    pub fn layer_name(&self, step: &GateStep) -> &str {
        self.name(step.node)
    }

    /// A node's name, "output" beyond the last.
    pub fn name(&self, node: usize) -> &str {
        self.names.get(node).map_or("output", String::as_str)
    }

    /// Logits per image.
    pub fn classes(&self) -> usize {
        self.tensors[self.output.0].elements()
    }
}

fn check_request(images: usize, mode: OutputMode, classes: usize) -> Result<(), ProtocolError> {
    if !(1..=MAX_IMAGES).contains(&images) {
        return Err(ProtocolError::Caller(format!("a bundle holds 1 to {MAX_IMAGES} images, not {images}")));
    }
    match mode {
        OutputMode::Logits { bits } if !(6..=20).contains(&bits) => {
            Err(ProtocolError::Caller(format!("logits are rounded to 6 to 20 bits, not {bits}")))
        }
        OutputMode::Top { labels } if !(2..=MAX_TOP.min(classes as u32)).contains(&labels) => {
            Err(ProtocolError::Caller(format!(
                "the {labels} best labels were asked for; it can be 2 to {} of {classes} classes",
                MAX_TOP.min(classes as u32)
            )))
        }
        _ => Ok(()),
    }
}

/// Per node the nodes that are read there for the last time (its own result, if nobody reads it); the output stays.
fn done(manifest: &Manifest) -> Vec<Vec<usize>> {
    let last = last_reads(manifest);
    let mut done = vec![Vec::new(); last.len()];
    for (node, &at) in last.iter().enumerate() {
        if let Some(done) = done.get_mut(at) {
            done.push(node);
        }
    }
    done
}

/// A peer's name for reports: a terminal must not obey it.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn unfit(what: &str) -> ProtocolError {
    PeerFault::Malformed { what: "manifest", reason: what.into() }.into()
}
