//! Networks: from an ONNX file to a model that two parties can run, and the oracles that say what it must compute.
//!
//! The road is one direction only; each step is a pure function:
//!
//! ```text
//! ONNX bytes ──onnx::import──▶ Graph ──pass::run──▶ merged Graph ──lower──▶ Program
//!                                │                       │                        │
//!                       evaluate (float oracle)   calibrate (bounds)   quantize ──▶ Model { Manifest, weights }
//! ```
//!
//! [`build()`] walks all of it. [`model`] holds what leaves this crate: the public manifest that both parties
//! agree on, and the server's weights. Nothing here opens a file or a socket; randomness (the commitment's
//! salt, synthetic calibration inputs) is an argument.

pub mod build;
pub mod calibrate;
pub mod error;
pub mod evaluate;
pub mod fixed_point;
pub mod graph;
pub mod lower;
pub mod model;
pub mod noise;
pub mod onnx;
pub mod pass;
mod quantize;
pub mod report;
pub mod shape;
pub mod zoo;

pub use build::{BuildOptions, ChannelRange, Replacement, ReplacementFunction, build};
pub use error::NnError;
pub use graph::Graph;
pub use model::{
    ActivationSpec, FunctionSpec, InputSpec, Kind, LocalOp, Manifest, Model, NodeSpec, NodeWeights, OpSpec,
    OutputSpec, PartSpec, PoolGeometry, PoolShape, Shape, SmoothName, Tensor,
};
pub use noise::{NodeNoise, noise_report};
pub use quantize::LayerOptions;
pub use report::{MergeReport, NodeReport};

/// The programs of the README, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
