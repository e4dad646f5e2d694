//! The plan: what both parties do, lowered once from the public manifest.
//!
//! Both sides build the same [`Plan`] from the manifest, the number of images in the bundle and the output mode,
//! and walk it with the same loops, so they cannot drift apart: every message's kind, place and length follows
//! from it.
//!
//! A bundle holds `images` inferences that are run together. Per linear layer the images are spread over
//! ⌈images / G⌉ *groups*: the images of one group share the coefficients of the same polynomials (and one RLWE
//! secret), each group has a secret of its own, so no pair (a, s) ever masks two values.
//!
//! The activations of all layers form one list of [`GateStep`]s in the order in which they run.

use conv_fast::packing::choose;
use conv_fast::{ConvGeometry, Packing, PackingCost};
use he_core::Params;
use nn_merge::model::{LayerSpec, Manifest};
use serde::{Deserialize, Serialize};
use ss_core::compare::Comparison;
use ss_core::gate::GateSpec;
use ss_core::maximum::Tournament;
use ss_core::ring::Switch;
use ss_core::step::StepSpec;

use crate::error::{PeerFault, PeerResult, ProtocolError};
use crate::rounds::RoundChoice;

/// Most images in one bundle.
pub const MAX_IMAGES: usize = 256;
/// Most tensor elements (inputs with their borders, outputs, cells of pooling windows) that one bundle may touch. The
/// material of a bundle takes some hundred bytes for each, so beyond this it would not fit a machine; and
/// a manifest of a few bytes that describes such a network must cost its reader nothing.
pub const MAX_ELEMENTS: u64 = 1 << 26;

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
    images: usize,
    mode: OutputMode,
    rounds: RoundChoice,
    layers: Vec<LayerPlan>,
    gates: Vec<GateStep>,
    arg_max: Option<ArgMax>,
    classes: usize,
}

/// One linear layer with what follows it.
#[derive(Debug)]
pub struct LayerPlan {
    /// Position in the network.
    pub index: usize,
    /// Name from the model.
    pub name: String,
    /// The convolution.
    pub geometry: ConvGeometry,
    /// Tensor to polynomial coefficients.
    pub packing: Packing,
    /// Groups of images.
    pub groups: usize,
    /// Z_q and the ring of masked inputs, Z_2^p.
    pub masked: Switch,
    /// p.
    pub masked_bits: u32,
    /// Z_q and the ring of the results, Z_2^k.
    pub ring: Switch,
    /// k.
    pub ring_bits: u32,
    /// Bits per coefficient of a reply.
    pub reply_bits: u32,
    /// Per input polynomial the coefficients that hold known zeros which used outputs read.
    pub zero_reads: Vec<Vec<u32>>,
    /// Where input element i of image b of a group sits: (polynomial, coefficient), image-major.
    pub input_index: Vec<(u32, u32)>,
    /// Where output element i of image b of a group is read, image-major.
    pub output_index: Vec<(u32, u32)>,
    /// Max-pool over all images of the bundle (level by level, before ReLU).
    pub pool: Option<Tournament>,
    /// Whether a ReLU follows (all layers but the last).
    pub relu: bool,
}

/// One gate over all images.
#[derive(Clone, Debug)]
pub struct GateStep {
    /// Layer it belongs to.
    pub layer: usize,
    /// What it is for, for reports.
    pub part: &'static str,
    /// What it computes, and by which construction.
    pub spec: StepSpec,
    /// Elements.
    pub elements: usize,
}

