//! What `bench paper` measured, as JSON has it.

use nn_merge::pass::Cost;
use protocol::offline::construction::Operations;
use serde::Serialize;

use super::configuration::Configuration;
use super::float;
use crate::accuracy::Row;
use crate::bench::he_mode;
use crate::bench::machine::Machine;
use crate::bench::party::{Flow, Measured};

/// All of it.
#[derive(Serialize)]
pub(super) struct Document {
    pub(super) schema: &'static str,
    pub(super) machine: Machine,
    pub(super) commit: String,
    /// The arguments that give it again.
    pub(super) command: String,
    pub(super) profile: String,
    /// Images per bundle.
    pub(super) images: usize,
    pub(super) link: String,
    pub(super) networks: Vec<NetworkFigures>,
}

/// One network.
#[derive(Serialize)]
pub(super) struct NetworkFigures {
    pub(super) name: String,
    pub(super) origin: String,
    /// Counts of the graph as written, and merged.
    pub(super) written: Cost,
    pub(super) merged: Cost,
    pub(super) convolutions: Vec<Convolutions>,
    pub(super) sessions: Vec<Session>,
    /// On ciphertexts alone, where the network has squares only.
    pub(super) encrypted: Vec<he_mode::Row>,
    /// Shares in a ring and of floating-point numbers side by side.
    pub(super) arithmetics: Vec<float::Row>,
}

/// The online products of all linear layers by one algorithm, seconds per image.
#[derive(Clone, Serialize)]
pub(super) struct Convolutions {
    pub(super) merging: bool,
    pub(super) algorithm: &'static str,
    pub(super) seconds: f64,
    /// Layers that the algorithm computes; im2col stands in for it in the others.
    pub(super) layers: usize,
    pub(super) of_layers: usize,
}

/// One configuration; per image unless said otherwise.
#[derive(Clone, Serialize)]
pub(super) struct Session {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) merging: bool,
    pub(super) preprocessing: String,
    pub(super) precomputed: bool,
    /// Once per connection.
    pub(super) setup_seconds: f64,
    pub(super) setup_bytes: u64,
    pub(super) preprocessing_seconds: f64,
    pub(super) preprocessing_bytes: u64,
    pub(super) online_seconds: f64,
    pub(super) online_bytes: u64,
    /// Of the online stage, the server's linear layers.
    pub(super) online_linear_seconds: f64,
    /// Of the bundle.
    pub(super) preprocessing_rounds: u64,
    pub(super) online_rounds: u64,
    pub(super) client_peak_bytes: u64,
    pub(super) server_peak_bytes: u64,
    /// The server's, on ciphertexts, for all linear layers.
    pub(super) operations: PerImage,
    pub(super) accuracy: Option<Accuracy>,
}

/// [`Operations`] of a bundle by its images.
#[derive(Clone, Copy, Serialize)]
pub(super) struct PerImage {
    pub(super) products: f64,
    pub(super) additions: f64,
    pub(super) rotations: f64,
    /// Ciphertexts to the server and back.
    pub(super) up: f64,
    pub(super) down: f64,
    /// Primes used up, at most.
    pub(super) levels: usize,
}

impl PerImage {
    pub(super) fn new(bundle: Operations, images: usize) -> Self {
        let per = |count: usize| count as f64 / images as f64;
        Self {
            products: per(bundle.products),
            additions: per(bundle.additions),
            rotations: per(bundle.rotations),
            up: per(bundle.received),
            down: per(bundle.sent),
            levels: bundle.levels,
        }
    }
}

/// Labels under the protocol, in shares of 1.
#[derive(Clone, Serialize)]
pub(super) struct Accuracy {
    pub(super) images: usize,
    pub(super) accuracy: Option<f64>,
    pub(super) float_accuracy: Option<f64>,
    /// Images with the label of float arithmetic.
    pub(super) agree: usize,
}

impl Accuracy {
    pub(super) fn new(row: Row) -> Self {
        let verdict = row.verdict;
        Self {
            images: verdict.images,
            accuracy: verdict.accuracy,
            float_accuracy: verdict.float_accuracy,
            agree: verdict.agree,
        }
    }
}

impl Session {
    /// What is not made ahead of the input counts as online.
    pub(super) fn new(
        configuration: &Configuration,
        images: usize,
        measured: Measured,
        operations: Operations,
        accuracy: Option<Accuracy>,
    ) -> Self {
        let per = |seconds: f64| seconds / images as f64;
        let bytes = |flow: Flow| flow.bytes() / images as u64;
        let mut session = Self {
            name: configuration.name,
            what: configuration.what,
            merging: configuration.merging,
            preprocessing: configuration.preprocessing.to_string(),
            precomputed: configuration.precomputed,
            setup_seconds: measured.setup_seconds,
            setup_bytes: measured.setup_bytes,
            preprocessing_seconds: per(measured.preprocessing_seconds),
            preprocessing_bytes: bytes(measured.preprocessing),
            online_seconds: per(measured.online_seconds),
            online_bytes: bytes(measured.online),
            online_linear_seconds: per(measured.server.online_linear_seconds),
            preprocessing_rounds: measured.preprocessing.rounds,
            online_rounds: measured.online.rounds,
            client_peak_bytes: measured.client_peak_bytes,
            server_peak_bytes: measured.server.peak_bytes,
            operations: PerImage::new(operations, images),
            accuracy,
        };
        if !configuration.precomputed {
            session.online_seconds += std::mem::take(&mut session.preprocessing_seconds);
            session.online_bytes += std::mem::take(&mut session.preprocessing_bytes);
            session.online_rounds += std::mem::take(&mut session.preprocessing_rounds);
        }
        session
    }

    /// A session of which only the labels count.
    #[cfg(test)]
    pub(super) fn with_accuracy(name: &'static str, accuracy: f64, images: usize) -> Self {
        let flow = Flow::default();
        let measured = Measured {
            setup_seconds: 0.0,
            setup_bytes: 0,
            preprocessing_seconds: 0.0,
            online_seconds: 0.0,
            preprocessing: flow,
            online: flow,
            client_peak_bytes: 0,
            server: Default::default(),
            layers: Vec::new(),
        };
        let accuracy = Accuracy { images, accuracy: Some(accuracy), float_accuracy: None, agree: images };
        let configuration = super::configuration::all(false).next().expect("there is ours");
        let own = Self::new(configuration, 1, measured, Operations::default(), Some(accuracy));
        Self { name, ..own }
    }

    pub(super) fn total_seconds(&self) -> f64 {
        self.preprocessing_seconds + self.online_seconds
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.preprocessing_bytes + self.online_bytes
    }
}

impl NetworkFigures {
    pub(super) fn session(&self, name: &str) -> Option<&Session> {
        self.sessions.iter().find(|session| session.name == name)
    }

    /// Seconds of the linear layers by an algorithm.
    pub(super) fn linear(&self, merging: bool, algorithm: &str) -> Option<f64> {
        let found = self.convolutions.iter().find(|row| row.merging == merging && row.algorithm == algorithm);
        found.map(|row| row.seconds)
    }
}
