//! The ground under all kernels: instruction sets, eight words at a time, channel blocks.

pub(crate) mod kernel;
pub(crate) mod lanes;
pub(crate) mod layout;
pub(crate) mod scratch;
