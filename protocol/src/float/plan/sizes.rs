//! Sizes of messages, and of what a server holds.

use he_core::rlwe;

use super::{LIMBS, Plan, REPLY_LIMBS};
use crate::error::ProtocolError;
use crate::plan::check_images;
use crate::slots::pairs;

impl Plan {
    /// Refuses bundles that would not fit a client's memory: elements of layers and of steps, as in a ring.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] with how many images fit.
    pub fn check_images(&self, images: usize) -> Result<(), ProtocolError> {
        let layer = |at: usize| (self.geometry(at).input_len() + self.geometry(at).output_len()) as u64;
        let steps: u64 = self.steps(1).iter().map(|(_, elements)| *elements as u64).sum();
        check_images(steps + (0..self.layers()).map(layer).sum::<u64>(), images)
    }

    /// Bytes of the client's encryptions of a layer's masks.
    #[must_use]
    pub fn mask_bytes(&self, at: usize, images: usize) -> usize {
        pairs::count(images) * self.layouts.layers()[at].input.ciphertexts() * self.seeded_bytes()
    }

    /// Bytes of the server's answer.
    #[must_use]
    pub fn share_bytes(&self, at: usize, images: usize) -> usize {
        let one = rlwe::Ciphertext::wire_len(self.params().rlwe(), REPLY_LIMBS, 1);
        pairs::count(images) * self.layouts.layers()[at].output.ciphertexts() * one
    }

    /// Ciphertexts of a square, slots filled one by one with the elements of all images; none where there is no square.
    #[must_use]
    pub fn square_ciphertexts(&self, at: usize, images: usize) -> usize {
        match self.is_square(at) {
            true => (images * self.geometry(at).output_len()).div_ceil(self.params().slots()),
            false => 0,
        }
    }

    /// Bytes of the client's encryptions for a square.
    #[must_use]
    pub fn factor_bytes(&self, at: usize, images: usize) -> usize {
        self.square_ciphertexts(at, images) * self.seeded_bytes()
    }

    /// Bytes of the server's answer.
    #[must_use]
    pub fn product_bytes(&self, at: usize, images: usize) -> usize {
        self.square_ciphertexts(at, images) * rlwe::Ciphertext::wire_len(self.params().rlwe(), LIMBS, 1)
    }

    /// Bytes of one seeded ciphertext.
    fn seeded_bytes(&self) -> usize {
        rlwe::SeededCiphertext::wire_len(self.params().rlwe(), LIMBS)
    }

    /// A bound on the bytes that the server holds for one client with a bundle of this many images: keys, messages,
    /// ciphertexts on the way, masks, halves of steps. Its prepared weights, and the session's transfers, are not counted.
    #[must_use]
    pub fn server_bytes(&self, images: usize) -> usize {
        let polynomial = 8 * self.params().n() * (LIMBS + 1);
        let keys = (self.layouts.exponents().len() + 1) * 2 * LIMBS * polynomial;
        let layer = |at: usize| {
            let layout = &self.layouts.layers()[at];
            let ciphertexts = pairs::count(images)
                * (layout.input.ciphertexts() + layout.output.ciphertexts())
                + 2 * self.square_ciphertexts(at, images);
            let steps = self.activation(at).map_or(0, |activation| activation.server_bytes(images));
            // Read and expanded; masks as doubles.
            ciphertexts * 4 * polynomial + 32 * images * self.geometry(at).output_len() + steps
        };
        // Turned ciphertexts of the pairs that are worked on at a time.
        keys + 256 * polynomial + (0..self.layers()).map(layer).sum::<usize>()
    }
}
