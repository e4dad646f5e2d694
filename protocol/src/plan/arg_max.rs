//! The choice of labels at the end of a walk: a tournament over the logits of each image.

use ss_core::compare::Comparison;
use ss_core::gate::GateSpec;
use ss_core::maximum::Tournament;

use super::{GateStep, Plan};
use crate::error::{PeerResult, ProtocolError};

/// The tournament over the logits of each image.
#[derive(Debug)]
pub struct ArgMax {
    /// Over all images' logits.
    pub tournament: Tournament,
    /// Bits of an index.
    pub index_bits: u32,
}

impl ArgMax {
    pub(super) fn new(plan: &mut Plan, classes: usize) -> Result<Self, ProtocolError> {
        let (images, labels) = (plan.images, plan.mode.labels());
        let windows: Vec<Vec<u32>> =
            (0..images).map(|b| (0..classes).map(|i| (b * classes + i) as u32).collect()).collect();
        let tournament = Tournament::top(images * classes, &windows, labels).or_malformed("manifest")?;
        let index_bits = (usize::BITS - (classes - 1).leading_zeros()).max(1);
        // The finest test that the comparison allows: a label should not hang on ignored bits.
        let bits = plan.output.1;
        let comparison = Comparison::new(bits, bits.saturating_sub(17)).or_malformed("manifest")?;
        let spec = GateSpec::maximum(comparison, Some(index_bits)).or_malformed("manifest")?;
        let (node, rounds) = (plan.nodes.len(), plan.rounds);
        plan.gates.extend(tournament.levels().iter().map(|level| GateStep {
            node,
            part: if labels == 1 { "arg-max" } else { "top labels" },
            spec: rounds.construct(spec.clone(), level.gates()),
            elements: level.gates(),
        }));
        Ok(Self { tournament, index_bits })
    }
}
