//! What a session agreed on, as documents and pages show it.
//!
//! | member | what |
//! |---|---|
//! | `transfers`, `base`, `rounds` | words of the command line; none where bundles come from a folder: they were settled there |
//! | `preprocessing` | the construction of the linear layers' preprocessing |
//! | `steps` | activation steps of all bundles by the round trips that each takes |
//! | `link` | the estimate that the choice of round trips went by: no member if nothing was measured; `rate_is_assumed` where only the round trip was |
//! | `modelled_link` | the link that `--link` modelled: all times include it |

use std::fmt;

use protocol::handshake::Terms;
use protocol::{LinkEstimate, Plan, Preprocessing};
use serde::Serialize;

use crate::args::{BaseName, MethodFlags, RoundsName, TransfersName, word};
use crate::terminal::table;

/// Activation steps by the round trips they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Steps {
    /// One each.
    pub(crate) one_round: usize,
    /// Three each.
    pub(crate) three_rounds: usize,
}

/// A measured link.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Measured {
    /// An empty message there and back.
    pub(crate) round_trip_seconds: f64,
    /// Rate of the slower direction.
    pub(crate) bits_per_second: f64,
    /// The link is near: that rate was not measured.
    pub(crate) rate_is_assumed: bool,
    #[serde(skip)]
    estimate: LinkEstimate,
}

/// The agreed terms of a session, and what its bundles made of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Agreed {
    #[serde(flatten)]
    chosen: Option<Chosen>,
    preprocessing: Preprocessing,
    /// Of all bundles together.
    pub(crate) steps: Steps,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modelled_link: Option<String>,
}

/// What preparing went by.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Chosen {
    transfers: String,
    base: String,
    rounds: String,
}

impl Steps {
    /// Adds the steps of a bundle.
    pub(crate) fn add(&mut self, plan: &Plan) {
        let one = plan.gates().iter().filter(|step| step.spec.rounds() == 1).count();
        self.one_round += one;
        self.three_rounds += plan.gates().len() - one;
    }

    /// In words.
    fn text(self) -> String {
        match self {
            Self { one_round: 0, three_rounds } => format!("{three_rounds}, each in three round trips"),
            Self { one_round, three_rounds: 0 } => format!("{one_round}, each in one round trip"),
            Self { one_round, three_rounds } => {
                format!("{one_round} in one round trip, {three_rounds} in three")
            }
        }
    }
}

impl From<LinkEstimate> for Measured {
    fn from(estimate: LinkEstimate) -> Self {
        Self {
            round_trip_seconds: estimate.round_trip_seconds(),
            bits_per_second: estimate.bits_per_second(),
            rate_is_assumed: estimate.rate_is_assumed(),
            estimate,
        }
    }
}

impl Agreed {
    /// The terms of a session that prepared its bundles itself.
    pub(crate) fn new(flags: &MethodFlags, terms: &Terms, steps: Steps, link: Option<LinkEstimate>) -> Self {
        let chosen = Chosen {
            transfers: word::<TransfersName, _>(&terms.transfers),
            base: word::<BaseName, _>(&terms.base),
            rounds: word::<RoundsName, _>(&protocol::Rounds::from(flags.rounds_name())),
        };
        let modelled_link = flags.link.map(|link| link.to_string());
        let preprocessing = terms.preprocessing;
        Self { chosen: Some(chosen), preprocessing, steps, link: link.map(Measured::from), modelled_link }
    }

    /// The same without what mattered only where the bundles were prepared.
    pub(crate) fn prepared_elsewhere(self) -> Self {
        Self { chosen: None, ..self }
    }

    /// Names and values for a table.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        match &self.chosen {
            Some(chosen) => {
                rows.push(("transfers", chosen.transfers.clone()));
                rows.push(("base transfers", chosen.base.clone()));
                rows.push(("rounds asked for", chosen.rounds.clone()));
            }
            None => rows.push(("transfers", "made when the bundles were prepared".to_owned())),
        }
        rows.push(("preprocessing", self.preprocessing.to_string()));
        rows.push(("activation steps", self.steps.text()));
        if let Some(link) = &self.link {
            let assumed = if link.rate_is_assumed { " (rate assumed)" } else { "" };
            rows.push(("link, as estimated", format!("{}{assumed}", link.estimate)));
        }
        rows
    }

    /// The link that was modelled.
    pub(crate) fn modelled_link(&self) -> Option<&str> {
        self.modelled_link.as_deref()
    }

    /// The terms as a table.
    pub(crate) fn table(&self) -> String {
        let rows: Vec<Vec<String>> =
            self.rows().into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        table(&["agreed", "value"], &rows)
    }
}

/// The sentence that must stand beside times over a modelled link.
pub(crate) fn modelled(what: &str, link: impl fmt::Display) -> String {
    format!("Modelled link: {what} as over {link}. Times include it.")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use protocol::channel::Link;
    use protocol::{BaseKind, OutputMode, TransferKind};

    #[test]
    fn terms_are_shown_in_the_words_of_the_command_line() {
        let flags = MethodFlags { link: Some(Link::WAN), ..MethodFlags::default() };
        let terms = Terms {
            mode: OutputMode::Label,
            transfers: TransferKind::Silent,
            base: BaseKind::MlKem,
            preprocessing: Preprocessing::Bfv,
        };
        let steps = Steps { one_round: 2, three_rounds: 3 };
        let link = LinkEstimate::new(Duration::from_millis(40), 1e8);
        let agreed = Agreed::new(&flags, &terms, steps, Some(link));
        let document = serde_json::to_value(&agreed).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "transfers": "silent", "base": "ml-kem", "rounds": "auto", "preprocessing": "bfv",
                "steps": {"one_round": 2, "three_rounds": 3},
                "link": {"round_trip_seconds": link.round_trip_seconds(), "bits_per_second": 1e8, "rate_is_assumed": false},
                "modelled_link": "100mbit/40ms",
            })
        );
        let table = agreed.table();
        for word in ["silent", "ml-kem", "auto", "bfv", "2 in one round trip, 3 in three", "40.00 ms"] {
            assert!(table.contains(word), "{word} in {table}");
        }
        assert!(!table.contains("assumed"), "{table}");
        // Near links: what protocol takes for granted is marked, the same rate measured is not.
        for (micros, bits_per_second, is_assumed) in [(50, 1e9, true), (50, 2e9, false), (2000, 1e9, false)] {
            let link = LinkEstimate::new(Duration::from_micros(micros), bits_per_second);
            let agreed = Agreed::new(&flags, &terms, steps, Some(link));
            assert_eq!(agreed.table().contains("1000.0 Mbit/s (rate assumed)"), is_assumed, "{link}");
            assert_eq!(serde_json::to_value(&agreed).unwrap()["link"]["rate_is_assumed"], is_assumed);
        }
        // Without what is not known there are no members for it.
        let agreed = Agreed::new(&MethodFlags::default(), &terms, steps, None).prepared_elsewhere();
        assert_eq!(
            serde_json::to_value(&agreed).unwrap(),
            serde_json::json!({"preprocessing": "bfv", "steps": {"one_round": 2, "three_rounds": 3}})
        );
    }
}
