//! The client's masks of all masked tensors.
//!
//! A producer's z is shared as Z = z − ρ (server) and ρ (client). ρ is the client's choice: uniform on Z_2^w, drawn once and
//! for this bundle alone. Most of it is not drawn here but *bound*: the slot of a linear layer wants x − r with r the slot's
//! RLWE mask, x = 2^(p−w)·z; with ρ = ⌈r/2^(p−w)⌉ the server needs no more than the missing p − w bits of it. r is uniform
//! on Z_2^p and splits into ρ and delta = 2^(p−w)·ρ − r, which are uniform and independent: ρ stays unknown to who
//! sees delta. Where an element sums several places, the bound one takes what the others leave.

use he_core::Seed;
use rand_core::Rng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::plan::{FREE, LinearPlan, Plan};

/// ρ of every place of the arena, image after image; wiped when dropped.
pub struct Rho {
    values: Zeroizing<Vec<u64>>,
    images: usize,
    arena: usize,
}

impl Rho {
    /// Fresh masks.
    pub fn new(plan: &Plan, seed: &Seed) -> Self {
        let (images, arena) = (plan.images(), plan.arena_len());
        let mut values = Zeroizing::new(vec![0; images * arena]);
        values.par_chunks_mut(arena).enumerate().for_each(|(image, values)| {
            for producer in plan.producers() {
                let mask = (1u64 << producer.width) - 1;
                let mut words = seed.fork("masks", &[image as u64, producer.node as u64]).stream();
                for value in &mut values[producer.first..][..producer.length] {
                    *value = words.next_u64() & mask;
                }
            }
        });
        Self { values, images, arena }
    }

    /// The masks of one image.
    pub(super) fn image(&self, image: usize) -> &[u64] {
        &self.values[image * self.arena..][..self.arena]
    }

    /// Binds what `layer` binds to its slots' masks r in Z_2^p, images × slots. Only before that nobody has read.
    pub(super) fn bind(&mut self, layer: &LinearPlan, slot_masks: &[u64]) {
        if layer.masked_bits.is_none() || layer.deltas[0] == 0 {
            return;
        }
        let (drop, full) = (layer.narrow_bits(), (1u64 << layer.width) - 1);
        let up = (1u64 << drop) - 1;
        let masks = slot_masks.par_chunks(layer.slots.len());
        self.values.par_chunks_mut(self.arena).zip(masks).for_each(|(rho, masks)| {
            for ((&place, &element), &r) in layer.bound.iter().zip(&layer.slots).zip(masks) {
                if place == FREE {
                    continue;
                }
                let place = place as usize;
                let others = layer.places.sum(element as usize, rho).wrapping_sub(rho[place]);
                rho[place] = ((r + up) >> drop).wrapping_sub(others) & full;
            }
        });
    }

    /// The masks of a producer's `range` of elements, image after image.
    pub fn of_producer(&self, producer: &crate::plan::Producer) -> Zeroizing<Vec<u64>> {
        let mut all = Zeroizing::new(Vec::with_capacity(self.images * producer.length));
        for image in 0..self.images {
            all.extend_from_slice(&self.image(image)[producer.first..][..producer.length]);
        }
        all
    }

    /// The masks of a masked node's elements, image after image, in Z_2^width.
    pub(super) fn of_node(&self, plan: &Plan, node: usize, width: u32) -> Option<Zeroizing<Vec<u64>>> {
        let places = plan.places(node)?;
        let (full, length) = ((1u64 << width) - 1, places.len());
        let mut all = Zeroizing::new(vec![0; self.images * length]);
        all.par_chunks_mut(length).enumerate().for_each(|(image, all)| {
            let arena = self.image(image);
            for (element, value) in all.iter_mut().enumerate() {
                *value = places.sum(element, arena) & full;
            }
        });
        Some(all)
    }
}

impl std::fmt::Debug for Rho {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rho({} masks, redacted)", self.values.len())
    }
}