/// The tournament over the logits of each image.
#[derive(Debug)]
pub struct ArgMax {
    /// Over all images' logits.
    pub tournament: Tournament,
    /// Bits of an index.
    pub index_bits: u32,
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
        if !(1..=MAX_IMAGES).contains(&images) {
            return Err(ProtocolError::Caller(format!(
                "a bundle holds 1 to {MAX_IMAGES} images, not {images}"
            )));
        }
        if let OutputMode::Logits { bits } = mode
            && !(6..=20).contains(&bits)
        {
            return Err(ProtocolError::Caller(format!("logits are rounded to 6 to 20 bits, not {bits}")));
        }
        if let OutputMode::Top { labels } = mode
            && !(2..=MAX_TOP.min(manifest.classes as u32)).contains(&labels)
        {
            return Err(ProtocolError::Caller(format!(
                "the {labels} best labels were asked for; it can be 2 to {} of {} classes",
                MAX_TOP.min(manifest.classes as u32),
                manifest.classes
            )));
        }
        check_size(manifest, images)?;
        let params = Params::new(manifest.profile);
        let (mut layers, mut gates) = (Vec::new(), Vec::new());
        for (index, spec) in manifest.layers.iter().enumerate() {
            let last = index + 1 == manifest.layers.len();
            let bits = match mode {
                OutputMode::Logits { bits } if last => bits,
                _ => spec.ring_bits,
            };
            let layer = LayerPlan::new(&params, index, spec, images, bits)?;
            if let Some(activation) = &spec.activation {
                let comparison =
                    Comparison::new(spec.ring_bits, activation.ignored_bits).or_malformed("manifest")?;
                if let Some(pool) = &layer.pool {
                    let spec = GateSpec::maximum(comparison, None).or_malformed("manifest")?;
                    gates.extend(pool.levels().iter().map(|level| GateStep {
                        layer: index,
                        part: "max-pool",
                        spec: rounds.construct(spec.clone(), level.gates()),
                        elements: level.gates(),
                    }));
                }
                let next = manifest.layers.get(index + 1).map_or(0, |next| next.masked_bits);
                let relu = GateSpec::relu(comparison, next, activation.shift).or_malformed("manifest")?;
                let elements =
                    layer.pool.as_ref().map_or(images * layer.geometry.output_len(), Tournament::outputs);
                let spec = rounds.construct(relu, elements);
                gates.push(GateStep { layer: index, part: "ReLU", spec, elements });
            }
            layers.push(layer);
        }
        let arg_max = match (mode, manifest.layers.last()) {
            (OutputMode::Logits { .. }, _) | (_, None) => None,
            (_, Some(last)) => {
                let numbers = [manifest.classes, images, mode.labels()];
                Some(ArgMax::new(last, numbers, rounds, &mut gates)?)
            }
        };
        Ok(Self { params, images, mode, rounds, layers, gates, arg_max, classes: manifest.classes })
    }

    /// Lattice parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Images in the bundle.
    pub fn images(&self) -> usize {
        self.images
    }

    /// What the client gets.
    pub fn mode(&self) -> OutputMode {
        self.mode
    }

    /// Bytes that the server's half of a bundle takes in memory, about.
    pub fn server_bytes(&self) -> usize {
        let masks: usize =
            self.layers.iter().map(|layer| 8 * self.images * layer.geometry.output_len()).sum();
        masks + self.gates.iter().map(|step| step.spec.server_bytes(step.elements)).sum::<usize>()
    }

    /// How its activations trade round trips for bytes.
    pub fn rounds(&self) -> RoundChoice {
        self.rounds
    }

    /// Every step's construction and number of elements, in order of execution.
    pub fn step_sizes(&self) -> Vec<(StepSpec, usize)> {
        self.gates.iter().map(|step| (step.spec.clone(), step.elements)).collect()
    }

    /// Linear layers in order.
    pub fn layers(&self) -> &[LayerPlan] {
        &self.layers
    }

    /// Gates in order of execution.
    pub fn gates(&self) -> &[GateStep] {
        &self.gates
    }

    /// The arg-max, or the search for the best labels, unless logits leave.
    pub fn arg_max(&self) -> Option<&ArgMax> {
        self.arg_max.as_ref()
    }

    /// Values per image that the last message carries.
    pub fn outputs(&self) -> usize {
        if self.arg_max.is_some() { self.mode.labels() } else { self.classes }
    }

    /// The layer a gate is reported under.
    pub fn layer_name(&self, step: &GateStep) -> &str {
        self.layers.get(step.layer).map_or("output", |layer| layer.name.as_str())
    }

    /// Logits per image.
    pub fn classes(&self) -> usize {
        self.classes
    }
}

/// Before anything is allocated: a manifest is the peer's word.
fn check_size(manifest: &Manifest, images: usize) -> Result<(), ProtocolError> {
    let layer = |spec: &LayerSpec| {
        let (shape, geometry) = (spec.geometry.shape(), &spec.geometry);
        let [top, left, bottom, right] = shape.padding;
        let plane = (shape.in_height + top + bottom) as u64 * (shape.in_width + left + right) as u64;
        let pool =
            spec.activation.as_ref().and_then(|activation| activation.pool.as_ref()).map_or(0, |pool| {
                let [height, width] = pool.shape().kernel;
                (pool.output_len() as u64).saturating_mul(height as u64 * width as u64)
            });
        (shape.in_channels as u64)
            .saturating_mul(plane)
            .saturating_add(geometry.output_len() as u64)
            .saturating_add(pool)
    };
    let elements = manifest.layers.iter().map(layer).fold(0, u64::saturating_add);
    if elements > MAX_ELEMENTS {
        let reason =
            format!("its layers touch {elements} elements for one image, at most {MAX_ELEMENTS} can be run");
        return Err(PeerFault::Malformed { what: "manifest", reason }.into());
    }
    if elements.saturating_mul(images as u64) > MAX_ELEMENTS {
        let most = MAX_ELEMENTS / elements.max(1);
        return Err(ProtocolError::Caller(format!(
            "a bundle of this network holds at most {most} images, not {images}"
        )));
    }
    Ok(())
}

