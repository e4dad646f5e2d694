//! The ground under all kernels: instruction sets, eight words at a time, channel blocks, what threads share.

pub(crate) mod kernel;
pub(crate) mod lanes;
pub(crate) mod layout;
pub(crate) mod scratch;
pub(crate) mod tasks;
