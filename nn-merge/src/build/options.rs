//! What a build may be told.

use std::collections::BTreeMap;

use he_core::Profile;

use super::replace::Replacement;
use crate::error::NnError;
use crate::model::limits;
use crate::quantize::{LayerOptions, Settings};

/// Margin on measured bounds when calibration images are given.
pub const DEFAULT_MARGIN: f64 = 2.0;
/// Margin when calibration had to make up its inputs.
pub const SYNTHETIC_MARGIN: f64 = 4.0;

/// What a build may be told. `Default`-like start: [`BuildOptions::new`].
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Ring degree and modulus.
    pub profile: Profile,
    /// Name put into the manifest.
    pub name: String,
    /// Factor on raw 0..255 pixels, default 1/255.
    pub scale: f64,
    /// Mean per channel after scaling; empty is 0, one entry holds for all channels.
    pub mean: Vec<f64>,
    /// Deviation per channel; empty is 1, one entry holds for all channels.
    pub std: Vec<f64>,
    /// Factor on measured bounds; default [`DEFAULT_MARGIN`], or [`SYNTHETIC_MARGIN`] without calibration images.
    pub margin: Option<f64>,
    /// Greatest width of a masked tensor, default of the profile.
    pub max_width: Option<u32>,
    /// k, default of the profile, lowered where the profile's rings have no room for it. A k given here is kept.
    pub ring_bits: Option<u32>,
    /// k of the logits, default of the profile.
    pub last_ring_bits: Option<u32>,
    /// h, default of the profile. A larger one makes sign tests cheaper and takes positive values below 2^h units for
    /// zero: the truncated sign test of Ghodsi, Jha, Reagen, Garg, *Circa* (NeurIPS 2021). The report says how many.
    pub ignored_bits: Option<u32>,
    /// Wanted bits of the largest weight, default of the profile.
    pub weight_bits: Option<u32>,
    /// Bits of the largest input, sign included.
    pub input_bits: Option<u32>,
    /// Overrides by layer, named as in the report.
    pub layers: BTreeMap<String, LayerOptions>,
    /// Refuse a network whose static bounds do not fit: then no accepted input overflows.
    pub strict: bool,
    /// Activations to exchange before merging.
    pub replace: Vec<Replacement>,
    /// Whether to merge; without, every normalisation and every pool remains a step of its own, for comparison.
    pub merging: bool,
}

impl BuildOptions {
    /// Defaults for a profile: pixels divided by 255, no mean, the profile's widths.
    pub fn new(profile: Profile, name: &str) -> Self {
        Self {
            profile,
            name: name.chars().filter(|c| !c.is_control()).take(120).collect(),
            scale: 1.0 / 255.0,
            mean: Vec::new(),
            std: Vec::new(),
            margin: None,
            max_width: None,
            ring_bits: None,
            last_ring_bits: None,
            ignored_bits: None,
            weight_bits: None,
            input_bits: None,
            layers: BTreeMap::new(),
            strict: false,
            replace: Vec::new(),
            merging: true,
        }
    }

    /// The same in numbers, checked.
    pub(super) fn settings(&self, synthetic: bool) -> Result<Settings, NnError> {
        let limits = limits(self.profile);
        let ring = self.ring_bits.unwrap_or(limits.ring_bits);
        let input = match self.profile {
            Profile::Tiny => 10,
            Profile::Narrow => 14,
            _ => 16,
        };
        let max_width = self.max_width.unwrap_or(limits.max_width);
        let settings = Settings {
            limits,
            max_width,
            ring,
            ring_fixed: self.ring_bits.is_some(),
            last_ring: self.last_ring_bits.unwrap_or(limits.last_ring_bits),
            ignored: self.ignored_bits.unwrap_or(limits.ignored_bits.min(ring.saturating_sub(3))),
            weight: self.weight_bits.unwrap_or(limits.weight_bits),
            input: self.input_bits.unwrap_or(input).min(max_width.saturating_sub(1)),
            margin: self.margin.unwrap_or(if synthetic { SYNTHETIC_MARGIN } else { DEFAULT_MARGIN }),
            strict: self.strict,
            layers: self.layers.clone(),
        };
        settings.check()?;
        Ok(settings)
    }
}
