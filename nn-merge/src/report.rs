//! What merging did, for people and for JSON.

use std::fmt;

use he_core::Profile;
use serde::Serialize;

use crate::lower::ChainLayer;
use crate::model::LayerSpec;
use crate::pass::{Cost, PassRow};
use crate::quantize::Quantized;

/// The report of one build. It names bounds and widths of the server's network: show it to the server only.
#[derive(Clone, Debug, Serialize)]
pub struct MergeReport {
    /// The model's name.
    pub name: String,
    /// The profile it was built for.
    pub profile: Profile,
    /// Cost of the network as imported.
    pub before: Cost,
    /// Cost of the chain that the protocol runs.
    pub after: Cost,
    /// Every application of a pass that changed something.
    pub passes: Vec<PassRow>,
    /// Layer by layer.
    pub layers: Vec<LayerReport>,
    /// Images that calibration used.
    pub calibration_images: usize,
    /// No calibration images were given: random inputs of the accepted range were used, which says little about real ones.
    pub calibration_is_synthetic: bool,
    /// Factor on measured bounds.
    pub margin: f64,
    /// Images on which the network before and after merging was compared.
    pub compared_images: usize,
    /// Largest difference of a logit between them (single precision).
    pub merging_error: f64,
    /// Images with the same label before and after.
    pub same_labels: usize,
}

/// One layer of the chain.
#[derive(Clone, Debug, Serialize)]
pub struct LayerReport {
    /// Name.
    pub name: String,
    /// Shapes in words.
    pub shape: String,
    /// Multiplications for one image.
    pub products: u64,
    /// Number of weights.
    pub weights: usize,
    /// Bits of the largest weight.
    pub weight_bits: u32,
    /// p
    pub masked_bits: u32,
    /// k
    pub ring_bits: u32,
    /// t
    pub reply_bits: u32,
    /// j of the activation after it.
    pub shift: Option<u32>,
    /// Integers per real unit of its input.
    pub units: f64,
    /// Largest |output| over the calibration images.
    pub measured: f64,
    /// Largest |output| that any accepted input can cause.
    pub static_bound: f64,
    /// B, the bound that the arithmetic was sized for (doubled where differences are compared: max-pooling, arg-max).
    pub bound: f64,
    /// h of the activation after it.
    pub ignored_bits: Option<u32>,
    /// Share of this layer's positive outputs, over the calibration images, that lie below 2^h units. The sign test
    /// takes a value 0 ≤ y < 2^h for negative, and the activation gives zero, with probability 1 − (y + 1)/2^h over the
    /// shares: the figure is an upper bound of the share of faults, which matters where h was made large on purpose.
    pub zeroed: Option<f64>,
    /// No accepted input can overflow this layer of the float network (errors of fixed point come on top).
    pub overflow_impossible: bool,
}

impl LayerReport {
    pub(crate) fn new(
        spec: &LayerSpec,
        layer: &ChainLayer,
        quantized: &Quantized,
        (measured, static_bound): (f64, f64),
        (bound, room): (f64, f64),
        zeroed: f64,
    ) -> Self {
        let g = &layer.linear.geometry;
        let s = g.shape();
        let shape = if layer.linear.is_dense() {
            format!("{} -> {}", s.in_channels, s.out_channels)
        } else {
            let groups = if s.groups > 1 { format!(", {} groups", s.groups) } else { String::new() };
            format!(
                "{}x{}x{} -> {}x{}x{}, kernel {}x{}, stride {}{groups}",
                s.in_channels,
                s.in_height,
                s.in_width,
                s.out_channels,
                g.out_height(),
                g.out_width(),
                s.kernel[0],
                s.kernel[1],
                s.stride[0]
            )
        };
        Self {
            name: layer.name.clone(),
            shape,
            products: g.macs(),
            weights: g.weights_len(),
            weight_bits: quantized.weight_bits,
            masked_bits: spec.masked_bits,
            ring_bits: spec.ring_bits,
            reply_bits: spec.reply_bits,
            shift: spec.activation.as_ref().map(|a| a.shift),
            units: quantized.units,
            measured,
            static_bound,
            bound,
            ignored_bits: spec.activation.as_ref().map(|a| a.ignored_bits),
            zeroed: spec.activation.as_ref().map(|_| zeroed),
            overflow_impossible: static_bound <= room,
        }
    }
}

impl fmt::Display for MergeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({} profile)", self.name, self.profile)?;
        for (label, cost) in [("before", &self.before), ("after", &self.after)] {
            writeln!(
                f,
                "  {label:<7} {} linear maps, {} products, {} interactive levels, {} ReLUs, {} comparisons",
                cost.linear_levels, cost.products, cost.activation_levels, cost.activations, cost.comparisons
            )?;
        }
        for row in &self.passes {
            let changes = [
                ("linear maps", row.before.linear_levels, row.after.linear_levels),
                ("products", row.before.products, row.after.products),
                ("ReLUs", row.before.activations, row.after.activations),
                ("comparisons", row.before.comparisons, row.after.comparisons),
            ];
            let changes: Vec<String> = changes
                .iter()
                .filter(|(_, before, after)| before != after)
                .map(|(what, before, after)| format!("{what} {before} -> {after}"))
                .collect();
            writeln!(f, "  pass {:<22} {}", row.pass, changes.join(", "))?;
        }
        for layer in &self.layers {
            writeln!(
                f,
                "  layer {}: {}; {}-bit weights, p {} k {} t {}, largest output {:.3}, bound {:.3}, static {:.3}{}",
                layer.name,
                layer.shape,
                layer.weight_bits,
                layer.masked_bits,
                layer.ring_bits,
                layer.reply_bits,
                layer.measured,
                layer.bound,
                layer.static_bound,
                if layer.overflow_impossible { " (cannot overflow)" } else { "" }
            )?;
        }
        if self.calibration_is_synthetic {
            writeln!(
                f,
                "  NOTE: no calibration images were given; bounds come from {} random inputs with margin {}",
                self.calibration_images, self.margin
            )?;
        } else {
            writeln!(f, "  calibrated on {} images, margin {}", self.calibration_images, self.margin)?;
        }
        write!(
            f,
            "  merging moved logits by at most {:.2e}; {} of {} labels equal",
            self.merging_error, self.same_labels, self.compared_images
        )
    }
}
