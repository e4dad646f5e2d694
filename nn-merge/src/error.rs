//! What can go wrong between a network file and a model that two parties can run.
//!
//! One enum for the whole crate: every variant is a sentence with facts (which node, which tensor, which
//! size), because whoever reads it holds a file that somebody else exported and has to know what to change.
//! Names of nodes and tensors come from the file; they are shortened and stripped of control characters
//! before they enter a message.

use std::fmt;

/// Longest piece of a foreign name that a message repeats, in characters.
const NAME_SHOWN: usize = 120;

/// An error of this crate. Messages carry facts; nothing secret (no weight) is ever put into one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum NnError {
    /// The ONNX bytes are not a well-formed model (truncated, wrong types, missing parts).
    Onnx {
        /// What is wrong and where.
        what: String,
    },
    /// The model uses an operator that this crate does not know.
    UnsupportedOperator {
        /// ONNX operator type.
        operator: String,
        /// Node name in the file (or its first output, or its position).
        node: String,
        /// What the user can do about it.
        hint: String,
    },
    /// A known operator is used in a way that is not supported.
    Unsupported {
        /// Node name.
        node: String,
        /// What is not supported.
        what: String,
    },
    /// Shapes do not fit together.
    Shape {
        /// Node name.
        node: String,
        /// Which sizes disagree.
        what: String,
    },
    /// A weight is NaN or infinite.
    NotFinite {
        /// Tensor name.
        tensor: String,
    },
    /// A size exceeds a cap.
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        size: u64,
        /// The cap.
        cap: u64,
    },
    /// A node that no private protocol computes is left after all passes.
    NotPrivate {
        /// The node that breaks the chain.
        node: String,
        /// Why, and what to do.
        what: String,
    },
    /// A build option is out of range or names what is not there.
    BuildOption {
        /// Which.
        option: String,
        /// Why.
        what: String,
    },
    /// The wanted precision cannot be reached.
    Quantize {
        /// Layer name.
        layer: String,
        /// Why.
        what: String,
    },
    /// A manifest (from a file or from the peer) breaks one of its invariants.
    Manifest {
        /// Which one.
        what: String,
    },
    /// A model file is damaged, of another kind, or of another version.
    File {
        /// What was found.
        what: String,
    },
    /// An input vector does not fit the network.
    Input {
        /// Elements expected.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// An input value (or, for the oracle, a part of a run's tape) can't be used.
    Value {
        /// Which, and why.
        what: String,
    },
}

impl fmt::Display for NnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Onnx { what } => write!(f, "not a usable ONNX model: {what}"),
            Self::UnsupportedOperator { operator, node, hint } => {
                write!(f, "operator {operator} (node {node}) is not supported: {hint}")
            }
            Self::Unsupported { node, what } => write!(f, "node {node}: {what}"),
            Self::Shape { node, what } => write!(f, "node {node}: shapes do not fit: {what}"),
            Self::NotFinite { tensor } => {
                write!(f, "tensor {tensor} holds a NaN or an infinite value; the network cannot be used")
            }
            Self::TooLarge { what, size, cap } => write!(f, "{what} is too large: {size}, the cap is {cap}"),
            Self::NotPrivate { node, what } => {
                write!(f, "node {node} cannot be run privately: {what}")
            }
            Self::BuildOption { option, what } => write!(f, "{option}: {what}"),
            Self::Quantize { layer, what } => write!(f, "layer {layer} cannot be quantised: {what}"),
            Self::Manifest { what } => write!(f, "the model's manifest is not valid: {what}"),
            Self::File { what } => write!(f, "not a usable model file: {what}"),
            Self::Value { what } => write!(f, "the input cannot be used: {what}"),
            Self::Input { expected, got } => {
                write!(f, "the network takes {expected} input values, but {got} were given")
            }
        }
    }
}

impl std::error::Error for NnError {}

/// A foreign name made fit for a message: control characters replaced, length capped, empty shown as such.
pub(crate) fn shown(name: &str) -> String {
    if name.is_empty() {
        return "(unnamed)".into();
    }
    let mut text: String =
        name.chars().take(NAME_SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect();
    if name.chars().nth(NAME_SHOWN).is_some() {
        text.push('…');
    }
    text
}

impl NnError {
    pub(crate) fn onnx(what: impl Into<String>) -> Self {
        Self::Onnx { what: what.into() }
    }

    pub(crate) fn shape(node: &str, what: impl Into<String>) -> Self {
        Self::Shape { node: shown(node), what: what.into() }
    }

    pub(crate) fn private(node: &str, what: impl Into<String>) -> Self {
        Self::NotPrivate { node: shown(node), what: what.into() }
    }

    pub(crate) fn manifest(what: impl Into<String>) -> Self {
        Self::Manifest { what: what.into() }
    }

    pub(crate) fn file(what: impl Into<String>) -> Self {
        Self::File { what: what.into() }
    }

    pub(crate) fn option(option: &str, what: impl Into<String>) -> Self {
        Self::BuildOption { option: shown(option), what: what.into() }
    }

    pub(crate) fn quantize(layer: &str, what: impl Into<String>) -> Self {
        Self::Quantize { layer: shown(layer), what: what.into() }
    }
}
