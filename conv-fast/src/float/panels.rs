//! Weights of a matrix product as panels: what one register tile reads, in its order.
//!
//! The output channels of a group are cut into blocks of 64 bytes (16 floats, 8 doubles), the last filled with zeros, and
//! the blocks into panels of as many as a register tile of the kernel takes, as even as possible. A panel is
//! `[k][blocks·BLOCK]`.

use super::lanes::{Numbers, most_blocks};
use super::memory::Line;
use crate::Kernel;
use std::marker::PhantomData;

/// A run of blocks of output channels of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    /// Its first block.
    pub(super) first: usize,
    /// Blocks in it.
    pub(super) blocks: usize,
}

/// The weights of several matrices of one shape, `outputs` × `terms`.
pub(super) struct Panels<T> {
    terms: usize,
    blocks: usize,
    panels: Vec<Panel>,
    weights: Vec<Line>,
    holds: PhantomData<T>,
}

impl<T: Numbers> Panels<T> {
    /// Zero matrices.
    pub(super) fn new(kernel: Kernel, matrices: usize, outputs: usize, terms: usize) -> Self {
        let blocks = outputs.div_ceil(T::BLOCK);
        let count = blocks.div_ceil(most_blocks::<T>(kernel));
        let panels = (0..count)
            .map(|i| {
                let (first, end) = (i * blocks / count, (i + 1) * blocks / count);
                Panel { first, blocks: end - first }
            })
            .collect();
        let weights = vec![Line::ZERO; matrices * blocks * terms];
        Self { terms, blocks, panels, weights, holds: PhantomData }
    }

    /// Sets the weight of one output and term of one matrix.
    pub(super) fn set(&mut self, matrix: usize, output: usize, term: usize, weight: T) {
        let block = output / T::BLOCK;
        let Some(panel) = self.panels.iter().find(|panel| block < panel.first + panel.blocks) else {
            panic!("no output {output}");
        };
        let start = self.start(matrix, panel);
        let index = term * panel.blocks * T::BLOCK + output - panel.first * T::BLOCK;
        Line::numbers_mut(&mut self.weights)[start + index] = weight;
    }

    /// The panels of every matrix.
    pub(super) fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// The weights of one panel of one matrix, `[term][blocks·BLOCK]`.
    #[inline(always)]
    pub(super) fn panel(&self, matrix: usize, panel: &Panel) -> &[T] {
        &Line::numbers(&self.weights)[self.start(matrix, panel)..][..self.terms * panel.blocks * T::BLOCK]
    }

    /// Bytes of all weights.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
    }

    #[inline(always)]
    fn start(&self, matrix: usize, panel: &Panel) -> usize {
        (matrix * self.blocks + panel.first) * T::BLOCK * self.terms
    }
}
