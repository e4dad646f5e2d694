//! What merging did, for people and for JSON.

use std::fmt;

use he_core::Profile;
use serde::Serialize;

use crate::lower::{Program, ProgramOp};
use crate::model::Shape;
use crate::pass::{Cost, PassRow};
use crate::quantize::Quantized;

/// The report of one build. It names bounds and widths of the server's network: show it to the server only.
#[derive(Clone, Debug, Serialize)]
pub struct MergeReport {
    /// The model's name.
    pub name: String,
    /// The profile it was built for.
    pub profile: Profile,
    /// Cost of the network as imported (after replacements).
    pub before: Cost,
    /// Cost of the merged graph.
    pub after: Cost,
    /// Every application of a pass that changed something.
    pub passes: Vec<PassRow>,
    /// Activations of single values that were replaced by the user's list.
    pub replaced: usize,
    /// Node by node, those that compute something.
    pub nodes: Vec<NodeReport>,
    /// Images that calibration used.
    pub calibration_images: usize,
    /// Images left out because the network explodes on them: beyond 64 times what nine of ten images reach somewhere. Their
    /// like will overflow.
    pub wild_images: usize,
    /// No calibration images were given: random inputs of the accepted range were used, which says little about real ones.
    pub calibration_is_synthetic: bool,
    /// Factor on measured bounds.
    pub margin: f64,
    /// Largest |logit| over the calibration images.
    pub output_measured: f64,
    /// Largest |logit| that any accepted input can cause.
    pub output_static: f64,
    /// The largest |logit| that the arithmetic was sized for.
    pub output_bound: f64,
    /// Images on which the network before and after merging was compared.
    pub compared_images: usize,
    /// Largest difference of a logit between them (single precision).
    pub merging_error: f64,
    /// Images with the same label before and after.
    pub same_labels: usize,
    /// Largest difference of a logit between the merged network and the fixed-point oracle.
    pub fixed_point_error: f64,
    /// Largest |logit| of the network as imported over the compared images.
    pub largest_logit: f64,
    /// Images to which the oracle gives the label of the network as imported.
    pub fixed_point_labels: usize,
    /// Images on which no value can leave its range, the worst noise included.
    pub in_range: usize,
}

/// A linear map, sum or activation (or the input).
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Index in the manifest.
    pub node: u32,
    /// Name.
    pub name: String,
    /// What it computes, in a word or two.
    pub kind: String,
    /// Channels, height, width of its result.
    pub shape: Shape,
    /// Multiplications for one image.
    pub products: u64,
    /// Number of weights.
    pub weights: usize,
    /// Bits of the largest weight.
    pub weight_bits: Option<u32>,
    /// t of the preprocessing's replies.
    pub reply_bits: Option<u32>,
    /// k in which the activation takes its argument.
    pub ring_bits: Option<u32>,
    /// h of the activation.
    pub ignored_bits: Option<u32>,
    /// w of the result of an activation, or of the input.
    pub width: Option<u32>,
    /// B: a raw value of twice this is one turn of the torus.
    pub bound: Option<f64>,
    /// Largest |argument| of the activation over the calibration images.
    pub measured: Option<f64>,
    /// Largest |argument| that any accepted input can cause.
    pub static_bound: Option<f64>,
    /// Largest |argument| that the arithmetic was sized for.
    pub sized_for: Option<f64>,
    /// Share of the positive arguments, over the calibration images, that lie below 2^h units. The sign test takes a
    /// value 0 ≤ y < 2^h for negative, and a ReLU gives zero, with probability 1 − (y + 1)/2^h over the shares: the
    /// figure is an upper bound of the share of faults, which matters where h was made large on purpose.
    pub zeroed: Option<f64>,
    /// No accepted input can overflow the argument (errors of fixed point come on top).
    pub overflow_impossible: Option<bool>,
}

