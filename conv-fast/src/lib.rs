//! Exact modular convolution and its packing into polynomials.
//!
//! Three jobs, all about one linear layer of a neural network over Z_q (a convolution; a fully connected layer is one on a
//! 1×1 plane), with signed integer weights:
//!
//! - computing it **fast and exactly**: [`PreparedConv`] with one of several [`Algorithm`]s, chosen by [`plan`], each of
//!   which gives, bit for bit, what [`direct()`] gives;
//! - **cutting** it into tiles that fit a polynomial: [`Tiling`];
//! - **packing** it into products of polynomials modulo X^N + 1: [`Packing`], index maps from tensors to coefficients.
//!
//! Beside them stands the *float twin*, [`FloatConv`]: the same convolutions over f32 and f64, for networks in the clear and
//! for the floating mode.
//!
//! [`ConvGeometry`] is the checked shape that everything starts from. Elements are `u64`, or `u32` where the ring allows
//! ([`Word`]). Nothing here draws randomness or talks to anyone;
//! the run time depends on shapes, not on values.
//!
//! ```
//! use conv_fast::{ConvGeometry, PreparedConv, plan};
//! use he_core::Modulus;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let geometry = ConvGeometry::fully_connected(3, 2)?;
//! let modulus = Modulus::new(1_125_899_906_826_241)?;
//! let algorithm = plan::choose(&geometry, &modulus);
//! let layer = PreparedConv::new(geometry, modulus, &[1, 2, 3, -1, 0, 1], algorithm)?;
//! assert_eq!(layer.run(&[10, 20, 30], 1), [140, 20]);
//! # Ok(())
//! # }
//! ```

mod depthwise;
mod direct;
mod error;
pub mod float;
mod geometry;
mod im2col;
pub mod matmul;
mod ntt;
pub mod packing;
pub mod plan;
mod polyphase;
mod prepared;
mod ring;
mod simd;
#[cfg(test)]
mod testing;
pub mod tiling;
mod wide;
mod winograd;
mod word;

use simd::{kernel, lanes, layout, scratch, tasks};

pub use direct::{direct, direct_f64, direct_float, direct_wrapping};
pub use error::ConvError;
pub use float::{Float, FloatAlgorithm, FloatConv};
pub use geometry::{ConvGeometry, ConvShape, MAX_ELEMENTS};
pub use kernel::Kernel;
pub use packing::{Density, Joining, Layout, Packing, PackingCost};
pub use plan::{Algorithm, Planner, Products};
pub use prepared::PreparedConv;
pub use ring::Ring;
pub use tiling::Tiling;
pub use word::Word;

/// The programs of the README, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
