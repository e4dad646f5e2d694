//! Tensors in the slots of CKKS ciphertexts, and linear layers as matrices on slots.
//!
//! | room | what |
//! |---|---|
//! | `layout` | [`SlotLayout`]: which slot of which ciphertext holds an element |
//! | `linear` | [`SlotMap`]: a convolution or fully connected layer as [`he_core::ckks::Diagonals`] |
//! | `encoded` | `EncodedMap`: the same encoded for ciphertexts, and its products with them |
//! | `pairs` | two images in the parts of complex slots |
//! | `wire` | keys and ciphertexts of a peer, read and checked |
//!
//! Layers with a stride keep positions: the element (o, y, x) of a convolution with stride s stays where the input has
//! (y s, x s), and further channels fill the places between, as in *multiplexed packing* (E. Lee, J.-W. Lee, J. Lee, Y.-S.
//! Kim, Y. Kim, J.-S. No, W. Choi, *Low-complexity deep convolutional neural networks on fully homomorphic encryption
//! using multiplexed parallel convolutions*, ICML 2022). All outputs then read an input at few distances, whatever
//! their position, and each distance is one diagonal.
//!
//! A tensor that is smaller than the slots is repeated: its *period*, a power of two, divides their number. Where the
//! output's period is smaller than the input's, every copy of the output sums a part of the products and rotations by
//! the output's period add the parts up (the hybrid of C. Juvekar, V. Vaikuntanathan, A. Chandrakasan, *GAZELLE*,
//! USENIX Security 2018, section 4, for convolutions too). A layer thus has at most as many diagonals as the smaller
//! period.
//!
//! Layouts and distances are public; weights, images and ciphertexts are the caller's. Nothing is encrypted here.

mod encoded;
mod layout;
mod linear;
pub(crate) mod pairs;
pub(crate) mod wire;

pub(crate) use encoded::{EncodedMap, Room, rotation_steps, row_product};
pub use layout::SlotLayout;
pub(crate) use linear::products;
pub use linear::{SlotMap, distances};
