//! Exact modular convolution and its packing into polynomials.
//!
//! Two jobs, both about one linear layer of a neural network over Z_q (a convolution; a fully connected layer is one on a
//! 1×1 plane), with signed integer weights:
//!
//! - computing it **fast and exactly**: every algorithm gives, bit for bit, what [`direct()`] gives;
//! - **packing** it into products of polynomials modulo X^N + 1, with index maps from tensors to coefficients.
//!
//! [`ConvGeometry`] is the checked shape that everything starts from. Nothing here draws randomness or talks to anyone;
//! the run time depends on shapes, not on values.

mod direct;
mod error;
mod geometry;
pub mod matmul;
pub mod packing;
#[cfg(test)]
mod testing;

pub use direct::{direct, direct_f64, direct_wrapping};
pub use error::ConvError;
pub use geometry::{ConvGeometry, ConvShape, MAX_ELEMENTS};
pub use packing::{Layout, Packing, PackingCost};