impl LayerPlan {
    fn new(
        params: &Params,
        index: usize,
        spec: &LayerSpec,
        images: usize,
        ring_bits: u32,
    ) -> Result<Self, ProtocolError> {
        let (q, n, geometry) = (params.modulus().value(), params.n(), &spec.geometry);
        // The spare bits that keep the reply's rounding below one unit of the result stay the same for rounded logits.
        let reply_bits =
            (ring_bits + spec.reply_bits).saturating_sub(spec.ring_bits).min(params.modulus().bits() - 1);
        let cost = PackingCost {
            reply_bits,
            zero_bits: spec.masked_bits,
            key_bits: n as u64 * u64::from(params.modulus().bits()),
        };
        let packing = choose(geometry, n, images, &cost).or_malformed("manifest")?;
        let flat = |(poly, coefficient): (usize, usize)| (poly as u32, coefficient as u32);
        let per_group = packing.images();
        let indices = |len: usize, at: &dyn Fn(usize, usize) -> (usize, usize)| {
            (0..per_group).flat_map(|b| (0..len).map(move |i| (b, i))).map(|(b, i)| flat(at(b, i))).collect()
        };
        let pool = match spec.activation.as_ref().and_then(|activation| activation.pool.as_ref()) {
            None => None,
            Some(pool) => {
                let own: Vec<Vec<usize>> = pool.windows().collect();
                let length = geometry.output_len() as u32;
                let all: Vec<Vec<u32>> = (0..images as u32)
                    .flat_map(|b| own.iter().map(move |w| w.iter().map(|&i| b * length + i as u32).collect()))
                    .collect();
                Some(Tournament::new(images * geometry.output_len(), &all).or_malformed("manifest")?)
            }
        };
        Ok(Self {
            index,
            name: spec.name.clone(),
            groups: images.div_ceil(per_group),
            masked: Switch::new(q, spec.masked_bits).or_malformed("manifest")?,
            masked_bits: spec.masked_bits,
            ring: Switch::new(q, ring_bits).or_malformed("manifest")?,
            ring_bits,
            reply_bits,
            zero_reads: (0..packing.input_polys()).map(|j| packing.zero_reads(j)).collect(),
            input_index: indices(geometry.input_len(), &|b, i| packing.input_index(b, i)),
            output_index: indices(geometry.output_len(), &|b, i| packing.output_index(b, i)),
            geometry: geometry.clone(),
            packing,
            pool,
            relu: spec.activation.is_some(),
        })
    }

    /// Known zeros of one group, over all input polynomials.
    pub fn zeros(&self) -> usize {
        self.zero_reads.iter().map(Vec::len).sum()
    }

    /// Images of group `g` in a bundle of `images`.
    pub fn group(&self, g: usize, images: usize) -> std::ops::Range<usize> {
        let per_group = self.packing.images();
        g * per_group..((g + 1) * per_group).min(images)
    }
}

impl ArgMax {
    fn new(
        last: &LayerSpec,
        [classes, images, labels]: [usize; 3],
        rounds: RoundChoice,
        gates: &mut Vec<GateStep>,
    ) -> Result<Self, ProtocolError> {
        let windows: Vec<Vec<u32>> =
            (0..images).map(|b| (0..classes).map(|i| (b * classes + i) as u32).collect()).collect();
        let tournament = Tournament::top(images * classes, &windows, labels).or_malformed("manifest")?;
        let index_bits = (usize::BITS - (classes - 1).leading_zeros()).max(1);
        // The finest test that the comparison allows: a label should not hang on ignored bits.
        let comparison =
            Comparison::new(last.ring_bits, last.ring_bits.saturating_sub(17)).or_malformed("manifest")?;
        let spec = GateSpec::maximum(comparison, Some(index_bits)).or_malformed("manifest")?;
        let layer = gates.last().map_or(0, |gate| gate.layer + 1);
        gates.extend(tournament.levels().iter().map(|level| GateStep {
            layer,
            part: if labels == 1 { "arg-max" } else { "top labels" },
            spec: rounds.construct(spec.clone(), level.gates()),
            elements: level.gates(),
        }));
        Ok(Self { tournament, index_bits })
    }
}
