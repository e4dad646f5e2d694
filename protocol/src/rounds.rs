//! How activations trade round trips for bytes: by wish, or step by step by the measured link.

use serde::{Deserialize, Serialize};
use ss_core::garble::GarbleSpec;
use ss_core::gate::GateSpec;
use ss_core::step::StepSpec;

use crate::link::LinkEstimate;

/// Online seconds per element of the three-round gate, both parties on a core each (`cargo xtask bench activation`).
const GATE_SECONDS: f64 = 0.05e-6;
/// The same of the garbled gate.
const GARBLED_SECONDS: f64 = 0.2e-6;
/// Bytes of the extension per transfer, about.
const TRANSFER_BYTES: usize = 2;

/// How activations trade round trips for bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum RoundChoice {
    /// Three round trips per step and the fewest bytes.
    #[default]
    Three,
    /// One round trip per step, with garbled circuits.
    One,
    /// Step by step what takes less time online over a link like this.
    Fastest(LinkEstimate),
}

impl RoundChoice {
    /// For hashes and records: the choice, unambiguous.
    pub(crate) fn bytes(self) -> [u8; 9] {
        let (tag, link) = match self {
            Self::Three => (0, [0; 8]),
            Self::One => (1, [0; 8]),
            Self::Fastest(link) => (2, link.bytes()),
        };
        let mut bytes = [tag; 9];
        bytes[1..].copy_from_slice(&link);
        bytes
    }

    /// From [`Self::bytes`].
    pub(crate) fn from_bytes([tag, link @ ..]: [u8; 9]) -> Self {
        match tag {
            0 => Self::Three,
            1 => Self::One,
            _ => Self::Fastest(LinkEstimate::from_bytes(link)),
        }
    }

    /// The construction for `elements` of a gate.
    ///
    /// A model: waiting, sending, computing, one after the other, and half of the time that sending the preprocessing takes:
    /// it may be done ahead, and it may be waited for.
    ///
    /// Both parties compute this and must agree, so its numbers are part of the protocol: whoever changes them changes
    /// [`PROTOCOL_VERSION`](crate::handshake::PROTOCOL_VERSION) and the version of stored bundles.
    pub(crate) fn construct(self, spec: GateSpec, elements: usize) -> StepSpec {
        let (one, three) = (StepSpec::Garbled(GarbleSpec::new(&spec)), StepSpec::Gate(spec));
        let Self::Fastest(link) = self else {
            return if self == Self::One { one } else { three };
        };
        let seconds = |step: &StepSpec, per_element: f64| {
            let messages = step.message_bytes(elements);
            let transfers = elements * (step.server_transfers() + step.client_transfers());
            let ahead = messages[0] + TRANSFER_BYTES * transfers;
            let bytes = messages[1..].iter().sum::<usize>() as f64 + 0.5 * ahead as f64;
            step.rounds() as f64 * link.round_trip_seconds()
                + bytes * 8.0 / link.bits_per_second()
                + elements as f64 * per_element
        };
        if seconds(&one, GARBLED_SECONDS) < seconds(&three, GATE_SECONDS) { one } else { three }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ss_core::compare::Comparison;
    use std::time::Duration;

    fn choice(milliseconds: u64, bits_per_second: f64, elements: usize) -> usize {
        let spec = GateSpec::relu(Comparison::new(18, 6).unwrap(), 46, 14).unwrap();
        let link = LinkEstimate::new(Duration::from_millis(milliseconds), bits_per_second);
        RoundChoice::Fastest(link).construct(spec, elements).rounds()
    }

    #[test]
    fn far_links_save_rounds_on_small_steps_and_bytes_on_large_ones() {
        assert_eq!([100, 2000, 3000, 100_000].map(|n| choice(40, 1e8, n)), [1, 1, 3, 3]);
        assert_eq!([100, 500, 5000].map(|n| choice(1, 1e9, n)), [1, 1, 3]);
        assert_eq!(choice(0, 1e9, 1), 3, "nothing to save");
        // The slower the link, the dearer the bytes.
        assert_eq!([1e6, 1e7, 1e8].map(|rate| choice(40, rate, 1000)), [3, 3, 1]);
    }

    /// Two releases that choose differently must not speak the same version: whoever has to change this list changes
    /// the versions with it.
    #[test]
    fn the_borders_of_the_choice_are_part_of_the_wire() {
        let border = |milliseconds, rate| (1..1 << 16).find(|&n| choice(milliseconds, rate, n) == 3).unwrap();
        let borders = [border(1, 1e9), border(10, 1e8), border(40, 1e8), border(100, 2e7)];
        assert_eq!((crate::handshake::PROTOCOL_VERSION, borders), (5, [569, 591, 2364, 1186]));
    }

    #[test]
    fn a_wish_is_a_wish() {
        let spec = GateSpec::maximum(Comparison::new(18, 6).unwrap(), None).unwrap();
        for elements in [1, 1 << 20] {
            assert_eq!(RoundChoice::One.construct(spec.clone(), elements).rounds(), 1);
            assert_eq!(RoundChoice::Three.construct(spec.clone(), elements).rounds(), 3);
        }
    }
}
