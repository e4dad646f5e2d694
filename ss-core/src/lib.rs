//! Two-party arithmetic sharing: rings, oblivious transfer, comparison, ReLU, maximum

pub mod bits;
pub mod compare;
pub mod error;
pub mod gate;
pub mod hash;
pub mod maximum;
pub mod ot;
pub mod ring;
pub mod share;

pub use error::SsError;
