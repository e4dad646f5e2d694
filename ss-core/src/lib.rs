//! Two-party arithmetic sharing: rings, oblivious transfer, comparison, ReLU, maximum

pub mod activation;
pub mod bits;
pub mod compare;
pub mod error;
pub mod garble;
pub mod gate;
pub mod gf128;
pub mod hash;
pub mod lookup;
pub mod maximum;
pub mod ot;
pub mod polynomial;
pub mod product;
pub mod ring;
mod secret;
pub mod share;
pub mod spline;
pub mod step;
#[cfg(test)]
mod testing;

pub use error::SsError;

/// The programs of the README, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