impl NodeReport {
    /// The report of a program node; none of nodes that compute nothing.
    pub(crate) fn new(
        program: &Program,
        at: usize,
        quantized: &Quantized,
        measured: &[f64],
        fixed: &[f64],
        zeroed: Option<f64>,
    ) -> Option<Self> {
        let node = &program.nodes[at];
        let mut report = Self {
            node: quantized.index[at],
            name: node.name.clone(),
            kind: String::new(),
            shape: node.shape,
            products: 0,
            weights: 0,
            weight_bits: None,
            reply_bits: None,
            ring_bits: None,
            ignored_bits: None,
            width: quantized.plan.producers[at].as_ref().map(|producer| producer.width),
            bound: (!node.masked).then(|| quantized.bounds.turn(program, at) / 2.0),
            measured: None,
            static_bound: None,
            sized_for: None,
            zeroed,
            overflow_impossible: None,
        };
        match &node.op {
            ProgramOp::Local(_) | ProgramOp::Scale(_) => return None,
            ProgramOp::Input => report.kind = "input".into(),
            ProgramOp::Sum => report.kind = format!("sum of {}", node.inputs.len()),
            ProgramOp::Shift(_) => report.kind = "shift".into(),
            ProgramOp::Linear(linear) => {
                let g = &linear.geometry;
                let s = g.shape();
                report.kind = if linear.is_dense() {
                    format!("dense {} -> {}", s.in_channels, s.out_channels)
                } else {
                    let groups = if s.groups > 1 { format!(", {} groups", s.groups) } else { String::new() };
                    format!("conv {}x{}/{}{groups}", s.kernel[0], s.kernel[1], s.stride[0])
                };
                (report.products, report.weights) = (g.macs(), g.weights_len());
                report.weight_bits = quantized.weight_bits[at];
                report.reply_bits = match quantized.nodes[report.node as usize].op {
                    crate::model::OpSpec::Linear { reply_bits, .. } => Some(reply_bits),
                    _ => None,
                };
            }
            ProgramOp::Activation(activation) => {
                let mut words: Vec<String> =
                    activation.parts.iter().map(|part| part.function.name().to_string()).collect();
                words.dedup();
                if let Some(pool) = &activation.pool {
                    let s = pool.shape();
                    words.insert(0, format!("max-pool {}x{}/{}", s.kernel[0], s.kernel[1], s.stride[0]));
                }
                report.kind = words.join(", ");
                let raw = node.inputs[0];
                let producer = quantized.plan.producers[at].as_ref()?;
                report.ring_bits = Some(producer.ring);
                report.ignored_bits = Some(producer.ignored);
                report.bound = Some(quantized.bounds.turn(program, raw) / 2.0);
                report.measured = Some(measured[raw]);
                report.static_bound = Some(fixed[raw]);
                let sized = quantized.bounds.base(at);
                report.sized_for = Some(sized);
                report.overflow_impossible = Some(fixed[raw] <= sized);
            }
        }
        Some(report)
    }
}

impl fmt::Display for NodeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [c, h, w] = self.shape;
        write!(f, "{}: {}, {c}x{h}x{w}", self.name, self.kind)?;
        let widths =
            [("k", self.ring_bits), ("h", self.ignored_bits), ("w", self.width), ("t", self.reply_bits)];
        for (name, bits) in widths.iter().filter_map(|(name, bits)| bits.map(|bits| (name, bits))) {
            write!(f, ", {name} {bits}")?;
        }
        if let Some(bits) = self.weight_bits {
            write!(f, ", {bits}-bit weights")?;
        }
        if let (Some(measured), Some(fixed), Some(sized)) = (self.measured, self.static_bound, self.sized_for)
        {
            let never = if self.overflow_impossible == Some(true) { " (cannot overflow)" } else { "" };
            write!(f, "; argument up to {measured:.3}, sized for {sized:.3}, static {fixed:.3}{never}")?;
        }
        if let Some(bound) = self.bound {
            write!(f, ", B {bound:.3}")?;
        }
        match self.zeroed {
            Some(share) if share > 0.001 => write!(f, ", {:.1} % below the sign test's reach", 100.0 * share),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for MergeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({} profile)", self.name, self.profile)?;
        if self.replaced > 0 {
            writeln!(f, "  {} activations replaced as asked", self.replaced)?;
        }
        for (label, cost) in [("before", &self.before), ("after", &self.after)] {
            writeln!(
                f,
                "  {label:<7} {} linear maps, {} products, {} interactive levels, {} activations, {} comparisons",
                cost.linear_levels, cost.products, cost.activation_levels, cost.activations, cost.comparisons
            )?;
        }
        for row in &self.passes {
            let changes = [
                ("linear maps", row.before.linear_levels, row.after.linear_levels),
                ("products", row.before.products, row.after.products),
                ("activations", row.before.activations, row.after.activations),
                ("comparisons", row.before.comparisons, row.after.comparisons),
            ];
            let changes: Vec<String> = changes
                .iter()
                .filter(|(_, before, after)| before != after)
                .map(|(what, before, after)| format!("{what} {before} -> {after}"))
                .collect();
            writeln!(f, "  pass {:<22} {}", row.pass, changes.join(", "))?;
        }
        for node in &self.nodes {
            writeln!(f, "  node {:>3} {node}", node.node)?;
        }
        writeln!(
            f,
            "  logits up to {:.3}, sized for {:.3}, static {:.3}",
            self.output_measured, self.output_bound, self.output_static
        )?;
        if self.calibration_is_synthetic {
            writeln!(
                f,
                "  NOTE: no calibration images were given; bounds come from {} random inputs with margin {}",
                self.calibration_images, self.margin
            )?;
        } else {
            writeln!(f, "  calibrated on {} images, margin {}", self.calibration_images, self.margin)?;
        }
        if self.wild_images > 0 {
            writeln!(
                f,
                "  NOTE: on {} of them values explode (beyond 64 times what nine of ten images reach); they were left out, \
                 and their like will overflow",
                self.wild_images
            )?;
        }
        writeln!(
            f,
            "  merging moved logits by at most {:.2e}; {} of {} labels equal",
            self.merging_error, self.same_labels, self.compared_images
        )?;
        write!(
            f,
            "  fixed point moved logits by at most {:.2e} (of up to {:.3}); {} of {} labels equal to the imported \
             network's{}",
            self.fixed_point_error,
            self.largest_logit,
            self.fixed_point_labels,
            self.compared_images,
            if self.in_range == self.compared_images {
                "; the worst noise would overflow on none"
            } else {
                ""
            }
        )
    }
}
