//! The preprocessing stage: everything that does not depend on an input.
//!
//! | | from | content |
//! |---|---|---|
//! | 1 | C | per layer: key polynomials of its groups, masks of the known zeros that used outputs read |
//! | 2 | S | per layer: masked replies |
//! | supply | both | silent transfers only, out of stock: a request the first time, an answer per iteration, either direction |
//! | 2 | S | per chunk of every step: its transfer extension, the server choosing at random |
//! | 3 | C | per chunk of every step: its transfer extension, with the choices of the step, and its corrections |
//! | check | both | SoftSpoken only: all extensions were consistent, the client first |
//!
//! Three one-way messages whatever the depth of the network (a supply adds up to two round trips), and the server's word
//! when its half is ready. What comes out is a [`ClientBundle`] and a [`ServerBundle`]: one-time material, moved into the
//! online stage by value. Steps are those of [`crate::steps`]; what a client chooses with is in the module of each
//! (`choices` in [`ss_core::gate`], for example).

pub mod correlations;
pub mod linear;
pub mod stage;

use std::sync::Arc;

use ss_core::share::Share;

use crate::plan::Plan;
use crate::steps::{ClientSteps, ServerSteps};

/// Names one bundle on both sides.
pub type BundleId = [u8; 32];

/// The client's half of a prepared bundle.
pub struct ClientBundle {
    pub(crate) id: BundleId,
    pub(crate) plan: Arc<Plan>,
    /// Mask of the first layer's input: images × input elements, p bits.
    pub(crate) input_mask: Share,
    /// One per [`Plan::gates`], in order.
    pub(crate) gates: Vec<ClientSteps>,
    /// The client's share of the result: indices in label mode, else logits.
    pub(crate) output: Share,
}

/// The server's half of a prepared bundle.
pub struct ServerBundle {
    pub(crate) plan: Arc<Plan>,
    /// Per layer M + W·Z + bias + dither on the used outputs: images × output elements in Z_q.
    pub(crate) masks: Vec<Share>,
    /// One per [`Plan::gates`], in order.
    pub(crate) gates: Vec<ServerSteps>,
}

impl ClientBundle {
    /// The name both halves go by.
    pub fn id(&self) -> &BundleId {
        &self.id
    }

    /// The plan it was made for.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl ServerBundle {
    /// The plan it was made for.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

impl std::fmt::Debug for ClientBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientBundle({} images, redacted)", self.plan.images())
    }
}

impl std::fmt::Debug for ServerBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerBundle({} images, redacted)", self.plan.images())
    }
}
