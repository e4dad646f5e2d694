//! The preprocessing stage: everything that does not depend on an input.
//!
//! | | from | content |
//! |---|---|---|
//! | 0 | C | once per session, where the construction has keys of a session: their public part |
//! | 1 | C | per layer: what the agreed [`construction`] asks for |
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

pub mod construction;
pub mod correlations;
pub mod rho;
pub mod stage;

use std::sync::Arc;

use ss_core::share::Share;
use zeroize::Zeroizing;

use crate::offline::construction::ServerLayer;
use crate::plan::Plan;
use crate::steps::{ClientSteps, ServerSteps};

/// Names one bundle on both sides.
pub type BundleId = [u8; 32];

/// The client's half of a prepared bundle.
pub struct ClientBundle {
    pub(crate) id: BundleId,
    pub(crate) plan: Arc<Plan>,
    /// ρ of the input: images × input elements, w bits.
    pub(crate) input_mask: Zeroizing<Vec<u64>>,
    /// One per [`Plan::gates`], in order.
    pub(crate) gates: Vec<ClientSteps>,
    /// The client's share of the result: indices in label mode, else logits.
    pub(crate) output: Share,
}

/// The server's half of a prepared bundle.
pub struct ServerBundle {
    pub(crate) plan: Arc<Plan>,
    /// One per [`Plan::layers`], in order.
    pub(crate) layers: Vec<ServerLayer>,
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
