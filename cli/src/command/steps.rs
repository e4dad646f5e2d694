//! The activation steps of a bundle: construction, transfers, messages.
//!
//! Bytes are the payloads of one bundle's messages as each step's construction fixes them.
//! Frames add twelve bytes to every message of every chunk; the random transfers that a step takes cost
//! bytes of their own, by the kind of transfers that a session agrees on.

use protocol::Plan;
use serde::Serialize;

use crate::terminal::{bytes, table};

/// One step of a bundle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Step {
    /// The layer that it belongs to; `output` for the search of the largest logit.
    pub(super) layer: String,
    /// ReLU, max-pool, arg-max.
    pub(super) part: &'static str,
    /// Values that it is computed on side by side.
    pub(super) elements: usize,
    /// `one round` or `three rounds`.
    pub(super) construction: String,
    /// Round trips online.
    pub(super) rounds: usize,
    /// Random transfers in which the server receives, over all elements.
    pub(super) server_transfers: usize,
    /// Random transfers in which the client receives, over all elements.
    pub(super) client_transfers: usize,
    /// Preprocessing: the corrections, client to server.
    pub(super) correction_bytes: usize,
    /// Online, server to client.
    pub(super) server_bytes: usize,
    /// Online, client to server.
    pub(super) client_bytes: usize,
}

/// The steps of a bundle in the order in which they run.
pub(super) fn steps(plan: &Plan) -> Vec<Step> {
    let step = |step: &protocol::plan::GateStep| {
        let (spec, elements) = (&step.spec, step.elements);
        let messages = spec.message_bytes(elements);
        // Corrections first, then messages and answers in turn.
        let (corrections, online) =
            messages.split_first().map_or((0, &[][..]), |(&first, rest)| (first, rest));
        Step {
            layer: plan.layer_name(step).to_owned(),
            part: step.part,
            elements,
            construction: match spec.rounds() {
                1 => "one round".to_owned(),
                3 => "three rounds".to_owned(),
                rounds => format!("{rounds} rounds"),
            },
            rounds: spec.rounds(),
            server_transfers: elements * spec.server_transfers(),
            client_transfers: elements * spec.client_transfers(),
            correction_bytes: corrections,
            server_bytes: online.iter().step_by(2).sum(),
            client_bytes: online.iter().skip(1).step_by(2).sum(),
        }
    };
    plan.gates().iter().map(step).collect()
}

/// A row per step, and their sum.
pub(super) fn step_table(steps: &[Step]) -> String {
    let figures = |numbers: [usize; 4], sizes: [usize; 3]| {
        let numbers = numbers.into_iter().map(|number| number.to_string());
        numbers.chain(sizes.into_iter().map(|size| bytes(size as u64))).collect::<Vec<String>>()
    };
    let mut rows: Vec<Vec<String>> = steps
        .iter()
        .map(|step| {
            let mut row = vec![step.layer.clone(), step.part.to_owned(), step.construction.clone()];
            row.extend(figures(
                [step.rounds, step.elements, step.server_transfers, step.client_transfers],
                [step.correction_bytes, step.server_bytes, step.client_bytes],
            ));
            row
        })
        .collect();
    let sum = |part: fn(&Step) -> usize| steps.iter().map(part).sum::<usize>();
    let mut all = vec!["all".to_owned(), String::new(), String::new()];
    all.extend(figures(
        [
            sum(|step| step.rounds),
            sum(|step| step.elements),
            sum(|step| step.server_transfers),
            sum(|step| step.client_transfers),
        ],
        [sum(|step| step.correction_bytes), sum(|step| step.server_bytes), sum(|step| step.client_bytes)],
    ));
    rows.push(all);
    table(
        &[
            "layer",
            "step",
            "construction",
            "rounds",
            "elements",
            "S receives",
            "C receives",
            "corrections",
            "server sends",
            "client sends",
        ],
        &rows,
    )
}
